//! Sites whose bytes say what they are, and visitors who fetch them all the time, at every node.

use crate::harness::{Node, Publisher, block_on, page};
use crate::scene::{Region, wait};
use crate::street::{Street, enter};
use crate::town::until;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use verge_edge::cli::client::{Protocol, Visitor};
use verge_sync::Digest;

/// Between two rounds of a visitor: five of them leave the machine room for what they watch.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(200);
const FILM: &str = "/film.bin";

/// Bytes that nothing compresses and that say of which version they are.
pub(crate) fn film(site: &str, version: u64, len: usize) -> Vec<u8> {
    let mut bytes = format!("{site} {version}\n").into_bytes();
    let mut block = Digest::of(&bytes);
    while bytes.len() < len {
        block = Digest::of(block.as_bytes());
        bytes.extend_from_slice(block.as_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn index(site: &str, version: u64) -> Vec<u8> {
    format!("<!doctype html><title>{site} {version}</title>").into_bytes()
}

fn host(site: &str) -> String {
    format!("{site}.sites.localhost")
}

/// What was pushed, by site: the length of the film of each version from 1 on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pushed(Arc<Mutex<BTreeMap<String, Vec<usize>>>>);

impl Pushed {
    fn sites(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn newest(&self, site: &str) -> u64 {
        let pushed = self.0.lock().unwrap();
        pushed.get(site).map_or(0, |films| films.len()) as u64
    }

    /// Whether what came for `path` is of a version that was pushed; gives which.
    fn version_of(&self, site: &str, path: &str, body: &[u8]) -> Option<u64> {
        let pushed = self.0.lock().unwrap();
        let films = pushed.get(site)?;
        let mut versions = (1..).zip(films);
        versions
            .find(|(version, len)| match path {
                FILM => body.len() == **len && body == film(site, *version, **len),
                _ => body == index(site, *version),
            })
            .map(|(version, _)| version)
    }
}

/// Publishes sites by folder.
pub(crate) struct Publishing {
    pub(crate) pushed: Pushed,
    accounts: BTreeSet<String>,
    folder: TempDir,
    deploy_count: u64,
}

impl Publishing {
    pub(crate) fn new() -> Self {
        Self {
            pushed: Pushed::default(),
            accounts: BTreeSet::new(),
            folder: tempfile::tempdir().unwrap(),
            deploy_count: 0,
        }
    }

    /// The account of whoever publishes at the node. Of two names that one account takes on both
    /// sides of a cut one is away for a moment after the heal: both took its next place.
    fn account(&mut self, node: &Node) -> String {
        let data = node.data().file_name().unwrap();
        let account = data.to_str().unwrap().to_lowercase();
        if self.accounts.insert(account.clone()) {
            let publisher = Publisher::new();
            let key = publisher.public_key();
            node.verge_ok(&["account", "add", &account, "--ssh-key", &key]);
        }
        account
    }

    /// The next version of the site, with a film of so many bytes.
    pub(crate) fn push(&mut self, node: &Node, site: &str, film_bytes: usize) {
        let is_new = self.pushed.newest(site) == 0;
        if is_new {
            let account = self.account(node);
            node.verge_ok(&["site", "create", site, "--owner", &account]);
        }
        let version = self.pushed.newest(site) + 1;
        // Before the deploy: from then on visitors may see it.
        let mut pushed = self.pushed.0.lock().unwrap();
        pushed.entry(site.to_owned()).or_default().push(film_bytes);
        drop(pushed);
        let folder = self.folder.path();
        std::fs::write(folder.join("index.html"), index(site, version)).unwrap();
        std::fs::write(folder.join(&FILM[1..]), film(site, version, film_bytes)).unwrap();
        node.verge_ok(&["deploy", "--site", site, folder.to_str().unwrap()]);
        self.deploy_count += 1;
    }

    /// Takes a site down for ever.
    pub(crate) fn delete(&mut self, node: &Node, site: &str) {
        let films = self.pushed.0.lock().unwrap().remove(site);
        self.deploy_count -= films.map_or(0, |films| films.len()) as u64;
        node.verge_ok(&["site", "delete", site, "--confirm", site]);
    }

    /// Waits until the node has every version that was pushed.
    pub(crate) fn is_at(&self, node: &Node) {
        let site_count = self.pushed.sites().len();
        wait(node, |status| {
            status["published_count"] == site_count
                && status["here_count"] == site_count
                && status["deploy_count"] == self.deploy_count
        });
    }

    /// Waits until every node has all of it; then each serves the newest of every site.
    pub(crate) fn is_everywhere(&self, street: &Street, region: &Region) {
        for node in &region.nodes {
            self.is_at(node);
        }
        for (house, node) in region.nodes.iter().enumerate() {
            street.inside(house, || {
                // A name that was claimed on one side of a cut waits for its votes.
                until(|| self.served_count(node) == self.pushed.sites().len() as u64);
                self.is_served_by(node);
            });
        }
        region.all_in_step();
    }

    /// How many sites the node serves, all of whose bytes were pushed once.
    pub(crate) fn served_count(&self, node: &Node) -> u64 {
        let (sites, address) = (self.pushed.sites(), node.ready().https.unwrap());
        let ca = node.data().join("local-ca.pem");
        let served = sites.iter().filter(|site| {
            let Ok((200, body)) = fetch(&ca, address, site, FILM) else {
                return false;
            };
            assert!(self.pushed.version_of(site, FILM, &body).is_some());
            true
        });
        served.count() as u64
    }

    /// The newest of every site comes from the node, byte for byte.
    pub(crate) fn is_served_by(&self, node: &Node) {
        for site in self.pushed.sites() {
            for path in ["/", FILM] {
                let body = page(node, &host(&site), path);
                let body = body.unwrap_or_else(|status| panic!("{site}{path}: {status}"));
                let version = self.pushed.version_of(&site, path, &body);
                assert_eq!(version, Some(self.pushed.newest(&site)), "{site}{path}");
            }
        }
    }
}

/// Visitors at every node of a street, until it is told to end.
pub(crate) struct Watch {
    posts: Vec<Post>,
    watchers: Vec<(SyncSender<()>, JoinHandle<u64>)>,
}

/// What a visitor knows of its node.
#[derive(Clone)]
struct Post {
    house: String,
    ca: PathBuf,
    /// None while it is down.
    address: Arc<Mutex<Option<SocketAddr>>>,
    /// Sites that it has served since it was last wiped.
    held: Arc<Mutex<BTreeSet<String>>>,
}

impl Watch {
    pub(crate) fn start(street: &Street, region: &Region, pushed: &Pushed) -> Self {
        let nodes = region.nodes.iter().enumerate();
        let posts: Vec<Post> = nodes
            .map(|(house, node)| Post {
                house: street.house(house),
                ca: node.data().join("local-ca.pem"),
                address: Arc::new(Mutex::new(node.ready().https)),
                held: Arc::default(),
            })
            .collect();
        let watchers = posts.iter().map(|post| {
            let (post, pushed) = (post.clone(), pushed.clone());
            let (end, ended) = sync_channel(1);
            let watcher = std::thread::spawn(move || {
                enter(&post.house);
                let mut count = 0;
                while ended.recv_timeout(BETWEEN_ROUNDS) == Err(RecvTimeoutError::Timeout) {
                    count += post.look_at_all(&pushed);
                }
                count
            });
            (end, watcher)
        });
        let watchers = watchers.collect();
        Self { posts, watchers }
    }

    /// The node of a house is about to go down.
    pub(crate) fn goes_down(&self, house: usize) {
        *self.posts[house].address.lock().unwrap() = None;
    }

    /// It has lost what it held.
    pub(crate) fn is_wiped(&self, house: usize) {
        self.posts[house].held.lock().unwrap().clear();
    }

    /// It is there again.
    pub(crate) fn is_up(&self, house: usize, node: &Node) {
        *self.posts[house].address.lock().unwrap() = node.ready().https;
    }

    /// Ends it; gives how many right answers came.
    pub(crate) fn end(self) -> u64 {
        let ends = self.watchers.into_iter().map(|(end, watcher)| {
            drop(end);
            watcher.join().unwrap()
        });
        ends.sum()
    }
}

impl Post {
    fn look_at_all(&self, pushed: &Pushed) -> u64 {
        let mut count = 0;
        for site in pushed.sites() {
            for path in ["/", FILM] {
                let Some(address) = *self.address.lock().unwrap() else {
                    return count;
                };
                let is_held = self.held.lock().unwrap().contains(&site);
                let answer = fetch(&self.ca, address, &site, path);
                let is_up = *self.address.lock().unwrap() == Some(address);
                // Asked after the answer came: it may have been deleted meanwhile.
                let is_there = || pushed.newest(&site) > 0;
                match answer {
                    Ok((200, body)) => {
                        let version = pushed.version_of(&site, path, &body);
                        let start =
                            String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
                        assert!(version.is_some() || !is_there(), "{site}{path}: {start:?}");
                        // Before it went down counts for nothing.
                        let now = self.address.lock().unwrap();
                        if *now == Some(address) {
                            self.held.lock().unwrap().insert(site.clone());
                        }
                        count += 1;
                    }
                    other => {
                        let still = self.held.lock().unwrap().contains(&site);
                        let fails = is_held && still && is_up && is_there();
                        assert!(!fails, "{} {site}{path}: {other:?}", self.house);
                    }
                }
            }
        }
        count
    }
}

/// The status and the body, or why nothing came.
fn fetch(ca: &Path, at: SocketAddr, site: &str, path: &str) -> Result<(u16, Vec<u8>), String> {
    let visitor = Visitor::new(at, ca).map_err(|error| error.to_string())?;
    let answer = block_on(visitor.get(Protocol::Http2, &host(site), path, "br, gzip"));
    let answer = answer.map_err(|error| format!("{error:#}"))?;
    Ok((answer.head.status.as_u16(), answer.body))
}
