//! Which closes count: a pure function of the records (`docs/format.md#close`).
//!
//! A provider is for what it proposed last for a month and for what it voted for, unless it took that
//! back. One that is for two closes of a month counts for neither, so two different ones
//! never count. A close counts with more than half of the region's providers; or because a later
//! one that counts names it, so that a month stays closed when providers come and go.

use super::body::CloseBody;
use crate::accounting::calendar::Month;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use verge_sync::id::{ProviderId, RecordId};
use verge_sync::record::cbor::Fields;
use verge_sync::record::{AuthorId, Body, Effect, Kind, Record, Subject, Vote};

/// A close that somebody proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// Its record.
    pub record: Arc<Record>,
    /// What it says.
    pub body: CloseBody,
    /// The providers that are for it, and for no other of its month.
    pub voters: BTreeSet<ProviderId>,
    /// Its author has proposed another one since.
    pub is_replaced: bool,
}

/// All closes of a region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closes {
    proposed: BTreeMap<RecordId, Proposed>,
    /// What is closed.
    closed: BTreeMap<Month, RecordId>,
    /// For which closes each provider is; for several of one month it counts for none.
    stands: BTreeMap<(Month, ProviderId), BTreeSet<RecordId>>,
}

impl Proposed {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.record.id()
    }
}

impl Closes {
    /// Reads the records of what holds.
    #[must_use]
    pub fn read(effect: &Effect) -> Self {
        let mut closes = Self {
            proposed: proposed(effect),
            ..Self::default()
        };
        closes.stands = closes.read_stands(effect);
        let step = &effect.chain.current().body;
        for ((_, provider), ids) in &closes.stands {
            let mut ids = ids.iter();
            if let (Some(id), None) = (ids.next(), ids.next())
                && step.provider(provider).is_some()
                && let Some(of) = closes.proposed.get_mut(id)
            {
                of.voters.insert(*provider);
            }
        }
        closes.follow(step.majority());
        closes
    }

    fn read_stands(&self, effect: &Effect) -> BTreeMap<(Month, ProviderId), BTreeSet<RecordId>> {
        let votes = votes(effect);
        let mut stands: BTreeMap<(Month, ProviderId), BTreeSet<RecordId>> = BTreeMap::new();
        let mut stand = |provider: ProviderId, of: &Proposed| {
            let of_month = stands.entry((of.body.month, provider)).or_default();
            of_month.insert(of.id());
        };
        for of in self.proposed.values().filter(|of| !of.is_replaced) {
            if let Some(provider) = signed_by(&of.record) {
                let vote = votes.get(&(of.id(), provider)).map(|(_, vote)| *vote);
                if vote != Some(Vote::Withdrawn) {
                    stand(provider, of);
                }
            }
        }
        for ((target, provider), (_, vote)) in &votes {
            if let Some(of) = self.proposed.get(target).filter(|_| *vote == Vote::For) {
                stand(*provider, of);
            }
        }
        stands
    }

    /// The closes of a month that a provider is for.
    #[must_use]
    pub fn stands_for(&self, provider: ProviderId, month: Month) -> BTreeSet<RecordId> {
        let stands = self.stands.get(&(month, provider));
        stands.cloned().unwrap_or_default()
    }

    /// Providers that are for several closes of one month, which count for none of them.
    pub fn doubters(&self) -> impl Iterator<Item = (Month, ProviderId)> {
        let several = self.stands.iter().filter(|(_, ids)| ids.len() > 1);
        several.map(|(key, _)| *key)
    }

    /// The latest month that more than half are for, and the ones before that it names.
    fn follow(&mut self, majority: usize) {
        let counted = self.proposed.values();
        let counted = counted.filter(|of| of.voters.len() >= majority);
        let mut next = counted.max_by_key(|of| of.body.month).map(Proposed::id);
        while let Some(of) = next.and_then(|id| self.proposed.get(&id)) {
            let (month, previous) = (of.body.month, of.body.previous);
            self.closed.insert(month, of.id());
            let previous = previous.and_then(|id| self.proposed.get(&id));
            next = previous
                .filter(|of| of.body.month < month)
                .map(Proposed::id);
        }
    }

    /// The close of a month, if it is closed.
    #[must_use]
    pub fn of(&self, month: Month) -> Option<&Proposed> {
        self.proposed.get(self.closed.get(&month)?)
    }

    /// The latest close of a month before `month`.
    #[must_use]
    pub fn before(&self, month: Month) -> Option<&Proposed> {
        let (_, id) = self.closed.range(..month).next_back()?;
        self.proposed.get(id)
    }

    /// The latest month that is closed.
    #[must_use]
    pub fn last(&self) -> Option<Month> {
        self.closed.last_key_value().map(|(month, _)| *month)
    }

    /// The closes that count of months before `month`, the latest first.
    pub fn earlier(&self, month: Month) -> impl Iterator<Item = &Proposed> {
        let closed = self.closed.range(..month).rev();
        closed.filter_map(|(_, id)| self.proposed.get(id))
    }

