//! Where an ACME server is, and what it says about itself.

use super::client::{Http, Timeouts};
use super::error::{AcmeError, shown};
use serde::Deserialize;
use std::fmt;
use verge_sync::Digest;

/// Longest URL of a directory.
const URL_BYTES_MAX: usize = 512;
/// Identities that are read of a directory.
const IDENTITIES_MAX: usize = 16;
/// Separates this digest from those of other things.
const DIGEST_LABEL: &str = "verge acme directory v1";

/// An ACME server, by the URL of its directory (RFC 8555 section 7.1.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Directory {
    url: String,
    root_pem: Option<String>,
    timeouts: Timeouts,
}

/// What a server says about itself, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The names by which it calls itself in CAA records.
    pub caa_identities: Vec<String>,
    /// The terms that one agrees to by making an account.
    pub terms_url: Option<String>,
    /// Whether it makes accounts only for those that it knows from elsewhere.
    pub wants_external: bool,
    /// Its profiles, if it has any.
    pub profiles: Vec<String>,
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) key_change: Option<String>,
    pub(super) renewal_info: Option<String>,
}

impl Directory {
    /// `url` must be `https`. With `root_pem`, certificates of authorities, only these are trusted
    /// for this server; without, those of the system.
    ///
    /// # Errors
    /// [`AcmeError::Directory`].
    pub fn new(url: &str, root_pem: Option<String>) -> Result<Self, AcmeError> {
        let fail = |why: &str| AcmeError::Directory {
            url: shown(url),
            why: why.to_owned(),
        };
        if url.len() > URL_BYTES_MAX {
            return Err(fail("its URL is too long"));
        }
        let parsed: http::Uri = url.parse().map_err(|_error| fail("it is not a URL"))?;
        if parsed.scheme_str() != Some("https") || parsed.host().is_none() {
            return Err(fail("its URL must begin with https://"));
        }
        Ok(Self {
            url: url.to_owned(),
            root_pem,
            timeouts: Timeouts::default(),
        })
    }

    /// The same server, waited for otherwise.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Its URL: the key of everything that is kept about it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stands for it in the names of files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::derive(DIGEST_LABEL, &[self.url.as_bytes()])
    }

    /// Asks the server about itself.
    ///
    /// # Errors
    /// [`AcmeError`].
    pub async fn meta(&self) -> Result<Meta, AcmeError> {
        let http = self.client()?;
        Meta::parse(&self.url, &http.get(&self.url).await?)
    }

    pub(super) fn client(&self) -> Result<Http, AcmeError> {
        Http::new(&self.url, self.root_pem.as_deref(), self.timeouts)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.url).finish()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    new_nonce: String,
    new_account: String,
    key_change: Option<String>,
    renewal_info: Option<String>,
    #[serde(default)]
    meta: WireMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMeta {
    caa_identities: Vec<String>,
    terms_of_service: Option<String>,
    external_account_required: bool,
    profiles: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

impl Meta {
    /// Whether it says when a certificate should be renewed, and takes `replaces` (RFC 9773).
    #[must_use]
    pub fn has_renewal_info(&self) -> bool {
        self.renewal_info.is_some()
    }

    pub(super) fn parse(url: &str, body: &[u8]) -> Result<Self, AcmeError> {
        let wire: Wire = serde_json::from_slice(body).map_err(|error| AcmeError::Directory {
            url: url.to_owned(),
            why: format!("it answered something that is not an ACME directory ({error})"),
        })?;
        Ok(Self {
            caa_identities: wire
                .meta
                .caa_identities
                .into_iter()
                .take(IDENTITIES_MAX)
                .collect(),
            terms_url: wire.meta.terms_of_service,
            wants_external: wire.meta.external_account_required,
            profiles: wire
                .meta
                .profiles
                .into_keys()
                .take(IDENTITIES_MAX)
                .collect(),
            new_nonce: wire.new_nonce,
            new_account: wire.new_account,
            key_change: wire.key_change,
            renewal_info: wire.renewal_info,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_an_https_url() {
        assert!(Directory::new("https://acme.example/directory", None).is_ok());
        assert!(Directory::new("https://127.0.0.1:14000/dir", None).is_ok());
        let long = format!("https://acme.example/{}", "x".repeat(URL_BYTES_MAX));
        for url in [
            "",
            "acme.example",
            "http://acme.example/",
            "https://",
            "ftp://x",
            &long,
        ] {
            assert!(
                matches!(Directory::new(url, None), Err(AcmeError::Directory { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn staging_has_another_digest() {
        let of = |url| Directory::new(url, None).unwrap().digest();
        assert_ne!(
            of("https://a.example/staging"),
            of("https://a.example/production")
        );
    }

    #[test]
    fn what_is_said_of_oneself_is_read() {
        let body = br#"{"newNonce":"https://a.example/n","newAccount":"x","newOrder":"x",
            "renewalInfo":"https://a.example/ari","meta":{"caaIdentities":["a.example"],
            "termsOfService":"https://a.example/terms","externalAccountRequired":true,"profiles":{"classic":"90 days"}}}"#;
        let meta = Meta::parse("u", body).unwrap();
        assert_eq!(meta.caa_identities, ["a.example"]);
        assert_eq!(meta.profiles, ["classic"]);
        assert!(meta.has_renewal_info() && meta.wants_external);
        assert!(Meta::parse("u", b"<html>").is_err());
    }
}
