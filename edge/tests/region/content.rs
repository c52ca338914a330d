//! What is published at one node is served by all: content follows the records.

use crate::compare::serves;
use crate::harness::{Publisher, fixture, page};
use crate::scene::{Region, wait};
use serde_json::Value;
use verge_edge::cli::client::Protocol;

const HOST: &str = "garden.sites.localhost";

fn all_here(count: u64) -> impl Fn(&Value) -> bool {
    move |status| status["published_count"] == count && status["here_count"] == count
}

#[test]
fn every_node_serves_what_one_was_given() {
    let mut region = Region::of(3);
    let site = fixture("neighbourhood");
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    publisher.copy(&site);
    publisher.commit("one");
    let said = publisher.push_ok(&region.nodes[0], "garden", "main");
    assert!(said.contains("held by 3 of 3 nodes"), "{said}");
    for node in &region.nodes {
        wait(node, all_here(1));
        serves(node, HOST, &site, &[Protocol::Http2]);
    }
    // The accepting node is gone, with all that it had; the next push goes elsewhere.
    region.nodes[0].kill();
    publisher.write("index.html", "<p>second");
    publisher.commit("two");
    let said = publisher.push_ok(&region.nodes[1], "garden", "main");
    assert!(said.contains("held by 2 of 3 nodes"), "{said}");
    assert_eq!(page(&region.nodes[2], HOST, "/").unwrap(), b"<p>second");
    // A node that comes back serves what it has until it has the rest.
    region.nodes[0].restart();
    wait(&region.nodes[0], |status| {
        status["deploy_count"] == 2 && all_here(1)(status)
    });
    assert_eq!(page(&region.nodes[0], HOST, "/").unwrap(), b"<p>second");
}
