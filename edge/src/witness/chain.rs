//! The seals of a node as a chain: each names the one before.
//!
//! Read from the bodies alone: neither rows nor their age matter, and a body that its ledger refuses is
//! a signed word of the node all the same.

use crate::accounting::calendar::Day;
use crate::accounting::ledger::SEALS_OF_DAY_MAX;
use crate::accounting::seal::{Encoded, Previous};
use std::collections::BTreeMap;
use verge_sync::Digest;
use verge_sync::id::{NodeId, RecordId};
use verge_sync::record::cbor::Fields;
use verge_sync::record::{Effect, Kind, Record};

/// One seal of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Of which day.
    pub day: Day,
    /// Its name.
    pub digest: Digest,
    /// The one before, as it says.
    pub previous: Option<Previous>,
}

/// The seals of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Of each day all, the one that counts first.
    days: BTreeMap<Day, Vec<Link>>,
}

/// Whether a chain comes from a seal that somebody saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It does, over so many seals up to that one; none if they do not all lie here.
    Holds(Option<u64>),
    /// It has another seal of that day, or none.
    Broken,
    /// A seal in between is not here.
    Gap(Day),
    /// It ends before that day.
    Short,
}

impl Link {
    /// The link of a seal's body; none if it is no seal's.
    #[must_use]
    pub fn of(body: &[u8]) -> Option<(NodeId, Self)> {
        let encoded = Encoded {
            body: body.to_vec(),
            rows: Vec::new(),
        };
        let said = encoded.of_itself()?;
        let fields = Fields::read(body).ok()?;
        let previous = match fields.fixed_opt(19).ok()? {
            None => None,
            Some(digest) => Some(Previous {
                day: Day::new(fields.uint(18).ok()?)?,
                digest: Digest::from_bytes(digest),
            }),
        };
        let link = Self {
            day: said.day,
            digest: encoded.digest(),
            previous: previous.filter(|previous| previous.day < said.day),
        };
        Some((said.node, link))
    }
}

impl Chain {
    /// A chain of these, in any order.
    #[must_use]
    pub fn new(links: impl IntoIterator<Item = Link>) -> Self {
        let mut chain = Self::default();
        links.into_iter().for_each(|link| chain.add(link));
        chain
    }

    fn add(&mut self, link: Link) {
        let of_day = self.days.entry(link.day).or_default();
        if of_day.len() < SEALS_OF_DAY_MAX && !of_day.contains(&link) {
            of_day.push(link);
        }
    }

    /// The seal that the next one follows.
    #[must_use]
    pub fn tip(&self) -> Option<Link> {
        let (_, links) = self.days.last_key_value()?;
        links.first().copied()
    }

    /// Whether a seal of that name is here.
    #[must_use]
    pub fn has(&self, day: Day, digest: Digest) -> bool {
        self.find(day, digest).is_some()
    }

    /// The days that have a seal.
    pub fn days(&self) -> impl Iterator<Item = Day> {
        self.days.keys().copied()
    }

    fn find(&self, day: Day, digest: Digest) -> Option<Link> {
        let links = self.days.get(&day)?.iter();
        links.copied().find(|link| link.digest == digest)
    }

    /// Whether the chain comes from the seal `digest` of `day`.
    #[must_use]
    pub fn reaches(&self, day: Day, digest: Digest) -> Reach {
        let Some(mut at) = self.tip().filter(|tip| tip.day >= day) else {
            return Reach::Short;
        };
        while at.day > day {
            at = match at.previous {
                Some(previous) if previous.day >= day => {
                    match self.find(previous.day, previous.digest) {
                        Some(link) => link,
                        // The seal that was seen need not be here to be named.
                        None if (previous.day, previous.digest) == (day, digest) => {
                            return Reach::Holds(None);
                        }
                        None if previous.day == day => return Reach::Broken,
                        None => return Reach::Gap(previous.day),
                    }
                }
                _ => return Reach::Broken,
            };
        }
        match at.digest == digest {
            true => Reach::Holds(self.length(at)),
            false => Reach::Broken,
        }
    }

    /// How many seals lead up to `link`, with it; none if one is not here.
    #[must_use]
    pub fn length(&self, link: Link) -> Option<u64> {
        let (mut at, mut length) = (link, 1);
        while let Some(previous) = at.previous {
            at = self.find(previous.day, previous.digest)?;
            length += 1;
        }
        Some(length)
    }

    /// Whether the node has said two things: several seals of a day, or one that the later ones pass
    /// by.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        if self.days.values().any(|links| links.len() > 1) {
            return true;
        }
        // One of each day: the last comes from all of them exactly if each names the one before.
        let links = self.days.values().flatten();
        let mut before: Option<&Link> = None;
        links.into_iter().any(|link| {
            let named = link.previous.map(|previous| previous.day);
            let passes = before.is_some_and(|before| match link.previous {
                None => true,
                Some(previous) if previous.day == before.day => previous.digest != before.digest,
                Some(_) => named < Some(before.day),
            });
            before = Some(link);
            passes
        })
    }
}

