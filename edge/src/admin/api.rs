//! The node's side of the admin socket: one request per connection, answered in lines.
//!
//! Owns the socket and the token's file; a task per connection, at most `CONNECTIONS_MAX` at once.

use super::sites::parse_keys;
use super::{
    Authorized, LINE_BYTES_MAX, Membership, Reply, Request, SOCKET_NAME, TOKEN_NAME, is_same_token,
    line, next_line,
};
use crate::certificates::{Desk, DeskError};
use crate::closing::ClosingError;
use crate::doctor::{Doctor, Grade};
use crate::export::{ExportError, Exporter, Wanted};
use crate::hosts::Wish;
use crate::import::{ImportError, Importer, Importing};
use crate::membership::InviteError;
use crate::publish::{PublishError, Publishing, RollBackError};
use crate::receipts::Receipts;
use crate::receive::Histories;
use crate::region::{self, NewSite, RegionView, Status, WriteError};
use crate::signing;
use crate::ssh_key::SshKeyError;
use crate::verify::{Verification, VerifyError};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use verge_sync::content::Repairs;
use verge_sync::digest::Digest;
use verge_sync::record::Draft;
use verge_sync::store::{Store, StoreError, write_file_durably};

/// Connections at once: a steward and a few scripts.
const CONNECTIONS_MAX: usize = 32;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reader may leave a line lying.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks of `verge status --follow`.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// And if nothing else changes.
const BETWEEN_CLOCK_LOOKS: Duration = Duration::from_secs(1);
/// Log lines that wait for a slow reader.
const LOG_LINES_MAX: usize = 256;

/// What the admin socket reaches.
pub struct Api {
    /// The region's records.
    pub region: Arc<RegionView>,
    /// Builds and deploys.
    pub publishing: Arc<Publishing>,
    /// Who holds what was published.
    pub receipts: Receipts,
    /// Who belongs to the region.
    pub membership: Arc<Membership>,
    /// How URLs are shown.
    pub addresses: Addresses,
    /// The certificates.
    pub desk: Arc<Desk>,
    /// Hosts whose DNS proof somebody waits for.
    pub wishes: mpsc::Sender<Wish>,
    /// The node's own things, for those who look after it; none for publishers.
    pub keep: Option<Keep>,
}

/// What is kept: blobs, and histories of git.
#[derive(Clone)]
pub struct Keep {
    /// The blobs and records.
    pub store: Store,
    /// The repositories.
    pub histories: Histories,
    /// Where lost blobs are asked for.
    pub repairs: Repairs,
    /// What looks for faults.
    pub doctor: Arc<Doctor>,
}

impl Keep {
    /// Of a running node.
    #[must_use]
    pub fn new(
        store: &Store,
        histories: Histories,
        repairs: &Repairs,
        doctor: Arc<Doctor>,
    ) -> Self {
        Self {
            store: store.clone(),
            histories,
            repairs: repairs.clone(),
            doctor,
        }
    }
}

/// Ports and zone as people see them.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// The HTTPS port; `None` without TLS.
    pub https_port: Option<u16>,
    /// The HTTP port.
    pub http_port: Option<u16>,
    /// The SSH port.
    pub ssh_port: Option<u16>,
    /// The SSH host key, as `known_hosts` has it.
    pub ssh_host_key: String,
}

