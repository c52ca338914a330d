//! Names: who holds which, and what becomes of the others.
//!
//! A claim works at once. Of several claims of one name a settled one goes before a provisional one,
//! then the lower RecordId; a loser keeps everything under `NAME-xxxx`.
//!
//! Two sides of a partition may have voted for different claims, so that neither ever has a majority.
//! Then none settles: the lower RecordId holds the name everywhere, the other works under its second
//! name, and both stay provisional until one is given up.

use super::accounts::AccountEffect;
use super::history::{History, Notes};
use super::members::{Member, Members};
use super::sites::SiteEffect;
use super::votes::{self, Ballot, Candidate};
use super::{RecordSet, Tips, name_body};
use crate::digest::Digest;
use crate::id::{AccountId, NodeId, RecordId, SiteId};
use crate::record::body::{HostProof, Name, NameKind};
use crate::record::envelope::Record;
use crate::record::kinds::{Kind, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// How many providers' nodes must see a host's proof, and no longer see it; all, if there are fewer.
pub const PROVING_PROVIDERS: usize = 2;
/// The longest label that can be claimed.
pub const LABEL_BYTES_MAX: usize = 32;

/// A claim that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameEffect {
    /// The record.
    pub record: RecordId,
    /// Whose claim it is, and which of its 64.
    pub account: AccountId,
    /// Which of the account's 64 it is.
    pub index: u8,
    /// What kind of name.
    pub kind: NameKind,
    /// The name that is in effect: the one claimed, or `NAME-xxxx`.
    pub name: String,
    /// The host that a visitor asks for, where the name names a site.
    pub host: Option<String>,
    /// What was claimed: all claims of the same compete with one another.
    pub wanted: Wanted,
    /// The account or site.
    pub id: Digest,
    /// How it stands.
    pub status: NameStatus,
    /// The nodes whose vote for it counts; for a host, those that saw its proof.
    pub voters: BTreeSet<NodeId>,
    /// The nodes that saw a host's proof once and no longer do.
    pub doubters: BTreeSet<NodeId>,
}

/// What claims compete for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// A name that an account is found by.
    Account(String),
    /// A host, that of a label too.
    Host(String),
}

/// How a claim stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameStatus {
    /// In effect; not yet countersigned by nodes of most providers.
    Provisional,
    /// In effect, and countersigned.
    Settled,
    /// Another holds the name: this one works under another, its publisher is told.
    Renamed {
        /// What was claimed.
        claimed: String,
    },
    /// Another holds the host.
    Lost,
    /// Not in effect until its DNS proof was seen by nodes of enough providers.
    Unproved,
    /// Not in effect: nodes of enough providers saw its DNS proof once and no longer do.
    Suspended,
    /// Not in effect: reserved, malformed, inside the region's zones, or not the account's to give.
    Refused,
}

impl NameEffect {
    /// Whether the name, as [`NameEffect::name`] says it, is in effect.
    #[must_use]
    pub fn holds(&self) -> bool {
        use NameStatus::{Provisional, Renamed, Settled};
        matches!(self.status, Provisional | Settled | Renamed { .. })
    }
}

/// Whether `label` is `[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?` without `--`, so without `xn--` too.
#[must_use]
pub fn label_is_well_formed(label: &str) -> bool {
    label.len() <= LABEL_BYTES_MAX && part_is_well_formed(label) && !label.contains("--")
}

/// A host of two or more parts, each as DNS allows, in lower case.
#[must_use]
pub fn host_is_well_formed(host: &str) -> bool {
    host.len() <= 253
        && host.contains('.')
        && host
            .split('.')
            .all(|part| part.len() <= 63 && part_is_well_formed(part))
}

fn part_is_well_formed(part: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !part.is_empty() && !part.starts_with('-') && !part.ends_with('-') && part.bytes().all(plain)
}

/// All that names depend on.
pub(super) struct Scene<'a> {
    pub(super) set: &'a RecordSet<'a>,
    pub(super) members: &'a Members,
    pub(super) accounts: &'a BTreeMap<AccountId, AccountEffect>,
    pub(super) sites: &'a BTreeMap<SiteId, SiteEffect>,
}

