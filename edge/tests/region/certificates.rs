//! Certificates of a region, from real Pebble: any node answers, issuers order, every node uses them.

use crate::harness::{Node, Publisher, init_with, text};
use crate::knot::{KEY, KEY_NAME, Knot, ZONE};
use crate::pebble::{Pebble, Setup};
use crate::scene::{
    Newcomer, PATIENCE, Region, approve, nothing_pending, sign_pending, ticket, wait,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use verge_edge::cli::client::{Protocol, Visitor};
use verge_sync::clock::stopwatch;

/// A region at whose nodes the authority looks for http-01: node N at 127.0.0.(N+2), all at one port.
struct Town {
    region: Region,
    pebble: Pebble,
    /// What browsers of this town trust.
    root: tempfile::NamedTempFile,
    /// Another authority, from which owners have certificates.
    owners: (Issuer<'static, KeyPair>, tempfile::NamedTempFile),
    /// Whom the authority asks about names, if not its own server.
    dns: Option<SocketAddr>,
}

impl Town {
    /// Of so many providers with a node each; certificates live for `life_s`.
    fn of(count: usize, life_s: u64) -> Self {
        let http_port = free_port(count);
        let setup = Setup {
            http_port,
            life_s,
            ..Setup::default()
        };
        let mut town = Self::found(&setup, "sites.test", "");
        for number in 1..count {
            town.join(number, http_port);
        }
        // The authority always asks the last of them.
        let last = address(count - 1).to_string();
        town.pebble
            .tell_dns("set-default-ipv4", &json!({ "ip": last }));
        town
    }

    /// The first node, with `more` in its configuration.
    fn found(setup: &Setup, zone: &str, more: &str) -> Self {
        let pebble = Pebble::start(setup);
        let root = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(root.path(), pebble.issuing_root_pem()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("n0");
        let zone = format!("--site-zone={zone}");
        let zones = ["--host-proof=none", &zone, "--admin-zone=nodes.test"];
        init_with(&data, &zones);
        let mut town = Self {
            region: Region {
                nodes: Vec::new(),
                folder,
            },
            pebble,
            root,
            owners: authority(),
            dns: setup.dns,
        };
        town.set(&data, 0, setup.http_port);
        let path = data.join("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{config}\n{more}")).unwrap();
        let key = data.join("dns.key");
        std::fs::write(&key, KEY).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        town.region.nodes.push(Node::start(&data));
        town
    }

    fn join(&mut self, number: usize, http_port: u16) {
        let provider = format!("P{number}");
        let data = self.region.new_data(&provider);
        let ticket = ticket(&self.region.nodes[0]);
        let mut newcomer = Newcomer::ask(&data, &ticket, Some(&provider));
        newcomer.reads("wait until");
        for node in &self.region.nodes {
            approve(node, &provider);
        }
        newcomer.becomes_a_member();
        self.set(&data, number, http_port);
        self.region.nodes.push(Node::start(&data));
        self.region.all_in_step();
    }

    /// Sets what init does not: no CA of its own, the port, whom to trust and to ask.
    fn set(&self, data: &Path, number: usize, http_port: u16) {
        let api_root = data.join("api-root.pem");
        std::fs::write(api_root, self.pebble.root_pem()).unwrap();
        let path = data.join("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let (issued, owners) = (self.root.path().display(), self.owners.1.path().display());
        let roots = format!("roots = [\"api-root.pem\", \"{issued}\", \"{owners}\"]");
        let http = format!("http = [\"{}:{http_port}\"]", address(number));
        let dns = self.dns.unwrap_or(self.pebble.dns_address());
        let dns = format!("resolvers = [\"{dns}\"]");
        let mut changed = config;
        for (from, to) in [
            ("ca = \"local\"", ""),
            ("http = [\"127.0.0.1:0\"]", &http),
            ("roots = []", &roots),
            ("resolvers = []", &dns),
            ("clock = \"checked\"", "clock = \"trusted\""),
        ] {
            assert!(changed.contains(from), "{from}: {changed}");
            changed = changed.replacen(from, to, 1);
        }
        std::fs::write(&path, changed).unwrap();
    }

    /// Sets certificates up at node 0, to be ordered by these, with the votes of all.
    fn set_up(&self, issuers: &[&str]) {
        let url = self.pebble.url();
        let mut arguments = vec!["cert", "setup", "--agree", "--contact=a@example.org"];
        arguments.extend(["--directory", &url]);
        for issuer in issuers {
            arguments.extend(["--issuer", issuer]);
        }
        let nodes = &self.region.nodes;
        let said = nodes[0].verge_ok(&arguments);
        for node in nodes.iter().skip(1).take(nodes.len() / 2) {
            assert!(said.contains("votes"), "{said}");
            sign_pending(node);
        }
    }

    /// Waits until every node has the key of all that is wanted, and that is so many.
    fn all_certified(&self, count: usize) {
        for node in &self.region.nodes {
            wait(node, |status| has(status, count));
        }
    }

    /// What a visitor gets at a node over HTTPS.
    fn visit(&self, node: &Node, host: &str, path: &str) -> anyhow::Result<String> {
        let visitor = Visitor::new(node.ready().https.unwrap(), self.root.path())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(visitor.get(Protocol::Http1, host, path, "identity"))?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

fn authority() -> (Issuer<'static, KeyPair>, tempfile::NamedTempFile) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
    (Issuer::new(params, key), file)
}

fn has(status: &Value, count: usize) -> bool {
    let certificates = &status["certificates"];
    let is = |field: &str| certificates[field] == json!(count);
    is("wanted_count") && is("valid_count") && is("here_count")
}

/// Asks again and again, for what no status tells.
fn until(is_so: impl Fn() -> bool) {
    let begun = stopwatch();
    while !is_so() {
        assert!(
            begun.elapsed() < PATIENCE,
            "what was waited for did not come"
        );
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(number + 2).unwrap())
}

/// A port that is free at every node's address.
fn free_port(count: usize) -> u16 {
    let is_free = |port: u16| {
        let mut numbers = 0..count;
        numbers.all(|number| TcpListener::bind((address(number), port)).is_ok())
    };
    let mut tries = (0..100).map(|_try| {
        let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        any.local_addr().unwrap().port()
    });
    tries.find(|port| is_free(*port)).unwrap()
}

/// The certificate that a node shows for a host.
fn shown(node: &Node, host: &str) -> Option<CertificateDer<'static>> {
    let address = node.ready().https.unwrap();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(["-servername", host])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    CertificateDer::from_pem_slice(&output.stdout).ok()
}

#[test]
fn a_host_is_proved_at_any_node_and_certified_at_all() {
    let town = Town::of(3, 90 * 86_400);
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
    let mut town = Town::of(2, 90 * 86_400);
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
    let knot = Knot::start("* A 127.0.0.2\n");
    let setup = Setup {
        http_port: free_port(1),
        dns: Some(knot.address()),
        ..Setup::default()
    };
    let server = knot.address();
    let driver = format!(
        "[dns_update]\nserver = \"{server}\"\nzone = \"{ZONE}\"\nkey_name = \"{KEY_NAME}\"\nkey_file = \"dns.key\"\n"
    );
    let town = Town::found(&setup, ZONE, &driver);
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
    until(|| is_there("garden.example.org") && is_there("shed.example.org"));
    let one = shown(node, "garden.example.org").unwrap();
    assert_eq!(shown(node, "shed.example.org").unwrap(), one);
    let listed = node.verge_ok(&["cert", "list"]);
    assert!(
        listed.contains("*.example.org  valid for 89 days"),
        "{listed}"
    );
    // What does not admit everybody has its own.
    node.verge_ok(&["site", "set", "shed", "--admit", &id_of(node)]);
    until(|| shown(node, "shed.example.org").is_some_and(|now| now != one));
    assert_eq!(shown(node, "garden.example.org").unwrap(), one);
    let unknown = [
        "cert",
        "setup",
        "--agree",
        "--directory",
        &url,
        "--dns",
        "Nobody",
    ];
    let said = text(&node.verge(&unknown).stderr);
    assert!(said.contains("no single node is meant"), "{said}");
}

#[test]
fn a_node_that_cannot_change_the_zone_is_given_no_part_in_it() {
    let town = Town::of(2, 90 * 86_400);
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
}

fn id_of(node: &Node) -> String {
    let status = crate::scene::status(node);
    status["provider"]["id"].as_str().unwrap().to_owned()
}

/// What a node says in the clear: the status, and the body.
fn plain(node: &Node, host: &str) -> (u16, String) {
    let address: SocketAddr = node.ready().http.unwrap();
    let output = Command::new("curl")
        .args(["-s", "-o", "-", "-w", "\n%{http_code}", "-H"])
        .arg(format!("Host: {host}"))
        .arg(format!("http://{address}/"))
        .output()
        .unwrap();
    let said = text(&output.stdout);
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
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

/// Somebody with a certificate and its key in two files.
struct Owner {
    folder: tempfile::TempDir,
}

impl Owner {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Has a certificate for `host` from `issuer`.
    fn has(&self, host: &str, issuer: &Issuer<'_, KeyPair>) {
        let own = KeyPair::generate().unwrap();
        let leaf = asked(host).signed_by(&own, issuer).unwrap();
        self.write("chain.pem", &leaf.pem());
        self.write("key.pem", &own.serialize_pem());
    }

    fn import(&self, node: &Node) -> std::process::Output {
        let (chain, key) = (self.file("chain.pem"), self.file("key.pem"));
        node.verge(&["cert", "import", "--certificate", &chain, "--key", &key])
    }

    fn import_ok(&self, node: &Node) {
        let done = self.import(node);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }

    fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file("chain.pem")).unwrap()
    }
}

fn asked(host: &str) -> CertificateParams {
    CertificateParams::new(vec![host.to_owned()]).unwrap()
}

#[test]
fn an_owner_brings_a_certificate_that_no_issuer_sees() {
    let town = Town::of(2, 90 * 86_400);
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
    let town = Town::of(2, 90 * 86_400);
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
