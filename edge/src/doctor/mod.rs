//! `verge doctor`: what keeps visitors, publishers, other nodes or certificate authorities from this
//! node and its sites, and what to do about it.
//!
//! [`Doctor`] asks: DNS, the node's own doors, the authority's directory, the zone's server, the disk.
//! What the answers mean is judged by pure functions beside it, a [`Finding`] each. Nothing is changed
//! and nothing runs by itself; each question has a time-out, and a look at many hosts takes a few at
//! once.

mod caa;
mod certificate;
mod dns;
mod doors;
mod finding;
mod machine;

pub use doors::Doors;
pub use finding::{Finding, Grade};

use crate::acme::Directory;
use crate::admin::Membership;
use crate::dns::addresses::{HostAddresses, serving};
use crate::dns::{DnsUpdate, KeyError};
use crate::host::Host;
use crate::hosts::Resolver;
use crate::region::RegionView;
use crate::tls::{CaCertificate, TlsResolver};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;
use verge_sync::clock::Clock;
use verge_sync::id::SiteId;
use verge_sync::record::Effect;
use verge_sync::store::Store;

/// Hosts that are looked at together: a home router's resolver stands that.
const HOSTS_AT_ONCE_MAX: usize = 8;
/// Hosts of one look; a node of a full region has about a thousand.
pub const HOSTS_MAX: usize = 2_000;

/// What is asked.
pub struct Doctor {
    /// What holds.
    pub region: Arc<RegionView>,
    /// The other nodes, and the clock.
    pub membership: Arc<Membership>,
    /// DNS as this node sees it.
    pub resolver: Arc<dyn Resolver>,
    /// The certificates in use; none without TLS.
    pub tls: Option<Arc<TlsResolver>>,
    /// Where visitors and publishers are let in.
    pub doors: Doors,
    /// The server that changes the region's zone, if the steward has named one.
    pub zone: Option<Result<DnsUpdate, KeyError>>,
    /// This node's part of the region's own CA, if certificates come from it.
    pub region_ca: Option<CaCertificate>,
    /// Whether certificates come from a CA of the node's own, whose root visitors have.
    pub has_own_ca: bool,
    /// Authorities beside those that browsers trust, for the connection to the directory.
    pub roots: Option<String>,
    /// Where the data lies.
    pub store: Store,
    /// The time.
    pub clock: Clock,
}

/// A host of a site that this node serves.
#[derive(Debug, Clone)]
struct Case {
    host: Host,
    /// Whether it lies in the region's site zone.
    is_own: bool,
    /// Where its CNAME record would lead.
    target: Option<String>,
}

/// What is the same for all hosts.
struct Round {
    /// The addresses at which nodes of the region serve visitors.
    addresses: BTreeSet<IpAddr>,
    /// Whether AAAA records are in order.
    has_ipv6: bool,
    authority: Option<caa::Authority>,
}

impl Doctor {
    /// Looks at everything.
    pub async fn look(&self) -> Vec<Finding> {
        let effect = self.region.effect();
        let mut findings = self.machine().await;
        findings.extend(self.reach(&effect).await);
        if let Some(zone) = &self.zone {
            findings.push(zone_server(zone).await);
        }
        if let Some(ca) = &self.region_ca {
            findings.push(certificate::of_the_region_ca(ca, self.clock.now()));
        }
        let (round, more) = self.round(&effect).await;
        findings.extend(more);
        findings.extend(self.hosts(&effect, &Arc::new(round)).await);
        findings
    }

    async fn machine(&self) -> Vec<Finding> {
        let (_wall_s, belief) = *self.membership.clock.borrow();
        let status = self.membership.status(&self.region).await;
        let peers = status.peers.iter();
        let clocks = peers.filter_map(|peer| Some((peer.node.name.as_str(), peer.clock_ahead_s?)));
        let mut findings = machine::clock(belief, clocks);
        findings.push(match self.store.available_bytes() {
            Ok(bytes) => machine::disk(bytes),
            Err(error) => Finding::fault("disk", error, "look at the disk and its file system"),
        });
        let connected = status
            .peers
            .iter()
            .filter(|peer| peer.connected_s.is_some());
        let (connected, all) = (connected.count(), status.peers.len());
        findings.push(doors::of_nodes(connected, all, self.doors.nodes));
        findings
    }

