//! What no kept deploy names is removed; what one names is not.

use crate::harness::{Node, Publisher, page, text};
use crate::support::sample::noise;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::RegionView;
use verge_sync::Digest;
use verge_sync::clock::stopwatch;
use verge_sync::content::Thrift;
use verge_sync::store::{LocalDisk, Store};

#[test]
fn only_kept_versions_stay_on_disk() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "kept");
    for number in 0..14 {
        publisher.write(
            "index.html",
            format!("version {number} {}", "x".repeat(number * 100)),
        );
        publisher.commit("next");
        publisher.push_ok(&node, "kept", "main");
    }
    let data = node.data().to_owned();
    assert!(node.stop().success());
    let removed = collect(&data);
    // Of each of the four oldest: at least the manifest, the flat sequence and a pack.
    assert!(removed >= 12, "{removed} blobs removed");
    node.restart();
    let host = "kept.sites.localhost";
    assert!(page(&node, host, "/").unwrap().starts_with(b"version 13 "));
    let versions = node.verge_ok(&["site", "versions", "kept"]);
    let short = |line: &str| {
        line.trim_start_matches(['*', ' '])
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    };
    let versions: Vec<String> = versions.lines().map(short).collect();
    assert_eq!(versions.len(), 14);
    node.verge_ok(&["site", "rollback", "kept", versions.get(9).unwrap()]);
    assert!(page(&node, host, "/").unwrap().starts_with(b"version 4 "));
    let gone = node.verge(&["site", "rollback", "kept", versions.last().unwrap()]);
    assert!(
        text(&gone.stderr).contains("no kept version"),
        "{}",
        text(&gone.stderr)
    );
}

/// Removes what nothing names any more, as a collection after the grace period does.
fn collect(data: &Path) -> u64 {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(data).unwrap();
    let region = RegionView::open(store.clone(), keys, |_effect, _slot| {}).unwrap();
    let live = region.live_blobs(&Thrift::default()).unwrap();
    let first = store.collect(&live, Duration::ZERO, stopwatch()).unwrap();
    let again = store.collect(&live, Duration::ZERO, stopwatch()).unwrap();
    assert_eq!(again.removed_count, 0);
    first.removed_count
}

/// The assets of a version that was rolled back were gone at once, though visitors had its pages
/// open; a push after the rollback carried those of the old version only.
#[test]
fn hashed_assets_outlast_a_rollback_and_the_pushes_after_it() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "back");
    let host = "back.sites.localhost";
    let mut assets: Vec<(String, &str)> = Vec::new();
    let mut push = |node: &Node, words: &'static str| {
        for (old, _) in &assets {
            drop(std::fs::remove_file(publisher.work().join(old)));
        }
        let hash = Digest::of(words.as_bytes()).to_string();
        let name = format!("app.{}.css", hash.get(..10).unwrap());
        publisher.write(&name, words);
        publisher.write("index.html", format!("<link href={name}>{words}"));
        publisher.commit(words);
        publisher.push_ok(node, "back", "main");
        assets.push((name, words));
        assets.clone()
    };
    let check = |node: &Node, assets: &[(String, &str)]| {
        for (name, words) in assets {
            let shown = page(node, host, &format!("/{name}"));
            assert_eq!(shown, Ok(words.as_bytes().to_vec()), "{name}");
        }
    };
    push(&node, "a");
    let assets = push(&node, "b");
    node.verge_ok(&["site", "rollback", "back"]);
    assert!(page(&node, host, "/").unwrap().ends_with(b">a"));
    check(&node, &assets);
    let assets = push(&node, "c");
    check(&node, &assets);
    node.verge_ok(&["site", "rollback", "back"]);
    let assets = push(&node, "d");
    check(&node, &assets);
    let data = node.data().to_owned();
    assert!(node.stop().success());
    collect(&data);
    node.restart();
    check(&node, &assets);
}

