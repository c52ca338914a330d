//! From a push to a bundle: what the bundles before it do not have, in the quarantine of the push.
//!
//! A bundle goes from git straight into a file of the staging folder, and from there into the store;
//! it never is in memory. A crash leaves a blob that nothing names.

use super::header::{Header, Named};
use super::sequence::{Sequence, encode};
use super::{BUNDLES_MAX, CONSOLIDATED_BYTES_MIN, HistoryError, TAGS_MAX, last_line};
use crate::receive::git::Git;
use crate::receive::refs::{ObjectName, RefUpdate};
use crate::receive::{Limits, ReceiveError};
use crate::region::SiteHistory;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_sync::digest::{Digest, Digester};
use verge_sync::store::{BlobPin, Staged, Store};

/// Bytes hashed at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A pushed commit with all that is to be known to pass its history on.
#[derive(Debug, Clone)]
pub struct PushedHistory {
    pub(crate) git: Arc<Git>,
    pub(crate) limits: Limits,
    pub(crate) repository: PathBuf,
    /// With which git finds what is in quarantine.
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) branch: Named,
    /// As they stand when the push has ended well.
    pub(crate) tags: Vec<Named>,
    pub(crate) shallow: Vec<ObjectName>,
    /// What the pusher was shown.
    pub(crate) based_on: SiteHistory,
}

/// A history that is in the store, durably, and stays there while this lives.
#[derive(Debug)]
pub struct Bundled {
    /// The sequence, for the deploy's record.
    pub sequence: Digest,
    _pins: Vec<BlobPin>,
}

impl PushedHistory {
    /// What the pusher was shown of the site's history.
    #[must_use]
    pub fn based_on(&self) -> &SiteHistory {
        &self.based_on
    }

    /// Puts the history into the store.
    ///
    /// # Errors
    /// [`HistoryError`]; nothing names what is in the store then.
    pub async fn bundle(&self, store: &Store) -> Result<Bundled, HistoryError> {
        if self.tags.len() > TAGS_MAX {
            return Err(HistoryError::TooManyTags(self.tags.len()));
        }
        let mut pins = Vec::new();
        let before = self.before(store, &mut pins).await?;
        if let Some((digest, before)) = &before
            && before
                .header
                .refs()
                .eq(std::iter::once(&self.branch).chain(&self.tags))
        {
            return self.sequence(store, *digest, pins);
        }
        if let Some((_, before)) = before
            && let Some(bundles) = self.continued(store, &before, &mut pins).await?
        {
            return self.put(store, &bundles, pins).await;
        }
        let whole = self.stage(store, &[]).await?;
        let whole = whole.map_err(|said| HistoryError::NotPacked(last_line(&said)))?;
        let bundle = whole.keep(store, &mut pins).await?;
        self.put(store, &[bundle], pins).await
    }

    fn sequence(
        &self,
        store: &Store,
        sequence: Digest,
        mut pins: Vec<BlobPin>,
    ) -> Result<Bundled, HistoryError> {
        pins.push(store.pin([sequence]));
        Ok(Bundled {
            sequence,
            _pins: pins,
        })
    }

