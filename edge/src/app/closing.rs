//! Brings the books that closes name: every node can write a statement, and a new one the old ones.
//!
//! A task that ends with the node; a crash loses nothing.

use crate::closing::Closes;
use crate::region::RegionView;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use verge_sync::Digest;
use verge_sync::content::Repairs;
use verge_sync::record::Effect;
use verge_sync::store::{Store, StoreError};

/// What is missing is looked for again, even if nothing changes.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);

/// Begins to ask for what is not here.
pub(super) fn start(store: &Store, region: &Arc<RegionView>, repairs: &Repairs) -> JoinHandle<()> {
    let bringing = bring(store.clone(), Arc::clone(region), repairs.clone());
    tokio::spawn(bringing)
}

/// Never ends by itself.
async fn bring(store: Store, region: Arc<RegionView>, repairs: Repairs) {
    let mut effects = region.watch();
    loop {
        let effect = Arc::clone(&effects.borrow_and_update());
        let blobs = store.clone();
        let look = tokio::task::spawn_blocking(move || missing(&blobs, &effect));
        match look.await {
            Ok(Ok(missing)) => repairs.want("closes", missing),
            Ok(Err(error)) => tracing::error!("look for the books of closes: {error}"),
            Err(error) => tracing::error!("look for the books of closes: {error}"),
        }
        tokio::select! {
            changed = effects.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
        }
    }
}

fn missing(store: &Store, effect: &Effect) -> Result<BTreeMap<Digest, u64>, StoreError> {
    let mut missing = Closes::read(effect).blobs();
    let mut fault = None;
    missing.retain(|blob, _| match store.blobs().contains(blob) {
        Ok(is_here) => !is_here,
        Err(error) => {
            fault = Some(error);
            false
        }
    });
    fault.map_or(Ok(missing), Err)
}
