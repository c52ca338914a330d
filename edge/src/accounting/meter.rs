//! The counters in memory: what was served since they were last taken.
//!
//! Whoever answers visitors adds, whoever keeps the journal takes. What was taken and could not be
//! kept is given back; nothing is ever counted twice.

use super::figures::{Class, Count, NodeTotals, Row};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use verge_sync::id::SiteId;

/// Shards: more workers than these share one.
const SHARD_COUNT: usize = 16;

/// Counters of all sites, shared by all connections.
///
/// Every thread adds to a shard of its own, so that nobody waits and no two cores write to one cache
/// line; once a second whoever takes locks each for a moment. Locks and not single atomic figures,
/// because the requests, bytes and credit of an answer are taken together or not at all. Memory: a
/// row for each site in each shard that has served it; a shard keeps its room when it is taken, so
/// an answer allocates nothing.
#[derive(Debug)]
pub struct Meter {
    shards: Box<[Shard]>,
    /// The first count of a shard after it was taken.
    news: Notify,
}

/// 128 bytes: processors fetch cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// Whether something was counted since it was last taken.
    has_news: bool,
    totals: NodeTotals,
    counts: HashMap<SiteId, [Count; CLASS_COUNT]>,
}

/// Classes are numbered from 0.
const CLASS_COUNT: usize = 3;

/// What changed since the counters were last taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Of all connections.
    pub totals: NodeTotals,
    /// By site and class.
    pub counts: BTreeMap<(SiteId, Class), Count>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            shards: (0..SHARD_COUNT).map(|_| Shard::default()).collect(),
            news: Notify::new(),
        }
    }
}

impl Meter {
    /// Counts responses of one site.
    pub fn count(&self, site: SiteId, class: Class, count: Count) {
        if let Some(shard) = self.shard() {
            let mut now = shard.lock();
            now.add(site, class, count);
            self.tell(now);
        }
    }

    /// Counts connections that ended, and errors.
    pub fn count_totals(&self, totals: NodeTotals) {
        if let Some(shard) = self.shard() {
            let mut now = shard.lock();
            now.add_totals(totals);
            self.tell(now);
        }
    }

    /// Waits until something is counted after all was taken: for one task, which takes it then.
    pub async fn changed(&self) {
        self.news.notified().await;
    }

    /// Wakes whoever takes, once after each time.
    fn tell(&self, mut now: MutexGuard<'_, Counters>) {
        let had_news = std::mem::replace(&mut now.has_news, true);
        drop(now);
        if !had_news {
            self.news.notify_one();
        }
    }

    /// What was counted since the last call.
    #[must_use]
    pub fn take(&self) -> Taken {
        let mut taken = Taken::default();
        for shard in &self.shards {
            shard.lock().move_into(&mut taken);
        }
        taken
    }

    /// Takes back what could not be kept.
    pub fn give_back(&self, taken: Taken) {
        let Some(shard) = self.shard() else {
            return;
        };
        let mut now = shard.lock();
        now.add_totals(taken.totals);
        for ((site, class), count) in taken.counts {
            now.add(site, class, count);
        }
    }

    /// That of this thread.
    fn shard(&self) -> Option<&Shard> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARD_COUNT;
        }
        self.shards.get(NUMBER.with(|number| *number))
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Counters> {
        // Every change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    /// What does not fit a figure is not counted: less, never more.
    fn add(&mut self, site: SiteId, class: Class, count: Count) {
        let of_site = self.counts.entry(site).or_default();
        if let Some(sum) = of_site.get_mut(usize::from(class.code())) {
            *sum = sum.plus(count).unwrap_or(*sum);
        }
    }

    fn add_totals(&mut self, totals: NodeTotals) {
        self.totals = self.totals.plus(totals).unwrap_or(self.totals);
    }

    fn move_into(&mut self, taken: &mut Taken) {
        self.has_news = false;
        let totals = std::mem::take(&mut self.totals);
        taken.totals = taken.totals.plus(totals).unwrap_or(taken.totals);
        for (site, counts) in self.counts.drain() {
            let counts = (0..).map_while(Class::from_code).zip(counts);
            for (class, count) in counts.filter(|(_, count)| !count.is_nothing()) {
                let sum = taken.counts.entry((site, class)).or_default();
                *sum = sum.plus(count).unwrap_or(*sum);
            }
        }
    }
}

