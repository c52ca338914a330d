//! Storing is not believing: whether a record may be stored and passed on (`docs/format.md#storing`).
//!
//! [`Grounds`] is what that is judged by: everything that *is or was*, of a set of records. It only
//! grows with the set, so what it allows once it allows for ever, and two nodes that have heard the
//! same records store the same, in whatever order they came. What the records *mean* is another
//! question ([`super::effect()`]), whose answer goes back and forth.
//!
//! Each kind rests on kinds of lower numbers and on its own predecessors alone: so a set can be read
//! in one pass, and what rests on a record that is gone is found by reading it again.

use super::body::{Account, Actors, Body, Node, Region, Site, UserKey};
use super::effect::{follows, node_claims};
use super::envelope::{AuthorId, Record};
use super::kinds::{AuthorRule, Kind, KindTable, Slot, Subject, is_allowed};
use super::region::{Chain, signed_as_provider};
use super::signature::SignatureError;
use crate::digest::Digest;
use crate::id::{AccountId, NodeId, ProviderId, RecordId, RegionId, SiteId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Kinds that others are judged by.
const GROUND_KINDS: [Kind; 5] = [
    Kind::REGION,
    Kind::VOTE,
    Kind::NODE,
    Kind::ACCOUNT,
    Kind::SITE,
];

/// Why a record is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another region.
    #[error("the record belongs to another region")]
    Region,
    /// Its signature does not hold.
    #[error("the signature is wrong")]
    Signature(#[from] SignatureError),
    /// No provider, node or account of the region signed it.
    #[error("its author is not of this region, or another key signed it")]
    Author,
    /// The subject is not one that its author may ever write about.
    #[error("its subject is outside of its author's space")]
    Subject,
    /// Nothing that is known gives its author a right to the subject.
    #[error("its author has no right to the subject, as far as is known")]
    Right,
    /// It does not follow its predecessors by one, or they are of another subject.
    #[error("it does not follow its predecessors")]
    Sequence,
    /// A node's proof does not hold.
    #[error("the node has not proved its key")]
    Proof,
    /// The record waits: this one is not known yet.
    #[error("its predecessor {0} is not known yet")]
    Waiting(RecordId),
    /// What it is about is not known yet, or it is ahead of what is.
    #[error("what it is about is not known yet")]
    Ahead,
}

impl Refusal {
    /// Whether the record may become admissible when others arrive: keep it aside, ask for them.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Waiting(_) | Self::Ahead | Self::Author | Self::Right
        )
    }

    /// Whether every record of the same id is refused for ever, whoever signed it: the id does not
    /// cover the signature, so a spoilt one must not shut out the record itself.
    #[must_use]
    pub fn is_of_the_id(self) -> bool {
        !self.is_temporary() && !matches!(self, Self::Signature(_))
    }
}

/// Everything that is or was in a region, as far as storing goes by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds {
    region: RegionId,
    chain: ChainGround,
    /// Every key that any node record named, with where it put the node.
    nodes: BTreeMap<NodeId, BTreeSet<([u8; 32], Slot)>>,
    accounts: BTreeMap<AccountId, AccountGround>,
    sites: BTreeMap<SiteId, SiteGround>,
}

/// Of every step that ever counted, on whatever branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ChainGround {
    steps: BTreeSet<RecordId>,
    providers: BTreeSet<ProviderId>,
    papers: BTreeSet<[u8; 32]>,
    sponsors: BTreeSet<(AccountId, ProviderId)>,
    number_max: u32,
    account_allowance: u32,
    site_allowance: u32,
}

/// Of every record of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AccountGround {
    sponsor: ProviderId,
    keys: BTreeSet<[u8; 32]>,
    lets_all_act: bool,
    lets_act: BTreeSet<ProviderId>,
}

/// Of every record of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SiteGround {
    owners: BTreeSet<AccountId>,
    epoch_max: u32,
    lines: BTreeMap<RecordId, Line>,
}

/// What a site record comes to with all that it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Line {
    /// Who may own the site.
    owners: BTreeSet<AccountId>,
    epoch_max: u32,
}

/// What the key that signed a record may be; some can be several.
struct Writer {
    provider: Option<ProviderId>,
    is_paper: bool,
    slots: Vec<Slot>,
    account: Option<AccountId>,
}

