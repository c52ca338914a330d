//! Three ways to stand: own ports, behind a TCP passthrough, behind an HTTP proxy.

use super::{Setup, start, start_plain};
use crate::support::edge::TestEdge;
use crate::support::visitor::{SECURE, Visitor, raw};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use verge_edge::addresses::{Network, Proxies};
use verge_edge::listen::Limits;

const REQUEST: &str = "GET /a.txt HTTP/1.1\r\nHost: garden.example\r\nConnection: close\r\n";

fn loopback() -> Vec<Network> {
    vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]
}

fn elsewhere() -> Vec<Network> {
    vec!["192.0.2.0/24".parse().unwrap()]
}

fn behind_tcp_proxy() -> Setup {
    Setup {
        proxies: Proxies {
            proxy_protocol_from: loopback(),
            forwarded_from: Vec::new(),
        },
        limits: Limits {
            connection_per_address_count_max: 2,
            ..Limits::default()
        },
        ..Setup::default()
    }
}

fn behind_http_proxy() -> Setup {
    Setup {
        proxies: Proxies {
            proxy_protocol_from: Vec::new(),
            forwarded_from: loopback(),
        },
        ..Setup::default()
    }
}

/// The word of a proxy that speaks HTTP/2, in turn with that of one that does not.
#[tokio::test]
async fn an_http_proxy_may_speak_either_protocol() {
    let (_blobs, edge) = start(behind_http_proxy());
    let (from, https) = (
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-proto", "https"),
    );
    let rows: &[(&[(&str, &str)], u16)] = &[
        (&[from, https], 200),
        (&[from, ("x-forwarded-proto", "http")], 308),
        (&[from, https, ("x-forwarded-host", "other.example")], 421),
        (&[from, https, ("x-forwarded-host", "garden.example")], 200),
        (&[from, ("x-forwarded-proto", "gopher")], 400),
        (&[https], 400),
        (&[], 400),
    ];
    for via in SECURE {
        for (lines, status) in rows {
            let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
            let answer = visitor.get("/a.txt", lines).await;
            assert_eq!(answer.status, *status, "{via:?} {lines:?}");
        }
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let lines = [from, https, ("x-forwarded-host", "garden.example")];
        let answer = visitor.ask("GET", "upstream", "/a.txt", &lines).await;
        assert_eq!(answer.body, "first", "{via:?}");
    }
}

/// A PROXY protocol header for a visitor at `address`.
fn proxy_header(address: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend(address);
    bytes.extend([127, 0, 0, 1, 0x30, 0x39, 0, 80]);
    bytes
}

/// Everything that comes; closing with bytes unread is a reset, and as good an end.
async fn ask(edge: &TestEdge, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut out = Vec::new();
    drop(stream.read_to_end(&mut out).await);
    String::from_utf8_lossy(&out).into_owned()
}

#[tokio::test]
async fn on_own_ports_nobody_is_believed() {
    for proxies in [
        Proxies::default(),
        Proxies {
            proxy_protocol_from: elsewhere(),
            forwarded_from: elsewhere(),
        },
    ] {
        let setup = Setup {
            proxies,
            ..Setup::default()
        };
        let (_blobs, edge) = start(setup);
        let lines = "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n\
                     X-Forwarded-Host: other.example\r\n\r\n";
        let answer = raw(&edge, format!("{REQUEST}{lines}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        assert!(
            answer.contains("location: https://garden.example:"),
            "{answer}"
        );
        let header = proxy_header([192, 0, 2, 9]);
        let answer = ask(&edge, &[&header[..], REQUEST.as_bytes(), b"\r\n"].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn behind_a_tcp_passthrough_each_connection_begins_with_a_header() {
    let (_blobs, edge) = start_plain(behind_tcp_proxy());
    let request = format!("{REQUEST}\r\n");
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    let text = b"PROXY TCP4 192.0.2.9 127.0.0.1 1 80\r\n".to_vec();
    let rows = [
        (proxy_header([192, 0, 2, 9]), true),
        (local, true),
        (text, false),
        (Vec::new(), false),
    ];
    for (header, is_served) in rows {
        let answer = ask(&edge, &[&header[..], request.as_bytes()].concat()).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), is_served, "{answer}");
        assert_eq!(answer.is_empty(), !is_served, "{answer}");
    }
}

#[tokio::test]
async fn a_passthrough_carries_tls_too() {
    let (_blobs, edge) = start(behind_tcp_proxy());
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(edge.ca_pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(verge_edge::tls::provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for (header, is_served) in [(proxy_header([192, 0, 2, 9]), true), (Vec::new(), false)] {
        let mut stream = TcpStream::connect(edge.https()).await.unwrap();
        stream.write_all(&header).await.unwrap();
        let name = ServerName::try_from("garden.example").unwrap();
        let shaken = connector.connect(name, stream).await;
        assert_eq!(shaken.is_ok(), is_served);
        if let Ok(mut stream) = shaken {
            let request = format!("{REQUEST}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_address_holds_so_many_connections_and_no_more() {
    let (_blobs, edge) = start_plain(behind_tcp_proxy());
    let request = b"GET /a.txt HTTP/1.1\r\nHost: garden.example\r\n\r\n";
    let mut some = [0; 512];
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        let header = proxy_header([192, 0, 2, 9]);
        stream
            .write_all(&[&header[..], request].concat())
            .await
            .unwrap();
        assert!(stream.read(&mut some).await.unwrap() > 0);
        open.push(stream);
    }
    let last = format!("{REQUEST}\r\n");
    let from = |address| [&proxy_header(address)[..], last.as_bytes()].concat();
    assert_eq!(ask(&edge, &from([192, 0, 2, 9])).await, "");
    let other = ask(&edge, &from([192, 0, 2, 8])).await;
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
    // A place is free when the edge has seen the end of the one before.
    open.clear();
    loop {
        let again = ask(&edge, &from([192, 0, 2, 9])).await;
        if again.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert_eq!(again, "");
    }
}

#[tokio::test]
async fn behind_an_http_proxy_its_word_counts() {
    let (_blobs, edge) = start(behind_http_proxy());
    let from = "X-Forwarded-For: 192.0.2.9\r\n";
    let rows = [
        (format!("{from}X-Forwarded-Proto: https\r\n"), "200"),
        (format!("{from}X-Forwarded-Proto: http\r\n"), "308"),
        (
            format!("{from}X-Forwarded-Proto: https\r\nX-Forwarded-Host: other.example\r\n"),
            "421",
        ),
        (format!("{from}X-Forwarded-Proto: gopher\r\n"), "400"),
        (from.to_owned(), "400"),
        ("X-Forwarded-Proto: https\r\n".to_owned(), "400"),
        (String::new(), "400"),
    ];
    for (lines, status) in rows {
        let answer = raw(&edge, format!("{REQUEST}{lines}\r\n").as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{lines}: {answer}");
    }
    let through = "GET /a.txt HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n";
    let lines =
        format!("{from}X-Forwarded-Proto: https\r\nX-Forwarded-Host: garden.example\r\n\r\n");
    let answer = raw(&edge, format!("{through}{lines}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
