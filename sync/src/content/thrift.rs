//! What a node keeps when its room is scarce.
//!
//! By default every version that the region keeps. A full node first gives up what is a cache (whoever
//! owns this does, told by [`Thrift::over_bytes`]), then versions beyond the three newest, then its copies of sites that enough others hold; never a
//! current version that it alone holds, since a site is given up only where more than
//! `replica_count_min` others say that they hold it, and only by nodes that come late in an order
//! that all nodes work out alike, so that not all give it up at once. What is given up is remembered
//! by whoever owns this, and comes back when there is room again.

use crate::digest::Digest;
use crate::id::{NodeId, SiteId};
use crate::record::effect::KEPT_DEPLOYS;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Deploys whose versions a full node keeps, and every tip.
const KEPT_WHEN_FULL: usize = 3;
/// A node without a limit of its own whose disk was full makes so much room.
const RELIEF_BYTES: u64 = 64 << 20;

/// How much room there is, and what is kept in it.
#[derive(Debug)]
pub struct Thrift {
    /// 0: as much as the disk has.
    bytes_max: u64,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    pressed: Notify,
}

#[derive(Debug, Clone)]
struct State {
    used_bytes: u64,
    is_pressed: bool,
    /// What a push had no room for.
    wanted_bytes: u64,
    kept_count: usize,
    given_up: BTreeSet<SiteId>,
}

/// A copy of a site that is here, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The site.
    pub site: SiteId,
    /// What its current version takes.
    pub bytes: u64,
    /// Whether that version is here whole; if not, it is wanted, or was given up.
    pub is_here: bool,
    /// The other nodes that say that they hold that version.
    pub others: BTreeSet<NodeId>,
}

/// What is on the disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Blobs that are kept.
    pub kept_bytes: u64,
    /// What can be made again from blobs.
    pub cache_bytes: u64,
    /// What was given up of that just now.
    pub freed_bytes: u64,
}

impl Default for Thrift {
    /// All that the disk has, and nothing given up.
    fn default() -> Self {
        Self::new(0, BTreeSet::new())
    }
}

impl Thrift {
    /// At most `bytes_max` of blobs (0: what the disk has); `given_up` are sites of which this node
    /// has given its copy up before.
    #[must_use]
    pub fn new(bytes_max: u64, given_up: BTreeSet<SiteId>) -> Self {
        let state = State {
            used_bytes: 0,
            is_pressed: false,
            wanted_bytes: 0,
            // Until it is known how much is used: who was full is likely to be full.
            kept_count: if given_up.is_empty() {
                KEPT_DEPLOYS
            } else {
                KEPT_WHEN_FULL
            },
            given_up,
        };
        Self {
            bytes_max,
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
            pressed: Notify::new(),
        }
    }

    /// A copy of the site is to be here, whatever was given up before: a version of it is put in
    /// place by this node.
    pub fn take_back(&self, site: SiteId) {
        if self.state().given_up.remove(&site) {
            self.move_on();
        }
    }

    fn move_on(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }

    /// How many of a site's newest deploys are kept, beside its tips.
    #[must_use]
    pub fn kept_count(&self) -> usize {
        self.state().kept_count
    }

    /// Whether this node is to have a copy of the site.
    #[must_use]
    pub fn keeps(&self, site: &SiteId) -> bool {
        !self.state().given_up.contains(site)
    }

    /// The sites of which it has given its copy up.
    #[must_use]
    pub fn given_up(&self) -> BTreeSet<SiteId> {
        self.state().given_up.clone()
    }

