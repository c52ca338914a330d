//! Which claims of names this node has to countersign.
//!
//! Pure: from what holds to the votes that are owed. A node votes once for a name, for the claim that
//! holds it: a settled one, else the one with the lower RecordId. It votes for no second claim of the
//! name as long as the first one stands; its own votes in the records say so, also after a restart.
//! Claims of hosts that need a DNS proof are none of this file's business: see [`crate::hosts`].
//!
//! A fresh claim waits [`RIVALS_WAIT`] for its rivals, so that nodes which hear of two claims in
//! different order choose the same one. A longer partition can still divide the votes so that no
//! claim ever has a majority: then none settles, the lower RecordId holds the name on every node, the
//! other works as `NAME-xxxx`, and both stay provisional until one is given up, which frees the votes.

use super::{RegionView, Turn, WriteError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::Effect;
use verge_sync::record::body::{HostProof, NameKind};
use verge_sync::record::effect::{NameEffect, NameStatus, Wanted};

/// Longer than a record takes from one end of a connected region to the other.
pub const RIVALS_WAIT: Duration = Duration::from_secs(5);

/// Votes of one turn; the rest waits for the next: 300 bytes each, and a write holds 4 MiB.
const VOTES_PER_TURN_MAX: usize = 1_000;

/// The claims that `node` may countersign and has not.
#[must_use]
pub fn owed(effect: &Effect, node: NodeId) -> Vec<RecordId> {
    if !effect.nodes.get(&node).is_some_and(|node| node.is_member) {
        return Vec::new();
    }
    let mut contests: BTreeMap<&Wanted, Vec<&NameEffect>> = BTreeMap::new();
    for claim in &effect.names {
        contests.entry(&claim.wanted).or_default().push(claim);
    }
    let open = contests.values().filter(|claims| !has_voted(claims, node));
    open.filter_map(|claims| candidate(effect, claims))
        .collect()
}

/// Whether `node` voted for any of the claims, whatever became of it.
fn has_voted(claims: &[&NameEffect], node: NodeId) -> bool {
    claims.iter().any(|claim| claim.voters.contains(&node))
}

/// Of the claims of one name the one that holds it.
fn candidate(effect: &Effect, claims: &[&NameEffect]) -> Option<RecordId> {
    let possible = claims.iter().filter(|claim| is_votable(effect, claim));
    let rank = |claim: &&&NameEffect| (claim.status != NameStatus::Settled, claim.record);
    possible.min_by_key(rank).map(|claim| claim.record)
}

/// A claim of a living account that is well-formed and not reserved, and needs no proof.
fn is_votable(effect: &Effect, claim: &NameEffect) -> bool {
    let lives = effect.account(&claim.account).is_some();
    lives && claim.status != NameStatus::Refused && !needs_proof(effect, claim)
}

/// Whether nodes vote for the claim only after they have seen its DNS proof.
#[must_use]
pub fn needs_proof(effect: &Effect, claim: &NameEffect) -> bool {
    claim.kind == NameKind::Host && effect.chain.current().body.host_proof == HostProof::Dns
}

/// When each claim that waits for a vote was first seen. Lost at a stop: the wait begins again.
#[derive(Debug, Default)]
pub struct Countersigning {
    first_seen: BTreeMap<RecordId, Instant>,
}

/// What is to be done now, and when to look again if nothing changes before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Claims to vote for.
    pub claims: Vec<RecordId>,
    /// When the next one has waited long enough.
    pub next: Option<Instant>,
}

impl Countersigning {
    /// What `node` has to countersign at `now`.
    pub fn due(&mut self, effect: &Effect, node: NodeId, now: Instant) -> Due {
        let owed = owed(effect, node);
        self.first_seen.retain(|claim, _| owed.contains(claim));
        let mut due = Due::default();
        for claim in owed {
            let ready = *self.first_seen.entry(claim).or_insert(now) + RIVALS_WAIT;
            if ready <= now {
                due.claims.push(claim);
            } else {
                due.next = Some(due.next.map_or(ready, |next| next.min(ready)));
            }
        }
        due
    }
}

impl RegionView {
    /// What this node has to countersign at `now`.
    #[must_use]
    pub fn votes_due(&self, waiting: &mut Countersigning, now: Instant) -> Due {
        waiting.due(&self.effect(), self.keys.node(), now)
    }

    /// Votes for those of `claims` that this node still owes a vote, in one turn.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn countersign(self: &Arc<Self>, claims: &[RecordId]) -> Result<(), WriteError> {
        self.write(|turn| {
            let owed = owed(&turn.effect, turn.node.id().node());
            let due = owed.into_iter().filter(|claim| claims.contains(claim));
            for claim in due.take(VOTES_PER_TURN_MAX) {
                let vote = turn.node.vote(claim)?;
                turn.add(vote);
            }
            Ok(())
        })
        .await
    }
}

