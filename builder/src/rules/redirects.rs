//! `_redirects` as typed rules, their bytes, and the first rule that answers a request.

use super::parse_redirects::parse;
use super::pattern::{Captures, Pattern, SPLAT};
use crate::report::Problem;
use crate::wire::{Reader, Writer};

/// Rules of one file.
pub const REDIRECTS_MAX: usize = 1_000;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Which paths; a slash at the end does not matter.
    pub from: Pattern,
    /// What the query has to have, in order of the file.
    pub query: Vec<QueryCondition>,
    /// One of these has to be the visitor's first language; any if empty. Lower case.
    pub languages: Vec<String>,
    /// Where to.
    pub to: Target,
    /// What to answer.
    pub action: Action,
    /// Whether the rule wins over a file of the site (`!`).
    pub is_forced: bool,
}

/// What a rule answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// 200: the file at the target, under the address that was asked for.
    Rewrite,
    /// 301, 302, 303, 307 or 308, with `Location`.
    Redirect(u16),
    /// 404, 410 or 451, with the file at the target as its page.
    Refuse(u16),
}

/// A query parameter that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryCondition {
    /// Its name.
    pub name: String,
    /// Its value: a text or a capture.
    pub value: Piece,
}

/// A target, to be filled with what was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `https://example.org`, or nothing for this site.
    pub origin: Option<String>,
    /// Path, query and fragment.
    pub pieces: Vec<Piece>,
}

/// A piece of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is written.
    Literal(String),
    /// The value of a name.
    Capture(String),
}

/// The rule that answers, with its captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<'a> {
    /// The rule.
    pub rule: &'a Redirect,
    /// What it captured.
    pub captures: Captures,
}

/// All rules of a site, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redirects(pub Vec<Redirect>);

impl Redirects {
    /// The content section's tag.
    pub const TAG: u32 = 1;

    /// The first rule that matches a decoded path, a decoded query and the visitor's languages
    /// (lower case, best first). Rules that are not forced count only where `has_file` is false.
    #[must_use]
    pub fn find(
        &self,
        path: &str,
        query: &[(&str, &str)],
        languages: &[&str],
        has_file: bool,
    ) -> Option<Found<'_>> {
        let rules = self.0.iter().filter(|rule| rule.is_forced || !has_file);
        rules.filter(|rule| rule.suits(languages)).find_map(|rule| {
            let captures = rule.captures(path, query)?;
            Some(Found { rule, captures })
        })
    }

    /// Reads `_redirects` of a site whose files are not at hand: nothing is said of what depends on
    /// them.
    #[must_use]
    pub fn read(bytes: &[u8], problem: &mut dyn FnMut(Problem)) -> Self {
        parse(bytes, None, problem)
    }

    /// The content section.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.list(&self.0, |out, rule| rule.put(out));
        out.into_bytes()
    }

    /// Reads the content section; `None` if the bytes are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let rules = from.list(Redirect::get)?;
        (from.is_empty() && rules.len() <= REDIRECTS_MAX).then_some(Self(rules))
    }
}

impl Action {
    /// The action of a status.
    #[must_use]
    pub fn of(status: u16) -> Option<Self> {
        match status {
            200 => Some(Self::Rewrite),
            301 | 302 | 303 | 307 | 308 => Some(Self::Redirect(status)),
            404 | 410 | 451 => Some(Self::Refuse(status)),
            _ => None,
        }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Rewrite => 200,
            Self::Redirect(status) | Self::Refuse(status) => status,
        }
    }
}

impl Redirect {
    /// Whether path and query match. `/a`, `/a/` are one, and `/a/*` matches `/a`. What a `*`
    /// stands for keeps its slash at the end, as in Netlify's own matcher.
    pub(super) fn captures(&self, path: &str, query: &[(&str, &str)]) -> Option<Captures> {
        let plain = path.strip_suffix('/').filter(|rest| !rest.is_empty());
        let plain = plain.unwrap_or(path);
        let mut captures = self
            .from
            .captures(path)
            .or_else(|| self.from.captures(plain))
            .or_else(|| self.from.captures(&format!("{plain}/")))?;
        for condition in &self.query {
            let (_, found) = query.iter().find(|(name, _)| *name == condition.name)?;
            match &condition.value {
                Piece::Literal(text) if text == found => {}
                Piece::Literal(_) => return None,
                Piece::Capture(name) => captures.0.push((name.clone(), (*found).to_owned())),
            }
        }
        Some(captures)
    }

