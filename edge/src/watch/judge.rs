//! What an answer was worth: pure.

use super::sample::{File, Offer, Want};
use super::tally::{Fault, Outcome};
use super::visit::Heard;
use crate::http::health::signed_bytes;
use crate::sites::SiteAt;
use data_encoding::HEXLOWER;
use http::StatusCode;
use serde::Deserialize;
use verge_sync::Digest;
use verge_sync::id::{NodeId, SiteId, Version};
use verge_sync::record::signature::verify_raw;

/// What comes of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Counts(Outcome),
    /// It differs from what is in this blob here: this one is read again before it counts as wrong.
    Differs(Digest, Fault),
    /// Nothing can be said, such as of a version that cannot be compared here.
    Unclear,
}

/// Who was asked for what.
#[derive(Debug, Clone)]
pub(super) struct Question<'a> {
    pub(super) node: NodeId,
    pub(super) site: SiteId,
    /// The version that `file` is of.
    pub(super) version: Version,
    pub(super) file: &'a File,
    pub(super) nonce: &'a str,
}

/// What a node says of its health.
#[derive(Debug, Deserialize)]
struct Health {
    node: String,
    site: String,
    version: String,
    nonce: String,
    signature: String,
}

/// Another version that is shown by the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Other {
    /// A deploy names it, and here it has the file in these codings.
    Offers(Vec<Offer>),
    /// A deploy names it; it is not here, or shows something else at the same place.
    Elsewhere,
    /// No deploy names it.
    Unknown,
}

/// Judges what a visitor got; `other` tells of another version than the one that was asked for.
pub(super) fn judge(
    question: &Question<'_>,
    heard: &Heard,
    other: impl FnOnce(Version) -> Other,
) -> Verdict {
    let wanted = match question.file.want {
        Want::Whole(_) => StatusCode::OK,
        Want::Part { .. } => StatusCode::PARTIAL_CONTENT,
    };
    if heard.status == StatusCode::OK && wanted == StatusCode::PARTIAL_CONTENT {
        // Whoever stands before the node may pass parts over (RFC 9110 section 14.2).
        return Verdict::Unclear;
    }
    if heard.status != wanted {
        return Verdict::Counts(Outcome::Silent);
    }
    let Some(shown) = proven(question, &heard.health) else {
        return Verdict::Counts(Outcome::Wrong(Fault::Identity));
    };
    if shown == question.version {
        return compare(&question.file.want, heard);
    }
    match (other(shown), &question.file.want) {
        (Other::Offers(offers), Want::Whole(_)) => compare(&Want::Whole(offers), heard),
        (Other::Offers(_), Want::Part { .. }) | (Other::Elsewhere, _) => Verdict::Unclear,
        (Other::Unknown, _) => Verdict::Counts(Outcome::Silent),
    }
}

fn compare(want: &Want, heard: &Heard) -> Verdict {
    let is_right = match want {
        Want::Whole(offers) => offers.iter().any(|offer| {
            Some(offer.coding) == heard.coding
                && (offer.digest, offer.bytes) == (heard.digest, heard.bytes)
        }),
        Want::Part { digest, .. } => *digest == heard.digest,
    };
    match want {
        _ if is_right => Verdict::Counts(Outcome::Answered),
        Want::Whole(_) => Verdict::Counts(Outcome::Wrong(Fault::Bytes)),
        Want::Part { blob, .. } => Verdict::Differs(*blob, Fault::Bytes),
    }
}

