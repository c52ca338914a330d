//! What TLS costs, for `benches/tls`: memory of certificates, work of handshakes, and a visitor that
//! makes them over the network.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a measuring tool: its answers go to a person, and what fails ends it"
)]

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, NamedGroup, RootCertStore, ServerConnection,
};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use verge_edge::tls::{Certificate, Certificates, Fallback, KeyExchange, TlsResolver};
use verge_sync::clock::stopwatch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOST: &str = "bench.example";
/// What timestamps of logs and policies add to a certificate of a public authority.
const PUBLIC_EXTRA_BYTES: usize = 450;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["memory", count] => memory(count.parse().unwrap()),
        ["hold", folder] => hold(Path::new(folder)),
        ["work"] => work(),
        ["make", folder] => make(Path::new(folder)),
        ["shake", address, ca, group, kind, count] => {
            let client = client(&fs::read(ca).unwrap(), group, *kind == "resumed");
            shake(address.parse().unwrap(), &client, count.parse().unwrap());
        }
        ["idle", address, ca, count] => {
            let client = client(&fs::read(ca).unwrap(), "x25519", false);
            idle(address.parse().unwrap(), &client, count.parse().unwrap());
        }
        _ => panic!("see benches/tls"),
    }
}

/// A certificate authority like a public one's intermediate, and its certificate.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.custom_extensions = vec![padding()];
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

fn padding() -> CustomExtension {
    let mut bytes = vec![0; PUBLIC_EXTRA_BYTES];
    // As those are, they have no pattern.
    getrandom::fill(&mut bytes).unwrap();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], bytes)
}

/// A chain of two and the key of its leaf.
fn chain(name: &str, issuer: &Issuer<'_, KeyPair>, issuer_pem: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.custom_extensions = vec![padding()];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, issuer).unwrap();
    (leaf.pem() + issuer_pem, key.serialize_pem())
}

/// Files for servers: `chain.pem`, `key.pem`, and `ca.pem` for visitors.
fn make(folder: &Path) {
    let (issuer, issuer_pem) = authority();
    let (chain, key) = chain(HOST, &issuer, &issuer_pem);
    for (file, text) in [
        ("chain.pem", chain),
        ("key.pem", key),
        ("ca.pem", issuer_pem),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
}

/// Writes the certificates to files, so that what making them leaves behind is not counted.
fn memory(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, issuer_pem) = authority();
    for number in 0..count {
        let (chain, key) = chain(&format!("s{number}.bench.example"), &issuer, &issuer_pem);
        fs::write(folder.path().join(format!("{number}.pem")), chain).unwrap();
        fs::write(folder.path().join(format!("{number}.key")), key).unwrap();
    }
    let own = std::env::current_exe().unwrap();
    let held = Command::new(own).arg("hold").arg(folder.path()).status();
    assert!(held.unwrap().success());
}

fn hold(folder: &Path) {
    let read = |number: usize| {
        let file = |kind: &str| folder.join(format!("{number}.{kind}"));
        let chain = file("pem");
        let certificate = chain
            .exists()
            .then(|| Certificate::from_files(&chain, &file("key")));
        certificate.map(|certificate| Arc::new(certificate.unwrap()))
    };
    // The first brings what is there once.
    let resolver = TlsResolver::new(Certificates::new(read(0), Fallback::Refuse));
    let before = pss_kib();
    let all = (0..).map_while(read);
    let table = Certificates::new(all, Fallback::Refuse);
    resolver.replace(table);
    let kib = pss_kib().saturating_sub(before);
    let count = fs::read_dir(folder).unwrap().count() / 2;
    let wire = fs::read(folder.join("0.pem")).unwrap();
    let wire: usize = CertificateDer::pem_slice_iter(&wire)
        .map(|der| der.unwrap().len())
        .sum();
    println!(
        "{count} certificates with chains of {wire} bytes: {:.1} MiB, {} bytes each",
        f64::from(u32::try_from(kib).unwrap()) / 1024.0,
        kib * 1024 / count.max(1)
    );
}

