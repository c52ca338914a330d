//! What is published at one node is served by all: content follows the records.

use crate::compare::serves;
use crate::harness::{Node, PORTS, Publisher, block_on, fixture, page};
use crate::scene::{
    Newcomer, Region, nothing_pending, refused, sign_pending, status, ticket, wait,
};
use crate::support::sample::noise;
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
    let gone = status(&region.nodes[0])["node"]["id"].clone();
    region.nodes[0].kill();
    publisher.write("index.html", "<p>second");
    publisher.commit("two");
    let said = publisher.push_ok(&region.nodes[1], "garden", "main");
    assert!(said.contains("held by 2 of 3 nodes"), "{said}");
    // It was not waited for until its connection is given up.
    let after = status(&region.nodes[1]);
    let mut peers = after["peers"].as_array().unwrap().iter();
    let is_connected =
        peers.any(|peer| peer["node"]["id"] == gone && !peer["connected_s"].is_null());
    assert!(
        !is_connected || said.contains("one node does not answer"),
        "{said}"
    );
    assert_eq!(page(&region.nodes[2], HOST, "/").unwrap(), b"<p>second");
    // A node that comes back serves what it has until it has the rest.
    region.nodes[0].restart();
    wait(&region.nodes[0], |status| {
        status["deploy_count"] == 2 && all_here(1)(status)
    });
    assert_eq!(page(&region.nodes[0], HOST, "/").unwrap(), b"<p>second");
}

/// A node whose steward gives it little room keeps what it alone would hold, and gives up what
/// enough others hold.
#[test]
fn a_full_node_gives_up_what_enough_others_hold() {
    let mut region = Region::of(3);
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "site0");
    let policy = region.new_data("policy.toml");
    std::fs::write(&policy, "replica_count_min = 1\n").unwrap();
    let policy = format!("--policy={}", policy.display());
    region.nodes[0].verge_ok(&["region", "propose", &policy]);
    sign_pending(&region.nodes[1]);
    for node in &region.nodes {
        nothing_pending(node);
    }
    // Room for some of them. Which ones it may give up is drawn by the sites' ids: a third of all.
    let config = region.nodes[2].data().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(
        &config,
        text.replace("\nbytes_max = 0", "\nbytes_max = 2000000"),
    )
    .unwrap();
    region.nodes[2].stop();
    region.nodes[2].restart();
    region.all_in_step();
    for number in 0..SITES {
        let site = format!("site{number}");
        if number > 0 {
            region.nodes[0].verge_ok(&["site", "create", &site, "--owner", "ana"]);
        }
        publisher.write("noise.bin", noise(number, 200_000));
        publisher.write("index.html", format!("<p>{site}"));
        let work = publisher.work();
        region.nodes[0].verge_ok(&["deploy", "--site", &site, work.to_str().unwrap()]);
    }
    wait(&region.nodes[1], all_here(SITES));
    let full = wait(&region.nodes[2], |status| {
        status["published_count"] == SITES && status["given_up_count"].as_u64().unwrap() > 0
    });
    assert!(full["here_count"].as_u64().unwrap() >= 2, "{full}");
    // What is here is served; what was given up is answered as not here; the others serve all.
    let host = |number| format!("site{number}.sites.localhost");
    let (mut served, mut misdirected) = (0, 0);
    for number in 0..SITES {
        let visitor = region.nodes[2].visitor();
        let host_name = host(number);
        let asked = visitor.get(Protocol::Http2, &host_name, "/", "identity");
        match block_on(asked) {
            Ok(answer) if answer.head.status == 200 => {
                assert_eq!(answer.body, format!("<p>site{number}").as_bytes());
                served += 1;
            }
            Ok(answer) => assert_eq!(answer.head.status, 503),
            // No certificate for what is not here: the handshake is refused.
            Err(_) => misdirected += 1,
        }
        page(&region.nodes[1], &host(number), "/").unwrap();
    }
    assert!(served >= 2 && misdirected >= 1, "{served} {misdirected}");
    // Most of the others go: there is room for what was given up.
    for number in 6..SITES {
        let site = format!("site{number}");
        region.nodes[0].verge_ok(&["site", "delete", &site, "--confirm", &site]);
    }
    wait(&region.nodes[2], |status| {
        status["given_up_count"] == 0 && all_here(6)(status)
    });
    for number in 0..6 {
        page(&region.nodes[2], &host(number), "/").unwrap();
    }
}

/// More than have room on the small node.
const SITES: u64 = 24;

/// Nothing is left of a node but its seed, or its provider's key: one command brings all back.
#[test]
fn a_wiped_node_comes_back_by_its_seed_or_its_providers_key() {
    let mut region = Region::of(3);
    let site = fixture("neighbourhood");
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    publisher.copy(&site);
    publisher.commit("one");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    let is_back = |node: &Node, id: &str| {
        wait(node, all_here(1));
        serves(node, HOST, &site, &[Protocol::Http2]);
        assert_eq!(status(node)["node"]["id"], id);
    };

    let before = status(&region.nodes[2])["node"]["id"].clone();
    let before = before.as_str().unwrap();
    region.nodes[2].stop();
    let data = region.nodes[2].data().to_owned();
    wipe_but(&data, &["seed"]);
    let named = ["--provider", "P2"];
    let said = refused(
        &data,
        &[&["init", "--join", &ticket(&region.nodes[0])], &named[..]].concat(),
    );
    assert!(said.contains("leave --provider out"), "{said}");
    let newcomer = Newcomer::ask(&data, &ticket(&region.nodes[0]), None);
    newcomer.becomes_a_member();
    region.nodes[2].restart();
    is_back(&region.nodes[2], before);

    // A seed of nobody's is not let in by a ticket for a new provider.
    let stranger = region.new_data("stranger");
    std::fs::create_dir(&stranger).unwrap();
    wipe_but(&stranger, &[]);
    std::fs::copy(data.join("seed"), stranger.join("seed")).unwrap();
    std::fs::write(stranger.join("seed"), [7; 32]).unwrap();
    let said = Newcomer::ask(&stranger, &ticket(&region.nodes[0]), None).ends();
    assert!(!said.status.success());

    // The seed is lost too: the provider's key signs a new node in its place.
    region.nodes[1].stop();
    let data = region.nodes[1].data().to_owned();
    let key = region.new_data("kept.key");
    std::fs::copy(data.join("provider.key"), &key).unwrap();
    wipe_but(&data, &[]);
    let kept = format!("--provider-key={}", key.display());
    let more = [PORTS[4], &kept];
    Newcomer::ask_with(&[], &data, &ticket(&region.nodes[2]), &more).becomes_a_member();
    region.nodes[1].restart();
    let now = status(&region.nodes[1])["node"]["id"].clone();
    is_back(&region.nodes[1], now.as_str().unwrap());
    assert_eq!(status(&region.nodes[1])["provider"]["name"], "P1");
}

pub(crate) fn wipe_but(data: &std::path::Path, kept: &[&str]) {
    for entry in std::fs::read_dir(data).unwrap() {
        let entry = entry.unwrap();
        if kept.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        } else {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}
