//! A small region to tell stories in, for tests: providers with one node each, fixed keys, no store.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use super::certify::{own_records, place};
use super::{META_LOG, META_REGION, RegionView};
use crate::accounting::calendar::Day;
use crate::accounting::seal::Seal;
use crate::certificates::CertificateBody;
use crate::node_keys::NodeKeys;
use crate::witness::Checkpoint;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use verge_sync::Digest;
use verge_sync::id::{AccountId, NodeId, RecordId, SiteId};
use verge_sync::keys::{ProviderKey, Seed};
use verge_sync::net::row;
use verge_sync::record::body::{
    Account, Acme, Actors, HostProof, Limits, Name, NameKind, Node, Provider, Region, Roles, Site,
    UserKey, Vote, Zones,
};
use verge_sync::record::{Author, Effect, Kind, LogId, Parameters, Record, Slot, effect};
use verge_sync::store::{Batch, LocalDisk, MetaValue, Store};

/// The zone of the sites.
pub(crate) const SITE_ZONE: &str = "sites.example";

pub(crate) struct Scene {
    pub(crate) parameters: Parameters,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) providers: Vec<Author>,
    pub(crate) nodes: Vec<Author>,
}

fn provider_key(number: u8) -> ProviderKey {
    ProviderKey::from_bytes(&[100 + number; 32])
}

fn seed(number: u8) -> Seed {
    Seed::from_bytes([200 + number; 32])
}

fn slot(number: u8) -> Slot {
    Slot {
        provider: provider_key(number).provider(),
        number: 0,
    }
}

fn first_step(count: u8, host_proof: HostProof) -> Region {
    let mut providers: Vec<Provider> = (0..count)
        .map(|number| Provider {
            id: provider_key(number).provider(),
            name: format!("provider {number}"),
            contact: String::new(),
        })
        .collect();
    providers.sort_by_key(|row| row.id);
    Region {
        number: 0,
        predecessor: None,
        format: 1,
        providers,
        recovery_key: None,
        roles: Roles::default(),
        zones: Zones {
            site_zone: SITE_ZONE.to_owned(),
            admin_zone: "nodes.example".to_owned(),
        },
        limits: Limits::default(),
        policy: String::new(),
        acme: None,
        removed: Default::default(),
        sponsors: Default::default(),
        takedowns: BTreeSet::new(),
        host_proof,
        test: true,
        name: "Example Street".to_owned(),
    }
}

impl Scene {
    /// A region of `count` providers with a node each.
    pub(crate) fn new(count: u8, host_proof: HostProof) -> Self {
        let log = |number| (LogId([number; 8]), 1);
        let step = first_step(count, host_proof);
        let first = Author::found(&provider_key(0), LogId([0; 8]), step).unwrap();
        let region = first.region();
        let reserved = Arc::new(BTreeSet::from(["www".to_owned()]));
        let mut scene = Self {
            parameters: Parameters::new(region, reserved),
            records: vec![Arc::new(first)],
            providers: (0..count)
                .map(|n| Author::provider(&provider_key(n), region, log(n)))
                .collect(),
            nodes: (0..count)
                .map(|n| Author::node(&seed(n), region, log(100 + n)))
                .collect(),
        };
        for number in 0..count {
            scene.join(number);
        }
        scene
    }

    fn join(&mut self, number: u8) {
        let seed = seed(number);
        let body = Node {
            id: seed.node_id(),
            record_key: seed.record_key().verifying_key().to_bytes(),
            sealing_key: *seed.sealing_key().public(),
            addresses: Vec::new(),
            name: format!("node {number}"),
            proof: [0; 64],
            is_withdrawn: false,
            visitors: Vec::new(),
        };
        let body = body.proven(&self.parameters.region, slot(number), &seed.transport_key());
        let effect = self.effect();
        let author = &mut self.providers[usize::from(number)];
        let record = author.node_record(&effect, slot(number), body).unwrap();
        self.add(record);
    }

    pub(crate) fn effect(&self) -> Effect {
        effect(&self.records, &self.parameters).unwrap()
    }

    pub(crate) fn add(&mut self, record: Record) -> RecordId {
        let id = record.id();
        self.records.push(Arc::new(record));
        id
    }

    /// Makes the data directory of node `number`, with all records.
    pub(crate) async fn store(&self, number: u8, data: &Path) {
        let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
        let bytes = |bytes: &[u8]| MetaValue::Bytes(bytes.to_vec());
        let meta = vec![
            (
                META_REGION.to_owned(),
                bytes(self.parameters.region.as_bytes()),
            ),
            (META_LOG.to_owned(), bytes(&[number; 8])),
        ];
        let rows = self.records.iter().map(|record| row(record)).collect();
        let written = store
            .records()
            .write(Batch {
                rows,
                meta,
                ..Batch::default()
            })
            .unwrap();
        written.await.unwrap();
    }

    /// Opens it.
    pub(crate) fn open(&self, number: u8, data: &Path) -> RegionView {
        let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
        let keys = NodeKeys {
            seed: seed(number),
            provider: None,
        };
        RegionView::open(store, keys, |_effect, _slot| {}).unwrap()
    }

    /// The id of the node of provider `number`.
    pub(crate) fn node(&self, number: u8) -> NodeId {
        seed(number).node_id()
    }

