//! What a node holds of its region in memory: the set of records, and what it means.
//!
//! A record is taken if it is admissible, and then stays: at each place the two lowest ids. What
//! comes too early is kept aside ([`super::aside`]). Memory is that of the records, of the effect,
//! and of what waits, which is bounded.

use super::aside::{Aside, Refused};
use super::message::{Fingerprint, Set};
use crate::digest::Digest;
use crate::id::RecordId;
use crate::record::{AuthorId, Effect, Kind, KindTable, Parameters, Record, Refusal, effect};
use negentropy::{Id, NegentropyStorageVector};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Kinds that say who belongs.
const CHAIN_KINDS: [Kind; 3] = [Kind::REGION, Kind::VOTE, Kind::NODE];

/// Where a record stands; at most two are kept at one place.
type Place = (Kind, Vec<u8>, AuthorId, u32, u32);

/// The records of one region, and what they mean.
#[derive(Debug)]
pub struct Holding {
    parameters: Parameters,
    kinds: KindTable,
    records: BTreeMap<RecordId, Arc<Record>>,
    places: HashMap<Place, Vec<RecordId>>,
    effect: Arc<Effect>,
    aside: Aside,
    refused: Refused,
    fingerprint: Fingerprint,
    /// Made when a reconciliation asks for it, and forgotten with the next record.
    snapshots: [Option<Arc<NegentropyStorageVector>>; 2],
}

/// What became of records that were offered.
#[derive(Debug, Default)]
pub struct Taken {
    /// New ones, to be stored and passed on.
    pub new: Vec<Arc<Record>>,
    /// Records that a lower id pushed out of their place: no longer held.
    pub evicted: Vec<RecordId>,
    /// Records that others wait for.
    pub missing: Vec<RecordId>,
    /// How many were refused for good.
    pub refused_count: usize,
    /// How many were held, refused or kept aside before.
    pub known_count: usize,
}

impl Holding {
    /// Holds `records`, which were admitted before; `None` while step 0 is not among them.
    #[must_use]
    pub fn new(records: &[Arc<Record>], parameters: Parameters, kinds: KindTable) -> Option<Self> {
        let effect = Arc::new(effect(records, &parameters)?);
        let mut holding = Self {
            parameters,
            kinds,
            records: BTreeMap::new(),
            places: HashMap::new(),
            effect,
            aside: Aside::default(),
            refused: Refused::default(),
            fingerprint: Fingerprint::default(),
            snapshots: [None, None],
        };
        for record in records {
            holding.place(record, &mut Taken::default());
        }
        Some(holding)
    }

    /// What holds.
    #[must_use]
    pub fn effect(&self) -> &Arc<Effect> {
        &self.effect
    }

    /// What else it depends on.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// A list of records that stay valid was fetched: the removal that names it binds from now on.
    pub fn add_list(&mut self, digest: Digest, ids: BTreeSet<RecordId>) {
        self.parameters.lists.insert(digest, ids);
        self.work_out();
    }

    /// The record `id`, if it is held.
    #[must_use]
    pub fn record(&self, id: &RecordId) -> Option<&Arc<Record>> {
        self.records.get(id)
    }

