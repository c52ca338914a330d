//! Which versions are here whole: every blob of theirs is durable and was checked.
//!
//! A row of the database for each, read at the start and kept in memory. A version is put on the
//! shelf in the same commit as the deploy that this node accepts, or once it has come from a peer
//! and was checked; visitors see no other. It is taken off when a blob of it turns out to be
//! missing or is given up. A crash loses what was not committed: the version is then checked again.

use crate::id::Version;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use tokio::sync::watch;

/// The versions that are here whole.
#[derive(Debug)]
pub struct Shelf {
    /// Each with the number of the change that it came with.
    held: RwLock<HashMap<Version, u64>>,
    changes: watch::Sender<u64>,
    /// The last change that visitors see.
    shown: AtomicU64,
}

impl Shelf {
    pub(super) fn new(held: Vec<Version>) -> Self {
        Self {
            held: RwLock::new(held.into_iter().map(|version| (version, 0)).collect()),
            changes: watch::Sender::new(0),
            shown: AtomicU64::new(0),
        }
    }

    /// Whether `version` is here whole.
    #[must_use]
    pub fn holds(&self, version: &Version) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.contains_key(version)
    }

    /// Whether it is, and visitors may have seen it already.
    #[must_use]
    pub fn is_shown(&self, version: &Version) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let shown = self.shown.load(Ordering::Acquire);
        held.get(version).is_some_and(|change| *change <= shown)
    }

    /// What there was at change `number` is before visitors now.
    pub fn set_shown(&self, number: u64) {
        self.shown.fetch_max(number, Ordering::AcqRel);
    }

    /// All of them, in no order.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.keys().copied().collect()
    }

    /// A number that changes whenever the shelf does, before whoever changed it is answered.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes over what was committed: versions that came and versions that went, in that order.
    pub(super) fn change<'a>(&self, commits: impl Iterator<Item = (&'a [Version], &'a [Version])>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let mut has_changed = false;
        let number = self.changes.borrow().wrapping_add(1);
        for (came, went) in commits {
            for version in came {
                if !held.contains_key(version) {
                    held.insert(*version, number);
                    has_changed = true;
                }
            }
            for version in went {
                has_changed |= held.remove(version).is_some();
            }
        }
        drop(held);
        if has_changed {
            self.changes.send_replace(number);
        }
    }
}