    /// Its keys.
    pub(crate) fn seed(&self, number: u8) -> Seed {
        seed(number)
    }

    /// An account of provider `number` with a site.
    pub(crate) fn site(&mut self, number: u8) -> (AccountId, SiteId) {
        let body = Account {
            display_name: format!("{number}"),
            keys: vec![UserKey::SshLogin([number; 32])],
            acts: Actors::All,
        };
        let effect = self.effect();
        let author = &mut self.providers[usize::from(number)];
        let (account, record) = author.new_account(&effect, slot(number), body).unwrap();
        self.add(record);
        self.site_of(number, account)
    }

    /// A site of `account`, made by node `number`.
    pub(crate) fn site_of(&mut self, number: u8, account: AccountId) -> (AccountId, SiteId) {
        let effect = self.effect();
        let author = &mut self.nodes[usize::from(number)];
        let (site, record) = author
            .new_site(&effect, slot(number), Site::new(account))
            .unwrap();
        self.add(record);
        (account, site)
    }

    /// A region of `count` providers with a site at `a.example`, in which node 0 orders certificates at
    /// `directory`.
    pub(crate) fn ordering(count: u8, directory: &str) -> Self {
        let mut scene = Self::new(count, HostProof::None);
        let site = scene.site(0);
        scene.claim(0, site, NameKind::Host, "a.example");
        let issuer = scene.node(0);
        scene.step(|step| {
            step.roles.issuers = vec![issuer];
            step.acme = Some(Acme {
                directory: directory.to_owned(),
                account: format!("{directory}/1"),
                thumbprints: vec!["t".to_owned()],
                identities: Vec::new(),
            });
        });
        scene
    }

    /// A step by provider 0, with the votes of all others.
    pub(crate) fn step(&mut self, change: impl FnOnce(&mut Region)) {
        let effect = self.effect();
        let mut body = effect.chain.current().body.clone();
        change(&mut body);
        let step = self.providers[0].step(&effect, body).unwrap();
        let id = self.add(step);
        for number in 1..self.providers.len() {
            let vote = self.providers[number].vote(id).unwrap();
            self.add(vote);
        }
    }

    /// What node `number` says of a certificate.
    pub(crate) fn certify(&mut self, number: u8, body: &CertificateBody) {
        let me = self.node(number);
        let subject = [*body.subject().as_bytes(), *me.as_bytes()].concat();
        self.foreign(number, Kind::CERTIFICATE, (subject, body.encode()));
    }

    /// What node `number` says that it served on a day.
    pub(crate) fn seal(&mut self, number: u8, day: Day, body: Vec<u8>) -> RecordId {
        let me = self.node(number);
        let day = day.number().to_be_bytes();
        let subject = [me.as_bytes().as_slice(), day.as_slice()].concat();
        self.foreign(number, Kind::SEAL, (subject, body))
    }

    /// A snapshot of node `number`, which is nobody's yet.
    pub(crate) fn snapshot(&mut self, number: u8, said: &Seal) -> Record {
        let (me, day) = (self.node(number), said.day.number().to_be_bytes());
        let subject = [me.as_bytes().as_slice(), day.as_slice()].concat();
        let author = &mut self.nodes[usize::from(number)];
        let what = (subject, said.encode().body);
        author.foreign_aside(Kind::SNAPSHOT, what).unwrap()
    }

    /// What node `number` says that it saw of the seals of node `of`.
    pub(crate) fn checkpoint(&mut self, number: u8, of: u8, seen: &Checkpoint) -> RecordId {
        let (me, of) = (self.node(number), self.node(of));
        let subject = [*me.as_bytes(), *of.as_bytes()].concat();
        self.foreign(number, Kind::CHECKPOINT, (subject, seen.encode()))
    }

    fn foreign(&mut self, number: u8, kind: Kind, what: (Vec<u8>, Vec<u8>)) -> RecordId {
        let me = self.node(number);
        let own = own_records(&self.records, kind, me.into(), &what.0);
        let last = own.max_by_key(|record| place(record)).map(Record::id);
        let effect = self.effect();
        let author = &mut self.nodes[usize::from(number)];
        let follows = last.into_iter().collect();
        let record = author.foreign(&effect, kind, what, follows).unwrap();
        self.add(record)
    }

    /// A claim by node `number`.
    pub(crate) fn claim(
        &mut self,
        number: u8,
        (account, site): (AccountId, SiteId),
        kind: NameKind,
        name: &str,
    ) -> RecordId {
        let body = name_body(kind, name, site.digest());
        let effect = self.effect();
        let author = &mut self.nodes[usize::from(number)];
        let record = author.claim(&effect, account, body).unwrap();
        self.add(record)
    }

    /// What node `number` says of a claim.
    pub(crate) fn say(&mut self, number: u8, claim: RecordId, vote: Vote) {
        let effect = self.effect();
        let author = &mut self.nodes[usize::from(number)];
        let record = author.host_vote(&effect, claim, vote).unwrap();
        self.add(record);
    }
}

pub(crate) fn name_body(kind: NameKind, name: &str, id: Digest) -> Name {
    Name {
        kind,
        name: name.to_owned(),
        id,
        proof: None,
    }
}
