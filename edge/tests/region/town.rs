//! A region that gets its certificates from real Pebble.

use crate::harness::{Node, PORTS, run_by, text};
use crate::knot::KEY;
use crate::pebble::{Pebble, Setup};
use crate::scene::{Newcomer, PATIENCE, Region, approve, sign_pending, ticket, wait};
use crate::street::Street;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use verge_edge::cli::client::{Protocol, Visitor};
use verge_sync::clock::stopwatch;

/// Ninety days.
pub(crate) const LONG_S: u64 = 90 * 86_400;

/// A region at whose nodes the authority looks for http-01: node N at 127.0.0.(N+2), all at one port, or
/// each in a house of its own.
pub(crate) struct Town {
    pub(crate) region: Region,
    pub(crate) pebble: Pebble,
    /// What browsers of this town trust.
    pub(crate) root: tempfile::NamedTempFile,
    /// Another authority, from which owners have certificates.
    pub(crate) owners: (Issuer<'static, KeyPair>, tempfile::NamedTempFile),
    /// Whom the authority asks about names, if not its own server.
    dns: Option<SocketAddr>,
    /// Where each node has a house, and the authority the last.
    pub(crate) street: Option<Street>,
}

impl Town {
    /// Of so many providers with a node each; certificates live for `life_s`.
    pub(crate) fn of(count: usize, life_s: u64) -> Self {
        let setup = Setup {
            http_port: free_port(count),
            life_s,
            ..Setup::default()
        };
        Self::of_nodes(count, &setup, None)
    }

    /// The same on a street, on which nodes can be cut off one another.
    pub(crate) fn on_street(count: usize, life_s: u64) -> Self {
        let street = Street::of(count + 1);
        let setup = Setup {
            address: street.address(count).parse().unwrap(),
            life_s,
            ..Setup::default()
        };
        Self::of_nodes(count, &setup, Some(street))
    }

    fn of_nodes(count: usize, setup: &Setup, street: Option<Street>) -> Self {
        let mut town = Self::found_on(street, setup, "sites.test", "");
        for number in 1..count {
            town.join(number, setup.http_port);
        }
        // The authority always asks the last of them.
        let last = json!({ "ip": town.address(count - 1).to_string() });
        town.at_authority(|pebble| pebble.tell_dns("set-default-ipv4", &last));
        town
    }

    /// The first node, with `more` in its configuration.
    pub(crate) fn found(setup: &Setup, zone: &str, more: &str) -> Self {
        Self::found_on(None, setup, zone, more)
    }

    fn found_on(street: Option<Street>, setup: &Setup, zone: &str, more: &str) -> Self {
        let (pebble, issuing_root) = match &street {
            None => started(setup),
            Some(street) => street.inside(street.last(), || started(setup)),
        };
        let root = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(root.path(), issuing_root).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("n0");
        let mut town = Self {
            region: Region {
                nodes: Vec::new(),
                folder,
            },
            pebble,
            root,
            owners: authority(),
            dns: setup.dns,
            street,
        };
        town.init(&data, zone);
        town.set(&data, 0, setup.http_port);
        let path = data.join("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{config}\n{more}")).unwrap();
        let key = data.join("dns.key");
        std::fs::write(&key, KEY).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let node = Node::start_by(&data, town.runner(0));
        town.region.nodes.push(node);
        town
    }

