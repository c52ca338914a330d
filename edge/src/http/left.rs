//! Hashed assets of versions that a rollback left (http.md section 4, "old hashed assets").

use super::{Door, route};
use crate::sites::{SiteAt, SiteManifest};
use std::sync::Arc;
use verge_builder::HashedNames;

/// The version among those that `site` left lately that answers `raw_path` with a file whose name
/// proves its content. One that cannot be read answers nothing: the reader has reported it.
pub(super) async fn find(
    door: &Door,
    site: &SiteAt,
    in_place: &SiteManifest,
    raw_path: &str,
) -> Option<Arc<SiteManifest>> {
    let left = site.left.as_ref()?;
    // Most of what is not there carries no hash, and costs no other manifest.
    let is_there = route::asset(in_place.manifest(), raw_path).is_some();
    if is_there || !HashedNames::may_hold(raw_path) {
        return None;
    }
    let now = door.clock.now();
    for left in left.iter().filter(|left| now < left.until) {
        let Ok(loaded) = door.sites.manifest(left.version).await else {
            continue;
        };
        let asset = route::asset(loaded.manifest(), raw_path);
        if asset.is_some_and(|entry| loaded.is_immutable(&entry)) {
            return Some(loaded);
        }
    }
    None
}
