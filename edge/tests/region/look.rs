//! What a look at everything finds damaged comes back from the others, and whoever leaves can leave
//! from any node.

use crate::harness::{Publisher, files, fixture, text};
use crate::scene::{Region, status, wait};
use std::path::{Path, PathBuf};
use std::time::Duration;
use verge_sync::clock::stopwatch;

/// Far longer than a small blob takes to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest blob of a node: the pack of its only site.
fn pack(data: &Path) -> PathBuf {
    let blobs = std::fs::read_dir(data.join("blobs")).unwrap();
    let blobs = blobs.map(|entry| entry.unwrap().path());
    blobs
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

#[test]
fn what_a_look_finds_damaged_comes_from_another_node() {
    let region = Region::of(3);
    let site = fixture("neighbourhood");
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    publisher.copy(&site);
    publisher.commit("one");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    let node = &region.nodes[2];
    wait(node, |status| status["here_count"] == 1);
    assert!(node.verge_ok(&["verify"]).ends_with("all is well\n"));
    let pack = pack(node.data());
    let whole = std::fs::read(&pack).unwrap();
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let output = node.verge(&["verify"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("site garden (version "), "{said}");
    let started = stopwatch();
    while !pack.exists() {
        assert!(started.elapsed() < PATIENCE, "{}", status(node));
    }
    assert_eq!(std::fs::read(&pack).unwrap(), whole);
    wait(node, |status| status["here_count"] == 1);
    assert!(node.verge_ok(&["verify"]).ends_with("all is well\n"));
    // Not the node that took the push.
    let out = region.new_data("out");
    node.verge_ok(&["export", "--account", "ana", "--to", out.to_str().unwrap()]);
    let exported = out.join("sites/garden/files");
    for path in files(&exported) {
        let own = std::fs::read(site.join(&path)).unwrap();
        assert!(
            std::fs::read(exported.join(&path)).unwrap() == own,
            "{path}"
        );
    }
    assert!(exported.join("index.html").exists());
}
