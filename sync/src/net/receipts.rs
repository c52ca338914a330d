//! Which peer holds which version whole: each tells the others, and takes it back when it gives a
//! version up.
//!
//! In memory only. What a peer said is forgotten with its connection; on a new one it says all
//! again. Said over a connection on which the peer has proved its key, so no signature beside.

use super::asks::Ask;
use super::stream::{self, StreamError};
use crate::id::{NodeId, Version};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Versions in one message: 32 KiB.
const MESSAGE_COUNT_MAX: usize = 1_024;
/// Versions that one peer can be known to hold, 8 bytes each: ten times as many sites as a node is
/// made for. What is beyond is not remembered, so fewer holders are known than there are.
const HELD_COUNT_MAX: usize = 16_384;

/// What peers hold, as they say, and what this node tells them.
#[derive(Debug)]
pub(super) struct Receipts {
    told: watch::Sender<Arc<BTreeSet<Version>>>,
    held: Mutex<BTreeMap<NodeId, HashSet<u64>>>,
    changes: watch::Sender<u64>,
}

impl Default for Receipts {
    fn default() -> Self {
        Self {
            told: watch::Sender::default(),
            held: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Receipts {
    /// Tells every peer, now and whoever connects later, that these are here whole and no others.
    pub(super) fn tell(&self, versions: BTreeSet<Version>) {
        self.told.send_if_modified(|told| {
            let has_changed = **told != versions;
            if has_changed {
                *told = Arc::new(versions);
            }
            has_changed
        });
    }

    /// The peers that hold `version` whole.
    pub(super) fn holders(&self, version: &Version) -> BTreeSet<NodeId> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = held.iter().filter(|(_, of)| of.contains(&short(version)));
        holds.map(|(peer, _)| *peer).collect()
    }

    /// A number that changes whenever a receipt comes or goes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Nothing is known of `peer` any more.
    pub(super) fn forget(&self, peer: &NodeId) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(peer);
        drop(held);
        self.move_on();
    }

    /// Tells the peer what is here, and every change of it, until the connection ends.
    pub(super) async fn speak(&self, connection: &Connection) -> Result<(), StreamError> {
        let (mut send, _receive) = Ask::Receipts.open(connection).await?;
        let mut told = self.told.subscribe();
        let mut said = Arc::<BTreeSet<Version>>::default();
        loop {
            let now = Arc::clone(&told.borrow_and_update());
            send_all(&mut send, 1, now.difference(&said)).await?;
            send_all(&mut send, 0, said.difference(&now)).await?;
            said = now;
            if told.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Takes in what `peer` says, until it ends.
    pub(super) async fn hear(
        &self,
        peer: NodeId,
        mut receive: RecvStream,
    ) -> Result<(), StreamError> {
        loop {
            let message = match stream::receive(&mut receive).await {
                Ok(message) => message,
                Err(StreamError::Ended) => return Ok(()),
                Err(error) => return Err(error),
            };
            self.take_in(peer, &message)?;
        }
    }

    fn take_in(&self, peer: NodeId, message: &[u8]) -> Result<(), StreamError> {
        let unreadable = || StreamError::Broken("receipts that cannot be read".to_owned());
        let (does_hold, rest) = match message.split_first() {
            Some((1, rest)) => (true, rest),
            Some((0, rest)) => (false, rest),
            _ => return Err(unreadable()),
        };
        let versions = rest.chunks_exact(32);
        if !versions.remainder().is_empty() || versions.len() > MESSAGE_COUNT_MAX {
            return Err(unreadable());
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = held.entry(peer).or_default();
        for version in versions.filter_map(|chunk| chunk.try_into().ok()) {
            let version = short(&Version::from_bytes(version));
            if !does_hold {
                of_peer.remove(&version);
            } else if of_peer.len() < HELD_COUNT_MAX {
                of_peer.insert(version);
            }
        }
        drop(held);
        self.move_on();
        Ok(())
    }

    fn move_on(&self) {
        self.changes
            .send_modify(|number| *number = number.wrapping_add(1));
    }
}

async fn send_all(
    send: &mut SendStream,
    does_hold: u8,
    versions: impl Iterator<Item = &Version>,
) -> Result<(), StreamError> {
    let versions: Vec<&Version> = versions.collect();
    for part in versions.chunks(MESSAGE_COUNT_MAX) {
        let mut message = vec![does_hold];
        part.iter()
            .for_each(|version| message.extend_from_slice(version.as_bytes()));
        stream::send(send, &message).await?;
    }
    Ok(())
}

/// Half of a collision takes 2^32 versions, and misleads only about who is asked first.
fn short(version: &Version) -> u64 {
    let first = version.as_bytes().first_chunk().copied();
    u64::from_be_bytes(first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn version(number: usize) -> Version {
        Version::from_digest(Digest::of(&number.to_be_bytes()))
    }

    fn message(does_hold: u8, numbers: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut message = vec![does_hold];
        numbers.for_each(|number| message.extend_from_slice(version(number).as_bytes()));
        message
    }

    #[test]
    fn a_peer_holds_what_it_says_until_it_takes_it_back_or_goes() {
        let receipts = Receipts::default();
        let peer = NodeId::from_digest(Digest::of(b"peer"));
        receipts.take_in(peer, &message(1, 0..3)).unwrap();
        receipts.take_in(peer, &message(0, 1..2)).unwrap();
        let holds = |number| !receipts.holders(&version(number)).is_empty();
        assert_eq!([0, 1, 2, 3].map(holds), [true, false, true, false]);
        receipts.forget(&peer);
        assert!(!holds(0));
    }

    #[test]
    fn what_a_peer_can_make_us_remember_is_bounded() {
        let receipts = Receipts::default();
        let peer = NodeId::from_digest(Digest::of(b"peer"));
        for from in (0..=HELD_COUNT_MAX).step_by(MESSAGE_COUNT_MAX) {
            let part = from..from + MESSAGE_COUNT_MAX;
            receipts.take_in(peer, &message(1, part)).unwrap();
        }
        let holds = |number| !receipts.holders(&version(number)).is_empty();
        assert!(holds(HELD_COUNT_MAX - 1));
        assert!(!holds(HELD_COUNT_MAX));
        let too_many = message(1, 0..MESSAGE_COUNT_MAX + 1);
        assert!(receipts.take_in(peer, &too_many).is_err());
        for garbage in [&b""[..], &[2], &[1, 0]] {
            assert!(receipts.take_in(peer, garbage).is_err());
        }
    }
}
