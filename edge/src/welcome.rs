//! What comes before a connection's first request: the word of a proxy, a place for the visitor's
//! address, the TLS handshake. All of it within the time of a handshake.

use crate::addresses::Counted;
use crate::host::Host;
use crate::http::connection::{self, Protocol};
use crate::http::metering::Agent;
use crate::http::room::Claim;
use crate::http::{Channel, Door, Transport};
use crate::listen::{Hall, Phase};
use crate::proxy_protocol::{self, Origin};
use crate::socket::{Secured, Wire};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A connection that is ready for its first request.
pub(crate) struct Guest {
    stream: Stream,
    is_forwarded: bool,
    /// Ends with the connection.
    counted: Option<Counted>,
}

enum Stream {
    Plain(Wire),
    /// Boxed: a TLS session is large.
    Tls(Box<Secured>),
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
        None => Stream::Plain(Wire::new(stream)),
        Some(acceptor) => {
            let stream = acceptor.accept(Wire::new(stream)).await.ok()?;
            Stream::Tls(Box::new(Secured::new(stream)))
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
            agent: Agent::default(),
        };
        match self.stream {
            Stream::Plain(stream) => {
                let transport = transport(Channel::Plain);
                connection::serve(stream, Protocol::Http1, door, transport, phase).await;
            }
            Stream::Tls(stream) => {
                let session = stream.session();
                let protocol = match session.alpn_protocol() {
                    Some(b"h2") => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                let name = session.server_name();
                let sni = name.and_then(|name| Host::parse(name).ok());
                let transport = transport(Channel::Tls { sni });
                connection::serve(stream, protocol, door, transport, phase).await;
            }
        }
        drop(self.counted);
    }
}
