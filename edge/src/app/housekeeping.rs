//! The disk looked after: what nothing names is removed, what is named is read again, what visitors
//! found damaged is moved aside so that the next publication makes it anew.

use super::showing::Showing;
use crate::config::StoreCare;
use crate::http::body;
use crate::receive::Receiver;
use crate::region::RegionView;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use verge_sync::Digest;
use verge_sync::clock::stopwatch;
use verge_sync::content::Repairs;
use verge_sync::id::Version;
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest};
use verge_sync::store::scrub::{Damage, ScrubConfig, Scrubber, recheck};
use verge_sync::store::{Batch, Store, StoreError};

/// The scrub reads a twentieth of the time: visitors notice nothing of it.
const SCRUB_REST_PER_WORK: u32 = 19;
/// A day in seconds.
const DAY_S: u64 = 86_400;
/// After the start, so that a node that restarts over and over does not read all sequences each
/// time.
const FIRST_COLLECTION: Duration = Duration::from_secs(60);
/// At most one collection an hour: what waits for it costs only disk.
const BETWEEN_COLLECTIONS: Duration = Duration::from_secs(3600);
/// A renewed certificate file is in use an hour later at most; nothing is written.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(3600);
/// Longer than any build takes from its first blob to its record.
const GRACE: Duration = Duration::from_secs(3600);
/// A blob that requests report over and over is looked at once a minute: enough to see that a
/// publication has mended it, too seldom to cost anything.
const BETWEEN_RECHECKS: Duration = Duration::from_secs(60);
/// Versions that one write takes from the shelf.
const NOT_WHOLE_PER_WRITE: usize = 4_096;
/// Blobs whose last look is remembered, 48 bytes each; reports of more are left to the scrub.
const RECHECKED_MAX: usize = 1024;

/// What goes on for as long as the node runs.
pub(super) fn start(
    store: &Store,
    region: &Arc<RegionView>,
    repairs: &Repairs,
    damages: mpsc::Receiver<body::Damage>,
) -> Vec<JoinHandle<()>> {
    let region = || Arc::clone(region);
    vec![
        tokio::spawn(recheck_reported(store.clone(), damages, repairs.clone())),
        tokio::spawn(collect(store.clone(), region(), repairs.clone())),
    ]
}

/// Starts to read everything again, round after round; `None` if the steward switched it off.
pub(super) fn scrub(
    store: &Store,
    care: StoreCare,
    repairs: &Repairs,
) -> Result<Option<Scrubber>, StoreError> {
    if care.scrub_days == 0 {
        return Ok(None);
    }
    let config = ScrubConfig {
        rest_per_work: SCRUB_REST_PER_WORK,
        between_rounds: Duration::from_secs(u64::from(care.scrub_days).saturating_mul(DAY_S)),
    };
    let repairs = repairs.clone();
    Scrubber::start(store.clone(), config, move |damage| tell(&damage, &repairs)).map(Some)
}

fn tell(damage: &Damage, repairs: &Repairs) {
    tracing::error!(
        blob = %damage.digest,
        moved_to = %damage.moved_to.display(),
        "a stored blob was damaged and is no longer served: it is asked for at the other nodes; if none has it, publish its site again"
    );
    repairs.ask(damage.digest);
}

/// What a peer's request finds damaged: looked at on a thread of its own, since it reads the whole.
pub(super) fn found_by_peers(store: Store, repairs: Repairs) -> impl Fn(Digest) + Send + Sync {
    move |blob| {
        let (store, repairs) = (store.clone(), repairs.clone());
        drop(tokio::task::spawn_blocking(move || {
            match recheck(&store, blob) {
                Ok(Some(damage)) => tell(&damage, &repairs),
                Ok(None) => {}
                Err(error) => tracing::error!(%blob, "look at a damaged blob: {error}"),
            }
        }));
    }
}

/// Looks again at every blob that a request could not serve, and moves it aside if it is damaged.
async fn recheck_reported(
    store: Store,
    mut reports: mpsc::Receiver<body::Damage>,
    repairs: Repairs,
) {
    let mut lately = Lately::default();
    while let Some(body::Damage::Unreadable { blob } | body::Damage::Mismatch { blob }) =
        reports.recv().await
    {
        if !lately.is_due(blob, stopwatch()) {
            continue;
        }
        let store = store.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let damage = recheck(&store, blob)?;
            Ok::<_, StoreError>((damage, store.blobs().contains(&blob)?))
        });
        match checked.await {
            Ok(Ok((Some(damage), _))) => tell(&damage, &repairs),
            Ok(Ok((None, false))) => {
                tracing::error!(%blob, "a stored blob is missing: it is asked for at the other nodes; if none has it, publish its site again");
                repairs.ask(blob);
            }
            Ok(Ok((None, true))) => {
                tracing::warn!(%blob, "a request could not read a stored blob, which is whole now");
            }
            Ok(Err(error)) => tracing::error!(%blob, "look at a damaged blob: {error}"),
            Err(error) => tracing::error!(%error, "the look at a damaged blob ended early"),
        }
    }
}

