//! What observers wrote of each node over the last 30 days: pure.
//!
//! Of a node counts what nodes of other providers saw, and of their shares the median: one that lies,
//! or sits behind a bad line, moves it by a place.

use super::observation::{Observation, SiteRow};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::id::{NodeId, SiteId};
use verge_sync::record::{Effect, Kind, Record};

/// Days that count, today among them.
pub(super) const DAYS: u32 = 30;

/// What was seen of all nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Month {
    nodes: BTreeMap<NodeId, Vec<Share>>,
    sites: BTreeMap<(NodeId, [u8; 8]), OfSite>,
}

/// What one observer saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    answered: u64,
    wrong: u64,
    probes: u64,
}

/// What was seen of one site at one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfSite {
    pub(super) answered: u64,
    pub(super) probes: u64,
    observers: BTreeSet<NodeId>,
}

/// What was seen of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OfNode {
    /// The share that was answered rightly, in thousandths.
    pub(super) answered_permille: u64,
    pub(super) observer_count: usize,
    /// Wrong answers, of all observers.
    pub(super) wrong_count: u64,
}

impl Month {
    /// Reads the records of the 30 days that end with `today`.
    pub(super) fn read(effect: &Effect, today: u32) -> Self {
        let records = effect.records();
        let records = records.filter(|record| record.envelope().kind == Kind::OBSERVATION);
        let mut days: BTreeMap<(NodeId, NodeId, u32), (&Record, Observation)> = BTreeMap::new();
        for record in records {
            let Some((observer, node, seen)) = heard(effect, record) else {
                continue;
            };
            if seen.day > today || today - seen.day >= DAYS {
                continue;
            }
            // Of two of one day the first counts.
            let kept = days.entry((observer, node, seen.day));
            let kept = kept.or_insert((record, seen.clone()));
            if order(record) < order(kept.0) {
                *kept = (record, seen);
            }
        }
        let mut shares: BTreeMap<(NodeId, NodeId), Share> = BTreeMap::new();
        let mut month = Self::default();
        for ((observer, node, _), (_, seen)) in days {
            let share = shares.entry((node, observer)).or_default();
            share.answered += u64::from(seen.answered);
            share.wrong += u64::from(seen.wrong);
            share.probes += seen.probes();
            for row in seen.sites {
                let of = month.sites.entry((node, row.site)).or_default();
                of.answered += u64::from(row.answered);
                of.probes += u64::from(row.answered) + u64::from(row.failed);
                of.observers.insert(observer);
            }
        }
        for ((node, _), share) in shares {
            month.nodes.entry(node).or_default().push(share);
        }
        month
    }

    /// What was seen of a node; none if nobody wrote of it.
    pub(super) fn of(&self, node: &NodeId) -> Option<OfNode> {
        let shares = self.nodes.get(node)?;
        let mut thousandths: Vec<u64> = shares
            .iter()
            .map(|share| share.answered * 1_000 / share.probes.max(1))
            .collect();
        thousandths.sort_unstable();
        // Of an even number the lower of the two in the middle.
        let median = thousandths.get(thousandths.len().checked_sub(1)? / 2)?;
        Some(OfNode {
            answered_permille: *median,
            observer_count: shares.len(),
            wrong_count: shares.iter().map(|share| share.wrong).sum(),
        })
    }

    /// What was seen of a site at a node.
    pub(super) fn of_site(&self, node: &NodeId, site: &SiteId) -> Option<&OfSite> {
        self.sites.get(&(*node, SiteRow::name(site)))
    }
}

impl OfSite {
    pub(super) fn observer_count(&self) -> usize {
        self.observers.len()
    }
}

/// Which of one author's records of a subject comes first.
pub(crate) fn order(record: &Record) -> (u32, u32, verge_sync::RecordId) {
    let envelope = record.envelope();
    (envelope.epoch, envelope.sequence, record.id())
}

