//! What the certificate of a CA says: whose it is, for which names, and until when.

use data_encoding::HEXUPPER;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use verge_sync::clock::UnixTime;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The certificate of a CA, as far as it concerns people and this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    /// What it calls itself.
    pub name: String,
    /// The DNS zones whose names it may speak for; empty if any.
    pub zones: Vec<String>,
    /// The first moment after its life.
    pub not_after: UnixTime,
    /// SHA-256 of it, as browsers show it.
    pub fingerprint: String,
    /// Its public key (a SubjectPublicKeyInfo).
    pub public_key: Vec<u8>,
}

impl CaCertificate {
    /// Reads the first certificate of a PEM text; `None` if there is none, or it is not of a CA.
    #[must_use]
    pub fn read(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_rest, parsed) = parse_x509_certificate(&der).ok()?;
        let is_ca = parsed.basic_constraints().ok().flatten()?.value.ca;
        let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
        let constraints = parsed.name_constraints().ok()?;
        let permitted = constraints.and_then(|found| found.value.permitted_subtrees.as_ref());
        let zones = permitted.into_iter().flatten();
        let zones = zones.filter_map(|subtree| match &subtree.base {
            GeneralName::DNSName(zone) => Some((*zone).to_owned()),
            _ => None,
        });
        is_ca.then(|| Self {
            name: name.to_owned(),
            zones: zones.collect(),
            not_after: UnixTime(parsed.validity().not_after.timestamp()),
            fingerprint: fingerprint(&der),
            public_key: parsed.public_key().raw.to_vec(),
        })
    }
}

/// Two letters a byte, with colons between.
fn fingerprint(der: &[u8]) -> String {
    let bytes = Sha256::digest(der);
    let pairs = bytes.iter().map(|byte| HEXUPPER.encode(&[*byte]));
    pairs.collect::<Vec<_>>().join(":")
}
