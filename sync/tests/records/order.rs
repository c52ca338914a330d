//! The meaning of a set of records never depends on how they came.

use crate::scene::{
    Scene, account_body, cases, deploy_body, name_body, provider_key, seed, slot, with_site,
};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeSet;
use std::sync::Arc;
use verge_sync::record::{
    Account, Actors, Author, Draft, Effect, Envelope, Grounds, Kind, LogId, NameKind, Record, Site,
    Subject, Takedown, Tombstone, effect,
};
use verge_sync::{AccountId, Digest, RecordId, SiteId};

/// Something that a member does, knowing only a part of what there is.
#[derive(Debug, Clone)]
struct Act {
    what: u8,
    by: u8,
    pick: u8,
    /// Records known to the author, of 256 parts of all.
    known: u8,
    time: i64,
}

fn acts(count: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = (0_u8..14, 0_u8..3, any::<u8>(), 160_u8.., any::<i64>());
    let act = act.prop_map(|(what, by, pick, known, time)| Act {
        what,
        by,
        pick,
        known,
        time,
    });
    proptest::collection::vec(act, 1..count)
}

/// A region of three, and all that came of `acts`.
fn world(acts: &[Act]) -> Scene {
    let (mut scene, account, site) = with_site(3);
    let seen = scene.records.len();
    scene.claim(
        0,
        account,
        name_body(NameKind::Label, "cafe", site.digest()),
    );
    for act in acts {
        let known = (scene.records.len() * usize::from(act.known) / 255).max(seen);
        let view = effect(&scene.records[..known], &scene.parameters).unwrap();
        if let Some(record) = record_of(&mut scene, &view, act) {
            scene.records.push(Arc::new(record));
        }
    }
    scene
}

fn record_of(scene: &mut Scene, view: &Effect, act: &Act) -> Option<Record> {
    let by = usize::from(act.by);
    let pick = usize::from(act.pick);
    let sites: Vec<SiteId> = view.sites.keys().copied().collect();
    let accounts: Vec<AccountId> = view.accounts.keys().copied().collect();
    let site = sites[pick % sites.len()];
    let account = accounts[pick % accounts.len()];
    let label = ["cafe", "bakery", "www"][pick % 3];
    let (node, provider) = (&mut scene.nodes[by], &mut scene.providers[by]);
    match act.what {
        0..=4 => {
            let text = format!("{pick}");
            node.deploy(view, site, deploy_body(&text, account, act.time))
                .ok()
        }
        5 => Some(
            provider
                .new_account(view, slot(act.by), account_body(label))
                .ok()?
                .1,
        ),
        6 => Some(
            node.new_site(view, slot(act.by), Site::new(account))
                .ok()?
                .1,
        ),
        7 => {
            let owner = view.sites[&site].body.account;
            node.claim(
                view,
                owner,
                name_body(NameKind::Label, label, site.digest()),
            )
            .ok()
        }
        8 => {
            let name = view.names.get(pick % view.names.len().max(1))?;
            node.vote(name.record).ok()
        }
        12 if pick >= 20 => {
            let settings = Site {
                branch: label.to_owned(),
                ..view.sites[&site].body.clone()
            };
            node.site(view, site, settings).ok()
        }
        _ => governed(provider, view, site, account, act),
    }
}

/// What providers do.
fn governed(
    provider: &mut Author,
    view: &Effect,
    site: SiteId,
    account: AccountId,
    act: &Act,
) -> Option<Record> {
    let pick = usize::from(act.pick);
    let label = ["cafe", "bakery", "www"][pick % 3];
    match act.what {
        9 => {
            let base = view.sites[&site]
                .deploys
                .get(pick % 4)
                .map(|deploy| deploy.id());
            provider.new_epoch(view, site, base).ok()
        }
        10 => {
            let acts = [
                Actors::All,
                Actors::NONE,
                Actors::These(vec![provider_key(0).provider()]),
            ];
            let body = Account {
                acts: acts[pick % 3].clone(),
                ..account_body(label)
            };
            provider.account(view, account, body).ok()
        }
        11 => {
            let body = Takedown {
                active: pick % 2 == 0,
                reason: String::new(),
            };
            provider.takedown(view, site.digest(), body).ok()
        }
        12 => provider
            .tombstone(
                site.digest(),
                Tombstone {
                    reason: String::new(),
                },
            )
            .ok(),
        _ => {
            let policy = format!("# {pick}");
            let step = &view.chain.current().body;
            let step = verge_sync::record::Region {
                policy,
                ..step.clone()
            };
            match view.chain.proposals.get(pick % 2) {
                Some(proposal) => provider.vote(proposal.step.id).ok(),
                None => provider.step(view, step).ok(),
            }
        }
    }
}

