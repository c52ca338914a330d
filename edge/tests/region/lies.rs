//! A witness that lies: what it signs is named on every node, and it keeps nobody from sealing, from
//! closing a month, or from checking it.

use crate::five::visit;
use crate::harness::{VERGE, text};
use crate::late::{OFTEN, has_an_orphan, last_one_dies};
use crate::month::{Street, verified};
use crate::scene::{status, wait};
use crate::street;
use std::process::Command;
use verge_edge::node_keys::NodeKeys;
use verge_edge::signing::SignedLine;
use verge_edge::witness::Checkpoint;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RecordId, RegionId};
use verge_sync::record::{Draft, Envelope, Kind, LogId, Record};

/// Whose node signs what it never saw, and of whom.
const LIAR: usize = 2;
const VICTIM: usize = 1;

/// The liar's key puts its name to a seal that is not there.
fn lie(street: &Street, (seal, number): (&str, u32), after: Option<RecordId>) -> Record {
    let nodes = &street.region.nodes;
    let seed = NodeKeys::read(nodes[LIAR].data()).unwrap().seed;
    let region: RegionId = status(&nodes[0])["region"]["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let of: NodeId = status(&nodes[VICTIM])["node"]["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let checkpoint = Checkpoint {
        day: street.month.last_day(),
        digest: Digest::of(seal.as_bytes()),
        count: 7,
        is_forked: false,
    };
    let envelope = Envelope {
        region,
        kind: Kind::CHECKPOINT,
        subject: [*seed.node_id().as_bytes(), *of.as_bytes()].concat(),
        author: seed.node_id().into(),
        log: LogId([9; 8]),
        n: number.into(),
        epoch: 0,
        sequence: number,
        predecessors: after.into_iter().collect(),
    };
    let body = checkpoint.encode();
    let draft = Draft { envelope, body };
    draft.sign(&seed.record_key()).unwrap()
}

/// It comes in over another node, and every node says what it makes of it.
fn is_named(street: &Street, record: &Record, words: &str) {
    let line = SignedLine(record.clone()).to_string();
    street.region.nodes[0].verge_ok(&["record", "add", &line]);
    for node in &street.region.nodes {
        wait(node, |status| {
            status["evidence"].to_string().contains(words)
        });
    }
}

#[test]
fn a_witness_that_lies_is_named_and_keeps_nobody_from_sealing_or_closing() {
    let houses = street::Street::of(3);
    let mut street = Street::in_houses(houses.region(), &[]);
    let fees = street.fees("fees.csv", "12.00");
    for number in [0, VICTIM] {
        visit(&houses, &street, number, 25);
    }
    let first = lie(&street, ("nobody's seal", 1), None);
    is_named(&street, &first, "says that it saw a seal of");
    // The liar holds no more than the others, so nobody waits for what it speaks of.
    street.month_ends_in_houses();
    street.region.all_in_step();
    street.all_have_seals(2);
    let second = lie(&street, ("nobody's other seal", 2), Some(first.id()));
    is_named(&street, &second, "is a false witness");

    street.ask_ok(0, "close", &fees);
    street.has_votes(VICTIM, 1);
    street.ask_ok(VICTIM, "sign", &fees);
    street.has_votes(0, 2);
    let (folder, said) = street.statement(0, "closed", &fees);
    assert!(said.contains("is closed"), "{said}");
    assert!(verified(&folder).contains("closed by 2 of 3 providers"));
    // An owner remembers what it saw itself, and finds that in the statement.
    let seen = street.region.folder.path().join("seen");
    for _twice in 0..2 {
        let mut keep = Command::new(VERGE);
        let kept = keep
            .args(["ledger", "keep"])
            .arg(&folder)
            .arg("--in")
            .arg(&seen);
        let kept = kept.output().unwrap();
        assert!(kept.status.success(), "{}", text(&kept.stderr));
    }
    it_is_waited_for_until_it_is_blocked(&mut street);
}

/// While it is away it may be right, until a steward decides that it is not.
fn it_is_waited_for_until_it_is_blocked(street: &mut Street) {
    let liar = status(&street.region.nodes[LIAR]);
    let id = liar["node"]["id"].as_str().unwrap();
    street.region.nodes[LIAR].stop();
    let victim = &mut street.region.nodes[VICTIM];
    victim.stop();
    victim.restart();
    let waits = wait(victim, |status| {
        let why = status["witnesses"]["sealing_waits"].as_str();
        why.is_some_and(|why| !why.contains("another provider"))
    });
    let why = waits["witnesses"]["sealing_waits"].as_str().unwrap();
    assert!(why.contains("verge node block"), "{why}");
    victim.verge_ok(&["node", "block", id]);
    wait(victim, |status| {
        status["witnesses"]["sealing_waits"].is_null()
    });
}

/// One of three witnesses has nothing to say of what it was handed: the other two are enough.
#[test]
fn a_witness_that_withholds_a_snapshot_is_not_needed() {
    let houses = street::Street::of(4);
    let mut street = Street::in_houses(houses.region(), &[OFTEN]);
    let fees = street.fees("fees.csv", "12.00");
    let dead = last_one_dies(&mut street);
    let withholding = &mut street.region.nodes[LIAR];
    let held = |status: &serde_json::Value| status["witnesses"]["held_count"].clone();
    assert_eq!(held(&status(withholding)), 1);
    withholding.stop();
    std::fs::remove_dir_all(withholding.data().join("snapshots")).unwrap();
    withholding.restart();
    assert_eq!(held(&status(withholding)), 0);
    street.month_ends_in_houses();
    has_an_orphan(&street);
    street.region.all_in_step();
    let said = street.ask_ok(LIAR, "close", &fees);
    assert!(said.contains("1 of these are snapshots"), "{said}");
    street.knows(0, &said);
    let said = street.ask_ok(0, "sign", &fees);
    assert!(said.contains("2 of 3 votes"), "{said}");
    drop(dead);
}
