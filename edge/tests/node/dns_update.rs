//! The zone driver against a real DNS server.

use crate::harness::{block_on, init, text, verge};
use crate::knot::{IDLE_KEY_NAME, KEY, KEY_NAME, Knot, ZONE};
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use verge_edge::config;
use verge_edge::dns::addresses::HostAddresses;
use verge_edge::dns::{DnsUpdate, Refusal, UpdateError};
use verge_edge::hosts::{DnsResolver, Resolver};
use verge_sync::clock::{Clock, UnixTime};

const DAY: Duration = Duration::from_secs(86_400);
const CHALLENGE: &str = "_acme-challenge.garden.example.test";

fn settings(server: SocketAddr) -> config::DnsUpdate {
    config::DnsUpdate {
        server,
        zone: ZONE.to_owned(),
        key_name: KEY_NAME.to_owned(),
        key_file: "key".into(),
        answers_from: Vec::new(),
        addresses: false,
    }
}

fn open(settings: &config::DnsUpdate, secret: &str, clock: Clock) -> DnsUpdate {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, secret).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    DnsUpdate::open(settings, folder.path(), clock).unwrap()
}

fn driver(server: SocketAddr) -> DnsUpdate {
    open(&settings(server), KEY, Clock::System)
}

/// The texts that the server answers with, sorted.
fn texts(knot: &Knot, name: &str) -> Vec<String> {
    let resolver = DnsResolver::new(vec![knot.address()]);
    let mut texts = block_on(async { resolver.texts(name).await.unwrap() });
    texts.sort();
    texts
}

#[test]
fn a_text_is_added_beside_another_and_removed_alone() {
    let knot = Knot::start("garden A 192.0.2.1\n");
    let driver = driver(knot.address());
    block_on(async {
        driver.check().await.unwrap();
        driver.set_txt(CHALLENGE, "one").await.unwrap();
        driver.set_txt(CHALLENGE, "two").await.unwrap();
        // Once more is no error, and no second record.
        driver.set_txt(CHALLENGE, "two").await.unwrap();
    });
    assert_eq!(texts(&knot, CHALLENGE), ["one", "two"]);
    block_on(async {
        driver.remove_txt(CHALLENGE, "one").await.unwrap();
        driver.remove_txt(CHALLENGE, "never there").await.unwrap();
    });
    assert_eq!(texts(&knot, CHALLENGE), ["two"]);
    // In several parts.
    let long = "x".repeat(1024);
    block_on(async { driver.set_txt("Long.Example.TEST.", &long).await.unwrap() });
    let longer = "x".repeat(1025);
    let error = block_on(async { driver.set_txt(CHALLENGE, &longer).await.unwrap_err() });
    assert!(matches!(error, UpdateError::TextLength(_)), "{error}");
}

#[test]
fn the_addresses_of_a_host_are_put_in_place_of_the_old_ones() {
    let knot = Knot::start(
        "garden A 192.0.2.1\ngarden AAAA 2001:db8::1\ngarden TXT stays\nled CNAME garden\n",
    );
    let driver = driver(knot.address()).with_patience(Duration::ZERO);
    let both = HostAddresses {
        ipv4: vec![Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 3)],
        ipv6: vec!["2001:db8::2".parse().unwrap()],
    };
    let only_ipv4 = HostAddresses {
        ipv4: vec![Ipv4Addr::new(192, 0, 2, 3)],
        ipv6: Vec::new(),
    };
    // That it is answered with is what the driver waits for.
    for addresses in [&both, &only_ipv4, &HostAddresses::default(), &both] {
        block_on(async {
            driver
                .set_address("garden.example.test", addresses)
                .await
                .unwrap()
        });
        block_on(async {
            driver
                .set_address("new.example.test", addresses)
                .await
                .unwrap()
        });
    }
    assert_eq!(texts(&knot, "garden.example.test"), ["stays"]);
    // A server leaves an alias alone (RFC 2136 section 3.4.2.2) and does not say so.
    let error = block_on(async {
        driver
            .set_address("led.example.test", &both)
            .await
            .unwrap_err()
    });
    assert!(matches!(error, UpdateError::NotSeen { .. }), "{error}");
    assert!(!error.is_refusal());
}

fn refusal(driver: &DnsUpdate) -> (Refusal, bool) {
    let error = block_on(async { driver.set_txt(CHALLENGE, "one").await.unwrap_err() });
    let is_refusal = error.is_refusal();
    match error {
        UpdateError::Refused { refusal, .. } => (refusal, is_refusal),
        other => panic!("{other}"),
    }
}

