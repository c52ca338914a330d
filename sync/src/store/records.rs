//! The records of one data directory, and the thread that alone talks to their database.
//!
//! A write is answered when it is durable. The thread commits at once, up to [`COMMITS_AT_ONCE`] times
//! after a rest, and gathers otherwise until [`COMMIT_INTERVAL`] has passed for each commit, so that a
//! stream of records costs ten syncs a second, and the few writes of a push wait for nothing. With
//! nothing to write it does nothing. It is stopped by dropping [`Records`], after it has committed what
//! it holds; a crash loses only writes that were not answered.

use super::database::Database;
use super::error::{At, StoreError};
use super::shelf::Shelf;
use crate::clock::stopwatch;
use crate::id::{RecordId, Version};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// 100 ms: unseen by somebody who pushes, and at most ten syncs a second for the disk.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
/// A push is a record and then, where it is brought to, a version that is whole; a name may follow.
/// With one at once the version waited 90 of the 120 ms from the record to its receipt.
pub const COMMITS_AT_ONCE: u32 = 4;
/// 64 KiB: the largest record is a step of the region.
pub const ROW_BYTES_MAX: usize = 64 * 1024;
/// 4 MiB in one write: two thousand records of the largest ordinary size.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// 16 MiB may wait in all: what a small node can spare while its disk is slow.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// 1,024 writes may wait: far more than there are pushes and peers.
const WAITING_COUNT_MAX: usize = 1024;
/// What a row or a meta entry costs in memory beside its bytes.
const ENTRY_BYTES: usize = 256;

/// A stored record: its place, for the database to keep, and its bytes, which it does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The digest of the canonical bytes without signatures.
    pub id: RecordId,
    /// The kind's number.
    pub kind: u64,
    /// What it is about.
    pub subject: Vec<u8>,
    /// The author's key.
    pub author: [u8; 32],
    /// The author's epoch for this subject.
    pub epoch: u32,
    /// The place in the epoch.
    pub sequence: u32,
    /// The whole record as it was received, at most [`ROW_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// A value of the `meta` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaValue {
    /// A number.
    Number(u64),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// Records and meta values that become durable together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Records, placed in this order.
    pub rows: Vec<Row>,
    /// Records that are kept no longer; removed after the rows are placed.
    pub gone: Vec<RecordId>,
    /// Keys and their new values.
    pub meta: Vec<(String, MetaValue)>,
    /// Versions that are on the [`Shelf`] from now on.
    pub whole: Vec<Version>,
    /// Versions that are no longer.
    pub not_whole: Vec<Version>,
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It was not there and now is.
    New,
    /// It was there with other signatures; these bytes have the lower digest and were kept.
    Replaced,
    /// It was there, with these bytes or ones of a lower digest.
    Known,
}

/// What a durable write did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For each row of the batch, in its order.
    pub placed: Vec<Placed>,
}

impl Outcome {
    /// Whether the set of records is another than before.
    #[must_use]
    pub fn has_changed_records(&self) -> bool {
        self.placed
            .iter()
            .any(|placed| matches!(placed, Placed::New | Placed::Replaced))
    }
}

/// The records of one data directory.
#[derive(Debug)]
pub struct Records {
    commands: SyncSender<Command>,
    waiting_bytes: Arc<AtomicUsize>,
    revision: watch::Receiver<u64>,
    writer: Option<JoinHandle<()>>,
}

/// A write on its way to the disk; resolves when it is durable, or to the reason why it is not.
/// Dropping it does not stop the write.
#[derive(Debug)]
#[must_use = "a write is durable only when this has resolved without an error"]
pub struct PendingWrite(oneshot::Receiver<Result<Outcome, StoreError>>);

enum Command {
    Write(Write),
    All(SyncSender<Result<Vec<Row>, StoreError>>),
    Meta(String, SyncSender<Result<Option<MetaValue>, StoreError>>),
    Stop,
}

struct Write {
    batch: Batch,
    bytes: usize,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

impl Records {
    pub(super) fn open(path: &Path) -> Result<(Self, Arc<Shelf>), StoreError> {
        let database = Database::open(path)?;
        let shelf = Arc::new(Shelf::new(database.whole()?));
        let (commands, inbox) = sync_channel(WAITING_COUNT_MAX);
        let (revision_sender, revision) = watch::channel(0);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            database,
            shelf: Arc::clone(&shelf),
            revision: revision_sender,
            waiting_bytes: Arc::clone(&waiting_bytes),
            gathered: Vec::new(),
            pace: CommitPace::default(),
        };
        let thread = std::thread::Builder::new().name("verge-records".to_owned());
        let writer = thread
            .spawn(move || writer.run(&inbox))
            .at("start the writer of", path)?;
        let records = Self {
            commands,
            waiting_bytes,
            revision,
            writer: Some(writer),
        };
        Ok((records, shelf))
    }

