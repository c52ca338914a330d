//! The way out when a majority is lost for good.

use crate::harness::{Node, PORTS, Publisher, page, text, verge};
use crate::scene::{Region, refused, status};
use std::path::Path;
use verge_edge::cli::client::Protocol;

fn fork(to: &Path) -> Vec<&str> {
    let mut arguments = vec!["region", "fork", "--to", to.to_str().unwrap()];
    arguments.extend(["--region=Elm Street Anew", "--provider=Left Over"]);
    arguments.extend(&PORTS[1..]);
    arguments
}

/// What a visitor gets in each coding: the bytes as sent, and what they are.
fn seen(node: &Node, host: &str, path: &str) -> Vec<(Vec<u8>, String, String)> {
    let codings = ["identity", "br", "gzip", "zstd"];
    let answers =
        codings.map(|accept| crate::harness::get(node, Protocol::Http2, host, path, accept));
    let parts = answers.into_iter().map(|answer| {
        assert_eq!(answer.head.status, 200, "{host}{path}");
        let (coding, etag) = (answer.field("content-encoding"), answer.field("etag"));
        let said = (coding.to_owned(), etag.to_owned());
        (answer.encoded.to_vec(), said.0, said.1)
    });
    parts.collect()
}

/// Where the sites of [`furnish`] are seen.
const SHOWN: [(&str, &str); 4] = [
    ("garden.sites.localhost", "/"),
    ("garden.sites.localhost", "/about/"),
    ("notes.sites.localhost", "/"),
    ("notes.example", "/"),
];

/// Two accounts of two providers and three sites of theirs, one of which is taken down here.
fn furnish(region: &Region) -> [Publisher; 2] {
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publishers = [
        Publisher::with_site(a, "ana", "garden"),
        Publisher::with_site(b, "ben", "bakery"),
    ];
    let [ana, ben] = &publishers;
    region.all_in_step();
    let notes = ["site", "create", "notes", "--owner", "ana"];
    a.verge_ok(&[notes.as_slice(), &["--host", "notes.example"]].concat());
    a.verge_ok(&["site", "set", "garden", "--takeout", "public"]);
    let pages = "<p>a page that is long enough to be worth a coding</p>\n".repeat(200);
    for (publisher, site) in [(ana, "garden"), (ana, "notes"), (ben, "bakery")] {
        publisher.write("index.html", format!("<h1>{site}</h1>{pages}"));
        publisher.write("about/index.html", format!("<h1>about {site}</h1>"));
        publisher.commit(site);
        publisher.push_ok(a, site, "main");
    }
    let own = status(a)["provider"]["id"].as_str().unwrap().to_owned();
    a.verge_ok(&["account", "set", "ana", "--acts", &own]);
    a.verge_ok(&["site", "takedown", "bakery"]);
    publishers
}

#[test]
fn fork_shows_the_same_and_takes_pushes_of_the_same_keys() {
    let mut region = Region::of(3);
    let publishers = furnish(&region);
    let before = SHOWN.map(|(host, path)| seen(&region.nodes[0], host, path));
    let (old, new) = (region.nodes[0].data().to_owned(), region.new_data("anew"));

    // Nothing while the node runs.
    let said = refused(&old, &fork(&new));
    assert!(said.contains("another verge process owns"), "{said}");
    assert!(!new.exists());
    for node in &mut region.nodes {
        assert!(node.stop().success());
    }
    let output = verge(&old, &fork(&new));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for part in [
        "2 accounts, 3 sites, 3 of them",
        "account ana lets every provider act again",
        "site bakery is taken down here",
        "SSH key",
        "Do not go on with the old region",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let node = Node::start(&new);
    let now = status(&node);
    assert_eq!(now["provider_count"], 1);
    assert_eq!(now["region"]["name"], "Elm Street Anew");
    assert!(now["evidence"].as_array().unwrap().is_empty());
    let after = SHOWN.map(|(host, path)| seen(&node, host, path));
    assert_eq!(before, after);
    goes_on(&node, &publishers);
    // The old directory is as it was.
    region.nodes[0].restart();
    assert_eq!(status(&region.nodes[0])["region"]["name"], "Test Street");
}

/// Names, settings and keys are there; what was taken down stays so until that ends.
fn goes_on(node: &Node, [ana, ben]: &[Publisher; 2]) {
    let listed = node.verge_ok(&["site", "list"]);
    assert_eq!(listed.matches("(settled)").count(), 3, "{listed}");
    node.verge_ok(&["site", "takedown", "bakery", "--lift"]);
    let bakery = page(node, "bakery.sites.localhost", "/").unwrap();
    assert!(bakery.starts_with(b"<h1>bakery</h1>"));
    for (publisher, site) in [(ana, "garden"), (ben, "bakery")] {
        std::fs::remove_file(publisher.work().join("../known_hosts")).unwrap();
        // The history has come along.
        let refs = publisher.git_ok(&["ls-remote", &Publisher::url(node, site)]);
        assert!(refs.contains("refs/heads/main"), "{refs}");
        publisher.write("index.html", "<p>pushed after the fork");
        publisher.commit("after");
        publisher.push_ok(node, site, "main");
        let host = format!("{site}.sites.localhost");
        let shown = page(node, &host, "/").unwrap();
        assert_eq!(shown, b"<p>pushed after the fork");
    }
    assert!(ben.push_refused(node, "garden", "main").contains("garden"));
    let list = "/.well-known/verge/manifest.json";
    assert!(page(node, "garden.sites.localhost", list).is_ok());
}

#[test]
fn what_cannot_be_forked_is_refused_or_said() {
    let mut region = Region::of(1);
    let node = &region.nodes[0];
    let ana = Publisher::with_site(node, "ana", "garden");
    ana.write("index.html", "<p>here");
    ana.commit("one");
    ana.push_ok(node, "garden", "main");
    let old = node.data().to_owned();
    region.nodes[0].stop();
    let new = region.new_data("anew");
    let said = refused(&region.new_data("nowhere"), &fork(&new));
    assert!(said.contains("holds no node"), "{said}");
    assert!(refused(&old, &fork(&old)).contains("holds a node already"));
    let full = region.new_data("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("mine"), "mine").unwrap();
    assert!(refused(&old, &fork(&full)).contains("is not empty"));
    let mut nameless = fork(&new);
    nameless[4] = "--region=";
    assert!(refused(&old, &nameless).contains("1 to 64 bytes"));
    assert!(!new.exists());
    // A blob that is not what it was is not carried, and everything else is.
    for entry in std::fs::read_dir(old.join("blobs")).unwrap() {
        std::fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    let output = verge(&old, &fork(&new));
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        said.contains("site garden shows nothing until its publisher pushes"),
        "{said}"
    );
    let node = Node::start(&new);
    assert_eq!(status(&node)["published_count"], 0);
    drop(std::fs::remove_file(ana.work().join("../known_hosts")));
    ana.commit("again");
    ana.push_ok(&node, "garden", "main");
    assert_eq!(
        page(&node, "garden.sites.localhost", "/").unwrap(),
        b"<p>here"
    );
}
