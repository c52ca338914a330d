//! What is left of a node's counts when its disk is not: snapshots at its witnesses, and a restored
//! image that seals nothing twice.

use crate::harness::{Node, clock_at};
use crate::scene::{Region, wait};
use crate::street::Street;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use verge_edge::accounting::calendar::{Day, Month};
use verge_edge::accounting::figures::{BodyBytes, Class, Count, CreditBytes, NodeTotals, Row};
use verge_edge::accounting::journal::{Deltas, Journal, JournalDir};
use verge_sync::id::SiteId;
use verge_sync::store::LocalDisk;

const MORNING: &str = "2030-06-01 09:00:00";
const NEXT_DAY: &str = "2030-06-02 00:20:00";
const LATER: &str = "2030-06-06 00:20:00";

fn first_of_june() -> Day {
    "2030-06".parse::<Month>().unwrap().first_day()
}

/// What a run of the node on `data` that day would have left in its journal.
fn serve(data: &Path, requests: u64) {
    serve_on(
        data,
        (first_of_june(), SiteId::from_bytes([7; 32])),
        requests,
    );
}

/// The same of a day and a site.
pub(crate) fn serve_on(data: &Path, (day, site): (Day, SiteId), requests: u64) {
    let dir = data.join("journal");
    std::fs::create_dir_all(&dir).unwrap();
    let disk = JournalDir::new(dir, Arc::new(LocalDisk));
    let (mut journal, _) = Journal::open(disk, 0, None).unwrap();
    let count = Count {
        requests,
        credit: CreditBytes(requests * 1_000),
        body: BodyBytes(requests * 1_000),
    };
    let row = Row {
        site,
        class: Class::Answer,
        count,
    };
    let deltas = Deltas {
        day: Some(day),
        hour: 8,
        is_behind_proxy: false,
        totals: NodeTotals::default(),
        rows: vec![row],
    };
    journal.append(&deltas).unwrap();
    journal.sync().unwrap();
}

