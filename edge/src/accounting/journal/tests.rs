//! The journal on a disk that stops, fails, forgets and damages.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use super::keep::KEPT_BYTES_MAX;
use super::*;
use crate::accounting::calendar::Day;
use crate::accounting::figures::{
    BodyBytes, Class, Count, CreditBytes, NodeTotals, Row, WireBytes,
};
use crate::accounting::seal::{Carry, REQUESTS_MIN, close};
use crate::attribution::cases::cases;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use verge_sync::id::{NodeId, SiteId};
use verge_sync::store::LocalDisk;

/// What happens at the chosen step, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Plan {
    Work,
    /// This step and all later ones fail.
    StopAt(u32),
    /// This step fails, the later ones work.
    FailAt(u32),
}

/// What a power cut takes of bytes that were not synced.
#[derive(Debug, Clone, Copy)]
enum Loss {
    All,
    Half,
    Nothing,
}

#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    synced_bytes: usize,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<SegmentName, File>,
    current: Option<SegmentName>,
    plan: Plan,
    steps: u32,
    writes: u32,
    syncs: u32,
}

/// A disk in memory; clones share it.
#[derive(Debug, Clone)]
struct Twin(Arc<Mutex<State>>);

impl Twin {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            current: None,
            plan: Plan::Work,
            steps: 0,
            writes: 0,
            syncs: 0,
        })))
    }

    fn arm(&self, plan: Plan) {
        let mut state = self.0.lock().unwrap();
        (state.plan, state.steps) = (plan, 0);
    }

    fn has_struck(&self) -> bool {
        let state = self.0.lock().unwrap();
        match state.plan {
            Plan::Work => false,
            Plan::StopAt(step) | Plan::FailAt(step) => state.steps >= step,
        }
    }

    /// What the disk has when the power is back.
    fn after_a_cut(&self, loss: Loss) -> Self {
        let state = self.0.lock().unwrap();
        let twin = Self::new();
        for (name, file) in &state.files {
            let lost = file.bytes.len() - file.synced_bytes;
            let kept = match loss {
                Loss::All => 0,
                Loss::Half => lost / 2,
                Loss::Nothing => lost,
            };
            let bytes = file.bytes[..file.synced_bytes + kept].to_vec();
            let synced_bytes = bytes.len();
            let mut image = twin.0.lock().unwrap();
            image.files.insert(
                *name,
                File {
                    bytes,
                    synced_bytes,
                },
            );
        }
        twin
    }

    /// One step: whether it fails.
    fn step(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        state.steps += 1;
        match state.plan {
            Plan::Work => false,
            Plan::StopAt(step) => state.steps >= step,
            Plan::FailAt(step) => state.steps == step,
        }
    }
}

impl JournalDisk for Twin {
    fn segments(&self) -> io::Result<Vec<SegmentName>> {
        Ok(self.0.lock().unwrap().files.keys().copied().collect())
    }

