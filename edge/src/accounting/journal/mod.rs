//! The journal: the counters of days that are not sealed, on the disk.
//!
//! [`Journal`] is written by one task: deltas of changed sites, one write a second at most
//! ([`Journal::append`]), one sync a minute or at 1 MiB ([`Journal::sync`]). Nothing
//! is written when nothing was counted. Each start has a new epoch, which is durable before the
//! first count, and each frame a number in it: a frame that lies in two places counts once, and
//! damage anywhere costs the frames that it touches and no others.
//!
//! After an error the disk may or may not have what was written since the last sync (a second sync
//! may claim success although pages were dropped). So these frames are kept in memory until they are
//! synced, and are written once more, under their own numbers, to a new segment.

mod disk;
mod former;
mod frame;
mod keep;
mod replay;
#[cfg(test)]
mod tests;
mod varint;

pub use disk::{JournalDir, JournalDisk, SegmentName};
pub(crate) use frame::segments;
pub use frame::{Deltas, Entry, FRAME_ROWS_MAX, FrameId, Sealed, frames};
pub use keep::{Journal, JournalError, Opened};
pub use replay::{DayCounts, Hour, Replay};
