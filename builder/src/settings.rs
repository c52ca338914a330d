//! `verge.toml` at the root of the tree: what the publisher asks of the builder.

use crate::error::{BuildError, Refusal};
use crate::problems::Problems;
use crate::report::Problem;
use crate::source::{Contents, Folder, Node};
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use verge_sync::path;

/// The file's name.
pub(crate) const FILE: &str = "verge.toml";
/// 64 KiB: a thousand times what its keys need.
const BYTES_MAX: u64 = 64 << 10;
/// Every key, for the sentence about an unknown one.
const KEYS: &str = "publish, allow_secrets";

/// What `verge.toml` says; the default if there is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The folder to publish, and the line that says so; the root if none.
    pub(crate) publish: Option<(String, u32)>,
    /// Paths from the root of the tree that may look like secrets, and their lines.
    pub(crate) allow_secrets: BTreeSet<String>,
}

impl Settings {
    /// Reads `verge.toml` from the tree.
    pub(crate) fn read(
        tree: &Folder,
        contents: &mut Contents,
        problems: &mut Problems<'_>,
    ) -> Result<Self, BuildError> {
        let Some(node) = tree.entry(FILE) else {
            return Ok(Self::default());
        };
        let Node::File(file) = node else {
            return Err(refuse(1, "verge.toml is not a file").into());
        };
        if file.bytes > BYTES_MAX {
            return Err(refuse(1, format!("longer than {BYTES_MAX} bytes")).into());
        }
        let bytes = contents.read_whole(file)?;
        let text = String::from_utf8(bytes).map_err(|_utf8| refuse(1, "not UTF-8 text"))?;
        Ok(Self::parse(&text, &mut |problem| problems.push(problem))?)
    }

    /// Reads its text; an unknown key is a problem, anything else that is wrong a refusal.
    pub(crate) fn parse(text: &str, problem: &mut dyn FnMut(Problem)) -> Result<Self, Refusal> {
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, &span));
            refuse(line, error.message().replace('\n', " "))
        })?;
        let mut entries: Vec<_> = table.into_inner().into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut settings = Self::default();
        for (key, value) in entries {
            let line = line_of(text, &key.span());
            match key.get_ref().as_ref() {
                "publish" => settings.publish = folder(&value, line)?.map(|folder| (folder, line)),
                "allow_secrets" => settings.allow_secrets = paths(&value, line)?,
                unknown => problem(Problem {
                    path: FILE.to_owned(),
                    line: Some(line),
                    what: format!("unknown key {unknown:?}, ignored"),
                    instead: format!("the keys are {KEYS}"),
                }),
            }
        }
        Ok(settings)
    }
}

/// A folder below the root; `.` and the like are the root.
fn folder(value: &Spanned<DeValue<'_>>, line: u32) -> Result<Option<String>, Refusal> {
    let DeValue::String(text) = value.get_ref() else {
        return Err(refuse(line, "publish has to be a text, such as \"public\""));
    };
    let folder = text.trim_start_matches("./").trim_matches('/');
    if folder.is_empty() || folder == "." {
        return Ok(None);
    }
    path::check(folder).map_err(|reason| refuse(line, format!("publish: {reason}")))?;
    Ok(Some(folder.to_owned()))
}

fn paths(value: &Spanned<DeValue<'_>>, line: u32) -> Result<BTreeSet<String>, Refusal> {
    let what = "allow_secrets has to be a list of paths, such as [\"docs/example.pem\"]";
    let DeValue::Array(items) = value.get_ref() else {
        return Err(refuse(line, what));
    };
    let path = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) => Ok(text.trim_start_matches("./").trim_matches('/').to_owned()),
        _ => Err(refuse(line, what)),
    };
    items.iter().map(path).collect()
}

fn refuse(line: u32, what: impl Into<String>) -> Refusal {
    Refusal::Settings {
        line,
        what: what.into(),
    }
}

fn line_of(text: &str, span: &Range<usize>) -> u32 {
    let before = text.as_bytes().get(..span.start).unwrap_or_default();
    let feeds = before.iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(feeds).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Result<Settings, String>, Vec<String>) {
        let mut problems = Vec::new();
        let settings = Settings::parse(text, &mut |problem| problems.push(problem.to_string()));
        (settings.map_err(|refusal| refusal.to_string()), problems)
    }

    #[test]
    fn every_key_is_read() {
        let (settings, problems) = parse(
            "# a comment\npublish = \"./public/\"\nallow_secrets = [\"a.pem\", \"./b/c.key\"]\n",
        );
        let settings = settings.unwrap();
        assert_eq!(settings.publish, Some(("public".to_owned(), 2)));
        let allowed: Vec<_> = settings.allow_secrets.iter().map(String::as_str).collect();
        assert_eq!(allowed, ["a.pem", "b/c.key"]);
        assert!(problems.is_empty());
    }

    #[test]
    fn the_root_may_be_named() {
        for text in [
            "",
            "publish = \".\"",
            "publish = \"/\"",
            "publish = \"./\"",
            "publish = \"\"",
        ] {
            assert_eq!(parse(text).0, Ok(Settings::default()), "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_reported_with_their_line() {
        let (settings, problems) = parse("zebra = 1\n\n[build]\ncommand = \"make\"\n");
        assert_eq!(settings, Ok(Settings::default()));
        assert_eq!(
            problems,
            [
                "verge.toml:1: unknown key \"zebra\", ignored: the keys are publish, allow_secrets",
                "verge.toml:3: unknown key \"build\", ignored: the keys are publish, allow_secrets",
            ]
        );
    }

    #[test]
    fn wrong_files_are_refused_with_their_line() {
        let rows = [
            ("publish = \"a\"\npublish = \"b\"", "verge.toml:2: "),
            ("\n\npublish = ", "verge.toml:3: "),
            ("publish = 1", "verge.toml:1: publish has to be a text"),
            (
                "publish = \"../x\"",
                "verge.toml:1: publish: the path has a part",
            ),
            (
                "#\nallow_secrets = \"x\"",
                "verge.toml:2: allow_secrets has to be a list",
            ),
            (
                "allow_secrets = [1]",
                "verge.toml:1: allow_secrets has to be a list",
            ),
        ];
        for (text, expected) in rows {
            let sentence = parse(text).0.unwrap_err();
            assert!(sentence.starts_with(expected), "{text:?} gave {sentence:?}");
        }
    }
}
