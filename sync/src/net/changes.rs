//! What a blob differs in from one before it, from one member to another.
//!
//! The manifest of a site of thousands of files is megabytes of digests, of which a change of one
//! file alters a few. Whoever has the version before asks for the difference: a zstd frame whose
//! prefix is the manifest before. A short pack comes the same way, as what it differs in from
//! nothing: the files in it lie there as they are, too, and are most of what a change weighs. What
//! comes of it is compared with its digest like any blob. A peer that has not both, that finds too
//! much of a difference, or that is of a release before, gives nothing, and the blob comes whole.
//! Limits: one difference is made at a time, of manifests of at most [`COMPARED_BYTES_MAX`] and
//! packs of at most [`PRESSED_BYTES_MAX`], and none is longer than [`DIFFERENCE_BYTES_MAX`].

use super::asks::Ask;
use super::blobs::{ANSWER_TIME, Limits};
use super::stream::StreamError;
use crate::content::{FetchError, PRESSED_BYTES_MAX};
use crate::digest::Digest;
use crate::manifest::MANIFEST_BYTES_MAX;
use crate::store::{Store, StoreError};
use iroh::endpoint::{Connection, SendStream};
use std::io::{self, Read as _, Write as _};
use std::time::Duration;
use tokio::sync::Semaphore;
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

/// A site of some 18,000 files. One answer has two of them, and the tables of zstd, in memory.
const COMPARED_BYTES_MAX: u64 = 8 << 20;
/// What differs in more is as well fetched whole; a stream takes so much without waiting.
const DIFFERENCE_BYTES_MAX: usize = 1 << 20;
/// Higher levels find little more, since what is new is digests.
const LEVEL: i32 = 3;
/// Both manifests lie in the window.
const WINDOW_LOG: u32 = 24;
const READ_BYTES: usize = 64 << 10;

/// Makes differences for members that ask for them.
pub(super) struct Changes {
    store: Store,
    making: Semaphore,
    stall_time: Duration,
}

impl Changes {
    pub(super) fn new(store: Store, stall_time: Duration) -> Self {
        Self {
            store,
            making: Semaphore::new(1),
            stall_time,
        }
    }

    /// Sends what the second blob differs in from the first, or nothing.
    pub(super) async fn answer(
        &self,
        mut send: SendStream,
        (base, wanted): (Digest, Digest),
    ) -> Result<(), StreamError> {
        let made = {
            let Ok(_turn) = self.making.acquire().await else {
                return Ok(());
            };
            let store = self.store.clone();
            tokio::task::spawn_blocking(move || stored_difference(&store, base, wanted)).await
        };
        let difference = match made {
            Ok(Ok(Some(difference))) => difference,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(StreamError::Broken(error.to_string())),
            Err(error) => return Err(StreamError::Broken(error.to_string())),
        };
        let writing = tokio::time::timeout(self.stall_time, send.write_all(&difference));
        match writing.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(StreamError::Broken(error.to_string())),
            Err(_elapsed) => Err(StreamError::Broken("it takes nothing".to_owned())),
        }
    }
}

/// None if one is not here, or too long, or the difference is.
fn stored_difference(
    store: &Store,
    base: Digest,
    wanted: Digest,
) -> Result<Option<Vec<u8>>, StoreError> {
    let read = |digest, bytes_max| match store.blobs().read_verified(&digest, bytes_max) {
        // Whoever asks for it whole finds the damage.
        Err(StoreError::TooLarge { .. } | StoreError::Damaged { .. }) => Ok(None),
        read => read,
    };
    let is_alone = base == Digest::of(b"");
    let (base, bytes_max) = if is_alone {
        (Some(Vec::new()), PRESSED_BYTES_MAX)
    } else {
        (read(base, COMPARED_BYTES_MAX)?, COMPARED_BYTES_MAX)
    };
    let (Some(base), Some(wanted)) = (base, read(wanted, bytes_max)?) else {
        return Ok(None);
    };
    let difference = difference(&base, &wanted).map_err(|error| {
        tracing::warn!(%error, "zstd");
        error
    });
    // What is compressed already is as well sent as it is.
    let bytes_max = if is_alone {
        wanted.len() / 8 * 7
    } else {
        DIFFERENCE_BYTES_MAX
    };
    Ok(difference.ok().filter(|bytes| bytes.len() <= bytes_max))
}

