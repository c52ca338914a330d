//! A region of a thousand hosts over a year, in virtual time: what two issuers order stays inside
//! the published limits of Let's Encrypt, and nothing runs out. The figures of `docs/scale.md`.

use crate::effort;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use verge_edge::acme::budget::{Ask, Budget, DOMAIN, FAILURES, Limit, ORDERS, Rate, Refusal, SET};
use verge_edge::acme::plan::{Life, Trouble, Want, due, order_at, rank};
use verge_edge::acme::{Names, Predecessor};
use verge_sync::clock::UnixTime;
use verge_sync::id::NodeId;

const DAY_S: i64 = 86_400;
/// Both issuers look at their plans this often.
const STEP_S: i64 = 300;
const ISSUERS: [u8; 2] = [1, 2];
/// Nobody reaches the authority for three weeks.
const OUTAGE: std::ops::Range<i64> = 120 * DAY_S..141 * DAY_S;
/// The issuers do not see each other for three weeks.
const PARTITION: std::ops::Range<i64> = 230 * DAY_S..251 * DAY_S;

/// What differs between the runs.
#[derive(Clone, Copy)]
struct Setup {
    life_days: i64,
    /// Whether the authority has RFC 9773.
    has_advice: bool,
    /// Hosts below one registered domain, with a certificate each.
    shared_count: usize,
}

/// A host name of its own certificate.
struct Host {
    names: Names,
    owner: String,
    domain: String,
    /// When its proof stands.
    since: UnixTime,
    /// Until when its owner's DNS is wrong for a CA.
    broken_until: i64,
}

/// What an issuer knows of a host.
#[derive(Clone, Default)]
struct Known {
    life: Option<Life>,
    certificate: Option<u64>,
    trouble: Trouble,
}

struct Issuer {
    node: NodeId,
    budget: Budget,
    known: Vec<Known>,
    /// When to look at which host, and the same by host.
    agenda: BTreeSet<(UnixTime, usize)>,
    planned: Vec<UnixTime>,
    reachable_since: Option<UnixTime>,
    is_reachable: bool,
    /// Nobody was there: not before.
    quiet_until: i64,
}

/// One order, as the authority counts it.
struct Counted {
    at: i64,
    host: usize,
    is_exempt: bool,
    is_certificate: bool,
}

#[derive(Default)]
struct Authority {
    orders: Vec<Counted>,
    failures: Vec<(i64, usize)>,
    replaced: HashSet<u64>,
    count: u64,
}

struct Region {
    setup: Setup,
    hosts: Vec<Host>,
    issuers: Vec<Issuer>,
    authority: Authority,
    /// What visitors get: of both issuers' certificates the newest.
    served: Vec<Option<Life>>,
    first: Vec<Option<i64>>,
    expired_count: usize,
    least_remaining_s: i64,
    healed_at: i64,
}

fn hosts(setup: Setup) -> Vec<Host> {
    let host = |number: usize| {
        // A third at the founding, a school of thirty in an afternoon each fortnight, the rest one
        // by one.
        let day = match number {
            0..333 => 0,
            333..663 => 14 + 14 * (i64::try_from(number - 333).unwrap() / 30),
            _ => i64::try_from(number - 663).unwrap(),
        };
        let domain = match number {
            _ if number % 1000 < setup.shared_count => "region.coop".to_owned(),
            _ if number.is_multiple_of(3) => format!("club{}.org", number / 30),
            _ => format!("site{number}.net"),
        };
        Host {
            names: Names::new([format!("h{number}.{domain}").as_str()]).unwrap(),
            owner: format!("account {}", number / 4),
            domain,
            since: UnixTime(day * DAY_S + 36_000),
            broken_until: if number % 20 == 7 {
                (day + 2) * DAY_S
            } else {
                0
            },
        }
    };
    (0..1000).map(host).collect()
}

