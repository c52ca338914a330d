//! When which host is looked at, and what this node then votes.
//!
//! Pure: the time and what was found come in. A host that this node has not seen proved is looked at
//! at once, then ever more seldom, at least every hour. One that it has voted for is looked at once a
//! week, at a moment that the claim and the node's id give, so that all nodes of a region do not ask
//! at once and a restart begins no week anew. A proof that is missing twice, a day apart, costs the
//! host this node's vote; a question that DNS does not answer counts for nothing.

use super::look::Seen;
use super::proof::{Proof, Verdict};
use crate::region::vote::needs_proof;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use verge_sync::clock::UnixTime;
use verge_sync::digest::Digest;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::Effect;
use verge_sync::record::body::Vote;
use verge_sync::record::effect::{NameEffect, NameStatus, Wanted};

/// Between two looks at a host that is proved.
pub const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Between a look that did not find a proof that was there, and the one that decides.
pub const SECOND_LOOK: Duration = Duration::from_secs(86_400);
/// After a question that was not answered about a host that is proved.
pub const UNANSWERED_WAIT: Duration = Duration::from_secs(3_600);
/// After the first look at a host that is not proved; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// A publisher who has made the record waits no longer than this.
const WAIT_MAX: Duration = Duration::from_secs(3_600);
/// Looks that did not find the proof before the vote is withdrawn.
const FAILURES_MAX: u32 = 2;
/// Hosts that are looked at in one round, the ones never looked at first; the rest waits for the next.
pub const ROUND_MAX: usize = 64;

/// A host's next look, and what came of the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    next: UnixTime,
    /// Looks at a host that is not proved to this node.
    looks: u32,
    /// Looks in a row that did not find the proof of a host that this node voted for.
    failures: u32,
}

/// The hosts that this node looks at.
#[derive(Debug, Default)]
pub struct Recheck {
    rows: BTreeMap<RecordId, Row>,
}

impl Recheck {
    /// What is to be looked at now, at most [`ROUND_MAX`].
    pub fn due(&mut self, effect: &Effect, node: NodeId, now: UnixTime) -> Vec<(RecordId, Proof)> {
        let claims = claims(effect, node);
        self.rows.retain(|claim, _| claims.contains_key(claim));
        for (record, claim) in &claims {
            let row = self
                .rows
                .entry(*record)
                .or_insert_with(|| first(claim, node, now));
            // A clock that was set back must not put a look off for longer than a week.
            row.next = row.next.min(now.plus(WEEK));
        }
        let mut due: Vec<(&RecordId, &Row)> = self
            .rows
            .iter()
            .filter(|(_, row)| row.next <= now)
            .collect();
        due.sort_by_key(|(_, row)| (row.looks, row.next));
        let proof = |record| Some((record, Proof::of(effect, claims.get(&record)?)?));
        let round = due.into_iter().take(ROUND_MAX);
        round.filter_map(|(record, _)| proof(*record)).collect()
    }

    /// When the next host is due, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<UnixTime> {
        self.rows.values().map(|row| row.next).min()
    }

    /// Takes note of what was seen, and says what is to be voted now.
    pub fn note(
        &mut self,
        effect: &Effect,
        node: NodeId,
        seen: &[Seen],
        now: UnixTime,
    ) -> Vec<(RecordId, Vote)> {
        let claims = claims(effect, node);
        let mut votes = Vec::new();
        let mut chosen: BTreeSet<&Wanted> = BTreeSet::new();
        for Seen { claim, verdict } in seen {
            let (Some(known), Some(row)) = (claims.get(claim), self.rows.get_mut(claim)) else {
                continue;
            };
            let next_week = weekly(*claim, node, now);
            let vote = if known.voters.contains(&node) {
                row.looked_again(verdict, next_week, now)
            } else if let Some(rival) = other_choice(effect, known, node) {
                row.wait(now);
                // Whoever had the domain before: is the old proof still there?
                if *verdict == Verdict::Proved {
                    self.hurry(rival, now);
                }
                None
            } else {
                let is_first = *verdict != Verdict::Proved || chosen.insert(&known.wanted);
                if is_first {
                    row.looked(verdict, next_week, now)
                } else {
                    // Both of two rivals are proved: the one that was seen first has the vote.
                    row.wait(now);
                    None
                }
            };
            votes.extend(vote.map(|vote| (*claim, vote)));
        }
        votes
    }

    /// Votes could not be written: their hosts are looked at again soon.
    pub fn not_voted(&mut self, votes: &[(RecordId, Vote)], now: UnixTime) {
        for (claim, _) in votes {
            if let Some(row) = self.rows.get_mut(claim) {
                *row = Row::at(now.plus(FIRST_WAIT));
            }
        }
    }

    /// Looks at a claim now, unless a look has just failed and the deciding one is to come.
    pub fn hurry(&mut self, claim: RecordId, now: UnixTime) {
        if let Some(row) = self.rows.get_mut(&claim).filter(|row| row.failures == 0) {
            row.next = row.next.min(now);
        }
    }
}

