//! The root of a region's own CA, which lies in a folder of its own and not on a node.
//!
//! It signs one intermediate for each node. Both may speak only for names in the zones that the root
//! names (RFC 5280 section 4.2.1.10), for no address, and sign nothing but visitors' connections: who
//! imports the root trusts the region about its own names and about nobody else's.

use super::authority::{IssueError, YEAR, named, only_for, serial, set_life};
use super::read_ca::CaCertificate;
use crate::host::Host;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::store::{StoreError, create_file_durably};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// The root's certificate, in its folder and on each node.
pub const ROOT_FILE: &str = "region-ca.pem";
/// The root's key, in its folder only.
pub const ROOT_KEY_FILE: &str = "region-ca.key";
/// A browser that trusts it has to be told by hand: seldom.
const ROOT_LIFE: Duration = YEAR.saturating_mul(10);
/// A node that is stolen speaks for the region's own names no longer than this.
pub const INTERMEDIATE_LIFE: Duration = YEAR.saturating_mul(2);
/// Zones of one root: the sites', the admin pages', and a few for devices.
pub const ZONES_MAX: usize = 8;
/// Of a zone in the name of a certificate, which has 64 letters in all.
const ZONE_SHOWN_BYTES_MAX: usize = 36;
/// The largest request that is read; one of ours has 400 bytes.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// The root, with its key.
pub struct RegionRoot {
    issuer: Issuer<'static, KeyPair>,
    certificate: CaCertificate,
    pem: String,
}

/// Why there is no root, or it does not sign.
#[derive(Debug, thiserror::Error)]
pub enum RegionRootError {
    /// A zone that must not be anybody's alone.
    #[error(
        "{0:?} cannot be a zone of the region's CA: name one that is the region's own, such as \"street.internal\""
    )]
    Zone(String),
    /// None, or too many.
    #[error("name 1 to 8 zones for the region's CA, not {0}")]
    ZoneCount(usize),
    /// It is there already.
    #[error("{path} is there: a root is made once; to renew a node's part of it use `verge region ca sign`", path = .0.display())]
    Exists(PathBuf),
    /// A file that cannot be read.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that holds something else.
    #[error("{path} is not {what} of a region's CA", path = path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// "the key" or "the certificate".
        what: &'static str,
    },
    /// A key of another root.
    #[error("the key and the certificate in {dir} do not belong together", dir = .0.display())]
    Mismatch(PathBuf),
    /// A request that was cut short, changed, or is of another program.
    #[error("this is not a request that `verge region ca request` printed: {0}")]
    Request(&'static str),
    /// The disk.
    #[error(transparent)]
    Write(#[from] StoreError),
    /// An error of ours.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl RegionRoot {
    /// Makes a root for `zones` in `dir`: its key (0600) and its certificate.
    ///
    /// # Errors
    /// [`RegionRootError`]; a root that is there is left alone.
    pub fn make(dir: &Path, zones: &[String], now: UnixTime) -> Result<Self, RegionRootError> {
        let first = check_zones(zones)?;
        let (key_path, path) = (dir.join(ROOT_KEY_FILE), dir.join(ROOT_FILE));
        if let Some(there) = [&key_path, &path].into_iter().find(|path| path.exists()) {
            return Err(RegionRootError::Exists(there.clone()));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::from)?;
        let name = root_name(first, &key);
        let mut params = ca_params(&name, zones, 1);
        params.serial_number = Some(serial().map_err(IssueError::from)?);
        set_life(&mut params, now, ROOT_LIFE);
        let pem = params.self_signed(&key).map_err(IssueError::from)?.pem();
        create_file_durably(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        create_file_durably(&path, pem.as_bytes(), 0o644)?;
        Self::from_parts(dir, key, pem)
    }

    /// Opens the root in `dir`.
    ///
    /// # Errors
    /// [`RegionRootError`].
    pub fn open(dir: &Path) -> Result<Self, RegionRootError> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| RegionRootError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let key_path = dir.join(ROOT_KEY_FILE);
        let pem = read(&dir.join(ROOT_FILE))?;
        let key = KeyPair::from_pem(&read(&key_path)?);
        let key = key.map_err(|_rcgen| RegionRootError::NotOurs {
            path: key_path,
            what: "the key",
        })?;
        Self::from_parts(dir, key, pem)
    }

    fn from_parts(dir: &Path, key: KeyPair, pem: String) -> Result<Self, RegionRootError> {
        let certificate = CaCertificate::read(&pem).filter(|root| !root.zones.is_empty());
        let certificate = certificate.ok_or_else(|| RegionRootError::NotOurs {
            path: dir.join(ROOT_FILE),
            what: "the certificate",
        })?;
        if certificate.public_key != key.subject_public_key_info() {
            return Err(RegionRootError::Mismatch(dir.to_owned()));
        }
        // What an issuer's parameters give its leaves: a name, and how its key is named.
        let params = ca_params(&certificate.name, &certificate.zones, 1);
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            pem,
        })
    }

    /// What it says.
    #[must_use]
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// Signs a node's request: the intermediate, then the root, in PEM form.
    ///
    /// # Errors
    /// [`RegionRootError::Request`] if it was not made by the owner of its key.
    pub fn sign(&self, request: &str, now: UnixTime) -> Result<String, RegionRootError> {
        let node = Requested::read(request)?;
        let digest = Digest::of(&node.point).to_string();
        let (short, _rest) = digest.split_at(8);
        let zones = &self.certificate.zones;
        let mut params = ca_params(&format!("Verge region node {short}"), zones, 0);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(serial().map_err(IssueError::from)?);
        set_life(&mut params, now, INTERMEDIATE_LIFE);
        let signed = params.signed_by(&node, &self.issuer);
        let signed = signed.map_err(IssueError::from)?;
        Ok(format!("{}{}", signed.pem(), self.pem))
    }
}

