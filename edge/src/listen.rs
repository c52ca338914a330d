//! The listeners and the threads behind them.
//!
//! One thread per worker, each with a single-threaded runtime and its own `SO_REUSEPORT` listeners:
//! a connection lives and dies on one core. Owns all connections; [`Running::drain`] ends them
//! gracefully, dropping [`Running`] cuts them. A crash loses answers under way and nothing else.

use crate::accounting::meter::Meter;
use crate::addresses::{Callers, Proxies};
use crate::challenges::Challenges;
use crate::http::Door;
use crate::http::health::Assurances;
use crate::http::room::Rooms;
use crate::lan::Lan;
pub use crate::limits::Limits;
use crate::sites::Sites;
use crate::status_page::StatusPage;
use crate::tls::{self, KeyExchange, TlsResolver};
use crate::welcome::welcome;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use verge_sync::clock::Clock;

/// What plain HTTP does while a valid certificate is there; without one it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Sends visitors to HTTPS.
    Redirects,
    /// Serves too: a preview, which is looked at either way.
    Serves,
}

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Addresses for plain HTTP; port 0 takes a free one.
    pub http: Vec<SocketAddr>,
    /// Addresses for HTTPS.
    pub https: Vec<SocketAddr>,
    /// The port of HTTPS as visitors see it, for redirects from plain HTTP; none: the one that
    /// the first HTTPS listener has.
    pub https_public_port: Option<u16>,
    /// What plain HTTP does while a valid certificate is there.
    pub plain: PlainHttp,
    /// Threads; one per core is right.
    pub workers: NonZeroUsize,
    /// What visitors may take.
    pub limits: Limits,
    /// Who stands in between and is believed.
    pub proxies: Proxies,
    /// For `Last-Modified` and the validity of certificates.
    pub clock: Clock,
    /// What the node gives its word for.
    pub assurances: Assurances,
    /// How keys are agreed on in handshakes.
    pub key_exchange: KeyExchange,
    /// The page for its own network, if it has one.
    pub lan: Option<Arc<Lan>>,
    /// The page of the region's admin zone.
    pub status: Option<Arc<StatusPage>>,
    /// What authorities are answered.
    pub challenges: Arc<Challenges>,
    /// Where what is served is counted.
    pub meter: Arc<Meter>,
}

impl Default for EdgeConfig {
    /// No address, one worker per core.
    fn default() -> Self {
        Self {
            http: Vec::new(),
            https: Vec::new(),
            https_public_port: None,
            plain: PlainHttp::Redirects,
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            limits: Limits::default(),
            proxies: Proxies::default(),
            clock: Clock::System,
            assurances: Assurances::default(),
            key_exchange: KeyExchange::default(),
            lan: None,
            status: None,
            challenges: Arc::default(),
            meter: Arc::default(),
        }
    }
}

/// Why the edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// HTTPS addresses without certificates.
    #[error("https addresses are configured, but no certificates: set [tls]")]
    NoCertificates,
    /// The TLS library refuses its own defaults: an error of ours.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// The system has no randomness.
    #[error("make a random key")]
    Randomness(#[from] getrandom::Error),
    /// No thread can be started.
    #[error("start a worker thread")]
    Thread(#[source] io::Error),
}

/// The edge's life, as every connection sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    Draining,
    Stopped,
}

/// The part of a node that visitors talk to.
pub struct Edge;

/// A started edge; dropping it cuts every connection.
pub struct Running {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    connections: Arc<Semaphore>,
    connection_count_max: u32,
    threads: Vec<thread::JoinHandle<()>>,
    meter: Arc<Meter>,
    is_behind_proxy: bool,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open when the grace was over.
    pub cut_count: usize,
}

