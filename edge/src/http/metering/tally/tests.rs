//! Connections in the two protocols, and what is counted of them.

use super::*;
use crate::http::frames::{FrameCounter, FrameLimits};
use crate::http::metering::Part;
use crate::tcp_info::TcpInfo;
use proptest::prelude::*;

const A: SiteId = SiteId::from_bytes([1; 32]);
const B: SiteId = SiteId::from_bytes([2; 32]);

fn progress(delivered: u64) -> Option<Progress> {
    Some(Progress {
        delivered,
        is_all_acknowledged: false,
        tcp: TcpInfo {
            acknowledged_bytes: delivered.saturating_add(1),
            retransmitted_bytes: 5,
            is_over: false,
        },
    })
}

/// Half of what is sent is its smallest form.
fn served(site: SiteId) -> Option<Served> {
    Some(Served {
        site,
        is_bot: false,
        worth: Worth {
            smallest_bytes: 500,
            encoded_bytes: 1_000,
            parts: None,
        },
    })
}

fn tally() -> (Arc<Meter>, Tally) {
    let meter = Arc::new(Meter::default());
    (Arc::clone(&meter), Tally::new(meter))
}

/// Site, class, requests, body, credit.
type Shown = (u8, Class, u64, u64, u64);

fn taken(meter: &Meter) -> Vec<Shown> {
    let rows = meter.take().rows();
    let shown = rows.iter().map(|row| {
        let count = row.count;
        let site = row.site.as_bytes()[0];
        (
            site,
            row.class,
            count.requests,
            count.body.0,
            count.credit.0,
        )
    });
    shown.collect()
}

/// An answer in HTTP/1.1.
fn written(body: usize) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\na: b\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + body, b'\n');
    bytes
}

const HEAD: u64 = 25;

#[test]
fn the_tail_is_taken_from_what_was_written_last() {
    // What arrived of two answers of 1,000 bytes; the second is cut after 400.
    for (delivered, expected) in [
        (2 * HEAD + 1_400, vec![(1, Class::Answer, 2, 1_400, 700)]),
        (2 * HEAD + 1_399, vec![(1, Class::Answer, 2, 1_399, 699)]),
        (2 * HEAD + 1_001, vec![(1, Class::Answer, 2, 1_001, 500)]),
        (
            2 * HEAD + 1_000,
            vec![(1, Class::Answer, 1, 1_000, 500), (1, Class::Bare, 1, 0, 0)],
        ),
        (
            HEAD + 1_000,
            vec![(1, Class::Answer, 1, 1_000, 500), (1, Class::Bare, 1, 0, 0)],
        ),
        (
            HEAD + 10,
            vec![(1, Class::Answer, 1, 10, 5), (1, Class::Bare, 1, 0, 0)],
        ),
        (0, vec![(1, Class::Bare, 2, 0, 0)]),
    ] {
        for piece in [1, 7, 5_000] {
            let (meter, tally) = tally();
            for (body, sent) in [(1_000, 1_000), (1_000, 400)] {
                tally.lock().answer_next(served(A), body);
                for some in written(sent).chunks(piece) {
                    tally.lock().wrote(some);
                }
            }
            tally.close(progress(delivered));
            assert_eq!(taken(&meter), expected, "{delivered} {piece}");
        }
    }
}

#[test]
fn what_is_not_counted_takes_its_place_all_the_same() {
    let (meter, tally) = tally();
    let bot = served(B).map(|served| Served {
        is_bot: true,
        ..served
    });
    // An error, HEAD or 304, a bot, a bot that gets nothing, and what no answer is.
    for (served, body) in [(None, 77), (served(A), 0), (bot.clone(), 10), (bot, 0)] {
        tally.lock().answer_next(served, body);
        let body = usize::try_from(body).unwrap();
        tally.lock().wrote(&written(body));
    }
    tally.lock().wrote(b"HTTP/1.1 400 Bad Request\r\n\r\nbody");
    assert!(tally.due().is_some());
    tally.look(progress(4 * HEAD + 87));
    let expected = [(1, Class::Bare, 1, 0, 0), (2, Class::Bot, 2, 10, 5)];
    assert_eq!(taken(&meter), expected);
    assert_eq!(tally.due(), None);
    tally.close(progress(4 * HEAD + 87));
    tally.close(progress(4 * HEAD + 87));
    let totals = meter.take().totals;
    let wire = WireBytes(4 * HEAD + 88);
    assert_eq!((totals.connections, totals.wire), (1, wire), "once");
    assert_eq!(totals.retransmitted, WireBytes(5));
}

#[test]
fn a_long_answer_is_counted_as_it_arrives_and_once() {
    let (meter, tally) = tally();
    tally.lock().answer_next(served(A), 1_000);
    tally.lock().wrote(&written(600));
    tally.look(progress(10));
    assert_eq!(taken(&meter), [], "only of its head");
    tally.look(progress(HEAD + 301));
    assert_eq!(taken(&meter), [(1, Class::Answer, 1, 301, 150)]);
    tally.look(progress(HEAD + 302));
    assert_eq!(taken(&meter), [(1, Class::Answer, 0, 1, 1)]);
    assert!(tally.due().is_some());
    tally.look(None);
    assert_eq!(taken(&meter), [], "the kernel does not tell");
    tally.lock().wrote(&[b'x'; 400]);
    tally.close(progress(HEAD + 1_000));
    assert_eq!(taken(&meter), [(1, Class::Answer, 0, 698, 349)]);
}

