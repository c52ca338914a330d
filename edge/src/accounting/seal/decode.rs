//! Reading a seal of any node, and every way in which it can contradict itself.

use super::{Encoded, HOURS, Previous, REQUESTS_MIN, Seal};
use crate::accounting::calendar::Day;
use crate::accounting::figures::{
    BodyBytes, Count, CreditBytes, FIGURE_MAX, NodeTotals, ROW_BYTES, Row, WireBytes, take_u64,
};
use crate::accounting::merkle;
use verge_sync::Digest;
use verge_sync::id::{NodeId, SiteId};
use verge_sync::record::cbor::{self, CborError, FieldError, Fields};

/// Rows of one seal: 33,000 sites in all three classes, 5.7 MB.
pub const ROWS_MAX: usize = 100_000;

/// What a record says of the seal that it carries, and when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its author.
    pub node: NodeId,
    /// The day of its subject.
    pub day: Day,
    /// Today; only a day before it is over.
    pub today: Day,
}

/// Why bytes are no seal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not canonical CBOR.
    #[error("the body of the seal is damaged")]
    Cbor(#[from] CborError),
    /// A field that is missing or wrong.
    #[error("the body of the seal")]
    Field(#[from] FieldError),
    /// Of somebody else.
    #[error("the seal is of node {found}, its record is of node {expected}")]
    Node {
        /// What the seal says.
        found: NodeId,
        /// What the record says.
        expected: NodeId,
    },
    /// Of another day.
    #[error("the seal is of {found}, its record of {expected}")]
    Day {
        /// What the seal says.
        found: Day,
        /// What the record says.
        expected: Day,
    },
    /// Of a day that is not over.
    #[error("the seal is of {day}, which is not over: today is {today}")]
    NotOver {
        /// What the seal says.
        day: Day,
        /// The day of the reader.
        today: Day,
    },
    /// The one before is not before.
    #[error("the seal of {day} says that it follows one of {previous}")]
    Previous {
        /// What the seal says.
        day: Day,
        /// What it says that it follows.
        previous: Day,
    },
    /// Epochs that cannot be.
    #[error("the seal says that epochs {0} to {1} counted")]
    Epochs(u32, u32),
    /// Too many rows.
    #[error("the seal has {0} rows, a seal has at most {ROWS_MAX}")]
    TooManyRows(usize),
    /// The blob is not the one that is named.
    #[error("the rows are not those that the body of the seal names")]
    OtherRows,
    /// One of the rows.
    #[error("row {number} of the seal, of site {}: {what}", site.short())]
    Row {
        /// From 1.
        number: usize,
        /// Its site.
        site: SiteId,
        /// What is wrong with it.
        what: RowFault,
    },
    /// A row that has no class.
    #[error("row {0} of the seal has a class that this release does not know")]
    Class(usize),
    /// What the body says of the rows is not so.
    #[error("the {0} of the seal's body is not that of its rows")]
    Sum(&'static str),
}

/// What is wrong with one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// It does not come after the row before.
    #[error("it does not come after the row before it")]
    Order,
    /// Nothing, more credit than body bytes, a body where there is none, or too large.
    #[error("its figures cannot be: {0} requests, {1} credit bytes, {2} body bytes")]
    Figures(u64, u64, u64),
    /// Too few requests of the site for a row.
    #[error("{0} requests in all, a site with fewer than {REQUESTS_MIN} has no row")]
    TooFew(u64),
    /// Up to here the rows are more than a figure can be.
    #[error("with it the sums pass {FIGURE_MAX}")]
    Overflow,
}

/// The blob of rows that a body names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsNamed {
    /// Which; that of nothing, if there are no rows.
    pub blob: Digest,
    /// How long it is.
    pub bytes: u64,
}

impl RowsNamed {
    /// Reads it of a body, before the rows are here.
    ///
    /// # Errors
    /// [`SealError`]: the body is none, or names more rows than a seal has.
    pub fn of(body: &[u8]) -> Result<Self, SealError> {
        cbor::check(body)?;
        let fields = Fields::read(body)?;
        let bytes = count_of_rows(&fields)?.saturating_mul(ROW_BYTES);
        Ok(Self {
            blob: Digest::from_bytes(fields.fixed(6)?),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        })
    }
}

