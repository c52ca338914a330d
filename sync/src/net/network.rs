//! The node among the others: one UDP port, a connection to each peer, and newcomers at the door.
//!
//! Owns the endpoint and its tasks: one accepts, one dials, one judges what came
//! ([`Replica::run`]), and two for each connection, which read and write. All end with the
//! [`Network`]. Nothing is kept over a crash: who belongs and where they are is in the records.

use super::asks::{Answers, peer_is_near};
use super::blobs::{self, Limits, Outlet};
use super::bucket::Bucket;
use super::changes::{self, Changes};
use super::endpoint::{
    Close, Endpoint, EndpointError, JOIN_ALPN, LETTER_ALPN, RECORDS_ALPN, close, node_id,
};
use super::join::Caller;
use super::letters::{self, Letter, LetterError, Letterbox};
use super::lists;
use super::pieces::{self, Piece, PieceError, Prover};
use super::reach::{LINKS_MAX, Other, is_near, sought, to_dial};
use super::receipts::Receipts;
use super::replica::Replica;
use super::stream::{self, StreamError};
use crate::clock::stopwatch;
use crate::content::{FetchError, Size, Source, Sources};
use crate::digest::Digest;
use crate::id::{NodeId, Version};
use crate::keys::Seed;
use crate::record::Effect;
use crate::store::{Partial, Store};
use iroh::TransportAddr;
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Connections that are not yet members' or newcomers'; what comes beyond is turned away unread.
const HANDSHAKES_MAX: usize = 32;
/// A handshake, and the first stream, take no longer.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// After a failed attempt, doubled with each: a node that comes back is found within
/// [`REDIAL_MAX`].
const REDIAL_MIN: Duration = Duration::from_secs(1);
/// A node that has been away for days costs its peers three small packets so often.
const REDIAL_MAX: Duration = Duration::from_secs(20);
/// A connection that has lasted so long is one: after it the next attempt comes at once.
const SETTLED_TIME: Duration = Duration::from_secs(10);
/// Who is no member any more is told the records that say so.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// Who sent what is no message is not heard for so long.
const FAULT_REST: Duration = Duration::from_secs(60);
/// Records go before what is asked beside them, which has 0.
const RECORDS_PRIORITY: i32 = 1;
/// A list of a removal is a few hundred KB.
const LIST_TIME: Duration = Duration::from_secs(30);
/// An address that is a name is asked of the system's resolver for so long.
const RESOLVE_TIME: Duration = Duration::from_secs(2);

/// What the port is, and who is at the door.
pub struct NetworkConfig {
    /// The UDP addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Newcomers who ask to join.
    pub callers: mpsc::Sender<Caller>,
    /// Letters of members to the program above.
    pub letters: mpsc::Sender<Letter>,
    /// Nodes that this one has nothing to do with, whatever the records say.
    pub blocked: watch::Receiver<BTreeSet<NodeId>>,
    /// Where the blobs are that peers ask for.
    pub store: Store,
    /// Blobs that turn out to be damaged when a peer asks for them.
    pub damaged: Box<dyn Fn(Digest) + Send + Sync>,
    /// What may go to peers that are not near, and come from them, in bytes a second; 0 is no limit.
    pub send_bytes_per_second_max: u64,
    /// See there.
    pub receive_bytes_per_second_max: u64,
    /// Where a node is looked for that is not at the addresses of its record: of all others, whichever
    /// is there.
    pub known: Vec<String>,
    /// A peer that sends or takes nothing of a blob for so long is left; [`super::STALL_TIME`] but in
    /// tests.
    pub stall_time: Duration,
}