    /// Every record that is held.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &Arc<Record>> {
        self.records.values()
    }

    /// The sum of the ids that are held.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How many records wait for others.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.aside.len()
    }

    /// Whether there is no use in fetching `id`.
    #[must_use]
    pub fn knows(&self, id: &RecordId) -> bool {
        self.records.contains_key(id) || self.refused.contains(id) || self.aside.contains(id)
    }

    /// Takes what is admissible of `offered`, and of what waited for it.
    pub fn offer(&mut self, offered: impl IntoIterator<Item = Record>) -> Taken {
        let mut taken = Taken::default();
        let mut round = Vec::new();
        for record in offered {
            if self.knows(&record.id()) {
                taken.known_count += 1;
            } else {
                round.push(Arc::new(record));
            }
        }
        self.take_in(round, &mut taken);
        taken
    }

    /// Takes what is admissible of `round`, then what waited for it, and so on.
    fn take_in(&mut self, mut round: Vec<Arc<Record>>, taken: &mut Taken) {
        while !round.is_empty() {
            // A record comes after those that it follows.
            round.sort_unstable_by_key(|record| {
                let envelope = record.envelope();
                (
                    envelope.kind,
                    envelope.epoch,
                    envelope.sequence,
                    record.id(),
                )
            });
            round.dedup_by_key(|record| record.id());
            let fresh = self.admit(round, taken);
            if fresh.is_empty() {
                break;
            }
            self.work_out();
            round = self.aside.take_awakened(&fresh);
        }
    }

    /// Takes `fresh`, which this node wrote after what holds and which hold as `effect` says; then
    /// what waited for them.
    pub fn adopt(&mut self, fresh: &[Arc<Record>], effect: Arc<Effect>) -> Taken {
        let mut taken = Taken::default();
        let mut placed = HashMap::new();
        for record in fresh {
            if self.place(record, &mut taken) {
                taken.new.push(Arc::clone(record));
                placed.insert(record.id(), Arc::clone(record));
            }
        }
        self.hold(effect);
        let awakened = self.aside.take_awakened(&placed);
        self.take_in(awakened, &mut taken);
        taken
    }

    /// One pass over records in their order; what waits goes aside.
    fn admit(
        &mut self,
        round: Vec<Arc<Record>>,
        taken: &mut Taken,
    ) -> HashMap<RecordId, Arc<Record>> {
        let mut fresh = HashMap::new();
        let effect = Arc::clone(&self.effect);
        for record in round {
            match effect.admissible_after(&record, &self.kinds, &fresh) {
                Ok(()) => {
                    if self.place(&record, taken) {
                        fresh.insert(record.id(), Arc::clone(&record));
                        taken.new.push(record);
                    }
                }
                Err(why) if why.is_temporary() => {
                    if let Refusal::Waiting(missing) = why
                        && !self.aside.contains(&missing)
                    {
                        taken.missing.push(missing);
                    }
                    self.aside.keep(record, why);
                }
                Err(why) => {
                    tracing::debug!(record = %record.id(), %why, "refused");
                    self.refused.insert(record.id());
                    taken.refused_count += 1;
                }
            }
        }
        fresh
    }

    /// Keeps the record if it is one of the two lowest at its place.
    fn place(&mut self, record: &Arc<Record>, taken: &mut Taken) -> bool {
        let id = record.id();
        let held = self.places.entry(place_of(record)).or_default();
        if held.contains(&id) {
            return false;
        }
        held.push(id);
        held.sort_unstable();
        let beaten = (held.len() > 2).then(|| held.pop()).flatten();
        if beaten == Some(id) {
            self.refused.insert(id);
            return false;
        }
        if let Some(beaten) = beaten {
            self.records.remove(&beaten);
            self.fingerprint = self.fingerprint.without(&beaten);
            self.refused.insert(beaten);
            taken.evicted.push(beaten);
            taken.new.retain(|new| new.id() != beaten);
        }
        self.records.insert(id, Arc::clone(record));
        self.fingerprint = self.fingerprint.with(&id);
        self.snapshots = [None, None];
        true
    }

    fn work_out(&mut self) {
        let records: Vec<Arc<Record>> = self.records.values().cloned().collect();
        // Step 0 is never evicted: it alone has its place.
        let Some(effect) = effect(&records, &self.parameters) else {
            return;
        };
        self.hold(Arc::new(effect));
    }

    fn hold(&mut self, effect: Arc<Effect>) {
        if effect.chain.current().id != self.effect.chain.current().id {
            self.refused.clear();
        }
        self.effect = effect;
    }

    /// The ids of `set`, sorted, for a reconciliation.
    pub(super) fn snapshot(&mut self, set: Set) -> Arc<NegentropyStorageVector> {
        let [chain, all] = &mut self.snapshots;
        let (kept, is_in): (_, fn(&Record) -> bool) = match set {
            Set::Chain => (chain, |record| {
                CHAIN_KINDS.contains(&record.envelope().kind)
            }),
            Set::All => (all, |_| true),
        };
        let make = || {
            Arc::new(storage(
                self.records.values().filter(|record| is_in(record)),
            ))
        };
        Arc::clone(kept.get_or_insert_with(make))
    }
}

fn storage<'a>(mut records: impl Iterator<Item = &'a Arc<Record>>) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    let id = |record: &Arc<Record>| Id::from_byte_array(*record.id().as_bytes());
    records
        .try_for_each(|record| storage.insert(0, id(record)))
        .and_then(|()| storage.seal())
        .expect("a new storage is not sealed");
    storage
}

fn place_of(record: &Record) -> Place {
    let envelope = record.envelope();
    (
        envelope.kind,
        envelope.subject.clone(),
        envelope.author,
        envelope.epoch,
        envelope.sequence,
    )
}
