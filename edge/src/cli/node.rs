//! `verge init`, `verge serve`, `verge config`, `verge status`: a node's own life.

use super::{Data, ask, zones};
use crate::admin::Request;
use crate::app;
use crate::certificates::Authorities;
use crate::config::{self, Config, ConfigError};
use crate::dns::DnsUpdate;
use crate::error_chain::chain;
use crate::found::{self, Founding, HostProof};
use crate::tls::Certificate;
use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use verge_sync::clock::Clock;

/// `verge init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    pub(super) data: Data,
    /// Found a region of this name.
    #[arg(long, value_name = "NAME", required_unless_present = "join")]
    region: Option<String>,
    /// Join a region, with the ticket that `verge provider invite` or `verge node add` printed there.
    #[arg(
        long,
        value_name = "TICKET",
        conflicts_with_all = ["region", "site_zone", "admin_zone", "host_proof", "test"]
    )]
    join: Option<String>,
    /// With --join: the seed that was kept of a node whose data is lost. It comes back as what it
    /// was; any ticket of the region will do. A seed that lies in an otherwise empty data directory
    /// is taken without this.
    #[arg(long, value_name = "FILE", requires = "join")]
    pub(super) seed: Option<PathBuf>,
    /// With --join: the provider's key that was kept, for a new node in the place of a lost one.
    #[arg(long, value_name = "FILE", requires = "join")]
    pub(super) provider_key: Option<PathBuf>,
    /// The provider that runs this node: a co-operative, a business, a group. Not for a further node
    /// of a provider.
    #[arg(long, value_name = "NAME", required_unless_present = "join")]
    pub(super) provider: Option<String>,
    /// What people call this node; without it the provider's name.
    #[arg(long, value_name = "NAME")]
    pub(super) node_name: Option<String>,
    /// How the provider can be reached by the others: a mail address or a phone number.
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(super) contact: String,
    /// The DNS zone under which every site has its label.
    #[arg(long, default_value = "sites.localhost", value_name = "ZONE")]
    site_zone: String,
    /// The DNS zone of the admin pages; of another registrable domain than the sites.
    #[arg(long, default_value = "admin.localhost", value_name = "ZONE")]
    admin_zone: String,
    /// Accept that pages of any site can set cookies for the admin pages.
    #[arg(long)]
    accept_shared_domain: bool,
    /// How hosts outside the site zone are proved; `none` is for tests and closed networks.
    #[arg(long, value_enum, default_value_t = Proof::Dns)]
    host_proof: Proof,
    /// Mark the region as a test region.
    #[arg(long)]
    test: bool,
    /// Make certificates by a CA of this node's own.
    #[arg(long, value_name = "local")]
    ca: Option<Ca>,
    #[command(flatten)]
    ports: Ports,
    /// Where the other nodes find this one, if not at the addresses of its interfaces: a router's
    /// public address, or a name; may be given several times.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) public_nodes: Vec<String>,
}

/// Where a node listens.
#[derive(Debug, Args)]
pub(super) struct Ports {
    /// Where to listen for plain HTTP; may be given several times.
    #[arg(long = "listen-http", value_name = "ADDRESS:PORT")]
    http: Vec<SocketAddr>,
    /// Where to listen for HTTPS; may be given several times.
    #[arg(long = "listen-https", value_name = "ADDRESS:PORT")]
    https: Vec<SocketAddr>,
    /// Where to listen for `git push`; may be given several times.
    #[arg(long = "listen-ssh", value_name = "ADDRESS:PORT")]
    ssh: Vec<SocketAddr>,
    /// Where to listen for the other nodes of the region, over UDP; may be given several times.
    #[arg(long = "listen-nodes", value_name = "ADDRESS:PORT")]
    nodes: Vec<SocketAddr>,
}

impl Ports {
    /// The keys of `[listen]`, with what was given for them.
    pub(super) fn keys(&self) -> [(&'static str, &Vec<SocketAddr>); 4] {
        [
            ("http", &self.http),
            ("https", &self.https),
            ("ssh", &self.ssh),
            ("nodes", &self.nodes),
        ]
    }

    /// The text of a configuration with these in it, where any were given.
    pub(super) fn put_into(&self, text: &str) -> String {
        let given = self
            .keys()
            .into_iter()
            .filter(|(_, given)| !given.is_empty());
        given.fold(text.to_owned(), |text, (key, addresses)| {
            with_key(&text, key, &addresses_toml(addresses))
        })
    }
}

/// How hosts outside the site zone are proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Proof {
    /// By DNS.
    Dns,
    /// Not at all.
    None,
}

