//! What holds of every month: the invariants of `docs/accounting.md`, as properties.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "tests may panic, and exact quotas are compared to a millionth of a cent"
)]

use super::cap::clip;
use super::cases::cases;
use super::money::{Cents, Currency};
use super::policy::{BASIS_POINTS, Levy, Policy, Rule, Split};
use super::units::{Served, UnitsBySite, add_day};
use super::{Attribution, Inputs, Provider, attribute};
use proptest::prelude::*;
use std::collections::BTreeMap;
use verge_sync::id::{AccountId, ProviderId, SiteId};

const SITES_OF_OWNER: usize = 2;

fn provider(number: usize) -> ProviderId {
    ProviderId::from_bytes([u8::try_from(number).unwrap(); 32])
}

fn owner(number: usize) -> AccountId {
    AccountId::from_bytes([u8::try_from(number).unwrap(); 32])
}

fn site(owner: usize, number: usize) -> SiteId {
    let mut bytes = [u8::try_from(owner).unwrap(); 32];
    bytes[31] = u8::try_from(number).unwrap();
    SiteId::from_bytes(bytes)
}

/// From nothing to the largest, evenly over the number of bits.
fn units() -> impl Strategy<Value = u64> {
    (0..50_u32, any::<u64>()).prop_map(|(bits, number)| number & ((1 << bits) - 1))
}

fn fee() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 2..100_u64, 100..100_000_u64]
}

prop_compose! {
    fn policy()(
        rule in prop_oneof![
            Just(Rule::Pooled), Just(Rule::ByOwner), Just(Rule::Shrunk), Just(Rule::Equal)
        ],
        cuts in prop::array::uniform3(0..=BASIS_POINTS),
        threshold_units in prop_oneof![Just(64 << 20), units()],
        sponsored_percent in 0..=50_u32,
        cap_percent in prop::option::of(100..300_u32),
        levies in prop::collection::vec(0..3_000_u32, 0..3),
    ) -> Policy {
        let mut cuts = cuts;
        cuts.sort_unstable();
        Policy {
            rule,
            split: Split {
                deliver: cuts[0],
                hold: cuts[1] - cuts[0],
                care: cuts[2] - cuts[1],
                commons: BASIS_POINTS - cuts[2],
            },
            threshold_units,
            sponsored_percent,
            cap_percent,
            levies: levies.into_iter().map(|basis_points| Levy {
                name: String::new(),
                basis_points,
            }).collect(),
            ..Policy::new(Currency::of("EUR").unwrap())
        }
    }
}

prop_compose! {
    fn a_provider()(
        is_in_good_standing: bool,
        steering_weight in 0..4_u32,
        availability_permille in 0..=1_000_u32,
        estimates in prop::collection::btree_map(0..9_usize, 0..10_001_u32, 0..9),
    ) -> Provider {
        Provider {
            is_in_good_standing,
            steering_weight,
            availability_permille,
            estimates: estimates.into_iter().map(|(by, of)| (provider(by), of)).collect(),
        }
    }
}

fn month() -> impl Strategy<Value = Inputs> {
    month_of(0)
}

