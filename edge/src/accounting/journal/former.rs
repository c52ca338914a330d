//! The first format of a journal, in which every number has its full width: read, and never written any
//! more (`docs/format.md#journal`).

use super::frame::{CRC, DATED, DELTAS, Deltas, Entry, Found, FrameId, SEALED, Sealed, read_day};
use crate::accounting::figures::{NodeTotals, ROW_BYTES, Row, WireBytes, take_u32, take_u64};

/// What a segment begins with.
pub(super) const SEGMENT_HEADER: &[u8; 16] = b"verge journal 1\n";
const FOOTER: [u8; 4] = *b"VjF\n";
/// Length, CRC, epoch, sequence, kind.
const HEAD_BYTES: usize = 4 + 4 + 4 + 8 + 1;
/// Of the payload: a longer one is damage.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// The frame that begins with the first of `bytes`.
pub(super) fn frame(bytes: &[u8]) -> Option<Found> {
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
        entry: entry(*kind, payload)?,
        bytes: whole,
    })
}

fn entry(kind: u8, payload: &[u8]) -> Option<Entry> {
    let mut rest = payload;
    let day = read_day(take_u32(&mut rest)?.into())?;
    match kind {
        DELTAS => deltas(rest).map(|deltas| Entry::Deltas(Deltas { day, ..deltas })),
        DATED => day.filter(|_| rest.is_empty()).map(Entry::Dated),
        SEALED => Some(Entry::Sealed(Sealed {
            day: day?,
            carried: rows(rest)?,
        })),
        _ => None,
    }
}

fn deltas(rest: &[u8]) -> Option<Deltas> {
    let ([hour, proxy], mut rest) = rest.split_first_chunk()?;
    let mut next = || take_u64(&mut rest);
    let totals = NodeTotals {
        connections: next()?,
        wire: WireBytes(next()?),
        retransmitted: WireBytes(next()?),
        errors: next()?,
    };
    let is_known = *hour < 24 && *proxy < 2;
    is_known.then_some(Deltas {
        day: None,
        hour: *hour,
        is_behind_proxy: *proxy == 1,
        totals,
        rows: rows(rest)?,
    })
}

fn rows(bytes: &[u8]) -> Option<Vec<Row>> {
    let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    rows.iter().map(Row::decode).collect()
}
