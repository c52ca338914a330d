//! Second reading: what is new is compressed, checked, and written to packs and big blobs.
//!
//! Small files go to `threads` workers over bounded queues and come back in order, so that the bytes
//! on disk do not depend on who was faster. Files over 1 MiB follow one at a time, one coding at a
//! time, streamed through the staging folder. No task outlives [`represent`].

use crate::compress::{self, CODINGS, TRIAL_BYTES};
use crate::content::Distinct;
use crate::error::{BuildError, Refusal};
use crate::media_type::Compressible;
use crate::source::Contents;
use crate::staging::{Finished, Staging, length_of};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use verge_sync::digest::Digest;
use verge_sync::manifest::{BlobRef, Coding, Location};
use verge_sync::pack::{PACKED_BYTES_MAX, Place};

/// Small files on their way at the same time: enough that a slow one does not stop the others.
const WINDOW_FILES: usize = 64;
/// Their bytes: with three codings each, under 32 MiB of memory.
const WINDOW_BYTES: u64 = 8 << 20;

/// Where a stored representation lies, before the version's list of blobs is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lies {
    /// Nowhere: it is empty.
    Nowhere,
    /// In a blob of the version before, which stays.
    Before(Location),
    /// In a new pack.
    Packed(Place),
    /// A new blob of its own.
    Alone(BlobRef),
}

/// A representation and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) coding: Coding,
    pub(crate) digest: Digest,
    pub(crate) sha256: [u8; 32],
    pub(crate) length: u64,
    pub(crate) lies: Lies,
}

/// Representations by identity digest.
pub(crate) type Stock = BTreeMap<Digest, Vec<Stored>>;

/// Makes the representations of `new`, in its order.
pub(crate) fn represent(
    new: &[Distinct],
    contents: &mut Contents,
    staging: &mut Staging,
    threads: usize,
    progress: &mut dyn FnMut(),
) -> Result<Stock, BuildError> {
    let is_small = |item: &&Distinct| item.file.bytes <= PACKED_BYTES_MAX;
    let small: Vec<&Distinct> = new.iter().filter(is_small).collect();
    let mut stock = Stock::new();
    represent_small(&small, contents, threads, &mut |item, coded| {
        let stored = coded.into_iter().map(|coded| store(coded, staging));
        let stored = stored.collect::<Result<_, _>>()?;
        stock.insert(item.identity, stored);
        progress();
        Ok(())
    })?;
    for item in new.iter().filter(|item| !is_small(item)) {
        let stored = represent_large(item, contents, staging)?;
        stock.insert(item.identity, stored);
        progress();
    }
    Ok(stock)
}

/// One coding of a small file.
struct Coded {
    coding: Coding,
    digest: Digest,
    sha256: [u8; 32],
    bytes: Vec<u8>,
}

fn store(coded: Coded, staging: &mut Staging) -> Result<Stored, BuildError> {
    let lies = if coded.bytes.is_empty() {
        Lies::Nowhere
    } else {
        Lies::Packed(staging.pack(&coded.bytes)?)
    };
    Ok(Stored {
        coding: coded.coding,
        digest: coded.digest,
        sha256: coded.sha256,
        length: length_of(&coded.bytes),
        lies,
    })
}

type Task<'a> = (usize, &'a Distinct, Vec<u8>);
type Done = (usize, Result<Vec<Coded>, BuildError>);
/// Takes the codings of one file.
type Take<'t> = dyn FnMut(&Distinct, Vec<Coded>) -> Result<(), BuildError> + 't;

