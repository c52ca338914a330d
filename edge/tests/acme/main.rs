//! Our side of ACME against real Pebble, and against a server of the tests that fails on demand.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what fails here fails the test, and says what it measured"
)]

#[path = "../support/ca/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of nodes")]
mod ca;
#[path = "../support/effort.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod effort;
#[path = "../support/listening.rs"]
mod listening;
#[path = "../support/pebble.rs"]
#[allow(dead_code, reason = "shared with the tests of nodes")]
mod pebble;
#[path = "../support/responder.rs"]
mod responder;

mod crash;
mod outage;
mod precheck;
mod real;
mod rules;
mod scene;
mod year;
