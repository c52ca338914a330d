//! The same folder behind Verge, nginx and Caddy: more than 500 addresses, each asked for in every
//! way of [`ASKS`], and every difference explained: here, and in the same words in `docs/http.md`.

use crate::peers::{PEERS, start};
use crate::support::preview::{Preview, fixture};
use crate::support::visitor::{Answer, Visitor};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use verge_sync::Digest;

/// One way to ask for an address.
struct Ask {
    name: &'static str,
    method: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

const fn get(name: &'static str, headers: &'static [(&'static str, &'static str)]) -> Ask {
    Ask {
        name,
        method: "GET",
        headers,
    }
}

const fn by(method: &'static str) -> Ask {
    Ask {
        name: method,
        method,
        headers: &[],
    }
}

const FUTURE: &str = "Sat, 01 Jan 2039 00:00:00 GMT";
const PAST: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

const ASKS: [Ask; 22] = [
    by("GET"),
    by("HEAD"),
    by("POST"),
    by("OPTIONS"),
    by("DELETE"),
    get("range", &[("range", "bytes=0-9")]),
    get("suffix", &[("range", "bytes=-5")]),
    get("open range", &[("range", "bytes=5-")]),
    get("range beyond", &[("range", "bytes=999999999-")]),
    get("two ranges", &[("range", "bytes=0-0,-1")]),
    get("backward range", &[("range", "bytes=9-1")]),
    get("other unit", &[("range", "lines=0-1")]),
    get("if-range", &[("range", "bytes=0-9"), ("if-range", "\"x\"")]),
    get("any tag", &[("if-none-match", "*")]),
    get("other tag", &[("if-none-match", "\"x\"")]),
    get("match any", &[("if-match", "*")]),
    get("match other", &[("if-match", "\"x\"")]),
    get(
        "modified since the future",
        &[("if-modified-since", FUTURE)],
    ),
    get("modified since the past", &[("if-modified-since", PAST)]),
    get("unmodified since", &[("if-unmodified-since", PAST)]),
    get("gzip", &[("accept-encoding", "gzip")]),
    get("no identity", &[("accept-encoding", "identity;q=0")]),
];

/// What of an answer is compared.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    location: String,
    range: String,
    coding: String,
    /// Of a whole or partial body without a coding, unless it is in several parts.
    body: Option<Digest>,
}

impl Seen {
    fn of(answer: &Answer) -> Self {
        let header = |name| answer.header(name).unwrap_or_default().to_owned();
        let status = answer.status.as_u16();
        let (coding, media_type) = (header("content-encoding"), header("content-type"));
        let is_plain = coding.is_empty() && !media_type.starts_with("multipart/");
        let body = matches!(status, 200 | 206) && is_plain;
        Self {
            status,
            location: header("location"),
            range: header("content-range"),
            coding,
            body: body.then(|| Digest::of(&answer.body)),
        }
    }

    fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 307 | 308)
    }
}

/// One address, asked for in one way, of us and of somebody else.
struct Case<'a> {
    target: &'a str,
    ask: &'static str,
    ours: &'a Seen,
    theirs: &'a Seen,
}

/// A kind of difference, as `docs/http.md` says it.
type Explanation = (&'static str, fn(&Case<'_>) -> bool);

/// The first that fits explains a difference.
const EXPLANATIONS: [Explanation; 13] = [
    (
        "`..` in an address is refused with 400; nginx and Caddy work it out.",
        |case| case.target.contains("/../") && case.ours.status == 400,
    ),
    (
        "OPTIONS is answered with 204 and `Allow`; nginx refuses it, Caddy sends the page.",
        |case| case.ask == "OPTIONS" && case.ours.status == 204,
    ),
    (
        "Any other method is 405 whatever the address; nginx looks for the file first, Caddy sends it.",
        |case| ["POST", "DELETE"].contains(&case.ask) && case.ours.status == 405,
    ),
    (
        "A page has one address, and other spellings lead there; nginx and Caddy answer under several, or not at all.",
        |case| case.ours.is_redirect() && !case.theirs.is_redirect(),
    ),
    (
        "A redirect keeps the method (307, 308); that of nginx to a folder is a 301, that of Caddy for good.",
        |case| {
            let (ours, theirs) = (&case.ours.location, &case.theirs.location);
            case.ours.is_redirect() && ours.eq_ignore_ascii_case(theirs)
        },
    ),
    (
        "A file is no folder, so `/picture.png/` is 404; Caddy leads to the file.",
        |case| case.target.ends_with('/') && case.ours.status == 404 && case.theirs.status == 308,
    ),
    (
        "A page for what is not there is sent whole; Caddy sends a part of it.",
        |case| {
            case.ours.status == 404 && case.theirs.status == 404 && !case.theirs.range.is_empty()
        },
    ),
    (
        "Who accepts no form that is stored gets 406 (RFC 9110 section 12.5.3); nginx and Caddy send one all the same.",
        |case| case.ask == "no identity" && case.ours.status == 406,
    ),
    (
        "Text is stored compressed; nginx and Caddy compress only if they are set up for it.",
        |case| case.ask == "gzip" && case.ours.coding == "gzip" && case.theirs.coding.is_empty(),
    ),
    (
        "`If-Modified-Since` compares dates (RFC 9110 section 13.1.3); nginx wants the very date that it sent.",
        |case| case.ask == "modified since the future" && case.ours.status == 304,
    ),
    (
        "A range that runs backward is no range and is ignored; nginx and Caddy answer 416.",
        |case| case.ask == "backward range" && case.ours.status == 200,
    ),
    (
        "Another unit than bytes is ignored (RFC 9110 section 14.2); Caddy answers 416.",
        |case| case.ask == "other unit" && case.ours.status == 200,
    ),
    (
        "An empty file has no first bytes (416) and no last ones (200); nginx sends 200, Caddy `bytes 0--1/0`.",
        |case| case.target.contains("/empty.txt") && [200, 416].contains(&case.ours.status),
    ),
];

