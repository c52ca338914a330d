//! Founding: a data directory with its keys, a region of one provider and one node, and the
//! configuration.

use crate::config;
use crate::node_keys::{PROVIDER_KEY_FILE, SEED_FILE};
use crate::region::{META_LOG, META_NODE_N, META_PROVIDER_N, META_REGION};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_sync::id::{NodeId, ProviderId, RegionId};
use verge_sync::keys::{ProviderKey, Seed};
use verge_sync::net::row;
use verge_sync::record::body::{Node, Provider, Region, Roles, Zones};
use verge_sync::record::{Author, LogId, Parameters, RecordError, Slot, WriteError, effect};
use verge_sync::store::{Batch, LocalDisk, MetaValue, Store, StoreError, write_file_durably};

pub use verge_sync::record::body::{HostProof, Limits};

/// What a founder decides.
#[derive(Debug, Clone)]
pub struct Founding {
    /// The data directory.
    pub data: PathBuf,
    /// The region's name.
    pub region: String,
    /// The provider's name.
    pub provider: String,
    /// The node's name.
    pub node: String,
    /// How the provider can be reached.
    pub contact: String,
    /// Under which every site has its label.
    pub site_zone: String,
    /// Under which the admin pages are.
    pub admin_zone: String,
    /// How hosts outside of the site zone are proved.
    pub host_proof: HostProof,
    /// Limits and allowances.
    pub limits: Limits,
    /// The policy, in TOML.
    pub policy: String,
    /// Whether the region is for tests.
    pub test: bool,
    /// The text of `config.toml`.
    pub config: String,
}

/// What was founded.
#[derive(Debug, Clone)]
pub struct Founded {
    /// The region.
    pub region: RegionId,
    /// The provider.
    pub provider: ProviderId,
    /// The node.
    pub node: NodeId,
    /// Where the provider's key lies.
    pub provider_key: PathBuf,
}

