//! What visitors see, kept in step with what holds: hosts, versions, certificates.

use crate::config::{Config, LocalCa as LocalCaSetting};
use crate::host::Host;
use crate::lan::Lan;
use crate::region::left_versions;
use crate::sites::{SiteAt, Sites};
use crate::status_page::StatusPage;
use crate::tls::{
    Certificate, CertificateError, Certificates, Fallback, LocalCa, TlsResolver, Validity,
};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use verge_sync::clock::Clock;
use verge_sync::content::Thrift;
use verge_sync::record::{Effect, Slot, Takeout};
use verge_sync::store::Store;

/// Where certificates come from.
enum Source {
    /// One that covers what it covers: the files of the certificate and its key.
    Files(PathBuf, PathBuf),
    /// A CA of this node's own: one for each host.
    Local(Box<Mutex<LocalCa>>),
}

/// The certificates of a node, and where new ones come from.
pub(super) struct Certification {
    source: Option<Source>,
    /// Whether handshakes for names that no certificate covers are answered too.
    answers_every_name: bool,
    resolver: Arc<TlsResolver>,
}

impl Certification {
    /// Reads the files, or opens the local CA, as the configuration says.
    pub(super) fn open(
        data: &Path,
        config: &Config,
        answers_every_name: bool,
    ) -> anyhow::Result<Self> {
        let tls = &config.tls;
        let source = match (&tls.ca, &tls.certificate, &tls.key) {
            (Some(LocalCaSetting::Local), _, _) => {
                let ca = LocalCa::open(data, Clock::System.now())?;
                Some(Source::Local(Box::new(Mutex::new(ca))))
            }
            (None, Some(certificate), Some(key)) => {
                Some(Source::Files(data.join(certificate), data.join(key)))
            }
            _ => None,
        };
        let resolver = Arc::new(TlsResolver::default());
        let certification = Self {
            source,
            answers_every_name,
            resolver,
        };
        certification.read_files(&Clock::System)?;
        Ok(certification)
    }

    /// Takes what the files hold now: a renewed certificate needs no restart.
    fn read_files(&self, clock: &Clock) -> Result<(), CertificateError> {
        let Some(Source::Files(certificate, key)) = &self.source else {
            return Ok(());
        };
        let certificate = Arc::new(Certificate::from_files(certificate, key)?);
        if certificate.validity(clock.now()) != Validity::Valid {
            tracing::warn!("the configured certificate is not valid at this time");
        }
        let fallback = if self.answers_every_name {
            Fallback::Any(Arc::clone(&certificate))
        } else {
            Fallback::Refuse
        };
        self.resolver
            .replace(Certificates::new([certificate], fallback));
        Ok(())
    }

    /// What handshakes use; `None` without TLS.
    pub(super) fn resolver(&self) -> Option<Arc<TlsResolver>> {
        self.source
            .as_ref()
            .map(|_source| Arc::clone(&self.resolver))
    }

    /// The certificate of the node's own CA, if certificates come from it.
    pub(super) fn ca_pem(&self) -> Option<String> {
        let Some(Source::Local(ca)) = &self.source else {
            return None;
        };
        let ca = ca.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ca.certificate_pem().to_owned())
    }

    /// Makes sure that every host has its certificate, where this node makes them.
    /// So has `own`, which answers no handshake without a name.
    fn cover(&self, mut hosts: BTreeSet<Host>, own: Option<&Host>, clock: &Clock) {
        let Some(Source::Local(ca)) = &self.source else {
            return;
        };
        let mut ca = ca.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.extend(own.cloned());
        match ca.ensure(&hosts, clock.now()) {
            Ok(certificates) => {
                let is_own = |name: &String| own.is_some_and(|own| own.as_str() == name);
                let mut of_sites = certificates.iter();
                let first = of_sites.find(|certificate| !certificate.names().iter().any(is_own));
                let first = first.map(Arc::clone);
                let fallback = first.map_or(Fallback::Refuse, Fallback::Nameless);
                self.resolver
                    .replace(Certificates::new(certificates, fallback));
            }
            Err(error) => tracing::error!(%error, "the local CA could not issue"),
        }
    }
}

/// Puts what holds before visitors.
pub(super) struct Showing {
    store: Store,
    thrift: Arc<Thrift>,
    sites: Arc<Sites>,
    lan: Option<Arc<Lan>>,
    status: Arc<StatusPage>,
    certification: Certification,
    clock: Clock,
}

impl Showing {
    pub(super) fn new(
        (store, thrift): (Store, Arc<Thrift>),
        sites: Arc<Sites>,
        lan: Option<Arc<Lan>>,
        certification: Certification,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            thrift,
            sites,
            lan,
            status: Arc::default(),
            certification,
            clock,
        }
    }

    /// The page of the admin zone.
    pub(super) fn status(&self) -> Arc<StatusPage> {
        Arc::clone(&self.status)
    }

    /// Looks after certificates while nothing else changes: leaves of the local CA are renewed,
    /// files are read again.
    pub(super) fn renew(&self, effect: &Effect, slot: Slot) {
        if let Err(error) = self.certification.read_files(&self.clock) {
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
        self.certification
            .cover(covered, zone.as_ref(), &self.clock);
        self.status.stand_at(zone);
        self.sites.replace_all(hosts, awaited);
        if let Some(lan) = &self.lan {
            lan.show(listed);
        }
    }
}
