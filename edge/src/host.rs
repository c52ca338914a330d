//! The DNS name that a visitor asks for, in the one form in which names are compared.

use std::borrow::Borrow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The longest DNS name in text form (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A lower-case A-label name such as `garden.example.org`, without port and trailing dot; an IP
/// address as it stands in a URL is one too (nobody publishes under it, but `preview` answers it).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Box<str>);

/// Why text is not a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing before the port.
    #[error("the host name is empty")]
    Empty,
    /// Longer than 253 bytes, or a label longer than 63 or empty.
    #[error("the host name or a label of it has a length that DNS does not allow")]
    Length,
    /// A character that DNS names do not have; U-labels must be written as A-labels.
    #[error(
        "the host name has a character other than a-z, 0-9, \"-\" and \"_\" \
         (write international names as A-labels: \"xn--...\")"
    )]
    Character,
    /// Something that is not a port after the last colon.
    #[error("what follows the host name is not a port")]
    Port,
}

impl Host {
    /// Reads the value of `Host`, `:authority` or SNI: folds case, drops one trailing dot and the
    /// port.
    ///
    /// # Errors
    /// [`HostError`] names the first rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Some(rest) = text.strip_prefix('[') {
            return parse_ipv6(rest);
        }
        Ok(Self(name_in(text)?.to_ascii_lowercase().into()))
    }

    /// Whether `text` can be read as a host; nothing is kept of it.
    pub(crate) fn can_be(text: &str) -> bool {
        match text.strip_prefix('[') {
            Some(rest) => parse_ipv6(rest).is_ok(),
            None => name_in(text).is_ok(),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the first label: the name that a wildcard certificate for this host carries.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_label, parent)| parent)
    }
}

/// The name without port and trailing dot. Every request is looked at twice: by bytes, since splitting
/// text takes four times as long.
fn name_in(text: &str) -> Result<&str, HostError> {
    let name = match memchr::memrchr(b':', text.as_bytes()).and_then(|at| text.split_at_checked(at))
    {
        Some((name, port)) => {
            check_port(port.get(1..).unwrap_or_default())?;
            name
        }
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(HostError::Length);
    }
    let mut labels = name.as_bytes().split(|byte| *byte == b'.');
    labels.try_for_each(check_label)?;
    Ok(name)
}

fn parse_ipv6(rest: &str) -> Result<Host, HostError> {
    let (address, after) = rest.split_once(']').ok_or(HostError::Character)?;
    match after.strip_prefix(':') {
        Some(port) => check_port(port)?,
        None if after.is_empty() => {}
        None => return Err(HostError::Port),
    }
    let address = Ipv6Addr::from_str(address).map_err(|_not_an_address| HostError::Character)?;
    Ok(Host(format!("[{address}]").into()))
}

fn check_port(port: &str) -> Result<(), HostError> {
    // RFC 3986 section 3.2.3 allows an empty port.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (port.is_empty() || port.parse::<u16>().is_ok()) {
        Ok(())
    } else {
        Err(HostError::Port)
    }
}

fn check_label(label: &[u8]) -> Result<(), HostError> {
    if label.is_empty() || label.len() > LABEL_BYTES_MAX {
        return Err(HostError::Length);
    }
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if label.iter().all(fits) && label.first() != Some(&b'-') && label.last() != Some(&b'-') {
        Ok(())
    } else {
        Err(HostError::Character)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_in_one_form() {
        let long_label = format!("{}.org", "a".repeat(64));
        let long_name = format!("{}org", "abcdefgh.".repeat(30));
        let rows: &[(&str, Result<&str, HostError>)] = &[
            ("example.org", Ok("example.org")),
            ("Example.ORG", Ok("example.org")),
            ("example.org.", Ok("example.org")),
            ("example.org:8443", Ok("example.org")),
            ("example.org.:443", Ok("example.org")),
            ("example.org:", Ok("example.org")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("a_b.example", Ok("a_b.example")),
            ("localhost", Ok("localhost")),
            ("127.0.0.1:80", Ok("127.0.0.1")),
            ("[::1]", Ok("[::1]")),
            ("[0:0::1]:8080", Ok("[::1]")),
            ("", Err(HostError::Empty)),
            (".", Err(HostError::Empty)),
            (":80", Err(HostError::Empty)),
            ("example.org..", Err(HostError::Length)),
            ("a..b", Err(HostError::Length)),
            (".a", Err(HostError::Length)),
            (&long_label, Err(HostError::Length)),
            (&long_name, Err(HostError::Length)),
            ("b\u{fc}cher.example", Err(HostError::Character)),
            ("a b", Err(HostError::Character)),
            ("user@example.org", Err(HostError::Character)),
            ("example.org/x", Err(HostError::Character)),
            ("-a.example", Err(HostError::Character)),
            ("a.example,b.example", Err(HostError::Character)),
            ("[::1", Err(HostError::Character)),
            ("[x]", Err(HostError::Character)),
            ("[::1]x", Err(HostError::Port)),
            ("example.org:99999", Err(HostError::Port)),
            ("example.org:http", Err(HostError::Port)),
        ];
        for (text, expected) in rows {
            let expected = expected.map(str::to_owned);
            assert_eq!(
                Host::parse(text).map(|host| host.to_string()),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_parent_is_what_a_wildcard_names() {
        let parent = |text: &str| Host::parse(text).unwrap().parent().map(str::to_owned);
        assert_eq!(parent("a.b.example"), Some("b.example".to_owned()));
        assert_eq!(parent("localhost"), None);
    }
}
