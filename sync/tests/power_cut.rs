//! Cuts the power of a file system, or kills the process, at random moments while a store is at
//! work, and finds everything that was acknowledged, whole, and nothing half.
//!
//! The power cut is the shutdown ioctl on a loop-mounted ext4 or xfs: what was not synced is gone.
//! The store's process is this test binary again, running only [`workload`], which prints a line
//! for each thing that it was told is durable. Counts: `VERGE_POWER_CUTS` per file system (5),
//! `VERGE_KILLS` (20); `VERGE_SEED` repeats the workloads of a run, though not its moments.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test ends at the first thing that does not work, and is told its counts by make"
)]

mod mount;

use mount::{Mount, run, text};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use verge_sync::clock::stopwatch;
use verge_sync::store::{LocalDisk, Row, Staged, Store, StoreError};
use verge_sync::{Digest, RecordId};

/// Deploys that the workload makes when nobody stops it.
const ALONE_DEPLOYS: u32 = 12;
/// The power is cut after at most so many lines of the workload...
const LINES_MAX: u64 = 60;
/// ...and at most so many microseconds.
const JITTER_US_MAX: u64 = 20_000;

/// Numbers that a seed fixes (splitmix64).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Bytes of a blob: mostly small, sometimes several extents.
    fn bytes(&mut self) -> Vec<u8> {
        let len_max = if self.below(5) == 0 { 400_000 } else { 9_000 };
        let len = usize::try_from(self.below(len_max)).unwrap();
        let first = self.below(u64::MAX).to_be_bytes();
        first.into_iter().cycle().take(len.max(8)).collect()
    }
}

fn variable(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| unreachable!("{name} is no number: {text}")),
        Err(_) => default,
    }
}

fn seed() -> u64 {
    variable("VERGE_SEED", RandomState::new().hash_one("verge") >> 16)
}

