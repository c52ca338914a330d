//! The site's own rules: `_redirects` and `_headers`, read at publish time, applied by the edge.
//!
//! The dialects are Netlify's, linted as Cloudflare lints. Everything that can be wrong is found
//! here and told to the publisher with its line; what is left cannot fail at request time.
//! `docs/format-builder.md` has the bytes.

mod conditions;
mod files;
mod headers;
mod lines;
mod lint_redirects;
mod parse_redirects;
mod pattern;
mod redirects;
mod tree;

pub use conditions::{Asking, Condition, Conditions, Hanging};
pub use files::{RULE_FILE_BYTES_MAX, RuleFiles};
pub use headers::{BLOCKS_MAX, FIELDS_MAX, FieldRule, HeaderBlock, HeaderRules};
pub use pattern::{Captures, Pattern, SEGMENTS_MAX, Segment, Star};
pub use redirects::{
    Action, Found, Piece, QueryCondition, REDIRECTS_MAX, Redirect, Redirects, Target,
};
pub use tree::Search;

use crate::error::BuildError;
use crate::problems::Problems;
use crate::select::Selected;
use crate::source::{Contents, File};
use std::collections::BTreeMap;
use verge_sync::SitePath;
use verge_sync::manifest::Manifest;

/// The rules of one site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `_redirects`.
    pub redirects: Redirects,
    /// `_headers`.
    pub headers: HeaderRules,
}

impl Rules {
    /// The rules in a manifest. `None` if a section is damaged; a manifest without sections has
    /// rules that do nothing.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Option<Self> {
        let section = |tag| manifest.content_section(tag).unwrap_or(EMPTY_LIST);
        Some(Self {
            redirects: Redirects::decode(section(Redirects::TAG))?,
            headers: HeaderRules::decode(section(HeaderRules::TAG))?,
        })
    }

    /// Reads both files of a site: what they mean, and what they are.
    pub(crate) fn read(
        selected: &Selected,
        contents: &mut Contents,
        problems: &mut Problems<'_>,
    ) -> Result<(Self, RuleFiles), BuildError> {
        let redirects = beginning(selected.redirects.as_ref(), contents, problems)?;
        let headers = beginning(selected.headers.as_ref(), contents, problems)?;
        let has_file = |path: &str| has_file(selected, path);
        let read = |bytes: &Option<Vec<u8>>| bytes.clone().unwrap_or_default();
        let mut report = |problem| problems.push(problem);
        let rules = Self {
            redirects: parse_redirects::parse(&read(&redirects), Some(&has_file), &mut report),
            headers: HeaderRules::parse(&read(&headers), &mut report),
        };
        let whole = |bytes: Option<Vec<u8>>, file: &Option<File>| {
            let length = file.as_ref().map_or(0, |file| file.bytes);
            bytes.filter(|_bytes| length <= RULE_FILE_BYTES_MAX)
        };
        let files = RuleFiles {
            headers: whole(headers, &selected.headers),
            redirects: whole(redirects, &selected.redirects),
        };
        Ok((rules, files))
    }

    /// The content sections, without empty ones.
    pub(crate) fn sections(&self, files: &RuleFiles) -> BTreeMap<u32, Vec<u8>> {
        let mut sections = BTreeMap::new();
        if !self.redirects.0.is_empty() {
            sections.insert(Redirects::TAG, self.redirects.encode());
        }
        if !self.headers.0.is_empty() {
            sections.insert(HeaderRules::TAG, self.headers.encode());
        }
        if !files.is_empty() {
            sections.insert(RuleFiles::TAG, files.encode());
        }
        sections
    }
}

/// Whether the site answers `path` with a file: its own, with `.html`, or an index.
fn has_file(selected: &Selected, path: &str) -> bool {
    let names = match path.trim_matches('/') {
        "" => vec!["index.html".to_owned()],
        plain => ["", ".html", "/index.html"]
            .map(|end| format!("{plain}{end}"))
            .to_vec(),
    };
    let mut names = names.iter().filter_map(|name| SitePath::new(name).ok());
    names.any(|name| selected.files.contains_key(&name))
}

/// A list of nothing, as [`crate::wire`] writes it.
const EMPTY_LIST: &[u8] = &[0; 4];

/// A rule file as far as it is kept; its rules are read from the first 64 KiB.
fn beginning(
    file: Option<&File>,
    contents: &mut Contents,
    problems: &mut Problems<'_>,
) -> Result<Option<Vec<u8>>, BuildError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let kept_max = usize::try_from(RULE_FILE_BYTES_MAX).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    contents.read(file, &mut |piece| {
        let room = kept_max.saturating_sub(bytes.len());
        bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
        Ok(())
    })?;
    if file.bytes > RULE_FILE_BYTES_MAX {
        let what = format!(
            "longer than {RULE_FILE_BYTES_MAX} bytes, so an archive of the site has not got it"
        );
        problems.file(&file.path, what, "shorten the file");
    }
    Ok(Some(bytes))
}
