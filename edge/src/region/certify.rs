//! What this node writes of certificates: which bundle is for which hosts.

use super::{RegionView, Turn, WriteError};
use crate::certificates::CertificateBody;
use std::sync::Arc;
use verge_sync::id::RecordId;
use verge_sync::record::{AuthorId, Kind, Record};

impl RegionView {
    /// Names a bundle, whose blob is here already.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was written then.
    pub(crate) async fn certify(
        self: &Arc<Self>,
        body: &CertificateBody,
    ) -> Result<RecordId, WriteError> {
        let mut id = None;
        self.write(|turn| {
            id = Some(turn.certify(body)?);
            Ok(())
        })
        .await?;
        id.ok_or(WriteError::Stopping)
    }
}

impl Turn<'_> {
    fn certify(&mut self, body: &CertificateBody) -> Result<RecordId, WriteError> {
        let me = self.node.id();
        let subject = [*body.subject().as_bytes(), *me.as_bytes()].concat();
        let own = own_records(&self.records, Kind::CERTIFICATE, me, &subject);
        let last = own.max_by_key(|record| place(record)).map(Record::id);
        let what = (subject, body.encode());
        let follows = last.into_iter().collect();
        let kind = Kind::CERTIFICATE;
        let record = self.node.foreign(&self.effect, kind, what, follows)?;
        Ok(self.add(record).id())
    }
}

/// The records of one author about one subject.
pub(super) fn own_records<'r>(
    records: &'r [Arc<Record>],
    kind: Kind,
    author: AuthorId,
    subject: &[u8],
) -> impl Iterator<Item = &'r Record> {
    records.iter().map(Arc::as_ref).filter(move |record| {
        let envelope = record.envelope();
        (envelope.kind, envelope.author) == (kind, author) && envelope.subject == subject
    })
}

/// Which of one author's records of a subject comes last.
pub(super) fn place(record: &Record) -> (u32, u32, RecordId) {
    let envelope = record.envelope();
    (envelope.epoch, envelope.sequence, record.id())
}
