//! The authority behind the server: a root that signs what the requests ask for.

use super::protocol::Problem;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use std::time::Duration;
use verge_sync::clock::{Clock, UnixTime};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root_pem: String,
}

/// A signed certificate.
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) der: Vec<u8>,
}

struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl Signer {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "Verge test CA");
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            root_pem,
        }
    }

    /// The server's own certificate, and its key, in PEM.
    pub(crate) fn own(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (leaf.pem(), key.serialize_pem())
    }

    /// Signs a request if it is for exactly these names and signed by its key.
    pub(crate) fn sign(
        &self,
        request: &[u8],
        names: &[String],
        serial: u64,
        life_s: u64,
    ) -> Result<Leaf, Problem> {
        let bad = |why: &str| Problem::new(400, "badCSR", why);
        let (_rest, parsed) = X509CertificationRequest::from_der(request)
            .map_err(|_error| bad("the request does not read"))?;
        let point = parsed
            .certification_request_info
            .subject_pki
            .subject_public_key
            .data
            .to_vec();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point)
            .verify(
                parsed.certification_request_info.raw,
                &parsed.signature_value.data,
            )
            .map_err(|_error| bad("the request is not signed by its key"))?;
        if names_of(&parsed) != names {
            return Err(bad("the request is for other names"));
        }
        Ok(self.issue(point, names, serial, life_s))
    }

    fn issue(&self, point: Vec<u8>, names: &[String], serial: u64, life_s: u64) -> Leaf {
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        let UnixTime(now) = Clock::System.now();
        let since_1970 = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap());
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_1970(now);
        params.not_after = epoch + since_1970(now) + Duration::from_secs(life_s);
        let leaf = params.signed_by(&PublicKey(point), &self.issuer).unwrap();
        Leaf {
            pem: leaf.pem() + &self.root_pem,
            der: leaf.der().to_vec(),
        }
    }
}

fn names_of(request: &X509CertificationRequest<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(alternative) = extension {
            for name in &alternative.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push((*name).to_owned());
                }
            }
        }
    }
    names.sort();
    names
}
