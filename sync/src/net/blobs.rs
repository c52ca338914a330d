//! Blobs from one member to another: the protocol of iroh-blobs over a stream of the one
//! connection, straight from and to the files of the store.
//!
//! A request names a blob by its digest and a run of it; the answer carries the hash tree of BLAKE3
//! with the bytes, so that each 16 KiB are proved when they come, by whoever sent them
//! ([`iroh_blobs::protocol`]). The tree of a blob is worked out when it is first asked for and kept
//! in a small memory: nothing of it is on disk, so there is nothing to lose or to repair. Who sends
//! reads each piece against the tree first, so a file that a disk has damaged is never passed on.

use super::asks::Ask;
use super::bucket::Bucket;
use super::stream::StreamError;
use crate::clock::stopwatch;
use crate::content::{FetchError, Size};
use crate::digest::Digest;
use crate::store::{BlobFile, Partial, Store, StoreError};
use bao_tree::ChunkNum;
use bao_tree::io::EncodeError;
use bao_tree::io::fsm::{BaoContentItem, encode_ranges_validated};
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::CreateOutboard as _;
use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use iroh_blobs::Hash;
use iroh_blobs::get::fsm::{
    AtBlobContent, AtConnected, BlobContentNext, ConnectedNext, DecodeError, RequestCounters,
};
use iroh_blobs::protocol::{ChunkRanges, GetRequest, Request};
use iroh_blobs::store::IROH_BLOCK_SIZE;
use iroh_io::{AsyncSliceReader, AsyncStreamWriter};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A request for one run of one blob is some 50 bytes.
const REQUEST_BYTES_MAX: usize = 1_024;
/// Blobs that are being sent to one peer at once. Each peer has places of its own, so that whoever
/// takes nothing of what it asks for holds up nobody else: by default a node brings three versions at
/// once, one blob of each.
pub(super) const SENDING_PER_PEER_MAX: usize = 4;
/// A file is read so much at a time, and held in memory until it is taken: 4 MiB in all, for as many
/// peers as a node has and each of their places.
const READ_BYTES: usize = 128 << 10;
/// A file is written so much at a time.
const WRITE_BYTES: usize = 1 << 20;
/// Trees that are kept in memory: those of 1 GiB of blobs.
const TREES_BYTES_MAX: usize = 4 << 20;
/// 16 KiB that take longer, or a peer that takes none for so long, and the transfer ends.
pub const STALL_TIME: Duration = Duration::from_secs(20);
/// A peer that is there says within this how long the blob is, also where it first reads 100 MiB for
/// that; one that is gone holds up nothing for longer.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(4);
/// A source that gives less than this over [`SLOW_TIME`] is left for another, and who takes less while
/// it is waited for so long has to ask again.
const SLOW_BYTES_PER_SECOND: u64 = 2 << 10;
const SLOW_TIME: Duration = Duration::from_secs(30);
/// The unit in which BLAKE3 counts.
const CHUNK_BYTES: u64 = 1_024;
/// What a peer is told when it is not sent what it asked for.
const NOT_HERE: VarInt = VarInt::from_u32(1);

/// The tree of one blob.
type Tree = PreOrderOutboard<Bytes>;

/// Sends blobs to members that ask for them.
pub(super) struct Outlet {
    store: Store,
    trees: Mutex<VecDeque<(Digest, Arc<Tree>)>>,
    /// What leaves the house.
    uplink: Option<Bucket>,
    /// Blobs whose bytes turned out to be wrong.
    damaged: Box<dyn Fn(Digest) + Send + Sync>,
    stall_time: Duration,
}

