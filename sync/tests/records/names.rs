//! Names: conflicts, settling, hosts.

use crate::order::mixed;
use crate::scene::{Scene, account_body, cases, name_body, provider_key, slot, step, with_site};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::sync::Arc;
use verge_sync::record::effect::{NameStatus, Wanted, label_is_well_formed};
use verge_sync::record::{
    Account, Actors, Evidence, HostProof, NameKind, Record, Region, Site, Vote, effect,
};
use verge_sync::{AccountId, RecordId, SiteId};

#[test]
fn labels() {
    let long = "a".repeat(32);
    let rows = [
        ("a", true),
        ("7", true),
        ("ana", true),
        ("a-b", true),
        ("a1-b2-c3", true),
        (&long, true),
        ("", false),
        ("-a", false),
        ("a-", false),
        ("-", false),
        ("a--b", false),
        ("xn--abc", false),
        ("A", false),
        ("a_b", false),
        ("a.b", false),
        ("a b", false),
        ("\u{e9}", false),
        ("a\0", false),
        ("a/b", false),
        (&format!("{long}a"), false),
    ];
    for (label, good) in rows {
        assert_eq!(label_is_well_formed(label), good, "{label:?}");
    }
}

fn statuses(scene: &Scene, id: SiteId) -> Vec<NameStatus> {
    scene
        .effect()
        .names_of(id.digest())
        .map(|name| name.status.clone())
        .collect()
}

#[test]
fn what_can_be_claimed() {
    use NameKind::{Account, Host, Label};
    let rows = [
        (Label, "ana", true),
        (Label, "www", false),
        (Label, "Ana", false),
        (Label, "a--b", false),
        (Label, "a.b", false),
        (Host, "ana.example", true),
        (Host, "ana.sites.example", true),
        (Host, "www.sites.example", false),
        (Host, "a.b.sites.example", false),
        (Host, "sites.example", false),
        (Host, "nodes.example", false),
        (Host, "x.nodes.example", false),
        (Host, "ana", false),
        (Host, "ana.example.", false),
        (Host, "ANA.example", false),
        (Host, "an\u{e4}.example", false),
        (Host, "-a.example", false),
        (Host, "xn--4ca.example", true),
        (Host, "localhost", false),
        (Host, "a.localhost", true),
        (Host, "othersites.example", true),
        (Account, "ana", false),
    ];
    for (kind, name, good) in rows {
        let (mut scene, account, site) = with_site(1);
        scene.claim(0, account, name_body(kind, name, site.digest()));
        let held = statuses(&scene, site) == [NameStatus::Provisional];
        assert_eq!(held, good, "{kind:?} {name}");
        let effect = scene.effect();
        assert_eq!(effect.hosts().count(), usize::from(good), "{kind:?} {name}");
    }
}

#[test]
fn a_label_is_a_host_under_the_zone() {
    let (mut scene, account, site) = with_site(1);
    scene.claim(0, account, name_body(NameKind::Label, "ana", site.digest()));
    scene.claim(
        0,
        account,
        name_body(NameKind::Host, "ana.example", site.digest()),
    );
    scene.claim(
        0,
        account,
        name_body(NameKind::Account, "ana", account.digest()),
    );
    let effect = scene.effect();
    assert_eq!(effect.hosts_of(&site), ["ana.sites.example", "ana.example"]);
    assert_eq!(effect.site_by_label("ana").map(|s| s.id), Some(site));
    assert_eq!(effect.site_by_host("ana.example").map(|s| s.id), Some(site));
    assert_eq!(
        effect.site_by_host("ana.sites.example").map(|s| s.id),
        Some(site)
    );
    assert_eq!(effect.site_by_host("other.example").map(|s| s.id), None);
    assert_eq!(effect.account_by_name("ana").map(|a| a.id), Some(account));
    assert_eq!(effect.account_name(&account), Some("ana"));
}

struct Rivals {
    scene: Scene,
    /// (site, claim), the one that holds the name first.
    sides: [(SiteId, RecordId, usize); 2],
}

