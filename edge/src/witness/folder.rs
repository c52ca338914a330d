//! The snapshots that this node holds for others: one file for each node and day, the latest.
//!
//! Owned by one task. A crash leaves the file before or the one after. At most [`FOLDER_BYTES_MAX`] and
//! [`DAYS_OF_NODE_MAX`] days of a node: beyond that its oldest day makes room, and where there is
//! none, the new one is refused.

use super::snapshot::{Letter, Snapshot, weight};
use crate::accounting::calendar::Day;
use crate::accounting::figures::Count;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use verge_sync::Digest;
use verge_sync::id::NodeId;
use verge_sync::net::LETTER_BYTES_MAX;
use verge_sync::record::Record;
use verge_sync::store::{StoreError, remove_file_durably, write_file_durably};

/// All snapshots together: 10,000 rows of each of a hundred nodes, which are more than a node
/// witnesses.
pub const FOLDER_BYTES_MAX: u64 = 64 << 20;
/// The open day, the one before that is not sealed yet, and one that may be lost.
pub const DAYS_OF_NODE_MAX: usize = 3;

/// A snapshot that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose.
    pub node: NodeId,
    /// Of when.
    pub day: Day,
    /// Its name.
    pub digest: Digest,
    /// The sum of its rows.
    pub sum: Count,
    /// How long its file is.
    pub bytes: u64,
    /// The bytes of its record.
    pub record: Vec<u8>,
}

/// The folder, and what is in it.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    held: BTreeMap<(NodeId, Day), Held>,
}

/// Why a snapshot is not kept.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// No room.
    #[error("the folder of snapshots is full: {FOLDER_BYTES_MAX} bytes")]
    Full,
    /// Older than those that are held.
    #[error("a snapshot of {0}, of a node of which {DAYS_OF_NODE_MAX} later days are held")]
    Old(Day),
    /// Longer than any.
    #[error("a snapshot of {0} bytes: none is so long")]
    TooLong(u64),
    /// The disk refuses.
    #[error(transparent)]
    Disk(#[from] StoreError),
    /// The disk refuses.
    #[error("{action} {path}", path = path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// What the system answers.
        source: std::io::Error,
    },
}

impl Held {
    fn of(snapshot: &Snapshot, bytes: u64) -> Self {
        Self {
            node: snapshot.seal.node,
            day: snapshot.seal.day,
            digest: snapshot.digest(),
            // What does not fit is refused when it is decoded.
            sum: snapshot.seal.sum().unwrap_or_default(),
            bytes,
            record: snapshot.record.bytes().to_vec(),
        }
    }
}

impl Folder {
    /// Opens the folder, which is made if it is not there. What is damaged is removed: two others have
    /// it.
    ///
    /// # Errors
    /// [`FolderError`]: the disk refuses.
    pub fn open(dir: &Path) -> Result<Self, FolderError> {
        let at = |action, path: &Path, source| FolderError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        make_dir(dir).map_err(|source| at("make", dir, source))?;
        let mut held = BTreeMap::new();
        let entries = std::fs::read_dir(dir).map_err(|source| at("list", dir, source))?;
        for entry in entries {
            let path = entry.map_err(|source| at("list", dir, source))?.path();
            let bytes = read(&path).map_err(|source| at("read", &path, source))?;
            let one = open_file(&bytes).map(|snapshot| Held::of(&snapshot, length(&bytes)));
            match one.filter(|held| dir.join(name(held.node, held.day)) == path) {
                Some(one) => {
                    held.insert((one.node, one.day), one);
                }
                None => {
                    tracing::warn!(path = %path.display(), "a snapshot that is damaged is removed");
                    remove_file_durably(&path)?;
                }
            }
        }
        let dir = dir.to_owned();
        Ok(Self { dir, held })
    }

