//! The books of a running node: its journal, and in memory what the journal comes to.
//!
//! Owned by one task, which brings what was counted and asks for what is due; every call may wait
//! for the disk. A crash anywhere loses what the journal loses, and nothing is counted twice: what is
//! said of a day, and that it is said, is decided by this node's own `seal` records, which are durable
//! before the journal ends the day.

mod own;
#[cfg(test)]
mod tests;

pub use own::OwnSeals;

use super::calendar::Day;
use super::figures::Count;
use super::journal::{Deltas, Entry, Journal, JournalDisk, JournalError, Opened, Replay, Sealed};
use super::meter::Taken;
use super::seal::{Carry, Closed, Seal, close};
use verge_sync::id::NodeId;

/// A day is sealed so long after its end: what was begun before midnight has come to its end, or its
/// clock is not ours.
pub const SEAL_AFTER_S: u64 = 15 * 60;

/// When something was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The day; none while the clock is not believed.
    pub day: Option<Day>,
    /// 0 to 23.
    pub hour: u8,
}

impl Moment {
    /// Of a believed time in seconds since 1970; none is not believed.
    #[must_use]
    pub fn of(believed_s: Option<u64>) -> Self {
        let hour = believed_s.map_or(0, |wall_s| wall_s / 3_600 % 24);
        Self {
            day: believed_s.map(Day::of_time),
            hour: u8::try_from(hour).unwrap_or(0),
        }
    }
}

/// A day that is over, and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// To be signed, unless this node's record of the day says just that already; then
    /// [`Books::sealed`].
    Seal(Day, Box<Closed>),
    /// A record of this node is of that day or a later one and says something else: what is here is
    /// not counted again.
    Covered(Day),
    /// Its sums are larger than a figure can be; nothing can be said of it.
    TooLarge(Day),
}

/// How the books are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// The number of this start.
    pub epoch: u32,
    /// Of days that are not sealed.
    pub open: Count,
    /// The days that are not sealed.
    pub open_days: usize,
    /// Bytes of the journal that were of no frame when it was opened.
    pub damaged_bytes: usize,
    /// Figures that were too large to be added.
    pub left_out_count: u64,
}

/// Counters of open days, on the disk and in memory.
#[derive(Debug)]
pub struct Books<D> {
    node: NodeId,
    journal: Journal<D>,
    replay: Replay,
    damaged_bytes: usize,
    is_behind_proxy: bool,
}

