//! Whether this node believes its clock (`docs/operating.md#clock`): pure.
//!
//! Believed is what a time service keeps in step, what nodes of two providers agree with, or what
//! the steward vouches for; never a time before the last one that was believed. Others' clocks are
//! compared with, and never taken over.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use verge_sync::id::ProviderId;

/// Two clocks agree within this: far less than a certificate or a day cares about.
const AGREEMENT_S: u64 = 120;

/// How far a steward trusts the machine's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockTrust {
    /// As far as a time service or peers bear it out.
    #[default]
    Checked,
    /// Always.
    Trusted,
}

/// What a node knows about the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Witness<'a> {
    /// The machine's wall clock, in seconds since 1970.
    pub wall_s: u64,
    /// A time that was believed before.
    pub floor_s: u64,
    /// What the steward says.
    pub trust: ClockTrust,
    /// Whether a time service keeps the kernel's clock in step.
    pub is_synchronised: bool,
    /// Other providers of the region.
    pub others_count: usize,
    /// What connected nodes of other providers show now.
    pub peers: &'a [(ProviderId, u64)],
}

/// Whether the clock is believed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// The steward vouches for it.
    Vouched,
    /// A time service keeps it.
    Synchronised,
    /// Nodes of so many other providers show the same.
    Agreed(usize),
    /// It stands before a time that was believed once.
    InThePast,
    /// Nobody bears it out.
    Unsupported,
    /// Nodes of so many other providers show another time.
    Contradicted(usize),
}

impl Belief {
    /// Judges the witnesses.
    #[must_use]
    pub fn of(witness: &Witness<'_>) -> Self {
        if witness.trust == ClockTrust::Trusted {
            return Self::Vouched;
        }
        if witness.wall_s < witness.floor_s {
            return Self::InThePast;
        }
        let agrees = |peer: &&(ProviderId, u64)| witness.wall_s.abs_diff(peer.1) <= AGREEMENT_S;
        let providers = |wanted: bool| {
            let peers = witness.peers.iter().filter(|peer| agrees(peer) == wanted);
            peers.map(|peer| peer.0).collect::<BTreeSet<_>>().len()
        };
        let (agreeing, others) = (providers(true), providers(false));
        let needed = witness.others_count.clamp(1, 2);
        if witness.is_synchronised {
            Self::Synchronised
        } else if agreeing >= needed {
            Self::Agreed(agreeing)
        } else if others > agreeing {
            Self::Contradicted(others)
        } else {
            Self::Unsupported
        }
    }

    /// Whether it is believed.
    #[must_use]
    pub fn holds(self) -> bool {
        matches!(self, Self::Vouched | Self::Synchronised | Self::Agreed(_))
    }
}

impl std::fmt::Display for Belief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vouched => f.write_str("believed: config.toml vouches for it"),
            Self::Synchronised => f.write_str("believed: a time service keeps it in step"),
            Self::Agreed(count) => {
                write!(f, "believed: nodes of {count} other providers show the same")
            }
            Self::InThePast => f.write_str(
                "not believed: it stands before a time that was believed once; set it, or start a time service",
            ),
            Self::Unsupported => f.write_str(
                "not believed: no time service, and too few other providers to compare with",
            ),
            Self::Contradicted(count) => write!(
                f,
                "not believed: nodes of {count} other providers show another time; start a time service"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(number: u8) -> ProviderId {
        ProviderId::from_bytes([number; 32])
    }

    #[test]
    #[rustfmt::skip]
    fn a_clock_is_believed_with_witnesses_only() {
        let now = 1_790_000_000;
        let (a, b) = ((provider(1), now + 60), (provider(2), now - 119));
        let late = (provider(3), now - 86_400 * 40);
        let twin = (provider(1), now + 61);
        let alone = Witness {
            wall_s: now,
            floor_s: now - 1_000,
            trust: ClockTrust::Checked,
            is_synchronised: false,
            others_count: 4,
            peers: &[],
        };
        let rows: &[(Witness<'_>, Belief)] = &[
            (alone, Belief::Unsupported),
            (Witness { is_synchronised: true, ..alone }, Belief::Synchronised),
            (Witness { trust: ClockTrust::Trusted, wall_s: 0, ..alone }, Belief::Vouched),
            (Witness { peers: &[a], ..alone }, Belief::Unsupported),
            (Witness { peers: &[a, twin], ..alone }, Belief::Unsupported),
            (Witness { peers: &[a, b], ..alone }, Belief::Agreed(2)),
            (Witness { peers: &[a, b, late], ..alone }, Belief::Agreed(2)),
            (Witness { peers: &[late], ..alone }, Belief::Contradicted(1)),
            (Witness { peers: &[a], others_count: 1, ..alone }, Belief::Agreed(1)),
            (Witness { others_count: 0, ..alone }, Belief::Unsupported),
            // 1970, with a time service that has only just begun, and with friends of the same age.
            (Witness { wall_s: 100, is_synchronised: true, ..alone }, Belief::InThePast),
            (Witness { wall_s: 0, peers: &[(provider(1), 0), (provider(2), 1)], ..alone }, Belief::InThePast),
        ];
        for (witness, expected) in rows {
            assert_eq!(Belief::of(witness), *expected, "{witness:?}");
        }
    }
}
