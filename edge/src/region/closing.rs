//! What this node's provider writes of a month: that it is to be closed so, and that it is for a close.

use super::certify::{own_records, place};
use super::{RegionView, Turn, WriteError};
use crate::accounting::calendar::Month;
use crate::closing::{CloseBody, Closes};
use std::sync::Arc;
use verge_sync::id::RecordId;
use verge_sync::record::body::Vote;
use verge_sync::record::{Kind, Record};

impl RegionView {
    /// Proposes a close, instead of what this provider proposed or voted for before. Where the very
    /// same is proposed already, that is voted for.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub(crate) async fn propose_close(
        self: &Arc<Self>,
        body: &CloseBody,
    ) -> Result<RecordId, WriteError> {
        let mut id = None;
        self.write(|turn| {
            id = Some(turn.propose_close(body)?);
            Ok(())
        })
        .await?;
        id.ok_or(WriteError::Stopping)
    }

    /// Votes for a close, instead of what this provider voted for before.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub(crate) async fn vote_close(
        self: &Arc<Self>,
        close: RecordId,
        month: Month,
    ) -> Result<(), WriteError> {
        self.write(|turn| turn.vote_close(close, month)).await
    }
}

impl Turn<'_> {
    fn propose_close(&mut self, body: &CloseBody) -> Result<RecordId, WriteError> {
        let month = body.month;
        let closes = Closes::read(&self.effect);
        if closes.of(month).is_some() {
            return Err(WriteError::MonthClosed(month.to_string()));
        }
        if let Some(same) = closes.open(month).iter().find(|of| of.body == *body) {
            let id = same.id();
            self.vote_close(id, month)?;
            return Ok(id);
        }
        let me = self.slot.provider;
        // What it proposed before is replaced by this; its votes for others it takes back.
        let own = |id: &RecordId| {
            let record = self.effect.record(id);
            record.is_some_and(|record| record.envelope().author == me.into())
        };
        let others = closes.stands_for(me, month).into_iter();
        self.take_back(others.filter(|id| !own(id)).collect())?;
        let subject = body.subject();
        let own = own_records(&self.records, Kind::CLOSE, me.into(), &subject);
        let last = own.max_by_key(|record| place(record)).map(Record::id);
        let follows = last.into_iter().collect();
        let (author, effect) = self.provider();
        let record = author.foreign(effect, Kind::CLOSE, (subject, body.encode()), follows)?;
        Ok(self.add(record).id())
    }

    fn vote_close(&mut self, close: RecordId, month: Month) -> Result<(), WriteError> {
        let closes = Closes::read(&self.effect);
        if closes.of(month).is_some_and(|of| of.id() != close) {
            return Err(WriteError::MonthClosed(month.to_string()));
        }
        let mut stands = closes.stands_for(self.slot.provider, month);
        let is_for_it = stands.remove(&close);
        self.take_back(stands.into_iter().collect())?;
        if !is_for_it {
            let (author, effect) = self.provider();
            let record = author.host_vote(effect, close, Vote::For)?;
            self.add(record);
        }
        Ok(())
    }

    /// A provider is for one close of a month; for two it would count for neither.
    fn take_back(&mut self, closes: Vec<RecordId>) -> Result<(), WriteError> {
        for close in closes {
            let (author, effect) = self.provider();
            let record = author.host_vote(effect, close, Vote::Withdrawn)?;
            self.add(record);
        }
        Ok(())
    }
}
