//! Where a site's git history stands, as its deploys in effect say.

use super::author_name;
use verge_sync::clock::UnixTime;
use verge_sync::digest::Digest;
use verge_sync::id::{RecordId, SiteId, Version};
use verge_sync::record::effect::DeployEffect;
use verge_sync::record::{Cause, Effect, GitSource};

/// The most bundles that a git sequence is read with; nodes write far fewer.
pub const SEQUENCE_BUNDLES_MAX: usize = 64;
/// The longest git sequence, in bytes.
pub const GIT_SEQUENCE_BYTES_MAX: u64 = 32 * SEQUENCE_BUNDLES_MAX as u64;

/// The git history of a site: that of its head, and those that were not brought together with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteHistory {
    /// What the head says; none if no deploy before it came from git.
    pub head: Option<GitSource>,
    /// The other tips, newest first: more than none after an outage only.
    pub others: Vec<OtherTip>,
}

/// A deploy that no other names as predecessor, and that is not the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherTip {
    /// The deploy.
    pub deploy: RecordId,
    /// What it put in place.
    pub version: Version,
    /// Its git history.
    pub git: Option<GitSource>,
    /// What it was caused by.
    pub cause: Cause,
    /// When, as its node claims.
    pub time: UnixTime,
    /// The node that took it, in words.
    pub node: String,
}

impl SiteHistory {
    /// The history of a site; an empty one where there is no such site.
    #[must_use]
    pub fn of(effect: &Effect, site: &SiteId) -> Self {
        let Some(site) = effect.site(site) else {
            return Self::default();
        };
        let head = site.head();
        let id = head.map(DeployEffect::id);
        let others = site.deploys.iter().filter(|deploy| {
            let deploy = deploy.id();
            Some(deploy) != id && site.tips.contains(&deploy)
        });
        Self {
            head: head.and_then(|head| head.body().git.clone()),
            others: others.map(|deploy| OtherTip::of(effect, deploy)).collect(),
        }
    }

    /// A name for this state of things: two histories with the same key are the same.
    #[must_use]
    pub fn key(&self) -> Digest {
        let mut parts: Vec<&[u8]> = Vec::new();
        if let Some(git) = &self.head {
            let sequence = git.sequence.as_ref();
            parts.push(sequence.map_or(b"-", |sequence| sequence.as_bytes().as_slice()));
            parts.push(&git.commit);
        }
        // What follows has 32 bytes each, so no two histories come to the same bytes.
        parts.push(b"others");
        parts.extend(
            self.others
                .iter()
                .map(|tip| tip.deploy.as_bytes().as_slice()),
        );
        Digest::derive("verge 1 site history", &parts)
    }

    /// What a deploy says of git that no push has caused: the history stays where it stands, so that
    /// it is not lost; `commit` is where the files came from, if that is known.
    #[must_use]
    pub fn carried(&self, commit: Option<GitSource>) -> Option<GitSource> {
        match (&self.head, commit) {
            (Some(head), Some(own)) => Some(GitSource {
                sequence: head.sequence,
                ..own
            }),
            (head, own) => head.clone().or(own),
        }
    }
}

impl OtherTip {
    fn of(effect: &Effect, deploy: &DeployEffect) -> Self {
        let body = deploy.body();
        Self {
            deploy: deploy.id(),
            version: body.version,
            git: body.git.clone(),
            cause: body.cause,
            time: body.time,
            node: author_name(effect, deploy.record().envelope().author),
        }
    }

    /// When, as people write it.
    #[must_use]
    pub fn time(&self) -> String {
        let time = jiff::Timestamp::from_second(self.time.0);
        time.map_or_else(|_| self.time.0.to_string(), |time| time.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use crate::region::{Signer, WriteError};
    use std::sync::Arc;
    use verge_sync::id::ContentDigest;
    use verge_sync::record::{Deploy, HostProof};

    fn git(sequence: Option<u8>, commit: u8) -> GitSource {
        GitSource {
            sequence: sequence.map(|byte| Digest::from_bytes([byte; 32])),
            commit: vec![commit; 20],
        }
    }

    #[test]
    fn history_is_carried_whatever_is_deployed() {
        let at = |head| SiteHistory {
            head,
            ..SiteHistory::default()
        };
        for (head, own, expected) in [
            (None, None, None),
            (None, Some(git(None, 1)), Some(git(None, 1))),
            (Some(git(Some(7), 2)), None, Some(git(Some(7), 2))),
            // Back to commit 1: its files, with all of the history since.
            (
                Some(git(Some(7), 2)),
                Some(git(Some(6), 1)),
                Some(git(Some(7), 1)),
            ),
        ] {
            assert_eq!(at(head).carried(own), expected);
        }
    }

    /// Asked again when the record is written: a push elsewhere may have come while this one was built.
    #[tokio::test]
    async fn a_push_that_another_has_overtaken_is_refused_and_nothing_is_written() {
        let mut scene = Scene::new(1, HostProof::None);
        let (account, site) = scene.site(0);
        let data = tempfile::tempdir().unwrap();
        scene.store(0, data.path()).await;
        let region = Arc::new(scene.open(0, data.path()));
        let deploy = |byte: u8| Deploy {
            version: Version::from_bytes([byte; 32]),
            content: ContentDigest::from_digest(Digest::from_bytes([byte; 32])),
            recipe: 1,
            blobs: Digest::from_bytes([byte; 32]),
            blobs_bytes: 1,
            git: Some(git(Some(byte), byte)),
            time: UnixTime(0),
            cause: Cause::Push,
            account,
            provider: region.slot().provider,
        };
        let shown = SiteHistory::of(&region.effect(), &site);
        region
            .deploy(site, deploy(1), Some(&shown), Signer::Member)
            .await
            .unwrap();
        let before = region.effect();
        let refused = region
            .deploy(site, deploy(2), Some(&shown), Signer::Member)
            .await;
        assert!(
            matches!(refused, Err(WriteError::PushedElsewhere)),
            "{refused:?}"
        );
        assert!(*region.effect() == *before);
        let shown = SiteHistory::of(&before, &site);
        region
            .deploy(site, deploy(2), Some(&shown), Signer::Member)
            .await
            .unwrap();
        assert_eq!(SiteHistory::of(&region.effect(), &site).head, deploy(2).git);
    }

    #[test]
    fn whatever_differs_has_another_key() {
        let tip = |byte| OtherTip {
            deploy: RecordId::from_bytes([byte; 32]),
            version: Version::from_bytes([1; 32]),
            git: None,
            cause: Cause::Push,
            time: UnixTime(0),
            node: String::new(),
        };
        let heads = [
            None,
            Some(git(None, 1)),
            Some(git(Some(1), 1)),
            Some(git(Some(1), 2)),
        ];
        let tips = [vec![], vec![tip(1)], vec![tip(1), tip(2)]];
        let keys: std::collections::BTreeSet<Digest> = heads
            .iter()
            .flat_map(|head| tips.iter().map(move |tips| (head, tips)))
            .map(|(head, others)| {
                SiteHistory {
                    head: head.clone(),
                    others: others.clone(),
                }
                .key()
            })
            .collect();
        assert_eq!(keys.len(), 12);
    }
}
