//! What is kept, and what goes: blobs that nothing names any more, and what a full node gives up.
//!
//! One task, after the start, once an hour when records have changed since, and at once when there is
//! no room; three times a minute while less is kept than the region keeps, since any change may have made
//! room again. What the node gives up is kept in the database, so that a start does not bring it again.

use crate::receipts::Receipts;
use crate::receive::{Histories, repositories_bytes};
use crate::region::{RegionView, replica_count_min};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::clock::stopwatch;
use verge_sync::content::{Copy, Repairs, Thrift, Used};
use verge_sync::id::{SiteId, Version};
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest};
use verge_sync::store::{Batch, MetaValue, Store, StoreError};

/// After the start, so that a node that restarts over and over does not read all sequences each
/// time.
const FIRST_COLLECTION: Duration = Duration::from_secs(60);
/// At most one collection an hour: what waits for it costs only disk.
pub(super) const BETWEEN_COLLECTIONS: Duration = Duration::from_secs(3600);
/// Longer than any build takes from its first blob to its record.
const GRACE: Duration = Duration::from_secs(3600);
/// Where there is no room, what was not pinned goes sooner: longer than it takes to work out what is
/// live.
const GRACE_WHEN_FULL: Duration = Duration::from_secs(30);
/// Room is made so often at most: a disk that others fill is not looked through all the time.
const BETWEEN_RELIEFS: Duration = Duration::from_secs(20);
/// Fewer versions, then copies that go; a third finds that it is enough.
const MEASURES_MAX: usize = 4;
/// Versions that one write takes from the shelf.
const NOT_WHOLE_PER_WRITE: usize = 4_096;
/// The `meta` key of the sites that were given up.
const META_GIVEN_UP: &str = "given_up";
/// Sites that are remembered as given up: what fits in a value. Others are brought again, and given
/// up again.
const GIVEN_UP_MAX: usize = 2_000;

/// What the task needs.
pub(super) struct Collection {
    pub(super) store: Store,
    pub(super) region: Arc<RegionView>,
    pub(super) receipts: Receipts,
    pub(super) histories: Histories,
    pub(super) repairs: Repairs,
    pub(super) thrift: Arc<Thrift>,
}

/// The limits of this node, and what it has given up before.
pub(super) fn thrift(store: &Store, bytes_max: u64) -> Result<Thrift, StoreError> {
    let given_up = match store.records().meta(META_GIVEN_UP)? {
        Some(MetaValue::Bytes(bytes)) => bytes
            .as_chunks::<32>()
            .0
            .iter()
            .map(|id| SiteId::from_bytes(*id))
            .collect(),
        _ => BTreeSet::new(),
    };
    let thrift = Thrift::new(bytes_max, given_up);
    if bytes_max > 0 {
        // Until it is weighed what is kept: all that is here.
        let held = store.blobs().list()?;
        thrift.add(held.iter().map(|blob| blob.bytes).sum());
        match repositories_bytes(store.dir()) {
            Ok(bytes) => thrift.add(bytes),
            Err(error) => tracing::warn!(%error, "what repositories take is counted later"),
        }
    }
    Ok(thrift)
}

/// Takes off the shelf what somebody has removed while the node was down: it is not shown, and comes
/// again like a version that was never here.
pub(super) async fn forget_lost(store: &Store) -> anyhow::Result<()> {
    let store = store.clone();
    let shelved = Shelved {
        kept: store.shelf().versions(),
        others: Vec::new(),
    };
    tokio::task::spawn_blocking(move || shelved.give_up(&store)).await??;
    Ok(())
}

impl Collection {
    /// Collects until the task is dropped.
    pub(super) async fn run(self) {
        let mut revision = self.store.records().revision();
        let mut grace = GRACE;
        tokio::select! {
            () = tokio::time::sleep(FIRST_COLLECTION) => {}
            () = self.thrift.pressed() => grace = GRACE_WHEN_FULL,
        }
        loop {
            revision.mark_unchanged();
            match self.once(grace).await {
                // What goes now may not be enough.
                Ok(true) => grace = GRACE_WHEN_FULL,
                Ok(false) => grace = GRACE,
                Err(error) => tracing::error!("collect what nothing names: {error:#}"),
            }
            let rest = match grace {
                GRACE if !self.thrift.is_scarce() => BETWEEN_COLLECTIONS,
                _ => BETWEEN_RELIEFS,
            };
            tokio::time::sleep(BETWEEN_RELIEFS.min(rest)).await;
            if grace != GRACE {
                continue;
            }
            let is_due = async {
                tokio::time::sleep(rest.saturating_sub(BETWEEN_RELIEFS)).await;
                revision.changed().await
            };
            tokio::select! {
                changed = is_due => if changed.is_err() { return },
                () = self.thrift.pressed() => grace = GRACE_WHEN_FULL,
            }
        }
    }

    /// One collection; says whether the node has decided to keep less, or more, than before.
    async fn once(&self, grace: Duration) -> anyhow::Result<bool> {
        let has_changed = self.weigh().await?;
        let shelved = {
            // A version comes on the shelf a moment before its deploy holds.
            let _no_write_is_under_way = self.region.replica().lock().await;
            Shelved::look(&self.store, &self.region, &self.thrift)
        };
        let (store, region) = (self.store.clone(), Arc::clone(&self.region));
        let (repairs, thrift) = (self.repairs.clone(), Arc::clone(&self.thrift));
        let collected = tokio::task::spawn_blocking(move || {
            shelved.tidy(&store, &repairs)?;
            collect_once(&store, &region, &thrift, grace)
        });
        collected.await??;
        Ok(has_changed)
    }

