//! HTTP/2 abuse: the attacker is ended or bounded, others are answered, memory stays.

use super::frames::{
    Attacker, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, head,
};
use super::{Setup, start};
use crate::support::edge::TestEdge;
use crate::support::visitor::{Via, Visitor};
use std::time::Duration;
use verge_edge::listen::Limits;

/// More frames than any limit allows.
const ROUND_COUNT: u32 = 20_000;
const MEMORY_BYTES_MAX: u64 = 64 << 20;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

async fn check_good(edge: &TestEdge) {
    let answered = async {
        let mut good = Visitor::connect(edge, Via::Http2, "garden.example").await;
        good.get("/a.txt", &[]).await.body
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), answered).await;
    assert_eq!(answered.expect("a good visitor is answered"), "first");
}

/// The stream number of a round.
fn stream(round: u32) -> u32 {
    round * 2 + 1
}

/// Sends `begin`, then what `round` makes until the edge ends the connection; a good visitor is
/// answered on the way. `code`: of the GOAWAY, if that could be read.
async fn check_ended(name: &str, begin: &[u8], round: impl Fn(u32) -> Vec<u8>) {
    let (_blobs, edge) = start(Setup::default());
    check_good(&edge).await;
    let before = resident_bytes();
    let mut attacker = Attacker::connect(&edge).await;
    let mut is_ended = attacker.send(begin).await.is_err();
    let mut rounds = 0..ROUND_COUNT;
    while !is_ended {
        let batch: Vec<u8> = rounds.by_ref().take(100).flat_map(&round).collect();
        assert!(!batch.is_empty(), "{name}: not ended");
        is_ended = attacker.send(&batch).await.is_err();
        if rounds.start % 2000 == 0 {
            check_good(&edge).await;
        }
    }
    check_good(&edge).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX, "{name}: {grown} bytes more");
    // A reset may overtake the GOAWAY; if that came, it says why.
    let code = attacker.hear().await.goaway_code;
    assert!(matches!(code, None | Some(1 | 11)), "{name}: {code:?}");
}

fn get(round: u32) -> Vec<u8> {
    let flags = END_STREAM | END_HEADERS;
    frame(HEADERS, flags, stream(round), &head(0x82, "/big.bin"))
}

fn post(round: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream(round), &head(0x83, "/"))
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    check_ended("rapid reset", &[], |round| {
        let reset = frame(RST_STREAM, 0, stream(round), &8_u32.to_be_bytes());
        [get(round), reset].concat()
    })
    .await;
}

#[tokio::test]
async fn resets_that_a_visitor_provokes_end_the_connection() {
    check_ended("window update of nothing", &[], |round| {
        let update = frame(WINDOW_UPDATE, 0, stream(round), &[0; 4]);
        [get(round), update].concat()
    })
    .await;
    check_ended("window overflow", &[], |round| {
        let update = frame(WINDOW_UPDATE, 0, stream(round), &[0x7f, 0xff, 0xff, 0xff]);
        [get(round), update].concat()
    })
    .await;
    check_ended("dependency on itself", &[], |round| {
        let number = stream(round);
        let priority = [&number.to_be_bytes()[..], &[1]].concat();
        [get(round), frame(PRIORITY, 0, number, &priority)].concat()
    })
    .await;
}

#[tokio::test]
async fn endless_header_blocks_end_the_connection() {
    let begin = frame(HEADERS, 0, 1, &head(0x82, "/a.txt"));
    check_ended("empty continuations", &begin, |_| {
        frame(CONTINUATION, 0, 1, &[])
    })
    .await;
    // One literal header, never indexed, of name "a" and value "b".
    let lines = [0x10, 1, b'a', 1, b'b'].repeat(1000);
    check_ended("continuations", &begin, |_| {
        frame(CONTINUATION, 0, 1, &lines)
    })
    .await;
}

/// h2spec, http2/5.1/8: where the answer was sent before the reset came, the data was ignored.
#[tokio::test]
async fn data_after_the_reset_of_its_stream_ends_the_connection() {
    let (_blobs, edge) = start(Setup::default());
    let mut attacker = Attacker::connect(&edge).await;
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    let data = frame(DATA, END_STREAM, 1, b"test");
    let bytes = [post(0), reset, data].concat();
    attacker.send(&bytes).await.unwrap();
    assert_eq!(attacker.hear().await.goaway_code, Some(5));
}

#[tokio::test]
async fn frames_that_ask_for_nothing_end_the_connection() {
    let rows: [(&str, Vec<u8>); 6] = [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("windows", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("unknown", frame(0x77, 0, 0, &[1, 2, 3])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ];
    for (name, bytes) in rows {
        check_ended(name, &[], |_| bytes.clone()).await;
    }
    check_ended("empty DATA", &post(0), |_| frame(DATA, 0, 1, &[])).await;
}

#[tokio::test]
async fn ordinary_use_is_far_from_the_limits() {
    let (_blobs, edge) = start(Setup::default());
    let mut visitor = Attacker::connect(&edge).await;
    for round in 0..15 {
        let reset = frame(RST_STREAM, 0, stream(round), &8_u32.to_be_bytes());
        visitor.send(&[get(round), reset].concat()).await.unwrap();
    }
    for _ in 0..400 {
        visitor.send(&frame(PING, 0, 0, &[7; 8])).await.unwrap();
        visitor
            .send(&frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]))
            .await
            .unwrap();
    }
    visitor.send_get(stream(400), "/a.txt").await.unwrap();
    visitor.send_frame(7, 0, 0, &[0; 8]).await.unwrap();
    let heard = visitor.hear().await;
    assert!(heard.answer_count >= 1, "{heard:?}");
    assert!(matches!(heard.goaway_code, None | Some(0)), "{heard:?}");
}

