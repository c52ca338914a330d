//! What a node does as a witness of others, and with its own: one task, which ends with the node.
//!
//! After each change of the records, once a second at most, it looks at the seals and checkpoints: it
//! opens or closes the gate before this node's own seals, writes the checkpoints that are due,
//! publishes and countersigns snapshots of lost days. In between it answers letters, and hands its own
//! open days to its witnesses. Letters of its own are on their way in tasks of their own, so that two
//! nodes that write to one another do not wait for one another.

use crate::accounting::books::SEAL_AFTER_S;
use crate::accounting::calendar::Day;
use crate::accounting::ledger::ROWS_KEPT_DAYS;
use crate::accounting::seal::Previous;
use crate::belief::Belief;
use crate::error_chain::chain;
use crate::region::RegionView;
use crate::witness::{
    Chains, Folder, FolderError, Letter, Met, Reply, Sender, Snapshot, Witnessing, due, findings,
    named_rows, orphans, owed_votes, to_publish, wait, witnesses,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use verge_sync::Digest;
use verge_sync::clock::{Clock, stopwatch};
use verge_sync::content::{Repairs, Sources as _};
use verge_sync::id::NodeId;
use verge_sync::net::{self, Network};
use verge_sync::record::{Effect, Record};
use verge_sync::store::Store;

/// The folder of others' snapshots in the data directory.
const SNAPSHOTS: &str = "snapshots";
/// Letters that wait to be answered.
pub(super) const LETTERS_MAX: usize = 4;
/// The records are looked at once a second at most, however fast they come.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// Before this node may seal: that another holds the same is no record.
const WHILE_CLOSED: Duration = Duration::from_secs(5);
/// Days come and go without a record.
const BETWEEN_LOOKS_MAX: Duration = Duration::from_secs(600);

/// What the task works with.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) region: Arc<RegionView>,
    pub(super) network: Option<Arc<Network>>,
    pub(super) letters: mpsc::Receiver<net::Letter>,
    pub(super) clock: watch::Receiver<(u64, Belief)>,
    pub(super) blocked: watch::Receiver<BTreeSet<NodeId>>,
    pub(super) repairs: Repairs,
    pub(super) desk: Arc<Witnessing>,
    /// From one snapshot to the next.
    pub(super) between_snapshots: Duration,
}

/// How far this node is with the others since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// It has not held what a node of another provider held.
    Alone,
    /// It has, and asks its witnesses what they know of it.
    Asking,
    /// They have said it.
    Met,
}

struct Task {
    parts: Parts,
    folder: Option<Folder>,
    meeting: Meeting,
    told: BTreeMap<NodeId, Previous>,
    asking: JoinSet<Option<(NodeId, Previous)>>,
    handing: JoinSet<Option<(NodeId, Day, Digest)>>,
    /// What each witness holds of each open day.
    handed: BTreeMap<(NodeId, Day), Digest>,
    next_snapshot: Instant,
}

/// Never ends by itself.
pub(super) async fn run(parts: Parts) {
    let next_snapshot = stopwatch() + parts.between_snapshots;
    let mut task = Task {
        parts,
        folder: None,
        meeting: Meeting::Alone,
        told: BTreeMap::new(),
        asking: JoinSet::new(),
        handing: JoinSet::new(),
        handed: BTreeMap::new(),
        next_snapshot,
    };
    let mut effects = task.parts.region.watch();
    let mut moves = task.parts.region.replica().changes();
    loop {
        effects.mark_unchanged();
        moves.mark_unchanged();
        task.look().await;
        let looked = stopwatch();
        loop {
            let is_closed = !task.parts.desk.gate.is_open();
            let rest = BETWEEN_LOOKS.saturating_sub(looked.elapsed());
            let longest = if is_closed {
                WHILE_CLOSED
            } else {
                BETWEEN_LOOKS_MAX
            };
            let left = longest.saturating_sub(looked.elapsed());
            tokio::select! {
                Some(letter) = task.parts.letters.recv() => task.answer(letter).await,
                Some(told) = task.asking.join_next() => {
                    task.told.extend(told.ok().flatten());
                    if task.asking.is_empty() {
                        task.meeting = Meeting::Met;
                        break;
                    }
                }
                Some(handed) = task.handing.join_next() => {
                    task.note(handed.ok().flatten());
                }
                () = tokio::time::sleep_until(task.next_snapshot.into()) => {
                    task.next_snapshot = stopwatch() + task.parts.between_snapshots;
                    task.hand().await;
                }
                changed = after(rest, effects.changed()) => if changed.is_err() { return } else { break },
                changed = after(rest, moves.changed()), if is_closed => {
                    if changed.is_err() { return }
                    break;
                }
                changed = task.parts.blocked.changed() => {
                    if changed.is_err() { return }
                    break;
                }
                () = tokio::time::sleep(left) => break,
            }
        }
    }
}

