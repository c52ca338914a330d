//! What may be depended on: licences, arrows between the crates, one version of each crate, and
//! one crypto provider. `make audit` asks `cargo deny` the same of the whole lock file.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Licences that AGPL-3.0-or-later can be combined with.
const LICENCES: [&str; 15] = [
    "0BSD",
    "AGPL-3.0-or-later",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC0-1.0",
    // The list of root certificates, which is data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that are in the tree in more than one version, each with its reason.
const DUPLICATES: &[(&str, &str)] = &[
    (
        "aead",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "aes",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "aes-gcm",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "base64",
        "our code and ssh have 0.23, iroh's relay client 0.22",
    ),
    (
        "cipher",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "cpufeatures",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "crypto-common",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "ctr",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "generic-array",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "ghash",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "inout",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "netlink-packet-core",
        "iroh's netwatch and its netdev read the interfaces by different versions",
    ),
    (
        "netlink-packet-route",
        "iroh's netwatch and its netdev read the interfaces by different versions",
    ),
    (
        "netlink-sys",
        "iroh's netwatch and its netdev read the interfaces by different versions",
    ),
    (
        "num-bigint",
        "x509-parser reads DER numbers with 0.4, russh RSA keys with 0.5",
    ),
    (
        "polyval",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "spin",
        "postcard of iroh-blobs has 0.9 below heapless, the futures of iroh 0.10",
    ),
    (
        "syn",
        "derive macros move to syn 3 one by one; only at build time",
    ),
    ("synstructure", "goes with syn; only at build time"),
    (
        "universal-hash",
        "russh is on the new generation of RustCrypto, the QUIC of iroh on the one before",
    ),
    (
        "untrusted",
        "instant-acme turns on what aws-lc-rs has in common with ring, which reads by 0.7; webpki reads by 0.9",
    ),
];

/// The arrows of the design: who may depend on whom.
const ARROWS: [(&str, &[&str]); 3] = [
    ("verge-sync", &[]),
    ("verge-builder", &["verge-sync"]),
    ("verge-edge", &["verge-builder", "verge-sync"]),
];

/// Crates that must be below one of our crates only.
const ROOMS: [(&str, &str); 8] = [
    ("iroh", "verge-sync"),
    ("negentropy", "verge-sync"),
    ("rusqlite", "verge-sync"),
    ("hyper", "verge-edge"),
    ("hickory-resolver", "verge-edge"),
    ("rustls", "verge-edge"),
    ("russh", "verge-edge"),
    ("walkdir", "verge-builder"),
];

struct Package {
    name: String,
    version: String,
    licence: String,
    dependencies: Vec<String>,
}

/// What cargo answers in the workspace.
fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// "NAME vVERSION" of all that is really built here. The resolution in the metadata also has what
/// no chosen feature asks for.
fn built() -> BTreeSet<String> {
    let tree = [
        "tree",
        "--locked",
        "--workspace",
        "--edges=normal,build,dev",
    ];
    let form = ["--prefix=none", "--no-dedupe", "--format={p}"];
    let words = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    cargo(&[&tree[..], &form[..]].concat())
        .lines()
        .filter(|line| !line.is_empty())
        .map(words)
        .collect()
}

/// What is built for this platform, build and test dependencies included.
fn packages() -> Vec<Package> {
    let metadata = cargo(&["metadata", "--format-version=1", "--locked"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo writes JSON");
    let built = built();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = metadata["packages"].as_array().unwrap().iter();
    let packages: Vec<Package> = all
        .map(|package| Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: text(&package["license"]),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(&dependency["name"]))
                .collect(),
        })
        .filter(|package| built.contains(&format!("{} v{}", package.name, package.version)))
        .collect();
    assert_eq!(
        packages.len(),
        built.len(),
        "cargo's two answers fit together"
    );
    packages
}

/// One of the licences joined by OR is enough, all of those joined by AND are needed.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    expression.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn licences_go_together() {
    for package in packages() {
        assert!(
            is_allowed(&package.licence),
            "{} {}: {}",
            package.name,
            package.version,
            package.licence
        );
    }
}

#[test]
fn licence_expressions_are_read() {
    for (expression, allowed) in [
        ("MIT OR Apache-2.0", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-2.0", false),
        ("none", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
}

#[test]
fn arrows_point_downward() {
    let packages = packages();
    for (name, allowed) in ARROWS {
        let package = packages
            .iter()
            .find(|package| package.name == name)
            .unwrap();
        for dependency in package
            .dependencies
            .iter()
            .filter(|name| name.starts_with("verge-"))
        {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} depends on {dependency}"
            );
        }
    }
}

#[test]
fn each_room_keeps_its_tools() {
    for package in packages()
        .iter()
        .filter(|package| package.name.starts_with("verge-"))
    {
        for (tool, room) in ROOMS {
            let uses = package
                .dependencies
                .iter()
                .any(|dependency| dependency == tool);
            assert!(
                !uses || package.name == room,
                "{} depends on {tool}",
                package.name
            );
        }
    }
}

#[test]
fn crates_are_there_once() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        versions
            .entry(package.name)
            .or_default()
            .insert(package.version);
    }
    let twice: Vec<&String> = versions
        .iter()
        .filter(|(_, all)| all.len() > 1)
        .map(|(name, _)| name)
        .collect();
    let explained: Vec<&str> = DUPLICATES.iter().map(|(name, _)| *name).collect();
    assert_eq!(twice, explained);
}

#[test]
fn there_is_one_crypto_provider() {
    let names: BTreeSet<String> = packages().into_iter().map(|package| package.name).collect();
    assert!(names.contains("aws-lc-rs"));
    for other in ["ring", "openssl", "openssl-sys", "native-tls", "boring"] {
        assert!(!names.contains(other), "{other} is in the tree");
    }
}
