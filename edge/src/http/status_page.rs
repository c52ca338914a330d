//! The admin zone: one page, in JSON.

use super::body::Content;
use super::{Reply, path, respond};
use crate::status_page::StatusPage;
use http::StatusCode;

/// Answers GET or HEAD for a path of the admin zone.
pub(super) fn answer(page: &StatusPage, raw_path: &str) -> Reply {
    let Ok(asked) = path::parse(raw_path) else {
        return Reply::page(StatusCode::BAD_REQUEST);
    };
    let (head, bytes) = match asked.path().as_str() {
        StatusPage::PATH => (respond::json(), page.json()),
        StatusPage::METRICS_PATH => (respond::text(), page.metrics()),
        _ => return Reply::page(StatusCode::NOT_FOUND),
    };
    Reply {
        head,
        content: Content::Whole(bytes),
        worth: None,
    }
}
