//! The body of a `close` record: what a month is settled by (`docs/format.md#close`).

use crate::accounting::calendar::Month;
use crate::accounting::merkle::MerkleHash;
use crate::attribution::money::{Cents, FEES_MAX};
use verge_sync::Digest;
use verge_sync::id::RecordId;
use verge_sync::record::cbor::{self, FieldError, Fields, Map};

/// Snapshots of nodes whose disk died: 512 bytes of the record.
pub const SNAPSHOTS_MAX: usize = 16;
/// The blob of the books: 50 providers that hold 1,000 sites have 7 MB.
pub const BOOKS_BYTES_MAX: u64 = 32 << 20;
/// Names of seals in it: 128 providers with 16 nodes each seal 63,488 days in a month.
pub const SEALS_MAX: u32 = 100_000;

/// What a `close` record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseBody {
    /// Which month.
    pub month: Month,
    /// The region's step when it was closed; its policy is that of the next month.
    pub step: RecordId,
    /// The close of an earlier month that was the latest then.
    pub previous: Option<RecordId>,
    /// The BLAKE3 value of the policy that the month was divided by.
    pub policy: Digest,
    /// How many seals are in the statement.
    pub seal_count: u32,
    /// The BLAKE3 value of their names, ascending.
    pub seals: Digest,
    /// Snapshots that stand for the seal of a node whose disk died, ascending.
    pub snapshots: Vec<Digest>,
    /// The BLAKE3 value of the ids of the observations that were used, ascending.
    pub probes: Digest,
    /// The blob with everything else that the statement is worked out from, the fees apart.
    pub books: Digest,
    /// Its length.
    pub books_bytes: u64,
    /// The root of the tree over the fees.
    pub fees_root: MerkleHash,
    /// Their sum.
    pub fees_total: Cents,
    /// The digest of the statement.
    pub statement: Digest,
}

impl CloseBody {
    /// The subject of its record.
    #[must_use]
    pub fn subject(&self) -> Vec<u8> {
        self.month.number().to_be_bytes().to_vec()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`FieldError`]: it is none, or contradicts itself.
    pub fn decode(body: &[u8]) -> Result<Self, FieldError> {
        cbor::check(body).or(Err(FieldError::NotAMap))?;
        let fields = Fields::read(body)?;
        let digest = |key| fields.fixed(key).map(Digest::from_bytes);
        let snapshots = fields.ids_opt(6, SNAPSHOTS_MAX)?.unwrap_or_default();
        let read = Self {
            month: Month::new(fields.uint(0)?).ok_or(FieldError::Value(0))?,
            step: RecordId::from_bytes(fields.fixed(1)?),
            previous: fields.fixed_opt(2)?.map(RecordId::from_bytes),
            policy: digest(3)?,
            seal_count: fields.uint(4)?,
            seals: digest(5)?,
            snapshots: snapshots.into_iter().map(Digest::from_bytes).collect(),
            probes: digest(7)?,
            books: digest(8)?,
            books_bytes: fields.uint(9)?,
            fees_root: MerkleHash(fields.fixed(10)?),
            fees_total: Cents(fields.uint(11)?),
            statement: digest(12)?,
        };
        match read.wrong_key() {
            Some(key) => Err(FieldError::Value(key)),
            None => Ok(read),
        }
    }

