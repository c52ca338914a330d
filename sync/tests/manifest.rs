//! The manifest's bytes: fixed by a golden file that is kept for ever, read back as written, and
//! never trusted.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails at the first thing that is not as it should be"
)]

use proptest::prelude::*;
use std::collections::BTreeMap;
use verge_sync::clock::UnixTime;
use verge_sync::digest::Digest;
use verge_sync::id::Version;
use verge_sync::manifest::{
    BlobRef, Carried, Coding, Content, ContentPath, Delivery, EncodeError, Location, Manifest,
    ManifestError, Representation,
};
use verge_sync::path::SitePath;

fn path(text: &str) -> SitePath {
    SitePath::new(text).unwrap()
}

fn file(bytes: &[u8], media_type: &str) -> ContentPath {
    ContentPath {
        identity: Digest::of(bytes),
        length: bytes.len() as u64,
        media_type: media_type.to_owned(),
    }
}

/// A representation of `bytes` in `coding`, whose coded bytes are made up.
fn representation(coding: Coding, bytes: &[u8], place: Option<(u32, u64)>) -> Representation {
    let identity = Digest::of(bytes);
    let digest = match coding {
        Coding::Identity => identity,
        _ => Digest::derive("verge test coded", &[coding.name().as_bytes(), bytes]),
    };
    let length = match coding {
        Coding::Identity => bytes.len() as u64,
        _ => bytes.len() as u64 / 2,
    };
    Representation {
        coding,
        digest,
        sha256: *Digest::derive("verge test sha256", &[digest.as_bytes()]).as_bytes(),
        length,
        location: place.map(|(blob_index, offset)| Location { blob_index, offset }),
    }
}

fn blob(bytes: u64) -> BlobRef {
    let digest = Digest::of(&bytes.to_le_bytes());
    BlobRef { digest, bytes }
}

const HTML: &str = "text/html; charset=utf-8";
const HOME: &[u8] = b"<!doctype html><title>Home</title>";
const STYLE: &[u8] = b"body { color: green }";
const FILM: &[u8] = b"a film, if you believe it";

/// A small site with one of everything.
fn example() -> (Content, Delivery) {
    let content = Content {
        recipe: 1,
        paths: BTreeMap::from([
            (path("index.html"), file(HOME, HTML)),
            (path("copy/index.html"), file(HOME, HTML)),
            (path("film.mp4"), file(FILM, "video/mp4")),
            (
                path("leer/\u{e4}.txt"),
                file(b"", "text/plain; charset=utf-8"),
            ),
        ]),
        sections: BTreeMap::from([(1, b"rules".to_vec()), (900, Vec::new())]),
    };
    let delivery = Delivery {
        previous: Some(Version::from_digest(Digest::of(b"before"))),
        blobs: vec![blob(100), blob(25)],
        pack_count: 1,
        representations: BTreeMap::from([
            (
                Digest::of(HOME),
                vec![
                    representation(Coding::Identity, HOME, Some((0, 0))),
                    representation(Coding::Brotli, HOME, Some((0, 34))),
                    representation(Coding::Gzip, HOME, Some((0, 51))),
                ],
            ),
            (
                Digest::of(STYLE),
                vec![representation(Coding::Identity, STYLE, Some((0, 68)))],
            ),
            (
                Digest::of(FILM),
                vec![representation(Coding::Identity, FILM, Some((1, 0)))],
            ),
            (
                Digest::of(b""),
                vec![representation(Coding::Identity, b"", None)],
            ),
        ]),
        first_seen: content
            .paths
            .keys()
            .zip(1_795_000_000..)
            .map(|(path, seconds)| (path.clone(), UnixTime(seconds)))
            .collect(),
        carried: BTreeMap::from([(
            path("style.0123abcd.css"),
            Carried {
                path: file(STYLE, "text/css; charset=utf-8"),
                first_seen: UnixTime(-1),
                since: UnixTime(1_794_000_000),
            },
        )]),
        sections: BTreeMap::from([(1, b"problems".to_vec())]),
    };
    (content, delivery)
}

fn encoded() -> Vec<u8> {
    let (content, delivery) = example();
    delivery.encode(&content).unwrap()
}

