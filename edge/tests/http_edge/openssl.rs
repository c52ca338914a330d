//! The same handshakes as OpenSSL sees them.

use crate::support::edge::{Setup, TestEdge};
use crate::support::sample::{Blobs, file};
use std::process::{Command, Stdio};
use verge_edge::tls::KeyExchange;

struct Scene {
    edge: TestEdge,
    folder: tempfile::TempDir,
    _blobs: Blobs,
}

impl Scene {
    fn new() -> Self {
        let blobs = Blobs::new();
        let version = blobs.publish(&[file("index.html", "hello")]);
        let setup = Setup {
            key_exchange: KeyExchange::PostQuantum,
            ..Setup::default()
        };
        let edge = setup.start(&blobs, version);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &edge.ca_pem).unwrap();
        Self {
            edge,
            folder,
            _blobs: blobs,
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What `openssl s_client` says of one connection.
    fn s_client(&self, arguments: &[&str]) -> String {
        let address = self.edge.https().to_string();
        let ca = self.file("ca.pem");
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-CAfile", &ca])
            .args(["-verify_return_error"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let [out, error] = [output.stdout, output.stderr].map(|bytes| text(&bytes));
        format!("{out}{error}")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const NAMED: [&str; 4] = [
    "-servername",
    "garden.example",
    "-verify_hostname",
    "garden.example",
];

#[test]
fn openssl_agrees_on_both_versions_and_nothing_older() {
    let scene = Scene::new();
    let rows: [(&[&str], &str); 5] = [
        (&[], "TLSv1.3"),
        (
            &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (&["-tls1_2"], "TLSv1.2"),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (&["-alpn", "h2,http/1.1"], "ALPN protocol: h2"),
    ];
    for (arguments, expected) in rows {
        let said = scene.s_client(&[&NAMED, arguments].concat());
        assert!(said.contains("Verification: OK"), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("Early data was accepted"), "{said}");
    }
    let refused: [&[&str]; 4] = [
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
    ];
    for arguments in refused {
        let said = scene.s_client(&[&NAMED, arguments].concat());
        assert!(
            said.contains("no peer certificate available"),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn openssl_is_refused_without_a_name_of_ours() {
    let scene = Scene::new();
    for arguments in [&["-noservername"][..], &["-servername", "other.example"]] {
        let said = scene.s_client(arguments);
        assert!(
            said.contains("alert access denied"),
            "{arguments:?}: {said}"
        );
        assert!(said.contains("no peer certificate available"), "{said}");
    }
}

#[test]
fn openssl_comes_back_by_ticket() {
    let scene = Scene::new();
    let session = scene.file("session");
    // Of TLS 1.3 the ticket comes after the handshake, with the answer to a request.
    for version in ["-tls1_2", "-tls1_3"] {
        let request = b"GET / HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n\r\n";
        let visit = |option: &str| {
            let address = scene.edge.https().to_string();
            let mut child = Command::new("openssl")
                .args(["s_client", "-ign_eof", "-connect", &address, version])
                .args(["-CAfile", &scene.file("ca.pem"), option, &session])
                .args(NAMED)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), request).unwrap();
            text(&child.wait_with_output().unwrap().stdout)
        };
        let first = visit("-sess_out");
        assert!(
            first.contains("New, TLSv1") && first.contains("hello"),
            "{first}"
        );
        let again = visit("-sess_in");
        assert!(
            again.contains("Reused, TLSv1") && again.contains("hello"),
            "{again}"
        );
        assert!(!again.contains("Early data was accepted"), "{again}");
    }
}
