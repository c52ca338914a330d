//! A folder of this machine as a source.

use super::{File, Folder, Kind, Listing};
use crate::error::{BuildError, Refusal, shown};
use crate::limits::Limits;
use crate::report::Problem;
use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use std::fs::File as OpenFile;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Lists `root` without following links. A folder called `.git` is not part of a site and is not
/// even looked into; sockets and their like are left out and reported.
pub(super) fn list(
    root: &Path,
    limits: &Limits,
    problem: &mut dyn FnMut(Problem),
) -> Result<Folder, BuildError> {
    let mut listing = Listing::new(limits);
    let walk = WalkDir::new(root)
        .min_depth(1)
        .follow_links(false)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".git");
    for entry in walk {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            BuildError::disk("list", &path)(error.into())
        })?;
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let kind = entry.file_type();
        let kind = if kind.is_dir() {
            Kind::Folder
        } else if kind.is_symlink() {
            Kind::Link {
                bytes: 0,
                object: None,
            }
        } else if kind.is_file() {
            let metadata = entry
                .metadata()
                .map_err(|error| BuildError::disk("read", entry.path())(error.into()))?;
            Kind::File {
                bytes: metadata.len(),
                object: None,
            }
        } else {
            problem(not_a_file(path));
            continue;
        };
        listing.add(path.as_os_str().as_bytes(), kind)?;
    }
    Ok(listing.finish())
}

fn not_a_file(path: &Path) -> Problem {
    Problem {
        path: shown(path.as_os_str().as_bytes()),
        line: None,
        what: "neither a file nor a folder, left out".to_owned(),
        instead: String::new(),
    }
}

/// Reads the files below a folder. Somebody may change it meanwhile, so every step of a path is
/// taken from the folder before, and none through a link: what was not listed is never read.
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn another(&self) -> Self {
        Self::new(&self.root)
    }

    /// The folder that `path` lies in, and the name there.
    fn above<'a>(&self, path: &'a str) -> rustix::io::Result<(OwnedFd, &'a str)> {
        let is_folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // The folder itself may be a link: whoever named it chose it.
        let mut folder = openat(CWD, &self.root, is_folder, Mode::empty())?;
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in above.split('/').filter(|part| !part.is_empty()) {
            folder = openat(&folder, part, is_folder | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok((folder, name))
    }

    /// Opens a file; never waits, as for the writer of a pipe that took its place.
    fn open(&self, file: &File) -> Result<OpenFile, BuildError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self
            .above(&file.path)
            .and_then(|(folder, name)| openat(folder, name, flags, Mode::empty()));
        let opened = OpenFile::from(opened.map_err(|error| self.failed("open", file, error))?);
        let path = self.root.join(&file.path);
        let metadata = opened
            .metadata()
            .map_err(BuildError::disk("look up", &path))?;
        if metadata.is_file() {
            Ok(opened)
        } else {
            Err(changed(file))
        }
    }

    /// What was listed as one thing and is another by now was changed by somebody.
    fn failed(&self, action: &'static str, file: &File, error: Errno) -> BuildError {
        match error {
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO | Errno::INVAL => {
                changed(file)
            }
            error => BuildError::disk(action, &self.root.join(&file.path))(error.into()),
        }
    }

    pub(super) fn read(
        &mut self,
        file: &File,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let path = self.root.join(&file.path);
        let mut from = self.open(file)?;
        let mut piece = vec![0; super::git::PIECE_BYTES];
        let mut left = file.bytes;
        loop {
            let count = from
                .read(&mut piece)
                .map_err(BuildError::disk("read", &path))?;
            let read = piece.get(..count).unwrap_or_default();
            // A file that grew ends here and not when the disk is full.
            left = u64::try_from(count)
                .ok()
                .and_then(|count| left.checked_sub(count))
                .ok_or_else(|| changed(file))?;
            if read.is_empty() {
                break;
            }
            sink(read)?;
        }
        if left > 0 {
            return Err(changed(file));
        }
        Ok(())
    }

    pub(super) fn read_link(&mut self, link: &File) -> Result<Vec<u8>, BuildError> {
        let target = self
            .above(&link.path)
            .and_then(|(folder, name)| readlinkat(folder, name, Vec::new()));
        let target = target.map_err(|error| self.failed("read", link, error))?;
        Ok(target.into_bytes())
    }
}

