//! After a rollback, pages that are still open get the assets that they name.

use crate::support::edge::{Setup, TestEdge, now};
use crate::support::sample::{Blobs, File, file};
use crate::support::visitor::{SECURE, Visitor};
use std::time::Duration;
use verge_builder::rules::RuleFiles;
use verge_edge::sites::LeftVersion;
use verge_sync::Version;

const HOST: &str = "garden.example";
const OLD: &str = "<p>old</p>\n";

fn asset(path: &'static str, bytes: &str) -> File {
    File {
        immutable: true,
        ..file(path, bytes.repeat(50))
    }
}

/// An old version in place, and the newer one that was left for it.
fn start(redirects: &str) -> (Blobs, TestEdge, [Version; 2]) {
    let blobs = Blobs::new();
    let old = [
        file("index.html", OLD),
        asset("app.aaaaaaaa.css", "old "),
        asset("both.cccccccc.css", "both "),
    ];
    let rules = RuleFiles {
        headers: Some("/*\n  X-Garden: old\n".into()),
        redirects: Some(redirects.into()),
    };
    let old = blobs.publish_with(&old, &rules);
    let left = blobs.publish(&[
        file("index.html", "<p>new</p>\n"),
        file("about.html", "<p>about</p>\n"),
        file("unproven.bbbbbbbb.css", "anything"),
        asset("app.bbbbbbbb.css", "new "),
        asset("both.cccccccc.css", "both "),
        asset("hidden.bbbbbbbb.css", "new "),
    ]);
    let edge = Setup::default().start(&blobs, old);
    (blobs, edge, [old, left])
}

fn for_a_week(version: Version) -> LeftVersion {
    LeftVersion {
        version,
        until: now().plus(Duration::from_secs(7 * 24 * 60 * 60)),
    }
}

#[tokio::test]
async fn assets_of_the_version_that_was_left_are_served_as_they_were() {
    let (_blobs, edge, [old, left]) = start("");
    edge.show_after(HOST, old, for_a_week(left));
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, HOST).await;
        let whole = visitor.get("/app.bbbbbbbb.css", &[]).await;
        assert_eq!(whole.status, 200);
        assert_eq!(whole.body, "new ".repeat(50));
        let caching = whole.header("cache-control").unwrap();
        assert_eq!(caching, "public, max-age=31536000, immutable");
        assert_eq!(whole.header("vary"), Some("Accept-Encoding"));
        assert_eq!(whole.header("x-garden"), Some("old"));
        let etag = whole.header("etag").unwrap();
        let known = [("if-none-match", etag)];
        let known = visitor.get("/app.bbbbbbbb.css", &known).await;
        assert_eq!(known.status, 304);
        let part = [("range", "bytes=0-2")];
        let part = visitor.get("/app.bbbbbbbb.css", &part).await;
        assert_eq!(part.body, "new");
        let coded = [("accept-encoding", "br")];
        let coded = visitor.get("/app.bbbbbbbb.css", &coded).await;
        assert_eq!(coded.header("content-encoding"), Some("br"));
        let other_spelling = visitor.get("//app.bbbbbbbb.css?a", &[]).await;
        assert_eq!(other_spelling.status, 308);
        let location = other_spelling.header("location");
        assert_eq!(location, Some("/app.bbbbbbbb.css?a"));
        let rows = [
            ("/", 200),
            ("/app.aaaaaaaa.css", 200),
            ("/both.cccccccc.css", 200),
            // Not proven, or no asset at all: the rollback took it back.
            ("/unproven.bbbbbbbb.css", 404),
            ("/about", 404),
            ("/app.bbbbbbbb.css/", 404),
            ("/app.dddddddd.css", 404),
        ];
        for (target, status) in rows {
            let answer = visitor.get(target, &[]).await;
            assert_eq!(answer.status, status, "{target}");
        }
        assert_eq!(visitor.get("/", &[]).await.body, OLD);
    }
}

#[tokio::test]
async fn what_was_left_stands_before_the_rules_as_a_file_does() {
    let (_blobs, edge, [old, left]) = start("/hidden.bbbbbbbb.css / 200!\n/* / 200\n");
    edge.show_after(HOST, old, for_a_week(left));
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, HOST).await;
        let asset = visitor.get("/app.bbbbbbbb.css", &[]).await;
        assert_eq!(asset.body, "new ".repeat(50));
        for target in ["/hidden.bbbbbbbb.css", "/unproven.bbbbbbbb.css", "/about"] {
            assert_eq!(visitor.get(target, &[]).await.body, OLD, "{target}");
        }
    }
}

#[tokio::test]
async fn after_its_time_or_without_its_bytes_it_is_not_there() {
    let (blobs, edge, [old, left]) = start("");
    let until = now();
    let ended = LeftVersion {
        until,
        ..for_a_week(left)
    };
    edge.show_after(HOST, old, ended);
    let mut visitor = Visitor::connect(&edge, SECURE[1], HOST).await;
    let answer = visitor.get("/app.bbbbbbbb.css", &[]).await;
    assert_eq!(answer.status, 404);
    edge.show_after(HOST, old, for_a_week(left));
    std::fs::remove_file(blobs.blob_path(left.digest())).unwrap();
    let answer = visitor.get("/app.bbbbbbbb.css", &[]).await;
    assert_eq!(answer.status, 404);
    assert_eq!(visitor.get("/", &[]).await.body, OLD);
}
