//! A version of somebody else's is served only after this: real ones pass, every lie is found.

#![allow(
    clippy::unwrap_used,
    reason = "makers of test data fail their test at the first thing that is not as it should be"
)]

mod support;

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use support::{NOW, Site, folder, from, noise, page, put};
use verge_builder::{CheckError, Checked, check_version};
use verge_sync::SitePath;
use verge_sync::digest::Digest;
use verge_sync::manifest::{
    BlobRef, Coding, Content, ContentPath, Delivery, Location, Manifest, Representation,
};

/// Opens blobs in a folder, as a node's store would.
fn in_folder(blobs: &Path) -> impl FnMut(&BlobRef, u64) -> io::Result<Box<dyn Read>> {
    move |blob, offset| {
        let mut file = File::open(blobs.join(blob.digest.to_string()))?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

fn check(site: &Site, known: Option<&Manifest>) -> Result<Checked, CheckError> {
    check_version(site.manifest(), known, &mut in_folder(&site.blobs))
}

/// Text, noise, an empty file, one of more than a pack's share, two of the same bytes.
fn sample() -> tempfile::TempDir {
    folder(&[
        ("index.html", &page("Home", 40)),
        ("copy/index.html", &page("Home", 40)),
        ("about/index.html", &page("About", 30)),
        ("photo.jpg", &noise(5000)),
        ("large.bin", &noise(1_500_000)),
        ("notes.txt", &b"a line of a long text\n".repeat(60_000)),
        ("empty.txt", b""),
    ])
}

#[test]
fn what_was_built_is_whole_and_the_next_version_is_checked_for_what_is_new() {
    let root = sample();
    let mut site = Site::new();
    site.deploy(from(&root));
    let first = check(&site, None).unwrap();
    // Three contents in four codings, three in one; the copy is the same as its original.
    assert_eq!((first.checked_count, first.known_count), (3 * 4 + 3, 0));
    assert!(first.checked_bytes > 1_500_000);
    let before = site.manifest().clone();
    let all = Checked {
        known_count: first.checked_count,
        ..Checked::default()
    };
    assert_eq!(check(&site, Some(&before)).unwrap(), all);
    put(root.path(), "about/index.html", &page("About us", 31));
    site.deploy(from(&root));
    let next = check(&site, Some(&before)).unwrap();
    assert_eq!(
        (next.checked_count, next.known_count),
        (4, first.checked_count - 4)
    );
}

#[test]
fn every_fixture_site_is_whole() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sites");
    let mut count = 0;
    for entry in fs::read_dir(fixtures).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let mut site = Site::new();
        site.deploy(verge_builder::Source::Folder(path));
        check(&site, None).unwrap();
        count += 1;
    }
    assert!(count > 0);
}

/// Any byte of any blob: nothing that is used goes unread.
#[test]
fn a_flipped_byte_is_found_and_named() {
    let root = sample();
    let mut site = Site::new();
    site.deploy(from(&root));
    for blob in site.manifest().blobs() {
        let path = site.blobs.join(blob.digest.to_string());
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let error = check(&site, None).unwrap_err();
            assert!(
                matches!(error, CheckError::OtherBytes { blob: found, .. } if found == blob.digest),
                "{error}"
            );
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let error = check(&site, None).unwrap_err();
        assert!(matches!(error, CheckError::Unreadable { .. }), "{error}");
        fs::write(&path, whole).unwrap();
    }
    check(&site, None).unwrap();
    let blob = site.manifest().blobs().next().unwrap();
    fs::remove_file(site.blobs.join(blob.digest.to_string())).unwrap();
    let error = check(&site, None).unwrap_err().to_string();
    assert!(
        error.starts_with("read the ") && error.contains(&blob.digest.to_string()),
        "{error}"
    );
}

/// A manifest as a rogue would write it, with its one blob.
struct Forged {
    blob: Vec<u8>,
    content: Content,
    representations: BTreeMap<Digest, Vec<Representation>>,
}

impl Forged {
    fn new() -> Self {
        Self {
            blob: Vec::new(),
            content: Content::default(),
            representations: BTreeMap::new(),
        }
    }

