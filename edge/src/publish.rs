//! From a tree to a deploy: the build in a child process, its blobs into the store, the record that
//! puts the version in place.
//!
//! A crash before the record leaves only blobs that nothing names; the next collection removes
//! them. One publication of a site runs at a time, and only so many builds of all sites.

mod drafted;
mod rebuild;
mod rollback;

pub use rebuild::{Rebuilt, hex};
pub use rollback::RollBackError;

use crate::build_child::{BuildChild, BuildChildError};
use crate::config;
use crate::receive::{Bundled, HistoryError, PushedHistory};
use crate::region::{RegionView, Signer, SiteHistory, WriteError, is_about, signed_deploy};
use crate::signing::Signing;
use crate::site_turns::SiteTurns;
use drafted::Drafted;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use verge_builder::{Built, Job, Limits, Outcome, Source};
use verge_sync::clock::{Clock, stopwatch};
use verge_sync::content::{Thrift, bytes_max};
use verge_sync::digest::Digest;
use verge_sync::id::{AccountId, ContentDigest, SiteId, Version};
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest};
use verge_sync::record::{Cause, Deploy, Draft, GitSource, Kind, Record};
use verge_sync::store::scrub::recheck;
use verge_sync::store::{BlobPin, Staged, Store, StoreError};

/// Takes trees and puts them in place.
pub struct Publishing {
    store: Store,
    thrift: Arc<Thrift>,
    region: Arc<RegionView>,
    clock: Clock,
    limits: config::Build,
    builds: BuildChild,
    slots: Semaphore,
    turns: SiteTurns,
    drafted: Drafted,
}

/// What is to be published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The site.
    pub site: SiteId,
    /// For whom.
    pub account: AccountId,
    /// The files.
    pub source: Source,
    /// The commit, if the files are one.
    pub commit: Option<String>,
    /// Its history, if it is to leave this node.
    pub history: Option<PushedHistory>,
    /// What caused it.
    pub cause: Cause,
    /// Who signs it.
    pub signing: Signing,
}

/// How a publication ended well.
#[derive(Debug, Clone)]
pub enum Published {
    /// The tree is what is already in place.
    Unchanged(Version),
    /// A new version is in place, durably.
    Deployed(Box<Built>),
}

/// Why nothing was put in place.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The build ended without a version.
    #[error(transparent)]
    Build(#[from] BuildChildError),
    /// The folder is not there, or not for this node to see.
    #[error("the node cannot read {}: {}; nothing was published", .0.display(), .1)]
    Folder(PathBuf, #[source] std::io::Error),
    /// Our own directory, or a folder around it.
    #[error(
        "{} and the node's data directory lie one in the other, and the node's keys and other sites' files would be published: name another folder",
        .0.display()
    )]
    OwnData(PathBuf),
    /// The version takes more than the site may have.
    #[error(
        "the version takes {bytes} bytes with all its codings, the site may have {max}: make files smaller, or ask for a larger quota"
    )]
    OverQuota {
        /// What it takes.
        bytes: u64,
        /// What the site may have.
        max: u64,
    },
    /// All sites of the account together take more than they may.
    #[error(
        "with it the account's sites take {bytes} bytes, all together may have {max}: make files smaller, or ask the region for more"
    )]
    OverAccount {
        /// What they take.
        bytes: u64,
        /// What they may take.
        max: u64,
    },
    /// The steward has set a limit, and it is reached.
    #[error(
        "this node's room for sites is used up: push to another node, or again in a minute, when it may have made some, or ask its steward for more (`store.bytes_max`)"
    )]
    NoRoom,
    /// What the build left is not a whole version: an error of ours.
    #[error(
        "the new version is not whole ({0}); nothing was published, the last version is still served"
    )]
    NotWhole(String),
    /// It is not what it was said to be.
    #[error(
        "the files come to content {}, and not to {}; nothing was published",
        found.short(),
        wanted.short()
    )]
    OtherContent {
        /// What it should have come to.
        wanted: ContentDigest,
        /// What it came to.
        found: ContentDigest,
    },
    /// What was signed is another commit.
    #[error(
        "the line was signed for another commit than the one that is pushed: run `verge deploy` again; nothing was published"
    )]
    OtherCommit,
    /// The store said no.
    #[error(
        "the node could not keep the new version: {0}; nothing was published, the last version is still served"
    )]
    Store(#[from] StoreError),
    /// The site's history cannot be passed on.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] WriteError),
}