impl Region {
    fn new(setup: Setup) -> Self {
        let hosts = hosts(setup);
        let issuer = |number: u8| Issuer {
            node: NodeId::from_bytes([number; 32]),
            budget: Budget::new(2),
            known: vec![Known::default(); hosts.len()],
            agenda: BTreeSet::new(),
            planned: vec![UnixTime(0); hosts.len()],
            reachable_since: None,
            is_reachable: true,
            quiet_until: 0,
        };
        let mut region = Self {
            setup,
            issuers: ISSUERS.map(issuer).into(),
            authority: Authority::default(),
            served: vec![None; hosts.len()],
            first: vec![None; hosts.len()],
            hosts,
            expired_count: 0,
            least_remaining_s: i64::MAX,
            healed_at: 0,
        };
        for issuer in 0..ISSUERS.len() {
            (0..region.hosts.len()).for_each(|host| region.replan(issuer, host));
        }
        region
    }

    fn want(&self, issuer: usize, host: usize) -> Want<'_> {
        let nodes: Vec<NodeId> = self.issuers.iter().map(|issuer| issuer.node).collect();
        let known = &self.issuers[issuer].known[host];
        let names = &self.hosts[host].names;
        Want {
            names,
            life: known.life,
            since: known.life.is_none().then_some(self.hosts[host].since),
            rank: rank(names, self.issuers[issuer].node, &nodes).unwrap(),
            advice: None,
            trouble: known.trouble,
        }
    }

    fn replan(&mut self, issuer: usize, host: usize) {
        let at = order_at(
            &self.want(issuer, host),
            self.issuers[issuer].reachable_since,
        );
        self.plan(issuer, host, at);
    }

    fn plan(&mut self, issuer: usize, host: usize, at: UnixTime) {
        let issuer = &mut self.issuers[issuer];
        let before = std::mem::replace(&mut issuer.planned[host], at);
        issuer.agenda.remove(&(before, host));
        issuer.agenda.insert((at, host));
    }

    fn run(&mut self) {
        let mut now = 0;
        while now < 365 * DAY_S {
            for issuer in 0..ISSUERS.len() {
                self.turn(issuer, now);
            }
            if now % DAY_S == 0 {
                self.look(now);
            }
            if now == PARTITION.end {
                self.meet();
            }
            now += STEP_S;
        }
    }

    /// One look of an issuer at its plan.
    fn turn(&mut self, issuer: usize, now: i64) {
        if now < self.issuers[issuer].quiet_until {
            return;
        }
        let agenda = self.issuers[issuer]
            .agenda
            .range(..=(UnixTime(now), usize::MAX));
        let ready: Vec<usize> = agenda.map(|(_at, host)| *host).collect();
        let wants: Vec<Want<'_>> = ready.iter().map(|host| self.want(issuer, *host)).collect();
        let since = self.issuers[issuer].reachable_since;
        let due = due(&wants, since, UnixTime(now), wants.len());
        let places: BTreeMap<&Names, usize> = ready
            .iter()
            .map(|host| (&self.hosts[*host].names, *host))
            .collect();
        let order: Vec<usize> = due.iter().map(|want| places[want.names]).collect();
        for host in order {
            if !self.order(issuer, host, now) {
                return;
            }
        }
    }

    /// Whether another order may fit as well.
    fn order(&mut self, issuer: usize, host: usize, now: i64) -> bool {
        let known = self.issuers[issuer].known[host].clone();
        let certificate = known.certificate.filter(|_| self.setup.has_advice);
        let replaces =
            certificate.map(|number| Predecessor::from_text(&format!("key.{number}")).unwrap());
        let ask = Ask {
            names: &self.hosts[host].names,
            owner: &self.hosts[host].owner,
            replaces: replaces.as_ref(),
        };
        let one = &mut self.issuers[issuer];
        let granted = match one.budget.begin(&ask, UnixTime(now)) {
            Ok(granted) => granted,
            Err(Refusal {
                limit: Limit::Pace(_),
                ..
            }) => return false,
            Err(refusal) => {
                self.plan(issuer, host, refusal.possible_at);
                return true;
            }
        };
        if OUTAGE.contains(&now) {
            one.is_reachable = false;
            one.quiet_until = now + 900;
            one.budget.failed(granted.number, [], UnixTime(now));
            self.failed(issuer, host, now);
            // Nobody is there: the others need not find out one by one.
            return false;
        }
        self.reached(issuer, now);
        let is_taken = certificate.is_some_and(|number| self.authority.replaced.contains(&number));
        if is_taken && !granted.may_count {
            self.issuers[issuer]
                .budget
                .failed(granted.number, [], UnixTime(now));
            self.failed(issuer, host, now);
            return true;
        }
        let is_broken = now < self.hosts[host].broken_until;
        let is_exempt = self.authority.count(host, certificate, !is_broken, now);
        let name = self.hosts[host].names.iter().next().unwrap().to_owned();
        let budget = &mut self.issuers[issuer].budget;
        if is_broken {
            self.authority.failures.push((now, host));
            budget.failed(granted.number, [name.as_str()], UnixTime(now));
            self.failed(issuer, host, now);
        } else {
            budget.issued(granted.number, is_exempt);
            self.issued(issuer, host, now);
        }
        true
    }

    fn failed(&mut self, issuer: usize, host: usize, now: i64) {
        let trouble = &mut self.issuers[issuer].known[host].trouble;
        trouble.failure_count += 1;
        trouble.last = Some(UnixTime(now));
        self.replan(issuer, host);
    }

    /// The first answer after an outage: the lower ranks wait a little.
    fn reached(&mut self, issuer: usize, now: i64) {
        if !std::mem::replace(&mut self.issuers[issuer].is_reachable, true) {
            self.issuers[issuer].reachable_since = Some(UnixTime(now));
            // What failed because nobody was there is no trouble of the names.
            for host in 0..self.hosts.len() {
                self.issuers[issuer].known[host].trouble = Trouble::default();
                self.replan(issuer, host);
            }
        }
    }

    fn issued(&mut self, issuer: usize, host: usize, now: i64) {
        let life = Life {
            not_before: UnixTime(now),
            not_after: UnixTime(now + self.setup.life_days * DAY_S),
        };
        let known = Known {
            life: Some(life),
            certificate: Some(self.authority.count),
            trouble: Trouble::default(),
        };
        if let Some(served) = self.served[host] {
            self.least_remaining_s = self.least_remaining_s.min(served.not_after.0 - now);
            let was_due = served.not_before.0 + self.setup.life_days * DAY_S / 2;
            if OUTAGE.contains(&was_due) {
                self.healed_at = self.healed_at.max(now);
            }
        }
        self.first[host].get_or_insert(now);
        self.served[host] = Some(life);
        for other in 0..ISSUERS.len() {
            if other == issuer || !PARTITION.contains(&now) {
                self.issuers[other].known[host] = known.clone();
                self.replan(other, host);
            }
        }
    }

    /// The partition is over: both know the newest certificate of each host.
    fn meet(&mut self) {
        for host in 0..self.hosts.len() {
            let newest = self.issuers.iter().map(|issuer| issuer.known[host].clone());
            let newest = newest
                .max_by_key(|known| known.life.map(|life| life.not_after))
                .unwrap();
            for issuer in 0..ISSUERS.len() {
                self.issuers[issuer].known[host] = newest.clone();
                self.replan(issuer, host);
            }
        }
    }

    fn look(&mut self, now: i64) {
        let is_expired = |life: &&Life| life.not_after.0 < now;
        self.expired_count += self.served.iter().flatten().filter(is_expired).count();
    }

    /// The longest wait of a host for its first certificate, in hours, the outage aside.
    fn longest_wait_h(&self, is_shared: bool) -> i64 {
        let of_kind = |host: &&usize| {
            let host = &self.hosts[**host];
            (host.domain == "region.coop") == is_shared && !OUTAGE.contains(&host.since.0)
        };
        let wait = |host: usize| {
            let ready = self.hosts[host].since.0.max(self.hosts[host].broken_until);
            self.first[host].unwrap_or(365 * DAY_S) - ready
        };
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        all.iter()
            .filter(of_kind)
            .map(|host| wait(*host))
            .max()
            .unwrap_or(0)
            / 3600
    }
}

