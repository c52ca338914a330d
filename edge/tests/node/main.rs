//! A real node, from the outside: real git over real SSH, real TLS, the `verge` command.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

mod bad_input;
mod collection;
mod commands;
mod damage;
mod harness;
mod load;
mod publish;
mod takeout;
