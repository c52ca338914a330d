//! Whether a chain is what it says: signed up to an authority that is trusted, for these names.

use super::name_set::NameSet;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime as TlsTime};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// A chain that browsers would follow has no more.
const CHAIN_LENGTH_MAX: usize = 8;

/// The authorities that certificates of a region may come from.
pub struct Authorities(Arc<WebPkiServerVerifier>);

/// What a leaf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its names.
    pub names: NameSet,
    /// When it begins.
    pub not_before: UnixTime,
    /// When it ends.
    pub not_after: UnixTime,
}

/// Why a chain does not count.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChainError {
    /// Not PEM, or not certificates.
    #[error("the chain cannot be read")]
    Malformed,
    /// No DNS names, or too many.
    #[error("the certificate has no names, or more than four")]
    Names,
    /// No authority that this node trusts has signed it.
    #[error("the chain does not lead to an authority that is trusted here: {0}")]
    Untrusted(rustls::Error),
}

/// No authority can be trusted: a steward's file.
#[derive(Debug, thiserror::Error)]
#[error("no authority can be taken from it: {0}")]
pub struct RootsError(String);

impl Authorities {
    /// The authorities that browsers trust, and those in `roots`, PEM texts.
    ///
    /// # Errors
    /// [`RootsError`]: one of `roots` holds no certificate.
    pub fn new(roots: &[Vec<u8>]) -> Result<Self, RootsError> {
        let mut store = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for pem in roots {
            let before = store.len();
            for root in CertificateDer::pem_slice_iter(pem) {
                let root = root.map_err(|error| RootsError(error.to_string()))?;
                store
                    .add(root)
                    .map_err(|error| RootsError(error.to_string()))?;
            }
            if store.len() == before {
                return Err(RootsError(
                    "a file has no certificate in PEM form".to_owned(),
                ));
            }
        }
        let provider = Arc::new(crate::tls::provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
        let verifier = verifier
            .build()
            .map_err(|error| RootsError(error.to_string()))?;
        Ok(Self(verifier))
    }

    /// Reads the leaf of `chain`, and follows the chain to an authority. No clock is asked: that the
    /// chain held when the leaf began is enough, whether it is over now is another question.
    ///
    /// # Errors
    /// [`ChainError`].
    pub fn check(&self, chain: &[u8]) -> Result<Leaf, ChainError> {
        let chain = read_chain(chain)?;
        let (first, intermediates) = chain.split_first().ok_or(ChainError::Malformed)?;
        let leaf = read_leaf(first)?;
        let begun = u64::try_from(leaf.not_before.0).unwrap_or(0);
        let life = leaf.not_after.since(leaf.not_before);
        let then = begun.saturating_add((life / 2).min(Duration::from_hours(2)).as_secs());
        let then = TlsTime::since_unix_epoch(Duration::from_secs(then));
        for name in leaf.names.names() {
            let name = name
                .strip_prefix("*.")
                .map_or_else(|| name.clone(), |zone| format!("any.{zone}"));
            let name = ServerName::try_from(name).or(Err(ChainError::Names))?;
            let checked = self
                .0
                .verify_server_cert(first, intermediates, &name, &[], then);
            checked.map_err(ChainError::Untrusted)?;
        }
        Ok(leaf)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorities")
    }
}

/// The certificates of a chain, the leaf first.
///
/// # Errors
/// [`ChainError::Malformed`].
pub fn read_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ChainError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(CHAIN_LENGTH_MAX + 1)
        .collect::<Result<_, _>>()
        .or(Err(ChainError::Malformed))?;
    let fits = (1..=CHAIN_LENGTH_MAX).contains(&chain.len());
    fits.then_some(chain).ok_or(ChainError::Malformed)
}

/// What a leaf says of itself.
///
/// # Errors
/// [`ChainError`].
pub fn read_leaf(leaf: &CertificateDer<'_>) -> Result<Leaf, ChainError> {
    let malformed = ChainError::Malformed;
    let (_rest, parsed) = parse_x509_certificate(leaf).or(Err(malformed.clone()))?;
    let alternatives = parsed.subject_alternative_name().or(Err(malformed))?;
    let alternatives = alternatives
        .iter()
        .flat_map(|found| &found.value.general_names);
    let names = alternatives.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    let validity = parsed.validity();
    Ok(Leaf {
        names: NameSet::new(names).ok_or(ChainError::Names)?,
        not_before: UnixTime(validity.not_before.timestamp()),
        not_after: UnixTime(validity.not_after.timestamp()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::scene::Ca;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn issued(host: &str) -> (Vec<u8>, Vec<u8>) {
        let ca = Ca::new();
        let issued = ca.issue(&[host], NOW, Duration::from_hours(24 * 90));
        (issued.chain.into_bytes(), ca.root.into_bytes())
    }

    #[test]
    fn a_chain_counts_only_with_its_authority() {
        let (chain, root) = issued("a.sites.example");
        let known = Authorities::new(&[root]).unwrap();
        let leaf = known.check(&chain).unwrap();
        assert_eq!(leaf.names, NameSet::one("a.sites.example").unwrap());
        assert!(leaf.not_before <= NOW && NOW < leaf.not_after);
        let browsers = Authorities::new(&[]).unwrap();
        assert!(matches!(
            browsers.check(&chain),
            Err(ChainError::Untrusted(_))
        ));
        let other = Authorities::new(&[issued("b.example").1]).unwrap();
        assert!(matches!(other.check(&chain), Err(ChainError::Untrusted(_))));
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        let authorities = Authorities::new(&[]).unwrap();
        let (chain, _) = issued("a.sites.example");
        for wrong in [
            &b""[..],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n",
            &chain.repeat(9),
        ] {
            assert_eq!(authorities.check(wrong), Err(ChainError::Malformed));
        }
        assert!(Authorities::new(&[b"nothing".to_vec()]).is_err());
    }
}
