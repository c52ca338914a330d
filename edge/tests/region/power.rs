//! The power of a node is cut while it receives: what it shows afterwards is whole, and the rest
//! comes.
//!
//! As in `sync/tests/power_cut.rs` the cut is the shutdown ioctl on a loop-mounted file system.
//! `VERGE_POWER_CUTS` says how often for each (5).

use crate::harness::{Node, count, signal};
use crate::mount::{Mount, run, text};
use crate::scene::Region;
use crate::watch::Publishing;
use rustix::process::Signal;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest};
use verge_sync::store::{LocalDisk, Store};

const FILM_BYTES: usize = 5 << 20;
const BLOB_BYTES_MAX: u64 = 1 << 30;
/// The power is cut so long after a deploy, at most: by then all has come.
const MOMENT_US_MAX: u64 = 1_500_000;

/// A file system on a file.
///
/// Its folder is a shared mount: a test beside this one gives its programs mounts of their own, and
/// what is unmounted here must not stay there.
pub(crate) struct Disk {
    mount: Option<Mount>,
    _shared: Mount,
    pub(crate) point: PathBuf,
    image: PathBuf,
}

impl Disk {
    pub(crate) fn new(folder: &Path, mkfs: &[&str], bytes: u64) -> Self {
        let (image, point) = (folder.join("image"), folder.join("shared/disk"));
        let shared = folder.join("shared");
        let arguments = ["--bind", "--make-shared", text(&shared)];
        std::fs::create_dir(&shared).unwrap();
        let shared = Mount::new(&shared, &arguments);
        File::create(&image).unwrap().set_len(bytes).unwrap();
        run(&[mkfs, &[text(&image)]].concat());
        let mut disk = Self {
            mount: None,
            _shared: shared,
            point,
            image,
        };
        disk.attach();
        disk
    }

    fn attach(&mut self) {
        let arguments = ["-o", "loop", text(&self.image)];
        self.mount = Some(Mount::new(&self.point, &arguments));
    }

    /// Lets an ext4 find an error in itself.
    pub(crate) fn find_an_error(&self) {
        let mut findmnt = Command::new("findmnt");
        let device = findmnt
            .args(["-n", "-o", "SOURCE"])
            .arg(&self.point)
            .output();
        let device = String::from_utf8(device.unwrap().stdout).unwrap();
        let device = device.trim().strip_prefix("/dev/").unwrap();
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(trigger, "found by a test\n").unwrap();
    }

    /// Cuts the power under a node: what is not on the disk by now never comes there.
    pub(crate) fn cut_power(&mut self, node: &mut Node) {
        signal(node.id(), Signal::STOP);
        run(&["xfs_io", "-x", "-c", "shutdown", text(&self.point)]);
        node.kill();
        drop(self.mount.take());
        self.attach();
    }
}

/// Every blob has the bytes of its name, and no version on the shelf lacks one.
fn is_whole(data: &Path) {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    for held in store.blobs().list().unwrap() {
        let read = store.blobs().read_verified(&held.digest, BLOB_BYTES_MAX);
        assert!(matches!(read, Ok(Some(_))), "{}: {read:?}", held.digest);
    }
    let bytes_of = |digest: &Digest| store.blobs().bytes(digest).unwrap();
    for version in store.shelf().versions() {
        let manifest = store
            .blobs()
            .read_verified(&version.digest(), MANIFEST_BYTES_MAX);
        let manifest = Manifest::decode(manifest.unwrap().unwrap()).unwrap();
        for blob in manifest.blobs() {
            assert_eq!(bytes_of(&blob.digest), Some(blob.bytes), "{version}");
        }
    }
}

fn cut_power_while_it_receives(mkfs: &[&str], bytes: u64) {
    let mut region = Region::of(1);
    let mut disk = Disk::new(region.folder.path(), mkfs, bytes);
    region.join_on(&disk.point.join("data"), "P1");
    let mut publishing = Publishing::new();
    let (_open, moment) = sync_channel::<()>(1);
    for number in 0..count("VERGE_POWER_CUTS", 5) {
        let wait_us = RandomState::new().hash_one(number) % MOMENT_US_MAX;
        println!("power cut {number} after {wait_us} us");
        let (giver, receiver) = region.nodes.split_at_mut(1);
        publishing.push(&giver[0], &format!("site{}", number % 3), FILM_BYTES);
        assert!(moment.recv_timeout(Duration::from_micros(wait_us)).is_err());
        disk.cut_power(&mut receiver[0]);
        is_whole(receiver[0].data());
        receiver[0].restart();
        publishing.is_at(&receiver[0]);
        publishing.is_served_by(&receiver[0]);
    }
    region.nodes.clear();
}

#[test]
fn a_power_cut_on_ext4_while_a_node_receives_shows_nothing_half() {
    cut_power_while_it_receives(&["mkfs.ext4", "-q", "-F"], 256 << 20);
}

#[test]
fn a_power_cut_on_xfs_while_a_node_receives_shows_nothing_half() {
    cut_power_while_it_receives(&["mkfs.xfs", "-q", "-f"], 320 << 20);
}
