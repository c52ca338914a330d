//! A folder that is written whole or not at all, outside of the data directory.
//!
//! Every name in it is a checked path, and every file and folder is made, never opened: what is
//! there already, be it a link, was put there by somebody else, or by this file system, for which
//! two names are one. Either way the export ends with a sentence.
//! What a crash left under a temporary name is removed by the next export to the same folder: whoever
//! still writes there holds a lock on it.

use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use verge_sync::digest::{Digest, Digester};
use verge_sync::path;
use verge_sync::store::{StoreError, place_tree_durably};

/// What is hashed at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Why the folder cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It would replace something.
    #[error("{} is there already: name a folder that is not", .0.display())]
    Exists(PathBuf),
    /// Nowhere to put it.
    #[error("{} is no path to a new folder: name one like /home/me/export", .0.display())]
    NoName(PathBuf),
    /// Inside the node's own things.
    #[error("{} lies in the node's data directory: name a folder elsewhere", .0.display())]
    OwnData(PathBuf),
    /// A name that could lead elsewhere.
    #[error("{path:?} cannot be a file of a folder ({reason}): nothing was written")]
    Path {
        /// The name.
        path: String,
        /// Which rule it breaks.
        reason: path::PathError,
    },
    /// A file is to be where a folder is.
    #[error(
        "the site has both the file {file} and {below} below it, which no file system can hold: take it out as archive.tar, or rename one of them; nothing was written"
    )]
    FileAndFolder {
        /// The file.
        file: String,
        /// What needs it to be a folder.
        below: String,
    },
    /// Two names that the target's file system takes for one.
    #[error(
        "{path} and {other} are one and the same name on the file system of the folder: export to one that tells small letters from capital ones; nothing was written"
    )]
    SameName {
        /// The one that came second.
        path: String,
        /// The one that is there.
        other: String,
    },
    /// The disk.
    #[error("{action} {}: {source}; nothing was written", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The last step.
    #[error("{0}; nothing was written")]
    Place(#[from] StoreError),
}

/// A folder under its temporary name; dropping it removes it.
#[derive(Debug)]
pub struct Folder {
    temporary: PathBuf,
    target: PathBuf,
    made: BTreeMap<String, Kind>,
    /// That of [`Folder::temporary`], locked.
    _lock: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

impl Folder {
    /// Makes it beside `target`, which must not be there, nor lie in `own`.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn begin(target: &Path, own: &Path) -> Result<Self, FolderError> {
        let no_name = || FolderError::NoName(target.to_owned());
        let name = target.file_name().ok_or_else(no_name)?;
        let above = target.parent().filter(|above| above.is_absolute());
        let above = above.ok_or_else(no_name)?;
        let above = above.canonicalize().map_err(at("find", above))?;
        let target = above.join(name);
        let own = own.canonicalize().map_err(at("find", own))?;
        if target.starts_with(&own) {
            return Err(FolderError::OwnData(target));
        }
        if target.symlink_metadata().is_ok() {
            return Err(FolderError::Exists(target));
        }
        sweep(&above, &name.to_string_lossy());
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_random| FolderError::NoName(target.clone()))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{:016x}", u64::from_le_bytes(random)));
        let temporary = above.join(temporary);
        make(&temporary).map_err(at("make", &temporary))?;
        let lock = lock(&temporary).map_err(at("lock", &temporary))?;
        Ok(Self {
            temporary,
            target,
            made: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// A new file at a path of checked segments, with the folders above it; and where it is.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn file(&mut self, path: &str) -> Result<(File, PathBuf), FolderError> {
        // Each part alone: what a site's path may have is counted without the folders above it.
        for part in path.split('/') {
            path::check(part).map_err(|reason| FolderError::Path {
                path: path.to_owned(),
                reason,
            })?;
        }
        for (end, _) in path.match_indices('/') {
            self.folder(path.get(..end).unwrap_or_default(), path)?;
        }
        if let Some(kind) = self.made.get(path) {
            return Err(self.clash(path, *kind));
        }
        let at_path = self.temporary.join(path);
        let mut options = OpenOptions::new();
        // Never through a link, nor into a file that is there.
        let file = options.write(true).create_new(true).mode(0o644);
        let file = file.open(&at_path);
        let file = file.map_err(|error| self.refused(path, &at_path, error))?;
        self.made.insert(path.to_owned(), Kind::File);
        Ok((file, at_path))
    }

    /// A new file with these bytes.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn put(&mut self, path: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let (mut file, at_path) = self.file(path)?;
        file.write_all(bytes).map_err(at("write", &at_path))
    }

