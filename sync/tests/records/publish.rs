//! Accounts, sites and deploys: what holds, and who can change it.

use crate::scene::{Scene, account_body, deploy_body, provider_key, slot, with_site};
use std::sync::Arc;
use verge_sync::record::effect::Actor;
use verge_sync::record::{
    Account, Actors, Author, Body, Draft, Envelope, Evidence, Kind, LogId, Record, Refusal, Site,
    Subject, Takedown, Tombstone, UserKey,
};
use verge_sync::{AccountId, Digest, RecordId, SiteId};

#[test]
fn the_head_is_the_last_deploy_whatever_the_clocks_say() {
    for times in [[0, 0, 0], [i64::MAX, 0, i64::MIN], [5, 1 << 60, -1]] {
        let (mut scene, _, site) = with_site(1);
        let mut last = None;
        for (content, time) in ["a", "b", "c"].into_iter().zip(times) {
            let record = scene.deploy_record(0, site, content, time);
            last = Some(scene.add(record));
        }
        let effect = scene.effect();
        assert_eq!(
            effect.sites[&site].head().map(|d| d.id()),
            last,
            "{times:?}"
        );
        assert_eq!(effect.sites[&site].tips, Vec::from_iter(last));
        assert_eq!(effect.sites[&site].deploys.len(), 3);
    }
}

#[test]
fn two_sides_make_two_tips_and_the_next_push_names_both() {
    let (mut scene, _, site) = with_site(2);
    scene.deploy(0, site, "common");
    let left = scene.deploy_record(0, site, "left", 1);
    let right = scene.deploy_record(1, site, "right", 2);
    let tips = [left.id(), right.id()];
    let highest = tips[0].max(tips[1]);
    scene.add(left);
    scene.add(right);
    assert_eq!(scene.head(site), Some(highest));
    assert_eq!(scene.effect().sites[&site].tips.len(), 2);
    let joined = scene.deploy_record(0, site, "joined", 3);
    assert_eq!(joined.envelope().predecessors.len(), 2);
    let joined = scene.add(joined);
    assert_eq!(scene.effect().sites[&site].tips, [joined]);
    assert_eq!(scene.effect().evidence, []);
}

#[test]
fn ten_deploys_and_every_tip_are_kept() {
    let (mut scene, _, site) = with_site(2);
    let stray = scene.deploy_record(1, site, "stray", 0);
    for n in 0..14 {
        scene.deploy(0, site, &format!("{n}"));
    }
    let stray_id = stray.id();
    scene.records.push(Arc::new(stray));
    let effect = scene.effect();
    let kept: Vec<RecordId> = effect.sites[&site]
        .kept()
        .map(|deploy| deploy.id())
        .collect();
    assert_eq!((kept.len(), kept.contains(&stray_id)), (11, true));
    assert_eq!(effect.sites[&site].deploys.len(), 15);
}

#[test]
fn of_two_records_at_one_place_the_lower_id_has_effect_and_both_are_shown() {
    let (mut scene, account, site) = with_site(1);
    let first = scene.deploy_record(0, site, "one", 0);
    let second = scene.deploy_record(0, site, "two", 0);
    let third = scene.deploy_record(0, site, "three", 0);
    let mut ids = [first.id(), second.id(), third.id()];
    ids.sort_unstable();
    let next = {
        // An honest push that knew only what turns out to be the second.
        let mut known: Vec<Arc<Record>> = scene.records.clone();
        let of = |id| {
            [&first, &second, &third]
                .into_iter()
                .find(|r| r.id() == id)
                .unwrap()
        };
        known.push(Arc::new(of(ids[1]).clone()));
        let effect = verge_sync::record::effect(&known, &scene.parameters).unwrap();
        scene.nodes[0]
            .deploy(&effect, site, deploy_body("next", account, 0))
            .unwrap()
    };
    for record in [first, second, third] {
        scene.records.push(Arc::new(record));
    }
    let effect = scene.effect();
    assert_eq!(effect.sites[&site].head().map(|d| d.id()), Some(ids[0]));
    let author = scene.nodes[0].id();
    let expected = Evidence::Equivocation {
        author,
        first: ids[0],
        second: ids[1],
    };
    assert_eq!(effect.evidence, [expected]);
    let next = scene.add(next);
    assert_eq!(scene.head(site), Some(next));
}

