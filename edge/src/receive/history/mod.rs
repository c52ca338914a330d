//! Git follows: a site's history leaves the node that took a push, and comes to any other.
//!
//! A tour: a push is made into a bundle by `make`, after its build and before its record; the
//! record names a `sequence` of bundles; `follow` brings a repository to what the records of the
//! region say, before anybody sees its refs, and leaves a `mark` there. `header` is what stands
//! before a bundle's pack. Formats: `docs/format.md#git-sequence`.
//!
//! What it owns: nothing. Bundles are blobs of the store, and a repository is a cache: what is
//! removed of it comes back from the bundles, but for what was stored without being published.
//! A crash in between leaves refs under `refs/verge/incoming/`, which the next time removes.

mod follow;
mod header;
mod make;
mod mark;
mod sequence;

pub(crate) use follow::{Following, TIPS, short_ref};
pub(crate) use header::Named;
pub(crate) use make::tags_after;
pub use make::{Bundled, PushedHistory};
pub(crate) use mark::Tip;

use crate::error_chain::chain;
use crate::receive::ReceiveError;
use verge_sync::digest::Digest;
use verge_sync::store::StoreError;

/// Bundles in a sequence that this node writes: then one fresh bundle takes their place.
pub const BUNDLES_MAX: usize = 16;
/// Below this a sequence is not worth being made anew, however small a fresh one would be.
pub const CONSOLIDATED_BYTES_MIN: u64 = 1 << 20;
/// Tags that leave the node. With names of 200 bytes they stay below [`HEADER_BYTES_MAX`].
pub const TAGS_MAX: usize = 10_000;
/// What stands before a bundle's pack: its refs and what it builds on.
pub const HEADER_BYTES_MAX: u64 = 4 << 20;

/// Why a site's history cannot be brought along.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The content follows the records with a delay.
    #[error("{0} of the site's history is not on this node yet")]
    Missing(Digest),
    /// The disk has lost it; it was put aside.
    #[error("{0} of the site's history is damaged on this node")]
    Damaged(Digest),
    /// Another node wrote what no node should.
    #[error("{digest} of the site's history is {why}")]
    Wrong {
        /// The sequence or the bundle.
        digest: Digest,
        /// What is wrong with it.
        why: String,
    },
    /// There are too many tags.
    #[error(
        "the site has {0} tags, and at most {max} can leave this node: delete some (`git push REMOTE --delete TAG`) and push again",
        max = TAGS_MAX
    )]
    TooManyTags(usize),
    /// Other nodes would not take it.
    #[error(
        "the site's history has {bytes} bytes, and at most {max} can leave this node; nothing was published: take large files out of it (`git filter-repo`), or push a branch without a past"
    )]
    TooLarge {
        /// What it has.
        bytes: u64,
        /// What it may have.
        max: u64,
    },
    /// Git would not pack it.
    #[error("git could not pack the site's history: {0}; nothing was published")]
    NotPacked(String),
    /// Disk, memory or another limit of this node.
    #[error("git could not take the site's history in: {0}")]
    NoRoom(String),
    /// The store said no.
    #[error("the node could not keep the site's history: {0}; nothing was published")]
    Store(#[from] StoreError),
    /// Git or the disk.
    #[error("the node could not keep the site's history: {}; nothing was published", chain(.0))]
    Git(#[from] ReceiveError),
}

/// The last line of what git printed.
fn last_line(printed: &str) -> String {
    printed
        .lines()
        .last()
        .unwrap_or("git said nothing")
        .to_owned()
}

impl HistoryError {
    fn wrong(digest: Digest, why: impl Into<String>) -> Self {
        Self::Wrong {
            digest,
            why: why.into(),
        }
    }
}

/// A fuzz target: what other nodes say of a site's history, and what a repository says of itself.
pub(crate) fn fuzzing(bytes: &[u8]) {
    if let Ok(bundles) = sequence::parse(bytes) {
        assert_eq!(sequence::encode(&bundles), bytes);
    }
    if let Ok(header) = header::parse(bytes) {
        let is_plain = |name: &str| !name.chars().any(|c| c.is_control() || c == ' ');
        assert!(header.refs().all(|at| is_plain(&at.name)));
        assert_eq!(header::parse(&header.to_bytes()), Ok(header));
    }
    mark::check(&String::from_utf8_lossy(bytes));
}
