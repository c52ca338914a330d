//! `_headers` as typed rules: which paths get which response fields on top of ours.

use super::lines::{Wrong, lines, wrong};
use super::pattern::Pattern;
use crate::report::Problem;
use crate::select::HEADERS;
use crate::wire::{Reader, Writer};

/// Blocks of one file.
pub const BLOCKS_MAX: usize = 100;
/// Field lines of one file, all blocks together: what one response may have.
pub const FIELDS_MAX: usize = 100;

/// Fields that frame a message, choose a representation, or bind a visitor: never a site's.
const FORBIDDEN: [&str; 19] = [
    "accept-ranges",
    "age",
    "alt-svc",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "date",
    "etag",
    "keep-alive",
    "location",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "repr-digest",
];

/// The blocks of a site, in the order of the file; all that match apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules(pub Vec<HeaderBlock>);

/// A pattern and its field lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBlock {
    /// Which paths.
    pub pattern: Pattern,
    /// What to do, in order.
    pub fields: Vec<FieldRule>,
}

/// One field line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldRule {
    /// The first line that sets a name replaces ours, later ones append.
    Set {
        /// In lower case.
        name: String,
        /// Printable ASCII, without spaces at its ends.
        value: String,
    },
    /// `! Name`: the field is not sent.
    Remove {
        /// In lower case.
        name: String,
    },
}

impl FieldRule {
    /// The field's name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Set { name, .. } | Self::Remove { name } => name,
        }
    }
}

impl HeaderRules {
    /// The content section's tag.
    pub const TAG: u32 = 2;

    /// Every field line for a decoded path, in order.
    pub fn matching<'a>(&'a self, path: &str) -> impl Iterator<Item = &'a FieldRule> {
        let blocks = self.0.iter();
        blocks
            .filter(move |block| block.pattern.captures(path).is_some())
            .flat_map(|block| &block.fields)
    }

    /// The content section.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.list(&self.0, |out, block| {
            block.pattern.put(out);
            out.list(&block.fields, |out, field| {
                out.u8(u8::from(matches!(field, FieldRule::Remove { .. })));
                out.text(field.name());
                if let FieldRule::Set { value, .. } = field {
                    out.text(value);
                }
            });
        });
        out.into_bytes()
    }

    /// Reads the content section; `None` if the bytes are not one, or set a field that a site may
    /// not set: the node that built it may have been another's.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let blocks = from.list(|from| {
            Some(HeaderBlock {
                pattern: Pattern::get(from)?,
                fields: from.list(get_field)?,
            })
        })?;
        let fields: usize = blocks.iter().map(|block| block.fields.len()).sum();
        let is_whole = from.is_empty() && blocks.len() <= BLOCKS_MAX && fields <= FIELDS_MAX;
        is_whole.then_some(Self(blocks))
    }

    /// Reads `_headers`.
    pub fn parse(bytes: &[u8], problem: &mut dyn FnMut(Problem)) -> Self {
        let mut parser = Parser {
            rules: Self::default(),
            lines: Vec::new(),
            open: Open::Nothing,
            fields: 0,
        };
        for (line, text) in lines(bytes) {
            if let Err(wrong) = text.and_then(|text| parser.line(line, text)) {
                problem(wrong.at(HEADERS, line));
            }
        }
        parser.finish(problem)
    }
}

/// What the lines that follow belong to.
#[derive(PartialEq, Eq)]
enum Open {
    Nothing,
    Block,
    /// A pattern that was reported: its lines are skipped without a word each.
    Skipped,
}

struct Parser {
    rules: HeaderRules,
    /// The line of each block.
    lines: Vec<u32>,
    open: Open,
    fields: usize,
}

impl Parser {
    fn line(&mut self, line: u32, text: &str) -> Result<(), Wrong> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let is_pattern = text.starts_with('/') || text.starts_with("http");
        if is_pattern && !text.contains(": ") {
            self.open = Open::Skipped;
            let pattern = self.pattern(text)?;
            self.rules.0.push(HeaderBlock {
                pattern,
                fields: Vec::new(),
            });
            self.lines.push(line);
            self.open = Open::Block;
            return Ok(());
        }
        match self.open {
            Open::Skipped => Ok(()),
            Open::Nothing => Err(wrong(
                "a header before the first path",
                "write a path such as /* above it",
            )),
            Open::Block => self.field(text),
        }
    }

    fn pattern(&self, text: &str) -> Result<Pattern, Wrong> {
        if self.rules.0.len() == BLOCKS_MAX {
            let what = format!("more than {BLOCKS_MAX} paths, this and its headers are skipped");
            return Err(wrong(what, "write one path with * for many"));
        }
        let pattern =
            Pattern::parse(text).map_err(|instead| wrong(format!("{text} is no path"), instead))?;
        let same = self
            .rules
            .0
            .iter()
            .position(|block| block.pattern == pattern);
        match same.and_then(|at| self.lines.get(at)) {
            None => Ok(pattern),
            Some(line) => {
                let what = format!("the same path as in line {line}, skipped");
                Err(wrong(what, "move its headers there"))
            }
        }
    }

    fn field(&mut self, text: &str) -> Result<(), Wrong> {
        let field = field(text)?;
        if self.fields == FIELDS_MAX {
            return Err(wrong(
                format!("more than {FIELDS_MAX} headers, skipped"),
                "remove some",
            ));
        }
        if let Some(block) = self.rules.0.last_mut() {
            if block.fields.contains(&field) {
                return Err(wrong("the same header twice, skipped", "remove it"));
            }
            block.fields.push(field);
            self.fields += 1;
        }
        Ok(())
    }

    fn finish(mut self, problem: &mut dyn FnMut(Problem)) -> HeaderRules {
        for (block, line) in self.rules.0.iter().zip(&self.lines) {
            if block.fields.is_empty() {
                let instead = "write the headers below it, each indented";
                problem(wrong("a path without headers", instead).at(HEADERS, *line));
            }
        }
        self.rules.0.retain(|block| !block.fields.is_empty());
        self.rules
    }
}

