//! Books that are kept, crash and are sealed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use super::*;
use crate::accounting::figures::{Class, NodeTotals};
use crate::accounting::journal::JournalDir;
use crate::accounting::seal::sample::row;
use crate::accounting::seal::{Expected, REQUESTS_MIN, Seal};
use std::sync::Arc;
use verge_sync::store::LocalDisk;

/// 2026-12-01.
const FIRST: u32 = 20_788;

fn day(number: u32) -> Day {
    Day::new(number).unwrap()
}

/// So many seconds after the day began.
fn at(number: u32, seconds: u64) -> u64 {
    day(number).begins_s() + seconds
}

fn taken(requests: &[(u8, u64)]) -> Taken {
    let rows = requests
        .iter()
        .map(|(site, requests)| row(*site, Class::Answer, *requests));
    Taken {
        totals: NodeTotals {
            connections: 1,
            ..NodeTotals::default()
        },
        counts: rows.map(|row| ((row.site, row.class), row.count)).collect(),
    }
}

/// A node's journal, and what its records say.
struct Case {
    folder: tempfile::TempDir,
    own: OwnSeals,
    books: Option<Books<JournalDir>>,
}

impl Case {
    fn new() -> Self {
        let mut case = Self {
            folder: tempfile::tempdir().unwrap(),
            own: OwnSeals::default(),
            books: None,
        };
        case.start();
        case
    }

    /// As after a crash: what was not written is gone.
    fn start(&mut self) {
        self.books = None;
        let disk = JournalDir::new(self.folder.path().to_owned(), Arc::new(LocalDisk));
        let node = NodeId::from_bytes([1; 32]);
        self.books = Some(Books::open(disk, node, &self.own, false).unwrap());
    }

    fn books(&mut self) -> &mut Books<JournalDir> {
        self.books.as_mut().unwrap()
    }

    fn count(&mut self, now_s: Option<u64>, requests: &[(u8, u64)]) {
        let counted = self.books().count(taken(requests), Moment::of(now_s));
        counted.unwrap();
    }

    fn due(&mut self, now_s: u64) -> Option<Due> {
        let own = self.own.clone();
        self.books().due(now_s, &own).unwrap()
    }

    /// What the record of the day is to say; it is written.
    fn sign(&mut self, now_s: u64) -> Option<Box<Closed>> {
        match self.due(now_s)? {
            Due::Seal(day, closed) => {
                let encoded = closed.seal.encode();
                if !self.own.says(day, &encoded) {
                    self.own.add(day, encoded.body);
                }
                Some(closed)
            }
            other => panic!("{other:?}"),
        }
    }

    fn seal(&mut self, now_s: u64) -> Option<Seal> {
        let closed = self.sign(now_s)?;
        let (day, carry) = (closed.seal.day, closed.carry);
        self.books().sealed(day, carry).unwrap();
        Some(closed.seal)
    }
}

fn requests(seal: &Seal) -> u64 {
    seal.rows.iter().map(|row| row.count.requests).sum()
}

#[test]
fn a_day_is_due_a_quarter_of_an_hour_after_its_end() {
    let mut case = Case::new();
    case.count(Some(at(FIRST, 5)), &[(1, 30)]);
    assert_eq!(case.due(at(FIRST + 1, SEAL_AFTER_S - 1)), None);
    let seal = case.seal(at(FIRST + 1, SEAL_AFTER_S)).unwrap();
    assert_eq!(
        (seal.day, requests(&seal), seal.previous),
        (day(FIRST), 30, None)
    );
    assert_eq!(case.due(at(FIRST + 1, SEAL_AFTER_S)), None);
    // What comes late for it counts with the next.
    case.count(Some(at(FIRST, 86_399)), &[(1, 25)]);
    let next = case.seal(at(FIRST + 2, SEAL_AFTER_S)).unwrap();
    assert_eq!((next.day, requests(&next)), (day(FIRST + 1), 25));
    assert_eq!(next.previous.unwrap().digest, seal.encode().digest());
}

#[test]
fn a_node_that_was_off_seals_its_days_in_their_order() {
    let mut case = Case::new();
    for number in [0, 1, 3] {
        case.count(Some(at(FIRST + number, 5)), &[(1, 30), (2, 15)]);
    }
    case.start();
    let now_s = at(FIRST + 9, 0);
    let mut days = Vec::new();
    while let Some(seal) = case.seal(now_s) {
        days.push((seal.day.number() - FIRST, requests(&seal)));
    }
    // 15 and 15 are carried until they are enough.
    assert_eq!(days, [(0, 30), (1, 60), (3, 30)]);
    assert_eq!(case.books().figures().open.requests, 15);
}

