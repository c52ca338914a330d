//! What owners paid: the file in which a steward writes it, and the tree by which each owner can
//! check its own row of it without seeing the others'.

mod csv;
mod proof;

pub(crate) use csv::fees;
pub use csv::{FeesError, FeesFault, ROWS_MAX, read, with_salts};
pub(crate) use proof::fee_proofs;
pub use proof::{FeeProof, FeeProofError};

use super::money::Cents;
use crate::accounting::merkle::{self, MerkleHash};
use std::collections::BTreeMap;
use verge_sync::id::AccountId;

/// 16 random bytes, so that nobody finds an amount by trying them all against the tree.
pub type Salt = [u8; 16];

/// A row of the tree: AccountId, cents u64 big-endian, salt.
const ROW_BYTES: usize = 32 + 8 + 16;

/// What one owner paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee {
    /// 0: sponsored.
    pub cents: Cents,
    /// See [`Salt`].
    pub salt: Salt,
}

/// What all owners paid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fees(pub BTreeMap<AccountId, Fee>);

impl Fees {
    fn leaves(&self) -> Vec<MerkleHash> {
        merkle::leaves(self.0.iter().map(|(owner, fee)| fee_row(owner, fee)))
    }

    /// What a `close` has of the fees, beside their total.
    #[must_use]
    pub fn root(&self) -> MerkleHash {
        merkle::root(&self.leaves())
    }

    /// The proof of each owner's row.
    #[must_use]
    pub fn proofs(&self) -> BTreeMap<AccountId, FeeProof> {
        let (_, paths) = merkle::paths(&self.leaves());
        let count = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        let rows = self.0.iter().zip(paths).zip(0..);
        rows.map(|(((owner, fee), path), index)| {
            let proof = FeeProof {
                owner: *owner,
                fee: *fee,
                index,
                count,
                path,
            };
            (*owner, proof)
        })
        .collect()
    }
}

fn fee_row(owner: &AccountId, fee: &Fee) -> Vec<u8> {
    let mut row = Vec::with_capacity(ROW_BYTES);
    row.extend_from_slice(owner.as_bytes());
    row.extend_from_slice(&fee.cents.0.to_be_bytes());
    row.extend_from_slice(&fee.salt);
    row
}
