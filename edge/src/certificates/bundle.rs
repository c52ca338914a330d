//! A certificate's chain in the clear, and its key for those nodes that are to have it.
//!
//! The key is sealed once, to a key pair that is made for the bundle alone, and the secret half of
//! that pair is sealed to each node: HPKE (RFC 9180) both times, with X25519, HKDF-SHA256 and
//! ChaCha20-Poly1305. Every seal is bound to the region, the subject, the author and the chain, so
//! that no part of one bundle opens in another. The chain is public anyway, and whoever sees the
//! bundle can judge it. By byte: `docs/format.md#certificate`.

use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RegionId};
use verge_sync::keys::SealingKey;
use verge_sync::record::cbor::{self, FieldError, Fields, Map};
use zeroize::Zeroizing;

/// A chain of four certificates of 4 KiB in PEM form, and more.
pub(super) const CHAIN_BYTES_MAX: usize = 32 << 10;
/// A key or an account, with room.
pub(super) const SECRET_BYTES_MAX: usize = 16 << 10;
/// 128 providers with 16 nodes each.
const RECIPIENTS_MAX: usize = 2_048;
/// What a node's row takes: its name, the encapsulated secret, and 32 bytes sealed.
const ROW_BYTES: usize = 32 + 32 + 48;
/// A chain, a secret and all recipients.
pub(super) const BUNDLE_BYTES_MAX: u64 = 300 << 10;
const FORMAT: u8 = 1;
const KEY_LABEL: &[u8] = b"verge 1 bundle key";
const SECRET_LABEL: &[u8] = b"verge 1 bundle secret";

/// What a bundle belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The region.
    pub region: RegionId,
    /// What its record is about.
    pub subject: Digest,
    /// The node that sealed it.
    pub author: NodeId,
}

/// A bundle as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    chain: Vec<u8>,
    rows: BTreeMap<NodeId, Row>,
    encapsulated: [u8; 32],
    sealed: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    encapsulated: [u8; 32],
    sealed: [u8; 48],
}

/// Why a bundle cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Nobody is to have it.
    #[error("no node is to hold the key")]
    NoRecipient,
    /// Longer than a bundle can be.
    #[error("the certificate's chain or its key is too long for a bundle")]
    TooLong,
    /// The library, with a node's key that is none.
    #[error("seal to node {0}")]
    Node(NodeId, #[source] rustls::Error),
    /// The library.
    #[error("seal a bundle")]
    Library(#[from] rustls::Error),
}

/// Why a bundle does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is for others.
    #[error("the bundle is not sealed to this node")]
    NotForUs,
    /// It was sealed for another place, or changed.
    #[error("the bundle does not open")]
    Damaged,
}

impl Context {
    fn additional(&self, chain: &[u8]) -> Vec<u8> {
        [
            self.region.as_bytes(),
            self.subject.as_bytes(),
            self.author.as_bytes(),
            Digest::of(chain).as_bytes(),
        ]
        .map(<[u8; 32]>::as_slice)
        .concat()
    }
}