    fn init(&self, data: &Path, zone: &str) {
        let mut command = run_by(&self.runner(0));
        command.args(["init", "--region=Test Street", "--provider=Corner"]);
        command.args(["--test", "--host-proof=none", "--admin-zone=nodes.test"]);
        command.arg(format!("--site-zone={zone}"));
        command.args(&PORTS[..4]).arg(self.listen_nodes(0));
        let output = command.arg("--data").arg(data).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    pub(crate) fn join(&mut self, number: usize, http_port: u16) {
        let provider = format!("P{number}");
        let data = self.region.new_data(&provider);
        let ticket = ticket(&self.region.nodes[0]);
        let (runner, port) = (self.runner(number), self.listen_nodes(number));
        let mut newcomer = Newcomer::ask_by(&runner, &data, &ticket, Some(&provider), &port);
        newcomer.reads("wait until");
        for node in &self.region.nodes {
            approve(node, &provider);
        }
        newcomer.becomes_a_member();
        self.set(&data, number, http_port);
        self.region.nodes.push(Node::start_by(&data, runner));
        self.region.all_in_step();
    }

    fn address(&self, number: usize) -> Ipv4Addr {
        match &self.street {
            None => address(number),
            Some(street) => street.address(number).parse().unwrap(),
        }
    }

    fn runner(&self, number: usize) -> Vec<String> {
        let street = self.street.as_ref();
        street.map_or_else(Vec::new, |street| street.runner(number))
    }

    fn listen_nodes(&self, number: usize) -> String {
        match &self.street {
            None => PORTS[4].to_owned(),
            Some(street) => format!("--listen-nodes={}:4420", street.address(number)),
        }
    }

    /// Sets what init does not: no CA of its own, the port, whom to trust and to ask.
    fn set(&self, data: &Path, number: usize, http_port: u16) {
        let api_root = data.join("api-root.pem");
        std::fs::write(api_root, self.pebble.root_pem()).unwrap();
        let (issued, owners) = (self.root.path().display(), self.owners.1.path().display());
        let roots = format!("roots = [\"api-root.pem\", \"{issued}\", \"{owners}\"]");
        let http = format!("http = [\"{}:{http_port}\"]", self.address(number));
        let dns = self.dns.unwrap_or(self.pebble.dns_address());
        let dns = format!("resolvers = [\"{dns}\"]");
        change(data, "ca = \"local\"", "");
        change(data, "http = [\"127.0.0.1:0\"]", &http);
        change(data, "roots = []", &roots);
        change(data, "resolvers = []", &dns);
        change(data, CHECKED, TRUSTED);
    }

    /// Sets certificates up at node 0, to be ordered by these, with the votes of all.
    pub(crate) fn set_up(&self, issuers: &[&str]) {
        self.set_up_at(&self.pebble.url(), issuers);
    }

    /// The same at another authority.
    pub(crate) fn set_up_at(&self, url: &str, issuers: &[&str]) {
        let mut arguments = vec!["cert", "setup", "--agree", "--contact=a@example.org"];
        arguments.extend(["--directory", url]);
        for issuer in issuers {
            arguments.extend(["--issuer", issuer]);
        }
        let nodes = &self.region.nodes;
        let said = nodes[0].verge_ok(&arguments);
        for node in nodes.iter().skip(1).take(nodes.len() / 2) {
            assert!(said.contains("votes"), "{said}");
            sign_pending(node);
        }
    }

    /// Waits until every node has the key of all that is wanted, and that is so many.
    pub(crate) fn all_certified(&self, count: usize) {
        for node in &self.region.nodes {
            wait(node, |status| has(status, count));
        }
    }

    /// What a visitor gets at a node over HTTPS.
    pub(crate) fn visit(&self, node: &Node, host: &str, path: &str) -> anyhow::Result<String> {
        let visitor = Visitor::new(node.ready().https.unwrap(), self.root.path())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answer = runtime.block_on(visitor.get(Protocol::Http1, host, path, "identity"))?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// What `act` gives, done where the authority is.
    pub(crate) fn at_authority<T: Send>(&self, act: impl FnOnce(&Pebble) -> T + Send) -> T {
        match &self.street {
            None => act(&self.pebble),
            Some(street) => street.inside(street.last(), || act(&self.pebble)),
        }
    }

    /// The certificate that a node shows for a host, at home.
    pub(crate) fn shown(&self, number: usize, host: &str) -> Option<CertificateDer<'static>> {
        let node = &self.region.nodes[number];
        match &self.street {
            None => shown(node, host),
            Some(street) => street.inside(number, || shown(node, host)),
        }
    }
}

/// As `verge init` writes it, and as most tests have it.
pub(crate) const CHECKED: &str = "clock = \"checked\"";
pub(crate) const TRUSTED: &str = "clock = \"trusted\"";

/// Changes a node's configuration.
pub(crate) fn change(data: &Path, from: &str, to: &str) {
    let path = data.join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    assert!(config.contains(from), "{from}: {config}");
    std::fs::write(&path, config.replacen(from, to, 1)).unwrap();
}

/// An authority, and the root of what it issues.
fn started(setup: &Setup) -> (Pebble, String) {
    let pebble = Pebble::start(setup);
    let root = pebble.issuing_root_pem();
    (pebble, root)
}

pub(crate) fn authority() -> (Issuer<'static, KeyPair>, tempfile::NamedTempFile) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), params.self_signed(&key).unwrap().pem()).unwrap();
    (Issuer::new(params, key), file)
}

pub(crate) fn has(status: &Value, count: usize) -> bool {
    let certificates = &status["certificates"];
    let is = |field: &str| certificates[field] == json!(count);
    is("wanted_count") && is("valid_count") && is("here_count")
}

/// Asks again and again, for what no status tells.
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let begun = stopwatch();
    while !is_so() {
        assert!(
            begun.elapsed() < PATIENCE,
            "what was waited for did not come"
        );
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(number + 2).unwrap())
}

