//! A record that ends the process is set aside at the third start, and the node goes on.
//!
//! Each start is a process of its own: this very test binary, which runs [`a_node_starts`] on a data
//! directory that is there.
#![allow(dead_code, reason = "the scene is that of the records' tests")]
#![expect(clippy::unwrap_used, reason = "every function here serves a test")]

#[path = "records/scene.rs"]
mod scene;

use scene::{Scene, deploy_body, log, seed, with_site};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::net::{Caution, Exchange, Holding, Replica, row};
use verge_sync::record::{Author, Parameters, Record, Trap};
use verge_sync::store::{LocalDisk, Store};
use verge_sync::{RecordId, SiteId};

/// Names the data directory of a start.
const DATA: &str = "VERGE_TEST_DATA";
/// What is planted there.
const TRAP: &str = "VERGE_TEST_TRAP";
/// The file of what peers sent: the first start takes it in.
const SENT: &str = "sent";
/// What takes longer has no end. Applying these few records takes a thousandth of it.
const TIME_MAX: Duration = Duration::from_secs(3);

/// The region in which all of it happens, always the same.
fn region() -> (Scene, SiteId) {
    let (scene, _, site) = with_site(2);
    (scene, site)
}

/// Deploys of node 1, one after the other, which peers send together.
fn deploys(count: i64) -> Vec<Record> {
    let (mut scene, site) = region();
    let deploy = |time: i64| {
        let record = scene.deploy_record(1, site, &time.to_string(), time);
        scene.add(Record::parse(record.bytes()).unwrap());
        record
    };
    (0..count).map(deploy).collect()
}

/// One start of a node on `data`: it applies what is stored, then takes in what peers sent, once.
fn start(data: &Path, trap: Option<Trap>, release: &str) -> Replica {
    let (scene, _) = region();
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let records = store.records().all().unwrap();
    let records = records.iter().map(|row| Record::parse(&row.bytes).unwrap());
    let records: Vec<Arc<Record>> = records.map(Arc::new).collect();
    let parameters = Parameters {
        trap,
        ..scene.parameters.clone()
    };
    let mut holding = Holding::new(&records, parameters, scene.kinds).unwrap();
    let caution = Caution {
        store: &store,
        release,
        time_max: TIME_MAX,
    };
    caution.settle(&mut holding).unwrap();
    let exchange = Exchange::new(seed(0).node_id(), holding);
    let replica = Replica::new(store, exchange, |_| {}).applying_within(TIME_MAX);
    let Ok(sent) = std::fs::read(data.join(SENT)) else {
        return replica;
    };
    std::fs::remove_file(data.join(SENT)).unwrap();
    let mut rest = sent.as_slice();
    let mut records = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        records.push(Record::parse(&tail[..length]).unwrap());
        rest = &tail[length..];
    }
    block_on(replica.take_in(records)).unwrap();
    replica
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.build().unwrap().block_on(future)
}

/// A data directory with the region in it, and with what peers are about to send.
fn found(data: &Path, sent: &[Record]) {
    let (scene, _) = region();
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let rows = scene.records.iter().map(|record| row(record)).collect();
    store.records().put(rows).unwrap().wait().unwrap();
    let framed = |record: &Record| {
        let length = u32::try_from(record.bytes().len()).unwrap().to_be_bytes();
        [&length, record.bytes()].concat()
    };
    let bytes: Vec<u8> = sent.iter().flat_map(framed).collect();
    std::fs::write(data.join(SENT), bytes).unwrap();
}

/// What another process does, if one has asked for it; else what a node does that meets no trap.
#[expect(clippy::disallowed_methods, reason = "a process is told what to do")]
#[test]
fn a_node_starts() {
    if let Some(data) = std::env::var_os(DATA) {
        let planted = std::env::var(TRAP).unwrap();
        let (kind, id) = planted.split_once(' ').unwrap();
        let id = RecordId::from_digest(id.parse().unwrap());
        let trap = if kind == "abort" {
            Trap::Abort(id)
        } else {
            Trap::Endless(id)
        };
        drop(start(Path::new(&data), Some(trap), "1"));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, site) = region();
    let sent = deploys(3);
    found(folder.path(), &sent);
    for _ in 0..2 {
        let replica = start(folder.path(), None, "1");
        assert_eq!(replica.effect().sites[&site].deploys.len(), 3);
        assert!(skipped(&replica).is_empty());
    }
}

