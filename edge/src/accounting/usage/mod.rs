//! What was served in a month, as far as the seals that are here say it: for stewards, and, of months
//! that are over and in large sums only, for everybody.

mod public;
mod show;
#[cfg(test)]
mod tests;

pub use public::public_metrics;
pub use show::Form;

use super::calendar::{Day, Month};
use super::figures::{Class, Count};
use super::ledger::{Ledger, Review};
use super::seal::{Seal, smaller};
use crate::region::{provider_name, site_label};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::id::{NodeId, SiteId};
use verge_sync::record::Effect;
use verge_sync::store::StoreError;

/// What the lines are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A line for each site.
    #[default]
    Site,
    /// A line for each provider.
    Provider,
    /// A line for each day.
    Day,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Of this site only.
    pub site: Option<SiteId>,
    /// What the lines are.
    pub by: By,
    /// Of when.
    pub month: Month,
}

/// What was served in a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Such as `2026-11`.
    pub month: String,
    /// What the lines are.
    pub by: By,
    /// The most first; days in their order.
    pub lines: Vec<Line>,
    /// Seals that it is summed of: one for each node and day.
    pub seal_count: usize,
    /// Seals of the month whose rows are not here yet.
    pub waiting_count: usize,
    /// Days of a node that are missing before later ones.
    pub gap_count: usize,
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// A site, a provider or a day.
    pub name: String,
    /// Answers of which a body byte arrived.
    pub answers: u64,
    /// What counts.
    pub credit_bytes: u64,
    /// What visitors received.
    pub body_bytes: u64,
    /// Other responses: HEAD, 304, none of whose bytes arrived, and those to declared bots.
    pub other_responses: u64,
}

impl Line {
    fn add(&mut self, class: Class, count: Count) {
        if class != Class::Answer {
            self.other_responses = self.other_responses.saturating_add(count.requests);
            return;
        }
        self.answers = self.answers.saturating_add(count.requests);
        self.credit_bytes = self.credit_bytes.saturating_add(count.credit.0);
        self.body_bytes = self.body_bytes.saturating_add(count.body.0);
    }
}

impl Usage {
    /// Sums the seals of the month. Reads their rows from the disk.
    ///
    /// # Errors
    /// [`StoreError`]: the disk fails.
    pub fn of(
        (effect, ledger): (&Effect, &Ledger),
        review: &Review,
        question: Question,
    ) -> Result<Self, StoreError> {
        let mut sums: BTreeMap<String, Line> = BTreeMap::new();
        let (mut seal_count, mut unread_count) = (0_usize, 0_usize);
        for ((node, day), entries) in &review.days {
            if day.month() != question.month {
                continue;
            }
            let mut seals: Vec<Seal> = Vec::with_capacity(entries.len());
            for entry in entries {
                seals.extend(ledger.read(entry)?.map(|sealed| sealed.seal));
            }
            if seals.len() < entries.len() {
                unread_count = unread_count.saturating_add(1);
                continue;
            }
            seal_count = seal_count.saturating_add(1);
            for row in smaller(&seals).0 {
                if question.site.is_none_or(|site| site == row.site) {
                    let name = name(effect, question.by, (*node, *day, row.site));
                    sums.entry(name).or_default().add(row.class, row.count);
                }
            }
        }
        let is_of_month = |(_, day): &&(NodeId, Day)| day.month() == question.month;
        let count = |days: &BTreeSet<(NodeId, Day)>| days.iter().filter(is_of_month).count();
        Ok(Self {
            month: question.month.to_string(),
            by: question.by,
            lines: lines(question.by, sums),
            seal_count,
            waiting_count: count(&review.waiting).saturating_add(unread_count),
            gap_count: count(&review.gaps),
        })
    }
}

fn name(effect: &Effect, by: By, (node, day, site): (NodeId, Day, SiteId)) -> String {
    match by {
        By::Day => day.to_string(),
        By::Provider => match effect.nodes.get(&node) {
            Some(node) => provider_name(effect, node.slot.provider),
            None => node.short(),
        },
        By::Site => match effect.site(&site) {
            Some(known) => site_label(effect, known),
            None => site.short(),
        },
    }
}

fn lines(by: By, sums: BTreeMap<String, Line>) -> Vec<Line> {
    let named = sums.into_iter().map(|(name, line)| Line { name, ..line });
    let mut lines: Vec<Line> = named.collect();
    if by != By::Day {
        // Of equal ones the order of the names stays.
        lines.sort_by_key(|line| std::cmp::Reverse((line.credit_bytes, line.answers)));
    }
    lines
}
