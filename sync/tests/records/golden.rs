//! One signed record of each owned kind, and one of a future kind: bytes that are kept for ever.
//!
//! A file that is missing is not written by the test: `golden` files change only by hand, and never
//! once released.

use crate::scene::{
    account_body, deploy_body, log, name_body, node_body, provider_key, seed, slot, step,
};
use std::path::PathBuf;
use verge_sync::keys::Seed;
use verge_sync::record::body::Node;
use verge_sync::record::cbor::Map;
use verge_sync::record::{
    Acme, Actors, Author, AuthorId, Body, Cause, Draft, GitSource, HostProof, Kind, NameKind,
    Record, Region, Site, Takedown, Takeout, Tombstone, UserKey, Vote,
};
use verge_sync::record::{Effect, Parameters, effect};
use verge_sync::{AccountId, Digest, RecordId, RegionId, SiteId};

fn region() -> Region {
    let sponsor = provider_key(1).provider();
    Region {
        recovery_key: Some([77; 32]),
        acme: Some(Acme {
            directory: "https://acme.example/directory".to_owned(),
            account: "https://acme.example/account/1".to_owned(),
            thumbprints: vec!["LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ".to_owned()],
            identities: Vec::new(),
        }),
        removed: [(AuthorId::from_bytes([5; 32]), Digest::of(b""))].into(),
        sponsors: [(AccountId::from_bytes([6; 32]), sponsor)].into(),
        takedowns: [Digest::of(b"a site")].into(),
        host_proof: HostProof::Dns,
        ..step(2)
    }
}

fn region_and_effect() -> (RegionId, Effect, Record) {
    let first = Author::found(&provider_key(0), log(0), region()).unwrap();
    let region = first.region();
    let records = [std::sync::Arc::new(first.clone())];
    let effect = effect(&records, &Parameters::new(region, Default::default())).unwrap();
    (region, effect, first)
}

/// Every golden record, made again from fixed keys.
pub(crate) fn all() -> Vec<(&'static str, Record)> {
    let (region, effect, first) = region_and_effect();
    let target: RecordId = first.id();
    let mut provider = Author::provider(&provider_key(0), region, (log(0), 1));
    let mut node = Author::node(&seed(0), region, (log(1), 0));
    let mut account = account_body("Ana Ruiz");
    account.keys.push(UserKey::Signing([8; 32]));
    account.acts = Actors::These(vec![provider_key(0).provider()]);
    let (id, account) = provider.new_account(&effect, slot(0), account).unwrap();
    let site = Site {
        branch: "pages".to_owned(),
        quota_bytes: 1 << 33,
        admit: Actors::NONE,
        takeout: Takeout::Public,
        private: true,
        branches: true,
        as_of: Some(target),
        base: Some(target),
        ..Site::new(id)
    };
    let (site, site_record) = node.new_site(&effect, slot(0), site).unwrap();
    let proven = node_body(0).proven(&region, slot(0), &seed(0).transport_key());
    let lifted = Takedown {
        active: true,
        reason: "court order 7".to_owned(),
    };
    let ended = Tombstone {
        reason: "moved away".to_owned(),
    };
    vec![
        ("region", first),
        ("vote", provider.vote(target).unwrap()),
        (
            "node",
            provider.node_record(&effect, slot(0), proven).unwrap(),
        ),
        ("leave", node.leave("the house is sold").unwrap()),
        ("account", account),
        ("site", site_record),
        ("name", named(&mut node, &effect, id, site)),
        ("deploy", deployed(region, id, site)),
        (
            "takedown",
            provider.takedown(&effect, site.digest(), lifted).unwrap(),
        ),
        (
            "tombstone",
            provider.tombstone(site.digest(), ended).unwrap(),
        ),
        ("future", future(region)),
        (
            "vote-withdrawn",
            node.host_vote(&effect, target, Vote::Withdrawn).unwrap(),
        ),
        ("node-visitors", visited(&mut provider, &effect)),
    ]
}

/// A node that says where visitors find it.
fn visited(provider: &mut Author, effect: &Effect) -> Record {
    let body = Node {
        visitors: vec!["192.0.2.7:443".to_owned(), "web.example:8443".to_owned()],
        ..node_body(0)
    };
    let body = body.proven(&effect.region, slot(0), &seed(0).transport_key());
    provider.node_record(effect, slot(0), body).unwrap()
}

