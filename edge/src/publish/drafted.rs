//! Versions that are built and wait for a signature of their account.
//!
//! Owns the pins of their blobs: one version for each site, [`WAITING_COUNT_MAX`] sites, for
//! [`WAITING_TIME_MAX`]. A crash loses them: whoever signs is told to ask again.

use crate::receive::Bundled;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use verge_builder::Built;
use verge_sync::clock::stopwatch;
use verge_sync::id::{RecordId, SiteId};
use verge_sync::store::BlobPin;

/// Each may hold a version's blobs for an hour; whoever signs with a key at hand needs seconds.
const WAITING_COUNT_MAX: usize = 64;
/// Time enough to fetch a key from a drawer.
const WAITING_TIME_MAX: Duration = Duration::from_secs(3600);

/// What waits, the newest last.
#[derive(Default)]
pub(super) struct Drafted(Mutex<VecDeque<Waiting>>);

/// What keeps a version and its history from collection.
pub(super) type Kept = (BlobPin, Option<Bundled>);

struct Waiting {
    site: SiteId,
    record: RecordId,
    built: Box<Built>,
    since: Instant,
    _kept: Kept,
}

impl Drafted {
    /// `record` of `site` was asked for, and puts what was `built` in place.
    pub(super) fn keep(&self, site: SiteId, record: RecordId, built: Box<Built>, kept: Kept) {
        let mut waiting = self.lock();
        waiting.retain(|other| other.site != site && other.is_in_time());
        if waiting.len() >= WAITING_COUNT_MAX {
            waiting.pop_front();
        }
        waiting.push_back(Waiting {
            site,
            record,
            built,
            since: stopwatch(),
            _kept: kept,
        });
    }

    /// What was built for `record`, if that is still waited for.
    pub(super) fn find(&self, record: &RecordId) -> Option<Box<Built>> {
        let mut waiting = self.lock();
        waiting.retain(Waiting::is_in_time);
        let found = waiting.iter().find(|waiting| waiting.record == *record);
        found.map(|waiting| waiting.built.clone())
    }

    /// It was taken in.
    pub(super) fn forget(&self, record: &RecordId) {
        self.lock().retain(|waiting| waiting.record != *record);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_in_time(&self) -> bool {
        self.since.elapsed() < WAITING_TIME_MAX
    }
}
