//! What visitors see, kept in step with what holds: hosts, versions, certificates.

use super::certification::Certification;
use crate::challenges::Challenges;
use crate::host::Host;
use crate::lan::Lan;
use crate::region::left_versions;
use crate::sites::{SiteAt, Sites};
use crate::status_page::StatusPage;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use verge_sync::content::Thrift;
use verge_sync::record::{Effect, Slot, Takeout};
use verge_sync::store::Store;

/// Puts what holds before visitors.
pub(super) struct Showing {
    store: Store,
    thrift: Arc<Thrift>,
    sites: Arc<Sites>,
    lan: Option<Arc<Lan>>,
    status: Arc<StatusPage>,
    challenges: Arc<Challenges>,
    certification: Certification,
}

impl Showing {
    pub(super) fn new(
        (store, thrift): (Store, Arc<Thrift>),
        sites: Arc<Sites>,
        lan: Option<Arc<Lan>>,
        certification: Certification,
    ) -> Self {
        Self {
            store,
            thrift,
            sites,
            lan,
            status: Arc::default(),
            challenges: Arc::default(),
            certification,
        }
    }

    /// The page of the admin zone.
    pub(super) fn status(&self) -> Arc<StatusPage> {
        Arc::clone(&self.status)
    }

    /// What an authority is answered.
    pub(super) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// The certificates at hand.
    pub(super) fn certification(&self) -> &Certification {
        &self.certification
    }

    /// Looks after certificates while nothing else changes: leaves of the local CA are renewed,
    /// files are read again.
    pub(super) fn renew(&self, effect: &Effect, slot: Slot) {
        if let Err(error) = self.certification.read_files() {
            tracing::error!(%error, "the certificate files cannot be read: the last ones stay");
        }
        self.show(effect, slot);
    }

    /// Each site by the newest of its versions that is here whole; one of which none is here is
    /// asked for later.
    ///
    /// Certificates first, so that no handshake fails for a host that is already shown.
    pub(super) fn show(&self, effect: &Effect, slot: Slot) {
        let mut hosts = HashMap::new();
        let mut awaited = HashSet::new();
        let mut listed = Vec::new();
        for (name, id) in effect.hosts() {
            let Some(site) = effect.site(&id) else {
                continue;
            };
            if site.head().is_none() || !effect.serves(&slot.provider, &id) {
                continue;
            }
            let shelf = self.store.shelf();
            let versions = site.kept().map(|deploy| deploy.body().version);
            let shown = versions.into_iter().find(|version| shelf.holds(version));
            match (Host::parse(name), shown) {
                // A site of which this node has given its copy up is not here at all.
                (Ok(_), None) if !self.thrift.keeps(&id) => {}
                (Ok(host), None) => {
                    awaited.insert(host);
                }
                (Ok(host), Some(version)) => {
                    if !site.body.private {
                        listed.push(host.clone());
                    }
                    hosts.insert(
                        host,
                        SiteAt {
                            site: id,
                            version,
                            takeout_public: site.body.takeout == Takeout::Public,
                            left: left_versions(site),
                        },
                    );
                }
                (Err(error), _) => tracing::warn!(%error, "a host in effect cannot be served"),
            }
        }
        let zone = &effect.chain.current().body.zones.admin_zone;
        let zone = Host::parse(zone).ok();
        let covered = hosts.keys().chain(&awaited).cloned().collect();
        self.certification.cover(covered, zone.as_ref(), effect);
        self.answer_authorities(effect, zone.as_ref());
        self.status.stand_at(zone);
        self.sites.replace_all(hosts, awaited);
        if let Some(lan) = &self.lan {
            lan.show(listed);
        }
    }

    /// For every host of the region, also those whose sites are not here.
    fn answer_authorities(&self, effect: &Effect, zone: Option<&Host>) {
        let acme = effect.chain.current().body.acme.as_ref();
        let thumbprint = acme.and_then(|acme| acme.thumbprints.first().cloned());
        let hosts = effect
            .hosts()
            .filter_map(|(host, _)| Host::parse(host).ok());
        let hosts = hosts.chain(zone.cloned()).collect();
        self.challenges.replace(thumbprint, hosts);
    }
}
