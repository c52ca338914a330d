//! Names that lost their place, claimed again.
//!
//! The places of an account's names are shared by all nodes that act for it. On two sides of a
//! partition both take the lowest free one, and afterwards one of the two claims stands there: the
//! other is of another name, or of another site, and would be lost. Its own node claims it again at
//! another place; who asked for it notices nothing. Pure, but for the one turn that writes.

use super::{RegionView, WriteError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use verge_sync::id::{AccountId, NodeId, RecordId, SiteId};
use verge_sync::record::body::{Name, NameKind};
use verge_sync::record::effect::SiteEffect;
use verge_sync::record::{Body, Effect, Kind, Record, Subject};

/// Claims that follow one another at one place, which are looked through.
const HISTORY_MAX: usize = 4_096;

/// The claims of `node` that stand nowhere, although nobody gave them up.
#[must_use]
pub fn displaced(effect: &Effect, node: NodeId) -> Vec<(AccountId, Name)> {
    let own = effect.records().filter(|record| {
        let envelope = record.envelope();
        envelope.kind == Kind::NAME && envelope.author.node() == node
    });
    // Of one name the last claim counts: what was given up after it was claimed again stays so.
    let mut last: BTreeMap<_, &Arc<Record>> = BTreeMap::new();
    for record in own {
        let Ok(Body::Name(name)) = record.body() else {
            continue;
        };
        let kept = last
            .entry((name.kind, &name.name, name.id))
            .or_insert(record);
        if record.envelope().n > kept.envelope().n {
            *kept = record;
        }
    }
    let lost = last.values().filter_map(|record| lost(effect, record));
    lost.collect()
}

fn lost(effect: &Effect, record: &Record) -> Option<(AccountId, Name)> {
    let subject = &record.envelope().subject;
    let Some(Subject::Name(account, _)) = Subject::decode(Kind::NAME, subject) else {
        return None;
    };
    let Ok(Body::Name(name)) = record.body() else {
        return None;
    };
    if name.name.is_empty() || !is_wanted(effect, account, name) {
        return None;
    }
    let standing = *effect.tips(Kind::NAME, subject).first()?;
    let is_followed = standing == record.id() || follows(effect, standing, record.id());
    let claimed = effect.names_of(name.id);
    let mut claimed = claimed.filter(|claim| claim.account == account && claim.kind == name.kind);
    let is_claimed = claimed.any(|claim| claimed_name(effect, claim.record) == Some(&name.name));
    (!is_followed && !is_claimed).then(|| (account, name.clone()))
}

/// Whether the account, or the site that it still has, is there to have the name.
fn is_wanted(effect: &Effect, account: AccountId, name: &Name) -> bool {
    if effect.account(&account).is_none() {
        return false;
    }
    let is_of = |site: &SiteEffect| site.body.account == account;
    match name.kind {
        NameKind::Account => true,
        NameKind::Label | NameKind::Host => effect
            .site(&SiteId::from_digest(name.id))
            .is_some_and(is_of),
    }
}

fn claimed_name(effect: &Effect, claim: RecordId) -> Option<&String> {
    match effect.record(&claim)?.body() {
        Ok(Body::Name(name)) => Some(&name.name),
        _ => None,
    }
}

/// Whether `record` was written after `before`, by way of any that lie between.
fn follows(effect: &Effect, record: RecordId, before: RecordId) -> bool {
    let mut open = vec![record];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if id == before {
            return true;
        }
        if seen.len() < HISTORY_MAX
            && seen.insert(id)
            && let Some(record) = effect.record(&id)
        {
            open.extend(&record.envelope().predecessors);
        }
    }
    false
}

impl RegionView {
    /// Claims again what this node claimed and what lost its place.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub async fn reclaim(self: &Arc<Self>) -> Result<(), WriteError> {
        let node = self.keys.node();
        if displaced(&self.effect(), node).is_empty() {
            return Ok(());
        }
        self.write(|turn| {
            for (account, name) in displaced(&turn.effect, node) {
                tracing::info!(name = %name.name, "lost its place to a claim from elsewhere; claimed again");
                turn.claim(account, name.kind, &name.name, name.id)?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::{Scene, name_body};
    use verge_sync::record::body::HostProof;

    #[test]
    fn claim_that_lost_its_place_is_claimed_again_once() {
        let mut scene = Scene::new(2, HostProof::None);
        let one = scene.site(0);
        let other = scene.site_of(1, one.0);
        // Both sides of a partition happen to take one place.
        let before = scene.effect();
        let claims = [(0_u8, one, "cafe"), (1, other, "shop")].map(|(number, site, name)| {
            let body = name_body(NameKind::Label, name, site.1.digest());
            let node = &mut scene.nodes[usize::from(number)];
            node.name(&before, site.0, 0, body).unwrap()
        });
        for claim in claims {
            scene.add(claim);
        }
        let effect = scene.effect();
        let lost: Vec<_> = (0..2).map(|n| displaced(&effect, scene.node(n))).collect();
        assert_eq!(lost.iter().map(Vec::len).sum::<usize>(), 1, "{lost:?}");
        let loser = usize::from(lost[0].is_empty());
        let (account, name) = lost[loser][0].clone();
        assert_eq!(name.name, ["cafe", "shop"][loser]);
        let again = scene.nodes[loser].claim(&effect, account, name).unwrap();
        scene.add(again);
        let effect = scene.effect();
        assert!((0..2).all(|n| displaced(&effect, scene.node(n)).is_empty()));
        assert_eq!(effect.names.len(), 2);
        // What is given up is not claimed again.
        let claim = effect.names.iter().find(|c| c.name == "cafe").unwrap();
        let gone = name_body(NameKind::Label, "", claim.id);
        let (account, index) = (claim.account, claim.index);
        let record = scene.nodes[0].name(&effect, account, index, gone).unwrap();
        scene.add(record);
        let effect = scene.effect();
        let due: Vec<_> = (0..2).map(|n| displaced(&effect, scene.node(n))).collect();
        assert!(
            due.iter().flatten().all(|(_, name)| name.name != "cafe"),
            "{due:?}"
        );
    }
}
