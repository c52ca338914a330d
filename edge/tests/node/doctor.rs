//! `verge doctor` at a real node, with real DNS.

use crate::harness::{Node, Publisher, init, text};
use crate::knot::{KEY, KEY_NAME, Knot, ZONE};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A node with other settings, and a site that is published.
fn start(data: &Path, change: impl Fn(String) -> String) -> Node {
    init(data);
    let path = data.join("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    // Nobody keeps the clock of a test.
    let config = config.replace("clock = \"checked\"", "clock = \"trusted\"");
    fs::write(path, change(config)).unwrap();
    let node = Node::start(data);
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "the garden");
    publisher.commit("one");
    publisher.push_ok(&node, "garden", "main");
    node
}

/// Grade and words of each line, by what it is about.
fn look(node: &Node) -> (bool, Vec<(String, String, String)>) {
    let output = node.verge(&["doctor", "--json"]);
    let lines = text(&output.stdout);
    let found = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let words = format!("{}: {}", field("says"), field("todo"));
        (field("about"), field("grade"), words)
    });
    (output.status.success(), found.collect())
}

#[test]
fn a_node_that_is_well_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(&folder.path().join("node"), |config| config);
    let (is_well, found) = look(&node);
    assert!(is_well, "{found:?}");
    let bad: Vec<_> = found
        .iter()
        .filter(|(about, grade, _)| grade != "ok" && about != "disk")
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    let host = "garden.sites.localhost";
    for about in [
        "clock",
        "disk",
        "door nodes",
        &format!("dns {host}"),
        &format!("certificate {host}"),
    ] {
        assert!(
            found.iter().any(|line| line.0 == about),
            "{about}: {found:?}"
        );
    }
    for door in ["http", "https", "ssh"] {
        let about = format!("door {door} 127.0.0.1:");
        assert!(
            found.iter().any(|line| line.0.starts_with(&about)),
            "{door}: {found:?}"
        );
    }
    let lines = node.verge_ok(&["doctor"]);
    assert!(
        lines.contains("ok        certificate garden.sites.localhost: is valid for"),
        "{lines}"
    );
    let (mut node, data) = (node, folder.path().join("node"));
    node.stop();
    let output = crate::harness::verge(&data, &["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no node runs"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let knot = Knot::start(
        "www A 127.0.0.1\naway A 192.0.2.9\nboth A 127.0.0.1\nboth A 192.0.2.9\nsix A 127.0.0.1\nsix AAAA ::1\n",
    );
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    let dns = knot.address();
    let node = start(&data, |config| {
        let config = config.replace("resolvers = []", &format!("resolvers = [\"{dns}\"]"));
        let key = data.join("dns.key");
        fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDA=").unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        format!(
            "{config}\n[dns_update]\nserver = \"{dns}\"\nzone = \"{ZONE}\"\n\
             key_name = \"{KEY_NAME}\"\nkey_file = \"dns.key\"\n"
        )
    });
    let hosts = ["www", "away", "both", "six", "none"].map(|label| format!("{label}.{ZONE}"));
    for host in &hosts {
        node.verge_ok(&["site", "set", "garden", "--add-host", host]);
    }
    let (is_well, found) = look(&node);
    assert!(!is_well);
    let of = |about: &str| -> Vec<(&str, &str)> {
        let lines = found.iter().filter(|line| line.0 == about);
        lines
            .map(|line| (line.1.as_str(), line.2.as_str()))
            .collect()
    };
    let rows = [
        ("dns www.example.test", "ok", "leads to 127.0.0.1"),
        (
            "dns away.example.test",
            "fault",
            "make it a CNAME of garden.sites.localhost.",
        ),
        ("dns both.example.test", "warning", "but also to 192.0.2.9"),
        ("dns none.example.test", "fault", "has no address in DNS"),
        ("certificate away.example.test", "ok", "is valid for"),
        ("zone server", "fault", "BADSIG"),
    ];
    for (about, grade, words) in rows {
        let lines = of(about);
        let [(found_grade, found_words)] = lines.as_slice() else {
            panic!("{about}: {found:?}");
        };
        assert_eq!(
            (*found_grade, found_words.contains(words)),
            (grade, true),
            "{about}: {lines:?}"
        );
    }
    let six = of("dns six.example.test");
    assert!(
        six.iter().any(|(_, words)| words.contains("AAAA")),
        "{six:?}"
    );
    let said = node.verge(&["doctor"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(
        text(&said.stderr).contains("faults: "),
        "{}",
        text(&said.stderr)
    );
    let all = [text(&said.stdout), text(&said.stderr)].concat();
    assert!(!all.contains("MDEyMzQ1"), "no key is shown: {all}");
    the_right_key_is_taken(node, &data);
}

fn the_right_key_is_taken(mut node: Node, data: &Path) {
    fs::write(data.join("dns.key"), KEY).unwrap();
    node.stop();
    let node = Node::start(data);
    let (_, found) = look(&node);
    let zone = found.iter().find(|line| line.0 == "zone server").unwrap();
    assert_eq!(zone.1, "ok", "{zone:?}");
}

#[test]
fn a_door_that_is_shut_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let node = start(&folder.path().join("node"), |config| {
        config.replace("public_https = []", &format!("public_https = [\"{gone}\"]"))
    });
    let (is_well, found) = look(&node);
    assert!(!is_well);
    let door = found
        .iter()
        .find(|line| line.0 == format!("door https {gone}"));
    assert_eq!(door.unwrap().1, "fault", "{found:?}");
}
