//! Five nodes on a network that is cut, loses packets and loses nodes and disks: what they hold they
//! serve, byte for byte and without an error, and all come to hold the same.
//!
//! `VERGE_CUTS` says how often.

use crate::compare::{real_folder, serves};
use crate::harness::{Node, Publisher, count, fixture};
use crate::mount::Mount;
use crate::scene::{Region, wait};
use crate::street::Street;
use crate::watch::{Publishing, Watch};
use serde_json::Value;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use verge_edge::cli::client::Protocol;
use verge_sync::clock::stopwatch;

const SMALL_FILM: usize = 200 << 10;
const LONG_FILM: usize = 12 << 20;
/// A disk with room for a node and short films.
const SMALL_DISK: &str = "size=24m";
/// Between two looks at what is under way.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Waits until the beginning of a blob lies at the node.
fn is_receiving(node: &Node) {
    let (_open, pause) = sync_channel::<()>(1);
    let partial = node.data().join("partial");
    let is_there = || std::fs::read_dir(&partial).unwrap().next().is_some();
    while !is_there() {
        assert!(pause.recv_timeout(BETWEEN_LOOKS).is_err());
    }
}

#[test]
fn what_is_held_is_served_through_cuts_loss_kills_and_full_disks() {
    let street = Street::of(5);
    let mut disk = None;
    let mut region = street.region_on(|house, data| {
        if house == 4 {
            disk = Some(Mount::new(data, &["-t", "tmpfs", "-o", SMALL_DISK, "none"]));
        }
    });
    let mut publishing = Publishing::new();
    publishing.push(&region.nodes[0], "first", SMALL_FILM);
    publishing.is_everywhere(&street, &region);
    let watch = Watch::start(&street, &region, &publishing.pushed);
    for round in 0..count("VERGE_CUTS", 1) {
        both_sides_of_a_cut(&street, &region, &mut publishing, round);
        packets_are_lost(&street, &region, &mut publishing, round);
        a_kill_while_it_receives(&street, &mut region, (&mut publishing, &watch), round);
        blobs_are_wiped(&street, &mut region, (&mut publishing, &watch));
    }
    a_disk_is_full(&street, &region, &mut publishing, &watch);
    let answers = watch.end();
    println!("{answers} right answers meanwhile");
    assert!(answers > 0);
    for node in &mut region.nodes {
        assert!(node.stop().success());
    }
    drop((region, disk));
}

fn both_sides_of_a_cut(
    street: &Street,
    region: &Region,
    publishing: &mut Publishing,
    round: usize,
) {
    street.cut(&[0, 1]);
    publishing.push(&region.nodes[0], &format!("left{round}"), SMALL_FILM);
    publishing.push(&region.nodes[3], "first", SMALL_FILM);
    publishing.push(&region.nodes[3], &format!("right{round}"), SMALL_FILM);
    wait(&region.nodes[4], |status| {
        status["here_count"] == 2 + 4 * round && status["published_count"] == 2 + 4 * round
    });
    street.heal();
    let healed = stopwatch();
    publishing.is_everywhere(street, region);
    println!(
        "{} ms after the heal all serve all",
        healed.elapsed().as_millis()
    );
}

fn packets_are_lost(street: &Street, region: &Region, publishing: &mut Publishing, round: usize) {
    for percent in [2, 30] {
        street.lose(percent);
        let begun = stopwatch();
        publishing.push(&region.nodes[1], &format!("lossy{round}"), SMALL_FILM);
        for node in &region.nodes {
            publishing.is_at(node);
        }
        println!(
            "{percent} % lost: at all after {} ms",
            begun.elapsed().as_millis()
        );
    }
    street.heal();
    publishing.is_everywhere(street, region);
}

