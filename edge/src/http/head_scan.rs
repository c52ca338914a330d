//! The framing of HTTP/1.1 requests, byte by byte, stricter than the library above it.
//!
//! What two readers of one byte stream may understand differently is refused here: bare CR and LF,
//! folded lines, two lengths, two hosts (RFC 9112 sections 2.2, 3, 5, 6). Pure: it is shown bytes
//! and says how far they are good. Looks at each byte of a head once, whatever the pieces it comes
//! in, and keeps no byte.

use super::screen::is_valid_host_line;
use http::{StatusCode, Uri};
use memchr::memchr;

/// What a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadLimits {
    pub(super) bytes_max: usize,
    pub(super) header_count_max: usize,
    pub(super) target_bytes_max: usize,
}

/// Why a request is refused, and whether its answer may have a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) is_head: bool,
}

/// How far the bytes of a head are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scanned {
    /// So far good, but its end has not come.
    Partial,
    /// The head is so many bytes long.
    Whole {
        bytes: usize,
        /// What follows is its body, of whatever length.
        has_body: bool,
    },
    /// The connection must end with this answer.
    Refused(Refusal),
}

/// The state between two pieces of one head.
#[derive(Debug)]
pub(super) struct HeadScanner {
    limits: HeadLimits,
    /// Where the line that is being read begins.
    line_at: usize,
    /// Bytes before this one are known to hold no line's end and no control character.
    checked_to: usize,
    facts: Facts,
}

/// What the lines so far say.
#[derive(Debug, Default)]
struct Facts {
    has_request_line: bool,
    is_head: bool,
    is_http_10: bool,
    header_count: usize,
    host_count: usize,
    length: Option<u64>,
    has_coding: bool,
}

impl HeadScanner {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            line_at: 0,
            checked_to: 0,
            facts: Facts::default(),
        }
    }

    /// Reads on. `bytes` are those of before and what came since; they begin where the head does.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Scanned {
        let scanned = self.try_scan(bytes).unwrap_or_else(|status| {
            Scanned::Refused(Refusal {
                status,
                is_head: self.facts.is_head,
            })
        });
        if matches!(scanned, Scanned::Whole { .. }) {
            (self.line_at, self.checked_to) = (0, 0);
            self.facts = Facts::default();
        }
        scanned
    }

    /// The visitor sends no more in the middle of a head.
    pub(super) fn refuse_end(&self) -> Refusal {
        Refusal {
            status: StatusCode::BAD_REQUEST,
            is_head: self.facts.is_head,
        }
    }

    fn try_scan(&mut self, bytes: &[u8]) -> Result<Scanned, StatusCode> {
        loop {
            let fresh = bytes.get(self.checked_to..).unwrap_or_default();
            let Some(offset) = memchr(b'\n', fresh) else {
                self.check_unfinished(bytes)?;
                return Ok(Scanned::Partial);
            };
            let end = self.checked_to.saturating_add(offset).saturating_add(1);
            self.check_total(end)?;
            let line = bytes.get(self.line_at..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r\n").ok_or(StatusCode::BAD_REQUEST)?;
            if has_control(line) {
                return Err(StatusCode::BAD_REQUEST);
            }
            (self.line_at, self.checked_to) = (end, end);
            if !line.is_empty() {
                self.facts.read_line(line, &self.limits)?;
            } else if self.facts.has_request_line {
                let has_body = self.facts.check_whole()?;
                return Ok(Scanned::Whole {
                    bytes: end,
                    has_body,
                });
            }
            // An empty line before the request line is passed over (RFC 9112 section 2.2).
        }
    }

    /// A line without its end: what is wrong with it already must not wait for the rest.
    fn check_unfinished(&mut self, bytes: &[u8]) -> Result<(), StatusCode> {
        self.check_total(bytes.len())?;
        let line = bytes.get(self.line_at..).unwrap_or_default();
        let fresh = bytes.get(self.checked_to..).unwrap_or_default();
        // The last byte may be the CR of a line's end.
        let fresh = fresh.strip_suffix(b"\r").unwrap_or(fresh);
        if has_control(fresh) {
            return Err(StatusCode::BAD_REQUEST);
        }
        if !self.facts.has_request_line {
            self.limits.check_request_line(line)?;
            self.facts.is_head = line.starts_with(b"HEAD ");
        } else if line.first().is_some_and(|byte| is_blank(*byte)) {
            return Err(StatusCode::BAD_REQUEST);
        }
        self.checked_to = self.checked_to.saturating_add(fresh.len());
        Ok(())
    }

    fn check_total(&self, bytes: usize) -> Result<(), StatusCode> {
        if bytes <= self.limits.bytes_max {
            Ok(())
        } else if self.facts.has_request_line {
            Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        } else {
            Err(StatusCode::URI_TOO_LONG)
        }
    }
}

