//! The header section of every answer (http.md section 4), from values alone.

use super::conditional::{Validators, http_date};
use super::range::Span;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, RETRY_AFTER, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use verge_sync::clock::UnixTime;
use verge_sync::manifest::{Coding, Representation};

const REVALIDATE: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const PAGE: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CA_CERTIFICATE: HeaderValue = HeaderValue::from_static("application/x-x509-ca-cert");
const TAR: HeaderValue = HeaderValue::from_static("application/x-tar");
const ATTACHMENT: HeaderValue = HeaderValue::from_static("attachment; filename=\"site.tar\"");
const BY_CODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
pub(super) const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// 16 of 32 bytes: no two representations of a path will ever share them, and every 304 is
/// 32 bytes shorter.
const ETAG_DIGITS: usize = 32;

/// Status and header section; what follows is the caller's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// Everything about a file that its header section says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selected<'a> {
    pub representation: Representation,
    pub media_type: &'a str,
    pub validators: Validators,
    /// Whether there are other representations to choose from.
    pub varies: bool,
    pub immutable: bool,
}

impl Validators {
    /// The validators of a representation; a first appearance in the future, by a clock that was
    /// wrong, is now (RFC 9110 section 8.8.2.1).
    pub(super) fn of(representation: &Representation, first_seen: UnixTime, now: UnixTime) -> Self {
        let mut etag = String::with_capacity(ETAG_DIGITS + 2);
        etag.push('"');
        let digest = representation.digest.as_bytes().iter();
        for byte in digest.take(ETAG_DIGITS / 2) {
            let digits = [byte >> 4, byte & 15].map(u32::from);
            etag.extend(
                digits
                    .iter()
                    .filter_map(|digit| char::from_digit(*digit, 16)),
            );
        }
        etag.push('"');
        Self {
            etag,
            modified: first_seen.min(now),
        }
    }
}

impl Selected<'_> {
    /// 200, or 404 for a site's own page.
    pub(super) fn whole(&self, status: StatusCode, request: &HeaderMap) -> Head {
        let mut headers = self.shared();
        self.describe(&mut headers, request);
        headers.insert(CONTENT_LENGTH, self.representation.length.into());
        if status == StatusCode::OK {
            headers.insert(ACCEPT_RANGES, BYTES);
        }
        Head { status, headers }
    }

    /// 206 for one part.
    pub(super) fn part(&self, span: Span, request: &HeaderMap) -> Head {
        let mut head = self.parts(request);
        let range = span.content_range(self.representation.length);
        insert_text(&mut head.headers, CONTENT_RANGE, &range);
        head.headers.insert(CONTENT_LENGTH, span.length.into());
        head
    }

    /// 206 for several parts, as far as it does not depend on them.
    pub(super) fn parts(&self, request: &HeaderMap) -> Head {
        let mut headers = self.shared();
        self.describe(&mut headers, request);
        headers.insert(ACCEPT_RANGES, BYTES);
        Head {
            status: StatusCode::PARTIAL_CONTENT,
            headers,
        }
    }

    /// 304: validators and caching, no description of a body.
    pub(super) fn not_modified(&self) -> Head {
        Head {
            status: StatusCode::NOT_MODIFIED,
            headers: self.shared(),
        }
    }

    /// 416.
    pub(super) fn unsatisfiable(&self) -> Head {
        let mut head = page(StatusCode::RANGE_NOT_SATISFIABLE);
        let range = format!("bytes */{}", self.representation.length);
        insert_text(&mut head.headers, CONTENT_RANGE, &range);
        self.vary(&mut head.headers);
        head
    }

    /// 412.
    pub(super) fn precondition_failed(&self) -> Head {
        let mut head = page(StatusCode::PRECONDITION_FAILED);
        self.vary(&mut head.headers);
        head
    }

    fn shared(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        insert_text(&mut headers, ETAG, &self.validators.etag);
        insert_text(
            &mut headers,
            LAST_MODIFIED,
            &http_date(self.validators.modified),
        );
        let caching = if self.immutable {
            IMMUTABLE
        } else {
            REVALIDATE
        };
        headers.insert(CACHE_CONTROL, caching);
        self.vary(&mut headers);
        headers
    }

    fn vary(&self, headers: &mut HeaderMap) {
        if self.varies {
            headers.insert(VARY, BY_CODING);
        }
    }

    fn describe(&self, headers: &mut HeaderMap, request: &HeaderMap) {
        let media_type = HeaderValue::from_str(self.media_type).unwrap_or(OCTETS);
        headers.insert(CONTENT_TYPE, media_type);
        headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        let coding = self.representation.coding;
        if coding != Coding::Identity {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        if wants_sha256(request) {
            let sum = STANDARD.encode(self.representation.sha256);
            insert_text(headers, REPR_DIGEST, &format!("sha-256=:{sum}:"));
        }
    }
}

