//! Fuzz targets for what a visitor sends: the parts of a request.

pub(crate) mod beneath;
pub(crate) mod site;

use super::conditional::{self, Validators};
use super::forwarded;
use super::health::{self, Assurances, HealthSigner};
use super::multipart;
use super::negotiate::{Accept, negotiate};
use super::path::{self, Change};
use super::plan::{Asked, Payload, plan_found};
use super::range::{self, Span, Wanted};
use super::redirects::RedirectIndex;
use super::respond::{self, Caching};
use super::route::{Redirect, Route, Target, route};
use super::sample;
use super::screen::is_valid_host_line;
use crate::host::Host;
use crate::sites::SiteAt;
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LOCATION, RANGE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::str::FromStr;
use std::sync::LazyLock;
use verge_sync::clock::UnixTime;
use verge_sync::manifest::{Coding, Manifest, Representation};
use verge_sync::{Digest, NodeId, SiteId, Version};

// Made once: an execution would otherwise be spent on making them.
static SITE: LazyLock<Manifest> = LazyLock::new(|| {
    let paths = ["index.html", "docs/index.html", "a b/caf\u{e9}.html"];
    let more = ["404.html", "x.html.html", "y", "y.html", "z/index.html"];
    sample::manifest_of(&[&paths[..], &more[..]].concat())
});
static RULES: LazyLock<RedirectIndex> = LazyLock::new(|| {
    sample::rules_of("/old/* /:splat 302\n/a/:b/* https://x.example/:b?c=:splat\n")
});

/// A request's target, and behind a line feed its `Accept-Language`: one canonical path, a route,
/// and redirects that lead somewhere.
pub(crate) fn paths(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (whole, language) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(asked) = path::parse(whole) {
        let again = path::parse(&asked.canonical).expect("a canonical path is a path");
        assert_eq!(again.canonical, asked.canonical);
        assert_eq!((&again.name, again.change), (&asked.name, Change::Nothing));
        assert!(asked.canonical.is_ascii() && !asked.canonical.starts_with("//"));
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        assert!(asked.name.is_empty() || asked.name.split('/').all(is_plain));
    }
    // As the library above reads a request line.
    let Ok(target) = PathAndQuery::from_str(whole) else {
        return;
    };
    let target = Target {
        path: target.path(),
        query: target.query(),
        language: Some(language),
    };
    if let Route::Redirect(to) = route(&SITE, None, &RULES, &target).route {
        let is_here = to.location.starts_with('/') && !to.location.starts_with("//");
        let is_named = to.location.starts_with("https://x.example");
        assert!(is_here || is_named, "{}", to.location);
        check_sent(&to);
    }
    if let Route::Redirect(to) = route(&SITE, None, &RedirectIndex::default(), &target).route {
        check_sent(&to);
        check_one_hop(&to);
    }
}

/// A redirect without its `Location` would be a dead end.
fn check_sent(to: &Redirect) {
    let head = respond::redirect(to.status, &to.location, Caching::Revalidate);
    assert!(head.headers.contains_key(LOCATION), "{}", to.location);
}

/// A redirect of ours leads to a file, not to another redirect.
fn check_one_hop(to: &Redirect) {
    let (path, query) = match to.location.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (to.location.as_str(), None),
    };
    let target = Target {
        path,
        query,
        language: None,
    };
    let next = route(&SITE, None, &RedirectIndex::default(), &target).route;
    assert!(matches!(next, Route::Found(_)), "{}", to.location);
}

/// Three representations of one file.
fn offers() -> [Representation; 3] {
    let lengths = [
        (Coding::Identity, 900),
        (Coding::Brotli, 300),
        (Coding::Gzip, 400),
    ];
    lengths.map(|(coding, length)| Representation {
        coding,
        digest: Digest::from_bytes([7; 32]),
        sha256: [0; 32],
        length,
        location: None,
    })
}

/// `Accept-Encoding`, a line each: what is chosen is there, and something is unless it was refused.
pub(crate) fn accept_encoding(bytes: &[u8]) {
    let values = bytes.split(|byte| *byte == b'\n');
    let lines: Vec<HeaderValue> = values
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let offers = offers();
    match negotiate(&Accept::parse(&lines), &offers) {
        Some(chosen) => assert!(offers.contains(&chosen)),
        None => {
            let said = bytes.to_ascii_lowercase();
            let is_said = |word: &[u8]| said.windows(word.len()).any(|part| part == word);
            assert!(is_said(b"identity") || is_said(b"*"), "nobody refused it");
        }
    }
}

