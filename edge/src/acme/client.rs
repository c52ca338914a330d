//! HTTP to an ACME server: what instant-acme leaves out.
//!
//! Every request has a time-out to connect and one for the whole answer, every answer a size.
//! `Retry-After` of 429 and 503 is kept, measured from the server's own `Date`, so that our clock
//! does not matter. What is no answer of an ACME server (a page of a proxy, a redirect) is
//! [`AcmeError::NotAcme`]. Owns connections, which close when the last clone is dropped.

use super::error::{AcmeError, RETRY_AFTER_MAX, shown};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A chain has some 5 KB, an order with a hundred names some 20.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Idle connections are kept as long as an order pauses between two questions.
const IDLE: Duration = Duration::from_secs(15);
const AGENT: &str = concat!("verge/", env!("CARGO_PKG_VERSION"));

/// How long a server is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To reach it, TLS aside.
    pub connect: Duration,
    /// From the question to the last byte of the answer.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            // Some CAs sign while the question waits.
            request: Duration::from_secs(60),
        }
    }
}

type Body = BodyWrapper<Bytes>;

/// Asks one ACME server.
#[derive(Clone)]
pub(super) struct Http(Arc<Inner>);

struct Inner {
    client: HyperClient<HttpsConnector<HttpConnector>, Body>,
    request_timeout: Duration,
    directory_url: String,
    /// The directory as it was last read, because the library keeps parts of it to itself.
    directory: OnceLock<Bytes>,
}

impl Http {
    pub(super) fn new(
        directory_url: &str,
        root_pem: Option<&str>,
        timeouts: Timeouts,
    ) -> Result<Self, AcmeError> {
        let tls = tls_config(root_pem).map_err(|why| AcmeError::Directory {
            url: directory_url.to_owned(),
            why,
        })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeouts.connect));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let client = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(https);
        Ok(Self(Arc::new(Inner {
            client,
            request_timeout: timeouts.request,
            directory_url: directory_url.to_owned(),
            directory: OnceLock::new(),
        })))
    }

    /// The directory, once it was asked for.
    pub(super) fn directory(&self) -> Option<&Bytes> {
        self.0.directory.get()
    }

    pub(super) async fn get(&self, url: &str) -> Result<Bytes, AcmeError> {
        let (_parts, body) = self
            .send(request(Method::GET, url, Body::default())?)
            .await?;
        Ok(body)
    }

    /// Asks, and judges the answer as far as that needs no knowledge of the question.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<(Parts, Bytes), AcmeError> {
        let url = request.uri().to_string();
        request
            .headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let timeout = self.0.request_timeout;
        let answered = tokio::time::timeout(timeout, self.exchange(&url, request)).await;
        let (parts, body) = answered.map_err(|_elapsed| AcmeError::TimedOut {
            url: url.clone(),
            seconds: timeout.as_secs(),
        })??;
        judge(&url, &parts, &body)?;
        if url == self.0.directory_url {
            // A second reading of the same directory changes nothing that matters here.
            drop(self.0.directory.set(body.clone()));
        }
        Ok((parts, body))
    }

    async fn exchange(
        &self,
        url: &str,
        request: Request<Body>,
    ) -> Result<(Parts, Bytes), AcmeError> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| AcmeError::Unreachable {
            url: url.to_owned(),
            why: shown(&crate::error_chain::chain(error)),
        };
        let response = self
            .0
            .client
            .request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let (parts, body) = response.into_parts();
        match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
            Ok(body) => Ok((parts, body.to_bytes())),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(AcmeError::TooLong {
                    url: url.to_owned(),
                    bytes_max: ANSWER_BYTES_MAX,
                })
            }
            Err(error) => Err(unreachable(error.as_ref())),
        }
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<Body>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let answered = this.send(request).await;
            let (parts, body) =
                answered.map_err(|error| instant_acme::Error::Other(Box::new(error)))?;
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// A request with a body or without.
pub(super) fn request(method: Method, url: &str, body: Body) -> Result<Request<Body>, AcmeError> {
    let built = Request::builder().method(method).uri(url).body(body);
    built.map_err(|error| AcmeError::Protocol(format!("the URL {}: {error}", shown(url))))
}

fn tls_config(root_pem: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match root_pem {
        Some(pem) => builder.with_root_certificates(roots(pem)?),
        None => builder.try_with_platform_verifier().map_err(|error| {
            format!("the system has no root certificates ({error}): install ca-certificates")
        })?,
    };
    Ok(builder.with_no_client_auth())
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("its root: {error:?}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("its root: {error}"))?;
    }
    if roots.is_empty() {
        return Err("its root has no certificate in PEM form".to_owned());
    }
    Ok(roots)
}

