//! What the edge counts, against what visitors got: over real sockets, real TLS, both protocols, and
//! a network that loses packets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod downloads;
mod ends;
mod kinds;
mod lane;
mod reader;

use std::time::Duration;
use support::edge::TestEdge;
use verge_edge::accounting::figures::{Class, Count, NodeTotals};
use verge_edge::accounting::meter::{Meter, Taken};
use verge_sync::SiteId;

/// The site of every host of a test's edge.
const SITE: SiteId = SiteId::from_bytes([7; 32]);

/// What was counted, when so many connections have ended.
fn counted(edge: &TestEdge, connections: u64) -> Taken {
    ended(edge.running.meter(), connections)
}

fn ended(meter: &Meter, connections: u64) -> Taken {
    let since = verge_sync::clock::stopwatch();
    loop {
        let taken = meter.take();
        if taken.totals.connections == connections {
            return taken;
        }
        assert!(taken.totals.connections < connections);
        assert!(since.elapsed() < Duration::from_secs(60), "they end");
        meter.give_back(taken);
        std::thread::yield_now();
    }
}

fn of(taken: &Taken, site: SiteId, class: Class) -> Count {
    taken
        .counts
        .get(&(site, class))
        .copied()
        .unwrap_or_default()
}

/// Requests, body, credit.
fn figures(count: Count) -> (u64, u64, u64) {
    (count.requests, count.body.0, count.credit.0)
}

fn is_empty(totals: NodeTotals) -> bool {
    totals == NodeTotals::default()
}
