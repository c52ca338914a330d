//! `verge statement`: the statement of a month, written and closed on a node; worked out and verified
//! from files without one.

pub(super) mod folder;

use super::{Data, ask};
use crate::accounting::calendar::Month;
use crate::admin::{Request, StatementAct, StatementRequest};
use crate::attribution::fees::{FeeProof, with_salts};
use crate::attribution::money::Cents;
use crate::attribution::statement::{self, Books, read_books, read_inputs};
use crate::closing::{CLOSE_NAME, CloseProof, SIGNATURE_NAME, StatementSignature, check_close};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use folder::Folder;
use std::path::{Path, PathBuf};
use verge_sync::Digest;
use verge_sync::store::place_tree_durably;

/// `verge statement`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    long_about = "The statement of a month.\n\n`verge statement 2026-11` writes the statement of a month of this node's region to a new folder: statement.txt, statement.json, rows.csv, journal.hledger, summary.html, a bill for each account, the inputs, and the node's signature. Until more than half of the providers have closed the month it is provisional and names the seals that are missing; from then on it is the same on every node, byte for byte.\n\nThe other commands close a month, and make, verify and check statements from files, without a node."
)]
pub struct Statement {
    #[command(subcommand)]
    command: Option<StatementCommand>,
    #[command(flatten)]
    of_month: OfMonth,
    /// Where the statement goes; nothing may be there. The month's name in this directory if absent.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A month of the region, at its node.
#[derive(Debug, Args)]
pub struct OfMonth {
    /// The month, such as 2026-11.
    #[arg(required = true)]
    month: Option<String>,
    /// The fees of the month: a row owner,amount,salt for each account, the salts as `verge statement
    /// salt` adds them. If absent those that this node was given for the month before, or nothing for
    /// everybody.
    #[arg(long, value_name = "FILE")]
    fees: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

/// What can be done with statements.
#[derive(Debug, Subcommand)]
pub enum StatementCommand {
    /// Propose to close a month: what it then says is final once more than half of the providers have
    /// signed it.
    #[command(
        long_about = "Propose to close a month that is over, with the provider's key. Works its statement out of the seals that this node has, names those that are missing, and signs what comes of it; more than half of the providers make it final, each with `verge statement sign`. Proposed again it replaces what this provider proposed before.\n\nRefused: a month that is not over, a policy without [statement], fees with a row that cannot be, a month that is closed, and a node that has not yet all rows of the seals that it knows of. Without the provider's key it prints the line that `verge provider sign` signs."
    )]
    Close(OfMonth),
    /// Sign the close of a month, after this node has worked it out and found the same.
    #[command(
        long_about = "Sign the close that another provider proposed for a month. The node works the statement out of its own records, seals and the fees that it is given, and signs only what is the same, byte for byte; otherwise it says what differs, such as which seals are only on one side. A provider that has signed another close of the month takes that back first: for two it would count for neither."
    )]
    Sign(OfMonth),
    /// Work a statement out from a folder of inputs, and write it to a new folder.
    Make(Make),
    /// Work a statement out again from the seals in its folder, and compare every byte of it.
    Verify(Verify),
    /// Add to each row of a file of fees the random salt that keeps amounts from being guessed.
    Salt(Salt),
    /// Check the line of a bill that shows that its fee is among the fees of the month.
    Fee(Fee),
}

/// `verge statement make`
#[derive(Debug, Args)]
#[command(
    long_about = "Work a statement out from a folder of inputs, and write it to a new folder: statement.txt, statement.json, rows.csv, journal.hledger, summary.html, a bill for each account, and the inputs once more, so that whoever has the folder can verify it.\n\nThe inputs are inputs/region.json, policy.toml, fees.csv, held.csv and seals/*.seal; docs/format.md has each. The same inputs give the same bytes everywhere. Bills and fees are for those whom they concern: only summary.html may be public."
)]
pub struct Make {
    /// A folder with inputs/ in it, such as that of another statement.
    from: PathBuf,
    /// The fees of the month, instead of those in inputs/fees.csv.
    #[arg(long, value_name = "FILE")]
    fees: Option<PathBuf>,
    /// Where the statement goes; nothing may be there.
    to: PathBuf,
}

