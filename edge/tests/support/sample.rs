//! Versions made by hand: manifests and blobs as a build would leave them.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use verge_builder::rules::{HeaderRules, Redirects, RuleFiles};
use verge_sync::clock::UnixTime;
use verge_sync::manifest::{
    BlobRef, Coding, Content, ContentPath, Delivery, Location, Representation,
};
use verge_sync::{Digest, SitePath, Version};

/// 1994-11-06 08:49:37.
pub(crate) const FIRST_SEEN: UnixTime = UnixTime(784_111_777);
const PACKED_BYTES_MAX: usize = 1 << 20;

/// One file of a site.
pub(crate) struct File {
    pub(crate) path: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) immutable: bool,
}

pub(crate) fn file(path: &'static str, bytes: impl Into<Vec<u8>>) -> File {
    let media_type = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    File {
        path,
        media_type,
        bytes: bytes.into(),
        immutable: false,
    }
}

/// `count` bytes that compress badly and differ by `seed`.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

/// A folder of blobs.
pub(crate) struct Blobs {
    dir: tempfile::TempDir,
}

impl Blobs {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.dir.path().join(digest.to_string())
    }

    fn put(&self, bytes: &[u8]) -> BlobRef {
        let digest = Digest::of(bytes);
        fs::write(self.blob_path(digest), bytes).unwrap();
        BlobRef {
            digest,
            bytes: u64::try_from(bytes.len()).unwrap(),
        }
    }

    /// Writes a version with these files, text in every coding, and gives its name.
    pub(crate) fn publish(&self, files: &[File]) -> Version {
        self.publish_with(files, &RuleFiles::default())
    }

    /// As [`Self::publish`], with rules read as the builder reads them.
    pub(crate) fn publish_with(&self, files: &[File], rules: &RuleFiles) -> Version {
        let mut layout = Layout::default();
        let mut content = Content::default();
        let mut sorted: Vec<&File> = files.iter().collect();
        sorted.sort_by_key(|file| file.path);
        for file in &sorted {
            layout.add(file);
            let path = SitePath::new(file.path).unwrap();
            layout.delivery.first_seen.insert(path.clone(), FIRST_SEEN);
            let identity = Digest::of(&file.bytes);
            let length = u64::try_from(file.bytes.len()).unwrap();
            let media_type = file.media_type.to_owned();
            content.paths.insert(
                path,
                ContentPath {
                    identity,
                    length,
                    media_type,
                },
            );
        }
        content.sections.insert(3, immutable_section(&sorted));
        content.sections.extend(rule_sections(rules));
        let pack = self.put(&layout.pack);
        let mut delivery = layout.delivery;
        delivery.blobs.push(pack);
        delivery
            .blobs
            .extend(layout.big.iter().map(|bytes| self.put(bytes)));
        delivery.pack_count = 1;
        let manifest = self.put(&delivery.encode(&content).unwrap());
        Version::from_digest(manifest.digest)
    }
}

fn rule_sections(files: &RuleFiles) -> BTreeMap<u32, Vec<u8>> {
    let mut sections = BTreeMap::from([(RuleFiles::TAG, files.encode())]);
    if let Some(bytes) = &files.redirects {
        let rules = Redirects::read(bytes, &mut |_problem| {});
        sections.insert(Redirects::TAG, rules.encode());
    }
    if let Some(bytes) = &files.headers {
        let rules = HeaderRules::parse(bytes, &mut |_problem| {});
        sections.insert(HeaderRules::TAG, rules.encode());
    }
    sections
}

fn immutable_section(sorted: &[&File]) -> Vec<u8> {
    let positions: Vec<u32> = (0_u32..)
        .zip(sorted)
        .filter_map(|(index, file)| file.immutable.then_some(index))
        .collect();
    let count = u32::try_from(positions.len()).unwrap();
    std::iter::once(count)
        .chain(positions)
        .flat_map(u32::to_le_bytes)
        .collect()
}

#[derive(Default)]
struct Layout {
    pack: Vec<u8>,
    big: Vec<Vec<u8>>,
    delivery: Delivery,
}

impl Layout {
    fn add(&mut self, file: &File) {
        let mut list = vec![self.place(Coding::Identity, file.bytes.clone())];
        if file.media_type.starts_with("text/") && !file.bytes.is_empty() {
            for coding in [Coding::Brotli, Coding::Zstd, Coding::Gzip] {
                list.push(self.place(coding, encode(coding, &file.bytes)));
            }
        }
        let identity = Digest::of(&file.bytes);
        let representations: &mut BTreeMap<_, _> = &mut self.delivery.representations;
        representations.insert(identity, list);
    }

    fn place(&mut self, coding: Coding, bytes: Vec<u8>) -> Representation {
        let (digest, length) = (Digest::of(&bytes), u64::try_from(bytes.len()).unwrap());
        let sha256 = Sha256::digest(&bytes).into();
        let location = if bytes.is_empty() {
            None
        } else if bytes.len() > PACKED_BYTES_MAX {
            self.big.push(bytes);
            let blob_index = u32::try_from(self.big.len()).unwrap();
            Some(Location {
                blob_index,
                offset: 0,
            })
        } else {
            let offset = u64::try_from(self.pack.len()).unwrap();
            self.pack.extend_from_slice(&bytes);
            Some(Location {
                blob_index: 0,
                offset,
            })
        };
        Representation {
            coding,
            digest,
            sha256,
            length,
            location,
        }
    }
}

pub(crate) fn encode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Identity => bytes.to_vec(),
        Coding::Brotli => {
            let mut out = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
            encoder.write_all(bytes).unwrap();
            drop(encoder);
            out
        }
        Coding::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        Coding::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

pub(crate) fn decode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut out = Vec::new();
    match coding {
        "identity" => out.extend_from_slice(bytes),
        "br" => brotli::BrotliDecompress(&mut &*bytes, &mut out).unwrap(),
        "zstd" => out = zstd::decode_all(bytes).unwrap(),
        "gzip" => {
            flate2::read::GzDecoder::new(bytes)
                .read_to_end(&mut out)
                .unwrap();
        }
        other => panic!("unknown coding {other}"),
    }
    out
}
