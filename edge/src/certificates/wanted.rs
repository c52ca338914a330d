//! Which certificates a region is to have, and which nodes are to hold their keys: pure.

use super::name_set::NameSet;
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::id::{AccountId, NodeId, SiteId};
use verge_sync::record::Effect;
use verge_sync::record::body::Actors;

/// Domains for which no public authority issues (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`).
const NOT_PUBLIC: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "onion"];

/// One certificate that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its hosts.
    pub names: NameSet,
    /// Whose it is; none for the region's own names.
    pub owner: Option<(AccountId, SiteId)>,
    /// The nodes that are to hold its key, and what it is sealed to.
    pub recipients: BTreeMap<NodeId, [u8; 32]>,
}

/// Whether the region has a certificate for all of its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Labels {
    /// One for all, by dns-01.
    Wildcard,
    /// Each has its own.
    Single,
}

/// Whether a public authority could certify the host.
#[must_use]
pub fn is_public(host: &str) -> bool {
    let is_under = |zone: &&str| {
        host.strip_suffix(zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    host.contains('.') && !NOT_PUBLIC.iter().any(is_under)
}

/// The member nodes of the providers that `admit` lets have a site's key.
#[must_use]
pub fn recipients(effect: &Effect, admit: &Actors) -> BTreeMap<NodeId, [u8; 32]> {
    let members = effect.nodes.iter().filter(|(_, node)| node.is_member);
    let admitted = members.filter(|(_, node)| admit.includes(&node.slot.provider));
    admitted
        .map(|(id, node)| (*id, node.body.sealing_key))
        .collect()
}

/// Whether `node` is to have the key of a certificate for `names`: every site among them admits it.
pub(super) fn is_recipient(effect: &Effect, node: NodeId, names: &NameSet) -> bool {
    let Some(node) = effect.nodes.get(&node).filter(|node| node.is_member) else {
        return false;
    };
    // What is no site's is the region's.
    let admits = |name: &String| {
        let site = effect.site_by_host(name);
        site.is_none_or(|site| site.body.admit.includes(&node.slot.provider))
    };
    names.names().iter().all(admits)
}

/// Whether labels of the region have a certificate together: where nodes may edit its zone.
fn labels(effect: &Effect) -> Labels {
    if effect.chain.current().body.roles.dns.is_empty() {
        Labels::Single
    } else {
        Labels::Wildcard
    }
}

/// Every certificate that is to be: one for each host in effect of a site that is not taken down by a
/// step, and those of the region itself.
#[must_use]
pub fn wanted(effect: &Effect) -> Vec<Wanted> {
    wanted_with(effect, labels(effect))
}

fn wanted_with(effect: &Effect, labels: Labels) -> Vec<Wanted> {
    let step = &effect.chain.current().body;
    let zone = &step.zones.site_zone;
    let mut all = region_names(effect, labels);
    let mut seen: BTreeSet<NameSet> = all.iter().map(|wanted| wanted.names.clone()).collect();
    for (host, id) in effect.hosts() {
        let Some(site) = effect.site(&id) else {
            continue;
        };
        let account = site.body.account;
        let targets = [id.digest(), account.digest()];
        if targets.iter().any(|target| step.takedowns.contains(target)) || !is_public(host) {
            continue;
        }
        let is_covered =
            labels == Labels::Wildcard && site.body.admit == Actors::All && is_label(host, zone);
        let Some(names) = NameSet::one(host).filter(|_| !is_covered) else {
            continue;
        };
        let recipients = recipients(effect, &site.body.admit);
        if !recipients.is_empty() && seen.insert(names.clone()) {
            all.push(Wanted {
                names,
                owner: Some((account, id)),
                recipients,
            });
        }
    }
    all
}

/// Whether `host` is one label under `zone`.
fn is_label(host: &str, zone: &str) -> bool {
    let label = host
        .strip_suffix(zone)
        .and_then(|rest| rest.strip_suffix('.'));
    label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

fn region_names(effect: &Effect, labels: Labels) -> Vec<Wanted> {
    let zones = &effect.chain.current().body.zones;
    let wildcard = format!("*.{}", zones.site_zone);
    let own = match labels {
        Labels::Wildcard => vec![zones.admin_zone.as_str(), wildcard.as_str()],
        Labels::Single => vec![zones.admin_zone.as_str()],
    };
    let recipients = recipients(effect, &Actors::All);
    let public = own.into_iter().filter(|name| is_public(name));
    let sets = public.filter_map(NameSet::one);
    sets.map(|names| Wanted {
        names,
        owner: None,
        recipients: recipients.clone(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use verge_sync::record::body::{HostProof, NameKind};

    fn names(wanted: &[Wanted]) -> Vec<&str> {
        let names = wanted.iter().flat_map(|wanted| wanted.names.names());
        names.map(String::as_str).collect()
    }

    #[test]
    fn every_host_in_effect_and_the_regions_own_names_are_wanted() {
        let mut scene = Scene::new(1, HostProof::None);
        let site = scene.site(0);
        scene.claim(0, site, NameKind::Label, "ana");
        scene.claim(0, site, NameKind::Host, "www.ana.example");
        scene.claim(0, site, NameKind::Host, "ana.localhost");
        let effect = scene.effect();
        let single = wanted_with(&effect, Labels::Single);
        let expected = ["nodes.example", "ana.sites.example", "www.ana.example"];
        assert_eq!(names(&single), expected);
        let wildcard = wanted_with(&effect, Labels::Wildcard);
        let expected = ["nodes.example", "*.sites.example", "www.ana.example"];
        assert_eq!(names(&wildcard), expected);
        for wanted in single {
            let holders: Vec<NodeId> = wanted.recipients.keys().copied().collect();
            assert_eq!(holders, [scene.node(0)]);
        }
    }

    #[test]
    fn hosts_that_no_public_authority_certifies_are_known() {
        for host in ["a.example", "internal.example", "a.xlocal", "x.arpa"] {
            assert!(is_public(host), "{host}");
        }
        for host in [
            "localhost",
            "a.localhost",
            "a.local",
            "b.internal",
            "c.home.arpa",
            "d.onion",
        ] {
            assert!(!is_public(host), "{host}");
        }
    }
}