/// Who saw what of whom; none of what is unreadable, of who is no member any more, and of who speaks
/// for its own provider's nodes.
pub(crate) fn heard(effect: &Effect, record: &Record) -> Option<(NodeId, NodeId, Observation)> {
    let envelope = record.envelope();
    let observer = envelope.author.node();
    let (author, node) = envelope.subject.split_first_chunk::<32>()?;
    let node = NodeId::from_bytes(node.try_into().ok()?);
    let provider = |id: &NodeId| effect.nodes.get(id).filter(|node| node.is_member);
    let (own, other) = (provider(&observer)?, provider(&node)?);
    if author != observer.as_bytes() || own.slot.provider == other.slot.provider {
        return None;
    }
    let fields = verge_sync::record::cbor::Fields::read(record.bytes()).ok()?;
    let seen = Observation::decode(fields.raw(10)?).ok()?;
    Some((observer, node, seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use verge_sync::record::body::HostProof;

    const TODAY: u32 = 20_800;

    fn seen(day: u32, answered: u32, silent: u32) -> Observation {
        Observation {
            day,
            answered,
            wrong: 1,
            silent,
            sites: Vec::new(),
        }
    }

    /// What node `observer` says of node `of`, beside all that it said before.
    fn say(scene: &mut Scene, (observer, of): (u8, u8), body: Vec<u8>) {
        let ids = [scene.node(observer), scene.node(of)];
        let subject = ids.map(|id| *id.as_bytes()).concat();
        let effect = scene.effect();
        let own = effect.records().filter(|record| {
            record.envelope().kind == Kind::OBSERVATION && record.envelope().subject == subject
        });
        let last = own
            .max_by_key(|record| order(record))
            .map(|record| record.id());
        let follows = last.into_iter().collect();
        let author = &mut scene.nodes[usize::from(observer)];
        let record = author.foreign(&effect, Kind::OBSERVATION, (subject, body), follows);
        scene.add(record.unwrap());
    }

    fn read(scene: &Scene) -> Option<OfNode> {
        Month::read(&scene.effect(), TODAY).of(&scene.node(0))
    }

    #[test]
    fn the_median_of_the_others_is_what_counts() {
        let mut scene = Scene::new(5, HostProof::None);
        assert_eq!(read(&scene), None);
        for (observer, answered, silent) in [(1, 899, 100), (2, 0, 999), (3, 999, 0)] {
            say(
                &mut scene,
                (observer, 0),
                seen(TODAY, answered, silent).encode(),
            );
        }
        let expected = |answered_permille, observer_count| OfNode {
            answered_permille,
            observer_count,
            wrong_count: u64::try_from(observer_count).unwrap(),
        };
        assert_eq!(read(&scene), Some(expected(899, 3)));
        // Of four the lower in the middle; its own word does not count.
        say(&mut scene, (4, 0), seen(TODAY, 499, 500).encode());
        say(&mut scene, (0, 0), seen(TODAY, 999, 0).encode());
        assert_eq!(read(&scene), Some(expected(499, 4)));
    }

    #[test]
    fn days_of_a_month_count_each_once() {
        let mut scene = Scene::new(2, HostProof::None);
        let days = [TODAY - 30, TODAY - 29, TODAY - 29, TODAY, TODAY + 1];
        for (number, day) in (0..).zip(days) {
            // A day that is written twice: the first counts, which is the better one here.
            let silent = if number == 2 { 999 } else { 0 };
            say(&mut scene, (1, 0), seen(day, 1, silent).encode());
        }
        say(&mut scene, (1, 0), b"\xa0".to_vec());
        let two_days = OfNode {
            answered_permille: 500,
            observer_count: 1,
            wrong_count: 2,
        };
        assert_eq!(read(&scene), Some(two_days));
    }

    #[test]
    fn sites_are_summed_over_days_and_observers() {
        let mut scene = Scene::new(3, HostProof::None);
        let site = SiteId::from_bytes([7; 32]);
        for (observer, day) in [(1, TODAY), (1, TODAY - 1), (2, TODAY)] {
            let row = SiteRow {
                site: SiteRow::name(&site),
                answered: 3,
                failed: 1,
            };
            let mut seen = seen(day, 10, 0);
            seen.sites = vec![row];
            say(&mut scene, (observer, 0), seen.encode());
        }
        let month = Month::read(&scene.effect(), TODAY);
        let of = month.of_site(&scene.node(0), &site).unwrap();
        assert_eq!((of.answered, of.probes, of.observer_count()), (9, 12, 2));
        assert_eq!(month.of_site(&scene.node(1), &site), None);
    }
}
