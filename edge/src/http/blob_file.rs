//! The files of blobs, as visitors' answers read them: the only place that opens them for that.
//!
//! A file is opened and read at once where the kernel has it in memory, else on a thread that may wait
//! for the disk. What was compared with its digest is remembered for a while, for as long as the file
//! is the same one by its time and size: comparing takes longer than sending.

use crate::mapped::Mapped;
use bytes::Bytes;
use quick_cache::sync::Cache;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use verge_sync::clock::stopwatch;
use verge_sync::digest::Digester;
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest, Representation};
use verge_sync::{Digest, Version};

/// 1 MiB at a time while a whole file is compared with its digest: as the scrub does.
const CHECK_BYTES: u64 = 1 << 20;
/// Large representations that are remembered as whole: 150 bytes each.
const CHECKED_MAX: usize = 4_096;
/// A disk may lose a bit at any time; comparing once an hour what is visited costs little.
const CHECKED_FOR: Duration = Duration::from_secs(60 * 60);
/// Whether the kernel has a stretch in memory is asked of a byte in each of these: it reads ahead and
/// forgets in pieces of such a size.
const PROBE_BYTES: u64 = 128 << 10;

/// A blob that is not what it must be, told to the scrub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The file cannot be opened, read, or is too short.
    Unreadable {
        /// Its name.
        blob: Digest,
    },
    /// Bytes of it do not match their digest.
    Mismatch {
        /// Its name.
        blob: Digest,
    },
}

/// Bytes that cannot be served; who asked for them gets a 503.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The disk.
    #[error("read {path}")]
    Disk {
        /// The blob's file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk again, quietly.
    #[error("blob {blob} does not match its digest")]
    Mismatch {
        /// The blob that holds the bytes.
        blob: Digest,
    },
    /// The thread that read them died: an error of ours.
    #[error("the reading thread ended early")]
    Thread,
}

/// Told of every damage that a request finds, each time one does; must not block.
type Report = Arc<dyn Fn(Damage) + Send + Sync>;

/// Opens `DIR/<hex>`; whoever owns the store owns the files.
#[derive(Clone)]
pub struct BlobReader {
    dir: Arc<Path>,
    report: Report,
    /// By the digest of a representation: where it was found whole, and when.
    checked: Arc<Cache<Digest, (Found, Instant)>>,
}

/// A file, and the offset in it.
type Found = (Identity, u64);

/// What tells a file from one that was written into since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    length: u64,
}

/// Where the bytes of a representation lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The blob.
    pub blob: Digest,
    /// Offset of the first byte.
    pub offset: u64,
    /// How many bytes; never 0.
    pub length: u64,
}

impl Place {
    /// A part of the bytes; the caller knows that it lies inside.
    pub(crate) fn part(self, start: u64, length: u64) -> Self {
        Self {
            blob: self.blob,
            offset: self.offset.saturating_add(start),
            length,
        }
    }
}

/// Where `representation` lies; `None` if it is empty.
pub(crate) fn place(manifest: &Manifest, representation: &Representation) -> Option<Place> {
    let location = representation.location?;
    Some(Place {
        blob: manifest.blob(location.blob_index)?.digest,
        offset: location.offset,
        length: representation.length,
    })
}

impl BlobReader {
    /// Reads from `dir` and tells `report` what is damaged.
    #[must_use]
    pub fn new(dir: &Path, report: impl Fn(Damage) + Send + Sync + 'static) -> Self {
        Self {
            dir: dir.into(),
            report: Arc::new(report),
            checked: Arc::new(Cache::new(CHECKED_MAX)),
        }
    }

    fn report(&self, damage: Damage) {
        (self.report)(damage);
    }

