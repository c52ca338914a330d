//! What this node has sealed, as the region's records know it: pure.

use crate::accounting::calendar::Day;
use crate::accounting::seal::{Encoded, Previous};
use std::collections::BTreeMap;
use verge_sync::Digest;
use verge_sync::id::NodeId;
use verge_sync::record::cbor::Fields;
use verge_sync::record::{Effect, Kind};

/// Bodies of this node's own seals, by day; of several of a day all, though there ought to be one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnSeals {
    pub(super) bodies: BTreeMap<Day, Vec<Vec<u8>>>,
    epoch_max: u32,
}

impl OwnSeals {
    /// Reads them.
    #[must_use]
    pub fn of(effect: &Effect, node: NodeId) -> Self {
        let mut own = Self::default();
        for record in effect.records() {
            let envelope = record.envelope();
            if envelope.kind != Kind::SEAL || envelope.author.node() != node {
                continue;
            }
            let day = envelope.subject.last_chunk().copied();
            let day = day.map(u32::from_be_bytes).and_then(Day::new);
            let fields = Fields::read(record.bytes()).ok();
            let body = fields.as_ref().and_then(|fields| fields.raw(10));
            if let (Some(day), Some(body)) = (day, body) {
                own.add(day, body.to_vec());
            }
        }
        own
    }

    pub(super) fn add(&mut self, day: Day, body: Vec<u8>) {
        let fields = Fields::read(&body).ok();
        let epoch = fields.and_then(|fields| fields.uint(3).ok());
        self.epoch_max = self.epoch_max.max(epoch.unwrap_or(0));
        self.bodies.entry(day).or_default().push(body);
    }

    /// The last epoch that any of them counted.
    #[must_use]
    pub fn epoch_max(&self) -> u32 {
        self.epoch_max
    }

    /// The last day that is sealed.
    #[must_use]
    pub fn last(&self) -> Option<Day> {
        self.bodies.keys().next_back().copied()
    }

    /// The seal before that of `day`.
    #[must_use]
    pub fn before(&self, day: Day) -> Option<Previous> {
        let (day, bodies) = self.bodies.range(..day).next_back()?;
        Some(Previous {
            day: *day,
            digest: bodies.first().map(|body| Digest::of(body))?,
        })
    }

    /// Whether one of them is of `day`, or of a later one.
    pub(super) fn is_past(&self, day: Day) -> bool {
        self.last().is_some_and(|last| last >= day)
    }

    /// Whether just that is sealed.
    pub(super) fn says(&self, day: Day, encoded: &Encoded) -> bool {
        let bodies = self.bodies.get(&day);
        bodies.is_some_and(|bodies| bodies.contains(&encoded.body))
    }
}