    fn read(&self, name: SegmentName) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().unwrap().files[&name].bytes.clone())
    }

    fn begin(&mut self, name: SegmentName) -> io::Result<()> {
        let fails = self.step();
        let mut state = self.0.lock().unwrap();
        assert!(!state.files.contains_key(&name), "{name} is there");
        let bytes = frame::SEGMENT_HEADER.to_vec();
        let synced_bytes = if fails { 0 } else { bytes.len() };
        state.files.insert(
            name,
            File {
                bytes,
                synced_bytes,
            },
        );
        if fails {
            return Err(io::Error::other("begin"));
        }
        state.current = Some(name);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fails = self.step();
        let mut state = self.0.lock().unwrap();
        state.writes += 1;
        let written = if fails {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        let current = state.current.unwrap();
        state
            .files
            .get_mut(&current)
            .unwrap()
            .bytes
            .extend_from_slice(written);
        if fails {
            Err(io::Error::other("append"))
        } else {
            Ok(())
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let fails = self.step();
        let mut state = self.0.lock().unwrap();
        state.syncs += 1;
        if fails {
            return Err(io::Error::other("sync"));
        }
        let current = state.current.unwrap();
        let file = state.files.get_mut(&current).unwrap();
        file.synced_bytes = file.bytes.len();
        Ok(())
    }

    fn remove(&mut self, name: SegmentName) -> io::Result<()> {
        if self.step() {
            return Err(io::Error::other("remove"));
        }
        let removed = self.0.lock().unwrap().files.remove(&name);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

const DAY: u32 = 20_760;

fn day(number: u32) -> Day {
    Day::new(number).unwrap()
}

fn row(site: u8, requests: u64) -> Row {
    Row {
        site: SiteId::from_bytes([site; 32]),
        class: Class::Answer,
        count: Count {
            requests,
            credit: CreditBytes(requests * 10),
            body: BodyBytes(requests * 20),
        },
    }
}

fn deltas(day: Option<u32>, rows: &[(u8, u64)]) -> Deltas {
    Deltas {
        day: day.map(self::day),
        hour: 7,
        is_behind_proxy: false,
        totals: NodeTotals {
            connections: 1,
            wire: WireBytes(500),
            ..NodeTotals::default()
        },
        rows: rows
            .iter()
            .map(|(site, requests)| row(*site, *requests))
            .collect(),
    }
}

/// Requests of all days, of what is carried, and of what has no day.
fn requests(replay: &Replay) -> u64 {
    let days = replay.days.values().chain([&replay.undated]);
    let counts = days
        .flat_map(|day| day.rows.values())
        .chain(replay.carry.rows.values());
    counts.map(|count| count.requests).sum()
}

fn open(disk: &Twin) -> (Journal<Twin>, Replay) {
    let (journal, opened) = Journal::open(disk.clone(), 0, None).unwrap();
    (journal, opened.replay)
}

fn reopened(disk: &Twin) -> Replay {
    open(disk).1
}

/// Three starts with some frames each; gives what they come to.
fn written() -> (Twin, Replay) {
    let disk = Twin::new();
    let mut expected = Replay::default();
    for start in 0..3 {
        let mut journal = open(&disk).0;
        for second in 0..4_u8 {
            let deltas = deltas(
                Some(DAY + u32::from(second / 3)),
                &[(second, 3), (start, 5)][..1 + usize::from(second % 2)],
            );
            journal.append(&deltas).unwrap();
            expected.apply(journal.epoch(), &Entry::Deltas(deltas));
        }
        journal.sync().unwrap();
    }
    (disk, expected)
}

#[test]
fn replay_is_exact() {
    let (disk, expected) = written();
    assert_eq!(reopened(&disk), expected);
    assert_eq!(reopened(&disk), expected);
    assert_eq!(open(&disk).0.epoch(), 6);
    let (journal, _) = Journal::open(disk, 41, None).unwrap();
    assert_eq!(journal.epoch(), 42);
}

#[test]
fn nothing_counted_is_nothing_written() {
    let disk = Twin::new();
    let mut journal = open(&disk).0;
    let quiet = Deltas {
        day: Some(day(DAY)),
        ..Deltas::default()
    };
    journal.append(&quiet).unwrap();
    journal.sync().unwrap();
    let state = disk.0.lock().unwrap();
    assert_eq!((state.writes, state.syncs), (0, 0));
}

/// The bytes of a minute in which 200 sites change, in so many writes.
fn minute(writes: usize) -> usize {
    let disk = Twin::new();
    let mut journal = open(&disk).0;
    let rows: Vec<(u8, u64)> = (0..200).map(|site| (site, 2_000)).collect();
    for rows in rows.chunks(rows.len().div_ceil(writes)) {
        let mut deltas = deltas(Some(DAY), rows);
        deltas.totals.wire = WireBytes(60_000);
        journal.append(&deltas).unwrap();
    }
    journal.sync().unwrap();
    let state = disk.0.lock().unwrap();
    state.files.values().map(|file| file.bytes.len()).sum()
}

#[test]
fn two_hundred_sites_a_minute_are_less_than_20_mb_a_day() {
    for (writes, most) in [(1, 18_000_000), (50, 20_000_000)] {
        // The last block of the file is written again with each sync.
        let a_day = (minute(writes) + 4_096) * 1_440;
        assert!(a_day < most, "{writes}: {a_day}");
    }
}

#[test]
fn a_frame_of_the_largest_figures_is_read_back() {
    let mut largest = deltas(Some(DAY), &[]);
    largest.is_behind_proxy = true;
    largest.hour = 23;
    largest.totals = NodeTotals {
        connections: u64::MAX,
        wire: WireBytes(u64::MAX),
        retransmitted: WireBytes(u64::MAX),
        errors: u64::MAX,
    };
    let count = Count {
        requests: u64::MAX,
        credit: CreditBytes(u64::MAX),
        body: BodyBytes(u64::MAX),
    };
    let row = Row { count, ..row(9, 0) };
    largest.rows = vec![row; FRAME_ROWS_MAX];
    let id = FrameId {
        epoch: u32::MAX,
        sequence: u64::MAX,
    };
    let entry = Entry::Deltas(largest);
    let bytes = entry.encode(id);
    assert!(bytes.len() > 60_000);
    assert_eq!(frames(&bytes), (vec![(id, entry)], 0));
}

#[test]
fn more_rows_than_a_frame_has_are_several_frames() {
    let disk = Twin::new();
    let mut journal = open(&disk).0;
    let mut many = deltas(Some(DAY), &[]);
    many.rows = (0..3_000_u16)
        .map(|number| {
            let mut site = [9; 32];
            site[..2].copy_from_slice(&number.to_be_bytes());
            Row {
                site: SiteId::from_bytes(site),
                ..row(0, 2)
            }
        })
        .collect();
    journal.append(&many).unwrap();
    let replay = reopened(&disk);
    let counts = &replay.days[&day(DAY)];
    assert_eq!((counts.rows.len(), counts.totals.connections), (3_000, 1));
    assert_eq!(counts.hours[7].sites.len(), 3_000);
}

/// Cut anywhere: what lies whole before the cut is there, and nothing else.
#[test]
fn a_segment_is_read_up_to_every_truncation_point() {
    let (disk, _) = written();
    let names = disk.segments().unwrap();
    for name in &names {
        let whole = disk.read(*name).unwrap();
        let mut last = None;
        for length in (0..=whole.len()).rev() {
            let cut = disk.after_a_cut(Loss::Nothing);
            cut.0
                .lock()
                .unwrap()
                .files
                .get_mut(name)
                .unwrap()
                .bytes
                .truncate(length);
            let count = requests(&reopened(&cut));
            assert!(last.is_none_or(|last| count <= last), "{name} at {length}");
            last = Some(count);
            let (found, damaged_bytes) = frames(&whole[..length]);
            let (all, _) = frames(&whole);
            assert_eq!(found[..], all[..found.len()]);
            assert!(damaged_bytes < whole.len());
        }
    }
}

/// Damage at every byte: the frame that it touches is lost, all others count, and never more.
#[test]
fn a_flipped_byte_costs_its_frame_and_no_other() {
    let (disk, expected) = written();
    let whole = requests(&expected);
    for name in disk.segments().unwrap() {
        let bytes = disk.read(name).unwrap();
        let (all, none) = frames(&bytes);
        assert_eq!(none, 0);
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let (found, _) = frames(&damaged);
                let lost = all.iter().filter(|frame| !found.contains(frame)).count();
                assert!(found.iter().all(|frame| all.contains(frame)), "byte {at}");
                let is_header = at < frame::SEGMENT_HEADER.len();
                assert_eq!(lost, usize::from(!is_header), "byte {at}");
                let image = disk.after_a_cut(Loss::Nothing);
                image.0.lock().unwrap().files.get_mut(&name).unwrap().bytes = damaged;
                let opened = Journal::open(image, 0, None);
                // A header that says another version is that of a newer release.
                if let Ok((_, opened)) = opened {
                    assert!(requests(&opened.replay) <= whole);
                } else {
                    assert!(is_header);
                }
            }
        }
    }
}

/// Three seconds, a sync, two more: stopped at each step, with all that a power cut may leave.
#[test]
fn a_stop_at_every_step_loses_what_was_not_synced_and_counts_nothing_twice() {
    for loss in [Loss::All, Loss::Half, Loss::Nothing] {
        for step in 1.. {
            let disk = Twin::new();
            disk.arm(Plan::StopAt(step));
            let (mut taken, mut synced) = (0, 0);
            if let Ok((mut journal, _)) = Journal::open(disk.clone(), 0, None) {
                for second in 1..=5_u64 {
                    if journal.append(&deltas(Some(DAY), &[(1, second)])).is_err() {
                        break;
                    }
                    taken += second;
                    if second == 3 && journal.sync().is_ok() {
                        synced = taken;
                    }
                }
            }
            let count = requests(&reopened(&disk.after_a_cut(loss)));
            assert!(
                (synced..=taken).contains(&count),
                "{loss:?} at {step}: {count}"
            );
            if !disk.has_struck() {
                break;
            }
        }
    }
}

/// An error of the disk, at each step: all counts once, after the cut too.
#[test]
fn a_failed_step_loses_nothing_and_counts_nothing_twice() {
    for loss in [Loss::All, Loss::Half, Loss::Nothing] {
        for step in 2.. {
            let disk = Twin::new();
            disk.arm(Plan::FailAt(step));
            let mut journal = open(&disk).0;
            for second in 1..=5_u64 {
                // Reported, and kept.
                let _reported = journal.append(&deltas(Some(DAY), &[(1, second)])).is_ok();
                if second == 3 {
                    let _reported = journal.sync().is_ok();
                }
            }
            if journal.sync().is_err() {
                journal.sync().unwrap();
            }
            assert!(journal.is_synced());
            assert_eq!(
                requests(&reopened(&disk.after_a_cut(loss))),
                15,
                "{loss:?} at {step}"
            );
            if !disk.has_struck() {
                break;
            }
        }
    }
}

#[test]
fn a_disk_that_refuses_is_waited_for_within_a_bound() {
    let disk = Twin::new();
    let mut journal = open(&disk).0;
    disk.arm(Plan::StopAt(1));
    let rows: Vec<(u8, u64)> = (0..250).map(|site| (site, 1)).collect();
    let deltas = deltas(Some(DAY), &rows);
    let mut taken = 0;
    loop {
        match journal.append(&deltas) {
            Err(JournalError::Full) => break,
            refused => assert!(refused.is_err()),
        }
        taken += 1;
    }
    assert!(journal.unsynced.len() >= KEPT_BYTES_MAX);
    assert!(journal.unsynced.len() < KEPT_BYTES_MAX + 20_000);
    disk.arm(Plan::Work);
    journal.append(&deltas).unwrap();
    assert_eq!(requests(&reopened(&disk)), 250 * (taken + 1));
}

#[test]
fn what_has_no_day_gets_one_later() {
    let disk = Twin::new();
    let mut journal = open(&disk).0;
    journal.append(&deltas(None, &[(1, 5)])).unwrap();
    journal.sync().unwrap();
    assert_eq!(requests(&reopened(&disk)), 5);
    assert_eq!(reopened(&disk).days.len(), 0);
    let mut journal = open(&disk).0;
    journal.append(&deltas(Some(DAY), &[(1, 2)])).unwrap();
    journal.date(day(DAY)).unwrap();
    journal.append(&deltas(None, &[(1, 1)])).unwrap();
    let replay = reopened(&disk);
    let of_day = &replay.days[&day(DAY)];
    assert_eq!(
        of_day.rows[&(SiteId::from_bytes([1; 32]), Class::Answer)].requests,
        7
    );
    assert_eq!(of_day.epochs, Some((1, 4)));
    assert_eq!(replay.undated.rows.len(), 1);
    // A segment with counts without a day stays.
    journal.seal(day(DAY), &Carry::default()).unwrap();
    assert_eq!(requests(&reopened(&disk)), 1);
}

#[test]
fn a_sealed_day_is_gone_and_what_is_late_goes_to_the_next() {
    let (disk, expected) = written();
    let mut journal = open(&disk).0;
    let counts = &expected.days[&day(DAY)];
    let carry = close(
        (NodeId::from_bytes([1; 32]), day(DAY)),
        counts,
        Carry::default(),
        None,
    )
    .unwrap()
    .carry;
    assert!(!carry.rows.is_empty());
    journal.seal(day(DAY), &carry).unwrap();
    let replay = reopened(&disk);
    assert_eq!(
        replay.days.keys().copied().collect::<Vec<_>>(),
        [day(DAY + 1)]
    );
    assert_eq!((replay.carry, replay.sealed_until), (carry, Some(day(DAY))));
    journal.append(&deltas(Some(DAY), &[(1, 1_000)])).unwrap();
    let late = reopened(&disk);
    assert_eq!(requests(&late), requests(&expected) + 1_000);
    assert_eq!(late.days.len(), 1);
    // Known from the seals themselves, which the journal may have lost.
    let (_, opened) = Journal::open(disk.clone(), 0, Some(day(DAY + 1))).unwrap();
    assert_eq!(requests(&opened.replay), 0);
    journal.seal(day(DAY + 1), &Carry::default()).unwrap();
    assert_eq!(
        disk.segments()
            .unwrap()
            .iter()
            .filter(|name| name.epoch < journal.epoch())
            .count(),
        0
    );
    assert_eq!(requests(&reopened(&disk)), 0);
}

/// Sealing stopped or failing at each step: counters are gone only after the day is sealed.
#[test]
fn sealing_at_every_step_loses_no_day_and_seals_none_twice() {
    for loss in [Loss::All, Loss::Half, Loss::Nothing] {
        for plan in [Plan::StopAt as fn(u32) -> Plan, Plan::FailAt] {
            for step in 1.. {
                let (disk, expected) = written();
                let mut journal = open(&disk).0;
                disk.arm(plan(step));
                let sealed = journal.seal(day(DAY), &Carry::default());
                let image = disk.after_a_cut(loss);
                let replay = reopened(&image);
                let of_next: u64 = expected.days[&day(DAY + 1)]
                    .rows
                    .values()
                    .map(|count| count.requests)
                    .sum();
                let is_whole =
                    requests(&replay) == requests(&expected) && replay.sealed_until.is_none();
                let is_sealed =
                    requests(&replay) == of_next && replay.sealed_until == Some(day(DAY));
                assert!(is_whole || is_sealed, "{loss:?} at {step}: {replay:?}");
                assert!(is_sealed || sealed.is_err());
                if !disk.has_struck() {
                    break;
                }
            }
        }
    }
}

/// What the two golden journals count.
fn is_golden(found: Vec<(FrameId, Entry)>) {
    assert_eq!(found.len(), 4);
    let replay = Replay::of(found, None);
    assert_eq!(replay.sealed_until, Some(day(DAY)));
    assert_eq!(
        (replay.carry.rows.len(), replay.undated, replay.days),
        (2, DayCounts::default(), BTreeMap::new())
    );
}

/// Kept for ever: a later release reads what this one counted.
#[test]
fn a_golden_journal_stays_what_it_is() {
    let golden = include_bytes!("../../../tests/golden/journal-2.journal");
    let (found, damaged_bytes) = frames(golden);
    assert_eq!(damaged_bytes, 0);
    let frames_bytes: Vec<u8> = found
        .iter()
        .flat_map(|(id, entry)| entry.encode(*id))
        .collect();
    assert_eq!(
        [frame::SEGMENT_HEADER.as_slice(), &frames_bytes].concat(),
        golden
    );
    is_golden(found);
}

const FORMER: &[u8] = include_bytes!("../../../tests/golden/journal-1.journal");

/// The first format is read as it was, and counts together with what is written now.
#[test]
fn a_journal_of_the_first_format_is_read_and_gone_on_with() {
    let (found, damaged_bytes) = frames(FORMER);
    assert_eq!(damaged_bytes, 0);
    let of_now = frames(include_bytes!("../../../tests/golden/journal-2.journal"));
    assert_eq!(found, of_now.0);
    is_golden(found.clone());
    // Before the day was sealed.
    let sealed = FORMER.len() - 143;
    assert_eq!(frames(&FORMER[..sealed]), (found[..3].to_vec(), 0));
    let disk = Twin::new();
    let name = SegmentName { epoch: 2, part: 1 };
    let file = File {
        bytes: FORMER[..sealed].to_vec(),
        synced_bytes: sealed,
    };
    disk.0.lock().unwrap().files.insert(name, file);
    let (mut journal, before) = open(&disk);
    assert_eq!(journal.epoch(), 3);
    journal.append(&deltas(Some(DAY), &[(1, 5)])).unwrap();
    journal.sync().unwrap();
    let after = reopened(&disk);
    assert_eq!(requests(&after), requests(&before) + 5);
    let of_day = &after.days[&day(DAY)];
    assert_eq!(of_day.epochs, Some((2, 3)));
    journal.seal(day(DAY), &Carry::default()).unwrap();
    assert!(!disk.segments().unwrap().contains(&name));
}

#[test]
fn damage_to_the_first_format_costs_its_frame_and_no_other() {
    let (all, _) = frames(FORMER);
    for at in 0..FORMER.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = FORMER.to_vec();
            damaged[at] ^= flip;
            let (found, _) = frames(&damaged);
            assert!(found.iter().all(|frame| all.contains(frame)), "byte {at}");
            let is_header = at < frame::SEGMENT_HEADER.len();
            let lost = all.len() - found.len();
            assert_eq!(lost, usize::from(!is_header), "byte {at}");
        }
        let (found, _) = frames(&FORMER[..at]);
        assert_eq!(found[..], all[..found.len()]);
    }
}

