//! Where the bodies of HTTP/1.1 answers lie in what the connection writes.
//!
//! The length of each answer's body is known before its head is written, in order; a head ends at
//! its empty line. Nobody reads a request's body, so the library writes no interim answers.

use memchr::memmem::Finder;
use std::sync::LazyLock;

const END: &[u8] = b"\r\n\r\n";
/// Made once: a search of a head then costs 30 ns.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END));

/// Where in the byte stream we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a head, with so many bytes of its end seen.
    Head(usize),
    /// In a body of which so many bytes are to come.
    Body(u64),
}

/// How many of `bytes` belong to the head, and how many bytes of its end were seen: all four when
/// the head is over.
pub(super) fn pass_head(mut seen: usize, bytes: &[u8]) -> (usize, usize) {
    let mut passed = 0;
    // The end may have begun in what was written before.
    while seen > 0 {
        let Some(byte) = bytes.get(passed) else {
            return (passed, seen);
        };
        passed += 1;
        seen = step(seen, *byte);
        if seen == END.len() {
            return (passed, seen);
        }
    }
    let rest = bytes.get(passed..).unwrap_or_default();
    if let Some(at) = FINDER.find(rest) {
        return (passed + at + END.len(), END.len());
    }
    let tail = rest.get(rest.len().saturating_sub(END.len() - 1)..);
    let tail = tail.unwrap_or_default();
    (
        bytes.len(),
        tail.iter().fold(0, |seen, byte| step(seen, *byte)),
    )
}

fn step(seen: usize, byte: u8) -> usize {
    match END.get(seen) {
        Some(expected) if *expected == byte => seen + 1,
        _ => usize::from(byte == b'\r'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut() {
        for text in [
            "HTTP/1.1 200 OK\r\na: b\r\n\r\nbody\r\n\r\n",
            "x\r\r\n\r\n",
            "\r\n\r\n",
            "\r\n\r\r\n\r\n",
            "a\r\n\n\r\n\r\nb",
        ] {
            let bytes = text.as_bytes();
            let expected = text.find("\r\n\r\n").unwrap() + 4;
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    let (mut total, mut seen) = (0, 0);
                    for piece in pieces {
                        let (passed, now) = pass_head(seen, piece);
                        (total, seen) = (total + passed, now);
                        if seen == END.len() {
                            break;
                        }
                        assert_eq!(passed, piece.len());
                    }
                    assert_eq!((total, seen), (expected, 4), "{text:?} {first} {second}");
                }
            }
        }
    }
}
