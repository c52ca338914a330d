//! The node's live view of its region: what holds now, and the only way to add to it.
//!
//! Every write goes through one turn: records are made from what holds, become durable together,
//! and only then change what holds. Watchers are told after that. A crash in between loses a write
//! that nobody was told of.

mod adding;
mod carry;
mod certify;
mod closing;
mod describe;
mod error;
mod handed;
mod history;
mod inspect;
pub(crate) mod kinds;
mod left;
mod members;
pub mod naming;
mod observe;
mod policy;
mod prove;
pub mod reclaim;
#[cfg(test)]
pub(crate) mod scene;
mod seal;
mod status;
pub mod vote;
mod witness;
mod write;

pub use adding::Added;
pub use carry::Carried;
pub use describe::{AccountLine, SiteLine, hosts, label as site_label, sites};
pub use error::WriteError;
pub(crate) use handed::{is_about, signed_deploy};
pub use history::{GIT_SEQUENCE_BYTES_MAX, OtherTip, SEQUENCE_BUNDLES_MAX, SiteHistory};
pub use inspect::{RecordCheck, RecordDamage};
pub use left::left_versions;
pub use members::{Reached, Standing, StepChange, chain_records, find_node, find_provider};
pub use policy::{PolicyError, check_policy, replica_count_min};
pub use status::{
    PendingStep, Status, author_name, changes, pending_steps, provider_name, subject_name,
};
pub use verge_sync::record::body::Zones;
pub use write::{AccountEdit, NewSite, Signer};

use crate::accounting::calendar::Day;
use crate::accounting::ledger::named_rows;
use crate::certificates::named_bundles;
use crate::closing::Closes;
use crate::node_keys::NodeKeys;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedMutexGuard, watch};
use verge_sync::content::Thrift;
use verge_sync::digest::Digest;
use verge_sync::id::{RecordId, RegionId, SiteId, Version};
use verge_sync::keys::ProviderKey;
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest};
use verge_sync::net::{
    APPLY_TIME_MAX, Caution, Commit, CommitError, Core, Exchange, Holding, Replica,
};
use verge_sync::record::effect::{DeployEffect, SiteEffect};
use verge_sync::record::region::Pin;
use verge_sync::record::{Author, Deploy, Effect, LogId, Parameters, Record, Slot, effect};
use verge_sync::store::{MetaValue, Store, StoreError};

/// The `meta` key of the region's id.
pub const META_REGION: &str = "region";
/// The `meta` key of the log id, made with the data directory.
pub const META_LOG: &str = "log";
/// The `meta` key of the node's last number in the log.
pub const META_NODE_N: &str = "node_n";
/// The `meta` key of the provider's last number in the log.
pub const META_PROVIDER_N: &str = "provider_n";

/// The `meta` key of the step that the node joined by: its number, big-endian, and its id.
pub const META_PIN: &str = "pin";

/// The `meta` key of a time of day that was believed.
pub const META_FLOOR: &str = "wall_floor";
/// The `meta` key of a newcomer that has not caught up yet: 1.
pub const META_NEWCOMER: &str = "newcomer";

/// Labels that nobody can claim, one a line.
const RESERVED_NAMES: &str = include_str!("../../fixtures/reserved-names.txt");

/// What holds in the region, kept up to date.
pub struct RegionView {
    store: Store,
    keys: NodeKeys,
    /// The provider's key, until it is moved away.
    provider_key: Mutex<Option<ProviderKey>>,
    slot: Slot,
    region: RegionId,
    log: LogId,
    replica: Arc<Replica>,
    /// Held from the first look at what holds to the last byte of what was made of it.
    numbers: Arc<tokio::sync::Mutex<Numbers>>,
    /// A time of day that was believed; it goes to disk with the next write.
    floor_s: AtomicU64,
}

