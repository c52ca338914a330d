//! Deploys that a key of their account has signed, away from any node: taken in only where they are
//! what this node would ask to be signed now.

use super::write::{Signer, account_called};
use super::{RegionView, SiteHistory, WriteError};
use crate::ssh_key::SshKeyDigest;
use std::sync::Arc;
use verge_sync::id::SiteId;
use verge_sync::record::body::{Body, Deploy};
use verge_sync::record::{AuthorId, Effect, Kind, Record, Subject, WriteError as RecordWriteError};

/// A signed deploy, as far as it can be read.
pub(crate) fn signed_deploy(record: &Record) -> Option<(SiteId, &Deploy)> {
    let subject = Subject::decode(record.envelope().kind, &record.envelope().subject);
    match (subject, record.body()) {
        (Some(Subject::Deploy(site)), Ok(Body::Deploy(body))) => Some((site, body)),
        _ => None,
    }
}

/// Whether a record was written for `site`: a deploy of it, or a change of its settings.
pub(crate) fn is_about(effect: &Effect, record: &Record, site: SiteId) -> bool {
    let subject = Subject::decode(record.envelope().kind, &record.envelope().subject);
    match subject {
        Some(Subject::Deploy(of)) => of == site,
        Some(subject @ Subject::Site(..)) => {
            SiteId::derive(&effect.region, &subject.encode()) == site
        }
        _ => false,
    }
}

impl RegionView {
    /// Puts the version of a deploy in place that a key of its account has signed, and that is here
    /// whole. A push says on which history of the site it is based.
    ///
    /// # Errors
    /// [`WriteError::Overtaken`] if the site has had another deploy since the line was asked for;
    /// [`WriteError`]. Nothing was written then.
    pub async fn deploy_signed(
        self: &Arc<Self>,
        record: Record,
        based_on: Option<&SiteHistory>,
    ) -> Result<(), WriteError> {
        let (site, body) = signed_deploy(&record).ok_or(WriteError::NotAllowedIn)?;
        let (version, body) = (body.version, body.clone());
        self.check_signed(&record, site)?;
        self.write(|turn| {
            if based_on.is_some_and(|on| on.key() != SiteHistory::of(&turn.effect, &site).key()) {
                return Err(WriteError::PushedElsewhere);
            }
            let account = record.envelope().author.account();
            let (author, effect) = turn.governor(Signer::Account, account)?;
            // The same words at the same place: nothing has come between.
            match author.deploy(effect, site, body) {
                Err(RecordWriteError::KeyElsewhere(draft)) if draft.id() == record.id() => {}
                Err(RecordWriteError::KeyElsewhere(_)) | Ok(_) => {
                    return Err(WriteError::Overtaken);
                }
                Err(error) => return Err(error.into()),
            }
            turn.whole.push(version);
            turn.add(record);
            Ok(())
        })
        .await
    }

    /// Whether a record is of this region, new, and signed by a key of the account whose site it is
    /// about.
    ///
    /// # Errors
    /// [`WriteError`], which says what is wrong with it.
    pub fn check_signed(&self, record: &Record, site: SiteId) -> Result<(), WriteError> {
        if record.region() != self.region {
            return Err(WriteError::OtherRegion(record.region()));
        }
        record.verify().map_err(|_bad| WriteError::BadSignature)?;
        let effect = self.effect();
        if effect.record(&record.id()).is_some() {
            return Err(WriteError::TakenBefore);
        }
        let known = effect.site(&site);
        let known = known.ok_or_else(|| WriteError::NoSite(site.short()))?;
        if record.envelope().author != AuthorId::from(known.body.account) {
            return Err(WriteError::OtherSite);
        }
        check_own_key(&effect, record)
    }
}

/// Whether a record in an account's name is signed by a key that signs for it.
pub(super) fn check_own_key(effect: &Effect, record: &Record) -> Result<(), WriteError> {
    let id = record.envelope().author.account();
    let key = record.signer();
    match effect.accounts.get(&id) {
        Some(account) if !account.signing_keys().any(|own| own == key) => {
            Err(WriteError::OtherKey {
                account: account_called(effect, &id),
                key: SshKeyDigest::of_ed25519(key),
            })
        }
        _ => Ok(()),
    }
}

/// Whether a change of an account or a site follows what stands now: what was written in between
/// would be undone, or the change would say nothing.
pub(super) fn check_follows(effect: &Effect, record: &Record) -> Result<(), WriteError> {
    let envelope = record.envelope();
    let changes = [Kind::ACCOUNT, Kind::SITE].contains(&envelope.kind);
    if !changes || envelope.predecessors.is_empty() {
        return Ok(());
    }
    let mut stands = effect.tips(envelope.kind, &envelope.subject).iter();
    if stands.all(|id| envelope.predecessors.contains(id)) {
        Ok(())
    } else {
        Err(WriteError::Overtaken)
    }
}
