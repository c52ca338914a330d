//! Whether a visitor takes an answer fast enough to be worth waiting for.
//!
//! Pure but for the times it is given. What counts is what the visitor's machine has acknowledged;
//! what was merely written may wait in the kernel.

use std::time::Duration;
use tokio::time::Instant;

/// The least that a visitor must take while an answer waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PaceLimit {
    pub(super) bytes_min: u64,
    pub(super) time: Duration,
}

/// 5 s instead of 30: a visitor whose line is down for longer begins anew.
pub(super) const HURRY: u32 = 6;

/// One stretch of an answer.
#[derive(Debug)]
pub(super) struct Pace {
    limit: PaceLimit,
    /// One of so many parts of the limit's time is waited for.
    hurry: u32,
    /// When it began, and how much was acknowledged then if the kernel was asked.
    mark: Option<(Instant, Option<u64>)>,
}

impl Pace {
    pub(super) fn new(limit: PaceLimit) -> Self {
        Self {
            limit,
            hurry: 1,
            mark: None,
        }
    }

    /// Waits for a sixth of the time while memory is scarce, and for all of it otherwise.
    pub(super) fn hurry(&mut self, is_scarce: bool) {
        self.hurry = if is_scarce { HURRY } else { 1 };
    }

    fn time(&self) -> Duration {
        self.limit.time / self.hurry
    }

    /// Nothing waits for the visitor any more.
    pub(super) fn rest(&mut self) {
        self.mark = None;
    }

    /// Begins to measure; does nothing while it does so already, unless it did without the
    /// kernel's help and now has it.
    pub(super) fn begin(&mut self, now: Instant, acknowledged: Option<u64>) {
        let is_better = self
            .mark
            .is_none_or(|(_, mark)| mark.is_none() && acknowledged.is_some());
        if is_better {
            self.mark = Some((now, acknowledged));
        }
    }

    /// Whether it measures with the kernel's help already.
    pub(super) fn is_marked(&self) -> bool {
        self.mark.is_some_and(|(_, mark)| mark.is_some())
    }

    /// When to judge.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.mark.map(|(began, _)| began + self.time())
    }

    /// Whether the visitor was too slow since the beginning; begins anew.
    ///
    /// If the kernel was not asked at the beginning, the next stretch decides.
    pub(super) fn is_too_slow(&mut self, now: Instant, acknowledged: Option<u64>) -> bool {
        let Some((began, mark)) = self.mark.replace((now, acknowledged)) else {
            return false;
        };
        let Some((before, after)) = mark.zip(acknowledged) else {
            return false;
        };
        let taken = after.saturating_sub(before);
        let bytes_min = self.limit.bytes_min / u64::from(self.hurry);
        now >= began + self.time() && taken < bytes_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_too_little_is_too_slow() {
        let limit = PaceLimit {
            bytes_min: 30 << 10,
            time: Duration::from_secs(30),
        };
        let start = Instant::now();
        let late = start + limit.time;
        let rows = [
            (Some(5), Some(5 + (30 << 10)), false),
            (Some(5), Some(5 + (30 << 10) - 1), true),
            (Some(5), Some(5), true),
            (None, Some(0), false),
            (Some(5), None, false),
        ];
        for (before, after, expected) in rows {
            let mut pace = Pace::new(limit);
            assert_eq!(pace.deadline(), None);
            pace.begin(start, before);
            assert_eq!(pace.deadline(), Some(late));
            let slow = pace.is_too_slow(late, after);
            assert_eq!(slow, expected, "{before:?} {after:?}");
            assert_eq!(pace.deadline(), Some(late + limit.time));
        }
    }

    #[test]
    fn a_slow_visitor_is_waited_for_less_while_memory_is_scarce() {
        let limit = PaceLimit {
            bytes_min: 30 << 10,
            time: Duration::from_secs(30),
        };
        let start = Instant::now();
        let soon = start + limit.time / HURRY;
        for (taken, expected) in [(5 << 10, false), ((5 << 10) - 1, true)] {
            let mut pace = Pace::new(limit);
            pace.begin(start, Some(0));
            pace.hurry(true);
            assert_eq!(pace.deadline(), Some(soon));
            assert_eq!(pace.is_too_slow(soon, Some(taken)), expected);
            pace.hurry(false);
            assert_eq!(pace.deadline(), Some(soon + limit.time));
        }
    }

    #[test]
    fn a_mark_is_replaced_by_a_better_one_only() {
        let limit = PaceLimit {
            bytes_min: 1,
            time: Duration::from_secs(30),
        };
        let now = Instant::now();
        let later = |s| now + Duration::from_secs(s);
        let mut pace = Pace::new(limit);
        pace.begin(now, None);
        assert!(!pace.is_marked());
        pace.begin(later(1), Some(1));
        pace.begin(later(2), Some(2));
        assert!(pace.is_marked());
        assert_eq!(pace.deadline(), Some(later(31)));
        pace.rest();
        assert_eq!(pace.deadline(), None);
    }
}