impl Turn<'_> {
    /// Countersigns a new claim at once where no other provider has a say: it needs no rivals.
    pub(super) fn countersign_alone(&mut self, claim: RecordId) -> Result<(), WriteError> {
        self.settle()?;
        let is_alone = self.effect.chain.current().body.majority() == 1;
        if is_alone && owed(&self.effect, self.node.id().node()).contains(&claim) {
            let vote = self.node.vote(claim)?;
            self.add(vote);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::{Scene, name_body};
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
    use verge_sync::clock::stopwatch;
    use verge_sync::record::body::{Account, Actors, Tombstone, Vote};
    use verge_sync::record::{Record, effect};

    /// Three providers, of which the first two have a site that wants `cafe`; lower claim first.
    fn rivals(kind: NameKind, name: &str) -> (Scene, [RecordId; 2]) {
        let mut scene = Scene::new(3, HostProof::None);
        let mut claims = [0, 1].map(|number| {
            let site = scene.site(number);
            scene.claim(number, site, kind, name)
        });
        claims.sort_unstable();
        (scene, claims)
    }

    fn owed_by(scene: &Scene, number: u8) -> Vec<RecordId> {
        owed(&scene.effect(), scene.node(number))
    }

    #[test]
    fn the_lowest_claim_gets_the_one_vote_of_a_node() {
        for kind in [NameKind::Label, NameKind::Host] {
            let name = if kind == NameKind::Label {
                "cafe"
            } else {
                "cafe.example"
            };
            let (mut scene, [low, _]) = rivals(kind, name);
            for number in 0..3 {
                assert_eq!(owed_by(&scene, number), [low], "{kind:?}");
            }
            scene.say(0, low, Vote::For);
            assert!(owed_by(&scene, 0).is_empty(), "{kind:?}");
            assert_eq!(owed_by(&scene, 1), [low], "{kind:?}");
        }
    }

    #[test]
    fn who_voted_for_the_other_claim_votes_no_second_time() {
        let (mut scene, [low, high]) = rivals(NameKind::Label, "cafe");
        scene.say(0, high, Vote::For);
        assert!(owed_by(&scene, 0).is_empty());
        assert_eq!(owed_by(&scene, 1), [low]);
        // A settled claim has the further votes too.
        scene.say(1, high, Vote::For);
        assert_eq!(owed_by(&scene, 2), [high]);
    }

    #[test]
    fn votes_for_a_claim_that_is_given_up_are_free_again() {
        let (mut scene, [low, high]) = rivals(NameKind::Label, "cafe");
        scene.say(0, low, Vote::For);
        let effect = scene.effect();
        let claim = effect.names.iter().find(|c| c.record == low).unwrap();
        let gone = name_body(claim.kind, "", claim.id);
        let number = usize::from(
            scene.providers[1].id() == effect.accounts[&claim.account].slot.provider.into(),
        );
        let record = scene.nodes[number]
            .name(&effect, claim.account, claim.index, gone)
            .unwrap();
        scene.add(record);
        assert_eq!(owed_by(&scene, 0), [high]);
    }

    #[test]
    fn only_good_claims_of_living_accounts_are_countersigned() {
        use NameKind::{Account as AccountName, Host, Label};
        let rows = [
            (Label, "cafe", true),
            (Label, "www", false),
            (Label, "Cafe", false),
            (Label, "a--b", false),
            (Host, "cafe.example", true),
            (Host, "sites.example", false),
            (Host, "x.nodes.example", false),
            (AccountName, "ana", false),
        ];
        for (kind, name, good) in rows {
            let mut scene = Scene::new(1, HostProof::None);
            let site = scene.site(0);
            scene.claim(0, site, kind, name);
            assert_eq!(!owed_by(&scene, 0).is_empty(), good, "{kind:?} {name}");
        }
        let mut scene = Scene::new(1, HostProof::None);
        let (account, site) = scene.site(0);
        scene.claim(0, (account, site), Label, "cafe");
        let reason = String::new();
        let end = scene.providers[0].tombstone(account.digest(), Tombstone { reason });
        scene.add(end.unwrap());
        assert!(owed_by(&scene, 0).is_empty());
    }

    #[test]
    fn hosts_with_a_proof_and_strangers_have_no_part_in_it() {
        let mut scene = Scene::new(2, HostProof::Dns);
        let site = scene.site(0);
        scene.claim(0, site, NameKind::Host, "cafe.example");
        let label = scene.claim(0, site, NameKind::Label, "cafe");
        assert_eq!(owed_by(&scene, 1), [label]);
        let stranger = NodeId::from_bytes([9; 32]);
        assert!(owed(&scene.effect(), stranger).is_empty());
    }

    #[test]
    fn a_fresh_claim_waits_for_its_rivals_and_not_twice() {
        let mut scene = Scene::new(2, HostProof::None);
        let site = scene.site(0);
        let first = scene.claim(0, site, NameKind::Label, "cafe");
        let (mut waiting, start) = (Countersigning::default(), stopwatch());
        let second_at = start + RIVALS_WAIT / 2;
        let node = scene.node(1);
        let due = waiting.due(&scene.effect(), node, start);
        let next = Some(start + RIVALS_WAIT);
        assert_eq!(
            due,
            Due {
                claims: Vec::new(),
                next
            }
        );
        let second = scene.claim(0, site, NameKind::Label, "bakery");
        let due = waiting.due(&scene.effect(), node, second_at);
        assert_eq!(
            due,
            Due {
                claims: Vec::new(),
                next
            }
        );
        let due = waiting.due(&scene.effect(), node, start + RIVALS_WAIT);
        let next = Some(second_at + RIVALS_WAIT);
        assert_eq!(
            due,
            Due {
                claims: vec![first],
                next
            }
        );
        scene.say(1, first, Vote::For);
        let due = waiting.due(&scene.effect(), node, second_at + RIVALS_WAIT);
        assert_eq!(
            due,
            Due {
                claims: vec![second],
                next: None
            }
        );
        assert_eq!(waiting.first_seen.len(), 1);
    }

    #[test]
    fn an_account_that_lets_nobody_act_still_has_its_names_countersigned() {
        let mut scene = Scene::new(1, HostProof::None);
        let (account, site) = scene.site(0);
        let claim = scene.claim(0, (account, site), NameKind::Label, "cafe");
        let effect = scene.effect();
        let body = Account {
            acts: Actors::NONE,
            ..effect.accounts[&account].body.clone()
        };
        let record = scene.providers[0].account(&effect, account, body).unwrap();
        scene.add(record);
        assert_eq!(owed_by(&scene, 0), [claim]);
    }

    #[tokio::test]
    async fn a_node_votes_once_also_after_a_restart() {
        let (scene, [low, _]) = rivals(NameKind::Label, "cafe");
        let folder = tempfile::tempdir().unwrap();
        scene.store(1, folder.path()).await;
        for expected in [0, 1, 1] {
            let region = Arc::new(scene.open(1, folder.path()));
            let count = |region: &RegionView| {
                let effect = region.effect();
                let claim = effect.names.iter().find(|claim| claim.record == low);
                claim.unwrap().voters.len()
            };
            assert_eq!(count(&region), expected);
            for _ in 0..2 {
                region.countersign(&[low]).await.unwrap();
                assert_eq!(count(&region), 1);
            }
            let (mut waiting, now) = (Countersigning::default(), stopwatch());
            assert_eq!(region.votes_due(&mut waiting, now), Due::default());
        }
    }

    /// Nodes that each know a part of the records, vote by it, and come to know more.
    struct Parted {
        scene: Scene,
        /// For each node, the records that it has.
        known: Vec<Vec<Arc<Record>>>,
    }

    impl Parted {
        fn new(claims: &[(u8, u8)]) -> Self {
            let mut scene = Scene::new(3, HostProof::None);
            let sites = [0, 1, 2].map(|number| scene.site(number));
            let known = vec![scene.records.clone(); 3];
            for (number, label) in claims {
                let label = ["cafe", "bakery"][usize::from(*label)];
                scene.claim(*number, sites[usize::from(*number)], NameKind::Label, label);
            }
            Self { scene, known }
        }

        /// Node `number` hears of one more record, and votes for what it then owes.
        fn hear(&mut self, number: u8, pick: u8) {
            let node = self.scene.node(number);
            let known = &mut self.known[usize::from(number)];
            let unknown: Vec<&Arc<Record>> = self
                .scene
                .records
                .iter()
                .filter(|record| known.iter().all(|known| known.id() != record.id()))
                .collect();
            if unknown.is_empty() {
                return;
            }
            known.push(Arc::clone(unknown[usize::from(pick) % unknown.len()]));
            let held = effect(known, &self.scene.parameters).unwrap();
            for claim in owed(&held, node) {
                let vote = self.scene.nodes[usize::from(number)].vote(claim).unwrap();
                let vote = Arc::new(vote);
                known.push(Arc::clone(&vote));
                self.scene.records.push(vote);
            }
        }
    }

    fn heard() -> impl Strategy<Value = Vec<(u8, u8)>> {
        proptest::collection::vec((0_u8..3, any::<u8>()), 0..40)
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config {
            failure_persistence: None,
            ..proptest::test_runner::Config::default()
        })]

        /// Whatever each node heard of first: no node ever votes twice, at most one claim of a name
        /// settles, and once all is known everywhere every node owes nothing.
        #[test]
        fn nodes_that_hear_in_any_order_settle_at_most_one_claim(
            claims in proptest::collection::vec((0_u8..3, 0_u8..2), 1..5),
            heard in heard(),
        ) {
            let mut parted = Parted::new(&claims);
            for (number, pick) in heard {
                parted.hear(number, pick);
            }
            while (0..3).any(|n| parted.known[n].len() < parted.scene.records.len()) {
                (0..3).for_each(|number| parted.hear(number, 0));
            }
            let held = parted.scene.effect();
            prop_assert!(held.evidence.is_empty());
            for known in &parted.known {
                prop_assert_eq!(&effect(known, &parted.scene.parameters).unwrap().names, &held.names);
            }
            for claim in &held.names {
                let rivals = held.names.iter().filter(|other| other.wanted == claim.wanted);
                let settled = rivals.filter(|other| other.status == NameStatus::Settled);
                prop_assert!(settled.count() <= 1);
            }
            for number in 0..3 {
                prop_assert!(owed(&held, parted.scene.node(number)).is_empty());
            }
        }
    }
}
