//! Connections: kept, pipelined, limited, ended.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file, noise};
use crate::support::visitor::{SECURE, Via, Visitor, raw};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use verge_edge::listen::{Edge, EdgeConfig, Limits, StartError};

fn start(limits: Limits) -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let files = [
        file("a.txt", "first"),
        file("b.txt", "second"),
        file("big.bin", noise(3, 8 << 20)),
    ];
    let version = blobs.publish(&files);
    let setup = Setup {
        limits,
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    edge.forget_certificates();
    (blobs, edge)
}

/// Certificates stay, for visitors over TLS.
fn start_secure() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("a.txt", "first"), file("big.bin", noise(3, 8 << 20))]);
    let edge = Setup::default().start(&blobs, version);
    (blobs, edge)
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_order() {
    let (_blobs, edge) = start(Limits::default());
    let ask = |path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: garden.example\r\n{more}\r\n")
    };
    let text = [
        ask("/a.txt", ""),
        ask("/b.txt", ""),
        ask("/no", ""),
        ask("/a.txt", "Connection: close\r\n"),
    ];
    let answers = raw(&edge, text.concat().as_bytes()).await;
    let statuses: Vec<&str> = answers.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 4, "{answers}");
    let positions = ["first", "second", "HTTP/1.1 404", "first"]
        .iter()
        .try_fold(0, |from, text| {
            answers
                .get(from..)?
                .find(text)
                .map(|at| from + at + text.len())
        });
    assert!(positions.is_some(), "{answers}");
}

#[tokio::test]
async fn a_connection_is_kept() {
    let (_blobs, edge) = start_secure();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for _ in 0..50 {
            assert_eq!(visitor.get("/a.txt", &[]).await.body, "first");
        }
    }
}

#[tokio::test]
async fn heads_are_limited() {
    let (_blobs, edge) = start(Limits::default());
    let head = |more: &str| {
        format!("GET /a.txt HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n{more}\r\n")
    };
    let lines = |count: usize| "X: y\r\n".repeat(count);
    let uri = |length: usize| {
        format!(
            "GET /a.txt?{} HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n\r\n",
            "q".repeat(length)
        )
    };
    let rows = [
        (head(&lines(98)), "200"),
        (head(&lines(99)), "431"),
        (head(&format!("X: {}\r\n", "y".repeat(15_000))), "200"),
        (head(&format!("X: {}\r\n", "y".repeat(17_000))), "431"),
        (uri(8192 - 7), "200"),
        (uri(8192 - 6), "414"),
    ];
    for (request, status) in rows {
        let answer = raw(&edge, request.as_bytes()).await;
        let start: String = request.chars().take(80).collect();
        assert_eq!(
            answer.split(' ').nth(1),
            Some(status),
            "{} bytes: {start}",
            request.len()
        );
    }
}

#[tokio::test]
async fn heads_are_limited_over_http2_too() {
    let (_blobs, edge) = start_secure();
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    let names: Vec<String> = (0..=100).map(|index| format!("x-{index}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "y")).collect();
    assert_eq!(visitor.get("/a.txt", &headers[..100]).await.status, 200);
    assert_eq!(visitor.get("/a.txt", &headers).await.status, 431);
    let (fits, over) = ("y".repeat(15_000), "y".repeat(17_000));
    assert_eq!(visitor.get("/a.txt", &[("x", &fits)]).await.status, 200);
    assert_eq!(visitor.get("/a.txt", &[("x", &over)]).await.status, 431);
    let (fits, over) = ("q".repeat(8192 - 7), "q".repeat(8192 - 6));
    assert_eq!(
        visitor.get(&format!("/a.txt?{fits}"), &[]).await.status,
        200
    );
    assert_eq!(
        visitor.get(&format!("/a.txt?{over}"), &[]).await.status,
        414
    );
}

#[tokio::test]
async fn a_slow_head_and_an_idle_connection_end() {
    let soon = Duration::from_millis(50);
    let slow = Limits {
        header_time: soon,
        ..Limits::default()
    };
    let idle = Limits {
        idle_time: soon,
        ..Limits::default()
    };
    let complete = "GET /a.txt HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    for (limits, bytes) in [
        (slow, "GET /a.txt HT"),
        (idle.clone(), ""),
        (idle, complete),
    ] {
        let (_blobs, edge) = start(limits);
        let answer = raw(&edge, bytes.as_bytes()).await;
        assert_eq!(
            answer.starts_with("HTTP/1.1 200"),
            bytes == complete,
            "{bytes:?} {answer}"
        );
    }
}

#[tokio::test]
async fn an_unfinished_handshake_ends() {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("a.txt", "first")]);
    let setup = Setup {
        limits: Limits {
            handshake_time: Duration::from_millis(50),
            ..Limits::default()
        },
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    let mut stream = TcpStream::connect(edge.https()).await.unwrap();
    stream.write_all(b"\x16\x03\x01").await.unwrap();
    let mut out = Vec::new();
    // Closed with bytes unread or not: either way nothing was said.
    drop(stream.read_to_end(&mut out).await);
    assert!(out.is_empty());
}

