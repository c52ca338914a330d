//! Proving to a CA that names are ours (RFC 8555 sections 7.5 and 8).

use super::error::{AcmeError, Failure, Problem};
use super::jws::despite_nonces;
use super::zone::Zone;
use instant_acme::{
    AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, Identifier, Order, OrderStatus,
    RetryPolicy,
};
use std::pin::Pin;
use std::time::Duration;

/// Where a CA looks for a dns-01 answer (RFC 8555 section 8.4).
const DNS_LABEL: &str = "_acme-challenge";
/// A token of http-01 has 128 bits or more in base64url; nodes answer no others.
const TOKEN_LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;

/// How names are proved.
#[derive(Clone, Copy)]
pub enum Challenge<'a> {
    /// http-01: every node answers `token.thumbprint`; nothing is published.
    Http01,
    /// dns-01: a text in a zone that is ours.
    Dns01(&'a dyn Zone),
}

/// What a CA is about to look for.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented {
    /// The name that is proved, without `*.`.
    pub name: String,
    /// The CA's token: at http-01 the last part of the path.
    pub token: String,
    /// What must be found: at http-01 the body, at dns-01 the text.
    pub answer: String,
}

/// The caller's look is under way. What it says instead of success goes into
/// [`AcmeError::NotReady`].
pub type Ready<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// A look of the caller's own before the CA is asked for its: whether other nodes answer, say. It
/// saves a failed validation, of which a CA allows five in an hour.
pub trait BeforeValidation: Send + Sync {
    /// Called once for each order that has names left to prove, when everything is in place.
    fn ready<'a>(&'a self, presented: &'a [Presented]) -> Ready<'a>;
}

/// Looks at nothing.
impl BeforeValidation for () {
    fn ready<'a>(&'a self, _presented: &'a [Presented]) -> Ready<'a> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Challenge<'_> {
    /// As RFC 8657 and CAA records call it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01(_) => "dns-01",
        }
    }

    fn kind(&self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::Dns01(_) => ChallengeType::Dns01,
        }
    }
}

/// The tokens are public once the CA looks, but need not stand in a log.
impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Presented").field(&self.name).finish()
    }
}

impl Presented {
    /// The name of the text at dns-01.
    pub(super) fn text_name(&self) -> String {
        format!("{DNS_LABEL}.{}", self.name)
    }
}

/// What is left to prove of an order: the place of each authorization, and what answers it.
pub(super) async fn left(
    order: &mut Order,
    challenge: Challenge<'_>,
) -> Result<Vec<(usize, Presented)>, AcmeError> {
    let found = despite_nonces!(read(order, challenge))?;
    let mut left = Vec::new();
    for (place, presented) in found.into_iter().enumerate() {
        if let Some(presented) = presented? {
            left.push((place, presented));
        }
    }
    Ok(left)
}

type Found = Vec<Result<Option<Presented>, AcmeError>>;

/// Reads every authorization; those that were read before cost nothing.
async fn read(order: &mut Order, challenge: Challenge<'_>) -> Result<Found, Error> {
    let mut found = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        found.push(present(authorization?, challenge));
    }
    Ok(found)
}

fn present(
    authorization: AuthorizationHandle<'_>,
    challenge: Challenge<'_>,
) -> Result<Option<Presented>, AcmeError> {
    // The library borrows a handle for as long as the handle itself lives: this one lives shorter.
    let mut authorization = authorization;
    if authorization.status != AuthorizationStatus::Pending {
        // Valid needs nothing; what failed is found when the order is looked at.
        return Ok(None);
    }
    let name = name_of(&authorization);
    let Some(offer) = authorization.challenge(challenge.kind()) else {
        return Err(AcmeError::NoChallenge {
            name,
            challenge: challenge.as_str(),
        });
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !TOKEN_LENGTHS.contains(&offer.token.len()) || !offer.token.bytes().all(plain) {
        return Err(AcmeError::Protocol(format!("its token for {name}")));
    }
    let key = offer.key_authorization();
    let answer = match challenge {
        Challenge::Http01 => key.as_str().to_owned(),
        Challenge::Dns01(_) => key.dns_value(),
    };
    Ok(Some(Presented {
        name,
        token: offer.token.clone(),
        answer,
    }))
}

fn name_of(authorization: &AuthorizationHandle<'_>) -> String {
    match authorization.identifier().identifier {
        Identifier::Dns(name) => name.clone(),
        other => format!("{other:?}"),
    }
}

/// Asks the CA to look at the authorizations with these places, and waits until it has.
pub(super) async fn validate(
    order: &mut Order,
    challenge: Challenge<'_>,
    places: &[usize],
    polling: &RetryPolicy,
) -> Result<(), AcmeError> {
    for place in places {
        let asked = despite_nonces!(set_ready(order, *place, challenge.kind()));
        if let Err(error) = asked {
            return Err(explain(order, error).await);
        }
    }
    let polled = despite_nonces!(order.poll_ready(polling));
    match polled {
        Ok(OrderStatus::Ready) => Ok(()),
        Ok(_invalid) => {
            let error = AcmeError::Protocol("an invalid order without a reason".to_owned());
            Err(explain(order, error).await)
        }
        Err(error) => Err(explain(order, error).await),
    }
}

/// Looks with growing pauses, or when the server says.
pub(super) fn polling(timeout: Duration, pause: Duration) -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(pause)
        .backoff(1.5)
        .timeout(timeout)
}

async fn set_ready(order: &mut Order, place: usize, kind: ChallengeType) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    let mut at = 0;
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if at == place {
            let offer = authorization.challenge(kind);
            let mut offer = offer.ok_or(Error::Str("the challenge is gone"))?;
            return offer.set_ready().await;
        }
        at += 1;
    }
    Err(Error::Str("the authorization is gone"))
}

/// What the CA found at each name, if that is why; otherwise the error itself.
async fn explain(order: &mut Order, error: AcmeError) -> AcmeError {
    if !matches!(error, AcmeError::Problem(_) | AcmeError::Protocol(_)) {
        return error;
    }
    match despite_nonces!(failures(order)) {
        Ok(failures) if !failures.is_empty() => AcmeError::validation(failures),
        _nothing_more => error,
    }
}

async fn failures(order: &mut Order) -> Result<Vec<Failure>, Error> {
    let mut failures = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = name_of(&authorization);
        let state = authorization.refresh().await?;
        let problem = state
            .challenges
            .iter()
            .find_map(|offer| offer.error.as_ref());
        if let Some(problem) = problem.filter(|_| state.status == AuthorizationStatus::Invalid) {
            failures.push(Failure {
                name,
                problem: Problem::of(problem),
            });
        }
    }
    Ok(failures)
}
