//! Patterns of paths: literal parts, `:name` for one part, one `*` for the rest. Never a regex.

use crate::wire::{Reader, Writer};
use unicode_normalization::UnicodeNormalization;

/// Parts of one pattern.
pub const SEGMENTS_MAX: usize = 25;

/// A pattern for decoded paths, in parts between slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Parts before the `*`, or all of them.
    pub head: Vec<Segment>,
    /// The part with the `*`, if there is one.
    pub star: Option<Star>,
}

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, decoded and in NFC.
    Literal(String),
    /// Any one part that is not empty; its name.
    Placeholder(String),
}

/// The part with the `*`, and what follows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Star {
    /// Text before the `*` in its part.
    pub prefix: String,
    /// Text behind the `*` in its part.
    pub suffix: String,
    /// Parts behind.
    pub tail: Vec<Segment>,
}

/// What a path matched: values by name; the `*` is called `splat`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures(pub Vec<(String, String)>);

impl Captures {
    /// The value of `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn push(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }
}

/// The name of what a `*` matched.
pub(super) const SPLAT: &str = "splat";

impl Pattern {
    /// Reads a pattern that begins with a slash. The error says what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a path begins with /");
        };
        if text.contains(['?', '#']) {
            return Err("a path has neither ? nor #");
        }
        let words: Vec<&str> = rest.split('/').collect();
        if words.len() > SEGMENTS_MAX {
            return Err("a path has at most 25 parts");
        }
        let mut pattern = Self {
            head: Vec::new(),
            star: None,
        };
        let last = words.len() - 1;
        for (at, word) in words.into_iter().enumerate() {
            // `/` and `/a/` end with an empty part, which is part of the path.
            if word.is_empty() && at < last {
                return Err("a path has no double slash");
            }
            pattern.add(word)?;
        }
        pattern.check_names()?;
        Ok(pattern)
    }

    fn add(&mut self, word: &str) -> Result<(), &'static str> {
        if let Some((prefix, suffix)) = word.split_once('*') {
            if self.star.is_some() || suffix.contains('*') {
                return Err("a path has one * at most");
            }
            self.star = Some(Star {
                prefix: decode(prefix)?,
                suffix: decode(suffix)?,
                tail: Vec::new(),
            });
            return Ok(());
        }
        let segment = match word.strip_prefix(':') {
            Some(name) if is_name(name) => Segment::Placeholder(name.to_owned()),
            Some(_) => return Err("a :name is made of letters, digits and _"),
            None => Segment::Literal(decode(word)?),
        };
        match &mut self.star {
            Some(star) => star.tail.push(segment),
            None => self.head.push(segment),
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), &'static str> {
        let mut names = self.names();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("every :name stands once, and :splat belongs to the *");
        }
        Ok(())
    }

    /// Every name that a match captures.
    pub(super) fn names(&self) -> Vec<&str> {
        let tail = self.star.iter().flat_map(|star| &star.tail);
        let names = self
            .head
            .iter()
            .chain(tail)
            .filter_map(|segment| match segment {
                Segment::Placeholder(name) => Some(name.as_str()),
                Segment::Literal(_) => None,
            });
        names.chain(self.star.as_ref().map(|_| SPLAT)).collect()
    }

    /// Matches a decoded path that begins with a slash. A visitor's path may have thousands of parts,
    /// of which no more are looked at than the pattern has.
    #[must_use]
    pub fn captures(&self, path: &str) -> Option<Captures> {
        let mut captures = Captures::default();
        self.walk(path, &mut |name, value| captures.push(name, value))?;
        Some(captures)
    }

    /// As [`Self::captures`], where only whether it matches is asked.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.walk(path, &mut |_name, _value| {}).is_some()
    }

    fn walk<'a>(&'a self, path: &'a str, found: &mut impl FnMut(&'a str, &'a str)) -> Option<()> {
        let path = path.strip_prefix('/')?;
        let rest = match_all(&self.head, Some(path), found)?;
        let Some(star) = &self.star else {
            return rest.is_none().then_some(());
        };
        let rest = rest?;
        let mut middle = rest;
        for _segment in &star.tail {
            (middle, _) = middle.rsplit_once('/')?;
        }
        let tail = rest.get(middle.len()..)?.strip_prefix('/');
        match_all(&star.tail, tail, found)?;
        let splat = middle.strip_prefix(star.prefix.as_str())?;
        found(SPLAT, splat.strip_suffix(star.suffix.as_str())?);
        Some(())
    }

    /// Whether it is one that the builder makes, which matches every path that has its segments.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_empty =
            |segment: &Segment| matches!(segment, Segment::Literal(text) if text.is_empty());
        let is_root = self.star.is_none() && self.head.len() == 1;
        let has_plain_star = self
            .star
            .as_ref()
            .is_none_or(|star| *star == Star::default());
        (is_root || !self.head.iter().any(is_empty)) && has_plain_star
    }

    /// Whether every path that `other` matches is matched here too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let covers_each = |other: &[Segment]| {
            self.head
                .iter()
                .zip(other)
                .all(|(ours, theirs)| match (ours, theirs) {
                    (Segment::Literal(ours), Segment::Literal(theirs)) => ours == theirs,
                    (Segment::Literal(_), Segment::Placeholder(_)) => false,
                    (Segment::Placeholder(_), Segment::Literal(theirs)) => !theirs.is_empty(),
                    (Segment::Placeholder(_), Segment::Placeholder(_)) => true,
                })
        };
        match (&self.star, &other.star) {
            (None, None) => self.head.len() == other.head.len() && covers_each(&other.head),
            (None, Some(_)) => false,
            (Some(star), _) => {
                *star == Star::default()
                    && self.head.len() <= other.head.len()
                    && covers_each(&other.head)
            }
        }
    }

    pub(super) fn put(&self, out: &mut Writer) {
        out.list(&self.head, put_segment);
        out.u8(u8::from(self.star.is_some()));
        if let Some(star) = &self.star {
            out.text(&star.prefix);
            out.text(&star.suffix);
            out.list(&star.tail, put_segment);
        }
    }

    /// `None` also for more parts than a file can have: whoever reads them builds trees as deep.
    pub(super) fn get(from: &mut Reader<'_>) -> Option<Self> {
        let head = from.list(get_segment)?;
        let star = match from.u8()? {
            0 => None,
            1 => Some(Star {
                prefix: from.text()?,
                suffix: from.text()?,
                tail: from.list(get_segment)?,
            }),
            _ => return None,
        };
        let pattern = Self { head, star };
        (pattern.parts() <= SEGMENTS_MAX).then_some(pattern)
    }

    fn parts(&self) -> usize {
        let behind = self.star.as_ref().map_or(0, |star| 1 + star.tail.len());
        self.head.len() + behind
    }
}

