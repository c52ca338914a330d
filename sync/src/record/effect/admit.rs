//! Storing is not believing: whether a record may be stored and passed on.

use super::find::is_allowed;
use super::history::follows;
use super::members::Member;
use super::{AccountEffect, Effect, node_body, site_body};
use crate::digest::Digest;
use crate::id::{AccountId, ProviderId, RecordId, SiteId};
use crate::record::envelope::{AuthorId, Record};
use crate::record::kinds::{AuthorRule, Kind, KindTable, Slot, Subject};
use crate::record::region::signed_as_provider;
use crate::record::signature::SignatureError;
use std::collections::HashMap;
use std::sync::Arc;

/// Records without a known predecessor that wait aside for one subject.
pub const WAITING_PER_SUBJECT_MAX: usize = 64;
/// Records of kinds without a row that are kept for one author: what a later release may need, and
/// 8 MiB at most from one rogue member.
pub const UNKNOWN_PER_AUTHOR_MAX: usize = 4_096;

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
    /// The subject is not one that its author may write about.
    #[error("its subject is outside of its author's space")]
    Subject,
    /// It does not follow its predecessors by one, or they are of another subject.
    #[error("it does not follow its predecessors")]
    Sequence,
    /// A node's proof does not hold.
    #[error("the node has not proved its key")]
    Proof,
    /// Its author's records of kinds without a row are too many.
    #[error("too many records of unknown kinds by one author")]
    UnknownKinds,
    /// The record waits: this one is not known yet.
    #[error("its predecessor {0} is not known yet")]
    Waiting(RecordId),
    /// What it is about is not known yet, or it is ahead of what is.
    #[error("what it is about is not known yet")]
    Ahead,
    /// Too many records wait for one subject.
    #[error("too many records wait for this subject")]
    WaitingFull,
}

impl Refusal {
    /// Whether the record may become admissible when others arrive: keep it aside, ask for them.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Ahead | Self::Author)
    }
}

/// Whose record it is, as far as storing it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Member(Member),
    Recovery,
    Account(AccountId),
}

impl Effect {
    /// Says whether a record may be stored and passed on, given what holds now.
    ///
    /// # Errors
    /// [`Refusal`]; see [`Refusal::is_temporary`].
    pub fn admissible(&self, record: &Record, kinds: &KindTable) -> Result<(), Refusal> {
        self.admissible_after(record, kinds, &HashMap::new())
    }

    /// As [`Effect::admissible`], where `fresh` was admitted since: a long history need not be worked
    /// out anew for each of its records.
    ///
    /// # Errors
    /// As [`Effect::admissible`].
    pub fn admissible_after(
        &self,
        record: &Record,
        kinds: &KindTable,
        fresh: &HashMap<RecordId, Arc<Record>>,
    ) -> Result<(), Refusal> {
        if record.region() != self.region {
            return Err(Refusal::Region);
        }
        if self.index.known.contains_key(&record.id()) {
            return Ok(record.verify()?);
        }
        // Cheap rules first: a signature costs a thousand of them.
        let writer = self.writer(record).ok_or(Refusal::Author)?;
        let kind = record.envelope().kind;
        if kind.is_owned() {
            let subject = Subject::decode(kind, &record.envelope().subject);
            self.owned(record, subject.ok_or(Refusal::Subject)?, writer)?;
        } else {
            self.foreign(record, kinds, writer)?;
        }
        record.verify()?;
        self.check_sequence(record, fresh)
    }

    fn writer(&self, record: &Record) -> Option<Writer> {
        let author = record.envelope().author;
        if signed_as_provider(record) {
            let provider = author.provider();
            if self.chain.knows(&provider) {
                return Some(Writer::Member(Member::Provider(provider)));
            }
            let paper = |key: &Option<[u8; 32]>| *key == Some(*author.as_bytes());
            if self
                .chain
                .steps()
                .iter()
                .any(|step| paper(&step.body.recovery_key))
            {
                return Some(Writer::Recovery);
            }
        }
        let key = &record.signature().key;
        if let Some(node) = self
            .nodes
            .get(&author.node())
            .filter(|node| node.keys.contains(key))
        {
            return Some(Writer::Member(Member::Node(node.id, node.slot)));
        }
        let account = self.accounts.get(&author.account())?;
        account
            .keys_ever
            .contains(key)
            .then_some(Writer::Account(account.id))
    }

