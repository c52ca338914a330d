//! Writing: the next correct record at the right place, from what holds now.
//!
//! An [`Author`] owns its key and the count of its log; the caller stores what comes back and makes
//! the next [`Effect`] before it writes about the same subject again.

use super::body::{
    Account, Body, Deploy, Name, NameKind, Node, Region, Site, Takedown, Tombstone, Vote,
};
use super::effect::Effect;
use super::envelope::{
    AuthorId, Draft, Envelope, LogId, PREDECESSORS_MAX, Record, RecordError, SEQUENCE_MAX,
};
use super::kinds::{Kind, Slot, Subject};
use crate::digest::Digest;
use crate::id::{AccountId, ProviderId, RecordId, RegionId, SiteId};
use crate::keys::{ProviderKey, Seed};
use ed25519_dalek::SigningKey;

/// Somebody who writes records: an id, the key that signs for it, and a log.
pub struct Author {
    id: AuthorId,
    key: Option<SigningKey>,
    region: RegionId,
    log: LogId,
    n: u64,
}

/// Why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It breaks a rule or a limit of the format.
    #[error("the record cannot be written")]
    Record(#[from] RecordError),
    /// All counters of the slot are used.
    #[error("slot {0} has no place left: its sixteenth of the provider's allowance is used up")]
    SlotFull(u8),
    /// The account has used all of its places for names.
    #[error("account {0} has used all of its 64 names")]
    NamesFull(AccountId),
    /// The account, the site or the record is not known.
    #[error("{0} is not known")]
    Unknown(Digest),
    /// The epoch has no sequence left: a site needs a new epoch.
    #[error("site {0} has had {SEQUENCE_MAX} deploys in its epoch: raise the epoch")]
    EpochFull(SiteId),
    /// The key that has to sign this is not here.
    #[error("the key that has to sign this record is not here")]
    KeyElsewhere(Box<Draft>),
}

impl Author {
    /// An author of `region` whose last record in `log` had the number `last_n` (0: none yet).
    #[must_use]
    pub fn new(
        id: impl Into<AuthorId>,
        key: SigningKey,
        region: RegionId,
        (log, last_n): (LogId, u64),
    ) -> Self {
        Self {
            id: id.into(),
            key: Some(key),
            region,
            log,
            n: last_n,
        }
    }

    /// The provider or account `id`, whose key lives elsewhere: what it is to write comes back as
    /// [`WriteError::KeyElsewhere`]. Such a draft has a log of its own, which follows from what it
    /// says: asked for twice it is the same draft, and two that are out share no number.
    #[must_use]
    pub fn away(id: impl Into<AuthorId>, region: RegionId) -> Self {
        Self {
            id: id.into(),
            key: None,
            region,
            log: LogId([0; 8]),
            n: 0,
        }
    }

    /// The node that has `seed`.
    #[must_use]
    pub fn node(seed: &Seed, region: RegionId, log: (LogId, u64)) -> Self {
        Self::new(seed.node_id(), seed.record_key(), region, log)
    }

    /// The provider that has `key`.
    #[must_use]
    pub fn provider(key: &ProviderKey, region: RegionId, log: (LogId, u64)) -> Self {
        Self::new(key.provider(), key.signing_key().clone(), region, log)
    }

    /// The account `id`, by one of its signing keys.
    #[must_use]
    pub fn account_key(
        id: AccountId,
        key: SigningKey,
        region: RegionId,
        log: (LogId, u64),
    ) -> Self {
        Self::new(id, key, region, log)
    }

    /// Founds a region: step 0, whose RecordId is the region's id.
    ///
    /// # Errors
    /// [`RecordError`] if the step is too large.
    pub fn found(key: &ProviderKey, log: LogId, step: Region) -> Result<Record, RecordError> {
        let nowhere = RegionId::from_bytes([0; 32]);
        let mut author = Self::provider(key, nowhere, (log, 0));
        let step = Region {
            number: 0,
            predecessor: None,
            ..step
        };
        let body = Body::Region(step.into());
        let draft = author.draft(Subject::Step(0), Kind::REGION, Follows::NOTHING, &body);
        draft.sign(key.signing_key())
    }

    /// The id in whose name this author writes.
    #[must_use]
    pub fn id(&self) -> AuthorId {
        self.id
    }

    /// The number of the last record in its log.
    #[must_use]
    pub fn last_n(&self) -> u64 {
        self.n
    }

