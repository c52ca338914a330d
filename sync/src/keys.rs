//! The keys of a node and of a provider.
//!
//! A node keeps one seed of 32 random bytes; every key that it uses is derived from it by a labelled
//! BLAKE3 (`docs/format.md#keys`), so that one file restores a node. A provider's key is its own and
//! may live elsewhere. Nothing here is ever printed; memory is zeroed when a value is dropped.

use crate::id::{NodeId, ProviderId};
use ed25519_dalek::SigningKey;
use std::fmt;
use zeroize::Zeroizing;

const TRANSPORT_LABEL: &str = "verge 1 transport key";
const RECORD_LABEL: &str = "verge 1 record key";
const SEALING_LABEL: &str = "verge 1 sealing key";
const TICKET_LABEL: &str = "verge 1 ticket key";

/// The secret from which all keys of one node come.
pub struct Seed(Zeroizing<[u8; 32]>);

/// 32 secret bytes that are not a signing key.
pub struct SecretKey(Zeroizing<[u8; 32]>);

/// The key pair to which others seal what only this node may read (X25519).
pub struct SealingKey {
    secret: SecretKey,
    public: [u8; 32],
}

/// The key of a provider; it may live off the node.
pub struct ProviderKey(SigningKey);

impl Seed {
    /// Takes 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the file that keeps them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of connections to other nodes; its public half is the [`NodeId`].
    #[must_use]
    pub fn transport_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.derive(TRANSPORT_LABEL))
    }

    /// The key that signs this node's records.
    #[must_use]
    pub fn record_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.derive(RECORD_LABEL))
    }

    /// The key to which certificates and other secrets are sealed.
    #[must_use]
    pub fn sealing_key(&self) -> SealingKey {
        let pair = SigningKey::from_bytes(&self.derive(SEALING_LABEL));
        let public = pair.verifying_key().to_montgomery().to_bytes();
        SealingKey {
            secret: SecretKey(Zeroizing::new(pair.to_scalar_bytes())),
            public,
        }
    }

    /// The key of TLS session tickets: per node, never shared.
    #[must_use]
    pub fn ticket_key(&self) -> SecretKey {
        SecretKey(self.derive(TICKET_LABEL))
    }

    /// The name of the node that has this seed.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId::from_bytes(self.transport_key().verifying_key().to_bytes())
    }

    fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(label, self.0.as_slice()))
    }
}

impl SecretKey {
    /// The secret bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SealingKey {
    /// The X25519 private scalar.
    #[must_use]
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The X25519 public key, as a `node` record shows it.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

impl ProviderKey {
    /// Takes the 32 secret bytes of the key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The secret bytes, for the file that keeps them.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The provider that has this key.
    #[must_use]
    pub fn provider(&self) -> ProviderId {
        ProviderId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// The key itself, to sign with.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        &self.0
    }
}

macro_rules! concealed {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(secret)"))
            }
        }
    )*};
}

concealed! { Seed SecretKey SealingKey ProviderKey }

/// A raw Ed25519 signature.
#[must_use]
pub fn sign(key: &SigningKey, bytes: &[u8]) -> [u8; 64] {
    ed25519_dalek::Signer::sign(key, bytes).to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn keys_of_one_seed_differ_and_are_fixed() {
        let seed = Seed::from_bytes([1; 32]);
        let keys = [
            seed.transport_key().to_bytes(),
            seed.record_key().to_bytes(),
            *seed.sealing_key().secret().as_bytes(),
            *seed.ticket_key().as_bytes(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{index}");
        }
        let derived = Digest::derive("verge 1 record key", &[&[1; 32]]);
        assert_eq!(keys[1], *derived.as_bytes());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let seed = Seed::from_bytes([0xab; 32]);
        let shown = format!("{seed:?} {:?} {:?}", seed.sealing_key(), seed.ticket_key());
        assert_eq!(shown, "Seed(secret) SealingKey(secret) SecretKey(secret)");
    }
}
