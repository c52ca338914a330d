//! One node of the simulated region: its disk and its memory.

use crate::rogue::Vice;
use crate::scene::{log, provider_key, seed};
use crate::verify_once;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use verge_sync::net::{Exchange, Holding, Taken};
use verge_sync::record::region::Pin;
use verge_sync::record::{Author, Effect, Kind, KindTable, Parameters, Record, RemovalList};
use verge_sync::{Digest, NodeId, RecordId};

pub(crate) struct Member {
    pub(crate) number: u8,
    pub(crate) id: NodeId,
    pub(crate) vice: Option<Vice>,
    pub(crate) node: Author,
    pub(crate) provider: Author,
    /// The key on paper, at the founder's of a region of two.
    pub(crate) paper: Option<Author>,
    parameters: Parameters,
    /// What is on the disk.
    disk: BTreeMap<RecordId, Arc<Record>>,
    /// Blobs on the disk: the lists of removals.
    pub(crate) lists: BTreeMap<Digest, RemovalList>,
    /// Taken and not yet written: a crash loses it.
    unwritten: Vec<Arc<Record>>,
    /// What this node's people were told is safe.
    pub(crate) acknowledged: BTreeSet<RecordId>,
    /// The steps after which its provider has voted.
    pub(crate) voted_after: BTreeSet<RecordId>,
    /// The same of the key on paper.
    pub(crate) paper_voted_after: BTreeSet<RecordId>,
    /// The names that its node has voted for.
    pub(crate) voted_names: BTreeSet<String>,
    /// What the rogue remembers of better days.
    pub(crate) stale: Option<Arc<Effect>>,
    /// None while it is down.
    pub(crate) exchange: Option<Exchange>,
    /// Whether it will never come back.
    pub(crate) is_dead: bool,
}

impl Member {
    pub(crate) fn new(number: u8, first: &Arc<Record>, vice: Option<Vice>) -> Self {
        let region = first.region();
        let parameters = Parameters::new(region, Arc::new(BTreeSet::new()));
        let counted = u64::from(number == 0);
        let mut member = Self {
            number,
            id: seed(number).node_id(),
            vice,
            node: Author::node(&seed(number), region, (log(number), 0)),
            provider: Author::provider(&provider_key(number), region, (log(number), counted)),
            paper: None,
            parameters,
            disk: BTreeMap::from([(first.id(), Arc::clone(first))]),
            lists: BTreeMap::new(),
            unwritten: Vec::new(),
            acknowledged: BTreeSet::new(),
            voted_after: BTreeSet::new(),
            paper_voted_after: BTreeSet::new(),
            voted_names: BTreeSet::new(),
            stale: None,
            exchange: None,
            is_dead: false,
        };
        member.start();
        member
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.vice.is_none()
    }

    pub(crate) fn holding(&self) -> Option<&Holding> {
        Some(self.exchange.as_ref()?.holding())
    }

    pub(crate) fn effect(&self) -> Option<Arc<Effect>> {
        Some(Arc::clone(self.holding()?.effect()))
    }

    /// The step below which it never goes.
    pub(crate) fn pin(&self) -> Option<Pin> {
        self.parameters.pin
    }

    /// Reads the disk.
    pub(crate) fn start(&mut self) {
        if self.is_dead {
            return;
        }
        let records: Vec<_> = self.disk.values().cloned().collect();
        let kinds = KindTable::default();
        let holding = Holding::new(&records, self.parameters.clone(), kinds).unwrap();
        self.exchange = Some(Exchange::new(self.id, holding.verified_by(verify_once)));
    }

    /// Memory is gone; the disk stays, and the step that it stood on.
    pub(crate) fn crash(&mut self) {
        if let Some(effect) = self.effect() {
            let step = effect.chain.current();
            let is_written = self.disk.contains_key(&step.id);
            self.parameters.pin = Some(Pin {
                number: step.body.number,
                id: step.id,
            })
            .filter(|_| is_written)
            .or(self.parameters.pin);
        }
        self.exchange = None;
        self.unwritten.clear();
    }

    /// Writes what was taken.
    pub(crate) fn commit(&mut self) {
        for record in std::mem::take(&mut self.unwritten) {
            self.disk.insert(record.id(), record);
        }
    }

    pub(crate) fn keep(&mut self, taken: Taken) {
        self.unwritten.extend(taken.new);
        for evicted in taken.evicted {
            self.disk.remove(&evicted);
            self.unwritten.retain(|record| record.id() != evicted);
        }
    }

    /// A record of this node's own: on the disk before anybody hears of it.
    pub(crate) fn write(&mut self, record: Record) -> bool {
        let id = record.id();
        let Some(exchange) = &mut self.exchange else {
            return false;
        };
        let taken = exchange.write([record]);
        let is_taken = taken.new.iter().any(|new| new.id() == id);
        self.keep(taken);
        self.commit();
        is_taken
    }

    /// Takes up the list of a removal: a blob, which is on the disk from then on.
    pub(crate) fn learn(&mut self, list: RemovalList) {
        self.lists.insert(list.digest(), list.clone());
        let (digest, ids) = (list.digest(), list.ids().clone());
        self.parameters.lists.insert(digest, ids);
        if let Some(exchange) = &mut self.exchange {
            exchange.learn_list(list);
        }
    }

    /// The ids that it holds.
    pub(crate) fn held(&self) -> BTreeSet<RecordId> {
        let holding = self.holding().unwrap();
        holding.records().map(|record| record.id()).collect()
    }

    pub(crate) fn has_written(&self, id: &RecordId) -> bool {
        self.disk.contains_key(id)
    }

    pub(crate) fn steps(&self) -> BTreeSet<RecordId> {
        let records = self.holding().into_iter().flat_map(Holding::records);
        let is_step = |record: &&Arc<Record>| record.envelope().kind == Kind::REGION;
        records.filter(is_step).map(|record| record.id()).collect()
    }
}
