//! The bundles of a site's history: their digests, oldest first, laid end to end.

use super::HistoryError;
use super::header::Header;
use crate::region::{GIT_SEQUENCE_BYTES_MAX, SEQUENCE_BUNDLES_MAX};
use verge_sync::digest::Digest;
use verge_sync::store::{Store, StoreError};

/// A sequence all of whose bundles are on this node.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// Oldest first; never none.
    pub(crate) bundles: Vec<Digest>,
    /// What they have together.
    pub(crate) bytes: u64,
    /// What the first has, which was the whole history when it was made.
    pub(crate) first_bytes: u64,
    /// The header of the last: the refs as they stand.
    pub(crate) header: Header,
}

impl Sequence {
    /// The sequence that a deploy names. The bundles are not compared with their digests.
    pub(crate) fn read(
        store: &Store,
        digest: Digest,
        bytes_max: u64,
    ) -> Result<Self, HistoryError> {
        let bundles = bundles(store, digest)?;
        let mut lengths = Vec::with_capacity(bundles.len());
        for bundle in &bundles {
            let bytes = store.blobs().bytes(bundle)?;
            lengths.push(bytes.ok_or(HistoryError::Missing(*bundle))?);
        }
        let bytes = lengths
            .iter()
            .fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        if bytes > bytes_max {
            let why = format!(
                "larger than the {} MiB of history that this node takes",
                bytes_max >> 20
            );
            return Err(HistoryError::wrong(digest, why));
        }
        let last = *bundles.last().ok_or(HistoryError::Missing(digest))?;
        let file = store.blobs().open(&last)?;
        let header = Header::read(&file.ok_or(HistoryError::Missing(last))?)?;
        Ok(Self {
            first_bytes: lengths.first().copied().unwrap_or_default(),
            bundles,
            bytes,
            header,
        })
    }
}

fn bundles(store: &Store, digest: Digest) -> Result<Vec<Digest>, HistoryError> {
    let bytes = match store.blobs().read_verified(&digest, GIT_SEQUENCE_BYTES_MAX) {
        Err(StoreError::Damaged { .. }) => return Err(HistoryError::Damaged(digest)),
        Err(StoreError::TooLarge { .. }) => {
            return Err(HistoryError::wrong(digest, TOO_LONG));
        }
        read => read?.ok_or(HistoryError::Missing(digest))?,
    };
    parse(&bytes).map_err(|why| HistoryError::wrong(digest, why))
}

const TOO_LONG: &str = "a sequence of more than 64 bundles";

/// The bundles that a sequence lists.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Digest>, &'static str> {
    let digests = bytes.chunks(32).map(|chunk| chunk.try_into().ok());
    let digests: Option<Vec<Digest>> = digests.map(|bytes| bytes.map(Digest::from_bytes)).collect();
    let digests = digests.ok_or("a sequence that is no list of digests")?;
    if digests.is_empty() {
        return Err("a sequence without a bundle");
    }
    if digests.len() > SEQUENCE_BUNDLES_MAX {
        return Err(TOO_LONG);
    }
    Ok(digests)
}

/// The bytes of the sequence of these bundles.
pub(crate) fn encode(bundles: &[Digest]) -> Vec<u8> {
    bundles.iter().flat_map(Digest::as_bytes).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_digests_are_read_up_to_a_limit() {
        let list = |count: u8| -> Vec<Digest> {
            (0..count)
                .map(|byte| Digest::from_bytes([byte; 32]))
                .collect()
        };
        for (bytes, expected) in [
            (encode(&list(1)), Ok(list(1))),
            (encode(&list(64)), Ok(list(64))),
            (encode(&list(65)), Err(TOO_LONG)),
            (Vec::new(), Err("a sequence without a bundle")),
            (vec![7; 33], Err("a sequence that is no list of digests")),
            (
                b"hello".to_vec(),
                Err("a sequence that is no list of digests"),
            ),
        ] {
            assert_eq!(parse(&bytes), expected);
        }
    }
}
