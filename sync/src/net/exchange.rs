//! What one node says to its peers about records, and what it makes of what they say.
//!
//! Pure: whoever owns it hands in connections, messages and the time, and takes out messages and
//! records to be stored. It answers at once what costs little; what costs work waits in the inbox of
//! its peer and is taken from each in turn, so that one who floods slows nobody but itself.

use super::holding::{Holding, Taken};
use super::message::{FRAME_BYTES_MAX, Message, Set, Signal};
use super::peer::{ASKED_MS_MAX, Peer, Round};
use crate::id::{NodeId, RecordId};
use crate::record::{Effect, Record, RemovalList};
use negentropy::{Id, Negentropy};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A reconciliation begins at once with a new peer, and then so often.
pub const ROUND_INTERVAL_MS: u64 = 60_000;
/// When there was more to reconcile than one round takes.
const ROUND_AGAIN_MS: u64 = 1_000;
/// Questions in one reconciliation: 128 of 64 KiB list 240,000 ids, four years of a full region. A
/// node that joins a larger one asks with gaps, and much waits aside.
const QUESTIONS_MAX: u32 = 128;
/// An answer that has not come by then does not come.
const ANSWER_MS_MAX: u64 = 30_000;
/// Records that are judged in one turn: what they mean is worked out once for all of them.
const TURN_RECORDS_MAX: usize = 4_096;
/// Ids that were asked for and have not come: more than all peers can owe at once is forgotten.
const ASKED_COUNT_MAX: usize = 262_144;

/// Why a peer is not to be listened to for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It sent what is no message.
    #[error("it sends what is no message")]
    Unreadable,
    /// It answered what it was not asked.
    #[error("it answers what it was not asked")]
    Unasked,
    /// It sent more than there is room for, although it was told to wait.
    #[error("it sends more than there is room for")]
    Flooding,
}

/// The exchange of one node with all of its peers.
#[derive(Debug)]
pub struct Exchange {
    me: NodeId,
    holding: Holding,
    peers: BTreeMap<NodeId, Peer>,
    /// When an id was last asked for, of anybody.
    asked: HashMap<RecordId, u64>,
    /// The clock, and when it was read.
    wall: (Wall, u64),
    steady: Steady,
}

/// A time that never goes back, whatever the one does that is handed in: what was to be done in a
/// minute is not to be done in an hour because somebody set a clock.
#[derive(Debug, Clone, Copy, Default)]
struct Steady {
    last_ms: u64,
    /// How far the time that is handed in is behind.
    behind_ms: u64,
}

impl Steady {
    fn at(self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.behind_ms).max(self.last_ms)
    }

    fn go_on(&mut self, now_ms: u64) -> u64 {
        self.last_ms = self.at(now_ms);
        self.behind_ms = self.last_ms.saturating_sub(now_ms);
        self.last_ms
    }

    /// A time of ours as whoever hands time in has it.
    fn outside(self, at_ms: u64) -> u64 {
        at_ms.saturating_sub(self.behind_ms)
    }
}

/// The wall clock of this node, as it tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wall {
    /// Seconds since 1970.
    pub seconds: u64,
    /// Whether the node believes it.
    pub is_believed: bool,
}

impl Exchange {
    /// The exchange of node `me`, which holds `holding`.
    #[must_use]
    pub fn new(me: NodeId, holding: Holding) -> Self {
        Self {
            me,
            holding,
            peers: BTreeMap::new(),
            asked: HashMap::new(),
            wall: (Wall::default(), 0),
            steady: Steady::default(),
        }
    }

    /// What the node holds.
    #[must_use]
    pub fn holding(&self) -> &Holding {
        &self.holding
    }

    /// The connected peers.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    /// As [`Holding::settle`].
    pub fn settle(&mut self) {
        self.holding.settle();
    }

    /// What `peer` last said of itself; its clock as it shows now.
    #[must_use]
    pub fn signal_of(&self, peer: &NodeId, now_ms: u64) -> Option<Signal> {
        let now_ms = self.steady.at(now_ms);
        let (signal, heard_ms) = self.peers.get(peer)?.signal?;
        // Its clock has gone on since.
        let passed_s = now_ms.saturating_sub(heard_ms) / 1000;
        Some(Signal {
            wall_s: signal.wall_s.saturating_add(passed_s),
            ..signal
        })
    }

