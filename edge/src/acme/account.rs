//! An account at an ACME server: its secret, its thumbprint, and a session with the server.
//!
//! The secret is what the caller stores, sealed; the thumbprint and the URL are read of it without
//! a network, because every node needs them to answer http-01. A session is made when there is
//! something to ask, never at a start: it begins by reading the directory.

use super::certificate::{self, Predecessor};
use super::client::Http;
use super::directory::{Directory, Meta};
use super::error::{AcmeError, shown};
use super::external::ExternalAccount;
use super::jws::{self, Signer};
use super::plan::Window;
use data_encoding::BASE64URL_NOPAD;
use http::Method;
use instant_acme::{BodyWrapper, RevocationReason, RevocationRequest};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::clock::UnixTime;
use zeroize::{Zeroize, Zeroizing};

/// The version of the secret's form.
const SECRET_FORMAT: u32 = 1;
/// A secret has some 400 bytes.
const SECRET_BYTES_MAX: usize = 4096;
/// Contacts of one account.
const CONTACTS_MAX: usize = 8;
/// Renewal advice is asked for again after at least this, whatever the server says.
const ADVICE_AGE_MIN: Duration = Duration::from_mins(10);
/// RFC 9773 section 4.3.3 suggests six hours where the server says nothing.
const ADVICE_AGE: Duration = Duration::from_hours(6);
/// And no later than this.
const ADVICE_AGE_MAX: Duration = Duration::from_hours(24);

/// An account: who we are at one directory. A clone is cheap. Never shows its key.
#[derive(Clone)]
pub struct Account {
    directory: Directory,
    url: String,
    key: NewKey,
}

/// A key for an account, perhaps not yet in force. A clone is cheap. Never shows itself.
#[derive(Clone)]
pub struct NewKey {
    pkcs8: Arc<Zeroizing<Vec<u8>>>,
    thumbprint: Arc<str>,
}

/// The stored form, JSON.
#[derive(Serialize, Deserialize)]
struct Secret {
    format: u32,
    directory: String,
    account: String,
    key: String,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl NewKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`AcmeError::Crypto`].
    pub fn generate() -> Result<Self, AcmeError> {
        Self::open(Signer::generate()?)
    }

    /// A key as [`Self::to_secret`] gave it.
    ///
    /// # Errors
    /// [`AcmeError::Account`].
    pub fn from_secret(secret: &[u8]) -> Result<Self, AcmeError> {
        Self::open(Zeroizing::new(secret.to_vec()))
    }

    /// The secret bytes (PKCS#8).
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::clone(&self.pkcs8)
    }

    /// The thumbprint (RFC 7638) under which every node answers http-01.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    fn open(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, AcmeError> {
        let thumbprint = Signer::open(&pkcs8)?.thumbprint().into();
        Ok(Self {
            pkcs8: Arc::new(pkcs8),
            thumbprint,
        })
    }

    fn signer(&self) -> Result<Signer, AcmeError> {
        Signer::open(&self.pkcs8)
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewKey").field(&self.thumbprint).finish()
    }
}

