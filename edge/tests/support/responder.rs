//! A node that knows an account's thumbprint and nothing else: it answers http-01, without state.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running one; it ends with its handle.
pub(crate) struct Responder {
    address: SocketAddr,
    known: Arc<Known>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Known {
    thumbprint: Mutex<String>,
    asked: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl Responder {
    /// Starts one on a free port of loopback that answers for no account yet.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::new(Known::default());
        let of_thread = Arc::clone(&known);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever asks and goes away is no matter.
                drop(of_thread.answer(&stream.unwrap()));
            }
        });
        Self {
            address,
            known,
            thread: Some(thread),
        }
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for this account from now on.
    pub(crate) fn answer_for(&self, thumbprint: &str) {
        thumbprint.clone_into(&mut self.known.thumbprint.lock().unwrap());
    }

    /// The hosts for which it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.known.asked.lock().unwrap().clone()
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.known.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Known {
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        for line in lines {
            let line = line?;
            if let Some(host) = line.strip_prefix("Host: ") {
                let host = host.split(':').next().unwrap_or_default();
                self.asked.lock().unwrap().push(host.to_owned());
            }
            if line.is_empty() {
                break;
            }
        }
        let token = first
            .strip_prefix("GET /.well-known/acme-challenge/")
            .and_then(|rest| rest.split(' ').next());
        let answer = match token {
            Some(token) => format!("{token}.{}", self.thumbprint.lock().unwrap()),
            None => String::new(),
        };
        let status = if token.is_some() {
            "200 OK"
        } else {
            "404 Not Found"
        };
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
        )
    }
}