pub(super) fn read(
    scene: &Scene<'_>,
    reserved: &BTreeSet<String>,
    notes: &mut Notes,
    tips: &mut Tips,
) -> Vec<NameEffect> {
    let mut claims = claims(scene, notes, tips);
    claims.sort_by_key(|claim| claim.record);
    for claim in &mut claims {
        if !scene.is_claimable(claim, reserved) {
            claim.status = NameStatus::Refused;
        }
    }
    let ballots = votes::read(scene.set, scene.members, &candidates(&claims), notes);
    let nobody = Ballot::default();
    for claim in &mut claims {
        let ballot = ballots.get(&claim.record).unwrap_or(&nobody);
        claim.voters.clone_from(&ballot.voters);
        claim.doubters.clone_from(&ballot.doubters);
        if claim.holds() {
            claim.status = scene.standing(claim, ballot);
        }
    }
    let holders = holders(&claims);
    rename_losers(
        &mut claims,
        &holders,
        &scene.members.chain.current().body.zones.site_zone,
    );
    claims
}

fn candidates(claims: &[NameEffect]) -> BTreeMap<RecordId, Candidate> {
    let candidate = |claim: &NameEffect| Candidate {
        wanted: claim.wanted.clone(),
        is_proved: claim.kind == NameKind::Host,
    };
    let rows = claims.iter().map(|claim| (claim.record, candidate(claim)));
    rows.collect()
}

impl Wanted {
    /// What a claim of `name` wants, whose host is `host`.
    fn of(host: Option<&String>, name: &str) -> Self {
        match host {
            Some(host) => Self::Host(host.clone()),
            None => Self::Account(name.to_owned()),
        }
    }
}

/// The latest claim of every place; none where it was given up.
fn claims(scene: &Scene<'_>, notes: &mut Notes, tips: &mut Tips) -> Vec<NameEffect> {
    let zone = &scene.members.chain.current().body.zones.site_zone;
    let mut found = Vec::new();
    for (subject, records) in scene.set.subjects(Kind::NAME) {
        let Subject::Name(account, index) = subject else {
            continue;
        };
        let Some(owner) = scene.accounts.get(&account).filter(|owner| !owner.ended) else {
            continue;
        };
        let history = History::read(records, notes, |record, _| {
            let body = name_body(record).filter(|_| scene.members.heeds(scene.set, record))?;
            let is_anchor = owner.governs(record, scene.members);
            (is_anchor || may_claim(scene, owner, record)).then_some((body, is_anchor))
        });
        let Some((record, body)) = latest(&history) else {
            continue;
        };
        tips.insert((Kind::NAME, subject.encode()), vec![record]);
        if !body.name.is_empty() {
            let (kind, host) = host_of(body, zone);
            found.push(NameEffect {
                record,
                account,
                index,
                kind,
                name: body.name.clone(),
                wanted: Wanted::of(host.as_ref(), &body.name),
                host,
                id: body.id,
                status: NameStatus::Provisional,
                voters: BTreeSet::new(),
                doubters: BTreeSet::new(),
            });
        }
    }
    found
}

/// A node may make a first claim if the account ever let it act; change one, if it does now.
fn may_claim(scene: &Scene<'_>, owner: &AccountEffect, record: &Record) -> bool {
    let Some(Member::Node(_, slot)) = scene.members.author(record) else {
        return false;
    };
    if record.envelope().predecessors.is_empty() {
        owner.lets_act(&slot.provider, None)
    } else {
        owner.body.acts.includes(&slot.provider)
    }
}

fn latest<'a>(history: &History<'_, (&'a Name, bool)>) -> Option<(RecordId, &'a Name)> {
    let anchor = history
        .0
        .iter()
        .rposition(|e| e.stands() && e.state.is_some_and(|(_, anchors)| anchors));
    let after = anchor.map(|root| history.descendants(root));
    let (_, entry) = history.0.iter().enumerate().rev().find(|(index, entry)| {
        let follows = after
            .as_ref()
            .is_none_or(|after| after.get(*index) == Some(&true));
        entry.stands() && follows
    })?;
    Some((entry.record.id(), entry.state?.0))
}

/// A host right under the site zone is a label, however it was claimed.
fn host_of(body: &Name, site_zone: &str) -> (NameKind, Option<String>) {
    match body.kind {
        NameKind::Account => (NameKind::Account, None),
        NameKind::Label => (NameKind::Label, Some(format!("{}.{site_zone}", body.name))),
        NameKind::Host => {
            let label = label_under(&body.name, site_zone).filter(|label| !label.contains('.'));
            let kind = if label.is_some() {
                NameKind::Label
            } else {
                NameKind::Host
            };
            (kind, Some(body.name.clone()))
        }
    }
}

