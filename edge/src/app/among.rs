//! The node among the others of its region: the port, the door, the clock, and the lists that
//! removals name.

use super::collection::Collection;
use super::witnessing::{self, LETTERS_MAX, Parts};
use super::{fitness, housekeeping};
use crate::accounting::desk::Desk;
use crate::admin::Membership;
use crate::belief::{Belief, Witness};
use crate::certificates::Review;
use crate::config::{Config, Listen, PLACES_BYTES_MAX};
use crate::kernel_clock;
use crate::listen::Running;
use crate::membership::Porter;
use crate::receipts::Receipts;
use crate::receive::Histories;
use crate::region::{META_NEWCOMER, Reached, RegionView, WriteError};
use crate::watch::{Tools, Watch};
use crate::witness::{OpenDays, Witnessing};
use anyhow::Context;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use verge_sync::Digest;
use verge_sync::clock::Clock;
use verge_sync::content::{GatherConfig, Gatherer, Nobody, Repairs, Sources, Thrift, shown};
use verge_sync::id::{NodeId, ProviderId};
use verge_sync::net::{Caller, Letter, Network, NetworkConfig, STALL_TIME, Wall};
use verge_sync::record::RemovalList;
use verge_sync::record::body::ADDRESSES_MAX;
use verge_sync::store::{MetaValue, Store};

/// Newcomers that wait to be heard.
const CALLERS_MAX: usize = 8;
/// The clock is looked at so often; peers hear of it once a minute.
const BETWEEN_CLOCK_LOOKS: Duration = Duration::from_secs(10);
/// A list that nobody had is asked for again.
const BETWEEN_LIST_LOOKS: Duration = Duration::from_secs(20);
/// A newcomer looks so often whether it has caught up.
const BETWEEN_CATCH_UP_LOOKS: Duration = Duration::from_millis(200);

/// The node's part in its region.
pub(super) struct Among {
    /// What a steward asks about it.
    pub(super) membership: Arc<Membership>,
    network: Option<Arc<Network>>,
    repairs: Repairs,
    clock: watch::Receiver<(u64, Belief)>,
    witnessing: Arc<Witnessing>,
    open_days: Option<OpenDays>,
    tasks: JoinSet<()>,
}