    /// What is held, by node and day.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<(NodeId, Day), Held> {
        &self.held
    }

    /// What is held of the last day of a node.
    #[must_use]
    pub fn latest_of(&self, node: &NodeId) -> Option<&Held> {
        let mut days = self.held.range(..=(*node, Day::LAST));
        let ((of, _), held) = days.next_back()?;
        (of == node).then_some(held)
    }

    /// Keeps a snapshot, unless one of the day is held that says as much.
    ///
    /// # Errors
    /// [`FolderError`]; what was held is held.
    pub fn keep(&mut self, snapshot: &Snapshot) -> Result<(), FolderError> {
        let letter = Letter::Keep(snapshot.record.bytes(), &snapshot.encoded.rows).encode();
        let one = Held::of(snapshot, length(&letter));
        let key = (one.node, one.day);
        let before = self.held.get(&key);
        if before.is_some_and(|held| weight(held.sum, held.digest) >= weight(one.sum, one.digest)) {
            return Ok(());
        }
        if letter.len() > LETTER_BYTES_MAX {
            return Err(FolderError::TooLong(one.bytes));
        }
        let freed = before.map_or(0, |held| held.bytes);
        let oldest = self.oldest_beyond(&key);
        if oldest.is_some_and(|(oldest, _)| oldest > key) {
            return Err(FolderError::Old(one.day));
        }
        let freed = freed.saturating_add(oldest.map_or(0, |(_, bytes)| bytes));
        let all: u64 = self.held.values().map(|held| held.bytes).sum();
        if all.saturating_sub(freed).saturating_add(one.bytes) > FOLDER_BYTES_MAX {
            return Err(FolderError::Full);
        }
        let path = self.dir.join(name(one.node, one.day));
        write_file_durably(&path, &letter, 0o600)?;
        self.held.insert(key, one);
        if let Some((oldest, _)) = oldest {
            self.remove(&oldest)?;
        }
        Ok(())
    }

    /// The oldest other day of the node, if there are so many that one has to go.
    fn oldest_beyond(&self, new: &(NodeId, Day)) -> Option<((NodeId, Day), u64)> {
        let first = (new.0, Day::of_time(0));
        let days = self.held.range(first..=(new.0, Day::LAST));
        let days: Vec<_> = days.filter(|(key, _)| *key != new).collect();
        let (key, held) = days.first().filter(|_| days.len() >= DAYS_OF_NODE_MAX)?;
        Some((**key, held.bytes))
    }

    /// The record and the rows of a snapshot; none if it is not held.
    ///
    /// # Errors
    /// [`FolderError`]: the disk refuses, or has changed it.
    pub fn read(&self, node: NodeId, day: Day) -> Result<Option<Snapshot>, FolderError> {
        if !self.held.contains_key(&(node, day)) {
            return Ok(None);
        }
        let path = self.dir.join(name(node, day));
        let bytes = read(&path).map_err(|source| FolderError::Io {
            action: "read",
            path,
            source,
        })?;
        Ok(open_file(&bytes))
    }

    /// Removes what is not needed any more.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn retain(&mut self, is_needed: impl Fn(&Held) -> bool) -> Result<(), FolderError> {
        let over = self.held.values().filter(|held| !is_needed(held));
        let over: Vec<(NodeId, Day)> = over.map(|held| (held.node, held.day)).collect();
        over.iter().try_for_each(|key| self.remove(key))
    }

    fn remove(&mut self, key: &(NodeId, Day)) -> Result<(), FolderError> {
        remove_file_durably(&self.dir.join(name(key.0, key.1)))?;
        self.held.remove(key);
        Ok(())
    }
}

fn name(node: NodeId, day: Day) -> String {
    format!("{node}-{day}.snapshot")
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn make_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir)?;
    std::fs::File::open(dir.parent().unwrap_or(dir))?.sync_all()
}