    fn foreign(&self, record: &Record, kinds: &KindTable, writer: Writer) -> Result<(), Refusal> {
        let envelope = record.envelope();
        let Some(row) = kinds.row(envelope.kind) else {
            let count = self
                .index
                .unknown
                .get(&envelope.author)
                .copied()
                .unwrap_or(0);
            let full = count >= UNKNOWN_PER_AUTHOR_MAX;
            return if full {
                Err(Refusal::UnknownKinds)
            } else {
                Ok(())
            };
        };
        let entitled = match writer {
            Writer::Member(Member::Node(..)) => row.author != AuthorRule::Provider,
            Writer::Member(Member::Provider(_)) => row.author != AuthorRule::Node,
            Writer::Recovery | Writer::Account(_) => false,
        };
        if !entitled {
            return Err(Refusal::Author);
        }
        let is_node = |id| self.nodes.contains_key(&id);
        let holds = row
            .subject
            .holds(&envelope.subject, envelope.author.as_bytes(), is_node);
        if holds { Ok(()) } else { Err(Refusal::Subject) }
    }

    fn owned(&self, record: &Record, subject: Subject, writer: Writer) -> Result<(), Refusal> {
        let author = record.envelope().author;
        let limits = &self.chain.current().body.limits;
        let own = |id: AuthorId| {
            if id == author {
                Ok(())
            } else {
                Err(Refusal::Subject)
            }
        };
        match subject {
            Subject::Step(number) => {
                let next = self.chain.current().body.number.saturating_add(1);
                if number > next {
                    Err(Refusal::Ahead)
                } else {
                    Ok(())
                }
            }
            Subject::Vote(target, voter) => {
                own(AuthorId::from_bytes(*voter.as_bytes()))?;
                self.record(&target).map(|_| ()).ok_or(Refusal::Ahead)
            }
            Subject::Node(slot) => {
                own(slot.provider.into())?;
                let proven = node_body(record).is_none_or(|b| b.is_proven(&self.region, slot));
                if proven { Ok(()) } else { Err(Refusal::Proof) }
            }
            Subject::Id(id) if record.envelope().kind == Kind::LEAVE => {
                own(AuthorId::from_bytes(*id.as_bytes()))
            }
            Subject::Id(id) => self.governed(id, writer),
            Subject::Account(slot, counter) => {
                allowed(counter, limits.account_allowance)?;
                let id = AccountId::derive(&self.region, &record.envelope().subject);
                self.account_subject(id, slot, record, writer)
            }
            Subject::Site(slot, counter) => {
                allowed(counter, limits.site_allowance)?;
                let id = SiteId::derive(&self.region, &record.envelope().subject);
                self.site_subject(id, slot, record, writer)
            }
            Subject::Name(account, _) => self.acted(account, writer),
            Subject::Deploy(site) => {
                let site = self.sites.get(&site).ok_or(Refusal::Ahead)?;
                if record.envelope().epoch > site.epoch_opened {
                    return Err(Refusal::Ahead);
                }
                self.acted(site.body.account, writer)
            }
            Subject::Takedown(provider, target) => {
                own(provider.into())?;
                self.exists(target)
            }
        }
    }

    fn exists(&self, id: Digest) -> Result<(), Refusal> {
        let known = self.sites.contains_key(&SiteId::from_digest(id))
            || self.accounts.contains_key(&AccountId::from_digest(id));
        if known { Ok(()) } else { Err(Refusal::Ahead) }
    }

    fn account_subject(
        &self,
        id: AccountId,
        slot: Slot,
        record: &Record,
        writer: Writer,
    ) -> Result<(), Refusal> {
        if record.envelope().predecessors.is_empty() {
            return created_at(slot, writer);
        }
        match self.accounts.get(&id) {
            Some(account) if self.is_governor(account, writer) => Ok(()),
            Some(_) => Err(Refusal::Subject),
            None => Err(Refusal::Ahead),
        }
    }

