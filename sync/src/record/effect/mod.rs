//! What a set of records means: a pure function (`docs/format.md#effect`).
//!
//! [`effect()`] takes every record that a node has, in any order and any number of times, and gives the
//! same answer everywhere. It reads no clock and never depends on arrival. The stages build on one
//! another: the chain says who the providers are, these say who the nodes are, these create accounts,
//! accounts say who may act, and from that follow sites, deploys and names.
//!
//! Every record given must have passed [`super::Grounds::admissible`] once: signatures are not
//! verified again here, but whether a key belongs to its author is judged anew each time.

mod accounts;
mod find;
mod history;
mod members;
mod names;
mod sites;
mod votes;

pub use accounts::AccountEffect;
pub use find::Actor;
pub(super) use history::follows;
pub use history::{Evidence, Waiting};
pub use members::NodeEffect;
pub(super) use members::node_claims;
pub use names::{
    LABEL_BYTES_MAX, NameEffect, NameStatus, PROVING_PROVIDERS, Wanted, host_is_well_formed,
    label_is_well_formed,
};
pub use sites::{DeployEffect, KEPT_DEPLOYS, SiteEffect};

use super::body::Body;
use super::envelope::{AuthorId, Record};
use super::kinds::{Kind, Slot, Subject};
use super::region::{Chain, Pin};
use crate::digest::Digest;
use crate::id::{AccountId, NodeId, ProviderId, RecordId, RegionId, SiteId};
use history::Notes;
use members::Members;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a region's meaning depends on besides its records.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// The region.
    pub region: RegionId,
    /// The step that the node stands on; never below.
    pub pin: Option<Pin>,
    /// Labels that nobody can claim.
    pub reserved: Arc<BTreeSet<String>>,
    /// The blobs that removals name, decoded: RecordIds that stay valid.
    pub lists: BTreeMap<Digest, BTreeSet<RecordId>>,
    /// Records whose application crashed: known, without effect.
    pub skip: BTreeSet<RecordId>,
    /// A record whose application crashes, for tests of what then happens.
    #[doc(hidden)]
    pub trap: Option<Trap>,
}

/// What applying a planted record does.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// It panics.
    Panic(RecordId),
    /// It ends the process.
    Abort(RecordId),
    /// It has no end.
    Endless(RecordId),
}

impl Trap {
    /// Panics, if it is set for the record.
    fn spring(self, id: RecordId) {
        let (Self::Panic(of) | Self::Abort(of) | Self::Endless(of)) = self;
        if of != id {
            return;
        }
        match self {
            Self::Panic(_) => unreachable!("a trap was set for this record"),
            Self::Abort(_) => std::process::abort(),
            Self::Endless(_) => loop {
                std::thread::park();
            },
        }
    }
}

impl Parameters {
    /// The parameters of a node of `region` that has seen nothing special.
    #[must_use]
    pub fn new(region: RegionId, reserved: Arc<BTreeSet<String>>) -> Self {
        let (lists, skip) = (BTreeMap::new(), BTreeSet::new());
        Self {
            region,
            pin: None,
            reserved,
            lists,
            skip,
            trap: None,
        }
    }
}

/// What holds in a region. Compare two of them to see what a change of records changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The region.
    pub region: RegionId,
    /// Its chain; the current step has the policy.
    pub chain: Chain,
    /// Every node that is or was one.
    pub nodes: BTreeMap<NodeId, NodeEffect>,
    /// Every account that was created, also ended ones.
    pub accounts: BTreeMap<AccountId, AccountEffect>,
    /// Every site that was created, also ended ones.
    pub sites: BTreeMap<SiteId, SiteEffect>,
    /// Every claim that stands, in the order of RecordIds.
    pub names: Vec<NameEffect>,
    /// What each provider's nodes do not serve. [`Effect::serves`] asks the step as well.
    pub takedowns: BTreeSet<(ProviderId, Digest)>,
    /// Sites and accounts that ended.
    pub tombstones: BTreeSet<Digest>,
    /// Members that left by their own word.
    pub left: BTreeSet<AuthorId>,
    /// Who contradicted itself.
    pub evidence: Vec<Evidence>,
    /// Records that wait for others.
    pub waiting: Vec<Waiting>,
    /// Records of owned kinds whose body this release cannot read: kept, without effect.
    pub unreadable: BTreeSet<RecordId>,
    /// Removal lists that have not been fetched: these removals do not bind yet.
    pub missing_lists: BTreeSet<Digest>,
    index: Index,
}

