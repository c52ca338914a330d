//! `/.well-known/verge/health`: that this node serves, its release, and which version; with a nonce
//! also signed, so that who asks knows which node answered and when.

use super::takeout::hex;
use crate::sites::SiteAt;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use verge_sync::id::NodeId;

/// What a signature of this kind covers first, so that it can never be one of a record.
const DOMAIN: &[u8] = b"verge health 1\0";
/// Enough for 256 bits in hexadecimal digits.
const NONCE_BYTES_MAX: usize = 64;

/// What a node can give its word for.
#[derive(Debug, Clone)]
pub struct Assurances {
    /// Signs answers about its health; none in a preview.
    pub signer: Option<HealthSigner>,
    /// For how long from now a valid certificate is sure: a browser is never told to insist on TLS
    /// for longer.
    pub certificate_life: Duration,
}

impl Default for Assurances {
    /// No signature; 43 days: a certificate of 90 days is renewed at half its life, less two days
    /// for a renewal that is late.
    fn default() -> Self {
        Self {
            signer: None,
            certificate_life: Duration::from_secs((90 / 2 - 2) * 24 * 60 * 60),
        }
    }
}

/// The key of a node, as far as health goes.
#[derive(Clone)]
pub struct HealthSigner {
    node: NodeId,
    sign: Arc<Sign>,
}

/// Makes a signature of bytes.
type Sign = dyn Fn(&[u8]) -> [u8; 64] + Send + Sync;

impl HealthSigner {
    /// `sign` makes the Ed25519 signature of `node`.
    pub fn new(node: NodeId, sign: impl Fn(&[u8]) -> [u8; 64] + Send + Sync + 'static) -> Self {
        Self {
            node,
            sign: Arc::new(sign),
        }
    }
}

impl fmt::Debug for HealthSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HealthSigner({})", self.node)
    }
}

/// What a signature covers: domain, site, version, nonce.
#[must_use]
pub fn signed_bytes(site: &SiteAt, nonce: &str) -> Vec<u8> {
    let parts: [&[u8]; 4] = [
        DOMAIN,
        site.site.as_bytes(),
        site.version.as_bytes(),
        nonce.as_bytes(),
    ];
    parts.concat()
}

/// The body of the answer; `None` if the nonce is none: 1 to 64 letters, digits, `-` and `_`.
pub(super) fn body(assurances: &Assurances, site: &SiteAt, query: Option<&str>) -> Option<String> {
    let mut pairs = query.unwrap_or_default().split('&');
    let nonce = pairs.find_map(|pair| pair.strip_prefix("nonce="));
    let mut body = serde_json::json!({
        "ok": true,
        "release": env!("CARGO_PKG_VERSION"),
        "version": site.version.to_string(),
    });
    if let Some(nonce) = nonce {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX || !nonce.bytes().all(is_plain) {
            return None;
        }
        if let (Some(signer), Some(fields)) = (&assurances.signer, body.as_object_mut()) {
            let signature = (signer.sign)(&signed_bytes(site, nonce));
            let more = [
                ("site", site.site.to_string()),
                ("nonce", nonce.to_owned()),
                ("node", signer.node.to_string()),
                ("signature", hex(&signature)),
            ];
            for (name, value) in more {
                fields.insert(name.to_owned(), value.into());
            }
        }
    }
    Some(format!("{body}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use verge_sync::{Digest, SiteId, Version};

    fn site() -> SiteAt {
        SiteAt {
            site: SiteId::from_bytes([1; 32]),
            version: Version::from_digest(Digest::from_bytes([2; 32])),
            takeout_public: false,
            left: None,
        }
    }

    #[test]
    fn a_nonce_is_signed_where_there_is_a_key() {
        let signer = HealthSigner::new(NodeId::from_bytes([3; 32]), |bytes| {
            assert_eq!(bytes.len(), DOMAIN.len() + 32 + 32 + 3);
            assert!(bytes.ends_with(b"abc"));
            [4; 64]
        });
        let with = Assurances {
            signer: Some(signer),
            ..Assurances::default()
        };
        let without = Assurances::default();
        let text = body(&with, &site(), Some("a=b&nonce=abc")).unwrap();
        assert!(text.contains("\"nonce\":\"abc\""), "{text}");
        assert!(
            text.contains(&format!("\"signature\":\"{}\"", "04".repeat(64))),
            "{text}"
        );
        for (assurances, query) in [(&with, None), (&without, Some("nonce=abc"))] {
            let text = body(assurances, &site(), query).unwrap();
            assert!(
                text.contains("\"ok\":true") && !text.contains("signature"),
                "{text}"
            );
        }
        for nonce in ["", "a\"b", "%20", &"a".repeat(65)] {
            let query = format!("nonce={nonce}");
            assert_eq!(body(&with, &site(), Some(&query)), None, "{nonce}");
        }
    }
}