fn pss_kib() -> usize {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Time that the server's side of handshakes takes, in this process, without a network: the median.
fn work() {
    const ROUNDS: usize = 2_000;
    let (issuer, issuer_pem) = authority();
    let (chain, key) = chain(HOST, &issuer, &issuer_pem);
    let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let certificates = Certificates::new([Arc::new(certificate)], Fallback::Refuse);
    let resolver = Arc::new(TlsResolver::new(certificates));
    let mut sides: Vec<Sides> = [
        ("hybrid full", KeyExchange::PostQuantum, false, false),
        ("x25519 full", KeyExchange::Classical, false, false),
        ("hybrid resumed", KeyExchange::PostQuantum, true, false),
        ("x25519 resumed", KeyExchange::Classical, true, false),
        ("hybrid full, brotli", KeyExchange::PostQuantum, false, true),
    ]
    .map(|row| Sides::new(row, &resolver, &issuer_pem))
    .into();
    // Interleaved: what else the machine does meets all of them.
    for _ in 0..ROUNDS {
        for sides in &mut sides {
            let (time, sent, received) = handshake(&sides.server, &sides.client);
            sides.times.push(time);
            sides.bytes = (sent, received);
        }
    }
    println!(
        "{:<22} {:>8} {:>10} {:>10}",
        "server's side", "us", "sent", "received"
    );
    for sides in &mut sides {
        sides.times.sort();
        let micros = sides.times[ROUNDS / 2].as_nanos() / 100;
        let (name, (sent, received)) = (sides.name, sides.bytes);
        println!(
            "{name:<22} {:>6}.{} {sent:>10} {received:>10}",
            micros / 10,
            micros % 10
        );
    }
    compression(&chain);
}

/// A server and its visitor, and what their handshakes took.
struct Sides {
    name: &'static str,
    server: Arc<rustls::ServerConfig>,
    client: Arc<ClientConfig>,
    times: Vec<Duration>,
    /// Of the last one: sent, and received.
    bytes: (usize, usize),
}

impl Sides {
    fn new(
        (name, exchange, resumes, compresses): (&'static str, KeyExchange, bool, bool),
        resolver: &Arc<TlsResolver>,
        ca: &str,
    ) -> Self {
        let mut server = verge_edge::tls::server_config(Arc::clone(resolver), exchange).unwrap();
        let group = match exchange {
            KeyExchange::PostQuantum => "hybrid",
            KeyExchange::Classical => "x25519",
        };
        let mut client = client(ca.as_bytes(), group, resumes);
        if compresses {
            client.cert_decompressors = vec![&OPENS];
        } else {
            server.cert_compressors.clear();
        }
        Self {
            name,
            server: Arc::new(server),
            client: Arc::new(client),
            times: Vec::new(),
            bytes: (0, 0),
        }
    }
}

fn handshake(
    server: &Arc<rustls::ServerConfig>,
    client: &Arc<ClientConfig>,
) -> (Duration, usize, usize) {
    let name = ServerName::try_from(HOST).unwrap();
    let mut visitor = Connection::from(ClientConnection::new(Arc::clone(client), name).unwrap());
    let mut time = Duration::ZERO;
    let begun = stopwatch();
    let mut node = Connection::from(ServerConnection::new(Arc::clone(server)).unwrap());
    time += begun.elapsed();
    let (mut sent, mut received) = (0, 0);
    while visitor.is_handshaking() || node.is_handshaking() || node.wants_write() {
        let mut wire = Vec::new();
        while visitor.wants_write() {
            visitor.write_tls(&mut wire).unwrap();
        }
        received += wire.len();
        let mut answer = Vec::new();
        let begun = stopwatch();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            node.read_tls(&mut rest).unwrap();
            node.process_new_packets().unwrap();
        }
        while node.wants_write() {
            node.write_tls(&mut answer).unwrap();
        }
        time += begun.elapsed();
        sent += answer.len();
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            visitor.read_tls(&mut rest).unwrap();
            visitor.process_new_packets().unwrap();
        }
    }
    (time, sent, received)
}

