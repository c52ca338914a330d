//! One set of hosts that is to have a certificate, with all that decides when it is ordered: pure.

use super::keyring::Held;
use super::memory::Memory;
use super::wanted::Wanted;
use crate::acme::Names;
use crate::acme::plan::{self, Life, Want};
use std::sync::Arc;
use verge_sync::clock::UnixTime;
use verge_sync::id::NodeId;

/// A name set that is wanted, with all that decides when it is ordered.
pub(super) struct Case {
    pub(super) wanted: Wanted,
    pub(super) names: Names,
    pub(super) held: Option<Arc<Held>>,
    pub(super) since: Option<UnixTime>,
    pub(super) rank: u32,
}

impl Case {
    /// Whether nodes have the key that are not to have it.
    pub(super) fn is_exposed(&self) -> bool {
        let held = self.held.iter().flat_map(|held| &held.recipients);
        held.into_iter()
            .any(|node| !self.wanted.recipients.contains_key(node))
    }

    /// Whether nodes lack the key that are to have it.
    pub(super) fn is_lacking(&self) -> bool {
        self.held.as_ref().is_some_and(|held| {
            let mut wanted = self.wanted.recipients.keys();
            wanted.any(|node| !held.recipients.contains(node))
        })
    }

    /// Whether nodes lack the key, and no issuer can give it to them.
    pub(super) fn is_lost_to(&self, issuers: &[NodeId]) -> bool {
        let held = self.held.as_ref();
        let has_key = |held: &Arc<Held>| issuers.iter().any(|node| held.recipients.contains(node));
        self.is_lacking() && !self.is_brought() && !held.is_some_and(has_key)
    }

    pub(super) fn life(&self) -> Option<Life> {
        self.held.as_ref().map(|held| Life {
            not_before: held.leaf.not_before,
            not_after: held.leaf.not_after,
        })
    }

    pub(super) fn is_brought(&self) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| held.body.directory.is_empty())
    }

    /// Whether nothing is ordered, because the owner has brought one that is valid.
    pub(super) fn is_left_to_its_owner(&self, now: UnixTime) -> bool {
        let held = self.held.as_ref();
        self.is_brought() && held.is_some_and(|held| held.leaf.not_after > now)
    }
}

/// As the plan looks at it.
pub(super) fn want<'a>(case: &'a Case, memory: &Memory) -> Want<'a> {
    let is_wished = memory.is_wished(&case.wanted.names);
    let record = case.held.as_ref().map(|held| held.record);
    Want {
        names: &case.names,
        life: case.life(),
        since: if is_wished {
            Some(UnixTime(0))
        } else {
            case.since
        },
        rank: if is_wished { 0 } else { case.rank },
        advice: record.and_then(|record| memory.advice(&record)),
        trouble: memory.trouble(&case.wanted.names),
    }
}

/// When the first of them is ordered; `idle` if there are none.
pub(super) fn next_of<'a>(
    wants: impl Iterator<Item = Want<'a>>,
    memory: &Memory,
    idle: UnixTime,
) -> UnixTime {
    let next = wants.map(|want| plan::order_at(&want, memory.reachable_since));
    let next = next.min().unwrap_or(idle);
    next.max(memory.rests_until.unwrap_or(next))
}

/// Of what rank 0 renews.
pub(super) fn wants_advice(case: &Case, memory: &Memory, now: UnixTime) -> bool {
    let held = case.held.as_ref();
    case.rank == 0
        && !case.is_brought()
        && held
            .is_some_and(|held| held.leaf.not_after > now && memory.wants_advice(&held.record, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{CertificateBody, Leaf, NameSet, Purpose};
    use std::collections::BTreeMap;
    use verge_sync::Digest;
    use verge_sync::id::RecordId;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    /// What `holders` have and `wanted` are to have.
    fn case(directory: &str, holders: &[u8], wanted: &[u8]) -> Case {
        let set = NameSet::one("a.example").unwrap();
        let (not_before, not_after) = (UnixTime(0), UnixTime(100));
        let leaf = Leaf {
            names: set.clone(),
            not_before,
            not_after,
        };
        let body = CertificateBody {
            purpose: Purpose::Ordered(set.clone()),
            directory: directory.to_owned(),
            bundle: Digest::of(b""),
            bundle_bytes: 1,
            not_before,
            not_after,
        };
        let keys: BTreeMap<NodeId, [u8; 32]> = wanted.iter().map(|n| (node(*n), [0; 32])).collect();
        Case {
            wanted: Wanted {
                names: set,
                owner: None,
                recipients: keys,
            },
            names: Names::new(["a.example"]).unwrap(),
            held: Some(Arc::new(Held {
                record: RecordId::from_bytes([1; 32]),
                author: node(1),
                body,
                leaf,
                recipients: holders.iter().map(|n| node(*n)).collect(),
                certificate: None,
            })),
            since: None,
            rank: 0,
        }
    }

    #[test]
    fn who_has_a_key_and_who_is_to_have_it_decide() {
        let check = |holders: &[u8], wanted: &[u8], expected: [bool; 3]| {
            let case = case("d", holders, wanted);
            let lost = case.is_lost_to(&[node(1)]);
            let found = [case.is_exposed(), case.is_lacking(), lost];
            assert_eq!(found, expected, "{holders:?} {wanted:?}");
        };
        check(&[1, 2], &[1, 2], [false, false, false]);
        check(&[1, 2, 3], &[1, 2], [true, false, false]);
        check(&[1], &[1, 2], [false, true, false]);
        // No issuer has it: node 1 is the only one.
        check(&[2], &[2, 3], [false, true, true]);
        check(&[2, 4], &[1, 2], [true, true, true]);
    }

    #[test]
    fn what_an_owner_brought_is_left_alone_while_it_is_valid() {
        let brought = case("", &[2], &[2, 3]);
        assert!(brought.is_left_to_its_owner(UnixTime(99)));
        assert!(!brought.is_left_to_its_owner(UnixTime(100)));
        assert!(!brought.is_lost_to(&[node(1)]));
        assert!(!case("d", &[2], &[2]).is_left_to_its_owner(UnixTime(50)));
    }
}