/// What is looked up while records are written and asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Index {
    /// By id: 8 bytes each, where a map would take 90.
    known: Vec<Arc<Record>>,
    /// What the next record of a subject names: the record that stands, or a site's deploy tips.
    tips: BTreeMap<(Kind, Vec<u8>), Vec<RecordId>>,
    /// Counters that were ever used, by slot.
    account_counters: BTreeMap<Slot, BTreeSet<u16>>,
    site_counters: BTreeMap<Slot, BTreeSet<u16>>,
    name_indices: BTreeMap<AccountId, BTreeSet<u8>>,
    hosts: BTreeMap<String, SiteId>,
    labels: BTreeMap<String, SiteId>,
    account_names: BTreeMap<String, AccountId>,
    names_of: BTreeMap<Digest, Vec<usize>>,
    ssh_keys: BTreeMap<[u8; 32], BTreeSet<AccountId>>,
    /// Removed authors, each with the records that stay valid.
    removed: members::Removed,
}

/// What `records` mean in a region; `None` while its step 0 is not among them.
#[must_use]
pub fn effect(records: &[Arc<Record>], parameters: &Parameters) -> Option<Effect> {
    let set = RecordSet::new(records, parameters);
    let mut notes = Notes::default();
    let claims = node_claims(&set.of(Kind::NODE));
    let chain = Chain::follow(
        parameters.region,
        parameters.pin,
        &set.of(Kind::REGION),
        &set.of(Kind::VOTE),
        &claims,
    )?;
    let mut tips = BTreeMap::new();
    let mut members = Members::read(&set, chain, parameters, &mut notes, &mut tips);
    let mut accounts = accounts::read(&set, &members, &mut notes, &mut tips);
    let mut sites = sites::read(&set, &members, &accounts, &mut notes, &mut tips);
    let tombstones = accounts::tombstones(&set, &members, &mut accounts, &mut sites);
    members.read_leaves(&set);
    let takedowns = members.takedowns(&set, &mut notes, &mut tips);
    let scene = names::Scene {
        set: &set,
        members: &members,
        accounts: &accounts,
        sites: &sites,
    };
    let names = names::read(&scene, &parameters.reserved, &mut notes, &mut tips);
    notes.evidence.extend(
        members
            .chain
            .rivals
            .iter()
            .cloned()
            .map(Evidence::RivalSteps),
    );
    notes.evidence.sort_unstable();
    notes.waiting.sort_unstable();
    let mut index = Index::new(&set, tips, &accounts, &names, &members.chain);
    index.removed = members.removed;
    Some(Effect {
        region: parameters.region,
        chain: members.chain,
        nodes: members.nodes,
        accounts,
        sites,
        names,
        takedowns,
        tombstones,
        left: members.left,
        evidence: notes.evidence,
        waiting: notes.waiting,
        unreadable: set.unreadable(),
        missing_lists: members.missing_lists,
        index,
    })
}

/// Tips by subject, as they come up.
type Tips = BTreeMap<(Kind, Vec<u8>), Vec<RecordId>>;

/// The records of one region, each once, by kind and subject.
struct RecordSet<'a> {
    /// By id.
    known: Vec<&'a Arc<Record>>,
    by_subject: BTreeMap<(Kind, &'a [u8]), Vec<&'a Arc<Record>>>,
    skip: &'a BTreeSet<RecordId>,
}

