//! An open blob, read at any place.

use super::error::{At, StoreError};
use crate::digest::Digest;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open blob.
#[derive(Debug)]
pub struct BlobFile {
    file: File,
    path: PathBuf,
    digest: Digest,
    bytes: u64,
}

impl BlobFile {
    pub(super) fn open(path: PathBuf, digest: Digest) -> Result<Option<Self>, StoreError> {
        let file = match open_nofollow(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.at("open", &path)?,
        };
        let bytes = file.metadata().at("look up", &path)?.len();
        Ok(Some(Self {
            file,
            path,
            digest,
            bytes,
        }))
    }

    /// The size of the blob.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The name of the blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether this very file, and no other with the same name, is at the blob's place now.
    pub(super) fn is_in_place(&self) -> Result<bool, StoreError> {
        let own = self.file.metadata().at("look up", &self.path)?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("look up", &self.path, error)),
        }
    }

    /// `len` bytes from `offset`, by `pread`: a failing disk is an error, where a memory map would
    /// be a SIGBUS.
    ///
    /// # Errors
    /// [`StoreError::OutOfRange`] before anything is allocated; [`StoreError::Disk`].
    pub fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        self.check_range(offset, len)?;
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.check_range(offset, buffer.len())?;
        self.fill(offset, buffer)
    }

    fn check_range(&self, offset: u64, len: usize) -> Result<(), StoreError> {
        let end = u64::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len));
        match end {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(StoreError::OutOfRange {
                digest: self.digest,
                bytes: self.bytes,
                offset,
                len,
            }),
        }
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.file
            .read_exact_at(buffer, offset)
            .at("read", &self.path)
    }
}

/// Opens an existing file for reading: never through a link, never waiting for a pipe's writer.
pub(super) fn open_nofollow(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}
