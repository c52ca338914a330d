//! Which versions are here whole: every blob of theirs is durable and was checked.
//!
//! A row of the database for each, read at the start and kept in memory. A version is put on the
//! shelf in the same commit as the deploy that this node accepts, or once it has come from a peer
//! and was checked; visitors see no other. It is taken off when a blob of it turns out to be
//! missing or is given up. A crash loses what was not committed: the version is then checked again.

use crate::id::Version;
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};
use tokio::sync::watch;

/// The versions that are here whole.
#[derive(Debug)]
pub struct Shelf {
    held: RwLock<HashSet<Version>>,
    changes: watch::Sender<u64>,
}

impl Shelf {
    pub(super) fn new(held: Vec<Version>) -> Self {
        Self {
            held: RwLock::new(held.into_iter().collect()),
            changes: watch::Sender::new(0),
        }
    }

    /// Whether `version` is here whole.
    #[must_use]
    pub fn holds(&self, version: &Version) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.contains(version)
    }

    /// All of them, in no order.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().copied().collect()
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
        for (came, went) in commits {
            for version in came {
                has_changed |= held.insert(*version);
            }
            for version in went {
                has_changed |= held.remove(version);
            }
        }
        drop(held);
        if has_changed {
            self.changes
                .send_modify(|number| *number = number.wrapping_add(1));
        }
    }
}
