//! However a connection ends, what arrived is counted, and before the edge is gone.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file, noise};
use crate::support::visitor::{Via, Visitor, secure};
use crate::{SITE, counted, figures, of};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use verge_edge::accounting::figures::Class;
use verge_edge::listen::Limits;

const BIG: usize = 8 << 20;

fn start(limits: Limits) -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("big.bin", noise(1, BIG)), file("a.txt", "first")]);
    let setup = Setup {
        limits,
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    (blobs, edge)
}

const ASKED: &[u8] = b"GET /big.bin HTTP/1.1\r\nhost: garden.example\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_stops_has_counted_what_it_served() {
    for via in [Via::Plain, Via::Http1, Via::Http2] {
        let (_blobs, edge) = start(Limits::default());
        let meter = edge.running.meter().clone();
        if via == Via::Plain {
            edge.forget_certificates();
        }
        let mut idle = Visitor::connect(&edge, via, "garden.example").await;
        assert_eq!(idle.get("/a.txt", &[]).await.status, 200);
        // One that reads nothing after its first bytes, and holds the drain up.
        let mut first = [0; 4096];
        let held: Box<dyn Send> = match via {
            Via::Plain => {
                let mut stream = TcpStream::connect(edge.http()).await.unwrap();
                stream.write_all(ASKED).await.unwrap();
                stream.read_exact(&mut first).await.unwrap();
                Box::new(stream)
            }
            Via::Http1 | Via::Http2 => {
                let stream = secure(&edge, "garden.example", b"http/1.1").await;
                let mut stream = stream.unwrap();
                stream.write_all(ASKED).await.unwrap();
                stream.read_exact(&mut first).await.unwrap();
                Box::new(stream)
            }
        };
        // Whoever does not read is cut.
        edge.running.drain(Duration::from_millis(500)).await;
        let taken = meter.take();
        assert_eq!(taken.totals.connections, 2, "{via:?}");
        let (requests, body, _) = figures(of(&taken, SITE, Class::Answer));
        let bare = of(&taken, SITE, Class::Bare).requests;
        assert_eq!(requests + bare, 2, "{via:?} {taken:?}");
        let most = taken.totals.wire.0.min(u64::try_from(BIG).unwrap());
        assert!(body >= 5 && body < most, "{via:?} {taken:?}");
        drop(held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_who_takes_too_little_is_counted_when_it_is_cut() {
    let (_blobs, edge) = start(Limits {
        slow_time: Duration::from_millis(200),
        ..Limits::default()
    });
    edge.forget_certificates();
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(ASKED).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    let taken = tokio::task::block_in_place(|| counted(&edge, 1));
    let (requests, body, credit) = figures(of(&taken, SITE, Class::Answer));
    assert_eq!((requests, credit), (1, body));
    // In the clear nothing is in doubt but the head.
    let wire = taken.totals.wire.0;
    assert!(body < wire && wire - body < 1000, "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_reset_has_what_it_got() {
    let (_blobs, edge) = start(Limits::default());
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    let request = visitor.request("GET", "garden.example", "/big.bin", &[]);
    let Visitor::Http2(sender) = &mut visitor else {
        panic!("connected by HTTP/2");
    };
    let response = sender.send_request(request).await.unwrap();
    drop(response);
    // The connection goes on.
    assert_eq!(visitor.get("/a.txt", &[]).await.status, 200);
    drop(visitor);
    let taken = tokio::task::block_in_place(|| counted(&edge, 1));
    let answers = of(&taken, SITE, Class::Answer);
    let bare = of(&taken, SITE, Class::Bare);
    assert_eq!(answers.requests + bare.requests, 2, "{taken:?}");
    assert!(
        (5..taken.totals.wire.0).contains(&answers.body.0),
        "{taken:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_counted_while_it_is_on_its_way() {
    let (_blobs, edge) = start(Limits::default());
    edge.forget_certificates();
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(ASKED).await.unwrap();
    stream.read_exact(&mut [0; 5000]).await.unwrap();
    let meter = edge.running.meter().clone();
    let since = verge_sync::clock::stopwatch();
    let early = loop {
        let taken = meter.take();
        if !taken.counts.is_empty() {
            break taken;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "it is looked at");
        tokio::task::yield_now().await;
    };
    assert_eq!(early.totals.connections, 0);
    let (requests, early_bytes, _) = figures(of(&early, SITE, Class::Answer));
    assert!(requests == 1 && early_bytes > 0);
    let mut rest = vec![0; BIG];
    while stream.read(&mut rest).await.unwrap() == rest.len() {}
    drop(stream);
    let late = tokio::task::block_in_place(|| counted(&edge, 1));
    let (requests, late_bytes, _) = figures(of(&late, SITE, Class::Answer));
    let all = u64::try_from(BIG).unwrap();
    assert!(requests == 0 && early_bytes + late_bytes <= all, "{late:?}");
}
