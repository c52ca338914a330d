//! Removes blobs that nothing names any more, and knows which ones it must not touch.
//!
//! The caller computes what is alive before it collects; meanwhile somebody may put a blob and name
//! it. So a blob is also kept while it is pinned, and for a grace period after it was put, adopted
//! or unpinned in this run of the process. Time is the monotonic clock: a wall clock that jumps
//! from 1970 to today must not make every blob old. A crash loses these marks, and with them those
//! who were about to name something. It can bring a removed blob back, whole.

use super::Store;
use super::error::StoreError;
use crate::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the collector must leave alone whatever its caller says.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<Marked>);

#[derive(Debug, Default)]
struct Marked {
    /// How many pins each blob has.
    pins: BTreeMap<Digest, u32>,
    /// When a blob was last put, adopted or unpinned in this run; at most one entry per blob, and
    /// none older than the grace period after a collection.
    touched: BTreeMap<Digest, Instant>,
}

impl Marks {
    /// Starts the grace period of blobs. Comes before the look whether they are present, so that a
    /// collector either sees the mark or has removed them already.
    pub(super) fn touch(&self, digests: impl IntoIterator<Item = Digest>) {
        let now = crate::clock::stopwatch();
        let mut marked = self.lock();
        marked
            .touched
            .extend(digests.into_iter().map(|digest| (digest, now)));
    }

    pub(super) fn pin(self: &Arc<Self>, digests: impl IntoIterator<Item = Digest>) -> BlobPin {
        let digests: BTreeSet<_> = digests.into_iter().collect();
        let mut marked = self.lock();
        for digest in &digests {
            *marked.pins.entry(*digest).or_default() += 1;
        }
        BlobPin {
            digests,
            marks: Arc::clone(self),
        }
    }

    fn unpin(&self, digests: &BTreeSet<Digest>) {
        {
            let mut marked = self.lock();
            for digest in digests {
                if let Some(count) = marked.pins.get_mut(digest) {
                    *count -= 1;
                    if *count == 0 {
                        marked.pins.remove(digest);
                    }
                }
            }
        }
        self.touch(digests.iter().copied());
    }

    /// No holder can leave the maps half changed, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marked {
    fn keeps(&self, digest: &Digest) -> bool {
        self.pins.contains_key(digest) || self.touched.contains_key(digest)
    }
}

/// Keeps blobs from being collected until it is dropped, and one grace period longer. They need not
/// be in the store yet.
#[derive(Debug)]
#[must_use = "a pin that is dropped at once pins nothing"]
pub struct BlobPin {
    digests: BTreeSet<Digest>,
    marks: Arc<Marks>,
}

impl Drop for BlobPin {
    fn drop(&mut self) {
        self.marks.unpin(&self.digests);
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs removed.
    pub removed_count: u64,
    /// Their size.
    pub removed_bytes: u64,
    /// Blobs that nothing names but that are pinned or in their grace period.
    pub spared_count: u64,
}

impl Store {
    /// Removes the blobs that are not in `live`, not pinned, and not put, adopted or unpinned
    /// within `grace` before `now` (a [`crate::clock::stopwatch`] value).
    ///
    /// `grace` must be longer than it takes from computing `live` to this call.
    ///
    /// # Errors
    /// [`StoreError::Disk`]; some may have been removed.
    pub fn collect(
        &self,
        live: &BTreeSet<Digest>,
        grace: Duration,
        now: Instant,
    ) -> Result<Collected, StoreError> {
        let blobs = self.blobs();
        let mut collected = Collected::default();
        let held = blobs.list()?;
        blobs
            .marks()
            .lock()
            .touched
            .retain(|_, since| now.saturating_duration_since(*since) < grace);
        for blob in held.into_iter().filter(|blob| !live.contains(&blob.digest)) {
            // Held over the removal: a pin taken after it finds the blob gone, never half gone.
            let marked = blobs.marks().lock();
            if marked.keeps(&blob.digest) {
                collected.spared_count += 1;
                continue;
            }
            blobs.remove(&blob.digest)?;
            drop(marked);
            collected.removed_count += 1;
            collected.removed_bytes = collected.removed_bytes.saturating_add(blob.bytes);
        }
        // Also when nothing was removed: the last collection may have failed just here. The sync of
        // a directory that has not changed writes nothing.
        blobs.sync_names()?;
        Ok(collected)
    }
}
