//! `verge provider`: who runs the region.

use super::{Data, ask};
use crate::admin::{ProviderRequest, Request};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::io::{BufRead, IsTerminal, Write};

/// What can be done with providers.
#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Print a ticket with which a new provider asks to join: a line, and a QR code.
    Invite(Invite),
    /// List the providers, and who asks to become one.
    List(List),
    /// Agree that a newcomer becomes a provider, after a look at the six words of its key.
    Approve(Approve),
    /// Leave the region with all of this provider's nodes, for good.
    Leave(Leave),
}

/// `verge provider invite`
#[derive(Debug, Args)]
pub struct Invite {
    /// Void every ticket of this node instead.
    #[arg(long)]
    void: bool,
    #[command(flatten)]
    data: Data,
}

/// `verge provider list`
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    data: Data,
}

/// `verge provider approve`
#[derive(Debug, Args)]
pub struct Approve {
    /// The newcomer's name, or the beginning of its id; see `verge provider list`.
    who: String,
    /// Agree without a question: the words were compared before.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    data: Data,
}

/// `verge provider leave`
#[derive(Debug, Args)]
pub struct Leave {
    /// Why, for the others.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    /// Leave without a question.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    data: Data,
}

impl ProviderCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        let send = |data: &Data, request| ask(data, &Request::Provider(request));
        match self {
            Self::Invite(Invite { void: true, data }) => send(&data, ProviderRequest::Void),
            Self::Invite(invite) => send(&invite.data, ProviderRequest::Invite),
            Self::List(list) => send(&list.data, ProviderRequest::List),
            Self::Approve(approve) => {
                let who = approve.who;
                let show = ProviderRequest::Show { who: who.clone() };
                send(&approve.data, show)?;
                let question = "Do the newcomers read out the same six words?";
                confirm(approve.yes, question)?;
                send(&approve.data, ProviderRequest::Approve { who })
            }
            Self::Leave(leave) => {
                let question = "All nodes of this provider stop being members, for good. Leave?";
                confirm(leave.yes, question)?;
                let reason = leave.reason;
                send(&leave.data, ProviderRequest::Leave { reason })
            }
        }
    }
}

/// Asks a person, where there is one.
pub(super) fn confirm(is_certain: bool, question: &str) -> anyhow::Result<()> {
    if is_certain {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("{question} Say so with --yes");
    }
    let mut output = std::io::stdout().lock();
    write!(output, "{question} [y/N] ").context("ask")?;
    output.flush().context("ask")?;
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .context("read the answer")?;
    if answer.trim().eq_ignore_ascii_case("y") {
        Ok(())
    } else {
        bail!("nothing was changed")
    }
}