/// Neither a name under which strangers register theirs, nor an address; gives the first.
fn check_zones(zones: &[String]) -> Result<&str, RegionRootError> {
    let first = zones.first().filter(|_first| zones.len() <= ZONES_MAX);
    let first = first.ok_or(RegionRootError::ZoneCount(zones.len()))?;
    let is_public = |zone: &str| {
        let suffix = psl::suffix(zone.as_bytes());
        suffix.is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == zone.as_bytes())
    };
    let is_name = |zone: &str| {
        let host = Host::parse(zone).is_ok_and(|host| host.as_str() == zone);
        host && !zone.starts_with('[') && zone.parse::<IpAddr>().is_err()
    };
    let is_wrong = |zone: &&String| !is_name(zone) || is_public(zone);
    match zones.iter().find(is_wrong) {
        Some(zone) => Err(RegionRootError::Zone(zone.clone())),
        None => Ok(first),
    }
}

fn root_name(zone: &str, key: &KeyPair) -> String {
    let digest = Digest::of(key.public_key_raw()).to_string();
    let (short, _rest) = digest.split_at(8);
    let zone = zone.get(..ZONE_SHOWN_BYTES_MAX).unwrap_or(zone);
    format!("Verge region CA {short} of {zone}")
}

/// A CA for `zones` alone, with so many CAs below it.
fn ca_params(name: &str, zones: &[String], path_length: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(only_for(zones.iter().cloned()));
    params
}

/// The public key of a node that asks, which has shown that it has the private one.
struct Requested {
    /// The point on P-256, uncompressed.
    point: Vec<u8>,
}

impl Requested {
    fn read(pem: &str) -> Result<Self, RegionRootError> {
        let refuse = RegionRootError::Request;
        if pem.len() > REQUEST_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_pem| refuse("it has no PEM form"))?;
        let (_rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_der| refuse("it cannot be read"))?;
        let info = &request.certification_request_info;
        let point = info.subject_pki.subject_public_key.data.to_vec();
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let of_p256 = algorithms.mapping.iter();
        let of_p256 = of_p256.filter(|(of, _)| *of == SignatureScheme::ECDSA_NISTP256_SHA256);
        let mut verifiers = of_p256.flat_map(|(_, verifiers)| *verifiers);
        let is_signed = verifiers.any(|verifier| {
            let signature = &request.signature_value.data;
            verifier
                .verify_signature(&point, info.raw, signature)
                .is_ok()
        });
        if !is_signed {
            return Err(refuse("its signature is not by its own key"));
        }
        Ok(Self { point })
    }
}

/// The public key of a request, if it is one.
pub(super) fn requested_point(pem: &str) -> Result<Vec<u8>, RegionRootError> {
    Requested::read(pem).map(|requested| requested.point)
}

impl PublicKeyData for Requested {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
