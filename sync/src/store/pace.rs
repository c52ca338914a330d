//! Makes background work rest in proportion to its own last steps, so that it takes a fixed share
//! of whatever the disk can do and less of a disk that is busy with visitors.
//!
//! The idea is Garage's "tranquilizer". How to rest comes in from outside: a thread waits for its
//! end meanwhile, a test counts.

use std::ops::ControlFlow;
use std::time::Duration;

/// 10 s: a step that took long because the disk hung must not stop the work for an hour.
const REST_MAX: Duration = Duration::from_secs(10);
/// 10 ms: shorter rests are saved up, because each costs a wake-up.
const REST_MIN: Duration = Duration::from_millis(10);

/// Decides how long to rest after each step of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    rest_per_work: u32,
    owed: Duration,
}

/// Waits for some time; breaks off when the work is to end.
pub trait Rest {
    /// Waits.
    fn rest(&mut self, duration: Duration) -> ControlFlow<()>;
}

impl<F: FnMut(Duration) -> ControlFlow<()>> Rest for F {
    fn rest(&mut self, duration: Duration) -> ControlFlow<()> {
        self(duration)
    }
}

impl Pace {
    /// A pace that rests `rest_per_work` times as long as it works: 0 never rests, 9 takes a tenth
    /// of the time.
    #[must_use]
    pub fn new(rest_per_work: u32) -> Self {
        Self {
            rest_per_work,
            owed: Duration::ZERO,
        }
    }

    /// How long to rest now that a step took `work`; nothing while it is not worth waking up for.
    pub fn rest_after(&mut self, work: Duration) -> Duration {
        let rest = work.saturating_mul(self.rest_per_work);
        self.owed = self.owed.saturating_add(rest).min(REST_MAX);
        if self.owed < REST_MIN {
            return Duration::ZERO;
        }
        std::mem::take(&mut self.owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_follow_the_work() {
        let ms = Duration::from_millis;
        // (rest per work, works, rests)
        let rows: &[(u32, &[Duration], &[Duration])] = &[
            (0, &[ms(5), ms(5_000)], &[ms(0), ms(0)]),
            (9, &[ms(5), ms(20)], &[ms(45), ms(180)]),
            (3, &[ms(2), ms(1), ms(1)], &[ms(0), ms(0), ms(12)]),
            (9, &[ms(60_000), ms(1), ms(2)], &[REST_MAX, ms(0), ms(27)]),
            (u32::MAX, &[Duration::MAX], &[REST_MAX]),
        ];
        for (rest_per_work, works, rests) in rows {
            let mut pace = Pace::new(*rest_per_work);
            let found: Vec<_> = works.iter().map(|work| pace.rest_after(*work)).collect();
            assert_eq!(found, *rests, "{rest_per_work} after {works:?}");
        }
    }
}