impl<D: JournalDisk> Books<D> {
    /// Opens the journal and begins a new epoch, after those of `own`.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(
        disk: D,
        node: NodeId,
        own: &OwnSeals,
        is_behind_proxy: bool,
    ) -> Result<Self, JournalError> {
        // What own seals cover is looked at day by day: the journal may only lack its last word.
        let (journal, opened) = Journal::open(disk, own.epoch_max(), None)?;
        let Opened {
            replay,
            damaged_bytes,
        } = opened;
        if damaged_bytes > 0 {
            tracing::error!(
                bytes = damaged_bytes,
                "the journal of what was served is damaged: what these bytes counted is lost, all else is kept"
            );
        }
        let mut books = Self {
            node,
            journal,
            replay,
            damaged_bytes,
            is_behind_proxy,
        };
        books.resume(own)?;
        Ok(books)
    }

    /// Ends the days whose records were written just before a crash: until then they would be shown
    /// twice.
    fn resume(&mut self, own: &OwnSeals) -> Result<(), JournalError> {
        while let Some((day, counts)) = self.replay.days.first_key_value() {
            let (day, carry) = (*day, self.replay.carry.clone());
            let closed = close((self.node, day), counts, carry, own.before(day));
            let said = closed.filter(|closed| own.says(day, &closed.seal.encode()));
            let Some(closed) = said else { break };
            self.sealed(day, closed.carry)?;
        }
        Ok(())
    }

    /// Takes over what was counted, and writes it. It comes back if it could not be taken over.
    ///
    /// # Errors
    /// [`JournalError`]; unless something comes back, it is kept here and comes with the next write.
    pub fn count(&mut self, taken: Taken, at: Moment) -> Result<(), (JournalError, Option<Taken>)> {
        let date = self.date(at.day);
        let deltas = Deltas {
            day: at.day,
            hour: at.hour,
            is_behind_proxy: self.is_behind_proxy,
            totals: taken.totals,
            rows: taken.rows(),
        };
        match self.journal.append(&deltas) {
            Err(error @ JournalError::Full) => Err((error, Some(taken))),
            appended => {
                if !deltas.is_nothing() {
                    let epoch = self.journal.epoch();
                    self.replay.apply(epoch, &Entry::Deltas(deltas));
                }
                appended.and(date).map_err(|error| (error, None))
            }
        }
    }

    /// Gives what was counted without a day its day, as soon as there is one.
    fn date(&mut self, day: Option<Day>) -> Result<(), JournalError> {
        let Some(day) = day.filter(|_| !self.replay.undated.is_nothing()) else {
            return Ok(());
        };
        // Kept, also if it cannot be written yet.
        let dated = self.journal.date(day);
        self.replay.apply(self.journal.epoch(), &Entry::Dated(day));
        dated
    }

    /// The first day that is not sealed.
    #[must_use]
    pub fn first_open_day(&self) -> Option<Day> {
        self.replay.days.keys().next().copied()
    }

    /// Whether something waits for a day, or for the end of one.
    #[must_use]
    pub fn has_open_days(&self) -> bool {
        !self.replay.days.is_empty() || !self.replay.undated.is_nothing()
    }

    /// Whether all that was taken over is on the disk.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.journal.is_synced()
    }

    /// Waits until all that was taken over is on the disk.
    ///
    /// # Errors
    /// [`JournalError`]; nothing is lost, and the next sync tries again.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.journal.sync()
    }

    /// The first open day that is over at a believed time, with all that was counted of it on the
    /// disk.
    ///
    /// # Errors
    /// [`JournalError`]: it is not on the disk, so nothing may be signed.
    pub fn due(&mut self, now_s: u64, own: &OwnSeals) -> Result<Option<Due>, JournalError> {
        self.date(Some(Day::of_time(now_s)))?;
        let today = Day::of_time(now_s.saturating_sub(SEAL_AFTER_S));
        let first = self.replay.days.first_key_value();
        let Some((day, counts)) = first.filter(|(day, _)| **day < today) else {
            return Ok(None);
        };
        let (day, carry) = (*day, self.replay.carry.clone());
        let closed = close((self.node, day), counts, carry, own.before(day));
        self.journal.sync()?;
        let Some(closed) = closed else {
            return Ok(Some(Due::TooLarge(day)));
        };
        let is_said = own.says(day, &closed.seal.encode());
        Ok(Some(if own.is_past(day) && !is_said {
            Due::Covered(day)
        } else {
            Due::Seal(day, Box::new(closed))
        }))
    }

    /// What a seal of each open day would say now, with all of it on the disk.
    ///
    /// # Errors
    /// [`JournalError`]: it is not on the disk, so nothing may be signed.
    pub fn open_days(&mut self, own: &OwnSeals) -> Result<Vec<Seal>, JournalError> {
        self.journal.sync()?;
        let mut carry = self.replay.carry.clone();
        let mut seals = Vec::new();
        for (day, counts) in &self.replay.days {
            if own.is_past(*day) {
                continue;
            }
            let closed = close((self.node, *day), counts, carry, own.before(*day));
            // What is too large for a seal is none.
            let Some(closed) = closed else { break };
            carry = closed.carry;
            seals.push(closed.seal);
        }
        Ok(seals)
    }

    /// Ends a day of which a durable record says all, or of which nothing is said.
    ///
    /// # Errors
    /// [`JournalError`]; the day is due again then.
    pub fn sealed(&mut self, day: Day, carry: Carry) -> Result<(), JournalError> {
        self.journal.seal(day, &carry)?;
        let epoch = self.journal.epoch();
        let nothing = Entry::Sealed(Sealed {
            day,
            carried: Vec::new(),
        });
        self.replay.apply(epoch, &nothing);
        self.replay.carry = carry;
        Ok(())
    }

    /// How they are.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut open = Count::default();
        let days = self.replay.days.values();
        for counts in days.chain([&self.replay.undated]) {
            for count in counts.rows.values() {
                open = open.plus(*count).unwrap_or(open);
            }
        }
        for count in self.replay.carry.rows.values() {
            open = open.plus(*count).unwrap_or(open);
        }
        Figures {
            epoch: self.journal.epoch(),
            open,
            open_days: self.replay.days.len(),
            damaged_bytes: self.damaged_bytes,
            left_out_count: self.replay.left_out_count,
        }
    }
}
