//! Taking in records that were signed away from the node.

use super::{RegionView, WriteError, handed};
use std::sync::Arc;
use verge_sync::id::AccountId;
use verge_sync::record::body::{Body, NameKind};
use verge_sync::record::{Effect, Record};

/// What became of a record that somebody brought.
#[derive(Debug)]
pub enum Added {
    /// It was here before.
    Known,
    /// It is here now.
    New,
    /// A new account is here now, and got its name.
    Named(String),
    /// A new account is here now; why it has no name yet.
    Nameless(WriteError),
}

impl RegionView {
    /// Takes in a record that was signed elsewhere, and gives a new account the name that it was made
    /// for. When the node stops between the two, [`RegionView::add_account`] does the second.
    ///
    /// # Errors
    /// [`WriteError`]; the record was not taken in then.
    pub async fn add_record(self: &Arc<Self>, record: Record) -> Result<Added, WriteError> {
        let id = record.id();
        let effect = self.effect();
        if effect.record(&id).is_some() {
            return self.finish(&record, Added::Known).await;
        }
        self.check_fits(&effect, &record)?;
        self.take_in(vec![record.clone()]).await?;
        self.finish(&record, Added::New).await
    }

    /// What can be said of a record before the region's rules are asked, which only say no.
    fn check_fits(&self, effect: &Effect, record: &Record) -> Result<(), WriteError> {
        if record.region() != self.region {
            return Err(WriteError::OtherRegion(record.region()));
        }
        record.verify().map_err(|_bad| WriteError::BadSignature)?;
        let envelope = record.envelope();
        let place = |record: &Record| {
            let of = record.envelope();
            (of.kind, of.epoch, of.sequence, of.author)
        };
        let mut others = effect.records();
        let is_taken = others.any(|other| {
            place(other) == place(record) && other.envelope().subject == envelope.subject
        });
        if is_taken {
            return Err(WriteError::Overtaken);
        }
        let mut before = envelope.predecessors.iter();
        if let Some(missing) = before.find(|id| effect.record(id).is_none()) {
            return Err(WriteError::Follows(*missing));
        }
        handed::check_own_key(effect, record)?;
        handed::check_follows(effect, record)
    }

    async fn finish(self: &Arc<Self>, record: &Record, added: Added) -> Result<Added, WriteError> {
        let Ok(Body::Account(body)) = record.body() else {
            return Ok(added);
        };
        let id = AccountId::derive(&self.region, &record.envelope().subject);
        let effect = self.effect();
        let is_creation = record.envelope().predecessors.is_empty();
        let is_there = is_creation && effect.account(&id).is_some();
        if !is_there || effect.names_of(id.digest()).next().is_some() {
            return Ok(added);
        }
        let name = body.display_name.clone();
        let named = self.write(|turn| {
            turn.check_label(NameKind::Account, &name, Some(id))?;
            turn.claim(id, NameKind::Account, &name, id.digest())
        });
        Ok(match named.await {
            Ok(()) => Added::Named(name),
            Err(error) => Added::Nameless(error),
        })
    }
}
