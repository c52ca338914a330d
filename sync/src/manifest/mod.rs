//! A site's table of paths: what stands where, in which codings, looked up without parsing.
//!
//! A manifest is one blob in two parts (`docs/format.md#manifest`).
//! The *content part* is a pure function of the published tree and the recipe number; the *delivery
//! part* says where the bytes of each representation lie, since when, and what came before.
//! Both are fixed-width tables, searched in the bytes as they were read.
//! Rules, problems and error pages are opaque sections here; `verge-builder` owns their meaning.

mod decode;
mod encode;
mod table;

pub use decode::{Entries, Entry, Manifest, ManifestError};
pub use encode::{Carried, Content, ContentPath, Delivery, EncodeError};

use crate::clock::UnixTime;
use crate::digest::Digest;

/// The format number in the header; a reader refuses any other.
pub const FORMAT: u32 = 1;
/// The largest manifest. A site of 50,000 paths with four codings needs about 25 MB at most and
/// 12 MB in practice, since paths of equal bytes share their representations.
pub const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// How the bytes of a representation are encoded (RFC 9110 section 8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// The bytes as published.
    Identity,
    /// `br`, RFC 7932.
    Brotli,
    /// `zstd`, RFC 8878, window at most 8 MiB (RFC 9659).
    Zstd,
    /// `gzip`, RFC 1952.
    Gzip,
}

impl Coding {
    /// Every coding, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Brotli, Self::Zstd, Self::Gzip];

    /// The name in `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Identity => 0,
            Self::Brotli => 1,
            Self::Zstd => 2,
            Self::Gzip => 3,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Identity),
            1 => Some(Self::Brotli),
            2 => Some(Self::Zstd),
            3 => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// A blob that a version needs, with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Where the bytes of a representation lie: a range of a blob. Nothing for an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// Index into the manifest's blobs.
    pub blob_index: u32,
    /// Offset of the first byte inside the blob.
    pub offset: u64,
}

/// One coding of one path's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Representation {
    /// The coding.
    pub coding: Coding,
    /// BLAKE3 of the encoded bytes.
    pub digest: Digest,
    /// SHA-256 of the encoded bytes, for `Repr-Digest` (RFC 9530).
    pub sha256: [u8; 32],
    /// Encoded length in bytes.
    pub length: u64,
    /// Where the bytes lie; `None` exactly if `length` is 0.
    pub location: Option<Location>,
}

/// Since when a path's content is part of the site, and, for a path that the current tree no
/// longer has, since when it is only carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When this content first appeared at this path: `Last-Modified`.
    pub first: UnixTime,
    /// When the tree lost the path, if it did.
    pub carried_since: Option<UnixTime>,
}
