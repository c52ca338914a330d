//! `verge account`: people and groups who publish.

use super::sign_with::{Sign, SignWith};
use super::{Data, ask};
use crate::admin::{AccountChange, Request};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use verge_sync::record::Kind;

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an account with the SSH key that it will push with.
    Add(Add),
    /// Add or take away keys; say which providers may act for the account.
    Set(Set),
    /// List all accounts.
    List(List),
    /// Sign what a node asks of a key of an account; needs no node.
    Sign(Sign),
}

/// `verge account add`
#[derive(Debug, Args)]
pub struct Add {
    /// The account's name, such as `ana`.
    name: String,
    /// The SSH public key to log in with (a `.pub` file); may be given several times.
    #[arg(long = "ssh-key", required = true, value_name = "FILE")]
    ssh_keys: Vec<PathBuf>,
    /// A key that signs for the account (an Ed25519 `.pub` file); may be given several times.
    #[arg(long = "signing-key", value_name = "FILE")]
    signing_keys: Vec<PathBuf>,
    #[command(flatten)]
    data: Data,
}

/// `verge account set`
#[derive(Debug, Args)]
pub struct Set {
    /// The account's name.
    name: String,
    /// Add an SSH public key (a `.pub` file).
    #[arg(long, value_name = "FILE")]
    add_ssh_key: Vec<PathBuf>,
    /// Take an SSH public key away (a `.pub` file).
    #[arg(long, value_name = "FILE")]
    remove_ssh_key: Vec<PathBuf>,
    /// Add a key that signs for the account (an Ed25519 `.pub` file).
    #[arg(long, value_name = "FILE")]
    add_signing_key: Vec<PathBuf>,
    /// Take a key away that signs for the account (a `.pub` file).
    #[arg(long, value_name = "FILE")]
    remove_signing_key: Vec<PathBuf>,
    /// Which providers' nodes may act for the account: `all`, `none`, or provider ids.
    /// With `none` every deploy needs the account's own signature.
    #[arg(long, value_delimiter = ',', value_name = "WHO")]
    acts: Option<Vec<String>>,
    #[command(flatten)]
    sign: SignWith,
    #[command(flatten)]
    data: Data,
}

/// `verge account list`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    data: Data,
}

impl AccountCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => {
                let ssh_keys = read_keys(&add.ssh_keys)?;
                let signing_keys = read_keys(&add.signing_keys)?;
                ask(
                    &add.data,
                    &Request::AccountAdd {
                        name: add.name,
                        ssh_keys,
                        signing_keys,
                    },
                )
            }
            Self::Set(set) => set.run(),
            Self::Sign(sign) => sign.run(),
            Self::List(list) => ask(&list.data, &Request::AccountList),
        }
    }
}

impl Set {
    fn run(self) -> anyhow::Result<()> {
        let change = AccountChange {
            add_ssh_keys: read_keys(&self.add_ssh_key)?,
            remove_ssh_keys: read_keys(&self.remove_ssh_key)?,
            add_signing_keys: read_keys(&self.add_signing_key)?,
            remove_signing_keys: read_keys(&self.remove_signing_key)?,
            acts: self.acts,
        };
        if change == AccountChange::default() {
            anyhow::bail!("nothing to change: see `verge account set --help`");
        }
        let request = |signer| Request::AccountSet {
            name: self.name.clone(),
            change: change.clone(),
            signer,
        };
        self.sign.ask(&self.data, &[Kind::ACCOUNT], request)
    }
}

fn read_keys(files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    files.iter().map(|file| read_key(file)).collect()
}

/// Reads a public key file; a private key is refused before it is sent anywhere.
fn read_key(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    if text.contains("PRIVATE KEY") {
        anyhow::bail!(
            "{} is a private key: name the public one, usually {}.pub",
            file.display(),
            file.display()
        );
    }
    let mut lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line.trim().to_owned()),
        (None, _) => anyhow::bail!("{} holds no key", file.display()),
        (Some(_), Some(_)) => {
            anyhow::bail!(
                "{} holds several keys: name a file with one",
                file.display()
            )
        }
    }
}
