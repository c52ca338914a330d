//! The proof that a seal has a row: what an owner can keep and check without a node.

use super::Seal;
use crate::accounting::calendar::Day;
use crate::accounting::figures::{ROW_BYTES, Row};
use crate::accounting::merkle::{self, MerkleHash};
use verge_sync::Digest;
use verge_sync::id::NodeId;
use verge_sync::record::cbor::{self, FieldError, Fields, Map};

/// The most that a proof takes: a body of a record, a row, and 17 steps for 100,000 rows.
pub const PROOF_BYTES_MAX: usize = 4 << 10;

/// One row of a seal, with the body of the seal and the way to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProof {
    body: Vec<u8>,
    row: Row,
    index: u64,
    path: Vec<MerkleHash>,
}

/// What a proof shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// Who sealed it.
    pub node: NodeId,
    /// Of which day.
    pub day: Day,
    /// What.
    pub row: Row,
    /// The seal: compare it with that of a record, a close, or a statement.
    pub seal: Digest,
}

/// Why a proof shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Too long.
    #[error("{0} bytes are no proof of a row, which has at most {PROOF_BYTES_MAX}")]
    TooLong(usize),
    /// Not the bytes of a proof.
    #[error("these bytes are no proof of a row")]
    Damaged,
    /// A field that is missing or wrong.
    #[error("the proof of a row")]
    Field(#[from] FieldError),
    /// The row is not in that seal.
    #[error("the seal of this proof does not have this row")]
    NotInSeal,
}

impl RowProof {
    /// Shows row `index` of a seal; none beyond the last.
    #[must_use]
    pub fn of(seal: &Seal, index: usize) -> Option<Self> {
        Some(Self {
            body: seal.encode().body,
            row: *seal.rows.get(index)?,
            index: u64::try_from(index).ok()?,
            path: merkle::path(&seal.leaves(), index)?,
        })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Map::new()
            .bytes(0, &self.body)
            .bytes(1, &self.row.encode())
            .uint(2, self.index)
            .bytes(3, &merkle::path_bytes(&self.path))
            .finish()
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLong(bytes.len()));
        }
        cbor::check(bytes).or(Err(ProofError::Damaged))?;
        let fields = Fields::read(bytes)?;
        let body = fields.bytes_opt(0)?.ok_or(FieldError::Missing(0))?;
        let row: [u8; ROW_BYTES] = fields.fixed(1)?;
        let path = fields.bytes_opt(3)?.ok_or(FieldError::Missing(3))?;
        Ok(Self {
            body: body.to_vec(),
            row: Row::decode(&row).ok_or(FieldError::Value(1))?,
            index: fields.uint(2)?,
            path: merkle::path_from_bytes(path).ok_or(FieldError::Value(3))?,
        })
    }

    /// What it shows, if it is one.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check(&self) -> Result<Proven, ProofError> {
        cbor::check(&self.body).or(Err(ProofError::Damaged))?;
        let fields = Fields::read(&self.body)?;
        let count: u32 = fields.uint(4)?;
        let root = merkle::root_by_path(&self.row.encode(), self.index, count.into(), &self.path);
        if root != Some(MerkleHash(fields.fixed(5)?)) {
            return Err(ProofError::NotInSeal);
        }
        Ok(Proven {
            node: NodeId::from_bytes(fields.fixed(0)?),
            day: Day::new(fields.uint(1)?).ok_or(FieldError::Value(1))?,
            row: self.row,
            seal: Digest::of(&self.body),
        })
    }
}

/// Fuzz target: what is read is written and read again.
pub(crate) fn row_proofs(bytes: &[u8]) {
    if let Ok(proof) = RowProof::decode(bytes) {
        assert_eq!(RowProof::decode(&proof.encode()).as_ref(), Ok(&proof));
        let _shown = proof.check();
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::super::sample::{expected, row, seal};
    use super::*;
    use crate::accounting::figures::Class;
    use verge_sync::id::SiteId;

    #[test]
    fn a_row_is_shown_with_its_seal() {
        let seal = seal();
        for (index, row) in seal.rows.iter().enumerate() {
            let bytes = RowProof::of(&seal, index).unwrap().encode();
            let proven = RowProof::decode(&bytes).unwrap().check().unwrap();
            let expected = Proven {
                node: expected().node,
                day: expected().day,
                row: *row,
                seal: seal.encode().digest(),
            };
            assert_eq!(proven, expected);
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                let shown = RowProof::decode(&changed).and_then(|proof| proof.check());
                // Another body is another seal.
                assert!(
                    shown.is_err() || shown.is_ok_and(|shown| shown.seal != proven.seal),
                    "{at}"
                );
            }
        }
        assert_eq!(RowProof::of(&seal, seal.rows.len()), None);
    }

    #[test]
    fn a_proof_of_the_largest_seal_is_short() {
        let rows = (0..100_000_u32).map(|number| {
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
        let bytes = RowProof::of(&seal, 77_777).unwrap().encode();
        assert!(bytes.len() < 1_200, "{}", bytes.len());
        assert!(RowProof::decode(&bytes).unwrap().check().is_ok());
        assert_eq!(
            RowProof::decode(&[0; PROOF_BYTES_MAX + 1]),
            Err(ProofError::TooLong(PROOF_BYTES_MAX + 1))
        );
        assert_eq!(
            RowProof::decode(&[0xff; PROOF_BYTES_MAX]),
            Err(ProofError::Damaged)
        );
    }
}
