//! The lists that removals name, from one member to another.
//!
//! The one asks with a digest, the other answers with the bytes, in messages, or with none. Only
//! lists that a step of the region names are given out.

use super::asks::Ask;
use super::message::MESSAGE_BYTES_MAX;
use super::replica::Replica;
use super::stream::{self, StreamError};
use crate::digest::Digest;
use crate::record::RemovalList;
use iroh::endpoint::{Connection, SendStream};

/// Asks for the list; none if the peer does not have it.
pub(super) async fn ask(
    connection: &Connection,
    digest: Digest,
) -> Result<Option<Vec<u8>>, StreamError> {
    let (_send, mut receive) = Ask::List(digest).open(connection).await?;
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

/// Sends the list, or nothing if it is not here.
pub(super) async fn answer(
    mut send: SendStream,
    digest: Digest,
    replica: &Replica,
) -> Result<(), StreamError> {
    let list = replica.list(digest).await.unwrap_or_default();
    for part in list.chunks(MESSAGE_BYTES_MAX) {
        stream::send(&mut send, part).await?;
    }
    if send.finish().is_err() {
        tracing::debug!("whoever asked for a list has gone away");
    }
    Ok(())
}
