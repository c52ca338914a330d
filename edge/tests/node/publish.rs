//! `git push` becomes a page: a real node, real git over real SSH, real TLS.

use crate::compare::{real_folder, serves};
use crate::harness::{Node, Publisher, block_on, count, fixture, get, init, page, proving, text};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use verge_edge::cli::client::Protocol;

/// Pushes `folder` and compares every file in every coding with what comes back.
fn pushed_and_fetched_byte_for_byte(folder: &Path, protocols: &[Protocol]) {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "real");
    publisher.copy(folder);
    publisher.commit("all of it");
    let log = publisher.push_ok(&node, "real", "main");
    assert!(log.contains("https://real.sites.localhost:"), "{log}");
    serves(&node, "real.sites.localhost", &publisher.work(), protocols);
}

#[test]
fn neighbourhood_comes_back_byte_for_byte() {
    let both = [Protocol::Http1, Protocol::Http2];
    pushed_and_fetched_byte_for_byte(&fixture("neighbourhood"), &both);
}

#[test]
fn git_doc_comes_back_byte_for_byte() {
    let folder = real_folder("/usr/share/doc/git-doc");
    pushed_and_fetched_byte_for_byte(folder.path(), &[Protocol::Http2]);
}

#[test]
fn sqlite3_doc_comes_back_byte_for_byte() {
    let folder = real_folder("/usr/share/doc/sqlite3");
    pushed_and_fetched_byte_for_byte(folder.path(), &[Protocol::Http2]);
}

#[test]
fn debian_handbook_comes_back_byte_for_byte_when_proving() {
    let path = Path::new("/usr/share/doc/debian-handbook");
    if proving() {
        let folder = real_folder(path.to_str().unwrap());
        pushed_and_fetched_byte_for_byte(folder.path(), &[Protocol::Http2]);
    }
}

#[test]
fn second_push_changes_the_page_and_rollback_brings_the_first_back() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "diary");
    let host = "diary.sites.localhost";
    for words in ["first", "second", "third"] {
        publisher.write("index.html", format!("<title>{words}</title>"));
        publisher.commit(words);
        let log = publisher.push_ok(&node, "diary", "main");
        assert!(log.contains("is live"), "{log}");
        assert_eq!(
            page(&node, host, "/").unwrap(),
            format!("<title>{words}</title>").as_bytes()
        );
    }
    assert_eq!(
        node.verge_ok(&["site", "versions", "diary"])
            .lines()
            .count(),
        3
    );
    node.verge_ok(&["site", "rollback", "diary"]);
    assert_eq!(page(&node, host, "/").unwrap(), b"<title>second</title>");
    node.verge_ok(&["site", "rollback", "diary"]);
    assert_eq!(page(&node, host, "/").unwrap(), b"<title>first</title>");
    let refused = node.verge(&["site", "rollback", "diary"]);
    assert!(text(&refused.stderr).contains("no kept version to go back to"));
    let versions = node.verge_ok(&["site", "versions", "diary"]);
    let oldest = versions
        .lines()
        .last()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    let refused = node.verge(&["site", "rollback", "diary", &oldest]);
    assert!(text(&refused.stderr).contains("is already in place"));
    let newest = versions.lines().nth(2).unwrap();
    let newest = newest.split_whitespace().next().unwrap();
    node.verge_ok(&["site", "rollback", "diary", newest]);
    assert_eq!(page(&node, host, "/").unwrap(), b"<title>third</title>");
    node.verge_ok(&["site", "rollback", "diary", &oldest]);
    assert_eq!(page(&node, host, "/").unwrap(), b"<title>first</title>");
}

#[test]
fn same_tree_makes_no_new_version() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "same");
    publisher.write("index.html", "same");
    publisher.commit("one");
    publisher.push_ok(&node, "same", "main");
    publisher.commit("two, with the same files");
    let log = publisher.push_ok(&node, "same", "main");
    assert!(log.contains("nothing changed"), "{log}");
    assert_eq!(
        node.verge_ok(&["site", "versions", "same"]).lines().count(),
        1
    );
}

#[test]
fn folder_is_published_without_git() {
    let node = Node::found();
    Publisher::with_site(&node, "ana", "folder");
    let folder = fixture("single-page-app");
    let said = node.verge_ok(&["deploy", folder.to_str().unwrap(), "--site", "folder"]);
    assert!(said.contains("https://folder.sites.localhost:"), "{said}");
    let published = std::fs::read(folder.join("index.html")).unwrap();
    assert_eq!(
        page(&node, "folder.sites.localhost", "/").unwrap(),
        published
    );
}