    /// Writes records; see [`Self::write`].
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn put(&self, rows: Vec<Row>) -> Result<PendingWrite, StoreError> {
        self.write(Batch {
            rows,
            ..Batch::default()
        })
    }

    /// Writes one meta value; see [`Self::write`].
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn put_meta(&self, key: &str, value: MetaValue) -> Result<PendingWrite, StoreError> {
        self.write(Batch {
            meta: vec![(key.to_owned(), value)],
            ..Batch::default()
        })
    }

    /// Hands a batch to the writer; never blocks. Several batches may be committed together.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a row over [`ROW_BYTES_MAX`] or a batch over
    /// [`BATCH_BYTES_MAX`]; [`StoreError::Busy`] when too much waits already;
    /// [`StoreError::Closed`].
    pub fn write(&self, batch: Batch) -> Result<PendingWrite, StoreError> {
        let bytes = check_batch(&batch)?;
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let sent = if before.saturating_add(bytes) > WAITING_BYTES_MAX {
            Err(StoreError::Busy)
        } else {
            let command = Command::Write(Write {
                batch,
                bytes,
                reply,
            });
            self.commands
                .try_send(command)
                .map_err(|error| match error {
                    TrySendError::Full(_) => StoreError::Busy,
                    TrySendError::Disconnected(_) => StoreError::Closed,
                })
        };
        if let Err(error) = sent {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(error);
        }
        Ok(PendingWrite(answer))
    }

    /// Every record, sorted by id. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::DatabaseDamaged`] or [`StoreError::Closed`].
    pub fn all(&self) -> Result<Vec<Row>, StoreError> {
        self.ask(Command::All)
    }

    /// The value under `key`. Blocks.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub fn meta(&self, key: &str) -> Result<Option<MetaValue>, StoreError> {
        self.ask(|reply| Command::Meta(key.to_owned(), reply))
    }

    /// A number that grows by one with each durable commit that changed the set of records, before
    /// the commit is answered. Starts at 0.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.revision.clone()
    }

    fn ask<T>(
        &self,
        command: impl FnOnce(SyncSender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = sync_channel(1);
        if self.commands.send(command(reply)).is_err() {
            return Err(StoreError::Closed);
        }
        answer.recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let stopped = self.commands.send(Command::Stop).is_ok();
        let joined = self
            .writer
            .take()
            .is_none_or(|writer| writer.join().is_ok());
        if !(stopped && joined) {
            tracing::error!("the writer of the records database ended by a panic");
        }
    }
}

impl Future for PendingWrite {
    type Output = Result<Outcome, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

impl PendingWrite {
    /// Waits on a thread that may block; panics inside an async task.
    ///
    /// # Errors
    /// What awaiting gives.
    pub fn wait(self) -> Result<Outcome, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

/// Checks the limits and says how much memory the batch takes.
fn check_batch(batch: &Batch) -> Result<usize, StoreError> {
    let mut bytes = 0_usize;
    for row in &batch.rows {
        let row_bytes = row.bytes.len().saturating_add(row.subject.len());
        check_bytes(format!("record {}", row.id), row_bytes, ROW_BYTES_MAX)?;
        bytes = bytes.saturating_add(row_bytes).saturating_add(ENTRY_BYTES);
    }
    let ids = [batch.gone.len(), batch.whole.len(), batch.not_whole.len()];
    bytes = bytes.saturating_add(ids.iter().sum::<usize>().saturating_mul(32));
    for (key, value) in &batch.meta {
        let value_bytes = match value {
            MetaValue::Number(_) => 8,
            MetaValue::Bytes(bytes) => bytes.len(),
        };
        check_bytes(format!("meta value {key}"), value_bytes, ROW_BYTES_MAX)?;
        bytes = bytes
            .saturating_add(value_bytes)
            .saturating_add(ENTRY_BYTES);
    }
    check_bytes("batch of records".to_owned(), bytes, BATCH_BYTES_MAX)?;
    Ok(bytes)
}

fn check_bytes(what: String, bytes: usize, bytes_max: usize) -> Result<(), StoreError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let count = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
    Err(StoreError::TooLarge {
        what,
        bytes: count(bytes),
        bytes_max: count(bytes_max),
    })
}

/// The thread's own state.
struct Writer {
    database: Database,
    shelf: Arc<Shelf>,
    revision: watch::Sender<u64>,
    waiting_bytes: Arc<AtomicUsize>,
    gathered: Vec<Write>,
    pace: CommitPace,
}

/// How soon the next commit may come: a commit each [`COMMIT_INTERVAL`], and a few at once after a
/// rest.
#[derive(Debug, Default)]
struct CommitPace {
    /// When all commits until now have had their interval.
    paid_at: Option<Instant>,
}

impl CommitPace {
    fn wait(&self, now: Instant) -> Duration {
        let owed = self.paid_at.map_or(Duration::ZERO, |paid_at| {
            paid_at.saturating_duration_since(now)
        });
        owed.saturating_sub(COMMIT_INTERVAL * (COMMITS_AT_ONCE - 1))
    }

