//! What is decided before a site is asked: whose host it is, and whether the request is one that
//! a site can answer (http.md sections 1 and 6).

use super::body::{Content, Intake};
use super::metering::Agent;
use super::room::Claim;
use super::target::push_literal;
use super::{Door, Reply, forwarded, lan_page, respond, route, status_page};
use crate::challenges::Answer;
use crate::host::Host;
use crate::listen::Limits;
use crate::sites::SiteAt;
use http::header::{COOKIE, EXPECT, HOST};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use respond::{Caching, Head};

/// How a request reached us.
pub(crate) struct Transport {
    pub(crate) channel: Channel,
    /// From a proxy that is believed about whom it asks for.
    pub(crate) is_forwarded: bool,
    /// To memory for answers.
    pub(crate) claim: Claim,
    pub(crate) agent: Agent,
}

/// What carries a connection.
pub(crate) enum Channel {
    /// In the clear: port 80.
    Plain,
    /// Over TLS, for the name that the handshake asked for.
    Tls {
        /// None only where a default certificate answers handshakes without a name.
        sni: Option<Host>,
    },
}

impl Channel {
    /// How it takes what is in files.
    pub(super) fn intake(&self) -> Intake {
        match self {
            Self::Plain => Intake::Mapped,
            Self::Tls { .. } => Intake::Bytes,
        }
    }
}

/// The first decision about a request.
pub(super) enum Screened {
    /// It needs no site.
    Answered(Box<Reply>),
    /// GET or HEAD.
    Visit(Visit),
}

/// A request that a site answers.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) site: SiteAt,
    /// Whether it comes over TLS, as far as the visitor is concerned.
    pub(super) is_secure: bool,
}

/// The answer to a request that no site is asked about; boxed, since it is rare and large.
type Refused = Box<Reply>;

/// Looks at everything but the path's meaning.
pub(super) fn screen<B: http_body::Body>(
    door: &Door,
    transport: &Transport,
    request: &Request<B>,
) -> Screened {
    match try_screen(door, transport, request) {
        Ok(visit) => Screened::Visit(visit),
        Err(reply) => Screened::Answered(reply),
    }
}

fn try_screen<B: http_body::Body>(
    door: &Door,
    transport: &Transport,
    request: &Request<B>,
) -> Result<Visit, Refused> {
    check_size(request, &door.limits)?;
    check_known_method(request)?;
    check_target(request)?;
    let told = if transport.is_forwarded {
        Some(forwarded::read(request.headers()).ok_or_else(bad_request)?)
    } else {
        None
    };
    let host = match told.as_ref().and_then(|told| told.host.as_deref()) {
        Some(name) => Host::parse(name).ok(),
        None => requested_host(request)?,
    };
    let is_secure = match &told {
        Some(told) => told.is_secure,
        None => matches!(transport.channel, Channel::Tls { .. }),
    };
    if let Some(host) = host.as_ref().filter(|_host| !is_secure) {
        answer_authority(door, host, request)?;
    }
    if let Some(lan) = door.lan.as_ref().filter(|_lan| !is_secure)
        && host.as_ref().is_some_and(|host| lan.is_at(host))
    {
        check_expectation(request)?;
        check_method(request)?;
        let reply = lan_page::answer(lan, request.uri().path());
        return Err(Box::new(reply));
    }
    if let (Some(status), Some(host)) = (&door.status, &host)
        && status.is_at(host)
    {
        if told.is_none() {
            check_name(door, &transport.channel, host)?;
        }
        check_expectation(request)?;
        check_method(request)?;
        return Err(Box::new(status_page::answer(status, request.uri().path())));
    }
    let host = host.ok_or_else(|| page(StatusCode::MISDIRECTED_REQUEST))?;
    let site = door.sites.find(&host);
    if site.is_none() && !door.sites.is_awaited(&host) {
        return Err(page(StatusCode::MISDIRECTED_REQUEST));
    }
    if told.is_none() {
        check_name(door, &transport.channel, &host)?;
    }
    check_expectation(request)?;
    check_method(request)?;
    let site = site.ok_or_else(|| explained(respond::awaited()))?;
    let secure = (!is_secure).then(|| https_location(door, &host, request.uri()));
    if let Some(location) = secure.flatten() {
        let status = StatusCode::PERMANENT_REDIRECT;
        let head = respond::redirect(status, &location, Caching::NoStore);
        return Err(empty(head));
    }
    // What is said over TLS for good would be broken by the next visit in the clear.
    let is_secure = is_secure && !is_local(&host);
    Ok(Visit { site, is_secure })
}

