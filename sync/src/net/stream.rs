//! Messages on a stream: four bytes of length, big-endian, then as many bytes.

use super::message::MESSAGE_BYTES_MAX;
use iroh::endpoint::{ReadExactError, RecvStream, SendStream};

/// Why a stream gives or takes no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The other side has said all.
    #[error("the other side has ended the stream")]
    Ended,
    /// A message longer than any.
    #[error("a message of {0} bytes: no message is so long")]
    TooLong(usize),
    /// The connection is gone.
    #[error("{0}")]
    Broken(String),
}

/// Writes one message.
pub(super) async fn send(stream: &mut SendStream, bytes: &[u8]) -> Result<(), StreamError> {
    let length = u32::try_from(bytes.len()).map_err(|_long| StreamError::TooLong(bytes.len()))?;
    let broken = |error: iroh::endpoint::WriteError| StreamError::Broken(error.to_string());
    stream
        .write_all(&length.to_be_bytes())
        .await
        .map_err(broken)?;
    stream.write_all(bytes).await.map_err(broken)
}

/// Reads one message; memory is taken only for lengths that a message can have.
pub(super) async fn receive(stream: &mut RecvStream) -> Result<Vec<u8>, StreamError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Err(StreamError::Ended),
        Err(error) => return Err(StreamError::Broken(error.to_string())),
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(StreamError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    stream
        .read_exact(&mut bytes)
        .await
        .map_err(|error| StreamError::Broken(error.to_string()))?;
    Ok(bytes)
}
