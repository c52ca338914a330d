//! Names: conflicts, settling, hosts.

use crate::scene::{Scene, account_body, name_body, provider_key, slot, step, with_site};
use verge_sync::record::effect::{NameStatus, label_is_well_formed};
use verge_sync::record::{Account, Actors, Evidence, HostProof, NameKind, Region, Site};
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
    let record = scene.nodes[number].name(&effect, account, 0, gone).unwrap();
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

#[test]
fn a_host_needs_two_providers_that_saw_its_proof() {
    let founded = Region {
        host_proof: HostProof::Dns,
        ..step(3)
    };
    let mut scene = Scene::founded(3, founded);
    let account = scene.account(0, account_body("ana"));
    let site = scene.site(0, account);
    let claim = scene.claim(
        0,
        account,
        name_body(NameKind::Host, "ana.example", site.digest()),
    );
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
    let moved = name_body(NameKind::Label, "rogue", site.digest());
    let record = scene.nodes[1].name(&effect, account, 0, moved).unwrap();
    scene.add(record);
    assert!(scene.effect().site_by_label("ana").is_some());
    assert!(scene.effect().site_by_label("rogue").is_none());
    // The sponsor may still change it.
    let changed = name_body(NameKind::Label, "nell", site.digest());
    let record = scene.providers[0]
        .name(&effect, account, 0, changed)
        .unwrap();
    scene.add(record);
    assert!(scene.effect().site_by_label("nell").is_some());
    let owner = provider_key(0).provider();
    assert_eq!(scene.effect().accounts[&account].sponsor, owner);
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