/// `Range`, for a length that the first byte picks.
pub(crate) fn ranges(bytes: &[u8]) {
    let Some((first, line)) = bytes.split_first() else {
        return;
    };
    let length = match first % 4 {
        0 => 0,
        1 => 1,
        2 => 500,
        _ => u64::MAX,
    };
    let Ok(line) = HeaderValue::from_bytes(line) else {
        return;
    };
    let is_inside = |span: &Span| {
        let end = span.start.checked_add(span.length);
        span.length > 0 && end.is_some_and(|end| end <= length)
    };
    match range::select([&line], length) {
        Wanted::Part(span) => assert!(is_inside(&span)),
        Wanted::Parts(spans) => {
            assert!((2..=16).contains(&spans.len()) && spans.iter().all(is_inside));
            let sum = spans
                .iter()
                .try_fold(0_u64, |sum, span| sum.checked_add(span.length));
            assert!(
                sum.is_some_and(|sum| sum <= length),
                "no byte is sent twice"
            );
        }
        Wanted::Whole | Wanted::Unsatisfiable => {}
    }
}

/// Lines whose first character names a header, from `0` on: every answer has a status that fits,
/// and the length that it says.
pub(crate) fn preconditions(bytes: &[u8]) {
    let names = [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        IF_RANGE,
        RANGE,
        ACCEPT_ENCODING,
    ];
    let headers = headers(bytes, &names);
    let validators = Validators {
        etag: "\"x\"".to_owned(),
        modified: UnixTime(784_111_777),
    };
    // Only the file's own validators are within reach of a guess.
    let _verdict = conditional::evaluate(&headers, &validators);
    let entry = SITE.find("index.html").expect("the sample has it");
    for is_head in [false, true] {
        let asked = Asked {
            is_head,
            headers: &headers,
            now: UnixTime(i64::MAX),
        };
        let mut plan = plan_found(&entry, false, &asked);
        let status = plan.head.status.as_u16();
        assert!([200, 206, 304, 406, 412, 416].contains(&status), "{status}");
        if let Payload::Parts(whole, spans) = &plan.payload {
            let sections = multipart::wrap(&mut plan.head, whole, spans);
            let sum: u64 = sections.iter().map(multipart::Section::length).sum();
            assert_eq!(plan.head.headers.get(CONTENT_LENGTH), Some(&sum.into()));
        }
    }
}

/// One header for each line.
fn headers(bytes: &[u8], names: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // More would only be slower.
    for line in bytes.split(|byte| *byte == b'\n').take(20) {
        let Some((first, value)) = line.split_first() else {
            continue;
        };
        let at = usize::from(first.wrapping_sub(b'0')) % names.len().max(1);
        if let (Some(name), Ok(value)) = (names.get(at), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Lines as in [`preconditions`]: what a believed proxy says counts only if it is all there.
pub(crate) fn forwarded(bytes: &[u8]) {
    let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
    let headers = headers(bytes, &names.map(HeaderName::from_static));
    let Some(told) = forwarded::read(&headers) else {
        return;
    };
    assert!(headers.contains_key("x-forwarded-for") && headers.contains_key("x-forwarded-proto"));
    if let Some(host) = told.host {
        assert!(!host.contains(',') && host.trim() == host);
        let _host = Host::parse(&host);
    }
}

/// `Host`, `:authority`, a name in a handshake: one form, which is its own.
pub(crate) fn hosts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(host) = Host::parse(&text) else {
        return;
    };
    assert_eq!(Host::parse(host.as_str()).as_ref(), Ok(&host));
    let is_plain = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase() && b != b'/';
    assert!(host.as_str().bytes().all(is_plain) && host.as_str().len() <= 253);
    let is_name = !host.as_str().starts_with('[');
    assert!(!is_name || !host.as_str().contains(':'), "the port is gone");
    assert_eq!(
        is_valid_host_line(bytes),
        std::str::from_utf8(bytes).is_ok()
    );
}

/// The query of a health request: refused, or an answer that is JSON and repeats the nonce.
pub(crate) fn health(bytes: &[u8]) {
    let site = SiteAt {
        site: SiteId::from_bytes([1; 32]),
        version: Version::from_bytes([2; 32]),
        takeout_public: false,
        left: None,
    };
    let assurances = Assurances {
        signer: Some(HealthSigner::new(NodeId::from_bytes([3; 32]), |_| [4; 64])),
        ..Assurances::default()
    };
    let query = String::from_utf8_lossy(bytes);
    let Some(body) = health::body(&assurances, &site, Some(&query)) else {
        assert!(query.contains("nonce="));
        return;
    };
    let body: serde_json::Value = serde_json::from_str(&body).expect("an answer is JSON");
    if let Some(nonce) = body.get("nonce").and_then(serde_json::Value::as_str) {
        assert!(query.contains(nonce) && (1..=64).contains(&nonce.len()));
    }
}
