//! The bare repositories: one per site under `DATA/git`, a cache made on first need.
//!
//! Git itself keeps a push's objects in quarantine inside the repository until the hook has
//! agreed. What a killed git leaves behind (quarantine folders, lock files) is removed here,
//! under the site's lock, before the next push begins.

use crate::receive::ReceiveError;
use crate::receive::git::Git;
use crate::receive::refs::{DEFAULT_BRANCHES, ObjectName};
use crate::site_turns::{SiteTurn, SiteTurns};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use verge_sync::SiteId;

/// Names that git gives to a quarantine folder, by release.
const QUARANTINE_PREFIXES: [&str; 2] = ["tmp_objdir-incoming-", "incoming-"];

/// What follows a site's id in the name of its repository.
pub(crate) const SUFFIX: &str = ".git";

/// All repositories of this node, and whose turn it is in each.
#[derive(Debug)]
pub(crate) struct Repositories {
    root: PathBuf,
    turns: SiteTurns,
}

impl Repositories {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn open(data_dir: &Path) -> Result<Self, ReceiveError> {
        let root = data_dir.join("git");
        make_private_dir(&root)?;
        let repositories = Self {
            root,
            turns: SiteTurns::default(),
        };
        repositories.sweep_gone()?;
        Ok(repositories)
    }

    /// Waits until no other push to this site is under way. Without it a push could be judged
    /// and published against refs that another one then moves.
    pub(crate) async fn turn(&self, site: SiteId) -> SiteTurn {
        self.turns.turn(site).await
    }

    /// The same, if there is no push under way.
    pub(crate) fn try_turn(&self, site: SiteId) -> Option<SiteTurn> {
        self.turns.try_turn(site)
    }

    /// The site's repository, whether it is there or not.
    pub(crate) fn standing(&self, site: SiteId) -> Repository {
        Repository {
            path: self.root.join(format!("{site}{SUFFIX}")),
        }
    }

    /// The site's repository, made if it is not there.
    pub(crate) async fn repository(
        &self,
        git: &Git,
        site: SiteId,
    ) -> Result<Repository, ReceiveError> {
        let repository = self.standing(site);
        let whole = ["HEAD", "config", "objects", "refs"]
            .iter()
            .all(|part| repository.path.join(part).exists());
        if !whole {
            make_private_dir(&repository.path)?;
            let arguments = [
                "init",
                "--quiet",
                "--bare",
                "--template=",
                "--initial-branch=main",
            ];
            git.ask(&repository.path, &arguments, &[])
                .await?
                .ok_or_else(|| ReceiveError::Repository(repository.path.clone()))?;
        }
        Ok(repository)
    }
}

/// One site's bare repository.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    path: PathBuf,
}

impl Repository {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where git finds the objects of a push that is in the quarantine of this name. Only the
    /// last part of the hook's path is believed.
    pub(crate) fn quarantine_environment(&self, claimed: &Path) -> Vec<(OsString, OsString)> {
        let objects = self.path.join("objects");
        let Some(name) = claimed.file_name().filter(|name| is_quarantine(name)) else {
            return Vec::new();
        };
        vec![
            ("GIT_OBJECT_DIRECTORY".into(), objects.join(name).into()),
            ("GIT_ALTERNATE_OBJECT_DIRECTORIES".into(), objects.into()),
        ]
    }

    /// Which of the branches that could be shown are there.
    pub(crate) async fn default_branches(&self, git: &Git) -> Result<Vec<String>, ReceiveError> {
        let mut arguments = vec!["for-each-ref".to_owned(), "--format=%(refname)".to_owned()];
        arguments.extend(DEFAULT_BRANCHES.map(|branch| format!("refs/heads/{branch}")));
        let answer = git.ask(&self.path, &arguments, &[]).await?;
        let lines = answer.as_deref().unwrap_or_default().lines();
        let branches = lines.filter_map(|line| line.strip_prefix("refs/heads/"));
        Ok(branches.map(ToOwned::to_owned).collect())
    }

    /// The tags that are there, as `OBJECT NAME` lines.
    pub(crate) async fn tags(&self, git: &Git) -> Result<String, ReceiveError> {
        let format = "--format=%(objectname) %(refname)";
        let question = ["for-each-ref", format, "refs/tags"];
        let answer = git.ask(&self.path, &question, &[]).await?;
        answer.ok_or_else(|| ReceiveError::Repository(self.path.clone()))
    }

