//! The body of a `checkpoint`: how far a witness saw the chain of a node's seals
//! (`docs/format.md#checkpoint`).

use crate::accounting::calendar::Day;
use verge_sync::Digest;
use verge_sync::record::cbor::{self, FieldError, Fields, Map};

/// What a witness saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last day that is sealed.
    pub day: Day,
    /// The seal of that day; it names the one before, and so all of them.
    pub digest: Digest,
    /// How many seals lead up to it, with it.
    pub count: u64,
    /// Whether the witness saw seals of the node that exclude one another.
    pub is_forked: bool,
}

impl Checkpoint {
    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Map::new()
            .uint(0, self.day.number())
            .bytes(1, self.digest.as_bytes())
            .uint(2, self.count)
            .flag(3, self.is_forked)
            .finish()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`FieldError`]: it is none.
    pub fn decode(body: &[u8]) -> Result<Self, FieldError> {
        cbor::check(body).or(Err(FieldError::NotAMap))?;
        let fields = Fields::read(body)?;
        let count = fields.uint(2)?;
        Ok(Self {
            day: Day::new(fields.uint(0)?).ok_or(FieldError::Value(0))?,
            digest: Digest::from_bytes(fields.fixed(1)?),
            count: (count > 0).then_some(count).ok_or(FieldError::Value(2))?,
            is_forked: fields.flag(3)?,
        })
    }
}

/// Fuzz target: what is read is written and read again.
pub(crate) fn checkpoints(bytes: &[u8]) {
    if let Ok(read) = Checkpoint::decode(bytes) {
        assert_eq!(Checkpoint::decode(&read.encode()), Ok(read));
        assert!(read.count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            day: Day::new(20_787).unwrap(),
            digest: Digest::of(b"a seal"),
            count: 27,
            is_forked: false,
        }
    }

    /// Kept for ever, as every record that was ever written.
    #[test]
    fn kept_bytes_are_still_what_is_written_and_read() {
        let kept = include_bytes!("../../../fuzz/seeds/checkpoints/plain");
        assert_eq!(checkpoint().encode(), kept);
        let forked = Checkpoint {
            is_forked: true,
            ..checkpoint()
        };
        let kept = include_bytes!("../../../fuzz/seeds/checkpoints/forked");
        assert_eq!(Checkpoint::decode(kept), Ok(forked));
    }

    #[test]
    fn what_is_none_is_refused() {
        let map = || Map::new().uint(0, 1_u8).bytes(1, &[7; 32]);
        assert_eq!(
            Checkpoint::decode(&map().uint(2, 0_u8).finish()),
            Err(FieldError::Value(2))
        );
        assert_eq!(
            Checkpoint::decode(&map().finish()),
            Err(FieldError::Missing(2))
        );
        assert!(Checkpoint::decode(&map().uint(2, 1_u8).text(9, "later").finish()).is_ok());
        assert!(Checkpoint::decode(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_checkpoint_is_read_as_it_was_written(
            day in 0..1_u32 << 20,
            digest: [u8; 32],
            count in 1..u64::MAX,
            is_forked: bool,
        ) {
            let day = Day::new(day).unwrap();
            let checkpoint = Checkpoint { day, digest: Digest::from_bytes(digest), count, is_forked };
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }
    }
}
