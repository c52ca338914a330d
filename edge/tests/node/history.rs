//! A site's git history is in bundles of the store: the repository is a cache.

use crate::harness::{Node, Publisher, block_on, text};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::{RegionView, Signer, SiteHistory};
use verge_sync::Digest;
use verge_sync::id::Version;
use verge_sync::record::{Deploy, GitSource};
use verge_sync::store::{LocalDisk, MetaValue, Store};

fn push(publisher: &Publisher, node: &Node, words: &str) {
    publisher.write("index.html", words);
    publisher.commit(words);
    publisher.push_ok(node, "garden", "main");
}

/// Removes every repository, as a lost disk does.
fn forget(node: &Node) {
    let git = node.data().join("git");
    for entry in std::fs::read_dir(git).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

/// The only repository of the node.
fn repository(node: &Node) -> PathBuf {
    let mut repositories = node.data().join("git").read_dir().unwrap();
    repositories.next().unwrap().unwrap().path()
}

/// All refs that a fetch shows.
fn shown(publisher: &Publisher, node: &Node) -> String {
    publisher.git_ok(&["ls-remote", &Publisher::url(node, "garden")])
}

/// The deploys in effect of the site on a data directory that no node runs on, newest first.
fn deploys(data: &Path) -> Vec<Deploy> {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(data).unwrap();
    let region = RegionView::open(store, keys, |_effect, _slot| {}).unwrap();
    let effect = region.effect();
    let site = effect.site_by_label("garden").unwrap();
    site.deploys
        .iter()
        .map(|deploy| deploy.body().clone())
        .collect()
}

/// The bundles of a deploy, oldest first.
fn bundles(data: &Path, deploy: &Deploy) -> Vec<Digest> {
    let sequence = deploy.git.as_ref().unwrap().sequence.unwrap();
    let bytes = std::fs::read(blob(data, sequence)).unwrap();
    assert_eq!(Digest::of(&bytes), sequence);
    let digests = bytes.chunks(32).map(|digest| digest.try_into().unwrap());
    digests.map(Digest::from_bytes).collect()
}

fn blob(data: &Path, digest: Digest) -> PathBuf {
    data.join("blobs").join(digest.to_string())
}

#[test]
fn history_is_there_again_after_its_repository_was_lost() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    push(&publisher, &node, "one");
    push(&publisher, &node, "two");
    publisher.git_ok(&["tag", "-a", "v2", "-m", "second"]);
    publisher.git_ok(&["tag", "light"]);
    // Tags alone are stored; they are passed on with the next deploy.
    let url = Publisher::url(&node, "garden");
    publisher.git_ok(&["push", "-q", &url, "v2", "light"]);
    push(&publisher, &node, "three");
    let before = shown(&publisher, &node);
    for name in [
        "HEAD",
        "refs/heads/main",
        "refs/tags/v2^{}",
        "refs/tags/light",
    ] {
        assert!(before.contains(name), "{before}");
    }
    forget(&node);
    assert_eq!(shown(&publisher, &node), before);
    let clone = tempfile::tempdir().unwrap();
    let folder = clone.path().join("clone").to_str().unwrap().to_owned();
    publisher.git_ok(&["clone", "-q", &url, &folder]);
    let log = publisher.git_ok(&["-C", &folder, "log", "--format=%s", "main"]);
    assert_eq!(log, "three\ntwo\none\n");
    publisher.git_ok(&["-C", &folder, "fsck", "--strict"]);

    // The first push to the empty node builds on it, and a rewritten one is refused as ever.
    forget(&node);
    push(&publisher, &node, "four");
    let two = publisher.git_ok(&["rev-parse", "HEAD~2"]).trim().to_owned();
    publisher.git_ok(&["checkout", "-q", "-b", "other", &two]);
    publisher.write("index.html", "elsewhere");
    publisher.commit("elsewhere");
    let refused = publisher.push_refused(&node, "garden", "other:main");
    assert!(
        refused.contains("non-fast-forward") || refused.contains("fetch first"),
        "{refused}"
    );
    // Forced it is a deploy like another, and what comes back later is its history.
    publisher.push_ok(&node, "garden", "+other:main");
    let forced = shown(&publisher, &node);
    forget(&node);
    assert_eq!(shown(&publisher, &node), forced);
    // A tag that was deleted stays deleted.
    publisher.git_ok(&["push", "-q", &url, "--delete", "light"]);
    publisher.git_ok(&["commit", "-q", "--allow-empty", "-m", "x"]);
    publisher.write("index.html", "last");
    publisher.commit("last");
    publisher.push_ok(&node, "garden", "other:main");
    forget(&node);
    let last = shown(&publisher, &node);
    assert!(
        last.contains("refs/tags/v2") && !last.contains("light"),
        "{last}"
    );
}

