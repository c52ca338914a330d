//! What a node holds of its region in memory: the set of records, and what it means.
//!
//! A record is taken if it is admissible. Of those at one place the two lowest ids are kept, and any
//! other that a kept one follows: an honest record that was written after a rogue's third statement
//! stays what it is. What comes too early is kept aside ([`super::aside`]). Memory is that of the
//! records, of the effect, and of what waits, which is bounded.

use super::aside::{Aside, Refused};
use super::message::{Fingerprint, Set};
use crate::digest::Digest;
use crate::id::RecordId;
use crate::record::{
    AuthorId, Effect, Grounds, Kind, KindTable, Parameters, Record, Refusal, RemovalList,
    SignatureError, Subject, effect, storing_order,
};
use negentropy::{Id, NegentropyStorageVector};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

/// Kinds that say who belongs.
const CHAIN_KINDS: [Kind; 3] = [Kind::REGION, Kind::VOTE, Kind::NODE];
/// Records that are kept at one place, besides those that others follow.
const KEPT_AT_PLACE: u32 = 2;
/// Records of kinds without a row that are kept for one author, those of the lowest ids: what a later
/// release may need, and 8 MiB at most from one rogue member.
const UNKNOWN_PER_AUTHOR_MAX: usize = 4_096;

/// Where a record stands, as the beginning of a digest: 16 bytes instead of 150. Two places that share
/// it cost a look too many.
type Place = [u8; 16];

/// Checks the signature of a record.
pub type Verify = fn(&Record) -> Result<(), SignatureError>;

/// The records of one region, and what they mean.
#[derive(Debug)]
pub struct Holding {
    parameters: Parameters,
    kinds: KindTable,
    records: BTreeMap<RecordId, Arc<Record>>,
    /// How many records stand at each place, but for those of unknown kinds.
    places: HashMap<Place, u32>,
    /// Of kinds without a row, by author.
    unknown: BTreeMap<AuthorId, BTreeSet<RecordId>>,
    grounds: Grounds,
    verify: Verify,
    /// Worked out when somebody asks for it, and forgotten with the next record.
    effect: OnceLock<Arc<Effect>>,
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
    /// Records that a lower id pushed out of their place, and what rested on them: no longer held.
    pub evicted: Vec<RecordId>,
    /// Records that others wait for.
    pub missing: Vec<RecordId>,
    /// How many were refused for good.
    pub refused_count: usize,
    /// How many were held or refused before.
    pub known_count: usize,
}

impl Holding {
    /// Holds `records`, which were admitted before; `None` while step 0 is not among them.
    #[must_use]
    pub fn new(records: &[Arc<Record>], parameters: Parameters, kinds: KindTable) -> Option<Self> {
        let first = |record: &Arc<Record>| {
            record.region() == parameters.region && record.envelope().region.digest().is_zero()
        };
        if !records.iter().any(first) {
            return None;
        }
        let mut aside = Aside::default();
        let mut holding = Self {
            grounds: Grounds::of(parameters.region, [], &kinds, |_, _| {}),
            parameters,
            kinds,
            records: BTreeMap::new(),
            verify: Record::verify,
            places: HashMap::new(),
            unknown: BTreeMap::new(),
            effect: OnceLock::new(),
            aside: Aside::default(),
            refused: Refused::default(),
            fingerprint: Fingerprint::default(),
            snapshots: [None, None],
        };
        let mut left = HashSet::new();
        let grounds = Grounds::of(
            holding.parameters.region,
            records,
            &holding.kinds,
            |record, why| {
                left.insert(record.id());
                if why.is_temporary() {
                    aside.keep(Arc::clone(record), why);
                }
            },
        );
        (holding.grounds, holding.aside) = (grounds, aside);
        for record in records.iter().filter(|record| !left.contains(&record.id())) {
            holding.place(record);
        }
        Some(holding)
    }

