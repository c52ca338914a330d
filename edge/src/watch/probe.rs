//! One look at one node, from the choice of what is asked for to what it came to.

use super::Watch;
use super::chance::Chance;
use super::judge::{Other, Question, Verdict, judge};
use super::sample::{self, File, Run, Want};
use super::tally::{Fault, Outcome};
use super::visit::{Asking, visit};
use data_encoding::HEXLOWER;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::id::{NodeId, SiteId, Version};
use verge_sync::net::{Piece, is_near};
use verge_sync::record::Effect;
use verge_sync::record::effect::DeployEffect;
use verge_sync::store::scrub::recheck;

/// An address that is a name is asked of the system's resolver for so long.
const RESOLVE_TIME: Duration = Duration::from_secs(2);
/// Addresses of one name.
const RESOLVED_MAX: usize = 4;

/// What one look is at.
pub(super) struct Look {
    node: NodeId,
    site: SiteId,
    /// The version in place, which is here.
    version: Version,
    /// The versions of all deploys in effect.
    versions: Vec<Version>,
    /// Where the site is.
    hosts: Vec<String>,
    /// Where the node's visitors find it.
    places: Vec<String>,
    chance: Chance,
}

impl Look {
    /// None if the site has no version.
    pub(super) fn new(
        effect: &Effect,
        (node, site): (NodeId, SiteId),
        seed: [u8; 32],
    ) -> Option<Self> {
        let known = effect.site(&site)?;
        let hosts = effect.hosts_of(&site).into_iter();
        let version = |deploy: &DeployEffect| deploy.body().version;
        Some(Self {
            node,
            site,
            version: known.head().map(version)?,
            versions: known.deploys.iter().map(version).collect(),
            hosts: hosts.map(str::to_owned).collect(),
            places: effect.nodes.get(&node)?.body.visitors.clone(),
            chance: Chance::new(seed),
        })
    }
}

