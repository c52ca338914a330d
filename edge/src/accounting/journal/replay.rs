//! What a journal's frames come to: pure.

use super::frame::{Deltas, Entry, FrameId, Sealed};
use crate::accounting::calendar::Day;
use crate::accounting::figures::{Class, Count, NodeTotals};
use crate::accounting::seal::{Carry, HOURS};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::id::SiteId;

/// What was counted in one day, or without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayCounts {
    /// The first and the last epoch that counted.
    pub epochs: Option<(u32, u32)>,
    /// By site and class.
    pub rows: BTreeMap<(SiteId, Class), Count>,
    /// Of all connections.
    pub totals: NodeTotals,
    /// By hour.
    pub hours: [Hour; HOURS],
    /// Whether visitors came through a proxy at some time.
    pub is_behind_proxy: bool,
}

/// What was counted in one hour of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hour {
    /// Of the class that is credited.
    pub answers: Count,
    /// Which sites were asked for.
    pub sites: BTreeSet<SiteId>,
}

/// What is left to be sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    /// By day.
    pub days: BTreeMap<Day, DayCounts>,
    /// While no clock was believed.
    pub undated: DayCounts,
    /// What was too little in days that are sealed.
    pub carry: Carry,
    /// The last day that was sealed.
    pub sealed_until: Option<Day>,
    /// Figures that were too large to be added: left out, so that less is counted and never more.
    pub left_out_count: u64,
}

impl Replay {
    /// Applies frames, in the order of epoch and sequence and each once, whatever order they lie in:
    /// after an error of the disk a frame may be written again.
    ///
    /// `sealed` is the last day of which this node's own seals are known. If the journal does not know
    /// of it, what it has of days up to there is in seals already, and is dropped.
    #[must_use]
    pub fn of(frames: impl IntoIterator<Item = (FrameId, Entry)>, sealed: Option<Day>) -> Self {
        let mut once = BTreeMap::new();
        for (id, entry) in frames {
            once.entry(id).or_insert(entry);
        }
        let mut replay = Self::default();
        for (id, entry) in once {
            replay.apply(id.epoch, &entry);
        }
        if sealed > replay.sealed_until {
            replay.days.retain(|day, _| Some(*day) > sealed);
            replay.carry = Carry::default();
            replay.sealed_until = sealed;
        }
        replay
    }

    /// Applies one frame.
    pub fn apply(&mut self, epoch: u32, entry: &Entry) {
        match entry {
            Entry::Deltas(deltas) => self.count(epoch, deltas),
            Entry::Dated(day) => {
                let undated = std::mem::take(&mut self.undated);
                let day = self.open_day(*day);
                if !undated.is_nothing() {
                    let failed = self.days.entry(day).or_default().merge(undated);
                    self.left_out_count = self.left_out_count.saturating_add(failed);
                }
            }
            Entry::Sealed(sealed) => self.seal(sealed),
        }
    }

    /// What is carried may take several frames of the same day.
    fn seal(&mut self, sealed: &Sealed) {
        if Some(sealed.day) < self.sealed_until {
            return;
        }
        if Some(sealed.day) > self.sealed_until {
            self.days.retain(|day, _| *day > sealed.day);
            self.sealed_until = Some(sealed.day);
            self.carry = Carry::default();
        }
        for row in &sealed.carried {
            self.carry.month = Some(sealed.day.month());
            self.carry.rows.insert((row.site, row.class), row.count);
        }
    }

    fn count(&mut self, epoch: u32, deltas: &Deltas) {
        let failed = match deltas.day {
            None => self.undated.count(epoch, deltas),
            Some(day) => {
                let day = self.open_day(day);
                self.days.entry(day).or_default().count(epoch, deltas)
            }
        };
        self.left_out_count = self.left_out_count.saturating_add(failed);
    }

    /// The day itself, or the first that is not sealed: what is late is never in two seals, and never
    /// lost.
    fn open_day(&self, day: Day) -> Day {
        match self.sealed_until {
            Some(sealed) if day <= sealed => sealed.next(),
            _ => day,
        }
    }
}

impl DayCounts {
    /// Adds what changed; gives how many figures did not fit.
    fn count(&mut self, epoch: u32, deltas: &Deltas) -> u64 {
        let first = self.epochs.map_or(epoch, |(first, _)| first.min(epoch));
        let last = self.epochs.map_or(epoch, |(_, last)| last.max(epoch));
        self.epochs = Some((first, last));
        self.is_behind_proxy |= deltas.is_behind_proxy;
        let mut failed = add_totals(&mut self.totals, deltas.totals);
        let hour = self.hours.get_mut(usize::from(deltas.hour));
        if let Some(hour) = hour {
            for row in &deltas.rows {
                hour.sites.insert(row.site);
                if row.class == Class::Answer {
                    failed = failed.saturating_add(add(&mut hour.answers, row.count));
                }
            }
        }
        for row in &deltas.rows {
            let sum = self.rows.entry((row.site, row.class)).or_default();
            failed = failed.saturating_add(add(sum, row.count));
        }
        failed
    }

    /// Adds all of `other`; gives how many figures did not fit.
    fn merge(&mut self, other: Self) -> u64 {
        self.epochs = match (self.epochs, other.epochs) {
            (Some((first, last)), Some((other_first, other_last))) => {
                Some((first.min(other_first), last.max(other_last)))
            }
            (one, other) => one.or(other),
        };
        self.is_behind_proxy |= other.is_behind_proxy;
        let mut failed = add_totals(&mut self.totals, other.totals);
        for (hour, other) in self.hours.iter_mut().zip(other.hours) {
            hour.sites.extend(other.sites);
            failed = failed.saturating_add(add(&mut hour.answers, other.answers));
        }
        for (key, count) in other.rows {
            failed = failed.saturating_add(add(self.rows.entry(key).or_default(), count));
        }
        failed
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.epochs.is_none()
    }
}

fn add(sum: &mut Count, more: Count) -> u64 {
    let both = sum.plus(more);
    *sum = both.unwrap_or(*sum);
    u64::from(both.is_none())
}

fn add_totals(sum: &mut NodeTotals, more: NodeTotals) -> u64 {
    let both = sum.plus(more);
    *sum = both.unwrap_or(*sum);
    u64::from(both.is_none())
}
