//! A look at a node as a visitor's: one connection, a file, and then the node's word that it was it
//! who answered.
//!
//! The file is asked for first, in the words of a browser, so that the node does not know yet who
//! asks. No certificate is checked: the node proves itself by its signature of a fresh nonce, whatever
//! CA it has.

use super::sample::BYTES_MAX;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HOST, RANGE, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use verge_sync::Digest;
use verge_sync::digest::Digester;
use verge_sync::manifest::Coding;

/// Who has not answered by then has not answered.
const VISIT_TIME: Duration = Duration::from_secs(10);
/// An address that does not answer leaves time for the next.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Addresses of a node that are tried.
const ADDRESSES_MAX: usize = 3;
/// The answer about a node's health is some 500 bytes.
const HEALTH_BYTES_MAX: usize = 4 << 10;
/// As a browser says it.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const BROWSER_ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const BROWSER_CODINGS: &str = "gzip, deflate, br, zstd";

/// What to ask for.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    pub(super) host: String,
    pub(super) url: String,
    /// First byte and number of bytes, of a file that is too large for a look.
    pub(super) part: Option<(u64, u64)>,
    /// Whether the codings of a browser are named; else none is taken.
    pub(super) takes_codings: bool,
    /// For the node's signature.
    pub(super) nonce: String,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    /// None of one that we did not ask for.
    pub(super) coding: Option<Coding>,
    pub(super) bytes: u64,
    pub(super) digest: Digest,
    /// What it said of its health; empty if nothing that can be read.
    pub(super) health: Vec<u8>,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub(super) enum VisitError {
    #[error("it does not answer in time")]
    Slow,
    #[error("no address of it answers: {0}")]
    Connect(std::io::Error),
    #[error("it breaks off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it cannot be asked: {0}")]
    Ask(#[from] http::Error),
    #[error("it cannot be asked by this name")]
    Name,
    #[error("it sends more than the file has")]
    Endless,
}

/// Visits the node at the first of `addresses` that answers.
pub(super) async fn visit(addresses: &[SocketAddr], asking: &Asking) -> Result<Heard, VisitError> {
    let visiting = tokio::time::timeout(VISIT_TIME, visit_once(addresses, asking));
    visiting.await.map_err(|_elapsed| VisitError::Slow)?
}

async fn visit_once(addresses: &[SocketAddr], asking: &Asking) -> Result<Heard, VisitError> {
    let stream = connect(addresses, &asking.host).await?;
    let mut line = Line::open(stream, &asking.host).await?;
    let accept_encoding = if asking.takes_codings {
        BROWSER_CODINGS
    } else {
        "identity"
    };
    let mut request = line.request(&asking.url, BROWSER_ACCEPT);
    request = request.header(ACCEPT_ENCODING, accept_encoding);
    if let Some((from, bytes)) = asking.part {
        let last = from.saturating_add(bytes).saturating_sub(1);
        request = request.header(RANGE, format!("bytes={from}-{last}"));
    }
    let answer = line.send(request.body(Empty::new())?).await?;
    let (status, coding) = (answer.status(), coding(&answer));
    let (digest, bytes) = hash(answer.into_body()).await?;
    let url = format!("/.well-known/verge/health?nonce={}", asking.nonce);
    let request = line.request(&url, "*/*").body(Empty::new())?;
    let health = match line.send(request).await?.into_body() {
        body if status.is_success() => collect(body).await?,
        _ => Vec::new(),
    };
    Ok(Heard {
        status,
        coding,
        bytes,
        digest,
        health,
    })
}

async fn connect(addresses: &[SocketAddr], host: &str) -> Result<TlsStream<TcpStream>, VisitError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_name| VisitError::Name)?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            connector()?.connect(name.clone(), stream).await
        };
        match tokio::time::timeout(CONNECT_TIME, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = std::io::ErrorKind::TimedOut.into(),
        }
    }
    Err(VisitError::Connect(last))
}

fn connector() -> std::io::Result<tokio_rustls::TlsConnector> {
    let provider = Arc::new(crate::tls::provider());
    let anybody = Arc::new(Anybody(Arc::clone(&provider)));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(anybody)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

/// Takes any certificate whose key the other side has; who it is, it says otherwise.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection of HTTP; its task ends with it.
struct Line {
    host: String,
    sender: Sender,
    task: AbortHandle,
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

impl Line {
    async fn open(stream: TlsStream<TcpStream>, host: &str) -> Result<Self, VisitError> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let (sender, task) = if is_http2 {
            let executor = TokioExecutor::new();
            let (sender, line) = hyper::client::conn::http2::handshake(executor, stream).await?;
            (Sender::Http2(sender), tokio::spawn(line).abort_handle())
        } else {
            let (sender, line) = hyper::client::conn::http1::handshake(stream).await?;
            (Sender::Http1(sender), tokio::spawn(line).abort_handle())
        };
        let host = host.to_owned();
        Ok(Self { host, sender, task })
    }

    fn request(&self, url: &str, accept: &str) -> http::request::Builder {
        let request = match self.sender {
            Sender::Http1(_) => Request::get(url).header(HOST, self.host.as_str()),
            Sender::Http2(_) => Request::get(format!("https://{}{url}", self.host)),
        };
        request.header(USER_AGENT, BROWSER).header(ACCEPT, accept)
    }

    async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, VisitError> {
        Ok(match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn coding(answer: &Response<Incoming>) -> Option<Coding> {
    let Some(name) = answer.headers().get(CONTENT_ENCODING) else {
        return Some(Coding::Identity);
    };
    Coding::ALL.into_iter().find(|coding| name == coding.name())
}

/// Hashes the bytes as they come, and no more than a look takes.
async fn hash(mut body: Incoming) -> Result<(Digest, u64), VisitError> {
    let (mut digester, mut bytes) = (Digester::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if bytes > BYTES_MAX {
            return Err(VisitError::Endless);
        }
        digester.update(&data);
    }
    Ok((digester.digest(), bytes))
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, VisitError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > HEALTH_BYTES_MAX {
            return Err(VisitError::Endless);
        }
    }
    Ok(bytes)
}
