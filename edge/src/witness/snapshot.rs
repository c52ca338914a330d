//! A snapshot of an open day: what a node hands to its witnesses, and what they answer
//! (`docs/format.md#snapshots`).
//!
//! It is a whole `snapshot` record, signed by the node, that is not replicated: whoever holds it can
//! make it one of the region's when the node is lost.

use crate::accounting::calendar::Day;
use crate::accounting::figures::Count;
use crate::accounting::seal::{Encoded, Expected, Previous, Seal, SealError};
use std::cmp::Reverse;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RegionId};
use verge_sync::record::cbor::Fields;
use verge_sync::record::{Kind, Record};

/// A refusal in words, cut here.
const WORDS_BYTES_MAX: usize = 300;

/// What a node writes to a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter<'b> {
    /// What do you hold of me?
    Ask,
    /// Keep this: the bytes of a record, and the rows.
    Keep(&'b [u8], &'b [u8]),
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is kept, or one that says no less.
    Kept,
    /// It is not, for this reason.
    Refused(String),
    /// The record of the last day that is held; none if nothing is.
    Held(Option<Vec<u8>>),
}

/// A snapshot that holds.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The record.
    pub record: Record,
    /// What it says.
    pub seal: Seal,
    /// The bytes of that.
    pub encoded: Encoded,
}

/// Whose snapshots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) record_key: [u8; 32],
}

/// Why a snapshot is not kept.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No letter of this release.
    #[error("these bytes are no letter to a witness")]
    Unreadable,
    /// No record, or another one.
    #[error("the record of the snapshot is not one of this node's, signed by it")]
    Record,
    /// What it says cannot be.
    #[error("the snapshot")]
    Seal(#[from] SealError),
}

impl<'b> Letter<'b> {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ask => vec![0],
            Self::Keep(record, rows) => {
                // A record has at most 2 KiB.
                let length = u16::try_from(record.len()).unwrap_or(u16::MAX);
                let mut bytes = vec![1];
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(record);
                bytes.extend_from_slice(rows);
                bytes
            }
        }
    }

    /// None if it is none.
    #[must_use]
    pub fn decode(bytes: &'b [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, []) => Some(Self::Ask),
            (1, rest) => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = usize::from(u16::from_be_bytes(*length));
                let (record, rows) = rest.split_at_checked(length)?;
                Some(Self::Keep(record, rows))
            }
            _ => None,
        }
    }
}

impl Reply {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Kept => vec![0],
            Self::Refused(words) => {
                let end = words.floor_char_boundary(WORDS_BYTES_MAX);
                [&[1], words.get(..end).unwrap_or_default().as_bytes()].concat()
            }
            Self::Held(record) => [&[2], record.as_deref().unwrap_or_default()].concat(),
        }
    }

    /// None if it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, []) => Some(Self::Kept),
            (1, words) if words.len() <= WORDS_BYTES_MAX => {
                // They go to a log.
                let words = String::from_utf8_lossy(words);
                let plain = words.chars().filter(|letter| !letter.is_control());
                let mut plain: String = plain.collect();
                // What stands for bytes that are no text is longer than they are.
                plain.truncate(plain.floor_char_boundary(WORDS_BYTES_MAX));
                Some(Self::Refused(plain))
            }
            (2, []) => Some(Self::Held(None)),
            (2, record) => Some(Self::Held(Some(record.to_vec()))),
            _ => None,
        }
    }

    /// The seal that the held snapshot of `from` follows, if it is one of `from`'s.
    #[must_use]
    pub(crate) fn follows(&self, from: &Sender) -> Option<Previous> {
        let Self::Held(Some(record)) = self else {
            return None;
        };
        let record = Record::parse(record).ok()?;
        from.wrote(&record).then_some(())?;
        let body = Fields::read(record.bytes()).ok()?.raw(10)?;
        let (node, link) = super::chain::Link::of(body)?;
        link.previous.filter(|_| node == from.node)
    }
}

impl Sender {
    fn wrote(&self, record: &Record) -> bool {
        let envelope = record.envelope();
        (envelope.kind, envelope.author.node()) == (Kind::SNAPSHOT, self.node)
            && envelope.region == self.region
            && (envelope.epoch, envelope.sequence) == (0, 1)
            && envelope.predecessors.is_empty()
            && *record.signer() == self.record_key
            && record.verify().is_ok()
    }
}

impl Snapshot {
    /// Reads what a node handed over; all of it is checked.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub(crate) fn read(
        (record, rows): (&[u8], &[u8]),
        from: &Sender,
    ) -> Result<Self, SnapshotError> {
        let record = Record::parse(record).or(Err(SnapshotError::Record))?;
        if !from.wrote(&record) {
            return Err(SnapshotError::Record);
        }
        Self::open(record, rows)
    }

    /// Reads one whose signature was checked before.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub(super) fn open(record: Record, rows: &[u8]) -> Result<Self, SnapshotError> {
        let (node, day) = subject(&record).ok_or(SnapshotError::Record)?;
        let fields = Fields::read(record.bytes()).or(Err(SnapshotError::Record))?;
        let encoded = Encoded {
            body: fields.raw(10).ok_or(SnapshotError::Record)?.to_vec(),
            rows: rows.to_vec(),
        };
        let expected = Expected {
            node,
            day,
            // A snapshot is of a day that is not over.
            today: day.next(),
        };
        let seal = Seal::decode(&encoded, &expected)?;
        Ok(Self {
            record,
            seal,
            encoded,
        })
    }

    /// The name of what it says.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.encoded.digest()
    }
}

