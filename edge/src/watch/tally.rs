//! What the looks of a day came to, counted in memory: pure.
//!
//! A restart forgets what was counted since midnight. What is over is handed on once and forgotten
//! when it is written; of days that could not be written the last [`ENDED_DAYS_MAX`] wait.

use super::chance::Chance;
use super::observation::{Observation, SiteRow};
use std::collections::BTreeMap;
use verge_sync::id::{NodeId, SiteId};

/// A day in seconds.
const DAY_S: u64 = 86_400;
/// Days that wait to be written, where the disk refuses them.
const ENDED_DAYS_MAX: usize = 3;
/// Sites of one node that are told apart, 50 bytes each; the rest counts for the node only.
const SITES_MAX: usize = 4_096;

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The right bytes, from the right node.
    Answered,
    /// Something else.
    Wrong(Fault),
    /// Nothing, or that it cannot.
    Silent,
}

/// What was wrong with an answer: as much as was seen, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A visitor got other bytes.
    Bytes,
    /// The proof of a piece was that of other bytes.
    Piece,
    /// Whoever answered visitors did not prove to be the node.
    Identity,
}

impl Fault {
    fn words(self) -> &'static str {
        match self {
            Self::Bytes => "gave other bytes than the version's",
            Self::Piece => "held other bytes than the version's",
            Self::Identity => "was answered for by what did not prove to be this node",
        }
    }
}

/// How often what came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) answered: u32,
    pub(super) wrong: u32,
    pub(super) silent: u32,
}

impl Count {
    fn add(&mut self, outcome: Outcome) {
        let one = match outcome {
            Outcome::Answered => &mut self.answered,
            Outcome::Wrong(_) => &mut self.wrong,
            Outcome::Silent => &mut self.silent,
        };
        *one = one.saturating_add(1);
    }

    /// How many looks there were.
    pub(super) fn probes(&self) -> u32 {
        let failed = self.wrong.saturating_add(self.silent);
        self.answered.saturating_add(failed)
    }

    fn row(&self, site: &SiteId) -> SiteRow {
        let narrow = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        SiteRow {
            site: SiteRow::name(site),
            answered: narrow(self.answered),
            failed: narrow(self.wrong.saturating_add(self.silent)),
        }
    }
}

/// A node's day so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) total: Count,
    pub(super) sites: BTreeMap<SiteId, Count>,
    /// The last wrong answer, and when it came, in seconds since 1970.
    last_fault: Option<(u64, Fault)>,
}

impl Day {
    fn note(&mut self, now_s: u64, site: SiteId, outcome: Outcome) {
        self.total.add(outcome);
        if self.sites.len() < SITES_MAX || self.sites.contains_key(&site) {
            self.sites.entry(site).or_default().add(outcome);
        }
        if let Outcome::Wrong(fault) = outcome {
            self.last_fault = Some((now_s, fault));
        }
    }

    /// What was wrong, in words that say what was seen; none if nothing was.
    pub(super) fn fault_words(&self) -> Option<String> {
        let (at_s, fault) = self.last_fault?;
        let minute = at_s % DAY_S / 60;
        Some(format!(
            "{} at {:02}:{:02} UTC, {} of {} probes",
            fault.words(),
            minute / 60,
            minute % 60,
            self.total.wrong,
            self.total.probes()
        ))
    }

    /// The day as it is written.
    fn observation(&self, day: u32, chance: &mut Chance) -> Observation {
        let rows = self.sites.iter().map(|(site, count)| count.row(site));
        let rows = Observation::choose(rows.collect(), |count| chance.below(count));
        Observation {
            day,
            answered: self.total.answered,
            wrong: self.total.wrong,
            silent: self.total.silent,
            sites: rows,
        }
    }
}

/// Today, and what waits to be written.
#[derive(Debug, Default)]
pub(super) struct Tally {
    day: u32,
    nodes: BTreeMap<NodeId, Day>,
    ended: BTreeMap<u32, BTreeMap<NodeId, Day>>,
}

impl Tally {
    /// Counts a look at `site` of `node`, at a time that is believed. What comes with a time before
    /// today is not counted: that day is over.
    pub(super) fn note(&mut self, now_s: u64, (node, site): (NodeId, SiteId), outcome: Outcome) {
        self.turn(now_s);
        if day_of(now_s) == self.day {
            self.nodes
                .entry(node)
                .or_default()
                .note(now_s, site, outcome);
        }
    }

    /// Closes the day if it is over.
    pub(super) fn turn(&mut self, now_s: u64) {
        let day = day_of(now_s);
        if day <= self.day {
            return;
        }
        let over = std::mem::take(&mut self.nodes);
        if !over.is_empty() {
            self.ended.insert(self.day, over);
        }
        while self.ended.len() > ENDED_DAYS_MAX {
            self.ended.pop_first();
        }
        self.day = day;
    }