impl Outlet {
    pub(super) fn new(
        store: Store,
        (send_bytes_per_second_max, stall_time): (u64, Duration),
        damaged: impl Fn(Digest) + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            trees: Mutex::default(),
            uplink: Bucket::new(send_bytes_per_second_max),
            damaged: Box::new(damaged),
            stall_time,
        }
    }

    /// Reads one request and answers it.
    pub(super) async fn answer(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        asker: &Asker,
    ) -> Result<(), StreamError> {
        let broken = |error: String| StreamError::Broken(error);
        let reading = tokio::time::timeout(self.stall_time, receive.read_to_end(REQUEST_BYTES_MAX));
        let request = reading
            .await
            .map_err(|_elapsed| broken("a request that does not end".to_owned()))?
            .map_err(|error| broken(error.to_string()))?;
        let mut request = Bytes::from(request);
        let request = Request::read_async(&mut request).await;
        let run = match request {
            Ok((Request::Get(request), _)) => Run::of(&request),
            _ => None,
        };
        let run =
            run.ok_or_else(|| broken("a request for more than a run of a blob".to_owned()))?;
        let Ok(_place) = asker.sending.acquire().await else {
            return Ok(());
        };
        match self.send(&mut send, &run, asker.is_near).await {
            Ok(()) => {}
            Err(SendError::NotHere) => {
                if send.reset(NOT_HERE).is_err() {
                    tracing::debug!("whoever asked for a blob has gone away");
                }
            }
            Err(SendError::Damaged) => (self.damaged)(run.digest),
            Err(SendError::Stream(error)) => return Err(broken(error.to_string())),
            Err(SendError::Store(error)) => {
                tracing::warn!(%error, blob = %run.digest, "a blob could not be sent");
            }
        }
        Ok(())
    }

    async fn send(&self, send: &mut SendStream, run: &Run, is_near: bool) -> Result<(), SendError> {
        let file = self.store.blobs().open(&run.digest)?;
        let file = Arc::new(file.ok_or(SendError::NotHere)?);
        let tree = self.tree(&file).await?;
        let uplink = self.uplink.as_ref().filter(|_| !is_near);
        let mut to = Paced {
            send,
            uplink,
            stall_time: self.stall_time,
            taken: Taken::default(),
        };
        to.write(&file.bytes().to_le_bytes()).await?;
        let mut from = Pieces {
            file,
            held: (0, Bytes::new()),
        };
        let tree = PreOrderOutboard::clone(&tree);
        encode_ranges_validated(&mut from, tree, &run.ranges, &mut to).await?;
        if to.send.finish().is_err() {
            tracing::debug!("whoever asked for a blob has gone away");
        }
        Ok(())
    }

    /// The tree of the blob, from memory or from its bytes.
    async fn tree(&self, file: &Arc<BlobFile>) -> Result<Arc<Tree>, SendError> {
        let digest = file.digest();
        if let Some(tree) = self.known_tree(&digest) {
            return Ok(tree);
        }
        let reader = Arc::clone(file);
        let made = tokio::task::spawn_blocking(move || {
            let size = reader.bytes();
            let whole = Whole {
                file: &reader,
                at: 0,
            };
            PreOrderOutboard::<Vec<u8>>::create_sized(whole, size, IROH_BLOCK_SIZE)
        });
        let made = made.await.map_err(io::Error::other)??;
        if made.root.as_bytes() != digest.as_bytes() {
            return Err(SendError::Damaged);
        }
        let tree = Arc::new(PreOrderOutboard {
            root: made.root,
            tree: made.tree,
            data: Bytes::from(made.data),
        });
        self.keep_tree(digest, &tree);
        Ok(tree)
    }

    fn known_tree(&self, digest: &Digest) -> Option<Arc<Tree>> {
        let trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let known = trees.iter().find(|(known, _)| known == digest);
        known.map(|(_, tree)| Arc::clone(tree))
    }

    fn keep_tree(&self, digest: Digest, tree: &Arc<Tree>) {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.push_front((digest, Arc::clone(tree)));
        let mut bytes = 0;
        let mut fits = |(_, tree): &(Digest, Arc<Tree>)| {
            bytes += tree.data.len() + 128;
            bytes <= TREES_BYTES_MAX
        };
        let count = trees.iter().take_while(|entry| fits(entry)).count();
        trees.truncate(count);
    }
}

/// Who asks.
pub(super) struct Asker {
    /// It is not slowed down.
    pub(super) is_near: bool,
    /// What is sent to it at once, of [`SENDING_PER_PEER_MAX`].
    pub(super) sending: Arc<Semaphore>,
}

/// What a request is for.
struct Run {
    digest: Digest,
    ranges: ChunkRanges,
}

impl Run {
    /// None unless it is for one run of one blob: we ask for no more, and each further piece would
    /// cost more than its bytes.
    fn of(request: &GetRequest) -> Option<Self> {
        if !request.ranges.is_blob() {
            return None;
        }
        let ranges = request.ranges.iter_infinite().next()?.clone();
        (ranges.boundaries().len() <= 2).then_some(Self {
            digest: Digest::from_bytes(*request.hash.as_bytes()),
            ranges,
        })
    }
}

/// Why a blob was not sent to its end.
#[derive(Debug)]
enum SendError {
    NotHere,
    Damaged,
    Stream(io::Error),
    Store(StoreError),
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::ParentHashMismatch(_) | EncodeError::LeafHashMismatch(_) => Self::Damaged,
            other => Self::Stream(other.into()),
        }
    }
}

