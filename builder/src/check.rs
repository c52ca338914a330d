//! Whether a version is what its manifest says: the bytes of every representation, and what every
//! coding decodes to.
//!
//! The builder checks what it makes; this checks what came from elsewhere, or lay on a disk. Pure
//! but for the reading, which comes in as a parameter. Whoever wrote the manifest may wish us ill:
//! a representation is read and decoded in pieces, decoding ends at the length that the manifest
//! gives its path, and a manifest that asks for far more reading than its blobs have bytes is
//! refused before any of it.

use crate::compress;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Read};
use verge_sync::digest::{Digest, Digester};
use verge_sync::manifest::{BlobRef, Coding, Entry, Manifest, Representation};

/// What is read and decoded may be so many times the bytes of all blobs together. 8: each byte of a
/// blob is read for at most four codings, and decoded to for three; no version that a builder makes
/// comes above that, and a table that names the same bytes again and again does.
const WORK_FACTOR_MAX: u64 = 8;

/// Opens a blob to be read from an offset; the reader may go on beyond what is needed.
pub type OpenBlob<'a> = dyn FnMut(&BlobRef, u64) -> io::Result<Box<dyn Read>> + 'a;

/// What a check went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Representations that were read, and decoded.
    pub checked_count: u64,
    /// Their bytes, as stored.
    pub checked_bytes: u64,
    /// Representations that the known version has.
    pub known_count: u64,
}

/// A version that must not be served.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A blob is not there, or the disk does not give its bytes: nothing is said of the version.
    #[error("read the {} form of {path} in blob {blob}", coding.name())]
    Unreadable {
        /// The first path that has it.
        path: String,
        /// Which form of it.
        coding: Coding,
        /// The blob.
        blob: Digest,
        /// What the reader said.
        source: io::Error,
    },
    /// The bytes at the place are not those of the digests.
    #[error(
        "the {} form of {path} has other bytes than the manifest says (blob {blob} from byte {offset})",
        coding.name()
    )]
    OtherBytes {
        /// The first path that has it.
        path: String,
        /// Which form of it.
        coding: Coding,
        /// The blob.
        blob: Digest,
        /// Where in the blob it begins.
        offset: u64,
    },
    /// The bytes are the right ones, and decode to something else than the path's, or to nothing.
    #[error("the {} form of {path} {what}", coding.name())]
    OtherContent {
        /// The first path that has it.
        path: String,
        /// Which form of it.
        coding: Coding,
        /// What it does instead.
        what: String,
    },
    /// A digest of no bytes that is not the digest of no bytes.
    #[error("the {} form of {path} is empty and has another digest", coding.name())]
    EmptyDigest {
        /// The first path that has it.
        path: String,
        /// Which form of it.
        coding: Coding,
    },
    /// The manifest names the same bytes again and again.
    #[error(
        "the manifest asks for {work_bytes} bytes to be read and decoded, and its blobs have {blob_bytes}: no builder makes such a version"
    )]
    TooMuchWork {
        /// What it asks for.
        work_bytes: u64,
        /// What there is.
        blob_bytes: u64,
    },
}

/// Reads every representation of a version, carried ones too, compares it with its digests, decodes
/// it once and compares that with the path's content. What `known`, a version that was checked
/// before, has of the same bytes at the same place for the same content is not read again.
///
/// The lists of blobs, and whether each blob is its digest's, are for the caller to check; so are
/// sections.
///
/// # Errors
/// The first [`CheckError`], in the order of paths.
pub fn check_version(
    manifest: &Manifest,
    known: Option<&Manifest>,
    open: &mut OpenBlob<'_>,
) -> Result<Checked, CheckError> {
    let known: BTreeSet<Digest> = known.map_or_else(BTreeSet::new, |known| {
        forms(known).map(|form| form.identity()).collect()
    });
    check_work(manifest)?;
    let mut checked = Checked::default();
    let mut seen = BTreeSet::new();
    for form in forms(manifest) {
        let identity = form.identity();
        if !seen.insert(identity) {
            continue;
        }
        if known.contains(&identity) {
            checked.known_count += 1;
            continue;
        }
        form.check(open)?;
        checked.checked_count += 1;
        checked.checked_bytes = checked.checked_bytes.saturating_add(form.stored.length);
    }
    Ok(checked)
}

/// One representation for the content of one path.
struct Form<'a> {
    entry: Entry<'a>,
    stored: Representation,
    blob: Option<BlobRef>,
}

fn forms(manifest: &Manifest) -> impl Iterator<Item = Form<'_>> {
    let entries = manifest.paths().chain(manifest.carried());
    entries.flat_map(move |entry| {
        let stored = entry.representations();
        stored.map(move |stored| Form {
            entry: entry.clone(),
            stored,
            blob: stored
                .location
                .and_then(|place| manifest.blob(place.blob_index)),
        })
    })
}

/// From lengths alone, before anything is read.
fn check_work(manifest: &Manifest) -> Result<(), CheckError> {
    let blob_bytes = manifest
        .blobs()
        .fold(0_u64, |sum, blob| sum.saturating_add(blob.bytes));
    let mut seen = BTreeSet::new();
    let work_bytes = forms(manifest)
        .filter(|form| seen.insert(form.identity()))
        .fold(0_u64, |sum, form| sum.saturating_add(form.work_bytes()));
    if work_bytes > blob_bytes.saturating_mul(WORK_FACTOR_MAX) {
        return Err(CheckError::TooMuchWork {
            work_bytes,
            blob_bytes,
        });
    }
    Ok(())
}

