//! Where files come from: a listing of the whole tree first, the contents after.
//!
//! A source yields a [`Tree`] without reading a single content, so that a hostile tree is refused by
//! its size alone, and then [`Contents`] that reads one file after the other in pieces.

mod folder;
mod git;

pub(crate) use git::list_from;

use crate::error::{BuildError, Refusal, shown};
use crate::limits::Limits;
use crate::names::is_dot_git;
use crate::report::{Problem, Source};
use std::collections::BTreeMap;
use verge_sync::path;

/// A listed tree: names as they stand in the source, checked to be paths.
#[derive(Debug, Default)]
pub(crate) struct Folder(BTreeMap<String, Node>);

/// One entry.
#[derive(Debug)]
pub(crate) enum Node {
    Folder(Folder),
    File(File),
    Link(File),
    Submodule,
}

/// A file, or a symbolic link whose content is its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its path in the source, with `/`.
    pub(crate) path: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// The object that holds it, where the source is git.
    pub(crate) object: Option<String>,
}

/// What [`Listing::add`] is told.
pub(crate) enum Kind {
    Folder,
    File { bytes: u64, object: Option<String> },
    Link { bytes: u64, object: Option<String> },
    Submodule,
}

impl Folder {
    /// The entries in order of their names' bytes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Node> {
        self.0.get(name)
    }

    /// What stands at `path`, without following links.
    pub(crate) fn find<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<Place<'_>> {
        let mut place = Place::Folder(self);
        for name in path {
            let Place::Folder(folder) = place else {
                return None;
            };
            place = match folder.entry(name)? {
                Node::Folder(folder) => Place::Folder(folder),
                node => Place::Entry(node),
            };
        }
        Some(place)
    }
}

/// Something in a tree; the root is a folder without an entry.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Folder(&'a Folder),
    /// Never a folder.
    Entry(&'a Node),
}

/// Takes entries one by one, in the source's order, and holds them to the limits as they come.
pub(crate) struct Listing<'a> {
    limits: &'a Limits,
    root: Folder,
    entries: u32,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            root: Folder::default(),
            entries: 0,
        }
    }

    /// Adds what stands at `path`.
    pub(crate) fn add(&mut self, path: &[u8], kind: Kind) -> Result<(), Refusal> {
        self.entries = self.entries.saturating_add(1);
        if self.entries > self.limits.entries_max {
            return Err(Refusal::TooManyEntries {
                max: self.limits.entries_max,
            });
        }
        let folders = path.iter().filter(|byte| **byte == b'/').count();
        if folders > usize::try_from(self.limits.depth_max).unwrap_or(usize::MAX) {
            return Err(Refusal::TooDeep {
                path: shown(path),
                max: self.limits.depth_max,
            });
        }
        let path = checked_path(path)?;
        let node = match kind {
            Kind::Folder => Node::Folder(Folder::default()),
            Kind::Submodule => Node::Submodule,
            Kind::File { bytes, object } => Node::File(file(path, bytes, object)),
            Kind::Link { bytes, object } => Node::Link(file(path, bytes, object)),
        };
        self.insert(path, node);
        Ok(())
    }

    pub(crate) fn finish(self) -> Folder {
        self.root
    }

    /// Puts `node` at `path`, making the folders above it where the source did not name them.
    fn insert(&mut self, path: &str, node: Node) {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = &mut self.root;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            let entry = folder.0.entry(part.to_owned());
            let below = entry.or_insert_with(|| Node::Folder(Folder::default()));
            // A tree that has both a file and a folder of one name: fsck refuses it, and here the
            // first of them wins.
            let Node::Folder(below) = below else { return };
            folder = below;
        }
        folder.0.entry(name.to_owned()).or_insert(node);
    }
}

fn file(path: &str, bytes: u64, object: Option<String>) -> File {
    File {
        path: path.to_owned(),
        bytes,
        object,
    }
}

/// Holds a path of the source to the rules for paths, `.git` in any spelling first.
fn checked_path(bytes: &[u8]) -> Result<&str, Refusal> {
    let text =
        std::str::from_utf8(bytes).map_err(|_not_utf8| Refusal::NotText { path: shown(bytes) })?;
    if text.split('/').any(is_dot_git) {
        return Err(Refusal::GitName { path: shown(bytes) });
    }
    path::check(text).map_err(|reason| Refusal::Name {
        path: shown(bytes),
        reason,
    })?;
    Ok(text)
}

/// Reads the files of a listed tree.
pub(crate) enum Contents {
    Git(git::Objects),
    Folder(folder::Files),
}

/// Lists `source` within `limits`.
pub(crate) fn list(
    source: &Source,
    limits: &Limits,
    problem: &mut dyn FnMut(Problem),
) -> Result<(Folder, Contents), BuildError> {
    match source {
        Source::Git {
            program,
            git_dir,
            objects_env,
            commit,
        } => {
            let git = git::Git::new(program, git_dir, objects_env);
            let tree = git.list(commit, limits)?;
            Ok((tree, Contents::Git(git.objects()?)))
        }
        Source::Folder(root) => {
            let tree = folder::list(root, limits, problem)?;
            Ok((tree, Contents::Folder(folder::Files::new(root))))
        }
    }
}

impl Contents {
    /// One more reader of the same files, for another thread.
    pub(crate) fn another(&self) -> Result<Self, BuildError> {
        match self {
            Self::Git(objects) => objects.another().map(Self::Git),
            Self::Folder(files) => Ok(Self::Folder(files.another())),
        }
    }

    /// Gives the bytes of `file` to `sink`, in order, in pieces.
    pub(crate) fn read(
        &mut self,
        file: &File,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        match self {
            Self::Git(objects) => objects.read(file, sink),
            Self::Folder(files) => files.read(file, sink),
        }
    }

    /// The target of a symbolic link.
    pub(crate) fn read_link(&mut self, link: &File) -> Result<Vec<u8>, BuildError> {
        match self {
            Self::Git(_) => self.read_whole(link),
            Self::Folder(files) => files.read_link(link),
        }
    }

    /// All bytes of a file that is known to be small.
    pub(crate) fn read_whole(&mut self, file: &File) -> Result<Vec<u8>, BuildError> {
        let mut bytes = Vec::new();
        self.read(file, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }
}
