//! What checkpoints and seals come to: which checkpoints are due, and who contradicts whom. Pure.

use super::chain::{Chain, Chains, Reach};
use super::checkpoint::Checkpoint;
use super::choose::witnesses;
use crate::accounting::calendar::Day;
use std::collections::BTreeMap;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::cbor::Fields;
use verge_sync::record::{Effect, Kind, Record};

/// Days after which a witness says again how far a node's chain has come; with the last day of
/// each month at most 5 records in a month.
const BETWEEN_CHECKPOINTS_DAYS: u32 = 7;

/// A record of a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) witness: NodeId,
    pub(super) node: NodeId,
    pub(super) checkpoint: Checkpoint,
    place: (u32, u32, RecordId),
}

/// Something that contradicts something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The node's later seals do not come from the one that a witness saw: what it says now is not
    /// what it said then.
    Replaced {
        /// Whose seals.
        node: NodeId,
        /// Who saw the other.
        witness: NodeId,
        /// Of which day.
        day: Day,
    },
    /// Nobody has brought a seal that a witness says it saw.
    Unseen {
        /// Whose seal.
        node: NodeId,
        /// Who saw it.
        witness: NodeId,
        /// Of which day.
        day: Day,
    },
    /// A witness signed two checkpoints that exclude one another, or a number that is wrong.
    FalseWitness {
        /// Of whose seals.
        node: NodeId,
        /// Who signed.
        witness: NodeId,
        /// Of which day.
        day: Day,
    },
}

/// All checkpoints that may count, those of one witness and node in their order.
pub(super) fn seen(effect: &Effect) -> BTreeMap<(NodeId, NodeId), Vec<Seen>> {
    let mut all: BTreeMap<(NodeId, NodeId), Vec<Seen>> = BTreeMap::new();
    let records = effect.records();
    let records = records.filter(|record| record.envelope().kind == Kind::CHECKPOINT);
    for seen in records.filter_map(|record| read(effect, record)) {
        all.entry((seen.node, seen.witness)).or_default().push(seen);
    }
    for of in all.values_mut() {
        of.sort_by_key(|seen| seen.place);
    }
    all
}

fn read(effect: &Effect, record: &Record) -> Option<Seen> {
    let envelope = record.envelope();
    let (witness, node) = envelope.subject.split_first_chunk::<32>()?;
    let node = NodeId::from_bytes(node.try_into().ok()?);
    let is_own = witness == envelope.author.as_bytes();
    let body = Fields::read(record.bytes()).ok()?.raw(10)?;
    (is_own && effect.heeds_of_node(record)).then_some(Seen {
        witness: envelope.author.node(),
        node,
        checkpoint: Checkpoint::decode(body).ok()?,
        place: (envelope.epoch, envelope.sequence, record.id()),
    })
}

/// What `me` has to say of the nodes whose witness it is.
#[must_use]
pub fn due(effect: &Effect, chains: &Chains, me: NodeId) -> Vec<(NodeId, Checkpoint)> {
    let seen = seen(effect);
    let members = effect.nodes.values().filter(|node| node.is_member);
    let watched = members.filter(|node| witnesses(effect, &node.id).contains(&me));
    let due = watched.filter_map(|node| {
        let last = seen.get(&(node.id, me)).and_then(|of| of.last());
        let now = now(chains.get(&node.id)?)?;
        is_due(last.map(|seen| &seen.checkpoint), &now).then_some((node.id, now))
    });
    due.collect()
}

/// How far the chain has come; none while seals are missing.
fn now(chain: &Chain) -> Option<Checkpoint> {
    let tip = chain.tip()?;
    Some(Checkpoint {
        day: tip.day,
        digest: tip.digest,
        count: chain.length(tip)?,
        is_forked: chain.is_forked(),
    })
}

fn is_due(last: Option<&Checkpoint>, now: &Checkpoint) -> bool {
    let Some(last) = last else { return true };
    if now.is_forked && !last.is_forked {
        return true;
    }
    let is_week_over = now.day.minus(BETWEEN_CHECKPOINTS_DAYS) >= last.day;
    // A month's last day lies between the two, or is sealed now.
    let is_month_over = now.day.next().month() > last.day.next().month();
    is_week_over || is_month_over
}

