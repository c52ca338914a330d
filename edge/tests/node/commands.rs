//! The `verge` command as a steward or publisher types it.

use crate::harness::{self, Node, Publisher, VERGE, block_on, fixture, text};
use crate::support::preview::{Preview, certificate_files};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use verge_builder::{Job, Limits, Source};
use verge_edge::cli::client::{Protocol, Visitor};
use verge_sync::clock::UnixTime;

#[test]
fn commands_say_what_to_do() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "one");
    let key = publisher.public_key();
    let rows: &[(&[&str], &str)] = &[
        (&["account", "add", "ana", "--ssh-key", &key], "ana"),
        (
            &["account", "add", "Not A Name", "--ssh-key", &key],
            "Not A Name",
        ),
        (&["site", "create", "one", "--owner", "ana"], "one"),
        (&["site", "create", "www", "--owner", "ana"], "www"),
        (&["site", "create", "x--y", "--owner", "ana"], "x--y"),
        (&["site", "create", "two", "--owner", "nobody"], "nobody"),
        (
            &[
                "site", "create", "two", "--owner", "ana", "--host", "bad host",
            ],
            "bad host",
        ),
        (&["site", "versions", "nothere"], "nothere"),
        (&["site", "rollback", "one"], "no kept version"),
        (&["site", "set", "one"], "nothing to change"),
        (
            &["site", "set", "one", "--add-host", "x.admin.localhost"],
            "the host x.admin.localhost is the region's own",
        ),
        (
            &["site", "set", "one", "--add-host", "sites.localhost"],
            "the host sites.localhost is the region's own",
        ),
        (
            &["site", "set", "one", "--add-host", "a.b.sites.localhost"],
            "not a single label under sites.localhost",
        ),
        (
            &["site", "set", "one", "--add-host", "under_score.example"],
            "under_score.example",
        ),
        (&["deploy", "/nonexistent", "--site", "one"], "/nonexistent"),
    ];
    for (arguments, expected) in rows {
        let output = node.verge(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

/// The data directory holds keys and everybody's files.
#[test]
fn no_folder_with_the_nodes_own_files_is_published() {
    let node = Node::found();
    Publisher::with_site(&node, "ana", "one");
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("link");
    let above = node.data().parent().unwrap();
    std::os::unix::fs::symlink(above, &link).unwrap();
    std::fs::write(above.join("index.html"), "a page beside the node").unwrap();
    let blobs = node.data().join("blobs");
    for folder in [node.data(), above, &blobs, &link] {
        let output = node.verge(&["deploy", folder.to_str().unwrap(), "--site", "one"]);
        let said = text(&output.stderr);
        assert!(
            said.contains("the node's data directory lie one in the other"),
            "{}: {said}",
            folder.display()
        );
    }
    let beside = above.join("beside");
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("index.html"), "a page").unwrap();
    node.verge_ok(&["deploy", beside.to_str().unwrap(), "--site", "one"]);
}

#[test]
fn account_and_site_are_listed_and_changed() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "one");
    let second = Publisher::new();
    let accounts = node.verge_ok(&["account", "list"]);
    assert!(
        accounts.contains("ana") && accounts.contains("SHA256:"),
        "{accounts}"
    );
    node.verge_ok(&[
        "account",
        "set",
        "ana",
        "--add-ssh-key",
        &second.public_key(),
    ]);
    second.write("index.html", "by the second key");
    second.commit("one");
    second.push_ok(&node, "one", "main");
    node.verge_ok(&[
        "account",
        "set",
        "ana",
        "--remove-ssh-key",
        &publisher.public_key(),
    ]);
    publisher.write("index.html", "by the first key");
    publisher.commit("one");
    publisher.push_refused(&node, "one", "+main");
    let last = node.verge(&[
        "account",
        "set",
        "ana",
        "--remove-ssh-key",
        &second.public_key(),
    ]);
    assert!(
        text(&last.stderr).contains("no key left"),
        "{}",
        text(&last.stderr)
    );
    let sites = node.verge_ok(&["site", "list"]);
    assert!(sites.contains("one  of ana  version"), "{sites}");
    assert!(sites.trim_end().ends_with("(settled)"), "{sites}");
    node.verge_ok(&["site", "set", "one", "--force", "false"]);
    second.write("index.html", "rewritten");
    second.git_ok(&["commit", "-q", "-a", "--amend", "-m", "rewritten"]);
    let said = second.push_refused(&node, "one", "+main");
    assert!(said.contains("force"), "{said}");
}

