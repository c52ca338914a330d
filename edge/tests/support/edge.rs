//! An edge on free ports of loopback, with a certificate authority of its own.

use super::sample::Blobs;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use verge_edge::addresses::Proxies;
use verge_edge::challenges::Challenges;
use verge_edge::host::Host;
use verge_edge::http::blob_file::{BlobReader, Damage};
use verge_edge::http::health::Assurances;
use verge_edge::lan::Lan;
use verge_edge::listen::{Edge, EdgeConfig, Limits, Running};
use verge_edge::sites::{CacheBudget, LeftVersion, SiteAt, Sites};
use verge_edge::status_page::StatusPage;
use verge_edge::tls::{Certificates, Fallback, KeyExchange, LocalCa, TlsResolver};
use verge_sync::clock::{Clock, UnixTime};
use verge_sync::{SiteId, Version};

/// 2026-11-22, when these tests were written; certificates are made for it.
pub(crate) fn now() -> UnixTime {
    Clock::System.now()
}

pub(crate) struct TestEdge {
    pub(crate) running: Running,
    pub(crate) sites: Arc<Sites>,
    pub(crate) tls: Arc<TlsResolver>,
    pub(crate) ca_pem: String,
    pub(crate) damages: Arc<Mutex<Vec<Damage>>>,
    _ca_dir: tempfile::TempDir,
}

/// What a test may want otherwise.
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) budget: CacheBudget,
    pub(crate) hosts: Vec<&'static str>,
    pub(crate) assurances: Assurances,
    pub(crate) proxies: Proxies,
    pub(crate) lan: Option<Arc<Lan>>,
    pub(crate) status: Option<Arc<StatusPage>>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) key_exchange: KeyExchange,
    /// Where it listens.
    pub(crate) ip: IpAddr,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            budget: CacheBudget::default(),
            hosts: vec!["garden.example"],
            assurances: Assurances::default(),
            proxies: Proxies::default(),
            lan: None,
            status: None,
            challenges: Arc::default(),
            key_exchange: KeyExchange::default(),
            ip: Ipv4Addr::LOCALHOST.into(),
        }
    }
}

impl Setup {
    /// Starts with every host showing `version`.
    pub(crate) fn start(self, blobs: &Blobs, version: Version) -> TestEdge {
        let hosts: BTreeSet<Host> = self.hosts.iter().map(|h| h.parse().unwrap()).collect();
        let ca_dir = tempfile::tempdir().unwrap();
        let mut ca = LocalCa::open(ca_dir.path(), now()).unwrap();
        let leaves = ca.ensure(&hosts, now()).unwrap();
        let tls = Arc::new(TlsResolver::new(Certificates::new(
            leaves,
            Fallback::Refuse,
        )));
        let damages = Arc::new(Mutex::new(Vec::new()));
        let reports = Arc::clone(&damages);
        let reader = BlobReader::new(&blobs.path(), move |damage| {
            reports.lock().unwrap().push(damage);
        });
        let sites = Arc::new(Sites::new(reader, self.budget));
        sites.replace(
            hosts
                .into_iter()
                .map(|host| (host, site_at(version)))
                .collect(),
        );
        let any_port = SocketAddr::new(self.ip, 0);
        let config = EdgeConfig {
            http: vec![any_port],
            https: vec![any_port],
            workers: NonZeroUsize::new(2).unwrap(),
            limits: self.limits,
            assurances: self.assurances,
            proxies: self.proxies,
            lan: self.lan,
            status: self.status,
            challenges: self.challenges,
            key_exchange: self.key_exchange,
            ..EdgeConfig::default()
        };
        let running = Edge::start(config, Arc::clone(&sites), Some(Arc::clone(&tls))).unwrap();
        TestEdge {
            running,
            sites,
            tls,
            ca_pem: ca.certificate_pem().to_owned(),
            damages,
            _ca_dir: ca_dir,
        }
    }
}

impl TestEdge {
    pub(crate) fn http(&self) -> SocketAddr {
        self.running.http_addrs()[0]
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.running.https_addrs()[0]
    }

    /// Shows `version` under `host` only.
    pub(crate) fn show(&self, host: &str, version: Version) {
        let host: Host = host.parse().unwrap();
        self.sites
            .replace(HashMap::from([(host, site_at(version))]));
    }

    /// As [`Self::show`], after a rollback that left `left`.
    pub(crate) fn show_after(&self, host: &str, version: Version, left: LeftVersion) {
        let host: Host = host.parse().unwrap();
        let site = SiteAt {
            left: Some([left].into()),
            ..site_at(version)
        };
        self.sites.replace(HashMap::from([(host, site)]));
    }

    /// As [`Self::show`], and anybody may take the site out.
    pub(crate) fn show_with_takeout(&self, host: &str, version: Version) {
        let host: Host = host.parse().unwrap();
        let site = SiteAt {
            takeout_public: true,
            ..site_at(version)
        };
        self.sites.replace(HashMap::from([(host, site)]));
    }

    /// Without certificates, plain HTTP serves.
    pub(crate) fn forget_certificates(&self) {
        self.tls.replace(Certificates::default());
    }
}

pub(crate) fn site_at(version: Version) -> SiteAt {
    SiteAt {
        site: SiteId::from_bytes([7; 32]),
        version,
        takeout_public: false,
        left: None,
    }
}