impl Authority {
    /// Counts an order; whether it is exempt (RFC 9773 section 5, once per predecessor).
    fn count(
        &mut self,
        host: usize,
        replaces: Option<u64>,
        is_certificate: bool,
        now: i64,
    ) -> bool {
        let is_exempt = replaces.is_some_and(|number| self.replaced.insert(number));
        self.count += 1;
        self.orders.push(Counted {
            at: now,
            host,
            is_exempt,
            is_certificate,
        });
        is_exempt
    }

    /// The most in any stretch of this length.
    fn most(&self, period: Duration, fits: impl Fn(&Counted) -> bool) -> usize {
        let times = self
            .orders
            .iter()
            .filter(|order| fits(order))
            .map(|order| order.at);
        most(times.collect(), period)
    }

    fn most_by<K: Ord>(&self, rate: Rate, key: impl Fn(usize) -> K) -> usize {
        let mut by_key: BTreeMap<K, Vec<i64>> = BTreeMap::new();
        for order in self
            .orders
            .iter()
            .filter(|order| order.is_certificate && !order.is_exempt)
        {
            by_key.entry(key(order.host)).or_default().push(order.at);
        }
        by_key
            .into_values()
            .map(|times| most(times, rate.period))
            .max()
            .unwrap_or(0)
    }

