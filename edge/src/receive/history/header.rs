//! What stands before a bundle's pack: a pure format, git's own (gitformat-bundle(5), version 2).
//!
//! Ours names one branch, and every tag of the site. A shallow history, whose oldest commits lack
//! their parents, names these as `refs/verge/shallow/COMMIT`: without that no git could take it.

use super::{HEADER_BYTES_MAX, HistoryError, TAGS_MAX};
use crate::receive::refs::ObjectName;
use std::fmt::Write as _;
use verge_sync::store::BlobFile;

/// The first line.
const SIGNATURE: &str = "# v2 git bundle\n";
const BRANCHES: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";
const SHALLOW: &str = "refs/verge/shallow/";
/// As long as a ref of a push may be.
const NAME_BYTES_MAX: usize = 255;
/// The first look at a bundle: nearly every header is shorter.
const FIRST_READ_BYTES: u64 = 16 << 10;

/// A ref and what it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    /// In full, such as `refs/tags/v1`.
    pub(crate) name: String,
    pub(crate) object: ObjectName,
}

/// A bundle's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// What whoever takes the bundle has already.
    pub(crate) prerequisites: Vec<ObjectName>,
    /// The published branch.
    pub(crate) branch: Named,
    /// By name.
    pub(crate) tags: Vec<Named>,
    /// Commits whose parents are nowhere.
    pub(crate) shallow: Vec<ObjectName>,
}

impl Header {
    /// The branch and the tags.
    pub(crate) fn refs(&self) -> impl Iterator<Item = &Named> {
        std::iter::once(&self.branch).chain(&self.tags)
    }

    /// The header, up to where the pack begins.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = SIGNATURE.to_owned();
        let mut line = |before: &str, object: &ObjectName, name: &str| {
            let written = writeln!(text, "{before}{}{name}", object.as_str());
            debug_assert!(written.is_ok(), "a String takes everything");
        };
        for object in &self.prerequisites {
            line("-", object, "");
        }
        for Named { name, object } in self.refs() {
            line("", object, &format!(" {name}"));
        }
        for object in &self.shallow {
            line("", object, &format!(" {SHALLOW}{}", object.as_str()));
        }
        text.push('\n');
        text.into_bytes()
    }

    /// The header of a bundle in the store; the pack behind it is not looked at.
    pub(crate) fn read(file: &BlobFile) -> Result<Self, HistoryError> {
        let mut bytes_max = FIRST_READ_BYTES;
        loop {
            let len = file.bytes().min(bytes_max);
            let bytes = file.read_at(0, usize::try_from(len).unwrap_or(0))?;
            match parse(&bytes) {
                Ok(header) => return Ok(header),
                Err(Malformed::Unfinished) if len == bytes_max && len < HEADER_BYTES_MAX => {
                    bytes_max = HEADER_BYTES_MAX;
                }
                Err(malformed) => {
                    return Err(HistoryError::wrong(file.digest(), malformed.words()));
                }
            }
        }
    }
}

/// Why bytes are not the beginning of a bundle of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The empty line has not come.
    Unfinished,
    NotABundle,
    BadLine,
    BadName,
    Branches,
    TooManyTags,
}

impl Malformed {
    fn words(self) -> &'static str {
        match self {
            Self::Unfinished => "a git bundle whose header has no end",
            Self::NotABundle => "no git bundle of version 2",
            Self::BadLine => "a git bundle with a line that is none",
            Self::BadName => "a git bundle with a ref that no site has",
            Self::Branches => "a git bundle without a branch, or with several",
            Self::TooManyTags => "a git bundle with more than 10,000 tags",
        }
    }
}

