//! `verge import`: what was taken out comes back, byte for byte, and bad input changes nothing.

use crate::compare::url;
use crate::export::{contents, garden, git, new_folder, published};
use crate::harness::{Node, Publisher, VERGE, fixture, get, page, text};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use verge_edge::cli::client::Protocol;

const HOST: &str = "garden.sites.localhost";

/// The garden in a folder, and its publisher.
fn exported(dir: &tempfile::TempDir) -> (Node, Publisher, PathBuf) {
    let node = Node::found();
    let publisher = garden(&node);
    let (folder, to) = new_folder(dir);
    node.verge_ok(&["export", "garden", "--to", &to]);
    (node, publisher, folder)
}

/// A node of another region with an account for the publisher.
fn elsewhere(publisher: &Publisher) -> Node {
    let node = Node::found();
    let key = publisher.public_key();
    node.verge_ok(&["account", "add", "ana", "--ssh-key", &key]);
    node
}

fn import(node: &Node, folder: &Path, more: &[&str]) -> std::process::Output {
    let folder = folder.to_str().unwrap();
    node.verge(&[&["import", folder, "--account", "ana"], more].concat())
}

fn import_ok(node: &Node, folder: &Path, more: &[&str]) -> String {
    let output = import(node, folder, more);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Every published file over HTTP, and how redirects and headers answer.
fn served(node: &Node, host: &str, paths: &[(String, Vec<u8>)]) -> Vec<(u16, Vec<u8>)> {
    let get = |path: &str| get(node, Protocol::Http2, host, path, "identity");
    let all: Vec<String> = paths.iter().map(|(path, _)| path.clone()).collect();
    let files = paths.iter().filter(|(path, _)| !path.starts_with('_'));
    let mut answers: Vec<(u16, Vec<u8>)> = files
        .map(|(path, bytes)| {
            let answer = get(&url(path, &all));
            assert_eq!(answer.head.status, 200, "{path}");
            assert_eq!(&answer.body, bytes, "{path}");
            assert_eq!(answer.field("x-garden"), "open", "{path}");
            (answer.head.status.as_u16(), answer.body)
        })
        .collect();
    let moved = get("/old/here");
    assert_eq!(
        (moved.head.status.as_u16(), moved.field("location")),
        (301, "/here")
    );
    answers.push((301, moved.body));
    answers
}

fn content(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("export.json")).unwrap();
    let description: Value = serde_json::from_str(&text).unwrap();
    description["sites"][0]["published"]["content"].clone()
}

#[test]
fn a_site_comes_back_in_another_region_and_its_history_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (here, publisher, folder) = exported(&dir);
    let there = elsewhere(&publisher);
    let said = import_ok(&there, &folder, &[]);
    for part in [
        "site garden made for account ana",
        "the history of branch main is here",
        ", from its commit",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let paths = published(&publisher.work());
    assert_eq!(served(&here, HOST, &paths), served(&there, HOST, &paths));
    let back = dir.path().join("back");
    there.verge_ok(&["export", "garden", "--to", back.to_str().unwrap()]);
    assert_eq!(content(&folder), content(&back));
    let files = |folder: &Path| contents(&folder.join("sites/garden/files"));
    assert_eq!(files(&folder), files(&back));
    assert!(
        there
            .verge_ok(&["verify", "--rebuild"])
            .ends_with("all is well\n")
    );
    // A second time nothing is to be done.
    let again = import_ok(&there, &folder, &[]);
    assert!(again.contains("is in place already"), "{again}");
    // The publisher goes on, on the history that came along.
    there.verge_ok(&["site", "set", "garden", "--force", "false"]);
    publisher.write("index.html", "the third page");
    publisher.commit("three");
    publisher.push_ok(&there, "garden", "main");
    assert_eq!(page(&there, HOST, "/").unwrap(), b"the third page");
    let refused = text(&import(&there, &folder, &[]).stderr);
    assert!(
        refused.contains("shows something else; nothing was changed"),
        "{refused}"
    );
    let said = import_ok(&there, &folder, &["--as", "copy"]);
    assert!(said.contains("site copy made"), "{said}");
    let host = "copy.sites.localhost";
    assert_eq!(served(&here, HOST, &paths), served(&there, host, &paths));
}

#[test]
fn a_deleted_site_comes_back_in_its_own_region() {
    let dir = tempfile::tempdir().unwrap();
    let (node, publisher, folder) = exported(&dir);
    node.verge_ok(&["site", "delete", "garden", "--confirm", "garden"]);
    import_ok(&node, &folder, &[]);
    served(&node, HOST, &published(&publisher.work()));
}

