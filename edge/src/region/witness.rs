//! What this node writes as a witness of others, and what it hands to its own.

use super::certify::{own_records, place};
use super::{RegionView, Turn, WriteError};
use crate::accounting::seal::Seal;
use crate::witness::{Checkpoint, Sender};
use std::collections::BTreeSet;
use std::sync::Arc;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::cbor::Fields;
use verge_sync::record::{Author, Effect, Kind, LogId, Record};
use verge_sync::store::StoreError;

impl RegionView {
    /// Writes how far this node saw the chains of others; what it has said last of one is not said
    /// again.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub(crate) async fn bear_witness(
        self: &Arc<Self>,
        seen: &[(NodeId, Checkpoint)],
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            seen.iter()
                .try_for_each(|(node, of)| turn.bear_witness(*node, of))
        })
        .await
    }

    /// Countersigns snapshots of which this node holds as much.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub(crate) async fn countersign_snapshots(
        self: &Arc<Self>,
        snapshots: &[RecordId],
    ) -> Result<(), WriteError> {
        self.write(|turn| {
            for snapshot in snapshots {
                let vote = turn.node.vote(*snapshot)?;
                turn.add(vote);
            }
            Ok(())
        })
        .await
    }

    /// Signs a snapshot of an open day, for this node's witnesses; it is no record of the region. All
    /// that it says was synced before.
    ///
    /// # Errors
    /// [`WriteError`].
    pub(crate) fn snapshot(&self, said: &Seal) -> Result<Record, WriteError> {
        let me = self.keys.node();
        let day = said.day.number().to_be_bytes();
        let subject = [me.as_bytes().as_slice(), day.as_slice()].concat();
        let author = Author::node(&self.keys.seed, self.region, (LogId([0; 8]), 0));
        let what = (subject, said.encode().body);
        Ok(author.foreign_aside(Kind::SNAPSHOT, what)?)
    }

    /// Makes a snapshot that another node signed a record of the region.
    ///
    /// # Errors
    /// [`StoreError`]: it is not on the disk yet.
    pub(crate) async fn publish_snapshot(&self, snapshot: Record) -> Result<(), StoreError> {
        self.replica.take_in(vec![snapshot]).await.map(drop)
    }

    /// Who may hand a snapshot in the name of `node`; none if it is no member.
    pub(crate) fn sender(&self, effect: &Effect, node: &NodeId) -> Option<Sender> {
        let known = effect.nodes.get(node).filter(|node| node.is_member)?;
        Some(Sender {
            node: known.id,
            region: self.region,
            record_key: known.body.record_key,
        })
    }

    /// The nodes that hold just what this one holds, as they say.
    pub(crate) async fn in_step(&self) -> BTreeSet<NodeId> {
        let now_ms = self.replica.now_ms();
        let core = self.replica.lock().await;
        let own = core.exchange().own_signal(now_ms).fingerprint;
        let links = core.links(now_ms);
        let in_step = links.filter(|(.., signal)| signal.is_some_and(|of| of.fingerprint == own));
        in_step.map(|(peer, ..)| peer).collect()
    }
}

impl Turn<'_> {
    fn bear_witness(&mut self, node: NodeId, seen: &Checkpoint) -> Result<(), WriteError> {
        let me = self.node.id();
        let subject = [*me.as_bytes(), *node.as_bytes()].concat();
        let own = own_records(&self.records, Kind::CHECKPOINT, me, &subject);
        let last = own.max_by_key(|record| place(record));
        let said = last.and_then(|record| {
            let fields = Fields::read(record.bytes()).ok()?;
            Checkpoint::decode(fields.raw(10)?).ok()
        });
        if said.as_ref() == Some(seen) {
            return Ok(());
        }
        let follows = last.map(Record::id).into_iter().collect();
        let what = (subject, seen.encode());
        let kind = Kind::CHECKPOINT;
        let record = self.node.foreign(&self.effect, kind, what, follows)?;
        self.add(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::calendar::Day;
    use crate::accounting::seal::sample::seal;
    use crate::region::scene::Scene;
    use crate::witness::{Chains, Letter, Snapshot, orphans, published};
    use verge_sync::Digest;
    use verge_sync::record::body::HostProof;

    async fn opened(scene: &Scene, number: u8, folder: &std::path::Path) -> Arc<RegionView> {
        let data = folder.join(number.to_string());
        scene.store(number, &data).await;
        Arc::new(scene.open(number, &data))
    }

    fn written(region: &RegionView, kind: Kind) -> Vec<(u32, usize)> {
        let effect = region.effect();
        let records = effect.records();
        let of_kind = records.filter(|record| record.envelope().kind == kind);
        let mut places: Vec<_> = of_kind
            .map(|record| record.envelope())
            .map(|envelope| (envelope.sequence, envelope.predecessors.len()))
            .collect();
        places.sort_unstable();
        places
    }

    #[tokio::test]
    async fn what_was_seen_is_written_once_and_in_a_row() {
        let scene = Scene::new(3, HostProof::None);
        let folder = tempfile::tempdir().unwrap();
        let region = opened(&scene, 0, folder.path()).await;
        let seen = |day| Checkpoint {
            day: Day::new(day).unwrap(),
            digest: Digest::of(b"seal"),
            count: 1,
            is_forked: false,
        };
        let (one, two) = (scene.node(1), scene.node(2));
        let both = [(one, seen(7)), (two, seen(7))];
        region.bear_witness(&both).await.unwrap();
        region.bear_witness(&both).await.unwrap();
        assert_eq!(written(&region, Kind::CHECKPOINT), [(1, 0), (1, 0)]);
        region.bear_witness(&[(one, seen(14))]).await.unwrap();
        assert_eq!(written(&region, Kind::CHECKPOINT), [(1, 0), (1, 0), (2, 1)]);
        assert!(region.effect().evidence.is_empty());
    }

    #[tokio::test]
    async fn a_snapshot_goes_from_its_node_to_a_witness_and_into_the_records() {
        let scene = Scene::new(2, HostProof::None);
        let folder = tempfile::tempdir().unwrap();
        let node = opened(&scene, 0, folder.path()).await;
        let witness = opened(&scene, 1, folder.path()).await;
        let said = Seal {
            node: scene.node(0),
            previous: None,
            ..seal()
        };
        let record = node.snapshot(&said).unwrap();
        let rows = said.encode().rows;
        let letter = Letter::Keep(record.bytes(), &rows).encode();
        let Some(Letter::Keep(bytes, rows)) = Letter::decode(&letter) else {
            panic!("a letter");
        };
        let sender = witness.sender(&witness.effect(), &scene.node(0)).unwrap();
        let taken = Snapshot::read((bytes, rows), &sender).unwrap();
        let id = taken.record.id();
        for _twice in 0..2 {
            let snapshot = taken.record.clone();
            witness.publish_snapshot(snapshot).await.unwrap();
        }
        assert_eq!(written(&witness, Kind::SNAPSHOT), [(1, 0)]);
        witness.countersign_snapshots(&[id]).await.unwrap();
        let effect = witness.effect();
        let found = published(&effect);
        assert_eq!(found.len(), 1);
        assert!(found[0].countersigners.contains(&scene.node(1)));
        // All others are one.
        let orphans = orphans(&effect, &Chains::of(&effect));
        let orphan = &orphans[&(said.node, said.day)];
        assert_eq!(orphan.digest, said.encode().digest());
        assert!(effect.evidence.is_empty());
    }
}
