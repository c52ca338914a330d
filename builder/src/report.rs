//! What a build tells while it runs and when it ends, and the lines in which `verge build` says it.
//!
//! The child reads one [`Job`] as JSON on its standard input and writes one [`Line`] per line on
//! its standard output: events, then exactly one outcome or failure.

use crate::error::{BuildError, Fault};
use crate::limits::Limits;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::id::{ContentDigest, Version};
use verge_sync::manifest::{BlobRef, Coding};

/// Where the files of a site come from. (An archive is to be one more variant.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A commit, read from objects; nothing is ever checked out.
    Git {
        /// The `git` to run.
        program: PathBuf,
        /// The repository.
        git_dir: PathBuf,
        /// More environment for git: where the quarantine's objects are
        /// (`GIT_OBJECT_DIRECTORY`, `GIT_ALTERNATE_OBJECT_DIRECTORIES`, `GIT_QUARANTINE_PATH`).
        objects_env: Vec<(OsString, OsString)>,
        /// The commit (or tree), in full hexadecimal digits.
        commit: String,
    },
    /// A folder of this machine.
    Folder(PathBuf),
}

/// One build: all that it reads and where it writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The files.
    pub source: Source,
    /// The manifest file of the version before, if there is one.
    pub previous: Option<PathBuf>,
    /// The store's folder of blobs, named by their digests; only read.
    pub blobs: PathBuf,
    /// An empty folder that takes the new blobs, named by their digests.
    pub staging: PathBuf,
    /// What the site may be at most.
    #[serde(default)]
    pub limits: Limits,
    /// The time of the deploy.
    #[serde(with = "unix_time")]
    pub time: UnixTime,
    /// How many threads compress small files.
    pub threads: usize,
}

/// How a build ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Content and recipe are those of the version before: nothing was written.
    Unchanged {
        /// The version before.
        #[serde(with = "text")]
        version: Version,
    },
    /// A new version stands in the staging folder.
    Built(Box<Built>),
}

/// A new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Digest of the manifest.
    #[serde(with = "text")]
    pub version: Version,
    /// Digest of its content part.
    #[serde(with = "text")]
    pub content_digest: ContentDigest,
    /// Number of the compression rules.
    pub recipe: u32,
    /// Digest of the flat sequence of blobs: what the deploy record names.
    #[serde(with = "text")]
    pub sequence_digest: Digest,
    /// Bytes of the whole version: manifest and all its blobs.
    pub version_bytes: u64,
    /// Every file in the staging folder: packs, big blobs, manifest, sequence.
    #[serde(with = "blob_refs")]
    pub new_blobs: Vec<BlobRef>,
    /// What was published, in numbers.
    pub totals: Totals,
    /// What the publisher should know, as it is kept in the manifest.
    pub problems: Vec<Problem>,
}

/// A build in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Published files.
    pub files: u64,
    /// Their bytes as published.
    pub bytes: u64,
    /// Files whose bytes the version before already had.
    pub files_reused: u64,
    /// Stored representations by coding: how many, and their bytes. Files of the same bytes share.
    pub codings: Vec<CodingTotal>,
    /// Bytes of new blobs.
    pub written_bytes: u64,
    /// Files that stay reachable from versions before.
    pub carried: u64,
}

/// Representations in one coding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodingTotal {
    /// The coding's name.
    pub coding: String,
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the same files as published.
    pub identity_bytes: u64,
}

/// Something the publisher should know that does not stop the deploy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file.
    pub path: String,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// What is wrong.
    pub what: String,
    /// What to write or do instead; may be empty.
    pub instead: String,
}

/// A step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Listing the tree.
    List,
    /// Reading and hashing every file.
    Read,
    /// Compressing what is new.
    Compress,
    /// Writing the manifest.
    Assemble,
}