#[test]
fn sites_are_there_again_after_a_restart() {
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "lasting");
    publisher.write("index.html", "still here");
    publisher.commit("one");
    publisher.push_ok(&node, "lasting", "main");
    assert!(
        node.stop().success(),
        "a node that is asked to stop ends well"
    );
    node.restart();
    assert_eq!(
        page(&node, "lasting.sites.localhost", "/").unwrap(),
        b"still here"
    );
    publisher.write("index.html", "and on");
    publisher.commit("two");
    publisher.push_ok(&node, "lasting", "main");
    assert_eq!(
        page(&node, "lasting.sites.localhost", "/").unwrap(),
        b"and on"
    );
}

#[test]
fn deleted_site_is_gone_and_cannot_be_pushed_to() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "gone");
    publisher.write("index.html", "here");
    publisher.commit("one");
    publisher.push_ok(&node, "gone", "main");
    let unsure = node.verge(&["site", "delete", "gone", "--confirm", "other"]);
    assert!(text(&unsure.stderr).contains("--confirm gone"));
    node.verge_ok(&["site", "delete", "gone", "--confirm", "gone"]);
    let visitor = node.visitor();
    let answer = block_on(visitor.get(Protocol::Http2, "gone.sites.localhost", "/", "identity"));
    assert!(answer.is_err() || answer.unwrap().head.status != 200);
    publisher.push_refused(&node, "gone", "main");
}

#[test]
fn stranger_hears_the_same_of_a_foreign_site_and_of_none() {
    let node = Node::found();
    let owner = Publisher::with_site(&node, "ana", "hers");
    owner.write("index.html", "hers");
    owner.commit("one");
    owner.push_ok(&node, "hers", "main");
    let stranger = Publisher::with_site(&node, "ben", "his");
    stranger.write("index.html", "his");
    stranger.commit("one");
    let foreign = stranger
        .push_refused(&node, "hers", "main")
        .replace("hers", "SITE");
    let missing = stranger
        .push_refused(&node, "nobodys", "main")
        .replace("nobodys", "SITE");
    assert_eq!(foreign, missing);
    assert_eq!(page(&node, "hers.sites.localhost", "/").unwrap(), b"hers");
}

#[test]
fn unknown_host_gets_no_page_and_no_certificate() {
    let node = Node::found();
    let visitor = node.visitor();
    let answer = block_on(visitor.get(Protocol::Http2, "who.sites.localhost", "/", "identity"));
    assert!(answer.is_err(), "{answer:?}");
}

/// Attackers choose names: a log that repeats them is theirs to fill, and visitors' ways are nobody's
/// business.
#[test]
fn no_log_names_what_a_visitor_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("node"), folder.path().join("log"));
    init(&data);
    let mut node = Node::start_talkative(&data, &log);
    let publisher = Publisher::with_site(&node, "ana", "quiet");
    publisher.write("index.html", "quiet");
    publisher.commit("one");
    publisher.push_ok(&node, "quiet", "main");
    let address = node.ready().http.unwrap();
    for host in ["strange-name.example", "quiet.sites.localhost"] {
        let output = std::process::Command::new("curl")
            .args(["-s", "-o", "/dev/null", "--max-time", "10"])
            .args(["-H", &format!("Host: {host}")])
            .arg(format!("http://{address}/strange-path?strange-query"))
            .status();
        assert!(output.unwrap().success());
    }
    let visitor = node.visitor();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let unknown = visitor.get(protocol, "strange-name.example", "/", "identity");
        assert!(block_on(unknown).is_err());
        let missing = "/strange-path?strange-query";
        let missing = get(&node, protocol, "quiet.sites.localhost", missing, "br");
        assert_eq!(missing.head.status, 404);
    }
    assert!(node.stop().success());
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    assert!(!log.contains("strange"), "{log}");
}

