//! Records that are signed where no node is: what goes there and what comes back, each as one line,
//! and what it says in words.

pub(crate) mod fuzzing;
mod line;
mod own_key;
mod words;

pub use line::{LineError, SignedLine, ToSignLine, to_sign_in};
pub use own_key::{OwnKey, OwnKeyError};
pub use words::{draft_words, words};

use verge_sync::record::Record;

/// How what is published is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Signing {
    /// By the node that takes it, as actor for the account.
    #[default]
    Node,
    /// By a key of the account: what it has to sign comes back.
    Ask,
    /// That was done: this is what was signed.
    Signed(Box<Record>),
}
