//! The version before: what of it can be used again, and where its bytes lie.

use crate::compress::RECIPE;
use crate::error::BuildError;
use crate::hashed_names::HashedNames;
use crate::media_type::{Compressible, compressible_type};
use crate::staging::length_of;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use verge_sync::digest::Digest;
use verge_sync::manifest::{BlobRef, Entry, Location, Manifest, Representation};

/// The version before and what its blobs still hold.
pub(crate) struct Previous {
    pub(crate) manifest: Manifest,
    pub(crate) hashed: HashedNames,
    blobs: PathBuf,
    /// Blobs that are not there in their full length, or were found damaged.
    lost: BTreeSet<u32>,
    representations: BTreeMap<Digest, Vec<Representation>>,
    /// How much their names said for compressing each content.
    tried: BTreeMap<Digest, Compressible>,
}

impl Previous {
    /// Opens the manifest file of the version before.
    pub(crate) fn open(manifest: &Path, blobs: &Path) -> Result<Self, BuildError> {
        let bytes = std::fs::read(manifest).map_err(BuildError::disk("read", manifest))?;
        let manifest = Manifest::decode(bytes).map_err(|error| {
            BuildError::Store(format!("manifest {}: {error}", manifest.display()))
        })?;
        let hashed = manifest.content_section(HashedNames::TAG);
        let hashed = hashed.and_then(HashedNames::decode).unwrap_or_default();
        let mut previous = Self {
            manifest,
            hashed,
            blobs: blobs.to_owned(),
            lost: BTreeSet::new(),
            representations: BTreeMap::new(),
            tried: BTreeMap::new(),
        };
        previous.lost = (0_u32..)
            .zip(previous.manifest.blobs())
            .filter_map(|(index, blob)| (!is_stored(blobs, &blob)).then_some(index))
            .collect();
        previous.take_stock();
        Ok(previous)
    }

    /// Whether every blob of the version is there in its full length. Lengths only: bytes are
    /// compared where they are read, by visitors' requests and the scrub.
    pub(crate) fn is_whole(&self) -> bool {
        let sequence = self.manifest.sequence();
        let sequence = BlobRef {
            digest: Digest::of(&sequence),
            bytes: length_of(&sequence),
        };
        self.lost.is_empty() && is_stored(&self.blobs, &sequence)
    }

    /// Uses nothing of a blob any more.
    pub(crate) fn forget(&mut self, blob_index: u32) {
        self.lost.insert(blob_index);
        self.take_stock();
    }

    /// The representations of a content, if they can stand in for making them anew.
    pub(crate) fn reusable(
        &self,
        identity: &Digest,
        compressible: Compressible,
    ) -> Option<&[Representation]> {
        let is_enough = self
            .tried
            .get(identity)
            .is_some_and(|tried| *tried >= compressible);
        let is_current = self.manifest.recipe() == RECIPE && is_enough;
        is_current.then(|| self.representations(identity)).flatten()
    }

    /// The representations of a content whose every blob is there.
    pub(crate) fn representations(&self, identity: &Digest) -> Option<&[Representation]> {
        self.representations.get(identity).map(Vec::as_slice)
    }

    /// Reads the bytes of a representation out of its pack and checks them.
    pub(crate) fn read(&self, representation: &Representation) -> Result<Vec<u8>, BuildError> {
        let Some((blob, place)) = self.place(representation) else {
            return Ok(Vec::new());
        };
        let path = self.blobs.join(blob.digest.to_string());
        let mut bytes = Vec::new();
        let mut file = File::open(&path).map_err(BuildError::disk("open", &path))?;
        file.seek(SeekFrom::Start(place.offset))
            .map_err(BuildError::disk("read", &path))?;
        file.take(representation.length)
            .read_to_end(&mut bytes)
            .map_err(BuildError::disk("read", &path))?;
        if Digest::of(&bytes) == representation.digest {
            Ok(bytes)
        } else {
            Err(BuildError::Store(format!("blob {}", blob.digest)))
        }
    }

    fn place(&self, representation: &Representation) -> Option<(BlobRef, Location)> {
        let place = representation.location?;
        Some((self.manifest.blob(place.blob_index)?, place))
    }

    /// Notes every content whose blobs are not lost; the others are made anew.
    fn take_stock(&mut self) {
        self.representations.clear();
        self.tried.clear();
        let is_usable = |representation: &Representation| {
            let place = representation.location;
            place.is_none_or(|place| !self.lost.contains(&place.blob_index))
        };
        for entry in self.manifest.paths().chain(self.manifest.carried()) {
            note(
                &entry,
                &is_usable,
                &mut self.representations,
                &mut self.tried,
            );
        }
    }
}

fn note(
    entry: &Entry<'_>,
    is_usable: &dyn Fn(&Representation) -> bool,
    representations: &mut BTreeMap<Digest, Vec<Representation>>,
    tried: &mut BTreeMap<Digest, Compressible>,
) {
    let list: Vec<Representation> = entry.representations().collect();
    if list.iter().all(is_usable) {
        representations.insert(entry.identity_digest(), list);
    }
    let compressible = compressible_type(entry.media_type());
    let most = tried.entry(entry.identity_digest()).or_insert(compressible);
    *most = compressible.max(*most);
}

fn is_stored(blobs: &Path, blob: &BlobRef) -> bool {
    std::fs::metadata(blobs.join(blob.digest.to_string())).is_ok_and(|m| m.len() == blob.bytes)
}
