//! What a month is divided by, and what comes of it.

use super::hold::HoursBySite;
use super::money::Cents;
use super::policy::Policy;
use super::units::UnitsBySite;
use std::collections::BTreeMap;
use verge_sync::id::{AccountId, ProviderId, SiteId};

/// What a month is divided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The rules that the region signed.
    pub policy: Policy,
    /// Everybody who may be paid.
    pub providers: BTreeMap<ProviderId, Provider>,
    /// What each owner paid; 0: sponsored.
    pub fees: BTreeMap<AccountId, Cents>,
    /// Whose each site is.
    pub sites: BTreeMap<SiteId, AccountId>,
    /// What was served.
    pub units: UnitsBySite,
    /// What was held, as others verified it.
    pub held: HoursBySite,
}

/// What is known of a provider beside what it served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// Whether it has a part in care.
    pub is_in_good_standing: bool,
    /// The signed weight by which visitors are sent to it.
    pub steering_weight: u32,
    /// How often it answered when others looked, in thousandths.
    pub availability_permille: u32,
    /// What share of visitors each other provider's probes found it to have, in parts of
    /// [`super::cap::SHARE_PARTS`].
    pub estimates: BTreeMap<ProviderId, u32>,
}

/// What became of the fees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    /// All fees.
    pub fees: Cents,
    /// By the policy's lines.
    pub levies: Vec<Cents>,
    /// To the region's fund.
    pub commons: Cents,
    /// To each provider.
    pub providers: BTreeMap<ProviderId, ProviderShare>,
    /// From each owner.
    pub owners: BTreeMap<AccountId, OwnerShare>,
    /// Units by site and provider after the cap.
    pub credited: UnitsBySite,
    /// Whether anything bounds what a provider can claim.
    pub cap: Cap,
}

/// Whether the cap held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// It did.
    Held,
    /// There are fewer than four providers: nothing bounds what one of them claims.
    TooFewProviders,
    /// The policy has none.
    Off,
}

/// What a provider gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProviderShare {
    /// For what it served.
    pub deliver: Cents,
    /// For what it held.
    pub hold: Cents,
    /// For being there.
    pub care: Cents,
}

/// What became of one owner's fee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerShare {
    /// What was paid.
    pub fee: Cents,
    /// By the policy's lines.
    pub levies: Vec<Cents>,
    /// The four parts of the rest.
    pub parts: Parts,
    /// The deliver part by provider; empty under a rule that pools.
    pub deliver: BTreeMap<ProviderId, Cents>,
    /// Units after the cap.
    pub units: BTreeMap<ProviderId, u64>,
}

/// The parts of a fee after levies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// For serving.
    pub deliver: Cents,
    /// For holding.
    pub hold: Cents,
    /// In equal parts to providers.
    pub care: Cents,
    /// To the region's fund.
    pub commons: Cents,
}

/// Of what a provider says that it served in all, and what of it is below the cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim {
    /// Units as it sealed them.
    pub served: u128,
    /// Units that count.
    pub credited: u128,
}

/// With this part of a claim above the cap people should look at its provider. An honest one is
/// above it where a site has few visitors, who by chance came to the same provider.
const SUSPECT_PERCENT: u128 = 10;

impl Claim {
    /// Whether people should look at it.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        let above = self.served.saturating_sub(self.credited);
        above.saturating_mul(100) > self.served.saturating_mul(SUSPECT_PERCENT)
    }
}

impl Attribution {
    /// What of each provider's claims is below the cap; `served` are the units of the inputs.
    #[must_use]
    pub fn claims(&self, served: &UnitsBySite) -> BTreeMap<ProviderId, Claim> {
        let mut claims: BTreeMap<ProviderId, Claim> = BTreeMap::new();
        for (site, of_site) in served {
            for (provider, units) in of_site {
                let credited = self.credited.get(site).and_then(|of| of.get(provider));
                let claim = claims.entry(*provider).or_default();
                claim.served = claim.served.saturating_add((*units).into());
                let credited = credited.copied().unwrap_or(0);
                claim.credited = claim.credited.saturating_add(credited.into());
            }
        }
        claims
    }
}
