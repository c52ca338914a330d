//! Whether a node gives every file of a site byte for byte.

use crate::harness::{Node, block_on, files};
use std::path::Path;
use verge_edge::cli::client::Protocol;

const CODINGS: [&str; 4] = ["br", "zstd", "gzip", "identity"];

/// The URL path under which a published file is found without a redirect: clean, unless another
/// file has that very name.
pub(crate) fn url(path: &str, all: &[String]) -> String {
    let index = path == "index.html" || path.ends_with("/index.html");
    let clean = if index {
        path.strip_suffix("index.html").unwrap()
    } else {
        path.strip_suffix(".html").unwrap_or(path)
    };
    let is_taken = clean != path && all.iter().any(|other| other == clean);
    let mut url = String::from("/");
    for byte in if is_taken { path } else { clean }.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

fn is_published(path: &str) -> bool {
    let hidden = path
        .split('/')
        .any(|s| s.starts_with('.') && s != ".well-known");
    !hidden && !["_redirects", "_headers", "verge.toml"].contains(&path)
}

/// Every published file of `folder` comes from `node` as it is, in every coding.
pub(crate) fn serves(node: &Node, host: &str, folder: &Path, protocols: &[Protocol]) {
    let all: Vec<String> = files(folder)
        .into_iter()
        .filter(|path| is_published(path))
        .collect();
    let visitor = node.visitor();
    block_on(async {
        for protocol in protocols {
            let mut session = visitor.connect(*protocol, host).await.unwrap();
            for path in &all {
                let published = std::fs::read(folder.join(path)).unwrap();
                let url = url(path, &all);
                for coding in CODINGS {
                    let answer = session.get(&url, coding).await.unwrap();
                    assert_eq!(answer.head.status, 200, "{url}");
                    let sent = answer.field("content-encoding");
                    assert!(
                        sent.is_empty() || sent == coding,
                        "{url}: asked {coding}, got {sent}"
                    );
                    assert!(
                        answer.body == published,
                        "{url} in {coding} has other bytes"
                    );
                    let length = answer.encoded.len().to_string();
                    assert_eq!(answer.field("content-length"), length, "{url}");
                }
            }
        }
    });
}

/// A Debian package's documentation, with links that leave it followed.
pub(crate) fn real_folder(path: &str) -> tempfile::TempDir {
    assert!(
        Path::new(path).is_dir(),
        "{path} is missing: `make test` installs it"
    );
    let folder = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-rLT")
        .arg(path)
        .arg(folder.path())
        .status();
    assert!(copied.unwrap().success());
    folder
}
