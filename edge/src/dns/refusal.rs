//! What a server's no means, and what to do about it.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::tsig::TsigError;
use std::fmt;

/// A server has not made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not know the key by its name, or not for this zone.
    UnknownKey,
    /// It knows the key by its name, but with another secret.
    WrongKey,
    /// Its clock shows another time: that many seconds after 1970, if it said so.
    Clock(Option<u64>),
    /// It answers for no such zone, or is not the one that changes it.
    NotItsZone,
    /// A name lies outside of the zone.
    OutsideZone,
    /// The key may not do this.
    NotAllowed,
    /// It does not take updates at all.
    NoUpdates,
    /// It is in trouble.
    InTrouble,
    /// It did not understand: an error of ours or of theirs.
    Malformed,
    /// Something else; the number of the answer (RFC 6895 section 2.3).
    Other(u16),
}

impl Refusal {
    /// What an answer says; `None` for a yes.
    #[must_use]
    pub fn read(answer: &Message) -> Option<Self> {
        let signature = answer.signature().map(|record| &record.data);
        let by_signature = signature.and_then(|tsig| match tsig.error? {
            TsigError::BadKey => Some(Self::UnknownKey),
            TsigError::BadSig | TsigError::BadTrunc => Some(Self::WrongKey),
            TsigError::BadTime => Some(Self::Clock(time(&tsig.other))),
            TsigError::Unknown(0) => None,
            TsigError::Unknown(code) => Some(Self::Other(code)),
        });
        by_signature.or_else(|| Self::of(answer.metadata.response_code))
    }

    fn of(code: ResponseCode) -> Option<Self> {
        Some(match code {
            ResponseCode::NoError => return None,
            ResponseCode::FormErr => Self::Malformed,
            ResponseCode::ServFail => Self::InTrouble,
            ResponseCode::NotImp => Self::NoUpdates,
            ResponseCode::Refused => Self::NotAllowed,
            ResponseCode::NotAuth => Self::NotItsZone,
            ResponseCode::NotZone => Self::OutsideZone,
            code => Self::Other(code.into()),
        })
    }

    /// Whether another try without a change of anything may succeed.
    #[must_use]
    pub fn may_pass(self) -> bool {
        matches!(self, Self::InTrouble | Self::Clock(_))
    }
}

/// 48 bits (RFC 8945 section 5.2.3).
fn time(bytes: &[u8]) -> Option<u64> {
    let low: [u8; 6] = bytes.try_into().ok()?;
    let mut whole = [0; 8];
    whole.get_mut(2..)?.copy_from_slice(&low);
    Some(u64::from_be_bytes(whole))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => {
                "it knows no key of this name for this zone (BADKEY): compare dns_update.key_name with its settings"
            }
            Self::WrongKey => {
                "its key of this name is another (BADSIG): put the same secret into dns_update.key_file"
            }
            Self::Clock(Some(theirs)) => {
                return write!(f, "its clock shows another time (BADTIME): {theirs} s after 1970; set the clock that is wrong");
            }
            Self::Clock(None) => "its clock shows another time (BADTIME): set the clock that is wrong",
            Self::NotItsZone => {
                "it is not the primary server of this zone (NOTAUTH): look at dns_update.server and dns_update.zone"
            }
            Self::OutsideZone => "the name lies outside of the zone (NOTZONE)",
            Self::NotAllowed => {
                "this key may not change this name (REFUSED): allow it in the server's settings"
            }
            Self::NoUpdates => "it takes no updates (NOTIMP)",
            Self::InTrouble => "it has trouble of its own (SERVFAIL): look at its log",
            Self::Malformed => "it did not understand the update (FORMERR)",
            Self::Other(code) => return write!(f, "it answered with code {code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::tsig::{TSIG, TsigAlgorithm, make_tsig_record};

    fn answer(code: ResponseCode, tsig: Option<(TsigError, Vec<u8>)>) -> Message {
        let mut message = Message::error_msg(1, OpCode::Update, code);
        if let Some((error, other)) = tsig {
            let tsig = TSIG::new(
                TsigAlgorithm::HmacSha256,
                1,
                300,
                Vec::new(),
                1,
                Some(error),
                other,
            );
            let name = Name::from_ascii("key.").unwrap();
            message.set_signature(Box::new(make_tsig_record(name, tsig)));
        }
        message
    }

    #[test]
    fn the_signature_s_error_says_more_than_the_answer_s() {
        let their_time = vec![0, 0, 0x6a, 0, 0, 1];
        let not_auth = ResponseCode::NotAuth;
        let rows = [
            (ResponseCode::NoError, None, None),
            (not_auth, None, Some(Refusal::NotItsZone)),
            (
                not_auth,
                Some((TsigError::BadKey, vec![])),
                Some(Refusal::UnknownKey),
            ),
            (
                not_auth,
                Some((TsigError::BadSig, vec![])),
                Some(Refusal::WrongKey),
            ),
            (
                not_auth,
                Some((TsigError::BadTime, their_time)),
                Some(Refusal::Clock(Some(0x6a00_0001))),
            ),
            (
                not_auth,
                Some((TsigError::BadTime, vec![1])),
                Some(Refusal::Clock(None)),
            ),
            (
                ResponseCode::Refused,
                Some((TsigError::Unknown(0), vec![])),
                Some(Refusal::NotAllowed),
            ),
            (
                ResponseCode::NoError,
                Some((TsigError::Unknown(99), vec![])),
                Some(Refusal::Other(99)),
            ),
            (ResponseCode::NotZone, None, Some(Refusal::OutsideZone)),
            (ResponseCode::ServFail, None, Some(Refusal::InTrouble)),
            (ResponseCode::NotImp, None, Some(Refusal::NoUpdates)),
            (ResponseCode::FormErr, None, Some(Refusal::Malformed)),
            (ResponseCode::YXRRSet, None, Some(Refusal::Other(7))),
        ];
        for (code, tsig, expected) in rows {
            let message = answer(code, tsig);
            assert_eq!(Refusal::read(&message), expected, "{message:?}");
        }
    }
}