    /// A number that changes whenever what is kept does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether there is room for so much more; if not, somebody is asked to make some.
    #[must_use]
    pub fn has_room(&self, bytes: u64) -> bool {
        let used_bytes = self.state().used_bytes;
        let fits = self.bytes_max == 0 || used_bytes.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.press();
        }
        fits
    }

    /// The same for what this node is to put in place, for which room is made if there is none: nothing
    /// else names it yet, so it would not be counted.
    #[must_use]
    pub fn has_room_for_new(&self, bytes: u64) -> bool {
        let fits = self.has_room(bytes);
        if !fits {
            let mut state = self.state();
            state.wanted_bytes = state.wanted_bytes.max(bytes);
        }
        fits
    }

    /// So much more is used.
    pub fn add(&self, bytes: u64) {
        let mut state = self.state();
        state.used_bytes = state.used_bytes.saturating_add(bytes);
    }

    /// The disk is full: room has to be made.
    pub fn press(&self) {
        self.state().is_pressed = true;
        self.pressed.notify_one();
    }

    /// Waits until room has to be made.
    pub async fn pressed(&self) {
        self.pressed.notified().await;
    }

    /// Whether less is kept than the region keeps.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        let state = self.state();
        state.kept_count < KEPT_DEPLOYS || !state.given_up.is_empty()
    }

    /// How much is to be given up of what is used, with what is still to come of `copies`.
    #[must_use]
    pub fn over_bytes(&self, used: Used, copies: &[Copy]) -> u64 {
        self.over(&self.state(), used, copies)
    }

    fn over(&self, state: &State, used: Used, copies: &[Copy]) -> u64 {
        let needed_bytes = needed_bytes(state, used, copies);
        match (self.bytes_max, state.is_pressed) {
            (0, false) => 0,
            (0, true) => RELIEF_BYTES.saturating_sub(used.freed_bytes),
            (bytes_max, _) => needed_bytes
                .saturating_add(used.cache_bytes)
                .saturating_add(state.wanted_bytes)
                .saturating_sub(bytes_max),
        }
    }

    /// Takes in how much is used now, and decides what is kept from now on: by `me`, of `copies`, all
    /// that there could be. Says whether that has changed.
    pub fn weigh(
        &self,
        used: Used,
        (me, replica_count_min): (NodeId, usize),
        copies: &[Copy],
    ) -> bool {
        let mut state = self.state();
        let before = (state.kept_count, state.given_up.clone());
        // Not those of sites that have ended: they never come back.
        let known: BTreeSet<SiteId> = copies.iter().map(|copy| copy.site).collect();
        state.given_up.retain(|site| known.contains(site));
        state.used_bytes = used.kept_bytes.saturating_add(used.cache_bytes);
        let over_bytes = self.over(&state, used, copies);
        if over_bytes == 0 {
            // Caches go before anything that comes back.
            let needed_bytes = needed_bytes(&state, used, copies);
            self.relax(&mut state, needed_bytes, copies);
        } else if state.kept_count > KEPT_WHEN_FULL {
            state.kept_count = KEPT_WHEN_FULL;
        } else {
            let kept: Vec<&Copy> = kept(&state, copies).collect();
            let chosen = give_up(over_bytes, (me, replica_count_min), &kept);
            state.given_up.extend(chosen);
        }
        state.is_pressed = false;
        let has_changed = before != (state.kept_count, state.given_up.clone());
        if !has_changed {
            // There is room for it now, or nothing more to give up.
            state.wanted_bytes = 0;
        }
        drop(state);
        if has_changed {
            self.move_on();
        }
        has_changed
    }

    /// With half of the room free all is as before; a site comes back when it fits in four fifths.
    fn relax(&self, state: &mut State, needed_bytes: u64, copies: &[Copy]) {
        if needed_bytes <= self.bytes_max / 2 {
            state.kept_count = KEPT_DEPLOYS;
        }
        let mut room = (self.bytes_max / 5 * 4).saturating_sub(needed_bytes);
        for copy in copies {
            if state.given_up.contains(&copy.site) && copy.bytes <= room {
                room -= copy.bytes;
                state.given_up.remove(&copy.site);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept<'a>(state: &State, copies: &'a [Copy]) -> impl Iterator<Item = &'a Copy> {
    let is_kept = |copy: &&Copy| !state.given_up.contains(&copy.site);
    copies.iter().filter(is_kept)
}

/// What is kept, with what is still to come of it.
fn needed_bytes(state: &State, used: Used, copies: &[Copy]) -> u64 {
    let missing = kept(state, copies).filter(|copy| !copy.is_here);
    missing.fold(used.kept_bytes, |sum, copy| sum.saturating_add(copy.bytes))
}

/// The sites to give up for `over_bytes`: what is not here yet first, which costs nothing, then what
/// most others hold, then the largest.
fn give_up(
    over_bytes: u64,
    (me, replica_count_min): (NodeId, usize),
    copies: &[&Copy],
) -> Vec<SiteId> {
    let may_go =
        |copy: &&Copy| copy.others.len() > replica_count_min && rank(copy, me) > replica_count_min;
    let mut candidates: Vec<&Copy> = copies.iter().copied().filter(may_go).collect();
    candidates.sort_by_key(|copy| {
        let others = usize::MAX - copy.others.len();
        (copy.is_here, others, u64::MAX - copy.bytes, copy.site)
    });
    let mut given_up = Vec::new();
    let mut freed_bytes = 0_u64;
    for copy in candidates {
        if freed_bytes >= over_bytes {
            break;
        }
        freed_bytes = freed_bytes.saturating_add(copy.bytes);
        given_up.push(copy.site);
    }
    given_up
}

/// How many of the others come before `me` among those who hold the site, in an order that is
/// another for each site and the same on every node.
fn rank(copy: &Copy, me: NodeId) -> usize {
    let key =
        |node: &NodeId| Digest::derive("verge 1 replica", &[copy.site.as_bytes(), node.as_bytes()]);
    let own = key(&me);
    copy.others.iter().filter(|node| key(node) < own).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u8 = 0;

    fn node(number: u8) -> NodeId {
        NodeId::from_digest(Digest::of(&[number]))
    }

    fn copy(site: u8, bytes: u64, others: std::ops::Range<u8>) -> Copy {
        Copy {
            site: SiteId::from_bytes([site; 32]),
            bytes,
            is_here: true,
            others: others.map(node).collect(),
        }
    }

    fn kept_bytes(kept_bytes: u64) -> Used {
        Used {
            kept_bytes,
            ..Used::default()
        }
    }

    #[test]
    fn what_too_few_others_hold_is_never_given_up() {
        for others in 0..=2 {
            let copies = [copy(1, 100, 1..1 + others)];
            assert_eq!(
                give_up(1, (node(ME), 2), &copies.each_ref()),
                [],
                "{others}"
            );
        }
    }

    /// Whoever decides at the same moment, and however many, enough copies stay.
    #[test]
    fn nodes_that_are_full_at_once_leave_enough_copies() {
        for site in 0..50 {
            for holders in 1..12_u8 {
                let left = (0..holders).filter(|me| {
                    let all = copy(site, 100, 0..holders);
                    let mut others = all.others.clone();
                    others.remove(&node(*me));
                    let own = Copy { others, ..all };
                    give_up(1, (node(*me), 2), &[&own]).is_empty()
                });
                let left = left.count();
                assert_eq!(left, usize::from(holders.min(3)), "{site} {holders}");
            }
        }
    }

    #[test]
    fn as_much_as_is_needed_goes_the_most_held_and_largest_first() {
        let copies: Vec<Copy> = (1..40)
            .map(|site| copy(site, u64::from(site), 1..12))
            .chain([copy(50, 1_000, 1..4)])
            .collect();
        let all: Vec<&Copy> = copies.iter().collect();
        let chosen = give_up(60, (node(ME), 2), &all);
        let bytes: Vec<u64> = chosen
            .iter()
            .map(|site| copies.iter().find(|copy| copy.site == *site).unwrap().bytes)
            .collect();
        assert!(bytes.is_sorted_by(|a, b| a > b), "{bytes:?}");
        assert!(bytes.iter().sum::<u64>() >= 60);
        assert!(bytes.iter().skip(1).sum::<u64>() < 60);
    }

    #[test]
    fn what_has_not_come_yet_is_given_up_before_what_is_here() {
        let mut copies: Vec<Copy> = (1..30).map(|site| copy(site, 10, 1..8)).collect();
        let wanted = Copy {
            is_here: false,
            ..copy(99, 10, 1..8)
        };
        let me = (0..8)
            .map(node)
            .max_by_key(|me| rank(&wanted, *me))
            .unwrap();
        copies
            .iter_mut()
            .chain([&mut wanted.clone()])
            .for_each(|copy| {
                copy.others.remove(&me);
            });
        copies.push(Copy {
            others: (0..8).map(node).filter(|other| *other != me).collect(),
            ..wanted
        });
        let all: Vec<&Copy> = copies.iter().collect();
        assert_eq!(give_up(10, (me, 2), &all), [SiteId::from_bytes([99; 32])]);
    }

    #[test]
    fn a_full_node_first_keeps_fewer_versions_and_takes_all_back_when_there_is_room() {
        let thrift = Thrift::new(1_000, BTreeSet::new());
        let me = (node(ME), 0);
        let copies: Vec<Copy> = (1..30).map(|site| copy(site, 100, 1..8)).collect();
        assert!(!thrift.weigh(kept_bytes(900), me, &copies));
        assert!(thrift.has_room(100) && !thrift.has_room(101));
        assert!(thrift.weigh(kept_bytes(1_001), me, &copies));
        assert_eq!((thrift.kept_count(), thrift.given_up().len()), (3, 0));
        assert!(thrift.weigh(kept_bytes(1_001), me, &copies));
        assert_eq!(thrift.given_up().len(), 1);
        let gone = thrift.given_up();
        assert!(gone.iter().all(|site| !thrift.keeps(site)));
        assert!(
            !thrift.weigh(kept_bytes(790), me, &copies),
            "it would not fit"
        );
        assert!(thrift.weigh(kept_bytes(700), me, &copies));
        assert_eq!((thrift.kept_count(), thrift.given_up().len()), (3, 0));
        assert!(thrift.weigh(kept_bytes(500), me, &copies));
        assert_eq!(thrift.kept_count(), KEPT_DEPLOYS);
        assert!(!thrift.is_scarce());
    }

    #[test]
    fn what_was_given_up_of_a_site_that_ended_is_forgotten() {
        let ended = SiteId::from_bytes([99; 32]);
        let copies = [copy(1, 100, 1..8)];
        let thrift = Thrift::new(1_000, BTreeSet::from([ended, copies[0].site]));
        assert!(thrift.weigh(kept_bytes(790), (node(ME), 0), &copies));
        assert_eq!(thrift.given_up(), BTreeSet::from([copies[0].site]));
    }

    #[test]
    fn a_full_disk_without_a_limit_makes_some_room() {
        let thrift = Thrift::default();
        let copies: Vec<Copy> = (1..30).map(|site| copy(site, 40 << 20, 1..8)).collect();
        assert!(thrift.has_room(u64::MAX));
        assert!(!thrift.weigh(kept_bytes(1 << 40), (node(ME), 0), &copies));
        for expected in [(3, 0), (3, 2)] {
            thrift.press();
            assert!(thrift.weigh(kept_bytes(1 << 40), (node(ME), 0), &copies));
            assert_eq!((thrift.kept_count(), thrift.given_up().len()), expected);
        }
    }

    #[test]
    fn caches_go_before_anything_else_and_keep_nothing_away() {
        let me = (node(ME), 0);
        let copies: Vec<Copy> = (1..30).map(|site| copy(site, 100, 1..8)).collect();
        let thrift = Thrift::new(1_000, BTreeSet::new());
        let mut used = Used {
            cache_bytes: 400,
            ..kept_bytes(700)
        };
        assert_eq!(thrift.over_bytes(used, &copies), 100);
        used.cache_bytes = 300;
        assert_eq!(thrift.over_bytes(used, &copies), 0);
        assert!(!thrift.weigh(used, me, &copies));
        assert!(!thrift.has_room(1), "they take room");
        used.cache_bytes = 301;
        assert!(thrift.weigh(used, me, &copies) && thrift.is_scarce());
        let relaxed = Used {
            cache_bytes: 500,
            ..kept_bytes(500)
        };
        assert!(thrift.weigh(relaxed, me, &copies) && !thrift.is_scarce());

        // A push that does not fit, though what is here does.
        let thrift = Thrift::new(1_000, BTreeSet::new());
        assert!(!thrift.weigh(kept_bytes(900), me, &copies));
        assert!(thrift.has_room_for_new(100) && !thrift.has_room_for_new(101));
        assert_eq!(thrift.over_bytes(kept_bytes(900), &copies), 1);
        assert!(thrift.weigh(kept_bytes(900), me, &copies));
        assert!(!thrift.weigh(kept_bytes(800), me, &copies));
        assert_eq!(thrift.over_bytes(kept_bytes(900), &copies), 0);

        // A full disk without a limit, where caches made enough room.
        let disk = Thrift::default();
        disk.press();
        let mut used = kept_bytes(1 << 40);
        assert_eq!(disk.over_bytes(used, &copies), RELIEF_BYTES);
        used.freed_bytes = RELIEF_BYTES;
        assert!(!disk.weigh(used, me, &copies));
    }
}
