//! The node put together: what starts after what, and what stops before what.
//!
//! Start: keys, store, records, what visitors see, the port for other nodes, listeners for visitors,
//! listeners for publishers and stewards, the ready line. Nothing waits for the network, but a
//! newcomer before it first serves.
//! Stop (SIGTERM, SIGINT): publishers' and stewards' doors, then visitors' with a drain, then the
//! other nodes, then the store. Only this file sees all parts.

mod accounting;
mod among;
mod certificates;
mod certification;
mod closing;
mod collection;
mod doctor;
mod fitness;
mod housekeeping;
mod names;
mod process;
mod showing;
mod status;
mod stopping;
mod witnessing;
mod zone_addresses;

use crate::accounting::desk::Desk;
use crate::addresses::Proxies;
use crate::admin::api::{Addresses, Api, Door};
use crate::build_child::BuildChild;
use crate::certificates::Review;
use crate::cli::node::Ready;
use crate::config::{Config, ConfigError};
use crate::host::Host;
use crate::http::blob_file::{BlobReader, Damage};
use crate::http::health::{Assurances, HealthSigner};
use crate::lan::Lan;
use crate::listen::{Edge, EdgeConfig, Limits, PlainHttp, Running};
use crate::node_keys::NodeKeys;
use crate::publish::Publishing;
use crate::pushes::Pushes;
use crate::receive;
use crate::region::RegionView;
use crate::sites::{CacheBudget, SiteAt, Sites};
use crate::status_page::StatusPage;
use crate::witness::{OpenDays, Witnessing};
use accounting::{Keeping, Manner};
use among::{Among, Welcome};
use anyhow::Context;
use certification::Certification;
use showing::Showing;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stopping::StopSignal;
use tokio::sync::{mpsc, watch};
use verge_sync::clock::Clock;
use verge_sync::content::Thrift;
use verge_sync::id::{SiteId, Version};
use verge_sync::record::Effect;
use verge_sync::store::{LocalDisk, Store};

/// Damage reports that wait to be looked at; more are dropped, the next request makes them again.
const DAMAGE_REPORTS_MAX: usize = 64;
/// Time that a push under way gets to end.
const PUSH_GRACE: Duration = Duration::from_secs(10);

/// Runs the node of `data` until it is asked to stop.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn serve(data: &Path, config: Config) -> anyhow::Result<()> {
    process::prepare();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build()?;
    let data = data
        .canonicalize()
        .with_context(|| format!("read {}", data.display()))?;
    runtime.block_on(run(&data, config))
}

async fn run(data: &Path, config: Config) -> anyhow::Result<()> {
    let keys = NodeKeys::read(data)?;
    let host_secret = host_secret(&keys);
    let assurances = assurances(&keys);
    let store = Store::open(data, Arc::new(LocalDisk))?;
    collection::forget_lost(&store).await?;
    let Opened {
        region,
        showing,
        sites,
        damages,
        tls,
        lan,
        thrift,
    } = open(data, &config, keys, &store)?;
    let reviews = showing.certification().reviews();
    let counting = Arc::new(Desk::new(store.clone()));
    let beside = (&thrift, &counting);
    let mut stop = StopSignal::new()?;
    let among = among(&store, &region, &config, beside, (reviews, &mut stop)).await?;
    let Some(mut among) = among else {
        return Ok(());
    };
    let manner = manner(&config, among.witnessing());
    let books = accounting::start(&store, &region, &counting, among.clock(), manner).await?;
    let page = showing.status();
    status::show(&page, &region, &among.membership).await;
    let mut edge = edge_config(&config);
    (edge.assurances, edge.lan) = (assurances, lan.clone());
    edge.status = Some(Arc::clone(&page));
    edge.meter = Arc::clone(&counting.meter);
    edge.challenges = showing.challenges();
    let edge = Edge::start(edge, sites, tls)?;
    complete(lan.as_deref(), &edge, &showing, &region);
    let welcome = among.welcome(&config, &edge);
    let welcome = if showing.certification().has_any() {
        welcome.say(&region).await?;
        None
    } else {
        welcome.say_later(&region).await?;
        Some(welcome)
    };
    let up = Up {
        store,
        region,
        showing,
        thrift,
        among,
        edge,
        page,
        damages,
        welcome,
        books,
        stop,
    };
    attend(up, data, config, host_secret).await
}

