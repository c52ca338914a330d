//! What a proxy that is believed says of the visitor behind it: `X-Forwarded-For`, `-Proto`,
//! `-Host`. Pure.
//!
//! Of a list, the last member counts: the believed proxy wrote it, the others are hearsay.

use http::HeaderMap;
use std::net::{IpAddr, SocketAddr};

/// The visitor's request, as the proxy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// Came over TLS.
    pub(super) is_secure: bool,
    /// Asked for this host; none: the request's own is right.
    pub(super) host: Option<String>,
}

/// `None` if the proxy does not say where a request comes from and how: it is not set up, and
/// guessing would redirect for ever.
pub(super) fn read(headers: &HeaderMap) -> Option<Forwarded> {
    let address = last(headers, "x-forwarded-for")?;
    let is_address = address.parse::<IpAddr>().is_ok() || address.parse::<SocketAddr>().is_ok();
    let is_secure = match last(headers, "x-forwarded-proto")? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    is_address.then(|| Forwarded {
        is_secure,
        host: last(headers, "x-forwarded-host").map(str::to_owned),
    })
}

fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    line.rsplit(',').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "x-forwarded-for";
    const PROTO: &str = "x-forwarded-proto";
    const HOST: &str = "x-forwarded-host";

    type Lines = &'static [(&'static str, &'static str)];

    #[test]
    fn the_last_member_counts() {
        let told = |is_secure, host: Option<&str>| {
            Some(Forwarded {
                is_secure,
                host: host.map(str::to_owned),
            })
        };
        let rows: [(Lines, Option<Forwarded>); 10] = [
            (&[(FROM, "192.0.2.1"), (PROTO, "https")], told(true, None)),
            (&[(FROM, "192.0.2.1:5"), (PROTO, "http")], told(false, None)),
            (
                &[(FROM, "a, 2001:db8::1"), (PROTO, "ftp, https")],
                told(true, None),
            ),
            (
                &[
                    (FROM, "::1"),
                    (PROTO, "https"),
                    (HOST, "a.example, b.example"),
                ],
                told(true, Some("b.example")),
            ),
            (
                &[(FROM, "x"), (FROM, "::1"), (PROTO, "https")],
                told(true, None),
            ),
            (&[(FROM, "::1"), (FROM, "x"), (PROTO, "https")], None),
            (&[(FROM, "192.0.2.1")], None),
            (&[(PROTO, "https")], None),
            (&[(FROM, "192.0.2.1"), (PROTO, "wss")], None),
            (&[], None),
        ];
        for (lines, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            assert_eq!(read(&headers), expected, "{lines:?}");
        }
    }
}
