//! From a folder to a version and to the next one: the same every time, and only what is new.

mod support;

use std::path::Path;
use support::{DAY, NOW, Site, folder, from, noise, page, put};
use verge_builder::rules::{FieldRule, RuleFiles, Rules};
use verge_builder::{HashedNames, Outcome, PROBLEMS_TAG, problems};
use verge_sync::clock::UnixTime;
use verge_sync::digest::Digest;
use verge_sync::manifest::{Coding, Manifest};

/// A site with something of everything.
fn small_site() -> tempfile::TempDir {
    folder(&[
        ("index.html", &page("Home", 40)),
        ("about/index.html", &page("About", 12)),
        ("404.html", &page("Not here", 2)),
        (
            "style.css",
            &b"body { color: green; margin: 0 auto; }\n".repeat(30),
        ),
        ("photo.jpg", &noise(5000)),
        ("large.bin", &noise(1_500_000)),
        (
            "notes.txt",
            &b"a line of a long text that fits no pack\n".repeat(60_000),
        ),
        ("empty.txt", b""),
        ("copy/index.html", &page("Home", 40)),
        (
            ".well-known/security.txt",
            b"Contact: mailto:a@example.org\n",
        ),
    ])
}

#[test]
fn a_folder_becomes_a_version_that_is_fetched_byte_for_byte() {
    let root = small_site();
    let mut site = Site::new();
    let built = site.deploy(from(&root));
    assert_eq!(built.totals.files, 10);
    assert_eq!(site.problems(), Vec::<String>::new());
    site.assert_equals(root.path());
    for coding in Coding::ALL {
        assert_eq!(
            site.fetch("index.html", coding),
            Some(page("Home", 40)),
            "{coding:?}"
        );
    }
    assert_eq!(
        site.fetch("photo.jpg", Coding::Brotli),
        None,
        "a photo is not compressed"
    );
    assert_eq!(
        site.fetch("large.bin", Coding::Gzip),
        None,
        "the trial says no"
    );
    assert_eq!(site.fetch("empty.txt", Coding::Identity), Some(Vec::new()));
    let written: u64 = built.new_blobs.iter().map(|blob| blob.bytes).sum();
    assert_eq!(built.totals.written_bytes, written);
}

/// If this fails, either a format or the recipe changed: formats never do within format 1, and a
/// recipe needs a new number.
#[test]
fn a_small_tree_gives_the_version_that_it_always_gave() {
    let root = small_site();
    put(
        root.path(),
        "_redirects",
        b"/old/* /about/:splat 308\n/gone / 410\n/x\n",
    );
    put(root.path(), "_headers", b"/*\n  X-Frame-Options: DENY\n");
    let mut site = Site::new();
    let first = site.deploy(from(&root));
    put(root.path(), "index.html", &page("Home again", 40));
    site.time = UnixTime(NOW.0 + DAY);
    let second = site.deploy(from(&root));
    let golden = include_bytes!("golden/manifest-1.bin");
    assert!(
        site.manifest().bytes() == golden,
        "the manifest's bytes changed"
    );
    let lines = [first, second].map(|built| format!("{} {}", built.content_digest, built.version));
    assert_eq!(
        lines.join("\n"),
        include_str!("golden/versions-1.txt").trim_end()
    );
}

/// The sections of a manifest that was built once, as every later release reads them.
#[test]
fn the_sections_of_the_first_manifest_are_read() {
    let manifest = Manifest::decode(include_bytes!("golden/manifest-1.bin").to_vec()).unwrap();
    let rules = Rules::of(&manifest).unwrap();
    let answer = |path: &str| {
        let found = rules.redirects.find(path, &[], &[], false)?;
        let target = found.rule.to.fill(&found.captures, &str::to_owned);
        Some((found.rule.action.status(), target))
    };
    assert_eq!(answer("/old/a/b"), Some((308, "/about/a/b".to_owned())));
    assert_eq!(answer("/gone/"), Some((410, "/".to_owned())));
    assert_eq!(answer("/x"), None);
    let fields: Vec<_> = rules.headers.matching("/a/b").collect();
    let expected = FieldRule::Set {
        name: "x-frame-options".to_owned(),
        value: "DENY".to_owned(),
    };
    assert_eq!(fields, [&expected]);
    let files = RuleFiles::decode(manifest.content_section(RuleFiles::TAG).unwrap()).unwrap();
    let files: Vec<_> = files.iter().collect();
    let expected: [(&str, &[u8]); 2] = [
        ("_headers", b"/*\n  X-Frame-Options: DENY\n"),
        ("_redirects", b"/old/* /about/:splat 308\n/gone / 410\n/x\n"),
    ];
    assert_eq!(files, expected);
    let problems = problems::decode(manifest.delivery_section(PROBLEMS_TAG).unwrap()).unwrap();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, ["_redirects:3: no target: write: /from /to 301"]);
}

