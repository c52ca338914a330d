//! Largest remainders: a whole number divided by weights, without a cent lost or made.

/// The largest weight has fewer bits than this when it is multiplied: a total of 64 bits times it
/// fits 128.
const WEIGHT_BITS: u32 = 64;

/// Divides `total` by `weights`: each gets its quota rounded down, and what is left goes one by one
/// to the largest remainders; of equal ones to the earlier weight, so callers bring weights in
/// ascending order of the id bytes.
///
/// The parts add up to `total`. If the largest weight has more than 64 bits, all are shifted right
/// equally. None if no weight is above 0: then the caller has to fall back to something.
#[must_use]
pub fn divide(total: u64, weights: &[u128]) -> Option<Vec<u64>> {
    let largest = weights
        .iter()
        .copied()
        .max()
        .filter(|largest| *largest > 0)?;
    let bits = u128::BITS.checked_sub(largest.leading_zeros())?;
    let shift = bits.saturating_sub(WEIGHT_BITS);
    let shifted = weights.iter().map(|weight| weight.checked_shr(shift));
    let weights: Vec<u128> = shifted.collect::<Option<_>>()?;
    let sum = weights.iter().copied().try_fold(0, u128::checked_add)?;
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    let mut left = total;
    for (index, weight) in weights.into_iter().enumerate() {
        let product = u128::from(total).checked_mul(weight)?;
        let part = u64::try_from(product.checked_div(sum)?).ok()?;
        left = left.checked_sub(part)?;
        parts.push(part);
        remainders.push((std::cmp::Reverse(product.checked_rem(sum)?), index));
    }
    remainders.sort_unstable();
    for (_, index) in remainders.into_iter().take(usize::try_from(left).ok()?) {
        let part = parts.get_mut(index)?;
        *part = part.checked_add(1)?;
    }
    Some(parts)
}

/// The same in equal parts, the first ones a unit larger; none if there is nobody.
#[must_use]
pub fn divide_equally(total: u64, count: usize) -> Option<Vec<u64>> {
    divide(total, &vec![1; count])
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]
mod tests {
    use super::*;
    use crate::attribution::cases::cases;
    use proptest::prelude::*;

    fn check(total: u64, weights: &[u128], expected: &[u64]) {
        assert_eq!(divide(total, weights).as_deref(), Some(expected));
    }

    #[test]
    fn what_is_left_goes_to_the_largest_remainders() {
        check(240, &[720, 720, 540], &[87, 87, 66]);
        check(600, &[910, 111, 82], &[495, 60, 45]);
        check(500, &[50, 20, 20, 10], &[250, 100, 100, 50]);
        check(2, &[1, 1, 1], &[1, 1, 0]);
        check(0, &[1, 2], &[0, 0]);
        check(7, &[0, 5, 0], &[0, 7, 0]);
        check(
            u64::MAX,
            &[u128::MAX, u128::MAX],
            &[u64::MAX / 2 + 1, u64::MAX / 2],
        );
        check(10, &[1 << 127, 1, 0], &[10, 0, 0]);
        assert_eq!(divide(5, &[0, 0]), None);
        assert_eq!(divide(5, &[]), None);
        assert_eq!(divide_equally(5, 2).as_deref(), Some(&[3, 2][..]));
        assert_eq!(divide_equally(5, 0), None);
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn parts_add_up_and_are_quotas_rounded_down_or_up(
            total: u64,
            weights in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let wide: Vec<u128> = weights.iter().copied().map(u128::from).collect();
            let sum: u128 = wide.iter().sum();
            let parts = divide(total, &wide).unwrap();
            prop_assert_eq!(parts.iter().copied().map(u128::from).sum::<u128>(), u128::from(total));
            for (part, weight) in parts.iter().zip(&wide) {
                let quota = u128::from(total) * weight / sum;
                prop_assert!(u128::from(*part) == quota || u128::from(*part) == quota + 1);
            }
        }

        /// More of a weight never costs its owner more than one of rounding.
        #[test]
        fn a_larger_weight_costs_at_most_one(
            total in 0..1_000_000_u64,
            weights in prop::collection::vec(0..1_u64 << 56, 2..20),
            more in 0..1_u64 << 56,
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let mut wide: Vec<u128> = weights.iter().copied().map(u128::from).collect();
            let before = divide(total, &wide).unwrap()[0];
            wide[0] += u128::from(more);
            let after = divide(total, &wide).unwrap()[0];
            prop_assert!(after + 1 >= before);
        }
    }
}