    /// The bytes at `place`, checked against `digest`.
    pub(crate) fn read_checked(&self, place: &Place, digest: &Digest) -> Result<Bytes, ReadError> {
        let bytes = self.open(place.blob)?.read_at(place.offset, place.length)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(self.mismatch(place.blob))
        }
    }

    /// The bytes of a manifest, checked against its version.
    pub(crate) fn read_manifest(&self, version: Version) -> Result<Vec<u8>, ReadError> {
        let digest = version.digest();
        let blob = self.open(digest)?;
        if blob.identity.length > MANIFEST_BYTES_MAX {
            return Err(self.mismatch(digest));
        }
        let bytes = blob.read_at(0, blob.identity.length)?;
        if Digest::of(&bytes) == digest {
            Ok(bytes.into())
        } else {
            Err(self.mismatch(digest))
        }
    }

    pub(super) fn open(&self, blob: Digest) -> Result<OpenBlob, ReadError> {
        let file = File::open(self.path(blob));
        let opened = file.and_then(|file| self.opened(file, blob));
        opened.map_err(|source| self.unreadable(blob, source))
    }

    /// The same if that takes no waiting for the disk.
    pub(super) fn open_at_once(&self, blob: Digest) -> Option<OpenBlob> {
        let (flags, cached) = (OFlags::RDONLY | OFlags::CLOEXEC, ResolveFlags::CACHED);
        let file = openat2(CWD, self.path(blob), flags, Mode::empty(), cached).ok()?;
        self.opened(file.into(), blob).ok()
    }

    fn opened(&self, file: File, blob: Digest) -> io::Result<OpenBlob> {
        let metadata = file.metadata()?;
        let identity = Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
        };
        Ok(OpenBlob {
            file,
            blob,
            identity,
            reader: self.clone(),
        })
    }

    fn path(&self, blob: Digest) -> PathBuf {
        self.dir.join(blob.to_string())
    }

    /// Makes sure that a representation too large for memory is whole before a part of it is sent: a
    /// part cannot be compared with anything. Visitors of the whole see its last piece only after the
    /// comparison anyway. Who comes while it is compared waits for that.
    pub(crate) fn check(&self, place: &Place, digest: &Digest) -> Result<(), ReadError> {
        let file = self.open(place.blob)?;
        if file.is_known_whole(place.offset, digest) {
            return Ok(());
        }
        // What is known is of another place, or too old.
        self.checked
            .remove_if(digest, |known| !file.is_known_by(place.offset, *known));
        let compare = || {
            let mut digester = Digester::new();
            let mut done = 0;
            while done < place.length {
                let length = (place.length - done).min(CHECK_BYTES);
                digester.update(&file.read_at(place.offset.saturating_add(done), length)?);
                done += length;
            }
            if digester.digest() == *digest {
                Ok(((file.identity, place.offset), stopwatch()))
            } else {
                Err(self.mismatch(place.blob))
            }
        };
        self.checked.get_or_insert_with(digest, compare)?;
        Ok(())
    }

    /// Whether that was made sure of of late, as far as it can be told without waiting for the disk.
    pub(crate) fn is_known_whole(&self, place: &Place, digest: &Digest) -> bool {
        self.checked.contains_key(digest)
            && self
                .open_at_once(place.blob)
                .is_some_and(|file| file.is_known_whole(place.offset, digest))
    }

    fn mismatch(&self, blob: Digest) -> ReadError {
        self.report(Damage::Mismatch { blob });
        ReadError::Mismatch { blob }
    }

    fn unreadable(&self, blob: Digest, source: io::Error) -> ReadError {
        self.report(Damage::Unreadable { blob });
        ReadError::Disk {
            path: self.path(blob),
            source: Arc::new(source),
        }
    }
}

/// A blob's file.
pub(super) struct OpenBlob {
    file: File,
    pub(super) blob: Digest,
    identity: Identity,
    reader: BlobReader,
}

impl OpenBlob {
    /// Whether the representation with this digest was compared with it of late, at this offset of this
    /// very file.
    pub(super) fn is_known_whole(&self, offset: u64, digest: &Digest) -> bool {
        let known = self.reader.checked.get(digest);
        known.is_some_and(|known| self.is_known_by(offset, known))
    }

