//! The counters in memory: what was served since they were last taken.
//!
//! Whoever answers visitors adds, whoever keeps the journal takes. What was taken and could not be
//! kept is given back; nothing is ever counted twice.

use super::figures::{Class, Count, NodeTotals, Row};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use verge_sync::id::SiteId;

/// Counters of all sites, shared by all connections.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Taken>);

/// What changed since the counters were last taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of all connections.
    pub totals: NodeTotals,
    /// By site and class.
    pub counts: BTreeMap<(SiteId, Class), Count>,
}

impl Meter {
    /// Counts responses of one site.
    pub fn count(&self, site: SiteId, class: Class, count: Count) {
        self.lock().add(site, class, count);
    }

    /// Counts connections that ended, and errors.
    pub fn count_totals(&self, totals: NodeTotals) {
        self.lock().add_totals(totals);
    }

    /// What was counted since the last call.
    #[must_use]
    pub fn take(&self) -> Taken {
        std::mem::take(&mut *self.lock())
    }

    /// Takes back what could not be kept.
    pub fn give_back(&self, taken: Taken) {
        let mut now = self.lock();
        now.add_totals(taken.totals);
        for ((site, class), count) in taken.counts {
            now.add(site, class, count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Every change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.counts.is_empty() && self.totals.is_nothing()
    }

    /// As rows, ascending by site and class.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |(&(site, class), &count): (&(SiteId, Class), &Count)| Row { site, class, count };
        self.counts.iter().map(row).collect()
    }

    /// What does not fit a figure is not counted: less, never more.
    fn add(&mut self, site: SiteId, class: Class, count: Count) {
        let sum = self.counts.entry((site, class)).or_default();
        *sum = sum.plus(count).unwrap_or(*sum);
    }

    fn add_totals(&mut self, totals: NodeTotals) {
        self.totals = self.totals.plus(totals).unwrap_or(self.totals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::figures::{BodyBytes, CreditBytes, FIGURE_MAX, WireBytes};

    #[test]
    fn what_is_taken_is_gone_and_what_is_given_back_is_there_again() {
        let meter = Meter::default();
        let site = SiteId::from_bytes([1; 32]);
        let count = |requests| Count {
            requests,
            credit: CreditBytes(5),
            body: BodyBytes(10),
        };
        meter.count(site, Class::Bot, count(1));
        meter.count(site, Class::Answer, count(2));
        let connection = NodeTotals {
            connections: 1,
            wire: WireBytes(500),
            ..NodeTotals::default()
        };
        meter.count_totals(connection);
        let taken = meter.take();
        let classes: Vec<Class> = taken.rows().iter().map(|row| row.class).collect();
        assert_eq!(classes, [Class::Answer, Class::Bot]);
        assert!(meter.take().is_nothing());
        meter.count(site, Class::Bot, count(3));
        meter.give_back(taken);
        let taken = meter.take();
        assert_eq!(taken.totals, connection);
        let of_bots = taken.counts.get(&(site, Class::Bot)).unwrap();
        assert_eq!(of_bots.requests, 4);
        // More than a figure can be: what was there stays.
        let most = Count {
            requests: 1,
            credit: CreditBytes(FIGURE_MAX),
            body: BodyBytes(FIGURE_MAX),
        };
        meter.count(site, Class::Bot, most);
        meter.count(site, Class::Bot, most);
        let taken = meter.take();
        assert_eq!(taken.counts.get(&(site, Class::Bot)), Some(&most));
    }
}