#[tokio::test]
async fn over_the_limit_a_connection_waits_for_another_to_end() {
    let (_blobs, edge) = start(Limits {
        connection_count_max: 1,
        ..Limits::default()
    });
    let request = b"GET /a.txt HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    let mut first = TcpStream::connect(edge.http()).await.unwrap();
    let mut some = [0; 512];
    first.write_all(request).await.unwrap();
    assert!(first.read(&mut some).await.unwrap() > 0);
    let mut second = TcpStream::connect(edge.http()).await.unwrap();
    second.write_all(request).await.unwrap();
    first.write_all(request).await.unwrap();
    assert!(first.read(&mut some).await.unwrap() > 0);
    assert!(
        second.try_read(&mut some).is_err(),
        "not before the first ends"
    );
    drop(first);
    assert!(second.read(&mut some).await.unwrap() > 0);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_takes_nothing_new() {
    let (_blobs, edge) = start(Limits::default());
    let address = edge.http();
    let mut busy = TcpStream::connect(address).await.unwrap();
    let request = "GET /big.bin HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    busy.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1024];
    busy.read_exact(&mut first).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /a.txt HTTP/1.1\r\nHost: garden.example\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 512];
    assert!(idle.read(&mut some).await.unwrap() > 0);
    let drain = tokio::spawn(edge.running.drain(Duration::from_secs(60)));
    let mut rest = Vec::new();
    assert_eq!(
        idle.read_to_end(&mut rest).await.unwrap(),
        0,
        "an idle connection ends at once"
    );
    busy.read_to_end(&mut rest).await.unwrap();
    let text = String::from_utf8_lossy(&first);
    let head = text.find("\r\n\r\n").unwrap() + 4;
    assert_eq!(
        first.len() - head + rest.len(),
        8 << 20,
        "the download is whole"
    );
    assert_eq!(drain.await.unwrap().cut_count, 0);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_drain_says_goodbye_over_http2() {
    let (_blobs, edge) = start_secure();
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    assert_eq!(visitor.get("/a.txt", &[]).await.status, 200);
    let Visitor::Http2(mut sender) = visitor else {
        panic!("connected by HTTP/2");
    };
    let drained = edge.running.drain(Duration::from_secs(60)).await;
    assert_eq!(drained.cut_count, 0);
    let closed = std::future::poll_fn(|cx| sender.poll_ready(cx)).await;
    assert!(closed.is_err());
}

#[tokio::test]
async fn who_does_not_finish_in_time_is_cut() {
    let (_blobs, edge) = start(Limits::default());
    let mut stuck = TcpStream::connect(edge.http()).await.unwrap();
    let request = "GET /big.bin HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    stuck.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1024];
    stuck.read_exact(&mut first).await.unwrap();
    let drained = edge.running.drain(Duration::from_millis(50)).await;
    assert_eq!(drained.cut_count, 1);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let (_blobs, edge) = start(Limits::default());
    let config = |http, https| EdgeConfig {
        http,
        https,
        ..EdgeConfig::default()
    };
    let twice = Edge::start(
        config(vec![edge.http()], vec![]),
        Arc::clone(&edge.sites),
        None,
    );
    let Err(StartError::Listen { address, .. }) = twice else {
        panic!("two edges share a port");
    };
    assert_eq!(address, edge.http());
    let bare = Edge::start(
        config(vec![], vec![edge.http()]),
        Arc::clone(&edge.sites),
        None,
    );
    assert!(matches!(bare, Err(StartError::NoCertificates)));
}