impl Among {
    /// Binds the port, says where the node is, and begins to keep in step with the others.
    pub(super) async fn start(
        store: &Store,
        region: &Arc<RegionView>,
        config: &Config,
        (thrift, desk): (&Arc<Thrift>, &Arc<Desk>),
        reviews: watch::Receiver<Arc<Review>>,
    ) -> anyhow::Result<Self> {
        let blocked = watch::Sender::new(Membership::read_blocked(store)?);
        let (callers, heard) = mpsc::channel(CALLERS_MAX);
        let (letters, written) = mpsc::channel(LETTERS_MAX);
        let repairs = Repairs::default();
        let reach = Reach {
            callers,
            letters,
            blocked: blocked.subscribe(),
            repairs: &repairs,
        };
        let network = reach.start(store, region, config).await?;
        let addresses = addresses(network.as_deref(), config).await;
        let node = region.keys().node();
        let porter = Porter::open(store.clone(), Arc::clone(region), node, addresses)?;
        let porter = Arc::new(porter);
        announce(region, &porter.reached()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&porter).serve(heard));
        let (told, clock) = watch::channel((wall_s(), Belief::Unsupported));
        let seen = Seen {
            store,
            region,
            network: &network,
            clock: &clock,
            blocked: blocked.subscribe(),
            repairs: &repairs,
        };
        let watched = Arc::new(seen.watch());
        let between = Duration::from_secs(config.accounting.between_snapshots_s);
        let (witnessing, open_days) = seen.witness((written, between), &mut tasks);
        tasks.spawn(Arc::clone(&watched).run(config.watch.between_probes()));
        tasks.spawn(keep_time(Arc::clone(region), config.time.trust(), told));
        tasks.spawn(keep_lists(
            store.clone(),
            Arc::clone(region),
            network.clone(),
        ));
        let gathering = Gathering {
            store,
            region,
            config,
            repairs: &repairs,
            thrift,
        };
        match &network {
            Some(network) => gathering.start(network, &mut tasks),
            None => gathering.start(&Arc::new(Nobody::default()), &mut tasks),
        }
        tasks.spawn(super::accounting::review(
            Arc::clone(region),
            Arc::clone(desk),
            repairs.clone(),
            clock.clone(),
        ));
        let store = (store.clone(), Arc::clone(thrift), Arc::clone(desk));
        let seen = (blocked, watched, Arc::clone(&witnessing));
        let membership = Membership::new(store, porter, (clock.clone(), reviews), seen);
        Ok(Self {
            membership: Arc::new(membership),
            network,
            repairs,
            clock,
            witnessing,
            open_days: Some(open_days),
            tasks,
        })
    }

    /// A newcomer shows nothing before nodes of two other providers (of all, if there are fewer)
    /// have given it all that they hold.
    pub(super) async fn catch_up(
        &self,
        store: &Store,
        region: &Arc<RegionView>,
    ) -> anyhow::Result<()> {
        let meta = store.records().meta(META_NEWCOMER)?;
        if meta != Some(MetaValue::Number(1)) {
            return Ok(());
        }
        tracing::info!("a newcomer: waits until it holds what nodes of two other providers hold");
        while !has_caught_up(region).await {
            tokio::time::sleep(BETWEEN_CATCH_UP_LOOKS).await;
        }
        let done = MetaValue::Number(0);
        store.records().put_meta(META_NEWCOMER, done)?.await?;
        Ok(())
    }

    /// Where visitors are served, now that the ports of `edge` are bound.
    pub(super) fn welcome(&self, config: &Config, edge: &Running) -> Welcome {
        let porter = Arc::clone(&self.membership.porter);
        let places = visitors(&porter.reached().nodes, &config.listen, edge.https_addrs());
        Welcome { porter, places }
    }

    /// Says goodbye to the others.
    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
        if let Some(network) = self.network {
            network.stop().await;
        }
    }

    /// What peers say that they hold.
    pub(super) fn receipts(&self, region: &Arc<RegionView>) -> Receipts {
        Receipts::new(Arc::clone(region), self.network.clone())
    }

    /// What looks after the room that the node has.
    pub(super) fn collection(
        &self,
        store: &Store,
        region: &Arc<RegionView>,
        thrift: &Arc<Thrift>,
        histories: Histories,
    ) -> Collection {
        Collection {
            store: store.clone(),
            region: Arc::clone(region),
            receipts: self.receipts(region),
            histories,
            repairs: self.repairs.clone(),
            thrift: Arc::clone(thrift),
        }
    }

    /// The time of day, and whether it is believed.
    pub(super) fn clock(&self) -> watch::Receiver<(u64, Belief)> {
        self.clock.clone()
    }

    /// Whether days may be sealed, and what the books are asked; the latter once.
    pub(super) fn witnessing(&mut self) -> (Arc<Witnessing>, OpenDays) {
        // Whoever comes later is asked nothing.
        let nobody = || mpsc::channel(1).1;
        let asked = self.open_days.take().unwrap_or_else(nobody);
        (Arc::clone(&self.witnessing), asked)
    }

    /// Where lost blobs are asked for.
    pub(super) fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// The UDP address that others reach, the first one.
    pub(super) fn bound(&self) -> Option<SocketAddr> {
        self.network.as_ref()?.bound().first().copied()
    }
}

/// What looks at others, and what witnesses them, work with.
struct Seen<'a> {
    store: &'a Store,
    region: &'a Arc<RegionView>,
    network: &'a Option<Arc<Network>>,
    clock: &'a watch::Receiver<(u64, Belief)>,
    blocked: watch::Receiver<BTreeSet<NodeId>>,
    repairs: &'a Repairs,
}

impl Seen<'_> {
    fn watch(&self) -> Watch {
        Watch::new(Tools {
            store: self.store.clone(),
            region: Arc::clone(self.region),
            network: self.network.clone(),
            clock: self.clock.clone(),
            blocked: self.blocked.clone(),
            damaged: Box::new(housekeeping::found_here(self.repairs.clone())),
        })
    }

    /// Begins to be a witness of others; gives what the books and the steward hear of it.
    fn witness(
        &self,
        (letters, between_snapshots): (mpsc::Receiver<Letter>, Duration),
        tasks: &mut JoinSet<()>,
    ) -> (Arc<Witnessing>, OpenDays) {
        let (desk, open_days) = Witnessing::new();
        let desk = Arc::new(desk);
        tasks.spawn(witnessing::run(Parts {
            store: self.store.clone(),
            region: Arc::clone(self.region),
            network: self.network.clone(),
            letters,
            clock: self.clock.clone(),
            blocked: self.blocked.clone(),
            repairs: self.repairs.clone(),
            desk: Arc::clone(&desk),
            between_snapshots,
        }));
        (desk, open_days)
    }
}

