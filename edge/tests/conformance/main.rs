//! Verge beside the programs that others are measured by, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod netlify;
