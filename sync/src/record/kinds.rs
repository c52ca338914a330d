//! The table of kinds: their numbers, what their subjects are made of, and who may write them
//! (`docs/format.md#places`).
//!
//! `sync` owns the rows whose meaning it computes. All other rows are opaque: the edge hands them
//! over at start. A kind without a row is kept and passed on as well, without effect.

use super::envelope::{RECORD_BYTES_MAX, REGION_BYTES_MAX};
use crate::digest::Digest;
use crate::id::{AccountId, NodeId, ProviderId, RecordId, SiteId};

/// Slots of nodes that a provider has.
pub const SLOT_COUNT: u8 = 16;
/// Names that an account can claim.
pub const NAME_COUNT: u8 = 64;

/// The number of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u16);

#[expect(
    missing_docs,
    reason = "the constants are the words of docs/format.md#kinds"
)]
impl Kind {
    pub const REGION: Self = Self(1);
    pub const VOTE: Self = Self(2);
    pub const NODE: Self = Self(3);
    pub const LEAVE: Self = Self(4);
    pub const ACCOUNT: Self = Self(5);
    pub const SITE: Self = Self(6);
    pub const NAME: Self = Self(7);
    pub const DEPLOY: Self = Self(8);
    pub const TAKEDOWN: Self = Self(9);
    pub const TOMBSTONE: Self = Self(10);
    pub const CERTIFICATE: Self = Self(16);
    pub const SEAL: Self = Self(17);
    pub const SNAPSHOT: Self = Self(18);
    pub const CHECKPOINT: Self = Self(19);
    pub const OBSERVATION: Self = Self(20);
    pub const CLOSE: Self = Self(21);
}

impl Kind {
    /// Whether `sync` owns the kind: its body and its effect.
    #[must_use]
    pub fn is_owned(self) -> bool {
        (Self::REGION.0..=Self::TOMBSTONE.0).contains(&self.0)
    }

    /// The most bytes that a record of this kind has.
    #[must_use]
    pub fn bytes_max(self) -> usize {
        if self == Self::REGION {
            REGION_BYTES_MAX
        } else {
            RECORD_BYTES_MAX
        }
    }
}

/// A node's place at a provider: 0 is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The provider.
    pub provider: ProviderId,
    /// 0..=15.
    pub number: u8,
}

/// The decoded subject of a record of an owned kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `region`: the number of the step.
    Step(u32),
    /// `vote`: what is voted for, and by whom (a provider's or a node's id).
    Vote(RecordId, Digest),
    /// `node`.
    Node(Slot),
    /// `leave`, `tombstone`: an id.
    Id(Digest),
    /// `account`: the slot where it was created, and a counter.
    Account(Slot, u16),
    /// `site`: the slot where it was created, and a counter.
    Site(Slot, u16),
    /// `name`: the account and one of its 64 places for names.
    Name(AccountId, u8),
    /// `deploy`.
    Deploy(SiteId),
    /// `takedown`: the provider and the id of a site or account.
    Takedown(ProviderId, Digest),
}

impl Subject {
    /// Decodes the subject of an owned kind; `None` outside of the finite space.
    #[must_use]
    pub fn decode(kind: Kind, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let subject = match kind {
            Kind::REGION => Self::Step(u32::from_be_bytes(take(&mut rest)?)),
            Kind::VOTE => Self::Vote(
                RecordId::from_bytes(take(&mut rest)?),
                Digest::from_bytes(take(&mut rest)?),
            ),
            Kind::NODE => Self::Node(take_slot(&mut rest)?),
            Kind::LEAVE | Kind::TOMBSTONE => Self::Id(Digest::from_bytes(take(&mut rest)?)),
            Kind::ACCOUNT => {
                Self::Account(take_slot(&mut rest)?, u16::from_be_bytes(take(&mut rest)?))
            }
            Kind::SITE => Self::Site(take_slot(&mut rest)?, u16::from_be_bytes(take(&mut rest)?)),
            Kind::NAME => {
                let account = AccountId::from_bytes(take(&mut rest)?);
                let [index] = take(&mut rest)?;
                (index < NAME_COUNT).then_some(Self::Name(account, index))?
            }
            Kind::DEPLOY => Self::Deploy(SiteId::from_bytes(take(&mut rest)?)),
            Kind::TAKEDOWN => Self::Takedown(
                ProviderId::from_bytes(take(&mut rest)?),
                Digest::from_bytes(take(&mut rest)?),
            ),
            _ => return None,
        };
        rest.is_empty().then_some(subject)
    }

