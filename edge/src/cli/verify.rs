//! `verge verify`: everything read again, at a running node or in the directory of a stopped one.

use super::{Data, block_on};
use crate::admin::{AdminError, Request};
use crate::app;
use crate::config::{self, Config};
use crate::import::check_records;
use crate::node_keys::NodeKeys;
use crate::receive::Histories;
use crate::region::RegionView;
use crate::verify::Verification;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use verge_sync::store::{LocalDisk, Store};

/// Lines that wait to be printed.
const LINES_MAX: usize = 64;

/// `verge verify`
#[derive(Debug, Args)]
#[command(
    long_about = "Read everything again that the node holds, and compare it with what it should be: every record parses, is signed and stands; every blob is what its name says; every kept version is whole, and every coding of it decodes to its file.\n\nDamaged blobs are set aside in damaged/; nothing else is changed. The node may run meanwhile. Each damage is a line that names the sites and says what to do. Exit status: 0 if all is well, 1 if not.\n\nWith --export nothing of a node is needed: a folder that `verge export` wrote is read, every file compared with its digest, every record's signature checked, and who put the sites in place worked out from the records of the region that are in it. What is left to compare is the region's id, which its providers can tell."
)]
pub struct Verify {
    /// Build each site's head anew from its git history as well, and compare what comes out with
    /// what its deploy record says.
    #[arg(long)]
    rebuild: bool,
    /// A folder that `verge export` wrote, instead of a node.
    #[arg(long, value_name = "FOLDER", conflicts_with = "rebuild")]
    export: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
}

impl Verify {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences; also when anything is damaged.
    pub fn run(self) -> anyhow::Result<()> {
        let Self {
            rebuild,
            export,
            data,
        } = self;
        if let Some(folder) = export {
            return exported(&folder);
        }
        match super::ask(&data, &Request::Verify { rebuild }) {
            Err(error) if is_not_running(&error) => block_on(stopped(&data.directory, rebuild)),
            done => done,
        }
    }
}

/// The same for a folder, without a node.
#[expect(clippy::print_stdout, reason = "the command line's answer")]
fn exported(folder: &Path) -> anyhow::Result<()> {
    for line in check_records(folder)? {
        println!("{line}");
    }
    println!("all is well");
    Ok(())
}

pub(super) fn is_not_running(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<AdminError>();
    matches!(error, Some(AdminError::NotRunning { .. }))
}

/// The same without a node.
async fn stopped(data: &Path, rebuild: bool) -> anyhow::Result<()> {
    let Stopped {
        config,
        store,
        region,
        histories,
    } = Stopped::open(data).await?;
    let verification = Verification {
        publishing: app::publishing(&store, &region, &config, &Arc::default())?,
        histories,
        repairs: None,
        store,
        region,
    };
    let (log, lines) = mpsc::channel(LINES_MAX);
    let (done, ()) = tokio::join!(verification.run(rebuild, log), print(lines));
    Ok(done?)
}

/// A reader such as head(1) may have enough: then nobody listens any more.
async fn print(mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.recv().await {
        if writeln!(std::io::stdout(), "{line}").is_err() {
            return;
        }
    }
}

/// What a node that does not run has in its data directory.
pub(super) struct Stopped {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) region: Arc<RegionView>,
    pub(super) histories: Histories,
}

impl Stopped {
    pub(super) async fn open(data: &Path) -> anyhow::Result<Self> {
        let config = Config::read(&data.join(config::FILE_NAME))?;
        let data = data.canonicalize()?;
        let keys = NodeKeys::read(&data)?;
        let store = Store::open(&data, Arc::new(LocalDisk))?;
        let region = RegionView::open(store.clone(), keys, |_effect, _slot| {})?;
        Ok(Self {
            config,
            store,
            region: Arc::new(region),
            histories: Histories::open(&data, app::own_program()?).await?,
        })
    }
}
