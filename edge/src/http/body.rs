//! The bytes of an answer: nothing, a slice of memory, or pieces of a file read as fast as the
//! visitor takes them.
//!
//! A piece is read when the connection has taken the one before, so a download holds one piece,
//! whatever its size. What the kernel has in memory is read at once; else a blocking thread waits for
//! the disk. A connection without TLS takes a mapped stretch instead, which nobody reads.
//! A whole representation that was not compared with its digest of late is hashed on the way: its
//! last piece is held back until the digest is right, so a visitor of a damaged file sees a broken
//! transfer, never a complete wrong one.

use super::blob_file::{BlobReader, OpenBlob, Place, ReadError};
use super::room::{Room, in_room};
use crate::mapped::Mapped;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::cell::RefCell;
use std::iter::Peekable;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;
use verge_sync::Digest;
use verge_sync::digest::Digester;

/// 64 KiB: 4 TLS records or HTTP/2 frames, and the window that a stream starts with.
const PIECE_BYTES: u64 = 64 << 10;
const PIECE_ROOM: usize = 64 << 10;
/// As many a thread keeps: 1 MiB. Where more answers than that are on their way at once, memory that is
/// new costs more than sending from it: a fifth of their processor time with four.
const SENT_MAX: usize = 16;
/// What a body in pieces takes: one with the connection, one being read.
pub(crate) const PIECES_BYTES: usize = 128 << 10;
/// What is shorter is cheaper to copy than to map.
const MAPPED_BYTES_MIN: u64 = 64 << 10;
/// Handed on at once: it holds no memory, and then it is asked whether the kernel has the next.
const MAPPED_BYTES_MAX: u64 = 512 << 10;

/// A stretch of a body.
pub(crate) enum Segment {
    /// Bytes in memory.
    Text(Bytes),
    /// Bytes of a blob. With a digest they are a whole that must have it.
    Stored(Place, Option<Digest>),
}

/// The stretches of a body in order, made as they are needed.
pub(crate) type Segments = Box<dyn Iterator<Item = Segment> + Send>;

/// How a connection takes what is in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// As bytes.
    Bytes,
    /// As mapped stretches: its socket lets the kernel send them.
    Mapped,
}

