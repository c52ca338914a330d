//! Conditional requests (RFC 9110 section 13), evaluated for an answer that would be 200.

use http::HeaderMap;
use http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use verge_sync::clock::UnixTime;

/// What the selected representation has to be compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// The strong entity tag, quotes included.
    pub etag: String,
    /// `Last-Modified`.
    pub modified: UnixTime,
}

/// What the preconditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They hold, or there are none.
    Proceed,
    /// 304: the visitor has it.
    NotModified,
    /// 412.
    Failed,
}

/// Whether a field is one that [`evaluate`] looks at.
pub(super) fn is_condition(name: &HeaderName) -> bool {
    [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
    ]
    .contains(name)
}

/// RFC 9110 section 13.2.2, steps 1 to 4; the method is GET or HEAD.
pub(super) fn evaluate(headers: &HeaderMap, current: &Validators) -> Verdict {
    let holds = if headers.contains_key(IF_MATCH) {
        any_tag(headers, &IF_MATCH, |tag| tag.is_strong_match(&current.etag))
    } else {
        date(headers, &IF_UNMODIFIED_SINCE).is_none_or(|date| current.modified <= date)
    };
    if !holds {
        return Verdict::Failed;
    }
    let fresh = if headers.contains_key(IF_NONE_MATCH) {
        any_tag(headers, &IF_NONE_MATCH, |tag| {
            tag.is_weak_match(&current.etag)
        })
    } else {
        date(headers, &IF_MODIFIED_SINCE).is_some_and(|date| current.modified <= date)
    };
    if fresh {
        Verdict::NotModified
    } else {
        Verdict::Proceed
    }
}

/// Whether a `Range` may be answered: step 5. A date must be exactly ours, a tag strong.
pub(super) fn range_applies(headers: &HeaderMap, current: &Validators) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    let Some(line) = lines.next() else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    let text = line.as_bytes().trim_ascii();
    match Tags(text).next() {
        Some(Element::Tag(tag)) => tag.raw == text && tag.is_strong_match(&current.etag),
        _ => date(headers, &IF_RANGE) == Some(current.modified),
    }
}

/// The date of a header that appears once and is an HTTP-date of any of the three forms.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<UnixTime> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    let time = httpdate::parse_http_date(line.to_str().ok()?.trim()).ok()?;
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    i64::try_from(seconds).ok().map(UnixTime)
}

/// `time` as an IMF-fixdate; years that the form cannot hold are clamped.
pub(super) fn http_date(time: UnixTime) -> String {
    /// 9999-12-31T23:59:59Z.
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(time.0).unwrap_or(0).min(LAST);
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds);
    httpdate::fmt_http_date(time)
}

fn any_tag(headers: &HeaderMap, name: &HeaderName, matches: impl Fn(&Tag<'_>) -> bool) -> bool {
    headers.get_all(name).iter().any(|line| {
        let line = line.as_bytes().trim_ascii();
        line == b"*"
            || Tags(line).any(|element| match element {
                Element::Tag(tag) => matches(&tag),
                Element::Junk => false,
            })
    })
}

/// One entity tag as it was sent.
struct Tag<'a> {
    raw: &'a [u8],
    opaque: &'a [u8],
    weak: bool,
}

impl Tag<'_> {
    fn is_strong_match(&self, etag: &str) -> bool {
        !self.weak && self.opaque == etag.as_bytes()
    }

    fn is_weak_match(&self, etag: &str) -> bool {
        self.opaque == etag.as_bytes()
    }
}

enum Element<'a> {
    Tag(Tag<'a>),
    /// Something between two commas that is no entity tag; it matches nothing.
    Junk,
}

/// The elements of a list of entity tags; commas may stand inside the quotes.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let skipped = self
            .0
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let rest = self.0.get(skipped..)?;
        let prefix = if rest.starts_with(b"W/") { 2 } else { 0 };
        let end = rest
            .get(prefix..)
            .and_then(closing_quote)
            .map(|length| prefix + length);
        let (element, used) = match end {
            Some(end) => {
                let tag = Tag {
                    raw: rest.get(..end)?,
                    opaque: rest.get(prefix..end)?,
                    weak: prefix > 0,
                };
                (Element::Tag(tag), end)
            }
            None => {
                let comma = rest.iter().position(|byte| *byte == b',');
                (Element::Junk, comma.unwrap_or(rest.len()))
            }
        };
        self.0 = rest.get(used..)?;
        Some(element)
    }
}

