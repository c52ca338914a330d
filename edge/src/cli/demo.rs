//! `verge demo`: the main job, from nothing to pages in a visitor's hands, with real parts: this
//! binary as the node, the real `git` and `ssh` as the publisher, real TLS as the visitor.

use super::client::{Answer, Protocol, Visitor};
use super::manual;
use super::node::Ready;
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use verge_sync::clock::stopwatch;

/// `verge demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// The folder to publish.
    #[arg(
        long,
        default_value = "fixtures/sites/neighbourhood",
        value_name = "DIR"
    )]
    site: PathBuf,
    /// End by itself after the table, with exit status 0 only if all of it was right.
    #[arg(long)]
    once: bool,
    /// The HTTPS port on 127.0.0.1; 0 for any free one.
    #[arg(long, default_value_t = 8443)]
    https_port: u16,
    /// The SSH port on 127.0.0.1; 0 for any free one.
    #[arg(long, default_value_t = 2222)]
    ssh_port: u16,
}

const SITE: &str = "neighbourhood";
const HOST: &str = "neighbourhood.sites.localhost";
/// The site that says what visitors get.
const MANUAL: &str = "manual";
const MANUAL_HOST: &str = "manual.sites.localhost";
const CODINGS: [&str; 4] = ["br", "zstd", "gzip", "identity"];

impl Demo {
    /// Carries it out.
    ///
    /// # Errors
    /// The first step that went wrong.
    pub fn run(self) -> anyhow::Result<()> {
        let source = self.site.canonicalize().with_context(|| {
            format!(
                "read {}: name a folder with a website by --site",
                self.site.display()
            )
        })?;
        let folder = tempfile::Builder::new().prefix("verge-demo-").tempdir()?;
        let region = Region::new(folder.path(), self.https_port, self.ssh_port)?;
        region.add_publisher()?;
        region.push(&source)?;
        region.deploy_manual()?;
        let right = super::block_on(region.visit(&source))?;
        region.say_where_to_look();
        ensure!(right, "some answers were not what was published");
        if self.once {
            return region.stop();
        }
        say("Press Ctrl-C to end.");
        super::block_on(async { Ok(tokio::signal::ctrl_c().await?) })?;
        region.stop()
    }
}

#[expect(clippy::print_stdout, reason = "the demo's story")]
fn say(line: &str) {
    println!("{line}");
}

fn step(line: &str) {
    say(&format!("\n== {line}"));
}

/// A region of one provider and one node, and its only publisher.
struct Region<'a> {
    folder: &'a Path,
    ready: Ready,
    node: Node,
}