impl Form<'_> {
    /// The same for two forms whose check comes to the same.
    fn identity(&self) -> Digest {
        let place = self.stored.location;
        let blob = self.blob.map(|blob| (blob.digest, blob.bytes));
        let (blob, blob_bytes) = blob.unwrap_or((Digest::of(&[]), 0));
        let mut digester = Digester::new();
        digester.update(self.stored.coding.name().as_bytes());
        digester.update(&[0]);
        for digest in [self.stored.digest, self.entry.identity_digest(), blob] {
            digester.update(digest.as_bytes());
        }
        digester.update(&self.stored.sha256);
        let offset = place.map_or(0, |place| place.offset);
        for number in [self.stored.length, self.entry.length(), blob_bytes, offset] {
            digester.update(&number.to_le_bytes());
        }
        digester.digest()
    }

    fn work_bytes(&self) -> u64 {
        match self.stored.coding {
            Coding::Identity => self.stored.length,
            _ => self.stored.length.saturating_add(self.entry.length()),
        }
    }

    fn check(&self, open: &mut OpenBlob<'_>) -> Result<(), CheckError> {
        let (Some(blob), Some(place)) = (self.blob, self.stored.location) else {
            return self.check_empty();
        };
        let from = open(&blob, place.offset);
        let from = from.map_err(|source| self.unreadable(blob.digest, source))?;
        let mut from = Measured::new(from, self.stored.length);
        let decoded = self.decode(&mut from);
        // Bytes that are wrong decode to anything: first whether they are right.
        match from.finish() {
            Err(source) => Err(self.unreadable(blob.digest, source)),
            Ok(found) if found != (self.stored.digest, self.stored.sha256) => {
                Err(CheckError::OtherBytes {
                    path: self.path(),
                    coding: self.stored.coding,
                    blob: blob.digest,
                    offset: place.offset,
                })
            }
            Ok(_) => decoded.map_err(|what| CheckError::OtherContent {
                path: self.path(),
                coding: self.stored.coding,
                what,
            }),
        }
    }

    /// A form of no bytes can only be that of an empty file: no coding makes nothing of something.
    fn check_empty(&self) -> Result<(), CheckError> {
        let nothing = (Digest::of(&[]), <[u8; 32]>::from(Sha256::digest([])));
        if (self.stored.digest, self.stored.sha256) != nothing {
            return Err(CheckError::EmptyDigest {
                path: self.path(),
                coding: self.stored.coding,
            });
        }
        if self.stored.coding != Coding::Identity {
            return Err(CheckError::OtherContent {
                path: self.path(),
                coding: self.stored.coding,
                what: "has no bytes".to_owned(),
            });
        }
        Ok(())
    }

    /// Decodes, no further than the content is long, and says what is wrong.
    fn decode(&self, from: &mut Measured) -> Result<(), String> {
        if self.stored.coding == Coding::Identity {
            // The table says that its digest and length are the path's.
            return Ok(());
        }
        let mut digester = Digester::new();
        let mut left = self.entry.length();
        let decoded = compress::decode(self.stored.coding, from, &mut |piece| {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            let rest = left.checked_sub(length);
            left =
                rest.ok_or_else(|| io::Error::other("it goes on beyond the length of the file"))?;
            digester.update(piece);
            Ok(())
        });
        match decoded {
            Err(error) => Err(format!("does not decode: {error}")),
            Ok(()) if left > 0 => Err("decodes to fewer bytes than the file has".to_owned()),
            Ok(()) if digester.digest() != self.entry.identity_digest() => {
                Err("decodes to other bytes than the file has".to_owned())
            }
            Ok(()) => Ok(()),
        }
    }

    fn path(&self) -> String {
        self.entry.path().to_owned()
    }

    fn unreadable(&self, blob: Digest, source: io::Error) -> CheckError {
        CheckError::Unreadable {
            path: self.path(),
            coding: self.stored.coding,
            blob,
            source,
        }
    }
}

/// The bytes of a representation on their way to a decoder, hashed in passing.
struct Measured {
    from: io::Take<Box<dyn Read>>,
    digest: Digester,
    sha256: Sha256,
    error: Option<io::Error>,
}

impl Measured {
    fn new(from: Box<dyn Read>, length: u64) -> Self {
        Self {
            from: from.take(length),
            digest: Digester::new(),
            sha256: Sha256::new(),
            error: None,
        }
    }

    /// Reads what the decoder left, and gives the digests of all.
    fn finish(mut self) -> io::Result<(Digest, [u8; 32])> {
        if self.error.is_none() {
            // Its own error, if any, is kept where it arises.
            let _passed = compress::decode(Coding::Identity, &mut self, &mut |_piece| Ok(()));
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.from.limit() > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((self.digest.digest(), self.sha256.finalize().into()))
    }
}

impl Read for Measured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.from.read(buffer) {
            Ok(count) => {
                let read = buffer.get(..count).unwrap_or_default();
                self.digest.update(read);
                self.sha256.update(read);
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                self.error = Some(error);
                Err(kind.into())
            }
        }
    }
}
