//! The signed requests of ACME (RFC 8555 section 6.2) that the library does not make: replacing an
//! account's key by one that is known beforehand.

use super::client::{Http, request};
use super::directory::Meta;
use super::error::{AcmeError, Problem};
use super::external::ExternalAccount;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::response::Parts;
use http::{Method, StatusCode};
use instant_acme::BodyWrapper;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Rejections in a row: where 90 % are rejected, one request in 10^9 has as many.
pub(super) const NONCE_TRIES_MAX: usize = 200;

/// The key of an account: ECDSA on P-256.
pub(super) struct Signer {
    pair: EcdsaKeyPair,
}

impl Signer {
    pub(super) fn generate() -> Result<Zeroizing<Vec<u8>>, AcmeError> {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = made.map_err(|error| AcmeError::Crypto(error.to_string()))?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    pub(super) fn open(pkcs8: &[u8]) -> Result<Self, AcmeError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8);
        match pair {
            Ok(pair) => Ok(Self { pair }),
            Err(error) => Err(AcmeError::Account(format!(
                "its key does not read: {error}"
            ))),
        }
    }

    /// RFC 7518 section 6.2, its members in the order of RFC 7638.
    pub(super) fn jwk(&self) -> Value {
        // Uncompressed: 4, x, y (SEC 1 section 2.3.3).
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        json!({
            "crv": "P-256", "kty": "EC",
            "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y),
        })
    }

    /// RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        // The values are base64url and the keys of the map are sorted: this is the canonical form.
        let canonical = self.jwk().to_string();
        BASE64URL_NOPAD.encode(&Sha256::digest(canonical.as_bytes()))
    }

    /// RFC 7515 section 7.2.2, flattened.
    fn sign(&self, protected: &Value, payload: &[u8]) -> Result<Value, AcmeError> {
        let protected = BASE64URL_NOPAD.encode(protected.to_string().as_bytes());
        let payload = BASE64URL_NOPAD.encode(payload);
        let signed = self
            .pair
            .sign(
                &SystemRandom::new(),
                format!("{protected}.{payload}").as_bytes(),
            )
            .map_err(|error| AcmeError::Crypto(error.to_string()))?;
        let signature = BASE64URL_NOPAD.encode(signed.as_ref());
        Ok(json!({"protected": protected, "payload": payload, "signature": signature}))
    }
}

/// Replaces `old` by `new` at the server (RFC 8555 section 7.3.5).
pub(super) async fn change_key(
    http: &Http,
    meta: &Meta,
    account_url: &str,
    old: &Signer,
    new: &Signer,
) -> Result<(), AcmeError> {
    let Some(url) = &meta.key_change else {
        return Err(AcmeError::Protocol(
            "its directory has no keyChange".to_owned(),
        ));
    };
    let claim = json!({"account": account_url, "oldKey": old.jwk()});
    let header = json!({"alg": "ES256", "jwk": new.jwk(), "url": url});
    let inner = new.sign(&header, claim.to_string().as_bytes())?;
    let by = By::Account(account_url, old);
    post(http, meta, &by, url, inner.to_string().as_bytes())
        .await
        .map(drop)
}

/// Makes an account (RFC 8555 section 7.3), bound to `external` if there is one; its URL.
pub(super) async fn new_account(
    http: &Http,
    meta: &Meta,
    key: &Signer,
    contacts: &[String],
    external: Option<&ExternalAccount>,
) -> Result<String, AcmeError> {
    let mut wish = json!({"termsOfServiceAgreed": true, "contact": contacts});
    if let Some(external) = external {
        wish["externalAccountBinding"] = external.binding(&meta.new_account, &key.jwk())?;
    }
    let (by, wish) = (By::Key(key), wish.to_string());
    let (parts, _body) = post(http, meta, &by, &meta.new_account, wish.as_bytes()).await?;
    match parts
        .headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
    {
        Some(url) => Ok(url.to_owned()),
        None => Err(AcmeError::Protocol(
            "it gave no URL of the account".to_owned(),
        )),
    }
}

/// Whether the server knows the account by this key: an empty POST to it (section 6.3).
pub(super) async fn look_up(
    http: &Http,
    meta: &Meta,
    account_url: &str,
    key: &Signer,
) -> Result<(), AcmeError> {
    post(http, meta, &By::Account(account_url, key), account_url, b"")
        .await
        .map(drop)
}

