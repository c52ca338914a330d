//! Deploys under load: no request fails, no answer mixes two versions.

use crate::harness::{Node, Publisher, block_on, count};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use verge_edge::cli::client::Protocol;

/// Both pages of a site name the deploy that they belong to; each page must be whole, and none
/// may go back in time.
#[test]
fn no_request_fails_while_versions_change() {
    let deploys = count("VERGE_DEPLOYS", 25);
    let node = Node::found();
    Publisher::with_site(&node, "ana", "busy");
    let folder = tempfile::tempdir().unwrap();
    let write = |number: usize| {
        for name in ["index.html", "other.html"] {
            std::fs::write(
                folder.path().join(name),
                format!("{number:06} ").repeat(300),
            )
            .unwrap();
        }
    };
    let path = folder.path().to_str().unwrap().to_owned();
    write(0);
    node.verge_ok(&["deploy", &path, "--site", "busy"]);
    let (over, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let visitors: Vec<_> = [Protocol::Http1, Protocol::Http2]
        .into_iter()
        .map(|protocol| {
            let (visitor, over, answers) =
                (node.visitor(), Arc::clone(&over), Arc::clone(&answers));
            std::thread::spawn(move || {
                block_on(async {
                    let mut session = visitor
                        .connect(protocol, "busy.sites.localhost")
                        .await
                        .unwrap();
                    let mut newest = 0;
                    while !over.load(Ordering::Relaxed) {
                        for path in ["/", "/other"] {
                            let answer = session.get(path, "br").await.unwrap();
                            assert_eq!(answer.head.status, 200);
                            let shown = whole_page(&answer.body);
                            assert!(shown >= newest, "{shown} came after {newest}");
                            newest = shown;
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    newest
                })
            })
        })
        .collect();
    for number in 1..=deploys {
        write(number);
        node.verge_ok(&["deploy", &path, "--site", "busy"]);
    }
    let before = answers.load(Ordering::Relaxed);
    while answers.load(Ordering::Relaxed) < before + 8 {
        std::thread::yield_now();
    }
    over.store(true, Ordering::Relaxed);
    for visitor in visitors {
        assert_eq!(visitor.join().unwrap(), deploys);
    }
    let versions = node.verge_ok(&["site", "versions", "busy"]);
    assert_eq!(versions.lines().count(), deploys + 1);
}

/// The number that every word of the page is.
fn whole_page(body: &[u8]) -> usize {
    let text = std::str::from_utf8(body).unwrap();
    let mut words = text.split_whitespace();
    let first = words.next().unwrap();
    assert!(words.all(|word| word == first), "a page of two versions");
    assert_eq!(text.len(), 7 * 300);
    first.parse().unwrap()
}
