//! `verge region fork`: the way out of a region whose majority is lost for good.

use super::Data;
use super::node::Ports;
use crate::config::{self, Config};
use crate::fork::{Forking, region};
use anyhow::{Context, ensure};
use clap::Args;
use std::path::PathBuf;

/// `verge region fork`
#[derive(Debug, Args)]
pub struct Fork {
    /// The new data directory.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The new region's name.
    #[arg(long, value_name = "NAME")]
    region: String,
    /// The provider that runs the node: the only one of the new region.
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// What people call the node; without it the provider's name.
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// How the provider can be reached: a mail address or a phone number.
    #[arg(long, default_value = "", value_name = "TEXT")]
    contact: String,
    // Where nothing is given the node listens where the old one does.
    #[command(flatten)]
    ports: Ports,
    #[command(flatten)]
    data: Data,
}

impl Fork {
    /// Carries it out; no node runs meanwhile.
    ///
    /// # Errors
    /// In sentences.
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let forking = Forking {
            old: self.data.directory.clone(),
            new: self.to.clone(),
            region: self.region.clone(),
            provider: self.provider.clone(),
            node: self.node_name.clone(),
            contact: self.contact.clone(),
        };
        let (founded, carried) = region(&forking, || self.config())?;
        println!("region    {}", founded.region);
        println!("provider  {}", founded.provider);
        println!("node      {}", founded.node);
        println!(
            "carried   {} accounts, {} sites, {} of them with what they show",
            carried.account_count, carried.site_count, carried.published_count
        );
        for loss in &carried.losses {
            println!("otherwise {loss}");
        }
        println!(
            "otherwise older versions and histories of git stay behind: the next push brings its own"
        );
        println!(
            "otherwise the node has a new SSH key: publishers are warned at their next push, tell them"
        );
        println!(
            "Keep a copy of {} where nobody else reads it.",
            founded.provider_key.display()
        );
        println!("Do not go on with the old region on this node, nor with its directory.");
        println!("Next: verge serve --data {}", self.to.display());
        Ok(())
    }

    /// The old node's settings, with other ports where they are given.
    fn config(&self) -> anyhow::Result<String> {
        let old = self.data.directory.join(config::FILE_NAME);
        let text = std::fs::read_to_string(&old);
        let text = text.with_context(|| format!("read {}", old.display()))?;
        let text = self.ports.put_into(&text);
        let config: Config = toml::from_str(&text).context("the settings of the old node")?;
        config.check()?;
        let listen = &config.listen;
        let found = [&listen.http, &listen.https, &listen.ssh, &listen.nodes];
        for ((key, wanted), found) in self.ports.keys().into_iter().zip(found) {
            ensure!(
                wanted.is_empty() || wanted == found,
                "listen.{key} of {} cannot be set by --listen-{key}: give it a line of its own there",
                old.display()
            );
        }
        let tls = &config.tls;
        for path in [&tls.certificate, &tls.key].into_iter().flatten() {
            ensure!(
                path.is_absolute(),
                "{} names the certificate file {} relative to the old directory: write its whole path there first",
                old.display(),
                path.display()
            );
        }
        Ok(text)
    }
}
