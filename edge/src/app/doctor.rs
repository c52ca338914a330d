//! What those who look after a node reach, beside all that publishers reach; `verge doctor` among it.

use super::among::Among;
use super::showing::Showing;
use crate::admin::api::Keep;
use crate::config::Config;
use crate::dns::DnsUpdate;
use crate::doctor::{Doctor, Doors};
use crate::hosts::DnsResolver;
use crate::listen::Running;
use crate::receive::Receiver;
use crate::region::RegionView;
use std::net::SocketAddr;
use std::sync::Arc;
use verge_sync::clock::Clock;
use verge_sync::store::Store;

/// Of a node whose doors are open.
pub(super) fn keep(
    (store, config): (&Store, &Config),
    region: &Arc<RegionView>,
    (showing, among): (&Showing, &Among),
    edge: &Running,
    receiver: &Receiver,
) -> anyhow::Result<Keep> {
    let data = store.dir();
    let certification = showing.certification();
    let roots = super::certification::roots(data, config)?;
    let zone = config.dns_update.as_ref();
    let ssh = receiver.addresses().first().map(SocketAddr::port);
    let doctor = Doctor {
        region: Arc::clone(region),
        membership: Arc::clone(&among.membership),
        resolver: Arc::new(DnsResolver::new(config.dns.resolvers.clone())),
        tls: certification.resolver(),
        doors: Doors {
            http: edge.http_addrs().first().map(SocketAddr::port),
            ssh: config.listen.public_ssh_port.or(ssh),
            nodes: among.bound().map(|at| at.port()),
        },
        zone: zone.map(|zone| DnsUpdate::open(zone, data, Clock::System)),
        region_ca: certification.region_ca(),
        has_own_ca: certification.ca_pem().is_some(),
        roots: (!roots.is_empty()).then(|| String::from_utf8_lossy(&roots.concat()).into_owned()),
        store: store.clone(),
        clock: Clock::System,
    };
    let histories = receiver.histories();
    Ok(Keep::new(
        store,
        histories,
        among.repairs(),
        Arc::new(doctor),
    ))
}