/// A node that was killed while it brought a history in left refs, and no word of how far it was.
#[test]
fn what_a_crash_left_of_bringing_a_history_in_is_removed() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    push(&publisher, &node, "one");
    push(&publisher, &node, "two");
    let before = shown(&publisher, &node);
    let git = repository(&node);
    let at = |arguments: &[&str]| {
        publisher.git_ok(&[&["-C", git.to_str().unwrap()], arguments].concat())
    };
    at(&["update-ref", "refs/verge/incoming/0/heads/main", "main~1"]);
    at(&["update-ref", "refs/heads/main", "main~1"]);
    std::fs::remove_file(git.join("verge-history")).unwrap();
    std::fs::write(git.join("packed-refs.lock"), "").unwrap();
    assert_eq!(shown(&publisher, &node), before);
    assert_eq!(at(&["for-each-ref", "refs/verge"]), "");
    push(&publisher, &node, "three");
}

#[test]
fn only_the_published_branch_and_tags_are_passed_on_and_nothing_stored_is_lost() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    push(&publisher, &node, "one");
    publisher.git_ok(&["checkout", "-q", "-b", "draft"]);
    publisher.write("secret.txt", "not yet");
    publisher.commit("draft");
    publisher.push_ok(&node, "garden", "draft");
    publisher.git_ok(&["checkout", "-q", "main"]);
    push(&publisher, &node, "two");
    assert!(shown(&publisher, &node).contains("refs/heads/draft"));
    forget(&node);
    assert!(!shown(&publisher, &node).contains("refs/heads/draft"));
    let draft = publisher.git_ok(&["rev-parse", "draft"]).trim().to_owned();
    let repository = repository(&node);
    let object = ["-C", repository.to_str().unwrap(), "cat-file", "-e", &draft];
    assert!(!publisher.git(&object).status().unwrap().success());
}

#[test]
fn twenty_pushes_are_consolidated_and_folders_and_rollbacks_carry_the_history_on() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    for number in 0..20 {
        push(&publisher, &node, &format!("page {number}"));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "by hand").unwrap();
    node.verge_ok(&["deploy", "--site=garden", folder.path().to_str().unwrap()]);
    node.verge_ok(&["site", "rollback", "garden"]);
    node.verge_ok(&["site", "rollback", "garden"]);
    let before = shown(&publisher, &node);
    let data = node.data().to_owned();
    assert!(node.stop().success());
    let deploys = deploys(&data);
    assert_eq!(deploys.len(), 23);
    let counts: Vec<usize> = deploys[3..10]
        .iter()
        .map(|deploy| bundles(&data, deploy).len())
        .collect();
    assert_eq!(counts, [4, 3, 2, 1, 16, 15, 14], "newest first");
    let [back_twice, back, upload, pushed] = [0, 1, 2, 3].map(|n| deploys[n].git.clone().unwrap());
    assert_eq!(upload, pushed);
    assert_eq!(back, pushed, "back from the folder is the last push again");
    assert_eq!(back_twice.sequence, pushed.sequence);
    assert_ne!(back_twice.commit, pushed.commit);
    // What the newest sequence does not name is of no use any more; what it names is kept.
    node.restart();
    forget(&node);
    assert_eq!(shown(&publisher, &node), before);
    let head = publisher.git_ok(&["rev-parse", "main"]);
    assert!(
        before.contains(head.trim()),
        "the branch still names the last push"
    );
    push(&publisher, &node, "after all");
}

#[test]
fn rewritten_large_history_is_bundled_anew_before_it_has_twice_its_size() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    push(&publisher, &node, "small");
    // Bytes that do not compress.
    let noise = |seed: u8, count: u32| -> Vec<u8> {
        let piece = |at: u32| *Digest::of(&[&[seed][..], &at.to_le_bytes()].concat()).as_bytes();
        (0..count).flat_map(piece).collect()
    };
    publisher.write("base.bin", noise(100, 64_000));
    publisher.git_ok(&["add", "-A"]);
    publisher.git_ok(&["commit", "-q", "-m", "base"]);
    for number in 0..4 {
        publisher.write("film.bin", noise(number, 34_000));
        publisher.git_ok(&["add", "-A"]);
        publisher.git_ok(&["commit", "-q", "--amend", "-m", "film"]);
        publisher.push_ok(&node, "garden", "+main");
    }
    let data = node.data().to_owned();
    assert!(node.stop().success());
    let counts: Vec<usize> = deploys(&data)
        .iter()
        .map(|deploy| bundles(&data, deploy).len())
        .collect();
    assert_eq!(counts, [1, 4, 3, 2, 1], "newest first");
}

