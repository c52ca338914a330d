//! Carrying what another region holds into this one, as new records: accounts, sites, names, and what
//! is in place. One durable turn for each account and each site.

use super::describe::label as called;
use super::{RegionView, Turn, WriteError};
use std::path::Path;
use std::sync::Arc;
use verge_sync::digest::Digest;
use verge_sync::id::{AccountId, SiteId};
use verge_sync::record::Effect;
use verge_sync::record::body::{Account, Actors, Deploy, GitSource, NameKind, Site, Takedown};
use verge_sync::record::effect::{AccountEffect, NameEffect, NameStatus, SiteEffect};
use verge_sync::store::{Staged, StoreError};

/// What came over, and what did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Accounts.
    pub account_count: usize,
    /// Sites.
    pub site_count: usize,
    /// Sites that show what they showed.
    pub published_count: usize,
    /// What is otherwise than before, in sentences.
    pub losses: Vec<String>,
}

impl RegionView {
    /// Writes everything that `old` holds and that can be had in another region. `blobs` is where
    /// the files of the old store lie; they are linked, or copied from another file system.
    ///
    /// # Errors
    /// [`WriteError`]: the disk, or more accounts and sites than the limits allow. What was written
    /// before stays.
    pub async fn carry_over(
        self: &Arc<Self>,
        old: &Self,
        blobs: &Path,
    ) -> Result<Carried, WriteError> {
        let effect = old.effect();
        let mut carried = Carried::default();
        let mut accounts: Vec<&AccountEffect> = effect.accounts.values().collect();
        accounts.retain(|account| !account.ended);
        accounts.sort_by_key(|account| (account.slot, account.counter));
        for account in accounts {
            let id = self.carry_account(&effect, account, &mut carried).await?;
            carried.account_count += 1;
            let mut sites: Vec<&SiteEffect> = effect.sites_of(&account.id).collect();
            sites.sort_by_key(|site| (site.slot, site.counter));
            for site in sites {
                let deploy = self.carry_blobs(old, site, blobs, &mut carried)?;
                carried.published_count += usize::from(deploy.is_some());
                self.carry_site(old, (site, id), deploy, &mut carried)
                    .await?;
                carried.site_count += 1;
            }
        }
        Ok(carried)
    }

    async fn carry_account(
        self: &Arc<Self>,
        effect: &Effect,
        account: &AccountEffect,
        carried: &mut Carried,
    ) -> Result<AccountId, WriteError> {
        let name = effect.account_name(&account.id).map(str::to_owned);
        let called = name.clone().unwrap_or_else(|| account.id.short());
        let body = Account {
            acts: Actors::All,
            ..account.body.clone()
        };
        let mut made = None;
        let mut losses = Vec::new();
        if account.body.acts != Actors::All {
            losses.push(format!(
                "account {called} lets every provider act again: its own choice named providers of the old region"
            ));
        }
        self.write(|turn| {
            let slot = turn.slot;
            let (author, effect) = turn.provider();
            let (id, record) = author.new_account(effect, slot, body)?;
            turn.add(record);
            made = Some(id);
            if let Some(name) = &name {
                turn.carry_label((id, NameKind::Account), name, id.digest(), &mut losses)?;
            }
            Ok(())
        })
        .await?;
        if name.is_none() {
            losses.push(format!("account {called} had no name, and has none"));
        }
        carried.losses.append(&mut losses);
        made.ok_or(WriteError::Stopping)
    }

