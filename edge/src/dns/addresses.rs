//! Which addresses stand in DNS for the hosts of the site zone: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use verge_sync::id::{NodeId, ProviderId};
use verge_sync::record::Effect;
use verge_sync::record::body::Actors;

/// Addresses of one kind in one answer: with more a visitor is not better off, and the answer has to
/// fit a datagram.
pub const ADDRESSES_MAX: usize = 8;
/// Providers that must have IPv6 before any of it stands in DNS: a CA that validates prefers it, and
/// so do browsers, so that a single one would be all there is.
const IPV6_PROVIDERS_MIN: usize = 2;

/// What stands in DNS for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// A records.
    pub ipv4: Vec<Ipv4Addr>,
    /// AAAA records.
    pub ipv6: Vec<Ipv6Addr>,
}

impl HostAddresses {
    /// Those of nodes that serve, each with its provider; sorted, so that nothing changes without a
    /// reason. Addresses of local networks are among them only where there are no others.
    #[must_use]
    pub fn of(nodes: &[(ProviderId, IpAddr)]) -> Self {
        let mut ipv4 = BTreeSet::new();
        let mut ipv6 = BTreeSet::new();
        let mut providers = BTreeSet::new();
        let is_far = |(_, address): &(ProviderId, IpAddr)| is_of_the_internet(address);
        let far = nodes.iter().any(is_far);
        for (provider, address) in nodes.iter().filter(|node| !far || is_far(node)) {
            match address.to_canonical() {
                address if address.is_unspecified() || address.is_multicast() => {}
                IpAddr::V4(address) => {
                    ipv4.insert(address);
                }
                IpAddr::V6(address) => {
                    ipv6.insert(address);
                    providers.insert(*provider);
                }
            }
        }
        if providers.len() < IPV6_PROVIDERS_MIN {
            ipv6.clear();
        }
        Self {
            ipv4: ipv4.into_iter().take(ADDRESSES_MAX).collect(),
            ipv6: ipv6.into_iter().take(ADDRESSES_MAX).collect(),
        }
    }

    /// Whether there is none of either kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }
}

/// Whether visitors from elsewhere could reach it.
fn is_of_the_internet(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // Behind a carrier's router (RFC 6598).
            let is_shared = matches!(address.octets(), [100, 64..=127, ..]);
            let is_local = address.is_private() || address.is_link_local() || is_shared;
            !(is_local || address.is_loopback() || address.is_unspecified())
        }
        IpAddr::V6(address) => {
            let is_local = address.is_unique_local() || address.is_unicast_link_local();
            !(is_local || address.is_loopback() || address.is_unspecified())
        }
    }
}

/// Where the nodes of the region serve visitors, as far as they say so with an address; names among
/// their places are for people.
#[must_use]
pub fn serving(effect: &Effect) -> Vec<(ProviderId, IpAddr)> {
    places(effect, |_node, _provider| true)
}

/// What should stand in the zone: for all labels together, for the admin zone, and for each label whose
/// site not every provider may serve; of the nodes that are there. Where none is, nothing is said.
#[must_use]
pub fn wanted(
    effect: &Effect,
    is_live: impl Fn(&NodeId) -> bool,
) -> BTreeMap<String, HostAddresses> {
    let zones = &effect.chain.current().body.zones;
    let of = |admit: &Actors| {
        let is_in =
            |node: &NodeId, provider: &ProviderId| admit.includes(provider) && is_live(node);
        HostAddresses::of(&places(effect, is_in))
    };
    let all = of(&Actors::All);
    let mut wanted = BTreeMap::from([
        (format!("*.{}", zones.site_zone), all.clone()),
        (zones.admin_zone.clone(), all),
    ]);
    for (host, id) in effect.hosts() {
        let site = effect
            .site(&id)
            .filter(|site| site.body.admit != Actors::All);
        if let Some(site) = site.filter(|_site| is_label(host, &zones.site_zone)) {
            wanted.insert(host.to_owned(), of(&site.body.admit));
        }
    }
    wanted
}

fn is_label(host: &str, zone: &str) -> bool {
    let label = host.strip_suffix(zone);
    label.is_some_and(|label| label.ends_with('.'))
}

