//! Re-reads and re-hashes every blob at a gentle pace, because disks forget and say nothing.
//!
//! A blob that does not match its digest, or cannot be read, is moved to `DIR/damaged/` and
//! reported; it is never deleted. [`recheck`] does so for one blob at once. [`Scrubber`] owns a
//! thread, which its drop ends. The position is kept in the `meta` table once per GiB, at the end
//! of a round and when it is stopped: a crash repeats at most that much reading.

use super::error::StoreError;
use super::pace::{Pace, Rest};
use super::records::MetaValue;
use super::{BlobFile, Store};
use crate::clock::stopwatch;
use crate::digest::{Digest, Digester};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// 1 GiB: a terabyte is a thousand small writes.
const SAVE_BYTES: u64 = 1 << 30;
/// 1 MiB: about 10 ms on a slow disk, the longest that a visitor's read waits behind us.
const STEP_BYTES: u64 = 1 << 20;
/// The key of the position: the last digest that was checked, or nothing at the start of a round.
const POSITION_KEY: &str = "scrub.position";

/// A blob that was moved aside.
#[derive(Debug, Clone)]
pub struct Damage {
    /// The blob, which is no longer in the store.
    pub digest: Digest,
    /// The error that reading it gave; none if it read well and did not match its digest.
    pub unreadable: Option<StoreError>,
    /// Where its file is now.
    pub moved_to: PathBuf,
}

/// What one round found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Blobs read.
    pub checked_count: u64,
    /// Their size.
    pub checked_bytes: u64,
    /// Blobs moved aside.
    pub damaged_count: u64,
    /// Whether it came to the end; a round that was stopped goes on there the next time.
    pub is_complete: bool,
}

/// What a blob turned out to be.
enum Verdict {
    Whole,
    Gone,
    Wrong(BlobFile, Option<StoreError>),
    Stopped,
}

/// Checks all blobs after the saved position, in order of their digests.
///
/// # Errors
/// [`StoreError`] when the blobs cannot be listed, a damaged one not be moved, or the position not
/// be saved.
pub fn scrub_round(
    store: &Store,
    pace: &mut Pace,
    rest: &mut dyn Rest,
    report: &mut dyn FnMut(Damage),
) -> Result<Round, StoreError> {
    let from = position(store)?;
    let mut round = Round::default();
    let mut last = None;
    let mut unsaved_bytes = 0_u64;
    for held in store
        .blobs()
        .list()?
        .into_iter()
        .filter(|held| Some(held.digest) > from)
    {
        match check(store, held.digest, pace, rest)? {
            Verdict::Stopped => {
                save(store, last.or(from))?;
                return Ok(round);
            }
            Verdict::Wrong(file, unreadable) => {
                if let Some(damage) = set_aside(store, &file, unreadable)? {
                    round.damaged_count += 1;
                    report(damage);
                }
            }
            Verdict::Whole | Verdict::Gone => {}
        }
        round.checked_count += 1;
        round.checked_bytes = round.checked_bytes.saturating_add(held.bytes);
        unsaved_bytes = unsaved_bytes.saturating_add(held.bytes);
        last = Some(held.digest);
        if unsaved_bytes >= SAVE_BYTES {
            save(store, last)?;
            unsaved_bytes = 0;
        }
    }
    save(store, None)?;
    round.is_complete = true;
    Ok(round)
}

/// Checks one blob at once and without rest, because somebody found it wrong or is about to rely on
/// it, and moves it aside if it is damaged. Nothing if it is whole, or not there.
///
/// # Errors
/// [`StoreError`] when a damaged blob cannot be moved.
pub fn recheck(store: &Store, digest: Digest) -> Result<Option<Damage>, StoreError> {
    let mut never_rests = |_pause| ControlFlow::Continue(());
    match check(store, digest, &mut Pace::new(0), &mut never_rests)? {
        Verdict::Wrong(file, unreadable) => set_aside(store, &file, unreadable),
        Verdict::Whole | Verdict::Gone | Verdict::Stopped => Ok(None),
    }
}

