//! The faults of other hosts that must stay absent (http.md section 7), one test each.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, decode, file, noise};
use crate::support::visitor::{Answer, SECURE, Visitor};
use std::collections::BTreeSet;
use verge_builder::rules::RuleFiles;

const PAGE: &str = "<p>Words that repeat, and repeat, and repeat.</p>\n";
const CODINGS: [&str; 4] = ["identity", "br", "zstd", "gzip"];

fn edge_with(redirects: &str, page: &str) -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let version = blobs.publish_with(&files(page), &rules(redirects));
    let edge = Setup::default().start(&blobs, version);
    (blobs, edge)
}

fn files(page: &str) -> Vec<crate::support::sample::File> {
    vec![
        file("index.html", page.repeat(50)),
        file("about.html", PAGE.repeat(40)),
        file("docs/index.html", PAGE.repeat(30)),
        file("assets/app.js.txt", PAGE.repeat(20)),
        // Its stored codings are longer than itself.
        file("noise.txt", noise(4, 300)),
        file("404.html", PAGE.repeat(10)),
    ]
}

fn rules(redirects: &str) -> RuleFiles {
    RuleFiles {
        headers: None,
        redirects: Some(redirects.into()),
    }
}

async fn coded(visitor: &mut Visitor, target: &str, coding: &str) -> Answer {
    visitor.get(target, &[("accept-encoding", coding)]).await
}

#[tokio::test]
async fn two_encodings_never_share_a_strong_tag() {
    let (_blobs, edge) = edge_with("", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let mut tags = BTreeSet::new();
        for coding in CODINGS {
            let answer = coded(&mut visitor, "/about", coding).await;
            tags.insert(answer.header("etag").unwrap().to_owned());
        }
        assert_eq!(tags.len(), 4);
        assert!(tags.iter().all(|tag| tag.starts_with('"')));
    }
}

#[tokio::test]
async fn a_304_has_vary_and_cache_control() {
    let (_blobs, edge) = edge_with("", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let answer = visitor.get("/about", &[("if-none-match", "*")]).await;
        assert_eq!(answer.status, 304);
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert!(answer.header("cache-control").is_some());
        assert!(answer.header("date").is_some());
    }
}

#[tokio::test]
async fn a_deploy_changes_the_tags_of_changed_files_only() {
    let (blobs, edge) = edge_with("", PAGE);
    let other = blobs.publish_with(&files("<p>Other words.</p>\n"), &rules("/x /y\n"));
    for via in SECURE {
        let mut tags = Vec::new();
        for version in [blobs.publish_with(&files(PAGE), &rules("")), other] {
            edge.show("garden.example", version);
            let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
            for target in ["/", "/about"] {
                let answer = visitor.get(target, &[]).await;
                tags.push(answer.header("etag").unwrap().to_owned());
            }
        }
        assert_ne!(tags[0], tags[2], "the page that changed");
        assert_eq!(tags[1], tags[3], "the page that did not");
    }
}

#[tokio::test]
async fn a_directory_redirect_keeps_the_query() {
    let (_blobs, edge) = edge_with("", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let answer = visitor.get("/docs?a=b&c=%2F", &[]).await;
        assert_eq!(answer.header("location"), Some("/docs/?a=b&c=%2F"));
    }
}

#[tokio::test]
async fn no_location_begins_with_two_slashes() {
    let (_blobs, edge) = edge_with("/go/* /:splat\n/to to=:to /:to\n", PAGE);
    let targets = [
        "//docs",
        "///docs",
        "//docs/index.html",
        "//about.html",
        "//about/",
        "//evil.example/..",
        "/go//evil.example",
        "/go/%2Fevil.example",
        "/go/%5Cevil.example",
        "/to?to=/evil.example",
        "/to?to=%2F%2Fevil.example",
        "/to?to=%5Cevil.example",
        "/to?to=",
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for target in targets {
            let answer = visitor.get(target, &[]).await;
            let location = answer.header("location").unwrap_or("/");
            assert!(location.starts_with('/'), "{target} {location}");
            assert!(!location.starts_with("//"), "{target} {location}");
            assert!(!location.starts_with("/\\"), "{target} {location}");
        }
    }
}

