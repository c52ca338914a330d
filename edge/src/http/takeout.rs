//! Taking a site out again: its list and its archive, made while they are sent.
//!
//! Only what an anonymous GET of its own address answers with 200 is given out, and the two rule
//! files, byte for byte as they were published.

use super::body::Segment;
use super::body::Segments;
use super::{route, tar};
use crate::sites::SiteManifest;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::fmt::Write;
use std::sync::Arc;
use verge_builder::rules::RuleFiles;
use verge_sync::Digest;
use verge_sync::clock::UnixTime;
use verge_sync::manifest::Entry;

/// What can be taken out of a version: 8 bytes of memory for each file.
pub(super) struct Takeout {
    site: Arc<SiteManifest>,
    /// Positions in the table of paths.
    files: Arc<[usize]>,
    rules: Arc<RuleFiles>,
}

/// A body and its length.
pub(super) struct Stream {
    pub length: u64,
    pub segments: Segments,
}

impl Takeout {
    /// Looks every file's address up; a few microseconds for each.
    pub(super) fn gather(site: Arc<SiteManifest>) -> Self {
        let manifest = site.manifest();
        let is_public =
            |entry: &Entry<'_>| route::address(manifest, site.redirects(), entry.path()).is_some();
        let files = manifest.paths().enumerate();
        let files = files.filter_map(|(at, entry)| is_public(&entry).then_some(at));
        let files = files.collect();
        let rules = manifest.content_section(RuleFiles::TAG);
        let rules = rules.and_then(RuleFiles::decode).unwrap_or_default();
        Self {
            files,
            rules: Arc::new(rules),
            site,
        }
    }

    /// `archive.tar`.
    pub(super) fn archive(&self) -> Stream {
        let parts = self.rule_files().chain(self.stored_files());
        let length = sum(parts.map(|segment| segment_length(&segment)));
        let length = length.saturating_add(count(&tar::END));
        let end = std::iter::once(Segment::Text(Bytes::from_static(&tar::END)));
        let segments = self.rule_files().chain(self.stored_files()).chain(end);
        Stream {
            length,
            segments: Box::new(segments),
        }
    }

    /// `manifest.json`.
    pub(super) fn list(&self) -> Stream {
        let length = sum(self.lines().map(|line| count(line.as_bytes())));
        let segments = self.lines().map(|line| Segment::Text(line.into()));
        Stream {
            length,
            segments: Box::new(segments),
        }
    }

    fn rule_files(&self) -> impl Iterator<Item = Segment> + Send + use<> {
        let rules = Arc::clone(&self.rules);
        let files: Vec<Segment> = rules
            .iter()
            .map(|(name, bytes)| {
                let mut out = tar::head(name, count(bytes), UnixTime(0));
                out.extend_from_slice(bytes);
                out.resize(out.len() + tar::padding(count(bytes)), 0);
                Segment::Text(out.into())
            })
            .collect();
        files.into_iter()
    }

    fn stored_files(&self) -> impl Iterator<Item = Segment> + Send + use<> {
        let (site, files) = (Arc::clone(&self.site), Arc::clone(&self.files));
        (0..files.len())
            .filter_map(move |at| {
                let entry = site.manifest().paths().nth(*files.get(at)?)?;
                Some(stored(&site, &entry))
            })
            .flatten()
    }

    fn lines(&self) -> impl Iterator<Item = String> + Send + use<> {
        let manifest = self.site.manifest();
        let first = format!(
            "{{\"version\":\"{}\",\"content\":\"{}\",\"rule_files\":[",
            manifest.version(),
            manifest.content_digest()
        );
        let rules: Vec<String> = self.rules.iter().map(rule_line).collect();
        let first = format!("{first}{}],\"files\":[\n", rules.join(","));
        let (site, files) = (Arc::clone(&self.site), Arc::clone(&self.files));
        let lines = (0..files.len()).filter_map(move |at| {
            let entry = site.manifest().paths().nth(*files.get(at)?)?;
            let comma = if at + 1 < files.len() { "," } else { "" };
            Some(format!("{}{comma}\n", file_line(&site, &entry)))
        });
        let last = std::iter::once("]}\n".to_owned());
        std::iter::once(first).chain(lines).chain(last)
    }
}

/// Head, bytes and padding of a file.
fn stored(site: &SiteManifest, entry: &Entry<'_>) -> Vec<Segment> {
    let identity = entry.identity();
    let head = tar::head(entry.path(), identity.length, entry.seen().first);
    let mut segments = vec![Segment::Text(head.into())];
    if let Some(place) = super::blob_file::place(site.manifest(), &identity) {
        segments.push(Segment::Stored(place, Some(identity.digest)));
        let padding = vec![0; tar::padding(identity.length)];
        segments.push(Segment::Text(padding.into()));
    }
    segments
}

fn file_line(site: &SiteManifest, entry: &Entry<'_>) -> String {
    let identity = entry.identity();
    let url = route::address(site.manifest(), site.redirects(), entry.path());
    serde_json::json!({
        "path": entry.path(),
        "url": url,
        "type": entry.media_type(),
        "length": identity.length,
        "blake3": identity.digest.to_string(),
        "sha256": hex(&identity.sha256),
        "first_seen": entry.seen().first.0,
    })
    .to_string()
}

fn rule_line((name, bytes): (&str, &[u8])) -> String {
    serde_json::json!({
        "path": name,
        "length": bytes.len(),
        "blake3": Digest::of(bytes).to_string(),
        "sha256": hex(&Sha256::digest(bytes)),
    })
    .to_string()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// A manifest may say of its files what it likes; an answer of 2^64 bytes ends early, and one whose
/// sum went around would seem to be whole.
fn sum(lengths: impl Iterator<Item = u64>) -> u64 {
    lengths.fold(0, u64::saturating_add)
}

fn segment_length(segment: &Segment) -> u64 {
    match segment {
        Segment::Text(text) => count(text),
        Segment::Stored(place, _) => place.length,
    }
}

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sample;

    /// Nobody has so many bytes, but a manifest of somebody else's may say so: their sum went
    /// around, and the archive promised a few bytes.
    #[test]
    fn the_length_of_files_that_cannot_be_is_no_small_number() {
        let half = 1 << 63;
        let manifest = sample::manifest_with(&[("a", half), ("b", half), ("c", u64::MAX)]);
        let site = SiteManifest::decode(manifest.bytes().to_vec()).unwrap();
        let takeout = Takeout::gather(Arc::new(site));
        assert_eq!(takeout.archive().length, u64::MAX);
        assert_eq!(takeout.list().segments.count(), 5);
    }
}
