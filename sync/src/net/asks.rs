//! What members ask one another beside the records: a stream each, whose first message says what it
//! is for.
//!
//! One task for each stream, so that a slow answer holds up no other; QUIC bounds how many there
//! are. All end with the connection.

use super::blobs::{Asker, Outlet, SENDING_PER_PEER_MAX};
use super::changes::Changes;
use super::letters::Letterbox;
use super::lists;
use super::pieces::{Piece, Prover};
use super::reach::is_near;
use super::receipts::Receipts;
use super::replica::Replica;
use super::stream::{self, StreamError};
use crate::digest::Digest;
use crate::id::NodeId;
use iroh::TransportAddr;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A stream that says nothing for so long is ended.
const FIRST_TIME: Duration = Duration::from_secs(10);

/// What a stream is for (`docs/format.md#wire`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The list that a removal names.
    List(Digest),
    /// A part of a blob; a request of iroh-blobs follows.
    Blob,
    /// Receipts of whoever opened the stream follow.
    Receipts,
    /// What the second manifest differs in from the first.
    Change(Digest, Digest),
    /// The proof that a piece of a blob is there.
    Piece(Piece),
    /// Bytes for the program above, and its answer; they follow.
    Letter,
}

impl Ask {
    /// The first message.
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::List(digest) => [&[0], digest.as_bytes().as_slice()].concat(),
            Self::Blob => vec![1],
            Self::Receipts => vec![2],
            Self::Change(base, wanted) => {
                [&[3], base.as_bytes().as_slice(), wanted.as_bytes()].concat()
            }
            Self::Piece(piece) => [vec![4], piece.encode()].concat(),
            Self::Letter => vec![5],
        }
    }

    /// None if it is nothing that this release knows.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, digest) => Some(Self::List(Digest::from_bytes(digest.try_into().ok()?))),
            (1, []) => Some(Self::Blob),
            (2, []) => Some(Self::Receipts),
            (3, digests) => {
                let (base, wanted) = digests.split_at_checked(32)?;
                let digest = |bytes: &[u8]| Some(Digest::from_bytes(bytes.try_into().ok()?));
                Some(Self::Change(digest(base)?, digest(wanted)?))
            }
            (4, piece) => Some(Self::Piece(Piece::decode(piece)?)),
            (5, []) => Some(Self::Letter),
            _ => None,
        }
    }

    /// Opens a stream for it.
    pub(super) async fn open(
        self,
        connection: &Connection,
    ) -> Result<(SendStream, RecvStream), StreamError> {
        let opened = connection.open_bi().await;
        let (mut send, receive) = opened.map_err(|error| StreamError::Broken(error.to_string()))?;
        stream::send(&mut send, &self.encode()).await?;
        Ok((send, receive))
    }
}

/// What a node answers from.
pub(super) struct Answers {
    pub(super) replica: Arc<Replica>,
    pub(super) outlet: Outlet,
    pub(super) changes: Changes,
    pub(super) receipts: Receipts,
    pub(super) prover: Prover,
    pub(super) letterbox: Letterbox,
}

impl Answers {
    /// Answers whatever `peer` asks until the connection ends; gives why it ended.
    pub(super) async fn serve(self: &Arc<Self>, peer: NodeId, connection: &Connection) -> String {
        let mut streams = JoinSet::new();
        let sending = Arc::new(Semaphore::new(SENDING_PER_PEER_MAX));
        loop {
            tokio::select! {
                accepted = connection.accept_bi() => match accepted {
                    Ok(opened) => {
                        let (answers, sending) = (Arc::clone(self), Arc::clone(&sending));
                        let asker = Asker { is_near: peer_is_near(connection), sending };
                        streams.spawn(async move { answers.answer((peer, asker), opened).await });
                    }
                    Err(error) => return error.to_string(),
                },
                Some(ended) = streams.join_next() => if let Ok(Err(error)) = ended {
                    tracing::debug!(%error, peer = %peer.short(), "a stream ended early");
                },
            }
        }
    }

    async fn answer(
        &self,
        (peer, asker): (NodeId, Asker),
        (send, mut receive): (SendStream, RecvStream),
    ) -> Result<(), StreamError> {
        let first = tokio::time::timeout(FIRST_TIME, stream::receive(&mut receive));
        let first = first
            .await
            .map_err(|_elapsed| StreamError::Broken("it says nothing".to_owned()))??;
        match Ask::decode(&first) {
            Some(Ask::List(digest)) => lists::answer(send, digest, &self.replica).await,
            Some(Ask::Blob) => self.outlet.answer(send, receive, &asker).await,
            Some(Ask::Change(base, wanted)) => self.changes.answer(send, (base, wanted)).await,
            Some(Ask::Receipts) => self.receipts.hear(peer, receive).await,
            Some(Ask::Piece(piece)) => self.prover.answer(peer, send, piece).await,
            Some(Ask::Letter) => self.letterbox.answer(peer, send, receive).await,
            // Something of a later release: whoever asks gets nothing.
            None => Ok(()),
        }
    }
}

/// Whether what is sent to the peer stays in the house, or on its network.
pub(super) fn peer_is_near(connection: &Connection) -> bool {
    let paths = connection.paths();
    let selected = paths.iter().find(|path| path.is_selected());
    selected.is_some_and(|path| match path.remote_addr() {
        TransportAddr::Ip(address) => is_near(address),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood_and_nothing_else() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let piece = Piece {
            nonce: [1; 32],
            blob: b,
            offset: 2,
            bytes: 3,
        };
        let asks = [
            Ask::List(a),
            Ask::Blob,
            Ask::Receipts,
            Ask::Change(a, b),
            Ask::Piece(piece),
            Ask::Letter,
        ];
        for ask in asks {
            let mut bytes = ask.encode();
            assert_eq!(Ask::decode(&bytes), Some(ask));
            bytes.push(0);
            assert_eq!(Ask::decode(&bytes), None);
        }
        for bytes in [&b""[..], &[9], &[0, 1]] {
            assert_eq!(Ask::decode(bytes), None, "{bytes:?}");
        }
    }
}
