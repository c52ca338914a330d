//! What one node makes of what its peers say, or do not say.
#![allow(dead_code, reason = "the scene is that of the records' tests")]
#![expect(clippy::unwrap_used, reason = "every function here serves a test")]

#[path = "records/scene.rs"]
mod scene;

use scene::{Scene, account_body, deploy_body, seed, slot, with_site};
use std::sync::Arc;
use verge_sync::net::{Exchange, Fault, Holding, Message, ROUND_INTERVAL_MS};
use verge_sync::record::{
    Account, Author, Body, Draft, Envelope, Kind, LogId, Record, Site, Subject, UserKey,
};
use verge_sync::{AccountId, NodeId, RecordId, SiteId};

/// The node of the scene with this number, which holds all that the scene has.
fn node(scene: &Scene, number: u8) -> Exchange {
    let (parameters, kinds) = (scene.parameters.clone(), scene.kinds.clone());
    let holding = Holding::new(&scene.records, parameters, kinds).unwrap();
    Exchange::new(seed(number).node_id(), holding)
}

/// The first two, so that the first leads.
fn in_order(numbers: [u8; 2]) -> [u8; 2] {
    let mut numbers = numbers;
    numbers.sort_by_key(|number| seed(*number).node_id());
    numbers
}

/// What is said about records; what a node says of itself is no part of it.
fn said(from: &mut Exchange, to: NodeId, now_ms: u64) -> Vec<Vec<u8>> {
    from.turn(now_ms);
    let all = std::iter::from_fn(|| from.next_out(&to, now_ms));
    let of_records = |bytes: &Vec<u8>| !matches!(Message::decode(bytes), Ok(Message::Signal(_)));
    all.filter(of_records).collect()
}

/// A machine that slept finds its question given up; the answer, which was on its way, is no fault of
/// the peer's. (Seed 61 of the simulation.)
#[test]
fn an_answer_that_comes_too_late_is_passed_over() {
    let (scene, ..) = with_site(2);
    let [leads, follows] = in_order([0, 1]);
    let (mut one, mut other) = (node(&scene, leads), node(&scene, follows));
    let (me, peer) = (seed(leads).node_id(), seed(follows).node_id());
    one.connect(peer, 0);
    other.connect(me, 0);
    let questions = said(&mut one, peer, 0);
    questions
        .iter()
        .for_each(|bytes| other.hear(&me, bytes).unwrap());
    let answers = said(&mut other, me, 10);
    assert_eq!(answers.len(), 1);
    one.turn(ROUND_INTERVAL_MS);
    assert_eq!(one.hear(&peer, &answers[0]), Ok(()));
    // But only once for each question.
    assert_eq!(one.hear(&peer, &answers[0]), Err(Fault::Unasked));
    // The next round goes its way.
    let again = said(&mut one, peer, 2 * ROUND_INTERVAL_MS);
    assert!(matches!(Message::decode(&again[0]), Ok(Message::Ask(..))));
}

/// A rogue that says what it has and gives nothing was always asked first, so that nobody else ever
/// was: what it owed for ten seconds was forgotten for the others. (Seed 68 of the simulation.)
#[test]
fn what_a_peer_withholds_is_asked_of_another() {
    let (mut scene, _, site) = with_site(3);
    let before = node(&scene, 0);
    let id = scene.deploy(0, site, "x");
    let mut numbers = [0, 1, 2];
    numbers.sort_by_key(|number| seed(*number).node_id());
    let [leads, withholds, gives] = numbers;
    let mut one = Exchange::new(seed(leads).node_id(), {
        let held: Vec<_> = before.holding().records().cloned().collect();
        Holding::new(&held, scene.parameters.clone(), scene.kinds.clone()).unwrap()
    });
    let me = seed(leads).node_id();
    let mut now_ms = 0;
    let mut others =
        [withholds, gives].map(|number| (seed(number).node_id(), node(&scene, number)));
    for (peer, other) in &mut others {
        one.connect(*peer, 0);
        other.connect(me, 0);
    }
    while one.holding().record(&id).is_none() {
        assert!(now_ms < ROUND_INTERVAL_MS, "asked of nobody else");
        for (peer, other) in &mut others {
            for bytes in said(&mut one, *peer, now_ms) {
                other.hear(&me, &bytes).unwrap();
            }
            for bytes in said(other, me, now_ms) {
                let is_record = matches!(Message::decode(&bytes), Ok(Message::Records(_)));
                if !(is_record && *peer == seed(withholds).node_id()) {
                    one.hear(peer, &bytes).unwrap();
                }
            }
        }
        // As a node would: when there is something to do.
        let next_ms = one.next_turn_ms(now_ms).unwrap();
        now_ms = next_ms.max(now_ms + 100);
    }
}

/// A site of node 0, with its deploys, signed one by one.
fn add_site(scene: &mut Scene, account: AccountId, counter: u16, deploys: u32) {
    let place = Subject::Site(slot(0), counter);
    let site = SiteId::derive(&scene.region, &place.encode());
    let mut sign = |kind, subject: Subject, sequence, before: Vec<RecordId>, body: &Body| {
        let envelope = Envelope {
            region: scene.region,
            kind,
            subject: subject.encode(),
            author: scene.nodes[0].id(),
            log: LogId([9; 8]),
            n: 1,
            epoch: 0,
            sequence,
            predecessors: before,
        };
        let body = body.encode();
        let record = Draft { envelope, body }
            .sign(&seed(0).record_key())
            .unwrap();
        scene.records.push(Arc::new(record));
        vec![scene.records.last().unwrap().id()]
    };
    sign(
        Kind::SITE,
        place,
        1,
        vec![],
        &Body::Site(Site::new(account)),
    );
    let mut before = vec![];
    for sequence in 1..=deploys {
        let body = Body::Deploy(deploy_body(&sequence.to_string(), account, 0));
        before = sign(Kind::DEPLOY, Subject::Deploy(site), sequence, before, &body);
    }
}

