//! What an owner keeps of the seals that it saw: a small file of text, against which later ones are
//! held. Pure.

use super::chain::{Chain, Link, Reach};
use crate::accounting::calendar::{Day, Month};
use std::collections::BTreeMap;
use std::fmt::Write;
use verge_sync::Digest;
use verge_sync::id::NodeId;

/// The first line.
const HEADER: &str = "verge keepsake 1";
/// 7,000 nodes.
pub const KEEPSAKE_BYTES_MAX: usize = 1 << 20;

/// The last seal that was seen of each node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keepsake(BTreeMap<NodeId, (Day, Digest)>);

/// Why nothing is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepsakeError {
    /// Another file.
    #[error("the file is none that `verge ledger keep` wrote: its first line is not {HEADER:?}")]
    Header,
    /// Longer than any.
    #[error("the file has {0} bytes, more than one of {KEEPSAKE_BYTES_MAX}")]
    TooLong(usize),
    /// A line that is no node, day and seal, or a node that is there twice.
    #[error("line {0} of the file is not NODE DAY SEAL, or of a node that is there before")]
    Line(usize),
    /// The seals pass by the one that was seen.
    #[error(
        "node {node} has exchanged its history: the seals in this folder do not come from its seal of {day}, {digest}, which you have seen. Ask the region's other nodes and its witnesses; nothing was kept"
    )]
    Replaced {
        /// Whose.
        node: NodeId,
        /// Of which day.
        day: Day,
        /// The seal that was seen.
        digest: Digest,
    },
    /// They begin too late.
    #[error(
        "node {node}: the seal of {missing} is neither in this folder nor in what you have kept, which ends on {day}: keep the statements of the months in their order; nothing was kept"
    )]
    Gap {
        /// Whose.
        node: NodeId,
        /// The last day that was seen.
        day: Day,
        /// The day that is missing.
        missing: Day,
    },
    /// They end too early.
    #[error(
        "node {node}: the seals in this folder end on {last}, and you have seen its seal of {day}: this is an older statement, or the history was cut; nothing was kept"
    )]
    Short {
        /// Whose.
        node: NodeId,
        /// Their end.
        last: Day,
        /// The last day that was seen.
        day: Day,
    },
    /// One node says two things.
    #[error(
        "node {node} signed seals that exclude one another, of {day} or about it: nothing was kept"
    )]
    Forked {
        /// Whose.
        node: NodeId,
        /// The last of them.
        day: Day,
    },
}

impl Keepsake {
    /// Reads a file.
    ///
    /// # Errors
    /// [`KeepsakeError`].
    pub fn parse(text: &str) -> Result<Self, KeepsakeError> {
        if text.len() > KEEPSAKE_BYTES_MAX {
            return Err(KeepsakeError::TooLong(text.len()));
        }
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(KeepsakeError::Header);
        }
        let mut seen = BTreeMap::new();
        for (number, line) in (2..).zip(lines) {
            let (node, what) = read(line).ok_or(KeepsakeError::Line(number))?;
            if seen.insert(node, what).is_some() {
                return Err(KeepsakeError::Line(number));
            }
        }
        Ok(Self(seen))
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for (node, (day, digest)) in &self.0 {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{node} {day} {digest}");
        }
        text
    }

    /// How many nodes it knows.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.0.len()
    }

    /// Holds the seals of a folder against what was seen, and goes on to their ends. A node that is
    /// not among them stays as it was.
    ///
    /// # Errors
    /// [`KeepsakeError`]: they are not what goes on from there, and nothing changes.
    pub fn extend(
        &mut self,
        seals: impl IntoIterator<Item = (NodeId, Link)>,
    ) -> Result<(), KeepsakeError> {
        let mut links: BTreeMap<NodeId, Vec<Link>> = BTreeMap::new();
        for (node, link) in seals {
            links.entry(node).or_default().push(link);
        }
        let mut next = self.0.clone();
        for (node, links) in links {
            let chain = Chain::new(links);
            let Some(tip) = chain.tip() else { continue };
            if let Some((day, digest)) = self.0.get(&node) {
                check(node, &chain, (*day, *digest))?;
            }
            if chain.is_forked() {
                let day = tip.day;
                return Err(KeepsakeError::Forked { node, day });
            }
            next.insert(node, (tip.day, tip.digest));
        }
        self.0 = next;
        Ok(())
    }
}

fn check(node: NodeId, chain: &Chain, (day, digest): (Day, Digest)) -> Result<(), KeepsakeError> {
    match chain.reaches(day, digest) {
        Reach::Holds(_) => Ok(()),
        Reach::Broken => Err(KeepsakeError::Replaced { node, day, digest }),
        Reach::Gap(missing) => Err(KeepsakeError::Gap { node, day, missing }),
        Reach::Short => Err(KeepsakeError::Short {
            node,
            last: chain.tip().map_or(day, |tip| tip.day),
            day,
        }),
    }
}

fn read(line: &str) -> Option<(NodeId, (Day, Digest))> {
    let mut words = line.split(' ');
    let node: Digest = words.next()?.parse().ok()?;
    let day = read_day(words.next()?)?;
    let digest = words.next()?.parse().ok()?;
    let is_all = words.next().is_none();
    is_all.then_some((NodeId::from_digest(node), (day, digest)))
}

