//! Visitors over real sockets: HTTP/1.1 in the clear, HTTP/1.1 and HTTP/2 over TLS.

use super::edge::TestEdge;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Plain,
    Http1,
    Http2,
}

/// Both protocols over TLS: most tests are for each.
pub(crate) const SECURE: [Via; 2] = [Via::Http1, Via::Http2];

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// One connection.
pub(crate) enum Visitor {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Visitor {
    pub(crate) async fn connect(edge: &TestEdge, via: Via, host: &str) -> Self {
        match via {
            Via::Plain => Self::plain(edge.http()).await,
            Via::Http1 => {
                let stream = secure(edge, host, b"http/1.1").await.unwrap();
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
                drop(tokio::spawn(connection));
                Self::Http1(sender)
            }
            Via::Http2 => {
                let stream = secure(edge, host, b"h2").await.unwrap();
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                let io = TokioIo::new(stream);
                let shaken = http2::Builder::new(TokioExecutor::new())
                    .max_header_list_size(1 << 20)
                    .handshake(io)
                    .await;
                let (sender, connection) = shaken.unwrap();
                drop(tokio::spawn(connection));
                Self::Http2(sender)
            }
        }
    }

    /// HTTP/1.1 in the clear, to anybody.
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        drop(tokio::spawn(connection));
        Self::Http1(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Answer> {
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// A request for `target` of `host`, written as the protocol wants it.
    pub(crate) fn request(
        &self,
        method: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Request<Empty<Bytes>> {
        let mut request = match self {
            Self::Http1(_) => Request::builder().uri(target).header("host", host),
            Self::Http2(_) => Request::builder().uri(format!("https://{host}{target}")),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.method(method).body(Empty::new()).unwrap()
    }

    pub(crate) async fn ask(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let request = self.request(method, host, target, headers);
        self.send(request).await.unwrap()
    }

    pub(crate) async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", "garden.example", target, headers).await
    }
}

/// A TLS connection that trusts the edge's own authority and nobody else.
pub(crate) async fn secure(
    edge: &TestEdge,
    host: &str,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(edge.ca_pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(verge_edge::tls::provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(host.to_owned()).unwrap();
    // A name that is an address sends no SNI.
    let stream = TcpStream::connect(edge.https()).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Sends bytes in the clear and gives everything that comes until the edge closes.
pub(crate) async fn raw(edge: &TestEdge, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut out = Vec::new();
    stream.read_to_end(&mut out).await.unwrap();
    String::from_utf8_lossy(&out).into_owned()
}