    /// Waits until everything is on the disk, and gives it its name.
    ///
    /// # Errors
    /// [`FolderError`]; the folder is removed.
    pub fn finish(self) -> Result<PathBuf, super::ExportError> {
        place_tree_durably(&self.temporary, &self.target).map_err(FolderError::from)?;
        Ok(self.target.clone())
    }

    fn folder(&mut self, path: &str, below: &str) -> Result<(), FolderError> {
        match self.made.get(path) {
            Some(Kind::Folder) => return Ok(()),
            Some(Kind::File) => {
                return Err(FolderError::FileAndFolder {
                    file: inside(path).to_owned(),
                    below: inside(below).to_owned(),
                });
            }
            None => {}
        }
        let at_path = self.temporary.join(path);
        make(&at_path).map_err(|error| self.refused(path, &at_path, error))?;
        self.made.insert(path.to_owned(), Kind::Folder);
        Ok(())
    }

    fn clash(&self, path: &str, kind: Kind) -> FolderError {
        let beginning = format!("{path}/");
        let below = self.made.keys().find(|made| made.starts_with(&beginning));
        match (kind, below) {
            (Kind::Folder, Some(below)) => FolderError::FileAndFolder {
                file: inside(path).to_owned(),
                below: inside(below).to_owned(),
            },
            _ => self.same_name(path),
        }
    }

    /// What the system would not make: if it says that it is there, it is one that was made.
    fn refused(&self, path: &str, at_path: &Path, error: io::Error) -> FolderError {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return self.same_name(path);
        }
        at("write", at_path)(error)
    }

    fn same_name(&self, path: &str) -> FolderError {
        let folded = path.to_lowercase();
        let mut made = self.made.keys();
        let other = made.find(|made| made.to_lowercase() == folded);
        FolderError::SameName {
            path: inside(path).to_owned(),
            other: other
                .map_or("another one", |other| inside(other))
                .to_owned(),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.temporary.display(), "stays, and may be removed");
            }
            _ => {}
        }
    }
}

/// Fails where somebody else holds it.
fn lock(folder: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY;
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(folder)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Removes what crashes have left of exports to the folder `name`. What cannot be removed stays.
fn sweep(above: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(above) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if is_left(&entry.file_name().to_string_lossy(), name)
            && let Ok(_lock) = lock(&path)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(%error, path = %path.display(), "what an export left stays");
        }
    }
}

