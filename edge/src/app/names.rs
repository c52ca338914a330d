//! What the node does for names of its own accord: it countersigns claims.
//!
//! One task, which ends with the node; a crash loses how long a claim has waited.

use crate::region::RegionView;
use crate::region::vote::Countersigning;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use verge_sync::clock::stopwatch;
use verge_sync::store::Store;

/// After a vote that could not be written: the disk is full, or the store is busy.
const BEFORE_RETRY: Duration = Duration::from_secs(60);

/// Votes for claims, after every change of the records and when a claim has waited for its rivals.
pub(super) fn countersign(
    region: Arc<RegionView>,
    store: &Store,
) -> impl Future<Output = ()> + use<> {
    countersign_after(region, store.records().revision())
}

async fn countersign_after(region: Arc<RegionView>, mut revision: watch::Receiver<u64>) {
    let mut waiting = Countersigning::default();
    loop {
        revision.mark_unchanged();
        // Records are durable before they hold.
        region.turn_is_over().await;
        let due = region.votes_due(&mut waiting, stopwatch());
        let mut next = due.next;
        if !due.claims.is_empty()
            && let Err(error) = region.countersign(&due.claims).await
        {
            tracing::warn!(%error, "names could not be countersigned");
            next = Some(stopwatch() + BEFORE_RETRY);
        }
        tokio::select! {
            changed = revision.changed() => if changed.is_err() { return },
            () = at(next) => {}
        }
    }
}

/// Waits until `time`; for ever without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
