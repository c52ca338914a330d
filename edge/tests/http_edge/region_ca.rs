//! The region's own CA: for its own names, for no others, whoever holds a node's part of it.

use crate::support::edge::{Setup, now};
use crate::support::sample::{Blobs, file};
use crate::support::visitor::secure;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::RootCertStore;
use rustls::client::{WebPkiServerVerifier, danger::ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime as At};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use verge_edge::host::Host;
use verge_edge::lan::Lan;
use verge_edge::tls::region_ca::{self, ISSUER_FILE, ISSUER_KEY_FILE};
use verge_edge::tls::region_root::{INTERMEDIATE_LIFE, ROOT_FILE, ROOT_KEY_FILE, ZONES_MAX};
use verge_edge::tls::{CaCertificate, Certificates, Fallback, LocalCa, RegionCa, RegionRoot};
use verge_sync::clock::UnixTime;

const ZONES: [&str; 2] = ["street.internal", "sites.localhost"];

fn zones(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A root in a folder of its own, and a node with its part of it.
struct Scene {
    root_dir: tempfile::TempDir,
    data: tempfile::TempDir,
    root: RegionRoot,
}

impl Scene {
    fn new() -> Self {
        let root_dir = tempfile::tempdir().unwrap();
        let root = RegionRoot::make(root_dir.path(), &zones(&ZONES), now()).unwrap();
        let data = tempfile::tempdir().unwrap();
        let answer = root
            .sign(&region_ca::request(data.path()).unwrap(), now())
            .unwrap();
        region_ca::install(data.path(), &answer, now()).unwrap();
        Self {
            root_dir,
            data,
            root,
        }
    }

    fn root_pem(&self) -> String {
        fs::read_to_string(self.root_dir.path().join(ROOT_FILE)).unwrap()
    }

    /// What a thief of the node's key makes of it: a certificate for any name or address, with the
    /// chain behind it.
    fn stolen(&self, params: CertificateParams) -> Vec<String> {
        let read = |file: &str| fs::read_to_string(self.data.path().join(file)).unwrap();
        let issuer_pem = read(ISSUER_FILE);
        let issuer = thief(&issuer_pem, &read(ISSUER_KEY_FILE));
        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let leaf = params.signed_by(&leaf_key, &issuer).unwrap();
        vec![leaf.pem(), issuer_pem]
    }
}

/// Who signs with the key of a CA, and heeds nothing.
fn thief(ca_pem: &str, key_pem: &str) -> Issuer<'static, KeyPair> {
    let mut of = CertificateParams::default();
    of.distinguished_name = DistinguishedName::new();
    let name = CaCertificate::read(ca_pem).unwrap().name;
    of.distinguished_name.push(DnType::CommonName, name);
    Issuer::new(of, KeyPair::from_pem(key_pem).unwrap())
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 6, 1);
    params
}

