//! Each answer of http.md sections 1 and 4, on HTTP/1.1 and HTTP/2.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, File, decode, file, noise};
use crate::support::visitor::{Answer, SECURE, Via, Visitor, raw};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::Empty;
use sha2::{Digest as _, Sha256};
use std::fs;
use verge_edge::http::blob_file::Damage;
use verge_sync::manifest::Manifest;

const PAGE: &str = "<!doctype html><p>The garden is open on Sundays, and on Sundays only.</p>\n";

fn files() -> Vec<File> {
    let mut style = file("style.3f2a9c11.css", "body { color: green }\n".repeat(20));
    style.immutable = true;
    vec![
        file("index.html", PAGE.repeat(10)),
        file("404.html", "<p>Nothing grows here.</p>\n".repeat(10)),
        file("about.html", PAGE.repeat(20)),
        file("docs/index.html", PAGE.repeat(30)),
        file("docs/404.html", "<p>No such document.</p>\n".repeat(10)),
        file("caf\u{e9}.html", PAGE.repeat(5)),
        file("both.html", PAGE.repeat(6)),
        file("both/index.html", PAGE.repeat(7)),
        file("empty.txt", ""),
        file("photo.bin", noise(1, 100_000)),
        file("film.bin", noise(2, 3_000_000)),
        style,
    ]
}

fn bytes_of(path: &str) -> Vec<u8> {
    let all = files();
    all.into_iter()
        .find(|file| file.path == path)
        .unwrap()
        .bytes
}

fn start() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let version = blobs.publish(&files());
    let edge = Setup::default().start(&blobs, version);
    (blobs, edge)
}

#[tokio::test]
async fn every_path_has_its_answer_on_both_protocols() {
    let (_blobs, edge) = start();
    let rows: &[(&str, &str, u16, Option<&str>)] = &[
        ("GET", "/", 200, None),
        ("GET", "/about", 200, None),
        ("GET", "/about.html?a=b", 307, Some("/about?a=b")),
        ("GET", "/about/", 307, Some("/about")),
        ("GET", "/docs?x", 307, Some("/docs/?x")),
        ("GET", "/docs/index.html", 307, Some("/docs/")),
        ("GET", "/docs/index", 307, Some("/docs/")),
        ("GET", "/docs.html", 307, Some("/docs/")),
        ("GET", "/both", 200, None),
        ("GET", "/both/", 200, None),
        ("GET", "/both.html", 307, Some("/both")),
        ("GET", "/both/index.html", 307, Some("/both/")),
        ("GET", "/./about", 307, Some("/about")),
        ("GET", "//about", 308, Some("/about")),
        ("GET", "/%61bout", 308, Some("/about")),
        ("GET", "/caf%C3%A9", 200, None),
        ("GET", "/caf%c3%a9", 308, Some("/caf%C3%A9")),
        ("GET", "/%2e%2e/etc/passwd", 400, None),
        ("GET", "/a%2Fb", 400, None),
        ("GET", "/a%5Cb", 400, None),
        ("GET", "/a%00b", 400, None),
        ("GET", "/%C3", 400, None),
        ("GET", "/nothing", 404, None),
        ("GET", "/empty.txt", 200, None),
        ("GET", "/.well-known/acme-challenge/x", 404, None),
        ("GET", "/.well-known/verge/health", 200, None),
        ("GET", "/.well-known/verge/archive.tar", 404, None),
        ("HEAD", "/", 200, None),
        ("HEAD", "/nothing", 404, None),
        ("OPTIONS", "/", 204, None),
        ("POST", "/", 405, None),
        ("DELETE", "/about", 405, None),
        ("TRACE", "/", 405, None),
        ("BREW", "/", 405, None),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (method, target, status, location) in rows {
            let answer = visitor.ask(method, "garden.example", target, &[]).await;
            assert_eq!(answer.status, *status, "{via:?} {method} {target}");
            assert_eq!(
                answer.header("location"),
                *location,
                "{via:?} {method} {target}"
            );
            if *status == 405 || *status == 204 {
                assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
            }
        }
    }
}

