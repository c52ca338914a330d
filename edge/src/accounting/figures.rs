//! What is counted: three kinds of bytes that are never mixed, and the row that carries them.

use verge_sync::id::SiteId;

/// What attribution counts: as if the smallest stored representation had been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CreditBytes(pub u64);

/// Encoded body bytes that reached the visitor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BodyBytes(pub u64);

/// What the kernel says that the peer acknowledged: the node's own cost, never credited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireBytes(pub u64);

/// The most that any figure of a day may be: 64 PiB.
pub const FIGURE_MAX: u64 = 1 << 56;

/// What kind of response was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 200 and 206 with at least one acknowledged body byte.
    Answer,
    /// HEAD, 304, and answers of which no body byte arrived: counted, worth nothing.
    Bare,
    /// To declared bots: kept apart, worth nothing.
    Bot,
}

/// What was counted of one site and class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Responses.
    pub requests: u64,
    /// At most the body bytes.
    pub credit: CreditBytes,
    /// See [`BodyBytes`].
    pub body: BodyBytes,
}

/// One row of a journal's frame, or of a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Of what.
    pub site: SiteId,
    /// Of which kind.
    pub class: Class,
    /// How much.
    pub count: Count,
}

/// SiteId, class u8, requests u64, credit bytes u64, body bytes u64; big-endian.
pub const ROW_BYTES: usize = 57;

/// What a node counts of its connections, whatever they were for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeTotals {
    /// Connections that ended.
    pub connections: u64,
    /// Acknowledged by the visitors' machines.
    pub wire: WireBytes,
    /// Sent again.
    pub retransmitted: WireBytes,
    /// Responses that ended with an error of ours.
    pub errors: u64,
}

impl Class {
    /// As a row has it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Answer => 0,
            Self::Bare => 1,
            Self::Bot => 2,
        }
    }

    /// The class of that code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Answer, Self::Bare, Self::Bot]
            .into_iter()
            .find(|class| class.code() == code)
    }
}

fn sum(a: u64, b: u64) -> Option<u64> {
    a.checked_add(b).filter(|sum| *sum <= FIGURE_MAX)
}

impl Count {
    /// The sum; none above [`FIGURE_MAX`].
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            requests: sum(self.requests, other.requests)?,
            credit: CreditBytes(sum(self.credit.0, other.credit.0)?),
            body: BodyBytes(sum(self.body.0, other.body.0)?),
        })
    }

    /// Of each figure the smaller.
    #[must_use]
    pub fn smaller(self, other: Self) -> Self {
        Self {
            requests: self.requests.min(other.requests),
            credit: self.credit.min(other.credit),
            body: self.body.min(other.body),
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// Whether the figures can be of responses of that class.
    #[must_use]
    pub fn fits(self, class: Class) -> bool {
        let is_bounded = [self.requests, self.credit.0, self.body.0]
            .iter()
            .all(|figure| *figure <= FIGURE_MAX);
        let has_no_body = self.body.0 == 0;
        // Bytes without a request: of one that was counted the day before.
        is_bounded
            && !self.is_nothing()
            && self.credit.0 <= self.body.0
            && (class != Class::Bare || has_no_body)
    }
}

impl Row {
    /// The bytes of a row.
    #[must_use]
    pub fn encode(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        let fields = [
            self.site.as_bytes().as_slice(),
            &[self.class.code()],
            &self.count.requests.to_be_bytes(),
            &self.count.credit.0.to_be_bytes(),
            &self.count.body.0.to_be_bytes(),
        ];
        let all = fields.into_iter().flatten();
        for (to, from) in bytes.iter_mut().zip(all) {
            *to = *from;
        }
        bytes
    }

    /// Reads one; none of an unknown class.
    #[must_use]
    pub fn decode(bytes: &[u8; ROW_BYTES]) -> Option<Self> {
        let (site, rest) = bytes.split_first_chunk::<32>()?;
        let ([class], rest) = rest.split_first_chunk::<1>()?;
        let mut rest = rest;
        let mut next = || take_u64(&mut rest);
        Some(Self {
            site: SiteId::from_bytes(*site),
            class: Class::from_code(*class)?,
            count: Count {
                requests: next()?,
                credit: CreditBytes(next()?),
                body: BodyBytes(next()?),
            },
        })
    }
}

impl NodeTotals {
    /// The sum; none above [`FIGURE_MAX`].
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        Some(Self {
            connections: sum(self.connections, other.connections)?,
            wire: WireBytes(sum(self.wire.0, other.wire.0)?),
            retransmitted: WireBytes(sum(self.retransmitted.0, other.retransmitted.0)?),
            errors: sum(self.errors, other.errors)?,
        })
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Takes a big-endian u64 off the front.
pub(super) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (taken, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u64::from_be_bytes(*taken))
}

/// Takes a big-endian u32 off the front.
pub(super) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (taken, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u32::from_be_bytes(*taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_back() {
        let row = Row {
            site: SiteId::from_bytes([7; 32]),
            class: Class::Bot,
            count: Count {
                requests: 1,
                credit: CreditBytes(2),
                body: BodyBytes(u64::MAX),
            },
        };
        let mut bytes = row.encode();
        assert_eq!(Row::decode(&bytes), Some(row));
        bytes[32] = 3;
        assert_eq!(Row::decode(&bytes), None);
    }

    #[test]
    fn figures_fit_their_class() {
        let count = |requests, credit, body| Count {
            requests,
            credit: CreditBytes(credit),
            body: BodyBytes(body),
        };
        for (count, answer, bare) in [
            (count(1, 1, 1), true, false),
            (count(1, 0, 0), true, true),
            (count(0, 0, 0), false, false),
            (count(0, 1, 1), true, false),
            (count(1, 2, 1), false, false),
            (count(FIGURE_MAX, FIGURE_MAX, FIGURE_MAX), true, false),
            (count(1, 1, FIGURE_MAX + 1), false, false),
        ] {
            assert_eq!(count.fits(Class::Answer), answer, "{count:?}");
            assert_eq!(count.fits(Class::Bare), bare, "{count:?}");
        }
        assert_eq!(count(1, 0, FIGURE_MAX).plus(count(1, 0, 1)), None);
    }
}