/// What is there when visitors are served already.
struct Up {
    store: Store,
    region: Arc<RegionView>,
    showing: Arc<Showing>,
    thrift: Arc<Thrift>,
    among: Among,
    edge: Running,
    page: Arc<StatusPage>,
    damages: mpsc::Receiver<Damage>,
    welcome: Option<Welcome>,
    books: Keeping,
    stop: StopSignal,
}

/// Opens the doors of publishers and stewards, and looks after everything until it is asked to stop.
async fn attend(up: Up, data: &Path, config: Config, host_secret: [u8; 32]) -> anyhow::Result<()> {
    let Up {
        store,
        region,
        showing,
        thrift,
        among,
        edge,
        page,
        damages,
        welcome,
        books,
        mut stop,
    } = up;
    let publishing = publishing(&store, &region, &config, &thrift)?;
    let ssh_host_key = receive::host_public_key(&host_secret)?;
    let (wishes, wished) = mpsc::channel(names::WISHES_MAX);
    let zone_addresses = zone_addresses::open(data, &config, &region)?;
    let (desk, issuing) =
        certificates::issuing(data, &config, (&store, &region), &showing, &among)?;
    let api = |ssh_port, keep| {
        Arc::new(Api {
            region: Arc::clone(&region),
            publishing: Arc::clone(&publishing),
            receipts: among.receipts(&region),
            membership: Arc::clone(&among.membership),
            addresses: addresses(&config, (&edge, &region), (ssh_port, &ssh_host_key)),
            desk: Arc::clone(&desk),
            wishes: wishes.clone(),
            keep,
        })
    };
    let ssh_port = config.listen.ssh.first().map(|address| address.port());
    let pushes = pushes(api(ssh_port, None), &among)?;
    let receiving = receive_config(data, &config, host_secret)?;
    let receiver = receive::start(receiving, Arc::new(pushes)).await?;
    let ssh = receiver.addresses().first().copied();
    let door = Door::open(data, &random()?).context("open the admin socket")?;
    let kept = (&store, &config);
    let keep = doctor::keep(kept, &region, (&showing, &among), &edge, &receiver)?;
    let admin = api(ssh.map(|address| address.port()), Some(keep));
    let collection = among.collection(&store, &region, &thrift, receiver.histories());
    let _scrub = housekeeping::scrub(&store, config.store, among.repairs())?;
    let membership = Arc::clone(&among.membership);
    let chores = [
        tokio::spawn(collection.run()),
        tokio::spawn(housekeeping::recheck_reported(
            store.clone(),
            damages,
            among.repairs().clone(),
        )),
        tokio::spawn(door.serve(admin)),
        tokio::spawn(names::look_after(&region, &config.dns, wished)),
        tokio::spawn(status::keep(page, Arc::clone(&region), membership)),
        tokio::spawn(zone_addresses::keep(zone_addresses)),
        closing::start(&store, &region, among.repairs()),
        tokio::spawn(certificates::look_after(
            (showing, Arc::clone(&region)),
            among.repairs().clone(),
            welcome,
            issuing,
        )),
    ];
    announce(&edge, ssh, among.bound());
    until_stopped(&receiver, &mut stop).await;
    chores.iter().for_each(tokio::task::JoinHandle::abort);
    wind_up((receiver, edge, books, among), &config).await;
    Ok(())
}

/// The doors of publishers, then those of visitors, then what was counted, then the other nodes.
async fn wind_up(
    (receiver, edge, books, among): (receive::Receiver, Running, Keeping, Among),
    config: &Config,
) {
    tracing::info!("stopping");
    receiver.stop(PUSH_GRACE).await;
    drain(edge, config).await;
    books.stop().await;
    among.stop().await;
}

