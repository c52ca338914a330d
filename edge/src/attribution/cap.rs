//! The cap: of a site's credited units a provider has at most one and a half times the share that
//! probes say it should have, so that whoever writes larger figures gains little by it.

use super::Provider;
use super::exact::{Overflow, divide_down, multiply, narrow, sum};
use super::lr::{divide, divide_equally};
use std::collections::BTreeMap;
use verge_sync::id::ProviderId;

/// With fewer providers nothing bounds what one of them says of itself, and there is no cap.
pub const CAP_PROVIDERS_MIN: usize = 4;
/// Shares are in parts of so many.
pub const SHARE_PARTS: u64 = 10_000;
/// So many estimates by other providers, or the steering weight alone counts: of three the median
/// is an honest one if at most one lies.
pub const ESTIMATES_MIN: usize = 3;
/// A node that held a site has at least a thousandth, however it is spoken of.
const SHARE_PARTS_MIN: u64 = 10;
/// What a permille and a percentage are parts of.
const PERMILLE: u128 = 1_000;
const PERCENT: u128 = 100;

/// Each provider's share in parts of [`SHARE_PARTS`]; they need not add up to it.
///
/// The median of what other providers estimated, held within half and twice the signed steering
/// weight times the provider's own availability; with fewer than [`ESTIMATES_MIN`] estimates the
/// weight alone.
///
/// # Errors
/// [`Overflow`].
pub fn provider_shares(
    providers: &BTreeMap<ProviderId, Provider>,
) -> Result<BTreeMap<ProviderId, u64>, Overflow> {
    let weights: Vec<u128> = providers
        .values()
        .map(|provider| u128::from(provider.steering_weight))
        .collect();
    let weights = divide(SHARE_PARTS, &weights)
        .or_else(|| divide_equally(SHARE_PARTS, weights.len()))
        .unwrap_or_default();
    let mut shares = BTreeMap::new();
    for ((id, provider), weight) in providers.iter().zip(weights) {
        let estimates = provider.estimates.iter();
        // Nobody speaks for itself.
        let others =
            estimates.filter(|(observer, _)| *observer != id && providers.contains_key(observer));
        let share = match median(others.map(|(_, estimate)| u64::from(*estimate)).collect()) {
            None => weight,
            Some(median) => {
                let availability = u128::from(provider.availability_permille).min(PERMILLE);
                let expected = divide_down(multiply(u128::from(weight), availability)?, PERMILLE)?;
                let low = narrow(divide_down(expected, 2)?)?;
                let high = narrow(multiply(expected, 2)?)?;
                median.clamp(low, high)
            }
        };
        shares.insert(*id, share.max(SHARE_PARTS_MIN));
    }
    Ok(shares)
}

/// Of an even number the lower of the two in the middle; none of fewer than [`ESTIMATES_MIN`].
fn median(mut estimates: Vec<u64>) -> Option<u64> {
    estimates.sort_unstable();
    if estimates.len() < ESTIMATES_MIN {
        return None;
    }
    let middle = estimates.len().checked_sub(1)?.checked_div(2)?;
    estimates.get(middle).copied()
}

/// The shares of those who held a site, brought to [`SHARE_PARTS`] in all; all providers' if it is
/// not known who held it. Who did not hold it has none.
#[must_use]
pub fn site_shares(
    shares: &BTreeMap<ProviderId, u64>,
    hours: Option<&BTreeMap<ProviderId, u64>>,
) -> BTreeMap<ProviderId, u64> {
    let held = |id: &ProviderId| {
        hours
            .and_then(|hours| hours.get(id))
            .is_some_and(|hours| *hours > 0)
    };
    let is_known = shares.keys().any(held);
    let holders: Vec<_> = shares
        .iter()
        .filter(|(id, _)| !is_known || held(id))
        .collect();
    let weights: Vec<u128> = holders
        .iter()
        .map(|(_, share)| u128::from(**share))
        .collect();
    let parts = divide(SHARE_PARTS, &weights).unwrap_or_default();
    let whole = holders.into_iter().zip(parts);
    whole.map(|((id, _), part)| (*id, part.max(1))).collect()
}

