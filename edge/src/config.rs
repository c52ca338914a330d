//! What a steward can set: one TOML file beside the data, every key with a default and a sentence.

use crate::addresses::Network;
use crate::belief::ClockTrust;
use crate::host::Host;
use crate::tls::KeyExchange;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use verge_sync::manifest::MANIFEST_BYTES_MAX;
use verge_sync::record::body::ADDRESSES_MAX;

/// The file name inside the data directory.
pub const FILE_NAME: &str = "config.toml";

/// The documented defaults, as `verge init` writes them.
pub const TEMPLATE: &str = include_str!("config_template.toml");

/// Who is looked at less often than once a day is not watched.
const BETWEEN_PROBES_S_MAX: u64 = 86_400;

/// As many as resolv.conf(5) takes: each costs time when none answers.
const RESOLVERS_MAX: usize = 3;
/// What a power cut may lose of what was counted.
const BETWEEN_SYNCS_S_MAX: u64 = 60;

/// What a dead disk may lose of what was counted.
const BETWEEN_SNAPSHOTS_S_MAX: u64 = 900;

/// A zone has a handful of servers; each is waited for.
const SECONDARIES_MAX: usize = 8;

/// Letters of the places of a node, for others and for visitors: with keys, names and signatures a
/// record of 2 KiB is full.
pub const PLACES_BYTES_MAX: usize = 1_200;

/// Everything that a steward can set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where visitors and publishers reach this node.
    pub listen: Listen,
    /// The DNS zones that this node expects its region to have.
    pub zones: Zones,
    /// Where certificates come from.
    pub tls: Tls,
    /// What one visitor may take.
    pub visitors: Visitors,
    /// Memory that is spent to save disk reads.
    pub cache: Cache,
    /// What a push may bring.
    pub push: Push,
    /// What a build may take.
    pub build: Build,
    /// What goes to the other nodes and comes from them, beside records.
    pub exchange: Exchange,
    /// How the other nodes are looked at.
    pub watch: Watch,
    /// How the disk is looked after.
    pub store: StoreCare,
    /// Whom to ask about the DNS proofs of hosts.
    pub dns: Dns,
    /// The server that changes the region's zone for this node, if it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_update: Option<DnsUpdate>,
    /// The time of day.
    pub time: Time,
    /// How what is served is counted.
    pub accounting: Accounting,
}

/// How what is served is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accounting {
    /// Seconds after which what was written of it is synced: so much a power cut may lose.
    pub between_syncs_s: u64,
    /// Seconds after which the witnesses of this node get what was counted: so much a dead disk may
    /// lose.
    pub between_snapshots_s: u64,
}

/// How far the machine's clock is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// `"checked"` or `"trusted"`.
    pub clock: ClockTrust,
    /// Seconds that this node's clock is ahead of the machine's: in a region for tests alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_ahead_s: Option<u32>,
}

/// Addresses and ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Plain HTTP; empty for none.
    pub http: Vec<SocketAddr>,
    /// HTTPS; empty for none.
    pub https: Vec<SocketAddr>,
    /// `git push` over SSH; empty for none.
    pub ssh: Vec<SocketAddr>,
    /// The other nodes of the region, over UDP; empty for a node that stays alone.
    pub nodes: Vec<SocketAddr>,
    /// Where the other nodes find this one; empty for the addresses of its interfaces.
    pub public_nodes: Vec<String>,
    /// Where other nodes are looked for that are not at the addresses of their records.
    pub known_nodes: Vec<String>,
    /// Where visitors find this node's HTTPS, as the other nodes are told; empty for the addresses
    /// that it listens on, with [`Listen::public_https_port`].
    pub public_https: Vec<String>,
    /// The HTTPS port in URLs that are shown to people, where it is not the one listened on.
    pub public_https_port: Option<u16>,
    /// The SSH port in URLs that are shown to people, where it is not the one listened on.
    pub public_ssh_port: Option<u16>,
    /// The name, below `.local`, of a page that lists this node's sites; none: no such page.
    pub lan_host: Option<String>,
}

/// The region's two zones, for `verge config check`; the region's own step is what counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Zones {
    /// Under which every site has its label.
    pub site: Option<String>,
    /// Under which the admin pages are.
    pub admin: Option<String>,
    /// Accepts that pages of any site can set cookies for the admin pages.
    pub accept_shared_domain: bool,
}

