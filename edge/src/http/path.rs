//! Reading a request's path: percent-decoding, and the one canonical way to write it.
//!
//! The decoded name is only ever looked up in a table; no file path is built from it.

use http::StatusCode;
use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// A path as it was asked for, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Decoded segments joined by single slashes, in NFC; empty for the root.
    pub name: String,
    /// Whether the path ended in a slash.
    pub directory: bool,
    /// The path as it should have been written.
    pub canonical: String,
    /// How `canonical` differs from what was asked.
    pub change: Change,
}

/// What makes a path differ from its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// It is canonical.
    Nothing,
    /// Only slashes or the encoding of characters: the same resource for ever.
    Spelling,
    /// A `.` segment was resolved.
    Dots,
}

/// A path that no resource can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadPath {
    /// It does not start with a slash.
    Form,
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    Encoding,
    /// An encoded slash, a backslash, a NUL, or `..`.
    Forbidden,
}

/// Decodes `raw` by segment (http.md section 1, "path decode").
pub(super) fn parse(raw: &str) -> Result<Asked, BadPath> {
    let rest = raw.strip_prefix('/').ok_or(BadPath::Form)?;
    let mut asked = Asked {
        name: String::with_capacity(rest.len()),
        directory: rest.is_empty(),
        canonical: String::with_capacity(raw.len()),
        change: Change::Nothing,
    };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment.is_empty() {
            asked.directory = last;
            if !(last && (rest.is_empty() || !asked.name.is_empty())) {
                asked.note(Change::Spelling);
            }
            continue;
        }
        let decoded = decode(segment)?;
        match decoded.as_ref() {
            ".." => return Err(BadPath::Forbidden),
            "." => {
                asked.directory = last;
                asked.note(Change::Dots);
            }
            text => asked.push(segment, text),
        }
    }
    if asked.name.is_empty() {
        asked.directory = true;
    }
    if asked.directory {
        asked.canonical.push('/');
    }
    Ok(asked)
}

impl Change {
    /// How a visitor is sent to the canonical path.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Nothing | Self::Spelling => StatusCode::PERMANENT_REDIRECT,
            Self::Dots => StatusCode::TEMPORARY_REDIRECT,
        }
    }
}

impl Asked {
    /// The decoded path, as rules see it.
    pub(super) fn path(&self) -> String {
        let end = if self.directory && !self.name.is_empty() {
            "/"
        } else {
            ""
        };
        format!("/{}{end}", self.name)
    }

    fn note(&mut self, change: Change) {
        self.change = self.change.max(change);
    }

    fn push(&mut self, raw: &str, decoded: &str) {
        if !self.name.is_empty() {
            self.name.push('/');
        }
        self.canonical.push('/');
        let start = self.canonical.len();
        if decoded.is_ascii() || is_nfc(decoded) {
            self.name.push_str(decoded);
            respell(raw.as_bytes(), &mut self.canonical);
        } else {
            let composed: String = decoded.nfc().collect();
            encode_into(&composed, &mut self.canonical);
            self.name.push_str(&composed);
        }
        if self.canonical.get(start..) != Some(raw) {
            self.note(Change::Spelling);
        }
    }
}

fn decode(segment: &str) -> Result<Cow<'_, str>, BadPath> {
    if segment.bytes().any(|byte| byte == b'\\' || byte == 0) {
        return Err(BadPath::Forbidden);
    }
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let value = if byte == b'%' {
            escape(&mut bytes).ok_or(BadPath::Encoding)?
        } else {
            byte
        };
        if matches!(value, b'/' | b'\\' | 0) {
            return Err(BadPath::Forbidden);
        }
        decoded.push(value);
    }
    let text = String::from_utf8(decoded).map_err(|_not_utf8| BadPath::Encoding)?;
    Ok(Cow::Owned(text))
}

/// The two digits behind a `%`.
fn escape(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut digit = || char::from(bytes.next()?).to_digit(16);
    let value = digit()? * 16 + digit()?;
    u8::try_from(value).ok()
}

/// Writes a valid segment canonically: unreserved characters plain, digits of escapes in upper
/// case (RFC 3986 section 6.2.2). Reserved characters stay as they were asked: both spellings are
/// in use, and neither is worth a redirect.
fn respell(raw: &[u8], out: &mut String) {
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            match escape(&mut bytes) {
                Some(value) if is_unreserved(value) => out.push(char::from(value)),
                Some(value) => push_escape(value, out),
                None => out.push('%'),
            }
        } else if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}

/// Percent-encodes a decoded path for `Location`; slashes stay.
pub(super) fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    encode_into(name, &mut out);
    out
}

