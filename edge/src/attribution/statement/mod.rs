//! The statement of a month: from what a close lists to files that a payer can check.
//!
//! [`Books`] are the inputs, [`Statement::of`] works it out, [`Statement::files`] writes it, and
//! [`verify`] does all of it again from a folder's `inputs/` and compares every byte. It is a
//! function of the inputs alone: the same bytes on every node, in whatever order seals, nodes, sites
//! and owners come. What each file is stands in `docs/format.md#statement`.

mod bill;
mod books;
mod csv;
mod escape;
mod hledger;
mod inputs;
mod json;
mod picture;
#[cfg(test)]
pub(crate) mod sample;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod verify;

pub use books::{Books, NamedProvider, Owner, SealedDay, Site, StatementError};
pub(crate) use inputs::statement_inputs;
pub use inputs::{
    INPUTS_DIR, InputsError, read_books, read_fees, read_inputs, read_seal, seal_file, write_books,
};
pub use text::NAME as STATEMENT_NAME;
pub use verify::{Difference, first_difference, verify};

use super::Attribution;
use super::fees::FeeProof;
use super::policy::Policy;
use super::units::UnitsBySite;
use crate::accounting::calendar::Day;
use std::collections::BTreeMap;
use verge_sync::Digest;
use verge_sync::id::{AccountId, NodeId, ProviderId};

/// Files by their names, relative to the folder of the statement.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A month, worked out.
#[derive(Debug)]
pub struct Statement<'b> {
    books: &'b Books,
    policy: Policy,
    attribution: Attribution,
    /// Before the cap.
    served: UnitsBySite,
    /// Responses of all classes, by provider.
    requests: BTreeMap<ProviderId, u64>,
    /// What is in it, by node and day.
    seals: Vec<(NodeId, Day, Digest)>,
    /// What a reader should know, a sentence each.
    notes: Vec<String>,
    /// Seals that others name and that are not there.
    missing: Vec<String>,
    proofs: BTreeMap<AccountId, FeeProof>,
}

impl Statement<'_> {
    /// What became of the fees.
    #[must_use]
    pub fn attribution(&self) -> &Attribution {
        &self.attribution
    }

    /// What a reader should know, a sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Nodes and days whose seals others name and that are not there.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The digest that a close has of it: of `statement.txt`, which has the digests of all other
    /// files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let files = self.files();
        Digest::of(files.get(text::NAME).map(Vec::as_slice).unwrap_or_default())
    }

    /// All files, the inputs among them except the seals, which are copied as they are.
    #[must_use]
    pub fn files(&self) -> Files {
        let mut files = inputs::write(self.books, self.policy.currency);
        files.insert(csv::NAME.to_owned(), csv::write(self).into_bytes());
        files.insert(hledger::NAME.to_owned(), hledger::write(self).into_bytes());
        files.insert(json::NAME.to_owned(), json::write(self).into_bytes());
        files.insert(summary::NAME.to_owned(), summary::write(self).into_bytes());
        for owner in self.attribution.owners.keys() {
            let mut name = bill::name(self.books, owner);
            if files.contains_key(&name) {
                name = format!("bill-{owner}.html");
            }
            files.insert(name, bill::write(self, owner).into_bytes());
        }
        let text = text::write(self, &files);
        files.insert(text::NAME.to_owned(), text.into_bytes());
        files
    }

    fn provider_name(&self, id: &ProviderId) -> &str {
        let named = self.books.providers.get(id);
        named.map_or("", |named| named.name.as_str())
    }

    fn owner_name(&self, id: &AccountId) -> &str {
        let owner = self.books.owners.get(id);
        owner.map_or("", |owner| owner.name.as_str())
    }
}
