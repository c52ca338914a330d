//! The driver of the region's DNS zone: texts for dns-01, and the addresses of the sites' hosts.
//!
//! One driver so far: dynamic update (RFC 2136), signed with a key that the zone's server shares with
//! us (TSIG, RFC 8945, hmac-sha256), over TCP. [`key`] reads that key, [`exchange`] is one question
//! and its answer, [`update`] says what changes and waits until servers answer with it, [`refusal`]
//! puts a server's no into words, [`addresses`] is the pure rule of what stands in DNS for a host.
//!
//! Nothing runs by itself and nothing is kept: a call is a few connections, each with a time-out. The
//! node's task that keeps the addresses is `app/zone_addresses.rs`.

pub mod addresses;
pub mod exchange;
pub(crate) mod fuzzing;
pub mod key;
pub mod refusal;
pub mod update;
mod zone;

pub use key::{KeyError, UpdateKey};
pub use refusal::Refusal;
pub use update::{DnsUpdate, UpdateError};