/// Writes everything down that the accessors say.
fn describe(manifest: &Manifest) -> String {
    let mut out = format!(
        "recipe {} previous {:?} content {} packs {} bytes {}\n",
        manifest.recipe(),
        manifest.previous(),
        manifest.content_digest(),
        manifest.pack_count(),
        manifest.version_bytes(),
    );
    for blob in manifest.blobs() {
        out += &format!("blob {} {}\n", blob.digest, blob.bytes);
    }
    for entry in manifest.paths().chain(manifest.carried()) {
        let found = manifest
            .find(entry.path())
            .map(|found| found.identity_digest());
        assert_eq!(found, Some(entry.identity_digest()));
        out += &format!(
            "{} {} {} {:?} {:?}\n",
            entry.path(),
            entry.identity_digest(),
            entry.length(),
            entry.media_type(),
            entry.seen(),
        );
        assert_eq!(entry.identity().digest, entry.identity_digest());
        for representation in entry.representations() {
            assert_eq!(
                entry.representation(representation.coding),
                Some(representation)
            );
            out += &format!("  {representation:?}\n");
            let blob = representation
                .location
                .map(|place| manifest.blob(place.blob_index));
            assert_ne!(blob, Some(None));
        }
    }
    for tag in 0..1000 {
        let sections = (
            manifest.content_section(tag),
            manifest.delivery_section(tag),
        );
        if sections != (None, None) {
            out += &format!("section {tag} {sections:?}\n");
        }
    }
    out
}

/// The upgrade promise: every later release reads these bytes, and a format 1 manifest of these
/// values is these bytes. Never regenerate the file.
#[test]
fn golden_manifest_1() {
    let golden = include_bytes!("golden/manifest-1.bin");
    assert!(encoded() == golden, "the encoding changed");
    let manifest = Manifest::decode(golden.to_vec()).unwrap();
    assert_eq!(describe(&manifest), include_str!("golden/manifest-1.txt"));
    assert_eq!(manifest.bytes(), golden);
    assert_eq!(manifest.version().digest(), Digest::of(golden));
    let sequence: Vec<u8> = std::iter::once(manifest.version().digest())
        .chain(manifest.blobs().map(|blob| blob.digest))
        .flat_map(|digest| *digest.as_bytes())
        .collect();
    assert_eq!(manifest.sequence(), sequence);
}

#[test]
fn only_exact_names_are_found() {
    let manifest = Manifest::decode(encoded()).unwrap();
    for name in [
        "index.html",
        "copy/index.html",
        "leer/\u{e4}.txt",
        "style.0123abcd.css",
    ] {
        assert!(manifest.find(name).is_some(), "{name}");
    }
    for name in [
        "",
        "/",
        "/index.html",
        "index.htm",
        "index.html/",
        "Index.html",
        "copy",
        "zzz",
    ] {
        assert!(manifest.find(name).is_none(), "{name}");
    }
    assert!(manifest.blob(2).is_none());
}

#[test]
fn an_empty_manifest_is_one() {
    let bytes = Delivery::default().encode(&Content::default()).unwrap();
    let manifest = Manifest::decode(bytes).unwrap();
    assert_eq!(manifest.paths().count(), 0);
    assert_eq!(manifest.previous(), None);
    assert!(manifest.find("index.html").is_none());
}

#[test]
fn the_content_digest_knows_only_the_content() {
    let (content, delivery) = example();
    let first = Manifest::decode(delivery.encode(&content).unwrap()).unwrap();
    let other = Delivery {
        previous: None,
        ..delivery
    };
    let second = Manifest::decode(other.encode(&content).unwrap()).unwrap();
    assert_eq!(first.content_digest(), second.content_digest());
    assert_eq!(first.content_digest(), content.digest().unwrap());
    assert_ne!(first.version(), second.version());
}

