//! Bytes that are records, and all the ways in which they are not.

use crate::scene::{cases, deploy_body, log, provider_key};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use verge_sync::record::cbor::{self, CborError, Map};
use verge_sync::record::kinds::{Kind, Subject};
use verge_sync::record::signature::{self, Signature, SignatureError};
use verge_sync::record::{AuthorId, Body, Draft, Envelope, Record, RecordError};
use verge_sync::{AccountId, RecordId, RegionId};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

const ITEMS: &[(&str, Result<(), CborError>)] = &[
    // Integers, in every width, at both ends.
    ("00", Ok(())),
    ("17", Ok(())),
    ("1800", Err(CborError::NotShortest(0))),
    ("1817", Err(CborError::NotShortest(0))),
    ("1818", Ok(())),
    ("18ff", Ok(())),
    ("190000", Err(CborError::NotShortest(0))),
    ("1900ff", Err(CborError::NotShortest(0))),
    ("190100", Ok(())),
    ("19ffff", Ok(())),
    ("1a0000ffff", Err(CborError::NotShortest(0))),
    ("1a00010000", Ok(())),
    ("1affffffff", Ok(())),
    ("1b00000000ffffffff", Err(CborError::NotShortest(0))),
    ("1b0000000100000000", Ok(())),
    ("1bffffffffffffffff", Ok(())),
    ("20", Ok(())),
    ("37", Ok(())),
    ("3817", Err(CborError::NotShortest(0))),
    ("3818", Ok(())),
    ("3900ff", Err(CborError::NotShortest(0))),
    ("390100", Ok(())),
    ("3bffffffffffffffff", Ok(())),
    // Cut short.
    ("", Err(CborError::Truncated(0))),
    ("18", Err(CborError::Truncated(0))),
    ("1901", Err(CborError::Truncated(0))),
    ("1a010000", Err(CborError::Truncated(0))),
    ("1b01000000000000", Err(CborError::Truncated(0))),
    ("41", Err(CborError::Truncated(0))),
    ("4201", Err(CborError::Truncated(0))),
    ("61", Err(CborError::Truncated(0))),
    ("81", Err(CborError::Truncated(1))),
    ("8201", Err(CborError::Truncated(2))),
    ("a1", Err(CborError::Truncated(1))),
    ("a101", Err(CborError::Truncated(2))),
    ("a20001", Err(CborError::Truncated(3))),
    ("5affffffff", Err(CborError::Truncated(0))),
    ("5bffffffffffffffff", Err(CborError::Truncated(0))),
    ("7bffffffffffffffff", Err(CborError::Truncated(0))),
    ("9bffffffffffffffff", Err(CborError::Truncated(9))),
    ("bbffffffffffffffff", Err(CborError::Truncated(9))),
    // More than one item.
    ("0000", Err(CborError::Trailing(1))),
    ("a000", Err(CborError::Trailing(1))),
    ("8000", Err(CborError::Trailing(1))),
    ("f4f4", Err(CborError::Trailing(1))),
    // Reserved heads and indefinite lengths.
    ("1c", Err(CborError::Head(0))),
    ("1d", Err(CborError::Head(0))),
    ("1e", Err(CborError::Head(0))),
    ("1f", Err(CborError::Head(0))),
    ("3c", Err(CborError::Head(0))),
    ("5f4101ff", Err(CborError::Head(0))),
    ("7f6161ff", Err(CborError::Head(0))),
    ("9f00ff", Err(CborError::Head(0))),
    ("bf0000ff", Err(CborError::Head(0))),
    ("5c", Err(CborError::Head(0))),
    ("dc", Err(CborError::Head(0))),
    ("ff", Err(CborError::Head(0))),
    // Tags, floats, simple values.
    ("c000", Err(CborError::Tag(0))),
    ("c100", Err(CborError::Tag(0))),
    ("d81800", Err(CborError::Tag(0))),
    ("d9d9f700", Err(CborError::Tag(0))),
    ("81c000", Err(CborError::Tag(1))),
    ("e0", Err(CborError::Simple(0))),
    ("f0", Err(CborError::Simple(0))),
    ("f3", Err(CborError::Simple(0))),
    ("f4", Ok(())),
    ("f5", Ok(())),
    ("f6", Err(CborError::Simple(0))),
    ("f7", Err(CborError::Simple(0))),
    ("f8ff", Err(CborError::Simple(0))),
    ("f90000", Err(CborError::Simple(0))),
    ("fa00000000", Err(CborError::Simple(0))),
    ("fb0000000000000000", Err(CborError::Simple(0))),
    ("fb7ff8000000000000", Err(CborError::Simple(0))),
    ("a100f6", Err(CborError::Simple(2))),
    // Strings.
    ("40", Ok(())),
    ("60", Ok(())),
    ("4101", Ok(())),
    ("6161", Ok(())),
    ("62c3a9", Ok(())),
    ("61ff", Err(CborError::Utf8(0))),
    ("62c328", Err(CborError::Utf8(0))),
    ("63eda080", Err(CborError::Utf8(0))),
    ("62c080", Err(CborError::Utf8(0))),
    ("5801ff", Err(CborError::NotShortest(0))),
    ("590001ff", Err(CborError::NotShortest(0))),
    ("780161", Err(CborError::NotShortest(0))),
    ("980100", Err(CborError::NotShortest(0))),
    ("b8010000", Err(CborError::NotShortest(0))),
    // Maps: unsigned keys, ascending, none twice.
    ("a0", Ok(())),
    ("a10000", Ok(())),
    ("a200000100", Ok(())),
    ("a217001818 00", Ok(())),
    ("a201000000", Err(CborError::Key(3))),
    ("a200000000", Err(CborError::Key(3))),
    ("a12000", Err(CborError::Key(1))),
    ("a1610000", Err(CborError::Key(1))),
    ("a1410000", Err(CborError::Key(1))),
    ("a1f400", Err(CborError::Key(1))),
    ("a18000", Err(CborError::Key(1))),
    ("a1a000", Err(CborError::Key(1))),
    ("a1c00000", Err(CborError::Key(1))),
    ("a1180000", Err(CborError::NotShortest(1))),
    ("a100a201000000", Err(CborError::Key(5))),
    // Depth.
    ("8181818181818180", Ok(())),
    ("818181818181818180", Err(CborError::Depth(8))),
    ("81818181818181a0", Ok(())),
    ("8181818181818181a0", Err(CborError::Depth(8))),
    ("a100a100a100a100a100a100a100a0", Ok(())),
    ("a100a100a100a100a100a100a100a10000", Ok(())),
    (
        "a100a100a100a100a100a100a100a100a0",
        Err(CborError::Depth(16)),
    ),
    ("818181818181818100", Ok(())),
];