/// Where certificates come from (the region, files, a CA of this node's own), and how handshakes go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// `"local"`: this node makes its own CA; browsers trust it once `local-ca.pem` is imported.
    /// `"region"`: its part of the region's own, for the names that are the region's own.
    pub ca: Option<LocalCa>,
    /// A PEM file: the certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// A PEM file: the certificate's private key.
    pub key: Option<PathBuf>,
    /// Whether certificates of the region are used, which its issuers order and owners bring.
    pub ordered: bool,
    /// PEM files: authorities beside those that browsers trust.
    pub roots: Vec<PathBuf>,
    /// Whether keys are agreed on by X25519 and ML-KEM-768 together, where the visitor has both.
    pub post_quantum: bool,
}

impl Tls {
    /// What `post_quantum` asks for.
    #[must_use]
    pub fn key_exchange(&self) -> KeyExchange {
        if self.post_quantum {
            KeyExchange::PostQuantum
        } else {
            KeyExchange::Classical
        }
    }
}

/// The kinds of CA that a node can be for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalCa {
    /// Made on first start, kept in the data directory.
    Local,
    /// What `verge region ca` has put into the data directory.
    Region,
}

/// Limits on connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Visitors {
    /// Open connections at once.
    pub connections_max: usize,
    /// Open connections of one address (IPv6: of one /64) among these; more are closed at once.
    pub connections_per_address_max: u32,
    /// Bytes of a request's header.
    pub header_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of a request's path and query.
    pub uri_bytes_max: usize,
    /// HTTP/2 streams of one connection at once.
    pub streams_max: u32,
    /// HTTP/2 streams of one connection that may be cancelled within 10 s.
    pub resets_max: u32,
    /// HTTP/2 frames of one connection within 10 s that ask for nothing.
    pub control_frames_max: u32,
    /// Bytes of answers that are on their way to visitors.
    pub answer_bytes_max: usize,
    /// Time for a request's header to arrive.
    pub header_timeout_ms: u64,
    /// Time for a TLS handshake.
    pub handshake_timeout_ms: u64,
    /// Time that a connection may do nothing.
    pub idle_timeout_ms: u64,
    /// Bytes per second that a visitor must take of an answer, on average over `slow_timeout_ms`.
    pub bytes_per_second_min: u64,
    /// Time over which the pace of a visitor is measured.
    pub slow_timeout_ms: u64,
    /// Time that open requests get to end after SIGTERM.
    pub drain_timeout_ms: u64,
    /// Threads that serve; 0 is one for each core.
    pub threads: usize,
    /// TCP proxies, whose connections must begin with a PROXY protocol header, version 2.
    pub proxy_protocol_from: Vec<Network>,
    /// HTTP proxies, whose requests must carry `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub forwarded_from: Vec<Network>,
}

/// Memory budgets in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Path tables of sites that were visited of late.
    pub manifest_bytes: u64,
    /// Small files that were visited of late.
    pub body_bytes: u64,
    /// What is said of files that were visited of late.
    pub page_bytes: u64,
}

/// What a push may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Push {
    /// Bytes that one push may send.
    pub pack_bytes_max: u64,
    /// Pushes and builds at once; others wait.
    pub at_once_max: usize,
    /// Memory of one `git` process.
    pub git_memory_bytes_max: u64,
}

/// What a build may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Memory of one build (`RLIMIT_DATA`).
    pub memory_bytes_max: u64,
    /// Threads of one build; 0 is one for each core.
    pub threads: usize,
    /// Files and folders of a site.
    pub entries_max: u64,
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of all files of a site together.
    pub site_bytes_max: u64,
}

/// What goes to the other nodes and comes from them, beside records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exchange {
    /// Bytes a second that go to nodes that are not on the same network; 0 for no limit.
    pub send_bytes_per_second_max: u64,
    /// Bytes a second that come from nodes that are not on the same network; 0 for no limit.
    pub receive_bytes_per_second_max: u64,
    /// Versions that are brought at once.
    pub at_once_max: usize,
}

/// How the other nodes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// Seconds between two looks at the same node, on average; 0 for no looks.
    pub between_probes_s: u64,
}

/// How the disk is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreCare {
    /// Days in which every stored byte is read again and compared with its digest; 0 for never.
    pub scrub_days: u32,
    /// Bytes of content that are kept; 0 for what the disk has.
    pub bytes_max: u64,
}

/// Whom to ask about the DNS proofs of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Resolvers, as `ADDRESS:PORT`; the system's, if there are none.
    pub resolvers: Vec<SocketAddr>,
}

