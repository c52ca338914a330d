//! Going back: which earlier version is meant, and putting it in place again.
//!
//! The choice is made inside the site's turn, from what holds then: a push that came first is what
//! one goes back from. All blobs of the version are pinned before they are looked for, so that a
//! collection cannot take them in between.

use super::{PublishError, Publishing, whole};
use crate::region::{Signer, WriteError};
use std::collections::BTreeSet;
use verge_sync::id::{SiteId, Version};
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest};
use verge_sync::record::{Cause, Deploy};
use verge_sync::store::{BlobPin, StoreError};

/// Fewer digits of a version are rather a slip than a name.
const PREFIX_DIGITS_MIN: usize = 4;

/// Why no earlier version was put in place; the one in place stays.
#[derive(Debug, thiserror::Error)]
pub enum RollBackError {
    /// Nothing was published, or nothing before what is in place is kept.
    #[error("there is no kept version to go back to: `verge site versions` lists what there is")]
    NothingEarlier,
    /// Not the beginning of a version.
    #[error(
        "{0} names no version: give at least {min} of its hex digits, as `verge site versions` shows them",
        min = PREFIX_DIGITS_MIN
    )]
    NotAVersion(String),
    /// No kept version begins so.
    #[error("no kept version begins with {0}: `verge site versions` lists what there is")]
    Unknown(String),
    /// Several do.
    #[error("more than one kept version begins with {0}: give more of its digits")]
    Ambiguous(String),
    /// The version is the one in place.
    #[error("version {} is already in place; nothing changed", .0.short())]
    InPlace(Version),
    /// Blobs of it were lost.
    #[error(
        "version {} is no longer whole on this node; nothing changed: publish its files again",
        .0.short()
    )]
    NotWhole(Version),
    /// The store said no.
    #[error("the node could not look at the version: {0}; nothing changed")]
    Store(StoreError),
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] WriteError),
}

impl Publishing {
    /// Puts the version of an earlier deploy in place again and gives its new deploy.
    ///
    /// `wanted` is the beginning of a kept version. Without it the version is meant that came
    /// before the first deploy of what is in place: going back twice goes back further, and never
    /// to and fro.
    ///
    /// # Errors
    /// [`RollBackError`].
    pub async fn roll_back(
        &self,
        site: SiteId,
        wanted: Option<&str>,
    ) -> Result<Deploy, RollBackError> {
        let _turn = self.turns.turn(site).await;
        let earlier = self.earlier(site, wanted)?;
        let _pin = self.pin_whole(&earlier).await?;
        let body = Deploy {
            time: self.clock.now(),
            cause: Cause::Rollback,
            ..earlier
        };
        let put = self.region.deploy(site, body.clone(), None, Signer::Member);
        put.await?;
        Ok(body)
    }

    fn earlier(&self, site: SiteId, wanted: Option<&str>) -> Result<Deploy, RollBackError> {
        let effect = self.region.effect();
        let site = effect.site(&site).ok_or(RollBackError::NothingEarlier)?;
        let deploys: Vec<&Deploy> = site.deploys.iter().map(|deploy| deploy.body()).collect();
        let versions: Vec<Version> = deploys.iter().map(|deploy| deploy.version).collect();
        let kept: BTreeSet<Version> = site.kept().map(|deploy| deploy.body().version).collect();
        let version = choose(&versions, &kept, wanted)?;
        let deploy = deploys.iter().find(|deploy| deploy.version == version);
        deploy
            .map(|deploy| Deploy::clone(deploy))
            .ok_or(RollBackError::NothingEarlier)
    }

    /// Keeps every blob of the version from collection, then makes sure that all are there.
    async fn pin_whole(&self, deploy: &Deploy) -> Result<[BlobPin; 2], RollBackError> {
        let (store, version) = (self.store.clone(), deploy.version);
        let digests = [version.digest(), deploy.blobs];
        let checked = tokio::task::spawn_blocking(move || {
            let first = store.pin(digests);
            let bytes = store
                .blobs()
                .read_verified(&version.digest(), MANIFEST_BYTES_MAX)?;
            let bytes = bytes.ok_or_else(|| PublishError::NotWhole("no manifest".to_owned()))?;
            let manifest = Manifest::decode(bytes)
                .map_err(|error| PublishError::NotWhole(error.to_string()))?;
            let rest = store.pin(manifest.blobs().map(|blob| blob.digest));
            whole(&store, version)?;
            Ok::<_, PublishError>([first, rest])
        });
        let checked = checked.await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "the look at a version ended early");
            Err(PublishError::NotWhole(panic.to_string()))
        });
        checked.map_err(|error| match error {
            PublishError::Store(error) if !matches!(error, StoreError::Damaged { .. }) => {
                RollBackError::Store(error)
            }
            lost => {
                tracing::error!(%version, "roll back: {lost}");
                RollBackError::NotWhole(version)
            }
        })
    }
}