impl Grounds {
    /// The grounds that `records` are together: of those that may be stored, in whatever order. Calls
    /// `refused` for each of the others. Signatures and proofs are not verified.
    #[must_use]
    pub fn of<'r>(
        region: RegionId,
        records: impl IntoIterator<Item = &'r Arc<Record>>,
        kinds: &KindTable,
        mut refused: impl FnMut(&'r Arc<Record>, Refusal),
    ) -> Self {
        let mut sorted: Vec<&Arc<Record>> = records.into_iter().collect();
        sorted.sort_unstable_by_key(|record| order(record));
        let mut grounds = Self::new(region);
        grounds.follow_chain(sorted.iter().copied());
        let mut known: HashMap<RecordId, &Arc<Record>> = HashMap::new();
        for record in sorted {
            let judged = grounds.admits(record, kinds, |id| known.get(id).copied());
            match judged {
                Ok(()) => {
                    known.insert(record.id(), record);
                    grounds.add(record);
                }
                Err(why) => refused(record, why),
            }
        }
        grounds
    }

    fn new(region: RegionId) -> Self {
        Self {
            region,
            chain: ChainGround::default(),
            nodes: BTreeMap::new(),
            accounts: BTreeMap::new(),
            sites: BTreeMap::new(),
        }
    }

    /// Whether records of `kind` are what others are judged by.
    #[must_use]
    pub fn rests_on(kind: Kind) -> bool {
        GROUND_KINDS.contains(&kind)
    }

    /// Whether the step ever counted.
    #[must_use]
    pub fn counts(&self, step: &RecordId) -> bool {
        self.chain.steps.contains(step)
    }

