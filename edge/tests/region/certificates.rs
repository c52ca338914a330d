//! Certificates of a region, from real Pebble: any node answers, issuers order, every node uses them.

use crate::harness::{Publisher, block_on, text};
use crate::knot::{KEY_NAME, Knot, ZONE};
use crate::pebble::Setup;
use crate::scene::{nothing_pending, sign_pending, wait};
use crate::town::{
    LONG_S, Owner, Town, asked, authority, change, free_port, has, id_of, plain, shown, until,
};
use rcgen::KeyPair;
use serde_json::json;
use std::net::IpAddr;
use verge_edge::hosts::{DnsResolver, Resolver};
use verge_sync::clock::stopwatch;

#[test]
fn a_host_is_proved_at_any_node_and_certified_at_all() {
    let town = Town::of(3, LONG_S);
    let [corner, one, two] = &town.region.nodes[..] else {
        panic!("three nodes");
    };
    // Nothing yet: nobody answers a handshake, and port 80 serves.
    let publisher = Publisher::with_site(corner, "ana", "garden");
    assert!(shown(corner, "garden.sites.test").is_none());
    town.set_up(&["Corner", "P1"]);
    town.all_certified(2);
    publisher.write("index.html", "<p>garden");
    publisher.commit("one");
    let said = publisher.push_ok(two, "garden", "main");
    assert!(said.contains("held by 3 of 3 nodes"), "{said}");
    for node in [corner, one, two] {
        let page = town.visit(node, "garden.sites.test", "/").unwrap();
        assert_eq!(page, "<p>garden");
        until(|| {
            let zone = town.visit(node, "nodes.test", "/metrics").unwrap();
            zone.contains("verge_certificates_valid 2\n")
        });
    }
    let leaf = shown(one, "garden.sites.test").unwrap();
    assert_eq!(shown(two, "garden.sites.test").unwrap(), leaf);
    // One certificate for each name, though two nodes order.
    assert_eq!(town.pebble.certificate_count(), 2);
    assert_eq!(plain(corner, "garden.sites.test").0, 308);

    // A site that admits one provider: another key, and the others cannot open it.
    let begun = stopwatch();
    corner.verge_ok(&["site", "create", "shed", "--owner", "ana"]);
    let from_push = publisher.push(corner, "shed", "main");
    assert!(from_push.status.success());
    until(|| town.visit(corner, "shed.sites.test", "/").is_ok());
    let first = begun.elapsed();
    town.all_certified(3);
    let (first, all) = (first.as_millis(), begun.elapsed().as_millis());
    println!(
        "a new site, its push, and its first answer over HTTPS: {first} ms; the key at all nodes: {all} ms"
    );
    let before = shown(two, "shed.sites.test").unwrap();
    let corner_id = id_of(corner);
    corner.verge_ok(&["site", "set", "shed", "--admit", &corner_id]);
    wait(one, |status| {
        status["certificates"]["here_count"] == json!(2)
    });
    wait(two, |status| {
        status["certificates"]["here_count"] == json!(2)
    });
    until(|| shown(corner, "shed.sites.test").is_some_and(|now| now != before));
    let listed = corner.verge_ok(&["cert", "show", "shed.sites.test"]);
    assert!(listed.contains("key at 1 of 1 nodes"), "{listed}");
}

