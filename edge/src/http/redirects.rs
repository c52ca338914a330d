//! The site's own `_redirects`, indexed: the first rule that answers a request (http.md section 2).
//!
//! Rules hang on a tree of path segments, so a request looks only at rules whose path matches, and at
//! none behind one that is sure to answer. Nothing here fails: a rule that could not become a valid
//! answer is dropped when the manifest is read.

use super::target::Target;
use http::StatusCode;
use std::cell::OnceCell;
use std::collections::HashMap;
use verge_builder::rules::{Action, Captures, Piece, Redirect, Redirects, Segment, Star};

/// All rules of a site.
#[derive(Default)]
pub(crate) struct RedirectIndex {
    rules: Vec<Rule>,
    root: Node,
}

struct Rule {
    source: Redirect,
    target: Target,
    action: Act,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Rewrite,
    Redirect(StatusCode),
    Refuse(StatusCode),
}

/// Rules by the next segment of their path.
#[derive(Default)]
struct Node {
    literals: HashMap<String, Node>,
    placeholder: Option<Box<Node>>,
    /// Rules whose `*` stands here.
    star: Leaves,
    /// Rules that end here.
    end: Leaves,
    /// Of all rules here and below.
    first: First,
}

/// Where in the file the first of some rules stands: of all, and of those that win over a file.
#[derive(Debug, Clone, Copy)]
struct First {
    any: usize,
    forced: usize,
}

/// Rules of one path. A thousand with conditions cost as much as one: each hangs where only requests
/// come that meet the first of its conditions.
#[derive(Default)]
struct Leaves {
    plain: Vec<usize>,
    /// Those that ask for a text in the query, by the first such name and its text.
    by_query: HashMap<String, HashMap<String, Vec<usize>>>,
    /// Those that only ask for names in the query, by the first.
    by_name: HashMap<String, Vec<usize>>,
    /// Those that ask for nothing but a language, by each of theirs.
    by_language: HashMap<String, Vec<usize>>,
    /// Of those in `by_language`.
    language_first: First,
    /// Of those that answer whoever comes here.
    sure_first: First,
}

/// A search on its way down the tree.
struct Search<'a> {
    question: &'a Question<'a>,
    query: OnceCell<Query>,
    language: OnceCell<Option<String>>,
    /// Rules that may answer.
    candidates: Vec<usize>,
    /// The first rule that asks for nothing but a language, whichever it is.
    language_first: usize,
    /// A rule that is sure to answer: none behind it is looked for.
    bound: usize,
}

/// What of a request the rules look at.
pub(super) struct Question<'a> {
    /// Decoded, in NFC, with a slash at the start.
    pub path: &'a str,
    /// As it was asked.
    pub query: Option<&'a str>,
    /// `Accept-Language`.
    pub language: Option<&'a str>,
    /// Whether the site answers the path by itself.
    pub has_file: bool,
}

/// What the first rule that matches says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// Another file under this address, by its encoded path.
    Rewrite(String),
    /// Elsewhere.
    Redirect(StatusCode, String),
    /// This status, with the file at an encoded path as its page.
    Refuse(StatusCode, String),
}

/// The answer of the rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub ruling: Option<Ruling>,
    /// Whether another `Accept-Language` could have changed it.
    pub by_language: bool,
}

impl RedirectIndex {
    pub(crate) fn new(redirects: Redirects) -> Self {
        let mut index = Self::default();
        for source in redirects.0 {
            index.add(source);
        }
        index
    }

    fn add(&mut self, source: Redirect) {
        let Some(target) = Target::compile(&source.to) else {
            return;
        };
        let status = StatusCode::from_u16(source.action.status());
        let (Ok(status), is_here) = (status, target.is_here()) else {
            return;
        };
        let action = match source.action {
            Action::Redirect(_) => Act::Redirect(status),
            Action::Rewrite if is_here => Act::Rewrite,
            Action::Refuse(_) if is_here => Act::Refuse(status),
            Action::Rewrite | Action::Refuse(_) => return,
        };
        let position = self.rules.len();
        let is_forced = source.is_forced;
        let mut node = &mut self.root;
        node.first.note(position, is_forced);
        for segment in &source.from.head {
            node = match segment {
                // `/a/` and `/a` are one rule; `/` is the root itself.
                Segment::Literal(text) if text.is_empty() => node,
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Placeholder(_) => node.placeholder.get_or_insert_default(),
            };
            node.first.note(position, is_forced);
        }
        let leaves = match &source.from.star {
            Some(_) => &mut node.star,
            None => &mut node.end,
        };
        leaves.add(position, &source);
        if is_sure(&source) && !target.can_climb() {
            leaves.sure_first.note(position, is_forced);
        }
        self.rules.push(Rule {
            source,
            target,
            action,
        });
    }

