//! Who the witnesses of a node are: the same on every node.

use std::collections::BTreeMap;
use verge_sync::Digest;
use verge_sync::id::{NodeId, ProviderId};
use verge_sync::record::Effect;

/// Witnesses of a node: two may be lost with it, and the third still knows.
pub const WITNESSES: usize = 3;

/// The witnesses of `node`, the first one first: members of other providers, one of each, by
/// rendezvous hashing (`docs/format.md#witnesses`), so that one who comes or goes changes few.
#[must_use]
pub fn witnesses(effect: &Effect, node: &NodeId) -> Vec<NodeId> {
    let Some(own) = effect.nodes.get(node).map(|node| node.slot.provider) else {
        return Vec::new();
    };
    let mut best: BTreeMap<ProviderId, (Digest, NodeId)> = BTreeMap::new();
    let others = effect.nodes.values();
    for other in others.filter(|other| other.is_member && other.slot.provider != own) {
        let drawn = (rank(node, &other.id), other.id);
        let of_provider = best.entry(other.slot.provider).or_insert(drawn);
        *of_provider = drawn.min(*of_provider);
    }
    let mut drawn: Vec<(Digest, NodeId)> = best.into_values().collect();
    drawn.sort_unstable();
    drawn.truncate(WITNESSES);
    drawn.into_iter().map(|(_, node)| node).collect()
}

fn rank(node: &NodeId, witness: &NodeId) -> Digest {
    let pair = [node.as_bytes().as_slice(), witness.as_bytes()];
    Digest::derive("verge 1 witness", &pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use std::collections::BTreeSet;
    use verge_sync::record::body::HostProof;

    #[test]
    fn a_node_has_three_witnesses_of_other_providers() {
        for (count, expected) in [(1, 0), (2, 1), (3, 2), (4, 3), (9, 3)] {
            let scene = Scene::new(count, HostProof::None);
            let effect = scene.effect();
            for number in 0..count {
                let node = scene.node(number);
                let chosen = witnesses(&effect, &node);
                let distinct: BTreeSet<&NodeId> = chosen.iter().collect();
                assert_eq!((chosen.len(), distinct.len()), (expected, expected));
                assert!(!chosen.contains(&node));
            }
        }
        let effect = Scene::new(3, HostProof::None).effect();
        assert!(witnesses(&effect, &NodeId::from_bytes([9; 32])).is_empty());
    }

    #[test]
    fn who_comes_changes_at_most_one_witness_of_a_node() {
        let (few, more) = (
            Scene::new(8, HostProof::None),
            Scene::new(9, HostProof::None),
        );
        let (before, after) = (few.effect(), more.effect());
        for number in 0..8 {
            let before = witnesses(&before, &few.node(number));
            let after = witnesses(&after, &more.node(number));
            let stayed = after.iter().filter(|node| before.contains(node)).count();
            assert!(stayed >= WITNESSES - 1, "{number}");
        }
    }

    #[test]
    fn who_has_left_is_no_witness() {
        let mut scene = Scene::new(5, HostProof::None);
        let node = scene.node(0);
        let first = witnesses(&scene.effect(), &node)[0];
        scene.step(|step| {
            step.removed.insert(first.into(), Digest::of(b""));
        });
        let chosen = witnesses(&scene.effect(), &node);
        assert!(chosen.len() == WITNESSES && !chosen.contains(&first));
    }
}
