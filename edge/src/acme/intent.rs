//! What an order needs to be taken up again after a crash: one file per directory and set of names.
//!
//! It is written durably before anything is sent, and holds the key that the certificate will be
//! for, so that a crash at any step loses nothing and orders nothing twice: an order that the
//! server knows is resumed by its URL, one whose URL was not yet known has no certificate and never
//! gets one. The file goes when the caller says that it keeps the certificate
//! ([`Intents::settle`]), or when the order is dead. Files are 0600; their folder is 0700.

use super::certificate::Predecessor;
use super::directory::Directory;
use super::error::AcmeError;
use super::names::Names;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::store::write_file_durably;
use zeroize::{Zeroize, Zeroizing};

/// The version of the files.
const FORMAT: u32 = 1;
/// A request with a hundred long names has 30 KB.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Files that are looked at in the folder.
const FILES_MAX: usize = 10_000;
const ENDING: &str = "order";

/// The folder of the orders that are under way. A clone is the same folder.
#[derive(Debug, Clone)]
pub struct Intents {
    folder: Arc<Path>,
    /// The sets that are being ordered in this process.
    underway: Arc<Mutex<HashSet<Digest>>>,
}

/// An order that has not been settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// At which server, by the URL of its directory.
    pub directory: String,
    /// For which names.
    pub names: Names,
    /// When it was begun.
    pub begun: UnixTime,
    /// Whether the key came from a request of the owner's own.
    pub is_of_owners_key: bool,
    /// What it replaces.
    pub replaces: Option<Predecessor>,
}

/// What a file holds. Never shown: it has the key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Intent {
    format: u32,
    pub(super) directory: String,
    pub(super) account: String,
    pub(super) names: Vec<String>,
    /// PKCS#8 in base64url; nothing for a request of the owner's own.
    pub(super) key: Option<String>,
    /// The certificate signing request in base64url.
    request: String,
    /// As soon as it is known.
    pub(super) order: Option<String>,
    pub(super) replaces: Option<String>,
    begun_s: i64,
    /// Texts that may stand in a zone: name and value.
    pub(super) texts: Vec<(String, String)>,
}

impl Drop for Intent {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Intent {
    /// Nothing has been sent yet.
    pub(super) fn new(
        directory: &Directory,
        account: &str,
        names: &Names,
        key: Option<&[u8]>,
        request: &[u8],
    ) -> Self {
        Self {
            format: FORMAT,
            directory: directory.url().to_owned(),
            account: account.to_owned(),
            names: names.iter().map(str::to_owned).collect(),
            key: key.map(|key| BASE64URL_NOPAD.encode(key)),
            request: BASE64URL_NOPAD.encode(request),
            order: None,
            replaces: None,
            begun_s: 0,
            texts: Vec::new(),
        }
    }

    pub(super) fn begun_at(mut self, now: UnixTime, replaces: Option<&Predecessor>) -> Self {
        self.begun_s = now.0;
        self.replaces = replaces.map(|replaces| replaces.as_str().to_owned());
        self
    }

    /// The certificate signing request in DER.
    pub(super) fn request(&self) -> Vec<u8> {
        BASE64URL_NOPAD
            .decode(self.request.as_bytes())
            .unwrap_or_default()
    }

    /// The private key in DER (PKCS#8).
    pub(super) fn key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let key = self.key.as_ref()?;
        BASE64URL_NOPAD
            .decode(key.as_bytes())
            .ok()
            .map(Zeroizing::new)
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Growing would leave parts of the key behind.
        let room =
            4096 + self.request.len() + self.names.iter().map(|n| n.len() + 8).sum::<usize>();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        let written = serde_json::to_writer(&mut *bytes, self);
        debug_assert!(written.is_ok(), "texts and numbers always encode");
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let intent: Self = serde_json::from_slice(bytes).ok()?;
        let request = BASE64URL_NOPAD.decode(intent.request.as_bytes()).is_ok();
        (intent.format == FORMAT && request).then_some(intent)
    }

    pub(super) fn pending(&self) -> Option<Pending> {
        Some(Pending {
            directory: self.directory.clone(),
            names: Names::new(self.names.iter().map(String::as_str)).ok()?,
            begun: UnixTime(self.begun_s),
            is_of_owners_key: self.key.is_none(),
            replaces: self.replaces.as_deref().and_then(Predecessor::from_text),
        })
    }
}

