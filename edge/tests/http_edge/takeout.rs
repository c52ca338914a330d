//! Taking a site out again, and the node's own signature (http.md section 1).

use crate::support::edge::{Setup, TestEdge, site_at};
use crate::support::sample::{Blobs, file, noise};
use crate::support::visitor::{SECURE, Via, Visitor};
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use verge_builder::rules::RuleFiles;
use verge_edge::http::health::{Assurances, HealthSigner, signed_bytes};
use verge_sync::Digest;
use verge_sync::id::NodeId;

const ARCHIVE: &str = "/.well-known/verge/archive.tar";
const LIST: &str = "/.well-known/verge/manifest.json";
const REDIRECTS: &[u8] = b"# kept, with its comment\r\n/old /\n/secret/* /404.html 404!\n\xff\n";

fn long_name() -> &'static str {
    let name: String = (0..10).map(|_| format!("{}/", "n".repeat(250))).collect();
    Box::leak(format!("{name}long.txt").into_boxed_str())
}

fn start() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let files = [
        file("index.html", "<p>home</p>\n".repeat(50)),
        file("404.html", "<p>none</p>\n".repeat(50)),
        file("secret/plan.txt", "not for visitors"),
        file("a/caf\u{e9}.txt", "short"),
        file(long_name(), "far away"),
        file("empty.txt", ""),
        file("big.bin", noise(3, 1_500_000)),
    ];
    let rules = RuleFiles {
        headers: None,
        redirects: Some(REDIRECTS.into()),
    };
    let version = blobs.publish_with(&files, &rules);
    let edge = Setup::default().start(&blobs, version);
    (blobs, edge)
}

#[tokio::test]
async fn only_a_site_that_says_so_is_given_out() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        for target in [ARCHIVE, LIST] {
            assert_eq!(visitor.get(target, &[]).await.status, 404, "{target}");
        }
    }
}

#[tokio::test]
async fn an_archive_has_every_file_as_it_was_published() {
    let (_blobs, edge) = start();
    let version = edge.sites.find(&"garden.example".parse().unwrap()).unwrap();
    edge.show_with_takeout("garden.example", version.version);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let archive = visitor.get(ARCHIVE, &[]).await;
        assert_eq!(archive.status, 200);
        assert_eq!(archive.header("content-type"), Some("application/x-tar"));
        let length = archive.body.len().to_string();
        assert_eq!(archive.header("content-length"), Some(length.as_str()));
        let head = visitor.ask("HEAD", "garden.example", ARCHIVE, &[]).await;
        assert_eq!(head.header("content-length"), Some(length.as_str()));
        let dir = tempfile::tempdir().unwrap();
        let tar = dir.path().join("site.tar");
        fs::write(&tar, &archive.body).unwrap();
        let listed = Command::new("tar").arg("-tf").arg(&tar).output().unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty());
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.lines().count(), 7, "{listed}");
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        let taken = Command::new("tar")
            .arg("-xf")
            .arg(&tar)
            .arg("-C")
            .arg(&out)
            .status();
        assert!(taken.unwrap().success());
        let expected: [(&str, Vec<u8>); 6] = [
            ("_redirects", REDIRECTS.into()),
            ("index.html", "<p>home</p>\n".repeat(50).into()),
            ("a/caf\u{e9}.txt", "short".into()),
            ("empty.txt", Vec::new()),
            ("big.bin", noise(3, 1_500_000)),
            ("404.html", "<p>none</p>\n".repeat(50).into()),
        ];
        for (path, bytes) in expected {
            assert!(fs::read(out.join(path)).unwrap() == bytes, "{path}");
        }
        assert!(listed.lines().any(|line| line == long_name()), "{listed}");
        assert!(!out.join("secret").exists(), "no GET answers it with 200");
    }
}

#[tokio::test]
async fn a_list_says_what_the_archive_has() {
    let (_blobs, edge) = start();
    let version = edge.sites.find(&"garden.example".parse().unwrap()).unwrap();
    edge.show_with_takeout("garden.example", version.version);
    let mut visitor = Visitor::connect(&edge, Via::Http2, "garden.example").await;
    let list = visitor.get(LIST, &[]).await;
    assert_eq!(list.header("content-type"), Some("application/json"));
    let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list["version"], version.version.to_string());
    assert_eq!(list["rule_files"][0]["path"], "_redirects");
    assert_eq!(
        list["rule_files"][0]["blake3"],
        Digest::of(REDIRECTS).to_string()
    );
    let files = list["files"].as_array().unwrap();
    assert_eq!(files.len(), 6);
    for file in files {
        let (url, length) = (
            file["url"].as_str().unwrap(),
            file["length"].as_u64().unwrap(),
        );
        let answer = visitor.get(url, &[]).await;
        assert_eq!(answer.status, 200, "{url}");
        assert_eq!(u64::try_from(answer.body.len()).unwrap(), length, "{url}");
        assert_eq!(
            file["blake3"],
            Digest::of(&answer.body).to_string(),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_damaged_file_breaks_the_archive_off() {
    let (blobs, edge) = start();
    let at = edge.sites.find(&"garden.example".parse().unwrap()).unwrap();
    edge.show_with_takeout("garden.example", at.version);
    let big = blobs.blob_path(Digest::of(&noise(3, 1_500_000)));
    let mut bytes = fs::read(&big).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&big, bytes).unwrap();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let request = visitor.request("GET", "garden.example", ARCHIVE, &[]);
        assert!(visitor.send(request).await.is_err(), "a broken transfer");
    }
}

#[tokio::test]
async fn health_is_signed_for_who_brings_a_nonce() {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("index.html", "home")]);
    let signed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&signed);
    let signer = HealthSigner::new(NodeId::from_bytes([9; 32]), move |bytes| {
        seen.lock().unwrap().push(bytes.to_vec());
        [5; 64]
    });
    let setup = Setup {
        assurances: Assurances {
            signer: Some(signer),
            ..Assurances::default()
        },
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let answer = visitor
            .get("/.well-known/verge/health?nonce=Zm9v", &[])
            .await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["ok"], true);
        assert_eq!(answer["nonce"], "Zm9v");
        assert_eq!(answer["node"], NodeId::from_bytes([9; 32]).to_string());
        assert_eq!(answer["signature"], "05".repeat(64));
        let bad = visitor
            .get("/.well-known/verge/health?nonce=%22", &[])
            .await;
        assert_eq!(bad.status, 400);
    }
    let expected = signed_bytes(&site_at(version), "Zm9v");
    assert_eq!(*signed.lock().unwrap(), [expected.clone(), expected]);
}
