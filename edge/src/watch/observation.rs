//! The body of an `observation`: what one node saw of another in one day
//! (`docs/format.md#observation`).

use verge_sync::id::SiteId;
use verge_sync::record::cbor::{self, FieldError, Fields, Map};

/// Sites in one record: 384 bytes of it.
pub const SITES_MAX: usize = 32;
/// Of these the ones that failed most often; the others are chosen by chance.
const WORST_MAX: usize = 16;
/// A row: the first bytes of a SiteId, and two counts of u16.
const ROW_BYTES: usize = 12;

/// A day of looks at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Days since 1970-01-01.
    pub day: u32,
    /// Looks that were answered rightly.
    pub answered: u32,
    /// With other bytes, or by another than the node.
    pub wrong: u32,
    /// Not, or not in time.
    pub silent: u32,
    /// Some of the sites that were looked at, ascending.
    pub sites: Vec<SiteRow>,
}

/// The same of one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteRow {
    /// The first 8 bytes of its id.
    pub site: [u8; 8],
    /// At most 65,535, as the other.
    pub answered: u16,
    /// Wrong, or not answered.
    pub failed: u16,
}

impl SiteRow {
    /// What stands for a site.
    #[must_use]
    pub fn name(site: &SiteId) -> [u8; 8] {
        let first = site.as_bytes().first_chunk().copied();
        first.unwrap_or_default()
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let (site, counts) = row.split_first_chunk()?;
        let (answered, failed) = counts.split_first_chunk()?;
        Some(Self {
            site: *site,
            answered: u16::from_be_bytes(*answered),
            failed: u16::from_be_bytes(failed.try_into().ok()?),
        })
    }
}

impl Observation {
    /// How many looks there were.
    #[must_use]
    pub fn probes(&self) -> u64 {
        u64::from(self.answered) + u64::from(self.wrong) + u64::from(self.silent)
    }

    /// Of all rows those that a record has room for: the worst, and of the rest some by chance.
    /// `below` gives one of 0 to its argument less one.
    #[must_use]
    pub fn choose(mut rows: Vec<SiteRow>, mut below: impl FnMut(u64) -> u64) -> Vec<SiteRow> {
        if rows.len() > SITES_MAX {
            rows.sort_by_key(|row| (std::cmp::Reverse(row.failed), row.answered, row.site));
            for place in WORST_MAX..SITES_MAX {
                let left = rows.len().saturating_sub(place);
                let drawn = below(u64::try_from(left).unwrap_or(1));
                let drawn = place.saturating_add(usize::try_from(drawn).unwrap_or(0));
                let last = rows.len().saturating_sub(1);
                rows.swap(place, drawn.min(last));
            }
            rows.truncate(SITES_MAX);
        }
        rows.sort_unstable();
        rows.dedup_by_key(|row| row.site);
        rows
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`FieldError`]: it is none, or contradicts itself.
    pub fn decode(body: &[u8]) -> Result<Self, FieldError> {
        cbor::check(body).or(Err(FieldError::NotAMap))?;
        let fields = Fields::read(body)?;
        let read = Self {
            day: fields.uint(0)?,
            answered: fields.uint(1)?,
            wrong: fields.uint(2)?,
            silent: fields.uint(3)?,
            sites: rows(fields.bytes_opt(4)?.unwrap_or_default()).ok_or(FieldError::Value(4))?,
        };
        if read.probes() == 0 {
            return Err(FieldError::Value(1));
        }
        let sum = |of: fn(&SiteRow) -> u16| read.sites.iter().map(|row| u64::from(of(row))).sum();
        let (answered, failed): (u64, u64) = (sum(|row| row.answered), sum(|row| row.failed));
        let is_part = answered <= u64::from(read.answered)
            && failed <= u64::from(read.wrong) + u64::from(read.silent);
        is_part.then_some(read).ok_or(FieldError::Value(4))
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut rows = Vec::with_capacity(self.sites.len() * ROW_BYTES);
        for row in &self.sites {
            rows.extend_from_slice(&row.site);
            rows.extend_from_slice(&row.answered.to_be_bytes());
            rows.extend_from_slice(&row.failed.to_be_bytes());
        }
        Map::new()
            .uint(0, self.day)
            .uint(1, self.answered)
            .uint(2, self.wrong)
            .uint(3, self.silent)
            .bytes_opt(4, (!rows.is_empty()).then_some(&rows))
            .finish()
    }
}

/// None unless they are whole, ascending, none twice and none of nothing.
fn rows(bytes: &[u8]) -> Option<Vec<SiteRow>> {
    let (chunks, rest) = bytes.as_chunks::<ROW_BYTES>();
    if !rest.is_empty() || chunks.len() > SITES_MAX {
        return None;
    }
    let rows: Vec<SiteRow> = chunks
        .iter()
        .filter_map(|row| SiteRow::decode(row))
        .collect();
    let is_sorted = rows.is_sorted_by(|one, other| one.site < other.site);
    let is_empty = |row: &SiteRow| row.answered == 0 && row.failed == 0;
    (is_sorted && !rows.iter().any(is_empty)).then_some(rows)
}

