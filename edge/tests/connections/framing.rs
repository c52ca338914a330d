//! What is not well formed is answered and the connection closed (http.md section 6).

use super::{Setup, start_plain};
use crate::support::edge::TestEdge;
use crate::support::visitor::raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use verge_edge::listen::Limits;

const GOOD: &str = "GET /a.txt HTTP/1.1\r\nHost: garden.example\r\n\r\n";

/// The statuses of the answers in `text`, up to `first` bodies of which hold none.
fn statuses(text: &str) -> Vec<u16> {
    let heads = text.match_indices("HTTP/1.").map(|(at, _)| &text[at..]);
    heads
        .filter_map(|head| head.split(' ').nth(1)?.parse().ok())
        .collect()
}

/// Sends `bytes` after a good request, whole and byte by byte: the good one is answered, then comes
/// `expected`, then the end.
async fn check(edge: &TestEdge, bytes: &str, expected: u16) {
    let request = format!("{GOOD}{bytes}");
    let answer = raw(edge, request.as_bytes()).await;
    assert_eq!(statuses(&answer), [200, expected], "{bytes:?}: {answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let is_explained = answer.contains("\r\ncontent-type: text/html") && !answer.ends_with("\r\n");
    assert!(is_explained, "{bytes:?}: {answer}");
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in request.as_bytes() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    let mut out = Vec::new();
    stream.read_to_end(&mut out).await.unwrap();
    let out = String::from_utf8_lossy(&out);
    assert_eq!(statuses(&out), [200, expected], "{bytes:?}: {out}");
}

#[tokio::test]
async fn malformed_heads_are_refused_after_what_came_before_is_answered() {
    let (_blobs, edge) = start_plain(Setup::default());
    let rows = [
        ("GET / HTTP/1.1\nHost: garden.example\n\n", 400),
        ("GET / HTTP/1.1\rHost: garden.example\r\r", 400),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nA: b\rc\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nA: b\r\n c\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nA : b\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nA: \0\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nHost: garden.example\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: garden example\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        ("GET / HTTP/3.0\r\nHost: garden.example\r\n\r\n", 505),
        ("GET / HTTP/one\r\nHost: garden.example\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (
            "GET ftp://garden.example/ HTTP/1.1\r\nHost: garden.example\r\n\r\n",
            400,
        ),
        ("\x16\x03\x01\x02\0\x01\0\r\n\r\n", 400),
        // The library refuses these with an empty page of its own.
        ("GET /a<b HTTP/1.1\r\nHost: garden.example\r\n\r\n", 400),
        ("GET /a>b HTTP/1.1\r\nHost: garden.example\r\n\r\n", 400),
        ("GET /?\" HTTP/1.1\r\nHost: garden.example\r\n\r\n", 400),
        ("GET /?a<b HTTP/1.1\r\nHost: garden.example\r\n\r\n", 400),
        ("GET /a#b HTTP/1.1\r\nHost: garden.example\r\n\r\n", 400),
        (
            "GET http://garden.example/<b> HTTP/1.1\r\nHost: garden.example\r\n\r\n",
            400,
        ),
    ];
    for (bytes, expected) in rows {
        check(&edge, bytes, expected).await;
    }
}

#[tokio::test]
async fn methods_and_bodies_have_their_answers() {
    let (_blobs, edge) = start_plain(Setup::default());
    let host = "Host: garden.example\r\n";
    let rows: &[(&str, &str, &[u16])] = &[
        ("OPTIONS * HTTP/1.1", "", &[204, 200]),
        ("TRACE / HTTP/1.1", "", &[405, 200]),
        ("CONNECT other.example:443 HTTP/1.1", "", &[405]),
        ("GET /a.txt HTTP/1.1", "Content-Length: 0\r\n", &[200, 200]),
        ("GET /a.txt HTTP/1.1", "Content-Length: 3\r\n", &[413]),
        (
            "HEAD /a.txt HTTP/1.1",
            "Transfer-Encoding: chunked\r\n",
            &[413],
        ),
        ("OPTIONS / HTTP/1.1", "Content-Length: 3\r\n", &[413]),
        ("POST /a.txt HTTP/1.1", "Content-Length: 3\r\n", &[405]),
        (
            "PUT /a.txt HTTP/1.1",
            "Content-Length: 3\r\nExpect: 100-continue\r\n",
            &[405],
        ),
        (
            "GET /a.txt HTTP/1.1",
            "Expect: 100-continue\r\n",
            &[200, 200],
        ),
        ("GET /a.txt HTTP/1.1", "Expect: a-pony\r\n", &[417, 200]),
        ("GET http://garden.example/a.txt HTTP/1.1", "", &[200, 200]),
        // A body must never be read as the next request.
        (
            "GET /a.txt HTTP/1.1",
            "Content-Length: 40\r\n\r\nGET /no HTTP/1.1\r\nHost: x\r\n",
            &[413],
        ),
    ];
    for (line, more, expected) in rows {
        let last = "GET /a.txt HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n\r\n";
        let answer = raw(
            &edge,
            format!("{line}\r\n{host}{more}\r\n{last}").as_bytes(),
        )
        .await;
        assert_eq!(&statuses(&answer), expected, "{line} {more}: {answer}");
    }
    let old = raw(&edge, b"GET /a.txt HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&old), [421], "no host, no site");
}

#[tokio::test]
async fn an_answer_to_a_large_body_is_not_lost() {
    let (_blobs, edge) = start_plain(Setup::default());
    let head = "POST / HTTP/1.1\r\nHost: garden.example\r\nContent-Length: 900000\r\n\r\n";
    for _ in 0..10 {
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 900_000]).await.unwrap();
        let mut out = String::new();
        stream.read_to_string(&mut out).await.unwrap();
        assert_eq!(statuses(&out), [405]);
    }
}

