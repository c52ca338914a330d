//! The blobs of a store: putting, adopting, reading, collecting, scrubbing.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not work"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::clock::stopwatch;
use verge_sync::store::pace::Pace;
use verge_sync::store::scrub::{Damage, Round, ScrubConfig, Scrubber, recheck, scrub_round};
use verge_sync::store::{Collected, Disk, Held, LocalDisk, Staged, Store, StoreError};

const HOUR: Duration = Duration::from_secs(3600);

fn open(dir: &Path) -> Store {
    Store::open(dir, Arc::new(LocalDisk)).unwrap()
}

fn blob_path(store: &Store, digest: &Digest) -> PathBuf {
    store.dir().join("blobs").join(digest.to_string())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_put_is_found_under_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = open(&data);
    let blobs = store.blobs();
    let large = vec![7; 3 << 20];
    for bytes in [&b""[..], b"small", &large] {
        let digest = blobs.put(bytes).unwrap();
        assert_eq!(digest, Digest::of(bytes));
        assert_eq!(blobs.put(bytes).unwrap(), digest, "again");
        assert!(blobs.contains(&digest).unwrap());
        assert_eq!(
            blobs.bytes(&digest).unwrap(),
            Some(bytes.len().try_into().unwrap())
        );
        assert_eq!(
            blobs.read_verified(&digest, 3 << 20).unwrap().unwrap(),
            bytes
        );
        assert_eq!(mode(&blob_path(&store, &digest)), 0o644);
    }
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("blobs")), 0o700);
    fs::write(data.join("blobs/README"), "a foreign file").unwrap();
    let held: Vec<Digest> = blobs
        .list()
        .unwrap()
        .into_iter()
        .map(|held| held.digest)
        .collect();
    let mut expected = [&b""[..], b"small", &large].map(Digest::of);
    expected.sort();
    assert_eq!(held, expected);
    let absent = Digest::of(b"absent");
    assert!(blobs.open(&absent).unwrap().is_none());
    assert!(blobs.read_verified(&absent, 1).unwrap().is_none());
    assert_eq!(blobs.bytes(&absent).unwrap(), None);
}

#[test]
fn ranges_inside_a_blob_are_read_and_others_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let digest = store.blobs().put(b"0123456789").unwrap();
    let file = store.blobs().open(&digest).unwrap().unwrap();
    assert_eq!((file.bytes(), file.digest()), (10, digest));
    let rows: &[(u64, usize, Option<&[u8]>)] = &[
        (0, 10, Some(b"0123456789")),
        (3, 4, Some(b"3456")),
        (10, 0, Some(b"")),
        (10, 1, None),
        (0, 11, None),
        (u64::MAX, 1, None),
        (1, usize::MAX, None),
    ];
    for (offset, len, expected) in rows {
        let found = file.read_at(*offset, *len);
        let is_out_of_range = matches!(found, Err(StoreError::OutOfRange { .. }));
        assert_eq!(is_out_of_range, expected.is_none(), "{offset} {len}");
        assert_eq!(found.ok().as_deref(), *expected, "{offset} {len}");
    }
    let mut buffer = [0; 2];
    file.read_into(8, &mut buffer).unwrap();
    assert_eq!(&buffer, b"89");
    assert!(file.read_into(9, &mut buffer).is_err());
    let refused = store.blobs().read_verified(&digest, 9).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("blob {digest} has 10 bytes, at most 9 are allowed")
    );
    assert!(store.blobs().read_verified(&digest, 10).is_ok());
}

#[test]
fn staged_files_are_adopted_and_the_rest_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let staging = store.staging().unwrap();
    let other = store.staging().unwrap();
    assert_ne!(staging.path(), other.path());
    let staged: Vec<_> = ["one", "two", "two again"]
        .into_iter()
        .map(|name| {
            let path = staging.path().join(name);
            let bytes = &name.as_bytes()[..3];
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            Staged {
                path,
                digest: Digest::of(bytes),
            }
        })
        .collect();
    fs::write(staging.path().join("rest"), b"not adopted").unwrap();
    store.blobs().adopt_all(&staged).unwrap();
    for file in &staged {
        assert_eq!(store.blobs().bytes(&file.digest).unwrap(), Some(3));
        assert_eq!(mode(&blob_path(&store, &file.digest)), 0o644);
    }
    assert_eq!(store.blobs().list().unwrap().len(), 2);
    drop((staging, other));
    assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
}

