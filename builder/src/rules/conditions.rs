//! Rules by what they ask for beside the path. Each hangs under one condition, the one that the
//! fewest rules of the file share, so that a request meets a rule only if it has that condition's
//! parameter or language: a thousand rules that differ in their conditions cost as much as one.

use super::pattern::Pattern;
use super::redirects::{Piece, Redirect};
use super::tree::{Leaf, Search, Tree};
use std::collections::HashMap;

/// Something that a request has or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition<'r> {
    /// This text under this name in the query.
    Text(&'r str, &'r str),
    /// This name in the query.
    Name(&'r str),
    /// This language, or a narrower one.
    Language(&'r str),
}

/// A rule that is to be hung.
#[derive(Debug)]
pub struct Hanging<'r> {
    /// Its place in the file.
    pub position: usize,
    /// Which paths.
    pub from: &'r Pattern,
    /// Of each list one has to hold.
    pub conditions: Vec<Vec<Condition<'r>>>,
    /// Whether it wins over a file.
    pub is_forced: bool,
    /// Whether it answers everybody whose path and conditions fit.
    pub is_certain: bool,
}

/// Trees of rules, each under what all its rules ask for.
#[derive(Debug, Default)]
pub struct Conditions {
    plain: Tree,
    by_name: HashMap<String, ByName>,
    by_language: HashMap<String, Tree>,
}

/// Of rules that ask for a name in the query.
#[derive(Debug, Default)]
struct ByName {
    any: Tree,
    by_text: HashMap<String, Tree>,
}

/// What the conditions of rules look at.
pub trait Asking {
    /// The parameters of the query, each name with the value that counts.
    fn parameters(&self) -> impl Iterator<Item = (&str, &str)>;

    /// The language that is wanted most, in lower case.
    fn language(&self) -> Option<&str>;
}

impl Redirect {
    /// What it asks of the query.
    #[must_use]
    pub fn query_conditions(&self) -> Vec<Vec<Condition<'_>>> {
        let conditions = self.query.iter().map(|condition| match &condition.value {
            Piece::Literal(text) => vec![Condition::Text(&condition.name, text)],
            Piece::Capture(_) => vec![Condition::Name(&condition.name)],
        });
        conditions.collect()
    }

    /// What it asks for at all.
    #[must_use]
    pub fn conditions(&self) -> Vec<Vec<Condition<'_>>> {
        let mut conditions = self.query_conditions();
        if !self.languages.is_empty() {
            let languages = self.languages.iter();
            conditions.push(languages.map(|l| Condition::Language(l)).collect());
        }
        conditions
    }
}

impl Conditions {
    /// Hangs the rules, which are in order of the file.
    #[must_use]
    pub fn hang(rules: &[Hanging<'_>]) -> Self {
        let mut counts: HashMap<Condition<'_>, usize> = HashMap::new();
        for condition in rules.iter().flat_map(|rule| &rule.conditions).flatten() {
            *counts.entry(*condition).or_default() += 1;
        }
        let count = |any_of: &&Vec<Condition<'_>>| -> usize {
            any_of.iter().filter_map(|one| counts.get(one)).sum()
        };
        let mut all = Self::default();
        for rule in rules {
            let leaf = Leaf {
                position: rule.position,
                is_forced: rule.is_forced,
                is_sure: rule.is_certain && rule.conditions.len() <= 1,
            };
            match rule.conditions.iter().min_by_key(count) {
                None => all.plain.hang(rule.from, leaf),
                Some(any_of) => any_of
                    .iter()
                    .for_each(|condition| all.under(*condition).hang(rule.from, leaf)),
            }
        }
        all
    }

    fn under(&mut self, condition: Condition<'_>) -> &mut Tree {
        match condition {
            Condition::Text(name, text) => {
                let named = self.by_name.entry(name.to_owned()).or_default();
                named.by_text.entry(text.to_owned()).or_default()
            }
            Condition::Name(name) => &mut self.by_name.entry(name.to_owned()).or_default().any,
            Condition::Language(language) => {
                self.by_language.entry(language.to_owned()).or_default()
            }
        }
    }

    /// Every rule that may be the first to answer a decoded path.
    pub fn collect(&self, path: &str, visitor: &impl Asking, search: &mut Search) {
        let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        let segments = segments.as_slice();
        self.plain.collect(segments, search);
        if !self.by_name.is_empty() {
            for (name, text) in visitor.parameters() {
                let Some(named) = self.by_name.get(name) else {
                    continue;
                };
                named.any.collect(segments, search);
                if let Some(tree) = named.by_text.get(text) {
                    tree.collect(segments, search);
                }
            }
        }
        if self.by_language.is_empty() {
            return;
        }
        // The visitor's own and each that is wider: `de-at`, `de`.
        let language = visitor.language().unwrap_or_default();
        let wider = language.match_indices('-').map(|(end, _)| end);
        for end in wider.chain([language.len()]) {
            let tree = language.get(..end).and_then(|l| self.by_language.get(l));
            if let Some(tree) = tree {
                tree.collect(segments, search);
            }
        }
    }
}
