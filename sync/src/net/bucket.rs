//! So many bytes a second, for what goes over an uplink that a household uses too.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What may go at once after a rest: a quarter of a second's worth.
const BURST: Duration = Duration::from_millis(250);

/// A limit that several transfers share, in the order in which they ask.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_second: u64,
    /// When all that was let through has gone.
    busy_until: Mutex<Option<Instant>>,
}

impl Bucket {
    /// None for 0, which is no limit.
    pub(super) fn new(bytes_per_second: u64) -> Option<Self> {
        let busy_until = Mutex::default();
        (bytes_per_second > 0).then_some(Self {
            bytes_per_second,
            busy_until,
        })
    }

    /// Waits until `bytes` more may go.
    pub(super) async fn take(&self, bytes: usize) {
        tokio::time::sleep_until(self.book(bytes, Instant::now())).await;
    }

    /// When `bytes` more may go.
    fn book(&self, bytes: usize, now: Instant) -> Instant {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut busy_until = self
            .busy_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let from = busy_until.map_or(now, |until| until.max(now));
        *busy_until = Some(from + takes);
        // What has been asked for before may still be on its way.
        from.checked_sub(BURST).unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_waits_its_turn() {
        let now = Instant::now();
        let bucket = Bucket::new(1_000).unwrap();
        let waits = |bytes, at: Instant| bucket.book(bytes, at).saturating_duration_since(at);
        assert_eq!(waits(250, now), Duration::ZERO);
        assert_eq!(waits(1_000, now), Duration::ZERO, "the burst");
        assert_eq!(waits(1, now), Duration::from_secs(1), "behind 1,250 bytes");
        let later = now + Duration::from_secs(10);
        assert_eq!(waits(1, later), Duration::ZERO, "a rest saves up no more");
        assert!(Bucket::new(0).is_none());
    }
}