impl Publishing {
    /// Ready to build in `builds`.
    #[must_use]
    pub fn new(
        (store, thrift): (Store, Arc<Thrift>),
        region: Arc<RegionView>,
        clock: Clock,
        limits: config::Build,
        builds: BuildChild,
        at_once_max: usize,
    ) -> Self {
        let slots = Semaphore::new(at_once_max);
        Self {
            store,
            thrift,
            region,
            clock,
            limits,
            builds,
            slots,
            turns: SiteTurns::default(),
            drafted: Drafted::default(),
        }
    }

    /// Where versions and histories are put.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Builds `publication` and puts it in place. Lines for the publisher go to `log`; a publisher
    /// who has gone away stops nothing.
    ///
    /// # Errors
    /// [`PublishError`]; the version in place stays.
    pub async fn publish(
        &self,
        publication: Publication,
        log: &mpsc::Sender<String>,
    ) -> Result<Published, PublishError> {
        self.publish_as(publication, None, log).await
    }

    /// The same, only if it comes to the content that is `wanted`.
    ///
    /// # Errors
    /// [`PublishError::OtherContent`] if it does not; [`PublishError`].
    pub async fn publish_as(
        &self,
        publication: Publication,
        wanted: Option<ContentDigest>,
        log: &mpsc::Sender<String>,
    ) -> Result<Published, PublishError> {
        let signer = match &publication.signing {
            Signing::Node => Signer::Member,
            Signing::Ask | Signing::Signed(_) => Signer::Account,
        };
        self.region.check_may_deploy(publication.site, signer)?;
        if let Signing::Signed(record) = &publication.signing {
            match record.envelope().kind {
                Kind::DEPLOY => return self.publish_signed(&publication, record).await,
                _ => self.take_in(publication.site, record).await?,
            }
        }
        let source = self.checked_source(&publication.source)?;
        let _turn = self.turns.turn(publication.site).await;
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_closed| WriteError::Stopping)?;
        let started = stopwatch();
        let (previous, _kept) = self.pin_previous(publication.site);
        let staging = self.store.staging()?;
        let job = self.job(source, previous, staging.path());
        let outcome = self.builds.run(&job, log).await?;
        let built = match outcome {
            Outcome::Unchanged { version } => {
                self.check_content(publication.site, wanted)?;
                return Ok(Published::Unchanged(version));
            }
            Outcome::Built(built) => built,
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != built.content_digest) {
            let found = built.content_digest;
            return Err(PublishError::OtherContent { wanted, found });
        }
        self.check_quota(publication.site, &built)?;
        let pin = self.keep(&built, staging.path().to_owned()).await?;
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let history = publication.history.as_ref();
        let bundled = match history {
            Some(history) => Some(history.bundle(&self.store).await?),
            None => None,
        };
        let body = self.deploy_body(&publication, &built, bundled.as_ref());
        let based_on = history.map(PushedHistory::based_on);
        let put = self.region.deploy(publication.site, body, based_on, signer);
        let put = put.await;
        if let Some(draft) = asked_for(&put, signer) {
            let kept = (pin, bundled);
            self.drafted
                .keep(publication.site, draft.id(), built.clone(), kept);
        }
        put?;
        tracing::info!(site = %publication.site.short(), version = %built.version.short(), took_ms, "deployed");
        Ok(Published::Deployed(built))
    }

    /// A deploy that was made ready here before, and that a key of its account has signed since.
    async fn publish_signed(
        &self,
        publication: &Publication,
        record: &Record,
    ) -> Result<Published, PublishError> {
        let (site, deploy) = signed_deploy(record).ok_or(WriteError::NotAllowedIn)?;
        if site != publication.site {
            return Err(WriteError::OtherSite.into());
        }
        let signed = deploy.git.as_ref().map(|git| git.commit.as_slice());
        let pushed = publication.commit.as_deref().and_then(commit_bytes);
        if signed != pushed.as_deref() {
            return Err(PublishError::OtherCommit);
        }
        let history = publication.history.as_ref();
        let based_on = history.map(PushedHistory::based_on);
        self.put_signed(record, based_on).await
    }

    /// Puts the version of a signed deploy in place, which was made ready here before.
    ///
    /// # Errors
    /// [`WriteError::NotAskedFor`] if it was not; [`PublishError`]. The version in place stays.
    pub async fn put_signed(
        &self,
        record: &Record,
        based_on: Option<&SiteHistory>,
    ) -> Result<Published, PublishError> {
        let (site, deploy) = signed_deploy(record).ok_or(WriteError::NotAllowedIn)?;
        self.region.check_signed(record, site)?;
        let _turn = self.turns.turn(site).await;
        let built = self.drafted.find(&record.id());
        let built = built.ok_or(WriteError::NotAskedFor)?;
        let (store, version) = (self.store.clone(), deploy.version);
        let checked = tokio::task::spawn_blocking(move || whole(&store, version));
        checked
            .await
            .map_err(|panic| PublishError::NotWhole(panic.to_string()))??;
        let signed = self.region.deploy_signed(record.clone(), based_on);
        signed.await?;
        self.drafted.forget(&record.id());
        tracing::info!(site = %site.short(), version = %version.short(), "deployed, signed by its account");
        Ok(Published::Deployed(built))
    }

    /// Another record that was to be signed before the site can be published, such as a new epoch.
    async fn take_in(&self, site: SiteId, record: &Record) -> Result<(), PublishError> {
        if !is_about(&self.region.effect(), record, site) {
            return Err(WriteError::OtherSite.into());
        }
        self.region.add_record(record.clone()).await?;
        Ok(())
    }

    /// The source by the name without links that was checked: a link could be turned round later.
    fn checked_source(&self, source: &Source) -> Result<Source, PublishError> {
        let Source::Folder(folder) = source else {
            return Ok(source.clone());
        };
        let real = |path: &Path| {
            let path = path.to_owned();
            path.canonicalize()
                .map_err(|error| PublishError::Folder(path, error))
        };
        let (folder, own) = (real(folder)?, real(self.store.dir())?);
        if folder.starts_with(&own) || own.starts_with(&folder) {
            return Err(PublishError::OwnData(folder));
        }
        Ok(Source::Folder(folder))
    }

    fn deploy_body(
        &self,
        publication: &Publication,
        built: &Built,
        bundled: Option<&Bundled>,
    ) -> Deploy {
        let commit = publication.commit.as_deref().and_then(commit_bytes);
        Deploy {
            version: built.version,
            content: built.content_digest,
            recipe: built.recipe,
            blobs: built.sequence_digest,
            blobs_bytes: built.version_bytes,
            git: commit.map(|commit| GitSource {
                sequence: bundled.map(|bundled| bundled.sequence),
                commit,
            }),
            time: self.clock.now(),
            cause: publication.cause,
            account: publication.account,
            provider: self.region.slot().provider,
        }
    }

    /// Of what stays in place.
    fn check_content(
        &self,
        site: SiteId,
        wanted: Option<ContentDigest>,
    ) -> Result<(), PublishError> {
        let effect = self.region.effect();
        let head = effect.site(&site).and_then(|site| site.head());
        match (wanted, head.map(|head| head.body().content)) {
            (Some(wanted), Some(found)) if wanted != found => {
                Err(PublishError::OtherContent { wanted, found })
            }
            _ => Ok(()),
        }
    }

    /// The version against what the site, and all sites of the account together, may take; what is
    /// new of it against the room of this node.
    fn check_quota(&self, site: SiteId, built: &Built) -> Result<(), PublishError> {
        let effect = self.region.effect();
        let bytes = built.version_bytes;
        let Some(site) = effect.site(&site) else {
            return Ok(());
        };
        let max = bytes_max(&effect, site);
        if bytes > max {
            return Err(PublishError::OverQuota { bytes, max });
        }
        let others = effect.sites_of(&site.body.account);
        let others = others.filter(|other| other.id != site.id);
        let heads = others.filter_map(|other| other.head());
        let bytes = heads.fold(bytes, |sum, head| {
            sum.saturating_add(head.body().blobs_bytes)
        });
        let max = effect.chain.current().body.limits.account_bytes_max;
        if bytes > max {
            return Err(PublishError::OverAccount { bytes, max });
        }
        let new_bytes = built.new_blobs.iter().map(|blob| blob.bytes).sum();
        if !self.thrift.has_room_for_new(new_bytes) {
            return Err(PublishError::NoRoom);
        }
        self.thrift.add(new_bytes);
        self.thrift.take_back(site.id);
        Ok(())
    }

    /// The version in place, kept from collection while the new one may reuse its blobs.
    fn pin_previous(&self, site: SiteId) -> (Option<PathBuf>, Option<BlobPin>) {
        let Some(version) = self.region.version_in_place(site) else {
            return (None, None);
        };
        let digest = version.digest();
        let pin = self.store.pin([digest]);
        let bytes = self
            .store
            .blobs()
            .read_verified(&digest, MANIFEST_BYTES_MAX);
        let manifest = bytes
            .ok()
            .flatten()
            .and_then(|bytes| Manifest::decode(bytes).ok());
        let Some(manifest) = manifest else {
            // A damaged manifest costs a full build, not a deploy.
            return (None, Some(pin));
        };
        let all = manifest.blobs().map(|blob| blob.digest).chain([digest]);
        let pin = self.store.pin(all);
        (Some(self.blob_path(&digest)), Some(pin))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs_folder().join(digest.to_string())
    }

    fn blobs_folder(&self) -> PathBuf {
        self.store.dir().join("blobs")
    }

    fn job(&self, source: Source, previous: Option<PathBuf>, staging: &Path) -> Job {
        Job {
            source,
            previous,
            blobs: self.blobs_folder(),
            staging: staging.to_owned(),
            limits: limits(&self.limits),
            time: self.clock.now(),
            threads: threads(self.limits.threads),
        }
    }

    /// Moves the new blobs into the store, and makes sure that the whole version is there.
    async fn keep(&self, built: &Built, staging: PathBuf) -> Result<BlobPin, PublishError> {
        let pin = self
            .store
            .pin(built.new_blobs.iter().map(|blob| blob.digest));
        let staged: Vec<Staged> = built
            .new_blobs
            .iter()
            .map(|blob| Staged {
                path: staging.join(blob.digest.to_string()),
                digest: blob.digest,
            })
            .collect();
        let (store, version) = (self.store.clone(), built.version);
        let kept = tokio::task::spawn_blocking(move || {
            // A damaged blob of the right length would stay in the place of the whole one.
            for file in &staged {
                if let Some(damage) = recheck(&store, file.digest)? {
                    tracing::error!(blob = %damage.digest, moved_to = %damage.moved_to.display(), "a damaged blob is replaced");
                }
            }
            store.blobs().adopt_all(&staged)?;
            whole(&store, version)
        });
        kept.await
            .map_err(|panic| PublishError::NotWhole(panic.to_string()))??;
        Ok(pin)
    }
}

