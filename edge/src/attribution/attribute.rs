//! The whole of it: levies, the four parts of each fee, the cap, and who gets which part.

use super::cap::{self, CAP_PROVIDERS_MIN};
use super::deliver::{self, Delivered, OwnerUnits};
use super::exact::{Overflow, divide_down, multiply, narrow};
use super::lr::{divide, divide_equally};
use super::money::{Cents, FEES_MAX};
use super::month::{Attribution, Cap, Inputs, OwnerShare, Parts, ProviderShare};
use super::policy::{BASIS_POINTS, Policy};
use super::units::{UNITS_MAX, UnitsBySite};
use std::collections::BTreeMap;
use verge_sync::id::{AccountId, ProviderId, SiteId};

/// Why there are no shares.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributionError {
    /// A figure that does not fit.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// More money than there can be.
    #[error("the fees of the month come to more than {} smallest units of the currency", FEES_MAX.0)]
    TooMuchMoney,
    /// A site whose owner has no fee.
    #[error("site {site} belongs to account {owner}, of which it is not said what it paid")]
    UnknownOwner {
        /// The site.
        site: SiteId,
        /// Its owner.
        owner: AccountId,
    },
    /// Units of a site or provider that is not named.
    #[error("units are claimed of site {site} by provider {provider}, one of which is not known")]
    UnknownClaim {
        /// The site.
        site: SiteId,
        /// The provider.
        provider: ProviderId,
    },
}

/// Divides the fees of a month.
///
/// # Errors
/// [`AttributionError`]: the inputs contradict one another, or are larger than a month can be.
pub fn attribute(inputs: &Inputs) -> Result<Attribution, AttributionError> {
    let fees = total_fees(inputs)?;
    check_names(inputs)?;
    let (credited, cap) = credit(inputs)?;
    let mut owners = split_fees(inputs, &credited)?;
    let pools = Pools::of(&owners)?;
    let delivered = divide_deliver(inputs, &owners)?;
    let ids: Vec<ProviderId> = inputs.providers.keys().copied().collect();
    for (owner, parts) in owners.values_mut().zip(&delivered.by_owner) {
        owner.deliver = ids.iter().copied().zip(parts.iter().copied()).collect();
    }
    let hold = divide_hold(inputs, pools.hold);
    let care = divide_care(inputs, pools.care);
    let mut commons = pools.commons;
    for (pool, parts) in [
        (pools.deliver, &delivered.by_provider),
        (pools.hold, &hold),
        (pools.care, &care),
    ] {
        // Where there is nobody to be paid.
        if parts.is_empty() {
            commons = commons.plus(pool).ok_or(Overflow)?;
        }
    }
    let part = |parts: &[Cents], index| parts.get(index).copied().unwrap_or_default();
    let providers = ids.iter().enumerate().map(|(index, id)| {
        let share = ProviderShare {
            deliver: part(&delivered.by_provider, index),
            hold: part(&hold, index),
            care: part(&care, index),
        };
        (*id, share)
    });
    Ok(Attribution {
        fees,
        levies: pools.levies,
        commons,
        providers: providers.collect(),
        owners,
        credited,
        cap,
    })
}

fn total_fees(inputs: &Inputs) -> Result<Cents, AttributionError> {
    let total = inputs.fees.values().try_fold(Cents(0), |sum, fee| {
        sum.plus(*fee).filter(|sum| *sum <= FEES_MAX)
    });
    total.ok_or(AttributionError::TooMuchMoney)
}

fn check_names(inputs: &Inputs) -> Result<(), AttributionError> {
    for (site, owner) in &inputs.sites {
        if !inputs.fees.contains_key(owner) {
            return Err(AttributionError::UnknownOwner {
                site: *site,
                owner: *owner,
            });
        }
    }
    for (site, claims) in &inputs.units {
        for provider in claims.keys() {
            if !inputs.sites.contains_key(site) || !inputs.providers.contains_key(provider) {
                return Err(AttributionError::UnknownClaim {
                    site: *site,
                    provider: *provider,
                });
            }
        }
    }
    Ok(())
}

/// Units after the cap.
fn credit(inputs: &Inputs) -> Result<(UnitsBySite, Cap), Overflow> {
    let Some(cap_percent) = inputs.policy.cap_percent else {
        return Ok((inputs.units.clone(), Cap::Off));
    };
    if inputs.providers.len() < CAP_PROVIDERS_MIN {
        return Ok((inputs.units.clone(), Cap::TooFewProviders));
    }
    let shares = cap::provider_shares(&inputs.providers)?;
    let mut credited = UnitsBySite::new();
    for (site, served) in &inputs.units {
        let of_site = cap::site_shares(&shares, inputs.held.get(site));
        credited.insert(*site, cap::clip(served, &of_site, cap_percent)?);
    }
    Ok((credited, Cap::Held))
}

