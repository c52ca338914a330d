//! Whether a pusher sends fast enough to be worth its place: pure, time is what it is told.
//!
//! Judged are the commands and the pack, not what is between them: a publisher's git may compress
//! for minutes before it sends the pack's first byte, and has said everything when it waits for
//! the answer. Only the time counts in which the node waited for the pusher.

use crate::receive::Limits;
use std::time::Duration;

/// One push's pace.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Duration,
    bytes_min: u64,
    commands: Commands,
    open: Option<Window>,
}

/// A stretch of time in which enough must arrive.
#[derive(Debug)]
struct Window {
    waited: Duration,
    bytes: u64,
    /// How often git had spoken when it began.
    spoken: u64,
}

impl Pace {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            window: limits.push_window,
            bytes_min: limits.push_window_bytes_min,
            commands: Commands::default(),
            open: None,
        }
    }

    /// How long to wait for the next bytes before asking again; `None` if that does not matter.
    pub(crate) fn left(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        Some(self.window.saturating_sub(open.waited))
    }

    /// Takes in what arrived, perhaps nothing, after a wait; returns whether the pusher is too
    /// slow. `spoken` counts what git has sent: it is silent while it receives.
    pub(crate) fn step(&mut self, waited: Duration, bytes: &[u8], spoken: u64) -> bool {
        if let Some(open) = &mut self.open {
            open.waited = open.waited.saturating_add(waited);
            if open.spoken != spoken {
                self.open = None;
            } else if open.waited >= self.window {
                if open.bytes < self.bytes_min {
                    return true;
                }
                self.open = None;
            }
        }
        let was_done = self.commands.is_done;
        let pack = self.commands.skip(bytes);
        if !was_done && self.commands.is_done {
            self.open = None;
        }
        let counted = if self.commands.is_done { pack } else { bytes };
        if !counted.is_empty() {
            let open = self.open.get_or_insert(Window {
                waited: Duration::ZERO,
                bytes: 0,
                spoken,
            });
            let count = u64::try_from(counted.len()).unwrap_or(u64::MAX);
            open.bytes = open.bytes.saturating_add(count);
        }
        false
    }
}

/// Finds the end of a push's commands: lines with their length in four hexadecimal digits, and
/// `0000` after the last (gitprotocol-common, "pkt-line format").
#[derive(Debug, Default)]
pub(super) struct Commands {
    is_done: bool,
    /// Of the present line, besides its length.
    left: usize,
    /// Of the present line's length.
    digits: Vec<u8>,
}

impl Commands {
    /// Passes over commands; returns what comes after them.
    pub(super) fn skip<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !self.is_done && !bytes.is_empty() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                bytes = bytes.get(count..).unwrap_or_default();
                self.left -= count;
                continue;
            }
            let missing = 4_usize.saturating_sub(self.digits.len()).min(bytes.len());
            let (digits, rest) = bytes.split_at(missing);
            self.digits.extend_from_slice(digits);
            bytes = rest;
            if self.digits.len() == 4 {
                let length = std::str::from_utf8(&self.digits).ok();
                let length = length.and_then(|text| usize::from_str_radix(text, 16).ok());
                self.digits.clear();
                // Git refuses what is not a length by itself.
                self.left = length.unwrap_or_default().saturating_sub(4);
                self.is_done = length.unwrap_or_default() == 0;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_end_at_their_flush_however_they_are_cut() {
        let commands = b"0008abcd0006xy0000";
        let stream = [&commands[..], b"PACK0000"].concat();
        for size in 1..=stream.len() {
            let mut state = Commands::default();
            let after: Vec<u8> = stream
                .chunks(size)
                .flat_map(|chunk| state.skip(chunk).to_vec())
                .collect();
            assert_eq!(after, b"PACK0000", "{size}");
        }
    }

    /// Plays rows of (seconds waited, bytes, times git has spoken); returns after how many the
    /// pusher was too slow.
    fn slow_after(rows: &[(u64, &[u8], u64)]) -> Option<usize> {
        let mut pace = Pace::new(&Limits {
            push_window: Duration::from_secs(60),
            push_window_bytes_min: 10,
            ..Limits::default()
        });
        let step = |&(waited, bytes, spoken): &(u64, &[u8], u64)| {
            pace.step(Duration::from_secs(waited), bytes, spoken)
        };
        rows.iter().map(step).position(|is_slow| is_slow)
    }

    #[test]
    fn only_the_slow_are_too_slow() {
        let commands = b"0006xy0000".as_slice();
        let (few, many) = (b"PACK".as_slice(), b"PACK678901".as_slice());
        for (name, rows, expected) in [
            (
                "fast",
                vec![(0, commands, 1), (1, many, 1), (60, many, 1)],
                None,
            ),
            (
                "a trickle",
                vec![(0, commands, 1), (1, few, 1), (59, few, 1), (1, few, 1)],
                Some(3),
            ),
            (
                "enough",
                vec![(0, commands, 1), (1, few, 1), (30, many, 1), (30, few, 1)],
                None,
            ),
            (
                "then a trickle",
                vec![(0, commands, 1), (1, many, 1), (60, few, 1), (60, b"", 1)],
                Some(3),
            ),
            (
                "commands with a pack",
                vec![(0, b"0000PACK", 1), (60, b"", 1)],
                Some(1),
            ),
            (
                "commands that do not end",
                vec![(9, b"00", 1), (60, b"0", 1)],
                Some(1),
            ),
            (
                "compressing",
                vec![(0, commands, 1), (600, b"", 1), (600, many, 1)],
                None,
            ),
            (
                "before the commands",
                vec![(600, b"", 1), (600, commands, 1)],
                None,
            ),
            (
                "git is at work",
                vec![(0, b"0000PACK", 1), (60, b"", 2), (600, b"", 3)],
                None,
            ),
        ] {
            assert_eq!(slow_after(&rows), expected, "{name}");
        }
    }

    #[test]
    fn the_wait_is_for_what_is_left_of_the_window() {
        let mut pace = Pace::new(&Limits::default());
        assert_eq!(pace.left(), None);
        pace.step(Duration::from_secs(9), b"0000PACK", 1);
        assert_eq!(pace.left(), Some(Duration::from_secs(60)));
        pace.step(Duration::from_secs(9), b"x", 1);
        assert_eq!(pace.left(), Some(Duration::from_secs(51)));
    }
}
