//! How the command line talks to the running node: JSON lines over a socket that only the node's
//! own user can open.
//!
//! One request per connection; then any number of [`Reply::Line`]s and one last
//! [`Reply::Done`] or [`Reply::Refused`].

pub mod api;
mod certificates;
pub(crate) mod fuzzing;
mod members;
mod sites;
mod statements;
mod usage;

pub use members::Membership;

use crate::accounting::usage::{By, Form};
use crate::certificates::Plan;
use crate::export::Wanted;
use crate::import::Importing;
use crate::region::{Signer, StepChange};

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// The socket's name inside the data directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// The token's file inside the data directory, made anew at each start; mode 0600. A confined child
/// of the node may reach the socket, but it cannot read this file.
pub const TOKEN_NAME: &str = "admin.token";
/// The longest request or reply line: a step of the region, which has at most 64 KiB, is 103 KiB in
/// letters.
pub const LINE_BYTES_MAX: u64 = 128 << 10;

/// A request as it is sent: with the token of the node that it is for.
#[derive(Serialize, Deserialize)]
struct Authorized<R> {
    token: String,
    request: R,
}

/// What a steward can ask of the running node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// A new account with its first login key.
    AccountAdd {
        /// What it is called.
        name: String,
        /// SSH public keys, as in a `.pub` file.
        ssh_keys: Vec<String>,
        /// Keys that sign for it, as in a `.pub` file or in hexadecimal digits.
        #[serde(default)]
        signing_keys: Vec<String>,
    },
    /// Changes to an account.
    AccountSet {
        /// Which one.
        name: String,
        /// What changes.
        change: AccountChange,
        /// Who signs the change.
        #[serde(default)]
        signer: Signer,
    },
    /// All accounts.
    AccountList,
    /// A new site.
    SiteCreate {
        /// Its label under the region's site zone.
        name: String,
        /// The account that it belongs to.
        owner: String,
        /// Further hosts.
        hosts: Vec<String>,
    },
    /// All sites.
    SiteList,
    /// Changes to a site.
    SiteSet {
        /// Which one.
        name: String,
        /// What changes.
        change: SiteChange,
    },
    /// A site's deploys.
    SiteVersions {
        /// Which one.
        name: String,
    },
    /// How the nodes have served a site, roughly.
    SiteUptime {
        /// Which one.
        name: String,
    },
    /// Puts an earlier version in place again.
    SiteRollback {
        /// Which site.
        name: String,
        /// The version or a prefix of it; the one before the head if absent.
        version: Option<String>,
    },
    /// Voids what was deployed in a site's present epoch, but for one version.
    SiteReset {
        /// Which one.
        name: String,
        /// The version or a prefix of it; the one in place if absent.
        version: Option<String>,
        /// Who signs that.
        #[serde(default)]
        signer: Signer,
    },
    /// Ends a site for ever.
    SiteDelete {
        /// Which one.
        name: String,
    },
    /// Publishes a folder of this machine.
    Deploy {
        /// Which site.
        site: String,
        /// The folder, absolute.
        folder: PathBuf,
        /// Who signs the deploy.
        #[serde(default)]
        signer: Signer,
    },
    /// This provider's nodes stop serving a site or account, or serve it again.
    Takedown {
        /// The site's label or id, or `account:NAME`.
        target: String,
        /// For people.
        reason: String,
        /// Whether it ends an earlier one.
        lift: bool,
    },
    /// How the node is.
    Status {
        /// As one line of JSON.
        #[serde(default)]
        json: bool,
        /// Again after every change, until whoever asks goes away.
        #[serde(default)]
        follow: bool,
    },
    /// Sites taken out to a folder of this machine.
    Export {
        /// Which.
        wanted: Wanted,
        /// The folder, absolute, which is not there yet.
        to: PathBuf,
    },
    /// Sites brought back from a folder of this machine.
    Import(Importing),
    /// Everything read again.
    Verify {
        /// Whether each site's head is built anew from its git history too.
        #[serde(default)]
        rebuild: bool,
    },
    /// What keeps people from this node and its sites.
    Doctor {
        /// Each line as JSON.
        #[serde(default)]
        json: bool,
    },
    /// About the providers of the region.
    Provider(ProviderRequest),
    /// About nodes.
    Node(NodeRequest),
    /// About the chain of steps.
    Region(RegionRequest),
    /// About single records.
    Record(RecordRequest),
    /// About certificates.
    Cert(CertRequest),
    /// About a month.
    Statement(StatementRequest),
    /// What was served.
    Usage(UsageRequest),
}