    /// The commits without parents here, and the file in which git finds them: that of a push that is
    /// under way, if it brings some.
    pub(crate) fn shallow(&self) -> Result<(Option<PathBuf>, Vec<ObjectName>), ReceiveError> {
        let io = |source| ReceiveError::io("list", &self.path, source);
        let pushed = list(&self.path).map_err(io)?;
        let pushed = pushed.into_iter().find(|path| is_pushed_shallow(path));
        let file = pushed.unwrap_or_else(|| self.path.join("shallow"));
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, Vec::new())),
            read => read.map_err(|source| ReceiveError::io("read", &file, source))?,
        };
        let commits = text.lines().filter_map(ObjectName::parse).collect();
        Ok((Some(file), commits))
    }

    /// Makes HEAD name `branch`, so that a clone checks out what visitors see.
    pub(crate) async fn show_branch(&self, git: &Git, branch: &str) -> Result<(), ReceiveError> {
        let target = format!("refs/heads/{branch}");
        let head = self.path.join("HEAD");
        let standing =
            fs::read_to_string(&head).map_err(|source| ReceiveError::io("read", &head, source))?;
        if standing.trim_end().strip_prefix("ref: ") == Some(&*target) {
            return Ok(());
        }
        git.ask(&self.path, &["symbolic-ref", "HEAD", &target], &[])
            .await?
            .map(drop)
            .ok_or_else(|| ReceiveError::Repository(self.path.clone()))
    }

    /// Whether this branch names this commit.
    pub(crate) async fn has_branch_at(
        &self,
        git: &Git,
        branch: &str,
        commit: &str,
    ) -> Result<bool, ReceiveError> {
        let name = format!("refs/heads/{branch}");
        let question = ["rev-parse", "--verify", "--quiet", &name];
        let answer = git.ask(&self.path, &question, &[]).await?;
        Ok(answer.is_some_and(|answer| answer.trim() == commit))
    }

    /// Removes what a killed git left. The caller holds the site's turn.
    pub(crate) async fn tidy(&self) -> Result<(), ReceiveError> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            remove_leftovers(&path).map_err(|source| ReceiveError::io("tidy", &path, source))
        })
        .await
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "tidy");
            Ok(())
        })
    }

    /// Packs everything into one when there are more than `packs_max` packs. Only a cost of
    /// reading, so a failure is logged and tried again after the next push.
    pub(crate) async fn repack(&self, git: &Git, packs_max: usize) {
        let Ok(entries) = fs::read_dir(self.path.join("objects/pack")) else {
            return;
        };
        let is_pack = |entry: &fs::DirEntry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "pack")
        };
        if entries.flatten().filter(is_pack).count() <= packs_max {
            return;
        }
        match git.repack(&self.path).await {
            Ok(Some(_)) => {}
            Ok(None) => tracing::warn!(repository = %self.path.display(), "repack refused"),
            Err(error) => tracing::warn!(%error, "repack"),
        }
    }
}

fn is_quarantine(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    QUARANTINE_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Whether git made this file for a push that comes from a shallow clone.
fn is_pushed_shallow(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"shallow_")
}

fn remove_leftovers(repository: &Path) -> io::Result<()> {
    for entry in list(&repository.join("objects"))? {
        if entry.file_name().is_some_and(is_quarantine) {
            fs::remove_dir_all(&entry)?;
        }
    }
    for entry in list(&repository.join("objects/pack"))? {
        let name = entry.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b"tmp_") || name.starts_with(b".tmp-") {
            fs::remove_file(&entry)?;
        }
    }
    let mut folders = vec![repository.join("refs")];
    let is_lock = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "lock")
    };
    for entry in list(repository)? {
        if is_lock(&entry) || is_pushed_shallow(&entry) {
            fs::remove_file(&entry)?;
        }
    }
    while let Some(folder) = folders.pop() {
        for entry in list(&folder)? {
            if entry.is_dir() {
                folders.push(entry);
            } else if is_lock(&entry) {
                fs::remove_file(&entry)?;
            }
        }
    }
    Ok(())
}

/// What is in a folder; nothing if there is no such folder.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Makes a folder that only this user may enter.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), ReceiveError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .map_err(|source| ReceiveError::io("create", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let files = [
            ("HEAD", true),
            ("HEAD.lock", false),
            ("shallow", true),
            ("shallow_Ab1", false),
            ("objects/tmp_objdir-incoming-Ab1/pack/p.pack", false),
            ("objects/pack/tmp_pack_x", false),
            ("objects/pack/pack-1.pack", true),
            ("objects/ab/cdef", true),
            ("refs/heads/a/b", true),
            ("refs/heads/a/b.lock", false),
        ];
        for (file, _) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        remove_leftovers(root).unwrap();
        for (file, stays) in files {
            assert_eq!(root.join(file).exists(), stays, "{file}");
        }
        assert!(!root.join("objects/tmp_objdir-incoming-Ab1").exists());
    }

    #[test]
    fn a_quarantine_elsewhere_is_not_believed() {
        let repository = Repository {
            path: "/d/git/x.git".into(),
        };
        for (claimed, object_directory) in [
            (
                "/else/objects/tmp_objdir-incoming-1",
                Some("/d/git/x.git/objects/tmp_objdir-incoming-1"),
            ),
            ("/d/git/x.git/objects/pack", None),
            ("/d/git/x.git/objects/tmp_objdir-incoming-1/..", None),
            ("", None),
        ] {
            let environment = repository.quarantine_environment(Path::new(claimed));
            let found = environment
                .first()
                .map(|(_, value)| value.to_str().unwrap());
            assert_eq!(found, object_directory, "{claimed}");
        }
    }
}
