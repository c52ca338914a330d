//! `verge ledger`: one row of a seal, shown to its owner and checked without a node.

use super::statement::folder::{read_bytes, read_seals};
use crate::accounting::figures::{Class, Count};
use crate::accounting::seal::{Proven, RowProof};
use crate::attribution::statement::{SealedDay, read_seal};
use crate::witness::{KEEPSAKE_BYTES_MAX, Keepsake, Link};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use verge_sync::store::{create_file_durably, write_file_durably};

/// What can be done with what nodes sealed.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Write the proof that a seal has a site's row: about 1 KB, for the site's owner to keep.
    Prove(Prove),
    /// Check such a proof, and say what it shows.
    Verify(Verify),
    /// Remember the last seal of each node in a statement; refuse one whose seals do not come from those
    /// that were remembered.
    Keep(Keep),
}

/// `verge ledger prove`
#[derive(Debug, Args)]
pub struct Prove {
    /// The file of a seal, as it lies in inputs/seals/ of a statement.
    seal: PathBuf,
    /// The site's id, or the digits that it begins with.
    site: String,
    /// Where the proof goes; nothing may be there.
    to: PathBuf,
}

/// `verge ledger verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The file with the proof.
    proof: PathBuf,
    /// The seal's name, as a statement or a record of the node has it: without it anybody could have
    /// made up the seal.
    #[arg(long)]
    seal: Option<String>,
}

/// `verge ledger keep`
#[derive(Debug, Args)]
pub struct Keep {
    /// The folder of a statement, or one with seals.
    folder: PathBuf,
    /// The file of what you have seen, a line for each node; it is made the first time.
    #[arg(long = "in", value_name = "FILE")]
    file: PathBuf,
}

impl LedgerCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences; also when a proof shows nothing.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Prove(prove) => prove.run(),
            Self::Verify(verify) => verify.run(),
            Self::Keep(keep) => keep.run(),
        }
    }
}

impl Prove {
    fn run(self) -> anyhow::Result<()> {
        let name = self.seal.display().to_string();
        let seal = read_seal(&name, &read_bytes(&self.seal)?)?.seal;
        let of_site = seal.rows.iter().position(|row| {
            // An empty beginning is that of every site.
            !self.site.is_empty()
                && row.class == Class::Answer
                && row.site.to_string().starts_with(&self.site)
        });
        let Some(proof) = of_site.and_then(|index| RowProof::of(&seal, index)) else {
            bail!(
                "{name} has no row of a site that begins with {:?}",
                self.site
            );
        };
        create_file_durably(&self.to, &proof.encode(), 0o600)?;
        say(&proof.check()?);
        Ok(())
    }
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let proof = RowProof::decode(&read_bytes(&self.proof)?);
        let proven = proof.and_then(|proof| proof.check());
        let proven = proven.with_context(|| self.proof.display().to_string())?;
        if let Some(expected) = &self.seal
            && *expected != proven.seal.to_string()
        {
            bail!(
                "the proof is of the seal {}, not of {expected}",
                proven.seal
            );
        }
        say(&proven);
        Ok(())
    }
}

impl Keep {
    fn run(self) -> anyhow::Result<()> {
        let seals = read_seals(&self.folder)?;
        let links = seals.into_iter().map(|SealedDay { digest, seal }| {
            let (day, previous) = (seal.day, seal.previous);
            let link = Link {
                day,
                digest,
                previous,
            };
            (seal.node, link)
        });
        let links: Vec<_> = links.collect();
        let mut kept = self.kept()?;
        let seal_count = links.len();
        kept.extend(links)
            .with_context(|| self.folder.display().to_string())?;
        write_file_durably(&self.file, kept.text().as_bytes(), 0o600)?;
        say_kept(seal_count, &kept);
        Ok(())
    }

    fn kept(&self) -> anyhow::Result<Keepsake> {
        if self.file.symlink_metadata().is_err() {
            return Ok(Keepsake::default());
        }
        let bytes = read_bytes(&self.file)?;
        let name = || self.file.display().to_string();
        if bytes.len() > KEEPSAKE_BYTES_MAX {
            bail!("{} has more than {KEEPSAKE_BYTES_MAX} bytes", name());
        }
        let text = String::from_utf8(bytes).with_context(|| format!("{} is no text", name()))?;
        Keepsake::parse(&text).with_context(name)
    }
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say_kept(seal_count: usize, kept: &Keepsake) {
    let node_count = kept.node_count();
    println!(
        "{seal_count} seals go on from what you have seen; the last of {node_count} nodes are kept"
    );
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(proven: &Proven) {
    let Count {
        requests,
        credit,
        body,
    } = proven.row.count;
    println!("node {} sealed for {}:", proven.node, proven.day);
    println!("site {}", proven.row.site);
    println!(
        "{requests} answers, {} credit bytes, {} body bytes",
        credit.0, body.0
    );
    println!("seal {}", proven.seal);
}
