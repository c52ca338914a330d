//! `verge statement`: the statement of a month, worked out and verified from files, without a node.

pub(super) mod folder;

use crate::attribution::fees::{FeeProof, with_salts};
use crate::attribution::money::Cents;
use crate::attribution::statement::{self, Statement, read_inputs};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use folder::Folder;
use std::path::PathBuf;
use verge_sync::store::place_tree_durably;

/// What can be done with statements.
#[derive(Debug, Subcommand)]
pub enum StatementCommand {
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
    long_about = "Work a statement out again from the seals in its folder, and compare every byte of it: a single changed digit is named by its file and line. Needs no node and no network. Exit status: 0 if all is as it should be, 1 if not."
)]
pub struct Verify {
    /// The folder of the statement.
    folder: PathBuf,
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

impl StatementCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences; also when something differs.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
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
        let statement = Statement::of(&books)?;
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
        let folder = Folder::read(&self.folder)?;
        let seal_count = folder.seals.len();
        let digest = statement::verify(&folder.files, folder.seals)
            .with_context(|| format!("{} is not what its seals come to", self.folder.display()))?;
        println!(
            "{}: every byte of {} files is what {seal_count} seals come to",
            self.folder.display(),
            folder.files.len()
        );
        println!("digest {digest}");
        Ok(())
    }
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
