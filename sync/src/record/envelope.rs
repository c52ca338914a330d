//! One record: its envelope, its bytes, its identity (`docs/format.md#envelope`).

use super::body::{Body, Vote};
use super::cbor::{self, CborError, FieldError, Fields, Map};
use super::kinds::Kind;
use super::signature::{self, Signature, SignatureError};
use crate::digest::Digest;
use crate::id::{AccountId, NodeId, ProviderId, RecordId, RegionId};
use ed25519_dalek::SigningKey;
use std::fmt;
use std::sync::OnceLock;

/// The only format that this release reads and writes.
pub const FORMAT: u64 = 1;
/// 2 KiB: a region of 100,000 records stays under 200 MB on a card, and a flood is cheap to refuse.
pub const RECORD_BYTES_MAX: usize = 2 << 10;
/// 64 KiB for a `region` step: a complete document with some dozens of providers.
pub const REGION_BYTES_MAX: usize = 64 << 10;
/// The longest subject is a vote's: two ids.
pub const SUBJECT_BYTES_MAX: usize = 64;
/// Predecessors that one record can name.
pub const PREDECESSORS_MAX: usize = 8;
/// Records that can follow one another in one epoch.
pub const SEQUENCE_MAX: u32 = 4_096;

mod key {
    pub(super) const FORMAT: u64 = 0;
    pub(super) const REGION: u64 = 1;
    pub(super) const KIND: u64 = 2;
    pub(super) const SUBJECT: u64 = 3;
    pub(super) const AUTHOR: u64 = 4;
    pub(super) const LOG: u64 = 5;
    pub(super) const N: u64 = 6;
    pub(super) const EPOCH: u64 = 7;
    pub(super) const SEQUENCE: u64 = 8;
    pub(super) const PREDECESSORS: u64 = 9;
    pub(super) const BODY: u64 = 10;
    pub(super) const SIGNATURES: u64 = 11;
}

/// Who wrote a record: the 32 bytes of a provider's, a node's or an account's id. Which of them it
/// is, [`Effect`](super::Effect) knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorId([u8; 32]);

impl AuthorId {
    /// Takes 32 bytes that are an id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id as a provider's.
    #[must_use]
    pub const fn provider(&self) -> ProviderId {
        ProviderId::from_bytes(self.0)
    }

    /// The id as a node's.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        NodeId::from_bytes(self.0)
    }

    /// The id as an account's.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        AccountId::from_bytes(self.0)
    }
}

impl fmt::Debug for AuthorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorId({})", Digest::from_bytes(self.0))
    }
}