#[test]
fn canonical_items() {
    for (bytes, expected) in ITEMS {
        assert_eq!(cbor::check(&hex(bytes)), *expected, "{bytes}");
    }
}

fn envelope(kind: Kind, subject: Vec<u8>) -> Envelope {
    Envelope {
        region: RegionId::from_bytes([9; 32]),
        kind,
        subject,
        author: AuthorId::from(provider_key(0).provider()),
        log: log(1),
        n: 1,
        epoch: 0,
        sequence: 1,
        predecessors: Vec::new(),
    }
}

fn draft() -> Draft {
    let body = deploy_body("x", AccountId::from_bytes([3; 32]), 0);
    Draft {
        envelope: envelope(Kind::DEPLOY, vec![4; 32]),
        body: Body::Deploy(body).encode(),
    }
}

fn ids(count: u8) -> Vec<RecordId> {
    (0..count).map(|n| RecordId::from_bytes([n; 32])).collect()
}

type Change = fn(&mut Draft);

const ENVELOPES: &[(&str, Change, Option<RecordError>)] = &[
    ("as it is", |_| {}, None),
    (
        "largest numbers",
        |d| {
            d.envelope.n = u64::MAX;
            d.envelope.epoch = u32::MAX;
            d.envelope.sequence = 4_096;
            d.envelope.predecessors = ids(8);
        },
        None,
    ),
    (
        "n 0",
        |d| d.envelope.n = 0,
        Some(RecordError::Envelope(cbor::FieldError::Value(6))),
    ),
    (
        "sequence 0",
        |d| d.envelope.sequence = 0,
        Some(RecordError::Sequence(0)),
    ),
    (
        "sequence 2 after nothing",
        |d| d.envelope.sequence = 2,
        Some(RecordError::Sequence(2)),
    ),
    (
        "sequence 4097",
        |d| {
            d.envelope.sequence = 4_097;
            d.envelope.predecessors = ids(1);
        },
        Some(RecordError::Sequence(4_097)),
    ),
    (
        "largest sequence",
        |d| {
            d.envelope.sequence = u32::MAX;
            d.envelope.predecessors = ids(1);
        },
        Some(RecordError::Sequence(u32::MAX)),
    ),
    (
        "9 predecessors",
        |d| d.envelope.predecessors = ids(9),
        Some(RecordError::Predecessors),
    ),
    (
        "order",
        |d| d.envelope.predecessors.extend(ids(2).iter().rev()),
        Some(RecordError::Predecessors),
    ),
    (
        "twice",
        |d| d.envelope.predecessors = vec![ids(1)[0]; 2],
        Some(RecordError::Predecessors),
    ),
    ("subject of 64", |d| d.envelope.subject = vec![1; 64], None),
    (
        "subject of 65",
        |d| d.envelope.subject = vec![1; 65],
        Some(RecordError::Envelope(cbor::FieldError::Value(3))),
    ),
    (
        "body is no map",
        |d| d.body = vec![0x80],
        Some(RecordError::Envelope(cbor::FieldError::Value(10))),
    ),
    (
        "body is a number",
        |d| d.body = vec![0],
        Some(RecordError::Envelope(cbor::FieldError::Value(10))),
    ),
    (
        "body of an unknown shape",
        |d| d.body = vec![0xa1, 0x18, 0x63, 0xf5],
        None,
    ),
    ("largest kind", |d| d.envelope.kind = Kind(u16::MAX), None),
    (
        "body is not canonical",
        |d| d.body = vec![0xa1, 0x18, 0x01, 0xf5],
        Some(RecordError::Cbor(CborError::NotShortest(130))),
    ),
];

