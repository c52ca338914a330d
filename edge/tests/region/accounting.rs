//! What a node counted survives kills, power cuts and full disks: less by what was not written yet,
//! and never more.

use crate::harness::{Node, Publisher, count, init};
use crate::mount::Mount;
use crate::power::Disk;
use crate::probes::change_config;
use crate::scene::{status, wait};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

const HOST: &str = "garden.sites.localhost";
/// So long a node lives at most after it was seen to count.
const MOMENT_US_MAX: u64 = 1_500_000;

/// One visitor's connection.
pub(crate) struct Visit(BufReader<TcpStream>);

impl Visit {
    pub(crate) fn new(address: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect(address).map(|stream| Self(BufReader::new(stream)))
    }

    /// Asks for the page, and takes all of it.
    pub(crate) fn get(&mut self, host: &str) -> std::io::Result<String> {
        let request =
            format!("GET / HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        let mut line = String::new();
        let mut head = String::new();
        while line != "\r\n" {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(bytes) = lower.strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(String::from_utf8(body).unwrap())
    }
}

/// Visitors who come over and over, until they are told to stop or nobody answers.
struct Load {
    asked: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn new() -> Self {
        Self {
            asked: Arc::default(),
            is_over: Arc::default(),
            threads: Vec::new(),
        }
    }

    fn begin(&mut self, address: SocketAddr) {
        self.is_over.store(false, Ordering::Relaxed);
        let visitor = || {
            let (asked, is_over) = (Arc::clone(&self.asked), Arc::clone(&self.is_over));
            std::thread::spawn(move || {
                let Ok(mut visit) = Visit::new(address) else {
                    return;
                };
                while !is_over.load(Ordering::Relaxed) {
                    // Before the answer: it may be counted and never arrive.
                    asked.fetch_add(1, Ordering::Relaxed);
                    if visit.get(HOST).is_err() {
                        return;
                    }
                }
            })
        };
        self.threads = (0..2).map(|_| visitor()).collect();
    }

    fn end(&mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads
            .drain(..)
            .for_each(|thread| thread.join().unwrap());
        self.asked.load(Ordering::Relaxed)
    }
}

/// A node without TLS, so that visitors are served over plain HTTP whatever the time is.
pub(crate) fn be_plain(data: &Path, more: &[(&str, &str)]) {
    let plain = [
        ("ca = \"local\"", ""),
        ("clock = \"checked\"", "clock = \"trusted\""),
    ];
    change_config(data, &[plain.as_slice(), more].concat());
}

/// A node with a page.
fn with_page(data: &Path, more: &[(&str, &str)]) {
    init(data);
    let mut node = Node::start(data);
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "<p>here");
    publisher.commit("one");
    publisher.push_ok(&node, "garden", "main");
    node.stop();
    be_plain(data, more);
}

fn open_requests(status: &Value) -> u64 {
    status["accounting"]["open_requests"].as_u64().unwrap()
}

/// What is sealed, by day.
fn sealed(node: &Node) -> BTreeMap<String, u64> {
    let mut days = BTreeMap::new();
    for month in ["03", "04", "05", "06", "07", "08", "09"] {
        let month = format!("2030-{month}");
        let said = node.verge_ok(&["usage", "--by", "day", "--json", "--month", &month]);
        let usage: Value = serde_json::from_str(&said).unwrap();
        let lines = usage["lines"].as_array().unwrap().iter();
        days.extend(lines.map(|line| {
            let day = line["name"].as_str().unwrap().to_owned();
            (day, line["answers"].as_u64().unwrap())
        }));
    }
    days
}

/// Killed at any moment of its days, the sealing of each among them.
#[test]
fn a_killed_node_loses_what_it_had_not_written_and_seals_every_day_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    with_page(&data, &[]);
    let mut load = Load::new();
    let (_open, moment) = sync_channel::<()>(1);
    let (mut least, mut known) = (0, BTreeMap::new());
    let kills = count("VERGE_KILLS", 20);
    for number in 0..kills {
        // The day before is sealed two seconds later.
        let mut node = Node::start_at(&data, &format!("{} 00:14:58", date(number)));
        load.begin(node.ready().http.unwrap());
        // Every second one may die before anything, or while it seals.
        if number % 2 == 0 {
            wait(&node, |status| open_requests(status) > 20);
            let days = sealed(&node);
            // In this order: what is sealed meanwhile is missing, and never there twice.
            least = least.max(days.values().sum::<u64>() + open_requests(&status(&node)));
            known.extend(days);
        }
        let wait_us = RandomState::new().hash_one(number) % MOMENT_US_MAX;
        assert!(moment.recv_timeout(Duration::from_micros(wait_us)).is_err());
        node.kill();
        load.end();
    }
    let asked = load.end();
    let node = Node::start_at(&data, &format!("{} 00:16:00", date(kills)));
    let now = wait(&node, |status| {
        status["accounting"]["open_days"] == 0 && status["accounting"]["waiting_count"] == 0
    });
    let days = sealed(&node);
    let counted = days.values().sum::<u64>() + open_requests(&now);
    println!(
        "asked {asked}, counted {counted}, at least {least}, {} days",
        days.len()
    );
    assert!(counted <= asked, "{counted} of {asked}");
    assert!(counted >= least, "{counted}, {least} were written");
    assert!(
        known
            .iter()
            .all(|(day, answers)| days.get(day) == Some(answers))
    );
    let accounting = &now["accounting"];
    assert_eq!(accounting["contradicted"], Value::Array(Vec::new()));
    assert_eq!(accounting["gap_count"], 0);
    assert_eq!(accounting["damaged_bytes"], 0, "a kill damages nothing");
}

