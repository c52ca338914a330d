//! Five providers in houses of their own: a cut at the end of a month, a lost disk, and the same closed
//! statement on all five.

use crate::content::wipe_but;
use crate::harness::{Node, page};
use crate::month::{Street, believes_its_clock, has_seals, put_ahead, statement_of, verified};
use crate::scene::{Newcomer, status, ticket, wait};
use crate::street;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::RegionView;
use verge_edge::signing::SignedLine;
use verge_sync::record::{Kind, Record};
use verge_sync::store::{LocalDisk, Store};

/// The two sides of the cut.
const FEW: [usize; 2] = [0, 1];
const MANY: [usize; 3] = [2, 3, 4];
/// Loses its disk.
const LOST: usize = 4;

/// So many visitors in a node's house.
pub(crate) fn visit(houses: &street::Street, street: &Street, number: usize, count: usize) {
    let node = &street.region.nodes[number];
    wait(node, |status| status["here_count"] == 2);
    houses.inside(number, || {
        for _ in 0..count {
            let garden = page(node, "garden.sites.localhost", "/");
            assert_eq!(garden.unwrap(), b"<p>garden");
        }
    });
}

/// The node's disk is empty but for its seed: it fetches all that the others have at once, where they
/// had it one by one.
fn wipe(houses: &street::Street, street: &mut Street, number: usize) {
    let ticket = ticket(&street.region.nodes[2]);
    let node = &mut street.region.nodes[number];
    let data = node.data().to_owned();
    node.stop();
    wipe_but(&data, &["seed"]);
    let runner = houses.runner(number);
    let port = format!("--listen-nodes={}:4420", houses.address(number));
    Newcomer::ask_by(&runner, &data, &ticket, None, &port).becomes_a_member();
    put_ahead(&data, street.ahead_s);
    street.region.nodes[number] = Node::start_by(&data, runner);
    believes_its_clock(&street.region.nodes[number]);
}

pub(crate) fn short_id(node: &Node) -> String {
    status(node)["node"]["id"].as_str().unwrap()[..10].to_owned()
}

/// Each side seals what it counted, and closes the month of what it has; neither is a majority. When
/// they hear one another again, whoever holds other seals signs neither.
#[test]
fn five_nodes_that_were_cut_apart_close_a_month_with_one_digest() {
    let houses = street::Street::of(5);
    let mut street = Street::in_houses(houses.region(), &[]);
    let fees = street.fees("fees.csv", "12.00");
    // Of each another number: the same rows would be one blob.
    for number in 0..5 {
        visit(&houses, &street, number, 25 + number);
    }
    houses.part(&FEW, &MANY);
    for number in [1, 3] {
        visit(&houses, &street, number, 10);
    }
    street.month_ends_in_houses();
    for (side, count) in [(&FEW[..], 2), (&MANY[..], 3)] {
        for number in side {
            has_seals(&street.region.nodes[*number], count);
            let seen = status(&street.region.nodes[*number]);
            assert_eq!(seen["accounting"]["seal_count"], count, "of its own side");
        }
    }
    for (act, number) in [("close", 0), ("sign", 1), ("close", 2), ("sign", 3)] {
        if act == "sign" {
            street.has_votes(number, 1);
        }
        let said = street.ask_ok(number, act, &fees);
        assert!(said.contains("of 3 votes"), "{said}");
    }

    bring_by_hand(&mut street, &fees);
    wipe(&houses, &mut street, LOST);
    houses.heal();
    street.region.all_in_step();
    street.all_have_seals(5);
    other_seals_are_refused_by_name(&street, &fees);
    let said = street.ask_ok(0, "close", &fees);
    for number in [2, 3] {
        street.knows(number, &said);
        street.ask_ok(number, "sign", &fees);
    }
    same_everywhere(&street, &fees);
}

/// Somebody carries the records of the seals over, each twice and in another order; their rows are still
/// on the other side.
fn bring_by_hand(street: &mut Street, fees: &str) {
    let from = &mut street.region.nodes[FEW[1]];
    from.stop();
    let mut lines = seals_on(from.data());
    from.restart();
    assert_eq!(lines.len(), FEW.len());
    lines.reverse();
    let to = &street.region.nodes[MANY[0]];
    for line in lines.iter().chain(lines.iter().rev()) {
        to.verge_ok(&["record", "add", line]);
    }
    for number in MANY {
        wait(&street.region.nodes[number], |status| {
            let accounting = &status["accounting"];
            accounting["seal_count"] == MANY.len() && accounting["waiting_count"] == FEW.len()
        });
    }
    let said = street.ask_refused(MANY[0], "close", fees);
    assert!(said.contains("rows"), "{said}");
}

/// The seals on the disk of a node that is stopped, as lines.
fn seals_on(data: &Path) -> Vec<String> {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(data).unwrap();
    let view = RegionView::open(store, keys, |_effect, _slot| {}).unwrap();
    let effect = view.effect();
    let records = effect.records();
    let seals = records.filter(|record| record.envelope().kind == Kind::SEAL);
    seals
        .map(|record| SignedLine(Record::clone(record)).to_string())
        .collect()
}

/// Neither side's close has all seals that every node holds by now.
fn other_seals_are_refused_by_name(street: &Street, fees: &str) {
    let ids: Vec<String> = street.region.nodes.iter().map(short_id).collect();
    for number in 0..5 {
        let said = street.ask_refused(number, "sign", fees);
        let named = |side: &[usize]| {
            let ids = side.iter().map(|of| &ids[*of]);
            let mut lines = ids.map(|id| format!("only this node has a seal: that of node {id}"));
            lines.all(|line| said.contains(&line))
        };
        assert!(named(&FEW) || named(&MANY), "{said}");
    }
}

fn same_everywhere(street: &Street, fees: &str) {
    let mut digests = BTreeSet::new();
    for number in 0..5 {
        street.has_votes(number, 3);
        let (folder, said) = street.statement(number, "closed", fees);
        assert!(said.contains("is closed"), "{said}");
        assert!(verified(&folder).contains("closed by 3 of 5 providers"));
        let text = statement_of(&folder);
        assert!(text.contains("Seals: 5"), "{text}");
        assert!(text.contains("Missing seals: none"), "{text}");
        digests.insert(verge_sync::Digest::of(text.as_bytes()));
    }
    assert_eq!(digests.len(), 1);
}
