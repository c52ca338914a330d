//! A certificate authority of one node, for places that no public one reaches: tests, the demo, a
//! home network.
//!
//! Its key and certificate are two files of the data directory; the leaves live in memory and are
//! made ahead, never in a handshake. Losing the files means a new authority that browsers must be
//! told of again.

use super::certificate::{Certificate, CertificateError};
use crate::host::Host;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::store::{StoreError, write_file_durably};

const DAY: Duration = Duration::from_hours(24);
/// As long as any browser accepts an authority without a thought.
const CA_LIFE: Duration = Duration::from_hours(24 * 3650);
/// Leaves cost 0.1 ms and live in memory; 90 days is what everybody is used to.
const LEAF_LIFE: Duration = Duration::from_hours(24 * 90);

/// The authority, and the leaves that it has issued in this process.
pub struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate_path: PathBuf,
    leaves: BTreeMap<Host, Arc<Certificate>>,
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
    #[error("issue a certificate")]
    Issue(#[from] rcgen::Error),
    /// A certificate of ours does not read: an error of ours.
    #[error("read an issued certificate")]
    Leaf(#[from] CertificateError),
}

impl LocalCa {
    /// Opens the authority in `dir`, or makes one: `local-ca.key` (0600) and `local-ca.pem`.
    ///
    /// # Errors
    /// [`LocalCaError`].
    pub fn open(dir: &Path, now: UnixTime) -> Result<Self, LocalCaError> {
        let key_path = dir.join("local-ca.key");
        let certificate_path = dir.join("local-ca.pem");
        let key = match read_if_there(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(|source| LocalCaError::Key {
                path: key_path.clone(),
                source,
            })?,
            None => {
                // A certificate without its key is of an authority that is gone.
                remove_if_there(&certificate_path)?;
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                write_file_durably(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
                key
            }
        };
        let params = ca_params(&key, now);
        let certificate_pem = match read_if_there(&certificate_path)? {
            Some(pem) => pem,
            None => {
                let pem = params.self_signed(&key)?.pem();
                write_file_durably(&certificate_path, pem.as_bytes(), 0o644)?;
                pem
            }
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
            certificate_path,
            leaves: BTreeMap::new(),
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

    /// A certificate for every host, made now where there is none or half of its life is over;
    /// those of other hosts are forgotten. In the order of their hosts.
    ///
    /// # Errors
    /// [`LocalCaError`]; the leaves that were there still are.
    pub fn ensure(
        &mut self,
        hosts: &BTreeSet<Host>,
        now: UnixTime,
    ) -> Result<Vec<Arc<Certificate>>, LocalCaError> {
        for host in hosts {
            let known = self.leaves.get(host);
            let fresh = known.is_some_and(|leaf| leaf.not_after().since(now) > LEAF_LIFE / 2);
            if !fresh {
                let leaf = Arc::new(self.issue(host, now)?);
                self.leaves.insert(host.clone(), leaf);
            }
        }
        self.leaves.retain(|host, _leaf| hosts.contains(host));
        Ok(self.leaves.values().map(Arc::clone).collect())
    }

    fn issue(&self, host: &Host, now: UnixTime) -> Result<Certificate, LocalCaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(vec![host.to_string()])?;
        params.distinguished_name = named(host.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_life(&mut params, now, LEAF_LIFE);
        let leaf = params.signed_by(&key, &self.issuer)?;
        let chain = leaf.pem();
        Ok(Certificate::from_pem(
            chain.as_bytes(),
            key.serialize_pem().as_bytes(),
        )?)
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
    params.serial_number = Some(SerialNumber::from(1_u64));
    set_life(&mut params, now, CA_LIFE);
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// From a day before `now`, for visitors whose clocks are behind.
fn set_life(params: &mut CertificateParams, now: UnixTime, life: Duration) {
    /// 2100-01-01; a clock that is past it is wrong.
    const LAST: u64 = 4_102_444_800;
    let now = Duration::from_secs(u64::try_from(now.0).unwrap_or(0).min(LAST));
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + life;
}

fn read_if_there(path: &Path) -> Result<Option<String>, LocalCaError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LocalCaError::File {
            verb: "read",
            path: path.to_owned(),
            source,
        }),
    }
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
