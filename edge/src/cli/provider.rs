//! `verge provider`: who runs the region.

use super::{Data, ask, block_on};
use crate::admin::{self, AdminError, LINE_BYTES_MAX, ProviderRequest, Request};
use crate::node_keys::{PROVIDER_KEY_FILE, read_provider_key};
use crate::signing::{self, SignedLine, ToSignLine};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use verge_sync::store::{create_file_durably, remove_file_durably};

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
    /// The provider's key: move it off the node.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Sign what a node without the provider's key asks for; needs no node.
    Sign(Sign),
}

/// `verge provider key`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Move provider.key out of the data directory; the node goes on without it.
    Move(MoveKey),
}

/// `verge provider key move`
#[derive(Debug, Args)]
pub struct MoveKey {
    /// Where it goes, such as a stick that is kept in a drawer; nothing may be there.
    file: PathBuf,
    #[command(flatten)]
    data: Data,
}

/// `verge provider sign`
#[derive(Debug, Args)]
pub struct Sign {
    /// The provider's key, where it was moved to.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The line that begins with VERGE-SIGN1; `-` reads it from standard input.
    request: String,
    /// Sign without a question.
    #[arg(long)]
    yes: bool,
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
            Self::Key(KeyCommand::Move(moved)) => moved.run(),
            Self::Sign(sign) => sign.run(),
        }
    }
}

impl MoveKey {
    /// The copy is durable before the original goes: a stop in between leaves both.
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    fn run(self) -> anyhow::Result<()> {
        let data = &self.data.directory;
        let from = data.join(PROVIDER_KEY_FILE);
        let key = read_provider_key(&from)
            .with_context(|| format!("no provider's key to move in {}", data.display()))?;
        let folder = self.file.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let folder = folder.canonicalize();
        let folder =
            folder.with_context(|| format!("look at the folder of {}", self.file.display()))?;
        let data_folder = data.canonicalize();
        if folder.starts_with(data_folder.with_context(|| format!("look at {}", data.display()))?) {
            bail!(
                "{} is in the data directory: choose a place off the node",
                self.file.display()
            );
        }
        if self.file.symlink_metadata().is_ok() {
            bail!(
                "{} is there already, and is not replaced",
                self.file.display()
            );
        }
        create_file_durably(&self.file, key.to_bytes().as_slice(), 0o600)?;
        remove_file_durably(&from)?;
        println!("provider  {}", key.provider());
        println!(
            "The key is in {} now, and nowhere else: keep a copy of it.",
            self.file.display()
        );
        println!(
            "Its old bytes may still lie on the disk of the node until they are written over."
        );
        let forget = Request::Provider(ProviderRequest::ForgetKey);
        let asked =
            block_on(async { Ok(admin::ask(data, &forget, |text| println!("{text}")).await) });
        match asked? {
            Ok(()) | Err(AdminError::NotRunning { .. }) => Ok(()),
            Err(error) => {
                let error = anyhow::Error::new(error);
                Err(error.context(
                    "the key was moved, but the running node still has it in memory: restart it",
                ))
            }
        }
    }
}

impl Sign {
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    fn run(self) -> anyhow::Result<()> {
        let key = read_provider_key(&self.key)?;
        let ToSignLine(draft) = line_argument(&self.request)?.parse()?;
        for text in signing::draft_words(&draft).unwrap_or_default() {
            println!("{text}");
        }
        if draft.envelope.author != key.provider().into() {
            bail!(
                "this asks for the signature of provider {}, and {} is the key of {}",
                draft.envelope.author.provider(),
                self.key.display(),
                key.provider()
            );
        }
        confirm(self.yes, "Sign this with the provider's key?")?;
        let record = draft.sign(key.signing_key())?;
        println!("Take it in on a node of the region: verge record add LINE");
        println!("{}", SignedLine(record));
        Ok(())
    }
}

/// A line given as an argument, or `-` for standard input: one of 100 KiB is a long argument.
pub(super) fn line_argument(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    let stdin = std::io::stdin().lock();
    let read = stdin.take(LINE_BYTES_MAX).read_to_string(&mut text);
    read.context("read the line from standard input")?;
    Ok(text)
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
