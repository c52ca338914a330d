//! Every parser of a visitor's or a publisher's bytes, on seeded mutations of good ones: 100,000
//! runs each, ten million under `make prove`. What is asserted is what must hold whatever the
//! bytes are.

use super::conditional::{self, Validators};
use super::fields::{SiteFields, Terms};
use super::negotiate::{Accept, negotiate};
use super::plan::{Asked, plan_found};
use super::range::{self, Span, Wanted};
use super::redirects::RedirectIndex;
use super::respond::Head;
use super::route::{Route, Target, route};
use super::{path, sample};
use crate::sites::SiteManifest;
use http::header::{
    ACCEPT_ENCODING, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::time::Duration;
use verge_builder::rules::{HeaderRules, Redirects, RuleFiles};
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::manifest::{Coding, Representation};

/// How often each parser runs.
#[expect(
    clippy::disallowed_methods,
    reason = "how much is tried is no configuration of a node"
)]
fn run_count() -> usize {
    if std::env::var_os("VERGE_PROVE").is_some() {
        10_000_000
    } else {
        100_000
    }
}

/// Mutates pieces of a corpus; the seed is the test's own, so a failure comes again.
struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    fn new(seed: u64, corpus: &[&[u8]]) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            corpus: corpus.iter().map(|bytes| bytes.to_vec()).collect(),
        }
    }

    fn below(&mut self, count: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap() % count.max(1)
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        self.corpus[at].clone()
    }

    fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.pick();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                4 => {
                    let other = self.pick();
                    let from = self.below(other.len() + 1);
                    bytes.splice(at..at, other[from..].iter().copied());
                }
                _ => {
                    let copy = bytes[at..].to_vec();
                    bytes.extend(copy);
                }
            }
        }
        bytes.truncate(600);
        bytes
    }
}

#[test]
fn paths() {
    let corpus: [&[u8]; 6] = [
        b"/docs/index.html",
        b"/a%20b/caf%C3%A9",
        b"//.././%2e%2e/%2F%5c%00",
        b"/cafe\xcc\x81/",
        b"/.well-known/verge/health",
        b"/old/x/y",
    ];
    let manifest = sample::manifest_of(&["index.html", "docs/index.html", "a b/caf\u{e9}.html"]);
    let rules = sample::rules_of("/old/* /:splat 302\n/a/:b/* https://x.example/:b?c=:splat\n");
    let mut mutator = Mutator::new(1, &corpus);
    for _ in 0..run_count() {
        let bytes = mutator.next();
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(asked) = path::parse(&text) {
            let again = path::parse(&asked.canonical).unwrap();
            assert_eq!(again.canonical, asked.canonical, "{text:?}");
            assert_eq!(again.name, asked.name, "{text:?}");
            assert!(!asked.name.split('/').any(|part| part == ".."), "{text:?}");
        }
        let (path, query) = text.split_once('?').unwrap_or((&text, ""));
        let target = Target {
            path,
            query: Some(query),
            language: None,
        };
        if let Route::Redirect(to) = route(&manifest, &rules, &target).route {
            let is_here = to.location.starts_with('/') && !to.location.starts_with("//");
            let is_named = to.location.starts_with("https://x.example");
            assert!(is_here || is_named, "{text:?} {}", to.location);
        }
    }
}

fn offers() -> Vec<Representation> {
    let lengths = [
        (Coding::Identity, 900),
        (Coding::Brotli, 300),
        (Coding::Gzip, 400),
    ];
    let offer = |(coding, length)| Representation {
        coding,
        digest: Digest::from_bytes([7; 32]),
        sha256: [0; 32],
        length,
        location: None,
    };
    lengths.map(offer).to_vec()
}

#[test]
fn accept_encoding() {
    let corpus: [&[u8]; 5] = [
        b"gzip, deflate, br, zstd",
        b"br;q=1.0, gzip;q=0.8, *;q=0.1",
        b"identity;q=0, *;q=0",
        b"*",
        b"br ; q=0.001 ,, x-gzip",
    ];
    let offers = offers();
    let mut mutator = Mutator::new(2, &corpus);
    for _ in 0..run_count() {
        let bytes = mutator.next();
        let Ok(line) = HeaderValue::from_bytes(&bytes) else {
            continue;
        };
        let chosen = negotiate(&Accept::parse([&line]), &offers);
        let is_offered = chosen.is_none_or(|chosen| offers.contains(&chosen));
        assert!(is_offered, "{line:?}");
    }
}

#[test]
fn ranges() {
    let corpus: [&[u8]; 5] = [
        b"bytes=0-9,20-29,100-",
        b"bytes=-5, 1-2",
        b"bytes=0-,0-,0-",
        b"bytes=18446744073709551615-18446744073709551616",
        b"bytes=1-1,3-3,5-5,7-7,9-9",
    ];
    let mut mutator = Mutator::new(3, &corpus);
    for _ in 0..run_count() {
        let bytes = mutator.next();
        let length = [0, 1, 500, u64::MAX][mutator.below(4)];
        let Ok(line) = HeaderValue::from_bytes(&bytes) else {
            continue;
        };
        let inside = |span: &Span| span.length > 0 && span.end() <= length;
        match range::select([&line], length) {
            Wanted::Part(span) => assert!(inside(&span), "{line:?}"),
            Wanted::Parts(spans) => {
                assert!((2..=16).contains(&spans.len()), "{line:?}");
                assert!(spans.iter().all(inside), "{line:?}");
                let sum: u64 = spans.iter().map(|span| span.length).sum();
                assert!(sum <= length, "{line:?}: no byte is sent twice");
            }
            Wanted::Whole | Wanted::Unsatisfiable => {}
        }
    }
}

