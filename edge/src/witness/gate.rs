//! Whether a node may seal: not before it has heard of the others, and not while they know more of it
//! than it does itself.
//!
//! A disk that was set back to an old image knows nothing of the days that its node has sealed since.
//! Sealed again, from fewer counters, they would contradict what is signed. So a node that starts waits
//! until it holds what a node of another provider holds, its own seals among it, and goes on waiting
//! while a witness that is away says that there was one more.

use super::chain::Chains;
use super::choose::witnesses;
use super::findings::seen;
use crate::accounting::calendar::Day;
use crate::accounting::seal::Previous;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;
use verge_sync::id::NodeId;
use verge_sync::record::Effect;

/// Why nothing is sealed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// No node of another provider has been heard since the start.
    Alone,
    /// A witness knows of a seal that is not here.
    Behind {
        /// Who.
        witness: NodeId,
        /// Of which day.
        day: Day,
    },
}

/// Whom a node has heard.
#[derive(Debug, Clone, Copy)]
pub struct Met<'a> {
    /// Whether it has held, since its start, all that a node of another provider held.
    pub has_met: bool,
    /// Nodes that hold just what it holds now.
    pub in_step: &'a BTreeSet<NodeId>,
    /// Nodes that it has nothing to do with.
    pub blocked: &'a BTreeSet<NodeId>,
    /// The last seal of this node that each witness's snapshot of it names.
    pub told: &'a BTreeMap<NodeId, Previous>,
}

/// Why `me` may not seal now; none if it may. A witness that holds no more than this node, and so not
/// the seal that it speaks of, is not waited for: it is wrong.
#[must_use]
pub fn wait(effect: &Effect, chains: &Chains, me: NodeId, met: Met<'_>) -> Option<Wait> {
    let own = effect.nodes.get(&me)?.slot.provider;
    let is_other = |node: &NodeId| {
        let known = effect.nodes.get(node);
        let is_theirs = known.is_some_and(|known| known.is_member && known.slot.provider != own);
        is_theirs && !met.blocked.contains(node)
    };
    if !effect.nodes.keys().any(is_other) {
        return None;
    }
    if !met.has_met {
        return Some(Wait::Alone);
    }
    let seen = seen(effect);
    let of_me = seen.range((me, NodeId::from_bytes([0; 32]))..);
    let of_me = of_me.take_while(|((node, _), _)| *node == me);
    let said = of_me.flat_map(|((_, witness), of)| {
        let said = of.iter().map(|seen| Previous {
            day: seen.checkpoint.day,
            digest: seen.checkpoint.digest,
        });
        said.map(|seal| (*witness, seal))
    });
    let told = met.told.iter().map(|(witness, seal)| (*witness, *seal));
    // Anybody can write a checkpoint; three were not chosen by themselves.
    let chosen = witnesses(effect, &me);
    let waits_for = |witness: &NodeId| {
        chosen.contains(witness) && is_other(witness) && !met.in_step.contains(witness)
    };
    let is_here = |seal: &Previous| {
        let chain = chains.get(&me);
        chain.is_some_and(|chain| chain.has(seal.day, seal.digest))
    };
    let unknown = |(witness, seal): &(NodeId, Previous)| waits_for(witness) && !is_here(seal);
    let (witness, seal) = said.chain(told).find(unknown)?;
    Some(Wait::Behind {
        witness,
        day: seal.day,
    })
}

impl Wait {
    /// For people.
    #[must_use]
    pub fn words(&self, effect: &Effect) -> String {
        match self {
            Self::Alone => "nothing is sealed before a node of another provider was reached: it may know more of this node than its disk does. If all of them are gone for good, block them: verge node block NODE".to_owned(),
            Self::Behind { witness, day } => {
                let name = effect.nodes.get(witness);
                let name = name.map_or("", |node| node.body.name.as_str());
                format!("nothing is sealed: node {name} ({}) saw a seal of this node of {day} that is not here, and it is not connected or has not sent it yet; was the data directory set back? If that node is gone for good or wrong, block it: verge node block {}", witness.short(), witness.short())
            }
        }
    }
}

/// What the books ask before they seal a day; closed at first.
#[derive(Debug)]
pub struct Gate(watch::Sender<Option<Wait>>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(Some(Wait::Alone)))
    }
}

