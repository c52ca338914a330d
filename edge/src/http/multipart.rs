//! The body of a 206 with several parts (RFC 9110 sections 14.6 and 15.3.7.2; RFC 2046).

use super::metering::Part;
use super::range::Span;
use super::respond::{Head, insert_text};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use std::fmt::Write;
use verge_sync::manifest::Representation;

/// A stretch of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Section {
    Text(Bytes),
    Bytes(Span),
}

/// Makes `head` that of a multipart answer, and lays the body out. The `Content-Type` that the head
/// has moves into the parts.
pub(super) fn wrap(head: &mut Head, whole: &Representation, spans: &[Span]) -> Vec<Section> {
    let boundary = boundary(whole);
    let media_type = head.headers.remove(CONTENT_TYPE);
    let media_type = media_type.as_ref().and_then(|value| value.to_str().ok());
    let sections = lay_out(&boundary, media_type, whole.length, spans);
    let length: u64 = sections.iter().map(Section::length).sum();
    let kind = format!("multipart/byteranges; boundary={boundary}");
    insert_text(&mut head.headers, CONTENT_TYPE, &kind);
    head.headers.remove(CONTENT_RANGE);
    head.headers.insert(CONTENT_LENGTH, length.into());
    sections
}

/// Where in the body content is.
pub(super) fn parts(sections: &[Section]) -> Box<[Part]> {
    let part = |pair: &[Section]| match pair {
        [head, content] => Some(Part {
            head_bytes: head.length(),
            content_bytes: content.length(),
        }),
        // The last boundary.
        _ => None,
    };
    sections.chunks(2).filter_map(part).collect()
}

impl Section {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX),
            Self::Bytes(span) => span.length,
        }
    }
}

/// A part of the digest of the very bytes that are cut: nobody can write a file that has it inside.
fn boundary(whole: &Representation) -> String {
    let mut text = String::from("verge-");
    for byte in whole.digest.as_bytes().iter().rev().take(16) {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

fn lay_out(boundary: &str, media_type: Option<&str>, whole: u64, spans: &[Span]) -> Vec<Section> {
    let mut sections = Vec::with_capacity(2 * spans.len() + 1);
    let mut before = "";
    for span in spans {
        let mut text = format!("{before}--{boundary}\r\n");
        if let Some(media_type) = media_type {
            let _infallible = write!(text, "Content-Type: {media_type}\r\n");
        }
        let _infallible = write!(text, "Content-Range: {}\r\n\r\n", span.content_range(whole));
        sections.push(Section::Text(text.into()));
        sections.push(Section::Bytes(*span));
        before = "\r\n";
    }
    sections.push(Section::Text(format!("\r\n--{boundary}--\r\n").into()));
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_laid_out_as_rfc_9110_shows() {
        let spans = [(0, 2), (100, 1)].map(|(start, length)| Span { start, length });
        let rows = [(Some("text/css"), "Content-Type: text/css\r\n"), (None, "")];
        for (media_type, line) in rows {
            let mut shown = String::new();
            for section in lay_out("B", media_type, 200, &spans) {
                match section {
                    Section::Text(text) => shown.push_str(std::str::from_utf8(&text).unwrap()),
                    Section::Bytes(span) => shown.push_str(&format!("<{}>", span.length)),
                }
            }
            let expected = format!(
                "--B\r\n{line}Content-Range: bytes 0-1/200\r\n\r\n<2>\r\n\
                 --B\r\n{line}Content-Range: bytes 100-100/200\r\n\r\n<1>\r\n--B--\r\n"
            );
            assert_eq!(shown, expected);
            let parts = parts(&lay_out("B", media_type, 200, &spans));
            let contents: Vec<u64> = parts.iter().map(|part| part.content_bytes).collect();
            assert_eq!(contents, [2, 1]);
            let first = expected.find('<').unwrap();
            assert_eq!(parts[0].head_bytes, u64::try_from(first).unwrap());
        }
    }
}
