//! `_redirects` and `_headers` over real sockets (http.md sections 2 and 3).

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, File, file};
use crate::support::visitor::{SECURE, Via, Visitor};
use std::time::Duration;
use verge_builder::rules::{HeaderRules, Redirects, RuleFiles};
use verge_edge::http::health::Assurances;

const REDIRECTS: &str = "/old/* /new/:splat 301\n\
    /temporary /about 302\n/see /about 303\n/keep /about 307\n/moved /about#part 308\n\
    /post/:year/:slug /blog/:slug?year=:year\n\
    /id id=:id /item/:id 302\n\
    /lang /de/ 302 Language=de\n/lang /en/ 302\n\
    /about /hidden 302\n/forced.css /style.css 200!\n\
    /app/* /index.html 200\n/hop /hopped 200\n/hopped /index.html 200\n/gone/* /gone.html 410\n/law /gone.html 451\n/no /gone.html 404\n\
    /out/* https://other.example/x/:splat 302\n/evil/* /:splat 302\n\
    /.well-known/* /index.html 200!\n";

const HEADERS: &str = "/*\n  X-Frame-Options: DENY\n  Link: </a>; rel=preload\n\
    /docs/*\n  Link: </b>; rel=preload\n  ! X-Frame-Options\n  Cache-Control: no-cache\n\
    Content-Type: text/plain\n  Content-Language: en\n\
    /style.css\n  Set-Cookie: a=b\n  ! ETag\n  ! Cache-Control\n\
    /about\n  Strict-Transport-Security: max-age=63072000; includeSubDomains\n";

fn start() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let files = [
        file("index.html", "<p>home</p>\n".repeat(50)),
        file("about.html", "<p>about</p>\n".repeat(50)),
        file("gone.html", "<p>gone</p>\n".repeat(50)),
        file("docs/index.html", "<p>docs</p>\n".repeat(50)),
        file("style.css", "a { b: c }\n".repeat(50)),
        file("forced.css", "d { e: f }\n".repeat(50)),
    ];
    let rules = RuleFiles {
        headers: Some(HEADERS.into()),
        redirects: Some(REDIRECTS.into()),
    };
    let version = blobs.publish_with(&files, &rules);
    let setup = Setup {
        assurances: Assurances {
            certificate_life: Duration::from_secs(1000),
            ..Assurances::default()
        },
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    (blobs, edge)
}

/// The name that a visitor keeps for a year is the file's own, not one that a rule gives it.
#[tokio::test]
async fn a_rewritten_asset_is_not_kept_for_good() {
    let blobs = Blobs::new();
    let asset = File {
        immutable: true,
        ..file("app.0123456789.js", "asset")
    };
    let rules = RuleFiles {
        headers: None,
        redirects: Some("/app.js /app.0123456789.js 200\n".into()),
    };
    let version = blobs.publish_with(&[asset], &rules);
    let edge = Setup::default().start(&blobs, version);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (path, kept) in [("/app.0123456789.js", true), ("/app.js", false)] {
            let answer = visitor.get(path, &[]).await;
            let caching = answer.header("cache-control").unwrap();
            assert_eq!(caching.contains("immutable"), kept, "{via:?} {path}");
        }
    }
}

/// A header section that took more than one frame, and more than a visitor may send, ended the
/// connection over HTTP/2.
#[tokio::test]
async fn fields_up_to_the_limit_arrive() {
    let blobs = Blobs::new();
    let line = |number: usize| format!("  X-Long-{number}: {}\n", "~!%^&|".repeat(1_500));
    let lines: String = (0..6).map(line).collect();
    let rules = RuleFiles {
        headers: Some(format!("/*\n{lines}").into()),
        redirects: None,
    };
    let version = blobs.publish_with(&[file("index.html", "front")], &rules);
    let edge = Setup::default().start(&blobs, version);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let answer = visitor.get("/", &[]).await;
        let last = answer.header("x-long-5").map(str::len);
        assert_eq!(last, Some(9_000), "{via:?}");
    }
}

#[tokio::test]
async fn what_a_visitor_writes_is_encoded_in_a_location() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let answer = visitor.get("/about.html?{a}|b^c", &[]).await;
        assert_eq!(answer.header("location"), Some("/about?%7Ba%7D%7Cb%5Ec"));
        let languages = [("accept-language", "fr;q=0.5"), ("accept-language", "de")];
        let answer = visitor.get("/lang", &languages).await;
        assert_eq!(answer.header("location"), Some("/de/"), "{via:?}");
    }
}

