//! Closing a month, and its statement on a node.
//!
//! `books` makes the inputs of a statement of what holds, `probes` what observations say in it, both
//! pure. `body` and `blob` are what a `close` record says, `closes` which of them count, `difference`
//! what keeps a node from signing one. [`Closing`] is the part with a disk: it reads the seals, writes
//! the folder, and proposes or signs. `signature` and `proof` are what a reader checks offline.
//!
//! Owns nothing that lasts but the copies of fees that its steward handed it; a crash loses the command
//! that was under way.

mod blob;
mod body;
mod books;
mod closes;
mod difference;
mod error;
mod fees;
mod lost;
mod probes;
mod proof;
mod show;
mod signature;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use blob::closed_books;
pub use blob::{BlobError, BooksBlob};
pub(crate) use body::closes as close_records;
pub use body::{BOOKS_BYTES_MAX, CloseBody, SEALS_MAX, SNAPSHOTS_MAX};
pub use books::{Facts, books};
pub use closes::{Closes, Proposed};
pub use error::ClosingError;
pub use fees::FeesFileError;
pub use probes::Probes;
pub use proof::{CLOSE_NAME, CloseProof, ProofFault, check as check_close};
pub use show::MonthLine;
pub(crate) use signature::statement_signatures;
pub use signature::{SIGNATURE_NAME, SignatureFault, StatementSignature};
pub use work::{Closing, Outcome, Written};
