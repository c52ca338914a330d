//! What a region signs about money: a table `[statement]` of its policy, which is TOML.
//!
//! `parse` reads it and refuses what does not add up, by its line; `explain` says it in words.

mod explain;
mod parse;

pub(crate) use parse::policies;
pub use parse::{PolicyError, parse};

use super::money::Currency;

/// Percentages are kept in hundredths of a per cent: 10,000 are the whole.
pub const BASIS_POINTS: u32 = 10_000;
/// Levies that a policy may have.
pub const LEVIES_MAX: usize = 8;

/// The rules of a region's statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// In which fees are paid.
    pub currency: Currency,
    /// What each fee is split into.
    pub split: Split,
    /// How the deliver part is divided.
    pub rule: Rule,
    /// With fewer units an owner's part follows the region's average for what is missing.
    pub threshold_units: u64,
    /// How much sponsored sites weigh in that average, in per cent of all fees.
    pub sponsored_percent: u32,
    /// How much of a site's units a provider can have, in per cent of its probed share.
    pub cap_percent: Option<u32>,
    /// What is taken of each fee before it is split.
    pub levies: Vec<Levy>,
    /// Up to which size a site needs no fee.
    pub free: Option<FreeTier>,
}

/// The four parts of a fee, in hundredths of a per cent; together [`BASIS_POINTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// To who served the owner's sites.
    pub deliver: u32,
    /// To who held sites.
    pub hold: u32,
    /// Equally to all in good standing.
    pub care: u32,
    /// To the region's fund.
    pub commons: u32,
}

/// How the deliver part of a fee is divided; the letters are those of `docs/accounting.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A: all parts in one pool, by all units.
    Pooled,
    /// B: each owner's by the units of its own sites.
    ByOwner,
    /// C: as B, shrunk towards the region's average where there are few units.
    Shrunk,
    /// G: equally.
    Equal,
}

/// A tax or a contribution that is taken of each fee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levy {
    /// What it is.
    pub name: String,
    /// In hundredths of a per cent of the fee, rounded down.
    pub basis_points: u32,
}

/// What an account may have without a fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeTier {
    /// So many sites.
    pub sites: u64,
    /// So many units in a month.
    pub units: u64,
}

impl Policy {
    /// The rules of a region that only says in which currency it counts.
    #[must_use]
    pub fn new(currency: Currency) -> Self {
        Self {
            currency,
            split: Split {
                deliver: 5_000,
                hold: 2_000,
                care: 2_000,
                commons: 1_000,
            },
            rule: Rule::Shrunk,
            threshold_units: 64 << 20,
            sponsored_percent: 10,
            cap_percent: Some(150),
            levies: Vec::new(),
            free: None,
        }
    }
}

impl Split {
    /// In the order in which a cent that is left over is given away.
    #[must_use]
    pub fn weights(&self) -> [u128; 4] {
        [self.deliver, self.hold, self.care, self.commons].map(u128::from)
    }
}

impl Rule {
    /// A, B, C or G.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Pooled => 'A',
            Self::ByOwner => 'B',
            Self::Shrunk => 'C',
            Self::Equal => 'G',
        }
    }
}
