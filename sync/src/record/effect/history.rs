//! The records of one subject, in the order in which they follow one another.
//!
//! This order comes from the records alone (epoch, sequence, RecordId), never from arrival.
//! At each place the lowest RecordId has effect, the second is evidence; any further is there only
//! for those that follow it.

use crate::id::RecordId;
use crate::record::envelope::{AuthorId, Record, SEQUENCE_MAX};
use crate::record::kinds::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A record whose predecessor is not known here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The record that waits.
    pub record: RecordId,
    /// What to ask others for.
    pub missing: RecordId,
}

/// Two records that cannot both be meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// One author, one place, two records: the first has effect.
    Equivocation {
        /// Who wrote both.
        author: AuthorId,
        /// The lower RecordId.
        first: RecordId,
        /// The higher.
        second: RecordId,
    },
    /// Two steps that both count after the same one.
    RivalSteps(crate::record::region::Rivals),
    /// A node that voted for two claims of one name: the vote with the lower RecordId counts.
    DoubleVote {
        /// The node.
        author: AuthorId,
        /// The vote that counts.
        first: RecordId,
        /// The one that does not.
        second: RecordId,
    },
}

/// What comes up while records are read, besides their meaning.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) evidence: Vec<Evidence>,
    pub(super) waiting: Vec<Waiting>,
    /// Records that break the rule of sequences: no release gives them effect.
    pub(super) malformed: BTreeSet<RecordId>,
}

/// A record in its history.
#[derive(Debug)]
pub(super) struct Entry<'a, S> {
    pub(super) record: &'a Arc<Record>,
    /// Indices of its predecessors: all lower than its own.
    pub(super) predecessors: Vec<usize>,
    /// What the judge made of it; none if it has no effect.
    pub(super) state: Option<S>,
    /// Whether a lower one stands at its place.
    is_beaten: bool,
}

impl<S> Entry<'_, S> {
    /// Whether the record has effect, as far as its author's right goes.
    pub(super) fn stands(&self) -> bool {
        self.state.is_some() && !self.is_beaten
    }
}

/// All entries of one subject, each after its predecessors.
#[derive(Debug)]
pub(super) struct History<'a, S>(pub(super) Vec<Entry<'a, S>>);