impl From<ProviderId> for AuthorId {
    fn from(id: ProviderId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<NodeId> for AuthorId {
    fn from(id: NodeId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<AccountId> for AuthorId {
    fn from(id: AccountId) -> Self {
        Self(*id.as_bytes())
    }
}

/// 8 random bytes made with a data directory: with `n` they show gaps and cloned directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub [u8; 8]);

/// What every record says besides its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The region; 32 zero bytes in step 0, whose RecordId becomes the region's id.
    pub region: RegionId,
    /// What kind of statement it is; any number.
    pub kind: Kind,
    /// What it is about, encoded as its kind says; at most [`SUBJECT_BYTES_MAX`] bytes.
    pub subject: Vec<u8>,
    /// Who says it.
    pub author: AuthorId,
    /// The author's data directory.
    pub log: LogId,
    /// Counts the author's records in that log, from 1.
    pub n: u64,
    /// The epoch within the subject.
    pub epoch: u32,
    /// 1 + the highest sequence of the predecessors of the same epoch; 1..=[`SEQUENCE_MAX`].
    pub sequence: u32,
    /// The records that this one follows: ascending, of the same kind and subject.
    pub predecessors: Vec<RecordId>,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More bytes than the kind may have.
    #[error("the record has {0} bytes, more than its kind may have")]
    TooLong(usize),
    /// Not canonical.
    #[error("the record is not canonical")]
    Cbor(#[from] CborError),
    /// A field of the envelope is missing or out of its range.
    #[error("the envelope is wrong")]
    Envelope(#[from] FieldError),
    /// Written in a format that this release does not know.
    #[error("format {0} is not known to this release")]
    Format(u64),
    /// The sequence is 0, above [`SEQUENCE_MAX`], or not 1 although nothing precedes.
    #[error("sequence {0} is out of range")]
    Sequence(u32),
    /// More than [`PREDECESSORS_MAX`] predecessors, or not in ascending order.
    #[error("the predecessors are too many or not in ascending order")]
    Predecessors,
    /// Not exactly one signature.
    #[error("a record has exactly one signature")]
    Signatures,
    /// The signature does not hold.
    #[error("the signature is wrong")]
    Signature(#[from] SignatureError),
}

/// A parsed record together with its bytes, exactly as received. A region has tens of thousands in
/// memory: what the bytes say and nobody asks for is not kept beside them.
#[derive(Clone)]
pub struct Record {
    envelope: Envelope,
    body: Held,
    signer: [u8; 32],
    id: RecordId,
    bytes: Box<[u8]>,
}

/// How the body of a record is kept.
#[derive(Clone)]
enum Held {
    /// One that many have.
    Shared(&'static Body),
    /// Decoded when somebody asks for it: most deploys are followed by others, and only their place is
    /// of interest.
    Lazy(OnceLock<Box<Body>>),
    /// What made it undecodable.
    Unreadable(FieldError),
}

static FOR: Body = Body::Vote(Vote::For);
static FOREIGN: Body = Body::Foreign;

impl Record {
    /// Parses bytes that anybody may have sent. The signature is *not* checked: see
    /// [`Record::verify`]. Unknown kinds and unknown keys are kept; a body that cannot be decoded
    /// does not make the record invalid, it only has no effect.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > REGION_BYTES_MAX {
            return Err(RecordError::TooLong(bytes.len()));
        }
        cbor::check(bytes)?;
        let fields = Fields::read(bytes)?;
        let envelope = read_envelope(&fields)?;
        if bytes.len() > envelope.kind.bytes_max() {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let signer = read_signature(&fields)?.key;
        let body = fields
            .raw(key::BODY)
            .ok_or(FieldError::Missing(key::BODY))?;
        // A body that is no map would have no keys to ignore: not the shape of any release.
        Fields::read(body).or(Err(FieldError::Value(key::BODY)))?;
        let body = Held::of(envelope.kind, body);
        let id = RecordId::from_digest(Digest::of(&unsigned(bytes, &fields)));
        Ok(Self {
            envelope,
            body,
            signer,
            id,
            bytes: bytes.into(),
        })
    }

    /// Checks the author's signature (about 60 us).
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self) -> Result<(), SignatureError> {
        let (kind, region) = (self.envelope.kind.0, &self.envelope.region);
        self.signature()
            .verify(&signature::message(kind, region, &self.id))
    }

    /// The record's name: the digest of its canonical bytes without signatures.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The decoded body.
    ///
    /// # Errors
    /// What made it undecodable; such a record is stored without effect.
    pub fn body(&self) -> Result<&Body, FieldError> {
        match &self.body {
            Held::Shared(body) => Ok(body),
            Held::Lazy(body) => Ok(body.get_or_init(|| self.decode().into())),
            Held::Unreadable(error) => Err(*error),
        }
    }

    /// Whether it has a body that this release can decode.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !matches!(self.body, Held::Unreadable(_))
    }

    /// The key that signed it.
    #[must_use]
    pub fn signer(&self) -> &[u8; 32] {
        &self.signer
    }

    /// The bytes as they were received.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The region that the record belongs to; for step 0, which names none, its own id.
    #[must_use]
    pub fn region(&self) -> RegionId {
        let founds = self.envelope.kind == Kind::REGION && self.envelope.region.digest().is_zero();
        if founds {
            RegionId::from_digest(self.id.digest())
        } else {
            self.envelope.region
        }
    }

    /// Of two byte forms of one record every node keeps the one with the lower digest: whether that
    /// is this one.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        debug_assert_eq!(self.id, other.id, "two forms of one record");
        self.bytes != other.bytes && Digest::of(&self.bytes) < Digest::of(&other.bytes)
    }

    fn signature(&self) -> Signature {
        let fields = Fields::read(&self.bytes).ok();
        let signature = fields.and_then(|fields| read_signature(&fields).ok());
        signature.expect("a parsed record has a signature")
    }

    fn decode(&self) -> Body {
        let fields = Fields::read(&self.bytes).ok();
        let body = fields.as_ref().and_then(|fields| fields.raw(key::BODY));
        let body = body.and_then(|body| Body::decode(self.envelope.kind, body).ok());
        body.expect("a body that was decoded once is decoded again")
    }
}

impl Held {
    fn of(kind: Kind, body: &[u8]) -> Self {
        match Body::decode(kind, body) {
            Ok(body) if body == FOR => Self::Shared(&FOR),
            Ok(Body::Foreign) => Self::Shared(&FOREIGN),
            Ok(Body::Deploy(_)) => Self::Lazy(OnceLock::new()),
            Ok(body) => Self::Lazy(Box::new(body).into()),
            Err(error) => Self::Unreadable(error),
        }
    }
}

/// All else follows from the bytes.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signer = Digest::from_bytes(self.signer);
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("envelope", &self.envelope)
            .field("body", &self.body())
            .field("signer", &signer)
            .finish_non_exhaustive()
    }
}

fn read_envelope(fields: &Fields<'_>) -> Result<Envelope, RecordError> {
    let format = fields.uint(key::FORMAT)?;
    if format != FORMAT {
        return Err(RecordError::Format(format));
    }
    let subject = fields
        .bytes_opt(key::SUBJECT)?
        .ok_or(FieldError::Missing(key::SUBJECT))?;
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err(FieldError::Value(key::SUBJECT).into());
    }
    let n = fields.uint(key::N)?;
    if n == 0 {
        return Err(FieldError::Value(key::N).into());
    }
    let predecessors = fields
        .ids_opt(key::PREDECESSORS, PREDECESSORS_MAX)
        .or(Err(RecordError::Predecessors))?
        .ok_or(FieldError::Missing(key::PREDECESSORS))?;
    if !predecessors.is_sorted_by(|a, b| a < b) {
        return Err(RecordError::Predecessors);
    }
    let sequence = fields.uint(key::SEQUENCE)?;
    if sequence == 0 || sequence > SEQUENCE_MAX || (predecessors.is_empty() && sequence != 1) {
        return Err(RecordError::Sequence(sequence));
    }
    Ok(Envelope {
        region: RegionId::from_bytes(fields.fixed(key::REGION)?),
        kind: Kind(fields.uint(key::KIND)?),
        subject: subject.to_vec(),
        author: AuthorId(fields.fixed(key::AUTHOR)?),
        log: LogId(fields.fixed(key::LOG)?),
        n,
        epoch: fields.uint(key::EPOCH)?,
        sequence,
        predecessors: predecessors.into_iter().map(RecordId::from_bytes).collect(),
    })
}

