//! Certificates for the whole region: which are wanted, who holds their keys, and which is in use.
//!
//! An issuer orders a certificate, seals its key to the nodes that the site admits, and names the
//! bundle in a `certificate` record. Every node brings the bundle, judges it (author, chain, hosts,
//! key) and uses it; what does not hold takes the place of nothing. A start reads the local disk and
//! nothing else.

mod body;
mod bundle;
mod case;
mod chain;
mod cover;
mod desk;
mod issue;
mod keyring;
mod knock;
mod leftovers;
mod memory;
mod name_set;
mod notices;
mod order;
#[cfg(test)]
pub(crate) mod scene;
mod wanted;
mod write;

pub use body::{CertificateBody, Purpose};
pub use bundle::{Bundle, Context, OpenError, SealError};
pub use chain::{Authorities, ChainError, Leaf, RootsError, read_chain, read_leaf};
pub use cover::Cover;
pub use desk::{Desk, DeskError, Foundation, Handed, Plan, Row};
pub use issue::{Complaints, Issuing};
pub use keyring::{Held, Keyring, Review, SealedAccount};
pub use memory::Complaint;
pub use name_set::{NameSet, account_subject};
pub use notices::{may_import, named_bundles};
pub use order::Tools;
pub use wanted::{Wanted, is_public, recipients, wanted};
pub use write::{HandOutError, Origin, Scribe};

pub(crate) use body::certificate_records;
pub(crate) use bundle::bundles;
