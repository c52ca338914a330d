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
    due.sort_by_cached_key(|want| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const DAY_S: i64 = 86_400;
    const NINETY: i64 = 90 * DAY_S;

    fn names(text: &str) -> Names {
        Names::new(text.split(' ')).unwrap()
    }

    fn life(length_s: i64) -> Life {
        Life {
            not_before: UnixTime(0),
            not_after: UnixTime(length_s),
        }
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn want(names: &Names) -> Want<'_> {
        Want {
            names,
            life: None,
            since: None,
            rank: 0,
            advice: None,
            trouble: Trouble::default(),
        }
    }

    #[test]
    fn each_rank_has_its_moment() {
        let names = names("a.example");
        let part = |time: UnixTime| time.0 * 1000 / NINETY;
        let renewal = part(renewal_at(life(NINETY), &names));
        assert!((450..500).contains(&renewal));
        let rows = [
            (0, renewal),
            (1, 550),
            (2, 600),
            (10, 1000),
            (11, 1000),
            (u32::MAX, 1000),
        ];
        for (rank, expected) in rows {
            let want = Want {
                life: Some(life(NINETY)),
                rank,
                ..want(&names)
            };
            assert_eq!(part(order_at(&want, None)), expected, "{rank}");
        }
    }

    #[test]
    fn a_new_name_is_ordered_at_once_and_by_others_later() {
        let names = names("a.example");
        for rank in 0..4 {
            let want = Want {
                since: Some(UnixTime(1000)),
                rank,
                ..want(&names)
            };
            assert_eq!(
                order_at(&want, None),
                UnixTime(1000 + i64::from(rank) * 600),
                "{rank}"
            );
        }
        // What was not asked for is never ordered.
        assert_eq!(order_at(&want(&names), None), UnixTime(i64::MAX));
    }

    #[test]
    fn a_wish_counts_though_the_certificate_is_young() {
        let names = names("a.example");
        let want = Want {
            life: Some(life(NINETY)),
            since: Some(UnixTime(DAY_S)),
            ..want(&names)
        };
        assert_eq!(order_at(&want, None), UnixTime(DAY_S));
    }

    #[test]
    fn advice_only_makes_it_earlier() {
        let names = names("a.example");
        let usual = Want {
            life: Some(life(NINETY)),
            ..want(&names)
        };
        let advised = |start: i64, rank| {
            let advice = Some(Window {
                start: UnixTime(start * DAY_S),
                end: UnixTime((start + 1) * DAY_S),
            });
            order_at(
                &Want {
                    advice,
                    rank,
                    ..usual
                },
                None,
            )
        };
        for rank in 0..3 {
            let plain = order_at(&Want { rank, ..usual }, None);
            assert_eq!(advised(80, rank), plain, "{rank}");
            let early = advised(2, rank).0 - i64::from(rank) * NINETY / 20;
            assert!((2 * DAY_S..=3 * DAY_S).contains(&early), "{rank}");
        }
    }

    #[test]
    fn after_an_outage_the_lower_ranks_wait() {
        let names = names("a.example");
        let since = UnixTime(2 * NINETY);
        for rank in 0..3 {
            let expired = Want {
                life: Some(life(NINETY)),
                rank,
                ..want(&names)
            };
            let expected = since.plus(RANK_WAIT * rank);
            assert_eq!(order_at(&expired, Some(since)), expected);
        }
    }

    #[test]
    fn failures_double_the_wait_up_to_a_day() {
        let names = names("a.example");
        let rows = [
            (1, 15),
            (2, 30),
            (3, 60),
            (7, 960),
            (8, 1440),
            (9, 1440),
            (u32::MAX, 1440),
        ];
        for (failure_count, minutes) in rows {
            let trouble = Trouble {
                failure_count,
                last: Some(UnixTime(0)),
                retry_after: None,
            };
            let at = retry_at(&names, trouble).unwrap().0;
            assert!(
                at <= minutes * 60 && at >= minutes * 54,
                "{failure_count}: {at}"
            );
        }
        assert_eq!(retry_at(&names, Trouble::default()), None);
    }

    #[test]
    fn what_the_server_wishes_is_honoured() {
        let names = names("a.example");
        let at = |retry_after| {
            let last = Some(UnixTime(0));
            retry_at(
                &names,
                Trouble {
                    failure_count: 1,
                    last,
                    retry_after,
                },
            )
        };
        assert_eq!(at(Some(UnixTime(DAY_S))), Some(UnixTime(DAY_S)));
        assert_eq!(at(Some(UnixTime(1))), at(None));
        let busy = Trouble {
            retry_after: Some(UnixTime(7)),
            ..Trouble::default()
        };
        let want = Want {
            since: Some(UnixTime(0)),
            trouble: busy,
            ..want(&names)
        };
        assert_eq!(order_at(&want, None), UnixTime(7));
    }

    #[test]
    fn the_worst_comes_first() {
        let texts = [
            "new.example",
            "old.example",
            "expired.example",
            "half.example",
            "least.example",
        ];
        let all = texts.map(names);
        let [new, old, expired, half, least] = &all;
        let now = UnixTime(NINETY);
        let since = |time| Some(UnixTime(time));
        let until = |days: i64| Some(life(NINETY + days * DAY_S));
        let wants = [
            Want {
                life: until(40),
                ..want(half)
            },
            Want {
                since: since(NINETY - 10),
                ..want(new)
            },
            Want {
                life: Some(life(NINETY - DAY_S)),
                ..want(expired)
            },
            Want {
                life: until(2),
                ..want(least)
            },
            Want {
                since: since(NINETY - 2 * DAY_S),
                ..want(old)
            },
            // Not yet: this one is young.
            Want {
                life: until(200),
                ..want(half)
            },
        ];
        let order = |count_max| {
            let due = due(&wants, None, now, count_max);
            due.iter()
                .map(|want| want.names.to_string())
                .collect::<Vec<_>>()
        };
        let expected = [
            "old.example",
            "expired.example",
            "new.example",
            "least.example",
            "half.example",
        ];
        assert_eq!(order(9), expected);
        assert_eq!(order(2), ["old.example", "expired.example"]);
        assert!(order(0).is_empty());
    }

    #[test]
    fn renewals_of_many_hosts_are_spread() {
        let mut days = [0_u32; 90];
        for number in 0..1000 {
            let at = renewal_at(life(NINETY), &names(&format!("h{number}.example"))).0;
            days[usize::try_from(at / DAY_S).unwrap()] += 1;
        }
        // 4.5 days for a thousand hosts.
        assert_eq!(days.iter().filter(|count| **count > 0).count(), 5);
        assert!(days.iter().all(|count| *count < 300), "{days:?}");
    }

    proptest! {
        #[test]
        fn ranks_are_a_permutation_that_all_agree_on(
            host in "[a-z]{1,8}\\.example",
            issuers in prop::collection::btree_set(any::<u8>(), 1..6),
        ) {
            let names = names(&host);
            let mut issuers: Vec<NodeId> = issuers.into_iter().map(node).collect();
            let ranks = |issuers: &[NodeId]| -> Vec<Option<u32>> {
                let mut sorted = issuers.to_vec();
                sorted.sort_unstable();
                sorted.into_iter().map(|one| rank(&names, one, issuers)).collect()
            };
            let first = ranks(&issuers);
            let seen: BTreeSet<u32> = first.iter().map(|rank| rank.unwrap()).collect();
            prop_assert_eq!(seen, (0..u32::try_from(issuers.len()).unwrap()).collect());
            issuers.reverse();
            prop_assert_eq!(ranks(&issuers), first);
            prop_assert_eq!(rank(&names, NodeId::from_bytes([9; 32]), &[]), None);
        }

        #[test]
        fn one_issuer_gone_moves_only_its_names(
            host in "[a-z]{1,8}\\.example",
            gone in 0_u8..4,
        ) {
            let names = names(&host);
            let all: Vec<NodeId> = (0..4).map(node).collect();
            let rest: Vec<NodeId> = (0..4).filter(|one| *one != gone).map(node).collect();
            let left = rank(&names, node(gone), &all).unwrap();
            for one in &rest {
                let before = rank(&names, *one, &all).unwrap();
                let after = rank(&names, *one, &rest).unwrap();
                prop_assert_eq!(after, before - u32::from(before > left));
            }
        }

        #[test]
        fn later_ranks_never_go_first_and_nothing_panics(
            host in "[a-z]{1,8}\\.example",
            not_before in any::<i64>(),
            not_after in any::<i64>(),
            since in any::<Option<i64>>(),
            advice in any::<Option<(i64, i64)>>(),
            failures in any::<u32>(),
            reachable in any::<Option<i64>>(),
        ) {
            let names = names(&host);
            let life = Life { not_before: UnixTime(not_before), not_after: UnixTime(not_after) };
            let advice = advice.map(|(start, end)| Window {
                start: UnixTime(start.min(end)),
                end: UnixTime(start.max(end)),
            });
            let trouble = Trouble {
                failure_count: failures,
                last: since.map(UnixTime),
                retry_after: None,
            };
            let at = |rank| {
                let want = Want {
                    names: &names, life: Some(life), since: since.map(UnixTime), rank, advice, trouble,
                };
                order_at(&want, reachable.map(UnixTime))
            };
            let all: Vec<UnixTime> = (0..12).map(at).collect();
            prop_assert!(all.is_sorted(), "{:?}", all);
            if advice.is_none() && since.is_none() && reachable.is_none() && not_after > not_before {
                prop_assert!(all[0] >= life.at(RENEWAL_FIRST));
                prop_assert!(all[11] <= life.not_after);
            }
        }
    }
}
