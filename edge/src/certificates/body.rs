//! The body of a `certificate` record: which bundle is for which hosts (`docs/format.md#certificate`).

use super::bundle::BUNDLE_BYTES_MAX;
use super::name_set::{DIRECTORY_BYTES_MAX, NAMES_MAX, NameSet, account_subject};
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::record::cbor::{self, FieldError, Fields, Map};

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A certificate that was ordered at the directory.
    Ordered(NameSet),
    /// A certificate that its owner brought.
    Imported(NameSet),
    /// The key of the region's account at the directory, for its issuers.
    Account,
}

/// What a `certificate` record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateBody {
    /// What is in the bundle.
    pub purpose: Purpose,
    /// The URL of the ACME directory; empty for what an owner brought.
    pub directory: String,
    /// The bundle's blob.
    pub bundle: Digest,
    /// Its length.
    pub bundle_bytes: u64,
    /// When the certificate begins; 0 for an account.
    pub not_before: UnixTime,
    /// When it ends; 0 for an account.
    pub not_after: UnixTime,
}

impl Purpose {
    /// The hosts of a certificate.
    #[must_use]
    pub fn names(&self) -> Option<&NameSet> {
        match self {
            Self::Ordered(names) | Self::Imported(names) => Some(names),
            Self::Account => None,
        }
    }

    fn number(&self) -> u8 {
        match self {
            Self::Ordered(_) => 0,
            Self::Imported(_) => 1,
            Self::Account => 2,
        }
    }
}

impl CertificateBody {
    /// What the record is about.
    #[must_use]
    pub fn subject(&self) -> Digest {
        match self.purpose.names() {
            Some(names) => names.subject(&self.directory),
            None => account_subject(&self.directory),
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`FieldError`]: it is none, or contradicts itself.
    pub fn decode(body: &[u8]) -> Result<Self, FieldError> {
        cbor::check(body).or(Err(FieldError::NotAMap))?;
        let fields = Fields::read(body)?;
        let names = fields.texts(1, NAMES_MAX)?;
        let count = names.len();
        let set = NameSet::new(names.iter().cloned());
        let set = set.filter(|set| set.names() == names.as_slice());
        let purpose = match (fields.uint::<u8>(0)?, set) {
            (0, Some(set)) => Purpose::Ordered(set),
            (1, Some(set)) => Purpose::Imported(set),
            (2, None) if count == 0 => Purpose::Account,
            _ => return Err(FieldError::Value(0)),
        };
        let read = Self {
            directory: fields.text(2, DIRECTORY_BYTES_MAX)?,
            bundle: Digest::from_bytes(fields.fixed(3)?),
            bundle_bytes: fields.uint(4)?,
            not_before: UnixTime(fields.int(5)?),
            not_after: UnixTime(fields.int(6)?),
            purpose,
        };
        if !(1..=BUNDLE_BYTES_MAX).contains(&read.bundle_bytes) {
            return Err(FieldError::Value(4));
        }
        if read.not_after < read.not_before {
            return Err(FieldError::Value(6));
        }
        let is_brought = matches!(read.purpose, Purpose::Imported(_));
        (is_brought == read.directory.is_empty())
            .then_some(read)
            .ok_or(FieldError::Value(2))
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let names = self.purpose.names().map_or(&[][..], NameSet::names);
        Map::new()
            .uint(0, self.purpose.number())
            .texts(1, names)
            .text(2, &self.directory)
            .bytes(3, self.bundle.as_bytes())
            .uint(4, self.bundle_bytes)
            .int(5, self.not_before.0)
            .int(6, self.not_after.0)
            .finish()
    }
}

/// Fuzz target: what is read is written as it was, if nothing was added that this release does not
/// know.
pub(crate) fn certificate_records(bytes: &[u8]) {
    if let Ok(read) = CertificateBody::decode(bytes) {
        assert_eq!(CertificateBody::decode(&read.encode()).as_ref(), Ok(&read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(purpose: Purpose, directory: &str) -> CertificateBody {
        CertificateBody {
            purpose,
            directory: directory.to_owned(),
            bundle: Digest::of(b"bundle"),
            bundle_bytes: 7,
            not_before: UnixTime(10),
            not_after: UnixTime(20),
        }
    }

    #[test]
    fn bodies_are_read_as_they_were_written() {
        let set = || NameSet::one("a.example").unwrap();
        for good in [
            body(Purpose::Ordered(set()), "https://ca.example/dir"),
            body(Purpose::Imported(set()), ""),
            body(Purpose::Account, "https://ca.example/dir"),
        ] {
            assert_eq!(CertificateBody::decode(&good.encode()), Ok(good));
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let set = || NameSet::one("a.example").unwrap();
        let ordered = || body(Purpose::Ordered(set()), "d");
        let wrong = [
            (body(Purpose::Ordered(set()), ""), 2),
            (body(Purpose::Imported(set()), "d"), 2),
            (body(Purpose::Account, ""), 2),
            (
                CertificateBody {
                    bundle_bytes: 0,
                    ..ordered()
                },
                4,
            ),
            (
                CertificateBody {
                    bundle_bytes: BUNDLE_BYTES_MAX + 1,
                    ..ordered()
                },
                4,
            ),
            (
                CertificateBody {
                    not_after: UnixTime(9),
                    ..ordered()
                },
                6,
            ),
        ];
        for (body, key) in wrong {
            let read = CertificateBody::decode(&body.encode());
            assert_eq!(read, Err(FieldError::Value(key)));
        }
        let most = CertificateBody {
            bundle_bytes: BUNDLE_BYTES_MAX,
            ..ordered()
        };
        assert!(CertificateBody::decode(&most.encode()).is_ok());
    }
}