impl Row {
    fn at(next: UnixTime) -> Self {
        Self {
            next,
            looks: 0,
            failures: 0,
        }
    }

    /// After a look at a host that this node has voted for.
    fn looked_again(
        &mut self,
        verdict: &Verdict,
        next_week: UnixTime,
        now: UnixTime,
    ) -> Option<Vote> {
        match verdict {
            Verdict::Proved => *self = Self::at(next_week),
            Verdict::Unanswered(_) => self.next = now.plus(UNANSWERED_WAIT),
            Verdict::NotThere if self.failures + 1 >= FAILURES_MAX => {
                *self = Self::at(now.plus(FIRST_WAIT));
                return Some(Vote::Withdrawn);
            }
            Verdict::NotThere => {
                self.failures += 1;
                self.next = now.plus(SECOND_LOOK);
            }
        }
        None
    }

    /// After a look at a host that this node has not voted for, or no longer.
    fn looked(&mut self, verdict: &Verdict, next_week: UnixTime, now: UnixTime) -> Option<Vote> {
        if *verdict == Verdict::Proved {
            *self = Self::at(next_week);
            return Some(Vote::For);
        }
        self.wait(now);
        None
    }

    /// Waits longer each time.
    fn wait(&mut self, now: UnixTime) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.looks.min(10));
        self.next = now.plus(wait.min(WAIT_MAX));
        self.looks = self.looks.saturating_add(1);
    }
}

/// Claims of hosts that need a proof and have a site that could show it.
fn claims(effect: &Effect, node: NodeId) -> BTreeMap<RecordId, &NameEffect> {
    if !effect.nodes.get(&node).is_some_and(|node| node.is_member) {
        return BTreeMap::new();
    }
    let wanted = effect.names.iter().filter(|claim| {
        needs_proof(effect, claim)
            && claim.status != NameStatus::Refused
            && Proof::of(effect, claim).is_some()
    });
    wanted.map(|claim| (claim.record, claim)).collect()
}

/// Another claim of the same host that this node has voted for: it has one vote for a name.
fn other_choice(effect: &Effect, claim: &NameEffect, node: NodeId) -> Option<RecordId> {
    let mut others = effect
        .names
        .iter()
        .filter(|other| other.wanted == claim.wanted && other.record != claim.record);
    others
        .find(|other| other.voters.contains(&node))
        .map(|other| other.record)
}

/// A claim that is new to this run of the node.
fn first(claim: &NameEffect, node: NodeId, now: UnixTime) -> Row {
    if claim.voters.contains(&node) {
        Row::at(weekly(claim.record, node, now))
    } else {
        Row::at(now)
    }
}

