//! testssl.sh and sslyze, which try every weakness of TLS that has a name: they find that the CA of
//! a test is not public, and nothing else.

use crate::peers::program;
use crate::support::effort::proving;
use crate::support::preview::{Preview, fixture};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Serves a folder as a node does, with a certificate of a test that lives for 90 days.
fn start(folder: &Path) -> (Preview, u16) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "localhost");
    let now = std::time::Duration::from_secs(crate::support::edge::now().0.unsigned_abs());
    let day = std::time::Duration::from_secs(86_400);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now - day;
    params.not_after = epoch + now + day * 89;
    let certificate = params.self_signed(&key).unwrap();
    let [pem, key_pem] = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
    fs::write(&pem, certificate.pem()).unwrap();
    fs::write(&key_pem, key.serialize_pem()).unwrap();
    let [pem, key_pem] = [&pem, &key_pem].map(|path| path.to_str().unwrap());
    let arguments = [
        "--tls-listen",
        "127.0.0.1:0",
        "--tls-cert",
        pem,
        "--tls-key",
        key_pem,
    ];
    let preview = Preview::start(&fixture("neighbourhood"), &arguments);
    let port = preview.ready.https.unwrap().port();
    (preview, port)
}

/// What testssl.sh says that is no fault, and why.
const EXPLAINED: [(&str, &str); 8] = [
    (
        "engine_problem",
        "the scanner misses GOST in its own OpenSSL",
    ),
    ("cert_chain_of_trust", "the CA of a test is not public"),
    (
        "cert_revocation",
        "nor has it a list of what it has revoked",
    ),
    ("DNS_CAArecord", "localhost has none"),
    (
        "cipher_order",
        "visitors choose among suites that are all strong: phones know what they are good at",
    ),
    ("HSTS", "is the site's own promise, in _headers"),
    (
        "BREACH",
        "pages are compressed, and the same for everybody: nothing in them is secret, or the visitor's",
    ),
    (
        "sessionresumption_ticket",
        "the scanner may have left before the ticket came; other tests come back by one",
    ),
];

#[test]
fn testssl_finds_that_the_ca_of_a_test_is_not_public() {
    let folder = tempfile::tempdir().unwrap();
    let (_preview, port) = start(folder.path());
    let report = folder.path().join("report.json");
    // Versions and suites; `make prove` tries everything, which takes minutes.
    let some: &[&str] = if proving() { &[] } else { &["-p", "-s"] };
    let output = Command::new("testssl")
        .args(["--ip", "127.0.0.1", "--quiet", "--color", "0"])
        .args(["--warnings", "off", "--jsonfile"])
        .arg(&report)
        .args(some)
        .arg(format!("https://localhost:{port}"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    let report = fs::read(&report).unwrap_or_else(|error| panic!("{error}: {words}"));
    let found: Vec<Value> = serde_json::from_slice(&report).unwrap();
    let field = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let of = |id: &str| {
        let entry = found.iter().find(|entry| entry["id"] == id);
        entry.map(|entry| field(entry, "finding"))
    };
    assert_eq!(
        of("TLS1_3").as_deref(),
        Some("offered with final"),
        "{words}"
    );
    assert_eq!(of("TLS1_2").as_deref(), Some("offered"), "{words}");
    assert_eq!(of("TLS1_1").as_deref(), Some("not offered"), "{words}");
    let is_fault = |entry: &&Value| {
        let (id, severity) = (field(entry, "id"), field(entry, "severity"));
        let is_explained = EXPLAINED.iter().any(|(explained, _why)| *explained == id);
        !["OK", "INFO"].contains(&severity.as_str()) && !is_explained
    };
    let faults: Vec<&Value> = found.iter().filter(is_fault).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

/// Mozilla's "intermediate" settings are what it holds a server to.
#[test]
fn sslyze_finds_that_the_ca_of_a_test_is_not_public() {
    let folder = tempfile::tempdir().unwrap();
    let (_preview, port) = start(folder.path());
    let output = Command::new(program("sslyze/bin/sslyze"))
        .args(["--mozilla_config", "intermediate"])
        .arg(format!("localhost:{port}"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    let (_, judged) = words.split_once("intermediate\" configuration").unwrap();
    let faults = judged.lines().map(str::trim);
    let faults = faults.filter_map(|line| line.strip_prefix("* "));
    let names: Vec<&str> = faults.filter_map(|line| line.split(':').next()).collect();
    assert_eq!(names, ["certificate_path_validation"], "{words}");
}
