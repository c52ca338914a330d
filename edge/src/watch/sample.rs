//! A file of a version that is here, or a piece of one, chosen by chance: what another node is asked
//! for, and what it has to answer.

use super::chance::Chance;
use crate::http::address;
use crate::sites::SiteManifest;
use verge_sync::Digest;
use verge_sync::id::Version;
use verge_sync::manifest::{Coding, Entry, MANIFEST_BYTES_MAX, Manifest};
use verge_sync::net::PIECE_BYTES_MAX;
use verge_sync::store::Store;

/// Bytes of an answer that are read; of a larger file a part is asked for.
pub(super) const BYTES_MAX: u64 = 1 << 20;
/// Such a part.
const PART_BYTES: u64 = 256 << 10;
/// Files that are tried: a site may show hardly any of its files at addresses of their own.
const TRIES: usize = 16;

/// A file that a visitor can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// The path to ask for.
    pub(super) url: String,
    /// Its name in the version.
    pub(super) path: String,
    pub(super) want: Want,
}

/// What of the file is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// All of it, in one of these codings.
    Whole(Vec<Offer>),
    /// A run of its own bytes.
    Part {
        from: u64,
        bytes: u64,
        /// What these bytes are here.
        digest: Digest,
        /// Where they were read.
        blob: Digest,
    },
}

/// A coding of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) coding: Coding,
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// A run of a blob, with the bytes that are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) blob: Digest,
    pub(super) offset: u64,
    pub(super) held: Vec<u8>,
}

/// A file of `version` by chance; none if nothing of it can be had by a visitor, or read here.
pub(super) fn file(store: &Store, version: &Version, chance: &mut Chance) -> Option<File> {
    let site = SiteManifest::decode(manifest_bytes(store, version)?).ok()?;
    let manifest = site.manifest();
    for _ in 0..TRIES {
        let entry = entry(manifest, chance)?;
        let Some(url) = address(manifest, site.redirects(), entry.path()) else {
            continue;
        };
        let want = if entry.length() <= BYTES_MAX {
            Some(Want::Whole(offers(&entry)))
        } else {
            part(store, manifest, &entry, chance)
        };
        let path = entry.path().to_owned();
        return want.map(|want| File { url, path, want });
    }
    None
}

/// The codings in which `version` has the file that it shows at `url`, if that is `path`.
pub(super) fn offers_at(store: &Store, version: &Version, at: (&str, &str)) -> Option<Vec<Offer>> {
    let (url, path) = at;
    let site = SiteManifest::decode(manifest_bytes(store, version)?).ok()?;
    let manifest = site.manifest();
    let entry = manifest.find(path)?;
    let shown = address(manifest, site.redirects(), path)?;
    (shown == url).then(|| offers(&entry))
}

/// A piece of a file of `version` by chance.
pub(super) fn run(store: &Store, version: &Version, chance: &mut Chance) -> Option<Run> {
    let manifest = Manifest::decode(manifest_bytes(store, version)?).ok()?;
    for _ in 0..TRIES {
        let entry = entry(&manifest, chance)?;
        let codings: Vec<_> = entry.representations().collect();
        let chosen = chance.pick(&codings)?;
        let Some(place) = chosen.location else {
            continue;
        };
        let blob = manifest.blob(place.blob_index)?.digest;
        let bytes = chosen.length.min(u64::from(PIECE_BYTES_MAX));
        let from = chance.below(chosen.length.saturating_sub(bytes).saturating_add(1));
        let offset = place.offset.saturating_add(from);
        let held = read(store, &blob, (offset, bytes))?;
        return Some(Run { blob, offset, held });
    }
    None
}

fn manifest_bytes(store: &Store, version: &Version) -> Option<Vec<u8>> {
    let read = store
        .blobs()
        .read_verified(&version.digest(), MANIFEST_BYTES_MAX);
    read.ok().flatten()
}

fn entry<'m>(manifest: &'m Manifest, chance: &mut Chance) -> Option<Entry<'m>> {
    let mut entries = manifest.paths();
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    entries.nth(usize::try_from(chance.below(count)).ok()?)
}

fn offers(entry: &Entry<'_>) -> Vec<Offer> {
    let codings = entry.representations();
    codings
        .map(|of| Offer {
            coding: of.coding,
            digest: of.digest,
            bytes: of.length,
        })
        .collect()
}

fn part(
    store: &Store,
    manifest: &Manifest,
    entry: &Entry<'_>,
    chance: &mut Chance,
) -> Option<Want> {
    let identity = entry.identity();
    let place = identity.location?;
    let blob = manifest.blob(place.blob_index)?.digest;
    let from = chance.below(identity.length.saturating_sub(PART_BYTES));
    let held = read(
        store,
        &blob,
        (place.offset.saturating_add(from), PART_BYTES),
    )?;
    Some(Want::Part {
        from,
        bytes: PART_BYTES,
        digest: Digest::of(&held),
        blob,
    })
}

fn read(store: &Store, blob: &Digest, (offset, bytes): (u64, u64)) -> Option<Vec<u8>> {
    let file = store.blobs().open(blob).ok().flatten()?;
    file.read_at(offset, usize::try_from(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sample;
    use std::sync::Arc;
    use verge_sync::store::LocalDisk;

    const PATHS: [&str; 4] = ["index.html", "docs/index.html", "x.html.html", "y.css"];

    /// A store with a version whose files have their own names as bytes.
    fn stored() -> (tempfile::TempDir, Store, Version) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(LocalDisk)).unwrap();
        let manifest = sample::manifest_of(&PATHS);
        for path in PATHS {
            store.blobs().put(path.as_bytes()).unwrap();
        }
        store.blobs().put(manifest.bytes()).unwrap();
        (folder, store, manifest.version())
    }

    #[test]
    fn files_are_drawn_as_a_visitor_finds_them() {
        let (_folder, store, version) = stored();
        let mut chance = Chance::new([1; 32]);
        let mut found = std::collections::BTreeMap::new();
        for _ in 0..100 {
            let file = file(&store, &version, &mut chance).unwrap();
            let Want::Whole(offers) = &file.want else {
                panic!("{file:?}")
            };
            assert_eq!(offers[0].digest, Digest::of(file.path.as_bytes()));
            let again = offers_at(&store, &version, (&file.url, &file.path));
            assert_eq!(again.as_ref(), Some(offers));
            found.insert(file.path, file.url);
        }
        let urls: Vec<&str> = found.values().map(String::as_str).collect();
        assert_eq!(urls, ["/docs/", "/", "/x.html", "/y.css"]);
        assert_eq!(offers_at(&store, &version, ("/elsewhere", "y.css")), None);
        assert_eq!(offers_at(&store, &version, ("/z.css", "z.css")), None);
    }

    #[test]
    fn pieces_are_of_what_is_here() {
        let (_folder, store, version) = stored();
        let mut chance = Chance::new([1; 32]);
        for _ in 0..20 {
            let run = run(&store, &version, &mut chance).unwrap();
            assert_eq!(Digest::of(&run.held), run.blob);
        }
        let unknown = Version::from_bytes([9; 32]);
        assert_eq!(run(&store, &unknown, &mut chance), None);
        assert_eq!(file(&store, &unknown, &mut chance), None);
    }
}
