//! Days of nodes whose disk died: the snapshots that stand for their seals in a close.

use super::body::SNAPSHOTS_MAX;
use super::error::ClosingError;
use super::work::Closing;
use crate::accounting::calendar::Day;
use crate::accounting::seal::RowsNamed;
use crate::attribution::statement::SealedDay;
use crate::witness::{Chains, Published, orphans, published};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::Digest;
use verge_sync::id::NodeId;
use verge_sync::record::Effect;
use verge_sync::store::StoreError;

/// What a month takes in of them.
#[derive(Default)]
pub(super) struct Lost {
    pub(super) days: Vec<SealedDay>,
    /// Nodes and days whose rows are not here.
    pub(super) waiting: Vec<String>,
}

/// Whose day each snapshot is of, also of those that a seal has overtaken: a day that a close took from
/// a snapshot is settled, whatever its node seals when its disk is found again.
pub(super) fn known(effect: &Effect) -> BTreeMap<Digest, (NodeId, Day)> {
    let published = published(effect).into_iter();
    published.map(|of| (of.digest, (of.node, of.day))).collect()
}

/// The first of those that count, by day and node; the others are late, as a seal may be.
pub(super) fn to_take(effect: &Effect, counted: &BTreeSet<Digest>) -> Vec<Published> {
    let orphans = orphans(effect, &Chains::of(effect)).into_values();
    let mut taken: Vec<Published> = orphans.filter(|of| counted.contains(&of.digest)).collect();
    taken.sort_by_key(|of| (of.day, of.node));
    taken.truncate(SNAPSHOTS_MAX);
    taken
}

impl Closing {
    /// Snapshots with their rows.
    pub(super) fn lost(&self, snapshots: Vec<Published>) -> Result<Lost, ClosingError> {
        let mut lost = Lost::default();
        for of in snapshots {
            match self.snapshot(&of)? {
                Some(day) => lost.days.push(day),
                None => lost.waiting.push(format!(
                    "node {}, {}, of a snapshot",
                    of.node.short(),
                    of.day
                )),
            }
        }
        Ok(lost)
    }

    /// The snapshots that a close names.
    pub(super) fn taken(
        &self,
        effect: &Effect,
        names: &[Digest],
    ) -> Result<Vec<SealedDay>, ClosingError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let named = published(effect).into_iter();
        let named = named.filter(|of| names.contains(&of.digest));
        Ok(self.lost(named.collect())?.days)
    }

    fn snapshot(&self, of: &Published) -> Result<Option<SealedDay>, StoreError> {
        let Ok(named) = RowsNamed::of(&of.body) else {
            return Ok(None);
        };
        let said = (of.digest, of.body.as_slice());
        self.accounting.ledger.join((of.node, of.day), said, &named)
    }
}
