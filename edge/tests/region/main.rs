//! Several real nodes of one region: joining, votes, records everywhere, partitions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

#[path = "../node/compare.rs"]
#[allow(dead_code, reason = "shared with the tests of one node")]
mod compare;
#[path = "../node/harness.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests of one node"
)]
mod harness;
#[path = "../node/knot.rs"]
#[allow(dead_code, reason = "shared with the tests of one node")]
mod knot;
#[path = "../support/mod.rs"]
mod support;

mod away;
mod chain;
mod content;
mod fork;
mod history;
mod joining;
mod look;
mod names;
mod namespaces;
mod records;
mod scene;
mod street;
mod time;
mod watch;
