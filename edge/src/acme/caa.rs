//! Who may certify a name, by its CAA records (RFC 8659, RFC 8657): pure.

use crate::hosts::Caa;
use std::fmt;

/// Who asks whether they may.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// How the authority calls itself (`caaIdentities` of its directory). Where it does not say,
    /// nothing can be judged, and everything is allowed.
    pub identities: &'a [String],
    /// The URL of our account there.
    pub account_url: &'a str,
    /// How the name will be proved: `http-01` or `dns-01`.
    pub method: &'a str,
    /// Whether the certificate is for all names below.
    pub is_wildcard: bool,
}

/// Why the records do not allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// They name other authorities, or none.
    Authority,
    /// They name ours for another account.
    Account,
    /// They name ours for other ways of proof.
    Method,
    /// One that must be understood has this tag, which nobody knows.
    Unknown(String),
}

/// Whether the records that are relevant for a name (those of the first name, from it upwards, that
/// has any) allow the certificate.
///
/// # Errors
/// The reason that is closest to an allowance.
pub fn judge(records: &[Caa], asker: &Asker<'_>) -> Result<(), Forbidden> {
    if let Some(unknown) = records
        .iter()
        .find(|caa| caa.is_critical && !is_known(&caa.tag))
    {
        return Err(Forbidden::Unknown(unknown.tag.chars().take(40).collect()));
    }
    let of = |tag: &str| {
        records
            .iter()
            .filter(|caa| caa.tag == tag)
            .collect::<Vec<_>>()
    };
    let wild = of("issuewild");
    // RFC 8659 section 4.3: with issuewild, issue says nothing about wildcards.
    let relevant = if asker.is_wildcard && !wild.is_empty() {
        wild
    } else {
        of("issue")
    };
    if relevant.is_empty() || asker.identities.is_empty() {
        return Ok(());
    }
    let mut closest = Forbidden::Authority;
    for caa in relevant {
        match judge_one(&caa.value, asker) {
            Ok(()) => return Ok(()),
            Err(Forbidden::Authority) => {}
            Err(closer) => closest = closer,
        }
    }
    Err(closest)
}

fn is_known(tag: &str) -> bool {
    // Those about mail and contacts (RFC 9495, CA/Browser Forum) do not concern us, but are known.
    let tags = [
        "issue",
        "issuewild",
        "iodef",
        "issuemail",
        "issuevmc",
        "contactemail",
        "contactphone",
    ];
    tags.contains(&tag)
}

/// RFC 8659 section 4.2: `issuer [; tag=value]*`; RFC 8657 sections 3 and 4.
fn judge_one(value: &str, asker: &Asker<'_>) -> Result<(), Forbidden> {
    let mut parts = value.split(';').map(str::trim);
    let issuer = parts.next().unwrap_or_default();
    let is_ours = |identity: &String| issuer.eq_ignore_ascii_case(identity);
    if issuer.is_empty() || !asker.identities.iter().any(is_ours) {
        return Err(Forbidden::Authority);
    }
    let (mut accounts, mut methods) = (Vec::new(), Vec::new());
    for part in parts.filter(|part| !part.is_empty()) {
        let Some((tag, value)) = part.split_once('=') else {
            return Err(Forbidden::Authority);
        };
        match tag.trim().to_ascii_lowercase().as_str() {
            "accounturi" => accounts.push(value.trim()),
            "validationmethods" => methods.push(value.trim()),
            _ => {}
        }
    }
    if !accounts.is_empty() && accounts != [asker.account_url] {
        return Err(Forbidden::Account);
    }
    let has_method = |methods: &str| methods.split(',').any(|one| one.trim() == asker.method);
    match methods.as_slice() {
        [] => Ok(()),
        [one] if has_method(one) => Ok(()),
        _ => Err(Forbidden::Method),
    }
}

