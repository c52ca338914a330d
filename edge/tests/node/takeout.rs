//! A pushed site comes out again as it went in, with its rules in force meanwhile.

use crate::harness::{Node, Publisher, get, page};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::process::Command;
use verge_edge::cli::client::Protocol;

const REDIRECTS: &[u8] = b"# a comment\n/old/* /:splat 301\n/hidden.txt /404.html 404!\n";
const HEADERS: &[u8] = b"/*\n  X-Garden: open\n";
const HOST: &str = "garden.sites.localhost";
const ARCHIVE: &str = "/.well-known/verge/archive.tar";

#[test]
fn a_pushed_site_is_taken_out_as_it_was_published() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    let files: [(&str, &[u8]); 6] = [
        ("index.html", b"<p>home</p>\n"),
        ("404.html", b"<p>none</p>\n"),
        ("docs/a.txt", b"a"),
        ("hidden.txt", b"not for visitors"),
        ("_redirects", REDIRECTS),
        ("_headers", HEADERS),
    ];
    for (path, bytes) in files {
        publisher.write(path, bytes);
    }
    publisher.commit("all of it");
    publisher.push_ok(&node, "garden", "main");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let moved = get(&node, protocol, HOST, "/old/docs/a.txt", "identity");
        assert_eq!(moved.head.status, 301);
        assert_eq!(moved.field("location"), "/docs/a.txt");
        let file = get(&node, protocol, HOST, "/docs/a.txt", "identity");
        assert_eq!(file.field("x-garden"), "open");
    }
    assert_eq!(page(&node, HOST, ARCHIVE), Err(404), "the owner's alone");
    node.verge_ok(&["site", "set", "garden", "--takeout", "public"]);
    let archive = page(&node, HOST, ARCHIVE).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tar = dir.path().join("site.tar");
    fs::write(&tar, archive).unwrap();
    let taken = Command::new("tar")
        .arg("-xf")
        .arg(&tar)
        .arg("-C")
        .arg(dir.path())
        .status();
    assert!(taken.unwrap().success());
    for (path, bytes) in files {
        let taken = fs::read(dir.path().join(path)).ok();
        let expected = (path != "hidden.txt").then(|| bytes.to_vec());
        assert_eq!(taken, expected, "{path}");
    }
    node.verge_ok(&["site", "set", "garden", "--takeout", "owner"]);
    assert_eq!(page(&node, HOST, ARCHIVE), Err(404));
}

/// A visitor whose page is older than the last push still finds its parts.
#[test]
fn a_lost_asset_with_a_proven_name_stays_reachable() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "garden");
    let script = b"let garden = 'open';\n".repeat(30);
    let proof: String = Sha256::digest(&script)
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let name = format!("app.{proof}.js");
    publisher.write("index.html", "<p>home</p>\n");
    publisher.write(&name, &script);
    publisher.write("app.js", &script);
    publisher.commit("with its script");
    publisher.push_ok(&node, "garden", "main");
    publisher.git_ok(&["rm", "-q", &name, "app.js"]);
    publisher.commit("without it");
    publisher.push_ok(&node, "garden", "main");
    let kept = get(&node, Protocol::Http2, HOST, &format!("/{name}"), "br");
    assert_eq!(kept.head.status, 200);
    assert_eq!(kept.body, script);
    assert!(kept.field("cache-control").contains("immutable"));
    assert_eq!(page(&node, HOST, "/app.js"), Err(404));
}
