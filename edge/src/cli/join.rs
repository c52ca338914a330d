//! `verge init --join`: a new provider, or a further node of one, comes into a region.

use super::block_on;
use super::node::Init;
use crate::config::{self, Config};
use crate::membership::{Joining, KeptKeys, Ticket, join};
use anyhow::Context;

/// Asks with `ticket` and makes the data directory.
///
/// # Errors
/// In sentences.
#[expect(clippy::print_stdout, reason = "the command line's answer")]
pub(super) fn run(init: &Init, ticket: &str) -> anyhow::Result<()> {
    let ticket: Ticket = ticket.parse()?;
    let data = init.data.directory.clone();
    // The ports of the configuration that is to be, before its zones are known.
    let text = init.config("sites.invalid", "admin.invalid")?;
    let config: Config = toml::from_str(&text).context("the new configuration")?;
    let name = init.node_name.clone().or_else(|| init.provider.clone());
    let joining = Joining {
        data: data.clone(),
        ticket,
        provider: init.provider.clone(),
        contact: init.contact.clone(),
        node: name.unwrap_or_else(|| "node".to_owned()),
        listen: config.listen.nodes,
        public: config.listen.public_nodes,
        kept: KeptKeys {
            seed: init.seed.clone(),
            provider_key: init.provider_key.clone(),
        },
    };
    let joined = block_on(async {
        let tell = |text: &str| println!("{text}");
        let config =
            |zones: &crate::region::Zones| init.config(&zones.site_zone, &zones.admin_zone);
        Ok(join(&joining, tell, config).await?)
    })?;
    println!("region    {}", joined.region);
    println!("provider  {}", joined.provider);
    println!("node      {}", joined.node);
    println!("settings  {}", data.join(config::FILE_NAME).display());
    if let Some(key) = &joined.provider_key {
        println!(
            "Keep a copy of {} where nobody else reads it.",
            key.display()
        );
    }
    println!("Next: verge serve --data {}", data.display());
    Ok(())
}
