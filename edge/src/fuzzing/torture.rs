//! Every target on seeded mutations of its good inputs: 100,000 runs each. `make prove` runs the
//! same targets guided by coverage (`fuzz/run`).

use super::{TARGETS, Target};
use crate::sites::SiteManifest;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use verge_sync::record::Record;

/// How often each target runs.
const RUN_COUNT: usize = 100_000;
/// A manifest of a few files; longer inputs only take longer.
const INPUT_BYTES_MAX: usize = 1_500;

/// Mutates pieces of a corpus; the seed is the test's own, so a failure comes again.
struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            corpus,
        }
    }

    fn below(&mut self, count: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % count.max(1)
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        self.corpus[at].clone()
    }

    fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.pick();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                4 => {
                    let other = self.pick();
                    let from = self.below(other.len() + 1);
                    bytes.splice(at..at, other[from..].iter().copied());
                }
                5 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                _ => {
                    let copy = bytes[at..].to_vec();
                    bytes.extend(copy);
                }
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }
}

/// Shows the input if the target panics.
struct Input<'a>(&'a str, Vec<u8>);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}: \"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

fn run(name: &str, target: Target, seed: u64) {
    let mut mutator = Mutator::new(seed, seeds(name));
    for _ in 0..RUN_COUNT {
        let input = Input(name, mutator.next());
        target(&input.1);
    }
}

#[test]
fn whatever_the_bytes_are() {
    thread::scope(|scope| {
        for ((name, target), seed) in TARGETS.iter().zip(1..) {
            scope.spawn(move || run(name, *target, seed));
        }
    });
}

fn seeds_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds")
}

/// The good inputs of a target, in order of their names, so that a seed means the same everywhere.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(seeds_dir().join(name)).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

#[test]
fn each_target_has_seeds_and_each_seed_a_target() {
    let folder = std::fs::read_dir(seeds_dir()).unwrap();
    let named = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = TARGETS.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(named.collect::<BTreeSet<_>>(), known.collect());
    assert!(TARGETS.iter().all(|(name, _)| !seeds(name).is_empty()));
}

#[test]
fn seeds_that_nobody_can_read_are_what_they_should_be() {
    for bytes in seeds("manifests") {
        assert!(SiteManifest::decode(bytes).is_ok());
    }
    for bytes in seeds("records") {
        assert!(Record::parse(&bytes).is_ok_and(|record| record.body().is_ok()));
    }
}
