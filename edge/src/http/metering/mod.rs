//! What every answer of a site is counted as: how much of it reached the visitor.
//!
//! A connection has a `Tally`: answers enter it with what they are worth (`worth`), the stream
//! beneath the connection tells it what was written and where (`heads` for HTTP/1.1, whole frames
//! for HTTP/2), and the kernel how far that has arrived. What arrived goes to the node's meter:
//! a second after it was written at the latest, or when the connection ends; then the rest is known
//! not to have arrived. A crash loses a second. Nothing here knows who asked.

mod bots;
mod closing;
pub mod cost;
mod heads;
mod tally;
mod worth;

pub(crate) use bots::Agent;
pub(super) use closing::{Closing, Looks, Metered};
pub(super) use tally::{Served, Tally};
pub(super) use worth::{Part, Worth};
