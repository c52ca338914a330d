//! Writing a manifest: the same values always give the same bytes.

use super::table::{DELIVERY_HEAD_BYTES, HEADER_BYTES, MAGIC, NO_BLOB};
use super::{BlobRef, FORMAT, MANIFEST_BYTES_MAX, Representation};
use crate::clock::UnixTime;
use crate::digest::Digest;
use crate::id::{ContentDigest, Version};
use crate::path::SitePath;
use std::collections::BTreeMap;

/// What was published: a pure function of the tree and the recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Number of the compression rules.
    pub recipe: u32,
    /// Every path with its identity bytes' digest, length and media type.
    pub paths: BTreeMap<SitePath, ContentPath>,
    /// Opaque sections by tag.
    pub sections: BTreeMap<u32, Vec<u8>>,
}

/// One published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentPath {
    /// BLAKE3 of the bytes as published.
    pub identity: Digest,
    /// Their length.
    pub length: u64,
    /// `Content-Type` as it is sent.
    pub media_type: String,
}

/// Where everything lies, and what came before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The version that this one follows.
    pub previous: Option<Version>,
    /// Blobs in the order of the flat sequence: packs first, then blobs of one representation.
    pub blobs: Vec<BlobRef>,
    /// How many of `blobs` are packs.
    pub pack_count: u32,
    /// The representations of each identity digest, ascending by coding, identity first.
    pub representations: BTreeMap<Digest, Vec<Representation>>,
    /// When each path's content first appeared at it.
    pub first_seen: BTreeMap<SitePath, UnixTime>,
    /// Paths that the tree no longer has but that stay reachable.
    pub carried: BTreeMap<SitePath, Carried>,
    /// Opaque sections by tag.
    pub sections: BTreeMap<u32, Vec<u8>>,
}

/// A path of an earlier version that stays reachable for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// As it was published.
    pub path: ContentPath,
    /// When its content first appeared.
    pub first_seen: UnixTime,
    /// When the tree lost it.
    pub since: UnixTime,
}

/// Values that no manifest can hold.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The site is too large for one manifest.
    #[error(
        "the site's table of paths is {bytes} bytes; at most {MANIFEST_BYTES_MAX} are possible: publish fewer files"
    )]
    TooLarge {
        /// What it would have taken.
        bytes: u64,
    },
    /// The builder contradicts itself: an error of ours.
    #[error("manifest: {0}")]
    Inconsistent(&'static str),
}

impl Content {
    /// The bytes of the content part (`docs/format.md#content-part`).
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] if a count or an offset leaves 32 bits.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let types = MediaTypes::of(self.paths.values());
        let mut out = Vec::new();
        put_u32(&mut out, self.recipe);
        put_count(&mut out, self.paths.len())?;
        put_count(&mut out, types.0.len())?;
        put_count(&mut out, self.sections.len())?;
        let mut name_end = 0;
        for (path, file) in &self.paths {
            name_end += path.as_str().len();
            out.extend_from_slice(file.identity.as_bytes());
            put_u64(&mut out, file.length);
            put_count(&mut out, name_end)?;
            put_u16(&mut out, types.index(&file.media_type)?);
            put_u16(&mut out, 0);
        }
        types.put_table(&mut out)?;
        put_section_table(&mut out, &self.sections)?;
        for path in self.paths.keys() {
            out.extend_from_slice(path.as_str().as_bytes());
        }
        types.put_heap(&mut out);
        put_section_heap(&mut out, &self.sections);
        Ok(out)
    }

    /// The digest that two machines with the same tree agree on.
    ///
    /// # Errors
    /// As [`Content::encode`].
    pub fn digest(&self) -> Result<ContentDigest, EncodeError> {
        Ok(ContentDigest::from_digest(Digest::of(&self.encode()?)))
    }
}

