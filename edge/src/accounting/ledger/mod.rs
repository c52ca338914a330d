//! The ledger: the seals of all nodes, as the region's records have them.
//!
//! `records` picks the records that may count, `read` checks each against everything that it says
//! and joins it with its rows, `review` is what comes of it: what counts, what is missing, who
//! contradicted itself, what was refused and why. One writer of each node and day, so the ledger is a
//! set that only grows, and the order in which records come changes nothing.

mod read;
mod records;
mod review;
#[cfg(test)]
mod tests;

pub use read::Ledger;
pub use records::{ROWS_KEPT_DAYS, SEALS_OF_DAY_MAX, named_rows};
pub use review::{Entry, Refused, Review};
