//! What is remembered of files that are visited changes no answer.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file, noise};
use crate::support::visitor::{Answer, Via, Visitor};
use std::fs;
use verge_edge::http::blob_file::Damage;

const EVERY_WAY: [Via; 3] = [Via::Plain, Via::Http1, Via::Http2];
/// In memory; not in memory; and shorter than is worth mapping, behind the former.
const LENGTHS: [(&str, usize); 3] = [
    ("photo.bin", 200_000),
    ("film.bin", 3_000_000),
    ("short.bin", 300_000),
];
const TYPE_OF_PARTS: &str = "multipart/byteranges; boundary=";

fn start(blobs: &Blobs) -> TestEdge {
    let page = "<!doctype html><p>The garden is open on Sundays.</p>\n".repeat(40);
    let mut files = vec![file("index.html", page.clone()), file("about.html", page)];
    files.extend(LENGTHS.map(|(path, length)| file(path, noise(3, length))));
    let version = blobs.publish(&files);
    Setup::default().start(blobs, version)
}

async fn visitor(edge: &TestEdge, via: Via) -> Visitor {
    if via == Via::Plain {
        edge.forget_certificates();
    }
    Visitor::connect(edge, via, "garden.example").await
}

/// All of it but the name of what parts are parted by, which is another each time.
fn shown(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = value.to_str().unwrap();
        let is_of_parts = value.starts_with(TYPE_OF_PARTS);
        let value = if is_of_parts { TYPE_OF_PARTS } else { value };
        format!("{name}: {value}")
    };
    let fields = answer.headers.iter();
    let fields = fields.filter(|(name, _)| *name != "date").map(field);
    let is_parted = answer
        .header("content-type")
        .is_some_and(|t| t.starts_with(TYPE_OF_PARTS));
    let body = if is_parted {
        Vec::new()
    } else {
        answer.body.to_vec()
    };
    (answer.status.as_u16(), fields.collect(), body)
}

#[tokio::test]
async fn an_answer_is_the_same_the_first_time_and_later() {
    let early = "Sun, 06 Nov 1994 08:49:36 GMT";
    let asked: &[(&str, &[(&str, &str)])] = &[
        ("/about", &[]),
        ("/about", &[("accept-encoding", "gzip, br")]),
        ("/about", &[("accept-encoding", "gzip;q=1, br;q=0.5")]),
        ("/about", &[("accept-encoding", "identity;q=0")]),
        ("/about", &[("accept-encoding", "*;q=0")]),
        ("/about", &[("if-none-match", "*")]),
        ("/about", &[("if-none-match", "\"x\"")]),
        ("/about", &[("if-match", "\"x\"")]),
        ("/about", &[("if-modified-since", early)]),
        ("/about", &[("range", "bytes=0-9")]),
        ("/about", &[("range", "bytes=999999-")]),
        ("/about", &[("want-repr-digest", "sha-256=1")]),
        ("/about?query", &[]),
        ("/", &[]),
        ("/about/", &[]),
        ("/nothing", &[]),
    ];
    for via in EVERY_WAY {
        let blobs = Blobs::new();
        for method in ["GET", "HEAD"] {
            for (target, headers) in asked {
                // Nobody asked before.
                let first = start(&blobs);
                let mut visitor_of = visitor(&first, via).await;
                let new = visitor_of
                    .ask(method, "garden.example", target, headers)
                    .await;
                // Somebody did, for all that follows.
                let plain = visitor_of.ask("GET", "garden.example", "/about", &[]).await;
                assert_eq!(plain.status, 200);
                let again = visitor_of
                    .ask(method, "garden.example", target, headers)
                    .await;
                assert_eq!(
                    shown(&new),
                    shown(&again),
                    "{via:?} {method} {target} {headers:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn large_files_come_whole_and_in_parts_each_time() {
    for via in EVERY_WAY {
        let blobs = Blobs::new();
        let edge = start(&blobs);
        let mut visitor = visitor(&edge, via).await;
        for (path, length) in LENGTHS {
            let (target, whole) = (format!("/{path}"), noise(3, length));
            for time in 0..3 {
                let answer = visitor.get(&target, &[]).await;
                assert!(answer.body == whole, "{via:?} {path} time {time}");
                let parts = [
                    (0, length - 1),
                    (1, 70_000),
                    (length / 3, length - 2),
                    (length - 1, length - 1),
                ];
                for (first, last) in parts {
                    let range = format!("bytes={first}-{last}");
                    let answer = visitor.get(&target, &[("range", &range)]).await;
                    assert_eq!(answer.status, 206);
                    assert!(answer.body == whole[first..=last], "{via:?} {path} {range}");
                }
                let both = format!("bytes=0-99999,{}-{}", length / 2, length - 1);
                let answer = visitor.get(&target, &[("range", &both)]).await;
                let held = |part: &[u8]| answer.body.windows(part.len()).any(|at| at == part);
                assert!(
                    held(&whole[..100_000]) && held(&whole[length / 2..]),
                    "{via:?} {path}"
                );
            }
        }
        assert!(edge.damages.lock().unwrap().is_empty());
    }
}

/// A file that was found whole is compared again once it was written into.
#[tokio::test]
async fn what_was_whole_and_no_longer_is_is_not_served() {
    for via in EVERY_WAY {
        let blobs = Blobs::new();
        let edge = start(&blobs);
        let mut visitor = visitor(&edge, via).await;
        let (path, length) = LENGTHS[1];
        let whole = noise(3, length);
        for _ in 0..2 {
            assert!(visitor.get("/film.bin", &[]).await.body == whole);
        }
        let named = |path: &fs::DirEntry| fs::read(path.path()).unwrap() == whole;
        let files = fs::read_dir(blobs.path()).unwrap().map(Result::unwrap);
        let blob = files.into_iter().find(named).unwrap().path();
        let mut damaged = whole.clone();
        damaged[length - 1] ^= 1;
        fs::write(&blob, damaged).unwrap();
        let range = [("range", "bytes=0-9")];
        assert_eq!(
            visitor.get("/film.bin", &range).await.status,
            503,
            "{via:?}"
        );
        let film = visitor.request("GET", "garden.example", "/film.bin", &[]);
        assert!(visitor.send(film).await.is_err(), "{via:?} {path}");
        let damages = edge.damages.lock().unwrap().clone();
        assert!(matches!(
            damages[..],
            [Damage::Mismatch { .. }, Damage::Mismatch { .. }]
        ));
    }
}