/// What is no answer of an ACME server, and what is one that says "later".
fn judge(url: &str, parts: &Parts, body: &[u8]) -> Result<(), AcmeError> {
    let after = retry_after(&parts.headers);
    match parts.status {
        StatusCode::TOO_MANY_REQUESTS => {
            return Err(AcmeError::RateLimited {
                detail: detail(body),
                after,
            });
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            return Err(AcmeError::Busy {
                detail: detail(body),
                after,
            });
        }
        _ => {}
    }
    let fits = if parts.status.is_success() {
        !is_html(parts, body)
    } else {
        !parts.status.is_redirection() && !is_html(parts, body) && is_object(body)
    };
    if fits {
        return Ok(());
    }
    Err(AcmeError::NotAcme {
        url: url.to_owned(),
        status: parts.status.as_u16(),
        excerpt: match parts
            .headers
            .get(LOCATION)
            .filter(|_| parts.status.is_redirection())
        {
            Some(target) => format!(
                "a redirect to {}",
                shown(&String::from_utf8_lossy(target.as_bytes()))
            ),
            None => shown(&String::from_utf8_lossy(body)),
        },
    })
}

fn is_html(parts: &Parts, body: &[u8]) -> bool {
    let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"text/html"))
        || body.trim_ascii_start().starts_with(b"<")
}

fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).is_ok()
}

/// The words of a problem document, or the beginning of whatever it is.
fn detail(body: &[u8]) -> String {
    let problem: Option<instant_acme::Problem> = serde_json::from_slice(body).ok();
    match problem.and_then(|problem| problem.detail) {
        Some(detail) => shown(&detail),
        None if body.is_empty() => "it gave no reason".to_owned(),
        None => shown(&String::from_utf8_lossy(body)),
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date, which is compared with the server's own.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let value = text(RETRY_AFTER)?;
    let after = if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // Digits that do not fit are a very long time.
        value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let then = httpdate::parse_http_date(value).ok()?;
        let now = httpdate::parse_http_date(text(DATE)?).ok()?;
        then.duration_since(now).unwrap_or(Duration::ZERO)
    };
    Some(after.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers<'a> = &'a [(&'a str, &'a str)];

    fn parts(status: u16, headers: Headers<'_>) -> Parts {
        let mut builder = http::Response::builder().status(status);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_is_not_acme_is_seen() {
        let json = ("content-type", "application/json");
        let html = ("content-type", "text/html; charset=utf-8");
        let problem = br#"{"type":"urn:ietf:params:acme:error:badNonce"}"#.as_slice();
        let rows: &[(u16, Headers<'_>, &[u8], bool)] = &[
            (200, &[json], b"{}", true),
            (200, &[], b"", true),
            (
                200,
                &[("content-type", "application/pem-certificate-chain")],
                b"-----BEGIN",
                true,
            ),
            (204, &[], b"", true),
            (
                400,
                &[("content-type", "application/problem+json")],
                problem,
                true,
            ),
            (500, &[], problem, true),
            (200, &[html], b"{}", false),
            (200, &[json], b"  <html>", false),
            (302, &[("location", "https://login.example/")], b"", false),
            (403, &[], b"", false),
            (502, &[html], b"<h1>Bad gateway</h1>", false),
            (500, &[], b"oops", false),
            (500, &[], b"[]", false),
        ];
        for (status, headers, body, fits) in rows {
            let judged = judge("https://ca.example/x", &parts(*status, headers), body);
            assert_eq!(judged.is_ok(), *fits, "{status} {headers:?}");
            if let Err(error) = judged {
                assert!(matches!(error, AcmeError::NotAcme { .. }), "{error}");
            }
        }
    }

    #[test]
    fn later_is_later_whatever_the_body_is() {
        for body in [
            b"".as_slice(),
            b"<html>",
            br#"{"detail":"too many orders"}"#,
        ] {
            let judged = |status| judge("u", &parts(status, &[("retry-after", "60")]), body);
            let minute = Some(Duration::from_mins(1));
            assert!(
                matches!(judged(429), Err(AcmeError::RateLimited { after, .. }) if after == minute)
            );
            assert!(matches!(judged(503), Err(AcmeError::Busy { after, .. }) if after == minute));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_of_the_servers_clock() {
        let date = ("date", "Thu, 01 Jan 1970 00:00:00 GMT");
        let rows: &[(Headers<'_>, Option<u64>)] = &[
            (&[], None),
            (&[("retry-after", "0")], Some(0)),
            (&[("retry-after", " 120 ")], Some(120)),
            (
                &[("retry-after", "Thu, 01 Jan 1970 01:00:00 GMT"), date],
                Some(3600),
            ),
            (&[("retry-after", "Thu, 01 Jan 1970 01:00:00 GMT")], None),
            (
                &[("retry-after", "Wed, 31 Dec 1969 01:00:00 GMT"), date],
                None,
            ),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "604800")], Some(604_800)),
            (&[("retry-after", "604801")], Some(604_800)),
            (&[("retry-after", "99999999999999999999999")], Some(604_800)),
        ];
        for (headers, expected) in rows {
            let after = retry_after(&parts(429, headers).headers);
            assert_eq!(after, expected.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn a_root_must_be_a_certificate() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(tls_config(Some(pem)).is_err(), "{pem}");
        }
    }
}