fn places(
    effect: &Effect,
    is_wanted: impl Fn(&NodeId, &ProviderId) -> bool,
) -> Vec<(ProviderId, IpAddr)> {
    let mut places = Vec::new();
    for (id, node) in effect.nodes.iter().filter(|(_, node)| node.is_member) {
        let provider = node.slot.provider;
        let visitors = node.body.visitors.iter();
        let addresses = visitors.filter_map(|place| place.parse::<SocketAddr>().ok());
        if is_wanted(id, &provider) {
            places.extend(addresses.map(|address| (provider, address.ip())));
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use verge_sync::record::body::HostProof;

    fn of(nodes: &[(u8, &str)]) -> (Vec<String>, Vec<String>) {
        let nodes: Vec<(ProviderId, IpAddr)> = nodes
            .iter()
            .map(|(provider, address)| {
                let provider = ProviderId::from_bytes([*provider; 32]);
                (provider, address.parse().unwrap())
            })
            .collect();
        let found = HostAddresses::of(&nodes);
        let ipv4 = found.ipv4.iter().map(ToString::to_string);
        let ipv6 = found.ipv6.iter().map(ToString::to_string);
        (ipv4.collect(), ipv6.collect())
    }

    #[test]
    #[rustfmt::skip]
    fn ipv6_stands_in_dns_only_where_two_providers_have_it() {
        type Row = (&'static [(u8, &'static str)], &'static [&'static str], &'static [&'static str]);
        let rows: &[Row] = &[
            (&[], &[], &[]),
            (&[(1, "192.0.2.1")], &["192.0.2.1"], &[]),
            (&[(1, "192.0.2.1"), (1, "2001:db8::1")], &["192.0.2.1"], &[]),
            // Two nodes of one provider go down with it.
            (&[(1, "2001:db8::1"), (1, "2001:db8::2")], &[], &[]),
            (&[(1, "2001:db8::2"), (2, "2001:db8::1")], &[], &["2001:db8::1", "2001:db8::2"]),
            (&[(1, "2001:db8::1"), (2, "::ffff:192.0.2.7")], &["192.0.2.7"], &[]),
            (&[(1, "192.0.2.1"), (2, "192.0.2.1")], &["192.0.2.1"], &[]),
            // A node behind a router that does not know better, and a region at home.
            (&[(1, "192.0.2.1"), (2, "192.168.1.2"), (3, "fe80::1"), (4, "100.64.0.1")], &["192.0.2.1"], &[]),
            (&[(1, "10.0.0.1"), (2, "192.168.1.2"), (3, "127.0.0.1")], &["10.0.0.1", "127.0.0.1", "192.168.1.2"], &[]),
            (&[(1, "0.0.0.0"), (1, "::"), (2, "::"), (3, "224.0.0.1")], &[], &[]),
        ];
        for (nodes, ipv4, ipv6) in rows {
            let (found4, found6) = of(nodes);
            assert_eq!((found4, found6), (to_owned(ipv4), to_owned(ipv6)), "{nodes:?}");
        }
    }

    fn to_owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn so_many_stand_in_one_answer() {
        for count in [ADDRESSES_MAX, ADDRESSES_MAX + 1] {
            let nodes: Vec<(ProviderId, IpAddr)> = (0..count)
                .map(|number| {
                    let number = u8::try_from(number).unwrap();
                    let provider = ProviderId::from_bytes([number; 32]);
                    (provider, IpAddr::from([192, 0, 2, number + 1]))
                })
                .collect();
            assert_eq!(HostAddresses::of(&nodes).ipv4.len(), ADDRESSES_MAX);
        }
    }

    #[test]
    fn labels_have_the_addresses_of_the_nodes_that_may_serve_them() {
        let scene = Scene::new(2, HostProof::None);
        let effect = scene.effect();
        let told = wanted(&effect, |_node| true);
        let names: Vec<&str> = told.keys().map(String::as_str).collect();
        assert_eq!(names, ["*.sites.example", "nodes.example"]);
        assert!(is_label("a.sites.example", "sites.example"));
        assert!(!is_label("sites.example", "sites.example"));
        assert!(!is_label("asites.example", "sites.example"));
    }
}