#[test]
fn envelopes() {
    for (name, change, expected) in ENVELOPES {
        let mut draft = draft();
        change(&mut draft);
        let result = draft.sign(provider_key(0).signing_key());
        assert_eq!(result.as_ref().err(), expected.as_ref(), "{name}");
        if let Ok(record) = result {
            assert_eq!(record.id(), draft.id(), "{name}");
            assert_eq!(
                Record::parse(record.bytes()).as_ref(),
                Ok(&record),
                "{name}"
            );
        }
    }
}

#[test]
fn sizes_on_each_side() {
    let mut draft = draft();
    let empty = draft_with_body_of(&mut draft, 3).unwrap().bytes().len() - 3;
    let room = 2_048 - empty;
    for (bytes, fits) in [(room, true), (room + 1, false)] {
        assert_eq!(
            draft_with_body_of(&mut draft, bytes).is_ok(),
            fits,
            "{bytes}"
        );
    }
    draft.envelope.kind = Kind::REGION;
    assert!(draft_with_body_of(&mut draft, room + 1).is_ok());
    // The kind is one byte either way, so the frame of a step is as long; only string heads grow.
    let room = (64 << 10) - empty;
    assert!(draft_with_body_of(&mut draft, room).is_ok());
    assert!(draft_with_body_of(&mut draft, room + 1).is_err());
}

/// A body of exactly `bytes` bytes: `{0: h'00..'}`.
fn draft_with_body_of(draft: &mut Draft, bytes: usize) -> Result<Record, RecordError> {
    let head = match bytes {
        0..=25 => 3,
        26..=258 => 4,
        259..=65_538 => 5,
        _ => 7,
    };
    draft.body = Map::new().bytes(0, &vec![0; bytes - head]).finish();
    assert_eq!(draft.body.len(), bytes);
    draft.sign(provider_key(0).signing_key())
}

