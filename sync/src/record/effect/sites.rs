//! Sites and their deploys.
//!
//! An *anchor* is a site record by the owner's key or sponsor. Actors' records count only if they
//! follow the last anchor, and only an anchor moves the epoch, the base, the owner and `as_of`. So
//! a blocked actor is shut out by one record, and what it wrote before is kept or dropped as the
//! owner chooses.

use super::accounts::AccountEffect;
use super::history::{History, Notes, Waiting};
use super::members::{Member, Members};
use super::{RecordSet, Tips, site_body};
use crate::id::{AccountId, RecordId, SiteId};
use crate::record::body::{Body, Deploy, Site};
use crate::record::envelope::Record;
use crate::record::kinds::{Kind, Slot, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Deploys in effect that are kept besides the tips.
pub const KEPT_DEPLOYS: usize = 10;

/// A site as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteEffect {
    /// Its id.
    pub id: SiteId,
    /// Where it was created.
    pub slot: Slot,
    /// Its counter there.
    pub counter: u16,
    /// The record that stands.
    pub record: RecordId,
    /// Its settings: owner, epoch, base and `as_of` as the last anchor says.
    pub body: Site,
    /// Whether it, or its owner, ended.
    pub ended: bool,
    /// The deploys in effect, newest first; the first is the head.
    pub deploys: Vec<DeployEffect>,
    /// The deploys in effect that no other names as predecessor, newest first.
    pub tips: Vec<RecordId>,
}

/// A deploy in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployEffect {
    /// The epoch in which it counts.
    pub epoch: u32,
    /// Its sequence there; 0 for the base.
    pub sequence: u32,
    record: Arc<Record>,
}

impl DeployEffect {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.record.id()
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// What it says.
    ///
    /// # Panics
    /// Never: only records with a deploy's body are listed.
    #[must_use]
    pub fn body(&self) -> &Deploy {
        deploy_body(&self.record).expect("a deploy in effect has a deploy's body")
    }
}

impl SiteEffect {
    /// The deploy that visitors see.
    #[must_use]
    pub fn head(&self) -> Option<&DeployEffect> {
        self.deploys.first()
    }

    /// The deploys whose versions every replica keeps: the newest, and every tip.
    pub fn kept(&self) -> impl Iterator<Item = &DeployEffect> {
        self.kept_newest(KEPT_DEPLOYS)
    }

    /// The newest `count` deploys, and every tip.
    pub fn kept_newest(&self, count: usize) -> impl Iterator<Item = &DeployEffect> {
        let tips: BTreeSet<&RecordId> = self.tips.iter().collect();
        self.deploys
            .iter()
            .enumerate()
            .filter(move |(index, deploy)| *index < count || tips.contains(&deploy.id()))
            .map(|(_, deploy)| deploy)
    }
}

fn deploy_body(record: &Record) -> Option<&Deploy> {
    match record.body() {
        Ok(Body::Deploy(body)) => Some(body),
        _ => None,
    }
}

/// What a site record comes to, with what it inherits.
#[derive(Clone)]
struct Settings<'a> {
    body: &'a Site,
    owner: AccountId,
    epoch: u32,
    base: Option<RecordId>,
    as_of: Option<RecordId>,
    is_anchor: bool,
}

impl Settings<'_> {
    fn site(&self) -> Site {
        Site {
            account: self.owner,
            epoch: self.epoch,
            base: self.base,
            as_of: self.as_of,
            ..self.body.clone()
        }
    }
}

pub(super) fn read(
    set: &RecordSet<'_>,
    members: &Members,
    accounts: &BTreeMap<AccountId, AccountEffect>,
    notes: &mut Notes,
    tips: &mut Tips,
) -> BTreeMap<SiteId, SiteEffect> {
    let judge = Judge {
        set,
        members,
        accounts,
    };
    let mut sites = BTreeMap::new();
    for (subject, records) in set.subjects(Kind::SITE) {
        let Subject::Site(slot, counter) = subject else {
            continue;
        };
        let bytes = subject.encode();
        let id = SiteId::derive(&members.region, &bytes);
        let mut rooted = false;
        let history = History::read(records, notes, |record, before| {
            judge.settings(slot, record, before, &mut rooted)
        });
        let Some((record, body)) = standing(&history) else {
            continue;
        };
        tips.insert((Kind::SITE, bytes), vec![record]);
        let (deploys, deploy_tips) = judge.deploys(id, (record, &body), notes);
        tips.insert((Kind::DEPLOY, id.as_bytes().to_vec()), deploy_tips.clone());
        let (ended, tips) = (false, deploy_tips);
        sites.insert(
            id,
            SiteEffect {
                id,
                slot,
                counter,
                record,
                body,
                ended,
                deploys,
                tips,
            },
        );
    }
    sites
}

