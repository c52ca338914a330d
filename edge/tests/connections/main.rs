//! Hostile, slow and proxied visitors over real sockets: who is refused, dropped or bounded, and
//! that everybody else is answered meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod deadlines;
mod floods;
mod frames;
mod framing;
mod proxies;
mod requests;

use support::edge::{Setup, TestEdge};
use support::sample::{Blobs, file, noise};

const BIG_BYTES: usize = 8 << 20;

/// Serves plain HTTP and HTTPS alike.
fn start(setup: Setup) -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let version = blobs.publish(&[
        file("index.html", "front"),
        file("a.txt", "first"),
        file("big.bin", noise(3, BIG_BYTES)),
    ]);
    let edge = setup.start(&blobs, version);
    (blobs, edge)
}

/// Serves plain HTTP only.
fn start_plain(setup: Setup) -> (Blobs, TestEdge) {
    let (blobs, edge) = start(setup);
    edge.forget_certificates();
    (blobs, edge)
}