    /// The sequence to be continued; none if a fresh one is to be made. What is lost of an old one
    /// costs a fresh one, not a push.
    async fn before(
        &self,
        store: &Store,
        pins: &mut Vec<BlobPin>,
    ) -> Result<Option<(Digest, Sequence)>, HistoryError> {
        let head = self.based_on.head.as_ref();
        let Some(digest) = head.and_then(|head| head.sequence) else {
            return Ok(None);
        };
        pins.push(store.pin([digest]));
        let (from, bytes_max) = (store.clone(), self.limits.history_bytes_max());
        let read = blocking(move || Sequence::read(&from, digest, bytes_max)).await?;
        match read {
            // A shallow history is never continued: what is at its end may be filled in later.
            Ok(sequence) if sequence.header.shallow.is_empty() && self.shallow.is_empty() => {
                pins.push(store.pin(sequence.bundles.iter().copied()));
                Ok(Some((digest, sequence)))
            }
            Ok(_shallow) => Ok(None),
            Err(error @ HistoryError::Store(_)) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "a site's history is bundled anew");
                Ok(None)
            }
        }
    }

    /// The bundles before, and one with what they do not have; none if a fresh one is to be made.
    async fn continued(
        &self,
        store: &Store,
        before: &Sequence,
        pins: &mut Vec<BlobPin>,
    ) -> Result<Option<Vec<Digest>>, HistoryError> {
        if before.bundles.len() >= BUNDLES_MAX {
            return Ok(None);
        }
        let known: Vec<ObjectName> = before.header.refs().map(|at| at.object.clone()).collect();
        let Ok(staged) = self.stage(store, &known).await? else {
            return Ok(None);
        };
        let bytes = before.bytes.saturating_add(staged.bytes);
        let is_grown = bytes > CONSOLIDATED_BYTES_MIN && bytes / 2 > before.first_bytes;
        if is_grown && bytes / 2 > self.fresh_bytes().await? {
            return Ok(None);
        }
        let mut bundles = before.bundles.clone();
        bundles.push(staged.keep(store, pins).await?);
        Ok(Some(bundles))
    }

    /// About what a fresh bundle would have.
    async fn fresh_bytes(&self) -> Result<u64, HistoryError> {
        let question = ["rev-list", "--disk-usage", "--objects", "--stdin"];
        let wanted = self.wanted(&[]);
        let tell = self
            .git
            .tell(&self.repository, &question, &self.environment, &wanted);
        let answer = tell.await?;
        let bytes = answer.and_then(|answer| answer.trim().parse().ok());
        // Without an answer nothing is gained by a fresh one.
        Ok(bytes.unwrap_or(u64::MAX))
    }

    /// What git is to pack: all that the refs lead to, less what `known` leads to.
    fn wanted(&self, known: &[ObjectName]) -> String {
        let mut wanted = String::new();
        for object in std::iter::once(&self.branch).chain(&self.tags) {
            wanted.push_str(object.object.as_str());
            wanted.push('\n');
        }
        if !known.is_empty() {
            wanted.push_str("--not\n");
        }
        for object in known {
            wanted.push_str(object.as_str());
            wanted.push('\n');
        }
        wanted
    }

    /// A bundle on top of `known` in a file of its own; the inner error is why git would not pack it.
    async fn stage(
        &self,
        store: &Store,
        known: &[ObjectName],
    ) -> Result<Result<StagedBundle, String>, HistoryError> {
        let header = Header {
            prerequisites: self.commits(known).await?,
            branch: self.branch.clone(),
            tags: self.tags.clone(),
            shallow: self.shallow.clone(),
        };
        let folder = store.staging()?;
        let path = folder.path().join("bundle");
        let io = |source| ReceiveError::io("write", &path, source);
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(io)?;
        file.write_all(&header.to_bytes()).map_err(io)?;
        let wanted = self.wanted(known);
        let packed = self
            .git
            .pack(&self.repository, &self.environment, &wanted, file);
        if let Err(said) = packed.await? {
            return Ok(Err(said));
        }
        let hashed = {
            let path = path.clone();
            blocking(move || hash(&path)).await?
        };
        let (digest, bytes) = hashed.map_err(io)?;
        let max = self.limits.bundle_bytes_max;
        if bytes > max {
            return Err(HistoryError::TooLarge { bytes, max });
        }
        Ok(Ok(StagedBundle {
            _folder: folder,
            file: Staged { path, digest },
            bytes,
        }))
    }

    /// Those of `known` that a bundle can be built on: git takes commits only, and those that
    /// annotated tags name.
    async fn commits(&self, known: &[ObjectName]) -> Result<Vec<ObjectName>, HistoryError> {
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let lines: String = known
            .iter()
            .map(|object| format!("{}^{{commit}}\n", object.as_str()))
            .collect();
        let question = ["cat-file", "--batch-check=%(objectname)", "--buffer"];
        let answer = self
            .git
            .tell(&self.repository, &question, &self.environment, &lines);
        let answer = answer.await?.unwrap_or_default();
        let mut commits: Vec<ObjectName> = answer.lines().filter_map(ObjectName::parse).collect();
        commits.sort_unstable();
        commits.dedup();
        Ok(commits)
    }

    /// Puts the sequence of these bundles.
    async fn put(
        &self,
        store: &Store,
        bundles: &[Digest],
        pins: Vec<BlobPin>,
    ) -> Result<Bundled, HistoryError> {
        let (to, bytes) = (store.clone(), encode(bundles));
        let pin = store.pin([Digest::of(&bytes)]);
        let sequence = blocking(move || to.blobs().put(&bytes)).await??;
        let bundled = self.sequence(store, sequence, pins);
        drop(pin);
        bundled
    }
}

/// A bundle that is not in the store yet.
struct StagedBundle {
    _folder: verge_sync::store::StagingDir,
    file: Staged,
    bytes: u64,
}

impl StagedBundle {
    async fn keep(self, store: &Store, pins: &mut Vec<BlobPin>) -> Result<Digest, HistoryError> {
        let digest = self.file.digest;
        pins.push(store.pin([digest]));
        let to = store.clone();
        blocking(move || to.blobs().adopt(&self.file.path, digest)).await??;
        Ok(digest)
    }
}

/// The tags as they stand after `updates`.
pub(crate) fn tags_after(standing: &str, updates: &[RefUpdate]) -> Vec<Named> {
    let line = |line: &str| {
        let (object, name) = line.split_once(' ')?;
        Some((name.to_owned(), ObjectName::parse(object)?))
    };
    let mut tags: BTreeMap<String, ObjectName> = standing.lines().filter_map(line).collect();
    for update in updates
        .iter()
        .filter(|update| update.name.starts_with("refs/tags/"))
    {
        if update.new.is_none() {
            tags.remove(&update.name);
        } else {
            tags.insert(update.name.clone(), update.new.clone());
        }
    }
    let named = |(name, object)| Named { name, object };
    tags.into_iter().map(named).collect()
}

fn hash(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut digester, mut bytes) = (Digester::new(), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let len = file.read(&mut chunk)?;
        let Some(piece) = chunk.get(..len).filter(|piece| !piece.is_empty()) else {
            return Ok((digester.digest(), bytes));
        };
        digester.update(piece);
        bytes = bytes.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
}

/// A blocking step, away from the connections.
pub(super) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReceiveError> {
    tokio::task::spawn_blocking(step).await.map_err(|ended| {
        ReceiveError::io(
            "work in",
            Path::new("staging"),
            std::io::Error::other(ended),
        )
    })
}
