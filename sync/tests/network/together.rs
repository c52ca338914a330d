//! Five members come to the same, whatever release they are of.

use crate::member::{Member, in_step, introduce};
use crate::scene::{Scene, deploy_body, provider_key, seed, with_site};
use verge_sync::record::{
    Author, AuthorRule, Effect, Kind, KindRow, KindTable, Parameters, Record, RemovalList,
    SubjectRule, Trap,
};
use verge_sync::store::Row;

/// A kind that only some releases know.
const LETTER: Kind = Kind(77);

fn of_this_release() -> KindTable {
    KindTable::new(vec![KindRow {
        number: LETTER,
        name: "letter",
        subject: SubjectRule::Author,
        author: AuthorRule::Node,
    }])
}

async fn five(scene: &Scene, kinds: impl Fn(u8) -> KindTable) -> Vec<Member> {
    let mut members = Vec::new();
    for number in 0..5 {
        members.push(Member::start(scene, number, kinds(number)).await);
    }
    introduce(scene, &members.iter().collect::<Vec<_>>()).await;
    members
}

#[tokio::test]
async fn what_one_writes_all_hold_and_store() {
    let (scene, account, site) = with_site(5);
    let mut members = five(&scene, |_| KindTable::default()).await;
    for number in 0..5 {
        let content = format!("version {number}");
        let write = |author: &mut Author, effect: &Effect| {
            let body = deploy_body(&content, account, 0);
            author.deploy(effect, site, body).unwrap()
        };
        members[number].write(write).await;
        in_step(&members.iter().collect::<Vec<_>>()).await;
    }
    for member in &members {
        let effect = member.effect();
        assert_eq!(effect.sites[&site].deploys.len(), 5);
        // Durable at each: what holds is what would hold after a start.
        let rows: Vec<Row> = member.store.records().all().unwrap();
        let stored = rows
            .iter()
            .filter(|row| row.kind == u64::from(Kind::DEPLOY.0));
        assert_eq!(stored.count(), 5);
    }
}

/// Three nodes of this release and two that do not know a kind: all pass it on, and it has an effect
/// on nothing that those two decide.
#[tokio::test]
async fn a_kind_that_some_do_not_know_comes_to_all() {
    let (scene, account, site) = with_site(5);
    let knows = |number: u8| {
        if number < 3 {
            of_this_release()
        } else {
            KindTable::default()
        }
    };
    let mut members = five(&scene, knows).await;
    let letter = {
        let subject = seed(0).node_id().as_bytes().to_vec();
        // An empty map.
        let body = (subject, vec![0xa0]);
        let mut id = None;
        members[0]
            .write(|author, effect| {
                let record = author.foreign(effect, LETTER, body, vec![]).unwrap();
                id = Some(record.id());
                record
            })
            .await;
        id.unwrap()
    };
    // One that does not know the kind writes after it.
    members[4]
        .write(|author, effect| {
            let body = deploy_body("later", account, 0);
            author.deploy(effect, site, body).unwrap()
        })
        .await;
    in_step(&members.iter().collect::<Vec<_>>()).await;
    let first = members[0].effect();
    for member in &members {
        assert!(member.effect().record(&letter).is_some());
        assert_eq!(member.effect().sites, first.sites);
    }
}

