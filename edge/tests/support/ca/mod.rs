//! A small ACME server of the tests, for what Pebble lacks: renewal advice, profiles, rate limits,
//! and failures at a chosen request.
//!
//! It runs in a thread of its own and ends with its handle. Requests are verified as RFC 8555
//! section 6 says (signature, nonce, URL, key); what breaks a rule is answered with its problem.
//! `protocol` knows no network, `serve` knows nothing else.

mod jws;
mod protocol;
mod serve;
mod sign;
mod validate;

pub(crate) use protocol::{Certificate, Profiles};

/// What new orders may be refused with.
pub(crate) fn problem(status: u16, kind: &str, detail: &str) -> protocol::Problem {
    protocol::Problem::new(status, kind, detail)
}
use protocol::{State, Switches};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use tokio::sync::{oneshot, watch};
use verge_edge::acme::zone::Change;
use verge_edge::acme::{Directory, Timeouts, Zone};

/// What the server and its handle share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Texts of the zone that it looks at for dns-01.
    texts: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Where names are looked up for http-01; the empty name stands for all others.
    routes: Mutex<BTreeMap<String, SocketAddr>>,
    /// How many requests were held and never answered.
    stalled: watch::Sender<u64>,
}

/// A running server.
pub(crate) struct Ca {
    shared: Arc<Shared>,
    address: SocketAddr,
    root_pem: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ca {
    /// Starts one on a free port of loopback.
    pub(crate) fn start() -> Self {
        serve::start()
    }

    /// The URL of its directory.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    /// The authority of its own certificate and of those that it issues.
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
            request: std::time::Duration::from_millis(request_ms),
            ..Timeouts::default()
        })
    }

    /// Turns switches.
    pub(crate) fn switch(&self, turn: impl FnOnce(&mut Switches)) {
        turn(&mut self.state().switches);
    }

    /// Looks for `name` at `address`; the empty name stands for all that have none.
    pub(crate) fn route(&self, name: &str, address: SocketAddr) {
        let mut routes = self.shared.routes.lock().unwrap();
        routes.insert(name.to_owned(), address);
    }

    /// What it issued so far, in order.
    pub(crate) fn certificates(&self) -> Vec<Certificate> {
        self.state().certificates.clone()
    }

    /// All requests so far, such as `POST new-order`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// All orders' wishes so far, as they were sent.
    pub(crate) fn wishes(&self) -> Vec<serde_json::Value> {
        self.state().wishes.clone()
    }

    /// Forgets all orders, as a server does after a week.
    pub(crate) fn forget_orders(&self) {
        self.state().forget_orders();
    }

    /// Ends when so many requests have been held and never answered.
    pub(crate) async fn stalled(&self, count: u64) {
        let mut stalled = self.shared.stalled.subscribe();
        stalled.wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// A zone in its memory.
    pub(crate) fn zone(&self) -> MemoryZone {
        MemoryZone(Arc::clone(&self.shared))
    }

    /// How many texts are left in that zone.
    pub(crate) fn text_count(&self) -> usize {
        self.shared
            .texts
            .lock()
            .unwrap()
            .values()
            .map(BTreeSet::len)
            .sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The zone that the server asks for dns-01.
pub(crate) struct MemoryZone(Arc<Shared>);

impl Zone for MemoryZone {
    fn set_txt<'a>(&'a self, name: &'a str, value: &'a str) -> Change<'a> {
        let mut texts = self.0.texts.lock().unwrap();
        texts
            .entry(name.to_owned())
            .or_default()
            .insert(value.to_owned());
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove_txt<'a>(&'a self, name: &'a str, value: &'a str) -> Change<'a> {
        let mut texts = self.0.texts.lock().unwrap();
        texts.entry(name.to_owned()).or_default().remove(value);
        Box::pin(std::future::ready(Ok(())))
    }
}