#[test]
fn shallow_clone_can_be_the_first_to_push_and_is_passed_on() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "one");
    publisher.commit("one");
    publisher.write("index.html", "two");
    publisher.commit("two");
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().to_str().unwrap();
    let from = format!("file://{}", publisher.work().display());
    publisher.git_ok(&["clone", "-q", "--depth=1", &from, clone]);
    let url = Publisher::url(&node, "garden");
    publisher.git_ok(&["-C", clone, "push", "-q", &url, "main"]);
    let before = shown(&publisher, &node);
    forget(&node);
    assert_eq!(shown(&publisher, &node), before);
    // The whole history comes later, and from then on it is whole.
    push(&publisher, &node, "three");
    forget(&node);
    let again = tempfile::tempdir().unwrap();
    let again = again.path().to_str().unwrap();
    publisher.git_ok(&["clone", "-q", &url, again]);
    publisher.git_ok(&["-C", again, "fsck"]);
    let log = publisher.git_ok(&["-C", again, "log", "--format=%s", "main"]);
    assert!(log.starts_with("three\ntwo\n"), "{log}");
}

#[test]
fn damaged_or_missing_bundles_are_said_and_change_nothing() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    push(&publisher, &node, "one");
    push(&publisher, &node, "two");
    let data = node.data().to_owned();
    assert!(node.stop().success());
    let head = deploys(&data).remove(0);
    let last = blob(&data, bundles(&data, &head)[1]);
    let whole = std::fs::read(&last).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&last, damaged).unwrap();
    let store = Store::open(&data, Arc::new(LocalDisk)).unwrap();
    // The scrub has been here already.
    let end = MetaValue::Bytes(vec![0xff; 32]);
    store
        .records()
        .put_meta("scrub.position", end)
        .unwrap()
        .wait()
        .unwrap();
    drop(store);
    node.restart();
    // The repository is whole, so nobody needs the bundle.
    let before = shown(&publisher, &node);
    forget(&node);
    let fetch = |words: &str| {
        let url = Publisher::url(&node, "garden");
        let output = publisher.git(&["ls-remote", &url]).output().unwrap();
        assert!(!output.status.success(), "{}", text(&output.stdout));
        let said = text(&output.stderr);
        assert!(said.contains(words), "{said}");
    };
    fetch("is damaged on this node and was put aside");
    assert!(!last.exists() && data.join("damaged").read_dir().unwrap().count() == 1);
    fetch("is not on this one yet");
    publisher.write("index.html", "three");
    publisher.commit("three");
    let refused = publisher.push_refused(&node, "garden", "main");
    assert!(
        refused.contains("Try again in a minute, or use another node"),
        "{refused}"
    );
    // As soon as it is here, all is well.
    std::fs::write(&last, whole).unwrap();
    assert_eq!(shown(&publisher, &node), before);
    publisher.push_ok(&node, "garden", "main");
}

/// Puts a history in place that no node would write, as a rogue one can.
fn name_history(data: &Path, sequence: &[u8], blobs: &[Vec<u8>]) {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(data).unwrap();
    for blob in blobs {
        store.blobs().put(blob).unwrap();
    }
    let sequence = store.blobs().put(sequence).unwrap();
    let region = Arc::new(RegionView::open(store, keys, |_effect, _slot| {}).unwrap());
    let effect = region.effect();
    let site = effect.site_by_label("garden").unwrap();
    let head = site.head().unwrap().body().clone();
    let git = head.git.clone().map(|git| GitSource {
        sequence: Some(sequence),
        ..git
    });
    let based_on = SiteHistory::of(&effect, &site.id);
    let deploy = Deploy {
        version: Version::from_bytes([9; 32]),
        git,
        ..head
    };
    block_on(region.deploy(site.id, deploy, Some(&based_on), Signer::Member)).unwrap();
}

