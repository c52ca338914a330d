//! Reading a manifest: checked once as a whole, then searched in place.

mod entry;
mod layout;

pub use entry::{Entries, Entry};

use super::table::{
    BLOB_BYTES, CARRIED_BYTES, NO_BLOB, PATH_BYTES, PLACE_BYTES, REPRESENTATION_BYTES,
    SECTION_BYTES, array, digest_at, i64_at, index, u16_at, u32_at, u64_at,
};
use super::{BlobRef, Coding, FORMAT, Location, Representation, Seen};
use crate::clock::UnixTime;
use crate::digest::Digest;
use crate::id::{ContentDigest, Version};
use crate::path;
use layout::{ContentTables, DeliveryTables, Sections, parts};

/// A manifest whose every table was checked; lookups read its bytes and cannot fail.
#[derive(Clone)]
pub struct Manifest {
    bytes: Box<[u8]>,
    version: Version,
    content: ContentTables,
    delivery: DeliveryTables,
}

/// Bytes that are not a manifest of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Written by a newer release.
    #[error("manifest of format {0}, this release reads format {FORMAT}: update verge")]
    Format(u32),
    /// The bytes are damaged or were never a manifest.
    #[error("manifest is not well formed: {0}")]
    Malformed(&'static str),
}

type Checked<T> = Result<T, ManifestError>;

const fn malformed(what: &'static str) -> ManifestError {
    ManifestError::Malformed(what)
}

const INVARIANT: &str = "decode checked every table";

impl Manifest {
    /// Checks `bytes` and takes them over: tables inside the bytes, paths valid, sorted and unique,
    /// representations inside their blobs, identity always there.
    ///
    /// # Errors
    /// [`ManifestError`]; nothing that passes can make a lookup fail.
    pub fn decode(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        let bytes = bytes.into_boxed_slice();
        let (content_range, delivery_range) = parts(&bytes)?;
        let content = ContentTables::locate(&bytes, content_range)?;
        let delivery = DeliveryTables::locate(&bytes, delivery_range, content.path_count)?;
        let version = Version::from_digest(Digest::of(&bytes));
        let manifest = Self {
            bytes,
            version,
            content,
            delivery,
        };
        manifest.check_digest()?;
        manifest.check_blobs()?;
        manifest.check_paths()?;
        manifest.check_carried()?;
        Ok(manifest)
    }

    /// The digest of all the bytes.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The digest of the content part.
    #[must_use]
    pub fn content_digest(&self) -> ContentDigest {
        ContentDigest::from_digest(digest_at(&self.bytes, self.delivery.start).expect(INVARIANT))
    }

    /// Number of the compression rules.
    #[must_use]
    pub fn recipe(&self) -> u32 {
        u32_at(&self.bytes, self.content.whole.start).expect(INVARIANT)
    }

    /// The version that this one follows.
    #[must_use]
    pub fn previous(&self) -> Option<Version> {
        let digest = digest_at(&self.bytes, self.delivery.start + 32).expect(INVARIANT);
        (!digest.is_zero()).then_some(Version::from_digest(digest))
    }

