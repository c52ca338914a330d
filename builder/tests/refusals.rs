//! What cannot be published, each with the exact sentence that its pusher reads.

mod support;

use std::os::unix::fs::symlink;
use support::git::Repository;
use support::{Site, folder, from, noise, page, put};
use verge_builder::{BuildError, Fault, Source};

const FILE: &str = "100644";
const LINK: &str = "120000";
const TREE: &str = "40000";
const MODULE: &str = "160000";

/// The sentence for a tree of these rows beside a good `index.html`.
fn refusal_of(repository: &Repository, rows: &[(&str, &str, &[u8])]) -> String {
    let page = repository.blob(b"<!doctype html><title>x</title>");
    let mut all = rows.to_vec();
    all.push((FILE, &page, b"index.html"));
    all.sort_by_key(|row| row.2.to_vec());
    let commit = repository.commit(&repository.tree(&all));
    Site::new().refusal(repository.source(&commit))
}

#[test]
fn a_bomb_of_many_files_is_refused_before_it_is_read() {
    let repository = Repository::new();
    let mut below = repository.blob(b"boom");
    let mut mode = FILE;
    // 10 levels of 13 entries: 1.4 * 10^11 files.
    for _ in 0..10 {
        let names: Vec<String> = (0..13).map(|n| format!("{n:02}")).collect();
        let rows: Vec<_> = names
            .iter()
            .map(|n| (mode, below.as_str(), n.as_bytes()))
            .collect();
        below = repository.tree(&rows);
        mode = TREE;
    }
    let commit = repository.commit(&below);
    assert_eq!(
        Site::new().refusal(repository.source(&commit)),
        "the tree has more than 50000 files and folders: push only what belongs to the site, for example on a branch \"pages\""
    );
}

#[test]
fn a_tree_of_a_thousand_levels_is_refused() {
    let repository = Repository::new();
    let mut below = repository.blob(b"deep");
    let mut mode = FILE;
    for _ in 0..1000 {
        below = repository.tree(&[(mode, &below, b"d")]);
        mode = TREE;
    }
    let commit = repository.commit(&below);
    let deep = format!("{}d", "d/".repeat(65));
    assert_eq!(
        Site::new().refusal(repository.source(&commit)),
        format!("{deep} lies more than 64 folders deep: move it up")
    );
}

#[test]
fn six_hundred_megabytes_of_zeros_are_refused_by_their_length() {
    let repository = Repository::new();
    let root = tempfile::tempdir().unwrap();
    let zeros = root.path().join("zeros");
    std::fs::File::create(&zeros)
        .unwrap()
        .set_len(600_000_000)
        .unwrap();
    let blob = repository.git(
        &[
            "-c",
            "core.bigFileThreshold=1m",
            "hash-object",
            "-w",
            "--no-filters",
            zeros.to_str().unwrap(),
        ],
        b"",
    );
    assert_eq!(
        refusal_of(&repository, &[(FILE, &blob, b"zeros.bin")]),
        "zeros.bin has 600000000 bytes, a file may have 104857600: make it smaller or leave it out"
    );
}

#[test]
fn every_limit_holds_on_both_sides() {
    let root = folder(&[("index.html", b"0123456789"), ("a/b/c.txt", b"0123456789")]);
    let mut site = Site::new();
    site.limits.entries_max = 4;
    site.limits.depth_max = 2;
    site.limits.file_bytes_max = 10;
    site.limits.site_bytes_max = 20;
    site.deploy(from(&root));
    let limits = site.limits.clone();
    let sentence = |site: &mut Site, change: fn(&mut verge_builder::Limits)| {
        site.limits = limits.clone();
        change(&mut site.limits);
        site.refusal(from(&root))
    };
    assert_eq!(
        sentence(&mut site, |limits| limits.entries_max = 3),
        "the tree has more than 3 files and folders: push only what belongs to the site, for example on a branch \"pages\""
    );
    assert_eq!(
        sentence(&mut site, |limits| limits.depth_max = 1),
        "a/b/c.txt lies more than 1 folders deep: move it up"
    );
    assert_eq!(
        sentence(&mut site, |limits| limits.file_bytes_max = 9),
        "a/b/c.txt has 10 bytes, a file may have 9: make it smaller or leave it out"
    );
    assert_eq!(
        sentence(&mut site, |limits| limits.site_bytes_max = 19),
        "the site has more than 19 bytes, reached at index.html: make files smaller or leave some out"
    );
}