/// Whether it is a temporary name for `name`.
fn is_left(found: &str, name: &str) -> bool {
    let digits = found
        .strip_prefix('.')
        .and_then(|rest| rest.strip_prefix(name));
    let digits = digits.and_then(|rest| rest.strip_prefix('.'));
    digits.is_some_and(|digits| {
        digits.len() == 16
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The digest and length of a file that was just written.
pub(super) fn hash(path: &Path) -> Result<(Digest, u64), FolderError> {
    let mut file = File::open(path).map_err(at("open", path))?;
    let (mut digester, mut bytes) = (Digester::new(), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = file.read(&mut chunk).map_err(at("read", path))?;
        match chunk.get(..length) {
            None | Some([]) => return Ok((digester.digest(), bytes)),
            Some(read) => digester.update(read),
        }
        bytes = bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }
}

/// The path as the publisher knows it.
fn inside(path: &str) -> &str {
    path.split_once("/files/")
        .map_or(path, |(_, inside)| inside)
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Disk {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        own: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                own: tempfile::tempdir().unwrap(),
            }
        }

        fn begin(&self) -> Folder {
            Folder::begin(&self.dir.path().join("out"), self.own.path()).unwrap()
        }

        /// The sentence for the last of these paths, if it was refused.
        fn put(&self, paths: &[&str]) -> Option<String> {
            let mut folder = self.begin();
            let (last, before) = paths.split_last().unwrap();
            before
                .iter()
                .for_each(|path| folder.put(path, b"x").unwrap());
            let refused = folder.put(last, b"x").err();
            refused.map(|error| error.to_string())
        }

        fn is_empty(&self) -> bool {
            fs::read_dir(self.dir.path()).unwrap().next().is_none()
        }
    }

    #[test]
    fn paths() {
        let place = Place::new();
        let long = "a".repeat(256);
        let rows: &[(&[&str], Option<&str>)] = &[
            (&["a"], None),
            (&["a/b/c d/\u{e9}.html"], None),
            (&["s/files/index.html", "s/files/Index.html"], None),
            (&["s/files/A/x", "s/files/a/x"], None),
            (&[".."], Some("cannot be a file")),
            (&["a/../../b"], Some("cannot be a file")),
            (&["/etc/passwd"], Some("cannot be a file")),
            (&["a//b"], Some("cannot be a file")),
            (&["a/."], Some("cannot be a file")),
            (&[""], Some("cannot be a file")),
            (&["a\\b"], Some("cannot be a file")),
            (&["a\0b"], Some("cannot be a file")),
            (&["a\nb"], Some("cannot be a file")),
            (&[&long], Some("cannot be a file")),
            (
                &["s/files/a", "s/files/a/b"],
                Some("the site has both the file a and a/b below it"),
            ),
            (
                &["s/files/a/b", "s/files/a"],
                Some("the site has both the file a and a/b below it"),
            ),
            (&["a", "a"], Some("a and a are one and the same name")),
        ];
        for (paths, expected) in rows {
            let refused = place.put(paths);
            match (&refused, expected) {
                (None, None) => {}
                (Some(sentence), Some(words)) => {
                    assert!(sentence.contains(words), "{paths:?}: {sentence}");
                }
                _ => panic!("{paths:?}: {refused:?}"),
            }
            assert!(place.is_empty(), "{paths:?}");
        }
    }

    /// What a file system answers that takes both names for one.
    #[test]
    fn names_that_are_one_to_the_file_system_are_told() {
        let place = Place::new();
        let mut folder = place.begin();
        folder.put("sites/s/files/Index.html", b"one").unwrap();
        folder.put("sites/s/files/A/x", b"one").unwrap();
        let files = folder.temporary.join("sites/s/files");
        fs::write(files.join("index.html"), b"one").unwrap();
        fs::create_dir(files.join("a")).unwrap();
        for (path, words) in [
            (
                "sites/s/files/index.html",
                "index.html and Index.html are one and the same name",
            ),
            ("sites/s/files/a/y", "a and A are one and the same name"),
        ] {
            let sentence = folder.put(path, b"two").unwrap_err().to_string();
            assert!(sentence.starts_with(words), "{sentence}");
        }
        assert_eq!(fs::read(files.join("Index.html")).unwrap(), b"one");
        drop(folder);
        assert!(place.is_empty());
    }

    #[test]
    fn no_link_is_followed() {
        let place = Place::new();
        let outside = tempfile::tempdir().unwrap();
        let mut folder = place.begin();
        folder.put("sites/s/files/x", b"x").unwrap();
        let files = folder.temporary.join("sites/s/files");
        let link = std::os::unix::fs::symlink::<&Path, PathBuf>;
        link(outside.path(), files.join("folder")).unwrap();
        link(&outside.path().join("new"), files.join("file")).unwrap();
        assert!(folder.put("sites/s/files/folder/y", b"y").is_err());
        assert!(folder.put("sites/s/files/file", b"y").is_err());
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    }

    #[test]
    fn what_a_crash_left_is_removed_by_the_next_export_and_nothing_else_is() {
        let place = Place::new();
        let under_way = place.begin();
        let left = place.dir.path().join(".out.0123456789abcdef");
        fs::create_dir_all(left.join("sites/half")).unwrap();
        let others = [
            ".out.0123456789abcdeg",
            ".out.1",
            ".other.0123456789abcdef",
            "out2",
        ];
        for other in others {
            fs::create_dir(place.dir.path().join(other)).unwrap();
        }
        let folder = place.begin();
        assert!(!left.exists());
        assert!(under_way.temporary.exists() && folder.temporary.exists());
        for other in others {
            assert!(place.dir.path().join(other).exists(), "{other}");
        }
    }

    #[test]
    fn a_finished_folder_is_there_and_replaces_nothing() {
        let place = Place::new();
        let mut folder = place.begin();
        folder.put("a/b", b"bytes").unwrap();
        let target = folder.finish().unwrap();
        assert_eq!(fs::read(target.join("a/b")).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 1);
        let again = Folder::begin(&target, place.own.path()).unwrap_err();
        assert!(again.to_string().contains("is there already"), "{again}");
        // Also one that came meanwhile, and an empty one.
        let second = place.dir.path().join("second");
        let folder = Folder::begin(&second, place.own.path()).unwrap();
        fs::create_dir(&second).unwrap();
        assert!(folder.finish().is_err());
        assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 2);
        let inside = place.own.path().join("x");
        let own = Folder::begin(&inside, place.own.path()).unwrap_err();
        assert!(own.to_string().contains("data directory"), "{own}");
        for path in ["relative", "/", "/.."] {
            assert!(Folder::begin(Path::new(path), place.own.path()).is_err());
        }
    }
}
