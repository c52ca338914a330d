//! Which bytes of the selected representation were asked for (RFC 9110 section 14).
//!
//! A set of ranges is put in few runs before it is answered; one that would cost more than it is
//! worth gets the whole, as section 14.2 allows.

use http::HeaderValue;

/// Ranges in one request; Apache's limit too is 100 to 200.
const ASKED_MAX: usize = 100;
/// Parts of one answer.
const PARTS_MAX: usize = 16;
/// Ranges that overlap others; more are an attack (section 17.15).
const OVERLAPPING_MAX: usize = 2;
/// About what the head of a part costs: a gap below it is cheaper sent than left out.
const GAP_BYTES: u64 = 80;

/// A run of bytes inside a representation; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Offset of its first byte.
    pub start: u64,
    /// How many bytes.
    pub length: u64,
}

impl Span {
    /// Offset behind its last byte.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// `bytes 0-9/100`, the value of `Content-Range`.
    pub(super) fn content_range(&self, whole: u64) -> String {
        let last = self.end().saturating_sub(1);
        format!("bytes {}-{last}/{whole}", self.start)
    }
}

/// What to send of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it, with 200.
    Whole,
    /// One part, with 206.
    Part(Span),
    /// Two or more parts, in the order in which they were asked for.
    Parts(Vec<Span>),
    /// 416: no byte of it was asked for.
    Unsatisfiable,
}

/// Reads `Range` against a representation of `length` bytes. What breaks the grammar, or has
/// another unit, is ignored (section 14.2).
pub(super) fn select<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>, length: u64) -> Wanted {
    let mut lines = lines.into_iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Wanted::Whole;
    };
    let Some(spans) = byte_ranges(line.as_bytes()).and_then(|set| read_set(set, length)) else {
        return Wanted::Whole;
    };
    match spans.as_slice() {
        [] => Wanted::Unsatisfiable,
        [span] => Wanted::Part(*span),
        _ => coalesce(&spans),
    }
}

/// The ranges that lie inside; `None` if one is no range, if there is none, or too many.
fn read_set(set: &[u8], length: u64) -> Option<Vec<Span>> {
    let elements = set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut spans = Vec::new();
    let mut asked = 0;
    for element in elements.filter(|element| !element.is_empty()) {
        asked += 1;
        if asked > ASKED_MAX {
            return None;
        }
        let spec = read_spec(element)?;
        if length == 0 && matches!(spec, Spec::Suffix(1..)) {
            // Satisfiable (section 14.1.2), but no `Content-Range` can say so.
            return None;
        }
        spans.extend(spec.within(length));
    }
    (asked > 0).then_some(spans)
}

/// Joins what overlaps, touches or is nearly side by side.
fn coalesce(spans: &[Span]) -> Wanted {
    let mut sorted: Vec<(usize, Span)> = spans.iter().copied().enumerate().collect();
    sorted.sort_by_key(|(at, span)| (span.start, *at));
    if overlapping(&sorted) > OVERLAPPING_MAX {
        return Wanted::Whole;
    }
    let mut runs: Vec<(usize, Span)> = Vec::new();
    for (at, span) in sorted {
        match runs.last_mut() {
            Some((first, run)) if span.start < run.end().saturating_add(GAP_BYTES) => {
                run.length = run.end().max(span.end()) - run.start;
                *first = at.min(*first);
            }
            _ => runs.push((at, span)),
        }
    }
    if runs.len() > PARTS_MAX {
        return Wanted::Whole;
    }
    runs.sort_by_key(|(first, _)| *first);
    let runs: Vec<Span> = runs.into_iter().map(|(_, run)| run).collect();
    match runs.as_slice() {
        [run] => Wanted::Part(*run),
        _ => Wanted::Parts(runs),
    }
}

/// How many ranges, sorted by their start, overlap another.
fn overlapping(sorted: &[(usize, Span)]) -> usize {
    let (mut count, mut cluster, mut end) = (0, 0, 0);
    for (_, span) in sorted {
        if span.start < end {
            count += if cluster == 1 { 2 } else { 1 };
            cluster += 1;
        } else {
            cluster = 1;
        }
        end = end.max(span.end());
    }
    count
}

fn byte_ranges(line: &[u8]) -> Option<&[u8]> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (unit, rest) = line.split_at(equals);
    unit.eq_ignore_ascii_case(b"bytes")
        .then(|| rest.strip_prefix(b"="))
        .flatten()
        .map(<[u8]>::trim_ascii)
}

/// One `range-spec` of the bytes unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    FromTo(u64, u64),
    Suffix(u64),
}

impl Spec {
    fn within(self, length: u64) -> Option<Span> {
        let (start, last) = match self {
            Self::FromTo(start, last) => (start, last),
            Self::Suffix(0) => return None,
            Self::Suffix(count) => (length.saturating_sub(count), u64::MAX),
        };
        let end = last.saturating_add(1).min(length);
        (start < end).then(|| Span {
            start,
            length: end - start,
        })
    }
}

fn read_spec(spec: &[u8]) -> Option<Spec> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (spec.get(..dash)?, spec.get(dash + 1..)?);
    if first.is_empty() {
        return read_number(last).map(Spec::Suffix);
    }
    let start = read_number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        read_number(last)?
    };
    (start <= last).then_some(Spec::FromTo(start, last))
}

