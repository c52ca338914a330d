//! Slow visitors are dropped at absolute deadlines, and others are answered meanwhile.

use super::frames::Attacker;
use super::{BIG_BYTES, Setup, start, start_plain};
use crate::support::edge::TestEdge;
use crate::support::visitor::{Via, Visitor};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use verge_edge::listen::Limits;

const SOON: Duration = Duration::from_millis(300);

fn with(limits: Limits) -> Setup {
    Setup {
        limits,
        ..Setup::default()
    }
}

/// Sends one byte of `bytes` after another, ever again, until the edge closes; a good visitor is
/// answered after each.
async fn trickle(edge: &TestEdge, stream: &mut TcpStream, bytes: &[u8]) {
    let mut good = Visitor::connect(edge, Via::Plain, "garden.example").await;
    let mut some = [0; 512];
    for byte in bytes.iter().cycle() {
        assert_eq!(good.get("/a.txt", &[]).await.body, "first");
        let pace = Duration::from_millis(10);
        match tokio::time::timeout(pace, stream.read(&mut some)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => {}
            Err(_elapsed) => drop(stream.write_all(&[*byte]).await),
        }
    }
}

#[tokio::test]
async fn who_sends_a_head_slowly_is_dropped() {
    let (_blobs, edge) = start_plain(with(Limits {
        header_time: SOON,
        ..Limits::default()
    }));
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let begin = b"GET /a.txt HTTP/1.1\r\nHost: garden.example\r\n";
    stream.write_all(begin).await.unwrap();
    trickle(&edge, &mut stream, b"X-A: b\r\n").await;
}

#[tokio::test]
async fn who_sends_a_body_slowly_is_dropped() {
    let (_blobs, edge) = start_plain(with(Limits::default()));
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let begin = b"POST / HTTP/1.1\r\nHost: garden.example\r\nContent-Length: 99999\r\n\r\n";
    stream.write_all(begin).await.unwrap();
    trickle(&edge, &mut stream, b"x").await;
}

/// A lone place: whoever comes second is answered when the first is gone.
fn lone_place() -> Limits {
    Limits {
        connection_count_max: 1,
        bytes_per_second_min: 100 << 10,
        slow_time: SOON,
        ..Limits::default()
    }
}

#[tokio::test]
async fn who_does_not_take_its_answer_is_dropped() {
    let (_blobs, edge) = start_plain(with(lone_place()));
    let mut stuck = TcpStream::connect(edge.http()).await.unwrap();
    let request = b"GET /big.bin HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    stuck.write_all(request).await.unwrap();
    let mut first = [0; 100];
    stuck.read_exact(&mut first).await.unwrap();
    let mut next = Visitor::connect(&edge, Via::Plain, "garden.example").await;
    assert_eq!(next.get("/a.txt", &[]).await.body, "first");
    let mut rest = Vec::new();
    drop(stuck.read_to_end(&mut rest).await);
    assert!(rest.len() < BIG_BYTES);
}

#[tokio::test]
async fn who_takes_it_just_fast_enough_is_not() {
    let (_blobs, edge) = start_plain(with(Limits {
        // 3 KiB in each stretch, of which there are several.
        bytes_per_second_min: 10 << 10,
        slow_time: SOON,
        ..Limits::default()
    }));
    let mut slow = TcpStream::connect(edge.http()).await.unwrap();
    let request = b"GET /big.bin HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n\r\n";
    slow.write_all(request).await.unwrap();
    let (mut total, mut piece) = (0, vec![0; 64 << 10]);
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    loop {
        pause.tick().await;
        match slow.read(&mut piece).await.unwrap() {
            0 => break,
            count => total += count,
        }
    }
    assert!(total > BIG_BYTES, "{total}");
}

#[tokio::test]
async fn who_gives_no_window_is_dropped() {
    let (_blobs, edge) = start(with(lone_place()));
    let mut stuck = Attacker::connect(&edge).await;
    stuck.send_settings(&[(4, 0)]).await.unwrap();
    stuck.send_get(1, "/big.bin").await.unwrap();
    let mut next = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    assert_eq!(next.get("/a.txt", &[]).await.body, "first");
}

#[tokio::test]
async fn a_header_block_that_does_not_end_is_dropped() {
    let (_blobs, edge) = start(with(Limits {
        connection_count_max: 1,
        header_time: SOON,
        ..Limits::default()
    }));
    let mut stuck = Attacker::connect(&edge).await;
    stuck.send_frame(1, 0, 1, &[0x82]).await.unwrap();
    let mut next = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    assert_eq!(next.get("/a.txt", &[]).await.body, "first");
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_connection() {
    let (_blobs, edge) = start(with(Limits {
        idle_time: SOON,
        ..Limits::default()
    }));
    let mut stuck = Attacker::connect(&edge).await;
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    while stuck.send_frame(6, 0, 0, &[0; 8]).await.is_ok() {
        pause.tick().await;
    }
}

/// It lets go of what it does not need at once.
fn with_little_memory() -> Limits {
    Limits {
        quiet_time: Duration::from_millis(1),
        idle_time: SOON,
        ..Limits::default()
    }
}

#[tokio::test]
async fn who_asks_again_after_a_while_sees_nothing_of_what_was_let_go() {
    for via in [Via::Plain, Via::Http1, Via::Http2] {
        let (_blobs, edge) = start(with(with_little_memory()));
        if via == Via::Plain {
            edge.forget_certificates();
        }
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..20 {
            pause.tick().await;
            assert_eq!(visitor.get("/a.txt", &[]).await.body, "first");
            let big = visitor.get("/big.bin", &[]).await;
            assert_eq!(big.body.len(), BIG_BYTES, "{via:?}");
        }
    }
}

#[tokio::test]
async fn who_asks_for_nothing_more_hears_the_end() {
    let (_blobs, edge) = start_plain(with(with_little_memory()));
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let request = b"GET /a.txt HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    for _ in 0..2 {
        stream.write_all(request).await.unwrap();
        let mut begin = [0; 15];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200 OK");
        let mut rest = Vec::new();
        while !rest.ends_with(b"first") {
            assert_ne!(stream.read_buf(&mut rest).await.unwrap(), 0);
        }
    }
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn who_is_quiet_is_let_go_when_the_edge_ends() {
    let limits = Limits {
        idle_time: Duration::from_secs(60),
        ..with_little_memory()
    };
    let (_blobs, edge) = start_plain(with(limits));
    let mut visitor = Visitor::connect(&edge, Via::Plain, "garden.example").await;
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    assert_eq!(visitor.get("/a.txt", &[]).await.body, "first");
    for _ in 0..5 {
        pause.tick().await;
    }
    let drained = edge.running.drain(Duration::from_secs(60)).await;
    assert_eq!(drained.cut_count, 0);
}
