//! Where DNS leads the visitors of a host: pure.

use super::{Case, Finding, Round};
use crate::hosts::Unanswered;
use std::net::IpAddr;

/// Judges the addresses that a host has.
pub(super) fn judge(
    case: &Case,
    found: &Result<Vec<IpAddr>, Unanswered>,
    round: &Round,
) -> Vec<Finding> {
    let about = format!("dns {}", case.host);
    let found = match found {
        Ok(found) => found,
        Err(unanswered) => {
            let todo = "look again later; if it stays so, the zone's servers or this node's resolver ([dns] resolvers) are at fault";
            return vec![Finding::warning(about, unanswered, todo)];
        }
    };
    if round.addresses.is_empty() {
        let says = "no node of the region says where it serves visitors";
        let todo = "set [listen] public_https on the nodes";
        return vec![Finding::warning(about, says, todo)];
    }
    if found.is_empty() {
        let says = "has no address in DNS";
        return vec![Finding::fault(about, says, advice(case, round))];
    }
    let ours = &round.addresses;
    let (here, elsewhere): (Vec<&IpAddr>, Vec<&IpAddr>) =
        found.iter().partition(|address| ours.contains(address));
    let mut findings = Vec::new();
    if elsewhere.is_empty() {
        findings.push(Finding::ok(
            about.as_str(),
            format!("leads to {}", join(&here)),
        ));
    } else if here.is_empty() {
        let says = format!(
            "leads to {}, which is no node of the region",
            join(&elsewhere)
        );
        findings.push(Finding::fault(about.as_str(), says, advice(case, round)));
    } else {
        let says = format!(
            "leads to {}, but also to {}, which is no node of the region",
            join(&here),
            join(&elsewhere)
        );
        let todo = "remove the record, or an authority that asks there gives no certificate";
        findings.push(Finding::warning(about.as_str(), says, todo));
    }
    if found.iter().any(IpAddr::is_ipv6) && !round.has_ipv6 {
        let says = "has AAAA records, but nodes of fewer than two providers have IPv6";
        let todo = "remove them: authorities and browsers prefer IPv6, so that one node would be all there is";
        findings.push(Finding::warning(about, says, todo));
    }
    findings
}

fn advice(case: &Case, round: &Round) -> String {
    let addresses: Vec<&IpAddr> = round.addresses.iter().collect();
    match &case.target {
        Some(target) if !case.is_own => {
            format!(
                "make it a CNAME of {target}., or give it the addresses {}",
                join(&addresses)
            )
        }
        _ => format!(
            "give it, or all of its zone, the addresses {}",
            join(&addresses)
        ),
    }
}

fn join(addresses: &[&IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    #[rustfmt::skip]
    fn addresses_are_compared_with_those_of_the_region() {
        let case = |is_own| Case {
            host: "www.example.org".parse().unwrap(),
            is_own,
            target: Some("garden.sites.example".to_owned()),
        };
        let round = |ours: &[&str], has_ipv6| Round {
            addresses: addresses(ours).into_iter().collect(),
            has_ipv6,
            authority: None,
        };
        let ours = &["192.0.2.1", "192.0.2.2", "2001:db8::1"];
        let rows: &[(&[&str], Grade, &str)] = &[
            (&["192.0.2.1"], Grade::Ok, "leads to 192.0.2.1"),
            (&["192.0.2.2", "2001:db8::1"], Grade::Ok, "leads to 192.0.2.2, 2001:db8::1"),
            (&[], Grade::Fault, "has no address in DNS: make it a CNAME of garden.sites.example."),
            (&["192.0.2.9"], Grade::Fault, "leads to 192.0.2.9, which is no node"),
            (&["192.0.2.1", "192.0.2.9"], Grade::Warning, "but also to 192.0.2.9"),
        ];
        for (found, grade, expected) in rows {
            let findings = judge(&case(false), &Ok(addresses(found)), &round(ours, true));
            assert_eq!((findings.len(), findings[0].grade), (1, *grade), "{findings:?}");
            assert!(findings[0].to_string().contains(expected), "{findings:?}");
        }
        let six = Ok(addresses(&["2001:db8::1"]));
        let findings = judge(&case(false), &six, &round(ours, false));
        assert_eq!((findings.len(), findings[1].grade), (2, Grade::Warning));
        let own = judge(&case(true), &Ok(Vec::new()), &round(ours, true));
        assert!(own[0].to_string().contains("all of its zone"), "{own:?}");
        let nobody = judge(&case(true), &six, &round(&[], true));
        assert!(nobody[0].to_string().contains("[listen] public_https"), "{nobody:?}");
        let silent = Err(Unanswered { name: "www.example.org".to_owned(), why: "SERVFAIL".to_owned() });
        let silent = judge(&case(true), &silent, &round(ours, true));
        assert_eq!(silent[0].grade, Grade::Warning);
    }
}