/// Levies and the four parts of each fee, and each owner's units.
fn split_fees(
    inputs: &Inputs,
    credited: &UnitsBySite,
) -> Result<BTreeMap<AccountId, OwnerShare>, Overflow> {
    let mut owners = BTreeMap::new();
    for (id, fee) in &inputs.fees {
        owners.insert(*id, split_fee(&inputs.policy, *fee)?);
    }
    for (site, served) in credited {
        let owner = inputs.sites.get(site).and_then(|id| owners.get_mut(id));
        let owner: &mut OwnerShare = owner.ok_or(Overflow)?;
        for (provider, units) in served {
            let sum = owner.units.entry(*provider).or_default();
            *sum = sum
                .checked_add(*units)
                .filter(|sum| *sum <= UNITS_MAX)
                .ok_or(Overflow)?;
        }
    }
    Ok(owners)
}

fn split_fee(policy: &Policy, fee: Cents) -> Result<OwnerShare, Overflow> {
    let mut rest = fee;
    let mut levies = Vec::with_capacity(policy.levies.len());
    for levy in &policy.levies {
        let product = multiply(u128::from(fee.0), u128::from(levy.basis_points))?;
        let amount = Cents(narrow(divide_down(product, u128::from(BASIS_POINTS))?)?);
        rest = rest.minus(amount).ok_or(Overflow)?;
        levies.push(amount);
    }
    let parts = divide(rest.0, &policy.split.weights()).ok_or(Overflow)?;
    let [deliver, hold, care, commons] = <[u64; 4]>::try_from(parts).or(Err(Overflow))?.map(Cents);
    Ok(OwnerShare {
        fee,
        levies,
        parts: Parts {
            deliver,
            hold,
            care,
            commons,
        },
        deliver: BTreeMap::new(),
        units: BTreeMap::new(),
    })
}

/// The sums of what owners' fees were split into.
#[derive(Default)]
struct Pools {
    levies: Vec<Cents>,
    deliver: Cents,
    hold: Cents,
    care: Cents,
    commons: Cents,
}

impl Pools {
    fn of(owners: &BTreeMap<AccountId, OwnerShare>) -> Result<Self, Overflow> {
        let mut pools = Self::default();
        for owner in owners.values() {
            pools.levies.resize(owner.levies.len(), Cents(0));
            let levies = pools.levies.iter_mut().zip(&owner.levies);
            let parts = &owner.parts;
            let four = [
                (&mut pools.deliver, &parts.deliver),
                (&mut pools.hold, &parts.hold),
                (&mut pools.care, &parts.care),
                (&mut pools.commons, &parts.commons),
            ];
            for (sum, part) in levies.chain(four) {
                *sum = sum.plus(*part).ok_or(Overflow)?;
            }
        }
        Ok(pools)
    }
}

fn divide_deliver(
    inputs: &Inputs,
    owners: &BTreeMap<AccountId, OwnerShare>,
) -> Result<Delivered, Overflow> {
    let ids: Vec<&ProviderId> = inputs.providers.keys().collect();
    if ids.is_empty() {
        return Ok(Delivered {
            by_provider: Vec::new(),
            by_owner: Vec::new(),
        });
    }
    let units = |owner: &OwnerShare| {
        let units = ids.iter().map(|id| owner.units.get(id).copied());
        units.map(Option::unwrap_or_default).collect()
    };
    let owners: Vec<OwnerUnits> = owners
        .values()
        .map(|owner| OwnerUnits {
            fee: owner.fee,
            deliver: owner.parts.deliver,
            units: units(owner),
        })
        .collect();
    deliver::deliver(&inputs.policy, &owners, ids.len())
}

/// By verified replica-hours; equally if nobody's were verified.
fn divide_hold(inputs: &Inputs, pool: Cents) -> Vec<Cents> {
    let hours = |id: &ProviderId| {
        let of_sites = inputs.held.values().filter_map(|held| held.get(id));
        of_sites.fold(0_u128, |sum, hours| sum.saturating_add(u128::from(*hours)))
    };
    let weights: Vec<u128> = inputs.providers.keys().map(hours).collect();
    let parts = divide(pool.0, &weights).or_else(|| divide_equally(pool.0, weights.len()));
    parts.unwrap_or_default().into_iter().map(Cents).collect()
}

/// Equally among those in good standing.
fn divide_care(inputs: &Inputs, pool: Cents) -> Vec<Cents> {
    let weights = inputs
        .providers
        .values()
        .map(|provider| u128::from(provider.is_in_good_standing));
    let weights: Vec<u128> = weights.collect();
    let parts = divide(pool.0, &weights);
    parts.unwrap_or_default().into_iter().map(Cents).collect()
}