/// One change to the example's values, and what decoding what comes out says.
#[test]
fn values_that_contradict_each_other_are_refused() {
    type Change = fn(&mut Content, &mut Delivery);
    let rows: &[(&str, Change)] = &[
        ("more packs than blobs", |_, d| d.pack_count = 3),
        ("a representation outside its blob", |_, d| {
            d.blobs[0].bytes = 80
        }),
        ("a representation outside its blob", |_, d| {
            home(d)[0].location = Some(Location {
                blob_index: 2,
                offset: 0,
            });
        }),
        ("a representation outside its blob", |_, d| {
            home(d)[0].location = Some(Location {
                blob_index: 0,
                offset: u64::MAX,
            });
        }),
        ("a representation outside its blob", |_, d| {
            home(d)[0].location = None
        }),
        ("a path without its identity representation", |_, d| {
            home(d).rotate_left(1)
        }),
        ("a path without its identity representation", |_, d| {
            home(d).clear()
        }),
        (
            "a path's identity representation has other bytes",
            |_, d| {
                home(d)[0].digest = Digest::of(b"other");
            },
        ),
        ("a path's codings are not ascending", |_, d| {
            home(d).swap(1, 2)
        }),
        ("a path's codings are not ascending", |_, d| {
            let last = home(d)[2];
            home(d).push(last);
        }),
        ("a path is both published and carried", |_, d| {
            let carried = d.carried.values().next().unwrap().clone();
            d.carried.insert(path("index.html"), carried);
        }),
        (
            "media types are not sorted, unique and printable",
            |c, _| {
                c.paths.get_mut(&path("film.mp4")).unwrap().media_type = "a\r\nb".to_owned();
            },
        ),
        (
            "media types are not sorted, unique and printable",
            |c, _| {
                c.paths.get_mut(&path("film.mp4")).unwrap().media_type = String::new();
            },
        ),
    ];
    for (expected, change) in rows {
        let (mut content, mut delivery) = example();
        change(&mut content, &mut delivery);
        let error = Manifest::decode(delivery.encode(&content).unwrap()).err();
        assert_eq!(error, Some(ManifestError::Malformed(expected)));
    }
}

fn home(delivery: &mut Delivery) -> &mut Vec<Representation> {
    delivery.representations.get_mut(&Digest::of(HOME)).unwrap()
}

#[test]
fn values_without_their_counterpart_are_not_written() {
    let (content, mut delivery) = example();
    delivery.first_seen.remove(&path("film.mp4"));
    let error = delivery.encode(&content).unwrap_err();
    assert!(matches!(
        error,
        EncodeError::Inconsistent("a path has no first-seen time")
    ));
    let (content, mut delivery) = example();
    delivery.representations.remove(&Digest::of(STYLE));
    let error = delivery.encode(&content).unwrap_err();
    assert!(matches!(
        error,
        EncodeError::Inconsistent("a path's bytes have no representations")
    ));
}

#[test]
fn a_manifest_over_16_mib_is_neither_written_nor_read() {
    let (mut content, delivery) = example();
    content.sections.insert(5, vec![0; 16 << 20]);
    let error = delivery.encode(&content).unwrap_err();
    assert!(matches!(error, EncodeError::TooLarge { .. }));
    let mut bytes = encoded();
    bytes.resize((16 << 20) + 1, 0);
    let error = Manifest::decode(bytes).err();
    assert_eq!(error, Some(ManifestError::Malformed("larger than 16 MiB")));
}

#[test]
fn another_format_is_told_from_damage() {
    let mut bytes = encoded();
    bytes[8] = 2;
    let error = Manifest::decode(bytes).err().unwrap();
    assert_eq!(
        error.to_string(),
        "manifest of format 2, this release reads format 1: update verge"
    );
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encoded();
    for length in 0..bytes.len() {
        assert!(
            Manifest::decode(bytes[..length].to_vec()).is_err(),
            "{length} bytes"
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Manifest::decode(longer).is_err());
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    let bytes = encoded();
    let whole = Manifest::decode(bytes.clone()).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            if let Ok(manifest) = Manifest::decode(changed) {
                assert_ne!(manifest.version(), whole.version());
                describe(&manifest);
            }
        }
    }
}