    async fn carry_site(
        self: &Arc<Self>,
        old: &Self,
        (site, account): (&SiteEffect, AccountId),
        deploy: Option<Deploy>,
        carried: &mut Carried,
    ) -> Result<(), WriteError> {
        let effect = old.effect();
        let called = called(&effect, site);
        let body = Site {
            account,
            admit: Actors::All,
            epoch: 0,
            base: None,
            as_of: None,
            ..site.body.clone()
        };
        let is_served = effect.serves(&old.slot.provider, &site.id);
        let mut losses = Vec::new();
        if site.body.admit != Actors::All {
            losses.push(format!(
                "site {called} lets every provider's nodes hold its key again"
            ));
        }
        self.write(|turn| {
            let slot = turn.slot;
            let (id, record) = turn.node.new_site(&turn.effect, slot, body)?;
            turn.add(record);
            for claim in effect.names_of(site.id.digest()) {
                turn.carry_name(account, id, claim, &mut losses)?;
            }
            turn.settle()?;
            if let Some(deploy) = deploy {
                let deploy = Deploy {
                    account,
                    provider: slot.provider,
                    ..deploy
                };
                turn.whole.push(deploy.version);
                let record = turn.node.deploy(&turn.effect, id, deploy)?;
                turn.add(record);
            }
            if !is_served {
                turn.carry_takedown(id)?;
                losses.push(format!("site {called} is taken down here as it was there: `verge site takedown {called} --lift` ends that"));
            }
            Ok(())
        })
        .await?;
        carried.losses.append(&mut losses);
        Ok(())
    }

    /// The deploy in place, once all its blobs are in this store.
    fn carry_blobs(
        &self,
        old: &Self,
        site: &SiteEffect,
        blobs: &Path,
        carried: &mut Carried,
    ) -> Result<Option<Deploy>, WriteError> {
        let Some(head) = site.head() else {
            return Ok(None);
        };
        let deploy = head.body();
        let whole = match old.version_blobs(deploy)? {
            Some(listed) => {
                let own = [deploy.blobs, deploy.version.digest()];
                self.link(listed.into_iter().chain(own), blobs)?
            }
            None => false,
        };
        if !whole {
            let called = called(&old.effect(), site);
            carried.losses.push(format!(
                "site {called} shows nothing until its publisher pushes: blobs of its version are missing or damaged"
            ));
            return Ok(None);
        }
        let git = match &deploy.git {
            Some(git) => Some(GitSource {
                sequence: self.carry_history(old, git, blobs)?,
                ..git.clone()
            }),
            None => None,
        };
        Ok(Some(Deploy {
            git,
            ..deploy.clone()
        }))
    }

    /// The git history of a deploy, once all of it is in this store. What is lost of it the
    /// publisher's next push brings.
    fn carry_history(
        &self,
        old: &Self,
        git: &GitSource,
        blobs: &Path,
    ) -> Result<Option<Digest>, WriteError> {
        let Some(sequence) = git.sequence else {
            return Ok(None);
        };
        let whole = match old.bundles(sequence)? {
            Some(bundles) => self.link(bundles.into_iter().chain([sequence]), blobs)?,
            None => false,
        };
        Ok(whole.then_some(sequence))
    }

