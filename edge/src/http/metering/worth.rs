//! What arrived of an answer, and what that is worth: arithmetic alone.

use crate::accounting::figures::{BodyBytes, CreditBytes};

/// What the bytes of an answer are worth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::http) struct Worth {
    /// Length of the smallest stored representation of the file.
    pub(in crate::http) smallest_bytes: u64,
    /// Length of the representation that is sent, or of which parts are.
    pub(in crate::http) encoded_bytes: u64,
    /// Where in the body content is; none: everywhere.
    pub(in crate::http) parts: Option<Box<[Part]>>,
}

/// A stretch of a body with several parts: its head, then content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct Part {
    pub(in crate::http) head_bytes: u64,
    pub(in crate::http) content_bytes: u64,
}

impl Worth {
    /// Of the first `arrived` bytes of the body: its content, and what attribution counts of it.
    pub(super) fn of(&self, arrived: u64) -> (BodyBytes, CreditBytes) {
        let content = self.content(arrived);
        (BodyBytes(content), CreditBytes(self.credit(content)))
    }

    fn content(&self, arrived: u64) -> u64 {
        let Some(parts) = &self.parts else {
            return arrived;
        };
        let (mut left, mut content) = (arrived, 0_u64);
        for part in parts {
            left = left.saturating_sub(part.head_bytes);
            let taken = left.min(part.content_bytes);
            content = content.saturating_add(taken);
            left = left.saturating_sub(taken);
        }
        content
    }

    /// `floor(smallest x content / encoded)`, and never more than the content.
    fn credit(&self, content: u64) -> u64 {
        let product = u128::from(self.smallest_bytes).saturating_mul(u128::from(content));
        let credit = product.checked_div(u128::from(self.encoded_bytes));
        let credit = credit.and_then(|credit| u64::try_from(credit).ok());
        credit.unwrap_or(0).min(content)
    }
}

/// Of `written` body bytes, the last of which ends at position `end` of what the connection wrote:
/// those that have arrived for sure, when everything before position `delivered` has.
///
/// In HTTP/1.1 a body lies in one piece and this is exact. In HTTP/2 other streams' frames may lie
/// between; they count as if they were its own.
pub(super) fn arrived(written: u64, end: u64, delivered: u64) -> u64 {
    written.saturating_sub(end.saturating_sub(delivered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_of_the_smallest_and_rounded_down() {
        let worth = |smallest_bytes, encoded_bytes| Worth {
            smallest_bytes,
            encoded_bytes,
            parts: None,
        };
        for (smallest, encoded, arrived, expected) in [
            (300, 1_000, 1_000, 300),
            (300, 1_000, 999, 299),
            (300, 1_000, 3, 0),
            (300, 1_000, 4, 1),
            (1_000, 1_000, 7, 7),
            (0, 0, 0, 0),
            (0, 0, 5, 0),
            (2_000, 1_000, 5, 5),
            (u64::MAX, u64::MAX, u64::MAX, u64::MAX),
        ] {
            let (body, credit) = worth(smallest, encoded).of(arrived);
            assert_eq!(
                (body.0, credit.0),
                (arrived, expected),
                "{smallest}/{encoded}"
            );
        }
    }

    #[test]
    fn between_the_parts_nothing_is_content() {
        let part = |head_bytes, content_bytes| Part {
            head_bytes,
            content_bytes,
        };
        let worth = Worth {
            smallest_bytes: 50,
            encoded_bytes: 100,
            parts: Some([part(10, 4), part(12, 6), part(8, 0)].into()),
        };
        for (arrived, body, credit) in [
            (0, 0, 0),
            (10, 0, 0),
            (11, 1, 0),
            (14, 4, 2),
            (26, 4, 2),
            (27, 5, 2),
            (32, 10, 5),
            (40, 10, 5),
        ] {
            let (content, worth) = worth.of(arrived);
            assert_eq!((content.0, worth.0), (body, credit), "{arrived}");
        }
    }

    proptest::proptest! {
        /// Frames of several streams, in any order, cut anywhere.
        #[test]
        fn never_more_than_arrived_and_less_by_the_tail_at_most(
            frames in proptest::collection::vec((0_usize..4, 9_u64..30, 0_u64..16_384), 1..80),
            cut_percent in 0_u64..=100,
        ) {
            let (mut position, mut streams) = (0_u64, [(0_u64, 0_u64); 4]);
            let mut places = Vec::new();
            for (stream, head, length) in frames {
                places.push((stream, position + head, length));
                position += head + length;
                let (written, end) = &mut streams[stream];
                (*written, *end) = (*written + length, position);
            }
            let delivered = position * cut_percent / 100;
            for (stream, (written, end)) in streams.iter().enumerate() {
                let of_stream = places.iter().filter(|place| place.0 == stream);
                let really: u64 = of_stream
                    .map(|(_, start, length)| delivered.saturating_sub(*start).min(*length))
                    .sum();
                let said = arrived(*written, *end, delivered);
                proptest::prop_assert!(said <= really);
                proptest::prop_assert!(written - said <= position - delivered);
                if *end <= delivered {
                    proptest::prop_assert_eq!(said, *written);
                }
            }
        }

        /// One answer after the other: exact wherever the stream is cut.
        #[test]
        fn bodies_in_one_piece_are_exact(
            answers in proptest::collection::vec((100_u64..600, 0_u64..100_000), 1..20),
            cut_percent in 0_u64..=100,
        ) {
            let all: u64 = answers.iter().map(|(head, body)| head + body).sum();
            let delivered = all * cut_percent / 100;
            let mut position = 0;
            for (head, body) in answers {
                let really = delivered.saturating_sub(position + head).min(body);
                position += head + body;
                proptest::prop_assert_eq!(arrived(body, position, delivered), really);
            }
        }

        /// However often it is asked, the parts of the credit add up to that of the whole.
        #[test]
        fn credit_grows_to_the_same(
            smallest in 0_u64..1 << 40, more in 0_u64..1 << 40, steps in proptest::collection::vec(0_u64..1 << 40, 1..20),
        ) {
            let worth = Worth { smallest_bytes: smallest, encoded_bytes: smallest + more, parts: None };
            let (mut before, mut total, mut arrived) = (0, 0, 0_u64);
            for step in steps {
                arrived = arrived.saturating_add(step).min(smallest + more);
                let (body, credit) = worth.of(arrived);
                proptest::prop_assert!(credit.0 <= body.0 && credit.0 >= before);
                total += credit.0 - before;
                before = credit.0;
            }
            proptest::prop_assert_eq!(total, worth.of(arrived).1.0);
        }
    }
}