#[test]
fn a_staged_file_that_is_not_what_it_should_be_is_refused_with_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let staging = store.staging().unwrap();
    let path = |name: &str| staging.path().join(name);
    fs::write(path("good"), b"good").unwrap();
    fs::write(path("bad"), b"bad").unwrap();
    fs::create_dir(path("dir")).unwrap();
    symlink("good", path("link")).unwrap();
    let good = Staged {
        path: path("good"),
        digest: Digest::of(b"good"),
    };
    for name in ["bad", "dir", "link", "absent"] {
        let other = Staged {
            path: path(name),
            digest: Digest::of(b"good"),
        };
        let error = store.blobs().adopt_all(&[good.clone(), other]).unwrap_err();
        let is_expected = match name {
            "bad" => matches!(error, StoreError::WrongDigest { .. }),
            "absent" => matches!(error, StoreError::Disk { .. }),
            _ => matches!(error, StoreError::NotAFile { .. }),
        };
        assert!(is_expected, "{name}: {error}");
        assert_eq!(store.blobs().list().unwrap(), []);
    }
    store.blobs().adopt(&good.path, good.digest).unwrap();
    assert!(store.blobs().contains(&good.digest).unwrap());
}

#[test]
fn a_start_empties_staging() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("staging/put-0"), b"half").unwrap();
    fs::create_dir_all(dir.path().join("staging/dir-0/deep")).unwrap();
    drop(open(dir.path()));
    assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
}

/// A disk on which somebody puts a new file into every directory that is about to go.
#[derive(Debug)]
struct Refilled;

impl Disk for Refilled {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        LocalDisk.create_dir(dir)
    }

    fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
        LocalDisk.create(path, bytes, mode)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        LocalDisk.sync(file, path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        LocalDisk.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        fs::write(dir.join("late"), b"late")?;
        fs::remove_dir(dir)
    }
}

/// A build that outlives its killed node for a moment wrote into its staging directory while the
/// next start removed it: "Directory not empty", and the node did not start. Seen once in 20 kills.
#[test]
fn a_build_that_still_writes_does_not_keep_the_next_start_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let orphaned = dir.path().join("staging/dir-0");
    fs::create_dir(&orphaned).unwrap();
    let store = Store::open(dir.path(), Arc::new(Refilled)).unwrap();
    let (first, second) = (store.staging().unwrap(), store.staging().unwrap());
    for staging in [&first, &second] {
        assert_ne!(staging.path(), orphaned, "nobody writes into another's");
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0);
    }
    drop((first, second, store));
    drop(open(dir.path()));
    assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
}

#[test]
fn the_collector_spares_what_lives_is_pinned_or_young() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [live, pinned, garbage] =
        [&b"live"[..], b"pinned", b"garbage"].map(|bytes| store.blobs().put(bytes).unwrap());
    let alive = BTreeSet::from([live]);
    let pins = [store.pin([pinned]), store.pin([pinned, live])];
    let (start, later) = (stopwatch(), stopwatch() + HOUR);

    let young = store.collect(&alive, HOUR, start).unwrap();
    assert_eq!(
        young,
        Collected {
            spared_count: 2,
            ..Collected::default()
        }
    );
    let old = store.collect(&alive, HOUR, later).unwrap();
    assert_eq!(
        old,
        Collected {
            removed_count: 1,
            removed_bytes: 7,
            spared_count: 1
        }
    );
    assert!(!store.blobs().contains(&garbage).unwrap());

    let [first, second] = pins;
    drop(first);
    assert_eq!(
        store.collect(&alive, HOUR, later).unwrap().spared_count,
        1,
        "pinned twice"
    );
    drop(second);
    let just_unpinned = store.collect(&alive, HOUR, later - HOUR / 2).unwrap();
    assert_eq!(
        just_unpinned.spared_count, 1,
        "its record may not be counted as alive yet"
    );
    assert_eq!(
        store
            .collect(&alive, HOUR, later + HOUR)
            .unwrap()
            .removed_count,
        1
    );
    assert_eq!(
        store.blobs().list().unwrap(),
        [Held {
            digest: live,
            bytes: 4
        }]
    );
}

#[test]
fn putting_what_is_there_makes_it_young_again() {
    let dir = tempfile::tempdir().unwrap();
    let digest = open(dir.path())
        .blobs()
        .put(b"from an earlier run")
        .unwrap();
    let store = open(dir.path());
    store.blobs().put(b"from an earlier run").unwrap();
    assert_eq!(
        store
            .collect(&BTreeSet::new(), HOUR, stopwatch())
            .unwrap()
            .spared_count,
        1
    );
    drop(store);
    let store = open(dir.path());
    assert_eq!(
        store
            .collect(&BTreeSet::new(), HOUR, stopwatch())
            .unwrap()
            .removed_count,
        1
    );
    assert!(!store.blobs().contains(&digest).unwrap());
}

