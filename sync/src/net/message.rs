//! What two nodes say to each other about records (`docs/format.md#exchange`).
//!
//! A message is one CBOR array: its number, then its parts. Every list has a limit, and a message
//! that breaks one is no message.

use crate::digest::Digest;
use crate::id::RecordId;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use std::convert::Infallible;

/// A step of the region and some ordinary records, or one answer of a reconciliation.
pub const MESSAGE_BYTES_MAX: usize = 160 << 10;
/// Records in one message, in bytes: two of the largest.
pub(super) const RECORDS_BYTES_MAX: usize = 128 << 10;
/// Ids in one message: 32 KiB.
pub(super) const WANT_COUNT_MAX: usize = 1_024;
/// One frame of negentropy.
pub(super) const FRAME_BYTES_MAX: usize = 64 << 10;

/// Which records a reconciliation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Steps, votes and nodes: who belongs. First, since all else is judged by it.
    Chain,
    /// Everything.
    All,
    /// Everything, in the bytes that are held: of one record two nodes may hold different forms.
    Forms,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Records, as the bytes that were received.
    Records(Vec<Vec<u8>>),
    /// Send these.
    Want(Vec<RecordId>),
    /// A question of a reconciliation.
    Ask(Set, Vec<u8>),
    /// The answer to it.
    Answer(Set, Vec<u8>),
    /// How the sender is; never stored, never believed beyond a display.
    Signal(Signal),
}

/// What a node says of itself to its peers while they are connected: a claim, for people to see and
/// for clocks to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signal {
    /// Records that it holds.
    pub record_count: u32,
    /// The sum of their digests: two nodes with the same sum hold the same bytes.
    pub fingerprint: Fingerprint,
    /// Its wall clock, in seconds since 1970.
    pub wall_s: u64,
    /// Whether it believes that clock.
    pub is_believed: bool,
}

