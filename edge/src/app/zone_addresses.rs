//! Keeps the addresses of the region's hosts in its DNS zone, where the steward lets this node
//! (`[dns_update] addresses`).
//!
//! One task, which ends with the node. It owns the file `dns-names`: every name whose addresses it has
//! set, written before the first change of each, so that a crash leaves none behind that nobody looks
//! after. Limits: a node is taken out of DNS only after it was away for [`GRACE`], and only by a side
//! that sees more than half of the providers.

use crate::config::Config;
use crate::dns::addresses::{HostAddresses, wanted};
use crate::dns::{DnsUpdate, UpdateError};
use crate::region::RegionView;
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use verge_sync::clock::{Clock, stopwatch};
use verge_sync::id::NodeId;
use verge_sync::record::Effect;
use verge_sync::store::write_file_durably;

/// Who is there is looked at so often; also after a server that did not answer.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);
/// A restart, a new release, a router that is switched off and on: visitors try another address.
const GRACE: Duration = Duration::from_mins(5);
/// The names that were set, one a line.
const FILE: &str = "dns-names";
/// As many as there are hosts in the largest region.
const NAMES_MAX: usize = 10_000;

/// What the task has at hand.
pub(super) struct ZoneAddresses {
    driver: DnsUpdate,
    region: Arc<RegionView>,
    presence: Presence,
    kept: Kept,
}

/// When each node was last connected.
struct Presence {
    me: NodeId,
    begun: Instant,
    seen: BTreeMap<NodeId, Instant>,
}

/// The names that were set, and to what, if that is known.
struct Kept {
    path: PathBuf,
    names: BTreeMap<String, Option<HostAddresses>>,
}

/// None unless the steward wants it.
pub(super) fn open(
    data: &Path,
    config: &Config,
    region: &Arc<RegionView>,
) -> anyhow::Result<Option<ZoneAddresses>> {
    let settings = config.dns_update.as_ref();
    let Some(settings) = settings.filter(|settings| settings.addresses) else {
        return Ok(None);
    };
    Ok(Some(ZoneAddresses {
        driver: DnsUpdate::open(settings, data, Clock::System)?,
        region: Arc::clone(region),
        presence: Presence {
            me: region.keys().node(),
            begun: stopwatch(),
            seen: BTreeMap::new(),
        },
        kept: Kept::read(data.join(FILE))?,
    }))
}

/// Keeps them until it is dropped.
pub(super) async fn keep(addresses: Option<ZoneAddresses>) {
    if let Some(mut addresses) = addresses {
        addresses.run().await;
    }
}

impl ZoneAddresses {
    async fn run(&mut self) {
        let mut effects = self.region.watch();
        loop {
            effects.mark_unchanged();
            self.look().await;
            let effect = self.region.effect();
            if self.may_change(&effect)
                && let Err(error) = self.change(&effect).await
            {
                tracing::warn!(
                    "the addresses in the region's zone are not as they should be: {error:#}"
                );
            }
            tokio::select! {
                changed = effects.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            }
        }
    }

    async fn look(&mut self) {
        let replica = self.region.replica();
        let core = replica.lock().await;
        let now = stopwatch();
        let linked = core.links(replica.now_ms()).map(|(peer, _, _)| (peer, now));
        self.presence.seen.extend(linked);
    }

    fn may_change(&self, effect: &Effect) -> bool {
        let has_role = effect
            .chain
            .current()
            .body
            .roles
            .dns
            .contains(&self.presence.me);
        has_role && self.presence.is_majority(effect, stopwatch())
    }

    async fn change(&mut self, effect: &Effect) -> anyhow::Result<()> {
        let now = stopwatch();
        let wanted = wanted(effect, |node| self.presence.is_live(node, now));
        let wanted = wanted.into_iter();
        let wanted = wanted.filter(|(name, _)| self.driver.has(name));
        let wanted: BTreeMap<String, HostAddresses> = wanted.take(NAMES_MAX).collect();
        // Where nobody is there, what stands there does no harm.
        let there = wanted.iter().filter(|(_, addresses)| !addresses.is_empty());
        for (name, addresses) in there {
            if self.kept.names.get(name) != Some(&Some(addresses.clone())) {
                self.kept.begin(name)?;
                self.driver.set_address(name, addresses).await?;
                self.kept
                    .names
                    .insert(name.clone(), Some(addresses.clone()));
                tracing::info!(%name, ?addresses, "the addresses in the region's zone were set");
            }
        }
        self.remove(&wanted.into_keys().collect()).await
    }

    /// A host whose site is open to all has those of all hosts again, or is gone.
    async fn remove(&mut self, wanted: &BTreeSet<String>) -> anyhow::Result<()> {
        let kept: Vec<String> = self.kept.names.keys().cloned().collect();
        for name in kept.into_iter().filter(|name| !wanted.contains(name)) {
            match self.driver.remove_address(&name).await {
                // The zone is another one now.
                Ok(()) | Err(UpdateError::Name { .. }) => self.kept.end(&name)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Presence {
    /// What was not seen yet is given as much time as what is away.
    fn is_live(&self, node: &NodeId, now: Instant) -> bool {
        let last = self.seen.get(node).unwrap_or(&self.begun);
        *node == self.me || now.saturating_duration_since(*last) < GRACE
    }

    fn is_majority(&self, effect: &Effect, now: Instant) -> bool {
        let members = effect.nodes.iter().filter(|(_, node)| node.is_member);
        let mut all = BTreeSet::new();
        let mut there = BTreeSet::new();
        for (id, node) in members {
            all.insert(node.slot.provider);
            if self.is_live(id, now) {
                there.insert(node.slot.provider);
            }
        }
        there.len() > all.len() / 2
    }
}

impl Kept {
    fn read(path: PathBuf) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let names = text.lines().take(NAMES_MAX);
        let names = names.map(|name| (name.to_owned(), None)).collect();
        Ok(Self { path, names })
    }

    /// Durable when this returns.
    fn begin(&mut self, name: &str) -> anyhow::Result<()> {
        match self.names.insert(name.to_owned(), None) {
            Some(_known) => Ok(()),
            None => self.write(),
        }
    }

    fn end(&mut self, name: &str) -> anyhow::Result<()> {
        self.names.remove(name);
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let names = self.names.keys().map(|name| format!("{name}\n"));
        let text: String = names.collect();
        Ok(write_file_durably(&self.path, text.as_bytes(), 0o644)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_again_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut kept = Kept::read(path.clone()).unwrap();
        for name in ["*.sites.example", "a.sites.example", "*.sites.example"] {
            kept.begin(name).unwrap();
        }
        kept.end("a.sites.example").unwrap();
        let again = Kept::read(path).unwrap();
        assert_eq!(
            again.names,
            BTreeMap::from([("*.sites.example".to_owned(), None)])
        );
    }

    #[test]
    fn a_node_that_restarts_stays_and_one_that_is_away_goes() {
        let begun = stopwatch();
        let [me, peer, other] = [1, 2, 3].map(|number| NodeId::from_bytes([number; 32]));
        let presence = Presence {
            me,
            begun,
            seen: BTreeMap::from([(peer, begun + GRACE)]),
        };
        let is_live = |node, after| presence.is_live(node, begun + after);
        let second = Duration::from_secs(1);
        assert!(is_live(&other, GRACE - second) && !is_live(&other, GRACE));
        assert!(is_live(&peer, GRACE * 2 - second) && !is_live(&peer, GRACE * 2));
        assert!(is_live(&me, GRACE * 9));
    }
}
