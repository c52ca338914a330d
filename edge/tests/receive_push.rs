//! Stock git pushes and fetches over real SSH: what is taken, what is refused, in which words.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod receive_harness;

use receive_harness::{Node, said};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use verge_edge::receive::Limits;
use verge_sync::store::{LocalDisk, Store};

#[test]
fn first_push_then_fast_forward_are_published_and_cloned() {
    let node = Node::new();
    let work = node.work("garden");
    let first = node.git(&work, &["rev-parse", "HEAD"]);
    let output = node.try_git(&work, &["push", "origin", "main"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("remote: building"), "{text}");
    assert!(text.contains("remote: https://garden.localhost/"), "{text}");

    let second = node.commit(&work, "a.html", "a");
    node.git(&work, &["push", "-q", "origin", "main"]);
    assert_eq!(
        node.published(),
        [
            ("main".to_owned(), first),
            ("main".to_owned(), second.clone())
        ]
    );
    assert_eq!(
        node.refs("garden"),
        format!("refs/heads/main {second}\nHEAD refs/heads/main")
    );

    let copy = node.dir.path().join("copy");
    node.git(
        node.dir.path(),
        &["clone", "-q", &node.url("garden"), "copy"],
    );
    assert_eq!(node.git(&copy, &["rev-parse", "HEAD"]), second);
    assert_eq!(node.git(&copy, &["branch", "--show-current"]), "main");
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
}

#[test]
fn other_branches_and_tags_are_stored_and_said_so() {
    let node = Node::new();
    let work = node.work("garden");
    let text = node.taken(&work, &["push", "origin", "HEAD:trunk"]);
    assert!(text.contains("remote: stored branch trunk"), "{text}");
    assert!(text.contains("nothing was published"), "{text}");
    node.git(&work, &["push", "-q", "origin", "main"]);
    node.git(&work, &["tag", "v1"]);
    let text = node.taken(&work, &["push", "origin", "HEAD:draft", "v1"]);
    assert!(
        text.contains("remote: stored branch draft; garden shows branch main"),
        "{text}"
    );
    assert!(
        text.contains("remote: stored tag v1; garden shows branch main"),
        "{text}"
    );
    assert_eq!(node.published().len(), 1);

    let text = node.taken(&work, &["push", "origin", "HEAD:pages"]);
    assert!(text.contains("https://garden.localhost/"), "{text}");
    assert!(node.refs("garden").ends_with("HEAD refs/heads/pages"));
    let text = node.taken(&work, &["push", "origin", ":draft"]);
    assert!(text.contains("deleted branch draft"), "{text}");
}

#[test]
fn a_configured_branch_is_the_one_that_is_published() {
    let node = Node::new();
    node.change_site("garden", |site| site.branch = Some("web".to_owned()));
    let work = node.work("garden");
    let text = node.taken(&work, &["push", "origin", "main"]);
    assert!(
        text.contains("stored branch main; garden shows branch web"),
        "{text}"
    );
    node.git(&work, &["push", "-q", "origin", "HEAD:web"]);
    assert_eq!(node.published().len(), 1);
    assert_eq!(node.published()[0].0, "web");
    assert!(node.refs("garden").ends_with("HEAD refs/heads/web"));
}

#[test]
fn rewritten_history_is_taken_unless_the_site_refuses_it() {
    let node = Node::new();
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    node.git(&work, &["commit", "-q", "--amend", "-m", "again"]);
    node.git(&work, &["push", "-q", "--force", "origin", "main"]);
    let standing = node.git(&work, &["rev-parse", "HEAD"]);

    node.change_site("garden", |site| site.force = false);
    node.git(&work, &["commit", "-q", "--amend", "-m", "once more"]);
    let text = node.refused(&work, &["push", "--force", "origin", "main"]);
    assert!(
        text.contains("remote: this push rewrites what garden has published, and garden refuses"),
        "{text}"
    );
    assert!(
        node.refs("garden")
            .starts_with(&format!("refs/heads/main {standing}"))
    );
    node.git(&work, &["reset", "-q", "--hard", &standing]);
    node.commit(&work, "b.html", "b");
    node.git(&work, &["push", "-q", "origin", "main"]);
    assert_eq!(node.published().len(), 3);
}

#[test]
fn the_published_branch_is_not_deleted() {
    let node = Node::new();
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    let before = node.refs("garden");
    let text = node.refused(&work, &["push", "origin", ":main"]);
    assert!(text.contains("use `verge site delete garden`"), "{text}");
    assert_eq!(node.refs("garden"), before);
}

#[test]
fn only_branches_and_tags_and_commits_are_taken() {
    let node = Node::new();
    let work = node.work("garden");
    let text = node.refused(&work, &["push", "origin", "HEAD:refs/notes/x"]);
    assert!(
        text.contains("refs/notes/x: only branches (refs/heads/) and tags"),
        "{text}"
    );
    node.git(&work, &["tag", "-a", "-m", "one", "v1"]);
    let text = node.refused(&work, &["push", "origin", "v1:refs/heads/main"]);
    assert!(text.contains("branch main must name a commit"), "{text}");
    assert_eq!(node.published(), []);
    assert_eq!(node.refs("garden"), "\nHEAD refs/heads/main");
}

#[test]
fn too_many_refs_are_refused_in_one_sentence() {
    let node = Node::with_limits(Limits {
        push_refs: 5,
        ..Limits::default()
    });
    let work = node.work("garden");
    for number in 0..6 {
        node.git(&work, &["tag", &format!("v{number}")]);
    }
    let text = node.refused(&work, &["push", "--tags", "origin"]);
    assert!(
        text.contains("remote: this push has more than 5 refs"),
        "{text}"
    );
    node.git(&work, &["tag", "-d", "v5"]);
    node.git(&work, &["push", "-q", "--tags", "origin"]);
}

#[test]
fn a_shallow_clone_is_pushed_back() {
    let node = Node::new();
    let work = node.work("garden");
    for number in 0..5 {
        node.commit(&work, "index.html", &number.to_string());
    }
    node.git(&work, &["push", "-q", "origin", "main"]);
    node.git(
        node.dir.path(),
        &["clone", "-q", "--depth=1", &node.url("garden"), "shallow"],
    );
    let shallow = node.dir.path().join("shallow");
    assert_eq!(node.git(&shallow, &["rev-list", "--count", "HEAD"]), "1");
    let pushed = node.commit(&shallow, "index.html", "from the shallow one");
    node.git(&shallow, &["push", "-q", "origin", "main"]);
    assert_eq!(node.published().last().unwrap().1, pushed);
    node.git(&work, &["pull", "-q", "origin", "main"]);

    // A build service pushes a site for the first time from a clone of depth 1.
    node.git(&shallow, &["push", "-q", &node.url("shed"), "main"]);
    assert_eq!(node.published().last().unwrap().1, pushed);
    node.commit(&shallow, "index.html", "and again");
    node.git(&shallow, &["push", "-q", &node.url("shed"), "main"]);
}

#[test]
fn ten_thousand_files_are_one_pack() {
    let node = Node::new();
    let work = node.work("garden");
    for number in 0..10_000 {
        let folder = work.join(format!("{}", number % 100));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join(format!("{number}.html")),
            format!("page {number}"),
        )
        .unwrap();
    }
    node.commit(&work, "last.html", "last");
    node.git(&work, &["push", "-q", "origin", "main"]);
    assert_eq!(node.published().len(), 1);
    let counted = node.git(&node.repository("garden"), &["count-objects", "-v"]);
    assert!(
        counted.contains("count: 0\n") && counted.contains("packs: 1\n"),
        "{counted}"
    );
}