impl Intents {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn open(folder: &Path) -> Result<Self, AcmeError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.map_err(|source| AcmeError::File {
            verb: "make",
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.into(),
            underway: Arc::default(),
        })
    }

    /// The orders that a crash or an error left: call [`order()`](super::order()) for their names
    /// again. A file that does not read is left out and logged.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn pending(&self) -> Result<Vec<Pending>, AcmeError> {
        let fail = |source| AcmeError::File {
            verb: "read",
            path: self.folder.to_path_buf(),
            source,
        };
        let mut pending = Vec::new();
        for entry in std::fs::read_dir(&self.folder)
            .map_err(fail)?
            .take(FILES_MAX)
        {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                match read(&path)?.and_then(|intent| intent.pending()) {
                    Some(found) => pending.push(found),
                    None => tracing::warn!(path = %path.display(), "an order that does not read"),
                }
            }
        }
        pending.sort_by(|a, b| (a.begun, &a.names).cmp(&(b.begun, &b.names)));
        Ok(pending)
    }

    /// The caller keeps the certificate durably, or gives it up: the order is forgotten.
    ///
    /// # Errors
    /// [`AcmeError::File`].
    pub fn settle(&self, directory: &Directory, names: &Names) -> Result<(), AcmeError> {
        remove(&self.path(id(directory, names)))
    }

    /// The right to order for these names; ends when it is dropped.
    pub(super) fn turn(&self, directory: &Directory, names: &Names) -> Result<Turn, AcmeError> {
        let id = id(directory, names);
        let mut underway = self.underway.lock().unwrap_or_else(PoisonError::into_inner);
        if !underway.insert(id) {
            return Err(AcmeError::Underway(names.to_string()));
        }
        drop(underway);
        Ok(Turn(Arc::new(Held {
            intents: self.clone(),
            id,
        })))
    }

    fn path(&self, id: Digest) -> PathBuf {
        self.folder.join(format!("{id}.{ENDING}"))
    }
}

/// One order has one turn. A clone is the same: a write that outlives its order keeps the turn.
#[derive(Clone)]
pub(super) struct Turn(Arc<Held>);

struct Held {
    intents: Intents,
    id: Digest,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut underway = self
            .intents
            .underway
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        underway.remove(&self.id);
    }
}

impl Turn {
    /// What a former try left; nothing also if it does not read.
    pub(super) async fn read(&self) -> Result<Option<Intent>, AcmeError> {
        let path = self.path();
        self.off_the_runtime(move || read(&path)).await
    }

    /// Durable when this returns.
    pub(super) async fn write(&self, intent: &Intent) -> Result<(), AcmeError> {
        let (path, bytes) = (self.path(), intent.to_bytes());
        self.off_the_runtime(move || {
            write_file_durably(&path, &bytes, 0o600).map_err(AcmeError::from)
        })
        .await
    }

    /// The order is dead.
    pub(super) async fn forget(&self) -> Result<(), AcmeError> {
        let path = self.path();
        self.off_the_runtime(move || remove(&path)).await
    }

    fn path(&self) -> PathBuf {
        self.0.intents.path(self.0.id)
    }

    /// A disk takes its time. The work keeps the turn, even when nobody waits for it any more.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AcmeError> + Send + 'static,
    ) -> Result<T, AcmeError> {
        let turn = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        match done.await {
            Ok(done) => done,
            Err(error) => Err(AcmeError::Crypto(format!("a task ended early ({error})"))),
        }
    }
}

fn id(directory: &Directory, names: &Names) -> Digest {
    const LABEL: &str = "verge acme order v1";
    let (directory, names) = (directory.digest(), names.digest());
    Digest::derive(LABEL, &[directory.as_bytes(), names.as_bytes()])
}

fn read(path: &Path) -> Result<Option<Intent>, AcmeError> {
    let file = |source| AcmeError::File {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(error)),
    };
    if length > FILE_BYTES_MAX {
        tracing::warn!(path = %path.display(), "too long for an order: it is begun anew");
        return Ok(None);
    }
    let bytes = Zeroizing::new(std::fs::read(path).map_err(file)?);
    let intent = Intent::from_bytes(&bytes);
    if intent.is_none() {
        tracing::warn!(path = %path.display(), "a damaged order: it is begun anew");
    }
    Ok(intent)
}

fn remove(path: &Path) -> Result<(), AcmeError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(AcmeError::File {
            verb: "remove",
            path: path.to_owned(),
            source,
        }),
    }
}
