//! From a ticket to a member, and every way in which that is refused.

use crate::harness::{Node, text};
use crate::scene::{Newcomer, Region, approve, last_line, refused, status, ticket, wait};

#[test]
fn newcomer_is_let_in_by_more_than_half_and_serves_what_the_others_hold() {
    let mut region = Region::of(2);
    let founder = &region.nodes[0];
    let key = crate::harness::Publisher::new().public_key();
    // The key file is gone with its owner: the account keeps the digest.
    let other = crate::harness::Publisher::new();
    assert!(!std::path::Path::new(&key).exists());
    founder.verge_ok(&["account", "add", "ana", "--ssh-key", &other.public_key()]);
    founder.verge_ok(&["site", "create", "garden", "--owner", "ana"]);

    let data = region.new_data("third");
    let mut newcomer = Newcomer::ask(&data, &ticket(founder), Some("Third"));
    let words = newcomer.reads("the six words of your key");
    let words = words.rsplit(": ").next().unwrap().to_owned();
    newcomer.reads("wait until the providers agree");
    let listed = founder.verge_ok(&["provider", "list"]);
    assert!(listed.contains(&words), "{listed}");
    // One vote of two is not more than half of them.
    approve(founder, "Third");
    assert_eq!(status(founder)["provider_count"], 2);
    let pending = wait(&region.nodes[1], |status| {
        !status["pending_steps"].as_array().unwrap().is_empty()
    });
    let pending = pending["pending_steps"].to_string();
    assert!(pending.contains("adds provider Third") && pending.contains(&words));
    approve(&region.nodes[1], "Third");
    newcomer.becomes_a_member();

    let third = Node::start(&data);
    // It serves only once it holds what both others hold.
    assert_eq!(status(&third)["site_count"], 1);
    assert!(third.verge_ok(&["account", "list"]).contains("ana"));
    region.nodes.push(third);
    region.all_in_step();
    // Who joined can invite, and has a vote.
    region.join("Fourth");
    assert_eq!(status(&region.nodes[0])["provider_count"], 4);
}

#[test]
fn ticket_is_good_for_one_newcomer_and_goes_on_after_an_interruption() {
    let region = Region::of(1);
    let founder = &region.nodes[0];
    let ticket = ticket(founder);
    let data = region.new_data("one");
    let mut first = Newcomer::ask(&data, &ticket, Some("One"));
    let words = first.reads("the six words");
    first.reads("wait until");
    first.kill();
    // Another comes with the same ticket.
    let other = Newcomer::ask(&region.new_data("two"), &ticket, Some("Two")).ends();
    assert!(!other.status.success());
    let said = text(&other.stderr);
    assert!(said.contains("not known here, or used"), "{said}");
    // The first goes on, with the same key.
    let mut again = Newcomer::ask(&data, &ticket, Some("One"));
    assert_eq!(again.reads("the six words"), words);
    again.reads("wait until");
    approve(founder, "One");
    again.becomes_a_member();
    let node = Node::start(&data);
    assert_eq!(status(&node)["provider"]["name"], "One");
    // A member's directory is not joined into anything.
    let said = refused(&data, &["init", "--join", &ticket, "--provider=One"]);
    assert!(said.contains("holds a node already"), "{said}");
}

#[test]
fn further_node_of_a_provider_needs_no_vote_and_has_no_provider_key() {
    let mut region = Region::of(2);
    let ticket = last_line(&region.nodes[1].verge_ok(&["node", "add"]));
    let data = region.new_data("shed");
    // A name for a provider is a mistake here.
    let said = refused(&data, &["init", "--join", &ticket, "--provider=New"]);
    assert!(said.contains("leave --provider out"), "{said}");
    Newcomer::ask(&data, &ticket, None).becomes_a_member();
    region.nodes.push(Node::start(&data));
    region.all_in_step();
    let shed = status(&region.nodes[2]);
    assert_eq!(shed["provider"]["name"], "P1");
    assert_eq!(shed["has_provider_key"], false);
    assert_eq!(shed["provider_count"], 2);
    // What needs the provider's key says so.
    let said = refused(
        &data,
        &["account", "add", "x", "--ssh-key", "/etc/hostname"],
    );
    assert!(!said.is_empty());
    let said = refused(&data, &["region", "propose", "--name=Other"]);
    assert!(
        said.contains("provider's key is not on this node"),
        "{said}"
    );
}

#[test]
fn what_is_no_ticket_is_refused_before_anything_is_made() {
    let region = Region::of(1);
    let good = ticket(&region.nodes[0]);
    let data = region.new_data("newcomer");
    let cut = &good[..good.len() - 3];
    for bad in ["", "VERGE1", "hello", cut] {
        let said = refused(&data, &["init", "--join", bad, "--provider=New"]);
        assert!(said.contains("no ticket"), "{bad:?}: {said}");
        assert!(!data.exists());
    }
    let said = refused(&data, &["init", "--join", &good]);
    assert!(said.contains("name it with --provider"), "{said}");
    // What only a founder decides is no part of joining.
    for founding in ["--site-zone=x.example", "--host-proof=none", "--test"] {
        let said = refused(
            &data,
            &["init", "--join", &good, "--provider=New", founding],
        );
        assert!(said.contains("cannot be used with"), "{said}");
    }
    // Void tickets are of no use.
    region.nodes[0].verge_ok(&["provider", "invite", "--void"]);
    let voided = Newcomer::ask(&data, &good, Some("New")).ends();
    let said = text(&voided.stderr);
    assert!(said.contains("ask for a new one"), "{said}");
    // A node that listens for nobody invites nobody.
    let said = region.nodes[0].verge_ok(&["provider", "list"]);
    assert!(!said.contains("asks to join"), "{said}");
}
