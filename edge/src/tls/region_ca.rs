//! A node's part of its region's own CA: an intermediate, for names that are the region's own.
//!
//! Owns files of the data directory: `region-issuer.key` (0600), `region-issuer.pem`, and
//! `region-issuer.next.key` (0600) while a request is out; the leaves live in memory and are made
//! ahead. The root's key lies elsewhere ([`super::region_root`]); its certificate is here too, to be
//! handed out.

use super::authority::{IssueError, Leaves, named, read_if_there};
use super::certificate::Certificate;
use super::read_ca::CaCertificate;
use super::region_root::{ROOT_FILE, requested_point};
use crate::host::Host;
use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ParsedCertificate;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;
use verge_sync::store::{StoreError, write_file_durably};

/// The node's certificate, and after it nothing.
pub const ISSUER_FILE: &str = "region-issuer.pem";
/// Its key.
pub const ISSUER_KEY_FILE: &str = "region-issuer.key";
/// The key of a request that is out.
const NEXT_KEY_FILE: &str = "region-issuer.next.key";
/// The longest answer to a request that is read: two certificates have 2 KiB.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// The node's intermediate, and the leaves that it has issued in this process.
pub struct RegionCa {
    leaves: Leaves,
    certificate: CaCertificate,
    issuer_pem: String,
    root_pem: String,
    data: PathBuf,
}

/// Why this node does not speak for the region's own names.
#[derive(Debug, thiserror::Error)]
pub enum RegionCaError {
    /// Nothing is here.
    #[error(
        "{path} is missing: make the region's CA with `verge region ca make`, or, where it is made already, ask it with `verge region ca request`",
        path = .0.display()
    )]
    NotThere(PathBuf),
    /// A file of the data directory.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that holds something else.
    #[error("{path} is not what it should be: ask anew with `verge region ca request`", path = .0.display())]
    Damaged(PathBuf),
    /// An answer that is not for this node, or not of a region's CA.
    #[error("this is not an answer to a request of this node: {0}")]
    Answer(&'static str),
    /// An answer that visitors would not believe.
    #[error("visitors would not believe this certificate: {0}")]
    Unbelievable(rustls::Error),
    /// The disk.
    #[error(transparent)]
    Write(#[from] StoreError),
    /// An error of ours.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl RegionCa {
    /// Opens what lies in `data`.
    ///
    /// # Errors
    /// [`RegionCaError`]. A certificate that has expired is no error: visitors are warned, which is
    /// better than no page.
    pub fn open(data: &Path) -> Result<Self, RegionCaError> {
        let key_path = data.join(ISSUER_KEY_FILE);
        let issuer_path = data.join(ISSUER_FILE);
        let key = KeyPair::from_pem(&read(&key_path)?);
        let key = key.map_err(|_rcgen| RegionCaError::Damaged(key_path))?;
        let issuer_pem = read(&issuer_path)?;
        let root_pem = read(&data.join(ROOT_FILE))?;
        let certificate = CaCertificate::read(&issuer_pem);
        let is_own = |found: &CaCertificate| found.public_key == key.subject_public_key_info();
        let certificate = certificate.filter(is_own);
        let certificate = certificate.ok_or(RegionCaError::Damaged(issuer_path))?;
        Ok(Self {
            leaves: Leaves::new(issuer(&certificate, key), issuer_pem.clone()),
            certificate,
            issuer_pem,
            root_pem,
            data: data.to_owned(),
        })
    }

    /// Takes what [`install`] has put into the data directory since.
    ///
    /// # Errors
    /// [`RegionCaError`]; what was in use stays.
    pub fn refresh(&mut self) -> Result<(), RegionCaError> {
        let is_as_before = read(&self.data.join(ISSUER_FILE))? == self.issuer_pem
            && read(&self.data.join(ROOT_FILE))? == self.root_pem;
        if !is_as_before {
            *self = Self::open(&self.data)?;
        }
        Ok(())
    }

    /// A certificate for each of `hosts` that lies in the region's zones, as
    /// [`super::LocalCa::ensure`]; the others are not its business.
    ///
    /// # Errors
    /// [`IssueError`]; the leaves that were there still are.
    pub fn ensure(
        &mut self,
        hosts: &BTreeSet<Host>,
        now: UnixTime,
    ) -> Result<Vec<Arc<Certificate>>, IssueError> {
        let own = hosts
            .iter()
            .filter(|host| is_within(host, &self.certificate.zones));
        self.leaves.ensure(&own.cloned().collect(), now)
    }

    /// What this node's certificate says.
    #[must_use]
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// The root's certificate, for visitors.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

/// Makes a key and a request for the root, in PEM form. What is in use stays in use until the answer
/// is there.
///
/// # Errors
/// [`RegionCaError`].
pub fn request(data: &Path) -> Result<String, RegionCaError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::from)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Verge region node");
    let request = params.serialize_request(&key).map_err(IssueError::from)?;
    let request = request.pem().map_err(IssueError::from)?;
    let path = data.join(NEXT_KEY_FILE);
    write_file_durably(&path, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(request)
}

/// Takes in the answer to a request: the node's certificate and the root's, in PEM form.
///
/// # Errors
/// [`RegionCaError`]; what was in use stays.
pub fn install(data: &Path, answer: &str, now: UnixTime) -> Result<CaCertificate, RegionCaError> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(RegionCaError::Answer("it is too long"));
    }
    let (issuer_pem, root_pem) = split(answer)?;
    let found = CaCertificate::read(issuer_pem)
        .filter(|found| !found.zones.is_empty())
        .ok_or(RegionCaError::Answer("it is not of a region's CA"))?;
    let key = [NEXT_KEY_FILE, ISSUER_KEY_FILE]
        .into_iter()
        .filter_map(|file| fs::read_to_string(data.join(file)).ok())
        .filter_map(|pem| KeyPair::from_pem(&pem).ok())
        .find(|key| key.subject_public_key_info() == found.public_key)
        .ok_or(RegionCaError::Answer("its key is not here"))?;
    let key_pem = key.serialize_pem();
    check_as_visitors_do(issuer(&found, key), &found, (issuer_pem, root_pem), now)?;
    // The key first: a crash between leaves a pair that does not match, and says so, and the next
    // `install` of the same answer mends it.
    write_file_durably(&data.join(ISSUER_KEY_FILE), key_pem.as_bytes(), 0o600)?;
    write_file_durably(&data.join(ISSUER_FILE), issuer_pem.as_bytes(), 0o644)?;
    write_file_durably(&data.join(ROOT_FILE), root_pem.as_bytes(), 0o644)?;
    match fs::remove_file(data.join(NEXT_KEY_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the key of the request could not be removed");
        }
        _ => {}
    }
    Ok(found)
}

