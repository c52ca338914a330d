//! Which version every host shows, and what of those versions is kept in memory.
//!
//! Owns a snapshot (host -> version) that is swapped whole, so that a request sees one version from
//! its first byte to its last, and two caches with byte budgets: manifests and small bodies.
//! Nothing is loaded before it is asked for: a site that nobody visits costs its row in the
//! snapshot, about 200 bytes.
//! All reading happens on blocking threads; nothing here is worth keeping over a crash.

use crate::host::Host;
use crate::http::blob_file::{BlobReader, Place, ReadError};
use crate::http::fields::SiteFields;
use crate::http::page::{Page, PageKey};
use crate::http::redirects::RedirectIndex;
use arc_swap::ArcSwap;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use verge_builder::HashedNames;
use verge_builder::rules::{HeaderRules, Redirects, Rules};
use verge_sync::clock::UnixTime;
use verge_sync::manifest::{Entry, Manifest, ManifestError};
use verge_sync::{Digest, SiteId, Version};

/// A representation of at most so many bytes is read whole, checked and cached.
pub const CACHED_BODY_BYTES_MAX: u64 = 256 << 10;
/// A body, and a page of three forms, as most sites have them.
const BODY_BYTES: u64 = 8 << 10;
const PAGE_BYTES: u64 = 8 << 10;
/// What an entry costs beside its bytes: key, pointers and the cache's own lists.
const ENTRY_BYTES: usize = 200;

/// What a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteAt {
    /// Whose it is: what is counted goes to this site.
    pub site: SiteId,
    /// The version of its head.
    pub version: Version,
    /// Whether anybody may take the whole site out.
    pub takeout_public: bool,
    /// Versions before it whose hashed assets it does not carry on; nearly always none.
    pub left: Option<Arc<[LeftVersion]>>,
}

/// A version that was in place lately, of which visitors' open pages may still ask for assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftVersion {
    /// The version.
    pub version: Version,
    /// How long its assets stay reachable, by the clock of who serves.
    pub until: UnixTime,
}

/// How many bytes the caches may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBudget {
    /// For manifests. A manifest larger than this is read again for every request, so it should
    /// be at least 16 MiB.
    pub manifest_bytes_max: u64,
    /// For bodies of at most [`CACHED_BODY_BYTES_MAX`].
    pub body_bytes_max: u64,
    /// For what is said of files that are visited.
    pub page_bytes_max: u64,
}

impl Default for CacheBudget {
    /// Half of what an idle node may use, reached only by sites that are visited.
    fn default() -> Self {
        Self {
            manifest_bytes_max: 16 << 20,
            body_bytes_max: 16 << 20,
            page_bytes_max: 4 << 20,
        }
    }
}

/// Why a version cannot be served; every one is a 503, and damage has been reported.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The bytes cannot be had.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They are no manifest.
    #[error("manifest of version {version}")]
    Manifest {
        /// The version that the host shows.
        version: Version,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The thread that read them died: an error of ours.
    #[error("the reading thread ended early")]
    Thread,
    /// Too many answers are on their way to visitors.
    #[error("no memory for one more answer")]
    NoRoom,
}

/// A manifest with its sections read.
pub struct SiteManifest {
    manifest: Manifest,
    hashed_names: HashedNames,
    redirects: RedirectIndex,
    fields: SiteFields,
}

impl SiteManifest {
    /// Checks `bytes` and reads the sections that serving needs.
    ///
    /// # Errors
    /// As [`Manifest::decode`].
    pub fn decode(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        let manifest = Manifest::decode(bytes)?;
        // A section that does not read proves nothing.
        let section = manifest.content_section(HashedNames::TAG);
        let hashed_names = section.and_then(HashedNames::decode).unwrap_or_default();
        let rules = Rules::of(&manifest).unwrap_or_else(|| {
            tracing::warn!(version = %manifest.version(), "damaged rules, served without them");
            Rules::default()
        });
        Ok(Self {
            manifest,
            hashed_names,
            redirects: RedirectIndex::new(rules.redirects),
            fields: SiteFields::new(rules.headers),
        })
    }

    /// The site's `_redirects`.
    pub(crate) fn redirects(&self) -> &RedirectIndex {
        &self.redirects
    }

    /// The site's `_headers`.
    pub(crate) fn fields(&self) -> &SiteFields {
        &self.fields
    }

    /// What it costs in memory, about: rules take ten times the room of their bytes.
    fn weight(&self) -> usize {
        let section = |tag| self.manifest.content_section(tag).map_or(0, <[u8]>::len);
        let rules = section(Redirects::TAG).saturating_add(section(HeaderRules::TAG));
        let bytes = self.manifest.bytes().len();
        bytes.saturating_add(rules.saturating_mul(10))
    }

    /// The table of paths.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the builder proved that this name will never show other bytes. What is only carried
    /// from an earlier version was carried because its name is proven.
    #[must_use]
    pub fn is_immutable(&self, entry: &Entry<'_>) -> bool {
        entry.path_index().is_none_or(|index| {
            u32::try_from(index).is_ok_and(|position| self.hashed_names.contains(position))
        })
    }
}

/// Host -> version, for everybody who serves; replaced by whoever watches the records.
pub struct Sites {
    snapshot: ArcSwap<Snapshot>,
    blobs: BlobReader,
    manifests: Cache<Version, Arc<SiteManifest>, Weight>,
    bodies: Cache<Digest, Bytes, Weight>,
    pages: Cache<PageKey, Arc<Page>, Weight>,
}

