//! What must hold of a region, whatever befell it.

use crate::member::Member;
use crate::scene::provider_key;
use crate::world::{Story, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use verge_sync::record::effect::{NameEffect, NameStatus, SiteEffect};
use verge_sync::record::{
    Body, Effect, Evidence, Kind, Parameters, Record, Region, Subject, effect,
};
use verge_sync::{NodeId, ProviderId, RecordId};

impl World {
    /// A side without a majority changes no membership: no step counts there that nobody had
    /// proposed before the region was cut.
    pub(crate) fn check_sides(&self) {
        if !self.is_cut() {
            return;
        }
        for (who, member) in self.members.iter().enumerate() {
            let Some(effect) = member.effect().filter(|_| member.is_honest()) else {
                continue;
            };
            let side = self.side(who);
            let has_paper = side.contains(&0) && self.members[0].paper.is_some();
            // The fewest votes that any step has needed, as far as anybody knew.
            let known = self
                .known_at_cut()
                .iter()
                .filter_map(|id| effect.record(id));
            let known = known.filter_map(|record| step_of(record));
            let needed = known.map(Region::votes_needed).min().unwrap_or(1);
            if side.len() + usize::from(has_paper) >= needed {
                continue;
            }
            for step in effect.chain.steps() {
                assert!(
                    self.known_at_cut().contains(&step.id),
                    "seed {}: node {who} of a minority stands on step {}",
                    self.seed,
                    step.id
                );
            }
        }
    }

    /// What must hold in the end; gives what came to pass.
    pub(crate) fn check(&self, story: &Story) -> Tally {
        let seed = self.seed;
        let members = self.members.iter();
        let honest: Vec<&Member> = members.filter(|m| m.is_honest() && !m.is_dead).collect();
        let held = honest[0].held();
        let agreed = unpinned(honest[0]);
        for member in &honest {
            let number = member.number;
            let theirs = member.held();
            let differ: Vec<_> = held.symmetric_difference(&theirs).collect();
            assert!(
                differ.is_empty(),
                "seed {seed}: node {number} holds another set: {differ:?}"
            );
            assert!(
                unpinned(member) == agreed,
                "seed {seed}: node {number} sees another effect"
            );
            let lost: Vec<_> = member.acknowledged.difference(&held).collect();
            assert!(lost.is_empty(), "seed {seed}: lost {lost:?} of {number}");
            self.check_pin(member, &agreed);
        }
        let lost: Vec<_> = self.rescued.difference(&held).collect();
        assert!(lost.is_empty(), "seed {seed}: lost {lost:?} of a dead node");
        self.check_evidence(story, &agreed);
        self.check_quarrels(&agreed);
        self.check_majorities(&agreed);
        self.check_acts(&agreed);
        self.check_names(&agreed);
        self.check_ends(&agreed);
        Tally::of(&agreed)
    }

    /// Never below the pinned step; another branch than the others' only where somebody voted twice.
    fn check_pin(&self, member: &Member, agreed: &Effect) {
        let (own, seed) = (member.effect().unwrap(), self.seed);
        if let Some(pin) = member.pin() {
            let steps = own.chain.steps();
            assert!(
                own.chain.reaches_pin && steps.iter().any(|step| step.id == pin.id),
                "seed {seed}: node {} fell below its pin",
                member.number
            );
        }
        let is_split = own.chain.current().id != agreed.chain.current().id;
        assert!(
            !is_split || !agreed.chain.rivals.is_empty(),
            "seed {seed}: a pin splits a region that agrees"
        );
    }

    /// No honest member contradicts itself, and rival steps share a voter who does.
    fn check_evidence(&self, story: &Story, agreed: &Effect) {
        let honest = |id: &ProviderId| {
            (0..story.honest_count).any(|number| provider_key(number).provider() == *id)
        };
        let node_of = |id: NodeId| agreed.nodes.get(&id).map(|node| node.slot.provider);
        for evidence in &agreed.evidence {
            let voters = match evidence {
                Evidence::RivalSteps(rivals) => {
                    assert!(!rivals.voters.is_empty(), "rivals share a voter");
                    rivals.voters.clone()
                }
                Evidence::Equivocation { author, .. } | Evidence::DoubleVote { author, .. } => {
                    let provider = node_of(author.node()).unwrap_or(author.provider());
                    vec![provider]
                }
            };
            assert!(
                !voters.iter().any(honest),
                "seed {}: {evidence:?} against honest members",
                self.seed
            );
        }
    }

    /// Of two that remove one another at most one does.
    fn check_quarrels(&self, agreed: &Effect) {
        let steps = agreed.chain.steps();
        for quarrel in &self.quarrels {
            let count = steps
                .iter()
                .filter(|step| quarrel.contains(&step.id))
                .count();
            assert!(count < 2, "seed {}: both removals count", self.seed);
        }
    }

    /// No step without a majority, counted here anew.
    fn check_majorities(&self, agreed: &Effect) {
        let mut votes: BTreeMap<RecordId, BTreeSet<ProviderId>> = BTreeMap::new();
        for record in agreed.records() {
            let envelope = record.envelope();
            let by = envelope.author.provider();
            match Subject::decode(envelope.kind, &envelope.subject) {
                Some(Subject::Vote(target, _)) => votes.entry(target).or_default().insert(by),
                Some(Subject::Step(_)) => votes.entry(record.id()).or_default().insert(by),
                _ => continue,
            };
        }
        for pair in agreed.chain.steps().windows(2) {
            let [before, step] = pair else { continue };
            let paper = before
                .body
                .recovery_key
                .filter(|_| before.body.providers.len() == 2);
            let mut voters: BTreeSet<ProviderId> =
                before.body.providers.iter().map(|row| row.id).collect();
            voters.extend(paper.map(ProviderId::from_bytes));
            let count = votes[&step.id].intersection(&voters).count();
            assert!(
                2 * count > voters.len(),
                "seed {}: step {} counts with {count} of {}",
                self.seed,
                step.id,
                voters.len()
            );
            // Two that remove one another are two steps after one: only one of them is here.
            assert_eq!(step.body.predecessor, Some(before.id));
        }
    }

    /// Nobody acts for an account that leaves its provider out.
    fn check_acts(&self, agreed: &Effect) {
        let mut ever: BTreeMap<&[u8], Vec<&Arc<Record>>> = BTreeMap::new();
        for record in agreed
            .records()
            .filter(|of| of.envelope().kind == Kind::ACCOUNT)
        {
            let subject = record.envelope().subject.as_slice();
            ever.entry(subject).or_default().push(record);
        }
        let lets = |account: &Subject, provider: &ProviderId| {
            ever[account.encode().as_slice()].iter().any(|record| {
                matches!(record.body(), Ok(Body::Account(body)) if body.acts.includes(provider))
            })
        };
        for site in agreed.sites.values() {
            let account = &agreed.accounts[&site.body.account];
            let subject = Subject::Account(account.slot, account.counter);
            for deploy in site.deploys.iter().filter(|deploy| deploy.sequence > 0) {
                let author = deploy.record().envelope().author;
                let Some(node) = agreed.nodes.get(&author.node()) else {
                    assert_eq!(author, account.id.into(), "an own key signs");
                    continue;
                };
                let provider = node.slot.provider;
                let is_shut_out = site.body.as_of == Some(account.record)
                    && !account.body.acts.includes(&provider);
                assert!(
                    lets(&subject, &provider) && !is_shut_out,
                    "seed {}: {provider} acts for {}",
                    self.seed,
                    account.id
                );
            }
        }
    }

    /// A host has one site, and one that most nodes have voted for goes before the others.
    fn check_names(&self, agreed: &Effect) {
        let mut holders = BTreeMap::new();
        for claim in agreed.names.iter().filter(|claim| claim.holds()) {
            let Some(host) = &claim.host else { continue };
            let holder = *holders.entry(host).or_insert(claim.id);
            assert_eq!(holder, claim.id, "seed {}: {host} has two sites", self.seed);
        }
    }

    /// What ended or was taken down is not served, and what a removal voids is in no site.
    fn check_ends(&self, agreed: &Effect) {
        let step = &agreed.chain.current().body;
        for site in agreed.sites.values() {
            let targets = [site.id.digest(), site.body.account.digest()];
            let is_over = targets.iter().any(|id| agreed.tombstones.contains(id));
            for row in &step.providers {
                let is_down =
                    |id| step.takedowns.contains(id) || agreed.takedowns.contains(&(row.id, *id));
                let is_served = agreed.serves(&row.id, &site.id);
                assert_eq!(is_served, !is_over && !targets.iter().any(is_down));
            }
        }
        for node in agreed.nodes.values().filter(|node| node.is_member) {
            let provider = node.slot.provider;
            assert!(step.providers.iter().any(|row| row.id == provider));
            assert!(!step.removed.contains_key(&provider.into()));
            assert!(!agreed.left.contains(&provider.into()));
        }
    }
}

/// What came to pass in how many regions: a simulation in which nothing happens would prove nothing.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    fn of(effect: &Effect) -> Self {
        let step = &effect.chain.current().body;
        let sites = effect.sites.values();
        let rivals = |of: &&Evidence| matches!(of, Evidence::RivalSteps(_));
        let settled = |of: &&NameEffect| of.status == NameStatus::Settled;
        let renamed = |of: &&NameEffect| matches!(of.status, NameStatus::Renamed { .. });
        let moved = |of: &&SiteEffect| of.slot != effect.accounts[&of.body.account].slot;
        let counts = [
            ("records", effect.records().count()),
            ("steps", effect.chain.steps().len() - 1),
            ("removals", step.removed.len()),
            ("sponsors", step.sponsors.len()),
            ("takedowns by a step", step.takedowns.len()),
            ("takedowns", effect.takedowns.len()),
            ("tombstones", effect.tombstones.len()),
            ("leaves", effect.left.len()),
            ("evidence", effect.evidence.len()),
            ("rival steps", effect.evidence.iter().filter(rivals).count()),
            ("settled names", effect.names.iter().filter(settled).count()),
            ("renamed", effect.names.iter().filter(renamed).count()),
            (
                "epochs",
                sites.clone().filter(|of| of.body.epoch > 0).count(),
            ),
            (
                "bases",
                sites.clone().filter(|of| of.body.base.is_some()).count(),
            ),
            ("tips", sites.clone().filter(|of| of.tips.len() > 1).count()),
            ("sites that moved", sites.filter(moved).count()),
        ];
        Self(BTreeMap::from(counts))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What never happened. Rival steps come up in one region of some hundreds: the tests of the chain
    /// make them.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let counts = self.0.iter();
        counts
            .filter(|(what, count)| **count == 0 && **what != "rival steps")
            .map(|(what, _)| *what)
            .collect()
    }
}

/// What the records of a member mean to anybody, whatever it has pinned.
fn unpinned(member: &Member) -> Effect {
    let own = member.effect().unwrap();
    if own.chain.rivals.is_empty() {
        return Effect::clone(&own);
    }
    let records: Vec<_> = member.holding().unwrap().records().cloned().collect();
    let mut parameters = Parameters::new(own.region, Arc::default());
    let lists = member
        .lists
        .iter()
        .map(|(id, list)| (*id, list.ids().clone()));
    parameters.lists = lists.collect();
    effect(&records, &parameters).unwrap()
}

fn step_of(record: &Record) -> Option<&Region> {
    match record.body() {
        Ok(Body::Region(step)) => Some(step),
        _ => None,
    }
}
