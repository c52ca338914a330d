//! The site's own response fields: its `_headers` on top of ours (http.md section 3).

use super::respond::Head;
use http::header::{
    CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES, LAST_MODIFIED, STRICT_TRANSPORT_SECURITY, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::HashSet;
use std::time::Duration;
use verge_builder::rules::{FieldRule, HeaderRules, Pattern};

/// Fields of which a message has one: a later line replaces an earlier one, since two values
/// joined by a comma mean nothing.
const SINGLE: [HeaderName; 4] = [
    CONTENT_TYPE,
    LAST_MODIFIED,
    EXPIRES,
    STRICT_TRANSPORT_SECURITY,
];

/// What a 304 does not repeat: it has no body to describe (RFC 9110 section 15.4.5).
const OF_THE_BODY: [HeaderName; 2] = [CONTENT_TYPE, CONTENT_LANGUAGE];

/// The blocks of a site, ready to be sent.
#[derive(Default)]
pub(crate) struct SiteFields(Vec<(Pattern, Vec<Line>)>);

enum Line {
    Set(HeaderName, HeaderValue),
    Remove(HeaderName),
}

/// What limits a field beside its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// Whether the answer goes over TLS: browsers ignore HSTS elsewhere (RFC 6797 section 7.2).
    pub secure: bool,
    /// The longest time for which a browser may insist on TLS.
    pub hsts_max_age: Duration,
}

impl SiteFields {
    /// A line that is no header is left out; the builder lets none through.
    pub(crate) fn new(rules: HeaderRules) -> Self {
        let line = |field: FieldRule| {
            let name = HeaderName::try_from(field.name()).ok()?;
            Some(match field {
                FieldRule::Set { value, .. } => Line::Set(name, value.try_into().ok()?),
                FieldRule::Remove { .. } => Line::Remove(name),
            })
        };
        let blocks = rules.0.into_iter().map(|block| {
            let lines = block.fields.into_iter().filter_map(line).collect();
            (block.pattern, lines)
        });
        Self(blocks.collect())
    }

    /// Applies every block that matches the decoded `path`, in order.
    pub(super) fn apply(&self, path: &str, head: &mut Head, terms: &Terms) {
        let is_not_modified = head.status == StatusCode::NOT_MODIFIED;
        let mut set = HashSet::new();
        let blocks = self.0.iter();
        let matching = blocks.filter(|(pattern, _)| pattern.matches(path));
        for line in matching.flat_map(|(_, lines)| lines) {
            match line {
                Line::Remove(name) => drop(head.headers.remove(name)),
                Line::Set(name, _) if is_not_modified && OF_THE_BODY.contains(name) => {}
                Line::Set(name, value) => {
                    let Some(value) = limited(name, value, terms) else {
                        continue;
                    };
                    if set.insert(name) || SINGLE.contains(name) {
                        head.headers.insert(name.clone(), value);
                    } else {
                        append(&mut head.headers, name, &value);
                    }
                }
            }
        }
    }
}

/// One line for each field, as Netlify and Cloudflare Pages send it.
fn append(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    let joined = match headers.get(name) {
        Some(known) => {
            let bytes = [known.as_bytes(), b", ", value.as_bytes()].concat();
            HeaderValue::from_bytes(&bytes).unwrap_or_else(|_never| value.clone())
        }
        None => value.clone(),
    };
    headers.insert(name.clone(), joined);
}

/// The value as it may be sent; `None` if it may not.
fn limited(name: &HeaderName, value: &HeaderValue, terms: &Terms) -> Option<HeaderValue> {
    if *name != STRICT_TRANSPORT_SECURITY {
        return Some(value.clone());
    }
    let max = terms.hsts_max_age.as_secs();
    let directives = value.to_str().ok()?.split(';').map(|directive| {
        let (key, seconds) = directive.split_once('=').unwrap_or((directive, ""));
        if key.trim().eq_ignore_ascii_case("max-age") {
            // Longer than 64 bits is longer than any certificate.
            let seconds = seconds.trim().trim_matches('"').parse().unwrap_or(u64::MAX);
            format!("max-age={}", seconds.min(max))
        } else {
            directive.trim().to_owned()
        }
    });
    let capped = directives.collect::<Vec<_>>().join("; ");
    capped.try_into().ok().filter(|_value| terms.secure)
}

