//! What counting costs, for `benches/meter`: answers and connections, with the meter and without.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring tool: its answers go to a person, and what fails ends it"
)]

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use verge_edge::accounting::meter::Meter;
use verge_edge::http::metering::cost::{self, Counting};
use verge_sync::clock::stopwatch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Short rounds and many: on a busy machine the fastest is one that nobody interrupted.
const ANSWERS: usize = 20_000;
const CONNECTIONS: usize = 5_000;
const BODY_BYTES: usize = 10_000;
const ROUNDS: usize = 100;

fn main() {
    let (meter, body) = (Arc::new(Meter::default()), vec![b'x'; BODY_BYTES]);
    let load = (ANSWERS, &body[..]);
    let http1 = |counting| {
        cost::http1(counting, &meter, load);
    };
    let http2 = |counting| {
        cost::http2(counting, &meter, load);
    };
    for (name, nanos) in [
        ("HTTP/1.1", difference(ANSWERS, http1)),
        ("HTTP/2", difference(ANSWERS, http2)),
    ] {
        println!("{name}: {nanos:.0} ns for an answer of {BODY_BYTES} bytes");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    let nanos = difference(CONNECTIONS, |counting| {
        (0..CONNECTIONS).for_each(|_| cost::connection(counting, &meter, &ours));
    });
    println!("{:.2} us for a connection", nanos / 1_000.0);
}

/// Nanoseconds for each of `count` that the meter costs: of the fastest rounds.
fn difference(count: usize, run: impl Fn(Counting)) -> f64 {
    let fastest = |counting| {
        let rounds = (0..ROUNDS).map(|_| {
            let began = stopwatch();
            run(counting);
            began.elapsed()
        });
        rounds.min().unwrap_or(Duration::ZERO)
    };
    let (with, without) = (fastest(Counting::Metered), fastest(Counting::Stubbed));
    let count = u32::try_from(count).unwrap();
    with.saturating_sub(without).as_secs_f64() * 1e9 / f64::from(count)
}
