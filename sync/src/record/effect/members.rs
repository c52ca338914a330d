//! Providers and nodes: who is or was a member, and whose key signs for whom.

use super::history::{History, Notes};
use super::{Parameters, RecordSet, Tips, node_body, takedown_body};
use crate::digest::Digest;
use crate::id::{NodeId, ProviderId, RecordId, RegionId};
use crate::record::body::Node;
use crate::record::envelope::{AuthorId, Record};
use crate::record::kinds::{Kind, Slot, Subject};
use crate::record::region::{Chain, NodeKeys, signed_as_provider};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A node that is or was one of the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEffect {
    /// Its id.
    pub id: NodeId,
    /// Its provider, and its place there.
    pub slot: Slot,
    /// What the last record about it says.
    pub body: Node,
    /// That record.
    pub record: RecordId,
    /// Whether it is a member now: the latest of its slot, of a provider of the current step,
    /// neither left nor removed.
    pub is_member: bool,
    /// Every key that signed or signs for it.
    pub(super) keys: BTreeSet<[u8; 32]>,
}

/// Who a record's author is, proved by the key that signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Provider(ProviderId),
    Node(NodeId, Slot),
}

/// Members of a region, past ones too.
pub(super) struct Members {
    pub(super) region: RegionId,
    pub(super) chain: Chain,
    pub(super) nodes: BTreeMap<NodeId, NodeEffect>,
    pub(super) left: BTreeSet<AuthorId>,
    pub(super) missing_lists: BTreeSet<Digest>,
    /// Removed authors, each with the records that stay valid.
    pub(super) removed: Removed,
}

/// Every pair of node and record key that any provider's record claims: enough to say who may
/// *propose* a step, before it is known who the providers are.
pub(in crate::record) fn node_claims(records: &[&Arc<Record>]) -> NodeKeys {
    let mut keys = NodeKeys::new();
    for record in records {
        if let Some(body) = node_body(record)
            && signed_as_provider(record)
            && owns_slot(record)
        {
            let provider = record.envelope().author.provider();
            keys.entry(body.id)
                .or_default()
                .insert((provider, body.record_key));
        }
    }
    keys
}

fn owns_slot(record: &Record) -> bool {
    match Subject::decode(Kind::NODE, &record.envelope().subject) {
        Some(Subject::Node(slot)) => AuthorId::from(slot.provider) == record.envelope().author,
        _ => false,
    }
}

impl Members {
    pub(super) fn read(
        set: &RecordSet<'_>,
        chain: Chain,
        parameters: &Parameters,
        notes: &mut Notes,
        tips: &mut Tips,
    ) -> Self {
        let (removed, missing_lists) = removals(&chain, parameters);
        let (nodes, left) = (BTreeMap::new(), BTreeSet::new());
        let mut members = Self {
            region: parameters.region,
            chain,
            nodes,
            left,
            missing_lists,
            removed,
        };
        for (subject, records) in set.subjects(Kind::NODE) {
            let Subject::Node(slot) = subject else {
                continue;
            };
            let history = History::read(records, notes, |record, _| {
                let valid = members.heeds(set, record)
                    && signed_as_provider(record)
                    && AuthorId::from(slot.provider) == record.envelope().author
                    && members.chain.knows(&slot.provider);
                node_body(record).filter(|_| valid)
            });
            tips.insert((Kind::NODE, subject.encode()), history.latest());
            members.add_slot(slot, &history);
        }
        members
    }