/// What a build tells while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The tree was read.
    Listed {
        /// Files to publish.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// What there is to do, told before the long step.
    Planned {
        /// Different contents that have to be compressed.
        new: u64,
        /// Their bytes.
        new_bytes: u64,
        /// Files that the version before has already.
        reused: u64,
    },
    /// Contents compressed so far.
    Compressed {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// Something the publisher should know.
    Problem(Problem),
    /// A step ended.
    Finished {
        /// The step.
        step: Step,
        /// How long it took.
        duration_ms: u64,
    },
}

/// A build that ended badly, for the other side of the pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Who has to do something about it.
    pub fault: Fault,
    /// The sentence for the publisher.
    pub sentence: String,
    /// What the system said, for the node's log; may be empty.
    pub detail: String,
}

/// One line of the child's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// While it runs.
    Event(Event),
    /// The end, well.
    Outcome(Outcome),
    /// The end, badly.
    Failure(Failure),
}

impl From<&BuildError> for Failure {
    fn from(error: &BuildError) -> Self {
        let detail = std::error::Error::source(error).map(ToString::to_string);
        Self {
            fault: error.fault(),
            sentence: error.to_string(),
            detail: detail.unwrap_or_default(),
        }
    }
}

impl Line {
    /// The line as JSON, without the line feed.
    ///
    /// # Errors
    /// Never for lines of a build; `serde_json` cannot know that.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// Text that is no line of this release.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl Totals {
    /// Adds one representation.
    pub(crate) fn count(&mut self, coding: Coding, bytes: u64, identity_bytes: u64) {
        let at = self.codings.iter().position(|t| t.coding == coding.name());
        let at = at.unwrap_or_else(|| {
            self.codings.push(CodingTotal {
                coding: coding.name().to_owned(),
                ..CodingTotal::default()
            });
            self.codings.len() - 1
        });
        if let Some(total) = self.codings.get_mut(at) {
            total.count += 1;
            total.bytes += bytes;
            total.identity_bytes += identity_bytes;
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.what)?;
        if !self.instead.is_empty() {
            write!(f, ": {}", self.instead)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Compress => "compress",
            Self::Assemble => "assemble",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed { files, bytes } => write!(f, "{files} files, {bytes} bytes"),
            Self::Planned {
                new,
                new_bytes,
                reused,
            } => write!(
                f,
                "{reused} files as before, {new} new contents to compress ({new_bytes} bytes)"
            ),
            Self::Compressed { done, total } => write!(f, "compressed {done} of {total}"),
            Self::Problem(problem) => problem.fmt(f),
            Self::Finished { step, duration_ms } => write!(f, "{step}: {duration_ms} ms"),
        }
    }
}

impl fmt::Display for Built {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        write!(f, "{} files, {} bytes", totals.files, totals.bytes)?;
        for total in &totals.codings {
            if total.coding != Coding::Identity.name() {
                write!(
                    f,
                    "; {} {} -> {}",
                    total.coding, total.identity_bytes, total.bytes
                )?;
            }
        }
        write!(f, "; {} bytes written", totals.written_bytes)
    }
}

/// Digests and their kin as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<T: Display, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

mod unix_time {
    use serde::{Deserialize, Deserializer, Serializer};
    use verge_sync::clock::UnixTime;

    pub(super) fn serialize<S: Serializer>(time: &UnixTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UnixTime, D::Error> {
        i64::deserialize(from).map(UnixTime)
    }
}

/// Blobs as pairs of digest and length.
mod blob_refs {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use verge_sync::manifest::BlobRef;

    pub(super) fn serialize<S: Serializer>(blobs: &[BlobRef], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(blobs.iter().map(|b| (b.digest.to_string(), b.bytes)))
    }

    pub(super) fn deserialize<'de, D>(from: D) -> Result<Vec<BlobRef>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(String, u64)>::deserialize(from)?;
        let parse = |(digest, bytes): (String, u64)| {
            let digest = digest.parse().map_err(D::Error::custom)?;
            Ok(BlobRef { digest, bytes })
        };
        pairs.into_iter().map(parse).collect()
    }
}
