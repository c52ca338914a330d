//! Names and hosts that nodes of several providers have to agree on.

use crate::harness::{Node, Publisher, page};
use crate::knot::Knot;
use crate::scene::{Region, nothing_pending, sign_pending, wait};

fn sites(node: &Node) -> String {
    node.verge_ok(&["site", "list"])
}

#[test]
fn name_is_settled_once_more_than_half_of_the_providers_have_countersigned_it() {
    let region = Region::of(3);
    Publisher::with_site(&region.nodes[0], "ana", "garden");
    for node in &region.nodes {
        wait(node, |_| sites(node).contains("(settled)"));
    }
    // Each of the three has one vote for each of the two claims.
    let votes = region.nodes[0].verge_ok(&["record", "log", "--kind=vote", "--count=100"]);
    let by = |name: &str| votes.matches(&format!("by node {name} ")).count();
    assert!(
        by("Corner") <= 2 && by("P1") <= 2 && by("P2") <= 2,
        "{votes}"
    );
    assert!(by("Corner") + by("P1") + by("P2") >= 4, "{votes}");
}

#[test]
fn host_is_served_once_nodes_of_two_providers_have_seen_its_dns_record() {
    let mut knot = Knot::start("other CNAME garden.sites.localhost.");
    let mut region = Region::of(2);
    for index in 0..2 {
        let node = &mut region.nodes[index];
        let path = node.data().join("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let dns = format!("resolvers = [\"{}\"]", knot.address());
        std::fs::write(&path, config.replace("resolvers = []", &dns)).unwrap();
        node.stop();
        node.restart();
        // One after the other: each has a new port, and tells the one that is still there.
        region.all_in_step();
    }
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    a.verge_ok(&["region", "propose", "--host-proof=dns"]);
    sign_pending(b);
    nothing_pending(a);
    let publisher = Publisher::with_site(a, "ana", "garden");
    publisher.write("index.html", "the garden");
    publisher.commit("one");
    publisher.push_ok(a, "garden", "main");
    let host = "www.example.test";
    let said = a.verge_ok(&["site", "set", "garden", "--add-host", host]);
    assert!(said.contains("does not find the DNS record"), "{said}");
    assert!(!sites(a).contains("https://www.example.test"));
    knot.replace("www CNAME garden.sites.localhost.");
    // Asked again, a node looks at once, if it has not by itself and the other's word not come over.
    let ask = |node: &Node| node.verge_ok(&["site", "set", "garden", "--add-host", host]);
    for node in [a, b] {
        let said = ask(node);
        let is_found = said.contains("this node found the DNS record");
        assert!(is_found || said.contains("was found before"), "{said}");
    }
    for node in [a, b] {
        wait(node, |_| sites(node).contains("https://www.example.test"));
    }
    assert_eq!(page(a, host, "/"), Ok(b"the garden".to_vec()));
    let said = ask(a);
    assert!(
        said.contains("of www.example.test was found before"),
        "{said}"
    );
}