    /// A path with this content, and codings of these bytes.
    fn path(&mut self, path: &str, identity: &[u8], coded: &[(Coding, &[u8])]) {
        let forms = std::iter::once((Coding::Identity, identity)).chain(coded.iter().copied());
        let stored = forms.map(|(coding, bytes)| {
            let offset = self.blob.len() as u64;
            self.blob.extend_from_slice(bytes);
            Representation {
                coding,
                digest: Digest::of(bytes),
                sha256: Sha256::digest(bytes).into(),
                length: bytes.len() as u64,
                location: (!bytes.is_empty()).then_some(Location {
                    blob_index: 0,
                    offset,
                }),
            }
        });
        let stored = stored.collect();
        self.name(path, Digest::of(identity), identity.len() as u64);
        self.representations.insert(Digest::of(identity), stored);
    }

    fn name(&mut self, path: &str, identity: Digest, length: u64) {
        let entry = ContentPath {
            identity,
            length,
            media_type: "text/html".to_owned(),
        };
        self.content
            .paths
            .insert(SitePath::new(path).unwrap(), entry);
    }

    fn stored(&mut self, identity: &[u8]) -> &mut Vec<Representation> {
        self.representations.get_mut(&Digest::of(identity)).unwrap()
    }

    fn manifest(&self) -> Manifest {
        let paths = self.content.paths.keys();
        let delivery = Delivery {
            blobs: vec![BlobRef {
                digest: Digest::of(&self.blob),
                bytes: self.blob.len() as u64,
            }],
            pack_count: 1,
            representations: self.representations.clone(),
            first_seen: paths.map(|path| (path.clone(), NOW)).collect(),
            ..Delivery::default()
        };
        Manifest::decode(delivery.encode(&self.content).unwrap()).unwrap()
    }

    /// The check's answer, and how many bytes it read.
    fn check(&self) -> (Result<Checked, CheckError>, u64) {
        let mut read = 0;
        let checked = check_version(&self.manifest(), None, &mut |blob, offset| {
            assert_eq!(blob.digest, Digest::of(&self.blob));
            let rest = from_offset(&self.blob, offset);
            read += rest.len() as u64;
            Ok(Box::new(io::Cursor::new(rest)))
        });
        (checked, read)
    }

    fn sentence(&self) -> String {
        self.check().0.unwrap_err().to_string()
    }
}

fn from_offset(blob: &[u8], offset: u64) -> Vec<u8> {
    blob[usize::try_from(offset).unwrap()..].to_vec()
}

type Encode = fn(&[u8]) -> Vec<u8>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let params = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut &*bytes, &mut out, &params).unwrap();
    out
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

/// One path whose coding of `number` says something else than its content.
#[test]
fn codings_that_show_another_page_are_refused() {
    let (home, other) = (page("Home", 9), page("Othe", 9));
    assert_eq!(home.len(), other.len());
    let encoders: [(Coding, Encode); 3] = [
        (Coding::Brotli, brotli),
        (Coding::Zstd, zstd),
        (Coding::Gzip, gzip),
    ];
    for (coding, encode) in encoders {
        let mut sound = encode(&home);
        let rows: [(&[u8], &str); 5] = [
            (&encode(&other), "decodes to other bytes than the file has"),
            (
                &encode(&home[1..]),
                "decodes to fewer bytes than the file has",
            ),
            (
                &encode(&page("Home", 99)),
                "does not decode: it goes on beyond",
            ),
            (&home, "does not decode: "),
            (b"", "has no bytes"),
        ];
        for (bytes, what) in rows {
            let mut forged = Forged::new();
            forged.path("index.html", &home, &[(coding, bytes)]);
            let sentence = forged.sentence();
            let begins = format!("the {} form of index.html {what}", coding.name());
            assert!(sentence.starts_with(&begins), "{sentence}");
        }
        let mut forged = Forged::new();
        forged.path("index.html", &home, &[(coding, &sound)]);
        assert_eq!(forged.check().0.unwrap().checked_count, 2);
        sound.extend_from_slice(&encode(&other));
        let mut forged = Forged::new();
        forged.path("index.html", &home, &[(coding, &sound)]);
        let sentence = forged.sentence();
        assert!(sentence.contains("does not decode"), "{sentence}");
    }
}

