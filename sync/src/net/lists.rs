//! The lists that removals name, from one member to another: a stream each, beside the records.
//!
//! The one asks with a digest, the other answers with the bytes, in messages, or with none. Only
//! lists that a step of the region names are given out.

use super::message::MESSAGE_BYTES_MAX;
use super::replica::Replica;
use super::stream::{self, StreamError};
use crate::digest::Digest;
use crate::record::RemovalList;
use iroh::endpoint::{Connection, RecvStream, SendStream};

/// Asks for the list; none if the peer does not have it.
pub(super) async fn ask(
    connection: &Connection,
    digest: Digest,
) -> Result<Option<Vec<u8>>, StreamError> {
    let opened = connection.open_bi().await;
    let (mut send, mut receive) = opened.map_err(|error| StreamError::Broken(error.to_string()))?;
    stream::send(&mut send, digest.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        match stream::receive(&mut receive).await {
            Ok(part) => bytes.extend_from_slice(&part),
            Err(StreamError::Ended) => break,
            Err(error) => return Err(error),
        }
        if u64::try_from(bytes.len()).is_ok_and(|length| length > RemovalList::BYTES_MAX) {
            return Err(StreamError::TooLong(bytes.len()));
        }
    }
    Ok(Some(bytes).filter(|bytes| Digest::of(bytes) == digest))
}

/// Answers who asks, one after the other, until the connection ends; gives why it ended.
pub(super) async fn serve(connection: &Connection, replica: &Replica) -> String {
    loop {
        let answered = match connection.accept_bi().await {
            Ok((send, receive)) => answer(send, receive, replica).await,
            Err(error) => return error.to_string(),
        };
        if let Err(error) = answered {
            return error.to_string();
        }
    }
}

async fn answer(
    mut send: SendStream,
    mut receive: RecvStream,
    replica: &Replica,
) -> Result<(), StreamError> {
    let asked = stream::receive(&mut receive).await?;
    let digest = asked.try_into().map(Digest::from_bytes);
    let digest = digest.map_err(|asked: Vec<u8>| StreamError::TooLong(asked.len()))?;
    let list = replica.list(digest).await.unwrap_or_default();
    for part in list.chunks(MESSAGE_BYTES_MAX) {
        stream::send(&mut send, part).await?;
    }
    if send.finish().is_err() {
        tracing::debug!("whoever asked for a list has gone away");
    }
    Ok(())
}
