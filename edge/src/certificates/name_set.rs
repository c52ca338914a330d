//! The hosts of one certificate.

use verge_sync::Digest;

/// Hosts of one certificate: a site's hosts are certified one by one, so that one that fails keeps
/// no other from working.
pub(super) const NAMES_MAX: usize = 4;
/// A record has 2 KiB.
pub(super) const DIRECTORY_BYTES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 255;
const LABEL: &str = "verge 1 host set";
const ACCOUNT_LABEL: &str = "verge 1 acme account";

/// One to four hosts, ascending, each once; `*.` in front stands for one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameSet(Vec<String>);

impl NameSet {
    /// Sorts them; none where there is none, too many, or one that is too long.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut names: Vec<String> = names.into_iter().take(NAMES_MAX + 1).collect();
        names.sort_unstable();
        names.dedup();
        let is_name = |name: &String| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
        let fits = (1..=NAMES_MAX).contains(&names.len()) && names.iter().all(is_name);
        fits.then_some(Self(names))
    }

    /// One host alone.
    #[must_use]
    pub fn one(name: &str) -> Option<Self> {
        Self::new([name.to_owned()])
    }

    /// The hosts.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// What a `certificate` record of them is about. Another directory makes it another subject, so
    /// that a trial run never takes the place of what visitors need.
    #[must_use]
    pub fn subject(&self, directory: &str) -> Digest {
        let names = self.0.iter().flat_map(|name| [name.as_bytes(), b"\n"]);
        let parts: Vec<&[u8]> = [directory.as_bytes(), b"\n"]
            .into_iter()
            .chain(names)
            .collect();
        Digest::derive(LABEL, &parts)
    }
}

/// What the record of an ACME account's key is about.
#[must_use]
pub fn account_subject(directory: &str) -> Digest {
    Digest::derive(ACCOUNT_LABEL, &[directory.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Option<NameSet> {
        NameSet::new(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let one = set(&["b.example", "a.example", "b.example"]).unwrap();
        let other = set(&["a.example", "b.example"]).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.subject("d"), other.subject("d"));
        assert_ne!(one.subject("d"), one.subject("e"));
        assert_ne!(one.subject("d"), set(&["a.example"]).unwrap().subject("d"));
        assert_ne!(one.subject("d"), account_subject("d"));
    }

    #[test]
    fn a_set_has_one_to_four_names() {
        assert_eq!(set(&[]), None);
        assert_eq!(set(&[""]), None);
        assert_eq!(set(&[&"a".repeat(256)]), None);
        assert!(set(&["a", "b", "c", "d"]).is_some());
        assert_eq!(set(&["a", "b", "c", "d", "e"]), None);
    }
}
