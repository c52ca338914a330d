//! What can go wrong in the store, and whose fault it is.

use crate::digest::Digest;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the store did not do what it was asked to.
///
/// Cloneable, because one failed commit answers everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file system refused an operation.
    #[error("{action} {path}")]
    Disk {
        /// The operation, as a verb: `read`, `rename`, `sync`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: Arc<io::Error>,
    },
    /// There is no space left; what is stored already is untouched.
    #[error("no space left to write {path}: free some space on its disk, then try again")]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// `SQLite` refused an operation for a reason of its own.
    #[error("records database {path}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What `SQLite` answered.
        source: Arc<rusqlite::Error>,
    },
    /// The database file does not hold what was written to it.
    #[error(
        "records database {path} is damaged: stop the node, move this file and its -wal file away \
         (keep them), put your backup in their place and start again"
    )]
    DatabaseDamaged {
        /// The database file.
        path: PathBuf,
        /// What `SQLite` found.
        source: Arc<rusqlite::Error>,
    },
    /// The database was written by a newer release.
    #[error(
        "records database {path} has schema {found}, this release knows schemas up to {known}: \
         start the newer release of verge that wrote it"
    )]
    DatabaseNewer {
        /// The database file.
        path: PathBuf,
        /// Its schema number.
        found: u32,
        /// The highest schema number that this release knows.
        known: u32,
    },
    /// The data directory is in use.
    #[error("another verge process owns {dir}")]
    Owned {
        /// The data directory.
        dir: PathBuf,
    },
    /// A blob's file does not hold the blob's bytes.
    #[error("blob {digest} does not match its digest")]
    Damaged {
        /// The blob.
        digest: Digest,
    },
    /// A staged file is not what its caller says.
    #[error("{path} hashes to {found}, expected {expected}")]
    WrongDigest {
        /// The staged file.
        path: PathBuf,
        /// What the caller announced.
        expected: Digest,
        /// What the file holds.
        found: Digest,
    },
    /// A staged path is not an ordinary file.
    #[error("{path} is not an ordinary file")]
    NotAFile {
        /// The staged path.
        path: PathBuf,
    },
    /// Larger than the limit that applies.
    #[error("{what} has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// The thing.
        what: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A range that the blob does not have.
    #[error("blob {digest} has {bytes} bytes, {len} at offset {offset} reach beyond its end")]
    OutOfRange {
        /// The blob.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// Where the range starts.
        offset: u64,
        /// How long the range is.
        len: usize,
    },
    /// The queue of the database writer is full.
    #[error("too many records wait to be written: try again when some are")]
    Busy,
    /// The database writer has ended.
    #[error("the store is closed")]
    Closed,
}

/// Who has to act for the operation to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk, or the steward whose disk it is: stop or report.
    Disk,
    /// Who called: refuse the input.
    Caller,
    /// We are slower than asked for: retry.
    Load,
}

impl StoreError {
    /// Whose fault this is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Disk { .. }
            | Self::Full { .. }
            | Self::Database { .. }
            | Self::DatabaseDamaged { .. }
            | Self::DatabaseNewer { .. }
            | Self::Damaged { .. } => Fault::Disk,
            Self::Owned { .. }
            | Self::WrongDigest { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::OutOfRange { .. }
            | Self::Closed => Fault::Caller,
            Self::Busy => Fault::Load,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                path: path.to_owned(),
            },
            _ => Self::Disk {
                action,
                path: path.to_owned(),
                source: Arc::new(source),
            },
        }
    }

    pub(super) fn database(path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::DatabaseDamaged {
                path,
                source: Arc::new(source),
            },
            _ => Self::Database {
                path,
                source: Arc::new(source),
            },
        }
    }
}

/// Adds to an [`io::Error`] what was done to which path.
pub(super) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path, source))
    }
}
