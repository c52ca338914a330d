//! Whether the CAA records of a domain name the region's account, so that nobody else gets a
//! certificate for it.

use super::Finding;
use crate::acme::caa::{self, Asker};
use crate::acme::precheck::Method;
use crate::hosts::{Caa, Resolver, Unanswered};

/// Who certifies for the region.
#[derive(Debug)]
pub(super) struct Authority {
    /// How it calls itself.
    pub(super) identities: Vec<String>,
    /// The URL of the region's account there.
    pub(super) account: String,
}

/// Looks for the records of a host outside of the site zone.
pub(super) async fn look(resolver: &dyn Resolver, host: &str, authority: &Authority) -> Finding {
    let about = format!("caa {host}");
    let asker = Asker {
        identities: &authority.identities,
        account_url: &authority.account,
        // How hosts outside of the region's zone are proved.
        method: Method::Http01.as_str(),
        is_wildcard: false,
    };
    match relevant(resolver, host).await {
        Ok(records) => {
            let line = caa::line(host, &asker);
            let todo = line.map_or_else(String::new, |line| format!("set: {line}"));
            judge_records(about, &records, &asker, todo)
        }
        Err(unanswered) => {
            let todo = "look again later: an authority that gets no answer gives no certificate";
            Finding::warning(about, unanswered, todo)
        }
    }
}

/// The records of the name, or of the first name above it that has any (RFC 8659 section 3).
async fn relevant(resolver: &dyn Resolver, host: &str) -> Result<Vec<Caa>, Unanswered> {
    let mut at = Some(host);
    while let Some(current) = at {
        let records = resolver.caa(current).await?;
        if !records.is_empty() {
            return Ok(records);
        }
        at = current.split_once('.').map(|(_label, parent)| parent);
    }
    Ok(Vec::new())
}

fn judge_records(about: String, records: &[Caa], asker: &Asker<'_>, todo: String) -> Finding {
    if let Err(why) = caa::judge(records, asker) {
        let says = format!("does not allow a certificate: {why}");
        return Finding::fault(about, says, todo);
    }
    let names_account = |record: &Caa| {
        let mut parts = record.value.split(';').skip(1).map(str::trim);
        parts.any(|part| part.strip_prefix("accounturi=") == Some(asker.account_url))
    };
    let issues = records.iter().filter(|record| record.tag == "issue");
    let (with, without): (Vec<&Caa>, Vec<&Caa>) = issues.partition(|record| names_account(record));
    if !with.is_empty() && without.is_empty() {
        return Finding::ok(about, "names the region's account and no other");
    }
    let says = "does not hold certificates to the region's account: whoever takes this name over can get one";
    Finding::warning(about, says, todo)
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn a_domain_turns_green_when_only_our_account_may() {
        let identities = ["ca.example".to_owned()];
        let asker = Asker {
            identities: &identities,
            account_url: "https://ca.example/1",
            method: "http-01",
            is_wildcard: false,
        };
        let ours = "ca.example; accounturi=https://ca.example/1; validationmethods=http-01";
        let rows: &[(&[&str], Grade)] = &[
            (&[], Grade::Warning),
            (&["ca.example"], Grade::Warning),
            (&[ours], Grade::Ok),
            (&["ca.example; accounturi=https://ca.example/1"], Grade::Ok),
            (&[ours, "other.example"], Grade::Warning),
            (&["other.example"], Grade::Fault),
            (&[";"], Grade::Fault),
            (
                &["ca.example; accounturi=https://ca.example/2"],
                Grade::Fault,
            ),
            (&["ca.example; validationmethods=dns-01"], Grade::Fault),
        ];
        for (values, expected) in rows {
            let records: Vec<Caa> = values
                .iter()
                .map(|value| Caa {
                    is_critical: false,
                    tag: "issue".to_owned(),
                    value: (*value).to_owned(),
                })
                .collect();
            let line = caa::line("www.example.org", &asker).unwrap();
            let finding = judge_records("caa".to_owned(), &records, &asker, line.clone());
            assert_eq!(finding.grade, *expected, "{values:?}");
            assert!(finding.grade == Grade::Ok || finding.to_string().ends_with(&line));
        }
    }
}