/// The record that stands: the latest of the last anchor and the actors' records that follow it.
fn standing(history: &History<'_, Settings<'_>>) -> Option<(RecordId, Site)> {
    let anchors = |settings: &Settings<'_>| settings.is_anchor;
    let anchor = history
        .0
        .iter()
        .rposition(|entry| entry.stands() && entry.state.as_ref().is_some_and(anchors));
    let after = anchor.map(|root| history.descendants(root));
    let latest = history.0.iter().enumerate().rev().find(|(index, entry)| {
        let follows = after
            .as_ref()
            .is_none_or(|after| after.get(*index) == Some(&true));
        entry.stands() && follows
    });
    let (_, entry) = latest?;
    Some((entry.record.id(), entry.state.as_ref()?.site()))
}

struct Judge<'a> {
    set: &'a RecordSet<'a>,
    members: &'a Members,
    accounts: &'a BTreeMap<AccountId, AccountEffect>,
}

impl Judge<'_> {
    fn settings<'r>(
        &self,
        slot: Slot,
        record: &'r Record,
        before: &[&Settings<'_>],
        rooted: &mut bool,
    ) -> Option<Settings<'r>> {
        let body = site_body(record).filter(|_| self.members.heeds(self.set, record))?;
        if record.envelope().predecessors.is_empty() {
            let creates = self.creates(slot, record, self.accounts.get(&body.account)?);
            // Of two creations the first in order is the site; the other's followers fall too.
            let first = creates && !std::mem::replace(rooted, *rooted || creates);
            let (owner, is_anchor) = (body.account, false);
            let root = Settings {
                body,
                owner,
                epoch: 0,
                base: None,
                as_of: None,
                is_anchor,
            };
            return first.then_some(root);
        }
        let prior = before.last()?;
        let owner = self.accounts.get(&prior.owner)?;
        if owner.governs(record, self.members) {
            return self.anchor(body, prior);
        }
        let (owner, epoch, base, as_of) = (prior.owner, prior.epoch, prior.base, prior.as_of);
        let settings = Settings {
            body,
            owner,
            epoch,
            base,
            as_of,
            is_anchor: false,
        };
        self.acts(record, self.accounts.get(&owner)?, as_of)
            .then_some(settings)
    }

    /// Only the node of the slot, or its provider, makes a site there; for accounts that let it.
    fn creates(&self, slot: Slot, record: &Record, owner: &AccountEffect) -> bool {
        let entitled = match self.members.author(record) {
            Some(Member::Provider(provider)) => provider == slot.provider,
            Some(Member::Node(_, of)) => of == slot,
            None => false,
        };
        entitled && (owner.lets_act(&slot.provider, None) || owner.sponsor == slot.provider)
    }

    fn anchor<'r>(&self, body: &'r Site, prior: &Settings<'_>) -> Option<Settings<'r>> {
        let raised = prior.epoch.checked_add(1) == Some(body.epoch);
        let owner = body.account;
        if !(raised || body.epoch == prior.epoch) || !self.accounts.contains_key(&owner) {
            return None;
        }
        Some(Settings {
            body,
            owner,
            epoch: body.epoch,
            base: if raised { body.base } else { prior.base },
            as_of: body.as_of.or(prior.as_of),
            is_anchor: true,
        })
    }

    /// Whether an actor for `owner` wrote the record: a signing key, or a node that it lets act.
    fn acts(&self, record: &Record, owner: &AccountEffect, as_of: Option<RecordId>) -> bool {
        match self.members.author(record) {
            Some(Member::Node(_, slot)) => owner.lets_act(&slot.provider, as_of),
            _ => owner.signed(record),
        }
    }

    /// The deploys in effect, newest first, and the tips among them.
    fn deploys(
        &self,
        id: SiteId,
        (settings, site): (RecordId, &Site),
        notes: &mut Notes,
    ) -> (Vec<DeployEffect>, Vec<RecordId>) {
        let records = self.set.of_subject(Kind::DEPLOY, id.as_bytes());
        let owner = self.accounts.get(&site.account);
        let history = History::read(records, notes, |record, _| {
            let heeded = self.members.heeds(self.set, record) && record.is_readable();
            let epoch = record.envelope().epoch;
            let is_base = site.base == Some(record.id()) && epoch < site.epoch;
            let current = epoch == site.epoch;
            let acts = || owner.is_some_and(|owner| self.acts(record, owner, site.as_of));
            (heeded && (is_base || (current && acts()))).then_some(is_base)
        });
        if let Some(base) = site.base.filter(|base| !self.set.knows(base)) {
            notes.waiting.push(Waiting {
                record: settings,
                missing: base,
            });
        }
        let mut deploys: Vec<DeployEffect> = history
            .0
            .iter()
            .filter(|entry| entry.stands())
            .map(|entry| DeployEffect {
                epoch: site.epoch,
                sequence: match entry.state {
                    Some(true) => 0,
                    _ => entry.record.envelope().sequence,
                },
                record: Arc::clone(entry.record),
            })
            .collect();
        deploys.sort_by_key(|deploy| std::cmp::Reverse((deploy.sequence, deploy.id())));
        let tips: BTreeSet<RecordId> = history.tips().into_iter().collect();
        let newest = deploys
            .iter()
            .map(DeployEffect::id)
            .filter(|id| tips.contains(id))
            .collect();
        (deploys, newest)
    }
}
