//! Fuzz targets for what a publisher or another node wrote: rule files, and whole manifests.

use crate::http::fields::{SiteFields, Terms};
use crate::http::redirects::RedirectIndex;
use crate::http::respond::Head;
use crate::http::route::{Route, Target, route};
use crate::http::sample;
use crate::http::takeout::Takeout;
use crate::sites::SiteManifest;
use http::{HeaderMap, StatusCode};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use verge_builder::rules::{HeaderRules, Redirects, RuleFiles};
use verge_builder::{HashedNames, problems};
use verge_sync::Digest;
use verge_sync::manifest::{Coding, Manifest};

/// Made once: an execution would otherwise be spent on making it.
static SITE: LazyLock<Manifest> =
    LazyLock::new(|| sample::manifest_of(&["index.html", "b/1.html", "x.html", "404.html"]));

/// `_redirects` or `_headers`, both from the same bytes: what is read survives its encoding.
pub(crate) fn rule_files(bytes: &[u8]) {
    let redirects = Redirects::read(bytes, &mut |_problem| {});
    let headers = HeaderRules::parse(bytes, &mut |_problem| {});
    let again = Redirects::decode(&redirects.encode());
    assert_eq!(again.as_ref(), Some(&redirects));
    let again = HeaderRules::decode(&headers.encode());
    assert_eq!(again.as_ref(), Some(&headers));
    check_rules(redirects, headers);
}

/// The sections of a manifest that somebody else wrote: what is read has one encoding.
pub(crate) fn rule_sections(bytes: &[u8]) {
    if let Some(files) = RuleFiles::decode(bytes) {
        assert_eq!(files.encode(), bytes);
    }
    if let Some(names) = HashedNames::decode(bytes) {
        assert_eq!(names.encode(), bytes);
    }
    if let Some(problems) = problems::decode(bytes) {
        assert_eq!(problems::encode(&problems), bytes);
    }
    let redirects = Redirects::decode(bytes);
    assert!(redirects.as_ref().is_none_or(|read| read.encode() == bytes));
    let headers = HeaderRules::decode(bytes);
    assert!(headers.as_ref().is_none_or(|read| read.encode() == bytes));
    check_rules(redirects.unwrap_or_default(), headers.unwrap_or_default());
}

/// Rules, wherever they come from, give answers that may be sent.
fn check_rules(redirects: Redirects, headers: HeaderRules) {
    let rules = RedirectIndex::new(redirects);
    for path in ["/", "/a/b%0d%0a/c", "/old/x/y/", "/caf%C3%A9"] {
        let target = Target {
            path,
            query: Some("id=%0d%0a&q=1"),
            language: Some("de"),
        };
        if let Route::Redirect(to) = route(&SITE, None, &rules, &target).route {
            let is_sendable = to.location.bytes().all(|b| b.is_ascii_graphic());
            assert!(is_sendable, "{}", to.location);
            assert!(!to.location.starts_with("//"), "{}", to.location);
        }
    }
    let terms = Terms {
        secure: true,
        hsts_max_age: Duration::from_secs(5),
    };
    let fields = SiteFields::new(headers);
    for status in [StatusCode::OK, StatusCode::NOT_MODIFIED] {
        let mut head = Head {
            status,
            headers: HeaderMap::new(),
        };
        fields.apply("/a/b", &mut head, &terms);
        for name in ["set-cookie", "content-length", "etag", "vary", "location"] {
            assert!(!head.headers.contains_key(name), "{name}");
        }
    }
}

/// A whole manifest, as it is and with the digest of its content made right, without which no
/// mutation would come past the first check.
pub(crate) fn manifests(bytes: &[u8]) {
    check_manifest(bytes.to_vec());
    if let Some(repaired) = repaired(bytes) {
        check_manifest(repaired);
    }
}

/// `docs/format.md#manifest`: the delivery part begins with the digest of the content part, which
/// begins at 32 and whose length stands at 16.
fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = bytes.get(16..)?.first_chunk().copied()?;
    let end = usize::try_from(u64::from_le_bytes(length))
        .ok()?
        .checked_add(32)?;
    let digest = Digest::of(bytes.get(32..end)?);
    let mut repaired = bytes.to_vec();
    repaired
        .get_mut(end..end.checked_add(32)?)?
        .copy_from_slice(digest.as_bytes());
    Some(repaired)
}

fn check_manifest(bytes: Vec<u8>) {
    let Ok(site) = SiteManifest::decode(bytes) else {
        return;
    };
    let manifest = site.manifest();
    for entry in manifest.paths().chain(manifest.carried()) {
        let found = manifest.find(entry.path());
        assert_eq!(found.map(|found| found.path()), Some(entry.path()));
        let _immutable = site.is_immutable(&entry);
        assert_eq!(entry.identity().coding, Coding::Identity);
        let _type = entry.media_type();
    }
    assert_eq!(manifest.sequence().len(), 32 * (1 + manifest.blobs().len()));
    let _bytes = manifest.version_bytes();
    let takeout = Takeout::gather(Arc::new(site));
    let _list: usize = takeout.list().segments.count();
    let _archive: usize = takeout.archive().segments.count();
}
