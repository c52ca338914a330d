//! Names, certificates, and what is refused before a request is made.

use crate::support::edge::{Setup, TestEdge, now};
use crate::support::sample::{Blobs, file};
use crate::support::visitor::{SECURE, Via, Visitor, raw, secure};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use verge_edge::host::Host;
use verge_edge::tls::{Certificate, CertificateError, Certificates, Fallback, LocalCa, Validity};
use verge_sync::clock::UnixTime;

fn start() -> (Blobs, TestEdge) {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("index.html", "hello")]);
    let setup = Setup {
        hosts: vec!["garden.example", "bakery.example"],
        ..Setup::default()
    };
    let edge = setup.start(&blobs, version);
    (blobs, edge)
}

#[tokio::test]
async fn a_handshake_for_no_site_of_ours_is_refused() {
    let (_blobs, edge) = start();
    for name in ["other.example", "www.garden.example", "127.0.0.1"] {
        let error = secure(&edge, name, b"h2").await.unwrap_err();
        assert!(
            error.to_string().contains("AccessDenied"),
            "{name}: {error}"
        );
    }
    assert!(secure(&edge, "garden.example", b"h2").await.is_ok());
    assert!(secure(&edge, "garden.example", b"spdy/3").await.is_err());
}

#[tokio::test]
async fn one_site_s_connection_does_not_show_another() {
    let (_blobs, edge) = start();
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let rows = [
            ("garden.example", 200),
            ("bakery.example", 421),
            ("other.example", 421),
        ];
        for (host, status) in rows {
            let answer = visitor.ask("GET", host, "/", &[]).await;
            assert_eq!(answer.status, status, "{via:?} {host}");
        }
    }
}

/// A certificate that is its own authority, for these names.
fn self_signed(names: &[&str]) -> (Arc<Certificate>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = rcgen::CertificateParams::new(names).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let certificate = Certificate::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes());
    (Arc::new(certificate.unwrap()), pem)
}

