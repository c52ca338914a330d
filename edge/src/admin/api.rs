//! The node's side of the admin socket: one request per connection, answered in lines.
//!
//! Owns the socket and the token's file; a task per connection, at most `CONNECTIONS_MAX` at once.

use super::{
    AccountChange, Authorized, LINE_BYTES_MAX, Membership, Reply, Request, SOCKET_NAME, SiteChange,
    TOKEN_NAME, is_same_token, line, next_line,
};
use crate::acme::caa::{Asker, line as line_of_caa};
use crate::certificates::{Desk, DeskError, is_public};
use crate::doctor::{Doctor, Grade};
use crate::export::{ExportError, Exporter, Wanted};
use crate::hosts::{Verdict, Wish};
use crate::import::{ImportError, Importer, Importing};
use crate::membership::InviteError;
use crate::publish::{Publication, PublishError, Published, Publishing, RollBackError};
use crate::receipts::Receipts;
use crate::receive::Histories;
use crate::region::{self, AccountEdit, NewSite, RegionView, Signer, Status, WriteError, naming};
use crate::signing::{self, Signing};
use crate::ssh_key::{SshKeyDigest, SshKeyError, parse_signing_key};
use crate::verify::{Verification, VerifyError};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use verge_builder::Source;
use verge_sync::content::Repairs;
use verge_sync::digest::Digest;
use verge_sync::id::RecordId;
use verge_sync::record::effect::SiteEffect;
use verge_sync::record::{Actors, Body, Cause, Draft, Effect, UserKey};
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
/// How long a command waits for a look at a host: two questions to DNS, and a round before them.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
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
            _ => None,
        }
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
        }
    }

    async fn create_site(&self, site: NewSite, log: &Log) -> Result<(), ApiError> {
        self.region.create_site(site.clone()).await?;
        self.look_for_proofs(&site.name, &site.hosts, log).await;
        self.show_site(&site.name, log).await;
        Ok(())
    }

    /// What a key that is not here has to sign, in words, and as the last line.
    #[must_use]
    pub fn to_sign_lines(&self, draft: &Draft) -> Vec<String> {
        let effect = self.region.effect();
        let body = Body::decode(draft.envelope.kind, &draft.body);
        let body = body.unwrap_or(Body::Foreign);
        let mut lines = signing::words(&draft.envelope, &body);
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

    async fn set_account(
        &self,
        name: &str,
        change: AccountChange,
        signer: Signer,
        log: &Log,
    ) -> Result<(), ApiError> {
        let is_about_acts = change.acts.is_some();
        let edit = AccountEdit {
            add: parse_keys(&change.add_ssh_keys, &change.add_signing_keys)?,
            remove: parse_keys(&change.remove_ssh_keys, &change.remove_signing_keys)?,
            acts: change.acts,
            signer,
        };
        self.region.set_account(name, edit).await?;
        say(log, format!("account {name} changed")).await;
        if is_about_acts {
            let text = "who was let act before is shut out of a site when that begins anew: `verge site reset SITE`";
            say(log, text.to_owned()).await;
        }
        let effect = self.region.effect();
        let account = effect.account_by_name(name);
        if account.is_some_and(|a| a.body.acts == Actors::NONE && a.signing_keys().next().is_none())
        {
            let text = format!(
                "nothing can be published for it until it has a key that signs: `verge account set {name} --add-signing-key FILE.pub`"
            );
            say(log, text).await;
        }
        Ok(())
    }

    async fn list_accounts(&self, log: &Log) -> Result<(), ApiError> {
        for account in self.region.accounts() {
            let logins = account.keys.iter().map(ToString::to_string);
            let signs = account.signing_keys.iter();
            let signs = signs.map(|key| format!("{key} (signs)"));
            let keys: Vec<String> = logins.chain(signs).collect();
            let sites = account.sites.join(", ");
            say(
                log,
                format!(
                    "{}  {}  sites: {sites}  ({})",
                    account.name,
                    keys.join(" "),
                    account.standing
                ),
            )
            .await;
        }
        Ok(())
    }

    async fn show_site(&self, name: &str, log: &Log) {
        let effect = self.region.effect();
        let Some(site) = effect.site_by_label(name) else {
            return;
        };
        for host in region::hosts(&effect, site.id) {
            say(log, format!("address   {}", self.addresses.url(&host))).await;
        }
        say_names(&effect, site.id, log).await;
        for host in region::hosts(&effect, site.id) {
            if let Some(line) = caa_line(&effect, &host) {
                say(log, format!("CAA       {line}")).await;
            }
        }
        let port = self.addresses.ssh_port.unwrap_or(2222);
        say(
            log,
            format!("publish   git push ssh://git@NODE:{port}/{name} main"),
        )
        .await;
    }

    async fn list_sites(&self, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        for site in region::sites(&effect) {
            let state = match &site.head {
                Some(version) => format!("version {}", version.short()),
                None => "nothing published yet".to_owned(),
            };
            let urls: Vec<String> = site
                .hosts
                .iter()
                .map(|host| self.addresses.url(host))
                .collect();
            let line = format!(
                "{}  of {}  {state}  {}  ({})",
                site.name,
                site.owner,
                urls.join(" "),
                site.standing
            );
            say(log, line).await;
        }
        Ok(())
    }

    async fn set_site(&self, name: &str, change: SiteChange, log: &Log) -> Result<(), ApiError> {
        let hosts = change.add_hosts.clone();
        self.region.set_site(name, change).await?;
        say(log, format!("site {name} changed")).await;
        self.look_for_proofs(name, &hosts, log).await;
        let effect = self.region.effect();
        if let Some(site) = effect.site_by_label(name) {
            say_names(&effect, site.id, log).await;
        }
        Ok(())
    }

    /// Looks for the proofs of those of a site's `hosts` that need one, and says what this node sees.
    async fn look_for_proofs(&self, name: &str, hosts: &[String], log: &Log) {
        let effect = self.region.effect();
        let Some(site) = effect.site_by_label(name) else {
            return;
        };
        for claim in naming::unproved(&effect, site.id, hosts) {
            let host = claim.host.as_deref().unwrap_or_default();
            let (answer, answered) = oneshot::channel();
            let claim = claim.record;
            if self.wishes.try_send(Wish { claim, answer }).is_err() {
                tracing::debug!("too many wishes wait");
                continue;
            }
            let verdict = tokio::time::timeout(LOOK_TIMEOUT, answered).await;
            let said = match verdict {
                Ok(Ok(Verdict::Proved)) => format!("this node found the DNS record of {host}"),
                Ok(Ok(Verdict::NotThere)) => {
                    format!(
                        "this node does not find the DNS record of {host} yet, and will look again"
                    )
                }
                Ok(Ok(Verdict::Unanswered(why))) => format!("{why}; this node will ask again"),
                Ok(Err(_)) | Err(_) => format!("this node is still looking for {host}"),
            };
            say(log, said).await;
        }
    }

    async fn list_versions(&self, name: &str, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let site = site(&effect, name)?;
        say_names(&effect, site.id, log).await;
        if site.deploys.is_empty() {
            say(log, format!("nothing was published to {name} yet")).await;
        }
        let kept: BTreeSet<RecordId> = site.kept().map(|deploy| deploy.id()).collect();
        for (index, deploy) in site.deploys.iter().enumerate() {
            let is_other_tip = index > 0 && site.tips.contains(&deploy.id());
            let (mark, other_tip) = match (index, is_other_tip) {
                (0, _) => ("*", ""),
                (_, true) => (
                    "+",
                    "  (another tip, from an outage: the next push settles it)",
                ),
                (_, false) => (" ", ""),
            };
            let is_kept = kept.contains(&deploy.id());
            let kept = if is_kept { "" } else { "  (no longer kept)" };
            let body = deploy.body();
            // An upload only carries the history on.
            let git = body.git.as_ref().filter(|_| body.cause != Cause::Upload);
            let commit = git.map_or(String::new(), |git| {
                let hex: String = git
                    .commit
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                format!("  commit {}", hex.get(..10).unwrap_or(&hex))
            });
            let time = jiff::Timestamp::from_second(body.time.0)
                .map_or_else(|_| body.time.0.to_string(), |time| time.to_string());
            let cause = cause_word(body.cause);
            let version = body.version.short();
            say(
                log,
                format!("{mark} {version}  {time}  {cause}{commit}{kept}{other_tip}"),
            )
            .await;
        }
        Ok(())
    }

    async fn show_uptime(&self, name: &str, log: &Log) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let site = site(&effect, name)?.id;
        for text in self.membership.watched().uptime(&effect, &site) {
            say(log, text).await;
        }
        Ok(())
    }

    async fn roll_back(
        &self,
        name: &str,
        version: Option<String>,
        log: &Log,
    ) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let site = site(&effect, name)?;
        let rolled_back = self.publishing.roll_back(site.id, version.as_deref()).await;
        let version = rolled_back?.version;
        say(
            log,
            format!("site {name} shows version {} again", version.short()),
        )
        .await;
        Ok(())
    }

    async fn deploy(
        &self,
        name: &str,
        folder: std::path::PathBuf,
        signer: Signer,
        log: Log,
    ) -> Result<(), ApiError> {
        let effect = self.region.effect();
        let known = site(&effect, name)?;
        let (site, account) = (known.id, known.body.account);
        let source = Source::Folder(folder);
        let cause = Cause::Upload;
        let publication = Publication {
            site,
            account,
            source,
            commit: None,
            history: None,
            cause,
            signing: match signer {
                Signer::Member => Signing::Node,
                Signer::Account => Signing::Ask,
            },
        };
        let published = self.publishing.publish(publication, &log).await?;
        for text in self.last_lines(site, &published).await {
            say(&log, text).await;
        }
        Ok(())
    }

    /// What a publisher sees last: what is in place, where, and who holds it.
    #[must_use]
    pub async fn last_lines(&self, site: verge_sync::SiteId, published: &Published) -> Vec<String> {
        let mut lines = Vec::new();
        match published {
            Published::Unchanged(version) => {
                lines.push(format!(
                    "nothing changed: version {} stays",
                    version.short()
                ));
            }
            Published::Deployed(built) => {
                lines.push(built.to_string());
                lines.push(format!("version {} is live", built.version.short()));
                lines.push(self.receipts.sentence(built.version).await);
            }
        }
        let effect = self.region.effect();
        lines.extend(naming::sentences(&effect, site));
        let hosts = region::hosts(&effect, site);
        lines.extend(hosts.iter().map(|host| self.addresses.url(host)));
        lines
    }

    async fn status(&self, json: bool, follow: bool, log: &Log) -> Result<(), ApiError> {
        let mut last = None;
        let mut changes = self.region.replica().changes();
        let mut looks = self.membership.watched().changes();
        let mut reviews = self.membership.reviews();
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

    fn keep(&self) -> Result<&Keep, ApiError> {
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

fn site<'a>(effect: &'a Effect, name: &str) -> Result<&'a SiteEffect, ApiError> {
    let site = effect.site_by_label(name);
    site.ok_or_else(|| WriteError::NoSite(name.to_owned()).into())
}

