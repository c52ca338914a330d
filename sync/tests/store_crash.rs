//! Stops the store at every single step of every operation, loses what was not synced, opens it
//! again and finds the old state or the new, never a third; and fails every step in turn with a
//! full or broken disk, after which trying again works.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends at the first thing that does not work"
)]

mod twin;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use twin::{LOSSES, Loss, Plan, Twin};
use verge_sync::clock::stopwatch;
use verge_sync::store::durable::write_file_durably_on;
use verge_sync::store::{Disk, LocalDisk, Row, Staged, Store, StoreError};
use verge_sync::{Digest, RecordId};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// More steps than any operation here has.
const STEPS_MAX: u32 = 200;

/// What can be observed of a store: every blob, whole, and every record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    blobs: BTreeMap<Digest, Vec<u8>>,
    records: BTreeSet<RecordId>,
}

struct Scenario {
    name: &'static str,
    prepare: fn(&Store),
    operate: fn(&Store) -> Result<(), StoreError>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "put",
        prepare: old_blobs,
        operate: put,
    },
    Scenario {
        name: "put again",
        prepare: blobs_with_new,
        operate: put,
    },
    Scenario {
        name: "put over a torn file",
        prepare: torn_new,
        operate: put,
    },
    Scenario {
        name: "adopt",
        prepare: staged_files,
        operate: adopt,
    },
    Scenario {
        name: "adopt with one there",
        prepare: staged_and_there,
        operate: adopt,
    },
    Scenario {
        name: "commit",
        prepare: old_blobs,
        operate: put_and_name,
    },
    Scenario {
        name: "gc",
        prepare: garbage,
        operate: collect,
    },
    Scenario {
        name: "set aside",
        prepare: blobs_with_new,
        operate: set_aside,
    },
];

fn old_blobs(store: &Store) {
    store.blobs().put(b"old one").unwrap();
    store.blobs().put(b"").unwrap();
}

fn blobs_with_new(store: &Store) {
    old_blobs(store);
    store.blobs().put(b"the new blob").unwrap();
}

/// What a crash of other software, or a bad disk, may leave: the right name, half of the bytes.
fn torn_new(store: &Store) {
    old_blobs(store);
    let name = Digest::of(b"the new blob").to_string();
    fs::write(store.dir().join("blobs").join(name), b"the new").unwrap();
}

fn put(store: &Store) -> Result<(), StoreError> {
    let digest = store.blobs().put(b"the new blob")?;
    assert_eq!(
        store.blobs().read_verified(&digest, 100)?.unwrap(),
        b"the new blob"
    );
    Ok(())
}

const STAGED: [&[u8]; 3] = [b"first staged", b"second staged", b"third staged"];

fn staged_files(store: &Store) {
    old_blobs(store);
    let build = store.dir().join("build");
    fs::create_dir(&build).unwrap();
    for (number, bytes) in STAGED.iter().enumerate() {
        fs::write(build.join(number.to_string()), bytes).unwrap();
    }
}

fn staged_and_there(store: &Store) {
    staged_files(store);
    store.blobs().put(STAGED[1]).unwrap();
}

/// Adopts what is still staged: the caller's part after an error.
fn adopt(store: &Store) -> Result<(), StoreError> {
    let staged = STAGED.iter().enumerate().map(|(number, bytes)| Staged {
        path: store.dir().join("build").join(number.to_string()),
        digest: Digest::of(bytes),
    });
    let staged: Vec<_> = staged.filter(|file| file.path.exists()).collect();
    store.blobs().adopt_all(&staged)
}

/// A deploy in small: a blob, then a record that names it.
fn put_and_name(store: &Store) -> Result<(), StoreError> {
    let digest = store.blobs().put(b"the new blob")?;
    store.records().put(vec![row_naming(digest)])?.wait()?;
    Ok(())
}

fn row_naming(digest: Digest) -> Row {
    Row {
        id: RecordId::from_digest(digest),
        kind: 7,
        subject: b"site".to_vec(),
        author: [9; 32],
        epoch: 0,
        sequence: 1,
        bytes: digest.as_bytes().to_vec(),
    }
}

fn garbage(store: &Store) {
    old_blobs(store);
    for number in 0..4_u8 {
        store.blobs().put(&[number; 100]).unwrap();
    }
}

fn collect(store: &Store) -> Result<(), StoreError> {
    let live = BTreeSet::from([Digest::of(b"old one")]);
    let _pin = store.pin([Digest::of(&[2; 100])]);
    store.collect(&live, Duration::ZERO, stopwatch()).map(drop)
}

fn set_aside(store: &Store) -> Result<(), StoreError> {
    store
        .blobs()
        .set_aside(&Digest::of(b"the new blob"))
        .map(drop)
}

/// Opens `dir` as after a restart and reads all of it.
fn look(dir: &Path) -> Seen {
    let store = Store::open(dir, Arc::new(LocalDisk)).unwrap();
    assert_eq!(
        fs::read_dir(dir.join("staging")).unwrap().count(),
        0,
        "staging is not empty"
    );
    see(&store)
}

