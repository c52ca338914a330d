//! The file of fees that a steward hands over, and the copy of it that the node keeps.
//!
//! The copies lie in `fees/` of the data directory, one for each month, for the node's own user alone.
//! They are what the provider of the node knows anyway; no other node gets them.

use crate::accounting::calendar::Month;
use crate::attribution::fees::{Fee, Fees};
use crate::attribution::money::Cents;
use crate::attribution::statement::{Books, InputsError, read_fees};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use verge_sync::store::{StoreError, write_file_durably};

/// 100,000 rows of 200 bytes.
const BYTES_MAX: u64 = 20 << 20;
/// The folder of the copies in the data directory.
const FOLDER: &str = "fees";

/// Why there are no fees.
#[derive(Debug, thiserror::Error)]
pub enum FeesFileError {
    /// It cannot be read.
    #[error("read {}: {source}; the node itself has to be allowed to read it", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Too large.
    #[error("{} has more than {BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// A row of it.
    #[error("{}: {source}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Which, and what is wrong.
        source: InputsError,
    },
    /// The copy.
    #[error("keep a copy of the fees: {0}")]
    Keep(#[from] StoreError),
    /// Its folder.
    #[error("make {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The fees of a month: of the file that was named, or else of the copy, or else nothing for
/// everybody. The text comes back too, if there is one.
///
/// # Errors
/// [`FeesFileError`] names the row.
pub(super) fn read(
    data: &Path,
    books: &Books,
    file: Option<&Path>,
) -> Result<(Fees, Option<String>), FeesFileError> {
    let path = file.map_or_else(|| copy(data, books.month), Path::to_owned);
    let text = match read_text(&path) {
        Err(FeesFileError::Read { source, .. })
            if file.is_none() && source.kind() == io::ErrorKind::NotFound =>
        {
            return Ok((nothing(books), None));
        }
        text => text?,
    };
    let fees = read_fees(books, &text);
    let fees = fees.map_err(|source| FeesFileError::Row { path, source })?;
    Ok((fees, Some(text)))
}

/// Keeps a copy, for the statement after the close.
pub(super) fn keep(data: &Path, month: Month, text: &str) -> Result<(), FeesFileError> {
    let path = data.join(FOLDER);
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path);
    made.map_err(|source| FeesFileError::Folder { path, source })?;
    write_file_durably(&copy(data, month), text.as_bytes(), 0o600)?;
    Ok(())
}

fn copy(data: &Path, month: Month) -> PathBuf {
    data.join(FOLDER).join(format!("{month}.csv"))
}

/// Nobody pays; a salt guards no secret here, and all nodes have the same.
fn nothing(books: &Books) -> Fees {
    let none = Fee {
        cents: Cents(0),
        salt: [0; 16],
    };
    Fees(books.owners.keys().map(|owner| (*owner, none)).collect())
}

fn read_text(path: &Path) -> Result<String, FeesFileError> {
    let refused = |source| FeesFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(refused)?;
    let read = file
        .take(BYTES_MAX.saturating_add(1))
        .read_to_string(&mut text);
    let count = read.map_err(refused)?;
    if count as u64 > BYTES_MAX {
        return Err(FeesFileError::TooLarge(path.to_owned()));
    }
    Ok(text)
}