    /// Reads again which steps count, of all `records` (other kinds are passed over); says whether
    /// there is one more.
    pub fn follow_chain<'r>(&mut self, records: impl IntoIterator<Item = &'r Arc<Record>>) -> bool {
        let (mut steps, mut votes, mut claims) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match record.envelope().kind {
                Kind::REGION => steps.push(record),
                Kind::VOTE if signed_as_provider(record) => votes.push(record),
                Kind::NODE => claims.push(record),
                _ => {}
            }
        }
        let nodes = node_claims(&claims);
        // Without the pin, which is this node's own: what is stored is the same everywhere.
        let Some(chain) = Chain::follow(self.region, None, &steps, &votes, &nodes) else {
            return false;
        };
        let before = self.chain.steps.len();
        self.chain = ChainGround::default();
        for step in chain.counted() {
            self.chain.add(step.id, &step.body);
        }
        self.chain.steps.len() > before
    }

    /// Takes up a record that is stored.
    pub fn add(&mut self, record: &Record) {
        let envelope = record.envelope();
        if !Self::rests_on(envelope.kind) {
            return;
        }
        let body = record.body();
        match (Subject::decode(envelope.kind, &envelope.subject), body) {
            (Some(Subject::Node(slot)), Ok(Body::Node(body))) => self.add_node(slot, body),
            (Some(Subject::Account(slot, _)), body) => {
                let id = AccountId::derive(&self.region, &envelope.subject);
                let account = self.accounts.entry(id).or_insert(AccountGround {
                    sponsor: slot.provider,
                    keys: BTreeSet::new(),
                    lets_all_act: false,
                    lets_act: BTreeSet::new(),
                });
                if let Ok(Body::Account(body)) = body {
                    account.add(body);
                }
            }
            (Some(Subject::Site(..)), body) => {
                let id = SiteId::derive(&self.region, &envelope.subject);
                let body = match body {
                    Ok(Body::Site(body)) => Some(body),
                    _ => None,
                };
                self.sites.entry(id).or_default().add(record, body);
            }
            _ => {}
        }
    }

    fn add_node(&mut self, slot: Slot, body: &Node) {
        let keys = self.nodes.entry(body.id).or_default();
        keys.insert((body.record_key, slot));
    }

    /// Says whether a record may be stored and passed on; `known` gives what is stored.
    ///
    /// # Errors
    /// [`Refusal`]; see [`Refusal::is_temporary`].
    pub fn admissible<'k>(
        &self,
        record: &Record,
        kinds: &KindTable,
        known: impl Fn(&RecordId) -> Option<&'k Arc<Record>>,
    ) -> Result<(), Refusal> {
        self.admissible_by(record, kinds, known, Record::verify)
    }

    /// The same where `verify` says whether the signature holds.
    ///
    /// # Errors
    /// As [`Grounds::admissible`].
    pub fn admissible_by<'k>(
        &self,
        record: &Record,
        kinds: &KindTable,
        known: impl Fn(&RecordId) -> Option<&'k Arc<Record>>,
        verify: impl Fn(&Record) -> Result<(), SignatureError>,
    ) -> Result<(), Refusal> {
        // Cheap rules first: a signature costs a thousand of them. But what waits for a predecessor
        // alone has been verified.
        let judged = self.admits(record, kinds, known);
        if matches!(judged, Ok(()) | Err(Refusal::Waiting(_))) {
            verify(record)?;
            if !is_proven(record) {
                return Err(Refusal::Proof);
            }
        }
        judged
    }

    /// The same without the signature.
    fn admits<'k>(
        &self,
        record: &Record,
        kinds: &KindTable,
        known: impl Fn(&RecordId) -> Option<&'k Arc<Record>>,
    ) -> Result<(), Refusal> {
        if record.region() != self.region {
            return Err(Refusal::Region);
        }
        let envelope = record.envelope();
        if envelope.kind.is_owned() {
            let subject = Subject::decode(envelope.kind, &envelope.subject);
            let subject = subject.ok_or(Refusal::Subject)?;
            check_own(record, subject)?;
            let writer = self.writer(record).ok_or(Refusal::Author)?;
            // Rights may rest on the predecessors.
            let before = check_sequence(record, &known)?;
            if let Subject::Vote(target, _) = subject {
                let target = known(&target).ok_or(Refusal::Ahead)?;
                return check_votable(target.envelope().kind, kinds);
            }
            self.owned(record, subject, &writer, &before)
        } else if let Some(row) = kinds.row(envelope.kind) {
            let holds = |is_node: &dyn Fn(NodeId) -> bool| {
                let author = envelope.author.as_bytes();
                row.subject.holds(&envelope.subject, author, is_node)
            };
            if !holds(&|_| true) {
                return Err(Refusal::Subject);
            }
            let writer = self.writer(record).ok_or(Refusal::Author)?;
            let by_node = !writer.slots.is_empty() && row.author != AuthorRule::Provider;
            let by_provider = writer.provider.is_some() && row.author != AuthorRule::Node;
            if !(by_node || by_provider) {
                return Err(Refusal::Author);
            }
            if !holds(&|id| self.nodes.contains_key(&id)) {
                return Err(Refusal::Ahead);
            }
            check_sequence(record, &known).map(|_| ())
        } else {
            // A kind of a later release: only how many there are is limited.
            self.writer(record).map(|_| ()).ok_or(Refusal::Author)
        }
    }

    fn writer(&self, record: &Record) -> Option<Writer> {
        let author = record.envelope().author;
        let key = record.signer();
        let own = signed_as_provider(record);
        let provider = author.provider();
        let keys = self.nodes.get(&author.node()).into_iter().flatten();
        let account = self.accounts.get(&author.account());
        let signed = account.is_some_and(|account| account.keys.contains(key));
        let writer = Writer {
            provider: (own && self.chain.providers.contains(&provider)).then_some(provider),
            is_paper: own && self.chain.papers.contains(author.as_bytes()),
            slots: keys
                .filter(|(of, _)| of == key)
                .map(|(_, slot)| *slot)
                .collect(),
            account: signed.then(|| author.account()),
        };
        writer.is_somebody().then_some(writer)
    }

    fn owned(
        &self,
        record: &Record,
        subject: Subject,
        writer: &Writer,
        before: &[&Arc<Record>],
    ) -> Result<(), Refusal> {
        match subject {
            Subject::Step(number) => {
                ahead_unless(number <= self.chain.number_max.saturating_add(1))
            }
            Subject::Node(_) => writer.provider.map(|_| ()).ok_or(Refusal::Author),
            Subject::Id(id) if record.envelope().kind == Kind::TOMBSTONE => {
                self.governed(id, writer)
            }
            Subject::Vote(..) | Subject::Id(_) => Ok(()),
            Subject::Account(slot, counter) => {
                allowed(counter, self.chain.account_allowance)?;
                self.account_subject(record, slot, writer, before)
            }
            Subject::Site(slot, counter) => {
                allowed(counter, self.chain.site_allowance)?;
                self.site_subject(record, slot, writer)
            }
            Subject::Name(account, _) => self.acted(account, writer),
            Subject::Deploy(site) => {
                let site = self.sites.get(&site).ok_or(Refusal::Ahead)?;
                ahead_unless(record.envelope().epoch <= site.epoch_max)?;
                self.acted_for_any(&site.owners, writer)
            }
            Subject::Takedown(_, target) => ahead_unless(self.exists(target)),
        }
    }

    fn exists(&self, id: Digest) -> bool {
        self.sites.contains_key(&SiteId::from_digest(id))
            || self.accounts.contains_key(&AccountId::from_digest(id))
    }

    /// Created by the slot's node or provider; changed by who ever governed it, or by a key that
    /// one of its predecessors names.
    fn account_subject(
        &self,
        record: &Record,
        slot: Slot,
        writer: &Writer,
        before: &[&Arc<Record>],
    ) -> Result<(), Refusal> {
        let envelope = record.envelope();
        if envelope.predecessors.is_empty() {
            return right_if(writer.creates_at(slot));
        }
        let id = AccountId::derive(&self.region, &envelope.subject);
        let key = UserKey::Signing(*record.signer());
        let names_key = |before: &&Arc<Record>| match before.body() {
            Ok(Body::Account(body)) => body.keys.contains(&key),
            _ => false,
        };
        let own = envelope.author == id.into() && before.iter().any(names_key);
        right_if(own || self.sponsored(id, slot.provider, writer))
    }

    fn site_subject(&self, record: &Record, slot: Slot, writer: &Writer) -> Result<(), Refusal> {
        let envelope = record.envelope();
        if envelope.predecessors.is_empty() {
            right_if(writer.creates_at(slot))?;
            // For whom it is made must be known, so that nobody fills a slot for nobody.
            return match record.body() {
                Ok(Body::Site(body)) => ahead_unless(self.accounts.contains_key(&body.account)),
                _ => Ok(()),
            };
        }
        let id = SiteId::derive(&self.region, &envelope.subject);
        let site = self.sites.get(&id).ok_or(Refusal::Ahead)?;
        self.acted_for_any(&site.before(record).owners, writer)
    }

    /// Whether the writer ever governed the site or account `id`.
    fn governed(&self, id: Digest, writer: &Writer) -> Result<(), Refusal> {
        ahead_unless(self.exists(id))?;
        let account = AccountId::from_digest(id);
        let site = self.sites.get(&SiteId::from_digest(id));
        let mut owners = site.into_iter().flat_map(|site| &site.owners);
        right_if(self.governs(account, writer) || owners.any(|of| self.governs(*of, writer)))
    }

    /// Own key or sponsor, now or before.
    fn governs(&self, id: AccountId, writer: &Writer) -> bool {
        let Some(account) = self.accounts.get(&id) else {
            return false;
        };
        writer.account == Some(id) || self.sponsored(id, account.sponsor, writer)
    }

    fn sponsored(&self, id: AccountId, first: ProviderId, writer: &Writer) -> bool {
        writer.provider.is_some_and(|provider| {
            provider == first || self.chain.sponsors.contains(&(id, provider))
        })
    }

    /// Whether the writer is, or was, an actor for the account.
    fn acted(&self, id: AccountId, writer: &Writer) -> Result<(), Refusal> {
        let account = self.accounts.get(&id).ok_or(Refusal::Ahead)?;
        let lets = |slot: &Slot| account.lets_all_act || account.lets_act.contains(&slot.provider);
        right_if(writer.slots.iter().any(lets) || self.governs(id, writer))
    }

    fn acted_for_any(&self, owners: &BTreeSet<AccountId>, writer: &Writer) -> Result<(), Refusal> {
        right_if(
            owners
                .iter()
                .any(|owner| self.acted(*owner, writer).is_ok()),
        )
    }
}