/// Records came in the order of their ids: most of a region waited aside, where not all of it had
/// room, and each was sent nine times, in five minutes instead of half a one.
#[test]
fn a_new_node_is_sent_each_record_once() {
    let (mut scene, account, _) = with_site(2);
    for counter in 1..=60 {
        add_site(&mut scene, account, counter, 100);
    }
    let bytes: usize = scene
        .records
        .iter()
        .map(|record| record.bytes().len())
        .sum();
    let whole = node(&scene, 0);
    scene.records.truncate(1);
    let new = node(&scene, 1);
    let ids = [seed(0).node_id(), seed(1).node_id()];
    let mut sides = [whole, new];
    sides[0].connect(ids[1], 0);
    sides[1].connect(ids[0], 0);
    let (mut now_ms, mut sent, mut waiting_count) = (0, 0, 0);
    while sides[1].holding().records().len() < sides[0].holding().records().len() {
        assert!(now_ms < ROUND_INTERVAL_MS, "more than one round");
        for from in [0, 1] {
            sides[from].turn(now_ms);
            while sides[1 - from].has_room(&ids[from]) {
                let Some(said) = sides[from].next_out(&ids[1 - from], now_ms) else {
                    break;
                };
                sent += said.len();
                sides[1 - from].hear(&ids[from], &said).unwrap();
            }
        }
        waiting_count = sides[1].holding().waiting_count().max(waiting_count);
        now_ms += 20;
    }
    assert!(sent < bytes + bytes / 2, "{sent} for {bytes}");
    assert!(waiting_count < 100, "{waiting_count} waited aside");
}

/// What two keys of one account make of one deploy: two forms of one id.
fn two_forms(scene: &mut Scene) -> [Record; 2] {
    let key = |n: u8| ed25519_dalek::SigningKey::from_bytes(&[n; 32]);
    let public = |n: u8| UserKey::Signing(key(n).verifying_key().to_bytes());
    let account = scene.account(
        0,
        Account {
            keys: vec![public(1), public(2)],
            ..account_body("ana")
        },
    );
    let site = scene.site(0, account);
    let mut author = Author::account_key(account, key(1), scene.region, (LogId([8; 8]), 0));
    let body = deploy_body("x", account, 0);
    let draft = author.draft_deploy(&scene.effect(), site, body).unwrap();
    [1, 2].map(|number| draft.sign(&key(number)).unwrap())
}

/// All that two nodes say to each other, up to a time.
fn talk(sides: &mut [Exchange; 2], ids: [NodeId; 2], (from_ms, until_ms): (u64, u64)) {
    for now_ms in (from_ms..until_ms).step_by(20) {
        for from in [0, 1] {
            sides[from].turn(now_ms);
            while let Some(bytes) = sides[from].next_out(&ids[1 - from], now_ms) {
                sides[1 - from].hear(&ids[from], &bytes).unwrap();
            }
        }
    }
}

fn are_one(sides: &[Exchange; 2], id: RecordId) -> bool {
    let held = |side: &Exchange| side.holding().record(&id).unwrap().clone();
    let [one, other] = sides;
    one.holding().fingerprint() == other.holding().fingerprint()
        && held(one) == held(other)
        && one.holding().effect() == other.holding().effect()
}

/// A publisher with two keys signs one deploy with each, one at each of two nodes. Each kept its own,
/// and what it means rests on the key.
#[test]
fn two_forms_of_one_record_come_to_one() {
    let mut scene = Scene::new(2);
    let forms = two_forms(&mut scene);
    let ids = [seed(0).node_id(), seed(1).node_id()];
    for swapped in [false, true] {
        let mut sides = [0, 1].map(|number| node(&scene, number));
        sides[0].connect(ids[1], 0);
        sides[1].connect(ids[0], 0);
        for (side, number) in sides.iter_mut().zip(if swapped { [0, 1] } else { [1, 0] }) {
            assert_eq!(side.write([forms[number].clone()]).new.len(), 1);
        }
        talk(&mut sides, ids, (0, 1_000));
        assert!(are_one(&sides, forms[0].id()), "swapped {swapped}");
    }
}

/// The same on two sides of a partition: a reconciliation of ids alone finds nothing that differs.
#[test]
fn two_forms_come_to_one_when_nodes_meet_that_have_them() {
    let mut scene = Scene::new(2);
    let forms = two_forms(&mut scene);
    let ids = [seed(0).node_id(), seed(1).node_id()];
    for swapped in [false, true] {
        let mut sides = [0, 1].map(|number| node(&scene, number));
        for (side, number) in sides.iter_mut().zip(if swapped { [0, 1] } else { [1, 0] }) {
            assert_eq!(side.write([forms[number].clone()]).new.len(), 1);
        }
        assert!(!are_one(&sides, forms[0].id()));
        sides[0].connect(ids[1], 0);
        sides[1].connect(ids[0], 0);
        talk(&mut sides, ids, (0, ROUND_INTERVAL_MS + 2_000));
        assert!(are_one(&sides, forms[0].id()), "swapped {swapped}");
    }
}