impl Account {
    /// Makes an account at the server, with `contacts` such as `mailto:steward@example.org`.
    /// Bound to `external`, if the authority wants that ([`Meta::wants_external`]).
    /// Whoever calls this has shown the server's terms ([`Meta::terms_url`]) to the steward, and
    /// agrees to them in their name. Store [`Self::to_secret`] before anything else: whoever
    /// loses it needs another account.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn create(
        directory: &Directory,
        contacts: &[String],
        external: Option<&ExternalAccount>,
    ) -> Result<Self, AcmeError> {
        check_contacts(contacts)?;
        let key = NewKey::generate()?;
        let http = directory.client()?;
        let meta = Meta::parse(directory.url(), &http.get(directory.url()).await?)?;
        let url = jws::new_account(&http, &meta, &key.signer()?, contacts, external).await?;
        Ok(Self {
            directory: directory.clone(),
            url,
            key,
        })
    }

    /// The account of a stored secret; without a network.
    ///
    /// # Errors
    /// [`AcmeError::Account`]: damaged, or of another directory.
    pub fn from_secret(directory: &Directory, secret: &[u8]) -> Result<Self, AcmeError> {
        let fail = |why: &str| AcmeError::Account(why.to_owned());
        if secret.len() > SECRET_BYTES_MAX {
            return Err(fail("it is too long"));
        }
        // What the parser says could show parts of the secret.
        let stored: Secret = serde_json::from_slice(secret)
            .map_err(|_shows_parts| fail("it is damaged: restore it from your copy"))?;
        if stored.format != SECRET_FORMAT {
            return Err(fail("it was written by a later release: update verge"));
        }
        if stored.directory != directory.url() {
            let of = shown(&stored.directory);
            return Err(fail(&format!("it is of {of}, not of {}", directory.url())));
        }
        let pkcs8 = BASE64URL_NOPAD.decode(stored.key.as_bytes());
        let pkcs8 = pkcs8.map_err(|_shows_parts| fail("its key is damaged"))?;
        Ok(Self {
            directory: directory.clone(),
            url: stored.account.clone(),
            key: NewKey::open(Zeroizing::new(pkcs8))?,
        })
    }

    /// What to store, sealed: the key, and whose and where it is.
    #[must_use]
    pub fn to_secret(&self) -> Zeroizing<Vec<u8>> {
        let secret = Secret {
            format: SECRET_FORMAT,
            directory: self.directory.url().to_owned(),
            account: self.url.clone(),
            key: BASE64URL_NOPAD.encode(&self.key.pkcs8),
        };
        // Growing would leave parts of the secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX));
        let written = serde_json::to_writer(&mut *bytes, &secret);
        debug_assert!(written.is_ok(), "texts always encode");
        bytes
    }

    /// The same account as it will be when `new` is in force: see [`Session::roll_over`].
    #[must_use]
    pub fn with_key(&self, new: &NewKey) -> Self {
        Self {
            key: new.clone(),
            ..self.clone()
        }
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &NewKey {
        &self.key
    }

    /// Its server.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its URL, as `accounturi` of a CAA record names it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The thumbprint of its key (RFC 7638).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        self.key.thumbprint()
    }

    /// Begins to talk with the server: reads its directory. For one round of questions; a later
    /// round begins anew, because a server may move its resources.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn connect(&self) -> Result<Session, AcmeError> {
        let http = self.directory.client()?;
        let builder = instant_acme::Account::builder_with_http(Box::new(http.clone()));
        let key = PrivatePkcs8KeyDer::from(self.key.pkcs8.as_slice());
        let library = builder
            .from_parts(self.url.clone(), key, self.directory.url().to_owned())
            .await
            .map_err(|error| self.of_directory(error))?;
        let body = http.directory().cloned().unwrap_or_default();
        Ok(Session {
            meta: Meta::parse(self.directory.url(), &body)?,
            account: self.clone(),
            library,
            http,
        })
    }

    /// JSON that is no directory is the configuration's fault.
    fn of_directory(&self, error: instant_acme::Error) -> AcmeError {
        match error {
            instant_acme::Error::Json(error) => AcmeError::Directory {
                url: self.directory.url().to_owned(),
                why: format!("it answered something that is not an ACME directory ({error})"),
            },
            other => other.into(),
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Account");
        shown
            .field("url", &self.url)
            .field("key", &self.key)
            .finish()
    }
}

fn check_contacts(contacts: &[String]) -> Result<(), AcmeError> {
    let fits = |contact: &String| {
        let is_plain = contact.bytes().all(|byte| byte.is_ascii_graphic());
        contact.len() <= 254 && is_plain && contact.starts_with("mailto:") && contact.contains('@')
    };
    match contacts.iter().find(|contact| !fits(contact)) {
        Some(contact) => Err(AcmeError::Account(format!(
            "{} is no contact: write mailto:somebody@example.org",
            shown(contact)
        ))),
        None if contacts.len() > CONTACTS_MAX => Err(AcmeError::Account(format!(
            "it has more than {CONTACTS_MAX} contacts"
        ))),
        None => Ok(()),
    }
}