impl<'a> Region<'a> {
    fn new(folder: &'a Path, https_port: u16, ssh_port: u16) -> anyhow::Result<Self> {
        step("A steward makes a node: verge init, verge serve");
        let data = folder.join("node");
        let init = verge()?
            .arg("init")
            .arg("--data")
            .arg(&data)
            .args(["--region", "Demo Street", "--provider", "Corner Workshop"])
            .args([
                "--site-zone",
                "sites.localhost",
                "--admin-zone",
                "admin.localhost",
            ])
            .args(["--host-proof", "none", "--test", "--ca", "local"])
            .args(["--listen-http", "127.0.0.1:0"])
            .args(["--listen-https", &format!("127.0.0.1:{https_port}")])
            .args(["--listen-ssh", &format!("127.0.0.1:{ssh_port}")])
            .args(["--listen-nodes", "127.0.0.1:0"])
            .status()?;
        ensure!(init.success(), "verge init ended with {init}");
        let mut child = verge()?
            .arg("serve")
            .arg("--data")
            .arg(&data)
            .env("VERGE_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("start verge serve")?;
        let output = child.stdout.take().context("the node's output")?;
        let mut node = Node {
            child,
            output: BufReader::new(output),
        };
        let mut line = String::new();
        node.output.read_line(&mut line)?;
        let ready = Ready::parse(&line).with_context(|| {
            format!("the node did not start; is port {https_port} or {ssh_port} taken? {line}")
        })?;
        say(&format!("the node says: {}", line.trim_end()));
        Ok(Self {
            folder,
            ready,
            node,
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("node")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("ana")
    }

    fn add_publisher(&self) -> anyhow::Result<()> {
        step("Ana makes an SSH key; the steward adds her and her site");
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "ana", "-f"])
            .arg(self.key());
        run(&mut keygen)?;
        let mut account = verge()?;
        account.args(["account", "add", "ana", "--ssh-key"]);
        run(account
            .arg(self.key().with_extension("pub"))
            .arg("--data")
            .arg(self.data()))?;
        let mut site = verge()?;
        site.args([
            "site",
            "create",
            SITE,
            "--owner",
            "ana",
            "--host",
            "commonground.localhost",
        ]);
        run(site.arg("--data").arg(self.data()))
    }

    fn push(&self, source: &Path) -> anyhow::Result<()> {
        let work = self.folder.join("work");
        copy_folder(source, &work)?;
        let address = self.ready.ssh.context("the node does not listen for SSH")?;
        let url = format!("ssh://git@{address}/{SITE}");
        step(&format!("Ana publishes: git push {url}"));
        for arguments in [
            &["init", "-q", "-b", "main"][..],
            &["add", "-A"],
            &["commit", "-q", "-m", "First pages"],
            &["push", &url, "main"],
        ] {
            run(self.git(&work).args(arguments))?;
        }
        Ok(())
    }

    /// A second site, published without git.
    fn deploy_manual(&self) -> anyhow::Result<()> {
        step("Ana publishes a folder without git: verge deploy manual --site manual");
        let folder = self.folder.join(MANUAL);
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("index.html"), manual::page())?;
        std::fs::write(folder.join("manual.css"), manual::STYLE)?;
        let mut create = verge()?;
        create.args(["site", "create", MANUAL, "--owner", "ana", "--data"]);
        run(create.arg(self.data()))?;
        let mut deploy = verge()?;
        deploy.arg("deploy").arg(folder).args(["--site", MANUAL]);
        run(deploy.arg("--data").arg(self.data()))
    }

    fn git(&self, work: &Path) -> Command {
        let ssh = format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new \
             -o UserKnownHostsFile={} -o LogLevel=ERROR",
            self.key().display(),
            self.folder.join("known_hosts").display()
        );
        let mut git = Command::new("git");
        git.arg("-C")
            .arg(work)
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.args(["-c", "user.name=Ana", "-c", "user.email=ana@demo.localhost"]);
        git
    }

    async fn visit(&self, source: &Path) -> anyhow::Result<bool> {
        step("Visitors fetch every page, in every coding, over HTTP/1.1 and HTTP/2");
        let address = self
            .ready
            .https
            .context("the node does not listen for HTTPS")?;
        let visitor = Visitor::new(address, &self.data().join("local-ca.pem"))?;
        let pages = pages(source)?;
        say("  protocol  asked for  pages  right    bytes sent  bytes of pages       time");
        let mut all_right = true;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for coding in CODINGS {
                let row = visit_all(&visitor, protocol, coding, &pages).await?;
                all_right &= row.right == pages.len();
                say(&row.show(protocol, coding, pages.len()));
            }
        }
        let manual = visitor.get(Protocol::Http2, MANUAL_HOST, "/", "br").await?;
        all_right &= manual.head.status == 200 && manual.body == manual::page().as_bytes();
        say(&format!("  the second site: {}", manual.head.status));
        let missing = visitor
            .get(Protocol::Http2, HOST, "/no-such-page", "br")
            .await?;
        say(&format!(
            "  a page that is not there: {}",
            missing.head.status
        ));
        Ok(all_right && missing.head.status == 404)
    }

    fn say_where_to_look(&self) {
        let port = self.ready.https.map_or(443, |address| address.port());
        step("Look yourself");
        say(&format!("  https://{HOST}:{port}/"));
        say(&format!(
            "  https://{MANUAL_HOST}:{port}/ (what visitors get, and how to write rules)"
        ));
        say(&format!(
            "  (the test CA is {})",
            self.data().join("local-ca.pem").display()
        ));
    }

    fn stop(mut self) -> anyhow::Result<()> {
        let id = self.node.child.id();
        let id = rustix::process::Pid::from_raw(i32::try_from(id)?).context("the node's id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let status = self.node.child.wait()?;
        ensure!(status.success(), "verge serve ended with {status}");
        Ok(())
    }
}

