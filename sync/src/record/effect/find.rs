//! Questions that a node asks of what holds.

use super::members::is_valid;
use super::{AccountEffect, Effect, NameEffect, SiteEffect};
use crate::digest::Digest;
use crate::id::{AccountId, NodeId, ProviderId, RecordId, SiteId};
use crate::record::envelope::{AuthorId, Record};
use crate::record::kinds::{Kind, NAME_COUNT, Slot, is_allowed};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who wants to act for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A node of the region.
    Node(NodeId),
    /// A raw Ed25519 key of the account.
    Key([u8; 32]),
}

impl Effect {
    /// Whether a record of one of the edge's kinds may count: its author is or was a node of the region,
    /// and no removal makes the record void.
    #[must_use]
    pub fn heeds_of_node(&self, record: &Record) -> bool {
        self.nodes.contains_key(&record.envelope().author.node())
            && is_valid(&self.index.removed, &self.nodes, record)
    }

    /// The account that holds `name`.
    #[must_use]
    pub fn account_by_name(&self, name: &str) -> Option<&AccountEffect> {
        self.account(self.index.account_names.get(name)?)
    }

    /// The accounts that the SSH key with this SHA-256 may log in to.
    pub fn accounts_by_ssh_key(&self, sha256: &[u8; 32]) -> impl Iterator<Item = &AccountEffect> {
        let ids = self.index.ssh_keys.get(sha256).into_iter().flatten();
        ids.filter_map(|id| self.account(id))
    }

