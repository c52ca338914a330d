//! Storing is not believing: what is kept and passed on, and what is refused.

use crate::scene::{
    Scene, account_body, deploy_body, node_body, provider_key, seed, slot, with_site,
};
use std::sync::Arc;
use verge_sync::net::Holding;
use verge_sync::record::cbor::Map;
use verge_sync::record::signature::{Signature, SignatureError};
use verge_sync::record::{
    Author, AuthorId, AuthorRule, Draft, Envelope, Kind, KindRow, KindTable, LogId, Record,
    Refusal, SubjectRule,
};
use verge_sync::{Digest, RecordId, RegionId};

fn kinds() -> KindTable {
    let row = |number, name, subject, author| KindRow {
        number,
        name,
        subject,
        author,
    };
    KindTable::new(vec![
        row(
            Kind::SEAL,
            "seal",
            SubjectRule::AuthorAndDay,
            AuthorRule::Node,
        ),
        row(
            Kind::CHECKPOINT,
            "checkpoint",
            SubjectRule::AuthorAndNode,
            AuthorRule::Node,
        ),
        row(
            Kind::CERTIFICATE,
            "certificate",
            SubjectRule::DigestAndAuthor,
            AuthorRule::Node,
        ),
        row(Kind::CLOSE, "close", SubjectRule::Month, AuthorRule::Member),
        row(Kind(200), "ours", SubjectRule::Author, AuthorRule::Provider),
    ])
}

fn foreign(author: &mut Author, scene: &Scene, kind: Kind, subject: Vec<u8>) -> Record {
    let body = Map::new().text(0, "opaque").finish();
    author
        .foreign(&scene.effect(), kind, (subject, body), Vec::new())
        .unwrap()
}

#[test]
fn foreign_kinds_keep_to_their_rows() {
    let mut scene = Scene::new(2);
    scene.kinds = kinds();
    let node = *scene.nodes[0].id().as_bytes();
    let other = *scene.nodes[1].id().as_bytes();
    let provider = *scene.providers[0].id().as_bytes();
    let join = |parts: &[&[u8]]| parts.concat();
    let (subject, author) = (Some(Refusal::Subject), Some(Refusal::Author));
    let rows: Vec<(Kind, bool, Vec<u8>, Option<Refusal>)> = vec![
        (Kind::SEAL, true, join(&[&node, &[0, 0, 80, 1]]), None),
        (Kind::SEAL, true, join(&[&other, &[0, 0, 80, 1]]), subject),
        (Kind::SEAL, true, join(&[&node, &[0, 80, 1]]), subject),
        (Kind::SEAL, true, node.to_vec(), subject),
        (
            Kind::SEAL,
            false,
            join(&[&provider, &[0, 0, 80, 1]]),
            author,
        ),
        (Kind::CHECKPOINT, true, join(&[&node, &other]), None),
        (
            Kind::CHECKPOINT,
            true,
            join(&[&node, &[9; 32]]),
            Some(Refusal::Ahead),
        ),
        (Kind::CHECKPOINT, true, join(&[&other, &node]), subject),
        (Kind::CERTIFICATE, true, join(&[&[7; 32], &node]), None),
        (Kind::CERTIFICATE, true, join(&[&node, &[7; 32]]), subject),
        (Kind::CERTIFICATE, true, vec![7; 31], subject),
        (Kind::CLOSE, true, vec![0, 0, 2, 1], None),
        (Kind::CLOSE, false, vec![0, 0, 2, 1], None),
        (Kind::CLOSE, false, vec![0, 2, 1], subject),
        (Kind(200), false, provider.to_vec(), None),
        (Kind(200), false, node.to_vec(), subject),
        (Kind(200), true, node.to_vec(), author),
    ];
    for (kind, by_node, bytes, refusal) in rows {
        let mut author = if by_node {
            Author::node(&seed(0), scene.region, (LogId([5; 8]), 0))
        } else {
            Author::provider(&provider_key(0), scene.region, (LogId([5; 8]), 0))
        };
        let record = foreign(&mut author, &scene, kind, bytes.clone());
        assert_eq!(
            scene.admit(&record).err(),
            refusal,
            "{kind:?} {by_node} {bytes:?}"
        );
    }
}

