//! A folder with a statement, worked out again from its `inputs/` and compared byte for byte.

use super::books::SealedDay;
use super::inputs::{InputsError, read_inputs};
use super::{Files, Statement, StatementError};
use verge_sync::Digest;

/// What of a folder is not what its inputs come to.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    /// The inputs cannot be read.
    #[error(transparent)]
    Inputs(#[from] InputsError),
    /// They are of no statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A file that is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// A file that does not belong there.
    #[error("{0} is not a file of this statement")]
    Unexpected(String),
    /// Another content.
    #[error("{file} differs at line {line}: {}", differs(found, expected))]
    Differs {
        /// Which file.
        file: String,
        /// From 1.
        line: usize,
        /// The line as it is.
        found: String,
        /// The line as it comes out.
        expected: String,
    },
}

fn differs(found: &str, expected: &str) -> String {
    format!("it says {found:?}, and comes to {expected:?}")
}

/// Compares a folder, without its seals, which were read one by one; gives the statement's digest.
///
/// # Errors
/// [`Difference`], the first in the order of the files' names.
pub fn verify(files: &Files, seals: Vec<SealedDay>) -> Result<Digest, Difference> {
    let books = read_inputs(files, seals)?;
    let statement = Statement::of(&books)?;
    match first_difference(files, &statement.files()) {
        Some(difference) => Err(difference),
        None => Ok(statement.digest()),
    }
}

/// Where two folders differ first, in the order of the files' names.
#[must_use]
pub fn first_difference(files: &Files, expected: &Files) -> Option<Difference> {
    for (name, bytes) in expected {
        match files.get(name) {
            None => return Some(Difference::Missing(name.clone())),
            Some(found) if found != bytes => return Some(difference(name, found, bytes)),
            Some(_same) => {}
        }
    }
    let unexpected = files.keys().find(|name| !expected.contains_key(*name))?;
    Some(Difference::Unexpected(unexpected.clone()))
}

/// Lines are cut here when they are shown.
const SHOWN_CHARS_MAX: usize = 120;

fn difference(name: &str, found: &[u8], expected: &[u8]) -> Difference {
    let [found, expected] = [found, expected].map(String::from_utf8_lossy);
    let equal = found
        .lines()
        .zip(expected.lines())
        .take_while(|(one, other)| one == other);
    let at = equal.count();
    let shown = |text: &str| -> String {
        let line = text.lines().nth(at).unwrap_or_default();
        line.chars().take(SHOWN_CHARS_MAX).collect()
    };
    Difference::Differs {
        file: name.to_owned(),
        line: at.saturating_add(1),
        found: shown(&found),
        expected: shown(&expected),
    }
}
