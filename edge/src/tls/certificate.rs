//! One certificate with its key, read and checked once.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// A certificate chain, its key, the names that it is for, and when.
#[derive(Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: UnixTime,
    not_after: UnixTime,
}

/// Whether a certificate may be used at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Its time has not come.
    NotYet,
    /// Now.
    Valid,
    /// Its time is over: visitors are warned, but a warning beats no page.
    Expired,
}

impl Validity {
    /// Of a certificate with this life.
    #[must_use]
    pub fn of(not_before: UnixTime, not_after: UnixTime, now: UnixTime) -> Self {
        if now < not_before {
            Self::NotYet
        } else if now > not_after {
            Self::Expired
        } else {
            Self::Valid
        }
    }
}

/// Why a certificate cannot be used; the steward's to mend.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The chain's file has no certificate in PEM form.
    #[error("no certificate in PEM form in {0}")]
    NoCertificate(String),
    /// The key's file has no private key in PEM form.
    #[error("no private key in PEM form in {0}")]
    NoKey(String),
    /// A certificate that does not parse.
    #[error("{0} is not a certificate that can be read")]
    Malformed(String),
    /// The two files do not belong together.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// The chain's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
    /// A key of a kind that cannot be used.
    #[error("the private key in {key} cannot be used: {reason}")]
    Key {
        /// The key's file.
        key: String,
        /// What the TLS library said.
        reason: rustls::Error,
    },
    /// A certificate without DNS names answers nobody.
    #[error("the certificate in {0} names no DNS host")]
    NoNames(String),
}

/// Where PEM text came from, for errors.
struct Origin<'a> {
    certificate: &'a str,
    key: &'a str,
}

impl Certificate {
    /// Reads `[tls] certificate` and `key`: a chain in PEM form, the leaf first, and its key.
    ///
    /// # Errors
    /// [`CertificateError`] names the file. A certificate that has expired is no error: see
    /// [`Certificate::validity`].
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let origin = Origin {
            certificate: &certificate.display().to_string(),
            key: &key.display().to_string(),
        };
        parse(&read(certificate)?, &read(key)?, &origin)
    }

    /// As [`Certificate::from_files`], from memory.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let origin = Origin {
            certificate: "the chain",
            key: "the key",
        };
        parse(chain, key, &origin)
    }

    /// The DNS names that it is for, in lower case; `*.` in front stands for one label.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The first moment of its life.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// What is sent in a handshake: the leaf, then its issuers, each in DER form.
    #[must_use]
    pub fn chain(&self) -> Vec<&[u8]> {
        self.key.cert.iter().map(AsRef::as_ref).collect()
    }

    /// The first moment after its life.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// How long visitors are served with valid certificates whatever happens to the authority: renewals
    /// begin at half of a life, and two days are for the unforeseen.
    #[must_use]
    pub fn guaranteed_life(&self) -> Duration {
        const RESERVE: Duration = Duration::from_hours(48);
        (self.not_after.since(self.not_before) / 2).saturating_sub(RESERVE)
    }

    /// Whether it is valid at `now`.
    #[must_use]
    pub fn validity(&self, now: UnixTime) -> Validity {
        Validity::of(self.not_before, self.not_after, now)
    }

    pub(super) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Read {
        path: path.to_owned(),
        source,
    })
}

fn parse(chain: &[u8], key: &[u8], origin: &Origin<'_>) -> Result<Certificate, CertificateError> {
    let file = || origin.certificate.to_owned();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_pem: pem::Error| CertificateError::NoCertificate(file()))?;
    let leaf = chain
        .first()
        .ok_or_else(|| CertificateError::NoCertificate(file()))?;
    let (names, not_before, not_after) = read_leaf(leaf, origin)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_pem| CertificateError::NoKey(origin.key.to_owned()))?;
    let key = CertifiedKey::from_der(chain, key, &super::provider())
        .map_err(|error| key_error(error, origin))?;
    Ok(Certificate {
        key: Arc::new(key),
        names,
        not_before,
        not_after,
    })
}

fn key_error(error: rustls::Error, origin: &Origin<'_>) -> CertificateError {
    let key = origin.key.to_owned();
    match error {
        rustls::Error::InconsistentKeys(_) => CertificateError::KeyMismatch {
            certificate: origin.certificate.to_owned(),
            key,
        },
        reason => CertificateError::Key { key, reason },
    }
}

fn read_leaf(
    leaf: &CertificateDer<'_>,
    origin: &Origin<'_>,
) -> Result<(Vec<String>, UnixTime, UnixTime), CertificateError> {
    let file = || origin.certificate.to_owned();
    let (_rest, parsed) =
        parse_x509_certificate(leaf).map_err(|_malformed| CertificateError::Malformed(file()))?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|_malformed| CertificateError::Malformed(file()))?;
    let names: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Err(CertificateError::NoNames(file()));
    }
    let validity = parsed.validity();
    Ok((
        names,
        UnixTime(validity.not_before.timestamp()),
        UnixTime(validity.not_after.timestamp()),
    ))
}
