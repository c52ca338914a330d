//! The page for the node's own network, and its CA for download (http.md section 1, `*.local`).

use super::body::Content;
use super::{Reply, path, respond};
use crate::lan::Lan;
use http::StatusCode;

/// Answers GET or HEAD for a path of the page's host.
pub(super) fn answer(lan: &Lan, raw_path: &str) -> Reply {
    let Ok(asked) = path::parse(raw_path) else {
        return Reply::page(StatusCode::BAD_REQUEST);
    };
    let found = match asked.path().as_str() {
        "/" => Some((respond::page(StatusCode::OK), lan.page())),
        Lan::CA_PATH => lan.ca().map(|pem| (respond::ca_certificate(), pem)),
        _ => None,
    };
    found.map_or_else(
        || Reply::page(StatusCode::NOT_FOUND),
        |(head, bytes)| Reply {
            head,
            content: Content::Whole(bytes),
            worth: None,
        },
    )
}