/// The next moment, after `now`, of the week that this node looks at this claim.
fn weekly(claim: RecordId, node: NodeId, now: UnixTime) -> UnixTime {
    let week = i64::try_from(WEEK.as_secs()).unwrap_or(i64::MAX);
    let digest = Digest::derive("verge 1 look", &[claim.as_bytes(), node.as_bytes()]);
    let (first, _) = digest
        .as_bytes()
        .split_first_chunk::<8>()
        .unwrap_or((&[0; 8], &[]));
    let phase = i64::from_be_bytes(*first).rem_euclid(week);
    let since = now.0.saturating_sub(phase).rem_euclid(week);
    UnixTime(now.0.saturating_add(week - since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::resolver::Unanswered;
    use crate::region::scene::Scene;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use verge_sync::record::body::{HostProof, NameKind, Tombstone};

    const START: UnixTime = UnixTime(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn silent() -> Verdict {
        Verdict::Unanswered(Unanswered {
            name: "www.example.org".to_owned(),
            why: "the server failed".to_owned(),
        })
    }

    /// A node that looks at hosts, in a region that heeds what it says.
    struct Looking {
        scene: Scene,
        checks: Recheck,
        now: UnixTime,
    }

    impl Looking {
        /// A region of `count` providers, and a claim of a host by the site of the first.
        fn new(count: u8) -> (Self, RecordId) {
            let mut scene = Scene::new(count, HostProof::Dns);
            let site = scene.site(0);
            scene.claim(0, site, NameKind::Label, "garden");
            let claim = scene.claim(0, site, NameKind::Host, "www.example.org");
            let (checks, now) = (Recheck::default(), START);
            (Self { scene, checks, now }, claim)
        }

        fn due(&mut self) -> Vec<RecordId> {
            let (effect, node) = (self.scene.effect(), self.scene.node(0));
            let due = self.checks.due(&effect, node, self.now);
            due.into_iter().map(|(claim, _)| claim).collect()
        }

        /// Goes on to when the next look is due, which must be `claim`'s; says how long that took.
        fn wait_for(&mut self, claim: RecordId) -> Duration {
            self.due();
            let next = self.checks.next().unwrap();
            let waited = next.since(self.now);
            self.now = self.now.max(next);
            assert_eq!(self.due(), [claim]);
            waited
        }

        /// Finds `verdict` for `claim`, and says what it says.
        fn find(&mut self, claim: RecordId, verdict: Verdict) -> Option<Vote> {
            let (effect, node) = (self.scene.effect(), self.scene.node(0));
            let seen = [Seen { claim, verdict }];
            let votes = self.checks.note(&effect, node, &seen, self.now);
            for (claim, vote) in &votes {
                self.scene.say(0, *claim, *vote);
            }
            assert!(votes.len() <= 1 && votes.iter().all(|(voted, _)| *voted == claim));
            votes.first().map(|(_, vote)| *vote)
        }

        fn status(&self, claim: RecordId) -> NameStatus {
            let effect = self.scene.effect();
            let name = effect.names.iter().find(|name| name.record == claim);
            name.unwrap().status.clone()
        }
    }

    #[test]
    fn a_new_host_is_looked_at_at_once_then_ever_more_seldom() {
        let (mut looking, claim) = Looking::new(1);
        assert_eq!(looking.due(), [claim]);
        let mut waits = Vec::new();
        for verdict in [Verdict::NotThere, silent()].into_iter().cycle().take(9) {
            assert_eq!(looking.find(claim, verdict), None);
            waits.push(looking.wait_for(claim).as_secs());
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]);
        assert_eq!(looking.status(claim), NameStatus::Unproved);
        assert_eq!(looking.find(claim, Verdict::Proved), Some(Vote::For));
        assert_eq!(looking.status(claim), NameStatus::Settled);
    }

    #[test]
    fn a_proved_host_is_looked_at_once_a_week_and_loses_the_vote_after_two_failures() {
        let (mut looking, claim) = Looking::new(1);
        looking.due();
        looking.find(claim, Verdict::Proved);
        assert!(looking.wait_for(claim) <= WEEK);
        assert_eq!(looking.find(claim, Verdict::Proved), None);
        assert_eq!(looking.wait_for(claim), WEEK);
        assert_eq!(looking.find(claim, Verdict::NotThere), None);
        assert_eq!(looking.wait_for(claim), SECOND_LOOK);
        // A question without an answer neither counts nor forgets.
        assert_eq!(looking.find(claim, silent()), None);
        assert_eq!(looking.wait_for(claim), UNANSWERED_WAIT);
        assert_eq!(looking.status(claim), NameStatus::Settled);
        assert_eq!(
            looking.find(claim, Verdict::NotThere),
            Some(Vote::Withdrawn)
        );
        assert_eq!(looking.status(claim), NameStatus::Suspended);
        assert_eq!(looking.wait_for(claim), FIRST_WAIT);
        assert_eq!(looking.find(claim, Verdict::NotThere), None);
        assert_eq!(looking.wait_for(claim), FIRST_WAIT);
        assert_eq!(looking.find(claim, Verdict::Proved), Some(Vote::For));
        assert_eq!(looking.status(claim), NameStatus::Settled);
    }

    #[test]
    fn a_proof_that_comes_back_in_time_wipes_the_failure_out() {
        let (mut looking, claim) = Looking::new(1);
        looking.due();
        looking.find(claim, Verdict::Proved);
        for _ in 0..3 {
            looking.wait_for(claim);
            assert_eq!(looking.find(claim, Verdict::NotThere), None);
            looking.wait_for(claim);
            assert_eq!(looking.find(claim, Verdict::Proved), None);
        }
        assert_eq!(looking.status(claim), NameStatus::Settled);
    }

    #[test]
    fn a_resolver_that_never_answers_takes_no_host_down() {
        let (mut looking, claim) = Looking::new(1);
        looking.due();
        looking.find(claim, Verdict::Proved);
        for _ in 0..1_000 {
            looking.wait_for(claim);
            assert_eq!(looking.find(claim, silent()), None);
        }
        assert_eq!(looking.status(claim), NameStatus::Settled);
    }

    #[test]
    fn a_restart_begins_no_week_anew_and_a_clock_set_back_puts_nothing_off() {
        let (mut looking, claim) = Looking::new(1);
        looking.due();
        looking.find(claim, Verdict::Proved);
        looking.due();
        let next = looking.checks.next().unwrap();
        looking.checks = Recheck::default();
        looking.now = UnixTime(next.0 - 1);
        assert!(looking.due().is_empty());
        assert_eq!(looking.checks.next(), Some(next));
        looking.now = UnixTime(START.0 - 100 * 7 * 86_400);
        assert!(looking.due().is_empty());
        assert!(looking.checks.next().unwrap() <= looking.now.plus(WEEK));
    }

    #[test]
    fn a_domain_that_was_sold_goes_over_within_two_days() {
        let (mut looking, old) = Looking::new(1);
        looking.due();
        looking.find(old, Verdict::Proved);
        let buyer = looking.scene.site(0);
        let new = looking
            .scene
            .claim(0, buyer, NameKind::Host, "www.example.org");
        assert_eq!(looking.due(), [new]);
        let begun = looking.now;
        // The old vote stands: none for the new claim, but a look at the old one.
        assert_eq!(looking.find(new, Verdict::Proved), None);
        assert_eq!(looking.due(), [old]);
        assert_eq!(looking.find(old, Verdict::NotThere), None);
        while looking.status(old) != NameStatus::Suspended {
            looking.due();
            looking.now = looking.checks.next().unwrap();
            for claim in looking.due() {
                let verdict = if claim == old {
                    Verdict::NotThere
                } else {
                    Verdict::Proved
                };
                looking.find(claim, verdict);
            }
        }
        assert_eq!(looking.wait_for_any(), Some(Vote::For));
        assert_eq!(looking.status(new), NameStatus::Settled);
        assert!(looking.now.since(begun) <= 2 * DAY);
        assert!(looking.scene.effect().evidence.is_empty());
    }

    impl Looking {
        /// Looks at the buyer's claim until something is voted.
        fn wait_for_any(&mut self) -> Option<Vote> {
            for _ in 0..100 {
                let due = self.due();
                for claim in due {
                    let is_old = self.status(claim) == NameStatus::Suspended;
                    let verdict = if is_old {
                        Verdict::NotThere
                    } else {
                        Verdict::Proved
                    };
                    if let Some(vote) = self.find(claim, verdict) {
                        return Some(vote);
                    }
                }
                self.now = self.now.max(self.checks.next()?);
            }
            None
        }
    }

    #[test]
    fn only_hosts_of_living_sites_outside_of_the_zone_are_looked_at() {
        let (mut looking, claim) = Looking::new(2);
        let (account, site) = looking.scene.site(1);
        looking
            .scene
            .claim(1, (account, site), NameKind::Host, "sites.example");
        let other = looking
            .scene
            .claim(1, (account, site), NameKind::Host, "b.example");
        let mut expected = vec![claim, other];
        expected.sort_unstable();
        assert_eq!(looking.due(), expected);
        let reason = String::new();
        let end = looking.scene.providers[1].tombstone(site.digest(), Tombstone { reason });
        looking.scene.add(end.unwrap());
        assert_eq!(looking.due(), [claim]);
        assert_eq!(looking.checks.rows.len(), 1);
        let effect = looking.scene.effect();
        let stranger = NodeId::from_bytes([9; 32]);
        assert!(looking.checks.due(&effect, stranger, START).is_empty());
        // Where nothing is to be proved, nothing is looked at.
        let mut scene = Scene::new(1, HostProof::None);
        let site = scene.site(0);
        scene.claim(0, site, NameKind::Host, "www.example.org");
        let (effect, node) = (scene.effect(), scene.node(0));
        assert!(Recheck::default().due(&effect, node, START).is_empty());
    }

    #[test]
    fn a_round_is_bounded_and_new_hosts_come_first() {
        let mut scene = Scene::new(1, HostProof::Dns);
        let mut claims = Vec::new();
        for number in 0..ROUND_MAX + 6 {
            if number % 60 == 0 {
                claims.push((scene.site(0), Vec::new()));
            }
            let (site, made) = claims.last_mut().unwrap();
            let host = format!("h{number}.example.org");
            made.push(scene.claim(0, *site, NameKind::Host, &host));
        }
        let (effect, node) = (scene.effect(), scene.node(0));
        let mut checks = Recheck::default();
        let round = checks.due(&effect, node, START);
        assert_eq!(round.len(), ROUND_MAX);
        let seen: Vec<Seen> = round
            .iter()
            .map(|(claim, _)| Seen {
                claim: *claim,
                verdict: Verdict::NotThere,
            })
            .collect();
        checks.note(&effect, node, &seen, START);
        assert_eq!(checks.due(&effect, node, START).len(), 6);
        let later = checks.due(&effect, node, START.plus(HOUR));
        assert!(
            later
                .iter()
                .take(6)
                .all(|(claim, _)| seen.iter().all(|s| s.claim != *claim))
        );
    }

    #[test]
    fn who_asks_is_looked_for_at_once_but_a_failure_has_its_day() {
        let (mut looking, claim) = Looking::new(1);
        looking.due();
        looking.find(claim, Verdict::NotThere);
        assert!(looking.due().is_empty());
        looking.checks.hurry(claim, looking.now);
        assert_eq!(looking.due(), [claim]);
        looking.find(claim, Verdict::Proved);
        looking.wait_for(claim);
        looking.find(claim, Verdict::NotThere);
        looking.checks.hurry(claim, looking.now);
        assert!(looking.due().is_empty());
        // A vote that could not be written is made up for soon.
        let votes = [(claim, Vote::For)];
        looking.checks.not_voted(&votes, looking.now);
        assert_eq!(looking.wait_for(claim), FIRST_WAIT);
    }

    proptest! {
        #[test]
        fn the_weekly_moment_is_always_ahead_and_within_a_week(claim: [u8; 32], now in any::<u32>()) {
            let (claim, node) = (RecordId::from_bytes(claim), NodeId::from_bytes([7; 32]));
            let now = UnixTime(i64::from(now));
            let next = weekly(claim, node, now);
            prop_assert!(next > now && next <= now.plus(WEEK));
            prop_assert!(weekly(claim, node, next) == next.plus(WEEK));
        }
    }
    proptest! {
        #![proptest_config(proptest::test_runner::Config {
            failure_persistence: None,
            ..proptest::test_runner::Config::default()
        })]

        /// Two sites want one host, and DNS says whatever it likes: a node never stands for both, votes
        /// only for what it found, and takes nothing back for want of an answer.
        #[test]
        fn no_run_of_answers_makes_a_node_stand_for_two(
            rounds in proptest::collection::vec((0_u8..3, 0_u8..3), 1..60),
        ) {
            let (mut looking, first) = Looking::new(1);
            let rival = looking.scene.site(0);
            let second = looking.scene.claim(0, rival, NameKind::Host, "www.example.org");
            let verdicts = [Verdict::Proved, Verdict::NotThere, silent()];
            for (for_first, for_second) in rounds {
                let due = looking.due();
                let (effect, node) = (looking.scene.effect(), looking.scene.node(0));
                let says = |claim| usize::from(if claim == first { for_first } else { for_second });
                let seen: Vec<Seen> = due
                    .iter()
                    .map(|claim| Seen { claim: *claim, verdict: verdicts[says(*claim)].clone() })
                    .collect();
                for (claim, vote) in looking.checks.note(&effect, node, &seen, looking.now) {
                    let found = &verdicts[says(claim)];
                    prop_assert_eq!(vote == Vote::For, *found == Verdict::Proved);
                    prop_assert!(!matches!(found, Verdict::Unanswered(_)));
                    looking.scene.say(0, claim, vote);
                }
                let held = looking.scene.effect();
                prop_assert!(held.evidence.is_empty());
                let stands = |claim: &&NameEffect| claim.voters.contains(&node);
                prop_assert!(held.names.iter().filter(stands).filter(|c| c.kind == NameKind::Host).count() <= 1);
                looking.now = looking.now.max(looking.checks.next().unwrap());
            }
            prop_assert!(looking.checks.rows.contains_key(&second));
        }
    }
}
