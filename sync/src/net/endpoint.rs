//! The only file that configures iroh: one UDP port, no relay, no server of anybody else, and
//! addresses that come from the region's own records.
//!
//! Whoever reaches the port can ask to join ([`JOIN_ALPN`]); everything else is for members, which
//! is judged once the handshake has proved who the other is and before a byte of theirs is read.

use crate::id::NodeId;
use crate::keys::Seed;
use iroh::address_lookup::memory::MemoryLookup;
use iroh::endpoint::{
    AfterHandshakeOutcome, BindOpts, Connection, EndpointHooks, IdleTimeout, QuicTransportConfig,
    VarInt, presets,
};
use iroh::{EndpointAddr, EndpointId, RelayMode, SecretKey, TransportAddr, Watcher};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Records between members.
pub(super) const RECORDS_ALPN: &[u8] = b"verge/1/records";
/// A newcomer asks to become one.
pub(super) const JOIN_ALPN: &[u8] = b"verge/1/join";
/// A member that is not connected writes a letter.
pub(super) const LETTER_ALPN: &[u8] = b"verge/1/letters";
/// The library waits 30 s for an address that does not answer.
const DIAL_TIME: Duration = Duration::from_secs(3);
/// A member that has gone silent for so long is not connected.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// The machine's interfaces are looked through for so long at most.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// Streams of one connection: one for records, two for receipts, the rest for what is asked.
const STREAMS_MAX: u32 = 16;
/// What may be under way on one stream: a message, or 30 ms of a line of 270 Mbit/s.
const WINDOW_BYTES: u32 = 1 << 20;
/// On all streams together: blobs that the disk is slow to take do not hold up records.
const WINDOWS_COUNT: u32 = 4;

/// Why a connection is closed, as its other side is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Close {
    /// The node stops.
    Stopping = 0,
    /// Only members are heard.
    NotAMember = 1,
    /// There are as many connections as there may be.
    Full = 2,
    /// Another connection to the same node takes its place.
    Replaced = 3,
    /// What came was none of the protocol.
    Fault = 4,
    /// There is no more to say.
    Done = 5,
}

impl Close {
    fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// Why a node cannot be reached, or the port not be had.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The port.
    #[error("listen for other nodes on {0}: {1}; choose another port in `listen.nodes`")]
    Bind(String, String),
    /// Not a key.
    #[error("node {0} has no key that a connection can be made to")]
    NotAKey(NodeId),
    /// It did not answer in time.
    #[error("node {0} does not answer")]
    Silent(NodeId),
    /// It said no, or the network did.
    #[error("connect to node {0}: {1}")]
    Refused(NodeId, String),
}

/// This node's port, and whom it hears.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    iroh: iroh::Endpoint,
    book: MemoryLookup,
    members: Members,
}

/// The nodes that may speak about records.
#[derive(Debug, Clone, Default)]
struct Members(Arc<RwLock<BTreeSet<NodeId>>>);

impl Members {
    fn contains(&self, node: &NodeId) -> bool {
        let members = self.0.read().unwrap_or_else(PoisonError::into_inner);
        members.contains(node)
    }
}

/// Asked once for every connection, when it is proved who the other is.
impl EndpointHooks for Members {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        let peer = node_id(connection.remote_id());
        if connection.alpn() == JOIN_ALPN || self.contains(&peer) {
            return AfterHandshakeOutcome::accept();
        }
        AfterHandshakeOutcome::Reject {
            error_code: Close::NotAMember.code(),
            reason: b"members only".to_vec(),
        }
    }
}

