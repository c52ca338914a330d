//! What repositories cost the node: their size, the end of those whose site has ended, and of those
//! that can be made again where there is no room.

use crate::error_chain::chain;
use crate::receive::git::Git;
use crate::receive::history::Following;
use crate::receive::quarantine::{Repositories, Repository, SUFFIX};
use crate::receive::{Histories, ReceiveError};
use crate::region::SiteHistory;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use verge_sync::SiteId;
use verge_sync::record::Effect;
use verge_sync::store::{Disk as _, LocalDisk, Store};

/// The name of a repository that is being removed ends with this instead.
const GONE: &str = "gone";

impl Repositories {
    /// The sites that have a repository here.
    pub(crate) fn sites(&self) -> Result<Vec<SiteId>, ReceiveError> {
        let mut sites = Vec::new();
        for entry in fs::read_dir(self.root()).map_err(io_at("list", self.root()))? {
            let name = entry.map_err(io_at("list", self.root()))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            // What is not named like a repository of ours was put there by somebody else.
            sites.extend(id.and_then(|id| id.parse::<SiteId>().ok()));
        }
        Ok(sites)
    }

    /// Removes what a crash left of repositories that were being removed.
    pub(super) fn sweep_gone(&self) -> Result<(), ReceiveError> {
        for entry in fs::read_dir(self.root()).map_err(io_at("list", self.root()))? {
            let path = entry.map_err(io_at("list", self.root()))?.path();
            if path.extension().is_some_and(|extension| extension == GONE) {
                fs::remove_dir_all(&path).map_err(io_at("remove", &path))?;
            }
        }
        Ok(())
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

impl Histories {
    /// What all repositories take.
    ///
    /// # Errors
    /// The disk.
    pub async fn cache_bytes(&self) -> Result<u64, ReceiveError> {
        on_disk(self.repositories.root(), "measure", bytes).await
    }

    /// Removes repositories that can be made again from bundles that are here, those first that have
    /// not changed for longest, until so many bytes are free; gives how many are. None while anybody
    /// fetches, or pushes to that site. What was stored without being published is only in its
    /// repository, and keeps it.
    ///
    /// # Errors
    /// The disk.
    pub async fn give_up_caches(
        &self,
        wanted_bytes: u64,
        effect: &Effect,
        store: &Store,
    ) -> Result<u64, ReceiveError> {
        let all = u32::try_from(self.limits.fetches).unwrap_or(u32::MAX);
        let Ok(_nobody_fetches) = Arc::clone(&self.fetches).try_acquire_many_owned(all) else {
            return Ok(0);
        };
        let mut freed_bytes = 0_u64;
        for site in self.by_age()? {
            if freed_bytes >= wanted_bytes {
                break;
            }
            let Some(_turn) = self.repositories.try_turn(site) else {
                continue;
            };
            let repository = self.repositories.standing(site);
            if !self
                .can_be_made_again(site, &repository, effect, store)
                .await
            {
                continue;
            }
            let bytes = repository.bytes().await?;
            on_disk(repository.path(), "remove", remove).await?;
            freed_bytes = freed_bytes.saturating_add(bytes);
            tracing::info!(%site, bytes, "a repository goes for want of room, and is made again when it is asked for");
        }
        Ok(freed_bytes)
    }

    /// The sites that have repositories, what has not changed for longest first.
    fn by_age(&self) -> Result<Vec<SiteId>, ReceiveError> {
        let sites = self.repositories.sites()?.into_iter();
        let changed = |site: &SiteId| {
            let path = self.repositories.standing(*site).path().to_owned();
            let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
            changed.unwrap_or(SystemTime::UNIX_EPOCH)
        };
        let mut aged: Vec<(SystemTime, SiteId)> =
            sites.map(|site| (changed(&site), site)).collect();
        aged.sort_unstable();
        Ok(aged.into_iter().map(|(_, site)| site).collect())
    }

    async fn can_be_made_again(
        &self,
        site: SiteId,
        repository: &Repository,
        effect: &Effect,
        store: &Store,
    ) -> bool {
        let history = SiteHistory::of(effect, &site);
        let following = Following {
            git: &self.git,
            limits: &self.limits,
            store,
            repository,
            history: &history,
        };
        let can = following.can_be_made_again().await;
        can.unwrap_or_else(|error| {
            tracing::debug!(error = chain(&error), %site, "a repository stays");
            false
        })
    }
}

/// What all repositories of a data directory take.
///
/// # Errors
/// The disk.
pub(crate) fn repositories_bytes(data_dir: &Path) -> io::Result<u64> {
    bytes(&data_dir.join("git"))
}

fn io_at(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> ReceiveError + use<> {
    let path: PathBuf = path.to_owned();
    move |source| ReceiveError::io(verb, &path, source)
}

/// Under another name first: what a crash leaves is not taken for a repository, not half of one nor
/// one whose mark says more than it has.
fn remove(repository: &Path) -> io::Result<()> {
    let gone = repository.with_extension(GONE);
    missing_is_well(fs::remove_dir_all(&gone))?;
    missing_is_well(LocalDisk.rename(repository, &gone))?;
    missing_is_well(fs::remove_dir_all(&gone))
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
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
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