/// Wherever the node dies the day is sealed once, and with the same bytes.
#[test]
fn a_crash_between_any_two_steps_is_resumed() {
    let now_s = at(FIRST + 1, SEAL_AFTER_S);
    let expected = {
        let mut case = Case::new();
        case.count(Some(at(FIRST, 5)), &[(1, 30), (2, 15)]);
        case.seal(now_s).unwrap()
    };
    for dies_after in 0..4 {
        let mut case = Case::new();
        case.count(Some(at(FIRST, 5)), &[(1, 30), (2, 15)]);
        match dies_after {
            0 => {}
            // Synced, and the rows kept: nobody was told of it.
            1 => drop(case.due(now_s)),
            // The record is written, the journal does not know of it.
            2 => drop(case.sign(now_s)),
            _ => drop(case.seal(now_s)),
        }
        case.start();
        let is_said = dies_after > 1;
        // What is sealed is shown as such from the first moment on.
        let open = if is_said { 15 } else { 45 };
        assert_eq!(case.books().figures().open.requests, open, "{dies_after}");
        let again = case.seal(now_s);
        assert_eq!(again.is_none(), is_said, "{dies_after}");
        let bodies = &case.own.bodies[&day(FIRST)];
        assert_eq!(*bodies, [expected.encode().body], "{dies_after}");
        // What is carried is there, and once.
        case.count(Some(at(FIRST + 1, 5)), &[(2, 6)]);
        case.start();
        let next = case.seal(at(FIRST + 2, SEAL_AFTER_S)).unwrap();
        assert_eq!(requests(&next), 15 + 6, "{dies_after}");
    }
}

#[test]
fn what_own_records_cover_is_not_counted_again() {
    let mut case = Case::new();
    case.count(Some(at(FIRST, 5)), &[(1, 30)]);
    case.seal(at(FIRST + 1, SEAL_AFTER_S)).unwrap();
    let own = case.own.clone();
    // An older image of the disk, in which the day is open and has other counts.
    let mut image = Case::new();
    image.count(Some(at(FIRST, 5)), &[(1, 29)]);
    image.count(Some(at(FIRST + 1, 5)), &[(1, 40)]);
    image.own = own;
    image.start();
    assert!(image.books().figures().epoch > 1);
    let now_s = at(FIRST + 3, 0);
    assert_eq!(image.due(now_s), Some(Due::Covered(day(FIRST))));
    image.books().sealed(day(FIRST), Carry::default()).unwrap();
    let next = image.seal(now_s).unwrap();
    assert_eq!((next.day, requests(&next)), (day(FIRST + 1), 40));
    // And one of a day before the last that is sealed.
    image.count(Some(at(FIRST + 2, 5)), &[(1, 50)]);
    image.own.add(day(FIRST + 5), Vec::new());
    assert_eq!(
        image.due(now_s + 86_400),
        Some(Due::Covered(day(FIRST + 2)))
    );
}

#[test]
fn what_is_counted_without_a_clock_gets_the_first_day_that_is_believed() {
    let mut case = Case::new();
    case.count(None, &[(1, 30)]);
    case.start();
    assert!(case.books().has_open_days());
    assert_eq!(case.books().first_open_day(), None);
    case.count(Some(at(FIRST, 9)), &[(1, 5)]);
    let seal = case.seal(at(FIRST + 1, SEAL_AFTER_S)).unwrap();
    assert_eq!(
        (seal.day, requests(&seal), seal.epochs),
        (day(FIRST), 35, (1, 2))
    );
    // Also where nothing is counted after that.
    case.count(None, &[(1, 30)]);
    assert_eq!(case.due(at(FIRST + 1, 7_000)), None);
    let seal = case.seal(at(FIRST + 2, SEAL_AFTER_S)).unwrap();
    assert_eq!((seal.day, requests(&seal)), (day(FIRST + 1), 30));
}

#[test]
fn what_is_left_of_a_month_has_no_row() {
    let mut case = Case::new();
    case.count(
        Some(at(FIRST + 30, 5)),
        &[(1, REQUESTS_MIN), (2, REQUESTS_MIN - 1)],
    );
    let seal = case.seal(at(FIRST + 31, SEAL_AFTER_S)).unwrap();
    assert_eq!(seal.rows.len(), 1);
    assert_eq!(seal.uncredited.requests, REQUESTS_MIN - 1);
    let expected = Expected {
        node: seal.node,
        day: seal.day,
        today: seal.day.next(),
    };
    assert_eq!(Seal::decode(&seal.encode(), &expected).as_ref(), Ok(&seal));
}

#[test]
fn nothing_is_written_when_nothing_was_counted() {
    let mut case = Case::new();
    let bytes = |case: &Case| {
        let files = std::fs::read_dir(case.folder.path()).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum::<u64>()
    };
    let before = bytes(&case);
    for second in 0..100 {
        let nothing = Taken::default();
        let counted = case
            .books()
            .count(nothing, Moment::of(Some(at(FIRST, second))));
        counted.unwrap();
        case.books().sync().unwrap();
    }
    assert_eq!(bytes(&case), before);
    assert!(!case.books().has_open_days());
}