/// A bundle of the publisher's repository with whatever objects it leads to.
fn bundle(publisher: &Publisher, commit: &str) -> Vec<u8> {
    publisher.git_ok(&["update-ref", "refs/heads/bad", commit]);
    let path = publisher.work().with_file_name("bad.bundle");
    publisher.git_ok(&[
        "bundle",
        "create",
        "-q",
        path.to_str().unwrap(),
        "refs/heads/bad",
    ]);
    std::fs::read(path).unwrap()
}

/// One with an object that git's check refuses, and one that was cut off.
fn bad_bundles(publisher: &Publisher) -> [Vec<u8>; 2] {
    // A tree with a folder called .git, which git checks for.
    let empty = publisher.git_ok(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let line = format!("040000 tree {}\t.git\n", empty.trim());
    let file = publisher.work().with_file_name("tree");
    std::fs::write(&file, line).unwrap();
    let mktree = publisher
        .git(&["mktree"])
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .unwrap();
    assert!(mktree.status.success(), "{}", text(&mktree.stderr));
    let tree = text(&mktree.stdout).trim().to_owned();
    let commit = publisher.git_ok(&["commit-tree", "-m", "bad", &tree]);
    let hostile = bundle(publisher, commit.trim());
    let tree = publisher.git_ok(&["rev-parse", "main^{tree}"]);
    let commit = publisher.git_ok(&["commit-tree", "-m", "never seen", tree.trim()]);
    let half = bundle(publisher, commit.trim());
    let half = half[..half.len() - 30].to_vec();
    [hostile, half]
}

#[test]
fn history_that_no_node_should_write_is_refused_and_can_be_undone() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    push(&publisher, &node, "one");
    let before = shown(&publisher, &node);
    let good = node.verge_ok(&["site", "versions", "garden"]);
    let good = good.split_whitespace().nth(1).unwrap().to_owned();
    let [hostile, half] = bad_bundles(&publisher);
    let noise = b"# v2 git bundle\nhello\n\n".to_vec();
    let list = |blob: &[u8]| Digest::of(blob).as_bytes().to_vec();
    let data = node.data().to_owned();
    for (sequence, blobs, words) in [
        (
            vec![7; 33],
            vec![],
            "is a sequence that is no list of digests",
        ),
        (
            vec![7; 65 * 32],
            vec![],
            "is a sequence of more than 64 bundles",
        ),
        (Vec::new(), vec![], "is a sequence without a bundle"),
        (
            list(&noise),
            vec![noise],
            "is a git bundle with a line that is none",
        ),
        (
            list(&half),
            vec![half],
            "is a git bundle that git does not take",
        ),
        (
            list(&hostile),
            vec![hostile],
            "is a git bundle that git does not take",
        ),
    ] {
        assert!(node.stop().success());
        name_history(&data, &sequence, &blobs);
        node.restart();
        for _ in 0..2 {
            let url = Publisher::url(&node, "garden");
            let output = publisher.git(&["ls-remote", &url]).output().unwrap();
            assert!(!output.status.success(), "{}", text(&output.stdout));
            let said = text(&output.stderr);
            assert!(
                said.contains(words) && said.contains("verge site reset garden"),
                "{said}"
            );
        }
        node.verge_ok(&["site", "reset", "garden", "--to", &good]);
        assert_eq!(shown(&publisher, &node), before, "{words}");
    }
    push(&publisher, &node, "two");
}

#[test]
fn so_many_tags_leave_the_node_and_no_more() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    push(&publisher, &node, "one");
    let git = repository(&node);
    let commit = publisher.git_ok(&["rev-parse", "main"]);
    let tag = |number: usize| format!("{} refs/tags/t{number}\n", commit.trim());
    let mut tags: Vec<String> = (0..10_000).map(tag).collect();
    tags.sort();
    let write = |tags: &[String]| {
        let header = "# pack-refs with: peeled fully-peeled sorted \n";
        std::fs::write(git.join("packed-refs"), header.to_owned() + &tags.concat()).unwrap();
    };
    write(&tags);
    push(&publisher, &node, "two");
    let before = shown(&publisher, &node);
    assert_eq!(before.matches("refs/tags/").count(), 10_000);
    tags.push(tag(10_000));
    tags.sort();
    write(&tags);
    publisher.write("index.html", "three");
    publisher.commit("three");
    let refused = publisher.push_refused(&node, "garden", "main");
    assert!(refused.contains("the site has 10001 tags"), "{refused}");
    publisher.git_ok(&[
        "push",
        "-q",
        &Publisher::url(&node, "garden"),
        "--delete",
        "t7",
    ]);
    publisher.push_ok(&node, "garden", "main");
}