/// The length of a quoted opaque tag at the start of `bytes`.
fn closing_quote(bytes: &[u8]) -> Option<usize> {
    let inner = bytes.strip_prefix(b"\"")?;
    let close = inner.iter().position(|byte| *byte == b'"')?;
    let valid = |byte: &u8| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80;
    inner.get(..close)?.iter().all(valid).then_some(close + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SAME_850: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const SAME_ASCTIME: &str = "Sun Nov  6 08:49:37 1994";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn current() -> Validators {
        Validators {
            etag: "\"abc\"".to_owned(),
            modified: UnixTime(784_111_777),
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    type Row<'a> = (&'a [(&'a str, &'a str)], Verdict);

    fn check(rows: &[Row<'_>]) {
        for (lines, expected) in rows {
            let verdict = evaluate(&headers(lines), &current());
            assert_eq!(verdict, *expected, "{lines:?}");
        }
    }

    #[test]
    fn who_has_it_gets_304() {
        use Verdict::{NotModified, Proceed};
        let rows: &[Row<'_>] = &[
            (&[], Proceed),
            (&[("if-none-match", "\"abc\"")], NotModified),
            (&[("if-none-match", "W/\"abc\"")], NotModified),
            (&[("if-none-match", "*")], NotModified),
            (&[("if-none-match", "\"x\", \"abc\"")], NotModified),
            (&[("if-none-match", "\"x,y\" ,W/\"abc\"")], NotModified),
            (
                &[("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")],
                NotModified,
            ),
            (&[("if-none-match", ", ,\"abc\"")], NotModified),
            (&[("if-none-match", "junk, \"abc\"")], NotModified),
            (&[("if-none-match", "\"x\"")], Proceed),
            (&[("if-none-match", "abc")], Proceed),
            (&[("if-none-match", "w/\"abc\"")], Proceed),
            (&[("if-none-match", "\"ABC\"")], Proceed),
            (&[("if-none-match", "\"x, \"abc")], Proceed),
            (&[("if-none-match", "")], Proceed),
            (&[("if-modified-since", SAME)], NotModified),
            (&[("if-modified-since", SAME_850)], NotModified),
            (&[("if-modified-since", SAME_ASCTIME)], NotModified),
            (&[("if-modified-since", AFTER)], NotModified),
            (&[("if-modified-since", BEFORE)], Proceed),
            (&[("if-modified-since", "yesterday")], Proceed),
            (
                &[("if-modified-since", SAME), ("if-modified-since", SAME)],
                Proceed,
            ),
            (
                &[("if-none-match", "\"x\""), ("if-modified-since", SAME)],
                Proceed,
            ),
            (
                &[("if-none-match", "\"abc\""), ("if-modified-since", BEFORE)],
                NotModified,
            ),
        ];
        check(rows);
    }

    #[test]
    fn a_match_is_asked_for_before_a_mismatch() {
        use Verdict::{Failed, NotModified, Proceed};
        let rows: &[Row<'_>] = &[
            (&[("if-match", "\"abc\"")], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "\"x\", \"abc\"")], Proceed),
            (&[("if-match", "W/\"abc\"")], Failed),
            (&[("if-match", "\"x\"")], Failed),
            (&[("if-match", "junk")], Failed),
            (&[("if-unmodified-since", SAME)], Proceed),
            (&[("if-unmodified-since", AFTER)], Proceed),
            (&[("if-unmodified-since", BEFORE)], Failed),
            (&[("if-unmodified-since", "never")], Proceed),
            (
                &[("if-match", "\"abc\""), ("if-unmodified-since", BEFORE)],
                Proceed,
            ),
            (
                &[("if-match", "\"x\""), ("if-none-match", "\"abc\"")],
                Failed,
            ),
            (
                &[("if-match", "\"abc\""), ("if-none-match", "\"abc\"")],
                NotModified,
            ),
            (
                &[("if-unmodified-since", BEFORE), ("if-modified-since", SAME)],
                Failed,
            ),
        ];
        check(rows);
    }

    #[test]
    fn a_range_needs_a_strong_match() {
        let rows: &[(&[(&str, &str)], bool)] = &[
            (&[], true),
            (&[("if-range", "\"abc\"")], true),
            (&[("if-range", "W/\"abc\"")], false),
            (&[("if-range", "\"x\"")], false),
            (&[("if-range", "\"abc\", \"x\"")], false),
            (&[("if-range", "*")], false),
            (&[("if-range", "")], false),
            (&[("if-range", SAME)], true),
            (&[("if-range", SAME_850)], true),
            (&[("if-range", BEFORE)], false),
            (&[("if-range", AFTER)], false),
            (&[("if-range", "\"abc\""), ("if-range", "\"abc\"")], false),
        ];
        for (lines, expected) in rows {
            assert_eq!(
                range_applies(&headers(lines), &current()),
                *expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn dates_are_written_within_their_form() {
        assert_eq!(http_date(UnixTime(784_111_777)), SAME);
        assert_eq!(http_date(UnixTime(-5)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(
            http_date(UnixTime(i64::MAX)),
            "Fri, 31 Dec 9999 23:59:59 GMT"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_list_ends(text in "[\", W/a-c*\t]{0,60}") {
            let elements = Tags(text.as_bytes()).count();
            proptest::prop_assert!(elements <= text.len());
        }

        #[test]
        fn a_tag_is_found_among_others(others in proptest::collection::vec("(W/)?\"[a-z,]{0,5}\"", 0..5)) {
            let mut all = others;
            all.push("\"abc\"".to_owned());
            let lines = headers(&[("if-none-match", &all.join(" , "))]);
            proptest::prop_assert_eq!(evaluate(&lines, &current()), Verdict::NotModified);
        }
    }
}
