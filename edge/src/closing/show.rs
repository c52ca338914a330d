//! How the months stand, in figures and words.

use super::{Closes, Proposed};
use crate::region::provider_name;
use serde::Serialize;
use verge_sync::record::Effect;

/// Closed months that are shown, the last ones.
const SHOWN_MAX: usize = 12;

/// A month that is closed, or for which a close waits for votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MonthLine {
    /// Which, as `2026-11`.
    pub month: String,
    /// Whether it is closed.
    pub is_closed: bool,
    /// The id of the close.
    pub close: String,
    /// The digest of its statement.
    pub statement: String,
    /// The providers that are for it, by name.
    pub voters: Vec<String>,
    /// How many it takes.
    pub needed: usize,
}

impl MonthLine {
    /// All of them, the earliest first.
    #[must_use]
    pub fn all(effect: &Effect) -> Vec<Self> {
        let closes = Closes::read(effect);
        let mut closed: Vec<Self> = closes
            .closed()
            .rev()
            .take(SHOWN_MAX)
            .map(|(_, of)| Self::of(effect, of, true))
            .collect();
        closed.reverse();
        for month in closes.open_months() {
            let open = closes.open(month).into_iter();
            closed.extend(open.map(|of| Self::of(effect, of, false)));
        }
        closed
    }

    fn of(effect: &Effect, of: &Proposed, is_closed: bool) -> Self {
        let voters = of.voters.iter();
        Self {
            month: of.body.month.to_string(),
            is_closed,
            close: of.id().to_string(),
            statement: of.body.statement.to_string(),
            voters: voters.map(|voter| provider_name(effect, *voter)).collect(),
            needed: effect.chain.current().body.majority(),
        }
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        let (month, count, needed) = (&self.month, self.voters.len(), self.needed);
        let voters = self.voters.join(", ");
        if self.is_closed {
            return format!("{month} is closed ({voters})");
        }
        format!(
            "{month} has {count} of {needed} votes to be closed ({voters}): verge statement sign {month}"
        )
    }
}