    fn most_failures(&self) -> usize {
        let mut by_host: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        self.failures
            .iter()
            .for_each(|(at, host)| by_host.entry(*host).or_default().push(*at));
        by_host
            .into_values()
            .map(|times| most(times, FAILURES.period))
            .max()
            .unwrap_or(0)
    }
}

/// The most of these times within any stretch of this length.
fn most(mut times: Vec<i64>, period: Duration) -> usize {
    times.sort_unstable();
    let period = i64::try_from(period.as_secs()).unwrap();
    let (mut first, mut most) = (0, 0);
    for (place, at) in times.iter().enumerate() {
        while at - times[first] >= period {
            first += 1;
        }
        most = most.max(place + 1 - first);
    }
    most
}

fn year(setup: Setup) {
    let mut region = Region::new(setup);
    region.run();
    let authority = &region.authority;
    let days = |count: u64| Duration::from_hours(24 * count);
    let per_day = authority.most(days(1), |_order| true);
    let per_week = authority.most(days(7), |_order| true);
    let counted = authority.most(ORDERS.period, |order| !order.is_exempt);
    let of_domain = authority.most_by(DOMAIN, |host| region.hosts[host].domain.clone());
    let of_set = authority.most_by(SET, |host| host);
    let failures = authority.most_failures();
    let in_partition = authority
        .orders
        .iter()
        .filter(|order| PARTITION.contains(&order.at))
        .map(|order| order.host);
    let in_partition: Vec<usize> = in_partition.collect();
    let extra = in_partition.len() - in_partition.iter().collect::<BTreeSet<_>>().len();
    println!(
        "| {} d | {} | {} | {} | {per_day} | {per_week} | {counted} | {of_domain} | {of_set} | {failures} \
         | {extra} | {} h | {} h | {:.1} d | {:.1} h |",
        setup.life_days,
        if setup.has_advice { "yes" } else { "no" },
        setup.shared_count,
        authority.orders.len(),
        region.longest_wait_h(false),
        region.longest_wait_h(true),
        days_of(region.least_remaining_s),
        days_of(region.healed_at - OUTAGE.end) * 24.0,
    );
    assert!(counted <= usize::try_from(ORDERS.count).unwrap());
    assert!(of_domain <= usize::try_from(DOMAIN.count).unwrap());
    assert!(of_set <= usize::try_from(SET.count).unwrap());
    assert!(failures <= usize::try_from(FAILURES.count).unwrap());
    assert_eq!(region.expired_count, 0, "certificates ran out");
    assert!(
        region.first.iter().all(Option::is_some),
        "hosts never got a certificate"
    );
    // A side that does not see the other's certificate orders its own.
    assert!(extra <= region.hosts.len());
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn days_of(seconds: i64) -> f64 {
    seconds as f64 / DAY_S as f64
}

/// `make prove` takes all of them; without the authority's advice the longest waits are longer.
const SETUPS: [Setup; 4] = [
    setup(45, true, 200),
    setup(90, true, 200),
    setup(45, false, 50),
    setup(90, false, 100),
];

const fn setup(life_days: i64, has_advice: bool, shared_count: usize) -> Setup {
    Setup {
        life_days,
        has_advice,
        shared_count,
    }
}

#[test]
fn a_thousand_hosts_stay_inside_the_published_limits_for_a_year() {
    println!(
        "| life | RFC 9773 | shared | orders | a day | a week | counted, 3 h | one domain, 7 d \
         | one set, 7 d | failures, 1 h | extra | new host | new shared host | least left | healed |"
    );
    let count = if effort::proving() { SETUPS.len() } else { 1 };
    SETUPS.into_iter().take(count).for_each(year);
}