/// Fuzz target: requests to the root and its answers, as people carry them.
pub(crate) fn ca_certificates(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(point) = requested_point(&text) {
        // Uncompressed, on P-256: nothing else was signed by its own key.
        assert_eq!((point.len(), point.first()), (65, Some(&4)));
    }
    if let Some(ca) = CaCertificate::read(&text) {
        assert_eq!(ca.fingerprint.len(), 32 * 3 - 1);
    }
    if let Ok((issuer, root)) = split(&text) {
        assert!(text.contains(issuer) && text.ends_with(root));
    }
}

/// Whether `host` is one of the zones, or lies in one.
#[must_use]
pub fn is_within(host: &Host, zones: &[String]) -> bool {
    let is_in = |zone: &String| {
        let before = host.as_str().strip_suffix(zone.as_str());
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    zones.iter().any(is_in)
}

/// A leaf for a name of the first zone, judged as visitors judge it.
fn check_as_visitors_do(
    issuer: Issuer<'static, KeyPair>,
    found: &CaCertificate,
    (issuer_pem, root_pem): (&str, &str),
    now: UnixTime,
) -> Result<(), RegionCaError> {
    let zone = found.zones.first().map(String::as_str).unwrap_or_default();
    let host = Host::parse(zone).map_err(|_host| RegionCaError::Answer("its zone is no name"))?;
    let mut leaves = Leaves::new(issuer, issuer_pem.to_owned());
    let leaves = leaves.ensure(&BTreeSet::from([host]), now)?;
    let chain = leaves.first().map(|leaf| leaf.key().cert.as_slice());
    let Some([leaf, rest @ ..]) = chain else {
        return Err(RegionCaError::Answer("it signs nothing"));
    };
    let judge = || {
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
            .map_err(|_pem| rustls::Error::General("the root has no PEM form".to_owned()))?;
        let mut roots = RootCertStore::empty();
        roots.add(root)?;
        let leaf = ParsedCertificate::try_from(leaf)?;
        let at = Duration::from_secs(u64::try_from(now.0).unwrap_or(0));
        let at = rustls::pki_types::UnixTime::since_unix_epoch(at);
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, rest, at, algorithms.all)
    };
    judge().map_err(RegionCaError::Unbelievable)
}

/// What gives its leaves a name of their issuer that is the one in its certificate.
fn issuer(certificate: &CaCertificate, key: KeyPair) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&certificate.name);
    Issuer::new(params, key)
}

/// The two certificates of an answer.
fn split(answer: &str) -> Result<(&str, &str), RegionCaError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let mut starts = answer.match_indices(BEGIN).map(|(at, _)| at);
    let (Some(first), Some(second), None) = (starts.next(), starts.next(), starts.next()) else {
        return Err(RegionCaError::Answer("it has not two certificates"));
    };
    let (before, root) = answer.split_at(second);
    Ok((before.get(first..).unwrap_or_default(), root))
}

fn read(path: &Path) -> Result<String, RegionCaError> {
    match read_if_there(path) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(RegionCaError::NotThere(path.to_owned())),
        Err(source) => Err(RegionCaError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lie_in_zones_by_whole_labels() {
        let zones = ["street.internal".to_owned(), "sites.localhost".to_owned()];
        for (host, expected) in [
            ("street.internal", true),
            ("garden.street.internal", true),
            ("a.b.sites.localhost", true),
            ("mainstreet.internal", false),
            ("internal", false),
            ("localhost", false),
            ("street.internal.example.org", false),
            ("www.example.org", false),
            ("127.0.0.1", false),
            ("[::1]", false),
        ] {
            assert_eq!(
                is_within(&host.parse().unwrap(), &zones),
                expected,
                "{host}"
            );
        }
    }
}