#[test]
fn a_new_epoch_ends_every_older_deploy_and_carries_one_over() {
    let (mut scene, _, site) = with_site(2);
    let good = scene.deploy(0, site, "good");
    for n in 0..3 {
        scene.deploy(1, site, &format!("bad {n}"));
    }
    let effect = scene.effect();
    let record = scene.providers[0]
        .new_epoch(&effect, site, Some(good))
        .unwrap();
    scene.add(record);
    let effect = scene.effect();
    let held = &effect.sites[&site];
    assert_eq!(
        held.deploys
            .iter()
            .map(|d| (d.id(), d.sequence))
            .collect::<Vec<_>>(),
        [(good, 0)]
    );
    let next = scene.deploy_record(0, site, "next", 0);
    assert_eq!((next.envelope().epoch, next.envelope().sequence), (1, 1));
    assert_eq!(next.envelope().predecessors, [good]);
    let next = scene.add(next);
    assert_eq!(scene.head(site), Some(next));
    assert_eq!(scene.effect().sites[&site].deploys.len(), 2);
    // Without a base the site is empty until the next push.
    let effect = scene.effect();
    let record = scene.providers[0].new_epoch(&effect, site, None).unwrap();
    scene.add(record);
    assert_eq!(scene.head(site), None);
    assert_eq!(scene.effect().sites[&site].body.epoch, 2);
}

#[test]
fn only_own_key_or_sponsor_moves_the_epoch_and_the_owner() {
    let (mut scene, account, site) = with_site(2);
    let other = scene.account(1, account_body("ben"));
    let effect = scene.effect();
    let stolen = Site {
        account: other,
        epoch: 1,
        branch: "mine".to_owned(),
        ..Site::new(account)
    };
    let record = scene.nodes[1].site(&effect, site, stolen).unwrap();
    scene.add(record);
    let effect = scene.effect();
    let body = &effect.sites[&site].body;
    assert_eq!(
        (body.account, body.epoch, body.branch.as_str()),
        (account, 0, "mine")
    );
    for (epoch, moves) in [(2, false), (u32::MAX, false), (1, true)] {
        let effect = scene.effect();
        let body = Site {
            epoch,
            ..Site::new(account)
        };
        let record = scene.providers[0].site(&effect, site, body).unwrap();
        scene.records.push(Arc::new(record));
        assert_eq!(
            scene.effect().sites[&site].body.epoch == epoch,
            moves,
            "{epoch}"
        );
        if !moves {
            scene.records.pop();
        }
    }
    let effect = scene.effect();
    let given = Site {
        account: other,
        ..effect.sites[&site].body.clone()
    };
    let record = scene.providers[0].site(&effect, site, given).unwrap();
    scene.add(record);
    assert_eq!(scene.effect().sites[&site].body.account, other);
}

fn set_acts(scene: &mut Scene, account: AccountId, acts: Actors) {
    let effect = scene.effect();
    let body = Account {
        acts,
        ..effect.accounts[&account].body.clone()
    };
    let record = scene.providers[0].account(&effect, account, body).unwrap();
    scene.add(record);
}

#[test]
fn block_and_epoch_shut_an_actor_out_and_leave_the_site_up() {
    let (mut scene, account, site) = with_site(2);
    let good = scene.deploy(0, site, "good");
    scene.deploy(1, site, "rogue");
    set_acts(
        &mut scene,
        account,
        Actors::These(vec![provider_key(0).provider()]),
    );
    let rogue = Actor::Node(scene.nodes[1].id().node());
    assert!(!scene.effect().may_deploy(&site, rogue));
    assert!(
        scene
            .effect()
            .may_deploy(&site, Actor::Node(scene.nodes[0].id().node()))
    );
    let effect = scene.effect();
    let record = scene.providers[0]
        .new_epoch(&effect, site, Some(good))
        .unwrap();
    scene.add(record);
    assert_eq!(scene.head(site), Some(good));
    // What the rogue writes in the new epoch may be stored; it means nothing.
    scene.deploy(1, site, "rogue again");
    let effect = scene.effect();
    let hijack = Site {
        branch: "rogue".to_owned(),
        ..effect.sites[&site].body.clone()
    };
    let record = scene.nodes[1].site(&effect, site, hijack).unwrap();
    scene.add(record);
    assert_eq!(scene.head(site), Some(good));
    assert_eq!(scene.effect().sites[&site].body.branch, "");
    assert!(scene.effect().sites[&site].body.force);
}

