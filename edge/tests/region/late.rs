//! What a close has of nodes that were away: seals that come after it, and snapshots of days that a
//! dead disk could not seal.

use crate::five::{short_id, visit};
use crate::harness::Node;
use crate::month::{DAY_S, Street, put_ahead, statement_of, verified};
use crate::scene::wait;
use crate::street;
use crate::witnesses::{carry, serve_on};
use std::path::Path;
use std::sync::Arc;
use verge_edge::accounting::calendar::{Day, Month};
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::RegionView;
use verge_sync::clock::Clock;
use verge_sync::id::SiteId;
use verge_sync::store::{LocalDisk, Store};

/// The first two of three close the month; gives its statement.
fn close(street: &Street, fees: &str) -> String {
    street.ask_ok(0, "close", fees);
    street.has_votes(1, 1);
    let said = street.ask_ok(1, "sign", fees);
    assert!(said.contains("is closed"), "{said}");
    street.region.all_in_step();
    written(street, 1, (street.month, "closed"))
}

/// The statement of a closed month, as a node writes it now.
fn written(street: &Street, number: usize, (month, name): (Month, &str)) -> String {
    let month = month.to_string();
    let folder = street.region.new_data(&format!("{name}-{month}-{number}"));
    let fees = street.region.folder.path().join("fees.csv");
    let out = ["--fees", text(&fees), "--out", text(&folder)];
    let arguments = [&["statement", &month][..], &out].concat();
    street.region.nodes[number].verge_ok(&arguments);
    assert!(verified(&folder).contains("closed by 2 of 3 providers"));
    statement_of(&folder)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_seal_that_comes_after_two_closed_months_is_a_line_of_the_next_and_in_no_other() {
    let houses = street::Street::of(3);
    let mut street = Street::in_houses(houses.region(), &[]);
    let fees = street.fees("fees.csv", "12.00");
    for number in 0..3 {
        visit(&houses, &street, number, 25);
    }
    let mut late = street.region.nodes.pop().unwrap();
    let late_id = short_id(&late);
    late.stop();
    let mut closed = Vec::new();
    for _ in 0..2 {
        street.month_ends_in_houses();
        street.region.all_in_step();
        street.all_have_seals(2);
        closed.push((street.month, close(&street, &fees)));
        street.next_month();
    }
    assert!(closed[0].1.contains("Seals: 2"), "{}", closed[0].1);
    assert!(closed[1].1.contains("Seals: 0"), "{}", closed[1].1);

    street.month_ends_in_houses();
    put_ahead(late.data(), street.ahead_s);
    late.restart();
    street.region.nodes.push(late);
    street.region.all_in_step();
    street.all_have_seals(3);
    let last = close(&street, &fees);
    assert!(last.contains("Seals: 1"), "{last}");
    let line = last
        .lines()
        .find(|line| line.contains("came late and counts in this month"));
    assert!(
        line.unwrap().contains(&format!("node {late_id}, ")),
        "{last}"
    );
    for number in 0..3 {
        for (month, text) in &closed {
            assert_eq!(written(&street, number, (*month, "again")), *text);
        }
        let again = written(&street, number, (street.month, "again"));
        assert_eq!(again, last);
    }
}

/// A site, by the disk of a node that is stopped.
fn any_site(data: &Path) -> SiteId {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(data).unwrap();
    let view = RegionView::open(store, keys, |_effect, _slot| {}).unwrap();
    let sites = view.effect();
    *sites.sites.keys().next().unwrap()
}

/// Snapshots are handed out each second.
pub(crate) const OFTEN: (&str, &str) = ("between_snapshots_s = 900", "between_snapshots_s = 1");

/// The last node counts 50 answers of 1,000 bytes and hands them to its witnesses; then it is off, and
/// nothing will be heard of it for more than three days.
pub(crate) fn last_one_dies(street: &mut Street) -> Node {
    let mut dead = street.region.nodes.pop().unwrap();
    dead.stop();
    let today = Day::of_time(Clock::System.now().0.unsigned_abs());
    serve_on(dead.data(), (today, any_site(dead.data())), 50);
    dead.restart();
    let witness_count = street.region.nodes.len();
    wait(&dead, |status| {
        status["witnesses"]["holder_count"] == witness_count
    });
    dead.stop();
    street.ahead_s += 4 * DAY_S;
    dead
}

/// Every node has its snapshot in the place of its seal.
pub(crate) fn has_an_orphan(street: &Street) {
    for node in &street.region.nodes {
        wait(node, |status| {
            let orphans = status["witnesses"]["orphans"].as_array();
            orphans.is_some_and(|orphans| orphans.len() == 1)
        });
    }
}

#[test]
fn the_snapshot_of_a_dead_disk_is_in_the_close_and_its_later_seal_in_none() {
    let houses = street::Street::of(3);
    let mut street = Street::in_houses(houses.region(), &[OFTEN]);
    let fees = street.fees("fees.csv", "12.00");
    visit(&houses, &street, 0, 25);
    let mut dead = last_one_dies(&mut street);
    let kept = street.region.new_data("kept");
    carry(&["mv"], dead.data(), &kept);
    street.month_ends_in_houses();
    has_an_orphan(&street);
    street.all_have_seals(1);
    street.region.all_in_step();
    let said = street.ask_ok(0, "close", &fees);
    assert!(said.contains("1 of these are snapshots"), "{said}");
    let closed = (street.month, close(&street, &fees));
    assert!(closed.1.contains("Seals: 2"), "{}", closed.1);
    let rows = street
        .region
        .new_data(&format!("closed-{}-1", street.month));
    let rows = std::fs::read_to_string(rows.join("rows.csv")).unwrap();
    // 50,000 bytes, and 512 for each of 50 answers.
    assert!(rows.contains(",75600,75600,"), "{rows}");

    // The disk was not dead after all.
    carry(&["mv"], &kept, dead.data());
    street.next_month();
    street.month_ends_in_houses();
    put_ahead(dead.data(), street.ahead_s);
    dead.restart();
    street.region.nodes.push(dead);
    street.region.all_in_step();
    street.all_have_seals(2);
    let next = close(&street, &fees);
    assert!(next.contains("Seals: 0"), "counted already: {next}");
    for number in 0..3 {
        assert_eq!(written(&street, number, (closed.0, "again")), closed.1);
    }
}
