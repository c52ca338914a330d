//! Where a manifest's tables lie: found and checked before anything is looked up in them.

use super::{Checked, INVARIANT, malformed, text};
use crate::manifest::table::{
    BLOB_BYTES, CARRIED_BYTES, CONTENT_HEAD_BYTES, DELIVERY_HEAD_BYTES, HEADER_BYTES, MAGIC,
    PATH_BYTES, PLACE_BYTES, REPRESENTATION_BYTES, SECTION_BYTES, array, index, u16_at, u32_at,
    u64_at,
};
use crate::manifest::{FORMAT, MANIFEST_BYTES_MAX, ManifestError};
use std::ops::Range;

/// Where the content part's tables lie, as ranges of the whole.
#[derive(Clone)]
pub(super) struct ContentTables {
    pub(super) whole: Range<usize>,
    pub(super) path_count: usize,
    pub(super) paths: usize,
    pub(super) types: Heap,
    pub(super) sections: Sections,
    pub(super) names: usize,
}

/// Where the delivery part's tables lie.
#[derive(Clone)]
pub(super) struct DeliveryTables {
    pub(super) start: usize,
    pub(super) pack_count: u32,
    pub(super) blob_count: usize,
    pub(super) representation_count: usize,
    pub(super) carried_count: usize,
    pub(super) places: usize,
    pub(super) representations: usize,
    pub(super) blobs: usize,
    pub(super) carried: usize,
    pub(super) types: Heap,
    pub(super) sections: Sections,
    pub(super) names: usize,
}

/// A table of end offsets and the heap that they cut into pieces.
#[derive(Clone)]
pub(super) struct Heap {
    pub(super) table: usize,
    pub(super) count: usize,
    pub(super) start: usize,
}

/// A table of (tag, length) and the bytes behind it.
#[derive(Clone)]
pub(super) struct Sections {
    pub(super) table: usize,
    pub(super) count: usize,
    pub(super) start: usize,
}

/// Cuts the bytes into content part and delivery part.
pub(super) fn parts(bytes: &[u8]) -> Checked<(Range<usize>, Range<usize>)> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MANIFEST_BYTES_MAX) {
        return Err(malformed("larger than 16 MiB"));
    }
    if bytes.get(..MAGIC.len()) != Some(MAGIC) {
        return Err(malformed("no magic"));
    }
    let short = malformed("shorter than its header says");
    let format = u32_at(bytes, 8).ok_or(short.clone())?;
    if format != FORMAT {
        return Err(ManifestError::Format(format));
    }
    if u32_at(bytes, 12) != Some(0) {
        return Err(malformed("reserved bytes are not zero"));
    }
    let length = |at| u64_at(bytes, at).and_then(|value| usize::try_from(value).ok());
    let content_end = length(16)
        .and_then(|n| n.checked_add(HEADER_BYTES))
        .ok_or(short.clone())?;
    let end = length(24)
        .and_then(|n| n.checked_add(content_end))
        .ok_or(short.clone())?;
    if end != bytes.len() {
        return Err(short);
    }
    Ok((HEADER_BYTES..content_end, content_end..end))
}

/// Walks over the tables of one part, so that none overlaps and none is left over.
struct Cursor {
    at: usize,
    end: usize,
}

impl Cursor {
    fn table(&mut self, count: usize, width: usize) -> Checked<usize> {
        let start = self.at;
        let next = count
            .checked_mul(width)
            .and_then(|bytes| start.checked_add(bytes));
        match next {
            Some(next) if next <= self.end => {
                self.at = next;
                Ok(start)
            }
            _ => Err(malformed("a table is longer than its part")),
        }
    }

    fn finish(self) -> Checked<()> {
        if self.at == self.end {
            Ok(())
        } else {
            Err(malformed("bytes are left over"))
        }
    }
}

impl ContentTables {
    pub(super) fn locate(bytes: &[u8], whole: Range<usize>) -> Checked<Self> {
        let mut cursor = Cursor {
            at: whole.start,
            end: whole.end,
        };
        let head = cursor.table(1, CONTENT_HEAD_BYTES)?;
        let count = |at| u32_at(bytes, head + at).map(index).expect(INVARIANT);
        let (path_count, type_count, section_count) = (count(4), count(8), count(12));
        let paths = cursor.table(path_count, PATH_BYTES)?;
        let type_table = cursor.table(type_count, 4)?;
        let section_table = cursor.table(section_count, SECTION_BYTES)?;
        let ends = (0..path_count).map(|at| u32_at(bytes, paths + at * PATH_BYTES + 40));
        let names = cursor.table(ascending_ends(ends)?, 1)?;
        let types = Heap::locate(bytes, &mut cursor, type_table, type_count)?;
        let sections = Sections::locate(bytes, &mut cursor, section_table, section_count)?;
        cursor.finish()?;
        for at in 0..path_count {
            let row = paths + at * PATH_BYTES;
            let media_type = u16_at(bytes, row + 44).map_or(usize::MAX, usize::from);
            if media_type >= type_count || u16_at(bytes, row + 46) != Some(0) {
                return Err(malformed("a path without a media type"));
            }
        }
        Ok(Self {
            whole,
            path_count,
            paths,
            types,
            sections,
            names,
        })
    }
}