/// A node that is connected, or tries to be.
pub struct Network {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

struct Shared {
    me: NodeId,
    endpoint: Endpoint,
    replica: Arc<Replica>,
    callers: mpsc::Sender<Caller>,
    blocked: watch::Receiver<BTreeSet<NodeId>>,
    links: Mutex<BTreeMap<NodeId, Link>>,
    /// A link came or went.
    changed: Notify,
    serials: AtomicU64,
    /// Peers that broke the protocol, and until when they are not heard.
    faulty: Mutex<BTreeMap<NodeId, Instant>>,
    answers: Arc<Answers>,
    downlink: Option<Bucket>,
    known: Vec<String>,
    stall_time: Duration,
    /// Grows whenever a peer comes or goes.
    peers: watch::Sender<u64>,
}

/// An open connection.
struct Link {
    serial: u64,
    /// Of two connections between two nodes the one stays that the lower id asked for.
    dialed_by: NodeId,
    connection: Connection,
    since: Instant,
    /// It is no member any more, and hears that before it is gone.
    is_leaving: bool,
    task: AbortHandle,
}

impl Network {
    /// Binds the port and starts to find the others.
    ///
    /// # Errors
    /// [`EndpointError::Bind`].
    pub async fn start(
        seed: &Seed,
        replica: Arc<Replica>,
        config: NetworkConfig,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::bind(seed, &config.listen).await?;
        let changes = Changes::new(config.store.clone(), config.stall_time);
        let prover = Prover::new(seed.node_id(), config.store.clone());
        let outlet = Outlet::new(
            config.store,
            (config.send_bytes_per_second_max, config.stall_time),
            config.damaged,
        );
        let answers = Answers {
            replica: Arc::clone(&replica),
            outlet,
            changes,
            receipts: Receipts::default(),
            prover,
            letterbox: Letterbox::new(config.letters),
        };
        let shared = Arc::new(Shared {
            me: seed.node_id(),
            endpoint,
            replica,
            callers: config.callers,
            blocked: config.blocked,
            links: Mutex::default(),
            changed: Notify::new(),
            serials: AtomicU64::new(0),
            faulty: Mutex::default(),
            answers: Arc::new(answers),
            downlink: Bucket::new(config.receive_bytes_per_second_max),
            known: config.known,
            stall_time: config.stall_time,
            peers: watch::Sender::new(0),
        });
        shared.admit_members();
        let mut tasks = JoinSet::new();
        let (accepting, dialing) = (Arc::clone(&shared), Arc::clone(&shared));
        let judging = Arc::clone(&shared.replica);
        tasks.spawn(async move { judging.run().await });
        tasks.spawn(async move { accepting.accept().await });
        tasks.spawn(async move { dialing.dial().await });
        Ok(Self {
            shared,
            tasks: Mutex::new(tasks),
        })
    }

    /// The sockets that are bound.
    #[must_use]
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.shared.endpoint.bound()
    }

    /// Where this node may be reached, as far as its interfaces tell.
    pub async fn reachable(&self) -> Vec<SocketAddr> {
        self.shared.endpoint.reachable().await
    }

    /// Asks the connected peers, one after the other, for a list that a removal names.
    pub async fn fetch_list(&self, digest: Digest) -> Option<Vec<u8>> {
        let connections: Vec<Connection> = {
            let links = self.shared.links();
            links.values().map(|link| link.connection.clone()).collect()
        };
        for connection in connections {
            match tokio::time::timeout(LIST_TIME, lists::ask(&connection, digest)).await {
                Ok(Ok(Some(bytes))) => return Some(bytes),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a list"),
                Err(_elapsed) => tracing::debug!("a peer sends its list too slowly"),
            }
        }
        None
    }

    /// Asks `peer` to prove that it holds a piece of a blob; gives what it says, to be compared with
    /// [`Piece::proof`], or none if it says that the piece is not there.
    ///
    /// # Errors
    /// [`PieceError`]: it says nothing of it.
    pub async fn ask_piece(
        &self,
        peer: NodeId,
        piece: Piece,
    ) -> Result<Option<Digest>, PieceError> {
        let connection = self.shared.connection(peer);
        let connection = connection.map_err(|_gone| PieceError::NotConnected)?;
        pieces::ask(&connection, piece).await
    }

    /// Sends a letter to `peer`, and gives what it answers; where the two are not connected, over a
    /// connection that is made for it.
    ///
    /// # Errors
    /// [`LetterError`]: nothing is known of what became of it.
    pub async fn write(&self, peer: NodeId, letter: &[u8]) -> Result<Vec<u8>, LetterError> {
        if let Ok(connection) = self.shared.connection(peer) {
            return letters::send(&connection, letter).await;
        }
        let others = self.shared.others(&self.shared.replica.effect());
        let addresses = others.get(&peer).ok_or(LetterError::NotConnected)?;
        let addresses = resolve(addresses).await;
        let endpoint = &self.shared.endpoint;
        endpoint.find_at(peer, &addresses);
        let dialed = endpoint.dial(peer, &addresses, LETTER_ALPN).await;
        let connection = dialed.map_err(|_silent| LetterError::NotConnected)?;
        let answer = letters::send(&connection, letter).await;
        close(&connection, Close::Done);
        answer
    }

