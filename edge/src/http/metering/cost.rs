//! What counting costs, for `benches/meter`: as a connection does it, but for the network.

use super::{Agent, Served, Tally, Worth};
use crate::accounting::meter::Meter;
use crate::http::frames::{FrameCounter, FrameLimits};
use crate::socket::Progress;
use crate::tcp_info::{TcpInfo, tcp_info};
use http::HeaderMap;
use http::header::USER_AGENT;
use std::hint::black_box;
use std::net::TcpStream;
use std::sync::Arc;
use verge_sync::id::SiteId;

/// Answers between two looks: a busy connection's.
const LOOK_COUNT: usize = 1_000;
const AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                     Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0";
const HEAD: &str = "HTTP/1.1 200 OK\r\netag: \"abababababababababababababababab\"\r\n\
                    last-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                    cache-control: public, max-age=0, must-revalidate\r\nvary: Accept-Encoding\r\n\
                    content-type: text/html; charset=utf-8\r\nx-content-type-options: nosniff\r\n\
                    content-encoding: br\r\ncontent-length: 10000\r\naccept-ranges: bytes\r\n\
                    date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

/// Whether the meter is there, or only what it would be told of is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// As it is.
    Metered,
    /// Without.
    Stubbed,
}

/// `count` answers of one connection in HTTP/1.1, and how many bytes they were.
pub fn http1(counting: Counting, meter: &Arc<Meter>, (count, body): (usize, &[u8])) -> u64 {
    let tally = Tally::new(Arc::clone(meter));
    let (agent, request) = (Agent::default(), request());
    let mut position = 0;
    for number in 1..=count {
        if counting == Counting::Metered {
            let served = Some(served(&agent, &request));
            let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
            tally.lock().answer_next(served, length);
            let mut answers = tally.lock();
            answers.wrote(black_box(HEAD.as_bytes()));
            answers.wrote(black_box(body));
        }
        position = written(position, &[black_box(HEAD.as_bytes()), black_box(body)]);
        if counting == Counting::Metered && number % LOOK_COUNT == 0 {
            tally.look(Some(arrived(position)));
        }
    }
    black_box(position)
}

/// The same in HTTP/2. The frames are read without the meter too.
pub fn http2(counting: Counting, meter: &Arc<Meter>, (count, body): (usize, &[u8])) -> u64 {
    let tally = Tally::new(Arc::clone(meter));
    let (agent, request) = (Agent::default(), request());
    let limits = FrameLimits {
        control_count_max: u32::MAX,
        reset_count_max: u32::MAX,
        block_bytes_max: usize::MAX,
    };
    let (mut theirs, mut ours) = (FrameCounter::of_ours(limits), FrameCounter::of_ours(limits));
    let mut position = 0;
    for number in 1..=count {
        let stream = u32::try_from(number)
            .unwrap_or(0)
            .saturating_mul(2)
            .saturating_add(1);
        let asked = [&frame(1, 5, stream, 40)[..], &[0; 40]].concat();
        let head = [&frame(1, 4, stream, 90)[..], &[0; 90]].concat();
        let data = frame(0, 1, stream, body.len());
        if counting == Counting::Stubbed {
            let _unlimited = theirs.count(&asked, (0, 0), |_, _| {});
            for bytes in [&head[..], &data, body] {
                position = written(position, &[bytes]);
                let _unlimited = ours.count(bytes, (0, u64::MAX), |_, _| {});
            }
            continue;
        }
        let mut answers = tally.lock();
        let read = |frame, _| answers.read_frame(frame);
        let _unlimited = theirs.count(&asked, (0, 0), read);
        drop(answers);
        let id = tally.lock().accept();
        tally.lock().was_polled();
        tally.lock().answer(id, Some(served(&agent, &request)));
        for bytes in [&head[..], &data, body] {
            position = written(position, &[bytes]);
            let mut answers = tally.lock();
            let passed = |frame, behind| {
                let behind = u64::try_from(behind).unwrap_or(u64::MAX);
                answers.wrote_frame(frame, position.saturating_sub(behind));
            };
            let _unlimited = ours.count(bytes, (0, u64::MAX), passed);
        }
        tally.lock().was_polled();
        if number % LOOK_COUNT == 0 {
            tally.look(Some(arrived(position)));
        }
    }
    black_box(position)
}

/// What a connection costs that ends after one answer.
pub fn connection(counting: Counting, meter: &Arc<Meter>, socket: &TcpStream) {
    if counting == Counting::Stubbed {
        return;
    }
    let tally = Tally::new(Arc::clone(meter));
    tally.lock().answer_next(None, 0);
    let delivered = 0;
    tally.close(tcp_info(socket).map(|tcp| Progress {
        delivered,
        is_all_acknowledged: true,
        tcp,
    }));
}

fn request() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, http::HeaderValue::from_static(AGENT));
    headers
}

fn served(agent: &Agent, request: &HeaderMap) -> Served {
    Served {
        site: SiteId::from_bytes([7; 32]),
        is_bot: agent.is_declared_bot(black_box(request)),
        worth: Worth {
            smallest_bytes: 3_000,
            encoded_bytes: 10_000,
            parts: None,
        },
    }
}

fn written(position: u64, slices: &[&[u8]]) -> u64 {
    let count: usize = slices.iter().map(|slice| slice.len()).sum();
    position.saturating_add(u64::try_from(count).unwrap_or(u64::MAX))
}

fn arrived(delivered: u64) -> Progress {
    Progress {
        delivered,
        is_all_acknowledged: true,
        tcp: TcpInfo {
            acknowledged_bytes: delivered,
            retransmitted_bytes: 0,
            is_over: false,
        },
    }
}

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> [u8; 9] {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}
