//! Records that came too early, and ids that were refused for good: both bounded.

use crate::id::RecordId;
use crate::record::effect::{Refusal, WAITING_PER_SUBJECT_MAX};
use crate::record::{Kind, Record};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// 8 MiB of ordinary records at most; what leaves comes again with the next reconciliation.
const ASIDE_COUNT_MAX: usize = 4_096;
/// 4 MiB of ids in two generations.
const REFUSED_COUNT_MAX: usize = 65_536;

/// Records that may become admissible when others arrive.
#[derive(Debug, Default)]
pub(super) struct Aside {
    records: HashMap<RecordId, (Arc<Record>, Refusal)>,
    /// In the order of arrival.
    order: VecDeque<RecordId>,
    per_subject: BTreeMap<(Kind, Vec<u8>), usize>,
}

impl Aside {
    pub(super) fn contains(&self, id: &RecordId) -> bool {
        self.records.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Keeps a record that waits, unless too many wait for its subject; the oldest leave.
    pub(super) fn keep(&mut self, record: Arc<Record>, why: Refusal) {
        let id = record.id();
        if self.records.contains_key(&id) {
            return;
        }
        let count = self.per_subject.entry(subject(&record)).or_default();
        if *count >= WAITING_PER_SUBJECT_MAX {
            return;
        }
        *count += 1;
        self.records.insert(id, (record, why));
        self.order.push_back(id);
        while self.records.len() > ASIDE_COUNT_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            drop(self.take(&oldest));
        }
        if self.order.len() > 2 * ASIDE_COUNT_MAX {
            self.order.retain(|id| self.records.contains_key(id));
        }
    }

    /// What may be admissible now that `fresh` is: what waited for one of them, and what waited for
    /// a member, an account or a site, if there is a new one.
    pub(super) fn take_awakened(
        &mut self,
        fresh: &HashMap<RecordId, Arc<Record>>,
    ) -> Vec<Arc<Record>> {
        let grounds = [
            Kind::REGION,
            Kind::VOTE,
            Kind::NODE,
            Kind::ACCOUNT,
            Kind::SITE,
        ];
        let is_ground = |record: &Arc<Record>| grounds.contains(&record.envelope().kind);
        let has_ground = fresh.values().any(is_ground);
        let awakened = self.records.iter().filter(|(_, (record, why))| match why {
            Refusal::Waiting(missing) => fresh.contains_key(missing),
            Refusal::Ahead if record.envelope().kind == Kind::VOTE => true,
            _ => has_ground,
        });
        let ids: BTreeSet<RecordId> = awakened.map(|(id, _)| *id).collect();
        ids.iter().filter_map(|id| self.take(id)).collect()
    }

    fn take(&mut self, id: &RecordId) -> Option<Arc<Record>> {
        let (record, _) = self.records.remove(id)?;
        let subject = subject(&record);
        if let Some(count) = self.per_subject.get_mut(&subject) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_subject.remove(&subject);
            }
        }
        Some(record)
    }
}

fn subject(record: &Record) -> (Kind, Vec<u8>) {
    let envelope = record.envelope();
    (envelope.kind, envelope.subject.clone())
}

/// Ids that were refused for good, so that they are not fetched again and again. Two generations:
/// when one is full the older is forgotten.
#[derive(Debug, Default)]
pub(super) struct Refused {
    young: HashSet<RecordId>,
    old: HashSet<RecordId>,
}

impl Refused {
    pub(super) fn contains(&self, id: &RecordId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    pub(super) fn insert(&mut self, id: RecordId) {
        if self.young.len() >= REFUSED_COUNT_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id);
    }

    /// Forgets all: another step may allow what this one did not.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_ids_are_bounded() {
        let mut refused = Refused::default();
        let id = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            RecordId::from_bytes(bytes)
        };
        let count = u32::try_from(3 * REFUSED_COUNT_MAX).unwrap();
        for number in 0..count {
            refused.insert(id(number));
            assert!(refused.contains(&id(number)));
        }
        assert!(refused.len() <= 2 * REFUSED_COUNT_MAX);
        assert!(!refused.contains(&id(0)));
        refused.clear();
        assert_eq!(refused.len(), 0);
    }
}
