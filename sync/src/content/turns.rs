//! One at a time for each blob: two versions that share one must not both write its beginning.

use crate::digest::Digest;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Turns {
    busy: Mutex<BTreeSet<Digest>>,
    freed: Notify,
}

/// Ends when it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    digest: Digest,
}

impl Turns {
    /// Waits until nobody else is at `digest`.
    pub(super) async fn turn(&self, digest: Digest) -> Turn<'_> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Whoever frees it from now on is heard.
            freed.as_mut().enable();
            if self.busy().insert(digest) {
                return Turn {
                    turns: self,
                    digest,
                };
            }
            freed.await;
        }
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.busy().remove(&self.digest);
        self.turns.freed.notify_waiters();
    }
}