/// Whoever pins, looks, and puts what is missing finds all of it there at the end, while a
/// collector with an empty list of the living runs without a pause.
#[test]
fn a_collector_never_takes_what_an_adopter_has_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (stop, stopped) = mpsc::sync_channel::<()>(0);
    std::thread::scope(|scope| {
        let collector = store.clone();
        scope.spawn(move || {
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                collector
                    .collect(&BTreeSet::new(), Duration::ZERO, stopwatch())
                    .unwrap();
            }
        });
        for round in 0..60_u8 {
            let all = [0, 1, 2].map(|number| vec![number, round % 4]);
            let digests = all.each_ref().map(|bytes| Digest::of(bytes));
            let _pin = store.pin(digests);
            for (bytes, digest) in all.iter().zip(digests) {
                if !store.blobs().contains(&digest).unwrap() {
                    store.blobs().put(bytes).unwrap();
                }
            }
            for digest in digests {
                assert!(store.blobs().contains(&digest).unwrap(), "round {round}");
            }
        }
        drop(stop);
    });
}

/// Flips a bit, as a disk does: the length stays.
fn corrupt(store: &Store, digest: &Digest) {
    let path = blob_path(store, digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn never_stop(_pause: Duration) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn scrub(store: &Store) -> (Round, Vec<Damage>) {
    let mut damages = Vec::new();
    let mut report = |damage| damages.push(damage);
    let mut rest = never_stop;
    let round = scrub_round(store, &mut Pace::new(9), &mut rest, &mut report).unwrap();
    (round, damages)
}

#[test]
fn a_damaged_blob_is_moved_aside_and_can_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let digest = store.blobs().put(b"good bytes").unwrap();
    store.blobs().put(b"others").unwrap();
    for copy in 1..=3 {
        corrupt(&store, &digest);
        let error = store.blobs().read_verified(&digest, 100).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("blob {digest} does not match its digest")
        );
        let (round, damages) = scrub(&store);
        assert_eq!((round.checked_count, round.damaged_count), (2, 1));
        assert!(round.is_complete);
        assert_eq!((damages.len(), damages[0].digest), (1, digest));
        let bad = fs::read(&damages[0].moved_to).unwrap();
        assert_eq!(&bad[1..], b"ood bytes");
        assert_eq!(
            fs::read_dir(dir.path().join("damaged")).unwrap().count(),
            copy
        );
        assert!(!store.blobs().contains(&digest).unwrap());
        store.blobs().put(b"good bytes").unwrap();
    }
    let (round, damages) = scrub(&store);
    assert_eq!((round.damaged_count, damages.len()), (0, 0));
}

#[test]
fn a_blob_is_rechecked_at_once_and_only_damage_is_moved() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let absent = Digest::of(b"nobody put this");
    assert!(recheck(&store, absent).unwrap().is_none());
    let digest = store.blobs().put(b"good bytes").unwrap();
    assert!(recheck(&store, digest).unwrap().is_none());
    assert!(store.blobs().contains(&digest).unwrap());
    corrupt(&store, &digest);
    let damage = recheck(&store, digest).unwrap().unwrap();
    assert_eq!(&fs::read(damage.moved_to).unwrap()[1..], b"ood bytes");
    assert!(!store.blobs().contains(&digest).unwrap());
    assert!(recheck(&store, digest).unwrap().is_none());
}

#[test]
fn a_blob_that_was_put_right_while_it_was_read_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let digest = store.blobs().put(b"good bytes").unwrap();
    corrupt(&store, &digest);
    let mut readings = 0;
    let mut rest = |_pause: Duration| {
        readings += 1;
        if readings == 2 {
            store.blobs().set_aside(&digest).unwrap();
            store.blobs().put(b"good bytes").unwrap();
        }
        ControlFlow::Continue(())
    };
    let mut report = |damage| panic!("moved: {damage:?}");
    scrub_round(&store, &mut Pace::new(9), &mut rest, &mut report).unwrap();
    assert_eq!(store.blobs().bytes(&digest).unwrap(), Some(10));
}

#[test]
fn a_scrub_that_is_stopped_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..10_u8 {
        store.blobs().put(&[number; 10]).unwrap();
    }
    let mut steps = 0;
    let mut rest = |_pause: Duration| {
        steps += 1;
        if steps > 4 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let first = scrub_round(&store, &mut Pace::new(1), &mut rest, &mut |_| ()).unwrap();
    assert_eq!((first.checked_count, first.is_complete), (4, false));
    drop(store);
    let store = open(dir.path());
    let (second, _) = scrub(&store);
    assert_eq!((second.checked_count, second.is_complete), (6, true));
    assert_eq!(scrub(&store).0.checked_count, 10, "a new round");
}

#[test]
fn the_background_scrub_reports_and_ends_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let digest = store.blobs().put(b"bytes").unwrap();
    corrupt(&store, &digest);
    let config = ScrubConfig {
        rest_per_work: 9,
        between_rounds: HOUR,
    };
    let (found, reports) = mpsc::sync_channel(1);
    let report = move |damage: Damage| found.send(damage.digest).unwrap();
    let scrubber = Scrubber::start(store.clone(), config, report).unwrap();
    assert_eq!(reports.recv(), Ok(digest));
    drop(scrubber);
    assert!(
        reports.recv().is_err(),
        "the thread is gone, and its sender with it"
    );
    drop(store);
    open(dir.path());
}