impl<'a> RecordSet<'a> {
    fn new(records: &'a [Arc<Record>], parameters: &'a Parameters) -> Self {
        let of_region = |record: &&'a Arc<Record>| record.region() == parameters.region;
        let mut known: Vec<&'a Arc<Record>> = records.iter().filter(of_region).collect();
        known.sort_by_key(|record| record.id());
        // Of two forms of one record the one that precedes the other.
        known.dedup_by(|next, kept| {
            let is_same = next.id() == kept.id();
            if is_same && next.precedes(kept) {
                *kept = *next;
            }
            is_same
        });
        if let Some(trap) = parameters.trap {
            let heeded = known.iter().map(|record| record.id());
            let heeded = heeded.filter(|id| !parameters.skip.contains(id));
            heeded.for_each(|id| trap.spring(id));
        }
        let mut by_subject: BTreeMap<(Kind, &'a [u8]), Vec<&'a Arc<Record>>> = BTreeMap::new();
        for record in known.iter().copied() {
            let envelope = record.envelope();
            let subject = (envelope.kind, envelope.subject.as_slice());
            by_subject.entry(subject).or_default().push(record);
        }
        Self {
            known,
            by_subject,
            skip: &parameters.skip,
        }
    }

    fn knows(&self, id: &RecordId) -> bool {
        let known = &self.known;
        known.binary_search_by_key(id, |record| record.id()).is_ok()
    }

    /// Whether the record is one that may have effect.
    fn heeds(&self, record: &Record) -> bool {
        !self.skip.contains(&record.id())
    }

    /// All records of `kind` that may have effect.
    fn of(&self, kind: Kind) -> Vec<&'a Arc<Record>> {
        let rows = self.by_subject.range((kind, [].as_slice())..);
        rows.take_while(|((of, _), _)| *of == kind)
            .flat_map(|(_, records)| records.iter().copied())
            .filter(|record| self.heeds(record))
            .collect()
    }

    /// The records of `kind`, subject by subject, where the subject is one.
    fn subjects(&self, kind: Kind) -> impl Iterator<Item = (Subject, &[&'a Arc<Record>])> {
        let rows = self.by_subject.range((kind, [].as_slice())..);
        rows.take_while(move |((of, _), _)| *of == kind)
            .filter_map(|((kind, bytes), records)| {
                Some((Subject::decode(*kind, bytes)?, records.as_slice()))
            })
    }

    fn of_subject<'s>(&'s self, kind: Kind, subject: &'s [u8]) -> &'s [&'a Arc<Record>] {
        self.by_subject
            .get(&(kind, subject))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn unreadable(&self) -> BTreeSet<RecordId> {
        let unread = self.known.iter().filter(|record| !record.is_readable());
        unread.map(|record| record.id()).collect()
    }
}

impl Index {
    fn new(
        set: &RecordSet<'_>,
        tips: Tips,
        accounts: &BTreeMap<AccountId, AccountEffect>,
        names: &[NameEffect],
        chain: &Chain,
    ) -> Self {
        let mut index = Self {
            tips,
            ..Self::default()
        };
        index.known = set.known.iter().copied().map(Arc::clone).collect();
        for (kind, subject) in set.by_subject.keys() {
            match Subject::decode(*kind, subject) {
                Some(Subject::Account(slot, counter)) => {
                    index
                        .account_counters
                        .entry(slot)
                        .or_default()
                        .insert(counter);
                }
                Some(Subject::Site(slot, counter)) => {
                    index.site_counters.entry(slot).or_default().insert(counter);
                }
                Some(Subject::Name(account, number)) => {
                    index
                        .name_indices
                        .entry(account)
                        .or_default()
                        .insert(number);
                }
                _ => {}
            }
        }
        for account in accounts.values().filter(|account| !account.ended) {
            for key in account.ssh_keys() {
                index.ssh_keys.entry(key).or_default().insert(account.id);
            }
        }
        index.add_names(names, &chain.current().body.zones.site_zone);
        index
    }

    fn add_names(&mut self, names: &[NameEffect], site_zone: &str) {
        let zone = format!(".{site_zone}");
        for (position, name) in names.iter().enumerate() {
            self.names_of.entry(name.id).or_default().push(position);
            if !name.holds() {
                continue;
            }
            if let Some(host) = &name.host {
                let site = SiteId::from_digest(name.id);
                self.hosts.insert(host.clone(), site);
                if let Some(label) = host.strip_suffix(&zone) {
                    self.labels.insert(label.to_owned(), site);
                }
            } else {
                self.account_names
                    .insert(name.name.clone(), AccountId::from_digest(name.id));
            }
        }
    }
}

/// The body of a record as the type that its kind has; `None` if it cannot be read.
macro_rules! body_as {
    ($name:ident, $variant:ident, $type:ty) => {
        fn $name(record: &Record) -> Option<&$type> {
            match record.body() {
                Ok(Body::$variant(body)) => Some(body),
                _ => None,
            }
        }
    };
}

body_as!(node_body, Node, super::body::Node);
body_as!(account_body, Account, super::body::Account);
body_as!(site_body, Site, super::body::Site);
body_as!(name_body, Name, super::body::Name);
body_as!(takedown_body, Takedown, super::body::Takedown);
