//! What the people of a region do at one node, if it can be done here and now.

use crate::dice::Dice;
use crate::member::Member;
use crate::scene::{account_body, deploy_body, log, name_body, provider_key, seed, slot};
use ed25519_dalek::SigningKey;
use verge_sync::record::effect::{Actor, NameEffect, NameStatus};
use verge_sync::record::{
    Account, Actors, Author, Effect, NameKind, Record, Region, RemovalList, Site, Takedown,
    Tombstone, UserKey,
};
use verge_sync::{AccountId, Digest, ProviderId, RecordId, SiteId};

impl Member {
    /// Something that people do.
    pub(crate) fn act(&mut self, dice: &mut Dice) {
        let Some(effect) = self.effect() else { return };
        if !effect.nodes.contains_key(&self.id) {
            self.join(&effect);
            return;
        }
        match dice.below(40) {
            0..=2 => self.add_account(&effect, dice),
            3..=6 => self.add_site(&effect, dice),
            7 | 8 => self.claim(&effect, dice),
            9 | 10 => self.vote_for_names(&effect),
            11 | 12 => self.propose(&effect, dice),
            13..=16 => self.vote(&effect),
            17 | 18 => self.change_account(&effect, dice),
            19 | 20 => self.change_site(&effect, dice),
            21 => self.take_down(&effect, dice),
            22 => self.end(&effect, dice),
            23..=25 => self.sign(&effect, dice),
            _ => self.deploy(&effect, dice),
        }
    }

    fn own_provider(&self) -> ProviderId {
        slot(self.number).provider
    }

    fn join(&mut self, effect: &Effect) {
        let transport = seed(self.number).transport_key();
        let body = crate::scene::node_body(self.number).proven(
            &effect.region,
            slot(self.number),
            &transport,
        );
        let record = self
            .provider
            .node_record(effect, slot(self.number), body)
            .unwrap();
        let is_known = effect.chain.knows(&self.own_provider());
        assert_eq!(self.write(record), is_known, "a provider has its node");
    }

    fn add_account(&mut self, effect: &Effect, dice: &mut Dice) {
        let name = format!("account-{}-{}", self.number, dice.below(1_000_000));
        let body = self.account_body(&name, dice);
        if let Ok((_, record)) = self.provider.new_account(effect, slot(self.number), body) {
            self.write(record);
        }
    }

    /// One with a key that may sign, which this node's people have.
    fn account_body(&self, name: &str, dice: &mut Dice) -> Account {
        let acts = match dice.below(4) {
            0 | 1 => Actors::All,
            2 => Actors::These(vec![self.own_provider()]),
            _ => Actors::NONE,
        };
        let key = UserKey::Signing(self.key(dice).verifying_key().to_bytes());
        let mut body = account_body(name);
        body.keys.push(key);
        body.acts = acts;
        body
    }

    /// One of two keys of this node's publishers.
    fn key(&self, dice: &mut Dice) -> SigningKey {
        let which = u8::try_from(dice.below(2)).unwrap();
        SigningKey::from_bytes(&[60 + 2 * self.number + which; 32])
    }

    fn add_site(&mut self, effect: &Effect, dice: &mut Dice) {
        let accounts: Vec<_> = effect.accounts.values().collect();
        let own = slot(self.number);
        let Some(account) = dice.pick(&accounts) else {
            return;
        };
        if !account.body.acts.includes(&own.provider) {
            return;
        }
        if let Ok((_, record)) = self.node.new_site(effect, own, Site::new(account.id)) {
            self.write(record);
        }
    }

    fn claim(&mut self, effect: &Effect, dice: &mut Dice) {
        let Some((site, account)) = self.own_site(effect, dice) else {
            return;
        };
        // Few names for many sites: they collide.
        let name = ["garden", "bakery", "choir"][dice.below(3)];
        let body = name_body(NameKind::Label, name, site.digest());
        if let Ok(record) = self.node.claim(effect, account, body) {
            self.write(record);
        }
    }

    /// An honest node votes for one claim of each name.
    fn vote_for_names(&mut self, effect: &Effect) {
        let held = |name: &&NameEffect| name.status == NameStatus::Provisional;
        for claim in effect.names.iter().filter(held) {
            let Some(host) = &claim.host else { continue };
            if self.voted_names.insert(host.clone()) {
                let record = self.node.vote(claim.record).unwrap();
                self.write(record);
            }
        }
    }