/// The node's process; ended with the demo, however that ends.
struct Node {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// What one protocol and coding brought.
#[derive(Default)]
struct Row {
    right: usize,
    sent_bytes: usize,
    page_bytes: usize,
    milliseconds: u128,
}

impl Row {
    fn show(&self, protocol: Protocol, coding: &str, pages: usize) -> String {
        let protocol = match protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        };
        format!(
            "  {protocol:<9} {coding:<10} {pages:>5}  {:>5}  {:>12}  {:>14}  {:>6} ms",
            self.right, self.sent_bytes, self.page_bytes, self.milliseconds
        )
    }
}

async fn visit_all(
    visitor: &Visitor,
    protocol: Protocol,
    coding: &str,
    pages: &[Page],
) -> anyhow::Result<Row> {
    let started = stopwatch();
    let mut row = Row::default();
    let mut session = visitor.connect(protocol, HOST).await?;
    for page in pages {
        let answer = session.get(&page.url, coding).await?;
        let published = std::fs::read(&page.file)?;
        row.sent_bytes += answer.encoded.len();
        row.page_bytes += published.len();
        match wrong(&answer, &published, coding) {
            None => row.right += 1,
            Some(why) => say(&format!("  WRONG {}: {why}", page.url)),
        }
    }
    row.milliseconds = started.elapsed().as_millis();
    Ok(row)
}

fn wrong(answer: &Answer, published: &[u8], asked: &str) -> Option<String> {
    let coding = answer.field("content-encoding");
    if answer.head.status != 200 {
        Some(format!("status {}", answer.head.status))
    } else if !coding.is_empty() && coding != asked {
        Some(format!("came as {coding}"))
    } else if answer.body != published {
        Some("other bytes than were published".to_owned())
    } else {
        None
    }
}

/// A published file and the URL that a visitor finds it under.
struct Page {
    file: PathBuf,
    url: String,
}

/// Every file of `source` that is published, with its clean URL.
fn pages(source: &Path) -> anyhow::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for entry in walk(source)? {
        let has_file = |path: &str| source.join(path).is_file();
        let relative = entry
            .strip_prefix(source)?
            .to_str()
            .context("a file name in UTF-8")?;
        let is_hidden = relative
            .split('/')
            .any(|segment| segment.starts_with('.') && segment != ".well-known");
        if is_hidden || ["_redirects", "_headers", "verge.toml"].contains(&relative) {
            continue;
        }
        pages.push(Page {
            url: clean_url(relative, has_file),
            file: entry.clone(),
        });
    }
    if pages.is_empty() {
        bail!("{} holds no file to publish", source.display());
    }
    Ok(pages)
}

/// `a.html` is asked for as `/a` unless another file is called `a`, `d/index.html` as `/d/`.
fn clean_url(path: &str, has_file: impl Fn(&str) -> bool) -> String {
    let clean = match path.strip_suffix("index.html") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => folder,
        _ => path.strip_suffix(".html").unwrap_or(path),
    };
    let exact = if clean != path && has_file(clean) {
        path
    } else {
        clean
    };
    let mut url = String::from("/");
    for byte in exact.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(char::from(byte));
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

fn walk(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| format!("read {}", next.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    for file in walk(from)? {
        let target = to.join(file.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().unwrap_or(to))?;
        std::fs::copy(&file, &target).with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}

/// This very binary.
fn verge() -> anyhow::Result<Command> {
    Ok(Command::new(
        std::env::current_exe().context("find the verge binary")?,
    ))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_urls() {
        for (path, url) in [
            ("index.html", "/"),
            ("a.html", "/a"),
            ("d/index.html", "/d/"),
            ("copyright.html", "/copyright.html"),
            ("myindex.html", "/myindex"),
            ("caf\u{e9}.html", "/caf%C3%A9"),
            ("a b.txt", "/a%20b.txt"),
        ] {
            assert_eq!(clean_url(path, |name| name == "copyright"), url);
        }
    }
}
