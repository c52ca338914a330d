//! Stories of a small region that closes its months.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use super::*;
use crate::accounting::calendar::{Day, Month};
use crate::accounting::merkle::MerkleHash;
use crate::attribution::fees::{Fee, Fees};
use crate::attribution::money::Cents;
use crate::attribution::statement::{Books, SealedDay, Statement, sample};
use crate::region::scene::Scene;
use crate::watch::observation::{Observation, SiteRow};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::Digest;
use verge_sync::id::{ProviderId, RecordId};
use verge_sync::keys::ProviderKey;
use verge_sync::record::body::{HostProof, NameKind, Provider, Vote};
use verge_sync::record::{Effect, Kind, effect};

fn month(text: &str) -> Month {
    text.parse().unwrap()
}

fn close(scene: &Scene, text: &str, statement: &str) -> CloseBody {
    CloseBody {
        month: month(text),
        step: scene.effect().chain.current().id,
        previous: None,
        snapshots: Vec::new(),
        statement: Digest::of(statement.as_bytes()),
        fees_root: MerkleHash([0; 32]),
        fees_total: Cents(0),
        ..body::tests::body()
    }
}

/// What provider `number` proposes, instead of what it proposed before.
fn propose(scene: &mut Scene, number: usize, body: &CloseBody) -> RecordId {
    let effect = scene.effect();
    let author = &mut scene.providers[number];
    let me = author.id();
    let own = effect.records().filter(|record| {
        let envelope = record.envelope();
        (envelope.kind, envelope.author) == (Kind::CLOSE, me) && envelope.subject == body.subject()
    });
    let last = own.max_by_key(|record| record.envelope().sequence);
    let follows = last.map(|record| record.id()).into_iter().collect();
    let what = (body.subject(), body.encode());
    let record = author.foreign(&effect, Kind::CLOSE, what, follows).unwrap();
    scene.add(record)
}

fn say(scene: &mut Scene, number: usize, id: RecordId, vote: Vote) {
    let effect = scene.effect();
    let record = scene.providers[number]
        .host_vote(&effect, id, vote)
        .unwrap();
    scene.add(record);
}

fn closed(scene: &Scene, text: &str) -> Option<RecordId> {
    let closes = Closes::read(&scene.effect());
    // Whatever order the records are in.
    let mut records = scene.records.clone();
    records.reverse();
    let reversed = effect(&records, &scene.parameters).unwrap();
    assert_eq!(Closes::read(&reversed), closes);
    closes.of(month(text)).map(Proposed::id)
}

const NOVEMBER: &str = "2026-11";
const DECEMBER: &str = "2026-12";

#[test]
fn more_than_half_of_the_providers_close_a_month() {
    let mut scene = Scene::new(4, HostProof::None);
    let body = close(&scene, NOVEMBER, "one");
    let id = propose(&mut scene, 0, &body);
    assert_eq!(closed(&scene, NOVEMBER), None);
    say(&mut scene, 1, id, Vote::For);
    say(&mut scene, 1, id, Vote::For);
    assert_eq!(closed(&scene, NOVEMBER), None);
    say(&mut scene, 2, id, Vote::For);
    assert_eq!(closed(&scene, NOVEMBER), Some(id));
    assert_eq!(closed(&scene, DECEMBER), None);
    // A node may propose as well, which is no vote.
    let effect = scene.effect();
    let body = close(&scene, DECEMBER, "two");
    let what = (body.subject(), body.encode());
    let record = scene.nodes[0].foreign(&effect, Kind::CLOSE, what, Vec::new());
    let id = scene.add(record.unwrap());
    say(&mut scene, 0, id, Vote::For);
    say(&mut scene, 1, id, Vote::For);
    assert_eq!(closed(&scene, DECEMBER), None);
    say(&mut scene, 3, id, Vote::For);
    assert_eq!(closed(&scene, DECEMBER), Some(id));
}

#[test]
fn who_is_for_two_closes_of_a_month_counts_for_neither() {
    let mut scene = Scene::new(3, HostProof::None);
    let (one, two) = (
        close(&scene, NOVEMBER, "one"),
        close(&scene, NOVEMBER, "two"),
    );
    let first = propose(&mut scene, 0, &one);
    let second = propose(&mut scene, 2, &two);
    say(&mut scene, 1, first, Vote::For);
    assert_eq!(closed(&scene, NOVEMBER), Some(first));
    say(&mut scene, 1, second, Vote::For);
    assert_eq!(closed(&scene, NOVEMBER), None);
    let closes = Closes::read(&scene.effect());
    let doubter = scene.providers[1].id().provider();
    let doubters: Vec<_> = closes.doubters().collect();
    assert_eq!(doubters, [(month(NOVEMBER), doubter)]);
    assert_eq!(closes.open(month(NOVEMBER)).len(), 2);
    // It makes up its mind.
    say(&mut scene, 1, first, Vote::Withdrawn);
    assert_eq!(closed(&scene, NOVEMBER), Some(second));
}