    /// The bytes as they are stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file at `path`, carried ones included. Only exact names are found.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Entry<'_>> {
        self.search(self.content.path_count, path, Self::path_name)
            .map(|at| self.path_entry(at))
            .or_else(|| self.find_carried(path))
    }

    /// Every file of the published tree, in order of path bytes.
    #[must_use]
    pub fn paths(&self) -> Entries<'_> {
        Entries {
            manifest: self,
            next: 0,
            count: self.content.path_count,
            carried: false,
        }
    }

    /// Every file that is only carried from earlier versions, in order of path bytes.
    #[must_use]
    pub fn carried(&self) -> Entries<'_> {
        Entries {
            manifest: self,
            next: 0,
            count: self.delivery.carried_count,
            carried: true,
        }
    }

    /// The content section `tag`.
    #[must_use]
    pub fn content_section(&self, tag: u32) -> Option<&[u8]> {
        self.section(&self.content.sections, tag)
    }

    /// The delivery section `tag`.
    #[must_use]
    pub fn delivery_section(&self, tag: u32) -> Option<&[u8]> {
        self.section(&self.delivery.sections, tag)
    }

    /// How many of the blobs, from the first, are packs.
    #[must_use]
    pub fn pack_count(&self) -> u32 {
        self.delivery.pack_count
    }

    /// The blobs in order: packs, then blobs of one representation each.
    pub fn blobs(&self) -> impl ExactSizeIterator<Item = BlobRef> + '_ {
        (0..self.delivery.blob_count).map(|at| self.blob_at(at))
    }

    /// The blob at `blob_index`, if there is one.
    #[must_use]
    pub fn blob(&self, blob_index: u32) -> Option<BlobRef> {
        let at = index(blob_index);
        (at < self.delivery.blob_count).then(|| self.blob_at(at))
    }

    /// The version as one flat sequence of digests, the manifest's own first: the blob that a
    /// deploy names.
    #[must_use]
    pub fn sequence(&self) -> Vec<u8> {
        let mut out = self.version.as_bytes().to_vec();
        for blob in self.blobs() {
            out.extend_from_slice(blob.digest.as_bytes());
        }
        out
    }

    /// Bytes of the whole version: manifest and blobs.
    #[must_use]
    pub fn version_bytes(&self) -> u64 {
        let own = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.blobs()
            .fold(own, |sum, blob| sum.saturating_add(blob.bytes))
    }

    fn find_carried(&self, path: &str) -> Option<Entry<'_>> {
        self.search(self.delivery.carried_count, path, Self::carried_name)
            .map(|at| self.carried_entry(at))
    }

    /// Binary search over a table of sorted names.
    fn search<'a>(
        &'a self,
        count: usize,
        path: &str,
        name: fn(&'a Self, usize) -> &'a [u8],
    ) -> Option<usize> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            match name(self, middle).cmp(path.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    fn path_row(&self, at: usize) -> usize {
        self.content.paths + at * PATH_BYTES
    }

    fn path_name(&self, at: usize) -> &[u8] {
        let end = |row: usize| index(u32_at(&self.bytes, row + 40).expect(INVARIANT));
        let start = if at == 0 {
            0
        } else {
            end(self.path_row(at - 1))
        };
        let names = self.content.names;
        self.bytes
            .get(names + start..names + end(self.path_row(at)))
            .expect(INVARIANT)
    }

    fn carried_row(&self, at: usize) -> usize {
        self.delivery.carried + at * CARRIED_BYTES
    }

    fn carried_name(&self, at: usize) -> &[u8] {
        let end = |row: usize| index(u32_at(&self.bytes, row + 56).expect(INVARIANT));
        let start = if at == 0 {
            0
        } else {
            end(self.carried_row(at - 1))
        };
        let names = self.delivery.names;
        self.bytes
            .get(names + start..names + end(self.carried_row(at)))
            .expect(INVARIANT)
    }

    fn path_entry(&self, at: usize) -> Entry<'_> {
        let row = self.path_row(at);
        let place = self.delivery.places + at * PLACE_BYTES;
        Entry {
            manifest: self,
            path: text(self.path_name(at)),
            identity: digest_at(&self.bytes, row).expect(INVARIANT),
            length: u64_at(&self.bytes, row + 32).expect(INVARIANT),
            media_type: self.content.types.get(&self.bytes, self.u16(row + 44)),
            first_representation: index(self.u32(place)),
            representation_count: index(self.u32(place + 4)),
            seen: Seen {
                first: self.time(place + 8),
                carried_since: None,
            },
            path_index: Some(at),
        }
    }

    fn carried_entry(&self, at: usize) -> Entry<'_> {
        let row = self.carried_row(at);
        Entry {
            manifest: self,
            path: text(self.carried_name(at)),
            identity: digest_at(&self.bytes, row).expect(INVARIANT),
            length: u64_at(&self.bytes, row + 32).expect(INVARIANT),
            media_type: self.delivery.types.get(&self.bytes, self.u16(row + 66)),
            first_representation: index(self.u32(row + 60)),
            representation_count: self.u16(row + 64),
            seen: Seen {
                first: self.time(row + 40),
                carried_since: Some(self.time(row + 48)),
            },
            path_index: None,
        }
    }

    fn representation(&self, at: usize) -> Option<Representation> {
        let row = self.delivery.representations + at * REPRESENTATION_BYTES;
        let blob_index = u32_at(&self.bytes, row + 80)?;
        let offset = u64_at(&self.bytes, row + 72)?;
        Some(Representation {
            coding: Coding::from_number(*self.bytes.get(row + 84)?)?,
            digest: digest_at(&self.bytes, row)?,
            sha256: array(&self.bytes, row + 32)?,
            length: u64_at(&self.bytes, row + 64)?,
            location: (blob_index != NO_BLOB).then_some(Location { blob_index, offset }),
        })
    }

    fn blob_at(&self, at: usize) -> BlobRef {
        let row = self.delivery.blobs + at * BLOB_BYTES;
        BlobRef {
            digest: digest_at(&self.bytes, row).expect(INVARIANT),
            bytes: u64_at(&self.bytes, row + 32).expect(INVARIANT),
        }
    }

    fn section(&self, sections: &Sections, tag: u32) -> Option<&[u8]> {
        let mut start = sections.start;
        for at in 0..sections.count {
            let row = sections.table + at * SECTION_BYTES;
            let end = start + index(self.u32(row + 4));
            if self.u32(row) == tag {
                return self.bytes.get(start..end);
            }
            start = end;
        }
        None
    }

    fn u16(&self, at: usize) -> usize {
        usize::from(u16_at(&self.bytes, at).expect(INVARIANT))
    }

    fn u32(&self, at: usize) -> u32 {
        u32_at(&self.bytes, at).expect(INVARIANT)
    }

    fn time(&self, at: usize) -> UnixTime {
        UnixTime(i64_at(&self.bytes, at).expect(INVARIANT))
    }
}

