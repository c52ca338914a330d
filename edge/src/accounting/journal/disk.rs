//! Where the segments of a journal lie.

use super::frame::SEGMENT_HEADER;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use verge_sync::store::Disk;

/// One file of a journal. A start of the node begins a new one, and so does a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Which start.
    pub epoch: u32,
    /// From 1 in each epoch.
    pub part: u32,
}

/// A longer file is read up to here: four times the length at which a segment ends.
const SEGMENT_READ_BYTES_MAX: u64 = 64 << 20;

/// The steps by which counters become durable; the tests replace it by a twin that stops, fails and
/// forgets.
pub trait JournalDisk: fmt::Debug + Send {
    /// All segments, in any order.
    ///
    /// # Errors
    /// What the system answers.
    fn segments(&self) -> io::Result<Vec<SegmentName>>;

    /// The bytes of one.
    ///
    /// # Errors
    /// What the system answers.
    fn read(&self, name: SegmentName) -> io::Result<Vec<u8>>;

    /// Makes an empty segment with its header, which then takes what is appended. When this
    /// returns, its name is durable.
    ///
    /// # Errors
    /// What the system answers.
    fn begin(&mut self, name: SegmentName) -> io::Result<()>;

    /// Writes to the end of the segment that was begun last: one write.
    ///
    /// # Errors
    /// What the system answers; a part may be written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// What the system answers. All since the last sync must then be written anew.
    fn sync(&mut self) -> io::Result<()>;

    /// Removes a segment.
    ///
    /// # Errors
    /// What the system answers.
    fn remove(&mut self, name: SegmentName) -> io::Result<()>;
}

/// Segments as files of one directory.
#[derive(Debug)]
pub struct JournalDir {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    current: Option<(File, PathBuf)>,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:06}.journal", self.epoch, self.part)
    }
}

impl SegmentName {
    /// The segment of a file's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (epoch, part) = name.strip_suffix(".journal")?.split_once('-')?;
        let read = Self {
            epoch: epoch.parse().ok()?,
            part: part.parse().ok()?,
        };
        (read.to_string() == name).then_some(read)
    }
}

impl JournalDir {
    /// A journal in `dir`, which is there.
    #[must_use]
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>) -> Self {
        Self {
            dir,
            disk,
            current: None,
        }
    }

    fn path(&self, name: SegmentName) -> PathBuf {
        self.dir.join(name.to_string())
    }
}

impl JournalDisk for JournalDir {
    fn segments(&self) -> io::Result<Vec<SegmentName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().to_str().and_then(SegmentName::parse));
        }
        Ok(names)
    }

    fn read(&self, name: SegmentName) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(self.path(name))?;
        file.take(SEGMENT_READ_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn begin(&mut self, name: SegmentName) -> io::Result<()> {
        let path = self.path(name);
        let file = self.disk.create(&path, SEGMENT_HEADER, 0o600)?;
        self.disk.sync(&file, &path)?;
        self.disk.sync_dir(&self.dir)?;
        self.current = Some((file, path));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Some((file, _)) => file.write_all(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match &self.current {
            Some((file, path)) => self.disk.sync(file, path),
            None => Ok(()),
        }
    }

    fn remove(&mut self, name: SegmentName) -> io::Result<()> {
        self.disk.remove(&self.path(name))
    }
}
