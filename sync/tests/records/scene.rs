//! A small region to tell stories in: providers, one node each, fixed keys, no clock.

use proptest::test_runner::Config;
use std::collections::BTreeSet;
use std::sync::Arc;
use verge_sync::clock::UnixTime;
use verge_sync::keys::{ProviderKey, Seed};
use verge_sync::record::{
    Account, Actors, Author, Cause, Deploy, Effect, Grounds, HostProof, KindTable, Limits, LogId,
    Name, NameKind, Node, Parameters, Provider, Record, Refusal, Region, Roles, Site, Slot,
    UserKey, Zones, effect,
};
use verge_sync::{
    AccountId, ContentDigest, Digest, ProviderId, RecordId, RegionId, SiteId, Version,
};

pub(crate) struct Scene {
    pub(crate) region: RegionId,
    pub(crate) parameters: Parameters,
    pub(crate) kinds: KindTable,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) providers: Vec<Author>,
    pub(crate) nodes: Vec<Author>,
}

/// `default` cases, unless `PROPTEST_CASES` says otherwise.
pub(crate) fn cases(default: u32) -> Config {
    let config = Config::default();
    let cases = if config.cases == 256 {
        default
    } else {
        config.cases
    };
    Config {
        cases,
        failure_persistence: None,
        ..config
    }
}

pub(crate) fn provider_key(number: u8) -> ProviderKey {
    ProviderKey::from_bytes(&[100 + number; 32])
}

pub(crate) fn seed(number: u8) -> Seed {
    Seed::from_bytes([200 + number; 32])
}

pub(crate) fn log(number: u8) -> LogId {
    LogId([number; 8])
}

pub(crate) fn step(providers: u8) -> Region {
    let mut rows: Vec<Provider> = (0..providers)
        .map(|number| Provider {
            id: provider_key(number).provider(),
            name: format!("provider {number}"),
            contact: "mail@provider.example".to_owned(),
        })
        .collect();
    rows.sort_by_key(|row| row.id);
    Region {
        number: 0,
        predecessor: None,
        format: 1,
        providers: rows,
        recovery_key: None,
        roles: Roles::default(),
        zones: Zones {
            site_zone: "sites.example".to_owned(),
            admin_zone: "nodes.example".to_owned(),
        },
        limits: Limits::default(),
        policy: "# nothing yet\n".to_owned(),
        acme: None,
        removed: Default::default(),
        sponsors: Default::default(),
        takedowns: BTreeSet::new(),
        host_proof: HostProof::None,
        test: true,
        name: "Example Street".to_owned(),
    }
}

pub(crate) fn node_body(number: u8) -> Node {
    let seed = seed(number);
    Node {
        id: seed.node_id(),
        record_key: seed.record_key().verifying_key().to_bytes(),
        sealing_key: *seed.sealing_key().public(),
        addresses: vec![format!("192.0.2.{number}:2223")],
        name: format!("node {number}"),
        proof: [0; 64],
        is_withdrawn: false,
        visitors: Vec::new(),
    }
}

pub(crate) fn slot(number: u8) -> Slot {
    Slot {
        provider: provider_key(number).provider(),
        number: 0,
    }
}

pub(crate) fn account_body(name: &str) -> Account {
    let login = UserKey::SshLogin(*Digest::of(name.as_bytes()).as_bytes());
    Account {
        display_name: name.to_owned(),
        keys: vec![login],
        acts: Actors::All,
    }
}