/// Reads the header that `bytes` begin with.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    let rest = bytes.strip_prefix(SIGNATURE.as_bytes());
    let mut rest = rest.ok_or(if SIGNATURE.as_bytes().starts_with(bytes) {
        Malformed::Unfinished
    } else {
        Malformed::NotABundle
    })?;
    let (mut prerequisites, mut shallow) = (Vec::new(), Vec::new());
    let (mut branches, mut tags) = (Vec::new(), Vec::new());
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = rest.split_at(end.ok_or(Malformed::Unfinished)?);
        rest = after.get(1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let line = std::str::from_utf8(line).or(Err(Malformed::BadLine))?;
        if let Some(line) = line.strip_prefix('-') {
            // Git's own has a comment behind it.
            let object = line.split(' ').next().and_then(ObjectName::parse);
            prerequisites.push(object.ok_or(Malformed::BadLine)?);
            continue;
        }
        let (object, name) = line.split_once(' ').ok_or(Malformed::BadLine)?;
        let object = ObjectName::parse(object).ok_or(Malformed::BadLine)?;
        if name.len() > NAME_BYTES_MAX || name.chars().any(|c| c.is_control() || c == ' ') {
            return Err(Malformed::BadName);
        }
        let (into, is_right) = if let Some(branch) = name.strip_prefix(BRANCHES) {
            (&mut branches, !branch.is_empty())
        } else if let Some(tag) = name.strip_prefix(TAGS) {
            (&mut tags, !tag.is_empty())
        } else if name.strip_prefix(SHALLOW) == Some(object.as_str()) {
            shallow.push(object);
            continue;
        } else {
            return Err(Malformed::BadName);
        };
        if !is_right {
            return Err(Malformed::BadName);
        }
        let name = name.to_owned();
        into.push(Named { name, object });
    }
    let [branch] = <[Named; 1]>::try_from(branches).or(Err(Malformed::Branches))?;
    if tags.len() > TAGS_MAX {
        return Err(Malformed::TooManyTags);
    }
    Ok(Header {
        prerequisites,
        branch,
        tags,
        shallow,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(digit: char) -> ObjectName {
        ObjectName::parse(&digit.to_string().repeat(40)).unwrap()
    }

    fn named(name: &str, digit: char) -> Named {
        Named {
            name: name.to_owned(),
            object: object(digit),
        }
    }

    fn header() -> Header {
        Header {
            prerequisites: vec![object('a')],
            branch: named("refs/heads/main", '1'),
            tags: vec![named("refs/tags/v1", '2'), named("refs/tags/v/2", '3')],
            shallow: vec![object('4')],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = header().to_bytes();
        bytes.extend_from_slice(b"PACK\n\n");
        assert_eq!(parse(&bytes), Ok(header()));
        let end = bytes.len() - 6;
        for len in 0..end {
            assert_eq!(parse(&bytes[..len]), Err(Malformed::Unfinished), "{len}");
        }
    }

    #[test]
    fn what_git_would_not_write_is_refused() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let long = format!("refs/tags/{}", "x".repeat(NAME_BYTES_MAX - 10));
        let rows = [
            (format!("{one} refs/heads/main\n"), None),
            (format!("-{two} a comment\n{one} refs/heads/main\n"), None),
            (format!("{one} refs/heads/main\n{two} {long}\n"), None),
            (
                format!("{one} refs/heads/main\n{two} {long}x\n"),
                Some(Malformed::BadName),
            ),
            (String::new(), Some(Malformed::Branches)),
            (
                format!("{one} refs/heads/a\n{one} refs/heads/b\n"),
                Some(Malformed::Branches),
            ),
            (format!("{one} refs/heads/\n"), Some(Malformed::BadName)),
            (format!("{one} refs/heads/a b\n"), Some(Malformed::BadName)),
            (format!("{one} HEAD\n"), Some(Malformed::BadName)),
            (
                format!("{one} refs/verge/tips/1\n"),
                Some(Malformed::BadName),
            ),
            (
                format!("{one} refs/verge/shallow/{two}\n"),
                Some(Malformed::BadName),
            ),
            ("main\n".to_owned(), Some(Malformed::BadLine)),
            ("-12\n".to_owned(), Some(Malformed::BadLine)),
            (format!("{one}\n"), Some(Malformed::BadLine)),
        ];
        for (lines, expected) in rows {
            let read = parse(format!("{SIGNATURE}{lines}\n").as_bytes());
            assert_eq!(read.err(), expected, "{lines}");
        }
        assert_eq!(parse(b"# v3 git bundle\n"), Err(Malformed::NotABundle));
        assert_eq!(parse(b"PACK"), Err(Malformed::NotABundle));
        assert_eq!(parse(b"# v2 git bundle\n\xff\n\n"), Err(Malformed::BadLine));
    }

    #[test]
    fn so_many_tags_and_no_more() {
        let with = |count: usize| Header {
            tags: (0..count)
                .map(|n| named(&format!("refs/tags/{n}"), '2'))
                .collect(),
            ..header()
        };
        assert!(parse(&with(TAGS_MAX).to_bytes()).is_ok());
        let more = parse(&with(TAGS_MAX + 1).to_bytes());
        assert_eq!(more, Err(Malformed::TooManyTags));
    }
}