/// What an authority asks of a host that the region answers for, wherever its site is.
fn answer_authority<B: http_body::Body>(
    door: &Door,
    host: &Host,
    request: &Request<B>,
) -> Result<(), Refused> {
    let target = request.uri().path_and_query();
    let answer = match target {
        Some(target) => door.challenges.answer(host, target.as_str()),
        None => Answer::NotAsked,
    };
    if answer == Answer::NotAsked {
        return Ok(());
    }
    check_expectation(request)?;
    check_method(request)?;
    match answer {
        Answer::Authorization(authorization) if *request.method() == Method::GET => {
            Err(Box::new(Reply {
                head: respond::text(),
                content: Content::Whole(authorization.into()),
                worth: None,
            }))
        }
        _ => Err(page(StatusCode::NOT_FOUND)),
    }
}

/// Ends the connection: what a visitor meant by this is unknown.
fn bad_request() -> Refused {
    explained(respond::closing_page(StatusCode::BAD_REQUEST))
}

fn page(status: StatusCode) -> Refused {
    Box::new(Reply::page(status))
}

fn explained(head: Head) -> Refused {
    Box::new(Reply::explained(head))
}

fn empty(head: Head) -> Refused {
    Box::new(Reply::empty(head))
}

fn check_size<B>(request: &Request<B>, limits: &Limits) -> Result<(), Refused> {
    let target = request.uri().path_and_query();
    if target.is_some_and(|target| target.as_str().len() > limits.uri_bytes_max) {
        return Err(explained(respond::closing_page(StatusCode::URI_TOO_LONG)));
    }
    // hyper counts the headers of HTTP/1.1 as it reads them, those of HTTP/2 it does not.
    if header_count(request.headers()) > limits.header_count_max {
        return Err(page(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    Ok(())
}

/// The lines of a head; a cookie that HTTP/2 has cut into crumbs is one (RFC 9113 section 8.2.3).
fn header_count(headers: &HeaderMap) -> usize {
    let crumbs = headers.get_all(COOKIE).iter().count();
    headers.len() - crumbs.saturating_sub(1)
}

/// Whether the value of `Host` can be one.
pub(super) fn is_valid_host_line(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(Host::can_be)
}

/// `:authority` or `Host`, which must agree if both are there. `None` is a host that nobody can
/// have, or none at all in HTTP/1.0.
fn requested_host<B>(request: &Request<B>) -> Result<Option<Host>, Refused> {
    let mut lines = request.headers().get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(bad_request());
    }
    let named = match line {
        Some(value) => Some(value.to_str().map_err(|_not_ascii| bad_request())?),
        None => None,
    };
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    match (authority, named) {
        (Some(authority), Some(named)) => {
            let (authority, named) = (Host::parse(authority).ok(), Host::parse(named).ok());
            if authority == named {
                Ok(authority)
            } else {
                Err(bad_request())
            }
        }
        (Some(name), None) if request.version() >= Version::HTTP_2 => {
            // RFC 9113 section 8.3.1: no userinfo.
            if name.contains('@') {
                return Err(bad_request());
            }
            Ok(Host::parse(name).ok())
        }
        // An HTTP/1.1 request has a Host header even if its target is a whole URI.
        (_, None) if request.version() >= Version::HTTP_11 => Err(bad_request()),
        (Some(name), None) | (None, Some(name)) => Ok(Host::parse(name).ok()),
        (None, None) => Ok(None),
    }
}

/// A connection made for one site asks for another: allowed only if one certificate covers both.
fn check_name(door: &Door, channel: &Channel, host: &Host) -> Result<(), Refused> {
    let Channel::Tls { sni: Some(sni) } = channel else {
        return Ok(());
    };
    let covered = sni == host
        || door.sites.is_any_host()
        || door
            .tls
            .as_ref()
            .is_some_and(|tls| tls.is_same_certificate(sni, host));
    if covered {
        Ok(())
    } else {
        Err(page(StatusCode::MISDIRECTED_REQUEST))
    }
}

fn check_expectation<B>(request: &Request<B>) -> Result<(), Refused> {
    let mut expected = request.headers().get_all(EXPECT).iter();
    if expected.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(page(StatusCode::EXPECTATION_FAILED))
    }
}

/// Methods whose target is no page, or that repeat what they were sent: whatever the host.
fn check_known_method<B>(request: &Request<B>) -> Result<(), Refused> {
    let mut head = match *request.method() {
        Method::CONNECT | Method::TRACE => respond::method_not_allowed(),
        _ => return Ok(()),
    };
    if *request.method() == Method::CONNECT {
        // What follows may be meant for somebody else.
        respond::close(&mut head, request.version());
    }
    Err(explained(head))
}

/// Targets that HTTP/2 cannot have and the library lets through (RFC 9113 section 8.3.1); in HTTP/1.1
/// the scanner beneath refuses them. A fragment of `:path` is gone before we see it.
fn check_target<B>(request: &Request<B>) -> Result<(), Refused> {
    if request.version() < Version::HTTP_2 {
        return Ok(());
    }
    let uri = request.uri();
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let has_path =
        target.starts_with('/') || (target == "*" && request.method() == Method::OPTIONS);
    // The library keeps no scheme where there is no authority.
    if has_path && matches!(uri.scheme_str(), None | Some("http" | "https")) {
        Ok(())
    } else {
        Err(bad_request())
    }
}

fn check_method<B: http_body::Body>(request: &Request<B>) -> Result<(), Refused> {
    let has_body = !request.body().is_end_stream();
    let closing = |mut head: Head| {
        if has_body {
            // The body is not read, so what follows it on the connection cannot be found.
            respond::close(&mut head, request.version());
        }
        Err(explained(head))
    };
    match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS if has_body => {
            closing(respond::page(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Method::GET | Method::HEAD => Ok(()),
        Method::OPTIONS => Err(empty(respond::options())),
        _ => closing(respond::method_not_allowed()),
    }
}

/// Whether the name is one of the LAN's own (RFC 6762 section 3): no authority certifies it.
pub(super) fn is_local(host: &Host) -> bool {
    host.as_str().ends_with(".local")
}

/// Where port 80 sends a visitor: the same place over TLS, while a valid certificate is there.
/// Challenges of a certificate authority are answered in the clear.
fn https_location(door: &Door, host: &Host, uri: &Uri) -> Option<String> {
    if is_local(host) {
        return None;
    }
    let (tls, https_port) = (door.tls.as_ref()?, door.https_port?);
    if !tls.is_valid_for(host, door.clock.now()) || route::is_acme_challenge(uri.path()) {
        return None;
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let port = match https_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let mut location = format!("https://{host}{port}");
    target.chars().for_each(|c| push_literal(c, &mut location));
    target.starts_with('/').then_some(location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::blob_file::BlobReader;
    use crate::http::health::Assurances;
    use crate::http::room::Rooms;
    use crate::lan::Lan;
    use crate::sites::{CacheBudget, Sites};
    use crate::tls::{Certificates, Fallback, LocalCa, TlsResolver};
    use http_body_util::Full;
    use std::collections::{BTreeSet, HashMap};
    use std::sync::Arc;
    use verge_sync::clock::{Clock, UnixTime};
    use verge_sync::{SiteId, Version as SiteVersion};

    const NOW: UnixTime = UnixTime(1_800_000_000);

    /// Serves these hosts, each with a certificate of its own; plain HTTP redirects to port 8443.
    fn door(names: &[&str]) -> Door {
        let dir = tempfile::tempdir().unwrap();
        let hosts: BTreeSet<Host> = names.iter().map(|name| name.parse().unwrap()).collect();
        let leaves = LocalCa::open(dir.path(), NOW).unwrap().ensure(&hosts, NOW);
        let tls = TlsResolver::new(Certificates::new(leaves.unwrap(), Fallback::Refuse));
        let sites = Sites::new(BlobReader::new(dir.path(), |_| {}), CacheBudget::default());
        let site = |byte| SiteAt {
            site: SiteId::from_bytes([byte; 32]),
            version: SiteVersion::from_bytes([byte; 32]),
            takeout_public: false,
            left: None,
        };
        let shown: HashMap<Host, SiteAt> = hosts.into_iter().zip((1..).map(site)).collect();
        sites.replace(shown);
        Door {
            sites: Arc::new(sites),
            tls: Some(Arc::new(tls)),
            limits: Limits::default(),
            rooms: Arc::new(Rooms::new(1 << 20)),
            clock: Clock::fixed(NOW),
            https_port: Some(8443),
            assurances: Assurances::default(),
            lan: None,
            status: None,
            challenges: Arc::default(),
            meter: Arc::default(),
        }
    }

    /// A request, and what carries it.
    #[derive(Clone, Copy)]
    struct Row {
        line: &'static str,
        /// `None`: in the clear.
        sni: Option<&'static str>,
        is_forwarded: bool,
        headers: &'static [(&'static str, &'static str)],
        body: &'static str,
    }

    const PLAIN: Row = Row {
        line: "GET / HTTP/1.1",
        sni: None,
        is_forwarded: false,
        headers: &[("host", "a.example")],
        body: "",
    };
    const SECURE: Row = Row {
        sni: Some("a.example"),
        ..PLAIN
    };

    fn ask(door: &Door, row: &Row) -> String {
        let mut words = row.line.split(' ');
        let mut word = || words.next().unwrap();
        let (method, target, version) = (word(), word(), word());
        let version = match version {
            "HTTP/1.0" => Version::HTTP_10,
            "HTTP/1.1" => Version::HTTP_11,
            _ => Version::HTTP_2,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .version(version);
        for (name, value) in row.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(row.body.as_bytes())).unwrap();
        let channel = match row.sni {
            None => Channel::Plain,
            Some(name) => Channel::Tls {
                sni: Some(name.parse().unwrap()),
            },
        };
        let transport = Transport {
            channel,
            is_forwarded: row.is_forwarded,
            claim: Claim::new(None),
            agent: Agent::default(),
        };
        match screen(door, &transport, &request) {
            Screened::Visit(visit) if visit.is_secure => "secure".to_owned(),
            Screened::Visit(_) => "plain".to_owned(),
            Screened::Answered(reply) => {
                let headers = &reply.head.headers;
                let value = |name| headers.get(name).map(|value| value.to_str().unwrap());
                let more = value("location").or(value("allow")).or(value("connection"));
                let status = reply.head.status.as_u16().to_string();
                more.map_or(status.clone(), |more| format!("{status} {more}"))
            }
        }
    }

    fn check(rows: &[(Row, &str)]) {
        let door = door(&["a.example", "b.example", "node.local"]);
        for (row, expected) in rows {
            let (line, headers) = (row.line, row.headers);
            assert_eq!(
                ask(&door, row),
                *expected,
                "{line} {headers:?} {:?}",
                row.sni
            );
        }
    }

    /// http.md section 1, "unknown host" and "host compare".
    #[test]
    fn hosts_are_told_apart() {
        let host = |headers| Row { headers, ..SECURE };
        let h2 = |line, headers| Row {
            line,
            headers,
            ..SECURE
        };
        check(&[
            (SECURE, "secure"),
            (host(&[("host", "A.EXAMPLE.:443")]), "secure"),
            (host(&[("host", "c.example")]), "421"),
            (host(&[("host", "127.0.0.1")]), "421"),
            (host(&[("host", "")]), "421"),
            (host(&[("host", "b.example")]), "421"),
            (host(&[]), "400 close"),
            (
                host(&[("host", "a.example"), ("host", "a.example")]),
                "400 close",
            ),
            (h2("GET / HTTP/1.0", &[]), "421"),
            (h2("GET http://a.example/ HTTP/1.1", &[]), "400 close"),
            (
                h2("GET http://a.example/ HTTP/1.1", &[("host", "a.example")]),
                "secure",
            ),
            (
                h2("GET http://a.example/ HTTP/1.1", &[("host", "b.example")]),
                "400 close",
            ),
            (h2("GET https://a.example/ HTTP/2", &[]), "secure"),
            (
                h2("GET https://a.example:1/ HTTP/2", &[("host", "a.example")]),
                "secure",
            ),
            (
                h2("GET https://a.example/ HTTP/2", &[("host", "b.example")]),
                "400 close",
            ),
            (h2("GET https://x@a.example/ HTTP/2", &[]), "400 close"),
            (h2("GET ftp://a.example/ HTTP/2", &[]), "400 close"),
            (h2("GET / HTTP/2", &[("host", "a.example")]), "secure"),
            (h2("GET / HTTP/2", &[]), "400 close"),
        ]);
    }

    /// http.md section 1, "method", and section 6, bodies and expectations.
    #[test]
    fn methods_bodies_and_expectations_have_their_answers() {
        let of = |line, headers, body| Row {
            line,
            headers,
            body,
            ..SECURE
        };
        const HOST: &[(&str, &str)] = &[("host", "a.example")];
        const LATER: &[(&str, &str)] = &[("host", "a.example"), ("expect", "100-continue")];
        const PONY: &[(&str, &str)] = &[("host", "a.example"), ("expect", "a-pony")];
        let allow = "405 GET, HEAD, OPTIONS";
        check(&[
            (of("GET / HTTP/1.1", HOST, ""), "secure"),
            (of("HEAD / HTTP/1.1", HOST, ""), "secure"),
            (of("OPTIONS / HTTP/1.1", HOST, ""), "204 GET, HEAD, OPTIONS"),
            (of("OPTIONS * HTTP/1.1", HOST, ""), "204 GET, HEAD, OPTIONS"),
            (of("POST / HTTP/1.1", HOST, ""), allow),
            (of("BREW / HTTP/1.1", HOST, ""), allow),
            (of("TRACE / HTTP/1.1", HOST, ""), allow),
            // Whatever the host.
            (of("TRACE / HTTP/1.1", &[("host", "c.example")], ""), allow),
            (of("CONNECT c.example:443 HTTP/1.1", &[], ""), allow),
            (of("GET / HTTP/1.1", HOST, "x"), "413 close"),
            (of("HEAD / HTTP/1.1", HOST, "x"), "413 close"),
            (of("OPTIONS / HTTP/1.1", HOST, "x"), "413 close"),
            (of("POST / HTTP/1.1", HOST, "x"), allow),
            (of("GET / HTTP/1.1", LATER, ""), "secure"),
            (of("GET / HTTP/1.1", PONY, ""), "417"),
            (of("POST / HTTP/1.1", PONY, ""), "417"),
        ]);
    }

    /// http.md section 6, "Port 80", and section 1, `*.local`.
    #[test]
    fn plain_http_redirects_where_a_certificate_is_valid() {
        let of = |line, headers| Row {
            line,
            headers,
            ..PLAIN
        };
        let challenge = "GET /.well-known/acme-challenge/x HTTP/1.1";
        const A: &[(&str, &str)] = &[("host", "a.example")];
        let rows = [
            (
                of("GET /a//b?c HTTP/1.1", A),
                "308 https://a.example:8443/a//b?c",
            ),
            (of("HEAD /a HTTP/1.1", A), "308 https://a.example:8443/a"),
            (of(challenge, A), "plain"),
            (of("GET / HTTP/1.1", &[("host", "node.local")]), "plain"),
            (of("GET / HTTP/1.1", &[("host", "c.example")]), "421"),
        ];
        check(&rows);
        let local = Row {
            sni: Some("node.local"),
            headers: &[("host", "node.local")],
            ..SECURE
        };
        // No HSTS for it.
        check(&[(local, "plain")]);
        let mut door = door(&["a.example"]);
        door.https_port = None;
        assert_eq!(ask(&door, &PLAIN), "plain");
        door.https_port = Some(443);
        assert_eq!(ask(&door, &PLAIN), "308 https://a.example/");
        door.tls = Some(Arc::default());
        assert_eq!(ask(&door, &PLAIN), "plain");
    }

    /// http.md section 1, the region's LAN page: before a site of that name, in the clear only.
    #[test]
    fn the_lan_page_has_one_host_and_no_tls() {
        let mut door = door(&["a.example", "node.local"]);
        let ca = Some("-----BEGIN".to_owned());
        let lan = Lan::new("node.local".parse().unwrap(), ca);
        door.lan = Some(Arc::new(lan));
        const HOST: &[(&str, &str)] = &[("host", "NODE.local.:80")];
        let of = |line| Row {
            line,
            headers: HOST,
            ..PLAIN
        };
        let rows = [
            (of("GET / HTTP/1.1"), "200"),
            (of("HEAD /?x HTTP/1.1"), "200"),
            (of("GET /.well-known/verge/ca.crt HTTP/1.1"), "200"),
            (of("GET /.well-known/verge/ca.crt/ HTTP/1.1"), "404"),
            (of("GET /.well-known/verge/health HTTP/1.1"), "404"),
            (of("GET /index.html HTTP/1.1"), "404"),
            (of("GET /%2F HTTP/1.1"), "400"),
            (of("POST / HTTP/1.1"), "405 GET, HEAD, OPTIONS"),
            (of("OPTIONS / HTTP/1.1"), "204 GET, HEAD, OPTIONS"),
            (PLAIN, "308 https://a.example:8443/"),
            (
                Row {
                    headers: &[("host", "x.node.local")],
                    ..PLAIN
                },
                "421",
            ),
            // Over TLS the name is a site's, if it has one.
            (
                Row {
                    sni: Some("node.local"),
                    headers: HOST,
                    ..SECURE
                },
                "plain",
            ),
        ];
        for (row, expected) in rows {
            assert_eq!(ask(&door, &row), expected, "{} {:?}", row.line, row.headers);
        }
        door.lan = Some(Arc::new(Lan::new("node.local".parse().unwrap(), None)));
        let ca = of("GET /.well-known/verge/ca.crt HTTP/1.1");
        assert_eq!(ask(&door, &ca), "404");
    }

    /// http.md section 6, `X-Forwarded-*`.
    #[test]
    fn a_proxy_that_is_believed_names_the_host_and_the_protocol() {
        let from = |headers| Row {
            is_forwarded: true,
            headers,
            ..PLAIN
        };
        const FOR: (&str, &str) = ("x-forwarded-for", "192.0.2.1");
        const HTTPS: (&str, &str) = ("x-forwarded-proto", "https");
        const HTTP: (&str, &str) = ("x-forwarded-proto", "http");
        const UP: (&str, &str) = ("host", "upstream");
        check(&[
            (from(&[("host", "a.example"), FOR, HTTPS]), "secure"),
            (
                from(&[("host", "a.example"), FOR, HTTP]),
                "308 https://a.example:8443/",
            ),
            (
                from(&[UP, FOR, HTTPS, ("x-forwarded-host", "b.example")]),
                "secure",
            ),
            (from(&[UP, FOR, HTTPS]), "421"),
            (from(&[UP, HTTPS]), "400 close"),
            (from(&[UP, FOR]), "400 close"),
        ]);
    }

    /// http.md section 6, limits, on both sides.
    #[test]
    fn sizes_have_limits_with_two_sides() {
        let mut door = door(&["a.example"]);
        door.limits.uri_bytes_max = 10;
        door.limits.header_count_max = 3;
        let line = |line| Row { line, ..SECURE };
        assert_eq!(ask(&door, &line("GET /123456789 HTTP/1.1")), "secure");
        assert_eq!(ask(&door, &line("GET /1234567890 HTTP/1.1")), "414 close");
        assert_eq!(ask(&door, &line("GET /1234567?9 HTTP/1.1")), "secure");
        assert_eq!(ask(&door, &line("GET /1234567?90 HTTP/1.1")), "414 close");
        let lines = |headers| Row { headers, ..SECURE };
        const HOST: (&str, &str) = ("host", "a.example");
        const X: (&str, &str) = ("x", "y");
        const CRUMB: (&str, &str) = ("cookie", "z");
        assert_eq!(ask(&door, &lines(&[HOST, X, X])), "secure");
        assert_eq!(ask(&door, &lines(&[HOST, X, X, X])), "431");
        // Crumbs of one cookie are one line.
        assert_eq!(ask(&door, &lines(&[HOST, X, CRUMB, CRUMB])), "secure");
        assert_eq!(ask(&door, &lines(&[HOST, X, X, CRUMB])), "431");
    }
}
