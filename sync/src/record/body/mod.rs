//! The typed bodies of the kinds that `sync` owns (`docs/format.md#bodies`).
//!
//! Decoding is total: whatever a map holds, the answer is a body or the first key that is wrong;
//! unknown keys are ignored. Encoding writes every key that has a value, in ascending order.

mod member;
mod publish;
mod region;

pub use member::{ADDRESSES_MAX, Node, Takedown, Tombstone, Vote, node_proof_message};
pub use publish::{
    ACTORS_MAX, Account, Actors, BRANCH_BYTES_MAX, Cause, Deploy, GitSource, KEYS_MAX,
    NAME_BYTES_MAX, Name, NameKind, Site, Takeout, UserKey,
};
pub use region::{Acme, HostProof, Limits, PROVIDERS_MAX, Provider, Region, Roles, Zones};

use super::cbor::{FieldError, Fields, Map};
use super::kinds::Kind;

/// The body of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A step of the region chain.
    Region(Box<Region>),
    /// A vote; what for, the subject says.
    Vote(Vote),
    /// A node.
    Node(Node),
    /// A member that leaves, with a reason for people.
    Leave(String),
    /// An account.
    Account(Account),
    /// A site.
    Site(Site),
    /// A claim of a name.
    Name(Name),
    /// A deploy.
    Deploy(Deploy),
    /// A takedown, or its lifting.
    Takedown(Takedown),
    /// The end of a site or an account.
    Tombstone(Tombstone),
    /// The body of a kind that `sync` does not know.
    Foreign,
}

impl Body {
    /// Decodes the canonical bytes of the body of a record of `kind`.
    ///
    /// # Errors
    /// [`FieldError`] names the first key that is wrong.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, FieldError> {
        let fields = Fields::read(bytes)?;
        Ok(match kind {
            Kind::REGION => Self::Region(Box::new(Region::decode(&fields)?)),
            Kind::VOTE => Self::Vote(Vote::decode(&fields)?),
            Kind::NODE => Self::Node(Node::decode(&fields)?),
            Kind::LEAVE => Self::Leave(reason(&fields, 0)?),
            Kind::ACCOUNT => Self::Account(Account::decode(&fields)?),
            Kind::SITE => Self::Site(Site::decode(&fields)?),
            Kind::NAME => Self::Name(Name::decode(&fields)?),
            Kind::DEPLOY => Self::Deploy(Deploy::decode(&fields)?),
            Kind::TAKEDOWN => Self::Takedown(Takedown::decode(&fields)?),
            Kind::TOMBSTONE => Self::Tombstone(Tombstone {
                reason: reason(&fields, 0)?,
            }),
            _ => Self::Foreign,
        })
    }

    /// The canonical bytes; an empty map for [`Body::Foreign`], which is not ours to write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Region(region) => region.encode(),
            Self::Vote(vote) => vote.encode(),
            Self::Foreign => Map::new(),
            Self::Node(node) => node.encode(),
            Self::Leave(reason) | Self::Tombstone(Tombstone { reason }) => {
                with_reason(Map::new(), 0, reason)
            }
            Self::Account(account) => account.encode(),
            Self::Site(site) => site.encode(),
            Self::Name(name) => name.encode(),
            Self::Deploy(deploy) => deploy.encode(),
            Self::Takedown(takedown) => takedown.encode(),
        }
        .finish()
    }
}

/// The longest text for people: a sentence or two.
pub const TEXT_BYTES_MAX: usize = 256;

fn reason(fields: &Fields<'_>, key: u64) -> Result<String, FieldError> {
    match fields.raw(key) {
        Some(_) => fields.text(key, TEXT_BYTES_MAX),
        None => Ok(String::new()),
    }
}

fn with_reason(map: Map, key: u64, reason: &str) -> Map {
    if reason.is_empty() {
        map
    } else {
        map.text(key, reason)
    }
}

/// The 32-byte ids of an array, as ids of a type.
fn ids<T>(
    fields: &Fields<'_>,
    key: u64,
    count_max: usize,
    make: fn([u8; 32]) -> T,
) -> Result<Vec<T>, FieldError> {
    let ids = fields.ids_opt(key, count_max)?.unwrap_or_default();
    Ok(ids.into_iter().map(make).collect())
}