fn read_signature(fields: &Fields<'_>) -> Result<Signature, RecordError> {
    let wrong = RecordError::Signatures;
    let rows = fields.items(key::SIGNATURES, 1).or(Err(wrong))?;
    let [row] = rows.as_slice() else {
        return Err(wrong);
    };
    let parts = cbor::items(row, 3).ok_or(wrong)?;
    let [key, scheme, bytes] = parts.as_slice() else {
        return Err(wrong);
    };
    let read = |bytes| minicbor::Decoder::new(bytes).bytes().or(Err(wrong));
    Ok(Signature {
        key: read(key)?.try_into().or(Err(wrong))?,
        scheme: minicbor::Decoder::new(scheme).u8().or(Err(wrong))?,
        bytes: read(bytes)?.to_vec(),
    })
}

/// The canonical bytes without the entry of the signatures.
fn unsigned(bytes: &[u8], fields: &Fields<'_>) -> Vec<u8> {
    let Some(entry) = fields.field(key::SIGNATURES) else {
        return bytes.to_vec();
    };
    let count = u64::try_from(fields.len()).expect("a count fits 64 bits");
    let mut rest = cbor::map_head(count - 1);
    // The head of the whole map: what stands before the first entry.
    let begin = cbor::map_head(count).len();
    // An entry is its key's head (one byte for 11) and its value.
    let end = entry.start + 1 + entry.value.len();
    rest.extend_from_slice(bytes.get(begin..entry.start).unwrap_or_default());
    rest.extend_from_slice(bytes.get(end..).unwrap_or_default());
    rest
}