    fn committed(&mut self, now: Instant) {
        let from = self.paid_at.map_or(now, |paid_at| paid_at.max(now));
        self.paid_at = Some(from + COMMIT_INTERVAL);
    }
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Command>) {
        loop {
            match self.next(inbox) {
                Ok(Command::Write(write)) => {
                    self.gathered.push(write);
                    if self.gathered.len() >= WAITING_COUNT_MAX {
                        self.commit();
                    }
                }
                Ok(Command::All(reply)) => answer(&reply, self.database.all()),
                Ok(Command::Meta(key, reply)) => answer(&reply, self.database.meta(&key)),
                Err(RecvTimeoutError::Timeout) => self.commit(),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.commit();
                    return;
                }
            }
        }
    }

    /// The next command; `Timeout` when what is gathered is to be committed.
    fn next(&self, inbox: &Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        if self.gathered.is_empty() {
            return inbox.recv().or(Err(RecvTimeoutError::Disconnected));
        }
        inbox.recv_timeout(self.pace.wait(stopwatch()))
    }

    fn commit(&mut self) {
        let writes = std::mem::take(&mut self.gathered);
        if writes.is_empty() {
            return;
        }
        let batches: Vec<_> = writes.iter().map(|write| &write.batch).collect();
        let result = self.database.commit(&batches);
        self.pace.committed(stopwatch());
        let bytes = writes.iter().map(|write| write.bytes).sum();
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        match result {
            Ok(outcomes) => self.announce(writes, outcomes),
            Err(error) => {
                tracing::error!(%error, "records could not be written");
                writes
                    .into_iter()
                    .for_each(|write| resolve(write, Err(error.clone())));
            }
        }
    }

    fn announce(&self, writes: Vec<Write>, outcomes: Vec<Outcome>) {
        if outcomes.iter().any(Outcome::has_changed_records) {
            self.revision.send_modify(|revision| *revision += 1);
        }
        let batches = writes.iter().map(|write| &write.batch);
        self.shelf
            .change(batches.map(|batch| (batch.whole.as_slice(), batch.not_whole.as_slice())));
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            resolve(write, Ok(outcome));
        }
    }
}

/// Whoever does not wait for the answer any more does not get one.
fn resolve(write: Write, result: Result<Outcome, StoreError>) {
    if write.reply.send(result).is_err() {
        tracing::trace!("nobody waits for this write");
    }
}

fn answer<T>(reply: &SyncSender<Result<T, StoreError>>, result: Result<T, StoreError>) {
    if reply.send(result).is_err() {
        tracing::trace!("nobody waits for this answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_commits_come_at_once_and_a_stream_at_its_interval() {
        let (begun, mut pace) = (stopwatch(), CommitPace::default());
        let mut now = begun;
        let mut waits = Vec::new();
        for _ in 0..COMMITS_AT_ONCE + 2 {
            waits.push(pace.wait(now).as_millis());
            now += pace.wait(now);
            pace.committed(now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 100, 100]);
        // Each interval of rest earns one, and a long rest no more than the few.
        assert_eq!(pace.wait(now + COMMIT_INTERVAL), Duration::ZERO);
        let later = now + COMMIT_INTERVAL * 100;
        for _ in 0..COMMITS_AT_ONCE {
            assert_eq!(pace.wait(later), Duration::ZERO);
            pace.committed(later);
        }
        assert_eq!(pace.wait(later), COMMIT_INTERVAL);
    }
}