/// RFC 9530 section 4: a dictionary of algorithms with preferences 1 to 10; 0 is a refusal.
fn wants_sha256(request: &HeaderMap) -> bool {
    let lines = request.get_all(WANT_REPR_DIGEST).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut asked = members.filter_map(|member| {
        let equals = member.iter().position(|byte| *byte == b'=')?;
        let (name, value) = member.split_at(equals);
        let value = value.strip_prefix(b"=")?.trim_ascii();
        // Parameters of a member have no meaning here.
        let value = value.split(|byte| *byte == b';').next()?.trim_ascii_end();
        (name.trim_ascii() == b"sha-256").then_some(value)
    });
    // The last of two members with one name counts (RFC 9651 section 3.2).
    asked.next_back().is_some_and(|value| {
        let is_number = value.iter().all(u8::is_ascii_digit);
        let preference = std::str::from_utf8(value).ok().filter(|_| is_number);
        preference
            .and_then(|text| text.parse::<u8>().ok())
            .is_some_and(|n| (1..=10).contains(&n))
    })
}

/// 406: none of the codings at hand may be sent.
pub(super) fn not_acceptable() -> Head {
    let mut head = page(StatusCode::NOT_ACCEPTABLE);
    head.headers.insert(VARY, BY_CODING);
    head
}

/// A redirect within a site, or from port 80 to the same place over TLS.
pub(super) fn redirect(status: StatusCode, location: &str, caching: Caching) -> Head {
    let mut headers = HeaderMap::with_capacity(4);
    insert_text(&mut headers, LOCATION, location);
    headers.insert(CACHE_CONTROL, caching.value());
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Head { status, headers }
}

/// 204 to OPTIONS.
pub(super) fn options() -> Head {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(ALLOW, METHODS);
    Head {
        status: StatusCode::NO_CONTENT,
        headers,
    }
}

/// 405.
pub(super) fn method_not_allowed() -> Head {
    let mut head = page(StatusCode::METHOD_NOT_ALLOWED);
    head.headers.insert(ALLOW, METHODS);
    head
}

/// The head of one of our own short pages; nobody keeps it, except a 404 that is checked again.
pub(super) fn page(status: StatusCode) -> Head {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, PAGE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    let caching = match status {
        StatusCode::NOT_FOUND => Caching::Revalidate,
        _ => Caching::NoStore,
    };
    headers.insert(CACHE_CONTROL, caching.value());
    Head { status, headers }
}

/// The certificate of a CA, which browsers offer to import.
pub(super) fn ca_certificate() -> Head {
    let mut head = page(StatusCode::OK);
    head.headers.insert(CONTENT_TYPE, CA_CERTIFICATE);
    head
}

/// 503 while other visitors' answers take all memory (RFC 9110 section 15.6.4).
pub(super) fn busy() -> Head {
    let mut head = page(StatusCode::SERVICE_UNAVAILABLE);
    head.headers
        .insert(RETRY_AFTER, HeaderValue::from_static("5"));
    head
}

