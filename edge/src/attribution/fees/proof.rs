//! One owner's row of the fees, with the way to the root that a `close` names.

use super::{Fee, fee_row};
use crate::accounting::merkle::{self, MerkleHash};
use crate::attribution::money::Cents;
use data_encoding::HEXLOWER;
use std::fmt;
use std::str::FromStr;
use verge_sync::id::AccountId;
use verge_sync::record::cbor::{self, Fields, Map};

/// What the line begins with.
const PREFIX: &str = "VERGE-FEE1:";
/// A row and 32 steps as hexadecimal digits, with room.
const LINE_BYTES_MAX: usize = 4 << 10;

/// A line for an owner to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeeProof {
    /// Who paid.
    pub owner: AccountId,
    /// What.
    pub fee: Fee,
    /// Which row.
    pub index: u64,
    /// Of how many.
    pub count: u64,
    /// The way to the root.
    pub path: Vec<MerkleHash>,
}

/// Text that is no such line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no line that begins with {PREFIX} and was copied whole")]
pub struct FeeProofError;

impl FeeProof {
    /// The root that the row comes to; none if the path is not one of such a row.
    #[must_use]
    pub fn root(&self) -> Option<MerkleHash> {
        let row = fee_row(&self.owner, &self.fee);
        merkle::root_by_path(&row, self.index, self.count, &self.path)
    }
}

impl fmt::Display for FeeProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = Map::new()
            .bytes(0, self.owner.as_bytes())
            .uint(1, self.fee.cents.0)
            .bytes(2, &self.fee.salt)
            .uint(3, self.index)
            .uint(4, self.count)
            .bytes(5, &merkle::path_bytes(&self.path))
            .finish();
        write!(f, "{PREFIX}{}", HEXLOWER.encode(&bytes))
    }
}

impl FromStr for FeeProof {
    type Err = FeeProofError;

    fn from_str(text: &str) -> Result<Self, FeeProofError> {
        read(text).ok_or(FeeProofError)
    }
}

fn read(text: &str) -> Option<FeeProof> {
    let digits = text.trim().strip_prefix(PREFIX)?;
    if digits.len() > LINE_BYTES_MAX {
        return None;
    }
    let bytes = HEXLOWER.decode(digits.as_bytes()).ok()?;
    cbor::check(&bytes).ok()?;
    let fields = Fields::read(&bytes).ok()?;
    Some(FeeProof {
        owner: AccountId::from_bytes(fields.fixed(0).ok()?),
        fee: Fee {
            cents: Cents(fields.uint(1).ok()?),
            salt: fields.fixed(2).ok()?,
        },
        index: fields.uint(3).ok()?,
        count: fields.uint(4).ok()?,
        path: merkle::path_from_bytes(fields.bytes_opt(5).ok()??)?,
    })
}

/// Fuzz target: a line that is read is written as it was.
pub(crate) fn fee_proofs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(proof) = text.parse::<FeeProof>() {
        assert_eq!(proof.to_string().parse(), Ok(proof.clone()));
        let _root = proof.root();
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::super::Fees;
    use super::*;

    #[test]
    fn each_row_is_shown_and_no_other_amount() {
        let fees = (0..5_u8).map(|number| {
            let fee = Fee {
                cents: Cents(u64::from(number) * 100),
                salt: [number; 16],
            };
            (AccountId::from_bytes([number; 32]), fee)
        });
        let fees = Fees(fees.collect());
        for (owner, proof) in fees.proofs() {
            assert_eq!(proof.root(), Some(fees.root()));
            let line = proof.to_string();
            assert_eq!(line.parse(), Ok(proof.clone()));
            for at in PREFIX.len()..line.len() {
                let other = if line.as_bytes()[at] == b'0' {
                    "1"
                } else {
                    "0"
                };
                let mut changed = line.clone();
                changed.replace_range(at..=at, other);
                let root = changed
                    .parse::<FeeProof>()
                    .ok()
                    .and_then(|proof| proof.root());
                assert_ne!(root, Some(fees.root()), "{owner} {at}");
            }
        }
        for text in [
            "",
            "VERGE-FEE1:",
            "VERGE-FEE1:a0",
            "VERGE-FEE1:zz",
            &"0".repeat(9_999),
        ] {
            assert_eq!(text.parse::<FeeProof>(), Err(FeeProofError));
        }
    }
}
