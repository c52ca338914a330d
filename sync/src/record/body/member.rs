//! Bodies about members: nodes, takedowns, tombstones.

use super::{reason, with_reason};
use crate::id::{NodeId, ProviderId, RegionId};
use crate::record::cbor::{FieldError, Fields, Map};
use crate::record::kinds::Slot;
use crate::record::signature::verify_raw;
use ed25519_dalek::{Signer, SigningKey};

/// Addresses that a node can name.
pub const ADDRESSES_MAX: usize = 8;
const ADDRESS_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 64;

/// A node of a provider: who it is, and where others find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its transport key, which is its name.
    pub id: NodeId,
    /// The key that signs its records.
    pub record_key: [u8; 32],
    /// The X25519 key to which secrets are sealed for it.
    pub sealing_key: [u8; 32],
    /// `address:port`, best first.
    pub addresses: Vec<String>,
    /// What people call it.
    pub name: String,
    /// Its transport key's signature over [`node_proof_message`]: without it one provider could
    /// declare another's node its own, with a record key of its choice.
    pub proof: [u8; 64],
    /// Whether its provider has taken it out of the region.
    pub is_withdrawn: bool,
    /// `address:port` of its HTTPS for visitors, best first; empty where it has none, or says of
    /// none.
    pub visitors: Vec<String>,
}

/// What a node's transport key signs to say that it belongs to `slot` with these keys.
#[must_use]
pub fn node_proof_message(
    region: &RegionId,
    slot: Slot,
    record_key: &[u8; 32],
    sealing_key: &[u8; 32],
) -> Vec<u8> {
    let provider: &ProviderId = &slot.provider;
    let mut message = b"verge/1/node-proof\0".to_vec();
    message.extend_from_slice(region.as_bytes());
    message.extend_from_slice(provider.as_bytes());
    message.push(slot.number);
    message.extend_from_slice(record_key);
    message.extend_from_slice(sealing_key);
    message
}

impl Node {
    /// The same body with the proof that `transport_key` gives for `slot`.
    #[must_use]
    pub fn proven(mut self, region: &RegionId, slot: Slot, transport_key: &SigningKey) -> Self {
        self.id = NodeId::from_bytes(transport_key.verifying_key().to_bytes());
        let message = node_proof_message(region, slot, &self.record_key, &self.sealing_key);
        self.proof = transport_key.sign(&message).to_bytes();
        self
    }

    /// Whether the proof holds.
    #[must_use]
    pub fn is_proven(&self, region: &RegionId, slot: Slot) -> bool {
        let message = node_proof_message(region, slot, &self.record_key, &self.sealing_key);
        verify_raw(self.id.as_bytes(), &message, &self.proof).is_ok()
    }

    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            id: NodeId::from_bytes(fields.fixed(0)?),
            record_key: fields.fixed(1)?,
            sealing_key: fields.fixed(2)?,
            addresses: addresses(fields, 3)?,
            name: fields.text(4, NAME_BYTES_MAX)?,
            proof: fields.fixed(5)?,
            is_withdrawn: fields.flag(6)?,
            visitors: addresses(fields, 7)?,
        })
    }

    pub(super) fn encode(&self) -> Map {
        let map = Map::new()
            .bytes(0, self.id.as_bytes())
            .bytes(1, &self.record_key)
            .bytes(2, &self.sealing_key)
            .texts(3, &self.addresses)
            .text(4, &self.name)
            .bytes(5, &self.proof)
            .flag(6, self.is_withdrawn);
        if self.visitors.is_empty() {
            map
        } else {
            map.texts(7, &self.visitors)
        }
    }
}

fn addresses(fields: &Fields<'_>, key: u64) -> Result<Vec<String>, FieldError> {
    let addresses = fields.texts(key, ADDRESSES_MAX)?;
    let is_one =
        |text: &String| text.len() <= ADDRESS_BYTES_MAX && !text.chars().any(char::is_control);
    if addresses.iter().all(is_one) {
        Ok(addresses)
    } else {
        Err(FieldError::Value(key))
    }
}

/// A provider's word that its nodes do not serve a site or an account's sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takedown {
    /// False lifts an earlier takedown.
    pub active: bool,
    /// For people.
    pub reason: String,
}

/// A vote, or the word that takes one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    /// For it.
    For,
    /// A node no longer sees what it voted for: the DNS proof of a host.
    Withdrawn,
}

impl Vote {
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(if fields.flag(0)? {
            Self::Withdrawn
        } else {
            Self::For
        })
    }

    pub(super) fn encode(self) -> Map {
        Map::new().flag(0, self == Self::Withdrawn)
    }
}

impl Takedown {
    pub(super) fn decode(fields: &Fields<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            active: fields.flag(0)?,
            reason: reason(fields, 1)?,
        })
    }

    pub(super) fn encode(&self) -> Map {
        with_reason(Map::new().flag(0, self.active), 1, &self.reason)
    }
}

/// The end of a site or an account, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// For people.
    pub reason: String,
}
