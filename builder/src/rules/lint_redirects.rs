//! What is told of rules that stay: those that answer nobody, and those that send in circles.
//!
//! Each line alone is right, so none is skipped: which of two is the mistake only the publisher
//! knows.

use super::lines::{Wrong, wrong};
use super::parse_redirects::HasFile;
use super::pattern::{Segment, decode_path};
use super::redirects::{Action, Piece, QueryCondition, REDIRECTS_MAX, Redirect, Redirects};

/// Redirects that browsers follow before they give up.
const HOPS_MAX: usize = 20;

/// Searches for circles in one file. A file without long chains needs one for each rule; 1,000 rules
/// that are one chain, with the same first parts, use all of them and take a build 0.2 s.
const SEARCHES_MAX: usize = 4 * REDIRECTS_MAX;

/// Looks at all rules, each with its line; what is wrong, by line.
pub(super) fn lint(rules: &Redirects, lines: &[u32], has_file: HasFile<'_>) -> Vec<(u32, Wrong)> {
    let mut told = Vec::new();
    let mut searches_left = SEARCHES_MAX;
    for (at, (rule, line)) in rules.0.iter().zip(lines).enumerate() {
        let before = rules.0.iter().zip(lines).take(at);
        let found = hidden(rule, before)
            .or_else(|| behind_a_file(rule, has_file))
            .or_else(|| circle(rules, at, lines, has_file, &mut searches_left))
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
fn circle(
    rules: &Redirects,
    at: usize,
    lines: &[u32],
    has_file: HasFile<'_>,
    searches_left: &mut usize,
) -> Option<Wrong> {
    let (start, has_file) = (rules.0.get(at)?, has_file?);
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
        if seen.len() == HOPS_MAX {
            break seen.as_slice();
        }
        *searches_left = searches_left.checked_sub(1)?;
        rule = visitor.rule(rules, has_file)?;
    };
    let is_last = round.iter().map(|(_, rule)| rule).max() == Some(&at);
    if !is_last || first.rule(rules, has_file) != Some(at) {
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

/// Somebody who asks for what a rule is for, with values that no rule is likely to name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Visitor {
    /// Decoded.
    path: String,
    query: Vec<(String, String)>,
    language: Option<String>,
}

impl Visitor {
    fn of(rule: &Redirect) -> Self {
        let mut path = String::new();
        for segment in &rule.from.head {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.push_str(text),
                Segment::Placeholder(name) => path.push_str(&sample(name)),
            }
        }
        if rule.from.star.is_some() {
            path.push('/');
            path.push_str(&sample("splat"));
        }
        let pair = |condition: &QueryCondition| {
            let value = match &condition.value {
                Piece::Literal(text) => text.clone(),
                Piece::Capture(name) => sample(name),
            };
            (condition.name.clone(), value)
        };
        Self {
            path,
            query: rule.query.iter().map(pair).collect(),
            language: rule.languages.first().cloned(),
        }
    }

    fn query(&self) -> Vec<(&str, &str)> {
        let pairs = self.query.iter();
        pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    fn languages(&self) -> Vec<&str> {
        self.language.iter().map(String::as_str).collect()
    }

    /// The rule that answers.
    fn rule(&self, rules: &Redirects, has_file: &dyn Fn(&str) -> bool) -> Option<usize> {
        let is_there = has_file(&self.path);
        let found = rules.find(&self.path, &self.query(), &self.languages(), is_there)?;
        rules
            .0
            .iter()
            .position(|rule| std::ptr::eq(rule, found.rule))
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
            Some((path, query)) => (path, Some(pairs(query))),
            None => (target, Some(self.query.clone())),
        };
        Some(Self {
            path: decode_path(path)?,
            query: query?,
            language: self.language.clone(),
        })
    }
}

fn sample(name: &str) -> String {
    format!("~{name}")
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::parse_redirects::parse;
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
        ] {
            check(rules, &[]);
        }
    }

    /// The budget is for all: a long chain leaves none for what follows it, and nothing waits.
    #[test]
    fn the_search_for_circles_ends() {
        let line = |at: usize| format!("/{at} /{}\n", at + 1);
        let chain = |length| (0..length).map(line).collect::<String>();
        let circle = "/a /b\n/b /a\n";
        let at = |line: usize| {
            format!(
                "{}: leads in a circle with line {}: let one of them lead to a page of this site",
                line + 1,
                line
            )
        };
        check(&format!("{}{circle}", chain(100)), &[&at(101)]);
        check(&format!("{}{circle}", chain(REDIRECTS_MAX - 2)), &[]);
    }

    #[test]
    fn a_star_in_the_target() {
        let star = "1: the * of the target is sent as it stands: write :splat for what the * of the path stands for";
        check("/a/* /b/*", &[star]);
        check("/a /b/*", &[]);
    }
}
