//! The look at a version that came from elsewhere: whether visitors may see it.

use crate::verify::OpenBlobs;
use verge_builder::{CheckError, check_version};
use verge_sync::content::Unfit;
use verge_sync::id::Version;
use verge_sync::manifest::{BlobRef, MANIFEST_BYTES_MAX, Manifest};
use verge_sync::store::Store;
use verge_sync::store::scrub::recheck;

/// Decodes every coding once, but for what `known` has too.
pub(super) fn check(
    store: &Store,
    manifest: &Manifest,
    known: Option<Version>,
) -> Result<(), Unfit> {
    let known = known.and_then(|known| read(store, known));
    let mut blobs = OpenBlobs::new(store);
    let mut open = |blob: &BlobRef, offset: u64| blobs.at(blob, offset);
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