/// 503 while the site is on its way to this node: from another one it may be had.
pub(super) fn awaited() -> Head {
    let mut head = page(StatusCode::SERVICE_UNAVAILABLE);
    head.headers
        .insert(RETRY_AFTER, HeaderValue::from_static("30"));
    head
}

/// As [`page`], and the connection ends: what follows on it cannot be told apart.
pub(super) fn closing_page(status: StatusCode) -> Head {
    let mut head = page(status);
    head.headers.insert(CONNECTION, CLOSE);
    head
}

/// Ends the connection after this answer; in HTTP/2 only the stream ends, by itself.
pub(super) fn close(head: &mut Head, version: Version) {
    if version < Version::HTTP_2 {
        head.headers.insert(CONNECTION, CLOSE);
    }
}

/// The head of the node's own JSON answers.
pub(super) fn json() -> Head {
    let mut head = page(StatusCode::OK);
    head.headers.insert(CONTENT_TYPE, JSON);
    head
}

/// The head of an answer that is plain text: to an authority, or figures.
pub(super) fn text() -> Head {
    let mut head = page(StatusCode::OK);
    head.headers.insert(CONTENT_TYPE, TEXT);
    head
}

/// The head of an archive to keep.
pub(super) fn archive() -> Head {
    let mut head = page(StatusCode::OK);
    head.headers.insert(CONTENT_TYPE, TAR);
    head.headers.insert(CONTENT_DISPOSITION, ATTACHMENT);
    head
}

/// Who may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caching {
    /// Anybody, if it is checked before each use.
    Revalidate,
    /// Nobody.
    NoStore,
}

impl Caching {
    fn value(self) -> HeaderValue {
        match self {
            Self::Revalidate => REVALIDATE,
            Self::NoStore => NO_STORE,
        }
    }
}

/// The text of [`page`].
pub(super) fn page_text(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    let sentence = sentence(status);
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{reason}</title>\n<h1>{reason}</h1>\n<p>{sentence}</p>\n"
    )
}

fn sentence(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "This request is not well formed.",
        StatusCode::NOT_FOUND => "There is no page at this address.",
        StatusCode::METHOD_NOT_ALLOWED => "Pages here can only be read.",
        StatusCode::NOT_ACCEPTABLE => "This page is not stored in a form that was asked for.",
        StatusCode::GONE => "This page is gone for good.",
        StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => "This page may not be shown.",
        StatusCode::PRECONDITION_FAILED => "This page is not the one that was asked for.",
        StatusCode::PAYLOAD_TOO_LARGE => "A request for a page has no body.",
        StatusCode::URI_TOO_LONG => "This address is too long.",
        StatusCode::RANGE_NOT_SATISFIABLE => "This file has no such part.",
        StatusCode::EXPECTATION_FAILED => "This request expects what cannot be given.",
        StatusCode::MISDIRECTED_REQUEST => "No site of this name is served here.",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "This request has too many headers.",
        StatusCode::SERVICE_UNAVAILABLE => {
            "This file cannot be read at the moment; it is being repaired."
        }
        _ => "Something is wrong here.",
    }
}