#[test]
fn a_proposal_is_replaced_and_its_author_can_go_over_to_another() {
    let mut scene = Scene::new(3, HostProof::None);
    let bodies = ["one", "two", "three"].map(|text| close(&scene, NOVEMBER, text));
    let first = propose(&mut scene, 0, &bodies[0]);
    let second = propose(&mut scene, 0, &bodies[1]);
    say(&mut scene, 1, first, Vote::For);
    // Its author is for it no more.
    assert_eq!(closed(&scene, NOVEMBER), None);
    say(&mut scene, 1, first, Vote::Withdrawn);
    say(&mut scene, 1, second, Vote::For);
    assert_eq!(closed(&scene, NOVEMBER), Some(second));
    let third = propose(&mut scene, 2, &bodies[2]);
    say(&mut scene, 0, third, Vote::For);
    assert_eq!(closed(&scene, NOVEMBER), None);
    say(&mut scene, 0, second, Vote::Withdrawn);
    assert_eq!(closed(&scene, NOVEMBER), Some(third));
}

#[test]
fn a_month_stays_closed_by_the_next_when_providers_come() {
    let mut scene = Scene::new(3, HostProof::None);
    let november = close(&scene, NOVEMBER, "one");
    let first = propose(&mut scene, 0, &november);
    say(&mut scene, 1, first, Vote::For);
    assert_eq!(closed(&scene, NOVEMBER), Some(first));
    let december = CloseBody {
        previous: Some(first),
        ..close(&scene, DECEMBER, "two")
    };
    let second = propose(&mut scene, 0, &december);
    say(&mut scene, 1, second, Vote::For);
    scene.step(|step| {
        step.providers.extend((0..2).map(|number| Provider {
            id: ProviderKey::from_bytes(&[50 + number; 32]).provider(),
            name: format!("newcomer {number}"),
            contact: String::new(),
        }));
        step.providers.sort_by_key(|row| row.id);
    });
    assert_eq!(closed(&scene, DECEMBER), None, "two of five");
    say(&mut scene, 2, second, Vote::For);
    assert_eq!(closed(&scene, DECEMBER), Some(second));
    assert_eq!(closed(&scene, NOVEMBER), Some(first));
    let closes = Closes::read(&scene.effect());
    assert_eq!(
        closes.before(month(DECEMBER)).map(Proposed::id),
        Some(first)
    );
    assert_eq!(closes.last(), Some(month(DECEMBER)));
    assert_eq!(closes.blobs().len(), 1, "both name the same books");
    let shown = MonthLine::all(&scene.effect());
    let states: Vec<_> = shown
        .iter()
        .map(|of| (of.month.as_str(), of.is_closed))
        .collect();
    assert_eq!(states, [(NOVEMBER, true), (DECEMBER, true)]);
}

#[test]
fn what_is_no_close_of_its_month_counts_for_nothing() {
    let mut scene = Scene::new(1, HostProof::None);
    let body = close(&scene, NOVEMBER, "one");
    let effect = scene.effect();
    let other = month(DECEMBER).number().to_be_bytes().to_vec();
    for what in [(other, body.encode()), (body.subject(), b"\xa0".to_vec())] {
        let record = scene.providers[0].foreign(&effect, Kind::CLOSE, what, Vec::new());
        scene.add(record.unwrap());
    }
    assert!(MonthLine::all(&scene.effect()).is_empty());
    let id = propose(&mut scene, 0, &body);
    assert_eq!(
        closed(&scene, NOVEMBER),
        Some(id),
        "alone it is more than half"
    );
}

#[test]
fn a_close_and_its_votes_are_checked_without_a_node() {
    let mut scene = Scene::new(3, HostProof::None);
    let body = close(&scene, NOVEMBER, "one");
    let id = propose(&mut scene, 0, &body);
    say(&mut scene, 1, id, Vote::For);
    let effect = scene.effect();
    let closes = Closes::read(&effect);
    let lines = proof::lines(&effect, closes.of(month(NOVEMBER)).unwrap());
    let proof = check_close(&lines, &effect.region).unwrap();
    let signers = [0, 1].map(|number| scene.providers[number].id().provider());
    assert_eq!(proof.body, body);
    assert_eq!(proof.signers, BTreeSet::from(signers));
    let (close, vote) = lines.split_once('\n').unwrap();
    for wrong in [
        String::new(),
        vote.to_owned(),
        format!("{close}\n{close}\n"),
        lines.replace('A', "B"),
    ] {
        assert!(check_close(&wrong, &effect.region).is_err());
    }
    let elsewhere = verge_sync::id::RegionId::from_bytes([9; 32]);
    assert!(check_close(&lines, &elsewhere).is_err());
    assert!(check_close(close, &effect.region).is_ok());
}

