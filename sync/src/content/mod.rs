//! How nodes come to hold the same content.
//!
//! Records say which versions there are; [`Gatherer`] brings those that are not here, blob by blob,
//! from peers that have them, and puts a version on the shelf when all of it is here and was
//! checked. What it brings next is decided in `plan`, which is pure. How bytes travel stands behind
//! [`Sources`]: iroh-blobs between nodes, a play of liars and laggards in the tests.

mod gather;
mod plan;
mod thrift;
mod turns;

pub use gather::{Check, GatherConfig, Gatherer, RepairChanges, Repairs, Unfit};
pub use plan::bytes_max;
pub use thrift::{Copy, Thrift, Used};

use crate::digest::Digest;
use crate::id::{NodeId, Version};
use crate::record::{Deploy, Effect};
use crate::store::{Partial, Store, StoreError};
use std::collections::BTreeSet;
use std::future::Future;
use tokio::sync::watch;

/// The longest blob that is asked for by what it differs in from nothing: 20 ms of work for whoever
/// sends it.
pub const PRESSED_BYTES_MAX: u64 = 1 << 20;
/// What is shorter comes as fast whole.
const PRESSED_BYTES_MIN: u64 = 4 << 10;

/// Peers that have blobs, and what is asked of them.
pub trait Sources: Send + Sync + 'static {
    /// Those that can be asked now.
    fn peers(&self) -> Vec<Source>;

    /// A number that changes whenever they do, or what is known of them.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Brings what is missing of the blob that `partial` is the beginning of; every byte is
    /// compared with its digest before it is written.
    ///
    /// # Errors
    /// [`FetchError`]; what came until then is in `partial`.
    fn fetch(
        &self,
        peer: NodeId,
        size: Size,
        partial: &mut Partial,
    ) -> impl Future<Output = Result<(), FetchError>> + Send;

    /// The blob `wanted` by what it differs in from another, of which the digest and the bytes are
    /// given; none if the peer does not say. What is given is compared with its digest. A manifest is
    /// compared with the one before, a blob of at most [`PRESSED_BYTES_MAX`] with no bytes at all.
    ///
    /// # Errors
    /// [`FetchError`].
    fn fetch_change(
        &self,
        peer: NodeId,
        base: (Digest, Vec<u8>),
        wanted: Digest,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, FetchError>> + Send;

    /// The peers that say that they hold `version` whole.
    fn holders(&self, version: &Version) -> BTreeSet<NodeId>;

    /// Tells every peer, now and later, that these are here whole and no others.
    fn tell(&self, versions: BTreeSet<Version>);
}

/// No peers at all: a node that stays alone.
#[derive(Debug)]
pub struct Nobody(watch::Sender<u64>);

impl Default for Nobody {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Sources for Nobody {
    fn peers(&self) -> Vec<Source> {
        Vec::new()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    async fn fetch(
        &self,
        _peer: NodeId,
        _size: Size,
        _partial: &mut Partial,
    ) -> Result<(), FetchError> {
        Err(FetchError::NotThere)
    }

    async fn fetch_change(
        &self,
        _peer: NodeId,
        _base: (Digest, Vec<u8>),
        _wanted: Digest,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(None)
    }

    fn holders(&self, _version: &Version) -> BTreeSet<NodeId> {
        BTreeSet::new()
    }

    fn tell(&self, _versions: BTreeSet<Version>) {}
}

/// What peers are told that it is here: heads and other tips, as far as they are on the shelf and
/// their git histories are here too, so that a push can go on at whoever gives a receipt.
#[must_use]
pub fn shown(effect: &Effect, store: &Store, histories: &BTreeSet<Digest>) -> BTreeSet<Version> {
    let sites = effect.sites.values().filter(|site| !site.ended);
    let deploys = sites.flat_map(|site| {
        let is_tip = |id| site.tips.contains(&id);
        let kept = site.kept().enumerate();
        kept.filter(move |(index, deploy)| *index == 0 || is_tip(deploy.id()))
    });
    let is_here = |deploy: &&Deploy| {
        let history = deploy.git.as_ref().and_then(|git| git.sequence);
        store.shelf().holds(&deploy.version)
            && history.is_none_or(|history| histories.contains(&history))
    };
    let deploys = deploys.map(|(_, deploy)| deploy.body());
    deploys
        .filter(is_here)
        .map(|deploy| deploy.version)
        .collect()
}

/// A peer that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Which.
    pub node: NodeId,
    /// Whether it is on a local network.
    pub is_near: bool,
}

/// How long a blob may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So long.
    Exactly(u64),
    /// Not longer.
    AtMost(u64),
}

impl Size {
    /// Whether a blob of `bytes` is one.
    #[must_use]
    pub fn admits(self, bytes: u64) -> bool {
        match self {
            Self::Exactly(exactly) => bytes == exactly,
            Self::AtMost(most) => bytes <= most,
        }
    }
}

/// Why a blob did not come from a peer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The peer does not have it.
    #[error("the peer does not have it")]
    NotThere,
    /// The peer is no more connected, or broke off.
    #[error("{0}")]
    Broken(String),
    /// The peer is too slow.
    #[error("the peer sends too slowly")]
    Slow,
    /// The peer has proved that the blob is so long, which whoever named it says otherwise.
    #[error("the blob is {0} bytes long, other than whoever named it says")]
    OtherSize(u64),
    /// The peer lies.
    #[error("the peer sends {0}")]
    Wrong(&'static str),
    /// Our own disk.
    #[error(transparent)]
    Disk(#[from] StoreError),
}
