//! How small representations are laid end to end in packs, and when a pack is written anew.
//!
//! Pure: lengths in, places out. Packs exist because many small blobs are slow to move (100,000
//! blobs of 2 KB: 10 MB/s; the same bytes in large blobs: 155-400 MB/s), and a rewrite happens only as
//! part of a deploy, so that an idle node writes nothing.

/// The longest representation that lies in a pack; a longer one is a blob of its own.
pub const PACKED_BYTES_MAX: u64 = 1 << 20;
/// A pack is closed before it would pass this. 16 MiB: large enough to move at full speed, small
/// enough that a rewrite of a half-dead pack is cheap on an SD card.
pub const PACK_BYTES_MAX: u64 = 16 << 20;
/// Packs below this are small; a deploy of a few files makes one.
pub const SMALL_PACK_BYTES: u64 = 4 << 20;
/// So many small packs are kept at most; one more, and all of them are written anew as one run.
/// 16: the bytes of a small deploy are written at most twice per 16 deploys.
pub const SMALL_PACKS_MAX: usize = 16;

/// A pack of the version before, seen from the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Length of the pack.
    pub bytes: u64,
    /// Bytes in it that the next version needs.
    pub alive_bytes: u64,
}

/// What becomes of a pack of the version before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is.
    Keep,
    /// What is alive in it moves to a new pack.
    Rewrite,
    /// Nothing in it is needed.
    Drop,
}

/// Decides what becomes of each pack: one less than half alive is written anew, and so are all
/// small ones when there would be more than [`SMALL_PACKS_MAX`] together with a new one.
#[must_use]
pub fn fates(packs: &[Occupancy]) -> Vec<Fate> {
    let mut fates: Vec<Fate> = packs.iter().map(fate).collect();
    let is_small =
        |(pack, fate): (&Occupancy, &Fate)| *fate == Fate::Keep && pack.bytes < SMALL_PACK_BYTES;
    let small_count = packs
        .iter()
        .zip(&fates)
        .filter(|pair| is_small(*pair))
        .count();
    if small_count >= SMALL_PACKS_MAX {
        for (pack, fate) in packs.iter().zip(&mut fates) {
            if is_small((pack, fate)) {
                *fate = Fate::Rewrite;
            }
        }
    }
    fates
}

fn fate(pack: &Occupancy) -> Fate {
    if pack.alive_bytes == 0 {
        Fate::Drop
    } else if pack.alive_bytes < pack.bytes.div_ceil(2) {
        Fate::Rewrite
    } else {
        Fate::Keep
    }
}

/// Where a representation lies in a run of new packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of the new packs, from 0.
    pub pack_index: u32,
    /// Offset of its first byte.
    pub offset: u64,
}

/// Lays representations end to end, in the order in which they come.
#[derive(Debug, Clone, Default)]
pub struct Packer {
    pack_index: u32,
    filled_bytes: u64,
}

impl Packer {
    /// The place of the next `length` bytes.
    ///
    /// # Panics
    /// If `length` is 0 (an empty representation has no place) or over [`PACKED_BYTES_MAX`].
    pub fn place(&mut self, length: u64) -> Place {
        assert!(
            (1..=PACKED_BYTES_MAX).contains(&length),
            "only representations of 1 byte to 1 MiB lie in packs"
        );
        if self.filled_bytes + length > PACK_BYTES_MAX {
            self.pack_index += 1;
            self.filled_bytes = 0;
        }
        let offset = self.filled_bytes;
        self.filled_bytes += length;
        Place {
            pack_index: self.pack_index,
            offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(packs: &[(u64, u64)], expected: &[Fate]) {
        let packs: Vec<Occupancy> = packs
            .iter()
            .map(|&(bytes, alive_bytes)| Occupancy { bytes, alive_bytes })
            .collect();
        assert_eq!(fates(&packs), expected, "{packs:?}");
    }

    #[test]
    fn half_dead_packs_are_rewritten() {
        use Fate::{Drop, Keep, Rewrite};
        check(&[], &[]);
        check(
            &[(100, 100), (100, 50), (100, 49), (100, 0)],
            &[Keep, Keep, Rewrite, Drop],
        );
        check(&[(101, 51), (101, 50), (1, 1)], &[Keep, Rewrite, Keep]);
    }

    #[test]
    fn small_packs_do_not_pile_up() {
        let large = (SMALL_PACK_BYTES, SMALL_PACK_BYTES);
        let mut packs = vec![(1000, 1000); SMALL_PACKS_MAX - 1];
        packs.push(large);
        check(&packs, &[Fate::Keep; SMALL_PACKS_MAX]);
        packs.push((1000, 1000));
        let mut expected = vec![Fate::Rewrite; SMALL_PACKS_MAX + 1];
        expected[SMALL_PACKS_MAX - 1] = Fate::Keep;
        check(&packs, &expected);
    }

    #[test]
    fn a_pack_is_closed_before_it_grows_too_large() {
        let mut packer = Packer::default();
        let places: Vec<Place> = (0..17).map(|_| packer.place(PACKED_BYTES_MAX)).collect();
        let last_two: Vec<_> = places[15..]
            .iter()
            .map(|p| (p.pack_index, p.offset))
            .collect();
        assert_eq!(last_two, [(0, 15 << 20), (1, 0)]);
    }

    proptest! {
        #[test]
        fn places_never_overlap_and_packs_stay_bounded(
            lengths in prop::collection::vec(1..=PACKED_BYTES_MAX, 0..200)
        ) {
            let mut packer = Packer::default();
            let mut next = (0, 0);
            for length in lengths {
                let place = packer.place(length);
                let here = (place.pack_index, place.offset);
                prop_assert!(here == next || here == (next.0 + 1, 0));
                next = (place.pack_index, place.offset + length);
                prop_assert!(next.1 <= PACK_BYTES_MAX);
            }
        }
    }
}
