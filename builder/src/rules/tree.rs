//! Rules on a tree of path segments: a request meets those whose path matches, and none behind one
//! that is sure to answer.

use super::pattern::{Pattern, Segment};

/// Rules by the next segment of their path.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// In order of the segments.
    literals: Vec<(Box<str>, Box<Tree>)>,
    placeholder: Option<Box<Tree>>,
    /// Rules whose `*` stands here.
    star: Leaves,
    /// Rules that end here.
    end: Leaves,
    /// Of all rules here and below.
    first: First,
}

/// Rules of one path, in order of the file.
#[derive(Debug, Default)]
struct Leaves {
    rules: Vec<usize>,
    /// Of those that answer whoever comes here.
    sure_first: First,
}

/// A rule's place in the file, and what a search may make of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub(super) position: usize,
    /// Whether it wins over a file.
    pub(super) is_forced: bool,
    /// Whether it answers whoever comes where it hangs.
    pub(super) is_sure: bool,
}

/// Where in the file the first of some rules stands: of all, and of those that win over a file.
#[derive(Debug, Clone, Copy)]
struct First {
    any: usize,
    forced: usize,
}

/// A search on its way down trees.
#[derive(Debug)]
pub struct Search {
    /// Whether only rules count that win over a file.
    pub forced_only: bool,
    /// Rules that may answer, by their places in the file; in no order.
    pub candidates: Vec<usize>,
    /// A rule that is sure to answer: none behind it is looked for.
    pub bound: usize,
}

impl Tree {
    /// Hangs a rule where its path leads; later ones stand later in the file.
    pub(super) fn hang(&mut self, from: &Pattern, leaf: Leaf) {
        let mut node = self;
        node.first.note(leaf);
        for segment in &from.head {
            node = match segment {
                // `/a/` and `/a` are one rule; `/` is the root itself.
                Segment::Literal(text) if text.is_empty() => node,
                Segment::Literal(text) => node.literal(text),
                Segment::Placeholder(_) => node.placeholder.get_or_insert_default(),
            };
            node.first.note(leaf);
        }
        let leaves = match &from.star {
            Some(_) => &mut node.star,
            None => &mut node.end,
        };
        leaves.rules.push(leaf.position);
        if leaf.is_sure {
            leaves.sure_first.note(leaf);
        }
    }

    fn literal(&mut self, text: &str) -> &mut Self {
        let at = match self.find(text) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (text.into(), Box::default()));
                at
            }
        };
        let (_, node) = self
            .literals
            .get_mut(at)
            .expect("it was found or put there");
        node
    }

    fn find(&self, text: &str) -> Result<usize, usize> {
        self.literals
            .binary_search_by(|(known, _)| known.as_ref().cmp(text))
    }

    /// Every rule whose path matches, as far as it can be the first to answer; no node is visited
    /// twice, and those with early rules before others, so that few are.
    pub(super) fn collect(&self, segments: &[&str], search: &mut Search) {
        if search.first(self.first) >= search.bound {
            return;
        }
        self.star.collect(search);
        let Some((first, rest)) = segments.split_first() else {
            self.end.collect(search);
            return;
        };
        let found = self.find(first).ok().and_then(|at| self.literals.get(at));
        let literal = found.map(|(_, node)| node.as_ref());
        let mut nodes = [literal, self.placeholder.as_deref()];
        nodes.sort_by_key(|node| node.map_or(usize::MAX, |node| search.first(node.first)));
        for node in nodes.into_iter().flatten() {
            node.collect(rest, search);
        }
    }
}

impl Leaves {
    fn collect(&self, search: &mut Search) {
        search.bound = search.bound.min(search.first(self.sure_first));
        let bound = search.bound;
        let early = self.rules.iter().take_while(|at| **at <= bound);
        search.candidates.extend(early);
    }
}

impl Search {
    /// The first of the rules that count for this search.
    fn first(&self, first: First) -> usize {
        if self.forced_only {
            first.forced
        } else {
            first.any
        }
    }
}

impl First {
    fn note(&mut self, leaf: Leaf) {
        self.any = self.any.min(leaf.position);
        if leaf.is_forced {
            self.forced = self.forced.min(leaf.position);
        }
    }
}

impl Default for First {
    /// Of no rules.
    fn default() -> Self {
        Self {
            any: usize::MAX,
            forced: usize::MAX,
        }
    }
}