/// The version that the node gives its word for; none if it is not its word.
fn proven(question: &Question<'_>, health: &[u8]) -> Option<Version> {
    let health: Health = serde_json::from_slice(health).ok()?;
    let version: Version = health.version.parse().ok()?;
    let site = SiteAt {
        site: question.site,
        version,
        takeout_public: false,
        left: None,
    };
    let is_meant = health.node == question.node.to_string()
        && health.site == question.site.to_string()
        && health.nonce == question.nonce;
    let signature = HEXLOWER.decode(health.signature.as_bytes()).ok()?;
    let signature = signature.try_into().ok()?;
    let message = signed_bytes(&site, question.nonce);
    let is_signed = verify_raw(question.node.as_bytes(), &message, &signature).is_ok();
    (is_meant && is_signed).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verge_sync::keys::{Seed, sign};
    use verge_sync::manifest::Coding;

    const NONCE: &str = "6e6f6e6365";

    fn seed() -> Seed {
        Seed::from_bytes([1; 32])
    }

    fn version(number: u8) -> Version {
        Version::from_bytes([number; 32])
    }

    fn site() -> SiteId {
        SiteId::from_bytes([2; 32])
    }

    fn health(seed: &Seed, site: SiteId, version: Version, nonce: &str) -> Vec<u8> {
        let at = SiteAt {
            site,
            version,
            takeout_public: false,
            left: None,
        };
        let signature = sign(&seed.transport_key(), &signed_bytes(&at, nonce));
        let body = serde_json::json!({
            "ok": true,
            "node": seed.node_id().to_string(),
            "site": site.to_string(),
            "version": version.to_string(),
            "nonce": nonce,
            "signature": HEXLOWER.encode(&signature),
        });
        body.to_string().into_bytes()
    }

    fn offer(coding: Coding, bytes: &[u8]) -> Offer {
        Offer {
            coding,
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
        }
    }

    fn whole() -> Want {
        let offers = [(Coding::Identity, &b"page"[..]), (Coding::Brotli, b"pg")];
        Want::Whole(offers.map(|(coding, bytes)| offer(coding, bytes)).into())
    }

    fn part() -> Want {
        Want::Part {
            from: 5,
            bytes: 4,
            digest: Digest::of(b"page"),
            blob: Digest::of(b"a blob"),
        }
    }

    fn heard(status: u16, bytes: &[u8]) -> Heard {
        Heard {
            status: StatusCode::from_u16(status).unwrap(),
            coding: Some(Coding::Identity),
            bytes: bytes.len() as u64,
            digest: Digest::of(bytes),
            health: health(&seed(), site(), version(1), NONCE),
        }
    }

    fn check(want: Want, heard: &Heard, other: Other, expected: Verdict) {
        let file = File {
            url: "/".to_owned(),
            path: "index.html".to_owned(),
            want,
        };
        let question = Question {
            node: seed().node_id(),
            site: site(),
            version: version(1),
            file: &file,
            nonce: NONCE,
        };
        assert_eq!(judge(&question, heard, |_version| other), expected);
    }

    const RIGHT: Verdict = Verdict::Counts(Outcome::Answered);
    const SILENT: Verdict = Verdict::Counts(Outcome::Silent);
    const WRONG: Verdict = Verdict::Counts(Outcome::Wrong(Fault::Bytes));
    const STRANGER: Verdict = Verdict::Counts(Outcome::Wrong(Fault::Identity));

    #[test]
    fn what_a_visitor_gets_is_compared_with_the_version() {
        let none = || Other::Unknown;
        check(whole(), &heard(200, b"page"), none(), RIGHT);
        check(whole(), &heard(200, b"pagE"), none(), WRONG);
        check(whole(), &heard(200, b"pg"), none(), WRONG);
        let brotli = Heard {
            coding: Some(Coding::Brotli),
            ..heard(200, b"pg")
        };
        check(whole(), &brotli, none(), RIGHT);
        let unknown = Heard {
            coding: None,
            ..heard(200, b"page")
        };
        check(whole(), &unknown, none(), WRONG);
        for status in [206, 301, 404, 421, 503] {
            check(whole(), &heard(status, b"page"), none(), SILENT);
        }
        check(part(), &heard(206, b"page"), none(), RIGHT);
        let differs = Verdict::Differs(Digest::of(b"a blob"), Fault::Bytes);
        check(part(), &heard(206, b"pagE"), none(), differs);
        check(part(), &heard(200, b"page"), none(), Verdict::Unclear);
        check(part(), &heard(503, b"page"), none(), SILENT);
    }

    #[test]
    fn who_does_not_prove_to_be_the_node_is_another() {
        let other = Seed::from_bytes([9; 32]);
        let claims = String::from_utf8(health(&other, site(), version(1), NONCE)).unwrap();
        let names = [other.node_id().to_string(), seed().node_id().to_string()];
        let words = [
            Vec::new(),
            b"{}".to_vec(),
            b"{\"ok\":true}".to_vec(),
            health(&other, site(), version(1), NONCE),
            claims.replace(&names[0], &names[1]).into_bytes(),
            health(&seed(), SiteId::from_bytes([3; 32]), version(1), NONCE),
            health(&seed(), site(), version(1), "an-older-nonce"),
        ];
        for health in words {
            let heard = Heard {
                health,
                ..heard(200, b"page")
            };
            check(whole(), &heard, Other::Unknown, STRANGER);
        }
    }

    #[test]
    fn another_version_is_judged_by_itself() {
        let older = Heard {
            health: health(&seed(), site(), version(7), NONCE),
            ..heard(200, b"older")
        };
        let offers = vec![offer(Coding::Identity, b"older")];
        check(whole(), &older, Other::Offers(offers), RIGHT);
        let offers = vec![offer(Coding::Identity, b"page")];
        check(whole(), &older, Other::Offers(offers), WRONG);
        check(whole(), &older, Other::Elsewhere, Verdict::Unclear);
        check(whole(), &older, Other::Unknown, SILENT);
    }
}
