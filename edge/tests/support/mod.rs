//! What the edge's tests share: sites made by hand, an edge on port 0, and visitors.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

pub(crate) mod edge;
pub(crate) mod effort;
pub(crate) mod preview;
pub(crate) mod sample;
pub(crate) mod visitor;
