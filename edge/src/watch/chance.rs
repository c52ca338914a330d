//! Randomness from a seed that nobody else knows: who is looked at next, and for what, must not be
//! foreseen by who is looked at.

use std::time::Duration;
use verge_sync::Digest;

/// Longer than so many means no gap is, so that nobody is forgotten.
const GAP_MEANS_MAX: f64 = 8.0;

/// Numbers by chance; the same from the same seed.
pub(super) struct Chance {
    seed: [u8; 32],
    drawn: u64,
}

impl Chance {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// 32 bytes that were never drawn before.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        self.drawn = self.drawn.wrapping_add(1);
        let parts: [&[u8]; 2] = [&self.seed, &self.drawn.to_be_bytes()];
        *Digest::derive("verge 1 watch chance", &parts).as_bytes()
    }

    fn number(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// One of 0..`count`; 0 of none.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        let share = (u128::from(self.number()) * u128::from(count)) >> 64;
        u64::try_from(share).unwrap_or(0)
    }

    /// One of them.
    pub(super) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        all.get(usize::try_from(self.below(count)).ok()?)
    }

    /// Whether it is heads.
    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// The time to the next of events that come `mean` apart on average and do not know of each
    /// other: exponential.
    pub(super) fn gap(&mut self, mean: Duration) -> Duration {
        let drawn = u32::try_from(self.number() >> 32).unwrap_or(u32::MAX);
        let share = (f64::from(drawn) + 1.0) / (f64::from(u32::MAX) + 1.0);
        mean.mul_f64((-share.ln()).clamp(0.0, GAP_MEANS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_irregular_and_as_long_as_wanted_on_average() {
        let mut chance = Chance::new([1; 32]);
        let mean = Duration::from_secs(600);
        let gaps: Vec<Duration> = (0..20_000).map(|_| chance.gap(mean)).collect();
        let average = gaps.iter().sum::<Duration>() / 20_000;
        assert!((580..620).contains(&average.as_secs()), "{average:?}");
        assert!(gaps.iter().max().is_some_and(|gap| *gap <= mean * 8));
        let short = gaps.iter().filter(|gap| **gap < mean / 10).count();
        assert!((1_700..2_100).contains(&short), "{short} of 20,000");
    }

    #[test]
    fn every_choice_comes_up_and_none_beyond() {
        let mut chance = Chance::new([2; 32]);
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            counts[*chance.pick(&[0, 1, 2, 3, 4]).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1_100).contains(count)),
            "{counts:?}"
        );
        assert_eq!(chance.pick::<u8>(&[]), None);
        assert_eq!(chance.below(0), 0);
        assert_ne!(Chance::new([2; 32]).bytes(), Chance::new([3; 32]).bytes());
        assert_eq!(Chance::new([2; 32]).bytes(), Chance::new([2; 32]).bytes());
    }
}