/// How many records this node and its provider have written.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    node: u64,
    provider: u64,
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
        mut keys: NodeKeys,
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
        let parameters = Parameters {
            pin: pin(&store)?,
            ..Parameters::new(id, Arc::new(reserved_names()))
        };
        let holding = Holding::new(&records, parameters, kinds::table());
        let mut holding = holding.ok_or(OpenError::NoRegion("no first step"))?;
        let caution = Caution {
            store: &store,
            release: env!("CARGO_PKG_VERSION"),
            time_max: APPLY_TIME_MAX,
        };
        caution.settle(&mut holding)?;
        let node = holding.effect().nodes.get(&keys.node());
        let node = node.ok_or(OpenError::NotAMember)?;
        if !node.is_member {
            tracing::warn!("this node is no member of the region any more: it serves what it has");
        }
        let slot = node.slot;
        let numbers = Numbers {
            node: meta_number(&store, META_NODE_N)?,
            provider: meta_number(&store, META_PROVIDER_N)?,
        };
        let floor_s = meta_number(&store, META_FLOOR)?;
        let exchange = Exchange::new(keys.node(), holding);
        let replica = Replica::new(store.clone(), exchange, move |effect| show(effect, slot));
        Ok(Self {
            store,
            provider_key: Mutex::new(keys.provider.take()),
            keys,
            slot,
            region: id,
            log,
            replica: Arc::new(replica),
            numbers: Arc::new(tokio::sync::Mutex::new(numbers)),
            floor_s: AtomicU64::new(floor_s),
        })
    }

    /// What holds now.
    #[must_use]
    pub fn effect(&self) -> Arc<Effect> {
        self.replica.effect()
    }

    /// What holds, and every change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Effect>> {
        self.replica.watch()
    }

    /// The records, as peers reach them.
    #[must_use]
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// A time of day that was believed once, in seconds since 1970.
    #[must_use]
    pub fn floor_s(&self) -> u64 {
        self.floor_s.load(Ordering::Relaxed)
    }

    /// The clock was believed at this time.
    pub fn believe(&self, wall_s: u64) {
        self.floor_s.fetch_max(wall_s, Ordering::Relaxed);
    }

    /// The keys that this node acts with; not the provider's.
    pub(crate) fn keys(&self) -> &NodeKeys {
        &self.keys
    }

    fn provider_key(&self) -> MutexGuard<'_, Option<ProviderKey>> {
        let key = self.provider_key.lock();
        key.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node can sign for its provider.
    #[must_use]
    pub fn has_provider_key(&self) -> bool {
        self.provider_key().is_some()
    }

    /// Goes on without the provider's key, which was moved away.
    pub fn forget_provider_key(&self) {
        self.provider_key().take();
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

    /// The versions of every deploy that this node keeps.
    #[must_use]
    pub fn kept_versions(&self, thrift: &Thrift) -> BTreeSet<Version> {
        let effect = self.effect();
        let kept = kept(&effect, thrift).flat_map(|(_, deploys)| deploys);
        kept.map(|deploy| deploy.body().version).collect()
    }

    /// Every blob that a deploy names which this node keeps. Where the sequence is lost or damaged,
    /// the manifest says the same; where both are, the version cannot be served, and the others are not to wait for
    /// it: its blobs are live only as far as other versions name them.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails, so that a collection never takes what could not be read
    /// for nothing.
    pub fn live_blobs(&self, thrift: &Thrift) -> Result<BTreeSet<Digest>, StoreError> {
        let effect = self.effect();
        // The lists that removals name: without them these do not bind.
        let step = &effect.chain.current().body;
        let mut live: BTreeSet<Digest> = step.removed.values().copied().collect();
        live.extend(named_bundles(&effect));
        let today = Day::of_time(self.floor_s());
        live.extend(named_rows(&effect, today));
        live.extend(crate::witness::named_rows(&effect, today).into_keys());
        live.extend(Closes::read(&effect).blobs().into_keys());
        for (site, deploys) in kept(&effect, thrift) {
            for deploy in deploys.into_iter().map(DeployEffect::body) {
                let version = deploy.version;
                self.add_history(deploy, &mut live)?;
                if !live.insert(deploy.blobs) {
                    continue;
                }
                live.insert(version.digest());
                match self.version_blobs(deploy)? {
                    Some(digests) => live.extend(digests),
                    // It is still on its way.
                    None if !self.store.shelf().holds(&version) => {}
                    None => {
                        tracing::error!(site = %site.id, %version, "the lists of this version's blobs are lost: publish the site again");
                    }
                }
            }
        }
        Ok(live)
    }

    /// The git history that a deploy names: its sequence and the bundles of it. Where the sequence is
    /// not here yet, no bundle that only it names is needed here either.
    pub(crate) fn add_history(
        &self,
        deploy: &Deploy,
        live: &mut BTreeSet<Digest>,
    ) -> Result<(), StoreError> {
        let sequence = deploy.git.as_ref().and_then(|git| git.sequence);
        if let Some(sequence) = sequence.filter(|sequence| live.insert(*sequence)) {
            live.extend(self.bundles(sequence)?.unwrap_or_default());
        }
        Ok(())
    }

    /// The bundles of a git sequence, if it is here.
    fn bundles(&self, sequence: Digest) -> Result<Option<Vec<Digest>>, StoreError> {
        let blobs = self.store.blobs();
        let read = blobs.read_verified(&sequence, GIT_SEQUENCE_BYTES_MAX);
        Ok(unless_damaged(read)?.map(|bytes| listed(&bytes).collect()))
    }

    /// The blobs of a version, by its sequence or else its manifest.
    fn version_blobs(&self, deploy: &Deploy) -> Result<Option<Vec<Digest>>, StoreError> {
        let blobs = self.store.blobs();
        let sequence = blobs.read_verified(&deploy.blobs, SEQUENCE_BYTES_MAX);
        if let Some(bytes) = unless_damaged(sequence)? {
            return Ok(Some(listed(&bytes).collect()));
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
        let numbers = Arc::clone(&self.numbers).lock_owned().await;
        let core = self.replica.lock().await;
        let mut turn = self.turn(&numbers, &core);
        make(&mut turn)?;
        turn.settle()?;
        let made = Made {
            numbers: Numbers {
                node: turn.node.last_n(),
                // A key that is elsewhere writes nothing into this log.
                provider: turn.provider.last_n().max(numbers.provider),
            },
            effect: turn.effect,
            fresh: turn.fresh,
            whole: turn.whole,
        };
        if made.fresh.is_empty() {
            return Ok(());
        }
        let view = Arc::clone(self);
        let kept = tokio::spawn(async move { view.keep(numbers, core, made).await });
        kept.await.map_err(|_ended| WriteError::Stopping)?
    }

    async fn keep(
        &self,
        mut numbers: OwnedMutexGuard<Numbers>,
        mut core: OwnedMutexGuard<Core>,
        made: Made,
    ) -> Result<(), WriteError> {
        let number = |key: &str, value| (key.to_owned(), MetaValue::Number(value));
        let commit = Commit {
            records: made.fresh,
            effect: made.effect,
            whole: made.whole,
            meta: vec![
                number(META_NODE_N, made.numbers.node),
                number(META_PROVIDER_N, made.numbers.provider),
                number(META_FLOOR, self.floor_s()),
            ],
        };
        self.replica.commit(&mut core, commit).await?;
        *numbers = made.numbers;
        Ok(())
    }

    fn turn<'a>(&self, numbers: &Numbers, core: &'a Core) -> Turn<'a> {
        let region = self.region;
        let provider = match &*self.provider_key() {
            Some(key) => Author::provider(key, region, (self.log, numbers.provider)),
            None => Author::away(self.slot.provider, region),
        };
        let holding = core.exchange().holding();
        Turn {
            parameters: holding.parameters(),
            slot: self.slot,
            effect: Arc::clone(holding.effect()),
            records: holding.records().cloned().collect(),
            fresh: Vec::new(),
            whole: Vec::new(),
            is_stale: false,
            node: Author::node(&self.keys.seed, region, (self.log, numbers.node)),
            provider,
            account: None,
        }
    }
}

