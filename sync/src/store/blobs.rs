//! `DIR/blobs/<64 hex>`: immutable bytes named by their digest, as ordinary files.
//!
//! A name appears there only after its bytes are synced, so what is there is whole; a put that has
//! returned survives a power cut. A crash loses puts that have not returned and leaves temporary
//! files in `DIR/staging`, which the next start removes. Layout: `docs/format.md`, data directory.

use super::blob_file::{BlobFile, open_nofollow};
use super::durable::{Disk, create_synced, discard, remove_if_there};
use super::error::{At, StoreError};
use super::gc::Marks;
use crate::digest::{Digest, Digester};
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Blobs hold public bytes or sealed ones; the directory around them is ours alone.
const BLOB_MODE: u32 = 0o644;
/// 64 KiB: large enough that the system call costs nothing beside the hashing.
const HASH_CHUNK_BYTES: usize = 64 * 1024;
/// How many damaged copies of one blob are kept before somebody has to look.
const DAMAGED_COPIES_MAX: u32 = 9;

/// The blobs of one data directory.
#[derive(Debug)]
pub struct Blobs {
    dir: PathBuf,
    staging: PathBuf,
    damaged: PathBuf,
    disk: Arc<dyn Disk>,
    marks: Arc<Marks>,
    temporary_count: AtomicU64,
    /// Held from a rename to the directory's sync: when the sync fails, the names that it covered
    /// are taken back, and nobody else may have built on them meanwhile.
    publishing: Mutex<()>,
}

/// A staged file and the digest that it is announced to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// A path on the store's file system, best inside a [`super::StagingDir`]. Nobody may write to
    /// it any more.
    pub path: PathBuf,
    /// What its bytes hash to.
    pub digest: Digest,
}

/// A blob in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// A file that waits for its final name.
struct Ready {
    path: PathBuf,
    held: Held,
    /// Not if its blob was there already when it was looked at.
    is_synced: bool,
}

impl Blobs {
    pub(super) fn new(dir: &Path, disk: Arc<dyn Disk>, marks: Arc<Marks>) -> Self {
        Self {
            dir: dir.join("blobs"),
            staging: dir.join("staging"),
            damaged: dir.join("damaged"),
            disk,
            marks,
            temporary_count: AtomicU64::new(0),
            publishing: Mutex::new(()),
        }
    }