impl Addresses {
    /// The URL of `host`.
    #[must_use]
    pub fn url(&self, host: &str) -> String {
        match (self.https_port, self.http_port) {
            (Some(443), _) => format!("https://{host}/"),
            (Some(port), _) => format!("https://{host}:{port}/"),
            (None, Some(port)) if port != 80 => format!("http://{host}:{port}/"),
            _ => format!("http://{host}/"),
        }
    }
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    RollBack(#[from] RollBackError),
    #[error(transparent)]
    Key(#[from] SshKeyError),
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Closing(Box<ClosingError>),
    #[error("{0}")]
    Wrong(String),
}

/// What is to be done with the line that came before.
const UNSIGNED: &str = "the provider's key is not on this node: nothing was done yet. Sign the last line where the key is, `verge provider sign --key FILE LINE`, and take in what that prints: `verge record add LINE`";

/// The same, where an account signs for itself.
const UNSIGNED_BY_ACCOUNT: &str = "nothing was done yet: a key of the account has to sign the last line. `verge account sign --key KEY LINE` does where the key is, and `verge record add LINE` takes in what that prints; with `--sign-with KEY` this command does both";

impl ApiError {
    /// The record that a key which is not here has to sign first, if that is why.
    fn to_sign(&self) -> Option<&Draft> {
        match self {
            Self::Write(WriteError::ToSign(draft))
            | Self::Publish(PublishError::Record(WriteError::ToSign(draft)))
            | Self::RollBack(RollBackError::Record(WriteError::ToSign(draft)))
            | Self::Desk(DeskError::Write(WriteError::ToSign(draft))) => Some(draft),
            Self::Closing(error) => match &**error {
                ClosingError::Write(WriteError::ToSign(draft)) => Some(draft),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<ClosingError> for ApiError {
    fn from(error: ClosingError) -> Self {
        Self::Closing(Box::new(error))
    }
}

/// Where answers go while a request is carried out.
pub(super) type Log = mpsc::Sender<String>;

/// A bound socket and the token that its clients must know.
pub struct Door {
    listener: UnixListener,
    token: String,
}

impl Door {
    /// Binds the socket of `data` and writes a new token beside it.
    ///
    /// # Errors
    /// The socket or the token cannot be made.
    pub fn open(data: &Path, random: &[u8; 32]) -> std::io::Result<Self> {
        let token = Digest::of(random).to_string();
        write_file_durably(&data.join(TOKEN_NAME), token.as_bytes(), 0o600)
            .map_err(std::io::Error::other)?;
        let socket = data.join(SOCKET_NAME);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, token })
    }

    /// Answers until the task is dropped.
    pub async fn serve(self, api: Arc<Api>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let token: Arc<str> = self.token.into();
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the admin socket took no connection");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let (api, token) = (Arc::clone(&api), Arc::clone(&token));
            tokio::spawn(async move {
                if let Err(error) = answer(stream, &api, &token).await {
                    tracing::debug!(%error, "admin connection");
                }
                drop(slot);
            });
        }
    }
}

async fn answer(stream: UnixStream, api: &Api, token: &str) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
    let request = next_line::<Authorized<Request>>(&mut reader);
    let request = match tokio::time::timeout(REQUEST_TIMEOUT, request).await? {
        Ok(Some(sent)) if is_same_token(&sent.token, token) => sent.request,
        Ok(Some(_stranger)) => {
            let why = "the token of the request is not this node's".to_owned();
            return write_line(&mut writer, &Reply::Refused(why)).await;
        }
        Ok(None) => return Ok(()),
        Err(error) => {
            let why = format!("this node does not understand the request: {error}");
            return write_line(&mut writer, &Reply::Refused(why)).await;
        }
    };
    let (log, mut lines) = mpsc::channel(LOG_LINES_MAX);
    let carry_out = async {
        let done = api.carry_out(request, log.clone()).await;
        if let Some(draft) = done.as_ref().err().and_then(ApiError::to_sign) {
            for text in api.to_sign_lines(draft) {
                say(&log, text).await;
            }
            drop(log);
            let is_for_provider = api.is_for_provider(draft);
            let unsigned = if is_for_provider {
                UNSIGNED
            } else {
                UNSIGNED_BY_ACCOUNT
            };
            return Err(unsigned.to_owned());
        }
        drop(log);
        done.map_err(|error| error.to_string())
    };
    // Owns the lines: when whoever asked goes away they go too, and nobody waits to be heard.
    let pass_on = async move {
        while let Some(text) = lines.recv().await {
            write_line(&mut writer, &Reply::Line(text)).await?;
        }
        Ok::<_, std::io::Error>(writer)
    };
    let (done, writer) = tokio::join!(carry_out, pass_on);
    let last = match done {
        Ok(()) => Reply::Done,
        Err(why) => Reply::Refused(why),
    };
    write_line(&mut writer?, &last).await
}

async fn write_line(writer: &mut OwnedWriteHalf, reply: &Reply) -> std::io::Result<()> {
    tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(&line(reply))).await?
}

impl Api {
    async fn carry_out(&self, request: Request, log: Log) -> Result<(), ApiError> {
        match request {
            Request::AccountAdd {
                name,
                ssh_keys,
                signing_keys,
            } => {
                let keys = parse_keys(&ssh_keys, &signing_keys)?;
                self.region.add_account(&name, keys).await?;
                say(&log, format!("account {name} added")).await;
                Ok(())
            }
            Request::AccountSet {
                name,
                change,
                signer,
            } => self.set_account(&name, change, signer, &log).await,
            Request::AccountList => self.list_accounts(&log).await,
            Request::SiteCreate { name, owner, hosts } => {
                let site = NewSite { name, owner, hosts };
                self.create_site(site, &log).await
            }
            Request::SiteList => self.list_sites(&log).await,
            Request::SiteSet { name, change } => self.set_site(&name, change, &log).await,
            Request::SiteVersions { name } => self.list_versions(&name, &log).await,
            Request::SiteUptime { name } => self.show_uptime(&name, &log).await,
            Request::SiteRollback { name, version } => self.roll_back(&name, version, &log).await,
            Request::SiteReset {
                name,
                version,
                signer,
            } => {
                let reset = self.region.reset_site(&name, version.as_deref(), signer);
                reset.await?;
                let text = format!("site {name} begins anew; what was deployed before is void");
                say(&log, text).await;
                Ok(())
            }
            Request::SiteDelete { name } => {
                self.region.delete_site(&name).await?;
                say(&log, format!("site {name} is deleted and no longer served")).await;
                Ok(())
            }
            Request::Deploy {
                site,
                folder,
                signer,
            } => self.deploy(&site, folder, signer, log).await,
            Request::Takedown {
                target,
                reason,
                lift,
            } => self.take_down(&target, reason, lift, &log).await,
            Request::Status { json, follow } => self.status(json, follow, &log).await,
            Request::Export { wanted, to } => self.export(&wanted, &to, &log).await,
            Request::Import(importing) => self.import(&importing, &log).await,
            Request::Verify { rebuild } => self.verify(rebuild, log).await,
            Request::Doctor { json } => self.examine(json, &log).await,
            Request::Provider(request) => self.provider(request, &log).await,
            Request::Node(request) => self.node(request, &log).await,
            Request::Region(request) => self.chain(request, &log).await,
            Request::Record(request) => self.record(request, &log).await,
            Request::Cert(request) => self.certificates(request, &log).await,
            Request::Usage(request) => self.show_usage(request, &log).await,
            Request::Statement(request) => self.statement(request, &log).await,
        }
    }