/// The store at work: it deploys until it is stopped, here after a few times.
///
/// Started by the other tests with `VERGE_WORKLOAD_DIR`, it goes on until it is killed or its disk
/// is gone.
#[test]
fn workload() {
    if let Some(dir) = std::env::var_os("VERGE_WORKLOAD_DIR") {
        let ended = work(
            Path::new(&dir),
            variable("VERGE_WORKLOAD_SEED", 0),
            u32::MAX,
            print_line,
        );
        println!("ended {ended:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    work(dir.path(), seed(), ALONE_DEPLOYS, |line| lines.push(line)).unwrap();
    verify(dir.path(), &lines);
    assert!(lines.len() > 30, "{lines:?}");
}

/// One line to a pipe is one write: it arrives whole or not at all.
fn print_line(line: String) {
    println!("{line}");
}

/// Deploys: some blobs put, some staged and adopted, then a record that names them, now and then a
/// collection of what old deploys named.
fn work(
    dir: &Path,
    seed: u64,
    deploys: u32,
    mut say: impl FnMut(String),
) -> Result<(), StoreError> {
    let mut dice = Dice(seed);
    let store = Store::open(dir, Arc::new(LocalDisk))?;
    let mut kept: Vec<Vec<Digest>> = Vec::new();
    for number in 0..deploys {
        let blobs = deploy_blobs(&store, &mut dice, &mut say)?;
        let row = row_naming(number, seed, &blobs);
        let id = row.id;
        store.records().put(vec![row])?.wait()?;
        say(format!("record {id}"));
        kept.push(blobs);
        if dice.below(6) == 0 {
            let dropped: Vec<_> = kept.drain(..kept.len() / 2).flatten().collect();
            for digest in &dropped {
                say(format!("drop {digest}"));
            }
            let live: BTreeSet<_> = kept.iter().flatten().copied().collect();
            store.collect(&live, Duration::ZERO, stopwatch())?;
        }
    }
    Ok(())
}

fn deploy_blobs(
    store: &Store,
    dice: &mut Dice,
    say: &mut impl FnMut(String),
) -> Result<Vec<Digest>, StoreError> {
    let mut blobs = Vec::new();
    for _ in 0..=dice.below(3) {
        let digest = store.blobs().put(&dice.bytes())?;
        say(format!("blob {digest}"));
        blobs.push(digest);
    }
    let staging = store.staging()?;
    let mut staged = Vec::new();
    for number in 0..dice.below(4) {
        let (bytes, path) = (dice.bytes(), staging.path().join(number.to_string()));
        if fs::write(&path, &bytes).is_err() {
            // The disk is gone; adopting the half file must be what fails.
            continue;
        }
        staged.push(Staged {
            path,
            digest: Digest::of(&bytes),
        });
    }
    store.blobs().adopt_all(&staged)?;
    for file in staged {
        say(format!("blob {}", file.digest));
        blobs.push(file.digest);
    }
    Ok(blobs)
}

/// A record whose bytes are the digests that it names, and whose id is the digest of those.
fn row_naming(number: u32, seed: u64, blobs: &[Digest]) -> Row {
    let bytes: Vec<u8> = blobs.iter().flat_map(|digest| *digest.as_bytes()).collect();
    Row {
        id: RecordId::from_digest(Digest::of(&bytes)),
        kind: 7,
        subject: seed.to_be_bytes().to_vec(),
        author: [1; 32],
        epoch: 0,
        sequence: number,
        bytes,
    }
}

/// The digests after a verb in what the workload said.
fn said(verb: &str, lines: &[String]) -> BTreeSet<Digest> {
    let pairs = lines.iter().filter_map(|line| line.split_once(' '));
    pairs
        .filter(|(said, _)| *said == verb)
        .map(|(_, digest)| digest.parse().unwrap())
        .collect()
}

/// Opens what is left and compares it with what was said to be durable.
fn verify(dir: &Path, lines: &[String]) {
    let (blobs, records) = (said("blob", lines), said("record", lines));
    let dropped = said("drop", lines);

    let store = Store::open(dir, Arc::new(LocalDisk)).unwrap();
    let mut held = BTreeSet::new();
    for blob in store.blobs().list().unwrap() {
        let whole = store.blobs().read_verified(&blob.digest, 1 << 20);
        assert!(
            whole.is_ok(),
            "half a blob of {} bytes: {whole:?}",
            blob.bytes
        );
        held.insert(blob.digest);
    }
    for digest in blobs.difference(&dropped) {
        assert!(
            held.contains(digest),
            "blob {digest} was acknowledged and is gone"
        );
    }
    let rows = store.records().all().unwrap();
    let found: BTreeSet<_> = rows.iter().map(|row| row.id.digest()).collect();
    for id in &records {
        assert!(
            found.contains(id),
            "record {id} was acknowledged and is gone"
        );
    }
    for row in &rows {
        assert_eq!(Digest::of(&row.bytes), row.id.digest(), "half a record");
        for bytes in row.bytes.chunks_exact(32) {
            let digest = Digest::from_bytes(bytes.try_into().unwrap());
            let is_there = held.contains(&digest) || dropped.contains(&digest);
            assert!(
                is_there,
                "record {} names blob {digest}, which is gone",
                row.id
            );
        }
    }
    store.blobs().put(b"and it goes on").unwrap();
}

/// The running workload. Dropping it kills it.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(dir: &Path, seed: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["workload", "--exact", "--nocapture", "--test-threads=1"]);
        command
            .env("VERGE_WORKLOAD_DIR", dir)
            .env("VERGE_WORKLOAD_SEED", seed.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            // A last line that was cut off was not said.
            output
                .lines()
                .map_while(Result::ok)
                .take_while(|line| sender.send(line.clone()).is_ok())
                .count()
        });
        Self { child, lines }
    }

    /// Waits for a random number of lines and then a random moment; gives what was said meanwhile.
    fn wait_for_a_moment(&self, dice: &mut Dice) -> Vec<String> {
        let count = usize::try_from(dice.below(LINES_MAX)).unwrap();
        let mut lines: Vec<_> = self.lines.iter().take(count).collect();
        let moment = stopwatch() + Duration::from_micros(dice.below(JITTER_US_MAX));
        while let Some(left) = moment.checked_duration_since(stopwatch()) {
            lines.extend(self.lines.recv_timeout(left));
        }
        lines
    }

    /// Stops every thread of it where it stands.
    fn freeze(&self) {
        let id = i32::try_from(self.child.id()).unwrap();
        let process = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    }

    /// Kills it and gives the rest of what it said.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `kill` has waited for it already; then both do nothing.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// A file system on a file, whose power can be cut.
