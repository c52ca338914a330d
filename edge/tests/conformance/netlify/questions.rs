//! Rule files and addresses at random, of few words, so that they meet often.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// One line of `_redirects`, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) from: String,
    pub(super) conditions: Vec<String>,
    pub(super) to: String,
    /// Status and `Language=`.
    pub(super) options: Vec<String>,
}

/// A request under a file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) rules: Vec<Line>,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// `Accept-Language`.
    pub(super) language: Option<String>,
    /// Whether the site without its rules has something at the path.
    pub(super) has_file: bool,
}

impl Line {
    pub(super) fn text(&self) -> String {
        let words = [self.from.as_str()].into_iter();
        let words = words.chain(self.conditions.iter().map(String::as_str));
        let words = words.chain([self.to.as_str()]);
        let words = words.chain(self.options.iter().map(String::as_str));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The names that the line gives values to.
    pub(super) fn names(&self) -> Vec<&str> {
        let parts = self
            .from
            .split('/')
            .filter_map(|part| part.strip_prefix(':'));
        let values = self.conditions.iter().filter_map(|c| c.split_once("=:"));
        let splat = self.from.ends_with("/*").then_some("splat");
        parts
            .chain(values.map(|(_, name)| name))
            .chain(splat)
            .collect()
    }
}

/// The file.
pub(super) fn text_of(rules: &[Line]) -> String {
    rules.iter().map(|line| line.text() + "\n").collect()
}

impl Question {
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}

/// Always the same files, in the same order.
pub(super) struct Questions {
    runner: TestRunner,
    lines: BoxedStrategy<Vec<Line>>,
    words: BoxedStrategy<String>,
    spoilt: BoxedStrategy<String>,
    query: BoxedStrategy<Option<String>>,
    language: BoxedStrategy<Option<String>>,
}

/// Requests under each file of rules.
const REQUEST_COUNT: usize = 8;

/// Of them, those that ask for what a line is for.
const ADDRESSED: usize = 6;

impl Questions {
    pub(super) fn new() -> Self {
        Self {
            runner: TestRunner::deterministic(),
            lines: proptest::collection::vec(line(), 1..7).boxed(),
            words: words(),
            spoilt: spoilt(),
            query: query(),
            language: language(),
        }
    }

