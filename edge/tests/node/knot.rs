//! A real DNS server on a port of its own: Knot, which answers for the zones of a test.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Its zone.
pub(crate) const ZONE: &str = "example.test";
/// A zone whose file is missing: every question is answered with SERVFAIL.
pub(crate) const BROKEN_ZONE: &str = "broken.example";

/// The key that may change its zone, and one that may not.
pub(crate) const KEY_NAME: &str = "verge.test";
pub(crate) const IDLE_KEY_NAME: &str = "idle.test";
/// The secret of both.
pub(crate) const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A server that is running; it ends with the test.
pub(crate) struct Knot {
    folder: TempDir,
    child: Child,
    address: SocketAddr,
    serial: u32,
}

impl Knot {
    /// Starts a server whose zone has `records`, in the form of a zone file.
    pub(crate) fn start(records: &str) -> Self {
        // The port may be taken between the look and the start: another try.
        (0..10)
            .find_map(|_try| Self::try_start(records))
            .expect("knotd starts: `make setup-test` installs it")
    }

    fn try_start(records: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        std::fs::write(
            folder.path().join("knot.conf"),
            configuration(folder.path(), address),
        )
        .unwrap();
        write_zone(folder.path(), 1, records);
        let mut child = tool("knotd")
            .arg("-c")
            .arg(folder.path().join("knot.conf"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_up = lines
            .by_ref()
            .any(|line| line.unwrap().contains("server started"));
        // Keep the pipe from filling up.
        std::thread::spawn(move || lines.for_each(drop));
        if !is_up {
            child.wait().unwrap();
            return None;
        }
        Some(Self {
            folder,
            child,
            address,
            serial: 1,
        })
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts other records into the zone; they are in force when this returns.
    pub(crate) fn replace(&mut self, records: &str) {
        self.serial += 1;
        write_zone(self.folder.path(), self.serial, records);
        let done = tool("knotc")
            .arg("-c")
            .arg(self.folder.path().join("knot.conf"))
            .args(["-b", "zone-reload", ZONE])
            .stdout(Stdio::null())
            .status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Debian puts servers where a user's PATH does not look.
fn tool(name: &str) -> Command {
    let sbin = PathBuf::from("/usr/sbin").join(name);
    Command::new(if sbin.exists() { sbin } else { name.into() })
}

/// A port that is free for UDP and TCP.
fn free_address() -> SocketAddr {
    let try_one = || {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let address = udp.local_addr().ok()?;
        TcpListener::bind(address).ok().map(|_tcp| address)
    };
    (0..100).find_map(|_try| try_one()).unwrap()
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    let (ip, port) = (address.ip(), address.port());
    format!(
        "server:\n    rundir: \"{folder}\"\n    listen: {ip}@{port}\n    udp-workers: 1\n    \
         tcp-workers: 1\n    background-workers: 1\n\
         log:\n  - target: stdout\n    any: info\n\
         database:\n    storage: \"{folder}\"\n\
         template:\n  - id: default\n    storage: \"{folder}\"\n    zonefile-load: whole\n    \
         zonefile-sync: -1\n    journal-content: none\n\
         key:\n  - id: {KEY_NAME}\n    algorithm: hmac-sha256\n    secret: {KEY}\n\
         \x20 - id: {IDLE_KEY_NAME}\n    algorithm: hmac-sha256\n    secret: {KEY}\n\
         acl:\n  - id: update\n    key: {KEY_NAME}\n    action: update\n\
         zone:\n  - domain: {ZONE}\n    file: zone\n    acl: update\n\
         \x20 - domain: {BROKEN_ZONE}\n    file: missing\n"
    )
}

fn write_zone(folder: &Path, serial: u32, records: &str) {
    let mut text = format!(
        "$ORIGIN {ZONE}.\n$TTL 60\n@ SOA ns hostmaster {serial} 3600 600 86400 60\n@ NS ns\n\
         ns A 127.0.0.1\n"
    );
    writeln!(text, "{records}").unwrap();
    std::fs::write(folder.join("zone"), text).unwrap();
}
