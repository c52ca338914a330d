//! The log of what was ordered, on disk: one file per directory, written durably before an order is
//! sent. A crash loses nothing; an order that was noted and not sent counts all the same.

use super::budget::{BYTES_MAX, Budget, BudgetError};
use super::directory::Directory;
use super::error::AcmeError;
use std::io;
use std::path::{Path, PathBuf};
use verge_sync::store::write_file_durably;

/// A budget and where it is kept.
#[derive(Debug)]
pub struct BudgetFile {
    path: PathBuf,
    /// What it says.
    pub budget: Budget,
}

impl BudgetFile {
    /// Opens the budget of `directory` in `folder`, which must be there.
    ///
    /// # Errors
    /// [`AcmeError::File`] says which file to move away if it is damaged.
    pub fn open(
        folder: &Path,
        directory: &Directory,
        issuer_count: u32,
    ) -> Result<Self, AcmeError> {
        let path = folder.join(format!("{}.budget", directory.digest()));
        let fail = |source| AcmeError::File {
            verb: "read",
            path: path.clone(),
            source,
        };
        let budget = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Budget::new(issuer_count),
            Err(error) => return Err(fail(error)),
            Ok(found) if found.len() > BYTES_MAX as u64 => return Err(fail(damaged(BudgetError))),
            Ok(_found) => {
                let bytes = std::fs::read(&path).map_err(fail)?;
                Budget::from_bytes(&bytes, issuer_count).map_err(|error| fail(damaged(error)))?
            }
        };
        Ok(Self { path, budget })
    }

    /// Durable when this returns. Takes as long as a disk: not for the runtime's thread.
    ///
    /// # Errors
    /// [`AcmeError::Store`].
    pub fn save(&self) -> Result<(), AcmeError> {
        Ok(write_file_durably(
            &self.path,
            &self.budget.to_bytes(),
            0o600,
        )?)
    }
}

fn damaged(error: BudgetError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::super::budget::Ask;
    use super::super::names::Names;
    use super::*;
    use verge_sync::clock::UnixTime;

    fn directory(url: &str) -> Directory {
        Directory::new(url, None).unwrap()
    }

    #[test]
    fn what_was_saved_is_there_again_and_of_its_directory_only() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (
            directory("https://a.example/"),
            directory("https://b.example/"),
        );
        let names = Names::new(["a.example"]).unwrap();
        let ask = Ask {
            names: &names,
            owner: "anna",
            replaces: None,
        };
        let mut file = BudgetFile::open(folder.path(), &one, 1).unwrap();
        file.budget.begin(&ask, UnixTime(0)).unwrap();
        file.save().unwrap();
        let again = BudgetFile::open(folder.path(), &one, 1).unwrap();
        assert_eq!(again.budget, file.budget);
        let of_other = BudgetFile::open(folder.path(), &other, 1).unwrap();
        assert_eq!(of_other.budget, Budget::new(1));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let one = directory("https://a.example/");
        let file = BudgetFile::open(folder.path(), &one, 1).unwrap();
        std::fs::write(&file.path, b"{").unwrap();
        let error = BudgetFile::open(folder.path(), &one, 1).unwrap_err();
        assert!(error.to_string().contains(".budget"), "{error}");
    }
}