    /// The account, unless it ended.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&AccountEffect> {
        self.accounts.get(id).filter(|account| !account.ended)
    }

    /// The name that an account is found by.
    #[must_use]
    pub fn account_name(&self, id: &AccountId) -> Option<&str> {
        let name = self
            .names_of(id.digest())
            .find(|name| name.host.is_none() && name.holds());
        name.map(|name| name.name.as_str())
    }

    /// The site, unless it ended.
    #[must_use]
    pub fn site(&self, id: &SiteId) -> Option<&SiteEffect> {
        self.sites.get(id).filter(|site| !site.ended)
    }

    /// The site whose host is `label` under the site zone.
    #[must_use]
    pub fn site_by_label(&self, label: &str) -> Option<&SiteEffect> {
        self.site(self.index.labels.get(label)?)
    }

    /// The site that a visitor of `host` (lower case, no trailing dot) gets.
    #[must_use]
    pub fn site_by_host(&self, host: &str) -> Option<&SiteEffect> {
        self.site(self.index.hosts.get(host)?)
    }

    /// Every host in effect, with its site.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, SiteId)> {
        self.index
            .hosts
            .iter()
            .map(|(host, site)| (host.as_str(), *site))
    }

    /// The hosts in effect of one site, labels first.
    #[must_use]
    pub fn hosts_of(&self, id: &SiteId) -> Vec<&str> {
        let mut names: Vec<&NameEffect> = self
            .names_of(id.digest())
            .filter(|name| name.holds())
            .collect();
        names.sort_by_key(|name| (name.kind, &name.name));
        let mut hosts: Vec<&str> = names
            .iter()
            .filter_map(|name| name.host.as_deref())
            .collect();
        let mut seen = BTreeSet::new();
        hosts.retain(|host| seen.insert(*host));
        hosts
    }

    /// The claims that name an account or a site, also those without effect.
    pub fn names_of(&self, id: Digest) -> impl Iterator<Item = &NameEffect> {
        let positions = self.index.names_of.get(&id).into_iter().flatten();
        positions.filter_map(|position| self.names.get(*position))
    }

    /// The sites of an account that have not ended.
    pub fn sites_of(&self, account: &AccountId) -> impl Iterator<Item = &SiteEffect> {
        let account = *account;
        self.sites
            .values()
            .filter(move |site| !site.ended && site.body.account == account)
    }

    /// Whether a deploy by `actor` would be in effect.
    #[must_use]
    pub fn may_deploy(&self, site: &SiteId, actor: Actor) -> bool {
        let Some(site) = self.site(site) else {
            return false;
        };
        let Some(account) = self.account(&site.body.account) else {
            return false;
        };
        match actor {
            Actor::Key(key) => account.keys.contains(&key),
            Actor::Node(node) => self.nodes.get(&node).is_some_and(|node| {
                // What the account says now: an accepting node does not use a right that is gone.
                account.body.acts.includes(&node.slot.provider)
            }),
        }
    }

    /// Whether nodes of `provider` serve the site: no takedown binds them, and nothing ended.
    #[must_use]
    pub fn serves(&self, provider: &ProviderId, site: &SiteId) -> bool {
        let Some(site) = self.site(site) else {
            return false;
        };
        let step = &self.chain.current().body;
        [site.id.digest(), site.body.account.digest()]
            .iter()
            .all(|target| {
                !step.takedowns.contains(target) && !self.takedowns.contains(&(*provider, *target))
            })
    }

    /// The record, if it is known.
    #[must_use]
    pub fn record(&self, id: &RecordId) -> Option<&Arc<Record>> {
        let known = &self.index.known;
        let at = known.binary_search_by_key(id, |record| record.id()).ok()?;
        known.get(at)
    }

    /// Every record that is known, by id.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.index.known.iter()
    }

    /// The author's own record of a subject at `sequence` of `epoch`, or the last after it, whatever
    /// it means: writing there again would be equivocation.
    pub(in crate::record) fn own_from(
        &self,
        (kind, subject): (Kind, &[u8]),
        author: AuthorId,
        (epoch, sequence): (u32, u32),
    ) -> Option<(u32, RecordId)> {
        let waits = |id: &RecordId| self.waiting.iter().any(|waiting| waiting.record == *id);
        let own = self
            .index
            .known
            .iter()
            .map(|record| (record.envelope(), record.id()));
        own.filter(|(envelope, id)| {
            (envelope.kind, envelope.subject.as_slice()) == (kind, subject)
                && (envelope.author, envelope.epoch) == (author, epoch)
                && envelope.sequence >= sequence
                && !waits(id)
        })
        .map(|(envelope, id)| (envelope.sequence, id))
        .max_by_key(|(sequence, id)| (*sequence, std::cmp::Reverse(*id)))
    }

    /// What the next record of a subject names as predecessors: what stands, or a site's tips.
    #[must_use]
    pub fn tips(&self, kind: Kind, subject: &[u8]) -> &[RecordId] {
        self.index
            .tips
            .get(&(kind, subject.to_vec()))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// A place of the account's 64 for names that was never used: the first from `first` (taken
    /// modulo 64) on, and round to those before it.
    #[must_use]
    pub fn free_name_index(&self, account: &AccountId, first: u8) -> Option<u8> {
        let used = self.index.name_indices.get(account);
        (0..NAME_COUNT)
            .map(|step| (first % NAME_COUNT + step) % NAME_COUNT)
            .find(|index| used.is_none_or(|used| !used.contains(index)))
    }

    /// The lowest counter at `slot` that no account ever had.
    #[must_use]
    pub fn free_account_counter(&self, slot: Slot) -> Option<u16> {
        let allowance = self.chain.current().body.limits.account_allowance;
        free(self.index.account_counters.get(&slot), allowance)
    }

    /// The lowest counter at `slot` that no site ever had.
    #[must_use]
    pub fn free_site_counter(&self, slot: Slot) -> Option<u16> {
        let allowance = self.chain.current().body.limits.site_allowance;
        free(self.index.site_counters.get(&slot), allowance)
    }
}

fn free(used: Option<&BTreeSet<u16>>, allowance: u32) -> Option<u16> {
    let is_free = |counter: &u16| used.is_none_or(|used| !used.contains(counter));
    (0..=u16::MAX)
        .take_while(|counter| is_allowed(*counter, allowance))
        .find(is_free)
}
