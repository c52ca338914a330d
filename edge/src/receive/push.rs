//! The desk: serves one command of one connection, a push or a fetch, from grant to exit status.
//!
//! Limits: so many pushes at once, each site one at a time, so many waiting; so many fetches.
//! A push holds its site's turn from before git shows its refs until the refs have moved.

use crate::error_chain::chain;
use crate::receive::catch_up::Visit;
use crate::receive::command::{GitCommand, Verb};
use crate::receive::converse::{Client, End, Rules, Tail, converse};
use crate::receive::git::{Git, GitChild, HookEnvironment};
use crate::receive::hook_socket::HookSocket;
use crate::receive::judge::{Judge, Progress, Verdict};
use crate::receive::pace::Pace;
use crate::receive::push_queue::{PushPlace, PushQueue};
use crate::receive::quarantine::{Repositories, Repository};
use crate::receive::words;
use crate::receive::{Config, Grant, Histories, Limits, Publisher, ReceiveError};
use crate::site_turns::SiteTurn;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use verge_sync::SiteId;

/// Everything that commands share.
pub(crate) struct Desk {
    pub(super) git: Arc<Git>,
    pub(super) repositories: Arc<Repositories>,
    hooks: HookSocket,
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) limits: Limits,
    pushes: Arc<PushQueue>,
    fetches: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// What a push that has ended has changed for visitors and in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// Git was told to store refs that visitors do not see.
    Stored,
    /// Visitors see the commit; its branch is where it was.
    Published,
    /// Visitors see the commit, and its branch names it.
    Everything,
}

/// One command of one client.
pub(crate) struct Errand {
    pub(crate) key_sha256: [u8; 32],
    pub(crate) command: GitCommand,
    /// The client's `GIT_PROTOCOL`, checked.
    pub(crate) protocol: Option<String>,
}

impl Desk {
    pub(crate) async fn open(
        config: &Config,
        publisher: Arc<dyn Publisher>,
    ) -> Result<Self, ReceiveError> {
        let hooks_dir = config.data_dir.join("hooks");
        let hooks = HookSocket::open(config, &hooks_dir)?;
        let limits = config.limits.clone();
        let git = Git::find(config.program.clone(), hooks_dir, limits.clone()).await?;
        Ok(Self {
            git: Arc::new(git),
            repositories: Arc::new(Repositories::open(&config.data_dir)?),
            hooks,
            publisher,
            pushes: PushQueue::new(limits.pushes),
            fetches: Arc::new(Semaphore::new(limits.fetches)),
            waiting: Arc::new(Semaphore::new(limits.pushes_waiting)),
            limits,
        })
    }

