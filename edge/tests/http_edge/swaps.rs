//! A version is swapped while visitors read.

use crate::support::edge::Setup;
use crate::support::sample::{Blobs, File, file, noise};
use crate::support::visitor::{SECURE, Visitor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use verge_edge::sites::CacheBudget;

const VERSION_COUNT: u8 = 6;
const SWAP_COUNT: usize = 1_000;

/// Every byte of every file of a version says which version it is of.
fn files(mark: u8) -> Vec<File> {
    let page = format!("version {mark}\n").repeat(200);
    let mut big = noise(u64::from(mark), 300_000);
    big.fill(mark);
    vec![
        file("index.html", page),
        file("big.bin", big),
        file("404.html", format!("missing {mark}\n").repeat(50)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_fail_no_request_and_mix_no_bytes() {
    let blobs = Blobs::new();
    let versions: Vec<_> = (0..VERSION_COUNT)
        .map(|mark| blobs.publish(&files(mark)))
        .collect();
    let setup = Setup {
        // Less than the versions together, so that manifests and bodies are also read again.
        budget: CacheBudget {
            manifest_bytes_max: 4_000,
            body_bytes_max: 8_000,
            page_bytes_max: 8_000,
        },
        ..Setup::default()
    };
    let edge = Arc::new(setup.start(&blobs, versions[0]));
    let (answered, done) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let mut readers = Vec::new();
    for via in SECURE.into_iter().chain(SECURE) {
        let mut visitor = Visitor::connect(&edge, via, "garden.example").await;
        let (answered, done) = (Arc::clone(&answered), Arc::clone(&done));
        readers.push(tokio::spawn(async move {
            let mut count = 0_usize;
            while !done.load(Ordering::Relaxed) {
                for target in ["/", "/big.bin", "/missing"] {
                    let answer = visitor.get(target, &[]).await;
                    check(target, answer.status.as_u16(), &answer.body);
                    count += 1;
                    answered.notify_one();
                }
            }
            count
        }));
    }
    for round in 0..SWAP_COUNT {
        edge.show("garden.example", versions[round % versions.len()]);
        answered.notified().await;
    }
    done.store(true, Ordering::Relaxed);
    let mut total = 0;
    for reader in readers {
        total += reader.await.unwrap();
    }
    assert!(total >= SWAP_COUNT);
    assert!(edge.damages.lock().unwrap().is_empty());
}

fn check(target: &str, status: u16, body: &[u8]) {
    let wanted = if target == "/missing" { 404 } else { 200 };
    assert_eq!(status, wanted, "{target}");
    let whole = (0..VERSION_COUNT).any(|mark| {
        let path = match target {
            "/" => "index.html",
            "/missing" => "404.html",
            other => other.trim_start_matches('/'),
        };
        files_of(mark, path) == body
    });
    assert!(whole, "{target}: {} bytes that no version has", body.len());
}

fn files_of(mark: u8, path: &str) -> Vec<u8> {
    match path {
        "index.html" => format!("version {mark}\n").repeat(200).into(),
        "404.html" => format!("missing {mark}\n").repeat(50).into(),
        _ => vec![mark; 300_000],
    }
}
