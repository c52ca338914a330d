//! A full disk: a clear sentence, nothing half, nothing lost, and all is well when there is space.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not work"
)]

mod mount;

use mount::Mount;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use verge_sync::store::{Fault, LocalDisk, Row, Staged, Store, StoreError};
use verge_sync::{Digest, RecordId};

const BLOB_BYTES: usize = 100_000;

/// A disk of 2 MiB.
struct SmallDisk {
    mount: Mount,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
        Self {
            mount: Mount::new(&dir.path().join("mnt"), &arguments),
            _dir: dir,
        }
    }

    fn path(&self) -> &Path {
        self.mount.path()
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, Arc::new(LocalDisk)).unwrap()
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut bytes = 1 << 20;
    let mut number = 0;
    while bytes > 0 {
        number += 1;
        let file = path.join(format!("fill-{number}"));
        if fs::write(&file, vec![0; bytes]).is_err() {
            fs::remove_file(&file).unwrap();
            bytes /= 2;
        }
    }
}

fn free(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
}

fn row(number: u32) -> Row {
    Row {
        id: RecordId::from_digest(Digest::of(&number.to_be_bytes())),
        kind: 1,
        subject: b"subject".to_vec(),
        author: [1; 32],
        epoch: 0,
        sequence: number,
        bytes: vec![1; 60_000],
    }
}

fn assert_is_full(error: &StoreError, dir: &Path) {
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Disk);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("no space left to write {}", dir.display())),
        "{text}"
    );
    assert!(
        text.ends_with(": free some space on its disk, then try again"),
        "{text}"
    );
}

#[test]
fn a_put_on_a_full_disk_leaves_nothing_half() {
    let disk = SmallDisk::new();
    let dir = disk.path().join("data");
    let store = open(&dir);
    let before = store.blobs().put(&[1; BLOB_BYTES]).unwrap();
    fill(disk.path());
    let error = store.blobs().put(&[2; BLOB_BYTES]).unwrap_err();
    assert_is_full(&error, &dir);
    let held: Vec<_> = store
        .blobs()
        .list()
        .unwrap()
        .iter()
        .map(|held| held.digest)
        .collect();
    assert_eq!(held, [before]);
    assert_eq!(fs::read_dir(dir.join("staging")).unwrap().count(), 0);
    assert!(
        store
            .blobs()
            .read_verified(&before, 1 << 20)
            .unwrap()
            .is_some()
    );

    free(disk.path());
    let after = store.blobs().put(&[2; BLOB_BYTES]).unwrap();
    drop(store);
    let store = open(&dir);
    for digest in [before, after] {
        assert!(
            store
                .blobs()
                .read_verified(&digest, 1 << 20)
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn a_staged_file_is_adopted_without_space() {
    let disk = SmallDisk::new();
    let store = open(&disk.path().join("data"));
    let staging = store.staging().unwrap();
    let path = staging.path().join("pack");
    fs::write(&path, [3; BLOB_BYTES]).unwrap();
    let digest = Digest::of(&[3; BLOB_BYTES]);
    fill(disk.path());
    store.blobs().adopt_all(&[Staged { path, digest }]).unwrap();
    assert!(
        store
            .blobs()
            .read_verified(&digest, 1 << 20)
            .unwrap()
            .is_some()
    );
}

#[test]
fn records_on_a_full_disk_are_refused_whole_and_taken_later() {
    let disk = SmallDisk::new();
    let dir = disk.path().join("data");
    let store = open(&dir);
    store.records().put(vec![row(1)]).unwrap().wait().unwrap();
    fill(disk.path());
    let error = store
        .records()
        .put((2..20).map(row).collect())
        .unwrap()
        .wait()
        .unwrap_err();
    assert_is_full(&error, &dir);
    assert_eq!(store.records().all().unwrap(), [row(1)]);
    assert_eq!(*store.records().revision().borrow(), 1);

    free(disk.path());
    store.records().put(vec![row(2)]).unwrap().wait().unwrap();
    drop(store);
    assert_eq!(open(&dir).records().all().unwrap().len(), 2);
}

#[test]
fn a_store_that_was_full_when_it_was_closed_opens_again() {
    let disk = SmallDisk::new();
    let dir = disk.path().join("data");
    let store = open(&dir);
    store.records().put(vec![row(1)]).unwrap().wait().unwrap();
    fill(disk.path());
    drop(store);
    match Store::open(&dir, Arc::new(LocalDisk)) {
        Ok(store) => assert_eq!(store.records().all().unwrap(), [row(1)]),
        Err(error) => assert_is_full(&error, &dir),
    }
    free(disk.path());
    assert_eq!(open(&dir).records().all().unwrap(), [row(1)]);
}
