//! A region with visitors, probes, fees, and perhaps a liar.

use std::collections::BTreeMap;
use std::fmt;
use verge_edge::attribution::money::{Cents, Currency};
use verge_edge::attribution::policy::{Policy, Rule};
use verge_edge::attribution::units::{Served, UnitsBySite, add_day};
use verge_edge::attribution::{Attribution, Inputs, Provider, attribute};
use verge_sync::id::{AccountId, ProviderId, SiteId};

const SITES: usize = 100;
/// A site with less in a month.
const SMALL_BYTES: u64 = 64 << 20;
/// Every tenth owner is sponsored.
const FREE_EVERY: usize = 10;
const FEE: u64 = 500;
/// The site that the attacks on small fees are made with.
const SMALL_SITE: usize = 1;

/// What the first provider, or the first few of them, do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Attack {
    /// Write so many tenths of what they served.
    Inflate(u64),
    /// Fewer than half of the providers write ten times as much, and estimate each other high and
    /// the others low.
    Collude,
    /// One provider is two, which both write ten times as much.
    Split,
    /// A sponsored site, a million times inflated.
    FreeSite,
    /// The same with one whose owner pays a cent.
    CentSite,
    /// Fewer than half of the providers write what they served, and lie about shares.
    LyingProbes,
    /// A million HEAD requests for each site at one provider.
    Heads,
    /// A million answers 304 for each.
    NotModified,
    /// A million ranges of one byte for each.
    Ranges,
}

impl Attack {
    pub(crate) const ALL: [Self; 12] = [
        Self::Inflate(12),
        Self::Inflate(15),
        Self::Inflate(100),
        Self::Inflate(10_000),
        Self::Collude,
        Self::Split,
        Self::FreeSite,
        Self::CentSite,
        Self::LyingProbes,
        Self::Heads,
        Self::NotModified,
        Self::Ranges,
    ];

    fn liar_count(self, provider_count: usize) -> usize {
        match self {
            Self::Collude | Self::LyingProbes => (provider_count - 1) / 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inflate(tenths) if tenths % 10 == 0 => {
                write!(f, "writes {} times as much", tenths / 10)
            }
            Self::Inflate(tenths) => {
                write!(f, "writes {}.{} times as much", tenths / 10, tenths % 10)
            }
            Self::Collude => f.write_str("(n-1)/2 write 10 times as much and lie about shares"),
            Self::Split => f.write_str("is two providers, which write 10 times as much"),
            Self::FreeSite => f.write_str("a sponsored site a million times"),
            Self::CentSite => f.write_str("a site of 1 cent a million times"),
            Self::LyingProbes => f.write_str("(n-1)/2 lie about shares alone"),
            Self::Heads => f.write_str("a million HEAD for each site"),
            Self::NotModified => f.write_str("a million 304 for each site"),
            Self::Ranges => f.write_str("a million ranges of a byte for each site"),
        }
    }
}

/// A small generator; the seed is the test's own, so that a month comes again.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % count
    }
}

/// What truly happens.
pub(crate) struct World {
    provider_count: usize,
    /// Credit bytes by site and provider.
    bytes: Vec<Vec<u64>>,
    /// What each provider's probes find of each, in ten-thousandths.
    estimates: Vec<Vec<u32>>,
}

impl World {
    pub(crate) fn new(provider_count: usize, seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let count = u64::try_from(provider_count).unwrap();
        let bytes = (0..SITES).map(|_| {
            // From 1 MiB to 64 GiB, so that most sites are small.
            let all = 1_u64 << (20 + dice.below(17));
            // Of a small one chance decides who served it.
            let noise_percent = if all < SMALL_BYTES { 100 } else { 20 };
            let mut of =
                |_| all / count * (100 - noise_percent + dice.below(2 * noise_percent + 1)) / 100;
            (0..provider_count).map(&mut of).collect()
        });
        let bytes: Vec<Vec<u64>> = bytes.collect();
        let fair = 10_000 / count;
        let estimates = (0..provider_count).map(|_| {
            let of = |_| u32::try_from(fair * (85 + dice.below(31)) / 100).unwrap();
            (0..provider_count).map(of).collect()
        });
        Self {
            provider_count,
            estimates: estimates.collect(),
            bytes,
        }
    }
}

fn provider(number: usize) -> ProviderId {
    ProviderId::from_bytes([u8::try_from(number).unwrap(); 32])
}

fn id<T>(number: usize, make: fn([u8; 32]) -> T) -> T {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
    make(bytes)
}

/// One month, worked out.
pub(crate) struct Month {
    inputs: Inputs,
    attribution: Attribution,
    liars: Vec<ProviderId>,
}

impl Month {
    pub(crate) fn of(world: &World, attack: Option<Attack>) -> Self {
        let liar_count = attack.map_or(1, |attack| attack.liar_count(world.provider_count));
        let mut liars: Vec<ProviderId> = (0..liar_count).map(provider).collect();
        let mut providers = providers(world, attack, liar_count);
        let mut rows = rows(world, attack, liar_count);
        if attack == Some(Attack::Split) {
            let other = provider(world.provider_count);
            liars.push(other);
            split(&mut providers, &mut rows, other);
        }
        let mut units = UnitsBySite::new();
        add_day(&mut units, rows).unwrap();
        let held = (0..SITES).map(|site| {
            let hours: BTreeMap<ProviderId, u64> = providers.keys().map(|id| (*id, 720)).collect();
            (id(site, SiteId::from_bytes), hours)
        });
        let inputs = Inputs {
            policy: Policy::new(Currency::of("EUR").unwrap()),
            fees: (0..SITES)
                .map(|site| (id(site, AccountId::from_bytes), Cents(fee(site, attack))))
                .collect(),
            sites: (0..SITES)
                .map(|site| {
                    (
                        id(site, SiteId::from_bytes),
                        id(site, AccountId::from_bytes),
                    )
                })
                .collect(),
            held: held.collect(),
            providers,
            units,
        };
        Self::work_out(inputs, liars)
    }

