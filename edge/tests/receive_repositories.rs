//! What repositories may cost: their size is limited, and they end with their site.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod receive_harness;

use receive_harness::{Node, site_id};
use verge_edge::receive::Limits;

/// One noisy push fits into it, a second one goes over it.
fn small_node() -> Node {
    Node::with_limits(Limits {
        repository_bytes_max: 100 << 10,
        ..Limits::default()
    })
}

/// Text that takes 64 KB in a pack, different for each seed.
fn noise(seed: u32) -> String {
    let line = |n: u32| verge_sync::Digest::of(&(seed + n).to_le_bytes());
    (0..2000).map(|n| line(n).to_string()).collect()
}

const FULL: &str = "the repository of garden on this node has grown over its limit";

#[test]
fn a_repository_over_its_limit_takes_no_push_and_still_gives_clones() {
    let node = small_node();
    let work = node.work("garden");
    for seed in [0, 1 << 16] {
        node.commit(&work, &format!("{seed}.txt"), &noise(seed));
        node.git(&work, &["push", "-q", "origin", "main"]);
    }
    let before = node.refs("garden");
    node.commit(&work, "small.html", "small");
    let text = node.refused(&work, &["push", "origin", "main"]);
    assert!(text.contains(FULL), "{text}");
    assert!(text.contains("nothing was changed"), "{text}");
    assert_eq!(node.refs("garden"), before);
    assert_eq!(node.published().len(), 2);
    let url = node.url("garden");
    node.git(node.dir.path(), &["clone", "-q", &url, "copy"]);

    // What the sentence advises.
    std::fs::remove_dir_all(node.repository("garden")).unwrap();
    node.git(&work, &["push", "-q", "origin", "main"]);
    assert_eq!(node.published().len(), 3);
}

#[test]
fn rewritten_history_makes_room() {
    let node = small_node();
    let work = node.work("garden");
    for seed in [0, 1 << 16] {
        std::fs::write(work.join("noise.txt"), noise(seed)).unwrap();
        node.git(&work, &["add", "-A"]);
        node.git(&work, &["commit", "-q", "--amend", "-m", "noise"]);
        node.git(&work, &["push", "-q", "--force", "origin", "main"]);
    }
    node.commit(&work, "small.html", "small");
    node.git(&work, &["push", "-q", "origin", "main"]);
    assert_eq!(node.published().len(), 3);
}

#[test]
fn a_repository_ends_with_its_site() {
    let node = Node::new();
    for site in ["garden", "shed", "roof"] {
        let work = node.work(site);
        node.git(&work, &["push", "-q", "origin", "main"]);
    }
    let standing = || ["garden", "shed", "roof"].map(|site| node.repository(site).exists());
    node.forget("garden");
    assert_eq!(standing(), [false, true, true]);
    node.forget("garden");
    node.fake.ended.lock().unwrap().push(site_id("shed"));
    node.sweep();
    assert_eq!(standing(), [false, false, true]);
}

/// A push that waited for its turn while its site ended must not bring the repository back.
#[test]
fn no_repository_is_made_for_a_site_that_has_ended() {
    let node = Node::new();
    let work = node.work("garden");
    node.fake.ended.lock().unwrap().push(site_id("garden"));
    let url = node.url("garden");
    for arguments in [&["push", "origin", "main"][..], &["ls-remote", &url]] {
        let text = node.refused(&work, arguments);
        assert!(text.contains("There is no site garden here"), "{text}");
        assert!(!node.repository("garden").exists(), "{arguments:?}");
    }
}

#[test]
fn repositories_of_sites_that_ended_meanwhile_are_removed_at_the_start() {
    let disk = tempfile::tempdir().unwrap();
    let repository = |site: &str| format!("git/{}.git/objects/pack", site_id(site));
    for folder in [
        &*repository("ended"),
        &repository("garden"),
        "git/notes.git",
    ] {
        std::fs::create_dir_all(disk.path().join(folder)).unwrap();
    }
    let node = Node::on_disk(Limits::default(), Some(disk.path().to_owned()));
    assert!(!node.repository("ended").exists());
    for kept in [&*repository("garden"), "git/notes.git"] {
        assert!(disk.path().join(kept).exists(), "{kept}");
    }
}