    pub(crate) fn histories(&self) -> Histories {
        Histories {
            git: Arc::clone(&self.git),
            repositories: Arc::clone(&self.repositories),
            limits: self.limits.clone(),
            fetches: Arc::clone(&self.fetches),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn knows_key(&self, key_sha256: &[u8; 32]) -> bool {
        self.publisher.knows_key(key_sha256)
    }

    /// Waits until no push is under way.
    pub(crate) async fn quiet(&self) {
        self.pushes.quiet().await;
    }

    pub(crate) async fn forget(&self, site: SiteId) -> Result<(), ReceiveError> {
        self.repositories.remove(site).await
    }

    /// Removes the repositories of sites that are no more.
    pub(crate) async fn sweep(&self) -> Result<(), ReceiveError> {
        for site in self.repositories.sites()? {
            if !self.publisher.has_site(&site) {
                tracing::info!(%site, "removing the repository of a site that has ended");
                self.repositories.remove(site).await?;
            }
        }
        Ok(())
    }

    /// Does what was asked; returns whether to tell the client that it went well.
    pub(crate) async fn serve(&self, errand: Errand, client: &mut Client) -> bool {
        let site_name = errand.command.site_name.as_str();
        let Some(grant) = self.publisher.grant(&errand.key_sha256, site_name) else {
            client.say(&words::no_site(site_name)).await;
            return false;
        };
        let served = match errand.command.verb {
            Verb::Push => self.push(&errand, &grant, client).await,
            Verb::Fetch => self.fetch(&errand, &grant, client).await,
        };
        match served {
            Ok(is_content) => is_content,
            Err(error) => {
                tracing::error!(error = chain(&error), site = %grant.site, "a command of git was not served");
                client.say(words::FAULT).await;
                false
            }
        }
    }

    async fn fetch(
        &self,
        errand: &Errand,
        grant: &Grant,
        client: &mut Client,
    ) -> Result<bool, ReceiveError> {
        let queue = Arc::clone(&self.fetches);
        let Some(place) = self.queue(client, "fetches", queue.acquire_owned()).await else {
            return Ok(false);
        };
        let Some(repository) = self.repository(errand, grant, client).await? else {
            return Ok(false);
        };
        if !self
            .follow_for_fetch(errand, grant, &repository, client)
            .await?
        {
            return Ok(false);
        }
        let mut child = self.start("upload-pack", &repository, errand, None)?;
        let tail = Tail::default();
        let nothing = std::future::ready(());
        let rules = Rules {
            limits: &self.limits,
            pace: None,
        };
        let end = converse(&mut child, client, rules, &tail, nothing, || false).await;
        drop(place);
        Ok(report(client, end, Change::Nothing).await)
    }

    async fn push(
        &self,
        errand: &Errand,
        grant: &Grant,
        client: &mut Client,
    ) -> Result<bool, ReceiveError> {
        let turn = self.repositories.turn(grant.site);
        let Some(turn) = self.queue(client, "another push to this site", turn).await else {
            return Ok(false);
        };
        let place = self.pushes.place(grant.account);
        let Some(place) = self.queue(client, "other pushes", place).await else {
            return Ok(false);
        };
        let Some(repository) = self.repository(errand, grant, client).await? else {
            return Ok(false);
        };
        repository.tidy().await?;
        let history = self.publisher.history(&grant.site);
        let visit = Visit {
            site_name: &errand.command.site_name,
            repository: &repository,
            history: &history,
        };
        if !self.follow(&visit, client).await? {
            return Ok(false);
        }
        if self.is_full(errand, grant, &repository, client).await? {
            return Ok(false);
        }
        self.hooks.check_script()?;
        let mut hook = self
            .hooks
            .expect()
            .map_err(|source| ReceiveError::io("open", self.hooks.path(), source))?;
        let environment = HookEnvironment {
            socket: self.hooks.path().to_owned(),
            token: hook.token.clone(),
        };
        let mut child = self.start("receive-pack", &repository, errand, Some(&environment))?;
        hook.bind(child.group());
        let (progress, tail) = (Progress::default(), Tail::default());
        let judge = Judge {
            git: &self.git,
            publisher: &*self.publisher,
            limits: &self.limits,
            key_sha256: &errand.key_sha256,
            site_name: &errand.command.site_name,
            site: grant.site,
            repository: &repository,
            based_on: &history,
        };
        let judge = judge.answer(&mut hook, &progress);
        let is_settled = || progress.is_accepted();
        let rules = Rules {
            limits: &self.limits,
            pace: Some(Pace::new(&self.limits)),
        };
        let end = converse(&mut child, client, rules, &tail, judge, is_settled).await;
        if progress.verdict.get().is_none()
            && progress.attempt.get().is_none()
            && let Some(explanation) = words::explain(&tail.bytes())
        {
            client.say(&format!("{explanation}\n")).await;
        }
        let change = self.change(errand, &repository, &progress).await;
        if change == Change::Everything && end == End::Exited(true) {
            self.arrive(grant.site, &repository, &progress).await;
        }
        self.settle(repository, progress, end, (turn, place)).await;
        Ok(report(client, end, change).await)
    }

    /// Whether the repository is as large as it may be; the client is told then.
    async fn is_full(
        &self,
        errand: &Errand,
        grant: &Grant,
        repository: &Repository,
        client: &mut Client,
    ) -> Result<bool, ReceiveError> {
        let bytes_max = self.limits.repository_bytes_max;
        let is_full = repository.is_over(&self.git, bytes_max).await?;
        if is_full {
            let site_name = &errand.command.site_name;
            let words = words::repository_full(site_name, grant.site, bytes_max);
            client.say(&words).await;
        }
        Ok(is_full)
    }

    /// The site's repository; `None`, and the client is told, if the site ended meanwhile: its
    /// repository would come back, and nobody would remove it.
    async fn repository(
        &self,
        errand: &Errand,
        grant: &Grant,
        client: &mut Client,
    ) -> Result<Option<Repository>, ReceiveError> {
        if !self.publisher.has_site(&grant.site) {
            client.say(&words::no_site(&errand.command.site_name)).await;
            return Ok(None);
        }
        let repository = self.repositories.repository(&self.git, grant.site).await?;
        Ok(Some(repository))
    }

    /// What a push that has ended has changed. The records and the refs are asked: a publish
    /// that was cut off may have deployed, and git may have failed to move what it agreed to.
    async fn change(
        &self,
        errand: &Errand,
        repository: &Repository,
        progress: &Progress,
    ) -> Change {
        let is_accepted = progress.is_accepted();
        let Some(attempt) = progress.attempt.get() else {
            return match is_accepted {
                true => Change::Stored,
                false => Change::Nothing,
            };
        };
        let is_published = is_accepted || {
            let site_name = errand.command.site_name.as_str();
            let grant = self.publisher.grant(&errand.key_sha256, site_name);
            grant.and_then(|grant| grant.published_commit).as_ref() == Some(&attempt.commit)
        };
        if !is_published {
            return Change::Nothing;
        }
        let branch = attempt.branch.as_str();
        let moved = repository.has_branch_at(&self.git, branch, &attempt.commit);
        match moved.await {
            Ok(true) => Change::Everything,
            Ok(false) => Change::Published,
            Err(error) => {
                tracing::warn!(error = chain(&error), "ask git where a branch is");
                Change::Published
            }
        }
    }

    /// Waits for `ready`, telling the client if that is not at once; `None` if the client went
    /// away, or if too many wait already.
    pub(super) async fn queue<T>(
        &self,
        client: &mut Client,
        for_what: &str,
        ready: impl Future<Output = T>,
    ) -> Option<T> {
        let mut ready = pin!(ready);
        tokio::select! {
            biased;
            at_once = &mut ready => return Some(at_once),
            () = std::future::ready(()) => {}
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            client
                .say("Verge: this node is busy and too many wait already; try again in a minute\n")
                .await;
            return None;
        };
        client
            .say(&format!("Verge: waiting for {for_what} to end...\n"))
            .await;
        tokio::select! {
            ready = ready => Some(ready),
            _ = &mut client.gone => None,
        }
    }

    fn start(
        &self,
        service: &str,
        repository: &Repository,
        errand: &Errand,
        hook: Option<&HookEnvironment>,
    ) -> Result<GitChild, ReceiveError> {
        let arguments = [service.as_ref(), repository.path().as_os_str()];
        let mut command = self.git.command(repository.path(), &arguments);
        if let Some(hook) = hook {
            self.git.with_hook(&mut command, hook);
        }
        if let Some(protocol) = &errand.protocol {
            command.env("GIT_PROTOCOL", protocol);
        }
        GitChild::spawn(&mut command)
            .map_err(|source| ReceiveError::io("run git in", repository.path(), source))
    }

    /// Puts the repository in order after a push; the site's turn ends when that is done.
    async fn settle(
        &self,
        repository: Repository,
        progress: Progress,
        end: End,
        held: (SiteTurn, PushPlace),
    ) {
        let mut outcome = Ok(());
        if end != End::Exited(true) {
            outcome = repository.tidy().await;
        }
        if let Some(Verdict {
            is_accepted: true,
            branch: Some(branch),
        }) = progress.verdict.into_inner()
            && outcome.is_ok()
        {
            outcome = repository.show_branch(&self.git, &branch).await;
        }
        if let Err(error) = outcome {
            tracing::warn!(
                error = chain(&error),
                "a repository is not in order after a push"
            );
        }
        let (git, packs) = (Arc::clone(&self.git), self.limits.packs);
        // The pusher need not wait for it, the site's next push does.
        tokio::spawn(async move {
            repository.repack(&git, packs).await;
            drop(held);
        });
    }
}

/// Tells the client what git did not; returns whether it went well.
async fn report(client: &mut Client, end: End, change: Change) -> bool {
    match (end, change) {
        // Git says by itself that a ref was not moved, but not that visitors see the commit.
        (End::Exited(_), Change::Published) => {
            client
                .say(&format!("Verge: {}\n", words::changed(change)))
                .await;
            false
        }
        (End::Exited(is_content), _) => is_content,
        (End::Gone, _) => {
            tracing::debug!("a client went away before the end");
            false
        }
        (End::Idle | End::Slow | End::TooLong | End::Fault, _) => {
            let (why, what) = (words::ended(end), words::changed(change));
            client.say(&format!("Verge: {why}; {what}\n")).await;
            false
        }
    }
}
