//! The names of one certificate.

use crate::host::Host;
use std::fmt;
use verge_sync::Digest;

/// Names of one certificate; Let's Encrypt's profile `classic` allows as many.
pub const NAMES_MAX: usize = 100;
/// Separates this digest from those of other things.
const DIGEST_LABEL: &str = "verge acme names v1";

/// The names of one certificate, sorted, each once: DNS names of two labels or more in lower case,
/// the first label of each possibly `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names {
    sorted: Box<[Box<str>]>,
    digest: Digest,
}

/// Why names cannot stand in a certificate; the owner's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// There is none.
    #[error("a certificate needs a name")]
    None,
    /// There are too many.
    #[error("{0} names are too many for one certificate: at most {NAMES_MAX}")]
    TooMany(usize),
    /// One of them.
    #[error("{name}: no authority gives a certificate for this name: {why}")]
    Name {
        /// As it was given.
        name: String,
        /// The rule that it breaks.
        why: String,
    },
}

impl Names {
    /// Checks and sorts names.
    ///
    /// # Errors
    /// [`NamesError`] names the first rule that is broken.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NamesError> {
        let mut kept = Vec::new();
        for name in names {
            let checked = check(name).map_err(|why| NamesError::Name {
                // It may be anything: only its beginning is shown.
                name: name.chars().take(80).collect(),
                why,
            })?;
            if !kept.contains(&checked) {
                kept.push(checked);
            }
            if kept.len() > NAMES_MAX {
                return Err(NamesError::TooMany(kept.len()));
            }
        }
        if kept.is_empty() {
            return Err(NamesError::None);
        }
        kept.sort_unstable();
        let digest = Digest::derive(DIGEST_LABEL, &[kept.join("\n").as_bytes()]);
        Ok(Self {
            sorted: kept.into(),
            digest,
        })
    }

    /// The names, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.sorted.iter().map(AsRef::as_ref)
    }

    /// How many there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is empty")]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether one of them stands for all names below another: proved by dns-01 only.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.iter().any(|name| name.starts_with("*."))
    }

    /// Stands for the set, the same on every machine.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sorted.join(", "))
    }
}

fn check(name: &str) -> Result<Box<str>, String> {
    let base = name.strip_prefix("*.").unwrap_or(name);
    let host = Host::parse(base).map_err(|error| error.to_string())?;
    let plain = host.as_str();
    if !plain.eq_ignore_ascii_case(base.strip_suffix('.').unwrap_or(base)) {
        return Err("it has a port".to_owned());
    }
    if plain.contains(['_', '[']) {
        return Err("it is not a host name".to_owned());
    }
    match plain.rsplit_once('.') {
        None => Err("it has one label only".to_owned()),
        Some((_rest, last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err("it is an address".to_owned())
        }
        Some(_) if base.len() == name.len() => Ok(plain.into()),
        Some(_) => Ok(format!("*.{plain}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Result<String, NamesError> {
        Names::new(names.iter().copied()).map(|names| names.to_string())
    }

    #[test]
    fn names_are_sorted_in_one_form() {
        let rows: &[(&[&str], &str)] = &[
            (&["example.org"], "example.org"),
            (&["Example.ORG."], "example.org"),
            (
                &["b.example", "a.example", "B.example"],
                "a.example, b.example",
            ),
            (
                &["example.org", "*.example.org"],
                "*.example.org, example.org",
            ),
            (&["xn--bcher-kva.example"], "xn--bcher-kva.example"),
        ];
        for (given, expected) in rows {
            assert_eq!(names(given).unwrap(), *expected, "{given:?}");
        }
    }

    #[test]
    fn what_no_authority_certifies_is_refused() {
        let rows = [
            "",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "a_b.example",
            "*",
            "*.org",
            "*.*.example.org",
            "a.*.example",
            "example.org:443",
            "b\u{fc}cher.example",
            "a b.example",
            "..",
        ];
        for name in rows {
            assert!(
                matches!(names(&[name]), Err(NamesError::Name { .. })),
                "{name}"
            );
        }
        assert_eq!(names(&[]), Err(NamesError::None));
    }

    #[test]
    fn a_hundred_names_are_the_most() {
        let many: Vec<String> = (0..101).map(|n| format!("h{n}.example")).collect();
        let first = |count: usize| Names::new(many.iter().take(count).map(String::as_str));
        assert_eq!(first(100).unwrap().len(), 100);
        assert_eq!(first(101), Err(NamesError::TooMany(101)));
    }

    #[test]
    fn the_digest_is_that_of_the_set() {
        let digest = |given: &[&str]| Names::new(given.iter().copied()).unwrap().digest();
        assert_eq!(
            digest(&["a.example", "b.example"]),
            digest(&["B.example", "a.example"])
        );
        assert_ne!(digest(&["a.example"]), digest(&["a.example", "b.example"]));
    }
}