/// What contradicts what, of all nodes.
#[must_use]
pub fn findings(effect: &Effect, chains: &Chains) -> Vec<Finding> {
    let nothing = Chain::default();
    let mut found = Vec::new();
    for ((node, witness), of) in seen(effect) {
        let chain = chains.get(&node).unwrap_or(&nothing);
        // Of each kind one is enough, the earliest.
        let mut add = |finding: Option<Finding>| found.extend(finding);
        add(of.iter().find_map(|seen| contradiction(chain, seen)));
        let lie = lie(&of).or_else(|| of.iter().find_map(|seen| wrong_count(chain, seen)));
        add(lie.map(|day| Finding::FalseWitness { node, witness, day }));
    }
    found.sort_unstable();
    found
}

/// What a checkpoint says of a chain that does not come from it.
fn contradiction(chain: &Chain, seen: &Seen) -> Option<Finding> {
    let Seen { node, witness, .. } = *seen;
    let (day, digest) = (seen.checkpoint.day, seen.checkpoint.digest);
    match chain.reaches(day, digest) {
        Reach::Holds(_) | Reach::Gap(_) => None,
        // The node signed both: the one here and those that pass it by.
        Reach::Broken if chain.has(day, digest) => Some(Finding::Replaced { node, witness, day }),
        Reach::Broken | Reach::Short => Some(Finding::Unseen { node, witness, day }),
    }
}

/// The day of which one witness said two things. Where it saw a fork it may change its mind, and says
/// that it saw one.
fn lie(of: &[Seen]) -> Option<Day> {
    let plain: Vec<&Checkpoint> = of.iter().map(|seen| &seen.checkpoint).collect();
    let excludes = |one: &Checkpoint, other: &Checkpoint| {
        let is_forked = one.is_forked || other.is_forked;
        let differs = (one.digest, one.count) != (other.digest, other.count);
        !is_forked && one.day == other.day && differs
    };
    plain.iter().enumerate().find_map(|(index, one)| {
        let mut later = plain.iter().skip(index + 1);
        later.any(|other| excludes(one, other)).then_some(one.day)
    })
}

/// The day of a seal that is here, and has another number in its chain than the witness says.
fn wrong_count(chain: &Chain, seen: &Seen) -> Option<Day> {
    let Checkpoint {
        day,
        digest,
        count,
        is_forked,
    } = seen.checkpoint;
    match chain.reaches(day, digest) {
        Reach::Holds(Some(length)) if length != count && !is_forked => Some(day),
        _ => None,
    }
}

