//! From a file and the request's headers to the answer's head and the bytes that it needs:
//! negotiate -> conditional -> range -> respond, in the order of RFC 9110 section 13.2.2.

use super::conditional::{self, Validators, Verdict};
use super::metering::Worth;
use super::negotiate::{Accept, negotiate};
use super::range::{self, Span, Wanted};
use super::respond::{self, Head, Selected};
use http::header::{ACCEPT_ENCODING, RANGE};
use http::{HeaderMap, StatusCode};
use verge_sync::clock::UnixTime;
use verge_sync::manifest::{Entry, Representation};

/// What to answer.
pub(super) struct Plan {
    pub head: Head,
    pub payload: Payload,
    /// Length of the smallest form of the file, if one is sent.
    pub smallest_bytes: u64,
}

impl Plan {
    /// A head that nothing follows.
    pub(super) fn bare(head: Head) -> Self {
        Self {
            head,
            payload: Payload::Nothing,
            smallest_bytes: 0,
        }
    }

    /// What the answer is worth: a file of the site and the news that the visitor has it are
    /// counted; redirects, errors and the pages for them are not.
    pub(super) fn worth(&self) -> Option<Worth> {
        let is_found = [StatusCode::OK, StatusCode::PARTIAL_CONTENT].contains(&self.head.status);
        match &self.payload {
            Payload::Bytes(whole, _) | Payload::Parts(whole, _) => is_found.then_some(Worth {
                smallest_bytes: self.smallest_bytes,
                encoded_bytes: whole.length,
                parts: None,
            }),
            Payload::Nothing => (self.head.status == StatusCode::NOT_MODIFIED).then(Worth::default),
            Payload::OurPage => None,
        }
    }

    /// The representation of which bytes are sent.
    pub(super) fn stored(&self) -> Option<&Representation> {
        match &self.payload {
            Payload::Bytes(whole, _) | Payload::Parts(whole, _) => Some(whole),
            Payload::Nothing | Payload::OurPage => None,
        }
    }

    /// Whether the answer is a file of the site, or says that the visitor has it: what the site's
    /// own fields are for. Redirects and our own pages are not.
    pub(super) fn is_of_the_site(&self) -> bool {
        match self.payload {
            Payload::Bytes(..) | Payload::Parts(..) => true,
            Payload::Nothing => self.head.status == StatusCode::NOT_MODIFIED,
            Payload::OurPage => false,
        }
    }
}

/// What follows the head, for GET.
pub(super) enum Payload {
    Nothing,
    /// The sentence that belongs to the status.
    OurPage,
    /// A representation, or a part of it.
    Bytes(Representation, Option<Span>),
    /// Several parts of one; the head is finished when they are laid out.
    Parts(Representation, Vec<Span>),
}

/// What of a request a plan depends on.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// HEAD instead of GET: ranges are not defined for it (RFC 9110 section 14.2).
    pub is_head: bool,
    pub headers: &'a HeaderMap,
    pub now: UnixTime,
}

/// A file that was asked for.
pub(super) fn plan_found(entry: &Entry<'_>, immutable: bool, asked: &Asked<'_>) -> Plan {
    let request = asked.headers;
    let offers: Vec<Representation> = entry.representations().collect();
    let accept = Accept::parse(request.get_all(ACCEPT_ENCODING));
    let smallest_bytes = offers.iter().map(|offer| offer.length).min().unwrap_or(0);
    let Some(chosen) = negotiate(&accept, &offers) else {
        return explained(respond::not_acceptable());
    };
    let mut selected = select(entry, chosen, offers.len(), asked.now);
    selected.immutable = immutable;
    match conditional::evaluate(request, &selected.validators) {
        Verdict::Failed => return explained(selected.precondition_failed()),
        Verdict::NotModified => {
            return Plan::bare(selected.not_modified());
        }
        Verdict::Proceed => {}
    }
    match wanted(&selected, asked) {
        Wanted::Whole => Plan {
            head: selected.whole(StatusCode::OK, request),
            payload: Payload::Bytes(chosen, None),
            smallest_bytes,
        },
        Wanted::Part(span) => Plan {
            head: selected.part(span, request),
            payload: Payload::Bytes(chosen, Some(span)),
            smallest_bytes,
        },
        Wanted::Parts(spans) => Plan {
            head: selected.parts(request),
            payload: Payload::Parts(chosen, spans),
            smallest_bytes,
        },
        Wanted::Unsatisfiable => explained(selected.unsatisfiable()),
    }
}

/// A site's page for what is not there or not to be had: preconditions and ranges do not apply to
/// it, and it is sent as it is to who would accept nothing.
pub(super) fn plan_refused(
    entry: Option<&Entry<'_>>,
    status: StatusCode,
    asked: &Asked<'_>,
) -> Plan {
    let Some(entry) = entry else {
        return explained(respond::page(status));
    };
    let request = asked.headers;
    let offers: Vec<Representation> = entry.representations().collect();
    let accept = Accept::parse(request.get_all(ACCEPT_ENCODING));
    let chosen = negotiate(&accept, &offers).unwrap_or_else(|| entry.identity());
    let selected = select(entry, chosen, offers.len(), asked.now);
    Plan {
        head: selected.whole(status, request),
        payload: Payload::Bytes(chosen, None),
        smallest_bytes: 0,
    }
}

