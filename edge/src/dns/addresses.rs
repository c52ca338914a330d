//! Which addresses stand in DNS for the hosts of the site zone: pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use verge_sync::id::ProviderId;
use verge_sync::record::Effect;

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
    /// reason.
    #[must_use]
    pub fn of(nodes: &[(ProviderId, IpAddr)]) -> Self {
        let mut ipv4 = BTreeSet::new();
        let mut ipv6 = BTreeSet::new();
        let mut providers = BTreeSet::new();
        for (provider, address) in nodes {
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
}

/// Where the nodes of the region serve visitors, as far as they say so with an address; names among
/// their places are for people.
#[must_use]
pub fn serving(effect: &Effect) -> Vec<(ProviderId, IpAddr)> {
    let members = effect.nodes.values().filter(|node| node.is_member);
    let places = members.flat_map(|node| {
        let provider = node.slot.provider;
        node.body
            .visitors
            .iter()
            .map(move |place| (provider, place))
    });
    let read = |(provider, place): (ProviderId, &String)| {
        let address: SocketAddr = place.parse().ok()?;
        Some((provider, address.ip()))
    };
    places.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
