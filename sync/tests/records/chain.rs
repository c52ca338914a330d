//! The region chain: which step stands.

use crate::scene::{Scene, account_body, provider_key, slot, step, with_site};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::record::region::Pin;
use verge_sync::record::{Author, AuthorId, Evidence, LogId, Refusal, Region};
use verge_sync::{Digest, RecordId};

fn renamed(scene: &Scene, policy: &str) -> Region {
    Region {
        policy: policy.to_owned(),
        ..scene.effect().chain.current().body.clone()
    }
}

fn propose(scene: &mut Scene, by: usize, policy: &str) -> RecordId {
    let effect = scene.effect();
    let body = renamed(scene, policy);
    let record = scene.providers[by].step(&effect, body).unwrap();
    scene.add(record)
}

fn vote(scene: &mut Scene, by: usize, target: RecordId) {
    let record = scene.providers[by].vote(target).unwrap();
    scene.add(record);
}

#[test]
fn a_step_counts_with_more_than_half() {
    for (providers, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
        let mut scene = Scene::new(providers);
        let id = propose(&mut scene, 0, "new");
        for voter in 1..usize::from(providers) {
            let stands = scene.effect().chain.current().id == id;
            assert_eq!(stands, voter >= needed, "{voter} of {providers}");
            assert_eq!(scene.effect().chain.proposals.len(), usize::from(!stands));
            vote(&mut scene, voter, id);
        }
        assert_eq!(scene.effect().chain.current().id, id, "{providers}");
    }
}

#[test]
fn the_paper_key_counts_in_a_region_of_two_only() {
    for (providers, stands) in [(2, true), (4, false)] {
        let paper = provider_key(50);
        let recovery_key = Some(*paper.provider().as_bytes());
        let mut scene = Scene::founded(
            providers,
            Region {
                recovery_key,
                ..step(providers)
            },
        );
        let id = propose(&mut scene, 0, "new");
        if providers == 4 {
            vote(&mut scene, 1, id);
        }
        let log = (LogId([50; 8]), 0);
        let record = Author::provider(&paper, scene.region, log)
            .vote(id)
            .unwrap();
        scene.add(record);
        assert_eq!(
            scene.effect().chain.current().id == id,
            stands,
            "{providers}"
        );
    }
}

#[test]
fn votes_of_strangers_and_nodes_count_for_nothing() {
    let mut scene = Scene::new(3);
    let id = propose(&mut scene, 0, "new");
    let vote = scene.nodes[1].vote(id).unwrap();
    scene.add(vote);
    let log = (LogId([9; 8]), 0);
    let stranger = Author::provider(&provider_key(90), scene.region, log)
        .vote(id)
        .unwrap();
    assert_eq!(scene.admit(&stranger), Err(Refusal::Author));
    scene.records.push(stranger.into());
    assert_ne!(scene.effect().chain.current().id, id);
}

#[test]
fn of_rival_steps_the_lower_id_stands_until_one_goes_on_and_who_voted_twice_is_named() {
    let mut scene = Scene::new(3);
    let effect = scene.effect();
    let bodies = [renamed(&scene, "a"), renamed(&scene, "b")];
    let [first, second] = [0, 1].map(|by| {
        let record = scene.providers[by]
            .step(&effect, bodies[by].clone())
            .unwrap();
        scene.add(record)
    });
    vote(&mut scene, 2, first);
    vote(&mut scene, 2, second);
    let effect = scene.effect();
    let low = first.min(second);
    assert_eq!(effect.chain.current().id, low);
    let [Evidence::RivalSteps(rivals)] = effect.evidence.as_slice() else {
        panic!("{:?}", effect.evidence)
    };
    assert_eq!(rivals.voters, [provider_key(2).provider()]);
    // A pin holds the other one, and a higher number is worth more than a lower id.
    let pin = Pin {
        number: 1,
        id: first.max(second),
    };
    scene.parameters.pin = Some(pin);
    let effect = scene.effect();
    assert_eq!(
        (effect.chain.current().id, effect.chain.reaches_pin),
        (pin.id, true)
    );
    let next = propose(&mut scene, 0, "c");
    vote(&mut scene, 2, next);
    scene.parameters.pin = None;
    assert_eq!(scene.effect().chain.current().id, next);
    scene.parameters.pin = Some(Pin {
        number: 9,
        id: RecordId::from_bytes([1; 32]),
    });
    assert!(!scene.effect().chain.reaches_pin);
}

