//! SSH public keys as people hand them over: one line of a `.pub` file.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// The longest key line; an RSA key of 16,384 bits takes 2,800 bytes.
const LINE_BYTES_MAX: usize = 8_192;
/// Key types that log in; DSA is refused as OpenSSH does.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// The SHA-256 of an SSH public key: what an account keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SshKeyDigest(pub [u8; 32]);

/// Text that is not an SSH public key that can log in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyError {
    /// Something else altogether.
    #[error(
        "not an SSH public key: expected a line such as `ssh-ed25519 AAAA... name`, as in a .pub file"
    )]
    NotAKey,
    /// A type that is unsafe or unknown.
    #[error("keys of type {0} cannot be used: make one with `ssh-keygen -t ed25519`")]
    Type(String),
}

impl SshKeyDigest {
    /// Reads a line of a `.pub` file, or `SHA256:...` as `ssh-keygen -l` prints it.
    ///
    /// # Errors
    /// [`SshKeyError`].
    pub fn parse(line: &str) -> Result<Self, SshKeyError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(SshKeyError::NotAKey);
        }
        if let Some(fingerprint) = line.trim().strip_prefix("SHA256:") {
            let bytes = STANDARD_NO_PAD
                .decode(fingerprint)
                .ok()
                .and_then(|b| b.try_into().ok());
            return bytes.map(Self).ok_or(SshKeyError::NotAKey);
        }
        let mut words = line.split_whitespace();
        let (kind, text) = words.next().zip(words.next()).ok_or(SshKeyError::NotAKey)?;
        let blob = STANDARD
            .decode(text)
            .map_err(|_base64| SshKeyError::NotAKey)?;
        if inner_type(&blob) != Some(kind.as_bytes()) {
            return Err(SshKeyError::NotAKey);
        }
        if !TYPES.contains(&kind) {
            return Err(SshKeyError::Type(kind.to_owned()));
        }
        Ok(Self::of(&blob))
    }

    /// Of a key in SSH's binary form (RFC 4253 section 6.6).
    #[must_use]
    pub fn of(blob: &[u8]) -> Self {
        Self(Sha256::digest(blob).into())
    }
}

/// As `ssh-keygen -l` prints it.
impl std::fmt::Display for SshKeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

/// The type that the binary form itself names.
fn inner_type(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ana";

    #[test]
    fn fingerprint_is_read_back() {
        let digest = SshKeyDigest::parse(ED25519).unwrap();
        assert_eq!(SshKeyDigest::parse(&digest.to_string()), Ok(digest));
    }

    #[test]
    fn other_text_is_refused() {
        let dsa = format!("ssh-dss {}", STANDARD.encode(b"\0\0\0\x07ssh-dss"));
        let rows = [
            ("", SshKeyError::NotAKey),
            ("ssh-ed25519", SshKeyError::NotAKey),
            ("ssh-ed25519 !!!", SshKeyError::NotAKey),
            ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA", SshKeyError::NotAKey),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", SshKeyError::NotAKey),
            ("SHA256:abc", SshKeyError::NotAKey),
            (&dsa, SshKeyError::Type("ssh-dss".to_owned())),
        ];
        for (line, expected) in rows {
            assert_eq!(SshKeyDigest::parse(line), Err(expected), "{line}");
        }
    }
}
