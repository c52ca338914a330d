//! Steps and votes: what a majority can do, and what nobody else can.

use crate::harness::{Node, Publisher, text};
use crate::scene::{Newcomer, Region, last_line, refused, sign_pending, status, wait};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

fn step(node: &Node) -> u64 {
    status(node)["step"]["number"].as_u64().unwrap()
}

fn reaches(number: u64) -> impl Fn(&Value) -> bool {
    move |status| status["step"]["number"] == number
}

#[test]
fn step_takes_effect_with_more_than_half_of_the_votes() {
    let region = Region::of(3);
    let [a, b, c] = [0, 1, 2].map(|index| &region.nodes[index]);
    let before = step(a);
    let said = a.verge_ok(&[
        "region",
        "propose",
        "--name=New Name",
        "--site-allowance=32",
    ]);
    assert!(said.contains("1 of 2 votes"), "{said}");
    let pending = wait(b, |status| {
        !status["pending_steps"].as_array().unwrap().is_empty()
    });
    let changes = pending["pending_steps"][0]["changes"].to_string();
    assert!(
        changes.contains("name: New Name") && changes.contains("limits"),
        "{changes}"
    );
    let id = pending["pending_steps"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(step(c), before);
    assert!(refused(c.data(), &["region", "sign", "0000"]).contains("no proposal begins"));
    let said = b.verge_ok(&["region", "sign", &id[..8]]);
    assert!(said.contains("holds now"), "{said}");
    for node in [a, b, c] {
        wait(node, reaches(before + 1));
        assert_eq!(status(node)["region"]["name"], "New Name");
    }
    let said = refused(a.data(), &["region", "propose", "--name=New Name"]);
    assert!(said.contains("nothing would change"), "{said}");
    let log = a.verge_ok(&["record", "log", "--kind", "vote"]);
    assert!(log.contains("vote"), "{log}");
    let shown = a.verge_ok(&["record", "show", &id[..10]]);
    assert!(
        shown.contains("kind          region") && shown.contains("New Name"),
        "{shown}"
    );
}

#[test]
fn minority_changes_nothing_but_serves_and_publishes() {
    let mut region = Region::of(3);
    region.nodes[1].stop();
    region.nodes[2].stop();
    let alone = &region.nodes[0];
    let before = step(alone);
    let said = alone.verge_ok(&["region", "propose", "--remove=P1"]);
    assert!(said.contains("1 of 2 votes"), "{said}");
    let publisher = Publisher::with_site(alone, "ana", "garden");
    publisher.write("index.html", "<p>alone");
    publisher.commit("one");
    publisher.push_ok(alone, "garden", "main");
    assert_eq!(step(alone), before);
    assert_eq!(status(alone)["provider_count"], 3);
    // The others come back and hear of both.
    region.nodes[1].restart();
    region.nodes[2].restart();
    region.all_in_step();
    let there = status(&region.nodes[1]);
    assert_eq!(there["published_count"], 1);
    assert_eq!(there["provider_count"], 3);
    assert!(
        there["pending_steps"]
            .to_string()
            .contains("removes provider P1")
    );
}

#[test]
fn removed_provider_is_void_from_then_on_and_what_it_wrote_before_stays() {
    let mut region = Region::of(3);
    let gone = &region.nodes[2];
    let publisher = Publisher::with_site(gone, "cem", "cafe");
    region.all_in_step();
    let gone = region.nodes[2].data().to_owned();
    region.nodes[2].stop();
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    a.verge_ok(&["region", "propose", "--remove=P2"]);
    sign_pending(b);
    for node in [a, b] {
        wait(node, |status| status["provider_count"] == 2);
        // Its account and site were there before: the list of the step names them. The other node
        // has fetched it.
        wait(node, |status| status["site_count"] == 1);
        let chain = node.verge_ok(&["region", "status"]);
        assert!(chain.contains("removed    provider P2"), "{chain}");
    }
    // What it writes now is heard by nobody: it is not even connected.
    region.nodes[2] = Node::start(&gone);
    let ghost = &region.nodes[2];
    ghost.verge_ok(&["site", "create", "late", "--owner", "cem"]);
    region.nodes[2].stop();
    drop(publisher);
    for node in [&region.nodes[0], &region.nodes[1]] {
        let sites = node.verge_ok(&["site", "list"]);
        assert!(sites.contains("cafe") && !sites.contains("late"), "{sites}");
    }
}

#[test]
fn paper_key_of_a_region_of_two_counts_as_the_third() {
    let region = Region::of(1);
    let founder = &region.nodes[0];
    let data = region.new_data("two");
    let ticket = crate::scene::ticket(founder);
    let mut newcomer = Newcomer::ask(&data, &ticket, Some("Two"));
    newcomer.reads("wait until");
    let said = founder.verge_ok(&["provider", "approve", "Two", "--yes"]);
    let paper = said
        .lines()
        .find(|line| line.len() == 64 && line.contains('-'))
        .unwrap();
    newcomer.becomes_a_member();
    let before = step(founder);
    // The other is lost for good; one vote is not enough, and a wrong paper is none.
    let said = founder.verge_ok(&["region", "propose", "--remove=Two"]);
    assert!(said.contains("1 of 2 votes"), "{said}");
    let id = status(founder)["pending_steps"][0]["id"].as_str().unwrap()[..8].to_owned();
    let sign = |paper: &str| {
        let mut child = std::process::Command::new(crate::harness::VERGE)
            .args(["region", "sign", &id, "--paper", "--data"])
            .arg(founder.data())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{paper}\n").as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    let wrong = sign(&paper.replace(char::is_alphabetic, "A"));
    assert!(!wrong.status.success());
    let said = text(&wrong.stderr);
    assert!(said.contains("paper key"), "{said}");
    assert_eq!(step(founder), before);
    let signed = sign(&paper.to_lowercase());
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    assert_eq!(step(founder), before + 1);
    assert_eq!(status(founder)["provider_count"], 1);
}

#[test]
fn provider_leaves_and_node_is_withdrawn_or_blocked() {
    let mut region = Region::of(3);
    let ticket = last_line(&region.nodes[1].verge_ok(&["node", "add"]));
    let data = region.new_data("shed");
    Newcomer::ask(&data, &ticket, None).becomes_a_member();
    region.nodes.push(Node::start(&data));
    region.all_in_step();
    let shed = status(&region.nodes[3])["node"]["id"]
        .as_str()
        .unwrap()
        .to_owned();

    // Blocked: by this node only, at once, and over a restart.
    region.nodes[0].verge_ok(&["node", "block", &shed[..10]]);
    let is_away = |status: &Value| {
        let peers = status["peers"].as_array().unwrap();
        let peer = peers.iter().find(|peer| peer["node"]["id"] == *shed);
        peer.is_none_or(|peer| peer["connected_s"].is_null())
    };
    wait(&region.nodes[0], is_away);
    assert!(!is_away(&status(&region.nodes[2])));
    region.nodes[0].stop();
    region.nodes[0].restart();
    let listed = region.nodes[0].verge_ok(&["node", "list"]);
    assert!(listed.contains("blocked here"), "{listed}");
    region.nodes[0].verge_ok(&["node", "block", "--lift", &shed[..10]]);
    wait(&region.nodes[0], |status| !is_away(status));

    // Withdrawn: by its own provider only, for all.
    let said = refused(region.nodes[0].data(), &["node", "withdraw", &shed[..10]]);
    assert!(said.contains("only its own provider"), "{said}");
    region.nodes[1].verge_ok(&["node", "withdraw", &shed[..10]]);
    for index in 0..3 {
        wait(&region.nodes[index], is_away);
    }
    wait(&region.nodes[3], |status| status["is_member"] == false);

    // Leaving: its nodes are members no more; the step lists it until the others take it off.
    let said = refused(region.nodes[2].data(), &["provider", "leave"]);
    assert!(said.contains("--yes"), "{said}");
    region.nodes[2].verge_ok(&["provider", "leave", "--yes", "--reason", "moving away"]);
    let gone = status(&region.nodes[2])["node"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    wait(&region.nodes[0], |status| {
        let peers = status["peers"].as_array().unwrap();
        peers.iter().all(|peer| peer["node"]["id"] != *gone)
    });
    let listed = region.nodes[0].verge_ok(&["provider", "list"]);
    assert!(listed.contains("has left"), "{listed}");
}