/// Waits for the signal, and looks after the repositories meanwhile.
async fn until_stopped(receiver: &receive::Receiver, stop: &mut StopSignal) {
    tokio::select! {
        () = stop.asked() => {}
        () = housekeeping::sweep(receiver) => {}
    }
}

/// Puts the port, which is known now, into the page for the node's own network.
fn complete(lan: Option<&Lan>, edge: &Running, showing: &Showing, region: &RegionView) {
    if let Some(lan) = lan {
        lan.set_port(edge.http_addrs().first().map_or(80, |http| http.port()));
        showing.renew(&region.effect(), region.slot());
    }
}

/// Joins the others, and waits for them where a newcomer has to; none if it is asked to stop before.
async fn among(
    store: &Store,
    region: &Arc<RegionView>,
    config: &Config,
    beside: (&Arc<Thrift>, &Arc<Desk>),
    (reviews, stop): (watch::Receiver<Arc<Review>>, &mut StopSignal),
) -> anyhow::Result<Option<Among>> {
    let among = Among::start(store, region, config, beside, reviews).await?;
    tokio::select! {
        () = stop.asked() => Ok(None),
        done = among.catch_up(store, region) => done.map(|()| Some(among)),
    }
}

/// What is there before anybody is listened to.
struct Opened {
    region: Arc<RegionView>,
    showing: Arc<Showing>,
    sites: Arc<Sites>,
    damages: mpsc::Receiver<Damage>,
    tls: Option<Arc<crate::tls::TlsResolver>>,
    lan: Option<Arc<Lan>>,
    thrift: Arc<Thrift>,
}

/// Reads the records, and puts what holds before visitors that are to come.
fn open(data: &Path, config: &Config, keys: NodeKeys, store: &Store) -> anyhow::Result<Opened> {
    let (sites, damages) = sites(data, config);
    let keyring = certification::keyring(data, config, &keys.seed, store)?;
    let certification = Certification::open(data, config, keyring, Clock::System)?;
    let tls = certification.resolver();
    let lan = lan(config, &certification)?;
    let thrift = Arc::new(collection::thrift(store, config.store.bytes_max)?);
    let showing = Showing::new(
        (store.clone(), Arc::clone(&thrift)),
        Arc::clone(&sites),
        lan.clone(),
        certification,
    );
    let showing = Arc::new(showing);
    let shown = Arc::clone(&showing);
    let show = move |effect: &Effect, slot| shown.show(effect, slot);
    let region = RegionView::open(store.clone(), keys, show)?;
    put_clock_ahead(config, &region)?;
    Ok(Opened {
        region: Arc::new(region),
        showing,
        sites,
        damages,
        tls,
        lan,
        thrift,
    })
}

/// Only a region for tests has a time of its own.
fn put_clock_ahead(config: &Config, region: &RegionView) -> anyhow::Result<()> {
    let Some(seconds) = config.time.test_ahead_s else {
        return Ok(());
    };
    if !region.effect().chain.current().body.test {
        return Err(ConfigError::Value {
            key: "time.test_ahead_s",
            why: "this is no region for tests (`verge init --test`): take the line out".to_owned(),
        }
        .into());
    }
    tracing::warn!(
        seconds,
        "the clock of this test region is ahead of the machine's"
    );
    verge_sync::clock::put_ahead(Duration::from_secs(seconds.into()));
    Ok(())
}

/// The page for the node's own network, if the steward wants one.
fn lan(config: &Config, certification: &Certification) -> anyhow::Result<Option<Arc<Lan>>> {
    let Some(name) = &config.listen.lan_host else {
        return Ok(None);
    };
    let lan = Lan::new(Host::parse(name)?, certification.ca_pem());
    Ok(Some(Arc::new(lan)))
}