/// Matches each segment with one part of what is left of a path, which is `None` behind its last; what
/// is left then.
fn match_all<'a>(
    segments: &'a [Segment],
    mut rest: Option<&'a str>,
    found: &mut impl FnMut(&'a str, &'a str),
) -> Option<Option<&'a str>> {
    for segment in segments {
        let here = rest?;
        let (part, behind) = match here.split_once('/') {
            Some((part, behind)) => (part, Some(behind)),
            None => (here, None),
        };
        match segment {
            Segment::Literal(text) if text == part => {}
            Segment::Placeholder(name) if !part.is_empty() => found(name, part),
            _ => return None,
        }
        rest = behind;
    }
    Some(rest)
}

fn put_segment(out: &mut Writer, segment: &Segment) {
    let (number, text) = match segment {
        Segment::Literal(text) => (0, text),
        Segment::Placeholder(name) => (1, name),
    };
    out.u8(number);
    out.text(text);
}

fn get_segment(from: &mut Reader<'_>) -> Option<Segment> {
    match from.u8()? {
        0 => from.text().map(Segment::Literal),
        1 => from.text().map(Segment::Placeholder),
        _ => None,
    }
}

/// Whether `text` can be a `:name`.
pub(super) fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Decodes a whole path, part by part; `None` if no request can have it.
pub(super) fn decode_path(path: &str) -> Option<String> {
    let parts = path.split('/').map(|part| decode(part).ok());
    Some(parts.collect::<Option<Vec<String>>>()?.join("/"))
}

