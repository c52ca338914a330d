//! Publishing by SSH: takes `git push` and `git fetch`, and asks the node what they mean.
//!
//! A tour, in the order of a push: `ssh` logs a key in and reads one command; `push` waits
//! for the site's turn and starts git; git puts the objects into quarantine and runs the hook;
//! `hook_socket` is where the hook finds the node; `refs` decides; the [`Publisher`] builds
//! and deploys; only then does git move the refs.
//!
//! What it owns: the listeners, one task per connection, one per running command, the hook
//! socket, the bare repositories under `DATA/git` (a cache) and `DATA/hooks`. [`Receiver::stop`]
//! ends all of it. A crash loses nothing but the pushes under way: their pushers see a refusal,
//! and what they left behind is removed before the site's next push.

mod catch_up;
mod command;
mod converse;
mod door;
mod entrance;
pub(crate) mod fuzzing;
mod git;
mod histories;
pub mod history;
pub(crate) mod hook_line;
mod hook_socket;
mod judge;
mod limits;
pub(crate) mod options;
mod pace;
mod push;
mod push_queue;
mod quarantine;
mod refs;
mod ssh;
mod upkeep;
mod words;

pub use door::{Receiver, host_public_key};
pub use git::program as git_program;
pub use histories::Histories;
pub use history::{Bundled, HistoryError, PushedHistory};
pub use limits::Limits;
pub(crate) use upkeep::repositories_bytes;

use crate::region::SiteHistory;
use crate::signing::Signing;
use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use verge_sync::store::Store;
use verge_sync::{AccountId, Digest, SiteId};

/// A future in a box, so that [`Publisher`] can be a trait object.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What an authorised key may do with a named site.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The site.
    pub site: SiteId,
    /// Whose key it is.
    pub account: AccountId,
    /// The branch that visitors see, if the site was set to one.
    pub branch: Option<String>,
    /// Whether a push may rewrite published history.
    pub force: bool,
    /// The commit that visitors see now, in hexadecimal.
    pub published_commit: Option<String>,
}

/// A commit that git has checked and that no ref names yet.
#[derive(Debug, Clone)]
pub struct PushedCommit {
    /// The site it was pushed to.
    pub site: SiteId,
    /// Who pushed it.
    pub account: AccountId,
    /// The site's bare repository.
    pub git_dir: PathBuf,
    /// Variables with which git finds the objects that are still in quarantine.
    pub objects_env: Vec<(OsString, OsString)>,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The commit, in hexadecimal.
    pub commit: String,
    /// How its history is passed on, where there is a store to put it into.
    pub history: Option<PushedHistory>,
    /// Who signs the deploy.
    pub signing: Signing,
}

/// The node behind the door: who may push, and what becomes of a push.
pub trait Publisher: Send + Sync + 'static {
    /// What this key may do with the site of this name. `None` for a key without rights *and*
    /// for a site that does not exist: the pusher gets the same answer.
    fn grant(&self, key_sha256: &[u8; 32], site_name: &str) -> Option<Grant>;

    /// Whether any account has this key: others are not let in at all.
    fn knows_key(&self, key_sha256: &[u8; 32]) -> bool;

    /// Whether this site exists; the repository of one that does not is removed.
    fn has_site(&self, site: &SiteId) -> bool;

    /// Where a site's history stands, as the records of the region say.
    fn history(&self, _site: &SiteId) -> SiteHistory {
        SiteHistory::default()
    }

    /// Where histories are; without a store no history leaves the node or comes to it.
    fn store(&self) -> Option<&Store> {
        None
    }

    /// A part of a history is not here, or no more: other nodes may have it.
    fn ask_for(&self, _blob: Digest) {}

    /// Builds and deploys. Log lines go to `log` as they appear; `Ok` has the last lines (URL,
    /// holders), `Err` the sentences that refuse the push. The future is dropped when the pusher
    /// goes away before it ends: it must then have deployed or have left nothing.
    fn publish(
        &self,
        push: PushedCommit,
        log: mpsc::Sender<String>,
    ) -> BoxFuture<Result<Vec<String>, Vec<String>>>;
}

/// How receiving is set up.
#[derive(Clone)]
pub struct Config {
    /// Addresses to listen on; port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// The node's data directory, which exists.
    pub data_dir: PathBuf,
    /// The `verge` binary, which children run as `verge confine` and `verge hook`.
    pub program: PathBuf,
    /// From which the Ed25519 host key is made; secret.
    pub host_secret: [u8; 32],
    /// What pushers may use.
    pub limits: Limits,
}

/// Why receiving could not start, or a command could not be run. Never the pusher's fault.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The disk or the network refused.
    #[error("{verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The address is taken or not ours.
    #[error("listen on {address} for SSH")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The host key could not be made.
    #[error("make the SSH host key")]
    HostKey(#[source] russh::keys::ssh_key::Error),
    /// Git is not installed.
    #[error("git is not in {0}: install it (Debian: apt install git)")]
    GitMissing(&'static str),
    /// Git did not answer a short question in time.
    #[error("git did not answer in time")]
    GitSilent,
    /// Git could not make or change a repository.
    #[error("git could not set up {}", .0.display())]
    Repository(PathBuf),
    /// A Unix socket's path is limited by the kernel.
    #[error("{} is too long for a socket (107 bytes): choose a shorter data directory", .0.display())]
    SocketPath(PathBuf),
    /// Without hooks git would take every push unseen.
    #[error("{} cannot be executed: is the data directory mounted noexec?", .0.display())]
    HookNotExecutable(PathBuf),
}

impl ReceiveError {
    fn io(verb: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    }
}

/// Starts to listen for pushes and fetches.
///
/// # Errors
///
/// When git is missing, an address is taken, or the data directory cannot hold hooks.
pub async fn start(
    config: Config,
    publisher: Arc<dyn Publisher>,
) -> Result<Receiver, ReceiveError> {
    if !crate::cli::confine::landlock_supported() {
        tracing::warn!("this kernel has no Landlock: git runs under resource limits only");
    }
    if rustix::process::geteuid().is_root() {
        tracing::warn!("this node runs as root, and so does its git: give it a user of its own");
    }
    let desk = push::Desk::open(&config, publisher).await?;
    desk.sweep().await?;
    door::listen(&config, Arc::new(desk)).await
}
