//! Letters from one member to another, and what keeps them few and short.

use crate::member::{Member, introduce};
use crate::scene::{seed, with_site};
use std::time::Duration;
use verge_sync::NodeId;
use verge_sync::content::Sources as _;
use verge_sync::net::{LETTER_BYTES_MAX, LetterError, REPLY_BYTES_MAX};
use verge_sync::record::KindTable;

/// As docs/format.md says.
const LETTERS_PER_MINUTE_MAX: usize = 8;
/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

fn node(number: u8) -> NodeId {
    seed(number).node_id()
}

/// Two members that are connected; the second answers each letter with its length, or with so many
/// bytes as it asks for.
async fn pair() -> Member {
    let (scene, ..) = with_site(3);
    let mut members = Vec::new();
    for number in 0..2 {
        members.push(Member::start(&scene, number, KindTable::default()).await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    let other = members.pop().unwrap();
    let writer = members.pop().unwrap();
    read(other);
    writer
}

/// Answers what comes to a member.
fn read(reader: Member) {
    tokio::spawn(async move {
        // All of it, so that it goes on.
        let mut other = reader;
        while let Some(letter) = other.letters.recv().await {
            assert_eq!(letter.from, node(0));
            let answer = match letter.bytes.as_slice() {
                b"nothing" => continue,
                b"long" => vec![7; REPLY_BYTES_MAX + 1],
                bytes => bytes.len().to_be_bytes().to_vec(),
            };
            letter.reply.send(answer).unwrap();
        }
    });
}

/// Written again where two connections have just become one.
async fn write(writer: &Member, letter: &[u8]) -> Result<Vec<u8>, LetterError> {
    write_to(writer, 1, letter).await
}

async fn write_to(writer: &Member, number: u8, letter: &[u8]) -> Result<Vec<u8>, LetterError> {
    loop {
        let mut changes = writer.network.changes();
        match writer.network.write(node(number), letter).await {
            Err(LetterError::Broken(_) | LetterError::NotConnected)
                if tokio::time::timeout(PATIENCE, changes.changed())
                    .await
                    .is_ok() => {}
            answer => return answer,
        }
    }
}

#[tokio::test]
async fn a_letter_of_any_length_is_answered() {
    let writer = pair().await;
    for length in [0, 1, 200_000, LETTER_BYTES_MAX] {
        let answer = write(&writer, &vec![1; length]).await.unwrap();
        assert_eq!(answer, length.to_be_bytes());
    }
    let long = vec![1; LETTER_BYTES_MAX + 1];
    let refused = writer.network.write(node(1), &long).await;
    assert!(matches!(refused, Err(LetterError::TooLong(_))));
    let answer = writer.network.write(node(1), b"long").await;
    assert!(matches!(answer, Err(LetterError::Broken(_))));
    let answer = writer.network.write(node(1), b"nothing").await;
    assert!(matches!(answer, Err(LetterError::Broken(_))));
    let stranger = writer.network.write(node(2), b"letter").await;
    assert!(matches!(stranger, Err(LetterError::NotConnected)));
}

#[tokio::test]
async fn a_member_writes_so_many_letters_in_a_minute() {
    let writer = pair().await;
    write(&writer, b"first").await.unwrap();
    let mut answered = 1;
    while writer.network.write(node(1), b"letter").await.is_ok() {
        answered += 1;
    }
    assert!(answered <= LETTERS_PER_MINUTE_MAX, "{answered}");
}

#[tokio::test]
async fn members_that_are_not_connected_write_all_the_same() {
    // With at most 8 connections three of eleven others are none of them.
    let (scene, ..) = with_site(12);
    let mut members = Vec::new();
    for number in 0..12 {
        members.push(Member::start(&scene, number, KindTable::default()).await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    let mut members = members.into_iter();
    let writer = members.next().unwrap();
    members.for_each(read);
    for number in 1..12 {
        let answer = write_to(&writer, number, b"letter").await.unwrap();
        assert_eq!(answer, 6_usize.to_be_bytes());
    }
    assert!(writer.network.peers().len() <= 8);
}
