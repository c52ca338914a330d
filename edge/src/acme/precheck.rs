//! What a CA will find in DNS, looked at before an attempt is spent: a failed validation counts
//! against the owner, and five of them lock a name for an hour.

use super::caa::{self, Asker, Forbidden};
use super::names::Names;
use crate::hosts::{Resolver, Unanswered};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What must be found.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The addresses of all nodes that may answer for the names. A CA picks any of a name's, IPv6
    /// first, so that each must be one of these. Not looked at for dns-01.
    pub addresses: &'a BTreeSet<IpAddr>,
    /// How the authority calls itself ([`Meta::caa_identities`](super::Meta::caa_identities)).
    pub identities: &'a [String],
    /// The URL of our account there.
    pub account_url: &'a str,
    /// How the names will be proved.
    pub method: Method,
}

/// How names are proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// http-01.
    Http01,
    /// dns-01.
    Dns01,
}

impl Method {
    /// As RFC 8657 calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// Why a CA would refuse: a sentence for the owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The name leads nowhere.
    #[error(
        "{name} has no address in DNS: give it the addresses of nodes of the region, and let `verge doctor` look again"
    )]
    NoAddress {
        /// The name.
        name: String,
    },
    /// The name leads somewhere else too.
    #[error(
        "{name} has the {kind} record {address}, which is no address of this region: remove it",
        kind = if address.is_ipv6() { "AAAA" } else { "A" }
    )]
    ForeignAddress {
        /// The name.
        name: String,
        /// The answer that is wrong.
        address: IpAddr,
    },
    /// The CAA records forbid it.
    #[error("the CAA records of {at} do not allow a certificate for {name}: {why}{}", advice(.line))]
    Caa {
        /// The name.
        name: String,
        /// Which name's records these are: it, or one above it.
        at: String,
        /// What they lack.
        why: Forbidden,
        /// What the owner should set.
        line: Option<String>,
    },
    /// Nothing can be said; a CA refuses too where DNS does not answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

impl Obstacle {
    /// Whether the owner has to change something; otherwise another look may find it gone.
    #[must_use]
    pub fn is_owners(&self) -> bool {
        !matches!(self, Self::Unanswered(_))
    }
}

fn advice(line: &Option<String>) -> String {
    line.as_ref()
        .map_or_else(String::new, |line| format!("; set: {line}"))
}

/// Looks for all names; everything that is in the way. Stops where DNS gives no answer.
pub async fn check(
    resolver: &dyn Resolver,
    names: &Names,
    expected: &Expected<'_>,
) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    for name in names.iter() {
        let looked = check_one(resolver, name, expected, &mut obstacles).await;
        if let Err(unanswered) = looked {
            obstacles.push(unanswered.into());
            break;
        }
    }
    obstacles
}

async fn check_one(
    resolver: &dyn Resolver,
    name: &str,
    expected: &Expected<'_>,
    obstacles: &mut Vec<Obstacle>,
) -> Result<(), Unanswered> {
    if expected.method == Method::Http01 {
        let found = resolver.addresses(name).await?;
        obstacles.extend(judge_addresses(name, &found, expected.addresses));
    }
    let asker = Asker {
        identities: expected.identities,
        account_url: expected.account_url,
        method: expected.method.as_str(),
        is_wildcard: name.starts_with("*."),
    };
    if let Some((at, why)) = forbidden(resolver, name, &asker).await? {
        obstacles.push(Obstacle::Caa {
            name: name.to_owned(),
            line: caa::line(name, &asker),
            at,
            why,
        });
    }
    Ok(())
}

fn judge_addresses(name: &str, found: &[IpAddr], ours: &BTreeSet<IpAddr>) -> Vec<Obstacle> {
    if found.is_empty() {
        let name = name.to_owned();
        return vec![Obstacle::NoAddress { name }];
    }
    let foreign: BTreeSet<&IpAddr> = found.iter().filter(|found| !ours.contains(found)).collect();
    let obstacle = |address: &IpAddr| Obstacle::ForeignAddress {
        name: name.to_owned(),
        address: *address,
    };
    foreign.into_iter().map(obstacle).collect()
}

