//! Members look at one another: what they see of a damaged disk, of a visitors' port that does not
//! answer, and what is written of it when the day is over.

use crate::harness::{Node, Publisher, page};
use crate::scene::{Region, status, wait};
use serde_json::Value;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const HOST: &str = "garden.sites.localhost";

/// Stands before a node's visitors' port, until it is closed.
struct Relay {
    address: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
    passed: Arc<AtomicUsize>,
}

impl Relay {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            to: Arc::default(),
            passed: Arc::default(),
        };
        let (to, passed) = (Arc::clone(&relay.to), Arc::clone(&relay.passed));
        std::thread::spawn(move || {
            for caller in listener.incoming() {
                let to = *to.lock().unwrap();
                if let (Ok(caller), Some(to)) = (caller, to) {
                    passed.fetch_add(1, Ordering::Relaxed);
                    join(caller, TcpStream::connect(to).unwrap());
                }
            }
        });
        relay
    }

    fn leads_to(&self, address: Option<SocketAddr>) {
        *self.to.lock().unwrap() = address;
    }
}

fn join(caller: TcpStream, node: TcpStream) {
    for (from, to) in [(&caller, &node), (&node, &caller)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        std::thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(std::net::Shutdown::Both));
        });
    }
}

pub(crate) fn change_config(data: &Path, changes: &[(&str, &str)]) {
    let path = data.join("config.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    std::fs::File::create(&path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Starts every node of the region again with other settings, by `start`: one after the other, since
/// each tells the others where it is now.
fn restart_with(
    region: &mut Region,
    changes: impl Fn(usize) -> Vec<(String, String)>,
    start: impl Fn(&Path) -> Node,
) {
    for number in 0..region.nodes.len() {
        region.nodes[number].stop();
        let data = region.nodes[number].data().to_owned();
        let changes = changes(number);
        let changes: Vec<(&str, &str)> = changes
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .collect();
        change_config(&data, &changes);
        region.nodes[number] = start(&data);
        region.all_in_step();
    }
}

fn often() -> (String, String) {
    let key = "between_probes_s = ";
    (format!("{key}600"), format!("{key}1"))
}

/// What a node has seen of another.
fn seen<'a>(status: &'a Value, node: &str) -> &'a Value {
    let peers = status["peers"].as_array().unwrap();
    let peer = peers.iter().find(|peer| peer["node"]["name"] == node);
    &peer.unwrap()["watched"]
}

fn count(status: &Value, node: &str, key: &str) -> u64 {
    seen(status, node)[key].as_u64().unwrap()
}

fn failed(status: &Value, node: &str) -> u64 {
    let count = |key| count(status, node, key);
    count("probes_today") - count("answered_today") - count("wrong_today")
}

/// Flips every byte of what the node has stored, in place.
fn damage_all(data: &Path) {
    for file in std::fs::read_dir(data.join("blobs")).unwrap() {
        let path = file.unwrap().path();
        let bytes: Vec<u8> = std::fs::read(&path).unwrap();
        let flipped: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        std::fs::set_permissions(&path, permissions).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&flipped, 0).unwrap();
    }
}

#[test]
fn members_see_a_damaged_disk_and_a_port_that_does_not_answer() {
    let mut region = Region::of(3);
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    publisher.write("index.html", "<p>here");
    // Too large for one look: visitors' requests are for a part.
    let film: Vec<u8> = (0..800_000_u32).flat_map(u32::to_le_bytes).collect();
    publisher.write("film.bin", film);
    publisher.commit("one");
    let said = publisher.push_ok(&region.nodes[0], "garden", "main");
    assert!(said.contains("held by 3 of 3 nodes"), "{said}");
    let relay = Relay::new();
    let changes = |number| {
        let place = format!("public_https = [\"{}\"]", relay.address);
        match number {
            // Nobody visits it, so nobody's visit mends it.
            1 => vec![often(), ("ca = \"local\"".to_owned(), String::new())],
            2 => vec![often(), ("public_https = []".to_owned(), place)],
            _ => vec![often()],
        }
    };
    restart_with(&mut region, changes, Node::start);
    relay.leads_to(region.nodes[2].ready().https);

    let [corner, one, two] = [&region.nodes[0], &region.nodes[1], &region.nodes[2]];
    for (node, others) in [
        (corner, ["P1", "P2"]),
        (one, ["Corner", "P2"]),
        (two, ["Corner", "P1"]),
    ] {
        let status = wait(node, |status| {
            others
                .iter()
                .all(|other| count(status, other, "answered_today") >= 8)
        });
        for other in others {
            assert_eq!(count(&status, other, "wrong_today"), 0, "{status:#}");
        }
    }
    assert!(relay.passed.load(Ordering::Relaxed) > 0);

    damage_all(one.data());
    for observer in [corner, two] {
        let status = wait(observer, |status| count(status, "P1", "wrong_today") > 0);
        let words = seen(&status, "P1")["wrong_words"].as_str().unwrap();
        assert!(
            words.starts_with("held other bytes than the version's at ")
                && words.contains(" UTC, ")
                && words.ends_with(" probes"),
            "{words}"
        );
    }
    assert_eq!(count(&status(corner), "P2", "wrong_today"), 0);
    let listed = corner.verge_ok(&["node", "list"]);
    assert!(listed.contains("held other bytes than"), "{listed}");

    let before = failed(&status(corner), "P2");
    relay.leads_to(None);
    let status = wait(corner, |status| failed(status, "P2") > before + 1);
    assert_eq!(count(&status, "P2", "wrong_today"), 0, "{status:#}");
    let uptime = corner.verge_ok(&["site", "uptime", "garden"]);
    assert!(uptime.contains("P2") && uptime.contains("probes of this node today"));
    // For everybody: figures of nodes, and no site's.
    let public = String::from_utf8(page(corner, "admin.localhost", "/status").unwrap()).unwrap();
    assert!(
        public.contains("answered_today") && !public.contains("garden"),
        "{public}"
    );
    assert!(page(two, HOST, "/").is_ok());
}

#[test]
fn what_was_seen_in_a_day_is_written_when_it_is_over() {
    let mut region = Region::of(2);
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    publisher.write("index.html", "<p>here");
    publisher.commit("one");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    let trusted = ("\"checked\"", "\"trusted\"");
    let trusted = (trusted.0.to_owned(), trusted.1.to_owned());
    let start = |data: &Path| Node::start_at(data, "2030-06-01 23:59:10");
    restart_with(&mut region, |_| vec![often(), trusted.clone()], start);
    for (node, other) in [(0, "P1"), (1, "Corner")] {
        let node = &region.nodes[node];
        let status = wait(node, |status| {
            !seen(status, other)["answered_permille"].is_null()
        });
        assert_eq!(count(&status, other, "observer_count"), 1);
        assert!(count(&status, other, "answered_permille") > 0, "{status:#}");
        assert_eq!(count(&status, other, "wrong_count"), 0);
        let uptime = node.verge_ok(&["site", "uptime", "garden"]);
        assert!(
            uptime.contains("probes over 30 days (1 observer)"),
            "{uptime}"
        );
    }
    let logged = region.nodes[0].verge_ok(&["record", "log", "--kind", "observation"]);
    assert_eq!(logged.lines().count(), 2, "{logged}");
}
