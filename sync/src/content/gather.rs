//! The task that brings what is missing.
//!
//! Owns what it remembers of sources and failures; [`Gatherer::run`] ends when it is dropped, and
//! what was under way with it. A crash loses nothing but that memory: what came is in `partial/`
//! and `blobs/`, and is not asked for again. Limits: so many items at once, one at a time for each
//! blob, sizes checked before a byte is asked for.

use super::plan::{Arrivals, Conduct, Here, Item, Memory, missing};
use super::thrift::Thrift;
use super::turns::Turns;
use super::{FetchError, PRESSED_BYTES_MAX, PRESSED_BYTES_MIN, Size, Sources};
use crate::clock::stopwatch;
use crate::digest::Digest;
use crate::id::{NodeId, ProviderId, Version};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::record::Effect;
use crate::record::effect::{DeployEffect, SiteEffect};
use crate::store::{Batch, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A history has 16 bundles before it becomes one; a later release may allow more.
const HISTORY_COUNT_MAX: u64 = 256;
/// The longest bundle of a history, and the longest blob that is repaired: a push is 512 MiB.
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// What nobody could give is asked for again after so long, doubled each time, or as soon as a
/// peer comes.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(120);
/// A full disk is tried again after so long.
const FULL_REST: Duration = Duration::from_secs(60);
/// Lost blobs that wait to be brought.
const LOST_MAX: usize = 4_096;
/// Histories that are here and versions that are none, 32 bytes each, before those are forgotten that
/// nothing names: more than a region has at once.
const REMEMBERED_MAX: usize = 16_384;
/// Nothing is due for so long: a wake-up an hour costs nothing.
const IDLE: Duration = Duration::from_secs(3600);

/// Looks at a version whose blobs are all here: whether every coding decodes to what the manifest
/// says. The second version is one that was checked and may share much with it.
pub type Check = dyn Fn(&Store, &Manifest, Option<Version>) -> Result<(), Unfit> + Send + Sync;

/// Why a version is not shown though its blobs are here.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Whoever made it made it wrong: it is not tried again.
    #[error("{0}")]
    Wrong(String),
    /// A blob is damaged on this disk, and was moved aside.
    #[error("blob {0} is damaged")]
    Damaged(Digest),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a node gathers.
#[derive(Debug, Clone, Copy)]
pub struct GatherConfig {
    /// Whose node it is.
    pub provider: ProviderId,
    /// Versions and histories that are brought at once.
    pub at_once_max: usize,
}

/// Blobs that are brought for themselves: those that were here and are lost, and those that records
/// of the edge's kinds name.
#[derive(Debug, Clone)]
pub struct Repairs(Arc<watch::Sender<Waiting>>);

/// Changes of what waits to be brought.
#[derive(Debug)]
pub struct RepairChanges(watch::Receiver<Waiting>);

impl RepairChanges {
    /// Waits for the next one; false when nobody can ask any more.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// What waits, and how long each may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Waiting {
    lost: BTreeSet<Digest>,
    /// By who wants them.
    wanted: BTreeMap<&'static str, BTreeMap<Digest, u64>>,
}

impl Default for Repairs {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }
}

impl Repairs {
    /// Asks for `blob`. Beyond a bound of what waits it is not noted: whoever misses it asks again.
    pub fn ask(&self, blob: Digest) {
        self.0
            .send_if_modified(|waiting| waiting.lost.len() < LOST_MAX && waiting.lost.insert(blob));
    }

    /// Wants these from now on, of at most so many bytes each, and no others that were wanted before
    /// for the same reason.
    pub fn want(&self, reason: &'static str, blobs: BTreeMap<Digest, u64>) {
        self.0.send_if_modified(|waiting| {
            let is_new = waiting.wanted.get(reason).unwrap_or(&BTreeMap::new()) != &blobs;
            waiting.wanted.insert(reason, blobs);
            is_new
        });
    }

    /// Every change of what waits.
    #[must_use]
    pub fn changes(&self) -> RepairChanges {
        RepairChanges(self.0.subscribe())
    }