async fn after<T>(rest: Duration, change: impl Future<Output = T>) -> T {
    tokio::time::sleep(rest).await;
    change.await
}

impl Task {
    fn me(&self) -> NodeId {
        self.parts.region.keys().node()
    }

    fn believed_s(&self) -> Option<u64> {
        let belief = self.parts.clock.borrow().1;
        let now = u64::try_from(Clock::System.now().0).ok()?;
        belief.holds().then_some(now)
    }

    /// Everything that follows from the records.
    async fn look(&mut self) {
        self.open().await;
        let effect = self.parts.region.effect();
        let read = Arc::clone(&effect);
        let reading = tokio::task::spawn_blocking(move || Chains::of(&read));
        let Ok(chains) = reading.await else { return };
        self.guard(&effect, &chains).await;
        if let Some(now_s) = self.believed_s() {
            self.bear_witness(&effect, &chains).await;
            self.rescue(&effect, &chains, now_s).await;
        }
        self.want_rows(&effect);
        self.tell(&effect, &chains);
    }

    async fn open(&mut self) {
        if self.folder.is_some() {
            return;
        }
        let dir = self.parts.store.dir().join(SNAPSHOTS);
        let opened = tokio::task::spawn_blocking(move || Folder::open(&dir)).await;
        let trouble = match opened {
            Ok(Ok(folder)) => {
                self.folder = Some(folder);
                None
            }
            Ok(Err(error)) => Some(format!(
                "no snapshots of others can be held: {}",
                chain(&error)
            )),
            Err(_stopping) => None,
        };
        self.parts.desk.tell(|standing| standing.trouble = trouble);
    }

