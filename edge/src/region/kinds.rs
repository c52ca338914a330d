//! The kinds whose records the edge writes and reads; to sync they are rows (`docs/format.md#kinds`).

use verge_sync::record::{AuthorRule, Kind, KindRow, KindTable, SubjectRule};

/// The table that is handed to sync at start.
pub(crate) fn table() -> KindTable {
    let row = |number, name, subject, author| KindRow {
        number,
        name,
        subject,
        author,
    };
    KindTable::new(vec![
        row(
            Kind::CERTIFICATE,
            "certificate",
            SubjectRule::DigestAndAuthor,
            AuthorRule::Node,
        ),
        row(
            Kind::SEAL,
            "seal",
            SubjectRule::AuthorAndDay,
            AuthorRule::Node,
        ),
        row(
            Kind::SNAPSHOT,
            "snapshot",
            SubjectRule::AuthorAndDay,
            AuthorRule::Node,
        ),
        row(
            Kind::CHECKPOINT,
            "checkpoint",
            SubjectRule::AuthorAndNode,
            AuthorRule::Node,
        ),
        row(
            Kind::OBSERVATION,
            "observation",
            SubjectRule::AuthorAndNode,
            AuthorRule::Node,
        ),
        row(Kind::CLOSE, "close", SubjectRule::Month, AuthorRule::Member),
    ])
}
