//! What comes before a connection's first request: the word of a proxy, a place for the visitor's
//! address, the TLS handshake. All of it within the time of a handshake.

use crate::addresses::Counted;
use crate::host::Host;
use crate::http::connection::{self, Protocol};
use crate::http::room::Claim;
use crate::http::{Channel, Door, Transport};
use crate::listen::{Hall, Phase};
use crate::proxy_protocol::{self, Origin};
use crate::tcp_info;
use socket2::SockRef;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a session encrypts ahead of its socket: two full records. The default, twice as much, is
/// held by every visitor who does not read.
const SESSION_BYTES_MAX: usize = 32 << 10;

/// A connection that is ready for its first request.
pub(crate) struct Guest {
    stream: Stream,
    is_forwarded: bool,
    /// Ends with the connection.
    counted: Option<Counted>,
}

enum Stream {
    Plain(TcpStream),
    /// Boxed: a TLS session is large.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What comes before the first request: the proxy's word, a place for the address, the handshake.
/// `None` if it fails, which is the visitor's doing: no name of ours, no common version, too many.
pub(crate) async fn welcome(
    mut stream: TcpStream,
    peer: IpAddr,
    acceptor: Option<TlsAcceptor>,
    hall: &Hall,
) -> Option<Guest> {
    let (mut address, mut is_told) = (peer.to_canonical(), false);
    if hall.proxies.speaks_proxy_protocol(address) {
        match proxy_protocol::read_header(&mut stream).await {
            Ok(Origin::Visitor(visitor)) => (address, is_told) = (visitor.to_canonical(), true),
            Ok(Origin::Proxy) => {}
            Err(error) => {
                tracing::debug!(%error, "closed");
                return None;
            }
        }
    }
    let is_forwarded = hall.proxies.forwards(address);
    // Behind one address of a proxy, or of this machine, there may be everybody.
    let is_crowd = is_forwarded || (address.is_loopback() && !is_told);
    let counted = if is_crowd || (!is_told && hall.proxies.speaks_proxy_protocol(address)) {
        None
    } else {
        Some(hall.callers.admit(address)?)
    };
    let stream = match acceptor {
        None => Stream::Plain(stream),
        Some(acceptor) => {
            let mut stream = acceptor.accept(stream).await.ok()?;
            stream.get_mut().1.set_buffer_limit(Some(SESSION_BYTES_MAX));
            Stream::Tls(Box::new(stream))
        }
    };
    Some(Guest {
        stream,
        is_forwarded,
        counted,
    })
}

impl Guest {
    pub(crate) async fn serve(self, door: Arc<Door>, phase: watch::Receiver<Phase>) {
        let is_forwarded = self.is_forwarded;
        let share = self
            .counted
            .as_ref()
            .map(|counted| Arc::clone(&counted.share));
        let transport = |channel| Transport {
            channel,
            is_forwarded,
            claim: Claim::new(share),
        };
        match self.stream {
            Stream::Plain(stream) => {
                let transport = transport(Channel::Plain);
                connection::serve(stream, Protocol::Http1, door, transport, phase).await;
            }
            Stream::Tls(stream) => {
                let (_, session) = stream.get_ref();
                let protocol = match session.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                let name = session.server_name();
                let sni = name.and_then(|name| Host::parse(name).ok());
                let transport = transport(Channel::Tls { sni });
                connection::serve(*stream, protocol, door, transport, phase).await;
            }
        }
        drop(self.counted);
    }
}

/// A visitor's stream, with or without TLS.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// What the visitor's machine has acknowledged, in bytes on the wire; `None` where the kernel
    /// does not tell.
    fn acknowledged_bytes(&self) -> Option<u64>;

    /// Closing resets the connection from now on: the kernel would go on for minutes to offer
    /// megabytes to somebody who does not take them.
    fn abandon(&self);
}

impl Socket for TcpStream {
    fn acknowledged_bytes(&self) -> Option<u64> {
        tcp_info::acknowledged_bytes(self)
    }

    fn abandon(&self) {
        // It is closed either way.
        drop(SockRef::from(self).set_linger(Some(Duration::ZERO)));
    }
}

impl Socket for TlsStream<TcpStream> {
    fn acknowledged_bytes(&self) -> Option<u64> {
        tcp_info::acknowledged_bytes(self.get_ref().0)
    }

    fn abandon(&self) {
        self.get_ref().0.abandon();
    }
}
