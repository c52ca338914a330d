//! One order, from a wish to a certificate; resumed wherever a crash left it.
//!
//! The server's view of the order decides what comes next, so that a step that was done and not
//! noticed is not done again: pending is proved, ready is finalized with the key of the intent,
//! valid is fetched. A server that has forgotten the order is asked for a new one, once.

use super::account::Session;
use super::certificate::{self, Predecessor, Summary};
use super::error::{AcmeError, Reaction, shown};
use super::intent::{Intent, Intents, Turn};
use super::jws::despite_nonces;
use super::names::Names;
use super::validation::{self, BeforeValidation, Challenge, Presented};
use data_encoding::BASE64;
use instant_acme::{Identifier, NewOrder, Order, OrderStatus, RetryPolicy};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use std::time::Duration;
use verge_sync::clock::UnixTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// The profile that is ordered: 90 days now, 64 from 2027-02-10, 45 from 2028-02-16.
const PROFILE: &str = "classic";
/// Longest request of an owner.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Whose key the certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// A fresh one (ECDSA P-256) for this order.
    Fresh,
    /// The owner's, by a certificate signing request (PEM or DER): we never see it.
    OfRequest(&'a [u8]),
}

/// How long is waited, besides each request's own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the CA to look at all names.
    pub validation: Duration,
    /// For it to sign.
    pub signing: Duration,
    /// For everything together.
    pub order: Duration,
    /// Between two looks at first; each further pause is half as long again.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            validation: Duration::from_mins(2),
            signing: Duration::from_mins(2),
            order: Duration::from_mins(10),
            pause: Duration::from_millis(250),
        }
    }
}

/// A certificate that is wanted.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// For which names.
    pub names: &'a Names,
    /// For which key.
    pub key: Key<'a>,
    /// The certificate that this one replaces, if it is of the same server: always given.
    pub replaces: Option<&'a Predecessor>,
    /// Whether to order also if the server refuses `replaces`, so that its limits count the order:
    /// [`Granted::may_count`](super::budget::Granted::may_count). Otherwise
    /// [`AcmeError::Replaced`]: most likely another issuer was first.
    pub may_count: bool,
    /// How the names are proved.
    pub challenge: Challenge<'a>,
    /// The caller's own look before the CA's; `&()` for none.
    pub before: &'a dyn BeforeValidation,
    /// How long to wait.
    pub patience: Patience,
}

/// A certificate, checked: it is for the names and the key that were ordered. Store it, then call
/// [`Intents::settle`]; otherwise the next order for the same names gives it back once more.
pub struct Issued {
    /// The chain, the certificate itself first.
    pub chain_pem: String,
    /// The key (PKCS#8), unless it is the owner's.
    pub key_pem: Option<Zeroizing<String>>,
    /// What the certificate says.
    pub summary: Summary,
    /// Whether the server took it as a renewal of `replaces`, which its limits do not count.
    pub was_replacement: bool,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("names", &self.summary.names)
            .finish_non_exhaustive()
    }
}

/// Orders a certificate, or goes on with an order for the same names that was left; at most one
/// certificate is ordered, wherever the process is stopped. `now` goes into the intent, for people.
///
/// # Errors
/// [`AcmeError`]; its [`Reaction`] says what to do. While it is `Retry`, the order is kept.
pub async fn order(
    session: &Session,
    intents: &Intents,
    wish: &Wish<'_>,
    now: UnixTime,
) -> Result<Issued, AcmeError> {
    if let (Challenge::Http01, true) = (wish.challenge, wish.names.has_wildcard()) {
        return Err(AcmeError::WildcardNeedsZone(wish.names.to_string()));
    }
    let turn = intents.turn(session.account().directory(), wish.names)?;
    let way = Way {
        session,
        wish,
        turn: &turn,
    };
    let limit = wish.patience.order;
    let gone = tokio::time::timeout(limit, Box::pin(way.go(now))).await;
    gone.unwrap_or(Err(AcmeError::Unfinished {
        seconds: limit.as_secs(),
    }))
}

/// What one order has at hand.
struct Way<'a> {
    session: &'a Session,
    wish: &'a Wish<'a>,
    turn: &'a Turn,
}

