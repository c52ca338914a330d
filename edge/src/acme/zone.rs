//! Editing a DNS zone, as far as dns-01 needs it (RFC 8555 section 8.4).

use std::pin::Pin;

/// A change of a zone that is under way.
pub type Change<'a> = Pin<Box<dyn Future<Output = Result<(), ZoneError>> + Send + 'a>>;

/// A zone that we may change. Its driver holds the keys and knows the server.
pub trait Zone: Send + Sync {
    /// Adds the text `value` to those of `name` (such as `_acme-challenge.example.org`, without a
    /// dot at its end); other texts of the name stay, because a name and its wildcard are proved
    /// under the same one. Adding what is there already succeeds. When this returns, every
    /// authoritative server that a CA may ask answers with it.
    fn set_txt<'a>(&'a self, name: &'a str, value: &'a str) -> Change<'a>;
    /// Takes that one text away again; that it is not there is no error.
    fn remove_txt<'a>(&'a self, name: &'a str, value: &'a str) -> Change<'a>;
}

/// Why a zone was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// The server does not let us: the steward's to mend (key, policy, zone name).
    #[error("the DNS server refused to change {name}: {why}")]
    Refused {
        /// The name whose texts were to change.
        name: String,
        /// What it said.
        why: String,
    },
    /// The server did not answer, or not all servers took the change over: worth another try.
    #[error("the DNS server did not change {name}: {why}")]
    Unreachable {
        /// The name whose texts were to change.
        name: String,
        /// What happened.
        why: String,
    },
}
