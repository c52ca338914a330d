//! Requests that no honest visitor sends: never a 500, never another site's bytes.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file};
use crate::support::visitor::{SECURE, Visitor, raw};
use verge_builder::rules::RuleFiles;

const PAGE: &str = "<p>garden</p>\n";

fn start() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let name: String = (0..10).map(|_| format!("/{}", "n".repeat(249))).collect();
    let name = Box::leak(name[1..].to_owned().into_boxed_str());
    assert_eq!(name.len(), 2_499);
    let files = [
        file("index.html", PAGE.repeat(50)),
        file("404.html", "<p>none</p>\n".repeat(50)),
        file("caf\u{e9}.html", PAGE.repeat(60)),
        file(name, "far"),
    ];
    let rules = RuleFiles {
        headers: Some("/*\n  X-Garden: yes\n".into()),
        redirects: Some(
            "/r/:x/* /t/:x/:splat\n/q q=:q /t/:q\n/g/* /:splat/:splat/:splat/:splat\n".into(),
        ),
    };
    let version = blobs.publish_with(&files, &rules);
    let edge = Setup::default().start(&blobs, version);
    (blobs, edge)
}

#[tokio::test]
async fn every_byte_in_a_path_has_an_answer() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for byte in 0..=255_u8 {
            for target in [
                format!("/%{byte:02x}"),
                format!("/a%{byte:02X}b/"),
                format!("/r/%{byte:02x}/%{byte:02x}"),
                format!("/q?q=%{byte:02x}"),
                format!("/?%{byte:02x}"),
            ] {
                let answer = visitor.get(&target, &[]).await;
                let status = answer.status.as_u16();
                assert!(
                    [200, 301, 307, 308, 400, 404].contains(&status),
                    "{target} {status}"
                );
                if let Some(location) = answer.header("location") {
                    assert!(location.bytes().all(|b| b.is_ascii_graphic()), "{location}");
                    assert!(!location.starts_with("//"), "{location}");
                }
            }
        }
    }
}

#[tokio::test]
async fn every_raw_byte_in_a_target_has_an_answer() {
    let (_blobs, edge) = start();
    edge.forget_certificates();
    for byte in 0..=255_u8 {
        let mut request = b"GET /a".to_vec();
        request.push(byte);
        request
            .extend_from_slice(b"b HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n\r\n");
        let answer = raw(&edge, &request).await;
        let status = answer.split(' ').nth(1).unwrap_or("closed");
        let known = ["200", "301", "307", "308", "400", "404", "505", "closed"];
        assert!(known.contains(&status), "{byte:#x}: {answer}");
    }
}

#[tokio::test]
async fn long_and_composed_names_are_found() {
    let (_blobs, edge) = start();
    let long: String = (0..10).map(|_| format!("/{}", "n".repeat(249))).collect();
    let rows = [
        (long.as_str(), 200, None),
        ("/caf%C3%A9", 200, None),
        ("/cafe%CC%81", 308, Some("/caf%C3%A9")),
        ("/CAF%C3%89", 404, None),
        ("/a%0D%0Ab.txt", 404, None),
        ("/%ff", 400, None),
        ("/%c0%af", 400, None),
        ("/%ed%a0%80", 400, None),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (target, status, location) in rows {
            let answer = visitor.get(target, &[]).await;
            assert_eq!(answer.status, status, "{target}");
            assert_eq!(answer.header("location"), location, "{target}");
        }
        let missing = format!("/{}", "x/".repeat(2_000));
        assert_eq!(visitor.get(&missing, &[]).await.status, 404);
    }
}

/// A target of 24 times what was asked for was sent: 200 KB that no room was taken for, for each of a
/// hundred streams.
#[tokio::test]
async fn what_grows_in_a_location_has_an_end() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (length, status) in [(4_000, 301), (4_100, 414), (8_000, 414)] {
            let target = format!("/g/{}", "x".repeat(length));
            let answer = visitor.get(&target, &[]).await;
            assert_eq!(answer.status, status, "{via:?} {length}");
            let location = answer.header("location").map_or(0, str::len);
            assert!(location <= 16 << 10, "{via:?} {length}");
        }
        assert_eq!(visitor.get("/", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn long_header_values_are_read_to_their_end() {
    let (_blobs, edge) = start();
    let accept = format!("{}br", "nothing;q=0.5, ".repeat(540));
    assert!(accept.len() > 8_000 && accept.len() < 8_192);
    let tags = format!("{}*", "\"x\", ".repeat(1_500));
    let ranges: String = (0..1_500).map(|at| format!("{at}-{at},")).collect();
    let languages = "xx-yy;q=0.3, ".repeat(600);
    let digests = format!("{}sha-256=3", "x=1, ".repeat(1_500));
    let rows: [(&str, &str, u16); 6] = [
        ("accept-encoding", &accept, 200),
        ("if-none-match", &tags, 200),
        ("if-match", &tags, 412),
        ("range", &format!("bytes={ranges}0-0"), 200),
        ("accept-language", &languages, 200),
        ("want-repr-digest", &digests, 200),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (name, value, status) in rows {
            let answer = visitor.get("/", &[(name, value)]).await;
            assert_eq!(answer.status, status, "{name}");
            match name {
                "accept-encoding" => assert_eq!(answer.header("content-encoding"), Some("br")),
                "want-repr-digest" => assert!(answer.header("repr-digest").is_some()),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_ranges_cost_nothing() {
    let (_blobs, edge) = start();
    edge.forget_certificates();
    let ranges = "0-0,".repeat(100_000);
    let head = "GET / HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n";
    let answer = raw(
        &edge,
        format!("{head}Range: bytes={ranges}\r\n\r\n").as_bytes(),
    )
    .await;
    let status = answer.split(' ').nth(1).unwrap_or("closed");
    assert!(["431", "400", "closed"].contains(&status), "{answer}");
}