/// A port that is free at every node's address.
pub(crate) fn free_port(count: usize) -> u16 {
    let is_free = |port: u16| {
        let mut numbers = 0..count;
        numbers.all(|number| TcpListener::bind((address(number), port)).is_ok())
    };
    let mut tries = (0..100).map(|_try| {
        let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        any.local_addr().unwrap().port()
    });
    tries.find(|port| is_free(*port)).unwrap()
}

/// The certificate that a node shows for a host.
pub(crate) fn shown(node: &Node, host: &str) -> Option<CertificateDer<'static>> {
    let address = node.ready().https.unwrap();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(["-servername", host])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    CertificateDer::from_pem_slice(&output.stdout).ok()
}

pub(crate) fn id_of(node: &Node) -> String {
    let status = crate::scene::status(node);
    status["provider"]["id"].as_str().unwrap().to_owned()
}

/// What a node says in the clear: the status, and the body.
pub(crate) fn plain(node: &Node, host: &str) -> (u16, String) {
    let address: SocketAddr = node.ready().http.unwrap();
    let output = Command::new("curl")
        .args(["-s", "-o", "-", "-w", "\n%{http_code}", "-H"])
        .arg(format!("Host: {host}"))
        .arg(format!("http://{address}/"))
        .output()
        .unwrap();
    let said = text(&output.stdout);
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// Somebody with a certificate and its key in two files.
pub(crate) struct Owner {
    folder: tempfile::TempDir,
}

impl Owner {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.folder.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Has a certificate for `host` from `issuer`.
    pub(crate) fn has(&self, host: &str, issuer: &Issuer<'_, KeyPair>) {
        let own = KeyPair::generate().unwrap();
        let leaf = asked(host).signed_by(&own, issuer).unwrap();
        self.write("chain.pem", &leaf.pem());
        self.write("key.pem", &own.serialize_pem());
    }

    pub(crate) fn import(&self, node: &Node) -> std::process::Output {
        let (chain, key) = (self.file("chain.pem"), self.file("key.pem"));
        node.verge(&["cert", "import", "--certificate", &chain, "--key", &key])
    }

    pub(crate) fn import_ok(&self, node: &Node) {
        let done = self.import(node);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }

    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file("chain.pem")).unwrap()
    }
}

pub(crate) fn asked(host: &str) -> CertificateParams {
    CertificateParams::new(vec![host.to_owned()]).unwrap()
}
