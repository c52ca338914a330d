//! Rules about single names: what is never published, and what looks like a secret.

use unicode_normalization::UnicodeNormalization;

/// The only name with a leading dot that is published, and only at the root (RFC 8615).
pub(crate) const WELL_KNOWN: &str = ".well-known";

/// Below [`WELL_KNOWN`]: what every node answers itself, before the site.
pub(crate) const RESERVED: [&str; 2] = ["acme-challenge", "verge"];

/// `.git` in any spelling that some file system takes for it: the rules of git's own fsck
/// (`verify_dotfile`, `is_hfs_dotgit`, `is_ntfs_dotgit`).
pub(crate) fn is_dot_git(name: &str) -> bool {
    // A cheap way out: every spelling has these three letters next to each other or ignorable
    // code points between them, and is short.
    let visible: String = name
        .chars()
        .filter(|c| !is_ignorable(*c))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let stem = visible.split(':').next().unwrap_or_default();
    let stem = stem.trim_end_matches([' ', '.']);
    stem == ".git" || stem == "git~1"
}

/// Code points that HFS+ ignores in names.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Whether a name begins with a dot.
pub(crate) fn is_dotfile(name: &str) -> bool {
    name.starts_with('.')
}

/// Key types of SSH, as in `id_rsa`.
const KEY_TYPES: [&str; 5] = ["rsa", "dsa", "ecdsa", "ed25519", "xmss"];

/// Whether a file's name says that it holds a secret: `.env` and `.env.*`, private SSH keys
/// (`id_*` without an extension, or with one after a known key type; never `*.pub`), `*.pem`,
/// `*.key`.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if name == ".env" || name.starts_with(".env.") {
        return true;
    }
    if has_extension(&name, "pem") || has_extension(&name, "key") {
        return true;
    }
    let Some(rest) = name.strip_prefix("id_") else {
        return false;
    };
    let is_key_type = KEY_TYPES.iter().any(|kind| rest.starts_with(kind));
    !has_extension(&name, "pub") && (!rest.contains('.') || is_key_type)
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, found)| found == extension)
}

/// The form in which a path is published and looked up: Unicode NFC.
pub(crate) fn normal(path: &str) -> String {
    path.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_git_in_any_spelling() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            ".git.",
            ".git ",
            ".git . .",
            "git~1",
            "GIT~1",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{206a}T",
            ".git::$INDEX_ALLOCATION",
            ".git:x",
            ".git.:x",
        ] {
            assert!(is_dot_git(name), "{name:?}");
        }
        for name in [
            ".gitignore",
            "git",
            "x.git",
            ".git2",
            "git~2",
            ".gi",
            "gitt",
            ".well-known",
        ] {
            assert!(!is_dot_git(name), "{name:?}");
        }
    }

    #[test]
    fn secrets() {
        for name in [
            ".env",
            ".ENV",
            ".env.local",
            "id_rsa",
            "id_ed25519",
            "ID_RSA",
            "id_rsa.bak",
            "id_work",
            "server.pem",
            "SERVER.PEM",
            "tls.key",
            "a.b.key",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "id_rsa.pub",
            "id_card.html",
            "env",
            "environment.html",
            "pem",
            "key",
            "key.html",
            "monkey",
            "identity",
            "keys.txt",
            ".envrc",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn names_are_published_in_nfc() {
        assert_eq!(normal("Cafe\u{301}/o\u{308}.html"), "Caf\u{e9}/\u{f6}.html");
        assert_eq!(normal("plain/a.html"), "plain/a.html");
    }
}
