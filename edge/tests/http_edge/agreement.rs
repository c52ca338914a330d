//! What a handshake agrees on: versions, keys, tickets, the size of the certificate.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file};
use rustls::client::Resumption;
use rustls::compress::{CertDecompressor, DecompressionFailed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    CertificateCompressionAlgorithm, ClientConfig, ClientConnection, HandshakeKind, NamedGroup,
    ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use verge_edge::tls::{Certificate, Certificates, Fallback, KeyExchange};

const HOST: &str = "garden.example";
const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

fn start(key_exchange: KeyExchange) -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("index.html", "hello")]);
    let setup = Setup {
        key_exchange,
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    (blobs, edge)
}

fn client(edge: &TestEdge, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(edge.ca_pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(verge_edge::tls::provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// What one connection agreed on.
#[derive(Debug, PartialEq)]
struct Agreed {
    version: ProtocolVersion,
    group: NamedGroup,
    kind: HandshakeKind,
}

/// A connection with one request: a ticket comes with what follows the handshake.
async fn visit(edge: &TestEdge, config: &Arc<ClientConfig>) -> Agreed {
    let stream = TcpStream::connect(edge.https()).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    let (_, connection) = stream.get_ref();
    Agreed {
        version: connection.protocol_version().unwrap(),
        group: connection
            .negotiated_key_exchange_group()
            .map(|group| group.name())
            .unwrap_or(NamedGroup::Unknown(0)),
        kind: connection.handshake_kind().unwrap(),
    }
}

#[tokio::test]
async fn keys_are_post_quantum_unless_the_steward_says_no() {
    let rows = [
        (KeyExchange::PostQuantum, NamedGroup::X25519MLKEM768),
        (KeyExchange::Classical, NamedGroup::X25519),
    ];
    for (exchange, group) in rows {
        let (_blobs, edge) = start(exchange);
        let agreed = visit(&edge, &Arc::new(client(&edge, &BOTH))).await;
        let kind = match exchange {
            KeyExchange::PostQuantum => HandshakeKind::Full,
            // The visitor's first guess is not taken: one round more.
            KeyExchange::Classical => agreed.kind,
        };
        let version = ProtocolVersion::TLSv1_3;
        assert_eq!(
            agreed,
            Agreed {
                version,
                group,
                kind
            }
        );
        // What a visitor of ten years ago has.
        let old = visit(&edge, &Arc::new(client(&edge, &[&version::TLS12]))).await;
        assert_eq!(old.version, ProtocolVersion::TLSv1_2);
        assert_eq!(old.group, NamedGroup::X25519);
    }
}

#[tokio::test]
async fn a_visitor_comes_back_by_ticket_to_the_same_node_only() {
    let (_blobs, edge) = start(KeyExchange::PostQuantum);
    let (_other_blobs, mut other) = start(KeyExchange::PostQuantum);
    // Both are trusted by the same visitor.
    let mut roots = RootCertStore::empty();
    for pem in [&edge.ca_pem, &other.ca_pem] {
        let root = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
    }
    for version in BOTH {
        let provider = Arc::new(verge_edge::tls::provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.enable_early_data = true;
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        let first = visit(&edge, &config).await;
        assert_eq!(first.kind, HandshakeKind::Full, "{version:?}");
        let name = ServerName::try_from(HOST).unwrap();
        let mut early = ClientConnection::new(Arc::clone(&config), name).unwrap();
        assert!(early.early_data().is_none(), "no ticket allows 0-RTT");
        drop(early);
        let again = visit(&edge, &config).await;
        assert_eq!(again.kind, HandshakeKind::Resumed, "{version:?}");
        let elsewhere = visit(&other, &config).await;
        assert_eq!(elsewhere.kind, HandshakeKind::Full, "{version:?}");
    }
    other.ca_pem.clear();
}

/// How long the last certificate message was on the wire, and opened.
static BROTLI: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static ZLIB: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

#[derive(Debug)]
struct Opens(CertificateCompressionAlgorithm, &'static [AtomicUsize; 2]);

impl CertDecompressor for Opens {
    fn decompress(&self, input: &[u8], output: &mut [u8]) -> Result<(), DecompressionFailed> {
        let mut opened = Vec::new();
        let mut reader: Box<dyn Read> = match self.0 {
            CertificateCompressionAlgorithm::Brotli => {
                Box::new(brotli::Decompressor::new(input, 4096))
            }
            _ => Box::new(flate2::read::ZlibDecoder::new(input)),
        };
        reader.read_to_end(&mut opened).unwrap();
        assert_eq!(opened.len(), output.len());
        output.copy_from_slice(&opened);
        for (count, bytes) in self.1.iter().zip([input.len(), opened.len()]) {
            count.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        self.0
    }
}

static OPENS_BROTLI: Opens = Opens(CertificateCompressionAlgorithm::Brotli, &BROTLI);
static OPENS_ZLIB: Opens = Opens(CertificateCompressionAlgorithm::Zlib, &ZLIB);

/// A certificate with that of its authority behind it, which is what `pem` is.
fn chain_of_two() -> (Arc<Certificate>, String) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &rcgen::Issuer::new(ca, ca_key));
    let chain = leaf.unwrap().pem() + &pem;
    let certificate = Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes());
    (Arc::new(certificate.unwrap()), pem)
}

#[tokio::test]
async fn certificates_come_compressed_to_whoever_can_open_them() {
    let (_blobs, mut edge) = start(KeyExchange::PostQuantum);
    for has_chain in [false, true] {
        if has_chain {
            let (certificate, pem) = chain_of_two();
            edge.tls
                .replace(Certificates::new([certificate], Fallback::Refuse));
            edge.ca_pem = pem;
        }
        for (opens, counts) in [(&OPENS_BROTLI, &BROTLI), (&OPENS_ZLIB, &ZLIB)] {
            let mut config = client(&edge, &BOTH);
            config.cert_decompressors = vec![opens];
            config.resumption = Resumption::disabled();
            let config = Arc::new(config);
            // The second time from memory.
            for _ in 0..2 {
                visit(&edge, &config).await;
                let [wire, opened] = counts
                    .each_ref()
                    .map(|count| count.swap(0, Ordering::Relaxed));
                // A short one may not have become smaller: then it came as it was.
                let is_plain = wire == 0 && !has_chain;
                assert!(
                    is_plain || (wire > 0 && wire < opened),
                    "{opens:?}: {wire} of {opened}"
                );
            }
        }
    }
}
