//! What a seal says, and its bytes (`docs/format.md#seal`).

use crate::accounting::calendar::Day;
use crate::accounting::figures::{Count, NodeTotals, ROW_BYTES, Row};
use crate::accounting::merkle::{self, MerkleHash};
use verge_sync::Digest;
use verge_sync::id::NodeId;
use verge_sync::record::cbor::Map;

/// Hours of a day.
pub const HOURS: usize = 24;

/// What a node counted in one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Who counted.
    pub node: NodeId,
    /// When.
    pub day: Day,
    /// The first and the last start of the node that counted in it.
    pub epochs: (u32, u32),
    /// By site and class, ascending.
    pub rows: Vec<Row>,
    /// Of all connections.
    pub totals: NodeTotals,
    /// Units of each hour in which at least ten sites were served; 0 for the others.
    pub hours: [u64; HOURS],
    /// What was too little to have a row.
    pub uncredited: Count,
    /// The seal before this one; the days between had nothing to count.
    pub previous: Option<Previous>,
    /// Whether visitors came through a proxy, so that bytes are those that were delivered to it.
    pub is_behind_proxy: bool,
}

/// The seal before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// Of which day.
    pub day: Day,
    /// [`Encoded::digest`] of it.
    pub digest: Digest,
}

/// A seal as it is stored and passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// What the record carries.
    pub body: Vec<u8>,
    /// The blob that the body names.
    pub rows: Vec<u8>,
}

impl Encoded {
    /// The name of the seal: the BLAKE3 value of its body.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.body)
    }
}

impl Seal {
    /// The sum of all rows; none if it does not fit.
    #[must_use]
    pub fn sum(&self) -> Option<Count> {
        let counts = self.rows.iter().map(|row| row.count);
        counts.into_iter().try_fold(Count::default(), Count::plus)
    }

    /// The leaves of the tree over its rows.
    #[must_use]
    pub fn leaves(&self) -> Vec<MerkleHash> {
        merkle::leaves(self.rows.iter().map(Row::encode))
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let mut rows = Vec::with_capacity(self.rows.len().saturating_mul(ROW_BYTES));
        for row in &self.rows {
            rows.extend_from_slice(&row.encode());
        }
        let sum = self.sum().unwrap_or_default();
        let count = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let hours: Vec<u8> = self
            .hours
            .iter()
            .flat_map(|units| units.to_be_bytes())
            .collect();
        let map = Map::new()
            .bytes(0, self.node.as_bytes())
            .uint(1, self.day.number())
            .uint(2, self.epochs.0)
            .uint(3, self.epochs.1)
            .uint(4, count)
            .bytes(5, &merkle::root(&self.leaves()).0)
            .bytes(6, Digest::of(&rows).as_bytes())
            .uint(7, sum.requests)
            .uint(8, sum.credit.0)
            .uint(9, sum.body.0)
            .uint(10, self.totals.connections)
            .uint(11, self.totals.wire.0)
            .uint(12, self.totals.retransmitted.0)
            .uint(13, self.totals.errors)
            .bytes(14, &hours)
            .uint(15, self.uncredited.requests)
            .uint(16, self.uncredited.credit.0)
            .uint(17, self.uncredited.body.0);
        let map = match self.previous {
            None => map,
            Some(previous) => map
                .uint(18, previous.day.number())
                .bytes(19, previous.digest.as_bytes()),
        };
        Encoded {
            body: map.flag(20, self.is_behind_proxy).finish(),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RowProof, sample};

    /// Kept for ever: a later release reads what this one sealed.
    #[test]
    fn golden_seals_and_proofs_stay_what_they_are() {
        let seal = sample::seal();
        let file = crate::attribution::statement::seal_file(&seal).1;
        assert_eq!(file, include_bytes!("../../../tests/golden/seal-1.seal"));
        let proof = RowProof::of(&seal, 2).unwrap().encode();
        let golden = include_bytes!("../../../tests/golden/row-proof-1.cbor");
        assert_eq!(proof, golden);
        let proven = RowProof::decode(golden).unwrap().check().unwrap();
        assert_eq!(proven.seal, seal.encode().digest());
    }
}