/// Dynamic update of the region's DNS zone (RFC 2136), signed (RFC 8945, hmac-sha256).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsUpdate {
    /// The zone's primary server, as `ADDRESS:PORT`.
    pub server: SocketAddr,
    /// The zone, such as `sites.example.org`.
    pub zone: String,
    /// By what name the server knows the key.
    pub key_name: String,
    /// The key's file (mode 0600): random bytes in base64.
    pub key_file: PathBuf,
    /// Servers that must answer with a change before it counts; the primary, if there are none.
    #[serde(default)]
    pub answers_from: Vec<SocketAddr>,
    /// Whether this node keeps the addresses of the region's hosts in the zone.
    #[serde(default)]
    pub addresses: bool,
}

impl Default for Listen {
    fn default() -> Self {
        let any = |port| SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        Self {
            http: vec![any(80)],
            https: vec![any(443)],
            ssh: vec![any(2222)],
            nodes: vec![
                SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 4420)),
                any(4420),
            ],
            public_nodes: Vec::new(),
            known_nodes: Vec::new(),
            public_https: Vec::new(),
            public_https_port: None,
            public_ssh_port: None,
            lan_host: None,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca: None,
            certificate: None,
            key: None,
            ordered: true,
            roots: Vec::new(),
            post_quantum: true,
        }
    }
}

impl Default for Visitors {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            connections_per_address_max: 256,
            header_bytes_max: 16 << 10,
            headers_max: 100,
            uri_bytes_max: 8 << 10,
            streams_max: 100,
            resets_max: 500,
            control_frames_max: 1000,
            answer_bytes_max: 64 << 20,
            header_timeout_ms: 10_000,
            handshake_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            bytes_per_second_min: 1024,
            slow_timeout_ms: 30_000,
            drain_timeout_ms: 10_000,
            threads: 0,
            proxy_protocol_from: Vec::new(),
            forwarded_from: Vec::new(),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            manifest_bytes: 16 << 20,
            body_bytes: 16 << 20,
            page_bytes: 4 << 20,
        }
    }
}

impl Default for Push {
    fn default() -> Self {
        Self {
            pack_bytes_max: 512 << 20,
            at_once_max: 2,
            git_memory_bytes_max: 256 << 20,
        }
    }
}

impl Default for Build {
    fn default() -> Self {
        Self {
            memory_bytes_max: 192 << 20,
            threads: 0,
            entries_max: 50_000,
            file_bytes_max: 100 << 20,
            site_bytes_max: 1 << 30,
        }
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self {
            send_bytes_per_second_max: 0,
            receive_bytes_per_second_max: 0,
            at_once_max: 3,
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            between_probes_s: 600,
        }
    }
}

impl Watch {
    /// Between two looks at the same node, on average; nothing for no looks.
    #[must_use]
    pub fn between_probes(&self) -> Duration {
        Duration::from_secs(self.between_probes_s)
    }
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            between_syncs_s: BETWEEN_SYNCS_S_MAX,
            between_snapshots_s: BETWEEN_SNAPSHOTS_S_MAX,
        }
    }
}

impl Time {
    /// How far the clock is trusted: the one of a test's own always.
    #[must_use]
    pub fn trust(&self) -> ClockTrust {
        if self.test_ahead_s.is_some() {
            return ClockTrust::Trusted;
        }
        self.clock
    }
}

impl Default for StoreCare {
    fn default() -> Self {
        Self {
            scrub_days: 30,
            bytes_max: 0,
        }
    }
}

/// A configuration that cannot be used; the steward is at fault and told what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such file, or it cannot be read.
    #[error("read {path}; run `verge init` first or name its directory with --data", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, or a key that does not exist.
    #[error("{path}: {detail}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        detail: String,
    },
    /// A value that cannot work.
    #[error("{key}: {why}")]
    Value {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong and what to write instead.
        why: String,
    },
}

