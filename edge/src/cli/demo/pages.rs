//! What was published, and whether it comes back: every page in every coding.

use crate::cli::client::{Answer, Protocol, Visitor};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use verge_sync::clock::stopwatch;

/// The codings that visitors ask for.
pub(super) const CODINGS: [&str; 4] = ["br", "zstd", "gzip", "identity"];

/// What one protocol and coding brought.
#[derive(Default)]
pub(super) struct Row {
    pub(super) right: usize,
    sent_bytes: usize,
    page_bytes: usize,
    milliseconds: u128,
}

impl Row {
    pub(super) fn show(&self, protocol: Protocol, coding: &str, pages: usize) -> String {
        let protocol = match protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        };
        format!(
            "  {protocol:<9} {coding:<10} {pages:>5}  {:>5}  {:>12}  {:>14}  {:>6} ms",
            self.right, self.sent_bytes, self.page_bytes, self.milliseconds
        )
    }
}

pub(super) async fn visit_all(
    visitor: &Visitor,
    protocol: Protocol,
    (host, coding): (&str, &str),
    pages: &[Page],
) -> anyhow::Result<Row> {
    let started = stopwatch();
    let mut row = Row::default();
    let mut session = visitor.connect(protocol, host).await?;
    for page in pages {
        let answer = session.get(&page.url, coding).await?;
        let published = std::fs::read(&page.file)?;
        row.sent_bytes += answer.encoded.len();
        row.page_bytes += published.len();
        match wrong(&answer, &published, coding) {
            None => row.right += 1,
            Some(why) => super::say(&format!("  WRONG {}: {why}", page.url)),
        }
    }
    row.milliseconds = started.elapsed().as_millis();
    Ok(row)
}

fn wrong(answer: &Answer, published: &[u8], asked: &str) -> Option<String> {
    let coding = answer.field("content-encoding");
    if answer.head.status != 200 {
        Some(format!("status {}", answer.head.status))
    } else if !coding.is_empty() && coding != asked {
        Some(format!("came as {coding}"))
    } else if answer.body != published {
        Some("other bytes than were published".to_owned())
    } else {
        None
    }
}

/// A published file and the URL that a visitor finds it under.
pub(super) struct Page {
    file: PathBuf,
    url: String,
}

/// Every file of `source` that is published, with its clean URL.
pub(super) fn pages(source: &Path) -> anyhow::Result<Vec<Page>> {
    let mut pages = Vec::new();
    for entry in walk(source)? {
        let has_file = |path: &str| source.join(path).is_file();
        let relative = entry
            .strip_prefix(source)?
            .to_str()
            .context("a file name in UTF-8")?;
        let is_hidden = relative
            .split('/')
            .any(|segment| segment.starts_with('.') && segment != ".well-known");
        if is_hidden || ["_redirects", "_headers", "verge.toml"].contains(&relative) {
            continue;
        }
        pages.push(Page {
            url: clean_url(relative, has_file),
            file: entry.clone(),
        });
    }
    if pages.is_empty() {
        bail!("{} holds no file to publish", source.display());
    }
    Ok(pages)
}

/// `a.html` is asked for as `/a` unless another file is called `a`, `d/index.html` as `/d/`.
fn clean_url(path: &str, has_file: impl Fn(&str) -> bool) -> String {
    let clean = match path.strip_suffix("index.html") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => folder,
        _ => path.strip_suffix(".html").unwrap_or(path),
    };
    let exact = if clean != path && has_file(clean) {
        path
    } else {
        clean
    };
    let mut url = String::from("/");
    for byte in exact.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(char::from(byte));
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

fn walk(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| format!("read {}", next.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    for file in walk(from)? {
        let target = to.join(file.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().unwrap_or(to))?;
        std::fs::copy(&file, &target).with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_urls() {
        for (path, url) in [
            ("index.html", "/"),
            ("a.html", "/a"),
            ("d/index.html", "/d/"),
            ("copyright.html", "/copyright.html"),
            ("myindex.html", "/myindex"),
            ("caf\u{e9}.html", "/caf%C3%A9"),
            ("a b.txt", "/a%20b.txt"),
        ] {
            assert_eq!(clean_url(path, |name| name == "copyright"), url);
        }
    }
}