    /// What this node says of itself.
    #[must_use]
    pub fn own_signal(&self, now_ms: u64) -> Signal {
        self.own_signal_at(self.steady.at(now_ms))
    }

    fn own_signal_at(&self, now_ms: u64) -> Signal {
        let (wall, set_ms) = self.wall;
        let passed_s = now_ms.saturating_sub(set_ms) / 1000;
        Signal {
            record_count: u32::try_from(self.holding.records().len()).unwrap_or(u32::MAX),
            fingerprint: self.holding.fingerprint(),
            wall_s: wall.seconds.saturating_add(passed_s),
            is_believed: wall.is_believed,
        }
    }

    /// The time of day that peers are told from now on.
    pub fn set_wall(&mut self, wall: Wall, now_ms: u64) {
        self.wall = (wall, self.steady.go_on(now_ms));
    }

    /// A connection to `peer` is there. Of two peers the one with the lower id leads their
    /// reconciliations.
    pub fn connect(&mut self, peer: NodeId, now_ms: u64) {
        let now_ms = self.steady.go_on(now_ms);
        self.peers.insert(peer, Peer::new(now_ms));
    }

    /// It is gone, with all that waited.
    pub fn disconnect(&mut self, peer: &NodeId) {
        self.peers.remove(peer);
    }

    /// Whether the connection to `peer` is to be read on.
    #[must_use]
    pub fn has_room(&self, peer: &NodeId) -> bool {
        self.peers.get(peer).is_some_and(Peer::has_room)
    }

