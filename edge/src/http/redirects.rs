//! The site's own `_redirects`, indexed: the first rule that answers a request (http.md section 2).
//!
//! Rules hang under their conditions, there on a tree of path segments, so a request looks only at
//! rules that are likely to answer, and at none behind one that is sure to. Nothing here fails: a rule
//! that could not become a valid answer is dropped when the manifest is read.

mod visitor;

use super::target::Target;
use http::StatusCode;
use verge_builder::rules::{
    Action, Asking, Captures, Conditions, Hanging, Piece, Redirect, Redirects, Search,
};
use visitor::Visitor;

/// All rules of a site.
#[derive(Default)]
pub(crate) struct RedirectIndex {
    rules: Vec<Rule>,
    answers: Conditions,
    /// Those that ask for a language, as if they did not: where one of them matches, another
    /// `Accept-Language` could have led elsewhere.
    by_language: Conditions,
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
        let rules: Vec<Rule> = redirects.0.into_iter().filter_map(Rule::compile).collect();
        let answers: Vec<Hanging<'_>> = rules
            .iter()
            .enumerate()
            .map(|(position, rule)| Hanging {
                position,
                from: &rule.source.from,
                conditions: rule.source.conditions(),
                is_forced: rule.source.is_forced,
                is_certain: rule.is_certain(),
            })
            .collect();
        let answers = Conditions::hang(&answers);
        let by_language: Vec<Hanging<'_>> = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| !rule.source.languages.is_empty())
            .map(|(position, rule)| Hanging {
                position,
                from: &rule.source.from,
                conditions: rule.source.query_conditions(),
                is_forced: rule.source.is_forced,
                is_certain: rule.source.from.is_plain(),
            })
            .collect();
        let by_language = Conditions::hang(&by_language);
        Self {
            rules,
            answers,
            by_language,
        }
    }

    /// Whether no rule answers where the site has a file.
    pub(super) fn spares_files(&self) -> bool {
        !self.rules.iter().any(|rule| rule.source.is_forced)
    }

    /// The first rule that answers.
    pub(super) fn find(&self, question: &Question<'_>) -> Found {
        if self.rules.is_empty() {
            return Found::default();
        }
        let visitor = Visitor::of(question);
        let candidates = |conditions: &Conditions, bound: usize| {
            let mut search = Search {
                forced_only: question.has_file,
                candidates: Vec::new(),
                bound,
            };
            conditions.collect(question.path, &visitor, &mut search);
            search.candidates.sort_unstable();
            let rules = search.candidates.into_iter();
            let rules = rules.filter_map(|at| Some((at, self.rules.get(at)?)));
            rules.filter(|(_, rule)| rule.source.is_forced || !question.has_file)
        };
        let answered = candidates(&self.answers, usize::MAX).find_map(|(at, rule)| {
            let fits = rule.has_query(&visitor) && rule.has_language(&visitor);
            let ruling = fits.then(|| rule.ruling(question, &visitor));
            Some((at, ruling.flatten()?))
        });
        let (answered_at, ruling) = answered.map_or((usize::MAX, None), |(at, r)| (at, Some(r)));
        let mut asked = candidates(&self.by_language, answered_at.saturating_add(1));
        Found {
            ruling,
            by_language: asked.any(|(at, rule)| at <= answered_at && rule.has_query(&visitor)),
        }
    }
}

impl Rule {
    fn compile(source: Redirect) -> Option<Self> {
        let target = Target::compile(&source.to)?;
        let status = StatusCode::from_u16(source.action.status()).ok()?;
        let is_here = target.is_here();
        let action = match source.action {
            Action::Redirect(_) => Act::Redirect(status),
            Action::Rewrite if is_here => Act::Rewrite,
            Action::Refuse(_) if is_here => Act::Refuse(status),
            Action::Rewrite | Action::Refuse(_) => return None,
        };
        Some(Self {
            source,
            target,
            action,
        })
    }

    /// Whether it answers everybody whose path, query and language fit: what a visitor writes in the
    /// query could make a target that climbs.
    fn is_certain(&self) -> bool {
        let is_of_the_query = |name: &str| {
            let mut conditions = self.source.query.iter();
            conditions.any(|condition| matches!(&condition.value, Piece::Capture(n) if n == name))
        };
        self.source.from.is_plain() && !self.target.can_climb(is_of_the_query)
    }

    /// Whether the query has what the rule asks for.
    fn has_query(&self, visitor: &Visitor<'_>) -> bool {
        self.source.query.iter().all(|condition| {
            let value = visitor.value(&condition.name);
            match &condition.value {
                Piece::Literal(text) => value == Some(text.as_str()),
                Piece::Capture(_) => value.is_some(),
            }
        })
    }