#[test]
fn the_account_gets_another_key_and_a_newcomer_the_keys_of_all_hosts() {
    let mut town = Town::of(2, LONG_S);
    let _publisher = Publisher::with_site(&town.region.nodes[0], "ana", "garden");
    town.set_up(&["Corner", "P1"]);
    town.all_certified(2);
    let before = shown(&town.region.nodes[1], "garden.sites.test").unwrap();

    let port = town.region.nodes[0].ready().http.unwrap().port();
    town.join(2, port);
    town.all_certified(2);
    let now = shown(&town.region.nodes[2], "garden.sites.test").unwrap();
    assert_eq!(now, before);
    assert_eq!(town.pebble.certificate_count(), 2);

    let [corner, one, two] = &town.region.nodes[..] else {
        panic!("three nodes");
    };
    corner.verge_ok(&["cert", "rollover"]);
    sign_pending(one);
    for node in [corner, one, two] {
        nothing_pending(node);
    }
    corner.verge_ok(&["site", "create", "shed", "--owner", "ana"]);
    town.all_certified(3);
    // Who has left the region is not to have the keys: others are made, the old revoked.
    let before = shown(corner, "garden.sites.test").unwrap();
    two.verge_ok(&["provider", "leave", "--yes"]);
    for node in [corner, one] {
        until(|| shown(node, "garden.sites.test").is_some_and(|now| now != before));
        wait(node, |status| has(status, 3));
        let listed = node.verge_ok(&["cert", "show", "garden.sites.test"]);
        assert!(listed.contains("key at 2 of 2 nodes"), "{listed}");
    }
}

#[test]
fn labels_share_a_certificate_that_the_regions_zone_proves() {
    let knot = Knot::start("* A 127.0.0.9\n");
    let setup = Setup {
        http_port: free_port(1),
        dns: Some(knot.address()),
        ..Setup::default()
    };
    let server = knot.address();
    let driver = format!(
        "[dns_update]\nserver = \"{server}\"\nzone = \"{ZONE}\"\nkey_name = \"{KEY_NAME}\"\nkey_file = \"dns.key\"\naddresses = true\n"
    );
    let mut town = Town::found(&setup, ZONE, &driver);
    let place = "public_https = [\"127.0.0.2:443\"]";
    town.region.nodes[0].stop();
    change(town.region.nodes[0].data(), "public_https = []", place);
    town.region.nodes[0].restart();
    let node = &town.region.nodes[0];
    let _publisher = Publisher::with_site(node, "ana", "garden");
    node.verge_ok(&["site", "create", "shed", "--owner", "ana"]);
    let url = town.pebble.url();
    let setup = [
        "cert",
        "setup",
        "--agree",
        "--directory",
        &url,
        "--dns",
        "Corner",
    ];
    node.verge_ok(&setup);
    // Of the admin zone nobody knows an address.
    let is_there = |host: &str| shown(node, host).is_some();
    until(|| is_there("garden.example.test") && is_there("shed.example.test"));
    let one = shown(node, "garden.example.test").unwrap();
    assert_eq!(shown(node, "shed.example.test").unwrap(), one);
    let listed = node.verge_ok(&["cert", "list"]);
    assert!(
        listed.contains("*.example.test  valid for 89 days"),
        "{listed}"
    );
    // Where visitors find the node stands in the zone, in place of what stood there.
    let leads_here = |host: &str| {
        let resolver = DnsResolver::new(vec![knot.address()]);
        let found = block_on(resolver.addresses(host)).unwrap_or_default();
        found == [IpAddr::from([127, 0, 0, 2])]
    };
    until(|| leads_here("any.example.test"));
    // What does not admit everybody has its own: a certificate, and addresses.
    node.verge_ok(&["site", "set", "shed", "--admit", &id_of(node)]);
    until(|| shown(node, "shed.example.test").is_some_and(|now| now != one));
    assert_eq!(shown(node, "garden.example.test").unwrap(), one);
    let kept = || std::fs::read_to_string(node.data().join("dns-names")).unwrap();
    until(|| kept() == "*.example.test\nshed.example.test\n");
    assert!(leads_here("shed.example.test"));
    node.verge_ok(&["site", "set", "shed", "--admit", "all"]);
    until(|| kept() == "*.example.test\n");
    assert!(leads_here("shed.example.test"));
}

