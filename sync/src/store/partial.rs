//! `DIR/partial/<64 hex>`: the first part of a blob that is on its way.
//!
//! A peer's bytes are compared with the blob's digest piece by piece before they are written here,
//! in order, so what is here is the beginning of the blob and a transfer goes on where it ended,
//! after a crash too. Nothing is synced before the blob is whole: what a power cut tore does not
//! hash to the digest, and then the blob is fetched anew.

use super::Store;
use super::durable::{discard, remove_if_there};
use super::error::{At, StoreError};
use crate::digest::Digest;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// What is on disk is used up to a multiple of this: the unit in which peers prove their bytes.
const UNIT_BYTES: u64 = 16 << 10;

/// A blob that is on its way. At most one at a time for each blob: whoever fetches sees to that.
#[derive(Debug)]
pub struct Partial {
    file: Arc<File>,
    path: PathBuf,
    digest: Digest,
    bytes: u64,
}

impl Store {
    /// The beginning of the blob that is here already, perhaps nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Disk`].
    pub fn partial(&self, digest: Digest) -> Result<Partial, StoreError> {
        let path = self.partial_dir().join(digest.to_string());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&path).at("open", &path)?;
        let found = file.metadata().at("look up", &path)?.len();
        let bytes = found - found % UNIT_BYTES;
        if bytes != found {
            file.set_len(bytes).at("cut", &path)?;
        }
        Ok(Partial {
            file: Arc::new(file),
            path,
            digest,
            bytes,
        })
    }

    /// Removes the beginnings of all blobs. Nobody may be fetching one.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn sweep_partials(&self) -> Result<(), StoreError> {
        let dir = self.partial_dir();
        for entry in fs::read_dir(&dir).at("list", &dir)? {
            let entry = entry.at("list", &dir)?;
            remove_if_there(self.disk(), &entry.path())?;
        }
        Ok(())
    }

    fn partial_dir(&self) -> PathBuf {
        self.dir().join("partial")
    }
}

impl Partial {
    /// How many bytes from the beginning are here.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Adds what follows, on a thread that may wait for the disk.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Disk`]: what follows is still to come.
    pub async fn append(&mut self, piece: Vec<u8>) -> Result<(), StoreError> {
        let (file, at) = (Arc::clone(&self.file), self.bytes);
        let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let written = tokio::task::spawn_blocking(move || file.write_all_at(&piece, at));
        let written = written
            .await
            .unwrap_or_else(|ended| Err(io::Error::other(ended)));
        written.at("write", &self.path)?;
        self.bytes = self.bytes.saturating_add(len);
        Ok(())
    }

    /// Begins anew: what is here is not the beginning of the blob.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).at("cut", &self.path)?;
        self.bytes = 0;
        Ok(())
    }

    /// Moves the whole blob among the others; durable when this returns.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`]: it was torn, and is gone; [`StoreError::Full`] or
    /// [`StoreError::Disk`], after which it can be tried again.
    pub fn finish(self, store: &Store) -> Result<(), StoreError> {
        // Longer than the blob: another transfer wrote here once.
        self.file.set_len(self.bytes).at("cut", &self.path)?;
        match store.blobs().adopt(&self.path, self.digest) {
            Err(error @ StoreError::WrongDigest { .. }) => {
                discard(store.disk(), &self.path);
                Err(error)
            }
            adopted => adopted,
        }
    }
}