impl Finding {
    /// For people.
    #[must_use]
    pub fn words(&self, effect: &Effect) -> String {
        let called = |id: NodeId| match effect.nodes.get(&id) {
            Some(node) => format!("{} ({})", node.body.name, id.short()),
            None => id.short(),
        };
        match *self {
            Self::Replaced { node, witness, day } => format!(
                "node {} has exchanged its history: its later seals do not come from the one of {day} that {} saw and that it signed",
                called(node),
                called(witness)
            ),
            Self::Unseen { node, witness, day } => format!(
                "node {} says that it saw a seal of {day} of node {} that is not here and that the later ones do not come from: one of the two is wrong, or it is still on its way",
                called(witness),
                called(node)
            ),
            Self::FalseWitness { node, witness, day } => format!(
                "node {} is a false witness: what it signed of the seals of node {} for {day} excludes itself",
                called(witness),
                called(node)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::seal::sample::seal;
    use crate::accounting::seal::{Previous, Seal};
    use crate::region::scene::Scene;
    use verge_sync::Digest;
    use verge_sync::record::body::HostProof;

    fn day(number: u32) -> Day {
        Day::new(number).unwrap()
    }

    /// Node 0 has sealed these days, one after the other.
    fn sealed(days: &[u32]) -> (Scene, Vec<Seal>) {
        let mut scene = Scene::new(4, HostProof::None);
        let mut seals: Vec<Seal> = Vec::new();
        for on in days {
            let previous = seals.last().map(|before| Previous {
                day: before.day,
                digest: before.encode().digest(),
            });
            let next = Seal {
                node: scene.node(0),
                day: day(*on),
                previous,
                ..seal()
            };
            scene.seal(0, next.day, next.encode().body);
            seals.push(next);
        }
        (scene, seals)
    }

    fn first_witness(scene: &Scene) -> u8 {
        let first = witnesses(&scene.effect(), &scene.node(0))[0];
        (0..4).find(|number| scene.node(*number) == first).unwrap()
    }

    fn found(scene: &Scene) -> Vec<Finding> {
        let effect = scene.effect();
        findings(&effect, &Chains::of(&effect))
    }

    fn say(scene: &mut Scene, witness: u8, of: &Seal, count: u64) {
        let checkpoint = Checkpoint {
            day: of.day,
            digest: of.encode().digest(),
            count,
            is_forked: false,
        };
        scene.checkpoint(witness, 0, &checkpoint);
    }

    #[test]
    fn a_witness_writes_weekly_and_at_the_end_of_a_month() {
        // 2026-11-01 is day 20,758.
        let first = 20_758;
        let days: Vec<u32> = (first..first + 365).collect();
        let mut written: Vec<u32> = Vec::new();
        let mut last: Option<Checkpoint> = None;
        for (count, on) in (1..).zip(days) {
            let now = Checkpoint {
                day: day(on),
                digest: Digest::of(&on.to_be_bytes()),
                count,
                is_forked: false,
            };
            if is_due(last.as_ref(), &now) {
                last = Some(now);
                written.push(on - first);
            }
        }
        assert_eq!(written[..6], [0, 7, 14, 21, 28, 29]);
        // As docs/scale.md says.
        assert!(written.len() <= 61, "{}", written.len());
    }

    #[test]
    fn only_its_witnesses_write_of_a_node_and_no_second_time() {
        let (mut scene, seals) = sealed(&[20_758, 20_759]);
        let effect = scene.effect();
        let chains = Chains::of(&effect);
        let chosen = witnesses(&effect, &scene.node(0));
        for number in 0..4 {
            let owed = due(&effect, &chains, scene.node(number));
            let is_one = chosen.contains(&scene.node(number));
            assert_eq!(owed.len(), usize::from(is_one), "{number}");
        }
        let first = first_witness(&scene);
        let owed = due(&effect, &chains, scene.node(first));
        assert_eq!((owed[0].1.day, owed[0].1.count), (seals[1].day, 2));
        scene.checkpoint(first, 0, &owed[0].1);
        let effect = scene.effect();
        assert!(due(&effect, &Chains::of(&effect), scene.node(first)).is_empty());
        assert!(found(&scene).is_empty());
    }

    #[test]
    fn an_exchanged_history_is_seen_and_the_witness_says_once_that_it_forked() {
        let (mut scene, seals) = sealed(&[20_758, 20_759]);
        let witness = first_witness(&scene);
        say(&mut scene, witness, &seals[1], 2);
        let exchanged = Seal {
            day: day(20_760),
            previous: seals[1].previous,
            ..seals[1].clone()
        };
        scene.seal(0, exchanged.day, exchanged.encode().body);
        let (node, by) = (scene.node(0), scene.node(witness));
        let expected = Finding::Replaced {
            node,
            witness: by,
            day: seals[1].day,
        };
        assert_eq!(found(&scene), [expected]);
        let words = expected.words(&scene.effect());
        assert!(words.contains("has exchanged its history"), "{words}");
        let effect = scene.effect();
        let owed = due(&effect, &Chains::of(&effect), by);
        assert!(owed[0].1.is_forked);
        scene.checkpoint(witness, 0, &owed[0].1);
        let effect = scene.effect();
        assert!(due(&effect, &Chains::of(&effect), by).is_empty());
        assert_eq!(found(&scene), [expected]);
    }

    #[test]
    fn a_seal_that_nobody_brought_is_said_to_be_missing() {
        let (mut scene, seals) = sealed(&[20_758, 20_759]);
        let witness = first_witness(&scene);
        let hidden = Seal {
            day: day(20_765),
            ..seals[1].clone()
        };
        say(&mut scene, witness, &hidden, 3);
        let found = found(&scene);
        let expected = Finding::Unseen {
            node: scene.node(0),
            witness: scene.node(witness),
            day: hidden.day,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_witness_that_signs_two_checkpoints_is_a_false_one() {
        let (mut scene, seals) = sealed(&[20_758, 20_759]);
        let witness = first_witness(&scene);
        say(&mut scene, witness, &seals[1], 2);
        let other = Seal {
            epochs: (9, 9),
            ..seals[1].clone()
        };
        say(&mut scene, witness, &other, 2);
        let (node, by) = (scene.node(0), scene.node(witness));
        let lie = Finding::FalseWitness {
            node,
            witness: by,
            day: seals[1].day,
        };
        assert!(found(&scene).contains(&lie));
        let (mut scene, seals) = sealed(&[20_758, 20_759]);
        say(&mut scene, witness, &seals[1], 7);
        assert_eq!(found(&scene), [lie]);
        assert!(lie.words(&scene.effect()).contains("false witness"));
    }
}
