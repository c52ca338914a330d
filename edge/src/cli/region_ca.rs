//! `verge region ca`: the region's own CA, for names that no public one reaches.

use super::Data;
use crate::config::{self, Config};
use crate::tls::{CaCertificate, RegionRoot, region_ca, region_root};
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use std::io::Read;
use std::path::{Path, PathBuf};
use verge_sync::clock::{Clock, UnixTime};

/// The longest request or answer that is read.
const INPUT_BYTES_MAX: u64 = 64 << 10;

/// What can be done with the region's CA.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make the root in a folder of its own, and this node's part of it.
    Make(Make),
    /// Ask for this node's part of a root that lies elsewhere: prints a request.
    Request(Request),
    /// With the root at hand: sign the request of a node, the first or again; prints the answer.
    Sign(Sign),
    /// Take in the answer to this node's request.
    Install(Install),
    /// Show what this node has of it: names, fingerprint, end.
    Show(Show),
}

/// `verge region ca make`
#[derive(Debug, Args)]
#[command(
    long_about = "Make the root of the region's CA in a folder of its own, and this node's part of it.\n\nThe root can speak only for names in the zones that it names; visitors import it once, for ten years. Keep the folder off every node, on a stick in a drawer: it is needed to let a further node in, and every second year. Then set `[tls] ca = \"region\"` and start the node again."
)]
pub struct Make {
    /// The folder of the root, outside of the data directory; made if it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A DNS zone that is the region's own; may be given several times. Without it the two zones of
    /// config.toml.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    #[command(flatten)]
    data: Data,
}

/// `verge region ca request`
#[derive(Debug, Args)]
pub struct Request {
    #[command(flatten)]
    data: Data,
}

/// `verge region ca sign`
#[derive(Debug, Args)]
pub struct Sign {
    /// The folder of the root.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// What `verge region ca request` printed on the node; `-` reads it from standard input.
    request: PathBuf,
}

/// `verge region ca install`
#[derive(Debug, Args)]
pub struct Install {
    /// What `verge region ca sign` printed; `-` reads it from standard input.
    answer: PathBuf,
    #[command(flatten)]
    data: Data,
}

/// `verge region ca show`
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    data: Data,
}

impl CaCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    pub fn run(self) -> anyhow::Result<()> {
        let now = Clock::System.now();
        match self {
            Self::Make(make) => make.run(now),
            Self::Request(request) => {
                print!("{}", region_ca::request(&request.data.directory)?);
                Ok(())
            }
            Self::Sign(sign) => {
                let request = read(&sign.request)?;
                let root = RegionRoot::open(&sign.root)?;
                print!("{}", root.sign(&request, now)?);
                Ok(())
            }
            Self::Install(install) => {
                let answer = read(&install.answer)?;
                let found = region_ca::install(&install.data.directory, &answer, now)?;
                println!("this node speaks for names in {}", found.zones.join(", "));
                println!(
                    "Next: set `[tls] ca = \"region\"` and start the node again; where that is set it needs nothing."
                );
                Ok(())
            }
            Self::Show(show) => show.run(),
        }
    }
}

impl Make {
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    fn run(self, now: UnixTime) -> anyhow::Result<()> {
        let data = &self.data.directory;
        let there = data
            .canonicalize()
            .with_context(|| format!("read {}", data.display()))?;
        let zones = if self.zones.is_empty() {
            own_zones(data)?
        } else {
            self.zones
        };
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("make {}", self.out.display()))?;
        let out = self.out.canonicalize()?;
        ensure!(
            !out.starts_with(&there),
            "{} lies on the node: keep the root's key elsewhere, on a stick or another machine",
            out.display()
        );
        let root = RegionRoot::make(&out, &zones, now)?;
        let answer = root.sign(&region_ca::request(data)?, now)?;
        region_ca::install(data, &answer, now)?;
        print(root.certificate());
        let key = out.join(region_root::ROOT_KEY_FILE);
        println!(
            "Keep {} off this node, where nobody else reads it.",
            key.display()
        );
        println!("Next: set `[tls] ca = \"region\"` and start the node again.");
        Ok(())
    }
}

impl Show {
    #[expect(clippy::print_stdout, reason = "the command line's answer")]
    fn run(self) -> anyhow::Result<()> {
        let ca = region_ca::RegionCa::open(&self.data.directory)?;
        let root = CaCertificate::read(ca.root_pem());
        print(&root.context("region-ca.pem is not a certificate of a CA")?);
        let until = time(ca.certificate().not_after);
        println!("node      signs until {until}: renew with `verge region ca request` before");
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the command line's answer")]
fn print(root: &CaCertificate) {
    println!("root      {}", root.name);
    println!("zones     {}", root.zones.join(", "));
    println!("until     {}", time(root.not_after));
    println!("SHA-256   {}", root.fingerprint);
}

fn time(time: UnixTime) -> String {
    let time = jiff::Timestamp::from_second(time.0);
    time.map_or_else(|_| "for ever".to_owned(), |time| time.to_string())
}

fn own_zones(data: &Path) -> anyhow::Result<Vec<String>> {
    let config = Config::read(&data.join(config::FILE_NAME))?;
    let zones: Vec<String> = [config.zones.site, config.zones.admin]
        .into_iter()
        .flatten()
        .collect();
    ensure!(
        !zones.is_empty(),
        "config.toml names no zones: name them with --zone"
    );
    Ok(zones)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(INPUT_BYTES_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("read {}", path.display()))?;
    Ok(text)
}
