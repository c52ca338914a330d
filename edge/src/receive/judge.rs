//! The answer to a push's hook: judged, published, or refused with a sentence.
//!
//! Runs beside git, which waits for it with the objects in quarantine. Dropped when the pusher
//! goes away, and with it the publish.

use crate::error_chain::chain;
use crate::receive::git::Git;
use crate::receive::history::{Named, PushedHistory, tags_after};
use crate::receive::hook_socket::{Expected, HookReply, HookRequest};
use crate::receive::options;
use crate::receive::quarantine::Repository;
use crate::receive::refs::{Decision, Publish, Standing, decide};
use crate::receive::words;
use crate::receive::{Limits, Publisher, PushedCommit, ReceiveError};
use crate::region::{SiteHistory, WriteError};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use verge_sync::SiteId;

/// Log lines on their way from a build to the pusher.
const LOG_QUEUE: usize = 64;

/// What one push is judged with.
pub(crate) struct Judge<'a> {
    pub(crate) git: &'a Arc<Git>,
    pub(crate) publisher: &'a dyn Publisher,
    pub(crate) limits: &'a Limits,
    pub(crate) key_sha256: &'a [u8; 32],
    pub(crate) site_name: &'a str,
    /// The site whose repository git is writing into.
    pub(crate) site: SiteId,
    pub(crate) repository: &'a Repository,
    /// What the pusher was shown of the site's history.
    pub(crate) based_on: &'a SiteHistory,
}

/// How far a push has come, to be asked when it has ended.
#[derive(Default)]
pub(crate) struct Progress {
    /// Set before the publisher is asked: from there on visitors may see the commit.
    pub(crate) attempt: OnceLock<Attempt>,
    /// Set before the hook hears it: from there on git may move the refs.
    pub(crate) verdict: OnceLock<Verdict>,
}

impl Progress {
    pub(crate) fn is_accepted(&self) -> bool {
        self.verdict.get().is_some_and(|v| v.is_accepted)
    }
}

/// What the publisher was asked for.
pub(crate) struct Attempt {
    pub(crate) branch: String,
    pub(crate) commit: String,
}

/// What was decided in the hook.
pub(crate) struct Verdict {
    pub(crate) is_accepted: bool,
    /// The branch that the site shows, if it is known.
    pub(crate) branch: Option<String>,
}

/// Why a hook's push is not taken: lines for the pusher, or a fault of ours.
enum Refusal {
    Lines(Vec<String>),
    Fault(ReceiveError),
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        Self::Fault(error)
    }
}

