//! Parts of files over real sockets (http.md section 5; RFC 9110 sections 13.2.2 and 14).

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, decode, file, noise};
use crate::support::visitor::{Answer, SECURE, Visitor};

const SEEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SMALL_BYTES: usize = 50_000;
const BIG_BYTES: usize = 700_000;

fn start() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let files = [
        file("small.bin", noise(1, SMALL_BYTES)),
        file("big.bin", noise(2, BIG_BYTES)),
        file(
            "page.html",
            "<p>a page that is compressed</p>\n".repeat(3_000),
        ),
    ];
    let version = blobs.publish(&files);
    let edge = Setup::default().start(&blobs, version);
    (blobs, edge)
}

/// The parts of a multipart answer: `Content-Range` and bytes.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let kind = answer.header("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let open = format!("--{boundary}\r\n").into_bytes();
    let close = format!("\r\n--{boundary}--\r\n").into_bytes();
    let body = answer.body.strip_prefix(open.as_slice()).unwrap();
    let mut rest = body.strip_suffix(close.as_slice()).unwrap();
    let separator = [b"\r\n", open.as_slice()].concat();
    let mut parts = Vec::new();
    loop {
        let end = find(rest, &separator);
        let part = &rest[..end.unwrap_or(rest.len())];
        let head_end = find(part, b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&part[..head_end]).unwrap();
        let range = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Range: "));
        assert!(head.contains("Content-Type: "), "{head}");
        parts.push((range.unwrap().to_owned(), part[head_end + 4..].to_vec()));
        let Some(end) = end else { return parts };
        rest = &rest[end + separator.len()..];
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[tokio::test]
async fn several_parts_arrive_as_they_were_asked_for() {
    let (_blobs, edge) = start();
    let files = [
        ("/small.bin", noise(1, SMALL_BYTES)),
        ("/big.bin", noise(2, BIG_BYTES)),
    ];
    let rows: &[(&str, &[(usize, usize)])] = &[
        ("bytes=0-0,1000-1999", &[(0, 0), (1000, 1999)]),
        (
            "bytes=-5,100-200, 40000-44999",
            &[(usize::MAX, 5), (100, 200), (40_000, 44_999)],
        ),
        (
            "bytes=30000-30001,0-9,30002-30100",
            &[(30_000, 30_100), (0, 9)],
        ),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (target, bytes) in &files {
            for (range, expected) in rows {
                let answer = visitor.get(target, &[("range", range)]).await;
                assert_eq!(answer.status, 206, "{target} {range}");
                let length = answer.body.len().to_string();
                assert_eq!(answer.header("content-length"), Some(length.as_str()));
                assert_eq!(answer.header("content-range"), None);
                let expected: Vec<_> = expected
                    .iter()
                    .map(|(first, last)| match *first {
                        usize::MAX => (bytes.len() - last, bytes.len() - 1),
                        first => (first, *last),
                    })
                    .map(|(first, last)| {
                        let range = format!("bytes {first}-{last}/{}", bytes.len());
                        (range, bytes[first..=last].to_vec())
                    })
                    .collect();
                assert!(parts(&answer) == expected, "{via:?} {target} {range}");
            }
        }
    }
}

#[tokio::test]
async fn a_set_of_ranges_gets_what_it_is_worth() {
    let (_blobs, edge) = start();
    let many = |count: usize, step: usize| {
        let ranges: Vec<String> = (0..count).map(|at| format!("{0}-{0}", at * step)).collect();
        format!("bytes={}", ranges.join(","))
    };
    let rows: &[(&str, u16, Option<&str>)] = &[
        ("bytes=0-9,5-20", 206, Some("bytes 0-20/50000")),
        ("bytes=0-9,10-20", 206, Some("bytes 0-20/50000")),
        ("bytes=0-9,89-99", 206, Some("bytes 0-99/50000")),
        ("bytes=0-9,50000-", 206, Some("bytes 0-9/50000")),
        ("bytes=0-9,5-20,15-30", 200, None),
        ("bytes=50000-,60000-", 416, Some("bytes */50000")),
        ("bytes=50000-", 416, Some("bytes */50000")),
        ("bytes=0-9,a", 200, None),
        ("items=0-9", 200, None),
        ("bytes=9-0", 200, None),
        (&many(16, 1000), 206, None),
        (&many(17, 1000), 200, None),
        (&many(100, 1), 206, Some("bytes 0-99/50000")),
        (&many(101, 1), 200, None),
        (&many(1_200, 2), 200, None),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (range, status, content_range) in rows {
            let answer = visitor.get("/small.bin", &[("range", range)]).await;
            assert_eq!(answer.status, *status, "{range}");
            assert_eq!(answer.header("content-range"), *content_range, "{range}");
            let length = answer.body.len().to_string();
            if *status != 416 {
                assert_eq!(
                    answer.header("content-length"),
                    Some(length.as_str()),
                    "{range}"
                );
            }
        }
        let head = [("range", "bytes=0-9,1000-1009")];
        let head = visitor
            .ask("HEAD", "garden.example", "/small.bin", &head)
            .await;
        assert_eq!(head.status, 200, "HEAD has no ranges");
        assert_eq!(head.header("content-length"), Some("50000"));
    }
}

#[tokio::test]
async fn a_part_is_one_of_the_representation_that_was_chosen() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for coding in ["identity", "br", "zstd", "gzip"] {
            let accept = ("accept-encoding", coding);
            let whole = visitor.get("/page", &[accept]).await;
            let tag = whole.header("etag").unwrap();
            let middle = whole.body.len() / 2;
            let first = format!("bytes=0-{}", middle - 1);
            let rest = format!("bytes={middle}-");
            let mut joined = Vec::new();
            for range in [&first, &rest] {
                let asked = [accept, ("range", range.as_str()), ("if-range", tag)];
                let part = visitor.get("/page", &asked).await;
                assert_eq!(part.status, 206, "{coding}");
                assert_eq!(
                    part.header("content-encoding"),
                    whole.header("content-encoding")
                );
                assert_eq!(part.header("etag"), Some(tag));
                assert_eq!(part.header("vary"), Some("Accept-Encoding"));
                joined.extend_from_slice(&part.body);
            }
            assert_eq!(decode(coding, &joined), decode(coding, &whole.body));
        }
    }
}

