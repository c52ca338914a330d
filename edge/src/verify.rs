//! `verge verify`: everything that a node holds, read again and compared with what it should be.
//!
//! Records, then blobs, then every kept version of every site. A damaged blob is set aside, as the
//! scrub does; nothing else is changed. Memory: the records once more, the list of blobs, one
//! manifest and the one before it, a window of a decoder, and at most `DAMAGES_MAX` damages.

use crate::build_child::BuildChildError;
use crate::error_chain::chain;
use crate::publish::{Publishing, Rebuilt};
use crate::receive::Histories;
use crate::region::{OpenError, RegionView, site_label};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use verge_builder::{CheckError, RECIPE, check_version};
use verge_sync::clock::stopwatch;
use verge_sync::content::Repairs;
use verge_sync::digest::Digest;
use verge_sync::id::{SiteId, Version};
use verge_sync::manifest::{BlobRef, MANIFEST_BYTES_MAX, Manifest};
use verge_sync::record::effect::{DeployEffect, SiteEffect};
use verge_sync::record::{Deploy, Effect};
use verge_sync::store::scrub::recheck;
use verge_sync::store::{BlobFile, Store, StoreError};

/// Between two lines that say how far it is.
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// Lost blobs that are named one by one with their sites: on a disk that is worse the rest is a
/// number.
const DAMAGES_MAX: usize = 10_000;

/// Takes a line; breaks off when nobody listens any more.
pub type Say<'a> = dyn FnMut(String) -> ControlFlow<()> + Send + 'a;

/// What was looked at, and how much of it is not as it should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records in the database.
    pub record_count: u64,
    /// Blobs.
    pub blob_count: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Sites.
    pub site_count: u64,
    /// Kept versions of them.
    pub version_count: u64,
    /// Of these, how many are not on this node: they are on their way to it.
    pub absent_count: u64,
    /// Damages: each had a line.
    pub damage_count: u64,
}

/// Why it broke off.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The records.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The builds.
    #[error(transparent)]
    Build(#[from] BuildChildError),
    /// It came to its end.
    #[error("{0} damages: each has a line above that says what to do")]
    Damaged(u64),
    /// Whoever asked has gone away.
    #[error("nobody listens any more")]
    Unheard,
}

/// Reads everything again. Every damage is a line, and so is the sum at the end.
///
/// # Errors
/// [`VerifyError`]; damage is none.
pub fn verify(
    store: &Store,
    region: &RegionView,
    repairs: Option<&Repairs>,
    say: &mut Say<'_>,
) -> Result<Findings, VerifyError> {
    let mut look = Look {
        store,
        region,
        repairs,
        say,
        findings: Findings::default(),
        lost: BTreeMap::new(),
        last_line: stopwatch(),
    };
    look.records()?;
    look.blobs()?;
    look.versions()?;
    look.tell_lost()?;
    let findings = look.findings;
    look.say(format!("records   {}", count(findings.record_count)))?;
    let bytes = Bytes(findings.blob_bytes);
    look.say(format!("blobs     {}, {bytes}", count(findings.blob_count)))?;
    let (versions, sites) = (count(findings.version_count), count(findings.site_count));
    let absent = match findings.absent_count {
        0 => String::new(),
        some => format!(", {} of them not here yet", count(some)),
    };
    look.say(format!("versions  {versions} of {sites} sites{absent}"))?;
    Ok(findings)
}

/// Everything that is needed to look at a node, running or not.
pub struct Verification {
    /// Its blobs and records.
    pub store: Store,
    /// What holds.
    pub region: Arc<RegionView>,
    /// What builds.
    pub publishing: Arc<Publishing>,
    /// Its repositories.
    pub histories: Histories,
    /// Where lost blobs are asked for, if it runs.
    pub repairs: Option<Repairs>,
}

