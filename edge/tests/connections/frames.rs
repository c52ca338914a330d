//! A visitor who speaks HTTP/2 frame by frame, and says what no library would.

use crate::support::edge::TestEdge;
use crate::support::visitor::secure;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One HTTP/2 connection over TLS.
pub(crate) struct Attacker {
    stream: WriteHalf<TlsStream<TcpStream>>,
    heard: JoinHandle<Heard>,
}

/// What the edge said until it closed.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) goaway_code: Option<u32>,
    /// Why the last stream was reset.
    pub(crate) reset_code: Option<u32>,
    pub(crate) reset_count: usize,
    pub(crate) answer_count: usize,
    /// Of the answers, those that begin with `:status: 200`.
    pub(crate) good_count: usize,
    /// Their first bytes, of which each stands for a status (RFC 7541, appendix A).
    pub(crate) statuses: Vec<u8>,
}

impl Attacker {
    pub(crate) async fn connect(edge: &TestEdge) -> Self {
        let stream = secure(edge, "garden.example", b"h2").await.unwrap();
        let (reader, mut stream) = tokio::io::split(stream);
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut attacker = Self {
            stream,
            heard: tokio::spawn(listen(reader)),
        };
        attacker.send_settings(&[]).await.unwrap();
        attacker
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(crate) async fn send_frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.send(&frame(kind, flags, stream, payload)).await
    }

    pub(crate) async fn send_settings(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        self.send_frame(SETTINGS, 0, 0, &payload).await
    }

    pub(crate) async fn send_get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let flags = END_STREAM | END_HEADERS;
        self.send_frame(HEADERS, flags, stream, &head(0x82, path))
            .await
    }

    /// Everything that the edge said; waits until it closes.
    pub(crate) async fn hear(self) -> Heard {
        self.heard.await.unwrap()
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without Huffman coding: method (0x82 is GET, 0x83 POST), https, host, path.
pub(crate) fn head(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x87];
    for (index, text) in [(0x01, "garden.example"), (0x04, path)] {
        block.extend([index, u8::try_from(text.len()).unwrap()]);
        block.extend(text.as_bytes());
    }
    block
}

/// A header block of lines that are written out, never indexed.
pub(crate) fn lines(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in lines {
        block.push(0x10);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

async fn listen(mut reader: ReadHalf<TlsStream<TcpStream>>) -> Heard {
    let mut heard = Heard::default();
    while listen_once(&mut reader, &mut heard).await.is_ok() {}
    heard
}

async fn listen_once(
    reader: &mut ReadHalf<TlsStream<TcpStream>>,
    heard: &mut Heard,
) -> io::Result<()> {
    let mut header = [0; 9];
    reader.read_exact(&mut header).await?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    reader.read_exact(&mut payload).await?;
    match header[3] {
        GOAWAY => {
            let code = payload[4..8].try_into().unwrap();
            heard.goaway_code = Some(u32::from_be_bytes(code));
        }
        RST_STREAM => {
            heard.reset_count += 1;
            let code = payload.as_slice().try_into().unwrap();
            heard.reset_code = Some(u32::from_be_bytes(code));
        }
        HEADERS => {
            heard.answer_count += 1;
            heard.good_count += usize::from(payload.first() == Some(&0x88));
            heard.statuses.extend(payload.first());
        }
        _ => {}
    }
    Ok(())
}