impl Bundle {
    /// Seals `secret` to `recipients`: nodes, and their X25519 keys as `node` records show them.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        context: &Context,
        chain: &[u8],
        secret: &[u8],
        recipients: &BTreeMap<NodeId, [u8; 32]>,
    ) -> Result<Self, SealError> {
        if recipients.is_empty() {
            return Err(SealError::NoRecipient);
        }
        let fits = chain.len() <= CHAIN_BYTES_MAX
            && secret.len() <= SECRET_BYTES_MAX
            && recipients.len() <= RECIPIENTS_MAX;
        if !fits {
            return Err(SealError::TooLong);
        }
        let additional = context.additional(chain);
        let (public, private) = SUITE.generate_key_pair()?;
        let (encapsulated, sealed) = SUITE.seal(SECRET_LABEL, &additional, secret, &public)?;
        let rows = recipients.iter().map(|(node, key)| {
            let public = HpkePublicKey(key.to_vec());
            let (encapsulated, sealed) = SUITE
                .seal(KEY_LABEL, &additional, private.secret_bytes(), &public)
                .map_err(|error| SealError::Node(*node, error))?;
            let row = Row::new(&encapsulated.0, &sealed).ok_or(SealError::TooLong)?;
            Ok((*node, row))
        });
        Ok(Self {
            chain: chain.to_vec(),
            rows: rows.collect::<Result<_, SealError>>()?,
            encapsulated: encapsulated.0.try_into().or(Err(SealError::TooLong))?,
            sealed,
        })
    }

    /// The secret, for `node`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &self,
        context: &Context,
        node: NodeId,
        key: &SealingKey,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let row = self.rows.get(&node).ok_or(OpenError::NotForUs)?;
        let additional = context.additional(&self.chain);
        let open = |label, encapsulated: &[u8; 32], sealed: &[u8], private: &HpkePrivateKey| {
            let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
            let opened = SUITE.open(&encapsulated, label, &additional, sealed, private);
            opened.or(Err(OpenError::Damaged))
        };
        let own = HpkePrivateKey::from(key.secret().as_bytes().to_vec());
        let private = open(KEY_LABEL, &row.encapsulated, &row.sealed, &own)?;
        let private = HpkePrivateKey::from(private);
        let secret = open(SECRET_LABEL, &self.encapsulated, &self.sealed, &private)?;
        Ok(Zeroizing::new(secret))
    }

    /// The chain in PEM form, the leaf first; empty for an account.
    #[must_use]
    pub fn chain(&self) -> &[u8] {
        &self.chain
    }

    /// The nodes that can open it.
    #[must_use]
    pub fn recipients(&self) -> BTreeSet<NodeId> {
        self.rows.keys().copied().collect()
    }

    /// The bytes of the blob.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let rows = self.rows.iter().flat_map(|(node, row)| {
            let parts = [node.as_bytes().as_slice(), &row.encapsulated, &row.sealed];
            parts.concat()
        });
        Map::new()
            .uint(0, FORMAT)
            .bytes(1, &self.chain)
            .bytes(2, &rows.collect::<Vec<u8>>())
            .bytes(3, &self.encapsulated)
            .bytes(4, &self.sealed)
            .finish()
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// [`FieldError`]: it is no bundle.
    pub fn decode(bytes: &[u8]) -> Result<Self, FieldError> {
        cbor::check(bytes).or(Err(FieldError::NotAMap))?;
        let fields = Fields::read(bytes)?;
        if fields.uint::<u8>(0)? != FORMAT {
            return Err(FieldError::Value(0));
        }
        let part = |key, max: usize| {
            let bytes = fields.bytes_opt(key)?.unwrap_or_default();
            (bytes.len() <= max)
                .then_some(bytes)
                .ok_or(FieldError::Value(key))
        };
        let rows = part(2, RECIPIENTS_MAX * ROW_BYTES)?;
        Ok(Self {
            chain: part(1, CHAIN_BYTES_MAX)?.to_vec(),
            rows: read_rows(rows).ok_or(FieldError::Value(2))?,
            encapsulated: fields.fixed(3)?,
            // The tag of the AEAD.
            sealed: part(4, SECRET_BYTES_MAX + 16)?.to_vec(),
        })
    }
}

/// None unless they are whole, ascending and at least one.
fn read_rows(bytes: &[u8]) -> Option<BTreeMap<NodeId, Row>> {
    let (chunks, rest) = bytes.as_chunks::<ROW_BYTES>();
    let rows: Option<Vec<(NodeId, Row)>> = chunks.iter().map(|row| Row::read(row)).collect();
    let rows = rows?;
    let is_sorted = rows.is_sorted_by(|(one, _), (other, _)| one < other);
    (is_sorted && rest.is_empty() && !rows.is_empty()).then(|| rows.into_iter().collect())
}

impl Row {
    fn new(encapsulated: &[u8], sealed: &[u8]) -> Option<Self> {
        Some(Self {
            encapsulated: encapsulated.try_into().ok()?,
            sealed: sealed.try_into().ok()?,
        })
    }

    fn read(bytes: &[u8]) -> Option<(NodeId, Self)> {
        let (node, rest) = bytes.split_first_chunk()?;
        let (encapsulated, sealed) = rest.split_first_chunk::<32>()?;
        Some((NodeId::from_bytes(*node), Self::new(encapsulated, sealed)?))
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipients = self.rows.len();
        f.debug_struct("Bundle")
            .field("recipients", &recipients)
            .finish_non_exhaustive()
    }
}