    fn pick<T: std::fmt::Debug>(&mut self, strategy: impl Fn(&Self) -> BoxedStrategy<T>) -> T {
        let strategy = strategy(self);
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    /// A file and requests; most ask for what one of its lines is for.
    pub(super) fn next(&mut self) -> Vec<Question> {
        let rules = self.pick(|all| all.lines.clone());
        let mut questions = Vec::new();
        for at in 0..REQUEST_COUNT {
            let line = rules.get(at % rules.len()).filter(|_line| at < ADDRESSED);
            let path = match line {
                Some(line) => self.path_for(&line.from),
                None => self.pick(|all| all.spoilt.clone()),
            };
            questions.push(Question {
                rules: rules.clone(),
                path,
                query: self.pick(|all| all.query.clone()),
                language: self.pick(|all| all.language.clone()),
                has_file: false,
            });
        }
        questions
    }

    /// An address that a pattern is for.
    fn path_for(&mut self, from: &str) -> String {
        let mut path = String::new();
        for part in from.split('/').skip(1) {
            path.push('/');
            match part {
                "*" => {
                    for _part in 0..self.pick(|_all| (0..3_u8).boxed()) {
                        path.push_str(&self.pick(|all| all.words.clone()));
                        path.push('/');
                    }
                    path.pop();
                }
                _ if part.starts_with(':') => path.push_str(&self.pick(|all| all.words.clone())),
                _ if part.is_ascii() => path.push_str(part),
                _ => path.push_str(&super::answers::encode(part)),
            }
        }
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }
}

fn line() -> impl Strategy<Value = Line> {
    let from = prop_oneof![
        12 => "(/(a|b|t|a|b|:x|:xy|a%20b|caf%C3%A9|caf\u{e9}|cafe\u{301})){1,3}(/\\*|/)?",
        2 => "/(\\*|:x|t|d)?",
        2 => "/(a|b|t)/(\\*|:x/:xy)",
        1 => "(/a/\\*/b|/a\\*|a|/:x/:x|https://garden\\.example/a)",
    ];
    let conditions = prop_oneof![
        3 => Just(String::new()),
        1 => "(q=1|q=:q|q=:q|q=:q|r=:x|q=:q r=1|q=:q r=:r)",
    ];
    let to = prop_oneof![
        10 => "(/(t|b|d|new|:x|:xy|:q|:splat)){1,2}(/|\\?z=:q|\\?|#f|)",
        2 => "(/(a|b|t)(/:splat)?|/:xy|/b/:q|/:q)",
        2 => "https://x\\.example(/:splat|/:x|/|\\?z=1|)",
        1 => "(/:splat|/:splat/t|/:x-:q|//x\\.example/|/caf\u{e9}|/a%20b)",
    ];
    let status = prop_oneof![
        16 => "(301|302|307|308|200|404|410|451)!?",
        8 => Just(String::new()),
        1 => "(418|500|300)",
    ];
    let language = prop_oneof![
        16 => Just(String::new()),
        4 => "Language=(de|en|de,fr|de-AT)",
        1 => "(Country=de|Role=x)",
    ];
    let is_careless = prop::bool::weighted(0.1);
    let all = (from, conditions, to, status, language, is_careless);
    all.prop_map(|(from, conditions, to, status, language, is_careless)| {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let mut line = Line {
            from,
            conditions: words(&conditions),
            to,
            options: words(&format!("{status} {language}")),
        };
        if !is_careless {
            line.to = bound(&line);
        }
        line
    })
}

/// The target with a word instead of each name that has no value.
fn bound(line: &Line) -> String {
    let mut to = line.to.clone();
    for name in ["xy", "splat", "x", "q"] {
        if !line.names().contains(&name) {
            // `:x` is also how `:xy` begins, which is bound, and first.
            let is_part_of_another = name == "x" && to.contains(":xy");
            if !is_part_of_another {
                to = to.replace(&format!(":{name}"), "t");
            }
        }
    }
    to
}

/// What may stand for a name or a star.
fn words() -> BoxedStrategy<String> {
    prop_oneof![
        8 => "(a|b|t|d|c)",
        2 => "(a%20b|caf%C3%A9|cafe%CC%81|caf%c3%a9|%61)",
        1 => "(a%3Fz|a%23z|a%2520b|%3Axy|a&z=1|%25)",
    ]
    .boxed()
}

/// Addresses that are spelled as few do.
fn spoilt() -> BoxedStrategy<String> {
    let odd = "(/(a|b|c|t|a%20b|caf%C3%A9)){1,2}(//|/\\.\\./a|/%2e%2e/a|/a%2Fb|/a%5Cb|/)";
    prop_oneof![
        4 => odd,
        2 => "/(/a|a//b|a/b//|/t|t//)",
        1 => "/\\.well-known/(acme-challenge/x|verge/health|verge/a)",
        1 => "/(t|d|d/|a|)",
    ]
    .boxed()
}

fn query() -> BoxedStrategy<Option<String>> {
    let some = "(q=1|q=1|q=2&r=1|r=1&q=3|q|q&r=1|q=|q=1&q=2|q=2&q=1|q=a%20b|q=a%20b&r=1|q=a\\+b|q=a%26z%3D1|q=\\.\\.|q=\\.\\.&r=1|q=a%2Fb|z|q=caf%C3%A9)";
    prop_oneof![2 => Just(None), 3 => some.prop_map(Some)].boxed()
}

fn language() -> BoxedStrategy<Option<String>> {
    let some = "(de|en|fr|de-AT|de-AT, en;q=0\\.5|en;q=0\\.5, de|\\*, de;q=0\\.1|de;q=0|es, de)";
    prop_oneof![1 => Just(None), 2 => some.prop_map(Some)].boxed()
}
