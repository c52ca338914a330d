//! A seal to change and to look at.

use super::{Expected, HOURS, Previous, Seal};
use crate::accounting::calendar::Day;
use crate::accounting::figures::{
    BodyBytes, Class, Count, CreditBytes, NodeTotals, Row, WireBytes,
};
use verge_sync::Digest;
use verge_sync::id::{NodeId, SiteId};

pub(crate) fn row(site: u8, class: Class, requests: u64) -> Row {
    let bytes = if class == Class::Bare {
        0
    } else {
        requests.saturating_mul(1_000)
    };
    Row {
        site: SiteId::from_bytes([site; 32]),
        class,
        count: Count {
            requests,
            credit: CreditBytes(bytes / 2),
            body: BodyBytes(bytes),
        },
    }
}

pub(crate) fn seal() -> Seal {
    Seal {
        node: NodeId::from_bytes([1; 32]),
        day: Day::new(20_760).unwrap(),
        epochs: (3, 5),
        rows: vec![
            row(1, Class::Answer, 19),
            row(1, Class::Bare, 1),
            row(2, Class::Answer, 500),
            row(2, Class::Bot, 7),
            row(9, Class::Bare, 20),
        ],
        totals: NodeTotals {
            connections: 40,
            wire: WireBytes(900_000),
            retransmitted: WireBytes(100),
            errors: 2,
        },
        hours: [7; HOURS],
        uncredited: row(0, Class::Answer, 3).count,
        previous: Some(Previous {
            day: Day::new(20_757).unwrap(),
            digest: Digest::of(b"before"),
        }),
        is_behind_proxy: true,
    }
}

pub(crate) fn expected() -> Expected {
    Expected {
        node: NodeId::from_bytes([1; 32]),
        day: Day::new(20_760).unwrap(),
        today: Day::new(20_761).unwrap(),
    }
}