impl Delivery {
    /// The bytes of a whole manifest; their digest is the version.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] over [`MANIFEST_BYTES_MAX`]; [`EncodeError::Inconsistent`] if a
    /// path has no representations or no first-seen time.
    pub fn encode(&self, content: &Content) -> Result<Vec<u8>, EncodeError> {
        let content_part = content.encode()?;
        let delivery_part = self.encode_part(content, &Digest::of(&content_part))?;
        let bytes = count_u64(HEADER_BYTES + content_part.len() + delivery_part.len());
        if bytes > MANIFEST_BYTES_MAX {
            return Err(EncodeError::TooLarge { bytes });
        }
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, FORMAT);
        put_u32(&mut out, 0);
        put_u64(&mut out, count_u64(content_part.len()));
        put_u64(&mut out, count_u64(delivery_part.len()));
        out.extend_from_slice(&content_part);
        out.extend_from_slice(&delivery_part);
        Ok(out)
    }

    fn encode_part(&self, content: &Content, digest: &Digest) -> Result<Vec<u8>, EncodeError> {
        let types = MediaTypes::of(self.carried.values().map(|carried| &carried.path));
        let (starts, representation_count) = self.representation_starts()?;
        let mut out = Vec::new();
        out.extend_from_slice(digest.as_bytes());
        out.extend_from_slice(
            self.previous
                .map_or(Digest::ZERO, |v| v.digest())
                .as_bytes(),
        );
        put_count(&mut out, self.blobs.len())?;
        put_u32(&mut out, self.pack_count);
        put_u32(&mut out, representation_count);
        put_count(&mut out, self.carried.len())?;
        put_count(&mut out, types.0.len())?;
        put_count(&mut out, self.sections.len())?;
        debug_assert_eq!(out.len(), DELIVERY_HEAD_BYTES);
        for (path, file) in &content.paths {
            let (start, count) = *starts.get(&file.identity).ok_or(NO_REPRESENTATIONS)?;
            let seen = self.first_seen.get(path).ok_or(NO_FIRST_SEEN)?;
            put_u32(&mut out, start);
            put_u32(&mut out, count);
            put_i64(&mut out, seen.0);
        }
        for representation in self.representations.values().flatten() {
            put_representation(&mut out, representation);
        }
        for blob in &self.blobs {
            out.extend_from_slice(blob.digest.as_bytes());
            put_u64(&mut out, blob.bytes);
        }
        self.put_carried(&mut out, &starts, &types)?;
        types.put_table(&mut out)?;
        put_section_table(&mut out, &self.sections)?;
        for path in self.carried.keys() {
            out.extend_from_slice(path.as_str().as_bytes());
        }
        types.put_heap(&mut out);
        put_section_heap(&mut out, &self.sections);
        Ok(out)
    }

    fn put_carried(
        &self,
        out: &mut Vec<u8>,
        starts: &Starts,
        types: &MediaTypes<'_>,
    ) -> Result<(), EncodeError> {
        let mut name_end = 0;
        for (path, carried) in &self.carried {
            let (start, count) = *starts
                .get(&carried.path.identity)
                .ok_or(NO_REPRESENTATIONS)?;
            name_end += path.as_str().len();
            out.extend_from_slice(carried.path.identity.as_bytes());
            put_u64(out, carried.path.length);
            put_i64(out, carried.first_seen.0);
            put_i64(out, carried.since.0);
            put_count(out, name_end)?;
            put_u32(out, start);
            put_u16(
                out,
                u16::try_from(count).map_err(|_out_of_range| NO_REPRESENTATIONS)?,
            );
            put_u16(out, types.index(&carried.path.media_type)?);
            put_u32(out, 0);
        }
        Ok(())
    }

    fn representation_starts(&self) -> Result<(Starts, u32), EncodeError> {
        let mut starts = BTreeMap::new();
        let mut next = 0_u32;
        for (identity, list) in &self.representations {
            let count = u32_count(list.len())?;
            starts.insert(*identity, (next, count));
            next = next
                .checked_add(count)
                .ok_or(EncodeError::TooLarge { bytes: u64::MAX })?;
        }
        Ok((starts, next))
    }
}

/// First representation and how many, by identity digest.
type Starts = BTreeMap<Digest, (u32, u32)>;

const NO_REPRESENTATIONS: EncodeError =
    EncodeError::Inconsistent("a path's bytes have no representations");
const NO_FIRST_SEEN: EncodeError = EncodeError::Inconsistent("a path has no first-seen time");

/// The sorted set of media types in use; files name them by index.
struct MediaTypes<'a>(Vec<&'a str>);

impl<'a> MediaTypes<'a> {
    fn of(files: impl Iterator<Item = &'a ContentPath>) -> Self {
        let mut types: Vec<&str> = files.map(|file| file.media_type.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        Self(types)
    }

    fn index(&self, media_type: &str) -> Result<u16, EncodeError> {
        let found = self.0.binary_search(&media_type).ok();
        found
            .and_then(|index| u16::try_from(index).ok())
            .ok_or(EncodeError::Inconsistent("more than 65,536 media types"))
    }

    fn put_table(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut end = 0;
        for media_type in &self.0 {
            end += media_type.len();
            put_count(out, end)?;
        }
        Ok(())
    }

    fn put_heap(&self, out: &mut Vec<u8>) {
        for media_type in &self.0 {
            out.extend_from_slice(media_type.as_bytes());
        }
    }
}

fn put_representation(out: &mut Vec<u8>, representation: &Representation) {
    let (blob, offset) = representation
        .location
        .map_or((NO_BLOB, 0), |place| (place.blob_index, place.offset));
    out.extend_from_slice(representation.digest.as_bytes());
    out.extend_from_slice(&representation.sha256);
    put_u64(out, representation.length);
    put_u64(out, offset);
    put_u32(out, blob);
    out.extend_from_slice(&[representation.coding.number(), 0, 0, 0]);
}

fn put_section_table(
    out: &mut Vec<u8>,
    sections: &BTreeMap<u32, Vec<u8>>,
) -> Result<(), EncodeError> {
    for (tag, bytes) in sections {
        put_u32(out, *tag);
        put_count(out, bytes.len())?;
    }
    Ok(())
}

fn put_section_heap(out: &mut Vec<u8>, sections: &BTreeMap<u32, Vec<u8>>) {
    for bytes in sections.values() {
        out.extend_from_slice(bytes);
    }
}

fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) -> Result<(), EncodeError> {
    put_u32(out, u32_count(count)?);
    Ok(())
}

fn u32_count(count: usize) -> Result<u32, EncodeError> {
    u32::try_from(count).map_err(|_too_many| EncodeError::TooLarge {
        bytes: count_u64(count),
    })
}

fn count_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
