//! A key of an account, where its owner keeps it: a raw Ed25519 key, or one of OpenSSH, by whose own
//! `ssh-keygen` it is used, so that passphrases and agents work as they always do.

use crate::node_keys::{KeyError, read_key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use verge_sync::keys::ProviderKey;
use verge_sync::record::{Draft, Record, RecordError, Signature};

/// What every SSHSIG of a record is for (`docs/format.md#envelope`).
const NAMESPACE: &str = "verge";
/// An OpenSSH key file of any type has less.
const FILE_BYTES_MAX: u64 = 64 << 10;
const ARMOUR: [&str; 2] = [
    "-----BEGIN SSH SIGNATURE-----",
    "-----END SSH SIGNATURE-----",
];

/// A key that signs for an account.
#[derive(Debug, Clone)]
pub struct OwnKey {
    path: PathBuf,
    is_ssh: bool,
}

/// Why a key did not sign.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// It is not there, or not for us to read.
    #[error("read {path}", path = .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A raw key that is none, or that others can read.
    #[error(transparent)]
    Raw(#[from] KeyError),
    /// OpenSSH is missing.
    #[error("run ssh-keygen, which signs with OpenSSH's keys: install OpenSSH's client")]
    NoSshKeygen(#[source] std::io::Error),
    /// It has said no, and why.
    #[error("ssh-keygen did not sign with {path}: {said}", path = path.display())]
    Refused {
        /// The key.
        path: PathBuf,
        /// The last that it said.
        said: String,
    },
    /// A key of another type.
    #[error(
        "{path} is no key of type ssh-ed25519, and only those sign records: make one with `ssh-keygen -t ed25519`",
        path = .0.display()
    )]
    Type(PathBuf),
    /// The record cannot be made of it.
    #[error("put the signature to the record")]
    Record(#[from] RecordError),
}

impl OwnKey {
    /// The key in a file: 32 raw bytes that nobody else can read, a private key of OpenSSH, or the
    /// public half of one that an agent has.
    ///
    /// # Errors
    /// [`OwnKeyError::Read`].
    pub fn open(path: &Path) -> Result<Self, OwnKeyError> {
        let fail = |source| OwnKeyError::Read(path.to_owned(), source);
        let bytes = std::fs::metadata(path).map_err(fail)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(OwnKeyError::Type(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            is_ssh: bytes != 32,
        })
    }

    /// Signs what a line asks for.
    ///
    /// # Errors
    /// [`OwnKeyError`].
    pub fn sign(&self, draft: &Draft) -> Result<Record, OwnKeyError> {
        if !self.is_ssh {
            let key = ProviderKey::from_bytes(&read_key(&self.path)?);
            return Ok(draft.sign(key.signing_key())?);
        }
        let armoured = self.ssh_keygen(&draft.message())?;
        let blob = dearmoured(&armoured).ok_or_else(|| OwnKeyError::Refused {
            path: self.path.clone(),
            said: "it printed no signature".to_owned(),
        })?;
        let signature = Signature::ssh(&blob);
        let signature = signature.map_err(|_other_type| OwnKeyError::Type(self.path.clone()))?;
        Ok(draft.attach(&signature)?)
    }

    /// What `ssh-keygen -Y sign` prints for `message`. It asks for a passphrase on the terminal by
    /// itself.
    fn ssh_keygen(&self, message: &[u8]) -> Result<String, OwnKeyError> {
        let mut command = Command::new("ssh-keygen");
        command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]);
        command.arg(&self.path).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(OwnKeyError::NoSshKeygen)?;
        // Shorter than any pipe: it is written at once, whether it is read or not.
        let told = child.stdin.take().map(|mut stdin| stdin.write_all(message));
        let output = child.wait_with_output().map_err(OwnKeyError::NoSshKeygen)?;
        if output.status.success() && matches!(told, Some(Ok(()))) {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let mut lines = said.lines().rev().map(str::trim);
        let said = lines.find(|line| !line.is_empty() && !line.starts_with("Signing data"));
        Err(OwnKeyError::Refused {
            path: self.path.clone(),
            said: said.unwrap_or("it did not say why").to_owned(),
        })
    }
}

/// The binary form of an armoured SSHSIG.
fn dearmoured(text: &str) -> Option<Vec<u8>> {
    let [begin, end] = ARMOUR;
    let (_, rest) = text.split_once(begin)?;
    let (letters, _) = rest.split_once(end)?;
    let letters: String = letters.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(letters).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armour_comes_off() {
        let text = format!("noise\n{}\nU1NI\nU0lH\n{}\n", ARMOUR[0], ARMOUR[1]);
        assert_eq!(dearmoured(&text).as_deref(), Some(b"SSHSIG".as_slice()));
        for wrong in ["", ARMOUR[0], &text.replace("U1NI", "!!!!")] {
            assert_eq!(dearmoured(wrong), None, "{wrong}");
        }
    }
}