#[test]
fn account_that_lets_nobody_act_needs_its_own_signature() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "own");
    node.verge_ok(&["account", "set", "ana", "--acts", "none"]);
    publisher.write("index.html", "x");
    publisher.commit("one");
    let said = publisher.push_refused(&node, "own", "main");
    assert!(said.contains("--sign-with"), "{said}");
    node.verge_ok(&["account", "set", "ana", "--acts", "all"]);
    publisher.push_ok(&node, "own", "main");
}

#[test]
fn site_over_its_quota_is_refused() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "small");
    node.verge_ok(&["site", "set", "small", "--quota-bytes", "100000"]);
    publisher.write("index.html", "x");
    publisher.write("big.bin", vec![9_u8; 200_000]);
    publisher.commit("one");
    let said = publisher.push_refused(&node, "small", "main");
    assert!(said.contains("100000"), "{said}");
}

#[test]
fn other_branch_is_stored_and_a_configured_one_is_published() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "twigs");
    publisher.write("index.html", "main");
    publisher.commit("one");
    publisher.push_ok(&node, "twigs", "main");
    publisher.git_ok(&["checkout", "-q", "-b", "draft"]);
    publisher.write("index.html", "draft");
    publisher.commit("two");
    publisher.push_ok(&node, "twigs", "draft");
    let host = "twigs.sites.localhost";
    assert_eq!(harness::page(&node, host, "/").unwrap(), b"main");
    node.verge_ok(&["site", "set", "twigs", "--branch", "draft"]);
    publisher.commit("three");
    publisher.push_ok(&node, "twigs", "draft");
    assert_eq!(harness::page(&node, host, "/").unwrap(), b"draft");
}

#[test]
fn configuration_is_checked_and_printed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    harness::init(&data);
    let printed = harness::verge(&data, &["config", "print"]);
    assert!(text(&printed.stdout).contains("[listen]"));
    assert!(harness::verge(&data, &["config", "check"]).status.success());
    let path = data.join("config.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let rows = [
        (good.replace("[cache]", "[cach]"), "cach"),
        (
            good.replace("at_once_max = 2", "at_once_max = 0"),
            "push.at_once_max",
        ),
        (
            good.replace("admin.localhost", "x.sites.localhost"),
            "cookies",
        ),
        (
            good.replace(
                "ca = \"local\"",
                "certificate = \"no.pem\"\nkey = \"no.key\"",
            ),
            "no.pem",
        ),
        (
            good.replace("roots = []", "roots = [\"none.pem\"]"),
            "none.pem",
        ),
        (
            good.replace("roots = []", "roots = [\"config.toml\"]"),
            "no authority can be taken from it",
        ),
    ];
    for (config, expected) in rows {
        std::fs::write(&path, config).unwrap();
        let checked = harness::verge(&data, &["config", "check"]);
        assert_eq!(checked.status.code(), Some(78), "{expected}");
        assert!(
            text(&checked.stderr).contains(expected),
            "{}",
            text(&checked.stderr)
        );
    }
}

#[test]
fn founding_refuses_zones_that_share_cookies() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    let arguments = [
        "init",
        "--region=x",
        "--provider=y",
        "--site-zone=sites.example.org",
        "--admin-zone=admin.example.org",
    ];
    let refused = harness::verge(&data, &arguments);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("example.org"),
        "{}",
        text(&refused.stderr)
    );
    assert!(!data.exists(), "nothing is left behind");
}

