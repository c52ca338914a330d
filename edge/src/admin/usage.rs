//! What a steward asks about what was served.

use super::UsageRequest;
use super::api::{Api, ApiError, Log, say};
use crate::accounting::calendar::{Day, Month};
use crate::accounting::usage::{By, Question, Usage};
use std::sync::Arc;
use verge_sync::id::SiteId;
use verge_sync::record::Effect;
use verge_sync::store::StoreError;

/// Shorter beginnings of an id would be typed by mistake.
const ID_DIGITS_MIN: usize = 4;

impl Api {
    /// Of the sums of all nodes; only for those who look after this one.
    pub(super) async fn show_usage(
        &self,
        request: UsageRequest,
        log: &Log,
    ) -> Result<(), ApiError> {
        self.keep()?;
        let effect = self.region.effect();
        let site = request.site.as_deref();
        let site = site.map(|site| find_site(&effect, site)).transpose()?;
        let month = match request.month {
            Some(text) => text
                .parse::<Month>()
                .map_err(|error| ApiError::Wrong(error.to_string()))?,
            None => Day::of_time(self.membership.clock.borrow().0).month(),
        };
        let by = match (request.by, site) {
            (Some(by), _) => by,
            (None, Some(_)) => By::Day,
            (None, None) => By::Site,
        };
        let question = Question { site, by, month };
        let desk = Arc::clone(self.membership.accounting());
        let review = Arc::clone(&desk.reviews().borrow());
        let summing = move || Usage::of((&effect, &desk.ledger), &review, question);
        let summed = tokio::task::spawn_blocking(summing).await;
        let usage = summed.unwrap_or(Err(StoreError::Closed))?;
        for text in usage.show(request.form) {
            say(log, text).await;
        }
        Ok(())
    }
}

/// By label, by host, or by the beginning of its id; also one that has ended.
fn find_site(effect: &Effect, wanted: &str) -> Result<SiteId, ApiError> {
    let named = effect.site_by_label(wanted);
    if let Some(site) = named.or_else(|| effect.site_by_host(wanted)) {
        return Ok(site.id);
    }
    let is_meant =
        |id: &&SiteId| wanted.len() >= ID_DIGITS_MIN && id.to_string().starts_with(wanted);
    let mut found = effect.sites.keys().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(*id),
        (Some(_), Some(_)) => Err(ApiError::Wrong(format!(
            "several sites begin with {wanted}: give more of the id"
        ))),
        (None, _) => Err(ApiError::Wrong(format!(
            "there is no site {wanted}: see `verge site list`"
        ))),
    }
}