    /// The same, with another way to verify: a simulation of many nodes in one process need not
    /// verify a record at each of them.
    #[must_use]
    pub fn verified_by(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    /// Takes up the list of a removal, whose blob was fetched and checked.
    pub fn learn_list(&mut self, list: RemovalList) {
        let lists = &mut self.parameters.lists;
        lists.insert(list.digest(), list.ids().clone());
        self.effect = OnceLock::new();
    }

    /// These records have no effect here, since applying one of them ended the process.
    pub(super) fn set_aside(&mut self, ids: impl IntoIterator<Item = RecordId>) {
        self.parameters.skip.extend(ids);
        self.effect = OnceLock::new();
    }

    /// Applies what is held without these records, for nothing but to see whether that has an end.
    pub(super) fn try_without(&self, left_out: &[RecordId]) {
        let mut parameters = self.parameters.clone();
        parameters.skip.extend(left_out);
        let records: Vec<Arc<Record>> = self.records.values().cloned().collect();
        drop(settled(&records, &mut parameters));
    }

    /// Works out what holds, if that is not known; a record whose application crashes is set aside
    /// for that, and still held and passed on: another release may know better.
    ///
    /// # Panics
    /// If step 0 alone crashes: then nothing can hold.
    pub fn settle(&mut self) {
        if self.effect.get().is_none() {
            let records: Vec<Arc<Record>> = self.records.values().cloned().collect();
            let effect = settled(&records, &mut self.parameters);
            self.effect = OnceLock::from(Arc::new(effect));
        }
    }

    /// What holds. Worked out anew after each change, when it is first asked for.
    ///
    /// # Panics
    /// Never: step 0, which alone can stand at its place, is held.
    #[must_use]
    pub fn effect(&self) -> &Arc<Effect> {
        self.effect.get_or_init(|| {
            let records: Vec<Arc<Record>> = self.records.values().cloned().collect();
            Arc::new(effect(&records, &self.parameters).expect("step 0 is held"))
        })
    }

    /// What else it depends on.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The sum of what is held.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
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

    /// How many records wait for others.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.aside.len()
    }

    /// Whether there is no use in fetching `id`.
    #[must_use]
    pub fn knows(&self, id: &RecordId) -> bool {
        self.records.contains_key(id) || self.refused.contains(id) || self.aside.waits(id)
    }

    /// Takes what is admissible of `offered`, and of what waited for it.
    pub fn offer(&mut self, offered: impl IntoIterator<Item = Record>) -> Taken {
        let mut taken = Taken::default();
        let mut round = Vec::new();
        for record in offered {
            let id = record.id();
            let is_new = match self.records.get(&id) {
                Some(held) => record.precedes(held),
                None => !self.refused.contains(&id),
            };
            if is_new {
                round.push(Arc::new(record));
            } else {
                taken.known_count += 1;
            }
        }
        self.take_in(round, false, &mut taken);
        taken
    }

    /// Whether the rules allow `fresh`, records that this node is about to write, in their order.
    ///
    /// # Errors
    /// The [`Refusal`] that every peer would answer one of them with.
    pub fn check(&self, fresh: &[Arc<Record>]) -> Result<(), Refusal> {
        let mut grounds = self.grounds.clone();
        let mut written = HashMap::new();
        for record in fresh {
            let known = |id: &RecordId| self.records.get(id).or_else(|| written.get(id).copied());
            grounds.admissible_by(record, &self.kinds, known, self.verify)?;
            grounds.add(record);
            written.insert(record.id(), record);
        }
        Ok(())
    }

    /// Takes `fresh`, which this node wrote after what holds and which hold as `effect` says; then
    /// what waited for them.
    pub fn adopt(&mut self, fresh: &[Arc<Record>], effect: Arc<Effect>) -> Taken {
        let mut taken = Taken::default();
        let mut is_crowded = false;
        let mut placed = HashMap::new();
        for record in fresh {
            if self.records.contains_key(&record.id()) {
                continue;
            }
            is_crowded |= self.place(record);
            self.grounds.add(record);
            placed.insert(record.id(), Arc::clone(record));
            taken.new.push(Arc::clone(record));
        }
        self.effect = OnceLock::from(effect);
        self.follow_chain(&placed);
        let awakened = self.aside.take_awakened(&placed);
        self.take_in(awakened, is_crowded, &mut taken);
        taken
    }

