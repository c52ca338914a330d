//! Which answers are counted, as what, and which are not.

use crate::support::edge::{Setup, TestEdge, site_at};
use crate::support::sample::{Blobs, encode, file, noise};
use crate::support::visitor::{Via, Visitor, raw};
use crate::{SITE, counted, figures, is_empty, of};
use std::collections::HashMap;
use verge_builder::rules::RuleFiles;
use verge_edge::accounting::figures::Class;
use verge_edge::addresses::Proxies;
use verge_edge::sites::SiteAt;
use verge_sync::SiteId;
use verge_sync::manifest::Coding;

const BIG: usize = 200_000;
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

fn page() -> Vec<u8> {
    "<p>A page that can be made smaller."
        .repeat(100)
        .into_bytes()
}

fn start() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let files = [
        file("index.html", page()),
        file("404.html", "<p>not here"),
        file("big.bin", noise(1, BIG)),
        file("empty.bin", ""),
    ];
    let rules = RuleFiles {
        redirects: Some(b"/old /big.bin 302\n/gone /404.html 410\n/all/* /big.bin 200".to_vec()),
        ..RuleFiles::default()
    };
    let version = blobs.publish_with(&files, &rules);
    let edge = Setup::default().start(&blobs, version);
    (blobs, edge)
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

/// Class, requests, body, credit.
type Row = (Class, u64, u64, u64);
type Lines<'a> = &'a [(&'a str, &'a str)];

