//! Attribution: from what each provider served and held, and what each owner paid, to shares.
//!
//! Pure, and in whole numbers only: no clock, no file, no record, no floating point. The same inputs
//! give the same shares on every machine, and shares add up to the fees to the cent. The rules are
//! those of `docs/accounting.md`; `policy` is what a region may choose of them.
//!
//! [`attribute`] is the whole of it: levies, then the four parts of each fee, the cap (`cap`), the
//! deliver part (`deliver`), and the pools. [`statement`] makes files of it.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::indexing_slicing
)]

mod attribute;
pub mod cap;
#[cfg(test)]
pub(crate) mod cases;
pub mod deliver;
pub mod exact;
pub mod fees;
pub mod hold;
#[cfg(test)]
mod invariants;
pub mod lr;
pub mod money;
mod month;
pub mod policy;
pub mod statement;
pub mod units;
#[cfg(test)]
mod worked_example;

pub use attribute::{AttributionError, attribute};
pub use month::{Attribution, Cap, Claim, Inputs, OwnerShare, Parts, Provider, ProviderShare};