/// A talk with a server: for a round of orders, not for ever.
pub struct Session {
    account: Account,
    meta: Meta,
    pub(super) library: instant_acme::Account,
    http: Http,
}

impl Session {
    /// Whose it is.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What the server says about itself.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether the server knows the account by its key.
    ///
    /// # Errors
    /// [`AcmeError`]: the server was not reached, or did not say.
    pub async fn is_in_force(&self) -> Result<bool, AcmeError> {
        let key = self.account.key.signer()?;
        match jws::look_up(&self.http, &self.meta, self.account.url(), &key).await {
            Ok(()) => Ok(true),
            Err(AcmeError::Problem(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts `new` in the place of the account's key (RFC 8555 section 7.3.5) and returns the
    /// account that has it. Before: `new` is stored, all nodes answer under its thumbprint too, no
    /// order is open. After: store the account's new secret. May be repeated after a crash
    /// in between: a server that has `new` already is content.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn roll_over(&self, new: &NewKey) -> Result<Account, AcmeError> {
        let (old_key, new_key) = (self.account.key.signer()?, new.signer()?);
        let (http, meta, url) = (&self.http, &self.meta, self.account.url());
        let changed = jws::change_key(http, meta, url, &old_key, &new_key).await;
        if let Err(error) = changed {
            let is_refusal = matches!(error, AcmeError::Problem(_));
            if !is_refusal || jws::look_up(http, meta, url, &new_key).await.is_err() {
                return Err(error);
            }
        }
        Ok(self.account.with_key(new))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.account).finish()
    }
}

/// When a server would like a certificate to be renewed (RFC 9773).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalAdvice {
    /// From when to when.
    pub window: Window,
    /// A page that says why, for the steward.
    pub explanation_url: Option<String>,
    /// When to ask again.
    pub ask_again_after: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAdvice {
    suggested_window: WireWindow,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct WireWindow {
    start: String,
    end: String,
}

/// Asks when a certificate should be renewed; nothing where the server does not say.
///
/// # Errors
/// [`AcmeError`].
pub async fn renewal_info(
    session: &Session,
    certificate: &Predecessor,
) -> Result<Option<RenewalAdvice>, AcmeError> {
    let Some(base) = &session.meta.renewal_info else {
        return Ok(None);
    };
    let url = format!("{}/{}", base.trim_end_matches('/'), certificate.as_str());
    let question = super::client::request(Method::GET, &url, BodyWrapper::default())?;
    let (parts, body) = session.http.send(question).await?;
    let body = jws::accept(&parts, body)?;
    let age = super::client::retry_after(&parts.headers).unwrap_or(ADVICE_AGE);
    read_advice(&body, age.clamp(ADVICE_AGE_MIN, ADVICE_AGE_MAX)).map(Some)
}

pub(super) fn read_advice(
    body: &[u8],
    ask_again_after: Duration,
) -> Result<RenewalAdvice, AcmeError> {
    let no_advice = |why: String| AcmeError::Protocol(format!("its renewal advice: {why}"));
    let wire: WireAdvice =
        serde_json::from_slice(body).map_err(|error| no_advice(error.to_string()))?;
    let time = |text: &str| match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(UnixTime(time.as_second())),
        Err(error) => Err(no_advice(shown(&error.to_string()))),
    };
    let window = Window {
        start: time(&wire.suggested_window.start)?,
        end: time(&wire.suggested_window.end)?,
    };
    if window.end < window.start {
        return Err(no_advice("it ends before it begins".to_owned()));
    }
    Ok(RenewalAdvice {
        window,
        explanation_url: wire.explanation_url.map(|url| shown(&url)),
        ask_again_after,
    })
}

/// Revokes a certificate (the first of a chain in PEM form) of this account, because another has
/// taken its place ("superseded", RFC 5280 section 5.3.1). One that is revoked already is fine.
///
/// # Errors
/// [`AcmeError`].
pub async fn revoke(session: &Session, chain_pem: &str) -> Result<(), AcmeError> {
    let certificate = certificate::leaf(chain_pem)?;
    let request = RevocationRequest {
        certificate: &certificate,
        reason: Some(RevocationReason::Superseded),
    };
    match jws::despite_nonces!(session.library.revoke(&request)) {
        Err(error) if error.kind() == "alreadyRevoked" => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        Directory::new("https://ca.example/directory", None).unwrap()
    }

    fn account() -> Account {
        Account {
            directory: directory(),
            url: "https://ca.example/account/1".to_owned(),
            key: NewKey::generate().unwrap(),
        }
    }

    #[test]
    fn a_secret_gives_the_account_back_without_a_network() {
        let account = account();
        let restored = Account::from_secret(&directory(), &account.to_secret()).unwrap();
        assert_eq!(restored.url(), account.url());
        assert_eq!(restored.thumbprint(), account.thumbprint());
        assert_eq!(restored.thumbprint().len(), 43);
        assert_eq!(restored.to_secret(), account.to_secret());
    }

    #[test]
    fn staging_and_production_do_not_mix() {
        let other = Directory::new("https://ca.example/staging", None).unwrap();
        let refused = Account::from_secret(&other, &account().to_secret()).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("not of https://ca.example/staging"),
            "{refused}"
        );
    }

    #[test]
    fn damaged_secrets_are_refused_and_not_shown() {
        let secret = account().to_secret();
        for length in 0..secret.len() {
            let error = Account::from_secret(&directory(), &secret[..length]).unwrap_err();
            assert!(error.to_string().len() < 120, "{error}");
        }
        let long = vec![b' '; SECRET_BYTES_MAX + 1];
        assert!(Account::from_secret(&directory(), &long).is_err());
        let later = String::from_utf8(secret.to_vec())
            .unwrap()
            .replace("\"format\":1", "\"format\":2");
        assert!(Account::from_secret(&directory(), later.as_bytes()).is_err());
    }

    #[test]
    fn nothing_that_is_shown_has_the_key() {
        let account = account();
        let secret = BASE64URL_NOPAD.encode(&account.key.pkcs8);
        let (shown, raw) = (
            format!("{account:?}"),
            format!("{:?}", account.key.pkcs8.as_slice()),
        );
        assert!(!shown.contains(&secret) && !shown.contains(&raw), "{shown}");
    }

    #[test]
    fn contacts_are_mail_addresses() {
        let check = |contact: &str| check_contacts(&[contact.to_owned()]).is_ok();
        assert!(check("mailto:a@example.org"));
        for contact in [
            "",
            "a@example.org",
            "mailto:",
            "mailto:a b@example.org",
            "tel:1@2",
        ] {
            assert!(!check(contact), "{contact}");
        }
        let many = |count| vec!["mailto:a@example.org".to_owned(); count];
        assert!(check_contacts(&many(8)).is_ok());
        assert!(check_contacts(&many(9)).is_err());
    }

    #[test]
    fn advice_is_read_or_refused() {
        let read = |text: &str| read_advice(text.as_bytes(), ADVICE_AGE);
        let good =
            r#"{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-03T00:00:00Z"}}"#;
        let window = read(good).unwrap().window;
        assert_eq!(window.end.since(window.start), Duration::from_hours(24));
        let rows = [
            "",
            "{}",
            "[]",
            r#"{"suggestedWindow":{"start":"soon","end":"2026-01-03T00:00:00Z"}}"#,
            r#"{"suggestedWindow":{"start":"2026-01-03T00:00:00Z","end":"2026-01-02T00:00:00Z"}}"#,
        ];
        for text in rows {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
