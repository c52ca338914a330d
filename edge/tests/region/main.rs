//! Several real nodes of one region: joining, votes, records everywhere, partitions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what fails here fails the test, and says how long it took"
)]

#[path = "../support/ca/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests of the ACME client"
)]
mod ca;
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
#[path = "../support/listening.rs"]
mod listening;
#[path = "../../../sync/tests/mount/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod mount;
#[path = "../support/pebble.rs"]
#[allow(dead_code, reason = "shared with the tests of the ACME client")]
mod pebble;
#[path = "../support/mod.rs"]
mod support;

mod accounting;
mod accounting_faults;
mod away;
mod certificates;
mod chain;
mod closing;
mod content;
mod content_faults;
mod five;
mod fork;
mod history;
mod issuers;
mod joining;
mod keepsake;
mod late;
mod lies;
mod limits;
mod look;
mod month;
mod names;
mod namespaces;
mod own_key;
mod poison;
mod power;
mod probes;
mod records;
mod scene;
mod seals;
mod soak;
mod street;
mod time;
mod town;
mod watch;
mod witnesses;
