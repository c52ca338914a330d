//! `verge verify`: says of a whole node that all is well, and names what is not.

use crate::harness::{Node, Publisher, block_on, fixture, page, text};
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::{RegionView, Signer};
use verge_sync::record::Deploy;
use verge_sync::record::{Kind, Record};
use verge_sync::store::{Batch, LocalDisk, Store};

const HOST: &str = "garden.sites.localhost";
const INDEX: &[u8] = b"<!doctype html><title>Garden</title><p>The first page.";

/// A site of the fixture with a page by which its pack is found.
fn published(node: &Node, site: &str) -> Publisher {
    let publisher = Publisher::with_site(node, site, site);
    publisher.copy(&fixture("neighbourhood"));
    publisher.write("index.html", INDEX);
    publisher.commit("one");
    publisher.push_ok(node, site, "main");
    publisher
}

/// The blob in which these bytes are.
fn blob_with(node: &Node, bytes: &[u8]) -> PathBuf {
    let files = std::fs::read_dir(node.data().join("blobs")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    let holds = |path: &PathBuf| {
        let found = std::fs::read(path).unwrap();
        found.windows(bytes.len()).any(|window| window == bytes)
    };
    files.find(holds).unwrap()
}

/// One bit in the middle of a file.
fn flip(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// What was said, the sentence at the end with it.
fn words(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_whole_node_is_well_running_and_stopped() {
    let mut node = Node::found();
    let publisher = published(&node, "garden");
    publisher.write("index.html", "changed");
    publisher.commit("two");
    publisher.push_ok(&node, "garden", "main");
    let folder = fixture("single-page-app");
    node.verge_ok(&["site", "create", "hall", "--owner", "garden"]);
    node.verge_ok(&["deploy", folder.to_str().unwrap(), "--site", "hall"]);
    let running = node.verge_ok(&["verify", "--rebuild"]);
    assert!(node.stop().success());
    let stopped = node.verge_ok(&["verify", "--rebuild"]);
    for said in [running, stopped] {
        assert!(said.contains("versions  3 of 2 sites"), "{said}");
        assert!(
            said.contains("rebuilt   1 sites are their commits"),
            "{said}"
        );
        let unknown = "site hall: what is in place was published without git";
        assert!(said.contains(unknown), "{said}");
        assert!(said.ends_with("all is well\n"), "{said}");
        assert!(!said.contains("damage"), "{said}");
    }
}

#[test]
fn a_flipped_bit_is_named_with_its_sites_and_set_aside() {
    let mut node = Node::found();
    let publisher = published(&node, "garden");
    published(&node, "other");
    let pack = blob_with(&node, INDEX);
    flip(&pack);
    let output = node.verge(&["verify"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let name = pack.file_name().unwrap().to_str().unwrap();
    let line = said.lines().find(|line| line.contains(name)).unwrap();
    for part in [
        "damage    blob",
        "damaged/",
        "site garden (version ",
        "site other (",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(said.contains("1 damages: each has a line above"), "{said}");
    assert!(!pack.exists());
    assert!(node.data().join("damaged").join(name).exists());
    // It is still not well, and says so of what is missing now.
    assert!(node.stop().success());
    let output = node.verge(&["verify"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("blob {name} is missing: site ")),
        "{said}"
    );
    node.restart();
    publisher.commit("the same files");
    publisher.push_ok(&node, "garden", "main");
    assert!(node.verge_ok(&["verify"]).ends_with("all is well\n"));
    assert_eq!(page(&node, HOST, "/").unwrap(), INDEX);
}

#[test]
fn every_blob_of_a_version_is_missed_and_nothing_else_suffers() {
    let node = Node::found();
    published(&node, "garden");
    published(&node, "other");
    let list = |node: &Node| {
        let files = std::fs::read_dir(node.data().join("blobs")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    for path in list(&node) {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let output = node.verge(&["verify"]);
        let said = words(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            said.contains(&format!("blob {name} is missing: site ")),
            "{said}"
        );
        assert_eq!(said.matches("damage    ").count(), 1, "{said}");
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(node.verge_ok(&["verify"]).ends_with("all is well\n"));
}

#[test]
fn a_record_with_another_signature_is_named() {
    let mut node = Node::found();
    published(&node, "garden");
    assert!(node.stop().success());
    let store = Store::open(node.data(), Arc::new(LocalDisk)).unwrap();
    // Step 0 would be missed by everything else.
    let is_deploy = |bytes: &[u8]| Record::parse(bytes).unwrap().envelope().kind == Kind::DEPLOY;
    let rows = store.records().all().unwrap().into_iter();
    let mut row = rows.rev().find(|row| is_deploy(&row.bytes)).unwrap();
    let id = row.id;
    // The signature is the last of a record.
    *row.bytes.last_mut().unwrap() ^= 1;
    let taken = store.records().write(Batch {
        gone: vec![id],
        ..Batch::default()
    });
    taken.unwrap().wait().unwrap();
    store.records().put(vec![row]).unwrap().wait().unwrap();
    drop(store);
    let output = node.verge(&["verify"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = format!("damage    record {id} has a wrong signature");
    assert!(said.contains(&line), "{said}");
}

#[test]
fn a_history_that_is_not_there_is_said() {
    let mut node = Node::found();
    published(&node, "garden");
    assert!(node.stop().success());
    let mut repositories = std::fs::read_dir(node.data().join("git")).unwrap();
    let repository = repositories.next().unwrap().unwrap().path();
    std::fs::remove_dir_all(&repository).unwrap();
    // The repository is made again from the bundles.
    let said = node.verge_ok(&["verify", "--rebuild"]);
    assert!(said.contains("1 sites are their commits"), "{said}");
    assert!(repository.exists());
    std::fs::remove_dir_all(&repository).unwrap();
    let blobs = std::fs::read_dir(node.data().join("blobs")).unwrap();
    let bundle = blobs.map(|entry| entry.unwrap().path()).find(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.starts_with(b"# v2 git bundle")
    });
    std::fs::remove_file(bundle.unwrap()).unwrap();
    let output = node.verge(&["verify", "--rebuild"]);
    let said = words(&output);
    assert!(
        said.contains("site garden: its commit is not on this node"),
        "{said}"
    );
    assert!(said.contains("is missing: site garden"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

/// A node that says of a version that it is another commit's.
#[test]
fn a_commit_that_comes_to_something_else_is_named() {
    let mut node = Node::found();
    let publisher = published(&node, "garden");
    publisher.write("index.html", "changed");
    publisher.commit("two");
    publisher.push_ok(&node, "garden", "main");
    assert!(node.stop().success());
    let store = Store::open(node.data(), Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(node.data()).unwrap();
    let region = RegionView::open(store, keys, |_effect, _slot| {}).unwrap();
    let region = Arc::new(region);
    let effect = region.effect();
    let site = effect.site_by_label("garden").unwrap();
    let [new, old] = [0, 1].map(|at| site.deploys[at].body().clone());
    let lie = Deploy {
        git: old.git,
        ..new
    };
    block_on(region.deploy(site.id, lie, None, Signer::Member)).unwrap();
    drop((effect, region));
    assert!(node.verge_ok(&["verify"]).ends_with("all is well\n"));
    let output = node.verge(&["verify", "--rebuild"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = "damage    site garden: its commit comes to content ";
    assert!(said.contains(line), "{said}");
}

#[test]
fn a_directory_of_no_node_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = crate::harness::verge(folder.path(), &["verify"]);
    assert!(!output.status.success());
    assert!(words(&output).contains("config.toml"), "{}", words(&output));
}
