//! A node's door for pushes with a publisher made of closures, and stock git and ssh in front.

#![allow(
    unreachable_pub,
    dead_code,
    reason = "each test binary has its own copy and uses a part of it"
)]

use base64::Engine as _;
use sha2::Digest as _;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use verge_edge::receive::{
    BoxFuture, Config, Grant, Limits, Publisher, PushedCommit, Receiver, host_public_key, start,
};
use verge_sync::store::Store;
use verge_sync::{AccountId, SiteId};

const HOST_SECRET: [u8; 32] = [9; 32];

/// What the fake publisher answers.
#[derive(Clone)]
pub struct Answer {
    pub log: Vec<String>,
    pub result: Result<Vec<String>, Vec<String>>,
}

/// One site of the fake publisher.
#[derive(Clone)]
pub struct Site {
    pub account: AccountId,
    pub keys: Vec<[u8; 32]>,
    pub branch: Option<String>,
    pub force: bool,
    pub published: Option<String>,
    pub answer: Answer,
}

/// The node behind the door, and what it has seen.
pub struct Fake {
    pub sites: Mutex<HashMap<String, Site>>,
    keys: Mutex<Vec<[u8; 32]>>,
    /// Sites that have ended; `ended` has from the start.
    pub ended: Mutex<Vec<SiteId>>,
    pub pushes: Mutex<Vec<PushedCommit>>,
    /// Where histories are put, if they are.
    pub store: OnceLock<Store>,
    /// A permit lets one publish end.
    pub gate: Arc<Semaphore>,
    /// One item for each publish that has begun.
    begun: mpsc::Sender<()>,
    /// One item for each publish that was dropped before its end.
    dropped: mpsc::Sender<()>,
}

/// Says so when a publish is dropped early.
struct Watched(Option<mpsc::Sender<()>>);

impl Watched {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.try_send(()).expect("somebody counts");
        }
    }
}

impl Publisher for Fake {
    fn grant(&self, key_sha256: &[u8; 32], site_name: &str) -> Option<Grant> {
        let sites = self.sites.lock().unwrap();
        let site = sites
            .get(site_name)
            .filter(|site| site.keys.contains(key_sha256))?;
        Some(Grant {
            site: site_id(site_name),
            account: site.account,
            branch: site.branch.clone(),
            force: site.force,
            published_commit: site.published.clone(),
        })
    }

    fn knows_key(&self, key_sha256: &[u8; 32]) -> bool {
        self.keys.lock().unwrap().contains(key_sha256)
    }

    fn has_site(&self, site: &SiteId) -> bool {
        !self.ended.lock().unwrap().contains(site)
    }

    fn store(&self) -> Option<&Store> {
        self.store.get()
    }

    fn publish(
        &self,
        push: PushedCommit,
        log: mpsc::Sender<String>,
    ) -> BoxFuture<Result<Vec<String>, Vec<String>>> {
        let sites = self.sites.lock().unwrap();
        let site = sites.values().zip(sites.keys());
        let (site, _) = site
            .into_iter()
            .find(|(_, name)| site_id(name) == push.site)
            .unwrap();
        let answer = site.answer.clone();
        let store = self.store.get().cloned();
        let gate = Arc::clone(&self.gate);
        let mut watched = Watched(Some(self.dropped.clone()));
        let begun = self.begun.clone();
        self.pushes.lock().unwrap().push(push.clone());
        Box::pin(async move {
            for line in answer.log {
                log.send(line).await.expect("the log is read");
            }
            let objects = Command::new("git")
                .args(["cat-file", "-p", &push.commit])
                .current_dir(&push.git_dir)
                .envs(push.objects_env)
                .output()
                .unwrap();
            assert!(
                objects.status.success(),
                "the objects are readable: {objects:?}"
            );
            begun.send(()).await.expect("somebody counts");
            gate.acquire().await.unwrap().forget();
            watched.disarm();
            if let (Some(store), Some(history)) = (store, push.history) {
                let bundled = history.bundle(&store).await;
                bundled.map_err(|error| vec![error.to_string()])?;
            }
            answer.result
        })
    }
}

pub fn site_id(name: &str) -> SiteId {
    SiteId::from_digest(verge_sync::Digest::of(name.as_bytes()))
}

/// The door, its publisher, and a folder for everything.
pub struct Node {
    pub fake: Arc<Fake>,
    pub dir: tempfile::TempDir,
    data_dir: PathBuf,
    pub runtime: tokio::runtime::Runtime,
    receiver: Option<Receiver>,
    port: u16,
    begun: mpsc::Receiver<()>,
    dropped: mpsc::Receiver<()>,
}

