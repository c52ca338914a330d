//! What keeps a record that ends the process from ending it again and again.
//!
//! A record whose application panics is set aside where that happens ([`super::holding`]). One that
//! aborts takes the process with it, and of one that never ends [`in_time`] makes one that aborts. So
//! the disk knows of records before they are applied: those that peers sent are named in the very
//! write that stores them, and a start leaves a mark, which it takes away when all is applied. A
//! start that finds a mark tries the last records by halves, a mark for each; which one it was is
//! certain when all goes well without it and a start ends with it. Most turns bring one record, which
//! is found at the second start that ends badly. It is set aside as long as this release runs.
//!
//! This costs a start two small writes, and a turn nothing but 32 bytes for each record.

use super::holding::Holding;
use crate::id::RecordId;
use crate::record::storing_order;
use crate::store::{Batch, MetaValue, PendingWrite, Store, StoreError};
use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The `meta` key of the records of the last turn, as far as there is room.
const META_FRESH: &str = "apply.fresh";
/// The `meta` key of what a start is trying.
const META_MARK: &str = "apply.mark";
/// The `meta` key of what is set aside, after the release that does.
const META_ASIDE: &str = "apply.aside";
/// 62.5 KiB, which a meta value can have. Of a larger turn those that are stored last are named.
const FRESH_COUNT_MAX: usize = 2_000;
/// As many as a meta value has room for beside the release.
const ASIDE_COUNT_MAX: usize = 2_000;
/// A full region of 55,000 records takes a fifth of a second on a desktop, some seconds on a small
/// board; a release that needs more has an error.
pub const APPLY_TIME_MAX: Duration = Duration::from_secs(120);

/// How what is stored is applied at a start.
#[derive(Debug, Clone, Copy)]
pub struct Caution<'a> {
    /// Where marks are left.
    pub store: &'a Store,
    /// The release that runs: another may know better what to do with a record.
    pub release: &'a str,
    /// What takes longer never ends.
    pub time_max: Duration,
}

/// What a start was trying when it left the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Nothing: it has come to its end.
    Nothing,
    /// To apply everything that is not set aside.
    Whole,
    /// To apply the first `tried` suspects beside all that is not suspect; that goes well with the
    /// first `well`.
    Part {
        suspects: Suspects,
        well: usize,
        tried: usize,
    },
}

/// Which records may be the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspects {
    /// Those of the last turn.
    Fresh,
    /// All but step 0: it was none of those.
    All,
}

