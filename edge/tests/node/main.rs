//! A real node, from the outside: real git over real SSH, real TLS, the `verge` command.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod collection;
mod commands;
mod compare;
mod damage;
mod dns_update;
mod doctor;
mod export;
#[allow(dead_code, reason = "shared with the tests of a region")]
mod harness;
mod history;
mod hosts;
mod import;
mod kills;
mod knot;
mod load;
mod publish;
mod region_ca;
mod takeout;
mod verify;
