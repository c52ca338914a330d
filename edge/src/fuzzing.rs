//! Every parser of foreign bytes, as a function of bytes that checks what must hold whatever they
//! are: a target. `fuzz/` runs them guided by coverage, a test of this module on plain mutations.
//!
//! They are ordinary code, because `fuzz/` is a crate of its own and features are no configuration
//! here. Nothing in a node calls them, so the linker leaves them out of `verge`.

#[cfg(test)]
mod torture;

use crate::membership::Ticket;
use crate::proxy_protocol::{ProxyHeaderError, read_header};
use crate::ssh_key::SshKeyDigest;
use crate::{accounting, admin, attribution, certificates, http, receive, signing};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use verge_builder::{Job, Line};
use verge_sync::id::{NodeId, RegionId};
use verge_sync::net::{Ask, MESSAGE_BYTES_MAX, Message};
use verge_sync::record::body::Body;
use verge_sync::record::cbor::{self, Fields};
use verge_sync::record::{Draft, Kind, Record, RemovalList, Signature, Subject};

/// Checks one input; it panics if something does not hold.
pub type Target = fn(&[u8]);

/// All targets by name; `fuzz/seeds/NAME` has good inputs for each.
pub const TARGETS: &[(&str, Target)] = &[
    ("accept_encoding", http::fuzzing::accept_encoding),
    ("acme", crate::acme::fuzzing::acme),
    ("admin_lines", admin::fuzzing::admin_lines),
    ("asks", asks),
    ("bundles", certificates::bundles),
    ("ca_certificates", crate::tls::ca_certificates),
    ("cbor", canonical),
    ("certificate_records", certificates::certificate_records),
    ("checkpoints", crate::witness::checkpoints),
    ("close_records", crate::closing::close_records),
    ("closed_books", crate::closing::closed_books),
    ("dns_answers", crate::dns::fuzzing::dns_answers),
    ("fee_proofs", attribution::fees::fee_proofs),
    ("fees", attribution::fees::fees),
    ("forwarded", http::fuzzing::forwarded),
    ("frames", http::fuzzing::beneath::frames),
    ("git_histories", receive::history::fuzzing),
    ("heads", http::fuzzing::beneath::heads),
    ("health", http::fuzzing::health),
    ("hook_lines", receive::fuzzing::hook_lines),
    ("hosts", http::fuzzing::hosts),
    ("journal_segments", accounting::journal::segments),
    ("keepsakes", crate::witness::keepsakes),
    ("manifests", http::fuzzing::site::manifests),
    ("messages", messages),
    ("observations", crate::watch::observation::observations),
    ("paths", http::fuzzing::paths),
    ("policies", attribution::policy::policies),
    ("preconditions", http::fuzzing::preconditions),
    ("proxy_headers", proxy_headers),
    ("push_commands", receive::fuzzing::push_commands),
    ("ranges", http::fuzzing::ranges),
    ("records", records),
    ("removal_lists", removal_lists),
    ("reports", reports),
    ("row_proofs", accounting::seal::row_proofs),
    ("rule_files", http::fuzzing::site::rule_files),
    ("rule_sections", http::fuzzing::site::rule_sections),
    ("seals", accounting::seal::seals),
    ("settings", verge_builder::fuzzing::settings),
    ("sign_lines", signing::fuzzing::sign_lines),
    ("snapshot_letters", crate::witness::snapshot_letters),
    ("snapshot_replies", crate::witness::snapshot_replies),
    ("ssh_commands", receive::fuzzing::ssh_commands),
    ("ssh_keys", ssh_keys),
    ("ssh_signatures", ssh_signatures),
    ("statement_inputs", attribution::statement::statement_inputs),
    ("statement_signatures", crate::closing::statement_signatures),
    ("tickets", tickets),
    ("tree_listings", verge_builder::fuzzing::tree_listings),
];

/// What a future that reads bytes in memory gives: it never has to wait.
pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("bytes in memory are always ready"),
    }
}

/// A message of a peer.
fn messages(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        let written = message.encode();
        assert!(written.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(Message::decode(&written), Ok(message));
    }
}