fn rivals(kind: NameKind, name: &str) -> Rivals {
    let mut scene = Scene::new(3);
    let mut side = |number: u8| {
        let account = scene.account(number, account_body(&format!("{number}")));
        let site = scene.site(number, account);
        let claim = scene.claim(number, account, name_body(kind, name, site.digest()));
        (site, claim, usize::from(number))
    };
    let mut sides = [side(0), side(1)];
    sides.sort_by_key(|side| side.1);
    Rivals { scene, sides }
}

fn vote(scene: &mut Scene, node: usize, claim: RecordId) {
    let record = scene.nodes[node].vote(claim).unwrap();
    scene.add(record);
}

#[test]
fn the_lower_claim_holds_until_the_other_is_settled() {
    let Rivals {
        mut scene,
        sides: [(first, _, _), (second, claim, _)],
    } = rivals(NameKind::Label, "cafe");
    let effect = scene.effect();
    assert_eq!(effect.site_by_label("cafe").map(|s| s.id), Some(first));
    let other = format!("cafe-{}.sites.example", &second.to_string()[..4]);
    assert_eq!(effect.hosts_of(&second), [other.as_str()]);
    let renamed = NameStatus::Renamed {
        claimed: "cafe".to_owned(),
    };
    assert_eq!(statuses(&scene, second), [renamed]);
    vote(&mut scene, 0, claim);
    assert_eq!(
        scene.effect().site_by_label("cafe").map(|s| s.id),
        Some(first),
        "one of three"
    );
    vote(&mut scene, 1, claim);
    let effect = scene.effect();
    assert_eq!(effect.site_by_label("cafe").map(|s| s.id), Some(second));
    assert_eq!(statuses(&scene, second), [NameStatus::Settled]);
    assert_eq!(
        effect.hosts_of(&first),
        [format!("cafe-{}.sites.example", &first.to_string()[..4])]
    );
}

#[test]
fn the_loser_of_a_host_has_it_not() {
    let Rivals {
        scene,
        sides: [(first, _, _), (second, _, _)],
    } = rivals(NameKind::Host, "cafe.example");
    let effect = scene.effect();
    assert_eq!(
        effect.site_by_host("cafe.example").map(|s| s.id),
        Some(first)
    );
    assert_eq!(statuses(&scene, second), [NameStatus::Lost]);
    assert!(effect.hosts_of(&second).is_empty());
}

#[test]
fn a_node_votes_once_for_a_name() {
    let Rivals {
        mut scene,
        sides: [(_, low, _), (_, high, _)],
    } = rivals(NameKind::Label, "cafe");
    vote(&mut scene, 0, low);
    vote(&mut scene, 0, high);
    vote(&mut scene, 0, high);
    let effect = scene.effect();
    let double = |e: &&Evidence| matches!(e, Evidence::DoubleVote { .. });
    assert!(
        effect.evidence.iter().any(|e| double(&e)),
        "{:?}",
        effect.evidence
    );
    assert!(
        effect
            .names
            .iter()
            .all(|name| name.status != NameStatus::Settled)
    );
}

#[test]
fn a_claim_is_given_up_and_taken_by_another() {
    let Rivals {
        mut scene,
        sides: [(first, _, number), (second, _, _)],
    } = rivals(NameKind::Label, "cafe");
    let account: AccountId = scene.effect().sites[&first].body.account;
    let effect = scene.effect();
    let gone = name_body(NameKind::Label, "", first.digest());
    let index = effect.names_of(first.digest()).next().unwrap().index;
    let record = scene.nodes[number]
        .name(&effect, account, index, gone)
        .unwrap();
    scene.add(record);
    assert_eq!(
        scene.effect().site_by_label("cafe").map(|s| s.id),
        Some(second)
    );
    assert!(scene.effect().hosts_of(&first).is_empty());
}

