//! A disk that is full, cannot be written for a while, or is read-only for good: visitors are served as
//! ever, the steward is told, and nothing is counted twice.

use crate::accounting::{HOST, Visit, open_requests, with_page, with_pages};
use crate::harness::Node;
use crate::mount::{Mount, run};
use crate::power::Disk;
use crate::scene::{status, wait};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::path::Path;

/// So many that the page of the journal's last bytes is full after a few writes.
const SITES: usize = 20;

#[test]
fn a_full_disk_keeps_no_visitor_waiting_and_loses_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(
        &folder.path().join("disk"),
        &["-t", "tmpfs", "-o", "size=40m", "none"],
    );
    let data = mount.path().join("node");
    with_pages(&data, SITES, &[]);
    let mut node = Node::start(&data);
    let visit = RefCell::new(Visit::new(node.ready().http.unwrap()).unwrap());
    let asked = Cell::new(0);
    let get = || {
        for number in 0..SITES {
            asked.set(asked.get() + 1);
            let host = format!("page{number}.sites.localhost");
            assert_eq!(visit.borrow_mut().get(&host).unwrap(), "<p>here");
        }
    };
    get();
    wait(&node, |status| open_requests(status) == asked.get());
    let ballast = mount.path().join("ballast");
    fill(&ballast);
    wait(&node, |status| {
        get();
        !status["accounting"]["trouble"].is_null()
    });
    let words = status(&node)["accounting"]["trouble"].to_string();
    assert!(
        words.contains("journal of what was served") && words.contains("space"),
        "{words}"
    );
    get();
    std::fs::remove_file(&ballast).unwrap();
    nothing_is_lost(&mut node, visit, asked.get());
}

/// All that was asked is counted and no trouble left, and it is on the disk.
fn nothing_is_lost(node: &mut Node, visit: RefCell<Visit>, asked: u64) {
    wait(node, |status| {
        status["accounting"]["trouble"].is_null() && open_requests(status) == asked
    });
    drop(visit);
    node.stop();
    node.restart();
    assert_eq!(open_requests(&status(node)), asked);
}

/// Writes until there is no room at all.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::create(ballast).unwrap();
    for bytes in [1 << 20, 4_096] {
        while file.write_all(&vec![7; bytes]).is_ok() {}
    }
}

/// Visitors come until the node says that it cannot write; whoever comes then is served as ever.
fn serves_on_without_writing(node: &Node, get: impl Fn() -> String) {
    let said = wait(node, |status| {
        get();
        !status["accounting"]["trouble"].is_null()
    });
    let words = said["accounting"]["trouble"].to_string();
    assert!(words.contains("journal of what was served"), "{words}");
    let shown = node.verge_ok(&["status"]);
    assert!(shown.contains("journal of what was served"), "{shown}");
    assert_eq!(get(), "<p>here");
}

/// Every file and folder of the data directory, the open ones too: as on a disk that is mounted
/// read-only, which the kernel does not do to one where files are written.
fn lock(data: &Path, change: &str) {
    let of = ["(", "-type", "f", "-o", "-type", "d", ")"];
    let act = ["-exec", "chattr", change, "{}", "+"];
    let data = data.to_str().unwrap();
    run(&[&["find", data][..], &of, &act].concat());
}

#[test]
fn a_data_directory_that_cannot_be_written_for_a_while_loses_no_count() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path(), &["mkfs.ext4", "-q", "-F"], 128 << 20);
    let data = disk.point.join("data");
    with_page(&data, &[]);
    let mut node = Node::start(&data);
    let visit = RefCell::new(Visit::new(node.ready().http.unwrap()).unwrap());
    let asked = Cell::new(0);
    let get = || {
        asked.set(asked.get() + 1);
        visit.borrow_mut().get(HOST).unwrap()
    };
    get();
    wait(&node, |status| open_requests(status) == 1);
    lock(&data, "+i");
    serves_on_without_writing(&node, get);
    lock(&data, "-i");
    nothing_is_lost(&mut node, visit, asked.get());
}

/// What ext4 does when it finds an error; it cannot be written again before it is mounted anew.
#[test]
fn a_disk_that_an_error_made_read_only_loses_what_it_could_not_take_and_counts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mkfs = ["mkfs.ext4", "-q", "-F", "-e", "remount-ro"];
    let mut disk = Disk::new(folder.path(), &mkfs, 128 << 20);
    let data = disk.point.join("data");
    with_page(&data, &[("between_syncs_s = 60", "between_syncs_s = 1")]);
    let mut node = Node::start(&data);
    let mut first = Visit::new(node.ready().http.unwrap()).unwrap();
    (0..30).for_each(|_| drop(first.get(HOST).unwrap()));
    wait(&node, |status| {
        status["accounting"]["is_synced"] == true && open_requests(status) == 30
    });
    let visit = RefCell::new(first);
    let asked = Cell::new(30);
    disk.find_an_error();
    serves_on_without_writing(&node, || {
        asked.set(asked.get() + 1);
        visit.borrow_mut().get(HOST).unwrap()
    });
    disk.cut_power(&mut node);
    node.restart();
    let counted = open_requests(&status(&node));
    assert!((30..=asked.get()).contains(&counted), "{counted}");
}
