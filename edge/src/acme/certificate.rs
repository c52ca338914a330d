//! What an issued certificate says, and whether it is the one that was ordered.

use super::error::{AcmeError, shown};
use super::names::Names;
use super::plan::Life;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use verge_sync::clock::UnixTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Certificates of one chain; public ones have two or three.
const CHAIN_MAX: usize = 8;
/// Longest identifier of a certificate: key identifier and serial number in base64.
const IDENTIFIER_BYTES_MAX: usize = 128;

/// An issued certificate as RFC 9773 section 4.1 names it: what an order replaces, and what renewal
/// advice is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Predecessor(Box<str>);

impl Predecessor {
    /// Of the first certificate in `chain_pem`; nothing if it does not say by whom it is.
    ///
    /// # Errors
    /// [`AcmeError::WrongCertificate`] if that is no certificate.
    pub fn of_chain(chain_pem: &str) -> Result<Option<Self>, AcmeError> {
        let leaf = leaf(chain_pem)?;
        parse(&leaf)?;
        Ok(Self::of(&leaf))
    }

    /// The text in which it travels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the text in which it travels; nothing if that is something else.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (key, serial) = text.split_once('.')?;
        let fits = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !part.is_empty() && part.bytes().all(plain)
        };
        let is_one = text.len() <= IDENTIFIER_BYTES_MAX && fits(key) && fits(serial);
        is_one.then(|| Self(text.into()))
    }

    fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let identifier = instant_acme::CertificateIdentifier::try_from(leaf).ok()?;
        Self::from_text(&identifier.to_string())
    }

    pub(super) fn to_library(&self) -> instant_acme::CertificateIdentifier<'_> {
        let (key, serial) = self.0.split_once('.').unwrap_or_default();
        instant_acme::CertificateIdentifier {
            authority_key_identifier: key.into(),
            serial: serial.into(),
        }
    }
}

impl fmt::Display for Predecessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// For which names.
    pub names: Names,
    /// From when to when.
    pub life: Life,
    /// What its successor replaces.
    pub identifier: Option<Predecessor>,
    /// The public key, as `SubjectPublicKeyInfo` in DER.
    pub public_key: Vec<u8>,
}

impl Summary {
    /// Reads the first certificate in `chain_pem`.
    ///
    /// # Errors
    /// [`AcmeError::WrongCertificate`].
    pub fn of_chain(chain_pem: &str) -> Result<Self, AcmeError> {
        let leaf = leaf(chain_pem)?;
        let certificate = parse(&leaf)?;
        let alternative = certificate.subject_alternative_name();
        let alternative = alternative.map_err(|_error| wrong("its names do not read"))?;
        let general = alternative.map(|names| names.value.general_names.as_slice());
        let texts = general.unwrap_or_default().iter().map(|name| match name {
            GeneralName::DNSName(name) => Ok(*name),
            _ => Err(wrong("it is for something else than DNS names")),
        });
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let validity = certificate.validity();
        Ok(Self {
            names: Names::new(texts).map_err(|error| wrong(&error.to_string()))?,
            life: Life {
                not_before: UnixTime(validity.not_before.timestamp()),
                not_after: UnixTime(validity.not_after.timestamp()),
            },
            identifier: Predecessor::of(&leaf),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }
}

/// Reads what a CA gave for an order, and refuses anything else.
pub(super) fn check(
    chain_pem: &str,
    names: &Names,
    public_key: &[u8],
) -> Result<Summary, AcmeError> {
    let count = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .take(CHAIN_MAX + 1)
        .count();
    if count > CHAIN_MAX {
        return Err(wrong("its chain is too long"));
    }
    let summary = Summary::of_chain(chain_pem)?;
    if summary.names != *names {
        return Err(wrong(&format!("it is for {}", summary.names)));
    }
    if summary.public_key != public_key {
        return Err(wrong("it is for another key"));
    }
    if summary.life.not_after <= summary.life.not_before {
        return Err(wrong("it is never valid"));
    }
    Ok(summary)
}

/// The first certificate of a chain.
pub(super) fn leaf(chain_pem: &str) -> Result<CertificateDer<'static>, AcmeError> {
    match CertificateDer::pem_slice_iter(chain_pem.as_bytes()).next() {
        Some(Ok(leaf)) => Ok(leaf),
        _ => Err(wrong("there is no certificate in PEM form")),
    }
}

fn parse<'a>(leaf: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, AcmeError> {
    match parse_x509_certificate(leaf) {
        Ok((_rest, certificate)) => Ok(certificate),
        Err(error) => Err(wrong(&format!("it does not read ({error})"))),
    }
}

fn wrong(why: &str) -> AcmeError {
    AcmeError::WrongCertificate(shown(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn signed(names: &[&str], key: &KeyPair) -> String {
        let names = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        CertificateParams::new(names)
            .unwrap()
            .self_signed(key)
            .unwrap()
            .pem()
    }

    #[test]
    fn only_the_ordered_certificate_is_taken() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let names = Names::new(["a.example", "*.b.example"]).unwrap();
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        let good = signed(&["*.b.example", "a.example"], &key);
        assert_eq!(check(&good, &names, &spki).unwrap().names, names);
        let rows = [
            String::new(),
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            signed(&["a.example"], &key),
            signed(&["a.example", "*.b.example", "c.example"], &key),
            signed(&["a.example", "*.b.example", "127.0.0.1"], &key),
            signed(&["a.example", "*.b.example"], &other),
            good.repeat(CHAIN_MAX + 1),
        ];
        for chain in rows {
            let refused = check(&chain, &names, &spki);
            assert!(
                matches!(refused, Err(AcmeError::WrongCertificate(_))),
                "{chain}"
            );
        }
        assert!(check(&good.repeat(CHAIN_MAX), &names, &spki).is_ok());
    }

    #[test]
    fn an_identifier_is_two_parts_of_base64() {
        // RFC 9773 section 4.1.
        let text = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";
        let one = Predecessor::from_text(text).unwrap();
        assert_eq!(one.to_library().to_string(), text);
        for text in [
            "",
            ".",
            "a.",
            ".b",
            "a.b.c",
            "a b.c",
            "a/b.c",
            &"a.b".repeat(50),
        ] {
            assert_eq!(Predecessor::from_text(text), None, "{text}");
        }
    }
}