#[tokio::test]
async fn sites_of_one_certificate_share_a_connection() {
    let (_blobs, mut edge) = start();
    let (both, pem) = self_signed(&["garden.example", "bakery.example"]);
    edge.tls
        .replace(Certificates::new([both], Fallback::Refuse));
    edge.ca_pem = pem;
    for via in SECURE {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let rows = [
            ("garden.example", 200),
            ("bakery.example", 200),
            ("other.example", 421),
        ];
        for (host, status) in rows {
            let answer = visitor.ask("GET", host, "/", &[]).await;
            assert_eq!(answer.status, status, "{via:?} {host}");
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_the_one_that_is_shown() {
    let (_blobs, mut edge) = start();
    let mut shown = Vec::new();
    for _ in 0..2 {
        let (renewed, pem) = self_signed(&["garden.example"]);
        edge.tls
            .replace(Certificates::new([renewed], Fallback::Refuse));
        // Who trusts only the new one is content: the old one is not shown any more.
        edge.ca_pem = pem;
        for protocol in [&b"h2"[..], b"http/1.1"] {
            let stream = secure(&edge, "garden.example", protocol).await.unwrap();
            let chain = stream.get_ref().1.peer_certificates().unwrap();
            shown.push(chain[0].to_vec());
        }
    }
    shown.dedup();
    assert_eq!(shown.len(), 2);
}

#[tokio::test]
async fn port_80_redirects_while_a_valid_certificate_is_there() {
    let (_blobs, edge) = start();
    let port = edge.https().port();
    let mut visitor = Visitor::connect(&edge, Via::Plain, "garden.example").await;
    let answer = visitor.get("/a//b?c=d", &[]).await;
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let location = format!("https://garden.example:{port}/a//b?c=d");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let challenge = visitor.get("/.well-known/acme-challenge/x", &[]).await;
    assert_eq!(challenge.status, 404, "answered here");
    let unknown = visitor.ask("GET", "other.example", "/", &[]).await;
    assert_eq!(unknown.status, 421);
    edge.forget_certificates();
    assert_eq!(visitor.get("/", &[]).await.body, "hello");
}

#[tokio::test]
async fn an_expired_certificate_serves_and_port_80_does_too() {
    let (_blobs, edge) = start();
    let dir = tempfile::tempdir().unwrap();
    let long_ago = UnixTime(1_500_000_000);
    let mut ca = LocalCa::open(dir.path(), long_ago).unwrap();
    let hosts = BTreeSet::from(["garden.example".parse::<Host>().unwrap()]);
    let leaves = ca.ensure(&hosts, long_ago).unwrap();
    assert_eq!(leaves[0].validity(now()), Validity::Expired);
    edge.tls
        .replace(Certificates::new(leaves, Fallback::Refuse));
    let mut visitor = Visitor::connect(&edge, Via::Plain, "garden.example").await;
    assert_eq!(visitor.get("/", &[]).await.body, "hello");
    let error = secure(&edge, "garden.example", b"h2").await.unwrap_err();
    assert!(
        !error.to_string().contains("AccessDenied"),
        "the visitor decides: {error}"
    );
}

#[tokio::test]
async fn a_preview_answers_every_name_and_none() {
    let (_blobs, edge) = start();
    let dir = tempfile::tempdir().unwrap();
    let mut ca = LocalCa::open(dir.path(), now()).unwrap();
    let hosts = BTreeSet::from(["localhost".parse::<Host>().unwrap()]);
    let leaf = Arc::clone(&ca.ensure(&hosts, now()).unwrap()[0]);
    let answers = |fallback| {
        let names = ["unknown.example", "127.0.0.1"];
        edge.tls.replace(Certificates::new([], fallback));
        let edge = &edge;
        async move {
            let mut denied = Vec::new();
            for name in names {
                let error = secure(edge, name, b"h2").await.unwrap_err().to_string();
                denied.push(error.contains("AccessDenied"));
            }
            denied
        }
    };
    // The visitor does not trust this authority, so an answer is an error of its own.
    assert_eq!(answers(Fallback::Refuse).await, [true, true]);
    assert_eq!(
        answers(Fallback::Nameless(Arc::clone(&leaf))).await,
        [true, false]
    );
    assert_eq!(answers(Fallback::Any(leaf)).await, [false, false]);
    let site = edge.sites.find(&"garden.example".parse().unwrap()).unwrap();
    edge.sites.replace_any(site);
    edge.forget_certificates();
    let any = raw(&edge, b"GET / HTTP/1.0\r\nHost: 127.0.0.1:1\r\n\r\n").await;
    assert!(any.starts_with("HTTP/1.0 200"), "{any}");
}

#[test]
fn certificate_files_are_checked_with_clear_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let make = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    make("one.example");
    make("two.example");
    fs::write(path("empty"), "").unwrap();
    fs::write(
        path("junk"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let load = |certificate: &str, key: &str| {
        Certificate::from_files(&path(certificate), &path(key)).map_err(|error| error.to_string())
    };
    let good = load("one.example.pem", "one.example.key").unwrap();
    assert_eq!(good.names(), ["one.example"]);
    assert_eq!(good.validity(UnixTime(1_800_000_000)), Validity::Valid);
    assert_eq!(good.validity(UnixTime(1_900_000_000)), Validity::Expired);
    let shown = |name: &str| path(name).display().to_string();
    let rows = [
        ("none", "one.example.key", format!("read {}", shown("none"))),
        ("one.example.pem", "none", format!("read {}", shown("none"))),
        (
            "empty",
            "one.example.key",
            format!("no certificate in PEM form in {}", shown("empty")),
        ),
        (
            "junk",
            "one.example.key",
            format!("{} is not a certificate that can be read", shown("junk")),
        ),
        (
            "one.example.pem",
            "empty",
            format!("no private key in PEM form in {}", shown("empty")),
        ),
        (
            "one.example.pem",
            "two.example.key",
            format!(
                "the private key in {} does not belong to the certificate in {}",
                shown("two.example.key"),
                shown("one.example.pem")
            ),
        ),
    ];
    for (certificate, key, sentence) in rows {
        assert_eq!(load(certificate, key).unwrap_err(), sentence);
    }
    let none = Certificate::from_files(&path("none"), &path("none"));
    assert!(matches!(none, Err(CertificateError::Read { .. })));
}

#[test]
fn the_local_authority_survives_a_restart() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let first = LocalCa::open(dir.path(), now()).unwrap();
    let second = LocalCa::open(dir.path(), now().plus(Duration::from_secs(99_999))).unwrap();
    assert_eq!(first.certificate_pem(), second.certificate_pem());
    let key = fs::metadata(dir.path().join("local-ca.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    fs::remove_file(dir.path().join("local-ca.key")).unwrap();
    let third = LocalCa::open(dir.path(), now()).unwrap();
    assert_ne!(
        first.certificate_pem(),
        third.certificate_pem(),
        "a new key, a new authority"
    );
    fs::write(dir.path().join("local-ca.key"), "junk").unwrap();
    let error = LocalCa::open(dir.path(), now()).err().unwrap().to_string();
    assert!(
        error.contains("local-ca.key is not a private key"),
        "{error}"
    );
}

#[test]
fn leaves_are_made_ahead_and_again_at_half_of_their_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = LocalCa::open(dir.path(), now()).unwrap();
    let hosts = |names: &[&str]| -> BTreeSet<Host> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    };
    let days = |count: u64| now().plus(Duration::from_secs(count * 86_400));
    let first = ca.ensure(&hosts(&["a.example"]), days(0)).unwrap();
    let again = ca.ensure(&hosts(&["a.example"]), days(40)).unwrap();
    assert!(Arc::ptr_eq(&first[0], &again[0]));
    let renewed = ca.ensure(&hosts(&["a.example"]), days(50)).unwrap();
    assert!(!Arc::ptr_eq(&first[0], &renewed[0]));
    let other = ca.ensure(&hosts(&["b.example"]), days(50)).unwrap();
    assert_eq!(other.len(), 1);
    assert_eq!(other[0].names(), ["b.example"]);
}

#[test]
fn certificates_without_a_name_in_them_are_refused() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let error = Certificate::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes());
    assert!(matches!(error, Err(CertificateError::NoNames(_))));
}

#[tokio::test]
async fn a_wildcard_answers_one_label_and_its_sites_share_a_connection() {
    let (_blobs, edge) = start();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["*.example".to_owned()];
    let pem = rcgen::CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let certificate = Certificate::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes());
    let table = Certificates::new([Arc::new(certificate.unwrap())], Fallback::Refuse);
    edge.tls.replace(table);
    let host = |name: &str| -> Host { name.parse().unwrap() };
    let rows = [
        ("garden.example", true),
        ("a.garden.example", false),
        ("example", false),
    ];
    for (name, covered) in rows {
        assert_eq!(edge.tls.is_valid_for(&host(name), now()), covered, "{name}");
        let same = edge
            .tls
            .is_same_certificate(&host("bakery.example"), &host(name));
        assert_eq!(same, covered, "{name}");
    }
}