/// Longer than any method that is registered.
const METHOD_BYTES_MAX: usize = 32;
/// Two spaces, "HTTP/1.1", CR.
const VERSION_BYTES: usize = 11;

impl HeadLimits {
    /// Whatever it is, a line of this length has too long a target.
    fn check_request_line(&self, line: &[u8]) -> Result<(), StatusCode> {
        let room = METHOD_BYTES_MAX.saturating_add(VERSION_BYTES);
        if line.len() > self.target_bytes_max.saturating_add(room) {
            return Err(StatusCode::URI_TOO_LONG);
        }
        Ok(())
    }
}

impl Facts {
    fn read_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), StatusCode> {
        if self.has_request_line {
            return self.read_header(line, limits);
        }
        self.has_request_line = true;
        self.is_head = line.starts_with(b"HEAD ");
        self.read_request_line(line, limits)
    }

    fn read_request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), StatusCode> {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        limits.check_request_line(line)?;
        let (method, rest) = split_at_byte(line, b' ').ok_or(BAD)?;
        let (target, version) = split_at_byte(rest, b' ').ok_or(BAD)?;
        if !is_token(method) || method.len() > METHOD_BYTES_MAX {
            return Err(BAD);
        }
        self.is_http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
            }
            _ => return Err(BAD),
        };
        if target.len() > limits.target_bytes_max {
            return Err(StatusCode::URI_TOO_LONG);
        }
        if is_target(method, target) {
            Ok(())
        } else {
            Err(BAD)
        }
    }

    fn read_header(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), StatusCode> {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        self.header_count = self.header_count.saturating_add(1);
        if self.header_count > limits.header_count_max {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        // A folded line begins with a blank, which no name has; nor has it one before the colon.
        let (name, value) = split_at_byte(line, b':').ok_or(BAD)?;
        if !is_token(name) {
            return Err(BAD);
        }
        let value = value.trim_ascii();
        let is = |expected: &[u8]| name.eq_ignore_ascii_case(expected);
        match name.len() {
            4 if is(b"host") => {
                self.host_count = self.host_count.saturating_add(1);
                // An empty one names no site, and is not malformed.
                if !value.is_empty() && !is_valid_host_line(value) {
                    return Err(BAD);
                }
            }
            14 if is(b"content-length") => {
                if self.length.is_some() {
                    return Err(BAD);
                }
                self.length = Some(length(value).ok_or(BAD)?);
            }
            17 if is(b"transfer-encoding") => {
                if self.has_coding || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(coding_fault(value));
                }
                self.has_coding = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a body follows.
    fn check_whole(&self) -> Result<bool, StatusCode> {
        let two_lengths = self.length.is_some() && self.has_coding;
        let old_chunks = self.is_http_10 && self.has_coding;
        let hosts_fit = self.host_count == 1 || (self.host_count == 0 && self.is_http_10);
        if two_lengths || old_chunks || !hosts_fit {
            return Err(StatusCode::BAD_REQUEST);
        }
        Ok(self.has_coding || self.length.is_some_and(|length| length > 0))
    }
}

/// A coding that nobody here can undo is 501; one that leaves the end unknown is 400 (RFC 9112
/// section 6.1).
fn coding_fault(value: &[u8]) -> StatusCode {
    let last = value.rsplit(|byte| *byte == b',').next();
    let ends = last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let chunked_count = names
        .by_ref()
        .filter(|name| name.eq_ignore_ascii_case(b"chunked"))
        .count();
    if ends && chunked_count == 1 && value.contains(&b',') {
        StatusCode::NOT_IMPLEMENTED
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// RFC 9112 section 3.2: origin, absolute, authority (CONNECT) and asterisk form (OPTIONS).
fn is_target(method: &[u8], target: &[u8]) -> bool {
    if target.iter().any(|byte| matches!(byte, b'#' | b'\t')) || !is_read_above(target) {
        return false;
    }
    match method {
        b"CONNECT" => !target.is_empty() && !target.contains(&b'/'),
        b"OPTIONS" if target == b"*" => true,
        _ => target.starts_with(b"/") || is_absolute(target),
    }
}

/// Whether the library above reads it: what it cannot, such as `<`, it would refuse with an empty
/// page. It is only asked about bytes that few targets have.
fn is_read_above(target: &[u8]) -> bool {
    let is_plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~/?%!$&'()*+,;=:@".contains(byte);
    let is_path = target.starts_with(b"/") || target == b"*";
    (is_path && target.iter().all(is_plain)) || Uri::try_from(target).is_ok()
}

fn is_absolute(target: &[u8]) -> bool {
    let after = |scheme: &[u8]| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let Some(rest) = after(b"http://").or_else(|| after(b"https://")) else {
        return false;
    };
    let authority = rest.split(|byte| matches!(byte, b'/' | b'?')).next();
    authority.is_some_and(is_valid_host_line)
}

fn length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number)?;
    text.parse().ok()
}

fn split_at_byte(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = memchr(at, bytes)?;
    let (before, rest) = bytes.split_at(position);
    Some((before, rest.get(1..)?))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// No search: 16 bytes at once, and a good line is read to its end anyway.
fn has_control(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut found = 0;
    for block in blocks {
        for byte in block {
            found |= u8::from(is_control(*byte));
        }
    }
    found != 0 || rest.iter().any(|byte| is_control(*byte))
}

const fn is_control(byte: u8) -> bool {
    ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
}

/// RFC 9110 section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_in_table = |byte: &u8| TOKEN.get(usize::from(*byte)).is_some_and(|is| *is);
    !bytes.is_empty() && bytes.iter().all(is_in_table)
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &[u8] = b"!#$%&'*+-.^_`|~0123456789\
        abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    while let [byte, more @ ..] = rest {
        table[*byte as usize] = true;
        rest = more;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes_max: 1000,
        header_count_max: 5,
        target_bytes_max: 100,
    };

    /// The status of a refusal; 0 for a head without a body, 1 for one with.
    fn verdict(scanned: Scanned) -> u16 {
        match scanned {
            Scanned::Refused(refusal) => refusal.status.as_u16(),
            Scanned::Whole { has_body, .. } => u16::from(has_body),
            Scanned::Partial => 2,
        }
    }

    fn check(head: &str, expected: u16) {
        let whole = HeadScanner::new(LIMITS).scan(head.as_bytes());
        assert_eq!(verdict(whole), expected, "{head:?}");
        let mut scanner = HeadScanner::new(LIMITS);
        let mut last = Scanned::Partial;
        for end in 1..=head.len() {
            last = scanner.scan(&head.as_bytes()[..end]);
            if last != Scanned::Partial {
                break;
            }
        }
        assert_eq!(verdict(last), expected, "byte by byte: {head:?}");
    }

    #[test]
    fn request_lines() {
        let long = format!("GET /{} HTTP/1.1", "a".repeat(99));
        let longer = format!("GET /{} HTTP/1.1", "a".repeat(100));
        let endless = "G".repeat(200);
        let rows = [
            ("GET / HTTP/1.1", 0),
            ("get / HTTP/1.1", 0),
            ("GET http://a.example/ HTTP/1.1", 0),
            ("GET HTTPS://A.example:8443?q HTTP/1.1", 0),
            ("OPTIONS * HTTP/1.1", 0),
            ("CONNECT a.example:443 HTTP/1.1", 0),
            (&long, 0),
            (&longer, 414),
            (&endless, 414),
            ("GET * HTTP/1.1", 400),
            ("GET a HTTP/1.1", 400),
            ("GET a.example:443 HTTP/1.1", 400),
            ("GET /#a HTTP/1.1", 400),
            ("GET ftp://a.example/ HTTP/1.1", 400),
            ("GET http:///a HTTP/1.1", 400),
            ("GET http://u@a.example/ HTTP/1.1", 400),
            ("CONNECT / HTTP/1.1", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET /  HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET\t/ HTTP/1.1", 400),
            ("GET /\t HTTP/1.1", 400),
            ("GET / x HTTP/1.1", 400),
            ("GET /", 400),
            ("GET", 400),
            ("G@T / HTTP/1.1", 400),
            ("GET / http/1.1", 400),
            ("GET / HTTP/1", 400),
            ("GET / HTTP/11", 400),
            ("GET / HTTP/1.10", 400),
            ("GET / HTTP/01.1", 400),
            ("GET / HTTP/1.2", 505),
            ("GET / HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("GET /\0 HTTP/1.1", 400),
            ("GET /\x7f HTTP/1.1", 400),
            ("GET /\r HTTP/1.1", 400),
        ];
        for (line, expected) in rows {
            check(&format!("{line}\r\nHost: a\r\n\r\n"), expected);
        }
    }

    #[test]
    fn header_lines() {
        let rows = [
            ("Host: a", 0),
            ("host:a", 0),
            ("Host:", 0),
            ("HOST: \t a.example:80 ", 0),
            ("Host: a\r\nX: \u{fc}\t!", 0),
            ("Host: a\r\nX:", 0),
            ("Host: a\r\nContent-Length: 0", 0),
            ("Host: a\r\nContent-Length: 00", 0),
            ("Host: a\r\nContent-Length: 1", 1),
            ("Host: a\r\nTransfer-Encoding: Chunked", 1),
            ("Host: a\r\nB: 1\r\nC: 2\r\nD: 3\r\nE: 4", 0),
            ("Host: a\r\nB: 1\r\nC: 2\r\nD: 3\r\nE: 4\r\nF: 5", 431),
            ("X: y", 400),
            ("Host: a\r\nHost: a", 400),
            ("Host: a b", 400),
            ("Host: a,b", 400),
            ("Host: u@a", 400),
            ("Host: a/b", 400),
            ("Host: a:x", 400),
            ("Host : a", 400),
            (" Host: a", 400),
            ("Host: a\r\n folded", 400),
            ("Host: a\r\n\tfolded", 400),
            ("Host: a\r\nX\tY: z", 400),
            ("Host: a\r\nX", 400),
            ("Host: a\r\n: x", 400),
            ("Host: a\r\n(x): y", 400),
            ("Host: a\r\nX\u{fc}: y", 400),
            ("Host: a\r\nX: \0", 400),
            ("Host: a\r\nX: \x0b", 400),
            ("Host: a\r\nX: y\rZ: z", 400),
            ("Host: a\nX: y", 400),
            ("Host: a\r\nX: y\n", 400),
            ("Host: a\r\r\nX: y", 400),
            ("Host: a\r\nContent-Length: 1\r\nContent-Length: 1", 400),
            ("Host: a\r\nContent-Length: 1\r\nContent-Length: 2", 400),
            ("Host: a\r\nContent-Length: 1, 1", 400),
            ("Host: a\r\nContent-Length: +1", 400),
            ("Host: a\r\nContent-Length: -1", 400),
            ("Host: a\r\nContent-Length: 0x1", 400),
            ("Host: a\r\nContent-Length:", 400),
            ("Host: a\r\nContent-Length: 18446744073709551616", 400),
            (
                "Host: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked",
                400,
            ),
            (
                "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1",
                400,
            ),
            (
                "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                400,
            ),
            ("Host: a\r\nTransfer-Encoding: chunked, chunked", 400),
            ("Host: a\r\nTransfer-Encoding: chunked, gzip", 400),
            ("Host: a\r\nTransfer-Encoding: xchunked", 400),
            ("Host: a\r\nTransfer-Encoding: identity", 400),
            ("Host: a\r\nTransfer-Encoding: gzip, chunked", 501),
        ];
        for (lines, expected) in rows {
            check(&format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n"), expected);
        }
    }

    #[test]
    fn the_first_version_needs_no_host_and_has_no_chunks() {
        check("GET / HTTP/1.0\r\n\r\n", 0);
        check("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400);
        check("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    }

    #[test]
    fn what_is_wrong_does_not_wait_for_the_rest() {
        for (bytes, expected) in [
            ("GET / HTTP/1.1\n", 400),
            ("GET /\rH", 400),
            ("GET / HTTP/1.1\r\n x", 400),
            ("GET / HTTP/1.1\r\nHost", 2),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            ("\n", 400),
            ("\x16\x03\x01", 400),
        ] {
            check(bytes, expected);
        }
        let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(1000));
        check(&endless, 431);
        check(&"\r\n".repeat(501), 414);
    }

    #[test]
    fn heads_of_a_pipeline_are_found_one_after_another() {
        let one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let two = [&one[..], &one[..], b"GET"].concat();
        let mut scanner = HeadScanner::new(LIMITS);
        let mut rest = &two[..];
        for _ in 0..2 {
            let bytes = one.len();
            let whole = Scanned::Whole {
                bytes,
                has_body: false,
            };
            assert_eq!(scanner.scan(rest), whole);
            rest = &rest[bytes..];
        }
        assert_eq!(scanner.scan(rest), Scanned::Partial);
    }
}
