//! What is told of rules that stay: those that answer nobody, and those that send in circles.
//!
//! Each line alone is right, so none is skipped: which of two is the mistake only the publisher
//! knows.

use super::conditions::{Asking, Conditions, Hanging};
use super::lines::{Wrong, wrong};
use super::parse_redirects::HasFile;
use super::pattern::{Segment, decode_path};
use super::redirects::{Action, Piece, QueryCondition, Redirect, Redirects};
use super::tree::Search;
use std::collections::{HashMap, HashSet};

/// Redirects that browsers follow before they give up.
const HOPS_MAX: usize = 20;

/// A longer address is answered with 414, which ends a way that grows with each hop.
const ADDRESS_BYTES_MAX: usize = 8 << 10;

/// Looks at all rules, each with its line; what is wrong, by line.
pub(super) fn lint(rules: &Redirects, lines: &[u32], has_file: HasFile<'_>) -> Vec<(u32, Wrong)> {
    let mut told = Vec::new();
    let mut answers = has_file.map(|has_file| Answers::of(rules, has_file));
    for (at, (rule, line)) in rules.0.iter().zip(lines).enumerate() {
        let before = rules.0.iter().zip(lines).take(at);
        let found = hidden(rule, before)
            .or_else(|| behind_a_file(rule, has_file))
            .or_else(|| circle(answers.as_mut()?, at, lines))
            .or_else(|| plain_star(rule));
        told.extend(found.map(|wrong| (*line, wrong)));
    }
    told
}

/// An earlier rule takes every visitor.
fn hidden<'a>(
    rule: &Redirect,
    mut before: impl Iterator<Item = (&'a Redirect, &'a u32)>,
) -> Option<Wrong> {
    let (first, line) = before.find(|(first, _)| first.shadows(rule))?;
    if rule.shadows(first) {
        let what = format!("never reached, because line {line} has the same address");
        return Some(wrong(what, "remove one of the two"));
    }
    let what = format!("never reached, because line {line} already answers it");
    Some(wrong(what, "remove it, or move it above that line"))
}

/// A rule for one address, where a file answers.
fn behind_a_file(rule: &Redirect, has_file: HasFile<'_>) -> Option<Wrong> {
    let is_one_address = rule.from.names().is_empty();
    let wins = is_one_address && !rule.is_forced && has_file?(&Visitor::of(rule).path);
    let status = rule.action.status();
    wins.then(|| {
        let instead = format!("write {status}! to let the rule win, or remove it");
        wrong("the site has a file at this address, which wins", &instead)
    })
}

/// Whoever follows this rule and those it leads to never arrives. Told at the last of them.
fn circle(answers: &mut Answers<'_>, at: usize, lines: &[u32]) -> Option<Wrong> {
    let rules = answers.rules;
    let start = rules.0.get(at)?;
    let first = Visitor::of(start);
    let mut visitor = first.clone();
    // What the visitor asked for, and the rule that answered.
    let mut seen: Vec<(Visitor, usize)> = Vec::new();
    let mut rule = at;
    let round = loop {
        let next = visitor.follow(rules.0.get(rule)?)?;
        seen.push((std::mem::replace(&mut visitor, next), rule));
        if let Some(begin) = seen.iter().position(|(known, _)| *known == visitor) {
            break seen.get(begin..)?;
        }
        if seen.len() == HOPS_MAX || visitor.path.len() > ADDRESS_BYTES_MAX {
            break seen.as_slice();
        }
        rule = answers.rule(&visitor)?;
    };
    let is_last = round.iter().map(|(_, rule)| rule).max() == Some(&at);
    if !is_last || answers.rule(&first) != Some(at) {
        return None;
    }
    let mut others: Vec<&usize> = round.iter().map(|(_, rule)| rule).collect();
    others.sort_unstable();
    others.dedup();
    let others = others.into_iter().filter(|other| **other != at);
    let others: Vec<String> = others
        .filter_map(|other| lines.get(*other).map(u32::to_string))
        .collect();
    Some(if others.is_empty() {
        wrong(
            "the target matches the rule again, without end",
            "name another target, or use 200",
        )
    } else {
        wrong(
            format!("leads in a circle with line {}", others.join(", ")),
            "let one of them lead to a page of this site",
        )
    })
}

