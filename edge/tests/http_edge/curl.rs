//! The same answers, asked for by a program that others wrote.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file};
use std::fs;
use std::process::Command;

fn curl(edge: &TestEdge, dir: &std::path::Path, arguments: &[&str], path: &str) -> String {
    let ca = dir.join("ca.pem");
    fs::write(&ca, &edge.ca_pem).unwrap();
    let address = edge.https();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(&ca)
        .args([
            "--resolve",
            &format!("garden.example:{}:127.0.0.1", address.port()),
        ])
        .args(arguments)
        .arg(format!("https://garden.example:{}{path}", address.port()))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} {path}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_reads_every_coding_by_both_protocols_and_both_versions_of_tls() {
    let blobs = Blobs::new();
    let page = "<p>carrots, leeks and beans</p>\n".repeat(100);
    let version = blobs.publish(&[file("index.html", page.clone()), file("404.html", "no")]);
    let edge = Setup::default().start(&blobs, version);
    let dir = tempfile::tempdir().unwrap();
    let get = |arguments: &[&str], path| curl(&edge, dir.path(), arguments, path);
    for protocol in ["--http1.1", "--http2"] {
        assert_eq!(get(&[protocol], "/"), page);
        assert_eq!(get(&[protocol, "--compressed"], "/"), page);
        for coding in ["br", "zstd", "gzip", "identity"] {
            let accept = format!("Accept-Encoding: {coding}");
            assert_eq!(get(&[protocol, "--compressed", "-H", &accept], "/"), page);
        }
        let status = ["-o", "/dev/null", "-w", "%{http_code} %{http_version}"];
        let answer = get(&[&[protocol][..], &status].concat(), "/nothing");
        let expected = if protocol == "--http2" {
            "404 2"
        } else {
            "404 1.1"
        };
        assert_eq!(answer, expected);
    }
    assert_eq!(get(&["--tls-max", "1.2"], "/"), page);
    assert_eq!(get(&["--tlsv1.3"], "/"), page);
    assert_eq!(get(&["--range", "3-9"], "/"), "carrots");
}
