//! The histories of sites, for those who neither push nor fetch: to look at one, to take one out.

use crate::error_chain::chain;
use crate::receive::git::Git;
use crate::receive::history::{Following, HistoryError, Named, PushedHistory, tags_after};
use crate::receive::quarantine::Repositories;
use crate::receive::refs::ObjectName;
use crate::receive::{Limits, ReceiveError};
use crate::region::SiteHistory;
use crate::site_turns::SiteTurn;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tokio::sync::Semaphore;
use verge_sync::SiteId;
use verge_sync::record::Effect;
use verge_sync::store::Store;

/// A bundle in the repository that takes it in. One that a crash left is replaced.
const INCOMING: &str = "incoming.bundle";

/// All repositories of this node, and the git that reads them.
#[derive(Debug, Clone)]
pub struct Histories {
    pub(super) git: Arc<Git>,
    pub(super) repositories: Arc<Repositories>,
    pub(super) limits: Limits,
    /// Those of the desk: nothing is removed while somebody fetches.
    pub(super) fetches: Arc<Semaphore>,
}

impl Histories {
    /// Those of a node that does not run.
    ///
    /// # Errors
    /// Git is missing, or the disk refuses.
    pub async fn open(data_dir: &Path, program: PathBuf) -> Result<Self, ReceiveError> {
        let git = Git::find(program, data_dir.join("hooks"), Limits::default()).await?;
        let limits = Limits::default();
        Ok(Self {
            git: Arc::new(git),
            repositories: Arc::new(Repositories::open(data_dir)?),
            fetches: Arc::new(Semaphore::new(limits.fetches)),
            limits,
        })
    }

    /// Whether a repository has this commit.
    pub(crate) async fn has_commit(&self, repository: &Path, commit: &str) -> bool {
        let question = ["cat-file", "-e", &format!("{commit}^{{commit}}")];
        let answer = self.git.ask(repository, &question, &[]).await;
        matches!(answer, Ok(Some(_)))
    }

    /// The branch that visitors see: the one that the site is set to, or the one that HEAD names
    /// since it was shown. None if the site has no history here, or not that branch.
    ///
    /// # Errors
    /// Git, or the disk.
    pub async fn published_branch(
        &self,
        site: SiteId,
        configured: Option<&str>,
    ) -> Result<Option<String>, ReceiveError> {
        let Some(repository) = self.repository(site) else {
            return Ok(None);
        };
        let branch = match configured {
            Some(branch) => branch.to_owned(),
            None => {
                let head = self.git.ask(&repository, &["symbolic-ref", "HEAD"], &[]);
                let head = head.await?.unwrap_or_default();
                let branch = head.trim().strip_prefix("refs/heads/");
                branch.unwrap_or_default().to_owned()
            }
        };
        let name = format!("refs/heads/{branch}");
        let question = ["rev-parse", "--verify", "--quiet", &name];
        let is_there = self.git.ask(&repository, &question, &[]).await?.is_some();
        Ok(is_there.then_some(branch))
    }

    /// Writes a branch and all tags of a site to a file, as a bundle of git's.
    ///
    /// # Errors
    /// Git, or the disk.
    pub async fn bundle(&self, site: SiteId, branch: &str, into: File) -> Result<(), ReceiveError> {
        let repository = self.repositories.standing(site);
        let name = format!("refs/heads/{branch}");
        let arguments = ["bundle", "create", "--quiet", "-", &name, "--tags"];
        let mut command = self.git.command(repository.path(), &arguments);
        command.stdout(into).stderr(Stdio::null());
        self.git.run(repository.path(), &mut command).await
    }

    /// Makes a bare repository in an empty folder and takes a bundle into it, as if it were to be
    /// taken into a site's: false if git does not take it, or it lacks the branch.
    ///
    /// # Errors
    /// Git cannot be run, or the disk refuses.
    pub async fn unpack(
        &self,
        folder: &Path,
        bundle: File,
        branch: &str,
    ) -> Result<bool, ReceiveError> {
        let arguments = ["init", "--quiet", "--bare", "--template="];
        let made = self.git.ask(folder, &arguments, &[]).await?;
        made.ok_or_else(|| ReceiveError::Repository(folder.to_owned()))?;
        self.fetch(folder, bundle, branch).await
    }

    /// The site's turn: while it is held no push to the site is under way, and those that come wait.
    pub(crate) async fn turn(&self, site: SiteId) -> SiteTurn {
        self.repositories.turn(site).await
    }

