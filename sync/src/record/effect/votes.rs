//! Votes of nodes for claims: whose count, whose contradict one another, who took one back.
//!
//! A node's vote for a label or an account's name is final. A vote for a host says that the node saw
//! its proof, so it can be taken back and given again: the latest at its place counts.

use super::RecordSet;
use super::history::{Evidence, History, Notes};
use super::members::{Member, Members};
use super::names::Wanted;
use crate::id::{NodeId, ProviderId, RecordId};
use crate::record::body::{Body, Vote};
use crate::record::envelope::Record;
use crate::record::kinds::{Kind, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a claim is, as far as votes go.
pub(super) struct Candidate {
    pub(super) wanted: Wanted,
    /// Whether a vote says that a proof was seen, which may be gone later.
    pub(super) is_proved: bool,
}

/// What nodes say of one claim.
#[derive(Debug, Default)]
pub(super) struct Ballot {
    /// Nodes whose vote counts.
    pub(super) voters: BTreeSet<NodeId>,
    /// Nodes that took theirs back.
    pub(super) doubters: BTreeSet<NodeId>,
    /// Providers of the voters.
    pub(super) for_it: BTreeSet<ProviderId>,
    /// Providers that only have nodes which took theirs back.
    pub(super) doubting: BTreeSet<ProviderId>,
}

impl Ballot {
    /// Providers whose nodes saw a proof at any time.
    pub(super) fn ever_for_it(&self) -> usize {
        self.for_it.len() + self.doubting.len()
    }
}

/// A node's vote that stands.
struct Cast {
    id: RecordId,
    claim: RecordId,
    node: NodeId,
    provider: ProviderId,
}

/// Who voted for which claim; of one node's votes for one name the lowest RecordId counts.
pub(super) fn read(
    set: &RecordSet<'_>,
    members: &Members,
    candidates: &BTreeMap<RecordId, Candidate>,
    notes: &mut Notes,
) -> BTreeMap<RecordId, Ballot> {
    let mut ballots: BTreeMap<RecordId, Ballot> = BTreeMap::new();
    let mut cast = Vec::new();
    for (subject, records) in set.subjects(Kind::VOTE) {
        let Subject::Vote(claim, _) = subject else {
            continue;
        };
        let Some(candidate) = candidates.get(&claim) else {
            continue;
        };
        let history = History::read(records, notes, |record, _| {
            voter(set, members, record, &subject)
        });
        let votes: Vec<_> = history
            .standing()
            .filter_map(|entry| Some((entry.record.id(), entry.state?)))
            .collect();
        let Some((id, (node, provider, _))) = votes
            .iter()
            .find(|(_, (_, _, vote))| *vote == Vote::For)
            .copied()
        else {
            continue;
        };
        let latest = votes.last().map(|(_, (_, _, vote))| *vote);
        if candidate.is_proved && latest == Some(Vote::Withdrawn) {
            let ballot = ballots.entry(claim).or_default();
            ballot.doubters.insert(node);
            ballot.doubting.insert(provider);
        } else {
            cast.push(Cast {
                id,
                claim,
                node,
                provider,
            });
        }
    }
    count(cast, candidates, &mut ballots, notes);
    for ballot in ballots.values_mut() {
        let Ballot {
            for_it, doubting, ..
        } = ballot;
        doubting.retain(|provider| !for_it.contains(provider));
    }
    ballots
}

/// The node that wrote the record, if it is a member and votes in its own name.
fn voter(
    set: &RecordSet<'_>,
    members: &Members,
    record: &Arc<Record>,
    subject: &Subject,
) -> Option<(NodeId, ProviderId, Vote)> {
    let (Subject::Vote(_, voter), Ok(Body::Vote(vote))) = (subject, record.body()) else {
        return None;
    };
    let Some(Member::Node(node, slot)) = members.author(record) else {
        return None;
    };
    let is_member = members.nodes.get(&node).is_some_and(|node| node.is_member);
    let counts = is_member && voter.as_bytes() == node.as_bytes() && members.heeds(set, record);
    counts.then_some((node, slot.provider, *vote))
}

fn count(
    mut cast: Vec<Cast>,
    candidates: &BTreeMap<RecordId, Candidate>,
    ballots: &mut BTreeMap<RecordId, Ballot>,
    notes: &mut Notes,
) {
    cast.sort_by_key(|vote| vote.id);
    let mut firsts: BTreeMap<(NodeId, &Wanted), RecordId> = BTreeMap::new();
    for vote in cast {
        let Some(candidate) = candidates.get(&vote.claim) else {
            continue;
        };
        let first = *firsts
            .entry((vote.node, &candidate.wanted))
            .or_insert(vote.id);
        if first == vote.id {
            let ballot = ballots.entry(vote.claim).or_default();
            ballot.voters.insert(vote.node);
            ballot.for_it.insert(vote.provider);
        } else {
            notes.evidence.push(Evidence::DoubleVote {
                author: vote.node.into(),
                first,
                second: vote.id,
            });
        }
    }
}
