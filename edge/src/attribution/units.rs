//! Units: what attribution counts of what a provider served of a site.

use super::exact::Overflow;
use std::collections::BTreeMap;
use verge_sync::id::{ProviderId, SiteId};

/// What a response is worth beside its bytes: about header, record, and its share of a handshake. A
/// constant that nobody can fatten.
pub const UNITS_PER_ANSWER: u64 = 512;
/// More than a region can serve in a month: 64 PiB. Refused, so that all products fit 128 bits.
pub const UNITS_MAX: u64 = 1 << 56;

/// What was served of one site in one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// Credit bytes.
    pub credit_bytes: u64,
    /// Responses 200 and 206 with at least one acknowledged body byte.
    pub answer_count: u64,
}

impl Served {
    /// The units: the bytes, and for the answers at most as much again.
    ///
    /// # Errors
    /// [`Overflow`] above [`UNITS_MAX`].
    pub fn units(self) -> Result<u64, Overflow> {
        let answers = self.answer_count.saturating_mul(UNITS_PER_ANSWER);
        let units = self
            .credit_bytes
            .checked_add(answers.min(self.credit_bytes));
        units.filter(|units| *units <= UNITS_MAX).ok_or(Overflow)
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            credit_bytes: self.credit_bytes.checked_add(other.credit_bytes)?,
            answer_count: self.answer_count.checked_add(other.answer_count)?,
        })
    }
}

/// Credit bytes of a response 200, or of the served range of a 206: what reached the visitor, as if
/// the smallest stored representation had been sent, so that serving uncompressed earns nothing.
///
/// Never more than `delivered_bytes`, nor than the smallest representation; 0 for an empty body.
#[must_use]
pub fn credit_bytes(smallest_bytes: u64, encoded_bytes: u64, delivered_bytes: u64) -> u64 {
    let smallest = u128::from(smallest_bytes.min(encoded_bytes));
    let delivered = u128::from(delivered_bytes.min(encoded_bytes));
    // Two numbers of 64 bits.
    let product = smallest.saturating_mul(delivered);
    let credit = product.checked_div(u128::from(encoded_bytes)).unwrap_or(0);
    u64::try_from(credit).unwrap_or(0)
}

/// Units by site and provider.
pub type UnitsBySite = BTreeMap<SiteId, BTreeMap<ProviderId, u64>>;

/// Adds one day: what the nodes of a provider served of a site is summed before the bound on
/// answers is taken, so that it does not matter which of them served.
///
/// # Errors
/// [`Overflow`].
pub fn add_day(
    month: &mut UnitsBySite,
    rows: impl IntoIterator<Item = (ProviderId, SiteId, Served)>,
) -> Result<(), Overflow> {
    let rows = rows.into_iter();
    let mut rows: Vec<((SiteId, ProviderId), Served)> = rows
        .map(|(provider, site, served)| ((site, provider), served))
        .collect();
    // Faster than a map: the rows of each node come sorted.
    rows.sort_by_key(|(key, _)| *key);
    for of_one in rows.chunk_by(|one, other| one.0 == other.0) {
        let Some(((site, provider), _)) = of_one.first() else {
            continue;
        };
        let mut served = of_one.iter().map(|(_, served)| *served);
        let served = served.try_fold(Served::default(), Served::plus);
        let units = served.ok_or(Overflow)?.units()?;
        if units == 0 {
            continue;
        }
        let of_site = month.entry(*site).or_default();
        let sum = of_site.entry(*provider).or_default();
        let more = sum.checked_add(units).filter(|sum| *sum <= UNITS_MAX);
        *sum = more.ok_or(Overflow)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::cases::cases;
    use proptest::prelude::*;

    fn check(credit_bytes: u64, answer_count: u64, expected: Option<u64>) {
        let served = Served {
            credit_bytes,
            answer_count,
        };
        assert_eq!(served.units().ok(), expected, "{served:?}");
    }

    #[test]
    fn answers_count_at_most_as_much_as_bytes() {
        check(0, 0, Some(0));
        check(0, 1_000, Some(0));
        check(512, 1, Some(1_024));
        check(512, 2, Some(1_024));
        check(10_000, 2, Some(11_024));
        check(UNITS_MAX / 2, u64::MAX, Some(UNITS_MAX));
        check(UNITS_MAX, 0, Some(UNITS_MAX));
        check(UNITS_MAX, 1, None);
        check(u64::MAX, 0, None);
    }

    #[test]
    fn credit_is_of_the_smallest_representation() {
        for (smallest, encoded, delivered, expected) in [
            (1_000, 4_000, 4_000, 1_000),
            (1_000, 4_000, 3_999, 999),
            (1_000, 1_000, 400, 400),
            (1_000, 4_000, 9_000, 1_000),
            (9_000, 4_000, 4_000, 4_000),
            (0, 0, 0, 0),
            (u64::MAX, u64::MAX, u64::MAX, u64::MAX),
        ] {
            assert_eq!(credit_bytes(smallest, encoded, delivered), expected);
        }
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn credited_is_at_most_what_the_visitor_received(a: u64, b: u64, delivered: u64) {
            let credit = credit_bytes(a, b, delivered);
            prop_assert!(credit <= delivered && credit <= a && credit <= b);
        }
    }
}