/// What rustls, with webpki under it, says of `chain` for `name`.
fn webpki(root: &str, chain: &[String], name: &str) -> Result<(), String> {
    let der = |pem: &String| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(&root.to_owned())).unwrap();
    let provider = Arc::new(verge_edge::tls::provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let chain: Vec<_> = chain.iter().map(der).collect();
    let (leaf, rest) = chain.split_first().unwrap();
    let at = At::since_unix_epoch(Duration::from_secs(u64::try_from(now().0).unwrap()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let verifier = verifier.build().unwrap();
    let judged = verifier.verify_server_cert(leaf, rest, &name, &[], at);
    judged.map(drop).map_err(|error| error.to_string())
}

/// What `openssl verify` says.
fn openssl(root: &str, chain: &[String], check: [&str; 2]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (leaf, rest) = chain.split_first().unwrap();
    let output = Command::new("openssl")
        .arg("verify")
        .arg("-CAfile")
        .arg(write("root", root))
        .arg("-untrusted")
        .arg(write("rest", &rest.concat()))
        .args(check)
        .args(["-purpose", "sslserver"])
        .arg(write("leaf", leaf))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(text)
    }
}

#[tokio::test]
async fn visitors_who_trust_the_root_get_the_region_s_own_names() {
    let blobs = Blobs::new();
    let version = blobs.publish(&[file("index.html", "hello")]);
    let setup = Setup {
        hosts: vec!["garden.street.internal", "www.example.org"],
        ..Setup::default()
    };
    let mut edge = setup.start(&blobs, version);
    let scene = Scene::new();
    let mut ca = RegionCa::open(scene.data.path()).unwrap();
    let hosts = ["garden.street.internal", "www.example.org", "127.0.0.1"];
    let hosts: BTreeSet<Host> = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let leaves = ca.ensure(&hosts, now()).unwrap();
    let names: Vec<&String> = leaves.iter().flat_map(|leaf| leaf.names()).collect();
    assert_eq!(
        names,
        ["garden.street.internal"],
        "it is not asked for others"
    );
    edge.tls
        .replace(Certificates::new(leaves, Fallback::Refuse));
    edge.ca_pem = scene.root_pem();
    let stream = secure(&edge, "garden.street.internal", b"h2")
        .await
        .unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    assert_eq!(chain.len(), 2, "the root stays at home");
    assert!(secure(&edge, "www.example.org", b"h2").await.is_err());
}

#[test]
fn a_stolen_node_speaks_for_no_other_name() {
    let scene = Scene::new();
    let root = scene.root_pem();
    for (name, is_believed) in [
        ("garden.street.internal", true),
        ("street.internal", true),
        ("a.b.sites.localhost", true),
        ("www.example.org", false),
        ("mainstreet.internal", false),
        ("street.internal.example.org", false),
        ("internal", false),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
    ] {
        let chain = scene.stolen(leaf(name));
        let judged = webpki(&root, &chain, name);
        assert_eq!(judged.is_ok(), is_believed, "{name}: {judged:?}");
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        let option = if is_address {
            "-verify_ip"
        } else {
            "-verify_hostname"
        };
        let judged = openssl(&root, &chain, [option, name]);
        assert_eq!(judged.is_ok(), is_believed, "{name}: {judged:?}");
        if let Err(error) = judged {
            let is_reason = ["permitted subtree violation", "excluded subtree violation"];
            assert!(
                is_reason.iter().any(|reason| error.contains(reason)),
                "{error}"
            );
        }
    }
}

#[test]
fn a_stolen_node_makes_no_ca() {
    let scene = Scene::new();
    let root = scene.root_pem();
    let mut sub = leaf("ca.street.internal");
    sub.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    sub.distinguished_name = DistinguishedName::new();
    sub.distinguished_name.push(DnType::CommonName, "Sub");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let read = |file: &str| fs::read_to_string(scene.data.path().join(file)).unwrap();
    let mut of = CertificateParams::default();
    of.distinguished_name = DistinguishedName::new();
    let name = CaCertificate::read(&read(ISSUER_FILE)).unwrap().name;
    of.distinguished_name.push(DnType::CommonName, name);
    let issuer = Issuer::new(of, KeyPair::from_pem(&read(ISSUER_KEY_FILE)).unwrap());
    let sub_pem = sub.signed_by(&key, &issuer).unwrap().pem();
    let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let below = leaf("garden.street.internal");
    let below = below.signed_by(&leaf_key, &Issuer::new(sub, key)).unwrap();
    let chain = [below.pem(), sub_pem, read(ISSUER_FILE)];
    let name = "garden.street.internal";
    assert!(webpki(&root, &chain, name).is_err());
    let judged = openssl(&root, &chain, ["-verify_hostname", name]).unwrap_err();
    assert!(
        judged.contains("path length constraint exceeded"),
        "{judged}"
    );
}

#[test]
fn the_root_is_made_once_and_for_names_of_one_s_own() {
    let make = |dir: &Path, names: &[&str]| {
        let made = RegionRoot::make(dir, &zones(names), now());
        made.map(|root| root.certificate().clone())
            .map_err(|error| error.to_string())
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for wrong in [
        "org",
        "co.uk",
        "github.io",
        "",
        "Street.internal",
        "a b",
        "192.0.2.1",
        "[::1]",
        "x.",
    ] {
        let error = make(dir, &[wrong]).unwrap_err();
        assert!(error.contains("cannot be a zone"), "{wrong}: {error}");
    }
    assert!(make(dir, &[]).unwrap_err().contains("1 to 8 zones"));
    let many = vec!["street.internal"; ZONES_MAX + 1];
    assert!(make(dir, &many).unwrap_err().contains("not 9"));
    assert!(
        fs::read_dir(dir).unwrap().next().is_none(),
        "nothing was written"
    );
    let root = make(dir, &many[1..]).unwrap();
    assert_eq!(root.zones.len(), ZONES_MAX);
    let key = fs::metadata(dir.join(ROOT_KEY_FILE)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let again = make(dir, &["street.internal"]).unwrap_err();
    assert!(again.contains("a root is made once"), "{again}");
    // As browsers show it.
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(dir.join(ROOT_FILE))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.trim().ends_with(&root.fingerprint),
        "{shown} {root:?}"
    );
}

#[test]
fn a_further_node_and_a_renewal_need_the_root() {
    let scene = Scene::new();
    let further = tempfile::tempdir().unwrap();
    let missing = RegionCa::open(further.path()).err().unwrap().to_string();
    assert!(missing.contains("verge region ca request"), "{missing}");
    let request = region_ca::request(further.path()).unwrap();
    let later = now().plus(INTERMEDIATE_LIFE / 2);
    let root = RegionRoot::open(scene.root_dir.path()).unwrap();
    let answer = root.sign(&request, later).unwrap();
    // Not for another node.
    let error = region_ca::install(scene.data.path(), &answer, later).unwrap_err();
    assert!(error.to_string().contains("its key is not here"), "{error}");
    region_ca::install(further.path(), &answer, later).unwrap();
    let both = [scene.data.path(), further.path()].map(|data| RegionCa::open(data).unwrap());
    assert_eq!(both[0].root_pem(), both[1].root_pem());
    let key = fs::metadata(further.path().join(ISSUER_KEY_FILE)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    // A request that is out changes nothing; its answer does, with the same root.
    let before = fs::read_to_string(further.path().join(ISSUER_FILE)).unwrap();
    let request = region_ca::request(further.path()).unwrap();
    RegionCa::open(further.path()).unwrap();
    let answer = scene.root.sign(&request, later).unwrap();
    for _ in 0..2 {
        region_ca::install(further.path(), &answer, later).unwrap();
        assert_ne!(
            before,
            fs::read_to_string(further.path().join(ISSUER_FILE)).unwrap()
        );
    }
}

#[test]
fn what_was_changed_on_the_way_is_refused_with_a_sentence() {
    let scene = Scene::new();
    let data = scene.data.path();
    let request = region_ca::request(data).unwrap();
    let mut turned = request.clone().into_bytes();
    let middle = turned.len() / 2;
    turned[middle] = if turned[middle] == b'A' { b'B' } else { b'A' };
    let turned = String::from_utf8(turned).unwrap();
    let long = request.repeat(100);
    for wrong in ["", "junk", &turned, &scene.root_pem(), &long] {
        let error = scene.root.sign(wrong, now()).unwrap_err().to_string();
        assert!(error.starts_with("this is not a request"), "{error}");
    }
    let answer = scene.root.sign(&request, now()).unwrap();
    let other_root = tempfile::tempdir().unwrap();
    let other = RegionRoot::make(other_root.path(), &zones(&["other.internal"]), now()).unwrap();
    let other_pem = fs::read_to_string(other_root.path().join(ROOT_FILE)).unwrap();
    let mixed = answer.replace(&scene.root_pem(), &other_pem);
    let rows = [
        (String::new(), "two certificates"),
        (scene.root_pem(), "two certificates"),
        (answer.repeat(2), "two certificates"),
        (answer.repeat(20), "too long"),
        (scene.root_pem().repeat(2), "its key is not here"),
        (mixed, "visitors would not believe"),
    ];
    for (wrong, expected) in rows {
        let error = region_ca::install(data, &wrong, now())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let long_after = UnixTime(now().0 + 4 * 365 * 86_400);
    let error = region_ca::install(data, &answer, long_after)
        .unwrap_err()
        .to_string();
    assert!(error.contains("visitors would not believe"), "{error}");
    assert!(other.sign(&request, now()).is_ok());
    region_ca::install(data, &answer, now()).unwrap();
    fs::write(data.join(ISSUER_FILE), "junk").unwrap();
    let error = RegionCa::open(data).err().unwrap().to_string();
    assert!(error.contains("ask anew"), "{error}");
}

#[test]
fn what_is_installed_while_the_node_runs_is_used() {
    let scene = Scene::new();
    let data = scene.data.path();
    let mut ca = RegionCa::open(data).unwrap();
    let hosts = BTreeSet::from(["garden.street.internal".parse::<Host>().unwrap()]);
    let first = ca.ensure(&hosts, now()).unwrap();
    ca.refresh().unwrap();
    let same = ca.ensure(&hosts, now()).unwrap();
    assert!(Arc::ptr_eq(&first[0], &same[0]));
    let request = region_ca::request(data).unwrap();
    let answer = scene.root.sign(&request, now()).unwrap();
    region_ca::install(data, &answer, now()).unwrap();
    ca.refresh().unwrap();
    let renewed = ca.ensure(&hosts, now()).unwrap();
    assert!(!Arc::ptr_eq(&renewed[0], &first[0]));
    // What does not read changes nothing.
    fs::write(data.join(ISSUER_FILE), "junk").unwrap();
    assert!(ca.refresh().is_err());
    let kept = ca.ensure(&hosts, now()).unwrap();
    assert!(Arc::ptr_eq(&kept[0], &renewed[0]));
}

/// Whoever steals the key of a node's own CA speaks for names that nobody can register, and no others.
#[test]
fn the_ca_of_one_node_speaks_for_local_names_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = LocalCa::open(dir.path(), now()).unwrap();
    let key = fs::read_to_string(dir.path().join("local-ca.key")).unwrap();
    let root = ca.certificate_pem().to_owned();
    let thief = thief(&root, &key);
    for (name, is_believed) in [
        ("garden.sites.localhost", true),
        ("nas.local", true),
        ("garden.street.internal", true),
        ("garden.example", true),
        ("www.example.org", false),
        ("localhost.example.org", false),
        ("192.0.2.1", false),
    ] {
        let host: Host = name.parse().unwrap();
        let made = ca.ensure(&BTreeSet::from([host]), now()).unwrap();
        assert_eq!(made.len(), usize::from(is_believed), "{name}");
        let stolen = leaf(name)
            .signed_by(&KeyPair::generate().unwrap(), &thief)
            .unwrap();
        let judged = webpki(&root, &[stolen.pem()], name);
        assert_eq!(judged.is_ok(), is_believed, "{name}: {judged:?}");
    }
}

#[test]
fn the_page_for_the_network_says_how_far_a_ca_reaches() {
    let scene = Scene::new();
    let page = |pem: String| {
        let lan = Lan::new("verge.local".parse().unwrap(), Some(pem));
        String::from_utf8(lan.page().to_vec()).unwrap()
    };
    let of_the_region = page(scene.root_pem());
    let reach = "it can speak only for names in street.internal, sites.localhost";
    assert!(of_the_region.contains(reach), "{of_the_region}");
    let fingerprint = &scene.root.certificate().fingerprint;
    assert!(of_the_region.contains(fingerprint), "{of_the_region}");
    let dir = tempfile::tempdir().unwrap();
    let local = LocalCa::open(dir.path(), now()).unwrap();
    let of_the_node = page(local.certificate_pem().to_owned());
    let reach = "it can speak only for names in localhost, internal, local";
    assert!(of_the_node.contains(reach), "{of_the_node}");
    assert!(of_the_node.contains("(SHA-256)"), "{of_the_node}");
}
