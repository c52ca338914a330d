//! What a hostile or unlucky push gets: a clear sentence, nothing lost, the last version served.

use crate::harness::{Node, Publisher, page, text};
use crate::support::sample::noise;
use std::io::Write;
use std::process::Stdio;

/// Feeds `input` to `git ARGUMENTS` and gives the object that it names.
fn object(publisher: &Publisher, arguments: &[&str], input: &[u8]) -> String {
    let mut git = publisher.git(arguments);
    let mut child = git
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    text(&output.stdout).trim().to_owned()
}

fn blob(publisher: &Publisher, bytes: &[u8]) -> String {
    object(publisher, &["hash-object", "-w", "--stdin"], bytes)
}

/// A tree of (mode, kind, object, name).
fn tree(publisher: &Publisher, rows: &[(&str, &str, &str, &str)]) -> String {
    let mut input = Vec::new();
    for (mode, kind, object, name) in rows {
        input.extend_from_slice(format!("{mode} {kind} {object}\t{name}\0").as_bytes());
    }
    object(publisher, &["mktree", "-z", "--missing"], &input)
}

/// Puts a commit of `tree` on branch `main`.
fn commit(publisher: &Publisher, tree: &str) {
    let commit = object(publisher, &["commit-tree", tree, "-m", "crafted"], b"");
    publisher.git_ok(&["update-ref", "refs/heads/main", &commit]);
}

/// A node with a site that shows a page, and its publisher.
fn node_with_page() -> (Node, Publisher) {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "steady");
    publisher.write("index.html", "steady");
    publisher.commit("good");
    publisher.push_ok(&node, "steady", "main");
    (node, publisher)
}

/// Pushes what stands on `main`: refused with `sentence`, and the page is as before.
fn refused_with(node: &Node, publisher: &Publisher, sentence: &str) {
    let said = publisher.push_refused(node, "steady", "+main");
    let flat = said.replace("remote: ", "").replace('\n', " ");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words(&flat).contains(&words(sentence)),
        "expected {sentence:?} in:\n{said}"
    );
    assert_eq!(
        page(node, "steady.sites.localhost", "/").unwrap(),
        b"steady"
    );
}

#[test]
fn bomb_of_a_hundred_billion_files() {
    let (node, publisher) = node_with_page();
    let blob = blob(&publisher, b"boom");
    let names: Vec<String> = (0..10).map(|n| format!("f{n}")).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|n| ("100644", "blob", blob.as_str(), n.as_str()))
        .collect();
    let mut level = tree(&publisher, &rows);
    for _ in 0..10 {
        let below = level.clone();
        let rows: Vec<_> = names
            .iter()
            .map(|n| ("040000", "tree", below.as_str(), n.as_str()))
            .collect();
        level = tree(&publisher, &rows);
    }
    commit(&publisher, &level);
    refused_with(
        &node,
        &publisher,
        "the tree has more than 50000 files and folders: push only what belongs to the site",
    );
}

#[test]
fn tree_a_thousand_deep() {
    let (node, publisher) = node_with_page();
    let blob = blob(&publisher, b"deep");
    let mut level = tree(&publisher, &[("100644", "blob", &blob, "index.html")]);
    for _ in 0..1000 {
        level = tree(&publisher, &[("040000", "tree", &level, "d")]);
    }
    commit(&publisher, &level);
    refused_with(
        &node,
        &publisher,
        "lies more than 64 folders deep: move it up",
    );
}

#[test]
fn zeros_of_600_megabytes_in_a_small_pack() {
    let (node, publisher) = node_with_page();
    let path = publisher.work().join("zeros.bin");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(600 << 20)
        .unwrap();
    publisher.commit("zeros");
    refused_with(
        &node,
        &publisher,
        "zeros.bin has 629145600 bytes, a file may have 104857600: make it smaller or leave it out",
    );
}

/// All sites of an account together, and the room of the node, are looked at before anything is put
/// in place.
#[test]
fn more_than_the_account_or_the_node_has_room_for() {
    let (mut node, publisher) = node_with_page();
    publisher.write("noise.bin", noise(1, 900_000));
    publisher.commit("noise");
    publisher.push_ok(&node, "steady", "main");
    node.verge_ok(&["site", "create", "second", "--owner", "ana"]);
    node.verge_ok(&["region", "propose", "--account-bytes-max=1000000"]);
    publisher.write("noise.bin", noise(2, 900_000));
    publisher.commit("more");
    let said = publisher.push_refused(&node, "second", "main");
    assert!(said.contains("the account's sites take 18"), "{said}");
    assert!(said.contains("all together may have 1000000"), "{said}");
    // In its own place it is not too much.
    publisher.push_ok(&node, "steady", "main");

    node.verge_ok(&["region", "propose", "--account-bytes-max=9000000"]);
    node.stop();
    let config = node.data().join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let small = text.replace("\nbytes_max = 0", "\nbytes_max = 2000000");
    std::fs::write(&config, small).unwrap();
    node.restart();
    let said = publisher.push_refused(&node, "second", "main");
    assert!(
        said.contains("this node's room for sites is used up"),
        "{said}"
    );
    assert!(page(&node, "steady.sites.localhost", "/").is_ok());
}