#[test]
fn neither_threads_nor_order_change_a_byte() {
    let root = folder(&[]);
    let mut files: Vec<(String, Vec<u8>)> = (0..120)
        .map(|n| (format!("p{:03}.html", n * 37 % 120), page("p", n * 11 % 97)))
        .collect();
    files.push(("big.txt".to_owned(), b"big and bigger ".repeat(100_000)));
    let mut versions = Vec::new();
    for threads in [1, 2, 8] {
        files.rotate_left(threads * 5);
        let root = tempfile::tempdir_in(root.path()).unwrap();
        for (path, bytes) in &files {
            put(root.path(), path, bytes);
        }
        let mut site = Site::new();
        site.threads = threads;
        let built = site.deploy(from(&root));
        versions.push((built.version, built.content_digest, built.new_blobs));
    }
    assert_eq!(versions[0], versions[1]);
    assert_eq!(versions[0], versions[2]);
}

#[test]
fn the_same_tree_makes_no_new_version() {
    let root = small_site();
    let mut site = Site::new();
    let version = site.deploy(from(&root)).version;
    site.time = UnixTime(NOW.0 + DAY);
    assert_eq!(
        site.build(from(&root)).unwrap(),
        Outcome::Unchanged { version }
    );
}

/// What a test does to a stored file.
type Harm = fn(&Path);

#[test]
fn the_same_tree_makes_anew_what_the_store_lost() {
    let root = small_site();
    let remove: Harm = |path| std::fs::remove_file(path).unwrap();
    let truncate: Harm = |path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    for (name, harm) in [("removed", remove), ("truncated", truncate)] {
        let mut site = Site::new();
        let version = site.deploy(from(&root)).version;
        let sequence = Digest::of(&site.manifest().sequence());
        let blobs = site.manifest().blobs().map(|blob| blob.digest);
        for digest in blobs.chain([sequence]).collect::<Vec<_>>() {
            let path = site.blobs.join(digest.to_string());
            let bytes = std::fs::read(&path).unwrap();
            harm(&path);
            let outcome = site.build(from(&root)).unwrap();
            let unchanged = Outcome::Unchanged { version };
            assert_ne!(outcome, unchanged, "{digest} {name}");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(site.build(from(&root)).unwrap(), unchanged);
        }
        for blob in site.manifest().blobs() {
            harm(&site.blobs.join(blob.digest.to_string()));
        }
        site.deploy(from(&root));
        site.assert_equals(root.path());
    }
}

#[test]
fn a_changed_page_writes_only_itself() {
    let root = folder(&[]);
    for n in 0..200 {
        put(root.path(), &format!("p{n}.html"), &page("page", n + 20));
    }
    put(root.path(), "index.html", &page("Home", 40));
    let mut site = Site::new();
    let first = site.deploy(from(&root));
    put(root.path(), "index.html", &page("Changed", 40));
    site.time = UnixTime(NOW.0 + DAY);
    let second = site.deploy(from(&root));
    site.assert_equals(root.path());
    assert_eq!(second.totals.files_reused, 200);
    // One pack of four codings of one page, the manifest, the sequence.
    let pack: u64 = Coding::ALL
        .map(|coding| {
            let entry = site.manifest().find("index.html").unwrap();
            entry.representation(coding).map_or(0, |r| r.length)
        })
        .iter()
        .sum();
    let manifest = u64::try_from(site.manifest().bytes().len()).unwrap();
    assert_eq!(second.totals.written_bytes, pack + manifest + 3 * 32);
    assert!(second.totals.written_bytes * 5 < first.totals.written_bytes);
    let previous = site.manifest().previous();
    assert_eq!(previous, Some(first.version));
    let seen = |path| site.manifest().find(path).unwrap().seen().first;
    assert_eq!((seen("p1.html"), seen("index.html")), (NOW, site.time));
}

#[test]
fn a_moved_file_is_not_compressed_again() {
    let root = small_site();
    let mut site = Site::new();
    site.deploy(from(&root));
    std::fs::copy(root.path().join("style.css"), root.path().join("s.css")).unwrap();
    std::fs::remove_file(root.path().join("style.css")).unwrap();
    let built = site.deploy(from(&root));
    assert_eq!(built.totals.files_reused, 10);
    site.assert_equals(root.path());
    assert!(built.new_blobs.len() == 2, "manifest and sequence only");
}