    fn own_site(&self, effect: &Effect, dice: &mut Dice) -> Option<(SiteId, AccountId)> {
        let sites: Vec<_> = effect
            .sites
            .values()
            .filter(|site| effect.may_deploy(&site.id, Actor::Node(self.id)))
            .map(|site| (site.id, site.body.account))
            .collect();
        dice.pick(&sites).copied()
    }

    fn deploy(&mut self, effect: &Effect, dice: &mut Dice) {
        let Some((site, account)) = self.own_site(effect, dice) else {
            return;
        };
        let time = [0, 1_800_000_000, i64::MAX][dice.below(3)];
        let content = format!("{}-{}", self.number, dice.below(1_000_000));
        let mut body = deploy_body(&content, account, time);
        body.provider = self.own_provider();
        if let Ok(record) = self.node.deploy(effect, site, body) {
            self.accept(record);
        }
    }

    fn accept(&mut self, deploy: Record) {
        let id = deploy.id();
        if self.write(deploy) {
            self.acknowledged.insert(id);
        }
    }

    /// A publisher's own key signs what a node of a blocked provider could not.
    fn sign(&mut self, effect: &Effect, dice: &mut Dice) {
        let (key, region) = (self.key(dice), effect.region);
        let public = key.verifying_key().to_bytes();
        let signs = |id: &AccountId| {
            let keys = effect
                .accounts
                .get(id)
                .map(|account| account.signing_keys());
            keys.is_some_and(|mut keys| keys.any(|of| *of == public))
        };
        let sites: Vec<_> = effect
            .sites
            .values()
            .filter(|site| !site.ended && signs(&site.body.account))
            .collect();
        let Some(site) = dice.pick(&sites) else {
            return;
        };
        let account = site.body.account;
        let count = u64::try_from(dice.below(1_000_000)).unwrap();
        let mut own = Author::account_key(account, key, region, (log(100 + self.number), count));
        match dice.below(5) {
            0 => {
                let body = self.account_body("own", dice);
                let record = own.account(effect, account, body).unwrap();
                self.write(record);
            }
            1 => {
                let base = site.head().map(|deploy| deploy.id());
                let record = own.new_epoch(effect, site.id, base).unwrap();
                self.write(record);
            }
            _ => {
                let body = deploy_body(&format!("own {count}"), account, 0);
                if let Ok(record) = own.deploy(effect, site.id, body) {
                    self.accept(record);
                }
            }
        }
    }

    /// The sponsor changes keys and `acts`.
    fn change_account(&mut self, effect: &Effect, dice: &mut Dice) {
        let own = self.own_provider();
        let accounts = effect.accounts.values();
        let accounts: Vec<_> = accounts.filter(|account| account.sponsor == own).collect();
        let Some(account) = dice.pick(&accounts) else {
            return;
        };
        let id = account.id;
        let body = self.account_body(&account.body.display_name, dice);
        let record = self.provider.account(effect, id, body).unwrap();
        self.write(record);
    }

    /// The sponsor raises the epoch, or gives the site to another account.
    fn change_site(&mut self, effect: &Effect, dice: &mut Dice) {
        let own = self.own_provider();
        let sponsor = |site: &Site| effect.accounts.get(&site.account).map(|of| of.sponsor);
        let sites = effect.sites.values();
        let sites: Vec<_> = sites
            .filter(|site| sponsor(&site.body) == Some(own))
            .collect();
        let accounts: Vec<AccountId> = effect.accounts.keys().copied().collect();
        let Some((site, account)) = dice.pick(&sites).zip(dice.pick(&accounts)) else {
            return;
        };
        let record = if dice.once_in(3) {
            let body = Site {
                account: *account,
                ..site.body.clone()
            };
            self.provider.site(effect, site.id, body)
        } else {
            let deploys: Vec<_> = site.deploys.iter().map(|deploy| deploy.id()).collect();
            let base = dice.pick(&deploys).copied();
            self.provider.new_epoch(effect, site.id, base)
        };
        self.write(record.unwrap());
    }

    fn take_down(&mut self, effect: &Effect, dice: &mut Dice) {
        let sites = effect.sites.keys().map(SiteId::digest);
        let targets: Vec<Digest> = sites
            .chain(effect.accounts.keys().map(AccountId::digest))
            .collect();
        let Some(target) = dice.pick(&targets).copied() else {
            return;
        };
        let (active, reason) = (dice.once_in(2), String::new());
        let body = Takedown { active, reason };
        let record = self.provider.takedown(effect, target, body).unwrap();
        self.write(record);
    }

