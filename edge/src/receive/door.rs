//! The door: listeners, connections and their limits, the SSH library's settings.
//!
//! Owns a task per listener and one per connection. A connection has `login_timeout` to log in; a
//! client that says nothing is asked every [`KEEPALIVE`] and given up after three silences. No
//! address is ever logged.

use crate::receive::entrance::{Entrance, Place};
use crate::receive::push::Desk;
use crate::receive::ssh::Connection;
use crate::receive::{Config, Histories, ReceiveError};
use russh::MethodKind;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use verge_sync::SiteId;

/// How often a silent client is asked whether it is there; four silences end the connection.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Flow control window of a channel.
const WINDOW_BYTES: u32 = 1 << 20;
/// Largest SSH packet; RFC 4253 section 6.1 asks for at least this.
const PACKET_BYTES: u32 = 32 << 10;
/// Packets waiting for git, per channel: half a megabyte.
const QUEUE_PACKETS: usize = 16;
/// The same wait for every refused key.
const REFUSAL_TIME: Duration = Duration::from_millis(50);

/// A running door; [`Receiver::stop`] closes it.
pub struct Receiver {
    addresses: Vec<SocketAddr>,
    stage: watch::Sender<Stage>,
    tasks: Vec<JoinHandle<()>>,
    desk: Arc<Desk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    NoNewConnections,
    Closed,
}

impl Receiver {
    /// The addresses that are listened on, with the ports that were picked.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The histories of sites.
    #[must_use]
    pub fn histories(&self) -> Histories {
        self.desk.histories()
    }

    /// Removes the repository of a site that has ended, once no push to it is under way.
    ///
    /// # Errors
    ///
    /// When the disk refuses; the next [`Receiver::sweep`] tries again.
    pub async fn forget(&self, site: SiteId) -> Result<(), ReceiveError> {
        self.desk.forget(site).await
    }

    /// Removes the repositories of all sites that have ended; done once at the start as well.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn sweep(&self) -> Result<(), ReceiveError> {
        self.desk.sweep().await
    }

    /// Takes no new connections, lets running pushes end for `grace`, then closes everything.
    pub async fn stop(mut self, grace: Duration) {
        self.stage.send_replace(Stage::NoNewConnections);
        if tokio::time::timeout(grace, self.desk.quiet())
            .await
            .is_err()
        {
            tracing::warn!("pushes were still running and are cut off");
        }
        self.stage.send_replace(Stage::Closed);
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                tracing::warn!(%error, "an SSH listener ended badly");
            }
        }
    }
}

/// The host key's public half as one line for `known_hosts` or `ssh-keygen -l`.
///
/// # Errors
///
/// Never for 32 bytes that are a seed, which all are; the key library has the last word.
pub fn host_public_key(host_secret: &[u8; 32]) -> Result<String, russh::keys::ssh_key::Error> {
    host_key(host_secret)?.public_key().to_openssh()
}

fn host_key(secret: &[u8; 32]) -> Result<PrivateKey, russh::keys::ssh_key::Error> {
    PrivateKey::new(KeypairData::from(Ed25519Keypair::from_seed(secret)), "")
}

/// Binds every address, then serves them all.
pub(crate) async fn listen(config: &Config, desk: Arc<Desk>) -> Result<Receiver, ReceiveError> {
    let (stage, _) = watch::channel(Stage::Open);
    let mut listeners = Vec::new();
    for &address in &config.listen {
        let wrong = |source| ReceiveError::Listen { address, source };
        listeners.push(TcpListener::bind(address).await.map_err(wrong)?);
    }
    let door = Arc::new(Door {
        ssh: Arc::new(ssh_config(config)?),
        desk: Arc::clone(&desk),
        entrance: Entrance::new(&config.limits),
    });
    let mut receiver = Receiver {
        addresses: Vec::new(),
        stage,
        tasks: Vec::new(),
        desk,
    };
    for listener in listeners {
        let address = listener
            .local_addr()
            .map_err(|source| ReceiveError::io("ask the address of", "socket".as_ref(), source))?;
        receiver.addresses.push(address);
        let accept = accept(listener, Arc::clone(&door), receiver.stage.subscribe());
        receiver.tasks.push(tokio::spawn(accept));
    }
    Ok(receiver)
}

fn ssh_config(config: &Config) -> Result<russh::server::Config, ReceiveError> {
    let key = host_key(&config.host_secret).map_err(ReceiveError::HostKey)?;
    let mut methods = russh::MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    Ok(russh::server::Config {
        server_id: russh::SshId::Standard(Cow::Borrowed("SSH-2.0-Verge")),
        methods,
        auth_rejection_time: REFUSAL_TIME,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        window_size: WINDOW_BYTES,
        maximum_packet_size: PACKET_BYTES,
        channel_buffer_size: QUEUE_PACKETS,
        max_auth_attempts: config.limits.auth_attempts,
        // Keepalives find the dead, the desk's own limits the idle.
        inactivity_timeout: Some(config.limits.command_timeout.saturating_mul(2)),
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        preferred: russh::Preferred {
            // Packs are compressed, and a decompressor without a limit is a door for bombs.
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..russh::Preferred::DEFAULT
        },
        ..russh::server::Config::default()
    })
}

/// What all connections share.
struct Door {
    ssh: Arc<russh::server::Config>,
    desk: Arc<Desk>,
    entrance: Entrance,
}

async fn accept(listener: TcpListener, door: Arc<Door>, mut stage: watch::Receiver<Stage>) {
    let mut connections = tokio::task::JoinSet::new();
    let connection_stage = stage.clone();
    loop {
        tokio::select! {
            () = reached(&mut stage, Stage::NoNewConnections) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    if let Some(place) = door.entrance.enter(address.ip()) {
                        let (door, stage) = (Arc::clone(&door), connection_stage.clone());
                        connections.spawn(serve(stream, place, door, stage));
                    }
                }
                // Out of file descriptors, or a client that was gone already.
                Err(error) => {
                    tracing::warn!(%error, "accept an SSH connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Ready when `at` is reached; a [`Receiver`] that was dropped has reached everything.
async fn reached(stage: &mut watch::Receiver<Stage>, at: Stage) {
    drop(stage.wait_for(|stage| *stage >= at).await);
}

/// Ends a connection in whatever state its session is.
struct Cut(std::net::TcpStream);

impl Drop for Cut {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown(std::net::Shutdown::Both) {
            tracing::trace!(%error, "already closed");
        }
    }
}

async fn serve(
    stream: TcpStream,
    place: Place,
    door: Arc<Door>,
    mut stage: watch::Receiver<Stage>,
) {
    let Ok((stream, cut)) = with_cut(stream) else {
        return;
    };
    let logged_in = Arc::new(Notify::new());
    let handler = Connection::new(Arc::clone(&door.desk), place, Arc::clone(&logged_in));
    let session = async {
        let running = russh::server::run_stream(Arc::clone(&door.ssh), stream, handler).await?;
        running.await
    };
    let limit = async {
        let login = door.desk.limits().login_timeout;
        if tokio::time::timeout(login, logged_in.notified())
            .await
            .is_ok()
        {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = session => if let Err(error) = ended {
            tracing::debug!(%error, "an SSH connection ended");
        },
        () = limit => tracing::debug!("an SSH connection did not log in in time"),
        () = reached(&mut stage, Stage::Closed) => {}
    }
    drop(cut);
}

fn with_cut(stream: TcpStream) -> std::io::Result<(TcpStream, Cut)> {
    let stream = stream.into_std()?;
    let cut = Cut(stream.try_clone()?);
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    Ok((stream, cut))
}
