//! What this node can write: accounts, sites, names, deploys. Each method is one durable turn.

use super::{RegionView, SiteHistory, Turn, WriteError};
use crate::admin::SiteChange;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use verge_sync::digest::Digest;
use verge_sync::id::{AccountId, NodeId, ProviderId, SiteId};
use verge_sync::record::body::{
    Account, Actors, Deploy, HostProof, Name, NameKind, Site, Takeout, Tombstone, UserKey,
};
use verge_sync::record::effect::{
    AccountEffect, Actor, DeployEffect, NameEffect, SiteEffect, host_is_well_formed,
    label_is_well_formed,
};
use verge_sync::record::{Author, Effect, SEQUENCE_MAX};

/// A site to be made.
#[derive(Debug, Clone)]
pub struct NewSite {
    /// Its label.
    pub name: String,
    /// The account that it belongs to.
    pub owner: String,
    /// Further hosts.
    pub hosts: Vec<String>,
}

/// Who signs what changes an account or one of its sites.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// This node as actor, or its provider as sponsor.
    #[default]
    Member,
    /// The account itself. None of its keys is ever on a node: what is to be signed comes back as
    /// [`WriteError::ToSign`].
    Account,
}

/// What is to change of an account.
#[derive(Debug, Clone, Default)]
pub struct AccountEdit {
    /// Keys that it has from then on.
    pub add: Vec<UserKey>,
    /// Keys that it has no longer.
    pub remove: Vec<UserKey>,
    /// Which providers may act for it: `all`, `none`, or ids.
    pub acts: Option<Vec<String>>,
    /// Who signs the change.
    pub signer: Signer,
}

