//! May we order: the limits of Let's Encrypt (published, August 2026) and our own inside them, by
//! what this issuer ordered within a week. Pure; [`BudgetFile`](super::budget_file::BudgetFile)
//! keeps it on disk.
//!
//! Every issuer of a region has a share of its own: [`MARGIN`] of each limit, divided by the number
//! of issuers. So they need not talk, and two sides of a partition cannot add up to more. The
//! account's key is what limits are counted by, so there is one budget per account and directory.
//! Renewals by RFC 9773 are not counted by the authority, once per predecessor; we only pace them.

use super::certificate::Predecessor;
use super::names::Names;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;
use verge_sync::clock::UnixTime;

/// So much of each limit is used by all issuers together.
pub const MARGIN: (u32, u32) = (4, 5);
/// Entries of the log. A week at full pace has more; a region of a thousand hosts has 600 orders
/// in its busiest week (`docs/scale.md`).
pub const ENTRIES_MAX: usize = 4096;
/// Longest stored form.
pub const BYTES_MAX: usize = 8 << 20;
const FORMAT: u32 = 1;
const HOUR: Duration = Duration::from_hours(1);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// So many within so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// Within any stretch of this length.
    pub period: Duration,
}

/// New orders of an account.
pub const ORDERS: Rate = rate(300, 3);
/// New certificates below one registered domain.
pub const DOMAIN: Rate = rate(50, 7 * 24);
/// Certificates for exactly the same names.
pub const SET: Rate = rate(5, 7 * 24);
/// Failed validations of one name.
pub const FAILURES: Rate = rate(5, 1);
/// Our own: new certificates of one owner, so that none uses up what is all of the region's.
pub const OWNER: Rate = rate(60, 7 * 24);
/// Our own: a backlog is spread, renewals that nobody counts too. A twelfth of [`ORDERS`] in a
/// twelfth of its time.
pub const PACE: Rate = Rate {
    count: 25,
    period: Duration::from_mins(15),
};

const fn rate(count: u32, hours: u64) -> Rate {
    Rate {
        count,
        period: Duration::from_hours(hours),
    }
}

impl Rate {
    /// What one of so many issuers may use: at least one.
    #[must_use]
    pub fn share(self, issuer_count: u32) -> u32 {
        let (part, whole) = MARGIN;
        (self.count * part / whole / issuer_count.max(1)).max(1)
    }
}

/// What is to be ordered.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The names.
    pub names: &'a Names,
    /// Whose names they are: any text that stands for the owner.
    pub owner: &'a str,
    /// The certificate that the order replaces, if the server knows RFC 9773.
    pub replaces: Option<&'a Predecessor>,
}

/// An order that may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// Its place in the log.
    pub number: OrderNumber,
    /// Whether it fits too if the authority counts it, because another issuer replaced the same
    /// certificate first: goes into [`Wish::may_count`](super::Wish::may_count).
    pub may_count: bool,
}

/// Stands for an order in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OrderNumber(u64);

/// Why it may not be ordered now: a sentence for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is used up.
    pub limit: Limit,
    /// From when it is not, as far as is known now.
    pub possible_at: UnixTime,
}

/// A limit that is used up, by how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// Our own pace.
    Pace(u32),
    /// Orders of the account.
    Orders(u32),
    /// New certificates below a registered domain.
    Domain(String, u32),
    /// Certificates for exactly these names.
    Set(u32),
    /// Failed validations of a name.
    Failures(String, u32),
    /// New certificates of an owner.
    Owner(u32),
    /// The log is full.
    Log,
}

/// Stored bytes that are no budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log of certificate orders is damaged or of a later release")]
pub struct BudgetError;

/// What this issuer ordered, and what it may order still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    issuer_count: u32,
    next: u64,
    /// In the order of their times, but for clocks that were set back.
    orders: VecDeque<Entry>,
    failures: VecDeque<Failed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    number: OrderNumber,
    at_s: i64,
    /// The digest of the names.
    set: String,
    domains: Vec<String>,
    owner: String,
    /// Counted by nobody but us.
    replaces: Option<String>,
    /// Whether a certificate came of it, or may still.
    is_certificate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    at_s: i64,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    next: u64,
    orders: VecDeque<Entry>,
    failures: VecDeque<Failed>,
}