#[test]
fn every_missing_key_and_every_wrong_type_is_refused() {
    let good = draft().sign(provider_key(0).signing_key()).unwrap();
    let fields = cbor::Fields::read(good.bytes()).unwrap();
    let values: [&[u8]; 8] = [
        &[0x00],
        &[0x18, 0xff],
        &[0x20],
        &[0x40],
        &[0x60],
        &[0x80],
        &[0xa0],
        &[0xf5],
    ];
    let mut refused = 0;
    for changed in 0..12 {
        for value in std::iter::once(None).chain(values.iter().copied().map(Some)) {
            let map = (0..12).fold(Map::new(), |map, key| match (key == changed, value) {
                (true, None) => map,
                (true, Some(value)) => map.raw(key, value),
                (false, _) => map.raw(key, fields.raw(key).unwrap()),
            });
            let parsed = Record::parse(&map.finish());
            // What still is a record has another id than what was signed.
            let holds = parsed.as_ref().is_ok_and(|record| record.verify().is_ok());
            assert!(
                !holds || value == fields.raw(changed),
                "{changed} {value:?}"
            );
            refused += u32::from(parsed.is_err());
        }
    }
    assert!(refused > 90, "{refused} of 108");
}

#[test]
fn every_changed_byte_is_noticed() {
    let good = draft().sign(provider_key(0).signing_key()).unwrap();
    for position in 0..good.bytes().len() {
        let mut bytes = good.bytes().to_vec();
        bytes[position] ^= 1;
        let holds = Record::parse(&bytes).is_ok_and(|record| record.verify().is_ok());
        assert!(!holds, "byte {position}");
        assert!(
            Record::parse(&bytes[..position]).is_err(),
            "cut at {position}"
        );
    }
}

#[test]
fn unknown_keys_stay_in_the_bytes_and_in_the_id() {
    let good = draft().sign(provider_key(0).signing_key()).unwrap();
    let fields = cbor::Fields::read(good.bytes()).unwrap();
    let longer = (0..12).fold(Map::new(), |map, key| {
        map.raw(key, fields.raw(key).unwrap())
    });
    let bytes = longer.text(99, "later").finish();
    let record = Record::parse(&bytes).unwrap();
    assert_eq!(record.bytes(), bytes);
    assert_ne!(record.id(), good.id());
    assert_eq!(record.body(), good.body());
}

#[test]
fn other_formats_are_refused() {
    let good = draft().sign(provider_key(0).signing_key()).unwrap();
    let mut bytes = good.bytes().to_vec();
    assert_eq!(bytes[1..3], [0, 1]);
    bytes[2] = 2;
    assert_eq!(Record::parse(&bytes), Err(RecordError::Format(2)));
}

#[test]
fn a_draft_travels_to_its_key_and_back() {
    let draft = draft();
    let key = provider_key(0);
    assert_eq!(Draft::from_bytes(&draft.to_bytes()).as_ref(), Ok(&draft));
    let record = draft.sign(key.signing_key()).unwrap();
    assert_eq!(Draft::from_bytes(record.bytes()).as_ref(), Ok(&draft));
    let signature = Signature::raw(key.signing_key(), &draft.message());
    assert_eq!(draft.attach(&signature), Ok(record));
    let other = Signature::raw(key.signing_key(), b"another");
    let mismatch = RecordError::Signature(SignatureError::Mismatch);
    assert_eq!(draft.attach(&other), Err(mismatch));
    assert!(Draft::from_bytes(&[0xa0]).is_err());
}

#[test]
fn subjects() {
    let rows: &[(Kind, usize, u8, bool)] = &[
        (Kind::REGION, 4, 0, true),
        (Kind::REGION, 3, 0, false),
        (Kind::REGION, 5, 0, false),
        (Kind::VOTE, 64, 0, true),
        (Kind::VOTE, 63, 0, false),
        (Kind::NODE, 33, 0, true),
        (Kind::NODE, 33, 15, true),
        (Kind::NODE, 33, 16, false),
        (Kind::NODE, 32, 0, false),
        (Kind::NODE, 34, 0, false),
        (Kind::LEAVE, 32, 0, true),
        (Kind::LEAVE, 31, 0, false),
        (Kind::ACCOUNT, 35, 15, true),
        (Kind::ACCOUNT, 35, 16, false),
        (Kind::ACCOUNT, 34, 0, false),
        (Kind::ACCOUNT, 36, 0, false),
        (Kind::SITE, 35, 0, true),
        (Kind::SITE, 35, 255, false),
        (Kind::SITE, 33, 0, false),
        (Kind::NAME, 33, 63, true),
        (Kind::NAME, 33, 64, false),
        (Kind::NAME, 32, 0, false),
        (Kind::DEPLOY, 32, 0, true),
        (Kind::DEPLOY, 33, 0, false),
        (Kind::TAKEDOWN, 64, 0, true),
        (Kind::TAKEDOWN, 65, 0, false),
        (Kind::TOMBSTONE, 32, 0, true),
        (Kind::TOMBSTONE, 0, 0, false),
        (Kind(99), 32, 0, false),
    ];
    for (kind, length, byte_32, valid) in rows {
        let mut bytes = vec![7; *length];
        if let Some(byte) = bytes.get_mut(32) {
            *byte = *byte_32;
        }
        let subject = Subject::decode(*kind, &bytes);
        assert_eq!(subject.is_some(), *valid, "{kind:?} {length} {byte_32}");
        if let Some(subject) = subject {
            assert_eq!(subject.encode(), bytes, "{kind:?}");
        }
    }
}