impl Encoded {
    /// What the body says of itself, for a seal that lies in a file and was a record's before; none if
    /// it says nothing.
    #[must_use]
    pub fn of_itself(&self) -> Option<Expected> {
        cbor::check(&self.body).ok()?;
        let fields = Fields::read(&self.body).ok()?;
        let day = Day::new(fields.uint(1).ok()?)?;
        Some(Expected {
            node: NodeId::from_bytes(fields.fixed(0).ok()?),
            day,
            today: day.next(),
        })
    }
}

impl Seal {
    /// Reads a seal: a body, and the blob of rows that it names.
    ///
    /// # Errors
    /// [`SealError`] names what contradicts what.
    pub fn decode(encoded: &Encoded, expected: &Expected) -> Result<Self, SealError> {
        cbor::check(&encoded.body)?;
        let fields = Fields::read(&encoded.body)?;
        let node = NodeId::from_bytes(fields.fixed(0)?);
        if node != expected.node {
            return Err(SealError::Node {
                found: node,
                expected: expected.node,
            });
        }
        let day = read_day(&fields, expected)?;
        let epochs = (fields.uint(2)?, fields.uint(3)?);
        if epochs.0 == 0 || epochs.0 > epochs.1 {
            return Err(SealError::Epochs(epochs.0, epochs.1));
        }
        let seal = Self {
            node,
            day,
            epochs,
            rows: read_rows(&fields, &encoded.rows)?,
            totals: NodeTotals {
                connections: figure(&fields, 10)?,
                wire: WireBytes(figure(&fields, 11)?),
                retransmitted: WireBytes(figure(&fields, 12)?),
                errors: figure(&fields, 13)?,
            },
            hours: read_hours(&fields.fixed(14)?),
            uncredited: read_count(&fields, 15)?,
            previous: read_previous(&fields, day)?,
            is_behind_proxy: fields.flag(20)?,
        };
        seal.check_sums(&fields)?;
        Ok(seal)
    }

    fn check_sums(&self, fields: &Fields<'_>) -> Result<(), SealError> {
        let said = read_count(fields, 7)?;
        // Rows whose sums do not fit are refused before.
        let sum = self.sum().ok_or(SealError::Sum("sum"))?;
        if said.requests != sum.requests {
            return Err(SealError::Sum("number of requests"));
        }
        if said.credit != sum.credit {
            return Err(SealError::Sum("number of credit bytes"));
        }
        if said.body != sum.body {
            return Err(SealError::Sum("number of body bytes"));
        }
        if fields.fixed(5)? != merkle::root(&self.leaves()).0 {
            return Err(SealError::Sum("Merkle root"));
        }
        Ok(())
    }
}

fn read_day(fields: &Fields<'_>, expected: &Expected) -> Result<Day, SealError> {
    let day = Day::new(fields.uint(1)?).ok_or(FieldError::Value(1))?;
    if day != expected.day {
        return Err(SealError::Day {
            found: day,
            expected: expected.day,
        });
    }
    if day >= expected.today {
        return Err(SealError::NotOver {
            day,
            today: expected.today,
        });
    }
    Ok(day)
}

fn read_previous(fields: &Fields<'_>, day: Day) -> Result<Option<Previous>, SealError> {
    let Some(digest) = fields.fixed_opt(19)? else {
        return match fields.raw(18) {
            None => Ok(None),
            Some(_) => Err(FieldError::Missing(19).into()),
        };
    };
    let previous = Day::new(fields.uint(18)?).ok_or(FieldError::Value(18))?;
    if previous >= day {
        return Err(SealError::Previous { day, previous });
    }
    Ok(Some(Previous {
        day: previous,
        digest: Digest::from_bytes(digest),
    }))
}

fn figure(fields: &Fields<'_>, key: u64) -> Result<u64, FieldError> {
    let figure = fields.uint(key)?;
    (figure <= FIGURE_MAX)
        .then_some(figure)
        .ok_or(FieldError::Value(key))
}

/// Three figures from `key` on.
fn read_count(fields: &Fields<'_>, key: u64) -> Result<Count, FieldError> {
    let next = |offset: u64| figure(fields, key.saturating_add(offset));
    Ok(Count {
        requests: next(0)?,
        credit: CreditBytes(next(1)?),
        body: BodyBytes(next(2)?),
    })
}