#[test]
fn digests_of_other_bytes_are_refused() {
    let home = page("Home", 9);
    let mut forged = Forged::new();
    forged.path("index.html", &home, &[(Coding::Gzip, &gzip(&home))]);
    forged.stored(&home)[1].sha256 = [7; 32];
    let sentence = forged.sentence();
    let expected = "the gzip form of index.html has other bytes than the manifest says";
    assert!(sentence.starts_with(expected), "{sentence}");
    let mut forged = Forged::new();
    forged.path("index.html", &home, &[]);
    forged.path("empty.txt", b"", &[]);
    forged.stored(b"")[0].sha256 = [7; 32];
    assert_eq!(
        forged.sentence(),
        "the identity form of empty.txt is empty and has another digest"
    );
    // Bytes of another place of the same blob.
    let mut forged = Forged::new();
    forged.path("index.html", &home, &[]);
    forged.path("other.html", &page("Othe", 9), &[]);
    forged.stored(&home)[0].location = Some(Location {
        blob_index: 0,
        offset: home.len() as u64,
    });
    let sentence = forged.sentence();
    assert!(
        sentence.contains("identity form of index.html"),
        "{sentence}"
    );
}

/// 64 MiB of zeros in a few bytes for a file of a hundred: decoded to a piece more, not to the end.
#[test]
fn a_bomb_ends_at_the_length_of_the_file() {
    let zeros = vec![0; 64 << 20];
    for (coding, bomb) in [
        (Coding::Brotli, brotli(&zeros)),
        (Coding::Zstd, zstd(&zeros)),
        (Coding::Gzip, gzip(&zeros)),
    ] {
        let mut forged = Forged::new();
        forged.path("index.html", &zeros[..100], &[(coding, &bomb)]);
        let sentence = forged.sentence();
        assert!(sentence.contains("goes on beyond"), "{sentence}");
    }
}

/// The same bytes under eight names for contents are as much as may be, nine are too much, and
/// nothing is read for it.
#[test]
fn a_table_that_names_the_same_bytes_again_and_again_is_refused_unread() {
    let bytes = noise(1000);
    for count in [8_u32, 9] {
        let mut forged = Forged::new();
        forged.path("a.bin", &bytes, &[]);
        let sound = forged.stored(&bytes)[0];
        for number in 1..count {
            let identity = Digest::of(&number.to_le_bytes());
            let lie = Representation {
                digest: identity,
                ..sound
            };
            forged.name(&format!("b{number}.bin"), identity, 1000);
            forged.representations.insert(identity, vec![lie]);
        }
        let (checked, read) = forged.check();
        let error = checked.unwrap_err();
        assert_eq!(
            matches!(error, CheckError::TooMuchWork { .. }),
            count == 9,
            "{error}"
        );
        assert_eq!(read > 0, count == 8);
    }
}

/// Only what is the same in every respect was checked before.
#[test]
fn a_known_version_vouches_for_nothing_else() {
    let home = page("Home", 9);
    let coded = gzip(&home);
    let mut forged = Forged::new();
    forged.path("index.html", &home, &[(Coding::Gzip, &coded)]);
    let known = forged.manifest();
    let other = page("Othe", 9);
    let mut lie = Forged::new();
    lie.path("index.html", &home, &[(Coding::Gzip, &coded)]);
    lie.path("other.html", &other, &[(Coding::Gzip, &coded)]);
    let blob = lie.blob.clone();
    let checked = check_version(&lie.manifest(), Some(&known), &mut |_, offset| {
        Ok(Box::new(io::Cursor::new(from_offset(&blob, offset))))
    });
    let sentence = checked.unwrap_err().to_string();
    assert!(sentence.contains("gzip form of other.html"), "{sentence}");
}