fn observe(scene: &mut Scene, (observer, of): (u8, u8), seen: &Observation) {
    let ids = [scene.node(observer), scene.node(of)];
    let subject = ids.map(|id| *id.as_bytes()).concat();
    let effect = scene.effect();
    let own = effect.records().filter(|record| {
        record.envelope().kind == Kind::OBSERVATION && record.envelope().subject == subject
    });
    let last = own.max_by_key(|record| record.envelope().sequence);
    let follows = last.map(|record| record.id()).into_iter().collect();
    let what = (subject, seen.encode());
    let author = &mut scene.nodes[usize::from(observer)];
    let record = author.foreign(&effect, Kind::OBSERVATION, what, follows);
    scene.add(record.unwrap());
}

fn seen(day: Day, answered: u32, silent: u32) -> Observation {
    Observation {
        day: day.number(),
        answered,
        wrong: 0,
        silent,
        sites: Vec::new(),
    }
}

#[test]
fn observations_say_who_answered_and_who_held_what() {
    let mut scene = Scene::new(4, HostProof::None);
    let (_, site) = scene.site(0);
    let day = month(NOVEMBER).first_day();
    for (observer, answered) in [(1, 10), (2, 5), (3, 8)] {
        observe(
            &mut scene,
            (observer, 0),
            &seen(day, answered, 10 - answered),
        );
    }
    // Of its own node, and of another month.
    observe(&mut scene, (0, 0), &seen(day, 10, 0));
    observe(
        &mut scene,
        (1, 0),
        &seen(month(DECEMBER).first_day(), 0, 10),
    );
    let row = SiteRow {
        site: SiteRow::name(&site),
        answered: 1,
        failed: 1,
    };
    let with_row = Observation {
        sites: vec![row],
        ..seen(day.next(), 2, 2)
    };
    observe(&mut scene, (1, 0), &with_row);
    let effect = scene.effect();
    let probes = Probes::read(&effect, month(NOVEMBER));
    let providers: Vec<ProviderId> = (0..4)
        .map(|number| scene.providers[number].id().provider())
        .collect();
    assert_eq!(probes.count(), 4);
    // 12 of 14, 5 of 10 and 8 of 10: the one in the middle.
    assert_eq!(probes.availability_permille(&providers[0]), 800);
    assert_eq!(probes.availability_permille(&providers[1]), 1_000);
    let all: BTreeSet<ProviderId> = providers.iter().copied().collect();
    let estimates = probes.estimates(&providers[0], &all);
    // 500 of 3,500: the others answered, as far as anybody knows.
    assert_eq!(estimates.get(&providers[2]), Some(&1_428));
    assert_eq!(estimates.len(), 3);
    // 23 of 30 on the first day, a half on the second by the looks for the site itself.
    let held = probes.held(&[(site, day)].into());
    assert_eq!(held[&site][&providers[0]], 18 + 12);
    let later = probes.held(&[(site, day.next())].into());
    assert_eq!(later[&site][&providers[0]], 12);
    assert_ne!(probes.digest(), Probes::default().digest());
}

fn books_of(effect: &Effect, seals: Vec<SealedDay>) -> Books {
    let probes = Probes::read(effect, month(NOVEMBER));
    let facts = Facts {
        month: month(NOVEMBER),
        policy: sample::POLICY,
        probes: &probes,
        seals,
        earlier: BTreeSet::new(),
    };
    books(effect, facts, true)
}

/// A seal of node `number` of a scene.
fn sealed(scene: &Scene, number: u8, sites: &[verge_sync::SiteId]) -> SealedDay {
    use crate::accounting::figures::{BodyBytes, Class, Count, CreditBytes, Row};
    let mut of = sample::sealed(0, 3, &[]);
    of.seal.node = scene.node(number);
    of.seal.rows = sites
        .iter()
        .map(|site| Row {
            site: *site,
            class: Class::Answer,
            count: Count {
                requests: 100,
                credit: CreditBytes(1 << 20),
                body: BodyBytes(1 << 20),
            },
        })
        .collect();
    of.seal.rows.sort_unstable_by_key(|row| row.site);
    of.digest = of.seal.encode().digest();
    of
}

