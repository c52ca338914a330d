//! What a node remembers of one connected peer. Every queue has a limit; at it, flooding stops and
//! the next reconciliation brings what was left out.

use super::message::{Message, RECORDS_BYTES_MAX, Set, Signal, WANT_COUNT_MAX};
use crate::id::RecordId;
use crate::record::{Kind, Record, storing_order};
use negentropy::NegentropyStorageVector;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// What may wait of one peer before its connection is not read any more.
const INBOX_BYTES_MAX: usize = 1 << 20;
/// Records that are to be sent to one peer: 4 MiB of ids.
const OWED_COUNT_MAX: usize = 65_536;
/// Ids that are to be asked of one peer: all that one reconciliation can list, 12 MiB while a node
/// joins.
const NEEDED_COUNT_MAX: usize = 262_144;
/// Other forms of records that are asked of one peer at once: a rogue's are worth no more.
const FORMS_COUNT_MAX: usize = WANT_COUNT_MAX;
/// Answers to reconciliations that wait to be sent; an honest peer waits for each.
const REPLIES_MAX: usize = 4;
/// Units of work a second: 2,000 signatures are a tenth of a second of a desktop's core, and a third
/// of a Raspberry Pi's.
const UNITS_PER_SECOND: u64 = 2_000;
/// Units after a rest.
const UNITS_MAX: u64 = 4_000;
/// An answer to a reconciliation reads every id once.
const ROUND_UNITS: u64 = 50;
/// An answer about forms reads every byte once, and nothing of it is kept for the next.
const FORMS_UNITS: u64 = 1_000;
/// What a node says of itself is repeated so often,
const SIGNAL_INTERVAL_MS: u64 = 60_000;
/// and after a change so soon.
const SIGNAL_AGAIN_MS: u64 = 1_000;
/// Asked ids that have not come by then are asked of somebody else.
pub(super) const ASKED_MS_MAX: u64 = 10_000;

/// What [`storing_order`] gives.
type Order = (bool, Kind, u32, u32, RecordId);

/// A reconciliation that this node leads.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) set: Set,
    pub(super) ids: Arc<NegentropyStorageVector>,
    /// Questions that may still be asked.
    pub(super) left: u32,
    /// Given up if no answer has come by then.
    pub(super) until_ms: u64,
    /// Whether one of the two has what the other has not.
    pub(super) differs: bool,
}

/// One connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    inbox: VecDeque<Message>,
    inbox_bytes: usize,
    /// What goes out before records do.
    replies: VecDeque<Message>,
    /// Records that it is to get, each after those that it rests on: in another order most of a region
    /// would wait aside, and not all of it has room there.
    owed: BTreeSet<Order>,
    needed: BTreeSet<RecordId>,
    /// Records that are held, in other bytes than the peer holds.
    forms: BTreeSet<RecordId>,
    /// When the first of those needed that somebody else was asked for may be asked for here.
    pub(super) ask_again_ms: Option<u64>,
    units: u64,
    units_ms: u64,
    /// Of the reconciliations that we lead.
    pub(super) round: Option<Round>,
    /// Questions whose answers may still come, too late.
    pub(super) given_up: u32,
    pub(super) next_round_ms: u64,
    /// What it last said of itself, and when.
    pub(super) signal: Option<(Signal, u64)>,
    /// What we last said of ourselves, and when.
    told: Option<(Signal, u64)>,
    telling: Option<Signal>,
}

