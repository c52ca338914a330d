//! Which versions a site left without carrying their hashed assets on.
//!
//! A push carries what the version before had (`verge_builder::CARRIED_FOR`). A rollback puts an old
//! version in place as it is, and of two deploys that did not know of each other one is not built
//! upon. What these left is worked out from the deploys in effect, so it is the same on every node;
//! only how long it lasts is a matter of the clock of who serves.

use crate::sites::LeftVersion;
use std::sync::Arc;
use verge_builder::CARRIED_FOR;
use verge_sync::clock::UnixTime;
use verge_sync::id::Version;
use verge_sync::record::Cause;
use verge_sync::record::effect::{DeployEffect, KEPT_DEPLOYS, SiteEffect};

/// A deploy as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Deployed {
    version: Version,
    time: UnixTime,
    /// Whether it was built upon the deploy before it, and carries what that had.
    carries_on: bool,
}

/// The versions that were left for another that does not carry them on, newest first; of the deploys
/// that every replica keeps, since the bytes of others may be gone. `None` if there are none.
#[must_use]
pub fn left_versions(site: &SiteEffect) -> Option<Arc<[LeftVersion]>> {
    let newest = site.deploys.iter().take(KEPT_DEPLOYS);
    let before = site.deploys.iter().skip(1).map(Some).chain([None]);
    let deployed: Vec<Deployed> = newest
        .zip(before)
        .map(|(deploy, before)| Deployed {
            version: deploy.body().version,
            time: deploy.body().time,
            carries_on: before.is_none_or(|before| carries_on(deploy, before)),
        })
        .collect();
    let left = left_of(&deployed);
    (!left.is_empty()).then(|| left.into())
}

fn carries_on(deploy: &DeployEffect, before: &DeployEffect) -> bool {
    let predecessors = &deploy.record().envelope().predecessors;
    deploy.body().cause != Cause::Rollback && predecessors.contains(&before.id())
}

/// `deployed` is newest first.
fn left_of(deployed: &[Deployed]) -> Vec<LeftVersion> {
    let head = deployed.first().map(|head| head.version);
    let mut left: Vec<LeftVersion> = Vec::new();
    for (newer, older) in deployed.iter().zip(deployed.iter().skip(1)) {
        let is_known = left.iter().any(|known| known.version == older.version);
        if !newer.carries_on && !is_known && Some(older.version) != head {
            left.push(LeftVersion {
                version: older.version,
                until: newer.time.plus(CARRIED_FOR),
            });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK_S: i64 = 7 * 24 * 60 * 60;

    /// `deploys` as letters, oldest first, at the seconds 1, 2, 3; a small letter does not carry on
    /// what stands before it.
    fn check(deploys: &str, expected: &[(char, i64)]) {
        let version = |letter: char| Version::from_bytes([letter.to_ascii_uppercase() as u8; 32]);
        let mut deployed: Vec<Deployed> = deploys
            .chars()
            .zip(1..)
            .map(|(letter, second)| Deployed {
                version: version(letter),
                time: UnixTime(second),
                carries_on: letter.is_ascii_uppercase(),
            })
            .collect();
        deployed.reverse();
        let expected: Vec<LeftVersion> = expected
            .iter()
            .map(|(letter, left_at)| LeftVersion {
                version: version(*letter),
                until: UnixTime(left_at + WEEK_S),
            })
            .collect();
        assert_eq!(left_of(&deployed), expected, "{deploys}");
    }

    #[test]
    fn what_a_rollback_leaves_is_left_for_a_week() {
        let rows: &[(&str, &[(char, i64)])] = &[
            ("", &[]),
            ("A", &[]),
            ("ABC", &[]),
            ("ABa", &[('B', 3)]),
            // A push after it carries on what the old version had, not what was left.
            ("ABaC", &[('B', 3)]),
            // Back twice leaves both.
            ("ABCba", &[('B', 5), ('C', 4)]),
            // Forward again: what is in place is not left.
            ("ABab", &[('A', 4)]),
            // Left twice: since the last time.
            ("ABaBa", &[('B', 5)]),
            ("ABaBaC", &[('B', 5)]),
            ("AAa", &[]),
        ];
        for (deploys, expected) in rows {
            check(deploys, expected);
        }
    }
}