impl RegionView {
    /// Adds an account with login keys. Where its record came in already, signed elsewhere, it gets
    /// its name.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn add_account(
        self: &Arc<Self>,
        name: &str,
        keys: Vec<UserKey>,
    ) -> Result<(), WriteError> {
        let keys = user_keys(name, keys)?;
        self.write(|turn| {
            turn.check_label(NameKind::Account, name, None)?;
            let body = Account {
                display_name: name.to_owned(),
                keys,
                acts: Actors::All,
            };
            if let Some(id) = turn.nameless_account(&body.keys) {
                return turn.claim(id, NameKind::Account, name, id.digest());
            }
            let slot = turn.slot;
            let (author, effect) = turn.provider();
            let (id, record) = author.new_account(effect, slot, body)?;
            turn.add(record);
            turn.claim(id, NameKind::Account, name, id.digest())
        })
        .await
    }

    /// Changes an account's keys and whom it lets act.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn set_account(
        self: &Arc<Self>,
        name: &str,
        edit: AccountEdit,
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            let account = turn.account(name)?;
            let (id, mut body) = (account.id, account.body.clone());
            body.keys.retain(|key| !edit.remove.contains(key));
            for key in edit.add {
                if !body.keys.contains(&key) {
                    body.keys.push(key);
                }
            }
            check_key_count(name, body.keys.len())?;
            if let Some(words) = &edit.acts {
                body.acts = turn.actors(words)?;
            }
            let (author, effect) = turn.governor(edit.signer, id)?;
            let record = author.account(effect, id, body)?;
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// Makes a site with its label and hosts.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn create_site(self: &Arc<Self>, site: NewSite) -> Result<(), WriteError> {
        self.write(|turn| {
            let owner = turn.account(&site.owner)?;
            if !owner.body.acts.includes(&turn.slot.provider) {
                return Err(WriteError::NotAllowed(site.owner.clone()));
            }
            let owner = owner.id;
            turn.check_label(NameKind::Label, &site.name, Some(owner))?;
            let slot = turn.slot;
            let (id, record) = turn.node.new_site(&turn.effect, slot, Site::new(owner))?;
            turn.add(record);
            turn.claim(owner, NameKind::Label, &site.name, id.digest())?;
            site.hosts
                .iter()
                .try_for_each(|host| turn.claim_host(owner, id, host))
        })
        .await
    }

    /// Changes a site's settings.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn set_site(
        self: &Arc<Self>,
        name: &str,
        change: SiteChange,
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            let site = turn.site(name)?;
            let (id, owner, mut body) = (site.id, site.body.account, site.body.clone());
            let before = body.clone();
            if let Some(branch) = &change.branch {
                body.branch = branch_name(branch)?;
            }
            body.force = change.force.unwrap_or(body.force);
            body.quota_bytes = change.quota_bytes.unwrap_or(body.quota_bytes);
            body.private = change.private.unwrap_or(body.private);
            if let Some(words) = &change.admit {
                body.admit = turn.actors(words)?;
            }
            if let Some(public) = change.takeout_public {
                body.takeout = if public {
                    Takeout::Public
                } else {
                    Takeout::Owner
                };
            }
            if body != before {
                let record = turn.node.site(&turn.effect, id, body)?;
                turn.add(record);
            }
            for host in &change.remove_hosts {
                turn.give_up_host(id, host)?;
            }
            change
                .add_hosts
                .iter()
                .try_for_each(|host| turn.claim_host(owner, id, host))
        })
        .await
    }

    /// Ends a site for ever.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn delete_site(self: &Arc<Self>, name: &str) -> Result<(), WriteError> {
        self.write(|turn| {
            let site = turn.site(name)?;
            let id = site.id;
            if let Some(owner) = turn.effect.account(&site.body.account) {
                turn.check_sponsor(owner)?;
            }
            let (author, _) = turn.provider();
            let record = author.tombstone(
                id.digest(),
                Tombstone {
                    reason: String::new(),
                },
            )?;
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// Ends every deploy of a site's present epoch at once and begins anew with one of them: the one in
    /// place, or that of the version that begins with `wanted`. Actors that the account lets act no
    /// more are shut out from then on, whatever they have kept back.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn reset_site(
        self: &Arc<Self>,
        name: &str,
        wanted: Option<&str>,
        signer: Signer,
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            let site = turn.site(name)?;
            let (id, owner) = (site.id, site.body.account);
            let begins = |deploy: &&DeployEffect| {
                let version = deploy.body().version.to_string();
                wanted.is_none_or(|wanted| wanted.len() >= 4 && version.starts_with(wanted))
            };
            // Newest first: without a wish the one in place.
            let base = site.deploys.iter().find(begins).map(DeployEffect::id);
            if base.is_none() && wanted.is_some() {
                return Err(WriteError::NoVersion(name.to_owned()));
            }
            let (author, effect) = turn.governor(signer, owner)?;
            let record = author.new_epoch(effect, id, base)?;
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// Says no before a build is paid for, where this node could not deploy the site.
    ///
    /// # Errors
    /// [`WriteError::NoSite`], [`WriteError::NotAllowed`] or [`WriteError::NoSigningKey`].
    pub fn check_may_deploy(&self, site: SiteId, signer: Signer) -> Result<(), WriteError> {
        check_may_deploy(&self.effect(), (signer, self.keys.node()), site).map(drop)
    }

    /// Puts a version in place that is here whole; whose it is and by whom is filled in. A push says
    /// on which history of the site it is based; anything else carries on the one that is there.
    ///
    /// # Errors
    /// [`WriteError::PushedElsewhere`] when the history is another by now; [`WriteError`]. Nothing was
    /// written then.
    pub async fn deploy(
        self: &Arc<Self>,
        site: SiteId,
        deploy: Deploy,
        based_on: Option<&SiteHistory>,
        signer: Signer,
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            let node = turn.node.id().node();
            let account = check_may_deploy(&turn.effect, (signer, node), site)?;
            let standing = SiteHistory::of(&turn.effect, &site);
            let git = match based_on {
                Some(based_on) if based_on.key() != standing.key() => {
                    return Err(WriteError::PushedElsewhere);
                }
                Some(_) => deploy.git,
                None => standing.carried(deploy.git),
            };
            turn.open_epoch_if_full(site, account, signer)?;
            let body = Deploy {
                git,
                account,
                provider: turn.slot.provider,
                ..deploy
            };
            turn.whole.push(body.version);
            let record = match signer {
                Signer::Member => turn.node.deploy(&turn.effect, site, body)?,
                Signer::Account => {
                    let (author, effect) = turn.governor(signer, account)?;
                    author.deploy(effect, site, body)?
                }
            };
            turn.add(record);
            Ok(())
        })
        .await
    }
}