fn encode_into(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

pub(super) fn push_escape(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    for nibble in [byte >> 4, byte & 15] {
        let digit = DIGITS.get(usize::from(nibble)).copied();
        out.push(char::from(digit.unwrap_or(b'0')));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, name: &str, canonical: &str, change: Change) {
        let asked = parse(raw).unwrap_or_else(|bad| panic!("{raw:?}: {bad:?}"));
        assert_eq!(asked.name, name, "{raw:?}");
        assert_eq!(asked.canonical, canonical, "{raw:?}");
        assert_eq!(asked.change, change, "{raw:?}");
        assert_eq!(asked.directory, canonical.ends_with('/'), "{raw:?}");
    }

    #[test]
    fn paths_are_decoded_and_spelled_canonically() {
        use Change::{Dots, Nothing, Spelling};
        let rows = [
            ("/", "", "/", Nothing),
            ("/a", "a", "/a", Nothing),
            ("/a/", "a", "/a/", Nothing),
            ("/a/b.html", "a/b.html", "/a/b.html", Nothing),
            ("//", "", "/", Spelling),
            ("///a//b", "a/b", "/a/b", Spelling),
            ("/a//", "a", "/a/", Spelling),
            ("//evil.example", "evil.example", "/evil.example", Spelling),
            ("/%61", "a", "/a", Spelling),
            ("/%7Eme", "~me", "/~me", Spelling),
            ("/a%20b", "a b", "/a%20b", Nothing),
            ("/caf%C3%A9", "caf\u{e9}", "/caf%C3%A9", Nothing),
            ("/caf%c3%a9", "caf\u{e9}", "/caf%C3%A9", Spelling),
            ("/cafe%CC%81", "caf\u{e9}", "/caf%C3%A9", Spelling),
            ("/caf\u{e9}", "caf\u{e9}", "/caf%C3%A9", Spelling),
            ("/a%2Bb", "a+b", "/a%2Bb", Nothing),
            ("/a+b", "a+b", "/a+b", Nothing),
            ("/a,b;c=d:@", "a,b;c=d:@", "/a,b;c=d:@", Nothing),
            ("/100%25", "100%", "/100%25", Nothing),
            ("/%2525", "%25", "/%2525", Nothing),
            ("/%3F%23", "?#", "/%3F%23", Nothing),
            ("/%0D%0A", "\r\n", "/%0D%0A", Nothing),
            ("/a|b", "a|b", "/a|b", Nothing),
            ("/./a", "a", "/a", Dots),
            ("/a/.", "a", "/a/", Dots),
            ("/%2e/a", "a", "/a", Dots),
            ("/.", "", "/", Dots),
            ("/...", "...", "/...", Nothing),
            ("/.well-known/x", ".well-known/x", "/.well-known/x", Nothing),
            ("/a/..b", "a/..b", "/a/..b", Nothing),
        ];
        for (raw, name, canonical, change) in rows {
            check(raw, name, canonical, change);
        }
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        let rows = [
            ("", BadPath::Form),
            ("*", BadPath::Form),
            ("a", BadPath::Form),
            ("/%", BadPath::Encoding),
            ("/%4", BadPath::Encoding),
            ("/%zz", BadPath::Encoding),
            ("/%+1", BadPath::Encoding),
            ("/%ff", BadPath::Encoding),
            ("/%C3", BadPath::Encoding),
            ("/%C0%AF", BadPath::Encoding),
            ("/%ED%A0%80", BadPath::Encoding),
            ("/..", BadPath::Forbidden),
            ("/a/../b", BadPath::Forbidden),
            ("/%2e%2e/etc/passwd", BadPath::Forbidden),
            ("/.%2E/", BadPath::Forbidden),
            ("/a%2Fb", BadPath::Forbidden),
            ("/a%2fb", BadPath::Forbidden),
            ("/a%5Cb", BadPath::Forbidden),
            ("/a\\b", BadPath::Forbidden),
            ("/a%00", BadPath::Forbidden),
        ];
        for (raw, expected) in rows {
            assert_eq!(parse(raw), Err(expected), "{raw:?}");
        }
    }

    #[test]
    fn the_canonical_form_of_a_path_is_canonical() {
        for raw in ["//a//%62/./c%c3%a9", "/x/%7e/", "/a%20b%2b", "/cafe%CC%81/"] {
            let canonical = parse(raw).unwrap().canonical;
            let again = parse(&canonical).unwrap();
            assert_eq!(
                (again.canonical, again.change),
                (canonical, Change::Nothing)
            );
        }
    }

    #[test]
    fn names_are_encoded_for_a_location() {
        assert_eq!(encode("a b/\u{e9}\r\n%.html"), "a%20b/%C3%A9%0D%0A%25.html");
    }

    proptest::proptest! {
        #[test]
        fn every_path_is_refused_or_has_one_canonical_form(raw in "/[ -~\u{e9}\u{301}/%.]{0,40}") {
            if let Ok(asked) = parse(&raw) {
                let again = parse(&asked.canonical).unwrap();
                proptest::prop_assert_eq!(&again.name, &asked.name);
                proptest::prop_assert_eq!(&again.canonical, &asked.canonical);
                proptest::prop_assert_eq!(again.change, Change::Nothing);
                proptest::prop_assert!(!asked.canonical.starts_with("//"));
                proptest::prop_assert!(asked.canonical.is_ascii());
                let listed = asked.name.is_empty() || asked.name.split('/').all(|s| {
                    !s.is_empty() && s != "." && s != ".." && !s.contains(['\\', '\0'])
                });
                proptest::prop_assert!(listed, "{}", asked.name);
            }
        }
    }
}
