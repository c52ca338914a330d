//! One node of the simulated region: its disk, its memory, and what its people do.

use crate::dice::Dice;
use crate::rogue::Vice;
use crate::scene::{account_body, deploy_body, log, name_body, provider_key, seed, slot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use verge_sync::net::{Exchange, Holding, Taken};
use verge_sync::record::effect::Actor;
use verge_sync::record::{
    Account, Actors, Author, Effect, Kind, KindTable, NameKind, Parameters, Record, Site,
};
use verge_sync::{NodeId, RecordId, SiteId};

pub(crate) struct Member {
    pub(crate) number: u8,
    pub(crate) id: NodeId,
    pub(crate) vice: Option<Vice>,
    pub(crate) node: Author,
    pub(crate) provider: Author,
    parameters: Parameters,
    /// What is on the disk.
    disk: BTreeMap<RecordId, Arc<Record>>,
    /// Taken and not yet written: a crash loses it.
    unwritten: Vec<Arc<Record>>,
    /// What this node's people were told is safe.
    pub(crate) acknowledged: BTreeSet<RecordId>,
    /// The steps after which its provider has voted.
    voted_after: BTreeSet<RecordId>,
    /// None while it is down.
    pub(crate) exchange: Option<Exchange>,
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
            parameters,
            disk: BTreeMap::from([(first.id(), Arc::clone(first))]),
            unwritten: Vec::new(),
            acknowledged: BTreeSet::new(),
            voted_after: BTreeSet::new(),
            exchange: None,
        };
        member.start();
        member
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.vice.is_none()
    }

    pub(crate) fn effect(&self) -> Option<Arc<Effect>> {
        let exchange = self.exchange.as_ref()?;
        Some(Arc::clone(exchange.holding().effect()))
    }

    /// Reads the disk.
    pub(crate) fn start(&mut self) {
        let records: Vec<_> = self.disk.values().cloned().collect();
        let kinds = KindTable::default();
        let holding = Holding::new(&records, self.parameters.clone(), kinds).unwrap();
        self.exchange = Some(Exchange::new(self.id, holding));
    }

    /// Memory is gone; the disk stays.
    pub(crate) fn crash(&mut self) {
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

    /// Something that people do, if it can be done here and now.
    pub(crate) fn act(&mut self, dice: &mut Dice) {
        let Some(effect) = self.effect() else { return };
        if !effect.nodes.contains_key(&self.id) {
            self.join(&effect);
            return;
        }
        match dice.below(12) {
            0 => self.add_account(&effect, dice),
            1 | 2 => self.add_site(&effect, dice),
            3 => self.claim(&effect, dice),
            4 => self.propose(&effect, dice),
            5 | 6 => self.vote(&effect),
            _ => self.deploy(&effect, dice),
        }
    }

    fn join(&mut self, effect: &Effect) {
        let transport = seed(self.number).transport_key();
        let body = crate::scene::node_body(self.number).proven(
            &effect.region,
            slot(self.number),
            &transport,
        );
        let record = self.provider.node_record(effect, slot(self.number), body);
        assert!(self.write(record.unwrap()), "a provider has its node");
    }

    fn add_account(&mut self, effect: &Effect, dice: &mut Dice) {
        let acts = if dice.once_in(2) {
            Actors::All
        } else {
            Actors::These(vec![provider_key(self.number).provider()])
        };
        let name = format!("account-{}-{}", self.number, dice.below(1_000_000));
        let body = Account {
            acts,
            ..account_body(&name)
        };
        if let Ok((_, record)) = self.provider.new_account(effect, slot(self.number), body) {
            self.write(record);
        }
    }

    fn add_site(&mut self, effect: &Effect, dice: &mut Dice) {
        let accounts: Vec<_> = effect.accounts.values().collect();
        let own = slot(self.number);
        let Some(account) = dice.pick(&accounts) else {
            return;
        };
        if !account.body.acts.includes(&own.provider) {
            return;
        }
        if let Ok((_, record)) = self.node.new_site(effect, own, Site::new(account.id)) {
            self.write(record);
        }
    }

    fn claim(&mut self, effect: &Effect, dice: &mut Dice) {
        let Some((site, account)) = self.own_site(effect, dice) else {
            return;
        };
        // Few names for many sites: they collide.
        let name = ["garden", "bakery", "choir"][dice.below(3)];
        let body = name_body(NameKind::Label, name, site.digest());
        if let Ok(record) = self.node.claim(effect, account, body) {
            self.write(record);
        }
    }

    fn own_site(
        &self,
        effect: &Effect,
        dice: &mut Dice,
    ) -> Option<(SiteId, verge_sync::AccountId)> {
        let sites: Vec<_> = effect
            .sites
            .values()
            .filter(|site| effect.may_deploy(&site.id, Actor::Node(self.id)))
            .map(|site| (site.id, site.body.account))
            .collect();
        dice.pick(&sites).copied()
    }

    fn deploy(&mut self, effect: &Effect, dice: &mut Dice) {
        let Some((site, account)) = self.own_site(effect, dice) else {
            return;
        };
        let time = [0, 1_800_000_000, i64::MAX][dice.below(3)];
        let content = format!("{}-{}", self.number, dice.below(1_000_000));
        let mut body = deploy_body(&content, account, time);
        body.provider = slot(self.number).provider;
        if let Ok(record) = self.node.deploy(effect, site, body) {
            let id = record.id();
            if self.write(record) {
                self.acknowledged.insert(id);
            }
        }
    }

    fn propose(&mut self, effect: &Effect, dice: &mut Dice) {
        let current = effect.chain.current();
        if !self.voted_after.insert(current.id) {
            return;
        }
        let mut step = current.body.clone();
        step.policy = format!("# by {} in turn {}\n", self.number, dice.below(1_000_000));
        if let Ok(record) = self.provider.step(effect, step) {
            self.write(record);
        }
    }

    /// An honest provider votes for one step after each.
    pub(crate) fn vote(&mut self, effect: &Effect) {
        let current = effect.chain.current();
        let Some(proposal) = effect.chain.proposals.first() else {
            return;
        };
        if self.voted_after.insert(current.id) {
            let record = self.provider.vote(proposal.step.id).unwrap();
            self.write(record);
        }
    }

    /// The ids that it holds.
    pub(crate) fn held(&self) -> BTreeSet<RecordId> {
        let holding = self.exchange.as_ref().unwrap().holding();
        holding.records().map(|record| record.id()).collect()
    }

    pub(crate) fn deploys(&self) -> usize {
        let holding = self.exchange.as_ref().unwrap().holding();
        let is_deploy = |record: &&Arc<Record>| record.envelope().kind == Kind::DEPLOY;
        holding.records().filter(is_deploy).count()
    }
}
