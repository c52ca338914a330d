//! When to look at which node, in which way, and at which of its sites: pure.
//!
//! Weighted by nothing but chance: whoever knew what is looked at next would keep only that in order.

use super::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use verge_sync::id::{NodeId, SiteId};

/// How a node is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As a visitor.
    Visit,
    /// By a piece, over the members' connection.
    Piece,
}

/// A node that is to be looked at, as this node sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    /// Whether there is a connection to it.
    pub(super) is_connected: bool,
    /// Whether its visitors' port is known, and may be asked.
    pub(super) can_be_visited: bool,
    /// Sites whose version in place it says to hold, of those that this node can compare.
    pub(super) held: Vec<SiteId>,
    /// The others of these that it ought to serve: on their way to it, or given up where room is
    /// scarce; of a node that is away all.
    pub(super) owed: Vec<SiteId>,
}

/// What is to come.
#[derive(Debug, Default)]
pub(super) struct Plan {
    next: BTreeMap<NodeId, Next>,
}

#[derive(Debug, Clone, Copy)]
struct Next {
    at_ms: u64,
    way: Way,
}

impl Plan {
    /// The nodes whose moment has come; each has a new one then. `others` are all that are to be
    /// looked at.
    pub(super) fn due(
        &mut self,
        others: &BTreeSet<NodeId>,
        (now_ms, mean): (u64, Duration),
        chance: &mut Chance,
    ) -> Vec<NodeId> {
        self.next.retain(|node, _| others.contains(node));
        let mut due = Vec::new();
        for node in others {
            let gap = u64::try_from(chance.gap(mean).as_millis()).unwrap_or(u64::MAX);
            let way = if chance.coin() {
                Way::Visit
            } else {
                Way::Piece
            };
            let at_ms = now_ms.saturating_add(gap);
            let next = self.next.entry(*node).or_insert(Next { at_ms, way });
            if next.at_ms <= now_ms {
                next.at_ms = at_ms;
                due.push(*node);
            }
        }
        due
    }

    /// When the next moment is.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.next.values().map(|next| next.at_ms).min()
    }

    /// The other way than last time, if it is open; none if neither is.
    pub(super) fn way(&mut self, node: NodeId, sight: &Sight) -> Option<Way> {
        let next = self.next.get_mut(&node)?;
        let wanted = next.way;
        next.way = match wanted {
            Way::Visit => Way::Piece,
            Way::Piece => Way::Visit,
        };
        match (sight.can_be_visited, sight.is_connected, wanted) {
            (true, true, way) => Some(way),
            (true, false, _) => Some(Way::Visit),
            (false, true, _) => Some(Way::Piece),
            (false, false, _) => None,
        }
    }
}

/// A site of the node: one that it says to hold. Of a node that is away one that it should serve,
/// since it says nothing.
pub(super) fn site(sight: &Sight, chance: &mut Chance) -> Option<SiteId> {
    let sites = if sight.is_connected {
        &sight.held
    } else {
        &sight.owed
    };
    chance.pick(sites).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn site_of(number: u8) -> SiteId {
        SiteId::from_bytes([number; 32])
    }

    fn nodes(count: u8) -> BTreeSet<NodeId> {
        (0..count).map(node).collect()
    }

    #[test]
    fn every_node_has_its_turn_so_often_and_nobody_after_it_left() {
        let (mut plan, mut chance) = (Plan::default(), Chance::new([1; 32]));
        let mean = Duration::from_secs(600);
        let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
        for minute in 0..60 * 24 * 10 {
            let due = plan.due(&nodes(4), (minute * 60_000, mean), &mut chance);
            due.iter()
                .for_each(|node| *counts.entry(*node).or_default() += 1);
        }
        // 1,440 in ten days; a look once a minute makes gaps half a minute longer.
        assert_eq!(counts.len(), 4);
        assert!(
            counts.values().all(|count| (1_250..1_500).contains(count)),
            "{counts:?}"
        );
        let end = 60 * 24 * 10 * 60_000;
        assert_eq!(
            plan.due(&nodes(1), (u64::MAX, mean), &mut chance),
            [node(0)]
        );
        assert!(plan.next_ms().is_some_and(|at| at > end));
        assert!(
            plan.due(&nodes(0), (u64::MAX, mean), &mut chance)
                .is_empty()
        );
        assert_eq!(plan.next_ms(), None);
    }

    #[test]
    fn ways_alternate_where_both_are_open() {
        let (mut plan, mut chance) = (Plan::default(), Chance::new([1; 32]));
        plan.due(&nodes(1), (0, Duration::from_secs(1)), &mut chance);
        let mut way = |can_be_visited, is_connected| {
            let sight = Sight {
                is_connected,
                can_be_visited,
                ..Sight::default()
            };
            plan.way(node(0), &sight)
        };
        let first = way(true, true);
        assert_ne!(way(true, true), first);
        assert_eq!(way(true, true), first);
        assert_eq!(way(true, false), Some(Way::Visit));
        assert_eq!(way(false, true), Some(Way::Piece));
        assert_eq!(way(false, false), None);
    }

    proptest! {
        #[test]
        fn a_chosen_site_is_one_of_the_nodes(
            held in prop::collection::vec(0..9_u8, 0..9),
            owed in prop::collection::vec(10..19_u8, 0..9),
            is_connected: bool,
            seed: [u8; 32],
        ) {
            let sight = Sight {
                is_connected,
                can_be_visited: true,
                held: held.iter().copied().map(site_of).collect(),
                owed: owed.iter().copied().map(site_of).collect(),
            };
            let chosen = site(&sight, &mut Chance::new(seed));
            let allowed = if is_connected { &sight.held } else { &sight.owed };
            prop_assert_eq!(chosen.is_some(), !allowed.is_empty());
            prop_assert!(chosen.is_none_or(|site| allowed.contains(&site)));
        }
    }
}