#[tokio::test]
async fn a_coding_that_is_longer_than_the_original_arrives_whole() {
    let (_blobs, edge) = edge_with("", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for coding in CODINGS {
            let answer = coded(&mut visitor, "/noise.txt", coding).await;
            assert_eq!(decode(coding, &answer.body), noise(4, 300), "{coding}");
            assert!(coding == "identity" || answer.body.len() > 300, "{coding}");
        }
    }
}

#[tokio::test]
async fn bytes_are_labelled_with_their_own_coding() {
    let (_blobs, edge) = edge_with("", PAGE);
    let rows = [
        ("deflate", None),
        ("deflate, gzip;q=0.5", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("compress, br;q=0.1", Some("br")),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (accept, coding) in rows {
            let answer = coded(&mut visitor, "/about", accept).await;
            assert_eq!(answer.header("content-encoding"), coding, "{accept}");
            let decoded = decode(coding.unwrap_or("identity"), &answer.body);
            assert_eq!(decoded, PAGE.repeat(40).as_bytes(), "{accept}");
        }
    }
}

#[tokio::test]
async fn compressed_files_have_their_length_and_their_parts() {
    let (_blobs, edge) = edge_with("", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for coding in CODINGS {
            let whole = coded(&mut visitor, "/about", coding).await;
            let length = whole.body.len().to_string();
            assert_eq!(
                whole.header("content-length"),
                Some(length.as_str()),
                "{coding}"
            );
            let asked = [("accept-encoding", coding), ("range", "bytes=2-9")];
            let part = visitor.get("/about", &asked).await;
            assert_eq!(part.status, 206, "{coding}");
            assert_eq!(part.body, whole.body[2..10], "{coding}");
            let range = format!("bytes 2-9/{length}");
            assert_eq!(
                part.header("content-range"),
                Some(range.as_str()),
                "{coding}"
            );
        }
    }
}

#[tokio::test]
async fn who_has_no_coding_gets_the_stored_original() {
    let (_blobs, edge) = edge_with("", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let plain = visitor.get("/about", &[]).await;
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.body, PAGE.repeat(40));
    }
}

#[tokio::test]
async fn one_bad_rule_disables_no_other() {
    let bad = "nonsense\n/a\n/b /c 999\n/d ftp://x/\n\u{1}\n/e https://x.example/ 200\n";
    let (_blobs, edge) = edge_with(&format!("{bad}/good /about 301\n"), PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let good = visitor.get("/good", &[]).await;
        assert_eq!(
            (good.status.as_u16(), good.header("location")),
            (301, Some("/about"))
        );
        for target in ["/a", "/b", "/d", "/e"] {
            assert_eq!(visitor.get(target, &[]).await.status, 404, "{target}");
        }
    }
}

#[tokio::test]
async fn no_wildcard_swallows_the_challenge() {
    let (_blobs, edge) = edge_with("/* /index.html 200!\n", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let token = visitor.get("/.well-known/acme-challenge/token", &[]).await;
        assert_eq!(token.status, 404, "not the site's page");
        assert_eq!(visitor.get("/anything", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn nothing_is_kept_for_a_year_for_its_extension() {
    let (_blobs, edge) = edge_with("", PAGE);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let asset = visitor.get("/assets/app.js.txt", &[]).await;
        let caching = asset.header("cache-control");
        assert_eq!(caching, Some("public, max-age=0, must-revalidate"));
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_whatever_is_asked_of_it() {
    let (_blobs, edge) = edge_with("", PAGE);
    let asked = [
        ("range", "bytes=999999-"),
        ("if-none-match", "*"),
        ("if-modified-since", "Sun, 06 Nov 2033 08:49:37 GMT"),
        ("if-match", "\"x\""),
        ("accept-encoding", "identity;q=0"),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for header in asked {
            let answer = visitor.get("/none", &[header]).await;
            assert_eq!(answer.status, 404, "{header:?}");
            assert!(!answer.body.is_empty());
        }
    }
}
