//! The bytes of an answer: nothing, a slice of memory, or pieces of a file read as fast as the
//! visitor takes them.
//!
//! The only file that opens blobs for visitors. A piece is read on a blocking thread when the
//! connection has taken the one before, so a download holds one piece, whatever its size.
//! A whole representation is hashed on the way: its last piece is held back until the digest is
//! right, so a visitor of a damaged file sees a broken transfer, never a complete wrong one.

use super::room::{Room, in_room};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;
use verge_sync::digest::Digester;
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest, Representation};
use verge_sync::{Digest, Version};

/// 32 KiB: 2 TLS records or HTTP/2 frames; a thousand slow downloads hold 32 MB.
const PIECE_BYTES: u64 = 32 << 10;
/// What a body in pieces takes: one with the connection, one being read.
pub(crate) const PIECES_BYTES: usize = 64 << 10;

/// 1 MiB at a time while a whole file is compared with its digest: as the scrub does.
const CHECK_BYTES: u64 = 1 << 20;

/// A blob that is not what it must be, told to the scrub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The file cannot be opened, read, or is too short.
    Unreadable {
        /// Its name.
        blob: Digest,
    },
    /// Bytes of it do not match their digest.
    Mismatch {
        /// Its name.
        blob: Digest,
    },
}

/// Bytes that cannot be served; who asked for them gets a 503.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The disk.
    #[error("read {path}")]
    Disk {
        /// The blob's file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk again, quietly.
    #[error("blob {blob} does not match its digest")]
    Mismatch {
        /// The blob that holds the bytes.
        blob: Digest,
    },
    /// The thread that read them died: an error of ours.
    #[error("the reading thread ended early")]
    Thread,
}

/// Told of every damage that a request finds, each time one does; must not block.
type Report = Arc<dyn Fn(Damage) + Send + Sync>;

/// Opens `DIR/<hex>`; whoever owns the store owns the files.
#[derive(Clone)]
pub struct BlobReader {
    dir: Arc<Path>,
    report: Report,
}

/// Where the bytes of a representation lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The blob.
    pub blob: Digest,
    /// Offset of the first byte.
    pub offset: u64,
    /// How many bytes; never 0.
    pub length: u64,
}

impl Place {
    /// A part of the bytes; the caller knows that it lies inside.
    pub(crate) fn part(self, start: u64, length: u64) -> Self {
        Self {
            blob: self.blob,
            offset: self.offset.saturating_add(start),
            length,
        }
    }
}

/// Where `representation` lies; `None` if it is empty.
pub(crate) fn place(manifest: &Manifest, representation: &Representation) -> Option<Place> {
    let location = representation.location?;
    Some(Place {
        blob: manifest.blob(location.blob_index)?.digest,
        offset: location.offset,
        length: representation.length,
    })
}

impl BlobReader {
    /// Reads from `dir` and tells `report` what is damaged.
    #[must_use]
    pub fn new(dir: &Path, report: impl Fn(Damage) + Send + Sync + 'static) -> Self {
        Self {
            dir: dir.into(),
            report: Arc::new(report),
        }
    }

    fn report(&self, damage: Damage) {
        (self.report)(damage);
    }