/// A longer file is none of ours.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let longest = u64::try_from(LETTER_BYTES_MAX).unwrap_or(u64::MAX);
    let file = std::fs::File::open(path)?;
    file.take(longest.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open_file(bytes: &[u8]) -> Option<Snapshot> {
    let Some(Letter::Keep(record, rows)) = Letter::decode(bytes) else {
        return None;
    };
    let record = Record::parse(record).ok()?;
    Snapshot::open(record, rows).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::figures::{Class, Row};
    use crate::accounting::seal::Seal;
    use crate::accounting::seal::sample::{row, seal};
    use crate::region::scene::Scene;
    use verge_sync::id::SiteId;
    use verge_sync::record::body::HostProof;

    fn day(number: u32) -> Day {
        Day::new(number).unwrap()
    }

    /// A snapshot of node `number` with so many rows.
    fn snapshot(scene: &mut Scene, (number, on): (u8, u32), rows: u32, requests: u64) -> Snapshot {
        let rows = (0..rows).map(|of| {
            let mut site = [0; 32];
            site[..4].copy_from_slice(&of.to_be_bytes());
            Row {
                site: SiteId::from_bytes(site),
                ..row(0, Class::Answer, requests)
            }
        });
        let said = Seal {
            node: scene.node(number),
            day: day(on),
            previous: None,
            rows: rows.collect(),
            ..seal()
        };
        let record = scene.snapshot(number, &said);
        Snapshot::open(record, &said.encode().rows).unwrap()
    }

    #[test]
    fn the_latest_of_each_node_and_day_is_held_also_after_a_restart() {
        let mut scene = Scene::new(2, HostProof::None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshots");
        let mut folder = Folder::open(&path).unwrap();
        let less = snapshot(&mut scene, (0, 100), 2, 20);
        let more = snapshot(&mut scene, (0, 100), 2, 30);
        let next = snapshot(&mut scene, (0, 101), 1, 20);
        for one in [&less, &more, &less, &next] {
            folder.keep(one).unwrap();
        }
        let digests = |folder: &Folder| -> Vec<Digest> {
            folder.held().values().map(|held| held.digest).collect()
        };
        assert_eq!(digests(&folder), [more.digest(), next.digest()]);
        let mut folder = Folder::open(&path).unwrap();
        assert_eq!(digests(&folder), [more.digest(), next.digest()]);
        let node = scene.node(0);
        let read = folder.read(node, day(100)).unwrap().unwrap();
        assert_eq!(read.seal, more.seal);
        assert!(folder.read(scene.node(1), day(100)).unwrap().is_none());
        assert_eq!(folder.latest_of(&node).unwrap().day, day(101));
        assert!(folder.latest_of(&scene.node(1)).is_none());
        folder.retain(|held| held.day == day(101)).unwrap();
        assert_eq!(digests(&Folder::open(&path).unwrap()), [next.digest()]);
    }

    #[test]
    fn what_is_damaged_or_nothing_of_ours_is_removed() {
        let mut scene = Scene::new(2, HostProof::None);
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        folder.keep(&snapshot(&mut scene, (0, 100), 2, 20)).unwrap();
        let path = dir.path().join(name(scene.node(0), day(100)));
        let mut bytes = std::fs::read(&path).unwrap();
        std::fs::write(dir.path().join(name(scene.node(1), day(100))), &bytes).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(dir.path().join("note"), "hello").unwrap();
        assert!(Folder::open(dir.path()).unwrap().held().is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_node_has_three_days_and_the_oldest_makes_room() {
        let mut scene = Scene::new(2, HostProof::None);
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        for on in 100..104 {
            folder.keep(&snapshot(&mut scene, (0, on), 1, 20)).unwrap();
            folder.keep(&snapshot(&mut scene, (1, 100), 1, 20)).unwrap();
        }
        let late = folder.keep(&snapshot(&mut scene, (0, 100), 1, 20));
        assert!(matches!(late, Err(FolderError::Old(on)) if on == day(100)));
        let days = |number| -> Vec<u32> {
            let node = scene.node(number);
            let held = folder.held().keys().filter(|(of, _)| *of == node);
            held.map(|(_, day)| day.number()).collect()
        };
        assert_eq!(days(0), [101, 102, 103]);
        assert_eq!(days(1), [100]);
    }

    #[test]
    fn the_folder_has_a_limit_and_what_is_held_stays() {
        let mut scene = Scene::new(8, HostProof::None);
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        // 5.7 MB each: eleven fit.
        let mut refused = 0;
        for (number, on) in (0..6).flat_map(|number| [(number, 100), (number, 101)]) {
            let one = snapshot(&mut scene, (number, on), 100_000, 20);
            match folder.keep(&one) {
                Ok(()) => {}
                Err(FolderError::Full) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((folder.held().len(), refused), (11, 1));
        // In the room of one that is held another has its place.
        let grown = snapshot(&mut scene, (0, 100), 100_000, 21);
        folder.keep(&grown).unwrap();
        assert_eq!(
            folder.held()[&(scene.node(0), day(100))].digest,
            grown.digest()
        );
        assert_eq!(folder.held().len(), 11);
    }
}