/// The version to go back to. `versions` are those of all deploys, newest first.
fn choose(
    versions: &[Version],
    kept: &BTreeSet<Version>,
    wanted: Option<&str>,
) -> Result<Version, RollBackError> {
    let head = *versions.first().ok_or(RollBackError::NothingEarlier)?;
    let Some(wanted) = wanted else {
        let before = versions.rsplit(|version| *version == head).next();
        let mut before = before.unwrap_or_default().iter();
        let found = before.find(|version| kept.contains(version));
        return found.copied().ok_or(RollBackError::NothingEarlier);
    };
    let is_hex = wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    if wanted.len() < PREFIX_DIGITS_MIN || !is_hex {
        return Err(RollBackError::NotAVersion(shown(wanted)));
    }
    let prefix = wanted.to_ascii_lowercase();
    let mut found = kept
        .iter()
        .filter(|version| version.to_string().starts_with(&prefix));
    match (found.next(), found.next()) {
        (None, _) => Err(RollBackError::Unknown(shown(wanted))),
        (Some(_), Some(_)) => Err(RollBackError::Ambiguous(shown(wanted))),
        (Some(version), None) if *version == head => Err(RollBackError::InPlace(head)),
        (Some(version), None) => Ok(*version),
    }
}

/// What somebody typed, as it may stand in a sentence.
fn shown(text: &str) -> String {
    let shown: String = text.chars().take(64).collect();
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version whose digest begins with these two bytes.
    fn version(first: u8, second: u8) -> Version {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&[first, second]);
        Version::from_bytes(bytes)
    }

    #[test]
    fn going_back_without_a_version_goes_further_each_time() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| version(n, 0));
        // Deploys newest first, how many of them are kept, what is meant.
        let rows: &[(&[Version], usize, Option<Version>)] = &[
            (&[], 0, None),
            (&[a], 1, None),
            (&[a, a], 2, None),
            (&[c, b, a], 3, Some(b)),
            (&[b, c, b, a], 4, Some(a)),
            (&[a, b, c, b, a], 5, None),
            // After two steps back and a new version, the way back begins anew.
            (&[d, a, b, c, b, a], 6, Some(a)),
            (&[a, d, a, b, c, b, a], 7, None),
            // What is not kept is not on this node any more.
            (&[c, b, a], 1, None),
            (&[c, c, b, a], 2, None),
        ];
        for (versions, kept_count, expected) in rows {
            let kept = versions.iter().copied().take(*kept_count).collect();
            let found = choose(versions, &kept, None).ok();
            assert_eq!(found, *expected, "{versions:?}");
        }
    }

    #[test]
    fn a_version_is_named_by_its_beginning() {
        let (head, other, near) = (
            version(0xaa, 0x01),
            version(0xbc, 0xde),
            version(0xbc, 0xdf),
        );
        let gone = version(0xcc, 0xcc);
        let versions = [head, other, near, gone];
        let kept = [head, other, near].into();
        let full = other.to_string();
        let rows = [
            ("bcde", Ok(other)),
            ("BCDE", Ok(other)),
            (full.as_str(), Ok(other)),
            ("bcd", Err("\"bcd\" names no version: give at least 4")),
            ("", Err("\"\" names no version")),
            ("ana\u{1b}[2J", Err("\"ana\\u{1b}[2J\" names no version")),
            ("bcd0", Err("no kept version begins with \"bcd0\"")),
            ("cccc", Err("no kept version begins with \"cccc\"")),
            ("aa01", Err("version aa01")),
        ];
        for (wanted, expected) in rows {
            match (choose(&versions, &kept, Some(wanted)), expected) {
                (Ok(found), Ok(version)) => assert_eq!(found, version, "{wanted}"),
                (Err(error), Err(words)) => {
                    let sentence = error.to_string();
                    assert!(sentence.starts_with(words), "{wanted}: {sentence}");
                }
                (found, _) => panic!("{wanted}: {found:?}"),
            }
        }
        let twin = Version::from_bytes({
            let mut bytes = *other.digest().as_bytes();
            bytes[31] = 1;
            bytes
        });
        let kept = [head, other, twin].into();
        let refused = choose(&versions, &kept, Some("bcde"));
        assert!(matches!(refused, Err(RollBackError::Ambiguous(_))));
    }
}
