//! `verge policy`: what a region would sign about money, in words.

use crate::attribution::policy::parse;
use crate::region::check_policy;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A step of the region has at most 64 KiB, and the policy is a part of it.
const POLICY_BYTES_MAX: u64 = 64 << 10;

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say in words what a policy does with fees, or at which line it does not add up; needs no node.
    Check(Check),
}

/// `verge policy check`
#[derive(Debug, Args)]
pub struct Check {
    /// A TOML file with a table [statement].
    file: PathBuf,
}

impl PolicyCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    #[expect(clippy::print_stdout, reason = "the answer of a command")]
    pub fn run(self) -> anyhow::Result<()> {
        let Self::Check(Check { file }) = self;
        let text = read(&file)?;
        check_policy(&text).with_context(|| file.display().to_string())?;
        let policy = parse(&text).with_context(|| file.display().to_string())?;
        print!("{}", policy.explain());
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let read = file
        .take(POLICY_BYTES_MAX.saturating_add(1))
        .read_to_string(&mut text);
    read.with_context(|| format!("read {}", path.display()))?;
    if text.len() as u64 > POLICY_BYTES_MAX {
        bail!("{} has more than {POLICY_BYTES_MAX} bytes", path.display());
    }
    Ok(text)
}