#[tokio::test]
async fn each_coding_decodes_to_the_source() {
    let (_blobs, edge) = start();
    let paths = [
        ("/", "index.html"),
        ("/about", "about.html"),
        ("/docs/", "docs/index.html"),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (target, path) in paths {
            let mut tags = Vec::new();
            for coding in ["identity", "br", "zstd", "gzip"] {
                let answer = visitor.get(target, &[("accept-encoding", coding)]).await;
                let sent = answer.header("content-encoding").unwrap_or("identity");
                assert_eq!(sent, coding, "{target}");
                assert_eq!(
                    decode(coding, &answer.body),
                    bytes_of(path),
                    "{target} {coding}"
                );
                assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
                let length = answer.body.len().to_string();
                assert_eq!(answer.header("content-length"), Some(length.as_str()));
                assert_eq!(
                    answer.header("content-type"),
                    Some("text/html; charset=utf-8")
                );
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
                assert_eq!(
                    answer.header("last-modified"),
                    Some("Sun, 06 Nov 1994 08:49:37 GMT")
                );
                assert!(answer.header("date").is_some());
                tags.push(answer.header("etag").unwrap().to_owned());
            }
            tags.sort();
            tags.dedup();
            assert_eq!(tags.len(), 4, "{target}: one tag for each representation");
        }
    }
}

#[tokio::test]
async fn large_and_small_files_arrive_whole() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for path in ["photo.bin", "film.bin", "empty.txt"] {
            let answer = visitor.get(&format!("/{path}"), &[]).await;
            assert!(answer.body == bytes_of(path), "{path} differs");
            let length = answer.body.len().to_string();
            assert_eq!(
                answer.header("content-length"),
                Some(length.as_str()),
                "{path}"
            );
            assert_eq!(answer.header("vary"), None, "{path} has one representation");
        }
        let part = visitor
            .get("/film.bin", &[("range", "bytes=1000000-1500000")])
            .await;
        assert_eq!(part.status, 206);
        assert!(part.body == bytes_of("film.bin")[1_000_000..=1_500_000]);
        assert_eq!(
            part.header("content-range"),
            Some("bytes 1000000-1500000/3000000")
        );
        let part = visitor.get("/photo.bin", &[("range", "bytes=-10")]).await;
        assert!(part.body == bytes_of("photo.bin")[99_990..]);
        let none = visitor
            .get("/photo.bin", &[("range", "bytes=100000-")])
            .await;
        assert_eq!(none.status, 416);
    }
}

#[tokio::test]
async fn nothing_acceptable_is_406_but_never_for_what_is_not_there() {
    let (_blobs, edge) = start();
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    let refused = visitor
        .get("/", &[("accept-encoding", "identity;q=0, x")])
        .await;
    assert_eq!(refused.status, 406);
    assert_eq!(refused.header("vary"), Some("Accept-Encoding"));
    let missing = visitor
        .get("/no", &[("accept-encoding", "identity;q=0, x")])
        .await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.body, bytes_of("404.html"));
}

#[tokio::test]
async fn the_nearest_page_answers_for_what_is_not_there() {
    let (_blobs, edge) = start();
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    for (target, path) in [
        ("/no/where", "404.html"),
        ("/docs/no/where", "docs/404.html"),
    ] {
        let answer = visitor.get(target, &[("accept-encoding", "br")]).await;
        assert_eq!(answer.status, 404);
        assert_eq!(decode("br", &answer.body), bytes_of(path));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        let tag = answer.header("etag").unwrap().to_owned();
        let again = [("accept-encoding", "br"), ("if-none-match", tag.as_str())];
        assert_eq!(visitor.get(target, &again).await.status, 404, "never 304");
        assert_eq!(
            visitor.get(target, &[("range", "bytes=0-1")]).await.status,
            404
        );
    }
}

#[tokio::test]
async fn a_visitor_who_has_it_gets_304() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let first = visitor.get("/about", &[("accept-encoding", "gzip")]).await;
        let tag = first.header("etag").unwrap().to_owned();
        let same = [("accept-encoding", "gzip"), ("if-none-match", tag.as_str())];
        let second = visitor.get("/about", &same).await;
        assert_eq!(second.status, 304);
        for name in ["etag", "vary", "cache-control", "last-modified"] {
            assert_eq!(second.header(name), first.header(name), "{name}");
        }
        for name in ["content-type", "content-encoding", "content-length"] {
            assert_eq!(second.header(name), None, "{name}");
        }
        let other = [("accept-encoding", "br"), ("if-none-match", tag.as_str())];
        assert_eq!(
            visitor.get("/about", &other).await.status,
            200,
            "another representation"
        );
        let stale = [("if-match", "\"x\"")];
        assert_eq!(visitor.get("/about", &stale).await.status, 412);
    }
}

