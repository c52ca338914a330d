//! `verge region`: the chain of steps that says what the region is.

use super::{Data, ask};
use crate::admin::{RegionRequest, Request};
use crate::region::StepChange;
use anyhow::Context;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What can be done with the chain.
#[derive(Debug, Subcommand)]
pub enum RegionCommand {
    /// Show the current step, and what waits for votes.
    Status(Status),
    /// Propose a new step: it takes effect with the votes of more than half of the providers.
    Propose(Box<Propose>),
    /// Vote for a proposed step.
    Sign(Sign),
    /// Begin anew as the only provider with all that a stopped node holds: for a region whose majority
    /// is lost for good.
    Fork(Box<super::fork::Fork>),
    /// The region's own CA, for its own names on the local network: make, request, sign, install.
    #[command(subcommand)]
    Ca(super::region_ca::CaCommand),
}

/// `verge region status`
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    data: Data,
}

/// `verge region propose`
#[derive(Debug, Args)]
pub struct Propose {
    /// Remove a provider (name, or the beginning of its id); its records that this node holds stay
    /// valid, all others of it are void.
    #[arg(long, value_name = "PROVIDER")]
    remove: Option<String>,
    /// Take a site (label or id) or an account (`account:NAME`) down on every node.
    #[arg(long, value_name = "TARGET")]
    take_down: Vec<String>,
    /// End such a takedown.
    #[arg(long, value_name = "TARGET")]
    lift: Vec<String>,
    /// Make a provider the sponsor of an account, for one whose keys or whose provider are lost.
    #[arg(long, value_name = "ACCOUNT=PROVIDER", value_parser = pair)]
    sponsor: Vec<(String, String)>,
    /// What people call the region.
    #[arg(long)]
    name: Option<String>,
    /// The DNS zone under which every site has its label.
    #[arg(long, value_name = "ZONE")]
    site_zone: Option<String>,
    /// The DNS zone of the admin pages.
    #[arg(long, value_name = "ZONE")]
    admin_zone: Option<String>,
    /// How hosts outside the site zone are proved.
    #[arg(long, value_enum)]
    host_proof: Option<super::node::Proof>,
    /// The highest format that members may write: raised when all nodes run a release that knows it.
    #[arg(long, value_name = "NUMBER")]
    format: Option<u32>,
    /// A file with the policy (TOML).
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Accounts that a provider may create; each of its 16 nodes has a sixteenth.
    #[arg(long, value_name = "NUMBER")]
    account_allowance: Option<u32>,
    /// Sites that a provider may create; each of its 16 nodes has a sixteenth.
    #[arg(long, value_name = "NUMBER")]
    site_allowance: Option<u32>,
    /// Bytes of one site's kept versions.
    #[arg(long, value_name = "BYTES")]
    site_bytes_max: Option<u64>,
    /// Bytes of all sites of one account.
    #[arg(long, value_name = "BYTES")]
    account_bytes_max: Option<u64>,
    #[command(flatten)]
    data: Data,
}

/// `verge region sign`
#[derive(Debug, Args)]
pub struct Sign {
    /// The beginning of the step's id; see `verge region status`.
    step: String,
    /// Vote with the paper key of a region of two, which is read from standard input.
    #[arg(long)]
    paper: bool,
    #[command(flatten)]
    data: Data,
}

impl RegionCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        let (data, request) = match self {
            Self::Fork(fork) => return fork.run(),
            Self::Ca(ca) => return ca.run(),
            Self::Status(status) => (status.data, RegionRequest::Status),
            Self::Propose(propose) => {
                let data = propose.data.clone();
                let change = Box::new(propose.change()?);
                (data, RegionRequest::Propose { change })
            }
            Self::Sign(Sign { step, paper, data }) => {
                let paper = if paper { Some(read_paper()?) } else { None };
                (data, RegionRequest::Sign { step, paper })
            }
        };
        ask(&data, &Request::Region(request))
    }
}

impl Propose {
    fn change(self) -> anyhow::Result<StepChange> {
        let policy = self.policy.map(|path| {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("read {}", path.display()))?;
            crate::region::check_policy(&text).with_context(|| path.display().to_string())?;
            Ok::<_, anyhow::Error>(text)
        });
        if let (Some(site), Some(admin)) = (&self.site_zone, &self.admin_zone) {
            super::zones::check(site, admin, false)?;
        }
        Ok(StepChange {
            remove: self.remove,
            take_down: self.take_down,
            lift: self.lift,
            sponsors: self.sponsor,
            name: self.name,
            site_zone: self.site_zone,
            admin_zone: self.admin_zone,
            dns_proof: self
                .host_proof
                .map(|proof| proof == super::node::Proof::Dns),
            format: self.format,
            policy: policy.transpose()?,
            account_allowance: self.account_allowance,
            site_allowance: self.site_allowance,
            site_bytes_max: self.site_bytes_max,
            account_bytes_max: self.account_bytes_max,
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text
        .split_once('=')
        .filter(|(a, b)| !a.is_empty() && !b.is_empty());
    let (account, provider) = pair.ok_or("write it as ACCOUNT=PROVIDER")?;
    Ok((account.to_owned(), provider.to_owned()))
}

/// Not an argument: those stand in the list of processes and in the shell's history.
fn read_paper() -> anyhow::Result<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.context("read the paper key from standard input")?;
    Ok(line.trim().to_owned())
}

/// `verge record`
#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// Show one record with all that it says.
    Show(ShowRecord),
    /// List records, the latest last.
    Log(LogRecords),
    /// Take in a record that was signed elsewhere: what `verge provider sign` printed.
    Add(AddRecord),
}

/// `verge record add`
#[derive(Debug, Args)]
pub struct AddRecord {
    /// The line that begins with VERGE-RECORD1; `-` reads it from standard input.
    line: String,
    #[command(flatten)]
    data: Data,
}

/// `verge record show`
#[derive(Debug, Args)]
pub struct ShowRecord {
    /// The beginning of the record's id.
    id: String,
    #[command(flatten)]
    data: Data,
}

/// `verge record log`
#[derive(Debug, Args)]
pub struct LogRecords {
    /// Only records of one kind, such as `region`, `vote`, `deploy`.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    count: usize,
    #[command(flatten)]
    data: Data,
}

impl RecordCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        use crate::admin::RecordRequest;
        let (data, request) = match self {
            Self::Show(ShowRecord { id, data }) => (data, RecordRequest::Show { id }),
            Self::Log(LogRecords { kind, count, data }) => {
                (data, RecordRequest::Log { kind, count })
            }
            Self::Add(AddRecord { line, data }) => {
                let line = super::provider::line_argument(&line)?;
                // A slip is noticed also where no node runs.
                let _whole: crate::signing::SignedLine = line.parse()?;
                (data, RecordRequest::Add { line })
            }
        };
        ask(&data, &Request::Record(request))
    }
}