#[test]
fn nobody_names_anothers_site() {
    let (mut scene, _, site) = with_site(2);
    let thief = scene.account(1, account_body("thief"));
    scene.claim(1, thief, name_body(NameKind::Label, "mine", site.digest()));
    assert_eq!(statuses(&scene, site), [NameStatus::Refused]);
    assert!(scene.effect().hosts_of(&site).is_empty());
}

/// A region whose hosts are proved by DNS, with a site and a claim of `ana.example`.
fn proving(count: u8) -> (Scene, AccountId, SiteId, RecordId) {
    let founded = Region {
        host_proof: HostProof::Dns,
        ..step(count)
    };
    let mut scene = Scene::founded(count, founded);
    let account = scene.account(0, account_body("ana"));
    let site = scene.site(0, account);
    let host = name_body(NameKind::Host, "ana.example", site.digest());
    let claim = scene.claim(0, account, host);
    (scene, account, site, claim)
}

fn say(scene: &mut Scene, node: usize, claim: RecordId, vote: Vote) {
    let effect = scene.effect();
    let record = scene.nodes[node].host_vote(&effect, claim, vote).unwrap();
    scene.add(record);
}

#[test]
fn a_host_needs_two_providers_that_saw_its_proof() {
    let (mut scene, account, site, claim) = proving(3);
    scene.claim(0, account, name_body(NameKind::Label, "ana", site.digest()));
    for (votes, held) in [(0, false), (1, false), (2, true)] {
        if votes > 0 {
            vote(&mut scene, votes - 1, claim);
        }
        let host = scene.effect().site_by_host("ana.example").is_some();
        assert_eq!(host, held, "{votes}");
        assert!(scene.effect().site_by_label("ana").is_some());
    }
}

/// What nodes say one after the other, and how the host stands after each word.
#[test]
fn a_host_is_suspended_when_two_providers_no_longer_see_its_proof() {
    use NameStatus::{Provisional, Settled, Suspended, Unproved};
    use Vote::{For, Withdrawn};
    type Word = (usize, Vote, NameStatus);
    let rows: &[(u8, &[Word])] = &[
        (
            1,
            &[
                (0, For, Settled),
                (0, Withdrawn, Suspended),
                (0, For, Settled),
            ],
        ),
        (
            2,
            &[
                (0, For, Unproved),
                (1, For, Settled),
                (1, Withdrawn, Provisional),
                (0, Withdrawn, Suspended),
                (1, For, Provisional),
            ],
        ),
        (
            3,
            &[
                (0, Withdrawn, Unproved),
                (0, For, Unproved),
                (1, For, Settled),
                (2, Withdrawn, Settled),
                (2, For, Settled),
                (0, Withdrawn, Settled),
                (1, Withdrawn, Suspended),
                (0, For, Settled),
            ],
        ),
        (
            5,
            &[
                (0, For, Unproved),
                (1, For, Provisional),
                (2, For, Settled),
                (3, For, Settled),
                (0, Withdrawn, Settled),
                (1, Withdrawn, Suspended),
            ],
        ),
    ];
    for (count, words) in rows {
        let (mut scene, _, site, claim) = proving(*count);
        for (turn, (node, word, expected)) in words.iter().enumerate() {
            say(&mut scene, *node, claim, *word);
            let found = statuses(&scene, site);
            assert_eq!(
                found,
                std::slice::from_ref(expected),
                "{count} providers, word {turn}"
            );
            let served = scene.effect().site_by_host("ana.example").is_some();
            assert_eq!(served, matches!(expected, Provisional | Settled));
        }
        assert!(scene.effect().evidence.is_empty());
    }
}

#[test]
fn a_suspended_host_goes_to_whom_the_proof_is_seen_for_now() {
    let (mut scene, _, first, old) = proving(2);
    let buyer = scene.account(1, account_body("ben"));
    let second = scene.site(1, buyer);
    let host = name_body(NameKind::Host, "ana.example", second.digest());
    let new = scene.claim(1, buyer, host);
    for node in [0, 1] {
        say(&mut scene, node, old, Vote::For);
    }
    let holder = |scene: &Scene| scene.effect().site_by_host("ana.example").map(|s| s.id);
    assert_eq!(holder(&scene), Some(first));
    for node in [0, 1] {
        say(&mut scene, node, old, Vote::Withdrawn);
        say(&mut scene, node, new, Vote::For);
    }
    assert_eq!(holder(&scene), Some(second));
    assert!(scene.effect().evidence.is_empty());
}