/// `verge statement verify`
#[derive(Debug, Args)]
#[command(
    long_about = "Work a statement out again from the seals in its folder, and compare every byte of it: a single changed digit is named by its file and line. Then check who signed it (statement.sig), and that more than half of the providers closed the month with it (close.records). Needs no node and no network. Exit status: 0 if all is as it should be, 1 if not."
)]
pub struct Verify {
    /// The folder of the statement.
    folder: PathBuf,
    /// The records of the close, if they are not in the folder (close.records): the close and the votes
    /// for it.
    #[arg(long, value_name = "FILE")]
    close: Option<PathBuf>,
}

/// `verge statement salt`
#[derive(Debug, Args)]
pub struct Salt {
    /// A file of fees: owner,amount and a row for each account. Rows that have a salt keep it.
    file: PathBuf,
}

/// `verge statement fee`
#[derive(Debug, Args)]
pub struct Fee {
    /// The line of the bill that begins with VERGE-FEE1.
    line: String,
    /// The root of the fees' rows, as the statement or the close of the month has it.
    #[arg(long)]
    root: Option<String>,
}

impl Statement {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        if let Some(command) = self.command {
            return command.run();
        }
        let to = match (self.out, &self.of_month.month) {
            (Some(out), _) => out,
            (None, month) => PathBuf::from(month.clone().unwrap_or_default()),
        };
        let to = absolute(&to)?;
        self.of_month.ask(StatementAct::Write(to))
    }
}

impl OfMonth {
    fn ask(self, act: StatementAct) -> anyhow::Result<()> {
        let month = self.month.unwrap_or_default();
        // A slip is noticed also where no node runs.
        let _month: Month = month.parse()?;
        let fees = self.fees.map(|path| absolute(&path)).transpose()?;
        ask(
            &self.data,
            &Request::Statement(StatementRequest { month, fees, act }),
        )
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("find {}", path.display()))
}

impl StatementCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences; also when something differs.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Close(of) => of.ask(StatementAct::Close),
            Self::Sign(of) => of.ask(StatementAct::Sign),
            Self::Make(make) => make.run(),
            Self::Verify(verify) => verify.run(),
            Self::Salt(salt) => salt.run(),
            Self::Fee(fee) => fee.run(),
        }
    }
}

impl Make {
    #[expect(clippy::print_stdout, reason = "the answer of a command")]
    fn run(self) -> anyhow::Result<()> {
        let mut folder = Folder::read(&self.from)?;
        if let Some(path) = &self.fees {
            folder.replace_fees(path)?;
        }
        let books = read_inputs(&folder.files, folder.seals)
            .with_context(|| self.from.display().to_string())?;
        let statement = statement::Statement::of(&books)?;
        let staging = folder::beside(&self.to)?;
        folder::write(&staging, &statement.files(), &books.seals)?;
        if let Err(error) = place_tree_durably(&staging, &self.to) {
            folder::discard(&staging);
            return Err(error.into());
        }
        let state = if books.is_closed {
            "closed"
        } else {
            "provisional"
        };
        println!("{} is {state}, in {}", books.month, self.to.display());
        for note in statement.notes() {
            println!("note: {note}");
        }
        println!("digest {}", statement.digest());
        Ok(())
    }
}