/// The line that the owner of `name` should set, for the zone file or the form of a DNS host.
#[must_use]
pub fn line(name: &str, asker: &Asker<'_>) -> Option<String> {
    let identity = asker.identities.first()?;
    let tag = if asker.is_wildcard {
        "issuewild"
    } else {
        "issue"
    };
    let name = name.strip_prefix("*.").unwrap_or(name);
    let Asker {
        account_url,
        method,
        ..
    } = asker;
    Some(format!(
        "{name}. CAA 0 {tag} \"{identity}; accounturi={account_url}; validationmethods={method}\""
    ))
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority => f.write_str("they do not name our certificate authority"),
            Self::Account => f.write_str("they name another account at our authority"),
            Self::Method => f.write_str("they do not allow our way of proof"),
            Self::Unknown(tag) => write!(f, "one with the unknown tag {tag:?} is marked critical"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caa(text: &str) -> Caa {
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        Caa {
            is_critical: next() == "128",
            tag: next(),
            value: next(),
        }
    }

    /// Records, divided by ` | `; what they say to http-01 for a name, and for a wildcard: yes, or
    /// what is wrong.
    const ROWS: &[(&str, &str, &str)] = &[
        ("", "yes", "yes"),
        ("0 issue ca.example", "yes", "yes"),
        ("0 issue CA.example", "yes", "yes"),
        ("0 issue  ca.example ; ", "yes", "yes"),
        ("0 issue alias.example", "yes", "yes"),
        ("0 issue other.example", "authority", "authority"),
        ("0 issue ;", "authority", "authority"),
        ("0 issue ", "authority", "authority"),
        ("0 issue other.example | 0 issue ca.example", "yes", "yes"),
        ("0 iodef mailto:a@b.example", "yes", "yes"),
        ("0 issuewild ;", "yes", "authority"),
        ("0 issue ca.example | 0 issuewild ;", "yes", "authority"),
        ("0 issue ; | 0 issuewild ca.example", "authority", "yes"),
        (
            "0 issue ca.example; accounturi=https://ca.example/1",
            "yes",
            "yes",
        ),
        (
            "0 issue ca.example; AccountURI = https://ca.example/1",
            "yes",
            "yes",
        ),
        (
            "0 issue ca.example; accounturi=https://ca.example/2",
            "account",
            "account",
        ),
        (
            "0 issue ca.example; accounturi=https://ca.example/1; accounturi=x",
            "account",
            "account",
        ),
        (
            "0 issue ca.example; validationmethods=dns-01,http-01",
            "yes",
            "yes",
        ),
        (
            "0 issue ca.example; validationmethods=dns-01",
            "method",
            "method",
        ),
        ("0 issue ca.example; validationmethods=", "method", "method"),
        (
            "0 issue ca.example; validationmethods=http-01; validationmethods=dns-01",
            "method",
            "method",
        ),
        ("0 issue ca.example; unknown=1", "yes", "yes"),
        ("0 issue ca.example; nonsense", "authority", "authority"),
        ("128 tbs x", "unknown", "unknown"),
        ("128 tbs x | 0 issue ca.example", "unknown", "unknown"),
        ("128 issue ca.example", "yes", "yes"),
        ("0 tbs x", "yes", "yes"),
    ];

    fn said(records: &[Caa], asker: &Asker<'_>) -> &'static str {
        match judge(records, asker) {
            Ok(()) => "yes",
            Err(Forbidden::Authority) => "authority",
            Err(Forbidden::Account) => "account",
            Err(Forbidden::Method) => "method",
            Err(Forbidden::Unknown(_tag)) => "unknown",
        }
    }

    #[test]
    fn records_allow_or_forbid() {
        let identities = ["ca.example".to_owned(), "alias.example".to_owned()];
        for (text, to_name, to_wildcard) in ROWS {
            let lines = text.split(" | ").filter(|line| !line.is_empty());
            let records: Vec<Caa> = lines.map(caa).collect();
            let name = Asker {
                identities: &identities,
                account_url: "https://ca.example/1",
                method: "http-01",
                is_wildcard: false,
            };
            let wildcard = Asker {
                is_wildcard: true,
                ..name
            };
            assert_eq!(said(&records, &name), *to_name, "{text}");
            assert_eq!(said(&records, &wildcard), *to_wildcard, "{text}");
            // An authority that does not say how it calls itself: nothing can be judged.
            let mute = Asker {
                identities: &[],
                ..name
            };
            assert!(
                ["yes", "unknown"].contains(&said(&records, &mute)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_line_that_is_advised_allows_exactly_us() {
        let identities = ["ca.example".to_owned()];
        for is_wildcard in [false, true] {
            let asker = Asker {
                identities: &identities,
                account_url: "https://ca.example/1",
                method: "dns-01",
                is_wildcard,
            };
            let line = line("*.example.org", &asker).unwrap();
            let (start, rest) = line.split_once(" CAA 0 ").unwrap();
            assert_eq!(start, "example.org.");
            let (tag, value) = rest.split_once(' ').unwrap();
            let record = caa(&format!("0 {tag} {}", value.trim_matches('"')));
            assert_eq!(judge(std::slice::from_ref(&record), &asker), Ok(()));
            let other = Asker {
                method: "http-01",
                ..asker
            };
            assert_eq!(
                judge(std::slice::from_ref(&record), &other),
                Err(Forbidden::Method)
            );
            let other = Asker {
                account_url: "https://ca.example/2",
                ..asker
            };
            assert_eq!(judge(&[record], &other), Err(Forbidden::Account));
        }
    }
}