    /// The first rule that answers.
    pub(super) fn find(&self, question: &Question<'_>) -> Found {
        let mut found = Found::default();
        if self.rules.is_empty() {
            return found;
        }
        let segments: Vec<&str> = question.path.split('/').filter(|s| !s.is_empty()).collect();
        let mut search = Search::of(question);
        self.root.collect(&segments, &mut search);
        search.candidates.sort_unstable();
        let mut answered_at = usize::MAX;
        for at in &search.candidates {
            let Some(rule) = self.rules.get(*at) else {
                continue;
            };
            if question.has_file && !rule.source.is_forced || !rule.has_query(&search) {
                continue;
            }
            if !rule.source.languages.is_empty() {
                found.by_language = true;
                if !rule.suits(search.language()) {
                    continue;
                }
            }
            if let Some(ruling) = rule.ruling(&search) {
                found.ruling = Some(ruling);
                answered_at = *at;
                break;
            }
        }
        let language_first = search.language_first;
        found.by_language |= language_first != usize::MAX && language_first <= answered_at;
        found
    }
}

impl<'a> Search<'a> {
    fn of(question: &'a Question<'a>) -> Self {
        Self {
            question,
            query: OnceCell::new(),
            language: OnceCell::new(),
            candidates: Vec::new(),
            language_first: usize::MAX,
            bound: usize::MAX,
        }
    }

    /// The first of the rules that count for this question.
    fn first(&self, first: First) -> usize {
        if self.question.has_file {
            first.forced
        } else {
            first.any
        }
    }

    fn query(&self) -> &Query {
        self.query
            .get_or_init(|| Query::read(self.question.query.unwrap_or_default()))
    }

    /// The one that is wanted most.
    fn language(&self) -> Option<&str> {
        let read = || self.question.language.and_then(first_language);
        self.language.get_or_init(read).as_deref()
    }
}

impl Node {
    /// Every rule whose path matches, as far as it can be the first to answer; no node is visited
    /// twice, and those with early rules before others, so that few are.
    fn collect(&self, segments: &[&str], search: &mut Search<'_>) {
        if search.first(self.first) >= search.bound {
            return;
        }
        self.star.collect(search);
        let Some((first, rest)) = segments.split_first() else {
            self.end.collect(search);
            return;
        };
        let mut nodes = [self.literals.get(*first), self.placeholder.as_deref()];
        nodes.sort_by_key(|node| node.map_or(usize::MAX, |node| search.first(node.first)));
        for node in nodes.into_iter().flatten() {
            node.collect(rest, search);
        }
    }
}