pub(crate) fn deploy_body(content: &str, account: AccountId, time: i64) -> Deploy {
    let digest = Digest::of(content.as_bytes());
    Deploy {
        version: Version::from_digest(digest),
        content: ContentDigest::from_digest(digest),
        recipe: 1,
        blobs: digest,
        blobs_bytes: 4_096,
        git: None,
        time: UnixTime(time),
        cause: Cause::Push,
        account,
        provider: ProviderId::from_bytes([0; 32]),
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

impl Scene {
    /// A region of `count` providers with a node each.
    pub(crate) fn new(count: u8) -> Self {
        Self::founded(count, step(count))
    }

    pub(crate) fn founded(count: u8, step: Region) -> Self {
        let first = Author::found(&provider_key(0), log(0), step).unwrap();
        let region = first.region();
        let reserved = Arc::new(BTreeSet::from(["www".to_owned()]));
        let mut scene = Self {
            region,
            parameters: Parameters::new(region, reserved),
            kinds: KindTable::default(),
            records: vec![Arc::new(first)],
            providers: (0..count)
                .map(|n| Author::provider(&provider_key(n), region, (log(n), 1)))
                .collect(),
            nodes: (0..count)
                .map(|n| Author::node(&seed(n), region, (log(n), 0)))
                .collect(),
        };
        for number in 0..count {
            let transport = seed(number).transport_key();
            let body = node_body(number).proven(&region, slot(number), &transport);
            let effect = scene.effect();
            let author = &mut scene.providers[usize::from(number)];
            let record = author.node_record(&effect, slot(number), body).unwrap();
            scene.add(record);
        }
        scene
    }

    pub(crate) fn effect(&self) -> Effect {
        effect(&self.records, &self.parameters).unwrap()
    }

    /// Stores a record that must be admissible.
    pub(crate) fn add(&mut self, record: Record) -> RecordId {
        let id = record.id();
        assert_eq!(self.admit(&record), Ok(()), "{record:?}");
        self.records.push(Arc::new(record));
        id
    }

    pub(crate) fn admit(&self, record: &Record) -> Result<(), Refusal> {
        let (region, known) = (self.region, |id: &RecordId| {
            self.records.iter().find(|record| record.id() == *id)
        });
        Grounds::of(region, &self.records, &self.kinds, |_, _| {}).admissible(
            record,
            &self.kinds,
            known,
        )
    }

    /// An account made by the provider of node `number`.
    pub(crate) fn account(&mut self, number: u8, body: Account) -> AccountId {
        let effect = self.effect();
        let author = &mut self.providers[usize::from(number)];
        let (id, record) = author.new_account(&effect, slot(number), body).unwrap();
        self.add(record);
        id
    }

    /// A site made by node `number` for `account`.
    pub(crate) fn site(&mut self, number: u8, account: AccountId) -> SiteId {
        let effect = self.effect();
        let author = &mut self.nodes[usize::from(number)];
        let (id, record) = author
            .new_site(&effect, slot(number), Site::new(account))
            .unwrap();
        self.add(record);
        id
    }

    /// A claim by node `number`.
    pub(crate) fn claim(&mut self, number: u8, account: AccountId, body: Name) -> RecordId {
        let effect = self.effect();
        let author = &mut self.nodes[usize::from(number)];
        let record = author.claim(&effect, account, body).unwrap();
        self.add(record)
    }

    /// A deploy by node `number`.
    pub(crate) fn deploy(&mut self, number: u8, site: SiteId, content: &str) -> RecordId {
        let record = self.deploy_record(number, site, content, 0);
        self.add(record)
    }

    pub(crate) fn deploy_record(
        &mut self,
        number: u8,
        site: SiteId,
        content: &str,
        time: i64,
    ) -> Record {
        let effect = self.effect();
        let body = deploy_body(content, effect.sites[&site].body.account, time);
        self.nodes[usize::from(number)]
            .deploy(&effect, site, body)
            .unwrap()
    }

    pub(crate) fn head(&self, site: SiteId) -> Option<RecordId> {
        self.effect().sites[&site].head().map(|deploy| deploy.id())
    }
}

/// One account with one site at node 0.
pub(crate) fn with_site(count: u8) -> (Scene, AccountId, SiteId) {
    let mut scene = Scene::new(count);
    let account = scene.account(0, account_body("ana"));
    let site = scene.site(0, account);
    (scene, account, site)
}