/// A permutation, and which records come twice, from one number.
pub(crate) fn mixed(records: &[Arc<Record>], salt: u64) -> Vec<Arc<Record>> {
    let key = |record: &Arc<Record>, round: u8| {
        Digest::derive(
            "mix",
            &[&salt.to_le_bytes(), &[round], record.id().as_bytes()],
        )
    };
    let mut mixed: Vec<Arc<Record>> = records.to_vec();
    mixed.extend(
        records
            .iter()
            .filter(|r| key(r, 1).as_bytes()[0] % 3 == 0)
            .cloned(),
    );
    mixed.sort_by_cached_key(|record| key(record, 2));
    mixed
}

/// A store that admits one record after the other, and tries again what was too early.
fn delivered(scene: &Scene, records: &[Arc<Record>]) -> Vec<Arc<Record>> {
    let mut held = vec![Arc::clone(&scene.records[0])];
    let mut aside: Vec<Arc<Record>> = records.to_vec();
    loop {
        let mut later = Vec::new();
        let before = held.len();
        for record in aside {
            let known = |id: &RecordId| held.iter().find(|held| held.id() == *id);
            let grounds = Grounds::of(scene.region, &held, &scene.kinds, |_, _| {});
            match grounds.admissible(&record, &scene.kinds, known) {
                Ok(()) if known(&record.id()).is_none() => held.push(record),
                Ok(()) => {}
                Err(_) => later.push(record),
            }
        }
        aside = later;
        if held.len() == before {
            return held;
        }
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn order_and_duplicates_do_not_matter(
        // Ten sets in each case: 1,000 in `make test`, 100,000 in `make prove`.
        worlds in proptest::collection::vec(crate::storing::acts(40), 10),
        salt in any::<u64>(),
    ) {
        for acts in &worlds {
            let scene = crate::storing::world(acts);
            let expected = scene.effect();
            let mixed = mixed(&scene.records, salt);
            prop_assert!(effect(&mixed, &scene.parameters) == Some(expected));
        }
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn loss_then_arrival_converges(acts in acts(40), salt in any::<u64>(), lost in 0_u8..255) {
        let scene = world(&acts);
        let lossy: Vec<Arc<Record>> = scene
            .records
            .iter()
            .filter(|r| r.id() == scene.records[0].id() || r.id().as_bytes()[31] >= lost)
            .cloned()
            .collect();
        let part = effect(&lossy, &scene.parameters).unwrap();
        // What waits is said, and what is said to be missing is missing.
        for waiting in &part.waiting {
            // (A third record at one place is as good as missing.)
            let equivocal = !part.evidence.is_empty();
            prop_assert!(equivocal || part.record(&waiting.missing).is_none());
        }
        let rest = mixed(&scene.records, salt);
        let all: Vec<Arc<Record>> = lossy.into_iter().chain(rest).collect();
        prop_assert!(effect(&all, &scene.parameters) == Some(scene.effect()));
    }

    #[test]
    fn the_head_is_the_highest_deploy_in_effect(acts in acts(40)) {
        let held = world(&acts).effect();
        for site in held.sites.values() {
            let order = |d: &effect::DeployEffect| (d.epoch, d.sequence, d.id());
            let highest = site.deploys.iter().map(order).max();
            prop_assert_eq!(site.head().map(order), highest);
            prop_assert!(site.tips.iter().all(|tip| site.kept().any(|kept| kept.id() == *tip)));
            prop_assert!(site.deploys.iter().all(|d| d.epoch == site.body.epoch));
        }
        let hosts: Vec<&str> = held.hosts().map(|(host, _)| host).collect();
        let claimed = held.names.iter().filter(|n| n.holds()).filter_map(|n| n.host.as_deref());
        for host in claimed {
            prop_assert!(hosts.contains(&host));
        }
    }

    #[test]
    fn times_change_nothing(acts in acts(30), time in any::<i64>()) {
        // Only what no tie-break by RecordId touches can be compared: one author, one line.
        let line: Vec<Act> =
            acts.iter().filter(|act| act.what < 5).map(|a| Act { by: 0, known: 255, ..a.clone() }).collect();
        let moved: Vec<Act> = line.iter().map(|act| Act { time, ..act.clone() }).collect();
        let versions = |acts: &[Act]| -> Vec<_> {
            let held = world(acts).effect();
            held.sites.values().flat_map(|s| s.deploys.iter().map(|d| d.body().version)).collect()
        };
        prop_assert_eq!(versions(&line), versions(&moved));
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn admission_in_any_order_comes_to_one_set(acts in acts(16), salts in any::<(u64, u64)>()) {
        let scene = world(&acts);
        let one = delivered(&scene, &mixed(&scene.records, salts.0));
        let other = delivered(&scene, &mixed(&scene.records, salts.1));
        prop_assert!(effect(&one, &scene.parameters) == effect(&other, &scene.parameters));
    }
}

/// Two settings of a site were written side by side, one of which opened an epoch. While it stood, a
/// deploy of that epoch was stored; after the other had come, it was refused for ever, so that nodes
/// held different sets.
#[test]
fn a_deploy_of_an_epoch_that_does_not_stand_any_more_is_stored() {
    let act = |what, by, pick, known| Act {
        what,
        by,
        pick,
        known,
        time: 0,
    };
    let acts = [
        act(12, 0, 81, 160),
        act(9, 0, 197, 185),
        act(12, 1, 131, 246),
        act(3, 0, 8, 251),
        act(12, 2, 228, 212),
        act(12, 1, 192, 224),
        act(4, 2, 13, 250),
    ];
    let scene = world(&acts);
    let sets = (0..64).map(|salt| {
        let held = delivered(&scene, &mixed(&scene.records, salt));
        held.iter()
            .map(|record| record.id())
            .collect::<BTreeSet<_>>()
    });
    assert_eq!(sets.collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn ten_thousand_records_are_read_at_once() {
    let (mut scene, account, _) = with_site(1);
    let envelope = |kind, subject: Vec<u8>, n| Envelope {
        region: scene.region,
        kind,
        subject,
        author: scene.nodes[0].id(),
        log: LogId([1; 8]),
        n,
        epoch: 0,
        sequence: 1,
        predecessors: Vec::new(),
    };
    let key = seed(0).record_key();
    let sign = |draft: Draft| Arc::new(draft.sign(&key).unwrap());
    let mut records = Vec::new();
    let site_body = verge_sync::record::Body::Site(Site::new(account)).encode();
    let deploy = deploy_body("x", account, 0);
    let deploy = verge_sync::record::Body::Deploy(deploy).encode();
    for counter in 1..=1_000 {
        let subject = Subject::Site(slot(0), counter).encode();
        let id = SiteId::derive(&scene.region, &subject);
        let body = site_body.clone();
        records.push(sign(Draft {
            envelope: envelope(Kind::SITE, subject, 1),
            body,
        }));
        let mut predecessors = Vec::new();
        for sequence in 1..=10 {
            let mut envelope = envelope(Kind::DEPLOY, id.as_bytes().to_vec(), 2);
            envelope.sequence = sequence;
            envelope.predecessors = predecessors;
            let record = sign(Draft {
                envelope,
                body: deploy.clone(),
            });
            predecessors = vec![record.id()];
            records.push(record);
        }
    }
    scene.records.extend(records);
    let held = scene.effect();
    assert_eq!(held.sites.len(), 1_001);
    assert_eq!(
        held.sites
            .values()
            .map(|site| site.deploys.len())
            .sum::<usize>(),
        10_000
    );
    let begun = verge_sync::clock::stopwatch();
    let again = scene.effect();
    println!(
        "effect over {} records: {:?}",
        scene.records.len(),
        begun.elapsed()
    );
    assert!(held == again);
}