impl Caution<'_> {
    /// Works out what holds for the first time in this run of the process.
    ///
    /// # Errors
    /// [`StoreError`]: what is tried cannot be marked, so it is not tried.
    pub fn settle(&self, holding: &mut Holding) -> Result<(), StoreError> {
        holding.set_aside(self.aside()?);
        match self.mark()? {
            Mark::Nothing => {}
            Mark::Whole => self.search(holding, Suspects::Fresh, None)?,
            Mark::Part {
                suspects: Suspects::Fresh,
                tried: 0,
                ..
            } => self.search(holding, Suspects::All, None)?,
            // It is what the region is founded on.
            Mark::Part { tried: 0, .. } => {}
            Mark::Part {
                suspects,
                well,
                tried,
            } if well + 1 == tried => self.blame(holding, suspects, well)?,
            Mark::Part {
                suspects,
                well,
                tried,
            } => self.search(holding, suspects, Some((well, tried)))?,
        }
        self.leave(Mark::Whole)?;
        in_time(self.time_max, || holding.settle());
        // Nobody waits for it: a mark too many costs the next start some time.
        drop(self.write(META_MARK, Mark::Nothing.encode())?);
        Ok(())
    }

    /// Looks by halves for the suspect without which those before it can be applied. Does not come
    /// back where one ends the process; the next start goes on from there.
    fn search(
        &self,
        holding: &Holding,
        suspects: Suspects,
        range: Option<(usize, usize)>,
    ) -> Result<(), StoreError> {
        let all = self.suspects(holding, suspects)?;
        let attempt = |well: usize, tried: usize| -> Result<(), StoreError> {
            self.leave(Mark::Part {
                suspects,
                well,
                tried,
            })?;
            let left_out = all.get(tried..).unwrap_or_default();
            in_time(self.time_max, || holding.try_without(left_out));
            Ok(())
        };
        let (mut well, ill) = match range {
            Some(range) => range,
            None => {
                attempt(0, 0)?;
                (0, all.len())
            }
        };
        while well + 1 < ill {
            let tried = well.midpoint(ill);
            attempt(well, tried)?;
            well = tried;
        }
        match ill {
            0 => Ok(()),
            // The one that is left, if it is to blame at all: the power may have failed.
            ill => attempt(ill - 1, ill),
        }
    }

    /// Sets the suspect aside that is the one.
    fn blame(
        &self,
        holding: &mut Holding,
        suspects: Suspects,
        at: usize,
    ) -> Result<(), StoreError> {
        let Some(culprit) = self.suspects(holding, suspects)?.get(at).copied() else {
            return Ok(());
        };
        tracing::error!(record = %culprit, "set aside: applying it ended the process");
        let mut aside: Vec<RecordId> = self.aside()?.into_iter().collect();
        aside.truncate(ASIDE_COUNT_MAX - 1);
        aside.push(culprit);
        let mut bytes = vec![u8::try_from(self.release.len()).unwrap_or(u8::MAX)];
        bytes.extend(self.release.bytes().take(usize::from(u8::MAX)));
        bytes.extend(aside.iter().flat_map(|id| *id.as_bytes()));
        wait(self.write(META_ASIDE, bytes)?)?;
        holding.set_aside(aside);
        Ok(())
    }

    /// In an order that does not change from start to start.
    fn suspects(&self, holding: &Holding, of: Suspects) -> Result<Vec<RecordId>, StoreError> {
        let aside = &holding.parameters().skip;
        let suspects = match of {
            Suspects::Fresh => ids(&self.read(META_FRESH)?),
            Suspects::All => {
                let mut records: Vec<_> = holding.records().collect();
                records.sort_unstable_by_key(|record| storing_order(record));
                let rest = records.iter().skip(1);
                rest.map(|record| record.id()).collect()
            }
        };
        let is_suspect = |id: &RecordId| holding.record(id).is_some() && !aside.contains(id);
        Ok(suspects.into_iter().filter(is_suspect).collect())
    }

    fn aside(&self) -> Result<BTreeSet<RecordId>, StoreError> {
        let bytes = self.read(META_ASIDE)?;
        let of_release = || {
            let (length, rest) = bytes.split_first()?;
            let (release, rest) = rest.split_at_checked(usize::from(*length))?;
            (release == self.release.as_bytes()).then(|| ids(rest))
        };
        Ok(of_release().unwrap_or_default().into_iter().collect())
    }

    fn mark(&self) -> Result<Mark, StoreError> {
        Ok(Mark::decode(&self.read(META_MARK)?))
    }

    fn leave(&self, mark: Mark) -> Result<(), StoreError> {
        wait(self.write(META_MARK, mark.encode())?)
    }

    fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        Ok(match self.store.records().meta(key)? {
            Some(MetaValue::Bytes(bytes)) => bytes,
            _ => Vec::new(),
        })
    }

    fn write(&self, key: &str, bytes: Vec<u8>) -> Result<PendingWrite, StoreError> {
        self.store.records().put_meta(key, MetaValue::Bytes(bytes))
    }
}

/// Names the records that a write stores before they are applied.
pub(super) fn name_fresh(batch: &mut Batch, fresh: &[RecordId]) {
    let last = fresh.len().saturating_sub(FRESH_COUNT_MAX);
    let last = fresh.get(last..).unwrap_or_default();
    let bytes = last.iter().flat_map(|id| *id.as_bytes()).collect();
    let fresh = (META_FRESH.to_owned(), MetaValue::Bytes(bytes));
    batch.meta.push(fresh);
}