impl Way<'_> {
    async fn go(&self, now: UnixTime) -> Result<Issued, AcmeError> {
        let issued = self.go_once(now).await?;
        let replaces = self.wish.replaces;
        if replaces.is_none() || issued.summary.identifier.as_ref() != replaces {
            return Ok(issued);
        }
        // The caller has it already, and did not settle it: it cannot replace itself.
        self.turn.forget().await?;
        self.go_once(now).await
    }

    async fn go_once(&self, now: UnixTime) -> Result<Issued, AcmeError> {
        let mut intent = match self.left().await? {
            Some(intent) => intent,
            None => self.begin(now).await?,
        };
        let opened = match self.reopen(&intent).await? {
            Some(order) => order,
            None => {
                if intent.order.is_some() {
                    self.give_up(&intent).await?;
                    intent = self.begin(now).await?;
                }
                self.start(&mut intent).await?
            }
        };
        self.settle_or_give_up(intent, opened).await
    }

    /// Of a former try, if it was for the same account and key, and not already what is replaced.
    async fn left(&self) -> Result<Option<Intent>, AcmeError> {
        let Some(intent) = self.turn.read().await? else {
            return Ok(None);
        };
        let is_of_account = intent.account == self.session.account().url();
        let is_of_key = match self.wish.key {
            Key::Fresh => intent.key().is_some(),
            Key::OfRequest(bytes) => intent.request() == request_of(bytes, self.wish.names)?,
        };
        if is_of_account && is_of_key {
            return Ok(Some(intent));
        }
        self.give_up(&intent).await?;
        Ok(None)
    }

    async fn begin(&self, now: UnixTime) -> Result<Intent, AcmeError> {
        let names = self.wish.names;
        let (key, request) = match self.wish.key {
            Key::Fresh => fresh(names).map(|(key, request)| (Some(key), request))?,
            Key::OfRequest(bytes) => (None, request_of(bytes, names)?),
        };
        let account = self.session.account();
        let key = key.as_ref().map(|key| key.as_slice());
        let intent = Intent::new(account.directory(), account.url(), names, key, &request);
        let intent = intent.begun_at(now, self.wish.replaces);
        self.turn.write(&intent).await?;
        Ok(intent)
    }

    /// The order of a former try as the server sees it now; nothing if there is none to go on with.
    async fn reopen(&self, intent: &Intent) -> Result<Option<Order>, AcmeError> {
        let Some(url) = &intent.order else {
            return Ok(None);
        };
        let reopened = despite_nonces!(self.session.library.order(url.clone()));
        match reopened {
            Ok(mut order) => {
                let is_dead = order.state().status == OrderStatus::Invalid;
                Ok((!is_dead).then_some(order))
            }
            // Expired, or forgotten by a server that was set up anew.
            Err(AcmeError::Problem(problem)) if problem.kind != "serverInternal" => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn start(&self, intent: &mut Intent) -> Result<Order, AcmeError> {
        let started = self.ask().await;
        match started {
            Ok((order, was_replacement)) => {
                intent.order = Some(order.url().to_owned());
                if !was_replacement {
                    intent.replaces = None;
                }
                self.turn.write(intent).await?;
                Ok(order)
            }
            Err(error) => {
                if error.reaction() == Reaction::Refuse {
                    self.turn.forget().await?;
                }
                Err(error)
            }
        }
    }

    /// A new order, and whether it replaces. What the server refuses to read is left out in turn.
    async fn ask(&self) -> Result<(Order, bool), AcmeError> {
        let names = self.wish.names.iter();
        let identifiers: Vec<_> = names.map(|name| Identifier::Dns(name.to_owned())).collect();
        let meta = self.session.meta();
        let mut replaces = self.wish.replaces.filter(|_| meta.has_renewal_info());
        let mut profile = Some(PROFILE).filter(|name| {
            meta.profiles.is_empty() || meta.profiles.iter().any(|known| known == name)
        });
        loop {
            let mut wish = NewOrder::new(&identifiers);
            if let Some(replaces) = replaces {
                wish = wish.replaces(replaces.to_library());
            }
            if let Some(profile) = profile {
                wish = wish.profile(profile);
            }
            match despite_nonces!(self.session.library.new_order(&wish)) {
                Ok(order) => return Ok((order, replaces.is_some())),
                Err(error) if replaces.is_some() && is_about_replaces(&error) => {
                    if !self.wish.may_count {
                        return Err(AcmeError::Replaced(self.wish.names.to_string()));
                    }
                    replaces = None;
                }
                Err(error) if profile.is_some() && is_about_profile(&error) => profile = None,
                Err(error) => return Err(error),
            }
        }
    }

    async fn settle_or_give_up(
        &self,
        mut intent: Intent,
        mut order: Order,
    ) -> Result<Issued, AcmeError> {
        let finished = self.finish(&mut intent, &mut order).await;
        let is_dead = match &finished {
            Ok(_issued) => false,
            Err(error) if error.reaction() == Reaction::Refuse => true,
            Err(AcmeError::WrongCertificate(_)) => true,
            Err(_other) => order.state().status == OrderStatus::Invalid,
        };
        if is_dead {
            self.give_up(&intent).await?;
        }
        finished
    }

    async fn finish(&self, intent: &mut Intent, order: &mut Order) -> Result<Issued, AcmeError> {
        if order.state().status == OrderStatus::Pending {
            self.prove(intent, order).await?;
        }
        if order.state().status == OrderStatus::Ready {
            despite_nonces!(order.finalize_csr(&intent.request()))?;
        }
        let Patience { signing, pause, .. } = self.wish.patience;
        let chain_pem = despite_nonces!(fetch(order, validation::polling(signing, pause)))?;
        let names = self.wish.names;
        let summary = certificate::check(&chain_pem, names, &public_key(&intent.request())?)?;
        Ok(Issued {
            key_pem: intent.key().map(|key| key_pem(&key)),
            was_replacement: intent.replaces.is_some(),
            chain_pem,
            summary,
        })
    }

    async fn prove(&self, intent: &mut Intent, order: &mut Order) -> Result<(), AcmeError> {
        let left = validation::left(order, self.wish.challenge).await?;
        let (places, presented): (Vec<usize>, Vec<Presented>) = left.into_iter().unzip();
        let proved = match self.publish(intent, &presented).await {
            Ok(()) => self.validate(order, &places, &presented).await,
            Err(error) => Err(error),
        };
        self.unpublish(intent).await?;
        proved
    }

    async fn validate(
        &self,
        order: &mut Order,
        places: &[usize],
        presented: &[Presented],
    ) -> Result<(), AcmeError> {
        if !presented.is_empty() {
            let ready = self.wish.before.ready(presented).await;
            ready.map_err(|why| AcmeError::NotReady(shown(&why)))?;
        }
        let Patience {
            validation, pause, ..
        } = self.wish.patience;
        let polling = validation::polling(validation, pause);
        validation::validate(order, self.wish.challenge, places, &polling).await
    }

    /// Texts are noted before they are set, so that a crash leaves none behind for good.
    async fn publish(&self, intent: &mut Intent, presented: &[Presented]) -> Result<(), AcmeError> {
        let Challenge::Dns01(zone) = self.wish.challenge else {
            return Ok(());
        };
        for one in presented {
            let text = (one.text_name(), one.answer.clone());
            if !intent.texts.contains(&text) {
                intent.texts.push(text);
            }
        }
        self.turn.write(intent).await?;
        for (name, value) in &intent.texts {
            zone.set_txt(name, value).await?;
        }
        Ok(())
    }

    /// What cannot be taken away now stays noted, and is tried again with the next order.
    async fn unpublish(&self, intent: &mut Intent) -> Result<(), AcmeError> {
        let Challenge::Dns01(zone) = self.wish.challenge else {
            return Ok(());
        };
        let mut kept = Vec::new();
        for (name, value) in std::mem::take(&mut intent.texts) {
            if let Err(error) = zone.remove_txt(&name, &value).await {
                tracing::warn!(%error, "a text of a finished order stays in the zone");
                kept.push((name, value));
            }
        }
        intent.texts = kept;
        self.turn.write(intent).await
    }

    /// The order is dead: nothing of it stays.
    async fn give_up(&self, intent: &Intent) -> Result<(), AcmeError> {
        if let Challenge::Dns01(zone) = self.wish.challenge {
            for (name, value) in &intent.texts {
                if let Err(error) = zone.remove_txt(name, value).await {
                    tracing::warn!(%error, "a text of a dead order stays in the zone");
                }
            }
        }
        self.turn.forget().await
    }
}

/// The chain, as soon as there is one. Looking and fetching are two requests: what was seen once is
/// not looked for again when the nonce of the fetching is rejected.
async fn fetch(order: &mut Order, polling: RetryPolicy) -> Result<String, instant_acme::Error> {
    if order.state().status == OrderStatus::Valid {
        let missing = instant_acme::Error::Str("the certificate of a valid order");
        return order.certificate().await?.ok_or(missing);
    }
    order.poll_certificate(&polling).await
}

/// RFC 9773 section 5 has `alreadyReplaced`; others say it in other words.
fn is_about_replaces(error: &AcmeError) -> bool {
    let kinds = ["alreadyReplaced", "malformed", "unauthorized", "conflict"];
    // The library compares what comes back, and has thrown the order away when it differs.
    let is_ignored = matches!(error, AcmeError::Protocol(why) if why.starts_with("replaces field"));
    is_ignored || kinds.contains(&error.kind())
}

fn is_about_profile(error: &AcmeError) -> bool {
    ["invalidProfile", "malformed"].contains(&error.kind())
}

type Made = (Zeroizing<Vec<u8>>, Vec<u8>);

/// A key and its request. The library wipes no copy that it makes while it signs.
fn fresh(names: &Names) -> Result<Made, AcmeError> {
    let ours = |error: rcgen::Error| AcmeError::Crypto(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(ours)?;
    let texts: Vec<String> = names.iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(texts).map_err(ours)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(ours)?;
    Ok((Zeroizing::new(key.serialize_der()), request.der().to_vec()))
}

/// RFC 7468 section 10.
fn key_pem(pkcs8: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(BASE64.encode(pkcs8));
    // Growing would leave parts of the key behind.
    let mut pem = Zeroizing::new(String::with_capacity(2 * text.len() + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for (place, letter) in text.chars().enumerate() {
        if place > 0 && place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END PRIVATE KEY-----\n");
    pem
}

/// The public key of a request.
fn public_key(request: &[u8]) -> Result<Vec<u8>, AcmeError> {
    let parsed = parse_request(request)?;
    Ok(parsed.certification_request_info.subject_pki.raw.to_vec())
}

/// The owner's request in DER, if it is for exactly these names.
fn request_of(bytes: &[u8], names: &Names) -> Result<Vec<u8>, AcmeError> {
    let (der, asked) = read_request(bytes)?;
    if asked != *names {
        return Err(bad_request(&format!("it is for {asked}, not for {names}")));
    }
    Ok(der)
}

/// The names that an owner's request (PEM or DER) is for.
///
/// # Errors
/// [`AcmeError::Request`].
pub fn requested_names(bytes: &[u8]) -> Result<Names, AcmeError> {
    read_request(bytes).map(|(_der, names)| names)
}

fn read_request(bytes: &[u8]) -> Result<(Vec<u8>, Names), AcmeError> {
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(bad_request("it is too long"));
    }
    let der = match CertificateSigningRequestDer::from_pem_slice(bytes) {
        Ok(der) => der.to_vec(),
        Err(_not_pem) => bytes.to_vec(),
    };
    let parsed = parse_request(&der)?;
    let mut asked = Vec::new();
    for extension in parsed.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(alternative) = extension {
            for name in &alternative.general_names {
                match name {
                    GeneralName::DNSName(name) => asked.push(*name),
                    _ => return Err(bad_request("it is for something else than DNS names")),
                }
            }
        }
    }
    let asked = Names::new(asked).map_err(|error| bad_request(&error.to_string()))?;
    Ok((der, asked))
}

fn parse_request(der: &[u8]) -> Result<X509CertificationRequest<'_>, AcmeError> {
    match X509CertificationRequest::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(bad_request("it does not read")),
    }
}

fn bad_request(why: &str) -> AcmeError {
    AcmeError::Request(shown(why))
}
