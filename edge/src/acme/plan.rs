//! Who orders which certificate, and when: pure. Time, failures and advice come in by value.
//!
//! There is no election and no lease (`docs/architecture.md`). The issuers of a region are ranked
//! for each set of names by a rendezvous hash. Rank 0 renews at 0.45 to 0.50 of a certificate's
//! life, rank r at 0.50 + 0.05 r, so that a dead issuer costs 5 % of a life; two sides of a
//! partition order once each. For what is wanted at once (a new name, an expired certificate, an
//! outage that is over) rank r waits r times [`RANK_WAIT`].

use super::names::Names;
use std::time::Duration;
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::id::NodeId;

/// An order takes well under a minute; its certificate reaches every issuer within two seconds.
pub const RANK_WAIT: Duration = Duration::from_mins(10);
/// After the first failure; doubled by each further one. Two issuers that do not see each other
/// try three times each in the first hour, and of the five failures that a CA allows, the budget
/// gives each issuer its share.
pub const BACKOFF_MIN: Duration = Duration::from_mins(15);
/// No name waits longer for another try.
pub const BACKOFF_MAX: Duration = Duration::from_hours(24);
/// A life in parts of this size.
const PARTS: u64 = 1_000_000;
/// Where the earliest renewals are, in parts of a life.
const RENEWAL_FIRST: u64 = 450_000;
/// Over which the renewals of rank 0 are spread; also what each rank waits.
const RANK_STEP: u64 = 50_000;
/// Where rank 0 is late, in parts of a life.
const RENEWAL_LAST: u64 = RENEWAL_FIRST + RANK_STEP;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its first second.
    pub not_before: UnixTime,
    /// Its last.
    pub not_after: UnixTime,
}

/// When a server would like a renewal: at some moment in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub start: UnixTime,
    /// Its end, not before the beginning.
    pub end: UnixTime,
}

/// What happened to the former tries for a set of names; a success clears it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Failures in a row.
    pub failure_count: u32,
    /// When the last one was.
    pub last: Option<UnixTime>,
    /// Before when the server does not want to be asked.
    pub retry_after: Option<UnixTime>,
}

/// One set of names for which a certificate is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// The names.
    pub names: &'a Names,
    /// The life of the certificate that serves them now, if there is one.
    pub life: Option<Life>,
    /// Since when the names want a certificate that they do not have: their proof stands, or a
    /// node was removed and the key must change. Counts even where `life` is young.
    pub since: Option<UnixTime>,
    /// This issuer's rank for them.
    pub rank: u32,
    /// The server's advice about the certificate that serves them now.
    pub advice: Option<Window>,
    /// What happened so far.
    pub trouble: Trouble,
}

