//! The only place that asks the machine for the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 UTC, as claimed by somebody's clock; for display and caching, never
/// for deciding between records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// This time plus `duration`, in whole seconds, held at the largest value.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(seconds))
    }

    /// How long after `earlier` this is; nothing if it is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// How far [`Clock::System`] is ahead of the machine: of a region for tests alone, whose month is to be
/// over today.
static AHEAD_S: AtomicI64 = AtomicI64::new(0);

/// Puts the clock of this process ahead of the machine's, for good.
pub fn put_ahead(by: Duration) {
    let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    AHEAD_S.store(seconds, Ordering::Relaxed);
}

/// Where time comes from: the machine, or a test.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// A value that a test moves by hand.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `time` until it is moved.
    #[must_use]
    pub fn fixed(time: UnixTime) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(time.0)))
    }

    /// The wall time. Before 1970 reads as 1970.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        match self {
            Self::System => UnixTime(system_seconds()),
            Self::Fixed(seconds) => UnixTime(seconds.load(Ordering::Relaxed)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_seconds() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX);
    seconds.saturating_add(AHEAD_S.load(Ordering::Relaxed))
}

/// A point on the monotonic clock, for measuring how long our own work took.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}
