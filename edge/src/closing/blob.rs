//! The blob that a close names: the books of the month, without fees and with the names of the seals
//! (`docs/format.md#close`).

use super::body::{BOOKS_BYTES_MAX, CloseBody, SEALS_MAX};
use crate::attribution::statement::{Books, Files, InputsError, read_books, write_books};
use std::collections::BTreeSet;
use verge_sync::Digest;
use verge_sync::record::cbor::{self, FieldError, Fields, Map};

/// The files of the books, by their keys.
const FILES: [(u64, &str); 3] = [
    (1, "inputs/region.json"),
    (2, "inputs/policy.toml"),
    (3, "inputs/held.csv"),
];
const FORMAT: u64 = 1;

/// What a close names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BooksBlob {
    /// The inputs of the statement, but fees and seals.
    pub files: Files,
    /// Names of the seals that are in it.
    pub seals: BTreeSet<Digest>,
}

/// Why a blob is not what a close says.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// Not such a map.
    #[error("the books of the close are damaged")]
    Field(#[from] FieldError),
    /// Of another close.
    #[error("the books are not those of the close: their {0} is another")]
    Other(&'static str),
    /// Not books.
    #[error("the books of the close: {0}")]
    Inputs(#[from] InputsError),
}

impl BooksBlob {
    /// Of books that are complete but for the fees.
    #[must_use]
    pub fn of(books: &Books) -> Self {
        Self {
            files: write_books(books),
            seals: books.seals.iter().map(|sealed| sealed.digest).collect(),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut map = Map::new().uint(0, FORMAT);
        for (key, name) in FILES {
            let bytes = self.files.get(name).map(Vec::as_slice).unwrap_or_default();
            map = map.bytes(key, bytes);
        }
        map.bytes(4, &names(&self.seals)).finish()
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FieldError> {
        cbor::check(bytes).or(Err(FieldError::NotAMap))?;
        let fields = Fields::read(bytes)?;
        if fields.uint::<u64>(0)? != FORMAT {
            return Err(FieldError::Value(0));
        }
        let mut files = Files::new();
        for (key, name) in FILES {
            let bytes = fields.bytes_opt(key)?.ok_or(FieldError::Missing(key))?;
            files.insert(name.to_owned(), bytes.to_vec());
        }
        let names = fields.bytes_opt(4)?.ok_or(FieldError::Missing(4))?;
        let seals = read_names(names).ok_or(FieldError::Value(4))?;
        Ok(Self { files, seals })
    }

    /// The books, without fees and seals, if they are those of `close`.
    ///
    /// # Errors
    /// [`BlobError`] says what is another.
    pub fn books(&self, close: &CloseBody) -> Result<Books, BlobError> {
        let books = read_books(&self.files)?;
        if books.month != close.month || !books.is_closed {
            return Err(BlobError::Other("month"));
        }
        if digest_of(&self.seals) != close.seals {
            return Err(BlobError::Other("list of seals"));
        }
        if Digest::of(books.policy.as_bytes()) != close.policy {
            return Err(BlobError::Other("policy"));
        }
        Ok(books)
    }
}

/// One after the other, ascending.
fn names(seals: &BTreeSet<Digest>) -> Vec<u8> {
    seals.iter().flat_map(|digest| *digest.as_bytes()).collect()
}

fn read_names(bytes: &[u8]) -> Option<BTreeSet<Digest>> {
    let (chunks, rest) = bytes.as_chunks::<32>();
    let count_max = usize::try_from(SEALS_MAX).unwrap_or(usize::MAX);
    let is_list = rest.is_empty() && chunks.is_sorted_by(|one, other| one < other);
    (is_list && chunks.len() <= count_max)
        .then(|| chunks.iter().copied().map(Digest::from_bytes).collect())
}

/// The digest of a set of names or ids: over all of them, ascending.
#[must_use]
pub(super) fn digest_of(names_of: &BTreeSet<Digest>) -> Digest {
    Digest::of(&names(names_of))
}

/// The longest blob, for whoever reads one.
pub(super) const BYTES_MAX: u64 = BOOKS_BYTES_MAX;

/// Fuzz target: what is read is written as it was.
pub(crate) fn closed_books(bytes: &[u8]) {
    if let Ok(read) = BooksBlob::decode(bytes) {
        let written = read.encode();
        assert_eq!(BooksBlob::decode(&written).as_ref(), Ok(&read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::statement::sample::books;

    #[test]
    fn books_are_read_as_they_were_written() {
        let books = books();
        let blob = BooksBlob::of(&books);
        let read = BooksBlob::decode(&blob.encode()).unwrap();
        assert_eq!(read, blob);
        let close = CloseBody {
            month: books.month,
            policy: Digest::of(books.policy.as_bytes()),
            seals: digest_of(&blob.seals),
            ..super::super::body::tests::body()
        };
        let found = read.books(&close).unwrap();
        assert_eq!(found.owners, books.owners);
        assert_eq!(found.held, books.held);
        assert!(found.fees.0.is_empty() && found.seals.is_empty());
        type Change = fn(&mut CloseBody);
        let wrong: [(Change, &str); 3] = [
            (|close| close.month = "2026-12".parse().unwrap(), "month"),
            (|close| close.seals = Digest::of(b"others"), "list of seals"),
            (|close| close.policy = Digest::of(b"another"), "policy"),
        ];
        for (change, what) in wrong {
            let mut close = close.clone();
            change(&mut close);
            let said = read.books(&close).unwrap_err().to_string();
            assert!(said.contains(what), "{said}");
        }
    }

    #[test]
    fn names_are_ascending_and_none_is_there_twice() {
        let one = [1; 32];
        let two = [2; 32];
        for (bytes, is_list) in [
            (Vec::new(), true),
            (one.to_vec(), true),
            ([one, two].concat(), true),
            ([two, one].concat(), false),
            ([one, one].concat(), false),
            (vec![1; 33], false),
        ] {
            assert_eq!(read_names(&bytes).is_some(), is_list);
        }
    }
}
