//! Accounts: who may sign for them, and until when.
//!
//! The sponsor's last word about an account is where its keys begin: an own key's record counts only
//! if it follows that one, and only keys named there or since may sign. So a stolen key is shut out
//! by one record of the sponsor, and no length of the thief's own chain outranks it.

use super::history::{History, Notes};
use super::members::{Member, Members};
use super::sites::SiteEffect;
use super::{RecordSet, Tips, account_body};
use crate::digest::Digest;
use crate::id::{AccountId, ProviderId, RecordId, SiteId};
use crate::record::body::{Account, Actors, UserKey};
use crate::record::envelope::{AuthorId, Record};
use crate::record::kinds::{Kind, Slot, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// An account as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEffect {
    /// Its id.
    pub id: AccountId,
    /// Where it was created.
    pub slot: Slot,
    /// Its counter there.
    pub counter: u16,
    /// The record that stands, and what it says.
    pub record: RecordId,
    /// What the record says.
    pub body: Account,
    /// The provider that answers for it.
    pub sponsor: ProviderId,
    /// Whether it ended.
    pub ended: bool,
    /// Keys that sign for it.
    pub(super) keys: BTreeSet<[u8; 32]>,
    /// Its versions up to the one that stands, oldest first, each with whom it let act.
    pub(super) versions: Vec<(RecordId, Actors)>,
}

impl AccountEffect {
    /// The keys that may sign for the account.
    pub fn signing_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.keys.iter()
    }

    /// The SSH keys (SHA-256 of the wire form) that may log in.
    pub fn ssh_keys(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        self.body.keys.iter().filter_map(|key| match key {
            UserKey::SshLogin(digest) => Some(*digest),
            _ => None,
        })
    }

    /// Whether nodes of `provider` may act, by any version from `as_of` on (by any, if none).
    pub(super) fn lets_act(&self, provider: &ProviderId, as_of: Option<RecordId>) -> bool {
        let known = as_of.and_then(|id| self.versions.iter().position(|(of, _)| *of == id));
        // A version that is not (or not any more) the account's cuts nothing off.
        let from = known.unwrap_or(0);
        self.versions
            .iter()
            .skip(from)
            .any(|(_, acts)| acts.includes(provider))
    }

    /// Whether one of its keys signed the record in its name.
    pub(super) fn signed(&self, record: &Record) -> bool {
        record.envelope().author == self.id.into() && self.keys.contains(record.signer())
    }

    /// Whether its own key or its sponsor wrote the record.
    pub(super) fn governs(&self, record: &Record, members: &Members) -> bool {
        self.signed(record) || members.author(record) == Some(Member::Provider(self.sponsor))
    }
}

/// What one record of an account comes to.
#[derive(Clone, Copy)]
struct Version<'a> {
    body: &'a Account,
    by_sponsor: bool,
}

pub(super) fn read(
    set: &RecordSet<'_>,
    members: &Members,
    notes: &mut Notes,
    tips: &mut Tips,
) -> BTreeMap<AccountId, AccountEffect> {
    let mut accounts = BTreeMap::new();
    for (subject, records) in set.subjects(Kind::ACCOUNT) {
        let Subject::Account(slot, counter) = subject else {
            continue;
        };
        let bytes = subject.encode();
        let id = AccountId::derive(&members.region, &bytes);
        let judge = Judge {
            set,
            members,
            id,
            slot,
        };
        let mut rooted = false;
        let history = History::read(records, notes, |record, before| {
            judge.version(record, before, &mut rooted)
        });
        if let Some(account) = judge.account(counter, &history) {
            tips.insert((Kind::ACCOUNT, bytes), vec![account.record]);
            accounts.insert(id, account);
        }
    }
    accounts
}

struct Judge<'a> {
    set: &'a RecordSet<'a>,
    members: &'a Members,
    id: AccountId,
    slot: Slot,
}

