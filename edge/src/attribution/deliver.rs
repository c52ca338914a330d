//! The part of each fee that follows who served the owner's sites: policies A, B, C and G.

use super::exact::{Overflow, add, divide_down, multiply, narrow, sum};
use super::lr::{divide, divide_equally};
use super::money::Cents;
use super::policy::{Policy, Rule};

/// A share of an owner's units keeps so many binary places in the prior.
const PRIOR_SCALE: u128 = 1 << 32;
/// What a percentage is a part of.
const PERCENT: u128 = 100;

/// What the deliver part of one owner is divided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerUnits {
    /// What the owner paid; 0: sponsored.
    pub fee: Cents,
    /// The deliver part of it.
    pub deliver: Cents,
    /// Units after the cap, of all providers in ascending order.
    pub units: Vec<u64>,
}

/// What each provider gets, in the order of the units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// In all.
    pub by_provider: Vec<Cents>,
    /// Of each owner, in the order of the owners; nothing under rules that pool (A and G).
    pub by_owner: Vec<Vec<Cents>>,
}

/// Divides the deliver parts. `provider_count` providers, at least one.
///
/// # Errors
/// [`Overflow`].
pub fn deliver(
    policy: &Policy,
    owners: &[OwnerUnits],
    provider_count: usize,
) -> Result<Delivered, Overflow> {
    match policy.rule {
        Rule::Pooled => pooled(owners, &weights_pooled(owners, provider_count)?),
        Rule::Equal => pooled(owners, &vec![1; provider_count]),
        Rule::ByOwner => {
            let prior = prior(owners, policy, provider_count)?;
            by_owner(owners, &prior, |owner| Ok(widen(&owner.units)))
        }
        Rule::Shrunk => {
            let prior = prior(owners, policy, provider_count)?;
            let whole = sum(prior.iter().copied())?;
            by_owner(owners, &prior, |owner| shrunk(owner, &prior, whole, policy))
        }
    }
}

fn widen(units: &[u64]) -> Vec<u128> {
    units.iter().copied().map(u128::from).collect()
}

/// What one owner's own units are worth, and for the rest up to the threshold the prior.
fn shrunk(
    owner: &OwnerUnits,
    prior: &[u128],
    whole: u128,
    policy: &Policy,
) -> Result<Vec<u128>, Overflow> {
    let own = sum(widen(&owner.units))?;
    let missing = u128::from(policy.threshold_units).saturating_sub(own);
    if missing == 0 {
        return Ok(widen(&owner.units));
    }
    let weights = owner.units.iter().zip(prior);
    weights
        .map(|(units, prior)| {
            add(
                multiply(u128::from(*units), whole)?,
                multiply(missing, *prior)?,
            )
        })
        .collect()
}

/// How the region's money would flow if each owner's followed its own visitors: weighted by money
/// and not by traffic. Sponsored owners share, by units, a part of the size that the policy says.
///
/// # Errors
/// [`Overflow`].
pub fn prior(
    owners: &[OwnerUnits],
    policy: &Policy,
    provider_count: usize,
) -> Result<Vec<u128>, Overflow> {
    let fees = sum(owners.iter().map(|owner| u128::from(owner.fee.0)))?;
    let sponsored_money = divide_down(
        multiply(fees, u128::from(policy.sponsored_percent))?,
        PERCENT,
    )?;
    let sponsored = owners.iter().filter(|owner| owner.fee.0 == 0);
    let sponsored_units = sum(sponsored.flat_map(|owner| widen(&owner.units)))?;
    let mut prior = vec![0; provider_count];
    for owner in owners {
        let (money, of) = if owner.fee.0 == 0 {
            (sponsored_money, sponsored_units)
        } else {
            (u128::from(owner.fee.0), sum(widen(&owner.units))?)
        };
        if of == 0 {
            continue;
        }
        for (weight, units) in prior.iter_mut().zip(&owner.units) {
            let share = multiply(multiply(money, u128::from(*units))?, PRIOR_SCALE)?;
            *weight = add(*weight, divide_down(share, of)?)?;
        }
    }
    Ok(prior)
}

/// Divides each owner's part by its own weights; if all are 0 by the prior, and then equally.
fn by_owner(
    owners: &[OwnerUnits],
    prior: &[u128],
    weights: impl Fn(&OwnerUnits) -> Result<Vec<u128>, Overflow>,
) -> Result<Delivered, Overflow> {
    let mut totals = vec![0_u128; prior.len()];
    let mut all = Vec::with_capacity(owners.len());
    for owner in owners {
        let parts = divide(owner.deliver.0, &weights(owner)?)
            .or_else(|| divide(owner.deliver.0, prior))
            .or_else(|| divide_equally(owner.deliver.0, prior.len()))
            .ok_or(Overflow)?;
        for (total, part) in totals.iter_mut().zip(&parts) {
            *total = add(*total, u128::from(*part))?;
        }
        all.push(parts.into_iter().map(Cents).collect());
    }
    let totals = totals.into_iter().map(|total| narrow(total).map(Cents));
    Ok(Delivered {
        by_provider: totals.collect::<Result<_, _>>()?,
        by_owner: all,
    })
}

fn weights_pooled(owners: &[OwnerUnits], provider_count: usize) -> Result<Vec<u128>, Overflow> {
    let mut weights = vec![0; provider_count];
    for owner in owners.iter().filter(|owner| owner.fee.0 > 0) {
        for (weight, units) in weights.iter_mut().zip(&owner.units) {
            *weight = add(*weight, u128::from(*units))?;
        }
    }
    Ok(weights)
}

fn pooled(owners: &[OwnerUnits], weights: &[u128]) -> Result<Delivered, Overflow> {
    let pool = sum(owners.iter().map(|owner| u128::from(owner.deliver.0)))?;
    let pool = narrow(pool)?;
    let parts = divide(pool, weights)
        .or_else(|| divide_equally(pool, weights.len()))
        .ok_or(Overflow)?;
    Ok(Delivered {
        by_provider: parts.into_iter().map(Cents).collect(),
        by_owner: Vec::new(),
    })
}