/// Fuzz target: what is read is written as it was, if nothing was added that this release does not
/// know.
pub(crate) fn observations(bytes: &[u8]) {
    if let Ok(read) = Observation::decode(bytes) {
        let written = read.encode();
        assert_eq!(Observation::decode(&written).as_ref(), Ok(&read));
        assert!(read.probes() > 0 && read.sites.len() <= SITES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn row(number: u8, answered: u16, failed: u16) -> SiteRow {
        SiteRow {
            site: [number; 8],
            answered,
            failed,
        }
    }

    fn observation() -> Observation {
        Observation {
            day: 20_784,
            answered: 138,
            wrong: 2,
            silent: 300,
            sites: vec![row(1, 100, 2), row(9, 30, 300)],
        }
    }

    /// Kept for ever, as every record that was ever written.
    #[test]
    fn kept_bytes_are_still_what_is_written_and_read() {
        let kept = include_bytes!("../../../fuzz/seeds/observations/two-sites");
        assert_eq!(observation().encode(), kept);
        assert_eq!(Observation::decode(kept), Ok(observation()));
        let kept = include_bytes!("../../../fuzz/seeds/observations/no-site");
        let plain = Observation {
            sites: vec![],
            ..observation()
        };
        assert_eq!(plain.encode(), kept);
        assert_eq!(Observation::decode(kept), Ok(plain));
    }

    #[test]
    fn what_contradicts_itself_is_none() {
        let with = |sites: Vec<SiteRow>| Observation {
            sites,
            ..observation()
        };
        let rows = [
            (with(vec![row(2, 1, 0), row(1, 1, 0)]), 4),
            (with(vec![row(1, 1, 0), row(1, 1, 0)]), 4),
            (with(vec![row(1, 0, 0)]), 4),
            (with(vec![row(1, 100, 0), row(2, 39, 0)]), 4),
            (with(vec![row(1, 0, 303)]), 4),
            (with((0..33).map(|number| row(number, 1, 0)).collect()), 4),
            (
                Observation {
                    day: 1,
                    answered: 0,
                    wrong: 0,
                    silent: 0,
                    sites: vec![],
                },
                1,
            ),
        ];
        for (wrong, key) in rows {
            let read = Observation::decode(&wrong.encode());
            assert_eq!(read, Err(FieldError::Value(key)), "{wrong:?}");
        }
        let full = with((0..32).map(|number| row(number, 1, 1)).collect());
        assert_eq!(Observation::decode(&full.encode()), Ok(full));
        let torn = Map::new()
            .uint(0, 1_u8)
            .uint(1, 1_u8)
            .uint(2, 0_u8)
            .uint(3, 0_u8);
        let torn = torn.bytes(4, &[1; 13]).finish();
        assert_eq!(Observation::decode(&torn), Err(FieldError::Value(4)));
        assert!(Observation::decode(b"").is_err());
    }

    #[test]
    fn later_keys_are_passed_over() {
        let map = Map::new().uint(0, 1_u8).uint(1, 1_u8).uint(2, 0_u8);
        let later = map.uint(3, 0_u8).text(7, "later").finish();
        assert!(Observation::decode(&later).is_ok());
    }

    #[test]
    fn the_worst_and_some_by_chance_find_room() {
        let rows: Vec<SiteRow> = (0..200)
            .map(|number| {
                row(
                    number,
                    10,
                    if number % 10 == 0 {
                        u16::from(number)
                    } else {
                        0
                    },
                )
            })
            .collect();
        let mut drawn = 0;
        let chosen = Observation::choose(rows, |count| {
            drawn += 7;
            drawn % count
        });
        assert_eq!(chosen.len(), SITES_MAX);
        assert!(chosen.is_sorted());
        let names: BTreeSet<u8> = chosen.iter().map(|row| row.site[0]).collect();
        assert_eq!(names.len(), SITES_MAX);
        let worst: BTreeSet<u8> = (50..200).step_by(10).chain([40]).collect();
        assert!(worst.len() == WORST_MAX && worst.is_subset(&names));
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_of_what_there_is(
            rows in prop::collection::btree_map(any::<[u8; 8]>(), any::<(u16, u16)>(), 0..80),
            draws: [u64; 16],
        ) {
            let rows: Vec<SiteRow> = rows
                .into_iter()
                .map(|(site, (answered, failed))| SiteRow { site, answered, failed })
                .collect();
            let mut draws = draws.into_iter();
            let chosen =
                Observation::choose(rows.clone(), |count| draws.next().unwrap_or(0) % count.max(1));
            prop_assert_eq!(chosen.len(), rows.len().min(SITES_MAX));
            prop_assert!(chosen.iter().all(|row| rows.contains(row)));
            prop_assert!(chosen.is_sorted_by(|one, other| one.site < other.site));
        }

        #[test]
        fn any_day_is_read_as_it_was_written(
            day: u32,
            (wrong, silent) in (0..9_u32, 0..9_u32),
            rows in prop::collection::btree_map(any::<[u8; 8]>(), 1..999_u16, 0..32),
        ) {
            let sites: Vec<SiteRow> = rows
                .into_iter()
                .map(|(site, answered)| SiteRow { site, answered, failed: 0 })
                .collect();
            let answered = sites.iter().map(|row| u32::from(row.answered)).sum::<u32>() + 1;
            let day = Observation { day, answered, wrong, silent, sites };
            prop_assert_eq!(Observation::decode(&day.encode()), Ok(day));
        }
    }
}