/// Stops all nodes, which from now on believe their clocks and hand out snapshots each second.
fn prepare(region: &mut Region) {
    for node in &mut region.nodes {
        node.stop();
        let path = node.data().join("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let config = config
            .replace("clock = \"checked\"", "clock = \"trusted\"")
            .replace("between_snapshots_s = 900", "between_snapshots_s = 1");
        std::fs::write(&path, config).unwrap();
    }
}

fn start_at(street: &Street, region: &mut Region, number: usize, time: &str) {
    let data = region.nodes[number].data().to_owned();
    let runner = [street.runner(number), clock_at(time)].concat();
    region.nodes[number] = Node::start_by(&data, runner);
}

pub(crate) fn carry(how: &[&str], from: &Path, to: &Path) {
    let carried = Command::new(how[0])
        .args(&how[1..])
        .args([from, to])
        .status();
    assert!(carried.unwrap().success());
}

fn count(node: &Node, kind: &str) -> usize {
    let log = node.verge_ok(&["record", "log", "--kind", kind]);
    log.lines().count()
}

#[test]
fn the_day_of_a_dead_disk_comes_back_from_its_witnesses() {
    let street = Street::of(3);
    let mut region = street.region();
    prepare(&mut region);
    let data = region.nodes[1].data().to_owned();
    serve(&data, 50);
    for number in 0..3 {
        start_at(&street, &mut region, number, MORNING);
    }
    wait(&region.nodes[1], |status| {
        status["witnesses"]["holder_count"] == 2
    });
    for number in [0, 2] {
        wait(&region.nodes[number], |status| {
            status["witnesses"]["held_count"] == 1
        });
        region.nodes[number].stop();
    }
    region.nodes[1].stop();
    let kept = region.new_data("kept");
    carry(&["mv"], &data, &kept);

    for number in [0, 2] {
        start_at(&street, &mut region, number, LATER);
    }
    for number in [0, 2] {
        let status = wait(&region.nodes[number], |status| {
            !status["witnesses"]["orphans"]
                .as_array()
                .unwrap()
                .is_empty()
        });
        assert_eq!(status["witnesses"]["orphans"][0], "P1 2030-06-01");
        let shown = region.nodes[number].verge_ok(&["status"]);
        assert!(shown.contains("a countersigned snapshot in its place"));
    }

    // The disk was not dead after all: the node's own seal counts, and it alone.
    carry(&["mv"], &kept, &data);
    start_at(&street, &mut region, 1, LATER);
    for node in &region.nodes {
        let status = wait(node, |status| {
            let is_sealed = status["accounting"]["seal_count"] == 1;
            let witnesses = &status["witnesses"];
            let is_over = witnesses["orphans"].as_array().unwrap().is_empty();
            is_sealed && is_over && witnesses["held_count"] == 0
        });
        assert_eq!(status["evidence"], serde_json::json!([]));
    }
}

#[test]
fn a_witness_that_was_cut_off_is_handed_the_day_when_it_is_back() {
    let street = Street::of(3);
    let mut region = street.region();
    prepare(&mut region);
    serve(region.nodes[1].data(), 50);
    street.cut(&[2]);
    for number in 0..3 {
        start_at(&street, &mut region, number, MORNING);
    }
    wait(&region.nodes[1], |status| {
        status["witnesses"]["holder_count"] == 1
    });
    street.heal();
    wait(&region.nodes[1], |status| {
        status["witnesses"]["holder_count"] == 2
    });
    for number in [0, 2] {
        wait(&region.nodes[number], |status| {
            status["witnesses"]["held_count"] == 1
        });
        // It is nobody else's.
        assert_eq!(count(&region.nodes[number], "snapshot"), 0);
    }
}

#[test]
fn a_node_on_an_old_image_seals_no_day_twice() {
    let street = Street::of(3);
    let mut region = street.region();
    prepare(&mut region);
    let data = region.nodes[1].data().to_owned();
    serve(&data, 30);
    let image = region.new_data("image");
    carry(&["cp", "-a"], &data, &image);
    serve(&data, 20);
    for number in 0..3 {
        start_at(&street, &mut region, number, NEXT_DAY);
    }
    wait(&region.nodes[1], |status| {
        status["accounting"]["sealed_until"] == "2030-06-01"
    });
    // Everybody has the seal, and its witnesses have said so.
    for number in [0, 2] {
        wait(&region.nodes[number], |status| {
            status["accounting"]["seal_count"] == 1
        });
    }
    wait(&region.nodes[1], |_| {
        count(&region.nodes[1], "checkpoint") == 2
    });
    region.all_in_step();
    region.nodes[1].stop();

    std::fs::remove_dir_all(&data).unwrap();
    carry(&["mv"], &image, &data);
    street.cut(&[1]);
    start_at(&street, &mut region, 1, NEXT_DAY);
    let alone = wait(&region.nodes[1], |status| {
        status["accounting"]["open_days"] == 1 && status["clock"]["is_believed"] == true
    });
    let why = alone["witnesses"]["sealing_waits"].as_str().unwrap();
    assert!(why.contains("another provider"), "{why}");
    assert_eq!(count(&region.nodes[1], "seal"), 0);

    street.heal();
    let status = wait(&region.nodes[1], |status| {
        status["accounting"]["open_days"] == 0 && status["witnesses"]["sealing_waits"].is_null()
    });
    assert_eq!(status["accounting"]["sealed_until"], "2030-06-01");
    region.all_in_step();
    for node in &region.nodes {
        assert_eq!(count(node, "seal"), 1);
        let status = crate::scene::status(node);
        assert!(
            status["accounting"]["contradicted"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        // Its addresses of the two runs may stand at one place; no seals do.
        let evidence = status["evidence"].to_string();
        assert!(!evidence.contains("seal"), "{evidence}");
    }
}