    /// It is here again, or nobody misses it.
    fn done(&self, blob: &Digest) {
        self.0.send_if_modified(|waiting| {
            let mut was_wanted = false;
            for wanted in waiting.wanted.values_mut() {
                was_wanted |= wanted.remove(blob).is_some();
            }
            waiting.lost.remove(blob) || was_wanted
        });
    }

    /// What waits, and how many bytes each may have.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<Digest, u64> {
        let waiting = self.0.borrow();
        let lost = waiting.lost.iter().map(|blob| (*blob, BLOB_BYTES_MAX));
        let wanted = waiting.wanted.values().flatten();
        lost.chain(wanted.map(|(blob, bytes)| (*blob, *bytes)))
            .collect()
    }
}

/// Brings what is missing.
pub struct Gatherer<S> {
    shared: Arc<Shared<S>>,
    effects: watch::Receiver<Arc<Effect>>,
    config: GatherConfig,
    histories: watch::Sender<BTreeSet<Digest>>,
    refused: BTreeSet<Version>,
    arrivals: Arrivals,
    attempts: BTreeMap<Digest, Attempt>,
}

struct Shared<S> {
    store: Store,
    sources: Arc<S>,
    check: Arc<Check>,
    repairs: Repairs,
    thrift: Arc<Thrift>,
    turns: Turns,
    memory: Mutex<Memory>,
    /// Whether there may be beginnings of blobs.
    has_partials: AtomicBool,
}

/// How often an item could not be brought, and when it is tried again.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    failed_count: u32,
    next: Instant,
}