impl Endpoint {
    /// Binds `listen` with the transport key of `seed`.
    pub(super) async fn bind(seed: &Seed, listen: &[SocketAddr]) -> Result<Self, EndpointError> {
        let (book, members) = (MemoryLookup::new(), Members::default());
        let mut builder = iroh::Endpoint::builder(presets::Minimal)
            .secret_key(SecretKey::from_bytes(&seed.transport_key().to_bytes()))
            .alpns(
                [RECORDS_ALPN, JOIN_ALPN, LETTER_ALPN]
                    .map(<[u8]>::to_vec)
                    .into(),
            )
            .relay_mode(RelayMode::Disabled)
            .transport_config(transport())
            .address_lookup(book.clone())
            .hooks(members.clone())
            .clear_ip_transports();
        let shown = || {
            let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
            listen.join(", ")
        };
        for address in listen {
            // A machine without IPv6 has every address of it in the default configuration.
            let is_required = !(address.is_ipv6() && address.ip().is_unspecified());
            builder = builder
                .bind_addr_with_opts(*address, BindOpts::default().set_is_required(is_required))
                .map_err(|error| EndpointError::Bind(shown(), error.to_string()))?;
        }
        let iroh = builder
            .bind()
            .await
            .map_err(|error| EndpointError::Bind(shown(), error.to_string()))?;
        Ok(Self {
            iroh,
            book,
            members,
        })
    }

    /// The sockets that are bound.
    pub(super) fn bound(&self) -> Vec<SocketAddr> {
        self.iroh.bound_sockets()
    }

    /// Where this node may be reached, as far as its interfaces tell. Not itself: loopback, unless
    /// that is all.
    pub(super) async fn reachable(&self) -> Vec<SocketAddr> {
        let mut watcher = self.iroh.watch_addr();
        let mut found = watcher.get();
        while found.ip_addrs().next().is_none() {
            match tokio::time::timeout(LOOK_TIME, watcher.updated()).await {
                Ok(Ok(now)) => found = now,
                _ => return Vec::new(),
            }
        }
        let found = found.ip_addrs().copied();
        let (loopback, others): (Vec<_>, Vec<_>) =
            found.partition(|address| address.ip().is_loopback());
        if others.is_empty() { loopback } else { others }
    }

    /// Hears `members` and nobody else from now on.
    pub(super) fn admit(&self, members: BTreeSet<NodeId>) {
        *self
            .members
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner) = members;
    }

    /// Where `node` is to be looked for.
    pub(super) fn find_at(&self, node: NodeId, addresses: &[SocketAddr]) {
        if let Some(id) = endpoint_id(node) {
            self.book.set_endpoint_info(address(id, addresses));
        }
    }

    /// Connects to `node` at `addresses`, if it answers within a few seconds.
    pub(super) async fn dial(
        &self,
        node: NodeId,
        addresses: &[SocketAddr],
        alpn: &[u8],
    ) -> Result<Connection, EndpointError> {
        let id = endpoint_id(node).ok_or(EndpointError::NotAKey(node))?;
        let connecting = self.iroh.connect(address(id, addresses), alpn);
        match tokio::time::timeout(DIAL_TIME, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(EndpointError::Refused(node, error.to_string())),
            Err(_elapsed) => Err(EndpointError::Silent(node)),
        }
    }

    /// The next connection that somebody asks for; `None` when the endpoint is closed.
    pub(super) async fn accept(&self) -> Option<iroh::endpoint::Incoming> {
        self.iroh.accept().await
    }

    /// Tells every peer that the node stops.
    pub(super) async fn close(&self) {
        self.iroh.close().await;
    }
}

fn transport() -> QuicTransportConfig {
    let idle = IdleTimeout::try_from(IDLE_TIME).ok();
    QuicTransportConfig::builder()
        .max_idle_timeout(idle)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
        .receive_window(VarInt::from_u32(WINDOWS_COUNT * WINDOW_BYTES))
        .send_window(u64::from(WINDOWS_COUNT * WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        .build()
}

fn address(id: EndpointId, addresses: &[SocketAddr]) -> EndpointAddr {
    EndpointAddr::from_parts(id, addresses.iter().copied().map(TransportAddr::Ip))
}

fn endpoint_id(node: NodeId) -> Option<EndpointId> {
    EndpointId::from_bytes(node.as_bytes()).ok()
}

pub(super) fn node_id(id: EndpointId) -> NodeId {
    NodeId::from_bytes(*id.as_bytes())
}

/// Ends a connection and says why.
pub(super) fn close(connection: &Connection, why: Close) {
    connection.close(why.code(), b"");
}
