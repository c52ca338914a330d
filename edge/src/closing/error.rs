//! Why there is no statement, or no close, in the words of whoever asked for it.

use super::blob::{BYTES_MAX, BlobError};
use super::fees::FeesFileError;
use crate::accounting::calendar::{Day, Month};
use crate::attribution::policy::PolicyError;
use crate::attribution::statement::StatementError;
use crate::export::{ExportError, FolderError};
use crate::region::WriteError;
use verge_sync::store::StoreError;

/// Why there is no statement, or no close.
#[derive(Debug, thiserror::Error)]
pub enum ClosingError {
    /// Its last day is not sealed.
    #[error(
        "{0} is not over, or not for 20 minutes, in which nodes seal its last day: close it after that"
    )]
    NotOver(Month),
    /// This node's own counters.
    #[error(
        "what this node served on {0} is not sealed yet: `verge status` says why; try again when it is"
    )]
    Unsealed(Day),
    /// Nobody knows whether it is over.
    #[error(
        "this node does not believe its clock, and cannot tell whether {0} is over: see `verge status`"
    )]
    Clock(Month),
    /// No rules about money.
    #[error(
        "the policy in force for {0} says nothing of statements: propose one with a table [statement], `verge region propose --policy FILE`"
    )]
    NoPolicy(Month),
    /// Rules that cannot be read.
    #[error("the region's policy, {0}")]
    Policy(#[from] PolicyError),
    /// The fees.
    #[error(transparent)]
    Fees(#[from] FeesFileError),
    /// Fees that were not closed.
    #[error(
        "{month} was closed with other fees, of the root {root} and {total} of the smallest unit in all: name the file that they were closed with, --fees FILE"
    )]
    OtherFees {
        /// Which month.
        month: Month,
        /// What the close has.
        root: String,
        /// Their sum.
        total: u64,
    },
    /// It is done.
    #[error("{0} is closed already: what comes later is a line of the next month")]
    Closed(Month),
    /// It was passed over.
    #[error(
        "{0} was not closed before {1} was: what was sealed in it and is in no statement is a line of the month after {1}"
    )]
    Passed(Month, Month),
    /// Rows that are on their way.
    #[error("rows of what nodes sealed are not here yet ({0}): try again when they are")]
    Waiting(String),
    /// The blob of a close.
    #[error(
        "the books of the close of {0} are not here yet: try again when a node that has them is connected"
    )]
    NoBooks(Month),
    /// What a close lists, and this node lacks.
    #[error(
        "{count} of the seals that the close of {month} lists are not here, or their rows are gone after half a year: take the statement from another node, or from a copy"
    )]
    NoSeals {
        /// Which month.
        month: Month,
        /// How many.
        count: usize,
    },
    /// A close that contradicts itself.
    #[error("the close of {0}: {1}")]
    Blob(Month, BlobError),
    /// Not what was closed.
    #[error(
        "the statement of {0} comes to another than was closed: is this another release? nothing was written"
    )]
    Other(Month),
    /// Nothing to sign.
    #[error("nobody has proposed to close {0}: `verge statement close {0} --fees FILE` does")]
    NoProposal(Month),
    /// Something else than what this node comes to.
    #[error("this node comes to something else than the close that was proposed, and does not sign it: {}", .0.join("; "))]
    Differs(Vec<String>),
    /// The arithmetic.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Too much for one blob.
    #[error("the books of the month have more than {BYTES_MAX} bytes")]
    TooLarge,
    /// The record.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its last step.
    #[error(transparent)]
    Finish(#[from] ExportError),
    /// The store.
    #[error("the node could not read what it holds of the month: {0}")]
    Store(#[from] StoreError),
    /// The thread died: an error of ours.
    #[error("the work ended early: {0}")]
    Ended(String),
}