impl ChainGround {
    fn add(&mut self, id: RecordId, step: &Region) {
        self.steps.insert(id);
        self.providers
            .extend(step.providers.iter().map(|row| row.id));
        self.papers.extend(step.recovery_key);
        let sponsors = step.sponsors.iter().map(|(account, of)| (*account, *of));
        self.sponsors.extend(sponsors);
        self.number_max = self.number_max.max(step.number);
        self.account_allowance = self.account_allowance.max(step.limits.account_allowance);
        self.site_allowance = self.site_allowance.max(step.limits.site_allowance);
    }
}

impl AccountGround {
    fn add(&mut self, body: &Account) {
        self.keys
            .extend(body.keys.iter().filter_map(|key| match key {
                UserKey::Signing(key) => Some(*key),
                _ => None,
            }));
        match &body.acts {
            Actors::All => self.lets_all_act = true,
            Actors::These(providers) => self.lets_act.extend(providers),
        }
    }
}

impl SiteGround {
    /// What the predecessors of a record come to.
    fn before(&self, record: &Record) -> Line {
        let mut line = Line::default();
        let lines = record.envelope().predecessors.iter();
        for before in lines.filter_map(|id| self.lines.get(id)) {
            line.owners.extend(&before.owners);
            line.epoch_max = line.epoch_max.max(before.epoch_max);
        }
        line
    }