    fn site_subject(
        &self,
        id: SiteId,
        slot: Slot,
        record: &Record,
        writer: Writer,
    ) -> Result<(), Refusal> {
        if record.envelope().predecessors.is_empty() {
            created_at(slot, writer)?;
            // For whom it is made must be known, so that nobody fills a slot for nobody.
            let Some(body) = site_body(record) else {
                return Ok(());
            };
            return self
                .accounts
                .get(&body.account)
                .map(|_| ())
                .ok_or(Refusal::Ahead);
        }
        let site = self.sites.get(&id).ok_or(Refusal::Ahead)?;
        self.acted(site.body.account, writer)
    }

    /// Whether the writer governs the site or account `id`.
    fn governed(&self, id: Digest, writer: Writer) -> Result<(), Refusal> {
        let site = self.sites.get(&SiteId::from_digest(id));
        let owner = site.map_or(AccountId::from_digest(id), |site| site.body.account);
        let account = self.accounts.get(&owner).ok_or(Refusal::Ahead)?;
        if self.is_governor(account, writer) {
            Ok(())
        } else {
            Err(Refusal::Subject)
        }
    }

    /// Whether the writer is, or was, an actor for the account.
    fn acted(&self, account: AccountId, writer: Writer) -> Result<(), Refusal> {
        let account = self.accounts.get(&account).ok_or(Refusal::Ahead)?;
        let acts = match writer {
            Writer::Member(Member::Node(_, slot)) => account.lets_act(&slot.provider, None),
            _ => self.is_governor(account, writer),
        };
        if acts { Ok(()) } else { Err(Refusal::Subject) }
    }

    /// Own key or sponsor, now or before.
    fn is_governor(&self, account: &AccountEffect, writer: Writer) -> bool {
        let named = |provider: &ProviderId| {
            self.chain
                .steps()
                .iter()
                .any(|s| s.body.sponsors.get(&account.id) == Some(provider))
        };
        match writer {
            Writer::Account(id) => id == account.id,
            Writer::Member(Member::Provider(provider)) => {
                provider == account.slot.provider || named(&provider)
            }
            Writer::Member(Member::Node(..)) | Writer::Recovery => false,
        }
    }

    fn check_sequence(
        &self,
        record: &Record,
        fresh: &HashMap<RecordId, Arc<Record>>,
    ) -> Result<(), Refusal> {
        let envelope = record.envelope();
        let mut before = Vec::with_capacity(envelope.predecessors.len());
        for id in &envelope.predecessors {
            let Some(known) = self.record(id).or_else(|| fresh.get(id)) else {
                let subject = (envelope.kind, envelope.subject.clone());
                let waiting = self.index.waiting.get(&subject).copied().unwrap_or(0);
                let full = waiting >= WAITING_PER_SUBJECT_MAX;
                return Err(if full {
                    Refusal::WaitingFull
                } else {
                    Refusal::Waiting(*id)
                });
            };
            let known = known.envelope();
            if known.kind != envelope.kind || known.subject != envelope.subject {
                return Err(Refusal::Sequence);
            }
            before.push((known.epoch, known.sequence));
        }
        if follows(record, before.into_iter()) {
            Ok(())
        } else {
            Err(Refusal::Sequence)
        }
    }
}

fn allowed(counter: u16, allowance: u32) -> Result<(), Refusal> {
    if is_allowed(counter, allowance) {
        Ok(())
    } else {
        Err(Refusal::Subject)
    }
}

/// Only the node of the slot, or its provider, creates there.
fn created_at(slot: Slot, writer: Writer) -> Result<(), Refusal> {
    let entitled = match writer {
        Writer::Member(Member::Provider(provider)) => provider == slot.provider,
        Writer::Member(Member::Node(_, of)) => of == slot,
        Writer::Recovery | Writer::Account(_) => false,
    };
    if entitled {
        Ok(())
    } else {
        Err(Refusal::Subject)
    }
}
