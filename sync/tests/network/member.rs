//! A member with a store, a replica and a port of its own on loopback.

use crate::scene::{Scene, log, provider_key, seed, slot};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use verge_sync::net::{Caller, Commit, Exchange, Holding, Letter, Network, NetworkConfig, Replica};
use verge_sync::record::body::Node;
use verge_sync::record::{Author, Effect, KindTable, Parameters, Record};
use verge_sync::store::{LocalDisk, Store};
use verge_sync::{NodeId, RecordId};

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);
/// A peer that says nothing for so long is left: short, since a test waits for it.
const STALL_TIME: Duration = Duration::from_secs(2);

pub(crate) struct Member {
    pub(crate) number: u8,
    pub(crate) replica: Arc<Replica>,
    pub(crate) network: Arc<Network>,
    pub(crate) store: Store,
    author: Author,
    _callers: mpsc::Receiver<Caller>,
    pub(crate) letters: mpsc::Receiver<Letter>,
    _blocked: watch::Sender<BTreeSet<NodeId>>,
    folder: TempDir,
}

impl Member {
    /// Member `number` of the scene, with all that the scene has.
    pub(crate) async fn start(scene: &Scene, number: u8, kinds: KindTable) -> Self {
        Self::start_with(scene, number, kinds, scene.parameters.clone()).await
    }

    pub(crate) async fn start_with(
        scene: &Scene,
        number: u8,
        kinds: KindTable,
        parameters: Parameters,
    ) -> Self {
        Self::start_stalling(scene, (number, STALL_TIME), kinds, parameters).await
    }

    /// A member that does not leave a peer for being slow while the test lasts.
    pub(crate) async fn patient(scene: &Scene, number: u8) -> Self {
        let parameters = scene.parameters.clone();
        Self::start_stalling(scene, (number, PATIENCE), KindTable::default(), parameters).await
    }

    async fn start_stalling(
        scene: &Scene,
        (number, stall_time): (u8, Duration),
        kinds: KindTable,
        parameters: Parameters,
    ) -> Self {
        let config = (vec![], stall_time);
        Self::start_knowing(scene, number, config, kinds, parameters).await
    }

    /// A member that looks for others at `known`, too.
    pub(crate) async fn knowing(scene: &Scene, number: u8, known: Vec<String>) -> Self {
        let (config, parameters) = ((known, STALL_TIME), scene.parameters.clone());
        Self::start_knowing(scene, number, config, KindTable::default(), parameters).await
    }

    async fn start_knowing(
        scene: &Scene,
        number: u8,
        (known, stall_time): (Vec<String>, Duration),
        kinds: KindTable,
        parameters: Parameters,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Arc::new(LocalDisk)).unwrap();
        let holding = Holding::new(&scene.records, parameters, kinds).unwrap();
        let exchange = Exchange::new(seed(number).node_id(), holding);
        let replica = Arc::new(Replica::new(store.clone(), exchange, |_| {}));
        let (callers, heard) = mpsc::channel(4);
        let (letters, written) = mpsc::channel(4);
        let (block, blocked) = watch::channel(BTreeSet::new());
        let config = NetworkConfig {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            callers,
            letters,
            blocked,
            store: store.clone(),
            damaged: Box::new(|_blob| {}),
            send_bytes_per_second_max: 0,
            receive_bytes_per_second_max: 0,
            known,
            stall_time,
        };
        let seed = seed(number);
        let network = Network::start(&seed, Arc::clone(&replica), config);
        Self {
            number,
            network: Arc::new(network.await.unwrap()),
            replica,
            store,
            author: Author::node(&seed, scene.region, (log(number), 1_000)),
            _callers: heard,
            letters: written,
            _blocked: block,
            folder,
        }
    }

    /// The data directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.network.bound()[0]
    }

    pub(crate) fn effect(&self) -> Arc<Effect> {
        self.replica.effect()
    }

    /// Writes what `make` makes of what holds, as this node.
    pub(crate) async fn write(&mut self, make: impl FnOnce(&mut Author, &Effect) -> Record) {
        let mut core = self.replica.lock().await;
        let holding = core.exchange().holding();
        let record = Arc::new(make(&mut self.author, holding.effect()));
        let mut records: Vec<Arc<Record>> = holding.records().cloned().collect();
        records.push(Arc::clone(&record));
        let effect = verge_sync::record::effect(&records, holding.parameters()).unwrap();
        let commit = Commit {
            records: vec![record],
            effect: Arc::new(effect),
            meta: vec![],
            whole: vec![],
        };
        self.replica.commit(&mut core, commit).await.unwrap();
    }

    /// Waits until what holds here is what is wanted.
    pub(crate) async fn wait(&self, wanted: impl Fn(&Effect) -> bool) {
        let mut effects = self.replica.watch();
        let waited = tokio::time::timeout(PATIENCE, effects.wait_for(|effect| wanted(effect)));
        assert!(
            waited.await.is_ok_and(|held| held.is_ok()),
            "member {}",
            self.number
        );
    }

    pub(crate) async fn holds(&self, id: RecordId) {
        self.wait(|effect| effect.record(&id).is_some()).await;
    }
}

/// Tells every member where every other is.
pub(crate) async fn introduce(scene: &Scene, members: &[&Member]) {
    let effect = scene.effect();
    let mut records = Vec::new();
    for member in members {
        let number = member.number;
        let stands = &effect.nodes[&seed(number).node_id()];
        let body = Node {
            addresses: vec![member.address().to_string()],
            ..stands.body.clone()
        };
        let mut provider = Author::provider(&provider_key(number), scene.region, (log(number), 50));
        records.push(provider.node_record(&effect, slot(number), body).unwrap());
    }
    for member in members {
        let records: Vec<Record> = records
            .iter()
            .map(|r| Record::parse(r.bytes()).unwrap())
            .collect();
        member.replica.take_in(records).await.unwrap();
    }
}

/// Waits until all hold the same records; what was written before is then everywhere.
pub(crate) async fn in_step(members: &[&Member]) {
    let agree = async {
        loop {
            let mut sums = BTreeSet::new();
            for member in members {
                let core = member.replica.lock().await;
                sums.insert(core.exchange().holding().fingerprint().0);
            }
            if sums.len() == 1 {
                return;
            }
            let changes = members.iter().map(|member| member.replica.changes());
            let mut changes: Vec<_> = changes.collect();
            let any = changes.iter_mut().map(|change| Box::pin(change.changed()));
            futures_select(any.collect()).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, agree).await.is_ok());
}

/// Waits for the first of several to be ready.
async fn futures_select<F: Future + Unpin>(mut all: Vec<F>) {
    std::future::poll_fn(|context| {
        let ready = |future: &mut F| std::pin::Pin::new(future).poll(context).is_ready();
        if all.iter_mut().any(ready) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}