fn difference(base: &[u8], wanted: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::with_ref_prefix(Vec::new(), LEVEL, base)?;
    if !base.is_empty() {
        encoder.window_log(WINDOW_LOG)?;
        encoder.long_distance_matching(true)?;
    }
    encoder.write_all(wanted)?;
    encoder.finish()
}

fn apply(base: &[u8], difference: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoder = Decoder::with_ref_prefix(difference, base)?;
    decoder.window_log_max(WINDOW_LOG)?;
    let mut wanted = Vec::new();
    decoder
        .take(MANIFEST_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut wanted)?;
    Ok(wanted)
}

/// Asks for the blob `wanted` by what it differs in from `base`, which is here; none if the peer does
/// not say.
pub(super) async fn ask(
    connection: &Connection,
    (base, base_bytes): (Digest, Vec<u8>),
    wanted: Digest,
    limits: Limits<'_>,
) -> Result<Option<Vec<u8>>, FetchError> {
    let broken = |error: String| FetchError::Broken(error);
    let opened = limits.in_time(Ask::Change(base, wanted).open(connection));
    let (_send, mut receive) = opened.await?.map_err(|error| broken(error.to_string()))?;
    let mut difference = Vec::new();
    loop {
        let chunk = receive.read_chunk(READ_BYTES);
        let chunk = if difference.is_empty() {
            let first = tokio::time::timeout(limits.stall_time.min(ANSWER_TIME), chunk);
            first.await.map_err(|_elapsed| FetchError::Slow)?
        } else {
            limits.in_time(chunk).await?
        };
        let Some(chunk) = chunk.map_err(|error| broken(error.to_string()))? else {
            break;
        };
        if let Some(downlink) = limits.downlink {
            downlink.take(chunk.len()).await;
        }
        difference.extend_from_slice(&chunk);
        if difference.len() > DIFFERENCE_BYTES_MAX {
            return Err(FetchError::Wrong("a difference longer than any"));
        }
    }
    tracing::debug!(%wanted, bytes = difference.len(), "a difference came");
    if difference.is_empty() {
        return Ok(None);
    }
    let applied = tokio::task::spawn_blocking(move || {
        let bytes = apply(&base_bytes, &difference).ok()?;
        (Digest::of(&bytes) == wanted).then_some(bytes)
    });
    let bytes = applied.await.map_err(|ended| broken(ended.to_string()))?;
    let wrong = FetchError::Wrong("a difference that leads to something else");
    bytes.map(Some).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of digests, as a manifest has them.
    fn rows(count: u32) -> Vec<u8> {
        let row = |number: u32| *Digest::of(&number.to_be_bytes()).as_bytes();
        (0..count).flat_map(row).collect()
    }

    #[test]
    fn a_changed_row_costs_little_and_leads_to_the_manifest() {
        let base = rows(100_000);
        let mut wanted = base.clone();
        wanted.splice(64..64, *Digest::of(b"new").as_bytes());
        wanted[3_000_000] ^= 1;
        let difference = difference(&base, &wanted).unwrap();
        assert!(difference.len() < 2_000, "{}", difference.len());
        assert!(apply(&base, &difference).unwrap() == wanted);
    }

    #[test]
    fn text_alone_takes_a_part_of_its_length() {
        let text: Vec<u8> = (0..5_000_u32)
            .flat_map(|n| format!("<p>{n}</p>\n").into_bytes())
            .collect();
        let alone = difference(b"", &text).unwrap();
        assert!(alone.len() < text.len() / 4, "{}", alone.len());
        assert_eq!(apply(b"", &alone).unwrap(), text);
    }

    #[test]
    fn garbage_and_bombs_are_bounded() {
        let base = rows(10);
        assert!(apply(&base, b"garbage").is_err());
        let bomb = zstd::stream::encode_all(io::repeat(0).take(1 << 28), LEVEL).unwrap();
        let applied = apply(&base, &bomb).map_or(0, |bytes| bytes.len());
        assert!(u64::try_from(applied).unwrap() <= MANIFEST_BYTES_MAX + 1);
        // Of another base it is something else, or nothing.
        let difference = difference(&base, &rows(11)).unwrap();
        assert!(apply(b"other", &difference).map_or(true, |bytes| bytes != rows(11)));
    }
}