    /// The bytes at `place`, checked against `digest`.
    pub(crate) fn read_checked(&self, place: &Place, digest: &Digest) -> Result<Bytes, ReadError> {
        let bytes = self.open(place.blob)?.read_at(place.offset, place.length)?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(self.mismatch(place.blob))
        }
    }

    /// The bytes of a manifest, checked against its version.
    pub(crate) fn read_manifest(&self, version: Version) -> Result<Vec<u8>, ReadError> {
        let digest = version.digest();
        let blob = self.open(digest)?;
        let length = blob.file.metadata().map(|metadata| metadata.len());
        let length = length.map_err(|source| blob.unreadable(source))?;
        if length > MANIFEST_BYTES_MAX {
            return Err(self.mismatch(digest));
        }
        let bytes = blob.read_at(0, length)?;
        if Digest::of(&bytes) == digest {
            Ok(bytes.into())
        } else {
            Err(self.mismatch(digest))
        }
    }

    fn open(&self, blob: Digest) -> Result<OpenBlob, ReadError> {
        let path = self.dir.join(blob.to_string());
        match File::open(&path) {
            Ok(file) => Ok(OpenBlob {
                file,
                blob,
                reader: self.clone(),
            }),
            Err(source) => Err(self.unreadable(blob, source)),
        }
    }

    /// Reads all bytes at `place` in pieces and compares them with `digest`.
    pub(crate) fn check(&self, place: &Place, digest: &Digest) -> Result<(), ReadError> {
        let file = self.open(place.blob)?;
        let mut digester = Digester::new();
        let mut done = 0;
        while done < place.length {
            let length = (place.length - done).min(CHECK_BYTES);
            digester.update(&file.read_at(place.offset.saturating_add(done), length)?);
            done += length;
        }
        if digester.digest() == *digest {
            Ok(())
        } else {
            Err(self.mismatch(place.blob))
        }
    }

    fn mismatch(&self, blob: Digest) -> ReadError {
        self.report(Damage::Mismatch { blob });
        ReadError::Mismatch { blob }
    }

    fn unreadable(&self, blob: Digest, source: io::Error) -> ReadError {
        self.report(Damage::Unreadable { blob });
        ReadError::Disk {
            path: self.dir.join(blob.to_string()),
            source: Arc::new(source),
        }
    }
}

struct OpenBlob {
    file: File,
    blob: Digest,
    reader: BlobReader,
}

impl OpenBlob {
    fn read_at(&self, offset: u64, length: u64) -> Result<Bytes, ReadError> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, offset, length)?;
        Ok(bytes.into())
    }

    /// Appends `length` bytes from `offset` on; those that were appended.
    fn append<'b>(
        &self,
        bytes: &'b mut Vec<u8>,
        offset: u64,
        length: u64,
    ) -> Result<&'b [u8], ReadError> {
        let too_long = |_overflow| self.unreadable(io::ErrorKind::FileTooLarge.into());
        let length = usize::try_from(length).map_err(too_long)?;
        let start = bytes.len();
        bytes.resize(start.saturating_add(length), 0);
        let room = bytes.get_mut(start..).unwrap_or_default();
        let read = self.file.read_exact_at(room, offset);
        read.map_err(|source| self.unreadable(source))?;
        Ok(room)
    }

    fn unreadable(&self, source: io::Error) -> ReadError {
        self.reader.unreadable(self.blob, source)
    }
}

/// A stretch of a body.
pub(crate) enum Segment {
    /// Bytes in memory.
    Text(Bytes),
    /// Bytes of a blob. With a digest they are a whole that must have it.
    Stored(Place, Option<Digest>),
}

/// The stretches of a body in order, made as they are needed.
pub(crate) type Segments = Box<dyn Iterator<Item = Segment> + Send>;

/// What is left to read of one answer.
struct Source {
    reader: BlobReader,
    segments: Segments,
    /// The blob that was read last: what follows often lies in it too.
    blob: Option<OpenBlob>,
    now: Option<Stretch>,
    left: u64,
}

/// What is left of a stored segment.
struct Stretch {
    place: Place,
    /// The running digest and what it must become; none for a part of a representation.
    check: Option<(Box<Digester>, Digest)>,
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
                        let check = digest.map(|digest| (Box::new(Digester::new()), digest));
                        self.now = Some(Stretch { place, check });
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
        stretch.place.offset = stretch.place.offset.saturating_add(length);
        stretch.place.length -= length;
        if let Some((digester, expected)) = &mut stretch.check {
            digester.update(read);
            if stretch.place.length == 0 && digester.digest() != *expected {
                return Err(self.reader.mismatch(stretch.place.blob));
            }
        }
        self.now = (stretch.place.length > 0).then_some(stretch);
        Ok(())
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
        length: u64,
        segments: Segments,
        room: Arc<Room>,
    ) -> Result<Self, ReadError> {
        let mut source = Source {
            reader: reader.clone(),
            segments,
            blob: None,
            now: None,
            left: length,
        };
        let first = move || {
            let piece = source.next_piece()?;
            Ok((source, piece))
        };
        let (source, piece) = tokio::task::spawn_blocking(first)
            .await
            .unwrap_or(Err(ReadError::Thread))?;
        Ok(Self {
            room,
            left: length,
            state: State::Ready(Box::new(source), piece),
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
        in_room(piece, &self.room)
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
