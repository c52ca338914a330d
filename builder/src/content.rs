//! First reading: every published file is hashed, so that the content part is known before anything
//! is compressed, and what has not changed is never read again.

use crate::compress::RECIPE;
use crate::error::{BuildError, Refusal};
use crate::hashed_names::{HashedNames, Proof};
use crate::media_type::{Compressible, compressible, media_type};
use crate::select::Selected;
use crate::source::{Contents, File};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use verge_sync::digest::{Digest, Digester};
use verge_sync::manifest::{Content, ContentPath};

/// A Git LFS pointer begins with this line, and is shorter than [`LFS_BYTES_MAX`].
const LFS_BEGINNING: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// 1,024: the limit of the pointer format.
const LFS_BYTES_MAX: u64 = 1024;
/// Below this one reader is faster than starting another `git`, which takes 3 ms.
const ALONE_BYTES_MAX: u64 = 4 << 20;
/// More than so many readers only wait for the disk.
const READERS_MAX: usize = 4;

/// One content: the bytes of one or more published files.
#[derive(Debug, Clone)]
pub(crate) struct Distinct {
    /// Digest of the bytes.
    pub(crate) identity: Digest,
    /// A file that has them: the first in order of paths.
    pub(crate) file: File,
    /// What the most promising of its names says.
    pub(crate) compressible: Compressible,
}

/// What the first reading found.
pub(crate) struct Hashed {
    /// The content part.
    pub(crate) content: Content,
    /// Each content once, in order of first paths.
    pub(crate) distinct: Vec<Distinct>,
}

/// Reads every selected file once; `sections` are the content sections that the rule files make.
pub(crate) fn hash(
    selected: &Selected,
    contents: &mut Contents,
    sections: BTreeMap<u32, Vec<u8>>,
    threads: usize,
) -> Result<Hashed, BuildError> {
    let unread = unread(selected);
    let readings = read_all(&unread, contents, threads)?;
    let mut identities: BTreeMap<u32, Digest> = BTreeMap::new();
    for (unread, reading) in unread.iter().zip(&readings) {
        let positions = unread.names.iter().map(|(position, _)| *position);
        identities.extend(positions.map(|position| (position, reading.identity)));
    }
    let mut content = Content {
        recipe: RECIPE,
        sections,
        ..Content::default()
    };
    let names = HashedNames::new(readings.into_iter().flat_map(|reading| reading.proven));
    if names.count() > 0 {
        content.sections.insert(HashedNames::TAG, names.encode());
    }
    let mut distinct = Distincts::default();
    for ((path, file), identity) in selected.files.iter().zip(identities.into_values()) {
        let name = path.file_name();
        distinct.add(identity, file, compressible(name));
        let entry = ContentPath {
            identity,
            length: file.bytes,
            media_type: media_type(name).to_owned(),
        };
        content.paths.insert(path.clone(), entry);
    }
    let distinct = distinct.list;
    Ok(Hashed { content, distinct })
}

/// Collects each content once.
#[derive(Default)]
struct Distincts {
    list: Vec<Distinct>,
    known: BTreeMap<Digest, usize>,
}

impl Distincts {
    fn add(&mut self, identity: Digest, file: &File, compressible: Compressible) {
        let at = *self.known.entry(identity).or_insert(self.list.len());
        match self.list.get_mut(at) {
            Some(known) => known.compressible = known.compressible.max(compressible),
            None => self.list.push(Distinct {
                identity,
                file: file.clone(),
                compressible,
            }),
        }
    }
}

/// A file of the source and every name under which it is published.
struct Unread<'a> {
    file: &'a File,
    /// Positions in the table of paths, and file names.
    names: Vec<(u32, &'a str)>,
}

/// What one reading found.
struct Reading {
    identity: Digest,
    /// Positions whose names carry a hash of the content.
    proven: Vec<u32>,
}