fn read_hours(bytes: &[u8; HOURS * 8]) -> [u64; HOURS] {
    let mut rest = bytes.as_slice();
    std::array::from_fn(|_hour| take_u64(&mut rest).unwrap_or_default())
}

fn count_of_rows(fields: &Fields<'_>) -> Result<usize, SealError> {
    let count: u32 = fields.uint(4)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > ROWS_MAX {
        return Err(SealError::TooManyRows(count));
    }
    Ok(count)
}

fn read_rows(fields: &Fields<'_>, blob: &[u8]) -> Result<Vec<Row>, SealError> {
    let count = count_of_rows(fields)?;
    let (chunks, rest) = blob.as_chunks::<ROW_BYTES>();
    let is_named = fields.fixed(6)? == *Digest::of(blob).as_bytes();
    if !is_named || chunks.len() != count || !rest.is_empty() {
        return Err(SealError::OtherRows);
    }
    let mut rows: Vec<Row> = Vec::with_capacity(count);
    let mut sum = Count::default();
    for (number, chunk) in (1..).zip(chunks) {
        let row = Row::decode(chunk).ok_or(SealError::Class(number))?;
        let refuse = |what| SealError::Row {
            number,
            site: row.site,
            what,
        };
        if rows
            .last()
            .is_some_and(|last| (last.site, last.class) >= (row.site, row.class))
        {
            return Err(refuse(RowFault::Order));
        }
        let count = row.count;
        if !count.fits(row.class) {
            let what = RowFault::Figures(count.requests, count.credit.0, count.body.0);
            return Err(refuse(what));
        }
        sum = sum.plus(count).ok_or_else(|| refuse(RowFault::Overflow))?;
        rows.push(row);
    }
    check_requests(&rows)?;
    Ok(rows)
}

/// A site with fewer requests would say when somebody read it.
fn check_requests(rows: &[Row]) -> Result<(), SealError> {
    let mut number = 0_usize;
    for of_site in rows.chunk_by(|one, other| one.site == other.site) {
        number = number.saturating_add(of_site.len());
        let requests = of_site.iter().map(|row| row.count.requests);
        let requests = requests.fold(0, u64::saturating_add);
        if let Some(row) = of_site.first().filter(|_| requests < REQUESTS_MIN) {
            return Err(SealError::Row {
                number,
                site: row.site,
                what: RowFault::TooFew(requests),
            });
        }
    }
    Ok(())
}