/// Gives `take` the codings of every small file, in order.
fn represent_small(
    small: &[&Distinct],
    contents: &mut Contents,
    threads: usize,
    take: &mut Take<'_>,
) -> Result<(), BuildError> {
    std::thread::scope(|scope| {
        let (task_sender, tasks) = sync_channel::<Task<'_>>(WINDOW_FILES);
        let (done_sender, done) = sync_channel::<Done>(WINDOW_FILES);
        let tasks = std::sync::Arc::new(Mutex::new(tasks));
        for _ in 0..threads.clamp(1, WINDOW_FILES) {
            let (tasks, done_sender) = (std::sync::Arc::clone(&tasks), done_sender.clone());
            scope.spawn(move || work(&tasks, &done_sender));
        }
        drop((tasks, done_sender));
        Window {
            small,
            contents,
            tasks: task_sender,
            done,
            waiting: BTreeMap::new(),
            read: 0,
            taken: 0,
            bytes: 0,
        }
        .run(take)
    })
}

/// The files between the reader and the packs: read, being compressed, or waiting for their turn.
struct Window<'a, 'c> {
    small: &'a [&'a Distinct],
    contents: &'c mut Contents,
    tasks: SyncSender<Task<'a>>,
    done: Receiver<Done>,
    waiting: BTreeMap<usize, Vec<Coded>>,
    read: usize,
    taken: usize,
    bytes: u64,
}