/// A blob read from its beginning.
struct Whole<'a> {
    file: &'a BlobFile,
    at: u64,
}

impl io::Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.bytes().saturating_sub(self.at);
        let len = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(part) = buffer.get_mut(..len).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let read = self.file.read_into(self.at, part);
        read.map_err(io::Error::other)?;
        self.at = self.at.saturating_add(u64::try_from(len).unwrap_or(0));
        Ok(len)
    }
}

/// A blob read piece by piece off the thread that sends it.
struct Pieces {
    file: Arc<BlobFile>,
    /// What was read last, and where it begins.
    held: (u64, Bytes),
}

impl AsyncSliceReader for Pieces {
    async fn read_at(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        if let Some(part) = self.part(offset, len) {
            return Ok(part);
        }
        let left = self.file.bytes().saturating_sub(offset);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let (file, wanted) = (Arc::clone(&self.file), len.max(READ_BYTES).min(left));
        let read = tokio::task::spawn_blocking(move || file.read_at(offset, wanted));
        let read = read.await.map_err(io::Error::other)?;
        self.held = (offset, Bytes::from(read.map_err(io::Error::other)?));
        let held = &self.held.1;
        Ok(held.slice(..len.min(held.len())))
    }

    async fn size(&mut self) -> io::Result<u64> {
        Ok(self.file.bytes())
    }
}

impl Pieces {
    fn part(&self, offset: u64, len: usize) -> Option<Bytes> {
        let (begins, held) = &self.held;
        let from = usize::try_from(offset.checked_sub(*begins)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= held.len()).then(|| held.slice(from..to))
    }
}

/// A stream that a peer has to take in time, and that leaves room on the uplink.
struct Paced<'a> {
    send: &'a mut SendStream,
    uplink: Option<&'a Bucket>,
    stall_time: Duration,
    taken: Taken,
}

/// What a peer has taken of a blob, and how long it was waited for meanwhile.
#[derive(Debug, Default)]
struct Taken {
    bytes: u64,
    waited: Duration,
}

impl Taken {
    fn add(&mut self, bytes: usize, waited: Duration) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.waited = self.waited.saturating_add(waited);
    }

    fn is_too_slow(&self) -> bool {
        let seconds = self.waited.as_secs().max(1);
        self.waited > SLOW_TIME && self.bytes / seconds < SLOW_BYTES_PER_SECOND
    }
}

impl AsyncStreamWriter for Paced<'_> {
    async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.write_bytes(Bytes::copy_from_slice(data)).await
    }

    async fn write_bytes(&mut self, data: Bytes) -> io::Result<()> {
        if let Some(uplink) = self.uplink {
            uplink.take(data.len()).await;
        }
        let too_slowly = || {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "a peer takes what it asked for too slowly",
            )
        };
        let (begun, bytes) = (stopwatch(), data.len());
        let writing = tokio::time::timeout(self.stall_time, self.send.write_chunk(data));
        writing.await.map_err(|_elapsed| too_slowly())??;
        self.taken.add(bytes, begun.elapsed());
        if self.taken.is_too_slow() {
            return Err(too_slowly());
        }
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What holds while a blob is brought.
#[derive(Clone, Copy)]
pub(super) struct Limits<'a> {
    /// What may come over the household's line.
    pub(super) downlink: Option<&'a Bucket>,
    /// See [`super::NetworkConfig`].
    pub(super) stall_time: Duration,
}

impl Limits<'_> {
    /// What a peer does not send in time does not come.
    pub(super) async fn in_time<T>(&self, what: impl Future<Output = T>) -> Result<T, FetchError> {
        let waited = tokio::time::timeout(self.stall_time, what).await;
        waited.map_err(|_elapsed| FetchError::Slow)
    }
}

/// Brings what is missing of the blob that `partial` is the beginning of. What came and was proved
/// is in `partial` whatever happens then.
pub(super) async fn fetch(
    connection: &Connection,
    size: Size,
    partial: &mut Partial,
    limits: Limits<'_>,
) -> Result<(), FetchError> {
    let mut waiting = Vec::new();
    let received = receive(connection, size, (partial, &mut waiting), limits).await;
    if !waiting.is_empty() {
        partial.append(waiting).await?;
    }
    received
}