/// Fuzz target: a body of so many bytes (two, big-endian) and its rows; what is read is written as
/// it was, if nothing was added that this release does not know.
pub(crate) fn seals(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (body, rows) = rest.split_at(length);
    let encoded = Encoded {
        body: body.to_vec(),
        rows: rows.to_vec(),
    };
    let Some(expected) = encoded.of_itself() else {
        return;
    };
    if let Ok(seal) = Seal::decode(&encoded, &expected) {
        let again = seal.encode();
        assert_eq!(again.rows, encoded.rows);
        assert_eq!(Seal::decode(&again, &expected).as_ref(), Ok(&seal));
        let keys = match (seal.previous, seal.is_behind_proxy) {
            (None, false) => 18,
            (None, true) => 19,
            (Some(_), false) => 20,
            (Some(_), true) => 21,
        };
        let fields = Fields::read(body).expect("what was decoded is a map");
        if fields.len() == keys {
            assert_eq!(again.body, encoded.body);
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::super::sample::{expected, row, seal};
    use super::*;
    use crate::accounting::figures::Class;

    fn check(change: impl Fn(&mut Seal), expected_words: &str) {
        let mut seal = seal();
        change(&mut seal);
        let refused = Seal::decode(&seal.encode(), &expected());
        let words = refused.map(drop).map_err(|error| error.to_string());
        assert_eq!(words, Err(expected_words.to_owned()));
    }

    #[test]
    fn a_seal_is_read_back() {
        let seal = seal();
        let encoded = seal.encode();
        assert!(encoded.body.len() < 600, "{}", encoded.body.len());
        assert_eq!(Seal::decode(&encoded, &expected()), Ok(seal));
    }

    #[test]
    fn a_seal_of_another_node_or_day_is_refused() {
        let encoded = seal().encode();
        let words = |expected: &Expected| {
            let refused = Seal::decode(&encoded, expected);
            refused.map(drop).map_err(|error| error.to_string())
        };
        let day = |number| Day::new(number).unwrap();
        let expected = expected();
        for (expected, message) in [
            (
                Expected {
                    day: day(20_761),
                    ..expected
                },
                "the seal is of 2026-11-03, its record of 2026-11-04",
            ),
            (
                Expected {
                    today: day(20_760),
                    ..expected
                },
                "the seal is of 2026-11-03, which is not over: today is 2026-11-03",
            ),
            (
                Expected {
                    today: day(20_000),
                    ..expected
                },
                "the seal is of 2026-11-03, which is not over: today is 2024-10-04",
            ),
        ] {
            assert_eq!(words(&expected), Err(message.to_owned()));
        }
        let other = Expected {
            node: NodeId::from_bytes([2; 32]),
            ..expected
        };
        assert!(words(&other).is_err_and(|words| words.starts_with("the seal is of node 0101")));
    }

    #[test]
    fn rows_that_cannot_be_are_refused_by_their_number() {
        check(
            |seal| seal.rows.swap(1, 2),
            "row 3 of the seal, of site 0101010101: it does not come after the row before it",
        );
        check(
            |seal| seal.rows[1] = seal.rows[0],
            "row 2 of the seal, of site 0101010101: it does not come after the row before it",
        );
        check(
            |seal| seal.rows[4] = row(9, Class::Bare, 19),
            "row 5 of the seal, of site 0909090909: 19 requests in all, a site with fewer than 20 \
             has no row",
        );
        check(
            |seal| seal.rows[0].count.requests = 18,
            "row 2 of the seal, of site 0101010101: 19 requests in all, a site with fewer than 20 \
             has no row",
        );
        check(
            |seal| seal.rows[2].count.credit = CreditBytes(500_001),
            "row 3 of the seal, of site 0202020202: its figures cannot be: 500 requests, 500001 \
             credit bytes, 500000 body bytes",
        );
        check(
            |seal| seal.rows[4].count.body = BodyBytes(1),
            "row 5 of the seal, of site 0909090909: its figures cannot be: 20 requests, 0 credit \
             bytes, 1 body bytes",
        );
        check(
            |seal| {
                seal.rows[0].count.body = BodyBytes(FIGURE_MAX);
                seal.rows[2].count.body = BodyBytes(500_000);
            },
            "row 3 of the seal, of site 0202020202: with it the sums pass 72057594037927936",
        );
        check(
            |seal| seal.epochs = (5, 4),
            "the seal says that epochs 5 to 4 counted",
        );
        check(
            |seal| seal.previous.as_mut().unwrap().day = seal.day,
            "the seal of 2026-11-03 says that it follows one of 2026-11-03",
        );
    }

    #[test]
    fn a_million_rows_are_refused_before_they_are_read() {
        let many = |count: u32| {
            let rows = (0..count).map(|number| {
                let mut site = [0; 32];
                site[..4].copy_from_slice(&number.to_be_bytes());
                Row {
                    site: SiteId::from_bytes(site),
                    ..row(0, Class::Answer, 20)
                }
            });
            let seal = Seal {
                rows: rows.collect(),
                ..seal()
            };
            Seal::decode(&seal.encode(), &expected()).map(drop)
        };
        assert_eq!(many(100_000), Ok(()));
        assert_eq!(many(100_001), Err(SealError::TooManyRows(100_001)));
    }

    #[test]
    fn no_byte_can_be_changed() {
        let encoded = seal().encode();
        for at in 0..encoded.rows.len() {
            let mut changed = encoded.clone();
            changed.rows[at] ^= 1;
            assert!(
                Seal::decode(&changed, &expected()).is_err(),
                "row byte {at}"
            );
        }
        for at in 0..encoded.body.len() {
            let mut changed = encoded.clone();
            changed.body[at] ^= 1;
            // What is not derived of the rows is another seal, with another digest.
            if let Ok(other) = Seal::decode(&changed, &expected()) {
                assert_ne!(other, seal(), "body byte {at}");
                assert_ne!(changed.digest(), encoded.digest());
            }
            let cut = Encoded {
                body: encoded.body[..at].to_vec(),
                rows: encoded.rows.clone(),
            };
            assert!(Seal::decode(&cut, &expected()).is_err());
        }
    }
}