impl Judge<'_> {
    fn sponsor(&self) -> ProviderId {
        let sponsors = &self.members.chain.current().body.sponsors;
        sponsors
            .get(&self.id)
            .copied()
            .unwrap_or(self.slot.provider)
    }

    /// Whether `provider` is or was the sponsor.
    fn sponsored(&self, provider: &ProviderId) -> bool {
        let named =
            |step: &crate::record::region::Step| step.body.sponsors.get(&self.id) == Some(provider);
        *provider == self.slot.provider || self.members.chain.steps().iter().any(named)
    }

    fn version<'r>(
        &self,
        record: &'r Record,
        before: &[&Version<'_>],
        rooted: &mut bool,
    ) -> Option<Version<'r>> {
        let body = account_body(record).filter(|_| self.members.heeds(self.set, record))?;
        let author = self.members.author(record);
        if record.envelope().predecessors.is_empty() {
            let creates = match author? {
                Member::Provider(provider) => provider == self.slot.provider,
                Member::Node(_, slot) => slot == self.slot,
            };
            // Of two creations the first in order is the account; the other's followers fall too.
            let first = creates && !std::mem::replace(rooted, *rooted || creates);
            return first.then_some(Version {
                body,
                by_sponsor: true,
            });
        }
        let by_sponsor = matches!(author, Some(Member::Provider(p)) if self.sponsored(&p));
        let own = record.envelope().author == AuthorId::from(self.id)
            && before
                .iter()
                .any(|version| signs(version.body, record.signer()));
        let follows = !before.is_empty();
        (follows && (by_sponsor || own)).then_some(Version { body, by_sponsor })
    }

    fn account(&self, counter: u16, history: &History<'_, Version<'_>>) -> Option<AccountEffect> {
        let sponsor = self.sponsor();
        let entries = &history.0;
        let word = entries
            .iter()
            .rposition(|entry| entry.stands() && entry.record.envelope().author == sponsor.into());
        let after = word.map(|root| history.descendants(root));
        let stands = |index: usize| {
            let Some(entry) = entries.get(index).filter(|entry| entry.stands()) else {
                return false;
            };
            let Some(after) = &after else { return true };
            let own = entry.record.envelope().author == self.id.into();
            word == Some(index) || (own && after.get(index) == Some(&true))
        };
        let latest = (0..entries.len()).rev().find(|index| stands(*index))?;
        let line = history.ancestors(latest);
        let versions: Vec<(RecordId, Version<'_>)> = entries
            .iter()
            .zip(line)
            .filter(|(entry, in_line)| *in_line && entry.stands())
            .filter_map(|(entry, _)| Some((entry.record.id(), entry.state?)))
            .collect();
        let keys_from = versions
            .iter()
            .rposition(|(_, version)| version.by_sponsor)
            .unwrap_or(0);
        let (record, version) = versions.last()?;
        Some(AccountEffect {
            id: self.id,
            slot: self.slot,
            counter,
            record: *record,
            body: version.body.clone(),
            sponsor,
            ended: false,
            keys: versions
                .iter()
                .skip(keys_from)
                .flat_map(|(_, v)| signing(v.body))
                .collect(),
            versions: versions
                .iter()
                .map(|(id, v)| (*id, v.body.acts.clone()))
                .collect(),
        })
    }
}

fn signs(account: &Account, key: &[u8; 32]) -> bool {
    account.keys.contains(&UserKey::Signing(*key))
}

fn signing(account: &Account) -> impl Iterator<Item = [u8; 32]> + '_ {
    account.keys.iter().filter_map(|key| match key {
        UserKey::Signing(key) => Some(*key),
        _ => None,
    })
}

/// Reads the tombstones and marks what they end.
pub(super) fn tombstones(
    set: &RecordSet<'_>,
    members: &Members,
    accounts: &mut BTreeMap<AccountId, AccountEffect>,
    sites: &mut BTreeMap<SiteId, SiteEffect>,
) -> BTreeSet<Digest> {
    let mut ended = BTreeSet::new();
    for record in set.of(Kind::TOMBSTONE) {
        let Some(Subject::Id(id)) = Subject::decode(Kind::TOMBSTONE, &record.envelope().subject)
        else {
            continue;
        };
        let owner = match sites.get(&SiteId::from_digest(id)) {
            Some(site) => site.body.account,
            None => AccountId::from_digest(id),
        };
        let governed = accounts
            .get(&owner)
            .is_some_and(|owner| owner.governs(record, members));
        if governed && record.body().is_ok() && members.heeds(set, record) {
            ended.insert(id);
        }
    }
    for account in accounts.values_mut() {
        account.ended = ended.contains(&account.id.digest());
    }
    for site in sites.values_mut() {
        let owner_ended = ended.contains(&site.body.account.digest());
        site.ended = owner_ended || ended.contains(&site.id.digest());
    }
    ended
}
