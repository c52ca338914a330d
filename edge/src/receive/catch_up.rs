//! The desk, before anybody sees a repository's refs: they stand where the region's records say.
//!
//! Nothing to do is the usual case, and costs a look at one small file. Otherwise the site's turn is
//! held, so that no push runs meanwhile. A client that goes away ends it; the refs have then moved
//! all together or not at all.

use crate::error_chain::chain;
use crate::receive::converse::Client;
use crate::receive::history::{Following, HistoryError};
use crate::receive::judge::Progress;
use crate::receive::push::{Desk, Errand};
use crate::receive::quarantine::Repository;
use crate::receive::words;
use crate::receive::{Grant, ReceiveError};
use crate::region::SiteHistory;
use verge_sync::SiteId;
use verge_sync::store::Store;

/// What one command finds of its site.
pub(super) struct Visit<'a> {
    pub(super) site_name: &'a str,
    pub(super) repository: &'a Repository,
    pub(super) history: &'a SiteHistory,
}

impl Visit<'_> {
    fn following<'a>(&'a self, desk: &'a Desk, store: &'a Store) -> Following<'a> {
        Following {
            git: &desk.git,
            limits: &desk.limits,
            store,
            repository: self.repository,
            history: self.history,
        }
    }
}

impl Desk {
    /// Brings the repository to where the region's records say it stands, before anybody sees its
    /// refs; false when the client was told why it cannot be. The caller holds the site's turn.
    pub(super) async fn follow(
        &self,
        visit: &Visit<'_>,
        client: &mut Client,
    ) -> Result<bool, ReceiveError> {
        let Some(store) = self.publisher.store() else {
            return Ok(true);
        };
        let following = visit.following(self, store);
        if let Some(tips) = following.is_done() {
            client
                .say(&words::other_tips(visit.site_name, visit.history, &tips))
                .await;
            return Ok(true);
        }
        let brought = tokio::select! {
            brought = following.bring() => brought,
            _ = &mut client.gone => return Ok(false),
        };
        match brought {
            Ok(tips) => {
                client
                    .say(&words::other_tips(visit.site_name, visit.history, &tips))
                    .await;
                Ok(true)
            }
            Err(HistoryError::Git(error)) => Err(error),
            Err(error) => {
                tracing::warn!(error = chain(&error), repository = %visit.repository.path().display(), "a history is not brought in");
                if let HistoryError::Missing(blob) | HistoryError::Damaged(blob) = error {
                    self.publisher.ask_for(blob);
                }
                client
                    .say(&words::no_history(visit.site_name, &error))
                    .await;
                Ok(false)
            }
        }
    }

    /// The same for a fetch, which takes the site's turn only where there is something to do.
    pub(super) async fn follow_for_fetch(
        &self,
        errand: &Errand,
        grant: &Grant,
        repository: &Repository,
        client: &mut Client,
    ) -> Result<bool, ReceiveError> {
        let Some(store) = self.publisher.store() else {
            return Ok(true);
        };
        let history = self.publisher.history(&grant.site);
        let visit = Visit {
            site_name: &errand.command.site_name,
            repository,
            history: &history,
        };
        if visit.following(self, store).is_done().is_some() {
            return self.follow(&visit, client).await;
        }
        let turn = self.repositories.turn(grant.site);
        let Some(turn) = self.queue(client, "a push to this site", turn).await else {
            return Ok(false);
        };
        repository.tidy().await?;
        // A push that was waited for has changed it.
        let history = self.publisher.history(&grant.site);
        let visit = Visit {
            history: &history,
            ..visit
        };
        let is_there = self.follow(&visit, client).await;
        drop(turn);
        is_there
    }

    /// The repository has got by a push what the records have by its deploy. Only a cost of the next
    /// look, so a failure is logged.
    pub(super) async fn arrive(&self, site: SiteId, repository: &Repository, progress: &Progress) {
        let (Some(store), Some(attempt)) = (self.publisher.store(), progress.attempt.get()) else {
            return;
        };
        let history = self.publisher.history(&site);
        let visit = Visit {
            site_name: "",
            repository,
            history: &history,
        };
        let arrived = visit.following(self, store).arrive(&attempt.commit).await;
        if let Err(error) = arrived {
            tracing::warn!(error = chain(&error), %site, "mark where a repository stands");
        }
    }
}
