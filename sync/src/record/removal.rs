//! Which records of a removed author stay valid: a blob that a step names (`docs/format.md#kinds`).

use super::effect::Effect;
use super::envelope::AuthorId;
use crate::digest::Digest;
use crate::id::RecordId;
use std::collections::BTreeSet;

/// 16 MiB of ids: a provider with 16 nodes of 128 busy years each.
const LIST_COUNT_MAX: usize = 1 << 19;
const _: () = assert!(LIST_COUNT_MAX * 32 == 16 << 20);

/// The records of a removed author that stay valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovalList {
    ids: BTreeSet<RecordId>,
    digest: Digest,
}

impl RemovalList {
    /// The longest list, in bytes.
    pub const BYTES_MAX: u64 = 16 << 20;

    /// These and no other.
    #[must_use]
    pub fn new(ids: BTreeSet<RecordId>) -> Self {
        let digest = Digest::of(&encode(&ids));
        Self { ids, digest }
    }

    /// All that is known of `author` and, if it is a provider, of its nodes: whoever removes it
    /// takes out what is to be void.
    #[must_use]
    pub fn of(effect: &Effect, author: AuthorId) -> Self {
        let provider = |id: AuthorId| {
            let node = effect.nodes.get(&id.node());
            node.map(|node| AuthorId::from(node.slot.provider))
        };
        let records = effect.records().filter(|record| {
            let by = record.envelope().author;
            by == author || provider(by) == Some(author)
        });
        Self::new(records.map(|record| record.id()).collect())
    }

    /// Reads the blob; `None` if it is none: ids of 32 bytes, ascending, none twice.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (ids, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || ids.len() > LIST_COUNT_MAX || !ids.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let ids = ids.iter().copied().map(RecordId::from_bytes).collect();
        let digest = Digest::of(bytes);
        Some(Self { ids, digest })
    }

    /// The blob.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.ids)
    }

    /// Its name, which the step has.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The ids.
    #[must_use]
    pub fn ids(&self) -> &BTreeSet<RecordId> {
        &self.ids
    }
}

fn encode(ids: &BTreeSet<RecordId>) -> Vec<u8> {
    ids.iter().flat_map(|id| *id.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_its_ids_in_order() {
        let id = |byte| RecordId::from_bytes([byte; 32]);
        let list = RemovalList::new(BTreeSet::from([id(3), id(1)]));
        let bytes = list.encode();
        assert_eq!(bytes, [[1; 32], [3; 32]].concat());
        assert_eq!(RemovalList::decode(&bytes), Some(list));
        assert_eq!(RemovalList::decode(&[]).unwrap().digest(), Digest::of(b""));
        for wrong in [
            [[3; 32], [1; 32]].concat(),
            [[1; 32]; 2].concat(),
            vec![1; 33],
        ] {
            assert_eq!(RemovalList::decode(&wrong), None);
        }
    }
}
