//! A little site to build into: a store folder, versions one after the other, bytes read back.

#![allow(
    dead_code,
    reason = "every test file uses another part of the same harness"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a harness fails its test at the first thing that is not as it should be"
)]

pub(crate) mod git;

use flate2::read::GzDecoder;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use verge_builder::{BuildError, Built, Event, Job, Limits, Outcome, Source, build};
use verge_sync::clock::UnixTime;
use verge_sync::digest::Digest;
use verge_sync::manifest::{Coding, Manifest, Representation};

/// 2026-11-22, some time in the morning.
pub(crate) const NOW: UnixTime = UnixTime(1_795_000_000);
pub(crate) const DAY: i64 = 24 * 60 * 60;

/// A store and the site's current version in it.
pub(crate) struct Site {
    _scratch: TempDir,
    pub(crate) blobs: PathBuf,
    staging: PathBuf,
    pub(crate) current: Option<Manifest>,
    pub(crate) limits: Limits,
    pub(crate) time: UnixTime,
    pub(crate) threads: usize,
    pub(crate) events: Vec<Event>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let blobs = scratch.path().join("blobs");
        fs::create_dir(&blobs).unwrap();
        Self {
            blobs,
            staging: scratch.path().join("staging"),
            _scratch: scratch,
            current: None,
            limits: Limits::default(),
            time: NOW,
            threads: 2,
            events: Vec::new(),
        }
    }

    /// Builds, without taking the version over.
    pub(crate) fn build(&mut self, source: Source) -> Result<Outcome, BuildError> {
        drop(fs::remove_dir_all(&self.staging));
        fs::create_dir(&self.staging).unwrap();
        let previous = self.current.as_ref();
        let job = Job {
            source,
            previous: previous.map(|manifest| self.blobs.join(manifest.version().to_string())),
            blobs: self.blobs.clone(),
            staging: self.staging.clone(),
            limits: self.limits.clone(),
            time: self.time,
            threads: self.threads,
        };
        self.events.clear();
        build(&job, &mut |event| self.events.push(event))
    }

    /// Builds a new version and makes it the current one, as a store would.
    pub(crate) fn deploy(&mut self, source: Source) -> Built {
        let outcome = self
            .build(source)
            .unwrap_or_else(|error| panic!("{error} ({error:?})"));
        let Outcome::Built(built) = outcome else {
            panic!("nothing changed");
        };
        let mut staged: Vec<String> = fs::read_dir(&self.staging)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        staged.sort();
        let mut named: Vec<String> = built
            .new_blobs
            .iter()
            .map(|b| b.digest.to_string())
            .collect();
        named.sort();
        assert_eq!(
            staged, named,
            "exactly the new blobs are in the staging folder"
        );
        for blob in &built.new_blobs {
            let name = blob.digest.to_string();
            let bytes = fs::read(self.staging.join(&name)).unwrap();
            assert_eq!(bytes.len() as u64, blob.bytes);
            assert_eq!(Digest::of(&bytes), blob.digest);
            fs::write(self.blobs.join(&name), bytes).unwrap();
        }
        let bytes = fs::read(self.blobs.join(built.version.to_string())).unwrap();
        let manifest = Manifest::decode(bytes).unwrap();
        assert_eq!(manifest.version(), built.version);
        assert_eq!(Digest::of(&manifest.sequence()), built.sequence_digest);
        self.current = Some(manifest);
        *built
    }

    /// The sentence with which a build is refused; nothing may be left that looks like a blob.
    pub(crate) fn refusal(&mut self, source: Source) -> String {
        match self.build(source) {
            Err(error) => error.to_string(),
            Ok(outcome) => panic!("not refused: {outcome:?}"),
        }
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        self.current.as_ref().expect("a version was deployed")
    }

    /// The published paths.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.manifest()
            .paths()
            .map(|entry| entry.path().to_owned())
            .collect()
    }

    /// The problems of the last build, as lines.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problem = |event: &Event| match event {
            Event::Problem(problem) => Some(problem.to_string()),
            _ => None,
        };
        self.events.iter().filter_map(problem).collect()
    }

    /// The bytes at `path`, decoded, in `coding`; `None` if it is not stored so.
    pub(crate) fn fetch(&self, path: &str, coding: Coding) -> Option<Vec<u8>> {
        let entry = self.manifest().find(path)?;
        let representation = entry.representation(coding)?;
        Some(decode(coding, &self.raw(&representation)))
    }

    /// The stored bytes of a representation, digest and SHA-256 checked.
    pub(crate) fn raw(&self, representation: &Representation) -> Vec<u8> {
        use sha2::Digest as _;
        let bytes = representation.location.map_or_else(Vec::new, |place| {
            let blob = self.manifest().blob(place.blob_index).unwrap();
            let mut blob = fs::File::open(self.blobs.join(blob.digest.to_string())).unwrap();
            blob.seek(SeekFrom::Start(place.offset)).unwrap();
            let mut bytes = Vec::new();
            blob.take(representation.length)
                .read_to_end(&mut bytes)
                .unwrap();
            bytes
        });
        assert_eq!(Digest::of(&bytes), representation.digest);
        assert_eq!(sha2::Sha256::digest(&bytes)[..], representation.sha256);
        bytes
    }

    /// Every published file in every stored coding equals the file below `root`.
    pub(crate) fn assert_equals(&self, root: &Path) {
        for entry in self.manifest().paths() {
            let source = fs::read(root.join(entry.path())).unwrap();
            for representation in entry.representations() {
                let bytes = decode(representation.coding, &self.raw(&representation));
                assert!(
                    bytes == source,
                    "{} {:?}",
                    entry.path(),
                    representation.coding
                );
            }
        }
    }
}

/// Decodes with the libraries' plain readers, not with the builder's own check.
pub(crate) fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        Coding::Identity => out.extend_from_slice(bytes),
        Coding::Brotli => drop(
            brotli::Decompressor::new(bytes, 4096)
                .read_to_end(&mut out)
                .unwrap(),
        ),
        Coding::Zstd => out = zstd::stream::decode_all(bytes).unwrap(),
        Coding::Gzip => drop(GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
    }
    out
}

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        put(root.path(), path, bytes);
    }
    root
}

/// Writes one file below `root`.
pub(crate) fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A page of some length that compresses like one.
pub(crate) fn page(title: &str, paragraphs: u32) -> Vec<u8> {
    let mut out = format!("<!doctype html><title>{title}</title>\n");
    for n in 0..paragraphs {
        out.push_str(&format!(
            "<p>{title}: paragraph {n} of {}</p>\n",
            n * 7919 % 1009
        ));
    }
    out.into_bytes()
}

/// Bytes that do not compress, the same on every run.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let blocks = (0_u64..).flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes());
    blocks.take(length).collect()
}

pub(crate) fn from(root: &TempDir) -> Source {
    Source::Folder(root.path().to_owned())
}