impl DeliveryTables {
    pub(super) fn locate(bytes: &[u8], part: Range<usize>, path_count: usize) -> Checked<Self> {
        let mut cursor = Cursor {
            at: part.start,
            end: part.end,
        };
        let head = cursor.table(1, DELIVERY_HEAD_BYTES)?;
        let number = |at| u32_at(bytes, head + at).expect(INVARIANT);
        let count = |at| index(number(at));
        let (blob_count, representation_count) = (count(64), count(72));
        let (carried_count, type_count, section_count) = (count(76), count(80), count(84));
        let places = cursor.table(path_count, PLACE_BYTES)?;
        let representations = cursor.table(representation_count, REPRESENTATION_BYTES)?;
        let blobs = cursor.table(blob_count, BLOB_BYTES)?;
        let carried = cursor.table(carried_count, CARRIED_BYTES)?;
        let type_table = cursor.table(type_count, 4)?;
        let section_table = cursor.table(section_count, SECTION_BYTES)?;
        let ends = (0..carried_count).map(|at| u32_at(bytes, carried + at * CARRIED_BYTES + 56));
        let names = cursor.table(ascending_ends(ends)?, 1)?;
        let types = Heap::locate(bytes, &mut cursor, type_table, type_count)?;
        let sections = Sections::locate(bytes, &mut cursor, section_table, section_count)?;
        cursor.finish()?;
        for at in 0..carried_count {
            let row = carried + at * CARRIED_BYTES;
            let media_type = u16_at(bytes, row + 66).map_or(usize::MAX, usize::from);
            if media_type >= type_count || u32_at(bytes, row + 68) != Some(0) {
                return Err(malformed("a carried path without a media type"));
            }
        }
        for at in 0..representation_count {
            let pad = representations + at * REPRESENTATION_BYTES + 85;
            if array::<3>(bytes, pad) != Some([0; 3]) {
                return Err(malformed("reserved bytes are not zero"));
            }
        }
        Ok(Self {
            start: part.start,
            pack_count: number(68),
            blob_count,
            representation_count,
            carried_count,
            places,
            representations,
            blobs,
            carried,
            types,
            sections,
            names,
        })
    }
}

impl Heap {
    fn locate(bytes: &[u8], cursor: &mut Cursor, table: usize, count: usize) -> Checked<Self> {
        let length = ascending_ends((0..count).map(|at| u32_at(bytes, table + at * 4)))?;
        let start = cursor.table(length, 1)?;
        let heap = Self {
            table,
            count,
            start,
        };
        let mut last = "";
        for at in 0..count {
            let text = std::str::from_utf8(heap.bytes(bytes, at))
                .map_err(|_utf8| malformed("a media type is not text"))?;
            if text <= last || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
                return Err(malformed(
                    "media types are not sorted, unique and printable",
                ));
            }
            last = text;
        }
        Ok(heap)
    }

    fn bytes<'a>(&self, bytes: &'a [u8], at: usize) -> &'a [u8] {
        let end = |at: usize| {
            u32_at(bytes, self.table + at * 4)
                .map(index)
                .expect(INVARIANT)
        };
        let start = if at == 0 { 0 } else { end(at - 1) };
        bytes
            .get(self.start + start..self.start + end(at))
            .expect(INVARIANT)
    }

    pub(super) fn get<'a>(&self, bytes: &'a [u8], at: usize) -> &'a str {
        debug_assert!(at < self.count);
        text(self.bytes(bytes, at))
    }
}

impl Sections {
    fn locate(bytes: &[u8], cursor: &mut Cursor, table: usize, count: usize) -> Checked<Self> {
        let start = cursor.at;
        let mut last = None;
        for at in 0..count {
            let row = table + at * SECTION_BYTES;
            let tag = u32_at(bytes, row);
            if tag <= last {
                return Err(malformed("sections are not ascending"));
            }
            last = tag;
            cursor.table(u32_at(bytes, row + 4).map(index).expect(INVARIANT), 1)?;
        }
        Ok(Self {
            table,
            count,
            start,
        })
    }
}

/// Checks that end offsets never go back and gives the last one: the length of the heap.
fn ascending_ends(ends: impl Iterator<Item = Option<u32>>) -> Checked<usize> {
    let mut last = 0;
    for end in ends {
        let end = end.expect(INVARIANT);
        if end < last {
            return Err(malformed("end offsets go back"));
        }
        last = end;
    }
    Ok(index(last))
}
