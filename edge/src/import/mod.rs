//! `verge import`: sites of a folder that `verge export` wrote, brought back in this region.
//!
//! Everything in the folder is compared with its digests, and its history taken by git into a
//! scratch repository, before anything is changed. Then, site by site: the site, its history, and
//! what was in place, which is put in place only if it comes to the same content. Meanwhile the
//! import has the site's turn, as a push has: one that is under way comes before, and what it put in
//! place is found; one that comes waits. What a broken off import has done stays, and the next one
//! goes on from it.

mod check;
mod read;

pub use check::{CheckError, check_records};
pub use read::ReadError;

use crate::admin::SiteChange;
use crate::export::{Bundle, ExportedSite, Published};
use crate::publish::{Publication, PublishError, Published as Done, Publishing};
use crate::receive::{Histories, ReceiveError, git_program};
use crate::region::{NewSite, RegionView, SiteHistory, WriteError};
use crate::signing::Signing;
use crate::site_turns::SiteTurn;
use read::{Found, FoundSite};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use verge_builder::{RECIPE, Source};
use verge_sync::id::{AccountId, ContentDigest, SiteId};
use verge_sync::record::Cause;
use verge_sync::record::effect::label_is_well_formed;
use verge_sync::store::{StagingDir, Store, StoreError};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Importing {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// The account that the sites are to belong to.
    pub account: String,
    /// Another name for the one site.
    pub name: Option<String>,
}

/// Why an import ended. Unless it says otherwise, nothing was changed for the site at hand.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder.
    #[error("{0}; nothing was changed")]
    Read(#[from] ReadError),
    /// One name for several sites.
    #[error("the folder has {0} sites: --as names one; leave it out, or import a folder of one")]
    Several(usize),
    /// There is something else.
    #[error(
        "site {0} of this region shows something else; nothing was changed: import under another name with --as"
    )]
    InUse(String),
    /// It is somebody else's.
    #[error(
        "site {0} belongs to another account; nothing was changed: import under another name with --as"
    )]
    OtherOwner(String),
    /// A bundle that git does not take.
    #[error(
        "sites/{0}/history.bundle is no bundle that git takes, or lacks its branch; nothing was changed: put the exported file back, or remove it, and \"bundle\" of that site in export.json, to go on without history"
    )]
    Bundle(String),
    /// History that is not a continuation.
    #[error(
        "the repository of site {site} has another history on branch {branch}, and the one of the folder does not continue it: push the branch yourself"
    )]
    OtherHistory {
        /// The site.
        site: String,
        /// The branch.
        branch: String,
    },
    /// Git, or its disk.
    #[error(transparent)]
    Git(#[from] ReceiveError),
    /// The records.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What was in place.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that read died: an error of ours.
    #[error("the import ended early: {0}")]
    Ended(String),
}

/// A node that something is brought back to.
pub struct Importer {
    /// Its blobs.
    pub store: Store,
    /// What holds.
    pub region: Arc<RegionView>,
    /// What builds.
    pub publishing: Arc<Publishing>,
    /// Its repositories.
    pub histories: Histories,
}

impl Importer {
    /// Brings back what is in the folder, and says what it did.
    ///
    /// # Errors
    /// [`ImportError`].
    pub async fn run(
        &self,
        importing: &Importing,
        log: &mpsc::Sender<String>,
    ) -> Result<(), ImportError> {
        let folder = importing.folder.clone();
        let found = tokio::task::spawn_blocking(move || Found::read(&folder)).await;
        let mut found = found.map_err(|panic| ImportError::Ended(panic.to_string()))??;
        if let Some(name) = &importing.name {
            let [site] = &mut found.sites[..] else {
                return Err(ImportError::Several(found.sites.len()));
            };
            site.name.clone_from(name);
        }
        let account = self.account(&importing.account)?;
        let mut scratches = Vec::new();
        for site in &found.sites {
            self.check(site, account)?;
            scratches.push(self.scratch(site).await?);
        }
        for (site, scratch) in found.sites.iter().zip(&scratches) {
            self.bring_back(site, scratch.as_ref(), (&importing.account, account), log)
                .await?;
        }
        Ok(())
    }