#[test]
fn refusals_are_told_apart() {
    let knot = Knot::start("");
    let settings = settings(knot.address());
    let unknown_key = config::DnsUpdate {
        key_name: "unknown.test".to_owned(),
        ..settings.clone()
    };
    let other_secret = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
    let idle_key = config::DnsUpdate {
        key_name: IDLE_KEY_NAME.to_owned(),
        ..settings.clone()
    };
    let rows = [
        (open(&unknown_key, KEY, Clock::System), Refusal::UnknownKey),
        (
            open(&settings, other_secret, Clock::System),
            Refusal::WrongKey,
        ),
        // Of a key that may not change this zone, Knot says the same.
        (open(&idle_key, KEY, Clock::System), Refusal::UnknownKey),
    ];
    for (driver, expected) in rows {
        assert_eq!(refusal(&driver), (expected, true));
        assert_eq!(texts(&knot, CHALLENGE), Vec::<String>::new());
    }
    let now = Clock::System.now();
    for wrong in [UnixTime(now.0 - 86_400), now.plus(DAY), UnixTime(0)] {
        let driver = open(&settings, KEY, Clock::fixed(wrong));
        let (refusal, is_refusal) = refusal(&driver);
        let Refusal::Clock(Some(theirs)) = refusal else {
            panic!("{refusal}");
        };
        assert!(!is_refusal, "clocks are set");
        assert!(i64::try_from(theirs).unwrap() >= now.0, "{theirs}");
        let words = Refusal::Clock(Some(theirs)).to_string();
        assert!(words.contains("BADTIME"), "{words}");
    }
}

#[test]
fn other_zones_are_not_touched() {
    let knot = Knot::start("");
    let other = config::DnsUpdate {
        zone: "elsewhere.example".to_owned(),
        ..settings(knot.address())
    };
    let driver = open(&other, KEY, Clock::System);
    let name = "_acme-challenge.elsewhere.example";
    let error = block_on(async { driver.set_txt(name, "one").await.unwrap_err() });
    assert!(error.to_string().contains("NOTAUTH"), "{error}");
    // Nobody is even asked about names outside of the zone.
    let driver = crate::dns_update::driver(knot.address());
    for name in [
        "example.com",
        "org",
        "badexample.test",
        "",
        ".",
        "a..example.test",
    ] {
        let error = block_on(async { driver.set_txt(name, "one").await.unwrap_err() });
        assert!(matches!(error, UpdateError::Name { .. }), "{name}: {error}");
        assert!(error.is_refusal());
    }
}

#[test]
fn servers_that_are_away_or_strange_are_named() {
    let nobody = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let error = block_on(async { driver(nobody).check().await.unwrap_err() });
    assert!(matches!(error, UpdateError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("refused") && !error.is_refusal(),
        "{error}"
    );
    // Somebody who says yes without the key.
    let forger = forger();
    let error = block_on(async { driver(forger).check().await.unwrap_err() });
    assert!(matches!(error, UpdateError::Unverified { .. }), "{error}");
}

#[test]
fn a_change_counts_when_every_server_of_the_zone_answers_with_it() {
    let knot = Knot::start("");
    let late = Knot::start("");
    let both = config::DnsUpdate {
        answers_from: vec![knot.address(), late.address()],
        ..settings(knot.address())
    };
    let driver = open(&both, KEY, Clock::System).with_patience(Duration::ZERO);
    let error = block_on(async { driver.set_txt(CHALLENGE, "one").await.unwrap_err() });
    let UpdateError::NotSeen { server, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(server, late.address());
    let follows = crate::dns_update::driver(late.address());
    block_on(async {
        follows.set_txt(CHALLENGE, "one").await.unwrap();
        driver.set_txt(CHALLENGE, "one").await.unwrap();
    });
}

#[test]
fn no_key_is_shown_in_words_or_logs() {
    let knot = Knot::start("");
    let driver = driver(knot.address());
    let shown = format!("{driver:?}");
    assert!(shown.contains(KEY_NAME) && !shown.contains(KEY), "{shown}");
    let error = DnsUpdate::open(
        &settings(knot.address()),
        Path::new("/nowhere"),
        Clock::System,
    );
    assert!(error.unwrap_err().to_string().contains("/nowhere/key"));
}

#[test]
fn a_key_that_others_can_read_keeps_the_node_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    init(&data);
    let path = data.join("config.toml");
    let mut config = fs::read_to_string(&path).unwrap();
    config.push_str(
        "\n[dns_update]\nserver = \"127.0.0.1:53\"\nzone = \"example.test\"\n\
         key_name = \"k\"\nkey_file = \"key\"\n",
    );
    fs::write(&path, config).unwrap();
    fs::write(data.join("key"), KEY).unwrap();
    for (mode, is_fine) in [(0o644, false), (0o600, true)] {
        fs::set_permissions(data.join("key"), Permissions::from_mode(mode)).unwrap();
        let output = verge(&data, &["config", "check"]);
        assert_eq!(output.status.code(), Some(if is_fine { 0 } else { 78 }));
        let words = text(&output.stderr);
        assert_eq!(words.contains("chmod 600"), !is_fine, "{words}");
    }
}

/// Answers every message with itself, marked as an answer without an error.
fn forger() -> SocketAddr {
    use std::io::{Read, Write};
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).unwrap();
        message[2] |= 0x80;
        stream.write_all(&[&length[..], &message].concat()).unwrap();
    });
    address
}
