//! What this node says that it served: the seal of a day, once.

use super::certify::own_records;
use super::{RegionView, Turn, WriteError};
use crate::accounting::calendar::Day;
use std::sync::Arc;
use verge_sync::id::RecordId;
use verge_sync::record::Kind;
use verge_sync::record::cbor::Fields;

impl RegionView {
    /// Signs the body of a day's seal, whose rows are here already. What it says was synced before.
    /// If just that was signed before, nothing is written.
    ///
    /// # Errors
    /// [`WriteError::SealedBefore`] if something else was; [`WriteError`]. Nothing was written then.
    pub(crate) async fn seal(
        self: &Arc<Self>,
        day: Day,
        body: &[u8],
    ) -> Result<RecordId, WriteError> {
        let mut id = None;
        self.write(|turn| {
            id = Some(turn.seal(day, body)?);
            Ok(())
        })
        .await?;
        id.ok_or(WriteError::Stopping)
    }
}

impl Turn<'_> {
    fn seal(&mut self, day: Day, body: &[u8]) -> Result<RecordId, WriteError> {
        let me = self.node.id();
        let number = day.number().to_be_bytes();
        let subject = [me.as_bytes().as_slice(), number.as_slice()].concat();
        let mut is_sealed = false;
        for record in own_records(&self.records, Kind::SEAL, me, &subject) {
            let fields = Fields::read(record.bytes()).ok();
            if fields.as_ref().and_then(|fields| fields.raw(10)) == Some(body) {
                return Ok(record.id());
            }
            is_sealed = true;
        }
        if is_sealed {
            return Err(WriteError::SealedBefore(day));
        }
        let what = (subject, body.to_vec());
        let record = self
            .node
            .foreign(&self.effect, Kind::SEAL, what, Vec::new())?;
        Ok(self.add(record).id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::books::OwnSeals;
    use crate::accounting::ledger::ROWS_KEPT_DAYS;
    use crate::accounting::seal::sample::seal;
    use crate::region::scene::Scene;
    use std::collections::BTreeSet;
    use verge_sync::Digest;
    use verge_sync::content::Thrift;
    use verge_sync::record::body::HostProof;

    #[tokio::test]
    async fn a_day_is_sealed_once() {
        let scene = Scene::new(2, HostProof::None);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("node");
        scene.store(0, &data).await;
        let region = Arc::new(scene.open(0, &data));
        let day = Day::new(20_760).unwrap();
        let body = seal().encode().body;
        let id = region.seal(day, &body).await.unwrap();
        assert_eq!(region.seal(day, &body).await.unwrap(), id);
        let mut other = seal();
        other.rows.remove(0);
        let again = region.seal(day, &other.encode().body).await;
        assert!(matches!(again, Err(WriteError::SealedBefore(of)) if of == day));
        region.seal(day.next(), &body).await.unwrap();
        let own = OwnSeals::of(&region.effect(), scene.node(0));
        assert_eq!(own.last(), Some(day.next()));
        assert_eq!(own.epoch_max(), 5);
        assert!(region.effect().evidence.is_empty());
    }
    #[tokio::test]
    async fn the_collector_leaves_the_rows_of_seals() {
        let scene = Scene::new(2, HostProof::None);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("node");
        scene.store(0, &data).await;
        let region = Arc::new(scene.open(0, &data));
        let sealed = seal();
        region.believe(sealed.day.next().begins_s());
        let encoded = sealed.encode();
        region.seal(sealed.day, &encoded.body).await.unwrap();
        let thrift = Thrift::new(0, BTreeSet::new());
        let rows = Digest::of(&encoded.rows);
        let is_live = || region.live_blobs(&thrift).unwrap().contains(&rows);
        assert!(is_live());
        let days = u64::from(ROWS_KEPT_DAYS) * 86_400;
        region.believe(sealed.day.begins_s() + days);
        assert!(is_live());
        region.believe(sealed.day.next().begins_s() + days);
        assert!(!is_live());
    }
}
