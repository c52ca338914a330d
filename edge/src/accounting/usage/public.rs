//! What everybody may know: sums of a provider and a month that is over, and only large ones.
//!
//! A sum that grows from day to day would show each day, so the month that runs is not there.

use super::show::gauge;
use crate::accounting::calendar::{Day, Month};
use crate::accounting::figures::Count;
use crate::accounting::ledger::{Entry, Review};
use crate::region::provider_name;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use verge_sync::id::ProviderId;
use verge_sync::record::Effect;

/// Fewer sites could name one of them.
const SITES_MIN: usize = 10;
/// Fewer requests could name a visitor.
const REQUESTS_MIN: u64 = 1_000;
/// After its end a month's last seals come for so long.
const SETTLED_AFTER_DAYS: u32 = 2;

#[derive(Default)]
struct Cell {
    /// The most of any one day: at least so many are in the month.
    sites: usize,
    sum: Count,
}

/// Figures for Prometheus.
#[must_use]
pub fn public_metrics(effect: &Effect, review: &Review, today: Day) -> String {
    let mut text = String::new();
    let contradicted = review.contradicted().count();
    for (name, help, value) in [
        (
            "verge_seals",
            "Days of all nodes whose seals are here.",
            review.days.len(),
        ),
        (
            "verge_seals_waiting",
            "Seals whose rows are not here yet.",
            review.waiting.len(),
        ),
        (
            "verge_seals_missing",
            "Seals that later ones name and nobody has brought.",
            review.gaps.len(),
        ),
        (
            "verge_seals_contradicted",
            "Days of which a node signed different seals.",
            contradicted,
        ),
        (
            "verge_seals_refused",
            "Records that are no seals, though they say so.",
            review.refused.len(),
        ),
    ] {
        let row = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
        );
        if row.is_err() {
            break;
        }
    }
    let month = last_settled(today);
    let cells = cells(effect, review, month);
    let shown: Vec<(String, Count)> = cells
        .into_iter()
        .filter(|(_, cell)| cell.sites >= SITES_MIN && cell.sum.requests >= REQUESTS_MIN)
        .map(|(id, cell)| (provider_name(effect, id), cell.sum))
        .collect();
    type Figure = fn(&Count) -> u64;
    let figures: [(&str, &str, Figure); 3] = [
        (
            "responses",
            "Responses of a provider in the last month.",
            |sum| sum.requests,
        ),
        ("credit_bytes", "What counts of them.", |sum| sum.credit.0),
        ("body_bytes", "What visitors received.", |sum| sum.body.0),
    ];
    for (name, help, figure) in figures {
        let rows = shown.iter().map(|(name, sum)| (name.as_str(), figure(sum)));
        let labels = ("provider", month.to_string());
        let name = format!("verge_served_{name}");
        text.push_str(&gauge(&name, help, (labels.0, &labels.1), rows));
    }
    text
}

/// The last month that is over, and whose seals have come.
fn last_settled(today: Day) -> Month {
    let this = today.minus(SETTLED_AFTER_DAYS).month();
    this.first_day().minus(1).month()
}

fn cells(effect: &Effect, review: &Review, month: Month) -> BTreeMap<ProviderId, Cell> {
    let mut cells: BTreeMap<ProviderId, Cell> = BTreeMap::new();
    for ((node, day), entries) in &review.days {
        let Some(node) = effect.nodes.get(node).filter(|_| day.month() == month) else {
            continue;
        };
        let cell = cells.entry(node.slot.provider).or_default();
        let sites = entries.iter().map(|entry| entry.site_count).min();
        cell.sites = cell.sites.max(sites.unwrap_or(0));
        cell.sum = cell.sum.plus(least(entries)).unwrap_or(cell.sum);
    }
    cells
}

/// Where a node contradicts itself the smaller figure counts.
fn least(entries: &[Arc<Entry>]) -> Count {
    let sums = entries.iter().map(|entry| entry.sum);
    sums.reduce(Count::smaller).unwrap_or_default()
}
