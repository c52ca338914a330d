//! Hosts of a publisher's own domain, with a real DNS server.

use crate::harness::{Node, Publisher, block_on, init_with, page};
use crate::knot::{BROKEN_ZONE, Knot};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use verge_edge::hosts::{DnsResolver, Proof, Resolver, Verdict};

const TEXT: &str = "verge-site=0123abcd";

/// Every way in which a domain can be set up, right and wrong.
const RECORDS: &str = r#"
@ A 192.0.2.1
@ TXT "v=spf1 -all"
_verge-challenge TXT "something else"
_verge-challenge TXT "verge-site=0123abcd"
www CNAME garden.sites.example.
Upper CNAME GARDEN.Sites.Example.
other CNAME other.sites.example.
chained CNAME www
beside CNAME garden.sites.example.evil.example.
split A 192.0.2.1
_verge-challenge.split TXT "verge-" "site=" "0123abcd"
_verge-challenge.led CNAME _verge-challenge
wrong A 192.0.2.1
_verge-challenge.wrong TXT "verge-site=0123abce"
both CNAME other.sites.example.
_verge-challenge.both TXT "verge-site=0123abcd"
binary A 192.0.2.1
_verge-challenge.binary TXT "\255\254verge-site=0123abcd"
"#;

fn proof(host: &str) -> Proof {
    Proof {
        host: host.to_owned(),
        targets: vec!["garden.sites.example".to_owned()],
        text: TEXT.to_owned(),
    }
}

fn look(resolver: &dyn Resolver, host: &str) -> Verdict {
    block_on(async { proof(host).look(resolver).await })
}

#[test]
fn proofs_are_found_and_others_are_not() {
    let mut records = RECORDS.to_owned();
    // Too long for one datagram: the rest comes over TCP.
    for number in 0..40 {
        writeln!(
            records,
            "_verge-challenge.long TXT \"{number} {}\"",
            "x".repeat(100)
        )
        .unwrap();
    }
    records.push_str("_verge-challenge.long TXT \"verge-site=0123abcd\"\n");
    let knot = Knot::start(&records);
    let resolver = DnsResolver::new(vec![knot.address()]);
    let rows = [
        ("www.example.test", true),
        ("upper.example.test", true),
        ("example.test", true),
        ("split.example.test", true),
        ("led.example.test", true),
        ("both.example.test", true),
        ("long.example.test", true),
        ("other.example.test", false),
        ("chained.example.test", false),
        ("beside.example.test", false),
        ("wrong.example.test", false),
        ("binary.example.test", false),
        ("missing.example.test", false),
        ("deep.missing.example.test", false),
    ];
    for (host, is_proved) in rows {
        let expected = if is_proved {
            Verdict::Proved
        } else {
            Verdict::NotThere
        };
        assert_eq!(look(&resolver, host), expected, "{host}");
    }
}

/// SERVFAIL, REFUSED, nobody there: none of it says that a proof is gone.
#[test]
fn servers_that_do_not_answer_prove_nothing() {
    let knot = Knot::start(RECORDS);
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.local_addr().unwrap()
    };
    let broken_host = format!("www.{BROKEN_ZONE}");
    let rows: [(SocketAddr, &str); 4] = [
        (knot.address(), &broken_host),
        (knot.address(), "www.elsewhere.example"),
        (nobody, "www.example.test"),
        (silent.local_addr().unwrap(), "www.example.test"),
    ];
    // Together, because each takes as long as a node waits.
    std::thread::scope(|scope| {
        for (server, host) in rows {
            scope.spawn(move || {
                let resolver = DnsResolver::new(vec![server]);
                let verdict = look(&resolver, host);
                let is_silent = matches!(verdict, Verdict::Unanswered(_));
                assert!(is_silent, "{host} at {server}: {verdict:?}");
            });
        }
    });
    // Where the next server answers, that is the answer.
    let resolver = DnsResolver::new(vec![nobody, knot.address()]);
    assert_eq!(look(&resolver, "www.example.test"), Verdict::Proved);
    assert_eq!(look(&resolver, "wrong.example.test"), Verdict::NotThere);
}

/// A node whose region asks for proofs, and which asks `dns`.
fn node_that_asks(data: &std::path::Path, dns: SocketAddr) -> Node {
    init_with(data, &[]);
    let path = data.join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.replace("resolvers = []", &format!("resolvers = [\"{dns}\"]"));
    std::fs::write(path, config).unwrap();
    Node::start(data)
}

#[test]
fn a_publishers_own_domain_is_served_once_its_dns_record_is_seen() {
    let mut knot = Knot::start("www CNAME garden.sites.localhost.\nother CNAME x.sites.localhost.");
    let folder = tempfile::tempdir().unwrap();
    let mut node = node_that_asks(&folder.path().join("node"), knot.address());
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "the garden");
    publisher.commit("one");
    publisher.push_ok(&node, "garden", "main");
    let add =
        |node: &Node, host: &str| node.verge_ok(&["site", "set", "garden", "--add-host", host]);

    let said = add(&node, "www.example.test");
    assert!(
        said.contains("this node found the DNS record of www.example.test"),
        "{said}"
    );
    assert_eq!(
        page(&node, "www.example.test", "/"),
        Ok(b"the garden".to_vec())
    );

    let said = add(&node, "example.test");
    assert!(
        said.contains("does not find the DNS record of example.test yet"),
        "{said}"
    );
    assert!(
        said.contains("example.test. CNAME garden.sites.localhost."),
        "{said}"
    );
    let record = said.lines().find(|line| line.contains(" TXT ")).unwrap();
    let sites = node.verge_ok(&["site", "list"]);
    assert!(sites.contains("(example.test not proved)"), "{sites}");
    assert!(!sites.contains("https://example.test"), "{sites}");
    // The record as the node wrote it is one that a zone file takes.
    knot.replace(&format!(
        "www CNAME garden.sites.localhost.\n{}",
        record.trim()
    ));
    let said = add(&node, "example.test");
    assert!(
        said.contains("this node found the DNS record of example.test"),
        "{said}"
    );
    assert_eq!(page(&node, "example.test", "/"), Ok(b"the garden".to_vec()));

    for (host, expected) in [
        ("other.example.test", "does not find the DNS record"),
        ("www.broken.example", "DNS gave no answer about"),
    ] {
        let said = add(&node, host);
        assert!(said.contains(expected), "{host}: {said}");
        node.verge_ok(&["site", "set", "garden", "--remove-host", host]);
    }
    node.stop();
    node = Node::start(&folder.path().join("node"));
    for host in ["www.example.test", "example.test"] {
        assert_eq!(page(&node, host, "/"), Ok(b"the garden".to_vec()), "{host}");
    }
    let sites = node.verge_ok(&["site", "list"]);
    assert!(sites.trim_end().ends_with("(settled)"), "{sites}");
}
