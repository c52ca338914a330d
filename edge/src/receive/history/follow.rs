//! A repository is brought to what the region's records say of its site's history.
//!
//! Bundles that are not in yet are read from the store, each compared with its digest, and taken in
//! by git under refs of their own. Only then do the branch and the tags move, in one transaction.
//! The caller holds the site's turn.

use super::header::{Header, Named};
use super::make::blocking;
use super::mark::{Mark, Tip};
use super::sequence::Sequence;
use super::{HistoryError, last_line};
use crate::receive::git::Git;
use crate::receive::quarantine::Repository;
use crate::receive::refs::ObjectName;
use crate::receive::{Limits, ReceiveError};
use crate::region::SiteHistory;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use verge_sync::digest::Digest;
use verge_sync::store::Store;
use verge_sync::store::scrub::recheck;

/// Bundles that are being taken in; nobody sees them.
const INCOMING: &str = "refs/verge/incoming/";
/// Commits of other tips.
pub(crate) const TIPS: &str = "refs/verge/tips/";
/// What was only here when something else took its name.
const KEPT: &str = "refs/verge/kept/";
/// What git says when it is not the bundle's fault.
const NO_ROOM: [&str; 4] = [
    "No space left on device",
    "File too large",
    "out of memory",
    "Cannot allocate memory",
];
/// Digits of a commit in the name of a ref.
const SHORT_DIGITS: usize = 12;

/// What became of the other tips of a history, in their order.
pub(crate) type Tips = Vec<Tip>;

/// One repository on its way to what the records say.
pub(crate) struct Following<'a> {
    pub(crate) git: &'a Git,
    pub(crate) limits: &'a Limits,
    pub(crate) store: &'a Store,
    pub(crate) repository: &'a Repository,
    pub(crate) history: &'a SiteHistory,
}

/// All refs of a repository that this may touch, or run into.
type Refs = BTreeMap<String, ObjectName>;

