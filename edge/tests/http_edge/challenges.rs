//! What an authority asks of a host: answered by any node, before every rule of a site.

use crate::support::edge::Setup;
use crate::support::sample::{Blobs, file};
use crate::support::visitor::{Via, Visitor};
use std::sync::Arc;
use verge_builder::rules::RuleFiles;
use verge_edge::challenges::Challenges;
use verge_edge::status_page::StatusPage;

const FOLDER: &str = "/.well-known/acme-challenge/";
const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

#[tokio::test]
async fn every_host_of_the_region_answers_with_the_thumbprint_and_nobody_else() {
    let blobs = Blobs::new();
    // A site that answers everything, everywhere.
    let rules = RuleFiles {
        headers: None,
        redirects: Some("/* /index.html 200!\n".into()),
    };
    let version = blobs.publish_with(&[file("index.html", "of a site")], &rules);
    let challenges = Arc::new(Challenges::default());
    // One shown here, one held elsewhere, the admin zone.
    let hosts = ["garden.example", "elsewhere.example", "nodes.example"];
    let known = hosts.iter().map(|host| host.parse().unwrap()).collect();
    challenges.replace(Some("thumb".to_owned()), known);
    let page = StatusPage::default();
    page.stand_at("nodes.example".parse().ok());
    let setup = Setup {
        hosts: vec!["garden.example", "other.example"],
        status: Some(Arc::new(page)),
        challenges,
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    let mut authority = Visitor::plain(edge.http()).await;
    let path = format!("{FOLDER}{TOKEN}");
    for host in hosts {
        let answer = authority.ask("GET", host, &path, &[]).await;
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(answer.body, format!("{TOKEN}.thumb"));
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        for (method, status) in [("HEAD", 404), ("POST", 405), ("OPTIONS", 204)] {
            let answer = authority.ask(method, host, &path, &[]).await;
            assert_eq!(answer.status, status, "{method} {host}");
        }
        let hostile = [
            "",
            "short",
            "a%2f..%2f..",
            "%3Cscript%3E",
            "a.b",
            &"x".repeat(129),
        ];
        for token in hostile
            .into_iter()
            .chain([&*format!("{TOKEN}/x"), &*format!("{TOKEN}?q")])
        {
            let target = format!("{FOLDER}{token}");
            let answer = authority.ask("GET", host, &target, &[]).await;
            assert_eq!(answer.status, 404, "{host} {token}");
        }
    }
    // A site that the region does not answer for, and a host that nobody has.
    let answer = authority.ask("GET", "nobody.example", &path, &[]).await;
    assert_eq!(answer.status, 421);
    let answer = authority.ask("GET", "other.example", &path, &[]).await;
    assert_eq!(answer.status, 404);
    // Over TLS nobody is asked.
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    let answer = visitor.get(&path, &[]).await;
    assert_eq!(answer.status, 404);
}
