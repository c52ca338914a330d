//! The frames of a journal, and how a reader finds them whatever lies between
//! (`docs/format.md#journal`).

use crate::accounting::calendar::Day;
use crate::accounting::figures::{NodeTotals, ROW_BYTES, Row, WireBytes, take_u32, take_u64};
use crc::{CRC_32_ISCSI, Crc};

/// What a segment begins with; the number is that of the format.
pub(super) const SEGMENT_HEADER: &[u8; 16] = b"verge journal 1\n";
/// A reader that lost its way looks for this.
const FOOTER: [u8; 4] = *b"VjF\n";
/// Length, CRC, epoch, sequence, kind.
const HEAD_BYTES: usize = 4 + 4 + 4 + 8 + 1;
/// Of the payload: a longer one is damage.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Day, hour, proxy, and four totals.
const DELTAS_HEAD_BYTES: usize = 4 + 1 + 1 + 4 * 8;
/// Day.
const SEALED_HEAD_BYTES: usize = 4;
/// Rows in one frame.
pub const FRAME_ROWS_MAX: usize = (PAYLOAD_BYTES_MAX - DELTAS_HEAD_BYTES) / ROW_BYTES;

/// CRC32C: it finds every burst of up to 32 bits.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

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

const DELTAS: u8 = 1;
const DATED: u8 = 2;
const SEALED: u8 = 3;
/// Stands for no day; no node counted on 1970-01-01.
const NO_DAY: u32 = 0;

impl Entry {
    /// The bytes of the frame.
    #[must_use]
    pub fn encode(&self, id: FrameId) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Deltas(deltas) => (DELTAS, deltas.encode()),
            Self::Dated(day) => (DATED, day.number().to_be_bytes().to_vec()),
            Self::Sealed(sealed) => (SEALED, sealed.encode()),
        };
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let mut checked = length.to_be_bytes().to_vec();
        checked.extend_from_slice(&id.epoch.to_be_bytes());
        checked.extend_from_slice(&id.sequence.to_be_bytes());
        checked.push(kind);
        checked.extend_from_slice(&payload);
        let crc = CRC.checksum(&checked);
        let (length, rest) = checked.split_at(4);
        [length, &crc.to_be_bytes(), rest, &FOOTER].concat()
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        match kind {
            DELTAS => Deltas::decode(payload).map(Self::Deltas),
            DATED => {
                let number = u32::from_be_bytes(payload.try_into().ok()?);
                read_day(number)?.map(Self::Dated)
            }
            SEALED => Sealed::decode(payload).map(Self::Sealed),
            _ => None,
        }
    }
}

/// The outer option: whether it is a day at all; the inner: whether there is one.
fn read_day(number: u32) -> Option<Option<Day>> {
    match number {
        NO_DAY => Some(None),
        number => Day::new(number).map(Some),
    }
}

fn encode_rows(bytes: &mut Vec<u8>, rows: &[Row]) {
    for row in rows {
        bytes.extend_from_slice(&row.encode());
    }
}

fn decode_rows(bytes: &[u8]) -> Option<Vec<Row>> {
    let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
    if !rest.is_empty() || rows.len() > FRAME_ROWS_MAX {
        return None;
    }
    rows.iter().map(Row::decode).collect()
}

impl Deltas {
    fn encode(&self) -> Vec<u8> {
        let day = self.day.map_or(NO_DAY, Day::number);
        let mut bytes = day.to_be_bytes().to_vec();
        bytes.extend([self.hour, u8::from(self.is_behind_proxy)]);
        let totals = &self.totals;
        for total in [
            totals.connections,
            totals.wire.0,
            totals.retransmitted.0,
            totals.errors,
        ] {
            bytes.extend_from_slice(&total.to_be_bytes());
        }
        encode_rows(&mut bytes, &self.rows);
        bytes
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        let day = read_day(take_u32(&mut rest)?)?;
        let ([hour, proxy], mut rest) = rest.split_first_chunk()?;
        let mut next = || take_u64(&mut rest);
        let totals = NodeTotals {
            connections: next()?,
            wire: WireBytes(next()?),
            retransmitted: WireBytes(next()?),
            errors: next()?,
        };
        let is_known = *hour < 24 && *proxy < 2;
        is_known.then_some(Self {
            day,
            hour: *hour,
            is_behind_proxy: *proxy == 1,
            totals,
            rows: decode_rows(rest)?,
        })
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.rows.is_empty() && self.totals.is_nothing()
    }
}

impl Sealed {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.day.number().to_be_bytes().to_vec();
        encode_rows(&mut bytes, &self.carried);
        bytes
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (day, rows) = payload.split_first_chunk::<SEALED_HEAD_BYTES>()?;
        Some(Self {
            day: read_day(u32::from_be_bytes(*day))??,
            carried: decode_rows(rows)?,
        })
    }
}

/// A frame that was found, and how many bytes it takes.
struct Found {
    id: FrameId,
    entry: Entry,
    bytes: usize,
}

/// The frame that begins with the first of `bytes`.
fn frame(bytes: &[u8]) -> Option<Found> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let whole = HEAD_BYTES.checked_add(length)?.checked_add(FOOTER.len())?;
    let whole_bytes = bytes.get(..whole)?;
    // Cheap, and wrong nearly everywhere where no frame begins.
    let (body, _) = whole_bytes
        .split_last_chunk::<4>()
        .filter(|(_, footer)| **footer == FOOTER)?;
    let (crc, _) = rest.split_first_chunk()?;
    let mut digest = CRC.digest();
    digest.update(body.get(..4)?);
    digest.update(body.get(8..)?);
    if digest.finalize() != u32::from_be_bytes(*crc) {
        return None;
    }
    let mut head = body.get(8..)?;
    let epoch = take_u32(&mut head)?;
    let sequence = take_u64(&mut head)?;
    let ([kind], payload) = head.split_first_chunk()?;
    Some(Found {
        id: FrameId { epoch, sequence },
        entry: Entry::decode(*kind, payload)?,
        bytes: whole,
    })
}

/// All frames of a segment's bytes in their order, and how many bytes are of none: after damage the
/// next whole frame is found, wherever it begins.
#[must_use]
pub fn frames(bytes: &[u8]) -> (Vec<(FrameId, Entry)>, usize) {
    let mut rest = bytes.strip_prefix(SEGMENT_HEADER).unwrap_or(bytes);
    let (mut found, mut damaged_bytes) = (Vec::new(), 0_usize);
    while !rest.is_empty() {
        if let Some(frame) = frame(rest) {
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
