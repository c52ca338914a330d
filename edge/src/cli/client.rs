//! A small visitor of our own: one request over HTTP/1.1 or HTTP/2, with the codings undone, so
//! that the demo can compare what came back with what was published.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 256 << 20;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The protocol to ask in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

impl Protocol {
    fn alpn(self) -> Vec<u8> {
        match self {
            Self::Http1 => b"http/1.1".to_vec(),
            Self::Http2 => b"h2".to_vec(),
        }
    }
}

/// A visitor that trusts one CA and knows where the node is.
pub struct Visitor {
    address: SocketAddr,
    roots: Arc<rustls::RootCertStore>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status, version and header fields.
    pub head: http::response::Parts,
    /// The body as sent.
    pub encoded: Bytes,
    /// The body with its coding undone.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header field as text; empty if absent.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Visitor {
    /// Trusts the CA certificates in the PEM file `ca`.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate.
    pub fn new(address: SocketAddr, ca: &Path) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        let certificates =
            CertificateDer::pem_file_iter(ca).with_context(|| format!("read {}", ca.display()))?;
        for certificate in certificates {
            roots.add(certificate?)?;
        }
        if roots.is_empty() {
            bail!("{} holds no certificate", ca.display());
        }
        Ok(Self {
            address,
            roots: Arc::new(roots),
        })
    }

    /// One request on a connection of its own: `GET https://HOST/PATH`, saying
    /// `Accept-Encoding: accept`.
    ///
    /// # Errors
    /// As [`Visitor::connect`] and [`Session::get`].
    pub async fn get(
        &self,
        protocol: Protocol,
        host: &str,
        path: &str,
        accept: &str,
    ) -> anyhow::Result<Answer> {
        self.connect(protocol, host).await?.get(path, accept).await
    }

    /// A connection for any number of requests to `host`, one after the other.
    ///
    /// # Errors
    /// The connection, the handshake, or a node that does not speak the protocol.
    pub async fn connect(&self, protocol: Protocol, host: &str) -> anyhow::Result<Session> {
        let what = || format!("connect to https://{host} at {}", self.address);
        let session = tokio::time::timeout(TIMEOUT, self.open(protocol, host));
        session.await.with_context(what)?.with_context(what)
    }

    async fn open(&self, protocol: Protocol, host: &str) -> anyhow::Result<Session> {
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.alpn()];
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(&protocol.alpn()) {
            bail!("the node does not speak {protocol:?}");
        }
        Session::begin(protocol, host, stream).await
    }
}

/// A connection to one host.
pub struct Session {
    host: String,
    sender: Sender,
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

impl Session {
    /// A connection to `host` without TLS, over HTTP/1.1.
    ///
    /// # Errors
    /// Nobody answers at `address`.
    pub async fn plain(address: SocketAddr, host: &str) -> anyhow::Result<Self> {
        let stream = tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await?;
        let stream = stream.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Self::begin(Protocol::Http1, host, stream).await
    }

    async fn begin<S>(protocol: Protocol, host: &str, stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let executor = TokioExecutor::new();
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(executor, stream).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Self {
            host: host.to_owned(),
            sender,
        })
    }

    /// `GET https://HOST/PATH`, saying `Accept-Encoding: accept`.
    ///
    /// # Errors
    /// The connection, the protocol, or a body that its coding does not decode.
    pub async fn get(&mut self, path: &str, accept: &str) -> anyhow::Result<Answer> {
        let what = format!("GET https://{}{path}", self.host);
        let answer = tokio::time::timeout(TIMEOUT, self.ask(path, accept));
        answer
            .await
            .with_context(|| what.clone())?
            .with_context(|| what)
    }

    async fn ask(&mut self, path: &str, accept: &str) -> anyhow::Result<Answer> {
        let request = match self.sender {
            Sender::Http1(_) => {
                http::Request::get(path).header(http::header::HOST, self.host.as_str())
            }
            Sender::Http2(_) => http::Request::get(format!("https://{}{path}", self.host)),
        };
        let request = request
            .header(http::header::ACCEPT_ENCODING, accept)
            .body(Empty::<Bytes>::new())?;
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let encoded = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        let coding = head.headers.get(http::header::CONTENT_ENCODING);
        let coding = coding
            .map(|value| value.to_str())
            .transpose()?
            .unwrap_or("identity");
        let body = decode(coding, &encoded)?;
        Ok(Answer {
            head,
            encoded,
            body,
        })
    }
}

fn decode(coding: &str, encoded: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    match coding {
        "identity" => body.extend_from_slice(encoded),
        "br" => {
            brotli::Decompressor::new(encoded, 1 << 16).read_to_end(&mut body)?;
        }
        "zstd" => {
            zstd::Decoder::new(encoded)?.read_to_end(&mut body)?;
        }
        "gzip" => {
            flate2::read::MultiGzDecoder::new(encoded).read_to_end(&mut body)?;
        }
        other => bail!("unknown Content-Encoding {other}"),
    }
    Ok(body)
}