/// Kinds of CA that a node can be for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ca {
    /// Made on first start, kept in the data directory.
    Local,
}

impl Init {
    /// Makes the data directory, the keys, the region and the configuration.
    ///
    /// # Errors
    /// Bad names or zones; a directory that is in use; what the disk said.
    pub fn run(self) -> anyhow::Result<()> {
        match self.join.clone() {
            Some(ticket) => super::join::run(&self, &ticket),
            None => self.found(),
        }
    }

    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    fn found(self) -> anyhow::Result<()> {
        let data = self.data.directory.clone();
        zones::check(&self.site_zone, &self.admin_zone, self.accept_shared_domain)?;
        let config = self.config(&self.site_zone, &self.admin_zone)?;
        let provider = self.provider.unwrap_or_default();
        let made = found::region(&Founding {
            data: data.clone(),
            region: self.region.unwrap_or_default(),
            node: self.node_name.unwrap_or_else(|| provider.clone()),
            provider,
            contact: self.contact,
            site_zone: self.site_zone,
            admin_zone: self.admin_zone,
            host_proof: match self.host_proof {
                Proof::Dns => HostProof::Dns,
                Proof::None => HostProof::None,
            },
            limits: found::Limits::default(),
            policy: String::new(),
            test: self.test,
            config,
        })?;
        println!("region    {}", made.region);
        println!("provider  {}", made.provider);
        println!("node      {}", made.node);
        println!("settings  {}", data.join(config::FILE_NAME).display());
        println!(
            "Keep a copy of {} where nobody else reads it.",
            made.provider_key.display()
        );
        println!("Next: verge serve --data {}", data.display());
        Ok(())
    }

    /// The documented defaults with what the arguments say put in their places.
    pub(super) fn config(&self, site_zone: &str, admin_zone: &str) -> anyhow::Result<String> {
        let mut text = self.ports.put_into(config::TEMPLATE);
        if !self.public_nodes.is_empty() {
            text = with_key(&text, "public_nodes", &format!("{:?}", self.public_nodes));
        }
        text = with_key(&text, "site", &format!("{site_zone:?}"));
        text = with_key(&text, "admin", &format!("{admin_zone:?}"));
        text = with_key(
            &text,
            "accept_shared_domain",
            &self.accept_shared_domain.to_string(),
        );
        if self.ca.is_some() {
            text = with_key(&text, "ca", "\"local\"");
        }
        let config: Config = toml::from_str(&text).context("the new configuration")?;
        config.check()?;
        Ok(text)
    }
}

fn addresses_toml(addresses: &[SocketAddr]) -> String {
    let quoted: Vec<String> = addresses
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    format!("[{}]", quoted.join(", "))
}

/// Puts `value` in the line of `key`, which may be commented out.
fn with_key(text: &str, key: &str, value: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if bare.split_once(" = ").is_some_and(|(name, _)| name == key) {
            out.push_str(&format!("{key} = {value}\n"));
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// `verge serve`
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    data: Data,
}

impl Serve {
    /// Runs the node until SIGTERM or Ctrl-C.
    ///
    /// # Errors
    /// Whatever keeps it from starting.
    pub fn run(self) -> anyhow::Result<()> {
        let config = Config::read(&self.data.directory.join(config::FILE_NAME))?;
        check_around(&self.data.directory, &config)?;
        app::serve(&self.data.directory, config)
    }
}

/// `verge status`
#[derive(Debug, Args)]
pub struct Status {
    /// As one line of JSON.
    #[arg(long)]
    json: bool,
    /// Again after every change, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    data: Data,
}

impl Status {
    /// Asks the running node.
    ///
    /// # Errors
    /// No node runs, or the connection broke.
    pub fn run(self) -> anyhow::Result<()> {
        let Self { json, follow, data } = self;
        ask(&data, &Request::Status { json, follow })
    }
}

/// `verge config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell whether the configuration can work.
    Check(ConfigArguments),
    /// Print the configuration in force, with every key.
    Print(ConfigArguments),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    #[command(flatten)]
    data: Data,
}