    /// The next step after the current one; number and predecessor are filled in.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn step(&mut self, effect: &Effect, step: Region) -> Result<Record, WriteError> {
        let current = effect.chain.current();
        let number = current.body.number.saturating_add(1);
        let step = Region {
            number,
            predecessor: Some(current.id),
            ..step
        };
        let own = effect
            .chain
            .proposals
            .iter()
            .map(|proposal| proposal.step.id)
            .filter(|id| {
                effect
                    .record(id)
                    .is_some_and(|record| record.envelope().author == self.id)
            });
        let follows = Follows::latest(effect, own.collect());
        self.sign(
            Subject::Step(number),
            Kind::REGION,
            follows,
            &Body::Region(step.into()),
        )
    }

    /// A vote for a step, a close (by a provider) or a name (by a node).
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn vote(&mut self, target: RecordId) -> Result<Record, WriteError> {
        let subject = Subject::Vote(target, Digest::from_bytes(*self.id.as_bytes()));
        self.sign(
            subject,
            Kind::VOTE,
            Follows::NOTHING,
            &Body::Vote(Vote::For),
        )
    }

    /// A vote for a host (by a node) or a close (by a provider), or its withdrawal, after what the author
    /// last said of the same one.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn host_vote(
        &mut self,
        effect: &Effect,
        target: RecordId,
        vote: Vote,
    ) -> Result<Record, WriteError> {
        let subject = Subject::Vote(target, Digest::from_bytes(*self.id.as_bytes()));
        self.follow(effect, Kind::VOTE, subject, &Body::Vote(vote))
    }

    /// What a provider says about its node in `slot`; the body must be [`Node::proven`].
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn node_record(
        &mut self,
        effect: &Effect,
        slot: Slot,
        body: Node,
    ) -> Result<Record, WriteError> {
        self.follow(effect, Kind::NODE, Subject::Node(slot), &Body::Node(body))
    }

    /// This provider or node leaves, for good.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn leave(&mut self, reason: &str) -> Result<Record, WriteError> {
        let subject = Subject::Id(Digest::from_bytes(*self.id.as_bytes()));
        self.sign(
            subject,
            Kind::LEAVE,
            Follows::NOTHING,
            &Body::Leave(reason.to_owned()),
        )
    }

    /// A new account at `slot`, with its id.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn new_account(
        &mut self,
        effect: &Effect,
        slot: Slot,
        body: Account,
    ) -> Result<(AccountId, Record), WriteError> {
        let counter = effect
            .free_account_counter(slot)
            .ok_or(WriteError::SlotFull(slot.number))?;
        let subject = Subject::Account(slot, counter);
        let id = AccountId::derive(&self.region, &subject.encode());
        Ok((
            id,
            self.sign(
                subject,
                Kind::ACCOUNT,
                Follows::NOTHING,
                &Body::Account(body),
            )?,
        ))
    }

    /// A change of an account: by one of its keys or its sponsor.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn account(
        &mut self,
        effect: &Effect,
        id: AccountId,
        body: Account,
    ) -> Result<Record, WriteError> {
        let account = effect
            .accounts
            .get(&id)
            .ok_or(WriteError::Unknown(id.digest()))?;
        let subject = Subject::Account(account.slot, account.counter);
        self.follow(effect, Kind::ACCOUNT, subject, &Body::Account(body))
    }

    /// A new site at `slot`, with its id.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn new_site(
        &mut self,
        effect: &Effect,
        slot: Slot,
        body: Site,
    ) -> Result<(SiteId, Record), WriteError> {
        let counter = effect
            .free_site_counter(slot)
            .ok_or(WriteError::SlotFull(slot.number))?;
        let subject = Subject::Site(slot, counter);
        let id = SiteId::derive(&self.region, &subject.encode());
        Ok((
            id,
            self.sign(subject, Kind::SITE, Follows::NOTHING, &Body::Site(body))?,
        ))
    }

    /// A change of a site's settings.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn site(&mut self, effect: &Effect, id: SiteId, body: Site) -> Result<Record, WriteError> {
        let site = effect
            .sites
            .get(&id)
            .ok_or(WriteError::Unknown(id.digest()))?;
        let subject = Subject::Site(site.slot, site.counter);
        self.follow(effect, Kind::SITE, subject, &Body::Site(body))
    }

    /// Ends every deploy of a site's epoch at once and carries one over (`base`, or none); actors
    /// count from the account's present version on. By own key or sponsor.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn new_epoch(
        &mut self,
        effect: &Effect,
        id: SiteId,
        base: Option<RecordId>,
    ) -> Result<Record, WriteError> {
        let site = effect
            .sites
            .get(&id)
            .ok_or(WriteError::Unknown(id.digest()))?;
        let owner = effect.accounts.get(&site.body.account);
        let epoch = site.body.epoch.saturating_add(1);
        let as_of = owner.map(|owner| owner.record);
        self.site(
            effect,
            id,
            Site {
                epoch,
                base,
                as_of,
                ..site.body.clone()
            },
        )
    }

    /// A claim of a name for `account`, in an unused place. The search begins where author and name
    /// say: on two sides of a partition two nodes hardly ever take the same place for two names.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn claim(
        &mut self,
        effect: &Effect,
        account: AccountId,
        body: Name,
    ) -> Result<Record, WriteError> {
        let kind = u8::from(body.kind == NameKind::Account);
        let spread = [self.id.as_bytes().as_slice(), &[kind], body.name.as_bytes()];
        let spread = Digest::derive("verge 1 name place", &spread);
        let [first, ..] = *spread.as_bytes();
        let index = effect
            .free_name_index(&account, first)
            .ok_or(WriteError::NamesFull(account))?;
        self.sign(
            Subject::Name(account, index),
            Kind::NAME,
            Follows::NOTHING,
            &Body::Name(body),
        )
    }

    /// A change of the claim in place `index`; an empty name gives it up.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn name(
        &mut self,
        effect: &Effect,
        account: AccountId,
        index: u8,
        body: Name,
    ) -> Result<Record, WriteError> {
        self.follow(
            effect,
            Kind::NAME,
            Subject::Name(account, index),
            &Body::Name(body),
        )
    }

    /// The next deploy of a site: names every tip, in the site's epoch.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn deploy(
        &mut self,
        effect: &Effect,
        id: SiteId,
        body: Deploy,
    ) -> Result<Record, WriteError> {
        let (subject, follows) = self.deploy_place(effect, id)?;
        self.sign(subject, Kind::DEPLOY, follows, &Body::Deploy(body))
    }

    /// The same, to be signed by a key that lives elsewhere.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn draft_deploy(
        &mut self,
        effect: &Effect,
        id: SiteId,
        body: Deploy,
    ) -> Result<Draft, WriteError> {
        let (subject, follows) = self.deploy_place(effect, id)?;
        Ok(self.draft(subject, Kind::DEPLOY, follows, &Body::Deploy(body)))
    }

    /// A takedown of a site or account by this provider, or its lifting.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn takedown(
        &mut self,
        effect: &Effect,
        target: Digest,
        body: Takedown,
    ) -> Result<Record, WriteError> {
        let provider: ProviderId = self.id.provider();
        let subject = Subject::Takedown(provider, target);
        self.follow(effect, Kind::TAKEDOWN, subject, &Body::Takedown(body))
    }

    /// The end of a site or an account, for ever.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn tombstone(&mut self, id: Digest, body: Tombstone) -> Result<Record, WriteError> {
        self.sign(
            Subject::Id(id),
            Kind::TOMBSTONE,
            Follows::NOTHING,
            &Body::Tombstone(body),
        )
    }

    /// A record of a foreign kind: `body` is a canonical map, `predecessors` are what it follows.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn foreign(
        &mut self,
        effect: &Effect,
        kind: Kind,
        (subject, body): (Vec<u8>, Vec<u8>),
        predecessors: Vec<RecordId>,
    ) -> Result<Record, WriteError> {
        let follows = Follows::latest(effect, predecessors);
        let mut draft = self.draft(Subject::Step(0), kind, follows, &Body::Foreign);
        draft.envelope.subject = subject;
        draft.body = body;
        match &self.key {
            Some(key) => Ok(draft.sign(key)?),
            None => Err(WriteError::KeyElsewhere(draft.in_own_log().into())),
        }
    }

    /// A record of a foreign kind that may never be published: it follows nothing, and has a log of its
    /// own, so that its number is missed by nobody.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn foreign_aside(
        &self,
        kind: Kind,
        (subject, body): (Vec<u8>, Vec<u8>),
    ) -> Result<Record, WriteError> {
        let Follows {
            epoch,
            sequence,
            predecessors,
        } = Follows::NOTHING;
        let envelope = Envelope {
            region: self.region,
            kind,
            subject,
            author: self.id,
            log: self.log,
            n: 1,
            epoch,
            sequence,
            predecessors,
        };
        let draft = Draft { envelope, body }.in_own_log();
        match &self.key {
            Some(key) => Ok(draft.sign(key)?),
            None => Err(WriteError::KeyElsewhere(draft.into())),
        }
    }

    /// Follows what stands at `subject`.
    fn follow(
        &mut self,
        effect: &Effect,
        kind: Kind,
        subject: Subject,
        body: &Body,
    ) -> Result<Record, WriteError> {
        let bytes = subject.encode();
        let follows = Follows::latest(effect, effect.tips(kind, &bytes).to_vec());
        let follows = follows.past_own(effect, (kind, &bytes), self.id);
        self.sign(subject, kind, follows, body)
    }

    fn deploy_place(&self, effect: &Effect, id: SiteId) -> Result<(Subject, Follows), WriteError> {
        let site = effect.site(&id).ok_or(WriteError::Unknown(id.digest()))?;
        // Newest first, so that the highest sequences are among the predecessors that fit.
        let predecessors = effect.tips(Kind::DEPLOY, id.as_bytes()).to_vec();
        let sequence = site
            .head()
            .map_or(0, |head| head.sequence)
            .saturating_add(1);
        let follows = Follows {
            epoch: site.body.epoch,
            sequence,
            predecessors,
        };
        let follows = follows.past_own(effect, (Kind::DEPLOY, id.as_bytes()), self.id);
        if follows.sequence > SEQUENCE_MAX {
            return Err(WriteError::EpochFull(id));
        }
        Ok((Subject::Deploy(id), follows))
    }

    fn sign(
        &mut self,
        subject: Subject,
        kind: Kind,
        follows: Follows,
        body: &Body,
    ) -> Result<Record, WriteError> {
        let draft = self.draft(subject, kind, follows, body);
        match &self.key {
            Some(key) => Ok(draft.sign(key)?),
            None => Err(WriteError::KeyElsewhere(draft.in_own_log().into())),
        }
    }

    fn draft(&mut self, subject: Subject, kind: Kind, follows: Follows, body: &Body) -> Draft {
        self.n = self.n.saturating_add(1);
        let Follows {
            epoch,
            sequence,
            predecessors,
        } = follows;
        let envelope = Envelope {
            region: self.region,
            kind,
            subject: subject.encode(),
            author: self.id,
            log: self.log,
            n: self.n,
            epoch,
            sequence,
            predecessors,
        };
        Draft {
            envelope,
            body: body.encode(),
        }
    }
}

