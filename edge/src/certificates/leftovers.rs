//! What earlier rounds of an issuer have left, perhaps of a process before this one: certificates to be
//! revoked, and orders that nobody wants any more.

use super::issue::{Issuing, Office};
use super::keyring::Review;
use super::memory::Memory;
use super::name_set::NameSet;
use super::wanted::wanted;
use crate::acme::{AcmeError, Reaction, Revocation, Session, revoke};
use std::collections::BTreeSet;
use std::time::Duration;
use verge_sync::clock::UnixTime;
use verge_sync::record::Effect;

/// After one that failed; what is known to a stranger has been known for a while by then.
const BETWEEN_REVOCATIONS: Duration = Duration::from_mins(5);
/// Certificates that are revoked in one round.
const REVOKED_MAX: usize = 32;

impl Issuing {
    /// The certificates of the account that can be revoked now, because others have taken their places.
    pub(super) fn replaced(
        &self,
        effect: &Effect,
        office: &Office,
        memory: &Memory,
        now: UnixTime,
    ) -> Vec<Revocation> {
        if memory.revokes_after.is_some_and(|after| after > now) {
            return Vec::new();
        }
        let pending = self.tools.revocations.pending();
        let pending = pending.unwrap_or_else(|error| {
            tracing::error!("what is to be revoked cannot be read: {error}");
            Vec::new()
        });
        if pending.is_empty() {
            return pending;
        }
        let wanted = wanted_sets(effect);
        let review = std::sync::Arc::clone(&self.reviews.borrow());
        let of_account = pending
            .into_iter()
            .filter(|one| one.directory == office.account.directory().url());
        let replaced = of_account.filter(|one| self.is_replaced(one, &wanted, &review));
        replaced.take(REVOKED_MAX).collect()
    }

    /// Whether visitors get another, or none because nobody wants one any more.
    fn is_replaced(&self, one: &Revocation, wanted: &BTreeSet<NameSet>, review: &Review) -> bool {
        let Some(set) = NameSet::new(one.names.iter().map(str::to_owned)) else {
            return true;
        };
        if !wanted.contains(&set) {
            return true;
        }
        let held = review.held.get(&set);
        let used = held.and_then(|held| self.keyring.chain(held));
        used.is_some_and(|used| used != one.chain)
    }

    /// Revokes them; what cannot be revoked now stays noted.
    pub(super) async fn revoke_all(
        &self,
        session: &Session,
        replaced: &[Revocation],
        memory: &mut Memory,
        now: UnixTime,
    ) {
        for one in replaced {
            let names = &one.names;
            match revoke(session, &one.chain).await {
                Ok(()) => tracing::info!(%names, "the certificate before was revoked"),
                Err(error) if is_final(&error) => {
                    tracing::error!(%names, "the certificate before cannot be revoked: {error}");
                }
                Err(error) => {
                    tracing::warn!(%names, "the certificate before is not revoked yet: {error}");
                    memory.revokes_after = Some(now.plus(BETWEEN_REVOCATIONS));
                    return;
                }
            }
            if let Err(error) = self.tools.revocations.settle(one) {
                tracing::error!(%names, "a revocation stays noted: {error}");
            }
        }
    }

    /// Forgets orders for names that nobody wants any more. What an owner asked for with a key of their
    /// own is theirs to fetch; texts in a zone are taken away by the order that set them.
    pub(super) fn forget_unwanted(&self, effect: &Effect, office: &Office) {
        let pending = self.tools.intents.pending().unwrap_or_else(|error| {
            tracing::error!("orders under way cannot be read: {error}");
            Vec::new()
        });
        if pending.is_empty() {
            return;
        }
        let wanted = wanted_sets(effect);
        let directory = office.account.directory();
        let of_account = pending
            .into_iter()
            .filter(|one| one.directory == directory.url() && !one.is_of_owners_key);
        for one in of_account.filter(|one| !one.names.has_wildcard()) {
            let set = NameSet::new(one.names.iter().map(str::to_owned));
            if set.is_some_and(|set| wanted.contains(&set)) {
                continue;
            }
            tracing::info!(names = %one.names, "an order is given up: the hosts are the region's no more");
            if let Err(error) = self.tools.intents.settle(directory, &one.names) {
                tracing::error!("an order that nobody wants stays: {error}");
            }
        }
    }
}

fn wanted_sets(effect: &Effect) -> BTreeSet<NameSet> {
    wanted(effect).into_iter().map(|one| one.names).collect()
}

/// The server has read it, and will not say otherwise: it has expired, or is another account's.
fn is_final(error: &AcmeError) -> bool {
    matches!(error, AcmeError::Problem(_)) && !matches!(error.reaction(), Reaction::Retry { .. })
}
