//! `verge export` and `verge import`: a site leaves a region and comes back in another, byte for
//! byte, with its history.

use crate::harness::{Node, Publisher, files, fixture, text};
use std::path::{Path, PathBuf};
use std::process::Command;

const REDIRECTS: &[u8] = b"# a comment\n/old/* /:splat 301\n";
const HEADERS: &[u8] = b"/*\n  X-Garden: open\n";

/// A folder that is not there yet.
pub(crate) fn new_folder(dir: &tempfile::TempDir) -> (PathBuf, String) {
    let path = dir.path().join("out");
    let name = path.to_str().unwrap().to_owned();
    (path, name)
}

pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// The garden: the fixture with rule files, a file that looks like a secret, two commits and a tag.
pub(crate) fn garden(node: &Node) -> Publisher {
    let publisher = Publisher::with_site(node, "ana", "garden");
    publisher.write("index.html", "the first page");
    publisher.commit("one");
    publisher.git_ok(&["tag", "first"]);
    publisher.push_ok(node, "garden", "main");
    publisher.copy(&fixture("neighbourhood"));
    publisher.write("_redirects", REDIRECTS);
    publisher.write("_headers", HEADERS);
    publisher.write("keys/example.pem", "not a secret");
    publisher.write("empty.txt", "");
    publisher.write("verge.toml", "allow_secrets = [\"keys/example.pem\"]\n");
    publisher.commit("two");
    publisher.push_ok(node, "garden", "main");
    publisher.push_ok(node, "garden", "first");
    publisher
}

/// Paths and bytes of a folder.
pub(crate) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = files(folder).into_iter();
    paths
        .map(|path| {
            let bytes = std::fs::read(folder.join(&path)).unwrap();
            (path, bytes)
        })
        .collect()
}

/// What of a work tree is published, rule files with it.
pub(crate) fn published(work: &Path) -> Vec<(String, Vec<u8>)> {
    let is_hidden = |path: &str| {
        let mut parts = path.split('/');
        path == "verge.toml" || parts.any(|part| part.starts_with('.') && part != ".well-known")
    };
    let all = contents(work).into_iter();
    all.filter(|(path, _)| !is_hidden(path)).collect()
}