    /// What a key that is not here has to sign, in words, and as the last line.
    #[must_use]
    pub fn to_sign_lines(&self, draft: &Draft) -> Vec<String> {
        let effect = self.region.effect();
        let mut lines = signing::draft_words(draft).unwrap_or_default();
        if let Some(name) = region::subject_name(&effect, &draft.envelope) {
            lines.push(format!("that is   {name}"));
        }
        lines.push(signing::ToSignLine(draft.clone()).to_string());
        lines
    }

    /// Whether a provider's key is asked for, and not one of an account.
    #[must_use]
    pub fn is_for_provider(&self, draft: &Draft) -> bool {
        let effect = self.region.effect();
        effect.chain.knows(&draft.envelope.author.provider())
    }

    async fn status(&self, json: bool, follow: bool, log: &Log) -> Result<(), ApiError> {
        let mut last = None;
        let mut changes = self.region.replica().changes();
        let mut looks = self.membership.watched().changes();
        let mut reviews = self.membership.reviews();
        let mut witnesses = self.membership.witnessing().standing();
        let mut gate = self.membership.witnessing().gate.watch();
        loop {
            let status = self.membership.status(&self.region).await;
            if last.as_ref() != Some(&status.without_seconds()) {
                let lines = if json {
                    vec![serde_json::to_string(&status).unwrap_or_default()]
                } else {
                    self.status_lines(&status)
                };
                for text in lines {
                    say(log, text).await;
                }
                last = Some(status.without_seconds());
            }
            if !follow {
                return Ok(());
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                changed = looks.changed() => if changed.is_err() { return Ok(()) },
                changed = reviews.changed() => if changed.is_err() { return Ok(()) },
                changed = witnesses.changed() => if changed.is_err() { return Ok(()) },
                changed = gate.changed() => if changed.is_err() { return Ok(()) },
                () = log.closed() => return Ok(()),
                // What only the clock changes: a certificate that ends.
                () = tokio::time::sleep(BETWEEN_CLOCK_LOOKS) => {}
            }
            // What changes within a blink is shown once.
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn verify(&self, rebuild: bool, log: Log) -> Result<(), ApiError> {
        let keep = self.keep()?;
        let verification = Verification {
            store: keep.store.clone(),
            region: Arc::clone(&self.region),
            publishing: Arc::clone(&self.publishing),
            histories: keep.histories.clone(),
            repairs: Some(keep.repairs.clone()),
        };
        Ok(verification.run(rebuild, log).await?)
    }

    /// Exit status 1 where anything is at fault.
    async fn examine(&self, json: bool, log: &Log) -> Result<(), ApiError> {
        let findings = self.keep()?.doctor.look().await;
        let count = |grade| findings.iter().filter(|found| found.grade == grade).count();
        let (faults, warnings) = (count(Grade::Fault), count(Grade::Warning));
        for found in &findings {
            let text = if json {
                serde_json::to_string(found).unwrap_or_default()
            } else {
                found.to_string()
            };
            say(log, text).await;
        }
        if faults > 0 {
            let why = format!("faults: {faults}, warnings: {warnings}");
            return Err(ApiError::Wrong(why));
        }
        Ok(())
    }

    async fn export(&self, wanted: &Wanted, to: &Path, log: &Log) -> Result<(), ApiError> {
        let keep = self.keep()?;
        let exporter = Exporter {
            store: keep.store.clone(),
            region: Arc::clone(&self.region),
            histories: keep.histories.clone(),
        };
        for line in exporter.run(wanted, to).await? {
            say(log, line).await;
        }
        Ok(())
    }

    async fn import(&self, importing: &Importing, log: &Log) -> Result<(), ApiError> {
        let keep = self.keep()?;
        let importer = Importer {
            store: keep.store.clone(),
            region: Arc::clone(&self.region),
            publishing: Arc::clone(&self.publishing),
            histories: keep.histories.clone(),
        };
        Ok(importer.run(importing, log).await?)
    }

    pub(super) fn keep(&self) -> Result<&Keep, ApiError> {
        let keep = self.keep.as_ref();
        keep.ok_or_else(|| ApiError::Wrong("this is not asked here".to_owned()))
    }

    fn status_lines(&self, status: &Status) -> Vec<String> {
        let mut lines = status.lines();
        if let Some(port) = self.addresses.ssh_port {
            lines.push(format!("ssh port   {port}"));
            lines.push(format!("ssh key    {}", self.addresses.ssh_host_key));
        }
        lines
    }
}

/// Somebody who has gone away needs no answer.
pub(super) async fn say(log: &Log, text: String) {
    if log.send(text).await.is_err() {
        tracing::debug!("whoever asked has gone away");
    }
}
