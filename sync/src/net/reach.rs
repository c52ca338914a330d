//! Whom a node connects to: pure.
//!
//! In a region of up to nine nodes everybody is connected with everybody. In a larger one each node
//! looks for four others, half of them near (on its own network) and half anywhere, so that no
//! building is an island, and takes connections up to eight. Who they are is a hash of the pair, not
//! a choice: nobody can place itself beside another.

use crate::digest::Digest;
use crate::id::NodeId;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Connections that records are passed on over. With no more others than that a node is connected with
/// all of them.
pub const LINKS_MAX: usize = 8;
/// Connections that a node of a large region looks for.
const SOUGHT_COUNT: usize = 4;

/// Another node of the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) node: NodeId,
    /// Whether it has an address of a local network.
    pub(super) is_near: bool,
}

/// The nodes that `me` has yet to reach, best first; `connected` are there already.
pub(super) fn to_dial(me: NodeId, others: &[Other], connected: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let missing = |node: &NodeId| !connected.contains(node);
    if others.len() <= LINKS_MAX {
        let nodes = others.iter().map(|other| other.node);
        return nodes.filter(missing).collect();
    }
    if connected.len() >= SOUGHT_COUNT {
        return Vec::new();
    }
    let ranked = |is_near: bool| {
        let class = others.iter().filter(|other| other.is_near == is_near);
        let mut nodes: Vec<NodeId> = class.map(|other| other.node).collect();
        nodes.sort_by_key(|node| pair(me, *node));
        nodes.into_iter().filter(missing)
    };
    let (mut near, mut far) = (ranked(true), ranked(false));
    let mut wanted = Vec::new();
    loop {
        match (near.next(), far.next()) {
            (None, None) => return wanted,
            (first, second) => wanted.extend([first, second].into_iter().flatten()),
        }
    }
}

/// How many of [`to_dial`] are to be tried at once.
pub(super) fn sought(others_count: usize, connected_count: usize) -> usize {
    if others_count <= LINKS_MAX {
        others_count
    } else {
        SOUGHT_COUNT.saturating_sub(connected_count)
    }
}

fn pair(one: NodeId, other: NodeId) -> Digest {
    let (low, high) = (one.min(other), one.max(other));
    Digest::derive("verge 1 reach", &[low.as_bytes(), high.as_bytes()])
}

/// Whether the address is one of a network at home or in the same building.
#[must_use]
pub fn is_near(address: &SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn node(number: usize) -> NodeId {
        NodeId::from_digest(Digest::of(&number.to_be_bytes()))
    }

    /// Everybody dials in turn, refused where there are eight already; gives the links.
    fn connect(count: usize, is_near: impl Fn(usize, usize) -> bool) -> Vec<BTreeSet<usize>> {
        let numbers: BTreeMap<NodeId, usize> = (0..count).map(|n| (node(n), n)).collect();
        let mut links = vec![BTreeSet::new(); count];
        for me in 0..count {
            let others = (0..count).filter(|other| *other != me);
            let others: Vec<Other> = others
                .map(|other| Other {
                    node: node(other),
                    is_near: is_near(me, other),
                })
                .collect();
            let connected: BTreeSet<NodeId> = links[me].iter().map(|other| node(*other)).collect();
            let mut left = sought(others.len(), connected.len());
            for wanted in to_dial(node(me), &others, &connected) {
                let other = numbers[&wanted];
                if left > 0 && links[other].len() < LINKS_MAX {
                    left -= 1;
                    links[me].insert(other);
                    links[other].insert(me);
                }
            }
        }
        links
    }

    fn reached(links: &[BTreeSet<usize>]) -> usize {
        let mut seen = BTreeSet::from([0]);
        let mut open = vec![0];
        while let Some(at) = open.pop() {
            open.extend(
                links[at]
                    .iter()
                    .copied()
                    .filter(|other| seen.insert(*other)),
            );
        }
        seen.len()
    }

    #[test]
    fn a_small_region_is_connected_with_everybody() {
        for count in 1..=LINKS_MAX + 1 {
            let links = connect(count, |_, _| true);
            assert!(links.iter().all(|of| of.len() == count - 1), "{count}");
        }
    }

    #[test]
    fn a_large_region_is_one_and_nobody_has_too_many() {
        for count in [10, 20, 50, 200] {
            for houses in [1, 2, 5] {
                let links = connect(count, |a, b| a % houses == b % houses);
                assert_eq!(reached(&links), count, "{count} nodes in {houses} houses");
                assert!(links.iter().all(|of| of.len() <= LINKS_MAX), "{count}");
            }
        }
    }

    #[test]
    fn near_is_what_no_router_of_the_internet_knows() {
        let rows = [
            ("10.1.2.3:1", true),
            ("192.168.0.9:1", true),
            ("[fd00::1]:1", true),
            ("[fe80::1]:1", true),
            ("[::ffff:10.0.0.1]:1", true),
            ("203.0.113.9:1", false),
            ("[2001:db8::1]:1", false),
        ];
        for (address, expected) in rows {
            assert_eq!(is_near(&address.parse().unwrap()), expected, "{address}");
        }
    }
}