#[tokio::test]
async fn a_refusal_of_head_has_no_body() {
    let (_blobs, edge) = start_plain(Setup::default());
    let answer = raw(&edge, b"HEAD / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\ncontent-length: "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn who_has_sent_all_may_still_read() {
    let (_blobs, edge) = start_plain(Setup::default());
    for (bytes, expected) in [
        (
            "GET /big.bin HTTP/1.1\r\nHost: garden.example\r\n\r\n",
            Some(200),
        ),
        ("GET /big.bin HTTP/1.1\r\nHost: garden", Some(400)),
        ("", None),
    ] {
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut out = Vec::new();
        stream.read_to_end(&mut out).await.unwrap();
        let head = String::from_utf8_lossy(&out[..out.len().min(1000)]).into_owned();
        assert_eq!(statuses(&head).first().copied(), expected, "{bytes:?}");
        assert_eq!(out.len() > super::BIG_BYTES, expected == Some(200));
    }
}

#[tokio::test]
async fn heads_have_limits_with_two_sides() {
    let limits = Limits {
        header_bytes_max: 9000,
        header_count_max: 20,
        uri_bytes_max: 500,
        ..Limits::default()
    };
    let setup = Setup {
        limits,
        ..Setup::default()
    };
    let (_blobs, edge) = start_plain(setup);
    let head = |target: usize, count: usize, value: usize| {
        let target = "q".repeat(target - "/a.txt?".len());
        let lines = "X: y\r\n".repeat(count - 2);
        let (before, after) = (format!("GET /a.txt?{target} HTTP/1.1\r\n"), "\r\n\r\n");
        let host = "Host: garden.example\r\nV: ";
        let fixed = before.len() + lines.len() + host.len() + after.len();
        let value = "v".repeat(value.saturating_sub(fixed));
        format!("{before}{lines}{host}{value}{after}")
    };
    let rows = [
        (head(500, 2, 0), 200),
        (head(501, 2, 0), 414),
        (head(10, 20, 0), 200),
        (head(10, 21, 0), 431),
        (head(10, 2, 9000), 200),
        (head(10, 2, 9001), 431),
    ];
    for (request, expected) in rows {
        // The end of the input ends the connection after its answer.
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut out = String::new();
        stream.read_to_string(&mut out).await.unwrap();
        assert_eq!(statuses(&out), [expected], "{} bytes", request.len());
    }
}
