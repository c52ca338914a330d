//! What repositories cost the node: their size, and the end of those whose site has ended.

use crate::receive::ReceiveError;
use crate::receive::git::Git;
use crate::receive::quarantine::{Repositories, Repository, SUFFIX};
use std::fs;
use std::io;
use std::path::Path;
use verge_sync::SiteId;

impl Repositories {
    /// The sites that have a repository here.
    pub(crate) fn sites(&self) -> Result<Vec<SiteId>, ReceiveError> {
        let io = |source| ReceiveError::io("list", self.root(), source);
        let mut sites = Vec::new();
        for entry in fs::read_dir(self.root()).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            // What is not named like a repository of ours was put there by somebody else.
            sites.extend(id.and_then(|id| id.parse::<SiteId>().ok()));
        }
        Ok(sites)
    }

    /// Removes a site's repository, once no push to it is under way.
    pub(crate) async fn remove(&self, site: SiteId) -> Result<(), ReceiveError> {
        let turn = self.turn(site).await;
        let repository = self.standing(site);
        let removed = on_disk(repository.path(), "remove", remove).await;
        drop(turn);
        removed
    }
}

impl Repository {
    /// Whether the repository is larger than `bytes_max`, even repacked. A repack drops what
    /// rewritten history has left behind. The caller holds the site's turn.
    pub(crate) async fn is_over(&self, git: &Git, bytes_max: u64) -> Result<bool, ReceiveError> {
        if self.bytes().await? <= bytes_max {
            return Ok(false);
        }
        // One pack is what a repack leaves: doing it again would gain nothing.
        self.repack(git, 1).await;
        Ok(self.bytes().await? > bytes_max)
    }

    async fn bytes(&self) -> Result<u64, ReceiveError> {
        on_disk(self.path(), "measure", bytes).await
    }
}

/// Runs a blocking step on a folder, away from the connections.
async fn on_disk<T: Send + 'static>(
    path: &Path,
    verb: &'static str,
    step: fn(&Path) -> io::Result<T>,
) -> Result<T, ReceiveError> {
    let at = path.to_owned();
    let done = tokio::task::spawn_blocking(move || step(&at)).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| ReceiveError::io(verb, path, source))
}

/// Refs first: what is left after a crash is at worst an empty repository with stray packs.
fn remove(repository: &Path) -> io::Result<()> {
    missing_is_well(fs::remove_dir_all(repository.join("refs")))?;
    missing_is_well(fs::remove_file(repository.join("packed-refs")))?;
    missing_is_well(fs::remove_dir_all(repository))
}

fn missing_is_well(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The length of all files: there are few of them, for every push is one pack.
fn bytes(repository: &Path) -> io::Result<u64> {
    let mut sum: u64 = 0;
    let mut folders = vec![repository.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => sum = sum.saturating_add(metadata.len()),
                // A fetch has let go of a file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sum)
}
