//! What a pusher reads: plain lines, and our words where git's own are not clear.

use crate::receive::converse::End;
use crate::receive::push::Change;
use verge_sync::SiteId;

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
         one to remove git/{site}.git from its data directory: visitors lose nothing by it, \
         and your next push brings the history again.\n",
        bytes_max >> 20
    )
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