struct Machine {
    mount: Option<Mount>,
    image: PathBuf,
    dir: tempfile::TempDir,
}

impl Machine {
    /// `mkfs` and its options, and the smallest size that it agrees to make.
    fn new(mkfs: &[&str], bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        run(&[mkfs, &[text(&image)]].concat());
        let mut machine = Self {
            mount: None,
            image,
            dir,
        };
        machine.power_up();
        machine
    }

    fn power_up(&mut self) {
        let point = self.dir.path().join("mnt");
        self.mount = Some(Mount::new(&point, &["-o", "loop", text(&self.image)]));
    }

    fn data_dir(&self) -> PathBuf {
        self.mount.as_ref().unwrap().path().join("data")
    }

    /// Ends all writing at once: what is not on the disk by now never comes there.
    fn cut_power(&self) {
        let point = self.mount.as_ref().unwrap().path();
        run(&["xfs_io", "-x", "-c", "shutdown", text(point)]);
    }

    /// What comes up again is what was on the disk.
    fn restart(&mut self) {
        drop(self.mount.take());
        self.power_up();
    }
}

#[test]
fn a_power_cut_on_ext4_loses_nothing_acknowledged() {
    cut_power_again_and_again(|| Machine::new(&["mkfs.ext4", "-q", "-F"], 64 << 20));
}

#[test]
fn a_power_cut_on_xfs_loses_nothing_acknowledged() {
    cut_power_again_and_again(|| Machine::new(&["mkfs.xfs", "-q", "-f"], 300 << 20));
}

fn cut_power_again_and_again(new_machine: fn() -> Machine) {
    let seed = seed();
    let mut said_count = 0;
    for number in 0..variable("VERGE_POWER_CUTS", 5) {
        let seed = seed + number;
        println!("power cut {number}, VERGE_SEED={seed}");
        said_count += cut_power(&mut new_machine(), seed);
    }
    assert!(said_count > 0, "the workload has not said anything");
}

/// Cuts the power once, and says how much had been acknowledged.
fn cut_power(machine: &mut Machine, seed: u64) -> usize {
    let mut dice = Dice(!seed);
    let running = Running::start(&machine.data_dir(), seed);
    let mut lines = running.wait_for_a_moment(&mut dice);
    // A real power cut ends the process in the same moment. It must not speak on after the cut: an
    // fsync that runs into the shutdown of XFS may succeed, because the shutdown has unpinned the
    // inode that it would have waited for.
    running.freeze();
    machine.cut_power();
    lines.extend(running.kill());
    machine.restart();
    println!("{} lines said", lines.len());
    verify(&machine.data_dir(), &lines);
    lines
        .iter()
        .filter(|line| line.starts_with("blob "))
        .count()
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let seed = seed();
    for number in 0..variable("VERGE_KILLS", 20) {
        let seed = seed + number;
        println!("kill {number}, VERGE_SEED={seed}");
        let mut dice = Dice(!seed);
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(dir.path(), seed);
        let mut lines = running.wait_for_a_moment(&mut dice);
        lines.extend(running.kill());
        verify(dir.path(), &lines);
    }
}
