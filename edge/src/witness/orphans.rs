//! Snapshots of days that their node can seal no more: pure.
//!
//! A node is lost for a day when it left, when it has sealed a later one and not this, or when nothing
//! has been heard of it for [`LOST_AFTER_DAYS`]. A witness then makes the snapshot that it holds a record,
//! and every node of another provider that holds one which says no less countersigns it. A seal of
//! the day, whenever it comes, makes all of them worthless.

use super::chain::Chains;
use super::folder::Held;
use super::snapshot::{subject, weight};
use crate::accounting::calendar::Day;
use crate::accounting::figures::{BodyBytes, Count, CreditBytes};
use crate::accounting::ledger::ROWS_KEPT_DAYS;
use crate::accounting::seal::RowsNamed;
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::Digest;
use verge_sync::id::{NodeId, ProviderId, RecordId};
use verge_sync::record::body::{Body, Vote};
use verge_sync::record::cbor::Fields;
use verge_sync::record::{Effect, Kind, Record, Subject};

/// A power cut of a weekend is no loss: the node seals the day itself when it is back.
const LOST_AFTER_DAYS: u32 = 3;
/// Snapshots of a day that become records: a place has two.
const PUBLISHED_MAX: usize = 2;
/// Nodes of so many providers, or of all others if there are fewer, have to hold one.
const COUNTERSIGNERS: usize = 2;

/// A snapshot that is a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Which.
    pub record: RecordId,
    /// Who counted.
    pub node: NodeId,
    /// When.
    pub day: Day,
    /// Its name, as a seal has one: the BLAKE3 value of its body.
    pub digest: Digest,
    /// What it says.
    pub body: Vec<u8>,
    /// The sum of its rows.
    pub sum: Count,
    /// Nodes of other providers that hold one which says no less.
    pub countersigners: BTreeSet<NodeId>,
}

/// A snapshot that may be taken into a month's `close`, since there is no seal of the day.
pub type Orphan = Published;

/// All snapshots that are records, with who countersigned them.
#[must_use]
pub fn published(effect: &Effect) -> Vec<Published> {
    let records = effect.records();
    let records = records.filter(|record| record.envelope().kind == Kind::SNAPSHOT);
    let mut published: BTreeMap<RecordId, Published> = records
        .filter_map(|record| Some((record.id(), read(effect, record)?)))
        .collect();
    if published.is_empty() {
        return Vec::new();
    }
    let votes = effect.records();
    for record in votes.filter(|record| record.envelope().kind == Kind::VOTE) {
        let Some((target, voter)) = vote(effect, record) else {
            continue;
        };
        let Some(of) = published.get_mut(&target) else {
            continue;
        };
        if provider(effect, &voter) != provider(effect, &of.node) {
            of.countersigners.insert(voter);
        }
    }
    published.into_values().collect()
}

fn read(effect: &Effect, record: &Record) -> Option<Published> {
    let (node, day) = subject(record)?;
    let body = Fields::read(record.bytes()).ok()?.raw(10)?;
    let (said, link) = super::chain::Link::of(body)?;
    let fields = Fields::read(body).ok()?;
    let is_own = said == node && link.day == day && effect.heeds_of_node(record);
    is_own.then_some(Published {
        record: record.id(),
        node,
        day,
        digest: link.digest,
        body: body.to_vec(),
        sum: Count {
            requests: fields.uint(7).ok()?,
            credit: CreditBytes(fields.uint(8).ok()?),
            body: BodyBytes(fields.uint(9).ok()?),
        },
        countersigners: BTreeSet::new(),
    })
}

fn vote(effect: &Effect, record: &Record) -> Option<(RecordId, NodeId)> {
    let envelope = record.envelope();
    let Some(Subject::Vote(target, voter)) = Subject::decode(Kind::VOTE, &envelope.subject) else {
        return None;
    };
    let is_own = voter.as_bytes() == envelope.author.as_bytes();
    let is_for = matches!(record.body(), Ok(Body::Vote(Vote::For)));
    (is_own && is_for && effect.heeds_of_node(record)).then(|| (target, envelope.author.node()))
}

fn provider(effect: &Effect, node: &NodeId) -> Option<ProviderId> {
    effect.nodes.get(node).map(|node| node.slot.provider)
}

/// The snapshots that count: of each node and day without a seal the one that says most, of those that
/// enough nodes countersigned. What a `close` takes of them it names by their digests.
#[must_use]
pub fn orphans(effect: &Effect, chains: &Chains) -> BTreeMap<(NodeId, Day), Orphan> {
    let mut orphans: BTreeMap<(NodeId, Day), Orphan> = BTreeMap::new();
    for one in published(effect) {
        let key = (one.node, one.day);
        if chains.has_day(&one.node, one.day) || !is_countersigned(effect, &one) {
            continue;
        }
        let weight = |of: &Orphan| weight(of.sum, of.digest);
        if orphans
            .get(&key)
            .is_none_or(|other| weight(other) < weight(&one))
        {
            orphans.insert(key, one);
        }
    }
    orphans
}