/// Of which node and day a snapshot is.
pub(super) fn subject(record: &Record) -> Option<(NodeId, Day)> {
    let envelope = record.envelope();
    let (node, day) = envelope.subject.split_first_chunk::<32>()?;
    let day = Day::new(u32::from_be_bytes(day.try_into().ok()?))?;
    let is_own = node == envelope.author.as_bytes() && envelope.kind == Kind::SNAPSHOT;
    is_own.then_some((NodeId::from_bytes(*node), day))
}

/// Of two snapshots of a day the one that says more counts: both are true, since counters only grow.
pub(super) fn weight(sum: Count, digest: Digest) -> (u64, u64, u64, Reverse<Digest>) {
    (sum.credit.0, sum.requests, sum.body.0, Reverse(digest))
}

/// Fuzz target: a letter to a witness.
pub(crate) fn snapshot_letters(bytes: &[u8]) {
    let Some(letter) = Letter::decode(bytes) else {
        return;
    };
    assert_eq!(letter.encode(), bytes);
    if let Letter::Keep(record, rows) = letter
        && let Ok(record) = Record::parse(record)
        && let Ok(snapshot) = Snapshot::open(record, rows)
    {
        assert_eq!(
            Some((snapshot.seal.node, snapshot.seal.day)),
            subject(&snapshot.record)
        );
    }
}

/// Fuzz target: what a witness answers.
pub(crate) fn snapshot_replies(bytes: &[u8]) {
    if let Some(reply) = Reply::decode(bytes) {
        assert_eq!(Reply::decode(&reply.encode()).as_ref(), Some(&reply));
        let nobody = Sender {
            node: NodeId::from_bytes([0; 32]),
            region: RegionId::from_bytes([0; 32]),
            record_key: [0; 32],
        };
        let _follows = reply.follows(&nobody);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::seal::sample::seal;
    use crate::region::scene::Scene;
    use verge_sync::record::body::HostProof;

    /// Fuzzing found that they became three times as long as words may be.
    #[test]
    fn words_that_are_no_text_are_as_short_as_others() {
        let bytes = [&[1][..], &[0xff; WORDS_BYTES_MAX]].concat();
        let reply = Reply::decode(&bytes).unwrap();
        assert!(reply.encode().len() <= bytes.len());
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }

    #[test]
    fn a_snapshot_is_taken_of_its_node_alone_and_as_it_was_signed() {
        let mut scene = Scene::new(2, HostProof::None);
        let said = Seal {
            node: scene.node(0),
            ..seal()
        };
        let record = scene.snapshot(0, &said);
        let from = |number| Sender {
            node: scene.node(number),
            region: scene.parameters.region,
            record_key: scene.seed(number).record_key().verifying_key().to_bytes(),
        };
        let rows = said.encode().rows;
        let letter = Letter::Keep(record.bytes(), &rows).encode();
        let Some(Letter::Keep(bytes, read)) = Letter::decode(&letter) else {
            panic!("a letter");
        };
        let taken = Snapshot::read((bytes, read), &from(0)).unwrap();
        assert_eq!(taken.digest(), said.encode().digest());
        assert_eq!(taken.seal, said);
        let held = Reply::Held(Some(record.bytes().to_vec()));
        assert_eq!(held.follows(&from(0)), said.previous);
        assert_eq!(held.follows(&from(1)), None);
        assert!(matches!(
            Snapshot::read((bytes, read), &from(1)),
            Err(SnapshotError::Record)
        ));
        assert!(matches!(
            Snapshot::read((bytes, &rows[1..]), &from(0)),
            Err(SnapshotError::Seal(SealError::OtherRows))
        ));
        let mut forged = record.bytes().to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(Snapshot::read((&forged, read), &from(0)).is_err());
    }

    #[test]
    fn letters_and_replies_are_read_as_they_were_written() {
        for letter in [Letter::Ask, Letter::Keep(b"record", b"rows")] {
            let bytes = letter.encode();
            assert_eq!(Letter::decode(&bytes), Some(letter));
        }
        for bytes in [&b""[..], &[0, 0], &[1], &[1, 0, 2, 7], &[2]] {
            assert_eq!(Letter::decode(bytes), None, "{bytes:?}");
        }
        for reply in [
            Reply::Kept,
            Reply::Refused("no room".to_owned()),
            Reply::Held(None),
            Reply::Held(Some(vec![7; 2_000])),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
        let long = Reply::Refused("\u{e9}".repeat(400));
        assert!(long.encode().len() <= 1 + WORDS_BYTES_MAX);
        assert_eq!(
            Reply::decode(b"\x01two\nlines"),
            Some(Reply::Refused("twolines".to_owned()))
        );
        assert_eq!(Reply::decode(&[3]), None);
    }
}