/// What visitors are served from, and what their requests find damaged.
fn sites(data: &Path, config: &Config) -> (Arc<Sites>, mpsc::Receiver<Damage>) {
    let budget = CacheBudget {
        manifest_bytes_max: config.cache.manifest_bytes,
        body_bytes_max: config.cache.body_bytes,
        page_bytes_max: config.cache.page_bytes,
    };
    let (report, reports) = mpsc::channel(DAMAGE_REPORTS_MAX);
    let blobs = BlobReader::new(&data.join("blobs"), move |damage| {
        if report.try_send(damage).is_err() {
            tracing::debug!("too many damage reports wait");
        }
    });
    (Arc::new(Sites::new(blobs, budget)), reports)
}

/// How what visitors get is counted.
fn manner(config: &Config, witnessing: (Arc<Witnessing>, OpenDays)) -> Manner {
    let visitors = &config.visitors;
    let has_none = visitors.proxy_protocol_from.is_empty() && visitors.forwarded_from.is_empty();
    Manner {
        between_syncs: Duration::from_secs(config.accounting.between_syncs_s),
        is_behind_proxy: !has_none,
        witnessing,
    }
}

fn edge_config(config: &Config) -> EdgeConfig {
    let visitors = &config.visitors;
    let workers = NonZeroUsize::new(crate::publish::threads(visitors.threads));
    EdgeConfig {
        http: config.listen.http.clone(),
        https: if config.has_own_tls() || config.tls.ordered {
            config.listen.https.clone()
        } else {
            Vec::new()
        },
        https_public_port: config.listen.public_https_port,
        plain: PlainHttp::Redirects,
        workers: workers.unwrap_or(NonZeroUsize::MIN),
        limits: Limits {
            connection_count_max: visitors.connections_max,
            connection_per_address_count_max: visitors.connections_per_address_max,
            header_bytes_max: visitors.header_bytes_max,
            header_count_max: visitors.headers_max,
            uri_bytes_max: visitors.uri_bytes_max,
            stream_count_max: visitors.streams_max,
            reset_count_max: visitors.resets_max,
            control_frame_count_max: visitors.control_frames_max,
            answer_bytes_max: visitors.answer_bytes_max,
            header_time: Duration::from_millis(visitors.header_timeout_ms),
            handshake_time: Duration::from_millis(visitors.handshake_timeout_ms),
            idle_time: Duration::from_millis(visitors.idle_timeout_ms),
            bytes_per_second_min: visitors.bytes_per_second_min,
            slow_time: Duration::from_millis(visitors.slow_timeout_ms),
            ..Limits::default()
        },
        proxies: Proxies {
            proxy_protocol_from: visitors.proxy_protocol_from.clone(),
            forwarded_from: visitors.forwarded_from.clone(),
        },
        clock: Clock::System,
        assurances: Assurances::default(),
        key_exchange: config.tls.key_exchange(),
        lan: None,
        status: None,
        challenges: Arc::default(),
        meter: Arc::default(),
    }
}

/// What builds and deploys.
///
/// # Errors
/// This very program cannot be found.
pub(crate) fn publishing(
    store: &Store,
    region: &Arc<RegionView>,
    config: &Config,
    thrift: &Arc<Thrift>,
) -> anyhow::Result<Arc<Publishing>> {
    let builds = BuildChild {
        program: own_program()?,
        memory_bytes_max: config.build.memory_bytes_max,
    };
    let (store, region) = (store.clone(), Arc::clone(region));
    let at_once_max = config.push.at_once_max;
    let publishing = Publishing::new(
        (store, Arc::clone(thrift)),
        region,
        Clock::System,
        config.build,
        builds,
        at_once_max,
    );
    Ok(Arc::new(publishing))
}

/// What pushes mean to this node.
fn pushes(api: Arc<Api>, among: &Among) -> anyhow::Result<Pushes> {
    Ok(Pushes {
        api,
        git: receive::git_program()?,
        repairs: among.repairs().clone(),
    })
}