impl Config {
    /// Reads `path` and checks every value.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        check_renamed(&text)?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            detail: error.to_string().trim_end().to_owned(),
        })?;
        config.check()?;
        Ok(config)
    }

    /// The rules that go beyond types.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the first key that cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_doors()?;
        if let Some((key, _zero)) = self.counts().into_iter().find(|(_, number)| *number == 0) {
            return wrong(key, "must be more than 0");
        }
        if self.visitors.header_bytes_max < 8_192 {
            return wrong("visitors.header_bytes_max", "must be at least 8192");
        }
        if self.cache.manifest_bytes < MANIFEST_BYTES_MAX {
            let why = "must be at least 16777216: the largest path table";
            return wrong("cache.manifest_bytes", why);
        }
        if self.watch.between_probes_s > BETWEEN_PROBES_S_MAX {
            return wrong("watch.between_probes_s", "must be at most 86400: a day");
        }
        if !(1..=BETWEEN_SYNCS_S_MAX).contains(&self.accounting.between_syncs_s) {
            let why = "must be 1 to 60: what a power cut may lose of what was counted";
            return wrong("accounting.between_syncs_s", why);
        }
        if !(1..=BETWEEN_SNAPSHOTS_S_MAX).contains(&self.accounting.between_snapshots_s) {
            let why = "must be 1 to 900: what a dead disk may lose of what was counted";
            return wrong("accounting.between_snapshots_s", why);
        }
        if self.dns.resolvers.len() > RESOLVERS_MAX {
            return wrong("dns.resolvers", "name at most 3 resolvers");
        }
        if let Some(update) = &self.dns_update {
            if update.answers_from.len() > SECONDARIES_MAX {
                return wrong("dns_update.answers_from", "name at most 8 servers");
            }
            if Host::parse(&update.zone).is_err() {
                let why = "must be a DNS zone, such as \"sites.example.org\"";
                return wrong("dns_update.zone", why);
            }
        }
        if self.build.memory_bytes_max < 64 << 20 {
            let why = "a build needs at least 67108864 (64 MiB)";
            return wrong("build.memory_bytes_max", why);
        }
        Ok(())
    }

    /// Listeners and certificates have to go together.
    fn check_doors(&self) -> Result<(), ConfigError> {
        if self.tls.ca.is_some() && self.tls.certificate.is_some() {
            return wrong(
                "tls",
                "name either `ca` or `certificate` and `key`, not both",
            );
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return wrong(
                "tls",
                "`certificate` and `key` go together: name both or none",
            );
        }
        let may_have_tls = self.tls.ordered && !self.listen.https.is_empty();
        if self.listen.http.is_empty() && !self.has_own_tls() && !may_have_tls {
            let why = "without certificates only `listen.http` can be served, and it is empty";
            return wrong("tls", why);
        }
        let is_place = |address: &String| {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            matches!(port, Some(Ok(1..))) && address.len() <= 128
        };
        let places = &self.listen.public_nodes;
        let why = "name at most 8 places, each as \"ADDRESS:PORT\" or \"NAME:PORT\"";
        let visited = &self.listen.public_https;
        for (key, places) in [
            ("listen.public_nodes", places),
            ("listen.public_https", visited),
            ("listen.known_nodes", &self.listen.known_nodes),
        ] {
            if places.len() > ADDRESSES_MAX || !places.iter().all(is_place) {
                return wrong(key, why);
            }
        }
        let bytes: usize = places.iter().chain(visited).map(String::len).sum();
        if bytes > PLACES_BYTES_MAX {
            let why = "with `public_nodes` at most 1200 letters fit the record of a node";
            return wrong("listen.public_https", why);
        }
        if self.listen.http.is_empty() && self.listen.https.is_empty() {
            return wrong("listen", "name at least one address in `http` or `https`");
        }
        self.check_lan_host()
    }

    /// Only names that nobody else can have (RFC 6762 section 3), so that the page stands in no
    /// site's way.
    fn check_lan_host(&self) -> Result<(), ConfigError> {
        let Some(name) = &self.listen.lan_host else {
            return Ok(());
        };
        let is_local = Host::parse(name).is_ok_and(|host| host.as_str().ends_with(".local"));
        if !is_local || name.contains(':') {
            let why = "must be a name that ends in .local, such as \"verge.local\"";
            return wrong("listen.lan_host", why);
        }
        if self.listen.http.is_empty() {
            let why = "its page is plain HTTP, and `listen.http` is empty";
            return wrong("listen.lan_host", why);
        }
        Ok(())
    }

    /// Numbers of which 0 makes no sense.
    fn counts(&self) -> [(&'static str, u64); 18] {
        let (visitors, push, build) = (&self.visitors, &self.push, &self.build);
        let per_address = u64::from(visitors.connections_per_address_max);
        [
            ("visitors.connections_max", wide(visitors.connections_max)),
            ("visitors.connections_per_address_max", per_address),
            ("visitors.headers_max", wide(visitors.headers_max)),
            ("visitors.resets_max", u64::from(visitors.resets_max)),
            (
                "visitors.control_frames_max",
                u64::from(visitors.control_frames_max),
            ),
            ("visitors.answer_bytes_max", wide(visitors.answer_bytes_max)),
            ("visitors.slow_timeout_ms", visitors.slow_timeout_ms),
            ("visitors.streams_max", u64::from(visitors.streams_max)),
            ("visitors.header_timeout_ms", visitors.header_timeout_ms),
            (
                "visitors.handshake_timeout_ms",
                visitors.handshake_timeout_ms,
            ),
            ("visitors.idle_timeout_ms", visitors.idle_timeout_ms),
            ("push.pack_bytes_max", push.pack_bytes_max),
            ("push.at_once_max", wide(push.at_once_max)),
            ("push.git_memory_bytes_max", push.git_memory_bytes_max),
            ("exchange.at_once_max", wide(self.exchange.at_once_max)),
            ("build.entries_max", build.entries_max),
            ("build.file_bytes_max", build.file_bytes_max),
            ("build.site_bytes_max", build.site_bytes_max),
        ]
    }

    /// Whether visitors can be served over HTTPS without the region.
    #[must_use]
    pub fn has_own_tls(&self) -> bool {
        self.tls.ca.is_some() || self.tls.certificate.is_some()
    }

    /// As TOML, with every key.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every value of a configuration has a TOML form")
    }
}

