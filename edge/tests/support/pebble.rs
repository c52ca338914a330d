//! Real Pebble and its DNS server, Debian packages, on free ports of loopback.

use crate::listening::listens;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use verge_edge::acme::zone::Change;
use verge_edge::acme::{Directory, Timeouts, Zone, ZoneError};
use verge_sync::clock::stopwatch;

/// For a server to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How it is set up.
pub(crate) struct Setup {
    /// Where both listen.
    pub(crate) address: Ipv4Addr,
    /// Of a hundred good nonces, so many are rejected.
    pub(crate) nonce_rejects_in_hundred: u32,
    /// The port at which it looks for http-01 on every address.
    pub(crate) http_port: u16,
    /// How long certificates live.
    pub(crate) life_s: u64,
    /// Whom it asks about names, if not its own DNS server.
    pub(crate) dns: Option<SocketAddr>,
    /// The only account that it knows from elsewhere, if it makes none for others: an id and a key in
    /// base64url.
    pub(crate) external: Option<(&'static str, &'static str)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            nonce_rejects_in_hundred: 0,
            http_port: 5002,
            life_s: 90 * 86_400,
            dns: None,
            external: None,
        }
    }
}

/// A running pair; it ends with its handle.
pub(crate) struct Pebble {
    pebble: Running,
    _dns: Running,
    api: SocketAddr,
    management: SocketAddr,
    dns_management: SocketAddr,
    dns_address: SocketAddr,
    root_pem: String,
    folder: TempDir,
}

impl Pebble {
    /// Starts both; every name has the address 127.0.0.1.
    pub(crate) fn start(setup: &Setup) -> Self {
        // A port may be taken between the look and the start: another try.
        (0..10)
            .find_map(|_try| Self::try_start(setup))
            .expect("pebble starts: `make setup-test` installs it")
    }

    fn try_start(setup: &Setup) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let [api, management, dns_address, dns_management] =
            [(); 4].map(|()| free_address(setup.address));
        let root_pem = write_certificate(folder.path(), setup.address);
        let keys: BTreeMap<&str, &str> = setup.external.into_iter().collect();
        let configuration = json!({"pebble": {
            "listenAddress": api.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": folder.path().join("api.pem"),
            "privateKey": folder.path().join("api.key"),
            "httpPort": setup.http_port, "tlsPort": 5001, "ocspResponderURL": "",
            "externalAccountBindingRequired": setup.external.is_some(),
            "externalAccountMACKeys": keys, "domainBlocklist": [],
            "certificateValidityPeriod": setup.life_s,
        }});
        let path = folder.path().join("pebble.json");
        std::fs::write(&path, configuration.to_string()).unwrap();
        let dns = Running::start(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                .args([
                    "-dns01",
                    &dns_address.to_string(),
                    "-management",
                    &dns_management.to_string(),
                ])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""]),
            &[dns_management],
        )?;
        let asked = setup.dns.unwrap_or(dns_address);
        let pebble = Running::start(
            Command::new("pebble")
                .arg("-config")
                .arg(&path)
                .args(["-dnsserver", &asked.to_string(), "-strict"])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                .env(
                    "PEBBLE_WFE_NONCEREJECT",
                    setup.nonce_rejects_in_hundred.to_string(),
                ),
            &[api, management],
        )?;
        let started = Self {
            pebble,
            _dns: dns,
            api,
            management,
            dns_management,
            dns_address,
            root_pem,
            folder,
        };
        // Another program may have taken a port in between: it has not our certificate, and does not
        // do as the DNS server is told.
        started.fetch(api, "/dir")?;
        started.fetch(management, "/roots/0")?;
        let default = json!({"ip": "127.0.0.1"});
        tell(dns_management, "set-default-ipv4", &default).ok()?;
        Some(started)
    }

    /// The URL of its directory.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/dir", self.api)
    }

    /// The authority of its own certificate; not of those that it issues.
    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// As our code knows it.
    pub(crate) fn directory(&self) -> Directory {
        Directory::new(&self.url(), Some(self.root_pem.clone())).unwrap()
    }

    /// The same, given up sooner.
    pub(crate) fn impatient_directory(&self, request_ms: u64) -> Directory {
        self.directory().with_timeouts(Timeouts {
            request: Duration::from_millis(request_ms),
            ..Timeouts::default()
        })
    }

    /// The authority of what it issues in this run.
    pub(crate) fn issuing_root_pem(&self) -> String {
        self.fetch(self.management, "/roots/0").unwrap()
    }

    /// A page of its own; nothing if another program answers.
    fn fetch(&self, address: SocketAddr, path: &str) -> Option<String> {
        let root = self.folder.path().join("root.pem");
        let curl = Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "30", "--cacert"])
            .arg(root)
            .arg(format!("https://{address}{path}"))
            .output()
            .unwrap();
        curl.status
            .success()
            .then(|| String::from_utf8(curl.stdout).unwrap())
    }

    /// Where DNS is answered.
    pub(crate) fn dns_address(&self) -> SocketAddr {
        self.dns_address
    }

    /// Tells the DNS server something: `add-a`, `add-caa`, `set-txt`, ...
    pub(crate) fn tell_dns(&self, verb: &str, what: &serde_json::Value) {
        tell(self.dns_management, verb, what).unwrap();
    }

    /// The zone of the DNS server: it answers for every name there is.
    pub(crate) fn zone(&self) -> PebbleZone {
        PebbleZone(self.dns_management)
    }

    /// How many certificates it issued.
    pub(crate) fn certificate_count(&self) -> usize {
        let lines = self.pebble.lines.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.contains("Issued certificate serial"))
            .count()
    }

    /// It answers nothing more, and keeps every connection.
    pub(crate) fn pause(&self) {
        self.pebble.signal(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn go_on(&self) {
        self.pebble.signal(Signal::CONT);
    }
}

/// Texts for dns-01.
pub(crate) struct PebbleZone(SocketAddr);

impl Zone for PebbleZone {
    fn set_txt<'a>(&'a self, name: &'a str, value: &'a str) -> Change<'a> {
        let what = json!({"host": format!("{name}."), "value": value});
        Box::pin(std::future::ready(
            tell(self.0, "set-txt", &what).map_err(unreachable(name)),
        ))
    }

    /// Takes all of them away: this server knows no other way.
    fn remove_txt<'a>(&'a self, name: &'a str, _value: &'a str) -> Change<'a> {
        let what = json!({"host": format!("{name}.")});
        Box::pin(std::future::ready(
            tell(self.0, "clear-txt", &what).map_err(unreachable(name)),
        ))
    }
}