impl Taken {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.counts.is_empty() && self.totals.is_nothing()
    }

    /// As rows, ascending by site and class.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |(&(site, class), &count): (&(SiteId, Class), &Count)| Row { site, class, count };
        self.counts.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::figures::{BodyBytes, CreditBytes, FIGURE_MAX, WireBytes};

    #[test]
    fn what_is_taken_is_gone_and_what_is_given_back_is_there_again() {
        let meter = Meter::default();
        let site = SiteId::from_bytes([1; 32]);
        let count = |requests| Count {
            requests,
            credit: CreditBytes(5),
            body: BodyBytes(10),
        };
        meter.count(site, Class::Bot, count(1));
        meter.count(site, Class::Answer, count(2));
        let connection = NodeTotals {
            connections: 1,
            wire: WireBytes(500),
            ..NodeTotals::default()
        };
        meter.count_totals(connection);
        let taken = meter.take();
        let classes: Vec<Class> = taken.rows().iter().map(|row| row.class).collect();
        assert_eq!(classes, [Class::Answer, Class::Bot]);
        assert!(meter.take().is_nothing());
        meter.count(site, Class::Bot, count(3));
        meter.give_back(taken);
        let taken = meter.take();
        assert_eq!(taken.totals, connection);
        let of_bots = taken.counts.get(&(site, Class::Bot)).unwrap();
        assert_eq!(of_bots.requests, 4);
        // More than a figure can be: what was there stays.
        let most = Count {
            requests: 1,
            credit: CreditBytes(FIGURE_MAX),
            body: BodyBytes(FIGURE_MAX),
        };
        meter.count(site, Class::Bot, most);
        meter.count(site, Class::Bot, most);
        let taken = meter.take();
        assert_eq!(taken.counts.get(&(site, Class::Bot)), Some(&most));
    }

    #[test]
    fn what_every_thread_counts_is_taken_once() {
        const ANSWERS: u64 = 1_000;
        let meter = Meter::default();
        let one = Count {
            requests: 1,
            credit: CreditBytes(2),
            body: BodyBytes(3),
        };
        let taken = std::thread::scope(|scope| {
            for number in 0..2 * SHARD_COUNT {
                let site = SiteId::from_bytes([u8::try_from(number % 3).unwrap(); 32]);
                let meter = &meter;
                scope.spawn(move || {
                    (0..ANSWERS).for_each(|_| meter.count(site, Class::Answer, one))
                });
            }
            let mut taken = vec![meter.take()];
            taken.extend((0..10).map(|_| meter.take()));
            taken
        });
        let all = taken.into_iter().chain([meter.take()]);
        let sums = all.flat_map(|taken| taken.rows()).map(|row| {
            assert_eq!(row.count.credit.0, 2 * row.count.requests, "taken together");
            assert_eq!(row.count.body.0, 3 * row.count.requests, "taken together");
            row.count.requests
        });
        let threads = u64::try_from(2 * SHARD_COUNT).unwrap();
        assert_eq!(sums.sum::<u64>(), threads * ANSWERS);
    }

    #[test]
    fn memory_is_by_the_site() {
        let meter = Meter::default();
        let one = Count {
            requests: 1,
            ..Count::default()
        };
        for number in 0..10_000_u32 {
            let site = SiteId::from_bytes([u8::try_from(number % 100).unwrap(); 32]);
            meter.count(site, Class::Bare, one);
            if number % 1_000 == 0 {
                assert!(meter.take().rows().len() <= 100);
            }
        }
        let kept = meter
            .shards
            .iter()
            .map(|shard| shard.lock().counts.capacity());
        assert!(kept.sum::<usize>() < 300);
    }
}