/// A domain that leads to the site of one account is not another's, though that claims it first.
#[test]
fn a_domain_that_leads_to_another_accounts_site_gets_no_certificate() {
    let knot = Knot::start("www CNAME garden.sites.test.\n");
    let setup = Setup {
        http_port: free_port(1),
        dns: Some(knot.address()),
        ..Setup::default()
    };
    let town = Town::found(&setup, "sites.test", "");
    let node = &town.region.nodes[0];
    node.verge_ok(&["region", "propose", "--host-proof=dns"]);
    let _ana = Publisher::with_site(node, "ana", "garden");
    let _ben = Publisher::with_site(node, "ben", "bakery");
    town.set_up(&[]);
    let host = "www.example.test";
    let add = |site| node.verge_ok(&["site", "set", site, "--add-host", host]);
    let listed = || node.verge_ok(&["cert", "list"]);
    let wanted = |count: u64| {
        wait(node, |status| {
            status["certificates"]["wanted_count"] == count
        });
    };
    let said = add("bakery");
    assert!(said.contains("does not find the DNS record"), "{said}");
    wanted(3);
    assert!(!listed().contains(host) && shown(node, host).is_none());
    let said = add("garden");
    assert!(said.contains("found the DNS record"), "{said}");
    wanted(4);
    assert!(listed().contains(host), "{}", listed());
}

#[test]
fn an_authority_that_makes_accounts_only_for_those_it_knows_is_shown_a_key() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let setup = Setup {
        http_port: free_port(1),
        external: Some(("kid-1", KEY)),
        ..Setup::default()
    };
    let town = Town::found(&setup, "sites.test", "");
    let node = &town.region.nodes[0];
    let address = json!({ "ip": "127.0.0.2" });
    town.pebble.tell_dns("set-default-ipv4", &address);
    let url = town.pebble.url();
    let file = town.region.new_data("eab.key");
    let path = file.to_str().unwrap();
    let setup = |more: &[&str]| {
        let setup = ["cert", "setup", "--agree", "--directory", &url];
        let done = node.verge(&[&setup[..], more].concat());
        (done.status.success(), text(&done.stderr))
    };
    let is_refused = |more: &[&str], words: &str| {
        let (is_done, said) = setup(more);
        assert!(!is_done && said.contains(words), "{said}");
        assert!(!said.contains(KEY), "{said}");
    };
    is_refused(&[], "--eab-kid and --eab-key-file");
    is_refused(&["--eab-kid", "kid-1"], "--eab-key-file");
    let with = |id| ["--eab-kid", id, "--eab-key-file", path];
    std::fs::write(&file, "a key").unwrap();
    is_refused(&with("kid-1"), "not 16 to 256 bytes in base64url");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    is_refused(&with("kid-2"), "unauthorized");
    assert_eq!(setup(&with("kid-1")), (true, String::new()));
    town.all_certified(1);
}

#[test]
fn a_node_that_cannot_change_the_zone_is_given_no_part_in_it() {
    let town = Town::of(2, LONG_S);
    let node = &town.region.nodes[0];
    let url = town.pebble.url();
    let setup = ["cert", "setup", "--agree", "--directory", &url, "--dns"];
    let said = |who: &str| text(&node.verge(&[&setup[..], &[who]].concat()).stderr);
    assert!(
        said("Corner").contains("[dns_update]"),
        "{}",
        said("Corner")
    );
    assert!(said("P1").contains("--issuer"), "{}", said("P1"));
    let nobody = said("Nobody");
    assert!(nobody.contains("no single node is meant"), "{nobody}");
}

