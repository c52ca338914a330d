//! A real node in a process of its own, a publisher with real git and ssh, a visitor with real TLS.

pub(crate) use crate::support::effort::{count, proving};
pub(crate) use crate::support::preview::{files, fixture};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use verge_edge::cli::client::{Answer, Protocol, Visitor};
use verge_edge::cli::node::Ready;

/// The binary under test.
pub(crate) const VERGE: &str = env!("CARGO_BIN_EXE_verge");

/// A node that is running, with its data directory.
pub(crate) struct Node {
    folder: Option<TempDir>,
    data: PathBuf,
    child: Option<Child>,
    ready: Ready,
    /// What runs it, if it is not run directly.
    runner: Vec<String>,
}

impl Node {
    /// Founds a region and starts its node.
    pub(crate) fn found() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("node");
        let mut node = Self::found_in(&data);
        node.folder = Some(folder);
        node
    }

    /// The same in a directory that the test made.
    pub(crate) fn found_in(data: &Path) -> Self {
        init(data);
        Self::start(data)
    }

    /// Starts a node on a data directory that is there.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_by(data, Vec::new())
    }

    /// The same with a clock that begins at `time`, or is ahead by as much (`+40d`), and goes on.
    #[allow(dead_code, reason = "for the tests of regions")]
    pub(crate) fn start_at(data: &Path, time: &str) -> Self {
        Self::start_by(data, clock_at(time))
    }

    /// The same by another program, such as `ip netns exec NAME`.
    pub(crate) fn start_by(data: &Path, runner: Vec<String>) -> Self {
        let mut child = run_by(&runner)
            .arg("serve")
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = Ready::parse(&line).unwrap_or_else(|_| {
            let mut words = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut words)
                .unwrap();
            panic!("the node did not start: {line} {words}")
        });
        // Keep the pipe from filling up.
        let mut stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self {
            folder: None,
            data: data.to_owned(),
            child: Some(child),
            ready,
            runner,
        }
    }

    /// Starts a node that logs all it can to a file.
    pub(crate) fn start_talkative(data: &Path, log: &Path) -> Self {
        let mut child = Command::new(VERGE)
            .args(["serve", "--data"])
            .arg(data)
            .env("VERGE_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            folder: None,
            data: data.to_owned(),
            child: Some(child),
            ready: Ready::parse(&line).unwrap(),
            runner: Vec::new(),
        }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn ready(&self) -> Ready {
        self.ready
    }

    /// The number of its process, while it runs.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks to stop, waits, and gives the exit status.
    pub(crate) fn stop(&mut self) -> std::process::ExitStatus {
        signal(self.id(), rustix::process::Signal::TERM);
        self.child.take().unwrap().wait().unwrap()
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends the process as a fault of its own would.
    pub(crate) fn abort(&mut self) -> std::process::ExitStatus {
        signal(self.id(), rustix::process::Signal::ABORT);
        self.child.take().unwrap().wait().unwrap()
    }

    /// Starts again after [`Node::stop`] or [`Node::kill`].
    pub(crate) fn restart(&mut self) {
        let folder = self.folder.take();
        *self = Self::start_by(&self.data.clone(), std::mem::take(&mut self.runner));
        self.folder = folder;
    }

    /// Runs `verge ARGUMENTS --data DATA`.
    pub(crate) fn verge(&self, arguments: &[&str]) -> Output {
        verge(&self.data, arguments)
    }

    /// The same, which must succeed; gives its standard output.
    pub(crate) fn verge_ok(&self, arguments: &[&str]) -> String {
        let output = self.verge(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    pub(crate) fn visitor(&self) -> Visitor {
        Visitor::new(self.ready.https.unwrap(), &self.data.join("local-ca.pem")).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Ports of the system's choice on loopback, and a CA of the node's own.
pub(crate) const PORTS: [&str; 5] = [
    "--ca=local",
    "--listen-http=127.0.0.1:0",
    "--listen-https=127.0.0.1:0",
    "--listen-ssh=127.0.0.1:0",
    "--listen-nodes=127.0.0.1:0",
];

/// `verge init` for a region on loopback, in which hosts need no proof.
pub(crate) fn init(data: &Path) {
    init_with(data, &["--host-proof=none"]);
}

/// The same with other arguments.
pub(crate) fn init_with(data: &Path, arguments: &[&str]) {
    let names = [
        "init",
        "--region=Test Street",
        "--provider=Corner",
        "--test",
    ];
    let output = verge(data, &[&names, arguments, &PORTS].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// `verge`, run by `runner`.
pub(crate) fn run_by(runner: &[String]) -> Command {
    let Some((program, arguments)) = runner.split_first() else {
        return Command::new(VERGE);
    };
    let mut command = Command::new(program);
    command.args(arguments).arg(VERGE);
    command
}

/// What runs a program with a clock that begins at `time`, or is ahead by as much (`+40d`).
pub(crate) fn clock_at(time: &str) -> Vec<String> {
    let libraries = std::fs::read_dir("/usr/lib").unwrap();
    let libraries = libraries.map(|folder| folder.unwrap().path());
    let mut libraries = libraries.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|library| library.exists());
    let library = library.expect("faketime is missing: `make test` installs it");
    let words = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        if time.starts_with('+') {
            format!("FAKETIME={time}")
        } else {
            format!("FAKETIME=@{time}")
        },
        "TZ=UTC".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    words.to_vec()
}

/// Runs `verge ARGUMENTS --data DATA`.
pub(crate) fn verge(data: &Path, arguments: &[&str]) -> Output {
    Command::new(VERGE)
        .args(arguments)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap()
}

pub(crate) fn signal(process: u32, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(process, signal).unwrap();
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Somebody with an SSH key and a work tree.
pub(crate) struct Publisher {
    folder: TempDir,
}

impl Publisher {
    /// Makes a key.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]);
        assert!(
            keygen
                .arg(folder.path().join("key"))
                .status()
                .unwrap()
                .success()
        );
        std::fs::create_dir(folder.path().join("work")).unwrap();
        let publisher = Self { folder };
        publisher.git_ok(&["init", "-q", "-b", "main"]);
        publisher
    }

    /// Makes a key, an account and a site of that name.
    pub(crate) fn with_site(node: &Node, account: &str, site: &str) -> Self {
        let publisher = Self::new();
        node.verge_ok(&[
            "account",
            "add",
            account,
            "--ssh-key",
            &publisher.public_key(),
        ]);
        node.verge_ok(&["site", "create", site, "--owner", account]);
        publisher
    }

    pub(crate) fn public_key(&self) -> String {
        self.folder
            .path()
            .join("key.pub")
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> Command {
        let folder = self.folder.path().display();
        let ssh = format!(
            "ssh -F none -i {folder}/key -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new \
             -o UserKnownHostsFile={folder}/known_hosts -o LogLevel=ERROR"
        );
        let mut git = Command::new("git");
        git.arg("-C").arg(self.work()).env("GIT_SSH_COMMAND", ssh);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0");
        git.args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]);
        git.args(["-c", "protocol.version=2", "-c", "gc.auto=0"])
            .args(arguments);
        git
    }

    pub(crate) fn git_ok(&self, arguments: &[&str]) -> String {
        let output = self.git(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Writes a file of the work tree.
    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Copies a folder into the work tree.
    pub(crate) fn copy(&self, folder: &Path) {
        let status = Command::new("cp")
            .arg("-rT")
            .arg(folder)
            .arg(self.work())
            .status();
        assert!(status.unwrap().success());
    }

    pub(crate) fn commit(&self, message: &str) {
        self.git_ok(&["add", "-A"]);
        self.git_ok(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    pub(crate) fn url(node: &Node, site: &str) -> String {
        format!("ssh://git@{}/{site}", node.ready().ssh.unwrap())
    }

    /// `git push` of a refspec; what the pusher sees is on standard error.
    pub(crate) fn push(&self, node: &Node, site: &str, refspec: &str) -> Output {
        self.git(&["push", &Self::url(node, site), refspec])
            .output()
            .unwrap()
    }

    /// The same, which must succeed; gives what the pusher saw.
    pub(crate) fn push_ok(&self, node: &Node, site: &str, refspec: &str) -> String {
        let output = self.push(node, site, refspec);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    }

    /// The same, which must be refused; gives what the pusher saw.
    pub(crate) fn push_refused(&self, node: &Node, site: &str, refspec: &str) -> String {
        let output = self.push(node, site, refspec);
        assert!(
            !output.status.success(),
            "the push went in: {}",
            text(&output.stderr)
        );
        text(&output.stderr)
    }
}

/// One request by a visitor.
pub(crate) fn get(node: &Node, protocol: Protocol, host: &str, path: &str, accept: &str) -> Answer {
    let visitor = node.visitor();
    block_on(async { visitor.get(protocol, host, path, accept).await.unwrap() })
}

/// The body of a page over HTTP/2, or the status where it is not 200.
pub(crate) fn page(node: &Node, host: &str, path: &str) -> Result<Vec<u8>, u16> {
    let answer = get(node, Protocol::Http2, host, path, "br, gzip");
    if answer.head.status == 200 {
        Ok(answer.body)
    } else {
        Err(answer.head.status.as_u16())
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
