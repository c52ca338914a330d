//! Somebody with the keys of a member, who is asked for blobs and answers as it likes.

use crate::member::Member;
use crate::rogue::{dial, framed, rogue, speak};
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{CreateOutboard, encode_ranges_validated};
use bytes::Bytes;
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use iroh_blobs::protocol::{ChunkRanges, Request};
use iroh_blobs::store::IROH_BLOCK_SIZE;
use std::io::Cursor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use verge_sync::Version;

/// How it answers who asks for a run of its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// As it should.
    Honest,
    /// The first bytes of a true answer, and then the stream ends.
    Cut(usize),
    /// The right length and other bytes.
    OtherBytes,
    /// True bytes after a length that is not the blob's.
    OtherSize(u64),
    /// A true answer, and zeros after it for as long as somebody takes them.
    Endless,
    /// Zeros from the beginning, for as long as somebody takes them.
    Zeros,
    /// Nothing, and the stream stays open.
    Silent,
    /// What a manifest differs in is garbage.
    Difference,
}

/// What it holds and does; the endpoint lives as long as it.
pub(crate) struct Source {
    endpoint: iroh::Endpoint,
    connection: Connection,
    act: Arc<Mutex<Act>>,
    sent: Arc<AtomicU64>,
}

impl Source {
    /// Member `number` that connects to `to` and holds `blob`.
    pub(crate) async fn connect(number: u8, to: &Member, blob: &[u8], act: Act) -> Self {
        let endpoint = rogue(number).await;
        let connection = dial(&endpoint, to, b"verge/1/records").await;
        let (act, sent) = (Arc::new(Mutex::new(act)), Arc::new(AtomicU64::new(0)));
        let serving = Serving {
            blob: Bytes::copy_from_slice(blob),
            act: Arc::clone(&act),
            sent: Arc::clone(&sent),
        };
        let heard = connection.clone();
        let (hello, records) = speak(&connection).await;
        tokio::spawn(async move {
            let _open = (hello, records);
            while let Ok((send, receive)) = heard.accept_bi().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.answer(send, receive).await });
            }
        });
        Self {
            endpoint,
            connection,
            act,
            sent,
        }
    }

    pub(crate) fn does(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }

    /// Bytes of answers since the last look.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }

    /// Says that it holds `version` whole.
    pub(crate) async fn claims(&self, version: Version) -> SendStream {
        let (mut send, _receive) = self.connection.open_bi().await.unwrap();
        let held = [&[1], version.as_bytes().as_slice()].concat();
        let said = [framed(&[2]), framed(&held)].concat();
        send.write_all(&said).await.unwrap();
        send
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) async fn close(self) {
        self.endpoint.close().await;
    }
}

#[derive(Clone)]
struct Serving {
    blob: Bytes,
    act: Arc<Mutex<Act>>,
    sent: Arc<AtomicU64>,
}

impl Serving {
    async fn answer(self, mut send: SendStream, mut receive: RecvStream) {
        let mut first = [0; 5];
        if receive.read_exact(&mut first).await.is_err() {
            return;
        }
        if first == [0, 0, 0, 65, 3] && *self.act.lock().unwrap() == Act::Difference {
            self.write(&mut send, b"no frame").await;
            return;
        }
        if first != [0, 0, 0, 1, 1] {
            return;
        }
        let Ok(request) = receive.read_to_end(1_024).await else {
            return;
        };
        let asked = Request::read_async(&mut Bytes::from(request)).await;
        let (Request::Get(request), _) = asked.unwrap() else {
            return;
        };
        if request.hash.as_bytes() != blake3::hash(&self.blob).as_bytes() {
            assert!(send.reset(VarInt::from_u32(1)).is_ok());
            return;
        }
        let ranges = request.ranges.iter_infinite().next().unwrap().clone();
        let mut answer = self.true_answer(&ranges);
        let act = *self.act.lock().unwrap();
        match act {
            Act::Honest | Act::Endless | Act::Difference => {}
            Act::Cut(bytes) => answer.truncate(bytes),
            Act::OtherBytes => answer[8..].iter_mut().for_each(|byte| *byte ^= 1),
            Act::OtherSize(bytes) => answer[..8].copy_from_slice(&bytes.to_le_bytes()),
            Act::Zeros => answer[8..].fill(0),
            Act::Silent => {
                drop(send.stopped().await);
                return;
            }
        }
        self.write(&mut send, &answer).await;
        if matches!(act, Act::Endless | Act::Zeros) {
            while self.write(&mut send, &[0; 65_536]).await {}
        }
    }

    /// Whether somebody took it.
    async fn write(&self, send: &mut SendStream, bytes: &[u8]) -> bool {
        let written = send.write_all(bytes).await;
        let count = u64::try_from(bytes.len()).unwrap();
        self.sent.fetch_add(count, Ordering::Relaxed);
        written.is_ok()
    }

    /// The length of the blob and the run with its tree.
    fn true_answer(&self, ranges: &ChunkRanges) -> Vec<u8> {
        let tree = PreOrderOutboard::<Vec<u8>>::create(Cursor::new(&self.blob), IROH_BLOCK_SIZE);
        let mut answer = u64::try_from(self.blob.len())
            .unwrap()
            .to_le_bytes()
            .to_vec();
        encode_ranges_validated(&*self.blob, tree.unwrap(), ranges, &mut answer).unwrap();
        answer
    }
}
