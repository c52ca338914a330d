//! What a connection is doing, for its deadlines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Shared by a connection, its stream and its answers. Times are milliseconds since the connection
/// began; all of it lives on one thread, so the order of the loads does not matter.
pub(crate) struct Activity {
    began: Instant,
    in_flight: AtomicU32,
    begun_count: AtomicU64,
    /// When the last answer ended.
    rested_ms: AtomicU64,
    /// When the first byte of a request head came; 0 if none is being read.
    head_ms: AtomicU64,
    /// The visitor does not take what is written as fast as it comes.
    is_blocked: AtomicBool,
    /// Something began that may end before the timer that is set.
    is_urgent: AtomicBool,
}

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Without a request.
    pub(crate) idle: Duration,
    /// From the first byte of a request's head to its last.
    pub(crate) head: Duration,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            in_flight: AtomicU32::new(0),
            begun_count: AtomicU64::new(0),
            rested_ms: AtomicU64::new(0),
            head_ms: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            is_urgent: AtomicBool::new(false),
        })
    }

    /// A request's head is complete; it is in flight until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.begun_count.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Requests that were begun, ended or not.
    pub(super) fn begun_count(&self) -> u64 {
        self.begun_count.load(Ordering::Relaxed)
    }

    /// Requests that are being answered.
    pub(super) fn in_flight_count(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.in_flight_count() > 0
    }

    /// Whether there is an answer that the visitor has not taken yet.
    pub(super) fn is_busy(&self) -> bool {
        self.is_answering() || self.is_blocked()
    }

    /// Whether what is written waits for the visitor.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    /// The beginning of a head is there and its end is not.
    pub(super) fn note_head(&self) {
        if self.head_ms.load(Ordering::Relaxed) == 0 {
            self.note_head_at(self.elapsed_ms());
        }
    }

    /// No head is being read.
    pub(super) fn note_head_end(&self) {
        self.head_ms.store(0, Ordering::Relaxed);
    }

    /// A write must wait for the visitor.
    pub(super) fn note_blocked(&self) {
        if !self.is_blocked.swap(true, Ordering::Relaxed) {
            self.is_urgent.store(true, Ordering::Relaxed);
        }
    }

    /// Everything was written.
    pub(super) fn note_settled(&self) {
        if self.is_blocked.swap(false, Ordering::Relaxed) {
            self.rested_ms.store(self.elapsed_ms(), Ordering::Relaxed);
        }
    }

    /// Whether the timer must be looked at; asks once.
    pub(super) fn take_urgency(&self) -> bool {
        self.is_urgent.swap(false, Ordering::Relaxed)
    }

    /// When the connection's patience ends if no answer is under way.
    pub(crate) fn deadline(&self, patience: &Patience) -> Instant {
        let at = |ms: u64| self.began + Duration::from_millis(ms);
        let rested_ms = self.rested_ms.load(Ordering::Relaxed);
        let idle = at(rested_ms) + patience.idle;
        match self.head_ms.load(Ordering::Relaxed) {
            0 => idle,
            // A head that came while we were answering was not read on; that was not its fault.
            head_ms => idle.min(at(head_ms.max(rested_ms)) + patience.head),
        }
    }

    /// Milliseconds since the connection began.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note_head_at(&self, elapsed_ms: u64) {
        self.head_ms.store(elapsed_ms.max(1), Ordering::Relaxed);
        self.is_urgent.store(true, Ordering::Relaxed);
    }

    fn rest_at(&self, elapsed_ms: u64) {
        self.rested_ms.store(elapsed_ms, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One request that is being answered.
pub(crate) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.rest_at(self.0.elapsed_ms());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_follow_what_the_connection_does() {
        let patience = Patience {
            idle: Duration::from_secs(60),
            head: Duration::from_secs(10),
        };
        let activity = Activity::new();
        let after = || (activity.deadline(&patience) - activity.began).as_secs();
        assert_eq!(after(), 60, "nothing was asked");
        activity.note_head_at(5_000);
        assert!(activity.take_urgency());
        assert_eq!(after(), 15, "a head has begun");
        activity.note_head();
        assert_eq!(after(), 15, "more of the head gives no more time");
        assert!(!activity.take_urgency());
        activity.note_head_end();
        let first = activity.begin();
        let second = activity.begin();
        assert!(activity.is_busy());
        activity.rest_at(100_000);
        activity.note_head_at(101_000);
        activity.rest_at(110_000);
        assert!(!activity.is_busy());
        assert_eq!(
            after(),
            120,
            "a head that had to wait has its time from then"
        );
        activity.note_head_end();
        assert_eq!(after(), 170, "idle since the last answer");
        // Their ends were told above.
        std::mem::forget((first, second));
    }
}
