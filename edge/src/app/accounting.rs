//! The books of the running node: what visitors got goes to the disk each second, and each day that
//! is over is sealed.
//!
//! A task of its own, which ends with the node: when visitors are served no more it takes the last
//! counts and syncs. A disk that refuses is tried again and never keeps a visitor waiting. While
//! nothing is counted nothing is written.

use crate::accounting::books::{Books, Due, Moment, OwnSeals, SEAL_AFTER_S};
use crate::accounting::calendar::Day;
use crate::accounting::desk::{Desk, Standing};
use crate::accounting::journal::{JournalDir, JournalError};
use crate::accounting::seal::{Carry, Closed, Seal};
use crate::belief::Belief;
use crate::error_chain::chain;
use crate::region::{RegionView, WriteError};
use crate::witness::{OpenDays, Wait, Witnessing};
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use verge_sync::Digest;
use verge_sync::clock::{Clock, stopwatch};
use verge_sync::content::Repairs;
use verge_sync::store::{LocalDisk, Store, StoreError};

/// The folder of the journal in the data directory.
pub(super) const JOURNAL: &str = "journal";
/// From the first count after a write to the next write: so much a crash may lose.
const BETWEEN_WRITES: Duration = Duration::from_secs(1);
/// What failed is tried again after so long.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);
/// A day is over at this time by the clock, which may have been set; so it is looked at so often, while
/// a day waits for its end.
const BETWEEN_CLOCK_LOOKS: Duration = Duration::from_secs(600);
/// Seals are looked at once a second at most, however fast records come.
const BETWEEN_REVIEWS: Duration = Duration::from_secs(1);

/// What keeps the books.
struct Keeper {
    store: Store,
    region: Arc<RegionView>,
    desk: Arc<Desk>,
    clock: watch::Receiver<(u64, Belief)>,
    between_syncs: Duration,
    is_behind_proxy: bool,
    books: Option<Books<JournalDir>>,
    /// When what was written is to be synced.
    sync_at: Option<Instant>,
    /// Before that nothing is tried again.
    rest_until: Option<Instant>,
    trouble: Option<String>,
    witnessing: Arc<Witnessing>,
    gate: watch::Receiver<Option<Wait>>,
    asked: OpenDays,
}

/// The task, to be ended.
pub(super) struct Keeping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// How the books are kept.
pub(super) struct Manner {
    pub(super) between_syncs: Duration,
    pub(super) is_behind_proxy: bool,
    /// Whether a day may be sealed, and who asks for those that are open.
    pub(super) witnessing: (Arc<Witnessing>, OpenDays),
}

/// Why a day is not sealed yet.
#[derive(Debug, thiserror::Error)]
enum Unsealed {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the rows of the seal of {0} cannot be kept")]
    Rows(Day, #[source] StoreError),
    #[error("the seal of {0} is not written")]
    Record(Day, #[source] WriteError),
}

/// Opens the journal and begins to keep it. A disk that refuses is no reason not to serve.
///
/// # Errors
/// A newer release wrote the journal.
pub(super) async fn start(
    store: &Store,
    region: &Arc<RegionView>,
    desk: &Arc<Desk>,
    clock: watch::Receiver<(u64, Belief)>,
    manner: Manner,
) -> anyhow::Result<Keeping> {
    let (witnessing, asked) = manner.witnessing;
    let mut keeper = Keeper {
        store: store.clone(),
        region: Arc::clone(region),
        desk: Arc::clone(desk),
        clock,
        between_syncs: manner.between_syncs,
        is_behind_proxy: manner.is_behind_proxy,
        books: None,
        sync_at: None,
        rest_until: None,
        trouble: None,
        gate: witnessing.gate.watch(),
        witnessing,
        asked,
    };
    match keeper.open().await {
        Err(error @ (JournalError::Newer(_) | JournalError::Epochs)) => {
            return Err(error).context("the journal of what was served");
        }
        opened => keeper.note(opened.map_err(Unsealed::Journal)),
    }
    keeper.tell();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(keeper.run(stopped));
    Ok(Keeping { stop, task })
}

impl Keeping {
    /// Takes the last counts and waits until they are on the disk.
    pub(super) async fn stop(self) {
        drop(self.stop);
        if self.task.await.is_err() {
            tracing::error!(
                "the books ended early: up to a minute of what was served is not counted"
            );
        }
    }
}

impl Keeper {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let wake = self.wake();
            tokio::select! {
                _ = &mut stopped => break,
                () = self.desk.meter.changed(), if self.rest_until.is_none() => {
                    tokio::select! {
                        _ = &mut stopped => break,
                        () = tokio::time::sleep(BETWEEN_WRITES) => {}
                    }
                }
                () = until(wake) => {}
                changed = self.clock.changed(), if self.waits_for_clock() => {
                    if changed.is_err() { break }
                }
                // Its other end is here, too.
                _ = self.gate.changed() => {}
                Some(asked) = self.asked.recv() => {
                    self.step(false).await;
                    self.show_open_days(asked).await;
                    continue;
                }
            }
            self.step(false).await;
        }
        self.step(true).await;
    }

