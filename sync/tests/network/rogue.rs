//! What a member that lies, floods or babbles can do, and a stranger: harm itself.

use crate::member::{Member, in_step, introduce};
use crate::scene::{deploy_body, seed, with_site};
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt, presets};
use iroh::{EndpointAddr, EndpointId, RelayMode, SecretKey, TransportAddr};
use std::time::Duration;
use verge_sync::net::{MESSAGE_BYTES_MAX, Message, Set};
use verge_sync::record::KindTable;

const RECORDS: &[u8] = b"verge/1/records";
const JOIN: &[u8] = b"verge/1/join";
/// The node said that only members are heard, and that what came was none of the protocol.
const NOT_A_MEMBER: u32 = 1;

/// Somebody with the keys of node `number`, who does what it likes.
pub(crate) async fn rogue(number: u8) -> iroh::Endpoint {
    iroh::Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(
            &seed(number).transport_key().to_bytes(),
        ))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap()
}

pub(crate) async fn dial(from: &iroh::Endpoint, to: &Member, alpn: &[u8]) -> Connection {
    let id = EndpointId::from_bytes(seed(to.number).node_id().as_bytes()).unwrap();
    let address = EndpointAddr::from_parts(id, [TransportAddr::Ip(to.address())]);
    from.connect(address, alpn).await.unwrap()
}

pub(crate) async fn speak(connection: &Connection) -> (SendStream, RecvStream) {
    let (mut send, receive) = connection.open_bi().await.unwrap();
    send.write_all(&[0; 4]).await.unwrap();
    (send, receive)
}

pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

/// Waits until the connection is closed, and by which code of the application's.
async fn closed(connection: &Connection) -> Option<VarInt> {
    let closed = tokio::time::timeout(Duration::from_secs(60), connection.closed());
    match closed.await.unwrap() {
        iroh::endpoint::ConnectionError::ApplicationClosed(close) => Some(close.error_code),
        _ => None,
    }
}

/// Two honest members and the place of a third, which the rogue takes.
async fn scene() -> (
    Vec<Member>,
    crate::scene::Scene,
    verge_sync::AccountId,
    verge_sync::SiteId,
) {
    let (scene, account, site) = with_site(3);
    let mut members = Vec::new();
    for number in 0..2 {
        members.push(Member::start(&scene, number, KindTable::default()).await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    (members, scene, account, site)
}

/// The honest ones go on all the same.
async fn goes_on(
    members: &mut [Member],
    account: verge_sync::AccountId,
    site: verge_sync::SiteId,
    content: &str,
) {
    members[0]
        .write(|author, effect| {
            let body = deploy_body(content, account, 0);
            author.deploy(effect, site, body).unwrap()
        })
        .await;
    in_step(&members.iter().collect::<Vec<_>>()).await;
    let version = deploy_body(content, account, 0).version;
    for member in members {
        let effect = member.effect();
        assert_eq!(effect.sites[&site].head().unwrap().body().version, version);
    }
}

#[tokio::test]
async fn a_stranger_is_not_heard() {
    let (mut members, _scene, account, site) = scene().await;
    let stranger = rogue(40).await;
    let connection = dial(&stranger, &members[0], RECORDS).await;
    assert_eq!(
        closed(&connection).await,
        Some(VarInt::from_u32(NOT_A_MEMBER))
    );
    // At the door it may speak, but not babble.
    for bytes in [vec![], framed(&[]), framed(&[0xff; 64]), framed(&[0xa0])] {
        let connection = dial(&stranger, &members[0], JOIN).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        closed(&connection).await;
    }
    goes_on(&mut members, account, site, "after a stranger").await;
    stranger.close().await;
}

#[tokio::test]
async fn a_member_that_babbles_is_closed() {
    let (mut members, _scene, account, site) = scene().await;
    let rogue = rogue(2).await;
    let id = |byte: u8| verge_sync::RecordId::from_bytes([byte; 32]);
    let too_long = u32::try_from(MESSAGE_BYTES_MAX + 1)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    let babble: Vec<Vec<u8>> = vec![
        framed(b"no message"),
        too_long,
        // An answer that nobody asked for: the rogue leads, so the node never asks first.
        framed(&Message::Answer(Set::All, vec![0x61]).encode()),
        framed(&[Message::Want(vec![id(1); 8]).encode(), vec![0]].concat()),
    ];
    for (number, bytes) in babble.iter().enumerate() {
        let connection = dial(&rogue, &members[1], RECORDS).await;
        let (mut send, _receive) = speak(&connection).await;
        // The connection may be closed before all is written.
        if send.write_all(bytes).await.is_ok() {
            closed(&connection).await;
        }
        goes_on(
            &mut members,
            account,
            site,
            &format!("after babble {number}"),
        )
        .await;
        // It is not heard for a while now, so the others of the list come over the other member.
        members.reverse();
    }
    rogue.close().await;
}

#[tokio::test]
async fn a_member_that_floods_slows_nobody_else() {
    let (mut members, scene, account, site) = scene().await;
    let rogue = rogue(2).await;
    let connection = dial(&rogue, &members[1], RECORDS).await;
    let (mut send, mut receive) = speak(&connection).await;
    // Records that look like some and are none: each costs the node a look.
    let junk: Vec<Vec<u8>> = scene
        .records
        .iter()
        .map(|record| {
            let mut bytes = record.bytes().to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            bytes
        })
        .collect();
    let records = framed(&Message::Records(junk).encode());
    let wants = framed(&Message::Want(vec![scene.records[0].id(); 1024]).encode());
    let flood = tokio::spawn(async move {
        let mut count = 0_u64;
        loop {
            let part = if count.is_multiple_of(2) {
                &records
            } else {
                &wants
            };
            if send.write_all(part).await.is_err() {
                return count;
            }
            count += 1;
        }
    });
    let drain = tokio::spawn(async move {
        let mut bytes = [0; 65_536];
        while let Ok(Some(_)) = receive.read(&mut bytes).await {}
    });
    for number in 0..5 {
        goes_on(&mut members, account, site, &format!("flood {number}")).await;
    }
    flood.abort();
    drain.abort();
    rogue.close().await;
}
