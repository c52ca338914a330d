//! TLS for visitors: which certificate answers which name, and how sessions are made.
//!
//! Certificates are values that are swapped; nothing is issued, read or fetched in a handshake.
//! Session tickets are keyed per process and never shared; there is no 0-RTT.

pub mod certificate;
pub mod local_ca;
pub mod resolver;

pub use certificate::{Certificate, CertificateError, Validity};
pub use local_ca::{LocalCa, LocalCaError};
pub use resolver::{Certificates, Fallback, TlsResolver};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The only crypto provider of the process, with the order of cipher suites that this CPU wants.
#[must_use]
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !has_aes() {
        provider.cipher_suites.sort_by_key(|suite| {
            let name = format!("{:?}", suite.suite());
            !name.contains("CHACHA20")
        });
    }
    provider
}

/// Handshakes for visitors.
pub(crate) fn acceptor(resolver: Arc<TlsResolver>) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    // A visitor's preference counts, phones know what they are good at; without AES instructions
    // ours does, since ChaCha20 then costs a third.
    config.ignore_client_order = !has_aes();
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