#[test]
fn acts_none_makes_owner_signatures_required() {
    let mut scene = Scene::new(2);
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let public = key.verifying_key().to_bytes();
    let mut body = account_body("ana");
    body.keys.push(UserKey::Signing(public));
    body.acts = Actors::NONE;
    let account = scene.account(0, body);
    // Nodes may not even make a site for it; the sponsor may.
    let effect = scene.effect();
    let (_, by_node) = scene.nodes[1]
        .new_site(&effect, slot(1), Site::new(account))
        .unwrap();
    scene.add(by_node);
    assert!(scene.effect().sites.is_empty());
    let (site, record) = scene.providers[0]
        .new_site(&effect, slot(0), Site::new(account))
        .unwrap();
    scene.add(record);
    let effect = scene.effect();
    let by_node = scene.nodes[0]
        .deploy(&effect, site, deploy_body("x", account, 0))
        .unwrap();
    assert_eq!(scene.admit(&by_node), Err(Refusal::Right));
    scene.records.push(Arc::new(by_node));
    assert_eq!(scene.head(site), None);
    let mut owner = Author::account_key(account, key, scene.region, (LogId([8; 8]), 0));
    let signed = owner
        .deploy(&effect, site, deploy_body("y", account, 0))
        .unwrap();
    let signed = scene.add(signed);
    assert_eq!(scene.head(site), Some(signed));
    assert!(scene.effect().may_deploy(&site, Actor::Key(public)));
    assert!(!scene.effect().may_deploy(&site, Actor::Key([2; 32])));
    assert!(
        !scene
            .effect()
            .may_deploy(&site, Actor::Node(scene.nodes[0].id().node()))
    );
}

#[test]
fn a_stolen_key_is_shut_out_by_one_word_of_the_sponsor() {
    let mut scene = Scene::new(1);
    let key = |n: u8| ed25519_dalek::SigningKey::from_bytes(&[n; 32]);
    let public = |n: u8| UserKey::Signing(key(n).verifying_key().to_bytes());
    let with = |name: &str, n| Account {
        keys: vec![public(n)],
        ..account_body(name)
    };
    let account = scene.account(0, with("ana", 1));
    let mut thief = Author::account_key(account, key(1), scene.region, (LogId([8; 8]), 0));
    for n in 0..5 {
        let effect = scene.effect();
        let record = thief
            .account(&effect, account, with(&format!("thief {n}"), 1))
            .unwrap();
        scene.add(record);
    }
    assert_eq!(
        scene.effect().accounts[&account].body.display_name,
        "thief 4"
    );
    // Meanwhile the thief has a long line of records that nobody has seen yet.
    let mut hidden = scene.records.clone();
    for n in 5..12 {
        let effect = verge_sync::record::effect(&hidden, &scene.parameters).unwrap();
        let record = thief
            .account(&effect, account, with(&format!("thief {n}"), 1))
            .unwrap();
        hidden.push(Arc::new(record));
    }
    let effect = scene.effect();
    let record = scene.providers[0]
        .account(&effect, account, with("ana again", 2))
        .unwrap();
    scene.add(record);
    scene.records.extend(hidden);
    let effect = scene.effect();
    assert_eq!(effect.accounts[&account].body.display_name, "ana again");
    let keys: Vec<&[u8; 32]> = effect.accounts[&account].signing_keys().collect();
    assert_eq!(keys, [&key(2).verifying_key().to_bytes()]);
    let mut owner = Author::account_key(account, key(2), scene.region, (LogId([7; 8]), 0));
    let record = owner
        .account(&effect, account, with("ana herself", 2))
        .unwrap();
    scene.add(record);
    assert_eq!(
        scene.effect().accounts[&account].body.display_name,
        "ana herself"
    );
}

#[test]
fn takedowns_bind_their_provider_and_are_lifted() {
    let (mut scene, account, site) = with_site(2);
    let [own, other] = [0, 1].map(|n| provider_key(n).provider());
    for (target, active, served) in [
        (site.digest(), true, false),
        (site.digest(), false, true),
        (account.digest(), true, false),
        (account.digest(), false, true),
    ] {
        let effect = scene.effect();
        let body = Takedown {
            active,
            reason: String::new(),
        };
        let record = scene.providers[0].takedown(&effect, target, body).unwrap();
        scene.add(record);
        let effect = scene.effect();
        assert_eq!(effect.serves(&own, &site), served, "{target} {active}");
        assert!(effect.serves(&other, &site));
    }
    let effect = scene.effect();
    let mut body = effect.chain.current().body.clone();
    body.takedowns.insert(site.digest());
    let record = scene.providers[0].step(&effect, body).unwrap();
    let id = scene.add(record);
    let vote = scene.providers[1].vote(id).unwrap();
    scene.add(vote);
    assert!(!scene.effect().serves(&other, &site));
}

