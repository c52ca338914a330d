//! The node's live view of its region: what holds now, and the only way to add to it.
//!
//! Every write goes through one turn: records are made from what holds, become durable together,
//! and only then change what holds. Watchers are told after that. A crash in between loses a write
//! that nobody was told of.

mod describe;
pub mod naming;
mod prove;
#[cfg(test)]
pub(crate) mod scene;
pub mod vote;
mod write;

pub use describe::{AccountLine, SiteLine, hosts, sites};
pub use write::{NewSite, WriteError};

use crate::node_keys::NodeKeys;
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;
use verge_sync::digest::Digest;
use verge_sync::id::{RegionId, SiteId, Version};
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest};
use verge_sync::record::effect::DeployEffect;
use verge_sync::record::{Author, Deploy, Effect, LogId, Parameters, Record, Slot, effect};
use verge_sync::store::{Batch, MetaValue, Placed, Row, Store, StoreError};

/// The `meta` key of the region's id.
pub const META_REGION: &str = "region";
/// The `meta` key of the log id, made with the data directory.
pub const META_LOG: &str = "log";
/// The `meta` key of the node's last number in the log.
pub const META_NODE_N: &str = "node_n";
/// The `meta` key of the provider's last number in the log.
pub const META_PROVIDER_N: &str = "provider_n";

/// Labels that nobody can claim, one a line.
const RESERVED_NAMES: &str = include_str!("../../fixtures/reserved-names.txt");

/// What holds in the region, kept up to date.
pub struct RegionView {
    store: Store,
    keys: NodeKeys,
    slot: Slot,
    parameters: Parameters,
    log: LogId,
    effect: ArcSwap<Effect>,
    show: Box<Show>,
    writing: Arc<tokio::sync::Mutex<Writing>>,
}

/// Puts what holds before visitors; called in turn, before a write is answered.
type Show = dyn Fn(&Effect, Slot) + Send + Sync;

/// What a write needs and changes.
struct Writing {
    records: Vec<Arc<Record>>,
    node_n: u64,
    provider_n: u64,
}

/// Why the region cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory was never a node's, or lost its heart.
    #[error(
        "the data directory holds no region ({0}): run `verge init`, or restore a backup of verge.sqlite"
    )]
    NoRegion(&'static str),
    /// The keys are another node's.
    #[error(
        "the node of this seed is not a member of the region: restore the seed that belongs to the data directory"
    )]
    NotAMember,
}

