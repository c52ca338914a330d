//! The names of things: 32 bytes each, and never one for another.

use crate::digest::{Digest, ParseDigestError};
use std::fmt;
use std::str::FromStr;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Digest);

        impl $name {
            /// Takes 32 bytes that already are one.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(Digest::from_bytes(bytes))
            }

            /// Takes a digest that already is one.
            #[must_use]
            pub const fn from_digest(digest: Digest) -> Self {
                Self(digest)
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            /// The same 32 bytes as a digest.
            #[must_use]
            pub const fn digest(&self) -> Digest {
                self.0
            }

            /// The first ten hexadecimal digits, for people to read.
            #[must_use]
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(10);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

ids! {
    /// A region: the [`RecordId`] of its step 0.
    RegionId;
    /// A provider: its Ed25519 public key.
    ProviderId;
    /// A node: its transport public key (Ed25519).
    NodeId;
    /// An account of a region.
    AccountId;
    /// What a publisher publishes; survives changes of name and node.
    SiteId;
    /// A record: the digest of its canonical bytes without signatures.
    RecordId;
    /// What was published: the digest of a whole manifest.
    Version;
    /// The digest of a manifest's content part: the same on every machine.
    ContentDigest;
}

impl AccountId {
    /// The account at `subject` of `region` (`docs/format.md`, identity).
    #[must_use]
    pub fn derive(region: &RegionId, subject: &[u8]) -> Self {
        Self::from_digest(Digest::derive(
            "verge 1 account",
            &[region.as_bytes(), subject],
        ))
    }
}

impl SiteId {
    /// The site at `subject` of `region` (`docs/format.md`, identity).
    #[must_use]
    pub fn derive(region: &RegionId, subject: &[u8]) -> Self {
        Self::from_digest(Digest::derive(
            "verge 1 site",
            &[region.as_bytes(), subject],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_sites_of_one_subject_differ() {
        let region = RegionId::from_bytes([7; 32]);
        assert_ne!(
            AccountId::derive(&region, b"x").as_bytes(),
            SiteId::derive(&region, b"x").as_bytes()
        );
    }
}