/// The checks of [`Manifest::decode`], each over one table.
impl Manifest {
    fn check_digest(&self) -> Checked<()> {
        let content = self.bytes.get(self.content.whole.clone()).expect(INVARIANT);
        if Digest::of(content) == self.content_digest().digest() {
            Ok(())
        } else {
            Err(malformed("the delivery part names another content part"))
        }
    }

    fn check_blobs(&self) -> Checked<()> {
        if index(self.delivery.pack_count) > self.delivery.blob_count {
            return Err(malformed("more packs than blobs"));
        }
        for at in 0..self.delivery.representation_count {
            let representation = self
                .representation(at)
                .ok_or(malformed("an unknown coding"))?;
            let fits = match representation.location {
                None => representation.length == 0,
                Some(place) => {
                    let end = place.offset.checked_add(representation.length);
                    let blob = self.blob(place.blob_index);
                    representation.length > 0
                        && blob.zip(end).is_some_and(|(blob, end)| end <= blob.bytes)
                }
            };
            if !fits {
                return Err(malformed("a representation outside its blob"));
            }
        }
        Ok(())
    }

    fn check_paths(&self) -> Checked<()> {
        let names = (0..self.content.path_count).map(|at| self.path_name(at));
        check_names(names)?;
        self.paths().try_for_each(|entry| self.check_entry(&entry))
    }

    fn check_carried(&self) -> Checked<()> {
        let names = (0..self.delivery.carried_count).map(|at| self.carried_name(at));
        check_names(names)?;
        for entry in self.carried() {
            self.check_entry(&entry)?;
            if self
                .search(self.content.path_count, entry.path, Self::path_name)
                .is_some()
            {
                return Err(malformed("a path is both published and carried"));
            }
        }
        Ok(())
    }

    fn check_entry(&self, entry: &Entry<'_>) -> Checked<()> {
        let end = entry
            .first_representation
            .checked_add(entry.representation_count);
        if end.is_none_or(|end| end > self.delivery.representation_count) {
            return Err(malformed("a path's representations are outside the table"));
        }
        let mut codings = entry.representations().map(|r| r.coding);
        if codings.next() != Some(Coding::Identity) {
            return Err(malformed("a path without its identity representation"));
        }
        let identity = entry.identity();
        if identity.digest != entry.identity || identity.length != entry.length {
            return Err(malformed(
                "a path's identity representation has other bytes",
            ));
        }
        let mut last = Coding::Identity;
        for coding in codings {
            if coding <= last {
                return Err(malformed("a path's codings are not ascending"));
            }
            last = coding;
        }
        Ok(())
    }
}

fn check_names<'a>(names: impl Iterator<Item = &'a [u8]>) -> Checked<()> {
    let mut last: &[u8] = &[];
    for name in names {
        let text = std::str::from_utf8(name).map_err(|_utf8| malformed("a path is not UTF-8"))?;
        path::check(text).map_err(|_path| malformed("a path breaks the rules for paths"))?;
        if name <= last {
            return Err(malformed("paths are not sorted and unique"));
        }
        last = name;
    }
    Ok(())
}

fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}
