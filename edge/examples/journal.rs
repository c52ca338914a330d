//! Bytes that the journal of what was served takes in a day, by what is served: `journal FOLDER`, with
//! a folder on the disk that is meant.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures and prints"
)]

use std::path::Path;
use std::sync::Arc;
use verge_edge::accounting::calendar::Day;
use verge_edge::accounting::figures::{
    BodyBytes, Class, Count, CreditBytes, NodeTotals, Row, WireBytes,
};
use verge_edge::accounting::journal::{Deltas, Journal, JournalDir};
use verge_sync::id::SiteId;
use verge_sync::store::LocalDisk;

const SITES: u8 = 200;
const MINUTES: u64 = 1_440;

fn row(site: u8) -> Row {
    Row {
        site: SiteId::from_bytes([site; 32]),
        class: Class::Answer,
        count: Count {
            requests: 3,
            credit: CreditBytes(20_000),
            body: BodyBytes(30_000),
        },
    }
}

fn deltas(day: Day, rows: Vec<Row>) -> Deltas {
    let totals = NodeTotals {
        connections: rows.len().try_into().unwrap(),
        wire: WireBytes(40_000),
        ..NodeTotals::default()
    };
    let totals = if rows.is_empty() {
        NodeTotals::default()
    } else {
        totals
    };
    Deltas {
        day: Some(day),
        totals,
        rows,
        ..Deltas::default()
    }
}

/// What the kernel has written to disks for this process.
fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

/// A day: in each minute so many writes, the sites shared among them, and one sync.
fn day(folder: &Path, name: &str, writes: usize, sites: u8) {
    let dir = folder.join(name);
    std::fs::create_dir(&dir).unwrap();
    let disk = JournalDir::new(dir.clone(), Arc::new(LocalDisk));
    let (mut journal, _) = Journal::open(disk, 0, None).unwrap();
    let before = written_bytes();
    let day = Day::of_time(1_900_000_000);
    let rows: Vec<Row> = (0..sites).map(row).collect();
    for _ in 0..MINUTES {
        for number in 0..writes {
            let of_this = rows.iter().skip(number).step_by(writes).copied();
            journal.append(&deltas(day, of_this.collect())).unwrap();
        }
        journal.sync().unwrap();
    }
    let files = std::fs::read_dir(&dir).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    let disk_bytes = written_bytes() - before;
    println!(
        "{name}: {:.1} MB appended, {:.1} MB written to the disk in a day",
        megabytes(bytes),
        megabytes(disk_bytes)
    );
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn main() {
    let folder = std::env::args_os().nth(1).unwrap();
    let folder = tempfile::tempdir_in(folder).unwrap();
    day(
        folder.path(),
        "200 sites each minute, in one write",
        1,
        SITES,
    );
    day(
        folder.path(),
        "200 sites each minute, in a write each second",
        60,
        SITES,
    );
    day(
        folder.path(),
        "20 sites each minute, in a write each second",
        20,
        20,
    );
    day(folder.path(), "idle", 60, 0);
}