/// What a steward can ask about a month, which is written as `2026-11`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementRequest {
    /// Which.
    pub month: String,
    /// The file of its fees, absolute; the copy of the node if absent.
    pub fees: Option<PathBuf>,
    /// What to do.
    pub act: StatementAct,
}

/// What is done with a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementAct {
    /// Its statement, to a folder that is not there yet, absolute.
    Write(PathBuf),
    /// A proposal to close it.
    Close,
    /// A signature for the close that is proposed.
    Sign,
}

/// What a steward can ask about what was served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRequest {
    /// Of this site only: its label, a host, or the beginning of its id.
    pub site: Option<String>,
    /// What a line is.
    pub by: Option<By>,
    /// Such as `2026-11`; the one that runs if absent.
    pub month: Option<String>,
    /// How it is shown.
    #[serde(default)]
    pub form: Form,
}

/// What a steward can ask about certificates.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum CertRequest {
    /// An account at an authority, and the nodes that order.
    Setup {
        /// How.
        plan: Plan,
    },
    /// All of them.
    List,
    /// That of one host.
    Show {
        /// The host.
        host: String,
    },
    /// A new one for a host.
    Renew {
        /// The host.
        host: String,
    },
    /// One for an owner's own request.
    Order {
        /// In PEM form.
        request: String,
    },
    /// Another key for the region's account at the authority.
    Rollover,
    /// One that its owner brings.
    Import {
        /// In PEM form, the leaf first.
        chain: String,
        /// In PEM form.
        key: String,
    },
}

/// Never shows a key.
impl std::fmt::Debug for CertRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Setup { .. } => "Setup",
            Self::List => "List",
            Self::Show { .. } => "Show",
            Self::Renew { .. } => "Renew",
            Self::Order { .. } => "Order",
            Self::Rollover => "Rollover",
            Self::Import { .. } => "Import",
        })
    }
}

/// What a steward can ask about providers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ProviderRequest {
    /// A ticket for a new provider.
    Invite,
    /// Voids every ticket.
    Void,
    /// Providers, and who asks to become one.
    List,
    /// Who is meant, and the words of the key.
    Show {
        /// A name, or the beginning of an id.
        who: String,
    },
    /// A vote for a newcomer.
    Approve {
        /// A name, or the beginning of an id.
        who: String,
    },
    /// This provider leaves.
    Leave {
        /// For people.
        reason: String,
    },
    /// The provider's key was moved away: the node goes on without it.
    ForgetKey,
}

/// What a steward can ask about nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum NodeRequest {
    /// A ticket for a further node of this provider.
    Add,
    /// All nodes.
    List,
    /// Takes a node of this provider out of the region.
    Withdraw {
        /// A name, or the beginning of an id.
        who: String,
    },
    /// Has nothing to do with a node any more, or again.
    Block {
        /// A name, or the beginning of an id.
        who: String,
        /// Whether it ends.
        lift: bool,
    },
}

/// What a steward can ask about the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum RegionRequest {
    /// The current step and what waits for votes.
    Status,
    /// A new step.
    Propose {
        /// What it changes.
        change: Box<StepChange>,
    },
    /// A vote for a proposed step.
    Sign {
        /// The beginning of its id.
        step: String,
        /// The paper key of a region of two, instead of the provider's.
        paper: Option<String>,
    },
}

/// What the curious can ask about records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum RecordRequest {
    /// One record.
    Show {
        /// The beginning of its id.
        id: String,
    },
    /// The records of a kind.
    Log {
        /// The kind's name; all if absent.
        kind: Option<String>,
        /// At most so many.
        count: usize,
    },
    /// A record that was signed elsewhere.
    Add {
        /// As [`crate::signing::SignedLine`] writes it.
        line: String,
    },
}

