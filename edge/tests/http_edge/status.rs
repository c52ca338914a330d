//! The admin zone: how the node is, before every site, over TLS and in the clear.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file};
use crate::support::visitor::{Via, Visitor};
use std::sync::Arc;
use verge_builder::rules::RuleFiles;
use verge_edge::status_page::StatusPage;

const ZONE: &str = "nodes.example";

/// A site has the zone's name too, and answers everything.
fn start() -> (Blobs, TestEdge, Arc<StatusPage>) {
    let blobs = Blobs::new();
    let rules = RuleFiles {
        headers: Some("/*\n  X-Site: yes\n".into()),
        redirects: Some("/* /index.html 200!\n".into()),
    };
    let version = blobs.publish_with(&[file("index.html", "of a site")], &rules);
    let page = Arc::new(StatusPage::default());
    page.stand_at(ZONE.parse().ok());
    page.show("{\"first\":1}".to_owned(), "figure 1\n".to_owned());
    let setup = Setup {
        hosts: vec!["garden.example", ZONE],
        status: Some(Arc::clone(&page)),
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    (blobs, edge, page)
}

#[tokio::test]
async fn the_status_is_had_by_every_way() {
    let (_blobs, edge, page) = start();
    for via in [Via::Plain, Via::Http1, Via::Http2] {
        page.show("{\"first\":1}".to_owned(), "figure 1\n".to_owned());
        let mut visitor = Visitor::connect(&edge, via, ZONE).await;
        let answer = visitor.ask("GET", ZONE, "/status", &[]).await;
        assert_eq!(answer.status, 200, "{via:?}");
        assert_eq!(answer.body, "{\"first\":1}");
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        for absent in ["set-cookie", "location", "x-site", "etag"] {
            assert_eq!(answer.header(absent), None, "{absent}");
        }
        page.show("{\"second\":22}".to_owned(), "figure 1\n".to_owned());
        let answer = visitor.ask("GET", ZONE, "/status?now", &[]).await;
        assert_eq!(answer.body, "{\"second\":22}");
        let head = visitor.ask("HEAD", ZONE, "/status", &[]).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some("13"));
        for (method, target, status) in [
            ("GET", "/", 404),
            ("GET", "/status/", 404),
            ("GET", "/Status", 404),
            ("GET", "/index.html", 404),
            ("GET", "/.well-known/verge/health", 404),
            ("GET", "/.well-known/acme-challenge/x", 404),
            ("GET", "/%2e%2e/", 400),
            ("POST", "/status", 405),
            ("DELETE", "/", 405),
            ("OPTIONS", "/status", 204),
        ] {
            let answer = visitor.ask(method, ZONE, target, &[]).await;
            assert_eq!(answer.status, status, "{via:?} {method} {target}");
        }
    }
}

#[tokio::test]
async fn no_other_name_has_it_and_none_without_a_zone() {
    let (_blobs, edge, page) = start();
    for host in ["www.nodes.example", "example", "127.0.0.1"] {
        let mut visitor = Visitor::connect(&edge, Via::Plain, host).await;
        let answer = visitor.ask("GET", host, "/status", &[]).await;
        assert_eq!(answer.status, 421, "{host}");
    }
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    let answer = visitor.ask("GET", "garden.example", "/status", &[]).await;
    assert_eq!(answer.body, "of a site");
    // A connection that was made for a site is not one for the zone.
    let answer = visitor.ask("GET", ZONE, "/status", &[]).await;
    assert_eq!(answer.status, 421);
    page.stand_at(None);
    let mut visitor = Visitor::connect(&edge, Via::Http1, ZONE).await;
    let answer = visitor.ask("GET", ZONE, "/status", &[]).await;
    assert_eq!(answer.body, "of a site");
}