#[test]
fn usage_error_ends_with_two() {
    let output = Command::new(VERGE).arg("frobnicate").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn command_without_a_node_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = harness::verge(folder.path(), &["site", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("verge serve --data"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn secrets_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    harness::init(&data);
    for name in ["seed", "provider.key"] {
        let path = data.join(name);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let output = harness::verge(&data, &["serve"]);
        assert!(
            text(&output.stderr).contains("chmod 600"),
            "{}",
            text(&output.stderr)
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn preview_serves_a_folder_to_any_host() {
    let folder = fixture("neighbourhood");
    let preview = Preview::start(&folder, &[]);
    let url = format!("http://{}/about", preview.ready.http.unwrap());
    let page = curl("whatever.example", &url);
    assert!(preview.stop().success());
    assert_eq!(page, std::fs::read(folder.join("about.html")).unwrap());
}

fn curl(host: &str, url: &str) -> Vec<u8> {
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "10", "-H"]);
    curl.arg(format!("Host: {host}")).arg(url);
    curl.output().unwrap().stdout
}

#[test]
fn preview_serves_in_the_clear_and_with_the_given_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate_files(folder.path());
    let site = fixture("single-page-app");
    let arguments = ["--tls-listen", "127.0.0.1:0"];
    let arguments = [&arguments[..], &certificate.arguments()].concat();
    let preview = Preview::start(&site, &arguments);
    let visitor = Visitor::new(preview.ready.https.unwrap(), &certificate.certificate).unwrap();
    let answer = block_on(visitor.get(Protocol::Http2, "preview.example", "/", "br")).unwrap();
    let url = format!("http://{}/", preview.ready.http.unwrap());
    let plain = curl("preview.example", &url);
    assert!(preview.stop().success());
    let published = std::fs::read(site.join("index.html")).unwrap();
    assert_eq!(answer.body, published);
    assert_eq!(plain, published, "served in the clear as well");
}

#[test]
fn demo_ends_well() {
    let output = Command::new(VERGE)
        .args([
            "demo",
            "--once",
            "--https-port",
            "0",
            "--ssh-port",
            "0",
            "--site",
        ])
        .arg(fixture("neighbourhood"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} {}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn bench_says_what_each_visit_costs() {
    let bench = |seconds: &str| {
        let mut bench = Command::new(VERGE);
        bench
            .args(["bench", "--seconds", seconds])
            .output()
            .unwrap()
    };
    let refused = bench("0");
    assert!(!refused.status.success());
    let complaint = text(&refused.stderr);
    assert!(complaint.contains("from 0.05 to 60"), "{complaint}");
    let output = bench("0.05");
    let (table, complaint) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{table}{complaint}");
    assert!(table.starts_with("energy: "), "{table}");
    let rows = table.lines().filter(|line| line.starts_with("HTTP/"));
    let costs: Vec<f64> = rows
        .map(|row| {
            row.get(22..)
                .and_then(|rest| rest.split_whitespace().next())
        })
        .map(|cost| cost.unwrap().parse().unwrap())
        .collect();
    assert_eq!(costs.len(), 12, "{table}");
    assert!(costs.iter().all(|cost| *cost > 0.0), "{table}");
}

#[test]
fn founding_leaves_a_directory_alone_that_is_not_empty() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("mine");
    std::fs::create_dir_all(data.join("staging")).unwrap();
    std::fs::write(data.join("staging/work.txt"), "mine").unwrap();
    let refused = harness::verge(&data, &["init", "--region=x", "--provider=y"]);
    assert!(
        text(&refused.stderr).contains("is not empty"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(
        std::fs::read(data.join("staging/work.txt")).unwrap(),
        b"mine"
    );
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
}

#[test]
fn lost_configuration_does_not_open_the_door_to_a_new_region() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    harness::init(&data);
    for name in ["config.toml", "seed", "provider.key"] {
        std::fs::remove_file(data.join(name)).unwrap();
    }
    let refused = harness::verge(&data, &["init", "--region=x", "--provider=y"]);
    assert!(
        text(&refused.stderr).contains("is not empty"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn name_of_a_deleted_site_stays_with_its_account() {
    let node = Node::found();
    Publisher::with_site(&node, "ana", "poems");
    Publisher::with_site(&node, "ben", "other");
    node.verge_ok(&["site", "delete", "poems", "--confirm", "poems"]);
    let taken = node.verge(&["site", "create", "poems", "--owner", "ben"]);
    assert!(
        text(&taken.stderr).contains("taken"),
        "{}",
        text(&taken.stderr)
    );
    // Its own account can have it again, more often than an account has places for names.
    for _ in 0..3 {
        node.verge_ok(&["site", "create", "poems", "--owner", "ana"]);
        node.verge_ok(&["site", "delete", "poems", "--confirm", "poems"]);
    }
    node.verge_ok(&["site", "create", "poems", "--owner", "ana"]);
    assert!(node.verge_ok(&["site", "list"]).contains("poems  of ana"));
}

#[test]
fn account_that_used_all_places_uses_those_of_ended_sites() {
    let node = Node::found();
    Publisher::with_site(&node, "ana", "first");
    for number in 0..70 {
        let name = format!("n{number}");
        node.verge_ok(&["site", "create", &name, "--owner", "ana"]);
        node.verge_ok(&["site", "delete", &name, "--confirm", &name]);
    }
    node.verge_ok(&["site", "create", "last", "--owner", "ana"]);
}

#[test]
fn host_is_given_up() {
    let node = Node::found();
    let publisher = Publisher::with_site(&node, "ana", "two");
    publisher.write("index.html", "two");
    publisher.commit("one");
    publisher.push_ok(&node, "two", "main");
    node.verge_ok(&["site", "set", "two", "--add-host", "two.example.test"]);
    assert!(harness::page(&node, "two.example.test", "/").is_ok());
    node.verge_ok(&["site", "set", "two", "--remove-host", "two.example.test"]);
    let visitor = node.visitor();
    let answer = block_on(visitor.get(Protocol::Http2, "two.example.test", "/", "identity"));
    assert!(answer.is_err(), "no certificate and no page any more");
    let again = node.verge(&["site", "set", "two", "--remove-host", "two.example.test"]);
    assert!(
        text(&again.stderr).contains("does not answer to"),
        "{}",
        text(&again.stderr)
    );
}

#[test]
fn branch_names_are_those_of_git() {
    let node = Node::found();
    Publisher::with_site(&node, "ana", "twig");
    for bad in ["a b", "a..b", "-x", "a.lock", "@", "x/", "a^"] {
        let refused = node.verge(&["site", "set", "twig", &format!("--branch={bad}")]);
        assert!(
            text(&refused.stderr).contains("not the name of a branch"),
            "{bad}"
        );
    }
    node.verge_ok(&["site", "set", "twig", "--branch", "refs/heads/draft/one"]);
}

/// Every admin connection whose client goes away gives its place back.
#[test]
fn clients_that_go_away_do_not_wedge_the_admin_socket() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    let node = Node::found();
    Publisher::with_site(&node, "ana", "one");
    let token = std::fs::read_to_string(node.data().join("admin.token")).unwrap();
    let request = format!("{{\"token\":\"{token}\",\"request\":{{\"verb\":\"site_list\"}}}}\n");
    for _ in 0..100 {
        let mut socket = UnixStream::connect(node.data().join("admin.sock")).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
    }
    assert!(node.verge_ok(&["status"]).contains("node"));
}

#[test]
fn admin_socket_wants_the_token_of_the_node() {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    let node = Node::found();
    let token = node.data().join("admin.token");
    assert_eq!(
        std::fs::metadata(&token).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for token in ["", &"0".repeat(64)] {
        let mut socket = UnixStream::connect(node.data().join("admin.sock")).unwrap();
        let request = format!("{{\"token\":\"{token}\",\"request\":{{\"verb\":\"status\"}}}}\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(
            answer.contains("refused") && answer.contains("token"),
            "{answer}"
        );
    }
}

#[test]
fn reader_that_has_enough_ends_nothing_badly() {
    let node = Node::found();
    Publisher::with_site(&node, "ana", "one");
    let mut list = Command::new(VERGE);
    list.args(["account", "list", "--data"]).arg(node.data());
    let mut child = list
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn preview_takes_certificate_files_by_relative_paths() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("c.pem"), "no certificate").unwrap();
    std::fs::write(folder.path().join("k.pem"), "no key").unwrap();
    let output = Command::new(VERGE)
        .current_dir(folder.path())
        .arg("preview")
        .arg(fixture("single-page-app"))
        .args(["--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"])
        .args(["--tls-cert", "c.pem", "--tls-key", "k.pem"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("c.pem") && !said.contains("files,"),
        "before the build: {said}"
    );
}

#[test]
fn serving_with_a_bad_configuration_ends_with_78() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("node");
    harness::init(&data);
    let path = data.join("config.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let missing = good.replace(
        "ca = \"local\"",
        "certificate = \"no.pem\"\nkey = \"no.key\"",
    );
    std::fs::write(&path, missing).unwrap();
    let output = harness::verge(&data, &["serve"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
}

/// The build of a killed node went on for up to an hour, and wrote into the staging folder while
/// the next start emptied it.
#[test]
fn a_build_ends_with_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let [source, blobs, staging] = ["source", "blobs", "staging"].map(|name| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    });
    // Takes minutes at the highest level, so that the build cannot be done first.
    let words: String = (0_u32..6_000_000)
        .map(|n| format!("{:x} ", n.wrapping_mul(2_654_435_761)))
        .collect();
    std::fs::write(source.join("long.txt"), words).unwrap();
    let job = Job {
        source: Source::Folder(source),
        previous: None,
        blobs,
        staging,
        limits: Limits::default(),
        time: UnixTime(0),
        threads: 1,
    };
    let mut build = Command::new(VERGE)
        .arg("build")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut node = build.stdin.take().unwrap();
    writeln!(node, "{}", serde_json::to_string(&job).unwrap()).unwrap();
    let mut report = BufReader::new(build.stdout.take().unwrap()).lines();
    report.next().unwrap().unwrap();
    drop(node);
    assert_eq!(build.wait().unwrap().code(), Some(3));
    assert!(report.all(|line| !line.unwrap().contains("Outcome")));
}