/// What `verge account set` can change; absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChange {
    /// Login keys to add, as in a `.pub` file.
    pub add_ssh_keys: Vec<String>,
    /// Login keys to take away, as in a `.pub` file or as `SHA256:...`.
    pub remove_ssh_keys: Vec<String>,
    /// Keys to add that sign for the account, as in a `.pub` file or in hexadecimal digits.
    #[serde(default)]
    pub add_signing_keys: Vec<String>,
    /// Such keys to take away.
    #[serde(default)]
    pub remove_signing_keys: Vec<String>,
    /// Which providers may act for the account: `all`, `none`, or provider ids.
    pub acts: Option<Vec<String>>,
}

/// What `verge site set` can change; absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteChange {
    /// The branch that is published; an empty name for `pages`, `main` or `master`.
    pub branch: Option<String>,
    /// Whether a push may rewrite history.
    pub force: Option<bool>,
    /// Whether anybody may take out the whole site.
    pub takeout_public: Option<bool>,
    /// Bytes that the site's kept versions may take.
    pub quota_bytes: Option<u64>,
    /// Whose nodes may hold the key of its certificate: `all`, `none`, or provider ids.
    #[serde(default)]
    pub admit: Option<Vec<String>>,
    /// Whether it is left out of lists.
    #[serde(default)]
    pub private: Option<bool>,
    /// Hosts to add.
    pub add_hosts: Vec<String>,
    /// Hosts to give up.
    pub remove_hosts: Vec<String>,
}

/// What the node answers, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// A line for people to read.
    Line(String),
    /// It is done.
    Done,
    /// It was refused; nothing changed.
    Refused(String),
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nothing listens.
    #[error("no node runs on {data}: start it with `verge serve --data {data}`", data = data.display())]
    NotRunning {
        /// The data directory.
        data: PathBuf,
    },
    /// The connection broke.
    #[error("talk to the node on {data}", data = data.display())]
    Broken {
        /// The data directory.
        data: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The node said no, and why.
    #[error("{0}")]
    Refused(String),
}

/// Sends `request` to the node on `data` and hands every line to `show`.
///
/// # Errors
/// [`AdminError`].
pub async fn ask(
    data: &Path,
    request: &Request,
    mut show: impl FnMut(&str),
) -> Result<(), AdminError> {
    let broken = |source| AdminError::Broken {
        data: data.to_owned(),
        source,
    };
    let stream = UnixStream::connect(data.join(SOCKET_NAME))
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                AdminError::NotRunning {
                    data: data.to_owned(),
                }
            }
            _ => broken(error),
        })?;
    let token = std::fs::read_to_string(data.join(TOKEN_NAME)).map_err(broken)?;
    let (reader, mut writer) = stream.into_split();
    writer
        .write_all(&line(&Authorized { token, request }))
        .await
        .map_err(broken)?;
    let mut reader = BufReader::new(reader);
    loop {
        match next_line(&mut reader).await.map_err(broken)? {
            Some(Reply::Line(text)) => show(&text),
            Some(Reply::Done) => return Ok(()),
            Some(Reply::Refused(why)) => return Err(AdminError::Refused(why)),
            None => return Err(broken(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Whether two tokens are the same, in a time that does not depend on where they differ.
fn is_same_token(one: &str, other: &str) -> bool {
    let differences = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && differences == 0
}

/// One value as one line of JSON.
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("requests and replies have a JSON form");
    bytes.push(b'\n');
    bytes
}

/// The next value; `None` at the end of the stream.
async fn next_line<T: for<'de> Deserialize<'de>>(
    reader: &mut (impl tokio::io::AsyncBufRead + Unpin),
) -> std::io::Result<Option<T>> {
    let mut bytes = Vec::new();
    reader
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut bytes)
        .await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let value = serde_json::from_slice(&bytes);
    value
        .map(Some)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}
