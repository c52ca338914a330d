//! What a look at all seals gave.

use crate::accounting::calendar::Day;
use crate::accounting::figures::Count;
use crate::accounting::seal::{Previous, RowsNamed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RecordId};

/// A seal that holds: its rows are on the disk, and all of it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The record that has it.
    pub record: RecordId,
    /// Who counted.
    pub node: NodeId,
    /// When.
    pub day: Day,
    /// Its name: the BLAKE3 value of its body.
    pub digest: Digest,
    /// Its body.
    pub body: Vec<u8>,
    /// Its rows.
    pub rows: RowsNamed,
    /// The sum of the rows.
    pub sum: Count,
    /// How many sites have a row.
    pub site_count: usize,
    /// The first and the last start of the node that counted in it.
    pub epochs: (u32, u32),
    /// The seal before.
    pub previous: Option<Previous>,
    /// What it says, whatever was added that this release does not know: two seals with the same are
    /// the same.
    pub(super) meaning: Digest,
}

/// A record that has no seal, though it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub record: RecordId,
    /// Whose.
    pub node: NodeId,
    /// Of when, as it says.
    pub day: Day,
    /// In words.
    pub why: Arc<str>,
}

/// The seals of all nodes, as far as their rows are here and kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Review {
    /// By node and day. Several of one day are all kept, as evidence: see [`Review::contradicted`].
    pub days: BTreeMap<(NodeId, Day), Vec<Arc<Entry>>>,
    /// Rows that are not here yet, and how long they are.
    pub missing: BTreeMap<Digest, u64>,
    /// Of whom the rows of a day are not here yet.
    pub waiting: BTreeSet<(NodeId, Day)>,
    /// Seals that later ones of the same node name and that no record here has.
    pub gaps: BTreeSet<(NodeId, Day)>,
    /// What does not count.
    pub refused: Vec<Refused>,
}

impl Review {
    /// Days of which a node signed seals that say different things; of each figure the smaller
    /// counts.
    pub fn contradicted(&self) -> impl Iterator<Item = (NodeId, Day)> {
        let days = self.days.iter();
        let several = days.filter(|(_, entries)| {
            let mut meanings = entries.iter().map(|entry| entry.meaning);
            let first = meanings.next();
            meanings.any(|meaning| Some(meaning) != first)
        });
        several.map(|(key, _)| *key)
    }

    /// The last day that a node has sealed.
    #[must_use]
    pub fn last_of(&self, node: NodeId) -> Option<&Arc<Entry>> {
        let mut days = self.days.range(..=(node, Day::LAST));
        let ((of, _), entries) = days.next_back()?;
        entries.first().filter(|_| *of == node)
    }
}
