//! What the machine allows, for `benches/against`: a bare hyper server that answers everything with
//! one file, and a loop that writes a canned answer to every head that it reads.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measuring tool: what fails ends it"
)]

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mio::net::{TcpListener as RawListener, TcpStream as RawStream};
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// From here on a body goes from the file to the socket by itself.
const SENDFILE_BYTES_MIN: u64 = 64 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, file, plain, tls, chain, key] = arguments.as_slice() else {
        panic!("see benches/against");
    };
    let plain: SocketAddr = plain.parse().unwrap();
    if kind == "raw" {
        return raw(plain, file);
    }
    let body = Bytes::from(std::fs::read(file).unwrap());
    let acceptor = acceptor(chain, key);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let secret = bare(tls.parse().unwrap(), Some(acceptor), body.clone());
        tokio::join!(bare(plain, None, body), secret);
    });
}

fn acceptor(chain: &str, key: &str) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(chain).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// hyper as it comes.
async fn bare(address: SocketAddr, acceptor: Option<TlsAcceptor>, body: Bytes) {
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(answer(stream, acceptor.clone(), body.clone()));
    }
}

async fn answer(stream: TcpStream, acceptor: Option<TlsAcceptor>, body: Bytes) {
    let service = service_fn(move |_request| {
        let answer = http::Response::builder()
            .header("content-type", "application/octet-stream")
            .body(Full::new(body.clone()));
        async { Ok::<_, Infallible>(answer.unwrap()) }
    });
    // Whoever goes away early is none of our business here.
    let Some(acceptor) = acceptor else {
        let http = hyper::server::conn::http1::Builder::new();
        drop(http.serve_connection(TokioIo::new(stream), service).await);
        return;
    };
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(http.serve_connection(TokioIo::new(stream), service).await);
    } else {
        let http = hyper::server::conn::http1::Builder::new();
        drop(http.serve_connection(TokioIo::new(stream), service).await);
    }
}

/// One connection of the raw loop: what is left of the answers that it is owed.
struct Owed {
    stream: RawStream,
    /// The end of what was read, where a head may end.
    tail: [u8; 3],
    answers: usize,
    /// Of the answer that is being written.
    head_left: usize,
    body_left: u64,
}

/// Heads are not understood: what ends one is counted, and answered.
fn raw(address: SocketAddr, file: &str) {
    let file = File::open(file).unwrap();
    let length = file.metadata().unwrap().len();
    let mut canned = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let in_memory = length < SENDFILE_BYTES_MIN;
    if in_memory {
        (&file).read_to_end(&mut canned).unwrap();
    }
    let body = if in_memory { 0 } else { length };
    let mut poll = Poll::new().unwrap();
    let mut listener = RawListener::bind(address).unwrap();
    let registry = poll.registry();
    registry
        .register(&mut listener, Token(0), Interest::READABLE)
        .unwrap();
    let (mut events, mut open, mut next) = (Events::with_capacity(1024), HashMap::new(), 1);
    loop {
        match poll.poll(&mut events, None) {
            // Whoever counts its calls interrupts it.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled.unwrap(),
        }
        for event in &events {
            if event.token() == Token(0) {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true).unwrap();
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry()
                        .register(&mut stream, Token(next), both)
                        .unwrap();
                    open.insert(Token(next), Owed::new(stream));
                    next += 1;
                }
            } else if let Some(owed) = open.get_mut(&event.token())
                && (owed.read().is_none() || owed.write(&canned, &file, body).is_none())
            {
                open.remove(&event.token());
            }
        }
    }
}

impl Owed {
    fn new(stream: RawStream) -> Self {
        Self {
            stream,
            tail: [0; 3],
            answers: 0,
            head_left: 0,
            body_left: 0,
        }
    }

    /// Counts the heads that end; none when the visitor is gone.
    fn read(&mut self) -> Option<()> {
        let mut bytes = [0; 16 << 10];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => {
                    let text = [self.tail.as_slice(), &bytes[..count]].concat();
                    self.answers += text.windows(4).filter(|end| end == b"\r\n\r\n").count();
                    self.tail = *text.last_chunk().unwrap();
                    if count < bytes.len() {
                        return Some(());
                    }
                }
                Err(error) => return (error.kind() == ErrorKind::WouldBlock).then_some(()),
            }
        }
    }

    /// Writes what is owed, as far as the socket takes it.
    fn write(&mut self, canned: &[u8], file: &File, body: u64) -> Option<()> {
        loop {
            if self.head_left == 0 && self.body_left == 0 {
                if self.answers == 0 {
                    return Some(());
                }
                self.answers -= 1;
                (self.head_left, self.body_left) = (canned.len(), body);
            }
            let written = if self.head_left > 0 {
                let rest = &canned[canned.len() - self.head_left..];
                self.stream.write(rest).inspect(|n| self.head_left -= n)
            } else {
                let mut offset = body - self.body_left;
                let room = usize::try_from(self.body_left).unwrap();
                let sent = rustix::fs::sendfile(&self.stream, file, Some(&mut offset), room);
                self.body_left = body - offset;
                sent.map_err(Into::into)
            };
            match written {
                Ok(_) => {}
                Err(error) => return (error.kind() == ErrorKind::WouldBlock).then_some(()),
            }
        }
    }
}