thread_local! {
    /// Pieces that were sent, to be filled again: making them costs as much as filling them.
    static SENT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Memory for a piece that is read at once.
struct Piece {
    /// Of the largest size.
    room: Box<[u8]>,
    length: usize,
}

impl Piece {
    fn new(length: usize) -> Self {
        let known = SENT.with_borrow_mut(Vec::pop);
        Self {
            room: known.unwrap_or_else(|| vec![0; PIECE_ROOM].into()),
            length: length.min(PIECE_ROOM),
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or_default()
    }
}

impl AsMut<[u8]> for Piece {
    fn as_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(..self.length).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        // A thread that ends keeps nothing.
        let _ended = SENT.try_with(|sent| {
            if let Ok(mut sent) = sent.try_borrow_mut()
                && sent.len() < SENT_MAX
            {
                sent.push(room);
            }
        });
    }
}

/// What is left to read of one answer.
struct Source {
    reader: BlobReader,
    intake: Intake,
    segments: Peekable<Segments>,
    /// The blob that was read last: what follows often lies in it too.
    blob: Option<OpenBlob>,
    now: Option<Stretch>,
    left: u64,
}

/// What is left of a stored segment.
struct Stretch {
    place: Place,
    /// Offset of the segment in the file.
    begin: u64,
    /// The running digest and what it must become; none for a part of a representation, and for a
    /// whole that is known to be one.
    check: Option<(Box<Digester>, Digest)>,
    /// From this offset in the file on.
    mapped: Option<(Arc<Mapped>, u64)>,
}

impl Stretch {
    fn new(place: Place, digest: Option<Digest>) -> Self {
        Self {
            place,
            begin: place.offset,
            check: digest.map(|digest| (Box::new(Digester::new()), digest)),
            mapped: None,
        }
    }

    /// What is left behind the next `length` bytes.
    fn behind(mut self, length: u64) -> Option<Self> {
        self.place.offset = self.place.offset.saturating_add(length);
        self.place.length = self.place.length.saturating_sub(length);
        (self.place.length > 0).then_some(self)
    }

    /// The next piece, if the kernel has it in memory.
    fn at_once(&mut self, blob: &OpenBlob, intake: Intake) -> Option<Bytes> {
        let Place { offset, length, .. } = self.place;
        if intake == Intake::Mapped && length >= MAPPED_BYTES_MIN {
            let length = length.min(MAPPED_BYTES_MAX);
            return blob
                .is_at_hand(offset, length)
                .then(|| self.map(blob, length))?;
        }
        let mut piece = Piece::new(usize::try_from(length.min(PIECE_BYTES)).ok()?);
        let is_full = blob.fill_at_once(piece.as_mut(), offset);
        is_full.then(|| Bytes::from_owner(piece))
    }

    fn map(&mut self, blob: &OpenBlob, length: u64) -> Option<Bytes> {
        let Place {
            offset,
            length: left,
            ..
        } = self.place;
        if self.mapped.is_none() {
            self.mapped = Some((blob.map(offset, left).ok()?, offset));
        }
        let (mapped, begin) = self.mapped.as_ref()?;
        let start = usize::try_from(offset.checked_sub(*begin)?).ok()?;
        Some(mapped.bytes(start, usize::try_from(length).ok()?))
    }
}

impl Source {
    /// Reads the next piece, of one segment or of many small ones; nothing is left over for a
    /// second call after an error.
    fn next_piece(&mut self) -> Result<Bytes, ReadError> {
        let mut piece = Vec::new();
        while self.left > 0 {
            let room = PIECE_BYTES.saturating_sub(count(&piece));
            if room == 0 {
                break;
            }
            let before = count(&piece);
            if let Some(stretch) = self.now.take() {
                self.read(stretch, room, &mut piece)?;
            } else {
                match self.segments.next() {
                    Some(Segment::Text(text)) => piece.extend_from_slice(&text),
                    Some(Segment::Stored(place, digest)) => {
                        self.now = Some(Stretch::new(place, digest));
                    }
                    // The length that was promised is the sum of the segments.
                    None => return Err(ReadError::Thread),
                }
            }
            let more = count(&piece).saturating_sub(before);
            self.left = self.left.checked_sub(more).ok_or(ReadError::Thread)?;
        }
        Ok(piece.into())
    }

    fn read(
        &mut self,
        mut stretch: Stretch,
        room: u64,
        piece: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let blob = match self.blob.take() {
            Some(open) if open.blob == stretch.place.blob => open,
            _ => self.reader.open(stretch.place.blob)?,
        };
        let blob = self.blob.insert(blob);
        let length = stretch.place.length.min(room);
        let read = blob.append(piece, stretch.place.offset, length)?;
        if let Some((digester, expected)) = &mut stretch.check {
            digester.update(read);
            if length == stretch.place.length {
                blob.judge(stretch.begin, digester.digest(), expected)?;
            }
        }
        self.now = stretch.behind(length);
        Ok(())
    }

    /// The next piece, if it is the next part of a long stretch, which need not be compared with
    /// anything, and the kernel has it in memory.
    fn piece_at_once(&mut self) -> Option<Bytes> {
        if self.now.is_none() {
            let stored = |segment: &Segment| matches!(segment, Segment::Stored(..));
            let Segment::Stored(place, digest) = self.segments.next_if(stored)? else {
                return None;
            };
            self.now = Some(Stretch::new(place, digest));
        }
        let stretch = self.now.as_mut()?;
        let is_last = stretch.place.length == self.left;
        if stretch.place.length < PIECE_BYTES && !is_last {
            return None;
        }
        if !matches!(&self.blob, Some(open) if open.blob == stretch.place.blob) {
            self.blob = Some(self.reader.open_at_once(stretch.place.blob)?);
        }
        let blob = self.blob.as_ref()?;
        if let Some((_, digest)) = &stretch.check {
            if !blob.is_known_whole(stretch.begin, digest) {
                return None;
            }
            stretch.check = None;
        }
        let piece = stretch.at_once(blob, self.intake)?;
        let length = count(&piece);
        self.now = self.now.take()?.behind(length);
        self.left = self.left.checked_sub(length)?;
        Some(piece)
    }
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

type Reading = JoinHandle<(Box<Source>, Result<Bytes, ReadError>)>;

/// Pieces of a file, in order.
pub(crate) struct Pieces {
    room: Arc<Room>,
    /// Bytes that the visitor has not been given yet.
    left: u64,
    state: State,
}

enum State {
    Ready(Box<Source>, Bytes),
    Idle(Box<Source>),
    Reading(Reading),
    Done,
}

impl Pieces {
    /// Reads the first piece of what has `length` bytes in all, so that what is missing there is
    /// found before the status is sent.
    pub(crate) async fn open(
        reader: &BlobReader,
        intake: Intake,
        length: u64,
        segments: Segments,
        room: Room,
    ) -> Result<Self, ReadError> {
        let mut source = Box::new(Source {
            reader: reader.clone(),
            intake,
            segments: segments.peekable(),
            blob: None,
            now: None,
            left: length,
        });
        let (source, piece) = if let Some(piece) = source.piece_at_once() {
            (source, piece)
        } else {
            let first = move || {
                let piece = source.next_piece()?;
                Ok((source, piece))
            };
            let read = tokio::task::spawn_blocking(first).await;
            read.unwrap_or(Err(ReadError::Thread))?
        };
        Ok(Self {
            room: Arc::new(room),
            left: length,
            state: State::Ready(source, piece),
        })
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReadError>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Ready(source, piece) => {
                    return Poll::Ready(Some(Ok(self.hand(source, piece))));
                }
                State::Idle(mut source) => {
                    if let Some(piece) = source.piece_at_once() {
                        return Poll::Ready(Some(Ok(self.hand(source, piece))));
                    }
                    self.state = State::Reading(tokio::task::spawn_blocking(move || {
                        let piece = source.next_piece();
                        (source, piece)
                    }));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    return Poll::Ready(Some(match read {
                        Ok((source, Ok(piece))) => Ok(self.hand(source, piece)),
                        Ok((_source, Err(error))) => Err(error),
                        Err(_panicked) => Err(ReadError::Thread),
                    }));
                }
            }
        }
    }

    fn hand(&mut self, source: Box<Source>, piece: Bytes) -> Bytes {
        self.left = source.left;
        if source.left > 0 {
            self.state = State::Idle(source);
        }
        in_room(piece, Arc::clone(&self.room))
    }
}

/// What a connection sends after the header section; `G` is held until the last byte is handed
/// over or the visitor is gone.
pub(crate) struct Body<G> {
    content: Content,
    _held: G,
}

/// The bytes themselves.
pub(crate) enum Content {
    /// No body.
    Nothing,
    /// Bytes in memory.
    Whole(Bytes),
    /// A file.
    Pieces(Pieces),
}

impl<G> Body<G> {
    pub(crate) fn new(content: Content, held: G) -> Self {
        Self {
            content,
            _held: held,
        }
    }
}

impl Content {
    fn left(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Whole(bytes) => count(bytes),
            Self::Pieces(pieces) => pieces.left,
        }
    }
}

impl<G: Unpin> http_body::Body for Body<G> {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let piece = match &mut self.content {
            Content::Nothing => None,
            Content::Pieces(pieces) => ready!(pieces.poll_piece(cx)),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Nothing;
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.content.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.left())
    }
}