/// RFC 9110 section 5.6.7: three forms of a date; section 5.3: lines of one field are one list.
#[tokio::test]
async fn dates_of_every_form_and_tags_in_several_lines_count() {
    let (_blobs, edge) = start();
    let dates = [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 304),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("Sun Nov  6 08:49:37 1994", 304),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("Sunday, 06-Nov-94 08:49:36 GMT", 200),
        ("Sun Nov  6 08:49:36 1994", 200),
        ("06 Nov 1994 08:49:37", 200),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (date, status) in dates {
            let since = visitor.get("/about", &[("if-modified-since", date)]).await;
            assert_eq!(since.status, status, "{via:?} {date}");
            let unmodified = if date.contains("08:49:36") { 412 } else { 200 };
            let until = [("if-unmodified-since", date)];
            let until = visitor.get("/about", &until).await;
            assert_eq!(until.status, unmodified, "{via:?} {date}");
            let part = [("if-range", date), ("range", "bytes=0-1")];
            let status = if status == 304 { 206 } else { 200 };
            let part = visitor.get("/about", &part).await;
            assert_eq!(part.status, status, "{via:?} {date}");
        }
        let first = visitor.get("/about", &[]).await;
        let tag = first.header("etag").unwrap();
        let known = [("if-none-match", "\"x\""), ("if-none-match", tag)];
        assert_eq!(visitor.get("/about", &known).await.status, 304, "{via:?}");
        let known = [("if-match", "\"x\", \"y\""), ("if-match", tag)];
        assert_eq!(visitor.get("/about", &known).await.status, 200, "{via:?}");
        let other = [("if-none-match", "\"x\""), ("if-none-match", "W/\"y\"")];
        assert_eq!(visitor.get("/about", &other).await.status, 200, "{via:?}");
    }
}

/// RFC 9530: of the form that is sent, whichever part of it.
#[tokio::test]
async fn the_digest_that_is_asked_for_is_of_the_form_that_is_sent() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for coding in ["identity", "br", "zstd", "gzip"] {
            let asked = [
                ("accept-encoding", coding),
                ("want-repr-digest", "sha-256=1"),
            ];
            let whole = visitor.get("/about", &asked).await;
            let sum = STANDARD.encode(Sha256::digest(&whole.body));
            let digest = format!("sha-256=:{sum}:");
            let sent = whole.header("repr-digest");
            assert_eq!(sent, Some(digest.as_str()), "{via:?} {coding}");
            let part = [&asked[..], &[("range", "bytes=0-1")]].concat();
            let part = visitor.get("/about", &part).await;
            assert_eq!(part.status, 206);
            let sent = part.header("repr-digest");
            assert_eq!(sent, Some(digest.as_str()), "{via:?} {coding}");
            let unasked = [("accept-encoding", coding)];
            let unasked = visitor.get("/about", &unasked).await;
            assert_eq!(unasked.header("repr-digest"), None);
        }
    }
}

