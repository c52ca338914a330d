//! Days and months of UTC, counted from 1970.

use jiff::ToSpan;
use jiff::civil::{Date, date};
use std::fmt;
use std::str::FromStr;

/// A day since 1970-01-01, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32);

/// A month since 1970-01, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(u32);

/// Text that names no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no month such as 2026-11")]
pub struct NoMonth(String);

/// In the year 4840; what comes later is a mistake.
const DAY_MAX: u32 = 1 << 20;

/// UTC has days of this length only, as clocks show them.
const DAY_S: u64 = 86_400;

const EPOCH: Date = date(1970, 1, 1);

impl Day {
    /// The last that there is.
    pub const LAST: Self = Self(DAY_MAX);

    /// Day `number` since 1970-01-01; none of a far future.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number <= DAY_MAX).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The day of a time in seconds since 1970.
    #[must_use]
    pub fn of_time(wall_s: u64) -> Self {
        let number = u32::try_from(wall_s / DAY_S).unwrap_or(DAY_MAX);
        Self(number.min(DAY_MAX))
    }

    /// Its first second, since 1970.
    #[must_use]
    pub fn begins_s(self) -> u64 {
        u64::from(self.0).saturating_mul(DAY_S)
    }

    /// So many days earlier, or the first.
    #[must_use]
    pub fn minus(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1).min(DAY_MAX))
    }

    fn date(self) -> Date {
        EPOCH.checked_add(i64::from(self.0).days()).unwrap_or(EPOCH)
    }

    /// The month that it is in.
    #[must_use]
    pub fn month(self) -> Month {
        Month::of(self.date())
    }

    /// Whether the next day is in another month.
    #[must_use]
    pub fn is_last_of_month(self) -> bool {
        self.next().month() != self.month()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

impl Month {
    /// Month `number` since 1970-01; none of a far future.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        // 4840 is the last whole year that days are counted in.
        const MONTH_MAX: u32 = (4840 - 1970) * 12 - 1;
        (number <= MONTH_MAX).then_some(Self(number))
    }

    /// The number of months since 1970-01.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    fn of(date: Date) -> Self {
        let years = u32::try_from(date.year())
            .unwrap_or(1970)
            .saturating_sub(1970);
        let months = u32::try_from(date.month()).unwrap_or(1).saturating_sub(1);
        Self(years.saturating_mul(12).saturating_add(months))
    }

    fn first_date(self) -> Date {
        let months = i64::from(self.0).months();
        EPOCH.checked_add(months).unwrap_or(EPOCH)
    }

    /// Its first day.
    #[must_use]
    pub fn first_day(self) -> Day {
        let days = self.first_date().since(EPOCH).map(|span| span.get_days());
        Day(days
            .ok()
            .and_then(|days| u32::try_from(days).ok())
            .unwrap_or(0))
    }

    /// Its last day.
    #[must_use]
    pub fn last_day(self) -> Day {
        let days = u32::try_from(self.first_date().days_in_month()).unwrap_or(28);
        Day(self.first_day().0.saturating_add(days.saturating_sub(1)))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.first_date();
        write!(f, "{:04}-{:02}", date.year(), date.month())
    }
}

impl FromStr for Month {
    type Err = NoMonth;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoMonth(text.chars().take(20).collect());
        let whole: Date = format!("{text}-01").parse().or(Err(wrong()))?;
        let month = Self::of(whole);
        let is_read_back = month.to_string() == text && month.last_day().0 <= DAY_MAX;
        is_read_back.then_some(month).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight() {
        let day = |number| Day::new(number).unwrap();
        assert_eq!(Day::of_time(0), day(0));
        assert_eq!(Day::of_time(86_399), day(0));
        assert_eq!(Day::of_time(86_400), day(1));
        assert_eq!(Day::of_time(u64::MAX), Day::LAST);
        assert_eq!(Day::LAST.next(), Day::LAST);
        assert_eq!(day(3).minus(2), day(1));
        assert_eq!(day(3).minus(4), day(0));
    }

    #[test]
    fn months_are_of_utc() {
        for (text, first, last) in [
            ("1970-01", 0, 30),
            ("2024-02", 19_754, 19_782),
            ("2026-11", 20_758, 20_787),
            ("2100-02", 47_513, 47_540),
        ] {
            let month: Month = text.parse().unwrap();
            assert_eq!(
                (month.first_day().number(), month.last_day().number()),
                (first, last)
            );
            assert_eq!(month.to_string(), text);
            assert_eq!(Day(first).month(), month);
            assert_eq!(Day(last).month(), month);
            assert!(Day(last).is_last_of_month() && !Day(first).is_last_of_month());
        }
        assert_eq!(Day(20_758).to_string(), "2026-11-01");
        for text in [
            "",
            "2026",
            "2026-1",
            "2026-13",
            "2026-11-01",
            "1969-12",
            "9999-01",
            "+2026-11",
        ] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
        assert!(Day::new(DAY_MAX).is_some() && Day::new(DAY_MAX + 1).is_none());
        let last: Month = "4839-12".parse().unwrap();
        assert_eq!(Month::new(last.number()), Some(last));
        assert_eq!(Month::new(last.number() + 1), None);
        assert_eq!(Day(DAY_MAX).to_string(), "4840-11-26");
    }
}