    /// Looks how much is kept, and decides what is kept from now on, measure by measure.
    async fn weigh(&self) -> anyhow::Result<bool> {
        let mut has_changed = false;
        let mut freed_bytes = 0;
        for _measure in 0..MEASURES_MAX {
            let mut used = self.used(freed_bytes).await?;
            let (effect, copies) = (self.region.effect(), self.copies());
            let over_bytes = self.thrift.over_bytes(used, &copies);
            if over_bytes > 0 && used.cache_bytes > 0 {
                let freed = self
                    .histories
                    .give_up_caches(over_bytes, &effect, &self.store);
                let freed = freed.await?;
                freed_bytes += freed;
                used.freed_bytes = freed_bytes;
                used.cache_bytes = used.cache_bytes.saturating_sub(freed);
            }
            let me = (self.region.keys().node(), replica_count_min(&effect));
            if !self.thrift.weigh(used, me, &copies) {
                break;
            }
            has_changed = true;
            tracing::warn!(
                kept_bytes = used.kept_bytes,
                kept_versions = self.thrift.kept_count(),
                given_up = self.thrift.given_up().len(),
                "this node keeps less of the region's sites for want of room, or more because there is some again"
            );
        }
        if has_changed {
            let given_up = self.thrift.given_up();
            let bytes = given_up.iter().take(GIVEN_UP_MAX);
            let bytes = bytes.flat_map(|site| *site.as_bytes()).collect();
            let value = MetaValue::Bytes(bytes);
            self.store.records().put_meta(META_GIVEN_UP, value)?.await?;
            self.region.replica().show_again().await;
        }
        Ok(has_changed)
    }

    /// What is here of what is kept, and the repositories; the rest goes.
    async fn used(&self, freed_bytes: u64) -> anyhow::Result<Used> {
        let (store, region) = (self.store.clone(), Arc::clone(&self.region));
        let thrift = Arc::clone(&self.thrift);
        let used = tokio::task::spawn_blocking(move || {
            let live = region.live_blobs(&thrift)?;
            let held = store.blobs().list()?.into_iter();
            let kept = held.filter(|blob| live.contains(&blob.digest));
            Ok::<u64, StoreError>(kept.map(|blob| blob.bytes).sum())
        });
        Ok(Used {
            kept_bytes: used.await??,
            cache_bytes: self.histories.cache_bytes().await?,
            freed_bytes,
        })
    }

    /// The sites of which there is a copy here, or would be.
    fn copies(&self) -> Vec<Copy> {
        let effect = self.region.effect();
        let own = self.region.slot().provider;
        let sites = effect.sites.values().filter(|site| !site.ended);
        let copies = sites.filter_map(|site| {
            let head = site.head()?.body();
            effect.serves(&own, &site.id).then(|| Copy {
                site: site.id,
                bytes: head.blobs_bytes,
                is_here: self.store.shelf().holds(&head.version),
                others: self.receipts.holders(head.version),
            })
        });
        copies.collect()
    }
}

/// One collection.
fn collect_once(
    store: &Store,
    region: &RegionView,
    thrift: &Thrift,
    grace: Duration,
) -> anyhow::Result<()> {
    let live = region.live_blobs(thrift)?;
    let collected = store.collect(&live, grace, stopwatch())?;
    if collected.removed_count > 0 {
        tracing::info!(
            blobs = collected.removed_count,
            bytes = collected.removed_bytes,
            "removed what no kept version needs"
        );
    }
    Ok(())
}

/// What is on the shelf.
struct Shelved {
    kept: Vec<Version>,
    others: Vec<Version>,
}

impl Shelved {
    fn look(store: &Store, region: &RegionView, thrift: &Thrift) -> Self {
        let kept = region.kept_versions(thrift);
        let shelved = store.shelf().versions().into_iter();
        let (kept, others) = shelved.partition(|version| kept.contains(version));
        Self { kept, others }
    }

    /// Takes off what is kept no longer, before its blobs go, and what has lost its manifest: all of
    /// it may be lost, and is brought like a version that was never here. Gives what stays.
    fn give_up(self, store: &Store) -> Result<Vec<Version>, StoreError> {
        let (mut gone, mut kept) = (self.others, Vec::new());
        for version in self.kept {
            if store.blobs().contains(&version.digest())? {
                kept.push(version);
            } else {
                tracing::error!(%version, "a version has lost its manifest: it is asked for at the other nodes");
                gone.push(version);
            }
        }
        for part in gone.chunks(NOT_WHOLE_PER_WRITE) {
            let batch = Batch {
                not_whole: part.to_vec(),
                ..Batch::default()
            };
            store.records().write(batch)?.wait()?;
        }
        Ok(kept)
    }

    /// The same; what is missing of the rest is asked for.
    fn tidy(self, store: &Store, repairs: &Repairs) -> anyhow::Result<()> {
        for version in self.give_up(store)? {
            for blob in missing(store, version)? {
                tracing::error!(%blob, %version, "a stored blob is missing: it is asked for at the other nodes");
                repairs.ask(blob);
            }
        }
        Ok(())
    }
}

/// What is not here of a version that was here whole.
fn missing(store: &Store, version: Version) -> Result<Vec<Digest>, StoreError> {
    let blobs = store.blobs();
    let manifest = blobs.read_verified(&version.digest(), MANIFEST_BYTES_MAX);
    let Some(manifest) = manifest.ok().flatten() else {
        return Ok(vec![version.digest()]);
    };
    let manifest = Manifest::decode(manifest).ok();
    let named = manifest.iter().flat_map(Manifest::blobs);
    let mut missing = Vec::new();
    for blob in named {
        if blobs.bytes(&blob.digest)? != Some(blob.bytes) {
            missing.push(blob.digest);
        }
    }
    Ok(missing)
}