    fn account(&self, name: &str) -> Result<AccountId, ImportError> {
        let effect = self.region.effect();
        let account = effect.account_by_name(name);
        let account = account.ok_or_else(|| WriteError::NoAccount(name.to_owned()))?;
        Ok(account.id)
    }

    /// Whether the site may take what is in the folder.
    fn check(&self, found: &FoundSite, account: AccountId) -> Result<(), ImportError> {
        let name = &found.name;
        if !label_is_well_formed(name) {
            return Err(WriteError::NotAName(name.clone()).into());
        }
        let effect = self.region.effect();
        let Some(site) = effect.site_by_label(name) else {
            return Ok(());
        };
        if site.body.account != account {
            return Err(ImportError::OtherOwner(name.clone()));
        }
        let shown = site.head().map(|head| head.body().content);
        let wanted = found.manifest.as_ref().map(|read| read.content_digest());
        match shown {
            Some(shown) if Some(shown) != wanted => Err(ImportError::InUse(name.clone())),
            _ => Ok(()),
        }
    }

    /// A repository of its own with the history, so that git has looked at it before anything is
    /// changed.
    async fn scratch(&self, site: &FoundSite) -> Result<Option<StagingDir>, ImportError> {
        let Some(bundle) = site.bundle() else {
            return Ok(None);
        };
        let scratch = self.store.staging()?;
        let taken = self
            .histories
            .unpack(scratch.path(), site.open_bundle()?, &bundle.branch)
            .await?;
        if taken {
            Ok(Some(scratch))
        } else {
            Err(ImportError::Bundle(site.line.name.clone()))
        }
    }

    async fn bring_back(
        &self,
        found: &FoundSite,
        scratch: Option<&StagingDir>,
        (owner, account): (&str, AccountId),
        log: &mpsc::Sender<String>,
    ) -> Result<(), ImportError> {
        let name = &found.name;
        let site = self.site(found, owner, log).await?;
        let _turn = self.turn(site, name, log).await;
        self.check(found, account)?;
        if let (Some(bundle), Some(_)) = (found.bundle(), scratch) {
            let file = found.open_bundle()?;
            let history = self.histories.take_in(site, file, &bundle.branch);
            if !history.await? {
                return Err(ImportError::OtherHistory {
                    site: name.clone(),
                    branch: bundle.branch.clone(),
                });
            }
            let line = format!(
                "site {name}: the history of branch {} is here",
                bundle.branch
            );
            say(log, line).await;
        }
        if let Some(published) = &found.line.published {
            self.publish(found, published, (site, account), log).await?;
        }
        for host in &found.line.hosts {
            if !self
                .region
                .effect()
                .hosts_of(&site)
                .contains(&host.as_str())
            {
                let line = format!(
                    "site {name}: it answered to {host} before: `verge site set {name} --add-host {host}`, if it is to here"
                );
                say(log, line).await;
            }
        }
        Ok(())
    }

    /// The site's turn, after the push that is under way, if there is one.
    async fn turn(&self, site: SiteId, name: &str, log: &mpsc::Sender<String>) -> SiteTurn {
        let mut turn = pin!(self.histories.turn(site));
        tokio::select! {
            biased;
            at_once = &mut turn => return at_once,
            () = std::future::ready(()) => {}
        }
        say(log, format!("site {name}: waits for a push to it to end")).await;
        turn.await
    }

    /// The site, made and set as it was if it is not there.
    async fn site(
        &self,
        found: &FoundSite,
        owner: &str,
        log: &mpsc::Sender<String>,
    ) -> Result<SiteId, ImportError> {
        let name = &found.name;
        let known = |region: &RegionView| region.effect().site_by_label(name).map(|site| site.id);
        if let Some(site) = known(&self.region) {
            return Ok(site);
        }
        let new = NewSite {
            name: name.clone(),
            owner: owner.to_owned(),
            hosts: Vec::new(),
        };
        self.region.create_site(new).await?;
        self.region.set_site(name, as_it_was(&found.line)).await?;
        say(log, format!("site {name} made for account {owner}")).await;
        let made = known(&self.region);
        Ok(made.ok_or_else(|| WriteError::NoSite(name.clone()))?)
    }