/// A record whose application panics: planted by the parameters of two members.
#[tokio::test]
async fn a_record_that_crashes_a_release_is_set_aside_and_the_region_goes_on() {
    let (mut scene, account, site) = with_site(5);
    let trap = scene.deploy_record(0, site, "poison", 0);
    let poison = trap.id();
    let bytes = trap.bytes().to_vec();
    let planted = Parameters {
        trap: Some(Trap::Panic(poison)),
        ..scene.parameters.clone()
    };
    let mut members = Vec::new();
    for number in 0..5 {
        let parameters = if number < 2 {
            planted.clone()
        } else {
            scene.parameters.clone()
        };
        let member = Member::start_with(&scene, number, KindTable::default(), parameters);
        members.push(member.await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    let record = Record::parse(&bytes).unwrap();
    members[3].replica.take_in(vec![record]).await.unwrap();
    members[4].holds(poison).await;
    members[4]
        .write(|author, effect| {
            let body = deploy_body("good", account, 0);
            author.deploy(effect, site, body).unwrap()
        })
        .await;
    in_step(&members.iter().collect::<Vec<_>>()).await;
    for (number, member) in members.iter().enumerate() {
        let core = member.replica.lock().await;
        let skip = &core.exchange().holding().parameters().skip;
        // Set aside where it crashes, passed on all the same.
        assert_eq!(skip.contains(&poison), number < 2, "member {number}");
        let effect = core.exchange().holding().effect();
        assert!(effect.record(&poison).is_some());
        let head = effect.sites[&site].head().unwrap();
        assert_eq!(head.body().version, deploy_body("good", account, 0).version);
    }
}

/// All nodes have other addresses than their records say, as after a provider of lines has given
/// everybody new ones: who has a name finds who stands there, and so everybody else.
#[tokio::test]
async fn nodes_whose_addresses_all_changed_find_each_other_by_a_known_name() {
    let (scene, account, site) = with_site(3);
    // The records name ports of documentation addresses at which nobody answers.
    let mut members = vec![Member::start(&scene, 0, KindTable::default()).await];
    let place = |member: &Member| format!("localhost:{}", member.address().port());
    let known = vec!["nowhere.invalid:4420".to_owned(), place(&members[0])];
    for number in 1..3 {
        members.push(Member::knowing(&scene, number, known.clone()).await);
    }
    let member = &mut members[1];
    let deploy = |author: &mut Author, effect: &Effect| {
        let body = deploy_body("found", account, 0);
        author.deploy(effect, site, body).unwrap()
    };
    member.write(deploy).await;
    in_step(&members.iter().collect::<Vec<_>>()).await;
    for member in &members {
        assert_eq!(member.effect().sites[&site].deploys.len(), 1);
    }
}

#[tokio::test]
async fn a_list_that_a_removal_names_is_fetched_from_a_peer() {
    let (scene, ..) = with_site(3);
    let mut members = Vec::new();
    for number in 0..2 {
        members.push(Member::start(&scene, number, KindTable::default()).await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    let gone = provider_key(2).provider();
    let list = RemovalList::of(&scene.effect(), gone.into());
    members[0].store.blobs().put(&list.encode()).unwrap();
    // The step that names it, by two of three.
    let mut step = scene.effect().chain.current().body.clone();
    step.providers.retain(|provider| provider.id != gone);
    step.removed.insert(gone.into(), list.digest());
    let effect = members[0].effect();
    let mut first = author(&scene, 0);
    let proposal = first.step(&effect, step).unwrap();
    let vote = author(&scene, 1).vote(proposal.id()).unwrap();
    members[0]
        .replica
        .take_in(vec![proposal, vote])
        .await
        .unwrap();
    members[1]
        .wait(|effect| effect.chain.current().body.number == 1)
        .await;
    assert_eq!(
        members[1].effect().missing_lists.len(),
        1,
        "it does not bind yet"
    );
    let bytes = members[1].network.fetch_list(list.digest()).await.unwrap();
    assert_eq!(bytes, list.encode());
    let read = RemovalList::decode(&bytes).unwrap();
    members[1].replica.learn_list(read).await;
    assert!(members[1].effect().missing_lists.is_empty());
    // Nobody gives out what no step names.
    let other = members[0].store.blobs().put(b"something else").unwrap();
    assert_eq!(members[1].network.fetch_list(other).await, None);
}

fn author(scene: &Scene, number: u8) -> Author {
    let key = provider_key(number);
    Author::provider(&key, scene.region, (crate::scene::log(number), 60))
}
