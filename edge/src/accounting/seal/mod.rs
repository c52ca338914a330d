//! The seal: what a node counted in one day, as one immutable statement.
//!
//! A seal is a body, which its record carries, and a blob of rows, which the body names
//! (`docs/format.md#seal`). `day` makes its rows of a day's counters, `decode` reads what others
//! sealed and refuses what contradicts itself, `merge` says what counts when a node sealed a day
//! twice, `proof` shows one row of it.

mod day;
mod decode;
mod encode;
mod merge;
mod proof;
#[cfg(test)]
pub(crate) mod sample;

pub use day::{Carry, Closed, REQUESTS_MIN, close};
pub(crate) use decode::seals;
pub use decode::{Expected, ROWS_MAX, RowsNamed, SealError};
pub use encode::{Encoded, HOURS, Previous, Seal};
pub use merge::{smaller, smaller_rows};
pub(crate) use proof::row_proofs;
pub use proof::{PROOF_BYTES_MAX, ProofError, Proven, RowProof};
