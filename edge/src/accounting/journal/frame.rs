//! The frames of a journal, and how a reader finds them whatever lies between
//! (`docs/format.md#journal`).

use super::{former, varint};
use crate::accounting::calendar::Day;
use crate::accounting::figures::{
    BodyBytes, Class, Count, CreditBytes, NodeTotals, Row, WireBytes,
};
use crc::{CRC_32_ISCSI, Crc};
use verge_sync::id::SiteId;

/// What a segment begins with; the number is that of the format.
pub(super) const SEGMENT_HEADER: &[u8; 16] = b"verge journal 2\n";
/// A reader that lost its way looks for this; each format has its own, so that a frame is read as what
/// it is also where the header is damaged.
const FOOTER: [u8; 4] = *b"VjG\n";
const CRC_BYTES: usize = 4;
/// From the epoch to the end of the payload: a longer one is damage.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Day, hour and proxy, and four totals; before them epoch, sequence and kind.
const HEAD_BYTES_MAX: usize = 5 + 1 + 4 * varint::BYTES_MAX + 5 + varint::BYTES_MAX + 1;
/// Site, class, and three figures.
const ROW_BYTES_MAX: usize = 32 + 1 + 3 * varint::BYTES_MAX;
/// Rows in one frame.
pub const FRAME_ROWS_MAX: usize = (BODY_BYTES_MAX - HEAD_BYTES_MAX) / ROW_BYTES_MAX;

/// CRC32C: it finds every burst of up to 32 bits.
pub(super) const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Which frame of which start of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId {
    /// The start.
    pub epoch: u32,
    /// From 1 in each epoch.
    pub sequence: u64,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// What was counted since the frame before.
    Deltas(Deltas),
    /// What was counted without a day, because the clock was not believed, was counted on this one.
    Dated(Day),
    /// The day is sealed, and what was too little for it is carried on: in several frames of the same
    /// day, if a frame has no room for all of it.
    Sealed(Sealed),
}

/// What changed in about a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deltas {
    /// None while the clock is not believed.
    pub day: Option<Day>,
    /// 0 to 23.
    pub hour: u8,
    /// Whether visitors came through a proxy.
    pub is_behind_proxy: bool,
    /// Of all connections.
    pub totals: NodeTotals,
    /// Of changed sites, each site and class once; at most [`FRAME_ROWS_MAX`].
    pub rows: Vec<Row>,
}

/// A day that was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which.
    pub day: Day,
    /// A part of what is carried; at most [`FRAME_ROWS_MAX`].
    pub carried: Vec<Row>,
}

pub(super) const DELTAS: u8 = 1;
pub(super) const DATED: u8 = 2;
pub(super) const SEALED: u8 = 3;
/// Stands for no day; no node counted on 1970-01-01.
const NO_DAY: u32 = 0;
/// Beside the hour: that visitors came through a proxy.
const BEHIND_PROXY: u8 = 0x80;

impl Entry {
    /// The bytes of the frame.
    #[must_use]
    pub fn encode(&self, id: FrameId) -> Vec<u8> {
        let mut body = Vec::new();
        varint::put(&mut body, id.epoch.into());
        varint::put(&mut body, id.sequence);
        match self {
            Self::Deltas(deltas) => {
                body.push(DELTAS);
                deltas.put(&mut body);
            }
            Self::Dated(day) => {
                body.push(DATED);
                varint::put(&mut body, day.number().into());
            }
            Self::Sealed(sealed) => {
                body.push(SEALED);
                varint::put(&mut body, sealed.day.number().into());
                put_rows(&mut body, &sealed.carried);
            }
        }
        let mut checked = Vec::with_capacity(body.len().saturating_add(varint::BYTES_MAX));
        varint::put(&mut checked, u64::try_from(body.len()).unwrap_or(u64::MAX));
        checked.extend_from_slice(&body);
        let crc = CRC.checksum(&checked).to_be_bytes();
        [&crc[..], &checked, &FOOTER].concat()
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        let day = read_day(varint::take(&mut rest)?)?;
        match kind {
            DELTAS => Deltas::take(day, rest).map(Self::Deltas),
            DATED => day.filter(|_| rest.is_empty()).map(Self::Dated),
            SEALED => Some(Self::Sealed(Sealed {
                day: day?,
                carried: take_rows(rest)?,
            })),
            _ => None,
        }
    }
}

/// The outer option: whether it is a day at all; the inner: whether there is one.
pub(super) fn read_day(number: u64) -> Option<Option<Day>> {
    match u32::try_from(number).ok()? {
        NO_DAY => Some(None),
        number => Day::new(number).map(Some),
    }
}

/// With the whole id of each site: numbers for them would have to be looked up in another frame, and
/// damage to that one would cost what this one counted.
fn put_rows(bytes: &mut Vec<u8>, rows: &[Row]) {
    for row in rows {
        bytes.extend_from_slice(row.site.as_bytes());
        bytes.push(row.class.code());
        let count = &row.count;
        for figure in [count.requests, count.credit.0, count.body.0] {
            varint::put(bytes, figure);
        }
    }
}

