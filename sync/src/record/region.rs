//! The region chain: which step counts now (`docs/format.md#kinds`).
//!
//! A step counts with the votes of more than half of its predecessor's providers. Of all steps that
//! count the one with the higher number stands, then the one with the lower RecordId. Two counted
//! steps with one predecessor share a voter: that is evidence.

use super::body::{Body, Region, Vote};
use super::envelope::Record;
use super::kinds::{Kind, Subject};
use crate::id::{NodeId, ProviderId, RecordId, RegionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A step that a node has once stood on; it never goes below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The number of the step.
    pub number: u32,
    /// Its id.
    pub id: RecordId,
}

/// A step of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its id.
    pub id: RecordId,
    /// The document.
    pub body: Region,
}

/// Two steps that both count and follow the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rivals {
    /// The lower RecordId.
    pub first: RecordId,
    /// The higher.
    pub second: RecordId,
    /// Who voted for both.
    pub voters: Vec<ProviderId>,
}

/// A step after the current one that does not count yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The step.
    pub step: Step,
    /// Who is for it.
    pub voters: BTreeSet<ProviderId>,
}

/// What the steps and votes of a region come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// From step 0 to the current one; never empty.
    steps: Vec<Step>,
    /// Rival steps.
    pub rivals: Vec<Rivals>,
    /// What waits for votes.
    pub proposals: Vec<Proposal>,
    /// False while the pinned step has not arrived: the node must not serve on what it knows.
    pub reaches_pin: bool,
    /// Every step that counts, on whatever branch and whatever is pinned.
    counted: Vec<Step>,
}

/// The nodes that may sign, as far as node records say: record keys by node, with the provider.
pub(super) type NodeKeys = BTreeMap<NodeId, BTreeSet<(ProviderId, [u8; 32])>>;

impl Chain {
    /// The step that stands now.
    ///
    /// # Panics
    /// Never: a chain has step 0.
    #[must_use]
    pub fn current(&self) -> &Step {
        self.steps.last().expect("a chain has step 0")
    }

    /// All steps up to the current one.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Every step that counts, whether it leads to the current one or not: these only grow.
    pub(super) fn counted(&self) -> &[Step] {
        &self.counted
    }

    /// Whether `provider` is, or was, a provider of the region.
    #[must_use]
    pub fn knows(&self, provider: &ProviderId) -> bool {
        self.steps
            .iter()
            .any(|step| step.body.provider(provider).is_some())
    }

    /// Whether `provider` is one now.
    #[must_use]
    pub fn lists(&self, provider: &ProviderId) -> bool {
        self.current().body.provider(provider).is_some()
    }

    /// Follows the chain through all `steps` (kind `region`) by `votes` (kind `vote`); `None` while
    /// step 0 is not among them.
    pub(super) fn follow(
        region: RegionId,
        pin: Option<Pin>,
        steps: &[&Arc<Record>],
        votes: &[&Arc<Record>],
        nodes: &NodeKeys,
    ) -> Option<Self> {
        let votes = provider_votes(votes);
        let mut by_predecessor: BTreeMap<RecordId, Vec<(&Record, &Region)>> = BTreeMap::new();
        let mut first = None;
        for record in steps {
            let Some(body) = step_body(record) else {
                continue;
            };
            match body.predecessor {
                Some(before) => by_predecessor
                    .entry(before)
                    .or_default()
                    .push((record, body)),
                None if record.region() == region && founds(record, body) => {
                    first = Some(Step {
                        id: record.id(),
                        body: body.clone(),
                    });
                }
                None => {}
            }
        }
        let mut walk = Walk {
            pin,
            votes,
            nodes,
            by_predecessor,
            counted: vec![(first?, None)],
        };
        let rivals = walk.run();
        Some(walk.chain(rivals))
    }
}

/// The state of the walk from step 0 over every step that counts.
struct Walk<'a> {
    pin: Option<Pin>,
    votes: BTreeMap<RecordId, BTreeSet<ProviderId>>,
    nodes: &'a NodeKeys,
    by_predecessor: BTreeMap<RecordId, Vec<(&'a Record, &'a Region)>>,
    /// Steps that count, each with the index of its predecessor here.
    counted: Vec<(Step, Option<usize>)>,
}

