//! What is said of a file that was found, made once for all who visit its address.
//!
//! Where an address leads, and nearly everything that is said of the file there, depends on the
//! version, the address and the transport alone. A page holds that for each form in which the file is
//! stored; what is left to a visit is to choose a form and to compare validators.

use super::blob_file::{Place, place};
use super::conditional::{self, Validators, Verdict};
use super::fields::{SiteFields, Terms};
use super::negotiate::{Accept, choose};
use super::plan::{Asked, Payload, Plan, select};
use super::respond::{Head, WANT_REPR_DIGEST};
use http::header::{ACCEPT_ENCODING, RANGE};
use http::{HeaderMap, HeaderName, StatusCode};
use quick_cache::Equivalent;
use verge_sync::Version;
use verge_sync::manifest::{Entry, Manifest, Representation};

/// A field in memory, about: its name, its value, and its part of two tables.
const FIELD_BYTES: usize = 150;
/// What a page takes beside its forms.
const PAGE_BYTES: usize = 300;

/// What is said of a file that was found.
pub(crate) struct Page {
    offers: Box<[Representation]>,
    /// Of each offer.
    forms: Box<[Form]>,
    smallest_bytes: u64,
    /// The terms for which the site's own fields were put in.
    terms: Terms,
}

struct Form {
    place: Option<Place>,
    validators: Validators,
    whole: HeaderMap,
    not_modified: HeaderMap,
}

/// What a page is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    version: Version,
    is_secure: bool,
    path: Box<str>,
}

/// The same, as a request has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Address<'a> {
    pub version: Version,
    pub is_secure: bool,
    /// As it was asked.
    pub path: &'a str,
}

impl Equivalent<PageKey> for Address<'_> {
    fn equivalent(&self, key: &PageKey) -> bool {
        (self.version, self.is_secure) == (key.version, key.is_secure) && *self.path == *key.path
    }
}

impl Address<'_> {
    pub(super) fn key(&self) -> PageKey {
        PageKey {
            version: self.version,
            is_secure: self.is_secure,
            path: self.path.into(),
        }
    }
}

impl PageKey {
    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.path.len()
    }
}

impl Page {
    /// Of a file that is found at the decoded `path` whoever asks; `None` while it is said to be from
    /// the future.
    pub(super) fn of(
        manifest: &Manifest,
        (entry, is_immutable): (&Entry<'_>, bool),
        (path, fields): (&str, &SiteFields),
        asked: &Asked<'_>,
        terms: Terms,
    ) -> Option<Self> {
        if entry.seen().first > asked.now {
            return None;
        }
        let offers: Box<[Representation]> = entry.representations().collect();
        let nobody = HeaderMap::new();
        let form = |offer: &Representation| {
            let mut selected = select(entry, *offer, offers.len(), asked.now);
            selected.immutable = is_immutable;
            let mut heads = [
                selected.whole(StatusCode::OK, &nobody),
                selected.not_modified(),
            ];
            for head in &mut heads {
                fields.apply(path, head, &terms);
            }
            let [whole, not_modified] = heads.map(|head| head.headers);
            Form {
                place: place(manifest, offer),
                validators: selected.validators,
                whole,
                not_modified,
            }
        };
        let forms = offers.iter().map(form).collect();
        Some(Self {
            smallest_bytes: offers.iter().map(|offer| offer.length).min()?,
            offers,
            forms,
            terms,
        })
    }

    /// What a visitor gets, and where its bytes lie; `None` if the request asks for what a page does
    /// not know.
    pub(super) fn plan(&self, request: &HeaderMap, terms: &Terms) -> Option<(Plan, Option<Place>)> {
        let is_special = |name: &HeaderName| *name == RANGE || *name == WANT_REPR_DIGEST;
        if request.keys().any(is_special) || self.terms != *terms {
            return None;
        }
        let accept = Accept::parse(request.get_all(ACCEPT_ENCODING));
        let chosen = choose(&accept, &self.offers)?;
        let (offer, form) = (self.offers.get(chosen)?, self.forms.get(chosen)?);
        let verdict = if request.keys().any(conditional::is_condition) {
            conditional::evaluate(request, &form.validators)
        } else {
            Verdict::Proceed
        };
        let (status, headers, payload) = match verdict {
            Verdict::Failed => return None,
            Verdict::NotModified => {
                let status = StatusCode::NOT_MODIFIED;
                (status, &form.not_modified, Payload::Nothing)
            }
            Verdict::Proceed => (StatusCode::OK, &form.whole, Payload::Bytes(*offer, None)),
        };
        let plan = Plan {
            head: Head {
                status,
                headers: headers.clone(),
            },
            smallest_bytes: match payload {
                Payload::Nothing => 0,
                _ => self.smallest_bytes,
            },
            payload,
        };
        Some((plan, form.place))
    }

    /// What it takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let fields = |form: &Form| form.whole.len() + form.not_modified.len();
        let field_count: usize = self.forms.iter().map(fields).sum();
        field_count * FIELD_BYTES + PAGE_BYTES
    }
}
