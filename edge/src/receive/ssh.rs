//! One SSH connection: a key in, one of two commands, nothing else.
//!
//! Owns a task per running command, which ends with its channel. No key is ever logged.

use crate::receive::command::{self, GitCommand};
use crate::receive::converse::{Client, Writer};
use crate::receive::entrance::Place;
use crate::receive::push::{Desk, Errand};
use crate::receive::words;
use russh::keys::{HashAlg, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

/// The stream number of standard error (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// A channel that is open and has not yet asked for anything.
struct Opened {
    channel: Channel<Msg>,
    protocol: Option<String>,
    place: OwnedSemaphorePermit,
}

/// One connection's state.
pub(crate) struct Connection {
    desk: Arc<Desk>,
    key_sha256: Option<[u8; 32]>,
    logged_in: Arc<Notify>,
    channels: HashMap<ChannelId, Opened>,
    place: Place,
    places: Arc<Semaphore>,
}

impl Connection {
    /// A connection that has not logged in; `logged_in` hears when it has.
    pub(crate) fn new(desk: Arc<Desk>, place: Place, logged_in: Arc<Notify>) -> Self {
        let places = Arc::new(Semaphore::new(desk.limits().channels_per_connection));
        Self {
            desk,
            key_sha256: None,
            logged_in,
            channels: HashMap::new(),
            place,
            places,
        }
    }

    fn judge(&self, key: &PublicKey) -> Option<[u8; 32]> {
        let sha256 = key.fingerprint(HashAlg::Sha256).sha256()?;
        self.desk.knows_key(&sha256).then_some(sha256)
    }

    /// Begins the one thing that a channel may do.
    fn begin(
        &mut self,
        id: ChannelId,
        command: Option<GitCommand>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (Some(opened), Some(key_sha256)) = (self.channels.remove(&id), self.key_sha256) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move {
            let (read, write) = opened.channel.split();
            let (mut client, carrier) = client(read, &write);
            let is_well = match command {
                Some(command) => {
                    let errand = Errand {
                        key_sha256,
                        command,
                        protocol: opened.protocol,
                    };
                    desk.serve(errand, &mut client).await
                }
                None => {
                    client.say(words::ONLY_GIT).await;
                    false
                }
            };
            if let Err(error) = farewell(&write, u32::from(!is_well)).await {
                tracing::debug!(%error, "a client went away before the end");
            }
            carrier.abort();
            drop(opened.place);
        });
        Ok(())
    }
}

async fn farewell(write: &ChannelWriteHalf<Msg>, status: u32) -> Result<(), russh::Error> {
    write.exit_status(status).await?;
    write.eof().await?;
    write.close().await
}

/// A channel as a [`Client`], and the task that carries its bytes.
fn client(read: ChannelReadHalf, write: &ChannelWriteHalf<Msg>) -> (Client, JoinHandle<()>) {
    let (bytes, input) = mpsc::channel(1);
    let (here, gone) = oneshot::channel();
    let output: Writer = Box::new(Box::pin(write.make_writer()));
    let errors: Writer = Box::new(Box::pin(write.make_writer_ext(Some(STDERR))));
    let carrier = tokio::spawn(async move {
        carry(read, bytes).await;
        drop::<oneshot::Sender<std::convert::Infallible>>(here);
    });
    let client = Client {
        input,
        output,
        errors,
        gone,
    };
    (client, carrier)
}

/// Carries a channel's bytes until the client closes it or is gone.
async fn carry(mut read: ChannelReadHalf, bytes: mpsc::Sender<bytes::Bytes>) {
    let mut bytes = Some(bytes);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(open) = &bytes
                    && open.send(data).await.is_err()
                {
                    bytes = None;
                }
            }
            ChannelMsg::Eof => bytes = None,
            ChannelMsg::Close => break,
            _ => {}
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = self.judge(offer.public_key);
        Ok(known.map_or_else(Auth::reject, |_| Auth::Accept))
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        self.key_sha256 = self.judge(key.public_key);
        Ok(self.key_sha256.map_or_else(Auth::reject, |_| Auth::Accept))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        if !self.place.log_in() {
            return Err(russh::Error::Disconnect);
        }
        self.logged_in.notify_one();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            reply
                .reject(russh::ChannelOpenFailure::ResourceShortage)
                .await;
            return Ok(());
        };
        let opened = Opened {
            protocol: None,
            place,
            channel,
        };
        self.channels.insert(opened.channel.id(), opened);
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        variable_name: &str,
        variable_value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let value =
            command::git_protocol(variable_value).filter(|_| variable_name == "GIT_PROTOCOL");
        match (value, self.channels.get_mut(&channel)) {
            (Some(value), Some(opened)) => {
                opened.protocol = Some(value);
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.begin(channel, command::parse(data), session)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.begin(channel, None, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.begin(channel, None, session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