impl Life {
    /// How long it is.
    #[must_use]
    pub fn length(self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// What is left of it.
    #[must_use]
    pub fn remaining(self, now: UnixTime) -> Duration {
        self.not_after.since(now)
    }

    /// The moment when so many millionths of it are over.
    fn at(self, parts: u64) -> UnixTime {
        self.not_before.plus(self.share(parts))
    }

    fn share(self, parts: u64) -> Duration {
        let seconds = u128::from(self.length().as_secs()) * u128::from(parts) / u128::from(PARTS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
    }
}

/// The rank of `node` among the issuers for a set of names: 0 for the first; nothing if it is not
/// one of them. Every node computes the same.
#[must_use]
pub fn rank(names: &Names, node: NodeId, issuers: &[NodeId]) -> Option<u32> {
    const LABEL: &str = "verge acme issuer rank v1";
    let of_names = names.digest();
    let score = |issuer: NodeId| {
        let digest = Digest::derive(LABEL, &[of_names.as_bytes(), issuer.as_bytes()]);
        (digest, issuer)
    };
    if !issuers.contains(&node) {
        return None;
    }
    let own = score(node);
    // Each once, however often it is listed.
    let mut before: Vec<NodeId> = issuers
        .iter()
        .copied()
        .filter(|i| score(*i) > own)
        .collect();
    before.sort_unstable();
    before.dedup();
    u32::try_from(before.len()).ok()
}

/// When rank 0 renews a certificate: at 0.45 to 0.50 of its life, spread by a hash of its names.
#[must_use]
pub fn renewal_at(life: Life, names: &Names) -> UnixTime {
    life.at(RENEWAL_FIRST + spread(names, "renewal", RANK_STEP))
}

/// The moment in the server's window that these names take.
#[must_use]
pub fn advised_at(window: Window, names: &Names) -> UnixTime {
    let length = window.end.since(window.start).as_secs();
    window.start.plus(Duration::from_secs(spread(
        names,
        "advice",
        length.saturating_add(1),
    )))
}

/// The first moment at which an issuer may order. `reachable_since` is since when the server is
/// known to answer again, after an outage: the lower ranks let rank 0 catch up.
#[must_use]
pub fn order_at(want: &Want<'_>, reachable_since: Option<UnixTime>) -> UnixTime {
    let by_life = want.life.map(|life| by_life(want, life));
    let by_wish = want.since.map(|since| since.plus(rank_wait(want.rank)));
    let first = by_life
        .into_iter()
        .chain(by_wish)
        .min()
        .unwrap_or(UnixTime(i64::MAX));
    let caught_up = reachable_since.map(|since| since.plus(rank_wait(want.rank)));
    let tried = retry_at(want.names, want.trouble);
    caught_up
        .into_iter()
        .chain(tried)
        .fold(first, UnixTime::max)
}

fn by_life(want: &Want<'_>, life: Life) -> UnixTime {
    let rank = u64::from(want.rank);
    let waits = RANK_STEP.saturating_mul(rank);
    let usual = if want.rank == 0 {
        renewal_at(life, want.names)
    } else {
        life.at(RENEWAL_LAST.saturating_add(waits).min(PARTS))
    };
    let advised = want
        .advice
        .map(|window| advised_at(window, want.names).plus(life.share(waits)));
    // Advice can only make it earlier.
    advised.map_or(usual, |advised| usual.min(advised))
}

fn rank_wait(rank: u32) -> Duration {
    RANK_WAIT.saturating_mul(rank)
}

/// Before when a set of names that failed is not tried again.
#[must_use]
pub fn retry_at(names: &Names, trouble: Trouble) -> Option<UnixTime> {
    let doubled = trouble.failure_count.saturating_sub(1).min(16);
    let wait = BACKOFF_MIN.saturating_mul(1 << doubled).min(BACKOFF_MAX);
    // Up to a tenth earlier, so that what failed together is not tried together.
    let early = Duration::from_secs(spread(names, "backoff", wait.as_secs() / 10));
    let backed_off = trouble.last.filter(|_last| trouble.failure_count > 0);
    let backed_off = backed_off.map(|last| last.plus(wait.saturating_sub(early)));
    backed_off.max(trouble.retry_after)
}

/// The wants whose moment has come, worst first: without a usable certificate those that want one
/// longest, then the least remaining life. At most `count_max` of them, which is what spreads a
/// backlog; the budget paces it further.
#[must_use]
pub fn due<'a>(
    wants: &[Want<'a>],
    reachable_since: Option<UnixTime>,
    now: UnixTime,
    count_max: usize,
) -> Vec<Want<'a>> {
    let is_due = |want: &&Want<'a>| order_at(want, reachable_since) <= now;
    let mut due: Vec<Want<'a>> = wants.iter().filter(is_due).copied().collect();
    due.sort_by_key(|want| {
        let until = want.life.map_or(UnixTime(i64::MIN), |life| life.not_after);
        let is_served = until > now;
        // Among those that serve nobody, a name that never had one waits like one that ran out
        // when it began to want it.
        let since = if is_served {
            until
        } else {
            until.max(want.since.unwrap_or(until))
        };
        (is_served, since, want.names.digest())
    });
    due.truncate(count_max);
    due
}

/// A number below `range` (0 if that is 0) that is the same on every machine.
fn spread(names: &Names, purpose: &str, range: u64) -> u64 {
    const LABEL: &str = "verge acme spread v1";
    let digest = Digest::derive(LABEL, &[names.digest().as_bytes(), purpose.as_bytes()]);
    let (first, _rest) = digest
        .as_bytes()
        .split_first_chunk::<8>()
        .unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*first).checked_rem(range).unwrap_or(0)
}