#[test]
fn an_unknown_kind_is_kept_without_effect_under_its_authors_limit() {
    let mut scene = Scene::new(1);
    let before = scene.effect();
    let mut node = Author::node(&seed(0), scene.region, (LogId([5; 8]), 0));
    let first = foreign(&mut node, &scene, Kind(40_000), b"x".to_vec());
    scene.add(first.clone());
    let after = scene.effect();
    assert_eq!((&after.names, &after.sites), (&before.names, &before.sites));
    assert!(after.record(&first.id()).is_some() && after.unreadable.is_empty());
    let by_provider = foreign(&mut scene_provider(&scene), &scene, Kind(40_000), vec![]);
    assert_eq!(scene.admit(&by_provider), Ok(()));
    // Of more than the limit the lowest ids stay, whichever came first.
    let mut ids: Vec<RecordId> = Vec::new();
    let mut holding = holding(&scene);
    for part in 0..2 {
        let records: Vec<Record> = (0..2_100)
            .map(|n| foreign_at(&scene, part * 2_100 + n + 1))
            .collect();
        ids.extend(records.iter().map(|record| record.id()));
        let taken = holding.offer(records);
        assert_eq!(taken.evicted.is_empty(), part == 0);
    }
    ids.push(first.id());
    ids.sort_unstable();
    let is_held = |id: &&RecordId| holding.record(id).is_some();
    assert_eq!(ids.iter().filter(is_held).count(), 4_096);
    assert!(ids.iter().take(4_096).all(|id| is_held(&id)));
}

fn holding(scene: &Scene) -> Holding {
    let (parameters, kinds) = (scene.parameters.clone(), scene.kinds.clone());
    Holding::new(&scene.records, parameters, kinds).unwrap()
}

/// A forger spoils the signature of a record, or signs it with a key of its own, and is faster than
/// the record itself: the id, which covers no signature, must not be shut out.
#[test]
fn a_record_is_taken_after_forms_of_it_with_wrong_signatures() {
    let (mut scene, account, site) = with_site(2);
    let mut holding = holding(&scene);
    let effect = scene.effect();
    let draft = scene.nodes[0]
        .draft_deploy(&effect, site, deploy_body("x", account, 0))
        .unwrap();
    let genuine = draft.sign(&seed(0).record_key()).unwrap();
    let by_other = draft.sign(&seed(1).record_key()).unwrap();
    let mut bytes = genuine.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let spoilt = Record::parse(&bytes).unwrap();
    for wrong in [spoilt, by_other] {
        assert_eq!(wrong.id(), genuine.id());
        assert!(holding.offer([wrong]).new.is_empty());
        assert!(!holding.knows(&genuine.id()), "it is still to be fetched");
    }
    assert_eq!(holding.offer([genuine]).new.len(), 1);
}

fn scene_provider(scene: &Scene) -> Author {
    Author::provider(&provider_key(0), scene.region, (LogId([6; 8]), 0))
}

fn foreign_at(scene: &Scene, n: u32) -> Record {
    let envelope = Envelope {
        region: scene.region,
        kind: Kind(40_000),
        subject: n.to_be_bytes().to_vec(),
        author: scene.nodes[0].id(),
        log: LogId([5; 8]),
        n: u64::from(n),
        epoch: 0,
        sequence: 1,
        predecessors: Vec::new(),
    };
    Draft {
        envelope,
        body: vec![0xa0],
    }
    .sign(&seed(0).record_key())
    .unwrap()
}

#[test]
fn strangers_and_wrong_keys_are_refused() {
    let (mut scene, account, site) = with_site(1);
    let effect = scene.effect();
    let body = || deploy_body("x", account, 0);
    let log = (LogId([5; 8]), 0);
    let mut stranger = Author::node(&seed(9), scene.region, log);
    let record = stranger.deploy(&effect, site, body()).unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Author));
    // The node's id with a key of somebody else's.
    let id: AuthorId = scene.nodes[0].id();
    let mut forger = Author::new(id, seed(9).record_key(), scene.region, log);
    let record = forger.deploy(&effect, site, body()).unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Author));
    // The right record, with its signature spoilt.
    let record = scene.nodes[0].deploy(&effect, site, body()).unwrap();
    let mut bytes = record.bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let spoilt = Record::parse(&bytes).unwrap();
    assert_eq!(spoilt.id(), record.id());
    let expected = Err(Refusal::Signature(SignatureError::Mismatch));
    assert_eq!(scene.admit(&spoilt), expected);
    scene.add(record);
    assert_eq!(
        scene.admit(&spoilt),
        expected,
        "also of a record that is known"
    );
    // Another region's.
    let elsewhere = RegionId::from_bytes([1; 32]);
    let mut node = Author::node(&seed(0), elsewhere, log);
    let record = node.deploy(&effect, site, body()).unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Region));
}

#[test]
fn subjects_outside_of_the_authors_space_are_refused() {
    let (mut scene, account, _) = with_site(2);
    let effect = scene.effect();
    // A node's slot of another provider, another's account counter, a node without proof.
    let body = node_body(1).proven(&scene.region, slot(0), &seed(1).transport_key());
    let record = scene.providers[1]
        .node_record(&effect, slot(0), body)
        .unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Subject));
    let record = scene.providers[0]
        .node_record(&effect, slot(0), node_body(0))
        .unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Proof));
    let (_, record) = scene.providers[1]
        .new_account(&effect, slot(0), account_body("x"))
        .unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Right));
    let body = verge_sync::record::Site::new(account);
    let (_, record) = scene.nodes[1].new_site(&effect, slot(0), body).unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Right));
    let unknown = RecordId::from_bytes([3; 32]);
    let record = scene.providers[0].vote(unknown).unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Ahead));
    let target = Digest::of(b"nothing");
    let body = verge_sync::record::Takedown {
        active: true,
        reason: String::new(),
    };
    let record = scene.providers[0].takedown(&effect, target, body).unwrap();
    assert_eq!(scene.admit(&record), Err(Refusal::Ahead));
}