#[test]
fn an_author_can_propose_again() {
    let mut scene = Scene::new(3);
    let first = propose(&mut scene, 0, "a");
    let second = propose(&mut scene, 0, "b");
    let record = scene.effect().record(&second).unwrap().clone();
    assert_eq!(record.envelope().predecessors, [first]);
    vote(&mut scene, 1, second);
    assert_eq!(scene.effect().chain.current().id, second);
    assert_eq!(scene.effect().evidence, []);
}

/// Removes provider 1, of three, with the records of its that stay valid.
fn remove(scene: &mut Scene, valid: &BTreeSet<RecordId>) -> Digest {
    let gone = provider_key(1).provider();
    let list: Vec<u8> = valid.iter().flat_map(|id| *id.as_bytes()).collect();
    let list = Digest::of(&list);
    let effect = scene.effect();
    let mut body = renamed(scene, "removal");
    body.providers.retain(|provider| provider.id != gone);
    body.removed = BTreeMap::from([(AuthorId::from(gone), list)]);
    let record = scene.providers[0].step(&effect, body).unwrap();
    let id = scene.add(record);
    vote(scene, 2, id);
    list
}

#[test]
fn a_removal_keeps_what_it_lists_and_voids_the_rest_whenever_it_arrives() {
    let (mut scene, _, site) = with_site(3);
    let kept = scene.deploy(1, site, "kept");
    let own: BTreeSet<RecordId> = scene
        .records
        .iter()
        .filter(|r| {
            let author = r.envelope().author;
            author == provider_key(1).provider().into() || author == scene.nodes[1].id()
        })
        .map(|r| r.id())
        .collect();
    let late = scene.deploy(1, site, "late");
    let list = remove(&mut scene, &own);
    // The list is a blob: until it is here, the removal takes no content away.
    assert_eq!(scene.effect().missing_lists, BTreeSet::from([list]));
    assert_eq!(scene.head(site), Some(late));
    scene.parameters.lists.insert(list, own);
    assert_eq!(scene.head(site), Some(kept));
    let effect = scene.effect();
    let node = &effect.nodes[&scene.nodes[1].id().node()];
    assert!(!node.is_member);
    // An honest push after it stands on what is left.
    let next = scene.deploy(0, site, "next");
    assert_eq!(scene.head(site), Some(next));
}

#[test]
fn a_removal_without_exceptions_needs_no_blob() {
    let (mut scene, _, site) = with_site(3);
    scene.deploy(1, site, "gone");
    remove(&mut scene, &BTreeSet::new());
    assert_eq!(scene.effect().missing_lists, BTreeSet::new());
    assert_eq!(scene.head(site), None);
}

#[test]
fn who_leaves_is_no_member_but_its_records_stay() {
    let (mut scene, _, site) = with_site(2);
    let deploy = scene.deploy(1, site, "x");
    let node = scene.nodes[1].id().node();
    let leave = scene.nodes[1].leave("").unwrap();
    assert!(scene.effect().nodes[&node].is_member);
    scene.add(leave);
    assert!(!scene.effect().nodes[&node].is_member);
    assert_eq!(scene.head(site), Some(deploy));
}

#[test]
fn a_lost_account_is_given_to_another_sponsor_by_a_step() {
    let mut scene = Scene::new(1);
    let effect = scene.effect();
    let mut body = step(2);
    body.number = 1;
    let record = scene.providers[0].step(&effect, body).unwrap();
    scene.add(record);
    let account = scene.account(0, account_body("ana"));
    let log = (LogId([1; 8]), 0);
    let mut other = Author::provider(&provider_key(1), scene.region, log);
    let effect = scene.effect();
    let attempt = other
        .account(&effect, account, account_body("stolen"))
        .unwrap();
    assert_eq!(scene.admit(&attempt), Err(Refusal::Right));
    let mut body = renamed(&scene, "sponsor");
    body.sponsors = BTreeMap::from([(account, provider_key(1).provider())]);
    let record = scene.providers[0].step(&effect, body).unwrap();
    let id = scene.add(record);
    let vote = other.vote(id).unwrap();
    scene.add(vote);
    let effect = scene.effect();
    let record = other
        .account(&effect, account, account_body("found"))
        .unwrap();
    scene.add(record);
    // The former sponsor's word is no longer the last.
    let record = scene.providers[0]
        .account(&effect, account, account_body("former"))
        .unwrap();
    scene.add(record);
    let effect = scene.effect();
    assert_eq!(effect.accounts[&account].body.display_name, "found");
    assert_eq!(effect.accounts[&account].slot, slot(0));
}