impl RegionView {
    /// Reads every record of the store and works out what holds; `show` gets it now and after
    /// every change.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        store: Store,
        keys: NodeKeys,
        show: impl Fn(&Effect, Slot) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let id = RegionId::from_bytes(meta_bytes(&store, META_REGION)?);
        let log = LogId(meta_bytes(&store, META_LOG)?);
        let mut records = Vec::new();
        for row in store.records().all()? {
            match Record::parse(&row.bytes) {
                Ok(record) => records.push(Arc::new(record)),
                Err(error) => {
                    tracing::error!(id = %row.id, %error, "a stored record is unreadable")
                }
            }
        }
        let parameters = Parameters::new(id, Arc::new(reserved_names()));
        let effect = effect(&records, &parameters).ok_or(OpenError::NoRegion("no first step"))?;
        let node = effect.nodes.get(&keys.node()).filter(|node| node.is_member);
        let slot = node.map(|node| node.slot).ok_or(OpenError::NotAMember)?;
        let writing = Writing {
            records,
            node_n: meta_number(&store, META_NODE_N)?,
            provider_n: meta_number(&store, META_PROVIDER_N)?,
        };
        show(&effect, slot);
        Ok(Self {
            store,
            keys,
            slot,
            parameters,
            log,
            effect: ArcSwap::from_pointee(effect),
            show: Box::new(show),
            writing: Arc::new(tokio::sync::Mutex::new(writing)),
        })
    }

    /// What holds now.
    #[must_use]
    pub fn effect(&self) -> Arc<Effect> {
        self.effect.load_full()
    }

    /// The place of this node in its provider.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The version that visitors of `site` see.
    #[must_use]
    pub fn version_in_place(&self, site: SiteId) -> Option<Version> {
        let effect = self.effect();
        effect.site(&site)?.head().map(|head| head.body().version)
    }

    /// Every blob that a kept deploy names. Where the sequence is lost or damaged, the manifest says
    /// the same; where both are, the version cannot be served, and the others are not to wait for
    /// it: its blobs are live only as far as other versions name them.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails, so that a collection never takes what could not be read
    /// for nothing.
    pub fn live_blobs(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let effect = self.effect();
        let mut live = BTreeSet::new();
        for site in effect.sites.values().filter(|site| !site.ended) {
            for deploy in site.kept().map(DeployEffect::body) {
                let version = deploy.version;
                if !live.insert(deploy.blobs) {
                    continue;
                }
                live.insert(version.digest());
                match self.version_blobs(deploy)? {
                    Some(digests) => live.extend(digests),
                    None => {
                        tracing::error!(site = %site.id, %version, "the lists of this version's blobs are lost: publish the site again");
                    }
                }
            }
        }
        Ok(live)
    }

    /// The blobs of a version, by its sequence or else its manifest.
    fn version_blobs(&self, deploy: &Deploy) -> Result<Option<Vec<Digest>>, StoreError> {
        let blobs = self.store.blobs();
        let sequence = blobs.read_verified(&deploy.blobs, SEQUENCE_BYTES_MAX);
        if let Some(bytes) = unless_damaged(sequence)? {
            let digests = bytes
                .chunks_exact(32)
                .filter_map(|chunk| chunk.try_into().ok());
            return Ok(Some(digests.map(Digest::from_bytes).collect()));
        }
        let manifest = blobs.read_verified(&deploy.version.digest(), MANIFEST_BYTES_MAX);
        let manifest = unless_damaged(manifest)?.and_then(|bytes| Manifest::decode(bytes).ok());
        Ok(manifest.map(|manifest| manifest.blobs().map(|blob| blob.digest).collect()))
    }

    /// Takes one turn of writing: `make` gets what holds and makes records; they become durable
    /// together, then they hold. Once made, the turn goes on to its end even if whoever asked goes
    /// away: a record that is durable but not in memory would be written twice at its place.
    async fn write(
        self: &Arc<Self>,
        make: impl FnOnce(&mut Turn<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let writing = Arc::clone(&self.writing).lock_owned().await;
        let mut turn = self.turn(&writing);
        make(&mut turn)?;
        turn.settle()?;
        let made = Made {
            node_n: turn.node.last_n(),
            provider_n: turn
                .provider
                .as_ref()
                .map_or(writing.provider_n, Author::last_n),
            effect: turn.effect,
            records: turn.records,
            fresh: turn.fresh,
        };
        if made.fresh.is_empty() {
            return Ok(());
        }
        let view = Arc::clone(self);
        let kept = tokio::spawn(async move { view.keep(writing, made).await });
        kept.await.map_err(|_ended| WriteError::Stopping)?
    }

    async fn keep(
        &self,
        mut writing: OwnedMutexGuard<Writing>,
        made: Made,
    ) -> Result<(), WriteError> {
        let rows = made.fresh.iter().map(|record| row(record)).collect();
        let meta = vec![
            (META_NODE_N.to_owned(), MetaValue::Number(made.node_n)),
            (
                META_PROVIDER_N.to_owned(),
                MetaValue::Number(made.provider_n),
            ),
        ];
        let outcome = self.store.records().write(Batch { rows, meta })?.await?;
        if outcome.placed.iter().any(|placed| *placed != Placed::New) {
            return Err(WriteError::PlaceTaken);
        }
        *writing = Writing {
            records: made.records,
            node_n: made.node_n,
            provider_n: made.provider_n,
        };
        self.effect.store(Arc::clone(&made.effect));
        (self.show)(&made.effect, self.slot);
        Ok(())
    }

    fn turn(&self, writing: &Writing) -> Turn<'_> {
        let region = self.parameters.region;
        let provider = self.keys.provider.as_ref();
        Turn {
            parameters: &self.parameters,
            slot: self.slot,
            effect: self.effect(),
            records: writing.records.clone(),
            fresh: Vec::new(),
            is_stale: false,
            node: Author::node(&self.keys.seed, region, (self.log, writing.node_n)),
            provider: provider
                .map(|key| Author::provider(key, region, (self.log, writing.provider_n))),
        }
    }
}