impl Following<'_> {
    /// What there is to be told, if the repository stands where the records say. No git is asked.
    pub(crate) fn is_done(&self) -> Option<Tips> {
        let mark = Mark::read(self.repository.path())?;
        (mark.key == Some(self.history.key())).then_some(mark.tips)
    }

    /// Whether all that the repository names is in bundles that are here, so that it is a cache and no
    /// more.
    pub(crate) async fn can_be_made_again(&self) -> Result<bool, HistoryError> {
        let head = self.history.head.as_ref().and_then(|git| git.sequence);
        let (Some(sequence), Some(mark)) = (head, Mark::read(self.repository.path())) else {
            return Ok(false);
        };
        let is_published = |(name, object): (&String, &ObjectName)| {
            let is_ours = name.starts_with(INCOMING) || name.starts_with(TIPS);
            let mut set = mark.refs.iter();
            is_ours || set.any(|at| at.name == *name && at.object == *object)
        };
        if !self.standing().await?.iter().all(is_published) {
            return Ok(false);
        }
        self.sequence(sequence).await.map(|_here| true)
    }

    /// Brings in what is not in yet. Nothing has changed for anybody when this gives an error.
    pub(crate) async fn bring(&self) -> Result<Tips, HistoryError> {
        let mark = Mark::read(self.repository.path());
        let known = mark.as_ref().map_or(&[][..], |mark| &mark.bundles);
        let head = self.history.head.as_ref().and_then(|git| git.sequence);
        let head = match head {
            Some(sequence) => Some(self.sequence(sequence).await?),
            None => None,
        };
        let mut taken = 0;
        if let Some(head) = &head {
            self.take(&head.bundles, known, &mut taken).await?;
        }
        let (mut tips, mut is_whole) = (Vec::new(), true);
        for other in &self.history.others {
            let sequence = other.git.as_ref().and_then(|git| git.sequence);
            let Some(sequence) = sequence else {
                tips.push(Tip::InHead);
                continue;
            };
            match self.tip(sequence, head.as_ref(), &mut taken).await {
                Ok(tip) => tips.push(tip),
                // The head is what counts: a tip that is not here yet is looked for again.
                Err(error @ (HistoryError::Git(_) | HistoryError::NoRoom(_))) => return Err(error),
                Err(error) => {
                    tracing::info!(%error, "the history of another tip is not brought in");
                    is_whole = false;
                    tips.push(Tip::Away);
                }
            }
        }
        let refs: Vec<Named> = match &head {
            Some(head) => head.header.refs().cloned().collect(),
            None => Vec::new(),
        };
        self.move_refs(&refs, mark.as_ref(), &tips).await?;
        if let Some(head) = &head {
            let branch = head.header.branch.name.trim_start_matches("refs/heads/");
            self.repository.show_branch(self.git, branch).await?;
        }
        let mark = Mark {
            key: is_whole.then(|| self.history.key()),
            bundles: head.map(|head| head.bundles).unwrap_or_default(),
            refs,
            tips: tips.clone(),
        };
        mark.write(self.repository.path())?;
        Ok(tips)
    }

    /// The repository stands where the records say by itself: git has just moved the refs that the
    /// last bundle names. If that is not so, the next look finds it out.
    pub(crate) async fn arrive(&self, commit: &str) -> Result<(), HistoryError> {
        let head = self.history.head.as_ref().and_then(|git| git.sequence);
        let Some(sequence) = head.filter(|_| self.history.others.is_empty()) else {
            return Ok(());
        };
        let before = Mark::read(self.repository.path());
        if before.is_some_and(|mark| !mark.tips.is_empty()) {
            return Ok(());
        }
        let head = self.sequence(sequence).await?;
        if head.header.branch.object.as_str() != commit {
            return Ok(());
        }
        let mark = Mark {
            key: Some(self.history.key()),
            refs: head.header.refs().cloned().collect(),
            bundles: head.bundles,
            tips: Vec::new(),
        };
        Ok(mark.write(self.repository.path())?)
    }

    async fn sequence(&self, digest: Digest) -> Result<Sequence, HistoryError> {
        let (store, bytes_max) = (self.store.clone(), self.limits.history_bytes_max());
        blocking(move || Sequence::read(&store, digest, bytes_max)).await?
    }

    /// Takes in the history of another tip.
    async fn tip(
        &self,
        sequence: Digest,
        head: Option<&Sequence>,
        taken: &mut usize,
    ) -> Result<Tip, HistoryError> {
        let tip = self.sequence(sequence).await?;
        let known = head.map_or(&[][..], |head| &head.bundles);
        self.take(&tip.bundles, known, taken).await?;
        let commit = tip.header.branch.object;
        let is_in_head = match head {
            Some(head) => {
                let onto = head.header.branch.object.as_str();
                self.is_ancestor(commit.as_str(), onto).await?
            }
            None => false,
        };
        Ok(if is_in_head {
            Tip::InHead
        } else {
            Tip::Named(commit)
        })
    }

    async fn is_ancestor(&self, commit: &str, onto: &str) -> Result<bool, ReceiveError> {
        let question = ["merge-base", "--is-ancestor", commit, onto];
        let answer = self.git.ask(self.repository.path(), &question, &[]);
        Ok(answer.await?.is_some())
    }

    /// Takes in the bundles after those that are `known`; all of them, where git says that what they
    /// build on is not there any more.
    async fn take(
        &self,
        bundles: &[Digest],
        known: &[Digest],
        taken: &mut usize,
    ) -> Result<(), HistoryError> {
        let pairs = bundles.iter().zip(known);
        let common = pairs.take_while(|(bundle, known)| bundle == known).count();
        let rest = bundles.get(common..).unwrap_or_default();
        match self.take_each(rest, taken).await {
            Err(HistoryError::Wrong { .. }) if common > 0 => self.take_each(bundles, taken).await,
            done => done,
        }
    }

    async fn take_each(&self, bundles: &[Digest], taken: &mut usize) -> Result<(), HistoryError> {
        for digest in bundles {
            let path = self.checked(*digest).await?;
            let into = format!("{INCOMING}{taken}");
            *taken += 1;
            let fetched = self.git.fetch_bundle(self.repository.path(), &path, &into);
            if let Err(said) = fetched.await? {
                return Err(if NO_ROOM.iter().any(|words| said.contains(words)) {
                    HistoryError::NoRoom(last_line(&said))
                } else {
                    HistoryError::wrong(*digest, "a git bundle that git does not take")
                });
            }
        }
        Ok(())
    }

    /// The file of a bundle whose bytes are right; a damaged one is put aside.
    async fn checked(&self, digest: Digest) -> Result<PathBuf, HistoryError> {
        let store = self.store.clone();
        let header = blocking(move || {
            let _pin = store.pin([digest]);
            if let Some(damage) = recheck(&store, digest)? {
                tracing::error!(blob = %digest, moved_to = %damage.moved_to.display(), "a damaged bundle is put aside");
                return Err(HistoryError::Damaged(digest));
            }
            let file = store.blobs().open(&digest)?;
            Header::read(&file.ok_or(HistoryError::Missing(digest))?)
        });
        let header = header.await??;
        if !header.shallow.is_empty() {
            self.make_shallow(&header.shallow).await?;
        }
        Ok(self.store.dir().join("blobs").join(digest.to_string()))
    }

    /// Lets git know of commits whose parents are nowhere. One that is here has its parents, or is
    /// known already.
    async fn make_shallow(&self, commits: &[ObjectName]) -> Result<(), HistoryError> {
        let repository = self.repository.path();
        let lines: String = commits.iter().fold(String::new(), |mut lines, commit| {
            lines.push_str(commit.as_str());
            lines.push('\n');
            lines
        });
        let question = ["cat-file", "--batch-check=%(objectname)", "--buffer"];
        let answer = self.git.tell(repository, &question, &[], &lines).await?;
        let answer = answer.unwrap_or_default();
        let here: BTreeSet<&str> = answer.lines().collect();
        let path = repository.join("shallow");
        let mut shallow = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| ReceiveError::io("read", &path, source))?,
        };
        let standing = shallow.clone();
        let is_new = |commit: &&ObjectName| {
            let commit = commit.as_str();
            !here.contains(commit) && !standing.lines().any(|line| line == commit)
        };
        for commit in commits.iter().filter(is_new) {
            shallow.push_str(commit.as_str());
            shallow.push('\n');
        }
        if shallow != standing {
            verge_sync::store::write_file_durably(&path, shallow.as_bytes(), 0o600)?;
        }
        Ok(())
    }

    /// Moves the branch and the tags, and the refs of other tips. What is only here stays: other
    /// branches, tags that no bundle had, and a commit of the branch that nobody has published.
    async fn move_refs(
        &self,
        wanted: &[Named],
        mark: Option<&Mark>,
        tips: &[Tip],
    ) -> Result<(), HistoryError> {
        let standing = self.standing().await?;
        let mut kept = Changes::default();
        for (name, object) in standing
            .iter()
            .filter(|(name, _)| is_in_the_way(name, wanted))
        {
            kept.set(short_ref(KEPT, object), object);
            kept.delete(name);
        }
        self.update(&kept).await?;
        let mut moves = Changes::default();
        if let Some(object) = self.unpublished(&standing, wanted, mark).await? {
            moves.set(short_ref(KEPT, object), object);
        }
        let is_elsewhere = |at: &&Named| standing.get(&at.name) != Some(&at.object);
        for Named { name, object } in wanted.iter().filter(is_elsewhere) {
            moves.set(name.clone(), object);
        }
        let gone = mark.into_iter().flat_map(|mark| &mark.refs);
        let gone = gone.map(|at| at.name.as_str()).filter(|name| {
            let is_tag = name.starts_with("refs/tags/");
            is_tag && standing.contains_key(*name) && !wanted.iter().any(|at| at.name == *name)
        });
        // Without a sequence the records say nothing of tags.
        for name in gone.filter(|_| !wanted.is_empty()) {
            moves.delete(name);
        }
        let shown: BTreeMap<String, &ObjectName> = tips
            .iter()
            .filter_map(|tip| match tip {
                Tip::Named(commit) => Some((short_ref(TIPS, commit), commit)),
                Tip::InHead | Tip::Away => None,
            })
            .collect();
        for (name, commit) in &shown {
            moves.set(name.clone(), commit);
        }
        let ours = standing.keys().filter(|name| {
            name.starts_with(INCOMING) || (name.starts_with(TIPS) && !shown.contains_key(*name))
        });
        for name in ours {
            moves.delete(name);
        }
        self.update(&moves).await
    }

    async fn standing(&self) -> Result<Refs, ReceiveError> {
        let question = ["for-each-ref", "--format=%(objectname) %(refname)"];
        let answer = self.git.ask(self.repository.path(), &question, &[]).await?;
        let lines = answer.as_deref().unwrap_or_default().lines();
        let refs = lines.filter_map(|line| line.split_once(' '));
        Ok(refs
            .filter_map(|(object, name)| Some((name.to_owned(), ObjectName::parse(object)?)))
            .collect())
    }

    /// The commit of the branch, if it was stored here and never published, as when its files were
    /// those of the commit before, and what comes does not have it.
    async fn unpublished<'r>(
        &self,
        standing: &'r Refs,
        wanted: &[Named],
        mark: Option<&Mark>,
    ) -> Result<Option<&'r ObjectName>, ReceiveError> {
        let Some(branch) = wanted.first() else {
            return Ok(None);
        };
        let Some(here) = standing
            .get(&branch.name)
            .filter(|here| **here != branch.object)
        else {
            return Ok(None);
        };
        let was_published = mark.is_some_and(|mark| {
            let mut set = mark.refs.iter();
            set.any(|at| at.name == branch.name && at.object == *here)
        });
        let is_had = was_published
            || self
                .is_ancestor(here.as_str(), branch.object.as_str())
                .await?;
        Ok((!is_had).then_some(here))
    }

    /// All of the changes, or none.
    async fn update(&self, changes: &Changes) -> Result<(), HistoryError> {
        if changes.0.is_empty() {
            return Ok(());
        }
        let (path, input) = (self.repository.path(), changes.input());
        let told = self
            .git
            .tell(path, &["update-ref", "--stdin", "-z"], &[], &input);
        let told = told.await?;
        Ok(told
            .map(drop)
            .ok_or_else(|| ReceiveError::Repository(path.to_owned()))?)
    }
}

