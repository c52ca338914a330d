//! The page for the node's own network: plain HTTP, before every site, never redirected.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file};
use crate::support::visitor::{Via, Visitor, raw, secure};
use std::sync::Arc;
use verge_builder::rules::RuleFiles;
use verge_edge::lan::Lan;

const CA: &str = "/.well-known/verge/ca.crt";

/// A site has claimed the name of the page too, and answers everything.
fn start(ca: Option<&str>) -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let rules = RuleFiles {
        headers: Some("/*\n  X-Site: yes\n".into()),
        redirects: Some("/* /index.html 200!\n".into()),
    };
    let version = blobs.publish_with(&[file("index.html", "of a site")], &rules);
    let lan = Lan::new("node.local".parse().unwrap(), ca.map(str::to_owned));
    lan.show(vec!["garden.example".parse().unwrap()]);
    let setup = Setup {
        hosts: vec!["garden.example", "node.local"],
        lan: Some(Arc::new(lan)),
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    (blobs, edge)
}

#[tokio::test]
async fn the_page_and_the_ca_are_had_in_the_clear() {
    let (_blobs, edge) = start(Some("-----BEGIN CERTIFICATE-----\n"));
    let mut visitor = Visitor::connect(&edge, Via::Plain, "node.local").await;
    let page = visitor
        .ask("GET", "node.local", "/?from=a-phone", &[])
        .await;
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(
        text.contains("<a href=\"http://garden.example/\">"),
        "{text}"
    );
    assert!(text.contains(CA), "{text}");
    let ca = visitor.ask("GET", "NODE.local.", CA, &[]).await;
    assert_eq!(ca.status, 200);
    assert_eq!(ca.body, "-----BEGIN CERTIFICATE-----\n");
    let kind = ca.header("content-type");
    assert_eq!(kind, Some("application/x-x509-ca-cert"));
    for answer in [&page, &ca] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        for absent in ["strict-transport-security", "location", "x-site"] {
            assert_eq!(answer.header(absent), None, "{absent}");
        }
    }
    let head = visitor.ask("HEAD", "node.local", "/", &[]).await;
    let length = text.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
    for (method, target, status) in [
        ("GET", "/index.html", 404),
        ("GET", "/.well-known/verge/health", 404),
        ("GET", "/.well-known/acme-challenge/x", 404),
        ("GET", "/%2e%2e/", 400),
        ("POST", "/", 405),
        ("OPTIONS", "/", 204),
    ] {
        let answer = visitor.ask(method, "node.local", target, &[]).await;
        assert_eq!(answer.status, status, "{method} {target}");
    }
}

#[tokio::test]
async fn no_other_host_has_it() {
    let (_blobs, edge) = start(Some("pem"));
    for host in ["local", "other.local", "www.node.local", "127.0.0.1"] {
        let mut visitor = Visitor::connect(&edge, Via::Plain, host).await;
        for target in ["/", CA] {
            let answer = visitor.ask("GET", host, target, &[]).await;
            assert_eq!(answer.status, 421, "{host} {target}");
        }
    }
    let mut visitor = Visitor::connect(&edge, Via::Plain, "garden.example").await;
    assert_eq!(visitor.get(CA, &[]).await.status, 308);
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    assert_eq!(visitor.get(CA, &[]).await.status, 404);
    let old = raw(&edge, b"GET / HTTP/1.0\r\nHost: node.local\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
    // What is there over TLS is the site that has the name.
    let mut visitor = Visitor::connect(&edge, Via::Http1, "node.local").await;
    let answer = visitor.ask("GET", "node.local", "/", &[]).await;
    assert_eq!(answer.body, "of a site");
    edge.forget_certificates();
    assert!(secure(&edge, "node.local", b"h2").await.is_err());
}

#[tokio::test]
async fn without_a_ca_of_the_node_s_own_there_is_none_to_have() {
    let (_blobs, edge) = start(None);
    let mut visitor = Visitor::connect(&edge, Via::Plain, "node.local").await;
    let page = visitor.ask("GET", "node.local", "/", &[]).await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!text.contains("CA"), "{text}");
    let ca = visitor.ask("GET", "node.local", CA, &[]).await;
    assert_eq!(ca.status, 404);
}
