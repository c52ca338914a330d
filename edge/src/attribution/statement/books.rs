//! What a statement is made of, and how it is worked out.

use super::Statement;
use crate::accounting::calendar::{Day, Month};
use crate::accounting::figures::{Class, Row};
use crate::accounting::seal::{Seal, smaller};
use crate::attribution::exact::{Overflow, Percent};
use crate::attribution::fees::Fees;
use crate::attribution::hold::HoursBySite;
use crate::attribution::policy::{Policy, PolicyError, parse};
use crate::attribution::units::{Served, UnitsBySite, add_day};
use crate::attribution::{Attribution, AttributionError, Cap, Inputs, Provider, attribute};
use std::collections::{BTreeMap, BTreeSet};
use verge_sync::Digest;
use verge_sync::id::{AccountId, NodeId, ProviderId, RegionId, SiteId};

/// What a month is worked out from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    /// Whose month.
    pub region: RegionId,
    /// Its name.
    pub region_name: String,
    /// Which.
    pub month: Month,
    /// Whether a majority of the providers closed it.
    pub is_closed: bool,
    /// The text of the policy in force.
    pub policy: String,
    /// Everybody who may be paid.
    pub providers: BTreeMap<ProviderId, NamedProvider>,
    /// Whose each node is.
    pub nodes: BTreeMap<NodeId, ProviderId>,
    /// Accounts that have sites.
    pub owners: BTreeMap<AccountId, Owner>,
    /// Their sites.
    pub sites: BTreeMap<SiteId, Site>,
    /// What they paid.
    pub fees: Fees,
    /// Verified replica-hours.
    pub held: HoursBySite,
    /// In any order; the same one twice counts once.
    pub seals: Vec<SealedDay>,
    /// Seals that are in statements of earlier months.
    pub earlier: BTreeSet<Digest>,
}

/// A provider by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProvider {
    /// For people.
    pub name: String,
    /// What attribution needs of it.
    pub provider: Provider,
}

/// An account by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// For people.
    pub name: String,
}

/// A site by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// For people.
    pub name: String,
    /// Whose it is.
    pub owner: AccountId,
}

/// A seal under its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDay {
    /// Of its body.
    pub digest: Digest,
    /// What it says.
    pub seal: Seal,
}

/// Why there is no statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The policy cannot be read.
    #[error("the policy, {0}")]
    Policy(#[from] PolicyError),
    /// The shares cannot be worked out.
    #[error(transparent)]
    Attribution(#[from] AttributionError),
    /// A figure that does not fit.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// The month is not over.
    #[error("seal {digest} of node {} is of {day}, which is after {month}", node.short())]
    Later {
        /// Which seal.
        digest: Digest,
        /// Whose.
        node: NodeId,
        /// Of when.
        day: Day,
        /// The month of the statement.
        month: Month,
    },
    /// Counted before.
    #[error("seal {digest} of node {}, {day}, is in the statement of an earlier month", node.short())]
    InEarlier {
        /// Which seal.
        digest: Digest,
        /// Whose.
        node: NodeId,
        /// Of when.
        day: Day,
    },
    /// Of nobody.
    #[error("seal {digest} is of node {node}, of which it is not said whose it is")]
    UnknownNode {
        /// Which seal.
        digest: Digest,
        /// Whose.
        node: NodeId,
    },
}

impl<'b> Statement<'b> {
    /// Works the month out.
    ///
    /// # Errors
    /// [`StatementError`] names what cannot be.
    pub fn of(books: &'b Books) -> Result<Self, StatementError> {
        let policy = parse(&books.policy)?;
        let days = by_node_and_day(books)?;
        let mut tally = Tally::default();
        for ((day, node), seals) in &days {
            tally.seal(books, (*day, *node), seals)?;
        }
        tally.finish_day()?;
        let inputs = inputs(books, policy, tally.units);
        let attribution = attribute(&inputs)?;
        let mut notes = tally.notes;
        notes.extend(cap_note(books, &attribution));
        notes.extend(suspect_notes(books, &attribution, &inputs.units));
        notes.extend(free_notes(books, &inputs.policy, &attribution));
        let seals = days.iter().flat_map(|((day, node), seals)| {
            let digests = seals.keys();
            digests.map(|digest| (*node, *day, *digest))
        });
        Ok(Self {
            books,
            policy: inputs.policy,
            served: inputs.units,
            requests: tally.requests,
            seals: seals.collect(),
            notes,
            missing: missing(&days, books.month),
            proofs: books.fees.proofs(),
            attribution,
        })
    }
}

type Days<'b> = BTreeMap<(Day, NodeId), BTreeMap<Digest, &'b Seal>>;

fn by_node_and_day(books: &Books) -> Result<Days<'_>, StatementError> {
    let mut days: Days<'_> = BTreeMap::new();
    for SealedDay { digest, seal } in &books.seals {
        let (digest, node, day) = (*digest, seal.node, seal.day);
        if books.earlier.contains(&digest) {
            return Err(StatementError::InEarlier { digest, node, day });
        }
        let month = books.month;
        if day > month.last_day() {
            return Err(StatementError::Later {
                digest,
                node,
                day,
                month,
            });
        }
        if !books.nodes.contains_key(&node) {
            return Err(StatementError::UnknownNode { digest, node });
        }
        days.entry((day, node)).or_default().insert(digest, seal);
    }
    Ok(days)
}