#[test]
fn a_body_of_a_later_release_is_kept_and_shown() {
    let (scene, _, site) = with_site(1);
    let envelope = Envelope {
        region: scene.region,
        kind: Kind::DEPLOY,
        subject: site.as_bytes().to_vec(),
        author: scene.nodes[0].id(),
        log: LogId([5; 8]),
        n: 1,
        epoch: 0,
        sequence: 1,
        predecessors: Vec::new(),
    };
    let record = Draft {
        envelope,
        body: vec![0xa0],
    }
    .sign(&seed(0).record_key())
    .unwrap();
    let mut scene = scene;
    let id = scene.add(record);
    assert!(scene.effect().unreadable.contains(&id));
    assert_eq!(scene.head(site), None);
    // Others go on after it.
    let next = scene.deploy(0, site, "next");
    assert_eq!(scene.head(site), Some(next));
}

#[test]
fn of_two_byte_forms_the_lower_digest_is_kept() {
    let (mut scene, account, site) = with_site(1);
    let effect = scene.effect();
    let draft = scene.nodes[0]
        .draft_deploy(&effect, site, deploy_body("x", account, 0))
        .unwrap();
    let own = Arc::new(draft.sign(&seed(0).record_key()).unwrap());
    // A second signature of the same key over the same message, with another nonce.
    let ssh = sshsig(&draft.message());
    let other = Arc::new(draft.attach(&ssh).unwrap());
    assert_eq!(own.id(), other.id());
    assert_ne!(own.precedes(&other), other.precedes(&own));
    let kept = if own.precedes(&other) { &own } else { &other };
    for pair in [[&own, &other], [&other, &own]] {
        let mut records = scene.records.clone();
        records.extend(pair.map(Arc::clone));
        let effect = verge_sync::record::effect(&records, &scene.parameters).unwrap();
        assert_eq!(effect.record(&own.id()).unwrap().bytes(), kept.bytes());
    }
}

/// What `ssh-keygen -Y sign -n verge` makes, by node 0's record key.
fn sshsig(message: &[u8]) -> Signature {
    use ed25519_dalek::Signer;
    use sha2::Digest as _;
    let string = |content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [length.as_slice(), content].concat()
    };
    let key = seed(0).record_key();
    let hash = sha2::Sha512::digest(message);
    let tail = [string(b"verge"), string(b""), string(b"sha512")].concat();
    let covered = [b"SSHSIG".as_slice(), &tail, &string(&hash)].concat();
    let typed = |bytes: &[u8]| string(&[string(b"ssh-ed25519"), string(bytes)].concat());
    let public = typed(key.verifying_key().as_bytes());
    let signature = typed(&key.sign(&covered).to_bytes());
    let blob = [b"SSHSIG\0\0\0\x01".as_slice(), &public, &tail, &signature].concat();
    Signature::ssh(&blob).unwrap()
}

#[test]
fn what_a_key_elsewhere_signs_is_a_draft_that_is_the_same_each_time() {
    let mut scene = Scene::new(2);
    let id = provider_key(0).provider();
    let ask = |scene: &Scene, name: &str| {
        let mut author = Author::away(id, scene.region);
        let asked = author.new_account(&scene.effect(), slot(0), account_body(name));
        let Err(verge_sync::record::WriteError::KeyElsewhere(draft)) = asked else {
            panic!("nobody can have signed: {asked:?}");
        };
        *draft
    };
    let (ana, ben) = (ask(&scene, "ana"), ask(&scene, "ben"));
    assert_eq!(ana, ask(&scene, "ana"));
    assert_ne!(ana.envelope.log, ben.envelope.log);
    assert_eq!((ana.envelope.n, ana.envelope.author), (1, id.into()));
    // It goes to where the key is and comes back as an admissible record; another key's is none.
    let carried = Draft::from_bytes(&ana.to_bytes()).unwrap();
    let forged = carried.sign(provider_key(1).signing_key()).unwrap();
    assert_eq!(scene.admit(&forged), Err(Refusal::Author));
    let signed = carried.sign(provider_key(0).signing_key()).unwrap();
    assert_eq!(scene.admit(&signed), Ok(()));
    scene.add(signed);
    assert_eq!(scene.effect().accounts.len(), 1);
    assert!(scene.effect().evidence.is_empty());
    assert_ne!(ask(&scene, "ben").envelope.subject, ben.envelope.subject);
}
