//! Arithmetic that is exact or an error: nothing wraps, saturates or rounds unseen.

use std::fmt;

/// A figure that does not fit 128 bits; inputs are bounded so that it does not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a figure is too large to be worked out exactly")]
pub struct Overflow;

/// `a + b`.
///
/// # Errors
/// [`Overflow`].
pub fn add(a: u128, b: u128) -> Result<u128, Overflow> {
    a.checked_add(b).ok_or(Overflow)
}

/// `a x b`.
///
/// # Errors
/// [`Overflow`].
pub fn multiply(a: u128, b: u128) -> Result<u128, Overflow> {
    a.checked_mul(b).ok_or(Overflow)
}

/// `a / b`, rounded down.
///
/// # Errors
/// [`Overflow`] if `b` is 0.
pub fn divide_down(a: u128, b: u128) -> Result<u128, Overflow> {
    a.checked_div(b).ok_or(Overflow)
}

/// The sum of `numbers`.
///
/// # Errors
/// [`Overflow`].
pub fn sum(numbers: impl IntoIterator<Item = u128>) -> Result<u128, Overflow> {
    numbers.into_iter().try_fold(0, add)
}

/// `number` in 64 bits.
///
/// # Errors
/// [`Overflow`].
pub fn narrow(number: u128) -> Result<u64, Overflow> {
    u64::try_from(number).or(Err(Overflow))
}

/// `part` of `whole` in per cent with one decimal place, for people.
#[derive(Debug, Clone, Copy)]
pub struct Percent {
    /// What is looked at.
    pub part: u128,
    /// What 100 % is.
    pub whole: u128,
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = multiply(self.part, 1_000).and_then(|part| divide_down(part, self.whole));
        match tenths {
            Ok(tenths) => {
                let (whole, tenth) = (tenths.checked_div(10), tenths.checked_rem(10));
                write!(f, "{}.{} %", whole.unwrap_or(0), tenth.unwrap_or(0))
            }
            Err(Overflow) => f.write_str("0.0 %"),
        }
    }
}