fn unreachable(name: &str) -> impl Fn(std::io::Error) -> ZoneError {
    move |error| ZoneError::Unreachable {
        name: name.to_owned(),
        why: error.to_string(),
    }
}

fn tell(address: SocketAddr, verb: &str, what: &serde_json::Value) -> std::io::Result<()> {
    let body = what.to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /{verb} HTTP/1.1\r\nHost: dns\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(std::io::Error::other(answer))
    }
}

/// A program, and what it said.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Nothing if it ended before it listened everywhere, or never does.
    fn start(command: &mut Command, addresses: &[SocketAddr]) -> Option<Self> {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("`make setup-test` installs it");
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .for_each(|line| read.lock().unwrap().push(line));
        });
        let mut running = Self { child, lines };
        let started = stopwatch();
        for address in addresses {
            while !listens(*address) {
                // One of them goes on without the port that it did not get.
                let is_over = running.child.try_wait().unwrap().is_some();
                if is_over || started.elapsed() > START_TIMEOUT {
                    return None;
                }
                std::thread::yield_now();
            }
        }
        Some(running)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also ends one that is stopped.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that is free for UDP and TCP, and that no other test here was given.
fn free_address(address: Ipv4Addr) -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    let try_one = || {
        let udp = UdpSocket::bind((address, 0)).ok()?;
        let address = udp.local_addr().ok()?;
        TcpListener::bind(address).ok()?;
        GIVEN.lock().unwrap().insert(address).then_some(address)
    };
    (0..100).find_map(|_try| try_one()).unwrap()
}

/// The certificate of its API, which the package lacks; returns its authority.
fn write_certificate(folder: &Path, address: Ipv4Addr) -> String {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut root = CertificateParams::default();
    // With the name that the leaf has too, OpenSSL takes the leaf for its own issuer.
    root.distinguished_name
        .push(DnType::CommonName, "Authority of the API");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let params = CertificateParams::new(vec![address.to_string()]).unwrap();
    let leaf = params
        .signed_by(&key, &Issuer::new(root, root_key))
        .unwrap();
    std::fs::write(folder.join("api.pem"), leaf.pem()).unwrap();
    std::fs::write(folder.join("root.pem"), &root_pem).unwrap();
    std::fs::write(folder.join("api.key"), key.serialize_pem()).unwrap();
    root_pem
}
