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

/// One stretch of an answer.
#[derive(Debug)]
pub(super) struct Pace {
    limit: PaceLimit,
    /// When it began, and how much was acknowledged then if the kernel was asked.
    mark: Option<(Instant, Option<u64>)>,
}

impl Pace {
    pub(super) fn new(limit: PaceLimit) -> Self {
        Self { limit, mark: None }
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
        self.mark.map(|(began, _)| began + self.limit.time)
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
        now >= began + self.limit.time && taken < self.limit.bytes_min
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
