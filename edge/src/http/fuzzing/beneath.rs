//! Fuzz targets for the bytes beneath a visitor's requests.

use crate::http::frames::{FrameCounter, FrameLimits};
use crate::http::head_scan::{HeadLimits, HeadScanner, Scanned};
use http::StatusCode;

/// How long the pieces are in which bytes arrive: the first byte says it.
fn in_pieces(bytes: &[u8]) -> (usize, &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    (1 + usize::from(first % 32), rest)
}

/// The heads of an HTTP/1.1 connection: taken or refused in pieces as in one, and what is taken is
/// whole lines within the limits.
pub(crate) fn heads(bytes: &[u8]) {
    // Small, so that short inputs reach them.
    let limits = HeadLimits {
        bytes_max: 400,
        header_count_max: 5,
        target_bytes_max: 100,
    };
    let (piece, mut rest) = in_pieces(bytes);
    let mut scanner = HeadScanner::new(limits);
    loop {
        let at_once = scanner.scan(rest);
        let mut slow = HeadScanner::new(limits);
        let ends = (piece..rest.len()).step_by(piece).chain([rest.len()]);
        let in_pieces = ends
            .filter_map(|end| rest.get(..end))
            .map(|some| slow.scan(some))
            .find(|scanned| *scanned != Scanned::Partial);
        match (at_once, in_pieces) {
            (Scanned::Whole { bytes, .. }, Some(found)) => {
                assert_eq!(at_once, found);
                let (head, more) = rest.split_at_checked(bytes).expect("it lies in what came");
                check_head(head, &limits);
                rest = more;
            }
            // Of two faults, which one is told depends on what came first.
            (Scanned::Refused(refusal), Some(Scanned::Refused(_))) => {
                let status = refusal.status;
                assert!(
                    status.is_client_error() || status.as_u16() == 501 || status.as_u16() == 505
                );
                return;
            }
            (Scanned::Partial, None) => {
                assert_eq!(slow.refuse_end().status, StatusCode::BAD_REQUEST);
                return;
            }
            (at_once, in_pieces) => panic_differs(at_once, in_pieces),
        }
    }
}

#[expect(clippy::panic, reason = "a fuzz target says what it found by a panic")]
fn panic_differs(at_once: Scanned, in_pieces: Option<Scanned>) -> ! {
    panic!("{at_once:?} at once, {in_pieces:?} in pieces")
}

/// Nobody can read a head that passed in another way.
fn check_head(head: &[u8], limits: &HeadLimits) {
    assert!(head.len() <= limits.bytes_max && head.ends_with(b"\r\n\r\n"));
    let text = String::from_utf8_lossy(head);
    let mut lines = text.trim_start_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default();
    assert_eq!(first.split(' ').count(), 3, "{first}");
    let (fields, empty): (Vec<&str>, Vec<&str>) = lines.partition(|line| !line.is_empty());
    assert!(fields.len() <= limits.header_count_max && empty.len() == 2);
    let is_control = |c: char| c.is_ascii_control() && c != '\t';
    let count = |name: &str| {
        let of_name = |line: &&&str| {
            let (found, _) = line.split_once(':').expect("a field has a colon");
            found.eq_ignore_ascii_case(name)
        };
        fields.iter().filter(of_name).count()
    };
    assert!(!first.contains(is_control) && !fields.concat().contains(is_control));
    assert!(!fields.iter().any(|line| line.starts_with([' ', '\t'])));
    assert!(count("host") <= 1 && count("content-length") + count("transfer-encoding") <= 1);
}

/// The frames of an HTTP/2 connection: the same verdict in pieces as in one.
pub(crate) fn frames(bytes: &[u8]) {
    let limits = FrameLimits {
        control_count_max: 8,
        reset_count_max: 4,
        block_bytes_max: 600,
    };
    let (piece, rest) = in_pieces(bytes);
    let mut fast = FrameCounter::of_ours(limits);
    let mut passed = (Vec::new(), Vec::new());
    let at_once = fast.count(rest, (0, 5000), |frame, behind| {
        passed.0.push((frame, rest.len() - behind));
    });
    let mut slow = FrameCounter::of_ours(limits);
    let mut position = 0;
    let in_pieces = rest.chunks(piece).try_for_each(|some| {
        position += some.len();
        slow.count(some, (0, 5000), |frame, behind| {
            passed.1.push((frame, position - behind));
        })
    });
    assert_eq!(at_once, in_pieces);
    assert_eq!(passed.0, passed.1);
    if at_once.is_ok() {
        assert_eq!(fast.is_inside(), slow.is_inside());
        assert_eq!(fast.is_inside_frame(), slow.is_inside_frame());
        // The next window begins with no count: one more frame is always heard.
        if !fast.is_inside() {
            let ping = [0, 0, 0, 6, 0, 0, 0, 0, 0];
            assert_eq!(fast.count(&ping, (10_000, 5000), |_, _| {}), Ok(()));
        }
    }
}
