//! What this node's provider writes about the region itself: steps, votes, nodes, leaving.

use super::{RegionView, Turn, WriteError};
use std::sync::Arc;
use verge_sync::digest::Digest;
use verge_sync::id::{AccountId, NodeId, ProviderId, RecordId, SiteId};
use verge_sync::keys::ProviderKey;
use verge_sync::net::row;
use verge_sync::record::body::{Acme, HostProof, Limits, Node, Provider, Region, Roles, Takedown};
use verge_sync::record::effect::NodeEffect;
use verge_sync::record::kinds::SLOT_COUNT;
use verge_sync::record::{Author, Effect, Kind, Record, RemovalList, Slot};

/// What a step can change; absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct StepChange {
    /// A provider to be removed, by its id, the beginning of it, or its name.
    pub remove: Option<String>,
    /// Sites and accounts that no node serves from now on, by name.
    pub take_down: Vec<String>,
    /// Sites and accounts whose takedown ends, by name.
    pub lift: Vec<String>,
    /// Accounts that get another sponsor: the account's name, and the provider.
    pub sponsors: Vec<(String, String)>,
    /// The name of the region.
    pub name: Option<String>,
    /// The zone of the sites.
    pub site_zone: Option<String>,
    /// The zone of the admin pages.
    pub admin_zone: Option<String>,
    /// Whether hosts outside of the site zone are proved by DNS.
    pub dns_proof: Option<bool>,
    /// The highest format that members may write.
    pub format: Option<u32>,
    /// TOML.
    pub policy: Option<String>,
    /// Accounts that a provider may create.
    pub account_allowance: Option<u32>,
    /// Sites that a provider may create.
    pub site_allowance: Option<u32>,
    /// Bytes of one site.
    pub site_bytes_max: Option<u64>,
    /// Bytes of one account's sites.
    pub account_bytes_max: Option<u64>,
}

/// Where a node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// By other nodes, over UDP.
    pub nodes: Vec<String>,
    /// By visitors, over HTTPS; none while nothing is known of that, and what was said stays.
    pub visitors: Option<Vec<String>>,
}

/// What became of a proposal or a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The step.
    pub step: RecordId,
    /// Whether it is the one that holds now.
    pub is_current: bool,
    /// Who is for it.
    pub vote_count: usize,
    /// How many it takes.
    pub needed: usize,
}

