//! The two lines (`docs/format.md#lines`): a record that waits for its signature, and a signed one.

use super::words::draft_words;
use data_encoding::BASE32_NOPAD;
use std::fmt;
use std::str::FromStr;
use verge_sync::digest::Digest;
use verge_sync::record::{Draft, REGION_BYTES_MAX, Record, RecordError};

const TO_SIGN: &str = "VERGE-SIGN1";
const SIGNED: &str = "VERGE-RECORD1";
/// What was cut off or mistyped is noticed before anybody signs.
const CHECK_BYTES: usize = 4;
/// A step of 64 KiB, its check, and the white space that a mail program may have put in.
const LINE_BYTES_MAX: usize = 2 * (REGION_BYTES_MAX + CHECK_BYTES);

/// A record that waits for the signature of its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSignLine(pub Draft);

/// A signed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedLine(pub Record);

/// Text that is not the line that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Something else, or its beginning is missing.
    #[error("this is no such line: copy the one that begins with {expected}, to its end")]
    Other {
        /// What it begins with.
        expected: &'static str,
    },
    /// The other of the two.
    #[error(
        "this line waits for a signature: `verge provider sign`, or `verge account sign`, makes the one that is taken in"
    )]
    NotSigned,
    /// The other of the two.
    #[error("this line is signed already: `verge record add` on a node takes it in")]
    SignedAlready,
    /// The check does not fit.
    #[error("the line is cut off or changed: copy it to its end")]
    Damaged,
    /// Whole, and still no record that this release knows.
    #[error("what the line carries is not for this release: {0}")]
    Record(RecordError),
    /// A record whose body this release does not know: nobody can say what is signed.
    #[error("this release cannot say what the line asks to sign: use the release of the node")]
    Unreadable,
}

impl FromStr for ToSignLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let bytes = decode(text, TO_SIGN, (SIGNED, LineError::SignedAlready))?;
        let draft = Draft::from_bytes(&bytes).map_err(LineError::Record)?;
        if draft_words(&draft).is_some() && draft.to_bytes() == bytes {
            Ok(Self(draft))
        } else {
            Err(LineError::Unreadable)
        }
    }
}

impl FromStr for SignedLine {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let bytes = decode(text, SIGNED, (TO_SIGN, LineError::NotSigned))?;
        Record::parse(&bytes).map(Self).map_err(LineError::Record)
    }
}

impl fmt::Display for ToSignLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(TO_SIGN, &self.0.to_bytes(), f)
    }
}

impl fmt::Display for SignedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(SIGNED, self.0.bytes(), f)
    }
}

fn encode(prefix: &str, bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let check = Digest::of(bytes);
    let check = check.as_bytes().get(..CHECK_BYTES).unwrap_or_default();
    write!(
        f,
        "{prefix}{}",
        BASE32_NOPAD.encode(&[bytes, check].concat())
    )
}

/// Any bytes as what each of the lines carries, whole.
pub(super) fn in_letters(bytes: &[u8]) -> [String; 2] {
    struct Line<'a>(&'static str, &'a [u8]);
    impl fmt::Display for Line<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            encode(self.0, self.1, f)
        }
    }
    [TO_SIGN, SIGNED].map(|prefix| Line(prefix, bytes).to_string())
}

/// The line in what somebody printed that waits for a signature, if there is one.
#[must_use]
pub fn to_sign_in(text: &str) -> Option<&str> {
    let at = text.find(TO_SIGN)?;
    text.get(at..)?.split_whitespace().next()
}