fn receive_config(
    data: &Path,
    config: &Config,
    host_secret: [u8; 32],
) -> anyhow::Result<receive::Config> {
    Ok(receive::Config {
        listen: config.listen.ssh.clone(),
        data_dir: data.to_owned(),
        program: own_program()?,
        host_secret,
        limits: receive::Limits {
            pushes: config.push.at_once_max,
            push_bytes: config.push.pack_bytes_max,
            git_data_bytes: config.push.git_memory_bytes_max,
            ..receive::Limits::default()
        },
    })
}

fn host_secret(keys: &NodeKeys) -> [u8; 32] {
    *verge_sync::Digest::derive("verge 1 ssh host", &[keys.seed.as_bytes()]).as_bytes()
}

/// Answers about the node's health are signed with its transport key, which is its name.
fn assurances(keys: &NodeKeys) -> Assurances {
    let key = keys.seed.transport_key();
    let signer = HealthSigner::new(keys.node(), move |bytes| {
        verge_sync::keys::sign(&key, bytes)
    });
    Assurances {
        signer: Some(signer),
        ..Assurances::default()
    }
}

fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    Ok(bytes)
}

pub(crate) fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find the verge binary")
}

/// Ports as people see them.
fn addresses(
    config: &Config,
    (edge, region): (&Running, &RegionView),
    ssh: (Option<u16>, &str),
) -> Addresses {
    let has_tls = config.has_own_tls() || region.effect().chain.current().body.acme.is_some();
    let (ssh_port, ssh_host_key) = ssh;
    let port = |addresses: &[std::net::SocketAddr]| addresses.first().map(|a| a.port());
    Addresses {
        https_port: config
            .listen
            .public_https_port
            .or_else(|| port(edge.https_addrs()))
            .filter(|_port| has_tls),
        http_port: port(edge.http_addrs()),
        ssh_port: config.listen.public_ssh_port.or(ssh_port),
        ssh_host_key: ssh_host_key.to_owned(),
    }
}

/// The one line on standard output: whoever started the node waits for it.
#[expect(clippy::print_stdout, reason = "the ready line")]
fn announce(
    edge: &Running,
    ssh: Option<std::net::SocketAddr>,
    nodes: Option<std::net::SocketAddr>,
) {
    let first = |addresses: &[std::net::SocketAddr]| addresses.first().copied();
    let ready = Ready {
        http: first(edge.http_addrs()),
        https: first(edge.https_addrs()),
        ssh,
        nodes,
    };
    println!("{ready}");
    tracing::info!("{ready}");
}

async fn drain(edge: Running, config: &Config) {
    let drained = edge.drain(config.visitors.drain_timeout()).await;
    if drained.cut_count > 0 {
        tracing::warn!(
            connections = drained.cut_count,
            "cut at the end of the drain time"
        );
    }
}

/// A built folder that is to be served.
#[derive(Debug)]
pub struct Preview {
    /// Its blobs.
    pub blobs: PathBuf,
    /// What the build gave.
    pub version: Version,
    /// The only host to answer to; any if absent.
    pub host: Option<String>,
}

/// Serves one built folder until it is asked to stop.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn serve_preview(preview: Preview, config: Config) -> anyhow::Result<()> {
    process::prepare();
    let folder = preview
        .blobs
        .parent()
        .context("the folder of the preview")?;
    // What is built for one look is not mended: the reports end here.
    let (sites, _damages) = sites(folder, &config);
    let site = SiteAt {
        site: SiteId::from_bytes([0; 32]),
        version: preview.version,
        takeout_public: false,
        left: None,
    };
    match &preview.host {
        Some(host) => sites.replace([(Host::parse(host)?, site)].into()),
        None => sites.replace_any(site),
    }
    let certification = Certification::open(folder, &config, None, Clock::System)?;
    let edge = EdgeConfig {
        plain: PlainHttp::Serves,
        ..edge_config(&config)
    };
    let edge = Edge::start(edge, sites, certification.resolver())?;
    let mut stop = StopSignal::new()?;
    announce(&edge, None, None);
    stop.asked().await;
    drain(edge, &config).await;
    Ok(())
}