impl First {
    fn note(&mut self, position: usize, is_forced: bool) {
        self.any = self.any.min(position);
        if is_forced {
            self.forced = self.forced.min(position);
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

/// Whether a rule matches everybody who comes where it hangs: it has no conditions, and its pattern
/// is one that the builder makes.
fn is_sure(rule: &Redirect) -> bool {
    let is_empty = |segment: &Segment| matches!(segment, Segment::Literal(text) if text.is_empty());
    let is_root = rule.from.star.is_none() && rule.from.head.len() == 1;
    let is_plain = is_root || !rule.from.head.iter().any(is_empty);
    let has_plain_star = rule
        .from
        .star
        .as_ref()
        .is_none_or(|star| *star == Star::default());
    rule.query.is_empty() && rule.languages.is_empty() && is_plain && has_plain_star
}

impl Leaves {
    fn add(&mut self, position: usize, rule: &Redirect) {
        let text = rule
            .query
            .iter()
            .find_map(|condition| match &condition.value {
                Piece::Literal(text) => Some((&condition.name, text)),
                Piece::Capture(_) => None,
            });
        let list = match (text, rule.query.first()) {
            (Some((name, text)), _) => {
                let texts = self.by_query.entry(name.clone()).or_default();
                texts.entry(text.clone()).or_default()
            }
            (None, Some(named)) => self.by_name.entry(named.name.clone()).or_default(),
            (None, None) if rule.languages.is_empty() => &mut self.plain,
            (None, None) => return self.add_language(position, rule),
        };
        list.push(position);
    }

    fn add_language(&mut self, position: usize, rule: &Redirect) {
        for language in &rule.languages {
            let list = self.by_language.entry(language.clone()).or_default();
            list.push(position);
        }
        self.language_first.note(position, rule.is_forced);
    }

    fn collect(&self, search: &mut Search<'_>) {
        search.bound = search.bound.min(search.first(self.sure_first));
        let bound = search.bound;
        let plain = self.plain.iter().take_while(|at| **at <= bound);
        search.candidates.extend(plain);
        if !self.by_query.is_empty() || !self.by_name.is_empty() {
            let mut found: Vec<usize> = Vec::new();
            for (name, value) in &search.query().0 {
                let texts = self.by_query.get(name);
                let by_text = texts.and_then(|texts| texts.get(value));
                found.extend(by_text.into_iter().flatten());
                found.extend(self.by_name.get(name).into_iter().flatten());
            }
            search.candidates.extend(found);
        }
        if !self.by_language.is_empty() {
            self.collect_language(search);
        }
    }

    /// Those for the visitor's language, and for each that is wider: `de-at`, `de`.
    fn collect_language(&self, search: &mut Search<'_>) {
        let first = search.first(self.language_first);
        search.language_first = search.language_first.min(first);
        let Some(language) = search.language() else {
            return;
        };
        let wider = language.match_indices('-').map(|(end, _)| end);
        let mut found: Vec<usize> = Vec::new();
        for end in wider.chain([language.len()]) {
            let list = language.get(..end).and_then(|l| self.by_language.get(l));
            found.extend(list.into_iter().flatten());
        }
        search.candidates.extend(found);
    }
}

/// Parameters by name, each with its first value, decoded.
struct Query(Vec<(String, String)>);

impl Query {
    /// `a=1&b=2` as HTML forms write it; what does not decode to text is as if not there.
    fn read(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            form_text(name).zip(form_text(value))
        });
        let mut pairs: Vec<(String, String)> = pairs.collect();
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        pairs.dedup_by(|(later, _), (first, _)| later == first);
        Self(pairs)
    }

    fn value(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .binary_search_by(|(known, _)| known.as_str().cmp(name));
        let (_, value) = self.0.get(found.ok()?)?;
        Some(value)
    }
}

impl Rule {
    /// Whether the query has what the rule asks for.
    fn has_query(&self, search: &Search<'_>) -> bool {
        self.source.query.iter().all(|condition| {
            let value = search.query().value(&condition.name);
            match &condition.value {
                Piece::Literal(text) => value == Some(text.as_str()),
                Piece::Capture(_) => value.is_some(),
            }
        })
    }

    /// What the rule says; `None` if what was captured makes no target.
    fn ruling(&self, search: &Search<'_>) -> Option<Ruling> {
        let captures = self.captures(search)?;
        let place = self.target.fill(&captures, search.question.query)?;
        Some(match self.action {
            Act::Rewrite => Ruling::Rewrite(place),
            Act::Redirect(status) => Ruling::Redirect(status, place),
            Act::Refuse(status) => Ruling::Refuse(status, place),
        })
    }

    fn captures(&self, search: &Search<'_>) -> Option<Captures> {
        let path = search.question.path;
        let plain = path.trim_end_matches('/');
        let plain = if plain.is_empty() { "/" } else { plain };
        let from = &self.source.from;
        let mut captures = from
            .captures(path)
            .or_else(|| from.captures(plain))
            .or_else(|| from.captures(&format!("{plain}/")))?;
        for condition in &self.source.query {
            if let Piece::Capture(name) = &condition.value {
                let value = search.query().value(&condition.name)?;
                captures.0.push((name.clone(), value.to_owned()));
            }
        }
        Some(captures)
    }