#[test]
fn an_account_comes_back_at_once_without_git_too() {
    let here = Node::found();
    let publisher = garden(&here);
    here.verge_ok(&["site", "create", "hall", "--owner", "ana"]);
    here.verge_ok(&[
        "site",
        "set",
        "hall",
        "--takeout",
        "public",
        "--branch",
        "web",
    ]);
    let spa = fixture("single-page-app");
    here.verge_ok(&["deploy", spa.to_str().unwrap(), "--site", "hall"]);
    here.verge_ok(&["site", "create", "plan", "--owner", "ana"]);
    let dir = tempfile::tempdir().unwrap();
    let (folder, to) = new_folder(&dir);
    here.verge_ok(&["export", "--account", "ana", "--to", &to]);
    let there = elsewhere(&publisher);
    let refused = text(&import(&there, &folder, &["--as", "one"]).stderr);
    assert!(refused.contains("the folder has 3 sites"), "{refused}");
    // A try that was broken off left a site.
    there.verge_ok(&["site", "create", "hall", "--owner", "ana"]);
    let said = import_ok(&there, &folder, &[]);
    assert!(said.contains("site hall: content "), "{said}");
    assert!(said.contains(", from its files"), "{said}");
    let index = std::fs::read(spa.join("index.html")).unwrap();
    assert_eq!(page(&there, "hall.sites.localhost", "/").unwrap(), index);
    let sites = there.verge_ok(&["site", "list"]);
    assert!(
        sites.contains("plan  of ana  nothing published yet"),
        "{sites}"
    );
}

/// Nothing but what was in place is put in place, whatever the description says of commits.
#[test]
fn a_commit_that_is_another_gives_way_to_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (_here, publisher, folder) = exported(&dir);
    let there = elsewhere(&publisher);
    let first = publisher.git_ok(&["rev-parse", "first"]);
    change(&folder, |published| {
        published["commit"] = json!(first.trim())
    });
    let said = import_ok(&there, &folder, &[]);
    assert!(
        said.contains("its commit does not come to what was in place"),
        "{said}"
    );
    assert!(said.contains(", from its files"), "{said}");
    served(&there, HOST, &published(&publisher.work()));
}

/// Changes what `export.json` says of what was in place.
fn change(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("export.json");
    let bytes = std::fs::read(&path).unwrap();
    let mut description: Value = serde_json::from_slice(&bytes).unwrap();
    change(&mut description["sites"][0]["published"]);
    std::fs::write(path, serde_json::to_vec(&description).unwrap()).unwrap();
}

/// Puts other bytes in the place of a file of the site.
fn write(folder: &Path, path: &str, bytes: &[u8]) {
    std::fs::write(folder.join("sites/garden").join(path), bytes).unwrap();
}

type Spoil = fn(&Path);

const SPOILT: &[(&str, Spoil)] = &[
    ("is no folder that `verge export` wrote", |folder| {
        std::fs::remove_file(folder.join("export.json")).unwrap();
    }),
    ("export.json does not read", |folder| {
        std::fs::write(folder.join("export.json"), "{").unwrap();
    }),
    ("the folder has format 2", |folder| {
        std::fs::write(folder.join("export.json"), "{\"format\": 2}").unwrap();
    }),
    ("\"../x\" is not the name of a site", |folder| {
        let path = folder.join("export.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace("\"garden\"", "\"../x\"")).unwrap();
    }),
    (
        "files/index.html is not as it was exported (it has other bytes)",
        |folder| {
            write(folder, "files/index.html", b"other");
        },
    ),
    (
        "files/empty.txt is not as it was exported (it is missing)",
        |folder| {
            std::fs::remove_file(folder.join("sites/garden/files/empty.txt")).unwrap();
        },
    ),
    (
        "files/_headers is not as it was exported (it has other bytes)",
        |folder| {
            write(folder, "files/_headers", b"/*\n  X-Other: yes\n");
        },
    ),
    (
        "files/more.html is not as it was exported (it was not there then)",
        |folder| {
            write(folder, "files/more.html", b"more");
        },
    ),
    ("files/empty.txt is not as it was exported", |folder| {
        let path = folder.join("sites/garden/files/empty.txt");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", path).unwrap();
    }),
    ("verge.toml is not as it was exported", |folder| {
        write(folder, "verge.toml", b"publish = \".\"\n");
    }),
    ("manifest is not as it was exported", |folder| {
        let path = folder.join("sites/garden/manifest");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }),
    (
        "manifest is not as it was exported (it is missing)",
        |folder| {
            std::fs::remove_file(folder.join("sites/garden/manifest")).unwrap();
        },
    ),
    (
        "history.bundle is not as it was exported (it has other bytes)",
        |folder| {
            let path = folder.join("sites/garden/history.bundle");
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(path, bytes).unwrap();
        },
    ),
    ("history.bundle is no bundle that git takes", |folder| {
        write(folder, "history.bundle", b"# v2 git bundle\n\nPACK");
        let digest = verge_sync::Digest::of(b"# v2 git bundle\n\nPACK").to_string();
        change(folder, |published| {
            published["bundle"]["blake3"] = json!(digest)
        });
    }),
    ("or lacks its branch", |folder| {
        change(folder, |published| {
            published["bundle"]["branch"] = json!("other")
        });
    }),
    (
        "\"--upload-pack=x\" is not the name of a branch",
        |folder| {
            change(folder, |published| {
                published["bundle"]["branch"] = json!("--upload-pack=x")
            });
        },
    ),
];