/// The chains of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains(BTreeMap<NodeId, Chain>);

impl Chains {
    /// As the region's records have them.
    #[must_use]
    pub fn of(effect: &Effect) -> Self {
        let seals = effect.records();
        let seals = seals.filter(|record| record.envelope().kind == Kind::SEAL);
        let mut links: Vec<_> = seals
            .filter(|record| effect.heeds_of_node(record))
            .filter_map(|record| read(record))
            .collect();
        links.sort_by_key(|(place, ..)| *place);
        let mut chains = Self::default();
        for (_, node, link) in links {
            chains.0.entry(node).or_default().add(link);
        }
        chains
    }

    /// The chain of a node, which may be empty.
    #[must_use]
    pub fn get(&self, node: &NodeId) -> Option<&Chain> {
        self.0.get(node)
    }

    /// Whether the node has sealed the day.
    #[must_use]
    pub fn has_day(&self, node: &NodeId, day: Day) -> bool {
        let chain = self.0.get(node);
        chain.is_some_and(|chain| chain.days.contains_key(&day))
    }
}

type Place = (u32, u32, RecordId);

fn read(record: &Record) -> Option<(Place, NodeId, Link)> {
    let envelope = record.envelope();
    let body = Fields::read(record.bytes()).ok()?.raw(10)?;
    let (node, link) = Link::of(body)?;
    let subject = [node.as_bytes().as_slice(), &link.day.number().to_be_bytes()].concat();
    let is_own = envelope.author.node() == node && envelope.subject == subject;
    let place = (envelope.epoch, envelope.sequence, record.id());
    is_own.then_some((place, node, link))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(number: u32) -> Day {
        Day::new(number).unwrap()
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn link(on: u32, name: &str, previous: Option<(u32, &str)>) -> Link {
        Link {
            day: day(on),
            digest: digest(name),
            previous: previous.map(|(on, name)| Previous {
                day: day(on),
                digest: digest(name),
            }),
        }
    }

    #[test]
    fn a_chain_comes_from_each_of_its_seals_and_from_no_other() {
        let links = [
            link(10, "a", None),
            link(12, "b", Some((10, "a"))),
            link(13, "c", Some((12, "b"))),
        ];
        let chain = Chain::new(links);
        assert!(!chain.is_forked());
        for (on, name, expected) in [
            (10, "a", Reach::Holds(Some(1))),
            (12, "b", Reach::Holds(Some(2))),
            (13, "c", Reach::Holds(Some(3))),
            (12, "x", Reach::Broken),
            (13, "x", Reach::Broken),
            (11, "a", Reach::Broken),
            (9, "a", Reach::Broken),
            (14, "d", Reach::Short),
        ] {
            assert_eq!(
                chain.reaches(day(on), digest(name)),
                expected,
                "{on} {name}"
            );
        }
        assert_eq!(Chain::default().reaches(day(1), digest("a")), Reach::Short);
    }

    #[test]
    fn what_is_missing_in_between_is_named() {
        let chain = Chain::new([link(13, "c", Some((12, "b")))]);
        assert_eq!(chain.reaches(day(12), digest("b")), Reach::Holds(None));
        assert_eq!(chain.reaches(day(12), digest("x")), Reach::Broken);
        assert_eq!(chain.reaches(day(10), digest("a")), Reach::Gap(day(12)));
        assert_eq!(chain.length(chain.tip().unwrap()), None);
        assert!(!chain.is_forked());
    }

    #[test]
    fn two_words_of_a_node_are_a_fork() {
        let rows: [&[Link]; 4] = [
            &[link(10, "a", None), link(10, "b", None)],
            &[link(10, "a", None), link(11, "b", None)],
            &[link(10, "a", None), link(11, "b", Some((10, "x")))],
            &[
                link(9, "a", None),
                link(10, "b", Some((9, "a"))),
                link(11, "c", Some((9, "a"))),
            ],
        ];
        for links in rows {
            assert!(Chain::new(links.iter().copied()).is_forked(), "{links:?}");
        }
    }

    proptest! {
        #[test]
        fn an_honest_chain_extends_whatever_was_seen_of_it(
            steps in prop::collection::vec(1..4_u32, 1..40),
            cut in 0..40_usize,
        ) {
            let (mut links, mut on, mut previous) = (Vec::new(), 100, None);
            for step in steps {
                on += step;
                let name = format!("seal {on}");
                links.push(link(on, &name, previous.as_ref().map(|(on, name): &(u32, String)| (*on, name.as_str()))));
                previous = Some((on, name));
            }
            let seen = links[cut % links.len()];
            let expected = u64::try_from(cut % links.len()).unwrap() + 1;
            let chain = Chain::new(links.iter().rev().copied());
            prop_assert!(!chain.is_forked());
            prop_assert_eq!(chain.reaches(seen.day, seen.digest), Reach::Holds(Some(expected)));
        }
    }
}
