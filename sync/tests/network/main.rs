//! Members of a region over real sockets, in one process: what they come to, what rogues cannot do,
//! and what another release, or a record that crashes, does not break.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]
#![allow(dead_code, reason = "the scene is that of the records' tests")]

#[path = "../records/scene.rs"]
mod scene;

mod content;
mod letters;
mod member;
mod pieces;
mod rogue;
mod source;
mod together;