    fn add_slot(&mut self, slot: Slot, history: &History<'_, &Node>) {
        let latest = history
            .standing()
            .next_back()
            .map(|entry| entry.record.id());
        let current = self.chain.lists(&slot.provider);
        for entry in history.standing() {
            let Some(body) = entry.state else { continue };
            let record = entry.record.id();
            let node = self.nodes.entry(body.id).or_insert_with(|| NodeEffect {
                id: body.id,
                slot,
                body: body.clone(),
                record,
                is_member: false,
                keys: BTreeSet::new(),
            });
            // A node that two providers declare stays with the first in order: with its own proof
            // in both, it cannot be taken, only lent.
            if node.slot != slot {
                continue;
            }
            node.body = body.clone();
            node.record = record;
            node.is_member = current && latest == Some(record) && !body.is_withdrawn;
            node.keys.insert(body.record_key);
        }
    }

    /// Whether the record may have effect: not skipped, and not void by a removal.
    pub(super) fn heeds(&self, set: &RecordSet<'_>, record: &Record) -> bool {
        set.heeds(record) && is_valid(&self.removed, &self.nodes, record)
    }

    /// The member that wrote the record, if a member's key signed it.
    pub(super) fn author(&self, record: &Record) -> Option<Member> {
        let author = record.envelope().author;
        if signed_as_provider(record) && self.chain.knows(&author.provider()) {
            return Some(Member::Provider(author.provider()));
        }
        let node = self.nodes.get(&author.node())?;
        let signed = node.keys.contains(record.signer());
        signed.then_some(Member::Node(node.id, node.slot))
    }

    /// Members that left by their own word: final.
    pub(super) fn read_leaves(&mut self, set: &RecordSet<'_>) {
        for record in set.of(Kind::LEAVE) {
            let author = record.envelope().author;
            let own = record.envelope().subject == author.as_bytes();
            if own && self.heeds(set, record) && self.author(record).is_some() {
                self.left.insert(author);
            }
        }
        for node in self.nodes.values_mut() {
            let gone = |id: AuthorId| self.left.contains(&id) || self.removed.contains_key(&id);
            node.is_member &= !gone(node.id.into()) && !gone(node.slot.provider.into());
        }
    }

    pub(super) fn takedowns(
        &self,
        set: &RecordSet<'_>,
        notes: &mut Notes,
        tips: &mut Tips,
    ) -> BTreeSet<(ProviderId, Digest)> {
        let mut found = BTreeSet::new();
        for (subject, records) in set.subjects(Kind::TAKEDOWN) {
            let Subject::Takedown(provider, target) = subject else {
                continue;
            };
            let history = History::read(records, notes, |record, _| {
                let valid = self.heeds(set, record)
                    && self.author(record) == Some(Member::Provider(provider));
                takedown_body(record).filter(|_| valid)
            });
            tips.insert((Kind::TAKEDOWN, subject.encode()), history.latest());
            let latest = history.standing().next_back().and_then(|entry| entry.state);
            if latest.is_some_and(|body| body.active) {
                found.insert((provider, target));
            }
        }
        found
    }
}

pub(super) type Removed = BTreeMap<AuthorId, BTreeSet<RecordId>>;

/// Whether no removal makes the record void.
pub(super) fn is_valid(
    removed: &Removed,
    nodes: &BTreeMap<NodeId, NodeEffect>,
    record: &Record,
) -> bool {
    if removed.is_empty() {
        return true;
    }
    let author = record.envelope().author;
    let provider = nodes.get(&author.node()).map(|node| node.slot.provider);
    let row = removed
        .get(&author)
        .or_else(|| removed.get(&provider?.into()));
    row.is_none_or(|valid| valid.contains(&record.id()))
}

/// The removals that bind, and the lists that have not been fetched.
fn removals(chain: &Chain, parameters: &Parameters) -> (Removed, BTreeSet<Digest>) {
    let (mut removed, mut missing) = (Removed::new(), BTreeSet::new());
    for (author, digest) in &chain.current().body.removed {
        if let Some(valid) = parameters.lists.get(digest) {
            removed.insert(*author, valid.clone());
        } else if *digest == Digest::of(b"") {
            removed.insert(*author, BTreeSet::new());
        } else {
            missing.insert(*digest);
        }
    }
    (removed, missing)
}
