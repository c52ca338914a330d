//! The node is killed while it makes a bundle, writes an export, or runs an import: it starts again,
//! what was begun is done again to its end, and nothing is lost and nothing is half there.

use crate::export::{contents, garden, published};
use crate::harness::{Node, Publisher, VERGE, page, text};
use crate::support::sample::noise;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

const HOST: &str = "garden.sites.localhost";
/// Large enough that whoever looks finds it under way.
const LARGE: usize = 24 << 20;
/// What has ended before it was found under way is begun again so often.
const TRIES: usize = 20;
/// Between two looks at what is under way.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Looks until `is_under_way`, or until `child` has ended; gives whether it was seen.
fn is_seen(child: &mut Child, is_under_way: impl Fn() -> bool) -> bool {
    let (_open, pause) = sync_channel::<()>(1);
    while !is_under_way() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(pause.recv_timeout(BETWEEN_LOOKS).is_err());
    }
    true
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect()
}

fn all_is_well(node: &Node) {
    let said = node.verge_ok(&["verify", "--rebuild"]);
    assert!(said.ends_with("all is well\n"), "{said}");
}

/// A history that takes a while to be packed, under a small site.
#[test]
fn a_kill_while_a_bundle_is_made() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "before");
    publisher.commit("before");
    publisher.push_ok(&node, "garden", "main");
    let staging = node.data().join("staging");
    let is_bundling = || {
        let folders = std::fs::read_dir(&staging).unwrap().flatten();
        let mut bundles = folders.map(|folder| folder.path().join("bundle"));
        bundles.any(|bundle| bundle.exists())
    };
    let mut kills = 0;
    for number in 0..TRIES {
        publisher.write("film.bin", noise(number as u64, LARGE));
        publisher.commit("large");
        std::fs::remove_file(publisher.work().join("film.bin")).unwrap();
        let words = format!("after {number}");
        publisher.write("index.html", &words);
        publisher.commit("small");
        let mut push = publisher.git(&["push", "-q", &Publisher::url(&node, "garden"), "main"]);
        let mut push = push.stderr(Stdio::null()).spawn().unwrap();
        let was_seen = is_seen(&mut push, is_bundling);
        if was_seen {
            node.kill();
        }
        push.wait().unwrap();
        if was_seen {
            kills += 1;
            node.restart();
            assert_eq!(names(&staging), Vec::<String>::new());
            // Nothing of it, since no record names it yet.
            let shown = page(&node, HOST, "/").unwrap();
            assert_ne!(shown, words.as_bytes());
            all_is_well(&node);
            publisher.push_ok(&node, "garden", "main");
            assert_eq!(page(&node, HOST, "/").unwrap(), words.as_bytes());
            all_is_well(&node);
            break;
        }
    }
    assert_eq!(kills, 1, "never found under way");
}

fn export(node: &Node, to: &Path) -> Child {
    let mut command = Command::new(VERGE);
    command.args(["export", "garden", "--to"]).arg(to);
    command.arg("--data").arg(node.data());
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn a_kill_while_an_export_is_written() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "kept");
    for number in 0..6 {
        publisher.write(&format!("film{number}.bin"), noise(number, 4 << 20));
    }
    publisher.commit("one");
    publisher.push_ok(&node, "garden", "main");
    let dir = tempfile::tempdir().unwrap();
    let mut kills = 0;
    for number in 0..TRIES {
        let name = format!("out{number}");
        let to = dir.path().join(&name);
        let beginning = format!(".{name}.");
        let is_writing = || {
            names(dir.path())
                .iter()
                .any(|at| at.starts_with(&beginning))
        };
        let mut exporting = export(&node, &to);
        let was_seen = is_seen(&mut exporting, is_writing);
        if was_seen {
            node.kill();
        }
        exporting.wait().unwrap();
        if !was_seen {
            continue;
        }
        node.restart();
        if to.exists() {
            // It had just ended.
            std::fs::remove_dir_all(&to).unwrap();
            continue;
        }
        kills += 1;
        node.verge_ok(&["export", "garden", "--to", to.to_str().unwrap()]);
        assert_eq!(names(dir.path()), [name], "nothing half beside it");
        let files = to.join("sites/garden/files");
        assert!(contents(&files) == published(&publisher.work()));
        node.verge_ok(&["verify", "--export", to.to_str().unwrap()]);
        all_is_well(&node);
        break;
    }
    assert_eq!(kills, 1, "never found under way");
}

/// Killed before its first line, and after each that it says before the last.
#[test]
fn a_kill_while_an_import_runs() {
    let here = Node::found();
    let publisher = garden(&here);
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("out");
    here.verge_ok(&["export", "garden", "--to", folder.to_str().unwrap()]);
    let key = publisher.public_key();
    for lines in 0..3 {
        let mut there = Node::found();
        there.verge_ok(&["account", "add", "ana", "--ssh-key", &key]);
        import_until(&mut there, &folder, lines);
        there.restart();
        let staging = there.data().join("staging");
        assert_eq!(names(&staging), Vec::<String>::new());
        all_is_well(&there);
        let arguments = ["import", folder.to_str().unwrap(), "--account", "ana"];
        there.verge_ok(&arguments);
        assert_eq!(
            page(&there, HOST, "/").unwrap(),
            std::fs::read(publisher.work().join("index.html")).unwrap()
        );
        let back = dir.path().join(format!("back{lines}"));
        there.verge_ok(&["export", "garden", "--to", back.to_str().unwrap()]);
        let files = |folder: &Path| contents(&folder.join("sites/garden/files"));
        assert!(files(&folder) == files(&back), "{lines}");
        all_is_well(&there);
        // Its history goes on.
        let refs = publisher.git_ok(&["ls-remote", &Publisher::url(&there, "garden")]);
        let head = publisher.git_ok(&["rev-parse", "main"]);
        assert!(refs.contains(head.trim()), "{refs}");
    }
}

/// Kills the node when the import has said so many lines.
fn import_until(node: &mut Node, folder: &Path, lines: usize) {
    let mut import = Command::new(VERGE)
        .arg("import")
        .arg(folder)
        .args(["--account", "ana", "--data"])
        .arg(node.data())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(import.stdout.take().unwrap()).lines();
    if lines == 0 {
        // It unpacks the history beside.
        let staging = node.data().join("staging");
        let is_unpacking = || !names(&staging).is_empty();
        assert!(is_seen(&mut import, is_unpacking));
    }
    for _ in 0..lines {
        assert!(said.next().is_some_and(|line| line.is_ok()));
    }
    node.kill();
    let ended = import.wait_with_output().unwrap();
    assert!(!ended.status.success(), "{}", text(&ended.stderr));
}