fn decode(
    text: &str,
    expected: &'static str,
    (other, mistaken): (&str, LineError),
) -> Result<Vec<u8>, LineError> {
    if text.len() > LINE_BYTES_MAX {
        return Err(LineError::Other { expected });
    }
    // As tickets are: a line may have been broken by a mail program, or typed in small letters.
    let mut text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    text.make_ascii_uppercase();
    if text.starts_with(other) {
        return Err(mistaken);
    }
    let letters = text.strip_prefix(expected);
    let letters = letters.ok_or(LineError::Other { expected })?;
    let bytes = BASE32_NOPAD.decode(letters.as_bytes()).ok();
    let (bytes, check) = bytes
        .as_deref()
        .and_then(|bytes| bytes.split_last_chunk::<CHECK_BYTES>())
        .ok_or(LineError::Damaged)?;
    if Digest::of(bytes).as_bytes().starts_with(check) {
        Ok(bytes.to_vec())
    } else {
        Err(LineError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use verge_sync::keys::ProviderKey;
    use verge_sync::record::body::Body;
    use verge_sync::record::{Envelope, Kind, LogId, Subject};

    fn draft(kind: Kind, body: Vec<u8>) -> Draft {
        let key = ProviderKey::from_bytes(&[7; 32]);
        let id = Digest::from_bytes(*key.provider().as_bytes());
        Draft {
            envelope: Envelope {
                region: verge_sync::RegionId::from_bytes([1; 32]),
                kind,
                subject: Subject::Id(id).encode(),
                author: key.provider().into(),
                log: LogId([2; 8]),
                n: 1,
                epoch: 0,
                sequence: 1,
                predecessors: Vec::new(),
            },
            body,
        }
    }

    fn lines() -> (ToSignLine, SignedLine) {
        let leave = Body::Leave("moving away".to_owned()).encode();
        let draft = draft(Kind::LEAVE, leave);
        let key = ProviderKey::from_bytes(&[7; 32]);
        let record = draft.sign(key.signing_key()).unwrap();
        (ToSignLine(draft), SignedLine(record))
    }

    #[test]
    fn lines_are_read_back_as_people_pass_them_on() {
        let (to_sign, signed) = lines();
        let passed_on = |line: String| {
            let parts = line.to_lowercase();
            let parts = parts.as_bytes().chunks(72);
            let parts = parts.map(|part| String::from_utf8_lossy(part).into_owned());
            parts.collect::<Vec<_>>().join("\r\n ")
        };
        for line in [to_sign.to_string(), passed_on(to_sign.to_string())] {
            assert_eq!(line.parse(), Ok(to_sign.clone()));
            assert_eq!(line.parse::<SignedLine>(), Err(LineError::NotSigned));
        }
        for line in [signed.to_string(), passed_on(signed.to_string())] {
            assert_eq!(line.parse(), Ok(signed.clone()));
            assert_eq!(line.parse::<ToSignLine>(), Err(LineError::SignedAlready));
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let (to_sign, signed) = lines();
        for line in [to_sign.to_string(), signed.to_string()] {
            for length in 0..line.len() {
                let cut = &line[..length];
                assert!(cut.parse::<ToSignLine>().is_err(), "{length}");
                assert!(cut.parse::<SignedLine>().is_err(), "{length}");
            }
            for index in 0..line.len() {
                let mut changed = line.clone().into_bytes();
                changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert!(changed.parse::<ToSignLine>().is_err(), "{index}");
                assert!(changed.parse::<SignedLine>().is_err(), "{index}");
            }
        }
    }

    #[test]
    fn other_text_is_refused_with_its_reason() {
        fn check(text: &str, to_sign: LineError, signed: LineError) {
            assert_eq!(text.parse::<ToSignLine>(), Err(to_sign), "{text:.20}");
            assert_eq!(text.parse::<SignedLine>(), Err(signed), "{text:.20}");
        }
        let other = |expected| LineError::Other { expected };
        let neither = (other(TO_SIGN), other(SIGNED));
        for text in ["", "VERGE1AAAA", "hello", &"A".repeat(LINE_BYTES_MAX + 1)] {
            check(text, neither.0, neither.1);
        }
        check("VERGE-SIGN1", LineError::Damaged, LineError::NotSigned);
        check("VERGE-SIGN1!!", LineError::Damaged, LineError::NotSigned);
        check(
            "VERGE-RECORD1",
            LineError::SignedAlready,
            LineError::Damaged,
        );
        // Whole, and nothing that this release could say in words.
        let unknown = [
            draft(Kind(99), Body::Foreign.encode()),
            draft(Kind::SEAL, Body::Foreign.encode()),
            draft(Kind::ACCOUNT, Body::Foreign.encode()),
        ];
        for draft in unknown {
            let line = ToSignLine(draft).to_string();
            assert_eq!(line.parse::<ToSignLine>(), Err(LineError::Unreadable));
        }
        let check = Digest::of(b"no record");
        let bytes = [b"no record".as_slice(), &check.as_bytes()[..4]].concat();
        let letters = BASE32_NOPAD.encode(&bytes);
        let refused = format!("{TO_SIGN}{letters}").parse::<ToSignLine>();
        assert!(matches!(refused, Err(LineError::Record(_))), "{refused:?}");
        let refused = format!("{SIGNED}{letters}").parse::<SignedLine>();
        assert!(matches!(refused, Err(LineError::Record(_))), "{refused:?}");
    }
}