#[tokio::test]
async fn rules_send_visitors_where_they_say() {
    let (_blobs, edge) = start();
    let rows: &[(&str, u16, Option<&str>)] = &[
        ("/old/a/b", 301, Some("/new/a/b")),
        ("/old", 301, Some("/new/")),
        ("/old/a/?x=1", 301, Some("/new/a/?x=1")),
        ("/oldest", 404, None),
        ("/temporary/", 302, Some("/about")),
        ("/see", 303, Some("/about")),
        ("/keep?a=b&a=%20", 307, Some("/about?a=b&a=%20")),
        ("/moved?q", 308, Some("/about?q#part")),
        ("/post/2026/hello?x", 301, Some("/blog/hello?year=2026")),
        (
            "/id?id=a%2F..%0d%0a",
            302,
            Some("/item/a%2F..%0D%0A?id=a%2F..%0d%0a"),
        ),
        ("/id", 404, None),
        ("/lang", 302, Some("/en/")),
        ("/about", 200, None),
        ("/forced.css", 200, None),
        ("/app", 200, None),
        // One hop: no other rule is asked.
        ("/hop", 404, None),
        ("/hopped", 200, None),
        ("/app/deep/link?x", 200, None),
        ("//app/deep", 308, Some("/app/deep")),
        ("/gone/x", 410, None),
        ("/law", 451, None),
        ("/no", 404, None),
        (
            "/out/a%0d%0ab",
            302,
            Some("https://other.example/x/a%0D%0Ab"),
        ),
        ("/evil//other.example/", 302, Some("/other.example/")),
        ("/evil/%0d%0aX-Injected:1", 302, Some("/%0D%0AX-Injected:1")),
        ("/.well-known/acme-challenge/token", 404, None),
        ("/.well-known/verge/health", 200, None),
        ("/.well-known/other", 200, None),
    ];
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (target, status, location) in rows {
            let answer = visitor.get(target, &[]).await;
            assert_eq!(answer.status, *status, "{via:?} {target}");
            assert_eq!(answer.header("location"), *location, "{via:?} {target}");
            assert_eq!(answer.header("x-injected"), None, "{target}");
        }
        let german = visitor
            .get("/lang", &[("accept-language", "de-CH, en")])
            .await;
        assert_eq!(german.header("location"), Some("/de/"));
        assert_eq!(german.header("vary"), Some("Accept-Language"));
        let rewritten = visitor.get("/forced.css", &[]).await;
        assert!(rewritten.body.starts_with(b"a { b"), "the target's bytes");
        let refused = visitor.get("/gone/x", &[("range", "bytes=0-1")]).await;
        assert_eq!(refused.status, 410, "no part of a page for what is gone");
        assert!(refused.body.starts_with(b"<p>gone"));
        let tag = refused.header("etag").unwrap();
        assert_eq!(
            visitor
                .get("/gone/x", &[("if-none-match", tag)])
                .await
                .status,
            410
        );
    }
}

#[tokio::test]
async fn a_rewritten_page_is_as_good_as_the_page_itself() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let itself = visitor.get("/", &[("accept-encoding", "br")]).await;
        let rewritten = visitor.get("/app/x", &[("accept-encoding", "br")]).await;
        for name in [
            "etag",
            "vary",
            "content-encoding",
            "last-modified",
            "content-length",
        ] {
            assert_eq!(itself.header(name), rewritten.header(name), "{name}");
        }
        let tag = itself.header("etag").unwrap();
        let known = [("accept-encoding", "br"), ("if-none-match", tag)];
        assert_eq!(visitor.get("/app/y", &known).await.status, 304);
        assert_eq!(
            visitor
                .get("/app/y", &[("range", "bytes=0-4")])
                .await
                .status,
            206
        );
    }
}

#[tokio::test]
async fn the_site_s_fields_are_on_200_206_304_and_its_own_pages() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let docs = visitor.get("/docs/", &[]).await;
        let expected = [
            ("link", Some("</a>; rel=preload, </b>; rel=preload")),
            ("x-frame-options", None),
            ("cache-control", Some("no-cache")),
            ("content-type", Some("text/plain")),
            ("content-language", Some("en")),
            ("x-content-type-options", Some("nosniff")),
        ];
        for (name, value) in expected {
            assert_eq!(docs.header(name), value, "{name}");
        }
        let tag = docs.header("etag").unwrap();
        let again = visitor.get("/docs/", &[("if-none-match", tag)]).await;
        assert_eq!(again.status, 304);
        for name in ["link", "cache-control", "etag", "vary", "last-modified"] {
            assert_eq!(again.header(name), docs.header(name), "{name}");
        }
        for name in [
            "content-type",
            "content-language",
            "content-length",
            "x-frame-options",
        ] {
            assert_eq!(again.header(name), None, "{name}");
        }
        let part = visitor.get("/docs/", &[("range", "bytes=0-1")]).await;
        assert_eq!(
            (part.status.as_u16(), part.header("link")),
            (206, docs.header("link"))
        );
        let style = visitor.get("/style.css", &[]).await;
        assert_eq!(style.header("set-cookie"), None);
        assert!(style.header("etag").is_some());
        assert_eq!(style.header("cache-control"), None);
        let missing = visitor.get("/gone/x", &[]).await;
        assert_eq!(missing.header("x-frame-options"), Some("DENY"));
        let moved = visitor.get("/docs", &[]).await;
        assert_eq!((moved.status.as_u16(), moved.header("link")), (307, None));
        let hsts = visitor.get("/about", &[]).await;
        let expected = Some("max-age=1000; includeSubDomains");
        assert_eq!(hsts.header("strict-transport-security"), expected);
    }
    edge.forget_certificates();
    let mut plain = Visitor::connect(&edge, Via::Plain, "garden.example").await;
    let answer = plain.get("/about", &[]).await;
    assert_eq!(answer.header("strict-transport-security"), None);
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
}

