//! `verge site`: what is published.

use super::sign_with::SignWith;
use super::{Data, ask};
use crate::admin::{Request, SiteChange};
use clap::{Args, Subcommand, ValueEnum};
use verge_sync::record::Kind;

/// What can be done with sites.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Create a site for an account.
    Create(Create),
    /// List all sites.
    List(List),
    /// Change how a site is published.
    Set(Set),
    /// List a site's deploys, newest first.
    Versions(Named),
    /// Show how the nodes have served a site of late, roughly: what the others saw when they looked.
    Uptime(Named),
    /// Put an earlier version in place again.
    Rollback(Rollback),
    /// Void what was deployed so far, but for one version: after a node has acted that should not have.
    Reset(Reset),
    /// Take a site down for ever; its names stay with its owner's account.
    Delete(Delete),
    /// Stop serving a site, or an account's sites, on all nodes of this provider; or serve it again.
    Takedown(Takedown),
}

/// `verge site reset`
#[derive(Debug, Args)]
pub struct Reset {
    /// The site's name.
    name: String,
    /// The version to begin with, or its first digits; the one in place if absent.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    #[command(flatten)]
    sign: SignWith,
    #[command(flatten)]
    data: Data,
}

/// `verge site takedown`
#[derive(Debug, Args)]
pub struct Takedown {
    /// The site's name or id, or `account:NAME`.
    target: String,
    /// Why, for the others.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// End an earlier takedown.
    #[arg(long)]
    lift: bool,
    #[command(flatten)]
    data: Data,
}

/// `verge site create`
#[derive(Debug, Args)]
pub struct Create {
    /// The site's name: its label under the region's site zone, and what is pushed to.
    name: String,
    /// The account that it belongs to.
    #[arg(long, value_name = "ACCOUNT")]
    owner: String,
    /// A further host that it answers to; may be given several times. For a domain of the
    /// publisher's own the answer names the DNS record to make.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    data: Data,
}

/// `verge site list`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    data: Data,
}

/// `verge site set`
#[derive(Debug, Args)]
pub struct Set {
    /// The site's name.
    name: String,
    /// The branch that is published; "" for the first of `pages`, `main`, `master`.
    #[arg(long)]
    branch: Option<String>,
    /// Whether a push may rewrite history.
    #[arg(long, value_name = "true|false")]
    force: Option<bool>,
    /// Who may take the whole site out as one archive.
    #[arg(long)]
    takeout: Option<Takeout>,
    /// Bytes that the site's kept versions may take.
    #[arg(long, value_name = "BYTES")]
    quota_bytes: Option<u64>,
    /// Whose nodes may hold the key of the site's certificate: `all`, `none`, or provider ids.
    #[arg(long, value_delimiter = ',', value_name = "WHO")]
    admit: Option<Vec<String>>,
    /// Leave the site out of lists.
    #[arg(long, value_name = "true|false")]
    private: Option<bool>,
    /// Add a host that the site answers to; may be given several times. For a domain of the
    /// publisher's own the answer names the DNS record to make; given again, the node looks for that
    /// record at once.
    #[arg(long = "add-host", value_name = "HOST")]
    add_hosts: Vec<String>,
    /// Give a host up; may be given several times.
    #[arg(long = "remove-host", value_name = "HOST")]
    remove_hosts: Vec<String>,
    #[command(flatten)]
    data: Data,
}

/// Who may take a site out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Takeout {
    /// Its owner.
    Owner,
    /// Anybody.
    Public,
}

/// A site by name.
#[derive(Debug, Args)]
pub struct Named {
    /// The site's name.
    name: String,
    #[command(flatten)]
    data: Data,
}

/// `verge site rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// The site's name.
    name: String,
    /// The version, or its first digits, as `verge site versions` shows it.
    /// Without it: the version before the one in place.
    version: Option<String>,
    #[command(flatten)]
    data: Data,
}

/// `verge site delete`
#[derive(Debug, Args)]
pub struct Delete {
    /// The site's name.
    name: String,
    /// The name once more: a deleted site cannot come back.
    #[arg(long, value_name = "NAME")]
    confirm: String,
    #[command(flatten)]
    data: Data,
}

impl SiteCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(Create {
                name,
                owner,
                hosts,
                data,
            }) => ask(&data, &Request::SiteCreate { name, owner, hosts }),
            Self::List(list) => ask(&list.data, &Request::SiteList),
            Self::Set(set) => set.run(),
            Self::Versions(Named { name, data }) => ask(&data, &Request::SiteVersions { name }),
            Self::Uptime(Named { name, data }) => ask(&data, &Request::SiteUptime { name }),
            Self::Rollback(Rollback {
                name,
                version,
                data,
            }) => ask(&data, &Request::SiteRollback { name, version }),
            Self::Reset(reset) => reset.run(),
            Self::Takedown(Takedown {
                target,
                reason,
                lift,
                data,
            }) => {
                let request = Request::Takedown {
                    target,
                    reason,
                    lift,
                };
                ask(&data, &request)
            }
            Self::Delete(Delete {
                name,
                confirm,
                data,
            }) => {
                if confirm != name {
                    anyhow::bail!("to delete the site for ever, add --confirm {name}");
                }
                ask(&data, &Request::SiteDelete { name })
            }
        }
    }
}

impl Reset {
    fn run(self) -> anyhow::Result<()> {
        let request = |signer| Request::SiteReset {
            name: self.name.clone(),
            version: self.to.clone(),
            signer,
        };
        self.sign.ask(&self.data, &[Kind::SITE], request)
    }
}

impl Set {
    fn run(self) -> anyhow::Result<()> {
        let change = SiteChange {
            branch: self.branch,
            force: self.force,
            takeout_public: self.takeout.map(|takeout| takeout == Takeout::Public),
            admit: self.admit,
            private: self.private,
            quota_bytes: self.quota_bytes,
            add_hosts: self.add_hosts,
            remove_hosts: self.remove_hosts,
        };
        if change == SiteChange::default() {
            anyhow::bail!("nothing to change: see `verge site set --help`");
        }
        ask(
            &self.data,
            &Request::SiteSet {
                name: self.name,
                change,
            },
        )
    }
}