/// `Name: value` or `! Name`.
fn field(text: &str) -> Result<FieldRule, Wrong> {
    let field = if let Some(name) = text.strip_prefix('!') {
        let name = name.trim().trim_end_matches(':').to_ascii_lowercase();
        FieldRule::Remove { name }
    } else {
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| wrong(format!("{text:?} is no header"), "write Name: value"))?;
        FieldRule::Set {
            name: name.trim().to_ascii_lowercase(),
            value: value.trim().to_owned(),
        }
    };
    check(&field)?;
    Ok(field)
}

/// Whether a site may have this line; also for what comes out of a manifest.
fn check(field: &FieldRule) -> Result<(), Wrong> {
    let name = field.name();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(wrong(
            format!("{name:?} is no header name"),
            "write Name: value",
        ));
    }
    if name == "basic-auth" {
        return Err(wrong(
            "Basic-Auth is not supported",
            "remove it: what is published is public",
        ));
    }
    if FORBIDDEN.contains(&name) {
        return Err(wrong(
            format!("{name} belongs to the node and cannot be set or removed"),
            "remove it",
        ));
    }
    match field {
        FieldRule::Set { value, .. } if value.is_empty() => Err(wrong(
            format!("{name} has no value"),
            "write Name: value, or ! Name to remove it",
        )),
        FieldRule::Set { value, .. } if !value.bytes().all(|b| matches!(b, b' '..=b'~')) => {
            Err(wrong(
                format!("{name} has a value that is not plain ASCII"),
                "encode it",
            ))
        }
        FieldRule::Set { name, value } if name == HSTS && !has_max_age(value) => Err(wrong(
            format!("{name} has no max-age in seconds"),
            "write max-age=86400 or the like",
        )),
        _ => Ok(()),
    }
}

const HSTS: &str = "strict-transport-security";

/// RFC 6797 section 6.1: browsers ignore the field without it.
fn has_max_age(value: &str) -> bool {
    value.split(';').any(|directive| {
        let pair = directive.split_once('=');
        pair.is_some_and(|(name, seconds)| {
            name.trim().eq_ignore_ascii_case("max-age") && seconds.trim().parse::<u32>().is_ok()
        })
    })
}