#[tokio::test]
async fn expectations_and_tunnels_have_their_answers_on_both_protocols() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (expected, status) in [("100-continue", 200), ("a-pony", 417)] {
            let answer = visitor.get("/", &[("expect", expected)]).await;
            assert_eq!(answer.status, status, "{via:?} {expected}");
        }
    }
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    let tunnel = Request::builder()
        .method("CONNECT")
        .uri("other.example:443");
    let answer = visitor.send(tunnel.body(Empty::new()).unwrap()).await;
    assert_eq!(answer.unwrap().status, 405);
    assert_eq!(visitor.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn only_proven_names_are_kept_for_good() {
    let (_blobs, edge) = start();
    let mut visitor = Visitor::connect(&edge, Via::Http1, "garden.example").await;
    let style = visitor.get("/style.3f2a9c11.css", &[]).await;
    assert_eq!(
        style.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    let page = visitor.get("/", &[]).await;
    assert_eq!(
        page.header("cache-control"),
        Some("public, max-age=0, must-revalidate")
    );
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for target in [
            "/",
            "/film.bin",
            "/nothing",
            "/empty.txt",
            "/about.html",
            "/a%2Fb",
        ] {
            let wanted = [("accept-encoding", "br"), ("want-repr-digest", "sha-256=1")];
            let get = visitor.get(target, &wanted).await;
            let head = visitor.ask("HEAD", "garden.example", target, &wanted).await;
            assert_eq!(head.status, get.status, "{target}");
            assert!(head.body.is_empty(), "{target}");
            let sorted = |answer: &Answer| {
                let mut lines: Vec<String> = answer
                    .headers
                    .iter()
                    .filter(|(name, _value)| *name != "date")
                    .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                    .collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(&head), sorted(&get), "{via:?} {target}");
        }
    }
}

#[tokio::test]
async fn hosts_are_told_apart() {
    let (_blobs, edge) = start();
    edge.forget_certificates();
    let rows: &[(&str, &str)] = &[
        ("GET / HTTP/1.1\r\nHost: garden.example\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: GARDEN.example.:80\r\n", "200"),
        (
            "GET http://garden.example/ HTTP/1.1\r\nHost: garden.example\r\n",
            "200",
        ),
        (
            "GET http://garden.example/ HTTP/1.1\r\nHost: other.example\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nHost: other.example\r\n", "421"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", "421"),
        ("GET / HTTP/1.1\r\nHost: \r\n", "421"),
        // International names are asked for as A-labels.
        ("GET / HTTP/1.1\r\nHost: xn--grten-gra.example\r\n", "421"),
        ("GET / HTTP/1.1\r\nHost: g\u{e4}rten.example\r\n", "400"),
        ("GET / HTTP/1.1\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nHost: garden.example\r\n",
            "400",
        ),
        ("GET / HTTP/1.0\r\n", "421"),
        ("GET / HTTP/1.0\r\nHost: garden.example\r\n", "200"),
        ("OPTIONS * HTTP/1.1\r\nHost: garden.example\r\n", "204"),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nContent-Length: 0\r\n",
            "200",
        ),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nContent-Length: 5\r\n",
            "413",
        ),
        (
            "POST / HTTP/1.1\r\nHost: garden.example\r\nContent-Length: 5\r\n",
            "405",
        ),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nExpect: 100-continue\r\n",
            "200",
        ),
        (
            "GET / HTTP/1.1\r\nHost: garden.example\r\nExpect: magic\r\n",
            "417",
        ),
    ];
    for (head, status) in rows {
        let answer = raw(&edge, format!("{head}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(*status), "{head}\n{answer}");
    }
}

#[tokio::test]
async fn a_damaged_blob_is_never_served() {
    let (blobs, edge) = start();
    let version = blobs.publish(&files());
    let bytes = fs::read(blobs.blob_path(version.digest())).unwrap();
    let manifest = Manifest::decode(bytes).unwrap();
    let packed = manifest.find("about.html").unwrap().identity();
    let big = manifest.find("film.bin").unwrap().identity();
    let mut damaged = Vec::new();
    for representation in [packed, big] {
        let place = representation.location.unwrap();
        let blob = manifest.blob(place.blob_index).unwrap().digest;
        let mut bytes = fs::read(blobs.blob_path(blob)).unwrap();
        let end = usize::try_from(place.offset + representation.length).unwrap();
        bytes[end - 1] ^= 1;
        fs::write(blobs.blob_path(blob), bytes).unwrap();
        damaged.push(Damage::Mismatch { blob });
    }
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        assert_eq!(visitor.get("/about", &[]).await.status, 503);
        let film = visitor.request("GET", "garden.example", "/film.bin", &[]);
        assert!(
            visitor.send(film).await.is_err(),
            "a broken transfer, not a wrong file"
        );
    }
    assert_eq!(
        *edge.damages.lock().unwrap(),
        [damaged.clone(), damaged].concat()
    );
}

#[tokio::test]
async fn a_missing_blob_is_503_and_reported() {
    let (blobs, edge) = start();
    let version = blobs.publish(&[file("index.html", "new")]);
    fs::remove_file(blobs.blob_path(version.digest())).unwrap();
    edge.show("garden.example", version);
    let mut visitor = Visitor::connect(&edge, Via::Http1, "garden.example").await;
    let answer = visitor.get("/", &[]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let blob = version.digest();
    assert_eq!(*edge.damages.lock().unwrap(), [Damage::Unreadable { blob }]);
}

#[tokio::test]
async fn a_damaged_manifest_is_503_and_reported() {
    let (blobs, edge) = start();
    let version = blobs.publish(&[file("index.html", "new")]);
    let blob = version.digest();
    let mut bytes = fs::read(blobs.blob_path(blob)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(blobs.blob_path(blob), bytes).unwrap();
    edge.show("garden.example", version);
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    assert_eq!(visitor.get("/", &[]).await.status, 503);
    assert_eq!(*edge.damages.lock().unwrap(), [Damage::Mismatch { blob }]);
}

#[tokio::test]
async fn health_says_which_version_is_shown() {
    let (_blobs, edge) = start();
    let mut visitor = Visitor::connect(&edge, Via::Http1, "garden.example").await;
    let answer = visitor.get("/.well-known/verge/health", &[]).await;
    let site = edge.sites.find(&"garden.example".parse().unwrap()).unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.starts_with("{\"ok\":true,"), "{text}");
    assert!(text.contains(&site.version.to_string()), "{text}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}
