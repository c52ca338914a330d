//! The certificate that a host's visitors get: pure.

use super::Finding;
use crate::host::Host;
use crate::tls::{CaCertificate, Certificate, Validity};
use std::time::Duration;
use verge_sync::clock::UnixTime;
use x509_parser::parse_x509_certificate;

const DAY_S: u64 = 86_400;
/// Half is when it is renewed, or a third by other programs: less says that renewing fails.
const LIFE_LEFT_MIN: u32 = 4;
/// The root's folder has to be found in its drawer.
const REGION_CA_LEFT_MIN: Duration = Duration::from_hours(24 * 60);

/// Judges what is in use for a host.
pub(super) fn of_a_host(
    host: &Host,
    certificate: Option<&Certificate>,
    now: UnixTime,
    has_own_ca: bool,
) -> Finding {
    let about = format!("certificate {host}");
    let Some(certificate) = certificate else {
        let todo = "see `verge cert list` for what became of its order, or name one in [tls]";
        return Finding::fault(about, "is missing: HTTPS is refused", todo);
    };
    let left = certificate.not_after().since(now);
    let days = left.as_secs() / DAY_S;
    let renew =
        "see `verge cert show` for what became of its renewal, or put a new one in its place";
    match certificate.validity(now) {
        Validity::Expired => {
            let ago = now.since(certificate.not_after()).as_secs() / DAY_S;
            return Finding::fault(about, format!("has expired {ago} days ago"), renew);
        }
        Validity::NotYet => {
            let todo = "set the clock, or wait";
            return Finding::fault(about, "is not valid yet by this node's clock", todo);
        }
        Validity::Valid => {}
    }
    let chain = certificate.chain();
    if let Some(why) = broken(&chain, has_own_ca) {
        let todo = "put the certificates of its issuers after it, in their order";
        return Finding::warning(about, why, todo);
    }
    let life = certificate.not_after().since(certificate.not_before());
    if left < life / LIFE_LEFT_MIN {
        return Finding::warning(about, format!("ends in {days} days"), renew);
    }
    Finding::ok(about, format!("is valid for {days} days"))
}

/// What is wrong with the order of a chain.
fn broken(chain: &[&[u8]], has_own_ca: bool) -> Option<String> {
    let read = |der: &&[u8]| {
        let (_rest, parsed) = parse_x509_certificate(der).ok()?;
        Some((parsed.subject().to_string(), parsed.issuer().to_string()))
    };
    let names: Vec<(String, String)> = chain.iter().filter_map(read).collect();
    if names.len() != chain.len() {
        return Some("its chain cannot be read".to_owned());
    }
    let mut pairs = names.iter().zip(names.iter().skip(1));
    if let Some((one, next)) = pairs.find(|(one, next)| one.1 != next.0) {
        return Some(format!("its chain breaks: {} is not by {}", one.0, next.0));
    }
    match names.as_slice() {
        [(subject, issuer)] if subject != issuer && !has_own_ca => Some(format!(
            "comes without the certificate of its issuer, {issuer}: some visitors cannot check it"
        )),
        _ => None,
    }
}

/// Judges the node's part of the region's CA.
pub(super) fn of_the_region_ca(ca: &CaCertificate, now: UnixTime) -> Finding {
    let about = "region CA";
    let left = ca.not_after.since(now);
    let says = format!("this node signs for {} days more", left.as_secs() / DAY_S);
    let todo = "ask the root again: `verge region ca request`";
    if left.is_zero() {
        Finding::fault(about, "this node's part of it has expired", todo)
    } else if left < REGION_CA_LEFT_MIN {
        Finding::warning(about, says, todo)
    } else {
        Finding::ok(about, says)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;
    use rcgen::{CertificateParams, Issuer, KeyPair};

    const HOST: &str = "www.example.org";
    const DAY: i64 = 86_400;

    fn at(day: i64) -> UnixTime {
        // 2026-01-01.
        UnixTime(1_767_225_600 + day * DAY)
    }

    /// Valid for the whole of 2026, by a CA whose certificate follows it or not.
    fn certificate(is_complete: bool) -> Certificate {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, HOST);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let leaf = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let chain = if is_complete {
            leaf.pem() + &ca_pem
        } else {
            leaf.pem()
        };
        Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap()
    }

    #[test]
    fn a_certificate_is_judged_by_its_life_and_its_chain() {
        let host: Host = HOST.parse().unwrap();
        let whole = certificate(true);
        let bare = certificate(false);
        let rows = [
            (None, at(0), false, Grade::Fault, "is missing"),
            (Some(&whole), at(-1), false, Grade::Fault, "not valid yet"),
            (
                Some(&whole),
                at(0),
                false,
                Grade::Ok,
                "is valid for 365 days",
            ),
            (
                Some(&whole),
                at(273),
                false,
                Grade::Ok,
                "is valid for 92 days",
            ),
            (
                Some(&whole),
                at(274),
                false,
                Grade::Warning,
                "ends in 91 days",
            ),
            (
                Some(&whole),
                at(370),
                false,
                Grade::Fault,
                "has expired 5 days ago",
            ),
            (
                Some(&bare),
                at(0),
                false,
                Grade::Warning,
                "without the certificate of its issuer",
            ),
            (Some(&bare), at(0), true, Grade::Ok, "is valid for"),
        ];
        for (certificate, now, has_own_ca, grade, expected) in rows {
            let finding = of_a_host(&host, certificate, now, has_own_ca);
            assert_eq!(finding.grade, grade, "{finding}");
            assert!(finding.to_string().contains(expected), "{finding}");
        }
        let turned: Vec<&[u8]> = whole.chain().into_iter().rev().collect();
        assert!(broken(&turned, false).unwrap().contains("its chain breaks"));
        assert!(
            broken(&[b"junk"], false)
                .unwrap()
                .contains("cannot be read")
        );
    }

    #[test]
    fn the_region_s_ca_is_renewed_in_time() {
        let ca = CaCertificate {
            name: "n".to_owned(),
            zones: vec!["street.internal".to_owned()],
            not_after: at(365),
            fingerprint: String::new(),
            public_key: Vec::new(),
        };
        for (day, expected) in [
            (305, Grade::Ok),
            (306, Grade::Warning),
            (364, Grade::Warning),
            (365, Grade::Fault),
        ] {
            assert_eq!(of_the_region_ca(&ca, at(day)).grade, expected, "{day}");
        }
    }
}