#[test]
fn bodies_with_a_wrong_key_are_not_decoded_and_do_not_panic() {
    let good: Vec<(Kind, Vec<u8>)> = crate::golden::all()
        .into_iter()
        .map(|(_, record)| {
            let body = cbor::Fields::read(record.bytes())
                .unwrap()
                .raw(10)
                .unwrap()
                .to_vec();
            (record.envelope().kind, body)
        })
        .collect();
    let values: [&[u8]; 9] = [
        &[0x18, 0xff],
        &[0x20],
        &[0x40],
        &[0x60],
        &[0x80],
        &[0xa0],
        &[0xf5],
        &[0x61, 0x0a],
        &[0x81, 0x81, 0x00],
    ];
    let (mut rows, mut refused) = (0, 0);
    for (kind, body) in good.iter().filter(|(kind, _)| kind.is_owned()) {
        let fields = cbor::Fields::read(body).unwrap();
        let keys: Vec<u64> = (0..32).filter(|key| fields.raw(*key).is_some()).collect();
        for changed in &keys {
            for value in std::iter::once(None).chain(values.iter().copied().map(Some)) {
                let map = keys
                    .iter()
                    .fold(Map::new(), |map, key| match (key == changed, value) {
                        (true, None) => map,
                        (true, Some(value)) => map.raw(*key, value),
                        (false, _) => map.raw(*key, fields.raw(*key).unwrap()),
                    });
                rows += 1;
                if let Ok(body) = Body::decode(*kind, &map.finish()) {
                    let again = Body::decode(*kind, &body.encode());
                    assert_eq!(again, Ok(body), "{kind:?} {changed} {value:?}");
                } else {
                    refused += 1;
                }
            }
        }
    }
    assert!(rows > 400 && refused > 300, "{refused} of {rows}");
}

