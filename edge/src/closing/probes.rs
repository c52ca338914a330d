//! What the observations of a month say of each provider: pure, and in whole numbers.
//!
//! Of a provider counts what members of *other* providers wrote of its nodes. From that come how often
//! it answered, what share of visitors each other provider would expect it to have, and for how many
//! hours its nodes were seen to hold each site.

use crate::accounting::calendar::{Day, Month};
use crate::attribution::cap::SHARE_PARTS;
use crate::attribution::hold::HoursBySite;
use crate::watch::observation::{Observation, SiteRow};
use crate::watch::{heard, order};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::Digest;
use verge_sync::id::{NodeId, ProviderId, SiteId};
use verge_sync::record::{Effect, Kind, Record};

/// A provider that nobody wrote of is taken to have answered.
const ALL_PERMILLE: u64 = 1_000;
const DAY_HOURS: u64 = 24;

/// Looks that were answered rightly, of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Looks {
    answered: u64,
    all: u64,
}

impl Looks {
    fn add(&mut self, answered: u64, failed: u64) {
        self.answered = self.answered.saturating_add(answered);
        self.all = self.all.saturating_add(answered).saturating_add(failed);
    }

    /// Of `whole` the part that was answered, rounded down.
    fn part_of(self, whole: u64) -> u64 {
        let part = u128::from(self.answered) * u128::from(whole);
        u64::try_from(part / u128::from(self.all.max(1))).unwrap_or(whole)
    }
}

/// The observations of a month.
#[derive(Debug, Default)]
pub struct Probes {
    /// Ids of the records that were used.
    ids: BTreeSet<Digest>,
    /// By provider, and by who looked.
    providers: BTreeMap<ProviderId, BTreeMap<ProviderId, Looks>>,
    /// By node and day, all sites together.
    nodes: BTreeMap<(NodeId, Day), Looks>,
    /// By node, day and site.
    sites: BTreeMap<(NodeId, Day, [u8; 8]), Looks>,
    /// Whose each node is.
    owners: BTreeMap<NodeId, ProviderId>,
}

impl Probes {
    /// Reads the observations of the days of `month`.
    #[must_use]
    pub fn read(effect: &Effect, month: Month) -> Self {
        let mut first: BTreeMap<(NodeId, NodeId, Day), (&Record, Observation)> = BTreeMap::new();
        let records = effect.records();
        for record in records.filter(|record| record.envelope().kind == Kind::OBSERVATION) {
            let Some((observer, node, seen)) = heard(effect, record) else {
                continue;
            };
            let Some(day) = Day::new(seen.day).filter(|day| day.month() == month) else {
                continue;
            };
            // Of two of one day the first counts.
            let kept = first.entry((observer, node, day));
            let kept = kept.or_insert((record, seen.clone()));
            if order(record) < order(kept.0) {
                *kept = (record, seen);
            }
        }
        let mut probes = Self::default();
        for ((observer, node, day), (record, seen)) in first {
            probes.add(effect, (observer, node, day), &seen);
            probes
                .ids
                .insert(Digest::from_bytes(*record.id().as_bytes()));
        }
        probes
    }

    fn add(
        &mut self,
        effect: &Effect,
        (observer, node, day): (NodeId, NodeId, Day),
        seen: &Observation,
    ) {
        let provider = |id: &NodeId| effect.nodes.get(id).map(|node| node.slot.provider);
        let (Some(by), Some(of)) = (provider(&observer), provider(&node)) else {
            return;
        };
        let (answered, all) = (u64::from(seen.answered), seen.probes());
        let failed = all.saturating_sub(answered);
        let looks = self.providers.entry(of).or_default().entry(by).or_default();
        looks.add(answered, failed);
        self.nodes
            .entry((node, day))
            .or_default()
            .add(answered, failed);
        for SiteRow {
            site,
            answered,
            failed,
        } in &seen.sites
        {
            let looks = self.sites.entry((node, day, *site)).or_default();
            looks.add(u64::from(*answered), u64::from(*failed));
        }
        self.owners.insert(node, of);
    }

    /// The digest of what was used, for the close.
    #[must_use]
    pub fn digest(&self) -> Digest {
        super::blob::digest_of(&self.ids)
    }

    /// How many observations there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// How often a provider answered, in thousandths: the median of those who looked, of an even number
    /// the lower of the two in the middle.
    #[must_use]
    pub fn availability_permille(&self, provider: &ProviderId) -> u32 {
        let looks = self.providers.get(provider).into_iter().flatten();
        let mut permille: Vec<u64> = looks
            .map(|(_, looks)| looks.part_of(ALL_PERMILLE))
            .collect();
        permille.sort_unstable();
        let middle = permille.len().saturating_sub(1) / 2;
        let median = permille.get(middle).copied().unwrap_or(ALL_PERMILLE);
        u32::try_from(median).unwrap_or(0)
    }

    /// What share of visitors each other provider expects one of `all` to have: visitors are led evenly
    /// to those who answer, and whom somebody did not look at is taken to answer.
    #[must_use]
    pub fn estimates(
        &self,
        provider: &ProviderId,
        all: &BTreeSet<ProviderId>,
    ) -> BTreeMap<ProviderId, u32> {
        let seen = |of: &ProviderId, by: &ProviderId| {
            let looks = self.providers.get(of)?.get(by)?;
            Some(looks.part_of(ALL_PERMILLE))
        };
        let observers = self.providers.get(provider).into_iter().flatten();
        let observers = observers.filter(|(by, _)| all.contains(by) && *by != provider);
        observers
            .map(|(by, looks)| {
                let rates = all.iter().map(|of| seen(of, by).unwrap_or(ALL_PERMILLE));
                let whole: u64 = rates.sum();
                let part = looks.part_of(ALL_PERMILLE).saturating_mul(SHARE_PARTS);
                let share = part / whole.max(1);
                (*by, u32::try_from(share).unwrap_or(u32::MAX))
            })
            .collect()
    }

    /// The hours in which each provider was seen to hold each of `sites`, which is there from the day
    /// beside it on: of every day that was looked at the part of 24 hours that was answered, by the looks
    /// for the site, and where nobody wrote of it by all looks at the node. However many nodes of a
    /// provider hold a site, the one that was seen most counts.
    #[must_use]
    pub fn held(&self, sites: &BTreeMap<SiteId, Day>) -> HoursBySite {
        let mut held = HoursBySite::new();
        for (site, since) in sites {
            let mut days: BTreeMap<(ProviderId, Day), u64> = BTreeMap::new();
            for ((node, day), of_node) in &self.nodes {
                let Some(provider) = self.owners.get(node).filter(|_| day >= since) else {
                    continue;
                };
                let of_site = self.sites.get(&(*node, *day, SiteRow::name(site)));
                let hours = of_site.unwrap_or(of_node).part_of(DAY_HOURS);
                let most = days.entry((*provider, *day)).or_default();
                *most = hours.max(*most);
            }
            for ((provider, _), hours) in days.into_iter().filter(|(_, hours)| *hours > 0) {
                let sum = held.entry(*site).or_default().entry(provider).or_default();
                *sum = sum.saturating_add(hours);
            }
        }
        held
    }
}
