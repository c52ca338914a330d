//! Of a visitor nothing stays: not on the disk, not in the log, not in what the node tells.

use crate::harness::{Node, Publisher, init};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

/// An address of loopback that nobody has by chance.
const ADDRESS: &str = "127.77.66.55";
const PLANTED: [&str; 6] = [
    ADDRESS,
    // The same in other clothes.
    "7f4d4237",
    "planted-agent",
    "planted-path",
    "planted-query",
    "planted-referrer",
];

/// What the planted visitor hears of `host`.
fn visit(node: &Node, host: &str, agent: &str, more: &[&str]) -> String {
    let address = node.ready().https.unwrap();
    let output = Command::new("curl")
        .args(["-s", "--max-time", "20", "--interface", ADDRESS])
        .arg("--cacert")
        .arg(node.data().join("local-ca.pem"))
        .args(["--resolve", &format!("{host}:{}:127.0.0.1", address.port())])
        .args(["-A", agent, "-e", "https://planted-referrer.example/"])
        .args(["-b", "a=planted-agent", "-w", "%{http_code}"])
        .args(more)
        .arg(format!(
            "https://{host}:{}/planted-path?planted-query",
            address.port()
        ))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All files beneath `folder` that have one of the planted words.
fn find(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, kind) = entry
            .map(|entry| (entry.path(), entry.file_type()))
            .unwrap();
        let kind = kind.unwrap();
        if kind.is_dir() {
            find(&path, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let named = path.to_string_lossy().into_owned();
            let words = PLANTED.iter().filter(|word| {
                named.contains(**word) || memchr::memmem::find(&bytes, word.as_bytes()).is_some()
            });
            found.extend(words.map(|word| format!("{word} in {named}")));
        }
    }
}

#[test]
fn of_a_visitor_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("node"), folder.path().join("log"));
    init(&data);
    let mut node = Node::start_talkative(&data, &log);
    let publisher = Publisher::with_site(&node, "ana", "quiet");
    publisher.write("index.html", "<p>a page ".repeat(1_000));
    // Every path shows a page, and is counted.
    publisher.write("_redirects", "/* /index.html 200\n");
    publisher.commit("one");
    publisher.push_ok(&node, "quiet", "main");
    let host = "quiet.sites.localhost";
    for protocol in ["--http1.1", "--http2"] {
        for agent in ["planted-agent/1.0", "planted-agent-bot/1.0"] {
            let whole = visit(&node, host, agent, &[protocol]);
            assert!(whole.ends_with("200"), "{whole}");
            let part = visit(&node, host, agent, &[protocol, "-r", "5-10"]);
            assert!(part.ends_with("206"), "{part}");
            let head = visit(&node, host, agent, &[protocol, "-I"]);
            assert!(head.ends_with("200"), "{head}");
        }
    }
    let told = node.verge_ok(&["status", "--json"]);
    let doctor = node.verge(&["doctor"]);
    assert!(node.stop().success());
    let mut found = Vec::new();
    find(folder.path(), &mut found);
    assert_eq!(found, Vec::<String>::new());
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned() + &told;
    for word in PLANTED {
        assert!(!said.contains(word), "{word}: {said}");
    }
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
}

#[test]
fn a_node_that_falls_leaves_no_core() {
    let mut node = Node::found();
    let status = node.abort();
    assert!(
        status.signal().is_some() && !status.core_dumped(),
        "{status:?}"
    );
    assert!(!node.data().join("core").exists());
}