impl Budget {
    /// Nothing ordered yet, with the share of one of so many issuers.
    #[must_use]
    pub fn new(issuer_count: u32) -> Self {
        Self {
            issuer_count,
            next: 0,
            orders: VecDeque::new(),
            failures: VecDeque::new(),
        }
    }

    /// As [`Self::to_bytes`] stored it.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn from_bytes(bytes: &[u8], issuer_count: u32) -> Result<Self, BudgetError> {
        if bytes.len() > BYTES_MAX {
            return Err(BudgetError);
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(|_error| BudgetError)?;
        let fits = stored.orders.len() <= ENTRIES_MAX && stored.failures.len() <= ENTRIES_MAX;
        if stored.format != FORMAT || !fits {
            return Err(BudgetError);
        }
        Ok(Self {
            issuer_count,
            next: stored.next,
            orders: stored.orders,
            failures: stored.failures,
        })
    }

    /// To store, before what it allowed is sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            format: FORMAT,
            next: self.next,
            orders: self.orders.clone(),
            failures: self.failures.clone(),
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// The region has another number of issuers now.
    pub fn set_issuer_count(&mut self, issuer_count: u32) {
        self.issuer_count = issuer_count;
    }

    /// Whether this may be ordered now.
    ///
    /// # Errors
    /// [`Refusal`]: of all limits that are used up, the one that lasts longest.
    pub fn allows(&self, ask: &Ask<'_>, now: UnixTime) -> Result<(), Refusal> {
        let worst = self
            .refusals(ask, now)
            .into_iter()
            .max_by_key(|refusal| refusal.possible_at);
        worst.map_or(Ok(()), Err)
    }

    /// Notes an order that is about to be sent. An order that is resumed was noted already.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is noted then.
    pub fn begin(&mut self, ask: &Ask<'_>, now: UnixTime) -> Result<Granted, Refusal> {
        self.prune(now);
        self.allows(ask, now)?;
        let counted = Ask {
            replaces: None,
            ..*ask
        };
        let may_count = self.allows(&counted, now).is_ok();
        let number = OrderNumber(self.next);
        self.next = self.next.saturating_add(1);
        self.orders.push_back(Entry {
            number,
            at_s: now.0,
            set: ask.names.digest().to_string(),
            domains: domains(ask.names).into_iter().collect(),
            owner: ask.owner.to_owned(),
            replaces: self
                .exemption(ask)
                .map(|replaces| replaces.as_str().to_owned()),
            is_certificate: true,
        });
        Ok(Granted { number, may_count })
    }

    /// The order brought a certificate. Where the server did not take it for a renewal, it counts.
    pub fn issued(&mut self, number: OrderNumber, was_replacement: bool) {
        if let Some(entry) = self.entry(number).filter(|_| !was_replacement) {
            entry.replaces = None;
        }
    }