impl Judge<'_> {
    /// Answers the hook of a push, if git gets as far as running it.
    pub(crate) async fn answer(&self, hook: &mut Expected, progress: &Progress) {
        let Ok(mut request) = (&mut hook.request).await else {
            return;
        };
        let judged = self.verdict(&mut request, progress).await;
        let (lines, status, branch) = match judged {
            Ok((lines, branch)) => (lines, 0, branch),
            Err(Refusal::Lines(lines)) => (lines, 1, None),
            Err(Refusal::Fault(error)) => {
                tracing::error!(error = chain(&error), site = %self.site, "a push was not judged");
                (vec![words::FAULT.to_owned()], 1, None)
            }
        };
        let decided = progress.verdict.set(Verdict {
            is_accepted: status == 0,
            branch,
        });
        debug_assert!(decided.is_ok(), "a push has one hook");
        if let Err(error) = request.reply.finish(&lines, status).await {
            tracing::debug!(%error, "a hook went away");
        }
    }

    /// Judges and publishes: the last lines and the branch that the site shows.
    async fn verdict(
        &self,
        request: &mut HookRequest,
        progress: &Progress,
    ) -> Result<(Vec<String>, Option<String>), Refusal> {
        // Asked again: rights may have ended while the pack was on its way.
        let grant = self.publisher.grant(self.key_sha256, self.site_name);
        let Some(grant) = grant.filter(|grant| grant.site == self.site) else {
            return Err(Refusal::Lines(vec![words::no_site(self.site_name)]));
        };
        let branches = match grant.branch {
            Some(_) => Vec::new(),
            None => self.repository.default_branches(self.git).await?,
        };
        let standing = Standing {
            site_name: self.site_name,
            configured_branch: grant.branch.as_deref(),
            branches: &branches,
            force: grant.force,
            published_commit: grant.published_commit.as_deref(),
        };
        match decide(&request.updates, &standing, self.limits) {
            Decision::Refuse(lines) => Err(Refusal::Lines(lines)),
            Decision::Store { branch, notes } => Ok((notes, branch)),
            Decision::Publish(publish) => {
                for note in &publish.notes {
                    log(&mut request.reply, note).await;
                }
                let claimed = request.quarantine.as_deref().unwrap_or(Path::new(""));
                let objects_env = self.repository.quarantine_environment(claimed);
                self.check(&publish, &objects_env).await?;
                let signing = options::signing(&request.options);
                let signing = signing.map_err(|why| Refusal::Lines(vec![why]))?;
                let history = self.history(&publish, request, &objects_env).await?;
                let branch = publish.branch.clone();
                let push = PushedCommit {
                    site: grant.site,
                    account: grant.account,
                    git_dir: self.repository.path().to_owned(),
                    objects_env,
                    branch: publish.branch,
                    commit: publish.commit.as_str().to_owned(),
                    history,
                    signing,
                };
                let attempt = progress.attempt.set(Attempt {
                    branch: push.branch.clone(),
                    commit: push.commit.clone(),
                });
                debug_assert!(attempt.is_ok(), "a push has one hook");
                let lines = self.publish(push, &mut request.reply).await;
                Ok((lines.map_err(Refusal::Lines)?, Some(branch)))
            }
        }
    }

    /// What git itself would refuse only after the deploy, and what this site refuses.
    async fn check(
        &self,
        publish: &Publish,
        objects_env: &[(OsString, OsString)],
    ) -> Result<(), Refusal> {
        let (commit, site_name) = (publish.commit.as_str(), self.site_name);
        let kind = self
            .git
            .ask(
                self.repository.path(),
                &["cat-file", "-t", commit],
                objects_env,
            )
            .await?;
        if kind.as_deref().map(str::trim) != Some("commit") {
            return Err(Refusal::Lines(vec![format!(
                "branch {} must name a commit, and {commit} is not one",
                publish.branch
            )]));
        }
        for ancestor in &publish.descends_from {
            let question = ["merge-base", "--is-ancestor", ancestor, commit];
            let answer = self
                .git
                .ask(self.repository.path(), &question, objects_env)
                .await?;
            if answer.is_none() {
                return Err(Refusal::Lines(vec![format!(
                    "this push rewrites what {site_name} has published, and {site_name} refuses \
                     that (force = false): `git pull --rebase` and push again"
                )]));
            }
        }
        Ok(())
    }

    /// What is passed on with the commit: the branch, and the tags as this push leaves them.
    async fn history(
        &self,
        publish: &Publish,
        request: &HookRequest,
        objects_env: &[(OsString, OsString)],
    ) -> Result<Option<PushedHistory>, Refusal> {
        if self.publisher.store().is_none() {
            return Ok(None);
        }
        // Asked before a build is paid for, and again when the record is written.
        if self.publisher.history(&self.site).key() != self.based_on.key() {
            let sentence = WriteError::PushedElsewhere.to_string();
            return Err(Refusal::Lines(vec![sentence]));
        }
        let tags = self.repository.tags(self.git).await?;
        let (file, shallow) = self.repository.shallow()?;
        let mut environment = objects_env.to_vec();
        environment.extend(file.map(|file| ("GIT_SHALLOW_FILE".into(), file.into())));
        Ok(Some(PushedHistory {
            git: Arc::clone(self.git),
            limits: self.limits.clone(),
            repository: self.repository.path().to_owned(),
            environment,
            branch: Named {
                name: format!("refs/heads/{}", publish.branch),
                object: publish.commit.clone(),
            },
            tags: tags_after(&tags, &request.updates),
            shallow,
            based_on: self.based_on.clone(),
        }))
    }

    /// Publishes, passing log lines on as they come.
    async fn publish(
        &self,
        push: PushedCommit,
        reply: &mut HookReply,
    ) -> Result<Vec<String>, Vec<String>> {
        let (sender, mut lines) = mpsc::channel(LOG_QUEUE);
        let mut publish = self.publisher.publish(push, sender);
        let mut is_open = true;
        let published = loop {
            tokio::select! {
                biased;
                line = lines.recv(), if is_open => match line {
                    Some(line) => log(reply, &line).await,
                    None => is_open = false,
                },
                published = &mut publish => break published,
            }
        };
        while let Ok(line) = lines.try_recv() {
            log(reply, &line).await;
        }
        published
    }
}

/// A hook that went away ends the conversation elsewhere.
async fn log(reply: &mut HookReply, line: &str) {
    if let Err(error) = reply.log(line).await {
        tracing::debug!(%error, "a hook went away");
    }
}
