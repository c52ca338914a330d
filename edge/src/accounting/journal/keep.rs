//! The writer of a journal: what is appended, what is synced, which segments are still needed.

use super::disk::{JournalDisk, SegmentName};
use super::frame::{Deltas, Entry, FRAME_ROWS_MAX, FrameId, SEGMENT_HEADER, Sealed, frames};
use super::replay::Replay;
use crate::accounting::calendar::Day;
use crate::accounting::figures::{NodeTotals, Row};
use crate::accounting::seal::Carry;
use std::collections::BTreeMap;
use std::io;

/// So much is written without a sync: in two hours at 200 changed sites a minute.
const UNSYNCED_BYTES_MAX: usize = 1 << 20;
/// While the disk refuses, so much is kept in memory; then the meter has to keep it.
pub(super) const KEPT_BYTES_MAX: usize = 2 * UNSYNCED_BYTES_MAX;
/// A longer segment is followed by a new one.
const SEGMENT_BYTES_MAX: usize = 16 << 20;

/// Counters that are being kept.
#[derive(Debug)]
pub struct Journal<D> {
    disk: D,
    /// The segment that is appended to.
    current: SegmentName,
    current_bytes: usize,
    sequence: u64,
    /// Frames since the last sync, whole.
    pub(super) unsynced: Vec<u8>,
    /// What days these are of.
    unsynced_kept: Kept,
    /// How much of these the current segment has.
    written_bytes: usize,
    /// Whether the current segment may have lost some of it.
    is_in_doubt: bool,
    segments: BTreeMap<SegmentName, Kept>,
}

/// Until when a segment is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kept {
    /// Until this day is sealed.
    last: Option<Day>,
    /// Until that which was counted without a day has one.
    is_undated: bool,
}

impl Kept {
    fn note(&mut self, entry: &Entry) {
        match entry {
            Entry::Deltas(deltas) => {
                self.last = self.last.max(deltas.day);
                self.is_undated |= deltas.day.is_none();
            }
            Entry::Dated(day) => self.last = self.last.max(Some(*day)),
            Entry::Sealed(sealed) => self.last = self.last.max(Some(sealed.day.next())),
        }
    }

    fn date(&mut self, day: Day) {
        if self.is_undated {
            *self = Self {
                last: self.last.max(Some(day)),
                is_undated: false,
            };
        }
    }

    fn merge(&mut self, other: Self) {
        self.last = self.last.max(other.last);
        self.is_undated |= other.is_undated;
    }
}

/// Why counters are not kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk refuses.
    #[error("{action} the journal of what was served")]
    Disk {
        /// A verb.
        action: &'static str,
        /// What the system answers.
        source: io::Error,
    },
    /// The disk has refused for so long that no more is kept here.
    #[error(
        "the journal of what was served cannot be written, and {KEPT_BYTES_MAX} bytes wait for it: \
         free some space on the disk of the data directory"
    )]
    Full,
    /// A newer release wrote it.
    #[error("segment {0} of the journal was written by a newer release of verge: start that one")]
    Newer(SegmentName),
    /// No epoch is left.
    #[error("the journal has come to its last epoch")]
    Epochs,
}

trait At<T> {
    fn at(self, action: &'static str) -> Result<T, JournalError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str) -> Result<T, JournalError> {
        self.map_err(|source| JournalError::Disk { action, source })
    }
}

/// What was found when a journal was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// What is left to be sealed.
    pub replay: Replay,
    /// Bytes that were of no frame.
    pub damaged_bytes: usize,
}

impl<D: JournalDisk> Journal<D> {
    /// Reads what is there and begins a new epoch, above `epoch_min` too. `sealed_until` is the last
    /// day of which this node's own seals are known.
    ///
    /// # Errors
    /// [`JournalError`]: the disk refuses, or a newer release wrote the journal. Damage is none.
    pub fn open(
        mut disk: D,
        epoch_min: u32,
        sealed_until: Option<Day>,
    ) -> Result<(Self, Opened), JournalError> {
        let mut names = disk.segments().at("list")?;
        names.sort_unstable();
        let (mut all, mut segments, mut damaged_bytes) = (Vec::new(), BTreeMap::new(), 0_usize);
        let mut epoch = epoch_min;
        for name in names {
            let bytes = disk.read(name).at("read")?;
            if is_newer(&bytes) {
                return Err(JournalError::Newer(name));
            }
            let (found, damaged) = frames(&bytes);
            damaged_bytes = damaged_bytes.saturating_add(damaged);
            epoch = epoch.max(name.epoch);
            segments.insert(name, Kept::default());
            for (_, entry) in &found {
                if let Entry::Dated(day) = entry {
                    segments
                        .values_mut()
                        .for_each(|kept: &mut Kept| kept.date(*day));
                }
                segments.entry(name).or_default().note(entry);
            }
            all.extend(found);
        }
        let current = SegmentName {
            epoch: epoch.checked_add(1).ok_or(JournalError::Epochs)?,
            part: 1,
        };
        disk.begin(current).at("begin")?;
        segments.insert(current, Kept::default());
        let replay = Replay::of(all, sealed_until);
        let journal = Self {
            disk,
            current,
            current_bytes: 0,
            sequence: 0,
            unsynced: Vec::new(),
            unsynced_kept: Kept::default(),
            written_bytes: 0,
            is_in_doubt: false,
            segments,
        };
        let opened = Opened {
            replay,
            damaged_bytes,
        };
        Ok((journal, opened))
    }