#[test]
fn books_are_the_same_in_any_order_and_keep_who_was_there() {
    let mut scene = Scene::new(3, HostProof::None);
    let sites: Vec<_> = (0..3).map(|number| scene.site(number)).collect();
    scene.claim(0, sites[0], NameKind::Label, "garden");
    let seals: Vec<_> = (0..3)
        .map(|number| sealed(&scene, number, &[sites[0].1, sites[1].1]))
        .collect();
    // One site without visitors ends, and one with visitors.
    for site in [sites[1].1, sites[2].1] {
        let reason = String::new();
        let body = verge_sync::record::Tombstone { reason };
        let sponsor = scene
            .providers
            .iter()
            .position(|author| {
                let effect = scene.effect();
                effect.sites[&site].slot.provider == author.id().provider()
            })
            .unwrap();
        let record = scene.providers[sponsor].tombstone(site.digest(), body);
        scene.add(record.unwrap());
    }
    let mut books = books_of(&scene.effect(), seals.clone());
    let mut records = scene.records.clone();
    records.reverse();
    let reversed = effect(&records, &scene.parameters).unwrap();
    let mut shuffled = seals;
    shuffled.rotate_left(1);
    let mut other = books_of(&reversed, shuffled);
    assert_eq!(
        BooksBlob::of(&other).encode(),
        BooksBlob::of(&books).encode()
    );
    assert_eq!(books.sites.keys().collect::<Vec<_>>().len(), 2);
    assert_eq!(books.sites[&sites[0].1].name, "garden");
    assert_eq!(books.owners.len(), 2);
    assert_eq!((books.providers.len(), books.nodes.len()), (3, 3));
    assert!(
        books
            .providers
            .values()
            .all(|of| of.provider.is_in_good_standing)
    );
    let none = Fee {
        cents: Cents(0),
        salt: [0; 16],
    };
    books.fees = Fees(books.owners.keys().map(|id| (*id, none)).collect());
    other.fees = books.fees.clone();
    let digest = |books: &Books| Statement::of(books).unwrap().digest();
    assert_eq!(digest(&other), digest(&books));
}

#[test]
fn a_snapshot_stands_for_a_lost_day_and_its_seal_is_too_late_then() {
    let mut scene = Scene::new(4, HostProof::None);
    let (said, more) = (sealed(&scene, 0, &[]), scene.site(0).1);
    let late = sealed(&scene, 0, &[more]);
    let of = (scene.node(0), said.seal.day);
    let record = scene.snapshot(0, &said.seal);
    let id = scene.add(record);
    let month = said.seal.day.month();
    let days = month.first_day()..=month.last_day();
    let taken = |scene: &Scene, known: &BTreeMap<_, _>, earlier: &BTreeSet<_>| {
        let count = work::counted(known, earlier, &days);
        let taken = lost::to_take(&scene.effect(), &count);
        let taken: Vec<Digest> = taken.into_iter().map(|of| of.digest).collect();
        (count.contains(&late.digest), taken)
    };
    let none = BTreeSet::new();
    let mut known = lost::known(&scene.effect());
    assert_eq!(known, [(said.digest, of)].into());
    scene.say(1, id, Vote::For);
    assert_eq!(taken(&scene, &known, &none), (false, vec![]));
    scene.say(2, id, Vote::For);
    assert_eq!(taken(&scene, &known, &none), (false, vec![said.digest]));
    // The disk is found again: what no close took is sealed, what one took is settled.
    scene.seal(0, late.seal.day, late.seal.encode().body);
    known.insert(late.digest, of);
    assert_eq!(taken(&scene, &known, &none), (true, vec![]));
    let earlier = BTreeSet::from([said.digest]);
    assert_eq!(taken(&scene, &known, &earlier), (false, vec![]));
    assert!(lost::known(&scene.effect()).contains_key(&said.digest));
}

#[test]
fn no_seal_is_in_two_statements_nor_a_day_of_a_node() {
    let [first, second, third] = [b"one", b"two", b"six"].map(|name| Digest::of(name));
    let (node, other) = ([1; 32], [2; 32]);
    let november = month(NOVEMBER).first_day();
    let december = month(DECEMBER).first_day();
    let of = |node, day| (verge_sync::id::NodeId::from_bytes(node), day);
    let known = [
        (first, of(node, november)),
        // The same day again, and another day that came late.
        (second, of(node, november)),
        (third, of(other, november)),
        (Digest::of(b"new"), of(node, december)),
        (Digest::of(b"later"), of(node, month("2027-01").first_day())),
    ];
    let days = november..=month(DECEMBER).last_day();
    let count = work::counted(&known.into(), &[first].into(), &days);
    assert_eq!(count, [third, Digest::of(b"new")].into());
    let days = december..=month(DECEMBER).last_day();
    let count = work::counted(&known.into(), &BTreeSet::new(), &days);
    assert_eq!(count, [Digest::of(b"new")].into());
}
