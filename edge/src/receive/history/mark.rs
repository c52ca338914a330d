//! What a repository was brought to: a small file in it, so that nothing is done twice.
//!
//! Written after the refs have moved. Without it, or with one that cannot be read, everything is
//! brought in again, which changes nothing.

use super::header::Named;
use crate::receive::refs::ObjectName;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use verge_sync::digest::Digest;
use verge_sync::store::{StoreError, write_file_durably};

const FILE_NAME: &str = "verge-history";
const FIRST_LINE: &str = "verge history 1";
/// Twice what a header may have.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Where a repository stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// What of the region's records it was brought to; none if not all of it was there.
    pub(crate) key: Option<Digest>,
    /// The bundles that are in.
    pub(crate) bundles: Vec<Digest>,
    /// The branch and the tags as they were set.
    pub(crate) refs: Vec<Named>,
    /// What became of each other tip.
    pub(crate) tips: Vec<Tip>,
}

/// Another tip, as a publisher finds it in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tip {
    /// Its commit is under `refs/verge/tips/`.
    Named(ObjectName),
    /// The head's history has all of its own, or it has none.
    InHead,
    /// Its bundles are not on this node, or not sound.
    Away,
}

impl Mark {
    /// The mark of a repository; none if it has none that can be read.
    pub(crate) fn read(repository: &Path) -> Option<Self> {
        let file = std::fs::File::open(repository.join(FILE_NAME)).ok()?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Self::parse(&text)
    }

    /// Puts the mark in the place of the one before.
    pub(crate) fn write(&self, repository: &Path) -> Result<(), StoreError> {
        write_file_durably(&repository.join(FILE_NAME), self.text().as_bytes(), 0o600)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        lines.next().filter(|line| *line == FIRST_LINE)?;
        let mut mark = Self::default();
        for line in lines {
            let (word, rest) = line.split_once(' ')?;
            match word {
                "key" => mark.key = Some(rest.parse().ok()?),
                "bundle" => mark.bundles.push(rest.parse().ok()?),
                "ref" => {
                    let (object, name) = rest.split_once(' ')?;
                    mark.refs.push(Named {
                        name: name.to_owned(),
                        object: ObjectName::parse(object)?,
                    });
                }
                "tip" if rest == "-" => mark.tips.push(Tip::InHead),
                "tip" if rest == "away" => mark.tips.push(Tip::Away),
                "tip" => mark.tips.push(Tip::Named(ObjectName::parse(rest)?)),
                "end" => return Some(mark),
                _ => return None,
            }
        }
        None
    }

    fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        let mut line = |word: &str, rest: &str| {
            let written = writeln!(text, "{word} {rest}");
            debug_assert!(written.is_ok(), "a String takes everything");
        };
        if let Some(key) = &self.key {
            line("key", &key.to_string());
        }
        for bundle in &self.bundles {
            line("bundle", &bundle.to_string());
        }
        for Named { name, object } in &self.refs {
            line("ref", &format!("{} {name}", object.as_str()));
        }
        for tip in &self.tips {
            let tip = match tip {
                Tip::Named(commit) => commit.as_str(),
                Tip::InHead => "-",
                Tip::Away => "away",
            };
            line("tip", tip);
        }
        line("end", "of the mark");
        text
    }
}

/// For the fuzz target: what is read is read again from what is written of it.
pub(super) fn check(text: &str) {
    if let Some(mark) = Mark::parse(text) {
        assert_eq!(Mark::parse(&mark.text()).as_ref(), Some(&mark));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_read_as_it_was_written_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()), None);
        let object = ObjectName::parse(&"1".repeat(40)).unwrap();
        let mark = Mark {
            key: Some(Digest::of(b"key")),
            bundles: vec![Digest::of(b"1"), Digest::of(b"2")],
            refs: vec![Named {
                name: "refs/heads/main".to_owned(),
                object: object.clone(),
            }],
            tips: vec![Tip::InHead, Tip::Away, Tip::Named(object)],
        };
        for mark in [mark.clone(), Mark::default()] {
            mark.write(dir.path()).unwrap();
            assert_eq!(Mark::read(dir.path()), Some(mark));
        }
        let text = mark.text();
        for len in 0..text.len() - "of the mark\n".len() {
            assert_eq!(Mark::parse(&text[..len]), None, "{len}");
        }
    }
}