    /// The epoch of this start.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.current.epoch
    }

    /// Whether all that was taken over is on the disk: only that may be signed.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Takes over what changed, and writes it: one write.
    ///
    /// # Errors
    /// [`JournalError::Full`]: nothing was taken over, the caller keeps it. All others: it is kept
    /// here and comes with the next; the caller must not bring it again.
    pub fn append(&mut self, deltas: &Deltas) -> Result<(), JournalError> {
        if deltas.is_nothing() {
            return Ok(());
        }
        // The disk may have come back.
        if self.unsynced.len() >= KEPT_BYTES_MAX && self.sync().is_err() {
            return Err(JournalError::Full);
        }
        let mut rest = deltas.rows.as_slice();
        let mut part = Deltas {
            rows: Vec::new(),
            ..deltas.clone()
        };
        loop {
            let (rows, more) = rest.split_at(rest.len().min(FRAME_ROWS_MAX));
            part.rows = rows.to_vec();
            self.take(&Entry::Deltas(part.clone()));
            if more.is_empty() {
                break;
            }
            (rest, part.totals) = (more, NodeTotals::default());
        }
        self.write()?;
        if self.unsynced.len() >= UNSYNCED_BYTES_MAX {
            return self.sync();
        }
        Ok(())
    }

    /// Says that all that was counted without a day was counted on this one.
    ///
    /// # Errors
    /// [`JournalError`]; it is kept here and comes with the next write.
    pub fn date(&mut self, day: Day) -> Result<(), JournalError> {
        self.segments.values_mut().for_each(|kept| kept.date(day));
        self.unsynced_kept.date(day);
        self.take(&Entry::Dated(day));
        self.write()
    }

    /// Waits until all that was taken over is on the disk. Only what was synced may be signed.
    ///
    /// # Errors
    /// [`JournalError`]; nothing is lost, and the next sync tries again.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        self.write()?;
        if let Err(error) = self.disk.sync() {
            self.is_in_doubt = true;
            return Err(error).at("sync");
        }
        self.unsynced.clear();
        self.unsynced_kept = Kept::default();
        self.written_bytes = 0;
        Ok(())
    }

    /// Says that a day is sealed and what is carried on, waits until that is on the disk, and removes
    /// the segments that only have days that are sealed. To be called when the seal itself is
    /// durable: until then the counters must be there; and for days in their order, since what was
    /// counted for earlier ones ends with it.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn seal(&mut self, day: Day, carry: &Carry) -> Result<(), JournalError> {
        let rows: Vec<Row> = carry
            .rows
            .iter()
            .map(|((site, class), count)| Row {
                site: *site,
                class: *class,
                count: *count,
            })
            .collect();
        // A sealed day begins a new segment: it must outlive those that it ends.
        self.begin_next()?;
        let mut parts = rows.chunks(FRAME_ROWS_MAX);
        let first = parts.next().unwrap_or_default();
        for carried in std::iter::once(first).chain(parts) {
            let sealed = Sealed {
                day,
                carried: carried.to_vec(),
            };
            self.take(&Entry::Sealed(sealed));
        }
        self.sync()?;
        self.remove_sealed(day)
    }

    fn remove_sealed(&mut self, day: Day) -> Result<(), JournalError> {
        let current = self.current;
        let is_over = |name: &SegmentName, kept: &Kept| {
            let is_sealed = match kept.last {
                Some(last) => last <= day,
                // Begun and never used, or damaged from end to end.
                None => name.epoch < current.epoch,
            };
            *name != current && is_sealed && !kept.is_undated
        };
        let segments = self.segments.iter();
        let over = segments.filter(|(name, kept)| is_over(name, kept));
        let over: Vec<SegmentName> = over.map(|(name, _)| *name).collect();
        for name in over {
            self.disk.remove(name).at("remove a segment of")?;
            self.segments.remove(&name);
        }
        Ok(())
    }

    fn take(&mut self, entry: &Entry) {
        self.sequence = self.sequence.saturating_add(1);
        let id = FrameId {
            epoch: self.current.epoch,
            sequence: self.sequence,
        };
        self.unsynced.extend_from_slice(&entry.encode(id));
        self.unsynced_kept.note(entry);
    }

    /// Writes what the current segment does not have.
    fn write(&mut self) -> Result<(), JournalError> {
        if self.is_in_doubt || self.current_bytes >= SEGMENT_BYTES_MAX {
            self.begin_next()?;
        }
        let rest = self.unsynced.get(self.written_bytes..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        // Before it is there: a part of it may be.
        let kept = self.segments.entry(self.current).or_default();
        kept.merge(self.unsynced_kept);
        if let Err(error) = self.disk.append(rest) {
            self.is_in_doubt = true;
            return Err(error).at("write");
        }
        self.current_bytes = self.current_bytes.saturating_add(rest.len());
        self.written_bytes = self.unsynced.len();
        Ok(())
    }

    /// Begins a new segment, into which all goes that was not synced.
    fn begin_next(&mut self) -> Result<(), JournalError> {
        let part = self.current.part.checked_add(1);
        // Also if it cannot be begun: something may lie at its name then.
        self.current.part = part.ok_or(JournalError::Epochs)?;
        self.is_in_doubt = true;
        self.disk.begin(self.current).at("begin")?;
        self.segments.insert(self.current, Kept::default());
        (self.current_bytes, self.written_bytes) = (0, 0);
        self.is_in_doubt = false;
        Ok(())
    }
}

/// Whether a later release wrote the segment.
fn is_newer(bytes: &[u8]) -> bool {
    let header = bytes.get(..SEGMENT_HEADER.len()).unwrap_or_default();
    let version = header
        .strip_prefix(b"verge journal ")
        .and_then(|rest| rest.strip_suffix(b"\n"));
    version.is_some_and(|version| matches!(version, [b'3'..=b'9']))
}
