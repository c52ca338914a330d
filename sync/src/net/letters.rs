//! Letters between members: bytes that mean something to the program above, and what it answers.
//!
//! A letter comes in messages until its stream ends, one message is the answer. It is read only when
//! there is room: two letters at once, of all peers, and so many of one peer in a minute. In memory
//! only; a letter that is lost is written again by whoever wrote it.

use super::asks::Ask;
use super::endpoint::{Close, close};
use super::message::MESSAGE_BYTES_MAX;
use super::pieces::Asked;
use super::stream::{self, StreamError};
use crate::clock::stopwatch;
use crate::id::NodeId;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The longest letter: 100,000 rows of a seal, and its record.
pub const LETTER_BYTES_MAX: usize = 6 << 20;
/// The longest answer: two records.
pub const REPLY_BYTES_MAX: usize = 4 << 10;
/// Letters of one peer in a minute, where one in 15 minutes is usual.
const LETTERS_PER_MINUTE_MAX: u32 = 8;
/// Letters that are read at once: 12 MiB.
const READING_MAX: usize = 2;
/// A letter takes no longer to come: 6 MiB at 1.6 Mbit/s.
const LETTER_TIME: Duration = Duration::from_secs(30);
/// Who has not answered by then has not answered.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A letter of a member.
#[derive(Debug)]
pub struct Letter {
    /// Who wrote it, as its connection proves.
    pub from: NodeId,
    /// What it says.
    pub bytes: Vec<u8>,
    /// What is answered; nothing if it is dropped.
    pub reply: oneshot::Sender<Vec<u8>>,
}

/// Why nothing is known of a letter.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// There is no connection.
    #[error("it is not connected")]
    NotConnected,
    /// Longer than any.
    #[error("a letter of {0} bytes, and the longest has {LETTER_BYTES_MAX}")]
    TooLong(usize),
    /// It took too long.
    #[error("it does not answer in time")]
    Silent,
    /// It broke off, or has no answer: an older release, or too many letters.
    #[error("{0}")]
    Broken(String),
}

/// Sends a letter over `connection`, and waits for the answer.
pub(super) async fn send(connection: &Connection, letter: &[u8]) -> Result<Vec<u8>, LetterError> {
    if letter.len() > LETTER_BYTES_MAX {
        return Err(LetterError::TooLong(letter.len()));
    }
    let sent = async {
        let (mut send, mut receive) = Ask::Letter.open(connection).await?;
        for part in letter.chunks(MESSAGE_BYTES_MAX) {
            stream::send(&mut send, part).await?;
        }
        if send.finish().is_err() {
            return Err(StreamError::Ended);
        }
        stream::receive(&mut receive).await
    };
    let answer = tokio::time::timeout(ANSWER_TIME, sent).await;
    let answer = answer.map_err(|_elapsed| LetterError::Silent)?;
    let answer = answer.map_err(|error| LetterError::Broken(error.to_string()))?;
    if answer.len() > REPLY_BYTES_MAX {
        return Err(LetterError::Broken("an answer that is too long".to_owned()));
    }
    Ok(answer)
}

/// Takes letters in, and hands them on.
pub(super) struct Letterbox {
    letters: mpsc::Sender<Letter>,
    reading: Semaphore,
    asked: Mutex<Asked>,
}

impl Letterbox {
    pub(super) fn new(letters: mpsc::Sender<Letter>) -> Self {
        Self {
            letters,
            reading: Semaphore::new(READING_MAX),
            asked: Mutex::new(Asked::new(stopwatch(), LETTERS_PER_MINUTE_MAX)),
        }
    }

    /// Reads a letter of `peer`, unless it has written too many: then the stream ends without an
    /// answer, as it does when the program above gives none.
    pub(super) async fn answer(
        &self,
        from: NodeId,
        mut send: SendStream,
        receive: RecvStream,
    ) -> Result<(), StreamError> {
        let may_write = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.admits(from, stopwatch())
        };
        if !may_write {
            return Ok(());
        }
        let Ok(_turn) = self.reading.acquire().await else {
            return Ok(());
        };
        let read = tokio::time::timeout(LETTER_TIME, read(receive)).await;
        let bytes =
            read.map_err(|_elapsed| StreamError::Broken("too slow a letter".to_owned()))??;
        let (reply, answer) = oneshot::channel();
        let letter = Letter { from, bytes, reply };
        if self.letters.send(letter).await.is_err() {
            return Ok(());
        }
        if let Ok(answer) = answer.await {
            stream::send(&mut send, &answer).await?;
            if send.finish().is_err() {
                tracing::debug!("whoever wrote a letter has gone away");
            }
        }
        Ok(())
    }
}

impl Letterbox {
    /// The one letter for which a connection was made; whoever wrote it ends the connection.
    pub(super) async fn meet(
        &self,
        from: NodeId,
        connection: &Connection,
        (send, mut receive): (SendStream, RecvStream),
    ) {
        let answered = async {
            let first = stream::receive(&mut receive).await?;
            match Ask::decode(&first) {
                Some(Ask::Letter) => self.answer(from, send, receive).await,
                _ => Ok(()),
            }
        };
        let met = tokio::time::timeout(ANSWER_TIME, async {
            if let Err(error) = answered.await {
                tracing::debug!(%error, peer = %from.short(), "a letter");
            }
            connection.closed().await
        });
        if met.await.is_err() {
            close(connection, Close::Done);
        }
    }
}

async fn read(mut receive: RecvStream) -> Result<Vec<u8>, StreamError> {
    let mut bytes = Vec::new();
    loop {
        match stream::receive(&mut receive).await {
            Ok(part) => bytes.extend_from_slice(&part),
            Err(StreamError::Ended) => return Ok(bytes),
            Err(error) => return Err(error),
        }
        if bytes.len() > LETTER_BYTES_MAX {
            return Err(StreamError::TooLong(bytes.len()));
        }
    }
}