/// Sites of a few files, of equal contents among them.
fn sites() -> impl Strategy<Value = (Content, Delivery)> {
    let name = "[a-c\u{e4}]{1,3}(/[a-c]{1,2}){0,2}";
    let bytes = prop::collection::vec(0_u8..3, 0..4);
    let media_type = prop::sample::select(vec![HTML, "text/plain", "x/y"]);
    let entry = (bytes, media_type, any::<i64>(), any::<bool>());
    let files = prop::collection::btree_map(name, entry, 0..12);
    let sections = prop::collection::btree_map(any::<u32>(), any::<Vec<u8>>(), 0..3);
    (
        files,
        sections.clone(),
        sections,
        any::<u32>(),
        any::<Option<[u8; 32]>>(),
    )
        .prop_map(
            |(files, content_sections, delivery_sections, recipe, previous)| {
                let mut content = Content {
                    recipe,
                    sections: content_sections,
                    ..Content::default()
                };
                let mut delivery = Delivery {
                    previous: previous
                        .map(Version::from_bytes)
                        .filter(|v| !v.digest().is_zero()),
                    blobs: vec![blob(1000)],
                    pack_count: 1,
                    sections: delivery_sections,
                    ..Delivery::default()
                };
                for (name, (bytes, media_type, time, is_carried)) in files {
                    let entry = file(&bytes, media_type);
                    let place = (!bytes.is_empty()).then_some((0, 17));
                    let identity = representation(Coding::Identity, &bytes, place);
                    delivery
                        .representations
                        .insert(entry.identity, vec![identity]);
                    if is_carried {
                        let carried = Carried {
                            path: entry,
                            first_seen: UnixTime(time),
                            since: UnixTime(time.wrapping_add(1)),
                        };
                        delivery.carried.insert(path(&name), carried);
                    } else {
                        delivery.first_seen.insert(path(&name), UnixTime(time));
                        content.paths.insert(path(&name), entry);
                    }
                }
                (content, delivery)
            },
        )
}

/// Content and delivery as the accessors tell them.
fn read_back(manifest: &Manifest, content: &Content, delivery: &Delivery) -> (Content, Delivery) {
    let file = |entry: &verge_sync::manifest::Entry<'_>| ContentPath {
        identity: entry.identity_digest(),
        length: entry.length(),
        media_type: entry.media_type().to_owned(),
    };
    let tags = content.sections.keys();
    let read_content = Content {
        recipe: manifest.recipe(),
        paths: manifest
            .paths()
            .map(|entry| (path(entry.path()), file(&entry)))
            .collect(),
        sections: tags
            .filter_map(|tag| Some((*tag, manifest.content_section(*tag)?.to_vec())))
            .collect(),
    };
    let all = || manifest.paths().chain(manifest.carried());
    let carried = manifest.carried().map(|entry| {
        let seen = entry.seen();
        let carried = Carried {
            path: file(&entry),
            first_seen: seen.first,
            since: seen.carried_since.unwrap(),
        };
        (path(entry.path()), carried)
    });
    let tags = delivery.sections.keys();
    let read_delivery = Delivery {
        previous: manifest.previous(),
        blobs: manifest.blobs().collect(),
        pack_count: manifest.pack_count(),
        representations: all()
            .map(|entry| (entry.identity_digest(), entry.representations().collect()))
            .collect(),
        first_seen: manifest
            .paths()
            .map(|e| (path(e.path()), e.seen().first))
            .collect(),
        carried: carried.collect(),
        sections: tags
            .filter_map(|tag| Some((*tag, manifest.delivery_section(*tag)?.to_vec())))
            .collect(),
    };
    (read_content, read_delivery)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((content, delivery) in sites()) {
        let bytes = delivery.encode(&content).unwrap();
        let manifest = Manifest::decode(bytes.clone()).unwrap();
        let (read_content, read_delivery) = read_back(&manifest, &content, &delivery);
        prop_assert_eq!(&read_content, &content);
        prop_assert_eq!(&read_delivery, &delivery);
        prop_assert_eq!(read_delivery.encode(&read_content).unwrap(), bytes);
    }

    #[test]
    fn damage_is_refused_or_harmless(
        (content, delivery) in sites(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        end in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = delivery.encode(&content).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(manifest) = Manifest::decode(bytes) {
            describe(&manifest);
        }
    }

    /// As above, but the content part is damaged and its digest is right again: the checks of the
    /// tables are all that is left.
    #[test]
    fn damage_by_somebody_who_signs_for_it_is_refused_or_harmless(
        (content, delivery) in sites(),
        at in any::<prop::sample::Index>(),
        value: u8,
    ) {
        let mut bytes = delivery.encode(&content).unwrap();
        let length = usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().unwrap())).unwrap();
        let at = 32 + at.index(length);
        bytes[at] = value;
        let digest = Digest::of(&bytes[32..32 + length]);
        bytes[32 + length..64 + length].copy_from_slice(digest.as_bytes());
        if let Ok(manifest) = Manifest::decode(bytes) {
            describe(&manifest);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>) {
        drop(Manifest::decode(bytes));
    }
}
