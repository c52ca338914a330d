//! What a pusher reads: plain lines, and our words where git's own are not clear.

use crate::receive::converse::End;
use crate::receive::history::{HistoryError, TIPS, Tip, short_ref};
use crate::receive::push::Change;
use crate::region::SiteHistory;
use verge_sync::SiteId;
use verge_sync::record::Cause;

/// Longest line shown on a pusher's terminal.
const LINE_BYTES_MAX: usize = 4000;

/// For anything but the two commands.
pub(crate) const ONLY_GIT: &str =
    "Verge takes git push and git fetch only: git push ssh://git@HOST:2222/SITE\n";

/// For faults of this node; its log has the rest.
pub(crate) const FAULT: &str = "Verge: this node has a fault of its own (its steward sees it in the log); nothing was \
     changed. Push to another node, or again later.\n";

/// For a push to a repository that is as large as it may be.
pub(crate) fn repository_full(site_name: &str, site: SiteId, bytes_max: u64) -> String {
    format!(
        "Verge: the repository of {site_name} on this node has grown over its limit of {} MiB; \
         nothing was changed. Push to another node of the region, or ask the steward of this \
         one to remove git/{site}.git from its data directory: nothing that you have published \
         is lost by it.\n",
        bytes_max >> 20
    )
}

/// For a site whose history cannot be shown as the region knows it.
pub(crate) fn no_history(site_name: &str, error: &HistoryError) -> String {
    match error {
        HistoryError::Missing(_) => format!(
            "Verge: the newest history of {site_name} was pushed to another node and is not on this \
             one yet; nothing was changed. Try again in a minute, or use another node.\n"
        ),
        HistoryError::Damaged(_) => format!(
            "Verge: a part of the history of {site_name} is damaged on this node and was put aside; \
             nothing was changed. Use another node, and tell the steward of this one.\n"
        ),
        HistoryError::Wrong { .. } => format!(
            "Verge: {}; nothing was changed. A node of the region has published what no node \
             should: the steward of your account's provider can undo it with `verge site reset \
             {site_name}`, see `verge site versions {site_name}`.\n",
            printable(&error.to_string())
        ),
        HistoryError::NoRoom(said) => format!(
            "Verge: this node could not take in the history of {site_name} ({}); nothing was \
             changed. Use another node, and tell the steward of this one.\n",
            printable(said)
        ),
        HistoryError::TooManyTags(_)
        | HistoryError::TooLarge { .. }
        | HistoryError::NotPacked(_)
        | HistoryError::Store(_)
        | HistoryError::Git(_) => FAULT.to_owned(),
    }
}

/// For a site that was pushed to on two sides of an outage; nothing for any other.
pub(crate) fn other_tips(site_name: &str, history: &SiteHistory, tips: &[Tip]) -> String {
    let seen = history.head.as_ref().map(|git| digits(&git.commit));
    let seen = seen.map_or(String::new(), |commit| {
        format!("; visitors see commit {commit}")
    });
    let mut text = String::new();
    for (other, tip) in history.others.iter().zip(tips) {
        let (node, time) = (printable(&other.node), other.time());
        let commit = other.git.as_ref().map(|git| digits(&git.commit));
        let what = match (other.cause, commit) {
            (Cause::Push, Some(commit)) => format!("another push to {site_name}, commit {commit}"),
            (_, _) => format!("another version of {site_name}, {}", other.version.short()),
        };
        text.push_str(&format!(
            "Verge: {what}, was put in place on the other side of an outage ({time}, by {node}){seen}.\n"
        ));
        text.push_str(&match tip {
            Tip::Named(commit) => format!(
                "Verge: to bring both together: `git fetch REMOTE {}`, then `git merge FETCH_HEAD` \
                 or leave it, and push. Your next push settles it, and this line goes away.\n",
                short_ref(TIPS, commit)
            ),
            Tip::InHead => {
                "Verge: your next push settles it, and this line goes away.\n".to_owned()
            }
            Tip::Away => {
                "Verge: its commits are not on this node yet: try again in a minute. A push \
                 settles it without them.\n"
                    .to_owned()
            }
        });
    }
    text
}

/// The first digits of a commit.
fn digits(commit: &[u8]) -> String {
    let bytes = commit.iter().take(5);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Why git was ended before its own end.
pub(crate) fn ended(end: End) -> &'static str {
    match end {
        End::Exited(_) => "git has ended",
        End::Gone => "you went away",
        End::Idle => "nothing arrived for too long",
        End::Slow => "your push arrives too slowly to be waited for",
        End::TooLong => "this took too long",
        End::Fault => "this node has a fault of its own (its steward sees it in the log)",
    }
}

/// What a push that ended early has changed.
pub(crate) fn changed(change: Change) -> &'static str {
    match change {
        Change::Nothing => "nothing was changed",
        Change::Stored => "perhaps not every branch of it was stored: push again",
        Change::Published => "published; only the branch could not be moved: push again",
        Change::Everything => "published, and the branch was moved",
    }
}

/// One answer for a site that is not there and for a key that may not touch it.
pub(crate) fn no_site(site_name: &str) -> String {
    format!(
        "There is no site {site_name} here that this key may push to or fetch from. \
         Check the name, and that the key is one of your account's.\n"
    )
}