/// Where a record stands in its subject.
struct Follows {
    epoch: u32,
    sequence: u32,
    /// The most important first; what does not fit is left out.
    predecessors: Vec<RecordId>,
}

impl Follows {
    const NOTHING: Self = Self {
        epoch: 0,
        sequence: 1,
        predecessors: Vec::new(),
    };

    /// After `predecessors`, in their highest epoch, or the next one if that is used up.
    fn latest(effect: &Effect, predecessors: Vec<RecordId>) -> Self {
        let position = |id: &RecordId| {
            effect
                .record(id)
                .map(|r| (r.envelope().epoch, r.envelope().sequence))
        };
        let Some((epoch, sequence)) = predecessors.iter().filter_map(position).max() else {
            return Self::NOTHING;
        };
        let (epoch, sequence) = if sequence < SEQUENCE_MAX {
            (epoch, sequence + 1)
        } else {
            (epoch.saturating_add(1), 1)
        };
        Self::at(epoch, sequence, predecessors)
    }

    /// The same, after the author's own records that stand in the way.
    fn past_own(mut self, effect: &Effect, subject: (Kind, &[u8]), author: AuthorId) -> Self {
        let place = (self.epoch, self.sequence);
        if let Some((sequence, id)) = effect.own_from(subject, author, place) {
            self.predecessors.truncate(PREDECESSORS_MAX - 1);
            self.predecessors.push(id);
            self.sequence = sequence.saturating_add(1);
        }
        Self::at(self.epoch, self.sequence, self.predecessors)
    }

    fn at(epoch: u32, sequence: u32, mut predecessors: Vec<RecordId>) -> Self {
        predecessors.truncate(PREDECESSORS_MAX);
        predecessors.sort_unstable();
        predecessors.dedup();
        Self {
            epoch,
            sequence,
            predecessors,
        }
    }
}