fn skipped(replica: &Replica) -> Vec<RecordId> {
    let core = block_on(replica.lock());
    let parameters = core.exchange().holding().parameters();
    parameters.skip.iter().copied().collect()
}

/// Starts until one comes to its end; gives how many did not.
fn starts_that_end_badly(data: &Path, trap: &str) -> usize {
    let ends_badly = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_node_starts"]);
        let output = command.env(DATA, data).env(TRAP, trap).output().unwrap();
        !output.status.success()
    };
    let count = (0..20).take_while(|_| ends_badly()).count();
    assert!(count < 20, "no start comes to its end");
    count
}

/// Plants the record `at` of `count` that peers send; gives how many starts ended badly.
fn planted(kind: &str, count: i64, at: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let (scene, site) = region();
    let sent = deploys(count);
    found(folder.path(), &sent);
    let poison = sent[at].id();
    let bad = starts_that_end_badly(folder.path(), &format!("{kind} {poison}"));
    let replica = start(folder.path(), Some(Trap::Abort(poison)), "1");
    assert_eq!(skipped(&replica), [poison]);
    // It is held, and passed on; what goes on without it goes on.
    let effect = replica.effect();
    assert!(effect.record(&poison).is_some());
    let others = sent.iter().filter(|record| record.id() != poison);
    let (mut author, account) = (
        Author::node(&seed(0), scene.region, (log(0), 900)),
        effect.sites[&site].body.account,
    );
    let next = author.deploy(&effect, site, deploy_body("next", account, 0));
    assert_eq!(
        block_on(replica.take_in(vec![next.unwrap()]))
            .unwrap()
            .new
            .len(),
        1
    );
    let effect = replica.effect();
    let head = effect.sites[&site].head().unwrap();
    assert_eq!(head.body().version, deploy_body("next", account, 0).version);
    for other in others {
        assert!(effect.record(&other.id()).is_some());
    }
    drop(replica);
    // Another release may know better what to do with it.
    let replica = start(folder.path(), None, "2");
    assert!(skipped(&replica).is_empty());
    bad
}

#[test]
fn record_that_aborts_is_set_aside_after_two_starts() {
    // The first took it in, two more ended by it.
    assert_eq!(planted("abort", 1, 0), 3);
}

#[test]
fn record_without_end_is_set_aside_after_two_starts() {
    assert_eq!(planted("endless", 1, 0), 3);
}

#[test]
fn one_of_many_is_found_by_halves() {
    for at in [0, 3, 6] {
        let bad = planted("abort", 7, at);
        // The one that took them in, one with all, at most three halves, and one to be certain.
        assert!((3..=6).contains(&bad), "{at}: {bad}");
    }
}

/// A process that is killed while it starts has no poison: nothing is set aside for it.
#[test]
fn start_that_was_cut_off_blames_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (_, site) = region();
    let sent = deploys(3);
    found(folder.path(), &sent);
    drop(start(folder.path(), None, "1"));
    for mark in [
        vec![1],
        vec![2, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![2, 0, 0, 0, 0, 0, 0, 0, 2],
        vec![3, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let store = Store::open(folder.path(), Arc::new(LocalDisk)).unwrap();
        let value = verge_sync::store::MetaValue::Bytes(mark.clone());
        let records = store.records();
        records
            .put_meta("apply.mark", value)
            .unwrap()
            .wait()
            .unwrap();
        drop(store);
        let replica = start(folder.path(), None, "1");
        assert!(skipped(&replica).is_empty(), "{mark:?}");
        assert_eq!(replica.effect().sites[&site].deploys.len(), 3);
    }
}
