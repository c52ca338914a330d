//! What is brought next, and from whom: pure.

use super::Source;
use super::thrift::Thrift;
use crate::digest::Digest;
use crate::id::{NodeId, ProviderId, SiteId, Version};
use crate::record::Effect;
use crate::record::effect::SiteEffect;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// A source that failed is not asked for so long, doubled each time it fails again.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);
/// A source that lied is not asked for so long, though it may be connected again by then.
const DISTRUST: Duration = Duration::from_secs(3600);

/// Something that is to be here and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A version of a site.
    Version {
        site: SiteId,
        version: Version,
        /// The digest of its flat sequence.
        sequence: Digest,
        /// What it takes, as its deploy says.
        bytes: u64,
        /// The newest version of the site that is here: what both share was checked.
        known: Option<Version>,
        /// The node that put it in place: it has it before it can say so.
        origin: NodeId,
    },
    /// The git history of a deploy: its flat sequence of bundles.
    History {
        sequence: Digest,
        /// What the same nodes have.
        version: Version,
        /// See there.
        origin: NodeId,
    },
    /// A blob that was here and is lost, or that is wanted for itself.
    Blob {
        blob: Digest,
        /// It is no longer.
        bytes_max: u64,
    },
}

impl Item {
    /// What it is found by.
    pub(super) fn key(&self) -> Digest {
        match self {
            Self::Version { version, .. } => version.digest(),
            Self::History { sequence, .. } => *sequence,
            Self::Blob { blob, .. } => *blob,
        }
    }
}

/// What is here, as far as it decides what is not.
pub(super) struct Here<'a> {
    /// Whose nodes we are.
    pub(super) provider: ProviderId,
    pub(super) is_whole: &'a dyn Fn(&Version) -> bool,
    /// Histories that are here.
    pub(super) histories: &'a BTreeSet<Digest>,
    /// Versions that turned out to be none.
    pub(super) refused: &'a BTreeSet<Version>,
    /// Blobs that were here and are lost, or are wanted for themselves, and how long they may be.
    pub(super) lost: &'a BTreeMap<Digest, u64>,
    /// What there is room for.
    pub(super) thrift: &'a Thrift,
}

/// When each version was first heard of in this run: 0 for what was there at the start.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    of: HashMap<Version, u64>,
    next: u64,
}

impl Arrivals {
    /// Notes what is new, and forgets what is no longer kept.
    fn note(&mut self, versions: &BTreeSet<Version>) {
        self.of.retain(|version, _| versions.contains(version));
        for version in versions {
            self.of.entry(*version).or_insert(self.next);
        }
        self.next = self.next.saturating_add(1);
    }
}

/// Everything that is missing, what is brought first before what can wait: what was lost, then what
/// visitors see (the newest deploy first, what was there at the start by size, small ones first),
/// then its history, then earlier versions.
pub(super) fn missing(effect: &Effect, here: &Here<'_>, arrivals: &mut Arrivals) -> Vec<Item> {
    let sites = effect.sites.values();
    let held = |id: &SiteId| effect.serves(&here.provider, id) && here.thrift.keeps(id);
    let sites: Vec<_> = sites.filter(|site| !site.ended && held(&site.id)).collect();
    let kept_count = here.thrift.kept_count();
    let kept = sites.iter().flat_map(|site| site.kept_newest(kept_count));
    arrivals.note(&kept.map(|deploy| deploy.body().version).collect());
    let mut ranked = Vec::new();
    let mut seen = BTreeSet::new();
    for site in sites {
        let bytes_max = bytes_max(effect, site);
        let known = site.kept().map(|deploy| deploy.body().version);
        let known = known.into_iter().find(|version| (here.is_whole)(version));
        let heads = site.tips.len().max(1);
        for (index, deploy) in site.kept_newest(kept_count).enumerate() {
            let is_head = index == 0 || (heads > 1 && site.tips.contains(&deploy.id()));
            let body = deploy.body();
            let origin = NodeId::from_bytes(*deploy.record().envelope().author.as_bytes());
            let arrival = arrivals.of.get(&body.version).copied().unwrap_or(0);
            let rank = |class: u8| (class, u64::MAX - arrival, body.blobs_bytes);
            let is_missing = !(here.is_whole)(&body.version)
                && !here.refused.contains(&body.version)
                && body.blobs_bytes <= bytes_max
                && seen.insert(body.version.digest());
            if is_missing {
                let item = Item::Version {
                    site: site.id,
                    version: body.version,
                    sequence: body.blobs,
                    bytes: body.blobs_bytes,
                    known,
                    origin,
                };
                ranked.push((rank(if is_head { 0 } else { 2 }), item));
            }
            let history = body.git.as_ref().and_then(|git| git.sequence);
            if let Some(history) = history
                && !here.histories.contains(&history)
                && seen.insert(history)
            {
                let item = Item::History {
                    sequence: history,
                    version: body.version,
                    origin,
                };
                ranked.push((rank(if is_head { 1 } else { 3 }), item));
            }
        }
    }
    ranked.sort_by_key(|(rank, item)| (*rank, item.key()));
    let lost = here.lost.iter().map(|(blob, bytes_max)| Item::Blob {
        blob: *blob,
        bytes_max: *bytes_max,
    });
    lost.chain(ranked.into_iter().map(|(_, item)| item))
        .collect()
}