/// Why nothing was founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// There is a node already.
    #[error("{dir} holds a node already: choose another directory with --data", dir = .0.display())]
    Occupied(PathBuf),
    /// Something else is there, perhaps the user's own.
    #[error(
        "{dir} is not empty: choose another directory with --data; if an earlier `verge init` was interrupted there, remove it first",
        dir = .0.display()
    )]
    NotEmpty(PathBuf),
    /// It cannot be looked at or made.
    #[error("make directory {path}", path = path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name that no record holds.
    #[error("{what} must have 1 to 64 bytes and no control characters")]
    Name {
        /// Which one.
        what: &'static str,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record could not be made.
    #[error("the first step of the region")]
    Record(#[from] RecordError),
    /// A record could not be made.
    #[error("the first records of the region")]
    Write(#[from] WriteError),
    /// The system has no randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// An error of ours.
    #[error("the region's first step has no effect; please report this")]
    NoEffect,
}

/// Founds a region. Keys are written first, records next, the configuration last: a directory
/// without a configuration was not founded to its end.
///
/// # Errors
/// [`FoundError`].
pub fn region(founding: &Founding) -> Result<Founded, FoundError> {
    let founded = begin(founding)?;
    finish(founding)?;
    Ok(founded)
}

/// All but the configuration.
pub(crate) fn begin(founding: &Founding) -> Result<Founded, FoundError> {
    check_name("the region's name", &founding.region)?;
    check_name("the provider's name", &founding.provider)?;
    check_name("the node's name", &founding.node)?;
    check_empty(&founding.data)?;
    let made = |source| FoundError::Folder {
        path: founding.data.clone(),
        source,
    };
    std::fs::create_dir_all(&founding.data).map_err(made)?;
    let store = Store::open(&founding.data, Arc::new(LocalDisk))?;
    // Under the lock: another `verge init` may have come first.
    if store.records().meta(META_REGION)?.is_some() {
        return Err(FoundError::Occupied(founding.data.clone()));
    }
    let seed_bytes: [u8; 32] = random()?;
    let key_bytes: [u8; 32] = random()?;
    let provider_key = founding.data.join(PROVIDER_KEY_FILE);
    write_file_durably(&founding.data.join(SEED_FILE), &seed_bytes, 0o600)?;
    write_file_durably(&provider_key, &key_bytes, 0o600)?;
    let (seed, key) = (
        Seed::from_bytes(seed_bytes),
        ProviderKey::from_bytes(&key_bytes),
    );
    let (region, batch) = first_records(founding, &seed, &key)?;
    store.records().write(batch)?.wait()?;
    Ok(Founded {
        region,
        provider: key.provider(),
        node: seed.node_id(),
        provider_key,
    })
}

/// The configuration, which says that all else is there.
pub(crate) fn finish(founding: &Founding) -> Result<(), FoundError> {
    let path = founding.data.join(config::FILE_NAME);
    write_file_durably(&path, founding.config.as_bytes(), 0o644)?;
    Ok(())
}

fn first_records(
    founding: &Founding,
    seed: &Seed,
    key: &ProviderKey,
) -> Result<(RegionId, Batch), FoundError> {
    let log = LogId(random()?);
    let step = Author::found(key, log, first_step(founding, key.provider()))?;
    let region = RegionId::from_digest(step.id().digest());
    let parameters = Parameters::new(region, Arc::default());
    let step = Arc::new(step);
    let holds = effect(&[Arc::clone(&step)], &parameters).ok_or(FoundError::NoEffect)?;
    let slot = Slot {
        provider: key.provider(),
        number: 0,
    };
    let body = Node {
        id: seed.node_id(),
        record_key: seed.record_key().verifying_key().to_bytes(),
        sealing_key: *seed.sealing_key().public(),
        addresses: Vec::new(),
        name: founding.node.clone(),
        proof: [0; 64],
        is_withdrawn: false,
        visitors: Vec::new(),
    };
    let body = body.proven(&region, slot, &seed.transport_key());
    let mut provider = Author::provider(key, region, (log, 1));
    let node = provider.node_record(&holds, slot, body)?;
    let batch = Batch {
        rows: vec![row(&step), row(&node)],
        meta: vec![
            (
                META_REGION.to_owned(),
                MetaValue::Bytes(region.as_bytes().to_vec()),
            ),
            (META_LOG.to_owned(), MetaValue::Bytes(log.0.to_vec())),
            (META_NODE_N.to_owned(), MetaValue::Number(0)),
            (
                META_PROVIDER_N.to_owned(),
                MetaValue::Number(provider.last_n()),
            ),
        ],
        ..Batch::default()
    };
    Ok((region, batch))
}

fn first_step(founding: &Founding, provider: ProviderId) -> Region {
    Region {
        number: 0,
        predecessor: None,
        format: 1,
        providers: vec![Provider {
            id: provider,
            name: founding.provider.clone(),
            contact: founding.contact.clone(),
        }],
        recovery_key: None,
        roles: Roles::default(),
        zones: Zones {
            site_zone: founding.site_zone.clone(),
            admin_zone: founding.admin_zone.clone(),
        },
        limits: founding.limits,
        policy: founding.policy.clone(),
        acme: None,
        removed: std::collections::BTreeMap::new(),
        sponsors: std::collections::BTreeMap::new(),
        takedowns: std::collections::BTreeSet::new(),
        host_proof: founding.host_proof,
        test: founding.test,
        name: founding.region.clone(),
    }
}

/// A new node gets a directory of its own: the store clears its `staging/` at each start, and
/// collects blobs that no record names.
pub(crate) fn check_empty(data: &Path) -> Result<(), FoundError> {
    let fail = |source| FoundError::Folder {
        path: data.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
    };
    for entry in entries {
        if entry.map_err(fail)?.file_name() != "lost+found" {
            let is_node = data.join(config::FILE_NAME).exists();
            let data = data.to_owned();
            return Err(if is_node {
                FoundError::Occupied(data)
            } else {
                FoundError::NotEmpty(data)
            });
        }
    }
    Ok(())
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), FoundError> {
    let fine = !name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control);
    if fine {
        Ok(())
    } else {
        Err(FoundError::Name { what })
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], FoundError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(FoundError::Random)?;
    Ok(bytes)
}