    /// Takes in what `peer` said; nothing is done with it before the next [`Exchange::turn`].
    ///
    /// # Errors
    /// [`Fault`]: the connection is to be closed.
    pub fn hear(&mut self, peer: &NodeId, bytes: &[u8]) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(peer) else {
            return Ok(());
        };
        if !peer.has_room() {
            return Err(Fault::Flooding);
        }
        let message = Message::decode(bytes).map_err(|_unreadable| Fault::Unreadable)?;
        if matches!(message, Message::Answer(..)) && peer.round.is_none() {
            // To a question that was given up: the wire was slow, or this machine slept.
            let is_late = peer.given_up > 0;
            peer.given_up = peer.given_up.saturating_sub(1);
            return if is_late { Ok(()) } else { Err(Fault::Unasked) };
        }
        peer.take_in(message);
        Ok(())
    }

    /// Takes up the list of a removal, whose blob was fetched and checked.
    pub fn learn_list(&mut self, list: RemovalList) {
        self.holding.learn_list(list);
    }

    /// Takes up records of this node's own, and passes them on.
    pub fn write(&mut self, records: impl IntoIterator<Item = Record>) -> Taken {
        let taken = self.holding.offer(records);
        self.flood(&taken.new, &HashMap::new());
        taken
    }

    /// The same, where what holds with them was worked out before they became durable.
    pub fn adopt(&mut self, fresh: &[Arc<Record>], effect: Arc<Effect>) -> Taken {
        let taken = self.holding.adopt(fresh, effect);
        self.flood(&taken.new, &HashMap::new());
        taken
    }

    /// One turn: begins reconciliations that are due, does what peers asked for as far as their
    /// allowance goes, and judges the records that came. What is new is to be stored.
    pub fn turn(&mut self, now_ms: u64) -> Taken {
        let now_ms = self.steady.go_on(now_ms);
        self.begin_rounds(now_ms);
        let mut came = Came::default();
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        let mut is_quiet = false;
        // Each in turn, one message at a time.
        while !is_quiet && came.records.len() < TURN_RECORDS_MAX {
            is_quiet = true;
            for id in &peers {
                let message = self.peers.get_mut(id).and_then(|peer| peer.next_in(now_ms));
                if let Some(message) = message {
                    is_quiet = false;
                    self.heed(*id, message, &mut came, now_ms);
                }
            }
        }
        let taken = self.holding.offer(came.records);
        self.flood(&taken.new, &came.from);
        for missing in &taken.missing {
            // Whoever sent what follows it has it too; which of them it was is not worth keeping.
            for peer in self.peers.values_mut() {
                peer.need([*missing]);
            }
        }
        self.asked
            .retain(|_, asked_ms| now_ms.saturating_sub(*asked_ms) < ASKED_MS_MAX);
        let own = self.own_signal_at(now_ms);
        for peer in self.peers.values_mut() {
            peer.tell(own, now_ms);
        }
        taken
    }

    /// When there is something to do without anything coming in.
    #[must_use]
    pub fn next_turn_ms(&self, now_ms: u64) -> Option<u64> {
        let now_ms = self.steady.at(now_ms);
        let own = self.own_signal_at(now_ms);
        let due = self.peers.iter().map(|(id, peer)| {
            let again_ms = peer.ask_again_ms.unwrap_or(u64::MAX);
            let due_ms = if peer.has_mail() {
                now_ms
            } else if let Some(round) = &peer.round {
                round.until_ms
            } else if self.me < *id && peer.is_owed() {
                // The round waits until the peer has got what it is to get.
                peer.next_round_ms
                    .max(now_ms.saturating_add(ROUND_AGAIN_MS))
            } else if self.me < *id {
                peer.next_round_ms
            } else {
                u64::MAX
            };
            due_ms.min(again_ms).min(peer.signal_due_ms(&own))
        });
        let due = due.min().filter(|due| *due < u64::MAX);
        due.map(|due| self.steady.outside(due))
    }

    /// The next message to `peer`, if there is one.
    pub fn next_out(&mut self, peer: &NodeId, now_ms: u64) -> Option<Vec<u8>> {
        let now_ms = self.steady.go_on(now_ms);
        let (holding, asked) = (&self.holding, &mut self.asked);
        if asked.len() > ASKED_COUNT_MAX {
            asked.clear();
        }
        let bytes_of = |id: &RecordId| holding.record(id).map(|record| record.bytes().to_vec());
        let knows = |id: &RecordId| holding.knows(id);
        let peer = self.peers.get_mut(peer)?;
        let message = peer.next_out(now_ms, bytes_of, knows, asked)?;
        Some(message.encode())
    }

    fn begin_rounds(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            if peer
                .round
                .as_ref()
                .is_some_and(|round| round.until_ms <= now_ms)
            {
                peer.round = None;
                peer.given_up = peer.given_up.saturating_add(1);
                peer.next_round_ms = now_ms.saturating_add(ROUND_AGAIN_MS);
            }
        }
        let due: Vec<NodeId> = self
            .peers
            .iter()
            .filter(|(id, peer)| {
                // As long as much is to be sent the answer is known: that much differs.
                self.me < **id
                    && peer.round.is_none()
                    && !peer.is_owed()
                    && peer.next_round_ms <= now_ms
            })
            .map(|(id, _)| *id)
            .collect();
        for peer in due {
            self.begin_round(&peer, Set::Chain, QUESTIONS_MAX, now_ms);
        }
    }

    fn begin_round(&mut self, peer: &NodeId, set: Set, left: u32, now_ms: u64) {
        let ids = self.holding.snapshot(set);
        let Some(peer) = self.peers.get_mut(peer) else {
            return;
        };
        let begun = Negentropy::borrowed(&*ids, frame_limit()).and_then(|mut side| side.initiate());
        if let Ok(question) = begun {
            peer.reply(Message::Ask(set, question));
        }
        let until_ms = now_ms.saturating_add(ANSWER_MS_MAX);
        peer.round = Some(Round {
            set,
            ids,
            left,
            until_ms,
            differs: false,
        });
    }

    fn heed(&mut self, from: NodeId, message: Message, came: &mut Came, now_ms: u64) {
        match message {
            Message::Records(records) => came.take(from, &records),
            Message::Want(ids) => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.owe(ids.iter().filter_map(|id| self.holding.record(id)));
                }
            }
            Message::Ask(set, question) => {
                let ids = self.holding.snapshot(set);
                let side = Negentropy::borrowed(&*ids, frame_limit());
                // A question that cannot be read has no answer; the peer waits in vain.
                let answer = side.and_then(|mut side| side.reconcile(&question));
                if let (Ok(answer), Some(peer)) = (answer, self.peers.get_mut(&from)) {
                    peer.reply(Message::Answer(set, answer));
                }
            }
            Message::Answer(set, answer) => self.go_on(from, set, &answer, now_ms),
            Message::Signal(signal) => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.signal = Some((signal, now_ms));
                }
            }
        }
    }

    /// The next question of a reconciliation, or the next set, or the end.
    fn go_on(&mut self, from: NodeId, set: Set, answer: &[u8], now_ms: u64) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        let Some(mut round) = peer.round.take().filter(|round| round.set == set) else {
            return;
        };
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let ids = Arc::clone(&round.ids);
        let next = Negentropy::borrowed(&*ids, frame_limit()).and_then(|mut side| {
            side.set_initiator();
            side.reconcile_with_ids(answer, &mut have, &mut need)
        });
        // Its order is that of a hash map, which differs from run to run.
        need.sort_unstable();
        round.differs |= !(have.is_empty() && need.is_empty());
        let (have, need) = (have.into_iter(), need.into_iter());
        let (have, mut need) = (have.map(record_id), need.map(record_id));
        if set == Set::Forms {
            peer.owe(have.filter_map(|form| self.holding.of_form(&form)));
            let held = need.by_ref().filter_map(|form| self.holding.of_form(&form));
            peer.need_forms(held.map(|record| record.id()));
        } else {
            peer.owe(have.filter_map(|id| self.holding.record(&id)));
            peer.need(need);
        }
        peer.next_round_ms = now_ms.saturating_add(ROUND_INTERVAL_MS);
        round.left = round.left.saturating_sub(1);
        round.until_ms = now_ms.saturating_add(ANSWER_MS_MAX);
        match next {
            Ok(Some(_)) if round.left == 0 => {
                peer.next_round_ms = now_ms.saturating_add(ROUND_AGAIN_MS);
            }
            Ok(Some(question)) => {
                peer.reply(Message::Ask(set, question));
                peer.round = Some(round);
            }
            Ok(None) if set == Set::Chain => self.begin_round(&from, Set::All, round.left, now_ms),
            Ok(None) if set == Set::All && !round.differs && self.holds_other_forms(&from) => {
                self.begin_round(&from, Set::Forms, round.left, now_ms);
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "a peer's answer cannot be read"),
        }
    }

    /// Whether a peer that holds the same records, as a reconciliation has just found, says that it
    /// holds other bytes. Its word may be a second old: then a question too many is asked.
    fn holds_other_forms(&self, peer: &NodeId) -> bool {
        let signal = self.peers.get(peer).and_then(|peer| peer.signal);
        signal.is_some_and(|(signal, _)| signal.fingerprint != self.holding.fingerprint())
    }

    /// Owes new records to every peer but the one that they came from.
    fn flood(&mut self, new: &[Arc<Record>], from: &HashMap<RecordId, NodeId>) {
        for (id, peer) in &mut self.peers {
            peer.owe(
                new.iter()
                    .filter(|record| from.get(&record.id()) != Some(id)),
            );
        }
    }
}

/// Records that came in one turn, and of whom.
#[derive(Default)]
struct Came {
    records: Vec<Record>,
    from: HashMap<RecordId, NodeId>,
}

impl Came {
    fn take(&mut self, from: NodeId, records: &[Vec<u8>]) {
        for bytes in records {
            match Record::parse(bytes) {
                Ok(record) => {
                    self.from.entry(record.id()).or_insert(from);
                    self.records.push(record);
                }
                Err(error) => tracing::debug!(%error, peer = %from.short(), "no record"),
            }
        }
    }
}

fn record_id(id: Id) -> RecordId {
    RecordId::from_bytes(id.to_bytes())
}

fn frame_limit() -> u64 {
    // What one range adds may lie over the limit: room for it stays.
    u64::try_from(FRAME_BYTES_MAX - 4_096).unwrap_or(u64::MAX)
}