    /// Takes a bundle's branch and tags into a site's repository, which is made if it is not there:
    /// false if its branch has something else that the bundle's does not continue. The caller holds
    /// the site's turn.
    ///
    /// # Errors
    /// Git cannot be run, or the disk refuses.
    pub async fn take_in(
        &self,
        site: SiteId,
        bundle: File,
        branch: &str,
    ) -> Result<bool, ReceiveError> {
        let repository = self.repositories.repository(&self.git, site).await?;
        repository.tidy().await?;
        if !self.fetch(repository.path(), bundle, branch).await? {
            return Ok(false);
        }
        repository.show_branch(&self.git, branch).await?;
        Ok(true)
    }

    /// Git sees its repository only: the bundle is copied into it for the time.
    async fn fetch(
        &self,
        repository: &Path,
        bundle: File,
        branch: &str,
    ) -> Result<bool, ReceiveError> {
        let inside = repository.join(INCOMING);
        copy(bundle, &inside).await?;
        let refspecs = [
            format!("refs/heads/{branch}:refs/heads/{branch}"),
            "refs/tags/*:refs/tags/*".to_owned(),
        ];
        let arguments = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--update-head-ok",
            INCOMING,
            &refspecs[0],
            &refspecs[1],
        ];
        let mut command = self.git.command(repository, &arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let fetched = self.git.run(repository, &mut command).await;
        let removed = std::fs::remove_file(&inside);
        let fetched = match fetched {
            Ok(()) => true,
            Err(ReceiveError::Repository(_)) => false,
            Err(error) => return Err(error),
        };
        removed.map_err(|source| ReceiveError::io("remove", &inside, source))?;
        Ok(fetched)
    }

    /// Brings a site's repository to where the region's records say it stands, as far as its
    /// bundles are here; what is missing is left to whoever looks at the repository then.
    pub async fn follow(&self, site: SiteId, effect: &Effect, store: &Store) {
        let history = SiteHistory::of(effect, &site);
        if history
            .head
            .as_ref()
            .is_none_or(|git| git.sequence.is_none())
        {
            return;
        }
        if let Err(error) = self.bring(site, &history, store).await {
            tracing::warn!(error = chain(&error), %site, "a history is not brought in");
        }
    }

    async fn bring(
        &self,
        site: SiteId,
        history: &SiteHistory,
        store: &Store,
    ) -> Result<(), HistoryError> {
        let _turn = self.repositories.turn(site).await;
        let repository = self.repositories.repository(&self.git, site).await?;
        let following = Following {
            git: &self.git,
            limits: &self.limits,
            store,
            repository: &repository,
            history,
        };
        if following.is_done().is_none() {
            repository.tidy().await?;
            following.bring().await?;
        }
        Ok(())
    }

    /// A commit that is in a site's repository, to be passed on as if it had been pushed there.
    ///
    /// # Errors
    /// Git, or the disk.
    pub async fn as_pushed(
        &self,
        site: SiteId,
        (branch, commit): (&str, &str),
        based_on: SiteHistory,
    ) -> Result<Option<PushedHistory>, ReceiveError> {
        let Some(object) = ObjectName::parse(commit) else {
            return Ok(None);
        };
        let repository = self.repositories.standing(site);
        let tags = repository.tags(&self.git).await?;
        let (file, shallow) = repository.shallow()?;
        let shallow_file = file.map(|file| ("GIT_SHALLOW_FILE".into(), file.into()));
        Ok(Some(PushedHistory {
            git: Arc::clone(&self.git),
            limits: self.limits.clone(),
            repository: repository.path().to_owned(),
            environment: shallow_file.into_iter().collect(),
            branch: Named {
                name: format!("refs/heads/{branch}"),
                object,
            },
            tags: tags_after(&tags, &[]),
            shallow,
            based_on,
        }))
    }

    /// The repository with a site's history, if one is here; see [`Self::follow`].
    #[must_use]
    pub fn repository(&self, site: SiteId) -> Option<PathBuf> {
        let repository = self.repositories.standing(site);
        let is_there = repository.path().join("HEAD").exists();
        is_there.then(|| repository.path().to_owned())
    }
}

async fn copy(mut from: File, to: &Path) -> Result<(), ReceiveError> {
    let target = to.to_owned();
    let copied = tokio::task::spawn_blocking(move || {
        let mut to = File::create(target)?;
        std::io::copy(&mut from, &mut to)
    });
    let copied = copied.await;
    let copied = copied.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    copied
        .map(drop)
        .map_err(|source| ReceiveError::io("write", to, source))
}