#[test]
fn what_is_not_for_visitors_is_not_served() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "parts");
    let files = [
        ("index.html", "<p>front"),
        ("_redirects", "/old / 302\n"),
        ("_headers", "/*\n  X-Part: yes\n"),
        ("verge.toml", ""),
        (".hidden", "hidden"),
        ("folder/.hidden/x.txt", "hidden"),
        (
            ".well-known/security.txt",
            "Contact: mailto:a@example.org\n",
        ),
        ("data.unheard-of", "what"),
        ("caf\u{e9}.txt", "one spelling"),
        ("CAF\u{c9}.txt", "another"),
    ];
    for (path, text) in files {
        publisher.write(path, text);
    }
    publisher.commit("all");
    let log = publisher.push_ok(&node, "parts", "main");
    assert!(
        log.contains("CAF\u{c9}.txt"),
        "names that collide are told of: {log}"
    );
    let rows = [
        ("/", 200, "text/html; charset=utf-8"),
        (
            "/.well-known/security.txt",
            200,
            "text/plain; charset=utf-8",
        ),
        ("/data.unheard-of", 200, "application/octet-stream"),
        ("/old", 302, ""),
        ("/_redirects", 404, ""),
        ("/_headers", 404, ""),
        ("/verge.toml", 404, ""),
        ("/.hidden", 404, ""),
        ("/folder/.hidden/x.txt", 404, ""),
        ("/.git/config", 404, ""),
    ];
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (path, status, kind) in rows {
            let answer = get(&node, protocol, "parts.sites.localhost", path, "identity");
            assert_eq!(answer.head.status, status, "{path}");
            if status == 200 {
                assert_eq!(answer.field("content-type"), kind, "{path}");
                assert_eq!(answer.field("x-content-type-options"), "nosniff");
                assert_eq!(answer.field("x-part"), "yes");
            }
        }
    }
}

#[test]
fn further_host_is_served_where_proof_is_switched_off() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "two");
    publisher.write("index.html", "two names");
    publisher.commit("one");
    publisher.push_ok(&node, "two", "main");
    node.verge_ok(&["site", "set", "two", "--add-host", "two.example.test"]);
    assert_eq!(page(&node, "two.example.test", "/").unwrap(), b"two names");
    let taken = node.verge(&[
        "site",
        "create",
        "three",
        "--owner",
        "ana",
        "--host",
        "two.example.test",
    ]);
    assert!(!taken.status.success());
    assert!(
        text(&taken.stderr).contains("two.example.test"),
        "{}",
        text(&taken.stderr)
    );
}

#[test]
fn plain_http_redirects_to_https() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "plain");
    publisher.write("index.html", "x");
    publisher.commit("one");
    publisher.push_ok(&node, "plain", "main");
    let address = node.ready().http.unwrap();
    let output = std::process::Command::new("curl")
        .args([
            "-s",
            "-i",
            "--max-time",
            "10",
            "-H",
            "Host: plain.sites.localhost",
        ])
        .arg(format!("http://{address}/a?b=c"))
        .output()
        .unwrap();
    let answer = text(&output.stdout).to_lowercase();
    assert!(answer.starts_with("http/1.1 308"), "{answer}");
    assert!(
        answer.contains("location: https://plain.sites.localhost"),
        "{answer}"
    );
    assert!(answer.contains("/a?b=c"), "{answer}");
    assert!(answer.contains("cache-control: no-store"), "{answer}");
}

#[test]
fn the_lan_page_lists_sites_and_gives_the_ca() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    init(&data);
    let config = data.join("config.toml");
    let settings = std::fs::read_to_string(&config).unwrap();
    let settings = settings.replace("# lan_host = \"verge.local\"", "lan_host = \"node.local\"");
    std::fs::write(&config, settings).unwrap();
    let node = Node::start(&data);
    let publisher = Publisher::with_site(&node, "ana", "open");
    publisher.write("index.html", "open");
    publisher.commit("one");
    let address = node.ready().http.unwrap();
    let fetch = |path: &str| {
        let output = std::process::Command::new("curl")
            .args(["-s", "-i", "--max-time", "10", "-H", "Host: node.local"])
            .arg(format!("http://{address}{path}"))
            .output()
            .unwrap();
        text(&output.stdout)
    };
    assert!(
        !fetch("/").contains("open.sites.localhost"),
        "not published"
    );
    publisher.push_ok(&node, "open", "main");
    let page = fetch("/");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let port = address.port();
    let link = format!("<a href=\"http://open.sites.localhost:{port}/\">");
    assert!(page.contains(&link), "{page}");
    let pem = std::fs::read_to_string(data.join("local-ca.pem")).unwrap();
    assert!(fetch("/.well-known/verge/ca.crt").ends_with(&pem));
    drop(node);
}