/// What one request on a connection of its own counts.
async fn ask(
    edge: &TestEdge,
    via: Via,
    (method, path, headers): (&str, &str, Lines<'_>),
) -> Vec<Row> {
    let mut visitor = Visitor::connect(edge, via, "garden.example").await;
    drop(visitor.ask(method, "garden.example", path, headers).await);
    drop(visitor);
    let taken = tokio::task::block_in_place(|| counted(edge, 1));
    assert!(taken.totals.wire.0 > 0 && taken.totals.errors == 0);
    let rows = taken.counts.iter().map(|((site, class), count)| {
        assert_eq!(*site, SITE);
        let (requests, body, credit) = figures(*count);
        (*class, requests, body, credit)
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_class() {
    let (_blobs, edge) = start();
    let page_bytes = length(page().len());
    let small = [Coding::Brotli, Coding::Zstd, Coding::Gzip].map(|coding| encode(coding, &page()));
    let [_, _, gzip] = &small;
    let gzip_bytes = length(gzip.len());
    let smallest = length(small.iter().map(Vec::len).min().unwrap());
    let big = length(BIG);
    let bot: Lines<'_> = &[("user-agent", "Mozilla/5.0 (compatible; Examplebot/1.0)")];
    let firefox: Lines<'_> = &[("user-agent", FIREFOX)];
    let gzipped: Lines<'_> = &[("accept-encoding", "gzip")];
    let known: Lines<'_> = &[("if-none-match", "*")];
    let part: Lines<'_> = &[("range", "bytes=0-99")];
    let parts: Lines<'_> = &[("range", "bytes=0-999,100000-100999")];
    let answer = |body, credit| (Class::Answer, 1, body, credit);
    let rows = [
        // Served uncompressed or compressed, the same is earned.
        (("GET", "/", firefox), answer(page_bytes, smallest)),
        (("GET", "/", gzipped), answer(gzip_bytes, smallest)),
        (("GET", "/", part), answer(100, 100 * smallest / page_bytes)),
        (("GET", "/big.bin", &[]), answer(big, big)),
        (("GET", "/all/x", &[]), answer(big, big)),
        (("GET", "/big.bin", part), answer(100, 100)),
        (("GET", "/big.bin", parts), answer(2_000, 2_000)),
        (("HEAD", "/big.bin", &[]), (Class::Bare, 1, 0, 0)),
        (("GET", "/big.bin", known), (Class::Bare, 1, 0, 0)),
        (("GET", "/empty.bin", &[]), (Class::Bare, 1, 0, 0)),
        (("GET", "/big.bin", bot), (Class::Bot, 1, big, big)),
        (("HEAD", "/big.bin", bot), (Class::Bot, 1, 0, 0)),
    ];
    for via in [Via::Http1, Via::Http2] {
        for (request, expected) in rows {
            let shown = ask(&edge, via, request).await;
            assert_eq!(shown, [expected], "{via:?} {request:?}");
        }
    }
    assert!(is_empty(edge.running.meter().take().totals));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_page_of_the_site_is_not_counted() {
    let (_blobs, edge) = start();
    let rows: [(&str, &str, Lines<'_>); 11] = [
        ("GET", "/old", &[]),
        ("GET", "/index.html", &[]),
        ("GET", "/nowhere", &[]),
        ("HEAD", "/nowhere", &[]),
        ("GET", "/gone", &[]),
        ("POST", "/", &[]),
        ("OPTIONS", "/", &[]),
        ("GET", "/big.bin", &[("range", "bytes=999999-")]),
        ("GET", "/", &[("accept-encoding", "*;q=0")]),
        ("GET", "/.well-known/verge/health", &[]),
        ("GET", "/.well-known/acme-challenge/token", &[]),
    ];
    for via in [Via::Http1, Via::Http2] {
        for request in rows {
            let shown = ask(&edge, via, request).await;
            assert_eq!(shown, [], "{via:?} {request:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_site_answers_is_the_nodes_own() {
    let (blobs, edge) = start();
    edge.forget_certificates();
    let unknown = "GET / HTTP/1.1\r\nhost: who.example\r\nconnection: close\r\n\r\n";
    assert!(raw(&edge, unknown.as_bytes()).await.contains("421"));
    assert!(
        raw(&edge, b"GET / HTTP/1.1\r\n\r\n")
            .await
            .contains(" 400 ")
    );
    let taken = tokio::task::block_in_place(|| counted(&edge, 2));
    assert!(taken.counts.is_empty(), "{taken:?}");
    // A file that is away is an error of ours.
    for entry in std::fs::read_dir(blobs.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let known = "GET / HTTP/1.1\r\nhost: garden.example\r\nconnection: close\r\n\r\n";
    assert!(raw(&edge, known.as_bytes()).await.contains(" 503 "));
    let taken = tokio::task::block_in_place(|| counted(&edge, 1));
    assert!(taken.counts.is_empty(), "{taken:?}");
    assert_eq!(taken.totals.errors, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sites_on_one_connection_are_told_apart() {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("big.bin", noise(1, BIG)), file("a.txt", "a")]);
    let hosts = ["one.example", "two.example"];
    // A proxy may ask for all sites on one connection, whatever name it shook hands with.
    let setup = Setup {
        hosts: hosts.to_vec(),
        proxies: Proxies {
            forwarded_from: vec!["127.0.0.0/8".parse().unwrap()],
            ..Proxies::default()
        },
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    assert!(edge.running.is_behind_proxy());
    let at = |byte| SiteAt {
        site: SiteId::from_bytes([byte; 32]),
        ..site_at(version)
    };
    edge.sites.replace(HashMap::from([
        (hosts[0].parse().unwrap(), at(1)),
        (hosts[1].parse().unwrap(), at(2)),
    ]));
    let told = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
    ];
    for via in [Via::Plain, Via::Http1, Via::Http2] {
        let mut visitor = Visitor::connect(&edge, via, hosts[0]).await;
        for (host, path) in [
            (0, "/big.bin"),
            (1, "/a.txt"),
            (1, "/big.bin"),
            (0, "/a.txt"),
        ] {
            let answer = visitor.ask("GET", hosts[host], path, &told).await;
            assert_eq!(answer.status, 200, "{via:?} {path}");
        }
        drop(visitor);
        let taken = tokio::task::block_in_place(|| counted(&edge, 1));
        let big = length(BIG) + 1;
        for byte in [1, 2] {
            let count = of(&taken, SiteId::from_bytes([byte; 32]), Class::Answer);
            assert_eq!(figures(count), (2, big, big), "{via:?}");
        }
    }
}
