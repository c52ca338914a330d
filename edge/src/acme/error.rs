//! What goes wrong between us and an ACME server, whose fault it is, and what the caller does.

use super::names::NamesError;
use super::zone::ZoneError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use verge_sync::store::StoreError;

/// Text of others that goes into an error: this much of it.
const TEXT_CHARS_MAX: usize = 300;
/// Failures that are kept of one order; it has at most a hundred names.
const FAILURES_MAX: usize = 100;
/// The prefix of the problem types of RFC 8555 section 6.7.
const PROBLEM_PREFIX: &str = "urn:ietf:params:acme:error:";

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing that anybody has to mend: asks again after so long, or by its own backoff.
    /// An order that was begun is resumed then.
    Retry {
        /// The server's own wish (`Retry-After`), already held at [`RETRY_AFTER_MAX`].
        after: Option<Duration>,
    },
    /// The owner of the names must change something; the error is a sentence for them. Asks again
    /// by backoff, because nobody tells us when it is done.
    Refuse,
    /// The steward must change something; the error is a sentence for them. Nothing more is sent
    /// to this directory until then.
    Stop,
}

/// A server that wants to be left alone for longer is asked once a week.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(7 * 24);

/// Why a question to an ACME server had no good end.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The directory cannot be used as it is configured. The steward's.
    #[error("the ACME directory {url} cannot be used: {why}")]
    Directory {
        /// The directory.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The stored secret of an account cannot be used. The steward's.
    #[error("the stored ACME account cannot be used: {0}")]
    Account(String),
    /// No connection. The network's or the CA's.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The chain of causes.
        why: String,
    },
    /// No whole answer in time. The network's or the CA's.
    #[error("{url} did not answer within {seconds} s")]
    TimedOut {
        /// What was asked.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// An answer that no ACME server gives: the error page of a proxy, a login page of a network.
    #[error("{url} answered {status} with something that is not ACME: {excerpt}")]
    NotAcme {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        excerpt: String,
    },
    /// An answer longer than any of ACME.
    #[error("the answer of {url} is longer than {bytes_max} bytes")]
    TooLong {
        /// What was asked.
        url: String,
        /// The limit.
        bytes_max: usize,
    },
    /// 429: a rate limit of the CA. Ours, or that of the owner's other orders.
    #[error("the CA's rate limit: {detail}")]
    RateLimited {
        /// The CA's words.
        detail: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// 503: the CA is busy or under maintenance.
    #[error("the CA cannot work now: {detail}")]
    Busy {
        /// The CA's words.
        detail: String,
        /// When it wants to be asked again.
        after: Option<Duration>,
    },
    /// The CA rejected our nonces over and over. The CA's.
    #[error("the CA rejected {0} nonces in a row")]
    Nonces(usize),
    /// The CA refused, in the words of RFC 8555.
    #[error("the CA refused: {0}")]
    Problem(Problem),
    /// The CA looked at the names and did not find our proof. The owner's, or the network's.
    #[error("the CA did not find our answer: {}", list(.0))]
    Validation(Vec<Failure>),
    /// It is still at work; the order is resumed later.
    #[error("the CA has not finished the order after {seconds} s; it is resumed later")]
    Unfinished {
        /// How long was waited.
        seconds: u64,
    },
    /// The CA answered something that contradicts RFC 8555. The CA's.
    #[error("the CA answered what RFC 8555 does not allow: {0}")]
    Protocol(String),
    /// The certificate is not the one that was ordered. The CA's.
    #[error("the certificate that the CA gave is not the one that was ordered: {0}")]
    WrongCertificate(String),
    /// The names. The owner's.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// A certificate signing request of the owner.
    #[error("the certificate signing request cannot be used: {0}")]
    Request(String),
    /// A wildcard, and no zone to prove it in.
    #[error("a wildcard ({0}) is proved by DNS only, and the zone is not ours")]
    WildcardNeedsZone(String),
    /// The CA does not offer the way of proof.
    #[error("the CA offers no {challenge} for {name}")]
    NoChallenge {
        /// The name.
        name: String,
        /// `http-01` or `dns-01`.
        challenge: &'static str,
    },
    /// The zone was not changed.
    #[error("prove a name in DNS")]
    Zone(#[from] ZoneError),
    /// The caller's own look before the validation said no: nothing was asked of the CA.
    #[error("not ready to be validated: {0}")]
    NotReady(String),
    /// The certificate has a successor already, and no further one fits into the limits.
    #[error(
        "the certificate for {0} was replaced already, by another issuer perhaps, and the CA's \
         limits leave no room for another one now"
    )]
    Replaced(String),
    /// The same names are being ordered right now.
    #[error("a certificate for {0} is being ordered already")]
    Underway(String),
    /// What must survive a crash could not be written.
    #[error("keep the order")]
    Store(#[from] StoreError),
    /// The folder of the orders.
    #[error("{verb} {path}", path = path.display())]
    File {
        /// "read", "remove".
        verb: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Cryptography failed: an error of ours.
    #[error("make a key or a signature: {0}")]
    Crypto(String),
}

/// A refusal of the CA (RFC 8555 section 6.7, RFC 7807).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The type without its prefix, such as `rejectedIdentifier`.
    pub kind: String,
    /// The CA's words, and those about each name.
    pub detail: String,
}

/// A name that the CA could not validate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The name, without `*.`: the CA counts failures by it.
    pub name: String,
    /// What it found.
    pub problem: Problem,
}