/// Fuzz target: what is read is written as it was, and opens for nobody.
pub(crate) fn bundles(bytes: &[u8]) {
    if let Ok(read) = Bundle::decode(bytes) {
        assert!(!read.recipients().is_empty());
        assert_eq!(Bundle::decode(&read.encode()).as_ref(), Ok(&read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verge_sync::keys::Seed;

    fn context() -> Context {
        Context {
            region: RegionId::from_bytes([1; 32]),
            subject: Digest::of(b"hosts"),
            author: NodeId::from_bytes([2; 32]),
        }
    }

    fn seeds(count: u8) -> Vec<Seed> {
        (0..count).map(|n| Seed::from_bytes([n + 1; 32])).collect()
    }

    fn recipients(seeds: &[Seed]) -> BTreeMap<NodeId, [u8; 32]> {
        let row = |seed: &Seed| (seed.node_id(), *seed.sealing_key().public());
        seeds.iter().map(row).collect()
    }

    fn opened(bundle: &Bundle, context: &Context, seed: &Seed) -> Result<Vec<u8>, OpenError> {
        let opened = bundle.open(context, seed.node_id(), &seed.sealing_key());
        opened.map(|secret| secret.to_vec())
    }

    #[test]
    fn those_that_it_is_sealed_to_open_it_and_nobody_else() {
        let seeds = seeds(4);
        let (inside, outside) = seeds.split_at(3);
        let bundle = Bundle::seal(&context(), b"chain", b"secret", &recipients(inside)).unwrap();
        let bundle = Bundle::decode(&bundle.encode()).unwrap();
        for seed in inside {
            assert_eq!(opened(&bundle, &context(), seed).unwrap(), b"secret");
        }
        let stranger = opened(&bundle, &context(), &outside[0]);
        assert_eq!(stranger, Err(OpenError::NotForUs));
        // Another's place opens nothing with one's own key.
        let place = bundle.open(&context(), inside[0].node_id(), &outside[0].sealing_key());
        assert_eq!(place.err(), Some(OpenError::Damaged));
    }

    #[test]
    fn it_opens_only_where_it_belongs_and_only_unchanged() {
        let seeds = seeds(1);
        let bundle = Bundle::seal(&context(), b"chain", b"secret", &recipients(&seeds)).unwrap();
        let others = [
            Context {
                region: RegionId::from_bytes([9; 32]),
                ..context()
            },
            Context {
                subject: Digest::of(b"other hosts"),
                ..context()
            },
            Context {
                author: NodeId::from_bytes([9; 32]),
                ..context()
            },
        ];
        for other in others {
            let read = opened(&bundle, &other, &seeds[0]);
            assert_eq!(read, Err(OpenError::Damaged));
        }
        let bytes = bundle.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            if let Ok(changed) = Bundle::decode(&changed) {
                assert!(opened(&changed, &context(), &seeds[0]).is_err(), "{at}");
            }
        }
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let seeds = seeds(1);
        let to = recipients(&seeds);
        let seal = |chain: usize, secret: usize| {
            Bundle::seal(&context(), &vec![1; chain], &vec![2; secret], &to)
        };
        let most = seal(CHAIN_BYTES_MAX, SECRET_BYTES_MAX).unwrap();
        assert_eq!(Bundle::decode(&most.encode()), Ok(most));
        let too_long = |sealed: Result<Bundle, SealError>| {
            assert!(matches!(sealed, Err(SealError::TooLong)));
        };
        too_long(seal(CHAIN_BYTES_MAX + 1, 1));
        too_long(seal(1, SECRET_BYTES_MAX + 1));
        let nobody = Bundle::seal(&context(), b"", b"", &BTreeMap::new());
        assert!(matches!(nobody, Err(SealError::NoRecipient)));
        let rows = RECIPIENTS_MAX * ROW_BYTES + CHAIN_BYTES_MAX + SECRET_BYTES_MAX + 200;
        assert!(u64::try_from(rows).unwrap() <= BUNDLE_BYTES_MAX);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let seeds = seeds(1);
        let bundle = Bundle::seal(&context(), b"c", b"secret", &recipients(&seeds)).unwrap();
        assert_eq!(format!("{bundle:?}"), "Bundle { recipients: 1, .. }");
    }
}
