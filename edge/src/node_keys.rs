//! The two secrets of a data directory: the node's seed, and the provider's key where it lives
//! here.

use std::path::{Path, PathBuf};
use verge_sync::id::NodeId;
use verge_sync::keys::{ProviderKey, Seed};

/// The node's 32-byte seed; mode 0600.
pub const SEED_FILE: &str = "seed";
/// The provider's 32-byte Ed25519 secret key; mode 0600; may live off the node.
pub const PROVIDER_KEY_FILE: &str = "provider.key";

/// The keys that a node acts with.
pub struct NodeKeys {
    /// Transport, record, sealing and ticket keys come from it.
    pub seed: Seed,
    /// The provider's key, if it is here.
    pub provider: Option<ProviderKey>,
}

/// A key file that cannot be used; never says what is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a key.
    #[error("{path} is damaged: a key has 32 bytes; restore it from your copy", path = .0.display())]
    Length(PathBuf),
    /// Others can read it.
    #[error("{path} can be read by others: chmod 600 {path}", path = .0.display())]
    Open(PathBuf),
}

impl NodeKeys {
    /// Reads the keys of the data directory.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(data: &Path) -> Result<Self, KeyError> {
        let seed = read_key(&data.join(SEED_FILE))?;
        let provider = match read_key(&data.join(PROVIDER_KEY_FILE)) {
            Ok(bytes) => Some(ProviderKey::from_bytes(&bytes)),
            Err(KeyError::Read { source, .. }) if is_missing(&source) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            seed: Seed::from_bytes(seed),
            provider,
        })
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.seed.node_id()
    }
}

/// Reads a provider's key, wherever it is kept.
///
/// # Errors
/// [`KeyError`].
pub fn read_provider_key(path: &Path) -> Result<ProviderKey, KeyError> {
    read_key(path).map(|bytes| ProviderKey::from_bytes(&bytes))
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

/// Reads 32 secret bytes that nobody else can read.
///
/// # Errors
/// [`KeyError`].
pub(crate) fn read_key(path: &Path) -> Result<[u8; 32], KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let fail = |source| KeyError::Read {
        path: path.to_owned(),
        source,
    };
    let mode = std::fs::metadata(path).map_err(fail)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyError::Open(path.to_owned()));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    bytes
        .try_into()
        .map_err(|_length| KeyError::Length(path.to_owned()))
}