    /// Takes over files of another store; false if one is missing or is not what its name says.
    fn link(
        &self,
        digests: impl Iterator<Item = Digest>,
        blobs: &Path,
    ) -> Result<bool, WriteError> {
        let staging = self.store.staging()?;
        let mut staged = Vec::new();
        let digests: std::collections::BTreeSet<Digest> = digests.collect();
        for digest in digests {
            let (from, path) = (
                blobs.join(digest.to_string()),
                staging.path().join(digest.to_string()),
            );
            let linked = std::fs::hard_link(&from, &path);
            let there = linked.or_else(|_elsewhere| std::fs::copy(&from, &path).map(drop));
            match there {
                Ok(()) => staged.push(Staged { path, digest }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(WriteError::Copy(from, error)),
            }
        }
        match self.store.blobs().adopt_all(&staged) {
            Ok(()) => Ok(true),
            Err(StoreError::WrongDigest { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Turn<'_> {
    fn carry_name(
        &mut self,
        account: AccountId,
        site: SiteId,
        claim: &NameEffect,
        losses: &mut Vec<String>,
    ) -> Result<(), WriteError> {
        match (claim.kind, &claim.host) {
            (NameKind::Label, _) if claim.holds() => {
                let owner = (account, NameKind::Label);
                self.carry_label(owner, &claim.name, site.digest(), losses)
            }
            (NameKind::Host, Some(host)) if may_come_over(claim) => {
                match self.claim_host(account, site, host) {
                    Ok(()) => {}
                    Err(error) if is_of_the_disk(&error) => return Err(error),
                    Err(error) => losses.push(format!("host {host}: {error}")),
                }
                self.settle()?;
                let now = self.effect.names_of(site.digest());
                let mut now = now.filter(|claim| claim.host.as_deref() == Some(host));
                if now.any(|claim| claim.status == NameStatus::Unproved) {
                    losses.push(format!(
                        "host {host} has to be proved again, since the site has another id: a CNAME to its label is enough, a TXT record has to be changed (`verge site versions` says to what)"
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn carry_label(
        &mut self,
        (account, kind): (AccountId, NameKind),
        name: &str,
        id: Digest,
        losses: &mut Vec<String>,
    ) -> Result<(), WriteError> {
        self.settle()?;
        let possible = self.check_label(kind, name, Some(account));
        match possible.and_then(|()| self.claim(account, kind, name, id)) {
            Err(error) if is_of_the_disk(&error) => Err(error),
            Err(error) => {
                losses.push(format!("name {name}: {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn carry_takedown(&mut self, site: SiteId) -> Result<(), WriteError> {
        self.settle()?;
        let body = Takedown {
            active: true,
            reason: "taken down before the fork".to_owned(),
        };
        let (author, effect) = self.provider();
        let record = author.takedown(effect, site.digest(), body)?;
        self.add(record);
        Ok(())
    }
}

/// Whether nothing more can be written at all.
fn is_of_the_disk(error: &WriteError) -> bool {
    matches!(error, WriteError::Store(_) | WriteError::Stopping)
}

/// Hosts that are served, and those that only wait for a proof.
fn may_come_over(claim: &NameEffect) -> bool {
    let waits = matches!(claim.status, NameStatus::Unproved | NameStatus::Suspended);
    claim.holds() || waits
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;
    use crate::found::{Founding, HostProof, Limits, region};
    use crate::node_keys::NodeKeys;
    use verge_sync::store::{LocalDisk, Store};

    fn found(data: &Path) -> Arc<RegionView> {
        let text = |text: &str| text.to_owned();
        let founding = Founding {
            data: data.to_owned(),
            region: text("Anew"),
            provider: text("Left Over"),
            node: text("node"),
            contact: String::new(),
            site_zone: text(super::super::scene::SITE_ZONE),
            admin_zone: text("nodes.example"),
            host_proof: HostProof::Dns,
            limits: Limits::default(),
            policy: String::new(),
            test: true,
            config: String::new(),
        };
        region(&founding).unwrap();
        let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
        let keys = NodeKeys::read(data).unwrap();
        Arc::new(RegionView::open(store, keys, |_effect, _slot| {}).unwrap())
    }

    #[test]
    fn names_come_over_as_they_stand_and_what_does_not_is_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut scene = Scene::new(2, HostProof::Dns);
        let (first, second) = (scene.site(0), scene.site(1));
        for (number, site) in [(0, first), (1, second)] {
            scene.claim(number, site, NameKind::Label, "garden");
        }
        scene.claim(0, first, NameKind::Host, "www.garden.net");
        scene.claim(1, second, NameKind::Label, "admin");
        let data = folder.path().join("old");
        runtime.block_on(scene.store(0, &data));
        let old = scene.open(0, &data);
        let new = found(&folder.path().join("new"));
        let blobs = data.join("blobs");
        let carried = runtime.block_on(new.carry_over(&old, &blobs)).unwrap();
        let counts = (carried.account_count, carried.site_count);
        assert_eq!((counts, carried.published_count), ((2, 2), 0));
        let said = carried.losses.join("\n");
        assert_eq!(
            said.matches("had no name, and has none").count(),
            2,
            "{said}"
        );
        assert!(
            said.contains("www.garden.net has to be proved again"),
            "{said}"
        );
        // Of two claims of one name the other goes on under the name that it had.
        let labels = |view: &RegionView| {
            let effect = view.effect();
            let labels = effect.names.iter().filter(|claim| claim.holds());
            let mut labels: Vec<String> = labels.map(|claim| claim.name.clone()).collect();
            labels.sort();
            labels
        };
        let expected = labels(&old);
        assert!(
            expected.iter().any(|name| name.starts_with("garden-")),
            "{expected:?}"
        );
        assert_eq!(labels(&new), expected);
        let effect = new.effect();
        assert!(effect.evidence.is_empty());
        assert!(
            effect
                .names
                .iter()
                .any(|claim| claim.status == NameStatus::Unproved)
        );
    }
}