#[test]
fn many_packs_become_one() {
    let mut node = Node::with_limits(Limits {
        packs: 2,
        ..Limits::default()
    });
    let work = node.work("garden");
    for number in 0..3 {
        node.commit(&work, "index.html", &format!("{number}"));
        node.git(&work, &["push", "-q", "origin", "main"]);
    }
    node.stop();
    let counted = node.git(&node.repository("garden"), &["count-objects", "-v"]);
    assert!(counted.contains("packs: 1\n"), "{counted}");
}

#[test]
fn a_failed_publish_moves_no_ref_and_its_sentence_is_last() {
    let node = Node::new();
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    let before = node.refs("garden");
    node.change_site("garden", |site| {
        site.answer.log = vec!["12 files".to_owned(), "\u{1b}[2Jx.html:3: bad".to_owned()];
        site.answer.result = Err(vec!["the build failed: x.html is not HTML".to_owned()]);
    });
    node.commit(&work, "x.html", "x");
    let text = node.refused(&work, &["push", "origin", "main"]);
    let remote: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("remote: "))
        .collect();
    let remote: Vec<&str> = remote.iter().map(|line| line.trim_end()).collect();
    assert_eq!(
        remote,
        [
            "remote: 12 files",
            "remote: ?[2Jx.html:3: bad",
            "remote: the build failed: x.html is not HTML",
        ],
        "{text}"
    );
    assert!(text.contains("pre-receive hook declined"), "{text}");
    assert_eq!(node.refs("garden"), before);
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
}

