//! Signatures of records: raw Ed25519 (scheme 0) and SSHSIG (scheme 1).
//!
//! Both are verified strictly (no small-order keys, no other form of a signature), so that a
//! stranger cannot make a second byte form of a record.

use crate::id::{RecordId, RegionId};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256, Sha512};

/// The longest SSHSIG blob that is looked at: an `ssh-ed25519` one has 175 bytes.
pub const SSHSIG_BYTES_MAX: usize = 256;
const SSHSIG_MAGIC: &[u8] = b"SSHSIG";
const SSH_NAMESPACE: &[u8] = b"verge";
const SSH_KEY_TYPE: &[u8] = b"ssh-ed25519";

/// A signature of a record: the key, the scheme, and the scheme's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The Ed25519 public key.
    pub key: [u8; 32],
    /// 0 raw Ed25519, 1 SSHSIG.
    pub scheme: u8,
    /// 64 bytes in scheme 0, the binary SSHSIG blob in scheme 1.
    pub bytes: Vec<u8>,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The scheme is not one that this release knows.
    #[error("signature scheme {0} is not known")]
    Scheme(u8),
    /// The key is no point of the curve, or one of small order.
    #[error("the key is not a usable Ed25519 key")]
    Key,
    /// The bytes are not laid out as the scheme says.
    #[error("the signature is malformed")]
    Form,
    /// An SSHSIG was made for another namespace, with another key, or with an unknown hash.
    #[error("the SSH signature is for another namespace, key or hash")]
    SshContext,
    /// It does not fit the message.
    #[error("the signature does not fit the record")]
    Mismatch,
}

/// What a signature covers: `"verge/1/" + kind in decimal + 0x00 + region + RecordId`.
#[must_use]
pub fn message(kind: u16, region: &RegionId, id: &RecordId) -> Vec<u8> {
    let mut message = format!("verge/1/{kind}\0").into_bytes();
    message.extend_from_slice(region.as_bytes());
    message.extend_from_slice(id.as_bytes());
    message
}

impl Signature {
    /// Signs `message` in scheme 0.
    #[must_use]
    pub fn raw(key: &SigningKey, message: &[u8]) -> Self {
        Self {
            key: key.verifying_key().to_bytes(),
            scheme: 0,
            bytes: key.sign(message).to_bytes().to_vec(),
        }
    }

    /// Takes the binary blob of an SSHSIG (`ssh-keygen -Y sign -n verge`, without its armour).
    ///
    /// # Errors
    /// [`SignatureError::Form`] if it is none by an `ssh-ed25519` key.
    pub fn ssh(blob: &[u8]) -> Result<Self, SignatureError> {
        let key = Sshsig::read(blob)?.key;
        Ok(Self {
            key,
            scheme: 1,
            bytes: blob.to_vec(),
        })
    }

    /// Checks the signature over `message`.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, message: &[u8]) -> Result<(), SignatureError> {
        match self.scheme {
            0 => {
                let bytes = self
                    .bytes
                    .as_slice()
                    .try_into()
                    .or(Err(SignatureError::Form))?;
                verify_raw(&self.key, message, &bytes)
            }
            1 => self.verify_ssh(message),
            other => Err(SignatureError::Scheme(other)),
        }
    }

    fn verify_ssh(&self, message: &[u8]) -> Result<(), SignatureError> {
        let sshsig = Sshsig::read(&self.bytes)?;
        if sshsig.key != self.key || sshsig.namespace != SSH_NAMESPACE {
            return Err(SignatureError::SshContext);
        }
        let digest = match sshsig.hash {
            b"sha512" => Sha512::digest(message).to_vec(),
            b"sha256" => Sha256::digest(message).to_vec(),
            _ => return Err(SignatureError::SshContext),
        };
        let mut covered = SSHSIG_MAGIC.to_vec();
        for part in [SSH_NAMESPACE, b"", sshsig.hash, &digest] {
            put_string(&mut covered, part);
        }
        verify_raw(&self.key, &covered, &sshsig.signature)
    }
}

/// Checks a raw Ed25519 signature strictly.
///
/// # Errors
/// [`SignatureError::Key`] or [`SignatureError::Mismatch`].
pub fn verify_raw(
    key: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(key).or(Err(SignatureError::Key))?;
    if key.is_weak() {
        return Err(SignatureError::Key);
    }
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.verify_strict(message, &signature)
        .or(Err(SignatureError::Mismatch))
}

/// The parts of an SSHSIG blob (OpenSSH's `PROTOCOL.sshsig`) by an `ssh-ed25519` key.
struct Sshsig<'b> {
    key: [u8; 32],
    namespace: &'b [u8],
    hash: &'b [u8],
    signature: [u8; 64],
}

impl<'b> Sshsig<'b> {
    fn read(blob: &'b [u8]) -> Result<Self, SignatureError> {
        Self::parts(blob).ok_or(SignatureError::Form)
    }

    fn parts(blob: &'b [u8]) -> Option<Self> {
        if blob.len() > SSHSIG_BYTES_MAX {
            return None;
        }
        let mut rest = blob
            .strip_prefix(SSHSIG_MAGIC)?
            .strip_prefix(&[0, 0, 0, 1])?;
        let key = typed::<32>(take_string(&mut rest)?)?;
        let namespace = take_string(&mut rest)?;
        let reserved = take_string(&mut rest)?;
        let hash = take_string(&mut rest)?;
        let signature = typed::<64>(take_string(&mut rest)?)?;
        let whole = rest.is_empty() && reserved.is_empty();
        whole.then_some(Self {
            key,
            namespace,
            hash,
            signature,
        })
    }
}

/// `string "ssh-ed25519", string of N bytes`, as keys and signatures are both laid out.
fn typed<const N: usize>(mut bytes: &[u8]) -> Option<[u8; N]> {
    let kind = take_string(&mut bytes)?;
    let content = take_string(&mut bytes)?;
    if kind != SSH_KEY_TYPE || !bytes.is_empty() {
        return None;
    }
    content.try_into().ok()
}

fn take_string<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (content, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(content)
}

fn put_string(bytes: &mut Vec<u8>, content: &[u8]) {
    let length = u32::try_from(content.len()).expect("a part of a signature is short");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(content);
}