/// What a newcomer says of itself; the first 32 bytes are the key of its connection.
fn asks(bytes: &[u8]) {
    let Some((node, bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let node = NodeId::from_bytes(*node);
    if let Ok(ask) = Ask::decode(node, bytes) {
        assert_eq!(ask.node.id, node);
        assert!(Ask::decode(node, &ask.encode()).is_ok_and(|again| again == ask));
        let region = RegionId::from_bytes([0; 32]);
        let _proven = ask.node.is_proven(&region, ask.slot);
        if let Some(petition) = &ask.petition {
            let _signed = petition.is_signed(&ask.slot.provider, &region, &node);
        }
    }
}

/// A ticket, as it was typed or photographed.
fn tickets(bytes: &[u8]) {
    if let Ok(ticket) = String::from_utf8_lossy(bytes).parse::<Ticket>() {
        assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }
}

/// The list of a removal, from a peer.
fn removal_lists(bytes: &[u8]) {
    if let Some(list) = RemovalList::decode(bytes) {
        assert_eq!(list.encode(), bytes);
    }
}

/// The PROXY protocol: the header is read exactly, and an end inside it is an end.
fn proxy_headers(bytes: &[u8]) {
    let mut rest = bytes;
    match at_once(read_header(&mut rest)) {
        Ok(_origin) => {
            let length = bytes.len().saturating_sub(rest.len());
            let mut short = bytes.get(..length.saturating_sub(1)).unwrap_or_default();
            let read = at_once(read_header(&mut short));
            assert!(matches!(read, Err(ProxyHeaderError::Read(_))));
        }
        Err(ProxyHeaderError::Read(_)) => assert!(rest.is_empty(), "the end was not reached"),
        Err(ProxyHeaderError::Malformed) => {}
    }
}

/// A line of a `.pub` file, or a fingerprint.
fn ssh_keys(bytes: &[u8]) {
    if let Ok(digest) = SshKeyDigest::parse(&String::from_utf8_lossy(bytes)) {
        assert_eq!(SshKeyDigest::parse(&digest.to_string()), Ok(digest));
    }
}

/// CBOR: what is canonical is one item and nothing more, and reads as fields if it is a map.
fn canonical(bytes: &[u8]) {
    let is_canonical = cbor::check(bytes).is_ok();
    let fields = Fields::read(bytes);
    if is_canonical {
        let is_map = bytes.first().is_some_and(|first| first >> 5 == 5);
        assert_eq!(is_map, fields.is_ok());
        let shorter = bytes.split_last().map_or(bytes, |(_, shorter)| shorter);
        assert!(cbor::check(shorter).is_err());
        assert!(cbor::check(&[bytes, &[0]].concat()).is_err());
    }
}

/// A record: kept byte for byte, and what is understood of it is written as it was read.
fn records(bytes: &[u8]) {
    let (record, draft) = (Record::parse(bytes), Draft::from_bytes(bytes));
    if let Ok(draft) = &draft {
        assert_eq!(Draft::from_bytes(&draft.to_bytes()).as_ref(), Ok(draft));
    }
    let Ok(record) = record else {
        return;
    };
    assert_eq!(record.bytes(), bytes);
    let draft = draft.expect("a record is a finished draft");
    let fields = Fields::read(bytes).expect("a record is a map");
    // A later release may write keys that no draft of this one has.
    if fields.len() == 12 && fields.raw(11).is_some() {
        assert_eq!(draft.id(), record.id());
    }
    let envelope = record.envelope();
    let _region = record.region();
    if let Some(subject) = Subject::decode(envelope.kind, &envelope.subject) {
        assert_eq!(subject.encode(), envelope.subject);
    }
    if let Ok(body) = record.body() {
        check_body(envelope.kind, body);
    }
}

fn check_body(kind: Kind, body: &Body) {
    let written = body.encode();
    assert_eq!(cbor::check(&written), Ok(()));
    assert_eq!(Body::decode(kind, &written).as_ref(), Ok(body));
}

/// An SSHSIG blob.
fn ssh_signatures(bytes: &[u8]) {
    if let Ok(signature) = Signature::ssh(bytes) {
        assert_eq!(signature.bytes, bytes);
        let _verdict = signature.verify(b"message");
    }
}

/// A job for `verge build`, and a line of its report.
fn reports(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(job) = serde_json::from_str::<Job>(&text) {
        let again = serde_json::to_string(&job).expect("what came as JSON has a JSON form");
        assert_eq!(serde_json::from_str::<Job>(&again).ok(), Some(job));
    }
    if let Ok(line) = Line::decode(&text) {
        let again = line.encode().expect("what came as JSON has a JSON form");
        assert!(!again.contains('\n'));
        if let Line::Event(event) = &line {
            let _shown = event.to_string();
        }
        assert_eq!(Line::decode(&again).ok(), Some(line));
    }
}