    /// The order is dead; the names whose validation failed are counted.
    pub fn failed<'a>(
        &mut self,
        number: OrderNumber,
        failures: impl IntoIterator<Item = &'a str>,
        now: UnixTime,
    ) {
        if let Some(entry) = self.entry(number) {
            entry.is_certificate = false;
        }
        for name in failures {
            self.failures.push_back(Failed {
                at_s: now.0,
                name: base(name).to_owned(),
            });
        }
        self.prune(now);
    }

    /// The last order for these names: what a crash left of it is resumed under this grant. If it
    /// was not sent yet, it is sent only if it is not counted.
    #[must_use]
    pub fn last_of(&self, names: &Names) -> Option<Granted> {
        let set = names.digest().to_string();
        let last = self.orders.iter().rev().find(|entry| entry.set == set)?;
        Some(Granted {
            number: last.number,
            may_count: last.replaces.is_none(),
        })
    }

    fn entry(&mut self, number: OrderNumber) -> Option<&mut Entry> {
        self.orders
            .iter_mut()
            .rev()
            .find(|entry| entry.number == number)
    }

    /// The predecessor, if the authority will not count the order: once for each.
    fn exemption<'a>(&self, ask: &Ask<'a>) -> Option<&'a Predecessor> {
        let is_used = |replaces: &Predecessor| {
            let same = |entry: &Entry| entry.replaces.as_deref() == Some(replaces.as_str());
            self.orders
                .iter()
                .any(|entry| entry.is_certificate && same(entry))
        };
        ask.replaces.filter(|replaces| !is_used(replaces))
    }

    fn refusals(&self, ask: &Ask<'_>, now: UnixTime) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut check =
            |rate: Rate, times: &mut dyn Iterator<Item = i64>, limit: &dyn Fn(u32) -> Limit| {
                let count = rate.share(self.issuer_count);
                refusals.extend(
                    wait(rate.period, count, times, now).map(|possible_at| Refusal {
                        limit: limit(count),
                        possible_at,
                    }),
                );
            };
        check(PACE, &mut self.times(|_entry| true), &Limit::Pace);
        for name in ask.names.iter().map(base).collect::<BTreeSet<_>>() {
            let of_name = self.failures.iter().filter(|failed| failed.name == name);
            let limit = |count| Limit::Failures(name.to_owned(), count);
            check(FAILURES, &mut of_name.map(|failed| failed.at_s), &limit);
        }
        if self.exemption(ask).is_none() {
            let set = ask.names.digest().to_string();
            check(ORDERS, &mut self.times(Entry::is_counted), &Limit::Orders);
            let of_set = |entry: &Entry| entry.is_new_certificate() && entry.set == set;
            check(SET, &mut self.times(of_set), &Limit::Set);
            for domain in domains(ask.names) {
                let of_domain =
                    |entry: &Entry| entry.is_new_certificate() && entry.domains.contains(&domain);
                let limit = |count| Limit::Domain(domain.clone(), count);
                check(DOMAIN, &mut self.times(of_domain), &limit);
            }
            let of_owner = |entry: &Entry| entry.is_new_certificate() && entry.owner == ask.owner;
            check(OWNER, &mut self.times(of_owner), &Limit::Owner);
        }
        if self.orders.len() >= ENTRIES_MAX || self.failures.len() >= ENTRIES_MAX {
            let oldest = self.times(|_entry| true).next().unwrap_or(now.0);
            refusals.push(Refusal {
                limit: Limit::Log,
                possible_at: UnixTime(oldest).plus(WEEK),
            });
        }
        refusals
    }

    fn times<'a>(&'a self, fits: impl Fn(&Entry) -> bool + 'a) -> impl Iterator<Item = i64> + 'a {
        self.orders
            .iter()
            .filter(move |entry| fits(entry))
            .map(|entry| entry.at_s)
    }

    /// Forgets what no limit counts any more, and what a clock noted that was far ahead.
    fn prune(&mut self, now: UnixTime) {
        let is_within = |at_s: i64, period| {
            now.since(UnixTime(at_s)) < period && UnixTime(at_s) <= now.plus(WEEK)
        };
        self.orders.retain(|entry| is_within(entry.at_s, WEEK));
        self.failures.retain(|failed| is_within(failed.at_s, HOUR));
        while self.failures.len() > ENTRIES_MAX {
            self.failures.pop_front();
        }
    }
}

impl Entry {
    fn is_counted(&self) -> bool {
        self.replaces.is_none()
    }

    fn is_new_certificate(&self) -> bool {
        self.is_certificate && self.is_counted()
    }
}

/// When one more fits, if none does now.
fn wait(
    period: Duration,
    count: u32,
    times: &mut dyn Iterator<Item = i64>,
    now: UnixTime,
) -> Option<UnixTime> {
    let mut recent: Vec<i64> = times
        .filter(|at| now.since(UnixTime(*at)) < period)
        .collect();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    // The one that must have passed.
    let place = recent.len().checked_sub(count)?;
    let (_before, at, _after) = recent.select_nth_unstable(place);
    Some(UnixTime(*at).plus(period))
}