    /// The doors, at every address that this node has told the others.
    async fn reach(&self, effect: &Effect) -> Vec<Finding> {
        let own = effect.nodes.get(&self.region.keys().node());
        let told = own
            .map(|node| node.body.visitors.clone())
            .unwrap_or_default();
        let mut places = Vec::new();
        let mut findings = Vec::new();
        for place in told {
            match self.addresses_of(&place).await {
                Ok(found) => places.extend(found),
                Err(why) => {
                    let todo = "name an address in [listen] public_https, or mend its DNS";
                    findings.push(Finding::fault(format!("place {place}"), why, todo));
                }
            }
        }
        if places.is_empty() {
            findings.push(doors::nowhere());
            return findings;
        }
        findings.extend(self.doors.try_all(&places).await);
        findings
    }

    /// `ADDRESS:PORT`, or the addresses of `NAME:PORT`.
    async fn addresses_of(&self, place: &str) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = place.parse() {
            return Ok(vec![address]);
        }
        let split = place.rsplit_once(':');
        let split = split.and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        let (name, port) = split.ok_or("it is not of the form NAME:PORT")?;
        let found = self.resolver.addresses(name).await;
        let found = found.map_err(|unanswered| unanswered.to_string())?;
        if found.is_empty() {
            return Err(format!("{name} has no address in DNS"));
        }
        Ok(found
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }

    async fn round(&self, effect: &Effect) -> (Round, Vec<Finding>) {
        let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
        let members = effect.nodes.values().filter(|node| node.is_member);
        for place in members.flat_map(|node| &node.body.visitors) {
            // A place of another node that leads nowhere is that node's to mend.
            let found = self.addresses_of(place).await.unwrap_or_default();
            addresses.extend(found.iter().map(SocketAddr::ip));
        }
        let has_ipv6 = !HostAddresses::of(&serving(effect)).ipv6.is_empty();
        let (authority, finding) = self.authority(effect).await;
        let round = Round {
            addresses,
            has_ipv6,
            authority,
        };
        (round, finding.into_iter().collect())
    }

    /// Who certifies for the region, as its directory says.
    async fn authority(&self, effect: &Effect) -> (Option<caa::Authority>, Option<Finding>) {
        let Some(acme) = &effect.chain.current().body.acme else {
            return (None, None);
        };
        let about = "authority";
        let asked = match Directory::new(&acme.directory, self.roots.clone()) {
            Ok(directory) => directory.meta().await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(meta) => {
                let authority = caa::Authority {
                    identities: meta.caa_identities,
                    account: acme.account.clone(),
                };
                let says = format!("{} answers", acme.directory);
                (Some(authority), Some(Finding::ok(about, says)))
            }
            Err(error) => {
                let says = format!("{} does not answer: {error}", acme.directory);
                let todo = "try again later; certificates in use stay, CAA records were not judged";
                (None, Some(Finding::warning(about, says, todo)))
            }
        }
    }

