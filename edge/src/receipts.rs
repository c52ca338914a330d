//! How many nodes hold what was just published: what a publisher is told last.

use crate::region::RegionView;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::content::Sources as _;
use verge_sync::id::{NodeId, Version};
use verge_sync::net::Network;

/// A publisher waits no longer for other nodes.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What peers say that they hold.
pub struct Receipts {
    region: Arc<RegionView>,
    /// None at a node that stays alone.
    network: Option<Arc<Network>>,
}

impl Receipts {
    /// Receipts of the peers of `network`.
    #[must_use]
    pub fn new(region: Arc<RegionView>, network: Option<Arc<Network>>) -> Self {
        Self { region, network }
    }

    /// Who holds `version`, in words; waits a few seconds for those who are about to.
    pub async fn sentence(&self, version: Version) -> String {
        let waited = tokio::time::timeout(WAIT_MAX, self.wait(version));
        if waited.await.is_err() {
            tracing::debug!(version = %version.short(), "not all peers hold it in time");
        }
        let others = self.others();
        let holders = self.holders(version).intersection(&others).count();
        sentence(holders, others.len())
    }

    /// Until every peer that is connected holds it.
    async fn wait(&self, version: Version) {
        let Some(network) = &self.network else {
            return;
        };
        let (mut receipts, mut peers) = (network.receipts(), network.changes());
        loop {
            receipts.mark_unchanged();
            peers.mark_unchanged();
            let connected = network.peers();
            let holders = network.holders(&version);
            if connected.iter().all(|peer| holders.contains(&peer.node)) {
                return;
            }
            let gone = tokio::select! {
                changed = receipts.changed() => changed.is_err(),
                changed = peers.changed() => changed.is_err(),
            };
            if gone {
                return;
            }
        }
    }

    /// The peers that say that they hold `version` whole.
    #[must_use]
    pub fn holders(&self, version: Version) -> BTreeSet<NodeId> {
        let network = self.network.as_ref();
        network.map_or_else(BTreeSet::new, |network| network.holders(&version))
    }

    fn others(&self) -> BTreeSet<NodeId> {
        let effect = self.region.effect();
        let own = self.region.keys().node();
        let nodes = effect.nodes.values();
        let others = nodes.filter(|node| node.is_member && node.id != own);
        others.map(|node| node.id).collect()
    }
}

/// `holders` of `others` hold it, and this node does.
fn sentence(holders: usize, others: usize) -> String {
    match (holders, others) {
        (0, _) => "held by this node only: keep your copy".to_owned(),
        _ => format!("held by {} of {} nodes", holders + 1, others + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_told_whether_to_keep_a_copy() {
        assert_eq!(sentence(2, 4), "held by 3 of 5 nodes");
        assert!(sentence(0, 4).contains("this node only: keep your copy"));
        assert!(sentence(0, 0).contains("keep your copy"));
        assert_eq!(sentence(1, 1), "held by 2 of 2 nodes");
    }
}