impl Walk<'_> {
    fn run(&mut self) -> Vec<Rivals> {
        let mut rivals = Vec::new();
        let mut index = 0;
        while let Some((step, _)) = self.counted.get(index) {
            let next: Vec<Proposal> = self
                .successors(step)
                .into_iter()
                .filter(|p| p.counts(&step.body))
                .collect();
            if let [first, second, ..] = next.as_slice() {
                rivals.push(Rivals {
                    first: first.step.id,
                    second: second.step.id,
                    voters: first.voters.intersection(&second.voters).copied().collect(),
                });
            }
            let next = next.into_iter().map(|proposal| proposal.step);
            self.counted.extend(next.map(|step| (step, Some(index))));
            index += 1;
        }
        rivals
    }

    /// The steps that follow `before` and were proposed by a member, with their voters.
    fn successors(&self, before: &Step) -> Vec<Proposal> {
        let rows = self
            .by_predecessor
            .get(&before.id)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut proposals: Vec<Proposal> = rows
            .iter()
            .filter(|(record, body)| {
                before.body.number.checked_add(1) == Some(body.number)
                    && may_propose(&before.body, record, self.nodes)
            })
            .map(|(record, body)| {
                let step = Step {
                    id: record.id(),
                    body: (*body).clone(),
                };
                let mut voters = self.votes.get(&step.id).cloned().unwrap_or_default();
                voters.insert(record.envelope().author.provider());
                voters.retain(|voter| before.body.is_voter(voter));
                Proposal { step, voters }
            })
            .collect();
        proposals.sort_by_key(|proposal| proposal.step.id);
        proposals
    }

    fn chain(self, rivals: Vec<Rivals>) -> Chain {
        let open = self.open();
        let best = self
            .counted
            .iter()
            .enumerate()
            .filter(|(index, _)| open.get(*index) == Some(&true))
            .max_by_key(|(_, (step, _))| (step.body.number, std::cmp::Reverse(step.id)))
            .map(|(index, _)| index);
        let mut steps = Vec::new();
        let mut at = best;
        while let Some((step, before)) = at.and_then(|index| self.counted.get(index)) {
            steps.push(step.clone());
            at = *before;
        }
        steps.reverse();
        let proposals = steps
            .last()
            .map(|step| self.successors(step))
            .unwrap_or_default();
        let reaches_pin = self
            .pin
            .is_none_or(|pin| steps.iter().any(|step| step.id == pin.id));
        Chain {
            steps,
            rivals,
            proposals,
            reaches_pin,
            counted: self.counted.into_iter().map(|(step, _)| step).collect(),
        }
    }

    /// For each counted step whether the pin leaves the way to it open.
    fn open(&self) -> Vec<bool> {
        let mut open: Vec<bool> = Vec::with_capacity(self.counted.len());
        for (step, before) in &self.counted {
            let is_pinned = |pin: Pin| step.body.number != pin.number || step.id == pin.id;
            // Step 0 is the region itself.
            open.push(before.is_none_or(|index| {
                open.get(index) == Some(&true) && self.pin.is_none_or(is_pinned)
            }));
        }
        open
    }
}

impl Proposal {
    fn counts(&self, before: &Region) -> bool {
        self.voters.len() >= before.votes_needed()
    }
}

impl Region {
    /// The row of `provider`.
    #[must_use]
    pub fn provider(&self, provider: &ProviderId) -> Option<&super::body::Provider> {
        self.providers.iter().find(|row| row.id == *provider)
    }

    /// How many votes the next step needs: more than half.
    #[must_use]
    pub fn votes_needed(&self) -> usize {
        (self.providers.len() + usize::from(self.paper_counts())) / 2 + 1
    }

    /// How many providers are more than half of them; the paper key has no say in names.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.providers.len() / 2 + 1
    }

    /// The paper key counts as a provider only in a region of two, where either could block.
    fn paper_counts(&self) -> bool {
        self.providers.len() == 2 && self.recovery_key.is_some()
    }

    fn is_voter(&self, voter: &ProviderId) -> bool {
        let paper = self.paper_counts() && self.recovery_key == Some(*voter.as_bytes());
        paper || self.provider(voter).is_some()
    }
}

fn step_body(record: &Record) -> Option<&Region> {
    let Ok(Body::Region(body)) = record.body() else {
        return None;
    };
    let subject = Subject::decode(Kind::REGION, &record.envelope().subject);
    (subject == Some(Subject::Step(body.number))).then_some(body)
}

/// Step 0 is signed by a provider that it lists.
fn founds(record: &Record, body: &Region) -> bool {
    signed_as_provider(record)
        && body
            .provider(&record.envelope().author.provider())
            .is_some()
}

fn may_propose(before: &Region, record: &Record, nodes: &NodeKeys) -> bool {
    let author = record.envelope().author;
    if signed_as_provider(record) && before.is_voter(&author.provider()) {
        return true;
    }
    nodes.get(&author.node()).is_some_and(|keys| {
        keys.iter()
            .any(|(provider, key)| before.provider(provider).is_some() && record.signer() == key)
    })
}

/// Whether the author's id is the key that signed, as it is for providers.
pub(super) fn signed_as_provider(record: &Record) -> bool {
    record.signer() == record.envelope().author.as_bytes()
}

/// Who voted for what with a key that is the voter's id. A vote for a step is final: what withdraws
/// one says nothing here.
fn provider_votes(votes: &[&Arc<Record>]) -> BTreeMap<RecordId, BTreeSet<ProviderId>> {
    let mut found: BTreeMap<RecordId, BTreeSet<ProviderId>> = BTreeMap::new();
    for vote in votes {
        if let Some((target, voter)) = vote_subject(vote)
            && signed_as_provider(vote)
            && matches!(vote.body(), Ok(Body::Vote(Vote::For)))
        {
            found.entry(target).or_default().insert(voter);
        }
    }
    found
}

/// What a vote is for, and its voter, who must be its author.
pub(super) fn vote_subject(vote: &Record) -> Option<(RecordId, ProviderId)> {
    match Subject::decode(Kind::VOTE, &vote.envelope().subject)? {
        Subject::Vote(target, voter) if voter.as_bytes() == vote.envelope().author.as_bytes() => {
            Some((target, vote.envelope().author.provider()))
        }
        _ => None,
    }
}
