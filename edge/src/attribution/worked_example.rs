//! The worked example of `docs/accounting.md`, to the cent: three owners, three providers, no cap.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use super::money::{Cents, Currency};
use super::policy::{Policy, Rule};
use super::{Attribution, Cap, Inputs, Provider, attribute};
use std::collections::BTreeMap;
use verge_sync::id::{AccountId, ProviderId, SiteId};

const MIB: u64 = 1 << 20;

/// Fee, and MiB that A, B and V served.
const OWNERS: [(u64, [u64; 3]); 3] = [(500, [900, 80, 20]), (500, [10, 30, 60]), (200, [0, 1, 2])];
const REPLICA_HOURS: [u64; 3] = [720, 720, 540];

fn provider(index: usize) -> ProviderId {
    ProviderId::from_bytes([b"ABV"[index]; 32])
}

fn owner(index: usize) -> AccountId {
    AccountId::from_bytes([b"abc"[index]; 32])
}

pub(super) fn inputs(rule: Rule) -> Inputs {
    let site = |index| SiteId::from_bytes([[1, 2, 3][index]; 32]);
    let by_provider = |numbers: [u64; 3]| {
        let numbers = numbers.into_iter().enumerate();
        numbers
            .map(|(index, number)| (provider(index), number))
            .collect()
    };
    let in_good_standing = Provider {
        is_in_good_standing: true,
        steering_weight: 1,
        availability_permille: 1_000,
        estimates: BTreeMap::new(),
    };
    Inputs {
        policy: Policy {
            rule,
            ..Policy::new(Currency::of("EUR").unwrap())
        },
        providers: (0..3)
            .map(|index| (provider(index), in_good_standing.clone()))
            .collect(),
        fees: (0..3)
            .map(|index| (owner(index), Cents(OWNERS[index].0)))
            .collect(),
        sites: (0..3).map(|index| (site(index), owner(index))).collect(),
        units: (0..3)
            .map(|index| {
                (
                    site(index),
                    by_provider(OWNERS[index].1.map(|mib| mib * MIB)),
                )
            })
            .collect(),
        held: [(site(0), by_provider(REPLICA_HOURS))].into(),
    }
}

fn deliver(attribution: &Attribution) -> Vec<u64> {
    let shares = attribution.providers.values();
    shares.map(|share| share.deliver.0).collect()
}

fn totals(attribution: &Attribution) -> Vec<u64> {
    let shares = attribution.providers.values();
    shares
        .map(|share| share.deliver.0 + share.hold.0 + share.care.0)
        .collect()
}

fn of_owner(attribution: &Attribution, index: usize) -> Vec<u64> {
    let deliver = attribution.owners[&owner(index)].deliver.values();
    deliver.map(|cents| cents.0).collect()
}

#[test]
fn the_worked_example_comes_out_to_the_cent() {
    let pooled = attribute(&inputs(Rule::Pooled)).unwrap();
    assert_eq!(deliver(&pooled), [495, 60, 45]);

    let by_owner = attribute(&inputs(Rule::ByOwner)).unwrap();
    assert_eq!(of_owner(&by_owner, 0), [225, 20, 5]);
    assert_eq!(of_owner(&by_owner, 1), [25, 75, 150]);
    assert_eq!(of_owner(&by_owner, 2), [0, 33, 67]);
    assert_eq!(deliver(&by_owner), [250, 128, 222]);
    assert_eq!(totals(&by_owner), [417, 295, 368]);
    assert_eq!(by_owner.commons, Cents(120));

    let shrunk = attribute(&inputs(Rule::Shrunk)).unwrap();
    assert_eq!(of_owner(&shrunk, 0), [225, 20, 5]);
    assert_eq!(of_owner(&shrunk, 1), [25, 75, 150]);
    assert_eq!(of_owner(&shrunk, 2), [40, 22, 38]);
    assert_eq!(deliver(&shrunk), [290, 117, 193]);
    let of = |part: fn(&super::ProviderShare) -> Cents| -> Vec<u64> {
        shrunk
            .providers
            .values()
            .map(|share| part(share).0)
            .collect()
    };
    assert_eq!(of(|share| share.hold), [87, 87, 66]);
    assert_eq!(of(|share| share.care), [80, 80, 80]);
    assert_eq!(totals(&shrunk), [457, 284, 339]);
    assert_eq!((shrunk.commons, shrunk.fees), (Cents(120), Cents(1_200)));
    assert_eq!(shrunk.cap, Cap::TooFewProviders);

    let equal = attribute(&inputs(Rule::Equal)).unwrap();
    assert_eq!(deliver(&equal), [200, 200, 200]);
}
