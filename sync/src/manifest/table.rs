//! The widths of the manifest's tables and how numbers are read out of them.
//! `docs/format.md#manifest` has the same numbers; they never change within format 1.

use crate::digest::Digest;

pub(super) const MAGIC: &[u8; 8] = b"VERGEMAN";
/// Magic, format, zero, bytes of content part, bytes of delivery part.
pub(super) const HEADER_BYTES: usize = 32;
/// Recipe, paths, media types, sections.
pub(super) const CONTENT_HEAD_BYTES: usize = 16;
/// Identity digest, length, end of name, media type, zero.
pub(super) const PATH_BYTES: usize = 48;
/// Content digest, previous version, blobs, packs, representations, carried, media types, sections.
pub(super) const DELIVERY_HEAD_BYTES: usize = 88;
/// First representation, how many, first seen.
pub(super) const PLACE_BYTES: usize = 16;
/// Digest, SHA-256, length, offset, blob, coding, zero.
pub(super) const REPRESENTATION_BYTES: usize = 88;
/// Digest, length.
pub(super) const BLOB_BYTES: usize = 40;
/// Identity digest, length, first seen, carried since, end of name, first representation, how
/// many, media type.
pub(super) const CARRIED_BYTES: usize = 72;
/// Tag, length.
pub(super) const SECTION_BYTES: usize = 8;
/// The blob index of an empty representation.
pub(super) const NO_BLOB: u32 = u32::MAX;

/// Reads little-endian numbers; `None` past the end.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

pub(super) fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    array(bytes, at).map(i64::from_le_bytes)
}

pub(super) fn digest_at(bytes: &[u8], at: usize) -> Option<Digest> {
    array(bytes, at).map(Digest::from_bytes)
}

/// Every platform that Verge runs on has at least 32-bit indices.
pub(super) fn index(value: u32) -> usize {
    usize::try_from(value).expect("an index of 32 bits fits")
}
