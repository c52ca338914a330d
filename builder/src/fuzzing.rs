//! Fuzz targets for what only this crate reads: `verge.toml`, and the listing of a git tree. Each
//! checks what must hold whatever the bytes are; no build calls it.

use crate::error::Refusal;
use crate::limits::Limits;
use crate::settings::Settings;
use crate::source::{Folder, Node, list_from};
use verge_sync::path;

/// `verge.toml`: a folder to publish is a path, and every complaint names a line of the file.
pub fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let line_count = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
    let read = Settings::parse(&text, &mut |problem| {
        let line = problem.line.expect("a problem with a key has its line");
        assert!((1..=line_count).contains(&line));
    });
    match read {
        Ok(settings) => {
            let folder = settings.publish.map(|(folder, _line)| folder);
            assert!(folder.is_none_or(|folder| path::check(&folder).is_ok()));
        }
        Err(Refusal::Settings { line, what }) => {
            assert!((1..=line_count).contains(&line) && !what.contains('\n'));
        }
        Err(other) => assert!(matches!(other, Refusal::Settings { .. }), "{other}"),
    }
}

/// What `git ls-tree -z` says of a tree that a publisher made: every name that is taken is a path.
pub fn tree_listings(bytes: &[u8]) {
    let limits = Limits {
        entries_max: 20,
        depth_max: 4,
        ..Limits::default()
    };
    if let Ok(folder) = list_from(&mut &*bytes, &limits) {
        let count = check_folder(&folder, "");
        // What stands above a listed entry need not be listed itself.
        assert!(count <= 20 * 5);
    }
}

fn check_folder(folder: &Folder, above: &str) -> usize {
    let mut count = 0;
    for (name, node) in folder.entries() {
        count += 1;
        let whole = format!("{above}{name}");
        assert!(
            path::check(&whole).is_ok() && !name.contains('/'),
            "{whole}"
        );
        match node {
            Node::Folder(below) => count += check_folder(below, &format!("{whole}/")),
            Node::File(file) | Node::Link(file) => assert_eq!(file.path, whole),
            Node::Submodule => {}
        }
    }
    count
}