    /// When there is something to do without anything new.
    fn wake(&self) -> Option<Instant> {
        if self.rest_until.is_some() {
            return self.rest_until;
        }
        let now = stopwatch();
        let books = self.books.as_ref();
        let over = books.and_then(Books::first_open_day).map(|day| {
            let due_s = day.next().begins_s().saturating_add(SEAL_AFTER_S);
            let left = Duration::from_secs(due_s.saturating_sub(wall_s()));
            now + left.clamp(Duration::from_secs(1), BETWEEN_CLOCK_LOOKS)
        });
        let over = over.filter(|_| !self.waits_for_clock() && self.witnessing.gate.is_open());
        [self.sync_at, over].into_iter().flatten().min()
    }

    /// Whether the clock being believed would change something.
    fn waits_for_clock(&self) -> bool {
        let is_open = self.books.as_ref().is_some_and(Books::has_open_days);
        is_open && !self.clock.borrow().1.holds()
    }

    fn believed_s(&self) -> Option<u64> {
        let belief = self.clock.borrow().1;
        belief.holds().then(wall_s)
    }

    /// Writes what is new, syncs what is due, seals what is over.
    async fn step(&mut self, is_last: bool) {
        let now = stopwatch();
        if self.rest_until.is_some_and(|until| now < until) && !is_last {
            return;
        }
        self.rest_until = None;
        self.clock.mark_unchanged();
        let done = self.try_step(now, is_last).await;
        self.note(done);
        self.tell();
    }

    async fn try_step(&mut self, now: Instant, is_last: bool) -> Result<(), Unsealed> {
        if self.books.is_none() {
            self.open().await?;
        }
        self.write().await?;
        let is_due = self.sync_at.is_some_and(|at| at <= now);
        if is_due || is_last {
            self.with_books(Books::sync).await?;
        }
        if !is_last {
            self.seal_ended().await?;
        }
        let is_synced = self.books.as_ref().is_none_or(Books::is_synced);
        self.sync_at = match self.sync_at {
            _ if is_synced => None,
            Some(at) if at > now => Some(at),
            _ => Some(now + self.between_syncs),
        };
        Ok(())
    }

    async fn open(&mut self) -> Result<(), JournalError> {
        let dir = self.store.dir().join(JOURNAL);
        let node = self.region.keys().node();
        let own = OwnSeals::of(&self.region.effect(), node);
        let is_behind_proxy = self.is_behind_proxy;
        let opening = move || {
            make_dir(&dir)?;
            let disk = JournalDir::new(dir, Arc::new(LocalDisk));
            Books::open(disk, node, &own, is_behind_proxy)
        };
        let opened = tokio::task::spawn_blocking(opening).await;
        self.books = Some(opened.unwrap_or_else(|_ended| Err(stopping()))?);
        Ok(())
    }