    /// Takes what is admissible of `round`, then what waited for it, and so on.
    fn take_in(&mut self, mut round: Vec<Arc<Record>>, mut is_crowded: bool, taken: &mut Taken) {
        while !round.is_empty() {
            // A record comes after those that it rests on.
            round.sort_unstable_by_key(|record| storing_order(record));
            let fresh = self.admit(round, taken, &mut is_crowded);
            self.follow_chain(&fresh);
            round = self.aside.take_awakened(&fresh);
        }
        if is_crowded {
            self.make_room(taken);
        }
    }

    fn follow_chain(&mut self, fresh: &HashMap<RecordId, Arc<Record>>) {
        let of_chain = |record: &Arc<Record>| self.may_make_a_step_count(record);
        if fresh.values().any(of_chain) && self.grounds.follow_chain(self.records.values()) {
            // What was outside of its author's space may not be any more.
            self.refused.clear();
        }
    }

    /// One pass over records in their order; what waits goes aside. Says whether a place has more
    /// than are kept there.
    fn admit(
        &mut self,
        round: Vec<Arc<Record>>,
        taken: &mut Taken,
        is_crowded: &mut bool,
    ) -> HashMap<RecordId, Arc<Record>> {
        let mut fresh = HashMap::new();
        for record in round {
            let known = |id: &RecordId| self.records.get(id);
            match self
                .grounds
                .admissible_by(&record, &self.kinds, known, self.verify)
            {
                Ok(()) if self.records.contains_key(&record.id()) => self.replace(record, taken),
                Ok(()) => {
                    *is_crowded |= self.place(&record);
                    self.grounds.add(&record);
                    fresh.insert(record.id(), Arc::clone(&record));
                    taken.new.push(record);
                }
                Err(why) if why.is_temporary() => {
                    if let Refusal::Waiting(missing) = why
                        && !self.aside.waits(&missing)
                    {
                        taken.missing.push(missing);
                    }
                    self.aside.keep(record, why);
                }
                Err(why) => {
                    tracing::debug!(record = %record.id(), %why, "refused");
                    if why.is_of_the_id() {
                        self.refused.insert(record.id());
                    }
                    taken.refused_count += 1;
                }
            }
        }
        fresh
    }

    /// Keeps another form of a record that is held, if it precedes that.
    fn replace(&mut self, record: Arc<Record>, taken: &mut Taken) {
        let precedes = |held: &Arc<Record>| record.precedes(held);
        if !self.records.get(&record.id()).is_some_and(precedes) {
            return;
        }
        let before = self.records.insert(record.id(), Arc::clone(&record));
        if let Some(before) = before {
            self.fingerprint = self.fingerprint.without(before.bytes());
        }
        self.fingerprint = self.fingerprint.with(record.bytes());
        self.effect = OnceLock::new();
        taken.new.retain(|new| new.id() != record.id());
        taken.new.push(record);
    }

    /// Puts a record that is not held at its place; says whether that has too many now.
    fn place(&mut self, record: &Arc<Record>) -> bool {
        let id = record.id();
        self.records.insert(id, Arc::clone(record));
        self.fingerprint = self.fingerprint.with(record.bytes());
        self.effect = OnceLock::new();
        self.snapshots = [None, None];
        let envelope = record.envelope();
        if self.is_unknown(record) {
            let of_author = self.unknown.entry(envelope.author).or_default();
            of_author.insert(id);
            return of_author.len() > UNKNOWN_PER_AUTHOR_MAX;
        }
        let count = self.places.entry(beginning(place_of(record)));
        let count = count.or_insert(0);
        *count += 1;
        *count > KEPT_AT_PLACE
    }

    fn may_make_a_step_count(&self, record: &Record) -> bool {
        let envelope = record.envelope();
        match Subject::decode(envelope.kind, &envelope.subject) {
            Some(Subject::Step(_) | Subject::Node(_)) => true,
            Some(Subject::Vote(target, _)) => {
                let target = self.records.get(&target);
                target.is_some_and(|target| target.envelope().kind == Kind::REGION)
            }
            _ => false,
        }
    }

