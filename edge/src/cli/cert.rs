//! `verge cert`: the certificates of the region.

use super::{Data, ask};
use crate::acme::ExternalAccount;
use crate::admin::{CertRequest, Request};
use crate::certificates::Plan;
use anyhow::Context;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Let the region's certificates be ordered: makes an account at an authority (Let's Encrypt
    /// unless another is named), and names the nodes that order.
    Setup(Setup),
    /// List the hosts of the region, and how long their certificates last.
    List(List),
    /// Show where the certificate of a host comes from, and which nodes have its key.
    Show(OfHost),
    /// Order a new certificate for a host now, without waiting for its time.
    Renew(OfHost),
    /// Order a certificate for a signing request of your own, on a node that orders, and print its chain:
    /// no node sees the key, until you bring both to the nodes that your site admits (`import`).
    Order(Order),
    /// Give the region's account at the authority another key: on an issuer, when a node that was one
    /// is none any more.
    Rollover(List),
    /// Bring a certificate of your own for the hosts of one site: its key goes, sealed, to the nodes
    /// that the site admits, and to no issuer beside them.
    Import(Import),
}

/// `verge cert setup`
#[derive(Debug, Args)]
pub struct Setup {
    /// Whom the authority writes to if something is wrong, such as steward@example.org; may be given
    /// several times.
    #[arg(long, value_name = "MAIL")]
    contact: Vec<String>,
    /// Agree to the authority's terms, which it names when this is missing.
    #[arg(long)]
    agree: bool,
    /// The authority: `letsencrypt`, `letsencrypt-staging` (for trials), or the URL of an ACME
    /// directory.
    #[arg(long = "directory", value_name = "URL", default_value = "letsencrypt")]
    authority: String,
    /// A node that orders: two or three of different providers are right; this node if none is named.
    #[arg(long, value_name = "NODE")]
    issuer: Vec<String>,
    /// A node that may change the region's DNS zone (`[dns_update]` in its config.toml): the labels of
    /// all sites that admit every provider then have one certificate together.
    #[arg(long, value_name = "NODE")]
    dns: Vec<String>,
    /// The id of the key that ties the account to one that the authority knows already ("external account
    /// binding"): most authorities beside Let's Encrypt want that, and show both on a page of theirs.
    #[arg(long, value_name = "ID", requires = "eab_key_file")]
    eab_kid: Option<String>,
    /// A file with that key, as the authority shows it; it is needed this once, and kept nowhere.
    #[arg(long, value_name = "FILE", requires = "eab_kid")]
    eab_key_file: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

/// `verge cert list`, `verge cert rollover`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    data: Data,
}

/// `verge cert show`, `verge cert renew`
#[derive(Debug, Args)]
pub struct OfHost {
    /// The host.
    host: String,
    #[command(flatten)]
    data: Data,
}

/// `verge cert order`
#[derive(Debug, Args)]
pub struct Order {
    /// A PEM file: the certificate signing request, for hosts of the region.
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    #[command(flatten)]
    data: Data,
}

/// `verge cert import`
#[derive(Debug, Args)]
pub struct Import {
    /// A PEM file: the certificate and its chain.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// A PEM file: its private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    data: Data,
}

impl CertCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        let (data, request) = match self {
            Self::Setup(setup) => {
                let external = setup.external()?;
                let plan = Plan {
                    directory: setup.authority,
                    contacts: setup.contact.iter().map(|mail| contact(mail)).collect(),
                    issuers: setup.issuer,
                    dns: setup.dns,
                    agrees: setup.agree,
                    external,
                };
                (setup.data, CertRequest::Setup { plan })
            }
            Self::List(List { data }) => (data, CertRequest::List),
            Self::Order(Order { request, data }) => {
                let request = read(&request)?;
                (data, CertRequest::Order { request })
            }
            Self::Rollover(List { data }) => (data, CertRequest::Rollover),
            Self::Show(OfHost { host, data }) => (data, CertRequest::Show { host }),
            Self::Renew(OfHost { host, data }) => (data, CertRequest::Renew { host }),
            Self::Import(Import {
                certificate,
                key,
                data,
            }) => {
                let (chain, key) = (read(&certificate)?, read(&key)?);
                (data, CertRequest::Import { chain, key })
            }
        };
        ask(&data, &Request::Cert(request))
    }
}

impl Setup {
    fn external(&self) -> anyhow::Result<Option<ExternalAccount>> {
        let (Some(id), Some(path)) = (&self.eab_kid, &self.eab_key_file) else {
            return Ok(None);
        };
        let key = zeroize::Zeroizing::new(read(path)?);
        let external = ExternalAccount::new(id, &key);
        Ok(Some(external.with_context(|| path.display().to_string())?))
    }
}

fn contact(mail: &str) -> String {
    if mail.contains(':') {
        mail.to_owned()
    } else {
        format!("mailto:{mail}")
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
