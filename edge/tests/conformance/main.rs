//! Verge beside the others: what independent programs say of it, and where other servers answer
//! otherwise. `make setup-conformance` brings the programs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

#[path = "../support/listening.rs"]
mod listening;
#[path = "../support/mod.rs"]
mod support;

mod browser;
mod differential;
mod load;
mod netlify;
mod peers;
mod redbot;
mod scanners;