/// Percent-decodes one part and brings it to NFC, as the edge does with what it is asked for.
fn decode(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "after % stand two hexadecimal digits, and the text is UTF-8";
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let value = digit().zip(digit()).ok_or(WRONG)?;
        bytes.push(u8::try_from(value.0 * 16 + value.1).map_err(|_never| WRONG)?);
    }
    let text = String::from_utf8(bytes).map_err(|_not_utf8| WRONG)?;
    if text == "."
        || text == ".."
        || text.contains(|c: char| c == '/' || c == '\\' || c.is_control())
    {
        return Err("a path has no part that is . or .., no backslash and no encoded slash");
    }
    Ok(text.nfc().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str, expected: Option<&[(&str, &str)]>) {
        let found = Pattern::parse(pattern).unwrap().captures(path);
        let expected = expected.map(|pairs| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Captures(pairs.iter().map(own).collect())
        });
        assert_eq!(found, expected, "{pattern} {path}");
    }

    #[test]
    fn matching() {
        check("/", "/", Some(&[]));
        check("/", "/a", None);
        check("/a", "/a", Some(&[]));
        check("/a", "/a/", None);
        check("/a/", "/a/", Some(&[]));
        check("/a/:x", "/a/b", Some(&[("x", "b")]));
        check("/a/:x", "/a/", None);
        check("/a/:x/c/:y", "/a/b/c/d", Some(&[("x", "b"), ("y", "d")]));
        check("/*", "/", Some(&[("splat", "")]));
        check("/*", "/a/b", Some(&[("splat", "a/b")]));
        check("/a/*", "/a/b/c", Some(&[("splat", "b/c")]));
        check("/a/*", "/ab", None);
        check("/*.jpg", "/a/b.jpg", Some(&[("splat", "a/b")]));
        check("/*.jpg", "/a/b.png", None);
        check("/ab*ba", "/aba", None);
        check("/img/*/full", "/img/a/b/full", Some(&[("splat", "a/b")]));
        check(
            "/img/*/:size",
            "/img/a/b/9",
            Some(&[("size", "9"), ("splat", "a/b")]),
        );
        check("/img/*/full", "/img/full", None);
        check("/caf%C3%A9", "/café", Some(&[]));
        check("/cafe\u{301}", "/café", Some(&[]));
        check("/a", "a", None);
    }

    #[test]
    fn patterns_that_are_none() {
        for text in [
            "",
            "a",
            "/a//b",
            "/*/*",
            "/**",
            "/:",
            "/:a-b",
            "/:1",
            "/:a/:a",
            "/:splat/*",
            "/%zz",
            "/%2F",
            "/..",
            "/%2e%2e/a",
            "/a?b",
            "/a#b",
            "/%ff",
            "/a\\b",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        let parts = |count: usize| "/a".repeat(count);
        assert!(Pattern::parse(&parts(SEGMENTS_MAX)).is_ok());
        assert!(Pattern::parse(&parts(SEGMENTS_MAX + 1)).is_err());
    }

    #[test]
    fn covering() {
        let rows = [
            ("/*", "/a/b", true),
            ("/*", "/*", true),
            ("/a/*", "/a/b/*", true),
            ("/a/*", "/b/c", false),
            ("/:x", "/a", true),
            ("/:x", "/", false),
            ("/a/*", "/a", true),
            ("/a", "/:x", false),
            ("/a/b", "/a/b", true),
            ("/a", "/a/*", false),
            ("/*.jpg", "/a.jpg", false),
        ];
        for (one, other, expected) in rows {
            let (one, other) = (Pattern::parse(one).unwrap(), Pattern::parse(other).unwrap());
            assert_eq!(one.covers(&other), expected, "{one:?} {other:?}");
        }
    }

    /// A manifest of somebody else's had patterns of any length; the edge hangs them on a tree that
    /// is as deep, and dropping one of 100,000 parts overflowed the stack.
    #[test]
    fn a_written_pattern_has_no_more_parts_than_one_that_is_read() {
        let part = || Segment::Placeholder("x".to_owned());
        for (head, tail, is_one) in [
            (25, None, true),
            (26, None, false),
            (20, Some(4), true),
            (20, Some(5), false),
        ] {
            let star = tail.map(|count| Star {
                tail: vec![part(); count],
                ..Star::default()
            });
            let pattern = Pattern {
                head: vec![part(); head],
                star,
            };
            let mut out = Writer::new();
            pattern.put(&mut out);
            let bytes = out.into_bytes();
            let read = Pattern::get(&mut Reader::new(&bytes));
            assert_eq!(read, is_one.then_some(pattern), "{head} {tail:?}");
        }
    }

    /// What matching means, in as many words: all parts are listed first.
    fn part_by_part(pattern: &Pattern, path: &str) -> Option<Captures> {
        let path = path.strip_prefix('/')?;
        let parts: Vec<&str> = path.split('/').collect();
        let mut captures = Captures::default();
        let rest = match_parts(&pattern.head, &parts, &mut captures)?;
        let Some(star) = &pattern.star else {
            return rest.is_empty().then_some(captures);
        };
        let middle_count = rest.len().checked_sub(star.tail.len())?;
        let (middle, tail) = rest.split_at_checked(middle_count)?;
        match_parts(&star.tail, tail, &mut captures)?;
        if middle.is_empty() {
            return None;
        }
        let middle = middle.join("/");
        let found = middle.strip_prefix(star.prefix.as_str())?;
        let found = found.strip_suffix(star.suffix.as_str())?;
        captures.push(SPLAT, found);
        Some(captures)
    }

    fn match_parts<'a, 'p>(
        segments: &[Segment],
        parts: &'a [&'p str],
        captures: &mut Captures,
    ) -> Option<&'a [&'p str]> {
        let (first, rest) = parts.split_at_checked(segments.len())?;
        for (segment, part) in segments.iter().zip(first) {
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Placeholder(name) if !part.is_empty() => captures.push(name, part),
                _ => return None,
            }
        }
        Some(rest)
    }

    proptest::proptest! {
        #[test]
        fn a_path_is_matched_as_its_parts_are(
            pattern in "(/(a|b|:x|ab)){0,3}(/|/:y|(/a?\\*b?(/(a|:z|b)){0,2}/?)?)",
            path in "/?((a|b|ab|ba|aba)?/){0,5}(a|b|ab)?",
        ) {
            let Ok(pattern) = Pattern::parse(&pattern) else {
                return Ok(());
            };
            let expected = part_by_part(&pattern, &path);
            proptest::prop_assert_eq!(pattern.matches(&path), expected.is_some());
            proptest::prop_assert_eq!(pattern.captures(&path), expected);
        }
    }
}