impl Turn<'_> {
    pub(super) fn account(&self, name: &str) -> Result<&AccountEffect, WriteError> {
        let account = self.effect.account_by_name(name);
        account.ok_or_else(|| WriteError::NoAccount(name.to_owned()))
    }

    pub(super) fn site(&self, name: &str) -> Result<&SiteEffect, WriteError> {
        let site = self.effect.site_by_label(name);
        site.ok_or_else(|| WriteError::NoSite(name.to_owned()))
    }

    /// Whether this provider governs the account.
    fn check_sponsor(&self, account: &AccountEffect) -> Result<(), WriteError> {
        if account.sponsor == self.slot.provider {
            return Ok(());
        }
        Err(WriteError::NotItsSponsor {
            account: account_called(&self.effect, &account.id),
            sponsor: super::provider_name(&self.effect, account.sponsor),
        })
    }

    /// Who signs for the account: its sponsor, which must be this provider, or itself.
    pub(super) fn governor(
        &mut self,
        signer: Signer,
        id: AccountId,
    ) -> Result<(&mut Author, &Effect), WriteError> {
        let account = self.effect.account(&id);
        match signer {
            Signer::Member => {
                account.map_or(Ok(()), |account| self.check_sponsor(account))?;
                Ok((&mut self.provider, &self.effect))
            }
            Signer::Account => {
                check_signs(&self.effect, &id)?;
                let author = Author::away(id, self.effect.region);
                Ok((self.account.insert(author), &self.effect))
            }
        }
    }

    /// An account of this provider with just these keys that never had a name: its record was signed
    /// away from the node, and what was to follow it did not.
    fn nameless_account(&self, keys: &[UserKey]) -> Option<AccountId> {
        let own = self.slot.provider;
        let is_meant = |account: &&AccountEffect| {
            !account.ended
                && account.slot.provider == own
                && account.body.keys == keys
                && self.effect.names_of(account.id.digest()).next().is_none()
        };
        let found = self.effect.accounts.values().find(is_meant);
        found.map(|account| account.id)
    }

    /// Whether `owner` (nobody yet, for a new account) can have the name.
    pub(super) fn check_label(
        &self,
        kind: NameKind,
        name: &str,
        owner: Option<AccountId>,
    ) -> Result<(), WriteError> {
        if !label_is_well_formed(name) {
            return Err(WriteError::NotAName(name.to_owned()));
        }
        if self.parameters.reserved.contains(name) {
            return Err(WriteError::Reserved(name.to_owned()));
        }
        match self.holder(kind, name) {
            Some(holder) if !self.may_reuse(holder, owner) => {
                Err(WriteError::NameTaken(name.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// A name of a site that has ended stays with its account, for another site of it.
    fn may_reuse(&self, holder: &NameEffect, owner: Option<AccountId>) -> bool {
        let site = self.effect.sites.get(&SiteId::from_digest(holder.id));
        owner == Some(holder.account) && site.is_some_and(|site| site.ended)
    }

    fn holder(&self, kind: NameKind, name: &str) -> Option<&NameEffect> {
        self.effect
            .names
            .iter()
            .find(|held| held.kind == kind && held.name == name && held.holds())
    }

    /// Claims a name; where this provider is the only one, the claim settles at once.
    /// A place whose site has ended is used again: first the one of this very name.
    pub(super) fn claim(
        &mut self,
        account: AccountId,
        kind: NameKind,
        name: &str,
        id: Digest,
    ) -> Result<(), WriteError> {
        self.settle()?;
        let body = Name {
            kind,
            name: name.to_owned(),
            id,
            proof: None,
        };
        let own = self.place_of_ended_site(account, |claim| claim.name == name);
        let free = || self.effect.free_name_index(&account, 0).is_some();
        let place = match own {
            None if !free() => self.place_of_ended_site(account, |_claim| true),
            own => own,
        };
        let record = match place {
            Some(index) => self.node.name(&self.effect, account, index, body)?,
            None => self.node.claim(&self.effect, account, body)?,
        };
        let claim = self.add(record).id();
        self.countersign_alone(claim)
    }

    fn place_of_ended_site(
        &self,
        account: AccountId,
        fits: impl Fn(&NameEffect) -> bool,
    ) -> Option<u8> {
        let own = self
            .effect
            .names
            .iter()
            .filter(|claim| claim.account == account);
        let mut ended = own.filter(|claim| {
            let site = self.effect.sites.get(&SiteId::from_digest(claim.id));
            site.is_some_and(|site| site.ended) && fits(claim)
        });
        ended.next().map(|claim| claim.index)
    }

    /// Gives a host up.
    fn give_up_host(&mut self, site: SiteId, host: &str) -> Result<(), WriteError> {
        self.settle()?;
        let claims = self.effect.names_of(site.digest());
        let claim = claims
            .into_iter()
            .find(|claim| claim.host.as_deref() == Some(host))
            .cloned();
        let claim = claim.ok_or_else(|| WriteError::NotItsHost(host.to_owned()))?;
        let body = Name {
            kind: claim.kind,
            name: String::new(),
            id: claim.id,
            proof: None,
        };
        let record = self
            .node
            .name(&self.effect, claim.account, claim.index, body)?;
        self.add(record);
        Ok(())
    }

    pub(super) fn claim_host(
        &mut self,
        account: AccountId,
        site: SiteId,
        host: &str,
    ) -> Result<(), WriteError> {
        let parsed = crate::host::Host::parse(host);
        let host = parsed.map_err(|_host| WriteError::NotAHost(host.to_owned()))?;
        let host = host.as_str();
        let step = &self.effect.chain.current().body;
        let (zone, proof) = (step.zones.site_zone.clone(), step.host_proof);
        if let Some(label) = host.strip_suffix(&format!(".{zone}")) {
            if !label_is_well_formed(label) {
                return Err(WriteError::HostInZone {
                    host: host.to_owned(),
                    zone,
                });
            }
            self.check_label(NameKind::Label, label, Some(account))?;
            return self.claim(account, NameKind::Label, label, site.digest());
        }
        if !host_is_well_formed(host) {
            return Err(WriteError::NotAHost(host.to_owned()));
        }
        if host == zone || is_in(host, &step.zones.admin_zone) {
            let host = host.to_owned();
            return Err(WriteError::HostOfRegion { host, zone });
        }
        self.settle()?;
        // Asked for again, a host that waits for its proof is looked at again.
        if proof == HostProof::Dns && self.claims(site, host) {
            return Ok(());
        }
        let holder = self.holder(NameKind::Host, host);
        if holder.is_some_and(|holder| !self.may_reuse(holder, Some(account))) {
            return Err(WriteError::HostTaken(host.to_owned()));
        }
        self.claim(account, NameKind::Host, host, site.digest())
    }

    fn claims(&self, site: SiteId, host: &str) -> bool {
        let mut claims = self.effect.names_of(site.digest());
        claims.any(|claim| claim.host.as_deref() == Some(host))
    }

    /// A site that used up its epoch gets the next one, beginning with what is in place.
    fn open_epoch_if_full(
        &mut self,
        site: SiteId,
        owner: AccountId,
        signer: Signer,
    ) -> Result<(), WriteError> {
        let head = self.effect.site(&site).and_then(SiteEffect::head);
        let Some(head) = head.filter(|head| head.sequence >= SEQUENCE_MAX) else {
            return Ok(());
        };
        let base = Some(head.id());
        let (author, effect) = self.governor(signer, owner)?;
        let record = author.new_epoch(effect, site, base)?;
        self.add(record);
        self.settle()
    }

    fn actors(&self, words: &[String]) -> Result<Actors, WriteError> {
        match words {
            [word] if word == "all" => Ok(Actors::All),
            [word] if word == "none" => Ok(Actors::NONE),
            ids => {
                let parse = |word: &String| {
                    let id = word.parse::<ProviderId>().ok();
                    let id = id.filter(|id| self.effect.chain.lists(id));
                    id.ok_or_else(|| WriteError::NoProvider(word.clone()))
                };
                Ok(Actors::These(
                    ids.iter().map(parse).collect::<Result<_, _>>()?,
                ))
            }
        }
    }
}

fn is_in(host: &str, zone: &str) -> bool {
    let rest = host.strip_suffix(zone);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a deploy by `node`, or by the account itself, would be in effect; gives the account that it
/// is for.
pub(super) fn check_may_deploy(
    effect: &Effect,
    (signer, node): (Signer, NodeId),
    site: SiteId,
) -> Result<AccountId, WriteError> {
    let known = effect
        .site(&site)
        .ok_or_else(|| WriteError::NoSite(site.short()))?;
    let account = known.body.account;
    if signer == Signer::Account {
        return check_signs(effect, &account).map(|()| account);
    }
    if effect.may_deploy(&site, Actor::Node(node)) {
        return Ok(account);
    }
    Err(WriteError::NotAllowed(account_called(effect, &account)))
}

/// Whether the account has a key that signs.
fn check_signs(effect: &Effect, id: &AccountId) -> Result<(), WriteError> {
    let account = effect.account(id);
    match account.and_then(|account| account.signing_keys().next()) {
        Some(_key) => Ok(()),
        None => Err(WriteError::NoSigningKey(account_called(effect, id))),
    }
}

/// What an account is called, or the beginning of its id.
pub(super) fn account_called(effect: &Effect, id: &AccountId) -> String {
    let name = effect.account_name(id);
    name.map_or_else(|| id.short(), str::to_owned)
}

/// A branch by its short name; empty for the default. The rules of git-check-ref-format(1).
fn branch_name(text: &str) -> Result<String, WriteError> {
    let name = text.strip_prefix("refs/heads/").unwrap_or(text);
    let bad_part = |part: &str| {
        part.is_empty() || part.starts_with('.') || part.ends_with(".lock") || part.ends_with('.')
    };
    let bad_character = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let refused = name.len() > 200
        || name.starts_with('-')
        || name.contains("..")
        || name.contains("@{")
        || name == "@"
        || name.chars().any(bad_character)
        || (!name.is_empty() && name.split('/').any(bad_part));
    if refused {
        Err(WriteError::NotABranch(text.to_owned()))
    } else {
        Ok(name.to_owned())
    }
}

fn user_keys(name: &str, mut keys: Vec<UserKey>) -> Result<Vec<UserKey>, WriteError> {
    keys.sort_unstable();
    keys.dedup();
    check_key_count(name, keys.len())?;
    Ok(keys)
}

fn check_key_count(name: &str, count: usize) -> Result<(), WriteError> {
    match count {
        0 => Err(WriteError::LastKey(name.to_owned())),
        1..=16 => Ok(()),
        _ => Err(WriteError::TooManyKeys(name.to_owned())),
    }
}
