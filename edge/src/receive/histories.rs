//! The histories of sites, for those who neither push nor fetch: to look at one, to take one out.

use crate::receive::git::Git;
use crate::receive::quarantine::Repositories;
use crate::receive::{Limits, ReceiveError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_sync::SiteId;

/// All repositories of this node, and the git that reads them.
#[derive(Debug, Clone)]
pub struct Histories {
    pub(super) git: Arc<Git>,
    pub(super) repositories: Arc<Repositories>,
}

impl Histories {
    /// Those of a node that does not run.
    ///
    /// # Errors
    /// Git is missing, or the disk refuses.
    pub async fn open(data_dir: &Path, program: PathBuf) -> Result<Self, ReceiveError> {
        let git = Git::find(program, data_dir.join("hooks"), Limits::default()).await?;
        Ok(Self {
            git: Arc::new(git),
            repositories: Arc::new(Repositories::open(data_dir)?),
        })
    }

    /// Whether a repository has this commit.
    pub(crate) async fn has_commit(&self, repository: &Path, commit: &str) -> bool {
        let question = ["cat-file", "-e", &format!("{commit}^{{commit}}")];
        let answer = self.git.ask(repository, &question, &[]).await;
        matches!(answer, Ok(Some(_)))
    }

    /// The repository with a site's history. The one way to it: where it has to be made from what
    /// the records name, that is done here.
    #[must_use]
    pub fn repository(&self, site: SiteId) -> Option<PathBuf> {
        let repository = self.repositories.standing(site);
        let is_there = repository.path().join("HEAD").exists();
        is_there.then(|| repository.path().to_owned())
    }
}
