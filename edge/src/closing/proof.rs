//! The close of a month as lines that anybody can check without a node: the record itself, and the
//! votes for it.

use super::body::CloseBody;
use super::closes::{Proposed, read, signed_by, vote_of};
use crate::signing::{LineError, SignedLine};
use std::collections::BTreeSet;
use verge_sync::id::{ProviderId, RegionId};
use verge_sync::record::{Effect, Kind, Record, Vote};

/// The file in the folder of the statement.
pub const CLOSE_NAME: &str = "close.records";
/// Lines of it: the close, and a vote of each of 128 providers.
const LINES_MAX: usize = 1 + 128;

/// A close and its votes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseProof {
    /// What was closed.
    pub body: CloseBody,
    /// Who signed it.
    pub signers: BTreeSet<ProviderId>,
}

/// Why lines show no close.
#[derive(Debug, thiserror::Error)]
pub enum ProofFault {
    /// Not a record.
    #[error("line {0}: {1}")]
    Line(usize, LineError),
    /// A record that has nothing to do with it, or a wrong signature.
    #[error(
        "line {0} is neither the signed close of a month of this region nor a signed vote for it"
    )]
    Other(usize),
    /// Nothing there.
    #[error("there is no close in it")]
    Empty,
    /// Too much.
    #[error("more than {LINES_MAX} lines")]
    TooMany,
}

/// The lines of a close.
#[must_use]
pub(super) fn lines(effect: &Effect, close: &Proposed) -> String {
    let id = close.id();
    let is_for_it = |record: &&std::sync::Arc<Record>| {
        let vote = vote_of(record);
        vote.is_some_and(|(on, by, vote)| {
            on == id && vote == Vote::For && close.voters.contains(&by)
        })
    };
    let mut votes: Vec<_> = effect.records().filter(is_for_it).collect();
    votes.sort_by_key(|vote| vote.envelope().author);
    let records = std::iter::once(&close.record).chain(votes);
    let lines = records.map(|record| format!("{}\n", SignedLine(Record::clone(record))));
    lines.collect()
}

/// Reads such lines and checks every signature; whose providers these are, the reader knows.
///
/// # Errors
/// [`ProofFault`] names the line.
pub fn check(text: &str, region: &RegionId) -> Result<CloseProof, ProofFault> {
    let mut found: Option<(verge_sync::RecordId, CloseProof)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if number > LINES_MAX {
            return Err(ProofFault::TooMany);
        }
        let line: Result<SignedLine, _> = line.parse();
        let record = line.map_err(|error| ProofFault::Line(number, error))?.0;
        let other = || ProofFault::Other(number);
        if record.region() != *region || record.verify().is_err() {
            return Err(other());
        }
        match &mut found {
            None => {
                let is_close = record.envelope().kind == Kind::CLOSE;
                let body = read(&record).filter(|_| is_close).ok_or_else(other)?;
                let signers = signed_by(&record).into_iter().collect();
                found = Some((record.id(), CloseProof { body, signers }));
            }
            Some((id, proof)) => match vote_of(&record) {
                Some((on, by, Vote::For)) if on == *id => {
                    proof.signers.insert(by);
                }
                _ => return Err(other()),
            },
        }
    }
    found.map(|(_, proof)| proof).ok_or(ProofFault::Empty)
}