/// Reads all blobs, each compared with its digest, except one that the scenario itself tore.
fn see(store: &Store) -> Seen {
    let mut blobs = BTreeMap::new();
    for held in store.blobs().list().unwrap() {
        match store.blobs().read_verified(&held.digest, 1_000) {
            Ok(bytes) => blobs.insert(held.digest, bytes.unwrap()),
            Err(StoreError::Damaged { .. }) if held.bytes == 7 => continue,
            Err(error) => panic!("{error}"),
        };
    }
    let records: BTreeSet<_> = store
        .records()
        .all()
        .unwrap()
        .into_iter()
        .map(|row| row.id)
        .collect();
    for id in &records {
        assert!(
            blobs.contains_key(&id.digest()),
            "a record names a blob that is not there"
        );
    }
    Seen { blobs, records }
}

/// Each blob and each record must be as before or as after: in both, in neither, or in one.
fn assert_between(old: &Seen, new: &Seen, seen: &Seen, what: &str) {
    for (digest, bytes) in &seen.blobs {
        let known = old.blobs.get(digest).or(new.blobs.get(digest));
        assert_eq!(known, Some(bytes), "{what}: a third state");
    }
    for digest in old
        .blobs
        .keys()
        .filter(|digest| new.blobs.contains_key(digest))
    {
        assert!(
            seen.blobs.contains_key(digest),
            "{what}: blob {digest} is lost"
        );
    }
    assert!(
        seen.records.is_superset(&old.records),
        "{what}: a record is lost"
    );
    assert!(
        seen.records.is_subset(&new.records),
        "{what}: a record from nowhere"
    );
}

/// A prepared directory, and what is seen in it.
fn prepared(scenario: &Scenario) -> (tempfile::TempDir, Seen) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Arc::new(LocalDisk)).unwrap();
    (scenario.prepare)(&store);
    let old = see(&store);
    (dir, old)
}

fn state_after(scenario: &Scenario) -> Seen {
    let (dir, _) = prepared(scenario);
    let store = Store::open(dir.path(), Arc::new(LocalDisk)).unwrap();
    (scenario.operate)(&store).unwrap();
    see(&store)
}

#[test]
fn a_crash_at_any_step_leaves_the_old_state_or_the_new() {
    for scenario in SCENARIOS {
        let new = state_after(scenario);
        let steps = (1..STEPS_MAX)
            .find(|step| !crash_at(scenario, *step, &new))
            .unwrap();
        assert!(steps > 1, "{} makes no step", scenario.name);
    }
}

/// Whether there is such a step.
fn crash_at(scenario: &Scenario, step: u32, new: &Seen) -> bool {
    let (dir, old) = prepared(scenario);
    let twin = Twin::over(dir.path());
    let store = Store::open(dir.path(), Arc::new(twin.clone())).unwrap();
    twin.arm(Plan::StopAt(step));
    let result = (scenario.operate)(&store);
    let has_struck = twin.has_struck();
    drop(store);
    for loss in LOSSES {
        let what = format!("{} stopped at step {step}, lost {loss:?}", scenario.name);
        let image = tempfile::tempdir().unwrap();
        twin.image(loss, image.path());
        let seen = look(image.path());
        assert_between(&old, new, &seen, &what);
        if result.is_ok() {
            assert_eq!(seen, *new, "{what}, acknowledged");
        }
    }
    has_struck
}

#[test]
fn after_a_failed_step_trying_again_works() {
    for scenario in SCENARIOS {
        let new = state_after(scenario);
        for errno in [EIO, ENOSPC] {
            (1..STEPS_MAX)
                .find(|step| !fail_at(scenario, *step, errno, &new))
                .unwrap();
        }
    }
}

/// Whether there is such a step.
fn fail_at(scenario: &Scenario, step: u32, errno: i32, new: &Seen) -> bool {
    let what = format!("{} with error {errno} at step {step}", scenario.name);
    let (dir, old) = prepared(scenario);
    let twin = Twin::over(dir.path());
    let store = Store::open(dir.path(), Arc::new(twin.clone())).unwrap();
    twin.arm(Plan::FailAt(step, errno));
    match (scenario.operate)(&store) {
        Err(StoreError::Full { .. }) => assert_eq!(errno, ENOSPC, "{what}"),
        Err(StoreError::Disk { .. }) => assert_eq!(errno, EIO, "{what}"),
        Err(error) => panic!("{what}: {error}"),
        Ok(()) => {}
    }
    assert_between(&old, new, &see(&store), &what);
    let has_struck = twin.has_struck();
    twin.arm(Plan::Work);
    (scenario.operate)(&store).unwrap();
    assert_eq!(see(&store), *new, "{what}, tried again");
    drop(store);
    let image = tempfile::tempdir().unwrap();
    twin.image(Loss::Everything, image.path());
    assert_eq!(
        look(image.path()),
        *new,
        "{what}, tried again, then a power cut"
    );
    has_struck
}