/// A record that waits for its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The envelope.
    pub envelope: Envelope,
    /// The canonical bytes of the body: a map.
    pub body: Vec<u8>,
}

impl Draft {
    /// The id that the record will have.
    #[must_use]
    pub fn id(&self) -> RecordId {
        RecordId::from_digest(Digest::of(&self.map().finish()))
    }

    /// The canonical bytes without signature, to carry a request to where the key lives.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.map().finish()
    }

    /// Reads such a request. A finished record reads as the draft that it was.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > REGION_BYTES_MAX {
            return Err(RecordError::TooLong(bytes.len()));
        }
        cbor::check(bytes)?;
        let fields = Fields::read(bytes)?;
        let body = fields
            .raw(key::BODY)
            .ok_or(FieldError::Missing(key::BODY))?;
        Ok(Self {
            envelope: read_envelope(&fields)?,
            body: body.to_vec(),
        })
    }

    /// The same in a log of its own, named after what it says, as its only record.
    pub(super) fn in_own_log(mut self) -> Self {
        (self.envelope.log, self.envelope.n) = (LogId([0; 8]), 1);
        let digest = Digest::derive("verge 1 draft log", &[&self.to_bytes()]);
        if let Some(log) = digest.as_bytes().first_chunk() {
            self.envelope.log = LogId(*log);
        }
        self
    }

    /// What the signature must cover, for keys that live elsewhere.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        signature::message(self.envelope.kind.0, &self.envelope.region, &self.id())
    }

    /// Signs with a key at hand.
    ///
    /// # Errors
    /// [`RecordError`] if the envelope or the body breaks a rule or a limit.
    pub fn sign(&self, key: &SigningKey) -> Result<Record, RecordError> {
        self.finish(&Signature::raw(key, &self.message()))
    }

    /// Completes the record with a signature made elsewhere, and checks it.
    ///
    /// # Errors
    /// [`RecordError`], also if the signature does not fit.
    pub fn attach(&self, signature: &Signature) -> Result<Record, RecordError> {
        let record = self.finish(signature)?;
        record.verify()?;
        Ok(record)
    }

    fn finish(&self, signature: &Signature) -> Result<Record, RecordError> {
        let row = {
            let mut encoder = minicbor::Encoder::new(Vec::new());
            let written = encoder
                .array(1)
                .and_then(|e| e.array(3)?.bytes(&signature.key)?.u8(signature.scheme))
                .and_then(|e| e.bytes(&signature.bytes))
                .map(drop);
            written.expect("writing to a Vec does not fail");
            encoder.into_writer()
        };
        Record::parse(&self.map().raw(key::SIGNATURES, &row).finish())
    }

    fn map(&self) -> Map {
        let envelope = &self.envelope;
        Map::new()
            .uint(key::FORMAT, FORMAT)
            .bytes(key::REGION, envelope.region.as_bytes())
            .uint(key::KIND, envelope.kind.0)
            .bytes(key::SUBJECT, &envelope.subject)
            .bytes(key::AUTHOR, envelope.author.as_bytes())
            .bytes(key::LOG, &envelope.log.0)
            .uint(key::N, envelope.n)
            .uint(key::EPOCH, envelope.epoch)
            .uint(key::SEQUENCE, envelope.sequence)
            .ids(
                key::PREDECESSORS,
                envelope.predecessors.iter().map(RecordId::as_bytes),
            )
            .raw(key::BODY, &self.body)
    }
}
