//! TLS for visitors: which certificate answers which name, and how sessions are made.
//!
//! Certificates are values that are swapped; nothing is issued, read or fetched in a handshake.
//! Session tickets are keyed per process, with a new key every 6 hours and the one before still
//! understood, and never shared; there is no 0-RTT.

mod authority;
pub mod certificate;
pub mod compression;
pub mod local_ca;
pub mod own_ca;
pub mod read_ca;
pub mod region_ca;
pub mod region_root;
pub mod resolver;

pub(crate) use region_ca::ca_certificates;

pub use authority::IssueError;
pub use certificate::{Certificate, CertificateError, Validity};
pub use local_ca::{LocalCa, LocalCaError};
pub use own_ca::{OwnCa, OwnCaError};
pub use read_ca::CaCertificate;
pub use region_ca::{RegionCa, RegionCaError};
pub use region_root::{RegionRoot, RegionRootError};
pub use resolver::{Certificates, Fallback, TlsResolver};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{NamedGroup, ServerConfig};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// How keys are agreed on (`docs/decisions/0014-key-exchange.md`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyExchange {
    /// X25519 together with ML-KEM-768 where the visitor has it: what is recorded today cannot be
    /// read by a quantum computer of tomorrow.
    #[default]
    PostQuantum,
    /// X25519 and the curves of NIST alone.
    Classical,
}

/// The only crypto provider of the process, with the order of cipher suites that this CPU wants.
#[must_use]
pub fn provider() -> CryptoProvider {
    suited(aws_lc_rs::default_provider(), has_aes())
}

/// Without AES instructions ChaCha20 comes first: AES costs three times as much then.
fn suited(mut provider: CryptoProvider, has_aes: bool) -> CryptoProvider {
    if !has_aes {
        provider.cipher_suites.sort_by_key(|suite| {
            let name = format!("{:?}", suite.suite());
            !name.contains("CHACHA20")
        });
    }
    provider
}

/// How handshakes with visitors go.
///
/// # Errors
/// The library refuses its own defaults: an error of ours.
pub fn server_config(
    resolver: Arc<TlsResolver>,
    exchange: KeyExchange,
) -> Result<ServerConfig, rustls::Error> {
    let mut provider = provider();
    if exchange == KeyExchange::Classical {
        let is_kept = |group: NamedGroup| group != NamedGroup::X25519MLKEM768;
        provider.kx_groups.retain(|group| is_kept(group.name()));
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.cert_compressors = compression::COMPRESSORS.to_vec();
    config.cert_compression_cache = Arc::new(compression::cache());
    // A visitor's preference counts, phones know what they are good at; without AES instructions
    // ours does, since ChaCha20 then costs a third.
    config.ignore_client_order = !has_aes();
    Ok(config)
}

/// The same for a listener.
pub(crate) fn acceptor(
    resolver: Arc<TlsResolver>,
    exchange: KeyExchange,
) -> Result<TlsAcceptor, rustls::Error> {
    let config = server_config(resolver, exchange)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(provider: &CryptoProvider) -> Vec<String> {
        let suites = provider.cipher_suites.iter();
        suites.map(|suite| format!("{:?}", suite.suite())).collect()
    }

    #[test]
    fn chacha20_comes_first_where_the_cpu_has_no_aes() {
        let plain = suites(&aws_lc_rs::default_provider());
        let is_chacha = |suite: &String| suite.contains("CHACHA20");
        assert!(!is_chacha(&plain[0]), "{plain:?}");
        assert_eq!(suites(&suited(aws_lc_rs::default_provider(), true)), plain);
        let without = suites(&suited(aws_lc_rs::default_provider(), false));
        let (first, rest) = without.split_at(plain.iter().filter(|suite| is_chacha(suite)).count());
        assert!(
            first.len() >= 3 && first.iter().all(is_chacha),
            "{without:?}"
        );
        // Among themselves the others stay as they are, and none is lost.
        let others: Vec<&String> = plain.iter().filter(|suite| !is_chacha(suite)).collect();
        assert_eq!(rest.iter().collect::<Vec<_>>(), others);
    }

    #[test]
    fn what_is_offered_is_what_was_chosen() {
        let groups = |exchange| {
            let config = server_config(Arc::default(), exchange).unwrap();
            let groups = config.crypto_provider().kx_groups.iter();
            groups.map(|group| group.name()).collect::<Vec<_>>()
        };
        let hybrid = groups(KeyExchange::PostQuantum);
        assert_eq!(hybrid[0], NamedGroup::X25519MLKEM768);
        assert_eq!(groups(KeyExchange::Classical), hybrid[1..]);
        let config = server_config(Arc::default(), KeyExchange::default()).unwrap();
        assert_eq!(config.max_early_data_size, 0, "0-RTT can be replayed");
        assert!(config.ticketer.enabled());
    }
}