/// A damaged blob is as good as none: the scrub moves it aside.
fn unless_damaged(
    read: Result<Option<Vec<u8>>, StoreError>,
) -> Result<Option<Vec<u8>>, StoreError> {
    match read {
        Err(StoreError::Damaged { .. } | StoreError::TooLarge { .. }) => Ok(None),
        read => read,
    }
}

/// The longest flat sequence: what a manifest of 16 MiB can name.
const SEQUENCE_BYTES_MAX: u64 = 16 << 20;

/// One turn of writing, not yet durable.
struct Turn<'a> {
    parameters: &'a Parameters,
    slot: Slot,
    effect: Arc<Effect>,
    records: Vec<Arc<Record>>,
    fresh: Vec<Arc<Record>>,
    is_stale: bool,
    node: Author,
    provider: Option<Author>,
}

impl Turn<'_> {
    /// Takes a record up; what holds with it is worked out when it is asked for.
    fn add(&mut self, record: Record) -> Arc<Record> {
        let record = Arc::new(record);
        self.records.push(Arc::clone(&record));
        self.fresh.push(Arc::clone(&record));
        self.is_stale = true;
        record
    }

    /// Works out what holds with all records of the turn.
    fn settle(&mut self) -> Result<(), WriteError> {
        if self.is_stale {
            let effect = effect(&self.records, self.parameters).ok_or(WriteError::Stopping)?;
            self.effect = Arc::new(effect);
            self.is_stale = false;
        }
        Ok(())
    }

    /// The provider's hand, where its key is on this node.
    fn provider(&mut self) -> Result<(&mut Author, &Effect), WriteError> {
        match self.provider.as_mut() {
            Some(author) => Ok((author, &self.effect)),
            None => Err(WriteError::NoProviderKey),
        }
    }
}

/// A turn that is made and waits to be durable.
struct Made {
    effect: Arc<Effect>,
    records: Vec<Arc<Record>>,
    fresh: Vec<Arc<Record>>,
    node_n: u64,
    provider_n: u64,
}

/// The row in which a record is stored.
#[must_use]
pub fn row(record: &Record) -> Row {
    let envelope = record.envelope();
    Row {
        id: record.id(),
        kind: u64::from(envelope.kind.0),
        subject: envelope.subject.clone(),
        author: *envelope.author.as_bytes(),
        epoch: envelope.epoch,
        sequence: envelope.sequence,
        bytes: record.bytes().to_vec(),
    }
}

/// The labels of `fixtures/reserved-names.txt`.
#[must_use]
pub fn reserved_names() -> BTreeSet<String> {
    let lines = RESERVED_NAMES.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn meta_bytes<const N: usize>(store: &Store, key: &'static str) -> Result<[u8; N], OpenError> {
    match store.records().meta(key)? {
        Some(MetaValue::Bytes(bytes)) => bytes
            .try_into()
            .map_err(|_length| OpenError::NoRegion("a key of the wrong length")),
        _ => Err(OpenError::NoRegion("never set up")),
    }
}

fn meta_number(store: &Store, key: &str) -> Result<u64, OpenError> {
    match store.records().meta(key)? {
        Some(MetaValue::Number(number)) => Ok(number),
        _ => Ok(0),
    }
}