/// Adds a name to `Vary`.
pub(super) fn vary(headers: &mut HeaderMap, name: &'static str) {
    append(headers, &VARY, &HeaderValue::from_static(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CACHE_CONTROL;
    use verge_builder::rules::{HeaderBlock, Segment, Star};

    fn block(fields: &[(&str, &str)]) -> HeaderBlock {
        let field = |(name, value): &(&str, &str)| match *value {
            "!" => FieldRule::Remove {
                name: (*name).to_owned(),
            },
            value => FieldRule::Set {
                name: (*name).to_owned(),
                value: value.to_owned(),
            },
        };
        HeaderBlock {
            pattern: Pattern {
                head: Vec::new(),
                star: Some(Star::default()),
            },
            fields: fields.iter().map(field).collect(),
        }
    }

    fn check(status: u16, secure: bool, lines: &[(&str, &str)], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("ours"));
        let status = StatusCode::from_u16(status).unwrap();
        let mut head = Head { status, headers };
        let terms = Terms {
            secure,
            hsts_max_age: Duration::from_secs(100),
        };
        let fields = SiteFields::new(HeaderRules(vec![block(lines)]));
        fields.apply("/a", &mut head, &terms);
        let shown = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let shown: Vec<String> = head.headers.iter().map(shown).collect();
        assert_eq!(shown, expected, "{lines:?}");
    }

    #[test]
    fn the_first_replaces_ours_later_ones_append_and_a_mark_removes() {
        check(200, true, &[], &["cache-control: ours"]);
        let site = ("cache-control", "no-store");
        check(200, true, &[site], &["cache-control: no-store"]);
        check(304, true, &[site], &["cache-control: no-store"]);
        let second = ("cache-control", "private");
        let joined = ["cache-control: no-store, private"];
        check(200, true, &[site, second], &joined);
        check(200, true, &[("cache-control", "!")], &[]);
        check(200, true, &[site, ("cache-control", "!")], &[]);
        let again = [site, ("cache-control", "!"), second];
        check(200, true, &again, &["cache-control: private"]);
        let types = [("content-type", "a/b"), ("content-type", "c/d")];
        check(
            200,
            true,
            &types,
            &["cache-control: ours", "content-type: c/d"],
        );
        check(304, true, &types, &["cache-control: ours"]);
    }

    #[test]
    fn browsers_insist_on_tls_no_longer_than_a_certificate_is_sure() {
        let rows = [
            ("max-age=99", "max-age=99"),
            (
                "max-age=101; includeSubDomains",
                "max-age=100; includeSubDomains",
            ),
            ("preload; Max-Age = 4294967295", "preload; max-age=100"),
        ];
        for (value, expected) in rows {
            let line = [("strict-transport-security", value)];
            let expected = format!("strict-transport-security: {expected}");
            check(200, true, &line, &["cache-control: ours", &expected]);
            check(200, false, &line, &["cache-control: ours"]);
        }
    }

    #[test]
    fn only_blocks_whose_path_matches_apply() {
        let mut one = block(&[("x-a", "1")]);
        one.pattern.head = vec![Segment::Literal("docs".to_owned())];
        let fields = SiteFields::new(HeaderRules(vec![one, block(&[("x-a", "2")])]));
        for (path, expected) in [("/docs/", "1, 2"), ("/docs/a", "1, 2"), ("/a", "2")] {
            let mut head = Head {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
            };
            let terms = Terms {
                secure: true,
                hsts_max_age: Duration::ZERO,
            };
            fields.apply(path, &mut head, &terms);
            assert_eq!(head.headers["x-a"], expected, "{path}");
        }
    }
}