    /// Stores `bytes`; durable when this returns. Storing what is there already is cheap.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Disk`]; the blob is then absent or, if it was there
    /// before, untouched.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let held = Held {
            digest,
            bytes: length(bytes),
        };
        self.marks.touch([digest]);
        if self.is_present(held)? && self.confirm(held)? {
            return Ok(digest);
        }
        let path = self.temporary();
        let written = create_synced(&*self.disk, &path, bytes, BLOB_MODE).and_then(|()| {
            self.publish(&[Ready {
                path: path.clone(),
                held,
                is_synced: true,
            }])
        });
        if let Err(error) = written {
            discard(&*self.disk, &path);
            return Err(error);
        }
        Ok(digest)
    }

    /// Moves one staged file into the store; see [`Self::adopt_all`].
    ///
    /// # Errors
    /// As [`Self::adopt_all`].
    pub fn adopt(&self, path: &Path, digest: Digest) -> Result<(), StoreError> {
        self.adopt_all(&[Staged {
            path: path.to_owned(),
            digest,
        }])
    }

    /// Moves staged files into the store after hashing each; durable when this returns. Their
    /// directory entries cost one sync together. A file whose blob is there already is removed.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`] or [`StoreError::NotAFile`] before any file is moved;
    /// [`StoreError::Full`] or [`StoreError::Disk`], after which some may have been moved: the call
    /// is then to be repeated with those that are still staged, even if none is.
    pub fn adopt_all(&self, staged: &[Staged]) -> Result<(), StoreError> {
        self.marks.touch(staged.iter().map(|file| file.digest));
        let checked: Vec<_> = staged.iter().map(check_staged).collect::<Result<_, _>>()?;
        let mut ready = Vec::new();
        for (file, bytes) in staged.iter().zip(checked) {
            let held = Held {
                digest: file.digest,
                bytes,
            };
            let is_synced = !self.is_present(held)?;
            if is_synced {
                self.sync_staged(&file.path)?;
            }
            ready.push(Ready {
                path: file.path.clone(),
                held,
                is_synced,
            });
        }
        self.publish(&ready)
    }

    fn sync_staged(&self, path: &Path) -> Result<(), StoreError> {
        let file = open_ordinary(path)?;
        file.set_permissions(Permissions::from_mode(BLOB_MODE))
            .at("set permissions of", path)?;
        self.disk.sync(&file, path).at("sync", path)
    }

    /// Gives files their names and waits until the names are durable. A name that is there by now
    /// is somebody else's, and perhaps acknowledged: it is left, so that it is never taken back.
    fn publish(&self, ready: &[Ready]) -> Result<(), StoreError> {
        let _guard = self.lock_names();
        let mut renamed = Vec::new();
        let mut superfluous = Vec::new();
        for file in ready {
            if self.is_present(file.held)? {
                superfluous.push(file);
                continue;
            }
            if !file.is_synced {
                self.sync_staged(&file.path)?;
            }
            let to = self.path(&file.held.digest);
            self.disk.rename(&file.path, &to).at("rename", &file.path)?;
            renamed.push(file);
        }
        let synced = self.sync_names();
        if synced.is_err() {
            self.take_back(&renamed);
            return synced;
        }
        for file in superfluous {
            discard(&*self.disk, &file.path);
        }
        Ok(())
    }

    /// Makes the name of a blob that was there durable, unless it is gone by now: whoever put it a
    /// moment ago may not have come to the sync, or have been killed before, or take it back.
    fn confirm(&self, held: Held) -> Result<bool, StoreError> {
        let _guard = self.lock_names();
        let is_there = self.is_present(held)?;
        if is_there {
            self.sync_names()?;
        }
        Ok(is_there)
    }

    fn lock_names(&self) -> MutexGuard<'_, ()> {
        self.publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A later sync may claim success for names that a failed one lost. Without the names whoever
    /// tries again begins anew.
    fn take_back(&self, renamed: &[&Ready]) {
        for file in renamed {
            let name = self.path(&file.held.digest);
            if let Err(error) = self.disk.rename(&name, &file.path) {
                tracing::warn!(%error, "a blob stays whose name may not be durable");
            }
        }
    }

    /// Whether the blob is in the store.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.bytes(digest)?.is_some())
    }

    /// The size of the blob, if it is in the store.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn bytes(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let path = self.path(digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("look up", &path, error)),
        }
    }

    /// Opens the blob for reading at any place, if it is in the store. What is read is not compared
    /// with the digest. The bytes stay readable when the blob is collected meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn open(&self, digest: &Digest) -> Result<Option<BlobFile>, StoreError> {
        BlobFile::open(self.path(digest), *digest)
    }

    /// The whole blob, compared with its digest, if it is in the store.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] over `bytes_max`, before anything is read; [`StoreError::Damaged`];
    /// [`StoreError::Disk`].
    pub fn read_verified(
        &self,
        digest: &Digest,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.open(digest)? else {
            return Ok(None);
        };
        let too_large = || StoreError::TooLarge {
            what: format!("blob {digest}"),
            bytes: file.bytes(),
            bytes_max,
        };
        let len = usize::try_from(file.bytes())
            .ok()
            .filter(|_| file.bytes() <= bytes_max);
        let bytes = file.read_at(0, len.ok_or_else(too_large)?)?;
        if Digest::of(&bytes) != *digest {
            return Err(StoreError::Damaged { digest: *digest });
        }
        Ok(Some(bytes))
    }

    /// All blobs, sorted by digest. Files with other names are none of ours and are left alone.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn list(&self) -> Result<Vec<Held>, StoreError> {
        let mut held = Vec::new();
        for entry in fs::read_dir(&self.dir).at("list", &self.dir)? {
            let entry = entry.at("list", &self.dir)?;
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) else {
                tracing::warn!(?name, "a foreign file lies among the blobs");
                continue;
            };
            if let Some(bytes) = self.bytes(&digest)? {
                held.push(Held { digest, bytes });
            }
        }
        held.sort_unstable();
        Ok(held)
    }

    /// Moves a blob whose bytes are wrong out of the way, so that the right ones can be put, and
    /// says where it went. Nothing happens if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn set_aside(&self, digest: &Digest) -> Result<Option<PathBuf>, StoreError> {
        self.move_aside(digest, || self.contains(digest))
    }

    /// The same for a file that was read, unless another has its name by now: somebody else may
    /// have moved it aside, and put the right bytes.
    pub(super) fn set_file_aside(&self, file: &BlobFile) -> Result<Option<PathBuf>, StoreError> {
        self.move_aside(&file.digest(), || file.is_in_place())
    }

    fn move_aside(
        &self,
        digest: &Digest,
        is_there: impl FnOnce() -> Result<bool, StoreError>,
    ) -> Result<Option<PathBuf>, StoreError> {
        let from = self.path(digest);
        let _guard = self.lock_names();
        let to = if is_there()? {
            Some(self.damaged_path(digest)?)
        } else {
            None
        };
        if let Some(to) = &to {
            self.disk.rename(&from, to).at("rename", &from)?;
        }
        // Also when it is gone: the last try may have failed just here.
        self.disk
            .sync_dir(&self.damaged)
            .at("sync", &self.damaged)?;
        self.sync_names()?;
        Ok(to)
    }

    fn damaged_path(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let first = self.damaged.join(digest.to_string());
        let others = (2..=DAMAGED_COPIES_MAX).map(|n| self.damaged.join(format!("{digest}.{n}")));
        for path in std::iter::once(first.clone()).chain(others) {
            if !path.try_exists().at("look up", &path)? {
                return Ok(path);
            }
        }
        Err(StoreError::io(
            "keep another copy beside",
            &first,
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    /// Removes a blob; for the collector only, which holds the marks while it asks.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        // The scrub may have moved it aside since it was listed.
        remove_if_there(&*self.disk, &self.path(digest))
    }

    pub(super) fn sync_names(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)
    }

    pub(super) fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    /// A file of another length under the right name is damage that this put repairs.
    fn is_present(&self, held: Held) -> Result<bool, StoreError> {
        Ok(self.bytes(&held.digest)? == Some(held.bytes))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }

    /// A name that no other put of this process has; of other processes none is left.
    fn temporary(&self) -> PathBuf {
        let number = self.temporary_count.fetch_add(1, Ordering::Relaxed);
        self.staging.join(format!("put-{number}"))
    }
}

/// Hashes a staged file and says how long it is.
fn check_staged(staged: &Staged) -> Result<u64, StoreError> {
    let mut file = open_ordinary(&staged.path)?;
    let mut digester = Digester::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    let mut bytes = 0_u64;
    loop {
        let len = file.read(&mut chunk).at("read", &staged.path)?;
        let Some(piece) = chunk.get(..len).filter(|piece| !piece.is_empty()) else {
            break;
        };
        digester.update(piece);
        bytes = bytes.saturating_add(length(piece));
    }
    let found = digester.digest();
    if found != staged.digest {
        let path = staged.path.clone();
        return Err(StoreError::WrongDigest {
            path,
            expected: staged.digest,
            found,
        });
    }
    Ok(bytes)
}

/// Opens a staged file, which another process made: not a link, not a pipe that would block us.
fn open_ordinary(path: &Path) -> Result<File, StoreError> {
    let is_file = fs::symlink_metadata(path).at("look up", path)?.is_file();
    let opened = is_file.then(|| open_nofollow(path));
    let file = opened.ok_or_else(|| StoreError::NotAFile {
        path: path.to_owned(),
    })?;
    file.at("open", path)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