impl RegionView {
    /// Proposes that `provider` becomes one of the region, or votes for the proposal that is there.
    /// In a region that has two providers then, the secret of a paper key comes back.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn admit_provider(
        self: &Arc<Self>,
        provider: Provider,
        paper: Option<&ProviderKey>,
    ) -> Result<Standing, WriteError> {
        let open = self.effect().chain.proposals.iter().find_map(|proposal| {
            let listed = proposal.step.body.provider(&provider.id).is_some();
            listed.then_some(proposal.step.id)
        });
        if let Some(step) = open {
            return self.vote(step).await;
        }
        self.propose(|turn| {
            let mut step = turn.effect.chain.current().body.clone();
            if step.provider(&provider.id).is_some() {
                return Err(WriteError::AlreadyProvider(provider.name));
            }
            step.providers.push(provider);
            step.providers.sort_by_key(|provider| provider.id);
            let paper = paper.filter(|_| step.providers.len() == 2);
            step.recovery_key = paper.map(|key| *key.provider().as_bytes());
            Ok(step)
        })
        .await
    }

    /// Proposes the step that comes of `change`.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn propose_change(
        self: &Arc<Self>,
        change: &StepChange,
    ) -> Result<Standing, WriteError> {
        let removal = match &change.remove {
            Some(who) => Some(self.removal(who)?),
            None => None,
        };
        self.propose(|turn| {
            let before = turn.effect.chain.current().body.clone();
            let mut step = turn.changed(before.clone(), change)?;
            if let Some(removal) = removal {
                let gone = removal.provider;
                step.providers.retain(|provider| provider.id != gone);
                step.removed.insert(gone.into(), removal.list);
                if step.providers.is_empty() {
                    return Err(WriteError::LastProvider);
                }
                // The paper key counts in a region of two only, and was made for one.
                step.recovery_key = None;
            }
            if step == before {
                return Err(WriteError::NoChange);
            }
            Ok(step)
        })
        .await
    }

    /// Proposes which nodes order certificates, and with which account.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn propose_issuers(
        self: &Arc<Self>,
        roles: Roles,
        acme: Acme,
    ) -> Result<Standing, WriteError> {
        self.propose(|turn| {
            let before = &turn.effect.chain.current().body;
            let mut step = before.clone();
            step.roles = roles;
            step.acme = Some(acme);
            if step == *before {
                return Err(WriteError::NoChange);
            }
            Ok(step)
        })
        .await
    }

    /// Votes for the proposed step `id`.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn vote(self: &Arc<Self>, id: RecordId) -> Result<Standing, WriteError> {
        self.write(|turn| {
            let voter = turn.slot.provider;
            let (author, effect) = turn.provider();
            let proposal = effect.chain.proposals.iter().find(|p| p.step.id == id);
            let proposal = proposal.ok_or(WriteError::NoProposal(id.short()))?;
            if !proposal.voters.contains(&voter) {
                let record = author.vote(id)?;
                turn.add(record);
            }
            Ok(())
        })
        .await?;
        self.standing(id)
    }

    /// Votes for the proposed step `id` with the paper key of a region of two.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn vote_on_paper(
        self: &Arc<Self>,
        id: RecordId,
        paper: &ProviderKey,
    ) -> Result<Standing, WriteError> {
        let (region, log) = (self.region, self.log);
        self.write(|turn| {
            let current = &turn.effect.chain.current().body;
            if current.recovery_key != Some(*paper.provider().as_bytes()) {
                return Err(WriteError::NotThePaper);
            }
            let record = Author::provider(paper, region, (log, 0)).vote(id)?;
            turn.add(record);
            Ok(())
        })
        .await?;
        self.standing(id)
    }

    /// The proposed step whose id begins with `prefix`.
    ///
    /// # Errors
    /// [`WriteError::NoProposal`] if none does, or several do.
    pub fn proposal(&self, prefix: &str) -> Result<RecordId, WriteError> {
        let effect = self.effect();
        let ids = effect.chain.proposals.iter().map(|p| p.step.id);
        let mut found = ids.filter(|id| id.to_string().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(id), None) if prefix.len() >= 4 => Ok(id),
            _ => Err(WriteError::NoProposal(prefix.to_owned())),
        }
    }

    /// Signs `body` as this provider's node in `slot`.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn add_node(self: &Arc<Self>, slot: Slot, body: Node) -> Result<(), WriteError> {
        self.write(|turn| {
            let (author, effect) = turn.provider();
            let stands = effect.nodes.get(&body.id);
            if stands.is_some_and(|node| node.is_member && node.slot == slot && node.body == body) {
                return Ok(());
            }
            let record = author.node_record(effect, slot, body)?;
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// The lowest place of this provider where no node stands and that nobody was `promised`.
    ///
    /// # Errors
    /// [`WriteError::SlotsFull`].
    pub fn free_slot(&self, promised: &[u8]) -> Result<Slot, WriteError> {
        let (effect, provider) = (self.effect(), self.slot.provider);
        let taken = |number: u8| {
            let slot = Slot { provider, number };
            effect.nodes.values().any(|n| n.slot == slot && n.is_member)
        };
        let number = (0..SLOT_COUNT).find(|number| !taken(*number) && !promised.contains(number));
        let number = number.ok_or(WriteError::SlotsFull)?;
        Ok(Slot { provider, number })
    }

    /// Takes a node of this provider out of the region; its place is free for another.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn withdraw_node(self: &Arc<Self>, node: NodeId) -> Result<(), WriteError> {
        self.write(|turn| {
            let provider = turn.slot.provider;
            let (author, effect) = turn.provider();
            let node = effect.nodes.get(&node).filter(|node| node.is_member);
            let node = node.ok_or(WriteError::NoNode)?;
            if node.slot.provider != provider {
                return Err(WriteError::NotOwnNode(node.body.name.clone()));
            }
            let body = Node {
                is_withdrawn: true,
                ..node.body.clone()
            };
            let record = author.node_record(effect, node.slot, body)?;
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// Says where this node is reached, if the record says something else; gives whether it is said
    /// now, which it is not of a node that is no member.
    ///
    /// # Errors
    /// [`WriteError`]; [`WriteError::ToSign`] where the provider's key is elsewhere.
    pub async fn announce_addresses(
        self: &Arc<Self>,
        reached: &Reached,
    ) -> Result<bool, WriteError> {
        let effect = self.effect();
        let Some(node) = effect.nodes.get(&self.keys.node()).filter(|n| n.is_member) else {
            return Ok(false);
        };
        let visitors = reached.visitors.as_ref().unwrap_or(&node.body.visitors);
        let body = Node {
            addresses: reached.nodes.clone(),
            visitors: visitors.clone(),
            ..node.body.clone()
        };
        if node.body == body {
            return Ok(true);
        }
        self.add_node(node.slot, body).await?;
        Ok(true)
    }

    /// This provider leaves the region, for good.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn leave(self: &Arc<Self>, reason: &str) -> Result<(), WriteError> {
        self.write(|turn| {
            let (author, _) = turn.provider();
            let record = author.leave(reason)?;
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// This provider's nodes do not serve a site or account, or serve it again.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn take_down(self: &Arc<Self>, name: &str, body: Takedown) -> Result<(), WriteError> {
        self.write(|turn| {
            let target = turn.target(name)?;
            let (author, effect) = turn.provider();
            let record = author.takedown(effect, target, body)?;
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// Takes in records that somebody brings: a newcomer's own, or ones signed elsewhere. Gives how
    /// many were new.
    ///
    /// # Errors
    /// [`WriteError`]: the disk refused them, or no rule allows one of them.
    pub async fn take_in(&self, records: Vec<Record>) -> Result<usize, WriteError> {
        let count = records.len();
        let taken = self.replica.take_in(records).await?;
        if taken.refused_count > 0 || taken.new.len() + taken.known_count < count {
            return Err(WriteError::NotAllowedIn);
        }
        Ok(taken.new.len())
    }

    async fn propose(
        self: &Arc<Self>,
        make: impl FnOnce(&mut Turn<'_>) -> Result<Region, WriteError>,
    ) -> Result<Standing, WriteError> {
        let mut id = None;
        self.write(|turn| {
            let step = make(turn)?;
            let (author, effect) = turn.provider();
            let record = author.step(effect, step)?;
            id = Some(turn.add(record).id());
            Ok(())
        })
        .await?;
        self.standing(id.ok_or(WriteError::Stopping)?)
    }

    /// How the step `id` stands.
    ///
    /// # Errors
    /// [`WriteError::NoProposal`]: it neither holds nor waits for votes.
    pub fn standing(&self, id: RecordId) -> Result<Standing, WriteError> {
        let effect = self.effect();
        let chain = &effect.chain;
        let proposal = chain.proposals.iter().find(|p| p.step.id == id);
        let is_current = chain.steps().iter().any(|step| step.id == id);
        if proposal.is_none() && !is_current {
            return Err(WriteError::NoProposal(id.short()));
        }
        Ok(Standing {
            step: id,
            is_current,
            vote_count: proposal.map_or(0, |proposal| proposal.voters.len()),
            needed: chain.current().body.votes_needed(),
        })
    }

    /// Whom `who` means, and the records of theirs that stay valid: all that this node holds now.
    fn removal(&self, who: &str) -> Result<Removal, WriteError> {
        let effect = self.effect();
        let provider = find_provider(&effect, who)?.id;
        let list = RemovalList::of(&effect, provider.into());
        self.store.blobs().put(&list.encode())?;
        let list = list.digest();
        Ok(Removal { provider, list })
    }
}

struct Removal {
    provider: ProviderId,
    list: Digest,
}

impl Turn<'_> {
    fn changed(&self, mut step: Region, change: &StepChange) -> Result<Region, WriteError> {
        for name in &change.take_down {
            step.takedowns.insert(self.target(name)?);
        }
        for name in &change.lift {
            step.takedowns.remove(&self.target(name)?);
        }
        for (account, provider) in &change.sponsors {
            let account = self.account(account)?.id;
            let provider = find_provider(&self.effect, provider)?.id;
            step.sponsors.insert(account, provider);
        }
        let limits = step.limits;
        step.limits = Limits {
            account_allowance: change.account_allowance.unwrap_or(limits.account_allowance),
            site_allowance: change.site_allowance.unwrap_or(limits.site_allowance),
            site_bytes_max: change.site_bytes_max.unwrap_or(limits.site_bytes_max),
            account_bytes_max: change.account_bytes_max.unwrap_or(limits.account_bytes_max),
        };
        let set = |to: &mut String, from: &Option<String>| {
            if let Some(text) = from {
                to.clone_from(text);
            }
        };
        set(&mut step.name, &change.name);
        set(&mut step.zones.site_zone, &change.site_zone);
        set(&mut step.zones.admin_zone, &change.admin_zone);
        set(&mut step.policy, &change.policy);
        step.format = change.format.unwrap_or(step.format);
        step.host_proof = match change.dns_proof {
            Some(true) => HostProof::Dns,
            Some(false) => HostProof::None,
            None => step.host_proof,
        };
        Ok(step)
    }

    /// The site or account that `name` means: a site's label, a site's or account's id, or
    /// `account:NAME`.
    fn target(&self, name: &str) -> Result<Digest, WriteError> {
        if let Some(name) = name.strip_prefix("account:") {
            return Ok(self.account(name)?.id.digest());
        }
        if let Ok(id) = name.parse::<Digest>() {
            let known = self.effect.sites.contains_key(&SiteId::from_digest(id))
                || self
                    .effect
                    .accounts
                    .contains_key(&AccountId::from_digest(id));
            return known
                .then_some(id)
                .ok_or(WriteError::NoSite(name.to_owned()));
        }
        Ok(self.site(name)?.id.digest())
    }
}

/// The provider of the current step that `who` means: its name, its id, or the beginning of it.
///
/// # Errors
/// [`WriteError::NoProvider`] if there is none, or several.
pub fn find_provider<'a>(effect: &'a Effect, who: &str) -> Result<&'a Provider, WriteError> {
    let is_meant = |provider: &&Provider| {
        provider.name == who || (who.len() >= 4 && provider.id.to_string().starts_with(who))
    };
    let mut found = effect
        .chain
        .current()
        .body
        .providers
        .iter()
        .filter(is_meant);
    match (found.next(), found.next()) {
        (Some(provider), None) => Ok(provider),
        _ => Err(WriteError::NoProvider(who.to_owned())),
    }
}

/// The node that `who` means: its name, its id, or the beginning of it.
///
/// # Errors
/// [`WriteError::NoNode`] if there is none, or several.
pub fn find_node<'a>(effect: &'a Effect, who: &str) -> Result<&'a NodeEffect, WriteError> {
    let is_meant = |node: &&NodeEffect| {
        node.body.name == who || (who.len() >= 4 && node.id.to_string().starts_with(who))
    };
    let mut found = effect.nodes.values().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node),
        _ => Err(WriteError::NoNode),
    }
}

/// The records that a newcomer judges the region by: steps, votes for them, nodes.
#[must_use]
pub fn chain_records(effect: &Effect) -> Vec<Vec<u8>> {
    let is_step = |id: &RecordId| {
        let target = effect.record(id);
        target.is_some_and(|target| target.envelope().kind == Kind::REGION)
    };
    let belongs = |record: &&Arc<Record>| match record.envelope().kind {
        Kind::REGION | Kind::NODE => true,
        Kind::VOTE => {
            let subject = record.envelope().subject.first_chunk().copied();
            subject.is_some_and(|target| is_step(&RecordId::from_bytes(target)))
        }
        _ => false,
    };
    let mut records: Vec<_> = effect.records().filter(belongs).collect();
    records.sort_unstable_by_key(|record| {
        let row = row(record);
        (row.kind, row.epoch, row.sequence, row.id)
    });
    records
        .iter()
        .map(|record| record.bytes().to_vec())
        .collect()
}