/// `1*DIGIT`; a number over 64 bits is past the end of everything.
fn read_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_ranges() {
        let part = |start, length| Wanted::Part(Span { start, length });
        let rows = [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-9", part(0, 10)),
            ("bytes=0-", part(0, 10)),
            ("bytes=3-5", part(3, 3)),
            ("bytes=5-100", part(5, 5)),
            ("bytes=9-", part(9, 1)),
            ("bytes=-1", part(9, 1)),
            ("bytes=-10", part(0, 10)),
            ("bytes=-100", part(0, 10)),
            ("Bytes=0-1", part(0, 2)),
            ("bytes= 0-1 ", part(0, 2)),
            ("bytes=00000-0001", part(0, 2)),
            ("bytes=0-99999999999999999999999", part(0, 10)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=10-20", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=5-3", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=1", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=1--2", Wanted::Whole),
            ("bytes 0-1", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("bytes=0-1,a", Wanted::Whole),
            ("bytes=,", Wanted::Whole),
            ("", Wanted::Whole),
        ];
        for (text, expected) in rows {
            let line = HeaderValue::from_static(text);
            assert_eq!(select([&line], 10), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_file_has_no_first_bytes_but_last_ones() {
        let rows = [
            ("bytes=0-", Wanted::Unsatisfiable),
            ("bytes=0-0", Wanted::Unsatisfiable),
            ("bytes=0-9", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=-5", Wanted::Whole),
            ("bytes=0-9,-5", Wanted::Whole),
        ];
        for (text, expected) in rows {
            let line = HeaderValue::from_static(text);
            assert_eq!(select([&line], 0), expected, "{text}");
        }
    }

    #[test]
    fn sets_of_ranges() {
        let span = |(start, last): &(u64, u64)| Span {
            start: *start,
            length: last - start + 1,
        };
        let rows: &[(&str, &[(u64, u64)])] = &[
            ("0-0,200-200", &[(0, 0), (200, 200)]),
            ("200-200,0-0", &[(200, 200), (0, 0)]),
            (" 0-0 , ,200-200,", &[(0, 0), (200, 200)]),
            ("0-9,-10", &[(0, 9), (990, 999)]),
            ("0-9,900-", &[(0, 9), (900, 999)]),
            ("0-9,5000-", &[(0, 9)]),
            ("0-9,5-19", &[(0, 19)]),
            ("0-9,10-19", &[(0, 19)]),
            ("0-9,89-99", &[(0, 99)]),
            ("0-9,90-99", &[(0, 9), (90, 99)]),
            ("0-9,89-99,168-170", &[(0, 170)]),
            ("500-509,0-9,510-519", &[(500, 519), (0, 9)]),
            ("0-9,300-310,0-9", &[(0, 9), (300, 310)]),
            ("0-,0-", &[(0, 999)]),
        ];
        for (text, expected) in rows {
            let line: HeaderValue = format!("bytes={text}").parse().unwrap();
            let spans: Vec<Span> = expected.iter().map(span).collect();
            let expected = match spans.as_slice() {
                [span] => Wanted::Part(*span),
                _ => Wanted::Parts(spans),
            };
            assert_eq!(select([&line], 1000), expected, "{text}");
        }
        for text in ["0-9,5-19,15-29", "0-9,5-9,300-309,305-309", "0-,0-,0-"] {
            let line: HeaderValue = format!("bytes={text}").parse().unwrap();
            assert_eq!(select([&line], 1000), Wanted::Whole, "{text}");
        }
        let none = HeaderValue::from_static("bytes=1000-,-0");
        assert_eq!(select([&none], 1000), Wanted::Unsatisfiable);
    }

    #[test]
    fn many_ranges_get_the_whole() {
        let set = |count: u64, step: u64| -> HeaderValue {
            let ranges = (0..count).map(|at| format!("{0}-{0}", at * step));
            let ranges: Vec<String> = ranges.collect();
            format!("bytes={}", ranges.join(",")).parse().unwrap()
        };
        let parts = |line: &HeaderValue| match select([line], 1 << 40) {
            Wanted::Whole => 0,
            Wanted::Part(_) => 1,
            Wanted::Parts(spans) => spans.len(),
            Wanted::Unsatisfiable => usize::MAX,
        };
        let rows = [
            (16, 1000, 16),
            (17, 1000, 0),
            (100, 1, 1),
            (101, 1, 0),
            (100_000, 1, 0),
        ];
        for (count, step, expected) in rows {
            assert_eq!(parts(&set(count, step)), expected, "{count} {step}");
        }
    }

    #[test]
    fn two_lines_are_ignored() {
        let line = HeaderValue::from_static("bytes=0-1");
        assert_eq!(select([&line, &line], 10), Wanted::Whole);
        assert_eq!(select([], 10), Wanted::Whole);
    }

    proptest::proptest! {
        /// Every byte that was asked for is sent once, and no others but in short gaps.
        #[test]
        fn parts_cover_what_was_asked(
            asked in proptest::collection::vec((0_u64..5_000, 0_u64..300), 1..20),
        ) {
            let set: Vec<String> =
                asked.iter().map(|(start, more)| format!("{start}-{}", start + more)).collect();
            let line: HeaderValue = format!("bytes={}", set.join(",")).parse().unwrap();
            let spans = match select([&line], 4_000) {
                Wanted::Part(span) => vec![span],
                Wanted::Parts(spans) => spans,
                Wanted::Whole | Wanted::Unsatisfiable => return Ok(()),
            };
            let sent = |byte: u64| spans.iter().filter(|s| (s.start..s.end()).contains(&byte)).count();
            for byte in 0..4_000 {
                let is_asked = asked.iter().any(|(start, more)| (*start..=start + more).contains(&byte));
                proptest::prop_assert!(sent(byte) <= 1);
                proptest::prop_assert!(!is_asked || sent(byte) == 1);
            }
        }

        #[test]
        fn a_part_lies_inside(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", length: u64) {
            let line: HeaderValue = text.parse().unwrap();
            if let Wanted::Part(span) = select([&line], length) {
                proptest::prop_assert!(span.length > 0);
                proptest::prop_assert!(span.start.checked_add(span.length) <= Some(length));
            }
        }
    }
}
