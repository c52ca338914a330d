//! What the records of a region cost: `benches/records` calls it.
//!
//! `records PROVIDERS SITES RECORDS` makes a region of so many providers with a node each, and prints
//! CPU time, memory and bytes of what a node does with its records.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures and prints"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use verge_sync::clock::UnixTime;
use verge_sync::keys::{ProviderKey, Seed};
use verge_sync::net::{Exchange, Holding};
use verge_sync::record::{
    Account, Actors, Author, Body, Cause, Deploy, Draft, Envelope, HostProof, Kind, KindTable,
    Limits, LogId, Name, NameKind, Node, Parameters, Provider, Record, Region, Roles, Site, Slot,
    Subject, UserKey, Zones, effect,
};
use verge_sync::{
    AccountId, ContentDigest, Digest, ProviderId, RecordId, RegionId, SiteId, Version,
};

/// A vote for every name by every node of this many: a majority of the largest region.
const VOTERS_MAX: usize = 16;

fn main() {
    let arguments: Vec<usize> = std::env::args()
        .skip(1)
        .map(|n| n.parse().unwrap())
        .collect();
    let [providers, sites, count] = arguments.try_into().unwrap();
    let region = Made::new(providers, sites, count);
    let bytes: usize = region
        .records
        .iter()
        .map(|record| record.bytes().len())
        .sum();
    println!(
        "{providers} nodes, {sites} sites, {} records of {} bytes",
        region.records.len(),
        bytes / region.records.len()
    );
    region.measure_holding();
    region.measure_reconciliation(10);
    region.measure_join();
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

fn memory_kib() -> u64 {
    let lines = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = lines.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn timed<T>(what: &str, mut act: impl FnMut() -> T) -> T {
    let before = cpu_ns();
    let done = act();
    let spent = cpu_ns() - before;
    println!(
        "{what}: {}.{:03} ms CPU",
        spent / 1_000_000,
        spent / 1_000 % 1_000
    );
    done
}

struct Made {
    region: RegionId,
    records: Vec<Arc<Record>>,
}

fn provider_key(number: usize) -> ProviderKey {
    ProviderKey::from_bytes(Digest::derive("provider", &[&number.to_le_bytes()]).as_bytes())
}

fn seed(number: usize) -> Seed {
    Seed::from_bytes(*Digest::derive("seed", &[&number.to_le_bytes()]).as_bytes())
}

fn slot(number: usize) -> Slot {
    Slot {
        provider: provider_key(number).provider(),
        number: 0,
    }
}

impl Made {
    fn new(providers: usize, sites: usize, count: usize) -> Self {
        let first = Author::found(&provider_key(0), LogId([0; 8]), step(providers)).unwrap();
        let mut made = Self {
            region: first.region(),
            records: vec![Arc::new(first)],
        };
        for number in 0..providers {
            made.add_node(number);
        }
        let each = count.saturating_sub(made.records.len()) / sites;
        for number in 0..sites {
            made.add_site(number, providers, each);
        }
        made
    }

    fn sign(
        &mut self,
        by: usize,
        place: (Kind, Subject, u32),
        before: Vec<RecordId>,
        body: &Body,
    ) -> RecordId {
        let (kind, subject, sequence) = place;
        let by_provider = matches!(kind, Kind::NODE | Kind::ACCOUNT);
        let (provider, node) = (provider_key(by), seed(by));
        let envelope = Envelope {
            region: self.region,
            kind,
            subject: subject.encode(),
            author: if by_provider {
                provider.provider().into()
            } else {
                node.node_id().into()
            },
            log: LogId([1; 8]),
            n: 1,
            epoch: 0,
            sequence,
            predecessors: before,
        };
        let body = body.encode();
        let key = if by_provider {
            provider.signing_key().clone()
        } else {
            node.record_key()
        };
        let record = Draft { envelope, body }.sign(&key).unwrap();
        self.records.push(Arc::new(record));
        self.records.last().unwrap().id()
    }

    fn add_node(&mut self, number: usize) {
        let (seed, slot) = (seed(number), slot(number));
        let body = Node {
            id: seed.node_id(),
            record_key: seed.record_key().verifying_key().to_bytes(),
            sealing_key: *seed.sealing_key().public(),
            addresses: vec!["192.0.2.1:2223".to_owned()],
            name: format!("node {number}"),
            proof: [0; 64],
            is_withdrawn: false,
            visitors: Vec::new(),
        };
        let body = body.proven(&self.region, slot, &seed.transport_key());
        self.sign(
            number,
            (Kind::NODE, Subject::Node(slot), 1),
            vec![],
            &Body::Node(body),
        );
    }

    /// A site with its account, its name, votes for it, and deploys until it has `each` records.
    fn add_site(&mut self, number: usize, providers: usize, each: usize) {
        let by = number % providers;
        let counter = u16::try_from(number / providers).unwrap();
        let subject = Subject::Account(slot(by), counter);
        let account = AccountId::derive(&self.region, &subject.encode());
        let body = Account {
            display_name: format!("account {number}"),
            keys: vec![UserKey::SshLogin([7; 32])],
            acts: Actors::All,
        };
        self.sign(
            by,
            (Kind::ACCOUNT, subject, 1),
            vec![],
            &Body::Account(body),
        );
        let subject = Subject::Site(slot(by), counter);
        let site = SiteId::derive(&self.region, &subject.encode());
        self.sign(
            by,
            (Kind::SITE, subject, 1),
            vec![],
            &Body::Site(Site::new(account)),
        );
        let body = Name {
            kind: NameKind::Label,
            name: format!("site{number}"),
            id: site.digest(),
            proof: None,
        };
        let name = self.sign(
            by,
            (Kind::NAME, Subject::Name(account, 0), 1),
            vec![],
            &Body::Name(body),
        );
        let voters = VOTERS_MAX.min(providers).min(each.saturating_sub(3));
        for voter in 0..voters {
            let id = Digest::from_bytes(*seed(voter).node_id().as_bytes());
            self.sign(
                voter,
                (Kind::VOTE, Subject::Vote(name, id), 1),
                vec![],
                &Body::Vote(verge_sync::record::body::Vote::For),
            );
        }
        let mut before = Vec::new();
        for sequence in 1..=each.saturating_sub(3 + voters) {
            let body = deploy(account, slot(by).provider, sequence);
            let place = (
                Kind::DEPLOY,
                Subject::Deploy(site),
                u32::try_from(sequence).unwrap(),
            );
            before = vec![self.sign(by, place, before, &Body::Deploy(body))];
        }
    }

    fn parameters(&self) -> Parameters {
        Parameters::new(self.region, Arc::new(BTreeSet::new()))
    }

    fn holding(&self, records: &[Arc<Record>]) -> Holding {
        Holding::new(records, self.parameters(), KindTable::default()).unwrap()
    }

    /// What a node has in memory, and what one more record costs it.
    fn measure_holding(&self) {
        let parameters = self.parameters();
        drop(timed("effect of all", || {
            effect(&self.records, &parameters)
        }));
        let rest = &self.records[..self.records.len() - 1];
        let last = self.records.last().unwrap();
        let before = memory_kib();
        // Its own copies, as after a start.
        let copies: Vec<Arc<Record>> = rest
            .iter()
            .map(|record| Arc::new(Record::parse(record.bytes()).unwrap()))
            .collect();
        let records = memory_kib();
        let mut holding = timed("start: hold all", || self.holding(&copies));
        drop(copies);
        let held = memory_kib();
        timed("effect, first", || drop(Arc::clone(holding.effect())));
        let with_effect = memory_kib();
        println!(
            "memory: records {} KiB, their places and grounds {} KiB, effect {} KiB",
            records - before,
            held.saturating_sub(records),
            with_effect.saturating_sub(held)
        );
        let taken = timed("one more record: taken", || {
            holding.offer([Record::clone(last)])
        });
        assert_eq!(taken.new.len(), 1);
        timed("one more record: effect", || {
            drop(Arc::clone(holding.effect()))
        });
    }

    /// Two nodes that differ in `count` records.
    fn measure_reconciliation(&self, count: usize) {
        // The last deploy of as many sites, as different pushes on two sides are.
        let ends: BTreeSet<RecordId> = {
            let named: BTreeSet<RecordId> = self
                .records
                .iter()
                .flat_map(|record| record.envelope().predecessors.clone())
                .collect();
            let ends = self.records.iter().filter(|record| {
                record.envelope().kind == Kind::DEPLOY && !named.contains(&record.id())
            });
            ends.map(|record| record.id()).take(count).collect()
        };
        let part = |keep: usize| -> Vec<Arc<Record>> {
            let at = |id: &RecordId| ends.iter().position(|of| of == id);
            let lacks = |record: &&Arc<Record>| at(&record.id()).is_some_and(|at| at % 2 == keep);
            self.records
                .iter()
                .filter(|record| !lacks(record))
                .cloned()
                .collect()
        };
        let sides = [self.holding(&part(0)), self.holding(&part(1))];
        self.meet("reconciliation", sides, 1);
    }

    /// A node that has step 0 alone.
    fn measure_join(&self) {
        let sides = [
            self.holding(&self.records[..1]),
            self.holding(&self.records),
        ];
        self.meet("join of a new node", sides, 600);
    }

    /// Lets two nodes talk until both have all; time passes as the wire would let it.
    fn meet(&self, what: &str, sides: [Holding; 2], seconds_max: u64) {
        let mut sides = sides.into_iter().enumerate().map(|(number, holding)| {
            (
                seed(number).node_id(),
                Exchange::new(seed(number).node_id(), holding),
                0_u64,
            )
        });
        let (mut one, mut other) = (sides.next().unwrap(), sides.next().unwrap());
        one.1.connect(other.0, 0);
        other.1.connect(one.0, 0);
        let (mut bytes, mut messages, mut now_ms) = (0, 0, 0);
        let all = self.records.len();
        while one.1.holding().records().len() + other.1.holding().records().len() < 2 * all {
            assert!(now_ms < seconds_max * 1_000, "not after {seconds_max} s");
            for _ in 0..2 {
                let begun = cpu_ns();
                one.1.turn(now_ms);
                while other.1.has_room(&one.0) {
                    let Some(said) = one.1.next_out(&other.0, now_ms) else {
                        break;
                    };
                    bytes += said.len();
                    messages += 1;
                    one.2 += 0;
                    other.1.hear(&one.0, &said).unwrap();
                }
                one.2 += cpu_ns() - begun;
                std::mem::swap(&mut one, &mut other);
            }
            // A turn of the wire.
            now_ms += 20;
        }
        println!(
            "{what}: {} + {} ms CPU, {bytes} bytes in {messages} messages, {now_ms} ms",
            one.2 / 1_000_000,
            other.2 / 1_000_000
        );
    }
}

fn deploy(account: AccountId, provider: ProviderId, number: usize) -> Deploy {
    let digest = Digest::of(&number.to_le_bytes());
    Deploy {
        version: Version::from_digest(digest),
        content: ContentDigest::from_digest(digest),
        recipe: 1,
        blobs: digest,
        blobs_bytes: 4_096,
        git: None,
        time: UnixTime(1_800_000_000),
        cause: Cause::Push,
        account,
        provider,
    }
}

fn step(providers: usize) -> Region {
    let row = |number| Provider {
        id: provider_key(number).provider(),
        name: format!("provider {number}"),
        contact: "mail@provider.example".to_owned(),
    };
    let mut rows: Vec<Provider> = (0..providers).map(row).collect();
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
        policy: String::new(),
        acme: None,
        removed: Default::default(),
        sponsors: Default::default(),
        takedowns: BTreeSet::new(),
        host_proof: HostProof::None,
        test: true,
        name: "Example Street".to_owned(),
    }
}
