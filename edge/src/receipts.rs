//! How many nodes hold what was just published: what a publisher is told last.

use crate::region::RegionView;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use verge_sync::content::Sources as _;
use verge_sync::id::{NodeId, Version};
use verge_sync::net::{LINKS_MAX, Network};

/// A publisher waits no longer for other nodes.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A peer that has not answered for so long whether it is there is not waited for: its connection
/// would be given up only after half a minute.
const SILENCE: Duration = Duration::from_secs(2);

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
        let waited = tokio::time::timeout(WAIT_MAX, self.wait(version)).await;
        let silent = waited.unwrap_or_else(|_elapsed| {
            tracing::debug!(version = %version.short(), "not all peers hold it in time");
            0
        });
        let others = self.others();
        let holders = self.holders(version).intersection(&others).count();
        sentence(holders, others.len(), silent)
    }

    /// Until every peer that is connected holds it, or is silent; gives how many are.
    async fn wait(&self, version: Version) -> usize {
        let Some(network) = &self.network else {
            return 0;
        };
        let (mut receipts, mut peers) = (network.receipts(), network.changes());
        // None until it has answered, or not.
        let mut is_there: BTreeMap<NodeId, Option<bool>> = BTreeMap::new();
        let mut knocks = JoinSet::new();
        loop {
            receipts.mark_unchanged();
            peers.mark_unchanged();
            let holders = network.holders(&version);
            let without = network.peers().into_iter().map(|peer| peer.node);
            let without = without.filter(|peer| !holders.contains(peer));
            let (mut silent_count, mut is_over) = (0, true);
            for peer in without {
                let known = is_there.entry(peer).or_insert_with(|| {
                    let network = Arc::clone(network);
                    knocks.spawn(async move { knock(&network, peer).await });
                    None
                });
                match *known {
                    Some(false) => silent_count += 1,
                    None | Some(true) => is_over = false,
                }
            }
            if is_over {
                return silent_count;
            }
            let gone = tokio::select! {
                changed = receipts.changed() => changed.is_err(),
                changed = peers.changed() => changed.is_err(),
                Some(knocked) = knocks.join_next() => {
                    is_there.extend(knocked.map(|(peer, answered)| (peer, Some(answered))));
                    false
                }
            };
            if gone {
                return silent_count;
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

/// Whether the peer answers in time.
async fn knock(network: &Network, peer: NodeId) -> (NodeId, bool) {
    let answer = tokio::time::timeout(SILENCE, network.is_there(peer)).await;
    (peer, answer.unwrap_or(false))
}

/// `holders` of `others` hold it, and this node does; `silent` are connected and say nothing. In a
/// large region not all others are connected, and who is not cannot say what it holds.
fn sentence(holders: usize, others: usize, silent: usize) -> String {
    let at_least = if others > LINKS_MAX { "at least " } else { "" };
    let held = match holders {
        0 => "held by this node only: keep your copy".to_owned(),
        _ => format!("held by {at_least}{} of {} nodes", holders + 1, others + 1),
    };
    match silent {
        0 => held,
        1 => format!("{held}; one node does not answer"),
        _ => format!("{held}; {silent} nodes do not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_is_told_whether_to_keep_a_copy() {
        assert_eq!(sentence(2, 4, 0), "held by 3 of 5 nodes");
        assert!(sentence(0, 4, 0).contains("this node only: keep your copy"));
        assert!(sentence(0, 0, 0).contains("keep your copy"));
        assert_eq!(sentence(1, 1, 0), "held by 2 of 2 nodes");
        assert_eq!(
            sentence(1, 2, 1),
            "held by 2 of 3 nodes; one node does not answer"
        );
        assert!(sentence(0, 2, 2).ends_with("keep your copy; 2 nodes do not answer"));
    }

    #[test]
    fn who_is_not_connected_may_hold_it_too() {
        let largest = LINKS_MAX;
        assert_eq!(sentence(8, largest, 0), "held by 9 of 9 nodes");
        let larger = largest + 1;
        assert_eq!(sentence(4, larger, 0), "held by at least 5 of 10 nodes");
    }
}