impl ConfigCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The first thing in the configuration that cannot work.
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    pub fn run(self) -> anyhow::Result<()> {
        let (Self::Check(arguments) | Self::Print(arguments)) = &self;
        let path = arguments.data.directory.join(config::FILE_NAME);
        let config = Config::read(&path)?;
        match self {
            Self::Check(_) => {
                check_around(&arguments.data.directory, &config)?;
                println!("{} is fine", path.display());
            }
            Self::Print(_) => print!("{}", config.to_toml()),
        }
        Ok(())
    }
}

/// What a configuration needs around it: zones that stand apart, certificate files that fit.
pub(super) fn check_around(data: &Path, config: &Config) -> anyhow::Result<()> {
    let zones = &config.zones;
    if let (Some(site), Some(admin)) = (&zones.site, &zones.admin) {
        zones::check(site, admin, zones.accept_shared_domain).map_err(|error| {
            ConfigError::Value {
                key: "zones",
                why: error.to_string(),
            }
        })?;
    }
    if let Some(update) = &config.dns_update {
        DnsUpdate::open(update, data, Clock::System).map_err(|error| ConfigError::Value {
            key: "dns_update",
            why: chain(&error),
        })?;
    }
    for path in &config.tls.roots {
        check_root(&data.join(path)).map_err(|why| ConfigError::Value {
            key: "tls.roots",
            why,
        })?;
    }
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        Certificate::from_files(&data.join(certificate), &data.join(key)).map_err(|error| {
            ConfigError::Value {
                key: "tls",
                why: chain(&error),
            }
        })?;
    }
    Ok(())
}

fn check_root(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("read {shown}: {error}"))?;
    let usable = Authorities::new(&[pem]);
    usable
        .map(drop)
        .map_err(|error| format!("{shown}: {error}"))
}

/// The line that a node prints once it serves, for whoever started it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// The first address of plain HTTP.
    pub http: Option<SocketAddr>,
    /// The first address of HTTPS.
    pub https: Option<SocketAddr>,
    /// The first address of SSH.
    pub ssh: Option<SocketAddr>,
    /// The first address for other nodes.
    pub nodes: Option<SocketAddr>,
}

impl Ready {
    /// Reads the line back.
    ///
    /// # Errors
    /// It is another line.
    pub fn parse(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split_whitespace();
        ensure!(
            words.next() == Some("ready"),
            "not the line of a ready node: {line:?}"
        );
        let mut ready = Self::default();
        for word in words {
            let (name, address) = word.split_once('=').context("expected NAME=ADDRESS")?;
            let address = Some(address.parse()?);
            match name {
                "http" => ready.http = address,
                "https" => ready.https = address,
                "ssh" => ready.ssh = address,
                "nodes" => ready.nodes = address,
                _ => {}
            }
        }
        Ok(ready)
    }
}

impl std::fmt::Display for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ready")?;
        for (name, address) in [
            ("http", self.http),
            ("https", self.https),
            ("ssh", self.ssh),
            ("nodes", self.nodes),
        ] {
            if let Some(address) = address {
                write!(f, " {name}={address}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_line_is_read_back() {
        let ready = Ready {
            http: None,
            https: Some("127.0.0.1:8443".parse().unwrap()),
            ssh: Some("[::1]:2222".parse().unwrap()),
            nodes: Some("127.0.0.1:4420".parse().unwrap()),
        };
        assert_eq!(Ready::parse(&ready.to_string()).unwrap(), ready);
        assert!(Ready::parse("address in use").is_err());
    }

    #[test]
    fn keys_of_the_template_are_set_in_place() {
        let text = with_key(config::TEMPLATE, "https", "[\"127.0.0.1:1\"]");
        let text = with_key(&text, "ca", "\"local\"");
        let config: Config = toml::from_str(&text).unwrap();
        assert_eq!(config.listen.https, ["127.0.0.1:1".parse().unwrap()]);
        assert!(config.has_own_tls());
    }
}
