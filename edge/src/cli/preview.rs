//! `verge preview`: any folder as one site, with exactly the code of a node.

use crate::app;
use crate::build_child::BuildChild;
use crate::config::{Build, Config};
use crate::host::Host;
use crate::publish;
use anyhow::{Context, ensure};
use clap::Args;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use verge_builder::{Job, Outcome, Source};
use verge_sync::clock::Clock;
use verge_sync::id::Version;

/// Log lines that wait to be printed.
const LOG_LINES_MAX: usize = 256;

/// `verge preview`
#[derive(Debug, Args)]
pub struct Preview {
    /// The folder to serve.
    folder: PathBuf,
    /// Where to listen for plain HTTP.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where to listen for HTTPS as well.
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["tls_cert", "tls_key"])]
    tls_listen: Option<SocketAddr>,
    /// The certificate and its chain, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_listen")]
    tls_key: Option<PathBuf>,
    /// Answer to this host only; without it, to any.
    #[arg(long)]
    host: Option<String>,
    /// Threads that serve; 0 is one for each core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

impl Preview {
    /// Builds, serves, and ends on SIGTERM or Ctrl-C.
    ///
    /// # Errors
    /// A folder that cannot be published, an address that is taken, certificate files that do not
    /// fit.
    pub fn run(self) -> anyhow::Result<()> {
        let folder = self
            .folder
            .canonicalize()
            .with_context(|| format!("read {}", self.folder.display()))?;
        ensure!(folder.is_dir(), "{} is not a folder", folder.display());
        let store = tempfile::Builder::new()
            .prefix("verge-preview-")
            .tempdir()?;
        let blobs = store.path().join("blobs");
        std::fs::create_dir(&blobs)?;
        let config = self.config()?;
        config.check()?;
        super::node::check_around(store.path(), &config)?;
        if let Some(host) = &self.host {
            Host::parse(host)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let version = runtime.block_on(build(&folder, &blobs))?;
        let preview = app::Preview {
            blobs,
            version,
            host: self.host,
        };
        runtime.block_on(app::serve_preview(preview, config))
    }

    fn config(&self) -> anyhow::Result<Config> {
        let mut config = Config::default();
        config.listen.http = vec![self.listen];
        config.listen.https = self.tls_listen.into_iter().collect();
        config.listen.ssh.clear();
        config.tls.certificate = self.tls_cert.as_deref().map(absolute).transpose()?;
        config.tls.key = self.tls_key.as_deref().map(absolute).transpose()?;
        config.tls.ordered = false;
        config.visitors.threads = self.threads;
        Ok(config)
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("read {}", path.display()))
}

/// Builds `folder` straight into `blobs`, telling what it does on standard error.
#[expect(
    clippy::print_stderr,
    reason = "the build's log; standard output is for the ready line"
)]
async fn build(folder: &Path, blobs: &Path) -> anyhow::Result<Version> {
    let limits = Build::default();
    let job = Job {
        source: Source::Folder(folder.to_owned()),
        previous: None,
        blobs: blobs.to_owned(),
        staging: blobs.to_owned(),
        limits: publish::limits(&limits),
        time: Clock::System.now(),
        threads: publish::threads(limits.threads),
    };
    let builds = BuildChild {
        program: std::env::current_exe().context("find the verge binary")?,
        memory_bytes_max: limits.memory_bytes_max,
    };
    let (log, mut lines) = mpsc::channel(LOG_LINES_MAX);
    let print = async {
        while let Some(line) = lines.recv().await {
            eprintln!("{line}");
        }
    };
    let run = async {
        let outcome = builds.run(&job, &log).await;
        drop(log);
        outcome
    };
    match tokio::join!(run, print).0? {
        Outcome::Built(built) => {
            eprintln!("{built}");
            Ok(built.version)
        }
        Outcome::Unchanged { version } => Ok(version),
    }
}
