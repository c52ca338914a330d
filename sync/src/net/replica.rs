//! What a node holds of its region, durable and in step with its peers.
//!
//! Owns the [`Exchange`] behind one lock. Whoever writes takes the lock, works out what would hold,
//! makes it durable and only then lets it hold; what peers sent goes the same way, in batches. A
//! crash in between loses a write that nobody was told of, or records that the next reconciliation
//! brings again. Watchers see every change of what holds, in order.

use super::caution::{APPLY_TIME_MAX, in_time, name_fresh};
use super::exchange::{Exchange, Fault, Wall};
use super::holding::Taken;
use super::message::Signal;
use crate::clock::stopwatch;
use crate::digest::Digest;
use crate::id::{NodeId, RecordId, Version};
use crate::record::{Effect, Record, Refusal, RemovalList};
use crate::store::{Batch, MetaValue, Placed, Row, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedMutexGuard, watch};

/// Turns follow one another no closer than this: what comes within it is judged together.
const TURN_REST: Duration = Duration::from_millis(5);
/// How long records that the disk refused wait for the next attempt.
const RETRY_REST: Duration = Duration::from_secs(1);
/// Records that one write removes.
const GONE_PER_WRITE: usize = 4_096;
/// Bytes of records in one write to the store.
const WRITE_BYTES_MAX: usize = 2 << 20;

/// Puts what holds before visitors; called in turn, before a write is answered.
type Show = dyn Fn(&Effect) + Send + Sync;

/// The records of one node.
pub struct Replica {
    store: Store,
    core: Arc<tokio::sync::Mutex<Core>>,
    effect: watch::Sender<Arc<Effect>>,
    show: Box<Show>,
    /// Something came in or went out: the next turn is due.
    stir: Notify,
    /// Grows whenever there may be something to send, or room to read.
    moved: watch::Sender<u64>,
    started: Instant,
    apply_time_max: Duration,
}

/// What the lock guards.
pub struct Core {
    exchange: Exchange,
    links: BTreeMap<NodeId, Linked>,
    /// Rows that are not on the disk yet, and records that are not yet gone from it.
    unstored: Vec<Row>,
    gone: Vec<RecordId>,
    /// What peers sent and was not applied yet.
    fresh: Vec<RecordId>,
}

/// A connection to a peer, as a node shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linked {
    /// Which of all connections of this run it is.
    pub(super) serial: u64,
    /// Since when, in milliseconds of this run.
    pub since_ms: u64,
}

/// Records of this node's own, with what holds with them, to be made durable together.
pub struct Commit {
    /// The records, in the order in which they were written.
    pub records: Vec<Arc<Record>>,
    /// What holds with them.
    pub effect: Arc<Effect>,
    /// Values that go with them.
    pub meta: Vec<(String, MetaValue)>,
    /// Versions that they put in place, and that are here whole.
    pub whole: Vec<Version>,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No peer would take it.
    #[error("the rules of the region do not allow the record: {0}")]
    Refused(#[from] Refusal),
    /// Another record of this author stands in the place already.
    #[error("another record stands in its place")]
    PlaceTaken,
}

impl Core {
    /// The exchange, with all that is held.
    #[must_use]
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    fn owe_disk(&mut self, taken: &Taken) {
        self.owe_rows(&taken.new);
        // What was written before it was evicted is still to be written first.
        self.gone.extend(&taken.evicted);
    }

    fn owe_rows<'r>(&mut self, records: impl IntoIterator<Item = &'r Arc<Record>>) {
        for record in records {
            self.unstored.push(row(record));
            self.fresh.push(record.id());
        }
    }

    /// The peers that are connected, with what they last said of themselves.
    pub fn links(&self, now_ms: u64) -> impl Iterator<Item = (NodeId, Linked, Option<Signal>)> {
        let signal = move |peer: &NodeId| self.exchange.signal_of(peer, now_ms);
        self.links
            .iter()
            .map(move |(peer, linked)| (*peer, *linked, signal(peer)))
    }
}