/// Does work that has an end. A process in which it has none serves nobody rightly any more: it ends,
/// and is started again.
pub(super) fn in_time<T>(time_max: Duration, work: impl FnOnce() -> T) -> T {
    let (done, end) = sync_channel::<()>(1);
    let watch = move || {
        if end.recv_timeout(time_max) == Err(RecvTimeoutError::Timeout) {
            tracing::error!(
                ?time_max,
                "records are applied without end: this process ends"
            );
            std::process::abort();
        }
    };
    let watcher = std::thread::Builder::new().name("verge-watch".to_owned());
    if let Err(error) = watcher.spawn(watch) {
        tracing::warn!(%error, "nobody watches whether records can be applied");
    }
    let result = work();
    drop(done);
    result
}

/// Waits also where a runtime is, whose threads must not.
fn wait(pending: PendingWrite) -> Result<(), StoreError> {
    let waited = std::thread::scope(|scope| scope.spawn(|| pending.wait()).join());
    waited.unwrap_or(Err(StoreError::Closed)).map(drop)
}

fn ids(bytes: &[u8]) -> Vec<RecordId> {
    let (ids, _) = bytes.as_chunks::<32>();
    ids.iter().copied().map(RecordId::from_bytes).collect()
}

impl Mark {
    fn encode(self) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
        match self {
            Self::Nothing => Vec::new(),
            Self::Whole => vec![1],
            Self::Part {
                suspects,
                well,
                tried,
            } => {
                let tag = if suspects == Suspects::Fresh { 2 } else { 3 };
                [&[tag][..], &number(well), &number(tried)].concat()
            }
        }
    }

    /// What is no mark of this release is none.
    fn decode(bytes: &[u8]) -> Self {
        let number = |bytes: [u8; 4]| usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(0);
        match *bytes {
            [1] => Self::Whole,
            [tag @ (2 | 3), a, b, c, d, e, f, g, h] => {
                let suspects = if tag == 2 {
                    Suspects::Fresh
                } else {
                    Suspects::All
                };
                let (well, tried) = (number([a, b, c, d]), number([e, f, g, h]));
                if tried == 0 || well < tried {
                    return Self::Part {
                        suspects,
                        well,
                        tried,
                    };
                }
                Self::Nothing
            }
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_back() {
        let part = |suspects, well, tried| Mark::Part {
            suspects,
            well,
            tried,
        };
        let marks = [
            Mark::Nothing,
            Mark::Whole,
            part(Suspects::Fresh, 0, 0),
            part(Suspects::Fresh, 7, 2_000),
            part(Suspects::All, 70_000, 70_001),
        ];
        for mark in marks {
            assert_eq!(Mark::decode(&mark.encode()), mark);
        }
        for damaged in [
            &[0][..],
            &[1, 1],
            &[2, 0],
            &[4; 9],
            &[2, 0, 0, 0, 5, 0, 0, 0, 5],
        ] {
            assert_eq!(Mark::decode(damaged), Mark::Nothing, "{damaged:?}");
        }
    }

    #[test]
    fn the_last_records_are_named_as_far_as_there_is_room() {
        let id = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            RecordId::from_bytes(bytes)
        };
        for (count, named) in [(1, 0..1), (2_000, 0..2_000), (2_001, 1..2_001)] {
            let fresh: Vec<RecordId> = (0..count).map(id).collect();
            let mut batch = Batch::default();
            name_fresh(&mut batch, &fresh);
            let [(_, MetaValue::Bytes(bytes))] = batch.meta.as_slice() else {
                panic!("one value");
            };
            assert_eq!(ids(bytes), fresh[named], "{count}");
        }
    }
}