    fn add(&mut self, record: &Record, body: Option<&Site>) {
        let envelope = record.envelope();
        let mut line = self.before(record);
        // An actor moves neither the owner nor the epoch, whatever it writes there. Who is more than
        // an actor is said by the bytes alone: a provider's key, or one of an owner's.
        let creates = envelope.predecessors.is_empty();
        let by_owner = line.owners.contains(&envelope.author.account());
        if let Some(body) = body.filter(|_| creates || by_owner || signed_as_provider(record)) {
            line.owners.insert(body.account);
            if !creates && line.epoch_max.checked_add(1) == Some(body.epoch) {
                line.epoch_max = body.epoch;
            }
        }
        self.owners.extend(&line.owners);
        self.epoch_max = self.epoch_max.max(line.epoch_max);
        self.lines.insert(record.id(), line);
    }
}

impl Writer {
    fn is_somebody(&self) -> bool {
        self.provider.is_some() || self.is_paper || !self.slots.is_empty() || self.account.is_some()
    }

    /// Only the node of the slot, or its provider, creates there.
    fn creates_at(&self, slot: Slot) -> bool {
        self.provider == Some(slot.provider) || self.slots.contains(&slot)
    }
}

/// Where a record comes after those that it rests on. A vote can be for anything.
#[must_use]
pub(crate) fn order(record: &Record) -> (bool, Kind, u32, u32, RecordId) {
    let of = record.envelope();
    let is_vote = of.kind == Kind::VOTE;
    (is_vote, of.kind, of.epoch, of.sequence, record.id())
}

/// What holds or not whatever else there is, and whoever signed.
fn check_own(record: &Record, subject: Subject) -> Result<(), Refusal> {
    let author = record.envelope().author;
    let own = match subject {
        Subject::Vote(_, voter) => AuthorId::from_bytes(*voter.as_bytes()) == author,
        Subject::Node(slot) => AuthorId::from(slot.provider) == author,
        Subject::Id(id) if record.envelope().kind == Kind::LEAVE => {
            AuthorId::from_bytes(*id.as_bytes()) == author
        }
        Subject::Takedown(provider, _) => AuthorId::from(provider) == author,
        _ => true,
    };
    if own { Ok(()) } else { Err(Refusal::Subject) }
}

/// Whether a node has proved that it belongs to the slot.
fn is_proven(record: &Record) -> bool {
    let envelope = record.envelope();
    let Some(Subject::Node(slot)) = Subject::decode(envelope.kind, &envelope.subject) else {
        return true;
    };
    match record.body() {
        Ok(Body::Node(body)) => body.is_proven(&envelope.region, slot),
        _ => true,
    }
}

/// The predecessors, if all are known and the record follows them.
fn check_sequence<'k>(
    record: &Record,
    known: &impl Fn(&RecordId) -> Option<&'k Arc<Record>>,
) -> Result<Vec<&'k Arc<Record>>, Refusal> {
    let envelope = record.envelope();
    let mut before = Vec::with_capacity(envelope.predecessors.len());
    for id in &envelope.predecessors {
        let found = known(id).ok_or(Refusal::Waiting(*id))?;
        let of = found.envelope();
        if of.kind != envelope.kind || of.subject != envelope.subject {
            return Err(Refusal::Sequence);
        }
        before.push(found);
    }
    let places = before.iter().map(|found| {
        let of = found.envelope();
        (of.epoch, of.sequence)
    });
    if follows(record, places) {
        Ok(before)
    } else {
        Err(Refusal::Sequence)
    }
}

/// Votes are for steps, names, and what the edge lets members vote for.
fn check_votable(kind: Kind, kinds: &KindTable) -> Result<(), Refusal> {
    if matches!(kind, Kind::REGION | Kind::NAME) || kinds.row(kind).is_some() {
        Ok(())
    } else {
        Err(Refusal::Subject)
    }
}

fn allowed(counter: u16, allowance: u32) -> Result<(), Refusal> {
    ahead_unless(is_allowed(counter, allowance))
}

fn ahead_unless(is_known: bool) -> Result<(), Refusal> {
    if is_known {
        Ok(())
    } else {
        Err(Refusal::Ahead)
    }
}

fn right_if(has_right: bool) -> Result<(), Refusal> {
    if has_right {
        Ok(())
    } else {
        Err(Refusal::Right)
    }
}