/// The deploy that waits for a signature of its account, if that is how `put` has ended.
fn asked_for(put: &Result<(), WriteError>, signer: Signer) -> Option<&Draft> {
    match put {
        Err(WriteError::ToSign(draft)) if signer == Signer::Account => {
            Some(draft).filter(|draft| draft.envelope.kind == Kind::DEPLOY)
        }
        _ => None,
    }
    .map(AsRef::as_ref)
}

/// The bytes of a commit's name.
fn commit_bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes.filter(|bytes| bytes.len() == 20 || bytes.len() == 32)
}

/// Checks that `version` is complete: its manifest sound, its sequence and every blob there in full
/// length.
fn whole(store: &Store, version: Version) -> Result<(), PublishError> {
    let bytes = store
        .blobs()
        .read_verified(&version.digest(), MANIFEST_BYTES_MAX)?;
    let bytes = bytes.ok_or_else(|| PublishError::NotWhole(format!("no manifest {version}")))?;
    let manifest =
        Manifest::decode(bytes).map_err(|error| PublishError::NotWhole(error.to_string()))?;
    for blob in manifest.blobs() {
        if store.blobs().bytes(&blob.digest)? != Some(blob.bytes) {
            return Err(PublishError::NotWhole(format!("blob {}", blob.digest)));
        }
    }
    let sequence = manifest.sequence();
    let digest = Digest::of(&sequence);
    if store.blobs().bytes(&digest)? != u64::try_from(sequence.len()).ok() {
        return Err(PublishError::NotWhole(format!("sequence {digest}")));
    }
    Ok(())
}

/// The limits of a build, from the steward's settings.
#[must_use]
pub fn limits(build: &config::Build) -> Limits {
    Limits {
        entries_max: u32::try_from(build.entries_max).unwrap_or(u32::MAX),
        file_bytes_max: build.file_bytes_max,
        site_bytes_max: build.site_bytes_max,
        ..Limits::default()
    }
}

/// How many threads compress: what is set, or one for each core.
#[must_use]
pub fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        more => more,
    }
}
