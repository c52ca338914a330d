//! The way out of a region whose majority is lost for good: a new region of one provider, in a new
//! data directory, with everything that the old node holds (`docs/operating.md`).
//!
//! The old directory is only read, under its lock. The new one gets its configuration last: without
//! one it was not made to its end, and is to be removed.

use crate::config;
use crate::found::{self, FoundError, Founded, Founding};
use crate::node_keys::{KeyError, NodeKeys};
use crate::region::{Carried, OpenError, RegionView, WriteError};
use crate::tls::{region_ca, region_root};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_sync::record::Effect;
use verge_sync::store::{LocalDisk, Store, StoreError, write_file_durably};

/// The files of a CA of the node's own, and of its part of the region's: visitors that imported it
/// go on trusting it.
const CA_FILES: [(&str, u32); 5] = [
    ("local-ca.key", 0o600),
    ("local-ca.pem", 0o644),
    (region_ca::ISSUER_KEY_FILE, 0o600),
    (region_ca::ISSUER_FILE, 0o644),
    (region_root::ROOT_FILE, 0o644),
];

/// What is forked, and into what.
#[derive(Debug, Clone)]
pub struct Forking {
    /// The data directory of a node of the old region, which is stopped.
    pub old: PathBuf,
    /// The new one.
    pub new: PathBuf,
    /// The new region's name.
    pub region: String,
    /// The provider's name.
    pub provider: String,
    /// The node's name; the provider's if absent.
    pub node: Option<String>,
    /// How the provider can be reached.
    pub contact: String,
}

/// Why nothing was forked, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// Nothing to read.
    #[error("{dir} holds no node: name the data directory of a node of the old region with --data", dir = .0.display())]
    NoNode(PathBuf),
    /// The old region.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The old node's keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The new region.
    #[error(transparent)]
    Found(#[from] FoundError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to be written.
    #[error("{error}; remove {dir}, which is not whole, before another try", dir = dir.display())]
    Write {
        /// The new directory.
        dir: PathBuf,
        /// What went wrong.
        error: WriteError,
    },
    /// A file of the CA.
    #[error("read {path}", path = path.display())]
    Ca {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system.
    #[error("the system gives no event loop: {0}")]
    Runtime(std::io::Error),
    /// The new configuration.
    #[error("the new configuration: {0}")]
    Config(String),
}

/// Forks; `settings` gives the text of the new `config.toml`.
///
/// # Errors
/// [`ForkError`].
pub fn region(
    forking: &Forking,
    settings: impl FnOnce() -> anyhow::Result<String>,
) -> Result<(Founded, Carried), ForkError> {
    if !forking.old.join(config::FILE_NAME).exists() {
        return Err(ForkError::NoNode(forking.old.clone()));
    }
    let old = open(&forking.old)?;
    let effect = old.effect();
    let config = settings().map_err(|error| ForkError::Config(format!("{error:#}")))?;
    let founding = founding(forking, &effect, config);
    let founded = found::begin(&founding)?;
    let new = Arc::new(open(&forking.new)?);
    let blobs = forking.old.join("blobs");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(ForkError::Runtime)?;
    let carried = runtime.block_on(new.carry_over(&old, &blobs));
    let carried = carried.map_err(|error| ForkError::Write {
        dir: forking.new.clone(),
        error,
    })?;
    copy_ca(forking)?;
    drop(new);
    found::finish(&founding)?;
    Ok((founded, carried))
}

fn open(data: &Path) -> Result<RegionView, ForkError> {
    let keys = NodeKeys::read(data)?;
    let store = Store::open(data, Arc::new(LocalDisk))?;
    Ok(RegionView::open(store, keys, |_effect, _slot| {})?)
}

/// The old region's rules, with room for all that is to come at one node.
fn founding(forking: &Forking, effect: &Effect, config: String) -> Founding {
    let step = &effect.chain.current().body;
    // A slot has a sixteenth of the allowance; half of it stays free.
    let room = |count: usize| u32::try_from(count.saturating_mul(32)).unwrap_or(u32::MAX);
    let mut limits = step.limits;
    limits.account_allowance = limits.account_allowance.max(room(effect.accounts.len()));
    limits.site_allowance = limits.site_allowance.max(room(effect.sites.len()));
    Founding {
        data: forking.new.clone(),
        region: forking.region.clone(),
        provider: forking.provider.clone(),
        node: forking
            .node
            .clone()
            .unwrap_or_else(|| forking.provider.clone()),
        contact: forking.contact.clone(),
        site_zone: step.zones.site_zone.clone(),
        admin_zone: step.zones.admin_zone.clone(),
        host_proof: step.host_proof,
        limits,
        policy: step.policy.clone(),
        test: step.test,
        config,
    }
}

fn copy_ca(forking: &Forking) -> Result<(), ForkError> {
    for (name, mode) in CA_FILES {
        let path = forking.old.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => write_file_durably(&forking.new.join(name), &bytes, mode)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(ForkError::Ca { path, source }),
        }
    }
    Ok(())
}
