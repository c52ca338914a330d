//! Seals of a small region, read from its records.
#![allow(clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::accounting::calendar::Day;
use crate::accounting::figures::{Class, FIGURE_MAX};
use crate::accounting::seal::sample::{row, seal};
use crate::accounting::seal::{Encoded, Previous, Seal};
use crate::region::scene::Scene;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use verge_sync::Digest;
use verge_sync::record::body::HostProof;
use verge_sync::record::cbor::Map;
use verge_sync::store::{LocalDisk, Store};

fn day(number: u32) -> Day {
    Day::new(number).unwrap()
}

const TODAY: u32 = 20_800;

/// A region of two nodes, and what one of them has.
struct Case {
    scene: Scene,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            scene: Scene::new(2, HostProof::None),
            store: Store::open(folder.path(), Arc::new(LocalDisk)).unwrap(),
            _folder: folder,
        }
    }

    fn of(&self, number: u8, on: u32, previous: Option<&Encoded>) -> Seal {
        let previous = previous.map(|before| Previous {
            day: before.of_itself().unwrap().day,
            digest: before.digest(),
        });
        Seal {
            node: self.scene.node(number),
            day: day(on),
            previous,
            ..seal()
        }
    }

    /// Writes the record, and keeps the rows here.
    fn write(&mut self, number: u8, seal: &Seal) -> Encoded {
        let encoded = seal.encode();
        self.scene.seal(number, seal.day, encoded.body.clone());
        self.store.blobs().put(&encoded.rows).unwrap();
        encoded
    }

    fn review(&self) -> Review {
        Ledger::new(self.store.clone()).review(&self.scene.effect(), day(TODAY))
    }

    fn why(&self) -> Vec<String> {
        let refused = self.review().refused.into_iter();
        refused.map(|refused| refused.why.to_string()).collect()
    }
}

#[test]
fn seals_are_joined_with_their_rows_and_chained() {
    let mut case = Case::new();
    let first = case.of(0, 20_790, None);
    let encoded = case.write(0, &first);
    let second = case.of(0, 20_792, Some(&encoded));
    case.write(0, &second);
    let other = case.of(1, 20_792, Some(&encoded));
    case.write(1, &other);
    let review = case.review();
    assert_eq!(review.days.len(), 3);
    assert!(review.missing.is_empty() && review.refused.is_empty());
    assert_eq!(review.contradicted().count(), 0);
    // The other node has no such seal before it.
    assert_eq!(review.gaps, BTreeSet::from([(other.node, first.day)]));
    assert_eq!(review.last_of(first.node).unwrap().day, second.day);
    let ledger = Ledger::new(case.store.clone());
    let month = ledger.month(&review, first.day.month()).unwrap();
    let found: Vec<&Seal> = month.iter().map(|sealed| &sealed.seal).collect();
    let mut expected = vec![&first, &second, &other];
    expected.sort_by_key(|seal| (seal.node, seal.day));
    assert_eq!(found, expected);
    assert!(
        month
            .iter()
            .all(|of| of.digest == of.seal.encode().digest())
    );
}

#[test]
fn rows_that_are_not_here_are_asked_for_and_damaged_ones_again() {
    let mut case = Case::new();
    let one = case.of(0, 20_790, None);
    let encoded = one.encode();
    case.scene.seal(0, one.day, encoded.body.clone());
    let rows = Digest::of(&encoded.rows);
    let wanted = BTreeMap::from([(rows, encoded.rows.len().try_into().unwrap())]);
    let missing = |case: &Case| {
        let review = case.review();
        assert_eq!(review.waiting.len(), review.missing.len());
        review.missing
    };
    assert_eq!(missing(&case), wanted);
    case.store.blobs().put(&encoded.rows).unwrap();
    assert_eq!(missing(&case), BTreeMap::new());
    let path = case.store.dir().join("blobs").join(rows.to_string());
    let mut bytes = encoded.rows;
    bytes[0] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(missing(&case), wanted);
    assert!(!path.exists());
    // A day of which no site had enough visits has no rows to be brought.
    let empty = Seal {
        rows: Vec::new(),
        ..case.of(1, 20_790, None)
    };
    case.scene.seal(1, empty.day, empty.encode().body);
    assert_eq!(case.review().days.len(), 1);
}

#[test]
fn the_same_seal_again_is_one_and_another_of_the_day_is_evidence() {
    let mut case = Case::new();
    let one = case.of(0, 20_790, None);
    case.write(0, &one);
    case.write(0, &one);
    assert_eq!(case.review().days[&(one.node, one.day)].len(), 1);
    assert_eq!(case.review().contradicted().count(), 0);
    // With a key of a later release it says the same to us.
    let mut more = one.encode().body;
    more[0] += 1;
    more.extend([0x18, 0x60, 0x01]);
    case.scene.seal(0, one.day, more);
    assert_eq!(case.review().days[&(one.node, one.day)].len(), 2);
    assert_eq!(case.review().contradicted().count(), 0);
    let mut other = one.clone();
    other.rows.remove(4);
    case.write(0, &other);
    let review = case.review();
    let contradicted: Vec<_> = review.contradicted().collect();
    assert_eq!(contradicted, [(one.node, one.day)]);
    // More than is looked at: nobody can make others keep any number of rows.
    for requests in 30..40 {
        let mut further = one.clone();
        further.rows[2].count.requests = requests;
        case.write(0, &further);
    }
    let review = case.review();
    assert_eq!(review.days[&(one.node, one.day)].len(), SEALS_OF_DAY_MAX);
    let named: BTreeSet<Digest> = named_rows(&case.scene.effect(), day(TODAY)).collect();
    assert!(named.len() < SEALS_OF_DAY_MAX);
}