#[test]
fn signatures() {
    let key = provider_key(0).signing_key().clone();
    let message = signature::message(8, &RegionId::from_bytes([1; 32]), &ids(1)[0]);
    let good = Signature::raw(&key, &message);
    assert_eq!(good.verify(&message), Ok(()));
    let mut long = good.clone();
    long.bytes.push(0);
    // s + the group order: the same point, another byte form.
    let mut malleable = good.clone();
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (byte, add) in malleable.bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let with = |key: [u8; 32], scheme| Signature {
        key,
        scheme,
        bytes: good.bytes.clone(),
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let rows = [
        ("other message", good.verify(b"x"), SignatureError::Mismatch),
        ("one byte more", long.verify(&message), SignatureError::Form),
        (
            "empty",
            Signature {
                bytes: vec![],
                ..good.clone()
            }
            .verify(&message),
            SignatureError::Form,
        ),
        (
            "malleable",
            malleable.verify(&message),
            SignatureError::Mismatch,
        ),
        (
            "small order",
            with(identity, 0).verify(&message),
            SignatureError::Key,
        ),
        (
            "no point",
            with([2; 32], 0).verify(&message),
            SignatureError::Key,
        ),
        (
            "scheme 2",
            with(good.key, 2).verify(&message),
            SignatureError::Scheme(2),
        ),
        (
            "scheme 255",
            with(good.key, 255).verify(&message),
            SignatureError::Scheme(255),
        ),
        (
            "not SSH",
            with(good.key, 1).verify(&message),
            SignatureError::Form,
        ),
    ];
    for (name, result, expected) in rows {
        assert_eq!(result, Err(expected), "{name}");
    }
}

/// Made by `ssh-keygen -Y sign` of OpenSSH 9.2 over the message of [`ssh_signatures`].
const SSH_SHA512: &str = "53534853494700000001000000330000000b7373682d6564323535313900000020f6915df1a4600078857ee5 \
         a576e58d16a380c6d3b097418e3c6a0dc1b26bf0ef0000000576657267650000000000000006736861353132 \
         000000530000000b7373682d65643235353139000000409e76d5d4d3029aac3c2ac4d7dcc18882887830c833 \
         234d0e8d9cfe6dbac036e835a80b5c65d65aa897d775293b65ac41e136a4d9ddfc264fe80e919ef2a09c0e";
const SSH_SHA256: &str = "53534853494700000001000000330000000b7373682d6564323535313900000020f6915df1a4600078857ee5 \
         a576e58d16a380c6d3b097418e3c6a0dc1b26bf0ef0000000576657267650000000000000006736861323536 \
         000000530000000b7373682d65643235353139000000409383315bc2c36110d3e0408bd987e5ed430fa58b91 \
         bec96399b8ce876776fe4140da1a431e8714b96d428bf345f643b70b96b374419afaeaf189168aefd9ff04";
const SSH_OTHER_NAMESPACE: &str = "53534853494700000001000000330000000b7373682d6564323535313900000020f6915df1a4600078857ee5 \
         a576e58d16a380c6d3b097418e3c6a0dc1b26bf0ef000000056f746865720000000000000006736861353132 \
         000000530000000b7373682d6564323535313900000040ccb74b36731ddb19e8013c18ea64c63e5a33266178 \
         70fb3168581b9ef4ac22f1dfda7bc0246ca410c3286879a4043c3583803b999cd4d0ded3d8a68272c87e04";

#[test]
fn ssh_signatures() {
    let message = signature::message(8, &RegionId::from_bytes([1; 32]), &ids(1)[0]);
    let rows = [
        (SSH_SHA512, Ok(())),
        (SSH_SHA256, Ok(())),
        (SSH_OTHER_NAMESPACE, Err(SignatureError::SshContext)),
    ];
    for (blob, expected) in rows {
        let signature = Signature::ssh(&hex(blob)).unwrap();
        assert_eq!(signature.verify(&message), expected, "{blob}");
        assert!(signature.verify(b"another").is_err());
        let other = Signature {
            key: [4; 32],
            ..signature
        };
        assert_eq!(other.verify(&message), Err(SignatureError::SshContext));
    }
    let blob = hex(SSH_SHA512);
    for position in 0..blob.len() {
        let mut changed = blob.clone();
        changed[position] ^= 1;
        let holds = Signature::ssh(&changed).is_ok_and(|s| s.verify(&message).is_ok());
        assert!(!holds, "byte {position}");
        assert!(
            Signature::ssh(&blob[..position]).is_err(),
            "cut at {position}"
        );
    }
    let longer = [blob.as_slice(), &[0]].concat();
    assert_eq!(Signature::ssh(&longer), Err(SignatureError::Form));
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let canonical = cbor::check(&bytes).is_ok();
        prop_assert!(Record::parse(&bytes).is_err() || canonical);
        let fields = cbor::Fields::read(&bytes);
        prop_assert!(fields.is_ok() || bytes.first().is_none_or(|b| b >> 5 != 5) || !canonical);
        for kind in 0..12 {
            let kind = Kind(kind);
            if let Some(subject) = Subject::decode(kind, &bytes) {
                prop_assert_eq!(subject.encode(), bytes.clone());
            }
            if let Ok(body) = Body::decode(kind, &bytes) {
                prop_assert_eq!(Body::decode(kind, &body.encode()), Ok(body));
            }
        }
        prop_assert!(Signature::ssh(&bytes).is_err());
    }

    #[test]
    fn damaged_records_never_panic(position in 0_usize..280, byte in any::<u8>()) {
        let good = draft().sign(provider_key(0).signing_key()).unwrap();
        let mut bytes = good.bytes().to_vec();
        let position = position % bytes.len();
        let same = bytes[position] == byte;
        bytes[position] = byte;
        let holds = Record::parse(&bytes).is_ok_and(|record| record.verify().is_ok());
        prop_assert_eq!(holds, same);
    }
}