    /// Every day that is over and not written.
    pub(super) fn ended(&self, chance: &mut Chance) -> Vec<(NodeId, Observation)> {
        let days = self.ended.iter();
        let nodes = days.flat_map(|(day, nodes)| nodes.iter().map(move |of| (*day, of)));
        nodes
            .map(|(day, (node, counted))| (*node, counted.observation(day, chance)))
            .collect()
    }

    /// They are written.
    pub(super) fn forget_ended(&mut self) {
        self.ended.clear();
    }

    /// The day of a node so far; none if it was not looked at.
    pub(super) fn today(&self, node: &NodeId) -> Option<&Day> {
        self.nodes.get(node)
    }

    /// Which day it is, since 1970-01-01.
    pub(super) fn day(&self) -> u32 {
        self.day
    }
}

/// The day that a time lies in.
pub(super) fn day_of(now_s: u64) -> u32 {
    u32::try_from(now_s / DAY_S).unwrap_or(u32::MAX)
}

/// Until the next day begins.
pub(super) fn left_of_day_s(now_s: u64) -> u64 {
    DAY_S.saturating_sub(now_s % DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 20_000 * DAY_S + DAY_S / 2 + 5 * 60;

    fn of(node: u8, site: u8) -> (NodeId, SiteId) {
        (
            NodeId::from_bytes([node; 32]),
            SiteId::from_bytes([site; 32]),
        )
    }

    #[test]
    fn a_day_is_handed_on_once_it_is_over() {
        let (mut tally, mut chance) = (Tally::default(), Chance::new([1; 32]));
        tally.note(NOON, of(1, 1), Outcome::Answered);
        tally.note(NOON, of(1, 2), Outcome::Silent);
        tally.note(NOON + 60, of(1, 1), Outcome::Wrong(Fault::Bytes));
        tally.note(NOON, of(2, 1), Outcome::Answered);
        assert!(tally.ended(&mut chance).is_empty());
        tally.turn(NOON + DAY_S / 2 - 5 * 60 - 1);
        assert!(tally.ended(&mut chance).is_empty(), "the last second");
        tally.turn(NOON + DAY_S / 2 - 5 * 60);
        let ended = tally.ended(&mut chance);
        assert_eq!(ended.len(), 2);
        let (node, first) = &ended[0];
        assert_eq!((*node, first.day), (of(1, 1).0, 20_000));
        assert_eq!((first.answered, first.wrong, first.silent), (1, 1, 1));
        let rows: Vec<(u8, u16, u16)> = first
            .sites
            .iter()
            .map(|row| (row.site[0], row.answered, row.failed))
            .collect();
        assert_eq!(rows, [(1, 1, 1), (2, 0, 1)]);
        assert_eq!(tally.today(node), None);
        assert_eq!(tally.ended(&mut chance).len(), 2, "until they are written");
        tally.forget_ended();
        assert!(tally.ended(&mut chance).is_empty());
        // A day without a look leaves nothing.
        tally.turn(NOON + 5 * DAY_S);
        assert!(tally.ended(&mut chance).is_empty());
    }

    #[test]
    fn a_clock_that_goes_back_counts_for_no_day() {
        let mut tally = Tally::default();
        tally.note(NOON, of(1, 1), Outcome::Answered);
        tally.note(NOON - DAY_S, of(1, 1), Outcome::Silent);
        assert_eq!(tally.today(&of(1, 1).0).unwrap().total.probes(), 1);
        assert_eq!(tally.day(), 20_000);
    }

    #[test]
    fn what_waits_and_what_is_told_apart_is_bounded() {
        let (mut tally, mut chance) = (Tally::default(), Chance::new([1; 32]));
        for day in 0..5 {
            tally.note(NOON + day * DAY_S, of(1, 1), Outcome::Answered);
        }
        let days: Vec<u32> = tally
            .ended(&mut chance)
            .iter()
            .map(|(_, o)| o.day)
            .collect();
        assert_eq!(days, [20_001, 20_002, 20_003]);
        let mut day = Day::default();
        for number in 0..=u32::try_from(SITES_MAX).unwrap() {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            day.note(NOON, SiteId::from_bytes(bytes), Outcome::Answered);
        }
        assert_eq!(day.sites.len(), SITES_MAX);
        assert_eq!(day.total.answered, 4_097);
    }

    #[test]
    fn a_wrong_answer_is_told_as_it_was_seen() {
        let mut day = Day::default();
        assert_eq!(day.fault_words(), None);
        for _ in 0..138 {
            day.note(NOON, of(1, 1).1, Outcome::Answered);
        }
        day.note(NOON - 3_600, of(1, 1).1, Outcome::Wrong(Fault::Identity));
        day.note(NOON, of(1, 1).1, Outcome::Wrong(Fault::Bytes));
        let words = "gave other bytes than the version's at 12:05 UTC, 2 of 140 probes";
        assert_eq!(day.fault_words().as_deref(), Some(words));
        assert_eq!(left_of_day_s(NOON), DAY_S / 2 - 5 * 60);
    }
}
