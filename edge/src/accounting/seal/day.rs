//! From the counters of a day to its rows: which sites had enough visits to have one.

use super::{HOURS, Previous, ROWS_MAX, Seal};
use crate::accounting::calendar::{Day, Month};
use crate::accounting::figures::{Class, Count, Row};
use crate::accounting::journal::DayCounts;
use std::collections::BTreeMap;
use verge_sync::id::{NodeId, SiteId};

/// A site with fewer requests in a day has no row: it would say when somebody read it.
pub const REQUESTS_MIN: u64 = 20;
/// An hour with fewer sites has no total: one visitor in it would name the page that was read.
const HOUR_SITES_MIN: usize = 10;
/// Rows that one site can have.
const CLASSES: usize = 3;
/// Units of a request beside its bytes, as attribution counts them.
const UNITS_PER_ANSWER: u64 = crate::attribution::units::UNITS_PER_ANSWER;

/// What was too little for a row, until a later day of the same month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carry {
    /// Of which month; nothing is carried into another.
    pub month: Option<Month>,
    /// By site and class, ascending.
    pub rows: BTreeMap<(SiteId, Class), Count>,
}

/// A day that was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// What is signed.
    pub seal: Seal,
    /// What goes on to a later day.
    pub carry: Carry,
}

/// Closes a day: sites with fewer than [`REQUESTS_MIN`] requests go on to a later day of the month;
/// what is left of a month has no row and is the node's uncredited total. None if a sum does not
/// fit.
#[must_use]
pub fn close(
    (node, day): (NodeId, Day),
    counts: &DayCounts,
    carried: Carry,
    previous: Option<Previous>,
) -> Option<Closed> {
    let mut rows = counts.rows.clone();
    let mut uncredited = Count::default();
    for (key, count) in carried.rows {
        if carried.month == Some(day.month()) {
            let sum = rows.entry(key).or_default();
            *sum = sum.plus(count)?;
        } else {
            uncredited = uncredited.plus(count)?;
        }
    }
    let mut requests: BTreeMap<SiteId, u64> = BTreeMap::new();
    for ((site, _), count) in &rows {
        let sum = requests.entry(*site).or_default();
        *sum = sum.saturating_add(count.requests);
    }
    let has_row = |site: &SiteId| requests.get(site).is_some_and(|sum| *sum >= REQUESTS_MIN);
    // All rows of a site, or none: what is too much for one seal goes on like what is too little.
    let has_room = |kept: &[Row], site: &SiteId| {
        let is_begun = kept.last().is_some_and(|last| last.site == *site);
        is_begun || kept.len().saturating_add(CLASSES) <= ROWS_MAX
    };
    let mut carry = Carry::default();
    let mut kept = Vec::with_capacity(rows.len());
    for ((site, class), count) in rows {
        if has_row(&site) && has_room(&kept, &site) {
            kept.push(Row { site, class, count });
        } else if day.is_last_of_month() {
            uncredited = uncredited.plus(count)?;
        } else {
            carry.month = Some(day.month());
            carry.rows.insert((site, class), count);
        }
    }
    let seal = Seal {
        node,
        day,
        epochs: counts.epochs.unwrap_or((1, 1)),
        rows: kept,
        totals: counts.totals,
        hours: hours(counts),
        uncredited,
        previous,
        is_behind_proxy: counts.is_behind_proxy,
    };
    Some(Closed { seal, carry })
}

fn hours(counts: &DayCounts) -> [u64; HOURS] {
    let mut hours = [0; HOURS];
    for (units, hour) in hours.iter_mut().zip(&counts.hours) {
        if hour.sites.len() >= HOUR_SITES_MIN {
            let credit = hour.answers.credit.0;
            let requests = hour.answers.requests.saturating_mul(UNITS_PER_ANSWER);
            *units = credit.saturating_add(requests.min(credit));
        }
    }
    hours
}