#[test]
fn of_several_parts_only_the_content_is_counted() {
    let (meter, tally) = tally();
    let part = Part {
        head_bytes: 50,
        content_bytes: 100,
    };
    let mut parts = served(A).unwrap();
    parts.worth.parts = Some([part, part].into());
    tally.lock().answer_next(Some(parts), 330);
    tally.lock().wrote(&written(330));
    tally.look(progress(HEAD + 50));
    assert_eq!(taken(&meter), []);
    tally.close(progress(HEAD + 250));
    assert_eq!(taken(&meter), [(1, Class::Answer, 1, 150, 75)]);
}

#[test]
fn so_many_answers_may_wait_for_their_acknowledgement() {
    let (meter, tally) = tally();
    for number in 0..=WAITING_MAX {
        assert_eq!(tally.lock().is_full(), number == WAITING_MAX);
        tally.lock().answer_next(served(A), 1_000);
        tally.lock().wrote(&written(1_000));
    }
    tally.look(progress(0));
    assert_eq!(
        taken(&meter),
        [(1, Class::Bare, 1, 0, 0)],
        "the last is lost"
    );
    let max = u64::try_from(WAITING_MAX).unwrap();
    tally.look(progress(u64::MAX));
    let expected = [(1, Class::Answer, max, 1_000 * max, 500 * max)];
    assert_eq!(taken(&meter), expected);
}

/// Both directions of an HTTP/2 connection.
struct Http2 {
    tally: Tally,
    theirs: FrameCounter,
    ours: FrameCounter,
    position: u64,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

impl Http2 {
    fn new() -> (Arc<Meter>, Self) {
        let limits = FrameLimits {
            control_count_max: 1_000,
            reset_count_max: 1_000,
            block_bytes_max: 1_000,
        };
        let (meter, tally) = tally();
        let ours = FrameCounter::of_ours(limits);
        let theirs = FrameCounter::of_ours(limits);
        let http2 = Self {
            tally,
            theirs,
            ours,
            position: 0,
        };
        (meter, http2)
    }

    fn read(&mut self, kind: u8, stream: u32) {
        let mut answers = self.tally.lock();
        let bytes = frame(kind, END_HEADERS, stream, 4);
        let read = |frame, _| answers.read_frame(frame);
        self.theirs.count(&bytes, (0, 0), read).unwrap();
    }

    fn write(&mut self, kind: u8, flags: u8, (stream, length): (u32, usize)) {
        let bytes = frame(kind, flags, stream, length);
        let mut answers = self.tally.lock();
        self.position += count(&bytes);
        let position = self.position;
        let wrote = |frame, behind| answers.wrote_frame(frame, position - count_of(behind));
        self.ours.count(&bytes, (0, u64::MAX), wrote).unwrap();
    }

