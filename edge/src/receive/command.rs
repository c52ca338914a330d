//! The two commands that an SSH connection may ask for, parsed.

/// What the client of a connection wants git to do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `git push`: `git-receive-pack`.
    Push,
    /// `git fetch`, `git clone`: `git-upload-pack`.
    Fetch,
}

/// A parsed command line: what to do with which site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitCommand {
    pub(crate) verb: Verb,
    /// As the publisher wrote it, without quotes, slashes and `.git`: not yet known to exist.
    pub(crate) site_name: String,
}

/// Longer than any site's name can be; a longer one is answered like a site that is not there.
const NAME_BYTES_MAX: usize = 64;

/// Reads the command line of an `exec` request; `None` for anything but the two commands.
pub(crate) fn parse(line: &[u8]) -> Option<GitCommand> {
    let line = std::str::from_utf8(line).ok()?;
    let (program, argument) = line.split_once(' ')?;
    let verb = match program {
        "git-receive-pack" => Verb::Push,
        "git-upload-pack" => Verb::Fetch,
        _ => return None,
    };
    let name = match argument.strip_prefix('\'') {
        Some(quoted) => quoted.strip_suffix('\'')?,
        None => argument,
    };
    let name = name.strip_prefix('/').unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix(".git").unwrap_or(name);
    is_plain(name).then(|| GitCommand {
        verb,
        site_name: name.to_owned(),
    })
}

/// Whether a name is safe to look up and to show again on a terminal.
fn is_plain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain)
}

/// The value of `GIT_PROTOCOL` that is passed on to git: `version=2` and the like.
pub(crate) fn git_protocol(value: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'=' | b':');
    (value.len() <= 64 && value.starts_with("version=") && value.bytes().all(plain))
        .then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let push = |name: &str| Some((Verb::Push, name.to_owned()));
        let fetch = |name: &str| Some((Verb::Fetch, name.to_owned()));
        for (line, expected) in [
            ("git-receive-pack 'garden'", push("garden")),
            ("git-receive-pack '/garden.git'", push("garden")),
            ("git-receive-pack '/garden.git/'", push("garden")),
            ("git-receive-pack garden", push("garden")),
            ("git-upload-pack 'garden'", fetch("garden")),
            ("git-upload-pack '/a-1'", fetch("a-1")),
            ("git-upload-pack", None),
            ("git-upload-pack ", None),
            ("git-upload-pack ''", None),
            ("git-upload-pack '/'", None),
            ("git-upload-pack '.git'", None),
            ("git-upload-pack '../x'", None),
            ("git-upload-pack 'a/b'", None),
            ("git-upload-pack '//a'", None),
            ("git-upload-pack 'a'b'", None),
            ("git-upload-pack 'a", None),
            ("git-upload-pack --upload-pack=x 'a'", None),
            ("git-upload-pack 'a'; id", None),
            ("git-upload-archive 'a'", None),
            ("git-shell", None),
            ("scp -t x", None),
            ("sh", None),
            ("", None),
            ("GIT-UPLOAD-PACK 'a'", None),
            (" git-upload-pack 'a'", None),
            ("git-upload-pack 'a\u{1b}[2J'", None),
        ] {
            let parsed = parse(line.as_bytes()).map(|c| (c.verb, c.site_name));
            assert_eq!(parsed, expected, "{line:?}");
        }
        assert_eq!(parse(b"git-upload-pack '\xff'"), None);
        let long = format!("git-upload-pack '{}'", "a".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(parse(long.as_bytes()), None);
    }

    #[test]
    fn only_protocol_versions_pass() {
        for (value, passes) in [
            ("version=2", true),
            ("version=1:side=3", true),
            ("2", false),
            ("version=2\nX=1", false),
            ("version=$(id)", false),
        ] {
            assert_eq!(git_protocol(value).is_some(), passes, "{value:?}");
        }
    }
}