    /// The bytes that stand in the envelope; integers are big-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Step(number) => number.to_be_bytes().to_vec(),
            Self::Vote(record, voter) => [*record.as_bytes(), *voter.as_bytes()].concat(),
            Self::Node(slot) => slot.encode(),
            Self::Id(id) => id.as_bytes().to_vec(),
            Self::Account(slot, counter) | Self::Site(slot, counter) => {
                [slot.encode().as_slice(), &counter.to_be_bytes()].concat()
            }
            Self::Name(account, index) => [account.as_bytes().as_slice(), &[*index]].concat(),
            Self::Deploy(site) => site.as_bytes().to_vec(),
            Self::Takedown(provider, target) => [*provider.as_bytes(), *target.as_bytes()].concat(),
        }
    }
}

impl Slot {
    fn encode(&self) -> Vec<u8> {
        [self.provider.as_bytes().as_slice(), &[self.number]].concat()
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*taken)
}

fn take_slot(rest: &mut &[u8]) -> Option<Slot> {
    let provider = ProviderId::from_bytes(take(rest)?);
    let [number] = take(rest)?;
    (number < SLOT_COUNT).then_some(Slot { provider, number })
}

/// Whether a counter lies in a slot's sixteenth of the allowance.
pub(super) fn is_allowed(counter: u16, allowance: u32) -> bool {
    u32::from(counter) < allowance / 16
}

/// Which subjects a foreign kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectRule {
    /// 32 bytes: an id of a node that the author is.
    Author,
    /// The author's id (32 bytes) and the number of a day since 1970-01-01 (u32, big-endian).
    AuthorAndDay,
    /// The author's id and the id of another node of the region (64 bytes).
    AuthorAndNode,
    /// A digest and the author's id (64 bytes).
    DigestAndAuthor,
    /// The number of a month since 1970-01 (u32, big-endian).
    Month,
}

/// Who may write a foreign kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorRule {
    /// A node that is or was one of the region.
    Node,
    /// A provider that is or was one of the region.
    Provider,
    /// Either.
    Member,
}

/// A kind that `sync` stores and passes on without knowing what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindRow {
    /// Its number.
    pub number: Kind,
    /// Its name, for messages.
    pub name: &'static str,
    /// Its finite space of subjects.
    pub subject: SubjectRule,
    /// Who may write it.
    pub author: AuthorRule,
}

/// The foreign rows, handed over at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindTable(Vec<KindRow>);

impl KindTable {
    /// A table of `rows`.
    ///
    /// # Panics
    /// If a row has the number of an owned kind, or two rows have the same: a programmer's mistake.
    #[must_use]
    pub fn new(mut rows: Vec<KindRow>) -> Self {
        rows.sort_by_key(|row| row.number);
        assert!(
            rows.iter().all(|row| !row.number.is_owned())
                && rows.is_sorted_by(|a, b| a.number < b.number),
            "the foreign kinds have numbers of their own"
        );
        Self(rows)
    }

    /// The row of `kind`.
    #[must_use]
    pub fn row(&self, kind: Kind) -> Option<&KindRow> {
        let index = self.0.binary_search_by_key(&kind, |row| row.number).ok()?;
        self.0.get(index)
    }
}

impl SubjectRule {
    /// Whether `subject` is one of `author`'s; `is_node` says which ids are nodes of the region.
    #[must_use]
    pub fn holds(
        self,
        subject: &[u8],
        author: &[u8; 32],
        is_node: impl Fn(NodeId) -> bool,
    ) -> bool {
        let own = |part: &[u8]| part == author;
        match self {
            Self::Author => own(subject),
            Self::AuthorAndDay => subject.len() == 36 && subject.starts_with(author),
            Self::AuthorAndNode => {
                subject
                    .split_first_chunk::<32>()
                    .is_some_and(|(first, rest)| {
                        own(first)
                            && rest
                                .try_into()
                                .is_ok_and(|id| is_node(NodeId::from_bytes(id)))
                    })
            }
            Self::DigestAndAuthor => subject
                .split_at_checked(32)
                .is_some_and(|(_, rest)| own(rest)),
            Self::Month => subject.len() == 4,
        }
    }
}