impl Gate {
    /// Whether a day may be sealed now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// Why not, and every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Wait>> {
        self.0.subscribe()
    }

    /// Says how it is.
    pub fn set(&self, wait: Option<Wait>) {
        self.0.send_if_modified(|before| {
            let is_new = *before != wait;
            *before = wait;
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::seal::Seal;
    use crate::accounting::seal::sample::seal;
    use crate::region::scene::Scene;
    use crate::witness::Checkpoint;
    use verge_sync::record::body::HostProof;

    /// Node 0 has sealed a day that node 1 saw; its own records are as they were before if it was set
    /// back.
    fn case(is_set_back: bool) -> Scene {
        let mut scene = Scene::new(3, HostProof::None);
        let sealed = Seal {
            node: scene.node(0),
            previous: None,
            ..seal()
        };
        if !is_set_back {
            scene.seal(0, sealed.day, sealed.encode().body);
        }
        let seen = Checkpoint {
            day: sealed.day,
            digest: sealed.encode().digest(),
            count: 1,
            is_forked: false,
        };
        scene.checkpoint(1, 0, &seen);
        scene
    }

    fn waits(scene: &Scene, has_met: bool, in_step: &[NodeId], blocked: &[NodeId]) -> Option<Wait> {
        let effect = scene.effect();
        let met = Met {
            has_met,
            in_step: &in_step.iter().copied().collect(),
            blocked: &blocked.iter().copied().collect(),
            told: &BTreeMap::new(),
        };
        wait(&effect, &Chains::of(&effect), scene.node(0), met)
    }

    #[test]
    fn nothing_is_sealed_before_another_provider_was_met() {
        let scene = case(false);
        assert_eq!(waits(&scene, false, &[], &[]), Some(Wait::Alone));
        assert_eq!(waits(&scene, true, &[], &[]), None);
        let both = [scene.node(1), scene.node(2)];
        assert_eq!(waits(&scene, false, &[], &both), None);
        let alone = Scene::new(1, HostProof::None);
        assert_eq!(waits(&alone, false, &[], &[]), None);
        let words = Wait::Alone.words(&scene.effect());
        assert!(words.contains("another provider"), "{words}");
    }

    #[test]
    fn a_node_that_was_set_back_waits_for_the_witness_that_knows_more() {
        let scene = case(true);
        let (one, two) = (scene.node(1), scene.node(2));
        let wait = Wait::Behind {
            witness: one,
            day: seal().day,
        };
        let behind = Some(wait);
        assert_eq!(waits(&scene, true, &[], &[]), behind);
        assert_eq!(waits(&scene, true, &[two], &[]), behind);
        // It has no such seal itself.
        assert_eq!(waits(&scene, true, &[one], &[]), None);
        assert_eq!(waits(&scene, true, &[], &[one]), None);
        assert!(wait.words(&scene.effect()).contains("set back"));
    }

    #[test]
    fn who_is_no_witness_keeps_nobody_from_sealing() {
        let mut scene = Scene::new(5, HostProof::None);
        let me = scene.node(0);
        let chosen = witnesses(&scene.effect(), &me);
        let other = (1..5).find(|number| !chosen.contains(&scene.node(*number)));
        let seen = Checkpoint {
            day: seal().day,
            digest: verge_sync::Digest::of(b"no seal"),
            count: 1,
            is_forked: false,
        };
        scene.checkpoint(other.unwrap(), 0, &seen);
        assert_eq!(waits(&scene, true, &[], &[]), None);
        let first = (1..5).find(|number| scene.node(*number) == chosen[0]);
        scene.checkpoint(first.unwrap(), 0, &seen);
        assert!(waits(&scene, true, &[], &[]).is_some());
    }

    #[test]
    fn the_seal_that_a_snapshot_follows_is_waited_for_too() {
        let scene = Scene::new(2, HostProof::None);
        let effect = scene.effect();
        let told = Previous {
            day: seal().day,
            digest: verge_sync::Digest::of(b"seal"),
        };
        let nobody = BTreeSet::new();
        let met = Met {
            has_met: true,
            in_step: &nobody,
            blocked: &nobody,
            told: &BTreeMap::from([(scene.node(1), told)]),
        };
        let waits = wait(&effect, &Chains::of(&effect), scene.node(0), met);
        let expected = Wait::Behind {
            witness: scene.node(1),
            day: told.day,
        };
        assert_eq!(waits, Some(expected));
    }

    #[test]
    fn a_gate_is_closed_until_it_is_opened() {
        let gate = Gate::default();
        assert!(!gate.is_open());
        gate.set(None);
        assert!(gate.is_open());
        gate.set(Some(Wait::Alone));
        assert!(!gate.is_open());
    }
}