#[test]
fn a_tombstone_is_for_ever_and_not_any_actors() {
    let (mut scene, account, site) = with_site(2);
    scene.deploy(0, site, "x");
    let reason = String::new;
    let by_node = scene.nodes[0]
        .tombstone(site.digest(), Tombstone { reason: reason() })
        .unwrap();
    assert_eq!(scene.admit(&by_node), Err(Refusal::Right));
    let stranger = scene.providers[1].tombstone(site.digest(), Tombstone { reason: reason() });
    assert_eq!(scene.admit(&stranger.unwrap()), Err(Refusal::Right));
    let record = scene.providers[0].tombstone(site.digest(), Tombstone { reason: reason() });
    scene.add(record.unwrap());
    let effect = scene.effect();
    assert!(effect.site(&site).is_none() && effect.tombstones.contains(&site.digest()));
    let late = scene.nodes[0].deploy(&effect, site, deploy_body("late", account, 0));
    assert!(late.is_err());
    // Its counter is never used again.
    let next = scene.site(0, account);
    assert_ne!(next, site);
    let record = scene.providers[0].tombstone(account.digest(), Tombstone { reason: reason() });
    scene.add(record.unwrap());
    let effect = scene.effect();
    assert!(effect.account(&account).is_none() && effect.site(&next).is_none());
}

/// A deploy at any place, whatever the rules say.
fn forged(scene: &Scene, site: SiteId, epoch: u32, sequence: u32, after: Vec<RecordId>) -> Record {
    let account = scene.effect().sites[&site].body.account;
    let envelope = Envelope {
        region: scene.region,
        kind: Kind::DEPLOY,
        subject: Subject::Deploy(site).encode(),
        author: scene.nodes[0].id(),
        log: LogId([3; 8]),
        n: 1,
        epoch,
        sequence,
        predecessors: after,
    };
    let body = Body::Deploy(deploy_body("forged", account, 0)).encode();
    Draft { envelope, body }
        .sign(&crate::scene::seed(0).record_key())
        .unwrap()
}

#[test]
fn nobody_jumps_ahead() {
    let (mut scene, _, site) = with_site(1);
    let head = scene.deploy(0, site, "a");
    let unknown = RecordId::from_bytes([1; 32]);
    let rows = [
        (0, 1, vec![head], Some(Refusal::Sequence)),
        (0, 3, vec![head], Some(Refusal::Sequence)),
        (0, 4_096, vec![head], Some(Refusal::Sequence)),
        (1, 1, vec![head], Some(Refusal::Ahead)),
        (u32::MAX, 1, vec![], Some(Refusal::Ahead)),
        (0, 2, vec![unknown], Some(Refusal::Waiting(unknown))),
        (0, 2, vec![scene.records[0].id()], Some(Refusal::Sequence)),
        (0, 2, vec![head], None),
    ];
    for (epoch, sequence, after, refusal) in rows {
        let record = forged(&scene, site, epoch, sequence, after);
        assert_eq!(scene.admit(&record).err(), refusal, "{epoch} {sequence}");
        if refusal.is_some() {
            // Even in the set it changes nothing.
            scene.records.push(Arc::new(record));
            assert_eq!(scene.head(site), Some(head), "{epoch} {sequence}");
            scene.records.pop();
        }
    }
}

#[test]
fn a_gap_waits_and_closes() {
    let (mut scene, _, site) = with_site(1);
    let ids: Vec<RecordId> = ["a", "b", "c"]
        .iter()
        .map(|c| scene.deploy(0, site, c))
        .collect();
    let lost = scene.records.iter().position(|r| r.id() == ids[1]).unwrap();
    let lost = scene.records.remove(lost);
    let effect = scene.effect();
    assert_eq!(effect.sites[&site].head().map(|d| d.id()), Some(ids[0]));
    assert_eq!(
        effect
            .waiting
            .iter()
            .map(|w| (w.record, w.missing))
            .collect::<Vec<_>>(),
        [(ids[2], ids[1])]
    );
    scene.records.push(lost);
    assert_eq!(scene.head(site), Some(ids[2]));
    assert_eq!(scene.effect().waiting, []);
}

#[test]
fn a_skipped_record_is_known_but_has_no_effect() {
    let (mut scene, _, site) = with_site(1);
    let first = scene.deploy(0, site, "a");
    let crashes = scene.deploy(0, site, "b");
    scene.parameters.skip.insert(crashes);
    assert_eq!(scene.head(site), Some(first));
    let skipped = scene.effect().record(&crashes).is_some();
    assert!(skipped);
}

#[test]
fn accounts_are_found_by_their_ssh_key() {
    let (mut scene, account, _) = with_site(1);
    let second = scene.account(0, account_body("ana"));
    let effect = scene.effect();
    let key = *Digest::of(b"ana").as_bytes();
    let mut found: Vec<AccountId> = effect.accounts_by_ssh_key(&key).map(|a| a.id).collect();
    found.sort_unstable();
    let mut expected = [account, second];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(effect.accounts_by_ssh_key(&[0; 32]).count(), 0);
    assert_eq!(effect.sites_of(&account).count(), 1);
}
