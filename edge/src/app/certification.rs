//! The certificates of this node: those of the region, the steward's files, a CA of the node's own.

use crate::certificates::{Authorities, Keyring, Review};
use crate::config::{Config, LocalCa as LocalCaSetting};
use crate::host::Host;
use crate::tls::{
    CaCertificate, Certificate, CertificateError, Certificates, Fallback, OwnCa, TlsResolver,
    Validity,
};
use anyhow::Context;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use verge_sync::clock::Clock;
use verge_sync::keys::Seed;
use verge_sync::record::Effect;
use verge_sync::store::Store;

/// Where certificates come from beside the region.
enum Source {
    /// One that covers what it covers: the files of the certificate and its key.
    Files {
        certificate: PathBuf,
        key: PathBuf,
        read: Mutex<Option<Arc<Certificate>>>,
    },
    /// A CA of this node's own, or its part of the region's: one for each host.
    Local(Box<Mutex<OwnCa>>),
}

/// The certificates of a node, and where new ones come from.
pub(super) struct Certification {
    source: Option<Source>,
    /// Whether handshakes for names that no certificate covers are answered too.
    answers_every_name: bool,
    keyring: Option<Arc<Keyring>>,
    review: watch::Sender<Arc<Review>>,
    resolver: Arc<TlsResolver>,
    clock: Clock,
}

impl Certification {
    /// Reads the files, or opens the local CA, as the configuration says.
    pub(super) fn open(
        data: &Path,
        config: &Config,
        keyring: Option<Arc<Keyring>>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let tls = &config.tls;
        let source = match (&tls.ca, &tls.certificate, &tls.key) {
            (Some(LocalCaSetting::Local), _, _) => {
                let ca = OwnCa::local(data, clock.now())?;
                Some(Source::Local(Box::new(Mutex::new(ca))))
            }
            (Some(LocalCaSetting::Region), _, _) => {
                let ca = OwnCa::region(data)?;
                Some(Source::Local(Box::new(Mutex::new(ca))))
            }
            (None, Some(certificate), Some(key)) => Some(Source::Files {
                certificate: data.join(certificate),
                key: data.join(key),
                read: Mutex::default(),
            }),
            _ => None,
        };
        let certification = Self {
            source,
            // A preview has no region.
            answers_every_name: keyring.is_none(),
            keyring,
            review: watch::Sender::default(),
            resolver: Arc::default(),
            clock,
        };
        certification.read_files()?;
        certification.install(Vec::new(), Fallback::Refuse);
        Ok(certification)
    }

    /// Takes what the files hold now: a renewed certificate needs no restart.
    pub(super) fn read_files(&self) -> Result<(), CertificateError> {
        let Some(Source::Files {
            certificate,
            key,
            read,
        }) = &self.source
        else {
            return Ok(());
        };
        let certificate = Arc::new(Certificate::from_files(certificate, key)?);
        if certificate.validity(self.clock.now()) != Validity::Valid {
            tracing::warn!("the configured certificate is not valid at this time");
        }
        *read.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
        Ok(())
    }

    /// What handshakes use; `None` without TLS.
    pub(super) fn resolver(&self) -> Option<Arc<TlsResolver>> {
        let has_any = self.source.is_some() || self.keyring.is_some();
        has_any.then(|| Arc::clone(&self.resolver))
    }

    /// The certificate of the node's own CA, if certificates come from it.
    pub(super) fn ca_pem(&self) -> Option<String> {
        let Some(Source::Local(ca)) = &self.source else {
            return None;
        };
        let ca = ca.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ca.certificate_pem().to_owned())
    }

    /// This node's part of the region's CA, if certificates come from it.
    pub(super) fn region_ca(&self) -> Option<CaCertificate> {
        let Some(Source::Local(ca)) = &self.source else {
            return None;
        };
        let ca = ca.lock().unwrap_or_else(PoisonError::into_inner);
        ca.region_part().cloned()
    }

    /// What opens the region's certificates.
    pub(super) fn keyring(&self) -> Option<Arc<Keyring>> {
        self.keyring.as_ref().map(Arc::clone)
    }

    /// The region's certificates as this node last looked at them, and every change.
    pub(super) fn reviews(&self) -> watch::Receiver<Arc<Review>> {
        self.review.subscribe()
    }

    /// Whether visitors can be served over HTTPS.
    pub(super) fn has_any(&self) -> bool {
        self.source.is_some() || self.review.borrow().certificates().next().is_some()
    }

    /// Makes sure that every host has its certificate, as far as one is here or is made here.
    /// So has `own`, which answers no handshake without a name.
    pub(super) fn cover(&self, mut hosts: BTreeSet<Host>, own: Option<&Host>, effect: &Effect) {
        let mut certificates = Vec::new();
        if let Some(keyring) = &self.keyring {
            let review = Arc::new(keyring.review(effect, self.clock.now()));
            certificates.extend(review.certificates());
            self.review.send_replace(review);
        }
        let Some(Source::Local(ca)) = &self.source else {
            return self.install(certificates, Fallback::Refuse);
        };
        let of_the_region =
            Certificates::new(certificates.iter().map(Arc::clone), Fallback::Refuse);
        hosts.retain(|host| !of_the_region.covers(host));
        hosts.extend(own.filter(|own| !of_the_region.covers(own)).cloned());
        let mut ca = ca.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = ca.refresh() {
            tracing::error!(%error, "the region's CA stays as it was");
        }
        let made = match ca.ensure(&hosts, self.clock.now()) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "the node's CA could not issue");
                return;
            }
        };
        let is_own = |name: &String| own.is_some_and(|own| own.as_str() == name);
        let mut of_sites = made.iter();
        let first = of_sites.find(|certificate| !certificate.names().iter().any(is_own));
        let fallback = first.map_or(Fallback::Refuse, |first| {
            Fallback::Nameless(Arc::clone(first))
        });
        certificates.extend(made);
        self.install(certificates, fallback);
    }

    /// Puts them before visitors, with that of the files.
    fn install(&self, mut certificates: Vec<Arc<Certificate>>, fallback: Fallback) {
        let mut fallback = fallback;
        if let Some(Source::Files { read, .. }) = &self.source
            && let Some(file) = read.lock().unwrap_or_else(PoisonError::into_inner).clone()
        {
            if self.answers_every_name {
                fallback = Fallback::Any(Arc::clone(&file));
            }
            certificates.push(file);
        }
        self.resolver
            .replace(Certificates::new(certificates, fallback));
    }
}

/// What opens the region's certificates, unless the steward wants none of them.
pub(super) fn keyring(
    data: &Path,
    config: &Config,
    seed: &Seed,
    store: &Store,
) -> anyhow::Result<Option<Arc<Keyring>>> {
    if !config.tls.ordered {
        return Ok(None);
    }
    let authorities = Authorities::new(&roots(data, config)?)?;
    let keyring = Keyring::new(store.clone(), seed, authorities);
    Ok(Some(Arc::new(keyring)))
}

/// The authorities that the steward trusts beside those that browsers trust.
pub(super) fn roots(data: &Path, config: &Config) -> anyhow::Result<Vec<Vec<u8>>> {
    let roots = config.tls.roots.iter().map(|path| {
        let path = data.join(path);
        std::fs::read(&path).with_context(|| format!("read {}", path.display()))
    });
    roots.collect()
}