/// The splat under the name that it has in `from`.
fn plain_star(rule: &Redirect) -> Option<Wrong> {
    let has_star = |piece: &Piece| matches!(piece, Piece::Literal(text) if text.contains('*'));
    let is_meant = rule.from.star.is_some() && rule.to.pieces.iter().any(has_star);
    is_meant.then(|| {
        wrong(
            "the * of the target is sent as it stands",
            "write :splat for what the * of the path stands for",
        )
    })
}

/// Which rule answers a visitor, found once for each: rules that lead to one another ask the same
/// again and again.
struct Answers<'a> {
    rules: &'a Redirects,
    conditions: Conditions,
    has_file: &'a dyn Fn(&str) -> bool,
    known: HashMap<Visitor, Option<usize>>,
}

impl<'a> Answers<'a> {
    fn of(rules: &'a Redirects, has_file: &'a dyn Fn(&str) -> bool) -> Self {
        let hanging: Vec<Hanging<'_>> = rules
            .0
            .iter()
            .enumerate()
            .map(|(position, rule)| Hanging {
                position,
                from: &rule.from,
                conditions: rule.conditions(),
                is_forced: rule.is_forced,
                is_certain: rule.from.is_plain(),
            })
            .collect();
        Self {
            rules,
            conditions: Conditions::hang(&hanging),
            has_file,
            known: HashMap::new(),
        }
    }

    fn rule(&mut self, visitor: &Visitor) -> Option<usize> {
        if let Some(known) = self.known.get(visitor) {
            return *known;
        }
        let found = self.find(visitor);
        self.known.insert(visitor.clone(), found);
        found
    }

    fn find(&self, visitor: &Visitor) -> Option<usize> {
        let has_file = (self.has_file)(&visitor.path);
        let mut search = Search {
            forced_only: has_file,
            candidates: Vec::new(),
            bound: usize::MAX,
        };
        self.conditions.collect(&visitor.path, visitor, &mut search);
        search.candidates.sort_unstable();
        let (query, languages) = (visitor.query(), visitor.languages());
        search.candidates.into_iter().find(|at| {
            self.rules.0.get(*at).is_some_and(|rule| {
                let counts = rule.is_forced || !has_file;
                counts && rule.suits(&languages) && rule.captures(&visitor.path, &query).is_some()
            })
        })
    }
}

/// Somebody who asks for what a rule is for, with values that no rule is likely to name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Visitor {
    /// Decoded.
    path: String,
    query: Vec<(String, String)>,
    language: Option<String>,
}

impl Visitor {
    fn of(rule: &Redirect) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut path = String::new();
        for segment in &rule.from.head {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.push_str(text),
                Segment::Placeholder(name) => path.push_str(&sample(name, &mut names)),
            }
        }
        if rule.from.star.is_some() {
            path.push('/');
            path.push_str(&sample("splat", &mut names));
        }
        let mut query = Vec::new();
        for QueryCondition { name, value } in &rule.query {
            let value = match value {
                Piece::Literal(text) => text.clone(),
                Piece::Capture(captured) => sample(captured, &mut names),
            };
            query.push((name.clone(), value));
        }
        let query = firsts(query);
        Self {
            path,
            query,
            language: rule.languages.first().cloned(),
        }
    }

    fn query(&self) -> Vec<(&str, &str)> {
        self.parameters().collect()
    }

    fn languages(&self) -> Vec<&str> {
        self.language.iter().map(String::as_str).collect()
    }

    /// Where `rule` sends; `None` if that is the end, or not to be known.
    fn follow(&self, rule: &Redirect) -> Option<Self> {
        if !matches!(rule.action, Action::Redirect(_)) || rule.to.origin.is_some() {
            return None;
        }
        let captures = rule.captures(&self.path, &self.query())?;
        let target = rule.to.fill(&captures, &str::to_owned);
        let target = target.split('#').next()?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) if query.contains(['%', '+']) => (path, None),
            Some((path, query)) => (path, Some(firsts(pairs(query)))),
            None => (target, Some(self.query.clone())),
        };
        Some(Self {
            path: with_single_slashes(&decode_path(path)?),
            query: query?,
            language: self.language.clone(),
        })
    }
}

impl Asking for Visitor {
    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.query.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn language(&self) -> Option<&str> {
        self.language.as_deref()
    }
}

