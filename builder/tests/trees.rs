//! What is published of a tree, and what its publisher is told, from commits and from folders.

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;
use support::git::Repository;
use support::{Site, folder, from, noise, page, put};
use verge_builder::rules::Rules;
use verge_builder::{Failure, Line, Outcome, Source, problems};
use verge_sync::manifest::Coding;

#[test]
fn a_commit_and_a_folder_of_the_same_files_have_the_same_content() {
    let files: &[(&str, &[u8])] = &[
        ("index.html", &page("Home", 30)),
        ("a/b/c.css", &b"a { b: c }\n".repeat(20)),
        ("photo.jpg", &noise(3000)),
        ("large.txt", &b"many many words ".repeat(90_000)),
        ("empty", b""),
    ];
    let root = folder(files);
    let repository = Repository::new();
    let commit = repository.commit_files(files);
    let mut by_folder = Site::new();
    let mut by_git = Site::new();
    let one = by_folder.deploy(from(&root));
    let other = by_git.deploy(repository.source(&commit));
    assert_eq!(one.version, other.version);
    assert_eq!(one.new_blobs, other.new_blobs);
    by_git.assert_equals(root.path());
}

#[test]
fn objects_in_quarantine_are_found() {
    let repository = Repository::new();
    let quarantine = Repository::new();
    let commit = quarantine.commit_files(&[("index.html", b"new")]);
    let mut source = repository.source(&commit);
    if let Source::Git { objects_env, .. } = &mut source {
        let objects = quarantine.path().join("objects");
        objects_env.push(("GIT_OBJECT_DIRECTORY".into(), objects.into()));
        let own = repository.path().join("objects");
        objects_env.push(("GIT_ALTERNATE_OBJECT_DIRECTORIES".into(), own.into()));
    }
    let mut site = Site::new();
    site.deploy(source);
    assert_eq!(
        site.fetch("index.html", Coding::Identity),
        Some(b"new".to_vec())
    );
}

#[test]
fn only_what_is_meant_for_visitors_is_published() {
    let root = folder(&[
        ("README.md", b"not published"),
        (
            "verge.toml",
            b"publish = \"public\"\ncolour = 1\nallow_secrets = [\"public/docs/example.pem\"]\n",
        ),
        (".git/config", b"x"),
        ("public/index.html", b"home"),
        ("public/.well-known/security.txt", b"Contact: x"),
        ("public/.well-known/.hidden", b"x"),
        ("public/.well-known/acme-challenge/t", b"x"),
        ("public/.htaccess", b"x"),
        ("public/.cache/a/b", b"x"),
        ("public/docs/.well-known/x", b"x"),
        ("public/docs/example.pem", b"-----BEGIN CERTIFICATE-----"),
        ("public/docs/Page.html", b"1"),
        ("public/docs/page.html", b"2"),
        ("public/docs/verge.toml", b"# an example to read"),
        ("public/_redirects", b"/old / 301\n/x\n"),
        ("public/_headers", b"/*\n  X-A: 1\n  Vary: x\n"),
        ("public/docs/_redirects", b"an ordinary file here"),
    ]);
    let mut site = Site::new();
    let built = site.deploy(from(&root));
    assert_eq!(
        site.paths(),
        [
            ".well-known/acme-challenge/t",
            ".well-known/security.txt",
            "docs/Page.html",
            "docs/_redirects",
            "docs/example.pem",
            "docs/page.html",
            "docs/verge.toml",
            "index.html",
        ]
    );
    let told = site.problems();
    let dot = "left out, because its name begins with a dot: rename it if it is to be published";
    assert_eq!(told, [
        "verge.toml:2: unknown key \"colour\", ignored: the keys are publish, allow_secrets".to_owned(),
        format!(".cache: {dot}"),
        format!(".htaccess: {dot}"),
        format!(".well-known/.hidden: {dot}"),
        ".well-known/acme-challenge/t: never served, because the node answers this address itself: remove it".to_owned(),
        format!("docs/.well-known: {dot}"),
        "docs/page.html: differs from docs/Page.html only in upper and lower case: rename one of them".to_owned(),
        "_redirects:2: no target: write: /from /to 301".to_owned(),
        "_headers:3: vary belongs to the node and cannot be set or removed: remove it".to_owned(),
    ]);
    let kept = site
        .manifest()
        .delivery_section(verge_builder::PROBLEMS_TAG)
        .unwrap();
    assert_eq!(problems::decode(kept), Some(built.problems.clone()));
    assert_eq!(
        built
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        told
    );
    let rules = Rules::of(site.manifest()).unwrap();
    assert!(rules.redirects.find("/old", &[], &[], false).is_some());
    assert_eq!(rules.headers.matching("/a").count(), 1);
}

#[test]
fn a_site_without_an_index_is_published_and_told() {
    let root = folder(&[("a.html", b"a")]);
    let mut site = Site::new();
    site.deploy(from(&root));
    assert_eq!(
        site.problems(),
        [
            "index.html: there is no index.html, so the address / answers 404: add one, or a rule for / in _redirects"
        ]
    );
}

