//! Building what is in place anew from its commit, and comparing what comes out.

use super::Publishing;
use crate::build_child::BuildChildError;
use crate::receive::{Histories, git_program};
use std::fmt::Write as _;
use tokio::sync::mpsc;
use verge_builder::{Outcome, RECIPE, Source};
use verge_sync::id::SiteId;
use verge_sync::record::Deploy;

/// What building a site's head anew came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebuilt {
    /// The commit comes to the content that the deploy record names.
    Same,
    /// Nothing was published.
    Nothing,
    /// What is in place never was a commit.
    NoCommit,
    /// The commit is not on this node.
    NoHistory,
    /// Made by other compression rules than this release has: contents cannot be compared.
    OtherRecipe(u32),
    /// It comes to something else, or to nothing.
    Other(String),
}

impl Publishing {
    /// Builds the commit of a site's head in a child with the limits of every build, and throws
    /// away what is built.
    ///
    /// # Errors
    /// The node could not run a build; what the tree is to blame for is [`Rebuilt::Other`].
    pub async fn rebuild(
        &self,
        site: SiteId,
        histories: &Histories,
    ) -> Result<Rebuilt, BuildChildError> {
        // Before the turn: a push waits for it with the repository's in hand.
        histories
            .follow(site, &self.region.effect(), &self.store)
            .await;
        let _turn = self.turns.turn(site).await;
        let effect = self.region.effect();
        let head = effect.site(&site).and_then(|site| site.head());
        let Some(deploy) = head.map(|head| head.body().clone()) else {
            return Ok(Rebuilt::Nothing);
        };
        let Some(git) = &deploy.git else {
            return Ok(Rebuilt::NoCommit);
        };
        let commit = hex(&git.commit);
        let Some(git_dir) = histories.repository(site) else {
            return Ok(Rebuilt::NoHistory);
        };
        if !histories.has_commit(&git_dir, &commit).await {
            return Ok(Rebuilt::NoHistory);
        }
        if deploy.recipe != RECIPE {
            return Ok(Rebuilt::OtherRecipe(deploy.recipe));
        }
        let source = Source::Git {
            program: git_program().map_err(std::io::Error::other)?,
            git_dir,
            objects_env: Vec::new(),
            commit,
        };
        self.compare(site, source, &deploy).await
    }

    async fn compare(
        &self,
        site: SiteId,
        source: Source,
        deploy: &Deploy,
    ) -> Result<Rebuilt, BuildChildError> {
        let slot = self.slots.acquire().await;
        let _slot = slot.map_err(std::io::Error::other)?;
        // With what is in place beside it, the same content is known as such before anything is
        // compressed.
        let (previous, _kept) = self.pin_previous(site);
        let staging = self.store.staging().map_err(std::io::Error::other)?;
        let job = self.job(source, previous, staging.path());
        let (log, mut lines) = mpsc::channel(1);
        let unheard = async move { while lines.recv().await.is_some() {} };
        let build = async move { self.builds.run(&job, &log).await };
        let (built, ()) = tokio::join!(build, unheard);
        Ok(match built {
            Ok(Outcome::Unchanged { version }) if version == deploy.version => Rebuilt::Same,
            Ok(Outcome::Unchanged { version }) => {
                Rebuilt::Other(format!("comes to version {}", version.short()))
            }
            Ok(Outcome::Built(built)) if built.content_digest == deploy.content => Rebuilt::Same,
            Ok(Outcome::Built(built)) => Rebuilt::Other(format!(
                "comes to content {}, the record says {}",
                built.content_digest.short(),
                deploy.content.short()
            )),
            Err(BuildChildError::Refused(why)) => Rebuilt::Other(format!("is not built: {why}")),
            Err(error) => return Err(error),
        })
    }
}

/// A commit as people write it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