    pub(super) fn suits(&self, languages: &[&str]) -> bool {
        let is_first = |wanted: &String| {
            languages.first().is_some_and(|first| {
                let rest = first.strip_prefix(wanted.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            })
        };
        self.languages.is_empty() || self.languages.iter().any(is_first)
    }

    /// Whether whatever `later` would answer is answered by this rule already.
    pub(super) fn shadows(&self, later: &Self) -> bool {
        // A condition of ours holds wherever the later rule's do.
        let holds = |ours: &QueryCondition| {
            later.query.iter().any(|theirs| {
                let is_any = matches!(ours.value, Piece::Capture(_));
                ours.name == theirs.name && (is_any || ours.value == theirs.value)
            })
        };
        let suits = |theirs: &String| self.suits(&[theirs.as_str()]);
        let is_any_language = self.languages.is_empty();
        let is_some_language = !later.languages.is_empty() && later.languages.iter().all(suits);
        self.query.iter().all(holds)
            && (is_any_language || is_some_language)
            && (self.is_forced || !later.is_forced)
            && self.from.covers(&later.from)
    }

    fn put(&self, out: &mut Writer) {
        self.from.put(out);
        out.list(&self.query, |out, condition| {
            out.text(&condition.name);
            put_piece(out, &condition.value);
        });
        out.list(&self.languages, |out, language| out.text(language));
        out.text(self.to.origin.as_deref().unwrap_or_default());
        out.list(&self.to.pieces, put_piece);
        out.u16(self.action.status());
        out.u8(u8::from(self.is_forced));
    }

    fn get(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            from: Pattern::get(from)?,
            query: from.list(|from| {
                Some(QueryCondition {
                    name: from.text()?,
                    value: get_piece(from)?,
                })
            })?,
            languages: from.list(Reader::text)?,
            to: Target {
                origin: Some(from.text()?).filter(|origin| !origin.is_empty()),
                pieces: from.list(get_piece)?,
            },
            action: Action::of(from.u16()?)?,
            is_forced: match from.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        })
    }
}

impl Target {
    /// The target with every capture in its place, each written by `encode`. Without an origin the
    /// result begins with exactly one slash, so that it never names another host.
    #[must_use]
    pub fn fill(&self, captures: &Captures, encode: &dyn Fn(&str) -> String) -> String {
        let mut path = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => path.push_str(text),
                Piece::Capture(name) => {
                    let value = captures.value(name).unwrap_or_default();
                    path.push_str(&encode(value));
                }
            }
        }
        match &self.origin {
            Some(origin) => format!("{origin}{path}"),
            None => format!("/{}", path.trim_start_matches(['/', '\\'])),
        }
    }

    /// Whether the target has a query of its own, so that the request's is not kept.
    #[must_use]
    pub fn has_query(&self) -> bool {
        let has_mark = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.contains('?'));
        self.pieces.iter().any(has_mark)
    }

    /// Whether the `*` is used.
    #[must_use]
    pub fn has_splat(&self) -> bool {
        let is_splat = |piece: &Piece| matches!(piece, Piece::Capture(name) if name == SPLAT);
        self.pieces.iter().any(is_splat)
    }
}

fn put_piece(out: &mut Writer, piece: &Piece) {
    let (number, text) = match piece {
        Piece::Literal(text) => (0, text),
        Piece::Capture(name) => (1, name),
    };
    out.u8(number);
    out.text(text);
}

fn get_piece(from: &mut Reader<'_>) -> Option<Piece> {
    match from.u8()? {
        0 => from.text().map(Piece::Literal),
        1 => from.text().map(Piece::Capture),
        _ => None,
    }
}
