//! One question to a DNS server over TCP, and its answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For connection, question and answer together: a server at the other end of the world has 0.9 s of
/// round trips.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends `message` and gives what comes back: at most 64 KiB, by the length in front of it (RFC 7766).
///
/// # Errors
/// The connection failed, or nothing came within [`EXCHANGE_TIMEOUT`].
pub async fn ask(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let exchange = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange(server, message));
    exchange.await.map_err(|_elapsed| {
        let why = format!("no answer within {} s", EXCHANGE_TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, why)
    })?
}

async fn exchange(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    // In one piece: some servers do not wait for the rest.
    let framed = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
