//! The disk looked after: everything is read again, and what visitors or peers found damaged is
//! moved aside and asked for at the other nodes.

use super::collection::BETWEEN_COLLECTIONS;
use super::showing::Showing;
use crate::config::StoreCare;
use crate::http::blob_file;
use crate::receive::Receiver;
use crate::region::RegionView;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use verge_sync::Digest;
use verge_sync::clock::stopwatch;
use verge_sync::content::Repairs;
use verge_sync::store::scrub::{Damage, ScrubConfig, Scrubber, recheck};
use verge_sync::store::{Store, StoreError};

/// The scrub reads a twentieth of the time: visitors notice nothing of it.
const SCRUB_REST_PER_WORK: u32 = 19;
/// A day in seconds.
const DAY_S: u64 = 86_400;
/// A renewed certificate file is in use an hour later at most; nothing is written.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(3600);
/// A blob that requests report over and over is looked at once a minute: enough to see that a
/// publication has mended it, too seldom to cost anything.
const BETWEEN_RECHECKS: Duration = Duration::from_secs(60);
/// Blobs whose last look is remembered, 48 bytes each; reports of more are left to the scrub.
const RECHECKED_MAX: usize = 1024;

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

/// What a look at another node finds damaged here.
pub(super) fn found_here(repairs: Repairs) -> impl Fn(&Damage) + Send + Sync {
    move |damage| tell(damage, &repairs)
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
pub(super) async fn recheck_reported(
    store: Store,
    mut reports: mpsc::Receiver<blob_file::Damage>,
    repairs: Repairs,
) {
    let mut lately = Lately::default();
    while let Some(blob_file::Damage::Unreadable { blob } | blob_file::Damage::Mismatch { blob }) =
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