#[test]
fn what_a_killed_process_left_unsynced_is_synced_before_it_is_built_on() {
    for scenario in SCENARIOS {
        let new = state_after(scenario);
        (1..STEPS_MAX)
            .find(|step| !kill_at(scenario, *step, &new))
            .unwrap();
    }
}

/// Kills at a step, of opening or operating, starts again, finishes, and only then cuts the power.
fn kill_at(scenario: &Scenario, step: u32, new: &Seen) -> bool {
    let (dir, _) = prepared(scenario);
    let twin = Twin::over(dir.path());
    let disk: Arc<dyn Disk> = Arc::new(twin.clone());
    twin.arm(Plan::StopAt(step));
    let finished = Store::open(dir.path(), Arc::clone(&disk)).and_then(|s| (scenario.operate)(&s));
    let has_struck = twin.has_struck();
    assert!(finished.is_ok() || has_struck);
    twin.arm(Plan::Work);
    let store = Store::open(dir.path(), disk).unwrap();
    (scenario.operate)(&store).unwrap();
    drop(store);
    let image = tempfile::tempdir().unwrap();
    twin.image(Loss::Everything, image.path());
    assert_eq!(
        look(image.path()),
        *new,
        "{} killed at step {step}",
        scenario.name
    );
    has_struck
}

#[test]
fn a_crash_while_opening_harms_nothing() {
    let scenario = Scenario {
        name: "open",
        prepare: garbage,
        operate: |_| Ok(()),
    };
    for step in 1..STEPS_MAX {
        let (dir, old) = prepared(&scenario);
        fs::write(dir.path().join("staging/put-0"), b"left by a crash").unwrap();
        fs::create_dir(dir.path().join("staging/dir-0")).unwrap();
        let twin = Twin::over(dir.path());
        twin.arm(Plan::StopAt(step));
        let opened = Store::open(dir.path(), Arc::new(twin.clone()));
        assert_eq!(opened.is_err(), twin.has_struck());
        drop(opened);
        for loss in LOSSES {
            let image = tempfile::tempdir().unwrap();
            twin.image(loss, image.path());
            assert_eq!(
                look(image.path()),
                old,
                "stopped at step {step}, lost {loss:?}"
            );
        }
        if !twin.has_struck() {
            return;
        }
    }
}

#[test]
fn a_crash_while_making_a_directory_leaves_one_that_opens() {
    for step in 1..STEPS_MAX {
        let root = tempfile::tempdir().unwrap();
        let twin = Twin::over(root.path());
        twin.arm(Plan::StopAt(step));
        let dir = root.path().join("data");
        drop(Store::open(&dir, Arc::new(twin.clone())));
        let has_struck = twin.has_struck();
        for loss in LOSSES {
            let image = tempfile::tempdir().unwrap();
            twin.image(loss, image.path());
            assert_eq!(look(&image.path().join("data")).blobs.len(), 0);
        }
        twin.arm(Plan::Work);
        put(&Store::open(&dir, Arc::new(twin.clone())).unwrap()).unwrap();
        let image = tempfile::tempdir().unwrap();
        twin.image(Loss::Everything, image.path());
        assert_eq!(
            look(&image.path().join("data")).blobs.len(),
            1,
            "killed at step {step}"
        );
        if !has_struck {
            return;
        }
    }
}

#[test]
fn a_file_written_durably_is_the_former_or_the_new_one() {
    for step in 1..STEPS_MAX {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        fs::write(&path, b"former").unwrap();
        fs::write(dir.path().join(".seed.new"), b"left by a crash").unwrap();
        let twin = Twin::over(dir.path());
        twin.arm(Plan::StopAt(step));
        let result = write_file_durably_on(&twin, &path, b"the new one", 0o600);
        for loss in LOSSES {
            let image = tempfile::tempdir().unwrap();
            twin.image(loss, image.path());
            let found = fs::read(image.path().join("seed")).unwrap();
            let is_former = result.is_err() && found == b"former";
            assert!(
                is_former || found == b"the new one",
                "step {step}, lost {loss:?}: {found:?}"
            );
        }
        if !twin.has_struck() {
            return;
        }
    }
}

/// The twin itself: what the store must not do, it sees.
#[test]
fn a_rename_without_a_sync_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let twin = Twin::over(dir.path());
    let (from, to) = (dir.path().join("a"), dir.path().join("b"));
    drop(twin.create(&from, b"bytes", 0o644).unwrap());
    twin.rename(&from, &to).unwrap();
    let found = LOSSES.map(|loss| {
        let image = tempfile::tempdir().unwrap();
        twin.image(loss, image.path());
        fs::read(image.path().join("b")).ok()
    });
    let expected = [
        None,
        Some(vec![]),
        Some(b"by".to_vec()),
        Some(b"bytes".to_vec()),
    ];
    assert_eq!(found, expected);
}
