//! Small manifests for the tables of this module and for the fuzz targets.

use super::redirects::RedirectIndex;
use verge_builder::rules::Redirects;
use verge_sync::clock::UnixTime;
use verge_sync::manifest::{
    BlobRef, Coding, Content, ContentPath, Delivery, Location, Manifest, Representation,
};
use verge_sync::{Digest, SitePath};

const PLAIN: &str = "a sample has few, short and valid paths";

/// A manifest with these paths; each file's bytes are its own name.
pub(crate) fn manifest_of(paths: &[&str]) -> Manifest {
    let length = |path: &str| u64::try_from(path.len()).expect(PLAIN);
    let files: Vec<(&str, u64)> = paths.iter().map(|path| (*path, length(path))).collect();
    manifest_with(&files)
}

/// A manifest with these paths and lengths, whatever they are.
pub(super) fn manifest_with(files: &[(&str, u64)]) -> Manifest {
    let mut content = Content::default();
    let mut delivery = Delivery::default();
    for &(path, length) in files {
        let identity = Digest::of(path.as_bytes());
        let path = SitePath::new(path).expect(PLAIN);
        let media_type = "text/html; charset=utf-8".to_owned();
        content.paths.insert(
            path.clone(),
            ContentPath {
                identity,
                length,
                media_type,
            },
        );
        let blob_index = u32::try_from(delivery.blobs.len()).expect(PLAIN);
        delivery.blobs.push(BlobRef {
            digest: identity,
            bytes: length,
        });
        let representation = Representation {
            coding: Coding::Identity,
            digest: identity,
            sha256: [0; 32],
            length,
            location: Some(Location {
                blob_index,
                offset: 0,
            }),
        };
        delivery
            .representations
            .insert(identity, vec![representation]);
        delivery.first_seen.insert(path, UnixTime(784_111_777));
    }
    Manifest::decode(delivery.encode(&content).expect(PLAIN)).expect(PLAIN)
}

/// A manifest with one page of 1,000 bytes in every coding, br being the smallest.
#[cfg(test)]
pub(super) fn manifest_in_every_coding(path: &str) -> Manifest {
    let identity = Digest::of(path.as_bytes());
    let path = SitePath::new(path).expect(PLAIN);
    let mut content = Content::default();
    content.paths.insert(
        path.clone(),
        ContentPath {
            identity,
            length: 1_000,
            media_type: "text/html; charset=utf-8".to_owned(),
        },
    );
    let codings = [
        (Coding::Identity, 1_000),
        (Coding::Brotli, 100),
        (Coding::Zstd, 110),
        (Coding::Gzip, 120),
    ];
    let mut delivery = Delivery::default();
    let mut representations = Vec::new();
    for (blob_index, (coding, length)) in (0_u32..).zip(codings) {
        let digest = match coding {
            Coding::Identity => identity,
            coding => Digest::of(coding.name().as_bytes()),
        };
        let bytes = length;
        delivery.blobs.push(BlobRef { digest, bytes });
        representations.push(Representation {
            coding,
            digest,
            sha256: [0; 32],
            length,
            location: Some(Location {
                blob_index,
                offset: 0,
            }),
        });
    }
    delivery.representations.insert(identity, representations);
    delivery.first_seen.insert(path, UnixTime(784_111_777));
    Manifest::decode(delivery.encode(&content).expect(PLAIN)).expect(PLAIN)
}

/// The rules of a `_redirects` file, as the builder reads it.
pub(super) fn rules_of(redirects: &str) -> RedirectIndex {
    let mut lost = Vec::new();
    let rules = Redirects::read(redirects.as_bytes(), &mut |problem| {
        lost.push(problem.to_string())
    });
    assert_eq!(lost, Vec::<String>::new());
    RedirectIndex::new(rules)
}
