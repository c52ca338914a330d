//! The key that this node shares with the zone's server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Seconds by which the clocks of both sides may differ (RFC 8945 section 10).
const FUDGE_S: u16 = 300;
/// The shortest key: that of the hash (RFC 8945 section 8).
const KEY_BYTES_MIN: usize = 32;
/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 1024;

/// A key with its name; it signs updates, and is never shown.
#[derive(Clone)]
pub struct UpdateKey(TSigner);

/// Why a key cannot be used; the steward's to mend.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No such file, or it cannot be read.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others of this machine can read it.
    #[error("{path} can be read by others: `chmod 600 {path}`", path = .0.display())]
    Open(PathBuf),
    /// Not a key.
    #[error("{path} is not a key: write at least 32 random bytes in base64 into it, as `openssl rand -base64 32` does", path = .0.display())]
    NotAKey(PathBuf),
    /// The name of the key is no DNS name.
    #[error("dns_update.key_name: {0:?} is not a DNS name")]
    Name(String),
}

impl UpdateKey {
    /// Reads the key in `path`, which the zone's server knows by `name`.
    ///
    /// # Errors
    /// [`KeyError`]; its text has nothing of the key.
    pub fn read(name: &str, path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Read {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        let mut text = String::new();
        // One more: what is cut off must not pass for a key.
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        let bytes = u64::try_from(read.map_err(failed)?);
        if bytes.is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
            return Err(KeyError::NotAKey(path.to_owned()));
        }
        Self::new(name, text.trim(), path)
    }

    pub(super) fn new(name: &str, text: &str, path: &Path) -> Result<Self, KeyError> {
        let key = STANDARD.decode(text).ok();
        let key = key.filter(|key| key.len() >= KEY_BYTES_MIN);
        let key = key.ok_or_else(|| KeyError::NotAKey(path.to_owned()))?;
        let wrong_name = || KeyError::Name(name.to_owned());
        let name = Name::from_ascii(name).ok().filter(|name| !name.is_root());
        let name = name.ok_or_else(wrong_name)?;
        // DNS compares names without case; the server signs with the name in lower case.
        let name = name.to_lowercase();
        let signer = TSigner::new(key, TsigAlgorithm::HmacSha256, name, FUDGE_S);
        let signer = signer.map_err(|_unsupported| KeyError::NotAKey(path.to_owned()))?;
        Ok(Self(signer))
    }

    pub(super) fn signer(&self) -> &TSigner {
        &self.0
    }
}

impl fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpdateKey({})", self.0.signer_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_files_that_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let secret = STANDARD.encode([7; KEY_BYTES_MIN]);
        let short = STANDARD.encode([7; KEY_BYTES_MIN - 1]);
        let long = STANDARD.encode([7; 800]);
        let read = |text: &str, name: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            UpdateKey::read(name, &path)
        };
        let shown = format!("{:?}", read(&format!("{secret}\n"), "Region.Key", 0o600));
        assert_eq!(shown, "Ok(UpdateKey(region.key.))");
        let rows = [
            (
                secret.as_str(),
                "region-key",
                0o640,
                "can be read by others",
            ),
            (&secret, "region-key", 0o604, "can be read by others"),
            (&short, "region-key", 0o600, "is not a key"),
            (&long, "region-key", 0o600, "is not a key"),
            ("secret!", "region-key", 0o600, "is not a key"),
            ("", "region-key", 0o600, "is not a key"),
            (&secret, ".", 0o600, "is not a DNS name"),
            (&secret, "a..b", 0o600, "is not a DNS name"),
        ];
        for (text, name, mode, expected) in rows {
            let error = read(text, name, mode).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let error = UpdateKey::read("k", &folder.path().join("none")).unwrap_err();
        assert!(error.to_string().starts_with("read "), "{error}");
    }
}