#[test]
fn git_folder_in_any_spelling() {
    let (node, publisher) = node_with_page();
    let blob = blob(&publisher, b"[core]");
    for name in [".git", ".GIT", ".git ", "git~1", ".g\u{200c}it"] {
        let inner = tree(&publisher, &[("100644", "blob", &blob, "config")]);
        commit(
            &publisher,
            &tree(&publisher, &[("040000", "tree", &inner, name)]),
        );
        let said = publisher.push_refused(&node, "steady", "+main");
        assert!(
            said.contains("hasDotgit") || said.contains("may be called .git in any spelling"),
            "{name:?}: {said}"
        );
    }
    assert_eq!(
        page(&node, "steady.sites.localhost", "/").unwrap(),
        b"steady"
    );
}

#[test]
fn names_that_leave_the_tree() {
    let (node, publisher) = node_with_page();
    let blob = blob(&publisher, b"x");
    let inner = tree(&publisher, &[("100644", "blob", &blob, "passwd")]);
    commit(
        &publisher,
        &tree(&publisher, &[("040000", "tree", &inner, "..")]),
    );
    let said = publisher.push_refused(&node, "steady", "+main");
    assert!(said.contains("hasDotdot"), "{said}");
    commit(
        &publisher,
        &tree(&publisher, &[("100644", "blob", &blob, "bell\u{7}")]),
    );
    refused_with(
        &node,
        &publisher,
        "the path has a backslash or a control character: rename it",
    );
}

#[test]
fn links_out_of_the_tree_and_in_loops() {
    let (node, publisher) = node_with_page();
    let link = |target: &str| blob(&publisher, target.as_bytes());
    let page = blob(&publisher, b"hello");
    let rows: [(&str, &str); 4] = [
        (
            "../../etc/passwd",
            "a is a symbolic link to ../../etc/passwd, outside the tree: put a copy of the file there",
        ),
        (
            "/etc/passwd",
            "a is a symbolic link to /etc/passwd, outside the tree: put a copy of the file there",
        ),
        (
            "nowhere",
            "a is a symbolic link to nowhere, which is not in the tree: add it or remove the link",
        ),
        (
            "a",
            "a is a symbolic link to a, which leads back to itself: remove the link",
        ),
    ];
    for (target, sentence) in rows {
        let target = link(target);
        let rows = [
            ("120000", "blob", target.as_str(), "a"),
            ("100644", "blob", &page, "index.html"),
        ];
        commit(&publisher, &tree(&publisher, &rows));
        refused_with(&node, &publisher, sentence);
    }
}

#[test]
fn submodule() {
    let (node, publisher) = node_with_page();
    let page = blob(&publisher, b"hello");
    let other = "1".repeat(40);
    let rows = [
        ("160000", "commit", other.as_str(), "theme"),
        ("100644", "blob", &page, "index.html"),
    ];
    let mut sorted = rows;
    sorted.sort_by_key(|row| row.3);
    commit(&publisher, &tree(&publisher, &sorted));
    refused_with(
        &node,
        &publisher,
        "theme is a git submodule, and its files are not part of this commit: replace it by the files",
    );
}

#[test]
fn lfs_pointer() {
    let (node, publisher) = node_with_page();
    publisher.write(
        "film.mp4",
        "version https://git-lfs.github.com/spec/v1\n\
         oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n",
    );
    publisher.commit("pointer");
    refused_with(
        &node,
        &publisher,
        "film.mp4 is a Git LFS pointer instead of the file itself: run",
    );
}

#[test]
fn secret() {
    let (node, publisher) = node_with_page();
    publisher.write("deploy/id_ed25519", "not really");
    publisher.commit("oops");
    refused_with(
        &node,
        &publisher,
        "deploy/id_ed25519 looks like a secret: remove it and replace the secret",
    );
}

#[test]
fn bad_settings_name_their_line() {
    let (node, publisher) = node_with_page();
    publisher.write("verge.toml", "# where\npublish = 7\n");
    publisher.commit("settings");
    refused_with(&node, &publisher, "verge.toml:2:");
    publisher.write("verge.toml", "publish = \"dist\"\n");
    publisher.commit("settings");
    refused_with(
        &node,
        &publisher,
        "verge.toml:1: publish = \"dist\" names no folder of the tree",
    );
}

#[test]
fn deleting_the_published_branch() {
    let (node, publisher) = node_with_page();
    let said = publisher.push_refused(&node, "steady", ":main");
    assert!(said.contains("use `verge site delete steady`"), "{said}");
    assert_eq!(
        page(&node, "steady.sites.localhost", "/").unwrap(),
        b"steady"
    );
}

#[test]
fn pusher_who_vanishes_half_way() {
    let (node, publisher) = node_with_page();
    let mut noise = vec![0_u8; 8 << 20];
    let mut word = 7_u64;
    for chunk in noise.chunks_exact_mut(8) {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    publisher.write("noise.bin", &noise);
    publisher.write("index.html", "after");
    publisher.commit("big");
    let mut push = publisher.git(&[
        "push",
        "--progress",
        &Publisher::url(&node, "steady"),
        "main",
    ]);
    let mut push = push.stderr(Stdio::piped()).spawn().unwrap();
    // Gone as soon as git says anything about its progress.
    let mut byte = [0];
    std::io::Read::read_exact(push.stderr.as_mut().unwrap(), &mut byte).unwrap();
    push.kill().unwrap();
    push.wait().unwrap();
    let shown = page(&node, "steady.sites.localhost", "/").unwrap();
    assert!(shown == b"steady" || shown == b"after");
    publisher.push_ok(&node, "steady", "main");
    assert_eq!(
        page(&node, "steady.sites.localhost", "/").unwrap(),
        b"after"
    );
    assert!(page(&node, "steady.sites.localhost", "/noise.bin").unwrap() == noise);
}
