//! Every limit of receiving, each with what it protects.

use std::time::Duration;

/// What pushers and fetchers may use of this node.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once that have logged in; further ones are closed.
    pub connections: usize,
    /// Connections at once that have not logged in yet; further ones are closed unanswered. They
    /// have places of their own, so that strangers cannot take those of publishers.
    pub strangers: usize,
    /// Connections at once from one IPv4 address or one IPv6 network of 64 bits, so that one
    /// machine cannot take all of them.
    pub connections_per_address: usize,
    /// Commands at once in one connection; a git client needs one.
    pub channels_per_connection: usize,
    /// Keys that a connection may offer before it is closed.
    pub auth_attempts: usize,
    /// From connecting to having logged in.
    pub login_timeout: Duration,
    /// Without a byte in either direction while git runs (git itself sends one every 5 s).
    pub idle_timeout: Duration,
    /// A whole push or fetch, waiting for its turn aside.
    pub command_timeout: Duration,
    /// For git to move the refs after the decision, when the pusher has gone away meanwhile.
    pub finish_timeout: Duration,
    /// How long a pusher may take for `push_window_bytes_min` while its pack is on the way.
    pub push_window: Duration,
    /// What must arrive in each `push_window`: less would hold a push's place for nothing.
    pub push_window_bytes_min: u64,
    /// Pushes received at once, of which one account never has all while there are two: each may use a whole core and `git_data_bytes`.
    pub pushes: usize,
    /// Pushes that wait for their turn; further ones are told to come back.
    pub pushes_waiting: usize,
    /// Fetches served at once; further ones wait, as many as `pushes_waiting`.
    pub fetches: usize,
    /// Refs in one push.
    pub push_refs: usize,
    /// Length of a ref's name.
    pub ref_name_bytes: usize,
    /// Size of one push's pack (`receive.maxInputSize`).
    pub push_bytes: u64,
    /// Size of a site's repository above which no push to it begins: it may grow to this and
    /// one push more, so that no site can fill the disk with history.
    pub repository_bytes_max: u64,
    /// Size of one bundle of a site's history: other nodes take no larger blob.
    pub bundle_bytes_max: u64,
    /// Memory of one git process (`RLIMIT_DATA`).
    pub git_data_bytes: u64,
    /// Processor time of one git process.
    pub git_cpu_s: u64,
    /// Packs in a repository above which it is repacked after a push.
    pub packs: usize,
    /// Log lines that one push may show.
    pub log_lines: usize,
}

impl Limits {
    /// All bundles of a site's history together: twice what its repository may have.
    #[must_use]
    pub fn history_bytes_max(&self) -> u64 {
        let repository = self.repository_bytes_max.saturating_add(self.push_bytes);
        repository.saturating_mul(2)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            strangers: 32,
            connections_per_address: 16,
            channels_per_connection: 4,
            auth_attempts: 20,
            login_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            command_timeout: Duration::from_secs(3600),
            finish_timeout: Duration::from_secs(30),
            push_window: Duration::from_secs(60),
            push_window_bytes_min: 60 << 10,
            pushes: 2,
            pushes_waiting: 16,
            fetches: 4,
            push_refs: 256,
            ref_name_bytes: 200,
            push_bytes: 512 << 20,
            repository_bytes_max: 2 << 30,
            bundle_bytes_max: 1 << 30,
            git_data_bytes: 256 << 20,
            git_cpu_s: 600,
            packs: 50,
            log_lines: 5_000,
        }
    }
}