impl From<CommitError> for WriteError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => Self::Store(error),
            CommitError::Refused(refusal) => Self::Refused(refusal),
            CommitError::PlaceTaken => Self::PlaceTaken,
        }
    }
}

/// The deploys that a node keeps, site by site.
fn kept<'a>(
    effect: &'a Effect,
    thrift: &Thrift,
) -> impl Iterator<Item = (&'a SiteEffect, Vec<&'a DeployEffect>)> {
    let count = thrift.kept_count();
    let sites = effect.sites.values().filter(|site| !site.ended);
    let sites = sites.filter(|site| thrift.keeps(&site.id));
    sites.map(move |site| (site, site.kept_newest(count).collect()))
}

/// The digests of a flat sequence.
fn listed(sequence: &[u8]) -> impl Iterator<Item = Digest> {
    let digests = sequence.chunks_exact(32);
    digests.filter_map(|digest| Some(Digest::from_bytes(digest.try_into().ok()?)))
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
    /// Versions that its deploys put in place, all of whose blobs are here.
    whole: Vec<Version>,
    is_stale: bool,
    node: Author,
    provider: Author,
    /// The account whose own key is to sign, in a turn that asks for that.
    account: Option<Author>,
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

    /// The provider's hand. Where its key is not on this node, what it is to sign comes back as
    /// [`WriteError::ToSign`], and the turn ends without a trace.
    fn provider(&mut self) -> (&mut Author, &Effect) {
        (&mut self.provider, &self.effect)
    }
}

/// A turn that is made and waits to be durable.
struct Made {
    effect: Arc<Effect>,
    fresh: Vec<Arc<Record>>,
    whole: Vec<Version>,
    numbers: Numbers,
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

/// The step of the ticket that this node joined by; none at a founder's.
fn pin(store: &Store) -> Result<Option<Pin>, OpenError> {
    let Some(MetaValue::Bytes(bytes)) = store.records().meta(META_PIN)? else {
        return Ok(None);
    };
    let damaged = OpenError::NoRegion("a pin of the wrong length");
    let (number, id) = bytes.split_first_chunk::<4>().ok_or(damaged)?;
    let id = id.try_into();
    Ok(Some(Pin {
        number: u32::from_be_bytes(*number),
        id: id
            .map(RecordId::from_bytes)
            .map_err(|_length| OpenError::NoRegion("a pin of the wrong length"))?,
    }))
}

fn meta_number(store: &Store, key: &str) -> Result<u64, OpenError> {
    match store.records().meta(key)? {
        Some(MetaValue::Number(number)) => Ok(number),
        _ => Ok(0),
    }
}