/// What is summed over the seals, which come day by day.
#[derive(Default)]
struct Tally {
    units: UnitsBySite,
    requests: BTreeMap<ProviderId, u64>,
    notes: Vec<String>,
    day: Option<Day>,
    of_day: Vec<(ProviderId, SiteId, Served)>,
}

impl Tally {
    fn seal(
        &mut self,
        books: &Books,
        (day, node): (Day, NodeId),
        seals: &BTreeMap<Digest, &Seal>,
    ) -> Result<(), Overflow> {
        if self.day != Some(day) {
            self.finish_day()?;
            self.day = Some(day);
        }
        let provider = *books.nodes.get(&node).ok_or(Overflow)?;
        let (rows, is_contradicted) = smaller(seals.values().copied());
        let who = format!("node {}, {day}", node.short());
        if is_contradicted {
            self.notes.push(format!(
                "{who}: the node signed different seals; of each figure the smaller counts"
            ));
        }
        if day < books.month.first_day() {
            self.notes
                .push(format!("{who}: came late and counts in this month"));
        }
        if seals.values().any(|seal| seal.is_behind_proxy) {
            self.notes
                .push(format!("{who}: counts what was delivered to a proxy"));
        }
        let mut without_owner = 0_u64;
        for Row { site, class, count } in rows {
            let requests = self.requests.entry(provider).or_default();
            *requests = requests.saturating_add(count.requests);
            if class != Class::Answer {
                continue;
            }
            if !books.sites.contains_key(&site) {
                without_owner = without_owner.saturating_add(1);
                continue;
            }
            let served = Served {
                credit_bytes: count.credit.0,
                answer_count: count.requests,
            };
            self.of_day.push((provider, site, served));
        }
        if without_owner > 0 {
            self.notes.push(format!(
                "{who}: {without_owner} sites have no owner any more and are not credited"
            ));
        }
        Ok(())
    }

    fn finish_day(&mut self) -> Result<(), Overflow> {
        add_day(&mut self.units, std::mem::take(&mut self.of_day))
    }
}

fn inputs(books: &Books, policy: Policy, units: UnitsBySite) -> Inputs {
    let providers = books.providers.iter();
    let fees = books.fees.0.iter();
    let sites = books.sites.iter();
    Inputs {
        policy,
        providers: providers
            .map(|(id, of)| (*id, of.provider.clone()))
            .collect(),
        fees: fees.map(|(owner, fee)| (*owner, fee.cents)).collect(),
        sites: sites.map(|(id, site)| (*id, site.owner)).collect(),
        units,
        held: books.held.clone(),
    }
}

fn cap_note(books: &Books, attribution: &Attribution) -> Option<String> {
    match attribution.cap {
        Cap::Held => None,
        Cap::TooFewProviders => Some(format!(
            "with {} providers nothing bounds what one of them claims to have served",
            books.providers.len()
        )),
        Cap::Off => Some(
            "by the region's policy nothing bounds what a provider claims to have served"
                .to_owned(),
        ),
    }
}

/// Providers that say they served much more than probes by others say they should have.
fn suspect_notes(books: &Books, attribution: &Attribution, served: &UnitsBySite) -> Vec<String> {
    let claims = attribution.claims(served).into_iter();
    let suspects = claims.filter(|(_, claim)| claim.is_suspect());
    suspects
        .map(|(id, claim)| {
            let name = books
                .providers
                .get(&id)
                .map_or("", |named| named.name.as_str());
            let above = Percent {
                part: claim.served.saturating_sub(claim.credited),
                whole: claim.served,
            };
            format!(
                "provider {} ({name}): {above} of what it says it served is above the cap and not \
                 credited",
                id.short()
            )
        })
        .collect()
}

/// Accounts that pay nothing and have more than the policy gives for nothing. They stay online.
fn free_notes(books: &Books, policy: &Policy, attribution: &Attribution) -> Vec<String> {
    let Some(free) = policy.free else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    let sponsored = attribution.owners.iter().filter(|(_, of)| of.fee.0 == 0);
    for (id, owner) in sponsored {
        let sites = books
            .sites
            .values()
            .filter(|site| site.owner == *id)
            .count();
        let sites = u64::try_from(sites).unwrap_or(u64::MAX);
        let units = owner
            .units
            .values()
            .fold(0_u64, |sum, units| sum.saturating_add(*units));
        if sites > free.sites || units > free.units {
            let name = books.owners.get(id).map_or("", |owner| owner.name.as_str());
            let of = Percent {
                part: units.into(),
                whole: u128::from(free.units.max(1)),
            };
            notes.push(format!(
                "account {} ({name}) paid nothing and has {sites} sites and {of} of the free units",
                id.short()
            ));
        }
    }
    notes
}

/// Seals of this month that later ones of the same node say came before them.
fn missing(days: &Days<'_>, month: Month) -> Vec<String> {
    let mut missing = BTreeSet::new();
    for ((_, node), seals) in days {
        for previous in seals.values().filter_map(|seal| seal.previous) {
            let is_there = days
                .get(&(previous.day, *node))
                .is_some_and(|seals| seals.contains_key(&previous.digest));
            if previous.day >= month.first_day() && !is_there {
                missing.insert((previous.day, *node));
            }
        }
    }
    let words = missing.into_iter();
    words
        .map(|(day, node)| format!("node {}, {day}", node.short()))
        .collect()
}