impl Watch {
    /// A look as a visitor; none if nothing can be said.
    pub(super) async fn visit(&self, mut look: Look) -> Option<Outcome> {
        let host = look.chance.pick(&look.hosts)?.clone();
        let store = self.tools.store.clone();
        let drawn = tokio::task::spawn_blocking(move || {
            let file = sample::file(&store, &look.version, &mut look.chance);
            (look, file)
        });
        let (mut look, file) = drawn.await.ok()?;
        let file = file?;
        let addresses = self.addresses(&look).await;
        if addresses.is_empty() {
            return None;
        }
        let nonce = HEXLOWER.encode(&look.chance.bytes());
        let part = match file.want {
            Want::Whole(_) => None,
            Want::Part { from, bytes, .. } => Some((from, bytes)),
        };
        let asking = Asking {
            host,
            url: file.url.clone(),
            part,
            takes_codings: part.is_none() && look.chance.coin(),
            nonce,
        };
        let heard = match visit(&addresses, &asking).await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::debug!(%error, node = %look.node.short(), "a look as a visitor");
                return Some(Outcome::Silent);
            }
        };
        let store = self.tools.store.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let question = Question {
                node: look.node,
                site: look.site,
                version: look.version,
                file: &file,
                nonce: &asking.nonce,
            };
            let other = |shown| Self::other(&store, &look.versions, &shown, &file);
            judge(&question, &heard, other)
        });
        self.conclude(judged.await.ok()?).await
    }

    fn other(
        store: &verge_sync::store::Store,
        versions: &[Version],
        shown: &Version,
        file: &File,
    ) -> Other {
        if !versions.contains(shown) {
            return Other::Unknown;
        }
        let offers = sample::offers_at(store, shown, (&file.url, &file.path));
        offers.map_or(Other::Elsewhere, Other::Offers)
    }

    /// A look by a piece, over the members' connection; none if nothing can be said.
    pub(super) async fn piece(&self, mut look: Look) -> Option<Outcome> {
        let network = self.tools.network.as_ref()?;
        let store = self.tools.store.clone();
        let drawn = tokio::task::spawn_blocking(move || {
            let run = sample::run(&store, &look.version, &mut look.chance);
            (look, run)
        });
        let (mut look, run) = drawn.await.ok()?;
        let Run { blob, offset, held } = run?;
        let piece = Piece {
            nonce: look.chance.bytes(),
            blob,
            offset,
            bytes: u32::try_from(held.len()).ok()?,
        };
        let me = self.tools.region.keys().node();
        match network.ask_piece(look.node, piece).await {
            Ok(Some(proof)) if proof == piece.proof(me, look.node, &held) => {
                Some(Outcome::Answered)
            }
            Ok(Some(_other)) => self.conclude(Verdict::Differs(blob, Fault::Piece)).await,
            Ok(None) => Some(Outcome::Silent),
            Err(error) => {
                tracing::debug!(%error, node = %look.node.short(), "a look by a piece");
                Some(Outcome::Silent)
            }
        }
    }

    /// Nobody is said to be wrong by bytes that are wrong here.
    async fn conclude(&self, verdict: Verdict) -> Option<Outcome> {
        match verdict {
            Verdict::Counts(outcome) => Some(outcome),
            Verdict::Unclear => None,
            Verdict::Differs(blob, fault) => {
                let is_whole = self.is_whole_here(blob).await;
                is_whole.then_some(Outcome::Wrong(fault))
            }
        }
    }

    async fn is_whole_here(&self, blob: Digest) -> bool {
        let store = self.tools.store.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let damage = recheck(&store, blob)?;
            Ok::<_, verge_sync::store::StoreError>((damage, store.blobs().contains(&blob)?))
        });
        match checked.await {
            Ok(Ok((None, is_there))) => is_there,
            Ok(Ok((Some(damage), _))) => {
                (self.tools.damaged)(&damage);
                false
            }
            other => {
                tracing::warn!(?other, %blob, "a blob that others are compared with");
                false
            }
        }
    }

    /// Where the node's visitors find it, as far as this node goes there.
    async fn addresses(&self, look: &Look) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for place in &look.places {
            if let Ok(address) = place.parse() {
                found.push(address);
                continue;
            }
            let lookup = tokio::time::timeout(RESOLVE_TIME, tokio::net::lookup_host(place));
            if let Ok(Ok(resolved)) = lookup.await {
                found.extend(resolved.take(RESOLVED_MAX));
            }
        }
        found.retain(|address| self.may_ask(look.node, address));
        found
    }

    /// Whether `address` may be asked as the node's.
    pub(super) fn may_ask(&self, node: NodeId, address: &SocketAddr) -> bool {
        let network = self.tools.network.as_ref();
        is_open(address, network.and_then(|network| network.seen_at(&node)))
    }
}

/// An address at home is asked only where the node itself is seen there, so that no record makes this
/// node knock at other doors of its own network.
fn is_open(address: &SocketAddr, seen: Option<IpAddr>) -> bool {
    let is_nobodys = address.ip().is_unspecified() || address.ip().is_multicast();
    !is_nobodys && (!is_near(address) || seen == Some(address.ip().to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_at_home_are_those_of_nodes_that_are_seen_there() {
        let rows = [
            ("203.0.113.7:443", None, true),
            ("203.0.113.7:443", Some("192.168.1.5"), true),
            ("[2001:db8::1]:443", None, true),
            ("192.168.1.5:443", Some("192.168.1.5"), true),
            ("[::ffff:192.168.1.5]:443", Some("192.168.1.5"), true),
            ("192.168.1.1:443", Some("192.168.1.5"), false),
            ("192.168.1.5:443", None, false),
            ("127.0.0.1:443", Some("192.168.1.5"), false),
            ("127.0.0.1:443", Some("127.0.0.1"), true),
            ("[fe80::1]:443", Some("192.168.1.5"), false),
            ("[fd00::1]:443", None, false),
            ("0.0.0.0:443", Some("127.0.0.1"), false),
            ("[::]:443", None, false),
            ("224.0.0.1:443", None, false),
        ];
        for (address, seen, expected) in rows {
            let seen = seen.map(|seen: &str| seen.parse().unwrap());
            assert_eq!(
                is_open(&address.parse().unwrap(), seen),
                expected,
                "{address} {seen:?}"
            );
        }
    }
}