impl Visitors {
    /// Time that open requests get to end after SIGTERM.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

/// `region` stood beside `ca = "region"`, which is something else.
fn check_renamed(text: &str) -> Result<(), ConfigError> {
    // What does not read at all is said below, with its line.
    let table: toml::Table = text.parse().unwrap_or_default();
    let tls = table.get("tls").and_then(|tls| tls.as_table());
    if tls.is_some_and(|tls| tls.contains_key("region")) {
        return wrong(
            "tls.region",
            "is called `tls.ordered` now: write `ordered = ` in its place",
        );
    }
    Ok(())
}

fn wrong(key: &'static str, why: &str) -> Result<(), ConfigError> {
    let why = why.to_owned();
    Err(ConfigError::Value { key, why })
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_the_default() {
        let read: Config = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(read, Config::default());
    }

    /// The parts derive their defaults beside their code; the steward's file says the same.
    #[test]
    fn defaults_are_those_of_the_parts() {
        let (config, edge) = (Config::default(), crate::listen::Limits::default());
        let receive = crate::receive::Limits::default();
        let caches = crate::sites::CacheBudget::default();
        assert_eq!(config.visitors.connections_max, edge.connection_count_max);
        assert_eq!(config.visitors.header_bytes_max, edge.header_bytes_max);
        assert_eq!(config.visitors.headers_max, edge.header_count_max);
        assert_eq!(config.visitors.streams_max, edge.stream_count_max);
        assert_eq!(config.cache.manifest_bytes, caches.manifest_bytes_max);
        assert_eq!(config.cache.body_bytes, caches.body_bytes_max);
        assert_eq!(config.cache.page_bytes, caches.page_bytes_max);
        assert_eq!(config.push.pack_bytes_max, receive.push_bytes);
        assert_eq!(config.push.at_once_max, receive.pushes);
        assert_eq!(config.push.git_memory_bytes_max, receive.git_data_bytes);
        let limits = crate::publish::limits(&config.build);
        assert_eq!(limits, verge_builder::Limits::default());
    }

    #[test]
    fn template_names_every_key() {
        for line in Config::default().to_toml().lines() {
            if let Some((key, _)) = line.split_once(" = ") {
                assert!(
                    TEMPLATE.contains(&format!("{key} = ")),
                    "{key} is not documented"
                );
            }
        }
    }

    #[test]
    fn printed_form_is_read_back() {
        let config = Config::default();
        assert_eq!(toml::from_str::<Config>(&config.to_toml()).unwrap(), config);
    }

    #[test]
    fn a_key_that_is_called_otherwise_now_says_how() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, "[tls]\nregion = false").unwrap();
        let said = Config::read(&path).unwrap_err().to_string();
        assert!(said.contains("`tls.ordered` now"), "{said}");
        std::fs::write(&path, "[tls]\nordered = false").unwrap();
        assert!(!Config::read(&path).unwrap().tls.ordered);
        std::fs::write(&path, "[tls\nregion = false").unwrap();
        let said = Config::read(&path).unwrap_err().to_string();
        assert!(said.contains("line 1"), "{said}");
    }

    /// Places of so many letters together.
    fn crowded(letters: usize) -> String {
        let place = |letters: usize| format!("\"{}:1\"", "a".repeat(letters - 2));
        let nodes = vec![place(128); 8].join(", ");
        let https = [place(100), place(letters - 8 * 128 - 100)].join(", ");
        format!("[listen]\npublic_nodes = [{nodes}]\npublic_https = [{https}]")
    }

    #[test]
    fn places_fit_the_record_of_a_node() {
        let config: Config = toml::from_str(&crowded(PLACES_BYTES_MAX)).unwrap();
        config.check().unwrap();
    }

    #[test]
    fn bad_values_are_named() {
        let rows = [
            (
                "[tls]\nca = \"local\"\ncertificate = \"a\"\nkey = \"b\"",
                "tls: name either",
            ),
            (
                "[tls]\nkey = \"b\"",
                "tls: `certificate` and `key` go together",
            ),
            (
                "[listen]\nhttp = []\nhttps = []",
                "tls: without certificates",
            ),
            (
                "[tls]\nca = \"local\"\n[listen]\nhttp = []\nhttps = []",
                "listen: name at least one",
            ),
            (
                "[listen]\npublic_nodes = [\"example.org\"]",
                "listen.public_nodes: name at most 8",
            ),
            (
                "[listen]\nknown_nodes = [\"example.org\"]",
                "listen.known_nodes: name at most 8",
            ),
            (
                "[listen]\nlan_host = \"verge.example\"",
                "listen.lan_host: must be a name that ends in .local",
            ),
            (
                "[listen]\nlan_host = \"verge.local:80\"",
                "listen.lan_host: must be a name that ends in .local",
            ),
            (
                "[listen]\nhttp = []\nlan_host = \"verge.local\"\n[tls]\nca = \"local\"",
                "listen.lan_host: its page is plain HTTP",
            ),
            (
                "[cache]\nmanifest_bytes = 1",
                "cache.manifest_bytes: must be at least",
            ),
            (
                "[push]\nat_once_max = 0",
                "push.at_once_max: must be more than 0",
            ),
            (
                "[dns]\nresolvers = [\"[::1]:1\", \"[::1]:2\", \"[::1]:3\", \"[::1]:4\"]",
                "dns.resolvers: name at most 3",
            ),
            (
                &dns_update("a..b", 0),
                "dns_update.zone: must be a DNS zone",
            ),
            (
                &dns_update("sites.example", SECONDARIES_MAX + 1),
                "dns_update.answers_from: name at most 8",
            ),
            (
                "[build]\nmemory_bytes_max = 1",
                "build.memory_bytes_max: a build needs",
            ),
            (
                "[visitors]\nheader_bytes_max = 100",
                "visitors.header_bytes_max: must be at least",
            ),
        ];
        rows.iter().for_each(|row| is_refused(*row));
    }

    fn dns_update(zone: &str, server_count: usize) -> String {
        let servers = vec!["\"[::1]:53\""; server_count].join(", ");
        format!(
            "[dns_update]\nserver = \"[::1]:53\"\nzone = \"{zone}\"\nkey_name = \"k\"\n\
             key_file = \"k\"\nanswers_from = [{servers}]"
        )
    }

    #[test]
    fn a_zone_s_server_is_read_and_printed() {
        let text = dns_update("sites.example", SECONDARIES_MAX);
        let config: Config = toml::from_str(&text).unwrap();
        config.check().unwrap();
        assert_eq!(toml::from_str::<Config>(&config.to_toml()).unwrap(), config);
        assert!(toml::from_str::<Config>("[dns_update]\nzone = \"a\"").is_err());
    }

    fn is_refused((text, expected): (&str, &str)) {
        let config: Config = toml::from_str(text).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }

    #[test]
    fn looks_at_the_others_have_a_place_and_a_pace() {
        let rows = [
            (
                "[listen]\npublic_https = [\"example.org\"]",
                "listen.public_https: name at most 8",
            ),
            (
                &crowded(PLACES_BYTES_MAX + 1),
                "listen.public_https: with `public_nodes` at most",
            ),
            (
                "[watch]\nbetween_probes_s = 86401",
                "watch.between_probes_s: must be at most 86400",
            ),
        ];
        rows.iter().for_each(|row| is_refused(*row));
        let never: Config = toml::from_str("[watch]\nbetween_probes_s = 0").unwrap();
        never.check().unwrap();
    }

    #[test]
    fn unknown_key_is_refused_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, "[listen]\nhtpp = []\n").unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("htpp"),
            "{error}"
        );
    }
}
