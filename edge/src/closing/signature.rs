//! The signature beside a statement: the node that wrote the folder vouches for `statement.txt`, which
//! has the digests of all other files (`docs/format.md#statement`).

use data_encoding::HEXLOWER;
use std::fmt;
use std::str::FromStr;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RegionId};
use verge_sync::keys::{Seed, sign};
use verge_sync::record::signature::verify_raw;

/// The file in the folder of the statement: a line for each node that signed.
pub const SIGNATURE_NAME: &str = "statement.sig";
const PREFIX: &str = "VERGE-STATEMENT1";
/// Lines of one file; more nodes than a region has.
const LINES_MAX: usize = 2_048;

/// What a node says: this is the statement that I worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementSignature {
    /// Who.
    pub node: NodeId,
    signature: [u8; 64],
}

/// Why a line vouches for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Not such a line.
    #[error("line {0} is no signature: it begins with {PREFIX}, the node and 128 digits follow")]
    NoLine(usize),
    /// Of something else.
    #[error("the signature of node {} is of another statement, or was changed", .0.short())]
    Other(NodeId),
    /// Too many.
    #[error("more than {LINES_MAX} signatures")]
    TooMany,
}

impl StatementSignature {
    /// The signature of the node that has `seed`.
    #[must_use]
    pub fn by(seed: &Seed, region: &RegionId, statement: &Digest) -> Self {
        Self {
            node: seed.node_id(),
            signature: sign(&seed.transport_key(), &message(region, statement)),
        }
    }

    /// Whether it is of this statement.
    #[must_use]
    pub fn holds(&self, region: &RegionId, statement: &Digest) -> bool {
        let message = message(region, statement);
        verify_raw(self.node.as_bytes(), &message, &self.signature).is_ok()
    }

    /// Reads a file and checks every line of it.
    ///
    /// # Errors
    /// [`SignatureFault`], the first.
    pub fn read_all(
        text: &str,
        region: &RegionId,
        statement: &Digest,
    ) -> Result<Vec<NodeId>, SignatureFault> {
        let mut nodes = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if number > LINES_MAX {
                return Err(SignatureFault::TooMany);
            }
            let signed: Self = line.parse().or(Err(SignatureFault::NoLine(number)))?;
            if !signed.holds(region, statement) {
                return Err(SignatureFault::Other(signed.node));
            }
            nodes.push(signed.node);
        }
        Ok(nodes)
    }
}

fn message(region: &RegionId, statement: &Digest) -> Vec<u8> {
    let parts: [&[u8]; 3] = [
        b"verge/1/statement\0",
        region.as_bytes(),
        statement.as_bytes(),
    ];
    parts.concat()
}

impl fmt::Display for StatementSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = HEXLOWER.encode(&self.signature);
        write!(f, "{PREFIX} {} {signature}", self.node)
    }
}

impl FromStr for StatementSignature {
    type Err = SignatureFault;

    fn from_str(line: &str) -> Result<Self, SignatureFault> {
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or(SignatureFault::NoLine(1));
        let (prefix, node, signature) = (next()?, next()?, next()?);
        let signature = HEXLOWER.decode(signature.as_bytes()).ok();
        let signature = signature.and_then(|bytes| bytes.try_into().ok());
        match (prefix, node.parse(), signature, words.next()) {
            (PREFIX, Ok(node), Some(signature), None) => Ok(Self { node, signature }),
            _ => Err(SignatureFault::NoLine(1)),
        }
    }
}

/// Fuzz target: what a folder of a statement has of signatures and of the records of a close; a line that
/// is read is written as it was.
pub(crate) fn statement_signatures(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let region = RegionId::from_bytes([1; 32]);
    let statement = Digest::from_bytes([2; 32]);
    for line in text.lines() {
        if let Ok(read) = line.parse::<StatementSignature>() {
            assert_eq!(read.to_string(), line);
        }
    }
    if let Ok(nodes) = StatementSignature::read_all(&text, &region, &statement) {
        assert_eq!(nodes.len(), text.lines().count());
    }
    let _close = super::check_close(&text, &region).is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_statement_that_was_signed_is_vouched_for() {
        let seed = Seed::from_bytes([7; 32]);
        let region = RegionId::from_bytes([1; 32]);
        let statement = Digest::of(b"statement");
        let line = StatementSignature::by(&seed, &region, &statement).to_string();
        let read = |text: &str, statement| StatementSignature::read_all(text, &region, statement);
        let both = format!("{line}\n{line}\n");
        assert_eq!(read(&both, &statement), Ok(vec![seed.node_id(); 2]));
        let other = SignatureFault::Other(seed.node_id());
        let another = Digest::of(b"another");
        assert_eq!(read(&line, &another), Err(other.clone()));
        let elsewhere = RegionId::from_bytes([2; 32]);
        let read_there = StatementSignature::read_all(&line, &elsewhere, &statement);
        assert_eq!(read_there, Err(other));
        for wrong in ["", "VERGE-STATEMENT1", "VERGE-STATEMENT2 a b", &line[1..]] {
            let expected = if wrong.is_empty() {
                Ok(Vec::new())
            } else {
                Err(SignatureFault::NoLine(1))
            };
            assert_eq!(read(wrong, &statement), expected, "{wrong}");
        }
        assert!(read(&format!("{line} more"), &statement).is_err());
        let lines = format!("{line}\n").repeat(LINES_MAX);
        assert!(read(&lines, &statement).is_ok());
        let lines = format!("{line}\n").repeat(LINES_MAX + 1);
        assert_eq!(read(&lines, &statement), Err(SignatureFault::TooMany));
    }
}
