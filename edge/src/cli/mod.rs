//! The `verge` command: what can be asked, and the exit status of each answer.

pub mod account;
mod bench;
pub mod build;
pub mod cert;
pub mod client;
pub mod confine;
pub mod demo;
pub mod deploy;
mod doctor;
mod export;
mod fork;
pub mod hook;
mod join;
mod ledger;
mod manual;
pub mod node;
pub mod nodes;
mod policy;
pub mod preview;
pub mod provider;
pub mod region;
mod region_ca;
pub mod sign_with;
pub mod site;
pub mod statement;
mod usage;
pub mod verify;
pub mod zones;

use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Hosting for individuals' static websites inside a neighbourhood region.
///
/// A node needs two commands: `verge init` once, then `verge serve`.
/// A publisher needs one: `git push ssh://git@NODE:2222/SITE`.
#[derive(Debug, Parser)]
#[command(name = "verge", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The data directory, for every command that needs a node.
#[derive(Debug, Clone, Args)]
pub struct Data {
    /// The node's data directory: keys, records, sites, config.toml.
    #[arg(
        long = "data",
        env = "VERGE_DATA",
        default_value = "/var/lib/verge",
        value_name = "DIR"
    )]
    pub directory: PathBuf,
}

/// Everything that `verge` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new node: its data directory, keys, region and configuration.
    Init(node::Init),
    /// Run the node until SIGTERM or Ctrl-C.
    Serve(node::Serve),
    /// People and groups who publish: add, set, list, sign.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Sites: create, list, set, versions, rollback, delete.
    #[command(subcommand)]
    Site(site::SiteCommand),
    /// Publish a folder of this machine without git; or push a branch that its account signs.
    Deploy(deploy::Deploy),
    /// Take sites out to a folder that can be used without Verge: files, git history, records.
    Export(export::Export),
    /// Bring sites back from a folder that `verge export` wrote, in this region or another.
    Import(export::Import),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(node::ConfigCommand),
    /// How the node is: region, peers, sites, addresses, clock.
    Status(node::Status),
    /// Read everything again that the node holds, and compare it with what it should be.
    Verify(verify::Verify),
    /// Look for what keeps visitors, publishers and authorities away, and say what to do.
    Doctor(doctor::Doctor),
    /// Who runs the region: invite, list, approve, leave, key, sign.
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    /// The nodes of the region: add, list, withdraw, block.
    #[command(subcommand)]
    Node(nodes::NodeCommand),
    /// The chain of steps that says what the region is: status, propose, sign.
    #[command(subcommand)]
    Region(region::RegionCommand),
    /// What a region would sign about money, in words.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// What was served in a month, by site, provider or day.
    Usage(usage::Usage),
    /// The statement of a month: write it, close the month, verify it.
    Statement(statement::Statement),
    /// What nodes sealed: show one row of a seal so that its owner can check it; needs no node.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Single records: show, log, add one that was signed elsewhere.
    #[command(subcommand)]
    Record(region::RecordCommand),
    /// Certificates: set up, list, show, renew, import.
    #[command(subcommand)]
    Cert(cert::CertCommand),
    /// Build a folder and serve it as one site, with exactly the code of a node.
    Preview(preview::Preview),
    /// What this machine pays for a page, in CPU time and energy.
    Bench(bench::Bench),
    /// A whole region on this machine: make it, push to it, fetch from it, show what came back.
    Demo(demo::Demo),
    /// Build one version: the node runs this as a child process.
    #[command(hide = true)]
    Build(build::Build),
    /// git's pre-receive hook: git runs this during a push.
    #[command(hide = true)]
    Hook,
    /// Run a program under limits: the node runs git through this.
    #[command(hide = true)]
    Confine(confine::Confine),
}

/// Exit status of a failure (`docs/operating.md`).
pub const EXIT_FAILED: u8 = 1;
/// Exit status of a bad configuration (`EX_CONFIG` of sysexits).
pub const EXIT_CONFIG: u8 = 78;

/// Carries out `cli`.
///
/// # Errors
/// Whatever went wrong, in sentences; [`exit_status`] gives its number.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let done = match cli.command {
        Command::Hook => return Ok(hook::run()),
        Command::Confine(confine) => return Ok(confine::run(&confine)),
        Command::Init(init) => init.run(),
        Command::Serve(serve) => serve.run(),
        Command::Account(command) => command.run(),
        Command::Site(command) => command.run(),
        Command::Deploy(deploy) => deploy.run(),
        Command::Config(command) => command.run(),
        Command::Status(status) => status.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Verify(verify) => verify.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Provider(command) => command.run(),
        Command::Node(command) => command.run(),
        Command::Region(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Statement(statement) => statement.run(),
        Command::Ledger(command) => command.run(),
        Command::Usage(usage) => usage.run(),
        Command::Record(command) => command.run(),
        Command::Cert(command) => command.run(),
        Command::Preview(preview) => preview.run(),
        Command::Bench(bench) => bench.run(),
        Command::Demo(demo) => demo.run(),
        Command::Build(build) => build.run(),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The one place where an error becomes an exit status.
#[must_use]
pub fn exit_status(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<crate::config::ConfigError>().is_some() {
        EXIT_CONFIG
    } else {
        EXIT_FAILED
    }
}

/// A small runtime for commands that talk to the node and end.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

/// Asks the node and prints what it says.
fn ask(data: &Data, request: &crate::admin::Request) -> anyhow::Result<()> {
    block_on(async {
        let mut output = std::io::stdout().lock();
        // A reader such as head(1) may have enough; the request goes on to its end all the same.
        let mut is_read = true;
        let show = |line: &str| is_read = is_read && writeln!(output, "{line}").is_ok();
        crate::admin::ask(&data.directory, request, show).await?;
        Ok(())
    })
}
