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
    /// Good for logging in, and no more.
    #[error("keys of type {0} cannot sign records: make one with `ssh-keygen -t ed25519`")]
    CannotSign(String),
    /// No key that signs.
    #[error(
        "not a key that signs: expected a line such as `ssh-ed25519 AAAA... name`, as in a .pub file, or 64 hexadecimal digits"
    )]
    NotASigningKey,
}

/// Reads the public half of a key that signs for an account: a line of a `.pub` file of type
/// `ssh-ed25519`, or its 32 bytes in hexadecimal digits.
///
/// # Errors
/// [`SshKeyError`].
pub fn parse_signing_key(line: &str) -> Result<[u8; 32], SshKeyError> {
    if let Ok(raw) = line.trim().parse::<verge_sync::Digest>() {
        return Ok(*raw.as_bytes());
    }
    if line.trim().starts_with("SHA256:") {
        return Err(SshKeyError::NotASigningKey);
    }
    let (kind, blob) = read_line(line).map_err(|error| match error {
        SshKeyError::NotAKey => SshKeyError::NotASigningKey,
        error => error,
    })?;
    let key = blob.strip_prefix(ED25519_PREFIX);
    let Some(key) = key.filter(|_| kind == "ssh-ed25519") else {
        return Err(SshKeyError::CannotSign(kind));
    };
    key.try_into()
        .map_err(|_length| SshKeyError::NotASigningKey)
}

/// What stands before the 32 bytes of an Ed25519 key in SSH's binary form.
const ED25519_PREFIX: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

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
        let (_kind, blob) = read_line(line)?;
        Ok(Self::of(&blob))
    }

    /// Of an Ed25519 key by its 32 bytes.
    #[must_use]
    pub fn of_ed25519(key: &[u8; 32]) -> Self {
        Self::of(&[ED25519_PREFIX, key].concat())
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

/// The type of a key that can log in, and its binary form.
fn read_line(line: &str) -> Result<(String, Vec<u8>), SshKeyError> {
    if line.len() > LINE_BYTES_MAX {
        return Err(SshKeyError::NotAKey);
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
    Ok((kind.to_owned(), blob))
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
    fn key_that_signs_is_read_in_both_forms() {
        let key = parse_signing_key(ED25519).unwrap();
        assert_eq!(key, [0; 32]);
        assert_eq!(parse_signing_key(&"00".repeat(32)), Ok(key));
        let login = SshKeyDigest::parse(ED25519).unwrap();
        assert_eq!(SshKeyDigest::of_ed25519(&key), login);
        let ecdsa = b"\0\0\0\x13ecdsa-sha2-nistp256";
        let ecdsa = format!("ecdsa-sha2-nistp256 {}", STANDARD.encode(ecdsa));
        let long = [ED25519_PREFIX, &[0; 33]].concat();
        let rows = [
            (
                ecdsa,
                SshKeyError::CannotSign("ecdsa-sha2-nistp256".to_owned()),
            ),
            (login.to_string(), SshKeyError::NotASigningKey),
            ("ana".to_owned(), SshKeyError::NotASigningKey),
            (
                format!("ssh-ed25519 {}", STANDARD.encode(long)),
                SshKeyError::NotASigningKey,
            ),
        ];
        for (line, expected) in rows {
            assert_eq!(parse_signing_key(&line), Err(expected), "{line}");
        }
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