prop_compose! {
    /// With so many providers and owners at least.
    fn month_of(least: usize)(
        provider_count in least..9_usize,
        owner_count in least..7_usize,
    )(
        policy in policy(),
        providers in prop::collection::vec(a_provider(), provider_count),
        fees in prop::collection::vec(fee(), owner_count),
        units in prop::collection::vec(units(), provider_count * owner_count * SITES_OF_OWNER),
        hours in prop::collection::vec(0..745_u64, provider_count * owner_count * SITES_OF_OWNER),
    ) -> Inputs {
        let (provider_count, owner_count) = (providers.len(), fees.len());
        let mut inputs = Inputs {
            policy,
            providers: (0..).map(provider).zip(providers).collect(),
            fees: (0..).map(owner).zip(fees.into_iter().map(Cents)).collect(),
            sites: BTreeMap::new(),
            units: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        let mut figures = units.into_iter().zip(hours);
        for of in 0..owner_count {
            for number in 0..SITES_OF_OWNER {
                let id = site(of, number);
                inputs.sites.insert(id, owner(of));
                for by in (0..provider_count).map(provider) {
                    let (units, hours) = figures.next().unwrap();
                    inputs.units.entry(id).or_default().insert(by, units);
                    inputs.held.entry(id).or_default().insert(by, hours);
                }
            }
        }
        inputs
    }
}

/// A month under rule B or C without a cap, in which somebody is paid and pays.
fn uncapped(rule: Rule) -> impl Strategy<Value = Inputs> {
    month_of(1).prop_map(move |mut inputs| {
        inputs.policy.rule = rule;
        inputs.policy.cap_percent = None;
        inputs.policy.threshold_units = 64 << 20;
        inputs.policy.sponsored_percent = 10;
        inputs
    })
}

fn deliver_of(attribution: &Attribution, id: AccountId, by: ProviderId) -> u64 {
    attribution.owners[&id].deliver[&by].0
}

/// What of an owner's deliver part follows the region's average, in cents.
fn shrinkage(attribution: &Attribution, inputs: &Inputs, id: AccountId) -> f64 {
    let own: u64 = attribution.owners[&id].units.values().sum();
    let threshold = inputs.policy.threshold_units;
    let deliver = attribution.owners[&id].parts.deliver.0 as f64;
    match inputs.policy.rule {
        _ if own == 0 => deliver,
        Rule::Shrunk if own < threshold => deliver * (threshold - own) as f64 / threshold as f64,
        _ => 0.0,
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn payouts_levies_and_commons_are_the_fees(inputs in month()) {
        let attribution = attribute(&inputs).unwrap();
        let shares = attribution.providers.values();
        let paid: u64 = shares.map(|share| share.deliver.0 + share.hold.0 + share.care.0).sum();
        let levies: u64 = attribution.levies.iter().map(|levy| levy.0).sum();
        let fees: u64 = inputs.fees.values().map(|fee| fee.0).sum();
        prop_assert_eq!(attribution.fees, Cents(fees));
        prop_assert_eq!(paid + levies + attribution.commons.0, fees);
        for (id, of) in &attribution.owners {
            let parts = of.parts;
            let levies: u64 = of.levies.iter().map(|levy| levy.0).sum();
            let sum = parts.deliver.0 + parts.hold.0 + parts.care.0 + parts.commons.0 + levies;
            prop_assert_eq!(Cents(sum), inputs.fees[id]);
            if !of.deliver.is_empty() {
                prop_assert_eq!(of.deliver.values().map(|cents| cents.0).sum::<u64>(), parts.deliver.0);
            }
        }
    }

    #[test]
    fn credited_is_at_most_what_was_served(inputs in month()) {
        let attribution = attribute(&inputs).unwrap();
        for (site, served) in &inputs.units {
            for (by, units) in served {
                prop_assert!(attribution.credited[site][by] <= *units);
            }
        }
    }

    /// Rows come by node, day and site in any order.
    #[test]
    fn order_of_rows_is_irrelevant(
        rows in prop::collection::vec((0..3_usize, 0..4_usize, 0..5_usize, units(), 0..5_000_u64), 0..40),
        seed: u64,
    ) {
        let mut shuffled = rows.clone();
        let mut state = seed | 1;
        for at in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
        }
        prop_assert_eq!(by_day(&rows), by_day(&shuffled));
    }

    /// Whether one node of a provider served, or two of them did.
    #[test]
    fn moving_load_between_nodes_of_a_provider_changes_nothing(
        rows in prop::collection::vec((0..3_usize, 0..4_usize, 0..5_usize, units(), 0..5_000_u64), 0..40),
        moved in prop::collection::vec((any::<u64>(), any::<u64>()), 40),
    ) {
        let halves = rows.iter().zip(moved).flat_map(|(row, (bytes, answers))| {
            let (day, by, of, all_bytes, all_answers) = *row;
            let (bytes, answers) = (bytes % (all_bytes + 1), answers % (all_answers + 1));
            [(day, by, of, bytes, answers), (day, by, of, all_bytes - bytes, all_answers - answers)]
        });
        prop_assert_eq!(by_day(&rows), by_day(&halves.collect::<Vec<_>>()));
    }

    /// A larger claim on one owner's site moves nothing of the deliver part of the others.
    #[test]
    fn under_b_a_claim_moves_no_cent_of_another_owner(
        inputs in uncapped(Rule::ByOwner), by: prop::sample::Index, claim in units(),
    ) {
        let (before, after) = claimed(&inputs, by, claim);
        for (id, of) in before.owners.iter().filter(|(id, _)| **id != owner(0)) {
            // Who was served nothing follows the region's average.
            if of.units.values().any(|units| *units > 0) {
                prop_assert_eq!(&of.deliver, &after.owners[id].deliver);
            }
        }
    }

    #[test]
    fn under_c_a_claim_moves_at_most_the_shrinkage_of_another_owner(
        inputs in uncapped(Rule::Shrunk), by: prop::sample::Index, claim in units(),
    ) {
        let (before, after) = claimed(&inputs, by, claim);
        for id in before.owners.keys().filter(|id| **id != owner(0)) {
            let bound = shrinkage(&before, &inputs, *id);
            for provider in inputs.providers.keys() {
                let moved = deliver_of(&before, *id, *provider).abs_diff(deliver_of(&after, *id, *provider));
                // Each of the two is rounded by less than a cent.
                prop_assert!((moved as f64) < bound + 2.0, "{moved} of {bound}");
                if bound == 0.0 {
                    prop_assert_eq!(moved, 0);
                }
            }
        }
    }

    /// A sponsored site, or one whose owner pays a cent.
    #[test]
    fn a_free_site_inflated_a_million_times_moves_a_tenth_of_the_shrinkage(
        mut inputs in uncapped(Rule::Shrunk), by: prop::sample::Index, small_fee in 0..2_u64,
    ) {
        let honest = provider(by.index(inputs.providers.len()));
        inputs.fees.insert(owner(0), Cents(small_fee));
        // Somebody else pays and is visited.
        inputs.fees.insert(owner(8), Cents(500));
        inputs.sites.insert(site(8, 0), owner(8));
        inputs.units.insert(site(8, 0), [(honest, 3 << 20)].into());
        let before = attribute(&inputs).unwrap();
        let mut inflated = inputs.clone();
        let liar = provider(by.index(inputs.providers.len()));
        for number in 0..SITES_OF_OWNER {
            let claims = inflated.units.entry(site(0, number)).or_default();
            if let Some(units) = claims.get_mut(&liar) {
                *units = units.saturating_mul(1_000_000).min(1 << 54);
            }
        }
        inflated.sites.extend((0..SITES_OF_OWNER).map(|number| (site(0, number), owner(0))));
        let mut inputs = inputs;
        inputs.sites = inflated.sites.clone();
        let after = attribute(&inflated).unwrap();
        for id in before.owners.keys().filter(|id| **id != owner(0)) {
            let bound = shrinkage(&before, &inputs, *id) / 10.0;
            for provider in inputs.providers.keys() {
                let quota = quota(&inputs, &before, *id, *provider);
                let moved = (deliver_of(&after, *id, *provider) as f64 - quota).abs();
                prop_assert!(moved <= bound + 1.0 + 1e-6, "{moved} of {bound}");
            }
        }
    }

    /// At a fixed total, for each owner whose money there is to divide.
    #[test]
    fn more_units_cost_a_provider_at_most_a_cent_of_rounding(
        inputs in prop_oneof![uncapped(Rule::ByOwner), uncapped(Rule::Shrunk)],
        by: prop::sample::Index, more in units(),
    ) {
        let served = inputs.units.get(&site(0, 0)).cloned().unwrap_or_default();
        let by = provider(by.index(inputs.providers.len()));
        let (before, after) = claimed_by(&inputs, by, served[&by] + more);
        for id in before.owners.keys() {
            prop_assert!(deliver_of(&after, *id, by) + 1 >= deliver_of(&before, *id, by));
        }
    }

    #[test]
    fn splitting_a_provider_in_two_raises_its_deliver_share_by_at_most_a_cent_per_owner(
        inputs in prop_oneof![uncapped(Rule::ByOwner), uncapped(Rule::Shrunk)],
        by: prop::sample::Index, parts in prop::collection::vec(any::<u64>(), 20),
    ) {
        // Where nobody was served there is nothing but equal parts, and two have two of them.
        prop_assume!(inputs.fees.iter().any(|(id, fee)| fee.0 > 0 && serves(&inputs, *id)));
        let one = provider(by.index(inputs.providers.len()));
        let other = provider(100);
        let before = attribute(&inputs).unwrap();
        let mut split = inputs;
        split.providers.insert(other, split.providers[&one].clone());
        for (claims, part) in split.units.values_mut().zip(parts) {
            let all = claims[&one];
            let part = part % (all + 1);
            claims.insert(one, part);
            claims.insert(other, all - part);
        }
        let after = attribute(&split).unwrap();
        for id in before.owners.keys() {
            let two = deliver_of(&after, *id, one) + deliver_of(&after, *id, other);
            prop_assert!(two <= deliver_of(&before, *id, one) + 1);
        }
    }

    /// Two halves that may have together what one could.
    #[test]
    fn splitting_a_provider_in_two_does_not_raise_its_cap(
        claims in prop::collection::vec((1_u64 << 30..1 << 45, 1..3_000_u64), 3..10),
        part in 0..=100_u64, share_part in 0..=100_u64,
    ) {
        let served: BTreeMap<_, _> = (0..).map(provider).zip(claims.iter().map(|claim| claim.0)).collect();
        let shares: BTreeMap<_, _> = (0..).map(provider).zip(claims.iter().map(|claim| claim.1)).collect();
        let before = clip(&served, &shares, 150).unwrap();
        let (mut served, mut shares) = (served, shares);
        for (map, part) in [(&mut served, part), (&mut shares, share_part)] {
            let all = map[&provider(0)];
            map.insert(provider(0), all / 100 * part);
            map.insert(provider(100), all - all / 100 * part);
        }
        let after = clip(&served, &shares, 150).unwrap();
        let whole = |of: &BTreeMap<ProviderId, u64>| of.values().copied().map(u128::from).sum::<u128>();
        let two = u128::from(after[&provider(0)]) + u128::from(after[&provider(100)]);
        let one = u128::from(before[&provider(0)]);
        // A byte or so is lost for each provider.
        let rounding = (whole(&before) + whole(&after)) * 20_000;
        prop_assert!(two * whole(&before) <= one * whole(&after) + rounding);
    }
}

fn serves(inputs: &Inputs, id: AccountId) -> bool {
    let sites = inputs.sites.iter().filter(|(_, owner)| **owner == id);
    sites
        .filter_map(|(site, _)| inputs.units.get(site))
        .any(|claims| claims.values().any(|units| *units > 0))
}

/// Days, providers, sites, credit bytes and answers as units.
fn by_day(rows: &[(usize, usize, usize, u64, u64)]) -> UnitsBySite {
    let mut month = UnitsBySite::new();
    for day in 0..3 {
        let rows = rows.iter().filter(|row| row.0 == day);
        let rows = rows.map(|(_, by, of, credit_bytes, answer_count)| {
            let served = Served {
                credit_bytes: *credit_bytes,
                answer_count: *answer_count,
            };
            (provider(*by), site(*of, 0), served)
        });
        add_day(&mut month, rows).unwrap();
    }
    month
}

/// Before and after a provider claims so many units of the first owner's first site.
fn claimed(inputs: &Inputs, by: prop::sample::Index, claim: u64) -> (Attribution, Attribution) {
    claimed_by(inputs, provider(by.index(inputs.providers.len())), claim)
}

fn claimed_by(inputs: &Inputs, by: ProviderId, claim: u64) -> (Attribution, Attribution) {
    let before = attribute(inputs).unwrap();
    let mut after = inputs.clone();
    after.units.get_mut(&site(0, 0)).unwrap().insert(by, claim);
    (before, attribute(&after).unwrap())
}

/// What a provider's part of an owner's deliver part is before it is rounded, under rule C.
fn quota(inputs: &Inputs, attribution: &Attribution, id: AccountId, by: ProviderId) -> f64 {
    let money = |of: &AccountId| inputs.fees[of].0 as f64;
    let all_of = |of: &AccountId| attribution.owners[of].units.values().sum::<u64>() as f64;
    let units_of = |of: &AccountId, by: &ProviderId| {
        attribution.owners[of].units.get(by).copied().unwrap_or(0) as f64
    };
    let fees: f64 = inputs.fees.keys().map(money).sum();
    let sponsored: f64 = inputs
        .fees
        .keys()
        .filter(|of| inputs.fees[of].0 == 0)
        .map(all_of)
        .sum();
    let weight = |by: &ProviderId| -> f64 {
        let of = |of: &AccountId| match inputs.fees[of].0 {
            0 if sponsored > 0.0 => (fees / 10.0).floor() * units_of(of, by) / sponsored,
            0 => 0.0,
            _ if all_of(of) > 0.0 => money(of) * units_of(of, by) / all_of(of),
            _ => 0.0,
        };
        inputs.fees.keys().map(of).sum()
    };
    let whole: f64 = inputs.providers.keys().map(weight).sum();
    let threshold = inputs.policy.threshold_units as f64;
    let missing = (threshold - all_of(&id)).max(0.0);
    let deliver = attribution.owners[&id].parts.deliver.0 as f64;
    let own = units_of(&id, &by);
    deliver * (own + missing * weight(&by) / whole) / (all_of(&id) + missing)
}

#[test]
fn who_was_not_visited_follows_the_average_and_without_one_all_get_the_same() {
    for rule in [Rule::ByOwner, Rule::Shrunk] {
        let mut inputs = super::worked_example::inputs(rule);
        let last = *inputs.sites.keys().next_back().unwrap();
        inputs.units.remove(&last);
        let attribution = attribute(&inputs).unwrap();
        let of = |attribution: &Attribution| -> Vec<u64> {
            let last = attribution.owners.values().next_back().unwrap();
            last.deliver.values().map(|cents| cents.0).collect()
        };
        // The prior of the other two: 500 : 190 : 310 of 1,000.
        assert_eq!(of(&attribution), [50, 19, 31]);
        inputs.units.clear();
        let attribution = attribute(&inputs).unwrap();
        assert_eq!(of(&attribution), [34, 33, 33]);
        inputs.held.clear();
        let equal = attribute(&inputs).unwrap();
        let hold: Vec<u64> = equal.providers.values().map(|share| share.hold.0).collect();
        assert_eq!(hold, [80, 80, 80]);
    }
}

#[test]
fn where_nobody_can_be_paid_the_fund_is() {
    let mut inputs = super::worked_example::inputs(Rule::Shrunk);
    for provider in inputs.providers.values_mut() {
        provider.is_in_good_standing = false;
    }
    assert_eq!(attribute(&inputs).unwrap().commons, Cents(120 + 240));
    inputs.providers.clear();
    inputs.units.clear();
    assert_eq!(attribute(&inputs).unwrap().commons, Cents(1_200));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut Inputs)| {
        let mut inputs = super::worked_example::inputs(Rule::Shrunk);
        change(&mut inputs);
        attribute(&inputs)
            .map(drop)
            .map_err(|error| error.to_string())
            .unwrap_err()
    };
    let text = refused(|inputs| {
        inputs.fees.pop_first();
    });
    assert!(
        text.contains("of which it is not said what it paid"),
        "{text}"
    );
    let text = refused(|inputs| drop(inputs.providers.pop_first()));
    assert!(text.contains("one of which is not known"), "{text}");
    let text = refused(|inputs| {
        inputs
            .units
            .first_entry()
            .unwrap()
            .get_mut()
            .insert(provider(usize::from(b'A')), (1 << 56) + 1);
    });
    assert!(text.contains("too large"), "{text}");
    let text = refused(|inputs| {
        *inputs.fees.first_entry().unwrap().get_mut() = Cents(100_000_000_001);
    });
    assert!(text.contains("100000000000"), "{text}");
    let largest = |inputs: &mut Inputs| {
        *inputs.fees.first_entry().unwrap().get_mut() = Cents(100_000_000_000 - 700);
        for claims in inputs.units.values_mut() {
            claims.values_mut().for_each(|units| *units = 1 << 56);
        }
    };
    for rule in [Rule::Pooled, Rule::ByOwner, Rule::Shrunk, Rule::Equal] {
        let mut inputs = super::worked_example::inputs(rule);
        largest(&mut inputs);
        assert!(attribute(&inputs).is_ok());
    }
}