    fn is_known_by(&self, offset: u64, (found, at): (Found, Instant)) -> bool {
        found == (self.identity, offset) && at.elapsed() < CHECKED_FOR
    }

    /// What was read from `offset` on of a representation that has to have the digest `expected`.
    pub(super) fn judge(
        &self,
        offset: u64,
        read: Digest,
        expected: &Digest,
    ) -> Result<(), ReadError> {
        if read == *expected {
            let known = ((self.identity, offset), stopwatch());
            self.reader.checked.insert(*expected, known);
            Ok(())
        } else {
            Err(self.reader.mismatch(self.blob))
        }
    }

    fn read_at(&self, offset: u64, length: u64) -> Result<Bytes, ReadError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, offset, length)?;
        Ok(bytes.into())
    }

    /// Appends `length` bytes from `offset` on; those that were appended.
    pub(super) fn append<'b>(
        &self,
        bytes: &'b mut Vec<u8>,
        offset: u64,
        length: u64,
    ) -> Result<&'b [u8], ReadError> {
        let too_long = |_overflow| self.unreadable(io::ErrorKind::FileTooLarge.into());
        let length = usize::try_from(length).map_err(too_long)?;
        let start = bytes.len();
        bytes.resize(start.saturating_add(length), 0);
        let room = bytes.get_mut(start..).unwrap_or_default();
        let read = self.file.read_exact_at(room, offset);
        read.map_err(|source| self.unreadable(source))?;
        Ok(room)
    }

    /// Fills `room` from `offset` on, if the kernel has all of that in memory.
    pub(super) fn fill_at_once(&self, room: &mut [u8], offset: u64) -> bool {
        let wanted = room.len();
        let mut slices = [IoSliceMut::new(room)];
        let read = preadv2(&self.file, &mut slices, offset, ReadWriteFlags::NOWAIT);
        read == Ok(wanted)
    }

    /// Whether the kernel has all of a stretch in memory, as far as that can be told cheaply.
    pub(super) fn is_at_hand(&self, offset: u64, length: u64) -> bool {
        let last = length.saturating_sub(1);
        let steps = (0..last).step_by(usize::try_from(PROBE_BYTES).unwrap_or(usize::MAX));
        let mut probes = steps.chain([last]).map(|step| offset.saturating_add(step));
        probes.all(|offset| self.fill_at_once(&mut [0], offset))
    }

    /// Maps a stretch of the file, for sockets that take it as it is.
    pub(super) fn map(&self, offset: u64, length: u64) -> io::Result<Arc<Mapped>> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.identity.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (reader, blob) = (self.reader.clone(), self.blob);
        let failed = move || reader.report(Damage::Unreadable { blob });
        Mapped::new(self.file.try_clone()?, offset, length, failed)
    }

    fn unreadable(&self, source: io::Error) -> ReadError {
        self.reader.unreadable(self.blob, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manifest of another's may say that bytes lie where they do not.
    #[test]
    fn what_was_compared_is_known_at_its_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (vec![1; 1_000], vec![2; 1_000]);
        let both = [first.clone(), second].concat();
        let (blob, digest) = (Digest::of(&both), Digest::of(&first));
        std::fs::write(dir.path().join(blob.to_string()), &both).unwrap();
        let reader = BlobReader::new(dir.path(), |_damage| {});
        let at = |offset| Place {
            blob,
            offset,
            length: 1_000,
        };
        assert!(!reader.is_known_whole(&at(0), &digest), "nobody looked");
        for _again in 0..2 {
            reader.check(&at(0), &digest).unwrap();
            assert!(reader.is_known_whole(&at(0), &digest));
            assert!(!reader.is_known_whole(&at(1_000), &digest));
            assert!(reader.check(&at(1_000), &digest).is_err());
        }
    }
}