#[tokio::test]
async fn a_header_bomb_is_refused_and_costs_no_memory() {
    let (_blobs, edge) = start(Setup::default());
    check_good(&edge).await;
    let before = resident_bytes();
    let mut attackers = Vec::new();
    for _ in 0..10 {
        let mut attacker = Attacker::connect(&edge).await;
        // "a" with 3,900 bytes goes into the table; each byte after that repeats it.
        let mut block = head(0x82, "/a.txt");
        block.extend([0x40, 1, b'a', 0x7f, 0xbd, 0x1d]);
        block.extend([b'v'; 3900]);
        block.extend([0xbe; 12_000]);
        let flags = END_STREAM | END_HEADERS;
        for round in 0..50 {
            let bytes = frame(HEADERS, flags, stream(round), &block);
            if attacker.send(&bytes).await.is_err() {
                break;
            }
        }
        attackers.push(attacker);
    }
    check_good(&edge).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes more");
}

#[tokio::test]
async fn streams_without_a_window_cost_bounded_memory() {
    let (_blobs, edge) = start(Setup::default());
    check_good(&edge).await;
    let before = resident_bytes();
    let mut attackers = Vec::new();
    for window in [0, 1, 0, 1] {
        let mut attacker = Attacker::connect(&edge).await;
        attacker.send_settings(&[(4, window)]).await.unwrap();
        for round in 0..100 {
            attacker.send(&get(round)).await.unwrap();
        }
        attackers.push(attacker);
        check_good(&edge).await;
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes more");
}

/// 40 connections with 100 streams each held 152 MB in pieces, and 4,000 open files.
#[tokio::test]
async fn streams_of_many_connections_share_one_budget() {
    let (_blobs, edge) = start(Setup {
        limits: Limits {
            answer_bytes_max: 8 << 20,
            slow_time: Duration::from_secs(2),
            ..Limits::default()
        },
        ..Setup::default()
    });
    check_good(&edge).await;
    let before = resident_bytes();
    let mut attackers = Vec::new();
    for _ in 0..40 {
        let mut attacker = Attacker::connect(&edge).await;
        let all: Vec<u8> = (0..100).flat_map(get).collect();
        attacker.send(&all).await.unwrap();
        attackers.push(attacker);
    }
    // Answered when those who take nothing are cut.
    check_good(&edge).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes more");
}

#[tokio::test]
async fn an_empty_body_is_none_and_crumbs_are_one_cookie() {
    let (_blobs, edge) = start(Setup::default());
    let mut visitor = Attacker::connect(&edge).await;
    let get_open = frame(HEADERS, END_HEADERS, 1, &head(0x82, "/a.txt"));
    let end = frame(DATA, END_STREAM, 1, &[]);
    visitor.send(&[get_open, end].concat()).await.unwrap();
    // "cookie: a", never indexed, 150 times.
    let crumbs = [&[0x1f, 0x11, 1][..], b"a"].concat().repeat(150);
    let block = [head(0x82, "/a.txt"), crumbs].concat();
    let flags = END_STREAM | END_HEADERS;
    visitor.send_frame(HEADERS, flags, 3, &block).await.unwrap();
    visitor.send_frame(7, 0, 0, &[0; 8]).await.unwrap();
    let heard = visitor.hear().await;
    assert_eq!(heard.good_count, 2, "{heard:?}");
}

#[tokio::test]
async fn bodies_are_refused_and_the_stream_reset_without_error() {
    let (_blobs, edge) = start(Setup::default());
    let mut visitor = Attacker::connect(&edge).await;
    visitor.send(&post(0)).await.unwrap();
    visitor.send(&frame(DATA, 0, 1, b"abc")).await.unwrap();
    visitor.send_get(3, "/a.txt").await.unwrap();
    visitor.send(&post(2)).await.unwrap();
    let whole = frame(DATA, END_STREAM, 5, b"abc");
    visitor.send(&whole).await.unwrap();
    visitor.send_frame(7, 0, 0, &[0; 8]).await.unwrap();
    let heard = visitor.hear().await;
    // Only the body that did not end is cut off.
    assert_eq!((heard.answer_count, heard.reset_count), (3, 1), "{heard:?}");
    assert_eq!(heard.reset_code, Some(0), "NO_ERROR: {heard:?}");
}

/// h2spec, http2/8.1/1 and 8.1.2.1/3, failed whenever the answer was sent before the fault came.
#[tokio::test]
async fn faults_after_the_head_are_found_before_the_answer() {
    let trailers_without_end = frame(HEADERS, END_HEADERS, 1, &[0x10, 1, b'a', 1, b'b']);
    // ":method: GET", which no trailer can have.
    let pseudo = frame(HEADERS, END_HEADERS, 1, &[0x82]);
    for fault in [trailers_without_end, pseudo] {
        let (_blobs, edge) = start(Setup::default());
        let mut visitor = Attacker::connect(&edge).await;
        visitor.send(&post(0)).await.unwrap();
        visitor.send(&frame(DATA, 0, 1, b"abc")).await.unwrap();
        visitor.send(&fault).await.unwrap();
        visitor.send_frame(7, 0, 0, &[0; 8]).await.unwrap();
        let heard = visitor.hear().await;
        let is_refused = heard.reset_count == 1 || heard.goaway_code == Some(1);
        assert!(is_refused && heard.answer_count == 0, "{heard:?}");
    }
}
