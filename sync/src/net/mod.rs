//! How nodes come to hold the same records.
//!
//! [`Holding`] is what one node has in memory: the set of records, what it means, and what waits for
//! others. [`Exchange`] is what it says to its peers: each new record at once (flood), and in turns
//! the question whether both have the same ([`Set`] by set, with negentropy), which is the truth.
//! Both are pure: time and messages come in, messages and records to be stored come out, so that a
//! simulation runs the very code that a node runs. A crash loses what was not stored; the next
//! reconciliation brings it again.

mod aside;
mod asks;
mod blobs;
mod bucket;
mod caution;
mod changes;
mod endpoint;
mod exchange;
mod holding;
mod join;
mod letters;
mod lists;
mod message;
mod network;
mod peer;
mod pieces;
mod reach;
mod receipts;
mod replica;
mod stream;

pub use blobs::STALL_TIME;
pub use caution::{APPLY_TIME_MAX, Caution};
pub use endpoint::EndpointError;
pub use exchange::{Exchange, Fault, ROUND_INTERVAL_MS, Wall};
pub use holding::{Holding, Taken, Verify};
pub use join::{Answer, Ask, Caller, Door, JoinError, Newcomer, Petition};
pub use letters::{LETTER_BYTES_MAX, Letter, LetterError, REPLY_BYTES_MAX};
pub use message::{Fingerprint, MESSAGE_BYTES_MAX, Message, Set, Signal, Unreadable};
pub use network::{Network, NetworkConfig};
pub use pieces::{PIECE_BYTES_MAX, Piece, PieceError};
pub use reach::{LINKS_MAX, is_near};
pub use replica::{Commit, CommitError, Core, Linked, Replica, row};
