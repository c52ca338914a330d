//! Real sites from Debian packages (`make test` installs them): every byte in every coding.

mod support;

use std::path::Path;
use support::{Site, put};
use verge_builder::Source;
use verge_sync::manifest::Coding;

/// Publishes a folder, compares everything, changes one file, and looks at what was written.
fn publish(root: &str, package: &str, files_min: u64) {
    let root = Path::new(root);
    assert!(
        root.is_dir(),
        "{} is not there: apt-get install {package}",
        root.display()
    );
    let mut site = Site::new();
    let first = site.deploy(Source::Folder(root.to_owned()));
    assert!(
        first.totals.files >= files_min,
        "{} files",
        first.totals.files
    );
    site.assert_equals(root);
    // Bytes left of 1,000.
    let coded = |coding: Coding| {
        let total = first
            .totals
            .codings
            .iter()
            .find(|total| total.coding == coding.name());
        total.map_or(1000, |total| total.bytes * 1000 / total.identity_bytes)
    };
    // These are pages: brotli leaves less than a third of them.
    assert!(coded(Coding::Brotli) < 334, "{:?}", first.totals);
    assert!(
        coded(Coding::Brotli) < coded(Coding::Zstd),
        "{:?}",
        first.totals
    );
    assert!(
        coded(Coding::Zstd) < coded(Coding::Gzip),
        "{:?}",
        first.totals
    );

    let copy = tempfile::tempdir().expect("a scratch folder");
    for entry in site.manifest().paths() {
        put(
            copy.path(),
            entry.path(),
            &std::fs::read(root.join(entry.path())).expect("a file of the package"),
        );
    }
    put(
        copy.path(),
        "index.html",
        b"<!doctype html><title>changed</title>",
    );
    let second = site.deploy(Source::Folder(copy.path().to_owned()));
    site.assert_equals(copy.path());
    let manifest = u64::try_from(site.manifest().bytes().len()).unwrap_or(u64::MAX);
    assert!(second.totals.files_reused >= first.totals.files - 1);
    assert!(
        second.totals.written_bytes < manifest + 2000,
        "{:?}",
        second.totals
    );
}

#[test]
fn git_doc() {
    publish("/usr/share/doc/git-doc", "git-doc", 500);
}

#[test]
fn sqlite3_doc() {
    publish("/usr/share/doc/sqlite3", "sqlite3-doc", 900);
}