#[test]
fn a_vote_for_a_label_or_a_step_cannot_be_taken_back() {
    let (mut scene, account, site) = with_site(1);
    let claim = scene.claim(0, account, name_body(NameKind::Label, "ana", site.digest()));
    say(&mut scene, 0, claim, Vote::Withdrawn);
    assert_eq!(statuses(&scene, site), [NameStatus::Provisional], "no vote");
    say(&mut scene, 0, claim, Vote::For);
    say(&mut scene, 0, claim, Vote::Withdrawn);
    assert_eq!(statuses(&scene, site), [NameStatus::Settled]);

    let mut scene = Scene::new(2);
    let effect = scene.effect();
    let next = scene.providers[0].step(&effect, step(2)).unwrap();
    let next = scene.add(next);
    let number = |scene: &Scene| scene.effect().chain.current().body.number;
    for (word, expected) in [(Vote::Withdrawn, 0), (Vote::For, 1), (Vote::Withdrawn, 1)] {
        let effect = scene.effect();
        let record = scene.providers[1].host_vote(&effect, next, word).unwrap();
        scene.add(record);
        assert_eq!(number(&scene), expected, "{word:?}");
    }
}

#[test]
fn a_claim_says_who_voted_for_it_and_what_it_competes_for() {
    let Rivals {
        mut scene,
        sides: [(_, low, _), (loser, high, _)],
    } = rivals(NameKind::Label, "cafe");
    vote(&mut scene, 0, low);
    vote(&mut scene, 1, high);
    let effect = scene.effect();
    for name in &effect.names {
        assert_eq!(name.wanted, Wanted::Host("cafe.sites.example".to_owned()));
        let voter = scene.nodes[usize::from(name.record == high)].id().node();
        assert_eq!(name.voters, [voter].into());
    }
    assert_ne!(effect.hosts_of(&loser), ["cafe.sites.example"]);
}

/// A word of a node about one of the claims, known to it as all records before are.
fn words() -> impl Strategy<Value = Vec<(usize, usize, Vote)>> {
    let vote = any::<bool>().prop_map(|new| if new { Vote::For } else { Vote::Withdrawn });
    proptest::collection::vec((0_usize..3, 0_usize..6, vote), 0..24)
}

/// Three accounts that all want the same label and the same host, and what nodes say of it.
fn contest(words: &[(usize, usize, Vote)]) -> Scene {
    let (mut scene, account, site, host) = proving(3);
    let label = name_body(NameKind::Label, "cafe", site.digest());
    let mut claims = vec![host, scene.claim(0, account, label)];
    for number in [1, 2] {
        let account = scene.account(number, account_body(&format!("{number}")));
        let site = scene.site(number, account);
        for (kind, name) in [(NameKind::Label, "cafe"), (NameKind::Host, "ana.example")] {
            claims.push(scene.claim(number, account, name_body(kind, name, site.digest())));
        }
    }
    for (node, claim, word) in words {
        say(&mut scene, *node, claims[*claim], *word);
    }
    scene
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn no_order_of_arrival_changes_names(words in words(), salt in any::<u64>()) {
        let scene = contest(&words);
        let mixed = mixed(&scene.records, salt);
        let held = effect(&mixed, &scene.parameters).unwrap();
        prop_assert_eq!(&held.names, &scene.effect().names);
        // One holder for each name, whoever voted for whom.
        for wanted in ["cafe.sites.example", "ana.example"] {
            let holders = held.names.iter().filter(|n| n.holds() && n.host.as_deref() == Some(wanted));
            prop_assert!(holders.count() <= 1);
        }
        // Known in parts, names are what the parts say, and the rest makes up for it.
        let half: Vec<Arc<Record>> = mixed.iter().take(mixed.len() / 2).cloned().collect();
        if effect(&half, &scene.parameters).is_some() {
            let whole: Vec<Arc<Record>> = half.into_iter().chain(mixed.iter().cloned()).collect();
            prop_assert_eq!(&effect(&whole, &scene.parameters).unwrap().names, &held.names);
        }
    }
}

