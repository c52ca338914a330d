//! What an answer means, whoever gives it: spelling does not matter.

use crate::support::visitor::Answer as Received;

/// What the body of a page begins with; its path follows.
pub(super) const PAGE_MARK: &str = "page ";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A status and the file of the site that goes with it, by its body.
    Page(u16, Option<String>),
    Redirect(u16, Place),
    /// 400.
    Bad,
    /// Of the node itself.
    Reserved,
}

/// A location, cut into its parts and decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `https://example.org`, or nothing.
    pub(super) origin: String,
    /// Between slashes; the last is empty if there is a slash at the end.
    pub(super) path: Vec<String>,
    /// Parameters as HTML forms write them; none where it is empty.
    pub(super) query: Option<Vec<(String, String)>>,
    pub(super) fragment: Option<String>,
}

impl Answer {
    pub(super) fn of(received: &Received) -> Self {
        let status = received.status.as_u16();
        if let Some(location) = received.header("location") {
            return Self::Redirect(status, Place::read(location));
        }
        let body = String::from_utf8_lossy(&received.body);
        match status {
            400 => Self::Bad,
            _ => Self::Page(
                status,
                body.starts_with(PAGE_MARK).then(|| body.into_owned()),
            ),
        }
    }

    /// Whether nothing is there.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Page(404, None) | Self::Bad)
    }
}

impl Place {
    pub(super) fn read(text: &str) -> Self {
        let (text, fragment) = match text.split_once('#') {
            Some((text, fragment)) => (text, Some(decode(fragment))),
            None => (text, None),
        };
        let (text, query) = match text.split_once('?') {
            Some((text, query)) => (text, pairs(query)),
            None => (text, None),
        };
        // `//host` is another host as well.
        let mut schemes = ["//", "http://", "https://"].into_iter();
        let host = schemes.find_map(|scheme| text.strip_prefix(scheme));
        let end = host.map_or(0, |host| {
            text.len() - host.len() + host.find('/').unwrap_or(host.len())
        });
        let (origin, path) = text.split_at(end);
        // `https://example.org` is `https://example.org/`.
        let path = if path.is_empty() { "/" } else { path };
        Self {
            origin: origin.to_owned(),
            path: path.split('/').skip(1).map(decode).collect(),
            query,
            fragment,
        }
    }
}

/// Parameters of a query; `None` if there are none.
pub(super) fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let text = |text: &str| decode(&text.replace('+', " "));
    let pairs: Vec<_> = pairs
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    (!pairs.is_empty()).then_some(pairs)
}

/// Percent-decodes; what is no escape stays.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(first) = text.as_bytes().get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_digits| *first == b'%');
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.unwrap_or(*first));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes all but unreserved characters.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