fn base(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

/// The registered domains of names: what the Public Suffix List leaves of each.
fn domains(names: &Names) -> BTreeSet<String> {
    let names = names.iter().map(base);
    names
        .map(|name| psl::domain_str(name).unwrap_or(name).to_owned())
        .collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.limit {
            Limit::Pace(count) => write!(f, "{count} certificates were ordered within 15 minutes")?,
            Limit::Orders(count) => write!(f, "{count} certificates were ordered within 3 hours")?,
            Limit::Domain(domain, count) => {
                write!(
                    f,
                    "names below {domain} got {count} new certificates within 7 days"
                )?;
            }
            Limit::Set(count) => {
                write!(
                    f,
                    "exactly these names got {count} certificates within 7 days"
                )?;
            }
            Limit::Failures(name, count) => {
                write!(f, "{count} validations of {name} failed within an hour")?;
            }
            Limit::Owner(count) => {
                write!(
                    f,
                    "names of this account got {count} new certificates within 7 days"
                )?;
            }
            Limit::Log => f.write_str("too many certificates were ordered within 7 days")?,
        }
        match jiff::Timestamp::from_second(self.possible_at.0) {
            Ok(time) => write!(f, "; the next one is possible at {time}"),
            Err(_out_of_range) => f.write_str("; the next one is not possible soon"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR_S: i64 = 3600;
    const DAY_S: i64 = 24 * HOUR_S;

    fn names(text: &str) -> Names {
        Names::new(text.split(' ')).unwrap()
    }

    fn ask(names: &Names) -> Ask<'_> {
        Ask {
            names,
            owner: "anna",
            replaces: None,
        }
    }

    /// Orders until it is refused: how many fitted, and why not one more.
    fn until_refused(
        budget: &mut Budget,
        next: impl Fn(u32) -> (Names, String),
        pause_s: i64,
    ) -> (u32, Refusal) {
        for count in 0..10_000 {
            let (names, owner) = next(count);
            let ask = Ask {
                owner: &owner,
                ..ask(&names)
            };
            if let Err(refusal) = budget.begin(&ask, UnixTime(i64::from(count) * pause_s)) {
                return (count, refusal);
            }
        }
        panic!("never refused")
    }

    #[test]
    fn each_limit_stops_at_its_share() {
        type Next = fn(u32) -> (Names, String);
        let everybody: Next = |n| (names(&format!("h{n}.d{n}.example")), n.to_string());
        let one_owner: Next = |n| (names(&format!("h{n}.d{n}.example")), "anna".to_owned());
        let one_domain: Next = |n| (names(&format!("h{n}.garden.org")), n.to_string());
        let one_set: Next = |n| (names("a.garden.org"), n.to_string());
        let domain = |count| Limit::Domain("garden.org".to_owned(), count);
        // Up to four issuers, the pace keeps the orders of an account inside of its limit.
        let rows: &[(u32, Next, i64, u32, Limit)] = &[
            (1, everybody, 0, 20, Limit::Pace(20)),
            (1, one_owner, 60, 48, Limit::Owner(48)),
            (1, one_domain, 60, 40, domain(40)),
            (1, one_set, 60, 4, Limit::Set(4)),
            (2, everybody, 0, 10, Limit::Pace(10)),
            (30, everybody, 900, 8, Limit::Orders(8)),
            (2, one_domain, 120, 20, domain(20)),
            (2, one_set, 120, 2, Limit::Set(2)),
            (3, one_set, 120, 1, Limit::Set(1)),
        ];
        for (issuers, next, pause_s, expected, limit) in rows {
            let (count, refusal) = until_refused(&mut Budget::new(*issuers), next, *pause_s);
            assert_eq!(
                (count, &refusal.limit),
                (*expected, limit),
                "{issuers} {pause_s}"
            );
        }
    }

    #[test]
    fn shares_of_all_issuers_stay_inside_the_limits() {
        for rate in [ORDERS, DOMAIN, SET, FAILURES] {
            for issuers in 1..=4 {
                assert!(
                    rate.share(issuers) * issuers <= rate.count,
                    "{rate:?} {issuers}"
                );
            }
        }
    }

    #[test]
    fn a_refusal_says_when() {
        let (names, mut budget) = (names("a.garden.org"), Budget::new(1));
        let at = |hours: i64| UnixTime(hours * HOUR_S);
        for hour in 0..4 {
            budget.begin(&ask(&names), at(hour)).unwrap();
        }
        let refusal = budget.begin(&ask(&names), at(24)).unwrap_err();
        assert_eq!(refusal.possible_at, at(7 * 24));
        let sentence = "exactly these names got 4 certificates within 7 days; \
                        the next one is possible at 1970-01-08T00:00:00Z";
        assert_eq!(refusal.to_string(), sentence);
        let before = UnixTime(7 * DAY_S - 1);
        assert_eq!(budget.allows(&ask(&names), before).unwrap_err(), refusal);
        budget.begin(&ask(&names), refusal.possible_at).unwrap();
        let again = budget.begin(&ask(&names), refusal.possible_at).unwrap_err();
        assert_eq!(again.possible_at, at(7 * 24 + 1));
    }

    #[test]
    fn a_dead_order_frees_the_certificate_but_not_the_order() {
        let (names, mut budget) = (names("a.garden.org *.a.garden.org"), Budget::new(1));
        for hour in 0..9 {
            let now = UnixTime(hour * HOUR_S);
            let number = budget.begin(&ask(&names), now).unwrap().number;
            budget.failed(number, [], now);
        }
        assert_eq!(budget.times(Entry::is_counted).count(), 9);
        assert_eq!(budget.times(Entry::is_new_certificate).count(), 0);
    }

    #[test]
    fn failed_validations_lock_a_name_for_an_hour() {
        let (names, other, mut budget) = (names("*.a.example"), names("b.example"), Budget::new(1));
        for minute in 0..4 {
            let now = UnixTime(minute * 60);
            let number = budget.begin(&ask(&names), now).unwrap().number;
            budget.failed(number, ["a.example"], now);
        }
        let refusal = budget.allows(&ask(&names), UnixTime(300)).unwrap_err();
        assert_eq!(refusal.limit, Limit::Failures("a.example".to_owned(), 4));
        assert_eq!(refusal.possible_at, UnixTime(HOUR_S));
        assert!(budget.allows(&ask(&other), UnixTime(300)).is_ok());
        assert!(budget.allows(&ask(&names), UnixTime(HOUR_S)).is_ok());
    }

    #[test]
    fn a_renewal_is_not_counted_once_per_predecessor() {
        let (names, mut budget) = (names("a.garden.org"), Budget::new(1));
        let first = Predecessor::from_text("key.1").unwrap();
        let renewal = Ask {
            replaces: Some(&first),
            ..ask(&names)
        };
        for hour in 0..4 {
            budget.begin(&ask(&names), UnixTime(hour * HOUR_S)).unwrap();
        }
        let now = UnixTime(5 * HOUR_S);
        assert!(budget.allows(&ask(&names), now).is_err());
        let Granted { number, may_count } = budget.begin(&renewal, now).unwrap();
        assert!(!may_count);
        assert!(
            budget.allows(&renewal, now).is_err(),
            "the second one is counted"
        );
        budget.issued(number, true);
        assert_eq!(budget.times(Entry::is_counted).count(), 4);
        // The server did not take it for one.
        budget.issued(number, false);
        assert_eq!(budget.times(Entry::is_counted).count(), 5);
    }

    #[test]
    fn the_log_is_bounded() {
        let mut budget = Budget::new(1);
        let entry = |number: usize| Entry {
            number: OrderNumber(number as u64),
            at_s: DAY_S,
            set: String::new(),
            domains: Vec::new(),
            owner: String::new(),
            replaces: Some("key.1".to_owned()),
            is_certificate: false,
        };
        budget.orders = (1..ENTRIES_MAX).map(entry).collect();
        let (names, now) = (names("a.example"), UnixTime(2 * DAY_S));
        budget.begin(&ask(&names), now).unwrap();
        let refusal = budget.begin(&ask(&names), now).unwrap_err();
        assert_eq!(
            (refusal.limit, refusal.possible_at),
            (Limit::Log, UnixTime(8 * DAY_S))
        );
        assert!(budget.to_bytes().len() < BYTES_MAX);
        budget.orders.push_back(entry(0));
        assert_eq!(Budget::from_bytes(&budget.to_bytes(), 1), Err(BudgetError));
        budget.begin(&ask(&names), UnixTime(9 * DAY_S)).unwrap();
        assert_eq!(budget.orders.len(), 1);
        let many: Vec<String> = (0..5000).map(|n| format!("h{n}.example")).collect();
        budget.failed(
            OrderNumber(1),
            many.iter().map(String::as_str),
            UnixTime(9 * DAY_S),
        );
        assert_eq!(budget.failures.len(), ENTRIES_MAX);
    }

    #[test]
    fn a_clock_that_was_ahead_locks_nothing_for_good() {
        let (names, mut budget) = (names("a.example"), Budget::new(1));
        for _order in 0..4 {
            budget.begin(&ask(&names), UnixTime(400 * DAY_S)).unwrap();
        }
        budget.begin(&ask(&names), UnixTime(0)).unwrap();
        assert_eq!(budget.orders.len(), 1);
    }

    #[test]
    fn stored_bytes_give_it_back_or_are_refused() {
        let (names, mut budget) = (names("a.example"), Budget::new(2));
        let number = budget.begin(&ask(&names), UnixTime(5)).unwrap().number;
        budget.failed(number, ["a.example"], UnixTime(6));
        let bytes = budget.to_bytes();
        assert_eq!(Budget::from_bytes(&bytes, 2).unwrap(), budget);
        for length in 0..bytes.len() {
            assert_eq!(Budget::from_bytes(&bytes[..length], 2), Err(BudgetError));
        }
        assert_eq!(budget.last_of(&names).map(|last| last.number), Some(number));
    }

    proptest! {
        /// Whatever is asked when, no stretch of time has more than the share.
        #[test]
        fn no_window_has_more_than_its_share(
            steps in prop::collection::vec((0_i64..20_000, 0_u8..6, 0_u8..3), 1..300),
            issuers in 1_u32..4,
        ) {
            let mut budget = Budget::new(issuers);
            let (mut now, mut granted) = (0, Vec::new());
            for (pause, host, domain) in steps {
                now += pause;
                let names = names(&format!("h{host}.d{domain}.org"));
                let owner = domain.to_string();
                let ask = Ask { owner: &owner, ..ask(&names) };
                match budget.begin(&ask, UnixTime(now)) {
                    Ok(_granted) => granted.push((now, names, domain)),
                    Err(refusal) => prop_assert!(refusal.possible_at > UnixTime(now)),
                }
            }
            for (at, names, domain) in &granted {
                let since = |period: Duration| {
                    let fits = move |one: &&(i64, Names, u8)| {
                        one.0 <= *at && UnixTime(*at).since(UnixTime(one.0)) < period
                    };
                    granted.iter().filter(fits)
                };
                let share = |rate: Rate| rate.share(issuers) as usize;
                prop_assert!(since(PACE.period).count() <= share(PACE));
                prop_assert!(since(ORDERS.period).count() <= share(ORDERS));
                let of_set = since(SET.period).filter(|one| one.1 == *names);
                prop_assert!(of_set.count() <= share(SET));
                let of_domain = since(DOMAIN.period).filter(|one| one.2 == *domain);
                prop_assert!(of_domain.count() <= share(DOMAIN));
            }
        }
    }
}