#[derive(Default)]
struct Snapshot {
    hosts: HashMap<Host, SiteAt>,
    /// Of sites that are to be here and of which no version is.
    awaited: HashSet<Host>,
    any: Option<SiteAt>,
}

impl Sites {
    /// No host yet; versions are read from `blobs`.
    #[must_use]
    pub fn new(blobs: BlobReader, budget: CacheBudget) -> Self {
        Self {
            snapshot: ArcSwap::default(),
            blobs,
            // One of them may be as large as all of it.
            manifests: cache(budget.manifest_bytes_max, budget.manifest_bytes_max),
            bodies: cache(budget.body_bytes_max, BODY_BYTES),
            pages: cache(budget.page_bytes_max, PAGE_BYTES),
        }
    }

    /// Shows `hosts` and nothing else, from the next request on.
    pub fn replace(&self, hosts: HashMap<Host, SiteAt>) {
        self.replace_all(hosts, HashSet::new());
    }

    /// The same, and says that sites are on their way to this node.
    pub fn replace_all(&self, hosts: HashMap<Host, SiteAt>, awaited: HashSet<Host>) {
        self.snapshot.store(Arc::new(Snapshot {
            hosts,
            awaited,
            any: None,
        }));
    }

    /// Whether `host` is a site's that this node is to show and has not yet.
    #[must_use]
    pub fn is_awaited(&self, host: &Host) -> bool {
        self.snapshot.load().awaited.contains(host)
    }

    /// Shows `site` under every host: `verge preview`.
    pub fn replace_any(&self, site: SiteAt) {
        self.snapshot.store(Arc::new(Snapshot {
            any: Some(site),
            ..Snapshot::default()
        }));
    }

    /// What `host` shows now.
    #[must_use]
    pub fn find(&self, host: &Host) -> Option<SiteAt> {
        let snapshot = self.snapshot.load();
        snapshot.hosts.get(host).or(snapshot.any.as_ref()).cloned()
    }

    /// Whether every host is answered, known or not.
    #[must_use]
    pub fn is_any_host(&self) -> bool {
        self.snapshot.load().any.is_some()
    }

    /// Where the bytes are.
    #[must_use]
    pub fn blobs(&self) -> &BlobReader {
        &self.blobs
    }

    /// The manifest of `version`, from memory or checked against its digest. Requests that come
    /// while it is read wait for that one reading.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn manifest(
        self: &Arc<Self>,
        version: Version,
    ) -> Result<Arc<SiteManifest>, LoadError> {
        if let Some(manifest) = self.manifests.get(&version) {
            return Ok(manifest);
        }
        let sites = Arc::clone(self);
        off_thread(move || {
            let load = || sites.load_manifest(version).map(Arc::new);
            sites.manifests.get_or_insert_with(&version, load)
        })
        .await
    }

    /// Makes sure that a representation too large for memory is whole before a part of it is sent.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(crate) async fn check_large(&self, place: Place, digest: Digest) -> Result<(), LoadError> {
        if self.blobs.is_known_whole(&place, &digest) {
            return Ok(());
        }
        let blobs = self.blobs.clone();
        off_thread(move || Ok(blobs.check(&place, &digest)?)).await
    }

    /// A representation of at most [`CACHED_BODY_BYTES_MAX`] bytes, from memory or checked against
    /// its digest.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(crate) async fn body(
        self: &Arc<Self>,
        place: Place,
        digest: Digest,
    ) -> Result<Bytes, LoadError> {
        if let Some(body) = self.bodies.get(&digest) {
            return Ok(body);
        }
        let sites = Arc::clone(self);
        off_thread(move || {
            let load = || Ok(sites.blobs.read_checked(&place, &digest)?);
            sites.bodies.get_or_insert_with(&digest, load)
        })
        .await
    }

    /// What is said of files that were visited.
    pub(crate) fn pages(&self) -> &Cache<PageKey, Arc<Page>, Weight> {
        &self.pages
    }

    fn load_manifest(&self, version: Version) -> Result<SiteManifest, LoadError> {
        let bytes = self.blobs.read_manifest(version)?;
        SiteManifest::decode(bytes).map_err(|source| LoadError::Manifest { version, source })
    }
}

/// Of what is cached: its bytes and what an entry costs beside them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight;

impl Weighter<Version, Arc<SiteManifest>> for Weight {
    fn weight(&self, _version: &Version, manifest: &Arc<SiteManifest>) -> u64 {
        with_entry(manifest.weight())
    }
}

impl Weighter<Digest, Bytes> for Weight {
    fn weight(&self, _digest: &Digest, body: &Bytes) -> u64 {
        with_entry(body.len())
    }
}

impl Weighter<PageKey, Arc<Page>> for Weight {
    fn weight(&self, key: &PageKey, page: &Arc<Page>) -> u64 {
        with_entry(page.bytes().saturating_add(key.bytes()))
    }
}

fn with_entry(bytes: usize) -> u64 {
    u64::try_from(bytes.saturating_add(ENTRY_BYTES)).unwrap_or(u64::MAX)
}

/// A cache of so many bytes, for entries of about that many. It is divided among threads once there is
/// room for hundreds, and keeps nothing that is larger than a part.
fn cache<K: Eq + Hash, V: Clone>(bytes_max: u64, entry_bytes: u64) -> Cache<K, V, Weight>
where
    Weight: Weighter<K, V>,
{
    let count = (bytes_max / entry_bytes).max(1);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Cache::with_weighter(count, bytes_max, Weight)
}

/// Runs `read` on a blocking thread of this runtime; at most one per request waits there.
async fn off_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or(Err(LoadError::Thread))
}