/// The deploy is in place before git moves the branch, so "nothing was changed" would be a lie.
#[test]
fn a_published_push_whose_branch_cannot_move_is_told_so() {
    let mut node = Node::new();
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    node.wait_begun();
    node.commit(&work, "b.html", "b");
    let push = held_push(&mut node, &work);
    let lock = node.repository("garden").join("refs/heads/main.lock");
    std::fs::write(lock, "").unwrap();
    node.fake.gate.add_permits(1);
    let output = push.wait_with_output().unwrap();
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(NOT_MOVED), "{text}");
    node.fake.gate.add_permits(1);
    node.git(&work, &["push", "-q", "origin", "main"]);
}

#[test]
fn a_published_push_in_which_git_hangs_is_told_so() {
    let mut node = Node::with_limits(Limits {
        idle_timeout: Duration::from_secs(2),
        finish_timeout: Duration::from_secs(2),
        ..Limits::default()
    });
    let work = node.work("garden");
    let push = held_push(&mut node, &work);
    let hooks = node.dir.path().join("data/hooks");
    let fifo = hooks.join("never");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let hook = hooks.join("reference-transaction");
    std::fs::write(&hook, format!("#!/bin/sh\nread x <{}\n", fifo.display())).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
    node.fake.gate.add_permits(1);
    let output = push.wait_with_output().unwrap();
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(NOT_MOVED), "{text}");
    assert!(!text.contains("nothing was changed"), "{text}");
    node.stop();
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
}

/// A publish that is dropped may have deployed already.
#[test]
fn a_push_cut_off_while_publishing_is_told_what_visitors_see() {
    for (has_deployed, words) in [(true, NOT_MOVED), (false, "nothing was changed")] {
        let mut node = Node::with_limits(Limits {
            idle_timeout: Duration::from_secs(2),
            ..Limits::default()
        });
        let work = node.work("garden");
        let commit = node.git(&work, &["rev-parse", "HEAD"]);
        let push = held_push(&mut node, &work);
        if has_deployed {
            node.change_site("garden", |site| site.published = Some(commit));
        }
        node.wait_dropped();
        let text = said(&push.wait_with_output().unwrap());
        assert!(text.contains(words), "{has_deployed}: {text}");
    }
}

const NOT_MOVED: &str = "published; only the branch could not be moved: push again";

/// A push of `main` whose publish has begun and waits for the gate.
fn held_push(node: &mut Node, work: &Path) -> std::process::Child {
    node.fake.gate.forget_permits(1000);
    let mut push = node.git_command(work);
    push.args(["push", "origin", "main"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let push = push.spawn().unwrap();
    node.wait_begun();
    push
}

#[test]
fn trees_that_git_refuses_are_refused_in_our_words() {
    let node = Node::new();
    let work = node.work("garden");
    let blob = node.git(&work, &["rev-parse", "HEAD:index.html"]);
    let blob: Vec<u8> = (0..40)
        .step_by(2)
        .map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap())
        .collect();
    for (name, words) in [
        (".git", "named like git's own"),
        (".GIT", "named like git's own"),
        ("git~1", "named like git's own"),
        ("..", "an entry named `..`"),
        ("a/b", "git's own check (git fsck)"),
    ] {
        let mut tree = format!("100644 {name}\0").into_bytes();
        tree.extend(&blob);
        let file = node.dir.path().join("tree");
        std::fs::write(&file, tree).unwrap();
        let arguments = [
            "hash-object",
            "-w",
            "-t",
            "tree",
            "--literally",
            file.to_str().unwrap(),
        ];
        let tree = node.git(&work, &arguments);
        let commit = node.git(&work, &["commit-tree", "-m", "bad", &tree]);
        let text = node.refused(
            &work,
            &["push", "origin", &format!("{commit}:refs/heads/main")],
        );
        assert!(text.contains(words), "{name}: {text}");
        assert!(text.contains("nothing was changed"), "{name}: {text}");
    }
    assert_eq!(node.published(), []);
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
}

#[test]
fn a_pack_over_the_limit_is_refused() {
    let node = Node::with_limits(Limits {
        push_bytes: 1 << 20,
        ..Limits::default()
    });
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    let before = node.refs("garden");
    node.commit(&work, "noise.txt", &noise());
    let text = node.refused(&work, &["push", "origin", "main"]);
    assert!(
        text.contains("larger than this node takes in one push"),
        "{text}"
    );
    assert_eq!(node.refs("garden"), before);
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
}

/// Two megabytes of text that compress to one and a bit.
fn noise() -> String {
    let digests = (0..32_768_u32).map(|n| verge_sync::Digest::of(&n.to_le_bytes()).to_string());
    digests.collect()
}

/// Names a small disk to the second run of the test below.
const DISK_VARIABLE: &str = "VERGE_TEST_SMALL_DISK";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "two runs of one test have no other way to talk"
)]
fn a_full_disk_refuses_the_push_and_says_so() {
    let Some(disk) = std::env::var_os(DISK_VARIABLE) else {
        return run_again_on_a_small_disk();
    };
    let node = Node::on_disk(Limits::default(), Some(disk.into()));
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    let before = node.refs("garden");
    node.commit(&work, "noise.txt", &noise());
    let text = node.refused(&work, &["push", "origin", "main"]);
    assert!(
        text.contains("this node's disk is full; nothing was changed"),
        "{text}"
    );
    assert_eq!(node.refs("garden"), before);
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
    node.git(&work, &["reset", "-q", "--hard", "HEAD^"]);
    node.commit(&work, "small.html", "small");
    node.git(&work, &["push", "-q", "origin", "main"]);
}

