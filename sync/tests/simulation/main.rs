//! A region in virtual time: the code that nodes run, over a wire that delays, cuts and forgets, with
//! crashes and rogue members. A seed replays exactly: `VERGE_SEED=7 cargo test --test simulation`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]
#![allow(dead_code, reason = "the scene is that of the records' tests")]

#[path = "../records/scene.rs"]
mod scene;

mod dice;
mod law;
mod member;
mod people;
mod rogue;
mod world;

use law::Tally;
use std::cell::RefCell;
use std::collections::HashMap;
use verge_sync::Digest;
use verge_sync::record::{Record, SignatureError};
use world::{Story, World};

/// So many regions in `make test`; `make sim SEEDS=N` takes more.
const SEED_COUNT: u64 = 200;

#[expect(
    clippy::disallowed_methods,
    reason = "how much is tried is no configuration of a node"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Each record is verified at one node: the others ask what came of it.
fn verify_once(record: &Record) -> Result<(), SignatureError> {
    thread_local! {
        static VERIFIED: RefCell<HashMap<Digest, Result<(), SignatureError>>> = RefCell::default();
    }
    VERIFIED.with_borrow_mut(|verified| {
        // A seed has some thousands.
        if verified.len() > 100_000 {
            verified.clear();
        }
        let form = Digest::of(record.bytes());
        *verified.entry(form).or_insert_with(|| record.verify())
    })
}

#[test]
fn honest_nodes_come_to_one_effect() {
    let seeds = match number("VERGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VERGE_SEEDS").unwrap_or(SEED_COUNT),
    };
    let mut tally = Tally::default();
    for seed in seeds.clone() {
        let story = Story::of(seed);
        let mut world = World::new(seed, &story);
        world.live(&story);
        tally.add(&world.check(&story));
    }
    println!("{tally:?}");
    let is_whole = seeds.end - seeds.start >= SEED_COUNT;
    assert!(!is_whole || tally.missing().is_empty(), "{tally:?}");
}

/// As many nodes as a region has at most: `VERGE_NODES=50` takes another number.
#[test]
fn a_large_region_comes_to_one_effect() {
    let count = number("VERGE_NODES").map_or(24, |count| u8::try_from(count).unwrap());
    let story = Story::large(count);
    let mut world = World::new(1, &story);
    world.live(&story);
    let tally = world.check(&story);
    let bytes = world.sent_bytes / usize::from(count);
    println!("{count} nodes, {bytes} bytes sent by each: {tally:?}");
}

#[test]
fn a_seed_replays_exactly() {
    let trace = || {
        let story = Story::of(3);
        let mut world = World::new(3, &story);
        world.live(&story);
        world.trace()
    };
    assert_eq!(trace(), trace());
}