fn get_field(from: &mut Reader<'_>) -> Option<FieldRule> {
    let field = match from.u8()? {
        0 => FieldRule::Set {
            name: from.text()?,
            value: from.text()?,
        },
        1 => FieldRule::Remove { name: from.text()? },
        _ => return None,
    };
    let is_lower = field.name().bytes().all(|b| !b.is_ascii_uppercase());
    (is_lower && check(&field).is_ok()).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (HeaderRules, Vec<String>) {
        let mut problems = Vec::new();
        let rules = HeaderRules::parse(text.as_bytes(), &mut |p| problems.push(p.to_string()));
        (rules, problems)
    }

    fn matching(rules: &HeaderRules, path: &str) -> Vec<String> {
        let line = |field: &FieldRule| match field {
            FieldRule::Set { name, value } => format!("{name}: {value}"),
            FieldRule::Remove { name } => format!("! {name}"),
        };
        rules.matching(path).map(line).collect()
    }

    #[test]
    fn all_matching_blocks_apply_in_order() {
        let (rules, problems) = read(
            "# all\n/*\n  X-Frame-Options: DENY\n\tLink: <https://example.org/a>; rel=preload\n\
             /*.jpg\n  Cache-Control: public, max-age=60\n  ! X-Frame-Options\n\
             /blog/:slug\n  X-Blog: yes\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        let rows: [(&str, &[&str]); 4] = [
            (
                "/",
                &[
                    "x-frame-options: DENY",
                    "link: <https://example.org/a>; rel=preload",
                ],
            ),
            (
                "/a/b.jpg",
                &[
                    "x-frame-options: DENY",
                    "link: <https://example.org/a>; rel=preload",
                    "cache-control: public, max-age=60",
                    "! x-frame-options",
                ],
            ),
            (
                "/blog/x",
                &[
                    "x-frame-options: DENY",
                    "link: <https://example.org/a>; rel=preload",
                    "x-blog: yes",
                ],
            ),
            (
                "/blog/x/y",
                &[
                    "x-frame-options: DENY",
                    "link: <https://example.org/a>; rel=preload",
                ],
            ),
        ];
        for (path, expected) in rows {
            assert_eq!(matching(&rules, path), expected, "{path}");
        }
    }

    #[test]
    fn bad_lines_are_reported_and_disable_no_other() {
        let rows = [
            (
                "  Content-Length: 5",
                "content-length belongs to the node and cannot be set or removed: remove it",
            ),
            (
                "  set-cookie: a=b",
                "set-cookie belongs to the node and cannot be set or removed: remove it",
            ),
            (
                "  ! Vary",
                "vary belongs to the node and cannot be set or removed: remove it",
            ),
            (
                "  Basic-Auth: a:b",
                "Basic-Auth is not supported: remove it: what is published is public",
            ),
            (
                "  no header",
                "\"no header\" is no header: write Name: value",
            ),
            (
                "  X-Empty:",
                "x-empty has no value: write Name: value, or ! Name to remove it",
            ),
            ("  X y: z", "\"x y\" is no header name: write Name: value"),
            (
                "  X-Umlaut: ä",
                "x-umlaut has a value that is not plain ASCII: encode it",
            ),
            (
                "  Strict-Transport-Security: max-age=soon",
                "strict-transport-security has no max-age in seconds: write max-age=86400 or the like",
            ),
            ("  X-First: 1", "the same header twice, skipped: remove it"),
        ];
        for (line, expected) in rows {
            let (rules, problems) = read(&format!("/*\n  X-First: 1\n{line}\n  X-Last: 2\n"));
            assert_eq!(problems, [format!("_headers:3: {expected}")], "{line}");
            assert_eq!(matching(&rules, "/"), ["x-first: 1", "x-last: 2"], "{line}");
        }
    }

    #[test]
    fn bad_paths_take_their_headers_with_them_and_no_other() {
        let rows = [
            ("/a/*/*", "/a/*/* is no path: a path has one * at most"),
            (
                "https://x.example/*",
                "https://x.example/* is no path: a path begins with /",
            ),
            (
                "/*",
                "the same path as in line 1, skipped: move its headers there",
            ),
        ];
        for (pattern, expected) in rows {
            let (rules, problems) = read(&format!("/*\n  A: 1\n{pattern}\n  B: 2\n/b\n  C: 3\n"));
            assert_eq!(problems, [format!("_headers:3: {expected}")], "{pattern}");
            assert_eq!(matching(&rules, "/b"), ["a: 1", "c: 3"], "{pattern}");
        }
        let (_, problems) = read("A: 1\n/a\n");
        assert_eq!(
            problems,
            [
                "_headers:1: a header before the first path: write a path such as /* above it",
                "_headers:2: a path without headers: write the headers below it, each indented",
            ]
        );
    }

    #[test]
    fn limits() {
        let blocks = |count: usize| {
            (0..count)
                .map(|n| format!("/{n}\n  A: 1\n"))
                .collect::<String>()
        };
        assert_eq!(read(&blocks(BLOCKS_MAX)).1.len(), 0);
        let (rules, problems) = read(&blocks(BLOCKS_MAX + 1));
        assert_eq!((rules.0.len(), problems.len()), (BLOCKS_MAX, 1));
        let fields = |count: usize| {
            let lines = (0..count).map(|n| format!("  A: {n}\n"));
            format!("/*\n{}", lines.collect::<String>())
        };
        assert_eq!(read(&fields(FIELDS_MAX)).1.len(), 0);
        let (rules, problems) = read(&fields(FIELDS_MAX + 1));
        assert_eq!((rules.0[0].fields.len(), problems.len()), (FIELDS_MAX, 1));
    }

    #[test]
    fn a_manifest_cannot_set_what_a_file_cannot() {
        let mut rules = read("/*\n  A: 1\n").0;
        rules.0[0].fields[0] = FieldRule::Set {
            name: "content-length".to_owned(),
            value: "5".to_owned(),
        };
        assert_eq!(HeaderRules::decode(&rules.encode()), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_and_read_back(text in "(/[a:*b/]{0,6}\n( (! )?[AB]: ?[cd]{0,2}\n){0,3}){0,6}") {
            let (rules, _) = read(&text);
            prop_assert_eq!(HeaderRules::decode(&rules.encode()), Some(rules));
        }

        #[test]
        fn no_text_and_no_bytes_panic(text: String, bytes: Vec<u8>) {
            read(&text);
            HeaderRules::parse(&bytes, &mut |_| {});
            drop(HeaderRules::decode(&bytes));
        }
    }
}