#[test]
fn what_is_wrong_is_refused_in_words() {
    let mut case = Case::new();
    let good = case.of(0, 20_790, None);
    let encoded = good.encode();
    case.store.blobs().put(&encoded.rows).unwrap();
    // The record is of another day than the seal.
    case.scene.seal(0, day(20_791), encoded.body.clone());
    assert_eq!(
        case.why(),
        ["the seal is of 2026-12-03, its record of 2026-12-04"]
    );
    for (on, words) in [
        (TODAY, "which is not over: today is 2026-12-13"),
        (TODAY + 40, "which is not over: today is 2026-12-13"),
    ] {
        let mut case = Case::new();
        let early = case.of(0, on, None);
        case.write(0, &early);
        let why = case.why();
        assert!(why[0].contains(words), "{why:?}");
        // It is no reason to bring rows.
        assert!(case.review().missing.is_empty());
    }
    let mut huge = good.clone();
    huge.rows = vec![row(1, Class::Answer, 30), row(2, Class::Answer, 30)];
    huge.rows[0].count.body.0 = FIGURE_MAX;
    huge.rows[1].count.body.0 = FIGURE_MAX;
    let body = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = encoded.body.clone();
        change(&mut body);
        body
    };
    let root = body(&|body| body[60] ^= 1);
    for (body, rows, words) in [
        (
            huge.encode().body,
            huge.encode().rows,
            "with it the sums pass",
        ),
        (root, encoded.rows.clone(), "Merkle root"),
        (
            Map::new().uint(0, 1_u8).finish(),
            Vec::new(),
            "the body of the seal",
        ),
    ] {
        let mut case = Case::new();
        case.store.blobs().put(&rows).unwrap();
        case.scene.seal(0, good.day, body);
        let why = case.why();
        assert!(why[0].contains(words), "{why:?}");
    }
    let mut case = Case::new();
    let theirs = case.of(1, 20_790, None);
    case.write(0, &theirs);
    let why = case.why();
    assert!(why[0].contains("its record is of node"), "{why:?}");
}

#[test]
fn a_million_rows_are_refused_before_they_are_brought() {
    let mut case = Case::new();
    let good = case.of(0, 20_790, None);
    let mut body = good.encode().body;
    let at = body.windows(2).position(|key| key == [0x04, 0x05]).unwrap();
    body.splice(at + 1..at + 2, [0x1a, 0x00, 0x0f, 0x42, 0x40]);
    case.scene.seal(0, good.day, body);
    assert_eq!(
        case.why(),
        ["the seal has 1000000 rows, a seal has at most 100000"]
    );
    assert!(case.review().missing.is_empty());
}

#[test]
fn rows_of_days_long_over_are_neither_kept_nor_brought() {
    let mut case = Case::new();
    let last = case.of(0, TODAY - ROWS_KEPT_DAYS, None);
    let before = case.of(0, TODAY - ROWS_KEPT_DAYS - 1, None);
    for seal in [&last, &before] {
        case.scene.seal(0, seal.day, seal.encode().body);
    }
    assert_eq!(case.review().missing.len(), 1);
    assert_eq!(
        case.review().waiting,
        BTreeSet::from([(last.node, last.day)])
    );
    assert_eq!(named_rows(&case.scene.effect(), day(TODAY)).count(), 1);
}

#[test]
fn the_order_of_records_changes_nothing() {
    let mut case = Case::new();
    let one = case.of(0, 20_790, None);
    let encoded = case.write(0, &one);
    let mut other = one.clone();
    other.rows.remove(4);
    case.write(0, &other);
    let next = case.of(0, 20_791, Some(&encoded));
    case.write(0, &next);
    let expected = case.review();
    for turn in 1..case.scene.records.len() {
        case.scene.records.rotate_left(turn);
        let doubled = Arc::clone(&case.scene.records[0]);
        case.scene.records.push(doubled);
        assert_eq!(case.review(), expected, "{turn}");
    }
}

#[test]
fn what_a_removed_node_wrote_after_the_others_agreed_does_not_count() {
    let mut case = Case::new();
    let one = case.of(1, 20_790, None);
    case.write(1, &one);
    let node = case.scene.node(1);
    case.scene.step(|step| {
        step.removed.insert(node.into(), Digest::of(b""));
    });
    assert_eq!(case.review(), Review::default());
}