    /// Whether one of the rule's languages, if it has any, is the visitor's first or the wider one of
    /// it.
    fn has_language(&self, visitor: &Visitor<'_>) -> bool {
        let languages = &self.source.languages;
        let suits = |wanted: &String| {
            let rest = visitor.language()?.strip_prefix(wanted.as_str())?;
            Some(rest.is_empty() || rest.starts_with('-'))
        };
        languages.is_empty() || languages.iter().filter_map(suits).any(|suits| suits)
    }

    /// What the rule says; `None` if what was captured makes no target.
    fn ruling(&self, question: &Question<'_>, visitor: &Visitor<'_>) -> Option<Ruling> {
        let captures = self.captures(question.path, visitor)?;
        let place = self.target.fill(&captures, question.query)?;
        Some(match self.action {
            Act::Rewrite => Ruling::Rewrite(place),
            Act::Redirect(status) => Ruling::Redirect(status, place),
            Act::Refuse(status) => Ruling::Refuse(status, place),
        })
    }

    fn captures(&self, path: &str, visitor: &Visitor<'_>) -> Option<Captures> {
        let plain = path.trim_end_matches('/');
        let plain = if plain.is_empty() { "/" } else { plain };
        let from = &self.source.from;
        let mut captures = from
            .captures(path)
            .or_else(|| from.captures(plain))
            .or_else(|| from.captures(&format!("{plain}/")))?;
        for condition in &self.source.query {
            if let Piece::Capture(name) = &condition.value {
                let value = visitor.value(&condition.name)?;
                captures.0.push((name.clone(), value.to_owned()));
            }
        }
        Some(captures)
    }
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

    /// How many of `lines`, repeated 1,000 times with their number for `#` and a path of its own for
    /// `^` that matches all the same, a request looks at.
    fn met(line: &str, query: &str, language: &str) -> usize {
        let names = "bcdefghijk".chars().enumerate();
        let path = |at: usize| -> String {
            let part = |(bit, name)| match at >> bit & 1 {
                0 => "/a".to_owned(),
                _ => format!("/:{name}"),
            };
            names.clone().map(part).collect()
        };
        let line = |at: usize| line.replace('^', &path(at)).replace('#', &at.to_string());
        let lines: Vec<String> = (0..1_000).map(line).collect();
        let rules = rules_of(&lines.join("\n"));
        let all = "/a".repeat(10);
        let question = ask(&all, Some(query), Some(language));
        let mut search = Search {
            forced_only: false,
            candidates: Vec::new(),
            bound: usize::MAX,
        };
        let visitor = Visitor::of(&question);
        rules.answers.collect(&all, &visitor, &mut search);
        search.candidates.len()
    }

    /// 1,000 rules for one address, each with another language, cost 148 us.
    #[test]
    fn a_request_looks_at_few_of_a_thousand_rules_for_its_address() {
        let rows = [
            ("^ /n/# 302", "", "", 1),
            ("^ /n/# 302 Language=de", "", "de", 1),
            ("^ /n/# 302 Language=de-x#", "", "de-x7", 1),
            ("^ /n/# 302 Language=de-x#", "", "de", 0),
            ("^ /n/# 302 Language=de-x#,fr-x#", "", "fr-x7", 1),
            ("^ q=# /n/# 302", "q=7", "", 1),
            ("^ q#=:q /n/# 302", "q7=1", "", 1),
            ("^ q=:q /n/# 302", "q=1", "", 1),
            ("^ q=1 r=# /n/# 302", "q=1&r=7", "", 1),
            ("^ q=# r=1 /n/# 302", "q=7&r=1", "", 1),
            ("^ q=1 /n/# 302 Language=de-x#", "q=1", "de-x7", 1),
            ("^ q=# /n/# 302 Language=de", "q=7", "de", 1),
        ];
        for (line, query, language, expected) in rows {
            let count = met(line, query, language);
            assert!(
                count <= 10 && count >= expected,
                "{line} {query} {language}: {count}"
            );
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
                "(/(a|b|:x|:y)){1,3}(/\\*)?( q=1| q=:q| r=:r q=2| r=:r| q=1 r=x| r=x s=1| q=:q s=:s)?|/|/\\*",
                "( 302!?( Language=(de|de-at|fr|en,de))?)?",
            ), 1..30),
            path in "(/(a|b|c)){0,4}/?",
            query in "(q=1|q=2&r=x|r=y&q=1|s=1|s=1&r=x&q=1|q=3&s=2)?",
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
