//! Records that came too early, and ids that were refused for good: both bounded.

use crate::digest::Digest;
use crate::id::RecordId;
use crate::record::{Grounds, Kind, Record, Refusal};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Records that wait aside for one subject.
const WAITING_PER_SUBJECT_MAX: usize = 64;
/// 8 MiB of ordinary records at most; what leaves comes again with the next reconciliation.
const ASIDE_COUNT_MAX: usize = 4_096;
/// 4 MiB of ids in two generations.
const REFUSED_COUNT_MAX: usize = 65_536;

/// A record as it was received: an id does not cover the signature, and until its author is known
/// nobody can tell whose that is. What somebody else signed must not keep out the record itself.
type Form = (RecordId, Digest);

/// Records that may become admissible when others arrive.
#[derive(Debug, Default)]
pub(super) struct Aside {
    records: BTreeMap<Form, (Arc<Record>, Refusal)>,
    /// In the order of arrival.
    order: VecDeque<Form>,
    per_subject: BTreeMap<(Kind, Vec<u8>), usize>,
}

impl Aside {
    /// Whether the record `id`, by its own author, waits for nothing but a predecessor.
    pub(super) fn waits(&self, id: &RecordId) -> bool {
        let forms = (*id, Digest::from_bytes([0; 32]))..=(*id, Digest::from_bytes([255; 32]));
        let mut forms = self.records.range(forms);
        forms.any(|(_, (_, why))| matches!(why, Refusal::Waiting(_)))
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Keeps a record that waits, unless too many wait for its subject; the oldest leave.
    pub(super) fn keep(&mut self, record: Arc<Record>, why: Refusal) {
        let form = (record.id(), Digest::of(record.bytes()));
        if self.records.contains_key(&form) {
            return;
        }
        let count = self.per_subject.entry(subject(&record)).or_default();
        if *count >= WAITING_PER_SUBJECT_MAX {
            return;
        }
        *count += 1;
        self.records.insert(form, (record, why));
        self.order.push_back(form);
        while self.records.len() > ASIDE_COUNT_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            drop(self.take(&oldest));
        }
        if self.order.len() > 2 * ASIDE_COUNT_MAX {
            self.order.retain(|form| self.records.contains_key(form));
        }
    }

    /// What may be admissible now that `fresh` is: what waited for one of them, and what waited for
    /// a member, an account or a site, if there is a new one.
    pub(super) fn take_awakened(
        &mut self,
        fresh: &HashMap<RecordId, Arc<Record>>,
    ) -> Vec<Arc<Record>> {
        if fresh.is_empty() {
            return Vec::new();
        }
        let mut of_fresh = fresh.values().map(|record| record.envelope().kind);
        let has_ground = of_fresh.any(Grounds::rests_on);
        let awakened = self.records.iter().filter(|(_, (record, why))| match why {
            Refusal::Waiting(missing) => fresh.contains_key(missing),
            Refusal::Ahead if record.envelope().kind == Kind::VOTE => true,
            _ => has_ground,
        });
        let forms: Vec<Form> = awakened.map(|(form, _)| *form).collect();
        forms.iter().filter_map(|form| self.take(form)).collect()
    }

    fn take(&mut self, form: &Form) -> Option<Arc<Record>> {
        let (record, _) = self.records.remove(form)?;
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