    fn wrong_key(&self) -> Option<u64> {
        if self.seal_count > SEALS_MAX {
            return Some(4);
        }
        let names = &self.snapshots;
        if !names.is_sorted_by(|one, other| one.as_bytes() < other.as_bytes()) {
            return Some(6);
        }
        if !(1..=BOOKS_BYTES_MAX).contains(&self.books_bytes) {
            return Some(9);
        }
        (self.fees_total > FEES_MAX).then_some(11)
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let previous = self.previous.map(|id| *id.as_bytes());
        let map = Map::new()
            .uint(0, self.month.number())
            .bytes(1, self.step.as_bytes())
            .bytes_opt(2, previous.as_ref().map(<[u8; 32]>::as_slice))
            .bytes(3, self.policy.as_bytes())
            .uint(4, self.seal_count)
            .bytes(5, self.seals.as_bytes());
        let map = if self.snapshots.is_empty() {
            map
        } else {
            map.ids(6, self.snapshots.iter().map(Digest::as_bytes))
        };
        map.bytes(7, self.probes.as_bytes())
            .bytes(8, self.books.as_bytes())
            .uint(9, self.books_bytes)
            .bytes(10, &self.fees_root.0)
            .uint(11, self.fees_total.0)
            .bytes(12, self.statement.as_bytes())
            .finish()
    }
}

/// Fuzz target: what is read is written as it was, if nothing was added that this release does not
/// know.
pub(crate) fn closes(bytes: &[u8]) {
    if let Ok(read) = CloseBody::decode(bytes) {
        let written = read.encode();
        assert_eq!(CloseBody::decode(&written).as_ref(), Ok(&read));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn body() -> CloseBody {
        CloseBody {
            month: "2026-11".parse().unwrap(),
            step: RecordId::from_bytes([1; 32]),
            previous: Some(RecordId::from_bytes([2; 32])),
            policy: Digest::from_bytes([6; 32]),
            seal_count: 90,
            seals: Digest::from_bytes([7; 32]),
            snapshots: [3, 4].map(|byte| Digest::from_bytes([byte; 32])).to_vec(),
            probes: Digest::from_bytes([8; 32]),
            books: Digest::from_bytes([9; 32]),
            books_bytes: 7_000,
            fees_root: MerkleHash([5; 32]),
            fees_total: Cents(123_400),
            statement: Digest::from_bytes([10; 32]),
        }
    }

    /// Kept for ever: a later release reads what this one closed.
    #[test]
    fn golden_close_stays_what_it_is() {
        let golden = include_bytes!("../../tests/golden/close-1.cbor");
        assert_eq!(body().encode(), golden);
        assert_eq!(CloseBody::decode(golden), Ok(body()));
    }

    #[test]
    fn bodies_are_read_as_they_were_written() {
        let first = CloseBody {
            previous: None,
            snapshots: Vec::new(),
            seal_count: 0,
            ..body()
        };
        for good in [first, body()] {
            assert_eq!(CloseBody::decode(&good.encode()), Ok(good));
        }
        let most = CloseBody {
            snapshots: (0..16).map(|byte| Digest::from_bytes([byte; 32])).collect(),
            seal_count: SEALS_MAX,
            books_bytes: BOOKS_BYTES_MAX,
            fees_total: FEES_MAX,
            ..body()
        };
        let bytes = most.encode();
        // With its envelope and a signature it is a record.
        assert!(bytes.len() + 512 < verge_sync::record::RECORD_BYTES_MAX);
        assert_eq!(CloseBody::decode(&bytes), Ok(most));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        type Change = fn(&mut CloseBody);
        let wrong: [(u64, Change); 6] = [
            (4, |body| body.seal_count = SEALS_MAX + 1),
            (6, |body| body.snapshots.reverse()),
            (6, |body| {
                let digest = |byte| Digest::from_bytes([byte; 32]);
                body.snapshots = (0..17).map(digest).collect();
            }),
            (9, |body| body.books_bytes = 0),
            (9, |body| body.books_bytes = BOOKS_BYTES_MAX + 1),
            (11, |body| body.fees_total = Cents(FEES_MAX.0 + 1)),
        ];
        for (key, change) in wrong {
            let mut body = body();
            change(&mut body);
            assert_eq!(
                CloseBody::decode(&body.encode()),
                Err(FieldError::Value(key))
            );
        }
        assert!(CloseBody::decode(b"").is_err());
        let future = Map::new().uint(0, u32::MAX).finish();
        assert_eq!(CloseBody::decode(&future), Err(FieldError::Value(0)));
    }
}