fn a_kill_while_it_receives(
    street: &Street,
    region: &mut Region,
    (publishing, watch): (&mut Publishing, &Watch),
    round: usize,
) {
    std::thread::scope(|scope| {
        // It returns when most of the others have it.
        scope.spawn(|| publishing.push(&region.nodes[0], "first", LONG_FILM));
        is_receiving(&region.nodes[3]);
    });
    watch.goes_down(3);
    region.nodes[3].kill();
    publishing.push(&region.nodes[1], &format!("after{round}"), SMALL_FILM);
    region.nodes[3].restart();
    watch.is_up(3, &region.nodes[3]);
    publishing.is_everywhere(street, region);
    // The disks are small.
    publishing.push(&region.nodes[0], "first", SMALL_FILM);
    publishing.is_everywhere(street, region);
}

fn blobs_are_wiped(
    street: &Street,
    region: &mut Region,
    (publishing, watch): (&mut Publishing, &Watch),
) {
    let begun = stopwatch();
    watch.goes_down(2);
    region.nodes[2].kill();
    let blobs = region.nodes[2].data().join("blobs");
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::create_dir(&blobs).unwrap();
    watch.is_wiped(2);
    region.nodes[2].restart();
    watch.is_up(2, &region.nodes[2]);
    publishing.is_everywhere(street, region);
    println!("wiped: all back after {} ms", begun.elapsed().as_millis());
}

/// What does not fit is not kept, nor what others hold where there is no room; the rest is served,
/// and the others have all of it.
fn a_disk_is_full(street: &Street, region: &Region, publishing: &mut Publishing, watch: &Watch) {
    // It may give copies up.
    watch.goes_down(4);
    publishing.push(&region.nodes[0], "large", 32 << 20);
    publishing.push(&region.nodes[1], "first", SMALL_FILM);
    for (house, node) in region.nodes[..4].iter().enumerate() {
        publishing.is_at(node);
        street.inside(house, || publishing.is_served_by(node));
    }
    let begun = stopwatch();
    let count = |status: &Value, name: &str| status[name].as_u64().unwrap();
    let full = wait(&region.nodes[4], |status| {
        // One that is given up may still lie here. Which ones may be is drawn by their ids: the large
        // one may have to wait for room.
        let weighed = count(status, "here_count") + count(status, "given_up_count");
        weighed + 1 >= count(status, "published_count")
    });
    let given_up = count(&full, "given_up_count");
    println!(
        "full: weighed after {} ms, {given_up} given up",
        begun.elapsed().as_millis()
    );
    let served = street.inside(4, || publishing.served_count(&region.nodes[4]));
    assert!(
        served + given_up + 1 >= count(&full, "published_count"),
        "{served}"
    );
}

/// Every real site, from every node of three.
#[test]
fn every_site_comes_from_every_node_as_it_is() {
    let region = Region::of(3);
    let publisher = Publisher::new();
    let key = publisher.public_key();
    region.nodes[0].verge_ok(&["account", "add", "ana", "--ssh-key", &key]);
    region.all_in_step();
    let debian = ["git-doc", "sqlite3"].map(|name| real_folder(&format!("/usr/share/doc/{name}")));
    let fixtures = ["neighbourhood", "single-page-app", "empty-index"].map(fixture);
    let mut folders: Vec<&Path> = fixtures.iter().map(AsRef::as_ref).collect();
    folders.extend(debian.iter().map(|folder| folder.path()));
    for (number, folder) in folders.iter().enumerate() {
        let (name, node) = (format!("site{number}"), &region.nodes[number % 3]);
        node.verge_ok(&["site", "create", &name, "--owner", "ana"]);
        node.verge_ok(&["deploy", "--site", &name, folder.to_str().unwrap()]);
    }
    for node in &region.nodes {
        wait(node, |status| {
            status["published_count"] == folders.len() && status["here_count"] == folders.len()
        });
        for (number, folder) in folders.iter().enumerate() {
            let host = format!("site{number}.sites.localhost");
            serves(node, &host, folder, &[Protocol::Http2]);
        }
    }
}
