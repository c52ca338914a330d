//! The folder that takes the new blobs: packs while they grow, big blobs, manifest, sequence.
//!
//! Nothing here is synced: the staging folder is thrown away after a crash, and the store syncs a
//! blob when it takes it over.

use crate::error::BuildError;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use verge_sync::digest::{Digest, Digester};
use verge_sync::manifest::BlobRef;
use verge_sync::pack::{Packer, Place};

/// Writes blobs into the staging folder.
pub(crate) struct Staging {
    folder: PathBuf,
    written: Vec<BlobRef>,
    packer: Packer,
    packs: Vec<BlobRef>,
    open_pack: Option<(u32, Draft)>,
}

impl Staging {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            written: Vec::new(),
            packer: Packer::default(),
            packs: Vec::new(),
            open_pack: None,
        }
    }

    /// Adds `bytes` to the current pack, or to the next if it is full.
    pub(crate) fn pack(&mut self, bytes: &[u8]) -> Result<Place, BuildError> {
        let place = self.packer.place(length_of(bytes));
        let is_current = |open: &(u32, Draft)| open.0 == place.pack_index;
        if !self.open_pack.as_ref().is_some_and(is_current) {
            self.close_pack()?;
            let draft = self.draft("pack.part")?;
            self.open_pack = Some((place.pack_index, draft));
        }
        if let Some((_, draft)) = &mut self.open_pack {
            let written = draft.write_all(bytes);
            written.map_err(BuildError::disk("write", &draft.path))?;
        }
        Ok(place)
    }

    /// Closes the last pack; all packs in order.
    pub(crate) fn finish_packs(&mut self) -> Result<Vec<BlobRef>, BuildError> {
        self.close_pack()?;
        Ok(std::mem::take(&mut self.packs))
    }

    /// Writes a whole blob.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<BlobRef, BuildError> {
        let mut draft = self.draft("blob.part")?;
        let written = draft.write_all(bytes);
        written.map_err(BuildError::disk("write", &draft.path))?;
        self.keep(draft.finish()?)
    }

    /// Starts a file whose name is not known yet. One of each `name` at a time.
    pub(crate) fn draft(&self, name: &str) -> Result<Draft, BuildError> {
        let path = self.folder.join(name);
        let file = File::create(&path).map_err(BuildError::disk("create", &path))?;
        Ok(Draft {
            path,
            to: BufWriter::with_capacity(64 << 10, file),
            digest: Digester::new(),
            sha256: Sha256::new(),
            bytes: 0,
        })
    }

    /// Makes a finished draft a blob.
    #[expect(
        clippy::disallowed_methods,
        reason = "the store syncs and renames when it takes the blob over; a staging folder is never read after a crash"
    )]
    pub(crate) fn keep(&mut self, finished: Finished) -> Result<BlobRef, BuildError> {
        let name = self.folder.join(finished.blob.digest.to_string());
        std::fs::rename(&finished.path, &name).map_err(BuildError::disk("write", &name))?;
        self.written.push(finished.blob);
        Ok(finished.blob)
    }

    /// Throws a finished draft away.
    pub(crate) fn discard(&self, finished: &Finished) -> Result<(), BuildError> {
        std::fs::remove_file(&finished.path).map_err(BuildError::disk("remove", &finished.path))
    }

    /// Opens a blob that was kept.
    pub(crate) fn open(&self, digest: &Digest) -> Result<File, BuildError> {
        let path = self.folder.join(digest.to_string());
        File::open(&path).map_err(BuildError::disk("open", &path))
    }

    /// Every blob in the folder, in the order in which they were kept, each once.
    pub(crate) fn into_blobs(self) -> Vec<BlobRef> {
        let mut blobs: Vec<BlobRef> = Vec::new();
        for blob in self.written {
            if !blobs.contains(&blob) {
                blobs.push(blob);
            }
        }
        blobs
    }

    fn close_pack(&mut self) -> Result<(), BuildError> {
        if let Some((_, draft)) = self.open_pack.take() {
            let pack = self.keep(draft.finish()?)?;
            self.packs.push(pack);
        }
        Ok(())
    }
}

/// A file that is being written and hashed.
pub(crate) struct Draft {
    path: PathBuf,
    to: BufWriter<File>,
    digest: Digester,
    sha256: Sha256,
    bytes: u64,
}

/// A written file that is not a blob yet.
pub(crate) struct Finished {
    path: PathBuf,
    pub(crate) blob: BlobRef,
    pub(crate) sha256: [u8; 32],
}

impl Draft {
    /// For `map_err` while writing.
    pub(crate) fn error(&self) -> impl FnOnce(io::Error) -> BuildError + use<> {
        BuildError::disk("write", &self.path)
    }

    pub(crate) fn finish(mut self) -> Result<Finished, BuildError> {
        self.to
            .flush()
            .map_err(BuildError::disk("write", &self.path))?;
        Ok(Finished {
            blob: BlobRef {
                digest: self.digest.digest(),
                bytes: self.bytes,
            },
            sha256: self.sha256.finalize().into(),
            path: self.path,
        })
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.digest.update(bytes);
        self.sha256.update(bytes);
        self.bytes += length_of(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Finished {
    /// Reads it again from the start.
    pub(crate) fn open(&self) -> Result<File, BuildError> {
        File::open(&self.path).map_err(BuildError::disk("open", &self.path))
    }

    /// All of it; only for what fits a pack.
    pub(crate) fn read_whole(&self) -> Result<Vec<u8>, BuildError> {
        let mut bytes = Vec::new();
        let read = self.open()?.read_to_end(&mut bytes);
        read.map_err(BuildError::disk("read", &self.path))?;
        Ok(bytes)
    }
}

/// A length as the formats count.
pub(crate) fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
