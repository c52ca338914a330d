//! What a node counted survives kills, power cuts and full disks: less by what was not written yet,
//! and never more.

use crate::harness::{Node, Publisher, count, init};
use crate::power::Disk;
use crate::probes::change_config;
use crate::scene::{status, wait};
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use verge_sync::clock::stopwatch;

pub(crate) const HOST: &str = "garden.sites.localhost";
/// So long a node lives at most after it was seen to count.
const MOMENT_US_MAX: u64 = 1_500_000;
/// All in one month: at its end what is too little has no row.
const KILLS_PER_NODE: usize = 25;

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
    /// When each answer had arrived.
    answered: Arc<Mutex<Vec<Instant>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn new() -> Self {
        Self {
            asked: Arc::default(),
            answered: Arc::default(),
            is_over: Arc::default(),
            threads: Vec::new(),
        }
    }

    fn begin(&mut self, address: SocketAddr) {
        self.is_over.store(false, Ordering::Relaxed);
        let visitor = || {
            let (asked, is_over) = (Arc::clone(&self.asked), Arc::clone(&self.is_over));
            let answered = Arc::clone(&self.answered);
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
                    answered.lock().unwrap().push(stopwatch());
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

    /// How many answers were not counted, and how long before `end` the first of them arrived, if those
    /// are the last.
    fn lost(&self, counted: u64, end: Instant) -> (usize, Duration) {
        let mut answered = self.answered.lock().unwrap().clone();
        answered.sort_unstable();
        let lost = answered
            .len()
            .saturating_sub(usize::try_from(counted).unwrap());
        let first = answered.iter().rev().nth(lost.saturating_sub(1));
        let ago = first.map(|first| end.saturating_duration_since(*first));
        (lost, ago.filter(|_| lost > 0).unwrap_or_default())
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
pub(crate) fn with_page(data: &Path, more: &[(&str, &str)]) {
    with_pages(data, 0, more);
}

/// The same, and so many sites beside it: `page0`, `page1`, ...
pub(crate) fn with_pages(data: &Path, count: usize, more: &[(&str, &str)]) {
    init(data);
    let mut node = Node::start(data);
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "<p>here");
    publisher.commit("one");
    publisher.push_ok(&node, "garden", "main");
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("index.html"), "<p>here").unwrap();
    for number in 0..count {
        let site = format!("page{number}");
        node.verge_ok(&["site", "create", &site, "--owner", "ana"]);
        node.verge_ok(&["deploy", "--site", &site, pages.path().to_str().unwrap()]);
    }
    node.stop();
    be_plain(data, more);
}

pub(crate) fn open_requests(status: &Value) -> u64 {
    status["accounting"]["open_requests"].as_u64().unwrap()
}

/// What is sealed, by day.
fn sealed(node: &Node) -> BTreeMap<String, u64> {
    let said = node.verge_ok(&["usage", "--by", "day", "--json", "--month", "2030-03"]);
    let usage: Value = serde_json::from_str(&said).unwrap();
    let lines = usage["lines"].as_array().unwrap().iter();
    lines
        .map(|line| {
            let day = line["name"].as_str().unwrap().to_owned();
            (day, line["answers"].as_u64().unwrap())
        })
        .collect()
}

/// All that a node has counted, looked at while nothing is counted; and what is sealed of it.
fn counted(node: &Node) -> (u64, BTreeMap<String, u64>) {
    loop {
        let now = status(node);
        let days = sealed(node);
        let last = days.keys().next_back().map(String::as_str);
        // No day is on its way from one to the other.
        if last == now["accounting"]["sealed_until"].as_str()
            && now["accounting"] == status(node)["accounting"]
        {
            return (days.values().sum::<u64>() + open_requests(&now), days);
        }
    }
}

/// A life of a node that was killed.
struct Life {
    load: Load,
    end: Instant,
    /// What was counted before it, and what was seen to be written in it.
    before: u64,
    least: u64,
}

impl Life {
    /// Day `number`: the day before is sealed two seconds after it began.
    fn live(node: &mut Node, number: usize, before: u64) -> Self {
        let mut load = Load::new();
        load.begin(node.ready().http.unwrap());
        let mut least = before;
        // Every second one may die before anything, or while it seals.
        if number.is_multiple_of(2) {
            wait(node, |status| open_requests(status) > 20);
            // In this order: what is sealed meanwhile is missing, and never there twice.
            let days: u64 = sealed(node).values().sum();
            least = least.max(days + open_requests(&status(node)));
        }
        let (_open, moment) = sync_channel::<()>(1);
        let wait_us = RandomState::new().hash_one(number) % MOMENT_US_MAX;
        assert!(moment.recv_timeout(Duration::from_micros(wait_us)).is_err());
        node.kill();
        Self {
            load,
            end: stopwatch(),
            before,
            least,
        }
    }

    fn end(mut self, now: u64) {
        let asked = self.load.end();
        let (least, most) = (self.least, self.before + asked);
        let (lost, ago) = self.load.lost(now - self.before, self.end);
        println!("asked {asked}: lost {lost} answers of the last {ago:?}");
        assert!(now >= least && now <= most, "{least} <= {now} <= {most}");
    }
}

/// Days of March 2030, from the second on.
fn date(number: usize) -> String {
    format!("2030-03-{:02}", number + 2)
}

/// So many kills of one node, at any moment of its days, the sealing of each among them.
fn kill_every_day(kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    with_page(&data, &[]);
    let (mut last, mut known) = (None::<Life>, BTreeMap::new());
    for number in 0..=kills {
        let mut node = Node::start_at(&data, &format!("{} 00:14:58", date(number)));
        let (before, days) = counted(&node);
        if let Some(last) = last.take() {
            last.end(before);
        }
        let is_kept = |(day, answers): (&String, &u64)| days.get(day) == Some(answers);
        assert!(known.iter().all(is_kept), "{known:?} {days:?}");
        known = days;
        if number < kills {
            last = Some(Life::live(&mut node, number, before));
            continue;
        }
        let now = wait(&node, |status| status["accounting"]["open_days"] == 0);
        let accounting = &now["accounting"];
        assert_eq!(accounting["contradicted"], Value::Array(Vec::new()));
        assert_eq!(accounting["gap_count"], 0);
        assert_eq!(accounting["damaged_bytes"], 0, "a kill damages nothing");
        assert_eq!(counted(&node).0, before);
    }
}

#[test]
fn a_killed_node_loses_what_it_had_not_written_and_seals_every_day_once() {
    let kills = count("VERGE_KILLS", 20);
    for first in (0..kills).step_by(KILLS_PER_NODE) {
        kill_every_day(KILLS_PER_NODE.min(kills - first));
    }
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