/// Inserts text that is printable by construction; what is not would be left out.
pub(super) fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verge_sync::Digest;

    fn selected(coding: Coding, varies: bool) -> Selected<'static> {
        let representation = Representation {
            coding,
            digest: Digest::from_bytes([0xab; 32]),
            sha256: [0; 32],
            length: 100,
            location: None,
        };
        Selected {
            representation,
            media_type: "text/css; charset=utf-8",
            validators: Validators::of(&representation, UnixTime(784_111_777), UnixTime(i64::MAX)),
            varies,
            immutable: false,
        }
    }

    fn shown(head: &Head) -> Vec<String> {
        let mut lines = vec![head.status.as_str().to_owned()];
        lines.extend(
            head.headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())),
        );
        lines.sort();
        lines
    }

    #[test]
    fn a_whole_representation() {
        let head = selected(Coding::Brotli, true).whole(StatusCode::OK, &HeaderMap::new());
        assert_eq!(
            shown(&head),
            [
                "200",
                "accept-ranges: bytes",
                "cache-control: public, max-age=0, must-revalidate",
                "content-encoding: br",
                "content-length: 100",
                "content-type: text/css; charset=utf-8",
                "etag: \"abababababababababababababababab\"",
                "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
                "vary: Accept-Encoding",
                "x-content-type-options: nosniff",
            ]
        );
    }

    #[test]
    fn parts_are_offered_only_of_what_is_found() {
        let selected = selected(Coding::Identity, false);
        for (status, offered) in [(StatusCode::OK, true), (StatusCode::NOT_FOUND, false)] {
            let head = selected.whole(status, &HeaderMap::new());
            assert_eq!(
                head.headers.contains_key(ACCEPT_RANGES),
                offered,
                "{status}"
            );
        }
    }

    #[test]
    fn a_304_has_what_a_cache_needs_and_no_more() {
        let head = selected(Coding::Gzip, true).not_modified();
        assert_eq!(
            shown(&head),
            [
                "304",
                "cache-control: public, max-age=0, must-revalidate",
                "etag: \"abababababababababababababababab\"",
                "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
                "vary: Accept-Encoding",
            ]
        );
    }

    #[test]
    fn a_part_says_of_what() {
        let span = Span {
            start: 10,
            length: 5,
        };
        let head = selected(Coding::Identity, false).part(span, &HeaderMap::new());
        assert_eq!(head.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(head.headers[CONTENT_RANGE], "bytes 10-14/100");
        assert_eq!(head.headers[CONTENT_LENGTH], "5");
        assert!(!head.headers.contains_key(VARY));
        let none = selected(Coding::Identity, false).unsatisfiable();
        assert_eq!(none.headers[CONTENT_RANGE], "bytes */100");
    }

    #[test]
    fn a_proven_name_is_kept_for_good() {
        let mut selected = selected(Coding::Identity, false);
        selected.immutable = true;
        let head = selected.whole(StatusCode::OK, &HeaderMap::new());
        assert_eq!(
            head.headers[CACHE_CONTROL],
            "public, max-age=31536000, immutable"
        );
    }

    #[test]
    fn a_first_appearance_in_the_future_is_now() {
        let representation = selected(Coding::Identity, false).representation;
        let validators = Validators::of(&representation, UnixTime(500), UnixTime(100));
        assert_eq!(validators.modified, UnixTime(100));
    }

    #[test]
    fn a_digest_is_sent_when_asked() {
        let rows = [
            ("sha-256=10", true),
            ("sha-512=10, sha-256=1", true),
            (" sha-256 = 5 ", true),
            ("sha-256=0", false),
            ("sha-256=11", false),
            ("sha-256=+5", false),
            ("sha-256=1, sha-256=0", false),
            ("sha-256", false),
            ("sha-512=10", false),
            ("SHA-256=10", false),
            ("", false),
        ];
        for (text, expected) in rows {
            let mut request = HeaderMap::new();
            request.insert(WANT_REPR_DIGEST, HeaderValue::from_static(text));
            let head = selected(Coding::Identity, false).whole(StatusCode::OK, &request);
            let sum = head
                .headers
                .get(&REPR_DIGEST)
                .map(|value| value.to_str().unwrap());
            let zeros = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
            assert_eq!(sum, expected.then_some(zeros), "{text}");
        }
    }

    #[test]
    fn our_own_pages_are_not_kept() {
        assert_eq!(
            page(StatusCode::MISDIRECTED_REQUEST).headers[CACHE_CONTROL],
            "no-store"
        );
        assert_eq!(method_not_allowed().headers[ALLOW], "GET, HEAD, OPTIONS");
        assert_eq!(not_acceptable().headers[VARY], "Accept-Encoding");
        assert!(page_text(StatusCode::NOT_FOUND).contains("no page at this address"));
    }
}