impl Window<'_, '_> {
    fn run(mut self, take: &mut Take<'_>) -> Result<(), BuildError> {
        while let Some(oldest) = self.small.get(self.taken) {
            if let Some(coded) = self.waiting.remove(&self.taken) {
                take(oldest, coded)?;
                self.taken += 1;
                self.bytes -= oldest.file.bytes;
            } else if self.has_room() {
                self.read_next()?;
            } else {
                let (at, coded) = self.done.recv().map_err(|_gone| worker_died())?;
                self.waiting.insert(at, coded?);
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        let next = self.small.get(self.read);
        let fits = |next: &&Distinct| self.bytes + next.file.bytes <= WINDOW_BYTES;
        self.read - self.taken < WINDOW_FILES && next.is_some_and(fits)
    }

    fn read_next(&mut self) -> Result<(), BuildError> {
        let Some(next) = self.small.get(self.read) else {
            return Ok(());
        };
        let bytes = self.contents.read_whole(&next.file)?;
        let task = (self.read, *next, bytes);
        self.tasks.send(task).map_err(|_gone| worker_died())?;
        self.read += 1;
        self.bytes += next.file.bytes;
        Ok(())
    }
}

fn worker_died() -> BuildError {
    BuildError::Inconsistent("a thread that compresses ended early".to_owned())
}

/// Takes tasks until there are no more; the queues are as long as the window, so nothing blocks
/// for good.
fn work(tasks: &Mutex<Receiver<Task<'_>>>, done: &SyncSender<Done>) {
    loop {
        let next = tasks.lock().map(|tasks| tasks.recv());
        let Ok(Ok((at, item, bytes))) = next else {
            return;
        };
        if done.send((at, code_small(item, bytes))).is_err() {
            return;
        }
    }
}

/// Every coding of a small file that is worth it, identity first, each decoded once.
fn code_small(item: &Distinct, bytes: Vec<u8>) -> Result<Vec<Coded>, BuildError> {
    if Digest::of(&bytes) != item.identity {
        return Err(changed(item));
    }
    let mut coded = Vec::new();
    let beginning = bytes.get(..TRIAL_BYTES).unwrap_or(&bytes);
    if is_promising(item, beginning)? {
        for coding in CODINGS {
            let mut out = Vec::new();
            compress::encode(coding, item.file.bytes, &mut &*bytes, &mut out)
                .map_err(memory(item))?;
            if compress::is_worth(item.file.bytes, length_of(&out)) {
                check(item, coding, &mut &*out)?;
                coded.push(finished(coding, out));
            }
        }
    }
    coded.insert(0, finished(Coding::Identity, bytes));
    Ok(coded)
}

fn finished(coding: Coding, bytes: Vec<u8>) -> Coded {
    Coded {
        coding,
        digest: Digest::of(&bytes),
        sha256: Sha256::digest(&bytes).into(),
        bytes,
    }
}

/// Whether compressing is worth an attempt, by the names and, where they do not say, by a trial.
fn is_promising(item: &Distinct, beginning: &[u8]) -> Result<bool, BuildError> {
    if !compress::is_long_enough(item.file.bytes) {
        return Ok(false);
    }
    match item.compressible {
        Compressible::Never => Ok(false),
        Compressible::Always => Ok(true),
        Compressible::Trial => compress::trial(beginning).map_err(memory(item)),
    }
}

/// Decodes what was made and compares it with its source.
fn check(item: &Distinct, coding: Coding, from: &mut dyn Read) -> Result<(), BuildError> {
    match compress::decoded_digest(coding, from) {
        Ok(digest) if digest == item.identity => Ok(()),
        _ => Err(BuildError::Coding {
            path: item.file.path.clone(),
            coding: coding.name(),
        }),
    }
}

/// All codings of a file that is too large for memory.
fn represent_large(
    item: &Distinct,
    contents: &mut Contents,
    staging: &mut Staging,
) -> Result<Vec<Stored>, BuildError> {
    let identity = copy_large(item, contents, staging)?;
    let mut stored = vec![keep_large(Coding::Identity, identity, staging)?];
    let beginning = read_beginning(item, staging)?;
    if !is_promising(item, &beginning)? {
        return Ok(stored);
    }
    for coding in CODINGS {
        let mut draft = staging.draft("coding.part")?;
        let mut from = staging.open(&item.identity)?;
        let wrong = draft.error();
        compress::encode(coding, item.file.bytes, &mut from, &mut draft).map_err(wrong)?;
        let coded = draft.finish()?;
        if compress::is_worth(item.file.bytes, coded.blob.bytes) {
            check(item, coding, &mut coded.open()?)?;
            stored.push(keep_large(coding, coded, staging)?);
        } else {
            staging.discard(&coded)?;
        }
    }
    Ok(stored)
}

fn copy_large(
    item: &Distinct,
    contents: &mut Contents,
    staging: &Staging,
) -> Result<Finished, BuildError> {
    let mut draft = staging.draft("identity.part")?;
    contents.read(&item.file, &mut |piece| {
        let written = draft.write_all(piece);
        written.map_err(draft.error())
    })?;
    let finished = draft.finish()?;
    if finished.blob.digest != item.identity {
        return Err(changed(item));
    }
    Ok(finished)
}

/// A blob of its own, or, if the coding made it short enough, a place in a pack.
fn keep_large(
    coding: Coding,
    finished: Finished,
    staging: &mut Staging,
) -> Result<Stored, BuildError> {
    let (blob, sha256) = (finished.blob, finished.sha256);
    let lies = if blob.bytes > PACKED_BYTES_MAX {
        Lies::Alone(staging.keep(finished)?)
    } else {
        let bytes = finished.read_whole()?;
        staging.discard(&finished)?;
        Lies::Packed(staging.pack(&bytes)?)
    };
    Ok(Stored {
        coding,
        digest: blob.digest,
        sha256,
        length: blob.bytes,
        lies,
    })
}

fn read_beginning(item: &Distinct, staging: &Staging) -> Result<Vec<u8>, BuildError> {
    let mut beginning = Vec::new();
    let limit = u64::try_from(TRIAL_BYTES).unwrap_or(u64::MAX);
    let mut from = staging.open(&item.identity)?.take(limit);
    from.read_to_end(&mut beginning).map_err(memory(item))?;
    Ok(beginning)
}

fn changed(item: &Distinct) -> BuildError {
    let path = item.file.path.clone();
    Refusal::Changed { path }.into()
}

/// For `map_err`: a codec that fails in memory or on our own scratch file.
fn memory(item: &Distinct) -> impl FnOnce(std::io::Error) -> BuildError + use<> {
    BuildError::disk("compress", std::path::Path::new(&item.file.path))
}
