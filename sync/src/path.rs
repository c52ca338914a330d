//! A path inside a site, checked once where it enters.

use std::fmt;

/// The longest path in bytes: what a URI of 8 KiB can name when every byte is percent-encoded.
pub const PATH_BYTES_MAX: usize = 2_730;
/// The longest segment in bytes: what file systems and archives can hold.
pub const SEGMENT_BYTES_MAX: usize = 255;

/// A relative path such as `docs/index.html`: UTF-8, segments joined by single slashes; no segment
/// is empty, `.` or `..`; no NUL, no control character, no backslash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SitePath(Box<str>);

/// Why a path cannot be part of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path has no segment at all.
    #[error("the path is empty")]
    Empty,
    /// Longer than [`PATH_BYTES_MAX`], or a segment longer than [`SEGMENT_BYTES_MAX`].
    #[error(
        "the path is longer than {PATH_BYTES_MAX} bytes or a part of it than {SEGMENT_BYTES_MAX}"
    )]
    TooLong,
    /// An empty segment, `.` or `..`.
    #[error("the path has a part that is empty, \".\" or \"..\"")]
    Segment,
    /// NUL, another control character, or a backslash.
    #[error("the path has a backslash or a control character")]
    Character,
}

impl SitePath {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`PathError`] names the first rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, PathError> {
        check(text)?;
        Ok(Self(text.into()))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The segments, in order; never empty.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

/// The rules of [`SitePath`] on borrowed text.
///
/// # Errors
/// As [`SitePath::new`].
pub fn check(text: &str) -> Result<(), PathError> {
    if text.is_empty() {
        return Err(PathError::Empty);
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err(PathError::Character);
    }
    for segment in text.split('/') {
        match segment {
            "" | "." | ".." => return Err(PathError::Segment),
            long if long.len() > SEGMENT_BYTES_MAX => return Err(PathError::TooLong),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for SitePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let long = "a".repeat(SEGMENT_BYTES_MAX + 1);
        let rows: &[(&str, Result<(), PathError>)] = &[
            ("index.html", Ok(())),
            ("a/b/c d/é.html", Ok(())),
            ("", Err(PathError::Empty)),
            ("/a", Err(PathError::Segment)),
            ("a/", Err(PathError::Segment)),
            ("a//b", Err(PathError::Segment)),
            ("a/./b", Err(PathError::Segment)),
            ("../a", Err(PathError::Segment)),
            ("a\\b", Err(PathError::Character)),
            ("a\0b", Err(PathError::Character)),
            ("a\u{85}b", Err(PathError::Character)),
            (&long, Err(PathError::TooLong)),
        ];
        for (text, expected) in rows {
            assert_eq!(check(text), *expected, "{text:?}");
        }
    }
}
