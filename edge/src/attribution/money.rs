//! Money: whole cents of one currency, and how they are read and written.

use std::fmt;

/// The smallest unit of a currency, whatever it is called; never below 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(pub u64);

/// All fees of a month together: a thousand million of a currency with cents. It keeps every product
/// of attribution within 128 bits.
pub const FEES_MAX: Cents = Cents(100_000_000_000);

impl Cents {
    /// The sum; none above 64 bits.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; none below 0.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

/// The currencies of ISO 4217 that are money in use, with the digits of their smallest unit where
/// these are not two.
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD3 BIF0 BMD BND BOB BRL BSD \
    BTN BWP BYN BZD CAD CDF CHF CLP0 CNY COP CRC CUP CVE CZK DJF0 DKK DOP DZD EGP ERN ETB EUR FJD \
    FKP GBP GEL GHS GIP GMD GNF0 GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD3 IRR ISK0 JMD JOD3 JPY0 \
    KES KGS KHR KMF0 KPW KRW0 KWD3 KYD KZT LAK LBP LKR LRD LSL LYD3 MAD MDL MGA MKD MMK MNT MOP MRU \
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR3 PAB PEN PGK PHP PKR PLN PYG0 QAR RON RSD \
    RUB RWF0 SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND3 TOP TRY \
    TTD TWD TZS UAH UGX0 USD UYU UZS VED VES VND0 VUV0 WST XAF0 XCD XOF0 XPF0 YER ZAR ZMW ZWG";

/// A currency by its ISO 4217 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency {
    code: &'static str,
    digits: u32,
}

/// What is no amount of a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// No number.
    #[error("{0:?} is no amount such as 12.50")]
    NotANumber(String),
    /// Below 0.
    #[error("{0} is less than nothing")]
    Negative(String),
    /// Fractions of the smallest unit.
    #[error("{text} has more than the {digits} decimal places of {code}")]
    Fraction {
        /// As it was written.
        text: String,
        /// How many there may be.
        digits: u32,
        /// The currency.
        code: &'static str,
    },
    /// Above [`FEES_MAX`].
    #[error("{0} is more than all fees of a month can be")]
    TooMuch(String),
}

impl Currency {
    /// The currency of this code; none if nobody has it.
    #[must_use]
    pub fn of(code: &str) -> Option<Self> {
        let entries = CODES.split_ascii_whitespace();
        let mut found = entries.filter_map(|entry| entry.split_at_checked(3));
        let (code, digits) = found.find(|(known, _)| *known == code)?;
        let digits = if digits.is_empty() {
            2
        } else {
            digits.parse().ok()?
        };
        Some(Self { code, digits })
    }

    /// Its three letters.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.code
    }

    /// Decimal places of its smallest unit.
    #[must_use]
    pub fn digits(self) -> u32 {
        self.digits
    }

    fn unit(self) -> u64 {
        10_u64.saturating_pow(self.digits)
    }

    /// The number alone: `12.50`.
    #[must_use]
    pub fn number(self, amount: Cents) -> String {
        let whole = amount.0.checked_div(self.unit()).unwrap_or(0);
        let rest = amount.0.checked_rem(self.unit()).unwrap_or(0);
        if self.digits == 0 {
            return whole.to_string();
        }
        let width = usize::try_from(self.digits).unwrap_or(2);
        format!("{whole}.{rest:0width$}")
    }

    /// For people: `12.50 EUR`.
    #[must_use]
    pub fn show(self, amount: Cents) -> Shown {
        Shown {
            currency: self,
            amount,
        }
    }

    /// Reads `12`, `12.5` or `12.50`.
    ///
    /// # Errors
    /// [`AmountError`].
    pub fn read(self, text: &str) -> Result<Cents, AmountError> {
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if text.starts_with('-') && text.len() > 1 {
            return Err(AmountError::Negative(text.to_owned()));
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        if whole.is_empty() || fraction.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return Err(AmountError::NotANumber(text.chars().take(40).collect()));
        }
        let width = usize::try_from(self.digits).unwrap_or(0);
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > width {
            return Err(AmountError::Fraction {
                text: text.chars().take(40).collect(),
                digits: self.digits,
                code: self.code,
            });
        }
        let number = format!("{whole}{fraction:0<width$}").parse::<u64>();
        let amount = number.ok().map(Cents).filter(|amount| *amount <= FEES_MAX);
        amount.ok_or_else(|| AmountError::TooMuch(text.chars().take(40).collect()))
    }
}

/// An amount with its currency.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    currency: Currency,
    amount: Cents,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!(
            "{} {}",
            self.currency.number(self.amount),
            self.currency.code
        );
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, text: &str, expected: Option<u64>) {
        let currency = Currency::of(code).unwrap();
        assert_eq!(
            currency.read(text).ok(),
            expected.map(Cents),
            "{code} {text}"
        );
    }

    #[test]
    fn amounts_are_read_to_the_cent() {
        check("EUR", "12.50", Some(1_250));
        check("EUR", "12.5", Some(1_250));
        check("EUR", "12", Some(1_200));
        check("EUR", "0", Some(0));
        check("EUR", "0.01", Some(1));
        check("EUR", "12.500", Some(1_250));
        check("EUR", "1000000000.00", Some(FEES_MAX.0));
        check("EUR", "1000000000.01", None);
        check("JPY", "12", Some(12));
        check("JPY", "12.5", None);
        check("KWD", "1.234", Some(1_234));
        for text in [
            "",
            "-1",
            "-",
            "+1",
            "1,5",
            "1.",
            ".5",
            "1.2.3",
            "1.234",
            " 1",
            "1 ",
            "1e3",
            "NaN",
            "99999999999999999999999",
            "\u{661}",
        ] {
            check("EUR", text, None);
        }
    }

    #[test]
    fn amounts_are_written_with_all_places() {
        for (code, amount, expected) in [
            ("EUR", 1_250, "12.50 EUR"),
            ("EUR", 5, "0.05 EUR"),
            ("JPY", 1_250, "1250 JPY"),
            ("KWD", 1_250, "1.250 KWD"),
        ] {
            let currency = Currency::of(code).unwrap();
            assert_eq!(currency.show(Cents(amount)).to_string(), expected);
        }
        for code in ["", "EU", "eur", "EURO", "XXX", "0", "BHD3"] {
            assert_eq!(Currency::of(code), None, "{code}");
        }
    }
}