fn label_under<'n>(host: &'n str, zone: &str) -> Option<&'n str> {
    host.strip_suffix(zone)?.strip_suffix('.')
}

impl Scene<'_> {
    fn is_claimable(&self, claim: &NameEffect, reserved: &BTreeSet<String>) -> bool {
        let zones = &self.members.chain.current().body.zones;
        let free = |label: &str| label_is_well_formed(label) && !reserved.contains(label);
        let named = match claim.kind {
            NameKind::Account => return free(&claim.name) && claim.id == claim.account.digest(),
            NameKind::Label => {
                let host = claim.host.as_deref().unwrap_or_default();
                label_under(host, &zones.site_zone).is_some_and(free)
            }
            NameKind::Host => {
                let inside =
                    |zone: &str| claim.name == zone || label_under(&claim.name, zone).is_some();
                let taken = inside(&zones.site_zone) || inside(&zones.admin_zone);
                host_is_well_formed(&claim.name) && !taken
            }
        };
        // The names of a site that ended stay with its account: links and trust outlive a site.
        let site = self.sites.get(&SiteId::from_digest(claim.id));
        named && site.is_some_and(|site| site.body.account == claim.account)
    }

    /// A host that was proved to enough providers stays in effect until as many no longer see it:
    /// one provider whose DNS fails takes no site down.
    fn standing(&self, claim: &NameEffect, ballot: &Ballot) -> NameStatus {
        let step = &self.members.chain.current().body;
        let proves = claim.kind == NameKind::Host && step.host_proof == HostProof::Dns;
        let needed = step.providers.len().min(PROVING_PROVIDERS);
        if proves && ballot.ever_for_it() < needed {
            NameStatus::Unproved
        } else if proves && ballot.doubting.len() >= needed {
            NameStatus::Suspended
        } else if ballot.for_it.len() >= step.majority() {
            NameStatus::Settled
        } else {
            NameStatus::Provisional
        }
    }
}

/// For each name, the claim that holds it: settled first, then the lower RecordId.
fn holders(claims: &[NameEffect]) -> BTreeMap<Wanted, RecordId> {
    let mut holders: BTreeMap<Wanted, (bool, RecordId)> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| claim.holds()) {
        let rank = (claim.status != NameStatus::Settled, claim.record);
        let best = holders.entry(claim.wanted.clone()).or_insert(rank);
        *best = rank.min(*best);
    }
    holders
        .into_iter()
        .map(|(key, (_, record))| (key, record))
        .collect()
}

fn rename_losers(claims: &mut [NameEffect], holders: &BTreeMap<Wanted, RecordId>, site_zone: &str) {
    let holds: BTreeMap<RecordId, Digest> = claims
        .iter()
        .map(|claim| (claim.record, claim.id))
        .collect();
    let mut taken: BTreeSet<Wanted> = holders.keys().cloned().collect();
    for claim in claims.iter_mut().filter(|claim| claim.holds()) {
        let holder = holders.get(&claim.wanted);
        let own = holder.and_then(|holder| holds.get(holder)) == Some(&claim.id);
        if holder == Some(&claim.record) || own {
            continue;
        }
        if claim.kind == NameKind::Host {
            claim.status = NameStatus::Lost;
            continue;
        }
        let claimed = claim.label(site_zone).to_owned();
        let digits = claim.id.to_string();
        // Four digits of the id; more only where somebody holds exactly that name.
        for length in 4..=digits.len() {
            let name = format!("{claimed}-{}", digits.get(..length).unwrap_or(&digits));
            claim.host = claim.host.is_some().then(|| format!("{name}.{site_zone}"));
            claim.name = name;
            if taken.insert(Wanted::of(claim.host.as_ref(), &claim.name)) {
                break;
            }
        }
        claim.status = NameStatus::Renamed { claimed };
    }
}

impl NameEffect {
    /// The label alone, however the name was claimed.
    fn label(&self, site_zone: &str) -> &str {
        match &self.host {
            Some(host) => label_under(host, site_zone).unwrap_or(&self.name),
            None => &self.name,
        }
    }
}
