//! What holds, in the words of people.

use super::{RegionView, naming};
use crate::ssh_key::SshKeyDigest;
use verge_sync::id::{SiteId, Version};
use verge_sync::record::Effect;
use verge_sync::record::body::NameKind;
use verge_sync::record::effect::SiteEffect;

/// An account as `verge account list` shows it.
#[derive(Debug, Clone)]
pub struct AccountLine {
    /// What it is called.
    pub name: String,
    /// Its login keys.
    pub keys: Vec<SshKeyDigest>,
    /// Its keys that sign.
    pub signing_keys: Vec<SshKeyDigest>,
    /// The labels of its sites.
    pub sites: Vec<String>,
    /// How its name stands.
    pub standing: String,
}

/// A site as `verge site list` shows it.
#[derive(Debug, Clone)]
pub struct SiteLine {
    /// Its label.
    pub name: String,
    /// The name of its account.
    pub owner: String,
    /// What is in place.
    pub head: Option<Version>,
    /// The hosts that it answers to.
    pub hosts: Vec<String>,
    /// How its names stand.
    pub standing: String,
}

impl RegionView {
    /// Every account, by name.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountLine> {
        let effect = self.effect();
        let accounts = effect.accounts.values().filter(|account| !account.ended);
        let mut lines: Vec<AccountLine> = accounts
            .map(|account| AccountLine {
                name: effect
                    .account_name(&account.id)
                    .map_or(account.id.short(), str::to_owned),
                keys: account.ssh_keys().map(SshKeyDigest).collect(),
                signing_keys: account
                    .signing_keys()
                    .map(SshKeyDigest::of_ed25519)
                    .collect(),
                sites: effect
                    .sites_of(&account.id)
                    .map(|site| label(&effect, site))
                    .collect(),
                standing: naming::standing(&effect, account.id.digest()),
            })
            .collect();
        lines.sort_by(|a, b| a.name.cmp(&b.name));
        lines
    }
}

/// Every site, by label.
#[must_use]
pub fn sites(effect: &Effect) -> Vec<SiteLine> {
    let live = effect
        .sites
        .values()
        .filter(|site| !site.ended && !site.body.private);
    let mut lines: Vec<SiteLine> = live
        .map(|site| SiteLine {
            name: label(effect, site),
            owner: effect
                .account_name(&site.body.account)
                .map_or(site.body.account.short(), str::to_owned),
            head: site.head().map(|head| head.body().version),
            hosts: hosts(effect, site.id),
            standing: naming::standing(effect, site.id.digest()),
        })
        .collect();
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    lines
}

/// The hosts that a site answers to.
#[must_use]
pub fn hosts(effect: &Effect, site: SiteId) -> Vec<String> {
    effect
        .hosts_of(&site)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// The label by which people find the site.
#[must_use]
pub fn label(effect: &Effect, site: &SiteEffect) -> String {
    let names = effect.names_of(site.id.digest());
    let mut labels = names.filter(|name| name.kind == NameKind::Label && name.holds());
    labels
        .next()
        .map_or_else(|| site.id.short(), |name| name.name.clone())
}