/// Makes a line harmless to a terminal: no control characters, bounded.
pub(crate) fn printable(line: &str) -> String {
    let mut shown = String::with_capacity(line.len().min(LINE_BYTES_MAX));
    for character in line.trim_end().chars() {
        if shown.len() + character.len_utf8() > LINE_BYTES_MAX {
            shown.push_str("...");
            break;
        }
        shown.push(match character {
            '\t' => ' ',
            c if c.is_control() => '?',
            c => c,
        });
    }
    shown
}

/// What git says, a part of it, and what we add.
const EXPLANATIONS: [(&str, &str); 9] = [
    (
        "maximum allowed size",
        "Verge: this push is larger than this node takes in one push; nothing was changed. \
         Push the history in parts, or publish without its large files.",
    ),
    (
        "No space left on device",
        "Verge: this node's disk is full; nothing was changed. Push to another node of the \
         region, and tell the steward of this one.",
    ),
    (
        "File too large",
        "Verge: this push is larger than this node takes; nothing was changed.",
    ),
    (
        "out of memory",
        "Verge: git needed more memory than one push may use here; nothing was changed. \
         Very large files are the usual reason.",
    ),
    (
        "hasDotgit",
        "Verge: a folder in this push is named like git's own (.git in some spelling); nothing \
         was changed. Remove it from the commit.",
    ),
    (
        "hasDotdot",
        "Verge: a folder in this push holds an entry named `..`; nothing was changed.",
    ),
    (
        "error in object",
        "Verge: the repository has an object that git's own check (git fsck) refuses; nothing \
         was changed. `git fsck` names it in your copy.",
    ),
    (
        "fsck error",
        "Verge: the repository has an object that git's own check (git fsck) refuses; nothing \
         was changed. `git fsck` names it in your copy.",
    ),
    (
        "unresolved deltas",
        "Verge: the push arrived incomplete; nothing was changed. Push again.",
    ),
];

/// Our sentence for the end of what git printed, if its own words need one.
pub(crate) fn explain(printed: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(printed);
    let explanation = EXPLANATIONS.iter().find(|(part, _)| text.contains(part));
    explanation.map(|(_, sentence)| *sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_written_to() {
        for (line, expected) in [
            ("plain", "plain"),
            ("tab\there \r\n", "tab here"),
            ("\u{1b}[2Jred", "?[2Jred"),
            ("c1 \u{9b}2J", "c1 ?2J"),
            ("umlaut \u{e4}", "umlaut \u{e4}"),
        ] {
            assert_eq!(printable(line), expected, "{line:?}");
        }
        assert_eq!(printable(&"\u{e4}".repeat(4000)).len(), LINE_BYTES_MAX + 3);
        assert_eq!(printable(&"a".repeat(LINE_BYTES_MAX)).len(), LINE_BYTES_MAX);
    }

    #[test]
    fn other_tips_are_told_with_what_can_be_done() {
        use crate::receive::refs::ObjectName;
        use crate::region::OtherTip;
        use verge_sync::clock::UnixTime;
        use verge_sync::id::{RecordId, Version};
        use verge_sync::record::GitSource;
        let git = |byte| GitSource {
            sequence: None,
            commit: vec![byte; 20],
        };
        let other = |cause| OtherTip {
            deploy: RecordId::from_bytes([1; 32]),
            version: Version::from_bytes([0xcc; 32]),
            git: Some(git(0xbb)),
            cause,
            time: UnixTime(0),
            node: "node shed\u{7} of Ana".to_owned(),
        };
        let commit = ObjectName::parse(&"b".repeat(40)).unwrap();
        let said = |cause, tip| {
            let history = SiteHistory {
                head: Some(git(0xaa)),
                others: vec![other(cause)],
            };
            other_tips("garden", &history, &[tip])
        };
        for (cause, tip, words) in [
            (
                Cause::Push,
                Tip::Named(commit),
                "git fetch REMOTE refs/verge/tips/bbbbbbbbbbbb",
            ),
            (Cause::Push, Tip::Away, "commit bbbbbbbbbb, was put"),
            (Cause::Push, Tip::Away, "not on this node yet"),
            (
                Cause::Upload,
                Tip::InHead,
                "another version of garden, cccccccccc, was",
            ),
            (Cause::Upload, Tip::InHead, "your next push settles it"),
            (
                Cause::Upload,
                Tip::InHead,
                "(1970-01-01T00:00:00Z, by node shed? of Ana)",
            ),
            (Cause::Upload, Tip::InHead, "visitors see commit aaaaaaaaaa"),
        ] {
            let said = said(cause, tip);
            assert!(said.contains(words), "{words}: {said}");
            assert!(
                said.lines().all(|line| line.starts_with("Verge: ")),
                "{said}"
            );
        }
        assert_eq!(other_tips("garden", &SiteHistory::default(), &[]), "");
    }

    #[test]
    fn words_of_git_get_ours() {
        for (printed, ours) in [
            (
                "fatal: pack exceeds maximum allowed size (1.00 MiB)",
                "larger than",
            ),
            (
                "fatal: write error: No space left on device",
                "disk is full",
            ),
            ("error: object 1: hasDotgit: contains '.git'", "git's own"),
            ("fatal: fsck error in packed object", "git fsck"),
            ("fatal: early EOF", ""),
            ("", ""),
        ] {
            let explanation = explain(printed.as_bytes());
            assert_eq!(explanation.is_some(), !ours.is_empty(), "{printed}");
            assert!(explanation.unwrap_or_default().contains(ours), "{printed}");
        }
    }
}