    /// Where `peer` is seen now, if it is connected.
    #[must_use]
    pub fn seen_at(&self, peer: &NodeId) -> Option<IpAddr> {
        let connection = self.shared.connection(*peer).ok()?;
        let paths = connection.paths();
        let selected = paths.iter().find(|path| path.is_selected())?;
        match selected.remote_addr() {
            TransportAddr::Ip(address) => Some(address.ip().to_canonical()),
            _ => None,
        }
    }

    /// Asks `peer` for nothing, and waits until it answers: then it is there. Gives false when the
    /// connection ends without an answer, which may take half a minute.
    pub async fn is_there(&self, peer: NodeId) -> bool {
        let Ok(connection) = self.shared.connection(peer) else {
            return false;
        };
        lists::ask(&connection, Digest::from_bytes([0; 32]))
            .await
            .is_ok()
    }

    /// A number that changes whenever a receipt comes or goes.
    #[must_use]
    pub fn receipts(&self) -> watch::Receiver<u64> {
        self.shared.answers.receipts.changes()
    }

    /// Says goodbye to every peer, and ends.
    pub async fn stop(&self) {
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.abort_all();
        }
        for link in self.shared.links().values() {
            close(&link.connection, Close::Stopping);
        }
        self.shared.endpoint.close().await;
    }
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeId, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other nodes of the region that this one speaks with.
    fn others(&self, effect: &Effect) -> BTreeMap<NodeId, Vec<String>> {
        let blocked = self.blocked.borrow();
        let now = stopwatch();
        let mut faulty = self.faulty.lock().unwrap_or_else(PoisonError::into_inner);
        faulty.retain(|_, until| *until > now);
        let nodes = effect.nodes.values().filter(|node| {
            node.is_member
                && node.id != self.me
                && !blocked.contains(&node.id)
                && !faulty.contains_key(&node.id)
        });
        nodes
            .map(|node| (node.id, node.body.addresses.clone()))
            .collect()
    }

    /// Hears who is a member now, and nobody else from now on.
    fn admit_members(&self) -> BTreeMap<NodeId, Vec<String>> {
        let others = self.others(&self.replica.effect());
        self.endpoint.admit(others.keys().copied().collect());
        let blocked = self.blocked.borrow().clone();
        for (node, link) in &mut *self.links() {
            if others.contains_key(node) {
                continue;
            }
            if blocked.contains(node) {
                close(&link.connection, Close::NotAMember);
            } else if !link.is_leaving {
                // It hears why from the records first.
                link.is_leaving = true;
                let connection = link.connection.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(GOODBYE_TIME).await;
                    close(&connection, Close::NotAMember);
                });
            }
        }
        others
    }

    async fn accept(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        while let Some(incoming) = self.endpoint.accept().await {
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            // Under load an address has to prove itself before a handshake is paid for.
            if slots.available_permits() < HANDSHAKES_MAX / 2 && !incoming.remote_addr_validated() {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "a connection could not be asked to prove itself");
                }
                continue;
            }
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                let welcome = shared.welcome(incoming);
                if tokio::time::timeout(HANDSHAKE_TIME, welcome).await.is_err() {
                    tracing::debug!("a handshake took too long");
                }
                drop(slot);
            });
        }
    }

    /// One connection that somebody asked for, up to its first stream.
    async fn welcome(self: &Arc<Self>, incoming: Incoming) {
        let connection = match incoming.await {
            Ok(connection) => connection,
            Err(error) => return tracing::debug!(%error, "a connection came to nothing"),
        };
        let peer = node_id(connection.remote_id());
        let (send, mut receive) = match connection.accept_bi().await {
            Ok(streams) => streams,
            Err(error) => return tracing::debug!(%error, peer = %peer.short(), "no stream"),
        };
        if connection.alpn() == JOIN_ALPN {
            match Caller::hear(connection, send, receive).await {
                Ok(caller) => {
                    if self.callers.try_send(caller).is_err() {
                        tracing::warn!("too many newcomers ask at once");
                    }
                }
                Err(error) => tracing::debug!(%error, "a newcomer cannot be understood"),
            }
            return;
        }
        if connection.alpn() == LETTER_ALPN {
            let answers = Arc::clone(&self.answers);
            tokio::spawn(async move {
                let streams = (send, receive);
                answers.letterbox.meet(peer, &connection, streams).await;
            });
            return;
        }
        if !matches!(stream::receive(&mut receive).await, Ok(hello) if hello.is_empty()) {
            return close(&connection, Close::Fault);
        }
        self.link(peer, connection, (send, receive), peer);
    }

    /// Finds the others, again and again.
    async fn dial(self: Arc<Self>) {
        let mut effects = self.replica.watch();
        let mut blocked = self.blocked.clone();
        let mut attempts: BTreeMap<NodeId, Attempt> = BTreeMap::new();
        let mut dials: JoinSet<(NodeId, bool)> = JoinSet::new();
        let mut dialing = BTreeSet::new();
        loop {
            let others = self.admit_members();
            let now = stopwatch();
            let connected: BTreeSet<NodeId> = self.links().keys().copied().collect();
            let lasts = |node: &NodeId| {
                let links = self.links();
                let since = links.get(node).map(|link| link.since);
                since.is_some_and(|since| now.duration_since(since) > SETTLED_TIME)
            };
            attempts.retain(|node, _| others.contains_key(node) && !lasts(node));
            let wanted = self.wanted(&others, &connected);
            let room = sought(others.len(), connected.len()).saturating_sub(dialing.len());
            let due = wanted.iter().filter(|node| {
                let is_due = attempts.get(node).is_none_or(|attempt| attempt.next <= now);
                is_due && !dialing.contains(*node)
            });
            for node in due.take(room).copied().collect::<Vec<_>>() {
                let addresses = others.get(&node).cloned().unwrap_or_default();
                let shared = Arc::clone(&self);
                dialing.insert(node);
                dials.spawn(async move { (node, shared.dial_one(node, &addresses).await) });
            }
            let next = wanted.iter().filter(|node| !dialing.contains(*node));
            let next = next.filter_map(|node| attempts.get(node)).map(|a| a.next);
            let rest = next.min().map_or(REDIAL_MAX, |next| {
                next.saturating_duration_since(now).max(REDIAL_MIN / 10)
            });
            tokio::select! {
                Some(Ok((node, is_there))) = dials.join_next() => {
                    dialing.remove(&node);
                    if is_there && connected.is_empty() {
                        // The network is back: whoever else was away is looked for at once.
                        attempts.clear();
                    }
                    // A peer may take the connection and end it: that is tried again later, too.
                    attempts.entry(node).or_default().failed(self.me, node);
                }
                changed = effects.changed() => if changed.is_err() { return },
                // Nobody blocks any more: the sender is gone with the node.
                changed = blocked.changed() => if changed.is_err() { return },
                () = self.changed.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    fn wanted(
        &self,
        others: &BTreeMap<NodeId, Vec<String>>,
        connected: &BTreeSet<NodeId>,
    ) -> Vec<NodeId> {
        let near = |address: &String| address.parse().is_ok_and(|address| is_near(&address));
        let others: Vec<Other> = others
            .iter()
            .map(|(node, addresses)| Other {
                node: *node,
                is_near: addresses.iter().any(near),
            })
            .collect();
        to_dial(self.me, &others, connected)
    }

    /// Looks for a node where its record says, then where the configuration knows somebody.
    async fn dial_one(self: &Arc<Self>, node: NodeId, addresses: &[String]) -> bool {
        let mut connection = self.dial_at(node, addresses).await;
        // Each by itself: at most one of them is the node's, and any may be another's.
        for known in &self.known {
            if connection.is_some() {
                break;
            }
            connection = self.dial_at(node, std::slice::from_ref(known)).await;
        }
        let Some(connection) = connection else {
            return false;
        };
        match self.open(&connection).await {
            Ok(streams) => self.link(node, connection, streams, self.me),
            Err(error) => {
                tracing::debug!(%error, peer = %node.short(), "no stream");
                false
            }
        }
    }

    async fn dial_at(&self, node: NodeId, addresses: &[String]) -> Option<Connection> {
        let addresses = resolve(addresses).await;
        if addresses.is_empty() {
            return None;
        }
        self.endpoint.find_at(node, &addresses);
        let dialed = self.endpoint.dial(node, &addresses, RECORDS_ALPN).await;
        dialed
            .inspect_err(|error| tracing::debug!(%error, "dial"))
            .ok()
    }

    async fn open(&self, connection: &Connection) -> Result<(SendStream, RecvStream), StreamError> {
        let opened = connection.open_bi().await;
        let (mut send, receive) = opened.map_err(|error| StreamError::Broken(error.to_string()))?;
        // The other side learns of a stream by its first bytes.
        stream::send(&mut send, &[]).await?;
        Ok((send, receive))
    }

    /// Takes the connection up, unless there is a better one or no room; says whether the peer is
    /// connected.
    fn link(
        self: &Arc<Self>,
        peer: NodeId,
        connection: Connection,
        streams: (SendStream, RecvStream),
        dialed_by: NodeId,
    ) -> bool {
        let mut links = self.links();
        if let Some(held) = links.get(&peer) {
            // Both have dialled at once, and one of the two goes. Later on whoever dials has lost the
            // one that is held: it has started anew.
            let is_fresh = held.since.elapsed() < SETTLED_TIME;
            let is_rival = held.dialed_by != dialed_by && held.dialed_by == self.me.min(peer);
            if is_fresh && is_rival {
                close(&connection, Close::Replaced);
                return true;
            }
            close(&held.connection, Close::Replaced);
        } else if links.len() >= LINKS_MAX {
            close(&connection, Close::Full);
            return false;
        }
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let (shared, spoken) = (Arc::clone(self), connection.clone());
        let task = tokio::spawn(async move { shared.speak(peer, serial, spoken, streams).await });
        let link = Link {
            serial,
            dialed_by,
            connection,
            since: stopwatch(),
            is_leaving: false,
            task: task.abort_handle(),
        };
        links.insert(peer, link);
        drop(links);
        tracing::info!(peer = %peer.short(), "connected");
        self.changed.notify_one();
        self.peers
            .send_modify(|count| *count = count.wrapping_add(1));
        true
    }

    /// One connection, until it ends.
    async fn speak(
        self: Arc<Self>,
        peer: NodeId,
        serial: u64,
        connection: Connection,
        (send, receive): (SendStream, RecvStream),
    ) {
        if send.set_priority(RECORDS_PRIORITY).is_err() {
            tracing::debug!(peer = %peer.short(), "gone before the first word");
        }
        self.replica.connect(peer, serial).await;
        let why = tokio::select! {
            why = self.read(peer, receive) => why,
            why = self.write(peer, send) => why,
            why = self.answers.serve(peer, &connection) => why,
            why = self.tell(&connection) => why,
            error = connection.closed() => error.to_string(),
        };
        close(&connection, Close::Done);
        self.replica.disconnect(peer, serial).await;
        let mut links = self.links();
        if links.get(&peer).is_some_and(|link| link.serial == serial) {
            links.remove(&peer);
            self.answers.receipts.forget(&peer);
            tracing::info!(peer = %peer.short(), %why, "no longer connected");
        }
        drop(links);
        self.changed.notify_one();
        self.peers
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    async fn read(&self, peer: NodeId, mut receive: RecvStream) -> String {
        let mut moves = self.replica.changes();
        loop {
            let bytes = match stream::receive(&mut receive).await {
                Ok(bytes) => bytes,
                Err(error) => return error.to_string(),
            };
            // What is not read waits at its sender: QUIC's window is full then.
            while !self.replica.has_room(&peer).await {
                if moves.changed().await.is_err() {
                    return "the node stops".to_owned();
                }
            }
            if let Err(fault) = self.replica.hear(&peer, &bytes).await {
                self.rest_from(peer, &fault);
                return fault.to_string();
            }
        }
    }

    /// The connection to a peer that is to give something.
    fn connection(&self, peer: NodeId) -> Result<Connection, FetchError> {
        let links = self.links();
        let connection = links.get(&peer).map(|link| link.connection.clone());
        connection.ok_or_else(|| FetchError::Broken("it is gone".to_owned()))
    }

    fn limits(&self, connection: &Connection) -> Limits<'_> {
        let downlink = self.downlink.as_ref();
        Limits {
            downlink: downlink.filter(|_| !peer_is_near(connection)),
            stall_time: self.stall_time,
        }
    }

    /// Parts with a peer that lies.
    fn judge<T>(
        &self,
        peer: NodeId,
        connection: &Connection,
        fetched: Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        if let Err(fault @ FetchError::Wrong(_)) = &fetched {
            self.rest_from(peer, fault);
            close(connection, Close::Fault);
        }
        fetched
    }

    /// Hears nothing of `peer` for a while.
    fn rest_from(&self, peer: NodeId, fault: &dyn std::fmt::Display) {
        tracing::warn!(peer = %peer.short(), %fault, "not heard for a minute");
        let until = stopwatch() + FAULT_REST;
        let mut faulty = self.faulty.lock().unwrap_or_else(PoisonError::into_inner);
        faulty.insert(peer, until);
    }

    /// Tells the peer what is here whole; ends with the connection alone.
    async fn tell(&self, connection: &Connection) -> String {
        match self.answers.receipts.speak(connection).await {
            Ok(()) => "the node stops".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    async fn write(&self, peer: NodeId, mut send: SendStream) -> String {
        let mut moves = self.replica.changes();
        loop {
            let mut is_sent = false;
            while let Some(bytes) = self.replica.next_out(&peer).await {
                if let Err(error) = stream::send(&mut send, &bytes).await {
                    return error.to_string();
                }
                is_sent = true;
            }
            if is_sent {
                // What waited for it may be due now.
                self.replica.stir();
            }
            if moves.changed().await.is_err() {
                return "the node stops".to_owned();
            }
        }
    }
}

/// Content comes over the connections that records come over.
impl Sources for Network {
    fn peers(&self) -> Vec<Source> {
        let links = self.shared.links();
        let peers = links.iter().filter(|(_, link)| !link.is_leaving);
        peers
            .map(|(node, link)| Source {
                node: *node,
                is_near: peer_is_near(&link.connection),
            })
            .collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.peers.subscribe()
    }

    async fn fetch(
        &self,
        peer: NodeId,
        size: Size,
        partial: &mut Partial,
    ) -> Result<(), FetchError> {
        let connection = self.shared.connection(peer)?;
        let limits = self.shared.limits(&connection);
        let fetched = blobs::fetch(&connection, size, partial, limits).await;
        self.shared.judge(peer, &connection, fetched)
    }

    async fn fetch_change(
        &self,
        peer: NodeId,
        base: (Digest, Vec<u8>),
        wanted: Digest,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let connection = self.shared.connection(peer)?;
        let limits = self.shared.limits(&connection);
        let fetched = changes::ask(&connection, base, wanted, limits).await;
        self.shared.judge(peer, &connection, fetched)
    }

    fn holders(&self, version: &Version) -> BTreeSet<NodeId> {
        self.shared.answers.receipts.holders(version)
    }

    fn tell(&self, versions: BTreeSet<Version>) {
        self.shared.answers.receipts.tell(versions);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for link in self.shared.links().values() {
            link.task.abort();
        }
    }
}

/// How often a node has not answered, and when it is asked again.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    failed_count: u32,
    next: Instant,
}

impl Default for Attempt {
    fn default() -> Self {
        Self {
            failed_count: 0,
            next: stopwatch(),
        }
    }
}

impl Attempt {
    /// Between two nodes the moments differ, so that not all dial at once after a power cut.
    fn failed(&mut self, me: NodeId, node: NodeId) {
        let rest = REDIAL_MIN
            .saturating_mul(1 << self.failed_count.min(5))
            .min(REDIAL_MAX);
        let [spread, ..] = *me.as_bytes();
        let [other, ..] = *node.as_bytes();
        let part = u32::from(spread ^ other);
        self.next = stopwatch() + rest - rest * part / 1024;
        self.failed_count = self.failed_count.saturating_add(1);
    }
}

/// Addresses as they stand in a node's record; a name is asked of the system.
pub(super) async fn resolve(addresses: &[String]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for address in addresses {
        if let Ok(address) = address.parse() {
            found.push(address);
            continue;
        }
        let lookup = tokio::net::lookup_host(address.as_str());
        match tokio::time::timeout(RESOLVE_TIME, lookup).await {
            Ok(Ok(resolved)) => found.extend(resolved.take(4)),
            Ok(Err(error)) => tracing::debug!(%error, %address, "a node's address"),
            Err(_elapsed) => tracing::debug!(%address, "a node's address is not found in time"),
        }
    }
    found
}