#[test]
fn what_is_lost_of_one_version_stops_no_collection_of_the_others() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "whole");
    publisher.write("index.html", "kept");
    publisher.commit("one");
    publisher.push_ok(&node, "whole", "main");
    node.verge_ok(&["site", "create", "hurt", "--owner", "ana"]);
    publisher.write("index.html", "hurt");
    publisher.commit("two");
    publisher.push_ok(&node, "hurt", "main");
    let data = node.data().to_owned();
    assert!(node.stop().success());
    let store = Store::open(&data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(&data).unwrap();
    let region = RegionView::open(store.clone(), keys, |_effect, _slot| {}).unwrap();
    let all = region.live_blobs(&Thrift::default()).unwrap();
    assert_eq!(all.len(), store.blobs().list().unwrap().len());
    let effect = region.effect();
    let deploy = |label| effect.site_by_label(label).unwrap().head().unwrap().body();
    let path = |digest: Digest| data.join("blobs").join(digest.to_string());

    let hurt = deploy("hurt");
    let mut sequence = std::fs::read(path(hurt.blobs)).unwrap();
    sequence[0] ^= 1;
    std::fs::write(path(hurt.blobs), sequence).unwrap();
    assert_eq!(
        region.live_blobs(&Thrift::default()).unwrap(),
        all,
        "the manifest says the same"
    );
    std::fs::remove_file(path(hurt.blobs)).unwrap();
    assert_eq!(region.live_blobs(&Thrift::default()).unwrap(), all);

    std::fs::remove_file(path(hurt.version.digest())).unwrap();
    let live = region.live_blobs(&Thrift::default()).unwrap();
    let removed = store.collect(&live, Duration::ZERO, stopwatch()).unwrap();
    assert_eq!(
        removed.removed_count, 1,
        "the pack that nothing names any more"
    );
    drop((region, store));
    node.restart();
    assert_eq!(page(&node, "whole.sites.localhost", "/").unwrap(), b"kept");
    publisher.commit("the same files");
    publisher.push_ok(&node, "hurt", "main");
    assert_eq!(page(&node, "hurt.sites.localhost", "/").unwrap(), b"hurt");
}

/// A repository is a cache of the bundles that are blobs: it goes before anything else, and comes back
/// with the next push. One with what was never published stays.
#[test]
fn a_full_node_gives_up_repositories_first() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    node.verge_ok(&["site", "create", "draft", "--owner", "ana"]);
    for site in ["garden", "draft"] {
        publisher.write("film.bin", noise(1, FILM));
        publisher.commit("a film");
        std::fs::remove_file(publisher.work().join("film.bin")).unwrap();
        publisher.write("index.html", site);
        publisher.commit("without it");
        publisher.push_ok(&node, site, "main");
    }
    // Another branch is nowhere else.
    publisher.push_ok(&node, "draft", "main:refs/heads/other");
    let config = node.data().join("config.toml");
    let settings = std::fs::read_to_string(&config).unwrap();
    let limit = format!(
        "\nbytes_max = {}",
        used_bytes(node.data()) + FILM as u64 / 2
    );
    assert!(settings.contains("\nbytes_max = 0"));
    std::fs::write(&config, settings.replace("\nbytes_max = 0", &limit)).unwrap();
    assert!(node.stop().success());
    node.restart();

    // There is no room for another film, until there is.
    node.verge_ok(&["site", "create", "cinema", "--owner", "ana"]);
    let cinema = tempfile::tempdir().unwrap();
    std::fs::write(cinema.path().join("index.html"), "cinema").unwrap();
    std::fs::write(cinema.path().join("film.bin"), noise(2, FILM)).unwrap();
    let deploy = [
        "deploy",
        "--site",
        "cinema",
        cinema.path().to_str().unwrap(),
    ];
    let refused = text(&node.verge(&deploy).stderr);
    assert!(refused.contains("room for sites is used up"), "{refused}");
    let since = stopwatch();
    while !node.verge(&deploy).status.success() {
        assert!(since.elapsed() < Duration::from_secs(120), "room is made");
    }
    let left = std::fs::read_dir(node.data().join("git")).unwrap().count();
    assert_eq!(left, 1, "the one with what was never published");

    publisher.write("index.html", "goes on");
    publisher.commit("goes on");
    publisher.push_ok(&node, "garden", "main");
    assert_eq!(
        page(&node, "garden.sites.localhost", "/").unwrap(),
        b"goes on"
    );
    let refs = publisher.git_ok(&["ls-remote", &Publisher::url(&node, "draft")]);
    assert!(refs.contains("refs/heads/other"), "{refs}");
}

/// Long beside all that a small node has.
const FILM: usize = 2 << 20;

/// What blobs and repositories take.
fn used_bytes(data: &Path) -> u64 {
    let mut sum = 0;
    let mut folders = vec![data.join("blobs"), data.join("git")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                sum += metadata.len();
            }
        }
    }
    sum
}