#[test]
fn names_that_no_site_can_have() {
    let repository = Repository::new();
    let blob = repository.blob(b"x");
    let git = "no file or folder may be called .git in any spelling: rename it";
    let parts = "the path has a part that is empty, \".\" or \"..\": rename it";
    let characters = "the path has a backslash or a control character: rename it";
    let long = "n".repeat(256);
    let rows: &[(&[u8], String)] = &[
        (b".git", format!(".git: {git}")),
        (b".GIT", format!(".GIT: {git}")),
        (b".git.", format!(".git.: {git}")),
        (b"git~1", format!("git~1: {git}")),
        (".g\u{200c}it".as_bytes(), format!(".g\\u{{200c}}it: {git}")),
        (b"..", format!("..: {parts}")),
        (b".", format!(".: {parts}")),
        (b"a\\b", format!("a\\b: {characters}")),
        (b"a\nb", format!("a\\u{{a}}b: {characters}")),
        (b"\x1b[2J", format!("\\u{{1b}}[2J: {characters}")),
        (
            b"caf\xe9.html",
            "caf\u{fffd}.html: the name is not UTF-8 text: rename it".to_owned(),
        ),
        (
            long.as_bytes(),
            format!(
                "{}: the path is longer than 2730 bytes or a part of it than 255: rename it",
                &long[..200]
            ),
        ),
    ];
    for (name, expected) in rows {
        assert_eq!(
            refusal_of(&repository, &[(FILE, &blob, name)]),
            *expected,
            "{name:?}"
        );
    }
    let tree = repository.tree(&[(FILE, &blob, b"config")]);
    assert_eq!(
        refusal_of(&repository, &[(TREE, &tree, b".Git ")]),
        format!(".Git : {git}")
    );
}

#[test]
fn two_names_that_are_one_address() {
    let repository = Repository::new();
    let blob = repository.blob(b"x");
    let (composed, decomposed) = ("caf\u{e9}.html".as_bytes(), "cafe\u{301}.html".as_bytes());
    assert_eq!(
        refusal_of(
            &repository,
            &[(FILE, &blob, composed), (FILE, &blob, decomposed)]
        ),
        "cafe\\u{301}.html and caf\\u{e9}.html are one and the same address (Unicode NFC): remove one of them"
    );
}

#[test]
fn links_that_lead_nowhere_good() {
    let repository = Repository::new();
    let env = repository.blob(b"SECRET=1");
    let rows: &[(&str, &str)] = &[
        (
            "../../etc/passwd",
            "l is a symbolic link to ../../etc/passwd, outside the tree: put a copy of the file there",
        ),
        (
            "/etc/passwd",
            "l is a symbolic link to /etc/passwd, outside the tree: put a copy of the file there",
        ),
        (
            "..",
            "l is a symbolic link to .., outside the tree: put a copy of the file there",
        ),
        (
            "missing.html",
            "l is a symbolic link to missing.html, which is not in the tree: add it or remove the link",
        ),
        (
            "index.html/x",
            "l is a symbolic link to index.html/x, which is not in the tree: add it or remove the link",
        ),
        (
            "l",
            "l is a symbolic link to l, which leads back to itself: remove the link",
        ),
        (
            "m",
            "l is a symbolic link to m, which leads back to itself: remove the link",
        ),
        (
            ".",
            "l is a symbolic link to ., which leads back to itself: remove the link",
        ),
        (
            ".hidden",
            "l is a symbolic link to .hidden, which is never published itself: put a copy of the file there if it is meant to be public",
        ),
        (
            "",
            "l is a symbolic link to , which leads back to itself: remove the link",
        ),
    ];
    let back = repository.blob(b"l");
    for (target, expected) in rows {
        let link = repository.blob(target.as_bytes());
        let rows: &[(&str, &str, &[u8])] = &[
            (LINK, &link, b"l"),
            (LINK, &back, b"m"),
            (FILE, &env, b".hidden"),
        ];
        assert_eq!(refusal_of(&repository, rows), *expected, "{target:?}");
    }
    let inside = repository.tree(&[(LINK, &repository.blob(b"../d"), b"up")]);
    assert_eq!(
        refusal_of(&repository, &[(TREE, &inside, b"d")]),
        "d/up is a symbolic link to ../d, which leads back to itself: remove the link"
    );
}

#[test]
fn links_cannot_multiply_files_without_end() {
    let root = folder(&[("d0/index.html", b"x")]);
    for n in 1..20 {
        for side in ["a", "b"] {
            std::fs::create_dir_all(root.path().join(format!("d{n}"))).unwrap();
            symlink(
                format!("../d{}", n - 1),
                root.path().join(format!("d{n}/{side}")),
            )
            .unwrap();
        }
    }
    assert_eq!(
        Site::new().refusal(from(&root)),
        "the tree has more than 50000 files and folders: push only what belongs to the site, for example on a branch \"pages\""
    );
}

