//! Days of three nodes, sealed: every node has the seals of all, and all come to the same sums.

use crate::accounting::{Visit, be_plain};
use crate::harness::{Node, Publisher, text, verge};
use crate::scene::{Region, ticket, wait};
use serde_json::Value;
use std::path::Path;

fn usage(node: &Node, by: &str) -> Value {
    let said = node.verge_ok(&["usage", "--by", by, "--json", "--month", "2030-06"]);
    serde_json::from_str(&said).unwrap()
}

/// Starts every node again, at another time: one after the other, since each tells the others where it
/// is now.
fn start_all(region: &mut Region, time: &str) {
    for number in 0..region.nodes.len() {
        region.nodes[number].stop();
        let data = region.nodes[number].data().to_owned();
        if !is_plain(&data) {
            be_plain(&data, &[]);
        }
        region.nodes[number] = Node::start_at(&data, time);
        region.all_in_step();
    }
}

fn is_plain(data: &Path) -> bool {
    let text = std::fs::read_to_string(data.join("config.toml")).unwrap();
    text.contains("clock = \"trusted\"")
}

/// So many visits of a site at a node.
fn visit(node: &Node, label: &str, count: u64) {
    let mut visit = Visit::new(node.ready().http.unwrap()).unwrap();
    for _ in 0..count {
        visit.get(&format!("{label}.sites.localhost")).unwrap();
    }
}

fn have_all(region: &Region, seal_count: u64) {
    for node in &region.nodes {
        wait(node, |status| {
            let accounting = &status["accounting"];
            accounting["seal_count"] == seal_count && accounting["waiting_count"] == 0
        });
    }
}

#[test]
fn every_node_has_the_seals_of_all_and_comes_to_the_same_sums() {
    let mut region = Region::of(3);
    for site in ["garden", "attic"] {
        let publisher = Publisher::with_site(&region.nodes[0], &format!("owner-{site}"), site);
        publisher.write("index.html", format!("<p>{site}"));
        publisher.commit("one");
        let said = publisher.push_ok(&region.nodes[0], site, "main");
        assert!(said.contains("held by 3 of 3 nodes"), "{said}");
    }
    region
        .nodes
        .iter()
        .for_each(|node| be_plain(node.data(), &[]));
    start_all(&mut region, "2030-06-03 12:00:00");
    for (number, visits) in [(0, 25), (1, 40), (2, 60)] {
        visit(&region.nodes[number], "garden", visits);
        // Too few for a row of their own: they go on to the next day.
        visit(&region.nodes[number], "attic", 12);
    }
    // Midnight passes while they are off.
    start_all(&mut region, "2030-06-04 00:16:00");
    have_all(&region, 3);
    let expected = usage(&region.nodes[0], "provider");
    let lines = expected["lines"].as_array().unwrap();
    let seen: Vec<(&str, u64)> = lines
        .iter()
        .map(|line| {
            (
                line["name"].as_str().unwrap(),
                line["answers"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [("P2", 60), ("P1", 40), ("Corner", 25)]);
    for number in 0..3 {
        visit(&region.nodes[number], "attic", 12);
    }
    start_all(&mut region, "2030-06-05 00:16:00");
    have_all(&region, 6);
    let by_site = usage(&region.nodes[0], "site");
    let attic = by_site["lines"].as_array().unwrap().iter();
    let attic: Vec<&Value> = attic.filter(|line| line["name"] == "attic").collect();
    assert_eq!(attic[0]["answers"], 3 * 24);
    for node in &region.nodes {
        for by in ["site", "provider", "day"] {
            assert_eq!(usage(node, by), usage(&region.nodes[0], by), "{by}");
        }
        let shown = node.verge_ok(&["usage", "garden", "--month", "2030-06"]);
        assert!(shown.contains("2030-06-03  █"), "{shown}");
    }
    a_wiped_disk_has_them_again(&mut region);
}

/// Only the seed is kept; and it does not seal a day twice.
fn a_wiped_disk_has_them_again(region: &mut Region) {
    let ticket = ticket(&region.nodes[0]);
    let data = region.nodes[2].data().to_owned();
    let expected = usage(&region.nodes[0], "day");
    region.nodes[2].stop();
    let seed = region.folder.path().join("seed");
    std::fs::copy(data.join("seed"), &seed).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    let arguments = [
        "init",
        "--join",
        &ticket,
        "--seed",
        seed.to_str().unwrap(),
        "--listen-http=127.0.0.1:0",
        "--listen-https=127.0.0.1:0",
        "--listen-ssh=127.0.0.1:0",
        "--listen-nodes=127.0.0.1:0",
    ];
    let joined = verge(&data, &arguments);
    assert!(joined.status.success(), "{}", text(&joined.stderr));
    crate::probes::change_config(&data, &[("clock = \"checked\"", "clock = \"trusted\"")]);
    region.nodes[2] = Node::start_at(&data, "2030-06-05 00:17:00");
    region.all_in_step();
    have_all(region, 6);
    assert_eq!(usage(&region.nodes[2], "day"), expected);
    visit(&region.nodes[2], "garden", 30);
    start_all(region, "2030-06-06 00:16:00");
    have_all(region, 7);
    for node in &region.nodes {
        wait(node, |status| {
            let accounting = &status["accounting"];
            accounting["gap_count"] == 0
                && accounting["contradicted"]
                    .as_array()
                    .is_some_and(Vec::is_empty)
        });
    }
    let last = usage(&region.nodes[0], "day");
    assert_eq!(last["lines"][2]["answers"], 30);
}
