//! The look at a version that came from elsewhere: whether visitors may see it.

use std::io::{self, BufReader, Read};
use verge_builder::{CheckError, check_version};
use verge_sync::Digest;
use verge_sync::content::Unfit;
use verge_sync::id::Version;
use verge_sync::manifest::{BlobRef, MANIFEST_BYTES_MAX, Manifest};
use verge_sync::store::scrub::recheck;
use verge_sync::store::{BlobFile, Store, StoreError};

/// Decodes every coding once, but for what `known` has too.
pub(super) fn check(
    store: &Store,
    manifest: &Manifest,
    known: Option<Version>,
) -> Result<(), Unfit> {
    let known = known.and_then(|known| read(store, known));
    let mut open = |blob: &BlobRef, offset: u64| open(store, blob.digest, offset);
    match check_version(manifest, known.as_ref(), &mut open) {
        Ok(checked) => {
            tracing::debug!(?checked, version = %manifest.version().short(), "checked");
            Ok(())
        }
        Err(
            error @ (CheckError::Unreadable { blob, .. } | CheckError::OtherBytes { blob, .. }),
        ) => match recheck(store, blob)? {
            Some(_damage) => Err(Unfit::Damaged(blob)),
            None if store.blobs().contains(&blob)? => Err(Unfit::Wrong(error.to_string())),
            None => Err(Unfit::Damaged(blob)),
        },
        Err(error) => Err(Unfit::Wrong(error.to_string())),
    }
}

/// A manifest that is damaged says nothing of what was checked.
fn read(store: &Store, version: Version) -> Option<Manifest> {
    let bytes = store
        .blobs()
        .read_verified(&version.digest(), MANIFEST_BYTES_MAX);
    Manifest::decode(bytes.ok()??).ok()
}

fn open(store: &Store, blob: Digest, offset: u64) -> io::Result<Box<dyn Read>> {
    let file = store.blobs().open(&blob).map_err(io::Error::other)?;
    let file = file.ok_or(io::ErrorKind::NotFound)?;
    Ok(Box::new(BufReader::with_capacity(
        64 << 10,
        From { file, at: offset },
    )))
}

/// A blob read from a place to its end.
struct From {
    file: BlobFile,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.bytes().saturating_sub(self.at);
        let len = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(part) = buffer.get_mut(..len).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let read = self.file.read_into(self.at, part);
        read.map_err(|error: StoreError| io::Error::other(error))?;
        self.at = self.at.saturating_add(u64::try_from(len).unwrap_or(0));
        Ok(len)
    }
}
