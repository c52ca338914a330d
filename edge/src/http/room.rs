//! Memory for answers that are on their way, of the whole process and of each address.
//!
//! An answer takes room before its bytes are read and gives it back when the last of them has left
//! for the socket: a visitor who opens a hundred streams and reads nothing would hold a piece and an
//! open file for each, and 256 connections of that are a gigabyte. A quarter is for small answers
//! alone, so that pages do not wait for downloads. Who finds no room waits for a while, then hears
//! 503. While room is scarce, slow visitors are waited for less.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room is counted in these.
const UNIT_BYTES: usize = 1 << 10;
/// An address may have a quarter of the room for downloads: 96 of them.
const SHARE_DIVISOR: usize = 4;
/// Downloads of one connection at once: 2 MiB; a page with more films than that waits.
const DOWNLOADS_MAX: usize = 16;
/// Longer than a visitor who is cut for taking too little is waited for while room is scarce.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The room of the process.
pub(crate) struct Rooms {
    small: Place,
    large: Place,
    wait_max: Duration,
}

struct Place {
    units: Arc<Semaphore>,
    unit_count: usize,
}

/// The part of the room for downloads that one address may have.
pub(crate) type Share = Arc<Semaphore>;

/// What an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// So many bytes of memory that others may share.
    Whole(usize),
    /// So many bytes for a file that is read in pieces.
    Pieces(usize),
}

/// What a connection may take.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    /// Its address's share; none for a crowd.
    share: Option<Share>,
    downloads: Arc<Semaphore>,
    waiting: Arc<AtomicU32>,
}

/// Room that is taken.
#[derive(Debug)]
pub(crate) struct Room {
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

impl Rooms {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let small = bytes_max / 4;
        Self {
            small: Place::new(small),
            large: Place::new(bytes_max - small),
            wait_max: WAIT_MAX,
        }
    }

    /// A new address's share.
    pub(crate) fn share(&self) -> Share {
        Arc::new(Semaphore::new(self.large.share_units()))
    }

    /// Whether less than a quarter is left of either.
    pub(crate) fn is_scarce(&self) -> bool {
        self.small.is_scarce() || self.large.is_scarce()
    }

    /// Waits for room; `None` if there is none for too long.
    pub(crate) async fn take(&self, need: Need, claim: &Claim) -> Option<Room> {
        if let Some(room) = self.take_at_once(need, claim) {
            return Some(room);
        }
        let _waiting = claim.wait();
        let taken = async {
            match need {
                Need::Whole(bytes) => Some(Room::of(self.small.take(bytes).await?)),
                Need::Pieces(bytes) => self.take_large(bytes, claim).await,
            }
        };
        tokio::time::timeout(self.wait_max, taken)
            .await
            .ok()
            .flatten()
    }

    /// What is free; who waits already is given what becomes free first.
    fn take_at_once(&self, need: Need, claim: &Claim) -> Option<Room> {
        let bytes = match need {
            Need::Whole(bytes) => return self.small.take_at_once(bytes).map(Room::of),
            Need::Pieces(bytes) => bytes,
        };
        let own = Arc::clone(&claim.downloads).try_acquire_owned().ok()?;
        let units = self.large.units(bytes);
        let share = match &claim.share {
            Some(share) => Some(Arc::clone(share).try_acquire_many_owned(units).ok()?),
            None => None,
        };
        let large = self.large.take_at_once(bytes)?;
        Some(Room {
            _permits: [Some(own), share, Some(large)],
        })
    }

    /// First of the connection's, then of the address's, so that whoever waits for its own holds
    /// nothing of the others'.
    async fn take_large(&self, bytes: usize, claim: &Claim) -> Option<Room> {
        let units = self.large.units(bytes);
        let own = Arc::clone(&claim.downloads).acquire_owned().await.ok()?;
        let share = match &claim.share {
            Some(share) => Some(Arc::clone(share).acquire_many_owned(units).await.ok()?),
            None => None,
        };
        let large = self.large.take(bytes).await?;
        Some(Room {
            _permits: [Some(own), share, Some(large)],
        })
    }
}