fn set_aside(
    store: &Store,
    file: &BlobFile,
    unreadable: Option<StoreError>,
) -> Result<Option<Damage>, StoreError> {
    let moved_to = store.blobs().set_file_aside(file)?;
    Ok(moved_to.map(|moved_to| Damage {
        digest: file.digest(),
        unreadable,
        moved_to,
    }))
}

/// A blob that seems damaged is read once more: a bit that flipped in memory is not the disk's.
fn check(
    store: &Store,
    digest: Digest,
    pace: &mut Pace,
    rest: &mut dyn Rest,
) -> Result<Verdict, StoreError> {
    let mut verdict = Verdict::Gone;
    for _ in 0..2 {
        let Some(file) = store.blobs().open(&digest)? else {
            return Ok(Verdict::Gone);
        };
        verdict = match hash(&file, pace, rest) {
            Ok(ControlFlow::Break(())) => Verdict::Stopped,
            Ok(ControlFlow::Continue(found)) if found == digest => Verdict::Whole,
            Ok(ControlFlow::Continue(_)) => Verdict::Wrong(file, None),
            Err(error) => Verdict::Wrong(file, Some(error)),
        };
        if !matches!(verdict, Verdict::Wrong(..)) {
            break;
        }
    }
    Ok(verdict)
}

fn hash(
    file: &BlobFile,
    pace: &mut Pace,
    rest: &mut dyn Rest,
) -> Result<ControlFlow<(), Digest>, StoreError> {
    let mut digester = Digester::new();
    let mut offset = 0;
    while offset < file.bytes() {
        let started = stopwatch();
        let step = STEP_BYTES.min(file.bytes() - offset);
        digester.update(&file.read_at(offset, usize::try_from(step).unwrap_or(usize::MAX))?);
        offset += step;
        let pause = pace.rest_after(started.elapsed());
        if rest.rest(pause).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(digester.digest()))
}

/// An unreadable position is the start: it only costs reading.
fn position(store: &Store) -> Result<Option<Digest>, StoreError> {
    Ok(match store.records().meta(POSITION_KEY)? {
        Some(MetaValue::Bytes(bytes)) => bytes.try_into().ok().map(Digest::from_bytes),
        _ => None,
    })
}

fn save(store: &Store, last: Option<Digest>) -> Result<(), StoreError> {
    if last == position(store)? {
        return Ok(());
    }
    let bytes = last.map_or(Vec::new(), |digest| digest.as_bytes().to_vec());
    store
        .records()
        .put_meta(POSITION_KEY, MetaValue::Bytes(bytes))?
        .wait()?;
    Ok(())
}

/// How the background scrub goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScrubConfig {
    /// How many times longer it rests than it reads.
    pub rest_per_work: u32,
    /// How long it waits after a round, also one that failed.
    pub between_rounds: Duration,
}

/// A thread that scrubs round after round until this is dropped, which waits for the step at hand.
#[derive(Debug)]
pub struct Scrubber {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubber {
    /// Starts the thread. `report` is called on it for each blob that was moved aside.
    ///
    /// # Errors
    /// [`StoreError::Disk`] when the system gives no thread.
    pub fn start(
        store: Store,
        config: ScrubConfig,
        report: impl FnMut(Damage) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let dir = store.dir().to_owned();
        let (stop, stopped) = sync_channel(0);
        let builder = std::thread::Builder::new().name("verge-scrub".to_owned());
        let thread = builder
            .spawn(move || run(&store, config, &stopped, report))
            .map_err(|error| StoreError::io("start the scrub of", &dir, error))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the scrub ended by a panic");
        }
    }
}

fn run(store: &Store, config: ScrubConfig, stopped: &Receiver<()>, mut report: impl FnMut(Damage)) {
    let mut pace = Pace::new(config.rest_per_work);
    let mut rest = |pause| match stopped.recv_timeout(pause) {
        Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
    };
    loop {
        match scrub_round(store, &mut pace, &mut rest, &mut report) {
            Ok(round) => tracing::debug!(?round, "scrubbed"),
            Err(error) => {
                tracing::error!(%error, "the scrub of {} broke off", store.dir().display())
            }
        }
        if rest.rest(config.between_rounds).is_break() {
            return;
        }
    }
}
