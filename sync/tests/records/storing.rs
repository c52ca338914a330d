//! What is stored depends on the set of records alone, never on the order in which they came: two
//! nodes that have heard the same hold the same, or they would ask each other for ever.

use crate::scene::{Scene, account_body, cases, deploy_body, name_body, node_body};
use crate::scene::{log, provider_key, seed, slot, with_site};
use ed25519_dalek::SigningKey;
use proptest::prelude::{Strategy, any, prop_assert, proptest};
use std::collections::BTreeSet;
use std::sync::Arc;
use verge_sync::net::Holding;
use verge_sync::record::{
    Account, Actors, Author, AuthorId, Effect, LogId, NameKind, Record, Region, Site, Takedown,
    Tombstone, UserKey, effect,
};
use verge_sync::{AccountId, Digest, RecordId, SiteId};

/// Something that somebody does, knowing only a part of what there is.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) what: u8,
    pub(crate) by: u8,
    pub(crate) pick: u8,
    /// Records known to the author, of 255 parts of all.
    pub(crate) known: u8,
}

/// What there is to do.
const DEEDS: u8 = 22;

pub(crate) fn acts(count: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = (0..DEEDS, 0_u8..3, any::<u8>(), 120_u8..);
    let act = act.prop_map(|(what, by, pick, known)| Act {
        what,
        by,
        pick,
        known,
    });
    proptest::collection::vec(act, 1..count)
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[30 + number % 3; 32])
}

fn with_keys(name: &str, pick: u8) -> Account {
    let own = UserKey::Signing(key(pick).verifying_key().to_bytes());
    let acts = [
        Actors::All,
        Actors::NONE,
        Actors::These(vec![provider_key(pick % 3).provider()]),
    ];
    let mut body = account_body(name);
    body.keys.push(own);
    body.acts = acts[usize::from(pick / 3) % 3].clone();
    body
}

/// A region of three in which all that is `acts` was done; some of it without any right.
pub(crate) fn world(acts: &[Act]) -> Scene {
    let (mut scene, ..) = with_site(3);
    let seen = scene.records.len();
    for act in acts {
        let known = (scene.records.len() * usize::from(act.known) / 255).max(seen);
        let view = effect(&scene.records[..known], &scene.parameters).unwrap();
        if let Some(record) = done(&mut scene, &view, act) {
            scene.records.push(Arc::new(record));
        }
    }
    scene
}

fn nth<T: Copy>(items: impl Iterator<Item = T>, pick: u8) -> Option<T> {
    let items: Vec<T> = items.collect();
    let count = items.len().max(1);
    items.get(usize::from(pick) % count).copied()
}

fn done(scene: &mut Scene, view: &Effect, act: &Act) -> Option<Record> {
    let (by, pick) = (usize::from(act.by), act.pick);
    let site = nth(view.sites.keys().copied(), pick)?;
    let account = nth(view.accounts.keys().copied(), pick / 2)?;
    let owner = view.sites[&site].body.account;
    let label = ["cafe", "bakery", "choir"][usize::from(pick) % 3];
    let region = scene.region;
    let (node, provider) = (&mut scene.nodes[by], &mut scene.providers[by]);
    match act.what {
        0..=3 => node
            .deploy(view, site, deploy_body(&pick.to_string(), owner, 0))
            .ok(),
        4 => Some(
            provider
                .new_account(view, slot(act.by), with_keys(label, pick))
                .ok()?
                .1,
        ),
        5 => Some(
            node.new_site(view, slot(act.by), Site::new(account))
                .ok()?
                .1,
        ),
        6 => node
            .claim(
                view,
                owner,
                name_body(NameKind::Label, label, site.digest()),
            )
            .ok(),
        7 => node
            .vote(nth(view.names.iter().map(|name| name.record), pick)?)
            .ok(),
        8 => provider.account(view, account, with_keys(label, pick)).ok(),
        9..=12 => {
            let log = (LogId([40 + act.by; 8]), u64::from(pick));
            let account = if act.what == 12 { account } else { owner };
            let mut own = Author::account_key(account, key(pick), region, log);
            signed(&mut own, view, (site, account), act)
        }
        13 => provider
            .new_epoch(view, site, nth(tips(view, site), pick))
            .ok(),
        _ => governed(provider, view, (site, account), act),
    }
}

fn tips(view: &Effect, site: SiteId) -> impl Iterator<Item = RecordId> {
    let tips = view.sites[&site].tips.clone();
    tips.into_iter()
}

/// By a key of the account.
fn signed(
    own: &mut Author,
    view: &Effect,
    (site, account): (SiteId, AccountId),
    act: &Act,
) -> Option<Record> {
    let pick = act.pick;
    let other = nth(view.accounts.keys().copied(), pick)?;
    match (act.what, pick % 2) {
        (9, _) => own
            .deploy(view, site, deploy_body(&format!("own {pick}"), account, 0))
            .ok(),
        (10, 0) => own.new_epoch(view, site, nth(tips(view, site), pick)).ok(),
        (10 | 12, _) => {
            let given = Site {
                account: other,
                ..view.sites[&site].body.clone()
            };
            own.site(view, site, given).ok()
        }
        _ => own.account(view, account, with_keys("own", pick)).ok(),
    }
}

