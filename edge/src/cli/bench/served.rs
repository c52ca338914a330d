//! The site that is visited, and the child that serves it.

use super::load::Kind;
use crate::cli::client::{Protocol, Session, Visitor};
use crate::cli::node::Ready;
use anyhow::{Context, ensure};
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The files and their lengths: bytes that no coding makes shorter.
pub(super) const FILES: [(&str, usize); 4] = [
    ("1 KB", 1_000),
    ("10 KB", 10_000),
    ("100 KB", 100_000),
    ("1 MB", 1_000_000),
];
const HOST: &str = "bench.localhost";

/// A running child; ends when dropped.
pub(super) struct Served {
    child: Child,
    ready: Ready,
    folder: tempfile::TempDir,
    /// Kept open, so that the child can write to it.
    _output: BufReader<ChildStdout>,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where a file of that name is.
pub(super) fn path(file: &str) -> String {
    format!("/{}.bin", file.replace(' ', "-"))
}

/// Bytes of a generator that everybody knows (xorshift64): the same in each run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length.next_multiple_of(8));
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn make_site(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    for (file, length) in FILES {
        fs::write(
            folder.join(path(file).trim_start_matches('/')),
            noise(length),
        )?;
    }
    Ok(())
}

fn make_certificate(folder: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([HOST.to_owned()])?.self_signed(&key)?;
    fs::write(folder.join("chain.pem"), certificate.pem())?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    Ok(())
}

impl Served {
    pub(super) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("verge-bench-").tempdir()?;
        make_site(&folder.path().join("site"))?;
        make_certificate(folder.path())?;
        let program = std::env::current_exe().context("find the verge binary")?;
        let mut child = Command::new(program)
            .args(["preview", "--threads", "1", "--host", HOST])
            .args(["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"])
            .arg("--tls-cert")
            .arg(folder.path().join("chain.pem"))
            .arg("--tls-key")
            .arg(folder.path().join("key.pem"))
            .arg(folder.path().join("site"))
            .env("VERGE_LOG", "error")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start verge preview")?;
        let output = child.stdout.take().context("the child's output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let ready = Ready::parse(&line).context("verge preview did not start")?;
        Ok(Self {
            child,
            ready,
            folder,
            _output: output,
        })
    }

    /// A connection of that kind.
    pub(super) async fn connect(&self, kind: Kind) -> anyhow::Result<Session> {
        let protocol = match kind {
            Kind::Plain => return Session::plain(self.http()?, HOST).await,
            Kind::Tls => Protocol::Http1,
            Kind::Http2 => Protocol::Http2,
        };
        let https = self.ready.https.context("it does not listen for HTTPS")?;
        let visitor = Visitor::new(https, &self.folder.path().join("chain.pem"))?;
        visitor.connect(protocol, HOST).await
    }

    fn http(&self) -> anyhow::Result<SocketAddr> {
        self.ready.http.context("it does not listen for HTTP")
    }

    /// The CPU time of all its threads, in the kernel and out of it.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut total = 0_u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may have ended meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let first = text
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            total = total.saturating_add(first.context("the kernel keeps no times")?);
        }
        Ok(Duration::from_nanos(total))
    }

    /// Its memory, what is shared divided among those who share it.
    pub(super) fn memory_kib(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let number = number.context("the kernel does not tell what memory is used")?;
        ensure!(!number.is_empty(), "no figure");
        Ok(number.parse()?)
    }
}
