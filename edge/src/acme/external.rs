//! An account that an authority knows from elsewhere, to which a new one is bound (RFC 8555 section
//! 7.3.4): most authorities beside Let's Encrypt ask for one.

use super::error::AcmeError;
use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Letters of a key's id.
const ID_BYTES_MAX: usize = 256;
/// Of a key: the least that HMAC-SHA256 is worth having, and more than anybody hands out.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

/// Which account there, and the key that shows it. Never shows the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAccount {
    id: String,
    /// In base64url, as it is handed out.
    key: String,
}

impl ExternalAccount {
    /// As the authority hands both out: an id, and a key in base64url (or plain base64).
    ///
    /// # Errors
    /// [`AcmeError::Account`]; its text has nothing of the key.
    pub fn new(id: &str, key: &str) -> Result<Self, AcmeError> {
        let external = Self {
            id: id.to_owned(),
            key: key.trim().to_owned(),
        };
        external.check()?;
        Ok(external)
    }

    /// It may have come over a socket.
    fn check(&self) -> Result<Zeroizing<Vec<u8>>, AcmeError> {
        let fail = |why: &str| AcmeError::Account(why.to_owned());
        let is_plain = self.id.bytes().all(|byte| byte.is_ascii_graphic());
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX || !is_plain {
            return Err(fail(
                "the id of its key (EAB) is not one of 1 to 256 letters without spaces",
            ));
        }
        let forms = [BASE64URL_NOPAD, BASE64URL, BASE64_NOPAD, BASE64];
        let key = forms
            .iter()
            .find_map(|form| form.decode(self.key.as_bytes()).ok());
        let key = key
            .map(Zeroizing::new)
            .filter(|key| KEY_BYTES.contains(&key.len()));
        key.ok_or_else(|| fail("the key (EAB) is not 16 to 256 bytes in base64url: write it into the file as the authority shows it, and nothing else"))
    }

    /// What says that the owner of `jwk` may have an account at `url`.
    pub(super) fn binding(&self, url: &str, jwk: &Value) -> Result<Value, AcmeError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.check()?);
        let header = json!({"alg": "HS256", "kid": self.id, "url": url});
        let protected = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
        let payload = BASE64URL_NOPAD.encode(jwk.to_string().as_bytes());
        let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        let signature = BASE64URL_NOPAD.encode(tag.as_ref());
        Ok(json!({"protected": protected, "payload": payload, "signature": signature}))
    }
}

impl Drop for ExternalAccount {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExternalAccount").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_authorities_hand_them_out() {
        let key = [0xfb_u8; 32];
        for form in [BASE64URL_NOPAD, BASE64URL, BASE64_NOPAD, BASE64] {
            let text = format!(" {}\n", form.encode(&key));
            let read = ExternalAccount::new("kid-1", &text).unwrap();
            assert_eq!(*read.check().unwrap(), key);
        }
        let shown = format!("{:?}", ExternalAccount::new("kid-1", &BASE64.encode(&key)));
        assert!(
            !shown.contains(&BASE64.encode(&key)) && shown.contains("kid-1"),
            "{shown}"
        );
    }

    #[test]
    fn limits_hold_on_both_sides() {
        let key = |bytes: usize| BASE64URL_NOPAD.encode(&vec![1; bytes]);
        let is_read = |id: &str, bytes: usize| ExternalAccount::new(id, &key(bytes)).is_ok();
        assert!(is_read(&"k".repeat(ID_BYTES_MAX), 16) && is_read("k", 256));
        assert!(!is_read("", 32) && !is_read(&"k".repeat(ID_BYTES_MAX + 1), 32));
        assert!(!is_read("a b", 32) && !is_read("k", 15) && !is_read("k", 257));
        assert!(ExternalAccount::new("k", "not base64!").is_err());
    }
}