#[test]
fn what_is_not_as_it_was_exported_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_here, publisher, folder) = exported(&dir);
    let there = elsewhere(&publisher);
    for (number, (sentence, spoil)) in SPOILT.iter().enumerate() {
        let spoilt = dir.path().join(format!("spoilt-{number}"));
        let paths = [folder.to_str().unwrap(), spoilt.to_str().unwrap()];
        let copied = Command::new("cp").arg("-rT").args(paths).status();
        assert!(copied.unwrap().success());
        spoil(&spoilt);
        let refused = import(&there, &spoilt, &[]);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{sentence}: {said}");
        assert!(said.contains(sentence), "{sentence}: {said}");
        assert!(said.contains("nothing was changed"), "{said}");
        assert_eq!(there.verge_ok(&["site", "list"]), "", "{sentence}");
        std::fs::remove_dir_all(&spoilt).unwrap();
    }
    Publisher::with_site(&there, "bob", "garden");
    let refused = text(&import(&there, &folder, &[]).stderr);
    assert!(refused.contains("belongs to another account"), "{refused}");
    let refused = text(&import(&there, &folder, &["--as", "No Name"]).stderr);
    assert!(refused.contains("is not a name"), "{refused}");
    let folder = folder.to_str().unwrap();
    let refused = text(&there.verge(&["import", folder, "--account", "eve"]).stderr);
    assert!(refused.contains("there is no account eve"), "{refused}");
    let refused = text(
        &there
            .verge(&["import", "/nowhere", "--account", "ana"])
            .stderr,
    );
    assert!(refused.contains("cannot read /nowhere"), "{refused}");
}

/// A repository that has gone on is not brought back to what it was.
#[test]
fn another_history_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (_here, publisher, folder) = exported(&dir);
    let there = elsewhere(&publisher);
    there.verge_ok(&["site", "create", "garden", "--owner", "ana"]);
    there.verge_ok(&["site", "set", "garden", "--branch", "web"]);
    let other = dir.path().join("other");
    git(
        dir.path(),
        &["init", "-q", "-b", "main", other.to_str().unwrap()],
    );
    std::fs::write(other.join("x.html"), "x").unwrap();
    git(&other, &["add", "-A"]);
    let who = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
    git(&other, &[&who[..], &["commit", "-q", "-m", "x"]].concat());
    let commit = git(&other, &["rev-parse", "HEAD"]);
    publisher.git_ok(&["fetch", "-q", other.to_str().unwrap(), "main"]);
    publisher.push_ok(&there, "garden", &format!("{commit}:refs/heads/main"));
    let refused = text(&import(&there, &folder, &[]).stderr);
    assert!(
        refused.contains("has another history on branch main"),
        "{refused}"
    );
}

/// A folder of a release that left the region's records out.
#[test]
fn an_old_export_comes_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let (_here, publisher, folder) = exported(&dir);
    for entry in std::fs::read_dir(folder.join("records")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("step-") || name.starts_with("node-") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let there = elsewhere(&publisher);
    import_ok(&there, &folder, &[]);
    served(&there, HOST, &published(&publisher.work()));
}

/// A push that has seen the refs and goes on, or not, when it is told to.
struct Held {
    push: Child,
    go_on: PathBuf,
}