/// A form of a file, and what is said of it.
pub(super) fn select<'a>(
    entry: &Entry<'a>,
    chosen: Representation,
    offer_count: usize,
    now: UnixTime,
) -> Selected<'a> {
    Selected {
        representation: chosen,
        media_type: entry.media_type(),
        validators: Validators::of(&chosen, entry.seen().first, now),
        varies: offer_count > 1,
        immutable: false,
    }
}

fn wanted(selected: &Selected<'_>, asked: &Asked<'_>) -> Wanted {
    let request = asked.headers;
    if asked.is_head
        || !request.contains_key(RANGE)
        || !conditional::range_applies(request, &selected.validators)
    {
        return Wanted::Whole;
    }
    range::select(request.get_all(RANGE), selected.representation.length)
}

fn explained(head: Head) -> Plan {
    Plan {
        head,
        payload: Payload::OurPage,
        smallest_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sample;
    use http::{HeaderName, HeaderValue};
    use verge_sync::manifest::Coding;

    type Lines = [(&'static str, &'static str)];

    const SEEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn shown(plan: &Plan) -> String {
        let status = plan.head.status.as_u16();
        let vary = if plan.head.headers.contains_key("vary") {
            ""
        } else {
            " no vary"
        };
        let span = |span: &Span| format!("{}+{}", span.start, span.length);
        let payload = match &plan.payload {
            Payload::Nothing => "nothing".to_owned(),
            Payload::OurPage => "our page".to_owned(),
            Payload::Bytes(whole, None) => whole.coding.name().to_owned(),
            Payload::Bytes(whole, Some(part)) => format!("{} {}", whole.coding.name(), span(part)),
            Payload::Parts(whole, parts) => {
                let parts: Vec<String> = parts.iter().map(span).collect();
                format!("{} {}", whole.coding.name(), parts.join(" "))
            }
        };
        format!("{status} {payload}{vary}")
    }

    /// The tag of a coding of the sample.
    fn tag(coding: Coding) -> String {
        let manifest = sample::manifest_in_every_coding("page.html");
        let entry = manifest.find("page.html").unwrap();
        let all: Vec<Representation> = entry.representations().collect();
        let found = all.iter().find(|one| one.coding == coding).unwrap();
        Validators::of(found, UnixTime(0), UnixTime(0)).etag
    }

    /// Of a page that is there, with a page of 1,000 bytes in four codings.
    fn found(is_head: bool, lines: &[(&str, &str)]) -> String {
        let manifest = sample::manifest_in_every_coding("page.html");
        let entry = manifest.find("page.html").unwrap();
        let headers = headers(lines);
        let asked = Asked {
            is_head,
            headers: &headers,
            now: UnixTime(1_800_000_000),
        };
        shown(&plan_found(&entry, false, &asked))
    }

    /// http.md section 4, `Accept-Encoding` and `Vary`.
    #[test]
    fn the_form_that_is_wanted_most_is_planned() {
        let rows = [
            (None, "200 identity"),
            (Some(""), "200 identity"),
            (Some("gzip, br, zstd"), "200 br"),
            (Some("gzip;q=1, br;q=0.5"), "200 gzip"),
            (Some("*"), "200 br"),
            (Some("deflate"), "200 identity"),
            (Some("identity;q=0, zstd"), "200 zstd"),
            (Some("identity;q=0"), "406 our page"),
            (Some("*;q=0"), "406 our page"),
        ];
        for (accept, expected) in rows {
            let line = accept.map(|accept| ("accept-encoding", accept));
            assert_eq!(found(false, line.as_slice()), expected, "{accept:?}");
            assert_eq!(found(true, line.as_slice()), expected, "HEAD {accept:?}");
        }
    }

    /// http.md section 5: the order of RFC 9110 section 13.2.2.
    #[test]
    fn conditions_come_before_ranges_and_after_the_choice_of_a_form() {
        let (identity, br) = (tag(Coding::Identity), tag(Coding::Brotli));
        let (is, br) = (identity.as_str(), br.as_str());
        let early = "Sun, 06 Nov 1994 08:49:36 GMT";
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[("if-match", is)], "200 identity"),
            (&[("if-match", br)], "412 our page"),
            (&[("if-match", br), ("if-none-match", is)], "412 our page"),
            (
                &[("if-match", is), ("if-unmodified-since", early)],
                "200 identity",
            ),
            (&[("if-unmodified-since", early)], "412 our page"),
            (&[("if-none-match", is)], "304 nothing"),
            (&[("if-none-match", "*")], "304 nothing"),
            (&[("if-none-match", br)], "200 identity"),
            (
                &[("if-none-match", br), ("accept-encoding", "br")],
                "304 nothing",
            ),
            (
                &[("if-none-match", br), ("if-modified-since", SEEN)],
                "200 identity",
            ),
            (&[("if-modified-since", SEEN)], "304 nothing"),
            (&[("if-modified-since", early)], "200 identity"),
            (
                &[("if-none-match", is), ("range", "bytes=0-1")],
                "304 nothing",
            ),
            (&[("if-match", br), ("range", "bytes=0-1")], "412 our page"),
            (
                &[("if-range", is), ("range", "bytes=0-1")],
                "206 identity 0+2",
            ),
            (
                &[("if-range", SEEN), ("range", "bytes=0-1")],
                "206 identity 0+2",
            ),
            (&[("if-range", br), ("range", "bytes=0-1")], "200 identity"),
            (
                &[("if-range", early), ("range", "bytes=0-1")],
                "200 identity",
            ),
            (
                &[("if-none-match", is), ("accept-encoding", "*;q=0")],
                "406 our page",
            ),
        ];
        for (lines, expected) in rows {
            assert_eq!(found(false, lines), *expected, "{lines:?}");
        }
    }

    /// http.md section 5: ranges are of the representation that was chosen.
    #[test]
    fn parts_are_parts_of_the_form_that_was_chosen() {
        let rows: &[(&str, Option<&str>, &str)] = &[
            ("bytes=0-9", None, "206 identity 0+10"),
            ("bytes=0-9", Some("br"), "206 br 0+10"),
            ("bytes=-10", None, "206 identity 990+10"),
            ("bytes=-10", Some("br"), "206 br 90+10"),
            ("bytes=500-", Some("br"), "416 our page"),
            ("bytes=500-", None, "206 identity 500+500"),
            ("bytes=0-1,500-501", None, "206 identity 0+2 500+2"),
            ("bytes=0-1,3-4", None, "206 identity 0+5"),
            ("bytes=1000-", None, "416 our page"),
            ("lines=0-1", None, "200 identity"),
        ];
        for (range, accept, expected) in rows {
            let accept = accept.map(|accept| ("accept-encoding", accept));
            let lines: Vec<(&str, &str)> = accept.into_iter().chain([("range", *range)]).collect();
            assert_eq!(found(false, &lines), *expected, "{range} {accept:?}");
            let whole = format!("200 {}", accept.map_or("identity", |(_, name)| name));
            assert_eq!(found(true, &lines), whole, "HEAD {range} {accept:?}");
        }
    }

    /// http.md sections 1, 4 and 5: what is not there is that, whatever is asked of it.
    #[test]
    fn a_page_for_what_is_not_there_knows_no_conditions_and_no_parts() {
        let manifest = sample::manifest_in_every_coding("404.html");
        let entry = manifest.find("404.html").unwrap();
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[], "identity"),
            (&[("accept-encoding", "br")], "br"),
            (&[("accept-encoding", "*;q=0")], "identity"),
            (&[("if-none-match", "*")], "identity"),
            (&[("if-match", "\"x\"")], "identity"),
            (&[("if-modified-since", SEEN)], "identity"),
            (&[("range", "bytes=0-1")], "identity"),
            (&[("range", "bytes=9999-")], "identity"),
        ];
        for (lines, expected) in rows {
            let headers = headers(lines);
            let asked = Asked {
                is_head: false,
                headers: &headers,
                now: UnixTime(1_800_000_000),
            };
            for status in [404, 410, 451] {
                let code = StatusCode::from_u16(status).unwrap();
                let page = shown(&plan_refused(Some(&entry), code, &asked));
                assert_eq!(page, format!("{status} {expected}"), "{lines:?}");
                let bare = shown(&plan_refused(None, code, &asked));
                assert_eq!(bare, format!("{status} our page no vary"), "{lines:?}");
            }
        }
    }

    /// http.md section 4, `Vary`, and section 3: whose the site's own fields are.
    #[test]
    fn one_form_does_not_vary_and_only_files_are_of_the_site() {
        let manifest = sample::manifest_of(&["a.bin"]);
        let entry = manifest.find("a.bin").unwrap();
        let rows: &[(&Lines, &str, bool)] = &[
            (&[("accept-encoding", "br")], "200 identity no vary", true),
            (&[("if-none-match", "*")], "304 nothing no vary", true),
            (&[("range", "bytes=0-1")], "206 identity 0+2 no vary", true),
            (&[("range", "bytes=9-")], "416 our page no vary", false),
            (&[("if-match", "\"x\"")], "412 our page no vary", false),
        ];
        for (lines, expected, is_of_the_site) in rows {
            let headers = headers(lines);
            let asked = Asked {
                is_head: false,
                headers: &headers,
                now: UnixTime(1_800_000_000),
            };
            let plan = plan_found(&entry, false, &asked);
            assert_eq!(shown(&plan), *expected, "{lines:?}");
            assert_eq!(plan.is_of_the_site(), *is_of_the_site, "{lines:?}");
        }
        let moved = Plan::bare(respond::redirect(
            StatusCode::FOUND,
            "/x",
            respond::Caching::Revalidate,
        ));
        assert!(!moved.is_of_the_site());
    }
}
