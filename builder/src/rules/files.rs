//! The rule files as they were published, byte for byte, for whoever takes the site out again.

use crate::select::{HEADERS, REDIRECTS};
use crate::wire::{Reader, Writer};

/// 1 MiB, 16 times what is read of a rule file: a longer one is not kept, and its publisher told.
pub const RULE_FILE_BYTES_MAX: u64 = 1 << 20;

/// The rule files of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFiles {
    /// `_headers`, if the site has one.
    pub headers: Option<Vec<u8>>,
    /// `_redirects`, if the site has one.
    pub redirects: Option<Vec<u8>>,
}

impl RuleFiles {
    /// The content section's tag.
    pub const TAG: u32 = 4;

    /// Name and bytes of each, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let both = [(HEADERS, &self.headers), (REDIRECTS, &self.redirects)];
        both.into_iter()
            .filter_map(|(name, bytes)| Some((name, bytes.as_deref()?)))
    }

    /// The content section.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> = self.iter().collect();
        let mut out = Writer::new();
        out.list(&files, |out, (name, bytes)| {
            out.text(name);
            out.bytes(bytes);
        });
        out.into_bytes()
    }

    /// Reads the content section; `None` if the bytes are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let files = from.list(|from| Some((from.text()?, from.bytes()?.to_vec())))?;
        let is_sorted = files.is_sorted_by(|(one, _), (other, _)| one < other);
        let mut read = Self::default();
        for (name, bytes) in files {
            match name.as_str() {
                HEADERS => read.headers = Some(bytes),
                REDIRECTS => read.redirects = Some(bytes),
                _ => return None,
            }
        }
        (from.is_empty() && is_sorted).then_some(read)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.headers.is_none() && self.redirects.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_two_names_once_in_order_are_a_section() {
        let list = |names: &[&str]| {
            let mut out = Writer::new();
            out.list(names, |out, name| {
                out.text(name);
                out.bytes(b"\xff");
            });
            RuleFiles::decode(&out.into_bytes()).is_some()
        };
        let rows: &[(&[&str], bool)] = &[
            (&[], true),
            (&["_headers"], true),
            (&["_headers", "_redirects"], true),
            (&["_redirects", "_headers"], false),
            (&["_headers", "_headers"], false),
            (&["index.html"], false),
        ];
        for (names, expected) in rows {
            assert_eq!(list(names), *expected, "{names:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(headers: Option<Vec<u8>>, redirects: Option<Vec<u8>>) {
            let files = RuleFiles { headers, redirects };
            prop_assert_eq!(RuleFiles::decode(&files.encode()), Some(files));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Some(files) = RuleFiles::decode(&bytes) {
                prop_assert_eq!(files.encode(), bytes);
            }
        }
    }
}
