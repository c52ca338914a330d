//! The books of a month, of what holds: pure. The same records and seals give the same books on every
//! node and in any order.

use super::probes::Probes;
use crate::accounting::calendar::{Day, Month};
use crate::attribution::Provider;
use crate::attribution::fees::Fees;
use crate::attribution::hold::HoursBySite;
use crate::attribution::statement::{Books, NamedProvider, Owner, SealedDay, Site};
use crate::region::site_label;
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::Digest;
use verge_sync::id::{AccountId, NodeId, ProviderId, SiteId};
use verge_sync::record::Effect;
use verge_sync::record::effect::SiteEffect;

/// Visitors are led evenly to all providers.
const STEERING_WEIGHT: u32 = 1;
/// Seconds of a day of UTC.
const DAY_S: i64 = 86_400;

/// What a month is worked out from, beside the records that hold.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Which.
    pub month: Month,
    /// The policy that is in force in it.
    pub policy: &'a str,
    /// What was observed in it.
    pub probes: &'a Probes,
    /// The seals that count in it.
    pub seals: Vec<SealedDay>,
    /// Those of earlier statements.
    pub earlier: BTreeSet<Digest>,
}

/// The books, still without fees.
#[must_use]
pub fn books(effect: &Effect, of: Facts<'_>, is_closed: bool) -> Books {
    let served: BTreeSet<SiteId> = of
        .seals
        .iter()
        .flat_map(|sealed| sealed.seal.rows.iter().map(|row| row.site))
        .collect();
    let sites: BTreeMap<SiteId, &SiteEffect> = effect
        .sites
        .iter()
        .filter(|(id, site)| !site.ended || served.contains(*id))
        .map(|(id, site)| (*id, site))
        .collect();
    let providers = providers(effect, &of);
    let nodes = effect.nodes.iter();
    let nodes = nodes.map(|(id, node)| (*id, node.slot.provider));
    let nodes: BTreeMap<NodeId, ProviderId> = nodes
        .filter(|(_, provider)| providers.contains_key(provider))
        .collect();
    Books {
        region: effect.region,
        region_name: effect.chain.current().body.name.clone(),
        month: of.month,
        is_closed,
        policy: of.policy.to_owned(),
        owners: owners(effect, &sites),
        held: held(&of, &sites, &providers),
        sites: sites
            .into_iter()
            .map(|(id, site)| {
                let name = site_label(effect, site);
                let owner = site.body.account;
                (id, Site { name, owner })
            })
            .collect(),
        providers,
        nodes,
        fees: Fees::default(),
        seals: of.seals,
        earlier: of.earlier,
    }
}

/// Those of the region, and those who were and whose nodes sealed something that counts.
fn providers(effect: &Effect, of: &Facts<'_>) -> BTreeMap<ProviderId, NamedProvider> {
    let current = &effect.chain.current().body;
    let mut ids: BTreeSet<ProviderId> = current.providers.iter().map(|row| row.id).collect();
    let present = ids.clone();
    let sealed = of.seals.iter().map(|sealed| &sealed.seal.node);
    let sealed = sealed.filter_map(|node| effect.nodes.get(node));
    ids.extend(sealed.map(|node| node.slot.provider));
    ids.into_iter()
        .map(|id| {
            let has_left = effect.left.contains(&id.into());
            let named = NamedProvider {
                name: name(effect, &id),
                provider: Provider {
                    is_in_good_standing: present.contains(&id) && !has_left,
                    steering_weight: STEERING_WEIGHT,
                    availability_permille: of.probes.availability_permille(&id),
                    estimates: of.probes.estimates(&id, &present),
                },
            };
            (id, named)
        })
        .collect()
}

/// What the last step that had the provider calls it.
fn name(effect: &Effect, id: &ProviderId) -> String {
    let steps = effect.chain.steps().iter().rev();
    let mut rows = steps.filter_map(|step| step.body.provider(id));
    rows.next()
        .map_or_else(|| id.short(), |row| row.name.clone())
}

fn owners(effect: &Effect, sites: &BTreeMap<SiteId, &SiteEffect>) -> BTreeMap<AccountId, Owner> {
    let ids: BTreeSet<AccountId> = sites.values().map(|site| site.body.account).collect();
    ids.into_iter()
        .map(|id| {
            let name = effect.account_name(&id).map(str::to_owned);
            let name = name.unwrap_or_else(|| id.short());
            (id, Owner { name })
        })
        .collect()
}

/// Hours in which sites with something to show were seen at providers that can be paid.
fn held(
    of: &Facts<'_>,
    sites: &BTreeMap<SiteId, &SiteEffect>,
    providers: &BTreeMap<ProviderId, NamedProvider>,
) -> HoursBySite {
    let since = sites.iter().filter_map(|(id, site)| {
        let times = site.deploys.iter().map(|deploy| deploy.body().time.0);
        let day = times.min()?.div_euclid(DAY_S);
        let day = u32::try_from(day).ok().and_then(Day::new);
        Some((*id, day.unwrap_or_else(|| of.month.first_day())))
    });
    let mut held = of.probes.held(&since.collect());
    for hours in held.values_mut() {
        hours.retain(|provider, _| providers.contains_key(provider));
    }
    held.retain(|_, hours| !hours.is_empty());
    held
}