/// All that is left is rows, at most as many as there is room for.
fn take_rows(bytes: &[u8]) -> Option<Vec<Row>> {
    let (mut rest, mut rows) = (bytes, Vec::new());
    while !rest.is_empty() {
        rows.push(take_row(&mut rest)?);
    }
    Some(rows)
}

fn take_row(rest: &mut &[u8]) -> Option<Row> {
    let (site, tail) = rest.split_first_chunk::<32>()?;
    let ([class], mut tail) = tail.split_first_chunk()?;
    let mut next = || varint::take(&mut tail);
    let count = Count {
        requests: next()?,
        credit: CreditBytes(next()?),
        body: BodyBytes(next()?),
    };
    *rest = tail;
    Some(Row {
        site: SiteId::from_bytes(*site),
        class: Class::from_code(*class)?,
        count,
    })
}

impl Deltas {
    fn put(&self, bytes: &mut Vec<u8>) {
        varint::put(bytes, self.day.map_or(NO_DAY, Day::number).into());
        let proxy = if self.is_behind_proxy {
            BEHIND_PROXY
        } else {
            0
        };
        bytes.push(self.hour | proxy);
        let totals = &self.totals;
        for total in [
            totals.connections,
            totals.wire.0,
            totals.retransmitted.0,
            totals.errors,
        ] {
            varint::put(bytes, total);
        }
        put_rows(bytes, &self.rows);
    }

    fn take(day: Option<Day>, bytes: &[u8]) -> Option<Self> {
        let ([hour], mut rest) = bytes.split_first_chunk()?;
        let mut next = || varint::take(&mut rest);
        let totals = NodeTotals {
            connections: next()?,
            wire: WireBytes(next()?),
            retransmitted: WireBytes(next()?),
            errors: next()?,
        };
        let (hour, is_behind_proxy) = (hour & !BEHIND_PROXY, hour & BEHIND_PROXY != 0);
        (hour < 24).then_some(Self {
            day,
            hour,
            is_behind_proxy,
            totals,
            rows: take_rows(rest)?,
        })
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.rows.is_empty() && self.totals.is_nothing()
    }
}

/// A frame that was found, and how many bytes it takes.
pub(super) struct Found {
    pub(super) id: FrameId,
    pub(super) entry: Entry,
    pub(super) bytes: usize,
}

/// The frame that begins with the first of `bytes`.
fn frame(bytes: &[u8]) -> Option<Found> {
    let (crc, checked) = bytes.split_first_chunk::<CRC_BYTES>()?;
    let mut rest = checked;
    let length = usize::try_from(varint::take(&mut rest)?).ok()?;
    if length > BODY_BYTES_MAX {
        return None;
    }
    let (mut body, tail) = rest.split_at_checked(length)?;
    // Cheap, and wrong nearly everywhere where no frame begins.
    let tail = tail.strip_prefix(&FOOTER)?;
    let checked_bytes = checked.len().checked_sub(tail.len())?;
    let checked = checked.get(..checked_bytes.checked_sub(FOOTER.len())?)?;
    if CRC.checksum(checked) != u32::from_be_bytes(*crc) {
        return None;
    }
    let epoch = u32::try_from(varint::take(&mut body)?).ok()?;
    let sequence = varint::take(&mut body)?;
    let ([kind], payload) = body.split_first_chunk()?;
    Some(Found {
        id: FrameId { epoch, sequence },
        entry: Entry::decode(*kind, payload)?,
        bytes: bytes.len().checked_sub(tail.len())?,
    })
}

/// All frames of a segment's bytes in their order, and how many bytes are of none: after damage the
/// next whole frame is found, wherever it begins.
#[must_use]
pub fn frames(bytes: &[u8]) -> (Vec<(FrameId, Entry)>, usize) {
    let headers = [SEGMENT_HEADER, former::SEGMENT_HEADER];
    let mut without = headers
        .iter()
        .filter_map(|header| bytes.strip_prefix(*header));
    let mut rest = without.next().unwrap_or(bytes);
    let (mut found, mut damaged_bytes) = (Vec::new(), 0_usize);
    while !rest.is_empty() {
        if let Some(frame) = frame(rest).or_else(|| former::frame(rest)) {
            found.push((frame.id, frame.entry));
            rest = rest.get(frame.bytes..).unwrap_or_default();
        } else {
            damaged_bytes = damaged_bytes.saturating_add(1);
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    (found, damaged_bytes)
}

/// Fuzz target: a segment of any bytes is read, and what is read of it is written and read again.
pub(crate) fn segments(bytes: &[u8]) {
    let (found, damaged_bytes) = frames(bytes);
    assert!(damaged_bytes <= bytes.len());
    let written: Vec<u8> = found
        .iter()
        .flat_map(|(id, entry)| entry.encode(*id))
        .collect();
    assert_eq!(frames(&written), (found.clone(), 0));
    let _replayed = super::replay::Replay::of(found, None);
}
