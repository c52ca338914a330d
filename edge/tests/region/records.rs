//! Records come to every node: at once where it is connected, later where it was not.

use crate::harness::{Node, Publisher};
use crate::scene::{Region, nothing_pending, sign_pending, status, wait};
use serde_json::Value;

fn has_sites(count: u64) -> impl Fn(&Value) -> bool {
    move |status| status["published_count"] == count
}

#[test]
fn what_one_node_writes_all_hold_and_a_late_one_catches_up() {
    let mut region = Region::of(3);
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    publisher.write("index.html", "<p>first");
    publisher.commit("one");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    for node in &region.nodes {
        wait(node, has_sites(1));
    }
    // One is away while the others go on, another is killed in the middle of it.
    region.nodes[2].stop();
    publisher.write("index.html", "<p>second");
    publisher.commit("two");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    let away = Publisher::with_site(&region.nodes[0], "ben", "bakery");
    away.write("index.html", "<p>bread");
    away.commit("one");
    region.nodes[1].kill();
    away.push_ok(&region.nodes[0], "bakery", "main");
    region.nodes[1].restart();
    region.nodes[2].restart();
    region.all_in_step();
    for node in &region.nodes {
        assert_eq!(status(node)["published_count"], 2);
        let versions = node.verge_ok(&["site", "versions", "garden"]);
        assert_eq!(versions.matches("  push  ").count(), 2, "{versions}");
    }
}

#[test]
fn accounts_act_where_they_let_and_names_are_held_once() {
    let region = Region::of(2);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publisher = Publisher::with_site(a, "ana", "garden");
    region.all_in_step();
    // The account's provider alone may act.
    let own = status(a)["provider"]["id"].as_str().unwrap().to_owned();
    a.verge_ok(&["account", "set", "ana", "--acts", &own]);
    wait(b, |status| {
        status["record_count"] == self::status(a)["record_count"]
    });
    publisher.write("index.html", "<p>here");
    publisher.commit("one");
    let refused = publisher.push_refused(b, "garden", "main");
    assert!(
        refused.contains("lets no node of this provider act"),
        "{refused}"
    );
    publisher.push_ok(a, "garden", "main");
    wait(b, has_sites(1));
    // The name is taken on the other node as well.
    let said = crate::scene::refused(b.data(), &["site", "create", "garden", "--owner", "ana"]);
    assert!(said.contains("taken") || said.contains("act"), "{said}");
    // With `all` again a push goes in anywhere.
    a.verge_ok(&["account", "set", "ana", "--acts", "all"]);
    wait(b, |status| {
        status["record_count"] == self::status(a)["record_count"]
    });
    publisher.write("index.html", "<p>there");
    publisher.commit("two");
    crate::history::follows(b, a);
    publisher.push_ok(b, "garden", "main");
    wait(a, |status| status["deploy_count"] == 2);
}

/// A node that acted although it should not: the account shuts it out, and the site begins anew.
#[test]
fn site_begins_anew_without_what_a_shut_out_node_has_deployed() {
    let region = Region::of(2);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publisher = Publisher::with_site(a, "ana", "garden");
    publisher.write("index.html", "<p>good");
    publisher.commit("one");
    publisher.push_ok(a, "garden", "main");
    wait(b, has_sites(1));
    let good = a.verge_ok(&["site", "versions", "garden"]);
    let good = good.lines().find(|line| line.contains("push")).unwrap();
    let good = good.split_whitespace().nth(1).unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<p>bad").unwrap();
    b.verge_ok(&["deploy", "--site=garden", folder.path().to_str().unwrap()]);
    wait(a, |status| status["deploy_count"] == 2);
    let own = status(a)["provider"]["id"].as_str().unwrap().to_owned();
    a.verge_ok(&["account", "set", "ana", "--acts", &own]);
    let said = crate::scene::refused(a.data(), &["site", "reset", "garden", "--to=0000"]);
    assert!(said.contains("no version in effect"), "{said}");
    a.verge_ok(&["site", "reset", "garden", "--to", &good]);
    assert_eq!(
        crate::harness::page(a, "garden.sites.localhost", "/"),
        Ok(b"<p>good".to_vec())
    );
    // Everywhere, and for what it deploys from now on too.
    wait(b, |status| status["deploy_count"] == 1);
    let said = crate::scene::refused(
        b.data(),
        &["deploy", "--site=garden", folder.path().to_str().unwrap()],
    );
    assert!(said.contains("lets no node of this provider act"), "{said}");
    a.verge_ok(&[
        "site",
        "set",
        "garden",
        "--admit",
        &own,
        "--private",
        "true",
    ]);
    assert!(!a.verge_ok(&["site", "list"]).contains("garden"));
}

