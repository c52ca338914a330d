//! Certificates that are to be revoked once others have taken their place: one file each, beside the
//! orders under way, so that neither a stop nor an outage of the server loses one.
//!
//! A file is written durably before the successor is handed out, and goes when the server has revoked
//! the certificate, or never will. It holds no secret.

use super::directory::Directory;
use super::error::AcmeError;
use super::names::Names;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_sync::Digest;
use verge_sync::store::write_file_durably;

/// The version of the files.
const FORMAT: u32 = 1;
/// A chain of 32 KiB, and names.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Files that are looked at in the folder.
const FILES_MAX: usize = 10_000;
const ENDING: &str = "revoke";

/// The folder of what is to be revoked. A clone is the same folder.
#[derive(Debug, Clone)]
pub struct Revocations(Arc<Path>);

/// A certificate that is to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// At which server, by the URL of its directory.
    pub directory: String,
    /// Its names.
    pub names: Names,
    /// Its chain in PEM form.
    pub chain: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    directory: String,
    names: Vec<String>,
    chain: String,
}

impl Revocations {
    /// What lies in `folder`, which is there.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.into())
    }

    /// Notes that `chain` is to be revoked; durable when this returns. Noting it twice is noting it once.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub fn note(&self, directory: &Directory, names: &Names, chain: &str) -> Result<(), AcmeError> {
        let stored = Stored {
            format: FORMAT,
            directory: directory.url().to_owned(),
            names: names.iter().map(str::to_owned).collect(),
            chain: chain.to_owned(),
        };
        let text = serde_json::to_vec(&stored);
        let text = text.map_err(|error| AcmeError::Crypto(error.to_string()))?;
        Ok(write_file_durably(&self.path(chain), &text, 0o600)?)
    }

    /// All that are left. A file that does not read is left out and logged.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn pending(&self) -> Result<Vec<Revocation>, AcmeError> {
        let fail = |source| file("read", &self.0, source);
        let mut pending = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(fail)?.take(FILES_MAX) {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            match read(&path)? {
                Some(found) => pending.push(found),
                None => tracing::warn!(path = %path.display(), "a revocation that does not read"),
            }
        }
        pending.sort_by(|one, other| one.chain.cmp(&other.chain));
        Ok(pending)
    }

    /// It is done, or never will be.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn settle(&self, revocation: &Revocation) -> Result<(), AcmeError> {
        let path = self.path(&revocation.chain);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(file("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, chain: &str) -> PathBuf {
        let digest = Digest::of(chain.as_bytes());
        self.0.join(format!("{digest}.{ENDING}"))
    }
}

fn file(verb: &'static str, path: &Path, source: io::Error) -> AcmeError {
    AcmeError::File {
        verb,
        path: path.to_owned(),
        source,
    }
}

fn read(path: &Path) -> Result<Option<Revocation>, AcmeError> {
    let fail = |source| file("read", path, source);
    if std::fs::metadata(path).map_err(fail)?.len() > FILE_BYTES_MAX {
        return Ok(None);
    }
    Ok(parse(&std::fs::read(path).map_err(fail)?))
}

fn parse(bytes: &[u8]) -> Option<Revocation> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    let names = Names::new(stored.names.iter().map(String::as_str)).ok()?;
    (stored.format == FORMAT).then_some(Revocation {
        directory: stored.directory,
        names,
        chain: stored.chain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_there_until_it_is_settled() {
        let folder = tempfile::tempdir().unwrap();
        let revocations = Revocations::in_folder(folder.path());
        let directory = Directory::new("https://ca.example/dir", None).unwrap();
        let names = Names::new(["a.example"]).unwrap();
        for chain in ["one", "two", "one"] {
            revocations.note(&directory, &names, chain).unwrap();
        }
        // What others put there, and what does not read, is left alone.
        for (file, bytes) in [
            ("x.order", &b"{}"[..]),
            ("y.revoke", b"{"),
            ("z.revoke", b"{}"),
        ] {
            std::fs::write(folder.path().join(file), bytes).unwrap();
        }
        std::fs::write(folder.path().join("long.revoke"), vec![b' '; 70_000]).unwrap();
        let again = Revocations::in_folder(folder.path());
        let pending = again.pending().unwrap();
        let chains: Vec<&str> = pending.iter().map(|one| one.chain.as_str()).collect();
        assert_eq!(chains, ["one", "two"]);
        assert_eq!(
            (pending[0].directory.as_str(), &pending[0].names),
            (directory.url(), &names)
        );
        again.settle(&pending[0]).unwrap();
        again.settle(&pending[0]).unwrap();
        assert_eq!(revocations.pending().unwrap(), pending[1..]);
    }
}