/// Whether git could not have both: `v1/a` where `v1` is to be, or the other way round.
fn is_in_the_way(name: &str, wanted: &[Named]) -> bool {
    let is_below = |name: &str, above: &str| {
        let below = name.strip_prefix(above);
        below.is_some_and(|below| below.starts_with('/'))
    };
    let mut wanted = wanted.iter().map(|at| at.name.as_str());
    wanted.any(|wanted| is_below(name, wanted) || is_below(wanted, name))
}

/// The ref under which a commit can be fetched.
pub(crate) fn short_ref(under: &str, commit: &ObjectName) -> String {
    let digits = commit.as_str().get(..SHORT_DIGITS);
    format!("{under}{}", digits.unwrap_or_default())
}

/// What is to become of refs: each is named once.
#[derive(Default)]
struct Changes(BTreeMap<String, Option<ObjectName>>);

impl Changes {
    fn set(&mut self, name: String, object: &ObjectName) {
        self.0.insert(name, Some(object.clone()));
    }

    fn delete(&mut self, name: &str) {
        self.0.insert(name.to_owned(), None);
    }

    /// The input of `git update-ref --stdin -z`.
    fn input(&self) -> String {
        let mut input = String::new();
        for (name, object) in &self.0 {
            let written = match object {
                Some(object) => write!(input, "update {name}\0{}\0\0", object.as_str()),
                None => write!(input, "delete {name}\0\0"),
            };
            debug_assert!(written.is_ok(), "a String takes everything");
        }
        input
    }
}