/// Days of 2030, from the second of March on, in a month as long as there are kills.
fn date(number: usize) -> String {
    let day = jiff::civil::date(2030, 3, 2);
    let days = jiff::Span::new().days(i64::try_from(number).unwrap());
    day.checked_add(days).unwrap().to_string()
}

fn cut_power_while_it_counts(mkfs: &[&str], bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(folder.path(), mkfs, bytes);
    let data = disk.point.join("data");
    let often = ("between_syncs_s = 60", "between_syncs_s = 1");
    with_page(&data, &[often]);
    let (_open, moment) = sync_channel::<()>(1);
    let mut load = Load::new();
    let mut node = Node::start(&data);
    let (mut asked, mut least) = (0, 0);
    for number in 0..count("VERGE_POWER_CUTS", 5) {
        load.begin(node.ready().http.unwrap());
        let before = least;
        let is_synced = |status: &Value| {
            status["accounting"]["is_synced"] == true && open_requests(status) > before
        };
        least = open_requests(&wait(&node, is_synced));
        let wait_us = RandomState::new().hash_one(number) % MOMENT_US_MAX;
        assert!(moment.recv_timeout(Duration::from_micros(wait_us)).is_err());
        disk.cut_power(&mut node);
        asked = load.end();
        node.restart();
        let counted = open_requests(&status(&node));
        println!("power cut {number}: asked {asked}, synced {least}, counted {counted}");
        assert!(counted >= least && counted <= asked);
        // What was lost is lost: from here on it counts from there.
        least = counted;
    }
    assert!(least <= asked);
    drop(node);
}

#[test]
fn a_power_cut_on_ext4_loses_what_was_not_synced_and_counts_nothing_twice() {
    cut_power_while_it_counts(&["mkfs.ext4", "-q", "-F"], 128 << 20);
}

#[test]
fn a_power_cut_on_xfs_loses_what_was_not_synced_and_counts_nothing_twice() {
    cut_power_while_it_counts(&["mkfs.xfs", "-q", "-f"], 320 << 20);
}

#[test]
fn a_full_disk_keeps_no_visitor_waiting_and_loses_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(
        &folder.path().join("disk"),
        &["-t", "tmpfs", "-o", "size=40m", "none"],
    );
    let data = mount.path().join("node");
    with_page(&data, &[]);
    let mut node = Node::start(&data);
    let visit = RefCell::new(Visit::new(node.ready().http.unwrap()).unwrap());
    let asked = Cell::new(0);
    let get = || {
        asked.set(asked.get() + 1);
        visit.borrow_mut().get(HOST).unwrap()
    };
    get();
    wait(&node, |status| open_requests(status) == 1);
    let ballast = mount.path().join("ballast");
    fill(&ballast);
    // Until the page of the journal's last bytes is full too.
    wait(&node, |status| {
        get();
        !status["accounting"]["trouble"].is_null()
    });
    let words = status(&node)["accounting"]["trouble"].to_string();
    assert!(
        words.contains("journal of what was served") && words.contains("space"),
        "{words}"
    );
    assert_eq!(get(), "<p>here");
    std::fs::remove_file(&ballast).unwrap();
    let asked = asked.get();
    wait(&node, |status| {
        status["accounting"]["trouble"].is_null() && open_requests(status) == asked
    });
    // And it is on the disk.
    drop(visit);
    node.stop();
    node.restart();
    assert_eq!(open_requests(&status(&node)), asked);
}

/// Writes until there is no room at all.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    for bytes in [1 << 20, 4_096] {
        while file.write_all(&vec![7; bytes]).is_ok() {}
    }
}

/// Counts go to the disk at a stop, damage is said, and an idle node writes nothing.
#[test]
fn what_was_counted_is_there_after_a_stop_and_damage_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    with_page(&data, &[]);
    let mut node = Node::start(&data);
    let mut visit = Visit::new(node.ready().http.unwrap()).unwrap();
    for _ in 0..30 {
        visit.get(HOST).unwrap();
    }
    drop(visit);
    node.stop();
    node.restart();
    let before = status(&node);
    assert_eq!(open_requests(&before), 30);
    assert_eq!(before["accounting"]["damaged_bytes"], 0);
    node.stop();
    let segment = segments(&data)
        .into_iter()
        .max_by_key(|path| path.metadata().unwrap().len());
    let segment = segment.unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes.extend_from_slice(b"damage");
    std::fs::write(&segment, bytes).unwrap();
    node.restart();
    let seen = status(&node);
    assert_eq!(seen["accounting"]["damaged_bytes"], 6);
    assert_eq!(open_requests(&seen), 30);
    assert!(
        node.verge_ok(&["status"])
            .contains("6 bytes of the journal of what was served")
    );
}

fn segments(data: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(data.join("journal")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}
