//! What this node writes of the others: a day of looks at each.

use super::certify::{own_records, place};
use super::{RegionView, Turn, WriteError};
use crate::watch::observation::Observation;
use std::sync::Arc;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::Kind;
use verge_sync::record::cbor::Fields;

impl RegionView {
    /// Writes what was seen of other nodes; a day of which something is written already is left.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub(crate) async fn observe(
        self: &Arc<Self>,
        seen: &[(NodeId, Observation)],
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            seen.iter()
                .try_for_each(|(node, of)| turn.observe(*node, of))
        })
        .await
    }
}

impl Turn<'_> {
    fn observe(&mut self, node: NodeId, seen: &Observation) -> Result<(), WriteError> {
        let me = self.node.id();
        let subject = [*me.as_bytes(), *node.as_bytes()].concat();
        let own = own_records(&self.records, Kind::OBSERVATION, me, &subject);
        let mut last: Option<((u32, u32, RecordId), RecordId)> = None;
        for record in own {
            let fields = Fields::read(record.bytes()).ok();
            let body = fields.as_ref().and_then(|fields| fields.raw(10));
            let written = body.and_then(|body| Observation::decode(body).ok());
            if written.is_some_and(|written| written.day == seen.day) {
                return Ok(());
            }
            last = last.max(Some((place(record), record.id())));
        }
        let follows = last.map(|(_, id)| id).into_iter().collect();
        // The record that it follows may be one of this turn.
        self.settle()?;
        let what = (subject, seen.encode());
        let record = self
            .node
            .foreign(&self.effect, Kind::OBSERVATION, what, follows)?;
        self.add(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::scene::Scene;
    use verge_sync::record::body::HostProof;

    fn day(day: u32) -> Observation {
        Observation {
            day,
            answered: 3,
            wrong: 1,
            silent: 0,
            sites: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_day_of_each_node_is_written_once() {
        let scene = Scene::new(3, HostProof::None);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("node");
        scene.store(0, &data).await;
        let region = Arc::new(scene.open(0, &data));
        let written = |region: &RegionView| {
            let effect = region.effect();
            let records = effect.records();
            let own = records.filter(|record| record.envelope().kind == Kind::OBSERVATION);
            let mut places: Vec<(u32, usize)> = own
                .map(|record| record.envelope())
                .map(|envelope| (envelope.sequence, envelope.predecessors.len()))
                .collect();
            places.sort_unstable();
            places
        };
        let (one, two) = (scene.node(1), scene.node(2));
        let days = [(one, day(7)), (two, day(7)), (one, day(8))];
        region.observe(&days).await.unwrap();
        assert_eq!(written(&region), [(1, 0), (1, 0), (2, 1)]);
        let days = [(one, day(8)), (two, day(7)), (two, day(9))];
        region.observe(&days).await.unwrap();
        assert_eq!(written(&region), [(1, 0), (1, 0), (2, 1), (2, 1)]);
        let stranger = (NodeId::from_bytes([9; 32]), day(7));
        assert!(region.observe(&[stranger]).await.is_err());
        assert!(region.effect().evidence.is_empty());
    }
}
