//! What the admin zone says of node and region, kept in step with both.

use crate::accounting::calendar::Day;
use crate::accounting::usage::public_metrics;
use crate::admin::Membership;
use crate::region::RegionView;
use crate::status_page::StatusPage;
use std::sync::Arc;
use std::time::Duration;

/// Made anew at most so often, however much changes and however many ask.
const BETWEEN_STATUSES: Duration = Duration::from_secs(1);
/// And at least so often, since connections grow older and the clock is looked at every 10 s.
const STATUS_AGE_MAX: Duration = Duration::from_secs(10);

/// Says under the admin zone how node and region are.
pub(super) async fn show(page: &StatusPage, region: &RegionView, membership: &Membership) {
    let status = membership.status(region).await;
    let review = Arc::clone(&membership.accounting().reviews().borrow());
    let today = Day::of_time(region.floor_s());
    let mut metrics = status.certificates.metrics();
    metrics.push_str(&public_metrics(&region.effect(), &review, today));
    page.show(status.public_json(), metrics);
}

/// The same after every change, and now and then for what only the clock changes; never ends by
/// itself. Visitors get the last bytes, so however many ask, nobody waits for the records.
pub(super) async fn keep(
    page: Arc<StatusPage>,
    region: Arc<RegionView>,
    membership: Arc<Membership>,
) {
    let mut changes = region.replica().changes();
    let mut reviews = membership.reviews();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = reviews.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(STATUS_AGE_MAX) => {}
        }
        show(&page, &region, &membership).await;
        tokio::time::sleep(BETWEEN_STATUSES).await;
    }
}