impl Verification {
    /// Reads everything again and, if that is wanted, builds what is in place anew from its
    /// commits. Lines go to `log`; whoever goes away ends it.
    ///
    /// # Errors
    /// [`VerifyError`]: what keeps it from going on; [`VerifyError::Damaged`] at the end.
    pub async fn run(self, rebuild: bool, log: mpsc::Sender<String>) -> Result<(), VerifyError> {
        let (store, region, to) = (self.store.clone(), Arc::clone(&self.region), log.clone());
        let repairs = self.repairs.clone();
        let looked = tokio::task::spawn_blocking(move || {
            verify(
                &store,
                &region,
                repairs.as_ref(),
                &mut |line| match to.blocking_send(line) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_gone) => ControlFlow::Break(()),
                },
            )
        });
        let looked = looked.await.map_err(|_ended| VerifyError::Unheard)?;
        let mut damages = looked?.damage_count;
        if rebuild {
            damages = damages.saturating_add(self.rebuild(&log).await?);
        }
        if damages > 0 {
            return Err(VerifyError::Damaged(damages));
        }
        say(&log, "all is well".to_owned()).await
    }

    /// Builds each site's head anew; how many are not what their record says.
    async fn rebuild(&self, log: &mpsc::Sender<String>) -> Result<u64, VerifyError> {
        let effect = self.region.effect();
        let (mut same, mut damages) = (0_u64, 0_u64);
        for site in effect.sites.values().filter(|site| !site.ended) {
            let name = site_label(&effect, site);
            let line = match self.publishing.rebuild(site.id, &self.histories).await? {
                Rebuilt::Same => {
                    same += 1;
                    continue;
                }
                Rebuilt::Nothing => continue,
                Rebuilt::NoCommit => format!(
                    "rebuild   site {name}: what is in place was published without git: nothing to compare it with"
                ),
                Rebuilt::NoHistory => format!(
                    "rebuild   site {name}: its commit is not on this node: nothing to compare it with"
                ),
                Rebuilt::OtherRecipe(recipe) => format!(
                    "rebuild   site {name}: made by recipe {recipe}, this release has {RECIPE}: it cannot be compared"
                ),
                Rebuilt::Other(what) => {
                    damages += 1;
                    format!(
                        "damage    site {name}: its commit {what}: publish the site again, and ask who runs the node that accepted it"
                    )
                }
            };
            say(log, line).await?;
        }
        say(
            log,
            format!("rebuilt   {} sites are their commits", count(same)),
        )
        .await?;
        Ok(damages)
    }
}

async fn say(log: &mpsc::Sender<String>, line: String) -> Result<(), VerifyError> {
    log.send(line).await.map_err(|_gone| VerifyError::Unheard)
}

/// A look at everything, under way.
struct Look<'a, 'b> {
    store: &'a Store,
    region: &'a RegionView,
    repairs: Option<&'a Repairs>,
    say: &'a mut Say<'b>,
    findings: Findings,
    lost: BTreeMap<Digest, Lost>,
    last_line: Instant,
}

/// A blob that is not there as it should be, and what that touches.
#[derive(Default)]
struct Lost {
    /// Where its damaged file is now; nowhere if it was missing.
    aside: Option<PathBuf>,
    touches: BTreeMap<SiteId, BTreeSet<Version>>,
}