impl Replica {
    /// The records that `exchange` holds, stored in `store`; `show` gets what holds now and after
    /// every change.
    #[must_use]
    pub fn new(
        store: Store,
        mut exchange: Exchange,
        show: impl Fn(&Effect) + Send + Sync + 'static,
    ) -> Self {
        exchange.settle();
        let effect = Arc::clone(exchange.holding().effect());
        show(&effect);
        let core = Core {
            exchange,
            links: BTreeMap::new(),
            unstored: Vec::new(),
            gone: Vec::new(),
            fresh: Vec::new(),
        };
        Self {
            store,
            core: Arc::new(tokio::sync::Mutex::new(core)),
            effect: watch::Sender::new(effect),
            show: Box::new(show),
            stir: Notify::new(),
            moved: watch::Sender::new(0),
            started: stopwatch(),
            apply_time_max: APPLY_TIME_MAX,
        }
    }

    /// The same, where applying records may take so long: a test waits for it.
    #[must_use]
    pub fn applying_within(self, apply_time_max: Duration) -> Self {
        Self {
            apply_time_max,
            ..self
        }
    }

    /// What holds now.
    #[must_use]
    pub fn effect(&self) -> Arc<Effect> {
        Arc::clone(&self.effect.borrow())
    }

    /// What holds, and every change of it from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Effect>> {
        self.effect.subscribe()
    }

    /// Waits for the turn to write; nothing is taken from peers while the guard lives.
    pub async fn lock(&self) -> OwnedMutexGuard<Core> {
        Arc::clone(&self.core).lock_owned().await
    }

    /// Makes what was written under the guard durable, lets it hold and passes it on.
    ///
    /// # Errors
    /// [`CommitError`]; nothing has changed then.
    pub async fn commit(
        &self,
        core: &mut OwnedMutexGuard<Core>,
        commit: Commit,
    ) -> Result<(), CommitError> {
        core.exchange.holding().check(&commit.records)?;
        let batch = Batch {
            rows: commit.records.iter().map(|record| row(record)).collect(),
            meta: commit.meta,
            whole: commit.whole,
            ..Batch::default()
        };
        let outcome = self.store.records().write(batch)?.await?;
        if outcome.placed.iter().any(|placed| *placed != Placed::New) {
            return Err(CommitError::PlaceTaken);
        }
        let taken = core.exchange.adopt(&commit.records, commit.effect);
        // What waited for them, of others.
        let own = |record: &Arc<Record>| commit.records.iter().any(|own| own.id() == record.id());
        core.owe_rows(taken.new.iter().filter(|record| !own(record)));
        core.gone.extend(&taken.evicted);
        self.publish(core);
        self.stir.notify_one();
        Ok(())
    }

    /// Puts what holds before visitors once more: what is here of it has changed.
    pub async fn show_again(&self) {
        let core = self.lock().await;
        (self.show)(core.exchange.holding().effect());
    }

    /// Takes up the list of a removal: that binds from now on.
    pub async fn learn_list(&self, list: RemovalList) {
        let mut core = self.lock().await;
        core.exchange.learn_list(list);
        self.publish(&mut core);
    }

    /// The bytes of a list that a step names, if they are stored here.
    pub(super) async fn list(&self, digest: Digest) -> Option<Vec<u8>> {
        let effect = self.effect();
        let mut steps = effect.chain.steps().iter();
        if !steps.any(|step| step.body.removed.values().any(|list| *list == digest)) {
            return None;
        }
        let store = self.store.clone();
        let read = move || store.blobs().read_verified(&digest, RemovalList::BYTES_MAX);
        let read = tokio::task::spawn_blocking(read).await;
        read.ok()?.ok().flatten()
    }

    /// Tells peers this time of day from now on.
    pub async fn set_wall(&self, wall: Wall) {
        let now_ms = self.now_ms();
        self.lock().await.exchange.set_wall(wall, now_ms);
    }

    /// Milliseconds since the start, the time of the exchange.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Judges what peers send, turn by turn, until the task is dropped.
    pub async fn run(&self) {
        loop {
            let next_ms = {
                let core = self.lock().await;
                core.exchange.next_turn_ms(self.now_ms())
            };
            let rest = next_ms.map(|next_ms| {
                Duration::from_millis(next_ms.saturating_sub(self.now_ms())).max(TURN_REST)
            });
            match rest {
                Some(rest) => {
                    if tokio::time::timeout(rest, self.stir.notified())
                        .await
                        .is_ok()
                    {
                        tokio::time::sleep(TURN_REST).await;
                    }
                }
                None => self.stir.notified().await,
            }
            if let Err(error) = self.turn().await {
                tracing::error!(%error, "records of peers could not be stored; they wait");
                tokio::time::sleep(RETRY_REST).await;
                self.stir.notify_one();
            }
        }
    }

    /// One turn: what came is judged, made durable, and holds.
    ///
    /// # Errors
    /// [`StoreError`]: what was judged holds in memory and waits to be stored.
    pub async fn turn(&self) -> Result<(), StoreError> {
        let mut core = self.lock().await;
        let taken = core.exchange.turn(self.now_ms());
        core.owe_disk(&taken);
        let stored = self.store_waiting(&mut core).await;
        if !taken.new.is_empty() {
            self.publish(&mut core);
        }
        self.move_on();
        stored
    }

    /// Takes up records that did not come from a peer, as far as the rules allow, and passes them
    /// on.
    ///
    /// # Errors
    /// [`StoreError`]: they hold in memory and wait to be stored.
    pub async fn take_in(&self, records: Vec<Record>) -> Result<Taken, StoreError> {
        let mut core = self.lock().await;
        let taken = core.exchange.write(records);
        core.owe_disk(&taken);
        let stored = self.store_waiting(&mut core).await;
        self.publish(&mut core);
        self.stir.notify_one();
        stored.map(|()| taken)
    }

    async fn store_waiting(&self, core: &mut Core) -> Result<(), StoreError> {
        while !(core.unstored.is_empty() && core.gone.is_empty()) {
            let mut bytes = 0;
            let fits = |row: &&Row| {
                bytes += row.bytes.len() + row.subject.len() + 256;
                bytes <= WRITE_BYTES_MAX
            };
            let count = core.unstored.iter().take_while(fits).count();
            let count = count.max(1).min(core.unstored.len());
            let gone_count = core.gone.len().min(GONE_PER_WRITE);
            let mut batch = Batch {
                rows: core.unstored.get(..count).unwrap_or_default().to_vec(),
                gone: core.gone.get(..gone_count).unwrap_or_default().to_vec(),
                ..Batch::default()
            };
            if !core.fresh.is_empty() {
                name_fresh(&mut batch, &core.fresh);
            }
            self.store.records().write(batch)?.await?;
            core.unstored.drain(..count);
            core.gone.drain(..gone_count);
        }
        Ok(())
    }

    fn publish(&self, core: &mut Core) {
        in_time(self.apply_time_max, || core.exchange.settle());
        if core.unstored.is_empty() {
            core.fresh.clear();
        }
        let effect = Arc::clone(core.exchange.holding().effect());
        (self.show)(&effect);
        self.effect.send_replace(effect);
        self.move_on();
    }

    fn move_on(&self) {
        self.moved
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Told whenever something has come in, gone out or been written.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Something may be due that was not.
    pub(super) fn stir(&self) {
        self.stir.notify_one();
    }

    /// A connection to `peer` is there, in the place of an earlier one.
    pub(super) async fn connect(&self, peer: NodeId, serial: u64) {
        let mut core = self.lock().await;
        let since_ms = self.now_ms();
        core.links.insert(peer, Linked { serial, since_ms });
        core.exchange.connect(peer, since_ms);
        drop(core);
        self.stir.notify_one();
    }

    /// It is gone, unless another has taken its place.
    pub(super) async fn disconnect(&self, peer: NodeId, serial: u64) {
        let mut core = self.lock().await;
        if core
            .links
            .get(&peer)
            .is_some_and(|linked| linked.serial == serial)
        {
            core.links.remove(&peer);
            core.exchange.disconnect(&peer);
            self.move_on();
        }
    }

    /// Whether more of `peer` can be read now.
    pub(super) async fn has_room(&self, peer: &NodeId) -> bool {
        self.lock().await.exchange.has_room(peer)
    }

    /// Takes in what `peer` said.
    ///
    /// # Errors
    /// [`Fault`]: its connection is to be closed.
    pub(super) async fn hear(&self, peer: &NodeId, bytes: &[u8]) -> Result<(), Fault> {
        let heard = self.lock().await.exchange.hear(peer, bytes);
        self.stir.notify_one();
        heard
    }

    /// The next message to `peer`, if there is one.
    pub(super) async fn next_out(&self, peer: &NodeId) -> Option<Vec<u8>> {
        let now_ms = self.now_ms();
        self.lock().await.exchange.next_out(peer, now_ms)
    }
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