    fn work_out(inputs: Inputs, liars: Vec<ProviderId>) -> Self {
        Self {
            attribution: attribute(&inputs).unwrap(),
            inputs,
            liars,
        }
    }

    /// The same claims where all is pooled and nothing is bounded.
    pub(crate) fn uncapped(&self) -> Self {
        let mut inputs = self.inputs.clone();
        inputs.policy.rule = Rule::Pooled;
        inputs.policy.cap_percent = None;
        Self::work_out(inputs, self.liars.clone())
    }

    pub(crate) fn liars(&self) -> &[ProviderId] {
        &self.liars
    }

    pub(crate) fn provider_count(&self) -> usize {
        self.inputs.providers.len()
    }

    /// Whom the statement names.
    pub(crate) fn suspects(&self) -> Vec<ProviderId> {
        let claims = self.attribution.claims(&self.inputs.units).into_iter();
        claims
            .filter(|(_, claim)| claim.is_suspect())
            .map(|(id, _)| id)
            .collect()
    }

    fn share_of_liars(&self) -> f64 {
        let shares = self
            .liars
            .iter()
            .filter_map(|id| self.attribution.providers.get(id));
        let paid: u64 = shares
            .map(|share| share.deliver.0 + share.hold.0 + share.care.0)
            .sum();
        paid as f64 / self.attribution.fees.0 as f64
    }

    /// As a part of all fees.
    pub(crate) fn gain_over(&self, honest: &Self) -> f64 {
        let liars = Self {
            inputs: honest.inputs.clone(),
            attribution: honest.attribution.clone(),
            liars: self.liars.clone(),
        };
        self.share_of_liars() - liars.share_of_liars()
    }
}

fn fee(site: usize, attack: Option<Attack>) -> u64 {
    match attack {
        Some(Attack::CentSite) if site == SMALL_SITE => 1,
        Some(Attack::FreeSite) if site == SMALL_SITE => 0,
        _ if site.is_multiple_of(FREE_EVERY) => 0,
        _ => FEE,
    }
}

fn providers(
    world: &World,
    attack: Option<Attack>,
    liar_count: usize,
) -> BTreeMap<ProviderId, Provider> {
    let lies = matches!(attack, Some(Attack::Collude | Attack::LyingProbes));
    let of = |number: usize| {
        let estimate = |by: usize| {
            let truth = world.estimates[by][number];
            match (lies && by < liar_count, number < liar_count) {
                (false, _) => truth,
                (true, true) => 10_000,
                (true, false) => 0,
            }
        };
        let others = (0..world.provider_count).filter(|by| *by != number);
        Provider {
            is_in_good_standing: true,
            // Two, so that it can be split.
            steering_weight: 2,
            availability_permille: 990,
            estimates: others.map(|by| (provider(by), estimate(by))).collect(),
        }
    };
    (0..world.provider_count)
        .map(|number| (provider(number), of(number)))
        .collect()
}

type Rows = Vec<(ProviderId, SiteId, Served)>;

fn rows(world: &World, attack: Option<Attack>, liar_count: usize) -> Rows {
    let mut rows = Vec::new();
    for (site, of_site) in world.bytes.iter().enumerate() {
        for (number, bytes) in of_site.iter().enumerate() {
            let mut served = Served {
                credit_bytes: *bytes,
                answer_count: bytes / 20_000,
            };
            if let Some(attack) = attack.filter(|_| number < liar_count) {
                lie(&mut served, attack, site);
            }
            rows.push((provider(number), id(site, SiteId::from_bytes), served));
        }
    }
    rows
}

fn lie(served: &mut Served, attack: Attack, site: usize) {
    let factor = match attack {
        Attack::Inflate(tenths) => (tenths, 10),
        Attack::Collude | Attack::Split => (10, 1),
        Attack::FreeSite | Attack::CentSite if site == SMALL_SITE => (1_000_000, 1),
        Attack::Ranges => {
            served.credit_bytes += 1_000_000;
            served.answer_count += 1_000_000;
            (1, 1)
        }
        // Rows of another class, which no unit comes from.
        Attack::Heads | Attack::NotModified => (1, 1),
        _ => (1, 1),
    };
    let times = |figure: u64| (figure * factor.0 / factor.1).min(1 << 54);
    *served = Served {
        credit_bytes: times(served.credit_bytes),
        answer_count: times(served.answer_count),
    };
}

/// The first provider becomes two, with half of the weight, of the probes and of the figures each.
fn split(providers: &mut BTreeMap<ProviderId, Provider>, rows: &mut Rows, other: ProviderId) {
    let one = provider(0);
    let half = providers.get_mut(&one).unwrap();
    half.steering_weight = 1;
    half.estimates.values_mut().for_each(|parts| *parts /= 2);
    let half = half.clone();
    providers.insert(other, half);
    let mut more = Vec::new();
    for (by, site, served) in rows.iter_mut().filter(|row| row.0 == one) {
        let _ = by;
        served.credit_bytes /= 2;
        served.answer_count /= 2;
        more.push((other, *site, *served));
    }
    rows.extend(more);
}