/// The units of one site after the cap: the largest figures of which each is at most what was
/// served, and at most `cap_percent` of the provider's share of all of them together.
///
/// A clipped figure makes the whole smaller, and so the caps of the others; this is where that comes
/// to rest. If only a few served the site, who together may have less than the whole, nothing is
/// left, and the owner's money follows the region's average.
///
/// # Errors
/// [`Overflow`].
pub fn clip(
    served: &BTreeMap<ProviderId, u64>,
    shares: &BTreeMap<ProviderId, u64>,
    cap_percent: u32,
) -> Result<BTreeMap<ProviderId, u64>, Overflow> {
    let mut claims = Vec::with_capacity(served.len());
    for (id, units) in served {
        let share = u128::from(shares.get(id).copied().unwrap_or(0));
        claims.push(Claim {
            provider: *id,
            units: u128::from(*units),
            cap: multiply(share, u128::from(cap_percent))?,
            is_clipped: false,
        });
    }
    let mut whole = exact_whole(&mut claims)?;
    loop {
        let credited = claims
            .iter()
            .map(|claim| claim.credited(whole))
            .collect::<Result<Vec<_>, _>>()?;
        let credited_whole = sum(credited.iter().copied())?;
        if credited_whole >= whole {
            let credited = claims.iter().map(|claim| claim.provider).zip(credited);
            return credited
                .map(|(id, units)| Ok((id, narrow(units)?)))
                .collect();
        }
        // Rounding down took some bytes. The caps are of whole numbers in WHOLE, so that this ends
        // after some steps; each makes the whole smaller.
        whole = credited_whole;
    }
}

/// Caps are in parts of this.
const WHOLE: u128 = PERCENT * (SHARE_PARTS as u128);

struct Claim {
    provider: ProviderId,
    units: u128,
    /// Of [`WHOLE`].
    cap: u128,
    is_clipped: bool,
}

impl Claim {
    fn credited(&self, whole: u128) -> Result<u128, Overflow> {
        let cap = divide_down(multiply(self.cap, whole)?, WHOLE)?;
        Ok(self.units.min(cap))
    }
}