/// What the port for other nodes works with.
struct Reach<'a> {
    callers: mpsc::Sender<Caller>,
    letters: mpsc::Sender<Letter>,
    blocked: watch::Receiver<BTreeSet<NodeId>>,
    repairs: &'a Repairs,
}

impl Reach<'_> {
    /// Binds the port; none at a node that stays alone.
    async fn start(
        self,
        store: &Store,
        region: &Arc<RegionView>,
        config: &Config,
    ) -> anyhow::Result<Option<Arc<Network>>> {
        if config.listen.nodes.is_empty() {
            return Ok(None);
        }
        let damaged = housekeeping::found_by_peers(store.clone(), self.repairs.clone());
        let network = NetworkConfig {
            listen: config.listen.nodes.clone(),
            callers: self.callers,
            letters: self.letters,
            blocked: self.blocked,
            store: store.clone(),
            damaged: Box::new(damaged),
            send_bytes_per_second_max: config.exchange.send_bytes_per_second_max,
            receive_bytes_per_second_max: config.exchange.receive_bytes_per_second_max,
            known: config.listen.known_nodes.clone(),
            stall_time: STALL_TIME,
        };
        let replica = Arc::clone(region.replica());
        let seed = &region.keys().seed;
        let started = Network::start(seed, replica, network).await;
        Ok(Some(Arc::new(started.context("reach the other nodes")?)))
    }
}

/// Where visitors are served, to be told to the others.
pub(super) struct Welcome {
    porter: Arc<Porter>,
    places: Vec<String>,
}

impl Welcome {
    /// Tells them.
    pub(super) async fn say(&self, region: &Arc<RegionView>) -> anyhow::Result<()> {
        self.porter.serves_visitors_at(self.places.clone());
        announce(region, &self.porter.reached()).await
    }

    /// Tells them that visitors are served nowhere yet: there is no certificate.
    pub(super) async fn say_later(&self, region: &Arc<RegionView>) -> anyhow::Result<()> {
        self.porter.serves_visitors_at(Vec::new());
        announce(region, &self.porter.reached()).await
    }
}

/// What brings versions from the others. Where there are no others, versions that lie here whole and
/// were not checked are.
struct Gathering<'a> {
    store: &'a Store,
    region: &'a Arc<RegionView>,
    config: &'a Config,
    repairs: &'a Repairs,
    thrift: &'a Arc<Thrift>,
}

impl Gathering<'_> {
    fn start<S: Sources>(&self, sources: &Arc<S>, tasks: &mut JoinSet<()>) {
        let gathering = GatherConfig {
            provider: self.region.slot().provider,
            at_once_max: self.config.exchange.at_once_max,
        };
        let gatherer = Gatherer::new(
            self.store.clone(),
            Arc::clone(sources),
            self.region.watch(),
            gathering,
            Arc::new(fitness::check),
            (self.repairs.clone(), Arc::clone(self.thrift)),
        );
        tasks.spawn(show_what_comes(
            self.store.clone(),
            Arc::clone(self.region),
            Arc::clone(sources),
            gatherer.histories(),
        ));
        tasks.spawn(gatherer.run());
    }
}

/// Shows each version as soon as it is here, and only then tells the peers that it is.
async fn show_what_comes<S: Sources>(
    store: Store,
    region: Arc<RegionView>,
    sources: Arc<S>,
    mut histories: watch::Receiver<BTreeSet<Digest>>,
) {
    let (mut shelf, mut effects) = (store.shelf().changes(), region.watch());
    let mut last_shown = *shelf.borrow();
    loop {
        let versions = shown(&region.effect(), &store, &histories.borrow_and_update());
        let now = *shelf.borrow_and_update();
        if now != last_shown {
            region.replica().show_again().await;
            store.shelf().set_shown(now);
            last_shown = now;
        }
        sources.tell(versions);
        tokio::select! {
            changed = shelf.changed() => if changed.is_err() { return },
            changed = effects.changed() => if changed.is_err() { return },
            changed = histories.changed() => if changed.is_err() { return },
        }
    }
}