/// In a mount namespace of its own, where a disk of one megabyte can be had.
fn run_again_on_a_small_disk() {
    let disk = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" && exec \"$2\" --exact --nocapture \
                  a_full_disk_refuses_the_push_and_says_so";
    let output = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .env(DISK_VARIABLE, disk.path())
        .output()
        .unwrap();
    assert!(
        output.status.success() && said(&output).contains("1 passed"),
        "{}",
        said(&output)
    );
}

/// The tree that holds `tree` under ten names, or one name; as git stores it.
fn around(node: &Node, work: &Path, tree: &str, names: u8) -> String {
    let entries = (0..names).map(|n| format!("040000 tree {tree}\t{n}\n"));
    let file = node.dir.path().join("entries");
    std::fs::write(&file, entries.collect::<String>()).unwrap();
    let mut make = node.git_command(work);
    let made = make
        .arg("mktree")
        .stdin(std::fs::File::open(file).unwrap())
        .output()
        .unwrap();
    said(&made).trim().to_owned()
}

/// Git takes these with its checks on: they must reach the builder, whose limits they are for,
/// within the limits of git.
#[test]
fn small_pushes_of_huge_trees_reach_the_builder() {
    let node = Node::new();
    let work = node.work("garden");
    let smallest = node.git(&work, &["rev-parse", "HEAD^{tree}"]);
    for (names, levels) in [(10, 11), (1, 1000)] {
        let mut tree = smallest.clone();
        for _ in 0..levels {
            tree = around(&node, &work, &tree, names);
        }
        let commit = node.git(&work, &["commit-tree", "-m", "bomb", &tree]);
        let target = format!("{commit}:refs/heads/main");
        node.git(&work, &["push", "-q", "--force", "origin", &target]);
        assert_eq!(node.published().last().unwrap().1, commit);
    }
    // More than the memory that git may have.
    let zeros = std::fs::File::create(work.join("zeros")).unwrap();
    zeros.set_len(300 << 20).unwrap();
    node.git(&work, &["add", "zeros"]);
    node.git(&work, &["commit", "-q", "-m", "zeros"]);
    node.git(&work, &["push", "-q", "--force", "origin", "main"]);
    assert_eq!(node.published().len(), 3);
}

impl Node {
    /// Runs git, which must be content; returns all that the pusher read.
    fn taken(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.try_git(folder, arguments);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    }
}

#[test]
fn history_that_no_other_node_would_take_is_refused() {
    let node = Node::with_limits(Limits {
        bundle_bytes_max: 64 << 10,
        ..Limits::default()
    });
    let dir = node.dir.path().join("store");
    let store = Store::open(&dir, Arc::new(LocalDisk)).unwrap();
    node.fake.store.set(store.clone()).unwrap();
    let work = node.work("garden");
    let noise = |count: u32| -> Vec<u8> {
        let piece = |at: u32| *verge_sync::Digest::of(&at.to_le_bytes()).as_bytes();
        (0..count).flat_map(piece).collect()
    };
    std::fs::write(work.join("film"), noise(1_900)).unwrap();
    node.commit(&work, "a", "fits");
    node.git(&work, &["push", "-q", "origin", "main"]);
    // The bundle, and the sequence that lists it.
    assert_eq!(store.blobs().list().unwrap().len(), 2);
    std::fs::write(work.join("film"), noise(2_100)).unwrap();
    node.commit(&work, "a", "does not");
    let refused = node.refused(&work, &["push", "origin", "main"]);
    assert!(
        refused.contains("at most 65536 can leave this node"),
        "{refused}"
    );
    assert_eq!(store.blobs().list().unwrap().len(), 2);
}