/// When each reported blob was last looked at.
#[derive(Default)]
struct Lately(BTreeMap<Digest, Instant>);

impl Lately {
    /// Whether `blob` is to be looked at, which is then noted.
    fn is_due(&mut self, blob: Digest, now: Instant) -> bool {
        self.0
            .retain(|_, at| now.saturating_duration_since(*at) < BETWEEN_RECHECKS);
        if self.0.contains_key(&blob) || self.0.len() >= RECHECKED_MAX {
            return false;
        }
        self.0.insert(blob, now);
        true
    }
}

/// Removes what no kept deploy names, after the start and whenever records have changed since.
async fn collect(store: Store, region: Arc<RegionView>, repairs: Repairs) {
    let mut revision = store.records().revision();
    tokio::time::sleep(FIRST_COLLECTION).await;
    loop {
        revision.mark_unchanged();
        let (store, region, repairs) = (store.clone(), Arc::clone(&region), repairs.clone());
        let shelved = {
            // A version comes on the shelf a moment before its deploy holds.
            let _no_write_is_under_way = region.replica().lock().await;
            Shelved::look(&store, &region)
        };
        let collected = tokio::task::spawn_blocking(move || {
            shelved.tidy(&store, &repairs)?;
            collect_once(&store, &region)
        });
        let collected = collected.await;
        match collected {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("collect what nothing names: {error}"),
            Err(error) => tracing::error!(%error, "the collection ended early"),
        }
        tokio::time::sleep(BETWEEN_COLLECTIONS).await;
        if revision.changed().await.is_err() {
            return;
        }
    }
}

/// Looks after certificates, which age while nothing else happens.
pub(super) async fn renew(showing: Arc<Showing>, region: Arc<RegionView>) {
    loop {
        tokio::time::sleep(BETWEEN_RENEWALS).await;
        showing.renew(&region.effect(), region.slot());
    }
}

/// Removes the repositories of sites that have ended, hour by hour; never ends.
pub(super) async fn sweep(receiver: &Receiver) {
    loop {
        tokio::time::sleep(BETWEEN_COLLECTIONS).await;
        if let Err(error) = receiver.sweep().await {
            tracing::error!(%error, "repositories of ended sites stay until the next sweep");
        }
    }
}

/// One collection.
fn collect_once(store: &Store, region: &RegionView) -> anyhow::Result<()> {
    let live = region.live_blobs()?;
    let collected = store.collect(&live, GRACE, stopwatch())?;
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
    fn look(store: &Store, region: &RegionView) -> Self {
        let kept = region.kept_versions();
        let shelved = store.shelf().versions().into_iter();
        let (kept, others) = shelved.partition(|version| kept.contains(version));
        Self { kept, others }
    }

    /// Takes off what is kept no longer, before its blobs go; what is missing of the rest is asked
    /// for.
    fn tidy(self, store: &Store, repairs: &Repairs) -> anyhow::Result<()> {
        for part in self.others.chunks(NOT_WHOLE_PER_WRITE) {
            let batch = Batch {
                not_whole: part.to_vec(),
                ..Batch::default()
            };
            store.records().write(batch)?.wait()?;
        }
        for version in self.kept {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_followed_once_a_minute_and_never_by_more_than_a_bounded_set() {
        let mut lately = Lately::default();
        let start = stopwatch();
        let blob = |number: usize| Digest::of(&number.to_le_bytes());
        assert!(lately.is_due(blob(0), start));
        assert!(!lately.is_due(blob(0), start));
        let later = start + BETWEEN_RECHECKS;
        assert!(lately.is_due(blob(0), later));
        for number in 1..RECHECKED_MAX {
            assert!(lately.is_due(blob(number), later), "{number}");
        }
        assert!(!lately.is_due(blob(RECHECKED_MAX), later));
        assert!(lately.is_due(blob(RECHECKED_MAX), later + BETWEEN_RECHECKS));
    }
}