#[test]
fn one_process_owns_a_data_directory() {
    let node = Node::found();
    let second = node.verge(&["serve"]);
    assert!(!second.status.success());
    assert!(
        text(&second.stderr).contains("another verge process"),
        "{}",
        text(&second.stderr)
    );
    let again = node.verge(&["init", "--region=x", "--provider=y"]);
    assert!(!again.status.success());
}

#[test]
fn redeploy_keeps_last_modified_of_what_did_not_change() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "dates");
    publisher.write("index.html", "one");
    publisher.write("same.html", "same");
    publisher.commit("one");
    publisher.push_ok(&node, "dates", "main");
    let host = "dates.sites.localhost";
    let before = get(&node, Protocol::Http2, host, "/same", "identity");
    publisher.write("index.html", "two");
    publisher.commit("two");
    publisher.push_ok(&node, "dates", "main");
    let after = get(&node, Protocol::Http2, host, "/same", "identity");
    assert_eq!(before.field("last-modified"), after.field("last-modified"));
    assert_eq!(before.field("etag"), after.field("etag"));
    assert!(!after.field("etag").is_empty());
}

/// Pushes acknowledged before a SIGKILL at a random moment are there after it; the site always
/// shows one whole version.
#[test]
fn acknowledged_pushes_survive_a_kill() {
    let kills = count("VERGE_KILLS", 20);
    let mut node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "hardy");
    publisher.write("index.html", "0");
    publisher.commit("0");
    publisher.push_ok(&node, "hardy", "main");
    let mut acknowledged = 0;
    for round in 1..=kills {
        publisher.write("index.html", round.to_string());
        publisher.write(
            "other.html",
            format!("{round} {}", "x".repeat(round * 1000)),
        );
        publisher.commit(&round.to_string());
        let mut push = publisher.git(&["push", &Publisher::url(&node, "hardy"), "+main"]);
        let mut push = push.stderr(std::process::Stdio::piped()).spawn().unwrap();
        // The kill falls after so many lines of the log: from the first to past the last.
        let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
        lines.by_ref().take(round % 14).for_each(drop);
        node.kill();
        lines.for_each(drop);
        let went_in = push.wait().unwrap().success();
        if went_in {
            acknowledged = round;
        }
        node.restart();
        let shown = String::from_utf8(page(&node, "hardy.sites.localhost", "/").unwrap()).unwrap();
        let shown: usize = shown.parse().unwrap();
        assert!(
            shown >= acknowledged,
            "round {round}: {shown} shown, {acknowledged} acknowledged"
        );
        assert!(shown <= round);
        if shown > 0 {
            let other = page(&node, "hardy.sites.localhost", "/other").unwrap();
            assert_eq!(other.len(), format!("{shown} ").len() + shown * 1000);
        }
    }
}

#[test]
fn full_disk_refuses_the_push_and_keeps_the_site() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::tmpfs(folder.path(), "40m");
    let data = mount.path.join("node");
    let node = Node::found_in(&data);
    let publisher = Publisher::with_site(&node, "ana", "full");
    publisher.write("index.html", "small");
    publisher.commit("one");
    publisher.push_ok(&node, "full", "main");
    std::fs::write(mount.path.join("ballast"), vec![7_u8; 32 << 20]).unwrap();
    let mut noise = Vec::new();
    let mut word = 1_u64;
    while noise.len() < 9 << 20 {
        word = word
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise.extend_from_slice(&word.to_le_bytes());
    }
    publisher.write("noise.bin", &noise);
    publisher.commit("two");
    let said = publisher.push_refused(&node, "full", "main");
    assert!(
        said.to_lowercase().contains("space") || said.contains("full"),
        "{said}"
    );
    assert_eq!(page(&node, "full.sites.localhost", "/").unwrap(), b"small");
    std::fs::remove_file(mount.path.join("ballast")).unwrap();
    publisher.push_ok(&node, "full", "main");
    assert!(page(&node, "full.sites.localhost", "/noise.bin").unwrap() == noise);
}

/// A file system that is unmounted with the test.
struct Mount {
    path: PathBuf,
}

impl Mount {
    fn tmpfs(path: &Path, size: &str) -> Self {
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path);
        assert!(
            mount.status().unwrap().success(),
            "mounting needs root: run `make test` as root"
        );
        Self {
            path: path.to_owned(),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(
            std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.path)
                .status(),
        );
    }
}
