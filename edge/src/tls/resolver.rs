//! Which certificate answers which name: exact host, then wildcard, then nothing.

use super::certificate::{Certificate, Validity};

use crate::host::Host;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;

/// Who answers a handshake for which no certificate stands in the table.
#[derive(Debug, Clone, Default)]
pub enum Fallback {
    /// Nobody: the handshake ends with `access_denied`. So a scan of addresses learns no name.
    #[default]
    Refuse,
    /// This one answers a handshake without a name; unknown names are refused (the local CA).
    Nameless(Arc<Certificate>),
    /// This one answers everything (`verge preview`).
    Any(Arc<Certificate>),
}

/// The table, made whole and swapped.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<Box<str>, Arc<Certificate>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Arc<Certificate>>,
    fallback: Fallback,
    guaranteed_life: Option<Duration>,
}

impl Certificates {
    /// Of two certificates for one name, the one that is valid longer answers.
    pub fn new(
        certificates: impl IntoIterator<Item = Arc<Certificate>>,
        fallback: Fallback,
    ) -> Self {
        let mut table = Self {
            fallback,
            ..Self::default()
        };
        for certificate in certificates {
            let life = certificate.guaranteed_life();
            table.guaranteed_life =
                Some(table.guaranteed_life.map_or(life, |least| least.min(life)));
            for name in certificate.names() {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                let longer =
                    |known: &Arc<Certificate>| known.not_after() >= certificate.not_after();
                if !names.get(name).is_some_and(longer) {
                    names.insert(name.into(), Arc::clone(&certificate));
                }
            }
        }
        table
    }

    fn named(&self, host: &Host) -> Option<&Arc<Certificate>> {
        let by_parent = || host.parent().and_then(|parent| self.wildcard.get(parent));
        self.exact.get(host.as_str()).or_else(by_parent)
    }

    /// Whether a visitor of `host` gets one that is for it.
    #[must_use]
    pub fn covers(&self, host: &Host) -> bool {
        self.named(host).is_some()
    }

    fn answering(&self, name: Option<&Host>) -> Option<&Arc<Certificate>> {
        match (name.and_then(|host| self.named(host)), &self.fallback) {
            (Some(certificate), _) => Some(certificate),
            (None, Fallback::Any(certificate)) => Some(certificate),
            (None, Fallback::Nameless(certificate)) if name.is_none() => Some(certificate),
            (None, Fallback::Nameless(_) | Fallback::Refuse) => None,
        }
    }
}

/// The certificates that handshakes use now.
#[derive(Default)]
pub struct TlsResolver(ArcSwap<Certificates>);

impl TlsResolver {
    /// Starts with `certificates`.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        Self(ArcSwap::from_pointee(certificates))
    }

    /// Uses `certificates` from the next handshake on.
    pub fn replace(&self, certificates: Certificates) {
        self.0.store(Arc::new(certificates));
    }

    /// Whether a visitor of `host` would get a certificate that is valid at `now`.
    #[must_use]
    pub fn is_valid_for(&self, host: &Host, now: UnixTime) -> bool {
        let table = self.0.load();
        let certificate = table.answering(Some(host));
        certificate.is_some_and(|certificate| certificate.validity(now) == Validity::Valid)
    }

    /// The certificate that is for `host`.
    #[must_use]
    pub fn certificate(&self, host: &Host) -> Option<Arc<Certificate>> {
        self.0.load().named(host).map(Arc::clone)
    }

    /// The longest time for which browsers may be told to use TLS only: for so long all certificates
    /// last, whatever happens. None if there are none.
    #[must_use]
    pub fn guaranteed_life(&self) -> Option<Duration> {
        self.0.load().guaranteed_life
    }

    /// Whether one certificate covers both hosts.
    #[must_use]
    pub fn is_same_certificate(&self, one: &Host, other: &Host) -> bool {
        let table = self.0.load();
        let (one, other) = (table.named(one), table.named(other));
        one.zip(other)
            .is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl ResolvesServerCert for TlsResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(Host::parse);
        // A name that is no host has no certificate, and is not the same as no name.
        let name = name.transpose().ok()?;
        let table = self.0.load();
        let certificate = table.answering(name.as_ref())?;
        Some(Arc::clone(certificate.key()))
    }
}

impl fmt::Debug for TlsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsResolver").finish_non_exhaustive()
    }
}
