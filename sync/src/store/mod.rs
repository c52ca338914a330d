//! What a node keeps: blobs as files and records in a database, under one directory that one
//! process owns.
//!
//! `blobs/` and `verge.sqlite` are the truth; `staging/` is emptied at each start, `partial/` has the
//! first parts of blobs that peers are sending, `damaged/` holds what [`scrub`] moved out of the
//! way, `lock` is held while the store is open. All that becomes
//! durable goes through [`durable`]. One thread writes the database (see [`records`]); it ends when
//! the last clone of the [`Store`] is dropped.

mod blob_file;
mod blobs;
mod database;
pub mod durable;
mod error;
mod gc;
pub mod pace;
mod partial;
pub mod records;
pub mod scrub;
mod shelf;

pub use blob_file::BlobFile;
pub use blobs::{Blobs, Held, Staged};
pub use durable::{
    Disk, LocalDisk, create_file_durably, place_tree_durably, remove_file_durably,
    write_file_durably,
};
pub use error::{Fault, StoreError};
pub use gc::{BlobPin, Collected};
pub use partial::Partial;
pub use records::{Batch, MetaValue, Outcome, PendingWrite, Placed, Records, Row};
pub use shelf::Shelf;

use crate::digest::Digest;
use error::At;
use gc::Marks;
use rustix::fs::FlockOperation;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a start tries to remove a directory that fills again. What still writes there ends
/// within milliseconds; what is left then only takes space.
const STAGING_REMOVE_ATTEMPTS_MAX: usize = 8;

/// An open data directory; clones share it.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

/// Dropped in this order: the writer ends before the directory is given up.
#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    records: Records,
    shelf: Arc<Shelf>,
    blobs: Blobs,
    staging_count: AtomicU64,
    _lock: DirLock,
}

impl Store {
    /// Opens the data directory `dir`, making what is missing, and removes what a crash left in
    /// `staging/`.
    ///
    /// # Errors
    /// [`StoreError::Owned`] while another process has it open; [`StoreError::DatabaseDamaged`] and
    /// [`StoreError::DatabaseNewer`], which say what to do; [`StoreError::Full`];
    /// [`StoreError::Disk`].
    pub fn open(dir: &Path, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        ensure_dir(&*disk, dir)?;
        let lock = DirLock::take(dir)?;
        for name in ["blobs", "staging", "partial", "damaged"] {
            ensure_dir(&*disk, &dir.join(name))?;
        }
        empty(&*disk, &dir.join("staging"))?;
        let (records, shelf) = Records::open(&dir.join("verge.sqlite"))?;
        let blobs = Blobs::new(dir, Arc::clone(&disk), Arc::new(Marks::default()));
        // Not only what is new: a process that was killed may have left names that are not durable.
        blobs.sync_names()?;
        disk.sync_dir(dir).at("sync", dir)?;
        sync_above(&*disk, dir)?;
        let staging_count = AtomicU64::new(0);
        let dir = dir.to_owned();
        Ok(Self(Arc::new(Inner {
            dir,
            disk,
            records,
            shelf,
            blobs,
            staging_count,
            _lock: lock,
        })))
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// What the disk has left for us.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn available_bytes(&self) -> Result<u64, StoreError> {
        let dir = self.dir();
        let found = rustix::fs::statvfs(dir).map_err(io::Error::from);
        let found = found.at("look at the disk of", dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn disk(&self) -> &dyn Disk {
        &*self.0.disk
    }

    /// The blobs.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// The versions that are here whole.
    #[must_use]
    pub fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    /// Keeps blobs from being collected while the pin lives. Whoever reuses a blob pins it before
    /// looking whether it is there.
    pub fn pin(&self, digests: impl IntoIterator<Item = Digest>) -> BlobPin {
        self.blobs().marks().pin(digests)
    }

    /// Makes an empty directory on the blobs' file system (0700), to write files into that
    /// [`Blobs::adopt_all`] then takes.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Disk`].
    pub fn staging(&self) -> Result<StagingDir, StoreError> {
        let number = self.0.staging_count.fetch_add(1, Ordering::Relaxed);
        // Not the name of one that a killed process's build may still be writing into.
        let name = format!("dir-{}-{number}", std::process::id());
        let path = self.0.dir.join("staging").join(name);
        self.0.disk.create_dir(&path).at("make directory", &path)?;
        Ok(StagingDir {
            path,
            disk: Arc::clone(&self.0.disk),
        })
    }
}

/// A directory that is removed, with what is still in it, when this is dropped.
#[derive(Debug)]
pub struct StagingDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl StagingDir {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove_tree(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "stays until the next start");
        }
    }
}

fn ensure_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    disk.create_dir(dir).at("make directory", dir)
}

/// A directory that we may pass but not read was made by somebody else, who had to sync it.
fn sync_above(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let above = durable::parent(dir);
    match disk.sync_dir(above) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.at("sync", above),
    }
}

/// The right to use the directory.
#[derive(Debug)]
struct DirLock(File);

impl DirLock {
    fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).at("open", &path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Owned {
                dir: dir.to_owned(),
            }),
            Err(error) => Err(StoreError::io("lock", &path, error.into())),
        }
    }
}

/// A crash closes the file, which is enough. Here a child that is just being started may have a
/// copy of it open for a moment longer.
impl Drop for DirLock {
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.0, FlockOperation::Unlock) {
            tracing::debug!(%error, "the lock is released with its file");
        }
    }
}

fn empty(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).at("list", dir)? {
        let entry = entry.at("list", dir)?;
        let path = entry.path();
        if entry.file_type().at("look up", &path)?.is_dir() {
            remove_staging_dir(disk, &path).at("remove", &path)?;
        } else {
            disk.remove(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

/// The build of a process that was killed ends a moment after it, and may write until then.
fn remove_staging_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    for _attempt in 0..STAGING_REMOVE_ATTEMPTS_MAX {
        match disk.remove_tree(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            done => return done,
        }
    }
    tracing::warn!(path = %path.display(), "a build still writes into it: it stays until the next start");
    Ok(())
}
