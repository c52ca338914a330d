//! What visitors get over real sockets, real TLS and both protocols.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod answers;
mod challenges;
mod connections;
mod curl;
mod faults;
mod handshakes;
mod hostile;
mod lan;
mod left;
mod openssl;
mod ranges;
mod region_ca;
mod remembered;
mod rules;
mod status;
mod swaps;
mod takeout;