    /// Where the disk may be waited for; none while there is no folder. After a panic there it is
    /// opened anew.
    async fn with_folder<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Folder) -> T + Send + 'static,
    ) -> Option<T> {
        let mut folder = self.folder.take()?;
        let worked = tokio::task::spawn_blocking(move || {
            let done = work(&mut folder);
            (folder, done)
        });
        let (folder, done) = worked.await.ok()?;
        self.folder = Some(folder);
        Some(done)
    }

    /// Opens or closes the gate.
    async fn guard(&mut self, effect: &Arc<Effect>, chains: &Chains) {
        let in_step = self.parts.region.in_step().await;
        let own = self.parts.region.slot().provider;
        let is_other = |node: &NodeId| {
            let node = effect.nodes.get(node);
            node.is_some_and(|node| node.slot.provider != own)
        };
        if self.meeting == Meeting::Alone && in_step.iter().any(is_other) {
            self.ask(effect);
        }
        let blocked = self.parts.blocked.borrow().clone();
        let met = Met {
            has_met: self.meeting == Meeting::Met,
            in_step: &in_step,
            blocked: &blocked,
            told: &self.told,
        };
        let wait = wait(effect, chains, self.me(), met);
        self.parts.desk.gate.set(wait);
    }

    /// Asks the witnesses what they hold of this node.
    fn ask(&mut self, effect: &Effect) {
        self.meeting = Meeting::Met;
        let me = self.me();
        let sender = self.parts.region.sender(effect, &me);
        let (Some(network), Some(sender)) = (&self.parts.network, sender) else {
            return;
        };
        for witness in witnesses(effect, &me) {
            let network = Arc::clone(network);
            self.meeting = Meeting::Asking;
            self.asking.spawn(async move {
                let answer = network.write(witness, &Letter::Ask.encode()).await;
                let reply = Reply::decode(&answer.ok()?)?;
                Some((witness, reply.follows(&sender)?))
            });
        }
    }

    async fn bear_witness(&self, effect: &Effect, chains: &Chains) {
        let due = due(effect, chains, self.me());
        if due.is_empty() {
            return;
        }
        if let Err(error) = self.parts.region.bear_witness(&due).await {
            tracing::warn!(
                error = chain(&error),
                "what was seen of others' seals is not written yet"
            );
        }
    }

    /// Publishes and countersigns what nodes cannot seal any more, and lets go of what is sealed.
    async fn rescue(&mut self, effect: &Effect, chains: &Chains, now_s: u64) {
        let today = Day::of_time(now_s);
        let ended = Day::of_time(now_s.saturating_sub(SEAL_AFTER_S)).minus(1);
        let sealed: BTreeSet<(NodeId, Day)> = {
            let held = self.folder.iter().flat_map(|folder| folder.held().keys());
            let over = held.filter(|(node, day)| {
                chains.has_day(node, *day) || *day < today.minus(ROWS_KEPT_DAYS)
            });
            over.copied().collect()
        };
        if !sealed.is_empty() {
            let letting_go = move |folder: &mut Folder| {
                folder.retain(|held| !sealed.contains(&(held.node, held.day)))
            };
            if let Some(Err(error)) = self.with_folder(letting_go).await {
                tracing::error!(error = chain(&error), "a snapshot that is over stays");
            }
        }
        // Who has not caught up does not know which days are sealed; of two nobody else knows.
        let provider_count = effect.chain.current().body.providers.len();
        let Some(folder) = &self.folder else { return };
        if self.meeting != Meeting::Met && provider_count > 2 {
            return;
        }
        let peers = self.parts.network.as_ref().map(|network| network.peers());
        let peers: BTreeSet<NodeId> = peers.into_iter().flatten().map(|peer| peer.node).collect();
        let is_away = |node: &NodeId| !peers.contains(node);
        let held = folder.held().values().cloned();
        let lost = to_publish(effect, chains, held, (ended, is_away));
        let owed = owed_votes(effect, chains, self.me(), folder.held());
        for (node, day) in lost {
            self.publish(node, day).await;
        }
        if !owed.is_empty()
            && let Err(error) = self.parts.region.countersign_snapshots(&owed).await
        {
            tracing::warn!(error = chain(&error), "snapshots are not countersigned yet");
        }
    }

    async fn publish(&mut self, node: NodeId, day: Day) {
        let read = self.with_folder(move |folder| folder.read(node, day)).await;
        let snapshot = match read {
            Some(Ok(Some(snapshot))) => snapshot,
            Some(Err(error)) => return tracing::error!(error = chain(&error), "a snapshot"),
            Some(Ok(None)) | None => return,
        };
        // Until the record names them nothing else keeps them.
        let rows = snapshot.encoded.rows;
        let _pin = self.parts.store.pin([Digest::of(&rows)]);
        let store = self.parts.store.clone();
        let put = tokio::task::spawn_blocking(move || store.blobs().put(&rows)).await;
        if !matches!(put, Ok(Ok(_))) {
            return tracing::error!(?put, "the rows of a snapshot cannot be kept");
        }
        match self.parts.region.publish_snapshot(snapshot.record).await {
            Ok(()) => {
                tracing::warn!(node = %node.short(), %day, "a node is lost for a day: its last snapshot is published");
            }
            Err(error) => tracing::error!(error = chain(&error), "a snapshot is not published yet"),
        }
    }

    /// Brings the rows of what was published.
    fn want_rows(&self, effect: &Effect) {
        let today = Day::of_time(self.parts.region.floor_s());
        let mut rows = named_rows(effect, today);
        let blobs = self.parts.store.blobs();
        rows.retain(|blob, _| matches!(blobs.open(blob), Ok(None)));
        self.parts.repairs.want("snapshots", rows);
    }

    fn tell(&self, effect: &Effect, chains: &Chains) {
        let found = findings(effect, chains);
        let held = self.folder.as_ref().map(Folder::held);
        let orphans = orphans(effect, chains).into_values().map(|orphan| {
            let name = effect.nodes.get(&orphan.node);
            let name = name.map_or("", |node| node.body.name.as_str());
            format!("{name} {}", orphan.day)
        });
        self.parts.desk.tell(|standing| {
            standing.findings = found.iter().map(|of| of.words(effect)).collect();
            standing.orphans = orphans.collect();
            standing.witnesses = witnesses(effect, &self.me());
            standing.held_count = held.map_or(0, BTreeMap::len);
            let bytes = held.into_iter().flat_map(BTreeMap::values);
            standing.held_bytes = bytes.map(|held| held.bytes).sum();
        });
    }

    /// Answers another node.
    async fn answer(&mut self, letter: net::Letter) {
        let net::Letter { from, bytes, reply } = letter;
        let effect = self.parts.region.effect();
        let answer = match Letter::decode(&bytes) {
            Some(Letter::Ask) => {
                let held = self.folder.as_ref();
                let held = held.and_then(|folder| folder.latest_of(&from));
                Reply::Held(held.map(|held| held.record.clone()))
            }
            Some(Letter::Keep(record, rows)) => {
                match self.keep(&effect, &from, (record, rows)).await {
                    Ok(()) => Reply::Kept,
                    Err(why) => Reply::Refused(why),
                }
            }
            None => Reply::Refused("this is no letter to a witness".to_owned()),
        };
        if reply.send(answer.encode()).is_err() {
            tracing::debug!(peer = %from.short(), "gone before the answer");
        }
        self.parts.desk.tell(|standing| {
            let held = self.folder.as_ref().map(Folder::held);
            standing.held_count = held.map_or(0, BTreeMap::len);
        });
    }

    /// Keeps a snapshot, or says why not.
    async fn keep(
        &mut self,
        effect: &Effect,
        from: &NodeId,
        parts: (&[u8], &[u8]),
    ) -> Result<(), String> {
        if !witnesses(effect, from).contains(&self.me()) {
            return Err("this node is no witness of yours".to_owned());
        }
        let sender: Option<Sender> = self.parts.region.sender(effect, from);
        let sender = sender.ok_or("you are no member")?;
        let snapshot = Snapshot::read(parts, &sender).map_err(|error| chain(&error))?;
        let now_s = self.believed_s();
        let today = now_s.map(Day::of_time);
        let today = today.ok_or("this node does not believe its clock")?;
        let day = snapshot.seal.day;
        // Either clock may be a little ahead.
        if day > today.next() || day < today.minus(2) {
            return Err(format!("the snapshot is of {day}, and today is {today}"));
        }
        let kept = self.with_folder(move |folder| folder.keep(&snapshot)).await;
        let kept = kept.ok_or("this node cannot hold snapshots now")?;
        kept.map_err(|error: FolderError| {
            tracing::warn!(peer = %from.short(), error = chain(&error), "a snapshot is not kept");
            chain(&error)
        })
    }

    /// Hands the open days to the witnesses, as far as they do not hold them.
    async fn hand(&mut self) {
        let effect = self.parts.region.effect();
        let me = self.me();
        let Some(network) = self.parts.network.clone() else {
            return;
        };
        let chosen = witnesses(&effect, &me);
        if chosen.is_empty() || !self.handing.is_empty() {
            return;
        }
        let Some(days) = self.parts.desk.open_days().await else {
            return;
        };
        let is_open = |day: &Day| days.iter().any(|said| said.day == *day);
        self.handed.retain(|(_, day), _| is_open(day));
        for said in &days {
            let (day, encoded) = (said.day, said.encode());
            let digest = encoded.digest();
            let missing = |witness: &&NodeId| self.handed.get(&(**witness, day)) != Some(&digest);
            let missing: Vec<NodeId> = chosen.iter().filter(missing).copied().collect();
            if missing.is_empty() {
                continue;
            }
            let record: Record = match self.parts.region.snapshot(said) {
                Ok(record) => record,
                Err(error) => {
                    tracing::error!(error = chain(&error), %day, "no snapshot can be made");
                    continue;
                }
            };
            let letter = Letter::Keep(record.bytes(), &encoded.rows).encode();
            let letter: Arc<[u8]> = letter.into();
            for witness in missing {
                let (network, letter) = (Arc::clone(&network), Arc::clone(&letter));
                let handing = hand_over(network, witness, letter);
                self.handing
                    .spawn(async move { handing.await.map(|()| (witness, day, digest)) });
            }
        }
    }

    fn note(&mut self, handed: Option<(NodeId, Day, Digest)>) {
        if let Some((witness, day, digest)) = handed {
            self.handed.insert((witness, day), digest);
        }
        if self.handing.is_empty() {
            let holders: BTreeSet<NodeId> = self.handed.keys().map(|(of, _)| *of).collect();
            let holders = holders.into_iter().collect();
            self.parts.desk.tell(|standing| standing.holders = holders);
        }
    }
}

async fn hand_over(network: Arc<Network>, witness: NodeId, letter: Arc<[u8]>) -> Option<()> {
    match network.write(witness, &letter).await {
        Ok(answer) => match Reply::decode(&answer)? {
            Reply::Kept => Some(()),
            Reply::Refused(why) => {
                tracing::warn!(witness = %witness.short(), why, "a witness does not keep the snapshot");
                None
            }
            Reply::Held(_) => None,
        },
        // It is away, or of an older release: the next snapshot is more anyway.
        Err(error) => {
            tracing::debug!(witness = %witness.short(), %error, "a witness");
            None
        }
    }
}
