//! From a file and the request's headers to the answer's head and the bytes that it needs:
//! negotiate -> conditional -> range -> respond, in the order of RFC 9110 section 13.2.2.

use super::conditional::{self, Validators, Verdict};
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
}

impl Plan {
    /// A head that nothing follows.
    pub(super) fn bare(head: Head) -> Self {
        Self {
            head,
            payload: Payload::Nothing,
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
        },
        Wanted::Part(span) => Plan {
            head: selected.part(span, request),
            payload: Payload::Bytes(chosen, Some(span)),
        },
        Wanted::Parts(spans) => Plan {
            head: selected.parts(request),
            payload: Payload::Parts(chosen, spans),
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
    }
}

fn select<'a>(
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
    }
}