fn is_countersigned(effect: &Effect, one: &Published) -> bool {
    let own = provider(effect, &one.node);
    let members = effect.nodes.values().filter(|node| node.is_member);
    let others: BTreeSet<ProviderId> = members.map(|node| node.slot.provider).collect();
    let others = others.iter().filter(|other| Some(**other) != own).count();
    let voters = one.countersigners.iter();
    let voters: BTreeSet<ProviderId> = voters.filter_map(|node| provider(effect, node)).collect();
    !voters.is_empty() && voters.len() >= others.min(COUNTERSIGNERS)
}

/// The snapshots that this node holds and has to publish, by node and day. `ended` is the day of which
/// the seals are due, `is_away` says of whom nothing is heard.
#[must_use]
pub fn to_publish(
    effect: &Effect,
    chains: &Chains,
    held: impl Iterator<Item = Held>,
    (ended, is_away): (Day, impl Fn(&NodeId) -> bool),
) -> Vec<(NodeId, Day)> {
    let published = published(effect);
    let is_new = |held: &Held| {
        let key = (held.node, held.day);
        let of_day: Vec<&Published> = published
            .iter()
            .filter(|of| (of.node, of.day) == key)
            .collect();
        let own = weight(held.sum, held.digest);
        let is_more = of_day.iter().all(|of| weight(of.sum, of.digest) < own);
        is_more && of_day.len() < PUBLISHED_MAX
    };
    let is_lost = |held: &Held| {
        if held.day > ended || chains.has_day(&held.node, held.day) {
            return false;
        }
        let Some(known) = effect.nodes.get(&held.node) else {
            return false;
        };
        // What a removed node has not published before has no effect any more.
        let removed = &effect.chain.current().body.removed;
        let authors = [held.node.into(), known.slot.provider.into()];
        if authors.iter().any(|author| removed.contains_key(author)) {
            return false;
        }
        let chain = chains.get(&held.node);
        let has_gone_on = chain.is_some_and(|chain| chain.days().any(|day| day > held.day));
        let is_old = held.day < ended.minus(LOST_AFTER_DAYS) && is_away(&held.node);
        has_gone_on || is_old || !known.is_member
    };
    let lost = held.filter(|held| is_lost(held) && is_new(held));
    lost.map(|held| (held.node, held.day)).collect()
}

/// The published snapshots that `me` countersigns: those of which it holds as much.
#[must_use]
pub fn owed_votes(
    effect: &Effect,
    chains: &Chains,
    me: NodeId,
    held: &BTreeMap<(NodeId, Day), Held>,
) -> Vec<RecordId> {
    let is_member = effect.nodes.get(&me).is_some_and(|node| node.is_member);
    if !is_member {
        return Vec::new();
    }
    let owed = published(effect).into_iter().filter(|one| {
        let is_orphan = !chains.has_day(&one.node, one.day);
        let is_held = held.get(&(one.node, one.day)).is_some_and(|held| {
            let is_more = held.sum.smaller(one.sum) == one.sum;
            held.digest == one.digest || is_more
        });
        let is_other = provider(effect, &me) != provider(effect, &one.node);
        is_orphan && is_held && is_other && !one.countersigners.contains(&me)
    });
    owed.map(|one| one.record).collect()
}