/// RFC 9110 section 15.4.5: what a 200 would have said of these is said by the 304.
#[tokio::test]
async fn expires_and_content_location_of_the_site_are_on_a_304() {
    let blobs = Blobs::new();
    let expires = "Thu, 01 Jan 2043 00:00:00 GMT";
    let rules = RuleFiles {
        headers: Some(
            format!("/*\n  Expires: {expires}\n  Content-Location: /index.html\n").into(),
        ),
        redirects: None,
    };
    let version = blobs.publish_with(&[file("index.html", "front")], &rules);
    let edge = Setup::default().start(&blobs, version);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (lines, status) in [(&[][..], 200), (&[("if-none-match", "*")][..], 304)] {
            let answer = visitor.get("/", lines).await;
            assert_eq!(answer.status, status, "{via:?}");
            assert_eq!(answer.header("expires"), Some(expires), "{via:?} {status}");
            let location = answer.header("content-location");
            assert_eq!(location, Some("/index.html"), "{via:?} {status}");
        }
    }
}

/// No authority certifies a name below `.local`, and the next visit may be in the clear.
#[tokio::test]
async fn browsers_are_not_told_to_insist_on_tls_for_local_names() {
    let blobs = Blobs::new();
    let rules = RuleFiles {
        headers: Some("/*\n  Strict-Transport-Security: max-age=1000\n".into()),
        redirects: None,
    };
    let version = blobs.publish_with(&[file("index.html", "front")], &rules);
    let setup = Setup {
        hosts: vec!["garden.example", "garden.local"],
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    let rows = [
        ("garden.example", Some("max-age=1000")),
        ("garden.local", None),
    ];
    for via in SECURE {
        for (host, expected) in rows {
            let mut visitor = Visitor::connect(&edge, via, host).await;
            let answer = visitor.ask("GET", host, "/", &[]).await;
            assert_eq!(answer.body, "front", "{via:?} {host}");
            let hsts = answer.header("strict-transport-security");
            assert_eq!(hsts, expected, "{via:?} {host}");
        }
    }
    let mut visitor = Visitor::connect(&edge, Via::Plain, "garden.local").await;
    let answer = visitor.ask("GET", "garden.local", "/", &[]).await;
    assert_eq!(answer.body, "front", "not redirected");
}

/// As editors on other systems save them.
#[tokio::test]
async fn rule_files_may_begin_with_a_mark_and_end_lines_with_two_bytes() {
    let blobs = Blobs::new();
    let rules = RuleFiles {
        headers: Some("\u{feff}/*\r\n  X-A: one\r\n\r\n/b\r\n  X-B: two\r\n".into()),
        redirects: Some("\u{feff}/old /b 301\r\n# a remark\r\n/older /b 302\r\n".into()),
    };
    let files = [file("index.html", "front"), file("b.html", "back")];
    let version = blobs.publish_with(&files, &rules);
    let edge = Setup::default().start(&blobs, version);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for (target, status) in [("/old", 301), ("/older", 302)] {
            let moved = visitor.get(target, &[]).await;
            assert_eq!(moved.status, status, "{via:?}");
            assert_eq!(moved.header("location"), Some("/b"), "{via:?}");
        }
        let page = visitor.get("/b", &[]).await;
        assert_eq!(page.header("x-a"), Some("one"), "{via:?}");
        assert_eq!(page.header("x-b"), Some("two"), "{via:?}");
    }
}

#[tokio::test]
async fn more_rules_than_are_read_disable_no_other() {
    let blobs = Blobs::new();
    let rules = RuleFiles {
        headers: None,
        redirects: Some("/x /y\n".repeat(2_000).into()),
    };
    let version = blobs.publish_with(&[file("index.html", "home")], &rules);
    let edge = Setup::default().start(&blobs, version);
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    assert_eq!(visitor.get("/x", &[]).await.status, 301);
    assert_eq!(visitor.get("/", &[]).await.status, 200);
}

/// What publishers are shown has to be right: the first two blocks of code of the page.
#[test]
fn the_examples_of_the_documentation_are_rules() {
    let page = include_str!("../../../docs/http.md");
    let mut blocks = page.split("```\n").skip(1).step_by(2);
    let mut told = Vec::new();
    let mut tell = |problem: verge_builder::report::Problem| told.push(problem.to_string());
    let redirects = Redirects::read(blocks.next().unwrap().as_bytes(), &mut tell);
    let headers = HeaderRules::parse(blocks.next().unwrap().as_bytes(), &mut tell);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!((redirects.0.len(), headers.0.len()), (10, 3));
}
