//! What was seen, in figures and words.

use super::Watch;
use super::month::Month;
use super::tally::Count;
use serde::Serialize;
use std::sync::{Arc, PoisonError};
use verge_sync::id::{NodeId, SiteId};
use verge_sync::record::Effect;

/// What was seen of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// Looks of this node today (UTC), as far as it has run.
    pub probes_today: u32,
    /// Of these, answered rightly.
    pub answered_today: u32,
    /// Of these, answered with something else.
    pub wrong_today: u32,
    /// What was wrong, as it was seen; none if nothing was.
    pub wrong_words: Option<String>,
    /// The share that was answered rightly over the last 30 days, in thousandths: the median of all
    /// nodes of other providers. None if none wrote of it.
    pub answered_permille: Option<u64>,
    /// How many that are.
    pub observer_count: usize,
    /// Wrong answers that they saw, all together.
    pub wrong_count: u64,
}

impl Watched {
    /// For people; none if nothing was seen.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let mut words = Vec::new();
        if self.probes_today > 0 {
            words.push(format!(
                "answered {} of {} probes today",
                self.answered_today, self.probes_today
            ));
        }
        if let Some(permille) = self.answered_permille {
            words.push(format!(
                "{} over 30 days (median of {})",
                percent(permille),
                observers(self.observer_count)
            ));
        }
        words.extend(self.wrong_words.clone());
        if self.wrong_count > 0 {
            let count = self.wrong_count;
            words.push(format!("{count} wrong answers seen in 30 days"));
        }
        (!words.is_empty()).then(|| words.join("; "))
    }
}

fn observers(count: usize) -> String {
    match count {
        1 => "1 observer".to_owned(),
        _ => format!("{count} observers"),
    }
}

/// Thousandths, as a percentage.
fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

impl Watch {
    /// What was seen of `node`.
    #[must_use]
    pub fn of(&self, effect: &Arc<Effect>, node: &NodeId) -> Watched {
        let month = self.month(effect);
        let month = month.of(node);
        let tally = self.tally();
        let day = tally.today(node);
        let total = day.map_or_else(Count::default, |day| day.total);
        Watched {
            probes_today: total.probes(),
            answered_today: total.answered,
            wrong_today: total.wrong,
            wrong_words: day.and_then(super::tally::Day::fault_words),
            answered_permille: month.map(|month| month.answered_permille),
            observer_count: month.map_or(0, |month| month.observer_count),
            wrong_count: month.map_or(0, |month| month.wrong_count),
        }
    }

    /// How each node has served `site`, roughly, a line each: by name.
    #[must_use]
    pub fn uptime(&self, effect: &Arc<Effect>, site: &SiteId) -> Vec<String> {
        let month = self.month(effect);
        let tally = self.tally();
        let nodes = effect.nodes.values().filter(|node| node.is_member);
        let mut lines: Vec<String> = nodes
            .map(|node| {
                let today = tally.today(&node.id).and_then(|day| day.sites.get(site));
                let today = today.map(|count| {
                    let (answered, probes) = (count.answered, count.probes());
                    format!("answered {answered} of {probes} probes of this node today")
                });
                let month = month.of_site(&node.id, site);
                let month = month.filter(|of| of.probes > 0).map(|of| {
                    let share = percent(of.answered * 1_000 / of.probes);
                    let (probes, by) = (of.probes, observers(of.observer_count()));
                    format!("{share} of {probes} probes over 30 days ({by})")
                });
                let said: Vec<String> = [month, today].into_iter().flatten().collect();
                let said = match said.is_empty() {
                    true => "not looked at yet".to_owned(),
                    false => said.join("; "),
                };
                format!("{} ({})  {said}", node.body.name, node.id.short())
            })
            .collect();
        lines.sort();
        lines
    }

    /// What the records say, worked out once for each state of them and each day.
    fn month(&self, effect: &Arc<Effect>) -> Arc<Month> {
        let clock = *self.tools.clock.borrow();
        let today = self.tally().day().max(super::tally::day_of(clock.0));
        let mut kept = self.month.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, day, month) = &*kept;
        if std::ptr::eq(of.as_ptr(), Arc::as_ptr(effect)) && *day == today && of.strong_count() > 0
        {
            return Arc::clone(month);
        }
        let month = Arc::new(Month::read(effect, today));
        *kept = (Arc::downgrade(effect), today, Arc::clone(&month));
        month
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_said_and_nothing_more() {
        assert_eq!(Watched::default().words(), None);
        let seen = Watched {
            probes_today: 140,
            answered_today: 138,
            wrong_today: 2,
            wrong_words: Some(
                "gave other bytes than the version's at 12:05 UTC, 2 of 140 probes".to_owned(),
            ),
            answered_permille: Some(985),
            observer_count: 3,
            wrong_count: 2,
        };
        assert_eq!(
            seen.words().unwrap(),
            "answered 138 of 140 probes today; 98.5 % over 30 days (median of 3 observers); gave \
             other bytes than the version's at 12:05 UTC, 2 of 140 probes; 2 wrong answers seen in \
             30 days"
        );
        let quiet = Watched {
            probes_today: 3,
            answered_today: 3,
            ..Watched::default()
        };
        assert_eq!(quiet.words().unwrap(), "answered 3 of 3 probes today");
    }
}