/// Every file of the source once: links and equal objects share theirs.
fn unread(selected: &Selected) -> Vec<Unread<'_>> {
    let mut unread: Vec<Unread<'_>> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, (path, file)) in (0_u32..).zip(&selected.files) {
        let key = file.object.as_deref().unwrap_or(&file.path);
        let at = *known.entry(key).or_insert_with(|| {
            let names = Vec::new();
            unread.push(Unread { file, names });
            unread.len() - 1
        });
        if let Some(unread) = unread.get_mut(at) {
            unread.names.push((position, path.file_name()));
        }
    }
    unread
}

/// Reads everything, with as many readers as there are threads where that pays.
fn read_all(
    unread: &[Unread<'_>],
    contents: &mut Contents,
    threads: usize,
) -> Result<Vec<Reading>, BuildError> {
    let bytes: u64 = unread.iter().map(|unread| unread.file.bytes).sum();
    let helpers = if bytes < ALONE_BYTES_MAX {
        0
    } else {
        threads.saturating_sub(1)
    };
    let next = AtomicUsize::new(0);
    let readings = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..helpers.min(READERS_MAX) {
            let mut contents = contents.another()?;
            let (next, readings) = (&next, &readings);
            scope.spawn(move || read_some(unread, &mut contents, next, readings));
        }
        read_some(unread, contents, &next, &readings);
        Ok::<(), BuildError>(())
    })?;
    let readings = readings
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    readings.into_values().collect()
}

/// Takes the next file until there is none or one went wrong. Files are taken in order, so the
/// first in order that is wrong has always been read, whoever was faster: the sentence is the same
/// every time.
fn read_some(
    unread: &[Unread<'_>],
    contents: &mut Contents,
    next: &AtomicUsize,
    readings: &Mutex<BTreeMap<usize, Result<Reading, BuildError>>>,
) {
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = unread.get(at) else { return };
        let reading = read_one(file, contents);
        if reading.is_err() {
            next.store(unread.len(), Ordering::Relaxed);
        }
        let mut readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.insert(at, reading);
    }
}

fn read_one(unread: &Unread<'_>, contents: &mut Contents) -> Result<Reading, BuildError> {
    let file = unread.file;
    let mut digest = Digester::new();
    let names = unread.names.iter();
    let mut proofs: Vec<(u32, Proof)> = names
        .filter_map(|(position, name)| Some((*position, Proof::start(name)?)))
        .collect();
    let mut beginning = Vec::new();
    contents.read(file, &mut |piece| {
        digest.update(piece);
        for (_, proof) in &mut proofs {
            proof.update(piece);
        }
        if file.bytes < LFS_BYTES_MAX {
            beginning.extend_from_slice(piece);
        }
        Ok(())
    })?;
    if is_lfs_pointer(&beginning) {
        let path = file.path.clone();
        return Err(Refusal::LfsPointer { path }.into());
    }
    let proven = proofs
        .into_iter()
        .filter_map(|(position, proof)| proof.holds().then_some(position));
    Ok(Reading {
        identity: digest.digest(),
        proven: proven.collect(),
    })
}

/// The form of a pointer: the version, then keys, among them `oid` and `size`.
fn is_lfs_pointer(bytes: &[u8]) -> bool {
    let Some(keys) = bytes.strip_prefix(LFS_BEGINNING) else {
        return false;
    };
    let has = |key: &[u8]| {
        keys.split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(key))
    };
    has(b"oid sha256:") && has(b"size ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lfs_pointers_are_told_from_files_about_them() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        assert!(is_lfs_pointer(pointer));
        for other in [
            &b""[..],
            b"version https://git-lfs.github.com/spec/v1\n",
            b"A pointer begins with:\nversion https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
            b"version https://git-lfs.github.com/spec/v1\r\noid sha256:4d7a\r\nsize 1\r\n",
        ] {
            assert!(!is_lfs_pointer(other));
        }
    }
}