#[test]
fn submodules_pointers_and_secrets() {
    let repository = Repository::new();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    let commit = repository.commit_files(&[("x", b"x")]);
    assert_eq!(
        refusal_of(&repository, &[(MODULE, &commit, b"theme")]),
        "theme is a git submodule, and its files are not part of this commit: replace it by the files (git rm --cached theme; git add theme/)"
    );
    let pointer = repository.blob(pointer);
    assert_eq!(
        refusal_of(&repository, &[(FILE, &pointer, b"film.mp4")]),
        "film.mp4 is a Git LFS pointer instead of the file itself: run `git lfs migrate export --include=\"film.mp4\"` and push again"
    );
    let blob = repository.blob(b"secret");
    for name in [".env", "id_rsa", "server.pem", "tls.KEY"] {
        assert_eq!(
            refusal_of(&repository, &[(FILE, &blob, name.as_bytes())]),
            format!(
                "{name} looks like a secret: remove it and replace the secret, or, if it is meant to be public, write allow_secrets = [\"{name}\"] in verge.toml"
            )
        );
    }
}

#[test]
fn settings_that_cannot_be_followed() {
    let repository = Repository::new();
    let rows = [
        (
            "publish = \"public\"",
            "verge.toml:1: publish = \"public\" names no folder of the tree: correct it, or commit the folder",
        ),
        (
            "\npublish = \"index.html\"",
            "verge.toml:2: publish = \"index.html\" names no folder of the tree: correct it, or commit the folder",
        ),
        (
            "publish = 7",
            "verge.toml:1: publish has to be a text, such as \"public\": correct the line and push again",
        ),
    ];
    for (text, expected) in rows {
        let blob = repository.blob(text.as_bytes());
        assert_eq!(
            refusal_of(&repository, &[(FILE, &blob, b"verge.toml")]),
            expected
        );
    }
    let blob = repository.blob(b"publish = \"a");
    let sentence = refusal_of(&repository, &[(FILE, &blob, b"verge.toml")]);
    assert!(sentence.starts_with("verge.toml:1: "), "{sentence}");
}

#[test]
fn nothing_to_publish() {
    let root = folder(&[
        ("verge.toml", b""),
        ("_redirects", b"/a /b"),
        (".hidden", b"x"),
    ]);
    assert_eq!(
        Site::new().refusal(from(&root)),
        "there is nothing to publish in the tree: add at least an index.html"
    );
    put(root.path(), "verge.toml", b"publish = \"out\"");
    put(root.path(), "out/.keep", b"");
    assert_eq!(
        Site::new().refusal(from(&root)),
        "there is nothing to publish in out: add at least an index.html"
    );
}

#[test]
fn faults_are_told_apart() {
    let repository = Repository::new();
    let mut site = Site::new();
    for commit in [
        "--help",
        "main",
        "",
        "0000000000000000000000000000000000000000",
    ] {
        let error = site.build(repository.source(commit)).unwrap_err();
        assert!(matches!(error, BuildError::Git(_)), "{commit}: {error}");
        assert_eq!(error.fault(), Fault::Node);
    }
    let error = site
        .build(Source::Folder("/does/not/exist".into()))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the node could not list /does/not/exist: its steward has to look; nothing was changed"
    );
    let root = folder(&[("server.key", b"x")]);
    assert_eq!(
        site.build(from(&root)).unwrap_err().fault(),
        Fault::Publisher
    );
}

#[test]
fn a_refused_build_leaves_the_version_before_as_it_was() {
    let repository = Repository::new();
    let good = repository.commit_files(&[("index.html", &page("1", 9)), ("a.jpg", &noise(99))]);
    let mut site = Site::new();
    let version = site.deploy(repository.source(&good)).version;
    let bad = repository.commit_files(&[("index.html", b"2"), ("id_rsa", b"x")]);
    site.refusal(repository.source(&bad));
    assert_eq!(site.manifest().version(), version);
    assert_eq!(
        site.build(repository.source(&good)).unwrap(),
        verge_builder::Outcome::Unchanged { version }
    );
}

#[test]
fn a_full_disk_is_told() {
    let root = folder(&[("index.html", &page("x", 50))]);
    let staging = folder(&[]);
    symlink("/dev/full", staging.path().join("pack.part")).unwrap();
    let job = verge_builder::Job {
        source: from(&root),
        previous: None,
        blobs: staging.path().to_owned(),
        staging: staging.path().to_owned(),
        limits: verge_builder::Limits::default(),
        time: support::NOW,
        threads: 1,
    };
    let error = verge_builder::build(&job, &mut drop).unwrap_err();
    let pack = staging.path().join("pack.part");
    assert_eq!(
        error.to_string(),
        format!(
            "the node's disk is full ({}): push to another node of the region, or tell its steward; nothing was changed",
            pack.display()
        )
    );
    assert_eq!(error.fault(), Fault::Node);
}
