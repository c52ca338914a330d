//! A disk that loses or changes bytes: never a wrong page, and whole again by publishing again.

use crate::harness::{Node, Publisher, page, text};
use std::path::{Path, PathBuf};
use std::time::Duration;
use verge_sync::clock::stopwatch;
use verge_sync::store::{LocalDisk, Store};

const HOST: &str = "hurt.sites.localhost";
/// Far longer than a look at a small blob takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The site of these tests: two pages in one pack.
fn published(node: &Node) -> Publisher {
    let publisher = Publisher::with_site(node, "ana", "hurt");
    publisher.write("index.html", INDEX);
    publisher.write("other.html", OTHER);
    publisher.commit("one");
    publisher.push_ok(node, "hurt", "main");
    publisher
}

const INDEX: &[u8] = b"<!doctype html><title>Hurt</title><p>The first page.";
const OTHER: &[u8] = b"<!doctype html><title>Other</title><p>The other page.";

/// The pack of the version, by what is in it.
fn pack(node: &Node) -> PathBuf {
    let files = std::fs::read_dir(node.data().join("blobs")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(INDEX.len()).any(|window| window == INDEX)
    };
    files.find(holds).unwrap()
}

/// Flips one bit in each representation of each page: the length stays.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    for byte in &mut bytes {
        *byte ^= 1;
    }
    std::fs::write(path, bytes).unwrap();
}

/// Asks until the node has moved `path` aside.
fn wait_until_aside(node: &Node, path: &Path) {
    let started = stopwatch();
    while path.exists() {
        assert_ne!(page(node, HOST, "/").as_deref(), Ok(INDEX));
        assert!(started.elapsed() < PATIENCE, "the damaged pack stays");
    }
}

#[test]
fn a_flipped_bit_is_never_served_and_mended_by_the_same_tree() {
    let mut node = Node::found();
    let publisher = published(&node);
    let pack = pack(&node);
    // Nothing of it is in memory after this.
    assert!(node.stop().success());
    flip(&pack);
    node.restart();
    assert_eq!(page(&node, HOST, "/"), Err(503));
    wait_until_aside(&node, &pack);
    publisher.commit("the same files");
    let log = publisher.push_ok(&node, "hurt", "main");
    assert!(log.contains("is live"), "{log}");
    assert_eq!(page(&node, HOST, "/").unwrap(), INDEX);
    assert_eq!(page(&node, HOST, "/other").unwrap(), OTHER);
    publisher.commit("the same files, once more");
    let log = publisher.push_ok(&node, "hurt", "main");
    assert!(log.contains("nothing changed"), "{log}");
}

#[test]
fn what_is_gone_is_mended_by_the_same_tree() {
    let mut node = Node::found();
    let publisher = published(&node);
    let pack = pack(&node);
    assert!(node.stop().success());
    std::fs::remove_file(&pack).unwrap();
    node.restart();
    assert_eq!(page(&node, HOST, "/"), Err(503));
    publisher.commit("the same files");
    publisher.push_ok(&node, "hurt", "main");
    assert_eq!(page(&node, HOST, "/").unwrap(), INDEX);
    assert_eq!(page(&node, HOST, "/other").unwrap(), OTHER);
}

#[test]
fn a_version_that_is_not_whole_is_not_put_in_place_again() {
    let mut node = Node::found();
    let publisher = published(&node);
    let pack = pack(&node);
    publisher.write("index.html", "changed");
    std::fs::remove_file(publisher.work().join("other.html")).unwrap();
    publisher.commit("two");
    publisher.push_ok(&node, "hurt", "main");
    assert!(node.stop().success());
    std::fs::remove_file(&pack).unwrap();
    node.restart();
    let refused = text(&node.verge(&["site", "rollback", "hurt"]).stderr);
    assert!(
        refused.contains("is no longer whole on this node"),
        "{refused}"
    );
    assert_eq!(page(&node, HOST, "/").unwrap(), b"changed");
}

/// Without the manifest everything is made anew, and the pack comes out as it was: the damaged one
/// of the same name must not stay.
#[test]
fn a_damaged_pack_does_not_stay_in_the_place_of_a_whole_one() {
    let mut node = Node::found();
    let publisher = published(&node);
    let pack = pack(&node);
    assert!(node.stop().success());
    flip(&pack);
    let store = Store::open(node.data(), std::sync::Arc::new(LocalDisk)).unwrap();
    let manifests = store.blobs().list().unwrap().into_iter();
    let manifests = manifests.map(|held| node.data().join("blobs").join(held.digest.to_string()));
    for path in manifests.filter(|path| *path != pack) {
        std::fs::remove_file(path).unwrap();
    }
    drop(store);
    node.restart();
    publisher.commit("the same files");
    publisher.push_ok(&node, "hurt", "main");
    assert_eq!(page(&node, HOST, "/").unwrap(), INDEX);
    assert_eq!(page(&node, HOST, "/other").unwrap(), OTHER);
}

/// A part of a file cannot be compared with anything: the whole is, before a part is sent.
#[test]
fn a_part_of_a_damaged_file_is_not_served() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "hurt");
    let film: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    publisher.write("index.html", "film");
    publisher.write("film.mp4", &film);
    publisher.commit("one");
    publisher.push_ok(&node, "hurt", "main");
    let files = std::fs::read_dir(node.data().join("blobs")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let blob = files
        .find(|path| std::fs::read(path).unwrap() == film)
        .unwrap();
    assert_eq!(
        part(&node, "150000-150009"),
        Ok(film[150_000..150_010].to_vec())
    );
    assert!(node.stop().success());
    let mut bytes = film.clone();
    bytes[1_000_000] ^= 4;
    std::fs::write(&blob, bytes).unwrap();
    node.restart();
    assert_eq!(part(&node, "150000-150009"), Err("503".to_owned()));
}

/// `Range: bytes=RANGE` of the film: the bytes of a 206, or another status.
fn part(node: &Node, range: &str) -> Result<Vec<u8>, String> {
    let port = node.ready().https.unwrap().port();
    let output = std::process::Command::new("curl")
        .args([
            "-s",
            "--max-time",
            "20",
            "-w",
            "%{stderr}%{http_code}",
            "-r",
            range,
            "--cacert",
        ])
        .arg(node.data().join("local-ca.pem"))
        .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
        .arg(format!("https://{HOST}:{port}/film.mp4"))
        .output()
        .unwrap();
    let status = text(&output.stderr);
    if status == "206" {
        Ok(output.stdout)
    } else {
        Err(status)
    }
}