    /// Whether one of the rule's languages is the visitor's first, or the wider one of it.
    fn suits(&self, first: Option<&str>) -> bool {
        let Some(first) = first else {
            return false;
        };
        self.source.languages.iter().any(|wanted| {
            first
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }
}

/// The language that is wanted most, in lower case; of equals the one that stands first.
fn first_language(line: &str) -> Option<String> {
    let mut best: Option<(f32, &str)> = None;
    for element in line.split(',') {
        let (name, parameter) = element.split_once(';').unwrap_or((element, ""));
        let parameter = parameter.trim();
        let weight = ["q=", "Q="]
            .iter()
            .find_map(|name| parameter.strip_prefix(name));
        let weight = weight.map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
        let Some(weight) = weight.filter(|weight| (0.0..=1.0).contains(weight)) else {
            continue;
        };
        let name = name.trim();
        let is_language = !name.is_empty() && name != "*" && weight > 0.0;
        if is_language && best.is_none_or(|(known, _)| weight > known) {
            best = Some((weight, name));
        }
    }
    best.map(|(_, name)| name.to_ascii_lowercase())
}

fn form_text(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sample::rules_of;
    use proptest::prelude::*;

    fn ask<'a>(path: &'a str, query: Option<&'a str>, language: Option<&'a str>) -> Question<'a> {
        Question {
            path,
            query,
            language,
            has_file: false,
        }
    }

    fn shown(ruling: Option<Ruling>) -> String {
        match ruling {
            None => "-".to_owned(),
            Some(Ruling::Rewrite(target)) => format!("200 {target}"),
            Some(Ruling::Redirect(status, target) | Ruling::Refuse(status, target)) => {
                format!("{} {target}", status.as_u16())
            }
        }
    }

    #[test]
    fn the_first_rule_in_the_file_wins_wherever_it_hangs() {
        let rules = rules_of(
            "/a/:x/c /one\n/a/b/* /two\n/:x/b/c /four\n\
             /s/* /.:splat.\n/q a=1 b=:b /five/:b\n/q a=1 /six\n/q /seven?z=1\n/* /eight 302\n",
        );
        let rows = [
            ("/a/b/c", None, "301 /one"),
            ("/a/b/d", None, "301 /two"),
            ("/a/b", None, "301 /two"),
            ("/z/b/c/", None, "301 /four"),
            ("/q", Some("a=1&b=x%20y"), "301 /five/x%20y?a=1&b=x%20y"),
            ("/q", Some("b=2&a=1"), "301 /five/2?b=2&a=1"),
            ("/q", Some("a=1"), "301 /six?a=1"),
            ("/q", Some("a=2&a=1"), "301 /seven?z=1"),
            ("/q", Some("a=%zz"), "301 /seven?z=1"),
            ("/q", Some("\"<>"), "301 /seven?z=1"),
            ("/s/a", None, "301 /.a."),
            ("/s/", None, "302 /eight"),
            ("/", None, "302 /eight"),
            ("/x", Some("\"{}"), "302 /eight?%22%7B%7D"),
        ];
        for (path, query, expected) in rows {
            let found = rules.find(&ask(path, query, None));
            assert_eq!(shown(found.ruling), expected, "{path} {query:?}");
        }
    }

    #[test]
    fn a_file_wins_over_what_is_not_forced() {
        let rules = rules_of("/a /b\n/a /c 302!\n");
        for (has_file, expected) in [(false, "301 /b"), (true, "302 /c")] {
            let question = Question {
                has_file,
                ..ask("/a", None, None)
            };
            assert_eq!(shown(rules.find(&question).ruling), expected);
        }
    }

    #[test]
    fn the_first_language_decides_and_is_named_in_vary() {
        let rules = rules_of(
            "/a /de 302 Language=de,fr\n/a /en\n/b /c\n\
             /d /x 302 Language=de-at-x\n/d /at 302 Language=fr,de-at\n/d /wide 302 Language=de\n",
        );
        let rows = [
            ("/a", None, "301 /en", true),
            ("/a", Some("de"), "302 /de", true),
            ("/a", Some("DE-at, en"), "302 /de", true),
            ("/a", Some("den"), "301 /en", true),
            ("/a", Some("en;q=0.5, fr;q=0.8"), "302 /de", true),
            ("/a", Some("en, de"), "301 /en", true),
            ("/a", Some("de;q=0, en;q=0.1"), "301 /en", true),
            ("/a", Some("*, de;q=x, de;q=nan"), "301 /en", true),
            ("/a", Some("de;Q=0.1, en"), "301 /en", true),
            ("/a", Some("en, de;q=5"), "301 /en", true),
            ("/b", Some("de"), "301 /c", false),
            ("/d", Some("de-at-x"), "302 /x", true),
            ("/d", Some("de-at-y"), "302 /at", true),
            ("/d", Some("de-a"), "302 /wide", true),
            ("/d", Some("d"), "-", true),
        ];
        for (path, language, expected, by_language) in rows {
            let found = rules.find(&ask(path, None, language));
            assert_eq!(found.by_language, by_language, "{path} {language:?}");
            assert_eq!(shown(found.ruling), expected, "{path} {language:?}");
        }
    }

