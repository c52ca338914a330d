//! A certificate authority of one node, for places that no public one reaches: tests, the demo, a
//! home network.
//!
//! Its key and certificate are two files of the data directory; the leaves live in memory and are
//! made ahead, never in a handshake. Losing the files means a new authority that browsers must be
//! told of again. It can speak for names that nobody can register ([`ZONES`]), and for no others, so
//! that whoever steals its key deceives nobody about a bank.

use super::authority::{IssueError, Leaves, YEAR, named, only_for, read_if_there, set_life};
use super::certificate::Certificate;
use super::read_ca::CaCertificate;
use super::region_ca::is_within;
use crate::host::Host;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::store::{StoreError, write_file_durably};

/// Domains that nobody can register: RFC 6761 and 2606, ICANN's `.internal`, RFC 6762, RFC 8375. The
/// zones of a region that is on a local network lie in one of them.
pub const ZONES: [&str; 6] = [
    "localhost",
    "internal",
    "local",
    "home.arpa",
    "test",
    "example",
];

/// As long as any browser accepts an authority without a thought.
const CA_LIFE: Duration = YEAR.saturating_mul(10);

/// The authority, and the leaves that it has issued in this process.
pub struct LocalCa {
    leaves: Leaves,
    /// The zones in its certificate; none for one of an early trial, which can speak for any name.
    zones: Vec<String>,
    certificate_pem: String,
    certificate_path: PathBuf,
}

/// Why there is no local authority.
#[derive(Debug, thiserror::Error)]
pub enum LocalCaError {
    /// A file of the data directory.
    #[error("{verb} {path}")]
    File {
        /// "read" or "remove".
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that could not be made durable.
    #[error(transparent)]
    Write(#[from] StoreError),
    /// The key's file holds something else.
    #[error("{path} is not a private key: move it away to make a new authority")]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What the library said.
        source: rcgen::Error,
    },
    /// A certificate cannot be made: an error of ours.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl LocalCa {
    /// Opens the authority in `dir`, or makes one: `local-ca.key` (0600) and `local-ca.pem`.
    ///
    /// # Errors
    /// [`LocalCaError`].
    pub fn open(dir: &Path, now: UnixTime) -> Result<Self, LocalCaError> {
        let key_path = dir.join("local-ca.key");
        let certificate_path = dir.join("local-ca.pem");
        let key = match read(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|source| LocalCaError::Key {
                path: key_path.clone(),
                source,
            })?,
            None => {
                // A certificate without its key is of an authority that is gone.
                remove_if_there(&certificate_path)?;
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
                let key = key.map_err(IssueError::from)?;
                write_file_durably(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
                key
            }
        };
        let params = ca_params(&key, now);
        let certificate_pem = match read(&certificate_path)? {
            Some(pem) => pem,
            None => {
                let certificate = params.self_signed(&key).map_err(IssueError::from)?;
                let pem = certificate.pem();
                write_file_durably(&certificate_path, pem.as_bytes(), 0o644)?;
                pem
            }
        };
        let zones = CaCertificate::read(&certificate_pem).map(|read| read.zones);
        Ok(Self {
            leaves: Leaves::new(Issuer::new(params, key), String::new()),
            zones: zones.unwrap_or_default(),
            certificate_pem,
            certificate_path,
        })
    }

    /// The authority's certificate, for browsers and test clients.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The file that holds it.
    #[must_use]
    pub fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    /// A certificate for every host that it can speak for, made now where there is none or half of its
    /// life is over; those of other hosts are forgotten. In the order of their hosts.
    ///
    /// # Errors
    /// [`LocalCaError`]; the leaves that were there still are.
    pub fn ensure(
        &mut self,
        hosts: &BTreeSet<Host>,
        now: UnixTime,
    ) -> Result<Vec<Arc<Certificate>>, LocalCaError> {
        let is_own = |host: &&Host| self.zones.is_empty() || is_within(host, &self.zones);
        let own: BTreeSet<Host> = hosts.iter().filter(is_own).cloned().collect();
        Ok(self.leaves.ensure(&own, now)?)
    }
}

/// The same for one key, so that leaves made after a restart chain to the certificate on disk.
fn ca_params(key: &KeyPair, now: UnixTime) -> CertificateParams {
    let digest = Digest::of(key.public_key_raw()).to_string();
    let (short, _rest) = digest.split_at(8);
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("Verge local CA {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(only_for(ZONES.map(str::to_owned)));
    params.serial_number = Some(SerialNumber::from(1_u64));
    set_life(&mut params, now, CA_LIFE);
    params
}

fn read(path: &Path) -> Result<Option<String>, LocalCaError> {
    read_if_there(path).map_err(|source| LocalCaError::File {
        verb: "read",
        path: path.to_owned(),
        source,
    })
}

fn remove_if_there(path: &Path) -> Result<(), LocalCaError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LocalCaError::File {
            verb: "remove",
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}
