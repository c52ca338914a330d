//! Signing with a key of an account: `--sign-with`, and `verge account sign` where no node is.

use super::provider::{confirm, line_argument};
use super::{Data, ask, block_on};
use crate::admin::{self, AdminError, RecordRequest, Request};
use crate::region::Signer;
use crate::signing::{self, OwnKey, SignedLine, ToSignLine, to_sign_in};
use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;
use verge_sync::record::{Body, Draft, Kind};

/// A new epoch, and what follows it.
pub(super) const ROUND_COUNT_MAX: usize = 3;

/// Who signs, for what an account can sign by itself.
#[derive(Debug, Args)]
pub struct SignWith {
    /// Sign with this key of the account: an Ed25519 private key of OpenSSH, the public half of one
    /// that ssh-agent has, or a file of 32 raw bytes. The node never sees it.
    #[arg(long, value_name = "KEY")]
    pub(super) sign_with: Option<PathBuf>,
    /// Print the line that a key of the account, which is elsewhere, is to sign by
    /// `verge account sign`; `verge record add` takes in what that prints.
    #[arg(long, conflicts_with = "sign_with")]
    pub(super) sign_elsewhere: bool,
    /// Sign without a question.
    #[arg(long)]
    pub(super) yes: bool,
}

impl SignWith {
    /// Asks the node, and signs what it answers where that is wanted.
    pub(super) fn ask(
        &self,
        data: &Data,
        kinds: &[Kind],
        request: impl Fn(Signer) -> Request,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.sign_with else {
            let signer = if self.sign_elsewhere {
                Signer::Account
            } else {
                Signer::Member
            };
            return ask(data, &request(signer));
        };
        let key = OwnKey::open(path)?;
        for _ in 0..ROUND_COUNT_MAX {
            let Some(line) = asked(data, &request(Signer::Account))? else {
                return Ok(());
            };
            let draft = read(&line, kinds)?;
            let (kind, signed) = (draft.envelope.kind, sign(&draft, &key, self.yes)?);
            let line = signed.to_string();
            ask(data, &Request::Record(RecordRequest::Add { line }))?;
            // A new epoch comes before what the command is for.
            if Some(&kind) == kinds.first() {
                return Ok(());
            }
        }
        bail!("the node asks for one signature after the other: nothing more was signed")
    }
}

/// What the node answers that is to be signed; the rest is shown.
#[expect(clippy::print_stdout, reason = "the command line's answer")]
fn asked(data: &Data, request: &Request) -> anyhow::Result<Option<String>> {
    let mut found = None;
    let show = |line: &str| match to_sign_in(line) {
        Some(line) => found = Some(line.to_owned()),
        None => println!("{line}"),
    };
    let asked = block_on(async { Ok(admin::ask(&data.directory, request, show).await) })?;
    match (asked, found) {
        (Ok(()), _) => Ok(None),
        (Err(AdminError::Refused(_)), Some(line)) => Ok(Some(line)),
        (Err(error), _) => Err(error.into()),
    }
}

/// What a line asks for, if it is of one of `kinds`: a node that was broken into can ask for anything.
pub(super) fn read(line: &str, kinds: &[Kind]) -> anyhow::Result<Draft> {
    let ToSignLine(draft) = line.parse()?;
    if !kinds.contains(&draft.envelope.kind) {
        bail!("the node asks for a signature of something else than this command is for");
    }
    Ok(draft)
}

/// Says in words what is to be signed, asks, and signs.
#[expect(clippy::print_stdout, reason = "the command line's answer")]
pub(super) fn sign(draft: &Draft, key: &OwnKey, is_certain: bool) -> anyhow::Result<SignedLine> {
    let body = Body::decode(draft.envelope.kind, &draft.body)?;
    for text in signing::words(&draft.envelope, &body) {
        println!("{text}");
    }
    confirm(is_certain, "Sign this with the account's key?")?;
    Ok(SignedLine(key.sign(draft)?))
}

/// `verge account sign`
#[derive(Debug, Args)]
pub struct Sign {
    /// The account's key: an Ed25519 private key of OpenSSH, the public half of one that ssh-agent
    /// has, or a file of 32 raw bytes.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// The line that begins with VERGE-SIGN1; `-` reads it from standard input.
    request: String,
    /// Sign without a question.
    #[arg(long)]
    yes: bool,
}

impl Sign {
    /// Needs no node and no network.
    ///
    /// # Errors
    /// In sentences.
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    pub fn run(self) -> anyhow::Result<()> {
        let key = OwnKey::open(&self.key)?;
        let kinds = [Kind::DEPLOY, Kind::ACCOUNT, Kind::SITE];
        let line = line_argument(&self.request)?;
        let draft = read(&line, &kinds).context("this is not for a key of an account")?;
        let signed = sign(&draft, &key, self.yes)?;
        println!("Take it in on the node that asked: verge record add LINE");
        println!("{signed}");
        Ok(())
    }
}
