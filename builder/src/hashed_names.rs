//! Which file names carry a hash of their own content, checked, so that they may be cached for
//! good (`docs/format-builder.md#hashed-names`).
//!
//! A token of a name counts if it is a run of at least eight hexadecimal digits, not part of a
//! longer word, that is a prefix of the SHA-256, SHA-384, SHA-512 or BLAKE3 value of the
//! bytes. Eight digits are 32 bits: a name cannot match by accident, and a publisher who made one
//! match on purpose only fools visitors of that site. Names with hashes that no content proves (those
//! of a bundler's module graph) are not immutable here: a wrong "immutable" cannot be taken back.

use crate::wire::{Reader, Writer};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::collections::BTreeSet;

/// Fewer digits prove too little.
const DIGITS_MIN: usize = 8;

/// Hashes of one file's content by which its name may be proven.
pub(crate) struct Proof {
    tokens: Vec<String>,
    sha256: Sha256,
    sha384: Sha384,
    sha512: Sha512,
    blake3: blake3::Hasher,
}

impl Proof {
    /// Starts if `file_name` has a token at all; most names have none and cost nothing.
    pub(crate) fn start(file_name: &str) -> Option<Self> {
        let tokens = tokens(file_name);
        (!tokens.is_empty()).then(|| Self {
            tokens,
            sha256: Sha256::new(),
            sha384: Sha384::new(),
            sha512: Sha512::new(),
            blake3: blake3::Hasher::new(),
        })
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.sha384.update(bytes);
        self.sha512.update(bytes);
        self.blake3.update(bytes);
    }

    /// Whether the name carries a hash of everything that was added.
    pub(crate) fn holds(self) -> bool {
        let hashes = [
            hex(&self.sha256.finalize()),
            hex(&self.sha384.finalize()),
            hex(&self.sha512.finalize()),
            hex(self.blake3.finalize().as_bytes()),
        ];
        let proves = |token: &String| hashes.iter().any(|hash| hash.starts_with(token.as_str()));
        self.tokens.iter().any(proves)
    }
}

/// Runs of letters and digits that are wholly hexadecimal and long enough, in lower case.
fn tokens(file_name: &str) -> Vec<String> {
    file_name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() >= DIGITS_MIN && word.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_ascii_lowercase)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Positions, in a manifest's table of paths, of the files whose names were proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HashedNames(BTreeSet<u32>);

impl HashedNames {
    /// The content section's tag.
    pub const TAG: u32 = 3;

    /// Takes the positions.
    pub fn new(positions: impl IntoIterator<Item = u32>) -> Self {
        Self(positions.into_iter().collect())
    }

    /// Whether the file at `position` in [`verge_sync::manifest::Manifest::paths`] may be cached
    /// for good.
    #[must_use]
    pub fn contains(&self, position: u32) -> bool {
        self.0.contains(&position)
    }

    /// Whether a name could be proven at all: most have no run of digits that is long enough.
    #[must_use]
    pub fn may_hold(name: &str) -> bool {
        !tokens(name).is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The content section.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let positions: Vec<u32> = self.0.iter().copied().collect();
        let mut out = Writer::new();
        out.list(&positions, |out, position| out.u32(*position));
        out.into_bytes()
    }

    /// Reads the content section; `None` if the bytes are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let positions = from.list(Reader::u32)?;
        let ascends = positions.windows(2).all(|pair| pair.first() < pair.last());
        (ascends && from.is_empty()).then(|| Self::new(positions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_proven(name: &str, content: &[u8]) -> bool {
        Proof::start(name).is_some_and(|mut proof| {
            proof.update(content);
            proof.holds()
        })
    }

    #[test]
    fn names_are_proven_by_their_content() {
        let content = b"body { color: green }\n";
        let sha256 = hex(&Sha256::digest(content));
        let blake3 = blake3::hash(content).to_hex().to_string();
        let sha512 = hex(&Sha512::digest(content));
        for name in [
            format!("app.{}.css", &sha256[..8]),
            format!("app-{}.css", &sha256[..16]),
            format!("{sha256}.css"),
            format!("app.min.{}.css", sha256[..12].to_uppercase()),
            format!("app_{}.css", &blake3[..10]),
            format!("app.{sha512}.css"),
        ] {
            assert!(is_proven(&name, content), "{name}");
            assert!(!is_proven(&name, b"other"), "{name}");
        }
        for name in [
            format!("app.{}.css", &sha256[..7]),
            format!("app.{}.css", &sha256[1..12]),
            format!("app{}.css", &sha256[..8]),
            format!("app.{}x.css", &sha256[..8]),
            "app.css".to_owned(),
            "20261122.html".to_owned(),
        ] {
            assert!(!is_proven(&name, content), "{name}");
        }
    }

    #[test]
    fn positions_are_read_back() {
        let names = HashedNames::new([3, 1, 70_000]);
        assert_eq!(HashedNames::decode(&names.encode()), Some(names.clone()));
        assert!(names.contains(3) && !names.contains(2));
        for bytes in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x05\0\0\0\x05\0\0\0"] {
            assert_eq!(HashedNames::decode(bytes), None);
        }
    }
}