/// What compressing a chain that is not in memory takes.
fn compression(chain: &str) {
    let der: Vec<u8> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .flat_map(|der| der.unwrap().to_vec())
        .collect();
    println!(
        "{:<22} {:>8} {:>10}",
        "compressing a chain", "us", "of its size"
    );
    for quality in [1, 2, 3, 4, 5, 11] {
        measure(&format!("brotli {quality}"), &der, &|input| {
            let params = brotli::enc::BrotliEncoderParams {
                quality,
                lgwin: 14,
                size_hint: input.len(),
                ..Default::default()
            };
            let mut output = Vec::new();
            brotli::BrotliCompress(&mut &input[..], &mut output, &params).unwrap();
            output.len()
        });
    }
    for level in [1, 6, 9] {
        measure(&format!("zlib {level}"), &der, &|input| {
            let level = flate2::Compression::new(level);
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(input).unwrap();
            encoder.finish().unwrap().len()
        });
    }
}

fn measure(name: &str, input: &[u8], compress: &dyn Fn(&[u8]) -> usize) {
    let mut times = Vec::new();
    let mut length = 0;
    for _ in 0..200 {
        let begun = stopwatch();
        length = compress(input);
        times.push(begun.elapsed());
    }
    times.sort();
    let percent = length * 100 / input.len();
    println!(
        "{name:<22} {:>8} {percent:>9}%",
        times[times.len() / 2].as_micros()
    );
}

/// A visitor who trusts `ca` and offers one group.
fn client(ca: &[u8], group: &str, resumes: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca).unwrap())
        .unwrap();
    let mut provider = verge_edge::tls::provider();
    let wanted = match group {
        "hybrid" => NamedGroup::X25519MLKEM768,
        _ => NamedGroup::X25519,
    };
    provider.kx_groups.retain(|group| group.name() == wanted);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = if resumes {
        Resumption::in_memory_sessions(64)
    } else {
        Resumption::disabled()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

#[derive(Debug)]
struct Opens;

static OPENS: Opens = Opens;

impl rustls::compress::CertDecompressor for Opens {
    fn decompress(
        &self,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), rustls::compress::DecompressionFailed> {
        let opened = brotli::Decompressor::new(input, 4096).read_exact(output);
        opened.map_err(|_io| rustls::compress::DecompressionFailed)
    }

    fn algorithm(&self) -> rustls::CertificateCompressionAlgorithm {
        rustls::CertificateCompressionAlgorithm::Brotli
    }
}

fn connect(address: SocketAddr, client: &Arc<ClientConfig>) -> (Connection, TcpStream) {
    let name = ServerName::try_from(HOST).unwrap();
    let mut visitor = Connection::from(ClientConnection::new(Arc::clone(client), name).unwrap());
    let mut stream = TcpStream::connect(address).unwrap();
    while visitor.is_handshaking() {
        visitor.complete_io(&mut stream).unwrap();
    }
    (visitor, stream)
}

/// Handshakes one after another, each with its end: what comes before it has the tickets.
fn shake(address: SocketAddr, client: &ClientConfig, count: usize) {
    let client = Arc::new(client.clone());
    for _ in 0..count {
        let (mut visitor, mut stream) = connect(address, &client);
        visitor.send_close_notify();
        while visitor.wants_write() {
            visitor.write_tls(&mut stream).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        while visitor.read_tls(&mut stream).is_ok_and(|read| read > 0) {
            if visitor.process_new_packets().is_err() {
                break;
            }
        }
    }
}

/// Connections that are open and ask for nothing, until standard input ends.
fn idle(address: SocketAddr, client: &ClientConfig, count: usize) {
    let client = Arc::new(client.clone());
    let open: Vec<_> = (0..count).map(|_| connect(address, &client)).collect();
    println!("{} are open", open.len());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
