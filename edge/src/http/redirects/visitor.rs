//! What of a request the conditions of rules look at, read when one does.

use super::Question;
use std::cell::OnceCell;
use verge_builder::rules::Asking;

/// A visitor with a question.
pub(super) struct Visitor<'a> {
    question: &'a Question<'a>,
    query: OnceCell<Query>,
    language: OnceCell<Option<String>>,
}

impl<'a> Visitor<'a> {
    pub(super) fn of(question: &'a Question<'a>) -> Self {
        Self {
            question,
            query: OnceCell::new(),
            language: OnceCell::new(),
        }
    }

    /// The first value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query().value(name)
    }

    fn query(&self) -> &Query {
        self.query
            .get_or_init(|| Query::read(self.question.query.unwrap_or_default()))
    }
}

impl Asking for Visitor<'_> {
    fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.query().0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn language(&self) -> Option<&str> {
        let read = || self.question.language.and_then(first_language);
        self.language.get_or_init(read).as_deref()
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
