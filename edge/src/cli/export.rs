//! `verge export` and `verge import`: sites taken out, at a running node or from the directory of a
//! stopped one, and brought back.

use super::verify::{Stopped, is_not_running};
use super::{Data, block_on};
use crate::admin::Request;
use crate::export::{Exporter, Wanted};
use crate::import::Importing;
use anyhow::Context;
use clap::Args;
use std::path::{Path, PathBuf};

/// `verge export`
#[derive(Debug, Args)]
#[command(
    long_about = "Take sites out to a folder that can be used without Verge: per site its files byte for byte as they were published, its git history as a bundle, and the table of its version; with them every record about the account, its sites, names and deploys, and a README.txt that says how to use each.\n\nWorks on any node of the region, running or stopped. `verge import` brings it back, in this region or another."
)]
pub struct Export {
    /// The site's name.
    #[arg(required_unless_present = "account", conflicts_with = "account")]
    site: Option<String>,
    /// All sites of this account.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// The folder to write, which must not be there yet.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    data: Data,
}

impl Export {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        let to =
            std::path::absolute(&self.to).with_context(|| format!("find {}", self.to.display()))?;
        let wanted = match (self.account, self.site) {
            (Some(account), _) => Wanted::Account(account),
            (None, site) => Wanted::Site(site.unwrap_or_default()),
        };
        let request = Request::Export {
            wanted: wanted.clone(),
            to: to.clone(),
        };
        match super::ask(&self.data, &request) {
            Err(error) if is_not_running(&error) => {
                block_on(stopped(&self.data.directory, &wanted, &to))
            }
            done => done,
        }
    }
}

/// `verge import`
#[derive(Debug, Args)]
#[command(
    long_about = "Bring sites back from a folder that `verge export` wrote, in this region or another, byte for byte.\n\nMakes the sites that are missing, takes their git history in, so that the next push goes on from it, and publishes what was in place: from its commit, if that comes to the same content digest, otherwise from its files. Everything in the folder is compared with its digests before anything is changed. An import that was broken off can be repeated. The node has to run, and to be allowed to read the folder."
)]
pub struct Import {
    /// The folder.
    folder: PathBuf,
    /// The account that the sites are to belong to.
    #[arg(long, value_name = "NAME")]
    account: String,
    /// Another name for the site; only where the folder has one.
    #[arg(long = "as", value_name = "SITE")]
    name: Option<String>,
    #[command(flatten)]
    data: Data,
}

impl Import {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        let folder = std::path::absolute(&self.folder)
            .with_context(|| format!("find {}", self.folder.display()))?;
        let importing = Importing {
            folder,
            account: self.account,
            name: self.name,
        };
        super::ask(&self.data, &Request::Import(importing))
    }
}

/// The same without a node.
#[expect(clippy::print_stdout, reason = "the command line's answer")]
async fn stopped(data: &Path, wanted: &Wanted, to: &Path) -> anyhow::Result<()> {
    let node = Stopped::open(data).await?;
    let exporter = Exporter {
        store: node.store,
        region: node.region,
        histories: node.histories,
    };
    for line in exporter.run(wanted, to).await? {
        println!("{line}");
    }
    Ok(())
}