/// An account is governed by its sponsor; where that is lost, a step gives it another.
#[test]
fn account_of_a_lost_provider_gets_another_sponsor_by_a_step() {
    let mut region = Region::of(3);
    let publisher = Publisher::with_site(&region.nodes[2], "cem", "cafe");
    region.all_in_step();
    let other = Publisher::new();
    let add_key = [
        "account",
        "set",
        "cem",
        "--add-ssh-key",
        &other.public_key(),
    ];
    let said = crate::scene::refused(region.nodes[0].data(), &add_key);
    assert!(said.contains("sponsored by provider P2"), "{said}");
    let said = crate::scene::refused(
        region.nodes[0].data(),
        &["site", "delete", "cafe", "--confirm=cafe"],
    );
    assert!(said.contains("sponsored by provider P2"), "{said}");
    region.nodes[2].stop();
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    a.verge_ok(&["region", "propose", "--sponsor=cem=Corner"]);
    let step = sign_pending(b);
    assert!(
        step["changes"]
            .to_string()
            .contains("makes Corner the sponsor of account cem")
    );
    nothing_pending(a);
    a.verge_ok(&add_key);
    other.write("index.html", "<p>found again");
    other.commit("one");
    other.push_ok(a, "cafe", "main");
    drop(publisher);
}

#[test]
fn takedown_binds_the_nodes_of_one_provider_and_a_step_binds_all() {
    let region = Region::of(2);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publisher = Publisher::with_site(a, "ana", "garden");
    publisher.write("index.html", "<p>here");
    publisher.commit("one");
    publisher.push_ok(a, "garden", "main");
    let host = "garden.sites.localhost";
    let shown = |node: &Node| crate::harness::page(node, host, "/");
    assert_eq!(shown(a).unwrap(), b"<p>here");
    wait(b, has_sites(1));
    b.verge_ok(&["site", "takedown", "garden", "--reason", "a complaint"]);
    // The provider that took it down does not answer for it; the other does.
    assert!(unknown(b, host) && !unknown(a, host));
    b.verge_ok(&["site", "takedown", "garden", "--lift"]);
    a.verge_ok(&["region", "propose", "--take-down=garden"]);
    let step = sign_pending(b);
    assert!(
        step["changes"]
            .to_string()
            .contains("takes down site garden")
    );
    nothing_pending(a);
    assert!(unknown(a, host) && unknown(b, host));
}

/// Whether the node refuses the handshake for `host`.
fn unknown(node: &Node, host: &str) -> bool {
    use verge_edge::cli::client::Protocol;
    let visitor = node.visitor();
    let answer = crate::harness::block_on(visitor.get(Protocol::Http2, host, "/", "br"));
    answer.is_err()
}

#[test]
fn admin_zone_says_how_the_node_is_and_nothing_that_is_not_everybodys() {
    use verge_edge::cli::client::Protocol;
    let region = Region::of(2);
    let node = &region.nodes[0];
    let publisher = Publisher::with_site(node, "ana", "garden");
    publisher.write("index.html", "<p>here");
    publisher.commit("one");
    publisher.push_ok(node, "garden", "main");
    region.nodes[1].verge_ok(&["region", "propose", "--name=Elm Street"]);
    wait(node, |status| {
        !status["pending_steps"].as_array().unwrap().is_empty()
    });
    let ask = |protocol| {
        let answer = crate::harness::get(node, protocol, "admin.localhost", "/status", "br");
        assert_eq!(answer.head.status, 200);
        assert_eq!(answer.field("content-type"), "application/json");
        assert_eq!(answer.field("cache-control"), "no-store");
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    // It follows what happens, a second later at most.
    let mut seen = ask(Protocol::Http1);
    while seen["published_count"] != 1 || seen["pending_step_count"] != 1 {
        seen = ask(Protocol::Http2);
    }
    let own = status(node);
    for field in [
        "region",
        "step",
        "node",
        "provider",
        "site_zone",
        "record_count",
    ] {
        assert_eq!(seen[field], own[field], "{field}");
    }
    assert_eq!(seen["peers"][0]["node"], own["peers"][0]["node"]);
    for absent in ["has_provider_key", "asking", "pending_steps", "evidence"] {
        assert!(seen.get(absent).is_none(), "{absent}");
    }
    assert!(!seen.to_string().contains("127.0.0.1"), "{seen:#}");
}
