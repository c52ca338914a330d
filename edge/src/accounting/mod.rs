//! Accounting: what this node counted, kept so that it survives, and sealed day by day.
//!
//! `journal` keeps the counters of the open days on the disk, a frame a second at most; `seal` makes
//! one signed, immutable statement of each day of them, with a Merkle tree over its rows (`merkle`),
//! so that an owner can be shown one row and check it; `books` are both for a running node; `ledger` reads the seals of all nodes from the
//! region's records. Here all of it is without a network and without a clock: the day comes in as a
//! parameter. The formats are in `docs/format.md#accounting`,
//! the reasons in `docs/accounting.md`.
//!
//! A crash loses what was counted since the last frame (a second), a power cut what was written
//! since the last sync (a minute); neither ever counts anything twice.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::indexing_slicing
)]

pub mod books;
pub mod calendar;
pub mod desk;
pub mod figures;
pub mod journal;
pub mod ledger;
pub mod merkle;
pub mod meter;
pub mod seal;
pub mod usage;
