//! What this node says of hosts, by what it saw of their proofs in DNS.

use super::vote::needs_proof;
use super::{RegionView, WriteError};
use crate::hosts::{Proof, Recheck, Seen};
use std::collections::BTreeSet;
use std::sync::Arc;
use verge_sync::clock::UnixTime;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::Effect;
use verge_sync::record::body::Vote;
use verge_sync::record::effect::{NameEffect, Wanted};

impl RegionView {
    /// The hosts that this node has to look at now.
    #[must_use]
    pub fn hosts_due(&self, checks: &mut Recheck, now: UnixTime) -> Vec<(RecordId, Proof)> {
        checks.due(&self.effect(), self.keys.node(), now)
    }

    /// What this node has to say after what it saw.
    #[must_use]
    pub fn note_hosts(
        &self,
        checks: &mut Recheck,
        seen: &[Seen],
        now: UnixTime,
    ) -> Vec<(RecordId, Vote)> {
        checks.note(&self.effect(), self.keys.node(), seen, now)
    }

    /// Says it, in one turn; what no longer fits what holds is left out.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn say_of_hosts(
        self: &Arc<Self>,
        votes: &[(RecordId, Vote)],
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            let mut said = BTreeSet::new();
            for (claim, vote) in votes {
                let wanted = fits(&turn.effect, turn.node.id().node(), *claim, *vote);
                // What this turn has said does not hold yet.
                if wanted.is_some_and(|wanted| said.insert(wanted.clone())) {
                    let record = turn.node.host_vote(&turn.effect, *claim, *vote)?;
                    turn.add(record);
                }
            }
            Ok(())
        })
        .await
    }
}

/// What the claim wants, if the vote fits what holds: a node has one vote for a host, and takes back
/// only what it gave.
fn fits(effect: &Effect, node: NodeId, claim: RecordId, vote: Vote) -> Option<&Wanted> {
    let mut names = effect.names.iter();
    let known = names.find(|known| known.record == claim && needs_proof(effect, known))?;
    let is_for = |claim: &NameEffect| claim.voters.contains(&node);
    let mut rivals = effect
        .names
        .iter()
        .filter(|other| other.wanted == known.wanted);
    let fits = match vote {
        Vote::Withdrawn => is_for(known),
        Vote::For => !rivals.any(is_for),
    };
    fits.then_some(&known.wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Verdict;
    use crate::region::scene::Scene;
    use verge_sync::record::body::{HostProof, NameKind};
    use verge_sync::record::effect::NameStatus;

    #[tokio::test]
    async fn what_a_node_says_of_a_host_outlives_a_restart_and_can_be_taken_back() {
        use NameStatus::{Settled, Suspended, Unproved};
        let mut scene = Scene::new(1, HostProof::Dns);
        let site = scene.site(0);
        let claim = scene.claim(0, site, NameKind::Host, "www.example.org");
        let folder = tempfile::tempdir().unwrap();
        scene.store(0, folder.path()).await;
        let rows = [
            (Vote::Withdrawn, Unproved),
            (Vote::For, Settled),
            (Vote::For, Settled),
            (Vote::Withdrawn, Suspended),
            (Vote::Withdrawn, Suspended),
            (Vote::For, Settled),
        ];
        for (vote, expected) in rows {
            let region = Arc::new(scene.open(0, folder.path()));
            region.say_of_hosts(&[(claim, vote)]).await.unwrap();
            let effect = region.effect();
            let known = effect.names.iter().find(|known| known.record == claim);
            assert_eq!(known.unwrap().status, expected, "{vote:?}");
            assert!(effect.evidence.is_empty());
        }
    }

    #[tokio::test]
    async fn a_label_and_a_rivals_host_are_nothing_to_say_of() {
        let mut scene = Scene::new(1, HostProof::Dns);
        let (site, other) = (scene.site(0), scene.site(0));
        let label = scene.claim(0, site, NameKind::Label, "garden");
        let first = scene.claim(0, site, NameKind::Host, "www.example.org");
        let second = scene.claim(0, other, NameKind::Host, "www.example.org");
        let folder = tempfile::tempdir().unwrap();
        scene.store(0, folder.path()).await;
        let region = Arc::new(scene.open(0, folder.path()));
        let (mut checks, now) = (Recheck::default(), UnixTime(1_800_000_000));
        let due = region.hosts_due(&mut checks, now);
        assert_eq!(due.len(), 2);
        let seen = |claim| Seen {
            claim,
            verdict: Verdict::Proved,
        };
        let seen = [seen(label), seen(first), seen(second)];
        let votes = region.note_hosts(&mut checks, &seen, now);
        assert_eq!(votes, [(first, Vote::For)]);
        let said = [label, first, second].map(|claim| (claim, Vote::For));
        region.say_of_hosts(&said).await.unwrap();
        let effect = region.effect();
        let voters = |claim| {
            let known = effect.names.iter().find(|known| known.record == claim);
            known.unwrap().voters.len()
        };
        assert_eq!((voters(label), voters(first), voters(second)), (0, 1, 0));
        assert!(effect.evidence.is_empty());
    }
}
