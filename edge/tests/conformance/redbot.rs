//! REDbot, which asks for a page in a dozen ways and lints what comes back, over a crawl of the
//! fixture site: it notes no fault but those that are explained here.

use crate::peers::program;
use crate::support::effort::proving;
use crate::support::preview::{Preview, files, fixture};
use serde_json::Value;
use std::process::Command;

/// How many addresses `make test` takes; `make prove` takes all.
const SAMPLE_COUNT: usize = 8;
/// Notes below this are praise and information.
const FAULTS: [&str; 2] = ["WARN", "BAD"];

/// A note that is no fault, which addresses may have it, and why.
type Explanation = (&'static str, fn(&str) -> bool, &'static str);

const EXPLAINED: [Explanation; 6] = [
    (
        "STORE_PUBLIC_UNNECESSARY",
        |_| true,
        "`public` says what a page here is: the same for everybody",
    ),
    (
        "CONTENT_TYPE_MISMATCH",
        |path| {
            [".ico", ".mp4", ".avif"]
                .iter()
                .any(|end| path.ends_with(end))
        },
        "its sniffer does not know these containers",
    ),
    (
        "RANGE_CL_FULL",
        |path| path == "/robots.txt",
        "the file is as small as the part that is asked for",
    ),
    ("INM_FULL", is_refused, "conditions hold for a 200 only"),
    ("IMS_FULL", is_refused, "conditions hold for a 200 only"),
    (
        "RANGE_FULL",
        is_refused,
        "a page for what is not there has no parts",
    ),
];

fn is_refused(path: &str) -> bool {
    ["/no-such-page", "/forum/old"].contains(&path)
}

#[test]
fn redbot_notes_no_fault() {
    let preview = Preview::start(&fixture("neighbourhood"), &[]);
    let origin = format!("http://{}", preview.ready.http.unwrap());
    let mut paths = crawl();
    if !proving() {
        // Every so many, so that the sample has something of each folder.
        let step = paths.len().div_ceil(SAMPLE_COUNT);
        paths = paths.into_iter().rev().step_by(step).collect();
    }
    let faults: Vec<String> = paths
        .iter()
        .flat_map(|path| faults(&origin, path))
        .collect();
    assert_eq!(faults, Vec::<String>::new());
}

/// Every file at its address, a redirect of each kind, and pages for what is not there.
fn crawl() -> Vec<String> {
    let folder = fixture("neighbourhood");
    let published = files(&folder)
        .into_iter()
        .filter(|file| !file.starts_with('_'));
    let address = |file: String| {
        let clean = file.strip_suffix(".html").unwrap_or(&file);
        format!("/{}", clean.strip_suffix("index").unwrap_or(clean))
    };
    let others = [
        "/about.html",
        "/tools",
        "/opening-times",
        "/forum/old",
        "/no-such-page",
    ];
    let others = others.map(str::to_owned);
    published.map(address).chain(others).collect()
}

fn faults(origin: &str, path: &str) -> Vec<String> {
    let output = Command::new(program("redbot/bin/redbot"))
        .args(["-o", "har"])
        .arg(format!("{origin}{path}"))
        .output()
        .unwrap();
    let har: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{path}: {error}: {output:?}"));
    let entries = har["log"]["entries"].as_array().unwrap();
    let notes: Vec<&Value> = entries
        .iter()
        .flat_map(|entry| entry["_red_messages"].as_array().unwrap())
        .collect();
    assert!(notes.len() > 2, "{path}: it has looked at nothing: {har}");
    notes
        .into_iter()
        .filter(|note| FAULTS.contains(&note["level"].as_str().unwrap()))
        .filter(|note| !is_explained(note["note_id"].as_str().unwrap(), path))
        .map(|note| format!("{path}: {} {}", note["note_id"], note["summary"]))
        .collect()
}

fn is_explained(note: &str, path: &str) -> bool {
    EXPLAINED
        .iter()
        .any(|(name, fits, _why)| *name == note && fits(path))
}