#[test]
fn a_site_is_taken_out_whole_and_used_without_verge() {
    let mut node = Node::found();
    let publisher = garden(&node);
    let dir = tempfile::tempdir().unwrap();
    let (folder, to) = new_folder(&dir);
    let said = node.verge_ok(&["export", "garden", "--to", &to]);
    assert!(said.contains("with the history of branch main"), "{said}");
    let site = folder.join("sites/garden");
    assert_eq!(contents(&site.join("files")), published(&publisher.work()));
    let clone = dir.path().join("clone");
    let bundle = site.join("history.bundle");
    let arguments = [
        "clone",
        "-q",
        "-b",
        "main",
        bundle.to_str().unwrap(),
        clone.to_str().unwrap(),
    ];
    git(dir.path(), &arguments);
    for name in ["HEAD", "first"] {
        let own = publisher.git_ok(&["rev-parse", name]);
        assert_eq!(git(&clone, &["rev-parse", name]), own.trim(), "{name}");
    }
    let readme = std::fs::read_to_string(folder.join("README.txt")).unwrap();
    for part in ["account ana", "sites/garden/", "Statements", "git clone"] {
        assert!(readme.contains(part), "{part}");
    }
    let description = std::fs::read(folder.join("export.json")).unwrap();
    let description: serde_json::Value = serde_json::from_slice(&description).unwrap();
    let version = &description["sites"][0]["published"]["version"];
    let manifest = std::fs::read(site.join("manifest")).unwrap();
    let digest = verge_sync::Digest::of(&manifest).to_string();
    assert_eq!(version.as_str(), Some(&*digest));
    let mut kinds: Vec<String> = files(&folder.join("records"))
        .iter()
        .map(|name| name.split('-').next().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds.dedup();
    let all = ["account", "deploy", "name", "node", "site", "step", "vote"];
    assert_eq!(kinds, all);
    for (name, bytes) in contents(&folder.join("records")) {
        let record = verge_sync::record::Record::parse(&bytes).unwrap();
        record.verify().unwrap();
        assert!(name.contains(&record.id().to_string()), "{name}");
    }
    // Nothing is replaced; and a stopped node gives the same.
    let again = node.verge(&["export", "garden", "--to", &to]);
    assert!(
        text(&again.stderr).contains("is there already"),
        "{again:?}"
    );
    assert!(node.stop().success());
    let other = dir.path().join("other");
    node.verge_ok(&["export", "garden", "--to", other.to_str().unwrap()]);
    let first = contents(&folder).into_iter();
    let without_bundle =
        |(path, _): &(String, Vec<u8>)| !path.ends_with("history.bundle") && path != "export.json";
    let first: Vec<_> = first.filter(without_bundle).collect();
    let second: Vec<_> = contents(&other)
        .into_iter()
        .filter(without_bundle)
        .collect();
    assert_eq!(first, second);
}

#[test]
fn an_account_of_three_sites_is_taken_out_at_once() {
    let node = Node::found();
    garden(&node);
    node.verge_ok(&["site", "create", "hall", "--owner", "ana"]);
    let spa = fixture("single-page-app");
    node.verge_ok(&["deploy", spa.to_str().unwrap(), "--site", "hall"]);
    node.verge_ok(&["site", "create", "plan", "--owner", "ana"]);
    Publisher::with_site(&node, "bob", "shed");
    let dir = tempfile::tempdir().unwrap();
    let (folder, to) = new_folder(&dir);
    let said = node.verge_ok(&["export", "--account", "ana", "--to", &to]);
    for line in [
        "site garden: content ",
        "site hall: content ",
        "without a history: it was published without git",
        "site plan: nothing was published there",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(contents(&folder.join("sites/hall/files")), published(&spa));
    assert!(!folder.join("sites/hall/history.bundle").exists());
    assert!(!folder.join("sites/plan").exists());
    assert!(!folder.join("sites/shed").exists());
    let readme = std::fs::read_to_string(folder.join("README.txt")).unwrap();
    for part in ["it was never pushed by git", "Nothing was published there"] {
        assert!(readme.contains(part), "{part}");
    }
    for (arguments, why) in [
        (vec!["export", "barn"], "there is no site barn"),
        (
            vec!["export", "--account", "eve"],
            "there is no account eve",
        ),
    ] {
        let (path, to) = (dir.path().join("none"), dir.path().join("none"));
        let to = to.to_str().unwrap();
        let refused = node.verge(&[&arguments[..], &["--to", to]].concat());
        assert!(text(&refused.stderr).contains(why), "{refused:?}");
        assert!(!path.exists());
    }
}

#[test]
fn what_is_not_whole_is_not_written() {
    let node = Node::found();
    let publisher = garden(&node);
    let files = std::fs::read_dir(node.data().join("blobs")).unwrap();
    let marker: &[u8] = b"not a secret";
    let mut files = files.map(|entry| entry.unwrap().path());
    let pack = files.find(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(marker.len()).any(|window| window == marker)
    });
    let pack = pack.unwrap();
    let mut bytes = std::fs::read(&pack).unwrap();
    let at = bytes
        .windows(marker.len())
        .position(|window| window == marker);
    bytes[at.unwrap()] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (_, to) = new_folder(&dir);
    let refused = text(&node.verge(&["export", "garden", "--to", &to]).stderr);
    for part in [
        "site garden is not whole",
        "keys/example.pem",
        "verge verify",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    let inside = node.data().join("out");
    let refused = node.verge(&["export", "garden", "--to", inside.to_str().unwrap()]);
    assert!(
        text(&refused.stderr).contains("data directory"),
        "{refused:?}"
    );
    drop(publisher);
}

/// `verge verify --export`, far from any node.
fn check(folder: &Path) -> std::process::Output {
    Command::new(crate::harness::VERGE)
        .args(["verify", "--export"])
        .arg(folder)
        .env("VERGE_DATA", "/nowhere")
        .output()
        .unwrap()
}

/// Somebody who has nothing but the folder and the region's id can tell who put the site in place.
#[test]
fn a_third_party_checks_who_signed_what_was_taken_out() {
    let node = Node::found();
    garden(&node);
    let dir = tempfile::tempdir().unwrap();
    let (folder, to) = new_folder(&dir);
    node.verge_ok(&["export", "garden", "--to", &to]);
    let checked = check(&folder);
    let said = text(&checked.stdout);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let status = node.verge_ok(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let region = status["region"]["id"].as_str().unwrap();
    for part in [
        region,
        "site garden of account ana: version ",
        "was put in place by node ",
        " of Corner",
        "all is well",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // The same site in another region, by somebody else's records.
    let other = Node::found();
    garden(&other);
    let elsewhere = dir.path().join("elsewhere");
    other.verge_ok(&["export", "garden", "--to", elsewhere.to_str().unwrap()]);
    let spoilt: &[Spoilt<'_>] = &[
        ("has a wrong signature", &|folder| {
            let path = record(folder, "deploy-");
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("is not the record of its name", &|folder| {
            std::fs::copy(record(folder, "site-"), record(folder, "account-")).unwrap();
        }),
        ("lacks the first step of region", &|folder| {
            std::fs::remove_file(record(folder, "step-")).unwrap();
        }),
        ("the records know no site", &|folder| {
            // A node may have said more than once where it is.
            for path in all(folder).filter(|path| is_of(path, "node-")) {
                std::fs::remove_file(path).unwrap();
            }
        }),
        ("the records have ", &|folder| {
            let newest = newest_deploy(folder);
            std::fs::remove_file(newest).unwrap();
        }),
        ("lacks the first step of region", &|folder| {
            std::fs::remove_dir_all(folder.join("records")).unwrap();
            copy(&elsewhere.join("records"), &folder.join("records"));
        }),
        ("is not as it was exported", &|folder| {
            std::fs::write(folder.join("sites/garden/files/index.html"), "other").unwrap();
        }),
        ("does not read", &|folder| {
            std::fs::write(folder.join("records/deploy-x.cbor"), "garbage").unwrap();
        }),
    ];
    for (number, (words, spoil)) in spoilt.iter().enumerate() {
        let copied = dir.path().join(format!("spoilt{number}"));
        copy(&folder, &copied);
        spoil(&copied);
        let refused = check(&copied);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{words}: {said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// What is said of a folder, and what was done to it.
type Spoilt<'a> = (&'static str, &'a dyn Fn(&Path));

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-rT").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// The files of the records.
fn all(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let records = std::fs::read_dir(folder.join("records")).unwrap();
    records.map(|entry| entry.unwrap().path())
}

fn is_of(path: &Path, kind: &str) -> bool {
    path.file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .starts_with(kind)
}

/// One record of a kind.
fn record(folder: &Path, kind: &str) -> PathBuf {
    all(folder).find(|path| is_of(path, kind)).unwrap()
}

fn newest_deploy(folder: &Path) -> PathBuf {
    let sequence = |path: &PathBuf| {
        let record = verge_sync::record::Record::parse(&std::fs::read(path).unwrap()).unwrap();
        let envelope = record.envelope();
        (envelope.kind == verge_sync::record::Kind::DEPLOY).then_some(envelope.sequence)
    };
    all(folder).max_by_key(sequence).unwrap()
}