    fn is_unknown(&self, record: &Record) -> bool {
        let kind = record.envelope().kind;
        !kind.is_owned() && self.kinds.row(kind).is_none()
    }

    /// Drops what is too much at one place, unless what stays follows it, and what rested on that.
    /// A function of what is held alone, as all of this is: so nodes that hold the same keep the same.
    fn make_room(&mut self, taken: &mut Taken) {
        loop {
            let gone = self.too_many();
            if gone.is_empty() {
                return;
            }
            let mut has_grounds = false;
            for id in gone {
                has_grounds |= self.drop_record(&id, taken);
            }
            if has_grounds {
                self.judge_again(taken);
            }
        }
    }

    /// What is held beyond the limits and is not followed by anything held.
    fn too_many(&self) -> Vec<RecordId> {
        let mut crowded: Vec<(Digest, RecordId)> = self
            .records
            .values()
            .filter(|record| !self.is_unknown(record))
            .map(|record| (place_of(record), record.id()))
            .filter(|(place, _)| {
                let count = self.places.get(&beginning(*place));
                count.is_some_and(|count| *count > KEPT_AT_PLACE)
            })
            .collect();
        // The lowest id of each place first.
        crowded.sort_unstable();
        let mut beaten: HashSet<RecordId> = HashSet::new();
        for at_place in crowded.chunk_by(|(one, _), (other, _)| one == other) {
            let others = at_place
                .iter()
                .zip(0..)
                .filter(|(_, at)| *at >= KEPT_AT_PLACE);
            beaten.extend(others.map(|((_, id), _)| *id));
        }
        if !beaten.is_empty() {
            // A step that counts is what most providers have agreed on, whatever its author says since.
            beaten.retain(|id| !self.grounds.counts(id));
            for record in self.records.values() {
                for followed in &record.envelope().predecessors {
                    beaten.remove(followed);
                }
            }
        }
        let authors = self.unknown.values();
        beaten.extend(authors.flat_map(|ids| ids.iter().skip(UNKNOWN_PER_AUTHOR_MAX)));
        let mut gone: Vec<RecordId> = beaten.into_iter().collect();
        gone.sort_unstable();
        gone
    }

    /// Says whether others may have rested on the record.
    fn drop_record(&mut self, id: &RecordId, taken: &mut Taken) -> bool {
        let Some(record) = self.records.remove(id) else {
            return false;
        };
        self.fingerprint = self.fingerprint.without(record.bytes());
        self.effect = OnceLock::new();
        self.snapshots = [None, None];
        if let Some(ids) = self.unknown.get_mut(&record.envelope().author) {
            ids.remove(id);
        }
        if !self.is_unknown(&record) {
            self.leave_place(&record);
        }
        let before = taken.new.len();
        taken.new.retain(|new| new.id() != *id);
        if taken.new.len() == before {
            taken.evicted.push(*id);
        }
        let ends = [
            Kind::VOTE,
            Kind::LEAVE,
            Kind::DEPLOY,
            Kind::TAKEDOWN,
            Kind::TOMBSTONE,
        ];
        !ends.contains(&record.envelope().kind) && !self.is_unknown(&record)
    }

