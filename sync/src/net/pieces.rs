//! A proof that a member holds a piece of a blob now: the piece under a key that nobody knew before
//! the question.
//!
//! The key is derived from a nonce and from who asks whom, so an answer can neither be prepared nor
//! be had from a third node, which would answer to somebody else. It is made of what is read from the
//! disk at that moment, damaged or not. In memory only: how much each peer has asked of late.

use super::asks::Ask;
use super::stream::{self, StreamError};
use crate::clock::stopwatch;
use crate::digest::Digest;
use crate::id::NodeId;
use crate::store::{Store, StoreError};
use iroh::endpoint::{Connection, SendStream};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The longest piece: some milliseconds of a slow disk.
pub const PIECE_BYTES_MAX: u32 = 64 << 10;
/// Pieces that one peer is answered in a minute: 8 MiB to be read, where one in ten minutes is usual.
const ANSWERS_PER_MINUTE_MAX: u32 = 120;
const MINUTE: Duration = Duration::from_secs(60);
/// Pieces that are being read at once, for all peers.
const READING_MAX: usize = 2;
/// Who has not answered by then has not answered.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A piece of a blob, and the nonce of who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Never used before.
    pub nonce: [u8; 32],
    /// The blob.
    pub blob: Digest,
    /// Where the piece begins.
    pub offset: u64,
    /// How long it is: 1 to [`PIECE_BYTES_MAX`].
    pub bytes: u32,
}

/// Why nothing is known of a piece.
#[derive(Debug, thiserror::Error)]
pub enum PieceError {
    /// There is no connection.
    #[error("it is not connected")]
    NotConnected,
    /// It took too long.
    #[error("it does not answer in time")]
    Silent,
    /// It broke off, or said something else.
    #[error("{0}")]
    Broken(String),
}

impl Piece {
    /// What `answerer`, asked by `asker`, says of these bytes.
    #[must_use]
    pub fn proof(&self, asker: NodeId, answerer: NodeId, bytes: &[u8]) -> Digest {
        let parts: [&[u8]; 3] = [&self.nonce, asker.as_bytes(), answerer.as_bytes()];
        Digest::keyed(&Digest::derive("verge 1 piece key", &parts), bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.nonce.to_vec();
        bytes.extend_from_slice(self.blob.as_bytes());
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&self.bytes.to_be_bytes());
        bytes
    }

    /// None if it is not one, or longer than any.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (nonce, rest) = bytes.split_first_chunk()?;
        let (blob, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let piece = Self {
            nonce: *nonce,
            blob: Digest::from_bytes(*blob),
            offset: u64::from_be_bytes(*offset),
            bytes: u32::from_be_bytes(rest.try_into().ok()?),
        };
        (1..=PIECE_BYTES_MAX)
            .contains(&piece.bytes)
            .then_some(piece)
    }
}

/// Asks over `connection` for the proof of a piece; none if the piece is not there.
pub(super) async fn ask(
    connection: &Connection,
    piece: Piece,
) -> Result<Option<Digest>, PieceError> {
    let asked = async {
        let (_send, mut receive) = Ask::Piece(piece).open(connection).await?;
        stream::receive(&mut receive).await
    };
    let answer = tokio::time::timeout(ANSWER_TIME, asked).await;
    let answer = answer.map_err(|_elapsed| PieceError::Silent)?;
    let answer = answer.map_err(|error: StreamError| PieceError::Broken(error.to_string()))?;
    match answer.split_first() {
        Some((0, [])) => Ok(None),
        Some((1, proof)) => {
            let unreadable = |_length| PieceError::Broken("no answer to a piece".to_owned());
            let proof = proof.try_into().map_err(unreadable)?;
            Ok(Some(Digest::from_bytes(proof)))
        }
        _ => Err(PieceError::Broken("no answer to a piece".to_owned())),
    }
}

/// Answers peers that ask for proofs.
pub(super) struct Prover {
    me: NodeId,
    store: Store,
    reading: Semaphore,
    asked: Mutex<Asked>,
}

/// How often each peer has asked since a moment.
pub(super) struct Asked {
    since: Instant,
    counts: BTreeMap<NodeId, u32>,
    per_minute_max: u32,
}

impl Prover {
    pub(super) fn new(me: NodeId, store: Store) -> Self {
        Self {
            me,
            store,
            reading: Semaphore::new(READING_MAX),
            asked: Mutex::new(Asked::new(stopwatch(), ANSWERS_PER_MINUTE_MAX)),
        }
    }