    #[test]
    fn a_rule_of_a_hostile_manifest_is_dropped() {
        let good = rules_of("/a https://x.example/\n");
        let mut rule = good.rules.into_iter().next().unwrap().source;
        for origin in [
            "//evil",
            "javascript:x",
            "https://",
            "https://a b",
            "http://a\r\n",
        ] {
            rule.to.origin = Some(origin.to_owned());
            let index = RedirectIndex::new(Redirects(vec![rule.clone()]));
            assert!(index.rules.is_empty(), "{origin}");
        }
        rule.to.origin = Some("https://x.example".to_owned());
        rule.action = Action::Rewrite;
        let index = RedirectIndex::new(Redirects(vec![rule.clone()]));
        assert!(index.rules.is_empty(), "nothing is fetched from elsewhere");
        rule.to.origin = None;
        rule.to.pieces = vec![Piece::Literal("//evil.example\r\nx: y \u{e9}".to_owned())];
        rule.action = Action::Redirect(301);
        let index = RedirectIndex::new(Redirects(vec![rule]));
        let found = index.find(&ask("/a", None, None));
        assert_eq!(
            shown(found.ruling),
            "301 /evil.example%0D%0Ax:%20y%20%C3%A9"
        );
    }

    proptest! {
        /// The index gives what reading the rules one after the other gives.
        #[test]
        fn the_index_finds_what_a_search_finds(
            rules in proptest::collection::vec((
                "(/(a|b|:x|:y)){1,3}(/\\*)?( q=1| q=:q| r=:r q=2| r=:r)?|/|/\\*",
                "( 302!?( Language=(de|de-at|fr|en,de))?)?",
            ), 1..30),
            path in "(/(a|b|c)){0,4}/?",
            query in "(q=1|q=2&r=x|r=y&q=1|s=1)?",
            language in "(de|de-at|fr|en)?",
            has_file: bool,
        ) {
            let lines = rules.iter().enumerate();
            let text: String = lines.map(|(at, (from, end))| format!("{from} /t{at}{end}\n")).collect();
            let read = Redirects::read(text.as_bytes(), &mut |_lost| {});
            let question = Question {
                path: if path.is_empty() { "/" } else { &path },
                query: Some(&query),
                language: Some(&language),
                has_file,
            };
            let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
            let languages: Vec<&str> = Some(language.as_str()).filter(|l| !l.is_empty()).into_iter().collect();
            let search = |rules: &Redirects, languages: &[&str]| {
                let found = rules.find(question.path, &pairs, languages, has_file)?;
                rules.0.iter().position(|rule| std::ptr::eq(rule, found.rule))
            };
            let searched = search(&read, &languages);
            // Those before it that wait for another language.
            let is_asked = |rule: &Redirect| {
                let alone = Redirect { languages: Vec::new(), ..rule.clone() };
                !rule.languages.is_empty() && search(&Redirects(vec![alone]), &[]).is_some()
            };
            let by_language = read.0.iter().take(searched.map_or(usize::MAX, |at| at + 1)).any(is_asked);
            let target = searched.map_or_else(|| "-".to_owned(), |at| {
                let rule = &read.0[at];
                let target = rule.to.fill(&Captures::default(), &str::to_owned);
                format!("{} {target}?{query}", rule.action.status())
            });
            let found = RedirectIndex::new(read).find(&question);
            prop_assert_eq!(shown(found.ruling), target);
            prop_assert_eq!(found.by_language, by_language);
        }

        /// Whatever is asked, a location is one that may be sent, and leads where the rule says.
        #[test]
        fn a_location_is_always_valid(path in "/\\PC{0,40}", query in "\\PC{0,40}", id in ".{0,20}") {
            let rules = rules_of(
                "/a/:x https://x.example/:x 302\n/p id=:id /:id/:id?a=:id#:id\n/* /:splat 302\n",
            );
            let query = format!("id={id}&{query}");
            for path in [path.as_str(), "/p"] {
                let found = rules.find(&ask(path, Some(&query), None));
                let Some(Ruling::Redirect(_, location)) = found.ruling else { continue };
                prop_assert!(location.bytes().all(|b| b.is_ascii_graphic()), "{}", location);
                let is_here = location.starts_with('/') && !location.starts_with("//");
                prop_assert!(is_here || location.starts_with("https://x.example/"), "{}", location);
            }
        }
    }
}