async fn receive(
    connection: &Connection,
    size: Size,
    (partial, waiting): (&mut Partial, &mut Vec<u8>),
    limits: Limits<'_>,
) -> Result<(), FetchError> {
    let first = ChunkNum(partial.bytes() / CHUNK_BYTES);
    let begun = begin(connection, partial.digest(), first);
    let begun = tokio::time::timeout(limits.stall_time.min(ANSWER_TIME), begun);
    let (mut content, found) = begun.await.map_err(|_elapsed| FetchError::Slow)??;
    if !size.admits(found) {
        drop(content);
        return Err(other_size(connection, (partial.digest(), found), limits).await?);
    }
    let (begun, mut came) = (stopwatch(), 0_u64);
    loop {
        let (next, item) = match limits.in_time(content.next()).await? {
            BlobContentNext::More(more) => more,
            BlobContentNext::Done(_) => break,
        };
        content = next;
        let BaoContentItem::Leaf(leaf) = item? else {
            continue;
        };
        let at = partial.bytes().saturating_add(length(waiting));
        if leaf.offset.saturating_add(length(&leaf.data)) <= at {
            // Of what is here already the last piece comes again: it proves the length.
            continue;
        }
        if leaf.offset != at {
            return Err(FetchError::Wrong("bytes that were not asked for"));
        }
        if let Some(downlink) = limits.downlink {
            downlink.take(leaf.data.len()).await;
        }
        came = came.saturating_add(length(&leaf.data));
        waiting.extend_from_slice(&leaf.data);
        if waiting.len() >= WRITE_BYTES {
            partial.append(std::mem::take(waiting)).await?;
        }
        let taken = begun.elapsed();
        if taken > SLOW_TIME && came / taken.as_secs().max(1) < SLOW_BYTES_PER_SECOND {
            return Err(FetchError::Slow);
        }
    }
    // What is longer than the blob is not its beginning; that it hashes to something else shows.
    if partial.bytes().saturating_add(length(waiting)) >= found {
        Ok(())
    } else {
        Err(FetchError::Wrong("less than it announced"))
    }
}

/// What to make of a blob that is `found` bytes long where another length was wanted: whoever named
/// it lies if the peer proves its last bytes, else the peer does.
async fn other_size(
    connection: &Connection,
    (digest, found): (Digest, u64),
    limits: Limits<'_>,
) -> Result<FetchError, FetchError> {
    let wrong = FetchError::Wrong("a blob of another size");
    let last = ChunkNum(u64::MAX);
    let (mut content, again) = limits.in_time(begin(connection, digest, last)).await??;
    if again != found {
        return Ok(wrong);
    }
    let mut is_proved = false;
    loop {
        let (next, item) = match limits.in_time(content.next()).await? {
            BlobContentNext::More(more) => more,
            BlobContentNext::Done(_) => break,
        };
        content = next;
        is_proved |= matches!(item?, BaoContentItem::Leaf(_));
    }
    Ok(if is_proved {
        FetchError::OtherSize(found)
    } else {
        wrong
    })
}

/// Asks for a blob from `first` on, and reads how long it is.
async fn begin(
    connection: &Connection,
    digest: Digest,
    first: ChunkNum,
) -> Result<(AtBlobContent, u64), FetchError> {
    let broken = |error: String| FetchError::Broken(error);
    let opened = Ask::Blob.open(connection).await;
    let (writer, reader) = opened.map_err(|error| broken(error.to_string()))?;
    let hash = Hash::from_bytes(*digest.as_bytes());
    let request = GetRequest::blob_ranges(hash, ChunkRanges::from(first..));
    let connected = AtConnected::new(
        stopwatch().into(),
        reader,
        writer,
        request,
        RequestCounters::default(),
    );
    let next = connected.next().await;
    let ConnectedNext::StartRoot(root) = next.map_err(|error| broken(error.to_string()))? else {
        return Err(FetchError::Wrong("no answer to what was asked"));
    };
    Ok(root.next().next().await.map_err(DecodeError::from)?)
}

impl From<DecodeError> for FetchError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. } => {
                Self::Wrong("other bytes than the blob's")
            }
            DecodeError::Read { source, .. } if !is_reset(&source) => {
                Self::Broken(source.to_string())
            }
            // It ends the stream where it has no more.
            _ => Self::NotThere,
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_too_little_for_too_long_is_too_slow() {
        let second = Duration::from_secs(1);
        let least = usize::try_from(SLOW_BYTES_PER_SECOND).unwrap();
        for (bytes, seconds, expected) in [
            (0, 30, false),
            (0, 31, true),
            (31 * least - 1, 31, true),
            (31 * least, 31, false),
            // A blob that went out at once, and was not waited for.
            (1 << 30, 0, false),
        ] {
            let mut taken = Taken::default();
            taken.add(bytes, second * seconds);
            assert_eq!(taken.is_too_slow(), expected, "{bytes} in {seconds} s");
        }
    }
}
