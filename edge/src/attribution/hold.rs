//! Who held which site for how long, as others could verify it.

use std::collections::BTreeMap;
use verge_sync::id::{ProviderId, SiteId};

/// The hours of one day in which a node of the provider was seen to hold the site: bit 0 is the
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldDay {
    /// Whose node.
    pub provider: ProviderId,
    /// What it held.
    pub site: SiteId,
    /// Days since 1970-01-01.
    pub day: u32,
    /// The hours.
    pub hours: u32,
}

/// A day has 24 hours.
const HOURS_MASK: u32 = (1 << 24) - 1;

/// Verified replica-hours by site and provider.
pub type HoursBySite = BTreeMap<SiteId, BTreeMap<ProviderId, u64>>;

/// Replica-hours: in each hour at most one replica of a site counts for a provider, on however many
/// of its nodes it lay.
#[must_use]
pub fn replica_hours(rows: impl IntoIterator<Item = HeldDay>) -> HoursBySite {
    let mut days: BTreeMap<(SiteId, ProviderId, u32), u32> = BTreeMap::new();
    for row in rows {
        let hours = days.entry((row.site, row.provider, row.day)).or_default();
        *hours |= row.hours & HOURS_MASK;
    }
    let mut held = HoursBySite::new();
    for ((site, provider, _), hours) in days {
        let sum = held.entry(site).or_default().entry(provider).or_default();
        *sum = sum.saturating_add(u64::from(hours.count_ones()));
    }
    held
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_provider_has_one_replica_of_a_site() {
        let row = |provider, site, day, hours| HeldDay {
            provider: ProviderId::from_bytes([provider; 32]),
            site: SiteId::from_bytes([site; 32]),
            day,
            hours,
        };
        let rows = [
            row(1, 9, 100, 0b0011),
            row(1, 9, 100, 0b0110),
            row(1, 9, 101, u32::MAX),
            row(2, 9, 100, 0b1000),
            row(2, 8, 100, 0b1000),
        ];
        let held = replica_hours(rows);
        let hours = |site: u8, provider: u8| {
            held[&SiteId::from_bytes([site; 32])][&ProviderId::from_bytes([provider; 32])]
        };
        assert_eq!((hours(9, 1), hours(9, 2), hours(8, 2)), (27, 1, 1));
    }
}