    async fn hosts(&self, effect: &Effect, round: &Arc<Round>) -> Vec<Finding> {
        let (cases, more) = limited(self.cases(effect));
        let mut findings: Vec<Finding> = more.into_iter().collect();
        let mut waiting = cases.into_iter();
        let mut looking = JoinSet::new();
        let mut found = Vec::new();
        loop {
            let room = HOSTS_AT_ONCE_MAX.saturating_sub(looking.len());
            for case in waiting.by_ref().take(room) {
                let certificate = self.certificate(&case.host);
                let (resolver, round) = (Arc::clone(&self.resolver), Arc::clone(round));
                looking.spawn(async move {
                    let mut findings = look_at(resolver.as_ref(), &case, &round).await;
                    findings.push(certificate);
                    (case.host, findings)
                });
            }
            match looking.join_next().await {
                Some(Ok(looked)) => found.push(looked),
                Some(Err(error)) => tracing::error!(%error, "a look at a host ended early"),
                None => break,
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        findings.extend(found.into_iter().flat_map(|(_host, findings)| findings));
        findings
    }

    /// The hosts that this node shows to visitors.
    fn cases(&self, effect: &Effect) -> Vec<Case> {
        let provider = self.region.slot().provider;
        let zone = effect.chain.current().body.zones.site_zone.as_str();
        let serves = |id: &SiteId| {
            let has_head = effect.site(id).is_some_and(|site| site.head().is_some());
            has_head && effect.serves(&provider, id)
        };
        let served = effect.hosts().filter(|(_, id)| serves(id));
        let case = |(name, id): (&str, SiteId)| {
            let is_in_zone = |host: &str| {
                let label = host.strip_suffix(zone);
                label.is_some_and(|label| label.ends_with('.'))
            };
            let labels = effect.hosts_of(&id).into_iter();
            Some(Case {
                host: Host::parse(name).ok()?,
                is_own: is_in_zone(name),
                target: labels
                    .filter(|host| is_in_zone(host))
                    .map(str::to_owned)
                    .next(),
            })
        };
        served.filter_map(case).collect()
    }

    fn certificate(&self, host: &Host) -> Finding {
        let in_use = self.tls.as_ref().and_then(|tls| tls.certificate(host));
        let in_use = in_use.as_deref();
        certificate::of_a_host(host, in_use, self.clock.now(), self.has_own_ca)
    }
}

async fn zone_server(zone: &Result<DnsUpdate, KeyError>) -> Finding {
    let about = "zone server";
    match zone {
        Ok(zone) => match zone.check().await {
            Ok(()) => Finding::ok(about, "it takes signed updates of this node"),
            Err(error) => {
                let todo = "look at [dns_update] in config.toml and at the server's settings";
                Finding::fault(about, error, todo)
            }
        },
        Err(error) => Finding::fault(about, error, "mend it and start the node again"),
    }
}

/// As many as are looked at, and how many are not.
fn limited(mut cases: Vec<Case>) -> (Vec<Case>, Option<Finding>) {
    let more = cases.len().saturating_sub(HOSTS_MAX);
    cases.truncate(HOSTS_MAX);
    let says = format!("{more} more than {HOSTS_MAX} were not looked at");
    let todo = "`verge cert list` tells of the certificates of all";
    let finding = Finding::warning("hosts", says, todo);
    (cases, (more > 0).then_some(finding))
}

/// What DNS says of a host.
async fn look_at(resolver: &dyn Resolver, case: &Case, round: &Round) -> Vec<Finding> {
    let host = case.host.as_str();
    if host == "localhost" || host.ends_with(".localhost") {
        return vec![Finding::ok(
            format!("dns {host}"),
            "is this machine's own name: no DNS is asked (RFC 6761)",
        )];
    }
    let found = resolver.addresses(host).await;
    let mut findings = dns::judge(case, &found, round);
    if let (Some(authority), false) = (&round.authority, case.is_own) {
        findings.push(caa::look(resolver, host, authority).await);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_hosts_are_looked_at_and_the_rest_is_counted() {
        let case = Case {
            host: "www.example.org".parse().unwrap(),
            is_own: false,
            target: None,
        };
        let (all, more) = limited(vec![case.clone(); HOSTS_MAX]);
        assert_eq!((all.len(), more), (HOSTS_MAX, None));
        let (all, more) = limited(vec![case; HOSTS_MAX + 3]);
        assert_eq!(all.len(), HOSTS_MAX);
        let more = more.unwrap().to_string();
        assert!(more.contains("3 more than 2000"), "{more}");
    }
}