#[test]
fn preconditions() {
    let corpus: [&[u8]; 6] = [
        b"\"07070707070707070707070707070707\"",
        b"W/\"x\", \"y,z\" , *",
        b"*",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"bytes=0-9",
    ];
    let names: [HeaderName; 7] = [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        IF_RANGE,
        RANGE,
        ACCEPT_ENCODING,
    ];
    let manifest = sample::manifest_of(&["index.html"]);
    let entry = manifest.find("index.html").unwrap();
    let validators = Validators {
        etag: "\"x\"".to_owned(),
        modified: UnixTime(784_111_777),
    };
    let mut mutator = Mutator::new(4, &corpus);
    for _ in 0..run_count() {
        let mut headers = HeaderMap::new();
        for _ in 0..=mutator.below(3) {
            let name = names[mutator.below(names.len())].clone();
            if let Ok(value) = HeaderValue::from_bytes(&mutator.next()) {
                headers.append(name, value);
            }
        }
        let _verdict = conditional::evaluate(&headers, &validators);
        let asked = Asked {
            is_head: false,
            headers: &headers,
            now: UnixTime(i64::MAX),
        };
        let status = plan_found(&entry, false, &asked).head.status.as_u16();
        assert!(
            [200, 206, 304, 406, 412, 416].contains(&status),
            "{headers:?}"
        );
    }
}

#[test]
fn rule_files() {
    let corpus: [&[u8]; 6] = [
        b"/a/:x/* https://x.example/:x/:splat?y=:x#z 302!\n",
        b"/p id=:id q=1 /x/:id 200 Language=de,en\n# note\n",
        b"/* /index.html 404\n/caf\xc3\xa9 /%C3%A9\n",
        b"/*\n  X-A: b\n  ! X-A\n",
        b"/a/:b\n  Strict-Transport-Security: max-age=9; preload\n",
        b"/a*b/c\n\tCache-Control: no-store\n",
    ];
    let mut mutator = Mutator::new(5, &corpus);
    for _ in 0..run_count() {
        let bytes = mutator.next();
        let redirects = Redirects::read(&bytes, &mut |_problem| {});
        let headers = HeaderRules::parse(&bytes, &mut |_problem| {});
        assert_eq!(
            Redirects::decode(&redirects.encode()).as_ref(),
            Some(&redirects)
        );
        assert_eq!(
            HeaderRules::decode(&headers.encode()).as_ref(),
            Some(&headers)
        );
        check_rules(redirects, headers);
    }
}

#[test]
fn sections_of_hostile_manifests() {
    let redirects = Redirects::read(
        b"/a/:x/* https://x.example/:x/:splat?y=:x#z 302!\n/a id=:id /b/:id 200 Language=de\n",
        &mut |_problem| {},
    );
    let headers = HeaderRules::parse(b"/*\n  X-A: b\n  ! X-B\n/a\n  C: d\n", &mut |_problem| {});
    let files = RuleFiles {
        headers: Some(b"/*\n".to_vec()),
        redirects: None,
    };
    let corpus = [redirects.encode(), headers.encode(), files.encode()];
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    let mut mutator = Mutator::new(6, &corpus);
    for _ in 0..run_count() {
        let bytes = mutator.next();
        let _files = RuleFiles::decode(&bytes);
        let redirects = Redirects::decode(&bytes).unwrap_or_default();
        check_rules(redirects, HeaderRules::decode(&bytes).unwrap_or_default());
    }
}

/// Rules, wherever they come from, give answers that may be sent.
fn check_rules(redirects: Redirects, headers: HeaderRules) {
    let manifest = sample::manifest_of(&["index.html", "b/1.html"]);
    let rules = RedirectIndex::new(redirects);
    let target = Target {
        path: "/a/b%0d%0a/c",
        query: Some("id=%0d%0a&q=1"),
        language: Some("de"),
    };
    let routed = route(&manifest, &rules, &target);
    if let Route::Redirect(to) = routed.route {
        assert!(
            to.location.bytes().all(|b| b.is_ascii_graphic()),
            "{}",
            to.location
        );
        assert!(!to.location.starts_with("//"), "{}", to.location);
    }
    let mut head = Head {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
    };
    let terms = Terms {
        secure: true,
        hsts_max_age: Duration::from_secs(5),
    };
    SiteFields::new(headers).apply("/a/b", &mut head, &terms);
    for name in ["set-cookie", "content-length", "etag", "vary", "location"] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
}

#[test]
fn manifests() {
    let good = sample::manifest_of(&["index.html", "a/b.txt", "a/c.txt"]);
    let mut mutator = Mutator::new(7, &[good.bytes()]);
    for _ in 0..run_count() {
        let mut bytes = good.bytes().to_vec();
        for _ in 0..=mutator.below(3) {
            let at = mutator.below(bytes.len());
            bytes[at] = u8::try_from(mutator.below(256)).unwrap();
        }
        if mutator.below(10) == 0 {
            let end = mutator.below(bytes.len());
            bytes.truncate(end);
        }
        let Ok(site) = SiteManifest::decode(bytes) else {
            continue;
        };
        for entry in site.manifest().paths() {
            assert!(site.manifest().find(entry.path()).is_some());
            let _immutable = site.is_immutable(&entry);
            assert_eq!(entry.identity().coding, Coding::Identity);
        }
    }
}