    /// Where the disk may be waited for. A panic there loses what was not written.
    async fn with_books<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Books<JournalDir>) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let mut books = self.books.take().ok_or_else(stopping)?;
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&mut books);
            (books, done)
        });
        let (books, done) = worked.await.map_err(|_ended| stopping())?;
        self.books = Some(books);
        done
    }

    async fn write(&mut self) -> Result<(), Unsealed> {
        let at = Moment::of(self.believed_s());
        let taken = self.desk.meter.take();
        let meter = Arc::clone(&self.desk.meter);
        let writing = move |books: &mut Books<JournalDir>| {
            books.count(taken, at).map_err(|(error, back)| {
                // Full: it stays where it was counted.
                back.into_iter().for_each(|taken| meter.give_back(taken));
                error
            })
        };
        Ok(self.with_books(writing).await?)
    }

    /// For the witnesses; nothing while it cannot be synced.
    async fn show_open_days(&mut self, asked: oneshot::Sender<Vec<Seal>>) {
        let own = OwnSeals::of(&self.region.effect(), self.region.keys().node());
        match self.with_books(move |books| books.open_days(&own)).await {
            // Whoever asked may be gone.
            Ok(days) => drop(asked.send(days)),
            Err(error) => tracing::debug!(error = chain(&error), "no snapshot"),
        }
    }

    async fn seal_ended(&mut self) -> Result<(), Unsealed> {
        if !self.witnessing.gate.is_open() {
            return Ok(());
        }
        let Some(now_s) = self.believed_s() else {
            return Ok(());
        };
        let today = Day::of_time(now_s.saturating_sub(SEAL_AFTER_S));
        let first = |keeper: &Self| keeper.books.as_ref().and_then(Books::first_open_day);
        while first(self).is_some_and(|day| day < today) {
            let own = OwnSeals::of(&self.region.effect(), self.region.keys().node());
            let due = self.with_books(move |books| books.due(now_s, &own)).await?;
            let Some(due) = due else { return Ok(()) };
            self.seal(due).await?;
        }
        Ok(())
    }

    /// Each step is durable before the next; a crash between two of them finds the day due again,
    /// and comes to the same bytes.
    async fn seal(&mut self, due: Due) -> Result<(), Unsealed> {
        let (day, carry) = match due {
            Due::Seal(day, closed) => {
                let Closed { seal, carry } = *closed;
                let (store, region) = (self.store.clone(), Arc::clone(&self.region));
                let mut signing = std::pin::pin!(sign(&store, &region, (day, &seal)));
                // What is counted meanwhile waits no longer than ever, however slow the disk is.
                loop {
                    tokio::select! {
                        signed = &mut signing => break signed?,
                        () = tokio::time::sleep(BETWEEN_WRITES / 2) => self.write().await?,
                    }
                }
                self.write().await?;
                tracing::info!(%day, rows = seal.rows.len(), "what was served is sealed");
                (day, carry)
            }
            Due::Covered(day) => {
                tracing::error!(%day, "this node sealed that day, or a later one, before, from other counters: what is in this journal of it is not counted again");
                (day, Carry::default())
            }
            Due::TooLarge(day) => {
                tracing::error!(%day, "what was counted is larger than a seal can say: it is not sealed");
                (day, Carry::default())
            }
        };
        let ending = move |books: &mut Books<JournalDir>| books.sealed(day, carry);
        self.with_books(ending).await?;
        self.write().await
    }

    /// Says once that something is wrong, and once that it is well again.
    fn note(&mut self, done: Result<(), Unsealed>) {
        let trouble = done.err().map(|error| chain(&error));
        if let Some(trouble) = &trouble {
            self.rest_until = Some(stopwatch() + REST_AFTER_FAILURE);
            if self.trouble.as_ref() != Some(trouble) {
                tracing::error!("{trouble}; visitors are served all the same");
            }
        } else if self.trouble.is_some() {
            tracing::info!("what was served is kept again");
        }
        self.trouble = trouble;
    }

    fn tell(&self) {
        let own = OwnSeals::of(&self.region.effect(), self.region.keys().node());
        self.desk.tell(Standing {
            figures: self.books.as_ref().map(Books::figures),
            is_synced: self.books.as_ref().is_some_and(Books::is_synced),
            trouble: self.trouble.clone(),
            sealed_until: own.last(),
            first_open_day: self.books.as_ref().and_then(Books::first_open_day),
        });
    }
}

/// Keeps the rows, then signs: nobody is told of rows that are not here.
async fn sign(
    store: &Store,
    region: &Arc<RegionView>,
    (day, seal): (Day, &Seal),
) -> Result<(), Unsealed> {
    let encoded = seal.encode();
    // Until the record names them nothing else keeps them.
    let _pin = store.pin([Digest::of(&encoded.rows)]);
    if !encoded.rows.is_empty() {
        let (blobs, rows) = (store.clone(), encoded.rows);
        let put = tokio::task::spawn_blocking(move || blobs.blobs().put(&rows)).await;
        let put = put.unwrap_or(Err(StoreError::Closed));
        put.map_err(|error| Unsealed::Rows(day, error))?;
    }
    let signed = region.seal(day, &encoded.body).await;
    signed
        .map(drop)
        .map_err(|error| Unsealed::Record(day, error))
}

/// Looks at the seals of all nodes, and brings the rows that are not here; never ends by itself.
pub(super) async fn review(
    region: Arc<RegionView>,
    desk: Arc<Desk>,
    repairs: Repairs,
    mut clock: watch::Receiver<(u64, Belief)>,
) {
    let mut effects = region.watch();
    let mut repaired = repairs.changes();
    loop {
        let effect = effects.borrow_and_update().clone();
        let today = Day::of_time(region.floor_s());
        let looking = Arc::clone(&desk);
        let looked = tokio::task::spawn_blocking(move || looking.ledger.review(&effect, today));
        let Ok(review) = looked.await else { return };
        repairs.want("seals", review.missing.clone());
        let missing = review.missing.clone();
        desk.show(review);
        loop {
            tokio::select! {
                changed = effects.changed() => if changed.is_err() { return } else { break },
                changed = repaired.next() => {
                    if !changed { return }
                    let waiting = repairs.waiting();
                    if missing.keys().any(|blob| !waiting.contains_key(blob)) { break }
                }
                changed = clock.changed() => {
                    if changed.is_err() { return }
                    if Day::of_time(region.floor_s()) != today { break }
                }
            }
        }
        tokio::time::sleep(BETWEEN_REVIEWS).await;
    }
}

fn make_dir(dir: &PathBuf) -> Result<(), JournalError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    let synced = made.and_then(|()| {
        let parent = dir.parent().unwrap_or(dir);
        std::fs::File::open(parent)?.sync_all()
    });
    synced.map_err(|source| JournalError::Disk {
        action: "make",
        source,
    })
}

fn stopping() -> JournalError {
    let source = std::io::Error::other("the node is stopping");
    JournalError::Disk {
        action: "write",
        source,
    }
}

fn wall_s() -> u64 {
    u64::try_from(Clock::System.now().0).unwrap_or(0)
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
