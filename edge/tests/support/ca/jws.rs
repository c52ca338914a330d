//! Verifying requests (RFC 8555 section 6.2, RFC 7515).

use super::protocol::Problem;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A P-256 key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jwk {
    x: String,
    y: String,
}

/// A request whose form is right; its signature is not verified yet.
pub(crate) struct Signed {
    pub(crate) nonce: Option<String>,
    pub(crate) url: String,
    pub(crate) jwk: Option<Jwk>,
    pub(crate) kid: Option<String>,
    pub(crate) payload: Vec<u8>,
    message: String,
    signature: Vec<u8>,
}

impl Jwk {
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        if text("kty")? != "EC" || text("crv")? != "P-256" {
            return None;
        }
        Some(Self {
            x: text("x")?,
            y: text("y")?,
        })
    }

    /// RFC 7638.
    pub(crate) fn thumbprint(&self) -> String {
        let Self { x, y } = self;
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64URL_NOPAD.encode(&Sha256::digest(text.as_bytes()))
    }

    fn point(&self) -> Option<Vec<u8>> {
        let mut point = vec![4];
        point.extend(BASE64URL_NOPAD.decode(self.x.as_bytes()).ok()?);
        point.extend(BASE64URL_NOPAD.decode(self.y.as_bytes()).ok()?);
        Some(point)
    }
}

impl Signed {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        Self::try_parse(body).ok_or_else(|| Problem::new(400, "malformed", "no JWS"))
    }

    fn try_parse(body: &[u8]) -> Option<Self> {
        let outer: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| outer.get(name)?.as_str();
        let bytes = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let header: Value = serde_json::from_slice(&bytes(text("protected")?)?).ok()?;
        let of_header = |name: &str| header.get(name)?.as_str().map(str::to_owned);
        if of_header("alg")? != "ES256" {
            return None;
        }
        let (jwk, kid) = (header.get("jwk").and_then(Jwk::parse), of_header("kid"));
        // Exactly one of the two (section 6.2).
        if jwk.is_some() == kid.is_some() {
            return None;
        }
        Some(Self {
            nonce: of_header("nonce"),
            url: of_header("url")?,
            jwk,
            kid,
            payload: bytes(text("payload")?)?,
            message: format!("{}.{}", text("protected")?, text("payload")?),
            signature: bytes(text("signature")?)?,
        })
    }

    pub(crate) fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        let point = key.point().unwrap_or_default();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        let verified = public.verify(self.message.as_bytes(), &self.signature);
        verified.map_err(|_error| Problem::new(403, "unauthorized", "the signature is wrong"))
    }

    /// The payload as JSON; an empty one is a reading (section 6.3).
    pub(crate) fn json(&self) -> Result<Option<Value>, Problem> {
        if self.payload.is_empty() {
            return Ok(None);
        }
        let json = serde_json::from_slice(&self.payload);
        json.map(Some)
            .map_err(|_error| Problem::new(400, "malformed", "the payload is no JSON"))
    }
}
