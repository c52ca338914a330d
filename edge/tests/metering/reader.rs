//! A visitor who reads as much as it likes, at its own pace, and knows what it got.

use crate::support::edge::TestEdge;
use crate::support::visitor::{Via, secure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) path: &'static str,
    pub(crate) range: Option<String>,
    /// Breaks off when it has so many bytes of the body.
    pub(crate) until: Option<usize>,
    /// Lets others go first after every piece.
    pub(crate) is_slow: bool,
}

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) port: u16,
    /// Of all heads together; not known in HTTP/2.
    pub(crate) head_bytes: usize,
    /// Of each body.
    pub(crate) bodies: Vec<usize>,
}

/// Asks one after the other on one connection, and breaks off with the one that does.
pub(crate) async fn visit(edge: &TestEdge, via: Via, wishes: &[Wish]) -> Got {
    match via {
        Via::Plain => {
            let stream = TcpStream::connect(edge.http()).await.unwrap();
            let port = stream.local_addr().unwrap().port();
            http1(stream, port, wishes).await
        }
        Via::Http1 => {
            let stream = secure(edge, "garden.example", b"http/1.1").await.unwrap();
            let port = stream.get_ref().0.local_addr().unwrap().port();
            http1(stream, port, wishes).await
        }
        Via::Http2 => http2(edge, wishes).await,
    }
}

async fn http1<S>(mut stream: S, port: u16, wishes: &[Wish]) -> Got
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut got = Got {
        port,
        ..Got::default()
    };
    let mut held = Vec::new();
    for wish in wishes {
        let range = wish
            .range
            .as_ref()
            .map(|range| format!("range: {range}\r\n"));
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: garden.example\r\n{}\r\n",
            wish.path,
            range.unwrap_or_default()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = loop {
            if let Some(end) = memchr::memmem::find(&held, b"\r\n\r\n") {
                break end + 4;
            }
            assert!(stream.read_buf(&mut held).await.unwrap() > 0);
        };
        let text = String::from_utf8(held[..head].to_vec()).unwrap();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        got.head_bytes += head;
        held.drain(..head);
        let wanted = wish.until.unwrap_or(length).min(length);
        while held.len() < wanted {
            assert!(stream.read_buf(&mut held).await.unwrap() > 0);
            if wish.is_slow {
                tokio::task::yield_now().await;
            }
        }
        got.bodies.push(held.len());
        if wanted < length {
            return got;
        }
        held.clear();
    }
    // Says goodbye, and hears it.
    stream.shutdown().await.unwrap();
    drop(stream.read_to_end(&mut held).await);
    got
}

async fn http2(edge: &TestEdge, wishes: &[Wish]) -> Got {
    let stream = secure(edge, "garden.example", b"h2").await.unwrap();
    let mut got = Got {
        port: stream.get_ref().0.local_addr().unwrap().port(),
        ..Got::default()
    };
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = shaken.await.unwrap();
    let connection = tokio::spawn(connection);
    for wish in wishes {
        let mut request = http::Request::get(format!("https://garden.example{}", wish.path));
        if let Some(range) = &wish.range {
            request = request.header("range", range);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        sender.ready().await.unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let mut length = 0;
        while wish.until.is_none_or(|until| length < until)
            && let Some(frame) = body.frame().await
        {
            length += frame.unwrap().data_ref().map_or(0, Bytes::len);
            if wish.is_slow {
                tokio::task::yield_now().await;
            }
        }
        got.bodies.push(length);
    }
    if wishes.iter().any(|wish| wish.until.is_some()) {
        // The connection breaks with its stream.
        connection.abort();
        drop(connection.await);
        return got;
    }
    drop(sender);
    drop(connection.await);
    got
}