/// What a version of the site may take: the smaller of its own quota and the region's limit.
#[must_use]
pub fn bytes_max(effect: &Effect, site: &SiteEffect) -> u64 {
    let region = effect.chain.current().body.limits.site_bytes_max;
    match site.body.quota_bytes {
        0 => region,
        own => own.min(region),
    }
}

/// What was seen of each source: how fast it is, and whether it fails.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<NodeId, Seen>);

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// Bytes a second, the last ones counting most.
    rate: u64,
    failed_count: u32,
    rest_until: Option<Instant>,
    distrusted_until: Option<Instant>,
}

impl Seen {
    fn is_held_against(&self, now: Instant) -> bool {
        let later = |until: Instant| until > now;
        self.rest_until.is_some_and(later) || self.distrusted_until.is_some_and(later)
    }
}

/// How a source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    /// It sent so many bytes in so long.
    Sent(u64, Duration),
    /// It broke off, or was too slow.
    Failed,
    /// It lied.
    Lied,
}

impl Memory {
    /// Notes what `node` did.
    pub(super) fn note(&mut self, node: NodeId, conduct: Conduct, now: Instant) {
        let seen = self.0.entry(node).or_default();
        match conduct {
            Conduct::Sent(bytes, took) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
                let rate = bytes.saturating_mul(1_000_000) / micros;
                seen.rate = match seen.rate {
                    0 => rate,
                    before => before / 4 * 3 + rate / 4,
                };
                seen.failed_count = 0;
                seen.rest_until = None;
            }
            Conduct::Failed => {
                let rest = REST_MIN.saturating_mul(1 << seen.failed_count.min(6));
                seen.failed_count = seen.failed_count.saturating_add(1);
                seen.rest_until = Some(now + rest.min(REST_MAX));
                seen.rate /= 2;
            }
            Conduct::Lied => seen.distrusted_until = Some(now + DISTRUST),
        }
    }

    /// Nodes that are no longer there are forgotten once nothing is held against them.
    pub(super) fn forget(&mut self, peers: &[Source], now: Instant) {
        let is_there = |node: &NodeId| peers.iter().any(|peer| peer.node == *node);
        self.0
            .retain(|node, seen| is_there(node) || seen.is_held_against(now));
    }

    /// Whom to ask, best first: who says that it has it, then who is near, then who is fast; one
    /// that failed lately only when nobody else is left, one that lied not at all.
    pub(super) fn rank(
        &self,
        peers: &[Source],
        holders: &BTreeSet<NodeId>,
        now: Instant,
    ) -> Vec<NodeId> {
        let seen = |node: &NodeId| self.0.get(node).copied().unwrap_or_default();
        let mut ranked: Vec<_> = peers
            .iter()
            .filter_map(|peer| {
                let seen = seen(&peer.node);
                let rests = seen.rest_until.is_some_and(|until| until > now);
                let lied = seen.distrusted_until.is_some_and(|until| until > now);
                let rank = (
                    rests,
                    !holders.contains(&peer.node),
                    !peer.is_near,
                    u64::MAX - seen.rate,
                );
                (!lied).then_some((rank, peer.node))
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, node)| node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::stopwatch;

    fn node(number: u8) -> NodeId {
        NodeId::from_digest(Digest::of(&[number]))
    }

    fn near(number: u8) -> Source {
        Source {
            node: node(number),
            is_near: true,
        }
    }

    fn far(number: u8) -> Source {
        Source {
            is_near: false,
            ..near(number)
        }
    }

    #[test]
    fn who_has_it_and_is_near_and_fast_is_asked_first() {
        let now = stopwatch();
        let mut memory = Memory::default();
        let second = Duration::from_secs(1);
        for (number, bytes) in [(1, 1_000), (2, 9_000), (3, 5_000), (4, 99_000)] {
            memory.note(node(number), Conduct::Sent(bytes, second), now);
        }
        let peers = [near(1), near(2), far(3), far(4)];
        let holders = BTreeSet::from([node(1), node(3), node(4)]);
        let ranked = memory.rank(&peers, &holders, now);
        assert_eq!(ranked, [1, 4, 3, 2].map(node));
    }

    #[test]
    fn a_dead_source_is_last_and_a_liar_is_not_asked() {
        let now = stopwatch();
        let mut memory = Memory::default();
        memory.note(node(1), Conduct::Failed, now);
        memory.note(node(2), Conduct::Lied, now);
        let peers = [near(1), near(2), far(3)];
        let nobody = BTreeSet::new();
        assert_eq!(memory.rank(&peers, &nobody, now), [3, 1].map(node));
        let later = now + REST_MIN;
        assert_eq!(memory.rank(&peers, &nobody, later), [1, 3].map(node));
        let much_later = now + DISTRUST;
        memory.forget(&peers, much_later);
        assert_eq!(memory.rank(&peers, &nobody, much_later).len(), 3);
    }

    #[test]
    fn rests_grow_with_each_failure_up_to_a_minute() {
        let now = stopwatch();
        let mut memory = Memory::default();
        let rests = |memory: &Memory| {
            let until = memory.0.get(&node(1)).and_then(|seen| seen.rest_until);
            until.map(|until| until.duration_since(now).as_secs())
        };
        let seen: Vec<_> = (0..8)
            .map(|_| {
                memory.note(node(1), Conduct::Failed, now);
                rests(&memory).unwrap()
            })
            .collect();
        assert_eq!(seen, [1, 2, 4, 8, 16, 32, 60, 60]);
        memory.note(node(1), Conduct::Sent(1, Duration::from_secs(1)), now);
        assert_eq!(rests(&memory), None);
    }
}