impl Look<'_, '_> {
    fn records(&mut self) -> Result<(), VerifyError> {
        let check = self.region.check_records()?;
        self.findings.record_count = check.count;
        for damage in check.damages {
            self.damage(format!(
                "record {} {}: this node goes on without it and gets it again from the others; in a region of one node put a backup of verge.sqlite in place",
                damage.id, damage.what
            ))?;
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), VerifyError> {
        let held = self.store.blobs().list()?;
        let (total, total_bytes) = (held.len(), held.iter().map(|held| held.bytes).sum());
        for blob in held {
            match recheck(self.store, blob.digest) {
                Ok(None) => {}
                Ok(Some(damage)) => self.lose(blob.digest, Some(damage.moved_to)),
                Err(error) => self.damage(format!(
                    "blob {} is damaged and cannot be set aside ({}): look at the disk and at damaged/",
                    blob.digest,
                    chain(&error)
                ))?,
            }
            self.findings.blob_count += 1;
            self.findings.blob_bytes = self.findings.blob_bytes.saturating_add(blob.bytes);
            let (done, bytes) = (self.findings.blob_count, Bytes(self.findings.blob_bytes));
            self.progress(|| {
                let all = Bytes(total_bytes);
                format!("...       {done} of {total} blobs, {bytes} of {all}")
            })?;
        }
        Ok(())
    }

    fn versions(&mut self) -> Result<(), VerifyError> {
        let effect = self.region.effect();
        let sites = effect.sites.values().filter(|site| !site.ended);
        for site in sites {
            self.findings.site_count += 1;
            self.site(&effect, site)?;
        }
        Ok(())
    }

    /// Each version once, the newest first: what the next one has in common with it is known.
    fn site(&mut self, effect: &Effect, site: &SiteEffect) -> Result<(), VerifyError> {
        let name = site_label(effect, site);
        let mut seen = BTreeSet::new();
        let mut known: Option<Manifest> = None;
        for deploy in site.kept() {
            self.note_lost_history(site.id, deploy)?;
            let deploy = deploy.body();
            if !seen.insert(deploy.version) {
                continue;
            }
            self.findings.version_count += 1;
            if !self.store.shelf().holds(&deploy.version) {
                self.findings.absent_count += 1;
                let version = deploy.version.short();
                self.say(format!(
                    "absent    version {version} of site {name} is not on this node yet: it comes from one that holds it"
                ))?;
                continue;
            }
            // A collection must not take between two looks what one has found.
            let listed = self.region.listed_blobs(deploy)?.unwrap_or_default();
            let _pin = self.store.pin(listed.iter().copied());
            if self.note_lost(site.id, deploy, &listed)? {
                continue;
            }
            match self.version(deploy, known.as_ref()) {
                Ok(manifest) => known = Some(manifest),
                Err(Fault::Store(error)) => return Err(error.into()),
                Err(Fault::Unheard) => return Err(VerifyError::Unheard),
                Err(Fault::Unsound(_)) if !self.is_still_kept(site.id, deploy) => {}
                Err(Fault::Unsound(what)) => {
                    let version = deploy.version.short();
                    self.damage(format!(
                        "version {version} of site {name}: {what}: publish the site's files again, or go back with `verge site rollback {name}`"
                    ))?;
                }
            }
            let done = self.findings.version_count;
            self.progress(|| format!("...       {done} versions, now site {name}"))?;
        }
        Ok(())
    }

    /// What is lost of a history touches its site. What is only missing of one that another node
    /// took may be on its way.
    fn note_lost_history(
        &mut self,
        site: SiteId,
        deploy: &DeployEffect,
    ) -> Result<(), VerifyError> {
        let author = deploy.record().envelope().author;
        let is_own = author.as_bytes() == self.region.keys().node().as_bytes();
        let mut history = BTreeSet::new();
        self.region.add_history(deploy.body(), &mut history)?;
        for digest in history {
            let is_missing = is_own
                && !self.store.blobs().contains(&digest)?
                && self.is_still_kept(site, deploy.body());
            if is_missing {
                self.lose(digest, None);
            }
            if let Some(lost) = self.lost.get_mut(&digest) {
                let touched = lost.touches.entry(site).or_default();
                touched.insert(deploy.body().version);
            }
        }
        Ok(())
    }

    /// Whether blobs of a version are lost; each is noted with the site that it touches.
    fn note_lost(
        &mut self,
        site: SiteId,
        deploy: &Deploy,
        listed: &[Digest],
    ) -> Result<bool, VerifyError> {
        let own = [deploy.version.digest(), deploy.blobs];
        let mut is_lost = false;
        for digest in listed.iter().chain(&own) {
            if self.store.blobs().contains(digest)? || !self.is_still_kept(site, deploy) {
                continue;
            }
            is_lost = true;
            self.lose(*digest, None);
            if let Some(lost) = self.lost.get_mut(digest) {
                lost.touches.entry(site).or_default().insert(deploy.version);
            }
        }
        Ok(is_lost)
    }

    /// A running node may have collected a version since the look began.
    fn is_still_kept(&self, site: SiteId, deploy: &Deploy) -> bool {
        let effect = self.region.effect();
        let site = effect.site(&site);
        site.is_some_and(|site| {
            let mut kept = site.kept();
            kept.any(|kept| kept.body().version == deploy.version)
        })
    }

    fn version(&mut self, deploy: &Deploy, known: Option<&Manifest>) -> Result<Manifest, Fault> {
        let blobs = self.store.blobs();
        let bytes = blobs.read_verified(&deploy.version.digest(), MANIFEST_BYTES_MAX);
        let bytes = bytes?.ok_or_else(|| Fault::unsound("its manifest is missing"))?;
        let manifest = Manifest::decode(bytes).map_err(Fault::unsound)?;
        let sequence = manifest.sequence();
        let record = [
            (manifest.content_digest() == deploy.content, "content"),
            (manifest.recipe() == deploy.recipe, "recipe"),
            (Digest::of(&sequence) == deploy.blobs, "list of blobs"),
        ];
        if let Some((_, what)) = record.iter().find(|(is_so, _)| !is_so) {
            let what = format!("its deploy record names another {what} than its manifest");
            return Err(Fault::unsound(what));
        }
        for blob in manifest.blobs() {
            if blobs.bytes(&blob.digest)? != Some(blob.bytes) {
                let what = format!("blob {} has another length than it says", blob.digest);
                return Err(Fault::unsound(what));
            }
        }
        self.codings(&manifest, known)?;
        Ok(manifest)
    }

    fn codings(&mut self, manifest: &Manifest, known: Option<&Manifest>) -> Result<(), Fault> {
        let mut open = OpenBlobs::new(self.store);
        let mut is_heard = true;
        let checked = check_version(manifest, known, &mut |blob, offset| {
            // Between two representations: the only place where a long check can end early.
            let line = || "...       decoding every coding of a version".to_owned();
            if self.progress(line).is_err() {
                is_heard = false;
                return Err(io::ErrorKind::Interrupted.into());
            }
            open.at(blob, offset)
        });
        match checked {
            Ok(_) => Ok(()),
            Err(_) if !is_heard => Err(Fault::Unheard),
            Err(error @ CheckError::Unreadable { .. }) => Err(Fault::unsound(chain(&error))),
            Err(error) => Err(Fault::unsound(error)),
        }
    }

    fn tell_lost(&mut self) -> Result<(), VerifyError> {
        let effect = self.region.effect();
        for (digest, lost) in std::mem::take(&mut self.lost) {
            let what = match &lost.aside {
                Some(path) => format!("was damaged and lies in {} now", path.display()),
                None => "is missing".to_owned(),
            };
            let touches: Vec<String> = lost
                .touches
                .iter()
                .map(|(site, versions)| touched(&effect, *site, versions))
                .collect();
            let (touches, instead) = if touches.is_empty() {
                let nothing = "no kept version needs it".to_owned();
                (nothing, "nothing is to be done")
            } else {
                let instead = "it is asked for at the other nodes; where none has it, publish the same files again";
                (touches.join(", "), instead)
            };
            self.line(format!("blob {digest} {what}: {touches}: {instead}"))?;
        }
        Ok(())
    }

    /// Each is counted once, and told at the end, when it is known what it touches.
    fn lose(&mut self, digest: Digest, aside: Option<PathBuf>) {
        if let Some(known) = self.lost.get_mut(&digest) {
            known.aside = known.aside.take().or(aside);
            return;
        }
        self.findings.damage_count += 1;
        if let Some(repairs) = self.repairs {
            repairs.ask(digest);
        }
        if self.lost.len() < DAMAGES_MAX {
            let lost = Lost {
                aside,
                ..Lost::default()
            };
            self.lost.insert(digest, lost);
        }
    }

    fn damage(&mut self, what: String) -> Result<(), VerifyError> {
        self.findings.damage_count += 1;
        self.line(what)
    }

    fn line(&mut self, what: String) -> Result<(), VerifyError> {
        self.say(format!("damage    {what}"))
    }

    fn progress(&mut self, line: impl FnOnce() -> String) -> Result<(), VerifyError> {
        if self.last_line.elapsed() < BETWEEN_LINES {
            return Ok(());
        }
        self.say(line())
    }

    fn say(&mut self, line: String) -> Result<(), VerifyError> {
        self.last_line = stopwatch();
        match (self.say)(line) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(VerifyError::Unheard),
        }
    }
}