#[test]
fn links_inside_the_tree_become_copies() {
    let root = folder(&[
        ("index.html", b"home"),
        ("docs/v2/index.html", b"two"),
        ("docs/v2/img/a.jpg", b"jpg"),
        ("shared/style.css", b"css"),
    ]);
    let link = |target: &str, at: &str| symlink(target, root.path().join(at)).unwrap();
    link("v2", "docs/latest");
    link("../shared/style.css", "docs/style.css");
    link("docs/latest/../style.css", "chain.css");
    link("./docs/./v2//index.html", "two.html");
    let mut site = Site::new();
    site.deploy(from(&root));
    assert_eq!(
        site.paths(),
        [
            "chain.css",
            "docs/latest/img/a.jpg",
            "docs/latest/index.html",
            "docs/style.css",
            "docs/v2/img/a.jpg",
            "docs/v2/index.html",
            "index.html",
            "shared/style.css",
            "two.html",
        ]
        .map(|path| if path == "chain.css" {
            "chain.css"
        } else {
            path
        })
    );
}

#[test]
fn names_are_published_in_nfc() {
    let root = folder(&[("index.html", b"x"), ("cafe\u{301}/o\u{308}.html", b"x")]);
    let mut site = Site::new();
    site.deploy(from(&root));
    assert_eq!(site.paths(), ["caf\u{e9}/\u{f6}.html", "index.html"]);
}

#[test]
fn a_pipe_in_a_folder_is_left_out() {
    let root = folder(&[("index.html", b"x")]);
    let pipe = root.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let mut site = Site::new();
    site.deploy(from(&root));
    assert_eq!(
        site.problems(),
        ["pipe: neither a file nor a folder, left out"]
    );
}

#[test]
fn the_child_and_its_parent_understand_each_other() {
    let root = folder(&[("a.html", &page("a", 20)), ("b.html", b"b")]);
    let mut site = Site::new();
    let built = site.deploy(from(&root));
    let mut lines: Vec<Line> = site.events.iter().cloned().map(Line::Event).collect();
    lines.push(Line::Outcome(Outcome::Built(Box::new(built.clone()))));
    let version = built.version;
    lines.push(Line::Outcome(Outcome::Unchanged { version }));
    put(root.path(), "id_rsa", b"");
    let error = site.build(from(&root)).unwrap_err();
    lines.push(Line::Failure(Failure::from(&error)));
    for line in lines {
        let text = line.encode().unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(Line::decode(&text).unwrap(), line);
    }
    let job = verge_builder::Job {
        source: Repository::new().source("0"),
        previous: None,
        blobs: "/b".into(),
        staging: "/s".into(),
        limits: verge_builder::Limits::default(),
        time: support::NOW,
        threads: 2,
    };
    let text = serde_json::to_string(&job).unwrap();
    assert_eq!(
        serde_json::from_str::<verge_builder::Job>(&text).unwrap(),
        job
    );
}

#[test]
fn the_log_says_what_was_done() {
    let root = folder(&[
        ("index.html", &page("a", 200)),
        ("copy.html", &page("a", 200)),
    ]);
    let mut site = Site::new();
    let built = site.deploy(from(&root));
    let text: Vec<String> = site.events.iter().map(ToString::to_string).collect();
    assert_eq!(text[0], format!("2 files, {} bytes", built.totals.bytes));
    let length = built.totals.bytes / 2;
    assert!(text.contains(&format!(
        "0 files as before, 1 new contents to compress ({length} bytes)"
    )));
    assert!(text.contains(&"compressed 1 of 1".to_owned()));
    assert!(
        built
            .to_string()
            .starts_with(&format!("2 files, {} bytes; br {length} -> ", 2 * length))
    );
}

/// The lines of a rule file that `fixtures/README.md` says are reported.
fn bad_lines(file: &str) -> Vec<String> {
    let page = include_str!("../../fixtures/README.md");
    let heading = format!("### {file}\n");
    let (_, rows) = page.split_once(&heading).expect("the table of the file");
    let rows = rows.split("###").take(1).flat_map(str::lines);
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let is_bad = |end: &str| end.contains("skipped") || end == "warned";
    let bad = cells.filter(|cells| matches!(cells[..], [_, _, _, end, _] if is_bad(end)));
    bad.map(|cells| format!("{file}:{}", cells[1])).collect()
}

#[test]
fn the_rule_files_of_the_fixtures_are_reported_as_their_page_says() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/sites");
    let told = |site: &str| {
        let mut built = Site::new();
        built.deploy(Source::Folder(fixtures.join(site)));
        let is_rule =
            |told: &String| told.starts_with("_redirects:") || told.starts_with("_headers:");
        let told = built.problems().into_iter().filter(is_rule);
        // `_redirects:12: what: instead` without the sentence.
        let place = |told: String| told.split(": ").next().unwrap().to_owned();
        told.map(place).collect::<Vec<_>>()
    };
    assert_eq!(told("neighbourhood"), Vec::<String>::new());
    assert_eq!(told("single-page-app"), Vec::<String>::new());
    let bad = [bad_lines("_redirects"), bad_lines("_headers")].concat();
    assert_eq!(bad.len(), 60);
    assert_eq!(told("rules-bad"), bad);
}