impl Held {
    /// Returns when the node has shown the refs: then the push has the site's turn.
    fn push(publisher: &Publisher, node: &Node, refspec: &str) -> Self {
        let hooks = publisher.work().join(".git/hooks");
        std::fs::create_dir_all(&hooks).unwrap();
        let [is_there, go_on] = ["is-there", "go-on"].map(|name| hooks.join(name));
        for pipe in [&is_there, &go_on] {
            drop(std::fs::remove_file(pipe));
            let made = Command::new("mkfifo").arg(pipe).status();
            assert!(made.unwrap().success());
        }
        let hook = hooks.join("pre-push");
        let script = format!(
            "#!/bin/sh\necho >'{}'\nread code <'{}'\nexit $code\n",
            is_there.display(),
            go_on.display()
        );
        std::fs::write(&hook, script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&hook, executable).unwrap();
        let mut push = publisher.git(&["push", &Publisher::url(node, "garden"), refspec]);
        let push = push.stderr(Stdio::piped()).spawn().unwrap();
        assert_eq!(std::fs::read(&is_there).unwrap(), b"\n");
        Self { push, go_on }
    }

    /// Goes on with 0, is given up with 1; gives whether the push went well.
    fn ends(self, code: u8) -> bool {
        std::fs::write(&self.go_on, format!("{code}\n")).unwrap();
        self.push.wait_with_output().unwrap().status.success()
    }
}

/// An import that has begun, and its lines.
struct Begun {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Begun {
    fn import(node: &Node, folder: &Path) -> Self {
        let mut child = Command::new(VERGE)
            .arg("import")
            .arg(folder)
            .args(["--account", "ana", "--data"])
            .arg(node.data())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn reads(&mut self, words: &str) {
        let found = self.lines.any(|line| line.unwrap().contains(words));
        assert!(found, "{words}");
    }

    /// What it says in the end, on standard error too, and whether it went well.
    fn ends(self) -> (bool, String) {
        let lines: Vec<String> = self.lines.map(|line| line.unwrap()).collect();
        let output = self.child.wait_with_output().unwrap();
        let said = lines.join("\n") + &text(&output.stderr);
        (output.status.success(), said)
    }
}

/// An import once took a site's history in, let a push publish, and then put its own in the place of
/// what was pushed.
#[test]
fn an_import_has_the_turn_of_a_push() {
    let dir = tempfile::tempdir().unwrap();
    let (_here, publisher, folder) = exported(&dir);
    let before = published(&publisher.work());
    let there = elsewhere(&publisher);
    there.verge_ok(&["site", "create", "garden", "--owner", "ana"]);

    // A push that is given up, an import behind it, and a push behind that.
    let held = Held::push(&publisher, &there, "main");
    let mut import = Begun::import(&there, &folder);
    import.reads("waits for a push to it to end");
    let stranger = publisher.git_ok(&["commit-tree", "-m", "nowhere", "main^{tree}"]);
    let mut behind = publisher.git(&[
        "push",
        "--no-verify",
        &Publisher::url(&there, "garden"),
        &format!("{}:refs/heads/main", stranger.trim()),
    ]);
    let mut behind = behind.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(behind.stderr.take().unwrap()).lines();
    let waits = |line: std::io::Result<String>| line.unwrap().contains("waiting for another push");
    assert!(said.any(waits));
    assert!(!held.ends(1), "it was given up");
    let (is_well, words) = import.ends();
    assert!(is_well, "{words}");
    let refused: Vec<String> = said.map(|line| line.unwrap()).collect();
    assert!(!behind.wait().unwrap().success());
    assert!(refused.concat().contains("rejected"), "{refused:?}");
    served(&there, HOST, &before);

    // A push that goes on: then the import finds what it has put in place.
    let there = elsewhere(&publisher);
    there.verge_ok(&["site", "create", "garden", "--owner", "ana"]);
    publisher.write("index.html", "pushed meanwhile");
    publisher.commit("meanwhile");
    let held = Held::push(&publisher, &there, "main");
    let mut import = Begun::import(&there, &folder);
    import.reads("waits for a push to it to end");
    assert!(held.ends(0));
    let (is_well, words) = import.ends();
    assert!(
        !is_well && words.contains("shows something else; nothing was changed"),
        "{words}"
    );
    assert_eq!(page(&there, HOST, "/").unwrap(), b"pushed meanwhile");
}
