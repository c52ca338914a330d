//! Witnesses: nodes of other providers that look after what a node says of itself.
//!
//! Three for each node (`choose`). They write down how far they have seen its chain of seals
//! (`checkpoint`, `findings`), so that a history that was exchanged is seen to be; they keep the last
//! snapshot of its open day (`snapshot`, `folder`), so that a dead disk loses no day
//! (`orphans`); and what they know keeps a node that was restored from an old image from
//! sealing a day twice (`gate`). Owners keep checkpoints of their own (`keepsake`).
//!
//! What is pure is here, and the folder; the task that does it is the node's. A crash loses nothing:
//! what is due follows from the records and the folder.

mod chain;
mod checkpoint;
mod choose;
mod desk;
mod findings;
mod folder;
mod gate;
mod keepsake;
mod orphans;
mod snapshot;

pub use chain::{Chain, Chains, Link, Reach};
pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::checkpoints;
pub use choose::{WITNESSES, witnesses};
pub use desk::{OpenDays, Standing, WitnessLine, Witnessing};
pub use findings::{Finding, due, findings};
pub use folder::{DAYS_OF_NODE_MAX, FOLDER_BYTES_MAX, Folder, FolderError, Held};
pub use gate::{Gate, Met, Wait, wait};
pub(crate) use keepsake::keepsakes;
pub use keepsake::{KEEPSAKE_BYTES_MAX, Keepsake, KeepsakeError};
pub use orphans::{Orphan, Published, named_rows, orphans, owed_votes, published, to_publish};
pub use snapshot::{Letter, Reply, Snapshot, SnapshotError};
pub(crate) use snapshot::{Sender, snapshot_letters, snapshot_replies};