/// The whole at the fixed point, if units could be divided, rounded down: those who are clipped have
/// their caps of it, the others what they served. Who is found to be clipped stays so, because the
/// whole only becomes smaller.
fn exact_whole(claims: &mut [Claim]) -> Result<u128, Overflow> {
    loop {
        let free = claims.iter().filter(|claim| !claim.is_clipped);
        let free_units = sum(free.map(|claim| claim.units))?;
        let clipped = claims.iter().filter(|claim| claim.is_clipped);
        let caps = sum(clipped.map(|claim| claim.cap))?;
        // Not below 0: those who are clipped served more than their caps of a whole that has the
        // units of all of them.
        let rest = WHOLE.checked_sub(caps).ok_or(Overflow)?;
        let mut is_settled = true;
        for claim in claims.iter_mut().filter(|claim| !claim.is_clipped) {
            // units > cap x whole, with whole = free_units / rest.
            if multiply(claim.units, rest)? > multiply(claim.cap, free_units)? {
                claim.is_clipped = true;
                is_settled = false;
            }
        }
        if is_settled {
            return if free_units == 0 {
                Ok(0)
            } else {
                divide_down(multiply(free_units, WHOLE)?, rest)
            };
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]
mod tests {
    use super::*;
    use crate::attribution::cases::cases;
    use proptest::prelude::*;

    fn id(number: usize) -> ProviderId {
        ProviderId::from_bytes([u8::try_from(number).unwrap(); 32])
    }

    fn by_id(numbers: &[u64]) -> BTreeMap<ProviderId, u64> {
        (0..).map(id).zip(numbers.iter().copied()).collect()
    }

    fn check(served: &[u64], shares: &[u64], expected: &[u64]) {
        let clipped = clip(&by_id(served), &by_id(shares), 150).unwrap();
        let clipped: Vec<u64> = clipped.into_values().collect();
        assert_eq!(clipped, expected, "{served:?} {shares:?}");
    }

    #[test]
    fn the_cap_comes_to_rest_at_its_fixed_point() {
        let quarter = [2_500; 4];
        check(&[100, 100, 100, 100], &quarter, &[100, 100, 100, 100]);
        // 300 of the others are 62.5 %, so the whole is 480 and the cap 180.
        check(&[1_000_000, 100, 100, 100], &quarter, &[180, 100, 100, 100]);
        check(&[151, 100, 100, 51], &quarter, &[150, 100, 100, 51]);
        // Two of four may have three quarters; alone with nobody else they have nothing.
        check(&[100, 100, 0, 0], &quarter, &[0, 0, 0, 0]);
        check(&[1000, 1000, 10, 10], &quarter, &[30, 30, 10, 10]);
        check(&[11, 10], &[3_334, 3_334], &[10, 10]);
        // Held by one alone: nothing to compare with.
        check(&[77, 0, 0, 0], &[10_000, 0, 0, 0], &[77, 0, 0, 0]);
        check(&[77, 50], &[10_000, 0], &[77, 0]);
        check(&[], &[], &[]);
    }

    fn provider(weight: u32, availability: u32, estimates: &[(usize, u32)]) -> Provider {
        Provider {
            is_in_good_standing: true,
            steering_weight: weight,
            availability_permille: availability,
            estimates: estimates.iter().map(|(by, of)| (id(*by), *of)).collect(),
        }
    }

    #[test]
    fn shares_are_medians_within_bounds_of_the_weight() {
        let of_first = |first: Provider| {
            let mut providers: BTreeMap<ProviderId, Provider> = (1..5)
                .map(|number| (id(number), provider(1, 1_000, &[])))
                .collect();
            providers.insert(id(0), first);
            provider_shares(&providers).unwrap()[&id(0)]
        };
        let three = |a, b, c| [(1, a), (2, b), (3, c)];
        // A fifth each.
        assert_eq!(of_first(provider(1, 1_000, &[])), 2_000);
        assert_eq!(
            of_first(provider(1, 1_000, &[(1, 9_000), (2, 9_000)])),
            2_000
        );
        assert_eq!(of_first(provider(1, 1_000, &three(2_100, 1, 9_999))), 2_100);
        // Its own word, and that of strangers, is no estimate.
        assert_eq!(
            of_first(provider(1, 1_000, &[(0, 9_000), (1, 9_000), (77, 9_000)])),
            2_000
        );
        assert_eq!(
            of_first(provider(1, 1_000, &three(9_999, 9_999, 9_999))),
            4_000
        );
        assert_eq!(of_first(provider(1, 1_000, &three(0, 0, 0))), 1_000);
        assert_eq!(of_first(provider(1, 500, &three(0, 0, 0))), 500);
        assert_eq!(of_first(provider(1, 0, &three(0, 0, 0))), SHARE_PARTS_MIN);
        assert_eq!(of_first(provider(0, 1_000, &[])), SHARE_PARTS_MIN);
    }

    #[test]
    fn who_held_a_site_shares_it() {
        let shares = by_id(&[2_500, 2_500, 5_000, 10]);
        let held = by_id(&[720, 0, 1]);
        let of_site: Vec<u64> = site_shares(&shares, Some(&held)).into_values().collect();
        assert_eq!(of_site, [3_333, 6_667]);
        assert_eq!(site_shares(&shares, None).len(), 4);
        assert_eq!(site_shares(&shares, Some(&BTreeMap::new())).len(), 4);
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        /// Nobody has more than was served, or than the cap of what is credited in all; and no larger
        /// figures do that.
        #[test]
        fn credited_is_at_most_served_and_at_most_the_cap(
            claims in prop::collection::vec((0..1_u64 << 50, 0..5_000_u64), 1..12),
            small in prop::collection::vec((0..60_u64, 0..5_000_u64), 1..6),
        ) {
            for claims in [claims, small] {
                let served = by_id(&claims.iter().map(|claim| claim.0).collect::<Vec<_>>());
                let shares = by_id(&claims.iter().map(|claim| claim.1).collect::<Vec<_>>());
                let credited = clip(&served, &shares, 150).unwrap();
                let whole: u128 = credited.values().copied().map(u128::from).sum();
                for (id, units) in &credited {
                    prop_assert!(units <= &served[id]);
                    prop_assert!(u128::from(*units) * WHOLE <= u128::from(shares[id]) * 150 * whole);
                }
                // The largest: from above, step by step, it is reached as well.
                if served.values().sum::<u64>() < 1_000 {
                    let mut all: u64 = served.values().sum();
                    loop {
                        let cap = |id: &ProviderId| shares[id] * 150 * all / 1_000_000;
                        let next = served.iter().map(|(id, units)| *units.min(&cap(id))).sum();
                        if next == all {
                            break;
                        }
                        all = next;
                    }
                    prop_assert_eq!(whole, u128::from(all));
                }
            }
        }
    }
}