fn changed(file: &File) -> BuildError {
    BuildError::Refused(Refusal::Changed {
        path: file.path.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_that_is_not_as_long_as_it_was_listed_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.txt"), b"0123456789").unwrap();
        let mut files = Files::new(root.path());
        let mut read = |bytes| {
            let file = File {
                path: "a.txt".to_owned(),
                bytes,
                object: None,
            };
            files
                .read(&file, &mut |_| Ok(()))
                .map_err(|error| error.to_string())
        };
        let changed = "a.txt changed while it was read: publish again when nothing writes to it";
        assert_eq!(read(10), Ok(()));
        for listed in [0, 9, 11] {
            assert_eq!(read(listed), Err(changed.to_owned()), "{listed}");
        }
    }

    /// A change of the folder after it was listed.
    type Change = fn(&Path);

    #[test]
    fn nothing_is_read_that_took_a_listed_files_place() {
        let changes: [(&str, Change); 6] = [
            ("a link at its name", |root| {
                std::fs::remove_file(root.join("site/a/b.txt")).unwrap();
                symlink("../../secret/b.txt", root.join("site/a/b.txt")).unwrap();
            }),
            ("a link at its folder", |root| {
                std::fs::remove_dir_all(root.join("site/a")).unwrap();
                symlink("../secret", root.join("site/a")).unwrap();
            }),
            ("a pipe", |root| {
                std::fs::remove_file(root.join("site/a/b.txt")).unwrap();
                let pipe = root.join("site/a/b.txt");
                let made = std::process::Command::new("mkfifo").arg(pipe).status();
                assert!(made.unwrap().success());
            }),
            ("a folder", |root| {
                std::fs::remove_file(root.join("site/a/b.txt")).unwrap();
                std::fs::create_dir(root.join("site/a/b.txt")).unwrap();
            }),
            ("a file at its folder", |root| {
                std::fs::remove_dir_all(root.join("site/a")).unwrap();
                std::fs::write(root.join("site/a"), b"a file").unwrap();
            }),
            ("nothing", |root| {
                std::fs::remove_file(root.join("site/a/b.txt")).unwrap();
            }),
        ];
        for (name, change) in changes {
            let root = tempfile::tempdir().unwrap();
            for folder in ["site/a", "secret"] {
                std::fs::create_dir_all(root.path().join(folder)).unwrap();
                std::fs::write(root.path().join(folder).join("b.txt"), b"0123456789").unwrap();
            }
            let mut files = Files::new(&root.path().join("site"));
            let file = File {
                path: "a/b.txt".to_owned(),
                bytes: 10,
                object: None,
            };
            files.read(&file, &mut |_| Ok(())).unwrap();
            change(root.path());
            let mut read = Vec::new();
            let error = files.read(&file, &mut |piece| {
                read.extend_from_slice(piece);
                Ok(())
            });
            let sentence = error.unwrap_err().to_string();
            assert!(
                sentence.starts_with("a/b.txt changed while it was read"),
                "{name}: {sentence}"
            );
            assert_eq!(read, b"", "{name}");
        }
    }

    #[test]
    fn a_link_is_read_where_it_was_listed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a")).unwrap();
        symlink("b.txt", root.path().join("a/link")).unwrap();
        std::fs::write(root.path().join("a/b.txt"), b"").unwrap();
        let mut files = Files::new(root.path());
        let mut read = |path: &str| {
            let link = File {
                path: path.to_owned(),
                bytes: 0,
                object: None,
            };
            files.read_link(&link).map_err(|error| error.to_string())
        };
        assert_eq!(read("a/link"), Ok(b"b.txt".to_vec()));
        let changed = "changed while it was read: publish again when nothing writes to it";
        assert_eq!(read("a/b.txt"), Err(format!("a/b.txt {changed}")));
        symlink("a", root.path().join("c")).unwrap();
        assert_eq!(read("c/link"), Err(format!("c/link {changed}")));
    }
}