impl Peer {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            replies: VecDeque::new(),
            owed: BTreeSet::new(),
            needed: BTreeSet::new(),
            forms: BTreeSet::new(),
            ask_again_ms: None,
            units: UNITS_MAX,
            units_ms: now_ms,
            round: None,
            given_up: 0,
            next_round_ms: now_ms,
            signal: None,
            told: None,
            telling: None,
        }
    }

    /// When it is to hear of us again: soon after a change, else once a minute.
    pub(super) fn signal_due_ms(&self, own: &Signal) -> u64 {
        self.told.as_ref().map_or(0, |(told, told_ms)| {
            let is_same =
                (told.fingerprint, told.is_believed) == (own.fingerprint, own.is_believed);
            let rest = if is_same {
                SIGNAL_INTERVAL_MS
            } else {
                SIGNAL_AGAIN_MS
            };
            told_ms.saturating_add(rest)
        })
    }

    /// Tells it about us if that is due.
    pub(super) fn tell(&mut self, own: Signal, now_ms: u64) {
        if self.signal_due_ms(&own) <= now_ms {
            self.told = Some((own, now_ms));
            self.telling = Some(own);
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.inbox_bytes < INBOX_BYTES_MAX
    }

    pub(super) fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    pub(super) fn take_in(&mut self, message: Message) {
        self.inbox_bytes = self.inbox_bytes.saturating_add(weight(&message));
        self.inbox.push_back(message);
    }

    /// The next message, if this peer may cause so much work now.
    pub(super) fn next_in(&mut self, now_ms: u64) -> Option<Message> {
        let earned = now_ms
            .saturating_sub(self.units_ms)
            .saturating_mul(UNITS_PER_SECOND)
            / 1000;
        if earned > 0 {
            self.units = self.units.saturating_add(earned).min(UNITS_MAX);
            self.units_ms = now_ms;
        }
        let cost = units(self.inbox.front()?);
        self.units = self.units.checked_sub(cost)?;
        let message = self.inbox.pop_front()?;
        self.inbox_bytes = self.inbox_bytes.saturating_sub(weight(&message));
        Some(message)
    }

    /// A reply goes out before records; what does not fit is asked for again.
    pub(super) fn reply(&mut self, message: Message) {
        if self.replies.len() < REPLIES_MAX {
            self.replies.push_back(message);
        }
    }

    /// The peer is to get these; over the limit only a reconciliation helps.
    pub(super) fn owe<'r>(&mut self, records: impl IntoIterator<Item = &'r Arc<Record>>) {
        for record in records {
            self.owed.insert(storing_order(record));
            if self.owed.len() > OWED_COUNT_MAX {
                self.owed.pop_last();
            }
        }
    }

    /// Whether it has not got yet what it is to get.
    pub(super) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The peer is to be asked for these.
    pub(super) fn need(&mut self, ids: impl IntoIterator<Item = RecordId>) {
        for id in ids {
            if self.needed.len() < NEEDED_COUNT_MAX && self.needed.insert(id) {
                self.ask_again_ms = None;
            }
        }
    }

    /// The peer is to be asked for its form of these, which are held.
    pub(super) fn need_forms(&mut self, ids: impl IntoIterator<Item = RecordId>) {
        self.forms.extend(ids);
        while self.forms.len() > FORMS_COUNT_MAX {
            self.forms.pop_last();
        }
    }

    /// The next message to the peer. `asked` says of whom an id was asked, and when.
    pub(super) fn next_out(
        &mut self,
        now_ms: u64,
        bytes_of: impl Fn(&RecordId) -> Option<Vec<u8>>,
        knows: impl Fn(&RecordId) -> bool,
        asked: &mut HashMap<RecordId, u64>,
    ) -> Option<Message> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        let wanted = self.next_wanted(now_ms, knows, asked);
        if !wanted.is_empty() {
            return Some(Message::Want(wanted));
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        // What it wants besides may come before what is owed now.
        let is_asking = |message: &Message| matches!(message, Message::Want(_));
        if self.inbox.iter().any(is_asking) {
            return None;
        }
        while let Some((.., id)) = self.owed.first() {
            // What was evicted meanwhile is owed to nobody.
            let record = bytes_of(id).unwrap_or_default();
            if bytes + record.len() > RECORDS_BYTES_MAX {
                break;
            }
            self.owed.pop_first();
            if !record.is_empty() {
                bytes += record.len();
                records.push(record);
            }
        }
        if records.is_empty() {
            // After the records that it speaks of.
            return self.telling.take().map(Message::Signal);
        }
        Some(Message::Records(records))
    }

    /// What another peer was asked for is not forgotten here: that peer may never answer.
    fn next_wanted(
        &mut self,
        now_ms: u64,
        knows: impl Fn(&RecordId) -> bool,
        asked: &mut HashMap<RecordId, u64>,
    ) -> Vec<RecordId> {
        let mut wanted = Vec::new();
        // All of it together, so that the other side can send it in order.
        if self.round.is_some() {
            return wanted;
        }
        if !self.forms.is_empty() {
            return std::mem::take(&mut self.forms).into_iter().collect();
        }
        if self.ask_again_ms.is_some_and(|again_ms| now_ms < again_ms) {
            return wanted;
        }
        let mut again_ms: Option<u64> = None;
        self.needed.retain(|id| {
            if wanted.len() == WANT_COUNT_MAX {
                return true;
            }
            if knows(id) {
                return false;
            }
            let until_ms = asked
                .get(id)
                .map(|asked_ms| asked_ms.saturating_add(ASKED_MS_MAX));
            if let Some(until_ms) = until_ms.filter(|until_ms| now_ms < *until_ms) {
                again_ms = Some(again_ms.map_or(until_ms, |again_ms| again_ms.min(until_ms)));
                return true;
            }
            asked.insert(*id, now_ms);
            wanted.push(*id);
            false
        });
        let is_all = wanted.len() < WANT_COUNT_MAX;
        self.ask_again_ms = again_ms.filter(|_| is_all);
        wanted
    }
}

fn weight(message: &Message) -> usize {
    match message {
        Message::Records(records) => records.iter().map(|record| record.len() + 64).sum(),
        Message::Want(ids) => ids.len() * 32,
        Message::Ask(_, frame) | Message::Answer(_, frame) => frame.len() + 64,
        Message::Signal(_) => 64,
    }
}

fn units(message: &Message) -> u64 {
    let count = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
    match message {
        Message::Records(records) => count(records.len()),
        Message::Want(ids) => count(ids.len() / 8),
        Message::Ask(Set::Forms, _) => FORMS_UNITS,
        Message::Ask(..) | Message::Answer(..) => ROUND_UNITS,
        Message::Signal(_) => 1,
    }
}