/// Why an item was not brought.
#[derive(Debug, thiserror::Error)]
enum Unbrought {
    #[error("no peer has it")]
    NoSource,
    #[error("there is no room for it")]
    NoRoom,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<S: Sources> Gatherer<S> {
    /// Ready to bring what `effects` name and `store` lacks.
    #[must_use]
    pub fn new(
        store: Store,
        sources: Arc<S>,
        effects: watch::Receiver<Arc<Effect>>,
        config: GatherConfig,
        check: Arc<Check>,
        (repairs, thrift): (Repairs, Arc<Thrift>),
    ) -> Self {
        let shared = Shared {
            store,
            sources,
            check,
            repairs,
            thrift,
            turns: Turns::default(),
            memory: Mutex::default(),
            has_partials: AtomicBool::new(true),
        };
        Self {
            shared: Arc::new(shared),
            effects,
            config,
            histories: watch::Sender::default(),
            refused: BTreeSet::new(),
            arrivals: Arrivals::default(),
            attempts: BTreeMap::new(),
        }
    }

    /// The histories that are here: their sequences, and every change of them.
    #[must_use]
    pub fn histories(&self) -> watch::Receiver<BTreeSet<Digest>> {
        self.histories.subscribe()
    }

    /// Brings what is missing, until it is dropped or the region is closed.
    pub async fn run(mut self) {
        let mut peers = self.shared.sources.changes();
        let mut shelf = self.shared.store.shelf().changes();
        let mut repairs = self.shared.repairs.0.subscribe();
        let mut kept = self.shared.thrift.changes();
        let mut under_way: JoinSet<(Item, Result<(), Unbrought>)> = JoinSet::new();
        let mut busy = BTreeSet::new();
        loop {
            let missing = self.look(&busy);
            let now = stopwatch();
            let due = missing.iter().filter(|item| self.is_due(item, now));
            let room = self.config.at_once_max.saturating_sub(busy.len());
            for item in due.take(room).cloned().collect::<Vec<_>>() {
                busy.insert(item.key());
                let shared = Arc::clone(&self.shared);
                under_way.spawn(async move {
                    let brought = shared.bring(&item).await;
                    (item, brought)
                });
            }
            let rest = self.rest(&missing, &busy, now);
            tokio::select! {
                Some(ended) = under_way.join_next() => match ended {
                    Ok((item, brought)) => {
                        busy.remove(&item.key());
                        self.settle(&item, brought);
                    }
                    Err(error) => {
                        // Which one it was is not told: all that is not under way is free again.
                        tracing::error!(%error, "what was being brought ended early");
                        if under_way.is_empty() {
                            busy.clear();
                        }
                    }
                },
                changed = self.effects.changed() => if changed.is_err() { return },
                changed = shelf.changed() => if changed.is_err() { return },
                changed = repairs.changed() => if changed.is_err() { return },
                changed = kept.changed() => if changed.is_err() { return },
                changed = peers.changed() => match changed {
                    // Whoever came may have what nobody had.
                    Ok(()) => self.attempts.clear(),
                    Err(_gone) => return,
                },
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// What is missing and not under way.
    fn look(&mut self, busy: &BTreeSet<Digest>) -> Vec<Item> {
        let effect = Arc::clone(&self.effects.borrow_and_update());
        if self.histories.borrow().len() + self.refused.len() > REMEMBERED_MAX {
            self.forget(&effect);
        }
        let shelf = self.shared.store.shelf();
        let lost = self.shared.repairs.waiting();
        let here = Here {
            provider: self.config.provider,
            is_whole: &|version| shelf.holds(version),
            histories: &self.histories.borrow(),
            refused: &self.refused,
            lost: &lost,
            thrift: &self.shared.thrift,
        };
        let mut items = missing(&effect, &here, &mut self.arrivals);
        if items.is_empty() && busy.is_empty() {
            self.shared.sweep();
        }
        let wanted: BTreeSet<Digest> = items.iter().map(Item::key).collect();
        self.attempts.retain(|key, _| wanted.contains(key));
        items.retain(|item| !busy.contains(&item.key()));
        items
    }

    /// Remembers no longer what no kept deploy names.
    fn forget(&mut self, effect: &Effect) {
        let sites = effect.sites.values().filter(|site| !site.ended);
        let kept = sites.flat_map(SiteEffect::kept).map(DeployEffect::body);
        let (mut versions, mut sequences) = (BTreeSet::new(), BTreeSet::new());
        for deploy in kept {
            versions.insert(deploy.version);
            sequences.extend(deploy.git.as_ref().and_then(|git| git.sequence));
        }
        self.refused.retain(|version| versions.contains(version));
        self.histories.send_if_modified(|histories| {
            let before = histories.len();
            histories.retain(|sequence| sequences.contains(sequence));
            histories.len() != before
        });
    }

    fn is_due(&self, item: &Item, now: Instant) -> bool {
        let attempt = self.attempts.get(&item.key());
        attempt.is_none_or(|attempt| attempt.next <= now)
    }

    /// Until when there is nothing to begin.
    fn rest(&self, missing: &[Item], busy: &BTreeSet<Digest>, now: Instant) -> Duration {
        if busy.len() >= self.config.at_once_max {
            return IDLE;
        }
        let waiting = missing.iter().filter(|item| !busy.contains(&item.key()));
        let next = waiting.filter_map(|item| self.attempts.get(&item.key()));
        let next = next.map(|attempt| attempt.next).min();
        next.map_or(IDLE, |next| {
            next.saturating_duration_since(now)
                .max(Duration::from_millis(10))
        })
    }

    fn settle(&mut self, item: &Item, brought: Result<(), Unbrought>) {
        match (item, brought) {
            (Item::History { sequence, .. }, Ok(())) => {
                self.histories
                    .send_if_modified(|histories| histories.insert(*sequence));
            }
            (Item::Blob { blob, .. }, Ok(())) => {
                tracing::info!(%blob, "a blob is here that was missing");
                self.shared.repairs.done(blob);
            }
            (Item::Version { site, version, .. }, Ok(())) => {
                tracing::info!(site = %site.short(), version = %version.short(), "a version is here");
            }
            (Item::Version { site, version, .. }, Err(Unbrought::Refused(why))) => {
                tracing::error!(site = %site.short(), %version, why, "a version is not what its deploy says: visitors keep the one before");
                self.refused.insert(*version);
            }
            (item, Err(error)) => {
                let attempt = self.attempts.entry(item.key()).or_insert(Attempt {
                    failed_count: 0,
                    next: stopwatch(),
                });
                if let Unbrought::Store(StoreError::Full { .. }) = &error {
                    self.shared.thrift.press();
                }
                let rest = match &error {
                    Unbrought::NoRoom | Unbrought::Store(StoreError::Full { .. }) => FULL_REST,
                    _ => RETRY_MIN
                        .saturating_mul(1 << attempt.failed_count.min(7))
                        .min(RETRY_MAX),
                };
                attempt.failed_count = attempt.failed_count.saturating_add(1);
                attempt.next = stopwatch() + rest;
                match error {
                    Unbrought::Store(error) => {
                        tracing::error!(%error, "what peers have cannot be kept; it waits");
                    }
                    error => tracing::debug!(%error, ?item, "not brought"),
                }
            }
        }
    }
}

impl<S: Sources> Shared<S> {
    /// Nothing is missing, so no beginning of a blob is of use.
    fn sweep(&self) {
        if self.has_partials.swap(false, Ordering::Relaxed)
            && let Err(error) = self.store.sweep_partials()
        {
            tracing::warn!(%error, "beginnings of blobs stay");
        }
    }

    async fn bring(&self, item: &Item) -> Result<(), Unbrought> {
        match item {
            Item::Version {
                version,
                sequence,
                bytes,
                known,
                origin,
                ..
            } => {
                let holders = self.holders(version, *origin);
                self.bring_version((*version, *known), (*sequence, *bytes), &holders)
                    .await
            }
            Item::History {
                sequence,
                version,
                origin,
            } => {
                let holders = self.holders(version, *origin);
                self.bring_history(*sequence, &holders).await
            }
            Item::Blob { blob, bytes_max } => {
                let _pin = self.store.pin([*blob]);
                let size = Size::AtMost(*bytes_max);
                self.bring_blob(*blob, size, &BTreeSet::new()).await
            }
        }
    }

    /// Who has a version and its history, as far as is known.
    fn holders(&self, version: &Version, origin: NodeId) -> BTreeSet<NodeId> {
        let mut holders = self.sources.holders(version);
        holders.insert(origin);
        holders
    }

    /// Every blob of the version, then the look at it, then the shelf.
    async fn bring_version(
        &self,
        (version, known): (Version, Option<Version>),
        (sequence, bytes): (Digest, u64),
        holders: &BTreeSet<NodeId>,
    ) -> Result<(), Unbrought> {
        let _pin = self.store.pin([sequence, version.digest()]);
        let size = Size::AtMost(MANIFEST_BYTES_MAX);
        if let Some(known) = known {
            let base = Some(known.digest());
            self.bring_change(version.digest(), base, size, holders)
                .await?;
        }
        self.bring_blob(version.digest(), size, holders).await?;
        let manifest = self.manifest(version, sequence, bytes).await?;
        self.find_room(&manifest)?;
        let _pin = self.store.pin(manifest.blobs().map(|blob| blob.digest));
        for blob in manifest.blobs() {
            let size = Size::Exactly(blob.bytes);
            if (PRESSED_BYTES_MIN..=PRESSED_BYTES_MAX).contains(&blob.bytes) {
                self.bring_change(blob.digest, None, size, holders).await?;
            }
            self.bring_blob(blob.digest, size, holders).await?;
        }
        let (store, check) = (self.store.clone(), Arc::clone(&self.check));
        let checked = tokio::task::spawn_blocking(move || check(&store, &manifest, known));
        match checked.await {
            Ok(Ok(())) => {}
            Ok(Err(Unfit::Store(error))) => return Err(error.into()),
            Ok(Err(Unfit::Damaged(blob))) => {
                tracing::error!(%blob, "a blob was damaged on this disk after it had come");
                return Err(Unbrought::NoSource);
            }
            Ok(Err(Unfit::Wrong(why))) => return Err(Unbrought::Refused(why)),
            Err(ended) => return Err(Unbrought::Refused(ended.to_string())),
        }
        let batch = Batch {
            whole: vec![version],
            ..Batch::default()
        };
        self.store.records().write(batch)?.await?;
        Ok(())
    }

    /// Whether what is not here of the version has room.
    fn find_room(&self, manifest: &Manifest) -> Result<(), Unbrought> {
        let mut missing_bytes = 0_u64;
        for blob in manifest.blobs() {
            if !self.is_here(blob.digest, Size::Exactly(blob.bytes))? {
                missing_bytes = missing_bytes.saturating_add(blob.bytes);
            }
        }
        if !self.thrift.has_room(missing_bytes) {
            return Err(Unbrought::NoRoom);
        }
        if self.store.available_bytes()? < missing_bytes {
            // Its first part would only keep smaller ones out.
            self.thrift.press();
            return Err(Unbrought::NoRoom);
        }
        Ok(())
    }

    /// The manifest, if it fits what the deploy says of the version. The sequence says the same again,
    /// so it is not asked for.
    async fn manifest(
        &self,
        version: Version,
        sequence: Digest,
        bytes: u64,
    ) -> Result<Manifest, Unbrought> {
        let refused = |why: &str| Unbrought::Refused(why.to_owned());
        let manifest = self.read(version.digest(), MANIFEST_BYTES_MAX).await?;
        let manifest = Manifest::decode(manifest);
        let manifest = manifest.map_err(|error| Unbrought::Refused(error.to_string()))?;
        let listed = manifest.sequence();
        if Digest::of(&listed) != sequence {
            return Err(refused("its sequence lists other blobs than its manifest"));
        }
        if manifest.version_bytes() != bytes {
            return Err(refused(
                "it takes another number of bytes than its deploy says",
            ));
        }
        self.put(listed).await?;
        Ok(manifest)
    }

    async fn put(&self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.thrift
            .add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let store = self.store.clone();
        let put = tokio::task::spawn_blocking(move || store.blobs().put(&bytes)).await;
        put.unwrap_or(Err(StoreError::Closed)).map(drop)
    }

    async fn bring_history(
        &self,
        sequence: Digest,
        holders: &BTreeSet<NodeId>,
    ) -> Result<(), Unbrought> {
        let _pin = self.store.pin([sequence]);
        let bytes_max = HISTORY_COUNT_MAX * 32;
        self.bring_blob(sequence, Size::AtMost(bytes_max), holders)
            .await?;
        let listed = self.read(sequence, bytes_max).await?;
        let bundles = listed.chunks_exact(32);
        if !bundles.remainder().is_empty() {
            return Err(Unbrought::Refused("not a sequence of bundles".to_owned()));
        }
        let bundles: Vec<Digest> = bundles
            .filter_map(|chunk| chunk.try_into().ok().map(Digest::from_bytes))
            .collect();
        let _pin = self.store.pin(bundles.iter().copied());
        for bundle in bundles {
            self.bring_blob(bundle, Size::AtMost(BLOB_BYTES_MAX), holders)
                .await?;
        }
        Ok(())
    }

    /// The bytes of a blob that is here.
    async fn read(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, Unbrought> {
        let store = self.store.clone();
        let read = move || match store.blobs().read_verified(&digest, bytes_max) {
            Err(StoreError::Damaged { .. }) => {
                // It comes anew with the next attempt.
                crate::store::scrub::recheck(&store, digest).map(|_damage| None)
            }
            read => read,
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.map_err(|ended| Unbrought::Refused(ended.to_string()))?;
        read?.ok_or(Unbrought::NoSource)
    }

    /// One blob, from whoever gives it, unless it is here.
    async fn bring_blob(
        &self,
        digest: Digest,
        size: Size,
        holders: &BTreeSet<NodeId>,
    ) -> Result<(), Unbrought> {
        if self.is_here(digest, size)? {
            return Ok(());
        }
        let _turn = self.turns.turn(digest).await;
        if self.is_here(digest, size)? {
            return Ok(());
        }
        for peer in self.ranked(holders) {
            // Torn by a power cut, it is begun anew, once.
            for _attempt in 0..2 {
                match self.fetch(peer, digest, size).await {
                    Ok(()) => return Ok(()),
                    Err(FetchError::Disk(StoreError::WrongDigest { .. })) => {}
                    Err(FetchError::Disk(error)) => return Err(error.into()),
                    Err(FetchError::OtherSize(bytes)) => {
                        return Err(Unbrought::Refused(format!(
                            "blob {digest} is {bytes} bytes long, other than it says"
                        )));
                    }
                    Err(error) => {
                        tracing::debug!(%error, peer = %peer.short(), %digest, "a blob did not come");
                        break;
                    }
                }
            }
        }
        Err(Unbrought::NoSource)
    }

    /// A blob by what it differs in from one that is here, or from nothing, if the best of the peers
    /// says; if not, it is still to be brought.
    async fn bring_change(
        &self,
        digest: Digest,
        base: Option<Digest>,
        size: Size,
        holders: &BTreeSet<NodeId>,
    ) -> Result<(), Unbrought> {
        let _turn = self.turns.turn(digest).await;
        if self.is_here(digest, size)? {
            return Ok(());
        }
        let Some(peer) = self.ranked(holders).into_iter().next() else {
            return Ok(());
        };
        let base = match base {
            Some(base) => (base, self.read(base, MANIFEST_BYTES_MAX).await?),
            None => (Digest::of(b""), Vec::new()),
        };
        match self.sources.fetch_change(peer, base, digest).await {
            Ok(Some(bytes)) => self.put(bytes).await?,
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, peer = %peer.short(), %digest, "a difference did not come");
                let conduct = match error {
                    FetchError::Wrong(_) => Conduct::Lied,
                    _ => Conduct::Failed,
                };
                self.memory().note(peer, conduct, stopwatch());
            }
        }
        Ok(())
    }

    /// Whom to ask, best first.
    fn ranked(&self, holders: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let (peers, mut memory) = (self.sources.peers(), self.memory());
        memory.forget(&peers, stopwatch());
        memory.rank(&peers, holders, stopwatch())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file of another length is damaged: the right one takes its place.
    fn is_here(&self, digest: Digest, size: Size) -> Result<bool, StoreError> {
        let bytes = self.store.blobs().bytes(&digest)?;
        Ok(bytes.is_some_and(|bytes| size.admits(bytes)))
    }

    async fn fetch(&self, peer: NodeId, digest: Digest, size: Size) -> Result<(), FetchError> {
        self.has_partials.store(true, Ordering::Relaxed);
        let mut partial = self.store.partial(digest)?;
        let is_too_long = match size {
            Size::Exactly(bytes) | Size::AtMost(bytes) => partial.bytes() > bytes,
        };
        if is_too_long {
            partial.restart()?;
        }
        let (begun, before) = (stopwatch(), partial.bytes());
        let fetched = self.sources.fetch(peer, size, &mut partial).await;
        if let Err(FetchError::Disk(StoreError::Full { .. })) = &fetched {
            partial.restart()?;
        }
        let conduct = match &fetched {
            Ok(()) => {
                let came = partial.bytes().saturating_sub(before);
                tracing::debug!(%digest, bytes = came, "a blob came");
                Some(Conduct::Sent(came, begun.elapsed()))
            }
            Err(FetchError::Wrong(_)) => Some(Conduct::Lied),
            Err(FetchError::Slow | FetchError::Broken(_)) => Some(Conduct::Failed),
            Err(FetchError::NotThere | FetchError::OtherSize(_) | FetchError::Disk(_)) => None,
        };
        if let Some(conduct) = conduct {
            self.memory().note(peer, conduct, stopwatch());
        }
        fetched?;
        self.thrift.add(partial.bytes());
        let store = self.store.clone();
        let finished = tokio::task::spawn_blocking(move || partial.finish(&store)).await;
        finished.unwrap_or(Err(StoreError::Closed))?;
        Ok(())
    }
}