#[test]
fn a_pack_that_is_more_than_half_dead_is_written_anew() {
    let root = folder(&[("index.html", &page("Home", 10))]);
    for n in 0..20 {
        put(root.path(), &format!("{n}.jpg"), &noise(10_000 + n)[n..]);
    }
    let mut site = Site::new();
    site.deploy(from(&root));
    let first_pack = site.manifest().blob(0).unwrap();
    for n in 0..8 {
        std::fs::remove_file(root.path().join(format!("{n}.jpg"))).unwrap();
    }
    site.deploy(from(&root));
    assert_eq!(
        site.manifest().blob(0),
        Some(first_pack),
        "still more than half alive"
    );
    for n in 8..14 {
        std::fs::remove_file(root.path().join(format!("{n}.jpg"))).unwrap();
    }
    let built = site.deploy(from(&root));
    assert_eq!(site.manifest().pack_count(), 1);
    assert_ne!(site.manifest().blob(0), Some(first_pack));
    assert_eq!(built.totals.files_reused, 7);
    site.assert_equals(root.path());
}

#[test]
fn many_small_deploys_do_not_pile_up_packs() {
    let root = folder(&[("index.html", &page("Home", 10))]);
    let mut site = Site::new();
    site.deploy(from(&root));
    for n in 0..40 {
        put(root.path(), &format!("{n}.html"), &page("more", n));
        site.deploy(from(&root));
        assert!(site.manifest().pack_count() <= 16, "deploy {n}");
    }
    site.assert_equals(root.path());
}

#[test]
fn hashed_assets_stay_for_seven_days_after_they_left_the_tree() {
    let old = b"body { color: green }\n".repeat(30);
    let new = b"body { color: blue }\n".repeat(30);
    let name = |bytes: &[u8]| format!("app.{}.css", &Digest::of(bytes).to_string()[..12]);
    let root = folder(&[("index.html", &page("1", 10)), ("plain.css", &old)]);
    put(root.path(), &name(&old), &old);
    let mut site = Site::new();
    site.deploy(from(&root));
    let hashed = site.manifest().content_section(HashedNames::TAG).unwrap();
    assert_eq!(HashedNames::decode(hashed), Some(HashedNames::new([0])));

    std::fs::remove_file(root.path().join(name(&old))).unwrap();
    std::fs::remove_file(root.path().join("plain.css")).unwrap();
    put(root.path(), &name(&new), &new);
    let lost = UnixTime(NOW.0 + DAY);
    site.time = lost;
    site.deploy(from(&root));
    let carried = site.manifest().find(&name(&old)).unwrap().seen();
    assert_eq!((carried.first, carried.carried_since), (NOW, Some(lost)));
    assert_eq!(site.fetch(&name(&old), Coding::Brotli), Some(old.clone()));
    assert_eq!(
        site.fetch("plain.css", Coding::Identity),
        None,
        "only hashed names are carried"
    );

    site.time = UnixTime(lost.0 + 7 * DAY);
    put(root.path(), "index.html", &page("2", 10));
    site.deploy(from(&root));
    assert_eq!(
        site.fetch(&name(&old), Coding::Identity),
        Some(old.clone()),
        "exactly 7 days"
    );
    site.time = UnixTime(lost.0 + 7 * DAY + 1);
    put(root.path(), "index.html", &page("3", 10));
    site.deploy(from(&root));
    assert_eq!(
        site.fetch(&name(&old), Coding::Identity),
        None,
        "more than 7 days"
    );
    assert_eq!(site.fetch(&name(&new), Coding::Identity), Some(new));
}

#[test]
fn what_the_store_lost_is_made_anew() {
    let root = small_site();
    let mut site = Site::new();
    let first = site.deploy(from(&root));
    for blob in site.manifest().blobs() {
        std::fs::remove_file(site.blobs.join(blob.digest.to_string())).unwrap();
    }
    put(root.path(), "index.html", &page("Changed", 40));
    let second = site.deploy(from(&root));
    assert_eq!(
        second.totals.files_reused, 1,
        "only the empty file needs no blob"
    );
    assert_eq!(site.manifest().previous(), Some(first.version));
    site.assert_equals(root.path());
}

#[test]
fn what_is_damaged_in_a_pack_is_made_anew_and_never_copied_on() {
    let root = folder(&[("index.html", &page("Home", 10)), ("a.jpg", &noise(9000))]);
    let mut site = Site::new();
    site.deploy(from(&root));
    let damaged = site.manifest().blob(0).unwrap();
    let pack = site.blobs.join(damaged.digest.to_string());
    let mut bytes = std::fs::read(&pack).unwrap();
    for byte in &mut bytes {
        *byte ^= 1;
    }
    std::fs::write(&pack, bytes).unwrap();
    std::fs::remove_file(root.path().join("a.jpg")).unwrap();
    put(root.path(), "b.html", b"b");
    let built = site.deploy(from(&root));
    assert_eq!(built.totals.files_reused, 0);
    assert!(site.manifest().blobs().all(|blob| blob != damaged));
    site.assert_equals(root.path());
}
