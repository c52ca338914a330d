//! The region's own CA from the command line to a visitor.

use crate::harness::{Node, Publisher, block_on, init, run_by, text, verge};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use verge_edge::cli::client::{Protocol, Visitor};

fn make(data: &Path, out: &Path) -> Output {
    verge(
        data,
        &["region", "ca", "make", "--out", out.to_str().unwrap()],
    )
}

fn use_it(data: &Path) {
    let path = data.join("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(path, config.replace("ca = \"local\"", "ca = \"region\"")).unwrap();
}

#[test]
fn visitors_trust_the_root_and_get_the_region_s_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let (data, stick) = (folder.path().join("node"), folder.path().join("stick"));
    init(&data);
    use_it(&data);
    // Without it the node says what to do.
    let refused = verge(&data, &["serve"]);
    assert!(!refused.status.success());
    assert!(
        text(&refused.stderr).contains("verge region ca make"),
        "{}",
        text(&refused.stderr)
    );
    let inside = make(&data, &data.join("ca"));
    assert!(
        text(&inside.stderr).contains("lies on the node"),
        "{}",
        text(&inside.stderr)
    );
    let made = make(&data, &stick);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let made = text(&made.stdout);
    assert!(
        made.contains("zones     sites.localhost, admin.localhost"),
        "{made}"
    );
    assert!(
        !data.join("region-ca.key").exists(),
        "the root's key stays off the node"
    );
    let shown = verge(&data, &["region", "ca", "show"]);
    let fingerprint = made
        .lines()
        .find(|line| line.starts_with("SHA-256"))
        .unwrap();
    assert!(
        text(&shown.stdout).contains(fingerprint),
        "{}",
        text(&shown.stdout)
    );

    let node = Node::start(&data);
    let publisher = Publisher::with_site(&node, "ana", "garden");
    publisher.write("index.html", "the garden");
    publisher.commit("one");
    publisher.push_ok(&node, "garden", "main");
    node.verge_ok(&["site", "set", "garden", "--add-host", "www.example.org"]);
    let visitor = Visitor::new(node.ready().https.unwrap(), &stick.join("region-ca.pem")).unwrap();
    let get = |host: &'static str| {
        let visitor = &visitor;
        block_on(async move { visitor.get(Protocol::Http2, host, "/", "identity").await })
    };
    assert_eq!(get("garden.sites.localhost").unwrap().body, b"the garden");
    let refused = format!("{:#}", get("www.example.org").err().unwrap());
    assert!(
        refused.contains("AccessDenied") || refused.contains("access"),
        "{refused}"
    );
    let doctor = text(&node.verge(&["doctor"]).stdout);
    assert!(
        doctor.contains("ok        region CA: this node signs for"),
        "{doctor}"
    );
    assert!(
        doctor.contains("fault     certificate www.example.org: is missing"),
        "{doctor}"
    );
}

#[test]
fn a_further_node_asks_the_root_by_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["one", "two"] {
        init(&path(name));
    }
    assert!(make(&path("one"), &path("stick")).status.success());
    let again = make(&path("one"), &path("stick"));
    assert!(
        text(&again.stderr).contains("a root is made once"),
        "{}",
        text(&again.stderr)
    );
    let pipe = |arguments: &[&str], input: &[u8]| {
        let mut child = run_by(&[])
            .args(["region", "ca"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    let (two, stick) = (path("two"), path("stick"));
    let (two, stick) = (two.to_str().unwrap(), stick.to_str().unwrap());
    let request = pipe(&["request", "--data", two], b"").stdout;
    let answer = pipe(&["sign", "--root", stick, "-"], &request).stdout;
    let installed = pipe(&["install", "--data", two, "-"], &answer);
    assert!(installed.status.success(), "{}", text(&installed.stderr));
    let roots = ["one", "two"].map(|name| fs::read(path(name).join("region-ca.pem")).unwrap());
    assert_eq!(roots[0], roots[1]);
    let wrong = pipe(
        &["install", "--data", path("one").to_str().unwrap(), "-"],
        &answer,
    );
    assert!(
        text(&wrong.stderr).contains("its key is not here"),
        "{}",
        text(&wrong.stderr)
    );
    let wrong = pipe(&["sign", "--root", stick, "-"], &answer);
    assert!(
        text(&wrong.stderr).contains("not a request"),
        "{}",
        text(&wrong.stderr)
    );
}