/// The rows of published snapshots, and how long they are; as long as rows are kept, also when a seal
/// came later: a close may have taken the snapshot.
#[must_use]
pub fn named_rows(effect: &Effect, today: Day) -> BTreeMap<Digest, u64> {
    let published = published(effect).into_iter();
    let kept = published.filter(|one| one.day >= today.minus(ROWS_KEPT_DAYS));
    let named = kept.filter_map(|one| RowsNamed::of(&one.body).ok());
    let named = named.filter(|rows| rows.bytes > 0);
    named.map(|rows| (rows.blob, rows.bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::seal::Seal;
    use crate::accounting::seal::sample::seal;
    use crate::region::scene::Scene;
    use verge_sync::record::body::HostProof;

    fn said(scene: &Scene) -> Seal {
        Seal {
            node: scene.node(0),
            previous: None,
            ..seal()
        }
    }

    fn held(said: &Seal) -> Held {
        Held {
            node: said.node,
            day: said.day,
            digest: said.encode().digest(),
            sum: said.sum().unwrap(),
            bytes: 0,
            record: Vec::new(),
        }
    }

    fn lost(scene: &Scene, said: &Seal, ended: Day, is_away: bool) -> usize {
        let effect = scene.effect();
        let held = [held(said)].into_iter();
        to_publish(
            &effect,
            &Chains::of(&effect),
            held,
            (ended, |_: &NodeId| is_away),
        )
        .len()
    }

    fn found(scene: &Scene) -> Vec<Orphan> {
        let effect = scene.effect();
        orphans(&effect, &Chains::of(&effect))
            .into_values()
            .collect()
    }

    #[test]
    fn a_snapshot_is_published_when_its_node_cannot_seal_the_day_any_more() {
        let mut scene = Scene::new(4, HostProof::None);
        let said = said(&scene);
        let (day, after) = (said.day, |days: u32| {
            Day::new(said.day.number() + days).unwrap()
        });
        // Its seal may still come.
        assert_eq!(lost(&scene, &said, day, true), 0);
        assert_eq!(lost(&scene, &said, after(LOST_AFTER_DAYS), true), 0);
        assert_eq!(lost(&scene, &said, after(LOST_AFTER_DAYS + 1), false), 0);
        assert_eq!(lost(&scene, &said, after(LOST_AFTER_DAYS + 1), true), 1);
        assert_eq!(lost(&scene, &said, said.day.minus(1), true), 0);
        let later = Seal {
            day: day.next(),
            ..said.clone()
        };
        scene.seal(0, later.day, later.encode().body);
        assert_eq!(lost(&scene, &said, day, false), 1);
        // The seal of the day makes it worthless.
        scene.seal(0, day, said.encode().body);
        assert_eq!(lost(&scene, &said, day, false), 0);
        let mut scene = Scene::new(4, HostProof::None);
        let leave = scene.nodes[0].leave("moved away").unwrap();
        scene.add(leave);
        assert_eq!(lost(&scene, &said, day, false), 1);
        let gone = scene.node(0);
        scene.step(|step| {
            step.removed.insert(gone.into(), Digest::of(b""));
        });
        assert_eq!(lost(&scene, &said, day, false), 0);
    }

    #[test]
    fn two_providers_countersign_what_becomes_an_orphan() {
        let mut scene = Scene::new(4, HostProof::None);
        let mut more = said(&scene);
        let less = more.clone();
        more.rows[2].count.requests += 1;
        let (one, other) = (scene.snapshot(0, &less), scene.snapshot(0, &more));
        let (one, other) = (scene.add(one), scene.add(other));
        let holds = BTreeMap::from([((more.node, more.day), held(&more))]);
        let owed = |scene: &Scene, number| {
            let effect = scene.effect();
            let me = scene.node(number);
            let owed = owed_votes(&effect, &Chains::of(&effect), me, &holds);
            owed.into_iter().collect::<BTreeSet<_>>()
        };
        assert_eq!(owed(&scene, 1), BTreeSet::from([one, other]));
        assert!(owed(&scene, 0).is_empty());
        assert!(found(&scene).is_empty());
        scene.say(1, one, Vote::For);
        scene.say(0, one, Vote::For);
        assert!(found(&scene).is_empty());
        scene.say(2, one, Vote::For);
        assert_eq!(owed(&scene, 1), BTreeSet::from([other]));
        assert_eq!(found(&scene)[0].record, one);
        scene.say(1, other, Vote::For);
        scene.say(3, other, Vote::For);
        let orphans = found(&scene);
        assert_eq!(orphans.len(), 1);
        assert_eq!(
            (orphans[0].record, orphans[0].digest),
            (other, more.encode().digest())
        );
        let rows = named_rows(&scene.effect(), more.day.next());
        assert!(rows.contains_key(&Digest::of(&more.encode().rows)));
        // Whatever was countersigned: the node's own seal counts, and it alone.
        scene.seal(0, less.day, less.encode().body);
        assert!(found(&scene).is_empty());
        assert!(owed(&scene, 3).is_empty());
        // A close may have taken it before.
        assert!(!named_rows(&scene.effect(), more.day.next()).is_empty());
    }

    #[test]
    fn who_holds_less_does_not_countersign() {
        let mut scene = Scene::new(3, HostProof::None);
        let less = said(&scene);
        let mut more = less.clone();
        more.rows[2].count.requests += 1;
        let record = scene.snapshot(0, &more);
        scene.add(record);
        let holds = BTreeMap::from([((less.node, less.day), held(&less))]);
        let effect = scene.effect();
        let owed = owed_votes(&effect, &Chains::of(&effect), scene.node(1), &holds);
        assert!(owed.is_empty());
    }
}
