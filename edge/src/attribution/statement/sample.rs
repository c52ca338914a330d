//! Books of a small region, to change and to look at.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use super::*;
use crate::accounting::calendar::Month;
use crate::accounting::figures::{
    BodyBytes, Class, Count, CreditBytes, NodeTotals, Row, WireBytes,
};
use crate::accounting::seal::{Previous, Seal};
use crate::attribution::Provider;
use crate::attribution::fees::{Fee, Fees};
use crate::attribution::money::Cents;
use verge_sync::id::{RegionId, SiteId};

pub(crate) const POLICY: &str = "[statement]\ncurrency = \"EUR\"\nfree = { sites = 1, mib = 10 }\n\
    [[statement.levy]]\nname = \"VAT\"\npercent = 19\n";

pub(crate) fn provider(number: usize) -> ProviderId {
    ProviderId::from_bytes([100 + u8::try_from(number).unwrap(); 32])
}

pub(crate) fn node(number: usize) -> NodeId {
    NodeId::from_bytes([50 + u8::try_from(number).unwrap(); 32])
}

pub(crate) fn owner(number: usize) -> AccountId {
    AccountId::from_bytes([10 + u8::try_from(number).unwrap(); 32])
}

pub(crate) fn site(number: usize) -> SiteId {
    SiteId::from_bytes([200 + u8::try_from(number).unwrap(); 32])
}

pub(crate) fn month() -> Month {
    "2026-11".parse().unwrap()
}

/// The seal of a node on the n-th day of the month.
pub(crate) fn sealed(by: usize, day: u32, rows: &[(usize, Class, u64, u64)]) -> SealedDay {
    let day = Day::new(month().first_day().number() + day).unwrap();
    let rows = rows.iter().map(|(of, class, requests, bytes)| Row {
        site: site(*of),
        class: *class,
        count: Count {
            requests: *requests,
            credit: CreditBytes(*bytes),
            body: BodyBytes(*bytes),
        },
    });
    let seal = Seal {
        node: node(by),
        day,
        epochs: (1, 1),
        rows: rows.collect(),
        totals: NodeTotals {
            connections: 9,
            wire: WireBytes(1 << 20),
            ..NodeTotals::default()
        },
        hours: [0; 24],
        uncredited: Count::default(),
        previous: None,
        is_behind_proxy: false,
    };
    SealedDay {
        digest: seal.encode().digest(),
        seal,
    }
}

fn named_providers() -> BTreeMap<ProviderId, NamedProvider> {
    let names = [
        "Corner Workshop",
        "H\u{f6}fe e.V. <b>",
        "North; Street:  Co-op",
        "Mill",
    ];
    let named_providers = names.iter().enumerate().map(|(number, name)| {
        let others = (0..4).filter(|by| *by != number);
        let named = NamedProvider {
            name: (*name).to_owned(),
            provider: Provider {
                is_in_good_standing: number != 3,
                steering_weight: 1,
                availability_permille: 990,
                estimates: others.map(|by| (provider(by), 2_500)).collect(),
            },
        };
        (provider(number), named)
    });
    named_providers.collect()
}

fn fees() -> Fees {
    let fees = [500, 333, 0].iter().enumerate().map(|(number, cents)| {
        let fee = Fee {
            cents: Cents(*cents),
            salt: [u8::try_from(number).unwrap(); 16],
        };
        (owner(number), fee)
    });
    Fees(fees.collect())
}

const MIB: u64 = 1 << 20;

fn seals() -> Vec<SealedDay> {
    use Class::{Answer, Bare, Bot};
    let first = [
        (0, Answer, 100, 70 * MIB),
        (0, Bare, 10, 0),
        (2, Answer, 25, 4 * MIB),
        (2, Bot, 30, MIB),
    ];
    let first = sealed(0, 1, &first);
    let mut second = sealed(0, 3, &[(0, Answer, 300, 9 * MIB), (1, Answer, 40, 4 * MIB)]);
    second.seal.previous = Some(Previous {
        day: first.seal.day,
        digest: first.digest,
    });
    second.digest = second.seal.encode().digest();
    let third = [
        (0, Answer, 100, 20 * MIB),
        (1, Answer, 25, 3 * MIB),
        (2, Answer, 25, 5 * MIB),
    ];
    let fourth = [
        (0, Answer, 60, 30 * MIB),
        (2, Answer, 30, 6 * MIB),
        (3, Answer, 90, 12 * MIB),
    ];
    let fifth = [(1, Answer, 900, 800 * MIB), (2, Answer, 20, 3 * MIB)];
    vec![
        first,
        second,
        sealed(1, 1, &third),
        sealed(2, 2, &fourth),
        sealed(3, 2, &fifth),
        sealed(4, 2, &[(1, Answer, 20, MIB), (2, Answer, 20, 5 * MIB)]),
    ]
}

/// Four providers, one with two nodes; three owners, of whom one pays nothing; four sites.
pub(crate) fn books() -> Books {
    let owners = ["ana", "=ben, \"b\"", "cyd & co"].into_iter().enumerate();
    let owners = owners.map(|(number, name)| {
        let name = name.to_owned();
        (owner(number), Owner { name })
    });
    let names = ["garden", "bakery", "choir", "notes"];
    let sites = names.into_iter().zip([0, 1, 2, 2]).enumerate();
    let sites = sites.map(|(number, (name, of))| {
        let site_of = Site {
            name: name.to_owned(),
            owner: owner(of),
        };
        (site(number), site_of)
    });
    let hours = |_| (0..4).map(|by| (provider(by), 700 + by as u64)).collect();
    Books {
        region: RegionId::from_bytes([7; 32]),
        region_name: "Elm Street".to_owned(),
        month: month(),
        is_closed: true,
        policy: POLICY.to_owned(),
        providers: named_providers(),
        nodes: (0..5)
            .map(|number| (node(number), provider(number % 4)))
            .collect(),
        owners: owners.collect(),
        sites: sites.collect(),
        fees: fees(),
        held: (0..4).map(|of| (site(of), hours(of))).collect(),
        seals: seals(),
        earlier: [Digest::of(b"of october")].into(),
    }
}

/// The folder as it is written, without its seals.
pub(crate) fn folder(books: &Books) -> Files {
    Statement::of(books).unwrap().files()
}