    /// A request that is answered.
    fn ask(&mut self, stream: u32, site: SiteId) {
        self.read(HEADERS, stream);
        let id = self.tally.lock().accept();
        self.tally.lock().was_polled();
        self.tally.lock().answer(id, served(site));
        self.write(HEADERS, END_HEADERS, (stream, 20));
    }
}

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
    let mut bytes = vec![a, b, c, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.resize(bytes.len() + length, 7);
    bytes
}

#[test]
fn several_sites_on_one_connection_are_told_apart() {
    let (meter, mut http2) = Http2::new();
    http2.ask(1, A);
    http2.ask(3, B);
    http2.write(DATA, 0, (3, 300));
    http2.write(DATA, END_STREAM, (1, 100));
    http2.write(DATA, END_STREAM, (3, 50));
    // Of a stream that nobody opened.
    http2.write(DATA, END_STREAM, (9, 50));
    http2.tally.look(progress(http2.position));
    let expected = [
        (1, Class::Answer, 1, 100, 50),
        (2, Class::Answer, 1, 350, 175),
    ];
    assert_eq!(taken(&meter), expected);
    assert_eq!(http2.tally.due(), None);
}

#[test]
fn a_stream_that_is_reset_has_what_was_written_of_it() {
    let (meter, mut http2) = Http2::new();
    for (stream, site) in [(1, A), (3, B), (5, A)] {
        http2.ask(stream, site);
        http2.write(DATA, 0, (stream, 100));
    }
    http2.read(RST_STREAM, 1);
    http2.write(DATA, END_STREAM, (1, 100));
    http2.write(RST_STREAM, 0, (3, 4));
    http2.tally.look(progress(http2.position));
    let expected = [
        (1, Class::Answer, 2, 200, 100),
        (2, Class::Answer, 1, 100, 50),
    ];
    assert_eq!(taken(&meter), expected);
    http2.read(RST_STREAM, 5);
    http2.tally.close(progress(http2.position));
    assert_eq!(taken(&meter), []);
}

#[test]
fn what_the_library_refuses_costs_the_answers_of_that_poll_alone() {
    let (meter, mut http2) = Http2::new();
    http2.ask(1, A);
    // Three heads are read, two are accepted: which?
    for stream in [3, 5, 7] {
        http2.read(HEADERS, stream);
    }
    let ids = [(); 2].map(|()| http2.tally.lock().accept());
    http2.tally.lock().was_polled();
    for id in ids {
        http2.tally.lock().answer(id, served(B));
    }
    http2.ask(9, A);
    for stream in [1, 3, 5, 7, 9] {
        http2.write(DATA, END_STREAM, (stream, 100));
    }
    // One that was reset before it was accepted, and one that is not answered for a site.
    http2.read(HEADERS, 11);
    http2.read(RST_STREAM, 11);
    let id = http2.tally.lock().accept();
    http2.tally.lock().was_polled();
    http2.tally.lock().answer(id, served(B));
    http2.read(HEADERS, 13);
    let id = http2.tally.lock().accept();
    http2.tally.lock().answer(id, None);
    http2.write(DATA, END_STREAM, (13, 100));
    // Trailers open nothing.
    http2.read(HEADERS, 9);
    http2.tally.lock().was_polled();
    assert!(http2.tally.lock().open.is_empty());
    http2.tally.close(progress(http2.position));
    assert_eq!(taken(&meter), [(1, Class::Answer, 2, 200, 100)]);
}

#[test]
fn so_many_streams_may_be_open() {
    let (meter, mut http2) = Http2::new();
    let max = u32::try_from(WAITING_MAX).unwrap();
    for number in 0..=max {
        http2.ask(2 * number + 1, A);
        http2.write(DATA, 0, (2 * number + 1, 10));
    }
    assert_eq!(http2.tally.lock().open.len(), WAITING_MAX);
    http2.tally.close(progress(http2.position));
    let max = u64::from(max);
    assert_eq!(taken(&meter), [(1, Class::Answer, max, 10 * max, 5 * max)]);
}

#[derive(Debug, Clone)]
enum Step {
    Data(usize, bool),
    Reset(bool),
    Look(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..16_384, prop::bool::weighted(0.2)).prop_map(|(n, ends)| Step::Data(n, ends)),
        1 => any::<bool>().prop_map(Step::Reset),
        2 => (0_u64..=100).prop_map(Step::Look),
    ]
}

proptest! {
    /// Streams of two sites, interleaved, reset by both sides, looked at while they are written, and
    /// cut anywhere: no site has more than arrived of its frames, and after all of it arrived each
    /// has exactly that.
    #[test]
    fn no_site_has_more_than_arrived(
        steps in prop::collection::vec((0_u32..6, step()), 1..120),
        last_percent in 0_u64..=100,
    ) {
        let (meter, mut http2) = Http2::new();
        for stream in 0..6 {
            http2.ask(2 * stream + 1, if stream % 2 == 0 { A } else { B });
        }
        // Of each site, where its bytes are.
        let mut frames: [Vec<(u64, u64)>; 2] = Default::default();
        let mut is_open = [true; 6];
        let mut delivered = 0;
        let mut said = [0; 2];
        let mut requests = 0;
        let mut take = |http2: &Http2, frames: &[Vec<(u64, u64)>; 2], delivered: u64| {
            for (site, class, count, body, credit) in taken(&meter) {
                said[usize::from(site) - 1] += body;
                requests += count;
                prop_assert!(credit <= body && (class == Class::Answer || body == 0));
            }
            let mut exact = [0; 2];
            for (site, said) in said.iter().enumerate() {
                let parts = frames[site].iter();
                exact[site] = parts.map(|(start, length)| delivered.saturating_sub(*start).min(*length)).sum();
                prop_assert!(*said <= exact[site]);
            }
            let all = delivered == http2.position;
            Ok((all && said == exact, requests))
        };
        for (stream, step) in steps {
            let id = 2 * stream + 1;
            let index = usize::try_from(stream).unwrap();
            match step {
                Step::Data(length, ends) if is_open[index] => {
                    http2.write(DATA, u8::from(ends), (id, length));
                    let length = count_of(length);
                    frames[index % 2].push((http2.position - length, length));
                    is_open[index] = !ends;
                }
                Step::Reset(by_us) if is_open[index] => {
                    is_open[index] = false;
                    if by_us {
                        http2.write(RST_STREAM, 0, (id, 4));
                    } else {
                        http2.read(RST_STREAM, id);
                    }
                }
                Step::Look(percent) => {
                    delivered = delivered.max(http2.position * percent / 100);
                    http2.tally.look(progress(delivered));
                    take(&http2, &frames, delivered)?;
                }
                Step::Data(..) | Step::Reset(_) => {}
            }
        }
        delivered = delivered.max(http2.position * last_percent / 100);
        http2.tally.close(progress(delivered));
        let (is_exact, requests) = take(&http2, &frames, delivered)?;
        prop_assert_eq!(requests, 6);
        prop_assert!(is_exact || delivered < http2.position);
    }
}
