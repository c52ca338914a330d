//! Fuzz targets for what comes with a push: its command, and the lines of its hook.

use super::Limits;
use super::command;
use super::hook_socket::{greeting, told};
use super::options;
use super::pace::Commands;
use super::refs::{Decision, Standing, decide};
use super::words::{explain, printable};
use crate::fuzzing::at_once;

/// The command of an SSH connection, and its `GIT_PROTOCOL`: a name that is harmless, or nothing.
pub(crate) fn ssh_commands(bytes: &[u8]) {
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if let Some(command) = command::parse(bytes) {
        let name = command.site_name;
        assert!(!name.is_empty() && name.len() <= 64 && is_plain(&name));
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(protocol) = command::git_protocol(&text) {
        assert!(protocol == text && is_plain(&protocol) && protocol.len() <= 64);
    }
}

/// What a pusher's git sends: the pack begins at the same byte in pieces as in one. The first byte
/// says how long the pieces are.
pub(crate) fn push_commands(bytes: &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let pack = Commands::default().skip(rest);
    assert!(rest.ends_with(pack));
    let mut commands = Commands::default();
    let pieces = rest.chunks(1 + usize::from(first % 32));
    let in_pieces: usize = pieces.map(|piece| commands.skip(piece).len()).sum();
    assert_eq!(in_pieces, pack.len());
}

/// All that a hook says, and what git prints: decided, and shown without control characters.
pub(crate) fn hook_lines(bytes: &[u8]) {
    let limits = Limits {
        push_refs: 4,
        ref_name_bytes: 40,
        ..Limits::default()
    };
    let mut lines = bytes;
    let _token = at_once(greeting(&mut lines));
    if let Some(told) = at_once(told(&mut lines, limits.push_refs)) {
        let updates = told.updates;
        assert!(told.options.len() <= options::COUNT_MAX + 1);
        let _signing = options::signing(&told.options);
        assert!(updates.len() <= limits.push_refs + 1);
        let standing = Standing {
            site_name: "garden",
            configured_branch: None,
            branches: &["main".to_owned()],
            force: false,
            published_commit: None,
        };
        let notes = match decide(&updates, &standing, &limits) {
            Decision::Refuse(notes) | Decision::Store { notes, .. } => notes,
            Decision::Publish(publish) => {
                let is_kept = |branch: &str| ["pages", "main", "master"].contains(&branch);
                assert!(is_kept(&publish.branch) && updates.len() <= limits.push_refs);
                publish.notes
            }
        };
        notes.iter().for_each(|note| check_shown(note));
    }
    let _sentence = explain(bytes);
    check_shown(&String::from_utf8_lossy(bytes));
}

fn check_shown(text: &str) {
    let shown = printable(text);
    assert!(!shown.contains(char::is_control) && shown.len() <= 4003);
}
