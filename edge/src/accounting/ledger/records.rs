//! Which `seal` records are looked at: pure.

use crate::accounting::calendar::Day;
use crate::accounting::seal::RowsNamed;
use std::collections::BTreeMap;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::cbor::Fields;
use verge_sync::record::{Effect, Kind, Record};

/// Rows are kept for a month, the month in which it is closed, and 90 days after that; then only the
/// body is, with its sums and its root.
pub const ROWS_KEPT_DAYS: u32 = 31 + 31 + 90;
/// Of seals that a node wrote for one day so many are looked at, in the order of their places: the
/// second proves that the node contradicts itself, and nobody can make others keep any number of
/// rows.
pub const SEALS_OF_DAY_MAX: usize = 4;

/// A record that says that it has the seal of a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notice<'r> {
    pub(super) record: RecordId,
    pub(super) node: NodeId,
    pub(super) day: Day,
    pub(super) body: &'r [u8],
    place: (u32, u32, RecordId),
}

impl Notice<'_> {
    /// The name of the seal.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.body)
    }

    /// Whether its rows are old enough to be gone.
    pub(super) fn is_aged(&self, today: Day) -> bool {
        self.day < today.minus(ROWS_KEPT_DAYS)
    }
}

/// All of them, by node and day; of each day the first, each seal once.
pub(super) fn notices(effect: &Effect) -> BTreeMap<(NodeId, Day), Vec<Notice<'_>>> {
    let mut days: BTreeMap<(NodeId, Day), Vec<Notice<'_>>> = BTreeMap::new();
    let records = effect.records();
    let seals = records.filter(|record| record.envelope().kind == Kind::SEAL);
    for notice in seals.filter_map(|record| read(effect, record)) {
        days.entry((notice.node, notice.day))
            .or_default()
            .push(notice);
    }
    for notices in days.values_mut() {
        notices.sort_by_key(|notice| notice.place);
        let mut known: Vec<&[u8]> = Vec::new();
        notices.retain(|notice| {
            let is_new = !known.contains(&notice.body) && known.len() < SEALS_OF_DAY_MAX;
            known.extend(is_new.then_some(notice.body));
            is_new
        });
    }
    days
}

/// None of what is removed, and of what is no seal of a day from the outside.
fn read<'r>(effect: &Effect, record: &'r Record) -> Option<Notice<'r>> {
    let envelope = record.envelope();
    let node = envelope.author.node();
    let (author, day) = envelope.subject.split_first_chunk::<32>()?;
    let day = Day::new(u32::from_be_bytes(day.try_into().ok()?))?;
    if author != node.as_bytes() || !effect.heeds_of_node(record) {
        return None;
    }
    Some(Notice {
        record: record.id(),
        node,
        day,
        body: Fields::read(record.bytes()).ok()?.raw(10)?,
        place: (envelope.epoch, envelope.sequence, record.id()),
    })
}

/// The blobs that they name and that are still kept; `today` is the day of the reader.
pub fn named_rows(effect: &Effect, today: Day) -> impl Iterator<Item = Digest> {
    let notices = notices(effect).into_values().flatten();
    let kept = notices.filter(move |notice| !notice.is_aged(today));
    let named = kept.filter_map(|notice| RowsNamed::of(notice.body).ok());
    named.map(|rows| rows.blob)
}