/// The CAA record that keeps others from getting a certificate for a host that is not a label of the
/// region.
fn caa_line(effect: &Effect, host: &str) -> Option<String> {
    let step = &effect.chain.current().body;
    let acme = step.acme.as_ref()?;
    if !is_public(host) || host.ends_with(&format!(".{}", step.zones.site_zone)) {
        return None;
    }
    let asker = Asker {
        identities: &acme.identities,
        account_url: &acme.account,
        method: "http-01",
        is_wildcard: false,
    };
    line_of_caa(host, &asker)
}

/// What is to be known of the names of a site.
async fn say_names(effect: &Effect, site: verge_sync::SiteId, log: &Log) {
    for text in naming::sentences(effect, site) {
        say(log, text).await;
    }
}

/// The keys with which somebody logs in, and those that sign.
fn parse_keys(logins: &[String], signing: &[String]) -> Result<Vec<UserKey>, SshKeyError> {
    let logins = logins.iter();
    let logins = logins.map(|line| SshKeyDigest::parse(line).map(|key| UserKey::SshLogin(key.0)));
    let signing = signing.iter();
    let signing = signing.map(|line| parse_signing_key(line).map(UserKey::Signing));
    logins.chain(signing).collect()
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Push => "push",
        Cause::Upload => "upload",
        Cause::Rollback => "rollback",
        Cause::Reset => "reset",
        Cause::Other(_) => "other",
    }
}

/// Somebody who has gone away needs no answer.
pub(super) async fn say(log: &Log, text: String) {
    if log.send(text).await.is_err() {
        tracing::debug!("whoever asked has gone away");
    }
}