/// By a provider's key.
fn governed(
    provider: &mut Author,
    view: &Effect,
    (site, account): (SiteId, AccountId),
    act: &Act,
) -> Option<Record> {
    let pick = act.pick;
    let other = nth(view.accounts.keys().copied(), pick / 3)?;
    match act.what {
        14 => {
            let given = Site {
                account: other,
                ..view.sites[&site].body.clone()
            };
            provider.site(view, site, given).ok()
        }
        15 => {
            let target = if pick.is_multiple_of(3) {
                account.digest()
            } else {
                site.digest()
            };
            let (active, reason) = (pick.is_multiple_of(2), String::new());
            provider
                .takedown(view, target, Takedown { active, reason })
                .ok()
        }
        16 if pick.is_multiple_of(4) => {
            let target = if pick.is_multiple_of(8) {
                account.digest()
            } else {
                site.digest()
            };
            provider
                .tombstone(
                    target,
                    Tombstone {
                        reason: String::new(),
                    },
                )
                .ok()
        }
        // A node that is withdrawn from its slot, or comes back.
        17 => {
            let number = if pick.is_multiple_of(2) {
                act.by
            } else {
                3 + pick % 3
            };
            let transport = seed(number).transport_key();
            let body = node_body(number).proven(&view.region, slot(act.by), &transport);
            provider.node_record(view, slot(act.by), body).ok()
        }
        18 if pick.is_multiple_of(4) => provider.leave("").ok(),
        19 | 20 => match nth(view.chain.proposals.iter().map(|step| step.step.id), pick) {
            Some(step) => provider.vote(step).ok(),
            None => provider.step(view, next_step(view, account, pick)).ok(),
        },
        21 => {
            let log = (log(act.by), 1_000 + u64::from(pick));
            let mut withdrawn = Author::node(&seed(3 + pick % 3), view.region, log);
            withdrawn
                .deploy(view, site, deploy_body(&pick.to_string(), account, 0))
                .ok()
        }
        _ => None,
    }
}

fn next_step(view: &Effect, account: AccountId, pick: u8) -> Region {
    let mut step = view.chain.current().body.clone();
    let provider = provider_key(pick % 3).provider();
    match pick % 5 {
        0 => {
            step.providers
                .retain(|row| row.id != provider || pick > 128);
            step.removed
                .insert(AuthorId::from(provider), Digest::of(b""));
        }
        1 => {
            step.sponsors.insert(account, provider);
        }
        2 => {
            step.takedowns.insert(account.digest());
        }
        3 => step.limits.account_allowance = 16 * (1 + u32::from(pick % 7)),
        _ => step.policy = format!("# {pick}"),
    }
    step
}

/// A holding of a node that heard `records` in an order and in batches that `salt` says.
fn heard(scene: &Scene, records: &[Arc<Record>], salt: u64) -> Holding {
    let first = &scene.records[..1];
    let mut holding = Holding::new(first, scene.parameters.clone(), scene.kinds.clone()).unwrap();
    let rank = |record: &Arc<Record>| {
        *Digest::derive("order", &[&salt.to_le_bytes(), record.id().as_bytes()]).as_bytes()
    };
    let mut order = records.to_vec();
    order.sort_by_cached_key(rank);
    let mut rest = order.as_slice();
    while let Some(next) = rest.first() {
        let size = 1 + usize::from(rank(next)[31]) % (1 + usize::try_from(salt % 64).unwrap());
        let (batch, later) = rest.split_at(size.min(rest.len()));
        holding.offer(batch.iter().map(|record| Record::clone(record)));
        rest = later;
    }
    holding
}

pub(crate) fn ids(holding: &Holding) -> BTreeSet<RecordId> {
    holding.records().map(|record| record.id()).collect()
}

/// What a reconciliation that `one` leads brings each: what it has, and what it wants.
pub(crate) fn reconcile(one: &mut Holding, other: &mut Holding) {
    // A pass is a round of a minute; what waited for a third record at one place takes some.
    for _ in 0..10 {
        let (theirs, ours) = (ids(other), ids(one));
        if theirs == ours {
            return;
        }
        let wanted = theirs.difference(&ours).filter(|id| !one.knows(id));
        let wanted: Vec<Record> = wanted
            .map(|id| Record::clone(other.record(id).unwrap()))
            .collect();
        let given = ours
            .difference(&theirs)
            .map(|id| Record::clone(one.record(id).unwrap()));
        other.offer(given.collect::<Vec<_>>());
        one.offer(wanted);
    }
}

fn agree(scene: &Scene, one: &mut Holding, other: &mut Holding) {
    reconcile(one, other);
    let (ours, theirs) = (ids(one), ids(other));
    let kinds = |ids: &mut dyn Iterator<Item = &RecordId>, of: &Holding| -> Vec<_> {
        ids.map(|id| (of.record(id).unwrap().envelope().kind, *id))
            .collect()
    };
    let left = kinds(&mut ours.difference(&theirs), one);
    let right = kinds(&mut theirs.difference(&ours), other);
    assert!(left.is_empty() && right.is_empty(), "{left:?} {right:?}");
    assert!(one.effect() == other.effect(), "one set, two effects");
    let held: Vec<Arc<Record>> = one.records().cloned().collect();
    assert!(effect(&held, &scene.parameters).as_ref() == Some(one.effect()));
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn what_is_stored_depends_on_the_set_alone(acts in acts(40), salts in any::<(u64, u64)>()) {
        let scene = world(&acts);
        let mut one = heard(&scene, &scene.records, salts.0);
        let mut other = heard(&scene, &scene.records, salts.1);
        agree(&scene, &mut one, &mut other);
        prop_assert!(one.waiting_count() <= scene.records.len());
    }

    #[test]
    fn two_halves_of_a_region_come_to_one_set(acts in acts(40), salts in any::<(u64, u64)>()) {
        let scene = world(&acts);
        let half = |side: u8| -> Vec<Arc<Record>> {
            let heard = |record: &&Arc<Record>| record.id().as_bytes()[30] % 3 != side;
            scene.records.iter().filter(heard).cloned().collect()
        };
        let mut one = heard(&scene, &half(0), salts.0);
        let mut other = heard(&scene, &half(1), salts.1);
        agree(&scene, &mut one, &mut other);
    }
}
