//! Whole numbers in as few bytes as they need (LEB128): seven bits in each, the lowest first, and the
//! highest bit set in all but the last.

/// 64 bits.
pub(super) const BYTES_MAX: usize = 10;

/// Appends a number.
pub(super) fn put(bytes: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        bytes.push(low | 0x80);
        rest /= 0x80;
    }
    let [last, ..] = rest.to_le_bytes();
    bytes.push(last);
}

/// Takes a number off the front; none of more than 64 bits, and none in more bytes than it needs.
pub(super) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut digits = rest.iter().take(BYTES_MAX);
    let last = digits.position(|byte| *byte < 0x80)?;
    let (digits, tail) = rest.split_at_checked(last.checked_add(1)?)?;
    if digits.len() > 1 && digits.last() == Some(&0) {
        return None;
    }
    *rest = tail;
    let mut from_the_highest = digits.iter().rev();
    from_the_highest.try_fold(0_u64, |sum, byte| {
        sum.checked_mul(0x80)?.checked_add(u64::from(byte & 0x7f))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::cases::cases;
    use proptest::prelude::*;

    #[test]
    fn numbers_take_the_bytes_that_they_need() {
        for (number, expected) in [
            (0, &[0][..]),
            (0x7f, &[0x7f]),
            (0x80, &[0x80, 1]),
            (20_760, &[0x98, 0xa2, 1]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(bytes, expected);
            assert_eq!(take(&mut bytes.as_slice()), Some(number));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0x80, 0],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        ] {
            assert_eq!(take(&mut &*bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn numbers_are_read_back_one_after_the_other(
            numbers in prop::collection::vec(any::<u64>().prop_flat_map(|number| {
                (0..64_u32).prop_map(move |bits| number >> bits)
            }), 0..20),
        ) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| put(&mut bytes, *number));
            let mut rest = bytes.as_slice();
            let read: Vec<u64> = std::iter::from_fn(|| take(&mut rest)).collect();
            prop_assert_eq!(read, numbers);
            prop_assert!(rest.is_empty());
        }
    }
}
