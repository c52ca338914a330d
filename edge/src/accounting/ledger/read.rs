//! Records joined with their rows, each checked once.

use super::records::{Notice, notices};
use super::review::{Entry, Refused, Review};
use crate::accounting::calendar::{Day, Month};
use crate::accounting::figures::ROW_BYTES;
use crate::accounting::seal::{Encoded, Expected, ROWS_MAX, RowsNamed, Seal, SealError};
use crate::attribution::statement::SealedDay;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use verge_sync::Digest;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::Effect;
use verge_sync::store::{Store, StoreError};

/// Reads seals, and remembers what was found of each: their rows are read once after a start, and
/// when they are asked for. No rows are kept in memory.
#[derive(Debug)]
pub struct Ledger {
    store: Store,
    judged: Mutex<HashMap<RecordId, Judged>>,
}

#[derive(Debug, Clone)]
enum Judged {
    Holds(Arc<Entry>),
    /// It is wrong, and will not become right.
    Refused(Arc<str>),
}

/// What keeps a record from being judged.
enum Unjudged {
    /// Its rows are not here.
    Missing(RowsNamed),
    /// Its day is not over, by this node's clock.
    NotOver(Arc<str>),
    /// The disk does not give them.
    Disk(StoreError),
}

impl Ledger {
    /// A ledger whose rows lie in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            judged: Mutex::default(),
        }
    }

    /// Looks at all seals, and checks those that are new. `today` is the day of a time that was
    /// believed. Reads and hashes: not for the thread of visitors.
    #[must_use]
    pub fn review(&self, effect: &Effect, today: Day) -> Review {
        let (mut review, mut seen) = (Review::default(), BTreeSet::new());
        let mut known: BTreeSet<(NodeId, Day, Digest)> = BTreeSet::new();
        for ((node, day), notices) in notices(effect) {
            for notice in notices {
                seen.insert(notice.record);
                known.insert((node, day, notice.digest()));
                if !notice.is_aged(today) {
                    self.add(&notice, today, &mut review);
                }
            }
        }
        self.judged().retain(|record, _| seen.contains(record));
        for entry in review.days.values().flatten() {
            if let Some(previous) = entry.previous
                && !known.contains(&(entry.node, previous.day, previous.digest))
            {
                review.gaps.insert((entry.node, previous.day));
            }
        }
        review
    }

    fn add(&self, notice: &Notice<'_>, today: Day, review: &mut Review) {
        let (node, day) = (notice.node, notice.day);
        let mut refuse = |why| {
            review.refused.push(Refused {
                record: notice.record,
                node,
                day,
                why,
            });
        };
        match self.judge(notice, today) {
            Ok(Judged::Holds(entry)) => review.days.entry((node, day)).or_default().push(entry),
            Ok(Judged::Refused(why)) | Err(Unjudged::NotOver(why)) => refuse(why),
            Err(Unjudged::Missing(rows)) => {
                review.missing.insert(rows.blob, rows.bytes);
                review.waiting.insert((node, day));
            }
            Err(Unjudged::Disk(error)) => {
                review.waiting.insert((node, day));
                tracing::error!(node = %node.short(), %day, "the rows of a seal cannot be read: {error}");
            }
        }
    }

    fn judge(&self, notice: &Notice<'_>, today: Day) -> Result<Judged, Unjudged> {
        if let Some(judged) = self.judged().get(&notice.record) {
            return Ok(judged.clone());
        }
        let expected = Expected {
            node: notice.node,
            day: notice.day,
            today,
        };
        let judged = match self.open(notice, &expected)? {
            Ok(entry) => Judged::Holds(Arc::new(entry)),
            // Tomorrow it may be over.
            Err(error @ SealError::NotOver { .. }) => {
                return Err(Unjudged::NotOver(words(&error)));
            }
            Err(error) => {
                let why = words(&error);
                let (node, day) = (notice.node.short(), notice.day);
                tracing::warn!(record = %notice.record.short(), %node, %day, "a seal does not count: {why}");
                Judged::Refused(why)
            }
        };
        self.judged().insert(notice.record, judged.clone());
        Ok(judged)
    }

    fn open(
        &self,
        notice: &Notice<'_>,
        expected: &Expected,
    ) -> Result<Result<Entry, SealError>, Unjudged> {
        if expected.day >= expected.today {
            let (day, today) = (expected.day, expected.today);
            return Ok(Err(SealError::NotOver { day, today }));
        }
        let named = match RowsNamed::of(notice.body) {
            Ok(named) => named,
            Err(error) => return Ok(Err(error)),
        };
        let encoded = Encoded {
            body: notice.body.to_vec(),
            rows: self.rows(&named)?.ok_or(Unjudged::Missing(named))?,
        };
        Ok(Seal::decode(&encoded, expected).map(|seal| Entry {
            record: notice.record,
            node: seal.node,
            day: seal.day,
            digest: encoded.digest(),
            rows: named,
            // What does not fit is refused when it is decoded.
            sum: seal.sum().unwrap_or_default(),
            site_count: seal.rows.chunk_by(|a, b| a.site == b.site).count(),
            epochs: seal.epochs,
            previous: seal.previous,
            meaning: seal.encode().digest(),
            body: encoded.body,
        }))
    }

    /// None if they are not here, or damaged: then they are brought again.
    fn rows(&self, named: &RowsNamed) -> Result<Option<Vec<u8>>, Unjudged> {
        if named.bytes == 0 {
            return Ok(Some(Vec::new()));
        }
        let blobs = self.store.blobs();
        match blobs.read_verified(&named.blob, ROWS_BYTES_MAX) {
            Err(StoreError::Damaged { digest }) => {
                blobs.set_aside(&digest).map_err(Unjudged::Disk)?;
                Ok(None)
            }
            read => read.map_err(Unjudged::Disk),
        }
    }

    /// The seal of an entry, with its rows; none if these are not here any more.
    ///
    /// # Errors
    /// [`StoreError`]: the disk fails.
    pub fn read(&self, entry: &Entry) -> Result<Option<SealedDay>, StoreError> {
        let of = (entry.node, entry.day);
        self.join(of, (entry.digest, &entry.body), &entry.rows)
    }

    /// What a body says of a day that is over, with its rows; none if these are not here.
    ///
    /// # Errors
    /// [`StoreError`]: the disk fails.
    pub(crate) fn join(
        &self,
        (node, day): (NodeId, Day),
        (digest, body): (Digest, &[u8]),
        named: &RowsNamed,
    ) -> Result<Option<SealedDay>, StoreError> {
        let rows = match self.rows(named) {
            Ok(Some(rows)) => rows,
            Err(Unjudged::Disk(error)) => return Err(error),
            Ok(None) | Err(_) => return Ok(None),
        };
        let encoded = Encoded {
            body: body.to_vec(),
            rows,
        };
        let today = day.next();
        let seal = Seal::decode(&encoded, &Expected { node, day, today }).ok();
        Ok(seal.map(|seal| SealedDay { digest, seal }))
    }

    /// The seals of a month, with their rows: what its statement is made of. All of one day, also
    /// where a node contradicts itself.
    ///
    /// # Errors
    /// [`StoreError`]: the disk fails.
    pub fn month(&self, review: &Review, month: Month) -> Result<Vec<SealedDay>, StoreError> {
        let mut sealed = Vec::new();
        for entry in review.days.values().flatten() {
            if entry.day.month() == month {
                sealed.extend(self.read(entry)?);
            }
        }
        Ok(sealed)
    }

    fn judged(&self) -> MutexGuard<'_, HashMap<RecordId, Judged>> {
        // Every change is whole before anything can panic.
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 100,000 rows are 5.7 MB.
const ROWS_BYTES_MAX: u64 = (ROWS_MAX as u64).saturating_mul(ROW_BYTES as u64);

/// With what lies behind it.
fn words(error: &SealError) -> Arc<str> {
    crate::error_chain::chain(error).into()
}