/// Who signs (RFC 8555 section 6.2).
enum By<'a> {
    /// A key that has no account yet.
    Key(&'a Signer),
    /// The account with this URL.
    Account(&'a str, &'a Signer),
}

impl By<'_> {
    fn sign(&self, url: &str, nonce: &str, payload: &[u8]) -> Result<Vec<u8>, AcmeError> {
        let (header, key) = match self {
            Self::Key(key) => (json!({"jwk": key.jwk()}), key),
            Self::Account(account, key) => (json!({"kid": account}), key),
        };
        let mut header = header;
        header["alg"] = "ES256".into();
        header["nonce"] = nonce.into();
        header["url"] = url.into();
        Ok(key.sign(&header, payload)?.to_string().into_bytes())
    }
}

/// Signs and sends, anew for each rejected nonce.
async fn post(
    http: &Http,
    meta: &Meta,
    by: &By<'_>,
    url: &str,
    payload: &[u8],
) -> Result<(Parts, Bytes), AcmeError> {
    for _try in 0..NONCE_TRIES_MAX {
        let nonce = nonce(http, meta).await?;
        let body = by.sign(url, &nonce, payload)?;
        let mut request = request(Method::POST, url, BodyWrapper::from(body))?;
        let kind = HeaderValue::from_static("application/jose+json");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        let (parts, body) = http.send(request).await?;
        match accept(&parts, body) {
            Err(error) if error.kind() == "badNonce" => {}
            Err(error) => return Err(error),
            Ok(body) => return Ok((parts, body)),
        }
    }
    Err(AcmeError::Nonces(NONCE_TRIES_MAX))
}

async fn nonce(http: &Http, meta: &Meta) -> Result<String, AcmeError> {
    let request = request(Method::HEAD, &meta.new_nonce, BodyWrapper::default())?;
    let (parts, _body) = http.send(request).await?;
    let nonce = parts
        .headers
        .get("replay-nonce")
        .and_then(|value| value.to_str().ok());
    match nonce {
        Some(nonce) => Ok(nonce.to_owned()),
        None => Err(AcmeError::Protocol("it gave no nonce".to_owned())),
    }
}

/// The body of a success; the refusal otherwise.
pub(super) fn accept(parts: &Parts, body: Bytes) -> Result<Bytes, AcmeError> {
    if parts.status.is_success() {
        return Ok(body);
    }
    match serde_json::from_slice::<instant_acme::Problem>(&body) {
        Ok(problem) => Err(AcmeError::Problem(Problem::of(&problem))),
        Err(_not_a_problem) if parts.status == StatusCode::NOT_FOUND => {
            Err(AcmeError::Protocol("there is no such thing".to_owned()))
        }
        Err(error) => Err(AcmeError::Protocol(format!(
            "{} with {error}",
            parts.status
        ))),
    }
}

/// Awaits a step of the library as often as its nonce is rejected: the library itself gives up after
/// three, and nothing has happened at the server by then. A macro, because the step borrows.
macro_rules! despite_nonces {
    ($step:expr) => {{
        let mut tries = 0;
        loop {
            match $step.await.map_err($crate::acme::error::AcmeError::from) {
                Err(error)
                    if error.kind() == "badNonce" && tries < $crate::acme::jws::NONCE_TRIES_MAX =>
                {
                    tries += 1;
                }
                Err(error) if error.kind() == "badNonce" => {
                    break Err($crate::acme::error::AcmeError::Nonces(tries));
                }
                other => break other,
            }
        }
    }};
}
pub(super) use despite_nonces;

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    #[test]
    fn what_is_signed_verifies() {
        let key = Signer::open(&Signer::generate().unwrap()).unwrap();
        let signed = key.sign(&json!({"alg": "ES256"}), b"payload").unwrap();
        let text = |member: &str| signed.get(member).unwrap().as_str().unwrap().to_owned();
        let message = format!("{}.{}", text("protected"), text("payload"));
        let signature = BASE64URL_NOPAD
            .decode(text("signature").as_bytes())
            .unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key());
        public.verify(message.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn damaged_keys_are_refused() {
        let good = Signer::generate().unwrap();
        for length in 0..good.len() {
            assert!(Signer::open(&good[..length]).is_err());
        }
    }
}