fn read_day(text: &str) -> Option<Day> {
    let (month, of_month) = text.rsplit_once('-')?;
    let month: Month = month.parse().ok()?;
    let of_month: u32 = of_month.parse().ok()?;
    let day = Day::new(
        month
            .first_day()
            .number()
            .checked_add(of_month)?
            .checked_sub(1)?,
    )?;
    (day.to_string() == text).then_some(day)
}

/// Fuzz target: the file of an owner.
pub(crate) fn keepsakes(bytes: &[u8]) {
    if let Ok(read) = Keepsake::parse(&String::from_utf8_lossy(bytes)) {
        assert_eq!(Keepsake::parse(&read.text()), Ok(read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::seal::Previous;
    use proptest::prelude::*;

    fn day(number: u32) -> Day {
        Day::new(number).unwrap()
    }

    fn node() -> NodeId {
        NodeId::from_bytes([5; 32])
    }

    /// Seals of these days, each after the one before; `salt` makes another history of them.
    fn history(days: std::ops::Range<u32>, salt: &str) -> Vec<(NodeId, Link)> {
        let name = |on: u32| Digest::of(format!("{salt}{on}").as_bytes());
        let link = |on: u32| Link {
            day: day(on),
            digest: name(on),
            previous: (on > 100).then(|| Previous {
                day: day(on - 1),
                digest: name(on - 1),
            }),
        };
        days.map(|on| (node(), link(on))).collect()
    }

    #[test]
    fn a_history_that_goes_on_is_kept_and_read_back() {
        let mut kept = Keepsake::default();
        for days in [100..130, 130..160, 150..161] {
            kept.extend(history(days, "")).unwrap();
            assert_eq!(Keepsake::parse(&kept.text()).as_ref(), Ok(&kept));
        }
        assert_eq!(kept.node_count(), 1);
        kept.extend(Vec::new()).unwrap();
        assert!(kept.text().contains(" 1970-06-10 "), "{}", kept.text());
    }

    #[test]
    fn what_does_not_extend_it_is_refused_by_node_and_day() {
        let mut kept = Keepsake::default();
        kept.extend(history(100..130, "")).unwrap();
        let before = kept.clone();
        let (node, digest) = (node(), Digest::of(b"129"));
        let rows = [
            (
                history(100..140, "other "),
                KeepsakeError::Replaced {
                    node,
                    day: day(129),
                    digest,
                },
            ),
            (
                history(130..140, "other "),
                KeepsakeError::Replaced {
                    node,
                    day: day(129),
                    digest,
                },
            ),
            (
                history(140..150, ""),
                KeepsakeError::Gap {
                    node,
                    day: day(129),
                    missing: day(139),
                },
            ),
            (
                history(100..120, ""),
                KeepsakeError::Short {
                    node,
                    last: day(119),
                    day: day(129),
                },
            ),
        ];
        for (seals, expected) in rows {
            assert_eq!(kept.extend(seals), Err(expected));
            assert_eq!(kept, before);
        }
        let both = [history(100..131, ""), history(130..131, "other ")].concat();
        let forked = KeepsakeError::Forked {
            node,
            day: day(130),
        };
        assert_eq!(kept.extend(both), Err(forked));
        let words = KeepsakeError::Replaced {
            node,
            day: day(129),
            digest,
        }
        .to_string();
        assert!(words.contains("1970-05-10") && words.contains(&node.to_string()));
    }

    #[test]
    fn other_files_are_refused_by_their_line() {
        let good = "verge keepsake 1\n";
        assert_eq!(Keepsake::parse(good), Ok(Keepsake::default()));
        assert_eq!(Keepsake::parse(""), Err(KeepsakeError::Header));
        let (id, other) = (Digest::of(b"n"), Digest::of(b"s"));
        let line = format!("{id} 2026-11-30 {other}\n");
        assert!(Keepsake::parse(&format!("{good}{line}")).is_ok());
        for (lines, number) in [
            (format!("{line}{line}"), 3),
            (format!("{id} 2026-11-31 {other}\n"), 2),
            (format!("{id} 2026-11-00 {other}\n"), 2),
            (format!("{id} 2026-11-30\n"), 2),
            (format!("{id} 2026-11-30 {other} more\n"), 2),
            ("\n".to_owned(), 2),
        ] {
            let read = Keepsake::parse(&format!("{good}{lines}"));
            assert_eq!(read, Err(KeepsakeError::Line(number)), "{lines}");
        }
        let fits = " ".repeat(KEEPSAKE_BYTES_MAX);
        assert_eq!(Keepsake::parse(&fits), Err(KeepsakeError::Header));
        let long = KEEPSAKE_BYTES_MAX + 1;
        assert_eq!(
            Keepsake::parse(&" ".repeat(long)),
            Err(KeepsakeError::TooLong(long))
        );
    }

    proptest! {
        #[test]
        fn any_honest_history_in_any_parts_is_kept(parts in prop::collection::vec(1..40_u32, 1..12)) {
            let (mut kept, mut from) = (Keepsake::default(), 100);
            for length in parts {
                prop_assert!(kept.extend(history(from..from + length, "")).is_ok());
                from += length;
            }
        }
    }
}