impl Node {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self::on_disk(limits, None)
    }

    /// A node with the sites `garden`, `shed` and `roof` of the key `anna`, its data in a folder
    /// of its own or on a disk given.
    pub fn on_disk(limits: Limits, disk: Option<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (begun_sender, begun) = mpsc::channel(64);
        let (dropped_sender, dropped) = mpsc::channel(64);
        let fake = Arc::new(Fake {
            sites: Mutex::default(),
            keys: Mutex::default(),
            ended: Mutex::new(vec![site_id("ended")]),
            pushes: Mutex::default(),
            store: OnceLock::new(),
            gate: Arc::new(Semaphore::new(1000)),
            begun: begun_sender,
            dropped: dropped_sender,
        });
        let data_dir = disk.unwrap_or_else(|| dir.path().join("data"));
        std::fs::create_dir_all(&data_dir).unwrap();
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            data_dir: data_dir.clone(),
            program: env!("CARGO_BIN_EXE_verge").into(),
            host_secret: HOST_SECRET,
            limits,
        };
        let publisher: Arc<dyn Publisher> = Arc::clone(&fake) as _;
        let receiver = runtime.block_on(start(config, publisher)).unwrap();
        let node = Self {
            fake,
            dir,
            data_dir,
            runtime,
            port: receiver.addresses()[0].port(),
            receiver: Some(receiver),
            begun,
            dropped,
        };
        let anna = node.key("anna");
        for name in ["garden", "shed", "roof"] {
            node.add_site(name, anna);
        }
        node
    }

    pub fn add_site(&self, name: &str, key: [u8; 32]) {
        let site = Site {
            account: AccountId::from_bytes([1; 32]),
            keys: vec![key],
            branch: None,
            force: true,
            published: None,
            answer: Answer {
                log: vec!["building".to_owned()],
                result: Ok(vec![format!("https://{name}.localhost/")]),
            },
        };
        self.fake
            .sites
            .lock()
            .unwrap()
            .insert(name.to_owned(), site);
    }

    pub fn change_site(&self, name: &str, change: impl FnOnce(&mut Site)) {
        change(self.fake.sites.lock().unwrap().get_mut(name).unwrap());
    }

    /// Makes a key that the node knows.
    pub fn key(&self, name: &str) -> [u8; 32] {
        self.key_of_type(name, "ed25519")
    }

    /// Makes a key that the node does not know.
    pub fn strange_key(&self, name: &str) -> [u8; 32] {
        self.make_key(name, "ed25519")
    }

    /// Makes a key of any type that the node knows.
    pub fn key_of_type(&self, name: &str, key_type: &str) -> [u8; 32] {
        let sha256 = self.make_key(name, key_type);
        self.fake.keys.lock().unwrap().push(sha256);
        sha256
    }

    fn make_key(&self, name: &str, key_type: &str) -> [u8; 32] {
        let path = self.dir.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", key_type, "-N", "", "-f"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let text = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        let blob = text.split(' ').nth(1).unwrap();
        let blob = base64::engine::general_purpose::STANDARD
            .decode(blob)
            .unwrap();
        sha2::Sha256::digest(blob).into()
    }

    pub fn url(&self, site: &str) -> String {
        format!("ssh://git@127.0.0.1:{}/{site}.git", self.port)
    }

    /// `ssh` and its options, the node's host key pinned.
    pub fn ssh_words(&self, key: &str) -> Vec<String> {
        let known_hosts = self.dir.path().join("known_hosts");
        let line = format!(
            "[127.0.0.1]:{} {}\n",
            self.port,
            host_public_key(&HOST_SECRET).unwrap()
        );
        std::fs::write(&known_hosts, line).unwrap();
        let known_hosts = format!("UserKnownHostsFile={}", known_hosts.display());
        let key = self.dir.path().join(key).display().to_string();
        let port = self.port.to_string();
        let words = [
            "ssh",
            "-F",
            "/dev/null",
            "-i",
            &key,
            "-p",
            &port,
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "LogLevel=ERROR",
            "-o",
            &known_hosts,
        ];
        words.map(ToOwned::to_owned).into()
    }

    pub fn ssh(&self, key: &str) -> Command {
        let words = self.ssh_words(key);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// `git` as a publisher has it, in `folder`, with the key `anna`.
    pub fn git_command(&self, folder: &Path) -> Command {
        self.git_command_as("anna", folder)
    }

    pub fn git_command_as(&self, key: &str, folder: &Path) -> Command {
        let mut command = Command::new("git");
        command
            .current_dir(folder)
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Anna")
            .env("GIT_AUTHOR_EMAIL", "anna@example.org")
            .env("GIT_COMMITTER_NAME", "Anna")
            .env("GIT_COMMITTER_EMAIL", "anna@example.org")
            .env("GIT_SSH_COMMAND", self.ssh_words(key).join(" "))
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// Runs git, which must be content; returns its standard output, trimmed.
    pub fn git<A: AsRef<OsStr>>(&self, folder: &Path, arguments: &[A]) -> String {
        let output = self.try_git(folder, arguments);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn try_git<A: AsRef<OsStr>>(&self, folder: &Path, arguments: &[A]) -> Output {
        self.git_command(folder).args(arguments).output().unwrap()
    }

    /// Pushes, which must be refused; returns what the pusher read.
    pub fn refused<A: AsRef<OsStr>>(&self, folder: &Path, arguments: &[A]) -> String {
        let output = self.try_git(folder, arguments);
        assert!(!output.status.success(), "{}", said(&output));
        said(&output)
    }

    /// A new repository with one commit of `index.html` on main, and the site as `origin`.
    pub fn work(&self, site: &str) -> PathBuf {
        let folder = self.dir.path().join(format!("work-{site}"));
        std::fs::create_dir(&folder).unwrap();
        self.git(&folder, &["init", "-q", "-b", "main"]);
        self.git(&folder, &["remote", "add", "origin", &self.url(site)]);
        self.commit(&folder, "index.html", "<h1>garden</h1>");
        folder
    }

    /// Commits one file; returns the commit.
    pub fn commit(&self, folder: &Path, file: &str, text: &str) -> String {
        std::fs::write(folder.join(file), text).unwrap();
        self.git(folder, &["add", "-A"]);
        self.git(folder, &["commit", "-q", "-m", file]);
        self.git(folder, &["rev-parse", "HEAD"])
    }

    pub fn repository(&self, site: &str) -> PathBuf {
        self.data_dir.join(format!("git/{}.git", site_id(site)))
    }

    /// The site's refs as `name commit` lines, and what HEAD names.
    pub fn refs(&self, site: &str) -> String {
        let format = "--format=%(refname) %(objectname)";
        let repository = self.repository(site);
        let refs = self.git(&repository, &["for-each-ref", format]);
        format!(
            "{refs}\nHEAD {}",
            self.git(&repository, &["symbolic-ref", "HEAD"])
        )
    }

    /// What was published, as (branch, commit).
    pub fn published(&self) -> Vec<(String, String)> {
        let pushes = self.fake.pushes.lock().unwrap();
        pushes
            .iter()
            .map(|push| (push.branch.clone(), push.commit.clone()))
            .collect()
    }

    /// Waits until a publish has begun.
    pub fn wait_begun(&mut self) {
        within(&self.runtime, self.begun.recv()).unwrap();
    }

    /// Waits until a publish was dropped before its end.
    pub fn wait_dropped(&mut self) {
        within(&self.runtime, self.dropped.recv()).unwrap();
    }

    /// Removes the repository of one site that has ended.
    pub fn forget(&self, site: &str) {
        let receiver = self.receiver.as_ref().unwrap();
        within(&self.runtime, receiver.forget(site_id(site))).unwrap();
    }

    /// Removes the repositories of all sites that have ended.
    pub fn sweep(&self) {
        let receiver = self.receiver.as_ref().unwrap();
        within(&self.runtime, receiver.sweep()).unwrap();
    }

    /// Closes the door once no push is under way.
    pub fn stop(&mut self) {
        let receiver = self.receiver.take().unwrap();
        within(&self.runtime, receiver.stop(Duration::from_secs(20)));
    }

    /// What a push that did not succeed may have left: quarantines, locks, processes.
    pub fn leftovers(&self, site: &str) -> Vec<String> {
        let repository = self.repository(site);
        let mut found = Vec::new();
        let mut folders = vec![repository.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if name.contains("incoming") || name.starts_with("tmp_") || name.ends_with(".lock")
                {
                    found.push(path.display().to_string());
                }
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.extend(processes(&repository));
        found
    }
}

/// Command lines of living processes that name `path` or work in it.
pub fn processes(path: &Path) -> Vec<String> {
    let name = path.display().to_string();
    let living = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = living.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let works_in_it = std::fs::read_link(entry.path().join("cwd")).ok()? == path;
        (works_in_it || line.contains(&name)).then_some(line)
    });
    lines.collect()
}

/// Waits for a state of the system that has no event of its own.
pub fn until(is_reached: impl Fn() -> bool) {
    let since = verge_sync::clock::stopwatch();
    while !is_reached() {
        assert!(since.elapsed() < Duration::from_secs(60), "it happens");
        std::thread::yield_now();
    }
}

/// Waits for something that must happen; a hang is a failure, not a wait for ever.
pub fn within<T>(runtime: &tokio::runtime::Runtime, event: impl Future<Output = T>) -> T {
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), event)
            .await
            .expect("it happens")
    })
}

/// All that a program printed.
pub fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// Kills a program in the hardest way and waits for its end.
pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