#[test]
fn an_account_that_lets_nobody_act_keeps_the_names_it_has() {
    let (mut scene, account, site) = with_site(2);
    scene.claim(0, account, name_body(NameKind::Label, "ana", site.digest()));
    let effect = scene.effect();
    let body = Account {
        acts: Actors::NONE,
        ..account_body("ana")
    };
    let record = scene.providers[0].account(&effect, account, body).unwrap();
    scene.add(record);
    assert!(scene.effect().site_by_label("ana").is_some());
    let effect = scene.effect();
    let index = effect.names_of(site.digest()).next().unwrap().index;
    let moved = name_body(NameKind::Label, "rogue", site.digest());
    let record = scene.nodes[1].name(&effect, account, index, moved).unwrap();
    scene.add(record);
    assert!(scene.effect().site_by_label("ana").is_some());
    assert!(scene.effect().site_by_label("rogue").is_none());
    // The sponsor may still change it.
    let changed = name_body(NameKind::Label, "nell", site.digest());
    let record = scene.providers[0]
        .name(&effect, account, index, changed)
        .unwrap();
    scene.add(record);
    assert!(scene.effect().site_by_label("nell").is_some());
    let owner = provider_key(0).provider();
    assert_eq!(scene.effect().accounts[&account].sponsor, owner);
}

/// Both sides took the lowest free place once, and one of the two names was gone after the heal until
/// its node had claimed it anew.
#[test]
fn names_claimed_on_two_sides_of_a_partition_both_hold_at_once() {
    let (mut scene, account, site) = with_site(2);
    // What both sides knew when they parted.
    let before = scene.effect();
    let sides = [(0, "ana"), (1, "garden")].map(|(node, name)| {
        let body = name_body(NameKind::Label, name, site.digest());
        scene.nodes[node].claim(&before, account, body).unwrap()
    });
    for record in sides {
        scene.add(record);
    }
    let effect = scene.effect();
    for name in ["ana", "garden"] {
        let found = effect.site_by_label(name).map(|site| site.id);
        assert_eq!(found, Some(site), "{name}");
    }
    // The same node asked twice, before it knows of its own claim, claims one place.
    let place = |scene: &mut Scene| {
        let body = name_body(NameKind::Label, "twice", site.digest());
        let record = scene.nodes[0].claim(&before, account, body).unwrap();
        record.envelope().subject.clone()
    };
    assert_eq!(place(&mut scene), place(&mut scene));
}

#[test]
fn names_of_an_account_run_out() {
    let (mut scene, account, site) = with_site(1);
    for n in 0..64 {
        scene.claim(
            0,
            account,
            name_body(NameKind::Label, &format!("a{n}"), site.digest()),
        );
    }
    let effect = scene.effect();
    assert_eq!(effect.hosts_of(&site).len(), 64);
    let more = name_body(NameKind::Label, "more", site.digest());
    assert!(scene.nodes[0].claim(&effect, account, more).is_err());
}

#[test]
fn an_allowance_is_a_rule() {
    let mut limits = step(1).limits;
    limits.site_allowance = 48;
    let mut scene = Scene::founded(1, Region { limits, ..step(1) });
    let account = scene.account(0, account_body("ana"));
    for _ in 0..3 {
        scene.site(0, account);
    }
    let effect = scene.effect();
    assert_eq!(effect.free_site_counter(slot(0)), None);
    assert!(
        scene.nodes[0]
            .new_site(&effect, slot(0), Site::new(account))
            .is_err()
    );
}