    fn leave_place(&mut self, record: &Record) {
        let place = beginning(place_of(record));
        if let Some(count) = self.places.get_mut(&place) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.places.remove(&place);
            }
        }
    }

    /// Judges all that is held by what is held, and drops what no longer rests on anything.
    fn judge_again(&mut self, taken: &mut Taken) {
        let mut fallen = Vec::new();
        let region = self.parameters.region;
        let records = self.records.values();
        self.grounds = Grounds::of(region, records, &self.kinds, |record, _| {
            fallen.push(record.id());
        });
        for id in fallen {
            self.drop_record(&id, taken);
        }
    }

    /// The ids of `set`, sorted, for a reconciliation.
    pub(super) fn snapshot(&mut self, set: Set) -> Arc<NegentropyStorageVector> {
        let [chain, all] = &mut self.snapshots;
        let (kept, is_in): (_, fn(&Record) -> bool) = match set {
            Set::Chain => (chain, |record| {
                CHAIN_KINDS.contains(&record.envelope().kind)
            }),
            Set::All => (all, |_| true),
            // Asked for so seldom that it is not kept.
            Set::Forms => return Arc::new(storage(self.records.values().map(|r| form(r)))),
        };
        let make = || {
            let records = self.records.values().filter(|record| is_in(record));
            Arc::new(storage(records.map(|record| record.id())))
        };
        Arc::clone(kept.get_or_insert_with(make))
    }

    /// The record of which `form` is a form, whichever.
    pub(super) fn of_form(&self, form: &RecordId) -> Option<&Arc<Record>> {
        let [first, last] = [0, 0xff].map(|filler| {
            let mut bytes = *form.as_bytes();
            bytes
                .iter_mut()
                .skip(FORM_ID_BYTES)
                .for_each(|byte| *byte = filler);
            RecordId::from_bytes(bytes)
        });
        self.records
            .range(first..=last)
            .next()
            .map(|(_, record)| record)
    }
}

/// So much of its id names a record whose form follows: nobody makes two records that share it.
const FORM_ID_BYTES: usize = 24;

/// A record in the bytes that are held: the beginning of its id, then that of their digest.
fn form(record: &Record) -> RecordId {
    let mut bytes = *record.id().as_bytes();
    let digest = Digest::of(record.bytes());
    let tail = bytes.iter_mut().skip(FORM_ID_BYTES);
    tail.zip(digest.as_bytes())
        .for_each(|(byte, of)| *byte = *of);
    RecordId::from_bytes(bytes)
}

/// What the records mean, without those whose application crashes.
fn settled(records: &[Arc<Record>], parameters: &mut Parameters) -> Effect {
    loop {
        if let Some(effect) = guarded(records, parameters) {
            return effect;
        }
        let culprit = culprit(records.to_vec(), parameters);
        tracing::error!(record = %culprit, "set aside: applying it crashed");
        parameters.skip.insert(culprit);
    }
}

/// What the records mean; none if saying so crashes.
fn guarded(records: &[Arc<Record>], parameters: &Parameters) -> Option<Effect> {
    let apply = AssertUnwindSafe(|| effect(records, parameters));
    catch_unwind(apply).ok().flatten()
}

/// The record without which those before it can be applied.
fn culprit(mut records: Vec<Arc<Record>>, parameters: &Parameters) -> RecordId {
    // Step 0 first: without it nothing is applied at all.
    records.sort_by_key(|record| !record.envelope().region.digest().is_zero());
    let crashes = |count: usize| {
        let part = records.get(..count).unwrap_or(&records);
        guarded(part, parameters).is_none()
    };
    let (mut well, mut ill) = (1, records.len());
    assert!(
        !crashes(well),
        "what the region is founded on can be applied"
    );
    while well + 1 < ill {
        let middle = well.midpoint(ill);
        if crashes(middle) {
            ill = middle;
        } else {
            well = middle;
        }
    }
    let last = records.get(ill.saturating_sub(1));
    last.expect("there is a last of some").id()
}

fn storage(mut ids: impl Iterator<Item = RecordId>) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    let id = |id: RecordId| Id::from_byte_array(*id.as_bytes());
    ids.try_for_each(|record| storage.insert(0, id(record)))
        .and_then(|()| storage.seal())
        .expect("a new storage is not sealed");
    storage
}

fn place_of(record: &Record) -> Digest {
    let envelope = record.envelope();
    // Of fixed lengths but for the subject, which is last.
    let parts: [&[u8]; 5] = [
        &envelope.kind.0.to_be_bytes(),
        envelope.author.as_bytes(),
        &envelope.epoch.to_be_bytes(),
        &envelope.sequence.to_be_bytes(),
        &envelope.subject,
    ];
    Digest::of(&parts.concat())
}

fn beginning(place: Digest) -> Place {
    let beginning = place.as_bytes().first_chunk();
    *beginning.expect("a digest has 32 bytes")
}