    /// Something ends: a site, an account, a membership.
    fn end(&mut self, effect: &Effect, dice: &mut Dice) {
        let own = self.own_provider();
        let sponsor = |id: &AccountId| effect.accounts.get(id).map(|of| of.sponsor) == Some(own);
        let sites = effect.sites.values();
        let sites: Vec<Digest> = sites
            .filter(|site| sponsor(&site.body.account))
            .map(|site| site.id.digest())
            .collect();
        let accounts = effect.accounts.keys();
        let accounts: Vec<Digest> = accounts
            .filter(|id| sponsor(id))
            .map(AccountId::digest)
            .collect();
        let record = match dice.below(12) {
            0 => self.node.leave(""),
            1 => self.provider.leave(""),
            2 if !accounts.is_empty() => {
                let reason = String::new();
                let of = *dice.pick(&accounts).unwrap();
                self.provider.tombstone(of, Tombstone { reason })
            }
            _ => {
                let Some(site) = dice.pick(&sites) else {
                    return;
                };
                let reason = String::new();
                self.provider.tombstone(*site, Tombstone { reason })
            }
        };
        self.write(record.unwrap());
    }

    fn propose(&mut self, effect: &Effect, dice: &mut Dice) {
        let current = effect.chain.current();
        if !self.voted_after.insert(current.id) {
            return;
        }
        let step = self.next_step(effect, dice);
        if let Ok(record) = self.provider.step(effect, step) {
            self.write(record);
        }
    }

    fn next_step(&mut self, effect: &Effect, dice: &mut Dice) -> Region {
        let mut step = effect.chain.current().body.clone();
        let accounts: Vec<AccountId> = effect.accounts.keys().copied().collect();
        match dice.below(6) {
            0 | 1 if step.providers.len() > 1 => self.remove(effect, &mut step, dice),
            2 => {
                let providers: Vec<ProviderId> = step.providers.iter().map(|row| row.id).collect();
                if let Some((account, of)) = dice.pick(&accounts).zip(dice.pick(&providers)) {
                    step.sponsors.insert(*account, *of);
                }
            }
            3 => {
                let sites: Vec<_> = effect.sites.keys().map(SiteId::digest).collect();
                step.takedowns.extend(dice.pick(&sites));
            }
            _ => {
                step.policy = format!("# by {} in turn {}\n", self.number, dice.below(1_000_000));
            }
        }
        step
    }

    fn remove(&mut self, effect: &Effect, step: &mut Region, dice: &mut Dice) {
        let own = self.own_provider();
        let others = step.providers.iter().map(|row| row.id);
        let others: Vec<ProviderId> = others.filter(|id| *id != own).collect();
        if let Some(gone) = dice.pick(&others) {
            self.remove_from(effect, step, *gone);
        }
    }

    /// Proposes to remove a provider, if it has not voted for anything else; gives the step.
    pub(crate) fn expel(&mut self, gone: ProviderId) -> Option<RecordId> {
        let effect = self.effect()?;
        let current = effect.chain.current();
        let mut step = current.body.clone();
        step.provider(&gone)
            .filter(|_| self.voted_after.insert(current.id))?;
        self.remove_from(&effect, &mut step, gone);
        let record = self.provider.step(&effect, step).ok()?;
        let id = record.id();
        self.write(record).then_some(id)
    }

    /// What is known of the provider's records now stays.
    fn remove_from(&mut self, effect: &Effect, step: &mut Region, gone: ProviderId) {
        let list = RemovalList::of(effect, gone.into());
        step.providers.retain(|row| row.id != gone);
        step.removed.insert(gone.into(), list.digest());
        self.learn(list);
    }

    /// An honest provider votes for one step after each.
    pub(crate) fn vote(&mut self, effect: &Effect) {
        let current = effect.chain.current();
        let empty = RemovalList::new(Default::default()).digest();
        let knows = |list: &Digest| *list == empty || self.lists.contains_key(list);
        // Not for a removal whose list it could not read.
        let mut proposals = effect.chain.proposals.iter();
        let Some(proposal) = proposals.find(|of| of.step.body.removed.values().all(knows)) else {
            return;
        };
        let step = proposal.step.id;
        if self.voted_after.insert(current.id) {
            let record = self.provider.vote(step).unwrap();
            self.write(record);
        }
        if let Some(paper) = &mut self.paper
            && self.paper_voted_after.insert(current.id)
        {
            let record = paper.vote(step).unwrap();
            self.write(record);
        }
    }
}

/// The key on paper of a region.
pub(crate) fn paper_key() -> verge_sync::keys::ProviderKey {
    provider_key(50)
}