impl Edge {
    /// Listens on every address and serves `sites` from then on; returns when all sockets are
    /// bound. Without `tls` there is no HTTPS, and plain HTTP serves instead of redirecting.
    ///
    /// # Errors
    /// [`StartError`]; nothing listens then.
    pub fn start(
        config: EdgeConfig,
        sites: Arc<Sites>,
        tls: Option<Arc<TlsResolver>>,
    ) -> Result<Running, StartError> {
        if tls.is_none() && !config.https.is_empty() {
            return Err(StartError::NoCertificates);
        }
        let mut http = bind_all(&config.http, config.workers)?;
        let mut https = bind_all(&config.https, config.workers)?;
        let https_port = config
            .https_public_port
            .or_else(|| https.first().map(Bound::port));
        // Certificates without a listener that uses them must not redirect anybody to it.
        let tls = tls.filter(|_certificates| !https.is_empty());
        let acceptor = tls.clone();
        let acceptor = acceptor.map(|tls| tls::acceptor(tls, config.key_exchange));
        let acceptor = acceptor.transpose()?;
        let (phase, watched) = watch::channel(Phase::Serving);
        let mut running = Running::new((&http, &https), &config, phase);
        let proxies = Arc::new(config.proxies);
        let rooms = Arc::new(Rooms::new(config.limits.answer_bytes_max));
        let address_max = config.limits.connection_per_address_count_max;
        let callers = Callers::new(address_max, Arc::clone(&rooms))?;
        let door = Arc::new(Door {
            sites,
            tls,
            limits: config.limits,
            rooms,
            clock: config.clock,
            https_port: (config.plain == PlainHttp::Redirects).then(|| https_port.unwrap_or(443)),
            assurances: config.assurances,
            lan: config.lan,
            status: config.status,
            challenges: config.challenges,
            meter: config.meter,
        });
        for index in 0..config.workers.get() {
            let worker = Worker {
                http: take_each(&mut http),
                https: take_each(&mut https),
                acceptor: acceptor.clone(),
                hall: Hall {
                    door: Arc::clone(&door),
                    phase: watched.clone(),
                    connections: Arc::clone(&running.connections),
                    callers: Arc::clone(&callers),
                    proxies: Arc::clone(&proxies),
                },
            };
            running.threads.push(worker.start(index)?);
        }
        Ok(running)
    }
}

impl Running {
    fn new(
        (http, https): (&[Bound], &[Bound]),
        config: &EdgeConfig,
        phase: watch::Sender<Phase>,
    ) -> Self {
        let count = config
            .limits
            .connection_count_max
            .min(Semaphore::MAX_PERMITS);
        let connection_count_max = u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            http: http.iter().map(|bound| bound.address).collect(),
            https: https.iter().map(|bound| bound.address).collect(),
            phase,
            connections: Arc::new(Semaphore::new(count)),
            connection_count_max,
            threads: Vec::new(),
            meter: Arc::clone(&config.meter),
            is_behind_proxy: config.proxies.are_any(),
        }
    }

    /// Where what is served is counted; whole when [`Running::drain`] has returned.
    #[must_use]
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Whether what is counted may have been delivered to a proxy, not to a visitor.
    #[must_use]
    pub fn is_behind_proxy(&self) -> bool {
        self.is_behind_proxy
    }

    /// The bound addresses of plain HTTP, in the order of the configuration.
    #[must_use]
    pub fn http_addrs(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The bound addresses of HTTPS, in the order of the configuration.
    #[must_use]
    pub fn https_addrs(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Stops listening, lets answers under way finish for at most `grace`, then cuts the rest.
    pub async fn drain(self, grace: Duration) -> Drained {
        self.phase.send_replace(Phase::Draining);
        let all = self.connections.acquire_many(self.connection_count_max);
        let finished = tokio::time::timeout(grace, all).await.is_ok();
        let max = usize::try_from(self.connection_count_max).unwrap_or(usize::MAX);
        let cut_count = if finished {
            0
        } else {
            max.saturating_sub(self.connections.available_permits())
        };
        self.phase.send_replace(Phase::Stopped);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a worker thread panicked");
                }
            }
        });
        if joined.await.is_err() {
            tracing::error!("the threads of the edge could not be joined");
        }
        Drained { cut_count }
    }
}

/// One address and a socket for each worker.
struct Bound {
    address: SocketAddr,
    sockets: Vec<StdListener>,
}

impl Bound {
    fn port(&self) -> u16 {
        self.address.port()
    }
}

fn bind_all(addresses: &[SocketAddr], workers: NonZeroUsize) -> Result<Vec<Bound>, StartError> {
    let bind = |address: &SocketAddr| {
        let bound = bind_shared(*address, workers);
        bound.map_err(|source| StartError::Listen {
            address: *address,
            source,
        })
    };
    addresses.iter().map(bind).collect()
}

fn bind_shared(address: SocketAddr, workers: NonZeroUsize) -> io::Result<Bound> {
    if address.port() != 0 {
        // SO_REUSEPORT would let a second node take half of our visitors: find it first.
        drop(bind(address, Sharing::Alone)?);
    }
    let first = bind(address, Sharing::WithWorkers)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers.get() {
        sockets.push(bind(address, Sharing::WithWorkers)?);
    }
    Ok(Bound { address, sockets })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    WithWorkers,
}

fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<StdListener> {
    /// What waits in the kernel while a worker is busy or all connections are taken.
    const BACKLOG: i32 = 1024;
    /// What may lie in the kernel, beyond what is on its way to the visitor. Two of our writes, so
    /// that the line does not run dry between them: with less the connection is woken twice as often,
    /// with more a slow visitor holds more (docs/decisions/0016-unsent-bytes.md).
    const UNSENT_BYTES_MAX: u32 = 64 << 10;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        // [::] is every address of the machine, IPv4 too, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::WithWorkers)?;
    socket.set_nonblocking(true)?;
    // Every connection inherits it.
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One socket of every address, for one worker.
fn take_each(bound: &mut [Bound]) -> Vec<StdListener> {
    bound
        .iter_mut()
        .filter_map(|bound| bound.sockets.pop())
        .collect()
}

/// What every listener needs.
#[derive(Clone)]
pub(crate) struct Hall {
    pub(crate) door: Arc<Door>,
    phase: watch::Receiver<Phase>,
    connections: Arc<Semaphore>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) proxies: Arc<Proxies>,
}

/// One thread's share of the edge.
struct Worker {
    http: Vec<StdListener>,
    https: Vec<StdListener>,
    acceptor: Option<TlsAcceptor>,
    hall: Hall,
}

/// Readers of files per worker: two keep a disk busy, and more would only make its head wander.
/// What waits for them is bounded by the open streams.
const READ_THREADS: usize = 2;

impl Worker {
    fn start(self, index: usize) -> Result<thread::JoinHandle<()>, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READ_THREADS)
            .thread_name(format!("edge-read-{index}"))
            .build()
            .map_err(StartError::Thread)?;
        thread::Builder::new()
            .name(format!("edge-{index}"))
            .spawn(move || {
                runtime.block_on(self.run());
                // What the drain did not finish is cut here; a read under way is not waited for.
                runtime.shutdown_background();
            })
            .map_err(StartError::Thread)
    }

    /// Until `Running` says that everything has ended, or is dropped.
    async fn run(self) {
        let mut phase = self.hall.phase.clone();
        self.listen();
        drop(phase.wait_for(|phase| *phase == Phase::Stopped).await);
    }

    fn listen(self) {
        let sockets = self.http.into_iter().map(|socket| (socket, None));
        let secured = self
            .https
            .into_iter()
            .map(|socket| (socket, self.acceptor.clone()));
        for (socket, acceptor) in sockets.chain(secured) {
            match TcpListener::from_std(socket) {
                Ok(listener) => {
                    let doorway = Doorway {
                        listener,
                        acceptor,
                        hall: self.hall.clone(),
                    };
                    drop(tokio::spawn(doorway.accept()));
                }
                Err(error) => tracing::error!(%error, "a listener is lost"),
            }
        }
    }
}

/// One listener of one worker.
struct Doorway {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    hall: Hall,
}

impl Doorway {
    async fn accept(self) {
        let mut phase = self.hall.phase.clone();
        loop {
            // A place is taken after the connection, not before: else a quiet listener would hold
            // one that a busy listener needs.
            let next = async {
                let accepted = self.listener.accept().await?;
                Ok((
                    accepted,
                    Arc::clone(&self.hall.connections).acquire_owned().await,
                ))
            };
            let next: io::Result<_> = tokio::select! {
                next = next => next,
                _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
            };
            match next {
                Ok(((stream, peer), Ok(permit))) => self.admit(stream, peer.ip(), permit),
                Ok((_, Err(_closed))) => return,
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: IpAddr, permit: OwnedSemaphorePermit) {
        // Answers are written whole; a failure means that the visitor is gone already.
        drop(stream.set_nodelay(true));
        let (hall, acceptor) = (self.hall.clone(), self.acceptor.clone());
        drop(tokio::spawn(async move {
            let limit = hall.door.limits.handshake_time;
            let welcome = tokio::time::timeout(limit, welcome(stream, peer, acceptor, &hall));
            if let Ok(Some(guest)) = welcome.await {
                guest.serve(hall.door, hall.phase).await;
            }
            drop(permit);
        }));
    }
}

/// Out of file descriptors or memory: the listener would spin. Other errors are of one connection.
async fn pause_after(error: &io::Error) {
    let gone = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ];
    if !gone.contains(&error.kind()) {
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