    /// Answers `peer`, unless it has asked too much: then the stream ends without an answer.
    pub(super) async fn answer(
        &self,
        peer: NodeId,
        mut send: SendStream,
        piece: Piece,
    ) -> Result<(), StreamError> {
        let may_ask = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.admits(peer, stopwatch())
        };
        if !may_ask {
            return Ok(());
        }
        let Ok(_turn) = self.reading.acquire().await else {
            return Ok(());
        };
        let answer = match self.read(piece).await {
            Some(bytes) => {
                let proof = piece.proof(peer, self.me, &bytes);
                [&[1], proof.as_bytes().as_slice()].concat()
            }
            None => vec![0],
        };
        stream::send(&mut send, &answer).await?;
        if send.finish().is_err() {
            tracing::debug!("whoever asked for a piece has gone away");
        }
        Ok(())
    }

    /// The bytes as they lie on the disk; none if there are not so many.
    async fn read(&self, piece: Piece) -> Option<Vec<u8>> {
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || {
            let Some(file) = store.blobs().open(&piece.blob)? else {
                return Ok(None);
            };
            let length = usize::try_from(piece.bytes).unwrap_or(usize::MAX);
            file.read_at(piece.offset, length).map(Some)
        });
        match read.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(StoreError::OutOfRange { .. })) => None,
            Ok(Err(error)) => {
                tracing::warn!(%error, blob = %piece.blob, "a piece that a peer asks for");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the reading of a piece ended early");
                None
            }
        }
    }
}

impl Asked {
    pub(super) fn new(since: Instant, per_minute_max: u32) -> Self {
        Self {
            since,
            counts: BTreeMap::new(),
            per_minute_max,
        }
    }

    pub(super) fn admits(&mut self, peer: NodeId, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= MINUTE {
            self.since = now;
            self.counts.clear();
        }
        let count = self.counts.entry(peer).or_default();
        *count = count.saturating_add(1);
        *count <= self.per_minute_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn piece() -> Piece {
        Piece {
            nonce: [7; 32],
            blob: Digest::of(b"a blob"),
            offset: 1 << 33,
            bytes: PIECE_BYTES_MAX,
        }
    }

    #[test]
    fn an_answer_is_for_one_nonce_one_asker_and_one_answerer() {
        let proof = piece().proof(node(1), node(2), b"bytes");
        let again = Piece {
            nonce: [8; 32],
            ..piece()
        };
        let others = [
            again.proof(node(1), node(2), b"bytes"),
            piece().proof(node(3), node(2), b"bytes"),
            piece().proof(node(1), node(3), b"bytes"),
            piece().proof(node(2), node(1), b"bytes"),
            piece().proof(node(1), node(2), b"byteS"),
            Digest::of(b"bytes"),
        ];
        assert!(!others.contains(&proof));
        assert_eq!(proof, piece().proof(node(1), node(2), b"bytes"));
    }

    #[test]
    fn the_key_of_an_answer_is_what_the_format_says() {
        let proof = piece().proof(node(1), node(2), b"bytes");
        let material = [[7; 32], [1; 32], [2; 32]].concat();
        let key = blake3::derive_key("verge 1 piece key", &material);
        assert_eq!(
            proof.as_bytes(),
            blake3::keyed_hash(&key, b"bytes").as_bytes()
        );
    }

    #[test]
    fn pieces_have_a_length_and_no_more_than_the_longest() {
        for (bytes, is_one) in [(0, false), (1, true), (PIECE_BYTES_MAX, true)] {
            let piece = Piece { bytes, ..piece() };
            assert_eq!(Piece::decode(&piece.encode()), is_one.then_some(piece));
        }
        let long = Piece {
            bytes: PIECE_BYTES_MAX + 1,
            ..piece()
        };
        assert_eq!(Piece::decode(&long.encode()), None);
        let mut bytes = piece().encode();
        assert_eq!(Piece::decode(&bytes[1..]), None);
        bytes.push(0);
        assert_eq!(Piece::decode(&bytes), None);
    }

    #[test]
    fn a_peer_is_answered_so_often_in_a_minute() {
        let now = stopwatch();
        let mut asked = Asked::new(now, ANSWERS_PER_MINUTE_MAX);
        let admitted = (0..=ANSWERS_PER_MINUTE_MAX).filter(|_| asked.admits(node(1), now));
        let admitted = u32::try_from(admitted.count()).unwrap();
        assert_eq!(admitted, ANSWERS_PER_MINUTE_MAX);
        assert!(asked.admits(node(2), now), "another has its own");
        assert!(asked.admits(node(1), now + MINUTE));
    }
}