impl Room {
    fn of(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permits: [Some(permit), None, None],
        }
    }
}

impl Place {
    fn new(bytes_max: usize) -> Self {
        let unit_count = (bytes_max / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(unit_count)),
            unit_count,
        }
    }

    fn share_units(&self) -> usize {
        (self.unit_count / SHARE_DIVISOR).max(1)
    }

    fn is_scarce(&self) -> bool {
        self.units.available_permits() < self.unit_count / SHARE_DIVISOR
    }

    /// What is more than a share counts as one: else it would never be had.
    fn units(&self, bytes: usize) -> u32 {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, self.share_units());
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    fn take_at_once(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = Arc::clone(&self.units);
        units.try_acquire_many_owned(self.units(bytes)).ok()
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = Arc::clone(&self.units);
        units.acquire_many_owned(self.units(bytes)).await.ok()
    }
}

/// A wait for room, until it is dropped.
struct Waiting<'a>(&'a AtomicU32);

impl Claim {
    pub(crate) fn new(share: Option<Share>) -> Self {
        Self {
            share,
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
            waiting: Arc::default(),
        }
    }

    /// How many of its answers wait for room.
    pub(crate) fn waiting_count(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes that hold their room, or their part in it, until nothing refers to them any more.
pub(crate) fn in_room<R: Send + Sync + 'static>(bytes: Bytes, room: R) -> Bytes {
    struct Kept<R>(Bytes, R);
    impl<R> AsRef<[u8]> for Kept<R> {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Kept(bytes, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Need = Need::Pieces(UNIT_BYTES);

    /// Twelve units for downloads, four for pages.
    fn small() -> Rooms {
        Rooms {
            wait_max: Duration::from_millis(5),
            ..Rooms::new(16 * UNIT_BYTES)
        }
    }

    #[tokio::test]
    async fn room_is_given_back_with_the_last_byte() {
        let (rooms, crowd) = (small(), Claim::new(None));
        let first = rooms.take(UNIT, &crowd).await.unwrap();
        let bytes = in_room(Bytes::from_static(b"abc"), first);
        let part = bytes.slice(1..);
        drop(bytes);
        let mut more = Vec::new();
        for _ in 0..11 {
            more.push(rooms.take(UNIT, &crowd).await.unwrap());
        }
        assert!(rooms.is_scarce());
        assert!(rooms.take(UNIT, &crowd).await.is_none(), "full");
        let page = rooms.take(Need::Whole(UNIT_BYTES), &crowd).await;
        assert!(page.is_some(), "pages do not wait for downloads");
        assert_eq!(&part[..], b"bc");
        drop(part);
        assert!(rooms.take(UNIT, &crowd).await.is_some());
        assert_eq!(crowd.waiting_count(), 0);
        drop(more);
        assert!(!rooms.is_scarce());
    }

    #[tokio::test]
    async fn one_address_leaves_room_to_others() {
        let rooms = small();
        let [greedy, other] = [(), ()].map(|()| Claim::new(Some(rooms.share())));
        let crowd = Claim::new(None);
        // More than a share can ever have counts as a whole share.
        let held = rooms.take(Need::Pieces(1 << 20), &greedy).await.unwrap();
        assert!(rooms.take(UNIT, &greedy).await.is_none());
        assert!(rooms.take(UNIT, &other).await.is_some());
        assert!(rooms.take(UNIT, &crowd).await.is_some());
        drop(held);
        assert!(rooms.take(UNIT, &greedy).await.is_some());
    }

    #[tokio::test]
    async fn one_connection_has_so_many_downloads() {
        let rooms = Rooms {
            wait_max: Duration::from_millis(5),
            ..Rooms::new(1 << 20)
        };
        let (one, other) = (Claim::new(None), Claim::new(None));
        let mut held = Vec::new();
        for _ in 0..DOWNLOADS_MAX {
            held.push(rooms.take(UNIT, &one).await.unwrap());
        }
        assert!(rooms.take(UNIT, &one).await.is_none());
        assert!(rooms.take(UNIT, &other).await.is_some());
    }
}