#[tokio::test]
async fn every_difference_from_other_servers_is_explained() {
    let folder = site();
    let targets = targets(folder.path());
    assert!(targets.len() >= 500, "{}", targets.len());
    let preview = Preview::start(folder.path(), &[]);
    let ours = ask_all(preview.ready.http.unwrap(), &targets).await;
    let mut used = BTreeSet::new();
    let mut unexplained = Vec::new();
    for peer in PEERS {
        let running = start(peer, folder.path());
        let theirs = ask_all(running.address, &targets).await;
        let asked = targets
            .iter()
            .flat_map(|t| ASKS.iter().map(move |a| (t, a)));
        for ((target, ask), (ours, theirs)) in asked.zip(ours.iter().zip(&theirs)) {
            let ask = ask.name;
            let case = Case {
                target,
                ask,
                ours,
                theirs,
            };
            let found = EXPLANATIONS.iter().position(|(_, fits)| fits(&case));
            match found {
                _ if ours == theirs => {}
                Some(found) => drop(used.insert(found)),
                None => unexplained.push(format!("{peer:?} {target} {ask}: {ours:?} / {theirs:?}")),
            }
        }
    }
    assert_eq!(unexplained, Vec::<String>::new());
    let unused = (0..EXPLANATIONS.len()).filter(|n| !used.contains(n));
    let unused: Vec<&str> = unused.map(|n| EXPLANATIONS[n].0).collect();
    assert_eq!(unused, Vec::<&str>::new(), "explain what does not occur");
}

#[test]
fn the_documentation_has_every_explanation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/http.md");
    let text = fs::read_to_string(path).unwrap();
    for (sentence, _) in EXPLANATIONS {
        assert!(text.contains(&format!("- {sentence}\n")), "{sentence}");
    }
}

/// The fixture without its rule files, which the others do not read.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut copy = std::process::Command::new("cp");
    copy.arg("-rT").arg(fixture("neighbourhood"));
    assert!(copy.arg(folder.path()).status().unwrap().success());
    for name in ["_redirects", "_headers"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    // nginx serves as a user of its own where it is started by root.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Every file under many spellings of its address: right ones, near ones and wrong ones.
fn targets(folder: &Path) -> Vec<String> {
    let mut targets = BTreeSet::new();
    for file in crate::support::preview::files(folder) {
        let path = format!("/{}", encode(&file));
        let stem = path.strip_suffix(".html").unwrap_or(&path);
        let folder = stem.strip_suffix("index").unwrap_or(stem);
        targets.extend([
            path.clone(),
            stem.to_owned(),
            folder.to_owned(),
            format!("{stem}/"),
            format!("/{}", folder.trim_matches('/')),
            format!("{path}?a=b"),
            format!("{stem}?a=b%20c"),
            format!("{path}x"),
            format!("{path}/x"),
            format!("/{path}"),
            path.replacen('/', "/./", 1),
            path.replacen('/', "/x/../", 1),
            path.replacen('a', "%61", 1),
            path.to_uppercase(),
        ]);
    }
    targets.into_iter().collect()
}

fn encode(path: &str) -> String {
    let byte = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    path.bytes().map(byte).collect()
}

async fn ask_all(address: SocketAddr, targets: &[String]) -> Vec<Seen> {
    let mut visitor = Visitor::plain(address).await;
    let mut all = Vec::new();
    for target in targets {
        for ask in &ASKS {
            let request = visitor.request(ask.method, "site.example", target, ask.headers);
            let answer = match visitor.send(request).await {
                Ok(answer) => answer,
                // A connection may have been closed meanwhile; a new one has no such excuse.
                Err(_closed) => {
                    visitor = Visitor::plain(address).await;
                    visitor
                        .ask(ask.method, "site.example", target, ask.headers)
                        .await
                }
            };
            all.push(Seen::of(&answer));
        }
    }
    all
}
