//! Signed records: what a region says about itself, and the one rule that gives it meaning.
//!
//! The way of a record: bytes -> [`cbor::check`] (one structural pass) -> [`Record::parse`] ->
//! [`Grounds::admissible`] (may it be stored and passed on?) -> the store -> [`effect()`] (what does
//! the whole set mean?). Nothing here does I/O, keeps state or asks for the time; a crash loses nothing.
//! `docs/format.md` fixes the bytes.

pub mod body;
pub mod cbor;
pub mod effect;
mod envelope;
mod grounds;
pub mod kinds;
pub mod region;
mod removal;
pub mod signature;
pub mod write;

pub use body::{
    Account, Acme, Actors, Body, Cause, Deploy, GitSource, HostProof, Limits, Name, NameKind, Node,
    Provider, Region, Roles, Site, Takedown, Takeout, Tombstone, UserKey, Vote, Zones,
};
pub use effect::{Effect, Evidence, Parameters, Trap, effect};
pub use envelope::{
    AuthorId, Draft, Envelope, FORMAT, LogId, PREDECESSORS_MAX, RECORD_BYTES_MAX, REGION_BYTES_MAX,
    Record, RecordError, SEQUENCE_MAX, SUBJECT_BYTES_MAX,
};
pub(crate) use grounds::order as storing_order;
pub use grounds::{Grounds, Refusal};
pub use kinds::{AuthorRule, Kind, KindRow, KindTable, Slot, Subject, SubjectRule};
pub use removal::RemovalList;
pub use signature::{Signature, SignatureError};
pub use write::{Author, WriteError};