impl<'a, S> History<'a, S> {
    /// Orders `records` of one subject and lets `judge` say what each means, given what its
    /// predecessors meant (oldest first; only those that mean something).
    pub(super) fn read(
        records: &[&'a Arc<Record>],
        notes: &mut Notes,
        mut judge: impl FnMut(&'a Arc<Record>, &[&S]) -> Option<S>,
    ) -> Self {
        let mut sorted = records.to_vec();
        sorted.sort_unstable_by_key(|record| order(record));
        let mut entries: Vec<Entry<'a, S>> = Vec::with_capacity(sorted.len());
        let mut index_of: BTreeMap<RecordId, usize> = BTreeMap::new();
        let mut waits_for: BTreeMap<RecordId, RecordId> = BTreeMap::new();
        let mut places: BTreeMap<(AuthorId, u32, u32), (RecordId, usize)> = BTreeMap::new();
        for record in sorted {
            let envelope = record.envelope();
            let mut predecessors = Vec::with_capacity(envelope.predecessors.len());
            let missing = envelope
                .predecessors
                .iter()
                .find(|id| match index_of.get(id) {
                    Some(index) => {
                        predecessors.push(*index);
                        false
                    }
                    None => true,
                });
            if let Some(missing) = missing {
                // What waits for a record that waits itself is helped by the same arrival.
                let missing = *waits_for.get(missing).unwrap_or(missing);
                waits_for.insert(record.id(), missing);
                notes.waiting.push(Waiting {
                    record: record.id(),
                    missing,
                });
                continue;
            }
            predecessors.sort_unstable();
            if !follows(
                record,
                predecessors
                    .iter()
                    .filter_map(|i| entries.get(*i))
                    .map(position),
            ) {
                notes.malformed.insert(record.id());
                continue;
            }
            let place = (envelope.author, envelope.epoch, envelope.sequence);
            let (first, count) = places.entry(place).or_insert((record.id(), 0));
            *count += 1;
            if *count == 2 {
                let (author, first) = (envelope.author, *first);
                let second = record.id();
                notes.evidence.push(Evidence::Equivocation {
                    author,
                    first,
                    second,
                });
            }
            let is_beaten = *count > 1;
            let before: Vec<&S> = predecessors
                .iter()
                .filter_map(|index| entries.get(*index)?.state.as_ref())
                .collect();
            let state = judge(record, &before);
            index_of.insert(record.id(), entries.len());
            entries.push(Entry {
                record,
                predecessors,
                state,
                is_beaten,
            });
        }
        Self(entries)
    }

    /// The entries that have effect, oldest first.
    pub(super) fn standing(&self) -> impl DoubleEndedIterator<Item = &Entry<'a, S>> {
        self.0.iter().filter(|entry| entry.stands())
    }

    /// The latest entry that has effect, if there is one.
    pub(super) fn latest(&self) -> Vec<RecordId> {
        self.standing()
            .next_back()
            .map(|entry| entry.record.id())
            .into_iter()
            .collect()
    }

    /// For each entry, whether it is `root` or follows it.
    pub(super) fn descendants(&self, root: usize) -> Vec<bool> {
        let mut marks: Vec<bool> = Vec::with_capacity(self.0.len());
        for (index, entry) in self.0.iter().enumerate() {
            let follows = |before: &usize| marks.get(*before).copied().unwrap_or(false);
            let mark = index == root || entry.predecessors.iter().any(follows);
            marks.push(mark);
        }
        marks
    }

    /// For each entry, whether it is `tip` or `tip` follows it.
    pub(super) fn ancestors(&self, tip: usize) -> Vec<bool> {
        let mut marks = vec![false; self.0.len()];
        let mut rest = vec![tip];
        while let Some(index) = rest.pop() {
            let Some(mark) = marks.get_mut(index) else {
                continue;
            };
            if !std::mem::replace(mark, true) {
                let before = self.0.get(index).map(|entry| entry.predecessors.as_slice());
                rest.extend_from_slice(before.unwrap_or_default());
            }
        }
        marks
    }

    /// The standing entries that no standing entry follows: what a next record names.
    pub(super) fn tips(&self) -> Vec<RecordId> {
        let followed: BTreeSet<usize> = self
            .standing()
            .flat_map(|entry| entry.predecessors.iter().copied())
            .collect();
        let tips = self
            .0
            .iter()
            .enumerate()
            .filter(|(index, entry)| entry.stands() && !followed.contains(index));
        tips.map(|(_, entry)| entry.record.id()).collect()
    }
}

/// The order of records of one subject: a record comes after all of its predecessors.
pub(super) fn order(record: &Record) -> (u32, u32, RecordId) {
    (
        record.envelope().epoch,
        record.envelope().sequence,
        record.id(),
    )
}

fn position<S>(entry: &Entry<'_, S>) -> (u32, u32) {
    (
        entry.record.envelope().epoch,
        entry.record.envelope().sequence,
    )
}

/// The rule of sequences: 1 + the highest sequence of the predecessors in the same epoch.
///
/// A deploy may stand in any epoch that is not below its predecessors' (its site says which counts);
/// every other kind goes to the next epoch only when the sequences of one are used up.
pub(in crate::record) fn follows(
    record: &Record,
    before: impl Iterator<Item = (u32, u32)>,
) -> bool {
    let envelope = record.envelope();
    let (mut epoch_max, mut full, mut sequence_max) = (None, false, 0);
    for (epoch, sequence) in before {
        if epoch > envelope.epoch {
            return false;
        }
        if epoch == envelope.epoch {
            sequence_max = sequence_max.max(sequence);
        }
        full |= sequence == SEQUENCE_MAX && epoch_max.is_none_or(|max| epoch >= max);
        epoch_max = epoch_max.max(Some(epoch));
    }
    if envelope.sequence != sequence_max + 1 {
        return false;
    }
    if envelope.kind == Kind::DEPLOY {
        return true;
    }
    match epoch_max {
        None => envelope.epoch == 0,
        Some(max) if envelope.epoch == max => true,
        Some(max) => full && max.checked_add(1) == Some(envelope.epoch),
    }
}