impl AcmeError {
    /// What the caller does next.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::RateLimited { after, .. } | Self::Busy { after, .. } => {
                Reaction::Retry { after: *after }
            }
            Self::Problem(problem) => problem.reaction(),
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NotAcme { .. }
            | Self::TooLong { .. }
            | Self::Nonces(_)
            | Self::Unfinished { .. }
            | Self::Protocol(_)
            | Self::WrongCertificate(_)
            | Self::Zone(ZoneError::Unreachable { .. })
            | Self::NotReady(_)
            | Self::Replaced(_)
            | Self::Underway(_)
            | Self::Store(_)
            | Self::File { .. } => Reaction::Retry { after: None },
            Self::Validation(_)
            | Self::Names(_)
            | Self::Request(_)
            | Self::WildcardNeedsZone(_)
            | Self::NoChallenge { .. } => Reaction::Refuse,
            Self::Directory { .. }
            | Self::Account(_)
            | Self::Zone(ZoneError::Refused { .. })
            | Self::Crypto(_) => Reaction::Stop,
        }
    }

    /// The names whose validation failed: the CA counts them, and so does the budget.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        match self {
            Self::Validation(failures) => failures,
            _ => &[],
        }
    }

    /// The type of a refusal, without its prefix.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Problem(problem) => &problem.kind,
            _ => "",
        }
    }

    pub(super) fn validation(mut failures: Vec<Failure>) -> Self {
        failures.truncate(FAILURES_MAX);
        Self::Validation(failures)
    }
}

impl Problem {
    /// Of what the library read.
    pub(super) fn of(problem: &instant_acme::Problem) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or("none");
        let mut detail = problem.detail.clone().unwrap_or_default();
        for sub in &problem.subproblems {
            detail.push_str("; ");
            detail.push_str(&sub.to_string());
        }
        Self {
            kind: shown(kind.strip_prefix(PROBLEM_PREFIX).unwrap_or(kind)),
            detail: shown(&detail),
        }
    }

    /// RFC 8555 section 6.7, for answers to what we ask; what a CA found at a name is
    /// [`AcmeError::Validation`].
    fn reaction(&self) -> Reaction {
        match self.kind.as_str() {
            "rejectedIdentifier" | "unsupportedIdentifier" | "caa" | "dns" | "badCSR" => {
                Reaction::Refuse
            }
            "accountDoesNotExist"
            | "externalAccountRequired"
            | "userActionRequired"
            | "unauthorized"
            | "unsupportedContact"
            | "invalidContact"
            | "badPublicKey"
            | "badSignatureAlgorithm"
            | "malformed" => Reaction::Stop,
            // serverInternal, and what RFCs to come will name: by backoff.
            _ => Reaction::Retry { after: None },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{} ({})", self.detail, self.kind)
        }
    }
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::Problem(Problem::of(&problem)),
            // What our own client says travels through the library in a box.
            instant_acme::Error::Other(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => Self::Protocol(shown(&other.to_string())),
            },
            instant_acme::Error::Timeout(next) => Self::of_timeout(next),
            instant_acme::Error::Crypto => Self::Crypto("the library refused".to_owned()),
            instant_acme::Error::KeyRejected => {
                Self::Account("its key is not a P-256 key".to_owned())
            }
            other => Self::Protocol(shown(&other.to_string())),
        }
    }
}

impl AcmeError {
    /// The library gave up polling; perhaps because the CA wants to be asked later.
    fn of_timeout(next: Option<std::time::Instant>) -> Self {
        match next {
            Some(next) => {
                let after = next.saturating_duration_since(verge_sync::clock::stopwatch());
                Self::Busy {
                    detail: "the order takes longer".to_owned(),
                    after: Some(after.min(RETRY_AFTER_MAX)),
                }
            }
            None => Self::Unfinished { seconds: 0 },
        }
    }
}

fn list(failures: &[Failure]) -> String {
    let shown = failures
        .iter()
        .take(3)
        .map(|failure| format!("{}: {}", failure.name, failure.problem));
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if failures.len() > 3 {
        text.push_str(&format!("; and {} more names", failures.len() - 3));
    }
    text
}

/// Foreign text on one line of a log: bounded, without control characters.
pub(super) fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim()
        .chars()
        .take(TEXT_CHARS_MAX)
        .map(plain)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str) -> AcmeError {
        let json = format!(r#"{{"type":"{PROBLEM_PREFIX}{kind}","detail":"why"}}"#);
        let problem: instant_acme::Problem = serde_json::from_str(&json).unwrap();
        instant_acme::Error::Api(problem).into()
    }

    #[test]
    fn each_problem_has_its_reaction() {
        let retry = Reaction::Retry { after: None };
        let rows = [
            ("rejectedIdentifier", Reaction::Refuse),
            ("caa", Reaction::Refuse),
            ("badCSR", Reaction::Refuse),
            ("accountDoesNotExist", Reaction::Stop),
            ("externalAccountRequired", Reaction::Stop),
            ("unauthorized", Reaction::Stop),
            ("malformed", Reaction::Stop),
            ("serverInternal", retry),
            ("somethingNew", retry),
        ];
        for (kind, expected) in rows {
            assert_eq!(problem(kind).reaction(), expected, "{kind}");
        }
    }

    #[test]
    fn foreign_text_is_short_and_plain() {
        assert_eq!(shown(" a\nb\u{1b}[31m "), "a b [31m");
        assert_eq!(shown(&"x".repeat(1000)).len(), TEXT_CHARS_MAX);
    }

    #[test]
    fn our_own_errors_come_back_out_of_the_library() {
        let inner = AcmeError::TooLong {
            url: "u".to_owned(),
            bytes_max: 1,
        };
        let outer = instant_acme::Error::Other(Box::new(inner));
        assert!(matches!(AcmeError::from(outer), AcmeError::TooLong { .. }));
    }
}