#[tokio::test]
async fn preconditions_are_asked_in_the_order_of_rfc_9110() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let tag = visitor.get("/small.bin", &[]).await;
        let tag = tag.header("etag").unwrap().to_owned();
        let weak = format!("W/{tag}");
        let (tag, weak) = (tag.as_str(), weak.as_str());
        let part = ("range", "bytes=0-9");
        let rows: &[(&[(&str, &str)], u16)] = &[
            (&[("if-match", tag)], 200),
            (&[("if-match", "*")], 200),
            (&[("if-match", weak)], 412),
            (&[("if-match", "\"x\"")], 412),
            (&[("if-match", tag), ("if-unmodified-since", BEFORE)], 200),
            (&[("if-unmodified-since", SEEN)], 200),
            (&[("if-unmodified-since", BEFORE)], 412),
            (&[("if-unmodified-since", "yesterday")], 200),
            (&[("if-none-match", tag)], 304),
            (&[("if-none-match", weak)], 304),
            (&[("if-none-match", "*")], 304),
            (
                &[("if-none-match", "\"x\""), ("if-modified-since", LATER)],
                200,
            ),
            (&[("if-modified-since", SEEN)], 304),
            (&[("if-modified-since", BEFORE)], 200),
            (&[("if-match", "\"x\""), ("if-none-match", tag)], 412),
            (&[("if-match", tag), ("if-none-match", tag)], 304),
            (&[("if-none-match", tag), part], 304),
            (&[part], 206),
            (&[part, ("if-match", tag)], 206),
            (&[part, ("if-match", "\"x\"")], 412),
            (&[part, ("if-range", tag)], 206),
            (&[part, ("if-range", weak)], 200),
            (&[part, ("if-range", "\"x\"")], 200),
            (&[part, ("if-range", SEEN)], 206),
            (&[part, ("if-range", LATER)], 200),
            (&[part, ("if-range", BEFORE)], 200),
            (&[("range", "bytes=60000-"), ("if-range", "\"x\"")], 200),
            (&[("range", "bytes=60000-"), ("if-none-match", tag)], 304),
            (&[("range", "bytes=60000-")], 416),
            (&[("if-range", "\"x\"")], 200),
        ];
        for (headers, status) in rows {
            let answer = visitor.get("/small.bin", headers).await;
            assert_eq!(answer.status, *status, "{via:?} {headers:?}");
        }
        for target in ["/none", "/page.html"] {
            for headers in [("if-match", "\"x\""), ("if-none-match", "*"), part] {
                let answer = visitor.get(target, &[headers]).await;
                let plain = visitor.get(target, &[]).await;
                assert_eq!(answer.status, plain.status, "{target} {headers:?}");
            }
        }
    }
}