impl Verify {
    #[expect(clippy::print_stdout, reason = "the answer of a command")]
    fn run(self) -> anyhow::Result<()> {
        let mut folder = Folder::read(&self.folder)?;
        let signatures = folder.files.remove(SIGNATURE_NAME);
        let records = folder.files.remove(CLOSE_NAME);
        let records = match &self.close {
            Some(path) => Some(folder::read_bytes(path)?),
            None => records,
        };
        let seal_count = folder.seals.len();
        let digest = statement::verify(&folder.files, folder.seals)
            .with_context(|| format!("{} is not what its seals come to", self.folder.display()))?;
        println!(
            "{}: every byte of {} files is what {seal_count} seals come to",
            self.folder.display(),
            folder.files.len()
        );
        println!("digest {digest}");
        let books = read_books(&folder.files)?;
        match signatures {
            Some(bytes) => say_signers(&books, &digest, &String::from_utf8_lossy(&bytes))?,
            None => println!("no node has signed it ({SIGNATURE_NAME})"),
        }
        match records {
            Some(bytes) => say_close(&books, &digest, &String::from_utf8_lossy(&bytes))?,
            None if books.is_closed => println!(
                "it says that the month is closed; its records ({CLOSE_NAME}, or --close FILE) would show it"
            ),
            None => println!("it is provisional: the month is not closed"),
        }
        Ok(())
    }
}

/// Who signed the statement; nobody else than nodes of the region.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say_signers(books: &Books, digest: &Digest, text: &str) -> anyhow::Result<()> {
    let nodes = StatementSignature::read_all(text, &books.region, digest);
    for node in nodes.context(SIGNATURE_NAME)? {
        let Some(provider) = books.nodes.get(&node) else {
            bail!("{SIGNATURE_NAME}: {node} is no node of the region");
        };
        let name = books
            .providers
            .get(provider)
            .map_or("", |of| of.name.as_str());
        println!("signed by node {} of {name:?}", node.short());
    }
    Ok(())
}

/// Whether more than half of the providers closed the month with just this statement.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say_close(books: &Books, digest: &Digest, text: &str) -> anyhow::Result<()> {
    let CloseProof { body, signers } =
        check_close(text, &books.region).context("the records of the close")?;
    if body.month != books.month || body.statement != *digest {
        bail!(
            "the month {} was closed with the statement {}, which is not this one",
            body.month,
            body.statement
        );
    }
    let providers = books.providers.iter();
    let present: Vec<_> = providers
        .filter(|(_, of)| of.provider.is_in_good_standing)
        .collect();
    let signed = present.iter().filter(|(id, _)| signers.contains(id));
    let names: Vec<String> = signed.map(|(_, of)| format!("{:?}", of.name)).collect();
    if names.len() * 2 <= present.len() {
        bail!(
            "only {} of {} providers signed the close: {}",
            names.len(),
            present.len(),
            names.join(", ")
        );
    }
    println!(
        "closed by {} of {} providers: {}",
        names.len(),
        present.len(),
        names.join(", ")
    );
    Ok(())
}

impl Salt {
    #[expect(clippy::print_stdout, reason = "the answer of a command")]
    fn run(self) -> anyhow::Result<()> {
        let text = folder::read_text(&self.file)?;
        let mut failed = None;
        let salted = with_salts(&text, || {
            let mut salt = [0; 16];
            failed = getrandom::fill(&mut salt).err().or(failed);
            salt
        });
        let salted = salted.with_context(|| self.file.display().to_string())?;
        if let Some(error) = failed {
            bail!("the system gives no random bytes: {error}");
        }
        print!("{salted}");
        Ok(())
    }
}

impl Fee {
    #[expect(clippy::print_stdout, reason = "the answer of a command")]
    fn run(self) -> anyhow::Result<()> {
        let proof: FeeProof = self.line.parse()?;
        let root = proof
            .root()
            .context("the line shows no row of any fees")?
            .to_string();
        if let Some(expected) = self.root.filter(|expected| *expected != root) {
            bail!("the line is of fees with the root {root}, not {expected}");
        }
        let Cents(cents) = proof.fee.cents;
        println!("account {} paid {cents} of the smallest unit", proof.owner);
        println!(
            "it is row {} of {} of the fees with the root {root}",
            proof.index.saturating_add(1),
            proof.count
        );
        Ok(())
    }
}