    /// From its commit, if that comes to the content that was in place; otherwise from its files.
    async fn publish(
        &self,
        found: &FoundSite,
        published: &Published,
        (site, account): (SiteId, AccountId),
        log: &mpsc::Sender<String>,
    ) -> Result<(), ImportError> {
        let name = &found.name;
        // Other compression rules have other content digests; the files were compared one by one.
        let wanted = (published.recipe == RECIPE)
            .then(|| found.manifest.as_ref().map(|read| read.content_digest()))
            .flatten();
        let files = Publication {
            site,
            account,
            source: Source::Folder(found.folder.clone()),
            commit: None,
            history: None,
            cause: Cause::Upload,
            signing: Signing::Node,
        };
        let from_commit = match (wanted, self.commit(site, published).await) {
            (Some(wanted), Some((git_dir, commit))) => {
                let source = Source::Git {
                    program: git_program()?,
                    git_dir,
                    objects_env: Vec::new(),
                    commit: commit.clone(),
                };
                let based_on = SiteHistory::of(&self.region.effect(), &site);
                let branch = published
                    .bundle
                    .as_ref()
                    .map(|bundle| bundle.branch.as_str());
                let pushed = (branch.unwrap_or_default(), commit.as_str());
                let history = self.histories.as_pushed(site, pushed, based_on).await?;
                let publication = Publication {
                    source,
                    history,
                    commit: Some(commit.clone()),
                    cause: Cause::Push,
                    ..files.clone()
                };
                self.put_in_place(publication, wanted, log).await?
            }
            _ => None,
        };
        let line = match from_commit {
            Some(line) => format!("{line}, from its commit"),
            None => {
                let done = self.publishing.publish_as(files, wanted, log).await?;
                format!("{}, from its files", outcome(&done))
            }
        };
        say(log, format!("site {name}: {line}")).await;
        Ok(())
    }

    /// None if the commit comes to something else than what was in place.
    async fn put_in_place(
        &self,
        publication: Publication,
        wanted: ContentDigest,
        log: &mpsc::Sender<String>,
    ) -> Result<Option<String>, ImportError> {
        let done = self.publishing.publish_as(publication, Some(wanted), log);
        match done.await {
            Ok(done) => Ok(Some(outcome(&done))),
            Err(PublishError::OtherContent { .. } | PublishError::Build(_)) => {
                let line = "its commit does not come to what was in place".to_owned();
                say(log, line).await;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The commit that was in place, if the history that is here now has it.
    async fn commit(&self, site: SiteId, published: &Published) -> Option<(PathBuf, String)> {
        published.bundle.as_ref()?;
        let commit = published.commit.as_ref()?;
        let is_name =
            matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let git_dir = self.histories.repository(site)?;
        let is_there = is_name && self.histories.has_commit(&git_dir, commit).await;
        is_there.then(|| (git_dir, commit.clone()))
    }
}

fn outcome(done: &Done) -> String {
    match done {
        Done::Unchanged(version) => format!("version {} is in place already", version.short()),
        Done::Deployed(built) => format!(
            "content {} is live as version {}",
            built.content_digest.short(),
            built.version.short()
        ),
    }
}

/// How it is published, as it was set; hosts have to be proved, and quotas are each region's own.
fn as_it_was(line: &ExportedSite) -> SiteChange {
    SiteChange {
        branch: Some(line.branch.clone()),
        force: Some(line.force),
        takeout_public: Some(line.takeout_public),
        private: Some(line.private),
        ..SiteChange::default()
    }
}

impl FoundSite {
    fn bundle(&self) -> Option<&Bundle> {
        self.line.published.as_ref()?.bundle.as_ref()
    }
}

/// Somebody who has gone away needs no answer.
async fn say(log: &mpsc::Sender<String>, line: String) {
    if log.send(line).await.is_err() {
        tracing::debug!("whoever asked has gone away");
    }
}
