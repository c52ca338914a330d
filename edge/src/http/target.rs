//! Where a rule leads: its target with every capture in its place, always a valid `Location`.
//!
//! A capture is encoded for the place where it stands, so it can add neither a header line, nor a
//! host, nor a part of the path, the query or the fragment that the rule does not have itself.

use super::path::push_escape;
use verge_builder::rules::{Captures, Piece, Target as Written};

/// A target, cut into what the answer needs.
#[derive(Debug)]
pub(super) struct Target {
    /// `https://example.org`, or nothing for this site.
    origin: String,
    path: Vec<Part>,
    /// None: the request's is kept.
    query: Option<Vec<Part>>,
    fragment: Option<Vec<Part>>,
}

#[derive(Debug)]
enum Part {
    /// Encoded.
    Text(String),
    Capture(String),
}

/// Which component a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Path,
    Query,
    Fragment,
}

impl Target {
    /// `None` if the origin is none: the manifest may be another node's.
    pub(super) fn compile(written: &Written) -> Option<Self> {
        let origin = written.origin.clone().unwrap_or_default();
        if !origin.is_empty() && !is_origin(&origin) {
            return None;
        }
        let mut target = Self {
            origin,
            path: Vec::new(),
            query: None,
            fragment: None,
        };
        let mut within = Within::Path;
        for piece in &written.pieces {
            match piece {
                Piece::Capture(name) => target.push(within, Part::Capture(name.clone())),
                Piece::Literal(text) => target.push_text(&mut within, text),
            }
        }
        Some(target)
    }

    fn push_text(&mut self, within: &mut Within, text: &str) {
        let mut literal = String::new();
        for c in text.chars() {
            let next = match c {
                '?' if *within == Within::Path => Within::Query,
                '#' if *within != Within::Fragment => Within::Fragment,
                _ => {
                    push_literal(c, &mut literal);
                    continue;
                }
            };
            self.push(*within, Part::Text(std::mem::take(&mut literal)));
            *within = next;
        }
        self.push(*within, Part::Text(literal));
    }

    fn push(&mut self, within: Within, part: Part) {
        let parts = match within {
            Within::Path => &mut self.path,
            Within::Query => self.query.get_or_insert_default(),
            Within::Fragment => self.fragment.get_or_insert_default(),
        };
        parts.push(part);
    }

    /// Whether it is a place of this site.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_empty()
    }

    /// Whether a part of the path could be `..`: with what a query gives, which may be anything, or
    /// with what a path gives, whose parts are neither `.` nor `..`, and where only what a `*` stands
    /// for can be empty.
    pub(super) fn can_climb(&self, is_of_the_query: impl Fn(&str) -> bool) -> bool {
        let is_free = |part: &Part| matches!(part, Part::Capture(name) if is_of_the_query(name));
        let is_dotted = || {
            ["", "x"].into_iter().any(|value| {
                let text = |part: &Part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Capture(_) => value.to_owned(),
                };
                let path: String = self.path.iter().map(text).collect();
                path.split('/').any(|part| part == "..")
            })
        };
        self.path.iter().any(is_free) || is_dotted()
    }

    /// The whole, with the request's query where the target has none. A target of this site begins
    /// with exactly one slash. `None` if a capture would make a part `..`, which would climb.
    pub(super) fn fill(&self, captures: &Captures, asked: Option<&str>) -> Option<String> {
        let path = join(&self.path, captures, Within::Path);
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        let mut out = self.origin.clone();
        if self.origin.is_empty() || !path.is_empty() {
            out.push('/');
            out.push_str(path.trim_start_matches('/'));
        }
        match (&self.query, asked) {
            (Some(query), _) => {
                out.push('?');
                out.push_str(&join(query, captures, Within::Query));
            }
            (None, Some(asked)) => {
                out.push('?');
                asked.chars().for_each(|c| push_literal(c, &mut out));
            }
            (None, None) => {}
        }
        if let Some(fragment) = &self.fragment {
            out.push('#');
            out.push_str(&join(fragment, captures, Within::Fragment));
        }
        Some(out)
    }
}

/// `http://` or `https://` and a host, with nothing that could end it.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
        !host.is_empty() && host.bytes().all(is_host)
    })
}

fn join(parts: &[Part], captures: &Captures, within: Within) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Capture(name) => {
                let value = captures.value(name).unwrap_or_default();
                push_value(value, name == "splat", within, &mut out);
            }
        }
    }
    out
}

/// A piece as the publisher or the visitor wrote it: escapes stay, what no URI may have is encoded.
pub(super) fn push_literal(c: char, out: &mut String) {
    if c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c) {
        out.push(c);
        return;
    }
    let mut buffer = [0; 4];
    let bytes = c.encode_utf8(&mut buffer).bytes();
    bytes.for_each(|byte| push_escape(byte, out));
}

/// A value of the visitor's: only a splat has slashes that part it.
fn push_value(value: &str, is_splat: bool, within: Within, out: &mut String) {
    let plain: &[u8] = match within {
        Within::Path => b"-._~!$'()*,;=:@&+",
        Within::Query | Within::Fragment => b"-._~!$'()*,:@",
    };
    for byte in value.bytes() {
        let is_slash = byte == b'/' && is_splat;
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) || is_slash {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}