/// RFC 8659 section 3: the records of the name, or of the first name above it that has any. An
/// alias is followed at each of them, but not upwards from its target.
async fn forbidden(
    resolver: &dyn Resolver,
    name: &str,
    asker: &Asker<'_>,
) -> Result<Option<(String, Forbidden)>, Unanswered> {
    let mut at = Some(name.strip_prefix("*.").unwrap_or(name));
    while let Some(current) = at {
        let records = resolver.caa(current).await?;
        if !records.is_empty() {
            let judged = caa::judge(&records, asker);
            return Ok(judged.err().map(|why| (current.to_owned(), why)));
        }
        at = current.split_once('.').map(|(_label, parent)| parent);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Caa;
    use crate::hosts::resolver::Answer;
    use std::collections::BTreeMap;

    /// DNS as a test writes it.
    #[derive(Default)]
    struct Says {
        addresses: BTreeMap<&'static str, Vec<IpAddr>>,
        caa: BTreeMap<&'static str, &'static str>,
        silent: Option<&'static str>,
    }

    impl Says {
        fn answer<'a, T: Send + 'a>(&self, name: &str, found: Vec<T>) -> Answer<'a, T> {
            let unanswered = Unanswered {
                name: name.to_owned(),
                why: "SERVFAIL".to_owned(),
            };
            let is_silent = self.silent == Some(name);
            let answer = if is_silent {
                Err(unanswered)
            } else {
                Ok(found)
            };
            Box::pin(std::future::ready(answer))
        }
    }

    impl Resolver for Says {
        fn aliases<'a>(&'a self, name: &'a str) -> Answer<'a> {
            self.answer(name, Vec::new())
        }

        fn texts<'a>(&'a self, name: &'a str) -> Answer<'a> {
            self.answer(name, Vec::new())
        }

        fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, IpAddr> {
            self.answer(name, self.addresses.get(name).cloned().unwrap_or_default())
        }

        fn caa<'a>(&'a self, name: &'a str) -> Answer<'a, Caa> {
            let one = |value: &&str| Caa {
                is_critical: false,
                tag: "issue".to_owned(),
                value: (*value).to_owned(),
            };
            self.answer(name, self.caa.get(name).map(one).into_iter().collect())
        }
    }

    async fn look(says: &Says, name: &str, method: Method) -> Vec<String> {
        let ours = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        let (ours, identities) = (BTreeSet::from(ours), ["ca.example".to_owned()]);
        let expected = Expected {
            addresses: &ours,
            identities: &identities,
            account_url: "https://ca.example/1",
            method,
        };
        let names = Names::new([name]).unwrap();
        let obstacles = check(says, &names, &expected).await;
        obstacles.iter().map(ToString::to_string).collect()
    }

    fn at(addresses: &[&str]) -> Says {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Says {
            addresses: BTreeMap::from([("a.b.example.org", addresses)]),
            ..Says::default()
        }
    }

    #[tokio::test]
    async fn every_address_must_be_ours() {
        let rows: &[(&[&str], &[&str])] = &[
            (&["192.0.2.1"], &[]),
            (&["192.0.2.1", "2001:db8::1"], &[]),
            (&[], &["a.b.example.org has no address in DNS"]),
            (
                &["192.0.2.1", "2001:db8::2"],
                &["the AAAA record 2001:db8::2"],
            ),
            (
                &["192.0.2.2", "192.0.2.3"],
                &["the A record 192.0.2.2", "the A record 192.0.2.3"],
            ),
        ];
        for (addresses, expected) in rows {
            let found = look(&at(addresses), "a.b.example.org", Method::Http01).await;
            assert_eq!(found.len(), expected.len(), "{found:?}");
            let pairs = found.iter().zip(*expected);
            pairs.for_each(|(found, expected)| assert!(found.contains(expected), "{found}"));
        }
        let nowhere = look(&at(&[]), "a.b.example.org", Method::Dns01).await;
        assert_eq!(nowhere, Vec::<String>::new());
    }

    type Records = &'static [(&'static str, &'static str)];

    #[tokio::test]
    async fn the_nearest_records_count() {
        let rows: &[(Records, Option<&str>)] = &[
            (&[], None),
            (
                &[("a.b.example.org", "ca.example"), ("example.org", ";")],
                None,
            ),
            (
                &[("a.b.example.org", ";"), ("example.org", "ca.example")],
                Some("a.b.example.org"),
            ),
            (&[("example.org", "ca.example")], None),
            (&[("example.org", "other.example")], Some("example.org")),
            (&[("org", ";")], Some("org")),
        ];
        for (records, forbids) in rows {
            let mut says = at(&["192.0.2.1"]);
            says.caa = records.iter().copied().collect();
            let found = look(&says, "a.b.example.org", Method::Http01).await;
            assert_eq!(found.len(), usize::from(forbids.is_some()), "{records:?}");
            if let (Some(at), Some(sentence)) = (forbids, found.first()) {
                assert!(
                    sentence.contains(&format!("records of {at} do not allow")),
                    "{sentence}"
                );
                assert!(
                    sentence.contains("set: a.b.example.org. CAA 0 issue"),
                    "{sentence}"
                );
            }
        }
    }

    #[tokio::test]
    async fn where_dns_is_silent_nothing_is_said() {
        for silent in ["a.b.example.org", "b.example.org", "org"] {
            let says = Says {
                silent: Some(silent),
                ..at(&["192.0.2.1"])
            };
            let found = look(&says, "a.b.example.org", Method::Http01).await;
            assert_eq!(
                found,
                [format!("DNS gave no answer about {silent}: SERVFAIL")]
            );
        }
    }
}
