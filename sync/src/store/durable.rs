//! The only code of the project that syncs and renames.
//!
//! A file that is renamed before it is synced is empty after a power cut, and a name whose
//! directory was not synced is gone: so all of both goes through [`Disk`], which the tests replace
//! by a twin that stops at each step in turn and forgets what was not synced.

use super::error::{At, StoreError};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The steps by which something becomes durable. None but `sync` and `sync_dir` survives a power
/// cut by itself.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory for us alone (0700); it is an error if the path exists.
    ///
    /// # Errors
    /// What the system answers.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file with exactly these permission bits and writes `bytes`; it is an error if the
    /// path exists.
    ///
    /// # Errors
    /// What the system answers; a part of the file may be there.
    fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<File>;

    /// Waits until the bytes of `file`, which is at `path`, are on the disk.
    ///
    /// # Errors
    /// What the system answers. The bytes must then be written anew: a second sync may claim
    /// success although pages were dropped.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;

    /// Waits until the names in `dir` are on the disk.
    ///
    /// # Errors
    /// What the system answers.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Moves a file to another name on the same file system, replacing what is there.
    ///
    /// # Errors
    /// What the system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// What the system answers.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all that is in it.
    ///
    /// # Errors
    /// What the system answers; a part may be gone.
    fn remove_tree(&self, dir: &Path) -> io::Result<()>;
}

/// The machine's file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(dir)
    }

    fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        // The mode given to open is cut by the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        Ok(file)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()?;
        // After XFS has shut down for an error it answers the sync of a directory with success,
        // though the names are lost, but refuses to open one. Seen once in its first 36 power cuts.
        // The sync of a file it refuses.
        File::open(dir).map(drop)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the only place that renames"
    )]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }
}

/// Writes or replaces the file at `path`: when this returns, a power cut leaves the new bytes; when
/// one comes earlier, it leaves the former file or the new one.
///
/// `mode` holds from the first moment, so a secret is never readable by others. Two callers must
/// not write one path at the same time.
///
/// # Errors
/// [`StoreError::Full`] or [`StoreError::Disk`]; the former file is then still there, unless only
/// the last step (the directory's sync) failed.
pub fn write_file_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    write_file_durably_on(&LocalDisk, path, bytes, mode)
}

/// [`write_file_durably`] on a given disk.
///
/// # Errors
/// As [`write_file_durably`].
pub fn write_file_durably_on(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<(), StoreError> {
    let temporary = temporary_beside(path)?;
    // Left by a crash; not trusted, because its mode may have been another.
    remove_if_there(disk, &temporary)?;
    let written = create_synced(disk, &temporary, bytes, mode)
        .and_then(|()| disk.rename(&temporary, path).at("rename", &temporary));
    if let Err(error) = written {
        discard(disk, &temporary);
        return Err(error);
    }
    let dir = parent(path);
    disk.sync_dir(dir).at("sync", dir)
}

/// Makes the file at `path`, which must not be there: when this returns, a power cut leaves it. For
/// secrets that are moved and must not replace another.
///
/// # Errors
/// [`StoreError::Full`] or [`StoreError::Disk`]; nothing is left at `path` that was not there.
pub fn create_file_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let disk = LocalDisk;
    let dir = parent(path);
    // Where something is there, a dangling link too, this refuses.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .at("make", path)?;
    let written = file
        .set_permissions(Permissions::from_mode(mode))
        .and_then(|()| (&file).write_all(bytes))
        .at("write", path)
        .and_then(|()| disk.sync(&file, path).at("sync", path))
        .and_then(|()| disk.sync_dir(dir).at("sync", dir));
    if written.is_err() {
        discard(&disk, path);
    }
    written
}

/// Removes the file at `path`, if it is there: when this returns, its name is gone for good. Its
/// bytes may still lie on the disk.
///
/// # Errors
/// [`StoreError::Disk`].
pub fn remove_file_durably(path: &Path) -> Result<(), StoreError> {
    remove_if_there(&LocalDisk, path)?;
    let dir = parent(path);
    LocalDisk.sync_dir(dir).at("sync", dir)
}

/// Gives a directory that is written to its end its name, which nothing may have: when this returns,
/// a power cut leaves all of it. For what people take away; one sync of the whole file system
/// instead of one for each of its files.
///
/// # Errors
/// [`StoreError::Full`] or [`StoreError::Disk`]; the directory still has its former name, unless only
/// the last step (the sync of the directory around it) failed.
pub fn place_tree_durably(from: &Path, to: &Path) -> Result<(), StoreError> {
    let tree = File::open(from).at("open", from)?;
    rustix::fs::syncfs(&tree)
        .map_err(io::Error::from)
        .at("sync", from)?;
    rename_to_new(from, to).at("rename", from)?;
    let dir = parent(to);
    LocalDisk.sync_dir(dir).at("sync", dir)
}

/// Renames where nothing is; on a file system that cannot promise that, after a look.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
        done => return done.map_err(io::Error::from),
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    LocalDisk.rename(from, to)
}

/// Makes a file and waits until its bytes, not yet its name, are on the disk.
pub(super) fn create_synced(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<(), StoreError> {
    let file = disk.create(path, bytes, mode).at("write", path)?;
    disk.sync(&file, path).at("sync", path)
}

/// Removes a file that is of no more use; if that fails, the next start does it.
pub(super) fn discard(disk: &dyn Disk, path: &Path) {
    if let Err(error) = remove_if_there(disk, path) {
        tracing::debug!(%error, "a temporary file stays until the next start");
    }
}

pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}

fn temporary_beside(path: &Path) -> Result<PathBuf, StoreError> {
    let Some(name) = path.file_name() else {
        return Err(StoreError::NotAFile {
            path: path.to_owned(),
        });
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        write_file_durably(&path, b"one", 0o644).unwrap();
        fs::write(dir.path().join(".seed.new"), b"left by a crash").unwrap();
        write_file_durably(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_made_only_where_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_file_durably(&path, b"one", 0o600).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(create_file_durably(&path, b"two", 0o600).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
        assert!(create_file_durably(&link, b"two", 0o600).is_err());
        assert!(link.symlink_metadata().is_ok());
        remove_file_durably(&path).unwrap();
        remove_file_durably(&path).unwrap();
        assert!(!path.exists());
        create_file_durably(&path, b"two", 0o600).unwrap();
    }

    #[test]
    fn a_tree_gets_its_name_only_where_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = [".tree.new", "tree"].map(|name| dir.path().join(name));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("file"), b"bytes").unwrap();
        // Rename alone would replace an empty directory.
        fs::create_dir(&to).unwrap();
        assert!(place_tree_durably(&from, &to).is_err());
        fs::remove_dir(&to).unwrap();
        std::os::unix::fs::symlink("nowhere", &to).unwrap();
        assert!(place_tree_durably(&from, &to).is_err());
        fs::remove_file(&to).unwrap();
        place_tree_durably(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("file")).unwrap(), b"bytes");
        assert!(!from.exists());
    }

    #[test]
    fn a_path_without_a_name_is_refused() {
        let refused = write_file_durably(Path::new("/"), b"", 0o600);
        assert!(
            matches!(refused, Err(StoreError::NotAFile { .. })),
            "{refused:?}"
        );
    }
}