/// Says where this node is reached, or what has to be signed for that.
async fn announce(region: &Arc<RegionView>, reached: &Reached) -> anyhow::Result<()> {
    if reached.nodes.is_empty() {
        return Ok(());
    }
    match region.announce_addresses(reached).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!("this node is no member, so the others do not hear where it is")
        }
        Err(WriteError::ToSign(_)) => {
            let visitors = reached.visitors.iter().flatten();
            let addresses: Vec<&str> = reached
                .nodes
                .iter()
                .chain(visitors)
                .map(String::as_str)
                .collect();
            let addresses = addresses.join(" ");
            tracing::warn!(%addresses, "the region's record says another address of this node, and the provider's key has to sign the new one: `verge node list` shows what");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn addresses(network: Option<&Network>, config: &Config) -> Vec<String> {
    let Some(network) = network else {
        return Vec::new();
    };
    if !config.listen.public_nodes.is_empty() {
        return config.listen.public_nodes.clone();
    }
    let found = network.reachable().await;
    let texts = found.iter().map(ToString::to_string);
    texts.take(ADDRESSES_MAX).collect()
}

/// Where visitors reach this node's HTTPS: where the steward says, or else the addresses that it
/// listens on; those of `nodes`, where it listens on all or stands behind a router.
fn visitors(nodes: &[String], listen: &Listen, https: &[SocketAddr]) -> Vec<String> {
    if https.is_empty() || !listen.public_https.is_empty() {
        return listen.public_https.clone();
    }
    let is_plain = |address: &SocketAddr| !address.ip().is_unspecified();
    let port = |own: u16| listen.public_https_port.unwrap_or(own);
    let own = https.first().map_or(443, SocketAddr::port);
    let mut found: Vec<String> = if listen.public_nodes.is_empty() && https.iter().all(is_plain) {
        let at = |address: &SocketAddr| SocketAddr::new(address.ip(), port(address.port()));
        https
            .iter()
            .map(|address| at(address).to_string())
            .collect()
    } else {
        let hosts = nodes.iter().filter_map(|place| place.rsplit_once(':'));
        hosts
            .map(|(host, _)| format!("{host}:{}", port(own)))
            .collect()
    };
    let mut known = BTreeSet::new();
    found.retain(|place| known.insert(place.clone()));
    let mut room = PLACES_BYTES_MAX.saturating_sub(nodes.iter().map(String::len).sum());
    let fits = |place: &String| {
        let left = room.checked_sub(place.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    found
        .into_iter()
        .take(ADDRESSES_MAX)
        .take_while(fits)
        .collect()
}

async fn has_caught_up(region: &RegionView) -> bool {
    let effect = region.effect();
    let own = region.slot().provider;
    let members = effect.nodes.values().filter(|node| node.is_member);
    let others: BTreeSet<ProviderId> = members
        .map(|node| node.slot.provider)
        .filter(|provider| *provider != own)
        .collect();
    let now_ms = region.replica().now_ms();
    let core = region.replica().lock().await;
    let held = core.exchange().own_signal(now_ms).fingerprint;
    let in_step: BTreeSet<ProviderId> = core
        .links(now_ms)
        .filter(|(_, _, signal)| signal.is_some_and(|signal| signal.fingerprint == held))
        .filter_map(|(peer, _, _)| Some(effect.nodes.get(&peer)?.slot.provider))
        .collect();
    // A further node of a single provider has only its own to ask.
    let from_others = in_step.intersection(&others).count();
    from_others >= others.len().min(2) && !in_step.is_empty()
}

/// Judges the clock, tells peers of it, and remembers what was believed.
async fn keep_time(
    region: Arc<RegionView>,
    trust: crate::belief::ClockTrust,
    told: watch::Sender<(u64, Belief)>,
) {
    loop {
        let now_ms = region.replica().now_ms();
        let effect = region.effect();
        let own = region.slot().provider;
        let peers: Vec<(ProviderId, u64)> = {
            let core = region.replica().lock().await;
            let others = core.links(now_ms).filter_map(|(peer, _, signal)| {
                let provider = effect.nodes.get(&peer)?.slot.provider;
                Some((provider, signal?.wall_s))
            });
            others.filter(|(provider, _)| *provider != own).collect()
        };
        let wall_s = wall_s();
        let providers = &effect.chain.current().body.providers;
        let belief = Belief::of(&Witness {
            wall_s,
            floor_s: region.floor_s(),
            trust,
            is_synchronised: kernel_clock::is_synchronised(),
            others_count: providers.len().saturating_sub(1),
            peers: &peers,
        });
        if belief.holds() {
            region.believe(wall_s);
        }
        let before = told.send_replace((wall_s, belief)).1;
        if before.holds() != belief.holds() {
            tracing::info!("clock {belief}");
        }
        let wall = Wall {
            seconds: wall_s,
            is_believed: belief.holds(),
        };
        region.replica().set_wall(wall).await;
        tokio::time::sleep(BETWEEN_CLOCK_LOOKS).await;
    }
}

fn wall_s() -> u64 {
    u64::try_from(Clock::System.now().0).unwrap_or(0)
}

/// Brings the lists that removals name: from the disk, or from a peer.
async fn keep_lists(store: Store, region: Arc<RegionView>, network: Option<Arc<Network>>) {
    let mut effects = region.watch();
    loop {
        let missing = effects.borrow_and_update().missing_lists.clone();
        let is_waiting = !missing.is_empty();
        for digest in missing {
            let blobs = store.clone();
            let read = move || blobs.blobs().read_verified(&digest, RemovalList::BYTES_MAX);
            let stored = tokio::task::spawn_blocking(read).await;
            let bytes = match (stored.ok().and_then(Result::ok).flatten(), &network) {
                (Some(bytes), _) => Some(bytes),
                (None, Some(network)) => fetch(&store, network, digest).await,
                (None, None) => None,
            };
            let Some(bytes) = bytes else { continue };
            match RemovalList::decode(&bytes) {
                Some(list) => region.replica().learn_list(list).await,
                None => tracing::error!(%digest, "a removal names what is no list"),
            }
        }
        let rest = tokio::time::sleep(BETWEEN_LIST_LOOKS);
        tokio::select! {
            changed = effects.changed() => if changed.is_err() { return },
            () = rest, if is_waiting => {}
        }
    }
}

async fn fetch(store: &Store, network: &Network, digest: Digest) -> Option<Vec<u8>> {
    let bytes = network.fetch_list(digest).await?;
    let (blobs, kept) = (store.clone(), bytes.clone());
    let put = tokio::task::spawn_blocking(move || blobs.blobs().put(&kept)).await;
    match put {
        Ok(Ok(_)) => Some(bytes),
        other => {
            tracing::error!(?other, "a list could not be stored");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_are_sent_to_where_the_node_serves_them() {
        let texts = |places: &[&str]| places.iter().map(|place| (*place).to_owned()).collect();
        let check = |nodes: &[&str], listen: &Listen, https: &[&str], expected: &[&str]| {
            let nodes: Vec<String> = texts(nodes);
            let https: Vec<SocketAddr> = https.iter().map(|at| at.parse().unwrap()).collect();
            let expected: Vec<String> = texts(expected);
            assert_eq!(visitors(&nodes, listen, &https), expected);
        };
        let plain = Listen::default();
        let interfaces = ["192.0.2.7:4420", "[2001:db8::7]:4420", "192.0.2.7:4421"];
        let on_443 = ["192.0.2.7:443", "[2001:db8::7]:443"];
        check(&interfaces, &plain, &["[::]:443"], &on_443);
        check(&interfaces, &plain, &[], &[]);
        let own = ["127.0.0.1:8443", "[::1]:8444"];
        check(&interfaces, &plain, &own, &own);
        let routed = Listen {
            public_nodes: texts(&["node.example:4420"]),
            public_https_port: Some(8443),
            ..Listen::default()
        };
        let place = ["node.example:8443"];
        check(&["node.example:4420"], &routed, &["10.0.0.2:443"], &place);
        let told = Listen {
            public_https: texts(&["web.example:443"]),
            ..Listen::default()
        };
        check(&interfaces, &told, &["[::]:443"], &["web.example:443"]);
        // A record has at most 2 KiB.
        let long: Vec<String> = (0..8)
            .map(|n| format!("{n}{}:1", "a".repeat(120)))
            .collect();
        let https = ["[::]:443".parse().unwrap()];
        let found = visitors(&long, &plain, &https);
        assert!((1..8).contains(&found.len()), "{found:?}");
    }
}
