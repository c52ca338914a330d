//! Two puts of one blob, of which one fails at the worst moment: what the other was told is durable
//! stays.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that does not work"
)]

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use verge_sync::Digest;
use verge_sync::store::{Disk, LocalDisk, Store};

type Interlude = Box<dyn FnOnce() + Send>;

/// A disk on which something else happens during one sync, and the next sync of names then fails.
#[derive(Default)]
struct Interrupted {
    during_sync: Mutex<Option<Interlude>>,
    during_sync_dir: Mutex<Option<Interlude>>,
    fails_names: AtomicBool,
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupted")
    }
}

impl Interrupted {
    /// Not under the lock: the interlude comes here too.
    fn play(interlude: &Mutex<Option<Interlude>>) {
        let taken = interlude.lock().unwrap().take();
        if let Some(play) = taken {
            play();
        }
    }
}

impl Disk for Interrupted {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        LocalDisk.create_dir(dir)
    }

    fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
        LocalDisk.create(path, bytes, mode)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        Self::play(&self.during_sync);
        LocalDisk.sync(file, path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Self::play(&self.during_sync_dir);
        if self.fails_names.swap(false, Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(5));
        }
        LocalDisk.sync_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        LocalDisk.remove_tree(dir)
    }
}

/// The second put begins and ends while the first still syncs its bytes.
#[test]
fn a_failed_put_does_not_take_back_the_name_of_a_successful_one() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Interrupted::default());
    let store = Store::open(dir.path(), disk.clone()).unwrap();
    let (other, other_disk) = (store.clone(), disk.clone());
    *disk.during_sync.lock().unwrap() = Some(Box::new(move || {
        other.blobs().put(b"bytes").unwrap();
        other_disk.fails_names.store(true, Ordering::SeqCst);
    }));
    assert!(store.blobs().put(b"bytes").is_err());
    let digest = Digest::of(b"bytes");
    assert_eq!(
        store.blobs().read_verified(&digest, 10).unwrap().unwrap(),
        b"bytes"
    );
    assert_eq!(
        std::fs::read_dir(dir.path().join("staging"))
            .unwrap()
            .count(),
        0
    );
}

/// The second put begins when the first has given the name and is about to take it back.
#[test]
fn a_put_does_not_build_on_a_name_that_is_taken_back() {
    for round in 0..100_u8 {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Interrupted::default());
        let store = Store::open(dir.path(), disk.clone()).unwrap();
        let (second, second_put) = std::sync::mpsc::sync_channel(1);
        let (other, other_disk) = (store.clone(), disk.clone());
        *disk.during_sync_dir.lock().unwrap() = Some(Box::new(move || {
            other_disk.fails_names.store(true, Ordering::SeqCst);
            let thread = std::thread::spawn(move || other.blobs().put(b"bytes"));
            second.send(thread).unwrap();
            (0..round).for_each(|_| std::thread::yield_now());
        }));
        assert!(store.blobs().put(b"bytes").is_err());
        let digest = second_put.recv().unwrap().join().unwrap().unwrap();
        assert!(store.blobs().contains(&digest).unwrap(), "round {round}");
    }
}