/// A value for a name, by its number among those of its rule: what one rule leads to is then often
/// what another is for, whatever their authors call the parts.
fn sample<'r>(name: &'r str, names: &mut Vec<&'r str>) -> String {
    let known = names.iter().position(|known| *known == name);
    let number = known.unwrap_or(names.len());
    if known.is_none() {
        names.push(name);
    }
    format!("~{number}")
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Each name with its first value, which is the one that counts.
fn firsts(mut query: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut known = HashSet::new();
    query.retain(|(name, _)| known.insert(name.clone()));
    query
}

/// A path as rules see it.
fn with_single_slashes(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let end = if path.ends_with('/') && !parts.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::parse_redirects::parse;
    use super::super::redirects::REDIRECTS_MAX;
    use super::*;

    const FILES: [&str; 4] = ["/", "/there", "/index.html", "/caf\u{e9}"];

    /// Every rule stays, and these problems are told.
    fn check(text: &str, expected: &[&str]) {
        let mut told = Vec::new();
        let has_file = |path: &str| FILES.contains(&path);
        let rules = parse(text.as_bytes(), Some(&has_file), &mut |problem| {
            told.push(problem.to_string())
        });
        let expected = expected.iter().map(|wrong| format!("_redirects:{wrong}"));
        assert_eq!(told, expected.collect::<Vec<_>>(), "{text:?}");
        assert_eq!(rules.0.len(), text.lines().count(), "{text:?}");
    }

    #[test]
    fn rules_that_an_earlier_one_hides() {
        let twice = "2: never reached, because line 1 has the same address: remove one of the two";
        let hidden = "2: never reached, because line 1 already answers it: remove it, or move it above that line";
        for (rules, expected) in [
            ("/a /b\n/a /b", twice),
            ("/a/ /b\n/a /c 302", twice),
            ("/a /b 302!\n/a /c 302!", twice),
            ("/a/:x /b\n/a/:y /c", twice),
            ("/a q=1 /b\n/a q=1 /c", twice),
            ("/a q=:x /b\n/a q=:y /c", twice),
            ("/a /b 301 Language=de,fr\n/a /c 301 Language=fr,de", twice),
            ("/* /there\n/a /b", hidden),
            ("/* /index.html 200\n/a/* /b", hidden),
            ("/a/* /there\n/a /b", hidden),
            ("/:x /there\n/a /b", hidden),
            ("/a /b\n/a q=1 /c", hidden),
            ("/a q=:x /b\n/a q=1 /c", hidden),
            ("/a q=:x /b\n/a r=1 q=1 /c", hidden),
            ("/a /b\n/a /c 301 Language=de", hidden),
            ("/a /b 301 Language=de,fr\n/a /c 301 Language=fr", hidden),
            ("/a /b 301 Language=de\n/a /c 301 Language=de-AT", hidden),
            ("/a /b 301!\n/a /c", hidden),
        ] {
            check(rules, &[expected]);
        }
    }

    #[test]
    fn rules_that_only_look_hidden() {
        for rules in [
            "/a /b\n/a /c 301!",
            "/a /b 301 Language=de\n/a /c",
            "/a /b 301 Language=de\n/a /c 301 Language=de,fr",
            "/a /b 301 Language=de-AT\n/a /c 301 Language=de",
            "/a q=1 /b\n/a q=2 /c",
            "/a q=1 /b\n/a q=:x /c",
            "/a q=1 r=1 /b\n/a q=1 /c",
            "/a/:x /b\n/a /c",
            "/:x /there\n/caf\u{e9}s/x /b",
            "/:x /there\n/ /b 302!",
            "/a /b\n/A /b",
        ] {
            check(rules, &[]);
        }
    }

    #[test]
    fn rules_behind_a_file() {
        let wins = "1: the site has a file at this address, which wins: write 302! to let the rule win, or remove it";
        check("/there /b 302", &[wins]);
        check("/caf%C3%A9 /b 302", &[wins]);
        check("/ /b 302", &[wins]);
        check("/ /b 302 Language=de", &[wins]);
        check("/there /b 302!", &[]);
        check("/:x /there 302", &[]);
        check("/there/* /there 302", &[]);
    }

    #[test]
    fn circles() {
        let two = "2: leads in a circle with line 1: let one of them lead to a page of this site";
        let own =
            "1: the target matches the rule again, without end: name another target, or use 200";
        for (rules, expected) in [
            ("/a /b\n/b /a", two),
            ("/a /b/\n/b/ /a?x=1#y", two),
            ("/caf%C3%A9s /b\n/b /caf\u{e9}s", two),
            ("/a/* /b/:splat\n/b/* /a/:splat", two),
            ("/a/:x/:y /b/:y/:x\n/b/:x/:y /a/:x/:y", two),
            ("/a q=:q /b\n/b q=:q /a", two),
            ("/a /b 302 Language=de\n/b /a 302 Language=de", two),
            ("/there /b 302!\n/b /there", two),
            ("/a/:x /a/:x", own),
            ("/a/:x/:y /a/:y/:x", own),
            ("/a/* /a/b/:splat", own),
            ("/* /x/:splat", own),
            ("/a q=1 /a", own),
            ("/a /a?x=1", own),
            ("/a q=1 /a?q=1&q=2", own),
            ("/a/* /a//b//:splat/", own),
        ] {
            check(rules, &[expected]);
        }
        let three =
            "4: leads in a circle with line 1, 3: let one of them lead to a page of this site";
        check("/a /b\n/z /a\n/b /c\n/c /a", &[three]);
    }

    #[test]
    fn ways_that_end() {
        for rules in [
            "/a /b\n/b /c",
            "/a /there\n/b /a",
            "/a/* /b/:splat\n/b/* https://x.example/a/:splat",
            "/a/:x/* /a/:splat",
            "/a q=:q /a?r=:q",
            "/a /b 302 Language=de\n/b /a 302 Language=fr",
            "/a /b?q=1\n/b q=2 /a",
            "/a /b?q=%31\n/b q=1 /a",
            "/a q=1 /a?q=2&q=1",
            "/a/b /c\n/c /d//e/\n/d/e/ /f",
        ] {
            check(rules, &[]);
        }
    }

    /// A budget of 4,000 searches was spent on a long chain, and a circle behind it went unseen.
    #[test]
    fn a_circle_is_seen_behind_the_longest_chain() {
        let circle = "/a /b\n/b /a\n";
        let at = |line: usize| {
            format!(
                "{}: leads in a circle with line {}: let one of them lead to a page of this site",
                line + 1,
                line
            )
        };
        let literal = |at: usize| format!("/{at} /{}\n", at + 1);
        let named = |at: usize| format!("/x/:n{at}/{at} /x/:n{at}/{}\n", at + 1);
        let chain =
            |length, line: &dyn Fn(usize) -> String| (0..length).map(line).collect::<String>();
        for length in [100, REDIRECTS_MAX - 2] {
            for line in [&literal as &dyn Fn(usize) -> String, &named] {
                let expected = at(length + 1);
                check(&format!("{}{circle}", chain(length, line)), &[&expected]);
            }
        }
    }

    /// What is told of a file, and how often a rule was searched for.
    fn searches(text: &str) -> (usize, usize) {
        let rules = parse(text.as_bytes(), None, &mut |_told| {});
        let lines: Vec<u32> = (1..).take(rules.0.len()).collect();
        let count = std::cell::Cell::new(0);
        // Every search asks whether a file is there; `behind_a_file` asks once for a plain rule.
        let has_file = |_: &str| {
            count.set(count.get() + 1);
            false
        };
        let told = lint(&rules, &lines, Some(&has_file)).len();
        (told, count.get())
    }

    #[test]
    fn rules_that_lead_to_one_another_are_searched_for_once() {
        let chain =
            |line: &dyn Fn(usize) -> String| (0..REDIRECTS_MAX).map(line).collect::<String>();
        let named = chain(&|at| format!("/x/:n{at}/{at} /x/:n{at}/{} 302!\n", at + 1));
        assert_eq!(searches(&named), (0, REDIRECTS_MAX));
        let round = chain(&|at| format!("/{at} /{} 302!\n", (at + 1) % REDIRECTS_MAX));
        let (_, count) = searches(&round);
        assert!(count <= REDIRECTS_MAX, "{count}");
    }

    /// Three times as long with each hop: 20 of them would be 3 GB.
    #[test]
    fn a_way_that_grows_ends_where_addresses_do() {
        let own =
            "1: the target matches the rule again, without end: name another target, or use 200";
        for rules in ["/* /:splat/:splat/:splat", "/a/* /a/:splat/:splat"] {
            check(rules, &[own]);
        }
    }

    #[test]
    fn a_star_in_the_target() {
        let star = "1: the * of the target is sent as it stands: write :splat for what the * of the path stands for";
        check("/a/* /b/*", &[star]);
        check("/a /b/*", &[]);
    }
}