    /// What is proposed for a month and waits for votes; what has the most first.
    #[must_use]
    pub fn open(&self, month: Month) -> Vec<&Proposed> {
        let is_open = |of: &&Proposed| of.body.month == month && !of.is_replaced;
        let mut open: Vec<&Proposed> = self.proposed.values().filter(is_open).collect();
        open.sort_by_key(|of| (std::cmp::Reverse(of.voters.len()), of.id()));
        open
    }

    /// Months after the last closed one for which something is proposed.
    #[must_use]
    pub fn open_months(&self) -> BTreeSet<Month> {
        let last = self.last();
        let months = self.proposed.values().filter(|of| !of.is_replaced);
        let months = months.map(|of| of.body.month);
        months.filter(|month| Some(*month) > last).collect()
    }

    /// What is closed, by month.
    pub fn closed(&self) -> impl DoubleEndedIterator<Item = (Month, &Proposed)> {
        let closed = self.closed.iter();
        closed.filter_map(|(month, id)| Some((*month, self.proposed.get(id)?)))
    }

    /// The blobs that a node should have, with their lengths: of what is closed, and of the latest
    /// month for which each author has proposed something. Nobody can ask for more.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<verge_sync::Digest, u64> {
        let last = self.last();
        let mut open: BTreeMap<AuthorId, &Proposed> = BTreeMap::new();
        let proposed = self.proposed.values();
        for of in proposed.filter(|of| !of.is_replaced && Some(of.body.month) > last) {
            let author = of.record.envelope().author;
            let kept = open.entry(author).or_insert(of);
            if kept.body.month < of.body.month {
                *kept = of;
            }
        }
        let closed = self.closed().map(|(_, of)| of);
        closed
            .chain(open.into_values())
            .map(|of| (of.body.books, of.body.books_bytes))
            .collect()
    }
}

/// Every close that a member wrote.
fn proposed(effect: &Effect) -> BTreeMap<RecordId, Proposed> {
    let records = effect.records();
    let records = records.filter(|record| record.envelope().kind == Kind::CLOSE);
    let records = records.filter(|record| is_of_member(effect, record));
    let mut proposed: BTreeMap<RecordId, Proposed> = BTreeMap::new();
    let mut latest: BTreeMap<(AuthorId, Month), &Arc<Record>> = BTreeMap::new();
    for record in records {
        let Some(body) = read(record) else { continue };
        let last = latest.entry((record.envelope().author, body.month));
        let last = last.or_insert(record);
        if place(last) < place(record) {
            *last = record;
        }
        let of = Proposed {
            record: Arc::clone(record),
            body,
            voters: BTreeSet::new(),
            is_replaced: true,
        };
        proposed.insert(record.id(), of);
    }
    for record in latest.into_values() {
        if let Some(of) = proposed.get_mut(&record.id()) {
            of.is_replaced = false;
        }
    }
    proposed
}

/// What a record says, if it is of the month of its subject.
pub(super) fn read(record: &Record) -> Option<CloseBody> {
    let fields = Fields::read(record.bytes()).ok()?;
    let body = CloseBody::decode(fields.raw(10)?).ok()?;
    (body.subject() == record.envelope().subject).then_some(body)
}

/// Of one author's records of a month the last at the highest place; of two there the lower id.
fn place(record: &Record) -> (u32, u32, std::cmp::Reverse<RecordId>) {
    let envelope = record.envelope();
    let id = std::cmp::Reverse(record.id());
    (envelope.epoch, envelope.sequence, id)
}

fn is_of_member(effect: &Effect, record: &Record) -> bool {
    let author = record.envelope().author;
    match signed_by(record) {
        Some(provider) if effect.chain.knows(&provider) => true,
        _ => effect.nodes.contains_key(&author.node()),
    }
}

/// The provider whose key signed a record.
pub(super) fn signed_by(record: &Record) -> Option<ProviderId> {
    let author = record.envelope().author;
    (record.signer() == author.as_bytes()).then(|| author.provider())
}

type Votes = BTreeMap<(RecordId, ProviderId), ((u32, u32, RecordId), Vote)>;

/// The last vote of each provider for each record.
fn votes(effect: &Effect) -> Votes {
    let mut votes = Votes::new();
    for record in effect.records() {
        let Some((target, provider, vote)) = vote_of(record) else {
            continue;
        };
        let envelope = record.envelope();
        let cast = ((envelope.epoch, envelope.sequence, record.id()), vote);
        let last = votes.entry((target, provider)).or_insert(cast);
        if last.0 < cast.0 {
            *last = cast;
        }
    }
    votes
}

/// What a record of kind `vote` says, if a provider's key signed it.
pub(super) fn vote_of(record: &Record) -> Option<(RecordId, ProviderId, Vote)> {
    let envelope = record.envelope();
    if envelope.kind != Kind::VOTE {
        return None;
    }
    let Subject::Vote(target, voter) = Subject::decode(envelope.kind, &envelope.subject)? else {
        return None;
    };
    let Ok(Body::Vote(vote)) = record.body() else {
        return None;
    };
    let provider = signed_by(record)?;
    (voter.as_bytes() == provider.as_bytes()).then_some((target, provider, *vote))
}