fn named(node: &mut Author, effect: &Effect, account: AccountId, site: SiteId) -> Record {
    let mut body = name_body(NameKind::Host, "ana.example", site.digest());
    body.proof = Some(b"seen by two".to_vec());
    // At a place of our own: where a claim goes is no part of the format.
    node.name(effect, account, 0, body).unwrap()
}

fn deployed(region: RegionId, account: AccountId, site: SiteId) -> Record {
    let mut body = deploy_body("hello", account, 1_795_000_000);
    body.git = Some(GitSource {
        sequence: Some(Digest::of(b"bundle")),
        commit: vec![0xc0; 20],
    });
    body.cause = Cause::Rollback;
    body.provider = provider_key(0).provider();
    let mut draft = draft(region, Kind::DEPLOY, Body::Deploy(body).encode());
    draft.envelope.subject = site.as_bytes().to_vec();
    draft.envelope.epoch = 3;
    draft.envelope.sequence = 2;
    draft.envelope.predecessors =
        vec![RecordId::from_bytes([1; 32]), RecordId::from_bytes([2; 32])];
    draft.sign(&seed(0).record_key()).unwrap()
}

fn draft(region: RegionId, kind: Kind, body: Vec<u8>) -> Draft {
    let envelope = verge_sync::record::Envelope {
        region,
        kind,
        subject: b"anything".to_vec(),
        author: seed(0).node_id().into(),
        log: log(1),
        n: 7,
        epoch: 0,
        sequence: 1,
        predecessors: Vec::new(),
    };
    Draft { envelope, body }
}

/// A kind that no release has, with a key in the envelope that none has either, signed over both.
fn future(region: RegionId) -> Record {
    let body = Map::new()
        .text(0, "later")
        .raw(700, &[0x82, 0xf5, 0x20])
        .finish();
    let known = draft(region, Kind(40_000), body)
        .sign(&seed(0).record_key())
        .unwrap();
    let fields = verge_sync::record::cbor::Fields::read(known.bytes()).unwrap();
    let map = |signature: Option<&[u8]>| {
        let map = (0..11).fold(Map::new(), |map, key| {
            map.raw(key, fields.raw(key).unwrap())
        });
        let map = signature.into_iter().fold(map, |map, row| map.raw(11, row));
        map.raw(12, &[0xa1, 0x00, 0xf4]).finish()
    };
    let id = RecordId::from_digest(Digest::of(&map(None)));
    let message = verge_sync::record::signature::message(40_000, &region, &id);
    let signature = verge_sync::record::Signature::raw(&seed(0).record_key(), &message);
    let mut row = vec![0x81, 0x83, 0x58, 0x20];
    row.extend_from_slice(&signature.key);
    row.extend_from_slice(&[0x00, 0x58, 0x40]);
    row.extend_from_slice(&signature.bytes);
    Record::parse(&map(Some(&row))).unwrap()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/records")
        .join(name)
}

#[test]
fn kept_bytes_are_still_what_is_written_and_read() {
    let ids = std::fs::read_to_string(file("ids.txt")).unwrap();
    let mut lines = ids.lines();
    for (name, record) in all() {
        let kept = std::fs::read(file(&format!("{name}.cbor"))).unwrap();
        assert_eq!(record.bytes(), kept, "{name} is written as it always was");
        let read = Record::parse(&kept).unwrap();
        assert_eq!(read.verify(), Ok(()), "{name}");
        assert_eq!(lines.next(), Some(format!("{name} {}", read.id()).as_str()));
        let fields = verge_sync::record::cbor::Fields::read(&kept).unwrap();
        if read.envelope().kind.is_owned() {
            assert_eq!(
                read.body().unwrap().encode(),
                fields.raw(10).unwrap(),
                "{name}"
            );
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn keys_of_a_seed_are_fixed() {
    let seed = Seed::from_bytes([42; 32]);
    let keys = [
        Digest::from_bytes(*seed.node_id().as_bytes()).to_string(),
        Digest::from_bytes(seed.record_key().verifying_key().to_bytes()).to_string(),
        Digest::from_bytes(*seed.sealing_key().public()).to_string(),
        Digest::of(seed.ticket_key().as_bytes()).to_string(),
    ];
    assert_eq!(
        std::fs::read_to_string(file("keys.txt")).unwrap(),
        keys.join("\n") + "\n"
    );
}