/// The sum of the digests of the bytes of records, modulo 2^128, of their first 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// With the record of these bytes in the set.
    #[must_use]
    pub fn with(self, record: &[u8]) -> Self {
        Self(self.0.wrapping_add(Self::of(record)))
    }

    /// Without it.
    #[must_use]
    pub fn without(self, record: &[u8]) -> Self {
        Self(self.0.wrapping_sub(Self::of(record)))
    }

    fn of(record: &[u8]) -> u128 {
        let digest = Digest::of(record);
        let half = digest.as_bytes().first_chunk().copied();
        u128::from_be_bytes(half.unwrap_or_default())
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message that cannot be read")]
pub struct Unreadable;

impl From<minicbor::decode::Error> for Unreadable {
    fn from(_error: minicbor::decode::Error) -> Self {
        Self
    }
}

impl Message {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        // Writing to a vector cannot fail.
        let Ok(()) = self.write(&mut encoder);
        encoder.into_writer()
    }

    fn write(&self, to: &mut Encoder<Vec<u8>>) -> Result<(), Infallible> {
        let written = match self {
            Self::Records(records) => write_list(to, 0, records.iter().map(Vec::as_slice)),
            Self::Want(ids) => write_list(to, 1, ids.iter().map(|id| id.as_bytes().as_slice())),
            Self::Ask(set, frame) => write_frame(to, 2, *set, frame),
            Self::Answer(set, frame) => write_frame(to, 3, *set, frame),
            Self::Signal(signal) => write_signal(to, signal),
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) => unreachable!("a vector takes what is written: {error}"),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Unreadable`]: it is another thing, or over a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Unreadable);
        }
        let mut decoder = Decoder::new(bytes);
        let parts = decoder.array()?;
        let number = decoder.u8()?;
        let message = match (number, parts) {
            (0, Some(2)) => Self::Records(read_records(&mut decoder)?),
            (1, Some(2)) => Self::Want(read_ids(&mut decoder)?),
            (2, Some(3)) => Self::Ask(read_set(&mut decoder)?, read_frame(&mut decoder)?),
            (3, Some(3)) => Self::Answer(read_set(&mut decoder)?, read_frame(&mut decoder)?),
            (4, Some(5)) => Self::Signal(read_signal(&mut decoder)?),
            _ => return Err(Unreadable),
        };
        if decoder.position() == bytes.len() {
            Ok(message)
        } else {
            Err(Unreadable)
        }
    }
}

type Written = Result<(), minicbor::encode::Error<Infallible>>;

fn write_list<'a>(
    to: &mut Encoder<Vec<u8>>,
    number: u8,
    items: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Written {
    let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
    to.array(2)?.u8(number)?.array(count)?;
    for item in items {
        to.bytes(item)?;
    }
    Ok(())
}

fn write_frame(to: &mut Encoder<Vec<u8>>, number: u8, set: Set, frame: &[u8]) -> Written {
    let set = match set {
        Set::Chain => 0,
        Set::All => 1,
        Set::Forms => 2,
    };
    to.array(3)?.u8(number)?.u8(set)?.bytes(frame)?;
    Ok(())
}

fn write_signal(to: &mut Encoder<Vec<u8>>, signal: &Signal) -> Written {
    to.array(5)?
        .u8(4)?
        .u32(signal.record_count)?
        .bytes(&signal.fingerprint.0.to_be_bytes())?
        .u64(signal.wall_s)?
        .bool(signal.is_believed)?;
    Ok(())
}

fn read_signal(decoder: &mut Decoder<'_>) -> Result<Signal, Unreadable> {
    let record_count = decoder.u32()?;
    let sum = read_bytes(decoder)?.try_into();
    Ok(Signal {
        record_count,
        fingerprint: Fingerprint(u128::from_be_bytes(sum.map_err(|_length| Unreadable)?)),
        wall_s: decoder.u64()?,
        is_believed: decoder.bool()?,
    })
}

/// The items of a definite array of byte strings, of which there are at most `count_max`.
fn read_list<'b>(decoder: &mut Decoder<'b>, count_max: usize) -> Result<Vec<&'b [u8]>, Unreadable> {
    let count = decoder.array()?.ok_or(Unreadable)?;
    let count = usize::try_from(count).map_err(|_too_many| Unreadable)?;
    if count > count_max {
        return Err(Unreadable);
    }
    (0..count).map(|_| read_bytes(decoder)).collect()
}

fn read_bytes<'b>(decoder: &mut Decoder<'b>) -> Result<&'b [u8], Unreadable> {
    match decoder.datatype()? {
        Type::Bytes => Ok(decoder.bytes()?),
        _ => Err(Unreadable),
    }
}

fn read_records(decoder: &mut Decoder<'_>) -> Result<Vec<Vec<u8>>, Unreadable> {
    // No record is shorter than its signature.
    let items = read_list(decoder, RECORDS_BYTES_MAX / 64)?;
    let bytes: usize = items.iter().map(|item| item.len()).sum();
    if bytes > RECORDS_BYTES_MAX {
        return Err(Unreadable);
    }
    Ok(items.into_iter().map(<[u8]>::to_vec).collect())
}

fn read_ids(decoder: &mut Decoder<'_>) -> Result<Vec<RecordId>, Unreadable> {
    let items = read_list(decoder, WANT_COUNT_MAX)?.into_iter();
    let id = |item: &[u8]| item.try_into().map(RecordId::from_bytes);
    items
        .map(|item| id(item).map_err(|_length| Unreadable))
        .collect()
}

fn read_set(decoder: &mut Decoder<'_>) -> Result<Set, Unreadable> {
    match decoder.u8()? {
        0 => Ok(Set::Chain),
        1 => Ok(Set::All),
        2 => Ok(Set::Forms),
        _ => Err(Unreadable),
    }
}

fn read_frame(decoder: &mut Decoder<'_>) -> Result<Vec<u8>, Unreadable> {
    let frame = read_bytes(decoder)?;
    if frame.len() > FRAME_BYTES_MAX {
        return Err(Unreadable);
    }
    Ok(frame.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages() -> Vec<Message> {
        let id = RecordId::from_bytes([7; 32]);
        vec![
            Message::Records(vec![]),
            Message::Records(vec![vec![1; 300], vec![2; 65_000]]),
            Message::Want(vec![id; WANT_COUNT_MAX]),
            Message::Ask(Set::Chain, vec![0x61]),
            Message::Answer(Set::All, vec![3; FRAME_BYTES_MAX]),
            Message::Ask(Set::Forms, vec![0x61]),
            Message::Signal(Signal {
                record_count: 70_000,
                fingerprint: Fingerprint::default().with(b"record"),
                wall_s: 1 << 40,
                is_believed: true,
            }),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for message in messages() {
            let bytes = message.encode();
            assert!(bytes.len() <= MESSAGE_BYTES_MAX);
            assert_eq!(Message::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn what_is_over_a_limit_is_no_message() {
        let id = RecordId::from_bytes([7; 32]);
        let rows = [
            Message::Records(vec![vec![0; 65_000]; 3]),
            Message::Records(vec![vec![0; 2]; RECORDS_BYTES_MAX / 64 + 1]),
            Message::Want(vec![id; WANT_COUNT_MAX + 1]),
            Message::Ask(Set::All, vec![0; FRAME_BYTES_MAX + 1]),
        ];
        for message in rows {
            assert_eq!(Message::decode(&message.encode()), Err(Unreadable));
        }
        for message in messages() {
            let mut bytes = message.encode();
            bytes.push(0);
            assert_eq!(Message::decode(&bytes), Err(Unreadable), "more follows");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
            }
        }
    }
}