/// Why a version did not pass.
enum Fault {
    Unsound(String),
    Store(StoreError),
    Unheard,
}

impl Fault {
    fn unsound(what: impl fmt::Display) -> Self {
        Self::Unsound(what.to_string())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } | StoreError::TooLarge { .. } => Self::unsound(error),
            error => Self::Store(error),
        }
    }
}

/// Blobs opened one after another; the last one stays open, since most of what is read lies in few
/// packs.
pub struct OpenBlobs<'a> {
    store: &'a Store,
    last: Option<Arc<BlobFile>>,
}

impl<'a> OpenBlobs<'a> {
    /// Nothing open yet.
    #[must_use]
    pub fn new(store: &'a Store) -> Self {
        Self { store, last: None }
    }

    /// The bytes of a blob from an offset.
    ///
    /// # Errors
    /// It is not there, or the disk does not give it.
    pub fn at(&mut self, blob: &BlobRef, offset: u64) -> io::Result<Box<dyn Read>> {
        let known = self.last.take().filter(|file| file.digest() == blob.digest);
        let file = match known {
            Some(file) => file,
            None => {
                let opened = self.store.blobs().open(&blob.digest);
                let opened = opened.map_err(io::Error::other)?;
                Arc::new(opened.ok_or(io::ErrorKind::NotFound)?)
            }
        };
        self.last = Some(Arc::clone(&file));
        Ok(Box::new(Reading { file, offset }))
    }
}

/// A blob being read.
struct Reading {
    file: Arc<BlobFile>,
    offset: u64,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.bytes().saturating_sub(self.offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let part = buffer.get_mut(..length).unwrap_or_default();
        let read = self.file.read_into(self.offset, part);
        read.map_err(io::Error::other)?;
        self.offset = self
            .offset
            .saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(length)
    }
}

fn touched(effect: &Effect, site: SiteId, versions: &BTreeSet<Version>) -> String {
    let name = effect
        .site(&site)
        .map_or_else(|| site.short(), |site| site_label(effect, site));
    let versions: Vec<String> = versions.iter().map(Version::short).collect();
    format!("site {name} (version {})", versions.join(", "))
}

fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let fits = |(_, shift): &&(&str, u32)| self.0 >> shift > 0;
        match units.iter().find(fits) {
            Some((unit, shift)) => {
                let tenths = (self.0 >> (shift - 10)) * 10 / 1024;
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), expected);
        }
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), expected);
        }
    }
}