#[test]
fn a_newer_format_is_not_touched() {
    let (disk, _) = written();
    let name = disk.segments().unwrap()[1];
    disk.0.lock().unwrap().files.get_mut(&name).unwrap().bytes[14] = b'3';
    let refused = Journal::open(disk, 0, None)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "segment 0000000002-000001.journal of the journal was written by a newer release of verge: \
         start that one"
    );
}

#[test]
fn a_journal_lives_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let disk = JournalDir::new(dir.path().to_owned(), Arc::new(LocalDisk));
        Journal::open(disk, 0, None).unwrap()
    };
    let mut journal = open().0;
    std::fs::write(dir.path().join("note.txt"), b"not ours").unwrap();
    journal.append(&deltas(Some(DAY), &[(1, 30)])).unwrap();
    journal.sync().unwrap();
    let (mut journal, opened) = open();
    assert_eq!((requests(&opened.replay), opened.damaged_bytes), (30, 0));
    journal.seal(day(DAY), &Carry::default()).unwrap();
    let (_, opened) = open();
    assert_eq!(requests(&opened.replay), 0);
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 4);
}

proptest! {
    #![proptest_config(cases(1_000))]

    /// Whatever is counted in whatever order, restarted whenever: every count is in a row, carried,
    /// or uncredited, once.
    #[test]
    fn days_are_closed_without_a_request_lost_or_made(
        seconds in prop::collection::vec((0..40_u32, 0..6_u8, 1..15_u64, any::<bool>()), 1..30),
    ) {
        let mut seconds = seconds;
        seconds.sort_unstable_by_key(|second| second.0);
        let disk = Twin::new();
        let mut journal = open(&disk).0;
        let (mut sealed_requests, mut all) = (0, 0);
        let first = 20_740;
        for (index, (of, site, count, restarts)) in seconds.iter().enumerate() {
            journal.append(&deltas(Some(first + of), &[(*site, *count)])).unwrap();
            all += count;
            if *restarts {
                journal.sync().unwrap();
                journal = open(&disk).0;
            }
            let is_over = seconds.get(index + 1).is_none_or(|next| next.0 > *of);
            if is_over {
                journal.sync().unwrap();
                let mut replay = reopened(&disk);
                let today = day(first + of);
                let counts = replay.days.remove(&today).unwrap();
                let node = NodeId::from_bytes([1; 32]);
                let closed = close((node, today), &counts, replay.carry, None).unwrap();
                let of_rows: u64 = closed.seal.rows.iter().map(|row| row.count.requests).sum();
                sealed_requests += of_rows + closed.seal.uncredited.requests;
                for rows in closed.seal.rows.chunk_by(|one, other| one.site == other.site) {
                    prop_assert!(rows.iter().map(|row| row.count.requests).sum::<u64>() >= REQUESTS_MIN);
                }
                if today.is_last_of_month() {
                    prop_assert!(closed.carry.rows.is_empty());
                }
                let encoded = closed.seal.encode();
                let expected = crate::accounting::seal::Expected { node, day: today, today: today.next() };
                prop_assert_eq!(crate::accounting::seal::Seal::decode(&encoded, &expected), Ok(closed.seal));
                journal = open(&disk).0;
                journal.seal(today, &closed.carry).unwrap();
                prop_assert_eq!(sealed_requests + requests(&reopened(&disk)), all);
            }
        }
    }
}
