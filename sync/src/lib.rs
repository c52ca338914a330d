//! What a Verge region holds in common: content-addressed blobs, site manifests, signed records,
//! and the one rule that says what a set of records means.
//!
//! This crate knows nothing of git, HTTP, TLS or money.
//! `docs/format.md` fixes every byte that it writes.

pub mod clock;
pub mod content;
pub mod digest;
pub mod id;
pub mod keys;
pub mod manifest;
pub mod net;
pub mod pack;
pub mod path;
pub mod record;
pub mod store;

pub use digest::Digest;
pub use id::{AccountId, ContentDigest, NodeId, ProviderId, RecordId, RegionId, SiteId, Version};
pub use path::SitePath;