#[test]
fn an_outage_longer_than_a_certificate_and_a_dead_issuer_stop_nothing() {
    let mut town = Town::of(3, 40);
    let publisher = Publisher::with_site(&town.region.nodes[0], "ana", "garden");
    town.set_up(&["Corner", "P1"]);
    town.all_certified(2);
    publisher.write("index.html", "<p>garden");
    publisher.commit("one");
    publisher.push_ok(&town.region.nodes[0], "garden", "main");
    let host = "garden.sites.test";

    // Whoever ordered is killed: the other does it when it is due.
    let first = shown(&town.region.nodes[2], host).unwrap();
    let ordered = town.region.nodes[0].verge_ok(&["cert", "show", host]);
    let author = usize::from(!ordered.contains("by node Corner"));
    town.region.nodes[author].kill();
    let other = &town.region.nodes[1 - author];
    until(|| shown(other, host).is_some_and(|now| now != first));
    let second = shown(other, host).unwrap();
    until(|| shown(&town.region.nodes[2], host).is_some_and(|now| now == second));

    // The authority is away until all is over: the expired certificate is shown, port 80 serves.
    town.pebble.pause();
    let node = &town.region.nodes[2];
    wait(node, |status| {
        status["certificates"]["invalid_count"] == json!(2)
    });
    assert!(shown(node, host).is_some());
    assert_eq!(plain(node, host), (200, "<p>garden".to_owned()));
    // Also after a restart, which asks nobody.
    town.region.nodes[2].stop();
    town.region.nodes[2].restart();
    let node = &town.region.nodes[2];
    assert!(shown(node, host).is_some());
    town.pebble.go_on();
    wait(node, |status| has(status, 2));
    assert_eq!(town.visit(node, host, "/").unwrap(), "<p>garden");
    assert_eq!(plain(node, host).0, 308);
}

#[test]
fn an_owner_brings_a_certificate_that_no_issuer_sees() {
    let town = Town::of(2, LONG_S);
    let [corner, one] = &town.region.nodes[..] else {
        panic!("two nodes");
    };
    let _publisher = Publisher::with_site(corner, "ana", "garden");
    let host = "garden.sites.test";
    let owner = Owner::new();
    let refusal = || {
        let refused = owner.import(corner);
        assert!(!refused.status.success());
        text(&refused.stderr)
    };
    // Another's key, an authority that nobody knows, a host that is nobody's.
    owner.has(host, &town.owners.0);
    owner.write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    let said = refusal();
    assert!(
        said.contains("does not belong to the certificate"),
        "{said}"
    );
    owner.has(host, &authority().0);
    let said = refusal();
    assert!(said.contains("does not lead to an authority"), "{said}");
    owner.has("shed.sites.test", &town.owners.0);
    let said = refusal();
    assert!(said.contains("must be hosts of one site"), "{said}");

    owner.has(host, &town.owners.0);
    owner.import_ok(corner);
    for node in [corner, one] {
        wait(node, |status| {
            status["certificates"]["here_count"] == json!(1)
        });
        assert_eq!(shown(node, host), Some(owner.leaf()));
    }
    // What an owner brings is not ordered beside it.
    town.set_up(&[]);
    town.all_certified(2);
    let listed = one.verge_ok(&["cert", "show", host]);
    assert!(
        listed.contains("brought by its owner at node Corner"),
        "{listed}"
    );
    assert_eq!(town.pebble.certificate_count(), 1);
}

#[test]
fn a_request_of_an_owners_own_is_ordered_and_its_key_is_seen_by_nobody() {
    let town = Town::of(2, LONG_S);
    let [corner, one] = &town.region.nodes[..] else {
        panic!("two nodes");
    };
    let _publisher = Publisher::with_site(corner, "ana", "garden");
    let host = "garden.sites.test";
    town.set_up(&[]);
    town.all_certified(2);
    let owner = Owner::new();
    // One that lasts far longer gives way to what is brought after it.
    owner.has(host, &town.owners.0);
    owner.import_ok(corner);
    let own = KeyPair::generate().unwrap();
    let request = asked(host).serialize_request(&own).unwrap();
    owner.write("request.pem", &request.pem().unwrap());
    let request = owner.file("request.pem");
    let order = ["cert", "order", "--request", &request];
    owner.write("chain.pem", &corner.verge_ok(&order));
    owner.write("key.pem", &own.serialize_pem());
    owner.import_ok(corner);
    for node in [corner, one] {
        until(|| shown(node, host).as_ref() == Some(&owner.leaf()));
    }
    let stranger = asked("shed.sites.test").serialize_request(&own).unwrap();
    owner.write("request.pem", &stranger.pem().unwrap());
    let said = text(&corner.verge(&order).stderr);
    assert!(
        said.contains("no host of the region is shed.sites.test"),
        "{said}"
    );
}
