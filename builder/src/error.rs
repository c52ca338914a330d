//! Why there is no version: the publisher's tree, or the node's own trouble.
//!
//! The text of each is the sentence that the pusher reads, so it names the path and says what to do.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use verge_sync::manifest::{EncodeError, MANIFEST_BYTES_MAX, ManifestError};
use verge_sync::path::PathError;

/// A build that ended without a version.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The publisher's tree cannot be published as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node could not read or write a file of its own.
    #[error("the node could not {action} {path}: its steward has to look; nothing was changed")]
    Disk {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The node's disk is full.
    #[error(
        "the node's disk is full ({path}): push to another node of the region, or tell its steward; nothing was changed"
    )]
    DiskFull {
        /// The file that could not be written.
        path: String,
    },
    /// `git` did not do what it was asked.
    #[error("the node could not read the commit with git ({0}): push again, or tell its steward")]
    Git(String),
    /// Bytes of the version before are not what its manifest says.
    #[error("the node's stored copy of the version before is damaged ({0}): tell its steward")]
    Store(String),
    /// A coding whose bytes did not decode to what went in: an error of ours.
    #[error("{path}: its {coding} form does not decode to the same bytes; please report this")]
    Coding {
        /// The file.
        path: String,
        /// The coding's name.
        coding: &'static str,
    },
    /// The builder contradicts itself: an error of ours.
    #[error("the builder contradicts itself ({0}); please report this")]
    Inconsistent(String),
}

/// What is wrong with the publisher's tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More entries than the limit.
    #[error(
        "the tree has more than {max} files and folders: push only what belongs to the site, for example on a branch \"pages\""
    )]
    TooManyEntries {
        /// The limit.
        max: u32,
    },
    /// A path with more folders than the limit.
    #[error("{path} lies more than {max} folders deep: move it up")]
    TooDeep {
        /// The path.
        path: String,
        /// The limit.
        max: u32,
    },
    /// A file over the limit.
    #[error("{path} has {bytes} bytes, a file may have {max}: make it smaller or leave it out")]
    FileTooLarge {
        /// The file.
        path: String,
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// All files together are over the limit.
    #[error(
        "the site has more than {max} bytes, reached at {path}: make files smaller or leave some out"
    )]
    SiteTooLarge {
        /// The first file, in order of paths, that is too much.
        path: String,
        /// The limit.
        max: u64,
    },
    /// More paths than a manifest can hold.
    #[error(
        "the table of the site's paths would have {bytes} bytes, it may have {max}: publish fewer files",
        max = MANIFEST_BYTES_MAX
    )]
    TableTooLarge {
        /// What it would have taken.
        bytes: u64,
    },
    /// `.git` in some spelling.
    #[error("{path}: no file or folder may be called .git in any spelling: rename it")]
    GitName {
        /// The path.
        path: String,
    },
    /// A name with a character, a part or a length that no path of a site can have.
    #[error("{path}: {reason}: rename it")]
    Name {
        /// The path, made printable.
        path: String,
        /// Which rule it breaks.
        reason: PathError,
    },
    /// A name that is not text.
    #[error("{path}: the name is not UTF-8 text: rename it")]
    NotText {
        /// The path, made printable.
        path: String,
    },
    /// Two names that browsers cannot tell apart.
    #[error("{first} and {second} are one and the same address (Unicode NFC): remove one of them")]
    SameName {
        /// One, made printable.
        first: String,
        /// The other, made printable.
        second: String,
    },
    /// A symbolic link that leaves the tree.
    #[error(
        "{link} is a symbolic link to {target}, outside the tree: put a copy of the file there"
    )]
    LinkOutside {
        /// The link.
        link: String,
        /// Its target.
        target: String,
    },
    /// A symbolic link to nothing.
    #[error(
        "{link} is a symbolic link to {target}, which is not in the tree: add it or remove the link"
    )]
    LinkToNothing {
        /// The link.
        link: String,
        /// Its target.
        target: String,
    },
    /// A symbolic link that ends at itself, or at a folder that it lies in.
    #[error("{link} is a symbolic link to {target}, which leads back to itself: remove the link")]
    LinkLoop {
        /// The link.
        link: String,
        /// Its target.
        target: String,
    },
    /// A symbolic link to what is not published itself.
    #[error(
        "{link} is a symbolic link to {target}, which is never published itself: put a copy of the file there if it is meant to be public"
    )]
    LinkToHidden {
        /// The link.
        link: String,
        /// Its target.
        target: String,
    },
    /// A submodule.
    #[error(
        "{path} is a git submodule, and its files are not part of this commit: replace it by the files (git rm --cached {path}; git add {path}/)"
    )]
    Submodule {
        /// Where it is.
        path: String,
    },
    /// A Git LFS pointer in place of a file.
    #[error(
        "{path} is a Git LFS pointer instead of the file itself: run `git lfs migrate export --include=\"{path}\"` and push again"
    )]
    LfsPointer {
        /// Where it is.
        path: String,
    },
    /// A name that looks like a secret.
    #[error(
        "{path} looks like a secret: remove it and replace the secret, or, if it is meant to be public, write allow_secrets = [\"{path}\"] in verge.toml"
    )]
    Secret {
        /// Where it is.
        path: String,
    },
    /// `verge.toml` cannot be read.
    #[error("verge.toml:{line}: {what}: correct the line and push again")]
    Settings {
        /// The line, from 1.
        line: u32,
        /// What is wrong.
        what: String,
    },
    /// The folder that `verge.toml` names is not there.
    #[error(
        "verge.toml:{line}: publish = \"{folder}\" names no folder of the tree: correct it, or commit the folder"
    )]
    PublishMissing {
        /// The line, from 1.
        line: u32,
        /// The folder.
        folder: String,
    },
    /// Nothing to publish.
    #[error("there is nothing to publish in {folder}: add at least an index.html")]
    Empty {
        /// The folder that would have been published.
        folder: String,
    },
    /// A file of a folder that somebody writes to.
    #[error("{path} changed while it was read: publish again when nothing writes to it")]
    Changed {
        /// The file.
        path: String,
    },
}

/// Who has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The publisher: the tree.
    Publisher,
    /// The steward: the node's disk, store or git.
    Node,
    /// The writers of this program.
    Ours,
}

impl BuildError {
    /// Who has to do something about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(_) => Fault::Publisher,
            Self::Disk { .. } | Self::DiskFull { .. } | Self::Git(_) | Self::Store(_) => {
                Fault::Node
            }
            Self::Coding { .. } | Self::Inconsistent(_) => Fault::Ours,
        }
    }

    /// For `map_err`: `action` on `path` was refused by the system.
    pub(crate) fn disk(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = PathBuf::from(path);
        move |source| {
            let path = path.display().to_string();
            match source.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path },
                _ => Self::Disk {
                    action,
                    path,
                    source,
                },
            }
        }
    }
}

impl From<EncodeError> for BuildError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { bytes } => Self::Refused(Refusal::TableTooLarge { bytes }),
            EncodeError::Inconsistent(what) => Self::Inconsistent(what.to_owned()),
        }
    }
}

impl From<ManifestError> for BuildError {
    fn from(error: ManifestError) -> Self {
        Self::Inconsistent(error.to_string())
    }
}

/// A name as it may be shown on a terminal: no control characters, at most 200 characters.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(name).chars().take(200) {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that reorder or hide text on a terminal (Unicode bidi controls and their like).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
