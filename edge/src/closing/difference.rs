//! What keeps a node from signing a close: where its own month differs.

use super::blob::BooksBlob;
use super::body::CloseBody;
use crate::accounting::calendar::Day;
use crate::attribution::statement::first_difference;
use std::collections::BTreeMap;
use verge_sync::Digest;
use verge_sync::id::NodeId;

/// Seals that are named one by one.
const NAMED_MAX: usize = 20;

/// A close, and the blob that it names, if that is here.
pub(super) struct Side<'a> {
    pub(super) close: &'a CloseBody,
    pub(super) blob: Option<&'a BooksBlob>,
}

/// In sentences, what is not the same in the close that was proposed and in what this node comes to;
/// none if nothing is. `seals` are those that this node knows.
pub(super) fn differences(
    proposed: &Side<'_>,
    own: &Side<'_>,
    seals: &BTreeMap<Digest, (NodeId, Day)>,
) -> Vec<String> {
    let (theirs, ours) = (proposed.close, own.close);
    let mut said = Vec::new();
    if theirs.previous != ours.previous {
        said.push("it follows another close of an earlier month".to_owned());
    }
    if theirs.policy != ours.policy {
        said.push("it is by another policy than the one in force here".to_owned());
    }
    if theirs.seals != ours.seals {
        said.extend(of_seals(proposed, own, seals));
    }
    if theirs.probes != ours.probes {
        said.push("it has other observations than this node holds of that month".to_owned());
    }
    if theirs.fees_total != ours.fees_total {
        said.push(format!(
            "its fees come to {} of the smallest unit, those given here to {}",
            theirs.fees_total.0, ours.fees_total.0
        ));
    } else if theirs.fees_root != ours.fees_root {
        said.push("its fees are others, or have other salts, than those given here".to_owned());
    }
    if theirs.snapshots != ours.snapshots {
        said.push("it takes in other snapshots of nodes whose disk died".to_owned());
    }
    if theirs.books != ours.books && said.is_empty() {
        said.push(of_books(proposed, own));
    }
    if theirs.statement != ours.statement && said.is_empty() {
        said.push(
            "its statement is another, of the same inputs: is it of another release?".to_owned(),
        );
    }
    said
}

fn of_seals(
    proposed: &Side<'_>,
    own: &Side<'_>,
    known: &BTreeMap<Digest, (NodeId, Day)>,
) -> Vec<String> {
    let (Some(theirs), Some(ours)) = (proposed.blob, own.blob) else {
        let text = "its list of seals is not here yet: try again when the nodes are connected";
        return vec![text.to_owned()];
    };
    let name = |digest: &Digest| match known.get(digest) {
        Some((node, day)) => format!("that of node {}, {day}", node.short()),
        None => format!("{digest}, which this node does not hold"),
    };
    let only = |here: &BooksBlob, there: &BooksBlob, side: &str| {
        let lone: Vec<&Digest> = here.seals.difference(&there.seals).collect();
        let mut lines: Vec<String> = lone
            .iter()
            .take(NAMED_MAX)
            .map(|digest| format!("only {side} has a seal: {}", name(digest)))
            .collect();
        let more = lone.len().saturating_sub(NAMED_MAX);
        lines.extend((more > 0).then(|| format!("only {side} has {more} more seals")));
        lines
    };
    let mut lines = only(theirs, ours, "the close");
    lines.extend(only(ours, theirs, "this node"));
    lines
}

fn of_books(proposed: &Side<'_>, own: &Side<'_>) -> String {
    let (Some(theirs), Some(ours)) = (proposed.blob, own.blob) else {
        return "its books are not here yet: try again when the nodes are connected".to_owned();
    };
    match first_difference(&theirs.files, &ours.files) {
        Some(difference) => format!("of its books and those of this node, {difference}"),
        None => "its books are written in another way".to_owned(),
    }
}
